//! Keys that sign notes (c2sp.org/signed-note@v1.0.0, "Signatures" and "Verifier keys"): a name, a kind, an Ed25519 key.
//!
//! A signature names its key by name and by a short id. The id is no secure hash: it only says which of the keys that
//! are known here is meant.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::cosignature;
use super::text::{base64, quoted, to_base64};
use crate::crypto::{PublicKey, Scheme, sha256};

/// Bytes of a key name, at most; names are addresses without a scheme.
pub const MAX_KEY_NAME: usize = 255;
/// Bytes of an Ed25519 signature.
pub const SIGNATURE_LEN: usize = 64;

/// Why a key is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Empty, too long, or with white space, `+` or a control character.
    #[error(
        "the key name is \"{name}\", expected 1 to {MAX_KEY_NAME} bytes without white space, '+' and control characters"
    )]
    Name {
        /// Start of the name.
        name: String,
    },
    /// Not `NAME+ID+KEY`.
    #[error("\"{text}\" is no verifier key, expected NAME+ID+KEY")]
    Syntax {
        /// Start of the text.
        text: String,
    },
    /// A kind of key that is not supported here.
    #[error("key {name} is of kind {found:#04x}, expected 0x01 (Ed25519) or 0x04 (Ed25519 cosignatures)")]
    Kind {
        /// Name of the key.
        name: String,
        /// The byte that says the kind.
        found: u8,
    },
    /// The id is not the one that name, kind and key give.
    #[error("key {name} has the id {found}, expected {expected}")]
    Id {
        /// Name of the key.
        name: String,
        /// The id that was given.
        found: KeyId,
        /// The id that it has.
        expected: KeyId,
    },
    /// The same key twice among those that are known: it would count as two.
    #[error("keys {one} and {other} are the same key, or have the same name and id")]
    Duplicate {
        /// Name of the first.
        one: String,
        /// Name of the second.
        other: String,
    },
}

/// The name of a key: 1 to 255 bytes without white space of any script, `+`, and control characters. It is an address
/// without a scheme by custom, and nothing is ever fetched from it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

impl KeyName {
    /// Checks the invariants.
    pub fn new(name: &str) -> Result<Self, KeyError> {
        let forbidden = |c: char| c.is_whitespace() || c.is_control() || c == '+';
        if name.is_empty() || name.len() > MAX_KEY_NAME || name.contains(forbidden) {
            return Err(KeyError::Name { name: quoted(name) });
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The first four bytes of SHA-256 over name, newline, kind and key. Text is eight lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 4]);

impl KeyId {
    /// An id as a signature has it.
    pub fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }

    /// The four bytes.
    pub fn as_bytes(&self) -> &[u8; 4] {
        &self.0
    }

    fn of(name: &KeyName, kind: KeyKind, key: &[u8; 32]) -> Self {
        let digest = sha256(&[name.as_str().as_bytes(), b"\n", &[kind.byte()], key].concat());
        let [a, b, c, d, ..] = digest;
        Self([a, b, c, d])
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// What a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// `0x01`: the text of notes. Logs have such keys.
    Log,
    /// `0x04`: a time and the text of checkpoints ([`cosignature`]). Witnesses have such keys.
    Witness,
}

impl KeyKind {
    fn byte(self) -> u8 {
        match self {
            Self::Log => 1,
            Self::Witness => 4,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Log, Self::Witness].into_iter().find(|kind| kind.byte() == byte)
    }
}

/// A public key with its name: what is needed to check the signatures of one log or witness. Text is a vkey,
/// `NAME+ID+KEY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: KeyName,
    kind: KeyKind,
    key: [u8; 32],
    id: KeyId,
}

impl VerifierKey {
    /// A key of this name, by the 32 bytes of RFC 8032.
    pub fn new(name: KeyName, kind: KeyKind, key: [u8; 32]) -> Self {
        let id = KeyId::of(&name, kind, &key);
        Self { name, kind, key, id }
    }

    /// The name.
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// What it signs.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The id.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The bare key.
    pub fn public_key(&self) -> PublicKey {
        PublicKey::Ed25519(self.key)
    }

    /// Checks the bytes that stand behind the id in a signature line over `text`. What they say, if they are by this
    /// key.
    pub(super) fn verify(&self, text: &str, bytes: &[u8]) -> Option<Statement> {
        let good = |message: &str, signature: &[u8]| {
            self.public_key().verifies(Scheme::Ed25519, message.as_bytes(), signature)
        };
        match self.kind {
            KeyKind::Log => good(text, bytes).then_some(Statement::Signed),
            KeyKind::Witness => {
                let (time, signature) = cosignature::split(bytes)?;
                good(&cosignature::message(time, text), signature).then_some(Statement::Cosigned { time })
            }
        }
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    /// Reads a vkey in its one form.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let syntax = || KeyError::Syntax { text: quoted(text) };
        let (name, rest) = text.split_once('+').ok_or_else(syntax)?;
        let (id, key) = rest.split_once('+').ok_or_else(syntax)?;
        let name = KeyName::new(name)?;
        let (kind, key) = base64(key)
            .and_then(|bytes| bytes.split_first().map(|(kind, key)| (*kind, key.to_vec())))
            .ok_or_else(syntax)?;
        let kind =
            KeyKind::from_byte(kind).ok_or_else(|| KeyError::Kind { name: name.to_string(), found: kind })?;
        let read = Self::new(name, kind, key.try_into().map_err(|_| syntax())?);
        let mut found = [0; 4];
        hex::decode_to_slice(id, &mut found).map_err(|_| syntax())?;
        if found != *read.id.as_bytes() {
            let (name, found) = (read.name.to_string(), KeyId(found));
            return Err(KeyError::Id { name, found, expected: read.id });
        }
        // Hexadecimal digits have two cases, and one form.
        if read.to_string() == text { Ok(read) } else { Err(syntax()) }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let material = [[self.kind.byte()].as_slice(), &self.key].concat();
        write!(f, "{}+{}+{}", self.name, self.id, to_base64(&material))
    }
}

/// What a good signature says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statement {
    /// This is the text.
    Signed,
    /// At this time, this was the largest tree that the witness knew of the log, and all before begin it.
    Cosigned {
        /// Seconds since the epoch, from 0 to 2^63 - 1, by the clock of the witness.
        time: u64,
    },
}

/// Keys that are known where a note is checked: each public key once, whatever it is called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownKeys(Vec<VerifierKey>);

impl KnownKeys {
    /// Refuses the same key twice, also under two names or as two kinds: one signer would count as two.
    pub fn new(keys: Vec<VerifierKey>) -> Result<Self, KeyError> {
        for (at, other) in keys.iter().enumerate() {
            let same =
                |one: &&VerifierKey| one.key == other.key || (&one.name, one.id) == (&other.name, other.id);
            if let Some(one) = keys.iter().take(at).find(same) {
                let (one, other) = (one.name.to_string(), other.name.to_string());
                return Err(KeyError::Duplicate { one, other });
            }
        }
        Ok(Self(keys))
    }

    /// The key that a signature line means, if it is known.
    pub(super) fn find(&self, name: &KeyName, id: KeyId) -> Option<&VerifierKey> {
        self.0.iter().find(|key| key.id == id && key.name == *name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene_tests::Pair;
    use super::*;
    use proptest::prelude::*;

    /// The example of the text, "Verifier keys".
    const EXAMPLE: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";

    #[test]
    fn the_verifier_key_of_the_text_reads_and_writes() {
        let key = VerifierKey::from_str(EXAMPLE).unwrap();
        assert_eq!((key.name().as_str(), key.kind()), ("example.com/foo", KeyKind::Log));
        assert_eq!(key.id().to_string(), "530d903a");
        assert_eq!(key.to_string(), EXAMPLE);
    }

    #[test]
    fn a_name_that_no_key_may_have_is_refused() {
        let long = "x".repeat(256);
        for name in
            ["", "a b", "a\tb", "a+b", "a\nb", "a\u{a0}b", "a\u{2028}", "\u{1}", "\u{7f}", "\u{9b}1m", &long]
        {
            let refused = KeyName::new(name).unwrap_err();
            assert!(matches!(refused, KeyError::Name { .. }), "{name:?}: {refused}");
        }
        assert_eq!(KeyName::new(&long[1..]).unwrap().as_str().len(), 255);
        assert_eq!(KeyName::new("witness.example/ü").unwrap().as_str(), "witness.example/ü");
    }

    #[test]
    fn a_verifier_key_in_another_form_is_refused() {
        let (name, rest) = EXAMPLE.split_once('+').unwrap();
        for text in [
            String::new(),
            name.to_owned(),
            "name+530d903a".to_owned(),
            EXAMPLE.replace("530d", "5g0d"),
            EXAMPLE.replace("530d", "530D"),
            EXAMPLE.replace("+530d", "+0530d"),
            format!("{EXAMPLE}="),
            format!("{EXAMPLE}\n"),
            EXAMPLE[..EXAMPLE.len() - 4].to_owned(),
            format!("{name}+{rest}AAAA"),
        ] {
            let refused = VerifierKey::from_str(&text).unwrap_err();
            assert!(matches!(refused, KeyError::Syntax { .. }), "{text}: {refused}");
        }
    }

    #[test]
    fn a_verifier_key_with_the_id_of_another_is_refused() {
        let text = EXAMPLE.replace("530d903a", "530d903b");
        let refused = VerifierKey::from_str(&text).unwrap_err().to_string();
        assert_eq!(refused, "key example.com/foo has the id 530d903b, expected 530d903a");
        let renamed = EXAMPLE.replace("/foo", "/fop");
        assert!(matches!(VerifierKey::from_str(&renamed), Err(KeyError::Id { .. })));
    }

    #[test]
    fn kinds_that_are_not_supported_are_named() {
        for kind in [0, 2, 3, 5, 6, 0xff] {
            let text = format!("name+00000000+{}", to_base64(&[[kind].as_slice(), &[7; 32]].concat()));
            let expected = KeyError::Kind { name: "name".into(), found: kind };
            assert_eq!(VerifierKey::from_str(&text), Err(expected));
        }
    }

    #[test]
    fn one_key_as_two_kinds_has_two_ids() {
        let pair = Pair::log("name");
        let (log, witness) = (pair.vkey_as("name", KeyKind::Log), pair.vkey_as("name", KeyKind::Witness));
        assert_ne!(log.id(), witness.id());
        assert_eq!(log.public_key(), witness.public_key());
    }

    #[test]
    fn a_key_is_known_once_under_whatever_name_and_kind() {
        let (one, two) = (Pair::log("one"), Pair::log("two"));
        let duplicate = |other: VerifierKey| {
            KnownKeys::new(vec![two.key.clone(), one.key.clone(), other]).unwrap_err().to_string()
        };
        let same = "are the same key, or have the same name and id";
        assert_eq!(duplicate(one.key.clone()), format!("keys one and one {same}"));
        assert_eq!(duplicate(one.vkey_as("three", KeyKind::Log)), format!("keys one and three {same}"));
        assert_eq!(duplicate(one.vkey_as("one", KeyKind::Witness)), format!("keys one and one {same}"));
        assert!(KnownKeys::new(vec![one.key, two.key]).is_ok());
    }

    proptest! {
        #[test]
        fn a_verifier_key_reads_as_it_was_written(name in "[a-zß-ü./0-9]{1,40}", key: [u8; 32], log: bool) {
            let kind = if log { KeyKind::Log } else { KeyKind::Witness };
            let key = VerifierKey::new(KeyName::new(&name).unwrap(), kind, key);
            prop_assert_eq!(VerifierKey::from_str(&key.to_string()), Ok(key));
        }

        #[test]
        fn text_that_reads_as_a_verifier_key_is_written_the_same(text in "[a-z+]{0,9}\\+[0-9a-fA-F]{8}\\+[A-Za-z0-9+/=]{40,50}") {
            if let Ok(key) = VerifierKey::from_str(&text) {
                prop_assert_eq!(key.to_string(), text);
            }
        }
    }
}
