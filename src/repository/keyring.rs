//! The signing keys at hand.

use std::sync::Arc;

use crate::keys::Signer;
use crate::tuf::key::KeyId;
use crate::tuf::metadata::Role;
use crate::tuf::signed::{Authority, Draft, Payload};

use super::RepositoryError;
use super::log::LogKey;
use crate::log::Cosigners;

/// Signers, in no order. A signer counts for a role if the role lists the same public key, under whatever id.
#[derive(Debug, Default)]
pub struct Keyring {
    signers: Vec<Arc<dyn Signer>>,
    log: Option<LogKey>,
}

/// Those who sign one role: key ids and signers, each id once.
#[derive(Debug, Clone)]
pub(super) struct Crew(Vec<(KeyId, Arc<dyn Signer>)>);

impl Crew {
    /// Their key ids.
    pub(super) fn ids(&self) -> impl Iterator<Item = &KeyId> {
        self.0.iter().map(|(id, _)| id)
    }

    /// The file with the signatures of all of them.
    pub(super) async fn sign(&self, payload: &Payload) -> Result<Vec<u8>, RepositoryError> {
        let mut signatures = Vec::with_capacity(self.0.len());
        for (id, signer) in &self.0 {
            signatures.push((id.clone(), signer.sign(payload.to_sign()).await?));
        }
        Ok(payload.assemble(&signatures))
    }
}

impl Keyring {
    /// A keyring of these.
    pub fn new(signers: Vec<Box<dyn Signer>>) -> Self {
        Self { signers: signers.into_iter().map(Arc::from).collect(), log: None }
    }

    /// Adds a signer.
    pub fn add(&mut self, signer: Box<dyn Signer>) {
        self.signers.push(signer.into());
    }

    /// Sets the key of the transparency log, which signs nothing else, and who cosigns its checkpoints.
    pub fn set_log(&mut self, signer: Box<dyn Signer>, witnesses: Arc<dyn Cosigners>) {
        self.log = Some(LogKey::new(signer.into(), witnesses));
    }

    /// Others cosign the log's checkpoints from now on: its policy is about to change.
    pub fn set_witnesses(&mut self, witnesses: Arc<dyn Cosigners>) {
        if let Some(log) = &mut self.log {
            log.witnesses = witnesses;
        }
    }

    /// The key of the transparency log.
    pub(super) fn log(&self) -> Option<&LogKey> {
        self.log.as_ref()
    }

    /// All signers.
    pub fn signers(&self) -> impl Iterator<Item = &dyn Signer> {
        self.signers.iter().map(|signer| &**signer)
    }

    /// Whether the keys at hand reach the role's threshold.
    pub fn reaches(&self, authority: &Authority<'_>) -> bool {
        u64::try_from(self.usable(authority).len()).unwrap_or(u64::MAX) >= authority.threshold()
    }

    /// An error that tells which keys are missing, unless the threshold is reached.
    pub fn require(&self, authority: &Authority<'_>) -> Result<(), RepositoryError> {
        if self.reaches(authority) {
            return Ok(());
        }
        Err(RepositoryError::KeysMissing {
            role: authority.role().to_owned(),
            needed: authority.threshold(),
            able: self.usable(authority).len(),
            accepted: authority.keys().map(|(id, _)| id.short()).collect(),
        })
    }

    /// The file, signed by every key at hand that counts for any of `authorities`; each must reach its threshold.
    pub(super) async fn sign<T: Role>(
        &self,
        draft: &Draft<T>,
        authorities: &[Authority<'_>],
    ) -> Result<Vec<u8>, RepositoryError> {
        for authority in authorities {
            self.require(authority)?;
        }
        self.sign_as_able(&draft.payload(), authorities).await
    }

    /// The same without demanding any threshold.
    pub(super) async fn sign_as_able(
        &self,
        payload: &Payload,
        authorities: &[Authority<'_>],
    ) -> Result<Vec<u8>, RepositoryError> {
        self.crew(authorities).sign(payload).await
    }

    /// The keys at hand that count for any of `authorities`.
    pub(super) fn crew(&self, authorities: &[Authority<'_>]) -> Crew {
        let mut crew = Crew(Vec::new());
        for (id, signer) in authorities.iter().flat_map(|authority| self.usable(authority)) {
            if crew.0.iter().all(|(known, _)| known != id) {
                crew.0.push((id.clone(), Arc::clone(signer)));
            }
        }
        crew
    }

    /// The ids of the keys at hand that count for any of `authorities`.
    pub(super) fn signers_for(&self, authorities: &[Authority<'_>]) -> Vec<KeyId> {
        self.crew(authorities).ids().cloned().collect()
    }

    /// Pairs of key id and signer that count for the role; each public key once.
    pub(super) fn usable<'a>(&'a self, authority: &Authority<'a>) -> Vec<(&'a KeyId, &'a Arc<dyn Signer>)> {
        let mut usable: Vec<(&KeyId, &Arc<dyn Signer>)> = Vec::new();
        for (id, key) in authority.keys() {
            let fits = |signer: &&Arc<dyn Signer>| {
                key.public().is_some()
                    && signer.key().public() == key.public()
                    && signer.key().scheme() == key.scheme()
            };
            let signer = self.signers.iter().find(fits);
            let Some(signer) = signer else { continue };
            if usable.iter().all(|(_, other)| other.key().public() != key.public()) {
                usable.push((id, signer));
            }
        }
        usable
    }
}
