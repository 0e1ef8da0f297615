//! The file-system steps that a [`DirStore`](super::DirStore) is made of.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};

use crate::store::StoreError;
use crate::store::path::TEMP_PREFIX;

/// Mode of every file: its owner writes, everyone reads.
pub(super) const FILE_MODE: u32 = 0o644;

/// Mode of every folder: its owner writes, everyone reads.
const FOLDER_MODE: u32 = 0o755;

/// Names tried for an unfinished file, at most: each but the last was taken, which two processes that drew the same 64
/// random bits could cause.
const MAX_NAMES: u32 = 16;

pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

pub(super) fn refuse_link(place: &Path, path: &str) -> Result<(), StoreError> {
    if fs::symlink_metadata(place).is_ok_and(|found| found.is_symlink()) {
        return Err(over_a_link(path));
    }
    Ok(())
}

pub(super) fn over_a_link(path: &str) -> StoreError {
    StoreError::InvalidPath { path: path.to_owned(), reason: "it leads over a symbolic link" }
}

/// Gives out names for unfinished files: no two alike in one process, and hardly ever in two.
#[derive(Debug)]
pub(super) struct Names {
    nonce: u64,
    given: AtomicU64,
}

impl Names {
    pub(super) fn new() -> Self {
        Self { nonce: RandomState::new().build_hasher().finish(), given: AtomicU64::new(0) }
    }

    /// A new, empty file in `folder`, with [`FILE_MODE`] less what the umask takes.
    pub(super) fn open(&self, folder: &Path) -> io::Result<(Unfinished, File)> {
        for _ in 0..MAX_NAMES {
            let number = self.given.fetch_add(1, Ordering::Relaxed);
            let place = folder.join(format!("{TEMP_PREFIX}{:016x}-{number:x}", self.nonce));
            match OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&place) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(file) => return Ok((Unfinished { place, finished: false }, file)),
            }
        }
        Err(io::Error::new(ErrorKind::AlreadyExists, "no free name for an unfinished file"))
    }
}

/// A file under an unfinished name, which is removed when this is dropped before it got its own.
#[derive(Debug)]
pub(super) struct Unfinished {
    place: PathBuf,
    finished: bool,
}

impl Unfinished {
    /// Gives the file its name, in one step. [`ErrorKind::AlreadyExists`] when the name is taken.
    pub(super) fn name(&mut self, place: &Path) -> io::Result<()> {
        if move_new(&self.place, place)? {
            self.finished = true;
        }
        Ok(())
    }

    /// Gives the file its name, in one step, whatever had it before.
    pub(super) fn replace(&mut self, place: &Path) -> io::Result<()> {
        fs::rename(&self.place, place)?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.finished {
            // What cannot be removed is left to `sweep`.
            drop(fs::remove_file(&self.place));
        }
    }
}

/// Moves a file to a name that is free; says whether the old name is gone. File systems that cannot rename without
/// replacing get a second name instead.
fn move_new(from: &Path, to: &Path) -> io::Result<bool> {
    #[cfg(target_os = "linux")]
    {
        use rustix::io::Errno;
        match rustix::fs::renameat_with(CWD, from, CWD, to, rustix::fs::RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS) => {}
            done => return Ok(done.map(|()| true)?),
        }
    }
    fs::hard_link(from, to)?;
    Ok(false)
}

/// Dates a file as of now, by the clock of the file system it is on.
pub(super) fn date_anew(place: &Path) -> io::Result<()> {
    let time = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    let now = Timestamps { last_access: time(UTIME_OMIT), last_modification: time(UTIME_NOW) };
    Ok(rustix::fs::utimensat(CWD, place, &now, AtFlags::SYMLINK_NOFOLLOW)?)
}

pub(super) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder)
        .and_then(|opened| opened.sync_all())
        .map_err(|error| StoreError::io("sync folder", folder.display(), &error))
}

/// Makes one folder unless it is there; says whether it did.
pub(super) fn make_folder(folder: &Path) -> io::Result<bool> {
    match DirBuilder::new().mode(FOLDER_MODE).create(folder) {
        Ok(()) => {
            // The umask may have taken bits; those inherited from the parent (set-group-id) stay.
            let mode = fs::metadata(folder)?.permissions().mode();
            if mode | FOLDER_MODE != mode {
                fs::set_permissions(folder, Permissions::from_mode(mode | FOLDER_MODE))?;
            }
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

pub(super) fn make_root(root: &Path) -> io::Result<()> {
    let root = std::path::absolute(root)?;
    let missing: Vec<&Path> = root.ancestors().take_while(|folder| !folder.exists()).collect();
    for folder in missing.into_iter().rev() {
        make_folder(folder)?;
        if let Some(parent) = folder.parent() {
            File::open(parent)?.sync_all()?;
        }
    }
    Ok(())
}

/// Shows `visit` every regular file at any depth. Links are passed by, as are folders that `enter` does not want, and
/// what vanishes meanwhile. Holds one open folder for each level.
pub(super) fn walk(
    top: &Path,
    enter: impl Fn(&Path) -> bool,
    mut visit: impl FnMut(PathBuf, Metadata) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let failed = |folder: &Path, error| StoreError::io("list", folder.display(), &error);
    let mut open = Vec::new();
    match fs::read_dir(top) {
        Ok(entries) => open.push(entries),
        Err(error) if is_absent(&error) => {}
        Err(error) => return Err(failed(top, error)),
    }
    while let Some(entries) = open.last_mut() {
        let Some(entry) = entries.next() else {
            open.pop();
            continue;
        };
        let entry = entry.map_err(|error| failed(top, error))?;
        let place = entry.path();
        let below = match entry.metadata() {
            Ok(found) if found.is_file() => {
                visit(place, found)?;
                continue;
            }
            Ok(found) if found.is_dir() && enter(&place) => fs::read_dir(&place),
            Ok(_) => continue,
            Err(error) => Err(error),
        };
        match below {
            Ok(entries) => open.push(entries),
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(failed(&place, error)),
        }
    }
    Ok(())
}
