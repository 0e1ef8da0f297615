//! Verified files, kept for the next time, within a number of bytes.
//!
//! ```text
//! CACHE/files/abcdef…      by hash; put there whole, by a rename
//! ```
//!
//! The folder is shared by all runs of this user. Nothing in it is trusted: a file that lies there is checked again each time
//! it is given out, through the handle from which it is then sent. The file that was not used for longest goes first. What comes from the
//! network lies in a spool until it is checked; how much is there at once is bounded as well. A large file is read from there
//! while it comes ([`super::large`]), a small one comes to memory ([`super::memory`]).

use std::collections::HashMap;
use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use super::journal::{Journal, Refused};
use super::large::{Large, Parts};
use super::memory::{Held, Memory};
use super::refusal::Fault;
use super::{Settings, Tell, Told};
use crate::client::{Arriving, ClientError, FileError, OpenFile, Proven, Session};
use crate::tuf::lookup::Found;

/// MiB of files that are fetched at once, at most; a larger file is refused. The largest wheels have some 3,000.
const MAX_SPOOL: u32 = 4_096;
/// Files whose fetching goes on when who asked has gone, at most; who asks for more waits.
const MAX_BEGUN: usize = 200;
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

/// A target, to be sent.
pub(super) enum Opened {
    /// It was checked.
    Whole {
        file: OpenFile,
        /// It was fetched for that.
        fetched: bool,
        parts: Parts,
    },
    /// It was fetched to memory, and checked.
    Held(Held),
    /// It is coming. How it ends is noted.
    Arriving(Arriving),
}

/// See the module.
pub(super) struct Files {
    index: String,
    folder: PathBuf,
    max: u64,
    /// Bytes that came since the folder was last looked through.
    came: AtomicU64,
    turns: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
    spool: Arc<Semaphore>,
    begun: Arc<Semaphore>,
    large: Large,
    memory: Arc<Memory>,
    journal: Arc<Journal>,
    tell: Tell,
}

/// A target, and where it is kept.
struct Place {
    found: Found,
    /// Its name in the cache: a hash.
    name: String,
    path: PathBuf,
    take: Take,
    now: SystemTime,
}

impl Files {
    /// Keeps files of an index as the settings say, in a folder that is made when first needed.
    pub(super) fn new(index: &str, settings: &Settings, journal: &Arc<Journal>) -> Self {
        Self {
            index: index.to_owned(),
            folder: settings.cache.join("files"),
            max: settings.cache_bytes,
            came: AtomicU64::new(settings.cache_bytes),
            turns: Mutex::default(),
            spool: Arc::new(Semaphore::new(usize::try_from(MAX_SPOOL).unwrap_or(1))),
            begun: Arc::new(Semaphore::new(MAX_BEGUN)),
            large: Large::new(settings.mode),
            memory: Arc::new(Memory::new()),
            journal: Arc::clone(journal),
            tell: Arc::clone(&settings.tell),
        }
    }

    /// A target, checked and open, or on its way. Fetched once, however many ask at the same time.
    pub(super) async fn open(
        self: &Arc<Self>,
        shared: &Arc<Session>,
        found: &Found,
        take: Take,
        now: SystemTime,
    ) -> Result<Opened, Fault> {
        let Some(name) = found.target.hashes.name() else {
            return Err(ClientError::from(FileError::NoKnownHash { path: found.path.to_string() }).into());
        };
        let path = self.folder.join(&name);
        let parts = self.large.allowed(&name, now)?;
        let place = Place { found: found.clone(), name, path, take, now };
        if let Some(opened) = self.at_hand(shared, &place, parts).await? {
            return Ok(opened);
        }
        // What one login is sent instead of a file says nothing to others, and nothing of it is given out.
        // It is of no use when that one has gone.
        if take == Take::Fetched {
            return self.fetch(shared, place, parts).await;
        }
        if self.large.is(found) {
            return self.open_large(shared, place, parts).await;
        }
        let begun = Arc::clone(&self.begun).acquire_owned().await;
        let begun = begun.map_err(|error| local("waiting", &error))?;
        let (own, shared) = (Arc::clone(self), Arc::clone(shared));
        // A task of its own: a tool that loses patience finds the file when it asks again.
        let task = tokio::spawn(async move {
            let _begun = begun;
            own.fetch(&shared, place, parts).await
        });
        task.await.map_err(|error| local("fetching", &error))?
    }

    /// Waits until all is kept that is to be.
    pub(super) async fn settle(&self) {
        self.memory.settle().await;
    }

    /// What need not be fetched.
    async fn at_hand(&self, shared: &Session, place: &Place, parts: Parts) -> Result<Option<Opened>, Fault> {
        if place.take == Take::Fetched {
            return Ok(None);
        }
        if let Some(held) = self.memory.unwritten(&place.name, &place.found) {
            // It has these bytes, under whatever path.
            shared.prove(&place.found).await?;
            return Ok(Some(Opened::Held(held)));
        }
        let kept = place.kept(shared).await?;
        Ok(kept.map(|file| Opened::Whole { file, fetched: false, parts }))
    }

    async fn fetch(self: &Arc<Self>, shared: &Session, place: Place, parts: Parts) -> Result<Opened, Fault> {
        let turn = self.turn(&place.name);
        let _turn = turn.lock().await;
        if let Some(opened) = self.at_hand(shared, &place, parts).await? {
            return Ok(opened);
        }
        let length = place.found.target.length;
        if let Some(room) = self.memory.room(length) {
            let held = Held::new(shared.read_whole(&place.found, length).await?, room);
            self.keep(&place, held.clone());
            return Ok(Opened::Held(held));
        }
        let _room = self.room(&place.found).await?;
        let file = shared.fill(&place.found, &place.path).await?;
        self.shrink(length).await;
        Ok(Opened::Whole { file, fetched: true, parts })
    }

    /// Keeps a file in a task of its own. Whoever asks for it meanwhile gets it.
    fn keep(self: &Arc<Self>, place: &Place, held: Held) {
        let (own, length) = (Arc::clone(self), place.found.target.length);
        let behind = self.memory.behind(&place.name, held);
        tokio::spawn(async move {
            if own.make().is_ok() {
                behind.write(&own.folder).await;
            }
            own.shrink(length).await;
            drop(behind);
        });
    }

    async fn open_large(
        self: &Arc<Self>,
        shared: &Arc<Session>,
        place: Place,
        parts: Parts,
    ) -> Result<Opened, Fault> {
        let turn = self.turn(&place.name);
        let turn = turn.lock().await;
        let mut file = if let Some(file) = self.large.join(&place.name, &place.found) {
            shared.prove(&place.found).await?;
            file
        } else if let Some(opened) = self.at_hand(shared, &place, parts).await? {
            // It came meanwhile.
            return Ok(opened);
        } else {
            // A tool is refused before it gets anything of it.
            let proven = shared.prove(&place.found).await?;
            self.begin(shared, place, &proven).await?
        };
        drop(turn);
        file.more().await?;
        Ok(Opened::Arriving(file))
    }

    /// Fetches a large file in a task of its own, as above.
    async fn begin(
        self: &Arc<Self>,
        shared: &Session,
        place: Place,
        proven: &Proven,
    ) -> Result<Arriving, Fault> {
        let room = self.room(&place.found).await?;
        let (file, arrival) = shared.arrive(proven)?;
        self.large.comes(&place.name, &file);
        let own = Arc::clone(self);
        tokio::spawn(async move {
            arrival.run(&place.path, |error| own.note(&place, error)).await;
            own.large.came(&place.name);
            own.shrink(place.found.target.length).await;
            drop(room);
        });
        Ok(file)
    }

    /// Notes how a file ended that was given out while it came: before the tool can know.
    fn note(&self, place: &Place, error: Option<&ClientError>) {
        let Some(error) = error else { return self.journal.serve(&self.index, &place.found, true) };
        let fault = Fault::from(error.clone());
        self.large.broke(&place.name, place.now, fault.clone());
        if fault.wants_login() {
            return;
        }
        let path = place.found.path.as_str();
        let what = path.rsplit_once('/').map_or(path, |(_, name)| name).to_owned();
        let refused = Refused { index: self.index.clone(), what, fault };
        if self.journal.refuse(refused.clone()) {
            (self.tell)(Told::Refused(&refused));
        }
    }

    /// Room for a file in the spool, and a folder to move it to.
    async fn room(&self, found: &Found) -> Result<OwnedSemaphorePermit, Fault> {
        let length = found.target.length;
        let mebibytes = u32::try_from(length / MIB).unwrap_or(u32::MAX).saturating_add(1);
        if mebibytes > MAX_SPOOL {
            let (path, max) = (found.path.to_string(), u64::from(MAX_SPOOL) * MIB);
            return Err(ClientError::from(FileError::TooLarge { path, length, max }).into());
        }
        let room = Arc::clone(&self.spool).acquire_many_owned(mebibytes).await;
        let room = room.map_err(|error| local("waiting", &error))?;
        self.make()?;
        Ok(room)
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
        // To make it in vain would lock the folder above.
        if self.folder.is_dir() {
            return Ok(());
        }
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

impl Place {
    /// The file that is there, if it is what was signed. One that is not is removed.
    async fn kept(&self, shared: &Session) -> Result<Option<OpenFile>, Fault> {
        // Mostly there is none, which is sooner known than another thread is asked.
        if self.path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            return Ok(None);
        }
        let (found, path, now) = (shared.prove(&self.found).await?, self.path.clone(), self.now);
        let looked = spawn_blocking(move || checked(&found, &path, now));
        looked.await.map_err(|error| local("reading the cache", &error))?
    }
}

fn checked(found: &Proven, path: &Path, now: SystemTime) -> Result<Option<OpenFile>, Fault> {
    // Looked at before it is opened: opening a pipe would wait for a writer.
    if std::fs::symlink_metadata(path).is_ok_and(|about| !about.is_file()) {
        return Err(local("reading the cache", &format_args!("{} is no regular file", path.display())));
    }
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(local("reading the cache", &error)),
    };
    // For the order in which files are forgotten, and for nothing else.
    drop(file.set_modified(now));
    match Session::check(found, file) {
        Ok(file) => Ok(Some(file)),
        Err(_) => match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(local("removing a bad file", &error)),
            _ => Ok(None),
        },
    }
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
