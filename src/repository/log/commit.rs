//! The step between staging and the commit point: what is staged is logged, and has its proofs. With a policy that changes
//! in this commit, all proofs are held against the new one, and those that do not satisfy it are made anew first.

use super::leaves::Leaves;
use super::policy::LogPolicy;
use super::proofs::Present;
use crate::repository::commit::Staged;
use crate::repository::keyring::Keyring;
use crate::repository::state::State;
use crate::repository::{Repository, RepositoryError, layout};
use crate::store::{Content, StoreError};
use crate::tlog::checkpoint::SignedCheckpoint;
use crate::tuf::metadata::{LogHead, Snapshot, TopLevel, Version};

impl Repository {
    /// Logs what is staged. Returns what timestamp is to name. [`StoreError::Conflict`]: somebody else appended meanwhile,
    /// so that all is to be planned again.
    pub(in crate::repository) async fn log_staged(
        &self,
        keys: &Keyring,
        state: &State,
        staged: &Staged,
    ) -> Result<Option<LogHead>, RepositoryError> {
        let Some((snapshot, _)) = &staged.snapshot else { return Ok(state.timestamp.log.clone()) };
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
        let before = book.head.size();
        let entries = self.entries(&book, state, staged).await?;
        let last = before.saturating_add(entries.len()).saturating_sub(1);
        book.head = self.log.append(&book.head, entries).await?;
        let checkpoint = self.sign_head(keys, &mut book).await?;
        // All of it is durable before the timestamp names the tree.
        tokio::try_join!(
            self.prove_files(&checkpoint, unproven, Some(book.staying())),
            self.prove_snapshot(&checkpoint, last, snapshot.content.common.version),
            async { Ok(self.log.publish(&checkpoint).await?) },
        )?;
        Ok(Some(book.named()))
    }

    /// Writes the proof of a snapshot, which is the leaf number `index`.
    async fn prove_snapshot(
        &self,
        checkpoint: &SignedCheckpoint,
        index: u64,
        version: Version,
    ) -> Result<(), RepositoryError> {
        let at = layout::snapshot_proof(version)?;
        for proof in self.log.reader().prover(checkpoint).prove(&[index]).await? {
            let text = proof.to_string();
            match self.store.create(&at, Content::Bytes(text.as_bytes())).await {
                Err(StoreError::Exists { .. }) => self.put(&at, text.as_bytes()).await?,
                done => done?,
            }
        }
        Ok(())
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
