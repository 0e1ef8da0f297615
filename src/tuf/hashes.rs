//! The hashes of a file, as metadata lists them (specification section 4.4 and 4.5).

use faster_hex::{CheckCase, hex_decode_array_with_case};
use thiserror::Error;

use super::canonical::Raw;
use super::fields::{Extra, Fields, ParseError};
use super::render::Object;
use crate::crypto::{Digests, Hasher};

/// How a file's hashes differ from those listed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Mismatch {
    /// No algorithm that is listed can be checked.
    #[error("only hashes of unknown algorithms are listed")]
    Unknown,
    /// A hash is another.
    #[error("{algorithm} is {found}, listed is {expected}")]
    Other {
        /// Its algorithm.
        algorithm: &'static str,
        /// What is listed, in hexadecimal.
        expected: String,
        /// What the file has.
        found: String,
    },
}

/// The hashes of a file, by algorithm. At least one is listed; those of unknown algorithms are kept, not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashes {
    /// SHA-256.
    pub sha256: Option<[u8; 32]>,
    /// SHA-512.
    pub sha512: Option<Box<[u8; 64]>>,
    /// Other algorithms.
    pub other: Extra,
}

impl Hashes {
    /// A SHA-256 digest alone.
    pub fn sha256(digest: [u8; 32]) -> Self {
        Self { sha256: Some(digest), sha512: None, other: Extra::new() }
    }

    /// One listed hash in hexadecimal, for the name of the file: SHA-256 if there, else SHA-512.
    pub fn name(&self) -> Option<String> {
        self.sha256
            .map(hex::encode)
            .or_else(|| self.sha512.as_ref().map(|digest| hex::encode(digest.as_slice())))
    }

    /// A hasher for what these hashes need.
    pub fn hasher(&self) -> Hasher {
        Hasher::new(self.sha512.is_some())
    }

    /// Compares with bytes in memory, as [`Self::check`] does.
    pub fn check_bytes(&self, bytes: &[u8]) -> Result<(), Mismatch> {
        let mut hasher = self.hasher();
        hasher.update(bytes);
        self.check(&hasher.finish())
    }

    /// Compares with what a [`Self::hasher`] saw: every listed hash of a known algorithm must agree, and one must be
    /// known.
    pub fn check(&self, seen: &Digests) -> Result<(), Mismatch> {
        let sha256 = self.sha256.map(|expected| ("SHA-256", expected.to_vec(), seen.sha256.to_vec()));
        let sha512 = self.sha512.as_ref().zip(seen.sha512);
        let sha512 = sha512.map(|(expected, found)| ("SHA-512", expected.to_vec(), found.to_vec()));
        if sha256.is_none() && sha512.is_none() {
            return Err(Mismatch::Unknown);
        }
        match sha256.into_iter().chain(sha512).find(|(_, expected, found)| expected != found) {
            None => Ok(()),
            Some((algorithm, expected, found)) => {
                let (expected, found) = (hex::encode(expected), hex::encode(found));
                Err(Mismatch::Other { algorithm, expected, found })
            }
        }
    }

    pub(super) fn read(value: Raw<'_>) -> Result<Self, ParseError> {
        let mut fields = Fields::new("hashes", value)?;
        let sha256 = digest::<32>(&mut fields, "sha256")?;
        let sha512 = digest::<64>(&mut fields, "sha512")?.map(Box::new);
        let other = fields.extra();
        if sha256.is_none() && sha512.is_none() && other.is_empty() {
            return Err(ParseError::Missing { within: "hashes", field: "sha256" });
        }
        Ok(Self { sha256, sha512, other })
    }

    pub(super) fn write(&self, out: &mut String) {
        let mut object = Object::open(out, &self.other);
        if let Some(digest) = self.sha256 {
            object.hex("sha256", &digest);
        }
        if let Some(digest) = &self.sha512 {
            object.hex("sha512", digest.as_slice());
        }
        object.close();
    }
}

/// A digest as metadata writes it: two lower-case hexadecimal digits for each byte.
pub(super) fn digest_of<const N: usize>(text: &str) -> Option<[u8; N]> {
    hex_decode_array_with_case(text.as_bytes(), CheckCase::Lower).ok()
}

fn digest<const N: usize>(
    fields: &mut Fields<'_>,
    name: &'static str,
) -> Result<Option<[u8; N]>, ParseError> {
    let Some(value) = fields.optional(name) else { return Ok(None) };
    match value.as_str().and_then(|text| digest_of(&text)) {
        Some(digest) => Ok(Some(digest)),
        None => Err(fields.wrong(name, value, "a digest in lower-case hexadecimal")),
    }
}
