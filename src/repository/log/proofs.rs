//! Proof files: what is logged under a path, and with which content.

use std::collections::BTreeMap;

use super::book::Book;
use super::error::LoggingError;
use crate::log::Reader;
use crate::repository::keyring::Keyring;
use crate::repository::state::State;
use crate::repository::{Repository, RepositoryError, layout};
use crate::store::{Content, StoreError, StorePath};
use crate::tlog::checkpoint::SignedCheckpoint;
use crate::tlog::leaf::{FileLeaf, Leaf};
use crate::tlog::policy::Policy;
use crate::tlog::proof_file::{MAX_PROOF_LEN, ProofFile};

/// Leaves whose proofs are made and written together: some 2 kB each.
pub(super) const TOGETHER: u64 = 4_096;

/// How a file stands to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::repository) enum Standing {
    /// Nothing is logged under its path.
    New,
    /// It is logged.
    Logged,
}

/// Proofs that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Present {
    /// They stay.
    Keep,
    /// They are replaced, unless they satisfy the policy as it is now.
    Renew,
}

impl Repository {
    /// How some files stand to the log, in their order.
    pub(in crate::repository) async fn standing(
        &self,
        book: &Book,
        leaves: &[FileLeaf],
    ) -> Result<Vec<Result<Standing, LoggingError>>, RepositoryError> {
        let paths =
            leaves.iter().map(|leaf| layout::file_proof(leaf.path())).collect::<Result<Vec<_>, _>>()?;
        let found = self.read_proofs(&paths).await?;
        let judge = |(leaf, found): (&FileLeaf, Option<Vec<u8>>)| match found {
            None => Ok(Standing::New),
            Some(bytes) if proves(book, &bytes, leaf) => Ok(Standing::Logged),
            // Of a log before this one: all that is in this one has its proof by now.
            Some(bytes) if is_of_another_log(book, &bytes) => Ok(Standing::New),
            Some(_) => Err(LoggingError::OtherContent { path: leaf.path().to_owned() }),
        };
        Ok(leaves.iter().zip(found).map(judge).collect())
    }

    /// What lies at these paths. What is too long for a proof is read as nothing that is one, so that it stops its own path alone.
    async fn read_proofs(&self, paths: &[StorePath]) -> Result<Vec<Option<Vec<u8>>>, RepositoryError> {
        match self.store.read_all(paths, max_proof()).await {
            Err(StoreError::TooLarge { .. }) => {}
            read => return Ok(read?),
        }
        let mut found = Vec::with_capacity(paths.len());
        for path in paths {
            found.push(match self.store.get(path, max_proof()).await {
                Err(StoreError::TooLarge { .. }) => Some(Vec::new()),
                read => read?.map(|object| object.bytes),
            });
        }
        Ok(found)
    }

    /// The files that are not logged yet, each path once. An error, if one is logged with other content.
    pub(in crate::repository) async fn unlogged(
        &self,
        book: &Book,
        leaves: Vec<FileLeaf>,
    ) -> Result<Vec<FileLeaf>, RepositoryError> {
        let mut by_path: BTreeMap<String, FileLeaf> = BTreeMap::new();
        for leaf in leaves {
            match by_path.get(leaf.path()) {
                Some(known) if *known != leaf => {
                    return Err(LoggingError::OtherContent { path: leaf.path().to_owned() }.into());
                }
                _ => drop(by_path.insert(leaf.path().to_owned(), leaf)),
            }
        }
        let leaves: Vec<_> = by_path.into_values().collect();
        let (mut new, standing) = (Vec::new(), self.standing(book, &leaves).await?);
        for (leaf, standing) in leaves.into_iter().zip(standing) {
            if standing? == Standing::New {
                new.push(leaf);
            }
        }
        Ok(new)
    }

    /// An error, if the log would refuse one of these files by the proofs that lie there. Nothing is signed or written for it, so
    /// what a crash left without proofs is not known here.
    pub(in crate::repository) async fn refuse_unloggable(
        &self,
        keys: &Keyring,
        state: &State,
        leaves: Vec<FileLeaf>,
    ) -> Result<(), RepositoryError> {
        let (Some(named), Some(head)) = (&state.timestamp.log, self.log.head().await?) else { return Ok(()) };
        let policy = self.policy_for(state.log_policy()?, &named.origin)?;
        let book = Book::new(head, keys, policy)?;
        self.unlogged(&book, leaves).await.map(drop)
    }

    /// Writes the proofs of all files among the leaves of a checkpoint's tree, from number `from` on. Those that are there
    /// stay; with a policy, those alone that satisfy it.
    pub(in crate::repository) async fn prove_files(
        &self,
        checkpoint: &SignedCheckpoint,
        from: u64,
        renew: Option<&Policy>,
    ) -> Result<(), RepositoryError> {
        self.prove_files_by(self.log.reader(), checkpoint, from, renew).await
    }

    /// The same by what may not be written yet.
    pub(super) async fn prove_files_by(
        &self,
        reader: &Reader,
        checkpoint: &SignedCheckpoint,
        from: u64,
        renew: Option<&Policy>,
    ) -> Result<(), RepositoryError> {
        let mut prover = reader.prover(checkpoint);
        let mut next = from;
        loop {
            let leaves = prover.leaves(next, TOGETHER).await?;
            let Some((last, ..)) = leaves.last() else { return Ok(()) };
            next = last.saturating_add(1);
            let files = leaves.into_iter().filter_map(|(_, leaf, proof)| match leaf {
                Leaf::File(leaf) => Some((leaf, proof)),
                _ => None,
            });
            self.put_proofs(files.collect(), renew).await?;
        }
    }

    async fn put_proofs(
        &self,
        proofs: Vec<(FileLeaf, ProofFile)>,
        renew: Option<&Policy>,
    ) -> Result<(), RepositoryError> {
        let proofs = proofs.into_iter().map(|(leaf, proof)| FileProof::new(leaf, &proof));
        let proofs = proofs.collect::<Result<Vec<_>, _>>()?;
        let objects: Vec<_> = proofs.iter().map(FileProof::object).collect();
        let outcomes = self.store.create_all(&objects).await;
        self.put_or_renew(&proofs, outcomes, renew).await
    }

    /// Takes the outcomes of creating proofs: those that were there stay; with a policy, those alone that satisfy it.
    pub(super) async fn put_or_renew(
        &self,
        proofs: &[FileProof],
        outcomes: Vec<Result<(), StoreError>>,
        renew: Option<&Policy>,
    ) -> Result<(), RepositoryError> {
        for (proof, outcome) in proofs.iter().zip(outcomes) {
            match outcome {
                Ok(()) => {}
                Err(StoreError::Exists { .. }) => {
                    if let Some(policy) = renew {
                        self.renew(policy, proof).await?;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Replaces a proof that clients would refuse.
    async fn renew(&self, policy: &Policy, proof: &FileProof) -> Result<(), RepositoryError> {
        let FileProof { leaf, at, text } = proof;
        let present = match self.store.get(at, max_proof()).await {
            Err(StoreError::TooLarge { .. }) => {
                self.store.delete(at).await?;
                None
            }
            read => read?,
        };
        let good = |bytes: &[u8]| {
            let proof = ProofFile::parse(bytes);
            let entry = Leaf::File(leaf.clone()).to_string();
            proof.is_ok_and(|proof| proof.verify(entry.as_bytes(), policy).is_ok())
        };
        if !present.as_ref().is_some_and(|present| good(&present.bytes)) {
            self.store.swap(at, text.as_bytes(), present.as_ref().map(|present| &present.tag)).await?;
        }
        Ok(())
    }
}

/// A proof as it is to lie beside its file.
#[derive(Debug)]
pub(super) struct FileProof {
    leaf: FileLeaf,
    at: StorePath,
    text: String,
}

impl FileProof {
    pub(super) fn new(leaf: FileLeaf, proof: &ProofFile) -> Result<Self, RepositoryError> {
        Ok(Self { at: layout::file_proof(leaf.path())?, leaf, text: proof.to_string() })
    }

    pub(super) fn object(&self) -> (StorePath, Content<'_>) {
        (self.at.clone(), Content::Bytes(self.text.as_bytes()))
    }
}

/// Whether a proof is one that the log has this file.
fn proves(book: &Book, bytes: &[u8], leaf: &FileLeaf) -> bool {
    let entry = Leaf::File(leaf.clone()).to_string();
    ProofFile::parse(bytes).is_ok_and(|proof| proof.verify(entry.as_bytes(), &book.own).is_ok())
}

/// Whether a proof is signed by another log than this one, or by none. Who can write to the store can take a proof away anyway.
fn is_of_another_log(book: &Book, bytes: &[u8]) -> bool {
    let origin = book.head.origin();
    ProofFile::parse(bytes).is_ok_and(|proof| proof.checkpoint().claimed_origin() != origin)
}

fn max_proof() -> u64 {
    u64::try_from(MAX_PROOF_LEN).unwrap_or(u64::MAX)
}
