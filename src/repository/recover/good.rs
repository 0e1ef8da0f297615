//! The last known good state: a backup, or an older snapshot that still lies in the repository.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::row::{Row, Side};
use crate::crypto::sha256;
use crate::python::ProjectPage;
use crate::repository::backup::read::{Contents, Entry, Kind};
use crate::repository::check::names::{file_name, split_name};
use crate::repository::claims::names::project_of_role;
use crate::repository::layout;
use crate::repository::state::{BINS, State};
use crate::repository::{Repository, RepositoryError};
use crate::spill::Spill;
use crate::tuf::metadata::{MetaFile, Targets, Version};
use crate::tuf::path::RoleName;
use crate::tuf::signed::Verified;

/// Roots of the chain that a backup is looked for in, at most.
const MAX_ROOTS: usize = 1_000;

/// A state that is held to be good; verified.
#[derive(Debug)]
pub struct Good {
    pub(super) origin: Origin,
}

#[derive(Debug)]
pub(super) enum Origin {
    Backup {
        file: PathBuf,
        contents: Box<Contents>,
        /// SHA-256 of each targets role's file, by name.
        digests: BTreeMap<String, [u8; 32]>,
    },
    Snapshot(Box<State>),
}

/// Roles that both sides have the same file of, and that need not be read twice.
pub(super) enum Skip<'a> {
    Digests(&'a BTreeMap<String, [u8; 32]>),
    Versions(&'a State),
    Names(BTreeSet<String>),
}

impl Skip<'_> {
    pub(super) fn skips(&self, role: &str, bytes: &[u8], entry: Option<&MetaFile>) -> bool {
        match self {
            Self::Digests(digests) => digests.get(role) == Some(&sha256(bytes)),
            Self::Versions(state) => entry.is_some() && state.snapshot.role(role) == entry,
            Self::Names(names) => names.contains(role),
        }
    }
}

impl Good {
    /// Version of its snapshot.
    pub fn snapshot(&self) -> Version {
        match &self.origin {
            Origin::Backup { contents, .. } => contents.snapshot.common.version,
            Origin::Snapshot(state) => state.snapshot.common.version,
        }
    }

    /// SHA-256 of its snapshot, in hexadecimal: what to write down in good times.
    pub fn snapshot_sha256(&self) -> String {
        let bytes = match &self.origin {
            Origin::Backup { contents, .. } => contents.snapshot.bytes(),
            Origin::Snapshot(state) => state.snapshot.bytes(),
        };
        hex::encode(sha256(bytes))
    }

    pub(super) fn skip(&self) -> Skip<'_> {
        match &self.origin {
            Origin::Backup { digests, .. } => Skip::Digests(digests),
            Origin::Snapshot(state) => Skip::Versions(state),
        }
    }
}

impl Repository {
    /// A backup as the good state, verified whole. It must have `root`, byte for byte; without one, its newest root must
    /// be one of those that the present root follows.
    pub async fn good_backup(&self, file: &Path, root: Option<&[u8]>) -> Result<Good, RepositoryError> {
        let digests = Arc::new(Mutex::new(BTreeMap::new()));
        let noted = Arc::clone(&digests);
        let take = move |entry: Entry| {
            if let (Kind::Targets(_), Some(role)) = (&entry.kind, role_of(&entry)) {
                noted.lock().unwrap_or_else(PoisonError::into_inner).insert(role, sha256(&entry.bytes));
            }
            Ok(())
        };
        let contents = Box::new(Contents::read(file.to_owned(), take).await?);
        if let Some(root) = root
            && !contents.roots.iter().any(|known| known.bytes() == root)
        {
            return Err(RepositoryError::backup(file, "none of its roots is the one that was given"));
        }
        if root.is_none() {
            let chain = self.state().await?.roots(self.store(), MAX_ROOTS).await?;
            let newest = contents.roots.last().map(Verified::bytes);
            if !chain.iter().any(|root| Some(root.bytes()) == newest) {
                let reason = "is of another repository: the present root does not follow its root; \
                              after a new first root, name an old one that you know with --good-root";
                return Err(RepositoryError::backup(file, reason));
            }
        }
        let digests = std::mem::take(&mut *digests.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Good { origin: Origin::Backup { file: file.to_owned(), contents, digests } })
    }

    /// An older snapshot that still lies in the repository. `sha256`: what it must have, if that was written down.
    pub async fn good_snapshot(
        &self,
        version: Version,
        sha256: Option<[u8; 32]>,
    ) -> Result<Good, RepositoryError> {
        let present = self.state().await?;
        let state = Box::new(present.of_snapshot(self.store(), version).await?);
        let good = Good { origin: Origin::Snapshot(state) };
        let (found, expected) = (good.snapshot_sha256(), sha256.map(hex::encode));
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            let reason = format!("snapshot {version} has SHA-256 {found}, not {expected}");
            return Err(RepositoryError::Plan(reason));
        }
        Ok(good)
    }
}

/// The role whose file an entry is.
fn role_of(entry: &Entry) -> Option<String> {
    let (_, stem) = split_name(file_name(&entry.at))?;
    Some(percent_encoding::percent_decode_str(stem).decode_utf8_lossy().into_owned())
}

/// What the roles of a backup say, but for those that `same` names, as rows.
pub(super) async fn push_backup(
    file: &Path,
    contents: &Contents,
    same: BTreeSet<String>,
    spill: &Arc<Spill>,
) -> Result<(), RepositoryError> {
    let newest = contents.roots.last().ok_or_else(|| RepositoryError::backup(file, "has no root"))?;
    for row in Row::of_root(newest, Side::Good) {
        let (key, record) = row.encode()?;
        spill.push(key, &record)?;
    }
    let mut reading = Reading { same, spill: Arc::clone(spill), bins: None, listing: None };
    let read = Contents::read(file.to_owned(), move |entry| reading.take(&entry)).await?;
    if read.timestamp.bytes() != contents.timestamp.bytes() {
        return Err(RepositoryError::backup(file, "was changed while it was read"));
    }
    Ok(())
}

/// A backup on its way into the spill.
struct Reading {
    same: BTreeSet<String>,
    spill: Arc<Spill>,
    bins: Option<Verified<Targets>>,
    /// The role whose pages come next.
    listing: Option<String>,
}

impl Reading {
    fn take(&mut self, entry: &Entry) -> Result<(), RepositoryError> {
        match &entry.kind {
            Kind::Targets(content) => self.role(entry, content),
            Kind::Page => self.page(&entry.bytes),
            _ => Ok(()),
        }
    }

    fn role(&mut self, entry: &Entry, content: &Verified<Targets>) -> Result<(), RepositoryError> {
        let Some(role) = role_of(entry) else { return Ok(()) };
        if role == BINS {
            self.bins = Some(content.clone());
        }
        self.listing = None;
        let owner = self.owner(&role);
        let pages = has_pages(&owner);
        if self.same.contains(&role) {
            return Ok(());
        }
        for (path, file) in content.targets.iter().filter(|(path, _)| !(pages && is_page(path))) {
            self.push(&Row::target(&role, Side::Good, path, file))?;
        }
        if let Some(delegations) = &content.delegations {
            for row in Row::of_delegations(&role, delegations, Side::Good)? {
                self.push(&row)?;
            }
        }
        self.listing = Some(role);
        Ok(())
    }

    fn page(&self, bytes: &[u8]) -> Result<(), RepositoryError> {
        let Some(role) = &self.listing else { return Ok(()) };
        let page = ProjectPage::from_json(bytes)
            .map_err(|error| RepositoryError::Page { project: role.clone(), error })?;
        self.push(&Row::page(role, Side::Good, &layout::page_path(page.name()), &page))
    }

    /// All bins are one.
    fn owner(&self, role: &str) -> String {
        let name = RoleName::delegated(role).ok();
        let delegations = self.bins.as_ref().and_then(|bins| bins.delegations.as_ref());
        let is_bin = name.is_some_and(|name| delegations.is_some_and(|all| all.role(&name).is_some()));
        if is_bin { BINS } else { role }.to_owned()
    }

    fn push(&self, row: &Row) -> Result<(), RepositoryError> {
        let (key, record) = row.encode()?;
        Ok(self.spill.push(key, &record)?)
    }
}

/// Whether the pages that a role lists are those of projects; anywhere else a page is a file like any other.
pub(super) fn has_pages(owner: &str) -> bool {
    owner == BINS || project_of_role(owner).is_some()
}

pub(super) fn is_page(path: &str) -> bool {
    path.strip_prefix("simple/").is_some_and(|rest| rest.ends_with("/index.json"))
}
