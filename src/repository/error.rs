//! Why an admin's command did not do what it was asked.

use chrono::{DateTime, Utc};
use thiserror::Error;

use super::bulk::ImportError;
use super::ceremony::CeremonyError;
use super::log::LoggingError;
use crate::crypto::CryptoError;
use crate::keys::KeyError;
use crate::log::{EntriesError, HEAD, LogError};
use crate::python::{ArchiveError, AttestationError, FilenameError, PageError};
use crate::spill::SpillError;
use crate::store::{StoreError, StorePath};
use crate::tuf::path::NameError;
use crate::tuf::signed::VerifyError;
use crate::tuf::trusted::TrustError;

/// Why an admin's command did not do what it was asked. The repository is as before.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RepositoryError {
    /// The transparency log.
    #[error(transparent)]
    Logging(#[from] LoggingError),
    /// The log itself.
    #[error(transparent)]
    Log(LogError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A signing key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A public key that cannot be written down.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// The repository's own metadata does not verify.
    #[error("the repository's own metadata: {0}")]
    Verify(#[from] VerifyError),
    /// The repository's own metadata is not consistent.
    #[error("the repository's own metadata: {0}")]
    Trust(#[from] TrustError),
    /// A name that cannot be used.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Sorting on the local disk.
    #[error(transparent)]
    Spill(#[from] SpillError),
    /// A list of files that is not imported.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// A ceremony that is not what it should be, or does not go on.
    #[error(transparent)]
    Ceremony(#[from] CeremonyError),
    /// There is no repository here.
    #[error("{0} does not exist: there is no wheelseal repository")]
    NoRepository(String),
    /// There is one already, whole or damaged, or something of the same name.
    #[error("{0} exists: this is a repository already, or no empty folder")]
    AlreadyRepository(String),
    /// A file that the repository's own metadata names is gone.
    #[error("{0} is missing, though the repository's own metadata names it")]
    Missing(String),
    /// `wheelseal.toml` does not read.
    #[error("wheelseal.toml does not read: {0}")]
    Settings(String),
    /// Too few of the keys at hand may sign for a role.
    #[error("{role} needs {needed} signature(s), the keys at hand can make {able}")]
    KeysMissing {
        /// The role.
        role: String,
        /// Its threshold.
        needed: u64,
        /// Keys at hand that count for it.
        able: usize,
        /// The keys that would count, by the start of their ids.
        accepted: Vec<String>,
    },
    /// The store holds an older state than this machine has seen.
    #[error("the repository went back to timestamp version {found}; this machine has seen version {seen}")]
    WentBack {
        /// What is there.
        found: u64,
        /// What was seen.
        seen: u64,
        /// Where that is remembered.
        file: String,
    },
    /// By this machine's clock, which is ahead of the store's, files are older than they are.
    #[error("this machine's clock says {here}, the store's {store}: young files would be taken for old")]
    ClockAhead {
        /// What this machine's clock says.
        here: DateTime<Utc>,
        /// What the store's says.
        store: DateTime<Utc>,
    },
    /// A snapshot that is not in the store any more, or never was.
    #[error("there is no snapshot {0} in the repository")]
    NoSnapshot(u64),
    /// Metadata that clients would not take.
    #[error("{role} would have {found} bytes, clients take {max}")]
    TooLarge {
        /// The role.
        role: String,
        /// Its length in bytes.
        found: u64,
        /// What clients take.
        max: u64,
    },
    /// A plan that makes no sense.
    #[error("{0}")]
    Plan(String),
    /// A file name that is no distribution's.
    #[error("{file}: {error}")]
    Filename {
        /// The file.
        file: String,
        /// Why.
        error: FilenameError,
    },
    /// A distribution whose content is not what its name says, or not safe to read.
    #[error("{file}: {error}")]
    Archive {
        /// The file.
        file: String,
        /// Why.
        error: ArchiveError,
    },
    /// Attestations that are not what they must be, or about something else (PEP 740).
    #[error("{file}: {error}")]
    Attestation {
        /// The distribution.
        file: String,
        /// Why.
        error: AttestationError,
    },
    /// A local file that does not read.
    #[error("{what} {file}: {reason}")]
    File {
        /// Verb.
        what: &'static str,
        /// The file.
        file: String,
        /// Why.
        reason: String,
    },
    /// A backup that is not whole, or not what was signed, or that does not fit what is there.
    #[error("{file}: {reason}")]
    Backup {
        /// The file of the backup.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// A published page does not read.
    #[error("the page of {project}: {error}")]
    Page {
        /// The project.
        project: String,
        /// Why.
        error: PageError,
    },
    /// A file name that stands for other content already.
    #[error("{filename} is published already with SHA-256 {published}, this one has {found}")]
    Conflict {
        /// The file name.
        filename: String,
        /// What is published.
        published: String,
        /// What was given.
        found: String,
    },
    /// Attestations of a file that is published without any.
    #[error("{0} is published already without attestations, and gets none any more")]
    LateAttestation(String),
    /// A file or project that is not there.
    #[error("{0} is not published")]
    NotPublished(String),
    /// A project whose maintainers sign it themselves.
    #[error("{0} is claimed: its maintainers alone publish, withdraw and yank its files")]
    Claimed(String),
    /// An upload that is no longer what it was when it came.
    #[error("{0} waits here, and is not there as it was uploaded: upload it again")]
    Altered(String),
    /// Uploads that nobody signs.
    #[error("too many uploads of {0} wait for its maintainers' signatures")]
    TooMuchWaits(String),
    /// Nobody can claim a project here.
    #[error("projects cannot be claimed in this repository yet")]
    ClaimsDisabled,
    /// A claim for a name that looks like that of a claimed project.
    #[error("{name} looks like {other}, which others have claimed")]
    LookAlike {
        /// The name.
        name: String,
        /// The claimed project.
        other: String,
    },
    /// What an offline role must say before it is so.
    #[error("{0} is delegated to by an offline role, so its keys change in a ceremony")]
    NeedsCeremony(String),
    /// Others kept publishing all the time.
    #[error("gave up after {0} attempts: other publishers were faster each time")]
    Busy(u32),
    /// A second verifier does not agree, or cannot read this kind of repository.
    #[error("{verifier}: {reason}")]
    SecondVerifier {
        /// Its name.
        verifier: &'static str,
        /// What it says.
        reason: String,
    },
}

/// What the store under the log says is what the store says; somebody who was faster is a lost race.
impl From<LogError> for RepositoryError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Store(error) => Self::Store(error),
            LogError::Overtaken | LogError::Again { .. } => match StorePath::new(HEAD) {
                Ok(path) => Self::Store(StoreError::Conflict { path }),
                Err(error) => Self::Store(error),
            },
            error => Self::Log(error),
        }
    }
}

impl From<EntriesError> for RepositoryError {
    fn from(error: EntriesError) -> Self {
        LogError::from(error).into()
    }
}

impl RepositoryError {
    /// Whether it is about what somebody asked for, and not about the repository or this machine.
    pub fn is_of_the_request(&self) -> bool {
        matches!(
            self,
            Self::Plan(_)
                | Self::Page { .. }
                | Self::Archive { .. }
                | Self::Attestation { .. }
                | Self::Filename { .. }
                | Self::Conflict { .. }
                | Self::LateAttestation(_)
                | Self::Claimed(_)
                | Self::ClaimsDisabled
                | Self::LookAlike { .. }
                | Self::NeedsCeremony(_)
                | Self::NotPublished(_)
                | Self::TooLarge { .. }
                | Self::TooMuchWaits(_)
                | Self::Altered(_)
        )
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint().map(Into::into),
            Self::Key(error) => error.hint().map(Into::into),
            Self::Spill(error) => error.hint().map(Into::into),
            Self::Ceremony(error) => error.hint().map(Into::into),
            Self::Logging(error) => error.hint(),
            Self::Log(error) => error.hint().map(Into::into),
            Self::NoRepository(_) => Some(
                "say which folder with --repo DIR or WHEELSEAL_REPO, or make one: wheelseal init --help"
                    .into(),
            ),
            Self::KeysMissing { accepted, .. } => {
                Some(format!("give them with --key URI; accepted are the keys {}", accepted.join(", ")))
            }
            Self::Conflict { .. } => Some(
                "a published file never changes; give the new content a new version or build number".into(),
            ),
            Self::WentBack { file, .. } => {
                Some(format!("if you put back a backup on purpose, delete {file}; else somebody did"))
            }
            Self::ClockAhead { .. } => {
                Some("set the clock that is wrong, or collect on a machine whose clock is right".into())
            }
            Self::Claimed(_) => {
                Some("they sign with `wheelseal project release`; apply what they send with `wheelseal claims receive`".into())
            }
            Self::TooMuchWaits(_) => {
                Some("maintainers release them; an admin forgets them with `wheelseal claims staged --forget`".into())
            }
            Self::ClaimsDisabled => Some("an admin allows it: wheelseal claims enable".into()),
            Self::LookAlike { .. } => {
                Some("look at who claims it and why; to take it all the same: --look-alike".into())
            }
            Self::NeedsCeremony(_) => {
                Some("let it wait for one: wheelseal claims receive FILE; then: wheelseal claims promote".into())
            }
            Self::NoSnapshot(_) => {
                Some("`wheelseal gc` removes old ones; `wheelseal status` tells the current one".into())
            }
            Self::TooLarge { role, .. } if role == "snapshot" => {
                Some("each bin and each claimed project is a line of it: use fewer bins, or claim no more".into())
            }
            Self::TooLarge { .. } => Some("use more bins, or --bin-style succinct".into()),
            Self::Busy(_) => Some("run the command again; nothing was lost".into()),
            Self::Missing(_) => {
                Some("restore the file from a mirror or backup, then run: wheelseal check".into())
            }
            _ => None,
        }
    }
}
