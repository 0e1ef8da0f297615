//! The transparency log of a repository: what is published is logged first, and every snapshot with it.
//!
//! | file | room |
//! |---|---|
//! | `book` | the log as a commit finds it; signing it |
//! | `leaves` | what a commit logs |
//! | `proofs` | proof files: what is logged under a path |
//! | `commit` | the steps between staging and the commit point |
//! | `key` | the log's own key |
//! | `policy` | the target `tlog-policy`: which log, which witnesses |
//! | `shown` | what people are shown of it |
//! | `remark` | what is logged between commits: conflicts and commitments |
//! | `start` | a log begins; proofs made anew |
//! | `error` | why something is not logged |

mod book;
mod commit;
mod error;
mod key;
mod leaves;
mod policy;
mod proofs;
mod remark;
mod shown;
mod start;

pub(super) use book::Book;
pub(super) use commit::Logged;
pub use error::LoggingError;
pub(super) use key::LogKey;
pub use key::{NamedKey, verifier_key};
pub(super) use leaves::{Leaves, of_distribution};
pub use policy::LogPolicy;
pub(super) use policy::{POLICY, text_of};
pub use remark::Remark;
pub use shown::{FileProof, LogEntry, LogPicture, LogTree, ProofStep, Signed};
pub use start::{Begun, NewLog, Predecessor};
