//! What is kept, and what lies there: both on one board, a [`Spill`] by the hash of the path, where they meet.
//!
//! | record | bytes |
//! |---|---|
//! | mark | `0`, the next 8 bytes of the path's hash |
//! | listed | `1`, whether it is young, its length, its path |
//! | aside | `2`, whether it is young, its length, its path; by the hash of the path it came from |
//!
//! Two paths with the same 16 bytes of hash would keep each other: that costs disk space, and nothing else.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use super::sweep::Sweep;
use crate::crypto::sha256;
use crate::repository::bins::in_order;
use crate::repository::check::names::plain_name;
use crate::repository::state::{BINS, State, read};
use crate::repository::{Progress, Repository, RepositoryError, layout, path};
use crate::spill::{BUDGET, PARTITIONS, Records, Spill};
use crate::store::{Entry, StorePath};
use crate::tuf::metadata::{Targets, Version};
use crate::tuf::path::{RoleName, TargetPath};

/// First bytes of the records.
const MARK: u8 = 0;
const LISTED: u8 = 1;
const ASIDE: u8 = 2;

/// Files marked because of what was committed while a gc was at work, at most: 32 bytes each. Beyond that it gives up.
const MAX_LATE: usize = 4_000_000;

/// The first 16 bytes of a path's hash: for a compressed copy, of its plain file's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Spot {
    key: u64,
    tail: [u8; 8],
}

impl Spot {
    pub(super) fn of(path: &str) -> Self {
        let digest = sha256(plain_name(path).as_bytes());
        let (key, rest) = digest.split_first_chunk().unwrap_or((&[0; 8], &[]));
        let (tail, _) = rest.split_first_chunk().unwrap_or((&[0; 8], &[]));
        Self { key: u64::from_be_bytes(*key), tail: *tail }
    }
}

/// Marks and listing.
pub(super) struct Board {
    spill: Arc<Spill>,
    before: SystemTime,
}

/// Something listed, as read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) path: StorePath,
    pub(super) len: u64,
    pub(super) young: bool,
}

impl Board {
    pub(super) fn new(before: SystemTime) -> Self {
        Self { spill: Arc::new(Spill::new(PARTITIONS, BUDGET)), before }
    }

    /// Notes a file that lies there.
    pub(super) fn list(&self, entry: &Entry) -> Result<(), RepositoryError> {
        self.push(LISTED, entry.path.as_str(), entry)
    }

    /// Notes a file that an earlier gc put aside, and did not come to its end.
    pub(super) fn list_aside(&self, entry: &Entry) -> Result<(), RepositoryError> {
        match Sweep::original(&entry.path) {
            Some(original) => self.push(ASIDE, original, entry),
            None => Ok(()),
        }
    }

    fn push(&self, kind: u8, named: &str, entry: &Entry) -> Result<(), RepositoryError> {
        let young = u8::from(entry.modified >= self.before);
        let mut record = vec![kind, young];
        record.extend(entry.len.to_be_bytes());
        record.extend(entry.path.as_str().as_bytes());
        Ok(self.spill.push(Spot::of(named).key, &record)?)
    }

    /// Goes through all that is listed and not marked.
    pub(super) async fn sweep(
        self,
        sweep: &mut Sweep<'_>,
        progress: &dyn Progress,
    ) -> Result<(), RepositoryError> {
        let total = u64::try_from(self.spill.partitions()).unwrap_or(u64::MAX);
        for (done, index) in (1..).zip(0..self.spill.partitions()) {
            let records = self.spill.partition(index)?;
            let (mut unmarked, mut aside) = (Vec::with_capacity(records.len()), Vec::new());
            compare(&records, &mut unmarked, &mut aside)?;
            drop(records);
            for (left, wanted) in aside {
                sweep.left_aside(&left, wanted).await?;
            }
            for listed in unmarked {
                sweep.unmarked(listed).await?;
            }
            progress.at("removing", done, total);
        }
        Ok(())
    }
}

/// Sorts out one partition: what is listed and not marked, and what lies aside, with whether it is marked and missing.
fn compare(
    records: &Records,
    unmarked: &mut Vec<Listed>,
    aside: &mut Vec<(Listed, bool)>,
) -> Result<(), RepositoryError> {
    let (mut key, mut marks, mut there) = (None, Vec::new(), Vec::new());
    for (next, record) in records.iter() {
        if key != Some(next) {
            (key, marks, there) = (Some(next), Vec::new(), Vec::new());
        }
        // Sorted by their first byte within a key: marks come first, what lies aside last.
        match record {
            [MARK, tail @ ..] => marks.push(tail),
            [kind, young, len @ ..] => {
                let Some((len, name)) = len.split_first_chunk() else { continue };
                let name = std::str::from_utf8(name).unwrap_or_default();
                let listed = Listed { path: path(name)?, len: u64::from_be_bytes(*len), young: *young == 1 };
                let original = if *kind == ASIDE { Sweep::original(&listed.path) } else { Some(name) };
                let Some(original) = original.map(Spot::of) else { continue };
                let marked = marks.contains(&original.tail.as_slice());
                match *kind {
                    ASIDE => {
                        let wanted = marked && !there.contains(&original);
                        aside.push((listed, wanted));
                    }
                    _ if marked => there.push(original),
                    _ => unmarked.push(listed),
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Marks a path.
fn mark(spill: &Spill, path: &StorePath) -> Result<(), RepositoryError> {
    let Spot { key, tail } = Spot::of(path.as_str());
    Ok(spill.push(key, &[[MARK].as_slice(), &tail].concat())?)
}

/// The files of the targets that are not the same in `newer`.
fn files_of(targets: &Targets, newer: Option<&Targets>) -> Result<Vec<StorePath>, RepositoryError> {
    let mut files = Vec::new();
    for (name, file) in &targets.targets {
        if newer.is_some_and(|newer| newer.targets.get(name) == Some(file)) {
            continue;
        }
        let target = TargetPath::new(name)?;
        files.push(layout::plain(&target)?);
        if let Some(digest) = &file.hashes.sha256 {
            files.push(layout::hashed(&target, digest)?);
        }
    }
    Ok(files)
}

impl Repository {
    /// Marks these snapshots and everything they name. What cannot be read of the current state ends it: without it nobody
    /// knows what to keep.
    pub(super) async fn mark(
        &self,
        state: &State,
        keep: &[Version],
        board: Board,
        progress: &dyn Progress,
    ) -> Result<Board, RepositoryError> {
        for at in [layout::timestamp()?, layout::newest_root()?] {
            mark(&board.spill, &at)?;
        }
        let kept = Arc::new(self.kept(state, keep).await?);
        let spill = Arc::clone(&board.spill);
        let look = move |role: &crate::repository::kept::KeptRole, newer: Option<&Targets>| {
            match &role.found {
                Some(Ok(metadata)) => {
                    for file in files_of(metadata, newer)? {
                        mark(&spill, &file)?;
                    }
                }
                Some(Err(RepositoryError::Missing(_))) if !role.current => {}
                Some(Err(error)) => return Err(error.clone()),
                None if role.retired() => return Ok(()),
                None => {}
            }
            mark(&spill, &role.at)
        };
        self.for_each_kept(&kept, "marking", progress, look, |()| Ok(())).await?;
        Ok(board)
    }

    /// What `newer` names and `seen` did not.
    pub(super) async fn mark_newer(
        &self,
        seen: &State,
        newer: &State,
        late: &mut HashSet<Spot>,
    ) -> Result<(), RepositoryError> {
        // Other bins have all targets in other files: that is no difference but everything.
        if seen.bins.delegations != newer.bins.delegations {
            return Err(RepositoryError::Busy(1));
        }
        let mut changed = Vec::new();
        for (role, file) in newer.snapshot.roles() {
            if seen.snapshot.role(role) != Some(file) {
                late.insert(Spot::of(layout::versioned(role, file.version)?.as_str()));
                changed.push((role.to_owned(), seen.snapshot.role(role).cloned(), file.clone()));
            }
        }
        let (repository, state) = (self.clone(), Arc::new(newer.clone()));
        let look = move |(role, before, after): (String, Option<_>, _)| {
            let (repository, state) = (repository.clone(), Arc::clone(&state));
            async move {
                let (bins, role) = (RoleName::delegated(BINS)?, RoleName::delegated(role)?);
                if let Some(owned) = repository.owned_role(&state, &role).await? {
                    return files_of(&*state.project(repository.store(), &owned).await?, None);
                }
                let Ok(authority) = state.bin_authority(&bins, &role) else { return Ok(Vec::new()) };
                let after: crate::tuf::signed::Verified<Targets> =
                    read(repository.store(), &[authority], &after).await?;
                let before: Option<crate::tuf::signed::Verified<Targets>> = match before {
                    Some(before) => read(repository.store(), &[authority], &before).await.ok(),
                    None => None,
                };
                files_of(&after, before.as_deref())
            }
        };
        let changed = changed.into_iter().filter(|(role, ..)| RoleName::delegated(role).is_ok());
        in_order(changed, look, |files| {
            late.extend(files.iter().map(|file| Spot::of(file.as_str())));
            if late.len() > MAX_LATE { Err(RepositoryError::Busy(1)) } else { Ok(()) }
        })
        .await
    }
}
