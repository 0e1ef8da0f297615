//! What a bucket of `claimed` is to be, said by what changes: what it takes over from a bucket that there is, and which
//! projects come. Pure.
//!
//! Ceremonies carry these instead of whole files: of hundreds of projects in a bucket, a handful changes.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::names::PROJECT;
use super::tree::{Owners, project_delegation};
use crate::python::ProjectName;
use crate::repository::RepositoryError;
use crate::tuf::metadata::Version;
use crate::tuf::path::RoleName;
use crate::tuf::roster::{Arrivals, Roster};
use crate::tuf::signed::Payload;

/// A bucket as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BucketEdit {
    /// Its name.
    pub(crate) role: RoleName,
    /// The bucket that it goes on from: itself, or one that gives way to it and others. `None`: it begins empty.
    pub(crate) from: Option<RoleName>,
    /// What it takes over.
    pub(crate) take: Take,
    /// Projects that come, or get other owners.
    pub(crate) put: BTreeMap<ProjectName, Owners>,
}

/// Projects of a bucket, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Take {
    /// All others than these.
    AllBut(BTreeSet<String>),
    /// These.
    Only(BTreeSet<String>),
}

impl Take {
    /// Whether a role of the old bucket goes on in the new one.
    pub(crate) fn takes(&self, role: &str) -> bool {
        let project = role.strip_prefix(PROJECT);
        match self {
            Self::AllBut(without) => project.is_none_or(|project| !without.contains(project)),
            Self::Only(only) => project.is_some_and(|project| only.contains(project)),
        }
    }
}

impl BucketEdit {
    /// The same bucket, signed again.
    pub(crate) fn renewal(role: RoleName) -> Self {
        Self { from: Some(role.clone()), role, take: Take::AllBut(BTreeSet::new()), put: BTreeMap::new() }
    }

    /// What is signed, if `old` is what [`Self::from`] names.
    pub(crate) fn payload(
        &self,
        old: &Roster,
        version: Version,
        expires: DateTime<Utc>,
    ) -> Result<Payload, RepositoryError> {
        let mut arrivals = Arrivals::default();
        for (project, owners) in &self.put {
            owners.check(project)?;
            let delegation = project_delegation(project, owners)?;
            arrivals.roles.insert(delegation.name.clone(), delegation);
            arrivals.keys.extend(owners.keys.clone());
        }
        Ok(old.edited(version, expires, |role| self.take.takes(role), &arrivals))
    }
}
