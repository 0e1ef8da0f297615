//! What a thief of online keys does, for rehearsals on a copy: files that nobody published, versions pushed up.

use chrono::{DateTime, Utc};

use crate::crypto::sha256;
use crate::repository::bulk::{Again, Correction, Under};
use crate::repository::commit::announce;
use crate::repository::edit::{companion_of, describe};
use crate::repository::init::bin_names;
use crate::repository::plain::project_of;
use crate::repository::plan::bin_of;
use crate::repository::state::State;
use crate::repository::{Keyring, MAX_METADATA, Repository, RepositoryError, Unwatched, days_after, layout};
use crate::store::{Content, StoreError};
use crate::tuf::metadata::{TargetFile, TopLevel, Version};
use crate::tuf::path::TargetPath;

/// What a rehearsed thief's files hold.
const EVIL: &[u8] = b"what a thief would have you run";

impl Repository {
    /// Some target of a project that nobody claimed, with what is signed of it.
    pub async fn some_target(&self) -> Result<Option<(TargetPath, TargetFile)>, RepositoryError> {
        let state = self.state().await?;
        for bin in bin_names(&state.bins)? {
            let content = state.bin(self.store(), &bin).await?;
            for (path, file) in &content.targets {
                let target = TargetPath::new(path)?;
                let answers = self.answering(&state, &target).await?.0 == bin;
                if answers && project_of(&target).is_none() && companion_of(path).is_none() {
                    return Ok(Some((target, file.clone())));
                }
            }
        }
        Ok(None)
    }

    /// Puts the thief's content under these paths, new or not, and pushes snapshot and timestamp up to `push`.
    pub async fn rehearse_theft(
        &self,
        keys: &Keyring,
        paths: &[TargetPath],
        push: Version,
        now: DateTime<Utc>,
    ) -> Result<(), RepositoryError> {
        let state = self.state().await?;
        let mut corrections = Vec::new();
        for path in paths {
            let (role, file) = (bin_of(&state, path)?, Some(describe(EVIL)));
            corrections.push(Correction { role, path: path.to_string(), file });
            match self.store.create(&layout::hashed(path, &sha256(EVIL))?, Content::Bytes(EVIL)).await {
                Ok(()) | Err(StoreError::Exists { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let expires = days_after(now, self.settings.expiry.bin_n);
        let again = Again { all: false, due: DateTime::<Utc>::MIN_UTC, expires };
        let under = Under { corrections: &corrections, ..Under::default() };
        let signed = self.sign_bins_again(keys, &state, again, under, &Unwatched).await?;
        let mut snapshot = state.snapshot.draft();
        snapshot.content.set_all(signed.written);
        snapshot.content.common.version = push;
        let bytes = keys.sign(&snapshot, &[state.root.authority(TopLevel::Snapshot)]).await?;
        self.store.create(&layout::versioned("snapshot", push)?, Content::Bytes(&bytes)).await?;
        self.push_timestamp(keys, &state, Some((push, &bytes)), push).await
    }

    /// Another timestamp of version `version`, signed by whatever keys these are. Returns the one that was there.
    pub async fn rehearse_timestamp(
        &self,
        keys: &Keyring,
        version: Version,
    ) -> Result<Vec<u8>, RepositoryError> {
        let state = self.state().await?;
        self.push_timestamp(keys, &state, None, version).await?;
        Ok(state.timestamp.bytes().to_vec())
    }

    /// Puts a timestamp back that was there before.
    pub async fn rehearse_undo(&self, timestamp: &[u8]) -> Result<(), RepositoryError> {
        let at = layout::timestamp()?;
        let tag = self.store.get(&at, MAX_METADATA).await?.map(|object| object.tag);
        self.store.swap(&at, timestamp, tag.as_ref()).await?;
        Ok(())
    }

    async fn push_timestamp(
        &self,
        keys: &Keyring,
        state: &State,
        snapshot: Option<(Version, &[u8])>,
        version: Version,
    ) -> Result<(), RepositoryError> {
        let mut timestamp = state.timestamp.draft();
        if let Some((version, bytes)) = snapshot {
            timestamp.content.snapshot = announce(version, bytes);
        }
        timestamp.content.common.version = version;
        let payload = timestamp.payload();
        let mut signatures = Vec::new();
        for signer in keys.signers() {
            signatures.push((signer.key().id(), signer.sign(payload.to_sign()).await?));
        }
        self.store.swap(&layout::timestamp()?, &payload.assemble(&signatures), Some(&state.tag)).await?;
        Ok(())
    }
}
