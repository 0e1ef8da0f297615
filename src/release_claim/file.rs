//! A claim as text, with and without signatures.

use std::fmt;

use thiserror::Error;

use crate::python::ProjectName;
use crate::tlog::leaf::{FileLeaf, LeafError};
use crate::tuf::ParseError;
use crate::tuf::json::{self, Json, JsonError};
use crate::tuf::key::KeyId;
use crate::tuf::signed::Authority;

/// Bytes of a signed claim, at most: [`MAX_FILES`] with names of usual length.
pub const MAX_CLAIM: usize = 1024 * 1024;
/// Files of a claim, at most; releases with the most wheels have some hundreds.
pub const MAX_FILES: usize = 4_000;
/// Bytes of the address of an index, at most.
pub const MAX_INDEX: usize = 1_024;
/// Signatures of a claim, at most.
const MAX_SIGNATURES: usize = 64;
/// What `type` says.
const TYPE: &str = "claim/v1";

/// Why bytes or values are no claim.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClaimError {
    /// More than [`MAX_CLAIM`].
    #[error("the claim has {found} bytes, at most {MAX_CLAIM} are allowed")]
    TooLong {
        /// Bytes of the claim.
        found: usize,
    },
    /// Not JSON.
    #[error("the claim is no JSON: {0}")]
    Json(#[from] JsonError),
    /// A field that is missing, or of another kind.
    #[error("the claim's {field} is not {expected}")]
    Field {
        /// Key of the field.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// A file that cannot be one of this release.
    #[error("the claim's file {path:?}: {error}")]
    File {
        /// Its path.
        path: String,
        /// What is wrong.
        error: LeafError,
    },
    /// A key id that is none.
    #[error(transparent)]
    KeyId(#[from] ParseError),
    /// Spaces, another order, or fields that a claim does not have.
    #[error("the claim is not in its one form: canonical JSON, files sorted by path, no other fields")]
    Form,
    /// Too few of the project's keys signed it.
    #[error("the claim has {valid} valid signature(s) by keys of {role}, {threshold} needed")]
    BelowThreshold {
        /// The project's role.
        role: String,
        /// Good signatures by different keys.
        valid: usize,
        /// How many are needed.
        threshold: u64,
    },
    /// The keys are another project's.
    #[error("the claim is for {project}, and was checked with the keys of {role}")]
    OtherProject {
        /// The claim's.
        project: String,
        /// Whose keys.
        role: String,
    },
}

/// `claim/v1`: the files of one version of a project, as its maintainers made them. Invariants: at least one file, each of this
/// project and version, sorted by path, no path twice; the address is `http(s)://…/` in printable ASCII.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    files: Vec<FileLeaf>,
    index: String,
    project: ProjectName,
    version: String,
}

/// Refuses what is no address of an index, as claims have it.
pub fn check_index(index: &str) -> Result<(), ClaimError> {
    let plain = index.bytes().all(|byte| matches!(byte, b'!'..=b'~') && !matches!(byte, b'"' | b'\\'));
    let host = index.strip_prefix("https://").or(index.strip_prefix("http://"));
    let named = host
        .is_some_and(|host| host.ends_with('/') && !host.starts_with('/') && !host.contains(['?', '#', '@']));
    if plain && named && index.len() <= MAX_INDEX {
        return Ok(());
    }
    let expected = "an address with http or https, a '/' at its end, and no password";
    Err(ClaimError::Field { field: "index", expected })
}

impl Claim {
    /// A claim of these files, for the index with this address.
    pub fn new(index: &str, project: ProjectName, mut files: Vec<FileLeaf>) -> Result<Self, ClaimError> {
        let field = |field, expected| Err(ClaimError::Field { field, expected });
        check_index(index)?;
        files.sort_by(|one, other| one.path().cmp(other.path()));
        let Some(version) = files.first().map(|file| file.version().to_owned()) else {
            return field("files", "a list of at least one file");
        };
        if files.len() > MAX_FILES {
            return field("files", "a list of at most 4,000 files");
        }
        if files.iter().any(|file| file.version() != version || file.project() != project.as_str()) {
            return field("files", "a list of files of one version of the project");
        }
        if files.array_windows().any(|[one, next]| one.path() == next.path()) {
            return field("files", "a list with each path once");
        }
        Ok(Self { files, index: index.to_owned(), project, version })
    }

    /// Reads the one form.
    pub fn parse(text: &str) -> Result<Self, ClaimError> {
        if text.len() > MAX_CLAIM {
            return Err(ClaimError::TooLong { found: text.len() });
        }
        Self::of_json(&json::parse(text.as_bytes())?).and_then(|claim| in_one_form(claim, text))
    }

    /// The files, sorted by path: as they would be recorded.
    pub fn files(&self) -> &[FileLeaf] {
        &self.files
    }

    /// The address of the index.
    pub fn index(&self) -> &str {
        &self.index
    }

    /// The project.
    pub fn project(&self) -> &ProjectName {
        &self.project
    }

    /// The version, as PEP 440 normalizes it.
    pub fn version(&self) -> &str {
        &self.version
    }

    fn of_json(claim: &Json<'_>) -> Result<Self, ClaimError> {
        let text = |field| text(claim, field);
        if text("type")? != TYPE {
            return Err(ClaimError::Field { field: "type", expected: TYPE });
        }
        let Some(Json::Array(listed)) = claim.get("files") else {
            return Err(ClaimError::Field { field: "files", expected: "a list" });
        };
        if listed.len() > MAX_FILES {
            return Err(ClaimError::Field { field: "files", expected: "a list of at most 4,000 files" });
        }
        let expected = "a normalized name (PEP 503)";
        let project = ProjectName::from_normalised(text("project")?);
        let project = project.map_err(|_| ClaimError::Field { field: "project", expected })?;
        let files = listed.iter().map(file_of_json).collect::<Result<_, _>>()?;
        Self::new(text("index")?, project, files)
    }
}

/// The claim in its one form, which is what is signed.
impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"{"files":["#)?;
        for (at, file) in self.files.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            let (length, path, sha256) = (file.length(), file.path(), hex::encode(file.sha256()));
            write!(f, r#"{comma}{{"length":{length},"path":"{path}","sha256":"{sha256}"}}"#)?;
        }
        let Self { index, project, version, .. } = self;
        write!(f, r#"],"index":"{index}","project":"{project}","type":"{TYPE}","version":"{version}"}}"#)
    }
}

/// A claim with signatures, none of them checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedClaim {
    claim: Claim,
    signatures: Vec<(KeyId, Vec<u8>)>,
}

impl SignedClaim {
    /// A claim with signatures over its text, by the ids that the project's role gives to the keys.
    pub fn new(claim: Claim, mut signatures: Vec<(KeyId, Vec<u8>)>) -> Self {
        signatures.sort();
        signatures.dedup_by(|one, other| one.0 == other.0);
        Self { claim, signatures }
    }

    /// Reads the one form.
    pub fn parse(bytes: &[u8]) -> Result<Self, ClaimError> {
        if bytes.len() > MAX_CLAIM {
            return Err(ClaimError::TooLong { found: bytes.len() });
        }
        let read = Self::of_json(&json::parse(bytes)?)?;
        in_one_form(read, str::from_utf8(bytes).map_err(|_| ClaimError::Form)?)
    }

    /// Reads it, in whatever form it is written.
    pub(super) fn of_json(whole: &Json<'_>) -> Result<Self, ClaimError> {
        let claim = whole.get("signed").ok_or(ClaimError::Field { field: "signed", expected: "a claim" })?;
        Ok(Self::new(Claim::of_json(claim)?, signatures_of_json(whole)?))
    }

    /// The same with one signature more; one by the same key is replaced.
    #[must_use]
    pub fn signed(self, id: KeyId, signature: Vec<u8>) -> Self {
        let mut signatures = self.signatures;
        signatures.retain(|(other, _)| *other != id);
        signatures.push((id, signature));
        Self::new(self.claim, signatures)
    }

    /// The claim, if so many of the project's keys signed it as the role has for its threshold.
    pub fn verify(&self, authority: &Authority<'_>) -> Result<&Claim, ClaimError> {
        let role = authority.role();
        if role.strip_prefix("project-") != Some(self.claim.project.as_str()) {
            let project = self.claim.project.to_string();
            return Err(ClaimError::OtherProject { project, role: role.to_owned() });
        }
        enough(authority, &self.claim.to_string(), &self.signatures)?;
        Ok(&self.claim)
    }

    /// The claim of who knows whom: enough for a warning, and for nothing else.
    pub fn unauthenticated(&self) -> &Claim {
        &self.claim
    }
}

impl fmt::Display for SignedClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, r#"{{"signatures":{},"signed":{}}}"#, list_of(&self.signatures), self.claim)
    }
}

/// Signatures as they are written.
pub(super) fn list_of(signatures: &[(KeyId, Vec<u8>)]) -> String {
    let one = |(id, signature): &(KeyId, Vec<u8>)| {
        let id = String::from_utf8(Json::str(id.as_str()).canonical()).unwrap_or_default();
        format!(r#"{{"keyid":{id},"sig":"{}"}}"#, hex::encode(signature))
    };
    format!("[{}]", signatures.iter().map(one).collect::<Vec<_>>().join(","))
}

/// Refuses a text that too few keys of a role signed.
pub(super) fn enough(
    authority: &Authority<'_>,
    text: &str,
    signatures: &[(KeyId, Vec<u8>)],
) -> Result<(), ClaimError> {
    let signatures = signatures.iter().map(|(id, signature)| (id, signature.as_slice()));
    let valid = authority.signed_by(text.as_bytes(), signatures).len();
    let (role, threshold) = (authority.role().to_owned(), authority.threshold());
    if u64::try_from(valid).unwrap_or(0) < threshold.max(1) {
        return Err(ClaimError::BelowThreshold { role, valid, threshold });
    }
    Ok(())
}

/// What was read, if it is written as it came.
pub(super) fn in_one_form<T: fmt::Display>(read: T, text: &str) -> Result<T, ClaimError> {
    if read.to_string() == text { Ok(read) } else { Err(ClaimError::Form) }
}

pub(super) fn text<'a>(object: &'a Json<'_>, field: &'static str) -> Result<&'a str, ClaimError> {
    object.get(field).and_then(Json::as_str).ok_or(ClaimError::Field { field, expected: "a text" })
}

fn file_of_json(file: &Json<'_>) -> Result<FileLeaf, ClaimError> {
    let (path, digits) = (text(file, "path")?, text(file, "sha256")?);
    let length = file.get("length").and_then(Json::as_u64);
    let length = length.ok_or(ClaimError::Field { field: "length", expected: "a number of bytes" })?;
    let mut sha256 = [0; 32];
    hex::decode_to_slice(digits, &mut sha256)
        .map_err(|_| ClaimError::Field { field: "sha256", expected: "64 lower-case hexadecimal digits" })?;
    let refused = |error| ClaimError::File { path: json::quoted(path), error };
    let leaf = FileLeaf::of_target(path, length, sha256).map_err(refused)?;
    let expected = "a distribution or its metadata";
    leaf.ok_or_else(|| refused(LeafError::Field { field: "path", expected }))
}

/// The signatures of what is signed.
pub(super) fn signatures_of_json(whole: &Json<'_>) -> Result<Vec<(KeyId, Vec<u8>)>, ClaimError> {
    let Some(Json::Array(listed)) = whole.get("signatures") else {
        return Err(ClaimError::Field { field: "signatures", expected: "a list" });
    };
    if listed.len() > MAX_SIGNATURES {
        return Err(ClaimError::Field { field: "signatures", expected: "a list of at most 64" });
    }
    listed.iter().map(signature_of_json).collect()
}

fn signature_of_json(signature: &Json<'_>) -> Result<(KeyId, Vec<u8>), ClaimError> {
    let id = KeyId::new(text(signature, "keyid")?)?;
    let bytes = hex::decode(text(signature, "sig")?);
    Ok((id, bytes.map_err(|_| ClaimError::Field { field: "sig", expected: "hexadecimal digits" })?))
}

#[cfg(test)]
mod tests;
