//! PEM text to keys and back. Pure, but for the salt of an encryption.
//!
//! | block | from |
//! |---|---|
//! | `PRIVATE KEY` | PKCS#8, RFC 5958: wheelseal, openssl, pyca, python-tuf |
//! | `ENCRYPTED PRIVATE KEY` | PBES2, RFC 8018: scrypt or PBKDF2 (not with SHA-1), AES-CBC or AES-GCM |
//! | `RSA PRIVATE KEY` | PKCS#1, RFC 8017: older openssl |
//! | `EC PRIVATE KEY` | SEC1, RFC 5915: `openssl ec`, with or without `EC PARAMETERS` before it |
//! | `PUBLIC KEY`, `RSA PUBLIC KEY` | public halves |
//!
//! The first block counts; text around it is ignored. Private bytes stay in buffers that are wiped.

use pkcs8::der::asn1::{AnyRef, OctetStringRef};
use pkcs8::der::{Decode, Reader, SliceReader, TagMode, TagNumber};
use pkcs8::pkcs5::{self, EncryptionScheme, pbes2};
use pkcs8::spki::AlgorithmIdentifierRef;
use pkcs8::{
    EncryptedPrivateKeyInfoRef, LineEnding, ObjectIdentifier, PrivateKeyInfoRef, SecretDocument, der,
};
use zeroize::Zeroizing;

use super::{KeyError, KeyUri, Passphrase};
use crate::crypto::{self, CryptoError, PublicKey, SigningKey};

const PRIVATE: &str = "PRIVATE KEY";
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";
const PRIVATE_LABELS: &str = "PRIVATE KEY, ENCRYPTED PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY";
const BEGIN: &str = "-----BEGIN ";
/// Characters of a block's label, at most; RFC 7468 has none longer than 22.
const MAX_LABEL: usize = 40;
/// RFC 5480: elliptic-curve keys.
const OID_EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// scrypt `N`: with `r` = 8 it takes 16 MiB, half of what openssl 3 allows itself when it reads such a key.
const SCRYPT_N: u64 = 1 << 14;
/// scrypt `r`, RFC 7914.
const SCRYPT_R: u16 = 8;
/// scrypt `p`: makes a guess cost 50 to 100 ms without more memory.
const SCRYPT_P: u16 = 2;
/// Work of a foreign key's scrypt (128·N·r·p bytes), at most: some 4 s. openssl's largest is 2^25.
const MAX_SCRYPT_BYTES: u64 = 1 << 30;
/// Rounds of a foreign key's PBKDF2, at most: some 4 s. OWASP recommends 600,000.
const MAX_PBKDF2_ROUNDS: u32 = 10_000_000;

/// The key block of a PEM text.
pub(super) struct Block<'a> {
    uri: &'a KeyUri,
    label: &'a str,
    text: &'a str,
}

impl<'a> Block<'a> {
    pub(super) fn find(uri: &'a KeyUri, bytes: &'a [u8]) -> Result<Self, KeyError> {
        let not_pem = |reason: &str| KeyError::NotPem { uri: uri.clone(), reason: reason.into() };
        let mut rest = std::str::from_utf8(bytes).map_err(|_| not_pem("not text"))?;
        loop {
            let (label, text, after) = split_block(rest).ok_or_else(|| not_pem("no whole PEM block"))?;
            if label != "EC PARAMETERS" {
                return Ok(Self { uri, label, text });
            }
            rest = after;
        }
    }

    pub(super) fn is_public(&self) -> bool {
        matches!(self.label, "PUBLIC KEY" | "RSA PUBLIC KEY")
    }

    pub(super) fn public(&self) -> Result<PublicKey, KeyError> {
        if !self.is_public() {
            return Err(self.wrong_block("PUBLIC KEY"));
        }
        PublicKey::from_pem(self.text).map_err(|cause| self.unusable(cause))
    }

    /// Asks for a passphrase if the block is encrypted.
    pub(super) fn private(&self, passphrase: &dyn Passphrase) -> Result<SigningKey, KeyError> {
        if self.text.contains("Proc-Type:") {
            let reason =
                "the legacy encryption of openssl (Proc-Type), which takes MD5 of the passphrase".into();
            return Err(KeyError::Encryption { uri: self.uri.clone(), reason });
        }
        let key = match self.label {
            PRIVATE => SigningKey::from_pkcs8(self.der()?.as_bytes()),
            ENCRYPTED => {
                let document = self.der()?;
                SigningKey::from_pkcs8(&decrypt(self.uri, document.as_bytes(), passphrase)?)
            }
            "RSA PRIVATE KEY" => SigningKey::from_pkcs1(self.der()?.as_bytes()),
            "EC PRIVATE KEY" => sec1(self.der()?.as_bytes()),
            _ if self.is_public() => return Err(KeyError::PublicOnly { uri: self.uri.clone() }),
            _ => return Err(self.wrong_block(PRIVATE_LABELS)),
        };
        key.map_err(|cause| self.unusable(cause))
    }

    fn der(&self) -> Result<SecretDocument, KeyError> {
        let not_pem = |e: der::Error| KeyError::NotPem { uri: self.uri.clone(), reason: e.to_string() };
        SecretDocument::from_pem(self.text).map(|(_, document)| document).map_err(not_pem)
    }

    fn wrong_block(&self, expected: &'static str) -> KeyError {
        KeyError::WrongBlock { uri: self.uri.clone(), found: self.label.to_owned(), expected }
    }

    fn unusable(&self, cause: CryptoError) -> KeyError {
        KeyError::Unusable { uri: self.uri.clone(), cause }
    }
}

/// The first block: its label, all of it, and what follows. A label that could be anything else is none.
fn split_block(text: &str) -> Option<(&str, &str, &str)> {
    let text = text.get(text.find(BEGIN)?..)?;
    let (label, _) = text.get(BEGIN.len()..)?.split_once("-----")?;
    let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == ' ';
    if label.len() > MAX_LABEL || !label.chars().all(plain) {
        return None;
    }
    let last = format!("-----END {label}-----");
    let (block, after) = text.split_at_checked(text.find(&last)? + last.len())?;
    Some((label, block, after))
}

fn decrypt(uri: &KeyUri, der: &[u8], passphrase: &dyn Passphrase) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let unsupported = |reason: String| KeyError::Encryption { uri: uri.clone(), reason };
    let info = EncryptedPrivateKeyInfoRef::from_der(der)
        .map_err(|e| unsupported(format!("not PBES2 with AES ({e})")))?;
    if let Some(reason) = too_much_work(&info.encryption_algorithm) {
        return Err(unsupported(reason));
    }
    let passphrase = passphrase.for_existing(uri)?;
    let mut buffer = Zeroizing::new(info.encrypted_data.as_bytes().to_vec());
    let length = match info.encryption_algorithm.decrypt_in_place(passphrase.as_bytes(), &mut buffer) {
        Ok(plain) => plain.len(),
        Err(pkcs5::Error::DecryptFailed) => return Err(KeyError::WrongPassphrase { uri: uri.clone() }),
        Err(other) => return Err(unsupported(other.to_string())),
    };
    buffer.truncate(length);
    // One wrong passphrase in 256 leaves valid padding; what it decrypts to is no DER.
    match AnyRef::from_der(&buffer) {
        Ok(_) => Ok(buffer),
        Err(_) => Err(KeyError::WrongPassphrase { uri: uri.clone() }),
    }
}

/// A damaged or hostile file must not take all memory or the whole day.
fn too_much_work(scheme: &EncryptionScheme) -> Option<String> {
    let kdf = &scheme.pbes2()?.kdf;
    if let Some(pbkdf2) = kdf.pbkdf2().filter(|pbkdf2| pbkdf2.iteration_count > MAX_PBKDF2_ROUNDS) {
        let found = pbkdf2.iteration_count;
        return Some(format!("{found} rounds of PBKDF2, expected {MAX_PBKDF2_ROUNDS} at most"));
    }
    let scrypt = kdf.scrypt()?;
    let blocks = u64::from(scrypt.block_size).saturating_mul(u64::from(scrypt.parallelization));
    let bytes = scrypt.cost_parameter.saturating_mul(blocks).saturating_mul(128);
    (bytes > MAX_SCRYPT_BYTES)
        .then(|| format!("scrypt over {bytes} bytes, expected {MAX_SCRYPT_BYTES} at most"))
}

/// Reads RFC 5915 `ECPrivateKey` by putting it into PKCS#8, which needs the curve that stands inside.
fn sec1(der: &[u8]) -> Result<SigningKey, CryptoError> {
    let bad = |e: der::Error| CryptoError::BadKey { what: "EC private key", reason: e.to_string() };
    let curve = sec1_curve(der)
        .map_err(bad)?
        .ok_or(CryptoError::BadKey { what: "EC private key", reason: "it does not name its curve".into() })?;
    let algorithm = AlgorithmIdentifierRef { oid: OID_EC, parameters: Some((&curve).into()) };
    let key = OctetStringRef::new(der).map_err(bad)?;
    let document = SecretDocument::encode_msg(&PrivateKeyInfoRef::new(algorithm, key)).map_err(bad)?;
    SigningKey::from_pkcs8(document.as_bytes())
}

fn sec1_curve(der: &[u8]) -> der::Result<Option<ObjectIdentifier>> {
    SliceReader::new(der)?.sequence(|fields| {
        let _version = u8::decode(fields)?;
        let _secret = <&OctetStringRef>::decode(fields)?;
        let curve = fields.context_specific(TagNumber(0), TagMode::Explicit)?;
        while !fields.is_finished() {
            AnyRef::decode(fields)?;
        }
        Ok(curve)
    })
}

/// PKCS#8 DER as PEM, encrypted if there is a passphrase. openssl and pyca read it.
pub(super) fn encode(der: &[u8], passphrase: Option<&str>) -> Result<Zeroizing<String>, CryptoError> {
    let failed = |_| CryptoError::Failed("encoding a private key");
    let Some(passphrase) = passphrase else {
        let document = SecretDocument::try_from(der).map_err(failed)?;
        return document.to_pem(PRIVATE, LineEnding::LF).map_err(failed);
    };
    let scheme = EncryptionScheme::Pbes2(new_parameters()?);
    let data =
        scheme.encrypt(passphrase, der).map_err(|_| CryptoError::Failed("encrypting a private key"))?;
    let encrypted_data = OctetStringRef::new(&data).map_err(failed)?;
    let info = EncryptedPrivateKeyInfoRef { encryption_algorithm: scheme, encrypted_data };
    SecretDocument::encode_msg(&info)
        .and_then(|document| document.to_pem(ENCRYPTED, LineEnding::LF))
        .map_err(failed)
}

fn new_parameters() -> Result<pbes2::Parameters, CryptoError> {
    let salt = pbes2::Salt::new(crypto::random::<16>()?).map_err(|_| CryptoError::Failed("making a salt"))?;
    let scrypt = pbes2::ScryptParams {
        salt,
        cost_parameter: SCRYPT_N,
        block_size: SCRYPT_R,
        parallelization: SCRYPT_P,
        key_length: None,
    };
    let encryption = pbes2::EncryptionScheme::Aes256Cbc { iv: crypto::random()? };
    Ok(pbes2::Parameters { kdf: scrypt.into(), encryption })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Given, Nobody};
    use super::*;

    const ED25519: &str = include_str!("fixtures/worthless-ed25519.pem");
    const ED25519_PUBLIC: &str = include_str!("fixtures/worthless-ed25519.pub.pem");
    const P256: &str = include_str!("fixtures/worthless-p256.pem");
    const P256_PUBLIC: &str = include_str!("fixtures/worthless-p256.pub.pem");
    const P384_PUBLIC: &str = include_str!("fixtures/worthless-p384.pub.pem");
    const RSA: &str = include_str!("fixtures/worthless-rsa.pem");
    const RSA_PUBLIC: &str = include_str!("fixtures/worthless-rsa.pub.pem");
    const SCRYPT: &str = include_str!("fixtures/worthless-ed25519-scrypt.pem");
    const AES256: &str = include_str!("fixtures/worthless-ed25519-pkey-aes256.pem");
    const PYCA: &str = include_str!("fixtures/worthless-ed25519-pyca.pem");

    fn uri() -> KeyUri {
        "k.pem".parse().unwrap()
    }

    fn read(pem: &str, passphrase: &dyn Passphrase) -> Result<SigningKey, KeyError> {
        Block::find(&uri(), pem.as_bytes())?.private(passphrase)
    }

    fn refusal(pem: &str) -> KeyError {
        read(pem, &Given("worthless")).unwrap_err()
    }

    fn assert_is(pem: &str, public: &str, passphrase: &dyn Passphrase) {
        let key = read(pem, passphrase).unwrap();
        assert_eq!(*key.public(), PublicKey::from_pem(public).unwrap());
        let scheme = key.public().default_scheme();
        assert!(key.public().verifies(scheme, b"m", &key.sign(scheme, b"m").unwrap()));
    }

    #[test]
    fn plain_keys_of_openssl_and_python_tuf_open_without_a_passphrase() {
        assert_is(ED25519, ED25519_PUBLIC, &Nobody);
        assert_is(P256, P256_PUBLIC, &Nobody);
        assert_is(include_str!("fixtures/worthless-p384.pem"), P384_PUBLIC, &Nobody);
        assert_is(RSA, RSA_PUBLIC, &Nobody);
        assert_is(include_str!("fixtures/worthless-rsa-pkcs1.pem"), RSA_PUBLIC, &Nobody);
        assert_is(include_str!("fixtures/worthless-p256-sec1.pem"), P256_PUBLIC, &Nobody);
        assert_is(include_str!("fixtures/worthless-p384-sec1.pem"), P384_PUBLIC, &Nobody);
    }

    #[test]
    fn encrypted_keys_of_openssl_and_pyca_open_with_the_passphrase() {
        for (pem, public) in [
            (AES256, ED25519_PUBLIC),
            (include_str!("fixtures/worthless-ed25519-aes128-sha512.pem"), ED25519_PUBLIC),
            (SCRYPT, ED25519_PUBLIC),
            (PYCA, ED25519_PUBLIC),
            (include_str!("fixtures/worthless-p256-pkcs8-topk8.pem"), P256_PUBLIC),
            (include_str!("fixtures/worthless-p256-pyca.pem"), P256_PUBLIC),
            (include_str!("fixtures/worthless-rsa-pyca.pem"), RSA_PUBLIC),
        ] {
            assert_is(pem, public, &Given("worthless"));
        }
    }

    #[test]
    fn weak_and_old_encryptions_are_refused_with_the_way_out() {
        for (pem, says) in [
            (include_str!("fixtures/worthless-ed25519-sha1.pem"), "1.2.840.113549.2.7"),
            (include_str!("fixtures/worthless-ed25519-pbes1.pem"), "not PBES2 with AES"),
            (include_str!("fixtures/worthless-p256-legacy-encrypted.pem"), "Proc-Type"),
        ] {
            let refused = refusal(pem);
            assert!(
                matches!(&refused, KeyError::Encryption { reason, .. } if reason.contains(says)),
                "{refused}"
            );
            assert!(refused.hint().unwrap().contains("openssl pkcs8 -topk8"));
        }
    }

    #[test]
    fn what_was_encrypted_here_opens_here_and_is_not_in_the_clear() {
        let der = read_der(ED25519);
        let pem = encode(&der, Some("correct horse")).unwrap();
        assert!(pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
        assert_is(&pem, ED25519_PUBLIC, &Given("correct horse"));
        assert_ne!(*pem, *encode(&der, Some("correct horse")).unwrap());
        assert_eq!(*encode(&der, None).unwrap(), ED25519);
    }

    fn read_der(pem: &str) -> Zeroizing<Vec<u8>> {
        SecretDocument::from_pem(pem).unwrap().1.to_bytes()
    }

    #[test]
    fn a_wrong_passphrase_is_called_that_even_when_the_padding_happens_to_fit() {
        let der = read_der(AES256);
        let info = EncryptedPrivateKeyInfoRef::from_der(&der).unwrap();
        let fits = |guess: &u32| {
            info.encryption_algorithm.decrypt(guess.to_string(), info.encrypted_data.as_bytes()).is_ok()
        };
        let lucky = (0_u32..10_000).find(fits).unwrap().to_string();
        for guess in [lucky.as_str(), "0", ""] {
            let refused = read(AES256, &Given(guess)).unwrap_err();
            assert_eq!(refused, KeyError::WrongPassphrase { uri: uri() }, "{guess}");
        }
    }

    #[test]
    fn a_key_file_cannot_demand_unlimited_work() {
        let info_der = read_der(SCRYPT);
        let info = EncryptedPrivateKeyInfoRef::from_der(&info_der).unwrap();
        let mut scrypt = *info.encryption_algorithm.pbes2().unwrap().kdf.scrypt().unwrap();
        let encryption = info.encryption_algorithm.pbes2().unwrap().encryption;
        let scheme = |kdf| EncryptionScheme::Pbes2(pbes2::Parameters { kdf, encryption });
        scrypt.cost_parameter = 1 << 20;
        assert_eq!(too_much_work(&scheme(scrypt.into())), None);
        scrypt.parallelization = 2;
        let reason = "scrypt over 2147483648 bytes, expected 1073741824 at most";
        assert_eq!(too_much_work(&scheme(scrypt.into())).unwrap(), reason);
        let mut pbkdf2 = pbes2::Pbkdf2Params::hmac_sha256(MAX_PBKDF2_ROUNDS, b"salt").unwrap();
        assert_eq!(too_much_work(&scheme(pbkdf2.into())), None);
        pbkdf2.iteration_count += 1;
        let reason = "10000001 rounds of PBKDF2, expected 10000000 at most";
        assert_eq!(too_much_work(&scheme(pbkdf2.into())).unwrap(), reason);
    }

    #[test]
    fn text_around_the_block_and_windows_line_ends_do_not_matter() {
        let noisy = format!("Bag Attributes: none\n{ED25519}\ntrailing words\n{P256}");
        assert_is(&noisy, ED25519_PUBLIC, &Nobody);
        assert_is(&ED25519.replace('\n', "\r\n"), ED25519_PUBLIC, &Nobody);
    }

    #[test]
    fn blocks_of_other_kinds_are_named() {
        let uri_of_it = uri();
        let public = Block::find(&uri_of_it, ED25519_PUBLIC.as_bytes()).unwrap();
        assert_eq!(public.private(&Nobody).unwrap_err(), KeyError::PublicOnly { uri: uri() });
        let private = Block::find(&uri(), ED25519.as_bytes()).unwrap().public().unwrap_err();
        let wrong =
            |found: &str, expected| KeyError::WrongBlock { uri: uri(), found: found.into(), expected };
        assert_eq!(private, wrong("PRIVATE KEY", "PUBLIC KEY"));
        let ssh = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----";
        assert_eq!(refusal(ssh), wrong("OPENSSH PRIVATE KEY", PRIVATE_LABELS));
    }

    #[test]
    fn no_error_repeats_a_byte_of_the_key() {
        let secret = ED25519.lines().nth(1).unwrap();
        let mut broken = vec![
            ED25519.replace("END", "DNE"),
            ED25519.replace("-----BEGIN PRIVATE KEY-----\n", "-----BEGIN "),
            ED25519.replace("PRIVATE", "RSA PRIVATE"),
            ED25519.replace("PRIVATE", "EC PRIVATE"),
            ED25519.replace("PRIVATE", "ENCRYPTED PRIVATE"),
            ED25519.replace("PRIVATE", "SECRET"),
            secret.to_owned(),
        ];
        broken.extend((0..secret.len()).map(|at| ED25519.replace(secret, &secret[..at])));
        broken.extend((0..secret.len()).map(|at| {
            let mut damaged = secret.to_owned();
            damaged.replace_range(at..=at, "!");
            ED25519.replace(secret, &damaged)
        }));
        for pem in broken {
            let refused = refusal(&pem);
            let shown = format!("{refused} {refused:?}");
            assert!(
                !secret.as_bytes().windows(8).any(|part| shown.contains(std::str::from_utf8(part).unwrap()))
            );
        }
    }

    #[test]
    fn garbage_is_refused_and_never_panics() {
        assert!(matches!(Block::find(&uri(), b"\xff\x00"), Err(KeyError::NotPem { .. })));
        for pem in [RSA, PYCA, include_str!("fixtures/worthless-p256-sec1.pem")] {
            for at in (0..pem.trim_end().len()).step_by(7) {
                assert!(read(&pem[..at], &Given("worthless")).is_err());
            }
        }
    }
}
