//! What changed between two snapshots, target by target.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::state::{BINS, State, read};
use super::{MAX_METADATA, Repository, RepositoryError, layout};
use crate::tuf::metadata::{MetaFile, Snapshot, TargetFile, Targets, TopLevel, Version};
use crate::tuf::path::RoleName;
use crate::tuf::signed::{Signed, Verified};

/// What happened to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It has other content.
    Changed,
}

/// The difference between two snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The older snapshot.
    pub from: Version,
    /// The newer one.
    pub to: Version,
    /// Roles with another version: name, old, new; a version of 0 means absent.
    pub roles: Vec<(String, Version, Version)>,
    /// Targets, by path.
    pub targets: Vec<(String, Change)>,
}

impl Repository {
    /// Compares two snapshots that are still there.
    pub async fn diff(&self, from: Version, to: Version) -> Result<Difference, RepositoryError> {
        let state = self.state().await?;
        let (old, new) = (self.snapshot(&state, from).await?, self.snapshot(&state, to).await?);
        let mut difference = Difference { from, to, roles: Vec::new(), targets: Vec::new() };
        let names: BTreeSet<&str> = old.roles().chain(new.roles()).map(|(role, _)| role).collect();
        for role in names {
            let (before, after) = (old.role(role), new.role(role));
            let version = |file: Option<&MetaFile>| file.map_or(0, |file| file.version);
            if version(before) == version(after) {
                continue;
            }
            difference.roles.push((role.to_owned(), version(before), version(after)));
            let before = self.listed(&state, role, before).await?;
            let after = self.listed(&state, role, after).await?;
            difference.targets.extend(compare(&before, &after));
        }
        difference.targets.sort();
        Ok(difference)
    }

    async fn snapshot(&self, state: &State, version: Version) -> Result<Verified<Snapshot>, RepositoryError> {
        let at = layout::versioned("snapshot", version)?;
        let object = self.store().get(&at, MAX_METADATA).await?;
        let bytes = object.ok_or(RepositoryError::NoSnapshot(version))?.bytes;
        Ok(Signed::new(bytes).verify(&state.root.authority(TopLevel::Snapshot))?)
    }

    /// The targets of a bin at some version; other roles list none.
    async fn listed(
        &self,
        state: &State,
        role: &str,
        file: Option<&MetaFile>,
    ) -> Result<BTreeMap<String, TargetFile>, RepositoryError> {
        let (Some(file), Ok(role)) = (file, RoleName::delegated(role)) else { return Ok(BTreeMap::new()) };
        let delegator = RoleName::delegated(BINS)?;
        let Ok(authority) = state.bin_authority(&delegator, &role) else { return Ok(BTreeMap::new()) };
        let metadata: Verified<Targets> = read(self.store(), &[authority], file).await?;
        Ok(metadata.targets.clone())
    }
}

fn compare(
    before: &BTreeMap<String, TargetFile>,
    after: &BTreeMap<String, TargetFile>,
) -> Vec<(String, Change)> {
    let gone =
        before.keys().filter(|path| !after.contains_key(*path)).map(|path| (path.clone(), Change::Removed));
    let other = after.iter().filter_map(|(path, file)| match before.get(path) {
        None => Some((path.clone(), Change::Added)),
        Some(old) if old != file => Some((path.clone(), Change::Changed)),
        Some(_) => None,
    });
    gone.chain(other).collect()
}
