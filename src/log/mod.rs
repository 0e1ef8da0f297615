//! The transparency log in a [`Store`]: entries are appended, a head decides, tiles and checkpoints are for readers.
//!
//! | file | what |
//! |---|---|
//! | `head` | `log/head`: what the log has, and its last append whole |
//! | `entries` | leaves on their way in, few or millions |
//! | `growth` | the edge of the tree, which hands out tiles as it grows; the blocks of an append |
//! | `append` | stage → swap the head → tiles; in steps for a publisher that has more to write; ending what another began |
//! | `sign` | the head signed, cosigned, published |
//! | `files`, `reader` | a log read from a store or from afar: leaves, proofs, consistency |
//! | `find` | leaves by path |
//! | `tail` | a log followed from afar, each leaf verified before it is shown |
//! | `audit`, `paths` | a whole log checked; whether a path stands in it twice |
//! | `tidy` | what nobody needs any more |
//!
//! Rules:
//!
//! * A swap of `log/head` is the one moment at which entries are logged. It comes before any signature over them, so a
//!   crash never leaves a signature for what nobody has.
//! * Tiles are made of the head's tail alone, and are durable before a checkpoint of the head is shown to anybody but
//!   witnesses, and before the next append. Signed may be what only the tail has: who has the head can make the tiles.
//! * What is read is not trusted: the edge must lead to the head's root, proofs to that of the checkpoint.
//! * A head that is behind its own checkpoint is a restored backup; nothing is appended to it, and nothing signed.
//!
//! ```
//! # use std::sync::Arc;
//! # use wheelseal::log::{Entries, Log};
//! # use wheelseal::store::DirStore;
//! # use wheelseal::tlog::leaf::{FileLeaf, Leaf};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let log = Log::new(Arc::new(DirStore::create(folder.path()).await?));
//! let head = log.create("index.example.org/log", None).await?;
//! let mut entries = Entries::default();
//! entries.push(&Leaf::File(FileLeaf::new("six/six-1.0.tar.gz", "1.0", 7, [7; 32])?))?;
//! let head = log.append(&head, entries).await?;
//! assert_eq!(head.size(), 1);
//! # Ok(())
//! # }
//! ```

mod append;
mod audit;
mod entries;
mod error;
mod files;
mod find;
mod growth;
mod head;
mod paths;
mod reader;
mod sign;
mod tail;
mod tidy;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

pub use self::append::{Appended, Planned};
pub use self::audit::Audit;
pub use self::entries::{Entries, EntriesError};
pub use self::error::LogError;
pub use self::files::{Files, StoreFiles};
use self::growth::Growth;
use self::head::MAX_HEAD_LEN;
pub use self::head::{Head, HeadError};
pub use self::reader::{Prover, Reader, Visit};
pub use self::sign::{ConsistencyProofs, CosignError, Cosigners, LogSigner, Publication, Unwitnessed};
pub use self::tail::{Grown, Leaves, Step, Tail, TailError};
use crate::store::{Store, StorePath};
use crate::tlog::checkpoint::SignedCheckpoint;
use crate::tlog::merkle::Hash;
use crate::tlog::proof_file::ProofFile;

/// Where the head is. Readers are not served it.
pub const HEAD: &str = "log/head";

/// The log in a store, to append to. Remembers the edge of the tree between appends.
pub struct Log {
    store: Arc<dyn Store>,
    reader: Reader,
    /// The log as this process last saw it, tiles durable.
    known: Mutex<Option<Growth>>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Log {
    /// The log in this store, if there is one.
    pub fn new(store: Arc<dyn Store>) -> Self {
        let reader = Reader::new(Arc::new(StoreFiles(Arc::clone(&store))));
        Self { store, reader, known: Mutex::default() }
    }

    /// What the log has. None: there is no log here.
    pub async fn head(&self) -> Result<Option<Head>, LogError> {
        match self.store.get(&StorePath::new(HEAD)?, MAX_HEAD_LEN).await? {
            Some(object) => Ok(Some(Head::parse(&object.bytes, object.tag)?)),
            None => Ok(None),
        }
    }

    /// Ends the append that made this head: its tiles are durable afterwards, and lead to its root.
    pub async fn finish(&self, head: &Head) -> Result<(), LogError> {
        self.settled(head).await.map(drop)
    }

    /// Shows `visit` the leaves of a head, from number `from` on: [`Reader::leaves`], after the append that made the head
    /// is ended.
    pub async fn leaves(&self, head: &Head, from: u64, visit: &mut Visit<'_>) -> Result<(), LogError> {
        self.settled(head).await?;
        self.reader.leaves(&head.tree, from, visit).await
    }

    /// Proofs of the leaves of these numbers, which rise, in the tree of the checkpoint: [`Prover::prove`]. For many, call a
    /// [`Prover`] with some at a time: this holds nothing but makes all.
    pub async fn proofs(
        &self,
        checkpoint: &SignedCheckpoint,
        indices: &[u64],
        visit: &mut (dyn FnMut(u64, ProofFile) -> Result<(), LogError> + Send),
    ) -> Result<(), LogError> {
        let mut prover = self.reader.prover(checkpoint);
        for part in indices.chunks(reader::PROOFS_AT_ONCE) {
            let proofs = prover.prove(part).await?;
            part.iter().zip(proofs).try_for_each(|(index, proof)| visit(*index, proof))?;
        }
        Ok(())
    }

    /// [`Reader::consistency`].
    pub async fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, LogError> {
        self.reader.consistency(old, new).await
    }

    /// What reads the log; it does not see the head.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    fn store(&self) -> &dyn Store {
        &*self.store
    }

    fn known(&self) -> Option<Growth> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember(&self, growth: Growth) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(growth);
    }
}

#[cfg(test)]
mod tests;
