//! Evidence: a text that shows how logs contradict themselves or each other, for a third person to check with the keys of those
//! logs alone.
//!
//! ```text
//! wheelseal log evidence v1
//!
//! … words for people, which nobody reads back …
//!
//! -----BEGIN FIRST CHECKPOINT-----          two trees of one log: two signed checkpoints, and
//! -----BEGIN SECOND CHECKPOINT-----         the timestamp that named the second one, if there was one
//! -----BEGIN TIMESTAMP-----
//!
//! -----BEGIN FIRST LEAF-----                or two contents of one path: two leaves, each with its proof
//! -----BEGIN FIRST PROOF-----
//! -----BEGIN SECOND LEAF-----
//! -----BEGIN SECOND PROOF-----
//! ```
//!
//! Each part ends in its `END` line, and the text with the last of them. A line inside a part that begins with `-` is written with `- ` before it
//! (as in RFC 4880, 7.1), so that no checkpoint can break the text that accuses it.
//!
//! What it says is taken from the parts alone, and counts once [`Evidence::check`] found the signatures of logs in it. Checkpoints need no
//! quorum there: that a log signed something is what is held against it. Which witnesses saw it is told.

mod parts;
mod verdict;

use std::fmt;

use thiserror::Error;

use self::parts::{Parts, part};
use super::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
use super::leaf::{FileLeaf, Leaf, LeafError, MAX_LEAF_LEN};
use super::note::MAX_NOTE_LEN;
use super::proof_file::{MAX_PROOF_LEN, ProofFile, ProofFileError};
use crate::crypto::sha256;

pub use verdict::{Seen, Shows, Unproven, Verdict};

/// The first line.
const TITLE: &str = "wheelseal log evidence v1";
/// Bytes of a timestamp, at most: as many as clients take of one.
pub const MAX_TIMESTAMP_LEN: usize = 64 * 1_024;
/// Bytes of the words for people, at most.
const MAX_WORDS_LEN: usize = 16 * 1_024;
/// Bytes of evidence, at most: two proofs or checkpoints and a timestamp, of which each byte may be a line that is quoted.
pub const MAX_EVIDENCE_LEN: usize =
    MAX_WORDS_LEN + 2 * (2 * (MAX_PROOF_LEN + MAX_LEAF_LEN) + MAX_TIMESTAMP_LEN);

/// Why a text is no evidence.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EvidenceError {
    /// More than [`MAX_EVIDENCE_LEN`].
    #[error("the evidence has {found} bytes, at most {MAX_EVIDENCE_LEN} are allowed")]
    TooLong {
        /// Bytes of the text.
        found: usize,
    },
    /// A part that is not there, or not in its form.
    #[error("the evidence has no {expected} where one belongs")]
    Syntax {
        /// What should be there.
        expected: String,
    },
    /// A checkpoint that does not read.
    #[error("a checkpoint of the evidence does not read: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// A leaf that does not read.
    #[error("a leaf of the evidence does not read: {0}")]
    Leaf(#[from] LeafError),
    /// A proof that does not read.
    #[error("a proof of the evidence does not read: {0}")]
    Proof(#[from] ProofFileError),
    /// What it shows can all be true.
    #[error("there is no contradiction: {0}")]
    NoContradiction(&'static str),
}

/// How two checkpoints of one log contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contradiction {
    /// The same number of leaves, and other ones.
    OtherRoot {
        /// Leaves of both.
        size: u64,
    },
    /// It has fewer leaves than it had.
    Smaller {
        /// Leaves of the checkpoint that was seen before.
        before: u64,
        /// Leaves of the one that was presented then.
        now: u64,
    },
    /// The smaller tree does not begin the larger one, by the log's own tiles.
    NotGrown {
        /// Leaves of the checkpoint that was seen before.
        before: u64,
        /// Leaves of the one that was presented then.
        now: u64,
    },
}

impl Contradiction {
    /// How two trees contradict each other, if the log should have grown from `before` to `now` and did not. None for one tree, and for
    /// trees of two logs. That a larger tree does not continue a smaller one is for the caller to know.
    pub fn between(before: &Checkpoint, now: &Checkpoint) -> Option<Self> {
        let (old, new) = (before.size(), now.size());
        if before.origin() != now.origin() || (old, before.root()) == (new, now.root()) {
            return None;
        }
        Some(match new.cmp(&old) {
            std::cmp::Ordering::Less => Self::Smaller { before: old, now: new },
            std::cmp::Ordering::Equal => Self::OtherRoot { size: new },
            std::cmp::Ordering::Greater => Self::NotGrown { before: old, now: new },
        })
    }

    /// What the two checkpoints prove, for who was not there.
    fn meaning(self) -> &'static str {
        match self {
            Self::OtherRoot { .. } => {
                "A log has one tree of each size. Both checkpoints are signed by the log, so it showed different\n\
                 histories to different people. This needs no further proof.\n"
            }
            Self::Smaller { .. } => {
                "A log never shrinks. The smaller checkpoint was presented as the current one, in the timestamp below if there\n\
                 is one, to somebody who had seen the larger one. A restored backup looks like this, and so does a rewritten log.\n"
            }
            Self::NotGrown { .. } => {
                "The log's tiles do not lead from the first tree to the second. If no tiles of the log do, it was\n\
                 rewritten; if others do, the tiles that were given out here were wrong.\n"
            }
        }
    }
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherRoot { size } => write!(f, "two different trees of {size} leaves"),
            Self::Smaller { before, now } => {
                write!(f, "it had {before} leaves, and shows a tree of {now} now")
            }
            Self::NotGrown { before, now } => {
                write!(f, "its tree of {now} leaves does not begin with its tree of {before}")
            }
        }
    }
}

/// A leaf under a signed checkpoint. Nothing of it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exhibit {
    /// What was logged.
    pub leaf: Leaf,
    /// That it was.
    pub proof: ProofFile,
}

impl Exhibit {
    /// Reads both.
    pub fn parse(leaf: &[u8], proof: &[u8]) -> Result<Self, EvidenceError> {
        Ok(Self { leaf: Leaf::parse(leaf)?, proof: ProofFile::parse(proof)? })
    }

    /// What the leaf says of a file, whoever said it.
    fn file(&self) -> Result<&FileLeaf, EvidenceError> {
        match &self.leaf {
            Leaf::File(file) => Ok(file),
            Leaf::Conflict(conflict) => Ok(&conflict.file),
            Leaf::Commitment(_) | Leaf::Log(_) | Leaf::Tuf(_) => {
                Err(EvidenceError::NoContradiction("a leaf is of no file"))
            }
        }
    }

    fn origin(&self) -> &str {
        self.proof.checkpoint().claimed_origin()
    }
}

/// What contradicts what. Made by its functions, which refuse what is no contradiction; nothing of it is verified before
/// [`Self::check`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// Two trees of one log.
    TwoTrees {
        /// How they contradict each other.
        what: Contradiction,
        /// What was seen first.
        before: Box<SignedCheckpoint>,
        /// What contradicts it.
        now: Box<SignedCheckpoint>,
        /// The signed timestamp (TUF) that names `now`. Nobody checks it here.
        timestamp: Option<String>,
    },
    /// One path, two contents: in one log, or in those of an index and of a recorder.
    TwoContents {
        /// What was logged first, or by the index.
        first: Box<Exhibit>,
        /// What was logged then, or by a recorder.
        second: Box<Exhibit>,
    },
}

impl Evidence {
    /// That a log showed `before`, and then `now`. A timestamp that is too long is left out.
    pub fn two_trees(
        before: SignedCheckpoint,
        now: SignedCheckpoint,
        timestamp: Option<&str>,
    ) -> Result<Self, EvidenceError> {
        let refused = EvidenceError::NoContradiction("it is one tree, or they are trees of two logs");
        let what = Contradiction::between(before.claimed(), now.claimed()).ok_or(refused)?;
        let timestamp = timestamp.filter(|text| !text.is_empty() && text.len() < MAX_TIMESTAMP_LEN);
        let ended = |text: &str| if text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") };
        Ok(Self::TwoTrees { what, before: before.into(), now: now.into(), timestamp: timestamp.map(ended) })
    }

    /// That two contents of one path were logged. The first one is a `file/v1`; the second one may be a `conflict/v1`.
    pub fn two_contents(first: Exhibit, second: Exhibit) -> Result<Self, EvidenceError> {
        if !matches!(first.leaf, Leaf::File(_)) {
            return Err(EvidenceError::NoContradiction("the first leaf is no file/v1"));
        }
        let (one, other) = (first.file()?, second.file()?);
        if one.path() != other.path() {
            return Err(EvidenceError::NoContradiction("the leaves are of two paths"));
        }
        if (one.sha256(), one.length()) == (other.sha256(), other.length()) {
            return Err(EvidenceError::NoContradiction("the leaves are of one content"));
        }
        Ok(Self::TwoContents { first: first.into(), second: second.into() })
    }

    /// Reads evidence. The words for people are passed over.
    pub fn parse(bytes: &[u8]) -> Result<Self, EvidenceError> {
        if bytes.len() > MAX_EVIDENCE_LEN {
            return Err(EvidenceError::TooLong { found: bytes.len() });
        }
        let mut parts = Parts::read(bytes)?;
        let evidence = if parts.next_title() == Some("FIRST LEAF") {
            let first = exhibit(&mut parts, "FIRST")?;
            Self::two_contents(first, exhibit(&mut parts, "SECOND")?)?
        } else {
            let before = SignedCheckpoint::parse(parts.take("FIRST CHECKPOINT", MAX_NOTE_LEN)?.as_bytes())?;
            let now = SignedCheckpoint::parse(parts.take("SECOND CHECKPOINT", MAX_NOTE_LEN)?.as_bytes())?;
            let timestamp = match parts.next_title() {
                None => None,
                Some(_) => Some(parts.take("TIMESTAMP", MAX_TIMESTAMP_LEN)?),
            };
            Self::two_trees(before, now, timestamp.as_deref())?
        };
        parts.end()?;
        Ok(evidence)
    }

    /// A short name for a file with it. The same contradiction has the same name, whatever proves it.
    pub fn name(&self) -> String {
        let text = match self {
            // Without lines of extensions: of these, one log could sign any number.
            Self::TwoTrees { before, now, .. } => [before, now].map(|end| tree_lines(end.claimed())).concat(),
            Self::TwoContents { first, second } => {
                format!("{}\n{}\n{}\n{}", first.origin(), first.leaf, second.origin(), second.leaf)
            }
        };
        hex::encode(sha256(text.as_bytes())).chars().take(16).collect()
    }
}

fn tree_lines(tree: &Checkpoint) -> String {
    format!("{}\n{}\n{}\n", tree.origin(), tree.size(), tree.root())
}

fn exhibit(parts: &mut Parts<'_>, which: &str) -> Result<Exhibit, EvidenceError> {
    let leaf = parts.take(&format!("{which} LEAF"), MAX_LEAF_LEN + 1)?;
    let proof = parts.take(&format!("{which} PROOF"), MAX_PROOF_LEN)?;
    Exhibit::parse(leaf.strip_suffix('\n').unwrap_or(&leaf).as_bytes(), proof.as_bytes())
}

/// The text.
impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{TITLE}\n")?;
        match self {
            Self::TwoTrees { what, before, now, timestamp } => {
                let origin = before.claimed_origin();
                writeln!(f, "The transparency log {origin} shows two histories:\n{what}.\n")?;
                writeln!(f, "{}", what.meaning())?;
                part(f, "FIRST CHECKPOINT", &before.to_string())?;
                part(f, "SECOND CHECKPOINT", &now.to_string())?;
                timestamp.iter().try_for_each(|text| part(f, "TIMESTAMP", text))
            }
            Self::TwoContents { first, second } => {
                writeln!(f, "Two contents of one file were logged, by {}", first.origin())?;
                writeln!(f, "and by {}.\n", second.origin())?;
                for (which, exhibit) in [("FIRST", first), ("SECOND", second)] {
                    part(f, &format!("{which} LEAF"), &format!("{}\n", exhibit.leaf))?;
                    part(f, &format!("{which} PROOF"), &exhibit.proof.to_string())?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
