//! What can be wrong with a journal.

use super::values::ValueError;
use crate::crypto::CryptoError;

/// Never carries what an event says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// A file or folder cannot be used.
    #[error("{what} {path}: {reason}")]
    File {
        /// Verb.
        what: &'static str,
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
    /// It is not private.
    #[error(
        "{path} has mode {mode:03o}: a journal and its keys are for their owner alone, expected {expected:03o}"
    )]
    Exposed {
        /// Which.
        path: String,
        /// As found.
        mode: u32,
        /// As it should be.
        expected: u32,
    },
    /// It belongs to somebody else.
    #[error("{path} belongs to another user")]
    Foreign {
        /// Which.
        path: String,
    },
    /// It lies where it would be read or carried off together with something else.
    #[error("{path} lies in {within}: keep repository, journal and journal key apart")]
    Inside {
        /// Which.
        path: String,
        /// In which.
        within: String,
    },
    /// A file of the program's own has been changed by something else.
    #[error("{path} is not what wheelseal wrote: {reason}")]
    Malformed {
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
    /// It is there already.
    #[error("{path} exists")]
    Exists {
        /// Which.
        path: String,
    },
    /// There are as many as there may be.
    #[error("there are {max} {what} already")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        max: usize,
    },
    /// There is nothing of that name.
    #[error("there is no {what} {name}")]
    Unknown {
        /// What kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// A value without the shape it needs.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// No randomness.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

impl JournalError {
    pub(super) fn file(what: &'static str, path: &std::path::Path, reason: &dyn std::fmt::Display) -> Self {
        Self::File { what, path: path.display().to_string(), reason: reason.to_string() }
    }
}
