//! The folder of trusted metadata: bytes as received, each file whole or absent, one process at a time.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::iter::repeat_n;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use thiserror::Error;

use super::log::LogDir;

/// How long to wait for another process that updates the same folder.
const LOCK_PATIENCE: Duration = Duration::from_mins(2);
/// How often to try.
const LOCK_INTERVAL: Duration = Duration::from_millis(20);
/// Bytes of a local metadata file that are read, at most: well above every limit on fetching.
const MAX_FILE: u64 = 64 * 1024 * 1024;
/// How long a download may lie in the spool; none takes a day.
const SPOOL_LIFE: Duration = Duration::from_hours(24);
/// What is kept of the transparency log; roles are files here, and end in `.json`.
const LOG: &str = "log";
/// Where downloads lie until they are checked.
const SPOOL: &str = ".spool";

/// Why the folder does not work.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CacheError {
    /// A file operation failed.
    #[error("{what} {path}: {reason}")]
    Io {
        /// Verb.
        what: &'static str,
        /// Which file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// There is no trusted root to start from.
    #[error("{path} does not exist: no root is trusted yet")]
    NoRoot {
        /// Where it should be.
        path: String,
    },
    /// Another process holds the folder for longer than it is worth waiting.
    #[error("another process has been updating {path} for {seconds} s")]
    Busy {
        /// The folder.
        path: String,
        /// How long this process waited.
        seconds: u64,
    },
}

impl CacheError {
    pub(super) fn new(what: &'static str, path: &Path, error: &std::io::Error) -> Self {
        Self::Io { what, path: path.display().to_string(), reason: error.to_string() }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoRoot { .. } => Some("start with a root.json from a channel that you trust"),
            Self::Busy { .. } => Some("try again when the other process is done"),
            Self::Io { .. } => None,
        }
    }
}

/// A folder of trusted metadata.
#[derive(Debug, Clone)]
pub struct MetadataDir {
    dir: PathBuf,
}

/// Held while a process updates the folder; released when dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl MetadataDir {
    /// An existing folder, or one that is made when first written to.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Makes the folder with `root` as the trusted root. Nothing is checked here.
    pub fn init(dir: impl Into<PathBuf>, root: &[u8]) -> Result<Self, CacheError> {
        let cache = Self::new(dir);
        cache.write("root", root)?;
        Ok(cache)
    }

    /// Puts the first root in place, unless another process did so first.
    pub fn start(&self, root: &[u8]) -> Result<(), CacheError> {
        self.make()?;
        let path = self.path("root");
        let written = tempfile::NamedTempFile::new_in(&self.dir).and_then(|mut file| {
            file.write_all(root)?;
            file.as_file().sync_data()?;
            match file.persist_noclobber(&path) {
                Err(refused) if refused.error.kind() != ErrorKind::AlreadyExists => Err(refused.error),
                _ => Ok(()),
            }
        });
        written.map_err(|error| CacheError::new("writing", &path, &error))
    }

    /// Whether a root is there.
    pub fn has_root(&self) -> bool {
        self.path("root").is_file()
    }

    /// Waits for other processes and keeps them out.
    pub async fn lock(&self) -> Result<Lock, CacheError> {
        self.make()?;
        let path = self.dir.join(".lock");
        let file = File::options().create(true).append(true).open(&path);
        let file = file.map_err(|error| CacheError::new("opening", &path, &error))?;
        let mut waited = Duration::ZERO;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(TryLockError::WouldBlock) if waited < LOCK_PATIENCE => {
                    tokio::time::sleep(LOCK_INTERVAL).await;
                    waited += LOCK_INTERVAL;
                }
                Err(TryLockError::WouldBlock) => {
                    let path = self.dir.display().to_string();
                    return Err(CacheError::Busy { path, seconds: waited.as_secs() });
                }
                Err(TryLockError::Error(error)) => return Err(CacheError::new("locking", &path, &error)),
            }
        }
    }

    /// The trusted root.
    pub fn root(&self) -> Result<Arc<[u8]>, CacheError> {
        self.read("root")?.ok_or_else(|| CacheError::NoRoot { path: self.path("root").display().to_string() })
    }

    /// A role's bytes, if it is there. `stem` is the quoted role name.
    pub fn read(&self, stem: &str) -> Result<Option<Arc<[u8]>>, CacheError> {
        let path = self.path(stem);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(CacheError::new("opening", &path, &error)),
        };
        let failed = |error: std::io::Error| CacheError::new("reading", &path, &error);
        let length = file.metadata().map_err(failed)?.len().min(MAX_FILE);
        // Files are replaced whole, so the length stays what it is. Read into the memory where they are kept.
        let mut bytes: Arc<[u8]> = repeat_n(0, usize::try_from(length).unwrap_or_default()).collect();
        if let Some(bytes) = Arc::get_mut(&mut bytes) {
            file.read_exact(bytes).map_err(failed)?;
        }
        Ok(Some(bytes))
    }

    /// Replaces a role's bytes, whole or not at all, even if the machine stops: for root, timestamp and snapshot,
    /// which later updates are measured by.
    pub fn write(&self, stem: &str, bytes: &[u8]) -> Result<(), CacheError> {
        self.replace(stem, bytes, File::sync_data)
    }

    /// The same without waiting for the disk: for targets roles, which may be fetched again. If the machine stops,
    /// what is left may be torn; then it fails its checks and counts as absent.
    pub fn keep(&self, stem: &str, bytes: &[u8]) -> Result<(), CacheError> {
        self.replace(stem, bytes, |_| Ok(()))
    }

    fn replace(
        &self,
        stem: &str,
        bytes: &[u8],
        flush: fn(&File) -> std::io::Result<()>,
    ) -> Result<(), CacheError> {
        self.make()?;
        let path = self.path(stem);
        let written = tempfile::NamedTempFile::new_in(&self.dir).and_then(|mut file| {
            file.write_all(bytes)?;
            flush(file.as_file())?;
            file.persist(&path).map_err(|error| error.error)
        });
        written.map(drop).map_err(|error| CacheError::new("writing", &path, &error))
    }

    /// Forgets a role.
    pub fn remove(&self, stem: &str) -> Result<(), CacheError> {
        let path = self.path(stem);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(CacheError::new("removing", &path, &error))
            }
            _ => Ok(()),
        }
    }

    /// The folder for unchecked downloads, made if needed.
    pub fn spool(&self) -> Result<PathBuf, CacheError> {
        let spool = self.dir.join(SPOOL);
        make(&spool)?;
        Ok(spool)
    }

    /// What is kept of the repository's log.
    pub(super) fn log(&self) -> LogDir {
        LogDir::new(self.dir.join(LOG))
    }

    /// Where evidence is kept that the log, or a recorder's, was rewritten.
    pub(super) fn evidence(&self) -> PathBuf {
        self.log().evidence()
    }

    /// Removes what killed processes left in the spool a day ago or earlier.
    pub fn sweep_spool(&self, now: SystemTime) {
        let Ok(entries) = std::fs::read_dir(self.dir.join(SPOOL)) else { return };
        let before = now.checked_sub(SPOOL_LIFE).unwrap_or(SystemTime::UNIX_EPOCH);
        for entry in entries.flatten() {
            let modified = entry.metadata().and_then(|about| about.modified());
            if modified.is_ok_and(|modified| modified < before) {
                // One that cannot be removed now is tried again next time; nothing depends on it.
                drop(std::fs::remove_file(entry.path()));
            }
        }
    }

    fn make(&self) -> Result<(), CacheError> {
        make(&self.dir)
    }

    fn path(&self, stem: &str) -> PathBuf {
        self.dir.join(format!("{stem}.json"))
    }
}

/// Makes a folder, if it is not there: to try it anyway would lock the folder above, in which others are busy.
fn make(dir: &Path) -> Result<(), CacheError> {
    if dir.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(dir).map_err(|error| CacheError::new("making", dir, &error))
}
