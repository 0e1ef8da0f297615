//! Why the log did not do it.

use thiserror::Error;

use super::entries::EntriesError;
use super::head::HeadError;
use super::sign::CosignError;
use crate::spill::SpillError;
use crate::store::StoreError;
use crate::tlog::bundle::BundleError;
use crate::tlog::checkpoint::CheckpointError;
use crate::tlog::leaf::{LeafError, Role};
use crate::tlog::merkle::Hash;
use crate::tlog::proof::ProofError;
use crate::tlog::recipe::RecipeError;
use crate::tlog::tile::TileError;

/// Why the log did not do it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LogError {
    /// The store that it lies in.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Reading it from elsewhere.
    #[error("cannot read {path}: {message}")]
    Fetch {
        /// The file, as the log names it.
        path: String,
        /// The other side's wording.
        message: String,
    },
    /// There is no log.
    #[error("there is no transparency log here")]
    None,
    /// A new log was wanted where there is one, or what is left of one.
    #[error("there is a transparency log here already, or what is left of one: {path}")]
    Exists {
        /// What is there.
        path: &'static str,
    },
    /// Somebody else appended since the head was read. Nothing of this append is logged.
    #[error("somebody else appended to the log meanwhile")]
    Overtaken,
    /// `log/head` is not what it should be.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// A version of a role that is not newer than what the log has.
    #[error("version {version} of {} cannot be logged: the log has version {newest} already", .role.name())]
    Again {
        /// The role.
        role: Role,
        /// The version to be logged.
        version: u64,
        /// The newest in the log.
        newest: u64,
    },
    /// Sorting paths on the local disk.
    #[error(transparent)]
    Spill(#[from] SpillError),
    /// Entries that could not be kept, or are none.
    #[error(transparent)]
    Entries(#[from] EntriesError),
    /// A file of the log that should be there.
    #[error("{path} is not there: the log is damaged")]
    Missing {
        /// The file.
        path: String,
    },
    /// A file of the log that is not what the rest of it says.
    #[error("{path} is damaged: {problem}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Tiles or entries do not lead to the log's root.
    #[error(
        "the log of {size} entries has the root {found}, expected {expected}: it is damaged or was rewritten"
    )]
    Root {
        /// Entries.
        size: u64,
        /// What its files lead to.
        found: Hash,
        /// What its head or checkpoint says.
        expected: Hash,
    },
    /// The log has signed more than its head knows: a backup was restored.
    #[error(
        "the log has {size} entries, but its key signed for {known}: an old backup was restored, and to go on would be \
         to rewrite history"
    )]
    Behind {
        /// Entries by its head.
        size: u64,
        /// Entries that were signed for.
        known: u64,
    },
    /// Two trees of one log that contradict each other.
    #[error(
        "the log's head does not continue the checkpoint of {size} entries that it signed before: {problem}"
    )]
    Forked {
        /// Entries of the checkpoint.
        size: u64,
        /// What the check found.
        problem: String,
    },
    /// A key of another name, or of another kind.
    #[error("the key is {key}, expected a log's key named {origin}")]
    WrongKey {
        /// The key's name.
        key: String,
        /// The log's name.
        origin: String,
    },
    /// The log's key could not sign.
    #[error("the log's key cannot sign: {message}")]
    Signer {
        /// Its wording.
        message: String,
    },
    /// The witnesses.
    #[error(transparent)]
    Cosign(#[from] CosignError),
    /// An entry that is none.
    #[error("entry {index} of the log: {error}")]
    Leaf {
        /// Its number, from 0.
        index: u64,
        /// What is wrong with it.
        error: LeafError,
    },
    /// A path that was logged again. A log that does so can show some people one file and others another.
    #[error("{path} is logged twice: as entry {first} and as entry {second}")]
    Twice {
        /// The path.
        path: String,
        /// Number of its first entry, from 0.
        first: u64,
        /// Number of the later one.
        second: u64,
    },
    /// Nothing of the kind in the tree.
    #[error("the log has nothing of {path} among the {size} entries that were signed for")]
    NotLogged {
        /// A target path, or a project.
        path: String,
        /// Entries.
        size: u64,
    },
    /// A leaf that names a log before this one, and is not the first.
    #[error("entry {index} names a log before this one, which only the first may do")]
    NotFirst {
        /// Its number, from 0.
        index: u64,
    },
    /// A bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A checkpoint.
    #[error("the log's checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// A tile.
    #[error(transparent)]
    Tile(#[from] TileError),
    /// No such proof.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A proof that does not prove.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// What a visitor said.
    #[error("{0}")]
    Visitor(String),
}

impl LogError {
    /// What can be done about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Store(error) => return error.hint(),
            Self::Spill(error) => return error.hint(),
            Self::Behind { .. } => {
                "restore a newer state of the store; if there is none, this log has ended: begin a successor with `log init`"
            }
            Self::Forked { .. } | Self::Root { .. } => {
                "do not publish; compare the store with a backup, and keep both checkpoints as evidence"
            }
            Self::Overtaken => "try again",
            Self::Missing { .. } | Self::Damaged { .. } => {
                "put the file back from a backup or a mirror; it is checked before it counts"
            }
            _ => return None,
        })
    }
}
