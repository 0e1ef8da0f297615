//! Re-signing what expires soon, so that clients never see expired metadata.
//!
//! A role is due when less than half of its life is left. Online roles are re-signed at once; offline roles only if
//! their keys are at hand, and are reported otherwise. Due as well is what the newest root does not vouch for, because
//! a replacement of lost keys was interrupted.

use chrono::{DateTime, Utc};

use super::commit::{NewRole, Transaction};
use super::init::bin_names;
use super::keyring::Keyring;
use super::state::{BINS, CLAIMED, RECENTLY_CLAIMED, State, authority};
use super::{Progress, Repository, RepositoryError, days_after};
use crate::store::StoreError;
use crate::tuf::metadata::{Common, Targets, TopLevel};
use crate::tuf::path::RoleName;
use crate::tuf::signed::{Authority, Verified};

/// Attempts at a commit that other publishers overtake.
const MAX_ATTEMPTS: u32 = 100;

/// A role that is due, but whose keys are not at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The role.
    pub role: String,
    /// When it expires.
    pub expires: DateTime<Utc>,
}

/// Outcome of a bump.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bumped {
    /// Roles that were signed anew; bins are counted, not listed.
    pub signed: Vec<String>,
    /// How many bins were signed anew.
    pub bins: u64,
    /// Offline roles that are due.
    pub due: Vec<Due>,
    /// When something is due next.
    pub next: Option<DateTime<Utc>>,
}

impl Repository {
    /// Signs anew what is due, or with `all` everything that the keys at hand can sign.
    pub async fn bump(
        &self,
        keys: &Keyring,
        all: bool,
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Result<Bumped, RepositoryError> {
        for _ in 0..MAX_ATTEMPTS {
            let state = self.state().await?;
            self.finish_pending(&state).await?;
            match self.bump_once(keys, &state, all, now, progress).await {
                Err(RepositoryError::Store(StoreError::Conflict { .. })) => {}
                done => return done,
            }
        }
        Err(RepositoryError::Busy(MAX_ATTEMPTS))
    }

    async fn bump_once(
        &self,
        keys: &Keyring,
        state: &State,
        all: bool,
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Result<Bumped, RepositoryError> {
        let mut bumped = Bumped::default();
        let expiry = self.settings.expiry;
        let due = |common: &Common, days: u32| all || common.expires <= half_life(now, days);
        let mut roles = Vec::new();
        let (top, bins) = (RoleName::targets(), RoleName::delegated(BINS)?);
        if due(&state.targets.common, expiry.targets) || !state.vouched(TopLevel::Targets) {
            let authority = state.root.authority(TopLevel::Targets);
            note(keys, authority, &state.targets, true, expiry.targets, now, &mut roles, &mut bumped);
        }
        let children = [(CLAIMED, expiry.targets), (RECENTLY_CLAIMED, expiry.bin_n), (BINS, expiry.targets)];
        let children: Vec<_> = children
            .into_iter()
            .map(|(name, days)| Ok((RoleName::delegated(name)?, days)))
            .collect::<Result<_, RepositoryError>>()?;
        for (role, days) in &children {
            let Ok(authority) = authority(&top, &state.targets, role) else { continue };
            let metadata = state.delegated(self.store(), role).await?;
            if due(&metadata.common, *days) {
                note(keys, authority, &metadata, true, *days, now, &mut roles, &mut bumped);
            }
        }
        let names = bin_names(&state.bins)?;
        let total = u64::try_from(names.len()).unwrap_or(u64::MAX);
        let offline_done = bumped.signed.len();
        for (done, name) in (1..).zip(&names) {
            let metadata = state.bin(self.store(), name).await?;
            if due(&metadata.common, expiry.bin_n) {
                let authority = state.bin_authority(&bins, name)?;
                note(keys, authority, &metadata, false, expiry.bin_n, now, &mut roles, &mut bumped);
            }
            progress.at("looking at bins", done, total);
        }
        bumped.bins = u64::try_from(bumped.signed.len() - offline_done).unwrap_or(u64::MAX);
        bumped.signed.truncate(offline_done);
        let unvouched = |role| !state.vouched(role);
        let snapshot = !roles.is_empty()
            || due(&state.snapshot.common, expiry.snapshot)
            || unvouched(TopLevel::Snapshot);
        let timestamp =
            snapshot || due(&state.timestamp.common, expiry.timestamp) || unvouched(TopLevel::Timestamp);
        if timestamp {
            self.commit(keys, state, Transaction { roles, snapshot, ..Transaction::empty() }, now).await?;
            bumped.signed.extend(snapshot.then(|| "snapshot".to_owned()));
            bumped.signed.push("timestamp".to_owned());
        }
        // Last: a state that only the root before this one vouches for could not be read under yet another root.
        if due(&state.root.common, expiry.root) {
            self.bump_root(keys, state, now, &mut bumped).await?;
        }
        let soonest = [expiry.timestamp, expiry.snapshot, expiry.bin_n].into_iter().min().unwrap_or(1);
        bumped.next = Some(half_life(now, soonest));
        Ok(bumped)
    }

    async fn bump_root(
        &self,
        keys: &Keyring,
        state: &State,
        now: DateTime<Utc>,
        bumped: &mut Bumped,
    ) -> Result<(), RepositoryError> {
        if !keys.reaches(&state.root.authority(TopLevel::Root)) {
            bumped.due.push(Due { role: "root".to_owned(), expires: state.root.common.expires });
            return Ok(());
        }
        let successor = self.successor(state, now);
        let bytes = self.sign_root(keys, state, &successor).await?;
        self.publish_root(&successor.content, &bytes).await?;
        bumped.signed.push("root".to_owned());
        Ok(())
    }
}

/// A role is due when it expires before this.
fn half_life(now: DateTime<Utc>, days: u32) -> DateTime<Utc> {
    now.checked_add_signed(chrono::TimeDelta::hours(i64::from(days) * 12)).unwrap_or(now)
}

/// Notes a due role as signed anew, or as due if its keys are not at hand.
#[expect(clippy::too_many_arguments, reason = "one place for three callers; a struct would only rename them")]
fn note<'a>(
    keys: &Keyring,
    authority: Authority<'a>,
    metadata: &Verified<Targets>,
    hashed: bool,
    days: u32,
    now: DateTime<Utc>,
    roles: &mut Vec<NewRole<'a>>,
    bumped: &mut Bumped,
) {
    let role = authority.role().to_owned();
    if !keys.reaches(&authority) {
        bumped.due.push(Due { role, expires: metadata.common.expires });
        return;
    }
    let mut draft = metadata.draft();
    draft.content.common.version = draft.content.common.version.saturating_add(1);
    draft.content.common.expires = days_after(now, days);
    roles.push(NewRole { draft, authorities: vec![authority], hashed });
    bumped.signed.push(role);
}
