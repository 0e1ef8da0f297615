//! A repository in memory that can be broken field by field, and a user of it.
//!
//! [`Repo`] holds the roles as values. `publish` signs them as they stand; `resign` signs an edited text. [`Server`]
//! serves whatever it is told to and records every request. [`User`] is a client with folders of its own.
//!
//! ```ignore
//! let mut repo = Repo::new();
//! let user = User::new(&repo);
//! repo.timestamp.common.version = 0; // break something
//! repo.publish();
//! assert_eq!(user.refresh(), Err(..));
//! assert_eq!(repo.server.requests(), ["2.root.json", "timestamp.json"]);
//! assert_eq!(user.cached(), "root 1");
//! ```

#![expect(clippy::unwrap_used, reason = "a simulator that cannot be set up is a failed test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::{DateTime, Days, Utc};
use tempfile::TempDir;
use wheelseal::client::{
    Client, ClientError, FetchError, Fetched, LogTrust, MetadataDir, Session, Sink, Source,
};
use wheelseal::crypto::{Scheme, SigningKey, sha256};
use wheelseal::tuf::json::{Json, parse, parse_time};
use wheelseal::tuf::key::{Key, KeyId, RoleKeys};
use wheelseal::tuf::lookup::Found;
use wheelseal::tuf::metadata::{
    Common, DelegatedRole, DelegatedRoles, Delegations, Extra, Hashes, MetaFile, PathSet, Role, Root,
    Snapshot, Table, TargetFile, Targets, Timestamp, TopLevel,
};
use wheelseal::tuf::path::{RoleName, TargetPath, percent_quote};
use wheelseal::tuf::signed::{Draft, VerifyError};
use wheelseal::tuf::trusted::{Limits, TrustError};

/// Where metadata and targets lie on the server.
pub(crate) const METADATA: &str = "metadata/";
pub(crate) const TARGETS: &str = "targets/";

/// When every update of a [`User`] starts, unless told otherwise.
pub(crate) fn now() -> DateTime<Utc> {
    parse_time("2026-01-01T00:00:00Z").unwrap()
}

/// When everything expires that nothing else is said of.
pub(crate) fn expires() -> DateTime<Utc> {
    now() + Days::new(365)
}

/// A key pair with the name it has in metadata.
pub(crate) struct Signer {
    pub(crate) id: KeyId,
    pub(crate) key: Key,
    pair: SigningKey,
}

impl Signer {
    pub(crate) fn new(pair: SigningKey, scheme: Scheme) -> Arc<Self> {
        let key = Key::new(pair.public().clone(), scheme).unwrap();
        Self::named(key.id().as_str(), key, pair)
    }

    /// Under any key id and in any encoding.
    pub(crate) fn named(id: &str, key: Key, pair: SigningKey) -> Arc<Self> {
        Arc::new(Self { id: KeyId::new(id).unwrap(), key, pair })
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(self.key.scheme().unwrap(), message).unwrap()
    }
}

/// The Ed25519 key number `seed`: always the same one.
pub(crate) fn key(seed: u8) -> Arc<Signer> {
    Signer::new(pair(&[seed; 32]), Scheme::Ed25519)
}

/// The key that signs a delegated role, unless told otherwise.
pub(crate) fn key_of(role: &str) -> Arc<Signer> {
    Signer::new(pair(&sha256(role.as_bytes())), Scheme::Ed25519)
}

/// An Ed25519 key pair from its seed.
pub(crate) fn pair(seed: &[u8; 32]) -> SigningKey {
    let prefix = hex::decode("302e020100300506032b657004220420").unwrap();
    SigningKey::from_pkcs8(&[prefix.as_slice(), seed].concat()).unwrap()
}

/// What the server does when asked for a file.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Bytes(Vec<u8>),
    Endless,
    Fails(FetchError),
}

/// Serves what it is told to, and notes what it was asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Server(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Answer>,
    requests: Vec<String>,
    sent: u64,
}

impl Server {
    pub(crate) fn set(&self, path: &str, answer: Answer) {
        self.0.lock().unwrap().files.insert(path.to_owned(), answer);
    }

    /// Serves a metadata file.
    pub(crate) fn put(&self, file: &str, bytes: impl Into<Vec<u8>>) {
        self.set(&format!("{METADATA}{file}"), Answer::Bytes(bytes.into()));
    }

    /// Serves a metadata file no longer.
    pub(crate) fn remove(&self, file: &str) {
        self.forget(&format!("{METADATA}{file}"));
    }

    /// Serves any file no longer.
    pub(crate) fn forget(&self, path: &str) {
        self.0.lock().unwrap().files.remove(path);
    }

    /// The bytes served for a metadata file.
    pub(crate) fn bytes(&self, file: &str) -> Vec<u8> {
        match self.0.lock().unwrap().files.get(&format!("{METADATA}{file}")) {
            Some(Answer::Bytes(bytes)) => bytes.clone(),
            other => panic!("{file} is {other:?}"),
        }
    }

    /// The bytes served for a target, by location.
    pub(crate) fn target(&self, location: &str) -> Option<Vec<u8>> {
        match self.0.lock().unwrap().files.get(&format!("{TARGETS}{location}")) {
            Some(Answer::Bytes(bytes)) => Some(bytes.clone()),
            _ => None,
        }
    }

    /// Changes a metadata file without signing it again.
    pub(crate) fn edit(&self, file: &str, edit: impl FnOnce(String) -> String) {
        self.put(file, edit(String::from_utf8(self.bytes(file)).unwrap()));
    }

    /// All metadata files.
    pub(crate) fn metadata(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.0.lock().unwrap();
        let files = state.files.iter().filter_map(|(path, answer)| match answer {
            Answer::Bytes(bytes) => Some((path.strip_prefix(METADATA)?.to_owned(), bytes.clone())),
            _ => None,
        });
        files.collect()
    }

    /// Requests since the last call, in order; those for metadata without their folder.
    pub(crate) fn requests(&self) -> Vec<String> {
        let requests = std::mem::take(&mut self.0.lock().unwrap().requests);
        requests.into_iter().map(|path| path.trim_start_matches(METADATA).to_owned()).collect()
    }

    /// Bytes handed out so far.
    pub(crate) fn sent(&self) -> u64 {
        self.0.lock().unwrap().sent
    }

    pub(crate) fn source(&self, folder: &'static str) -> Box<dyn Source> {
        Box::new(SimulatedSource { server: self.clone(), folder })
    }

    fn answer(&self, path: String) -> Option<Answer> {
        let mut state = self.0.lock().unwrap();
        let answer = state.files.get(&path).cloned();
        state.requests.push(path);
        answer
    }
}

#[derive(Debug)]
struct SimulatedSource {
    server: Server,
    folder: &'static str,
}

#[async_trait]
impl Source for SimulatedSource {
    async fn fetch(&self, path: &str, max_len: u64, sink: &mut dyn Sink) -> Result<Fetched, FetchError> {
        tokio::task::yield_now().await;
        let too_large = Err(FetchError::TooLarge { url: path.to_owned(), max: max_len });
        match self.server.answer(format!("{}{path}", self.folder)) {
            None => Ok(Fetched::Absent),
            Some(Answer::Fails(error)) => Err(error),
            Some(Answer::Bytes(bytes)) => {
                let whole = length(&bytes) <= max_len;
                sink.write(&bytes).unwrap();
                if whole { Ok(Fetched::Whole) } else { too_large }
            }
            Some(Answer::Endless) => {
                let mut sent = 0;
                while sent <= max_len {
                    sink.write(&[b' '; 1_000]).unwrap();
                    sent += 1_000;
                }
                self.server.0.lock().unwrap().sent += sent;
                too_large
            }
        }
    }
}

/// A repository whose owner makes mistakes on purpose.
pub(crate) struct Repo {
    pub(crate) root: Root,
    pub(crate) timestamp: Timestamp,
    pub(crate) snapshot: Snapshot,
    pub(crate) targets: Targets,
    pub(crate) delegated: BTreeMap<String, Targets>,
    /// Who signs a role when it is published; a role that is not here is signed by its [`key_of`].
    pub(crate) signers: BTreeMap<String, Vec<Arc<Signer>>>,
    pub(crate) server: Server,
}

pub(crate) fn empty_targets() -> Targets {
    Targets { common: Common::new(1, expires()), targets: Table::new(), delegations: None }
}

fn role_keys(signers: &[Arc<Signer>], threshold: u64) -> RoleKeys {
    RoleKeys {
        keyids: signers.iter().map(|signer| signer.id.clone()).collect(),
        threshold,
        extra: Extra::new(),
    }
}

impl Repo {
    /// Version 1 of everything, published: key 1 signs root, 2 timestamp, 3 snapshot, 4 targets.
    pub(crate) fn new() -> Self {
        let nobody = role_keys(&[], 1);
        let common = || Common::new(1, expires());
        let root = Root {
            common: common(),
            consistent_snapshot: true,
            keys: BTreeMap::new(),
            root: nobody.clone(),
            timestamp: nobody.clone(),
            snapshot: nobody.clone(),
            targets: nobody,
            other_roles: Extra::new(),
        };
        let mut repo = Self {
            root,
            timestamp: Timestamp {
                common: common(),
                snapshot: MetaFile::version(1),
                log: None,
                other_meta: Extra::new(),
            },
            snapshot: Snapshot { common: common(), meta: Table::new() },
            targets: empty_targets(),
            delegated: BTreeMap::new(),
            signers: BTreeMap::new(),
            server: Server::default(),
        };
        for (role, seed) in TOP_LEVEL {
            repo.trust(role, &[key(seed)], 1);
        }
        repo.publish_root();
        repo.publish();
        repo
    }

    /// Says in root who signs a role, and has them sign it. Nothing is published.
    pub(crate) fn trust(&mut self, role: TopLevel, signers: &[Arc<Signer>], threshold: u64) {
        for signer in signers {
            self.root.keys.insert(signer.id.clone(), signer.key.clone());
        }
        *self.root.role_mut(role) = role_keys(signers, threshold);
        self.signers.insert(role.name().to_owned(), signers.to_vec());
    }

    /// Publishes the next root after `edit`. Signed as `signers` says.
    pub(crate) fn rotate(&mut self, edit: impl FnOnce(&mut Self)) {
        self.root.common.version += 1;
        edit(self);
        self.publish_root();
    }

    /// Replaces the keys of a role other than root by a fresh one, in a new root.
    pub(crate) fn replace_key(&mut self, role: TopLevel, seed: u8) {
        self.rotate(|repo| repo.trust(role, &[key(seed)], 1));
    }

    /// A targets role by name.
    pub(crate) fn role(&mut self, role: &str) -> &mut Targets {
        if role == "targets" {
            &mut self.targets
        } else {
            self.delegated.entry(role.to_owned()).or_insert_with(empty_targets)
        }
    }

    /// Delegates `paths` to a role signed by its [`key_of`].
    pub(crate) fn delegate(&mut self, from: &str, to: &str, paths: &[&str]) -> &mut DelegatedRole {
        self.delegate_to(from, to, paths, &[key_of(to)])
    }

    /// Delegates `paths` to a role; any one of `signers` is enough.
    pub(crate) fn delegate_to(
        &mut self,
        from: &str,
        to: &str,
        paths: &[&str],
        signers: &[Arc<Signer>],
    ) -> &mut DelegatedRole {
        self.role(to);
        let paths = PathSet::Patterns(paths.iter().map(|path| (*path).to_owned()).collect());
        let RoleKeys { keyids, threshold, extra } = role_keys(signers, 1);
        let name = RoleName::delegated(to).unwrap();
        let role = DelegatedRole { name, keyids, threshold, terminating: false, paths, extra };
        let delegations = self.delegations(from);
        delegations.keys.extend(signers.iter().map(|signer| (signer.id.clone(), signer.key.clone())));
        let DelegatedRoles::Listed(roles) = &mut delegations.roles else { panic!("{from} has bins") };
        roles.push(role);
        roles.last_mut().unwrap()
    }

    /// The delegations of a role, made if there are none.
    pub(crate) fn delegations(&mut self, role: &str) -> &mut Delegations {
        let roles = DelegatedRoles::Listed(Vec::new().into());
        let none = Delegations { keys: BTreeMap::new(), roles, extra: Extra::new() };
        self.role(role).delegations.get_or_insert(none)
    }

    /// Lists a file and serves it, under its hash and its plain name.
    pub(crate) fn add_file(&mut self, role: &str, path: &str, content: &[u8]) {
        let hash = sha256(content);
        let target =
            TargetFile { length: length(content), hashes: Hashes::sha256(hash), extra: Extra::new() };
        self.role(role).targets.insert(path, target);
        self.serve_file(path, &hex::encode(hash), content);
    }

    pub(crate) fn serve_file(&self, path: &str, hash: &str, content: &[u8]) {
        let path = TargetPath::new(path).unwrap();
        for location in [path.location(None), path.location(Some(hash))] {
            self.server.set(&format!("{TARGETS}{location}"), Answer::Bytes(content.to_vec()));
        }
    }

    /// New versions of snapshot and timestamp; publishes everything but root.
    pub(crate) fn release(&mut self) {
        self.snapshot.common.version += 1;
        self.timestamp.common.version += 1;
        self.publish();
    }

    /// The same, with a new version of one targets role.
    pub(crate) fn release_role(&mut self, role: &str) {
        self.role(role).common.version += 1;
        self.release();
    }

    /// Signs everything but root as it stands. Snapshot lists all roles, timestamp the snapshot, by version.
    pub(crate) fn publish(&mut self) {
        self.snapshot.meta.insert("targets.json", MetaFile::version(self.targets.common.version));
        for (name, role) in &self.delegated {
            self.snapshot.meta.insert(format!("{name}.json"), MetaFile::version(role.common.version));
        }
        self.timestamp.snapshot = MetaFile::version(self.snapshot.common.version);
        self.publish_targets();
        self.publish_snapshot();
        self.publish_timestamp();
    }

    pub(crate) fn publish_root(&self) {
        let file = format!("{}.root.json", self.root.common.version);
        self.server.put(&file, self.sign("root", &self.root));
    }

    pub(crate) fn publish_timestamp(&self) {
        self.server.put("timestamp.json", self.sign("timestamp", &self.timestamp));
    }

    pub(crate) fn publish_snapshot(&self) {
        self.publish_role("snapshot", &self.snapshot);
    }

    pub(crate) fn publish_targets(&self) {
        self.publish_role("targets", &self.targets);
        for (name, role) in &self.delegated {
            self.publish_role(name, role);
        }
    }

    fn publish_role<T: Role>(&self, name: &str, role: &T) {
        self.server.put(&self.file(name, role.common().version), self.sign(name, role));
    }

    fn file(&self, role: &str, version: u64) -> String {
        let stem = percent_quote(role, b"");
        if self.root.consistent_snapshot { format!("{version}.{stem}.json") } else { format!("{stem}.json") }
    }

    /// Signs an edited text in place of a published file.
    pub(crate) fn resign(&self, file: &str, role: &str, edit: impl FnOnce(String) -> String) {
        let bytes = self.server.bytes(file);
        let tree = parse(&bytes).unwrap();
        let text = edit(tree.get("signed").unwrap().to_text());
        let canonical =
            parse(text.as_bytes()).map_or_else(|_| text.clone().into_bytes(), |tree| tree.canonical());
        self.server.put(file, envelope(&self.signatures(role, &canonical), &text));
    }

    pub(crate) fn sign<T: Role>(&self, role: &str, content: &T) -> Vec<u8> {
        let payload = Draft::new(content.clone()).payload();
        payload.assemble(&self.signatures(role, payload.to_sign()))
    }

    fn signatures(&self, role: &str, message: &[u8]) -> Vec<(KeyId, Vec<u8>)> {
        let own = vec![key_of(role)];
        let signers = self.signers.get(role).unwrap_or(&own);
        signers.iter().map(|signer| (signer.id.clone(), signer.sign(message))).collect()
    }
}

/// The four roles and the seeds of their keys.
pub(crate) const TOP_LEVEL: [(TopLevel, u8); 4] =
    [(TopLevel::Root, 1), (TopLevel::Timestamp, 2), (TopLevel::Snapshot, 3), (TopLevel::Targets, 4)];

/// A metadata file from signatures and the text that they are said to cover.
pub(crate) fn envelope(signatures: &[(KeyId, Vec<u8>)], signed: &str) -> Vec<u8> {
    let list = signatures.iter().map(|(id, signature)| {
        Json::object([("keyid", Json::str(id.as_str())), ("sig", Json::str(hex::encode(signature)))])
    });
    format!("{{\"signatures\":{},\"signed\":{signed}}}", Json::Array(list.collect()).to_text()).into_bytes()
}

/// A client, with folders for metadata and targets that go away with it.
pub(crate) struct User {
    dir: TempDir,
    server: Server,
    pub(crate) now: DateTime<Utc>,
    pub(crate) limits: Limits,
    pub(crate) log: LogTrust,
}

impl User {
    /// A user who trusts the first root.
    pub(crate) fn new(repo: &Repo) -> Self {
        Self::trusting(repo, &repo.server.bytes("1.root.json"))
    }

    pub(crate) fn trusting(repo: &Repo, root: &[u8]) -> Self {
        let user = Self {
            dir: tempfile::tempdir().unwrap(),
            server: repo.server.clone(),
            now: now(),
            limits: Limits::default(),
            log: LogTrust::default(),
        };
        MetadataDir::init(user.metadata_dir(), root).unwrap();
        user
    }

    pub(crate) fn metadata_dir(&self) -> PathBuf {
        self.dir.path().join("metadata")
    }

    pub(crate) fn targets_dir(&self) -> PathBuf {
        self.dir.path().join("targets")
    }

    pub(crate) fn client(&self) -> Client {
        let cache = MetadataDir::new(self.metadata_dir());
        let client =
            Client::new(self.server.source(METADATA), self.server.source(TARGETS), cache, self.limits);
        client.with_log(self.log.clone())
    }

    pub(crate) fn refresh(&self) -> Result<(), ClientError> {
        run(async { self.client().refresh(self.now).await.map(drop) })
    }

    /// Updates, and does something with the session.
    pub(crate) fn session<T>(
        &self,
        job: impl AsyncFnOnce(&Session) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        run(async { job(&self.client().refresh(self.now).await?).await })
    }

    /// The chain of roles that answers for a path.
    pub(crate) fn find(&self, path: &str) -> Result<String, ClientError> {
        let path = TargetPath::new(path).unwrap();
        self.session(async |session| Ok(chain(&session.find(&path).await?)))
    }

    /// Updates, looks up, downloads; whether the file was fetched.
    pub(crate) fn download(&self, path: &str) -> Result<bool, ClientError> {
        let (path, to) = (TargetPath::new(path).unwrap(), self.targets_dir().join(path));
        self.session(async |session| {
            let found = session.find(&path).await?;
            Ok(session.download(&found, &to).await?.fetched())
        })
    }

    /// Role and version of each file in the folder of trusted metadata: `root 1, timestamp 1`. Files that do not
    /// read, and anything left in the spool, are listed by name.
    pub(crate) fn cached(&self) -> String {
        let mut out = Vec::new();
        for file in files(&self.metadata_dir()) {
            let bytes = std::fs::read(self.metadata_dir().join(&file)).unwrap();
            let version = parse(&bytes).ok().and_then(|tree| tree.get("signed")?.get("version")?.as_u64());
            match (file.strip_suffix(".json"), version) {
                (Some(stem), Some(version)) => out.push(format!("{stem} {version}")),
                _ if file == ".lock" => {}
                _ => out.push(file),
            }
        }
        out.join(", ")
    }

    pub(crate) fn cached_bytes(&self, stem: &str) -> Vec<u8> {
        std::fs::read(self.metadata_dir().join(format!("{stem}.json"))).unwrap()
    }

    pub(crate) fn overwrite(&self, stem: &str, bytes: &[u8]) {
        std::fs::write(self.metadata_dir().join(format!("{stem}.json")), bytes).unwrap();
    }

    /// All files below the folder of targets, with their content.
    pub(crate) fn downloaded(&self) -> Vec<(String, String)> {
        let content = |file: String| {
            let bytes = std::fs::read(self.targets_dir().join(&file)).unwrap();
            (file, String::from_utf8(bytes).unwrap())
        };
        files(&self.targets_dir()).into_iter().map(content).collect()
    }
}

/// Names of the roles from top-level targets to the one that lists the target.
pub(crate) fn chain(found: &Found) -> String {
    found.chain.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" > ")
}

/// Runs a future to its end.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Length as metadata counts it.
pub(crate) fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap()
}

/// Files below a folder, sorted, relative.
fn files(dir: &Path) -> Vec<String> {
    let mut out = Vec::new();
    for entry in walkdir::WalkDir::new(dir).sort_by_file_name().into_iter().flatten() {
        if entry.file_type().is_file() {
            out.push(entry.path().strip_prefix(dir).unwrap().display().to_string());
        }
    }
    out
}

// The errors that tests expect, in one line each.

pub(crate) fn trust(error: TrustError) -> ClientError {
    ClientError::Trust(error)
}

pub(crate) fn below(role: &str, delegator: &str, valid: usize, threshold: u64) -> ClientError {
    let (role, delegator) = (role.to_owned(), delegator.to_owned());
    trust(TrustError::Verify(VerifyError::BelowThreshold { role, delegator, valid, threshold }))
}

pub(crate) fn wrong_version(role: &str, found: u64, expected: u64) -> ClientError {
    trust(TrustError::WrongVersion { role: role.to_owned(), found, expected })
}

pub(crate) fn rollback(role: &str, found: u64, trusted: u64) -> ClientError {
    trust(TrustError::Rollback { role: role.to_owned(), found, trusted })
}

pub(crate) fn expired(role: &str, version: u64, expires: DateTime<Utc>, now: DateTime<Utc>) -> ClientError {
    trust(TrustError::Expired { role: role.to_owned(), version, expires, now })
}

pub(crate) fn not_signed(path: &str) -> ClientError {
    ClientError::NotSigned { path: path.to_owned() }
}

pub(crate) fn absent(path: &str) -> ClientError {
    ClientError::Absent { path: path.to_owned() }
}

/// The reason why metadata of a role is malformed.
pub(crate) fn malformed(result: Result<impl Sized, ClientError>) -> Option<String> {
    match result.err() {
        Some(ClientError::Trust(TrustError::Verify(VerifyError::Malformed { role, error }))) => {
            Some(format!("{role}: {error}"))
        }
        _ => None,
    }
}
