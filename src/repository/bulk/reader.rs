//! Reading bins back, many at once. As everywhere, what is read is verified before it is used.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;

use super::bins::BinMap;
use crate::repository::state::{self, BINS, State};
use crate::repository::{MAX_METADATA, RepositoryError, layout};
use crate::store::{Store, StorePath};
use crate::tuf::key::KeyId;
use crate::tuf::metadata::{Common, MetaFile, Targets};
use crate::tuf::path::RoleName;
use crate::tuf::renew::Renewable;
use crate::tuf::signed::{Authority, Signed, Verified, VerifyError, verify_to_renew};
use crate::tuf::trusted::TrustError;

/// Reads the bins of one state.
#[derive(Debug)]
pub(super) struct Reader {
    store: Arc<dyn Store>,
    state: State,
    delegator: RoleName,
    bins: Arc<BinMap>,
    whole: Last<Verified<Targets>>,
    renewable: Last<Arc<Renewable>>,
}

/// The last file verified. A new repository's bins are all the same bytes under the same keys.
#[derive(Debug)]
struct Last<M>(Mutex<Option<Known<M>>>);

/// Bytes that keys vouch for.
#[derive(Debug)]
struct Known<M> {
    bytes: Vec<u8>,
    keys: Vec<KeyId>,
    threshold: u64,
    metadata: M,
}

/// A bin, and what the state says of it.
struct Place<'a> {
    name: &'a RoleName,
    entry: &'a MetaFile,
    at: StorePath,
}

impl Reader {
    /// For the bins of `state`, of which `bins` is the map.
    pub(super) fn new(
        store: Arc<dyn Store>,
        state: State,
        bins: Arc<BinMap>,
    ) -> Result<Self, RepositoryError> {
        let (whole, renewable) = (Last(Mutex::default()), Last(Mutex::default()));
        Ok(Self { store, state, delegator: RoleName::delegated(BINS)?, bins, whole, renewable })
    }

    /// These bins, in this order. For threads that may wait.
    pub(super) fn read(
        &self,
        bins: &[usize],
        handle: &Handle,
    ) -> Result<Vec<Verified<Targets>>, RepositoryError> {
        let verify = |bytes: &[u8], authority: &Authority<'_>| Signed::new(bytes).verify(authority);
        self.read_as(bins, handle, &self.whole, verify, |metadata| &metadata.common)
    }

    /// The same for those who sign them anew as they are.
    pub(super) fn read_to_renew(
        &self,
        bins: &[usize],
        handle: &Handle,
    ) -> Result<Vec<Arc<Renewable>>, RepositoryError> {
        let verify = |bytes: &[u8], authority: &Authority<'_>| {
            verify_to_renew::<Targets>(bytes, authority).map(Arc::new)
        };
        self.read_as(bins, handle, &self.renewable, verify, |metadata| metadata.common())
    }

    fn read_as<M: Clone>(
        &self,
        bins: &[usize],
        handle: &Handle,
        last: &Last<M>,
        verify: impl Fn(&[u8], &Authority<'_>) -> Result<M, VerifyError>,
        common: impl Fn(&M) -> &Common,
    ) -> Result<Vec<M>, RepositoryError> {
        let places = bins.iter().map(|bin| self.place(*bin)).collect::<Result<Vec<_>, _>>()?;
        let paths: Vec<_> = places.iter().map(|place| place.at.clone()).collect();
        let found = handle.block_on(self.store.read_all(&paths, MAX_METADATA))?;
        let one = |(Place { name, entry, at }, found): (Place<'_>, Option<Vec<u8>>)| {
            let bytes = found.ok_or_else(|| RepositoryError::Missing(at.to_string()))?;
            if let Some(hashes) = entry.hashes() {
                let wrong = |mismatch| TrustError::WrongHash { role: name.to_string(), mismatch };
                hashes.check_bytes(&bytes).map_err(wrong)?;
            }
            let authority = self.state.bin_authority(&self.delegator, name)?;
            let metadata = last.verified(bytes, &authority, &verify)?;
            let (found, expected) = (common(&metadata).version, entry.version);
            if found != expected {
                return Err(TrustError::WrongVersion { role: name.to_string(), found, expected }.into());
            }
            Ok(metadata)
        };
        places.into_iter().zip(found).map(one).collect()
    }

    fn place(&self, bin: usize) -> Result<Place<'_>, RepositoryError> {
        let name = self.bins.name(bin)?;
        let entry = state::entry(&self.state.snapshot, name.as_str())?;
        Ok(Place { name, entry, at: layout::versioned(name.as_str(), entry.version)? })
    }
}

impl<M: Clone> Last<M> {
    /// Verifies a file, unless it is byte for byte the last one that was verified, under the same keys and threshold:
    /// then the signatures would count the same, for they do not cover the role's name.
    fn verified(
        &self,
        bytes: Vec<u8>,
        authority: &Authority<'_>,
        verify: impl Fn(&[u8], &Authority<'_>) -> Result<M, VerifyError>,
    ) -> Result<M, VerifyError> {
        let keys: Vec<KeyId> = authority.keys().map(|(id, _)| id.clone()).collect();
        let threshold = authority.threshold();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same =
            |known: &&Known<M>| known.bytes == bytes && known.keys == keys && known.threshold == threshold;
        if let Some(known) = last.as_ref().filter(same) {
            return Ok(known.metadata.clone());
        }
        drop(last);
        let metadata = verify(&bytes, authority)?;
        last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(Known { bytes, keys, threshold, metadata: metadata.clone() });
        Ok(metadata)
    }
}
