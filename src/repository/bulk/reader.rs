//! Reading bins back, many at once. As everywhere, what is read is verified before it is used.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::runtime::Handle;

use super::bins::BinMap;
use crate::repository::state::{self, BINS, State};
use crate::repository::{MAX_METADATA, RepositoryError, layout};
use crate::store::Store;
use crate::tuf::key::KeyId;
use crate::tuf::metadata::Targets;
use crate::tuf::path::RoleName;
use crate::tuf::signed::{Authority, Signed, Verified};
use crate::tuf::trusted::TrustError;

/// Bins asked for at once: hides the delay of an object store; a folder answers at once.
const READS_AT_ONCE: usize = 32;

/// Reads the bins of one state.
#[derive(Debug)]
pub(super) struct Reader {
    store: Arc<dyn Store>,
    state: State,
    delegator: RoleName,
    bins: Arc<BinMap>,
    /// The last file verified.
    last: Mutex<Option<Known>>,
}

/// Bytes that keys vouch for. A new repository's bins are all the same bytes under the same keys.
#[derive(Debug)]
struct Known {
    bytes: Vec<u8>,
    keys: Vec<KeyId>,
    threshold: u64,
    metadata: Verified<Targets>,
}

impl Reader {
    /// For the bins of `state`, of which `bins` is the map.
    pub(super) fn new(
        store: Arc<dyn Store>,
        state: State,
        bins: Arc<BinMap>,
    ) -> Result<Self, RepositoryError> {
        Ok(Self { store, state, delegator: RoleName::delegated(BINS)?, bins, last: Mutex::default() })
    }

    /// These bins, in this order. For threads that may wait.
    pub(super) fn read(
        &self,
        bins: &[usize],
        handle: &Handle,
    ) -> Result<Vec<Verified<Targets>>, RepositoryError> {
        handle.block_on(stream::iter(bins).map(|bin| self.one(*bin)).buffered(READS_AT_ONCE).try_collect())
    }

    async fn one(&self, bin: usize) -> Result<Verified<Targets>, RepositoryError> {
        let name = self.bins.name(bin)?;
        let authority = self.state.bin_authority(&self.delegator, name)?;
        let entry = state::entry(&self.state.snapshot, name.as_str())?;
        let at = layout::versioned(name.as_str(), entry.version)?;
        let object = self.store.get(&at, MAX_METADATA).await?;
        let bytes = object.ok_or_else(|| RepositoryError::Missing(at.to_string()))?.bytes;
        if let Some(hashes) = entry.hashes() {
            let wrong = |mismatch| TrustError::WrongHash { role: name.to_string(), mismatch };
            hashes.check_bytes(&bytes).map_err(wrong)?;
        }
        let metadata = self.verified(bytes, &authority)?;
        let (found, expected) = (metadata.common.version, entry.version);
        if found != expected {
            return Err(TrustError::WrongVersion { role: name.to_string(), found, expected }.into());
        }
        Ok(metadata)
    }

    /// Verifies a file, unless it is byte for byte the last one that was verified, under the same keys and threshold:
    /// then the signatures would count the same, for they do not cover the role's name.
    fn verified(
        &self,
        bytes: Vec<u8>,
        authority: &Authority<'_>,
    ) -> Result<Verified<Targets>, RepositoryError> {
        let keys: Vec<KeyId> = authority.keys().map(|(id, _)| id.clone()).collect();
        let threshold = authority.threshold();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let same =
            |known: &&Known| known.bytes == bytes && known.keys == keys && known.threshold == threshold;
        if let Some(known) = last.as_ref().filter(same) {
            return Ok(known.metadata.clone());
        }
        drop(last);
        let metadata: Verified<Targets> = Signed::new(bytes.as_slice()).verify(authority)?;
        last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(Known { bytes, keys, threshold, metadata: metadata.clone() });
        Ok(metadata)
    }
}
