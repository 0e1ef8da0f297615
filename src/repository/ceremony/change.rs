//! A change at once, if the keys at hand are enough; else a ceremony that waits for the others.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::build::{Edits, RoleEdit, Subject};
use super::error::CeremonyError;
use super::event::{Event, EventName};
use super::finish::{Finished, Gate};
use crate::repository::bulk::bin_count;
use crate::repository::init::{RolePlan, check_bin_count};
use crate::repository::keyring::Keyring;
use crate::repository::{MAX_ATTEMPTS, Progress, Repository, RepositoryError, Unwatched};
use crate::store::StoreError;
use crate::tuf::metadata::{TopLevel, Version};

/// Outcome of a change.
#[derive(Debug)]
pub enum Changed {
    /// It is published.
    Done(Finished),
    /// It waits in `staging/`.
    Waiting {
        /// The ceremony, with the signatures of the keys at hand.
        event: Box<Event>,
        /// What it waits for.
        why: RepositoryError,
    },
}

/// Outcome of a resize.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resized {
    /// There are so many bins already.
    Unchanged,
    /// There are now.
    Done {
        /// Targets that were sorted anew.
        targets: u64,
        /// Version of the snapshot that has the new bins.
        snapshot: Version,
    },
    /// A ceremony waits for signatures.
    Proposed {
        /// Its name.
        ceremony: String,
        /// What it waits for.
        why: String,
    },
}

impl Event {
    /// Signs with all keys at hand that count for anything.
    pub async fn sign_with(&mut self, keys: &Keyring, now: DateTime<Utc>) -> Result<(), RepositoryError> {
        for signer in keys.signers() {
            match self.sign(signer, None, now).await {
                Ok(_)
                | Err(RepositoryError::Ceremony(
                    CeremonyError::Stranger { .. } | CeremonyError::SignedBefore { .. },
                )) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether both propose the same, dates and versions aside.
    fn proposes_as(&self, other: &Self) -> bool {
        let undated = |event: &Self| -> Vec<_> {
            let roles = event.proposals.iter().map(|proposal| {
                let mut role = proposal.role.clone();
                let common = role.common_mut();
                (common.version, common.expires) = (0, DateTime::UNIX_EPOCH);
                role
            });
            roles.collect()
        };
        undated(self) == undated(other)
    }

    /// An error that tells which keys are missing, unless those at hand reach every threshold.
    fn require(&self, keys: &Keyring) -> Result<(), RepositoryError> {
        for proposal in &self.proposals {
            let delegators = self.delegators(&proposal.role)?;
            let is_root = proposal.role.name() == "root";
            for authority in delegators.old.filter(|_| is_root).into_iter().chain([delegators.new]) {
                keys.require(&authority)?;
            }
        }
        Ok(())
    }
}

impl Repository {
    /// Publishes `edits` at once if the keys at hand suffice; else keeps the ceremony `name`, signed as far as it goes.
    /// A ceremony of that name which proposes the same is gone on with.
    pub async fn change(
        &self,
        name: &EventName,
        edits: &Edits,
        keys: &Keyring,
        gate: Option<&dyn Gate>,
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Result<Changed, RepositoryError> {
        let event = self.draft(name.clone(), edits, now).await?;
        self.hold(event, keys, gate, now, progress).await
    }

    /// The same for a ceremony that was made already.
    pub async fn hold(
        &self,
        mut event: Event,
        keys: &Keyring,
        gate: Option<&dyn Gate>,
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Result<Changed, RepositoryError> {
        match self.ceremony(event.name()).await {
            Ok(waiting) if waiting.proposes_as(&event) => event = waiting,
            Ok(_) => return Err(CeremonyError::Taken(event.name().to_string()).into()),
            Err(RepositoryError::Ceremony(CeremonyError::Unknown(_))) => {}
            Err(error) => return Err(error),
        }
        event.sign_with(keys, now).await?;
        match self.finish(&event, keys, gate, now, progress).await {
            Ok(finished) => Ok(Changed::Done(finished)),
            Err(
                why @ (RepositoryError::KeysMissing { .. }
                | RepositoryError::Ceremony(CeremonyError::Unsigned { .. } | CeremonyError::Unproven(_))),
            ) => Ok(Changed::Waiting { event: Box::new(self.keep(&event).await?), why }),
            Err(error) => Err(error),
        }
    }

    /// Gives a top-level role the keys of `plan`. All keys that this needs are at hand. Returns root's version.
    pub async fn rotate(
        &self,
        keys: &Keyring,
        role: TopLevel,
        plan: &RolePlan,
        now: DateTime<Utc>,
    ) -> Result<Version, RepositoryError> {
        plan.check(role.name())?;
        let subject = match role {
            TopLevel::Root => Subject::Root,
            TopLevel::Timestamp => Subject::Timestamp,
            TopLevel::Snapshot => Subject::Snapshot,
            TopLevel::Targets => Subject::Targets,
        };
        let roles = vec![
            (subject, RoleEdit::Keys(plan.keys.clone())),
            (subject, RoleEdit::Threshold(plan.threshold)),
        ];
        let edits = Edits { roles, bins: None, log_policy: None };
        for _ in 0..MAX_ATTEMPTS {
            let mut event = self.draft(EventName::new("at-once")?, &edits, now).await?;
            event.require(keys)?;
            event.sign_with(keys, now).await?;
            match self.finish(&event, keys, None, now, &Unwatched).await {
                Err(
                    RepositoryError::Store(StoreError::Conflict { .. })
                    | RepositoryError::Ceremony(CeremonyError::Stale { .. }),
                ) => {}
                done => return done.map(|finished| finished.root),
            }
        }
        Err(RepositoryError::Busy(MAX_ATTEMPTS))
    }

    /// Changes the number of bins to `count`, a power of two from 2 to 65,536. The style of delegation stays.
    pub async fn resize_bins(
        &self,
        keys: &Keyring,
        count: u32,
        gate: Option<&dyn Gate>,
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Result<Resized, RepositoryError> {
        check_bin_count(count)?;
        let name = EventName::new(format!("bins-{count}"))?;
        let edits = Edits { roles: Vec::new(), bins: Some(count), log_policy: None };
        for _ in 0..MAX_ATTEMPTS {
            if u64::from(count) == bin_count(&self.state().await?.bins)? {
                return Ok(Resized::Unchanged);
            }
            match self.change(&name, &edits, keys, gate, now, progress).await {
                // What others signed before `bins` changed is of no use any more.
                Err(RepositoryError::Ceremony(CeremonyError::Stale { .. })) => {
                    self.abandon_if_there(&name).await?;
                }
                Err(error) => return Err(error),
                Ok(Changed::Done(Finished { sorted, snapshot, .. })) => {
                    return Ok(Resized::Done { targets: sorted.unwrap_or(0), snapshot });
                }
                Ok(Changed::Waiting { event, why }) => {
                    let (ceremony, why) = (event.name().to_string(), why.to_string());
                    return Ok(Resized::Proposed { ceremony, why });
                }
            }
        }
        Err(RepositoryError::Busy(MAX_ATTEMPTS))
    }

    async fn abandon_if_there(&self, name: &EventName) -> Result<(), RepositoryError> {
        match self.abandon(name).await {
            Err(RepositoryError::Ceremony(CeremonyError::Unknown(_))) => Ok(()),
            done => done,
        }
    }
}
