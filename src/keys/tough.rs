//! Signing with any key source of the tough library: tuftool's key files, cloud key stores, a company's own.
//!
//! The key is whatever the source says it is, fields this project does not know included, so that its id stays the one
//! its owner's other tools compute. Each signature is checked against it before it is used: a source is foreign code,
//! often a network service.

use std::fmt;
use std::path::Path;

use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use tough::key_source::{KeySource, LocalKeySource};
use tough::sign::Sign;

use super::{KeyError, KeyUri, Signer, file};
use crate::tuf::json;
use crate::tuf::key::Key;

/// A [`Signer`] whose private key is with a [`KeySource`].
pub struct ToughSigner {
    name: String,
    key: Key,
    inner: Box<dyn Sign>,
}

impl fmt::Debug for ToughSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToughSigner")
            .field("name", &self.name)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl ToughSigner {
    /// Opens any key source. `name` stands for it in errors; the source's own `Debug` is never shown.
    ///
    /// # Errors
    /// [`KeyError::Foreign`] if the source fails, or has a key of a type or scheme that is not supported here.
    pub async fn from_key_source(name: &str, source: &dyn KeySource) -> Result<Self, KeyError> {
        let failed = |message: String| foreign(name, "give its key", message);
        let inner = source.as_sign().await.map_err(|e| failed(e.to_string()))?;
        let text = serde_json::to_string(&inner.tuf_key()).map_err(|e| failed(e.to_string()))?;
        let tree = json::parse(text.as_bytes()).map_err(|e| failed(e.to_string()))?;
        let key = Key::from_json(&tree).map_err(|e| failed(e.to_string()))?;
        if key.public().is_none() {
            return Err(failed(format!("unsupported key for scheme {}", key.scheme_name())));
        }
        Ok(Self { name: name.to_owned(), key, inner })
    }
}

#[async_trait]
impl Signer for ToughSigner {
    fn key(&self) -> &Key {
        &self.key
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let failed = |message: String| foreign(&self.name, "sign", message);
        let signature =
            self.inner.sign(message, &SystemRandom::new()).await.map_err(|e| failed(e.to_string()))?;
        if self.key.verifies(message, &signature) {
            return Ok(signature);
        }
        Err(failed("its signature does not verify with its own public key".into()))
    }
}

fn foreign(name: &str, what: &'static str, message: String) -> KeyError {
    KeyError::Foreign { source_name: name.to_owned(), what, message }
}

/// A key file as tuftool takes it: DER of Ed25519 or P-256, PEM of RSA, never encrypted.
pub(super) async fn open(uri: &KeyUri, path: &Path) -> Result<ToughSigner, KeyError> {
    file::check(uri, path)?;
    ToughSigner::from_key_source(&uri.to_string(), &LocalKeySource { path: path.to_owned() }).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{NewKey, PublicKey, SigningKey};
    use std::error::Error;
    use std::fs;
    use tough::schema::key as foreign_key;

    async fn opened(name: &str, bytes: &[u8]) -> Result<ToughSigner, KeyError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        open(&KeyUri::Tough(path.clone()), &path).await
    }

    async fn assert_signs_as(public: &PublicKey, bytes: &[u8]) {
        let signer = opened("worthless.key", bytes).await.unwrap();
        assert_eq!(signer.key().public(), Some(public));
        let signature = signer.sign(b"message").await.unwrap();
        assert!(
            signer.key().verifies(b"message", &signature) && !signer.key().verifies(b"massage", &signature)
        );
        let theirs = signer.inner.tuf_key().key_id().unwrap();
        assert_eq!(signer.key().id().as_str(), hex::encode(theirs.as_ref()));
        let native = Key::new(public.clone(), public.default_scheme()).unwrap();
        assert_eq!(native.public(), signer.key().public());
    }

    #[tokio::test]
    async fn tuftool_keys_of_each_kind_sign_and_our_key_verifies() {
        for kind in [NewKey::Ed25519, NewKey::P256] {
            let der = kind.generate().unwrap();
            assert_signs_as(SigningKey::from_pkcs8(&der).unwrap().public(), &der).await;
        }
        let rsa = PublicKey::from_pem(include_str!("fixtures/worthless-rsa.pub.pem")).unwrap();
        assert_signs_as(&rsa, include_bytes!("fixtures/worthless-rsa.pem")).await;
        assert_signs_as(&rsa, include_bytes!("fixtures/worthless-rsa-pkcs1.pem")).await;
    }

    #[tokio::test]
    async fn unreadable_keys_are_refused_without_their_bytes() {
        let secret = include_str!("fixtures/worthless-ed25519.pem");
        let refused = opened("worthless.pem", secret.as_bytes()).await.unwrap_err();
        assert!(matches!(&refused, KeyError::Foreign { what: "give its key", .. }), "{refused}");
        assert!(!format!("{refused} {refused:?}").contains(secret.lines().nth(1).unwrap()));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn tuftool_keys_are_under_the_same_mode_rule() {
        let der = NewKey::Ed25519.generate().unwrap();
        assert!(matches!(opened("real.key", &der).await, Err(KeyError::Exposed { .. })));
    }

    /// A source that names one key and signs with another.
    #[derive(Debug, Clone, Copy)]
    struct Liar;

    type Failure = Box<dyn Error + Send + Sync + 'static>;

    #[async_trait]
    impl KeySource for Liar {
        async fn as_sign(&self) -> Result<Box<dyn Sign>, Failure> {
            Ok(Box::new(Liar))
        }

        async fn write(&self, _value: &str, _key_id_hex: &str) -> Result<(), Failure> {
            Err("read only".into())
        }
    }

    #[async_trait]
    impl Sign for Liar {
        fn tuf_key(&self) -> foreign_key::Key {
            "7a".repeat(32).parse().unwrap()
        }

        async fn sign(
            &self,
            _message: &[u8],
            _random: &(dyn aws_lc_rs::rand::SecureRandom + Sync),
        ) -> Result<Vec<u8>, Failure> {
            Ok(vec![0; 64])
        }
    }

    #[tokio::test]
    async fn a_signature_that_does_not_verify_is_not_passed_on() {
        let signer = ToughSigner::from_key_source("liar", &Liar).await.unwrap();
        let refused = signer.sign(b"message").await.unwrap_err();
        let message = "its signature does not verify with its own public key".to_owned();
        assert_eq!(refused, KeyError::Foreign { source_name: "liar".into(), what: "sign", message });
    }
}
