//! Why something is not logged, and so not published.

use thiserror::Error;

use crate::tlog::leaf::LeafError;
use crate::tlog::policy::Refusal;

/// Why something is not logged, and so not published.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LoggingError {
    /// The policy of the log cannot be used.
    #[error("the policy of the log: {reason}")]
    Policy {
        /// What is wrong with it.
        reason: String,
    },
    /// The log's key is not at hand.
    #[error("the repository is logged in {origin}, and the log's key is not at hand")]
    NoKey {
        /// The log.
        origin: String,
    },
    /// A key that cannot sign checkpoints.
    #[error("the log's key is {found}, expected Ed25519")]
    KeyKind {
        /// What kind it is.
        found: &'static str,
    },
    /// The key at hand is not the log's.
    #[error("the log's key at hand is {found}, the policy names {expected}")]
    OtherKey {
        /// The key at hand.
        found: String,
        /// The key of the policy.
        expected: String,
    },
    /// The log's key signs metadata as well.
    #[error(
        "the log's key is a key of {role} too: whoever steals it could publish and rewrite the log at once"
    )]
    TufKey {
        /// The role that has the key.
        role: String,
    },
    /// Other content was logged under this path.
    #[error("{path} is in the log with other content, and a path is logged once, for ever")]
    OtherContent {
        /// The target path.
        path: String,
    },
    /// A target that no leaf can be made of.
    #[error("{path} cannot be logged: {error}")]
    Unfit {
        /// The target path.
        path: String,
        /// Why.
        error: LeafError,
    },
    /// Targets of a version that is logged already, by a change that came to nothing.
    #[error(
        "targets of version {version} cannot be logged: the log has version {logged} of a change that came to nothing"
    )]
    TargetsBehind {
        /// Version that was to be published.
        version: u64,
        /// Version in the log.
        logged: u64,
    },
    /// Timestamp names no log any more, or never did though there is a policy.
    #[error("the repository's timestamp names no log, though {known}")]
    Unnamed {
        /// Why it should.
        known: &'static str,
    },
    /// Timestamp names one log, and another lies in the store.
    #[error("the repository is logged in {expected}, and the log in the store is {found}")]
    OtherLog {
        /// The log in the store.
        found: String,
        /// The log that timestamp names.
        expected: String,
    },
    /// The log is smaller than it was.
    #[error("the log has {found} entries, and {who} {known}: an old state of it was put back")]
    WentBack {
        /// Entries of its head.
        found: u64,
        /// Entries that it had.
        known: u64,
        /// Who knows that.
        who: &'static str,
    },
    /// The log is not the continuation of what it was.
    #[error("the log of {found} entries does not continue that of {known} entries which {who}")]
    Forked {
        /// Entries of its head.
        found: u64,
        /// Entries that it had.
        known: u64,
        /// Who knows that.
        who: &'static str,
    },
    /// The checkpoint does not satisfy the policy.
    #[error("the log's new checkpoint does not satisfy the policy: {refusal}")]
    Unaccepted {
        /// Why not.
        refusal: Refusal,
    },
    /// A policy for a log that timestamp does not name.
    #[error("the policy is for the log {origin}, in which the repository is not")]
    NotBegun {
        /// The log of the policy.
        origin: String,
    },
    /// `log init` where there is a log.
    #[error("the repository is logged in {origin} already")]
    Already {
        /// The log.
        origin: String,
    },
    /// A successor that has the name of the log before it, or none before it.
    #[error("{reason}")]
    Successor {
        /// What is wrong.
        reason: &'static str,
    },
}

impl LoggingError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoKey { .. } => "name it in [log] of wheelseal.toml, and see that this machine has it",
            Self::KeyKind { .. } | Self::TufKey { .. } => {
                "make one for the log alone: wheelseal key gen --no-passphrase log.pem"
            }
            Self::OtherContent { .. } => {
                "publish it under a new version or build number; if it was never another: wheelseal log init --proofs"
            }
            Self::WentBack { .. } | Self::Forked { .. } | Self::Unnamed { .. } | Self::OtherLog { .. } => {
                "publish nothing. Put the newest state of log/ and metadata/ back; if it is lost, begin a new log after \
                 this one: wheelseal log init --successor"
            }
            Self::TargetsBehind { logged, .. } => {
                return Some(format!("sign targets anew, of a version above {logged}"));
            }
            Self::Unaccepted { .. } => "nothing is lost: publish again when enough witnesses answer",
            Self::NotBegun { .. } => "begin the log first: wheelseal log init",
            Self::Already { .. } => "for a new log after it: wheelseal log init --successor --origin NAME",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
