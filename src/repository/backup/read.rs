//! Reading a backup, and believing nothing in it that is not signed: each entry is verified when it comes, against what
//! came before it. What the archive must have is decided by the snapshot, not by the archive.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::lists_pages;
use crate::log::HEAD;
use crate::repository::check::names::file_name;
use crate::repository::check::split_name;
use crate::repository::kept::may_retire;
use crate::repository::plain::project_of;
use crate::repository::settings::SETTINGS;
use crate::repository::{MAX_METADATA, RepositoryError, layout};
use crate::store::StorePath;
use crate::tuf::metadata::{
    MetaFile, Role, Root, Snapshot, TargetFile, Targets, Timestamp, TopLevel, Version,
};
use crate::tuf::path::{RoleName, TargetPath, percent_quote};
use crate::tuf::signed::{Authority, Signed, Verified};
use crate::tuf::trusted::TrustError;

/// Bytes after the last entry, at most: tar ends in zeros up to a multiple of 10,240.
const MAX_PADDING: u64 = 64 * 1024;

/// One verified entry.
pub(in crate::repository) struct Entry {
    pub(in crate::repository) at: StorePath,
    pub(in crate::repository) bytes: Vec<u8>,
    pub(in crate::repository) kind: Kind,
}

/// What it is.
pub(in crate::repository) enum Kind {
    /// `wheelseal.toml`, which nobody signed.
    Settings,
    Root,
    Timestamp,
    Snapshot,
    /// Top-level targets or a delegated role.
    Targets(Verified<Targets>),
    /// A project's signed page.
    Page,
    /// A file of the transparency log, or the proof that the snapshot is in it. Whether all of them are the log that
    /// timestamp names is found out when they are together.
    Log,
}

/// What a whole backup holds.
#[derive(Debug)]
pub(in crate::repository) struct Contents {
    /// All roots, the newest last.
    pub(in crate::repository) roots: Vec<Verified<Root>>,
    pub(in crate::repository) timestamp: Verified<Timestamp>,
    pub(in crate::repository) snapshot: Verified<Snapshot>,
    pub(in crate::repository) roles: u64,
    pub(in crate::repository) pages: u64,
}

impl RepositoryError {
    /// Something is wrong with a backup.
    pub(in crate::repository) fn backup(file: &Path, reason: impl Into<String>) -> Self {
        Self::Backup { file: file.display().to_string(), reason: reason.into() }
    }
}

impl Contents {
    /// Reads and verifies a whole archive, on a thread of its own.
    pub(in crate::repository) async fn of(file: &Path) -> Result<Self, RepositoryError> {
        Self::read(file.to_owned(), |_| Ok(())).await
    }

    /// The same; `take` gets each entry.
    pub(in crate::repository) async fn read(
        file: PathBuf,
        take: impl FnMut(Entry) -> Result<(), RepositoryError> + Send + 'static,
    ) -> Result<Self, RepositoryError> {
        let read = tokio::task::spawn_blocking(move || read(&file, take)).await;
        read.map_err(|error| RepositoryError::Plan(format!("a thread ended early: {error}")))?
    }
}

fn read(
    file: &Path,
    mut take: impl FnMut(Entry) -> Result<(), RepositoryError>,
) -> Result<Contents, RepositoryError> {
    let bad = |error: &std::io::Error| RepositoryError::backup(file, error.to_string());
    let opened = File::open(file).map_err(|error| bad(&error))?;
    let decoder = zstd::stream::read::Decoder::new(opened).map_err(|error| bad(&error))?;
    let mut archive = tar::Archive::new(decoder);
    let mut judge = Judge::new(file);
    for entry in archive.entries().map_err(|error| bad(&error))? {
        let mut entry = entry.map_err(|error| bad(&error))?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if !entry.header().entry_type().is_file() || entry.size() > MAX_METADATA {
            return Err(judge.refuse(&name, "is no file of metadata"));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(|error| bad(&error))?;
        take(judge.entry(&name, bytes)?)?;
    }
    // To its very end, where the checksum is.
    let mut rest = archive.into_inner().take(MAX_PADDING);
    let padding = std::io::copy(&mut rest, &mut std::io::sink()).map_err(|error| bad(&error))?;
    if padding == MAX_PADDING {
        return Err(judge.refuse("what comes after the last entry", "does not belong in a backup"));
    }
    judge.finish()
}

/// What has come so far.
struct Judge<'a> {
    file: &'a Path,
    settings: bool,
    roots: Vec<Verified<Root>>,
    timestamp: Option<Verified<Timestamp>>,
    snapshot: Option<Verified<Snapshot>>,
    /// Roles of the snapshot that have not come, by the names of their files.
    awaited: BTreeMap<String, (String, MetaFile)>,
    /// Those that delegate.
    delegators: Vec<(RoleName, Verified<Targets>)>,
    /// Pages of the last bin that have not come, by path.
    pages: BTreeMap<String, TargetFile>,
    roles: u64,
    page_count: u64,
    /// Whether the head of the transparency log came.
    head: bool,
}

impl<'a> Judge<'a> {
    fn new(file: &'a Path) -> Self {
        Self {
            file,
            settings: false,
            roots: Vec::new(),
            timestamp: None,
            snapshot: None,
            awaited: BTreeMap::new(),
            delegators: Vec::new(),
            pages: BTreeMap::new(),
            roles: 0,
            page_count: 0,
            head: false,
        }
    }

    fn refuse(&self, name: &str, what: &str) -> RepositoryError {
        RepositoryError::backup(self.file, format!("{name} {what}"))
    }

    fn entry(&mut self, name: &str, bytes: Vec<u8>) -> Result<Entry, RepositoryError> {
        let at = StorePath::new(name)?;
        if let Some(file) = self.pages.remove(name) {
            let wrong = |mismatch| TrustError::WrongHash { role: name.to_owned(), mismatch };
            file.hashes.check_bytes(&bytes).map_err(wrong)?;
            self.page_count += 1;
            return Ok(Entry { at, bytes, kind: Kind::Page });
        }
        if let Some(missing) = self.pages.keys().next() {
            return Err(self.refuse(missing, "is missing"));
        }
        if name == SETTINGS && !self.settings {
            self.settings = true;
            return Ok(Entry { at, bytes, kind: Kind::Settings });
        }
        if self.is_logs(&at)? {
            self.head |= name == HEAD;
            return Ok(Entry { at, bytes, kind: Kind::Log });
        }
        let in_metadata = at.folders().eq([layout::METADATA]);
        let kind = match split_name(file_name(&at)).filter(|_| in_metadata) {
            Some((version, "root")) => self.root(version, &bytes)?,
            Some((version, "snapshot")) => self.snapshot(version, &bytes)?,
            Some((_, stem)) => self.role(name, stem, &bytes)?,
            None if at == layout::timestamp()? => self.timestamp(&bytes)?,
            None => return Err(self.refuse(name, "does not belong in a backup")),
        };
        self.roles += 1;
        Ok(Entry { at, bytes, kind })
    }

    fn is_logs(&self, at: &StorePath) -> Result<bool, RepositoryError> {
        let logged = self.timestamp.as_ref().is_some_and(|timestamp| timestamp.log.is_some());
        let Some(snapshot) = self.snapshot.as_ref().filter(|_| logged) else { return Ok(false) };
        let proof = layout::snapshot_proof(snapshot.common.version)?;
        Ok(*at == proof || at.segments().next() == Some(layout::LOG))
    }

    fn root(&mut self, version: Version, bytes: &[u8]) -> Result<Kind, RepositoryError> {
        let signed = Signed::<Root>::new(bytes);
        let root = match self.roots.last() {
            Some(before) => signed.verify_successor(before)?,
            None => signed.verify_initial()?,
        };
        // After a new first root the chain does not begin at 1.
        let expected = self.roots.last().map_or(version, |before| before.common.version.saturating_add(1));
        if self.timestamp.is_some() || version != expected {
            return Err(self.refuse(&format!("root version {version}"), "is out of order"));
        }
        exact("root", root.common.version, expected)?;
        self.roots.push(root);
        Ok(Kind::Root)
    }

    fn newest_root(&self) -> Result<&Verified<Root>, RepositoryError> {
        self.roots.last().ok_or_else(|| self.refuse("the first root", "is missing"))
    }

    fn timestamp(&mut self, bytes: &[u8]) -> Result<Kind, RepositoryError> {
        let timestamp = Signed::new(bytes).verify(&self.newest_root()?.authority(TopLevel::Timestamp))?;
        self.timestamp = Some(timestamp);
        Ok(Kind::Timestamp)
    }

    fn snapshot(&mut self, version: Version, bytes: &[u8]) -> Result<Kind, RepositoryError> {
        let Some(timestamp) = &self.timestamp else {
            return Err(self.refuse("the snapshot", "is out of order"));
        };
        exact("snapshot", version, timestamp.snapshot.version)?;
        let authority = self.newest_root()?.authority(TopLevel::Snapshot);
        let snapshot: Verified<Snapshot> = verified(bytes, &[authority], &timestamp.snapshot)?;
        for (role, file) in snapshot.roles() {
            let name = format!("{}/{}.{}.json", layout::METADATA, file.version, percent_quote(role, b""));
            self.awaited.insert(name, (role.to_owned(), file.clone()));
        }
        self.snapshot = Some(snapshot);
        Ok(Kind::Snapshot)
    }

    fn role(&mut self, name: &str, stem: &str, bytes: &[u8]) -> Result<Kind, RepositoryError> {
        let Some((role, file)) = self.awaited.remove(name) else {
            return Err(self.refuse(name, "is not what the snapshot names"));
        };
        if stem == TopLevel::Targets.name() {
            let authority = self.newest_root()?.authority(TopLevel::Targets);
            let targets: Verified<Targets> = verified(bytes, &[authority], &file)?;
            self.delegators.push((RoleName::targets(), targets.clone()));
            return Ok(Kind::Targets(targets));
        }
        let role = RoleName::delegated(role)?;
        let says = |(delegator, metadata): &'_ (RoleName, Verified<Targets>)| {
            let known = metadata.delegations.as_ref().and_then(|all| all.authority(delegator, &role));
            known.is_some().then(|| (delegator.clone(), metadata.clone()))
        };
        let Some((delegator, metadata)) = self.delegators.iter().find_map(says) else {
            return Err(self.refuse(name, "came before the role that delegates to it"));
        };
        let authority = metadata.delegations.as_ref().and_then(|all| all.authority(&delegator, &role));
        let targets: Verified<Targets> = verified(bytes, authority.as_slice(), &file)?;
        if targets.delegations.is_some() {
            self.delegators.push((role, targets.clone()));
        } else if lists_pages(&delegator) {
            self.pages = pages_of(&targets)?;
        }
        Ok(Kind::Targets(targets))
    }

    fn finish(mut self) -> Result<Contents, RepositoryError> {
        if let Some(missing) = self.pages.keys().next() {
            return Err(self.refuse(missing, "is missing"));
        }
        // Bins that nobody delegates to any more have no file that anybody will ask for.
        let delegators = std::mem::take(&mut self.delegators);
        let delegated = |role: &str| {
            let Ok(name) = RoleName::delegated(role) else { return true };
            delegators.iter().any(|(_, metadata)| {
                metadata.delegations.as_ref().is_some_and(|all| all.role(&name).is_some())
            })
        };
        let missing = self.awaited.iter().find(|(_, (role, _))| !may_retire(role) || delegated(role));
        if let Some((name, _)) = missing {
            return Err(self.refuse(name, "is missing"));
        }
        if !self.settings {
            return Err(self.refuse(SETTINGS, "is missing"));
        }
        let (timestamp, snapshot) = (self.timestamp.take(), self.snapshot.take());
        let (Some(timestamp), Some(snapshot)) = (timestamp, snapshot) else {
            return Err(self.refuse("timestamp or snapshot", "is missing"));
        };
        if timestamp.log.is_some() && !self.head {
            return Err(RepositoryError::backup(self.file, format!("{HEAD} is missing")));
        }
        Ok(Contents { roots: self.roots, timestamp, snapshot, roles: self.roles, pages: self.page_count })
    }
}

/// The files of the pages that a bin lists.
fn pages_of(bin: &Targets) -> Result<BTreeMap<String, TargetFile>, RepositoryError> {
    let mut pages = BTreeMap::new();
    for (target, file) in &bin.targets {
        let target = TargetPath::new(target)?;
        if let (Some(_), Some(digest)) = (project_of(&target), &file.hashes.sha256) {
            pages.insert(layout::hashed(&target, digest)?.to_string(), file.clone());
        }
    }
    Ok(pages)
}

/// A role as its entry announces it and its delegator vouches for it.
fn verified<T: Role>(
    bytes: &[u8],
    authorities: &[Authority<'_>],
    entry: &MetaFile,
) -> Result<Verified<T>, RepositoryError> {
    let Some(authority) = authorities.first() else {
        return Err(RepositoryError::Plan("a role without a delegator".to_owned()));
    };
    if let Some(hashes) = entry.hashes() {
        let wrong = |mismatch| TrustError::WrongHash { role: authority.role().to_owned(), mismatch };
        hashes.check_bytes(bytes).map_err(wrong)?;
    }
    let metadata: Verified<T> = Signed::new(bytes).verify(authority)?;
    exact(authority.role(), metadata.common().version, entry.version)?;
    Ok(metadata)
}

fn exact(role: &str, found: Version, expected: Version) -> Result<(), RepositoryError> {
    if found == expected {
        return Ok(());
    }
    Err(TrustError::WrongVersion { role: role.to_owned(), found, expected }.into())
}
