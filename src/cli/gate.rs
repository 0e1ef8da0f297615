//! Who is asked before a ceremony is published: the real client, tough where it can read the repository, and programs.
//!
//! - A client that starts from the oldest root follows the staged repository to its bins.
//! - One that is up to date with the present repository goes on to the staged one: nothing may go back, and what it
//!   found before must be found still, with the same hashes.
//! - tough reads the metadata, if this build has it and the bins are listed one by one.
//! - Each program of `--gate` is given a folder with `metadata/`, and refuses by its exit code.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::client::{Client, ClientError, FetchError, Fetched, MetadataDir, Sink, Source};
use crate::repository::{CeremonyError, Gate, METADATA, Repository, RepositoryError, State, TARGETS};
use crate::store::{Store, StoreError, StorePath};
use crate::tuf::path::TargetPath;
use crate::tuf::trusted::{Limits, TrustError};

/// Bins that are looked into for files to ask for, at most.
const SAMPLED_BINS: usize = 8;
/// Files asked for of each, at most.
const SAMPLED_FILES: usize = 2;
/// Bytes of one metadata file that is handed to a program, at most.
const MAX_FILE: u64 = 64 * 1024 * 1024;
/// How long a program may take.
const PATIENCE: Duration = Duration::from_mins(10);
/// How often to look whether it is done.
const INTERVAL: Duration = Duration::from_millis(20);
/// Bytes of what a refusing program said that are repeated, at most.
const MAX_REASON: usize = 2_000;

/// The gate of the command line.
#[derive(Debug)]
pub(super) struct Clients {
    /// The repository as it is now.
    pub(super) present: Repository,
    /// Other verifiers.
    pub(super) programs: Vec<PathBuf>,
    pub(super) now: DateTime<Utc>,
}

/// A folder of a store, as clients fetch from it.
#[derive(Debug)]
struct StoreSource {
    store: Arc<dyn Store>,
    folder: &'static str,
}

#[async_trait]
impl Source for StoreSource {
    async fn fetch(&self, path: &str, max_len: u64, sink: &mut dyn Sink) -> Result<Fetched, FetchError> {
        let url = format!("{}/{path}", self.folder);
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
        self.clients(&staged).await?;
        #[cfg(feature = "tough-keys")]
        self.second(&staged).await?;
        for program in &self.programs {
            self.program(program, &staged).await?;
        }
        Ok(())
    }
}

impl Clients {
    async fn clients(&self, staged: &Arc<dyn Store>) -> Result<(), CeremonyError> {
        let present = self.present.shared_store();
        let first = StorePath::new(format!("{METADATA}/1.root.json")).map_err(refused)?;
        let root = present.get(&first, MAX_FILE).await.map_err(refused)?;
        let root = root.ok_or_else(|| refused(format!("{first} is missing")))?.bytes;
        let (fresh, old) = (folder()?, folder()?);
        let client = |store: &Arc<dyn Store>, home: &Path| -> Result<Client, CeremonyError> {
            let cache = MetadataDir::new(home);
            cache.start(&root).map_err(refused)?;
            let source = |folder| Box::new(StoreSource { store: Arc::clone(store), folder });
            Ok(Client::new(source(METADATA), source(TARGETS), cache, Limits::default()))
        };
        let files = sample(&self.present).await.map_err(refused)?;
        let before = look(&client(&present, old.path())?, &files, self.now).await;
        let new = look(&client(staged, fresh.path())?, &files, self.now).await;
        let going_on = look(&client(staged, old.path())?, &files, self.now).await;
        for after in [new, going_on] {
            match (&before, after) {
                // What has expired already is not what this change breaks.
                (Err(before), Err(after))
                    if expired(before).is_some() && expired(before) == expired(&after) => {}
                (_, Err(after)) => return Err(refused(after)),
                (Ok(before), Ok(after)) if *before != after => {
                    return Err(refused("files that clients find now would be gone, or others"));
                }
                _ => {}
            }
        }
        Ok(())
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

    async fn program(&self, program: &Path, staged: &Arc<dyn Store>) -> Result<(), CeremonyError> {
        let verifier = program.display().to_string();
        let gate = |reason: String| CeremonyError::Gate { verifier: verifier.clone(), reason };
        let (folder, said) = (folder()?, tempfile::NamedTempFile::new().map_err(refused)?);
        write_out(staged, folder.path()).await.map_err(|error| gate(error.to_string()))?;
        let output = said.reopen().and_then(|file| Ok((file.try_clone()?, file)));
        let (stdout, stderr): (File, File) = output.map_err(|error| gate(error.to_string()))?;
        let mut command = Command::new(program);
        command.arg(folder.path()).stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        let mut child = command.spawn().map_err(|error| gate(error.to_string()))?;
        let mut waited = Duration::ZERO;
        let status = loop {
            match child.try_wait().map_err(|error| gate(error.to_string()))? {
                Some(status) => break status,
                None if waited < PATIENCE => {
                    tokio::time::sleep(INTERVAL).await;
                    waited += INTERVAL;
                }
                None => {
                    drop(child.kill());
                    drop(child.wait());
                    return Err(gate(format!("no answer within {} s", PATIENCE.as_secs())));
                }
            }
        };
        if status.success() {
            return Ok(());
        }
        let text = std::fs::read(said.path()).unwrap_or_default();
        let text =
            String::from_utf8_lossy(text.get(text.len().saturating_sub(MAX_REASON)..).unwrap_or_default());
        let text: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        Err(gate(format!("{status}: {text}")))
    }
}

fn refused(reason: impl std::fmt::Display) -> CeremonyError {
    CeremonyError::Gate { verifier: "the client".to_owned(), reason: reason.to_string() }
}

fn folder() -> Result<tempfile::TempDir, CeremonyError> {
    tempfile::tempdir().map_err(refused)
}

/// What a client finds of these files: length and hashes, or that they are not signed.
async fn look(
    client: &Client,
    files: &[TargetPath],
    now: DateTime<Utc>,
) -> Result<Vec<Option<crate::tuf::metadata::TargetFile>>, ClientError> {
    let mut session = client.refresh(now).await?;
    let mut found = Vec::with_capacity(files.len());
    for file in files {
        found.push(match session.find(file).await {
            Ok(file) => Some(file.target),
            Err(ClientError::NotSigned { .. }) => None,
            Err(error) => return Err(error),
        });
    }
    Ok(found)
}

/// The role that has expired, if that is what is wrong.
fn expired(error: &ClientError) -> Option<&str> {
    match error {
        ClientError::Trust(TrustError::Expired { role, .. }) => Some(role),
        _ => None,
    }
}

/// Files out of some bins, and one that nobody ever signed.
async fn sample(repository: &Repository) -> Result<Vec<TargetPath>, RepositoryError> {
    let state = repository.state().await?;
    let names = state.bins.delegations.iter().flat_map(crate::tuf::metadata::Delegations::names);
    let names: Vec<_> = names.collect::<Result<_, _>>()?;
    let step = names.len().div_ceil(SAMPLED_BINS).max(1);
    let mut files = vec![TargetPath::new("no-such-project/no-such-file")?];
    for name in names.iter().step_by(step) {
        let bin = state.bin(repository.store(), name).await?;
        let some = bin.targets.keys().take(SAMPLED_FILES).map(TargetPath::new);
        files.extend(some.collect::<Result<Vec<_>, _>>()?);
    }
    Ok(files)
}

/// The metadata that clients would be given, as files.
async fn write_out(staged: &Arc<dyn Store>, folder: &Path) -> anyhow::Result<()> {
    let State { root, snapshot, .. } = Repository::open(Arc::clone(staged)).await?.state().await?;
    let mut names: Vec<String> =
        (1..=root.common.version).map(|version| format!("{version}.root.json")).collect();
    names.push("timestamp.json".to_owned());
    names.push(format!("{}.snapshot.json", snapshot.common.version));
    for (name, file) in &snapshot.meta {
        let stem = name.strip_suffix(".json").unwrap_or(name);
        names.push(format!("{}.{}.json", file.version, crate::tuf::path::percent_quote(stem, b"")));
    }
    let metadata = folder.join(METADATA);
    std::fs::create_dir(&metadata)?;
    for name in names {
        // Bins that nobody delegates to any more may be gone.
        if let Some(object) = staged.get(&StorePath::new(format!("{METADATA}/{name}"))?, MAX_FILE).await? {
            std::fs::write(metadata.join(name), object.bytes)?;
        }
    }
    Ok(())
}
