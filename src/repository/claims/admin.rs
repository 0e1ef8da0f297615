//! What admins decide: whether projects can be claimed, which claims are good, what the offline keys vouch for.
//!
//! A claim is good at once, by the online key of `recently-claimed`. To promote it, the offline keys of `claimed` sign its
//! bucket there, for any number of projects together; from then on the online keys can do nothing about the project.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::apply::Names;
use super::bucket::BucketEdit;
use super::file::{MAX_PROJECT_FILE, ProjectFile};
use super::names::{Family, project_of_role};
use super::owner::Owned;
use super::tree::{Owners, Tree, patterns};
use crate::crypto::sha256;
use crate::python::ProjectName;
use crate::repository::ceremony::{Event, EventName, MAX_CORE, MAX_PUT, MAX_ROLES, ProposedRole};
use crate::repository::commit::Transaction;
use crate::repository::edit::describe;
use crate::repository::plan::Plan;
use crate::repository::publish::refuse_unvouched;
use crate::repository::state::State;
use crate::repository::{
    Keyring, MAX_ATTEMPTS, PATIENCE, Repository, RepositoryError, days_after, layout, pause,
};
use crate::store::{Content, Store, StoreError, StorePath};
use crate::tuf::metadata::{Common, DelegatedRoles, Delegations, MetaFile, PathSet, Table, Targets, Version};
use crate::tuf::path::{RoleName, TargetPath};

/// Buckets that one may give way to at once, and `claimed` beside them.
const SPLIT: usize = 64;

/// A claimed project, as admins see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claimed {
    /// The project.
    pub project: String,
    /// `claimed` or `recently-claimed`.
    pub by: &'static str,
    /// Ids of its keys.
    pub keys: Vec<String>,
    /// How many of them must sign.
    pub threshold: u64,
    /// Version of its role.
    pub version: Version,
}

/// A ceremony that promotes projects.
#[derive(Debug)]
pub struct Promotion {
    /// Nobody has signed it, and it is not kept.
    pub event: Event,
    /// Projects for which there is no room in it.
    pub left: Vec<ProjectName>,
}

/// What `claimed` and its buckets are to be, bucket after bucket.
struct ClaimedDesk {
    tree: Tree,
    edits: Vec<BucketEdit>,
    /// Bytes of the present buckets.
    bytes: u64,
    /// Projects that come, or get other owners.
    put: usize,
}

impl ClaimedDesk {
    async fn open(state: &State, store: &dyn Store) -> Result<Self, RepositoryError> {
        let tree = state.tree(store, Family::Claimed, []).await?;
        Ok(Self { tree, edits: Vec::new(), bytes: 0, put: 0 })
    }

    /// Projects by the bucket that answers for them now, if there is one.
    fn by_bucket(
        &self,
        projects: BTreeMap<ProjectName, Owners>,
    ) -> BTreeMap<Option<RoleName>, BTreeMap<ProjectName, Owners>> {
        let mut buckets: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for (project, owners) in projects {
            let bucket = self.tree.bucket_of(&project).cloned();
            buckets.entry(bucket).or_default().insert(project, owners);
        }
        buckets
    }

    /// Whether the buckets of these would be too much for one ceremony.
    fn is_full(&self, some: &BTreeMap<ProjectName, Owners>) -> bool {
        let room = MAX_CORE - MAX_CORE / 8;
        let edits = self.edits.len() + SPLIT > MAX_ROLES;
        !self.edits.is_empty() && (self.bytes > room || edits || self.put + some.len() > MAX_PUT)
    }
}

impl Repository {
    /// A ceremony that lets `claimed` and `recently-claimed` speak for all projects, so that they can be claimed. None if
    /// they may already.
    pub async fn claims_enabling(
        &self,
        name: EventName,
        now: DateTime<Utc>,
    ) -> Result<Option<Event>, RepositoryError> {
        let state = self.state().await?;
        if state.claims_enabled() {
            return Ok(None);
        }
        let mut targets = (*state.targets).clone();
        targets.common.expires = days_after(now, self.settings.expiry.targets);
        let Some(DelegatedRoles::Listed(roles)) =
            targets.delegations.as_mut().map(|delegations| &mut delegations.roles)
        else {
            return Err(RepositoryError::Missing("the delegations of targets".to_owned()));
        };
        for role in roles.iter_mut() {
            if Family::BOTH.iter().any(|family| family.name() == role.name.as_str()) {
                role.paths = PathSet::Patterns(patterns("").into());
            }
        }
        self.propose(&state, name, vec![ProposedRole::Targets(targets)], now).await.map(Some)
    }

    /// All claimed projects, by name.
    pub async fn claimed(&self) -> Result<Vec<Claimed>, RepositoryError> {
        let state = self.state().await?;
        let mut all: Vec<_> =
            self.all_owned(&state).await?.iter().map(|owned| about(&state, owned)).collect();
        all.sort_by(|a, b| a.project.cmp(&b.project));
        Ok(all)
    }

    /// Projects that wait for the offline keys.
    pub async fn recently_claimed(&self) -> Result<BTreeSet<ProjectName>, RepositoryError> {
        let (state, mut waiting) = (self.state().await?, BTreeSet::new());
        for bucket in state.buckets(self.store(), Family::Recent).await? {
            let content = state.bucket(self.store(), Family::Recent, &bucket).await?;
            let names = content.delegations.iter().flat_map(Delegations::names);
            waiting.extend(names.filter_map(|name| project_of_role(name.ok()?.as_str())));
        }
        Ok(waiting)
    }

    /// A ceremony by which the offline keys vouch for these projects, and for the new keys of claimed ones whose
    /// maintainers' files wait. It takes as many as one ceremony may have, in order of their buckets.
    pub async fn promotion(
        &self,
        name: EventName,
        projects: &BTreeSet<ProjectName>,
        rekeyed: &[ProjectFile],
        now: DateTime<Utc>,
    ) -> Result<Promotion, RepositoryError> {
        let state = self.state().await?;
        let mut moved = self.waiting(&state, projects).await?;
        for file in rekeyed {
            self.judged_rekey(&state, file, now).await?;
            moved.insert(file.project.clone(), file.owners.clone());
        }
        let mut desk = ClaimedDesk::open(&state, self.store()).await?;
        let over = moved.keys().nth(MAX_PUT).cloned().map(|first| moved.split_off(&first));
        let mut left: Vec<ProjectName> = over.into_iter().flat_map(BTreeMap::into_keys).collect();
        for (bucket, some) in desk.by_bucket(moved) {
            if desk.is_full(&some) {
                left.extend(some.into_keys());
                continue;
            }
            if let Some(bucket) = &bucket {
                desk.tree.load(bucket, &*state.bucket(self.store(), Family::Claimed, bucket).await?)?;
                desk.bytes += state.snapshot.role(bucket.as_str()).and_then(MetaFile::length).unwrap_or(0);
            }
            desk.put += some.len();
            desk.tree.put_all(some)?;
            desk.edits.extend(desk.tree.lay_aside());
        }
        let roles = self.proposed(&desk, now)?;
        let event = self.propose(&state, name, roles, now).await?;
        left.sort();
        Ok(Promotion { event, left })
    }

    /// The owners of projects that wait in `recently-claimed`.
    async fn waiting(
        &self,
        state: &State,
        projects: &BTreeSet<ProjectName>,
    ) -> Result<BTreeMap<ProjectName, Owners>, RepositoryError> {
        let recent = state.tree(self.store(), Family::Recent, projects).await?;
        let mut waiting = BTreeMap::new();
        for project in projects {
            let Some(owners) = recent.owners(project) else {
                return Err(RepositoryError::Plan(format!("{project} does not wait in recently-claimed")));
            };
            waiting.insert(project.clone(), owners.clone());
        }
        Ok(waiting)
    }

    /// A ceremony by which the offline keys vouch for a project no more. `None` if they do not.
    pub async fn revocation(
        &self,
        name: EventName,
        project: &ProjectName,
        now: DateTime<Utc>,
    ) -> Result<Option<Event>, RepositoryError> {
        let state = self.state().await?;
        let Some(owned) = state.owned(self.store(), project).await? else {
            return Err(RepositoryError::Plan(format!("{project} is not claimed")));
        };
        if owned.family == Family::Recent {
            return Ok(None);
        }
        let mut desk = ClaimedDesk::open(&state, self.store()).await?;
        desk.tree.load(&owned.bucket, &owned.delegator)?;
        desk.tree.remove(project);
        desk.edits = desk.tree.lay_aside();
        let roles = self.proposed(&desk, now)?;
        self.propose(&state, name, roles, now).await.map(Some)
    }

    /// `claimed` and its buckets, as they are to be. Versions are set by whoever proposes them.
    fn proposed(&self, desk: &ClaimedDesk, now: DateTime<Utc>) -> Result<Vec<ProposedRole>, RepositoryError> {
        let (top, claimed) = (RoleName::targets(), RoleName::delegated(Family::Claimed.name())?);
        let common = Common::new(1, days_after(now, self.expiry_of(Family::Claimed)));
        let mut roles = Vec::new();
        if desk.tree.delegator_changed() {
            let delegations = Some(desk.tree.delegations());
            let content = Targets { common: common.clone(), targets: Table::new(), delegations };
            roles.push(ProposedRole::Delegated { delegator: top, role: claimed.clone(), content });
        }
        roles.extend(desk.edits.iter().map(|edit| ProposedRole::Bucket {
            delegator: claimed.clone(),
            common: common.clone(),
            edit: edit.clone(),
        }));
        Ok(roles)
    }

    /// A project that waits in `recently-claimed` is claimed no more: its files stay as they are, signed by the index from
    /// now on. For others see [`Self::revocation`].
    pub async fn revoke(
        &self,
        keys: &Keyring,
        project: &ProjectName,
        now: DateTime<Utc>,
    ) -> Result<Version, RepositoryError> {
        for attempt in 0..MAX_ATTEMPTS {
            match self.revoke_once(keys, project, now).await {
                Err(RepositoryError::Store(StoreError::Conflict { .. })) => pause(attempt).await,
                done => return done,
            }
        }
        Err(RepositoryError::Busy(MAX_ATTEMPTS))
    }

    async fn revoke_once(
        &self,
        keys: &Keyring,
        project: &ProjectName,
        now: DateTime<Utc>,
    ) -> Result<Version, RepositoryError> {
        let _turn = self.store.turn(PATIENCE).await;
        let state = self.state().await?;
        self.finish_pending(&state).await?;
        refuse_unvouched(&state)?;
        let Some(owned) = state.owned(self.store(), project).await? else {
            return Err(RepositoryError::Plan(format!("{project} is not claimed")));
        };
        if owned.family == Family::Claimed {
            return Err(RepositoryError::NeedsCeremony(project.to_string()));
        }
        let mut plan = Plan::new(self, &state, now);
        let page = self.unclaimed(&state, &mut plan, &owned, project).await?;
        let files = page.iter().map(|(at, text)| (at.clone(), Content::Bytes(text.as_bytes()))).collect();
        let mut tree = state.tree(self.store(), Family::Recent, [project]).await?;
        tree.remove(project);
        let (names, changes) = (Names::of(Family::Recent)?, tree.changes()?);
        let mut roles = plan.roles(&names.bins)?;
        roles.extend(self.claim_roles(&state, &names, &changes, now).await?);
        let transaction =
            Transaction { roles, files, pages: vec![project.to_string()], ..Transaction::empty() };
        let staged = self.stage(keys, &state, transaction, now).await?;
        let notes = staged.notes.clone();
        let committed = self.swap_timestamp(keys, &state, staged, None, now).await?;
        for note in &notes {
            self.follow_note(&committed, note).await?;
        }
        Ok(committed.snapshot.common.version)
    }

    /// Puts the files of a claimed project into the bins of a plan. Returns its page as the bins list it, if it has one.
    pub(in crate::repository) async fn unclaimed(
        &self,
        state: &State,
        plan: &mut Plan<'_>,
        owned: &Owned,
        project: &ProjectName,
    ) -> Result<Option<(StorePath, String)>, RepositoryError> {
        let role = state.project(self.store(), owned).await?;
        for (target, file) in role.targets.iter().filter(|(name, _)| *name != layout::page_path(project)) {
            plan.adopt(&TargetPath::new(target)?, file.clone()).await?;
        }
        let Some(mut page) = self.page(state, project).await? else { return Ok(None) };
        page.serial = state.snapshot.common.version.saturating_add(1).max(page.serial.saturating_add(1));
        let (text, target) = (page.to_json(), layout::page(project)?);
        plan.adopt(&target, describe(text.as_bytes())).await?;
        let at = layout::hashed(&target, &sha256(text.as_bytes()))?;
        Ok(Some((at, text)))
    }

    /// Puts a claim where admins look at it before they agree. Another one for the same name is refused.
    pub async fn queue_claim(&self, file: &ProjectFile) -> Result<(), RepositoryError> {
        let (at, text) = (layout::waiting_claim(&file.project)?, file.to_text()?);
        match self.store.create(&at, Content::Bytes(text.as_bytes())).await {
            Err(StoreError::Exists { .. }) if self.holds(&at, text.as_bytes()).await? => Ok(()),
            Err(StoreError::Exists { .. }) => {
                Err(RepositoryError::Plan(format!("another claim for {} is waiting already", file.project)))
            }
            done => Ok(done?),
        }
    }

    /// The claims that wait for an admin.
    pub async fn waiting_claims(&self) -> Result<Vec<ProjectFile>, RepositoryError> {
        let mut waiting = Vec::new();
        for entry in self.store.list(layout::WAITING_CLAIMS).await? {
            if let Some(object) = self.store.get(&entry.path, MAX_PROJECT_FILE).await? {
                waiting.push(ProjectFile::read(&object.bytes)?);
            }
        }
        Ok(waiting)
    }

    /// Forgets a claim that waits: it was applied, or an admin does not agree.
    pub async fn forget_claim(&self, project: &ProjectName) -> Result<(), RepositoryError> {
        Ok(self.store.delete(&layout::waiting_claim(project)?).await?)
    }
}

fn about(state: &State, owned: &Owned) -> Claimed {
    let role = owned.role.as_str();
    Claimed {
        project: project_of_role(role).map_or_else(|| role.to_owned(), |project| project.to_string()),
        by: owned.family.name(),
        keys: owned.owners.keys.keys().map(ToString::to_string).collect(),
        threshold: owned.owners.threshold,
        version: state.snapshot.role(role).map_or(0, |entry| entry.version),
    }
}
