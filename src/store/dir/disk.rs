//! The operations of a [`DirStore`](super::DirStore), on a thread that may block.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::files::{
    FILE_MODE, date_anew, files_below, is_absent, link, make_folder, refuse_link, stage, sync_folder,
};
use crate::crypto::sha256;
use crate::store::path::{LOCK_NAME, TEMP_PREFIX};
use crate::store::{Entry, Object, StoreError, StorePath, Tag};

/// A [`Content`](crate::store::Content) that a blocking thread can own.
pub(super) enum Source {
    Bytes(Vec<u8>),
    File(PathBuf),
    Copy(StorePath),
}

/// The blocking half: each method is the operation of the same name.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) root: PathBuf,
    /// Folders whose own entries this process has made durable.
    durable: Mutex<HashSet<PathBuf>>,
}

impl Disk {
    pub(super) fn new(root: &Path) -> Result<Self, StoreError> {
        let failed = |error: &io::Error| StoreError::io("open folder", root.display(), error);
        let root = fs::canonicalize(root).map_err(|error| failed(&error))?;
        if !root.is_dir() {
            return Err(failed(&ErrorKind::NotADirectory.into()));
        }
        Ok(Self { root, durable: Mutex::default() })
    }

    pub(super) fn get(&self, path: &StorePath, max: u64) -> Result<Option<Object>, StoreError> {
        let Some(file) = self.open(path)? else { return Ok(None) };
        let failed = |error: io::Error| StoreError::io("read", path, &error);
        let found = file.metadata().map_err(failed)?.len();
        if found > max {
            return Err(StoreError::TooLarge { path: path.clone(), found, max });
        }
        let mut bytes = Vec::new();
        file.take(max).read_to_end(&mut bytes).map_err(failed)?;
        let tag = tag_of(&bytes);
        Ok(Some(Object { bytes, tag }))
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

    pub(super) fn create(&self, path: &StorePath, source: Source) -> Result<(), StoreError> {
        let place = self.locate(path)?;
        let folder = self.make_folders(path)?;
        // Asked first only to spare the work; the rename decides.
        let created = if fs::symlink_metadata(&place).is_ok() {
            Err(StoreError::Exists { path: path.clone() })
        } else {
            self.place_new(path, &place, &folder, source)
        };
        // An object that exists may be another writer's, renamed but not yet durable.
        if matches!(created, Ok(()) | Err(StoreError::Exists { .. })) {
            sync_folder(&folder)?;
        }
        if matches!(created, Err(StoreError::Exists { .. })) {
            // Another owner's file keeps its date: nothing that a writer without the right to it can do.
            drop(File::open(&place).and_then(|found| date_anew(&found, &folder)));
        }
        created
    }

    fn place_new(
        &self,
        path: &StorePath,
        place: &Path,
        folder: &Path,
        source: Source,
    ) -> Result<(), StoreError> {
        let staged = match source {
            Source::Bytes(bytes) => stage(path, folder, &mut bytes.as_slice())?,
            Source::File(file) => {
                let failed = |error| StoreError::io("read", file.display(), &error);
                stage(path, folder, &mut File::open(&file).map_err(failed)?)?
            }
            Source::Copy(object) => {
                let Some(mut original) = self.open(&object)? else {
                    return Err(StoreError::io("copy", object, &ErrorKind::NotFound.into()));
                };
                match link(&original, &self.locate(&object)?, place, folder) {
                    Ok(()) => return Ok(()),
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                        return Err(StoreError::Exists { path: path.clone() });
                    }
                    // Too many links, another owner, or no hard links here: a copy does as well.
                    Err(_) => stage(path, folder, &mut original)?,
                }
            }
        };
        match staged.persist_noclobber(place) {
            Ok(_) => Ok(()),
            Err(failed) if failed.error.kind() == ErrorKind::AlreadyExists => {
                Err(StoreError::Exists { path: path.clone() })
            }
            Err(failed) => Err(StoreError::io("write", path, &failed.error)),
        }
    }

    pub(super) fn swap(
        &self,
        path: &StorePath,
        bytes: &[u8],
        expected: Option<&Tag>,
    ) -> Result<Tag, StoreError> {
        let place = self.locate(path)?;
        let conflict = || StoreError::Conflict { path: path.clone() };
        let _until_return = self.lock()?;
        let found = self.get(path, u64::MAX)?.map(|object| object.tag);
        if found.as_ref() != expected {
            return Err(conflict());
        }
        let folder = self.make_folders(path)?;
        let mut unread = bytes;
        let staged = stage(path, &folder, &mut unread)?;
        // `create` takes no lock, so an absent object may have appeared.
        let placed = match expected {
            Some(_) => staged.persist(&place),
            None => staged.persist_noclobber(&place),
        };
        match placed {
            Ok(_) => sync_folder(&folder)?,
            Err(failed) if failed.error.kind() == ErrorKind::AlreadyExists => return Err(conflict()),
            Err(failed) => return Err(StoreError::io("write", path, &failed.error)),
        }
        Ok(tag_of(bytes))
    }

    pub(super) fn list(&self, prefix: Option<&StorePath>) -> Result<Vec<Entry>, StoreError> {
        let top = prefix.map_or_else(|| Ok(self.root.clone()), |prefix| self.locate(prefix))?;
        let mut entries = Vec::new();
        for (place, found) in files_below(top)? {
            let name = place.strip_prefix(&self.root).ok().and_then(Path::to_str);
            // A name that is no store path is not an object: unfinished, the lock, or not wheelseal's.
            if let Some(Ok(path)) = name.map(StorePath::new) {
                let modified = found.modified().map_err(|error| StoreError::io("list", &path, &error))?;
                entries.push(Entry { path, len: found.len(), modified });
            }
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
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
        for (place, found) in files_below(self.root.clone())? {
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
        }
        Ok(swept)
    }

    /// Where the object lies or would lie; refused when that leads over a symbolic link.
    fn locate(&self, path: &StorePath) -> Result<PathBuf, StoreError> {
        let mut place = self.root.clone();
        for segment in path.segments() {
            place.push(segment);
            refuse_link(&place, path.as_str())?;
        }
        Ok(place)
    }

    /// The folder of the object, made if need be, with every entry on the way durable.
    fn make_folders(&self, path: &StorePath) -> Result<PathBuf, StoreError> {
        let mut folder = self.root.clone();
        for segment in path.folders() {
            let parent = folder.clone();
            folder.push(segment);
            let made = make_folder(&folder)
                .map_err(|error| StoreError::io("make folder", folder.display(), &error))?;
            let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
            // A folder that was there already may be another writer's, not yet durable.
            if made || !durable.contains(&folder) {
                sync_folder(&parent)?;
                durable.insert(folder.clone());
            }
        }
        Ok(folder)
    }

    /// Waits for the lock; it is held until the file is dropped.
    fn lock(&self) -> Result<File, StoreError> {
        let place = self.root.join(LOCK_NAME);
        refuse_link(&place, LOCK_NAME)?;
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(&place)
            .and_then(|file| file.lock().map(|()| file))
            .map_err(|error| StoreError::io("lock", place.display(), &error))
    }
}

fn tag_of(bytes: &[u8]) -> Tag {
    Tag::new(sha256(bytes).map(|byte| format!("{byte:02x}")).concat())
}
