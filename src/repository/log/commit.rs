//! The steps from staging to the commit point: what is staged is logged, signed for, and has its proofs. With a policy that changes
//! in this commit, all proofs are held against the new one, and those that do not satisfy it are made anew first.
//!
//! ```text
//! staged files ─▶ log/head          one round of flushing: whether the head is swapped is known when the files have their names
//! signature, cosignatures, proofs   in memory
//! tiles, proofs ─▶ log/checkpoint, timestamp.json    durable, and only then seen
//! ```
//!
//! Commits that find their leaves by comparing roles swap the head behind staging, as their leaves are read back.

use super::book::Book;
use super::leaves::Leaves;
use super::policy::LogPolicy;
use super::proofs::{FileProof, Present, TOGETHER};
use crate::log::{Appended, Planned, Reader};
use crate::repository::commit::Staged;
use crate::repository::keyring::Keyring;
use crate::repository::state::State;
use crate::repository::{Repository, RepositoryError, layout};
use crate::store::{Content, Order, StoreError, StorePath, Swap, Tag, Written};
use crate::tlog::checkpoint::SignedCheckpoint;
use crate::tlog::leaf::Leaf;
use crate::tuf::metadata::{LogHead, Snapshot, TopLevel, Version};
use crate::tuf::signed::Draft;

/// What is logged and signed for, and to be written before timestamp names it.
#[derive(Debug)]
pub(in crate::repository) struct Logged {
    book: Book,
    appended: Appended,
    checkpoint: SignedCheckpoint,
    proofs: Vec<FileProof>,
    /// The proof of the snapshot.
    snapshot: (StorePath, String),
}

impl Logged {
    /// What timestamp is to name.
    pub(in crate::repository) fn named(&self) -> LogHead {
        self.book.named()
    }
}

impl Repository {
    /// The append of a commit whose leaves are known before it is staged, to be swapped behind its files. `None`: it is logged
    /// later, if at all.
    pub(in crate::repository) async fn plan_append(
        &self,
        state: &State,
        leaves: &Leaves,
        snapshot: &Draft<Snapshot>,
        bytes: &[u8],
    ) -> Result<Option<Planned>, RepositoryError> {
        let Leaves::New(book, _) = leaves else { return Ok(None) };
        let entries = self.entries(book, state, leaves, snapshot, bytes).await?;
        Ok(self.log.plan(&book.head, &entries).await?)
    }

    /// What became of it.
    pub(in crate::repository) async fn appended(
        &self,
        planned: Planned,
        swapped: Result<Tag, StoreError>,
    ) -> Result<Appended, RepositoryError> {
        Ok(self.log.done(planned, swapped).await?)
    }

    /// Logs what is staged, if that was not done with it, and signs for it. `None`: there is nothing to log, or no log.
    /// [`StoreError::Conflict`]: somebody else appended meanwhile, so that all is to be planned again.
    pub(in crate::repository) async fn log_staged(
        &self,
        keys: &Keyring,
        state: &State,
        staged: &mut Staged,
    ) -> Result<Option<Logged>, RepositoryError> {
        let Some((snapshot, bytes)) = &staged.snapshot else {
            Box::pin(self.heal_checkpoint(keys, state)).await;
            return Ok(None);
        };
        let (found, policy_changes) = match &staged.leaves {
            Leaves::New(book, _) | Leaves::All(book) => (Some((**book).clone()), false),
            Leaves::Compared | Leaves::Nothing => {
                let proposed = self.proposed_policy(state, &snapshot.content).await?;
                let book = self.book_under(keys, state, proposed).await?;
                let changes = book.as_ref().is_some_and(|book| book.present == Present::Renew);
                (book, changes)
            }
        };
        let Some(mut book) = found else { return Ok(None) };
        let unproven = if policy_changes { 0 } else { book.head.size() };
        let appended = if let Some(appended) = staged.appended.take() {
            appended?
        } else {
            let entries = self.entries(&book, state, &staged.leaves, snapshot, bytes).await?;
            self.log.log(&book.head, entries).await?
        };
        let checkpoint = self.sign_appended(keys, &mut book, &appended).await?;
        let reader = self.log.reader().with(&appended);
        let version = snapshot.content.common.version;
        let (proofs, snapshot) = self.proofs_of(&reader, &book, &checkpoint, unproven, version).await?;
        Ok(Some(Logged { book, appended, checkpoint, proofs, snapshot }))
    }

    /// The proofs of a commit, whose last leaf is its snapshot. Those of many files are written at once.
    async fn proofs_of(
        &self,
        reader: &Reader,
        book: &Book,
        checkpoint: &SignedCheckpoint,
        from: u64,
        version: Version,
    ) -> Result<(Vec<FileProof>, (StorePath, String)), RepositoryError> {
        let last = checkpoint.claimed().size().saturating_sub(1);
        let mut from = from;
        if last.saturating_sub(from) >= TOGETHER {
            self.prove_files_by(reader, checkpoint, from, Some(book.staying())).await?;
            from = last;
        }
        let (mut proofs, mut snapshot) = (Vec::new(), String::new());
        for (_, leaf, proof) in reader.prover(checkpoint).leaves(from, TOGETHER).await? {
            snapshot = proof.to_string();
            if let Leaf::File(leaf) = leaf {
                proofs.push(FileProof::new(leaf, &proof)?);
            }
        }
        Ok((proofs, (layout::snapshot_proof(version)?, snapshot)))
    }

    /// Writes tiles and proofs, publishes the checkpoint and swaps the timestamp that names it: the commit point. Tiles and
    /// proofs are durable before, and nobody sees the timestamp without its checkpoint or a larger one. Should a power cut
    /// leave it so, the next commit publishes one.
    pub(in crate::repository) async fn commit_logged(
        &self,
        logged: &Logged,
        timestamp: Swap<'_>,
    ) -> Result<Tag, RepositoryError> {
        let (at, text) = &logged.snapshot;
        let mut objects = logged.appended.objects();
        let tiles = objects.len();
        objects.extend(logged.proofs.iter().map(FileProof::object));
        objects.push((at.clone(), Content::Bytes(text.as_bytes())));
        let publication = self.log.publication(&logged.checkpoint).await?;
        let checkpoint = publication.as_ref().map(crate::log::Publication::swap);
        let swaps: Vec<_> = checkpoint.into_iter().chain([timestamp]).collect();
        let (written, remembered) = tokio::join!(
            self.store.create_then_swap(&objects, &swaps, Order::Kept),
            self.remember_head(&logged.book.head),
        );
        let Written { created, swapped } = written;
        let mut created = created.into_iter();
        self.log.wrote(&logged.appended, created.by_ref().take(tiles).collect()).await?;
        let swapped = if let Some(swapped) = swapped {
            swapped
        } else {
            // Some of it was there already.
            let proofs = created.by_ref().take(logged.proofs.len()).collect();
            self.put_or_renew(&logged.proofs, proofs, Some(logged.book.staying())).await?;
            match created.next() {
                Some(Err(StoreError::Exists { .. })) => self.put(at, text.as_bytes()).await?,
                created => created.unwrap_or(Ok(()))?,
            }
            self.store.create_then_swap(&[], &swaps, Order::Kept).await.swapped.unwrap_or_default()
        };
        remembered?;
        if let Some(committed) = swapped.into_iter().nth(swaps.len().saturating_sub(1)) {
            return Ok(committed?);
        }
        // Somebody else published another checkpoint, or it is not certain: timestamp waits for it.
        self.log.publish(&logged.checkpoint).await?;
        Ok(self.store.swap(timestamp.path, timestamp.bytes, timestamp.expected).await?)
    }

    /// The policy that top-level targets names from this commit on, if it changes with it.
    async fn proposed_policy(
        &self,
        state: &State,
        snapshot: &Snapshot,
    ) -> Result<Option<LogPolicy>, RepositoryError> {
        let targets = TopLevel::Targets.name();
        if snapshot.role(targets) == state.snapshot.role(targets) {
            return Ok(None);
        }
        state.of_snapshot(self.store(), snapshot.common.version).await?.log_policy()
    }
}
