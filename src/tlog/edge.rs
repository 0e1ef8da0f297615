//! The right edge of a log's tree: the tile of each level that is not full yet. It grows leaf by leaf and hands out
//! each tile that gets full (c2sp.org/tlog-tiles). At most 8 levels of 255 hashes, 64 KiB, whatever the size.

use super::merkle::{Hash, MAX_SIZE, Tree, fold, root_of};
use super::tile::{FULL_WIDTH, LEVELS, TileError, TileId, Tiles};

/// The edge of a tree. `default()` is that of an empty one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    /// From level 0 up; each has fewer than 256 hashes.
    levels: [Vec<Hash>; 8],
}

impl Edge {
    /// The tiles of which [`Edge::resume`] makes the edge of a tree: the partial one of each level.
    pub fn tiles(size: u64) -> Vec<TileId> {
        LEVELS.filter_map(|level| TileId::last_partial(level, size)).collect()
    }

    /// The edge of a tree that has grown before. Tiles are not trusted: compare [`Edge::root`] with a root that is.
    /// More than [`MAX_SIZE`] leaves no tree has.
    pub fn resume(size: u64, tiles: &Tiles) -> Result<Self, TileError> {
        if size > MAX_SIZE {
            return Err(TileError::TooLarge { size });
        }
        let mut edge = Self { size, ..Self::default() };
        for (level, hashes) in LEVELS.zip(&mut edge.levels) {
            if let Some(id) = TileId::last_partial(level, size) {
                hashes.extend(tiles.tile(id)?);
            }
        }
        Ok(edge)
    }

    /// Leaves so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// One leaf more, by its hash; the tiles that got full by it, from level 0 up, with their bytes.
    pub fn push(&mut self, leaf: Hash) -> Vec<(TileId, Vec<u8>)> {
        self.size += 1;
        let (mut full, mut hash) = (Vec::new(), leaf);
        for (level, hashes) in LEVELS.zip(&mut self.levels) {
            hashes.push(hash);
            if hashes.len() < usize::from(FULL_WIDTH) {
                break;
            }
            full.extend(TileId::last(level, self.size).map(|id| (id, bytes(hashes))));
            hash = root_of(hashes);
            hashes.clear();
        }
        full
    }

    /// The tiles that are not full, from level 0 up, with their bytes: what is written before a checkpoint is.
    pub fn partials(&self) -> Vec<(TileId, Vec<u8>)> {
        let tiles = LEVELS.zip(&self.levels);
        tiles
            .filter_map(|(level, hashes)| Some((TileId::last_partial(level, self.size)?, bytes(hashes))))
            .collect()
    }

    /// The root, MTH(D[n]).
    pub fn root(&self) -> Hash {
        let mut right = None;
        for hashes in &self.levels {
            let mut complete = Tree::default();
            for hash in hashes {
                complete.push(*hash);
            }
            let mut parts = complete.into_complete();
            parts.extend(right);
            right = fold(&parts);
        }
        right.unwrap_or_else(Hash::empty_root)
    }
}

fn bytes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::naive_tests::{SIZES, leaves};
    use super::super::tile::grown;
    use super::*;
    use std::collections::BTreeMap;

    /// A tree grown in one go, and every tile on the way.
    fn grow(edge: &mut Edge, leaves: &[Hash]) -> BTreeMap<TileId, Vec<u8>> {
        let full: Vec<_> = leaves.iter().flat_map(|leaf| edge.push(*leaf)).collect();
        full.into_iter().chain(edge.partials()).collect()
    }

    #[test]
    fn growth_writes_the_tiles_that_are_named_and_no_others() {
        let leaves = leaves(65_537);
        for (old, new) in [(0, 1), (0, 255), (1, 256), (255, 257), (256, 512), (65_535, 65_537), (0, 65_536)]
        {
            let mut edge = Edge::default();
            let _ = grow(&mut edge, &leaves[..old]);
            let written = grow(&mut edge, &leaves[old..new]);
            let untouched = |id: &TileId| Edge::tiles(u64::try_from(old).unwrap()).contains(id);
            let written: Vec<_> = written.into_keys().filter(|id| !untouched(id)).collect();
            let mut named: Vec<_> = grown(u64::try_from(old).unwrap(), edge.size()).collect();
            named.sort();
            assert_eq!(written, named, "{old} to {new}");
        }
    }

    #[test]
    fn the_root_is_that_of_the_tree_at_every_size() {
        let mut tree = Tree::default();
        let mut edge = Edge::default();
        for leaf in leaves(65_537) {
            if edge.size() < 600 || edge.size() > 65_530 {
                assert_eq!(edge.root(), tree.root(), "{}", edge.size());
            }
            edge.push(leaf);
            tree.push(leaf);
        }
        assert_eq!(edge.root(), tree.root());
    }

    #[test]
    fn an_edge_resumed_from_its_tiles_goes_on_as_if_nothing_had_been() {
        let leaves = leaves(65_537);
        for size in SIZES {
            let mut edge = Edge::default();
            let _ = grow(&mut edge, &leaves[..size]);
            let mut tiles = Tiles::default();
            for (id, bytes) in edge.partials() {
                tiles.insert(id, &bytes).unwrap();
            }
            assert_eq!(Edge::resume(edge.size(), &tiles).unwrap(), edge, "{size}");
        }
    }

    #[test]
    fn an_edge_without_its_tiles_is_refused() {
        let missing = TileError::Missing { path: "tile/0/000.p/3".into() };
        assert_eq!(Edge::resume(3, &Tiles::default()).unwrap_err(), missing);
        let size = u64::MAX;
        assert_eq!(Edge::resume(size, &Tiles::default()).unwrap_err(), TileError::TooLarge { size });
    }
}
