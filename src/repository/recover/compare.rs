//! Both states held against each other.
//!
//! Roles whose files are the same on both sides are passed over. What the others say goes into a sorted set on disk, where
//! both sides of a path meet, so that neither the number of bins nor who lists a target matters, and memory stays bounded.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use super::good::{Good, Origin, Skip, has_pages, is_page, push_backup};
use super::row::{Item, Row, Said, Side};
use crate::python::ProjectName;
use crate::repository::bins::in_order;
use crate::repository::claims::names::project_of_role;
use crate::repository::claims::owner::project_of_target;
use crate::repository::claims::{Bucket, Owned};
use crate::repository::diff::Change;
use crate::repository::edit::companion_of;
use crate::repository::init::bin_names;
use crate::repository::plain::project_of;
use crate::repository::state::{BINS, State};
use crate::repository::{Progress, Repository, RepositoryError};
use crate::spill::{BUDGET, PARTITIONS, Spill};
use crate::tuf::metadata::{Delegations, MetaFile, TargetFile, Targets, Version};
use crate::tuf::path::{RoleName, TargetPath};
use crate::tuf::signed::Verified;

/// Something that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Differing {
    /// What is compared.
    pub item: Item,
    /// A target's path, or the name of a role that is delegated to.
    pub path: String,
    /// What happened to it.
    pub change: Change,
    /// What the good state says.
    pub before: Option<Said>,
    /// What the present one says.
    pub after: Option<Said>,
}

/// How many of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// New ones.
    pub added: u64,
    /// Those that are gone.
    pub removed: u64,
    /// Those with other content.
    pub changed: u64,
}

/// What a comparison came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// Version of the good snapshot.
    pub good: Version,
    /// Version of the present one.
    pub present: Version,
    /// Targets, pages among them.
    pub targets: Counts,
    /// Roles, and who may sign them.
    pub delegations: Counts,
    /// Differences that are meant to be.
    pub kept: u64,
}

/// What is called with each difference, in no order that means anything.
pub type Tell<'a> = dyn FnMut(&Differing) -> Result<(), RepositoryError> + Send + 'a;

/// What has changed since for good reasons: target paths, projects with all they have, roles.
#[derive(Debug, Clone, Default)]
pub struct Keep(BTreeSet<String>);

impl Keep {
    /// Paths, projects and roles by name.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().collect())
    }

    /// Whether a difference is meant to be.
    pub fn keeps(&self, differing: &Differing) -> bool {
        match differing.item {
            Item::Target => self.keeps_target(&differing.path),
            Item::Delegation => self.0.contains(&differing.path) || self.keeps_role(&differing.path),
        }
    }

    /// Whether a target stays as it is now; metadata and provenance of a file go with the file.
    pub(super) fn keeps_target(&self, path: &str) -> bool {
        let file = companion_of(path).unwrap_or(path);
        let project = TargetPath::new(path).ok().and_then(|path| project_of_target(&path));
        self.0.contains(path)
            || self.0.contains(file)
            || project.is_some_and(|project| self.keeps_all(&project))
    }

    /// Whether a project stays as it is now.
    pub(super) fn keeps_all(&self, project: &ProjectName) -> bool {
        self.0.contains(project.as_str())
    }

    fn keeps_role(&self, role: &str) -> bool {
        project_of_role(role).is_some_and(|project| self.keeps_all(&project))
    }
}

impl Counts {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.added + self.removed + self.changed
    }

    fn count(&mut self, change: Change) {
        match change {
            Change::Added => self.added += 1,
            Change::Removed => self.removed += 1,
            Change::Changed => self.changed += 1,
        }
    }
}

impl Repository {
    /// Holds the present state against a good one, and tells what differs, but for what is kept.
    pub async fn compare(
        &self,
        good: &Good,
        keep: &Keep,
        progress: &dyn Progress,
        tell: &mut Tell<'_>,
    ) -> Result<Compared, RepositoryError> {
        let state = Arc::new(self.state().await?);
        let spill = Arc::new(Spill::new(PARTITIONS, BUDGET));
        let side = Sifter { repository: self, spill: &spill, side: Side::Present, progress };
        let same = side.sift(&state, &good.skip()).await?;
        match &good.origin {
            Origin::Backup { file, contents, .. } => push_backup(file, contents, same, &spill).await?,
            Origin::Snapshot(state) => {
                let side = Sifter { side: Side::Good, ..side };
                side.sift(&Arc::new((**state).clone()), &Skip::Names(same)).await?;
            }
        }
        let present = state.snapshot.common.version;
        let (targets, delegations) = (Counts::default(), Counts::default());
        let mut compared = Compared { good: good.snapshot(), present, targets, delegations, kept: 0 };
        for index in 0..spill.partitions() {
            meet(&spill, index, &mut |differing| {
                if keep.keeps(differing) {
                    compared.kept += 1;
                    return Ok(());
                }
                match differing.item {
                    Item::Target => compared.targets.count(differing.change),
                    Item::Delegation => compared.delegations.count(differing.change),
                }
                tell(differing)
            })?;
        }
        Ok(compared)
    }
}

/// The differences of one partition.
fn meet(spill: &Spill, index: usize, tell: &mut Tell<'_>) -> Result<(), RepositoryError> {
    let records = spill.partition(index)?;
    let (mut good, mut present) = (Vec::<Row>::new(), Vec::<Row>::new());
    for (_, record) in records.iter() {
        let row = Row::decode(record)?;
        if good.iter().chain(&present).any(|other| !other.meets(&row)) {
            judge(&std::mem::take(&mut good), &std::mem::take(&mut present), tell)?;
        }
        if row.side == Side::Good { good.push(row) } else { present.push(row) }
    }
    judge(&good, &present, tell)
}

/// What differs about one path. It may be listed by another role than before: a project that was claimed, or is no more.
fn judge(good: &[Row], present: &[Row], tell: &mut Tell<'_>) -> Result<(), RepositoryError> {
    let before = good.first();
    let differing = |row: &Row, change, after: Option<&Row>| Differing {
        item: row.item,
        path: row.path.clone(),
        change,
        before: before.map(|row| row.said.clone()),
        after: after.map(|row| row.said.clone()),
    };
    let others = present.iter().filter(|row| !good.iter().any(|before| before.agrees(row)));
    let change = if good.is_empty() { Change::Added } else { Change::Changed };
    others.into_iter().try_for_each(|row| tell(&differing(row, change, Some(row))))?;
    match before.filter(|_| present.is_empty()) {
        Some(row) => tell(&differing(row, Change::Removed, None)),
        None => Ok(()),
    }
}

/// One state of the repository on its way into the spill.
#[derive(Clone, Copy)]
struct Sifter<'a> {
    repository: &'a Repository,
    spill: &'a Arc<Spill>,
    side: Side,
    progress: &'a dyn Progress,
}

/// What is read of one role.
struct Looked {
    role: String,
    /// `None`: the same on both sides.
    rows: Option<Vec<Row>>,
}

impl Sifter<'_> {
    /// What all roles say, but for those that are skipped, whose names are returned.
    async fn sift(&self, state: &Arc<State>, skip: &Skip<'_>) -> Result<BTreeSet<String>, RepositoryError> {
        let mut same = BTreeSet::new();
        for row in Row::of_root(&state.root, self.side) {
            self.push(&row)?;
        }
        let mut above = vec![(RoleName::targets(), state.targets.clone())];
        let names: Vec<RoleName> =
            state.targets.delegations.iter().flat_map(Delegations::names).collect::<Result<_, _>>()?;
        for role in names {
            // What does not read, clients do not read; the delegation itself is shown.
            if let Ok(content) = state.delegated(self.repository.store(), &role).await {
                above.push((role, content));
            }
        }
        for Bucket { name, content, .. } in self.repository.all_buckets(state).await? {
            above.push((name, content));
        }
        for (role, content) in &above {
            let entry = state.snapshot.role(role.as_str());
            if skip.skips(role.as_str(), content.bytes(), entry) {
                same.insert(role.to_string());
                continue;
            }
            let rows = rows(self.repository, role.as_str(), role.as_str(), self.side, content).await?;
            rows.iter().try_for_each(|row| self.push(row))?;
        }
        self.bins(state, skip, &mut same).await?;
        self.projects(state, skip, &mut same).await?;
        Ok(same)
    }

    async fn bins(
        &self,
        state: &Arc<State>,
        skip: &Skip<'_>,
        same: &mut BTreeSet<String>,
    ) -> Result<(), RepositoryError> {
        let names = bin_names(&state.bins)?;
        let total = u64::try_from(names.len()).unwrap_or(u64::MAX);
        let known = self.unread(state, &names, skip, same);
        let (repository, state, side) = (self.repository.clone(), Arc::clone(state), self.side);
        let digests = digests(skip);
        let work = move |name: RoleName| {
            let (repository, state, digests) = (repository.clone(), Arc::clone(&state), Arc::clone(&digests));
            async move {
                let bin = state.bin(repository.store(), &name).await?;
                looked(&repository, &digests, BINS, name.as_str(), side, &bin).await
            }
        };
        self.take_all(known, total, work, same).await
    }

    async fn projects(
        &self,
        state: &Arc<State>,
        skip: &Skip<'_>,
        same: &mut BTreeSet<String>,
    ) -> Result<(), RepositoryError> {
        let all = self.repository.all_owned(state).await?;
        let total = u64::try_from(all.len()).unwrap_or(u64::MAX);
        let names: Vec<RoleName> = all.iter().map(|owned| owned.role.clone()).collect();
        let unread: BTreeSet<RoleName> = self.unread(state, &names, skip, same).into_iter().collect();
        let all: Vec<Owned> = all.into_iter().filter(|owned| unread.contains(&owned.role)).collect();
        let (repository, state, side) = (self.repository.clone(), Arc::clone(state), self.side);
        let digests = digests(skip);
        let work = move |owned: Owned| {
            let (repository, state, digests) = (repository.clone(), Arc::clone(&state), Arc::clone(&digests));
            async move {
                let role = state.project(repository.store(), &owned).await?;
                let name = owned.role.as_str();
                looked(&repository, &digests, name, name, side, &role).await
            }
        };
        self.take_all(all, total, work, same).await
    }

    /// Those roles that their entries do not tell to be the same.
    fn unread(
        &self,
        state: &State,
        names: &[RoleName],
        skip: &Skip<'_>,
        same: &mut BTreeSet<String>,
    ) -> Vec<RoleName> {
        if matches!(skip, Skip::Digests(_)) {
            return names.to_vec();
        }
        let skipped = |name: &&RoleName| {
            let entry: Option<&MetaFile> = state.snapshot.role(name.as_str());
            skip.skips(name.as_str(), &[], entry)
        };
        let (skipped, unread): (Vec<_>, Vec<_>) = names.iter().partition(skipped);
        if self.side == Side::Present {
            same.extend(skipped.into_iter().map(ToString::to_string));
        }
        unread.into_iter().cloned().collect()
    }

    async fn take_all<T, F>(
        &self,
        items: Vec<T>,
        total: u64,
        work: impl Fn(T) -> F + Clone + Send + 'static,
        same: &mut BTreeSet<String>,
    ) -> Result<(), RepositoryError>
    where
        T: Send + 'static,
        F: Future<Output = Result<Looked, RepositoryError>>,
    {
        let mut done = total.saturating_sub(u64::try_from(items.len()).unwrap_or(0));
        in_order(items, work, |looked: Looked| {
            done += 1;
            self.progress.at("comparing", done, total);
            if let Some(rows) = looked.rows {
                return rows.iter().try_for_each(|row| self.push(row));
            }
            same.insert(looked.role);
            Ok(())
        })
        .await
    }

    fn push(&self, row: &Row) -> Result<(), RepositoryError> {
        let (key, record) = row.encode()?;
        Ok(self.spill.push(key, &record)?)
    }
}

/// The digests to skip by, shared by all threads.
fn digests(skip: &Skip<'_>) -> Arc<std::collections::BTreeMap<String, [u8; 32]>> {
    match skip {
        Skip::Digests(digests) => Arc::new((*digests).clone()),
        _ => Arc::default(),
    }
}

async fn looked(
    repository: &Repository,
    digests: &std::collections::BTreeMap<String, [u8; 32]>,
    owner: &str,
    role: &str,
    side: Side,
    content: &Verified<Targets>,
) -> Result<Looked, RepositoryError> {
    let name = role.to_owned();
    if digests.get(role) == Some(&crate::crypto::sha256(content.bytes())) {
        return Ok(Looked { role: name, rows: None });
    }
    let rows = rows(repository, owner, role, side, content).await?;
    Ok(Looked { role: name, rows: Some(rows) })
}

/// What a role says: of targets, of pages by what they say, and of other roles.
async fn rows(
    repository: &Repository,
    owner: &str,
    role: &str,
    side: Side,
    content: &Targets,
) -> Result<Vec<Row>, RepositoryError> {
    let mut rows = Vec::with_capacity(content.targets.len());
    for (path, file) in &content.targets {
        let page = has_pages(owner) && is_page(path);
        let page = if page { readable(repository, path, file).await } else { None };
        rows.push(match page {
            Some(page) => Row::page(role, side, path, &page),
            None => Row::target(role, side, path, file),
        });
    }
    if let Some(delegations) = &content.delegations {
        rows.extend(Row::of_delegations(role, delegations, side)?);
    }
    Ok(rows)
}

/// A page, if it is there and one of this project's: what a thief put in its place need not be.
async fn readable(
    repository: &Repository,
    path: &str,
    file: &TargetFile,
) -> Option<crate::python::ProjectPage> {
    let target = TargetPath::new(path).ok()?;
    let project = ProjectName::from_normalised(project_of(&target)?).ok()?;
    repository.read_page(&project, &target, file).await.ok()
}
