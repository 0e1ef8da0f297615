//! Which distributions lie in a folder.

use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use super::journal::{FOUND, Stamp, key, record};
use super::{Hashed, MAX_NAMED, Unfit};
use crate::repository::bulk::line::check_path;
use crate::repository::{Progress, RepositoryError};
use crate::spill::Spill;

/// Comes before all paths in the list that a folder becomes.
pub(super) const PACKAGES: &str = "packages/";
/// Where bandersnatch has its files, and other mirrors theirs.
const HOMES: [&str; 2] = ["web/packages", "packages"];
/// Files between two reports of progress.
const REPORTED: u64 = 1_000;
/// What a path that cannot be listed is told.
const ODD_NAME: &str = "its name is no text that can be written in a list";

/// The folder that holds the files.
pub(super) fn packages_of(root: &Path) -> Result<PathBuf, RepositoryError> {
    let homes = HOMES.iter().map(|home| root.join(home)).chain([root.to_owned()]);
    for home in homes {
        if std::fs::symlink_metadata(&home).is_ok_and(|about| about.is_dir()) {
            return Ok(home);
        }
    }
    // A link to a folder that the user named is the user's own.
    if root.is_dir() {
        return Ok(root.to_owned());
    }
    Err(unread(root, "it is no folder"))
}

/// Puts all distributions into a spill, with their stamps. Returns how many bytes they have together.
pub(super) fn walk(
    root: &Path,
    spill: &Spill,
    unfit: Unfit,
    outcome: &mut Hashed,
    progress: &dyn Progress,
) -> Result<u64, RepositoryError> {
    let (mut writer, mut bytes, mut count) = (spill.writer(), 0_u64, 0_u64);
    for entry in WalkDir::new(root).follow_links(false).follow_root_links(true) {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(root).to_owned();
            unread(&path, &error.io_error().map_or_else(|| error.to_string(), ToString::to_string))
        })?;
        if let Some(why) = stray(&entry) {
            outcome.leave_out(unfit, unread(entry.path(), &why))?;
            continue;
        }
        if !entry.file_type().is_file() || !is_distribution(entry.path()) {
            continue;
        }
        let Some(path) = relative(root, entry.path()) else {
            outcome.leave_out(unfit, unread(entry.path(), ODD_NAME))?;
            continue;
        };
        let about = entry.metadata().map_err(|error| unread(entry.path(), &error.to_string()))?;
        let (stamp, sibling) = (Stamp::of(&about), sibling(entry.path())?);
        let sibling = sibling.map(|stamp| stamp.to_string()).unwrap_or_default();
        writer.push(key(&path), &record(&path, FOUND, b"", &format!("{stamp}\t{sibling}")))?;
        bytes = bytes.saturating_add(stamp.size);
        count += 1;
        if count.is_multiple_of(REPORTED) {
            progress.at("looking for files", count, count.saturating_add(1));
        }
    }
    writer.finish()?;
    Ok(bytes)
}

impl Hashed {
    /// Notes a file that cannot be published, or refuses because of it.
    pub(super) fn leave_out(&mut self, unfit: Unfit, why: RepositoryError) -> Result<(), RepositoryError> {
        if unfit == Unfit::Refuse {
            return Err(why);
        }
        self.unfit += 1;
        if self.named.len() < MAX_NAMED {
            self.named.push(why.to_string());
        }
        Ok(())
    }
}

/// Why an entry is not to be followed.
fn stray(entry: &DirEntry) -> Option<String> {
    if entry.depth() == 0 || !entry.path_is_symlink() {
        return None;
    }
    let to = std::fs::read_link(entry.path()).map(|to| format!(" to {}", to.display())).unwrap_or_default();
    Some(format!("it is a symbolic link{to}"))
}

fn is_distribution(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    [b".whl".as_slice(), b".tar.gz", b".zip"].iter().any(|ending| name.ends_with(ending))
}

/// The path below `root`, if it can stand in a list.
fn relative(root: &Path, path: &Path) -> Option<String> {
    let text = path.strip_prefix(root).ok()?.to_str()?;
    check_path(&format!("{PACKAGES}{text}")).is_ok().then(|| text.to_owned())
}

/// The stamp of the metadata beside a file (PEP 658), if it has some.
fn sibling(path: &Path) -> Result<Option<Stamp>, RepositoryError> {
    let at = beside(path);
    match std::fs::symlink_metadata(&at) {
        Ok(about) if about.is_file() => Ok(Some(Stamp::of(&about))),
        // A link is named when the walk comes to it.
        Ok(_) => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unread(&at, &error.to_string())),
    }
}

/// Where the metadata of a file lies.
pub(super) fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".metadata");
    name.into()
}

pub(super) fn unread(path: &Path, reason: &str) -> RepositoryError {
    // A name is data: control characters in it must not reach a terminal.
    let file = path.display().to_string();
    let file = if file.contains(char::is_control) { format!("{file:?}") } else { file };
    RepositoryError::File { what: "importing", file, reason: reason.to_owned() }
}
