//! Keys that nobody writes down, for drills.

use std::sync::Arc;

use async_trait::async_trait;

use crate::crypto::{CryptoError, NewKey, SigningKey};
use crate::keys::{KeyError, KeyUri, Signer};
use crate::repository::{Keyring, RoleEdit, RolePlan, Subject};
use crate::tuf::key::Key;

/// A key in memory.
#[derive(Debug, Clone)]
struct Throwaway {
    key: Key,
    pair: Arc<SigningKey>,
}

#[async_trait]
impl Signer for Throwaway {
    fn key(&self) -> &Key {
        &self.key
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let failed = |cause| KeyError::Unusable { uri: KeyUri::Env("throw-away".to_owned()), cause };
        let scheme = self.key.scheme().ok_or(CryptoError::Failed("signing")).map_err(failed)?;
        self.pair.sign(scheme, message).map_err(failed)
    }
}

/// The keys of one role, or of several that have the same.
#[derive(Debug, Clone)]
pub(super) struct Team {
    keys: Vec<Throwaway>,
    threshold: u64,
}

impl Team {
    /// So many new keys, and so many that must sign.
    pub(super) fn new((count, threshold): (usize, u64)) -> anyhow::Result<Self> {
        let make = |_| {
            let pair = SigningKey::from_pkcs8(&NewKey::Ed25519.generate()?)?;
            let public = pair.public().clone();
            let scheme = public.default_scheme();
            Ok(Throwaway { key: Key::new(public, scheme)?, pair: Arc::new(pair) })
        };
        let keys = (0..count).map(make).collect::<Result<_, CryptoError>>()?;
        Ok(Self { keys, threshold })
    }

    pub(super) fn plan(&self) -> RolePlan {
        let keys = self.keys.iter().map(|key| key.key.clone()).collect();
        RolePlan { keys, threshold: self.threshold }
    }

    /// These keys for these roles.
    pub(super) fn edits(&self, roles: &[Subject]) -> Vec<(Subject, RoleEdit)> {
        let RolePlan { keys, threshold } = self.plan();
        let each =
            |role: &Subject| [(*role, RoleEdit::Keys(keys.clone())), (*role, RoleEdit::Threshold(threshold))];
        roles.iter().flat_map(each).collect()
    }

    /// As many as must sign, in words.
    pub(super) fn people(&self, role: &str) -> String {
        format!("{} of {} {role} key(s)", self.threshold, self.keys.len())
    }

    pub(super) fn first(&self) -> Option<Key> {
        self.keys.first().map(|key| key.key.clone())
    }

    /// Whether the others can sign without one of them.
    pub(super) fn can_spare_one(&self) -> bool {
        u64::try_from(self.keys.len()).unwrap_or(u64::MAX) > self.threshold
    }

    /// The others.
    pub(super) fn without(&self, lost: &Key) -> Self {
        let keys = self.keys.iter().filter(|key| key.key != *lost).cloned().collect();
        Self { keys, threshold: self.threshold }
    }
}

/// The signers of these.
pub(super) fn keyring(teams: &[&Team]) -> Keyring {
    let mut keyring = Keyring::default();
    for key in teams.iter().flat_map(|team| &team.keys) {
        keyring.add(Box::new(key.clone()));
    }
    keyring
}
