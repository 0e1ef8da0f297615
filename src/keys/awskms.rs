//! Keys in the AWS key service: `awskms:` and an alias, a key id or an ARN. The private key never leaves the service.
//!
//! Only the SHA-256 of a message is sent (`MessageType` DIGEST), whatever its size: ECDSA on P-256, or RSASSA-PSS. Ed25519
//! keys of the service sign messages of 4,096 bytes at most, less than most metadata has, and are refused. The service is
//! not trusted to sign rightly: each signature is verified with the public key that it gave when the key was opened.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;

use self::service::{Service, base64, is_region};
use super::{KeyError, KeyUri, Signer, as_key, checked};
use crate::crypto::{PublicKey, sha256};
use crate::tuf::key::Key;

mod service;

pub use service::KmsError;

/// Characters of a key's name, at most: what the service allows.
const MAX_NAME: usize = 2_048;
/// Requests under way at once: hides the way to the service, and stays near what it allows each second.
const MAX_AT_ONCE: usize = 16;

/// The name of a key: an id, `alias/NAME`, or an ARN of either. Letters, digits and `:/_-.+=@` alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KmsKey(String);

impl KmsKey {
    /// The name as the service knows it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The region in which an ARN lies.
    fn region(&self) -> Option<&str> {
        self.0.strip_prefix("arn:").and_then(|rest| rest.split(':').nth(2))
    }
}

impl FromStr for KmsKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let refused = |reason| Err(KeyError::BadUri { scheme: "awskms", reason });
        let allowed =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '/' | '_' | '-' | '.' | '+' | '=' | '@');
        if text.is_empty() || text.len() > MAX_NAME || text.contains("-----") || !text.chars().all(allowed) {
            return refused("expected alias/NAME, a key id or an ARN");
        }
        let Some(arn) = text.strip_prefix("arn:") else {
            let plain = text.strip_prefix("alias/").unwrap_or(text);
            return match plain {
                "" => refused("the name is empty"),
                plain if plain == text && plain.contains([':', '/']) => {
                    refused("expected alias/NAME, a key id or an ARN")
                }
                _ => Ok(Self(text.to_owned())),
            };
        };
        match arn.splitn(5, ':').collect::<Vec<_>>().as_slice() {
            [_, "kms", region, _, name]
                if is_region(region) && (name.starts_with("key/") || name.starts_with("alias/")) =>
            {
                Ok(Self(text.to_owned()))
            }
            _ => refused("the ARN is not one of a key or an alias of the key service"),
        }
    }
}

struct KmsSigner {
    uri: KeyUri,
    name: KmsKey,
    key: Key,
    algorithm: &'static str,
    service: Service,
    permits: Semaphore,
}

impl fmt::Debug for KmsSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KmsSigner").field("uri", &self.uri).field("key", &self.key).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Public {
    #[serde(default)]
    public_key: Option<String>,
    #[serde(default)]
    key_usage: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Signed {
    signature: String,
}

#[async_trait]
impl Signer for KmsSigner {
    fn key(&self) -> &Key {
        &self.key
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let request = json!({
            "KeyId": self.name.as_str(),
            "Message": BASE64_STANDARD.encode(sha256(message)),
            "MessageType": "DIGEST",
            "SigningAlgorithm": self.algorithm,
        });
        let permit = self.permits.acquire().await;
        let signed = self.service.ask::<Signed>("Sign", &request).await;
        drop(permit);
        let signature = signed.and_then(|signed| base64(&signed.signature));
        checked(&self.uri, &self.key, message, signature.map_err(|cause| wrapped(&self.uri, cause))?)
    }
}

fn wrapped(uri: &KeyUri, cause: KmsError) -> KeyError {
    KeyError::Kms { uri: uri.clone(), cause }
}

/// Opens a key: asks for its public half. Nothing is signed yet.
pub(super) async fn open(uri: &KeyUri, name: &KmsKey) -> Result<Box<dyn Signer>, KeyError> {
    let service = Service::new(name).map_err(|cause| wrapped(uri, cause))?;
    let public = public(&service, name).await.map_err(|cause| wrapped(uri, cause))?;
    let algorithm = algorithm(&public).map_err(|cause| wrapped(uri, cause))?;
    let (uri, key, name) = (uri.clone(), as_key(uri, public)?, name.clone());
    Ok(Box::new(KmsSigner { uri, name, key, algorithm, service, permits: Semaphore::new(MAX_AT_ONCE) }))
}

async fn public(service: &Service, name: &KmsKey) -> Result<PublicKey, KmsError> {
    let public: Public = service.ask("GetPublicKey", &json!({"KeyId": name.as_str()})).await?;
    if let Some(usage) = public.key_usage.filter(|usage| usage != "SIGN_VERIFY") {
        let usage: String = usage.chars().filter(char::is_ascii_graphic).take(32).collect();
        return Err(KmsError::Unsuitable { reason: format!("its usage is {usage}, expected SIGN_VERIFY") });
    }
    let unsuitable = |error: crate::crypto::CryptoError| KmsError::Unsuitable { reason: error.to_string() };
    let none = || KmsError::Unsuitable { reason: "it has no public half".to_owned() };
    PublicKey::from_spki_der(&base64(&public.public_key.ok_or_else(none)?)?).map_err(unsuitable)
}

fn algorithm(public: &PublicKey) -> Result<&'static str, KmsError> {
    match public {
        PublicKey::P256(_) => Ok("ECDSA_SHA_256"),
        PublicKey::Rsa(_) => Ok("RSASSA_PSS_SHA_256"),
        other => {
            let reason = format!(
                "{} keys of the key service are not supported, expected ECC_NIST_P256 or RSA",
                other.kind()
            );
            Err(KmsError::Unsuitable { reason })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_every_form_are_read_and_others_refused() {
        for text in [
            "alias/wheelseal/online",
            "1234abcd-12ab-34cd-56ef-1234567890ab",
            "mrk-1234abcd12ab34cd56ef1234567890ab",
            "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws-cn:kms:cn-north-1:111122223333:alias/a",
        ] {
            assert_eq!(text.parse::<KmsKey>().unwrap().as_str(), text);
        }
        for text in [
            "",
            "alias/",
            "key/1234",
            "a b",
            "a?b",
            "a\nb",
            "//host/alias/a",
            "arn:aws:s3:eu-west-1:111122223333:key/1",
            "arn:aws:kms:evil.example/:111122223333:key/1",
            "arn:aws:kms::111122223333:key/1",
            "arn:aws:kms:eu-west-1:111122223333:grant/1",
            "-----BEGIN",
        ] {
            assert!(
                matches!(text.parse::<KmsKey>(), Err(KeyError::BadUri { scheme: "awskms", .. })),
                "{text}"
            );
        }
    }
}
