//! What is sent to an index and to recorders: a claim that is told, or the commitment to one that is not.
//!
//! ```text
//! {"claim":{"signatures":[…],"signed":{…}},"salt":"…"}                                   told
//! {"commitment":"…","index":"https://…/","project":"P","signatures":[{"keyid":"…","sig":"…"}]}   to be told later
//! ```
//!
//! A commitment alone is signed as well, so that nobody else fills a log with them: the signatures are over [`Embargo`]'s text.

use std::fmt;

use super::file::{check_index, enough, in_one_form, list_of, signatures_of_json, text};
use super::{Claim, ClaimError, Commitment, MAX_CLAIM, Salt, SignedClaim};
use crate::python::ProjectName;
use crate::tuf::json::{self, Json};
use crate::tuf::key::KeyId;
use crate::tuf::signed::Authority;

/// What `type` says in the text that is signed.
const TYPE: &str = "embargo/v1";
/// Bytes of a request, at most: a claim and its salt.
pub const MAX_REQUEST: usize = MAX_CLAIM + 256;
/// What a salt and a commitment look like.
const DIGITS: &str = "64 lower-case hexadecimal digits";

/// A claim that is told, with the salt of its commitment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The claim and its signatures, none of them checked.
    pub claim: SignedClaim,
    /// What was hashed with it.
    pub salt: Salt,
}

/// A commitment to a claim that is not told yet. Who sends it says for which index and project; neither is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Embargo {
    commitment: Commitment,
    index: String,
    project: ProjectName,
    signatures: Vec<(KeyId, Vec<u8>)>,
}

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimRequest {
    /// A commitment alone.
    Embargoed(Embargo),
    /// The claim.
    Told(Told),
}

impl Told {
    /// The commitment that belongs to it.
    pub fn commitment(&self) -> Commitment {
        Commitment::new(&self.salt, self.claim.unauthenticated())
    }

    fn of_json(whole: &Json<'_>) -> Result<Self, ClaimError> {
        let claim =
            whole.get("claim").ok_or(ClaimError::Field { field: "claim", expected: "a signed claim" })?;
        let salt = Salt::from_hex(text(whole, "salt")?);
        let salt = salt.ok_or(ClaimError::Field { field: "salt", expected: DIGITS })?;
        Ok(Self { claim: SignedClaim::of_json(claim)?, salt })
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, r#"{{"claim":{},"salt":"{}"}}"#, self.claim, self.salt.to_hex())
    }
}

impl Embargo {
    /// A commitment to the claim of a project, which nobody has signed.
    pub fn new(commitment: Commitment, claim: &Claim) -> Self {
        let (index, project) = (claim.index().to_owned(), claim.project().clone());
        Self { commitment, index, project, signatures: Vec::new() }
    }

    /// The commitment.
    pub fn commitment(&self) -> Commitment {
        self.commitment
    }

    /// The address of the index.
    pub fn index(&self) -> &str {
        &self.index
    }

    /// The project.
    pub fn project(&self) -> &ProjectName {
        &self.project
    }

    /// What the keys of the project sign.
    pub fn to_sign(&self) -> String {
        let Self { commitment, index, project, .. } = self;
        let commitment = commitment.to_hex();
        format!(r#"{{"commitment":"{commitment}","index":"{index}","project":"{project}","type":"{TYPE}"}}"#)
    }

    /// The same with one signature more; one by the same key is replaced.
    #[must_use]
    pub fn signed(mut self, id: KeyId, signature: Vec<u8>) -> Self {
        self.signatures.retain(|(other, _)| *other != id);
        self.signatures.push((id, signature));
        self.signatures.sort();
        self
    }

    /// The commitment, if so many of the project's keys signed for it as the role has for its threshold.
    pub fn verify(&self, authority: &Authority<'_>) -> Result<Commitment, ClaimError> {
        let (role, project) = (authority.role(), self.project.as_str());
        if role.strip_prefix("project-") != Some(project) {
            return Err(ClaimError::OtherProject { project: project.to_owned(), role: role.to_owned() });
        }
        enough(authority, &self.to_sign(), &self.signatures)?;
        Ok(self.commitment)
    }

    fn of_json(whole: &Json<'_>) -> Result<Self, ClaimError> {
        let commitment = Commitment::from_hex(text(whole, "commitment")?);
        let commitment = commitment.ok_or(ClaimError::Field { field: "commitment", expected: DIGITS })?;
        let index = text(whole, "index")?.to_owned();
        check_index(&index)?;
        let expected = "a normalized name (PEP 503)";
        let project = ProjectName::from_normalised(text(whole, "project")?);
        let project = project.map_err(|_| ClaimError::Field { field: "project", expected })?;
        let mut signatures = signatures_of_json(whole)?;
        signatures.sort();
        signatures.dedup_by(|one, other| one.0 == other.0);
        Ok(Self { commitment, index, project, signatures })
    }
}

impl fmt::Display for Embargo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { commitment, index, project, signatures } = self;
        let (commitment, signatures) = (commitment.to_hex(), list_of(signatures));
        write!(
            f,
            r#"{{"commitment":"{commitment}","index":"{index}","project":"{project}","signatures":{signatures}}}"#
        )
    }
}

impl ClaimRequest {
    /// Reads the one form of either, of [`MAX_REQUEST`] bytes at most.
    pub fn parse(bytes: &[u8]) -> Result<Self, ClaimError> {
        if bytes.len() > MAX_REQUEST {
            return Err(ClaimError::TooLong { found: bytes.len() });
        }
        let whole = json::parse(bytes)?;
        let read = match whole.get("claim") {
            Some(_) => Self::Told(Told::of_json(&whole)?),
            None => Self::Embargoed(Embargo::of_json(&whole)?),
        };
        in_one_form(read, str::from_utf8(bytes).map_err(|_| ClaimError::Form)?)
    }

    /// The commitment that is logged.
    pub fn commitment(&self) -> Commitment {
        match self {
            Self::Embargoed(embargo) => embargo.commitment,
            Self::Told(told) => told.commitment(),
        }
    }

    /// The address of the index it is for.
    pub fn index(&self) -> &str {
        match self {
            Self::Embargoed(embargo) => &embargo.index,
            Self::Told(told) => told.claim.unauthenticated().index(),
        }
    }

    /// The project it says it is of.
    pub fn project(&self) -> &ProjectName {
        match self {
            Self::Embargoed(embargo) => &embargo.project,
            Self::Told(told) => told.claim.unauthenticated().project(),
        }
    }

    /// That the project's keys signed it.
    pub fn verify(&self, authority: &Authority<'_>) -> Result<(), ClaimError> {
        match self {
            Self::Embargoed(embargo) => embargo.verify(authority).map(drop),
            Self::Told(told) => told.claim.verify(authority).map(drop),
        }
    }
}

impl fmt::Display for ClaimRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embargoed(embargo) => embargo.fmt(f),
            Self::Told(told) => told.fmt(f),
        }
    }
}
