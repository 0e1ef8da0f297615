//! Who is asked before a ceremony is published: the real client, tough where it can read the repository, and programs.
//!
//! - A client that starts from the oldest root follows the staged repository to some bins and claimed projects.
//! - One that is up to date with the present repository goes on to the staged one: nothing may go back, and what it
//!   found before must be found still, with the same hashes.
//! - tough reads the metadata, if this build has it and the bins are listed one by one.
//! - python-tuf reads what the client read, where Python has it, and must find the same. Unless `--gate python-tuf` asks
//!   for it, it is no obstacle if it is not there, or does not read the present repository either.
//! - Each program of `--gate` is given a folder with `metadata/`, and refuses by its exit code.

mod program;
mod python_tuf;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use self::python_tuf::Verdict;
use super::output::Out;
use crate::client::{
    CacheError, Client, ClientError, FetchError, Fetched, LogTrust, MetadataDir, Sink, Source,
};
use crate::repository::{
    CeremonyError, Family, Gate, METADATA, Repository, RepositoryError, SIMPLE, State, TARGETS,
};
use crate::store::{Store, StoreError, StorePath};
use crate::tuf::metadata::{DelegatedRoles, Delegations, PathSet, TargetFile, Targets};
use crate::tuf::path::{RoleName, TargetPath};
use crate::tuf::trusted::{Limits, TrustError};

/// The folder of the transparency log.
const LOG: &str = "log";
/// Bins, and buckets of claimed projects, that are looked into for files to ask for, at most of each kind.
const SAMPLED_ROLES: usize = 8;
/// Files asked for of each bin, at most.
const SAMPLED_FILES: usize = 2;
/// Bytes of one metadata file that is handed to a program, at most.
const MAX_FILE: u64 = 64 * 1024 * 1024;
/// How long a program may take.
const PATIENCE: Duration = Duration::from_mins(10);

/// The gate of the command line.
pub(super) struct Clients {
    /// The repository as it is now.
    pub(super) present: Repository,
    /// Other verifiers; [`python_tuf::NAME`] is one that must not be missing.
    pub(super) programs: Vec<PathBuf>,
    /// The Python that may have python-tuf; nothing, if that is not to be asked.
    pub(super) python: OsString,
    pub(super) out: Out,
    pub(super) now: DateTime<Utc>,
}

/// A folder of a store, as clients fetch from it.
#[derive(Debug)]
struct StoreSource {
    store: Arc<dyn Store>,
    folder: &'static str,
    asked: Asked,
}

/// What was asked for, without the folder.
#[derive(Debug, Clone, Default)]
struct Asked(Arc<Mutex<BTreeSet<String>>>);

/// What a client found in a repository.
struct Seen {
    store: Arc<dyn Store>,
    /// The metadata that it asked for.
    asked: Asked,
    found: Result<Vec<(TargetPath, Answer)>, ClientError>,
}

/// What a client is told of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Signed(TargetFile),
    NotSigned,
    /// This role on the way to it has expired: a project whose maintainers are late must not hide the others.
    Expired(String),
}

#[async_trait]
impl Source for StoreSource {
    async fn fetch(&self, path: &str, max_len: u64, sink: &mut dyn Sink) -> Result<Fetched, FetchError> {
        let url = format!("{}/{path}", self.folder);
        self.asked.0.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned());
        let failed = |reason: &dyn std::fmt::Display| FetchError::Local {
            what: "reading",
            path: url.clone(),
            reason: reason.to_string(),
        };
        let at = StorePath::new(url.clone()).map_err(|error| failed(&error))?;
        match self.store.get(&at, max_len).await {
            Ok(None) => Ok(Fetched::Absent),
            Ok(Some(object)) => {
                sink.write_whole(object.bytes).map_err(|error| failed(&error)).map(|()| Fetched::Whole)
            }
            Err(StoreError::TooLarge { max, .. }) => Err(FetchError::TooLarge { url, max }),
            Err(error) => Err(failed(&error)),
        }
    }
}

#[async_trait]
impl Gate for Clients {
    async fn admit(&self, staged: Arc<dyn Store>) -> Result<(), CeremonyError> {
        let (present, new) = self.clients(&staged).await?;
        #[cfg(feature = "tough-keys")]
        self.second(&staged).await?;
        self.python_tuf(&present, &new).await?;
        for program in self.programs.iter().filter(|program| program.as_os_str() != python_tuf::NAME) {
            self.program(program, &staged).await?;
        }
        Ok(())
    }
}

impl Clients {
    /// What a client finds in the present repository and in the staged one, each for the first time.
    async fn clients(&self, staged: &Arc<dyn Store>) -> Result<(Seen, Seen), CeremonyError> {
        let present = self.present.shared_store();
        let root = self.present.first_root().await.map_err(refused)?;
        let (fresh, old) = (folder()?, folder()?);
        let files = sample(&self.present).await.map_err(refused)?;
        let before = self.visit(&present, &root, old.path(), &files).await?;
        let new = self.visit(staged, &root, fresh.path(), &files).await?;
        let going_on = self.visit(staged, &root, old.path(), &files).await?;
        for after in [&new, &going_on] {
            match (&before.found, &after.found) {
                // What has expired already is not what this change breaks.
                (Err(before), Err(after))
                    if expired(before).is_some() && expired(before) == expired(after) => {}
                (_, Err(after)) => return Err(refused(after)),
                (Ok(before), Ok(after)) if !before.iter().zip(after).all(|(one, other)| same(one, other)) => {
                    return Err(refused("files that clients find now would be gone, or others"));
                }
                _ => {}
            }
        }
        Ok((before, new))
    }

    /// A client whose home is `home`, and which starts from `root` if that is empty.
    async fn visit(
        &self,
        store: &Arc<dyn Store>,
        root: &[u8],
        home: &Path,
        files: &[TargetPath],
    ) -> Result<Seen, CeremonyError> {
        let asked = Asked::default();
        let client = noting(store, home, root, &asked).map_err(refused)?;
        let found = look(&client, files, self.now).await;
        Ok(Seen { store: Arc::clone(store), asked, found })
    }

    /// tough, where it reads the present repository.
    #[cfg(feature = "tough-keys")]
    async fn second(&self, staged: &Arc<dyn Store>) -> Result<(), CeremonyError> {
        if self.present.read_with_tough().await.is_err() {
            return Ok(());
        }
        let gate = |error: RepositoryError| CeremonyError::Gate {
            verifier: "tough".to_owned(),
            reason: error.to_string(),
        };
        let repository = Repository::open(Arc::clone(staged)).await.map_err(gate)?;
        repository.read_with_tough().await.map_err(gate)
    }

    /// python-tuf on the staged repository; and on the present one, if it is not asked for and refuses.
    async fn python_tuf(&self, present: &Seen, staged: &Seen) -> Result<(), CeremonyError> {
        let demanded = self.programs.iter().any(|program| program.as_os_str() == python_tuf::NAME);
        let gate = |reason| Err(CeremonyError::Gate { verifier: python_tuf::NAME.to_owned(), reason });
        if self.python.is_empty() {
            return if demanded { gate("no Python is named that could run it".to_owned()) } else { Ok(()) };
        }
        let said = |text: &str| {
            self.out.note(format_args!("{} was not asked: {text}", python_tuf::NAME));
            Ok(())
        };
        match self.read_with_python_tuf(staged).await? {
            Verdict::Same => Ok(()),
            Verdict::Refuses(reason) | Verdict::Unasked(reason) if demanded => gate(reason),
            Verdict::Unasked(reason) => said(&reason),
            Verdict::Refuses(reason) => match self.read_with_python_tuf(present).await? {
                Verdict::Same => gate(reason),
                Verdict::Refuses(_) | Verdict::Unasked(_) => {
                    said(&format!("it does not read the present repository either: {reason}"))
                }
            },
        }
    }

    async fn read_with_python_tuf(&self, seen: &Seen) -> Result<Verdict, CeremonyError> {
        let folder = folder()?;
        let names = seen.asked.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        write_out(&seen.store, names, folder.path()).await.map_err(refused)?;
        // The first root that there is; after a new start it is not version 1.
        let root = self.present.first_root().await.map_err(refused)?;
        std::fs::write(folder.path().join("root.json"), root).map_err(refused)?;
        let found = seen.found.as_deref().unwrap_or_default();
        Ok(python_tuf::ask(&self.python, folder.path(), found, self.now).await)
    }

    async fn program(&self, program: &Path, staged: &Arc<dyn Store>) -> Result<(), CeremonyError> {
        let verifier = program.display().to_string();
        let gate = |reason: String| CeremonyError::Gate { verifier: verifier.clone(), reason };
        let folder = folder()?;
        let names = everything(staged).await.map_err(|error| gate(error.to_string()))?;
        write_out(staged, names, folder.path()).await.map_err(|error| gate(error.to_string()))?;
        let ended = program::run(Command::new(program).arg(folder.path()), PATIENCE).await.map_err(gate)?;
        if ended.status.success() {
            return Ok(());
        }
        Err(gate(format!("{}: {}", ended.status, ended.said)))
    }
}

/// A client that reads a store. It remembers in `home`, and starts from `root` if it knows none yet.
pub(super) fn reading(store: &Arc<dyn Store>, home: &Path, root: &[u8]) -> Result<Client, CacheError> {
    noting(store, home, root, &Asked::default())
}

/// The same, that notes which metadata it asks for.
fn noting(store: &Arc<dyn Store>, home: &Path, root: &[u8], asked: &Asked) -> Result<Client, CacheError> {
    let cache = MetadataDir::new(home);
    cache.start(root)?;
    let source = |folder, asked| Box::new(StoreSource { store: Arc::clone(store), folder, asked });
    let (metadata, targets) = (source(METADATA, asked.clone()), source(TARGETS, Asked::default()));
    let tiles: Arc<dyn Source> =
        Arc::new(StoreSource { store: Arc::clone(store), folder: LOG, asked: Asked::default() });
    let log = LogTrust { tiles: Some(tiles), ..LogTrust::default() };
    Ok(Client::new(metadata, targets, cache, Limits::default()).with_log(log))
}

fn refused(reason: impl std::fmt::Display) -> CeremonyError {
    CeremonyError::Gate { verifier: "the client".to_owned(), reason: reason.to_string() }
}

fn folder() -> Result<tempfile::TempDir, CeremonyError> {
    tempfile::tempdir().map_err(refused)
}

/// What a client finds of these files.
async fn look(
    client: &Client,
    files: &[TargetPath],
    now: DateTime<Utc>,
) -> Result<Vec<(TargetPath, Answer)>, ClientError> {
    let session = client.refresh(now).await?;
    let mut found = Vec::with_capacity(files.len());
    for file in files {
        let answer = match session.find(file).await {
            Ok(file) => Answer::Signed(file.target),
            Err(ClientError::NotSigned { .. }) => Answer::NotSigned,
            Err(error) => Answer::Expired(expired(&error).ok_or_else(|| error.clone())?.to_owned()),
        };
        found.push((file.clone(), answer));
    }
    Ok(found)
}

/// Whether a client finds after a change what it found before. Which page is signed may change: maintainers sign theirs
/// anew when their keys change.
fn same(before: &(TargetPath, Answer), after: &(TargetPath, Answer)) -> bool {
    match (before, after) {
        ((page, Answer::Signed(_)), (_, Answer::Signed(_))) if page.as_str().starts_with(SIMPLE) => true,
        ((_, before), (_, after)) => before == after,
    }
}

/// The role that has expired, if that is what is wrong.
fn expired(error: &ClientError) -> Option<&str> {
    match error {
        ClientError::Trust(TrustError::Expired { role, .. }) => Some(role),
        _ => None,
    }
}

/// Files out of some bins, pages of some claimed projects, and a file that nobody ever signed.
async fn sample(repository: &Repository) -> Result<Vec<TargetPath>, RepositoryError> {
    let state = repository.state().await?;
    let names = state.bins.delegations.iter().flat_map(Delegations::names);
    let names: Vec<_> = names.collect::<Result<_, _>>()?;
    let mut files = vec![TargetPath::new("no-such-project/no-such-file")?];
    for name in some(&names) {
        let bin = state.bin(repository.store(), name).await?;
        let some = bin.targets.keys().take(SAMPLED_FILES).map(TargetPath::new);
        files.extend(some.collect::<Result<Vec<_>, _>>()?);
    }
    for family in [Family::Claimed, Family::Recent] {
        for name in some(&state.buckets(repository.store(), family).await?) {
            let bucket = state.bucket(repository.store(), family, name).await?;
            files.extend(pages(&bucket)?);
        }
    }
    Ok(files)
}

/// As many of these roles as are looked into.
fn some(roles: &[RoleName]) -> impl Iterator<Item = &RoleName> {
    roles.iter().step_by(roles.len().div_ceil(SAMPLED_ROLES).max(1))
}

/// The pages of the first and the last project of a bucket.
fn pages(bucket: &Targets) -> Result<Vec<TargetPath>, RepositoryError> {
    let Some(DelegatedRoles::Listed(projects)) = bucket.delegations.as_ref().map(|all| &all.roles) else {
        return Ok(Vec::new());
    };
    let patterns =
        [projects.first(), projects.last()].into_iter().flatten().flat_map(|role| match &role.paths {
            PathSet::Patterns(patterns) => patterns.as_slice(),
            PathSet::HashPrefixes(_) => &[],
        });
    let pages = patterns.filter_map(|pattern| Some(format!("{}/index.json", pattern.strip_suffix("/*")?)));
    pages.filter(|page| page.starts_with(SIMPLE)).map(|page| Ok(TargetPath::new(page)?)).collect()
}

/// The names of all metadata that clients would be given.
async fn everything(staged: &Arc<dyn Store>) -> anyhow::Result<Vec<String>> {
    let State { root, snapshot, .. } = Repository::open(Arc::clone(staged)).await?.state().await?;
    let mut names: Vec<String> =
        (1..=root.common.version).map(|version| format!("{version}.root.json")).collect();
    names.push("timestamp.json".to_owned());
    names.push(format!("{}.snapshot.json", snapshot.common.version));
    for (name, file) in &snapshot.meta {
        let stem = name.strip_suffix(".json").unwrap_or(name);
        names.push(format!("{}.{}.json", file.version, crate::tuf::path::percent_quote(stem, b"")));
    }
    Ok(names)
}

/// Writes metadata into a folder; what is not there is left out, such as bins that nobody delegates to any more.
async fn write_out(
    store: &Arc<dyn Store>,
    names: impl IntoIterator<Item = String>,
    folder: &Path,
) -> anyhow::Result<()> {
    let metadata = folder.join(METADATA);
    std::fs::create_dir(&metadata)?;
    for name in names {
        if let Some(object) = store.get(&StorePath::new(format!("{METADATA}/{name}"))?, MAX_FILE).await? {
            std::fs::write(metadata.join(name), object.bytes)?;
        }
    }
    Ok(())
}
