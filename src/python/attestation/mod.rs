//! Attestations of a distribution (PEP 740), and the provenance object that holds them: shape and subject.
//!
//! ```text
//! `attestations` of an upload ── Provenance::of ──▶ Provenance ──▶ bytes ──▶ Provenance::read ──▶ the same
//! ```
//!
//! Checked is what shows without asking anybody: each is of version 1, has a certificate, a signature and log entries, and
//! its statement is an in-toto Statement v1 about this very file, by name and SHA-256, of a kind that the PEP names; no kind
//! comes twice. **Not checked** is who signed: certificate, signature and log entries are opaque here, and kept for those
//! who ask Sigstore. What was sent stays as it came, byte by byte.

mod wire;

use std::fmt;

use self::wire::{Envelope, Statement, Wire};
use super::DistributionFilename;

/// Bytes of all attestations of a file, at most. One has some 6 kB; build provenance with long lists of inputs has more.
pub const MAX_ATTESTATIONS: usize = 256 * 1024;

/// What stands before the attestations in a provenance object, and after them. An index that knows no Trusted Publisher has
/// no claims of one to tell, and its own kind says so.
const HEAD: &str =
    r#"{"version":1,"attestation_bundles":[{"publisher":{"kind":"wheelseal","claims":{}},"attestations":"#;
const TAIL: &str = "}]}";

/// Bytes of a provenance object, at most.
pub const MAX_PROVENANCE: usize = MAX_ATTESTATIONS + HEAD.len() + TAIL.len();

/// Characters of a found value in an error, at most: it is a stranger's.
const MAX_SHOWN: usize = 100;

/// Why attestations are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttestationError {
    /// More bytes than attestations may have.
    #[error("the attestations have {found} bytes; expected at most {limit}")]
    TooLong {
        /// Bytes found.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Not a JSON array of attestation objects.
    #[error("the attestations are no JSON array of attestation objects (PEP 740): {detail}")]
    Shape {
        /// What is amiss, with line and column.
        detail: String,
    },
    /// None, or more than there are kinds.
    #[error("there are {found} attestations; expected 1 to {limit}")]
    Count {
        /// How many were found.
        found: usize,
        /// How many may be.
        limit: usize,
    },
    /// Something in one of them is not what it must be.
    #[error("in attestation {number}, {what} is {found:?}; expected {expected}")]
    Unfit {
        /// Which one, from 1.
        number: usize,
        /// The part.
        what: &'static str,
        /// What was found, cut short.
        found: String,
        /// What belongs there.
        expected: String,
    },
    /// Two of one kind.
    #[error("there are two attestations of the kind {predicate}")]
    Repeated {
        /// The kind.
        predicate: Predicate,
    },
    /// A provenance object that is not one of this program.
    #[error("the provenance object is not as wheelseal writes it")]
    Foreign,
}

/// What an attestation says of a file: its predicate type (PEP 740).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Predicate {
    /// That it was published so.
    Publish,
    /// How it was built.
    Slsa,
}

impl Predicate {
    /// All that the PEP names.
    pub const ALL: [Self; 2] = [Self::Publish, Self::Slsa];

    /// The URI that stands for it. That of `publish` names a host by which wheelseal never goes: it is a name.
    pub fn uri(self) -> &'static str {
        match self {
            Self::Publish => concat!("https://docs.", "pypi", ".org/attestations/publish/v1"),
            Self::Slsa => "https://slsa.dev/provenance/v1",
        }
    }

    /// The word that file names and pages have for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Slsa => "slsa",
        }
    }
}

impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A provenance object (PEP 740). Invariant: its attestations are about the file that it was made for, each of another kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    text: String,
    predicates: Vec<Predicate>,
}

impl Provenance {
    /// Makes one of the `attestations` that came with a file: a JSON array.
    pub fn of(
        attestations: &str,
        filename: &DistributionFilename,
        sha256: &[u8; 32],
    ) -> Result<Self, AttestationError> {
        let attestations = attestations.trim_ascii();
        let mut predicates = Vec::new();
        for (number, wire) in (1..).zip(parse(attestations)?) {
            let about = About { number, filename, sha256 };
            let predicate = about.judge(&wire)?;
            if predicates.contains(&predicate) {
                return Err(AttestationError::Repeated { predicate });
            }
            predicates.push(predicate);
        }
        Ok(Self { text: [HEAD, attestations, TAIL].concat(), predicates })
    }

    /// The same of attestations that came one by one.
    pub fn of_each(
        attestations: &[String],
        filename: &DistributionFilename,
        sha256: &[u8; 32],
    ) -> Result<Self, AttestationError> {
        let trimmed: Vec<&str> = attestations.iter().map(|text| text.trim_ascii()).collect();
        Self::of(&format!("[{}]", trimmed.join(",")), filename, sha256)
    }

    /// Reads one that [`as_str`](Self::as_str) wrote, and judges it as if its attestations came now.
    pub fn read(
        text: &str,
        filename: &DistributionFilename,
        sha256: &[u8; 32],
    ) -> Result<Self, AttestationError> {
        let read = Self::of(attestations_in(text).ok_or(AttestationError::Foreign)?, filename, sha256)?;
        if read.text == text { Ok(read) } else { Err(AttestationError::Foreign) }
    }

    /// The object as JSON.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its attestations as they came: a JSON array.
    pub fn attestations(&self) -> &str {
        attestations_in(&self.text).unwrap_or_default()
    }

    /// What they say, in their order.
    pub fn predicates(&self) -> &[Predicate] {
        &self.predicates
    }
}

fn attestations_in(text: &str) -> Option<&str> {
    text.strip_prefix(HEAD)?.strip_suffix(TAIL)
}

fn parse(text: &str) -> Result<Vec<Wire>, AttestationError> {
    if text.len() > MAX_ATTESTATIONS {
        return Err(AttestationError::TooLong { found: text.len(), limit: MAX_ATTESTATIONS });
    }
    let shape = |error: serde_json::Error| AttestationError::Shape { detail: error.to_string() };
    // Keys that nobody asks for are passed over however deep they go; a tree is not.
    let tree: serde_json::Value = serde_json::from_str(text).map_err(shape)?;
    Wire::are_objects(&tree).map_err(shape)?;
    let all: Vec<Wire> = serde_json::from_str(text).map_err(shape)?;
    let limit = Predicate::ALL.len();
    if (1..=limit).contains(&all.len()) {
        Ok(all)
    } else {
        Err(AttestationError::Count { found: all.len(), limit })
    }
}

/// What an attestation must be about.
struct About<'a> {
    number: usize,
    filename: &'a DistributionFilename,
    sha256: &'a [u8; 32],
}

impl About<'_> {
    fn judge(&self, wire: &Wire) -> Result<Predicate, AttestationError> {
        if wire.version != 1 {
            return Err(self.unfit("the version", &wire.version.to_string(), "1"));
        }
        let (material, Envelope { statement, signature }) = (&wire.verification_material, &wire.envelope);
        for (what, text) in [("the certificate", &material.certificate), ("the signature", signature)] {
            wire::decoded(text).ok_or_else(|| self.unfit(what, text, "Base64 of something"))?;
        }
        if material.transparency_entries.is_empty() {
            return Err(self.unfit("the list of log entries", "[]", "one or more"));
        }
        let decoded = wire::decoded(statement);
        let decoded = decoded.ok_or_else(|| self.unfit("the statement", statement, "Base64 of something"))?;
        let read = Statement::read(&decoded).map_err(|error| {
            self.unfit("the statement", &error.to_string(), "an in-toto Statement v1 as JSON")
        })?;
        self.judge_statement(&read)
    }

    fn judge_statement(&self, statement: &Statement) -> Result<Predicate, AttestationError> {
        if statement.kind != wire::STATEMENT {
            return Err(self.unfit("the type of the statement", &statement.kind, wire::STATEMENT));
        }
        let [subject] = statement.subject.as_slice() else {
            let found = statement.subject.len().to_string();
            return Err(self.unfit("the number of subjects", &found, "1"));
        };
        let named = subject.name.parse::<DistributionFilename>();
        if !named.is_ok_and(|name| name.is_taken_for(self.filename)) {
            return Err(self.unfit("the subject", &subject.name, self.filename.as_str()));
        }
        if let Some(odd) = subject.digest.values().find(|digest| hex::decode(digest).is_err()) {
            return Err(self.unfit("a digest of the subject", odd, "hexadecimal digits"));
        }
        let (found, expected) = (subject.digest.get("sha256"), hex::encode(self.sha256));
        if found != Some(&expected) {
            let found = found.map_or("", String::as_str);
            return Err(self.unfit("the SHA-256 of the subject", found, &expected));
        }
        let known = Predicate::ALL.into_iter().find(|known| known.uri() == statement.predicate_type);
        known.ok_or_else(|| {
            let expected = Predicate::ALL.map(Predicate::uri).join(" or ");
            self.unfit("the predicate type", &statement.predicate_type, &expected)
        })
    }

    fn unfit(&self, what: &'static str, found: &str, expected: &str) -> AttestationError {
        let (number, found) = (self.number, found.chars().take(MAX_SHOWN).collect());
        AttestationError::Unfit { number, what, found, expected: expected.to_owned() }
    }
}

#[cfg(test)]
mod tests;
