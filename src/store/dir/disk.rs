//! The operations of a [`DirStore`](super::DirStore), on a thread that may block.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use super::batch::Batch;
use super::files::{self, FILE_MODE, Names, is_absent, refuse_link};
use crate::crypto::sha256;
use crate::store::path::{LOCK_NAME, NEXT_NAME, TEMP_PREFIX, TURN_NAME};
use crate::store::{Content, Entry, Object, StoreError, StorePath, Tag};

/// A [`Content`](crate::store::Content) that a blocking thread can own.
pub(super) enum Source {
    Bytes(Arc<Vec<u8>>),
    File(PathBuf),
    Copy(StorePath),
}

/// A swap that a blocking thread can own: the object, its new bytes, and the tag it must have.
pub(super) type Replacement = (StorePath, Vec<u8>, Option<Tag>);

impl Source {
    pub(super) fn of(content: Content<'_>) -> Self {
        match content {
            Content::Bytes(bytes) => Self::Bytes(Arc::new(bytes.to_vec())),
            Content::Shared(bytes) => Self::Bytes(Arc::clone(bytes)),
            Content::File(file) => Self::File(file.to_owned()),
            Content::Copy(object) => Self::Copy(object.clone()),
        }
    }
}

/// The blocking half: each method is the operation of the same name.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) root: PathBuf,
    /// The file system that the root is on.
    pub(super) device: u64,
    pub(super) names: Names,
    /// Whether `syncfs` is relied upon there, once it was looked at.
    pub(super) together: OnceLock<bool>,
    durable: Mutex<HashSet<PathBuf>>,
}

impl Disk {
    pub(super) fn new(root: &Path) -> Result<Self, StoreError> {
        let failed = |error: &io::Error| StoreError::io("open folder", root.display(), error);
        let root = fs::canonicalize(root).map_err(|error| failed(&error))?;
        let found = fs::metadata(&root).map_err(|error| failed(&error))?;
        if !found.is_dir() {
            return Err(failed(&ErrorKind::NotADirectory.into()));
        }
        let (device, names) = (found.dev(), Names::new());
        Ok(Self { root, device, names, together: OnceLock::new(), durable: Mutex::default() })
    }

    pub(super) fn get(&self, path: &StorePath, max: u64) -> Result<Option<Object>, StoreError> {
        let object = |bytes: Vec<u8>| Object { tag: tag_of(&bytes), bytes };
        Ok(self.bytes(path, max)?.map(object))
    }

    /// The same without the tag.
    pub(super) fn bytes(&self, path: &StorePath, max: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(file) = self.open(path)? else { return Ok(None) };
        let failed = |error: io::Error| StoreError::io("read", path, &error);
        let found = file.metadata().map_err(failed)?.len();
        if found > max {
            return Err(StoreError::TooLarge { path: path.clone(), found, max });
        }
        // One more than there should be: the read that finds the end needs room.
        let mut bytes = Vec::with_capacity(usize::try_from(found).unwrap_or(0).saturating_add(1));
        file.take(max).read_to_end(&mut bytes).map_err(failed)?;
        Ok(Some(bytes))
    }

    pub(super) fn open(&self, path: &StorePath) -> Result<Option<File>, StoreError> {
        let place = self.locate(path)?;
        // Looked at before it is opened: opening a pipe would wait for its writer.
        let opened = match fs::symlink_metadata(&place) {
            Ok(found) if found.is_file() => File::open(&place),
            Ok(_) => return Ok(None),
            Err(error) => Err(error),
        };
        match opened {
            Ok(file) => Ok(Some(file)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(StoreError::io("read", path, &error)),
        }
    }

    pub(super) fn exists(&self, path: &StorePath) -> Result<bool, StoreError> {
        match fs::symlink_metadata(self.locate(path)?) {
            Ok(found) => Ok(found.is_file()),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => Err(StoreError::io("look at", path, &error)),
        }
    }

    pub(super) fn open_at(&self, path: &StorePath, start: u64) -> Result<Option<File>, StoreError> {
        let Some(mut file) = self.open(path)? else { return Ok(None) };
        file.seek(SeekFrom::Start(start)).map_err(|error| StoreError::io("read", path, &error))?;
        Ok(Some(file))
    }

    pub(super) fn stat(&self, path: &StorePath) -> Result<Option<Entry>, StoreError> {
        let Some(file) = self.open(path)? else { return Ok(None) };
        let failed = |error| StoreError::io("read", path, &error);
        let found = file.metadata().map_err(failed)?;
        let modified = found.modified().map_err(failed)?;
        Ok(Some(Entry { path: path.clone(), len: found.len(), modified }))
    }

    /// Nobody else swaps or deletes until all are done.
    pub(super) fn swap_all(
        &self,
        swaps: Vec<Replacement>,
    ) -> Result<Vec<Result<Tag, StoreError>>, StoreError> {
        let mut batch = Batch::new(self, swaps.len(), Some(self.lock()?));
        let mut tags = Vec::with_capacity(swaps.len());
        for (path, bytes, expected) in swaps {
            batch.swap(self, path, &bytes, expected.as_ref());
            tags.push(tag_of(&bytes));
        }
        Ok(batch.finish(self).into_iter().zip(tags).map(swapped).collect())
    }

    /// Bytes are flushed before they get their name, so that the name is all there is to it.
    pub(super) fn flush(&self, path: &StorePath) -> Result<(), StoreError> {
        let place = self.locate(path)?;
        place.parent().map_or(Ok(()), files::sync_folder)
    }

    /// Shows `visit` every object below a folder, in no order.
    pub(super) fn walk(
        &self,
        prefix: Option<&StorePath>,
        mut visit: impl FnMut(Entry) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let top = prefix.map_or_else(|| Ok(self.root.clone()), |prefix| self.locate(prefix))?;
        let name = |place: &Path| {
            let name = place.strip_prefix(&self.root).ok().and_then(Path::to_str).map(StorePath::new);
            // A name that is no store path is not an object: unfinished, the lock, or not wheelseal's.
            name.and_then(Result::ok)
        };
        files::walk(
            &top,
            |folder| name(folder).is_some(),
            |place, found| {
                let Some(path) = name(&place) else { return Ok(()) };
                let modified = found.modified().map_err(|error| StoreError::io("list", &path, &error))?;
                visit(Entry { path, len: found.len(), modified })
            },
        )
    }

    /// Whether both are names of one file: hard links of each other.
    pub(super) fn same(&self, one: &StorePath, other: &StorePath) -> Result<bool, StoreError> {
        let inode = |path: &StorePath| match fs::symlink_metadata(self.locate(path)?) {
            Ok(found) if found.is_file() => Ok(Some((found.dev(), found.ino()))),
            Ok(_) => Ok(None),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(StoreError::io("look at", path, &error)),
        };
        let one = inode(one)?;
        Ok(one.is_some() && one == inode(other)?)
    }

    pub(super) fn delete(&self, path: &StorePath) -> Result<(), StoreError> {
        let place = self.locate(path)?;
        if self.open(path)?.is_none() {
            return Ok(());
        }
        // Locked, so that no swap compares with an object that is gone when it renames.
        let _until_return = self.lock()?;
        match fs::remove_file(place) {
            Err(error) if !is_absent(&error) => Err(StoreError::io("delete", path, &error)),
            _ => Ok(()),
        }
    }

    pub(super) fn sweep(&self, before: SystemTime) -> Result<usize, StoreError> {
        let mut swept = 0;
        files::walk(
            &self.root,
            |_| true,
            |place, found| {
                let unfinished = place
                    .file_name()
                    .is_some_and(|name| name.as_encoded_bytes().starts_with(TEMP_PREFIX.as_bytes()));
                if unfinished && found.modified().is_ok_and(|modified| modified < before) {
                    match fs::remove_file(&place) {
                        Ok(()) => swept += 1,
                        Err(error) if is_absent(&error) => {}
                        Err(error) => return Err(StoreError::io("delete", place.display(), &error)),
                    }
                }
                Ok(())
            },
        )?;
        Ok(swept)
    }

    /// Folders whose own entries this process has made durable.
    pub(super) fn durable(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the object lies or would lie; refused when that leads over a symbolic link.
    pub(super) fn locate(&self, path: &StorePath) -> Result<PathBuf, StoreError> {
        let mut place = self.root.clone();
        for segment in path.segments() {
            place.push(segment);
            refuse_link(&place, path.as_str())?;
        }
        Ok(place)
    }

    /// Waits for the lock; it is held until the file is dropped.
    pub(super) fn lock(&self) -> Result<File, StoreError> {
        let file = self.lock_file(LOCK_NAME)?;
        file.lock().map_err(|error| StoreError::io("lock", LOCK_NAME, &error))?;
        Ok(file)
    }

    /// Takes the turn, or the place of the one who comes next, if that is free. `place` is held already, if it is there.
    pub(super) fn try_turn(
        &self,
        place: Option<File>,
    ) -> Result<ControlFlow<File, Option<File>>, StoreError> {
        let place = match place {
            Some(place) => Some(place),
            None => self.try_lock(NEXT_NAME)?,
        };
        let Some(place) = place else { return Ok(ControlFlow::Continue(None)) };
        Ok(match self.try_lock(TURN_NAME)? {
            Some(turn) => ControlFlow::Break(turn),
            None => ControlFlow::Continue(Some(place)),
        })
    }

    pub(super) fn try_lock(&self, name: &str) -> Result<Option<File>, StoreError> {
        let file = self.lock_file(name)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(StoreError::io("lock", name, &error)),
        }
    }

    fn lock_file(&self, name: &str) -> Result<File, StoreError> {
        let place = self.root.join(name);
        refuse_link(&place, name)?;
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(&place)
            .map_err(|error| StoreError::io("lock", place.display(), &error))
    }
}

/// The outcome of a swap, by that of its renaming.
pub(super) fn swapped((outcome, tag): (Result<(), StoreError>, Tag)) -> Result<Tag, StoreError> {
    match outcome {
        // `create` takes no lock, so an absent object may have appeared.
        Err(StoreError::Exists { path }) => Err(StoreError::Conflict { path }),
        outcome => outcome.map(|()| tag),
    }
}

pub(super) fn tag_of(bytes: &[u8]) -> Tag {
    Tag::new(hex::encode(sha256(bytes)))
}
