//! Small files, sent from memory as soon as they were checked, and written to the cache behind that.
//!
//! A file that cannot be written is fetched again the next time: that is not the matter of the tool that asked.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tempfile::NamedTempFile;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use crate::client::VerifiedBytes;
use crate::tuf::lookup::Found;

/// Bytes up to which a file is small. Most wheels are.
const MAX_SMALL: u32 = 4 * 1_024 * 1_024;
/// Bytes of such files in memory, at most: from before they come until they are written and sent. What does not find room
/// goes by the spool, like a larger file.
const MAX_HELD: usize = 96 * 1_024 * 1_024;

/// See the module.
pub(super) struct Memory {
    room: Arc<Semaphore>,
    /// Files that are not written yet, by their names in the cache.
    unwritten: Mutex<HashMap<String, Held>>,
    /// One of them was.
    written: Notify,
    /// Held while one is written: many at once would only wait for each other.
    turn: tokio::sync::Mutex<()>,
}

/// A small file in memory.
#[derive(Clone)]
pub(super) struct Held(Arc<Whole>);

struct Whole {
    file: VerifiedBytes,
    _room: OwnedSemaphorePermit,
}

impl Held {
    pub(super) fn new(file: VerifiedBytes, room: OwnedSemaphorePermit) -> Self {
        Self(Arc::new(Whole { file, _room: room }))
    }

    pub(super) fn file(&self) -> &VerifiedBytes {
        &self.0.file
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        self.0.file.bytes()
    }
}

impl Memory {
    pub(super) fn new() -> Self {
        Self {
            room: Arc::new(Semaphore::new(MAX_HELD)),
            unwritten: Mutex::default(),
            written: Notify::new(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Room for a file of that length, if it is small and there is some.
    pub(super) fn room(&self, length: u64) -> Option<OwnedSemaphorePermit> {
        let length = u32::try_from(length).ok().filter(|length| *length <= MAX_SMALL)?;
        Arc::clone(&self.room).try_acquire_many_owned(length).ok()
    }

    /// A file that is not written yet.
    pub(super) fn unwritten(&self, name: &str, found: &Found) -> Option<Held> {
        self.lock().get(name).filter(|held| *held.file().target() == found.target).cloned()
    }

    /// From now on a file can be had from here, until what is returned is dropped.
    pub(super) fn behind(self: &Arc<Self>, name: &str, held: Held) -> Behind {
        self.lock().insert(name.to_owned(), held.clone());
        Behind { memory: Arc::clone(self), name: name.to_owned(), held }
    }

    /// Waits until all is written that is to be.
    pub(super) async fn settle(&self) {
        loop {
            let written = self.written.notified();
            if self.lock().is_empty() {
                return;
            }
            written.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file that is to be written.
pub(super) struct Behind {
    memory: Arc<Memory>,
    name: String,
    held: Held,
}

impl Behind {
    /// Writes it to `folder`, in which it appears whole, or not at all: see the module.
    pub(super) async fn write(&self, folder: &Path) {
        let _turn = self.memory.turn.lock().await;
        let (held, to, folder) = (self.held.clone(), folder.join(&self.name), folder.to_owned());
        drop(spawn_blocking(move || written(held.as_ref(), &folder, &to)).await);
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.memory.lock().remove(&self.name);
        self.memory.written.notify_waiters();
    }
}

fn written(bytes: &[u8], folder: &Path, to: &Path) -> std::io::Result<()> {
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.persist(to)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_small_or_finds_no_room_is_not_taken_and_room_comes_back() {
        let memory = Memory::new();
        assert!(memory.room(u64::from(MAX_SMALL) + 1).is_none());
        assert!(memory.room(u64::MAX).is_none());
        let mut taken: Vec<_> = std::iter::from_fn(|| memory.room(MAX_SMALL.into())).collect();
        assert_eq!(taken.len(), 24);
        assert!(memory.room(1).is_none());
        taken.pop();
        assert!(memory.room(MAX_SMALL.into()).is_some());
    }

    #[test]
    fn a_file_that_cannot_be_written_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("taken");
        std::fs::create_dir(&to).unwrap();
        written(b"text", folder.path(), &to).unwrap_err();
        written(b"text", &folder.path().join("gone"), &to).unwrap_err();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        std::fs::remove_dir(&to).unwrap();
        written(b"text", folder.path(), &to).unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), b"text");
    }
}
