//! The folder of an index. Project and file names are safe parts of a path by their types; what else lies there is not
//! trusted.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::SyncError;
use crate::python::{DistributionFilename, ProjectName, ProjectPage, index_html, index_json};

/// Marks the folder as ours.
const OWN: &str = ".wheelseal-sync";
/// Where the pages are.
const PAGES: &str = "simple";
/// Where the files are.
const FILES: &str = "targets";
/// What is there, and why it is trusted.
const RECORD: &str = "wheelseal-sync.json";
/// Bytes of a state that are read, at most.
const MAX_STATE: u64 = 64 * 1_024;
/// Bytes of a page that is compared with a new one, at most: larger ones are written anew.
const MAX_COMPARED: u64 = 64 * 1_024 * 1_024;
/// The form of a state.
const FORMAT: u32 = 1;

/// Which state of which repository a folder has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// 1.
    pub format: u32,
    /// Where the repository is.
    pub url: String,
    /// Version of root.
    pub root: u64,
    /// Version of timestamp.
    pub timestamp: u64,
    /// Version of snapshot.
    pub snapshot: u64,
}

impl State {
    /// Of these versions.
    pub fn new(url: &str, root: u64, timestamp: u64, snapshot: u64) -> Self {
        Self { format: FORMAT, url: url.to_owned(), root, timestamp, snapshot }
    }

    /// Refuses to follow `held` if this is older. New roots may bring new counts.
    fn follows(&self, held: &Self, path: &Path) -> Result<(), SyncError> {
        if self.url != held.url {
            let (found, wanted) = (held.url.clone(), self.url.clone());
            return Err(SyncError::OtherRepository { path: shown(path), found, wanted });
        }
        let back = |role, found, held| SyncError::WentBack { path: shown(path), role, found, held };
        if self.root < held.root {
            return Err(back("root", self.root, held.root));
        }
        if self.root == held.root && self.timestamp < held.timestamp {
            return Err(back("timestamp", self.timestamp, held.timestamp));
        }
        if self.root == held.root && self.snapshot < held.snapshot {
            return Err(back("snapshot", self.snapshot, held.snapshot));
        }
        Ok(())
    }
}

/// A folder that this process alone works on, or looks at.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: Option<File>,
}

impl Folder {
    /// Takes the folder, which is made if needed, for this state of a repository.
    pub fn open(path: &Path, state: &State) -> Result<Self, SyncError> {
        let path = std::path::absolute(path).map_err(|error| io("looking for", path, &error))?;
        outside_repositories(&path)?;
        fs::create_dir_all(&path).map_err(|error| io("making", &path, &error))?;
        let path = path.canonicalize().map_err(|error| io("looking for", &path, &error))?;
        outside_repositories(&path)?;
        check_ours(&path)?;
        let own = path.join(OWN);
        real_folder(&own)?;
        let lock = lock(&own, &path)?;
        sweep(&own, |name| matches!(name, "lock" | "state.json"))?;
        let folder = Self { path, _lock: Some(lock) };
        folder.may_become(state)?;
        for part in [PAGES, FILES] {
            real_folder(&folder.path.join(part))?;
        }
        Ok(folder)
    }

    /// Looks at the folder, which may not be there, and writes nothing.
    pub fn look(path: &Path, state: &State) -> Result<Self, SyncError> {
        let path = std::path::absolute(path).map_err(|error| io("looking for", path, &error))?;
        outside_repositories(&path)?;
        if path.exists() {
            check_ours(&path)?;
        }
        let folder = Self { path, _lock: None };
        folder.may_become(state)?;
        Ok(folder)
    }

    fn may_become(&self, state: &State) -> Result<(), SyncError> {
        let path = self.path.join(OWN).join("state.json");
        let Some(bytes) = read(&path, MAX_STATE)? else { return Ok(()) };
        let bad = |reason: String| SyncError::BadState { path: shown(&path), reason };
        let held: State = serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
        if held.format != FORMAT {
            return Err(bad(format!("format {}, expected {FORMAT}", held.format)));
        }
        state.follows(&held, &self.path)
    }

    /// Where the folder is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where something can be written that is not whole yet.
    pub fn scratch(&self) -> PathBuf {
        self.path.join(OWN)
    }

    /// Where the record of all files is.
    pub fn record(&self) -> PathBuf {
        self.path.join(RECORD)
    }

    /// Notes that all of a state is there now.
    pub fn finish(&self, state: &State) -> Result<(), SyncError> {
        let path = self.path.join(OWN).join("state.json");
        let text = serde_json::to_string(state)
            .map_err(|error| SyncError::BadState { path: shown(&path), reason: error.to_string() })?;
        write(&path, text.as_bytes()).map(drop)
    }

    /// Where a file, or its metadata, lies: a place that is free, or has a plain file.
    pub(super) fn place(&self, file: &DistributionFilename, ending: &str) -> PathBuf {
        self.path.join(FILES).join(file.project().as_str()).join(format!("{file}{ending}"))
    }

    /// Makes the folders of a project, and none of them a link.
    pub(super) fn prepare(&self, project: &ProjectName) -> Result<(), SyncError> {
        [PAGES, FILES]
            .into_iter()
            .try_for_each(|part| real_folder(&self.path.join(part).join(project.as_str())))
    }

    /// The names of what is there of a project.
    pub(super) fn present(&self, project: &ProjectName) -> Result<BTreeSet<String>, SyncError> {
        names(&self.path.join(FILES).join(project.as_str()))
    }

    /// Puts a page in its place; nothing is written where nothing changes.
    pub(super) fn put_page(&self, page: &ProjectPage) -> Result<(), SyncError> {
        let folder = self.path.join(PAGES).join(page.name().as_str());
        write(&folder.join("index.json"), page.to_json_for_tools(|_| None).as_bytes())?;
        write(&folder.join("index.html"), page.to_html().as_bytes())?;
        sweep(&folder, |name| matches!(name, "index.json" | "index.html")).map(drop)
    }

    /// Removes all files of a project but those in `keep`; how many.
    pub(super) fn sweep(&self, project: &ProjectName, keep: &BTreeSet<String>) -> Result<u64, SyncError> {
        sweep(&self.path.join(FILES).join(project.as_str()), |name| keep.contains(name))
    }

    /// The projects that are there, as far as names tell.
    pub(super) fn projects(&self) -> Result<BTreeSet<ProjectName>, SyncError> {
        let mut all = BTreeSet::new();
        for part in [PAGES, FILES] {
            let names = names(&self.path.join(part))?.into_iter();
            all.extend(names.filter_map(|name| ProjectName::from_normalised(&name).ok()));
        }
        Ok(all)
    }

    /// Removes a project; how many files of it there were.
    pub(super) fn remove(&self, project: &ProjectName) -> Result<u64, SyncError> {
        let folder = |part| self.path.join(part).join(project.as_str());
        let count = names(&folder(FILES))?.len();
        for part in [PAGES, FILES] {
            remove(&folder(part))?;
        }
        Ok(u64::try_from(count).unwrap_or(u64::MAX))
    }

    /// Removes the page of a project, and leaves its files.
    pub(super) fn remove_page(&self, project: &ProjectName) -> Result<(), SyncError> {
        remove(&self.path.join(PAGES).join(project.as_str()))
    }

    /// Writes the list of these projects, and removes what has no business beside it: pages of others too.
    pub(super) fn put_list(&self, projects: &BTreeSet<ProjectName>) -> Result<(), SyncError> {
        let pages = self.path.join(PAGES);
        let is_listed =
            |name: &str| ProjectName::from_normalised(name).is_ok_and(|project| projects.contains(&project));
        sweep(&pages, |name| is_listed(name) || matches!(name, "index.json" | "index.html"))?;
        sweep(&self.path.join(FILES), |name| ProjectName::from_normalised(name).is_ok())?;
        let projects: Vec<_> = projects.iter().cloned().collect();
        write(&pages.join("index.json"), index_json(&projects).as_bytes())?;
        write(&pages.join("index.html"), index_html(&projects).as_bytes()).map(drop)
    }
}

/// A folder that is empty or has our mark.
fn check_ours(path: &Path) -> Result<(), SyncError> {
    let names = names(path)?;
    let marked = fs::symlink_metadata(path.join(OWN)).is_ok_and(|about| about.is_dir());
    if names.is_empty() || marked { Ok(()) } else { Err(SyncError::NotOurs { path: shown(path) }) }
}

/// Neither the folder nor one above it is that of a repository.
fn outside_repositories(path: &Path) -> Result<(), SyncError> {
    let is_repository = |folder: &&Path| {
        let has = |name: &str| folder.join(name).symlink_metadata().is_ok();
        has("wheelseal.toml") || has("metadata/timestamp.json") || has("metadata/1.root.json")
    };
    match path.ancestors().find(is_repository) {
        None => Ok(()),
        Some(repository) => Err(SyncError::InRepository { path: shown(path), repository: shown(repository) }),
    }
}

fn lock(own: &Path, folder: &Path) -> Result<File, SyncError> {
    let path = own.join("lock");
    plain(&path)?;
    let file = File::options().create(true).append(true).open(&path);
    let file = file.map_err(|error| io("opening", &path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SyncError::Busy { path: shown(folder) }),
        Err(TryLockError::Error(error)) => Err(io("locking", &path, &error)),
    }
}

/// Makes a folder where there is none; what is none, such as a link to one, goes.
fn real_folder(path: &Path) -> Result<(), SyncError> {
    if fs::symlink_metadata(path).is_ok_and(|about| !about.is_dir()) {
        fs::remove_file(path).map_err(|error| io("removing", path, &error))?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(io("making", path, &error)),
        _ => Ok(()),
    }
}

/// Leaves a plain file or nothing at a place.
pub(super) fn plain(path: &Path) -> Result<(), SyncError> {
    match fs::symlink_metadata(path) {
        Ok(about) if !about.is_file() => remove(path),
        _ => Ok(()),
    }
}

/// Removes whatever is at a place; of a link, the link.
fn remove(path: &Path) -> Result<(), SyncError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(about) if about.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => return Ok(()),
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io("removing", path, &error)),
        _ => Ok(()),
    }
}

/// Removes from a folder what `keep` does not name; how many.
fn sweep(folder: &Path, keep: impl Fn(&str) -> bool) -> Result<u64, SyncError> {
    let mut count = 0;
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        entries => entries.map_err(|error| io("reading", folder, &error))?,
    };
    for entry in entries {
        let entry = entry.map_err(|error| io("reading", folder, &error))?;
        if !entry.file_name().to_str().is_some_and(&keep) {
            remove(&entry.path())?;
            count += 1;
        }
    }
    Ok(count)
}

/// The names in a folder that are text; none if there is no folder.
fn names(folder: &Path) -> Result<BTreeSet<String>, SyncError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries.map_err(|error| io("reading", folder, &error))?,
    };
    let mut all = BTreeSet::new();
    for entry in entries {
        let entry = entry.map_err(|error| io("reading", folder, &error))?;
        all.insert(entry.file_name().to_string_lossy().into_owned());
    }
    Ok(all)
}

/// The bytes of a plain file of at most `max` bytes.
fn read(path: &Path, max: u64) -> Result<Option<Vec<u8>>, SyncError> {
    if !fs::symlink_metadata(path).is_ok_and(|about| about.is_file() && about.len() <= max) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let opened = File::open(path).map_err(|error| io("opening", path, &error))?;
    opened.take(max).read_to_end(&mut bytes).map_err(|error| io("reading", path, &error))?;
    Ok(Some(bytes))
}

/// Writes a file whole or not at all, unless it is that already.
fn write(path: &Path, bytes: &[u8]) -> Result<bool, SyncError> {
    plain(path)?;
    if read(path, MAX_COMPARED)?.is_some_and(|held| held == bytes) {
        return Ok(false);
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let written = tempfile::Builder::new().prefix(".wheelseal-").tempfile_in(folder).and_then(|mut file| {
        file.write_all(bytes)?;
        readable(file.as_file())?;
        file.as_file().sync_data()?;
        file.persist(path).map_err(|refused| refused.error)
    });
    written.map(|_| true).map_err(|error| io("writing", path, &error))
}

/// By everybody, as the files are.
fn readable(file: &File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn io(what: &'static str, path: &Path, error: &std::io::Error) -> SyncError {
    SyncError::Io { what, path: shown(path), reason: error.to_string() }
}
