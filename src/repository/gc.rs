//! Removing what no recent snapshot refers to: mark and sweep.
//!
//! Marked are the current snapshot and the ones before it, as many as are to be kept, with everything they name; and
//! those that were superseded within the grace period: a client may be reading them. Roots are never removed. Files
//! younger than the grace period are never removed: a publication may be under way that will refer to them. If
//! something is committed while files are being removed, that is marked too before the next one goes.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::check::split_name;
use super::state::State;
use super::{MAX_METADATA, Progress, Repository, RepositoryError, layout};
use crate::store::{Entry, StorePath};
use crate::tuf::held::Held;
use crate::tuf::metadata::{Snapshot, Targets, TopLevel, Version};
use crate::tuf::path::{RoleName, TargetPath};
use crate::tuf::signed::{Signed, Verified};

/// What to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Snapshots, the current one included; at least 1.
    pub snapshots: usize,
    /// Age below which nothing is removed. Longer than any publication takes.
    pub grace: Duration,
}

/// What was, or would be, removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// Paths in the store.
    pub removed: Vec<String>,
    /// Their bytes; hard links count each.
    pub bytes: u64,
    /// Unreferenced files that are too young.
    pub young: u64,
    /// Left-over temporary files of the store itself.
    pub temporary: usize,
}

impl Repository {
    /// Removes unreferenced files, or with `dry_run` only tells which.
    pub async fn gc(
        &self,
        retention: Retention,
        dry_run: bool,
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Result<Collected, RepositoryError> {
        let state = self.state().await?;
        self.finish_pending(&state).await?;
        let before = SystemTime::from(now).checked_sub(retention.grace).unwrap_or(SystemTime::UNIX_EPOCH);
        let metadata = self.store.list(layout::METADATA).await?;
        let mut marked = Marked::new()?;
        for version in kept_snapshots(&metadata, state.snapshot.common.version, retention.snapshots, before) {
            self.mark(&state, version, &mut marked, progress).await?;
        }
        let roots = |entry: &Entry| {
            entry
                .path
                .segments()
                .last()
                .and_then(split_name)
                .is_some_and(|(_, stem)| stem == TopLevel::Root.name())
        };
        let targets = self.store.list(layout::TARGETS).await?;
        let candidates = metadata.into_iter().filter(|entry| !roots(entry)).chain(targets);
        let (mut collected, mut seen) = (Collected::default(), state.tag.clone());
        for entry in candidates {
            if !dry_run && self.tag().await? != Some(seen.clone()) {
                let newer = self.state().await?;
                self.mark(&newer, newer.snapshot.common.version, &mut marked, progress).await?;
                seen = newer.tag;
            }
            if marked.files.contains(&entry.path) {
                continue;
            }
            if entry.modified >= before {
                collected.young += 1;
                continue;
            }
            if !dry_run {
                self.store.delete(&entry.path).await?;
            }
            collected.bytes += entry.len;
            collected.removed.push(entry.path.to_string());
        }
        if !dry_run {
            collected.temporary = self.store.sweep(before).await?;
        }
        Ok(collected)
    }

    /// Marks a snapshot and everything it names.
    async fn mark(
        &self,
        state: &State,
        version: Version,
        marked: &mut Marked,
        progress: &dyn Progress,
    ) -> Result<(), RepositoryError> {
        let at = layout::versioned("snapshot", version)?;
        let Some(object) = self.store.get(&at, MAX_METADATA).await? else { return Ok(()) };
        marked.files.insert(at);
        // The current one was verified already, and while keys rotate perhaps not as the newest root says.
        let snapshot: Result<Held<Snapshot>, _> = if version == state.snapshot.common.version {
            Ok(state.snapshot.clone())
        } else {
            Signed::new(object.bytes).verify(&state.root.authority(TopLevel::Snapshot)).map(Held::from)
        };
        // An older snapshot may be signed with keys that were rotated away: clients cannot use it, so it marks nothing.
        let Ok(snapshot) = snapshot else { return Ok(()) };
        let total = u64::try_from(snapshot.len()).unwrap_or(u64::MAX);
        for (done, (role, file)) in (1..).zip(snapshot.roles()) {
            let at = layout::versioned(role, file.version)?;
            if marked.files.insert(at.clone()) {
                self.mark_targets(&at, role, state, marked).await?;
            }
            progress.at("marking", done, total);
        }
        Ok(())
    }

    async fn mark_targets(
        &self,
        at: &StorePath,
        role: &str,
        state: &State,
        marked: &mut Marked,
    ) -> Result<(), RepositoryError> {
        let Some(object) = self.store.get(at, MAX_METADATA).await? else { return Ok(()) };
        let delegator = RoleName::delegated(super::state::BINS)?;
        let Ok(role) = RoleName::delegated(role) else { return Ok(()) };
        let Ok(authority) = state.bin_authority(&delegator, &role) else { return Ok(()) };
        let metadata: Verified<Targets> = Signed::new(object.bytes).verify(&authority)?;
        for (name, file) in &metadata.targets {
            let target = TargetPath::new(name)?;
            marked.files.insert(layout::plain(&target)?);
            if let Some(digest) = &file.hashes.sha256 {
                marked.files.insert(layout::hashed(&target, digest)?);
            }
        }
        Ok(())
    }
}

struct Marked {
    files: BTreeSet<StorePath>,
}

impl Marked {
    fn new() -> Result<Self, RepositoryError> {
        Ok(Self { files: BTreeSet::from([layout::timestamp()?, layout::newest_root()?]) })
    }
}

/// The current snapshot, the newest ones before it, and those that were superseded after `before`.
fn kept_snapshots(metadata: &[Entry], current: Version, keep: usize, before: SystemTime) -> Vec<Version> {
    let snapshot = |entry: &Entry| match entry.path.segments().last().and_then(split_name) {
        Some((version, "snapshot")) if version <= current => Some((version, entry.modified)),
        _ => None,
    };
    let mut snapshots: Vec<_> = metadata.iter().filter_map(snapshot).collect();
    snapshots.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
    // Each was superseded when its successor was made; the current one was not.
    let superseded = std::iter::once(before).chain(snapshots.iter().map(|(_, made)| *made));
    let kept = snapshots.iter().zip(superseded).enumerate();
    kept.filter(|(at, (_, superseded))| *at < keep.max(1) || *superseded >= before)
        .map(|(_, ((version, _), _))| *version)
        .collect()
}
