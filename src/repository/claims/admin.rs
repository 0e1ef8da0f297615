//! What admins decide: whether projects can be claimed, which claims are good, what the offline keys vouch for.
//!
//! A claim is good at once, by the online key of `recently-claimed`. To promote it, the offline keys of `claimed` sign its
//! bucket there, for any number of projects together; from then on the online keys can do nothing about the project.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::apply::Names;
use super::file::{MAX_PROJECT_FILE, ProjectFile};
use super::names::{Family, project_of_role};
use super::owner::Owned;
use super::tree::{Changes, patterns};
use crate::python::ProjectName;
use crate::repository::ceremony::{Changed, Event, EventName, ProposedRole};
use crate::repository::commit::Transaction;
use crate::repository::plan::Plan;
use crate::repository::publish::refuse_unvouched;
use crate::repository::state::State;
use crate::repository::{
    Keyring, MAX_ATTEMPTS, PATIENCE, Progress, Repository, RepositoryError, days_after, layout, pause,
};
use crate::store::{Content, StoreError};
use crate::tuf::metadata::{Common, DelegatedRoles, Delegations, PathSet, Table, Targets, Version};
use crate::tuf::path::{RoleName, TargetPath};

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
    pub async fn recently_claimed(&self) -> Result<Vec<ProjectName>, RepositoryError> {
        let owned = self.all_owned(&self.state().await?).await?;
        let waiting = owned.iter().filter(|owned| owned.family == Family::Recent);
        Ok(waiting.filter_map(|owned| project_of_role(owned.role.as_str())).collect())
    }

    /// A ceremony by which the offline keys vouch for these projects, and for the new keys of claimed ones whose
    /// maintainers' files wait.
    pub async fn promotion(
        &self,
        name: EventName,
        projects: &BTreeSet<ProjectName>,
        rekeyed: &[ProjectFile],
        now: DateTime<Utc>,
    ) -> Result<Event, RepositoryError> {
        let state = self.state().await?;
        let touched = projects.iter().chain(rekeyed.iter().map(|file| &file.project));
        let mut claimed = state.tree(self.store(), Family::Claimed, touched).await?;
        for file in rekeyed {
            self.judged_rekey(&state, file, now).await?;
        }
        let mut moved: Vec<_> =
            rekeyed.iter().map(|file| (file.project.clone(), file.owners.clone())).collect();
        for project in projects {
            let owned = state.owned(self.store(), project).await?;
            let Some(owned) = owned.filter(|owned| owned.family == Family::Recent) else {
                return Err(RepositoryError::Plan(format!("{project} does not wait in recently-claimed")));
            };
            moved.push((project.clone(), owned.owners));
        }
        claimed.put_all(moved)?;
        let roles = self.proposed(&claimed.changes()?, now)?;
        self.propose(&state, name, roles, now).await
    }

    /// `claimed` and its buckets, as they are to be.
    fn proposed(&self, changes: &Changes, now: DateTime<Utc>) -> Result<Vec<ProposedRole>, RepositoryError> {
        let (top, claimed) = (RoleName::targets(), RoleName::delegated(Family::Claimed.name())?);
        let expires = days_after(now, self.expiry_of(Family::Claimed));
        let content = |delegations: &Delegations| {
            // The version is set by whoever proposes it.
            let common = Common::new(1, expires);
            Targets { common, targets: Table::new(), delegations: Some(delegations.clone()) }
        };
        let mut roles = Vec::new();
        if changes.delegator {
            let content = content(&changes.delegations);
            roles.push(ProposedRole::Delegated { delegator: top, role: claimed.clone(), content });
        }
        for (bucket, delegations) in &changes.buckets {
            let (delegator, role) = (claimed.clone(), bucket.clone());
            roles.push(ProposedRole::Delegated { delegator, role, content: content(delegations) });
        }
        Ok(roles)
    }

    /// Publishes a ceremony at once if the keys at hand suffice; else keeps it, signed as far as it goes.
    pub async fn hold(
        &self,
        event: Event,
        keys: &Keyring,
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Result<Changed, RepositoryError> {
        self.change_by(event, keys, None, now, progress).await
    }

    /// A project is claimed no more: its files stay as they are, signed by the index from now on. Below `claimed` that
    /// takes the offline keys.
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
        let role = state.project(self.store(), &owned).await?;
        let mut page = self.page(&state, project).await?;
        let mut plan = Plan::new(self, &state, now);
        for (target, file) in role.targets.iter().filter(|(name, _)| *name != layout::page_path(project)) {
            plan.adopt(&TargetPath::new(target)?, file.clone()).await?;
        }
        let mut files = Vec::new();
        let text = page.as_mut().map(|page| {
            page.serial = state.snapshot.common.version.saturating_add(1).max(page.serial.saturating_add(1));
            page.to_json()
        });
        if let Some(text) = &text {
            let (target, entry) =
                (layout::page(project)?, crate::repository::edit::describe(text.as_bytes()));
            let digest = crate::crypto::sha256(text.as_bytes());
            files.push((layout::hashed(&target, &digest)?, Content::Bytes(text.as_bytes())));
            plan.adopt(&target, entry).await?;
        }
        let mut changes = Vec::new();
        for family in Family::BOTH {
            let mut tree = state.tree(self.store(), family, [project]).await?;
            if tree.remove(project) {
                changes.push((Names::of(family)?, tree.changes()?));
            }
        }
        let bins = Names::of(owned.family)?;
        let mut roles = plan.roles(&bins.bins)?;
        for (names, changes) in &changes {
            roles.extend(self.claim_roles(&state, names, changes, now).await?);
        }
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
