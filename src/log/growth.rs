//! [`Growth`]: what a writer holds of the log to append to it, whatever its size.

use std::sync::Arc;

use super::LogError;
use super::entries::Entries;
use super::head::Tail;
use crate::crypto::sha256;
use crate::store::{Store, StorePath};
use crate::tlog::bundle;
use crate::tlog::edge::Edge;
use crate::tlog::merkle::Hash;
use crate::tlog::tile::{TileId, grown};

/// The folder of the log in its store.
pub(super) const FOLDER: &str = "log";

/// Where blobs of entries wait.
pub(super) const STAGED: &str = "log/staged/";

/// A file that is to be written: its path, and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) path: String,
    pub(super) bytes: Arc<Vec<u8>>,
}

impl Write {
    pub(super) fn new(path: String, bytes: Vec<u8>) -> Self {
        Self { path, bytes: Arc::new(bytes) }
    }
}

/// The right edge of the tree, and the entries of the bundle that is not full. At most 64 KiB, and 255 entries.
#[derive(Debug, Clone, Default)]
pub(super) struct Growth {
    pub(super) edge: Edge,
    pub(super) bundle: Vec<u8>,
}

impl Growth {
    pub(super) fn size(&self) -> u64 {
        self.edge.size()
    }

    pub(super) fn root(&self) -> Hash {
        self.edge.root()
    }

    /// Appends the entries of a block; what got full by it.
    pub(super) fn grow(&mut self, block: &[u8]) -> Result<Vec<Write>, LogError> {
        let mut full = Vec::new();
        for entry in split(block)? {
            bundle::push(&mut self.bundle, entry)?;
            for (id, bytes) in self.edge.push(Hash::leaf(entry)) {
                if id.level() == 0 {
                    full.push(Write::new(in_folder(&id.entries_path()), std::mem::take(&mut self.bundle)));
                }
                full.push(Write::new(in_folder(&id.path()), bytes));
            }
        }
        Ok(full)
    }

    /// What is not full, as far as it is wider than when the tree had `from` leaves.
    pub(super) fn partials(&self, from: u64) -> Vec<Write> {
        let wider: Vec<TileId> = grown(from, self.size()).filter(|id| *id != id.full()).collect();
        let mut writes = Vec::new();
        for (id, bytes) in self.edge.partials().into_iter().filter(|(id, _)| wider.contains(id)) {
            if id.level() == 0 {
                writes.push(Write::new(in_folder(&id.entries_path()), self.bundle.clone()));
            }
            writes.push(Write::new(in_folder(&id.path()), bytes));
        }
        writes
    }
}

/// Where the log's files are.
pub(super) fn in_folder(path: &str) -> String {
    format!("{FOLDER}/{path}")
}

/// The entries of a block of any number of them.
pub(super) fn split(block: &[u8]) -> Result<Vec<&[u8]>, LogError> {
    let (mut rest, mut entries) = (block, Vec::new());
    while !rest.is_empty() {
        let (entry, after) = bundle::split_first(rest, entries.len())?;
        entries.push(entry);
        rest = after;
    }
    Ok(entries)
}

/// The entries of one append, block by block.
#[derive(Debug)]
pub(super) enum Blocks<'a> {
    /// On their way in.
    New(&'a Entries),
    /// Those of a head.
    Tail(&'a Tail),
}

impl Blocks<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::New(entries) => entries.blocks(),
            Self::Tail(Tail::Inline(_)) => 1,
            Self::Tail(Tail::Staged(hashes)) => hashes.len(),
        }
    }

    /// A block, of at most 4 MiB; a staged blob is what its name says.
    pub(super) async fn read(&self, number: usize, store: &dyn Store) -> Result<Vec<u8>, LogError> {
        let hashes = match self {
            Self::New(entries) => return Ok(entries.block(number)?),
            Self::Tail(Tail::Inline(entries)) => {
                let mut block = Vec::new();
                entries.iter().try_for_each(|entry| bundle::push(&mut block, entry.as_bytes()))?;
                return Ok(block);
            }
            Self::Tail(Tail::Staged(hashes)) => hashes,
        };
        let Some(hash) = hashes.get(number) else { return Ok(Vec::new()) };
        let path = staged(hash)?;
        let max = u64::try_from(super::entries::MAX_BLOCK).unwrap_or(u64::MAX);
        let Some(object) = store.get(&path, max).await? else {
            return Err(LogError::Missing { path: path.to_string() });
        };
        if sha256(&object.bytes) != *hash {
            let problem = "its hash is not its name".to_owned();
            return Err(LogError::Damaged { path: path.to_string(), problem });
        }
        Ok(object.bytes)
    }
}

/// Where a blob of entries waits until its tiles are written.
pub(super) fn staged(hash: &[u8; 32]) -> Result<StorePath, LogError> {
    Ok(StorePath::new(format!("{STAGED}{}", hex::encode(hash)))?)
}
