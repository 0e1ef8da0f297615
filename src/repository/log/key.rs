//! The log's own key, as the log wants it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::error::LoggingError;
use crate::crypto::PublicKey;
use crate::keys::Signer;
use crate::log::{Cosigners, LogSigner};
use crate::tlog::key::{KeyKind, KeyName, SIGNATURE_LEN, VerifierKey};
use crate::tuf::key::Key;

/// The key of a transparency log, and who cosigns its checkpoints.
#[derive(Clone)]
pub(in crate::repository) struct LogKey {
    signer: Arc<dyn Signer>,
    pub(in crate::repository) witnesses: Arc<dyn Cosigners>,
}

impl fmt::Debug for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogKey").field("signer", &self.signer).finish_non_exhaustive()
    }
}

impl LogKey {
    pub(in crate::repository) fn new(signer: Arc<dyn Signer>, witnesses: Arc<dyn Cosigners>) -> Self {
        Self { signer, witnesses }
    }

    /// As the key of the log of this name.
    pub(in crate::repository) fn named(&self, origin: &str) -> Result<NamedKey, LoggingError> {
        Ok(NamedKey::new(verifier_key(self.signer.key(), origin)?, Arc::clone(&self.signer)))
    }
}

/// The key by which the signatures of a log of this name are verified.
pub fn verifier_key(key: &Key, origin: &str) -> Result<VerifierKey, LoggingError> {
    let name = KeyName::new(origin).map_err(|error| LoggingError::Policy { reason: error.to_string() })?;
    match key.public() {
        Some(PublicKey::Ed25519(bytes)) => Ok(VerifierKey::new(name, KeyKind::Log, *bytes)),
        other => Err(LoggingError::KeyKind { found: other.map_or("unreadable", PublicKey::kind) }),
    }
}

/// A key with the name of its log, or of its witness.
#[derive(Debug)]
pub struct NamedKey {
    key: VerifierKey,
    signer: Arc<dyn Signer>,
}

impl NamedKey {
    /// A signer, and the key by which its signatures are verified there. Ed25519, as such keys are.
    pub fn new(key: VerifierKey, signer: Arc<dyn Signer>) -> Self {
        Self { key, signer }
    }
}

#[async_trait]
impl LogSigner for NamedKey {
    fn key(&self) -> &VerifierKey {
        &self.key
    }

    async fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], String> {
        let signature = self.signer.sign(message).await.map_err(|error| error.to_string())?;
        let found = signature.len();
        signature.try_into().map_err(|_| format!("a signature of {found} bytes, expected {SIGNATURE_LEN}"))
    }
}
