//! The client against a repository in memory: what it asks for, what it refuses, what it leaves on disk.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]
#![expect(clippy::type_complexity, reason = "a table of cases reads best with its type beside it")]

mod attacks;
mod bad_input;
mod cache;
mod delegations;
mod delta;
mod files;
mod flips;
mod http;
mod key_types;
pub(crate) mod log;
mod names;
mod parallel;
mod recorders;
mod recorders_program;
mod requests;
mod roots;
mod signatures;
mod tolerance;
mod updates;
pub(crate) mod wire;
