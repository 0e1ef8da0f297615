//! All claimed projects, one after the other: for what looks at everything.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::names::{Family, project_of_role};
use super::owner::Owned;
use super::tree::Owners;
use crate::repository::bins::in_order;
use crate::repository::state::State;
use crate::repository::{Progress, Repository, RepositoryError};
use crate::tuf::metadata::{Delegations, Targets};
use crate::tuf::path::RoleName;
use crate::tuf::signed::Verified;

/// A bucket, and who delegates to it.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) family: Family,
    pub(crate) delegator: RoleName,
    pub(crate) said: Verified<Targets>,
    pub(crate) name: RoleName,
    pub(crate) content: Verified<Targets>,
}

impl Repository {
    /// All buckets.
    pub(crate) async fn all_buckets(&self, state: &State) -> Result<Vec<Bucket>, RepositoryError> {
        let mut all = Vec::new();
        for family in Family::BOTH {
            for name in state.buckets(self.store(), family).await? {
                let delegator = RoleName::delegated(family.name())?;
                let said = state.family(self.store(), family).await?;
                let content = state.bucket(self.store(), family, &name).await?;
                all.push(Bucket { family, delegator, said, name, content });
            }
        }
        Ok(all)
    }

    /// The names of all buckets and claimed projects; what else snapshot has of such names is retired.
    pub(crate) async fn live_claims(&self, state: &State) -> Result<BTreeSet<String>, RepositoryError> {
        let buckets = self.all_buckets(state).await?.into_iter().map(|bucket| bucket.name.to_string());
        let projects = self.all_owned(state).await?.into_iter().map(|owned| owned.role.to_string());
        Ok(buckets.chain(projects).collect())
    }

    /// Every claimed project, as `claimed` or else `recently-claimed` delegates to it.
    pub(crate) async fn all_owned(&self, state: &State) -> Result<Vec<Owned>, RepositoryError> {
        let mut all: Vec<Owned> = Vec::new();
        let mut known = BTreeSet::new();
        for Bucket { family, name: bucket, content: delegator, .. } in self.all_buckets(state).await? {
            let names: Vec<RoleName> =
                delegator.delegations.iter().flat_map(Delegations::names).collect::<Result<_, _>>()?;
            for role in names {
                let Some(owners) = Owners::listed(&delegator, &role) else { continue };
                if known.insert(role.clone()) {
                    let (bucket, delegator) = (bucket.clone(), delegator.clone());
                    all.push(Owned { family, bucket, delegator, role, owners });
                }
            }
        }
        Ok(all)
    }

    /// Reads and verifies the roles of all claimed projects of `state`, as
    /// [`for_each_bin`](Repository::for_each_bin) does with bins.
    pub(crate) async fn for_each_project<R: Send + 'static>(
        &self,
        state: &State,
        what: &'static str,
        progress: &dyn Progress,
        look: impl Fn(&Owned, &Verified<Targets>) -> Result<R, RepositoryError> + Send + Sync + 'static,
        mut visit: impl FnMut(R) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        let all = self.all_owned(state).await?;
        let total = u64::try_from(all.len()).unwrap_or(u64::MAX);
        let (store, state, look) = (self.shared_store(), Arc::new(state.clone()), Arc::new(look));
        let work = move |owned: Owned| {
            let (store, state, look) = (Arc::clone(&store), Arc::clone(&state), Arc::clone(&look));
            async move { look(&owned, &state.project(&*store, &owned).await?) }
        };
        let mut done = 0;
        in_order(all, work, |found| {
            done += 1;
            progress.at(what, done, total);
            visit(found)
        })
        .await
    }

    /// Who owns the project of a role, if it is a claimed project's and somebody delegates to it.
    pub(crate) async fn owned_role(
        &self,
        state: &State,
        role: &RoleName,
    ) -> Result<Option<Owned>, RepositoryError> {
        match project_of_role(role.as_str()) {
            Some(project) => state.owned(self.store(), &project).await,
            None => Ok(None),
        }
    }
}
