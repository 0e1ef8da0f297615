//! The log as one commit finds it, and what it does with it.
//!
//! ```text
//! open: head follows what is committed and what this machine knows ─▶ what a crash left is signed and proven
//!   ─▶ which files are new? ─▶ snapshot staged, append ─▶ sign, cosign ─▶ tiles, proofs ─▶ checkpoint, timestamp
//! ```
//!
//! Invariant: whoever appends has seen to it that each file that was logged before has its proof beside it. So one look at
//! the proof tells whether a path is logged, and with which content; and nothing is appended while witnesses are down.

use std::sync::Arc;

use super::error::LoggingError;
use super::key::NamedKey;
use super::policy::LogPolicy;
use super::proofs::Present;
use crate::log::{Appended, Cosigners, Head, LogSigner};
use crate::repository::keyring::Keyring;
use crate::repository::state::State;
use crate::repository::{Repository, RepositoryError};
use crate::tlog::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::tlog::leaf::Role;
use crate::tlog::merkle::Hash;
use crate::tlog::policy::Policy;
use crate::tlog::proof::check_consistency;
use crate::tuf::metadata::LogHead;

/// The log, all of whose files have their proofs up to its head.
#[derive(Debug, Clone)]
pub(in crate::repository) struct Book {
    pub(super) head: Head,
    pub(super) signer: Arc<NamedKey>,
    /// What clients hold checkpoints against.
    pub(super) policy: LogPolicy,
    /// The log's signature alone, for proofs that were made under any policy.
    pub(super) own: Policy,
    /// What becomes of proofs that are there.
    pub(super) present: Present,
}

impl Book {
    pub(super) fn new(head: Head, keys: &Keyring, policy: LogPolicy) -> Result<Self, RepositoryError> {
        let origin = head.origin();
        let key = keys.log().ok_or_else(|| LoggingError::NoKey { origin: origin.to_owned() })?;
        let signer = key.named(origin)?;
        if signer.key() != policy.log() {
            let (found, expected) = (signer.key().to_string(), policy.log().to_string());
            return Err(LoggingError::OtherKey { found, expected }.into());
        }
        let own = LogPolicy::parse(format!("log {}\nquorum none\n", policy.log()).as_bytes())?;
        Ok(Self { head, signer: Arc::new(signer), policy, own: own.policy().clone(), present: Present::Keep })
    }

    /// From now on under another policy of the same log: all proofs must satisfy it.
    pub(super) fn under(&mut self, policy: LogPolicy) -> Result<(), LoggingError> {
        if self.signer.key() != policy.log() {
            let (found, expected) = (self.signer.key().to_string(), policy.log().to_string());
            return Err(LoggingError::OtherKey { found, expected });
        }
        (self.policy, self.present) = (policy, Present::Renew);
        Ok(())
    }

    /// The policy that proofs which are there must satisfy to stay: at least, they are this log's.
    pub(super) fn staying(&self) -> &Policy {
        match self.present {
            Present::Keep => &self.own,
            Present::Renew => self.policy.policy(),
        }
    }

    /// Newest version of a role that is logged; 0 for none.
    pub(in crate::repository) fn logged(&self, role: Role) -> u64 {
        self.head.logged(role)
    }

    fn witnesses<'a>(&self, keys: &'a Keyring) -> Result<&'a dyn Cosigners, LoggingError> {
        let origin = || LoggingError::NoKey { origin: self.head.origin().to_owned() };
        Ok(&*keys.log().ok_or_else(origin)?.witnesses)
    }

    /// Goes on from a head that was signed, if clients will accept its checkpoint.
    fn accept(&mut self, head: Head, checkpoint: &SignedCheckpoint) -> Result<(), LoggingError> {
        let accepted = self.policy.policy().check(checkpoint);
        accepted.map_err(|refusal| LoggingError::Unaccepted { refusal })?;
        self.head = head;
        Ok(())
    }

    /// What timestamp says of it.
    pub(super) fn named(&self) -> LogHead {
        LogHead {
            origin: self.head.origin().to_owned(),
            root_hash: *self.head.root().as_bytes(),
            size: self.head.size(),
        }
    }
}

impl Repository {
    /// The log that a commit on top of `state` goes into; `None`: the repository has none. What an earlier commit logged
    /// and did not come to publish has its proofs afterwards.
    pub(in crate::repository) async fn book(
        &self,
        keys: &Keyring,
        state: &State,
    ) -> Result<Option<Book>, RepositoryError> {
        self.book_under(keys, state, None).await
    }

    /// The same for a commit that brings another policy of the same log: from here on that one counts, as the witnesses of the
    /// present one may be gone.
    pub(super) async fn book_under(
        &self,
        keys: &Keyring,
        state: &State,
        proposed: Option<LogPolicy>,
    ) -> Result<Option<Book>, RepositoryError> {
        let policy = state.log_policy()?;
        let Some(committed) = &state.timestamp.log else {
            if policy.is_some() {
                return Err(LoggingError::Unnamed { known: "targets has a policy for one" }.into());
            }
            return Ok(None);
        };
        let gone = || LoggingError::WentBack { found: 0, known: committed.size, who: "the timestamp names" };
        let head = self.log.head().await?.ok_or_else(gone)?;
        let policy = self.policy_for(policy, &committed.origin)?;
        self.follows(&head, committed, "the timestamp names").await?;
        self.follows_anchor(&head).await?;
        let mut book = Book::new(head, keys, policy)?;
        let proposed = proposed.filter(|proposed| proposed.log().name() == book.policy.log().name());
        let other = proposed.filter(|proposed| *proposed != book.policy);
        if let Some(policy) = other {
            book.under(policy)?;
        }
        self.catch_up(keys, &mut book, committed.size).await?;
        Ok(Some(book))
    }

    /// Signs for what an earlier commit logged and did not come to publish, and writes its proofs. The checkpoint is published,
    /// if the one that is there does not reach what timestamp names: a power cut or a restored backup may leave it so.
    async fn catch_up(&self, keys: &Keyring, book: &mut Book, committed: u64) -> Result<(), RepositoryError> {
        let published = self.published_size().await?;
        let from = committed.min(published);
        if book.head.size() <= from {
            return Ok(());
        }
        let checkpoint = self.prove_head(keys, book, from).await?;
        if published < committed {
            self.log.publish(&checkpoint).await?;
        }
        Ok(())
    }

    /// Leaves of the newest checkpoint that is published; 0 for none.
    async fn published_size(&self) -> Result<u64, RepositoryError> {
        Ok(self.log.reader().checkpoint().await?.map_or(0, |checkpoint| checkpoint.claimed().size()))
    }

    /// [`Self::catch_up`] for a timestamp that is merely refreshed, if its checkpoint is missing. That does not fail where the log does.
    pub(super) async fn heal_checkpoint(&self, keys: &Keyring, state: &State) {
        let Some(named) = &state.timestamp.log else { return };
        if self.published_size().await.is_ok_and(|published| published < named.size) {
            drop(self.book(keys, state).await);
        }
    }

    /// The policy that publications satisfy now: the one that people signed, or the one that waits for them to sign it.
    /// `None`: there is no log.
    pub async fn log_policy(&self) -> Result<Option<LogPolicy>, RepositoryError> {
        let state = self.state().await?;
        let Some(log) = &state.timestamp.log else { return Ok(None) };
        self.policy_for(state.log_policy()?, &log.origin).map(Some)
    }

    pub(super) fn policy_for(
        &self,
        signed: Option<LogPolicy>,
        origin: &str,
    ) -> Result<LogPolicy, RepositoryError> {
        match (signed, &self.settings.log) {
            (Some(policy), _) if policy.log().name().as_str() == origin => Ok(policy),
            (_, Some(settings)) => Ok(LogPolicy::parse(settings.policy.as_bytes())?),
            (_, None) => Err(LoggingError::NoKey { origin: origin.to_owned() }.into()),
        }
    }

    /// Signs and cosigns the head as it is now, and writes the proofs of all leaves from number `from` on.
    pub(super) async fn prove_head(
        &self,
        keys: &Keyring,
        book: &mut Book,
        from: u64,
    ) -> Result<SignedCheckpoint, RepositoryError> {
        let checkpoint = self.sign_head(keys, book).await?;
        self.prove_files(&checkpoint, from, Some(book.staying())).await?;
        Ok(checkpoint)
    }

    /// Signs and cosigns the head as it is now.
    pub(super) async fn sign_head(
        &self,
        keys: &Keyring,
        book: &mut Book,
    ) -> Result<SignedCheckpoint, RepositoryError> {
        let (head, checkpoint) = self.log.sign(&*book.signer, book.witnesses(keys)?).await?;
        book.accept(head, &checkpoint)?;
        self.remember_head(&book.head).await?;
        Ok(checkpoint)
    }

    /// Signs and cosigns what was just appended, of which nothing may be shown to anybody yet.
    pub(super) async fn sign_appended(
        &self,
        keys: &Keyring,
        book: &mut Book,
        appended: &Appended,
    ) -> Result<SignedCheckpoint, RepositoryError> {
        let witnesses = book.witnesses(keys)?;
        let checkpoint = self.log.sign_appended(appended, &*book.signer, witnesses).await?;
        book.accept(appended.head().clone(), &checkpoint)?;
        Ok(checkpoint)
    }

    /// Has this machine remember what was signed for. It flushes a file, on a thread of its own.
    pub(super) async fn remember_head(&self, head: &Head) -> Result<(), RepositoryError> {
        let Some(anchor) = self.anchor.clone() else { return Ok(()) };
        let head = head.clone();
        let remembered = tokio::task::spawn_blocking(move || anchor.saw_log(&head)).await;
        remembered.map_err(|error| RepositoryError::Plan(error.to_string()))?
    }

    /// An error, unless the log is what this machine saw of it, or goes on from there.
    async fn follows_anchor(&self, head: &Head) -> Result<(), RepositoryError> {
        let seen = self.anchor.as_ref().map(super::super::Anchor::seen_log).transpose()?.flatten();
        match seen {
            Some(seen) if seen.origin == head.origin() => {
                self.follows(head, &seen, "this machine remembers").await
            }
            // Timestamp names the other one, and clients hold it against the policy that people signed.
            _ => Ok(()),
        }
    }

    /// An error, unless the log is this one, or goes on from there.
    pub(super) async fn follows(
        &self,
        head: &Head,
        known: &LogHead,
        who: &'static str,
    ) -> Result<(), RepositoryError> {
        if head.origin() != known.origin {
            let (found, expected) = (head.origin().to_owned(), known.origin.clone());
            return Err(LoggingError::OtherLog { found, expected }.into());
        }
        let (found, size, root) = (head.size(), known.size, Hash::from_bytes(known.root_hash));
        let forked = || RepositoryError::from(LoggingError::Forked { found, known: size, who });
        if found < size {
            return Err(LoggingError::WentBack { found, known: size, who }.into());
        }
        if found == size {
            return if *head.root() == root { Ok(()) } else { Err(forked()) };
        }
        // The tiles of the last append are made when its leaves are read. What is no leaf is never signed for.
        self.log.leaves(head, size, &mut |_, _| Ok(())).await?;
        let hashes = self.log.consistency(size, found).await?;
        check_consistency(size, found, &hashes, &root, head.root()).map_err(|_| forked())
    }
}

/// The tree that a timestamp names.
pub(super) fn tree(named: &LogHead) -> Result<Checkpoint, RepositoryError> {
    let root = Hash::from_bytes(named.root_hash);
    let tree = Checkpoint::new(&named.origin, named.size, root);
    tree.map_err(|error| LoggingError::Policy { reason: error.to_string() }.into())
}
