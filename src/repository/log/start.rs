//! A log begins: everything that is published is logged, and from then on every commit.
//!
//! Cut short, the same command goes on where it stopped: what is logged has its proof. Until timestamp names the log, the
//! repository publishes as before, and clients ask for nothing.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::book::{Book, tree};
use super::error::LoggingError;
use super::leaves::Leaves;
use super::policy::LogPolicy;
use super::proofs::Present;
use crate::crypto::sha256;
use crate::log::{Head, Log, LogError};
use crate::repository::commit::Transaction;
use crate::repository::keyring::Keyring;
use crate::repository::publish::refuse_unvouched;
use crate::repository::settings::LogSettings;
use crate::repository::state::State;
use crate::repository::{MAX_ATTEMPTS, PATIENCE, Repository, RepositoryError, layout, path, pause};
use crate::store::{Content, StoreError, StorePath};
use crate::tlog::leaf::LogLeaf;
use crate::tuf::key::Key;
use crate::tuf::metadata::{LogHead, TopLevel, Version};

/// Below this lie the files of logs that came before, by a hash of their names.
const BEFORE: &str = "log/before";

/// A log to be begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLog {
    /// Which log, which witnesses: what clients are to hold it against.
    pub policy: LogPolicy,
    /// URI of the log's key, for later commands.
    pub key: String,
    /// What there was before.
    pub after: Predecessor,
}

/// What there was before a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Predecessor {
    /// No log.
    Nothing,
    /// A log that does not go on, and that the new one names in its first leaf.
    Log,
}

/// A log that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Begun {
    /// Its name.
    pub origin: String,
    /// Leaves that it has.
    pub size: u64,
    /// Version of the first snapshot in it.
    pub snapshot: Version,
}

impl Repository {
    /// Logs everything that is published, and names the log in timestamp.
    pub async fn begin_log(
        &mut self,
        keys: &Keyring,
        new: &NewLog,
        now: DateTime<Utc>,
    ) -> Result<Begun, RepositoryError> {
        let state = self.state().await?;
        refuse_unvouched(&state)?;
        for role in [TopLevel::Timestamp, TopLevel::Snapshot] {
            keys.require(&state.root.authority(role))?;
        }
        let origin = new.policy.log().name().as_str();
        let before = may_begin(&state, origin, new.after)?;
        separate(&state, &new.policy)?;
        let settings = LogSettings {
            origin: origin.to_owned(),
            key: new.key.clone(),
            policy: new.policy.text().to_owned(),
        };
        if self.settings.log.as_ref() != Some(&settings) {
            self.settings.log = Some(settings);
            self.settings.replace(&*self.store).await?;
        }
        let first = match before {
            Some(before) => Some(self.retire_log(before).await?),
            None => None,
        };
        for attempt in 0..MAX_ATTEMPTS {
            let turn = self.store.turn(PATIENCE).await;
            let state = self.state().await?;
            let begun = self.begin_once(keys, new, first.as_ref(), &state, now).await;
            drop(turn);
            match begun {
                Err(RepositoryError::Store(StoreError::Conflict { .. })) => pause(attempt).await,
                Err(error) => return Err(error),
                Ok(()) => return self.begun().await,
            }
        }
        Err(RepositoryError::Busy(MAX_ATTEMPTS))
    }

    async fn begin_once(
        &self,
        keys: &Keyring,
        new: &NewLog,
        first: Option<&LogLeaf>,
        state: &State,
        now: DateTime<Utc>,
    ) -> Result<(), RepositoryError> {
        let origin = new.policy.log().name().as_str();
        let head = self.first_head(origin, first).await?;
        let mut book = Book::new(head, keys, new.policy.clone())?;
        book.present = Present::Renew;
        if book.head.size() > 0 {
            self.prove_head(keys, &mut book, 0).await?;
        }
        let transaction =
            Transaction { snapshot: true, leaves: Leaves::All(Box::new(book)), ..Transaction::empty() };
        self.commit(keys, state, transaction, now).await
    }

    async fn first_head(&self, origin: &str, first: Option<&LogLeaf>) -> Result<Head, RepositoryError> {
        match self.log.head().await? {
            Some(head) if head.origin() == origin => Ok(head),
            Some(head) => {
                let (found, expected) = (head.origin().to_owned(), origin.to_owned());
                Err(LoggingError::OtherLog { found, expected }.into())
            }
            None => Ok(self.log.create(origin, first).await?),
        }
    }

    async fn begun(&self) -> Result<Begun, RepositoryError> {
        let state = self.state().await?;
        let log = state.timestamp.log.clone();
        let log = log.ok_or(LoggingError::Unnamed { known: "it was just begun" })?;
        Ok(Begun { origin: log.origin, size: log.size, snapshot: state.snapshot.common.version })
    }

    /// Writes the proofs that are missing, and those that do not satisfy the policy as it is now, anew. How many leaves
    /// were looked at.
    pub async fn renew_proofs(&self, keys: &Keyring) -> Result<u64, RepositoryError> {
        let state = self.state().await?;
        let book = self.book(keys, &state).await?;
        let mut book = book.ok_or(LoggingError::Unnamed { known: "its proofs were asked for" })?;
        book.present = Present::Renew;
        let checkpoint = self.prove_head(keys, &mut book, 0).await?;
        self.log.publish(&checkpoint).await?;
        Ok(book.head.size())
    }

    /// A log whose files were restored: it must be what timestamp names, or go on from there. Files get their proofs from the
    /// checkpoint that it signed last; should that not reach what timestamp names, the next commit sees to the others.
    pub(in crate::repository) async fn restore_log(&self, named: &LogHead) -> Result<(), RepositoryError> {
        let head = self.log.head().await?.ok_or(LogError::None)?;
        self.follows(&head, named, "the backup's timestamp names").await?;
        self.log.leaves(&head, head.size(), &mut |_, _| Ok(())).await?;
        let checkpoint = self.log.reader().checkpoint().await?;
        let checkpoint = checkpoint.ok_or_else(|| RepositoryError::Missing("log/checkpoint".to_owned()))?;
        self.prove_files(&checkpoint, 0, None).await
    }

    /// Puts the files of a log that does not go on out of the way of its successor. Returns the leaf that names it.
    async fn retire_log(&mut self, named: LogHead) -> Result<LogLeaf, RepositoryError> {
        let seen = self.anchor.as_ref().map(super::super::Anchor::seen_log).transpose()?.flatten();
        let seen = seen.filter(|seen| seen.origin == named.origin && seen.size > named.size);
        let last = seen.unwrap_or(named);
        let leaf = LogLeaf::new(&tree(&last)?);
        let leaf = leaf.map_err(|error| LoggingError::Unfit { path: last.origin.clone(), error })?;
        if self.log.head().await?.is_none_or(|head| head.origin() == last.origin) {
            self.move_log(&last.origin).await?;
            self.log = Arc::new(Log::new(Arc::clone(&self.store)));
        }
        Ok(leaf)
    }

    /// The head goes last: as long as it is there, this was not done.
    async fn move_log(&self, origin: &str) -> Result<(), RepositoryError> {
        let folder = format!("{BEFORE}/{}", hex::encode(sha256(origin.as_bytes())));
        let mut files: Vec<StorePath> = Vec::new();
        for entry in self.store.list(layout::LOG).await? {
            if !entry.path.as_str().starts_with(BEFORE) {
                files.push(entry.path);
            }
        }
        files.sort_by_key(|file| file.as_str() == crate::log::HEAD);
        for file in &files {
            let name = file.as_str().strip_prefix(layout::LOG).unwrap_or_default();
            match self.store.create(&path(format!("{folder}{name}"))?, Content::Copy(file)).await {
                Ok(()) | Err(StoreError::Exists { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        for file in &files {
            self.store.delete(file).await?;
        }
        Ok(())
    }
}

/// The log before it, if there is to be one.
fn may_begin(state: &State, origin: &str, after: Predecessor) -> Result<Option<LogHead>, LoggingError> {
    match (&state.timestamp.log, after) {
        (None, Predecessor::Nothing) => Ok(None),
        (Some(log), Predecessor::Nothing) => Err(LoggingError::Already { origin: log.origin.clone() }),
        (None, Predecessor::Log) => Err(LoggingError::Successor { reason: "there is no log to come after" }),
        (Some(log), Predecessor::Log) if log.origin == origin => {
            Err(LoggingError::Successor { reason: "the new log needs another name than the one before it" })
        }
        (Some(log), Predecessor::Log) => Ok(Some(log.clone())),
    }
}

/// An error, if a role has the log's key.
fn separate(state: &State, policy: &LogPolicy) -> Result<(), LoggingError> {
    let log = policy.log().public_key();
    let has = |key: &Key| key.public() == Some(&log);
    for role in [TopLevel::Root, TopLevel::Targets, TopLevel::Snapshot, TopLevel::Timestamp] {
        if state.root.authority(role).keys().any(|(_, key)| has(key)) {
            return Err(LoggingError::TufKey { role: role.name().to_owned() });
        }
    }
    for (name, targets) in [("targets", &state.targets), ("bins", &state.bins)] {
        if targets.delegations.iter().flat_map(|below| below.keys.values()).any(has) {
            return Err(LoggingError::TufKey { role: format!("a role that {name} delegates to") });
        }
    }
    Ok(())
}
