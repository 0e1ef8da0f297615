//! The next root: drafted, signed, published; thresholds as they are, and what the settings say of online roles.

use chrono::{DateTime, Utc};

use super::ceremony::Subject;
use super::keyring::Keyring;
use super::state::{self, BINS, State};
use super::{MAX_ATTEMPTS, Repository, RepositoryError, days_after, layout};
use crate::store::{Content, StoreError};
use crate::tuf::json::Json;
use crate::tuf::metadata::{Delegations, Root, Targets, TopLevel, Version};
use crate::tuf::path::RoleName;
use crate::tuf::signed::Draft;

/// The field of root that tells with which version its chain begins, where that is not 1: all later roots of the chain
/// have it too, and it is signed.
const FIRST_ROOT: &str = "x-wheelseal-first-root";

/// The version with which a root's chain begins: 1, unless a new first root was made since.
pub(super) fn first_root(root: &Root) -> Version {
    let told = root.common.extra.iter().find(|(name, _)| name == FIRST_ROOT);
    let told = told.and_then(|(_, version)| version.as_u64());
    told.filter(|version| (1..=root.common.version).contains(version)).unwrap_or(1)
}

/// From now on the chain begins with this root.
pub(super) fn begin_chain(root: &mut Root) {
    root.common.extra.retain(|(name, _)| name != FIRST_ROOT);
    root.common.extra.push((FIRST_ROOT.into(), Json::int(root.common.version)));
    root.common.extra.sort_by(|a, b| a.0.cmp(&b.0));
}

impl Repository {
    /// Replaces the list of online keys in the settings.
    pub async fn set_online_keys(&mut self, uris: Vec<String>) -> Result<(), RepositoryError> {
        self.settings.keys.online = uris;
        self.settings.replace(&*self.store).await
    }

    /// Sets in how many days files of an online role expire.
    pub async fn set_online_expiry(&mut self, role: Subject, days: u32) -> Result<(), RepositoryError> {
        let expiry = &mut self.settings.expiry;
        match role {
            Subject::Timestamp => expiry.timestamp = days,
            Subject::Snapshot => expiry.snapshot = days,
            Subject::RecentlyClaimed | Subject::BinN => expiry.bin_n = days,
            offline => {
                return Err(RepositoryError::Plan(format!("{} is not signed online", offline.name())));
            }
        }
        self.settings.replace(&*self.store).await
    }

    /// How many keys of a role must sign now.
    pub async fn threshold(&self, role: Subject) -> Result<u64, RepositoryError> {
        let state = self.state().await?;
        let top = |role| Ok(state.root.authority(role).threshold());
        let missing = || RepositoryError::Missing(format!("the delegation to {}", role.name()));
        let delegated = |delegator: &RoleName, content: &Targets, role: &RoleName| {
            state::authority(delegator, content, role).map(|authority| authority.threshold())
        };
        match role {
            Subject::Root => top(TopLevel::Root),
            Subject::Timestamp => top(TopLevel::Timestamp),
            Subject::Snapshot => top(TopLevel::Snapshot),
            Subject::Targets => top(TopLevel::Targets),
            Subject::BinN => {
                let names = state.bins.delegations.as_ref().map(Delegations::names);
                let first = names.and_then(|mut names| names.next()).ok_or_else(missing)??;
                delegated(&RoleName::delegated(BINS)?, &state.bins, &first)
            }
            other => delegated(&RoleName::targets(), &state.targets, &RoleName::delegated(other.name())?),
        }
    }

    /// The file of the first root of the chain that leads to the newest one.
    pub async fn first_root(&self) -> Result<Vec<u8>, RepositoryError> {
        let at = layout::versioned("root", first_root(&self.state().await?.root))?;
        let file = self.store.get(&at, super::MAX_METADATA).await?;
        Ok(file.ok_or_else(|| RepositoryError::Missing(at.to_string()))?.bytes)
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
}
