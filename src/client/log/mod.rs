//! The transparency log of a repository, as a client checks it: by static files, which can be kept.
//!
//! | after | what is checked | file |
//! |---|---|---|
//! | an update ([`standing`]) | the snapshot is in the tree that `x-tlog` of timestamp names | `metadata/N.snapshot.json.tlog-proof` |
//! | | this tree is no other and no smaller one than was seen before | `head` in the client's folder |
//! | | with `quorum none`: it continues the one seen before ([`growth`]) | tiles below `log/` |
//! | a search ([`proven`]) | the file was logged, by path, length and hash | `targets/P/F.tlog-proof` |
//! | | so many recorders have the same leaf in their logs ([`recorders`]) | `targets/P/F.tlog-proof` of each |
//!
//! Rules are policies (c2sp.org/tlog-policy): the repository's target `tlog-policy`, which the offline key of targets signed, and one
//! that the user pinned. Each of them must accept each checkpoint. Without any, nothing is asked and nothing is checked.
//!
//! A [`Proven`] is the only thing a verified file is made of, and it is made here alone. Whatever is missing, damaged or cannot
//! be read refuses. Two checkpoints that cannot both be go to an evidence file ([`evidence`]).

mod announced;
mod evidence;
mod folder;
mod growth;
mod member;
mod patience;
mod proven;
mod recorders;
mod rules;
mod standing;

use std::sync::Arc;

use thiserror::Error;

use super::source::{FetchError, Fetched, Source};
pub use crate::tlog::evidence::Contradiction;
use crate::tlog::leaf::LeafError;
use crate::tlog::policy::{Policy, PolicyError};
use crate::tlog::proof::ProofError;
use crate::tlog::proof_file::ProofFileError;
use crate::tlog::tile::TileError;

pub use announced::{Announced, MAX_ANNOUNCED_LEN, RecorderError, Recorders, Since};
pub(super) use folder::LogDir;
pub use proven::{Inclusion, Proven};
pub use recorders::{Panel, Recorded};
pub use rules::Whose;
pub use standing::Logging;
pub(super) use standing::Standing;

/// What a user knows of a repository's log beside what the repository says of it.
#[derive(Debug, Clone, Default)]
pub struct LogTrust {
    /// Holds beside the repository's own policy.
    pub policy: Option<Policy>,
    /// Files below `log/`. Without it, what needs tiles is refused.
    pub tiles: Option<Arc<dyn Source>>,
    /// Third parties that must have seen each file too.
    pub recorders: Option<Arc<Panel>>,
}

/// Why a log, or what it says, is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LogError {
    /// A policy that does not read.
    #[error("{whose} does not read: {error}")]
    BadPolicy {
        /// Whose it is.
        whose: Whose,
        /// What is wrong with it.
        error: PolicyError,
    },
    /// The repository's policy is not there, or not what was signed.
    #[error("the target tlog-policy, which says who must have witnessed the log, {problem}")]
    NoPolicy {
        /// What is wrong.
        problem: String,
    },
    /// A policy wants a log, and the timestamp names none.
    #[error("the repository names no transparency log, which {whose} asks for")]
    NoLog {
        /// Whose it is.
        whose: Whose,
    },
    /// There is no proof that something was logged.
    #[error("there is no proof that {what} was logged")]
    NoProof {
        /// A target path, or the snapshot.
        what: String,
    },
    /// A proof that does not hold, or that a policy does not accept.
    #[error("the proof that {what} was logged does not hold by {whose}: {error}")]
    BadProof {
        /// A target path, or the snapshot.
        what: String,
        /// By which policy.
        whose: Whose,
        /// Why.
        error: ProofFileError,
    },
    /// A proof file that does not read.
    #[error("the proof that {what} was logged does not read: {error}")]
    Unreadable {
        /// A target path, or the snapshot.
        what: String,
        /// Why.
        error: ProofFileError,
    },
    /// The proof of the snapshot is for another tree than timestamp names.
    #[error("timestamp names the tree {named}, but its snapshot is proven for {proven}")]
    OtherTree {
        /// What timestamp names.
        named: String,
        /// Of the proof.
        proven: String,
    },
    /// The proof of a file is for a tree that there is not yet.
    #[error("{path} is proven for a tree of {size} leaves, but the log of this snapshot has {head}")]
    Ahead {
        /// The target path.
        path: String,
        /// Leaves of the proof's tree.
        size: u64,
        /// Leaves of the tree that timestamp names.
        head: u64,
    },
    /// Nothing of this name or kind is ever logged.
    #[error("{path} cannot have been logged: {error}")]
    NoLeaf {
        /// The target path.
        path: String,
        /// Why.
        error: LeafError,
    },
    /// Leaves have SHA-256 hashes.
    #[error("{path} is signed without a SHA-256, by which files are logged")]
    NoSha256 {
        /// The target path.
        path: String,
    },
    /// Two checkpoints that cannot both be the log's.
    #[error("the log {origin} shows two histories: {what}; evidence is in {evidence}")]
    Fork {
        /// The log.
        origin: String,
        /// How they contradict each other.
        what: Contradiction,
        /// The file with both.
        evidence: String,
    },
    /// The tiles do not show that the log only grew, or are not there.
    #[error("the log's tiles do not show that it grew from {old} to {new} leaves: {problem}")]
    NoGrowth {
        /// Leaves of the tree seen before.
        old: u64,
        /// Leaves of the new one.
        new: u64,
        /// Why.
        problem: Growth,
    },
    /// A recorder proves that it recorded something else, and too few say what the index says.
    #[error("recorders do not agree with the index about {path}, as {needed} must: {}", said.join("; "))]
    Contradicted {
        /// The target path.
        path: String,
        /// How many must.
        needed: usize,
        /// What each says.
        said: Vec<String>,
    },
    /// Too few recorders say what the index says, and none says otherwise.
    #[error("{needed} of {of} recorders must have recorded {path} as it is signed, but: {}", said.join("; "))]
    Unrecorded {
        /// The target path.
        path: String,
        /// How many must.
        needed: usize,
        /// Of how many.
        of: usize,
        /// What each says.
        said: Vec<String>,
    },
    /// What was seen of the log before is damaged.
    #[error("{path}, where the newest checkpoint of the log is kept, is damaged: {reason}")]
    Memory {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Why tiles show nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Growth {
    /// It is not known where they are, or nobody may be asked.
    #[error("they cannot be asked for here")]
    Nowhere,
    /// One is missing or malformed.
    #[error(transparent)]
    Tile(#[from] TileError),
    /// They lead elsewhere, or no such growth is possible.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

impl LogError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Fork { .. } => {
                "do not install; keep the evidence file, show it to the log's witnesses and to others, and ask the admin"
            }
            Self::Memory { .. } => {
                "compare it with a backup; only if you are sure that your disk is to blame, remove it: then the log may show another history unnoticed, once"
            }
            Self::Contradicted { .. } => {
                "do not install; the index gives you other bytes than it gave others, or a recorder lies: keep the evidence, and ask both"
            }
            Self::Unrecorded { .. } => {
                "do not install what nobody else has seen; if the file is new or a recorder is down, try again later"
            }
            Self::BadPolicy { whose: Whose::User, .. } => {
                "mend the policy, or add the trust anew with another"
            }
            Self::NoGrowth { .. } => {
                "without witnesses the whole log must be at hand; if the mirror lacks log/, use another one, and tell the admin"
            }
            _ => {
                "do not install: who took over the online keys would look like this; try another mirror, and tell the admin"
            }
        }
    }
}

/// All of a small file, if it is there.
async fn small(source: &dyn Source, path: &str, max: usize) -> Result<Option<Vec<u8>>, FetchError> {
    let mut bytes = Vec::new();
    let max = u64::try_from(max).unwrap_or(u64::MAX);
    Ok(match source.fetch(path, max, &mut bytes).await? {
        Fetched::Whole => Some(bytes),
        Fetched::Absent => None,
    })
}
