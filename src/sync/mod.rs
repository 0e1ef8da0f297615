//! A verified index in a folder: signed pages and checked files, which pip and uv read through `file://` without a network.
//!
//! | file | what |
//! |---|---|
//! | `folder.rs` | the folder: what lies where, and what may not be touched |
//! | `job.rs` | projects, some at a time: page, files, page again without what was refused |
//! | `choose.rs` | what a lock names, what requirements name, with dependencies; or all there is |
//!
//! ```text
//! DIR/simple/index.html              the projects
//! DIR/simple/PROJECT/index.html      its page, and index.json
//! DIR/targets/PROJECT/FILE           files, and their metadata as FILE.metadata
//! DIR/wheelseal-sync.json            what is there, and why it is trusted
//! DIR/.wheelseal-sync/               whose folder this is
//! ```
//!
//! # Rules
//!
//! 1. A page is rendered from a signed page, and lists what is there alone. A file is moved to its name when length and
//!    hashes are what was signed; what is there already is hashed again in each run.
//! 2. One session, so one snapshot, for a run. A folder does not go back to an older one.
//! 3. Files come before the page that lists them, and go after it.
//! 4. One bad file does not keep the others out. A disk that is full, or a network that is gone, ends the run; the next one
//!    goes on.
//! 5. Links in the folder are not followed: where one stands in the way, it is removed.

mod choose;
mod folder;
mod job;

use thiserror::Error;

pub use self::choose::{Wanted, Wish};
pub use self::folder::{Folder, State};
pub use self::job::{Filter, Job, Kinds, Placed, Progress, Summary, Tell, Told};
use crate::client::ClientError;
use crate::python::{ArchiveError, DependencyError, PageError, SelectError};

/// Why a folder cannot be brought up to date.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SyncError {
    /// A file operation failed.
    #[error("{what} {path}: {reason}")]
    Io {
        /// Verb.
        what: &'static str,
        /// Which file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// The folder has files of somebody else.
    #[error("{path} is not empty, and not made by sync")]
    NotOurs {
        /// The folder.
        path: String,
    },
    /// The folder is part of a repository.
    #[error("{path} lies in a repository, {repository}")]
    InRepository {
        /// The folder.
        path: String,
        /// The repository.
        repository: String,
    },
    /// The folder is of another repository.
    #[error("{path} holds files of {found}, not of {wanted}")]
    OtherRepository {
        /// The folder.
        path: String,
        /// Whose files are there.
        found: String,
        /// Whose are to come.
        wanted: String,
    },
    /// The folder has a newer state than the repository.
    #[error("{role} of the repository is version {found}, and {path} has {held}")]
    WentBack {
        /// The folder.
        path: String,
        /// Which role.
        role: &'static str,
        /// Version that is served.
        found: u64,
        /// Version that is there.
        held: u64,
    },
    /// Another run works on the folder.
    #[error("another sync is at work in {path}")]
    Busy {
        /// The folder.
        path: String,
    },
    /// What the last run noted does not read.
    #[error("{path} does not read: {reason}")]
    BadState {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// The repository cannot be asked, or what comes cannot be kept.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// More projects than a set of requirements has.
    #[error("the requirements lead to more than {limit} projects")]
    TooMany {
        /// Projects allowed.
        limit: usize,
    },
    /// More different requirements of one project than a set has.
    #[error("{project} is wanted in more than {wants} ways, or by more than {specifiers} version specifiers")]
    TooManyWants {
        /// The project.
        project: String,
        /// Requirements allowed.
        wants: usize,
        /// Specifiers allowed.
        specifiers: usize,
    },
}

/// Why a file or project is left out.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Reason {
    /// It does not verify, or cannot be fetched.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It is signed, but no page.
    #[error(transparent)]
    Page(#[from] PageError),
    /// Page and file are signed, and say different things.
    #[error("its page has SHA-256 {page}, its role {role}")]
    Disagree {
        /// On the page.
        page: String,
        /// In the role that answers for the file.
        role: String,
    },
    /// No version is what is wanted.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// No file is for the machine that was named.
    #[error("no file of {wanted} is what was asked for by --python, --platform and --only")]
    NoFile {
        /// The version, or the requirement.
        wanted: String,
    },
    /// A lock says otherwise.
    #[error("{text}")]
    Lock {
        /// What and how.
        text: String,
        /// It says something else than what is signed, not only too little.
        contradicts: bool,
    },
    /// Its metadata does not read.
    #[error("its dependencies do not read: {0}")]
    Dependencies(#[from] DependencyError),
    /// The archive in which the metadata is does not.
    #[error("its dependencies do not read: {0}")]
    Archive(#[from] ArchiveError),
    /// It does not come from an index.
    #[error("wanted from {place}: no index answers for it")]
    Elsewhere {
        /// The URL.
        place: String,
    },
    /// No version fits all who want it; the newest for each of them is there.
    #[error("no one version is good for all: {}", wanted.join(", "))]
    Torn {
        /// What each wants.
        wanted: Vec<String>,
    },
}

impl Reason {
    /// It says nothing about what else is wanted: another time there may be more.
    fn is_doubt(&self) -> bool {
        match self {
            Self::Client(ClientError::NotSigned { .. }) => false,
            Self::Client(_) | Self::Page(_) | Self::Dependencies(_) | Self::Archive(_) => true,
            _ => false,
        }
    }
}

/// Something that is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// A file, project or role.
    pub what: String,
    /// Why.
    pub reason: Reason,
}

impl Refused {
    fn new(what: &impl ToString, reason: impl Into<Reason>) -> Self {
        Self { what: what.to_string(), reason: reason.into() }
    }
}
