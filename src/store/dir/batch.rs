//! [`Batch`]: any number of writes that become durable together. A single write is a batch of one.
//!
//! Each object's bytes are durable before it gets its name, and its name before the batch is done:
//!
//! | step | few objects | many objects |
//! |---|---|---|
//! | 1 | write under unfinished names in the objects' own folders, each followed by its fsync | the same without fsync |
//! | 2 | | one `syncfs` |
//! | 3 | rename each; after that link the copies | the same |
//! | 4 | fsync of each folder touched | the same, or for many folders one more `syncfs` |
//!
//! Swaps that follow what is created are written in step 1. Behind step 3, or 4 if their order is kept, they are compared and
//! renamed under the lock; then comes step 4.
//!
//! Each folder is looked at once per batch: that it is no link, that it is on the root's file system, and which mode
//! new files get in it.

use std::collections::HashMap;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::disk::{Disk, Replacement, Source, swapped, tag_of};
use super::files::{FILE_MODE, Unfinished, date_anew, make_folder, over_a_link, sync_folder};
use super::sync::Together;
use crate::store::{Order, StoreError, StorePath, Tag, Written};

/// Objects, or folders, from which on one `syncfs` is preferred to an fsync of each. On a quiet ext4 a publication of
/// ten objects cost a sixth less CPU with 4 than with 8. `syncfs` also waits for what other programs wrote to the same
/// file system: on a busy one an fsync of a new file took 7 ms, `syncfs` 20 ms for 32 of them and 50 ms for 256.
const TOGETHER: usize = 4;

/// Folders that a process remembers as durable, at most: 64 Ki of about 100 bytes.
const MAX_DURABLE: usize = 1 << 16;

/// The root's place among a batch's folders.
const ROOT: usize = 0;

/// Writes that are staged one after another and then finished together. Dropped before that, it leaves nothing.
#[derive(Debug)]
pub(super) struct Batch {
    /// `None`: each object is flushed by itself.
    together: Option<Together>,
    folders: Folders,
    writes: Vec<Write>,
    /// Held until the batch is gone.
    _lock: Option<File>,
}

#[derive(Debug)]
struct Write {
    path: StorePath,
    /// Its folder, by its place among the batch's folders.
    folder: usize,
    step: Step,
}

/// A swap that comes after everything else.
#[derive(Debug)]
struct Later {
    write: Write,
    expected: Option<Tag>,
    /// The tag it will have.
    tag: Tag,
}

/// How far a write has come.
#[derive(Debug)]
enum Step {
    /// Its bytes lie under an unfinished name.
    Staged {
        file: Unfinished,
        replace: bool,
    },
    /// It becomes a second name of this object.
    Copy(StorePath),
    /// Something lay there before it began.
    Taken,
    Failed(StoreError),
}

impl Batch {
    /// A batch of `count` writes. `lock` is held until it is finished or dropped.
    pub(super) fn new(disk: &Disk, count: usize, lock: Option<File>) -> Self {
        let together = if count < TOGETHER { None } else { Together::open(&disk.root, &disk.together) };
        let root =
            Folder { place: disk.root.clone(), foreign: false, touched: false, new: false, lacks_mode: None };
        let folders = Folders { all: vec![root], by_path: HashMap::new() };
        Self { together, folders, writes: Vec::with_capacity(count), _lock: lock }
    }

    /// Stages a new object.
    pub(super) fn create(&mut self, disk: &Disk, path: StorePath, source: Source) {
        let (folder, step) = self.enter(disk, &path, |folder, flush| {
            if folder.has(&path)? {
                return Ok(Step::Taken);
            }
            let file = match source {
                Source::Bytes(bytes) => folder.write(disk, &path, &mut bytes.as_slice(), flush)?,
                Source::File(file) => {
                    let failed = |error| StoreError::io("read", file.display(), &error);
                    folder.write(disk, &path, &mut File::open(&file).map_err(failed)?, flush)?
                }
                Source::Copy(object) => return Ok(Step::Copy(object)),
            };
            Ok(Step::Staged { file, replace: false })
        });
        self.writes.push(Write { path, folder, step });
    }

    /// Stages the next version of an object that has the tag `expected`. The lock must be held.
    pub(super) fn swap(&mut self, disk: &Disk, path: StorePath, mut bytes: &[u8], expected: Option<&Tag>) {
        let (folder, step) = match disk.get(&path, u64::MAX) {
            Ok(found) if found.as_ref().map(|object| &object.tag) != expected => {
                (ROOT, Step::Failed(StoreError::Conflict { path: path.clone() }))
            }
            Ok(_) => self.enter(disk, &path, |folder, flush| {
                let file = folder.write(disk, &path, &mut bytes, flush)?;
                Ok(Step::Staged { file, replace: expected.is_some() })
            }),
            Err(error) => (ROOT, Step::Failed(error)),
        };
        self.writes.push(Write { path, folder, step });
    }

    /// Does `work` in the folder of an object; it is told whether to flush what it writes.
    fn enter(
        &mut self,
        disk: &Disk,
        path: &StorePath,
        work: impl FnOnce(&mut Folder, bool) -> Result<Step, StoreError>,
    ) -> (usize, Step) {
        let at = match self.folders.of(disk, path) {
            Ok(at) => at,
            Err(error) => return (ROOT, Step::Failed(error)),
        };
        let Some(folder) = self.folders.all.get_mut(at) else { return (ROOT, Step::Taken) };
        let flush = self.together.is_none() || folder.foreign;
        (at, work(folder, flush).unwrap_or_else(Step::Failed))
    }

    /// Gives everything its name, durably; one outcome for each write in the order staged. A name that was taken is
    /// [`StoreError::Exists`], for a swap too.
    pub(super) fn finish(mut self, disk: &Disk) -> Vec<Result<(), StoreError>> {
        let mut outcomes = self.name(disk);
        self.keep(disk, &mut outcomes);
        outcomes
    }

    /// The same, and then swaps up to the first that fails, if everything was created. Their lock is held from the comparison on.
    pub(super) fn finish_and_swap(mut self, disk: &Disk, swaps: Vec<Replacement>, order: Order) -> Written {
        let mut later: Vec<_> = swaps.into_iter().map(|swap| self.stage_swap(disk, swap)).collect();
        let mut outcomes = self.name(disk);
        let count = outcomes.len();
        let kept = if order == Order::Kept || outcomes.iter().any(Result::is_err) { count } else { 0 };
        if kept > 0 {
            self.keep(disk, &mut outcomes);
        }
        if outcomes.iter().any(Result::is_err) {
            return Written { created: outcomes, swapped: None };
        }
        let lock = disk.lock();
        for swap in &mut later {
            let outcome = match &lock {
                Ok(_) => self.replace(disk, swap),
                Err(error) => Err(error.clone()),
            };
            let failed = outcome.is_err();
            outcomes.push(outcome);
            if failed {
                break;
            }
        }
        self.keep(disk, outcomes.get_mut(kept..).unwrap_or_default());
        drop(lock);
        let tags = later.into_iter().map(|swap| swap.tag);
        let swapped = outcomes.split_off(count).into_iter().zip(tags).map(swapped).collect();
        Written { created: outcomes, swapped: Some(swapped) }
    }

    /// Flushes the bytes, and gives each object its name.
    fn name(&mut self, disk: &Disk) -> Vec<Result<(), StoreError>> {
        let flushed = self.together.as_ref().map_or(Ok(()), Together::sync);
        let flushed = flushed.map_err(|error| StoreError::io("sync", disk.root.display(), &error));
        let mut outcomes = vec![flushed.clone(); self.writes.len()];
        if flushed.is_err() {
            return outcomes;
        }
        for copies in [false, true] {
            for (write, outcome) in self.writes.iter_mut().zip(&mut outcomes) {
                if matches!(write.step, Step::Copy(_)) == copies
                    && let Some(folder) = self.folders.all.get_mut(write.folder)
                {
                    *outcome = write.finish(disk, folder);
                }
            }
        }
        outcomes
    }

    /// Makes the names durable, those that were there already too.
    fn keep(&mut self, disk: &Disk, outcomes: &mut [Result<(), StoreError>]) {
        if let Err(error) = self.folders.sync(disk, self.together.as_ref()) {
            let named = |outcome: &&mut _| matches!(outcome, Ok(()) | Err(StoreError::Exists { .. }));
            outcomes.iter_mut().filter(named).for_each(|outcome| *outcome = Err(error.clone()));
        }
    }

    /// Writes the next version of an object, which is compared when it gets its name.
    fn stage_swap(&mut self, disk: &Disk, (path, bytes, expected): Replacement) -> Later {
        let tag = tag_of(&bytes);
        let (folder, step) = self.enter(disk, &path, |folder, flush| {
            let file = folder.write(disk, &path, &mut bytes.as_slice(), flush)?;
            Ok(Step::Staged { file, replace: expected.is_some() })
        });
        Later { write: Write { path, folder, step }, expected, tag }
    }

    fn replace(&mut self, disk: &Disk, swap: &mut Later) -> Result<(), StoreError> {
        let found = disk.get(&swap.write.path, u64::MAX)?;
        if found.map(|object| object.tag) != swap.expected {
            return Err(StoreError::Conflict { path: swap.write.path.clone() });
        }
        let folder = self.folders.all.get_mut(swap.write.folder);
        folder.map_or(Ok(()), |folder| swap.write.finish(disk, folder))
    }
}

impl Write {
    fn finish(&mut self, disk: &Disk, folder: &mut Folder) -> Result<(), StoreError> {
        let place = folder.place_of(&self.path);
        let outcome = match &mut self.step {
            Step::Failed(error) => return Err(error.clone()),
            Step::Taken => Err(StoreError::Exists { path: self.path.clone() }),
            Step::Staged { file, replace: true } => file.replace(&place).map_err(|error| self.failed(&error)),
            Step::Staged { file, replace: false } => file.name(&place).map_err(|error| self.failed(&error)),
            Step::Copy(object) => {
                let object = object.clone();
                self.copy(disk, folder, &object, &place)
            }
        };
        // What is there may be another writer's, renamed but not yet durable.
        folder.touched = true;
        if matches!(outcome, Err(StoreError::Exists { .. })) {
            // Another owner's file keeps its date: nothing that a writer without the right to it can do.
            drop(date_anew(&place));
        }
        outcome
    }

    /// Gives the original a second name. It is dated anew first, so that a copy just made never looks old enough to be
    /// collected.
    fn copy(
        &self,
        disk: &Disk,
        folder: &mut Folder,
        object: &StorePath,
        place: &Path,
    ) -> Result<(), StoreError> {
        let Some(mut original) = disk.open(object)? else {
            return Err(StoreError::io("copy", object, &ErrorKind::NotFound.into()));
        };
        let from = disk.locate(object)?;
        match date_anew(&from).and_then(|()| fs::hard_link(&from, place)) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(self.failed(&error)),
            // Too many links, another owner, or no hard links here: a copy does as well.
            Err(_) => {
                let mut file = folder.write(disk, &self.path, &mut original, true)?;
                file.name(place).map_err(|error| self.failed(&error))
            }
        }
    }

    fn failed(&self, error: &io::Error) -> StoreError {
        match error.kind() {
            ErrorKind::AlreadyExists => StoreError::Exists { path: self.path.clone() },
            _ => StoreError::io("write", &self.path, error),
        }
    }
}

/// The folders that a batch has to do with, and those above them.
#[derive(Debug)]
struct Folders {
    /// A folder comes after the one it lies in; the root is the first.
    all: Vec<Folder>,
    by_path: HashMap<String, usize>,
}

#[derive(Debug)]
struct Folder {
    place: PathBuf,
    /// On another file system than the root.
    foreign: bool,
    /// What is in it has changed, or may not be durable.
    touched: bool,
    /// Its own entry may not be durable yet.
    new: bool,
    /// Whether a file made in it lacks bits of its mode: the umask or the folder's default took them.
    lacks_mode: Option<bool>,
}

impl Folders {
    /// The folder of an object, made if need be; refused when that leads over a symbolic link.
    fn of(&mut self, disk: &Disk, path: &StorePath) -> Result<usize, StoreError> {
        let folders = path.as_str().rsplit_once('/').map_or("", |(folders, _)| folders);
        if folders.is_empty() {
            return Ok(ROOT);
        }
        if let Some(at) = self.by_path.get(folders) {
            return Ok(*at);
        }
        let mut parent = ROOT;
        let ends = folders.match_indices('/').map(|(end, _)| end).chain([folders.len()]);
        for name in ends.filter_map(|end| folders.get(..end)) {
            parent = match self.by_path.get(name) {
                Some(at) => *at,
                None => self.add(disk, name, parent, path)?,
            };
        }
        Ok(parent)
    }

    fn add(&mut self, disk: &Disk, name: &str, parent: usize, path: &StorePath) -> Result<usize, StoreError> {
        let place = disk.root.join(name);
        let failed = |error| StoreError::io("make folder", place.display(), &error);
        let looked = match fs::symlink_metadata(&place) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                make_folder(&place).and_then(|_| fs::symlink_metadata(&place))
            }
            looked => looked,
        };
        let found = looked.map_err(failed)?;
        if found.is_symlink() {
            return Err(over_a_link(path.as_str()));
        }
        if !found.is_dir() {
            return Err(failed(ErrorKind::NotADirectory.into()));
        }
        // A folder that was there already may be another writer's, not yet durable.
        let new = !disk.durable().contains(&place);
        if let Some(parent) = self.all.get_mut(parent).filter(|_| new) {
            parent.touched = true;
        }
        let foreign = found.dev() != disk.device;
        self.all.push(Folder { place, foreign, touched: false, new, lacks_mode: None });
        let at = self.all.len() - 1;
        self.by_path.insert(name.to_owned(), at);
        Ok(at)
    }

    /// Makes the entries of all touched folders durable.
    fn sync(&mut self, disk: &Disk, together: Option<&Together>) -> Result<(), StoreError> {
        let touched = self.all.iter().filter(|folder| folder.touched);
        match together.filter(|_| touched.clone().count() >= TOGETHER) {
            None => touched.map(|folder| &folder.place).try_for_each(|place| sync_folder(place))?,
            Some(together) => {
                together.sync().map_err(|error| StoreError::io("sync", disk.root.display(), &error))?;
                touched.filter(|folder| folder.foreign).try_for_each(|folder| sync_folder(&folder.place))?;
            }
        }
        let mut durable = disk.durable();
        for folder in self.all.iter().filter(|folder| folder.new) {
            if durable.len() >= MAX_DURABLE {
                durable.clear();
            }
            durable.insert(folder.place.clone());
        }
        drop(durable);
        for folder in &mut self.all {
            (folder.touched, folder.new) = (false, false);
        }
        Ok(())
    }
}

impl Folder {
    fn place_of(&self, path: &StorePath) -> PathBuf {
        self.place.join(path.segments().last().unwrap_or_default())
    }

    /// Whether there is anything of the object's name; a link is refused.
    fn has(&self, path: &StorePath) -> Result<bool, StoreError> {
        match fs::symlink_metadata(self.place_of(path)) {
            Ok(found) if found.is_symlink() => Err(over_a_link(path.as_str())),
            found => Ok(found.is_ok()),
        }
    }

    /// Writes the bytes under an unfinished name, durable if `flush`.
    fn write(
        &mut self,
        disk: &Disk,
        path: &StorePath,
        bytes: &mut (impl io::Read + ?Sized),
        flush: bool,
    ) -> Result<Unfinished, StoreError> {
        let mut write = || {
            let (unfinished, mut file) = disk.names.open(&self.place)?;
            io::copy(bytes, &mut file)?;
            let lacks = match self.lacks_mode {
                Some(lacks) => lacks,
                None => file.metadata()?.permissions().mode() & 0o7777 != FILE_MODE,
            };
            self.lacks_mode = Some(lacks);
            if lacks {
                file.set_permissions(Permissions::from_mode(FILE_MODE))?;
            }
            if flush {
                file.sync_all()?;
            }
            Ok(unfinished)
        };
        write().map_err(|error| StoreError::io("write", path, &error))
    }
}
