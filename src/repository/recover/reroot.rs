//! A new first root over the same content, when the old one's keys cannot sign its successor: out of band, for every user
//! must be told.
//!
//! - It names other keys for root and the same for all other roles, so nothing else is signed anew, no file moves, and users
//!   who trust it install at once. If those other keys are stolen too, ceremonies replace them, signed by the new root.
//! - Its version leaves a gap after the old chain: a client that trusts an old root never comes to it. Such a client goes on
//!   as long as its root and the other keys are good, and refuses from then on. Nor can a cache that kept an old
//!   root answer for one of the new chain.
//! - The old roots stay where they are. Whoever holds a threshold of the old keys can lead clients of the old chain on, which
//!   is why these must be told.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::crypto::sha256;
use crate::repository::check::names::{file_name, split_name};
use crate::repository::init::RolePlan;
use crate::repository::root::begin_chain;
use crate::repository::{Keyring, Repository, RepositoryError, days_after, layout};
use crate::tuf::metadata::{Root, TopLevel, Version};
use crate::tuf::signed::{Draft, Signed};

/// Versions between the highest root there is and a new first one: at least one that nobody ever signs.
const GAP: Version = 2;

/// A new first root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FirstRoot {
    /// Its version.
    pub version: Version,
    /// Where it lies in the repository.
    pub path: String,
    /// SHA-256 of its file: what users compare.
    pub sha256: String,
}

impl Repository {
    /// Makes a new first root with the keys of `plan`, all of whose threshold is at hand, and publishes it.
    pub async fn new_first_root(
        &self,
        keys: &Keyring,
        plan: &RolePlan,
        now: DateTime<Utc>,
    ) -> Result<FirstRoot, RepositoryError> {
        plan.check("root")?;
        let state = self.state().await?;
        let online = [TopLevel::Timestamp, TopLevel::Snapshot].map(|role| state.root.authority(role));
        let online: Vec<_> =
            online.iter().flat_map(|role| role.keys().map(|(_, key)| key.public())).collect();
        if let Some(key) = plan.keys.iter().find(|key| online.contains(&key.public())) {
            let id = key.id().short();
            return Err(RepositoryError::Plan(format!(
                "root is an offline role, but its key {id} is online"
            )));
        }
        let mut root = (*state.root).clone();
        root.keys.extend(plan.by_id());
        *root.role_mut(TopLevel::Root) = plan.role_keys();
        let roles = [TopLevel::Root, TopLevel::Timestamp, TopLevel::Snapshot, TopLevel::Targets];
        let used: Vec<_> = roles.iter().flat_map(|role| root.role(*role).keyids.clone()).collect();
        root.keys.retain(|id, _| used.contains(id));
        root.common.version = self.highest_root(state.root.common.version).await?.saturating_add(GAP);
        begin_chain(&mut root);
        root.common.expires = days_after(now, self.settings.expiry.root);
        let draft = Draft::new(root);
        let bytes = keys.sign(&draft, &[draft.content.authority(TopLevel::Root)]).await?;
        let root = Signed::<Root>::new(bytes.as_slice()).verify_initial()?;
        self.publish_root(&root, &bytes).await?;
        if let Some(anchor) = &self.anchor {
            anchor.forget()?;
        }
        let version = root.common.version;
        let (path, sha256) = (layout::versioned("root", version)?.to_string(), hex::encode(sha256(&bytes)));
        Ok(FirstRoot { version, path, sha256 })
    }

    /// The highest version of any root that lies in the store, whoever made it.
    async fn highest_root(&self, known: Version) -> Result<Version, RepositoryError> {
        let mut highest = known;
        self.store
            .walk(layout::METADATA, &mut |entry| {
                if let Some((version, "root")) = split_name(file_name(&entry.path)) {
                    highest = highest.max(version);
                }
                Ok(())
            })
            .await?;
        Ok(highest)
    }
}
