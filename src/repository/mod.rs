//! The repository as its admins see it: plan → sign → commit.
//!
//! | file | room |
//! |---|---|
//! | `settings` | `wheelseal.toml` |
//! | `anchor` | what this machine remembers, outside the store |
//! | `layout` | where each file lies in the store |
//! | `keyring` | the signing keys at hand, and which roles they can sign |
//! | `state` | the signed state, read back and verified |
//! | `kept` | what the snapshots that are kept name |
//! | `bins` | all bins read back, on every core, few in memory at once |
//! | `commit` | new files, then the one commit point |
//! | `distribution`, `edit` | what is published, one file at a time |
//! | `plan`, `publish`, `group` | many publications, one snapshot |
//! | `init`, `bump`, `root` | the other changes |
//! | `ceremony` | changes of roles that people sign, one after the other, wherever they are |
//! | `bulk` | many bins at once: imports, all bins signed anew, another number of bins |
//! | `siblings` | metadata stored compressed as well |
//! | `pages`, `plain` | the unsigned copies that plain pip reads |
//! | `claims` | projects that belong to their maintainers |
//! | `trail`, `tree` | why something is trusted, and who delegates to whom |
//! | `status`, `check`, `fsck`, `gc`, `diff` | looking after it |
//! | `backup`, `restore` | all that is signed in one file, and back |
//! | `log` | the transparency log that every publication is in |
//! | `recover` | what differs from the last known good state, and back to it |
//!
//! The signed repository is the state; there is no database. Every change reads it, plans new files, writes them
//! under names that were free, and swaps `timestamp.json`. Until that swap nothing has happened; after it, all has.
//! What a crash leaves behind is unreferenced files, which [`gc`] removes, and notes in `staging/pages/`, by which the
//! next change finishes the unsigned pages that plain pip reads.

mod anchor;
mod backup;
mod bins;
mod bulk;
mod bump;
mod ceremony;
mod check;
mod claims;
mod commit;
mod diff;
mod distribution;
mod edit;
mod error;
mod fsck;
mod gc;
mod group;
mod init;
mod kept;
mod keyring;
mod layout;
mod log;
mod pages;
mod plain;
mod plan;
mod publish;
mod recover;
mod restore;
mod root;
mod settings;
mod siblings;
mod state;
mod status;
#[cfg(feature = "tough-keys")]
mod tough_check;
mod trail;
mod tree;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

pub use anchor::Anchor;
pub use backup::BackedUp;
pub use bulk::{
    Files, Folder, Hashed, ImportError, Imported, Layout, LineFault, List, MAX_NAMED, Run, Unfit,
};
pub use bump::{Bumped, Due};
pub use ceremony::{
    CeremonyError, Changed, Count, Detail, Edits, Event, EventName, Finished, Gate, MAX_EVENT, NewKey,
    Resized, Review, RoleEdit, RoleReview, Subject, in_short,
};
pub use check::{Checked, MAX_PROBLEMS, Problem, Sample, Share, Unseen};
pub use claims::{
    Accepted, Applied, Base, Claimed, Family, Kind, LookAlike, MAX_PROJECT_FILE, Next, Owned, Owners,
    ProjectFile, Promotion, STAGED_DAYS, Sent, Staged, Staging,
};
pub use diff::{Change, Difference};
pub use distribution::{Distribution, read_distribution};
pub use edit::Edit;
pub use error::RepositoryError;
pub use fsck::{Finding, Fscked, Look, Part, Report};
pub use gc::{Collected, MAX_REMOVED, Retention, Tell};
pub use group::Publisher;
pub use init::{BinStyle, Plan, RolePlan};
pub use keyring::Keyring;
pub use layout::{LOG, METADATA, PROOF, SIMPLE, TARGETS};
pub use log::{
    Begun, FileProof, LogEntry, LogPicture, LogPolicy, LogTree, LoggingError, NamedKey, NewLog, Predecessor,
    ProofStep, Remark, Signed, verifier_key,
};
pub use plain::Repair;
pub use publish::Published;
pub use recover::{
    Compared, Counts, Differing, FirstRoot, Good, Item, Keep, Listed, PutBack, Restoration, Said, Sandbox,
    Tell as TellDifference,
};
pub use restore::{Missing, Restored, Source};
pub use settings::{Expiry, LogSettings, Profile, Settings};
pub use siblings::{Compressed, MetadataSettings};
pub use state::State;
pub use status::{RoleStatus, Status};
pub use trail::{Link, Portrait, Signer, Trail};
pub use tree::{BucketName, BucketView, ClaimedProject, Node};

pub use crate::spill::SpillError;

use self::anchor::Seen;
use crate::log::Log;
use crate::store::{Store, StorePath, Tag};

/// Bytes of any one metadata file that is read back, at most.
pub const MAX_METADATA: u64 = 64 * 1024 * 1024;

/// Attempts at a change that others overtake, at most: each lost one means that somebody else's went through.
const MAX_ATTEMPTS: u32 = 100;

/// Pause between two attempts, at most, in milliseconds.
const MAX_PAUSE: u64 = 200;

/// How long a writer waits for its turn at most. Longer than most groups take; whoever stopped in the middle of one holds
/// up the others this long each time.
const PATIENCE: Duration = Duration::from_secs(2);

/// How far long work has come. Called often; cheap implementations only.
pub trait Progress: Sync {
    /// `done` of `total` steps of `what` are done.
    fn at(&self, what: &'static str, done: u64, total: u64);
}

/// Nobody watches.
#[derive(Debug, Clone, Copy)]
pub struct Unwatched;

impl Progress for Unwatched {
    fn at(&self, _: &'static str, _: u64, _: u64) {}
}

/// A repository in a store.
#[derive(Debug, Clone)]
pub struct Repository {
    store: Arc<dyn Store>,
    settings: Settings,
    anchor: Option<Anchor>,
    log: Arc<Log>,
}

impl Repository {
    /// Opens an existing repository: its settings must be there.
    pub async fn open(store: Arc<dyn Store>) -> Result<Self, RepositoryError> {
        let settings = Settings::load(&*store).await?;
        Ok(Self::of(store, settings))
    }

    fn of(store: Arc<dyn Store>, settings: Settings) -> Self {
        let log = Arc::new(Log::new(Arc::clone(&store)));
        Self { store, settings, anchor: None, log }
    }

    /// The same repository, held against what this machine remembers of it.
    pub fn anchored(self, anchor: Anchor) -> Self {
        Self { anchor: Some(anchor), ..self }
    }

    /// Where its files are.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// The same, to be kept beyond the repository's own life.
    pub fn shared_store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    /// Its settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The signed state as it is now. Expiry is not checked: an admin must be able to repair what has expired.
    pub async fn state(&self) -> Result<State, RepositoryError> {
        self.state_after(None).await
    }

    /// The same, without reading again what `before` has of it. A new root alone leaves the timestamp as it was, yet
    /// what is signed from then on must be as that root demands.
    async fn state_after(&self, before: Option<&State>) -> Result<State, RepositoryError> {
        if let Some(before) = before
            && self.tag().await?.as_ref() == Some(&before.tag)
            && !before.has_newer_root(&*self.store).await?
        {
            return Ok(before.clone());
        }
        let Some(anchor) = &self.anchor else {
            return State::load(&*self.store, before.map(|before| before.root.clone()), before).await;
        };
        let seen = anchor.seen()?;
        let known = seen.as_ref().map(Seen::root).transpose()?;
        let state = State::load(&*self.store, known, before).await?;
        anchor.check(seen, &state)?;
        Ok(state)
    }

    /// The tag of the current timestamp.
    async fn tag(&self) -> Result<Option<Tag>, RepositoryError> {
        Ok(self.store.get(&layout::timestamp()?, MAX_METADATA).await?.map(|object| object.tag))
    }
}

/// Waits a little after a lost race, longer after many, and never all for the same time.
async fn pause(attempt: u32) {
    let random = crate::crypto::random::<1>().map_or(0, |[byte]| u64::from(byte));
    let most = MAX_PAUSE.min(2_u64 << attempt.min(8));
    tokio::time::sleep(Duration::from_millis(most * random / 255)).await;
}

/// The date `days` after `now`, in whole seconds.
fn days_after(now: DateTime<Utc>, days: u32) -> DateTime<Utc> {
    let whole = DateTime::from_timestamp(now.timestamp(), 0).unwrap_or(now);
    whole.checked_add_days(chrono::Days::new(days.into())).unwrap_or(whole)
}

fn path(text: impl Into<String>) -> Result<StorePath, RepositoryError> {
    Ok(StorePath::new(text)?)
}
