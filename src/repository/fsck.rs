//! Looks for every file that the metadata names, and names each that is missing or not what it should be.
//!
//! `check` asks what a client would accept and ends its list at some length; `fsck` is about storage: which files are to
//! be fetched from a mirror or a backup, however many. Whether a file is there, and how long it is, one walk over the
//! store tells, much faster than a look at each. What the bytes are, only reading them tells: [`Look::Hash`].
//!
//! ```text
//! all snapshots there are ─▶ every role, all cores ─▶ wanted ─┐            ┌─▶ missing, too long, too short
//!                                                             ├─▶ Spill ───┼─▶ hashed, all cores ─▶ altered
//! Store::walk ─────────────────────────────────────▶ found ───┘            └─▶ strays: nothing names them
//! ```
//!
//! Memory does not grow with the number of files: both sides meet in a [`Spill`], partition by partition. Only the names
//! of all projects are in memory at once, as they are for their list in `simple/`.
//!
//! Publishers may be at work: what seems wrong is looked at again by what is signed by then.
//!
//! | file | what |
//! |---|---|
//! | `fsck/want.rs` | what should be there |
//! | `fsck/judge.rs` | whether it is, and making it good |

mod judge;
mod want;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

pub(super) use self::judge::lists_of;
use self::want::{Board, Told};
use super::check::names::{file_name, plain_name};
use super::check::split_name;
use super::plain::Repair;
use super::root::first_root;
use super::state::State;
use super::{MAX_METADATA, Progress, Repository, RepositoryError, layout};
use crate::tuf::metadata::{Root, TopLevel, Version};
use crate::tuf::signed::{Signed, Verified};

/// How closely files are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Whether they are there, and how long they are. Metadata is always read and verified.
    Length,
    /// Every byte.
    Hash,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Signed metadata.
    Metadata,
    /// A target under its hash.
    File,
    /// Its copy under its plain name.
    Copy,
    /// An unsigned page, or the list of them.
    Page,
}

/// Something found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "found", rename_all = "lowercase")]
pub enum Finding {
    /// A file that is missing or not what it should be.
    Bad {
        /// Its path in the store.
        path: String,
        /// What it should be.
        part: Part,
        /// What is wrong.
        what: String,
        /// Whether only superseded snapshots name it: no client that is up to date asks for it.
        superseded: bool,
        /// Whether it is good again.
        repaired: bool,
    },
    /// A file that nothing names.
    Stray {
        /// Its path in the store.
        path: String,
        /// Its length in bytes.
        bytes: u64,
    },
}

/// What there was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Fscked {
    /// Files that should be there.
    pub wanted: u64,
    /// Bad ones that the current state needs, and that are bad still.
    pub bad: u64,
    /// Bad ones that only superseded snapshots name.
    pub superseded: u64,
    /// Bad ones that were made good.
    pub repaired: u64,
    /// Metadata files that do not read: what they name is not looked at, and nothing is called a stray.
    pub unread: u64,
    /// Files that nothing names: left over, or of a publication under way.
    pub strays: u64,
    /// Their bytes.
    pub stray_bytes: u64,
}

/// What is called with each finding.
pub type Report<'a> = dyn FnMut(&Finding) + Send + 'a;

impl Repository {
    /// Looks for every file, and tells `report` of each that is bad or stray. With [`Repair::Yes`], what can be made good
    /// from what is there is: copies and pages from the files they are made of, and those from good copies.
    pub async fn fsck(
        &self,
        look: Look,
        repair: Repair,
        progress: &dyn Progress,
        report: &mut Report<'_>,
    ) -> Result<Fscked, RepositoryError> {
        let state = self.state().await?;
        let pending: BTreeSet<String> = self.pending_projects().await?.into_iter().collect();
        let mut tally = Tally { fscked: Fscked::default(), report };
        let board = Arc::new(Board::new());
        self.want_roots(&state, &board, &mut tally).await?;
        let projects = self.want_all(&state, &board, &mut tally, progress).await?;
        for folder in [layout::METADATA, layout::TARGETS, layout::SIMPLE] {
            let mut outcome = Ok(());
            self.store
                .walk(folder, &mut |entry| {
                    let proof = folder == layout::TARGETS && entry.path.as_str().ends_with(layout::PROOF);
                    if outcome.is_ok() && !proof {
                        outcome = board.found(&entry);
                    }
                    Ok(())
                })
                .await?;
            outcome?;
        }
        let state = Arc::new(state);
        let total = u64::try_from(board.partitions()).unwrap_or(u64::MAX);
        for (done, index) in (1..).zip(0..board.partitions()) {
            let sorted = board.partition(index)?;
            tally.fscked.wanted += sorted.wanted;
            // Without all metadata nobody knows what is a stray, or which projects there are.
            if tally.fscked.unread == 0 {
                sorted.strays.into_iter().for_each(|stray| tally.stray(stray));
            }
            let doubtful = sorted.there.into_iter().filter(|(wanted, found)| {
                look == Look::Hash && wanted.part() != Part::Metadata || wanted.doubtful(*found)
            });
            let suspects = self.suspects(doubtful, look).await?;
            let suspects = self.still_suspect(&state, &pending, suspects).await?;
            self.sentence(&state, suspects, repair, |finding| tally.bad(finding)).await?;
            progress.at("looking at files", done, total);
        }
        if tally.fscked.unread == 0 {
            for finding in self.judge_lists(&state, &projects, repair).await? {
                tally.bad(&finding);
            }
        }
        Ok(tally.fscked)
    }

    /// Every root from the first on, each signed as the one before it demands.
    async fn want_roots(
        &self,
        state: &State,
        board: &Board,
        tally: &mut Tally<'_, '_>,
    ) -> Result<(), RepositoryError> {
        board.metadata(&layout::timestamp()?)?;
        board.metadata(&layout::newest_root()?)?;
        let mut before: Option<Verified<Root>> = None;
        for version in first_root(&state.root)..=state.root.common.version {
            let at = layout::versioned("root", version)?;
            board.metadata(&at)?;
            let Some(object) = self.store.get(&at, MAX_METADATA).await? else {
                before = None;
                continue;
            };
            let signed = Signed::<Root>::new(object.bytes);
            let root = match &before {
                Some(before) => signed.verify_successor(before),
                None => signed.verify_initial(),
            };
            match root {
                Ok(root) if root.common.version == version => before = Some(root),
                Ok(root) => tally.bad_metadata(&at, &format!("is root version {}", root.common.version)),
                Err(error) => tally.bad_metadata(&at, &error.to_string()),
            }
        }
        Ok(())
    }

    /// The snapshots there are, and all they name. Returns all projects.
    async fn want_all(
        &self,
        state: &State,
        board: &Arc<Board>,
        tally: &mut Tally<'_, '_>,
        progress: &dyn Progress,
    ) -> Result<Vec<String>, RepositoryError> {
        let kept = Arc::new(self.kept(state, &self.all_snapshots(state).await?).await?);
        for version in &kept.snapshots {
            board.metadata(&layout::versioned(TopLevel::Snapshot.name(), *version)?)?;
        }
        let shared = Arc::clone(board);
        let mut projects = Vec::new();
        let look = move |role: &super::kept::KeptRole, newer: Option<&_>| shared.role(role, newer);
        self.for_each_kept(&kept, "reading metadata", progress, look, |told: Told| {
            if let Some(finding) = told.bad {
                tally.bad(&finding);
            }
            tally.fscked.unread += u64::from(told.unread);
            projects.extend(told.projects);
            Ok(())
        })
        .await?;
        Ok(projects)
    }

    /// All snapshots up to the current one that lie in the store, the newest first.
    async fn all_snapshots(&self, state: &State) -> Result<Vec<Version>, RepositoryError> {
        let (current, mut versions) = (state.snapshot.common.version, Vec::new());
        self.store
            .walk(layout::METADATA, &mut |entry| {
                let name = file_name(&entry.path);
                match split_name(name) {
                    Some((version, "snapshot")) if version <= current && plain_name(name) == name => {
                        versions.push(version);
                    }
                    _ => {}
                }
                Ok(())
            })
            .await?;
        versions.sort_unstable_by(|one, other| other.cmp(one));
        Ok(versions)
    }
}

/// Counts, and passes on.
struct Tally<'a, 'b> {
    fscked: Fscked,
    report: &'a mut Report<'b>,
}

impl Tally<'_, '_> {
    fn bad_metadata(&mut self, path: &crate::store::StorePath, what: &str) {
        self.bad(&Finding::Bad {
            path: path.to_string(),
            part: Part::Metadata,
            what: what.to_owned(),
            superseded: false,
            repaired: false,
        });
    }

    fn bad(&mut self, finding: &Finding) {
        match finding {
            Finding::Bad { repaired: true, .. } => self.fscked.repaired += 1,
            Finding::Bad { superseded: true, .. } => self.fscked.superseded += 1,
            _ => self.fscked.bad += 1,
        }
        (self.report)(finding);
    }

    fn stray(&mut self, (path, bytes): (String, u64)) {
        self.fscked.strays += 1;
        self.fscked.stray_bytes = self.fscked.stray_bytes.saturating_add(bytes);
        (self.report)(&Finding::Stray { path, bytes });
    }
}
