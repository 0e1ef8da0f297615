//! What all requests share: the store, the cache, and how much is done at once.

use std::sync::{Arc, OnceLock};

use tokio::sync::Semaphore;

use super::Limits;
use super::cache::{Cache, Kept, Key};
use super::metrics::Metrics;
use super::public::PublicUrl;
use super::resource::Role;
use crate::coding::{self, Coding, Effort, delta};
use crate::repository::MAX_METADATA;
use crate::store::{Store, StoreError, StorePath};

/// Bytes of a page, at most: the largest real ones have some 20 MB.
const MAX_PAGE: u64 = 64 * 1_024 * 1_024;

/// Why there is nothing to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// No such file.
    Absent,
    /// The store failed, and said so to the operator.
    Broken,
}

/// See the module.
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) limits: Limits,
    pub(super) metrics: Arc<Metrics>,
    /// Where the world finds this, if that was said.
    pub(super) public: OnceLock<PublicUrl>,
    cache: Cache,
    reads: Semaphore,
    compressions: Semaphore,
    report: Box<dyn Fn(&StoreError) + Send + Sync>,
}

impl Shared {
    pub(super) fn new(
        store: Arc<dyn Store>,
        limits: Limits,
        report: Box<dyn Fn(&StoreError) + Send + Sync>,
    ) -> Self {
        Self {
            store,
            limits,
            metrics: Arc::default(),
            public: OnceLock::new(),
            cache: Cache::new(limits.cache_bytes),
            reads: Semaphore::new(limits.reads.max(1)),
            compressions: Semaphore::new(limits.compressions.max(1)),
            report,
        }
    }

    /// A file whose content never changes.
    pub(super) async fn unchanging(&self, path: &StorePath) -> Result<Arc<Kept>, Missing> {
        self.cache.or_make(&Key::Object(path.clone()), self.read(path, MAX_METADATA)).await
    }

    /// A file as it is now. Readers of the same content share one copy of it.
    pub(super) async fn current(&self, path: &StorePath) -> Result<Arc<Kept>, Missing> {
        self.made(self.read(path, MAX_PAGE).await?).await
    }

    /// What was made here. Those who get the same share one copy of it, and of its codings.
    pub(super) async fn made(&self, kept: Kept) -> Result<Arc<Kept>, Missing> {
        self.cache.or_make(&Key::Content(kept.sha256), async { Ok(kept) }).await
    }

    /// What is held under `key`, or is made for it.
    pub(super) async fn kept(
        &self,
        key: &Key,
        make: impl Future<Output = Result<Kept, Missing>>,
    ) -> Result<Arc<Kept>, Missing> {
        self.cache.or_make(key, make).await
    }

    async fn read(&self, path: &StorePath, max: u64) -> Result<Kept, Missing> {
        // Never closed, so there is always a permit to wait for.
        let _permit = self.reads.acquire().await.map_err(|_| Missing::Broken)?;
        match self.store.get(path, max).await {
            Ok(Some(object)) => Ok(Kept::new(object.bytes)),
            Ok(None) => Err(Missing::Absent),
            Err(error) => Err(self.missing(&error)),
        }
    }

    /// What an error of the store comes to; the operator is told of those that are not the client's.
    pub(super) fn missing(&self, error: &StoreError) -> Missing {
        if matches!(error, StoreError::InvalidPath { .. }) {
            return Missing::Absent;
        }
        (self.report)(error);
        Missing::Broken
    }

    /// The file compressed: as it lies in the store beside it, or else done here. `None`: it does not pay.
    pub(super) async fn coded(
        &self,
        plain: &Arc<Kept>,
        sibling: Option<StorePath>,
        coding: Coding,
    ) -> Option<Arc<Kept>> {
        let make = async {
            let most = u64::try_from(plain.bytes.len()).unwrap_or(u64::MAX);
            if let Some(sibling) = sibling
                && let Ok(Some(stored)) = self.store.get(&sibling, most).await
            {
                return Ok(Kept::new(stored.bytes));
            }
            let bytes = plain.bytes.clone();
            self.made_by(move || coding::encode(coding, &bytes, Effort::Quick)).await
        };
        let coded = self.cache.or_make(&Key::Coded(plain.sha256, coding), make).await.ok()?;
        (coded.bytes.len() < plain.bytes.len()).then_some(coded)
    }

    /// The file as a change of the version with that digest, if it is in the store. `id` says which version it may be.
    pub(super) async fn delta(
        &self,
        plain: &Arc<Kept>,
        role: &Role,
        digest: [u8; 32],
        id: Option<u64>,
    ) -> Option<Arc<Kept>> {
        let held = self.version_of(role, digest, id).await?;
        let key = Key::Delta(plain.sha256, digest);
        let (bytes, held) = (plain.bytes.clone(), held.bytes.clone());
        let make = self.made_by(move || delta::encode(&bytes, &held));
        let delta = self.cache.or_make(&key, make).await.ok()?;
        (delta.bytes.len() < plain.bytes.len()).then_some(delta)
    }

    /// An older version of a role: the one that `id` names, or one of the last few before the one asked for.
    async fn version_of(&self, role: &Role, digest: [u8; 32], id: Option<u64>) -> Option<Arc<Kept>> {
        let oldest = role.version.saturating_sub(self.limits.look_back).max(1);
        let versions = match id {
            Some(id) => id..role.version.min(id.saturating_add(1)),
            None => oldest..role.version,
        };
        for version in versions.rev() {
            let Ok(kept) = self.unchanging(&role.at(version)?).await else { continue };
            if kept.sha256 == digest {
                return Some(kept).filter(|kept| kept.bytes.len() <= delta::MAX_DICTIONARY);
            }
        }
        None
    }

    /// What work on a core makes; so much of it is done at once as there are cores.
    pub(super) async fn made_by(
        &self,
        work: impl FnOnce() -> std::io::Result<Vec<u8>> + Send + 'static,
    ) -> Result<Kept, Missing> {
        let _permit = self.compressions.acquire().await.map_err(|_| Missing::Broken)?;
        let done = tokio::task::spawn_blocking(move || work().map(Kept::new)).await;
        // It failed, or the server is stopping: the plain file goes out instead.
        done.map_err(|_| Missing::Broken)?.map_err(|_| Missing::Broken)
    }
}
