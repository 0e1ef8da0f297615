//! Exit codes, and what to do about an error. `wheelseal help exit-codes` prints the table.

use crate::claim_desk::DeskError;
use crate::client::trust::{OpenError, TrustStoreError};
use crate::client::{CacheError, ClientError, FetchError, FileError, SendError};
use crate::crawl::CrawlError;
use crate::environment::EnvironmentError;
use crate::keys::KeyError;
use crate::log::LogError;
use crate::proxy::{Fault, ProxyError};
use crate::repository::{CeremonyError, RepositoryError};
use crate::store::{Fault as StoreFault, StoreError};
use crate::sync::{Reason, SyncError};
use crate::tuf::signed::VerifyError;
use crate::tuf::trusted::TrustError;
use crate::witness::FolderError;

pub(super) const OK: u8 = 0;
pub(super) const OTHER: u8 = 1;
pub(super) const USAGE: u8 = 2;
pub(super) const INTEGRITY: u8 = 3;
pub(super) const EXPIRED: u8 = 4;
pub(super) const ROLLBACK: u8 = 5;
pub(super) const THRESHOLD: u8 = 6;
pub(super) const NETWORK: u8 = 7;
const BUSY: u8 = 8;
pub(super) const POLICY: u8 = 9;
const NOT_STARTED: u8 = 126;
const NO_COMMAND: u8 = 127;

/// For `help exit-codes`.
pub(super) const TABLE: [(u8, &str); 12] = [
    (OK, "done"),
    (OTHER, "anything not below"),
    (USAGE, "wrong usage: nothing was done"),
    (
        INTEGRITY,
        "a hash, a signature or the form of something signed is wrong, or a file is not signed at all",
    ),
    (EXPIRED, "expired metadata: a freeze attack, or an admin who forgot to bump"),
    (ROLLBACK, "metadata older than what was trusted before"),
    (THRESHOLD, "too few signatures for a role, or too few keys at hand"),
    (
        NETWORK,
        "the server or the way to it does not work, is too slow or sends too much, or a file that should be there is not",
    ),
    (BUSY, "another process was faster or holds a lock: try again"),
    (POLICY, "a limit or policy forbids it, or the transparency log does not show what it should"),
    (NOT_STARTED, "the command of `exec` could not be started; otherwise `exec` ends as its command does"),
    (NO_COMMAND, "there is no such command"),
];

/// A command that did all it was asked, and found something wrong; it has said what.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(super) struct SomeFailed {
    pub(super) text: String,
    pub(super) code: u8,
}

/// A command that ran another one, which ended so and said why itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the command ended with {0}")]
pub(super) struct Ended(pub(super) u8);

/// Wrong usage that clap cannot see.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(super) String);

/// The exit code for an error.
pub(super) fn code(error: &anyhow::Error) -> u8 {
    if let Some(error) = error.downcast_ref::<ClientError>() {
        return client(error);
    }
    match error.downcast_ref::<OpenError>() {
        Some(OpenError::Client(error)) => return client(error),
        Some(OpenError::Store(error)) => return store(error),
        None => {}
    }
    if let Some(error) = error.downcast_ref::<RepositoryError>() {
        return repository(error);
    }
    match error.downcast_ref::<DeskError>() {
        Some(DeskError::Repository(error)) => return repository(error),
        Some(DeskError::Store(error)) => return object(error),
        Some(DeskError::Claim(_)) => return USAGE,
        _ => {}
    }
    if let Some(error) = error.downcast_ref::<LogError>() {
        return log(error);
    }
    if let Some(error) = error.downcast_ref::<TrustStoreError>() {
        return store(error);
    }
    if let Some(error) = error.downcast_ref::<StoreError>() {
        return object(error);
    }
    match error.downcast_ref::<FolderError>() {
        Some(FolderError::Store(error)) => return object(error),
        Some(FolderError::Damaged { .. }) => return INTEGRITY,
        Some(_) => return USAGE,
        None => {}
    }
    match error.downcast_ref::<CrawlError>() {
        Some(CrawlError::Fetch(FetchError::BadUrl { .. })) => return USAGE,
        Some(CrawlError::Local { .. }) => return OTHER,
        Some(_) => return NETWORK,
        None => {}
    }
    match error.downcast_ref::<SendError>() {
        Some(SendError::Fetch(FetchError::BadUrl { .. }) | SendError::Open(_)) => return USAGE,
        Some(SendError::Refused { .. }) => return POLICY,
        Some(SendError::Fetch(_)) => return NETWORK,
        None => {}
    }
    if let Some(error) = error.downcast_ref::<SomeFailed>() {
        return error.code;
    }
    if let Some(error) = error.downcast_ref::<SyncError>() {
        return sync(error);
    }
    if let Some(error) = error.downcast_ref::<EnvironmentError>() {
        return if matches!(error, EnvironmentError::None { .. }) { USAGE } else { OTHER };
    }
    match error.downcast_ref::<ProxyError>() {
        Some(ProxyError::Address { .. } | ProxyError::Twice { .. } | ProxyError::Upstream { .. }) => {
            return USAGE;
        }
        Some(ProxyError::Command { absent: true, .. }) => return NO_COMMAND,
        Some(ProxyError::Command { .. }) => return NOT_STARTED,
        Some(_) => return OTHER,
        None => {}
    }
    if error.is::<KeyError>() || !error.is::<Usage>() { OTHER } else { USAGE }
}

/// What to do about an error.
pub(super) fn hint(error: &anyhow::Error) -> Option<String> {
    if let Some(error) = error.downcast_ref::<RepositoryError>() {
        return error.hint();
    }
    if let Some(error) = error.downcast_ref::<LogError>() {
        return error.hint().map(Into::into);
    }
    if let Some(error) = error.downcast_ref::<KeyError>() {
        return error.hint().map(Into::into);
    }
    if let Some(error) = error.downcast_ref::<TrustStoreError>() {
        return error.hint();
    }
    if let Some(error) = error.downcast_ref::<StoreError>() {
        return error.hint().map(Into::into);
    }
    if let Some(CrawlError::Fetch(error)) = error.downcast_ref::<CrawlError>() {
        return error.hint().filter(|_| !matches!(error, FetchError::TooLarge { .. })).map(Into::into);
    }
    if let Some(error) = error.downcast_ref::<SyncError>() {
        return sync_hint(error);
    }
    match error.downcast_ref::<OpenError>() {
        Some(OpenError::Store(error)) => return error.hint(),
        Some(OpenError::Client(error)) => return client_hint(error),
        None => {}
    }
    error.downcast_ref::<ClientError>().and_then(client_hint)
}

/// After a sync that ended early.
const STILL_THERE: &str = "what was there before is still there; run it again when this is mended";

fn sync_hint(error: &SyncError) -> Option<String> {
    let text = match error {
        SyncError::Client(error) => return client_hint(error).or_else(|| Some(STILL_THERE.to_owned())),
        SyncError::NotOurs { .. } | SyncError::InRepository { .. } | SyncError::OtherRepository { .. } => {
            "name an empty folder, or one that does not exist yet"
        }
        SyncError::WentBack { .. } => {
            "this mirror serves an older state than the folder has; use another one, and tell the admin"
        }
        SyncError::TooMany { .. } | SyncError::TooManyWants { .. } => {
            "sync a lock file, or all of the repository"
        }
        SyncError::Io { .. } => STILL_THERE,
        SyncError::Busy { .. } | SyncError::BadState { .. } => return None,
    };
    Some(text.to_owned())
}

fn client_hint(error: &ClientError) -> Option<String> {
    let text = match error {
        ClientError::Fetch(error) => error.hint()?,
        ClientError::Cache(error) => error.hint()?,
        ClientError::Trust(TrustError::Expired { .. }) => {
            "if your clock is right, this repository or mirror is frozen in time; tell its admin, do not install"
        }
        ClientError::Trust(TrustError::Rollback { .. } | TrustError::Removed { .. }) => {
            "this mirror serves an older state than you have seen; use another one, and tell the admin"
        }
        ClientError::Trust(TrustError::Verify(_)) => {
            "do not install; if the keys were rotated, this mirror may lag: try another one, and tell the admin"
        }
        ClientError::Trust(TrustError::NoLocal { .. }) => "run it once without --offline",
        ClientError::File(
            FileError::WrongHash { .. } | FileError::WrongLength { .. } | FileError::Changed { .. },
        ) => "this is not the file that was signed; do not install it, and tell the admin",
        ClientError::Log(error) => error.hint(),
        ClientError::NoAgreement { .. } => {
            "do not install it; one of these repositories lags behind or lies: ask their admins"
        }
        ClientError::NotMapped { .. } => {
            "a mapping needs a pattern for files (\"*/*\") and one for project pages (\"simple/*/*\"); see `wheelseal trust map`"
        }
        ClientError::NotSigned { .. } => {
            "check the name; a file that the repository did not sign is not to be trusted"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

/// The exit code for what a proxy refused.
pub(super) fn fault_code(fault: &Fault) -> u8 {
    match fault {
        // More than was signed is not what was signed, whatever the rest of it would have been.
        Fault::Client(ClientError::Fetch(FetchError::TooLarge { .. }))
        | Fault::Page(_)
        | Fault::Elsewhere { .. } => INTEGRITY,
        Fault::Client(error) => client(error),
        Fault::Stranger => POLICY,
        Fault::Local { .. } => OTHER,
    }
}

/// The exit code for what a sync left out.
pub(super) fn reason_code(reason: &Reason) -> u8 {
    match reason {
        Reason::Client(ClientError::Fetch(FetchError::TooLarge { .. }))
        | Reason::Page(_)
        | Reason::Disagree { .. }
        | Reason::Dependencies(_)
        | Reason::Archive(_)
        | Reason::Lock { contradicts: true, .. } => INTEGRITY,
        Reason::Client(error) => client(error),
        Reason::Select(_)
        | Reason::NoFile { .. }
        | Reason::Lock { contradicts: false, .. }
        | Reason::Elsewhere { .. }
        | Reason::Torn { .. } => POLICY,
    }
}

fn sync(error: &SyncError) -> u8 {
    match error {
        SyncError::Client(error) => client(error),
        SyncError::NotOurs { .. } | SyncError::InRepository { .. } | SyncError::OtherRepository { .. } => {
            USAGE
        }
        SyncError::WentBack { .. } => ROLLBACK,
        SyncError::Busy { .. } => BUSY,
        SyncError::TooMany { .. } | SyncError::TooManyWants { .. } => POLICY,
        SyncError::Io { .. } | SyncError::BadState { .. } => OTHER,
    }
}

/// The exit code for a client's refusal.
pub(super) fn client(error: &ClientError) -> u8 {
    match error {
        ClientError::Trust(error) => trust(error),
        ClientError::Fetch(FetchError::BadUrl { .. }) | ClientError::File(FileError::OnePlace { .. }) => {
            USAGE
        }
        ClientError::Fetch(FetchError::Local { .. }) => OTHER,
        ClientError::Fetch(_) | ClientError::Absent { .. } | ClientError::File(FileError::Absent { .. }) => {
            NETWORK
        }
        ClientError::Cache(CacheError::Busy { .. }) => BUSY,
        ClientError::Cache(_) | ClientError::File(FileError::Io { .. }) => OTHER,
        ClientError::File(FileError::TooLarge { .. })
        | ClientError::NoAgreement { .. }
        | ClientError::Log(_)
        | ClientError::NotMapped { .. } => POLICY,
        ClientError::File(_) | ClientError::NotSigned { .. } => INTEGRITY,
    }
}

fn trust(error: &TrustError) -> u8 {
    match error {
        TrustError::Verify(error) => verify(error),
        TrustError::Expired { .. } => EXPIRED,
        TrustError::Rollback { .. } | TrustError::Removed { .. } => ROLLBACK,
        TrustError::WrongVersion { found, expected, .. } if found < expected => ROLLBACK,
        TrustError::TooLarge { .. }
        | TrustError::TooManyRoots { .. }
        | TrustError::TooManyRoles { .. }
        | TrustError::LastVersion(_) => POLICY,
        TrustError::NoLocal { .. } => OTHER,
        _ => INTEGRITY,
    }
}

fn verify(error: &VerifyError) -> u8 {
    match error {
        VerifyError::BelowThreshold { .. } => THRESHOLD,
        _ => INTEGRITY,
    }
}

fn store(error: &TrustStoreError) -> u8 {
    match error {
        TrustStoreError::BadName { .. } | TrustStoreError::Unknown { .. } | TrustStoreError::Taken { .. } => {
            USAGE
        }
        TrustStoreError::BadPolicy(_) | TrustStoreError::BadRecorders(_) => USAGE,
        TrustStoreError::BadRoot(error) => verify(error),
        _ => OTHER,
    }
}

/// The exit code for what is wrong with a transparency log.
pub(super) fn log(error: &LogError) -> u8 {
    match error {
        LogError::Store(error) => object(error),
        LogError::Fetch { .. } => NETWORK,
        LogError::Overtaken => BUSY,
        LogError::None | LogError::Exists { .. } | LogError::WrongKey { .. } | LogError::Recipe(_) => USAGE,
        LogError::Behind { .. }
        | LogError::Forked { .. }
        | LogError::Twice { .. }
        | LogError::Again { .. }
        | LogError::NotFirst { .. }
        | LogError::Cosign(_)
        | LogError::Visitor(_) => POLICY,
        LogError::Entries(_) | LogError::Signer { .. } => OTHER,
        _ => INTEGRITY,
    }
}

/// The exit code for what keeps a repository's files.
fn object(error: &StoreError) -> u8 {
    match error {
        StoreError::Conflict { .. } => BUSY,
        StoreError::Server { fault: StoreFault::Unsafe, .. } => POLICY,
        StoreError::Server { .. } => NETWORK,
        _ => OTHER,
    }
}

fn ceremony(error: &CeremonyError) -> u8 {
    match error {
        CeremonyError::Unsigned { .. } | CeremonyError::Unproven(_) => THRESHOLD,
        CeremonyError::Refused(_) | CeremonyError::TooMany { .. } => POLICY,
        CeremonyError::Malformed(_)
        | CeremonyError::BadSignature { .. }
        | CeremonyError::OtherVersion { .. }
        | CeremonyError::OtherRoot { .. }
        | CeremonyError::Gate { .. } => INTEGRITY,
        _ => USAGE,
    }
}

fn repository(error: &RepositoryError) -> u8 {
    match error {
        RepositoryError::Store(error) => object(error),
        RepositoryError::Verify(error) => verify(error),
        RepositoryError::Trust(error) => trust(error),
        RepositoryError::KeysMissing { .. } => THRESHOLD,
        RepositoryError::Ceremony(error) => ceremony(error),
        RepositoryError::WentBack { .. } => ROLLBACK,
        RepositoryError::Busy(_) => BUSY,
        RepositoryError::Plan(_)
        | RepositoryError::NoRepository(_)
        | RepositoryError::AlreadyRepository(_)
        | RepositoryError::NoSnapshot(_)
        | RepositoryError::Filename { .. }
        | RepositoryError::NotPublished(_) => USAGE,
        RepositoryError::Archive { .. }
        | RepositoryError::Attestation { .. }
        | RepositoryError::SecondVerifier { .. }
        | RepositoryError::Altered(_)
        | RepositoryError::Backup { .. }
        | RepositoryError::Missing(_) => INTEGRITY,
        RepositoryError::Conflict { .. }
        | RepositoryError::Logging(_)
        | RepositoryError::Log(_)
        | RepositoryError::LateAttestation(_)
        | RepositoryError::TooLarge { .. }
        | RepositoryError::Claimed(_)
        | RepositoryError::TooMuchWaits(_)
        | RepositoryError::ClaimsDisabled
        | RepositoryError::LookAlike { .. }
        | RepositoryError::NeedsCeremony(_) => POLICY,
        _ => OTHER,
    }
}
