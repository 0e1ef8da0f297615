//! New files, then the one commit point.
//!
//! Order: target files, changed targets roles, snapshot, a note of the pages to refresh, and last the swap of
//! `timestamp.json`. Everything before the swap has a name that nothing refers to yet. A version number that a crash
//! or a slower publisher left taken is skipped: versions must grow, not be consecutive.

use chrono::{DateTime, Utc};

use super::keyring::Keyring;
use super::state::State;
use super::{Repository, RepositoryError, days_after, layout};
use crate::crypto::sha256;
use crate::store::{Content, StoreError, StorePath};
use crate::tuf::metadata::{Extra, Hashes, MetaFile, Role, Root, Snapshot, Targets, TopLevel, Version};
use crate::tuf::signed::{Authority, Draft};
use crate::tuf::trusted::Limits;

/// Taken version numbers that are skipped, at most: each is the leftover of a crash or a lost race.
const MAX_SKIPPED: u32 = 1_000;

/// A targets role with new content.
#[derive(Debug)]
pub(super) struct NewRole<'a> {
    pub(super) draft: Draft<Targets>,
    /// Whoever must accept it: one delegator, or the old and the new one while keys rotate.
    pub(super) authorities: Vec<Authority<'a>>,
    pub(super) listing: Listing,
}

/// How snapshot lists a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listing {
    /// With length and hash: the few roles above the bins.
    Hashed,
    /// By version alone, as PEP 458 lists bins: there are many.
    Version,
}

/// What one commit changes beside target files.
#[derive(Debug)]
pub(super) struct Transaction<'a> {
    pub(super) roles: Vec<NewRole<'a>>,
    /// Roles whose new files are durable in the store already: names without `.json`, and what snapshot says of them.
    pub(super) written: Vec<(String, MetaFile)>,
    /// Whether snapshot is made anew even if no role changed.
    pub(super) snapshot: bool,
    /// The root under which timestamp and snapshot must verify, after the one they verify under now.
    pub(super) successor: Option<&'a Root>,
    /// Projects whose unsigned pages change with this commit.
    pub(super) pages: Vec<String>,
}

impl Transaction<'_> {
    /// Nothing but a new timestamp.
    pub(super) fn empty() -> Self {
        Self { roles: Vec::new(), written: Vec::new(), snapshot: false, successor: None, pages: Vec::new() }
    }
}

/// Versions after a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Committed {
    pub(super) timestamp: Version,
    pub(super) snapshot: Version,
}

impl Repository {
    /// Signs and writes everything, and swaps the timestamp. [`StoreError::Conflict`] means that another publisher
    /// was faster: nothing happened, load the state anew and plan again.
    pub(super) async fn commit(
        &self,
        keys: &Keyring,
        state: &State,
        transaction: Transaction<'_>,
        now: DateTime<Utc>,
    ) -> Result<Committed, RepositoryError> {
        let roots: Vec<&Root> = [&*state.root].into_iter().chain(transaction.successor).collect();
        let authorities = |role| roots.iter().map(|root| root.authority(role)).collect::<Vec<_>>();
        if let Some(newest) = roots.last() {
            keys.require(&newest.authority(TopLevel::Timestamp))?;
        }
        let mut timestamp = state.timestamp.draft();
        let mut snapshot_version = state.snapshot.common.version;
        if transaction.snapshot || !transaction.roles.is_empty() || !transaction.written.is_empty() {
            let mut draft = self.next_snapshot(state, now);
            for (name, entry) in transaction.written {
                draft.content.meta.insert(format!("{name}.json"), entry);
            }
            for role in transaction.roles {
                let name = role.authorities.first().map_or("", Authority::role).to_owned();
                let entry = self.write_role(keys, role).await?;
                draft.content.meta.insert(format!("{name}.json"), entry);
            }
            let bytes = self.create_free(keys, &mut draft, &authorities(TopLevel::Snapshot)).await?;
            snapshot_version = draft.content.common.version;
            timestamp.content.snapshot = announce(snapshot_version, &bytes);
        }
        let note = self.note_pages(&transaction.pages, snapshot_version).await?;
        let common = timestamp.content.common_mut();
        common.version = common.version.saturating_add(1);
        common.expires = days_after(now, self.settings.expiry.timestamp);
        let version = common.version;
        let bytes = keys.sign_as_able(&timestamp.payload(), &authorities(TopLevel::Timestamp)).await?;
        self.store.swap(&layout::timestamp()?, &bytes, Some(&state.tag)).await?;
        self.finish_pages(note).await?;
        Ok(Committed { timestamp: version, snapshot: snapshot_version })
    }

    fn next_snapshot(&self, state: &State, now: DateTime<Utc>) -> Draft<Snapshot> {
        let mut draft = state.snapshot.draft();
        let common = draft.content.common_mut();
        common.version = common.version.saturating_add(1);
        common.expires = days_after(now, self.settings.expiry.snapshot);
        draft
    }

    async fn write_role(&self, keys: &Keyring, mut role: NewRole<'_>) -> Result<MetaFile, RepositoryError> {
        let bytes = self.create_free(keys, &mut role.draft, &role.authorities).await?;
        let version = role.draft.content.common.version;
        Ok(match role.listing {
            Listing::Hashed => announce(version, &bytes),
            Listing::Version => MetaFile::version(version),
        })
    }

    /// Writes `draft` under the first free version from its own on.
    pub(super) async fn create_free<T: Role>(
        &self,
        keys: &Keyring,
        draft: &mut Draft<T>,
        authorities: &[Authority<'_>],
    ) -> Result<Vec<u8>, RepositoryError> {
        let (Some(first), Some(newest)) = (authorities.first(), authorities.last()) else {
            return Err(RepositoryError::Plan("a role that nobody delegates to".to_owned()));
        };
        keys.require(newest)?;
        for _ in 0..MAX_SKIPPED {
            let bytes = keys.sign_as_able(&draft.payload(), authorities).await?;
            refuse_too_large(first.role(), &bytes)?;
            let at = layout::versioned(first.role(), draft.content.common().version)?;
            match self.store.create(&at, Content::Bytes(&bytes)).await {
                Ok(()) => return Ok(bytes),
                Err(StoreError::Exists { .. }) => {
                    let common = draft.content.common_mut();
                    common.version = common.version.saturating_add(1);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(RepositoryError::Busy(MAX_SKIPPED))
    }

    /// Writes a file that has its content in its name, or finds it there.
    pub(super) async fn create_once(
        &self,
        at: &StorePath,
        content: Content<'_>,
    ) -> Result<(), RepositoryError> {
        match self.store.create(at, content).await {
            Ok(()) | Err(StoreError::Exists { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Refuses metadata that this project's own client would not take.
pub(super) fn refuse_too_large(role: &str, bytes: &[u8]) -> Result<(), RepositoryError> {
    let limits = Limits::default();
    let max = match role {
        "root" => limits.root,
        "timestamp" => limits.timestamp,
        "snapshot" => limits.snapshot,
        _ => limits.targets,
    };
    let found = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if found <= max {
        return Ok(());
    }
    Err(RepositoryError::TooLarge { role: role.to_owned(), found, max })
}

/// What snapshot or timestamp say of a file: version, length, hash.
pub(super) fn announce(version: Version, bytes: &[u8]) -> MetaFile {
    MetaFile {
        version,
        length: u64::try_from(bytes.len()).ok(),
        hashes: Some(Hashes::sha256(sha256(bytes))),
        extra: Extra::new(),
    }
}
