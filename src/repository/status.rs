//! What an admin wants to know at a glance: versions, expiry, thresholds, who has signed.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::state::{BINS, CLAIMED, RECENTLY_CLAIMED, State, authority};
use super::{Progress, Repository, RepositoryError};
use crate::tuf::held::Held;
use crate::tuf::metadata::{Role, Targets, TopLevel};
use crate::tuf::path::RoleName;
use crate::tuf::signed::{Authority, Verified};

/// One role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoleStatus {
    /// Its name; for bins, of the one that expires first.
    pub role: String,
    /// Its version.
    pub version: u64,
    /// When it expires.
    pub expires: DateTime<Utc>,
    /// Whether it has.
    pub expired: bool,
    /// How many must sign.
    pub threshold: u64,
    /// The ids of the keys that may.
    pub keys: Vec<String>,
    /// The ids of those that did.
    pub signed_by: Vec<String>,
}

/// The whole repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Top-level and delegated roles, without bins.
    pub roles: Vec<RoleStatus>,
    /// How many bins there are.
    pub bins: u64,
    /// The bin that expires first.
    pub first_bin: Option<RoleStatus>,
    /// Target files, with pages and metadata files.
    pub targets: u64,
    /// Projects with a page.
    pub projects: u64,
}

impl Repository {
    /// Reads every role.
    pub async fn status(
        &self,
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Result<Status, RepositoryError> {
        let state = self.state().await?;
        let mut roles = vec![
            about(&state.root.clone().into(), &state.root.authority(TopLevel::Root), now),
            about(&state.timestamp, &state.root.authority(TopLevel::Timestamp), now),
            about(&state.snapshot, &state.root.authority(TopLevel::Snapshot), now),
            about(&state.targets.clone().into(), &state.root.authority(TopLevel::Targets), now),
        ];
        for name in [CLAIMED, RECENTLY_CLAIMED, BINS] {
            let (top, role) = (RoleName::targets(), RoleName::delegated(name)?);
            let Ok(authority) = authority(&top, &state.targets, &role) else { continue };
            roles.push(about(&state.delegated(self.store(), &role).await?.into(), &authority, now));
        }
        let mut status = Status { roles, bins: 0, first_bin: None, targets: 0, projects: 0 };
        self.add_bins(&state, &mut status, now, progress).await?;
        Ok(status)
    }

    async fn add_bins(
        &self,
        state: &State,
        status: &mut Status,
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Result<(), RepositoryError> {
        let (delegator, delegations) = (RoleName::delegated(BINS)?, state.bins.clone());
        let look = move |name: &RoleName, bin: &Verified<Targets>| {
            let pages = bin.targets.keys().filter(|path| path.starts_with("simple/")).count();
            let about = about(&bin.clone().into(), &authority(&delegator, &delegations, name)?, now);
            Ok((about, bin.targets.len(), pages))
        };
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        self.for_each_bin(state, "reading bins", progress, look, |(bin, targets, pages)| {
            if status.first_bin.as_ref().is_none_or(|first| bin.expires < first.expires) {
                status.first_bin = Some(bin);
            }
            status.bins += 1;
            status.targets += count(targets);
            status.projects += count(pages);
            Ok(())
        })
        .await
    }
}

fn about<T: Role>(metadata: &Held<T>, authority: &Authority<'_>, now: DateTime<Utc>) -> RoleStatus {
    let common = metadata.common();
    RoleStatus {
        role: authority.role().to_owned(),
        version: common.version,
        expires: common.expires,
        expired: common.expired(now),
        threshold: authority.threshold(),
        keys: authority.keys().map(|(id, _)| id.to_string()).collect(),
        signed_by: metadata.signers().iter().map(ToString::to_string).collect(),
    }
}
