//! The transparency log of a repository: what is published is logged first, and every snapshot with it.
//!
//! | file | room |
//! |---|---|
//! | `error` | why something is not logged |
//! | `policy` | the target `tlog-policy`: which log, which witnesses |

mod error;
mod policy;

pub use error::LoggingError;
pub use policy::LogPolicy;
pub(super) use policy::{POLICY, text_of};
