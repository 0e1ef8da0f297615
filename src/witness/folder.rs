//! What a witness keeps, in a store of its own:
//!
//! | object | what |
//! |---|---|
//! | `witness.toml` | its key, by URI, and its public half with its name, as a vkey |
//! | `logs/H/keys` | a log it knows: a line with the origin, and a vkey in each line after it |
//! | `logs/H/checkpoint` | the latest checkpoint it cosigned of that log |
//! | `logs/H/fork-….txt` | evidence that the log signed two trees ([`super::fork`]) |
//!
//! `H` is the SHA-256 of the origin, as in the address under which a witness serves the checkpoint. A log that is removed
//! loses its keys alone: what the witness has cosigned it never forgets, or the log could be added again and rolled back.

use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::fork;
use crate::store::{Content, Store, StoreError, StorePath, Tag};
use crate::tlog::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::tlog::key::{KeyError, KeyKind, KnownKeys, Statement, VerifierKey};
use crate::tlog::merkle::Hash;
use crate::tlog::note::MAX_NOTE_LEN;
use crate::tlog::witness::checkpoint_path;

/// The settings.
const SETTINGS: &str = "witness.toml";
/// The format this version writes and reads.
const FORMAT: u32 = 1;
/// Bytes of the settings, at most: they have three lines.
const MAX_SETTINGS: u64 = 16 * 1024;
/// Keys of one log, at most: the present one, and those it had before.
pub const MAX_KEYS: usize = 16;
/// Bytes of a list of them, at most: an origin and keys have a name of 255 bytes and some 60 more.
const MAX_KEYS_LEN: u64 = 16 * 1024;
/// Below which everything about logs lies.
pub(super) const LOGS: &str = "logs";

/// Why a witness's folder is of no use.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FolderError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no witness.
    #[error("there is no witness here: no {SETTINGS}")]
    None,
    /// A new witness where there is one.
    #[error("there is a witness here already")]
    Exists,
    /// A file that is not what it should be.
    #[error("{file} is not what this witness wrote: {problem}")]
    Damaged {
        /// Which file.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A key of the wrong kind.
    #[error("key {key} is {found}, expected {expected}")]
    Kind {
        /// The key's name.
        key: String,
        /// What it signs.
        found: &'static str,
        /// What it should sign.
        expected: &'static str,
    },
    /// A key that is known already, here or as the witness's own.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// More than [`MAX_KEYS`].
    #[error("log {origin:?} has {MAX_KEYS} keys already; remove it, and add those it still uses")]
    TooManyKeys {
        /// The log.
        origin: String,
    },
    /// An origin that no log has.
    #[error("{origin:?} is no origin of a log: it has 1 to 255 bytes, and no control characters")]
    Origin {
        /// What was given.
        origin: String,
    },
    /// Not a log that this witness knows.
    #[error("this witness knows no log {origin:?}")]
    Unknown {
        /// What was given.
        origin: String,
    },
}

/// `witness.toml`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    format: u32,
    key: String,
    vkey: String,
}

/// A log that a witness knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownLog {
    origin: String,
    keys: Vec<VerifierKey>,
}

impl KnownLog {
    /// Its origin.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The keys that sign its checkpoints, any of them.
    pub fn keys(&self) -> &[VerifierKey] {
        &self.keys
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (origin, rest) = text.split_once('\n').ok_or("it has no origin")?;
        check_origin(origin).map_err(|error| error.to_string())?;
        let keys: Result<Vec<_>, _> = rest.lines().map(VerifierKey::from_str).collect();
        Ok(Self { origin: origin.to_owned(), keys: keys.map_err(|error| error.to_string())? })
    }

    fn text(&self) -> String {
        let keys = self.keys.iter().map(|key| format!("{key}\n"));
        format!("{}\n{}", self.origin, keys.collect::<String>())
    }
}

/// The latest checkpoint that a witness cosigned of a log: read back, and found to have its own cosignature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latest {
    checkpoint: Checkpoint,
    note: SignedCheckpoint,
    time: u64,
    tag: Tag,
}

impl Latest {
    /// What the log was.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The same, with the signatures of the log and of the witness.
    pub fn note(&self) -> &SignedCheckpoint {
        &self.note
    }

    /// When it was cosigned, in seconds since the epoch.
    pub fn time(&self) -> u64 {
        self.time
    }

    /// Which version of the object this is.
    pub(super) fn tag(&self) -> &Tag {
        &self.tag
    }
}

/// A witness's folder. Clones share the store.
#[derive(Debug, Clone)]
pub struct Folder {
    store: Arc<dyn Store>,
    key: VerifierKey,
    uri: String,
    own: KnownKeys,
}

impl Folder {
    /// A new witness: `uri` names its private key, `key` is the public half.
    pub async fn create(store: Arc<dyn Store>, uri: &str, key: VerifierKey) -> Result<Self, FolderError> {
        if key.kind() != KeyKind::Witness {
            return Err(wrong_kind(&key));
        }
        let settings = Settings { format: FORMAT, key: uri.to_owned(), vkey: key.to_string() };
        let text = toml::to_string(&settings).map_err(|error| damaged(SETTINGS, error))?;
        match store.create(&StorePath::new(SETTINGS)?, Content::Bytes(text.as_bytes())).await {
            Err(StoreError::Exists { .. }) => Err(FolderError::Exists),
            Err(error) => Err(error.into()),
            Ok(()) => Self::new(store, uri.to_owned(), key),
        }
    }

    /// The witness that lies in a store.
    pub async fn open(store: Arc<dyn Store>) -> Result<Self, FolderError> {
        let object = store.get(&StorePath::new(SETTINGS)?, MAX_SETTINGS).await?.ok_or(FolderError::None)?;
        let text = str::from_utf8(&object.bytes).map_err(|error| damaged(SETTINGS, error))?;
        let settings: Settings = toml::from_str(text).map_err(|error| damaged(SETTINGS, error))?;
        if settings.format != FORMAT {
            let problem = format!("format {} is not known, only {FORMAT}", settings.format);
            return Err(damaged(SETTINGS, problem));
        }
        let key = VerifierKey::from_str(&settings.vkey).map_err(|error| damaged(SETTINGS, error))?;
        if key.kind() == KeyKind::Witness {
            Self::new(store, settings.key, key)
        } else {
            Err(wrong_kind(&key))
        }
    }

    fn new(store: Arc<dyn Store>, uri: String, key: VerifierKey) -> Result<Self, FolderError> {
        let own = KnownKeys::new(vec![key.clone()])?;
        Ok(Self { store, key, uri, own })
    }

    /// The witness's name and public key.
    pub fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// Where its private key is. Written by whoever can write to the store.
    pub fn key_uri(&self) -> &str {
        &self.uri
    }

    /// The witness's key, as the only one known.
    pub(super) fn own(&self) -> &KnownKeys {
        &self.own
    }

    pub(super) fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    /// Whether it can be read.
    pub(super) async fn is_there(&self) -> Result<(), FolderError> {
        let settings = self.store.get(&StorePath::new(SETTINGS)?, MAX_SETTINGS).await?;
        settings.map(drop).ok_or(FolderError::None)
    }

    /// How many forks of a log are kept: [`super::fork`].
    pub async fn forks(&self, origin: &str) -> Result<usize, FolderError> {
        fork::count(self, origin).await
    }

    /// Adds a key to those that sign for `origin`, which becomes known with its first one.
    pub async fn add_log(&self, origin: &str, key: VerifierKey) -> Result<KnownLog, FolderError> {
        check_origin(origin)?;
        if key.kind() != KeyKind::Log {
            return Err(wrong_kind(&key));
        }
        let path = keys_path(&hash(origin))?;
        let object = self.store.get(&path, MAX_KEYS_LEN).await?;
        let (mut log, tag) = match object {
            Some(object) => (read_log(&path, origin, &object.bytes)?, Some(object.tag)),
            None => (KnownLog { origin: origin.to_owned(), keys: Vec::new() }, None),
        };
        if log.keys.len() >= MAX_KEYS {
            return Err(FolderError::TooManyKeys { origin: origin.to_owned() });
        }
        log.keys.push(key);
        let mut all = log.keys.clone();
        all.push(self.key.clone());
        KnownKeys::new(all)?;
        self.store.swap(&path, log.text().as_bytes(), tag.as_ref()).await?;
        Ok(log)
    }

    /// Cosigns nothing more of a log. Its latest checkpoint stays.
    pub async fn remove_log(&self, origin: &str) -> Result<(), FolderError> {
        if self.log(origin).await?.is_none() {
            return Err(FolderError::Unknown { origin: origin.to_owned() });
        }
        Ok(self.store.delete(&keys_path(&hash(origin))?).await?)
    }

    /// The log of this origin, if it is known.
    pub async fn log(&self, origin: &str) -> Result<Option<KnownLog>, FolderError> {
        let path = keys_path(&hash(origin))?;
        let Some(object) = self.store.get(&path, MAX_KEYS_LEN).await? else { return Ok(None) };
        read_log(&path, origin, &object.bytes).map(Some)
    }

    /// All logs that are known, by their origin.
    pub async fn logs(&self) -> Result<Vec<KnownLog>, FolderError> {
        let entries = self.store.list(LOGS).await?.into_iter();
        let paths: Vec<_> =
            entries.map(|entry| entry.path).filter(|path| path.as_str().ends_with("/keys")).collect();
        let mut logs = Vec::with_capacity(paths.len());
        for (path, bytes) in paths.iter().zip(self.store.read_all(&paths, MAX_KEYS_LEN).await?) {
            if let Some(bytes) = bytes {
                logs.push(read_any(path, &bytes)?);
            }
        }
        logs.sort_by(|one, other| one.origin.cmp(&other.origin));
        Ok(logs)
    }

    /// The latest checkpoint that was cosigned of a log, known or not.
    pub async fn latest(&self, origin: &str) -> Result<Option<Latest>, FolderError> {
        self.latest_at(&hash(origin)).await
    }

    /// The same, by the hash of its origin, which is 64 lower-case hexadecimal digits.
    pub(super) async fn latest_at(&self, hash: &str) -> Result<Option<Latest>, FolderError> {
        let path = checkpoint_object(hash)?;
        let max = u64::try_from(MAX_NOTE_LEN).unwrap_or(u64::MAX);
        let Some(object) = self.store.get(&path, max).await? else { return Ok(None) };
        let bad = |problem: &dyn std::fmt::Display| damaged(path.as_str(), problem);
        let note = SignedCheckpoint::parse(&object.bytes).map_err(|error| bad(&error))?;
        let (checkpoint, verified) = note.verify(&self.own).map_err(|error| bad(&error))?;
        if self::hash(checkpoint.origin()) != hash {
            return Err(bad(&"it is of another log"));
        }
        let time = match verified.signers() {
            [(_, Statement::Cosigned { time })] => *time,
            _ => return Err(bad(&"the witness did not cosign it")),
        };
        Ok(Some(Latest { checkpoint: checkpoint.clone(), time, tag: object.tag, note: note.clone() }))
    }

    /// Remembers a cosigned checkpoint in place of `latest`; `false` if somebody else was faster.
    pub(super) async fn record(
        &self,
        note: &SignedCheckpoint,
        latest: Option<&Latest>,
    ) -> Result<bool, FolderError> {
        let path = checkpoint_object(&hash(note.claimed_origin()))?;
        match self.store.swap(&path, note.to_string().as_bytes(), latest.map(Latest::tag)).await {
            Ok(_) => Ok(true),
            Err(StoreError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Hexadecimal SHA-256 of an origin.
pub(super) fn hash(origin: &str) -> String {
    let path = checkpoint_path(origin);
    path.split('/').next().unwrap_or_default().to_owned()
}

fn keys_path(hash: &str) -> Result<StorePath, StoreError> {
    StorePath::new(format!("{LOGS}/{hash}/keys"))
}

fn checkpoint_object(hash: &str) -> Result<StorePath, StoreError> {
    StorePath::new(format!("{LOGS}/{hash}/checkpoint"))
}

fn read_log(path: &StorePath, origin: &str, bytes: &[u8]) -> Result<KnownLog, FolderError> {
    let log = read_any(path, bytes)?;
    if log.origin == origin { Ok(log) } else { Err(damaged(path.as_str(), "it is of another log")) }
}

fn read_any(path: &StorePath, bytes: &[u8]) -> Result<KnownLog, FolderError> {
    let text = str::from_utf8(bytes).map_err(|error| damaged(path.as_str(), error))?;
    KnownLog::parse(text).map_err(|problem| damaged(path.as_str(), problem))
}

/// What a checkpoint can say.
fn check_origin(origin: &str) -> Result<(), FolderError> {
    let bad = |_| FolderError::Origin { origin: origin.escape_debug().to_string() };
    Checkpoint::new(origin, 0, Hash::empty_root()).map(drop).map_err(bad)
}

fn wrong_kind(key: &VerifierKey) -> FolderError {
    let (log, witness) = ("a log's (kind 0x01)", "a witness's (kind 0x04)");
    let (found, expected) = match key.kind() {
        KeyKind::Log => (log, witness),
        KeyKind::Witness => (witness, log),
    };
    FolderError::Kind { key: key.name().to_string(), found, expected }
}

fn damaged(file: &str, problem: impl std::fmt::Display) -> FolderError {
    FolderError::Damaged { file: file.to_owned(), problem: problem.to_string() }
}
