//! New keys for a top-level role.
//!
//! While the old keys are at hand nothing breaks for anyone: the role's file is first signed by old and new keys and
//! committed, so that it is good under both roots; then the new root appears. Without the old keys (lost, stolen) the
//! new root comes first and the file right after; clients in between fail closed and try again. A crash in between is
//! made good by `bump`, which signs under the newest root.
//!
//! Either way the timestamp is swapped once more after the new root: a publisher that read the old root loses its own
//! swap from then on, and what one committed with the old keys just before is signed anew.

use chrono::{DateTime, Utc};

use super::commit::{Listing, NewRole, Transaction};
use super::init::RolePlan;
use super::keyring::Keyring;
use super::state::{BINS, State};
use super::{MAX_ATTEMPTS, Repository, RepositoryError, days_after, layout};
use crate::store::{Content, StoreError};
use crate::tuf::metadata::{Root, TopLevel, Version};
use crate::tuf::path::RoleName;
use crate::tuf::signed::Draft;

impl Repository {
    /// Gives `role` the keys of `plan`. Needs the old and, for root itself, the new root keys. Returns the new root's
    /// version.
    pub async fn rotate(
        &self,
        keys: &Keyring,
        role: TopLevel,
        plan: &RolePlan,
        now: DateTime<Utc>,
    ) -> Result<Version, RepositoryError> {
        plan.check(role.name())?;
        for _ in 0..MAX_ATTEMPTS {
            match self.rotate_once(keys, role, plan, now).await {
                Err(RepositoryError::Store(StoreError::Conflict { .. })) => {}
                Ok(version) if role == TopLevel::Root => return Ok(version),
                Ok(version) => return self.settle(keys, role, now).await.map(|()| version),
                Err(error) => return Err(error),
            }
        }
        Err(RepositoryError::Busy(MAX_ATTEMPTS))
    }

    async fn rotate_once(
        &self,
        keys: &Keyring,
        role: TopLevel,
        plan: &RolePlan,
        now: DateTime<Utc>,
    ) -> Result<Version, RepositoryError> {
        let state = self.state().await?;
        self.finish_pending(&state).await?;
        refuse_mixing(&state, role, plan)?;
        refuse_unvouched(keys, &state, role)?;
        let mut successor = self.successor(&state, now);
        *successor.content.role_mut(role) = plan.role_keys();
        successor.content.keys.extend(plan.by_id());
        forget_unused(&mut successor.content);
        let root_bytes = self.sign_root(keys, &state, &successor).await?;
        let version = successor.content.common.version;
        if role == TopLevel::Root {
            self.publish_root(&successor.content, &root_bytes).await?;
            return Ok(version);
        }
        keys.require(&successor.content.authority(role))?;
        keys.require(&successor.content.authority(TopLevel::Timestamp))?;
        if keys.reaches(&state.root.authority(role)) {
            self.resign(keys, &state, role, Some(&successor.content), now).await?;
        }
        self.publish_root(&successor.content, &root_bytes).await?;
        Ok(version)
    }

    /// Signs under the new root what it does not vouch for yet, and swaps the timestamp in any case.
    async fn settle(
        &self,
        keys: &Keyring,
        role: TopLevel,
        now: DateTime<Utc>,
    ) -> Result<(), RepositoryError> {
        for _ in 0..MAX_ATTEMPTS {
            let state = self.state().await?;
            let settled = if state.vouched(role) {
                self.commit(keys, &state, Transaction::empty(), now).await.map(drop)
            } else {
                self.resign(keys, &state, role, None, now).await
            };
            match settled {
                Err(RepositoryError::Store(StoreError::Conflict { .. })) => {}
                done => return done,
            }
        }
        Err(RepositoryError::Busy(MAX_ATTEMPTS))
    }

    /// Replaces the list of online keys in the settings.
    pub async fn set_online_keys(&mut self, uris: Vec<String>) -> Result<(), RepositoryError> {
        self.settings.keys.online = uris;
        self.settings.replace(&*self.store).await
    }

    /// The next root, with nothing changed yet.
    pub(super) fn successor(&self, state: &State, now: DateTime<Utc>) -> Draft<Root> {
        let mut draft = state.root.draft();
        draft.content.common.version = draft.content.common.version.saturating_add(1);
        draft.content.common.expires = days_after(now, self.settings.expiry.root);
        draft
    }

    /// Signed as the old root and as the new one demand.
    pub(super) async fn sign_root(
        &self,
        keys: &Keyring,
        state: &State,
        successor: &Draft<Root>,
    ) -> Result<Vec<u8>, RepositoryError> {
        let (old, new) = (state.root.authority(TopLevel::Root), successor.content.authority(TopLevel::Root));
        keys.sign(successor, &[old, new]).await
    }

    /// Publishes a root: at once good for every client. [`StoreError::Conflict`]: another root of that version did.
    pub(super) async fn publish_root(&self, root: &Root, bytes: &[u8]) -> Result<(), RepositoryError> {
        let versioned = layout::versioned("root", root.common.version)?;
        match self.store.create(&versioned, Content::Bytes(bytes)).await {
            Err(StoreError::Exists { path }) => return Err(StoreError::Conflict { path }.into()),
            done => done?,
        }
        if self.writes_siblings() {
            self.write_siblings(&[(versioned, bytes)]).await?;
        }
        let at = layout::newest_root()?;
        for _ in 0..MAX_ATTEMPTS {
            let old = self.store.get(&at, super::MAX_METADATA).await?.map(|object| object.tag);
            match self.store.swap(&at, bytes, old.as_ref()).await {
                Err(StoreError::Conflict { .. }) => {}
                done => return Ok(done.map(drop)?),
            }
        }
        Err(RepositoryError::Busy(MAX_ATTEMPTS))
    }

    async fn resign(
        &self,
        keys: &Keyring,
        state: &State,
        role: TopLevel,
        successor: Option<&Root>,
        now: DateTime<Utc>,
    ) -> Result<(), RepositoryError> {
        let mut transaction = Transaction { successor, ..Transaction::empty() };
        if role == TopLevel::Targets {
            let mut draft = state.targets.draft();
            draft.content.common.version = draft.content.common.version.saturating_add(1);
            draft.content.common.expires = days_after(now, self.settings.expiry.targets);
            let roots = [&*state.root].into_iter().chain(successor);
            let authorities = roots.map(|root| root.authority(role)).collect();
            transaction.roles.push(NewRole { draft, authorities, listing: Listing::Hashed });
        }
        transaction.snapshot = role == TopLevel::Snapshot;
        self.commit(keys, state, transaction, now).await.map(drop)
    }
}

/// An offline role must not get a key that signs online, nor an online role one that signs offline.
fn refuse_mixing(state: &State, role: TopLevel, plan: &RolePlan) -> Result<(), RepositoryError> {
    let offline = [TopLevel::Root, TopLevel::Targets];
    let online = [TopLevel::Timestamp, TopLevel::Snapshot];
    let is_offline = offline.contains(&role);
    let others = if is_offline { online } else { offline };
    let top = others
        .iter()
        .flat_map(|other| state.root.authority(*other).keys().map(|(_, key)| key).collect::<Vec<_>>());
    let (bins, name) = (&state.bins.delegations, RoleName::delegated(BINS)?);
    let online_bins = bins.iter().flat_map(|bins| bins.keys.values()).filter(|_| is_offline);
    let delegator = RoleName::targets();
    let authority = super::state::authority(&delegator, &state.targets, &name)?;
    let offline_bins = authority.keys().map(|(_, key)| key).filter(|_| !is_offline);
    let mut keys = top.chain(online_bins).chain(offline_bins);
    match keys.find(|key| plan.keys.iter().any(|new| new.public() == key.public())) {
        None => Ok(()),
        Some(shared) => Err(RepositoryError::Plan(format!(
            "{} cannot have the key {}: one of the two signs offline, the other online",
            role.name(),
            shared.id().short()
        ))),
    }
}

/// A state that only the root before the newest vouches for could not be read under yet another root. With the role's
/// own keys at hand it is signed anew on the way; anything else is for `bump` first.
fn refuse_unvouched(keys: &Keyring, state: &State, role: TopLevel) -> Result<(), RepositoryError> {
    let helped = |other| other == role && keys.reaches(&state.root.authority(other));
    let roles = [TopLevel::Timestamp, TopLevel::Snapshot, TopLevel::Targets];
    match roles.into_iter().find(|other| !state.vouched(*other) && !helped(*other)) {
        None => Ok(()),
        Some(other) => Err(RepositoryError::Plan(format!(
            "{} is not signed as the newest root demands: finish its last rotation with `wheelseal bump` first",
            other.name()
        ))),
    }
}

/// Takes keys out of root that no role names any more.
fn forget_unused(root: &mut Root) {
    let roles = [&root.root, &root.timestamp, &root.snapshot, &root.targets];
    let used: Vec<_> = roles.iter().flat_map(|role| role.keyids.iter().cloned()).collect();
    root.keys.retain(|id, _| used.contains(id));
}
