//! What the attacks are made on: a repository with a key of its own for every role, four projects, and a history.
//!
//! | day | what happens |
//! |---|---|
//! | 0 | `init`, claims are enabled, 1.0 of every project; `held` is claimed and promoted, `fresh` is claimed |
//! | 10 | the online roles are signed anew, 1.1 of every project; here a client with memory was last |
//! | 10 | 1.2 of every project, one after the other: the fix that a freeze would hide |
//! | 18 | the online roles are signed anew; the attack begins |
//!
//! The private keys are known to this file alone, and lent to honest witnesses. An attacker gets [`Stolen`], which signs and tells
//! nothing. [`World::logged`] is the same with a transparency log from the first day on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use wheelseal::client::{Client, ClientError, DirSource, MetadataDir};
use wheelseal::crypto::{PublicKey, Scheme, SigningKey, sha256};
use wheelseal::keys::{KeyError, Signer};
use wheelseal::log::Log;
use wheelseal::repository::{
    BinStyle, Changed, Edit, Edits, EventName, Keyring, Kind, LogPolicy, LookAlike, NewLog, Owners, Plan,
    Predecessor, Profile, Repository, RoleEdit, RolePlan, Subject, Unwatched,
};
use wheelseal::tuf::key::{Key, KeyId};
use wheelseal::tuf::lookup::Found;
use wheelseal::tuf::metadata::{LogHead, Role, Root, Snapshot, TargetFile, Targets, Timestamp, Version};
use wheelseal::tuf::path::{RoleName, TargetPath};
use wheelseal::tuf::signed::Draft;
use wheelseal::tuf::trusted::Limits;

use super::ledger::{LOG, Ledger, RECORDERS, WITNESSES, Witnesses, of_targets, policy, recorder};
use crate::claims::{added, name, request_by};
use crate::scene::{Scene, days_later};
use crate::simulator::pair;

/// Projects that nobody claimed; their pages lie in different bins.
pub(super) const OPEN: &str = "open";
pub(super) const PLAIN: &str = "plain";
/// A project that `recently-claimed` vouches for.
pub(super) const FRESH: &str = "fresh";
/// A project that `claimed` vouches for.
pub(super) const HELD: &str = "held";
/// In the order in which they publish.
pub(super) const PROJECTS: [&str; 4] = [OPEN, PLAIN, FRESH, HELD];

/// Roles that sign without a person, by the names of their keys.
pub(super) const ONLINE: [&str; 4] = ["timestamp", "snapshot", "bin-n", "recently-claimed"];
/// Root's keys; two of them must sign.
pub(super) const ROOT: [&str; 3] = ["root-1", "root-2", "root-3"];
/// Roles that people sign.
pub(super) const OFFLINE: [&str; 3] = ["targets", "bins", "claimed"];

/// The day of the second releases, and of the fix.
const FIX: i64 = 10;
/// The day of the attack: every timestamp from before the fix has expired.
pub(super) const ATTACK: i64 = 18;

/// One honest state.
pub(super) struct Moment {
    pub(super) timestamp: Vec<u8>,
    /// The tree of the log that it names.
    pub(super) log: Option<LogHead>,
    pub(super) snapshot: Snapshot,
    pub(super) snapshot_bytes: Vec<u8>,
    /// The page of each project.
    pub(super) pages: BTreeMap<&'static str, [u8; 32]>,
    /// All that is signed.
    pub(super) targets: BTreeMap<String, TargetFile>,
}

/// All that was ever published.
pub(super) struct World {
    /// Every file below `metadata/` and `targets/`; the timestamp is the newest.
    pub(super) files: Arc<BTreeMap<String, Vec<u8>>>,
    pub(super) moments: Vec<Moment>,
    /// The moment that a client with memory saw last.
    pub(super) seen: usize,
    /// Content of each targets role by version.
    pub(super) contents: BTreeMap<(String, Version), Targets>,
    /// When each file was signed, by role and version.
    pub(super) signed: BTreeMap<(String, Version), DateTime<Utc>>,
    pub(super) root: Root,
    pub(super) newest: Timestamp,
    /// Hashes of all target files that anybody ever published.
    pub(super) genuine: BTreeSet<[u8; 32]>,
    /// The trusted metadata of a client with memory, by file name.
    pub(super) memory: Vec<(String, Vec<u8>)>,
    /// The log, if there is one.
    pub(super) log: Option<Ledger>,
    /// What recorders have.
    pub(super) recorded: Vec<String>,
}

/// A key in memory.
struct Local {
    key: Key,
    pair: SigningKey,
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.key.id())
    }
}

impl Local {
    fn signature(&self, message: &[u8]) -> [u8; 64] {
        self.pair.sign(Scheme::Ed25519, message).unwrap().try_into().unwrap()
    }
}

#[async_trait]
impl Signer for Local {
    fn key(&self) -> &Key {
        &self.key
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(self.signature(message).to_vec())
    }
}

/// The worthless key of this name: always the same one.
fn local(name: &str) -> Local {
    let pair = pair(&sha256(format!("worthless {name}").as_bytes()));
    Local { key: Key::new(pair.public().clone(), Scheme::Ed25519).unwrap(), pair }
}

/// The public half of a key.
pub(super) fn public_of(name: &str) -> PublicKey {
    local(name).pair.public().clone()
}

/// What the honest holder of a key signs.
pub(super) fn signature_by(name: &str, message: &[u8]) -> [u8; 64] {
    local(name).signature(message)
}

fn keyring(names: &[&str]) -> Keyring {
    let mut keyring = Keyring::default();
    for name in names {
        keyring.add(Box::new(local(name)));
    }
    keyring
}

fn plan(names: &[&str], threshold: u64) -> RolePlan {
    RolePlan { keys: names.iter().map(|name| local(name).key).collect(), threshold }
}

/// Keys in the hands of a thief: those of some roles, and one of his own making. They sign, and can be neither read nor
/// exchanged for others.
pub(super) struct Stolen {
    roles: Vec<&'static str>,
    keys: Vec<Local>,
}

impl Stolen {
    /// The names of the stolen keys.
    pub(super) fn roles(&self) -> &[&'static str] {
        &self.roles
    }

    /// The thief's own key, which no role knows.
    pub(super) fn own(&self) -> (KeyId, Key) {
        let key = &self.keys[0].key;
        (key.id(), key.clone())
    }

    /// A signature by a key of this name, if it is among them.
    pub(super) fn signature(&self, name: &str, message: &[u8]) -> Option<[u8; 64]> {
        self.roles.contains(&name).then(|| signature_by(name, message))
    }

    /// A signature by the thief's own key, with its public half.
    pub(super) fn own_signature(&self, message: &[u8]) -> (PublicKey, [u8; 64]) {
        (self.keys[0].pair.public().clone(), self.keys[0].signature(message))
    }

    /// The file of a role, signed by each of the keys.
    pub(super) fn sign<T: Role>(&self, content: &T) -> Vec<u8> {
        let payload = Draft::new(content.clone()).payload();
        let sign =
            |local: &Local| (local.key.id(), local.pair.sign(Scheme::Ed25519, payload.to_sign()).unwrap());
        payload.assemble(&self.keys.iter().map(sign).collect::<Vec<_>>())
    }
}

/// Somebody gets hold of the keys of these names.
pub(super) fn steal(roles: &[&'static str]) -> Stolen {
    let known: BTreeSet<_> = [&ONLINE[..], &ROOT, &OFFLINE, &PROJECT_KEYS, &[LOG], &WITNESSES, &RECORDERS]
        .concat()
        .into_iter()
        .collect();
    assert!(roles.iter().all(|role| known.contains(role)), "{roles:?}");
    let keys = ["thief"].iter().chain(roles).map(|role| local(role)).collect();
    Stolen { roles: roles.to_vec(), keys }
}

/// The keys of the maintainers.
pub(super) const PROJECT_KEYS: [&str; 2] = ["project-held", "project-fresh"];

/// Writes the history.
struct Scribe {
    scene: Scene,
    /// Those of the log, if there is one.
    witnesses: Option<Arc<Witnesses>>,
    moments: Vec<Moment>,
    contents: BTreeMap<(String, Version), Targets>,
    signed: BTreeMap<(String, Version), DateTime<Utc>>,
}

impl World {
    pub(super) async fn new() -> Self {
        Scribe::new(None).await.until_the_attack().await
    }

    /// The same history, all of which is logged.
    pub(super) async fn logged() -> Self {
        Scribe::new(Some(Arc::default())).await.until_the_attack().await
    }

    /// The last honest state.
    pub(super) fn last(&self) -> usize {
        self.moments.len() - 1
    }

    /// Whether these pages were ever published together.
    pub(super) fn together(&self, pages: &BTreeMap<&'static str, [u8; 32]>) -> bool {
        let says =
            |moment: &Moment| pages.iter().all(|(project, page)| moment.pages.get(project) == Some(page));
        self.moments.iter().any(says)
    }
}

impl Scribe {
    async fn new(witnesses: Option<Arc<Witnesses>>) -> Self {
        let scene = Scene::empty();
        let plan = Plan {
            root: plan(&ROOT, 2),
            targets: plan(&["targets"], 1),
            bins: plan(&["bins"], 1),
            online: plan(&["online"], 1),
            bin_count: 4,
            bin_style: BinStyle::Succinct,
            expiry: Profile::Default.expiry(),
            online_uris: Vec::new(),
        };
        let keys = keyring(&["root-1", "root-2", "root-3", "targets", "bins", "online"]);
        let at = days_later(0);
        Repository::init(scene.store().await, &plan, &keys, at, &Unwatched).await.unwrap();
        let (contents, signed) = (BTreeMap::new(), BTreeMap::new());
        let mut scribe = Self { scene, witnesses, moments: Vec::new(), contents, signed };
        scribe.begins_the_log().await;
        scribe
    }

    /// These keys, and that of the log.
    fn keyring(&self, names: &[&str]) -> Keyring {
        let mut keyring = keyring(names);
        if let Some(witnesses) = &self.witnesses {
            keyring.set_log(Box::new(local(LOG)), witnesses.clone());
        }
        keyring
    }

    async fn begins_the_log(&mut self) {
        if self.witnesses.is_none() {
            return;
        }
        let policy = LogPolicy::parse(policy().as_bytes()).unwrap();
        let new = NewLog { policy, key: "file:nowhere".to_owned(), after: Predecessor::Nothing };
        let (mut repository, keys) = (self.scene.open().await, self.keyring(&["online"]));
        repository.begin_log(&keys, &new, days_later(0)).await.unwrap();
        self.notes(0).await;
    }

    /// All leaves of the log, and its newest checkpoint.
    async fn ledger(&self) -> Option<Ledger> {
        self.witnesses.as_ref()?;
        let log = Log::new(self.scene.store().await);
        let (head, mut leaves) = (log.head().await.unwrap().unwrap(), Vec::new());
        let mut note = |_, leaf: wheelseal::tlog::leaf::Leaf| {
            leaves.push(leaf.to_string());
            Ok(())
        };
        log.leaves(&head, 0, &mut note).await.unwrap();
        let newest = fs::read(self.scene.root().join("log/checkpoint")).unwrap();
        Some(Ledger::new(leaves, &newest))
    }

    async fn until_the_attack(mut self) -> World {
        self.keys_of_their_own().await;
        self.publishes("1.0", 0).await;
        self.claims(HELD).await;
        self.promotes(HELD).await;
        self.claims(FRESH).await;
        self.renews(FIX).await;
        self.publishes("1.1", FIX).await;
        let folder = tempfile::tempdir().unwrap();
        self.visit(folder.path(), FIX).await;
        let seen = self.moments.len() - 1;
        self.publishes("1.2", FIX).await;
        self.renews(ATTACK).await;
        self.world(seen, folder.path()).await
    }

    async fn world(self, seen: usize, memory: &Path) -> World {
        let mut files = self.scene.files();
        files.retain(|path, _| path.starts_with("metadata/") || path.starts_with("targets/"));
        let targets = files.iter().filter(|(path, _)| path.starts_with("targets/"));
        let genuine = targets.map(|(_, bytes)| sha256(bytes)).collect();
        let log = self.ledger().await;
        let recorded = of_targets(self.moments.iter().flat_map(|moment| &moment.targets));
        for name in RECORDERS {
            files.extend(recorder(name, recorded.clone(), |message| signature_by(name, message)));
        }
        let memory = crate::scene::files_below(memory);
        let memory = memory.into_iter().filter(|(name, _)| !name.starts_with('.')).collect();
        let state = self.scene.open().await.state().await.unwrap();
        World {
            files: Arc::new(files),
            moments: self.moments,
            seen,
            contents: self.contents,
            signed: self.signed,
            root: state.root.draft().content,
            newest: state.timestamp.draft().content,
            genuine,
            memory,
            log,
            recorded,
        }
    }

    /// Each role gets a key that no other has.
    async fn keys_of_their_own(&mut self) {
        let edit = |subject: Subject| (subject, RoleEdit::Keys(vec![local(subject.name()).key]));
        let roles = [
            Subject::Timestamp,
            Subject::Snapshot,
            Subject::Claimed,
            Subject::RecentlyClaimed,
            Subject::BinN,
        ];
        let log_policy = self.witnesses.as_ref().map(|_| LogPolicy::parse(policy().as_bytes()).unwrap());
        let edits = Edits { roles: roles.into_iter().map(edit).collect(), bins: None, log_policy };
        let all: Vec<_> = ONLINE.iter().chain(&ROOT).chain(&OFFLINE).copied().collect();
        let (repository, keys) = (self.scene.open().await, self.keyring(&all));
        let event = EventName::new("own-keys").unwrap();
        let done = repository.change(&event, &edits, &keys, None, days_later(0), &Unwatched).await.unwrap();
        assert!(matches!(done, Changed::Done(_)), "{done:?}");
        let event = EventName::new("enable").unwrap();
        let event = repository.claims_enabling(event, days_later(0)).await.unwrap().unwrap();
        let done = repository.hold(event, &keys, None, days_later(0), &Unwatched).await.unwrap();
        assert!(matches!(done, Changed::Done(_)), "{done:?}");
        self.notes(0).await;
    }

    /// Every project publishes this version, one after the other.
    async fn publishes(&mut self, version: &str, day: i64) {
        for project in PROJECTS {
            let edits = [self.scene.add(project, version, version)];
            let claimed = self.contents.keys().any(|(role, _)| *role == format!("project-{project}"));
            if claimed {
                self.asks(project, Kind::Release, None, edits.into(), day).await;
            } else {
                let repository = self.scene.open().await;
                repository
                    .publish(&self.keyring(&ONLINE), &edits, days_later(day), &Unwatched)
                    .await
                    .unwrap();
            }
            self.notes(day).await;
        }
    }

    /// A request of the project's maintainers, applied.
    async fn asks(&self, project: &str, kind: Kind, team: Option<Owners>, edits: Vec<Edit>, day: i64) {
        let (own, at) = (format!("project-{project}"), days_later(day));
        let file = request_by(&self.scene, project, kind, team, &edits, &[], &keyring(&[&own]), at).await;
        let files: Vec<_> = edits.into_iter().map(added).collect();
        let repository = self.scene.open().await;
        repository.apply(&self.keyring(&ONLINE), &file, &files, LookAlike::Refused, at).await.unwrap();
    }

    async fn claims(&mut self, project: &str) {
        let team = Owners::new([local(&format!("project-{project}")).key], 1);
        self.asks(project, Kind::Claim, Some(team), Vec::new(), 0).await;
        self.notes(0).await;
    }

    async fn promotes(&mut self, project: &str) {
        let repository = self.scene.open().await;
        let event = EventName::new("promote").unwrap();
        let event =
            repository.promotion(event, &[name(project)].into(), &[], days_later(0)).await.unwrap().event;
        let keys = self.keyring(&["claimed", "timestamp", "snapshot", "recently-claimed"]);
        let done = repository.hold(event, &keys, None, days_later(0), &Unwatched).await.unwrap();
        assert!(matches!(done, Changed::Done(_)), "{done:?}");
        self.notes(0).await;
    }

    async fn renews(&mut self, day: i64) {
        let repository = self.scene.open().await;
        repository.bump(&self.keyring(&ONLINE), true, days_later(day), &Unwatched).await.unwrap();
        self.notes(day).await;
    }

    /// A client's visit: the page of each project, and the roles that lead to it. What it keeps is in `folder`.
    async fn visit(&self, folder: &Path, day: i64) -> Vec<(&'static str, Found)> {
        let root = fs::read(self.scene.root().join("metadata/1.root.json")).unwrap();
        let cache = MetadataDir::new(folder);
        cache.start(&root).unwrap();
        let source = |part: &str| Box::new(DirSource::new(self.scene.root().join(part)));
        let client = Client::new(source("metadata"), source("targets"), cache, Limits::default());
        let (session, mut pages) = (client.refresh(days_later(day)).await.unwrap(), Vec::new());
        for project in PROJECTS {
            match session.find(&page(project)).await {
                Ok(found) => pages.push((project, found)),
                Err(ClientError::NotSigned { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        pages
    }

    /// Writes down what is published now.
    async fn notes(&mut self, day: i64) {
        let repository = self.scene.open().await;
        let state = repository.state().await.unwrap();
        let mut now: BTreeMap<String, Targets> = BTreeMap::new();
        now.insert("targets".into(), state.targets.draft().content);
        for role in ["bins", "claimed", "recently-claimed"] {
            let role = RoleName::delegated(role).unwrap();
            let content = state.delegated(repository.store(), &role).await.unwrap();
            now.insert(role.to_string(), content.draft().content);
        }
        for (bin, content) in crate::scene::bins(&repository, &state).await {
            now.insert(bin.to_string(), content.draft().content);
        }
        let (folder, mut pages) = (tempfile::tempdir().unwrap(), BTreeMap::new());
        for (project, found) in self.visit(folder.path(), day).await {
            pages.insert(project, found.target.hashes.sha256.unwrap());
            now.extend(
                found.chain.into_iter().map(|(role, content)| (role.to_string(), content.draft().content)),
            );
        }
        for (role, content) in &now {
            let key = (role.clone(), content.common.version);
            self.signed.entry(key.clone()).or_insert_with(|| days_later(day));
            self.contents.insert(key, content.clone());
        }
        for (role, version) in [
            ("root", state.root.common.version),
            ("snapshot", state.snapshot.common.version),
            ("timestamp", state.timestamp.common.version),
        ] {
            self.signed.entry((role.to_owned(), version)).or_insert_with(|| days_later(day));
        }
        let targets = now.values().flat_map(|role| role.targets.iter());
        self.moments.push(Moment {
            timestamp: state.timestamp.bytes().to_vec(),
            log: state.timestamp.log.clone(),
            snapshot: state.snapshot.draft().content,
            snapshot_bytes: state.snapshot.bytes().to_vec(),
            pages,
            targets: targets.map(|(path, file)| (path.to_owned(), file.clone())).collect(),
        });
    }
}

/// The signed page of a project.
pub(super) fn page(project: &str) -> TargetPath {
    TargetPath::new(format!("simple/{project}/index.json")).unwrap()
}
