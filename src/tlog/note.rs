//! Signed notes (c2sp.org/signed-note@v1.0.0): a text, an empty line, and a line for each signature.
//!
//! ```text
//! bytes ─▶ Note ── verify(keys) ─▶ Verified: text, and which of the known keys signed it
//! ```
//!
//! The text of a [`Note`] cannot be read before a known key has signed it. Signatures of unknown keys are ignored, and
//! kept; one bad signature of a known key refuses the whole note. A key that signs twice counts once.

use std::fmt;

use thiserror::Error;

use super::key::{KeyError, KeyId, KeyKind, KeyName, KnownKeys, SIGNATURE_LEN, Statement, VerifierKey};
use super::text::{base64, next_line, to_base64};

/// Bytes of a note, at most: sixteen post-quantum signatures of 5 kB in base64 are 107 kB (signed-note, "Format").
pub const MAX_NOTE_LEN: usize = 128 * 1024;
/// Signature lines of a note, at most; the text asks for 16 or more.
pub const MAX_SIGNATURES: usize = 100;
/// What a signature line begins with: em dash and space.
const DASH: &str = "— ";

/// Why a note is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoteError {
    /// More than [`MAX_NOTE_LEN`].
    #[error("the note has {found} bytes, at most {MAX_NOTE_LEN} are allowed")]
    TooLong {
        /// Bytes of the note.
        found: usize,
    },
    /// Not UTF-8, or with a control character that is no newline.
    #[error("the note has a byte at {at} that is not text")]
    NotText {
        /// Offset in bytes.
        at: usize,
    },
    /// No text that ends in a newline, or no empty line behind it.
    #[error("the note has no text with an empty line behind it")]
    NoText,
    /// No signature lines, or one that is none.
    #[error("signature line {line} of the note is not \"— NAME BASE64\" with a newline")]
    Signature {
        /// Number of the line behind the empty one, from 1.
        line: usize,
    },
    /// A signature line with a name that no key can have.
    #[error("signature line {line} of the note: {error}")]
    Name {
        /// Number of the line behind the empty one, from 1.
        line: usize,
        /// What is wrong with the name.
        error: KeyError,
    },
    /// More than [`MAX_SIGNATURES`].
    #[error("the note has more than {MAX_SIGNATURES} signatures")]
    TooManySignatures,
    /// A key that is known is named by a signature that is not its own.
    #[error("the note's signature by {key} is bad")]
    BadSignature {
        /// Name of the key.
        key: KeyName,
    },
    /// Nobody known signed it.
    #[error("no key that is known signed the note")]
    Unsigned,
    /// A key of a log was to cosign, or one of a witness to sign.
    #[error("key {key} is not for this kind of signature")]
    WrongKind {
        /// Name of the key.
        key: KeyName,
    },
}

/// A signature line: who signed, and bytes that the kind of key gives a meaning. Not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    name: KeyName,
    id: KeyId,
    bytes: Vec<u8>,
}

impl Signature {
    /// A line by this key, with bytes that are verified first.
    pub(super) fn new(key: &VerifierKey, text: &str, bytes: Vec<u8>) -> Result<Self, NoteError> {
        key.verify(text, &bytes).ok_or_else(|| NoteError::BadSignature { key: key.name().clone() })?;
        Ok(Self { name: key.name().clone(), id: key.id(), bytes })
    }

    /// Reads signature lines, each with its newline: at least one.
    pub fn parse_lines(text: &str) -> Result<Vec<Self>, NoteError> {
        let (mut rest, mut signatures) = (text, Vec::new());
        while !rest.is_empty() || signatures.is_empty() {
            let number = signatures.len() + 1;
            if number > MAX_SIGNATURES {
                return Err(NoteError::TooManySignatures);
            }
            let line = next_line(&mut rest).ok_or(NoteError::Signature { line: number })?;
            signatures.push(Self::parse(line, number)?);
        }
        Ok(signatures)
    }

    fn parse(line: &str, number: usize) -> Result<Self, NoteError> {
        let malformed = || NoteError::Signature { line: number };
        let (name, encoded) =
            line.strip_prefix(DASH).and_then(|rest| rest.split_once(' ')).ok_or_else(malformed)?;
        let name = KeyName::new(name).map_err(|error| NoteError::Name { line: number, error })?;
        let bytes = base64(encoded).ok_or_else(malformed)?;
        let (id, bytes) = bytes.split_first_chunk().ok_or_else(malformed)?;
        if bytes.is_empty() {
            return Err(malformed());
        }
        Ok(Self { name, id: KeyId::from_bytes(*id), bytes: bytes.to_vec() })
    }
}

/// The line without its newline.
impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [self.id.as_bytes().as_slice(), &self.bytes].concat();
        write!(f, "{DASH}{} {}", self.name, to_base64(&bytes))
    }
}

/// A note: its text, and at least one signature. Nothing of it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

impl Note {
    /// Reads a note. The text goes up to the last empty line.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE_LEN {
            return Err(NoteError::TooLong { found: bytes.len() });
        }
        let note = checked_text(bytes)?;
        let (text, signatures) = note.rsplit_once("\n\n").ok_or(NoteError::NoText)?;
        Ok(Self { text: format!("{text}\n"), signatures: Signature::parse_lines(signatures)? })
    }

    /// A new note with a first signature, by the key of a log over `text`. The signature was made elsewhere, and is
    /// verified here.
    pub fn sign(text: String, key: &VerifierKey, signature: &[u8; SIGNATURE_LEN]) -> Result<Self, NoteError> {
        if key.kind() != KeyKind::Log {
            return Err(NoteError::WrongKind { key: key.name().clone() });
        }
        checked_text(text.as_bytes())?;
        if !text.ends_with('\n') {
            return Err(NoteError::NoText);
        }
        let signatures = vec![Signature::new(key, &text, signature.to_vec())?];
        Ok(Self { text, signatures })
    }

    /// The text, which is not to be believed: only to tell which keys ought to have signed it.
    pub(super) fn unverified_text(&self) -> &str {
        &self.text
    }

    /// Names in the signature lines, which are not to be believed.
    pub(super) fn claimed_signers(&self) -> Vec<String> {
        self.signatures.iter().map(|signature| signature.name.to_string()).collect()
    }

    /// Takes those of `signatures` that are by a known key over this text, in place of an older one of the same key.
    /// Others are passed over; one that is bad refuses them all. How many it took.
    pub fn merge(&mut self, signatures: Vec<Signature>, keys: &KnownKeys) -> Result<usize, NoteError> {
        let known = |line: &Signature| keys.find(&line.name, line.id).is_some();
        let (taken, _): (Vec<_>, Vec<_>) = signatures.into_iter().partition(known);
        verify_all(&self.text, &taken, keys)?;
        let replaced = |old: &Signature| taken.iter().any(|new| (&new.name, new.id) == (&old.name, old.id));
        let mut merged = self.signatures.clone();
        merged.retain(|old| !replaced(old));
        let count = taken.len();
        merged.extend(taken);
        if merged.len() > MAX_SIGNATURES {
            return Err(NoteError::TooManySignatures);
        }
        self.signatures = merged;
        Ok(count)
    }

    /// The signature lines, none of them verified.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Drops the signatures of all other keys, and all but the first of each: what is kept of a note that somebody sent
    /// is bounded by what is known.
    pub fn keep(&mut self, keys: &KnownKeys) {
        let mut kept: Vec<Signature> = Vec::new();
        for line in self.signatures.drain(..) {
            let twice = kept.iter().any(|old| (&old.name, old.id) == (&line.name, line.id));
            if !twice && keys.find(&line.name, line.id).is_some() {
                kept.push(line);
            }
        }
        self.signatures = kept;
    }

    /// Checks every signature by a known key. At least one must be there, and none may be bad.
    pub fn verify<'a>(&'a self, keys: &'a KnownKeys) -> Result<Verified<'a>, NoteError> {
        let signers = verify_all(&self.text, &self.signatures, keys)?;
        if signers.is_empty() {
            return Err(NoteError::Unsigned);
        }
        Ok(Verified { text: &self.text, signers })
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

/// A text that known keys signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<'a> {
    text: &'a str,
    signers: Vec<(&'a VerifierKey, Statement)>,
}

impl<'a> Verified<'a> {
    /// The text, with its last newline.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The known keys that signed, each once, and what they said.
    pub fn signers(&self) -> &[(&'a VerifierKey, Statement)] {
        &self.signers
    }
}

fn verify_all<'k>(
    text: &str,
    signatures: &[Signature],
    keys: &'k KnownKeys,
) -> Result<Vec<(&'k VerifierKey, Statement)>, NoteError> {
    let mut signers: Vec<(&VerifierKey, Statement)> = Vec::new();
    for signature in signatures {
        let Some(key) = keys.find(&signature.name, signature.id) else { continue };
        let said = key.verify(text, &signature.bytes);
        let said = said.ok_or_else(|| NoteError::BadSignature { key: key.name().clone() })?;
        if !signers.iter().any(|(other, _)| *other == key) {
            signers.push((key, said));
        }
    }
    Ok(signers)
}

fn checked_text(bytes: &[u8]) -> Result<&str, NoteError> {
    let text = std::str::from_utf8(bytes).map_err(|e| NoteError::NotText { at: e.valid_up_to() })?;
    match text.find(|c: char| c < ' ' && c != '\n') {
        Some(at) => Err(NoteError::NotText { at }),
        None => Ok(text),
    }
}

#[cfg(test)]
mod tests;
