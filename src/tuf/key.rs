//! Public keys as metadata writes them (specification section 4.2) and key ids.
//!
//! A key id is an opaque name: it is never recomputed when reading, as section 4.2 has allowed since 1.0.27. A key of
//! an unknown type or with unreadable material is kept, so that the metadata around it still works; it verifies
//! nothing.

use std::collections::BTreeMap;
use std::fmt;

use super::canonical::{Canonical, Raw};
use super::fields::{Extra, Fields, ParseError};
use super::json::{Json, quoted};
use super::render::Object;
use crate::crypto::{CryptoError, PublicKey, Scheme, sha256};

/// Bytes of a key id, at most. Real ones have 64.
pub const MAX_KEY_ID: usize = 1_024;

/// The name of a key within one repository. Not empty, at most [`MAX_KEY_ID`] bytes, without control characters: it
/// is shown to people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

impl KeyId {
    /// Checks the invariants.
    pub fn new(id: impl Into<String>) -> Result<Self, ParseError> {
        let id = id.into();
        if id.is_empty() || id.len() > MAX_KEY_ID || id.chars().any(char::is_control) {
            let (field, found) = (quoted(&id), format!("{} bytes long", id.len()));
            let expected = "1 to 1,024 bytes without control characters";
            return Err(ParseError::Wrong { within: "key ids", field, found, expected });
        }
        Ok(Self(id))
    }

    /// The id as it stands in metadata.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first eight characters, for people.
    pub fn short(&self) -> String {
        self.0.chars().take(8).collect()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A public key and the scheme its signatures use; the JSON it came as is kept whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    usable: Option<(Scheme, PublicKey)>,
    json: Json<'static>,
}

impl Key {
    /// A key as this project writes it: `keytype`, `keyval.public`, `scheme`, in the encodings that python-tuf,
    /// go-tuf and tough all read.
    pub fn new(public: PublicKey, scheme: Scheme) -> Result<Self, CryptoError> {
        let (keytype, text) = match &public {
            PublicKey::Ed25519(bytes) => ("ed25519", hex::encode(bytes)),
            PublicKey::P256(_) | PublicKey::P384(_) => ("ecdsa", public.to_pem()?),
            PublicKey::Rsa(_) => ("rsa", public.to_pem()?),
        };
        let json = Json::object([
            ("keytype", Json::str(keytype)),
            ("keyval", Json::object([("public", Json::str(text))])),
            ("scheme", Json::str(scheme.name())),
        ]);
        Ok(Self { usable: Some((scheme, public)), json })
    }

    /// Reads a key of any type. An error means that this is not a key at all.
    pub fn from_json(json: &Json<'_>) -> Result<Self, ParseError> {
        let canonical = Canonical::written(json.canonical_text().into());
        Self::read(canonical.value())
    }

    pub(super) fn read(value: Raw<'_>) -> Result<Self, ParseError> {
        let mut fields = Fields::new("a key", value)?;
        let (keytype, scheme) = (fields.string("keytype")?, fields.string("scheme")?);
        let keyval = fields.required("keyval")?;
        let Some(mut pairs) = keyval.pairs() else {
            return Err(fields.wrong("keyval", keyval, "an object"));
        };
        let public = pairs.find_map(|(name, public)| (name == "public").then(|| public.as_str())?);
        let usable = public.and_then(|public| usable(&keytype, &scheme, &public));
        Ok(Self { usable, json: value.tree() })
    }

    /// Appends the canonical form.
    pub(super) fn write(&self, out: &mut String) {
        self.json.write_canonical(out);
    }

    /// The key as metadata writes it, unknown fields included.
    pub fn to_json(&self) -> Json<'static> {
        self.json.clone()
    }

    /// SHA-256 of the canonical form, in hexadecimal: the id this project gives to keys it adds.
    pub fn id(&self) -> KeyId {
        KeyId(hex::encode(sha256(&self.json.canonical())))
    }

    /// The bare key, if its type is supported and its material readable.
    pub fn public(&self) -> Option<&PublicKey> {
        self.usable.as_ref().map(|(_, public)| public)
    }

    /// The scheme, if the key is usable.
    pub fn scheme(&self) -> Option<Scheme> {
        self.usable.as_ref().map(|(scheme, _)| *scheme)
    }

    /// The scheme as metadata names it, known or not.
    pub fn scheme_name(&self) -> &str {
        self.json.get("scheme").and_then(Json::as_str).unwrap_or("?")
    }

    /// Whether `signature` over `message` is by this key. An unusable key signs nothing.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.usable.as_ref().is_some_and(|(scheme, public)| public.verifies(*scheme, message, signature))
    }
}

fn usable(keytype: &str, scheme: &str, public: &str) -> Option<(Scheme, PublicKey)> {
    let scheme = Scheme::from_name(scheme)?;
    let public = match (keytype, scheme) {
        ("ed25519", Scheme::Ed25519) => PublicKey::Ed25519(hex::decode(public).ok()?.try_into().ok()?),
        ("ecdsa" | "ecdsa-sha2-nistp256" | "ecdsa-sha2-nistp384", Scheme::EcdsaP256 | Scheme::EcdsaP384) => {
            ecdsa(public)?
        }
        ("rsa", _) => PublicKey::from_pem(public).ok()?,
        _ => return None,
    };
    let fits = match scheme {
        Scheme::Ed25519 => matches!(public, PublicKey::Ed25519(_)),
        Scheme::EcdsaP256 => matches!(public, PublicKey::P256(_)),
        Scheme::EcdsaP384 => matches!(public, PublicKey::P384(_)),
        _ => matches!(public, PublicKey::Rsa(_)),
    };
    fits.then_some((scheme, public))
}

/// PEM, or the hexadecimal point that older repositories carry.
fn ecdsa(public: &str) -> Option<PublicKey> {
    if public.trim_start().starts_with("-----") {
        return PublicKey::from_pem(public).ok();
    }
    PublicKey::from_point(&hex::decode(public).ok()?).ok()
}

/// Reads the `keys` object of root or delegations.
pub(super) fn read_keys(fields: &mut Fields<'_>) -> Result<BTreeMap<KeyId, Key>, ParseError> {
    let pairs = fields.object("keys")?;
    pairs.map(|(id, key)| Ok((KeyId::new(id)?, Key::read(key)?))).collect()
}

/// Writes the `keys` object.
pub(super) fn write_keys(keys: &BTreeMap<KeyId, Key>, out: &mut String) {
    let none = Extra::new();
    let mut object = Object::open(out, &none);
    for (id, key) in keys {
        key.write(object.key(&id.0));
    }
    object.close();
}

/// Who may sign for a role: `keyids`, `threshold`, and what else stood there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleKeys {
    /// Names of the keys.
    pub keyids: Vec<KeyId>,
    /// How many different keys must sign; may exceed what `keyids` can deliver, and then nothing verifies.
    pub threshold: u64,
    /// Unknown fields.
    pub extra: Extra,
}

impl RoleKeys {
    pub(super) fn from_fields(fields: &mut Fields<'_>) -> Result<(Vec<KeyId>, u64), ParseError> {
        let keyids = fields.strings("keyids")?.into_iter().map(KeyId::new).collect::<Result<_, _>>()?;
        Ok((keyids, fields.positive("threshold")?))
    }

    pub(super) fn read(value: Raw<'_>) -> Result<Self, ParseError> {
        let mut fields = Fields::new("a role", value)?;
        let (keyids, threshold) = Self::from_fields(&mut fields)?;
        Ok(Self { keyids, threshold, extra: fields.extra() })
    }

    pub(super) fn write(&self, out: &mut String) {
        let mut object = Object::open(out, &self.extra);
        object.strings("keyids", self.keyids.iter().map(KeyId::as_str));
        object.number("threshold", self.threshold);
        object.close();
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::parse;
    use super::*;
    use crate::crypto::{NewKey, SigningKey};

    fn read(text: &str) -> Result<Key, ParseError> {
        Key::from_json(&parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn unknown_types_and_unreadable_material_are_kept_but_verify_nothing() {
        for text in [
            r#"{"keytype":"sphincs","scheme":"x","keyval":{"public":"00"}}"#,
            r#"{"keytype":"ed25519","scheme":"ed25519","keyval":{"public":"zz"}}"#,
            r#"{"keytype":"ed25519","scheme":"ed25519","keyval":{}}"#,
            r#"{"keytype":"ecdsa","scheme":"ecdsa-sha2-nistp384","keyval":{"public":"04"}}"#,
            r#"{"keytype":"rsa","scheme":"ed25519","keyval":{"public":"-----BEGIN"}}"#,
        ] {
            let key = read(text).unwrap();
            assert!(key.public().is_none() && !key.verifies(b"", b""), "{text}");
        }
        assert!(read(r#"{"keytype":"ed25519","keyval":{"public":"00"}}"#).is_err());
        assert!(read(r#"{"keytype":"ed25519","scheme":"ed25519","keyval":"00"}"#).is_err());
    }

    #[test]
    fn one_curve_point_is_one_key_in_pem_and_in_legacy_hex() {
        let signer = SigningKey::from_pkcs8(&NewKey::P256.generate().unwrap()).unwrap();
        let pem = Key::new(signer.public().clone(), Scheme::EcdsaP256).unwrap();
        let PublicKey::P256(point) = signer.public() else { unreachable!() };
        let text =
            r#"{"keytype":"ecdsa-sha2-nistp256","scheme":"ecdsa-sha2-nistp256","keyval":{"public":"POINT"}}"#;
        let legacy = read(&text.replace("POINT", &hex::encode(point))).unwrap();
        assert_eq!(pem.public(), legacy.public());
        assert_ne!(pem.id(), legacy.id());
        let signature = signer.sign(Scheme::EcdsaP256, b"m").unwrap();
        assert!(legacy.verifies(b"m", &signature) && !legacy.verifies(b"n", &signature));
    }

    #[test]
    fn extra_fields_of_a_key_are_kept() {
        let text = r#"{"keytype":"a","keyval":{"public":"","x":[1]},"scheme":"b","x-owner":{"name":"@me"}}"#;
        assert_eq!(read(text).unwrap().to_json().to_text(), text);
    }

    #[test]
    fn a_ten_megabyte_key_id_is_refused_in_few_words() {
        let refused = KeyId::new("k".repeat(10_000_000)).unwrap_err().to_string();
        assert!(refused.len() < 200 && refused.contains("10000000 bytes long"), "{refused}");
    }
}
