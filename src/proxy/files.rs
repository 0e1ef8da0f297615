//! Verified files, kept for the next time, within a number of bytes.
//!
//! ```text
//! CACHE/files/ab/abcdef…      by hash; put there whole, by a rename
//! ```
//!
//! The folder is shared by all runs of this user. Nothing in it is trusted: a file that lies there is checked again each time
//! it is given out, through the handle from which it is then sent. The file that was not used for longest goes first. What comes from the
//! network lies in a spool until it is checked; how much is there at once is bounded as well.

use std::collections::HashMap;
use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::refusal::Fault;
use crate::client::{ClientError, FileError, OpenFile, Session};
use crate::tuf::lookup::Found;

/// MiB of files that are fetched at once, at most; a larger file is refused. The largest wheels have some 3,000.
const MAX_SPOOL: u32 = 4_096;
/// Bytes of a MiB.
const MIB: u64 = 1_024 * 1_024;
/// The folder is looked through each time so many bytes came, and made this much smaller than it may be: one part in so
/// many of all it may hold.
const PART: u64 = 16;

/// What of the cache is given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Take {
    /// What is there.
    Kept,
    /// What the index gives to who asks now.
    Fetched,
}

/// See the module.
pub(super) struct Files {
    folder: PathBuf,
    max: u64,
    /// Bytes that came since the folder was last looked through.
    came: AtomicU64,
    turns: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
    spool: Semaphore,
}

impl Files {
    /// Keeps at most `max` bytes below `folder`, which is made when first needed.
    pub(super) fn new(folder: &Path, max: u64) -> Self {
        Self {
            folder: folder.join("files"),
            max,
            came: AtomicU64::new(max),
            turns: Mutex::default(),
            spool: Semaphore::new(usize::try_from(MAX_SPOOL).unwrap_or(1)),
        }
    }

    /// A target, checked and open; `true` if it was fetched for that. Fetched once, however many ask at the same time.
    pub(super) async fn open(
        self: &Arc<Self>,
        shared: &Arc<Session>,
        found: &Found,
        take: Take,
        now: SystemTime,
    ) -> Result<(OpenFile, bool), Fault> {
        let Some(name) = found.target.hashes.name() else {
            return Err(ClientError::from(FileError::NoKnownHash { path: found.path.to_string() }).into());
        };
        let path = self.folder.join(name.get(..2).unwrap_or_default()).join(&name);
        if take == Take::Kept
            && let Some(file) = kept(found, &path, now).await?
        {
            return Ok((file, false));
        }
        let (own, shared, found) = (Arc::clone(self), Arc::clone(shared), found.clone());
        // A task of its own: a tool that loses patience with a large file finds it when it asks again.
        let task = tokio::spawn(async move { own.fetch(&shared, &found, take, &name, &path, now).await });
        task.await.map_err(|error| local("fetching", &error))?
    }

    async fn fetch(
        &self,
        shared: &Session,
        found: &Found,
        take: Take,
        name: &str,
        path: &Path,
        now: SystemTime,
    ) -> Result<(OpenFile, bool), Fault> {
        let turn = self.turn(name);
        let _turn = turn.lock().await;
        if take == Take::Kept
            && let Some(file) = kept(found, path, now).await?
        {
            return Ok((file, false));
        }
        let length = found.target.length;
        let mebibytes = u32::try_from(length / MIB).unwrap_or(u32::MAX).saturating_add(1);
        if mebibytes > MAX_SPOOL {
            let (path, max) = (found.path.to_string(), u64::from(MAX_SPOOL) * MIB);
            return Err(ClientError::from(FileError::TooLarge { path, length, max }).into());
        }
        let room = self.spool.acquire_many(mebibytes).await;
        let _room = room.map_err(|error| local("waiting", &error))?;
        self.make()?;
        let file = shared.fill(found, path).await?;
        self.shrink(length).await;
        Ok((file, true))
    }

    fn turn(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = turns.get(name).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        turns.insert(name.to_owned(), Arc::downgrade(&turn));
        turn
    }

    /// The folder, for this user alone: its files may come from an index that asks for a password.
    fn make(&self) -> Result<(), Fault> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        made.map_err(|error| local("making the cache", &error))
    }

    /// Forgets what was not used for longest, if there is too much. A file that is open stays readable.
    async fn shrink(&self, came: u64) {
        let before = self.came.fetch_add(came, Ordering::Relaxed);
        if before.saturating_add(came) < self.max / PART {
            return;
        }
        self.came.store(0, Ordering::Relaxed);
        let (folder, max) = (self.folder.clone(), self.max);
        // What cannot be looked at or removed now is so the next time; nothing else depends on it.
        drop(spawn_blocking(move || sweep(&folder, max)).await);
    }
}

/// The file at `path`, if it is what was signed. One that is not is removed.
async fn kept(found: &Found, path: &Path, now: SystemTime) -> Result<Option<OpenFile>, Fault> {
    let (found, path) = (found.clone(), path.to_owned());
    let looked = spawn_blocking(move || {
        // Looked at before it is opened: opening a pipe would wait for a writer.
        if std::fs::symlink_metadata(&path).is_ok_and(|about| !about.is_file()) {
            return Err(local("reading the cache", &format_args!("{} is no regular file", path.display())));
        }
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(local("reading the cache", &error)),
        };
        // For the order in which files are forgotten, and for nothing else.
        drop(file.set_modified(now));
        match Session::check(&found, file) {
            Ok(file) => Ok(Some(file)),
            Err(_) => match std::fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    Err(local("removing a bad file", &error))
                }
                _ => Ok(None),
            },
        }
    });
    looked.await.map_err(|error| local("reading the cache", &error))?
}

/// Removes the files used longest ago until a part of the space is free again.
fn sweep(folder: &Path, max: u64) {
    let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    for entry in walkdir::WalkDir::new(folder).into_iter().flatten() {
        if let Ok(about) = entry.metadata()
            && about.is_file()
            && let Ok(used) = about.modified()
        {
            files.push((used, about.len(), entry.into_path()));
        }
    }
    files.sort();
    let mut total: u64 = files.iter().map(|(_, length, _)| length).sum();
    if total <= max {
        return;
    }
    for (_, length, path) in files {
        if total <= max - max / PART {
            return;
        }
        if std::fs::remove_file(&path).is_ok() {
            total = total.saturating_sub(length);
        }
    }
}

fn local(what: &'static str, reason: &impl ToString) -> Fault {
    Fault::Local { what, reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_was_used_longest_ago_goes_first_and_no_more_than_needed() {
        let folder = tempfile::tempdir().unwrap();
        for (name, age) in [("a", 3), ("b", 1), ("c", 2), ("d", 0)] {
            let path = folder.path().join(name).join("file");
            std::fs::create_dir(path.parent().unwrap()).unwrap();
            std::fs::write(&path, vec![0; 100]).unwrap();
            let used = SystemTime::UNIX_EPOCH + Duration::from_hours(1_000 - age);
            File::options().write(true).open(&path).unwrap().set_modified(used).unwrap();
        }
        let left = || ["a", "b", "c", "d"].map(|name| folder.path().join(name).join("file").exists());
        sweep(folder.path(), 400);
        assert_eq!(left(), [true; 4]);
        sweep(folder.path(), 399);
        assert_eq!(left(), [false, true, true, true]);
        sweep(folder.path(), 200);
        assert_eq!(left(), [false, false, false, true]);
        sweep(folder.path(), 0);
        assert_eq!(left(), [false; 4]);
    }
}
