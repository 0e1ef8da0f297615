//! Checkpoints: signed by the log's key over the head that is in the store, cosigned by witnesses, published.

use async_trait::async_trait;
use thiserror::Error;

use super::reader::{CHECKPOINT, Reader};
use super::{Appended, HEAD, Head, Log, LogError};
use crate::store::{StoreError, StorePath, Swap, Tag};
use crate::tlog::checkpoint::SignedCheckpoint;
use crate::tlog::key::{KeyKind, KnownKeys, SIGNATURE_LEN, VerifierKey};
use crate::tlog::merkle::Hash;
use crate::tlog::note::MAX_NOTE_LEN;
use crate::tlog::proof::check_consistency;

/// Times that a checkpoint is published anew because somebody else published one meanwhile.
const PUBLISH_TRIES: usize = 16;

/// The log's own key. It is no key of TUF.
#[async_trait]
pub trait LogSigner: Send + Sync {
    /// Its public half; its name is the log's origin.
    fn key(&self) -> &VerifierKey;

    /// An Ed25519 signature, or why there is none, without any secret in the text.
    async fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], String>;
}

/// Witnesses, and how many of them are enough.
#[async_trait]
pub trait Cosigners: Send + Sync {
    /// Adds cosignatures, each verified, until the quorum holds.
    async fn cosign(
        &self,
        checkpoint: SignedCheckpoint,
        proofs: &dyn ConsistencyProofs,
    ) -> Result<SignedCheckpoint, CosignError>;
}

/// Proofs from a size that a witness knows to the size of the checkpoint that it is to cosign.
#[async_trait]
pub trait ConsistencyProofs: Send + Sync {
    /// The hashes, or why there are none.
    async fn from(&self, old: u64) -> Result<Vec<Hash>, String>;
}

/// Why a checkpoint was not cosigned.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CosignError {
    /// Too few witnesses answered well. Nothing is lost: a later run goes on.
    #[error("the checkpoint is not cosigned by a quorum of witnesses: {}", .problems.join("; "))]
    NoQuorum {
        /// What is missing, one sentence each.
        problems: Vec<String>,
    },
    /// A witness cosigned a larger tree of this log: a backup was restored, or somebody else has the log's key.
    #[error("witness {witness} knows {known} entries of the log, and its head has {size}")]
    Larger {
        /// The witness.
        witness: String,
        /// Entries that it cosigned.
        known: u64,
        /// Entries of the checkpoint.
        size: u64,
    },
    /// A witness cosigned another tree of this size, or one that this one does not continue.
    #[error("witness {witness} knows another history of the log: {problem}")]
    Conflict {
        /// The witness.
        witness: String,
        /// Its answer.
        problem: String,
    },
}

/// No witnesses: `quorum none`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwitnessed;

#[async_trait]
impl Cosigners for Unwitnessed {
    async fn cosign(
        &self,
        checkpoint: SignedCheckpoint,
        _proofs: &dyn ConsistencyProofs,
    ) -> Result<SignedCheckpoint, CosignError> {
        Ok(checkpoint)
    }
}

/// A checkpoint that is to be the log's newest.
#[derive(Debug)]
pub struct Publication {
    path: StorePath,
    text: String,
    expected: Option<Tag>,
}

impl Publication {
    /// The swap that makes it so.
    pub fn swap(&self) -> Swap<'_> {
        Swap { path: &self.path, bytes: self.text.as_bytes(), expected: self.expected.as_ref() }
    }
}

/// Proofs up to one size.
struct UpTo<'a> {
    reader: &'a Reader,
    size: u64,
}

#[async_trait]
impl ConsistencyProofs for UpTo<'_> {
    async fn from(&self, old: u64) -> Result<Vec<Hash>, String> {
        self.reader.consistency(old, self.size).await.map_err(|error| error.to_string())
    }
}

impl Log {
    /// The present head, signed and cosigned; its tiles are durable. It continues the checkpoint that was published
    /// before. Nothing is written: [`Self::publish`] does that.
    pub async fn sign(
        &self,
        signer: &dyn LogSigner,
        witnesses: &dyn Cosigners,
    ) -> Result<(Head, SignedCheckpoint), LogError> {
        let head = self.head().await?.ok_or(LogError::None)?;
        // Somebody else may have swapped it a moment ago.
        self.store().flush(&StorePath::new(HEAD)?).await?;
        self.settled(&head).await?;
        let checkpoint = self.signed(&head, self.reader(), signer, witnesses).await?;
        Ok((head, checkpoint))
    }

    /// The same for what was just appended, whose tiles need not be written yet: its entries are in `log/head`, so nobody
    /// can lose them.
    pub async fn sign_appended(
        &self,
        appended: &Appended,
        signer: &dyn LogSigner,
        witnesses: &dyn Cosigners,
    ) -> Result<SignedCheckpoint, LogError> {
        self.signed(&appended.head, &self.reader().with(appended), signer, witnesses).await
    }

    async fn signed(
        &self,
        head: &Head,
        reader: &Reader,
        signer: &dyn LogSigner,
        witnesses: &dyn Cosigners,
    ) -> Result<SignedCheckpoint, LogError> {
        let key = signer.key();
        if key.kind() != KeyKind::Log || key.name().as_str() != head.origin() {
            let (key, origin) = (key.name().to_string(), head.origin().to_owned());
            return Err(LogError::WrongKey { key, origin });
        }
        self.check_continues(head, reader).await?;
        let message = head.tree.to_string();
        let signature =
            signer.sign(message.as_bytes()).await.map_err(|message| LogError::Signer { message })?;
        let checkpoint = SignedCheckpoint::sign(head.tree.clone(), key, &signature)?;
        let proofs = UpTo { reader, size: head.size() };
        let cosigned = match witnesses.cosign(checkpoint, &proofs).await {
            Ok(cosigned) => cosigned,
            Err(error) => return Err(self.not_cosigned(head, error).await?),
        };
        let keys = KnownKeys::new(vec![key.clone()])
            .map_err(|error| LogError::Signer { message: error.to_string() })?;
        let (tree, _) = cosigned.verify(&keys).map_err(crate::tlog::checkpoint::CheckpointError::from)?;
        if *tree != head.tree {
            let message = "the witnesses cosigned another checkpoint".to_owned();
            return Err(LogError::Signer { message });
        }
        Ok(cosigned)
    }

    /// A witness may know more because another publisher was faster: then there is another head by now.
    async fn not_cosigned(&self, head: &Head, error: CosignError) -> Result<LogError, LogError> {
        let now = self.head().await?;
        let same = now.is_some_and(|now| now.tag == head.tag);
        Ok(if same { error.into() } else { LogError::Overtaken })
    }

    /// The head continues what was published, so that the key never signs two histories.
    async fn check_continues(&self, head: &Head, reader: &Reader) -> Result<(), LogError> {
        let Some(published) = reader.checkpoint().await? else { return Ok(()) };
        let old = published.claimed();
        if old.origin() != head.origin() {
            return Err(LogError::WrongKey {
                key: old.origin().to_owned(),
                origin: head.origin().to_owned(),
            });
        }
        if old.size() > head.size() {
            return Err(self.behind(head, old.size()).await?);
        }
        let hashes = reader.consistency(old.size(), head.size()).await?;
        check_consistency(old.size(), head.size(), &hashes, old.root(), head.root())
            .map_err(|error| LogError::Forked { size: old.size(), problem: error.to_string() })
    }

    /// Makes this the log's newest checkpoint, unless a larger one is published already, which is fine too. Tiles of its head
    /// are durable.
    pub async fn publish(&self, checkpoint: &SignedCheckpoint) -> Result<(), LogError> {
        let mut lost = None;
        for _ in 0..PUBLISH_TRIES {
            let Some(publication) = self.publication(checkpoint).await? else {
                return Ok(self.store().flush(&StorePath::new(CHECKPOINT)?).await?);
            };
            let Swap { path, bytes, expected } = publication.swap();
            match self.store().swap(path, bytes, expected).await {
                Ok(_) => return Ok(()),
                Err(error @ StoreError::Conflict { .. }) => lost = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        lost.map_or(Ok(()), |error| Err(error.into()))
    }

    /// How this becomes the log's newest checkpoint, for a caller that makes the swap; if it fails, [`Self::publish`].
    /// `None`: a larger one is published already, or this one.
    pub async fn publication(&self, checkpoint: &SignedCheckpoint) -> Result<Option<Publication>, LogError> {
        let (new, (old, expected)) = (checkpoint.claimed(), self.published().await?);
        if let Some(old) = &old {
            let tree = old.claimed();
            if tree.size() == new.size() && tree.root() != new.root() || tree.origin() != new.origin() {
                let problem = format!("one is {tree}the other {new}");
                return Err(LogError::Forked { size: tree.size(), problem });
            }
            if tree.size() > new.size() || old == checkpoint {
                return Ok(None);
            }
        }
        Ok(Some(Publication { path: StorePath::new(CHECKPOINT)?, text: checkpoint.to_string(), expected }))
    }

    async fn published(&self) -> Result<(Option<SignedCheckpoint>, Option<Tag>), LogError> {
        let max = u64::try_from(MAX_NOTE_LEN).unwrap_or(u64::MAX);
        let Some(object) = self.store().get(&StorePath::new(CHECKPOINT)?, max).await? else {
            return Ok((None, None));
        };
        Ok((Some(SignedCheckpoint::parse(&object.bytes)?), Some(object.tag)))
    }
}
