//! A claim that is not told yet.

use std::fmt;

use super::Claim;
use crate::crypto::sha256;
use crate::tlog::leaf::CommitmentLeaf;

/// Bytes of a salt: nobody finds a claim by trying all that a project could release.
pub const SALT_LEN: usize = 32;
/// What is hashed first, so that the hash is of nothing else.
const HEADER: &str = "wheelseal commitment/v1\n";

/// Random bytes that are secret as long as the claim is.
#[derive(Clone, PartialEq, Eq)]
pub struct Salt([u8; SALT_LEN]);

impl Salt {
    /// A salt of these bytes, which were drawn at random.
    pub fn from_bytes(bytes: [u8; SALT_LEN]) -> Self {
        Self(bytes)
    }

    /// Reads 64 lower-case hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; SALT_LEN];
        hex::decode_to_slice(text, &mut bytes).ok().map(|()| Self(bytes)).filter(|salt| salt.to_hex() == text)
    }

    /// The salt as text: to be told when the claim is.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }
}

/// Without its bytes.
impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(…)")
    }
}

/// SHA-256 over a header, a salt and the claim. It says nothing of the claim to who does not know the salt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commitment([u8; 32]);

impl Commitment {
    /// The commitment to a claim.
    pub fn new(salt: &Salt, claim: &Claim) -> Self {
        Self(sha256(&[HEADER.as_bytes(), &salt.0, claim.to_string().as_bytes()].concat()))
    }

    /// Reads 64 lower-case hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        Salt::from_hex(text).map(|hash| Self(hash.0))
    }

    /// The hash as text.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// What a log has of it.
    pub fn leaf(&self) -> CommitmentLeaf {
        CommitmentLeaf { sha256: self.0 }
    }

    /// The hash.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.0
    }
}
