//! Verifies the whole repository as a client would, with the client's own code: every role, every target file, and
//! nothing in `metadata/` that is no role's. If all of that is well, what plain pip reads is compared with it.
//!
//! Roles are verified several at once; the files of each are measured right then, and the role is dropped. Memory does
//! not grow with the number of targets. Or, by [`Repository::check_sample`], a random part of it:
//!
//! | file | what |
//! |---|---|
//! | `check.rs` | the walk over all roles |
//! | `check/file.rs` | one target: its file, and its plain copy |
//! | `check/names.rs` | what lies in `metadata/` |
//! | `check/sample.rs` | which part a sample looks at |

pub(super) mod file;
pub(super) mod names;
mod sample;

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;

use self::file::may_speak;
pub(super) use self::names::split_name;
pub use self::sample::{Sample, Share, Unseen};
use super::bins::in_order;
use super::kept::may_retire;
use super::plain::{Repair, project_of};
use super::root::first_root;
use super::state::BINS;
use super::{MAX_METADATA, Progress, Repository, RepositoryError, layout, path};
use crate::store::StoreError;
use crate::tuf::lookup::Edge;
use crate::tuf::metadata::{Delegations, TargetFile, Targets};
use crate::tuf::path::{RoleName, TargetPath, percent_quote};
use crate::tuf::signed::Verified;
use crate::tuf::trusted::{Limits, Request, RootChain, TrustError, Trusted};

/// Problems listed in one report, at most; more are counted. `fsck` names any number.
pub const MAX_PROBLEMS: usize = 10_000;

/// Something that a client would refuse, or that does not belong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Role or file.
    pub subject: String,
    /// What is wrong with it.
    pub what: String,
    /// Whether it is only that it has expired.
    pub expired: bool,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Roles that verify.
    pub roles: u64,
    /// Target files that are as signed.
    pub targets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is wrong; the first [`MAX_PROBLEMS`] of it.
    pub problems: Vec<Problem>,
    /// How many more problems there are.
    pub more_problems: u64,
    /// Superseded or left-over files that `gc` may remove; nothing is wrong with them.
    pub unreferenced: u64,
    /// What a sample did not look at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unseen: Option<Unseen>,
}

impl Checked {
    fn broken(&mut self, subject: &str, error: &RepositoryError) {
        let expired = matches!(error, RepositoryError::Trust(TrustError::Expired { .. }));
        let what = match error {
            RepositoryError::Trust(error) => error.to_string(),
            RepositoryError::Missing(file) => format!("{file} is missing"),
            other => other.to_string(),
        };
        self.add_problem(Problem { subject: subject.to_owned(), what, expired });
    }

    pub(super) fn problem(&mut self, subject: impl Into<String>, what: &impl ToString) {
        self.add_problem(Problem { subject: subject.into(), what: what.to_string(), expired: false });
    }

    fn add_problem(&mut self, problem: Problem) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        } else {
            self.more_problems += 1;
        }
    }

    fn add(&mut self, part: Self) {
        self.roles += part.roles;
        self.targets += part.targets;
        self.bytes += part.bytes;
        self.more_problems += part.more_problems;
        for problem in part.problems {
            self.add_problem(problem);
        }
        if let (Some(unseen), Some(part)) = (&mut self.unseen, part.unseen) {
            unseen.files += part.files;
        }
    }
}

/// Whether an error says something of the repository, rather than that it could not be looked at.
fn is_finding(error: &RepositoryError) -> bool {
    matches!(
        error,
        RepositoryError::Trust(_)
            | RepositoryError::Missing(_)
            | RepositoryError::Page { .. }
            | RepositoryError::Store(StoreError::TooLarge { .. })
    )
}

/// What the walk over the roles learns beside the report.
#[derive(Default)]
struct Walk {
    /// Files of all roles, without version and ending; also of those that do not verify.
    stems: BTreeSet<String>,
    /// Delegators and roles visited.
    visited: BTreeSet<(RoleName, RoleName)>,
    /// Whether all roles that may delegate verify: if not, nobody knows which names belong to a role.
    complete: bool,
    /// Targets whose plain copies differ, the first of them, and how many more.
    plain: Vec<TargetPath>,
    more_plain: u64,
}

/// One role as seen.
struct Seen {
    above_bins: bool,
    checked: Checked,
    /// The chain down to the role, if it delegates.
    delegates: Option<Vec<(RoleName, Verified<Targets>)>>,
    broken: bool,
    plain: Vec<TargetPath>,
}

impl Repository {
    /// Checks everything. Trust starts from the first root, as a client's would that has been there from the start.
    pub async fn check(
        &self,
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Result<Checked, RepositoryError> {
        self.check_part(None, now, progress).await
    }

    /// Checks all metadata above the bins, and of the bins and files a random part; says what it did not look at.
    pub async fn check_sample(
        &self,
        sample: Sample,
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Result<Checked, RepositoryError> {
        self.check_part(Some(sample), now, progress).await
    }

    async fn check_part(
        &self,
        sample: Option<Sample>,
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Result<Checked, RepositoryError> {
        let mut checked = Checked { unseen: sample.map(|_| Unseen::default()), ..Checked::default() };
        let trusted = match self.top_level(now, &mut checked).await {
            Ok(trusted) => Arc::new(trusted),
            Err(error) if is_finding(&error) => {
                checked.broken("top-level metadata", &error);
                return Ok(checked);
            }
            Err(error) => return Err(error),
        };
        let walk = self.walk_roles(&trusted, sample, &mut checked, progress).await?;
        if !walk.complete {
            return Ok(checked);
        }
        if sample.is_none() {
            for (role, _) in trusted.snapshot().roles() {
                // An entry never disappears: that of a bin stays when bins were made more or fewer, that of a project when it
                // is not claimed any more.
                if !walk.stems.contains(&percent_quote(role, b"")) && !may_retire(role) {
                    checked.problem(role, &"is in the snapshot, but no role delegates to it");
                }
            }
            self.check_names(&walk.stems, &trusted, &mut checked).await?;
        }
        if checked.problems.is_empty() {
            self.check_plain_again(walk, &mut checked).await?;
        }
        Ok(checked)
    }

    /// The client workflow over the store.
    async fn top_level(&self, now: DateTime<Utc>, checked: &mut Checked) -> Result<Trusted, RepositoryError> {
        let version = self.state().await.map_or(1, |state| first_root(&state.root));
        let first = Request { path: format!("{version}.root.json"), max_len: MAX_METADATA };
        let first = self.must_fetch(&first).await?;
        let limits = Limits { root_rotations: u32::MAX, ..Limits::default() };
        let mut chain = RootChain::start(first, now, limits)?;
        while let Some(bytes) = self.fetch(&chain.request()?).await? {
            chain.accept(bytes)?;
            checked.roles += 1;
        }
        let timestamp = chain.finish()?;
        let bytes = self.must_fetch(&timestamp.request()).await?;
        let snapshot = timestamp.accept(bytes)?;
        let bytes = self.must_fetch(&snapshot.request()?).await?;
        let targets = snapshot.accept(bytes)?;
        let bytes = self.must_fetch(&targets.request()?).await?;
        checked.roles += 4;
        Ok(targets.accept(bytes)?)
    }

    /// Every delegated role with its files, all that one role delegates to at a time.
    async fn walk_roles(
        &self,
        trusted: &Arc<Trusted>,
        sample: Option<Sample>,
        checked: &mut Checked,
        progress: &dyn Progress,
    ) -> Result<Walk, RepositoryError> {
        let stems = ["root", "timestamp", "snapshot", "targets"].map(ToOwned::to_owned).into();
        let mut walk = Walk { stems, complete: true, ..Walk::default() };
        let total = u64::try_from(trusted.snapshot().roles().count()).unwrap_or(u64::MAX);
        let mut groups = vec![Arc::from([(RoleName::targets(), trusted.targets().clone())])];
        while let Some(chain) = groups.pop() {
            let edges = walk.new_edges(&chain, checked);
            let (edges, unseen) = sample::drawn(sample, edges);
            if let Some(all) = &mut checked.unseen {
                all.bins += unseen;
            }
            let (repository, trusted) = (self.clone(), Arc::clone(trusted));
            let look = move |(edge, files)| {
                let (repository, trusted) = (repository.clone(), Arc::clone(&trusted));
                async move { repository.look_at(&trusted, &edge, files).await }
            };
            let mut below = Vec::new();
            in_order(edges, look, |seen: Seen| {
                below.extend(walk.take(seen, checked).map(Arc::from));
                progress.at("checking", checked.roles, total);
                Ok(())
            })
            .await?;
            groups.extend(below.into_iter().rev());
        }
        Ok(walk)
    }

    /// One role and its files, or so many of them.
    async fn look_at(
        &self,
        trusted: &Trusted,
        edge: &Edge,
        files: sample::Files,
    ) -> Result<Seen, RepositoryError> {
        let mut seen = Seen {
            above_bins: edge.chain().len() == 1,
            checked: Checked { unseen: Some(Unseen::default()), ..Checked::default() },
            delegates: None,
            broken: false,
            plain: Vec::new(),
        };
        let metadata = match self.one_role(trusted, edge).await {
            Ok(metadata) => metadata,
            Err(error) if is_finding(&error) => {
                seen.broken = true;
                seen.checked.broken(edge.role().as_str(), &error);
                return Ok(seen);
            }
            Err(error) => return Err(error),
        };
        seen.checked.roles += 1;
        let (chosen, unseen) = files.of(&metadata.targets);
        seen.checked.unseen = Some(Unseen { bins: 0, files: unseen });
        for (name, file) in chosen {
            self.check_target(name, file, edge, &mut seen).await?;
        }
        if metadata.delegations.is_some() {
            let mut chain = edge.chain().to_vec();
            chain.push((edge.role().clone(), metadata));
            seen.delegates = Some(chain);
        }
        Ok(seen)
    }

    async fn one_role(&self, trusted: &Trusted, edge: &Edge) -> Result<Verified<Targets>, RepositoryError> {
        let bytes = self.must_fetch(&trusted.request(edge)?).await?;
        Ok(trusted.check(edge, bytes)?)
    }

    async fn check_target(
        &self,
        name: &str,
        file: &TargetFile,
        edge: &Edge,
        seen: &mut Seen,
    ) -> Result<(), RepositoryError> {
        let checked = &mut seen.checked;
        let target = match TargetPath::new(name) {
            Ok(target) => target,
            Err(error) => {
                checked.problem(edge.role().as_str(), &error);
                return Ok(());
            }
        };
        if !may_speak(edge, &target) {
            checked.problem(name, &format!("role {} lists it, but may not speak for it", edge.role()));
            return Ok(());
        }
        let Some(hash) = file.hashes.name() else {
            checked.problem(name, &"has no hash of a known algorithm");
            return Ok(());
        };
        let at = path(format!("{}/{}", layout::TARGETS, target.location(Some(&hash))))?;
        if let Err(what) = self.measure(&at, file).await? {
            checked.problem(at.as_str(), &what);
            return Ok(());
        }
        checked.targets += 1;
        checked.bytes += file.length;
        if project_of(&target).is_none() && self.store.same(&at, &layout::plain(&target)?).await? {
            return Ok(());
        }
        match self.plain_matches(&target, file).await {
            Ok(true) => {}
            Ok(false) => seen.plain.push(target),
            Err(error) if is_finding(&error) => checked.broken(name, &error),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Plain copies that differed when they were looked at, compared with what is signed by now. Those that a crash
    /// left behind its commit are no problem: the next change finishes them.
    async fn check_plain_again(&self, walk: Walk, checked: &mut Checked) -> Result<(), RepositoryError> {
        let state = self.state().await?;
        let pending: BTreeSet<String> = self.pending_projects().await?.into_iter().collect();
        for target in walk.plain {
            let project = project_of(&target);
            let Some(file) = self.target(&state, &target).await? else { continue };
            if project.is_some_and(|project| pending.contains(project)) {
                continue;
            }
            let found = self.plain_target(&state, &target, &file, Repair::No).await?;
            if let Some(problem) = found {
                checked.add_problem(problem);
            }
        }
        checked.more_problems += walk.more_plain;
        Ok(())
    }

    async fn fetch(&self, request: &Request) -> Result<Option<Vec<u8>>, RepositoryError> {
        let at = path(format!("{}/{}", layout::METADATA, request.path))?;
        Ok(self.store.get(&at, request.max_len).await?.map(|object| object.bytes))
    }

    async fn must_fetch(&self, request: &Request) -> Result<Vec<u8>, RepositoryError> {
        self.fetch(request).await?.ok_or_else(|| RepositoryError::Missing(request.path.clone()))
    }
}

impl Walk {
    /// What the last role of `chain` delegates to and was not visited.
    fn new_edges(
        &mut self,
        chain: &Arc<[(RoleName, Verified<Targets>)]>,
        checked: &mut Checked,
    ) -> Vec<Edge> {
        let Some((role, metadata)) = chain.last() else { return Vec::new() };
        let mut edges = Vec::new();
        for name in metadata.delegations.iter().flat_map(Delegations::names) {
            match name {
                Ok(name) => {
                    self.stems.insert(name.file_stem());
                    if self.visited.insert((role.clone(), name.clone())) {
                        edges.push(Edge::new(Arc::clone(chain), name));
                    }
                }
                Err(error) => checked.problem(role.as_str(), &error),
            }
        }
        edges
    }

    /// Adds what was seen of a role to the report; returns the chain down to it if it delegates.
    fn take(&mut self, seen: Seen, checked: &mut Checked) -> Option<Vec<(RoleName, Verified<Targets>)>> {
        self.complete &= !(seen.broken && seen.above_bins);
        checked.add(seen.checked);
        for target in seen.plain {
            if self.plain.len() < MAX_PROBLEMS {
                self.plain.push(target);
            } else {
                self.more_plain += 1;
            }
        }
        seen.delegates
    }
}

/// Whether the roles that `edge` stands among are bins.
fn is_bin(edge: &Edge) -> bool {
    edge.chain().len() == 2 && edge.chain().last().is_some_and(|(name, _)| name.as_str() == BINS)
}
