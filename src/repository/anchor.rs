//! What this machine remembers of a repository, outside the store it lies in.
//!
//! Whoever can write to the store could put another root there, made up of their own keys and the real online key, and
//! let the next publication sign their metadata; or put back an older state. So the newest root and the highest
//! timestamp version that were seen here are kept in a file of this machine. The first sight is taken on trust.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::RepositoryError;
use super::log::LoggingError;
use super::state::State;
use crate::log::Head;
use crate::tuf::metadata::{LogHead, Root, TopLevel, Version};
use crate::tuf::signed::{Signed, Verified};

/// A file that remembers one repository.
#[derive(Debug, Clone)]
pub struct Anchor {
    file: PathBuf,
    /// Only held against, as long as what is seen may come to nothing.
    frozen: bool,
}

/// Its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    /// The newest root seen, as it came.
    root: String,
    /// The highest timestamp version seen.
    timestamp: Version,
    /// The newest head of the transparency log seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log: Option<SeenLog>,
}

/// A head of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SeenLog {
    origin: String,
    size: u64,
    /// In hexadecimal digits.
    root: String,
    /// Whether a timestamp named the log. Before, a log that was begun may come to nothing.
    #[serde(default)]
    committed: bool,
}

impl Seen {
    /// The root to start from.
    pub(super) fn root(&self) -> Result<Verified<Root>, RepositoryError> {
        Ok(Signed::<Root>::new(self.root.as_bytes()).verify_initial()?)
    }

    /// Its root, if that is newer than this one.
    fn newer_root(&self, than: &Root) -> Option<Verified<Root>> {
        self.root().ok().filter(|root| root.common.version > than.common.version)
    }
}

/// Whether timestamp or snapshot have other keys.
fn rotated(old: &Root, new: &Root) -> bool {
    let other = |role| !old.authority(role).same_as(&new.authority(role));
    other(TopLevel::Timestamp) || other(TopLevel::Snapshot)
}

impl Anchor {
    /// Remembers in `file`, which need not exist yet.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), frozen: false }
    }

    /// The same memory, to which nothing is added.
    pub(super) fn frozen(&self) -> Self {
        Self { frozen: true, ..self.clone() }
    }

    /// Forgets everything: a new repository is about to be made.
    pub fn forget(&self) -> Result<(), RepositoryError> {
        match std::fs::remove_file(&self.file) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(self.failed("removing", &error)),
            _ => Ok(()),
        }
    }

    /// What was seen before. To be asked before the state is read: what others commit meanwhile, and remember here,
    /// is no step back.
    pub(super) fn seen(&self) -> Result<Option<Seen>, RepositoryError> {
        let bytes = match std::fs::read(&self.file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed("reading", &error)),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| self.failed("reading", &error.into()))
    }

    /// Refuses a state older than what was `seen` before it was read, and remembers a newer one.
    pub(super) fn check(&self, seen: Option<Seen>, state: &State) -> Result<(), RepositoryError> {
        let timestamp = state.timestamp.common.version;
        // As clients do: new keys for timestamp or snapshot make it forget a version that was pushed up.
        let forgotten = |old: &Seen| old.root().is_ok_and(|root| rotated(&root, &state.root));
        if let Some(old) = seen.filter(|old| timestamp < old.timestamp && !forgotten(old)) {
            let (found, seen, file) = (timestamp, old.timestamp, self.file.display().to_string());
            return Err(RepositoryError::WentBack { found, seen, file });
        }
        let begun = self.seen()?.and_then(|seen| seen.log);
        if state.timestamp.log.is_none() && begun.is_some_and(|log| log.committed) {
            return Err(LoggingError::Unnamed { known: "this machine remembers one" }.into());
        }
        if self.frozen {
            return Ok(());
        }
        self.update(|other| {
            let known = other.filter(|other| !forgotten(other)).map_or(0, |other| other.timestamp);
            // A timestamp that only the root before vouches for says nothing of those to come: it may be a thief's.
            let timestamp = if state.forgotten() { known } else { timestamp };
            let named = state.timestamp.log.is_some();
            let log = other.and_then(|other| other.log.clone());
            let log = log.map(|log| SeenLog { committed: log.committed || named, ..log });
            let mut new =
                Seen { root: String::from_utf8_lossy(state.root.bytes()).into_owned(), timestamp, log };
            let Some(other) = other else { return Some(new) };
            // Another command was faster, and has seen something newer.
            if let Some(root) = other.newer_root(&state.root) {
                if rotated(&state.root, &root) {
                    return None;
                }
                new.root.clone_from(&other.root);
            }
            new.timestamp = new.timestamp.max(known);
            Some(new).filter(|new| new != other)
        })
    }

    /// The newest head of the log that was seen.
    pub(super) fn seen_log(&self) -> Result<Option<LogHead>, RepositoryError> {
        let Some(SeenLog { origin, size, root, .. }) = self.seen()?.and_then(|seen| seen.log) else {
            return Ok(None);
        };
        let mut root_hash = [0; 32];
        let read = hex::decode_to_slice(root, &mut root_hash);
        read.map_err(|error| self.failed("reading", &std::io::Error::other(error)))?;
        Ok(Some(LogHead { origin, root_hash, size }))
    }

    /// Remembers a head of the log that is about to be signed for, whatever becomes of what it is signed for.
    pub(super) fn saw_log(&self, head: &Head) -> Result<(), RepositoryError> {
        self.update(|seen| {
            let seen = seen?;
            let root = hex::encode(head.root().as_bytes());
            let committed = seen.log.as_ref().is_some_and(|old| old.committed);
            let new = SeenLog { origin: head.origin().to_owned(), size: head.size(), root, committed };
            let known = seen.log.as_ref().filter(|old| old.origin == new.origin && old.size >= new.size);
            known.is_none().then(|| Seen { log: Some(new), ..seen.clone() })
        })
    }

    /// Replaces what was seen by what `change` makes of it, if anything. What other commands see meanwhile is not lost: whoever
    /// writes holds a lock on the folder.
    fn update(&self, change: impl Fn(Option<&Seen>) -> Option<Seen>) -> Result<(), RepositoryError> {
        if change(self.seen()?.as_ref()).is_none() {
            return Ok(());
        }
        let folder = self.file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let locked = std::fs::create_dir_all(folder).and_then(|()| {
            let folder = File::open(folder)?;
            folder.lock().map(|()| folder)
        });
        let _until_written = locked.map_err(|error| self.failed("locking", &error))?;
        change(self.seen()?.as_ref()).map_or(Ok(()), |new| self.write(&new))
    }

    fn write(&self, seen: &Seen) -> Result<(), RepositoryError> {
        let folder = self.file.parent().unwrap_or(Path::new("."));
        let written = std::fs::create_dir_all(folder).and_then(|()| {
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(&serde_json::to_vec(seen)?)?;
            file.as_file().sync_data()?;
            file.persist(&self.file).map(drop).map_err(|refused| refused.error)
        });
        written.map_err(|error| self.failed("writing", &error))
    }

    fn failed(&self, what: &'static str, error: &std::io::Error) -> RepositoryError {
        RepositoryError::File { what, file: self.file.display().to_string(), reason: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_commands_see_at_once_is_all_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let anchor = Anchor::new(folder.path().join("below/anchor.json"));
        let next = |seen: Option<&Seen>| {
            let timestamp = seen.map_or(0, |seen| seen.timestamp);
            Some(Seen { root: String::new(), timestamp: timestamp + 1, log: None })
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..25).for_each(|_| anchor.update(next).unwrap()));
            }
        });
        assert_eq!(anchor.seen().unwrap().map(|seen| seen.timestamp), Some(100));
    }
}
