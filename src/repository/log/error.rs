//! Why something is not logged, and so not published.

use thiserror::Error;

/// Why something is not logged, and so not published.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LoggingError {
    /// The policy of the log cannot be used.
    #[error("the policy of the log: {reason}")]
    Policy {
        /// What is wrong with it.
        reason: String,
    },
}

impl LoggingError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Policy { .. } => None,
        }
    }
}
