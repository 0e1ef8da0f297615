//! What changed between two snapshots, target by target.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use super::bins::in_order;
use super::state::{BINS, State, authority, read};
use super::{MAX_METADATA, Repository, RepositoryError, layout};
use crate::tuf::metadata::{MetaFile, Snapshot, Table, Targets, TopLevel, Version};
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
    /// Compares two snapshots that are still there. Only bins whose version differs are read.
    pub async fn diff(&self, from: Version, to: Version) -> Result<Difference, RepositoryError> {
        let state = self.state().await?;
        let (old, new) = (self.snapshot(&state, from).await?, self.snapshot(&state, to).await?);
        let mut difference = Difference { from, to, roles: Vec::new(), targets: Vec::new() };
        let names: BTreeSet<&str> = old.roles().chain(new.roles()).map(|(role, _)| role).collect();
        let files = names.into_iter().map(|role| (role, old.role(role).cloned(), new.role(role).cloned()));
        let changed: Vec<_> =
            files.filter(|(_, before, after)| version(before.as_ref()) != version(after.as_ref())).collect();
        for (role, before, after) in &changed {
            difference.roles.push(((*role).to_owned(), version(before.as_ref()), version(after.as_ref())));
        }
        let changed = changed.into_iter().map(|(role, before, after)| (role.to_owned(), before, after));
        let (repository, state) = (self.clone(), Arc::new(state));
        let look = move |(role, before, after): (String, Option<MetaFile>, Option<MetaFile>)| {
            let (repository, state) = (repository.clone(), Arc::clone(&state));
            async move {
                let before = repository.listed(&state, &role, before.as_ref()).await?;
                let after = repository.listed(&state, &role, after.as_ref()).await?;
                Ok(compare(before.as_ref(), after.as_ref()))
            }
        };
        in_order(changed, look, |changes| {
            difference.targets.extend(changes);
            Ok(())
        })
        .await?;
        difference.targets.sort();
        Ok(difference)
    }

    async fn snapshot(&self, state: &State, version: Version) -> Result<Verified<Snapshot>, RepositoryError> {
        let at = layout::versioned("snapshot", version)?;
        let object = self.store().get(&at, MAX_METADATA).await?;
        let bytes = object.ok_or(RepositoryError::NoSnapshot(version))?.bytes;
        Ok(Signed::new(bytes).verify(&state.root.authority(TopLevel::Snapshot))?)
    }

    /// The targets of a bin at some version, or of a project, if those who own it now signed it; other roles list none.
    async fn listed(
        &self,
        state: &State,
        role: &str,
        file: Option<&MetaFile>,
    ) -> Result<Option<Verified<Targets>>, RepositoryError> {
        let (Some(file), Ok(role)) = (file, RoleName::delegated(role)) else { return Ok(None) };
        if let Some(owned) = self.owned_role(state, &role).await? {
            let authority = authority(&owned.bucket, &owned.delegator, &owned.role)?;
            return Ok(read(self.store(), &[authority], file).await.ok());
        }
        let delegator = RoleName::delegated(BINS)?;
        let Ok(authority) = state.bin_authority(&delegator, &role) else { return Ok(None) };
        Ok(Some(read(self.store(), &[authority], file).await?))
    }
}

/// 0 for what is absent.
fn version(file: Option<&MetaFile>) -> Version {
    file.map_or(0, |file| file.version)
}

fn compare(before: Option<&Verified<Targets>>, after: Option<&Verified<Targets>>) -> Vec<(String, Change)> {
    let none = Table::new();
    let before = before.map_or(&none, |bin| &bin.targets);
    let after = after.map_or(&none, |bin| &bin.targets);
    let gone =
        before.keys().filter(|path| !after.contains_key(path)).map(|path| (path.to_owned(), Change::Removed));
    let other = after.iter().filter_map(|(path, file)| match before.get(path) {
        None => Some((path.to_owned(), Change::Added)),
        Some(old) if old != file => Some((path.to_owned(), Change::Changed)),
        Some(_) => None,
    });
    gone.chain(other).collect()
}
