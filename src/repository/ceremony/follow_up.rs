//! What must change in the same commit as what people signed: projects that `claimed` vouches for from now on leave
//! `recently-claimed`, the roles of those with new keys appear, files of projects that are claimed no more return to the
//! bins, and other online keys sign all of `recently-claimed` anew.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::buckets::Moves;
use super::event::ProposedRole;
use crate::python::ProjectName;
use crate::repository::claims::names::{Family, project_role};
use crate::repository::claims::tree::{Changes, Owners, Tree};
use crate::repository::commit::{NewRole, announce, refuse_too_large};
use crate::repository::keyring::Keyring;
use crate::repository::plan::Plan;
use crate::repository::state::{self, BINS, State};
use crate::repository::{Repository, RepositoryError, days_after, layout};
use crate::store::{Content, StoreError};
use crate::tuf::metadata::{Common, Delegations, MetaFile, Table, Targets};
use crate::tuf::path::RoleName;
use crate::tuf::signed::{Authority, Draft};

/// Taken version numbers that are skipped, at most.
const MAX_SKIPPED: u32 = 1_000;

/// What is written already, and waits for the commit.
#[derive(Debug, Default)]
pub(super) struct FollowUp {
    /// Roles, as snapshot will list them.
    pub(super) written: Vec<(String, MetaFile)>,
    /// Projects whose pages change.
    pub(super) pages: Vec<String>,
}

impl Repository {
    /// What follows from `proposals`, which are about to be committed and mean `moves` for projects.
    pub(super) async fn claims_follow_up(
        &self,
        state: &State,
        proposals: &[&ProposedRole],
        moves: &Moves,
        keys: &Keyring,
        now: DateTime<Utc>,
    ) -> Result<FollowUp, RepositoryError> {
        let mut follow_up = FollowUp::default();
        let targets = proposals.iter().find_map(|proposal| match proposal {
            ProposedRole::Targets(content) => Some(content),
            _ => None,
        });
        let (top, recent) = (RoleName::targets(), RoleName::delegated(Family::Recent.name())?);
        let old = state::authority(&top, &state.targets, &recent)?;
        let authority = match targets {
            Some(targets) => state::authority(&top, targets, &recent)?,
            None => old,
        };
        let none = Moves::default();
        let buckets = proposals.iter().any(|proposal| proposal.bucket().is_some());
        let moves = if buckets { moves } else { &none };
        for (project, owners) in &moves.changed {
            self.rekey(state, project, owners, now, &mut follow_up).await?;
        }
        self.unclaim(state, &moves.removed, keys, now, &mut follow_up).await?;
        let other_keys = (!authority.same_as(&old)).then_some(&authority);
        if moves.added.is_empty() && moves.removed.is_empty() && other_keys.is_none() {
            return Ok(follow_up);
        }
        let changes = self.without(state, moves, other_keys).await?;
        if changes.delegator || !changes.buckets.is_empty() {
            follow_up.written.extend(self.write_recent(state, keys, &changes, &authority, now).await?);
        }
        Ok(follow_up)
    }

    /// Puts the files of projects that are claimed no more back into the bins, as their maintainers left them.
    async fn unclaim(
        &self,
        state: &State,
        removed: &BTreeSet<String>,
        keys: &Keyring,
        now: DateTime<Utc>,
        follow_up: &mut FollowUp,
    ) -> Result<(), RepositoryError> {
        let mut plan = Plan::new(self, state, now);
        for name in removed {
            // A role that is no project's has no files.
            let Ok(project) = ProjectName::from_normalised(name) else { continue };
            let Some(owned) = state.owned(self.store(), &project).await? else { continue };
            if let Some((at, text)) = self.unclaimed(state, &mut plan, &owned, &project).await? {
                match self.store.create(&at, Content::Bytes(text.as_bytes())).await {
                    Ok(()) | Err(StoreError::Exists { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            follow_up.pages.push(project.to_string());
        }
        for NewRole { draft, authorities, .. } in plan.roles(&RoleName::delegated(BINS)?)? {
            let Some(authority) = authorities.first() else { continue };
            let (role, file) = self.write_online(state, keys, authority, draft.content, now).await?;
            follow_up.written.push((role, MetaFile::version(file.version)));
        }
        Ok(())
    }

    /// The new role of a claimed project whose keys change, as its maintainers sent it.
    async fn rekey(
        &self,
        state: &State,
        project: &ProjectName,
        owners: &Owners,
        now: DateTime<Utc>,
        follow_up: &mut FollowUp,
    ) -> Result<(), RepositoryError> {
        let waiting = self.waiting_claims().await?;
        let file = waiting.into_iter().find(|file| file.project == *project && file.owners == *owners);
        let Some(file) = file else {
            let reason =
                format!("what the maintainers of {project} signed for their new keys is not there any more");
            return Err(RepositoryError::Plan(reason));
        };
        let version = self.judged_rekey(state, &file, now).await?;
        let role = project_role(project)?;
        self.place_role(&role, version, &file.role).await?;
        self.place_page(&file).await?;
        follow_up.written.push((role.to_string(), MetaFile::version(version)));
        follow_up.pages.push(project.to_string());
        Ok(())
    }

    /// `recently-claimed` without those that come to `claimed` or go, and with other keys of its own if it gets some.
    async fn without(
        &self,
        state: &State,
        moves: &Moves,
        keys: Option<&Authority<'_>>,
    ) -> Result<Changes, RepositoryError> {
        let gone: Vec<_> =
            moves.removed.iter().filter_map(|name| ProjectName::from_normalised(name).ok()).collect();
        let leaving: Vec<&ProjectName> = moves.added.keys().chain(&gone).collect();
        let mut tree: Tree = state.tree(self.store(), Family::Recent, leaving).await?;
        if let Some(authority) = keys {
            for bucket in state.buckets(self.store(), Family::Recent).await? {
                if !tree.has(&bucket) {
                    tree.load(&bucket, &*state.bucket(self.store(), Family::Recent, &bucket).await?)?;
                }
            }
            tree.signed_by(Owners::of(authority));
        }
        for (project, owners) in &moves.added {
            if tree.owners(project) != Some(owners) {
                let reason =
                    format!("{project} has other keys than when this was proposed: propose it again");
                return Err(RepositoryError::Plan(reason));
            }
            tree.remove(project);
        }
        for project in &gone {
            tree.remove(project);
        }
        tree.changes()
    }

    /// Signs and writes `recently-claimed` and its changed buckets.
    async fn write_recent(
        &self,
        state: &State,
        keys: &Keyring,
        changes: &Changes,
        authority: &Authority<'_>,
        now: DateTime<Utc>,
    ) -> Result<Vec<(String, MetaFile)>, RepositoryError> {
        let delegator = RoleName::delegated(Family::Recent.name())?;
        let mut written = Vec::new();
        for (bucket, delegations) in &changes.buckets {
            let authority = changes.delegations.authority(&delegator, bucket);
            let authority = authority.ok_or_else(|| RepositoryError::Missing(bucket.to_string()))?;
            written.push(self.write_online(state, keys, &authority, delegating(delegations), now).await?);
        }
        if changes.delegator {
            let content = delegating(&changes.delegations);
            written.push(self.write_online(state, keys, authority, content, now).await?);
        }
        Ok(written)
    }

    /// Signs and writes a role under a version that no file has.
    async fn write_online(
        &self,
        state: &State,
        keys: &Keyring,
        authority: &Authority<'_>,
        content: Targets,
        now: DateTime<Utc>,
    ) -> Result<(String, MetaFile), RepositoryError> {
        let role = authority.role();
        let mut draft = Draft::new(content);
        let mut version = state.snapshot.role(role).map_or(0, |entry| state.base_version(entry.version));
        draft.content.common.expires = days_after(now, self.settings.expiry.bin_n);
        for _ in 0..MAX_SKIPPED {
            version = version.saturating_add(1);
            draft.content.common.version = version;
            let bytes = keys.sign(&draft, &[*authority]).await?;
            refuse_too_large(role, &bytes)?;
            match self.store.create(&layout::versioned(role, version)?, Content::Bytes(&bytes)).await {
                Ok(()) => return Ok((role.to_owned(), announce(version, &bytes))),
                Err(StoreError::Exists { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(RepositoryError::Busy(MAX_SKIPPED))
    }
}

/// A role that delegates and lists no targets. Version and date are set by whoever signs it.
fn delegating(delegations: &Delegations) -> Targets {
    let common = Common::new(1, DateTime::UNIX_EPOCH);
    Targets { common, targets: Table::new(), delegations: Some(delegations.clone()) }
}
