//! Who answers for a project in a state: its own role, or the bins.
//!
//! Read as a client searches: `claimed` first, then `recently-claimed`; the first bucket that delegates to the project
//! ends it. As long as neither role may speak for anything, nothing is read; afterwards, what was read and has not changed
//! since is not read again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::names::{Family, project_role};
use super::tree::{Owners, Tree};
use crate::python::ProjectName;
use crate::repository::plan::bin_of;
use crate::repository::state::{self, State, entry};
use crate::repository::{Repository, RepositoryError, layout};
use crate::store::Store;
use crate::tuf::metadata::{DelegatedRole, DelegatedRoles, Delegations};
use crate::tuf::metadata::{MetaFile, PathSet, Targets};
use crate::tuf::path::{RoleName, TargetPath};
use crate::tuf::signed::Verified;

/// Files that are remembered, at most: buckets have up to 300 kB each.
const MAX_REMEMBERED: usize = 48;

/// Delegators and buckets as read last, each with what it was checked against.
#[derive(Debug, Clone, Default)]
pub(crate) struct Remembered(Arc<Mutex<BTreeMap<RoleName, Known>>>);

#[derive(Debug)]
struct Known {
    entry: MetaFile,
    delegator: Verified<Targets>,
    content: Verified<Targets>,
}

/// A claimed project, and who says so.
#[derive(Debug, Clone)]
pub struct Owned {
    /// Below which of the two.
    pub family: Family,
    /// The bucket that delegates to it.
    pub(crate) bucket: RoleName,
    /// What that bucket says.
    pub(crate) delegator: Verified<Targets>,
    /// Its role.
    pub role: RoleName,
    /// Its keys and threshold.
    pub owners: Owners,
}

impl State {
    /// Whether projects can be claimed: top-level targets lets `claimed` and `recently-claimed` speak for all of them.
    pub fn claims_enabled(&self) -> bool {
        let open = |family: Family| {
            let Some(DelegatedRoles::Listed(roles)) = self.targets.delegations.as_ref().map(|all| &all.roles)
            else {
                return false;
            };
            let role = RoleName::delegated(family.name()).ok();
            let role: Option<&DelegatedRole> = role.and_then(|name| roles.named(&name));
            role.is_some_and(|role| role.paths != PathSet::Patterns(Vec::new()))
        };
        Family::BOTH.into_iter().any(open)
    }

    /// `claimed` or `recently-claimed`.
    pub(crate) async fn family(
        &self,
        store: &dyn Store,
        family: Family,
    ) -> Result<Verified<Targets>, RepositoryError> {
        let name = RoleName::delegated(family.name())?;
        let file = entry(&self.snapshot, name.as_str())?;
        if let Some(known) = self.claims.recall(&name, file, &self.targets) {
            return Ok(known);
        }
        let content = self.delegated(store, &name).await?;
        self.claims.remember(name, file, &self.targets, &content);
        Ok(content)
    }

    /// A bucket of a delegator.
    pub(crate) async fn bucket(
        &self,
        store: &dyn Store,
        family: Family,
        bucket: &RoleName,
    ) -> Result<Verified<Targets>, RepositoryError> {
        let delegator = self.family(store, family).await?;
        let file = entry(&self.snapshot, bucket.as_str())?;
        if let Some(known) = self.claims.recall(bucket, file, &delegator) {
            return Ok(known);
        }
        let name = RoleName::delegated(family.name())?;
        let authority = state::authority(&name, &delegator, bucket)?;
        let content = state::read(store, &[authority], file).await?;
        self.claims.remember(bucket.clone(), file, &delegator, &content);
        Ok(content)
    }

    /// Who owns a project, if anybody does.
    pub async fn owned(
        &self,
        store: &dyn Store,
        project: &ProjectName,
    ) -> Result<Option<Owned>, RepositoryError> {
        if !self.claims_enabled() {
            return Ok(None);
        }
        let (page, role) = (layout::page(project)?, project_role(project)?);
        for family in Family::BOTH {
            let delegator = self.family(store, family).await?;
            for bucket in matching(&delegator, &page)? {
                let delegator = self.bucket(store, family, &bucket).await?;
                if let Some(owners) = Owners::listed(&delegator, &role) {
                    return Ok(Some(Owned { family, bucket, delegator, role, owners }));
                }
            }
        }
        Ok(None)
    }

    /// What the role of a claimed project says.
    pub async fn project(
        &self,
        store: &dyn Store,
        owned: &Owned,
    ) -> Result<Verified<Targets>, RepositoryError> {
        let authority = state::authority(&owned.bucket, &owned.delegator, &owned.role)?;
        state::read(store, &[authority], entry(&self.snapshot, owned.role.as_str())?).await
    }

    /// The delegator with those buckets in hand that answer for `projects`.
    pub(crate) async fn tree<'a>(
        &self,
        store: &dyn Store,
        family: Family,
        projects: impl IntoIterator<Item = &'a ProjectName>,
    ) -> Result<Tree, RepositoryError> {
        let (top, name) = (RoleName::targets(), RoleName::delegated(family.name())?);
        let authority = state::authority(&top, &self.targets, &name)?;
        let signers = Owners::of(&authority);
        let delegator = self.family(store, family).await?;
        let mut tree = Tree::read(family, &delegator, signers, family.next_number(&self.snapshot))?;
        for project in projects {
            let Some(bucket) = tree.bucket_of(project).cloned() else { continue };
            if !tree.has(&bucket) {
                tree.load(&bucket, &*self.bucket(store, family, &bucket).await?)?;
            }
        }
        Ok(tree)
    }

    /// All buckets of a delegator, in order.
    pub(crate) async fn buckets(
        &self,
        store: &dyn Store,
        family: Family,
    ) -> Result<Vec<RoleName>, RepositoryError> {
        if !self.claims_enabled() {
            return Ok(Vec::new());
        }
        let delegator = self.family(store, family).await?;
        let names = delegator.delegations.iter().flat_map(Delegations::names);
        names.map(|name| Ok(name?)).collect()
    }
}

impl Repository {
    /// The role that answers for a target, and what it says.
    pub(crate) async fn answering(
        &self,
        state: &State,
        target: &TargetPath,
    ) -> Result<(RoleName, Verified<Targets>), RepositoryError> {
        if state.claims_enabled()
            && let Some(project) = project_of_target(target)
            && let Some(owned) = state.owned(self.store(), &project).await?
        {
            let content = state.project(self.store(), &owned).await?;
            return Ok((owned.role, content));
        }
        let bin = bin_of(state, target)?;
        let content = state.bin(self.store(), &bin).await?;
        Ok((bin, content))
    }

    /// Refuses a project whose maintainers publish it themselves.
    pub(crate) async fn refuse_claimed(
        &self,
        state: &State,
        project: &ProjectName,
    ) -> Result<(), RepositoryError> {
        match state.owned(self.store(), project).await? {
            None => Ok(()),
            Some(_) => Err(RepositoryError::Claimed(project.to_string())),
        }
    }
}

impl Remembered {
    fn recall(
        &self,
        role: &RoleName,
        entry: &MetaFile,
        delegator: &Verified<Targets>,
    ) -> Option<Verified<Targets>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get(role)?;
        let same = known.entry == *entry && known.delegator.same_file(delegator);
        same.then(|| known.content.clone())
    }

    fn remember(
        &self,
        role: RoleName,
        entry: &MetaFile,
        delegator: &Verified<Targets>,
        content: &Verified<Targets>,
    ) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_REMEMBERED && !known.contains_key(&role) {
            known.clear();
        }
        let (entry, delegator, content) = (entry.clone(), delegator.clone(), content.clone());
        known.insert(role, Known { entry, delegator, content });
    }
}

/// The project that a target belongs to.
pub(crate) fn project_of_target(target: &TargetPath) -> Option<ProjectName> {
    let segments: Vec<_> = target.as_str().split('/').collect();
    let ([layout::SIMPLE, name, _] | [name, _]) = segments.as_slice() else { return None };
    ProjectName::from_normalised(name).ok()
}

fn matching(delegator: &Targets, target: &TargetPath) -> Result<Vec<RoleName>, RepositoryError> {
    let Some(delegations) = &delegator.delegations else { return Ok(Vec::new()) };
    Ok(delegations.matching(target)?.into_iter().map(|matched| matched.role).collect())
}
