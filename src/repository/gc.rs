//! Removing what no recent snapshot refers to: mark and sweep.
//!
//! Marked are the current snapshot and the ones before it, as many as are to be kept, with everything they name; and
//! those that were superseded within the grace period: a client may be reading them. Roots are never removed. Files
//! younger than the grace period are never removed: a publication may be under way that will refer to them. Neither is
//! the proof that a file is in the transparency log, nor anything of the log but its leftovers: blobs of appends that came to
//! nothing, and partial tiles whose full one is there.
//!
//! ```text
//! kept snapshots ─▶ every role, all cores ─▶ marks ─┐           ┌─▶ partition 0: listed, old, not marked ─▶ batches
//!                                                   ├─▶ Spill ──┼─▶ partition 1                             │
//! Store::walk ──────────────────────────▶ listing ──┘           └─▶ …                                       ▼
//!                                       aside ─▶ delete ─▶ was something committed meanwhile? ─▶ put back what it names
//! ```
//!
//! Memory does not grow with the number of files: marks and listing meet in a [`Spill`](super::spill::Spill), partition
//! by partition.
//!
//! **Files in use again.** A publication that finds its file in the store, old and referred to by nobody, dates it anew,
//! commits, and looks once more whether it is there. Between gc's look at the timestamp and its delete, all of that may
//! happen. So a target, or the role of a claimed project, is first put aside, under `staging/gc/`, then deleted, and then the timestamp is read again:
//! whatever was committed before the delete is seen now, and what it names is put back; whoever commits after the delete
//! finds that the file is gone, and writes it. A gc that is killed in between leaves its things aside, and the next one
//! puts back what is named. Where there is no room left to put anything aside, the timestamp is read before each delete
//! instead, which leaves the moment between the two.
//!
//! | file | what |
//! |---|---|
//! | `gc/clock.rs` | since when a file is young |
//! | `gc/mark.rs` | what is kept |
//! | `gc/sweep.rs` | what is removed, and how |

mod clock;
mod mark;
mod sweep;

use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use serde::Serialize;

use self::mark::Board;
use self::sweep::Sweep;
use super::check::names::{file_name, plain_name};
use super::check::split_name;
use super::claims::forgotten_before;
use super::{Progress, Repository, RepositoryError, layout};
use crate::store::{Content, Entry, StoreError, Visit};
use crate::tuf::metadata::{TopLevel, Version};

/// Removed files listed in the outcome, at most; more are counted. [`Repository::gc_telling`] tells of any number.
pub const MAX_REMOVED: usize = 10_000;

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
    /// Paths in the store; the first [`MAX_REMOVED`] of them.
    pub removed: Vec<String>,
    /// How many there are.
    pub count: u64,
    /// Their bytes; hard links count each.
    pub bytes: u64,
    /// Unreferenced files that are too young.
    pub young: u64,
    /// Files that a publication needed again while they were being removed, or that an earlier gc that was cut short
    /// had put aside: they are back.
    pub put_back: u64,
    /// Left-over temporary files of the store itself.
    pub temporary: usize,
}

/// What is called with the path of each file that was, or would be, removed.
pub type Tell<'a> = dyn FnMut(&str) + Send + 'a;

impl Repository {
    /// Removes unreferenced files, or with `dry_run` only tells which.
    pub async fn gc(
        &self,
        retention: Retention,
        dry_run: bool,
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Result<Collected, RepositoryError> {
        self.gc_telling(retention, dry_run, now, progress, &mut |_| {}).await
    }

    /// The same; `tell` hears of each removed file, of which there may be too many for the outcome.
    pub async fn gc_telling(
        &self,
        retention: Retention,
        dry_run: bool,
        now: DateTime<Utc>,
        progress: &dyn Progress,
        tell: &mut Tell<'_>,
    ) -> Result<Collected, RepositoryError> {
        let state = self.state().await?;
        self.finish_pending(&state).await?;
        let before = self.old_before(retention, dry_run, now).await?;
        // Read first: where the log is damaged, nothing is removed.
        let logged = state.timestamp.log.is_some();
        let of_log = if logged { self.log.leftovers(before).await? } else { Vec::new() };
        let (board, mut snapshots) = (Board::new(before), Vec::new());
        self.list(layout::METADATA, &mut |entry| match kind_of(&entry) {
            Kind::Root => Ok(()),
            Kind::Snapshot(version) => {
                snapshots.push((version, entry));
                Ok(())
            }
            Kind::Other => board.list(&entry),
        })
        .await?;
        // Proofs stay for ever: they say what is logged under a path, whether it is published or not.
        self.list(layout::TARGETS, &mut |entry| {
            if entry.path.as_str().ends_with(layout::PROOF) { Ok(()) } else { board.list(&entry) }
        })
        .await?;
        let mut needed = Vec::new();
        self.list(layout::ASIDE, &mut |entry| {
            needed.extend(sweep::needed(&state, &entry.path).map(|original| (original, entry.path.clone())));
            board.list_aside(&entry)
        })
        .await?;
        for (original, aside) in needed.iter().filter(|_| !dry_run) {
            match self.store.create(original, Content::Copy(aside)).await {
                Ok(()) | Err(StoreError::Exists { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let (mut unsigned, unsigned_before) = (Vec::new(), forgotten_before(now));
        self.list(layout::UPLOADS, &mut |entry| {
            unsigned.extend((entry.modified < unsigned_before).then_some(entry));
            Ok(())
        })
        .await?;
        let keep = kept_snapshots(&snapshots, state.snapshot.common.version, retention.snapshots, before);
        let board = self.mark(&state, &keep, board, progress).await?;
        let mut sweep = Sweep::new(self, state, dry_run, tell)?;
        // Before what they name, so that a gc that is cut short leaves no snapshot of which half is gone.
        snapshots.retain(|(version, _)| !keep.contains(version));
        for (_, entry) in snapshots {
            sweep.metadata(entry, before).await?;
        }
        board.sweep(&mut sweep, progress).await?;
        for entry in unsigned {
            sweep.forgotten(entry).await?;
        }
        for entry in of_log {
            sweep.log_file(entry).await?;
        }
        let mut collected = sweep.finish().await?;
        if !dry_run {
            collected.temporary = self.store.sweep(before).await?;
        }
        Ok(collected)
    }

    /// Shows `take` everything below a folder.
    async fn list(
        &self,
        folder: &str,
        take: &mut (dyn FnMut(Entry) -> Result<(), RepositoryError> + Send),
    ) -> Result<(), RepositoryError> {
        let mut outcome = Ok(());
        let mut visit = |entry| {
            if outcome.is_ok() {
                outcome = take(entry);
            }
            Ok(())
        };
        let visit: &mut Visit<'_> = &mut visit;
        self.store.walk(folder, visit).await?;
        outcome
    }
}

/// What a file in `metadata/` is, to gc.
enum Kind {
    Root,
    Snapshot(Version),
    Other,
}

fn kind_of(entry: &Entry) -> Kind {
    match split_name(plain_name(file_name(&entry.path))) {
        Some((_, stem)) if stem == TopLevel::Root.name() => Kind::Root,
        Some((version, stem)) if stem == TopLevel::Snapshot.name() => Kind::Snapshot(version),
        _ => Kind::Other,
    }
}

/// The current snapshot, the newest ones before it, and those that were superseded after `before`.
fn kept_snapshots(
    snapshots: &[(Version, Entry)],
    current: Version,
    keep: usize,
    before: SystemTime,
) -> Vec<Version> {
    let plain = snapshots.iter().filter(|(version, entry)| {
        *version <= current && plain_name(file_name(&entry.path)) == file_name(&entry.path)
    });
    let mut snapshots: Vec<_> = plain.map(|(version, entry)| (*version, entry.modified)).collect();
    snapshots.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
    // Each was superseded when its successor was made; the current one was not.
    let superseded = std::iter::once(before).chain(snapshots.iter().map(|(_, made)| *made));
    let kept = snapshots.iter().zip(superseded).enumerate();
    kept.filter(|(at, (_, superseded))| *at < keep.max(1) || *superseded >= before)
        .map(|(_, ((version, _), _))| *version)
        .collect()
}
