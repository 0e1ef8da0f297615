//! Why a ceremony is not what it should be, or does not go on.

use thiserror::Error;

/// Why a ceremony is not what it should be, or does not go on. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CeremonyError {
    /// A name that cannot be a file's.
    #[error("{0:?} is no name for a ceremony: 1 to 64 lower-case letters, digits and hyphens")]
    BadName(String),
    /// The file is none of this format, or was edited by hand.
    #[error("this is no ceremony that can be used: {0}")]
    Malformed(String),
    /// More than a limit allows.
    #[error("the ceremony has {found} {what}, at most {max} are allowed")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// A signature in the file is not good: the file was altered, or the signature was.
    #[error("the signature over {role} by key {key} is not good: it was made over something else")]
    BadSignature {
        /// The role, or the statement.
        role: String,
        /// The start of the key's id.
        key: String,
    },
    /// A signature over another version of the role than the one proposed.
    #[error("this signature is over version {found} of {role}, the ceremony proposes version {expected}")]
    OtherVersion {
        /// The role.
        role: String,
        /// What was signed.
        found: u64,
        /// What is proposed.
        expected: u64,
    },
    /// A key that nobody lists for the role.
    #[error("key {key} is none of {role}, neither now nor after this ceremony")]
    Stranger {
        /// The start of the key's id.
        key: String,
        /// The role, or all of them.
        role: String,
    },
    /// The key has signed already.
    #[error("key {key} has signed {role} already")]
    SignedBefore {
        /// The start of the key's id.
        key: String,
        /// The role.
        role: String,
    },
    /// The ceremony does not change this role.
    #[error("the ceremony {name} does not change {role}")]
    NotProposed {
        /// The ceremony.
        name: String,
        /// The role.
        role: String,
    },
    /// The change breaks rules: it is not signed, and not finished.
    #[error("refused: {}", .0.join("; "))]
    Refused(Vec<String>),
    /// Another proposal has the same name.
    #[error("there is another ceremony of the name {0}, with other content")]
    Taken(String),
    /// No such ceremony.
    #[error("there is no ceremony {0} in this repository")]
    Unknown(String),
    /// The repository has changed since.
    #[error("{role} has changed since the ceremony {name} was started: version {found}, not {expected}")]
    Stale {
        /// The ceremony.
        name: String,
        /// The role.
        role: String,
        /// Its version now.
        found: u64,
        /// Its version then; 0 if there was none.
        expected: u64,
    },
    /// The root that was given does not lead to the one the ceremony is based on.
    #[error(
        "the root that you know (version {known}) does not lead to the one of the ceremony (version {found})"
    )]
    OtherRoot {
        /// Version of the root given.
        known: u64,
        /// Version of the ceremony's newest root.
        found: u64,
    },
    /// Keys whose holders have not shown that they hold them.
    #[error("nobody has shown yet to hold the new key(s) {}", .0.join(", "))]
    Unproven(Vec<String>),
    /// Too few signatures.
    #[error("{role} needs {needed} signature(s) by keys that {delegator} lists, it has {found}")]
    Unsigned {
        /// The role.
        role: String,
        /// Who lists the keys, and whether now or after the ceremony.
        delegator: String,
        /// The threshold.
        needed: u64,
        /// Good signatures.
        found: usize,
    },
    /// The staged repository was refused before anything was published.
    #[error("{verifier} refuses the staged repository, so nothing was published: {reason}")]
    Gate {
        /// Who.
        verifier: String,
        /// Why.
        reason: String,
    },
}

impl CeremonyError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Malformed(_) | Self::BadSignature { .. } => Some(
                "take the file again from who made it; do not edit it, and merge with: wheelseal ceremony import",
            ),
            Self::Stale { .. } => Some("abandon it and start it again on what there is now"),
            Self::Taken(_) => Some("choose another name, or: wheelseal ceremony abandon NAME"),
            Self::Unknown(_) => Some("see what there is: wheelseal ceremony status"),
            Self::Unproven(_) => Some("each holder runs: wheelseal ceremony join EVENT --key URI"),
            Self::Unsigned { .. } => Some("who is missing: wheelseal ceremony status EVENT"),
            Self::OtherRoot { .. } => {
                Some("do not sign: either your root is not of this repository, or the ceremony is not")
            }
            _ => None,
        }
    }
}
