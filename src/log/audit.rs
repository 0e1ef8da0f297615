//! Auditing a whole log: every entry and every tile read, nothing believed but the checkpoint it is held against.
//!
//! Checked: each entry is a leaf in its one form; each tile is what the entries give; the root is the checkpoint's; a path
//! appears once; versions of each role rise; only the first entry names a log before this one. Memory does not depend
//! on the size of the log, but for what [`Paths`] keeps on the local disk.

use super::growth::in_folder;
use super::head::Logged;
use super::paths::Paths;
use super::reader::{BUNDLES_AT_ONCE, MAX_TILE, damaged, entries, same_root};
use super::{LogError, Reader};
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::edge::Edge;
use crate::tlog::leaf::{Leaf, LogLeaf, Role, TufLeaf};
use crate::tlog::merkle::Hash;
use crate::tlog::tile::{FULL_WIDTH, TileId};

/// What a log that is in order has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// `file/v1`
    pub files: u64,
    /// `tuf/v1`
    pub versions: u64,
    /// Everything else.
    pub others: u64,
    /// The log that this one continues.
    pub continues: Option<LogLeaf>,
    logged: Logged,
}

impl Audit {
    /// Newest version of a role; 0 for none.
    pub fn logged(&self, role: Role) -> u64 {
        self.logged.of(role)
    }
}

/// What is known in the middle of an audit.
#[derive(Default)]
struct Seen {
    audit: Audit,
    paths: Paths,
    edge: Edge,
    /// Tiles that the entries gave, to be compared.
    full: Vec<(TileId, Vec<u8>)>,
}

impl Reader {
    /// Reads the whole tree of a checkpoint, whose signatures are for the caller to check. `progress` is told how many
    /// entries were read.
    pub async fn audit(
        &self,
        tree: &Checkpoint,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Audit, LogError> {
        let mut seen = Seen::default();
        let mut next = 0..tree.size().div_ceil(u64::from(FULL_WIDTH));
        loop {
            let ids: Vec<TileId> = next
                .by_ref()
                .take(BUNDLES_AT_ONCE)
                .filter_map(|index| TileId::new(0, index, tree.size()))
                .collect();
            if ids.is_empty() {
                break;
            }
            for (id, bytes) in ids.iter().zip(self.bundles(&ids).await?) {
                entries(*id, &bytes)?.into_iter().try_for_each(|entry| seen.take(entry))?;
            }
            self.compare(std::mem::take(&mut seen.full)).await?;
            progress(seen.edge.size());
        }
        self.compare(seen.edge.partials()).await?;
        same_root(tree, seen.edge.root())?;
        match seen.paths.twice()? {
            None => Ok(seen.audit),
            Some((first, second)) => Err(self.twice(tree, first, second).await?),
        }
    }

    /// Holds the log's tiles against those that its entries give.
    async fn compare(&self, expected: Vec<(TileId, Vec<u8>)>) -> Result<(), LogError> {
        let ids: Vec<TileId> = expected.iter().map(|(id, _)| *id).collect();
        let found = self.read(&ids, TileId::path, MAX_TILE).await?;
        for ((id, expected), found) in expected.iter().zip(found) {
            let length = [id.byte_len(), id.full().byte_len()].contains(&found.len());
            if !length || found.get(..expected.len()) != Some(expected) {
                return Err(damaged(&in_folder(&id.path()), &"it is not what the log's entries give"));
            }
        }
        Ok(())
    }

    /// The path that these two entries have in common.
    async fn twice(&self, tree: &Checkpoint, first: u64, second: u64) -> Result<LogError, LogError> {
        let id = TileId::new(0, second / u64::from(FULL_WIDTH), tree.size());
        let (ids, mut path) = (id.as_slice(), String::new());
        for (id, bytes) in ids.iter().zip(self.bundles(ids).await?) {
            let number = usize::try_from(second % u64::from(FULL_WIDTH)).unwrap_or(usize::MAX);
            if let Some(Ok(Leaf::File(file))) =
                entries(*id, &bytes)?.get(number).map(|entry| Leaf::parse(entry))
            {
                file.path().clone_into(&mut path);
            }
        }
        Ok(LogError::Twice { path, first, second })
    }
}

impl Seen {
    fn take(&mut self, entry: &[u8]) -> Result<(), LogError> {
        let index = self.edge.size();
        match Leaf::parse(entry).map_err(|error| LogError::Leaf { index, error })? {
            Leaf::File(file) => {
                self.audit.files += 1;
                self.paths.push(file.path(), index)?;
            }
            Leaf::Tuf(leaf) => self.version(&leaf)?,
            Leaf::Log(leaf) if index == 0 => {
                self.audit.others += 1;
                self.audit.continues = Some(leaf);
            }
            Leaf::Log(_) => return Err(LogError::NotFirst { index }),
            Leaf::Commitment(_) | Leaf::Conflict(_) => self.audit.others += 1,
        }
        self.full.extend(self.edge.push(Hash::leaf(entry)));
        Ok(())
    }

    fn version(&mut self, leaf: &TufLeaf) -> Result<(), LogError> {
        let (role, version, newest) = (leaf.role(), leaf.version(), self.audit.logged.of(leaf.role()));
        if version <= newest {
            return Err(LogError::Again { role, version, newest });
        }
        self.audit.versions += 1;
        self.audit.logged.set(role, version);
        Ok(())
    }
}
