//! Digests, signature verification and signing keys: the only file that signs, verifies or hashes (with ring).
//! TLS is rustls's business, which `client/http.rs` tells to use ring too.
//!
//! Nothing here knows about roles or metadata. A [`PublicKey`] is the bare key, so that the same key under two
//! key ids or two encodings compares equal; the [`Scheme`] says how a signature by it is checked.

use std::fmt;

use pkcs8::der::{Decode, asn1::BitStringRef, pem::LineEnding};
use pkcs8::spki::{AlgorithmIdentifierRef, ObjectIdentifier, SubjectPublicKeyInfoRef};
use pkcs8::{Document, PrivateKeyInfoRef};
use ring::digest;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair, UnparsedPublicKey};
use thiserror::Error;
use zeroize::Zeroizing;

/// RFC 8410: Ed25519 keys.
const OID_ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// RFC 5480: elliptic-curve keys; the curve is the parameter.
const OID_EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// RFC 5480: the curve secp256r1, NIST P-256.
const OID_P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
/// RFC 5480: the curve secp384r1, NIST P-384.
const OID_P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
/// RFC 8017: RSA keys.
const OID_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// RFC 8410 section 7: everything of an Ed25519 PKCS#8 v1 document that stands before the 32-byte seed.
const ED25519_PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// What can go wrong with a key. Never carries key material.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CryptoError {
    /// The bytes are no key of a supported kind.
    #[error("not a usable {what}: {reason}")]
    BadKey {
        /// Which key was expected.
        what: &'static str,
        /// Why it was refused.
        reason: String,
    },
    /// The key cannot sign with this scheme.
    #[error("a {key} key cannot sign with {scheme}")]
    WrongScheme {
        /// Kind of the key.
        key: &'static str,
        /// Name of the scheme.
        scheme: &'static str,
    },
    /// The random source or the signing operation failed.
    #[error("{0} failed in the crypto library")]
    Failed(&'static str),
}

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// SHA-512 of `bytes`.
pub fn sha512(bytes: &[u8]) -> [u8; 64] {
    let mut out = [0; 64];
    out.copy_from_slice(digest::digest(&digest::SHA512, bytes).as_ref());
    out
}

/// HMAC-SHA-256 of `message` under `key` (RFC 2104).
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref());
    out
}

/// Streaming digests: SHA-256 always, SHA-512 where asked for (it has no hardware on most machines).
#[derive(Clone)]
pub struct Hasher {
    sha256: digest::Context,
    sha512: Option<digest::Context>,
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher").finish_non_exhaustive()
    }
}

/// What a [`Hasher`] saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digests {
    /// SHA-256 of everything fed in.
    pub sha256: [u8; 32],
    /// SHA-512, if it was asked for.
    pub sha512: Option<[u8; 64]>,
}

impl Hasher {
    /// A hasher that has seen nothing; `with_sha512` computes the second digest too.
    pub fn new(with_sha512: bool) -> Self {
        Self {
            sha256: digest::Context::new(&digest::SHA256),
            sha512: with_sha512.then(|| digest::Context::new(&digest::SHA512)),
        }
    }

    /// Feeds more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(sha512) = &mut self.sha512 {
            sha512.update(bytes);
        }
    }

    /// The digests of all bytes fed in.
    pub fn finish(self) -> Digests {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(self.sha256.finish().as_ref());
        let sha512 = self.sha512.map(|context| {
            let mut out = [0; 64];
            out.copy_from_slice(context.finish().as_ref());
            out
        });
        Digests { sha256, sha512 }
    }
}

/// A signature scheme of the TUF specification, section 4.2, with those that securesystemslib adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `ed25519`, RFC 8032.
    Ed25519,
    /// `ecdsa-sha2-nistp256`, ASN.1 DER signatures.
    EcdsaP256,
    /// `ecdsa-sha2-nistp384`, ASN.1 DER signatures.
    EcdsaP384,
    /// `rsassa-pss-sha256`, salt as long as the digest.
    RsaPssSha256,
    /// `rsassa-pss-sha384`.
    RsaPssSha384,
    /// `rsassa-pss-sha512`.
    RsaPssSha512,
    /// `rsa-pkcs1v15-sha256`: checked only, never used to sign.
    RsaPkcs1Sha256,
    /// `rsa-pkcs1v15-sha384`: checked only.
    RsaPkcs1Sha384,
    /// `rsa-pkcs1v15-sha512`: checked only.
    RsaPkcs1Sha512,
}

const SCHEMES: [(Scheme, &str); 9] = [
    (Scheme::Ed25519, "ed25519"),
    (Scheme::EcdsaP256, "ecdsa-sha2-nistp256"),
    (Scheme::EcdsaP384, "ecdsa-sha2-nistp384"),
    (Scheme::RsaPssSha256, "rsassa-pss-sha256"),
    (Scheme::RsaPssSha384, "rsassa-pss-sha384"),
    (Scheme::RsaPssSha512, "rsassa-pss-sha512"),
    (Scheme::RsaPkcs1Sha256, "rsa-pkcs1v15-sha256"),
    (Scheme::RsaPkcs1Sha384, "rsa-pkcs1v15-sha384"),
    (Scheme::RsaPkcs1Sha512, "rsa-pkcs1v15-sha512"),
];

impl Scheme {
    /// The scheme with this name in metadata, if it is supported.
    pub fn from_name(name: &str) -> Option<Self> {
        SCHEMES.iter().find(|(_, known)| *known == name).map(|(scheme, _)| *scheme)
    }

    /// The name used in metadata.
    pub fn name(self) -> &'static str {
        SCHEMES.iter().find(|(scheme, _)| *scheme == self).map_or("", |(_, name)| name)
    }
}

/// A bare public key: equal keys are the same key, whatever they are called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PublicKey {
    /// 32 bytes, RFC 8032.
    Ed25519([u8; 32]),
    /// Uncompressed point, 65 bytes.
    P256(Vec<u8>),
    /// Uncompressed point, 97 bytes.
    P384(Vec<u8>),
    /// PKCS#1 `RSAPublicKey`, DER. The modulus is checked when a signature is: 2,048 to 8,192 bits.
    Rsa(Vec<u8>),
}

impl PublicKey {
    /// Reads `SubjectPublicKeyInfo` DER (RFC 5280).
    pub fn from_spki_der(der: &[u8]) -> Result<Self, CryptoError> {
        let bad = |reason: String| CryptoError::BadKey { what: "public key", reason };
        let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|e| bad(e.to_string()))?;
        let key =
            info.subject_public_key.as_bytes().ok_or_else(|| bad("bit string with spare bits".into()))?;
        match info.algorithm.oid {
            OID_ED25519 => key.try_into().map(Self::Ed25519).map_err(|_| bad(format!("{} bytes", key.len()))),
            OID_RSA => Ok(Self::Rsa(key.to_vec())),
            OID_EC => match info.algorithm.parameters_oid() {
                Ok(OID_P256 | OID_P384) => Self::from_point(key),
                _ => Err(bad("unsupported curve".into())),
            },
            oid => Err(bad(format!("unsupported algorithm {oid}"))),
        }
    }

    /// Reads a PEM block: `PUBLIC KEY` (RFC 5280) or `RSA PUBLIC KEY` (PKCS#1).
    pub fn from_pem(pem: &str) -> Result<Self, CryptoError> {
        let bad = |reason: String| CryptoError::BadKey { what: "public key", reason };
        let (label, der) = Document::from_pem(pem.trim()).map_err(|e| bad(e.to_string()))?;
        match label {
            "PUBLIC KEY" => Self::from_spki_der(der.as_bytes()),
            "RSA PUBLIC KEY" => Ok(Self::Rsa(der.as_bytes().to_vec())),
            other => Err(bad(format!("PEM block is {other:?}"))),
        }
    }

    /// Reads an uncompressed curve point; the length tells the curve.
    pub fn from_point(point: &[u8]) -> Result<Self, CryptoError> {
        match (point.first(), point.len()) {
            (Some(4), 65) => Ok(Self::P256(point.to_vec())),
            (Some(4), 97) => Ok(Self::P384(point.to_vec())),
            (_, len) => {
                let reason = format!("not an uncompressed P-256 or P-384 point ({len} bytes)");
                Err(CryptoError::BadKey { what: "public key", reason })
            }
        }
    }

    /// The key as a `PUBLIC KEY` PEM block with a final newline.
    pub fn to_pem(&self) -> Result<String, CryptoError> {
        let failed = |_| CryptoError::Failed("encoding a public key");
        let (oid, parameters, key): (_, Option<&ObjectIdentifier>, &[u8]) = match self {
            Self::Ed25519(key) => (OID_ED25519, None, key),
            Self::P256(key) => (OID_EC, Some(&OID_P256), key),
            Self::P384(key) => (OID_EC, Some(&OID_P384), key),
            Self::Rsa(key) => (OID_RSA, None, key),
        };
        let parameters = match (oid, parameters) {
            (OID_RSA, _) => Some(pkcs8::der::asn1::AnyRef::NULL),
            (_, parameters) => parameters.map(Into::into),
        };
        let info = SubjectPublicKeyInfoRef {
            algorithm: AlgorithmIdentifierRef { oid, parameters },
            subject_public_key: BitStringRef::from_bytes(key).map_err(failed)?,
        };
        Document::encode_msg(&info).and_then(|doc| doc.to_pem("PUBLIC KEY", LineEnding::LF)).map_err(failed)
    }

    /// The kind of key in words.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "Ed25519",
            Self::P256(_) => "ECDSA P-256",
            Self::P384(_) => "ECDSA P-384",
            Self::Rsa(_) => "RSA",
        }
    }

    /// The scheme this project signs with when a key of this kind is given without one.
    pub fn default_scheme(&self) -> Scheme {
        match self {
            Self::Ed25519(_) => Scheme::Ed25519,
            Self::P256(_) => Scheme::EcdsaP256,
            Self::P384(_) => Scheme::EcdsaP384,
            Self::Rsa(_) => Scheme::RsaPssSha256,
        }
    }

    /// Whether `signature` is one over `message` by this key with `scheme`. A scheme for another kind of key: no.
    pub fn verifies(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> bool {
        let (algorithm, key): (&dyn signature::VerificationAlgorithm, &[u8]) = match (self, scheme) {
            (Self::Ed25519(key), Scheme::Ed25519) => (&signature::ED25519, key),
            (Self::P256(key), Scheme::EcdsaP256) => (&signature::ECDSA_P256_SHA256_ASN1, key),
            (Self::P384(key), Scheme::EcdsaP384) => (&signature::ECDSA_P384_SHA384_ASN1, key),
            (Self::Rsa(key), scheme) => match rsa_algorithm(scheme) {
                Some(algorithm) => (algorithm, key),
                None => return false,
            },
            _ => return false,
        };
        UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
    }
}

fn rsa_algorithm(scheme: Scheme) -> Option<&'static signature::RsaParameters> {
    match scheme {
        Scheme::RsaPssSha256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        Scheme::RsaPssSha384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        Scheme::RsaPssSha512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        Scheme::RsaPkcs1Sha256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        Scheme::RsaPkcs1Sha384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        Scheme::RsaPkcs1Sha512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        _ => None,
    }
}

/// Kinds of key that can be made here. RSA keys are read, not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewKey {
    /// Ed25519, the default.
    Ed25519,
    /// ECDSA on P-256.
    P256,
}

impl NewKey {
    /// A fresh private key as PKCS#8 DER that openssl and pyca read too.
    pub fn generate(self) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let random = SystemRandom::new();
        match self {
            Self::Ed25519 => {
                let mut seed = Zeroizing::new([0_u8; 32]);
                random.fill(seed.as_mut()).map_err(|_| CryptoError::Failed("the random source"))?;
                Ok(Zeroizing::new([ED25519_PKCS8_PREFIX.as_slice(), seed.as_slice()].concat()))
            }
            Self::P256 => EcdsaKeyPair::generate_pkcs8(&signature::ECDSA_P256_SHA256_ASN1_SIGNING, &random)
                .map(|document| Zeroizing::new(document.as_ref().to_vec()))
                .map_err(|_| CryptoError::Failed("generating a P-256 key")),
        }
    }
}

/// `N` bytes from the system's random source.
pub fn random<const N: usize>() -> Result<[u8; N], CryptoError> {
    let mut out = [0; N];
    SystemRandom::new().fill(&mut out).map_err(|_| CryptoError::Failed("the random source"))?;
    Ok(out)
}

/// A private key in memory. `Debug` shows the public half alone.
pub struct SigningKey {
    pair: Pair,
    public: PublicKey,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    Ecdsa(EcdsaKeyPair),
    Rsa(Box<RsaKeyPair>),
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("public", &self.public).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Reads an unencrypted PKCS#8 document (RFC 5958): Ed25519, P-256, P-384, RSA of 2,048 to 4,096 bits.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, CryptoError> {
        let bad = |reason: String| CryptoError::BadKey { what: "private key", reason };
        let info = PrivateKeyInfoRef::from_der(der).map_err(|e| bad(e.to_string()))?;
        let algorithm = match (info.algorithm.oid, info.algorithm.parameters_oid()) {
            (OID_ED25519, _) => {
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|e| bad(e.to_string()))?;
                let public = pair.public_key().as_ref().try_into().map_err(|_| bad("odd length".into()))?;
                return Ok(Self { pair: Pair::Ed25519(pair), public: PublicKey::Ed25519(public) });
            }
            (OID_RSA, _) => return Self::rsa(RsaKeyPair::from_pkcs8(der)),
            (OID_EC, Ok(OID_P256)) => &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
            (OID_EC, Ok(OID_P384)) => &signature::ECDSA_P384_SHA384_ASN1_SIGNING,
            (oid, _) => return Err(bad(format!("unsupported algorithm or curve {oid}"))),
        };
        let pair =
            EcdsaKeyPair::from_pkcs8(algorithm, der, &SystemRandom::new()).map_err(|e| bad(e.to_string()))?;
        let public = PublicKey::from_point(pair.public_key().as_ref())?;
        Ok(Self { pair: Pair::Ecdsa(pair), public })
    }

    /// Reads a PKCS#1 `RSAPrivateKey`, as older openssl writes it.
    pub fn from_pkcs1(der: &[u8]) -> Result<Self, CryptoError> {
        Self::rsa(RsaKeyPair::from_der(der))
    }

    fn rsa(pair: Result<RsaKeyPair, ring::error::KeyRejected>) -> Result<Self, CryptoError> {
        let pair =
            pair.map_err(|e| CryptoError::BadKey { what: "RSA private key", reason: e.to_string() })?;
        let public = PublicKey::Rsa(pair.public_key().as_ref().to_vec());
        Ok(Self { pair: Pair::Rsa(Box::new(pair)), public })
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// A signature over `message`. PKCS#1 v1.5 schemes are refused.
    pub fn sign(&self, scheme: Scheme, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let wrong = CryptoError::WrongScheme { key: self.public.kind(), scheme: scheme.name() };
        match (&self.pair, scheme) {
            (Pair::Ed25519(pair), Scheme::Ed25519) => Ok(pair.sign(message).as_ref().to_vec()),
            (Pair::Ecdsa(pair), scheme) if scheme == self.public.default_scheme() => pair
                .sign(&SystemRandom::new(), message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| CryptoError::Failed("signing")),
            (Pair::Rsa(pair), Scheme::RsaPssSha256) => rsa_sign(pair, &signature::RSA_PSS_SHA256, message),
            (Pair::Rsa(pair), Scheme::RsaPssSha384) => rsa_sign(pair, &signature::RSA_PSS_SHA384, message),
            (Pair::Rsa(pair), Scheme::RsaPssSha512) => rsa_sign(pair, &signature::RSA_PSS_SHA512, message),
            _ => Err(wrong),
        }
    }
}

fn rsa_sign(
    pair: &RsaKeyPair,
    encoding: &'static dyn signature::RsaEncoding,
    message: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    let mut out = vec![0; pair.public().modulus_len()];
    pair.sign(encoding, &SystemRandom::new(), message, &mut out)
        .map_err(|_| CryptoError::Failed("signing"))?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_keys_sign_and_verify_and_survive_pem() {
        for kind in [NewKey::Ed25519, NewKey::P256] {
            let key = SigningKey::from_pkcs8(&kind.generate().unwrap()).unwrap();
            let scheme = key.public().default_scheme();
            let signature = key.sign(scheme, b"message").unwrap();
            assert!(key.public().verifies(scheme, b"message", &signature));
            assert!(!key.public().verifies(scheme, b"massage", &signature));
            assert!(!key.public().verifies(Scheme::RsaPssSha256, b"message", &signature));
            assert_eq!(PublicKey::from_pem(&key.public().to_pem().unwrap()).unwrap(), *key.public());
        }
    }

    #[test]
    fn debug_of_a_signing_key_shows_no_private_bytes() {
        let der = NewKey::Ed25519.generate().unwrap();
        let seed = hex::encode(&der[16..]);
        let shown = format!("{:?}", SigningKey::from_pkcs8(&der).unwrap());
        assert!(!shown.contains(&seed) && shown.starts_with("SigningKey { public: Ed25519("));
    }

    #[test]
    fn a_key_that_is_no_key_is_refused_with_a_reason() {
        let refused = SigningKey::from_pkcs8(b"not a key").unwrap_err();
        assert!(refused.to_string().starts_with("not a usable private key: "), "{refused}");
        assert!(PublicKey::from_point(&[4; 64]).is_err());
    }
}
