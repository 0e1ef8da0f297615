//! `monitor`: a log that a test writes and rewrites, and somebody who watches it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a log that cannot be written fails the test"
)]

mod forks;
mod program;
mod roles;
mod rounds;
mod tail;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tempfile::TempDir;
use wheelseal::client::Session;
use wheelseal::crypto::{NewKey, PublicKey, Scheme, SigningKey};
use wheelseal::log::{Entries, Files, Log, LogError, LogSigner, Reader, StoreFiles, Unwitnessed};
use wheelseal::monitor::{Event, Expected, Monitor, MonitorError, Round, Watched};
use wheelseal::store::DirStore;
use wheelseal::tlog::bundle;
use wheelseal::tlog::checkpoint::{Checkpoint, SignedCheckpoint};
use wheelseal::tlog::key::{KeyKind, KeyName, VerifierKey};
use wheelseal::tlog::leaf::{FileLeaf, Leaf};
use wheelseal::tlog::merkle::{Hash, Tree};
use wheelseal::tlog::policy::Policy;

use crate::scene::{files_below, now};

pub(crate) const ORIGIN: &str = "index.example/log";

/// The key of a log.
pub(crate) struct Signer {
    key: VerifierKey,
    private: SigningKey,
}

impl Signer {
    pub(crate) fn new() -> Self {
        let private = SigningKey::from_pkcs8(&NewKey::Ed25519.generate().unwrap()).unwrap();
        let PublicKey::Ed25519(public) = *private.public() else { unreachable!("an Ed25519 key was made") };
        Self { key: VerifierKey::new(KeyName::new(ORIGIN).unwrap(), KeyKind::Log, public), private }
    }

    pub(crate) fn policy_text(&self) -> String {
        format!("log {}\nquorum none\n", self.key)
    }

    pub(crate) fn policy(&self) -> Policy {
        Policy::parse(self.policy_text().as_bytes()).unwrap()
    }
}

#[async_trait]
impl LogSigner for Signer {
    fn key(&self) -> &VerifierKey {
        &self.key
    }

    async fn sign(&self, message: &[u8]) -> Result<[u8; 64], String> {
        Ok(self.private.sign(Scheme::Ed25519, message).unwrap().try_into().unwrap())
    }
}

/// The files that a monitor sees: those of one folder, and of another one as soon as a test says so.
#[derive(Debug)]
struct Shown(Mutex<PathBuf>);

#[async_trait]
impl Files for Shown {
    async fn read(&self, path: &str, max: u64) -> Result<Option<Vec<u8>>, LogError> {
        let folder = self.0.lock().unwrap().clone();
        StoreFiles(Arc::new(DirStore::open(folder).await?)).read(path, max).await
    }
}

/// A log in a folder, and a monitor's folder beside it.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) signer: Arc<Signer>,
    shown: Arc<Shown>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::of(Arc::new(Signer::new()), Vec::new()).await
    }

    /// A log with these leaves, signed for.
    pub(crate) async fn of(signer: Arc<Signer>, leaves: Vec<Leaf>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        Log::new(Arc::new(DirStore::create(&log).await.unwrap())).create(ORIGIN, None).await.unwrap();
        let world = Self { shown: Arc::new(Shown(Mutex::new(log))), folder, signer };
        world.append(leaves).await;
        world
    }

    pub(crate) fn log_folder(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn checkpoint(&self) -> PathBuf {
        self.log_folder().join("log/checkpoint")
    }

    /// Appends leaves and signs.
    pub(crate) async fn append(&self, leaves: Vec<Leaf>) {
        let log = Log::new(Arc::new(DirStore::open(self.log_folder()).await.unwrap()));
        if !leaves.is_empty() {
            let mut entries = Entries::default();
            for leaf in &leaves {
                entries.push(leaf).unwrap();
            }
            let head = log.head().await.unwrap().unwrap();
            log.append(&head, entries).await.unwrap();
        }
        let (_, checkpoint) = log.sign(&*self.signer, &Unwitnessed).await.unwrap();
        log.publish(&checkpoint).await.unwrap();
    }

    /// Signs a log of these entries, whatever they are: fewer than 256.
    pub(crate) async fn write(&self, entries: &[Vec<u8>]) {
        let (mut tree, mut hashes, mut bundle) =
            (Tree::resume(0, Vec::new()).unwrap(), Vec::new(), Vec::new());
        for entry in entries {
            tree.push(Hash::leaf(entry));
            hashes.extend_from_slice(Hash::leaf(entry).as_bytes());
            bundle::push(&mut bundle, entry).unwrap();
        }
        let size = entries.len();
        let checkpoint = Checkpoint::new(ORIGIN, u64::try_from(size).unwrap(), tree.root()).unwrap();
        let signature = self.signer.sign(checkpoint.to_string().as_bytes()).await.unwrap();
        let signed = SignedCheckpoint::sign(checkpoint, &self.signer.key, &signature).unwrap();
        let tiles = self.log_folder().join("log/tile");
        for (name, bytes) in [("0/000.p", hashes), ("entries/000.p", bundle)] {
            fs::create_dir_all(tiles.join(name)).unwrap();
            fs::write(tiles.join(name).join(size.to_string()), bytes).unwrap();
        }
        fs::write(self.checkpoint(), signed.to_string()).unwrap();
    }

    /// From now on the monitor sees another folder in place of this one.
    pub(crate) fn shows(&self, folder: &Path) {
        folder.clone_into(&mut self.shown.0.lock().unwrap());
    }

    pub(crate) fn reader(&self) -> Reader {
        let files: Arc<dyn Files> = self.shown.clone();
        Reader::new(files)
    }

    /// A monitor as it starts.
    pub(crate) async fn monitor(&self, watched: Watched) -> Monitor {
        self.monitor_in(&self.state(), watched).await
    }

    async fn monitor_in(&self, state: &Path, watched: Watched) -> Monitor {
        Monitor::open(state, self.reader(), self.signer.policy(), watched).await.unwrap()
    }
}

/// One look; what was told.
pub(crate) async fn look_at(
    monitor: &mut Monitor,
    at: DateTime<Utc>,
    session: Option<&Session>,
) -> (Result<Round, MonitorError>, Vec<Event>) {
    let mut told = Vec::new();
    let mut tell = |events: &[Event]| {
        told.extend_from_slice(events);
        Ok(())
    };
    let (round, outcome) = monitor.round(at, session, &mut tell).await;
    (outcome.map(|()| round), told)
}

pub(crate) async fn look(monitor: &mut Monitor) -> (Round, Vec<Event>) {
    let (round, told) = look_at(monitor, now(), None).await;
    (round.unwrap(), told)
}

pub(crate) fn watching(projects: &[&str]) -> Watched {
    Watched { projects: projects.iter().map(|name| name.parse().unwrap()).collect(), ..Watched::default() }
}

pub(crate) fn expecting(projects: &[&str], lines: &str) -> Watched {
    Watched { expected: Some(Expected::parse(lines).unwrap()), ..watching(projects) }
}

/// A file whose hash is 32 times this byte.
pub(crate) fn file(project: &str, version: &str, byte: u8) -> FileLeaf {
    FileLeaf::new(&path(project, version), version, 7, [byte; 32]).unwrap()
}

pub(crate) fn path(project: &str, version: &str) -> String {
    format!("{project}/{project}-{version}.tar.gz")
}

pub(crate) fn leaf(project: &str, version: &str, byte: u8) -> Leaf {
    Leaf::File(file(project, version, byte))
}

/// Events as JSON, to be compared.
pub(crate) fn json(events: &[Event]) -> Vec<serde_json::Value> {
    events.iter().map(|event| serde_json::from_str(&event.to_json()).unwrap()).collect()
}

/// The kinds of events, in their order.
pub(crate) fn kinds(events: &[Event]) -> Vec<String> {
    json(events).iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect()
}

/// The evidence that the monitor has written, by name.
pub(crate) fn evidence(world: &World) -> BTreeMap<String, Vec<u8>> {
    files_below(&world.state().join("evidence"))
}

/// A copy of what the monitor remembers at this moment.
fn copy(from: &Path, to: &Path) {
    for (name, bytes) in files_below(from) {
        let at = to.join(name);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, bytes).unwrap();
    }
}
