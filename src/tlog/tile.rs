//! Tiles (c2sp.org/tlog-tiles, "Merkle Tree"): 256 hashes of one level to a file, of every eighth level.
//!
//! A tile that is not full yet is partial: its name ends in its width. Once it is full, the partial one may go.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use thiserror::Error;

use super::merkle::{Hash, root_of};
use super::recipe::Subtree;

/// Levels of the tree in one tile.
const HEIGHT: u32 = 8;
/// The levels that tiles of a tree may have: 256^8 leaves are more than any has.
pub(super) const LEVELS: Range<u32> = 0..8;
/// Hashes in a full tile, and entries in a full bundle: 2 to the power of its height.
pub const FULL_WIDTH: u16 = 256;
/// Bytes of one hash.
const HASH_LEN: usize = 32;
/// Digits of one part of the path of a tile's number.
const NUMBER_BASE: u64 = 1_000;

/// Why there is no hash to be had from tiles.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TileError {
    /// The tile is not there, or is too narrow.
    #[error("tile {path} is not there")]
    Missing {
        /// Path of the tile.
        path: String,
    },
    /// A tile is as many hashes of 32 bytes as its name says.
    #[error("tile {path} has {found} bytes, expected {expected}")]
    Length {
        /// Path of the tile.
        path: String,
        /// Bytes found.
        found: usize,
        /// Bytes of a tile of this width.
        expected: usize,
    },
    /// No tree is that large.
    #[error("a tree of {size} leaves is not possible")]
    TooLarge {
        /// Leaves of the tree.
        size: u64,
    },
}

/// The name of a tile, and of the bundle of entries beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileId {
    level: u32,
    index: u64,
    width: u16,
}

impl TileId {
    /// The tile of a tree of `size` leaves at this level (0: leaves) with this number, as wide as it is then. None if
    /// there is none. Levels of tiles are at most 7: more hashes than 256^8 no tree has.
    pub fn new(level: u32, index: u64, size: u64) -> Option<Self> {
        let hashes = size.checked_shr(level.checked_mul(HEIGHT)?)?;
        let before = index.checked_mul(u64::from(FULL_WIDTH))?;
        let width = hashes.checked_sub(before)?.min(u64::from(FULL_WIDTH));
        (width > 0).then_some(Self { level, index, width: u16::try_from(width).ok()? })
    }

    /// The tile of a level that is not full in a tree of this size, if there is one.
    pub(super) fn last_partial(level: u32, size: u64) -> Option<Self> {
        let hashes = size.checked_shr(level.checked_mul(HEIGHT)?)?;
        Self::new(level, hashes / u64::from(FULL_WIDTH), size)
    }

    /// The last tile of a level in a tree of this size.
    pub(super) fn last(level: u32, size: u64) -> Option<Self> {
        let hashes = size.checked_shr(level.checked_mul(HEIGHT)?)?;
        Self::new(level, hashes.checked_sub(1)? / u64::from(FULL_WIDTH), size)
    }

    /// The tile that has the hash of a complete subtree of a tree of `size` leaves, or those it is made of.
    pub(super) fn holding(subtree: Subtree, size: u64) -> Option<Self> {
        let (level, below) = (subtree.height / HEIGHT, subtree.height % HEIGHT);
        Self::new(level, subtree.index >> (HEIGHT - below), size)
    }

    /// The level: 0 has the hashes of leaves, each other one the hashes of full tiles of the level before.
    pub fn level(&self) -> u32 {
        self.level
    }

    /// Its number in its level, from 0.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Hashes in it, from 1 to 256.
    pub fn width(&self) -> u16 {
        self.width
    }

    /// The full tile in this place: what there may be in place of a partial one that has gone.
    pub fn full(self) -> Self {
        Self { width: FULL_WIDTH, ..self }
    }

    /// Bytes of the tile.
    pub fn byte_len(&self) -> usize {
        usize::from(self.width) * HASH_LEN
    }

    /// Where the tile is, below the log's prefix: `tile/0/x001/x234/067`, or `tile/0/000.p/3` while it is partial.
    pub fn path(&self) -> String {
        format!("tile/{}/{}", self.level, self.place())
    }

    /// Where the entries are whose hashes are in this tile of level 0: `tile/entries/x001/x234/067`.
    pub fn entries_path(&self) -> String {
        format!("tile/entries/{}", self.place())
    }

    fn place(&self) -> String {
        let mut place = format!("{:03}", self.index % NUMBER_BASE);
        let mut rest = self.index / NUMBER_BASE;
        while rest > 0 {
            place = format!("x{:03}/{place}", rest % NUMBER_BASE);
            rest /= NUMBER_BASE;
        }
        if self.width < FULL_WIDTH {
            place.push_str(&format!(".p/{}", self.width));
        }
        place
    }
}

/// The tiles that are new, or wider, when a tree grows from `old` to `new` leaves: what has to be written before its
/// checkpoint is. Those of level 0 first; each of them has a bundle of entries beside it. None if it does not grow.
pub fn grown(old: u64, new: u64) -> impl Iterator<Item = TileId> {
    LEVELS.flat_map(move |level| {
        let (before, after) = (old >> (level * HEIGHT), new >> (level * HEIGHT));
        let width = u64::from(FULL_WIDTH);
        let indices = if before < after { before / width..after.div_ceil(width) } else { 0..0 };
        indices.filter_map(move |index| TileId::new(level, index, new))
    })
}

/// Tiles that were fetched. Their bytes are not trusted.
#[derive(Debug, Clone, Default)]
pub struct Tiles {
    hashes: BTreeMap<(u32, u64), Vec<Hash>>,
}

impl Tiles {
    /// Takes a tile of exactly as many hashes as its name says, in place of another with the same level and number.
    pub fn insert(&mut self, id: TileId, bytes: &[u8]) -> Result<(), TileError> {
        if bytes.len() != id.byte_len() {
            return Err(TileError::Length { path: id.path(), found: bytes.len(), expected: id.byte_len() });
        }
        let (hashes, _) = bytes.as_chunks::<HASH_LEN>();
        let hashes = hashes.iter().copied().map(Hash::from_bytes).collect();
        self.hashes.insert((id.level, id.index), hashes);
        Ok(())
    }

    /// Whether this tile is here, or a wider one in its place.
    pub fn has(&self, id: TileId) -> bool {
        self.tile(id).is_ok()
    }

    /// Drops all tiles but these, however wide.
    pub fn keep(&mut self, ids: &BTreeSet<TileId>) {
        let places: BTreeSet<_> = ids.iter().map(|id| (id.level, id.index)).collect();
        self.hashes.retain(|place, _| places.contains(place));
    }

    /// The hash of the leaf of this number in a tree of `size` leaves. It is as little trusted as its tile.
    pub fn leaf(&self, index: u64, size: u64) -> Result<Hash, TileError> {
        self.subtree(Subtree { height: 0, index }, size)
    }

    /// The first hashes of a tile, as many as it is wide. A wider tile will do.
    pub(super) fn tile(&self, id: TileId) -> Result<&[Hash], TileError> {
        let held = self.hashes.get(&(id.level, id.index));
        held.and_then(|held| held.get(..usize::from(id.width)))
            .ok_or_else(|| TileError::Missing { path: id.path() })
    }

    /// The hash of a complete subtree of a tree of `size` leaves.
    pub(super) fn subtree(&self, subtree: Subtree, size: u64) -> Result<Hash, TileError> {
        let none = || TileError::TooLarge { size };
        let id = TileId::holding(subtree, size).ok_or_else(none)?;
        let below = subtree.height % HEIGHT;
        let first = (subtree.index << below) % u64::from(FULL_WIDTH);
        let first = usize::try_from(first).map_err(|_| none())?;
        self.tile(id)?.get(first..first + (1 << below)).map(root_of).ok_or_else(none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn id(level: u32, index: u64, size: u64) -> TileId {
        TileId::new(level, index, size).unwrap()
    }

    #[test]
    fn paths_are_those_of_the_text() {
        assert_eq!(id(0, 1_234_067, 1 << 40).path(), "tile/0/x001/x234/067");
        assert_eq!(id(0, 1_234_067, 1 << 40).entries_path(), "tile/entries/x001/x234/067");
        assert_eq!(id(0, 273, 70_000).path(), "tile/0/273.p/112");
        assert_eq!(id(0, 273, 70_000).entries_path(), "tile/entries/273.p/112");
        assert_eq!(id(2, 0, 70_000).full().path(), "tile/2/000");
    }

    #[test]
    fn a_tree_of_70_000_has_the_tiles_that_the_text_counts() {
        let tiles: Vec<_> = grown(0, 70_000).collect();
        let count = |level, full| {
            tiles.iter().filter(|id| id.level == level && (id.width == FULL_WIDTH) == full).count()
        };
        assert_eq!([count(0, true), count(0, false), count(1, true), count(1, false)], [273, 1, 1, 1]);
        assert_eq!(
            tiles[274..].iter().map(TileId::path).collect::<Vec<_>>(),
            ["tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"]
        );
        let paths: Vec<_> = grown(0, 256).map(|id| id.path()).collect();
        assert_eq!(paths, ["tile/0/000", "tile/1/000.p/1"]);
    }

    #[test]
    fn a_tree_that_does_not_grow_writes_nothing() {
        assert_eq!(grown(0, 0).count() + grown(256, 256).count() + grown(7, 6).count(), 0);
    }

    #[test]
    fn tiles_that_no_tree_has_have_no_name() {
        for (level, index, size) in
            [(0, 0, 0), (0, 1, 256), (1, 0, 255), (8, 0, u64::MAX), (u32::MAX, 0, 9), (0, u64::MAX, 9)]
        {
            assert_eq!(TileId::new(level, index, size), None, "{level} {index} {size}");
        }
        assert_eq!(id(7, 0, u64::MAX).width, 255);
    }

    #[test]
    fn a_tile_of_another_length_is_refused() {
        let id = id(0, 0, 2);
        for found in [0, 32, 63, 65, 8_192] {
            let refused = Tiles::default().insert(id, &vec![0; found]).unwrap_err();
            assert_eq!(refused, TileError::Length { path: "tile/0/000.p/2".into(), found, expected: 64 });
        }
    }

    #[test]
    fn a_full_tile_serves_for_a_partial_one_and_not_the_other_way_round() {
        let (narrow, wide) = (id(0, 0, 2), id(0, 0, 256));
        let mut tiles = Tiles::default();
        tiles.insert(narrow, &[1; 64]).unwrap();
        assert_eq!(tiles.tile(wide).unwrap_err(), TileError::Missing { path: "tile/0/000".into() });
        tiles.insert(wide, &[2; 8_192]).unwrap();
        assert_eq!(tiles.tile(narrow).unwrap(), [Hash::from_bytes([2; 32]); 2]);
    }

    proptest! {
        #[test]
        fn growth_in_two_steps_ends_with_the_tiles_of_growth_in_one(sizes: [u32; 2], more: u16) {
            let mut sizes = sizes.map(|size| u64::from(size >> 12));
            sizes.sort_unstable();
            let [one, two] = sizes;
            let new = two + u64::from(more);
            let full = grown(one, two).filter(|id| id.width == FULL_WIDTH);
            let in_two: BTreeSet<_> = full.chain(grown(two, new)).collect();
            let stayed = grown(one, two).filter(|id| TileId::last_partial(id.level, new) == Some(*id));
            let in_one: BTreeSet<_> = grown(one, new).collect();
            prop_assert_eq!(in_two.into_iter().chain(stayed).collect::<BTreeSet<_>>(), in_one);
        }
    }
}
