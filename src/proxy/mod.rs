//! Verification between a tool and its index: pip, uv and others, unmodified, get pages and files that are signed, or a
//! refusal that says why.
//!
//! | file | what |
//! |---|---|
//! | `origin.rs` | scheme, host and port |
//! | `address.rs` | what a path asks for; tricks in paths (pure) |
//! | `index.rs` | a verified index: its pages, its files |
//! | `visits.rs` | who asks: a session for each login |
//! | `page.rs` | a signed page, as tools are shown it |
//! | `files.rs` | verified files, kept for the next time, within a number of bytes |
//! | `large.rs` | large files, sent while they come |
//! | `memory.rs` | small files, sent from memory while they are written |
//! | `answer.rs` | the only place where answers are made, from verified things or from a refusal |
//! | `refusal.rs` | why there is no file, in words that a tool prints |
//! | `journal.rs` | what was given out and refused |
//! | `ca.rs` | certificates for the hosts of the indexes, for one run |
//! | `connections.rs` | TCP: how many, how slow, how large a head |
//! | `forward.rs` | `exec`: between a command and the network |
//! | `command.rs` | `exec`: the command's environment, signals and end |
//! | `route.rs` | the way to other hosts, by a proxy that was set before |
//! | `upstream.rs` | such a proxy: HTTP, HTTP inside TLS, SOCKS 5 |
//! | `reverse.rs` | `proxy`: indexes on a fixed port |
//!
//! # Rules
//!
//! 1. What a tool gets of a verified index is an [`answer::Answer`], which can be made from a verified page, a file that
//!    was checked through the handle that is sent, or a refusal. The one exception has a name of its own, and is there for
//!    [`Mode::Warn`] alone.
//! 2. A file is its name: whatever the folder in its URL, the last part of the path says which project and file it is, and
//!    what is sent is the target of that name. So a lock file's URLs are verified without a page.
//! 3. One session, so one snapshot, for a run. What was refused stays refused.
//! 4. What a tool proves itself with goes to the origin it was meant for, with the request that showed it, and is not written
//!    down. What an index gave for it is given to nobody on this machine who did not show it too.
//! 5. Nothing of a file is sent before all of it is checked. Of a large one the end is not: if it is wrong, the connection ends
//!    before, and the tool sees that.

mod address;
mod answer;
mod ca;
mod command;
mod connections;
mod files;
mod forward;
mod index;
mod journal;
mod large;
mod memory;
mod origin;
mod page;
mod refusal;
mod reverse;
mod route;
mod upstream;
mod visits;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use thiserror::Error;

pub use self::ca::CaError;
pub use self::command::Surroundings;
pub use self::forward::{Forward, system_roots};
pub use self::index::{Index, Trusted};
pub use self::journal::{Journal, Passed, Refused, Served};
pub use self::origin::Origin;
pub use self::refusal::Fault;
pub use self::reverse::Reverse;

/// What becomes of that which does not verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is refused.
    Enforce,
    /// It is let through, and said so: to learn what would be refused, before it is.
    Warn,
}

/// The clock: the time of the run for `exec`, the real one for `proxy`.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// What is said at once, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told<'a> {
    /// Something was refused, for the first time.
    Refused(&'a Refused),
    /// Something was let through unverified, for the first time.
    Passed(&'a Passed),
}

/// Who is told.
pub type Tell = Arc<dyn Fn(Told<'_>) + Send + Sync>;

/// What indexes have in common.
#[derive(Clone)]
pub struct Settings {
    /// What to do with what does not verify.
    pub mode: Mode,
    /// Where verified files are kept.
    pub cache: PathBuf,
    /// Bytes of them, at most.
    pub cache_bytes: u64,
    /// After how long a session is begun anew; never, if there is none.
    pub renew: Option<TimeDelta>,
    /// The time.
    pub clock: Clock,
    /// Who is told of refusals.
    pub tell: Tell,
}

/// What a proxy bears from those who talk to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; more wait to be accepted. uv opens 50.
    pub connections: usize,
    /// Bytes of a request's head. pip and uv send under 2,000.
    pub head_bytes: usize,
    /// Fields in a request's head.
    pub head_fields: usize,
    /// Time for a head or a TLS handshake to come, for a kept connection to stay idle, and for another host to answer.
    pub head: Duration,
    /// Time in which the tool must take some of what is sent.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 200,
            head_bytes: 16 * 1_024,
            head_fields: 64,
            head: Duration::from_secs(15),
            stall: Duration::from_secs(30),
        }
    }
}

/// Why a proxy does not start.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProxyError {
    /// A URL without a host, or of a scheme that has none.
    #[error("{name}: {url:?} is no address of an index: expected http:// or https:// and a host")]
    Address {
        /// The trust.
        name: String,
        /// Its URL.
        url: String,
    },
    /// Two trusts for one place.
    #[error("{first} and {second} are trusts for the same index: say which one is meant with --trust")]
    Twice {
        /// A trust.
        first: String,
        /// Another one.
        second: String,
    },
    /// A proxy was set before that is not spoken to here. Its address may hold a password, and is not told.
    #[error(
        "{variable} names no proxy of a kind that is known here: http, https, socks5 or socks5h, with a host"
    )]
    Upstream {
        /// The variable.
        variable: &'static str,
    },
    /// Certificates could not be made.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The command does not start.
    #[error("{name}: {reason}")]
    Command {
        /// Its name.
        name: String,
        /// What the system said.
        reason: String,
        /// Whether there is no such program.
        absent: bool,
    },
    /// The system refused.
    #[error("{what}: {reason}")]
    Local {
        /// What was tried.
        what: &'static str,
        /// What it said.
        reason: String,
    },
}
