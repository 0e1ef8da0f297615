//! Leaves of wheelseal's logs: one line of canonical ASCII JSON each, without a newline.
//!
//! ```text
//! {"length":1,"path":"P/F","project":"P","sha256":"…","type":"file/v1","version":"1.0"}   a file that was published
//! {"length":1,"role":"snapshot","sha256":"…","type":"tuf/v1","version":1}                 a version of a TUF role
//! {"origin":"…","root_hash":"…","size":1,"type":"log/v1"}                                 the log that this one continues
//! {"sha256":"…","type":"commitment/v1"}                                                    a claim that somebody sent
//! {"length":1,"path":"P/F","project":"P","sha256":"…","source":"index","type":"conflict/v1","version":"1.0"}
//!                                                                                          other content of a file
//! ```
//!
//! Rules: keys sorted, no spaces, printable ASCII without `"` and `\` in texts, integers below 2^53 without leading
//! zeros, hashes in lower-case hexadecimal digits; no key missing, none added. So a leaf has one form, and recorders that
//! saw the same file write the same bytes. There is no field for a person, an address or a time.

mod scan;

use std::fmt;

use thiserror::Error;

use self::scan::{Value, fields, is_plain_byte};
use super::checkpoint::{Checkpoint, MAX_ORIGIN};
use super::merkle::Hash;
use crate::python::DistributionFilename;

/// Bytes of a leaf, at most: its longest texts are a path of 800, a project of 100 and a version of 255 bytes; keys,
/// punctuation, hash and length take less than 200.
pub const MAX_LEAF_LEN: usize = 1_536;
/// Bytes of a target path, at most: as in TUF metadata.
pub const MAX_PATH: usize = 800;
/// Bytes of a project name, at most.
pub const MAX_PROJECT: usize = 100;
/// Bytes of a version of a project, at most: it is part of a file name.
pub const MAX_VERSION: usize = 255;
/// Largest integer: what every JSON reader keeps exact.
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

/// Why bytes or values are no leaf.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LeafError {
    /// More than [`MAX_LEAF_LEN`].
    #[error("a leaf of {found} bytes, at most {MAX_LEAF_LEN} are allowed")]
    TooLong {
        /// Bytes of the leaf.
        found: usize,
    },
    /// Not canonical JSON.
    #[error("the leaf has no {expected} at byte {at}")]
    Syntax {
        /// Offset in bytes.
        at: usize,
        /// What the form wants there.
        expected: &'static str,
    },
    /// Keys that are those of no leaf, or of the wrong kind.
    #[error("the leaf is of no known type, or has other keys than its type")]
    Unknown,
    /// A value that this field cannot have.
    #[error("the leaf's {field} is not {expected}")]
    Field {
        /// Key of the field.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
    },
}

/// `file/v1`: a file of a project was published under a path. Invariants: the path is `PROJECT/FILENAME`; the project
/// is normalized (PEP 503); all texts are plain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileLeaf {
    length: u64,
    path: String,
    project: String,
    sha256: [u8; 32],
    version: String,
}

impl FileLeaf {
    /// A file at the target path `path`, by length in bytes and hash, of a version of the project that the path begins
    /// with.
    pub fn new(path: &str, version: &str, length: u64, sha256: [u8; 32]) -> Result<Self, LeafError> {
        let expected = "PROJECT/FILENAME";
        let (project, file) = path.split_once('/').ok_or(LeafError::Field { field: "path", expected })?;
        let fits = path.len() <= MAX_PATH && is_plain(path) && !file.contains('/');
        check(fits && !matches!(file, "" | "." | ".."), "path", expected)?;
        check(is_project(project), "project", "a normalized name")?;
        check(
            !version.is_empty() && version.len() <= MAX_VERSION && is_plain(version),
            "version",
            "a version",
        )?;
        check_integer(length, "length")?;
        let (path, project, version) = (path.to_owned(), project.to_owned(), version.to_owned());
        Ok(Self { length, path, project, sha256, version })
    }

    /// What is logged of a target: a distribution, or the core metadata of one (PEP 658). None for what changes as others are
    /// published: pages and attestations.
    pub fn of_target(path: &str, length: u64, sha256: [u8; 32]) -> Result<Option<Self>, LeafError> {
        let Some((project, file)) = path.split_once('/') else { return Ok(None) };
        if project == "simple" && file.contains('/') || file.ends_with(".provenance") {
            return Ok(None);
        }
        let expected = "PROJECT/FILENAME of a distribution";
        let distribution = file.strip_suffix(".metadata").unwrap_or(file);
        let named = distribution.parse::<DistributionFilename>();
        let named = named.map_err(|_| LeafError::Field { field: "path", expected })?;
        check(named.project().as_str() == project, "path", expected)?;
        Self::new(path, &named.version().to_string(), length, sha256).map(Some)
    }

    /// Bytes of the file.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The target path, `PROJECT/FILENAME`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The project, normalized.
    pub fn project(&self) -> &str {
        &self.project
    }

    /// SHA-256 of the file.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// The version of the project.
    pub fn version(&self) -> &str {
        &self.version
    }
}

/// TUF roles of which each version is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// `root`
    Root,
    /// `snapshot`
    Snapshot,
    /// The top-level `targets`.
    Targets,
}

impl Role {
    /// The name in metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Snapshot => "snapshot",
            Self::Targets => "targets",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Root, Self::Snapshot, Self::Targets].into_iter().find(|role| role.name() == name)
    }
}

/// `tuf/v1`: a version of a TUF role was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TufLeaf {
    length: u64,
    role: Role,
    sha256: [u8; 32],
    version: u64,
}

impl TufLeaf {
    /// A version of a role, by length in bytes and hash of its file. Versions begin with 1.
    pub fn new(role: Role, version: u64, length: u64, sha256: [u8; 32]) -> Result<Self, LeafError> {
        check(version > 0, "version", "a version from 1 on")?;
        check_integer(version, "version")?;
        check_integer(length, "length")?;
        Ok(Self { length, role, sha256, version })
    }

    /// Bytes of the role's file.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The role.
    pub fn role(&self) -> Role {
        self.role
    }

    /// SHA-256 of the role's file.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// Its version.
    pub fn version(&self) -> u64 {
        self.version
    }
}

/// `log/v1`: the first leaf of a log that continues another, by the last checkpoint of that one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLeaf {
    origin: String,
    root: Hash,
    size: u64,
}

impl LogLeaf {
    /// The log that is continued.
    pub fn new(last: &Checkpoint) -> Result<Self, LeafError> {
        Self::of(last.origin(), *last.root(), last.size())
    }

    fn of(origin: &str, root: Hash, size: u64) -> Result<Self, LeafError> {
        let fits = !origin.is_empty() && origin.len() <= MAX_ORIGIN && is_plain(origin);
        check(fits, "origin", "an origin in printable ASCII without '\"' and '\\'")?;
        check_integer(size, "size")?;
        Ok(Self { origin: origin.to_owned(), root, size })
    }

    /// Origin of the log that is continued.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Root of its last tree.
    pub fn root(&self) -> &Hash {
        &self.root
    }

    /// Leaves of its last tree.
    pub fn size(&self) -> u64 {
        self.size
    }
}

/// Who says that a file has another content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Its maintainers, in a claim.
    Claim,
    /// The index: it lists or serves it so.
    Index,
}

impl Source {
    /// The name in leaves.
    pub fn name(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Index => "index",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Claim, Self::Index].into_iter().find(|source| source.name() == name)
    }
}

/// `conflict/v1`: for a path, somebody had other content than the one that was recorded. It is no record of that content: nobody
/// counts it as a [`FileLeaf`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConflictLeaf {
    /// The other content, as it would have been recorded.
    pub file: FileLeaf,
    /// Who had it.
    pub source: Source,
}

/// `commitment/v1`: somebody sent a claim. SHA-256 over a salt and the claim, so that it says nothing before the salt is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitmentLeaf {
    /// The hash.
    pub sha256: [u8; 32],
}

/// A leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leaf {
    /// `commitment/v1`
    Commitment(CommitmentLeaf),
    /// `conflict/v1`
    Conflict(ConflictLeaf),
    /// `file/v1`
    File(FileLeaf),
    /// `tuf/v1`
    Tuf(TufLeaf),
    /// `log/v1`
    Log(LogLeaf),
}

impl Leaf {
    /// Reads the one form of a leaf.
    pub fn parse(bytes: &[u8]) -> Result<Self, LeafError> {
        use Value::{Integer, Text};
        if bytes.len() > MAX_LEAF_LEN {
            return Err(LeafError::TooLong { found: bytes.len() });
        }
        match fields(bytes)?.as_slice() {
            [
                ("length", Integer(length)),
                ("path", Text(path)),
                ("project", Text(project)),
                ("sha256", Text(sha256)),
                ("type", Text("file/v1")),
                ("version", Text(version)),
            ] => file_of(project, path, version, *length, sha256).map(Self::File),
            [
                ("length", Integer(length)),
                ("path", Text(path)),
                ("project", Text(project)),
                ("sha256", Text(sha256)),
                ("source", Text(source)),
                ("type", Text("conflict/v1")),
                ("version", Text(version)),
            ] => {
                let expected = "claim or index";
                let source =
                    Source::from_name(source).ok_or(LeafError::Field { field: "source", expected })?;
                let file = file_of(project, path, version, *length, sha256)?;
                Ok(Self::Conflict(ConflictLeaf { file, source }))
            }
            [("sha256", Text(sha256)), ("type", Text("commitment/v1"))] => {
                Ok(Self::Commitment(CommitmentLeaf { sha256: digest(sha256, "sha256")? }))
            }
            [
                ("length", Integer(length)),
                ("role", Text(role)),
                ("sha256", Text(sha256)),
                ("type", Text("tuf/v1")),
                ("version", Integer(version)),
            ] => {
                let expected = "root, snapshot or targets";
                let role = Role::from_name(role).ok_or(LeafError::Field { field: "role", expected })?;
                TufLeaf::new(role, *version, *length, digest(sha256, "sha256")?).map(Self::Tuf)
            }
            [
                ("origin", Text(origin)),
                ("root_hash", Text(root)),
                ("size", Integer(size)),
                ("type", Text("log/v1")),
            ] => LogLeaf::of(origin, Hash::from_bytes(digest(root, "root_hash")?), *size).map(Self::Log),
            _ => Err(LeafError::Unknown),
        }
    }
}

/// The bytes of the leaf.
impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(FileLeaf { length, path, project, sha256, version }) => write!(
                f,
                r#"{{"length":{length},"path":"{path}","project":"{project}","sha256":"{}","type":"file/v1","version":"{version}"}}"#,
                hex::encode(sha256)
            ),
            Self::Conflict(ConflictLeaf { file, source }) => write!(
                f,
                r#"{{"length":{},"path":"{}","project":"{}","sha256":"{}","source":"{}","type":"conflict/v1","version":"{}"}}"#,
                file.length,
                file.path,
                file.project,
                hex::encode(file.sha256),
                source.name(),
                file.version
            ),
            Self::Commitment(CommitmentLeaf { sha256 }) => {
                write!(f, r#"{{"sha256":"{}","type":"commitment/v1"}}"#, hex::encode(sha256))
            }
            Self::Tuf(TufLeaf { length, role, sha256, version }) => write!(
                f,
                r#"{{"length":{length},"role":"{}","sha256":"{}","type":"tuf/v1","version":{version}}}"#,
                role.name(),
                hex::encode(sha256)
            ),
            Self::Log(LogLeaf { origin, root, size }) => write!(
                f,
                r#"{{"origin":"{origin}","root_hash":"{}","size":{size},"type":"log/v1"}}"#,
                hex::encode(root.as_bytes())
            ),
        }
    }
}

fn file_of(
    project: &str,
    path: &str,
    version: &str,
    length: u64,
    sha256: &str,
) -> Result<FileLeaf, LeafError> {
    let file = FileLeaf::new(path, version, length, digest(sha256, "sha256")?)?;
    check(file.project == project, "project", "what its path begins with")?;
    Ok(file)
}

fn check(holds: bool, field: &'static str, expected: &'static str) -> Result<(), LeafError> {
    if holds { Ok(()) } else { Err(LeafError::Field { field, expected }) }
}

fn check_integer(number: u64, field: &'static str) -> Result<(), LeafError> {
    check(number <= MAX_INTEGER, field, "an integer below 2^53")
}

/// 32 bytes from 64 lower-case hexadecimal digits.
fn digest(text: &str, field: &'static str) -> Result<[u8; 32], LeafError> {
    let mut digest = [0; 32];
    let upper = text.bytes().any(|byte| byte.is_ascii_uppercase());
    let read = hex::decode_to_slice(text, &mut digest).is_ok();
    check(read && !upper, field, "64 lower-case hexadecimal digits")?;
    Ok(digest)
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(is_plain_byte)
}

/// A normalized name (PEP 503): lower-case letters and digits, single hyphens between them.
fn is_project(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= MAX_PROJECT && name.split('-').all(|word| !word.is_empty() && word.bytes().all(plain))
}

#[cfg(test)]
mod tests;
