//! The journal's folder: for its owner alone, under one lock, lines appended whole, files replaced whole.
//!
//! Every write is made with the folder's lock held, so what a writer finds half done was left by one that died: a last line
//! without its end is cut off, a temporary file is removed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::JournalError;
use super::event::MAX_LINE;

/// What temporary files begin with.
const TEMPORARY: &str = ".new-";
/// Permission bits of the folder.
const FOLDER_MODE: u32 = 0o700;
/// Permission bits of its files.
const FILE_MODE: u32 = 0o600;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    path: PathBuf,
}

/// The folder, while nobody else writes to it.
pub(super) struct Locked<'a> {
    folder: &'a Folder,
    _lock: File,
}

/// How a file was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// The lines were appended.
    Enough,
    /// They would have made the file longer than it may be: nothing was written.
    Full,
}

impl Folder {
    /// Opens it, or makes it. It must lie in none of `apart`, and none of them in it.
    pub(super) fn open(path: &Path, apart: &[&Path]) -> Result<Self, JournalError> {
        let path = settled(path).map_err(|error| JournalError::file("opening", path, &error))?;
        for other in apart {
            apart_from(&path, other)?;
        }
        match DirBuilder::new().mode(FOLDER_MODE).create(&path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(JournalError::file("making", &path, &error));
            }
            _ => {}
        }
        let found = fs::metadata(&path).map_err(|error| JournalError::file("opening", &path, &error))?;
        if !found.is_dir() {
            return Err(JournalError::file("opening", &path, &"it is no folder"));
        }
        private(&path, &found, FOLDER_MODE)?;
        Ok(Self { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until nobody else writes.
    pub(super) fn lock(&self) -> Result<Locked<'_>, JournalError> {
        let failed = |error: &io::Error| JournalError::file("locking", &self.path, error);
        let lock = File::open(&self.path).map_err(|error| failed(&error))?;
        lock.lock().map_err(|error| failed(&error))?;
        Ok(Locked { folder: self, _lock: lock })
    }

    /// Names of its files, in order.
    pub(super) fn names(&self) -> Result<Vec<String>, JournalError> {
        let failed = |error: io::Error| JournalError::file("reading", &self.path, &error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            names.extend(entry.map_err(failed)?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    /// A file's bytes; none if there is no such file.
    pub(super) fn read(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>, JournalError> {
        let path = self.path.join(name);
        let failed = |error: &dyn std::fmt::Display| JournalError::file("reading", &path, error);
        let file = match open(OpenOptions::new().read(true), &path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&error)),
        };
        let mut bytes = Vec::new();
        file.take(max.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length <= max) {
            return Ok(Some(bytes));
        }
        Err(failed(&format_args!("it has more than {max} bytes")))
    }
}

impl Locked<'_> {
    /// Appends lines, durably, unless the file would get longer than `max` bytes.
    pub(super) fn append(&self, name: &str, lines: &[u8], max: u64) -> Result<Room, JournalError> {
        let path = self.folder.path.join(name);
        let failed = |error: &dyn std::fmt::Display| JournalError::file("writing", &path, error);
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(FILE_MODE);
        let mut file = open(&mut options, &path).map_err(|error| failed(&error))?;
        let length = mended(&mut file).map_err(|error| failed(&error))?;
        let after = length.saturating_add(u64::try_from(lines.len()).unwrap_or(u64::MAX));
        if after > max {
            return Ok(Room::Full);
        }
        let written = file.write_all(lines).and_then(|()| file.sync_all());
        if let Err(error) = written {
            // Half a line would be cut off by the next writer; better now than then.
            drop(file.set_len(length));
            return Err(failed(&error));
        }
        if length == 0 {
            self.sync()?;
        }
        Ok(Room::Enough)
    }

    /// Puts a file in place of another, or of none, whole and durably.
    pub(super) fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), JournalError> {
        let path = self.folder.path.join(name);
        let written = || {
            let mut staged = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(&self.folder.path)?;
            staged.write_all(bytes)?;
            staged.as_file().sync_all()?;
            staged.persist(&path).map_err(|refused| refused.error)
        };
        written().map_err(|error| JournalError::file("writing", &path, &error))?;
        self.sync()
    }

    /// Removes a file that is there.
    /// A file that another process has removed meanwhile is gone all the same.
    pub(super) fn remove(&self, name: &str) -> Result<(), JournalError> {
        let path = self.folder.path.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(JournalError::file("removing", &path, &error))
            }
            _ => self.sync(),
        }
    }

    /// Removes what writers that died have left.
    pub(super) fn tidy(&self) -> Result<(), JournalError> {
        for name in self.folder.names()?.iter().filter(|name| name.starts_with(TEMPORARY)) {
            self.remove(name)?;
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), JournalError> {
        let synced = File::open(&self.folder.path).and_then(|folder| folder.sync_all());
        synced.map_err(|error| JournalError::file("writing", &self.folder.path, &error))
    }
}

/// A file, and not what a link or a pipe of its name leads to.
fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => return Err(io::Error::other("it is no file")),
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    options.open(path)
}

/// Cuts off a last line that has no end. Its length then.
fn mended(file: &mut File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let start = length.saturating_sub(u64::try_from(MAX_LINE + 1).unwrap_or(u64::MAX));
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.take(length - start).read_to_end(&mut tail)?;
    let torn = tail.iter().rev().take_while(|byte| **byte != b'\n').count();
    let torn = u64::try_from(torn).unwrap_or(u64::MAX);
    if torn == 0 {
        return Ok(length);
    }
    let whole = length.saturating_sub(torn);
    file.set_len(whole)?;
    file.sync_all()?;
    Ok(whole)
}

/// A path without links, also of what is not there yet.
pub(super) fn settled(path: &Path) -> io::Result<PathBuf> {
    if let Ok(there) = path.canonicalize() {
        return Ok(there);
    }
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| io::Error::other("it has no name"))?;
    Ok(folder.canonicalize()?.join(name))
}

/// Whether something is its owner's alone, and the owner is who runs this.
pub(super) fn private(path: &Path, found: &fs::Metadata, expected: u32) -> Result<(), JournalError> {
    let (shown, mode) = (path.display().to_string(), found.mode() & 0o777);
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(JournalError::Foreign { path: shown });
    }
    if mode & !expected == 0 { Ok(()) } else { Err(JournalError::Exposed { path: shown, mode, expected }) }
}

/// Neither of two lies in the other. What is not there yet lies in nothing.
pub(super) fn apart_from(path: &Path, other: &Path) -> Result<(), JournalError> {
    let Ok(other) = other.canonicalize() else { return Ok(()) };
    let inside = |path: &Path, within: &Path| JournalError::Inside {
        path: path.display().to_string(),
        within: within.display().to_string(),
    };
    if path.starts_with(&other) {
        return Err(inside(path, &other));
    }
    if other.starts_with(path) { Err(inside(&other, path)) } else { Ok(()) }
}
