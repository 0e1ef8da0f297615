//! Re-signing what expires soon, so that clients never see expired metadata.
//!
//! A role is due when less than half of its life is left. Online roles are re-signed at once; offline roles only if
//! their keys are at hand, and are reported otherwise. Due as well is what the newest root does not vouch for, because
//! a replacement of lost keys was interrupted.

use chrono::{DateTime, Utc};

use super::bulk::{Again, Overtaken, Under};
use super::claims::{Bucket, Owned};
use super::commit::{Listing, NewRole, Transaction};
use super::keyring::Keyring;
use super::log::Leaves;
use super::settings::Expiry;
use super::state::{self, BINS, CLAIMED, RECENTLY_CLAIMED, State};
use super::{MAX_ATTEMPTS, PATIENCE, Progress, Repository, RepositoryError, days_after};
use crate::store::StoreError;
use crate::tuf::metadata::{Common, MetaFile, Targets, TopLevel};
use crate::tuf::path::RoleName;
use crate::tuf::signed::{Authority, Verified};

/// Days before the role of a claimed project expires that it is told of: its maintainers need some time to sign.
const PROJECT_NOTICE: u32 = 30;

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
    /// Roles of claimed projects that expire soon: their maintainers alone can sign them anew.
    pub projects: Vec<Due>,
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
        let (mut overtaken, mut turn) = (None, None);
        for attempt in 0..MAX_ATTEMPTS {
            drop(turn.take());
            if attempt > 0 {
                turn = Some(self.store.turn(PATIENCE).await);
            }
            let state = self.state().await?;
            self.finish_pending(&state).await?;
            match self.bump_once(keys, &state, &mut overtaken, all, now, progress).await {
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
        overtaken: &mut Option<Overtaken>,
        all: bool,
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Result<Bumped, RepositoryError> {
        let expiry = self.settings.expiry;
        let mut round =
            Round { keys, now, all, roles: Vec::new(), written: Vec::new(), bumped: Bumped::default() };
        let top = RoleName::targets();
        let authority = state.root.authority(TopLevel::Targets);
        let unvouched = !state.vouched(TopLevel::Targets);
        round.consider(authority, &state.targets, expiry.targets, Listing::Hashed, unvouched);
        let children = delegated_roles(&expiry)?;
        for (role, days) in &children {
            let Ok(authority) = state::authority(&top, &state.targets, role) else { continue };
            let metadata = state.delegated(self.store(), role).await?;
            round.consider(authority, &metadata, *days, Listing::Hashed, false);
        }
        let buckets = self.all_buckets(state).await?;
        for Bucket { family, delegator, said, name, content } in &buckets {
            let authority = state::authority(delegator, said, name)?;
            round.consider(authority, content, self.expiry_of(*family), Listing::Hashed, false);
        }
        round.bumped.projects = self.projects_due(state, now, progress).await?;
        let again = Again { all, due: half_life(now, expiry.bin_n), expires: days_after(now, expiry.bin_n) };
        let bins = self
            .sign_bins_again(
                keys,
                state,
                again,
                Under { overtaken: overtaken.take(), ..Under::default() },
                progress,
            )
            .await?;
        *overtaken = Some(Overtaken { state: state.clone(), signed: bins.clone() });
        round.bumped.bins = u64::try_from(bins.written.len()).unwrap_or(u64::MAX);
        round.bumped.due.extend(bins.due);
        if let Some(expires) = bins.earliest {
            round.bumped.again(expires, expiry.bin_n);
        }
        round.written = bins.written;
        self.finish_round(round, state).await
    }

    /// Claimed projects whose roles expire soon.
    async fn projects_due(
        &self,
        state: &State,
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Result<Vec<Due>, RepositoryError> {
        let (soon, mut due) = (days_after(now, PROJECT_NOTICE), Vec::new());
        let look = move |owned: &Owned, role: &Verified<Targets>| {
            let expires = role.common.expires;
            Ok((expires <= soon).then(|| Due { role: owned.role.to_string(), expires }))
        };
        self.for_each_project(state, "reading projects", progress, look, |found| {
            due.extend(found);
            Ok(())
        })
        .await?;
        Ok(due)
    }

    /// Snapshot and timestamp, and root last: a state that only the root before this one vouches for could not be
    /// read under yet another root.
    async fn finish_round(&self, round: Round<'_>, state: &State) -> Result<Bumped, RepositoryError> {
        let expiry = self.settings.expiry;
        let due = |common: &Common, days, role| round.due(common, days) || !state.vouched(role);
        let snapshot = round.changes() || due(&state.snapshot.common, expiry.snapshot, TopLevel::Snapshot);
        let timestamp = snapshot || due(&state.timestamp.common, expiry.timestamp, TopLevel::Timestamp);
        let root = round.due(&state.root.common, expiry.root);
        let Round { keys, now, roles, written, mut bumped, .. } = round;
        for (common, days) in
            [(&state.snapshot.common, expiry.snapshot), (&state.timestamp.common, expiry.timestamp)]
        {
            bumped.again(common.expires, days);
        }
        if timestamp {
            self.commit(
                keys,
                state,
                Transaction { roles, written, snapshot, leaves: Leaves::Nothing, ..Transaction::empty() },
                now,
            )
            .await?;
            bumped.signed.extend(snapshot.then(|| "snapshot".to_owned()));
            bumped.signed.push("timestamp".to_owned());
            bumped.next = bumped.next.map(|next| next.max(half_life(now, expiry.timestamp)));
        }
        if root {
            self.bump_root(keys, state, now, &mut bumped).await?;
        }
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
            let expires = state.root.common.expires;
            if expires <= half_life(now, self.settings.expiry.root) {
                bumped.due.push(Due { role: "root".to_owned(), expires });
            }
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

/// The roles below top-level targets that are no bins, and the days they live.
fn delegated_roles(expiry: &Expiry) -> Result<Vec<(RoleName, u32)>, RepositoryError> {
    let roles = [(CLAIMED, expiry.targets), (RECENTLY_CLAIMED, expiry.bin_n), (BINS, expiry.targets)];
    roles.into_iter().map(|(name, days)| Ok((RoleName::delegated(name)?, days))).collect()
}

/// One look at all roles.
struct Round<'a> {
    keys: &'a Keyring,
    now: DateTime<Utc>,
    all: bool,
    roles: Vec<NewRole<'a>>,
    /// Bins whose new files are written.
    written: Vec<(String, MetaFile)>,
    bumped: Bumped,
}

impl<'a> Round<'a> {
    fn changes(&self) -> bool {
        !self.roles.is_empty() || !self.written.is_empty()
    }

    /// Due as well is what is good for more than twice its life: a clock that was ahead signed it, or it lived longer
    /// then.
    fn due(&self, common: &Common, days: u32) -> bool {
        let twice = days_after(self.now, days.saturating_mul(2));
        self.all || common.expires <= half_life(self.now, days) || common.expires > twice
    }

    /// Signs a role anew if it is due or `must` be; notes it if its keys are not at hand.
    fn consider(
        &mut self,
        authority: Authority<'a>,
        metadata: &Verified<Targets>,
        days: u32,
        listing: Listing,
        must: bool,
    ) {
        let expires = metadata.common.expires;
        if !must && !self.due(&metadata.common, days) {
            return self.bumped.again(expires, days);
        }
        let role = authority.role().to_owned();
        if !self.keys.reaches(&authority) {
            if must || expires <= half_life(self.now, days) {
                self.bumped.due.push(Due { role, expires });
            }
            return;
        }
        let mut draft = metadata.draft();
        draft.content.common.version = draft.content.common.version.saturating_add(1);
        draft.content.common.expires = days_after(self.now, days);
        self.bumped.again(draft.content.common.expires, days);
        self.roles.push(NewRole { draft, authorities: vec![authority], listing });
        self.bumped.signed.push(role);
    }
}

impl Bumped {
    /// Notes when a role that expires at `expires` is due.
    fn again(&mut self, expires: DateTime<Utc>, days: u32) {
        let due =
            expires.checked_sub_signed(chrono::TimeDelta::hours(i64::from(days) * 12)).unwrap_or(expires);
        self.next = Some(self.next.map_or(due, |next| next.min(due)));
    }
}
