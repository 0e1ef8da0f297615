//! What is logged between commits: remarks about files, none of which is published by it.
//!
//! The log runs ahead of the timestamp then, as after a commit that was cut short; the next commit goes on from there.

use crate::log::Entries;
use crate::repository::keyring::Keyring;
use crate::repository::{MAX_ATTEMPTS, Repository, RepositoryError, pause};
use crate::store::StoreError;
use crate::tlog::leaf::{CommitmentLeaf, ConflictLeaf, Leaf};
use crate::tlog::proof_file::ProofFile;

/// What can be logged by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remark {
    /// Somebody sent a claim.
    Commitment(CommitmentLeaf),
    /// Somebody had other content for a path.
    Conflict(ConflictLeaf),
}

impl Remark {
    fn leaf(&self) -> Leaf {
        match self {
            Self::Commitment(leaf) => Leaf::Commitment(*leaf),
            Self::Conflict(leaf) => Leaf::Conflict(leaf.clone()),
        }
    }
}

impl Repository {
    /// Logs remarks. When it returns they are durable, signed for and cosigned, and each has its proof, in their order. `None`: the
    /// repository has no log. After an error they may be logged or not, and whoever tries again may log them twice, which
    /// means nothing.
    pub async fn remark(
        &self,
        keys: &Keyring,
        remarks: &[Remark],
    ) -> Result<Option<Vec<ProofFile>>, RepositoryError> {
        for attempt in 0..MAX_ATTEMPTS {
            match self.remark_once(keys, remarks).await {
                Err(RepositoryError::Store(StoreError::Conflict { .. })) => pause(attempt).await,
                done => return done,
            }
        }
        Err(RepositoryError::Busy(MAX_ATTEMPTS))
    }

    async fn remark_once(
        &self,
        keys: &Keyring,
        remarks: &[Remark],
    ) -> Result<Option<Vec<ProofFile>>, RepositoryError> {
        let state = self.state().await?;
        let Some(mut book) = self.book(keys, &state).await? else { return Ok(None) };
        let before = book.head.size();
        let mut entries = Entries::default();
        remarks.iter().try_for_each(|remark| entries.push(&remark.leaf()))?;
        book.head = self.log.append(&book.head, entries).await?;
        let checkpoint = self.sign_head(keys, &mut book).await?;
        self.log.publish(&checkpoint).await?;
        // Behind them may be what others logged meanwhile.
        let numbers: Vec<u64> = (before..).take(remarks.len()).collect();
        Ok(Some(self.log.reader().prover(&checkpoint).prove(&numbers).await?))
    }
}
