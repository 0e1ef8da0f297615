//! What the snapshots that are kept name: for `gc`, which removes the rest, and for `fsck`, which looks for each of it.
//!
//! A role has one version in each snapshot, mostly the same as in the snapshot before. So versions are gathered first,
//! a few numbers for each role, and then each role is read, on every core, from its newest version to its oldest. Two
//! versions of one role are in memory at once, whatever number of targets or snapshots there is.
//!
//! An older version is held against the delegations of its time: bins that were since made more or fewer, or have new
//! keys, were fine when their snapshot was made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::bins::in_order;
use super::claims::names::{Family, is_claim_name};
use super::init::MAX_BIN_BITS;
use super::state::{BINS, State, read};
use super::{MAX_METADATA, Progress, Repository, RepositoryError, layout};
use crate::store::StorePath;
use crate::tuf::delegations::hex_digits;
use crate::tuf::held::Held;
use crate::tuf::metadata::{MetaFile, Snapshot, Targets, TopLevel, Version};
use crate::tuf::path::RoleName;
use crate::tuf::signed::{Authority, Signed, Verified};

/// Name of the top-level role.
const TARGETS: &str = "targets";

/// What some snapshots name.
#[derive(Debug)]
pub(super) struct Kept {
    state: State,
    /// Snapshots of which something is kept, by version.
    pub(super) snapshots: Vec<Version>,
    /// What the snapshots say of each role, each version once, the newest first.
    roles: BTreeMap<String, Vec<MetaFile>>,
    /// All versions of the roles that delegate.
    delegators: Vec<(RoleName, Verified<Targets>)>,
}

/// One version of a role, as read back.
pub(super) struct KeptRole {
    pub(super) name: String,
    pub(super) at: StorePath,
    /// Whether the current snapshot names this version.
    pub(super) current: bool,
    /// What it says; `None` for a role that nobody delegates to.
    pub(super) found: Option<Result<Verified<Targets>, RepositoryError>>,
}

impl KeptRole {
    /// Whether it is a role that nobody delegates to any more: snapshot entries never disappear, because clients would
    /// take that for a rollback, but nobody will ask for its file.
    pub(super) fn retired(&self) -> bool {
        self.found.is_none() && may_retire(&self.name)
    }
}

/// Whether a role may be one that nobody delegates to any more: a bin, a bucket of claimed projects, or a project.
pub(super) fn may_retire(role: &str) -> bool {
    is_bin_name(role) || is_claim_name(role)
}

/// Whether a role is a bin by its name, `bins-` and as few hexadecimal digits as its number of bins needs: so both styles
/// of delegation name them. Any other name that begins like it is somebody else's.
pub(super) fn is_bin_name(role: &str) -> bool {
    let digits = role.strip_prefix(BINS).and_then(|rest| rest.strip_prefix('-'));
    digits.is_some_and(|digits| {
        (1..=hex_digits(MAX_BIN_BITS)).contains(&digits.len())
            && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Whether a role is a retired bin in this state, see [`KeptRole::retired`].
pub(super) fn is_retired(state: &State, role: &str) -> bool {
    let delegations = state.bins.delegations.as_ref();
    let delegated = |name: &RoleName| delegations.is_some_and(|known| known.role(name).is_some());
    is_bin_name(role) && RoleName::delegated(role).is_ok_and(|name| !delegated(&name))
}

impl Repository {
    /// What these snapshots name; the current one is that of `state`. Older ones that are gone, or that the current
    /// root does not vouch for, name nothing: no client can use them.
    pub(super) async fn kept(&self, state: &State, versions: &[Version]) -> Result<Kept, RepositoryError> {
        let mut kept = Kept {
            state: state.clone(),
            snapshots: Vec::new(),
            roles: BTreeMap::new(),
            delegators: Vec::new(),
        };
        for version in versions {
            if let Some(snapshot) = self.kept_snapshot(state, *version).await? {
                kept.add(*version, &snapshot);
            }
        }
        kept.delegators = self.kept_delegators(&kept).await?;
        Ok(kept)
    }

    async fn kept_snapshot(
        &self,
        state: &State,
        version: Version,
    ) -> Result<Option<Held<Snapshot>>, RepositoryError> {
        // While keys rotate, the current one is perhaps not signed as the newest root says.
        if version == state.snapshot.common.version {
            return Ok(Some(state.snapshot.clone()));
        }
        let object = self.store.get(&layout::versioned("snapshot", version)?, MAX_METADATA).await?;
        let authority = state.root.authority(TopLevel::Snapshot);
        Ok(object.and_then(|object| Signed::new(object.bytes).verify(&authority).ok()).map(Held::from))
    }

    /// Top-level targets, those it delegates to, and buckets of claimed projects, as far as they delegate in turn.
    async fn kept_delegators(
        &self,
        kept: &Kept,
    ) -> Result<Vec<(RoleName, Verified<Targets>)>, RepositoryError> {
        let (store, state) = (&*self.store, &kept.state);
        let top = RoleName::targets();
        let mut delegators = vec![(top.clone(), state.targets.clone())];
        for file in kept.versions(TARGETS).iter().skip(1) {
            let older = read(store, &[state.root.authority(TopLevel::Targets)], file).await;
            delegators.extend(older.ok().map(|older| (top.clone(), older)));
        }
        let listed = |(_, targets): &(_, Verified<Targets>)| {
            let names = targets.delegations.iter().flat_map(|delegations| delegations.names());
            names.filter_map(Result::ok).collect::<Vec<_>>()
        };
        let mut names: Vec<RoleName> = delegators.iter().flat_map(listed).collect();
        names.sort();
        names.dedup();
        let mut below = BTreeSet::new();
        for name in names {
            let found = self.kept_versions(kept, &delegators, &name).await;
            // Buckets of claimed projects delegate in turn; bins, of which there are many, do not.
            if Family::BOTH.iter().any(|family| family.name() == name.as_str()) {
                below.extend(found.iter().flat_map(listed));
            }
            delegators.extend(found);
        }
        for name in below {
            let found = self.kept_versions(kept, &delegators, &name).await;
            delegators.extend(found);
        }
        Ok(delegators)
    }

    /// All versions of a role that delegates. What is wrong with one that cannot be read is found when its turn comes.
    async fn kept_versions(
        &self,
        kept: &Kept,
        delegators: &[(RoleName, Verified<Targets>)],
        name: &RoleName,
    ) -> Vec<(RoleName, Verified<Targets>)> {
        let (authorities, mut versions) = (authorities(delegators, name), Vec::new());
        for file in kept.versions(name.as_str()) {
            let found: Result<Verified<Targets>, _> = read(&*self.store, &authorities, file).await;
            let delegates = found.ok().filter(|found| found.delegations.is_some());
            versions.extend(delegates.map(|found| (name.clone(), found)));
        }
        versions
    }

    /// Reads all versions of all roles. `look` sees each on a thread of its own, with the next newer version of the same
    /// role; `visit` gets what it returned, role by role.
    pub(super) async fn for_each_kept<R: Send + 'static>(
        &self,
        kept: &Arc<Kept>,
        what: &'static str,
        progress: &dyn Progress,
        look: impl Fn(&KeptRole, Option<&Targets>) -> Result<R, RepositoryError> + Send + Sync + 'static,
        mut visit: impl FnMut(R) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        let names: Vec<String> = kept.roles.keys().cloned().collect();
        let total = u64::try_from(names.len()).unwrap_or(u64::MAX);
        let (repository, shared, look) = (self.clone(), Arc::clone(kept), Arc::new(look));
        let work = move |name: String| {
            let (repository, kept, look) = (repository.clone(), Arc::clone(&shared), Arc::clone(&look));
            async move {
                let (mut results, mut newer) = (Vec::new(), None);
                for (at, file) in kept.versions(&name).iter().enumerate() {
                    let role = repository.kept_role(&kept, &name, file, at == 0).await?;
                    results.push(look(&role, newer.as_deref())?);
                    newer = role.found.and_then(Result::ok).or(newer);
                }
                Ok(results)
            }
        };
        let mut done = 0;
        in_order(names, work, |results| {
            done += 1;
            progress.at(what, done, total);
            results.into_iter().try_for_each(&mut visit)
        })
        .await
    }

    async fn kept_role(
        &self,
        kept: &Kept,
        name: &str,
        file: &MetaFile,
        current: bool,
    ) -> Result<KeptRole, RepositoryError> {
        let at = layout::versioned(name, file.version)?;
        let found = if name != TARGETS {
            let role = RoleName::delegated(name)?;
            let authorities = authorities(&kept.delegators, &role);
            if authorities.is_empty() { None } else { Some(read(&*self.store, &authorities, file).await) }
        } else if current {
            // Verified already, and while keys rotate perhaps not as the newest root says.
            Some(Ok(kept.state.targets.clone()))
        } else {
            Some(read(&*self.store, &[kept.state.root.authority(TopLevel::Targets)], file).await)
        };
        Ok(KeptRole { name: name.to_owned(), at, current, found })
    }
}

impl Kept {
    fn add(&mut self, version: Version, snapshot: &Snapshot) {
        self.snapshots.push(version);
        let current = version == self.state.snapshot.common.version;
        for (role, file) in snapshot.roles() {
            // The first version of each is the current one. What the current snapshot does not list is nothing's.
            match self.roles.get_mut(role) {
                Some(files) if files.last() != Some(file) => files.push(file.clone()),
                None if current => drop(self.roles.insert(role.to_owned(), vec![file.clone()])),
                _ => {}
            }
        }
    }

    fn versions(&self, role: &str) -> &[MetaFile] {
        self.roles.get(role).map_or(&[], Vec::as_slice)
    }
}

/// All that any delegator says of a role.
fn authorities<'a>(
    delegators: &'a [(RoleName, Verified<Targets>)],
    role: &'a RoleName,
) -> Vec<Authority<'a>> {
    let says = |(name, metadata): &'a (RoleName, Verified<Targets>)| {
        metadata.delegations.as_ref().and_then(|delegations| delegations.authority(name, role))
    };
    delegators.iter().filter_map(says).collect()
}

#[cfg(test)]
mod tests {
    use super::super::init::prefixed;
    use super::*;
    use crate::tuf::metadata::{Extra, SuccinctRoles};

    #[test]
    fn the_names_of_bins_are_those_of_both_styles_and_no_others() {
        for bit_length in 1..=MAX_BIN_BITS {
            let (keyids, name_prefix, extra) = (Vec::new(), BINS.to_owned(), Extra::new());
            let bins = SuccinctRoles { keyids, threshold: 1, bit_length, name_prefix, extra };
            for bin in [0, 1, bins.count() - 1] {
                assert!(is_bin_name(bins.role_at(bin).unwrap().as_str()));
            }
            assert!(prefixed(&bins).unwrap().iter().all(|role| is_bin_name(role.name.as_str())));
        }
        for other in [
            "bins",
            "bins-",
            "binsette",
            "bins0",
            "bins-0F",
            "bins-00000",
            "bins-0g",
            "bins-0-0",
            "claimed",
            "targets",
        ] {
            assert!(!is_bin_name(other), "{other}");
        }
    }
}
