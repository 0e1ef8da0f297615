//! What the repository's tests are set in: the worthless example keys, a fixed day, a small repository in a folder,
//! distributions made in memory, and one question asked after everything: is it sound?

#![expect(clippy::unwrap_used, reason = "a scene that cannot be set is a test that cannot run")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Cursor, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tempfile::TempDir;
use wheelseal::crypto::sha256;
use wheelseal::keys::{self, Ask, KeyUri};
use wheelseal::python::{DistributionFilename, ProjectName, ProjectPage, index_html, index_json};
use wheelseal::repository::{
    BinStyle, Checked, Edit, Keyring, Plan, Profile, Published, Repository, RepositoryError, RolePlan, State,
    Unwatched, read_distribution,
};
use wheelseal::store::{DirStore, Store};
use wheelseal::tuf::metadata::{Role, Targets};
use wheelseal::tuf::path::{RoleName, TargetPath};
use wheelseal::tuf::signed::{Draft, Verified};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// Private keys of a repository made by [`plan`].
pub(crate) const ALL_KEYS: [&str; 3] = ["root-1", "targets-1", "online"];
/// Its private keys that sign online.
pub(crate) const ONLINE: [&str; 1] = ["online"];

/// The day of every test: later than the dates of any file the tests write.
pub(crate) fn now() -> DateTime<Utc> {
    days_later(0)
}

/// So many days after [`now`].
pub(crate) fn days_later(days: i64) -> DateTime<Utc> {
    "2090-06-01T12:00:00Z".parse::<DateTime<Utc>>().unwrap() + chrono::TimeDelta::days(days)
}

/// The file of an example key.
pub(crate) fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("keys-example/worthless-{name}.pem"))
}

/// These example keys, opened.
pub(crate) async fn keyring(names: &[&str]) -> Keyring {
    let mut keyring = Keyring::default();
    for name in names {
        keyring.add(keys::open(&KeyUri::File(example(name)), &Ask).await.unwrap());
    }
    keyring
}

/// The file of a role, signed by these example keys whether it knows them or not.
pub(crate) async fn signed<T: Role>(draft: &Draft<T>, names: &[&str]) -> Vec<u8> {
    let (payload, keyring) = (draft.payload(), keyring(names).await);
    let mut signatures = Vec::new();
    for signer in keyring.signers() {
        signatures.push((signer.key().id(), signer.sign(payload.to_sign()).await.unwrap()));
    }
    payload.assemble(&signatures)
}

/// A role of these example keys.
pub(crate) async fn role(names: &[&str], threshold: u64) -> RolePlan {
    let mut plan = RolePlan { keys: Vec::new(), threshold };
    for name in names {
        plan.keys.push(keys::open_public(&KeyUri::File(example(name)), &Ask).await.unwrap());
    }
    plan
}

/// A small repository: one key for each role, four bins.
pub(crate) async fn plan() -> Plan {
    Plan {
        root: role(&["root-1"], 1).await,
        targets: role(&["targets-1"], 1).await,
        bins: role(&["targets-1"], 1).await,
        online: role(&["online"], 1).await,
        bin_count: 4,
        bin_style: BinStyle::Succinct,
        expiry: Profile::Default.expiry(),
        online_uris: Vec::new(),
    }
}

/// A repository in a folder that goes away with it.
pub(crate) struct Scene {
    folder: TempDir,
}

impl Scene {
    /// An empty folder.
    pub(crate) fn empty() -> Self {
        let scene = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(scene.root()).unwrap();
        fs::create_dir(scene.folder.path().join("spool")).unwrap();
        scene
    }

    /// A repository as [`plan`] says.
    pub(crate) async fn new() -> Self {
        Self::of(&plan().await, &ALL_KEYS).await
    }

    /// Another repository.
    pub(crate) async fn of(plan: &Plan, keys: &[&str]) -> Self {
        let scene = Self::empty();
        Repository::init(scene.store().await, plan, &keyring(keys).await, now(), &Unwatched).await.unwrap();
        scene
    }

    /// The same files in another folder: by hard links, for no file of a store is ever written again.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self::empty();
        for name in self.files().into_keys() {
            let to = copy.root().join(&name);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::hard_link(self.root().join(name), to).unwrap();
        }
        copy
    }

    /// The folder of the repository.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    /// A folder beside it, for distributions and other odds and ends.
    pub(crate) fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    /// The time by which the files in the folder are dated.
    pub(crate) fn time(&self) -> DateTime<Utc> {
        tempfile::tempfile_in(self.folder.path()).unwrap().metadata().unwrap().modified().unwrap().into()
    }

    /// A store on the folder, opened anew.
    pub(crate) async fn store(&self) -> Arc<dyn Store> {
        Arc::new(DirStore::open(self.root()).await.unwrap())
    }

    /// The repository, opened anew.
    pub(crate) async fn open(&self) -> Repository {
        Repository::open(self.store().await).await.unwrap()
    }

    /// Publishes edits with the online key.
    pub(crate) async fn publish(&self, edits: &[Edit]) -> Result<Published, RepositoryError> {
        self.open().await.publish(&keyring(&ONLINE).await, edits, now(), &Unwatched).await
    }

    /// An edit that adds a wheel of `project`, whose module has the text `body`.
    pub(crate) fn add(&self, project: &str, version: &str, body: &str) -> Edit {
        let folder = tempfile::tempdir_in(self.spool()).unwrap();
        let file = wheel(folder.path(), project, version, body);
        Edit::Add(Box::new(read_distribution(&file, &self.spool()).unwrap()))
    }

    /// What a check finds.
    pub(crate) async fn check(&self) -> Checked {
        self.open().await.check(now(), &Unwatched).await.unwrap()
    }

    /// Every file of the repository with its bytes, by path.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        files_below(&self.root())
    }

    /// Everything a client may see verifies.
    pub(crate) async fn assert_verifies(&self, when: &str) {
        let problems = self.check().await.problems;
        assert!(problems.is_empty(), "{when}: {problems:#?}");
    }

    /// It verifies, the unsigned pages are the signed ones, and every file lies under its plain name as well.
    pub(crate) async fn assert_sound(&self, when: &str) {
        self.assert_verifies(when).await;
        let repository = self.open().await;
        let state = repository.state().await.unwrap();
        let (files, mut expected) = (self.files(), BTreeMap::new());
        let mut projects = Vec::new();
        for page in pages(&repository, &state).await {
            expected.insert(format!("simple/{}/index.json", page.name()), page.to_json());
            expected.insert(format!("simple/{}/index.html", page.name()), page.to_html());
            for file in page.files() {
                let plain = files.get(&format!("targets/{}/{}", page.name(), file.filename)).unwrap();
                assert_eq!(hex::encode(sha256(plain)), file.sha256.to_string(), "{when}: {}", file.filename);
            }
            projects.push(page.name().clone());
        }
        let found: BTreeMap<_, _> = files.iter().filter(|(path, _)| path.starts_with("simple/")).collect();
        if !(projects.is_empty() && found.is_empty()) {
            expected.insert("simple/index.json".to_owned(), index_json(&projects));
            expected.insert("simple/index.html".to_owned(), index_html(&projects));
        }
        let found: BTreeMap<_, _> = found
            .into_iter()
            .map(|(path, bytes)| (path.clone(), String::from_utf8(bytes.clone()).unwrap()))
            .collect();
        assert_eq!(found, expected, "{when}: the unsigned pages are not the signed ones");
    }
}

/// What a client can see of a repository, without dates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    /// Each role's version in the snapshot.
    pub(crate) versions: BTreeMap<String, u64>,
    /// Each target but the pages, with the bin that lists it.
    pub(crate) targets: BTreeMap<String, (String, String)>,
    /// Each file on a page, with its hash and its yank.
    pub(crate) files: BTreeMap<String, (String, String)>,
}

impl View {
    /// What there is, without versions.
    pub(crate) fn content(&self) -> [&BTreeMap<String, (String, String)>; 2] {
        [&self.targets, &self.files]
    }

    pub(crate) async fn of(repository: &Repository) -> Self {
        let state = repository.state().await.unwrap();
        let meta = state.snapshot.meta.iter();
        let versions = meta.map(|(name, file)| (name.to_owned(), file.version)).collect();
        let (mut targets, mut files) = (BTreeMap::new(), BTreeMap::new());
        for (name, bin) in bins(repository, &state).await {
            for (path, file) in bin.targets.iter().filter(|(path, _)| !path.starts_with("simple/")) {
                let old = targets.insert(path.to_owned(), (name.to_string(), file.hashes.name().unwrap()));
                assert_eq!(old, None, "{path} is in two bins");
            }
        }
        for page in pages(repository, &state).await {
            for file in page.files() {
                files.insert(
                    file.filename.to_string(),
                    (file.sha256.to_string(), format!("{:?}", file.yanked)),
                );
            }
        }
        Self { versions, targets, files }
    }
}

/// All bins, by name.
pub(crate) async fn bins(repository: &Repository, state: &State) -> Vec<(RoleName, Verified<Targets>)> {
    let mut bins = Vec::new();
    for name in state.bins.delegations.as_ref().unwrap().names() {
        let name = name.unwrap();
        let bin = state.bin(repository.store(), &name).await.unwrap();
        bins.push((name, bin));
    }
    bins
}

/// The signed pages, sorted by project.
pub(crate) async fn pages(repository: &Repository, state: &State) -> Vec<ProjectPage> {
    let mut projects = BTreeSet::new();
    for (_, bin) in bins(repository, state).await {
        let names =
            bin.targets.keys().filter_map(|path| path.strip_prefix("simple/")?.strip_suffix("/index.json"));
        projects.extend(names.map(|name| ProjectName::from_normalised(name).unwrap()));
    }
    let mut pages = Vec::new();
    for project in projects {
        pages.push(repository.page(state, &project).await.unwrap().unwrap());
    }
    pages
}

/// Every file below a folder with its bytes, by relative path.
pub(crate) fn files_below(root: &Path) -> BTreeMap<String, Vec<u8>> {
    // A write that nobody waits for any more may still go on, and take its temporary file away under this walk.
    let gone =
        |error: &walkdir::Error| error.io_error().is_some_and(|error| error.kind() == ErrorKind::NotFound);
    let entries = walkdir::WalkDir::new(root).into_iter().filter(|entry| !entry.as_ref().is_err_and(gone));
    let files = entries.map(Result::unwrap).filter(|entry| entry.file_type().is_file());
    files
        .filter_map(|entry| {
            let name = entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            match fs::read(entry.path()) {
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                bytes => Some((name, bytes.unwrap())),
            }
        })
        .collect()
}

/// The name of the wheel that [`wheel`] makes.
pub(crate) fn wheel_name(project: &str, version: &str) -> DistributionFilename {
    DistributionFilename::from_str(&format!("{project}-{version}-py3-none-any.whl")).unwrap()
}

/// A real wheel of one module in `folder`.
pub(crate) fn wheel(folder: &Path, project: &str, version: &str, body: &str) -> PathBuf {
    let path = folder.join(wheel_name(project, version).as_str());
    fs::write(&path, wheel_bytes(project, version, body)).unwrap();
    path
}

/// Its bytes; the same for the same arguments.
pub(crate) fn wheel_bytes(project: &str, version: &str, body: &str) -> Vec<u8> {
    let info = format!("{project}-{version}.dist-info");
    let metadata =
        format!("Metadata-Version: 2.1\nName: {project}\nVersion: {version}\nRequires-Python: >=3.8\n\n");
    let tags = "Wheel-Version: 1.0\nGenerator: wheelseal tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
    let record = format!("{project}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n");
    let files = [
        (format!("{project}.py"), body.to_owned()),
        (format!("{info}/METADATA"), metadata),
        (format!("{info}/WHEEL"), tags.to_owned()),
        (format!("{info}/RECORD"), record),
    ];
    archive(files.iter().map(|(name, text)| (name.as_str(), text.as_bytes())))
}

/// A zip file of these.
pub(crate) fn archive<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        archive.start_file(name, SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// The bin that lists a target, if one does.
pub(crate) async fn bin_of(repository: &Repository, target: &TargetPath) -> Option<String> {
    let state = repository.state().await.unwrap();
    let bins = bins(repository, &state).await;
    bins.into_iter()
        .find(|(_, bin)| bin.targets.contains_key(target.as_str()))
        .map(|(name, _)| name.to_string())
}
