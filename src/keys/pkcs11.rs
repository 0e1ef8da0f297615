//! Keys on security tokens and in hardware security modules, by PKCS#11: the private key never leaves the device.
//!
//! | file | room |
//! |---|---|
//! | `uri` | [`TokenUri`], RFC 7512 |
//! | `token` | modules, tokens, login, sessions |
//! | `error` | [`TokenError`] |
//!
//! | key | mechanism | what the token is given |
//! |---|---|---|
//! | Ed25519 | `CKM_EDDSA` | the message |
//! | ECDSA P-256 | `CKM_ECDSA` | its SHA-256; the two numbers it answers become DER |
//! | RSA | `CKM_RSA_PKCS_PSS`, SHA-256, MGF1 with SHA-256, salt of 32 bytes | its SHA-256 |
//!
//! A key is opened by finding the one private key that fits, its public half by the same id, and by one signature that
//! shows that they belong together. The module is foreign code in this process: it is trusted like wheelseal itself,
//! and nothing bounds how long it takes, for somebody may have to touch the token.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use zeroize::Zeroizing;

use self::token::{Token, failed, find};
use self::uri::PinSource;
use super::{KeyError, KeyUri, Passphrase, Signer, as_key, checked, der, file};
use crate::crypto::{NewKey, PublicKey, Scheme, random, sha256};
use crate::tuf::key::Key;

mod error;
mod token;
mod uri;

pub use error::TokenError;
pub use token::MODULE_VARIABLE;
pub use uri::TokenUri;

/// RFC 5480: the curve P-256, as `CKA_EC_PARAMS` names it.
const P256: [u8; 10] = [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
/// RFC 8410: Ed25519 by its object identifier, as PKCS#11 3.0 and most tokens name it.
const ED25519: [u8; 5] = [6, 3, 0x2b, 0x65, 0x70];
/// Ed25519 by its name, a `PrintableString`, as PKCS#11 3.0 allows too.
const ED25519_NAME: [u8; 14] = *b"\x13\x0cedwards25519";
/// Bytes of a new key's id: enough that no two keys of a token have the same.
const ID_LENGTH: usize = 16;
/// What is signed to see whether two halves belong together. It is no metadata.
const PROBE: &[u8] = b"wheelseal: do these halves belong together?";

struct TokenSigner {
    uri: KeyUri,
    key: Key,
    scheme: Scheme,
    private: ObjectHandle,
    token: Arc<Token>,
}

impl fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSigner").field("uri", &self.uri).field("key", &self.key).finish_non_exhaustive()
    }
}

#[async_trait]
impl Signer for TokenSigner {
    fn key(&self) -> &Key {
        &self.key
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let (token, scheme, private) = (Arc::clone(&self.token), self.scheme, self.private);
        let input = input(scheme, message);
        let broken = |message: String| TokenError::Failed { what: "sign", message };
        let permit = self.token.permits().acquire().await;
        let work = move || token.with_session(|session| sign(session, scheme, private, &input));
        // A token takes its time, and a person's: other tasks go on meanwhile.
        let signed = tokio::task::spawn_blocking(work).await;
        drop(permit);
        let signed = signed.unwrap_or_else(|error| Err(broken(error.to_string())));
        checked(&self.uri, &self.key, message, signed.map_err(|cause| wrapped(&self.uri, cause))?)
    }
}

/// Opens a key for signing: logs in, finds both halves, and sees whether they belong together.
pub(super) async fn open(
    uri: &KeyUri,
    at: &TokenUri,
    ask: &dyn Passphrase,
) -> Result<Box<dyn Signer>, KeyError> {
    if at.public_only {
        return Err(KeyError::PublicOnly { uri: uri.clone() });
    }
    let token = find(at).map_err(|cause| wrapped(uri, cause))?;
    log_in(uri, at, &token, ask)?;
    let found = token.with_session(|session| pair(session, at));
    let (private, public) = found.map_err(|cause| wrapped(uri, cause))?;
    let scheme = public.default_scheme();
    let signer = TokenSigner { uri: uri.clone(), key: as_key(uri, public)?, scheme, private, token };
    signer.sign(PROBE).await?;
    Ok(Box::new(signer))
}

/// The public half alone. Without a PIN, if the token shows it to everyone.
pub(super) fn open_public(uri: &KeyUri, at: &TokenUri, ask: &dyn Passphrase) -> Result<Key, KeyError> {
    let wrong = |cause| wrapped(uri, cause);
    let token = find(at).map_err(wrong)?;
    let look = || token.with_session(|session| public(session, &named(at, ObjectClass::PUBLIC_KEY)));
    let found = match look() {
        Err(TokenError::Key { found, .. }) if found.is_empty() => {
            log_in(uri, at, &token, ask)?;
            look()
        }
        found => found,
    };
    as_key(uri, found.map_err(wrong)?)
}

/// Makes a key pair on the token. The private half can neither be read nor taken away from there.
///
/// # Errors
/// [`KeyError::BadUri`] if the URI does not name the new key; [`KeyError::TokenHasKey`] if there is one of that name.
pub(super) async fn generate(
    uri: &KeyUri,
    at: &TokenUri,
    kind: NewKey,
    ask: &dyn Passphrase,
) -> Result<Key, KeyError> {
    let Some(label) = at.object.as_ref().filter(|_| !at.public_only) else {
        return Err(KeyError::BadUri { scheme: "pkcs11", reason: "a new key needs object=LABEL" });
    };
    let wrong = |cause| wrapped(uri, cause);
    let token = find(at).map_err(wrong)?;
    log_in(uri, at, &token, ask)?;
    if token.with_session(|session| taken(session, at)).map_err(wrong)? {
        return Err(KeyError::TokenHasKey { uri: uri.clone() });
    }
    let unusable = |cause| KeyError::Unusable { uri: uri.clone(), cause };
    let id = match &at.id {
        Some(id) => id.clone(),
        None => random::<ID_LENGTH>().map_err(unusable)?.to_vec(),
    };
    make(&token, kind, label, &id).map_err(wrong)?;
    let mut made = at.clone();
    made.id = Some(id);
    Ok(open(uri, &made, ask).await?.key().clone())
}

fn make(token: &Token, kind: NewKey, label: &str, id: &[u8]) -> Result<(), TokenError> {
    let (mechanism, key_type, curve) = match kind {
        NewKey::Ed25519 => (Mechanism::EccEdwardsKeyPairGen, KeyType::EC_EDWARDS, ED25519.to_vec()),
        NewKey::P256 => (Mechanism::EccKeyPairGen, KeyType::EC, P256.to_vec()),
    };
    let both = [
        Attribute::Token(true),
        Attribute::KeyType(key_type),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Id(id.to_vec()),
    ];
    let public = [Attribute::Private(false), Attribute::Verify(true), Attribute::EcParams(curve)];
    let private = [
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
    ];
    let (public, private) = ([&both[..], &public].concat(), [&both[..], &private].concat());
    let made = token.writing()?.generate_key_pair(&mechanism, &public, &private);
    made.map(drop).map_err(|error| failed("make a key", &error))
}

/// Whether the label or the id of a new key is in use.
fn taken(session: &Session, at: &TokenUri) -> Result<bool, TokenError> {
    let label = at.object.iter().map(|label| Attribute::Label(label.as_bytes().to_vec()));
    let id = at.id.iter().map(|id| Attribute::Id(id.clone()));
    for name in label.chain(id) {
        for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
            let template = [Attribute::Class(class), name.clone()];
            let found = session.find_objects(&template).map_err(|e| failed("look for keys", &e))?;
            if !found.is_empty() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn wrapped(uri: &KeyUri, cause: TokenError) -> KeyError {
    KeyError::Token { uri: uri.clone(), cause }
}

fn log_in(uri: &KeyUri, at: &TokenUri, token: &Token, ask: &dyn Passphrase) -> Result<(), KeyError> {
    token.log_in(|| pin(uri, at, ask), |cause| wrapped(uri, cause))
}

fn pin(uri: &KeyUri, at: &TokenUri, ask: &dyn Passphrase) -> Result<Zeroizing<String>, KeyError> {
    match &at.pin {
        None => ask.pin(uri),
        Some(PinSource::File(path)) => file::line(uri, path),
        Some(PinSource::Env(name)) => {
            std::env::var(name).map(Zeroizing::new).map_err(|_| KeyError::NoVariable { name: name.clone() })
        }
    }
}

/// The attributes that objects of a class must have to be meant by the URI.
fn named(at: &TokenUri, class: ObjectClass) -> Vec<Attribute> {
    let mut template = vec![Attribute::Class(class)];
    template.extend(at.object.iter().map(|label| Attribute::Label(label.as_bytes().to_vec())));
    template.extend(at.id.iter().map(|id| Attribute::Id(id.clone())));
    template
}

/// The one private key that fits, and its public half.
fn pair(session: &Session, at: &TokenUri) -> Result<(ObjectHandle, PublicKey), TokenError> {
    let private = only(session, "private", &named(at, ObjectClass::PRIVATE_KEY))?;
    let wanted = [AttributeType::Id, AttributeType::Label, AttributeType::AlwaysAuthenticate];
    let attributes = attributes(session, private, &wanted)?;
    if attributes.contains(&Attribute::AlwaysAuthenticate(true)) {
        let reason =
            "it wants the PIN again for each signature (CKA_ALWAYS_AUTHENTICATE), which is not supported";
        return Err(TokenError::Unsuitable { reason });
    }
    // The same id is what ties the halves together; where a token has none, the same label has to do.
    let ties = attributes.iter().find(|one| matches!(one, Attribute::Id(id) if !id.is_empty()));
    let ties = ties.or_else(|| attributes.iter().find(|one| matches!(one, Attribute::Label(_))));
    let template: Vec<Attribute> =
        [Attribute::Class(ObjectClass::PUBLIC_KEY)].into_iter().chain(ties.cloned()).collect();
    Ok((private, public(session, &template)?))
}

fn only(session: &Session, what: &'static str, template: &[Attribute]) -> Result<ObjectHandle, TokenError> {
    let found = session.find_objects(template).map_err(|e| failed("look for keys", &e))?;
    if let [one] = found.as_slice() {
        return Ok(*one);
    }
    let shown = |object: &ObjectHandle| {
        let attributes = attributes(session, *object, &[AttributeType::Label, AttributeType::Id])?;
        let text = attributes.iter().map(|attribute| match attribute {
            Attribute::Label(label) => format!("{:?}", String::from_utf8_lossy(label)),
            Attribute::Id(id) => format!("id {}", hex::encode(id)),
            _ => String::new(),
        });
        Ok(text.collect::<Vec<_>>().join(" "))
    };
    let found = found.iter().map(shown).collect::<Result<_, TokenError>>()?;
    Err(TokenError::Key { what, found })
}

fn attributes(
    session: &Session,
    object: ObjectHandle,
    wanted: &[AttributeType],
) -> Result<Vec<Attribute>, TokenError> {
    session.get_attributes(object, wanted).map_err(|error| failed("read a key's attributes", &error))
}

fn public(session: &Session, template: &[Attribute]) -> Result<PublicKey, TokenError> {
    let object = only(session, "public", template)?;
    let wanted = [
        AttributeType::KeyType,
        AttributeType::EcParams,
        AttributeType::EcPoint,
        AttributeType::Modulus,
        AttributeType::PublicExponent,
    ];
    read_public(&attributes(session, object, &wanted)?)
}

fn read_public(attributes: &[Attribute]) -> Result<PublicKey, TokenError> {
    let unsuitable = |reason| TokenError::Unsuitable { reason };
    let (mut kind, mut curve, mut point, mut modulus, mut exponent) = (None, None, None, None, None);
    for attribute in attributes {
        match attribute {
            Attribute::KeyType(value) => kind = Some(*value),
            Attribute::EcParams(value) => curve = Some(value.as_slice()),
            Attribute::EcPoint(value) => point = Some(der::unwrapped(value)),
            Attribute::Modulus(value) => modulus = Some(value.as_slice()),
            Attribute::PublicExponent(value) => exponent = Some(value.as_slice()),
            _ => {}
        }
    }
    let bad = || unsuitable("its public half is damaged");
    match (kind, curve, point, modulus.zip(exponent)) {
        (Some(KeyType::EC_EDWARDS), Some(curve), Some(point), _) if is_ed25519(curve) => {
            point.try_into().map(PublicKey::Ed25519).map_err(|_| bad())
        }
        (Some(KeyType::EC), Some(curve), Some(point), _) if curve == P256 => {
            PublicKey::from_point(point).map_err(|_| bad())
        }
        (Some(KeyType::RSA), _, _, Some((modulus, exponent))) => {
            der::integers([modulus, exponent]).map(PublicKey::Rsa).map_err(|_| bad())
        }
        _ => Err(unsuitable("it is none of Ed25519, ECDSA P-256 and RSA")),
    }
}

fn is_ed25519(curve: &[u8]) -> bool {
    curve == ED25519 || curve == ED25519_NAME
}

/// What the token is given of a message.
fn input(scheme: Scheme, message: &[u8]) -> Vec<u8> {
    if scheme == Scheme::Ed25519 { message.to_vec() } else { sha256(message).to_vec() }
}

fn sign(
    session: &Session,
    scheme: Scheme,
    private: ObjectHandle,
    input: &[u8],
) -> Result<Vec<u8>, TokenError> {
    let mechanism = match scheme {
        Scheme::Ed25519 => Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519)),
        Scheme::EcdsaP256 => Mechanism::Ecdsa,
        _ => Mechanism::RsaPkcsPss(PkcsPssParams {
            hash_alg: MechanismType::SHA256,
            mgf: PkcsMgfType::MGF1_SHA256,
            s_len: 32.into(),
        }),
    };
    let signed = session.sign(&mechanism, private, input).map_err(|error| failed("sign", &error))?;
    if scheme != Scheme::EcdsaP256 {
        return Ok(signed);
    }
    let bad = || TokenError::Unsuitable { reason: "its signatures are not two numbers of 32 bytes" };
    let (r, s) = signed.split_at_checked(32).filter(|(_, s)| s.len() == 32).ok_or_else(bad)?;
    der::integers([r, s]).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::der::wrapped as octets;

    const POINT: [u8; 65] = {
        let mut point = [7; 65];
        point[0] = 4;
        point
    };

    fn ec(kind: KeyType, curve: &[u8], point: &[u8]) -> Result<PublicKey, TokenError> {
        let attributes = [
            Attribute::KeyType(kind),
            Attribute::EcParams(curve.to_vec()),
            Attribute::EcPoint(point.to_vec()),
        ];
        read_public(&attributes)
    }

    #[test]
    fn public_halves_are_read_in_each_form_that_tokens_write() {
        let ed = Ok(PublicKey::Ed25519([9; 32]));
        for curve in [&ED25519[..], &ED25519_NAME] {
            assert_eq!(ec(KeyType::EC_EDWARDS, curve, &octets(&[9; 32])), ed);
            assert_eq!(ec(KeyType::EC_EDWARDS, curve, &[9; 32]), ed);
        }
        let p256 = Ok(PublicKey::P256(POINT.to_vec()));
        assert_eq!(ec(KeyType::EC, &P256, &octets(&POINT)), p256);
        assert_eq!(ec(KeyType::EC, &P256, &POINT), p256);
    }

    #[test]
    fn keys_of_no_use_are_refused_with_a_reason() {
        let kind = TokenError::Unsuitable { reason: "it is none of Ed25519, ECDSA P-256 and RSA" };
        let damaged = TokenError::Unsuitable { reason: "its public half is damaged" };
        assert_eq!(ec(KeyType::EC, &[6, 5, 0x2b, 0x81, 4, 0, 0x22], &POINT), Err(kind.clone()));
        assert_eq!(ec(KeyType::EC, &ED25519, &[9; 32]), Err(kind.clone()));
        assert_eq!(ec(KeyType::AES, &P256, &POINT), Err(kind.clone()));
        assert_eq!(read_public(&[]), Err(kind));
        assert_eq!(ec(KeyType::EC_EDWARDS, &ED25519, &[9; 31]), Err(damaged.clone()));
        assert_eq!(ec(KeyType::EC, &P256, &[9; 65]), Err(damaged));
    }
}
