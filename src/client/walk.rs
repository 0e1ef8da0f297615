//! Every role of a snapshot, one level of delegations after the other: to learn which targets there may be. What a role
//! lists is not yet signed by whom it should be: [`Session::find`] says that, path by path.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::{ClientError, Session};
use crate::tuf::lookup::Edge;
use crate::tuf::metadata::Targets;
use crate::tuf::path::RoleName;
use crate::tuf::signed::Verified;

/// A role that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// The role.
    pub role: RoleName,
    /// Why.
    pub error: ClientError,
}

impl Session {
    /// Shows `visit` every role that can be reached, at most `jobs` being fetched at once; those that could not be read are
    /// handed back. `told` is called with how many of how many known so far were visited.
    pub async fn walk(
        &self,
        jobs: NonZeroUsize,
        visit: &(dyn Fn(&Targets) + Sync),
        told: &(dyn Fn(u64, u64) + Sync),
    ) -> Vec<Unread> {
        self.walk_some(jobs, &|_| true, visit, told).await
    }

    /// The same for those roles alone that `wanted` says, and what is below them.
    pub async fn walk_some(
        &self,
        jobs: NonZeroUsize,
        wanted: &(dyn Fn(&RoleName) -> bool + Sync),
        visit: &(dyn Fn(&Targets) + Sync),
        told: &(dyn Fn(u64, u64) + Sync),
    ) -> Vec<Unread> {
        let top = self.with_trusted(|trusted| trusted.targets().clone());
        visit(&top);
        let (mut unread, mut seen, mut done) = (Vec::new(), HashSet::new(), 0);
        let mut level = self.below(&[(RoleName::targets(), top)].into(), wanted, &mut seen);
        let mut known = count(&level);
        while !level.is_empty() {
            let roles =
                stream::iter(std::mem::take(&mut level)).map(async |edge| (self.role(&edge).await, edge));
            let mut roles = std::pin::pin!(roles.buffer_unordered(jobs.get()));
            while let Some((role, edge)) = roles.next().await {
                match role {
                    Ok(Some(role)) => {
                        visit(&role);
                        let chain = edge.chain().iter().cloned().chain([(edge.role().clone(), role)]);
                        let more = self.below(&chain.collect(), wanted, &mut seen);
                        known += count(&more);
                        level.extend(more);
                    }
                    Ok(None) => {}
                    Err(error) => unread.push(Unread { role: edge.role().clone(), error }),
                }
                done += 1;
                told(done, known);
            }
        }
        unread
    }

    /// The roles of the snapshot that the last of a chain delegates to, and that were not met before.
    fn below(
        &self,
        chain: &Arc<[(RoleName, Verified<Targets>)]>,
        wanted: &(dyn Fn(&RoleName) -> bool + Sync),
        seen: &mut HashSet<(RoleName, RoleName)>,
    ) -> Vec<Edge> {
        let Some((delegator, content)) = chain.last() else { return Vec::new() };
        let names = self.with_trusted(|trusted| {
            let delegations = content.delegations.iter();
            delegations.flat_map(|delegations| delegations.names_in(trusted.snapshot())).collect::<Vec<_>>()
        });
        let new =
            names.into_iter().filter(|name| wanted(name) && seen.insert((delegator.clone(), name.clone())));
        new.map(|name| Edge::new(Arc::clone(chain), name)).collect()
    }
}

fn count(edges: &[Edge]) -> u64 {
    u64::try_from(edges.len()).unwrap_or(u64::MAX)
}
