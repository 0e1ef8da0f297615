//! The file-system steps that a [`DirStore`](super::DirStore) is made of.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::store::path::TEMP_PREFIX;
use crate::store::{StoreError, StorePath};

/// Mode of every file: its owner writes, everyone reads.
pub(super) const FILE_MODE: u32 = 0o644;

/// Mode of every folder: its owner writes, everyone reads.
const FOLDER_MODE: u32 = 0o755;

pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

pub(super) fn refuse_link(place: &Path, path: &str) -> Result<(), StoreError> {
    if fs::symlink_metadata(place).is_ok_and(|found| found.is_symlink()) {
        return Err(StoreError::InvalidPath {
            path: path.to_owned(),
            reason: "it leads over a symbolic link",
        });
    }
    Ok(())
}

/// Writes an unfinished file in `folder`, durable but for its name; dropping it removes it.
pub(super) fn stage(
    path: &StorePath,
    folder: &Path,
    bytes: &mut impl Read,
) -> Result<NamedTempFile, StoreError> {
    let mut write = || {
        let mut staged = tempfile::Builder::new().prefix(TEMP_PREFIX).tempfile_in(folder)?;
        io::copy(bytes, staged.as_file_mut())?;
        staged.as_file().set_permissions(Permissions::from_mode(FILE_MODE))?;
        staged.as_file().sync_all()?;
        Ok(staged)
    };
    write().map_err(|error| StoreError::io("write", path, &error))
}

/// Gives the original a second name. It is dated anew first, by the file system's clock, so that a copy just made
/// never looks old enough to be collected.
pub(super) fn link(original: &File, from: &Path, place: &Path, folder: &Path) -> io::Result<()> {
    date_anew(original, folder)?;
    fs::hard_link(from, place)
}

/// Dates a file as of now, by the clock of the file system that `folder` is on.
pub(super) fn date_anew(file: &File, folder: &Path) -> io::Result<()> {
    let probe = tempfile::Builder::new().prefix(TEMP_PREFIX).tempfile_in(folder)?;
    file.set_modified(probe.as_file().metadata()?.modified()?)
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
            fs::set_permissions(folder, Permissions::from_mode(mode | FOLDER_MODE))?;
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

/// Every regular file at any depth. Links are passed by, and what vanishes meanwhile is left out.
pub(super) fn files_below(top: PathBuf) -> Result<Vec<(PathBuf, fs::Metadata)>, StoreError> {
    let mut files = Vec::new();
    let mut folders = vec![top];
    while let Some(folder) = folders.pop() {
        match read_folder(&folder, &mut folders, &mut files) {
            Err(error) if !is_absent(&error) => {
                return Err(StoreError::io("list", folder.display(), &error));
            }
            _ => {}
        }
    }
    Ok(files)
}

fn read_folder(
    folder: &Path,
    folders: &mut Vec<PathBuf>,
    files: &mut Vec<(PathBuf, fs::Metadata)>,
) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.metadata() {
            Ok(found) if found.is_dir() => folders.push(entry.path()),
            Ok(found) if found.is_file() => files.push((entry.path(), found)),
            Err(error) if !is_absent(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
