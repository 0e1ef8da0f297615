//! What an admin wants to know at a glance: versions, expiry, thresholds, who has signed.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::claims::{Bucket, Owned};
use super::kept::is_bin_name;
use super::settings::Expiry;
use super::state::{BINS, RECENTLY_CLAIMED, State, authority};
use super::trail::{Link, Signer};
use super::{Progress, Repository, RepositoryError};
use crate::tuf::metadata::Targets;
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Top-level and delegated roles, without bins.
    pub roles: Vec<RoleStatus>,
    /// How many bins there are.
    pub bins: u64,
    /// The bin that expires first.
    pub first_bin: Option<RoleStatus>,
    /// How many projects are claimed.
    #[serde(skip_serializing_if = "is_none")]
    pub claimed: u64,
    /// The bucket of claimed projects that expires first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_bucket: Option<RoleStatus>,
    /// The claimed project whose role expires first. Its maintainers alone can sign it anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_project: Option<RoleStatus>,
    /// How many claimed projects have a role that has expired.
    #[serde(skip_serializing_if = "is_none")]
    pub expired_projects: u64,
    /// Target files, with pages and metadata files.
    pub targets: u64,
    /// Projects with a page.
    pub projects: u64,
}

impl RoleStatus {
    /// As a link has it.
    pub fn of(link: &Link, now: DateTime<Utc>) -> Self {
        let ids = |keys: &[Signer]| keys.iter().map(|key| key.keyid.clone()).collect();
        Self {
            role: link.role.clone(),
            version: link.version,
            expires: link.expires,
            expired: link.expires <= now,
            threshold: link.threshold,
            keys: ids(&link.may_sign),
            signed_by: ids(&link.signed_by),
        }
    }
}

impl Status {
    /// All roles that are listed by themselves, and of bins, buckets and projects the first to expire.
    pub fn every(&self) -> impl Iterator<Item = &RoleStatus> {
        self.of_the_index().chain(&self.first_project)
    }

    /// The same without projects: what the index and its admins sign.
    pub fn of_the_index(&self) -> impl Iterator<Item = &RoleStatus> {
        self.roles.iter().chain(&self.first_bin).chain(&self.first_bucket)
    }

    /// Those of the index that have expired or will `within` this time: projects' roles are their maintainers' business.
    /// Online roles are signed anew when half of their life is left,
    /// so they count only when less than a third of it is: then nobody does.
    pub fn expiring(&self, within: TimeDelta, expiry: &Expiry, now: DateTime<Utc>) -> Vec<&RoleStatus> {
        let limit = |role: &RoleStatus| match life_online(&role.role, expiry) {
            Some(days) => within.min(TimeDelta::hours(i64::from(days) * 8)),
            None => within,
        };
        self.of_the_index().filter(|role| role.expired || role.expires - now <= limit(role)).collect()
    }
}

/// The days that a role lives if it is signed online.
fn life_online(role: &str, expiry: &Expiry) -> Option<u32> {
    match role {
        "timestamp" => Some(expiry.timestamp),
        "snapshot" => Some(expiry.snapshot),
        _ if is_bin_name(role) || role.starts_with(RECENTLY_CLAIMED) => Some(expiry.bin_n),
        _ => None,
    }
}

impl Repository {
    /// Reads every role.
    pub async fn status(
        &self,
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Result<Status, RepositoryError> {
        let state = self.state().await?;
        let links = self.index_links(&state).await?;
        let roles = links.iter().map(|link| RoleStatus::of(link, now)).collect();
        let mut status = Status {
            roles,
            bins: 0,
            first_bin: None,
            claimed: 0,
            first_bucket: None,
            first_project: None,
            expired_projects: 0,
            targets: 0,
            projects: 0,
        };
        self.add_bins(&state, &mut status, now, progress).await?;
        self.add_projects(&state, &mut status, now, progress).await?;
        Ok(status)
    }

    async fn add_projects(
        &self,
        state: &State,
        status: &mut Status,
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Result<(), RepositoryError> {
        for Bucket { delegator, said, name, content, .. } in self.all_buckets(state).await? {
            first_to_expire(
                &mut status.first_bucket,
                about(&content, &authority(&delegator, &said, &name)?, now),
            );
        }
        let look = move |owned: &Owned, role: &Verified<Targets>| {
            let pages = role.targets.keys().filter(|path| path.starts_with("simple/")).count();
            let about = about(role, &authority(&owned.bucket, &owned.delegator, &owned.role)?, now);
            Ok((about, role.targets.len(), pages))
        };
        self.for_each_project(state, "reading projects", progress, look, |(project, targets, pages)| {
            status.expired_projects += u64::from(project.expired);
            first_to_expire(&mut status.first_project, project);
            status.claimed += 1;
            status.targets += count(targets);
            status.projects += count(pages);
            Ok(())
        })
        .await
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
            let about = about(bin, &authority(&delegator, &delegations, name)?, now);
            Ok((about, bin.targets.len(), pages))
        };
        self.for_each_bin(state, "reading bins", progress, look, |(bin, targets, pages)| {
            first_to_expire(&mut status.first_bin, bin);
            status.bins += 1;
            status.targets += count(targets);
            status.projects += count(pages);
            Ok(())
        })
        .await
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_none(claimed: &u64) -> bool {
    *claimed == 0
}

fn first_to_expire(first: &mut Option<RoleStatus>, role: RoleStatus) {
    if first.as_ref().is_none_or(|first| role.expires < first.expires) {
        *first = Some(role);
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn about(metadata: &Verified<Targets>, authority: &Authority<'_>, now: DateTime<Utc>) -> RoleStatus {
    RoleStatus::of(&Link::new(&metadata.common, metadata.signers(), authority), now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expired_project_is_told_and_is_not_the_indexs_business() {
        let project = RoleStatus {
            role: "project-six".to_owned(),
            version: 1,
            expires: DateTime::UNIX_EPOCH,
            expired: true,
            threshold: 1,
            keys: Vec::new(),
            signed_by: Vec::new(),
        };
        let bucket = RoleStatus { role: "claimed-0000".to_owned(), ..project.clone() };
        let mut status = Status { first_project: Some(project.clone()), ..Status::default() };
        let expiry = Expiry { root: 365, targets: 365, bin_n: 30, snapshot: 14, timestamp: 7 };
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(1);
        assert_eq!(status.expiring(TimeDelta::days(7), &expiry, now), Vec::<&RoleStatus>::new());
        assert_eq!(status.every().collect::<Vec<_>>(), [&project]);
        status.first_bucket = Some(bucket.clone());
        assert_eq!(status.expiring(TimeDelta::zero(), &expiry, now), [&bucket]);
    }
}
