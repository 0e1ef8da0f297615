//! [`Reader`]: a log read through [`Files`], from a store or from afar.
//!
//! Nothing that is read is trusted. Leaves and proofs are held against the root of a tree that the caller names; whether that
//! tree is to be believed is a matter of signatures ([`Policy`](crate::tlog::policy::Policy)).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::files::Unwritten;
use super::growth::in_folder;
use super::{Appended, Files, LogError};
use crate::tlog::bundle;
use crate::tlog::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::tlog::leaf::Leaf;
use crate::tlog::merkle::{Hash, Tree};
use crate::tlog::note::MAX_NOTE_LEN;
use crate::tlog::proof::{check_consistency, check_inclusion};
use crate::tlog::proof_file::ProofFile;
use crate::tlog::recipe::Recipe;
use crate::tlog::tile::{FULL_WIDTH, TileId, Tiles};

/// The newest checkpoint.
pub(super) const CHECKPOINT: &str = "log/checkpoint";
/// Bytes of a tile, at most.
pub(super) const MAX_TILE: u64 = 8 * 1024;
/// Bytes of a bundle, at most: 256 leaves of 1,536 bytes, each with two bytes of length.
const MAX_BUNDLE: u64 = 256 * 1_538;
/// Bundles held at once: 6 MiB at most.
pub(super) const BUNDLES_AT_ONCE: usize = 16;
/// Leaves whose proofs are made together: their tiles take 12 MiB at most.
pub(super) const PROOFS_AT_ONCE: usize = 256;

/// What is shown of each leaf: its number, and itself. An error ends the reading.
pub type Visit<'a> = dyn FnMut(u64, Leaf) -> Result<(), LogError> + Send + 'a;

/// Reads a log; clones share its files.
#[derive(Debug, Clone)]
pub struct Reader {
    files: Arc<dyn Files>,
}

impl Reader {
    /// The log among these files.
    pub fn new(files: Arc<dyn Files>) -> Self {
        Self { files }
    }

    /// The same log, with what an append is about to write.
    pub fn with(&self, appended: &Appended) -> Self {
        Self::new(Arc::new(Unwritten::new(&appended.writes, Arc::clone(&self.files))))
    }

    /// The newest checkpoint, not verified. None: nothing was signed yet.
    pub async fn checkpoint(&self) -> Result<Option<SignedCheckpoint>, LogError> {
        let max = u64::try_from(MAX_NOTE_LEN).unwrap_or(u64::MAX);
        let Some(bytes) = self.files.read(CHECKPOINT, max).await? else { return Ok(None) };
        Ok(Some(SignedCheckpoint::parse(&bytes)?))
    }

    /// Shows `visit` the leaves of a tree, from number `from` on. They were read and compared with the tree's root when
    /// this returned `Ok`, and not before. Memory: some bundles.
    pub async fn leaves(&self, tree: &Checkpoint, from: u64, visit: &mut Visit<'_>) -> Result<(), LogError> {
        let mut seen = self.tree(tree.size(), from).await?;
        let width = u64::from(FULL_WIDTH);
        let bundles = (from / width..).map_while(|index| TileId::new(0, index, tree.size()));
        let bundles: &mut (dyn Iterator<Item = TileId> + Send) = &mut bundles.fuse();
        loop {
            let ids: Vec<TileId> = bundles.take(BUNDLES_AT_ONCE).collect();
            if ids.is_empty() {
                break;
            }
            for (id, bytes) in ids.iter().zip(self.bundles(&ids).await?) {
                let numbers = id.index() * width..;
                for (index, entry) in numbers.zip(entries(*id, &bytes)?).filter(|(index, _)| *index >= from) {
                    let leaf = Leaf::parse(entry).map_err(|error| LogError::Leaf { index, error })?;
                    seen.push(Hash::leaf(entry));
                    visit(index, leaf)?;
                }
            }
        }
        same_root(tree, seen.root())
    }

    /// That the tree of `new` leaves begins with the tree of `old` leaves: hashes for a check elsewhere. They fit the two
    /// roots that the tiles give.
    pub async fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, LogError> {
        let recipe = Recipe::consistency(old, new)?;
        let (before, after) = (Recipe::subtrees(old)?, Recipe::subtrees(new)?);
        let mut tiles = Tiles::default();
        // The smaller tree's hashes lie in tiles of the larger one.
        let mut wanted = recipe.tiles();
        wanted.extend(after.tiles());
        wanted.extend(before.tiles().into_iter().filter_map(|id| TileId::new(id.level(), id.index(), new)));
        self.fetch(&wanted, &mut tiles).await?;
        let hashes = recipe.hashes(&tiles)?;
        let root = |size, recipe: &Recipe| -> Result<Hash, LogError> {
            let tree = Tree::resume(size, recipe.hashes(&tiles)?);
            Ok(tree.map_err(|error| damaged("log/tile", &error))?.root())
        };
        check_consistency(old, new, &hashes, &root(old, &before)?, &root(new, &after)?)?;
        Ok(hashes)
    }

    /// The root of the first `part` leaves, as the tiles of the tree of `size` leaves give it. It is as little trusted as they
    /// are.
    pub async fn root(&self, size: u64, part: u64) -> Result<Hash, LogError> {
        Ok(self.tree(size, part).await?.root())
    }

    /// Makes proofs of leaves of this checkpoint's tree.
    pub fn prover(&self, checkpoint: &SignedCheckpoint) -> Prover {
        Prover { reader: self.clone(), checkpoint: checkpoint.clone(), tiles: Tiles::default() }
    }

    pub(super) fn files(&self) -> &dyn Files {
        &*self.files
    }

    /// The complete subtrees of the first `from` leaves, out of tiles of the tree of `size`.
    async fn tree(&self, size: u64, from: u64) -> Result<Tree, LogError> {
        let recipe = Recipe::subtrees(from)?;
        let wanted =
            recipe.tiles().into_iter().map(|id| TileId::new(id.level(), id.index(), size).unwrap_or(id));
        let mut tiles = Tiles::default();
        self.fetch(&wanted.collect(), &mut tiles).await?;
        Tree::resume(from, recipe.hashes(&tiles)?).map_err(|error| damaged("log/tile", &error))
    }

    /// Reads those tiles that are not among `tiles` yet.
    pub(super) async fn fetch(&self, ids: &BTreeSet<TileId>, tiles: &mut Tiles) -> Result<(), LogError> {
        let missing: Vec<TileId> = ids.iter().copied().filter(|id| !tiles.has(*id)).collect();
        for (id, bytes) in missing.iter().zip(self.read(&missing, TileId::path, MAX_TILE).await?) {
            // A full tile may be there in place of a partial one that has gone.
            let id = if bytes.len() == id.full().byte_len() { id.full() } else { *id };
            tiles.insert(id, &bytes)?;
        }
        Ok(())
    }

    /// The bundles beside tiles of level 0.
    pub(super) async fn bundles(&self, ids: &[TileId]) -> Result<Vec<Vec<u8>>, LogError> {
        self.read(ids, TileId::entries_path, MAX_BUNDLE).await
    }

    /// Files of the log by the name that a tile gives them: its own, or that of the full one in its place.
    pub(super) async fn read(
        &self,
        ids: &[TileId],
        name: impl Fn(&TileId) -> String,
        max: u64,
    ) -> Result<Vec<Vec<u8>>, LogError> {
        let paths: Vec<String> = ids.iter().map(|id| in_folder(&name(id))).collect();
        let mut found = self.files.read_all(&paths, max).await?;
        for (id, found) in
            ids.iter().zip(&mut found).filter(|(id, found)| found.is_none() && **id != id.full())
        {
            *found = self.files.read(&in_folder(&name(&id.full())), max).await?;
        }
        let files = paths.into_iter().zip(found);
        files.map(|(path, found)| found.ok_or(LogError::Missing { path })).collect()
    }
}

/// Makes proofs, and keeps the tiles that the next ones need too.
#[derive(Debug)]
pub struct Prover {
    reader: Reader,
    checkpoint: SignedCheckpoint,
    tiles: Tiles,
}

impl Prover {
    pub(super) fn reader(&self) -> &Reader {
        &self.reader
    }

    pub(super) fn size(&self) -> u64 {
        self.checkpoint.claimed().size()
    }

    /// The hash of a leaf that was just proved.
    pub(super) fn hash(&self, index: u64) -> Result<Hash, LogError> {
        Ok(self.tiles.leaf(index, self.size())?)
    }

    /// Proofs of the leaves of these numbers, which rise, also from call to call: then each tile is read once. Each proof
    /// leads from the hash that the log's tile has for the leaf to the root of the checkpoint.
    pub async fn prove(&mut self, indices: &[u64]) -> Result<Vec<ProofFile>, LogError> {
        let mut proofs = Vec::with_capacity(indices.len());
        for part in indices.chunks(PROOFS_AT_ONCE) {
            let tree = self.checkpoint.claimed();
            let size = tree.size();
            let recipes: Result<Vec<_>, _> =
                part.iter().map(|index| Recipe::inclusion(*index, size)).collect();
            let recipes = recipes?;
            let mut wanted: BTreeSet<TileId> = recipes.iter().flat_map(Recipe::tiles).collect();
            wanted
                .extend(part.iter().filter_map(|index| TileId::new(0, index / u64::from(FULL_WIDTH), size)));
            self.tiles.keep(&wanted);
            self.reader.fetch(&wanted, &mut self.tiles).await?;
            for (index, recipe) in part.iter().zip(&recipes) {
                let hashes = recipe.hashes(&self.tiles)?;
                check_inclusion(&self.tiles.leaf(*index, size)?, *index, size, &hashes, tree.root())?;
                proofs.push(ProofFile::new(*index, hashes, self.checkpoint.clone()));
            }
        }
        Ok(proofs)
    }
}

/// The entries of the bundle beside a tile; of a full one in its place, the first.
pub(super) fn entries(id: TileId, bytes: &[u8]) -> Result<Vec<&[u8]>, LogError> {
    let found = bundle::entries(bytes, id.width());
    let found = found.or_else(|error| bundle::entries(bytes, FULL_WIDTH).map_err(|_| error));
    let mut found = found.map_err(|error| damaged(&in_folder(&id.entries_path()), &error))?;
    found.truncate(usize::from(id.width()));
    Ok(found)
}

pub(super) fn same_root(tree: &Checkpoint, found: Hash) -> Result<(), LogError> {
    let (size, expected) = (tree.size(), *tree.root());
    if found == expected { Ok(()) } else { Err(LogError::Root { size, found, expected }) }
}

pub(super) fn damaged(path: &str, problem: &dyn std::fmt::Display) -> LogError {
    LogError::Damaged { path: path.to_owned(), problem: problem.to_string() }
}
