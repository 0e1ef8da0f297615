//! `log/head`: what the log has. One JSON object, replaced by `swap` alone, so that there is one order of entries.
//!
//! ```text
//! {"format":1,"origin":"…","size":3,"root_hash":"…",
//!  "logged":{"root":1,"snapshot":1,"targets":1},
//!  "tail":{"from":0,"entries":["{…}","{…}","{…}"]}}      or "tail":{"from":0,"staged":["SHA-256",…]}
//! ```
//!
//! The tail is the last append, whole: its tiles and bundles are made of it, by whoever comes next if not by its author.
//! It is dropped when the next append begins, which happens after they are durable.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::store::Tag;
use crate::tlog::checkpoint::{Checkpoint, CheckpointError};
use crate::tlog::leaf::{MAX_INTEGER, Role};
use crate::tlog::merkle::Hash;

/// Bytes of the file, at most: 64 KiB of entries with every quote escaped, or the hashes of [`MAX_STAGED`] blobs.
pub(super) const MAX_HEAD_LEN: u64 = 1 << 20;
/// Bytes of entries that are kept in the head itself, at most: a publication of some two hundred files.
pub(super) const MAX_INLINE: usize = 64 * 1024;
/// Blobs of one append, at most: 32 GiB of entries, eight times those of PyPI.
pub(super) const MAX_STAGED: usize = 8 * 1024;
/// What this program reads and writes.
const FORMAT: u32 = 1;

/// Why a head is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HeadError {
    /// Not the JSON that it should be.
    #[error("log/head cannot be read: {message}")]
    Json {
        /// The parser's wording.
        message: String,
    },
    /// Of another program.
    #[error("log/head is of format {found}, expected {FORMAT}: a newer wheelseal wrote it")]
    Format {
        /// The number found.
        found: u32,
    },
    /// A field that cannot be so.
    #[error("{field} in log/head is not {expected}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// Origin or size.
    #[error("log/head: {0}")]
    Tree(#[from] CheckpointError),
}

/// Newest versions of TUF roles that are logged; 0 for none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Logged {
    pub(super) root: u64,
    pub(super) snapshot: u64,
    pub(super) targets: u64,
}

impl Logged {
    pub(super) fn of(&self, role: Role) -> u64 {
        match role {
            Role::Root => self.root,
            Role::Snapshot => self.snapshot,
            Role::Targets => self.targets,
        }
    }

    pub(super) fn set(&mut self, role: Role, version: u64) {
        match role {
            Role::Root => self.root = version,
            Role::Snapshot => self.snapshot = version,
            Role::Targets => self.targets = version,
        }
    }
}

/// Entries of the last append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tail {
    /// The entries.
    Inline(Vec<String>),
    /// SHA-256 of blobs below `log/staged/`, each some entries as in a bundle.
    Staged(Vec<[u8; 32]>),
}

/// What the log has, as it was read. Nothing of it is signed.
#[derive(Clone, PartialEq, Eq)]
pub struct Head {
    pub(super) tree: Checkpoint,
    pub(super) logged: Logged,
    pub(super) from: u64,
    pub(super) tail: Tail,
    pub(super) tag: Option<Tag>,
}

impl Head {
    /// The log's name.
    pub fn origin(&self) -> &str {
        self.tree.origin()
    }

    /// Entries.
    pub fn size(&self) -> u64 {
        self.tree.size()
    }

    /// The root over them.
    pub fn root(&self) -> &Hash {
        self.tree.root()
    }

    /// Origin, size and root: what would be signed.
    pub fn tree(&self) -> &Checkpoint {
        &self.tree
    }

    /// Newest version of a role that is logged; 0 for none.
    pub fn logged(&self, role: Role) -> u64 {
        self.logged.of(role)
    }

    /// Number of the first entry of the last append, the *tail*.
    pub fn tail_from(&self) -> u64 {
        self.from
    }

    pub(super) fn parse(bytes: &[u8], tag: Tag) -> Result<Self, HeadError> {
        let json = |error: serde_json::Error| HeadError::Json { message: error.to_string() };
        let Format { format } = serde_json::from_slice(bytes).map_err(json)?;
        if format != FORMAT {
            return Err(HeadError::Format { found: format });
        }
        let file: HeadFile = serde_json::from_slice(bytes).map_err(json)?;
        let tree = Checkpoint::new(&file.origin, file.size, Hash::from_bytes(digest(&file.root_hash)?))?;
        let Some(grown) = file.size.checked_sub(file.tail.from).filter(|_| file.size <= MAX_INTEGER) else {
            return Err(HeadError::Field { field: "from", expected: "a size before this one" });
        };
        let tail = match (file.tail.entries, file.tail.staged) {
            (Some(entries), None) if u64::try_from(entries.len()) == Ok(grown) => Tail::Inline(entries),
            (None, Some(staged)) if (1..=MAX_STAGED).contains(&staged.len()) && grown > 0 => {
                Tail::Staged(staged.iter().map(|text| digest(text)).collect::<Result<_, _>>()?)
            }
            _ => {
                let expected = "the entries of the last append, or their hashes";
                return Err(HeadError::Field { field: "tail", expected });
            }
        };
        Ok(Self { tree, logged: file.logged, from: file.tail.from, tail, tag: Some(tag) })
    }

    pub(crate) fn render(&self) -> Result<Vec<u8>, HeadError> {
        let (entries, staged) = match &self.tail {
            Tail::Inline(entries) => (Some(entries.clone()), None),
            Tail::Staged(hashes) => (None, Some(hashes.iter().map(hex::encode).collect())),
        };
        let file = HeadFile {
            format: FORMAT,
            origin: self.origin().to_owned(),
            size: self.size(),
            root_hash: hex::encode(self.root().as_bytes()),
            logged: self.logged,
            tail: TailFile { from: self.from, entries, staged },
        };
        let bytes = serde_json::to_vec(&file);
        bytes.map_err(|error| HeadError::Json { message: error.to_string() })
    }
}

/// Without the tail, which may be long.
impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tree, logged, from, .. } = self;
        f.debug_struct("Head").field("tree", tree).field("logged", logged).field("from", from).finish()
    }
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadFile {
    format: u32,
    origin: String,
    size: u64,
    root_hash: String,
    logged: Logged,
    tail: TailFile,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TailFile {
    from: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entries: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    staged: Option<Vec<String>>,
}

fn digest(text: &str) -> Result<[u8; 32], HeadError> {
    let mut digest = [0; 32];
    match hex::decode_to_slice(text, &mut digest) {
        Ok(()) => Ok(digest),
        Err(_) => Err(HeadError::Field { field: "a hash", expected: "64 hexadecimal digits" }),
    }
}
