//! What a commit logs: its new files, new versions of root and targets, and last the snapshot itself.

use std::sync::Arc;

use super::book::Book;
use super::error::LoggingError;
use crate::crypto::sha256;
use crate::log::Entries;
use crate::repository::bins::in_order;
use crate::repository::root::first_root;
use crate::repository::state::{BINS, State, read};
use crate::repository::{Distribution, MAX_METADATA, Repository, RepositoryError, layout};
use crate::tlog::leaf::{FileLeaf, Leaf, Role, TufLeaf};
use crate::tuf::metadata::{MetaFile, Snapshot, TargetFile, Targets};
use crate::tuf::path::RoleName;
use crate::tuf::signed::{Draft, Verified};

/// Files that are held against the log at once, of one role.
const AT_ONCE: usize = 1_024;

/// The files that a commit may be the first to name.
#[derive(Debug)]
pub(in crate::repository) enum Leaves {
    /// Whatever the roles that change list and did not list before.
    Compared,
    /// None: what is listed was listed before.
    Nothing,
    /// These; none of them is in the log as it was found.
    New(Box<Book>, Vec<FileLeaf>),
    /// Everything that is published: the log begins.
    All(Box<Book>),
}

/// The role whose versions are logged each.
const TARGETS: &str = "targets";

/// A role whose files are to be logged: its name, what snapshot says of it, and what it said before.
type Change = (String, MetaFile, Option<MetaFile>);

impl Repository {
    /// The leaves of a commit: those of its files, if they are not logged, and those of its metadata, last of its snapshot.
    pub(super) async fn entries(
        &self,
        book: &Book,
        state: &State,
        leaves: &Leaves,
        snapshot: &Draft<Snapshot>,
        bytes: &[u8],
    ) -> Result<Entries, RepositoryError> {
        let mut entries = Entries::default();
        match leaves {
            Leaves::Nothing => {}
            Leaves::New(_, leaves) => {
                for leaf in leaves {
                    entries.push(&Leaf::File(leaf.clone()))?;
                }
            }
            Leaves::Compared | Leaves::All(_) => {
                let before = matches!(leaves, Leaves::Compared).then_some(&*state.snapshot);
                let said = |role: &str| before.and_then(|before| before.role(role)).cloned();
                let roles =
                    snapshot.content.roles().map(|(role, file)| (role.to_owned(), file.clone(), said(role)));
                let changes = roles.filter(|(_, file, before)| Some(file) != before.as_ref()).collect();
                let version = snapshot.content.common.version;
                self.compare_roles(book, state, version, changes, &mut entries).await?;
            }
        }
        self.push_roles(book, state, snapshot.content.role(TARGETS), &mut entries).await?;
        let leaf = role_leaf(Role::Snapshot, snapshot.content.common.version, bytes)?;
        entries.push(&leaf)?;
        Ok(entries)
    }

    /// Files of roles that change, as the staged snapshot has them, which are not logged.
    async fn compare_roles(
        &self,
        book: &Book,
        state: &State,
        snapshot: u64,
        changes: Vec<Change>,
        entries: &mut Entries,
    ) -> Result<(), RepositoryError> {
        let after = Arc::new(state.of_snapshot(&*self.store, snapshot).await?);
        let shared = (self.clone(), after, Arc::new(state.clone()), Arc::new(book.clone()));
        let work = move |change: Change| {
            let (repository, after, before, book) = shared.clone();
            async move {
                let leaves = repository.new_in_role(&after, &before, change).await?;
                let mut new = Vec::new();
                for some in leaves.chunks(AT_ONCE) {
                    new.extend(repository.unlogged(&book, some.to_vec()).await?);
                }
                Ok(new)
            }
        };
        in_order(changes, work, |leaves| {
            leaves.into_iter().try_for_each(|leaf| entries.push(&Leaf::File(leaf)))?;
            Ok(())
        })
        .await
    }

    /// Files that a role lists and did not list before. What nobody delegates to lists nothing.
    async fn new_in_role(
        &self,
        after: &State,
        before: &State,
        (name, file, old): Change,
    ) -> Result<Vec<FileLeaf>, RepositoryError> {
        let Ok(role) = RoleName::delegated(name) else { return Ok(Vec::new()) };
        if let Some(owned) = self.owned_role(after, &role).await? {
            return leaves_of(&*after.project(self.store(), &owned).await?, None);
        }
        let bins = RoleName::delegated(BINS)?;
        let Ok(authority) = after.bin_authority(&bins, &role) else { return Ok(Vec::new()) };
        let new: Verified<Targets> = read(self.store(), &[authority], &file).await?;
        let old: Option<Verified<Targets>> = match (old, before.bin_authority(&bins, &role)) {
            (Some(old), Ok(authority)) => read(self.store(), &[authority], &old).await.ok(),
            _ => None,
        };
        leaves_of(&new, old.as_deref())
    }

    /// Versions of root and targets that are newer than what is logged.
    async fn push_roles(
        &self,
        book: &Book,
        state: &State,
        targets: Option<&MetaFile>,
        entries: &mut Entries,
    ) -> Result<(), RepositoryError> {
        let mut leaves = Vec::new();
        let newest = state.root.common.version;
        for version in book.logged(Role::Root).saturating_add(1).max(first_root(&state.root))..=newest {
            let at = layout::versioned("root", version)?;
            let object = self.store.get(&at, MAX_METADATA).await?;
            let object = object.ok_or_else(|| RepositoryError::Missing(at.to_string()))?;
            leaves.push(role_leaf(Role::Root, version, &object.bytes)?);
        }
        if let Some(file) = targets.filter(|file| file.version > book.logged(Role::Targets)) {
            let object = self.store.get(&layout::versioned("targets", file.version)?, MAX_METADATA).await?;
            let object = object.ok_or_else(|| RepositoryError::Missing("targets".to_owned()))?;
            let digest = file.hashes().and_then(|hashes| hashes.sha256);
            if digest != Some(sha256(&object.bytes)) {
                return Err(RepositoryError::Missing("targets as snapshot names it".to_owned()));
            }
            leaves.push(role_leaf(Role::Targets, file.version, &object.bytes)?);
        }
        if let Some(file) = targets.filter(|file| file.version <= book.logged(Role::Targets)) {
            self.logged_so(book, state, file).await?;
        }
        leaves.iter().try_for_each(|leaf| Ok(entries.push(leaf)?))
    }

    /// An error, unless targets of this version are those that are committed, or were logged by the same commit before it was
    /// cut short: of another one that came to nothing, the log has the version with other content, once and for ever.
    async fn logged_so(&self, book: &Book, state: &State, file: &MetaFile) -> Result<(), RepositoryError> {
        if state.snapshot.role(TARGETS) == Some(file) {
            return Ok(());
        }
        let from = state.timestamp.log.as_ref().map_or(0, |committed| committed.size);
        let digest = file.hashes().and_then(|hashes| hashes.sha256);
        let mut same = false;
        self.log
            .leaves(&book.head, from, &mut |_, leaf| {
                same |= matches!(leaf, Leaf::Tuf(leaf) if leaf.role() == Role::Targets
                    && leaf.version() == file.version && Some(*leaf.sha256()) == digest);
                Ok(())
            })
            .await?;
        if same {
            return Ok(());
        }
        let (version, logged) = (file.version, book.logged(Role::Targets));
        Err(LoggingError::TargetsBehind { version, logged }.into())
    }
}

/// The leaf of a role's file.
pub(super) fn role_leaf(role: Role, version: u64, bytes: &[u8]) -> Result<Leaf, LoggingError> {
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let leaf = TufLeaf::new(role, version, length, sha256(bytes));
    let unfit = |error| LoggingError::Unfit { path: format!("{version}.{}.json", role.name()), error };
    leaf.map(Leaf::Tuf).map_err(unfit)
}

/// The leaves of an added distribution: its own, and that of its metadata.
pub(in crate::repository) fn of_distribution(
    distribution: &Distribution,
) -> Result<Vec<FileLeaf>, RepositoryError> {
    let filename = &distribution.filename;
    let path = layout::distribution(filename.project(), filename.as_str())?;
    let mut leaves: Vec<_> =
        leaf(path.as_str(), distribution.size, distribution.sha256)?.into_iter().collect();
    if let Some(metadata) = &distribution.metadata {
        let length = u64::try_from(metadata.len()).unwrap_or(u64::MAX);
        leaves.extend(leaf(&format!("{path}.metadata"), length, sha256(metadata))?);
    }
    Ok(leaves)
}

/// The leaves of the files that `targets` lists, unless `before` lists them too.
fn leaves_of(targets: &Targets, before: Option<&Targets>) -> Result<Vec<FileLeaf>, RepositoryError> {
    let mut leaves = Vec::new();
    for (path, file) in &targets.targets {
        let same = |old: &TargetFile| (old.length, &old.hashes) == (file.length, &file.hashes);
        if before.and_then(|before| before.targets.get(path)).is_some_and(same) {
            continue;
        }
        let digest =
            file.hashes.sha256.ok_or_else(|| RepositoryError::Missing(format!("the SHA-256 of {path}")))?;
        leaves.extend(leaf(path, file.length, digest)?);
    }
    Ok(leaves)
}

fn leaf(path: &str, length: u64, sha256: [u8; 32]) -> Result<Option<FileLeaf>, LoggingError> {
    FileLeaf::of_target(path, length, sha256)
        .map_err(|error| LoggingError::Unfit { path: path.to_owned(), error })
}
