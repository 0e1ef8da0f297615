//! What must change in the same commit as what people signed: projects that `claimed` vouches for from now on leave
//! `recently-claimed`, the roles of those with new keys appear, and other online keys sign all of `recently-claimed` anew.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::ProposedRole;
use crate::python::ProjectName;
use crate::repository::claims::names::{Family, project_role};
use crate::repository::claims::tree::{Changes, Owners, Tree, owners_listed};
use crate::repository::commit::announce;
use crate::repository::keyring::Keyring;
use crate::repository::state::{self, State};
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
    /// What follows from `proposals`, which are about to be committed.
    pub(super) async fn claims_follow_up(
        &self,
        state: &State,
        proposals: &[&ProposedRole],
        keys: &Keyring,
        now: DateTime<Utc>,
    ) -> Result<FollowUp, RepositoryError> {
        let mut follow_up = FollowUp::default();
        let targets = proposals.iter().find_map(|proposal| match proposal {
            ProposedRole::Targets(content) => Some(content),
            _ => None,
        });
        let mut moved = BTreeSet::new();
        for (project, owners) in vouched_for(proposals)? {
            match state.owned(self.store(), &project).await? {
                Some(owned) if owned.owners == owners => {
                    moved.extend((owned.family == Family::Recent).then_some(project));
                }
                Some(owned) if owned.family == Family::Claimed => {
                    self.rekey(state, &project, &owners, now, &mut follow_up).await?;
                }
                _ => {
                    let reason =
                        format!("{project} has other keys than when this was proposed: propose it again");
                    return Err(RepositoryError::Plan(reason));
                }
            }
        }
        let (top, recent) = (RoleName::targets(), RoleName::delegated(Family::Recent.name())?);
        let old = state::authority(&top, &state.targets, &recent)?;
        let authority = match targets {
            Some(targets) => state::authority(&top, targets, &recent)?,
            None => old,
        };
        if moved.is_empty() && authority.same_as(&old) {
            return Ok(follow_up);
        }
        let changes = self.without(state, &moved, (!authority.same_as(&old)).then_some(&authority)).await?;
        if changes.delegator || !changes.buckets.is_empty() {
            follow_up.written.extend(self.write_recent(state, keys, &changes, &authority, now).await?);
        }
        Ok(follow_up)
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

    /// `recently-claimed` without some projects, and with other keys of its own if it gets some.
    async fn without(
        &self,
        state: &State,
        moved: &BTreeSet<ProjectName>,
        keys: Option<&Authority<'_>>,
    ) -> Result<Changes, RepositoryError> {
        let mut tree: Tree = state.tree(self.store(), Family::Recent, moved).await?;
        if let Some(authority) = keys {
            for bucket in state.buckets(self.store(), Family::Recent).await? {
                if !tree.has(&bucket) {
                    tree.load(&bucket, &*state.bucket(self.store(), Family::Recent, &bucket).await?)?;
                }
            }
            tree.signed_by(Owners::of(authority));
        }
        for project in moved {
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
            written.push(self.write_online(state, keys, &authority, delegations, now).await?);
        }
        if changes.delegator {
            written.push(self.write_online(state, keys, authority, &changes.delegations, now).await?);
        }
        Ok(written)
    }

    /// Signs and writes a role that delegates and lists no targets, under a version that no file has.
    async fn write_online(
        &self,
        state: &State,
        keys: &Keyring,
        authority: &Authority<'_>,
        delegations: &Delegations,
        now: DateTime<Utc>,
    ) -> Result<(String, MetaFile), RepositoryError> {
        let role = authority.role();
        let mut version = state.snapshot.role(role).map_or(0, |entry| state.base_version(entry.version));
        for _ in 0..MAX_SKIPPED {
            version = version.saturating_add(1);
            let common = Common::new(version, days_after(now, self.settings.expiry.bin_n));
            let delegations = Some(delegations.clone());
            let draft = Draft::new(Targets { common, targets: Table::new(), delegations });
            let bytes = keys.sign(&draft, &[*authority]).await?;
            match self.store.create(&layout::versioned(role, version)?, Content::Bytes(&bytes)).await {
                Ok(()) => return Ok((role.to_owned(), announce(version, &bytes))),
                Err(StoreError::Exists { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(RepositoryError::Busy(MAX_SKIPPED))
    }
}

/// The projects that proposed buckets of `claimed` delegate to.
fn vouched_for(proposals: &[&ProposedRole]) -> Result<BTreeMap<ProjectName, Owners>, RepositoryError> {
    let mut projects = BTreeMap::new();
    for proposal in proposals {
        if let ProposedRole::Delegated { role, content, .. } = proposal
            && Family::Claimed.number(role.as_str()).is_some()
        {
            projects.extend(owners_listed(role, content)?);
        }
    }
    Ok(projects)
}
