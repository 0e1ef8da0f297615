//! Which hashes a proof is made of, in which order, and in which tiles they lie (RFC 6962, sections 2.1.1 and 2.1.2).
//!
//! Nothing is fetched here. A recipe says which tiles it wants; whoever calls fetches them as it likes, and hands them
//! back: [`Recipe::tiles`], [`Tiles::insert`], [`Recipe::hashes`].

use std::collections::BTreeSet;

use thiserror::Error;

use super::merkle::{Hash, MAX_SIZE, fold};
use super::tile::{TileError, TileId, Tiles};

/// Leaves of one proof for many, at most: more than a lock file has lines, and 1,048,576 hashes of 32 bytes at the worst.
pub const MAX_LEAVES: usize = 16_384;

/// Why there is no such proof.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecipeError {
    /// The tree has no leaf of this number.
    #[error("leaf {index} of a tree of {size} leaves")]
    NoSuchLeaf {
        /// Number of the leaf, from 0.
        index: u64,
        /// Leaves of the tree.
        size: u64,
    },
    /// A tree does not shrink.
    #[error("a tree of {new} leaves does not continue one of {old}")]
    Shrinks {
        /// Leaves before.
        old: u64,
        /// Leaves after.
        new: u64,
    },
    /// More than [`MAX_SIZE`].
    #[error("a tree of {size} leaves, at most {MAX_SIZE} are possible")]
    TooLarge {
        /// Leaves of the tree.
        size: u64,
    },
    /// Leaves of a proof for many that are none, too many, or not in rising order.
    #[error("the numbers of {found} leaves, expected 1 to {MAX_LEAVES} in rising order")]
    Leaves {
        /// Numbers given.
        found: usize,
    },
}

/// The hashes of a proof, by where they lie in a tree of one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    size: u64,
    ranges: Vec<Range>,
}

impl Recipe {
    /// PATH(index, D[size]): the proof that a leaf is in a tree, from its sibling up to the children of the root.
    pub fn inclusion(index: u64, size: u64) -> Result<Self, RecipeError> {
        check_index(index, size)?;
        let mut range = Range::whole(size);
        let mut ranges = Vec::new();
        while range.len() > 1 {
            let (left, right) = range.halves();
            let (down, beside) = if index < right.start { (left, right) } else { (right, left) };
            ranges.push(beside);
            range = down;
        }
        ranges.reverse();
        Ok(Self { size, ranges })
    }

    /// PROOF(old, D[new]): that a tree only grew. Empty if it did not, or if it was empty before.
    pub fn consistency(old: u64, new: u64) -> Result<Self, RecipeError> {
        check_growth(old, new)?;
        let mut ranges = Vec::new();
        let (mut range, mut known) = (Range::whole(new), true);
        while old > 0 && old < range.end {
            let (left, right) = range.halves();
            if old <= right.start {
                ranges.push(right);
                range = left;
            } else {
                ranges.push(left);
                (range, known) = (right, false);
            }
        }
        if !known {
            ranges.push(range);
        }
        ranges.reverse();
        Ok(Self { size: new, ranges })
    }

    /// One proof for many leaves of a tree: from left to right, the hash of each largest subtree that has none of
    /// them. `indices` rise. What their separate proofs have in common is in it once, or can be computed and is not.
    pub fn many(indices: &[u64], size: u64) -> Result<Self, RecipeError> {
        let rises = indices.array_windows().all(|[one, next]| one < next);
        if !rises || indices.len() > MAX_LEAVES {
            return Err(RecipeError::Leaves { found: indices.len() });
        }
        check_index(*indices.last().ok_or(RecipeError::Leaves { found: 0 })?, size)?;
        let mut ranges = Vec::new();
        gaps(Range::whole(size), indices, &mut ranges);
        Ok(Self { size, ranges })
    }

    /// The complete subtrees of a tree, from left to right: what [`Tree::resume`](super::merkle::Tree::resume) wants.
    pub fn subtrees(size: u64) -> Result<Self, RecipeError> {
        check_size(size)?;
        let whole = Range { start: 0, end: size };
        let ranges = whole.subtrees().map(Subtree::range).collect();
        Ok(Self { size, ranges })
    }

    /// The tiles in which the hashes lie, each once.
    pub fn tiles(&self) -> BTreeSet<TileId> {
        let subtrees = self.ranges.iter().flat_map(|range| range.subtrees());
        subtrees.filter_map(|subtree| TileId::holding(subtree, self.size)).collect()
    }

    /// The hashes, out of tiles. Tiles are not trusted, so neither are these.
    pub fn hashes(&self, tiles: &Tiles) -> Result<Vec<Hash>, TileError> {
        self.ranges.iter().map(|range| range.hash(self.size, tiles)).collect()
    }

    /// The leaves that each hash is over, by number, in the order of the hashes.
    pub fn ranges(&self) -> impl Iterator<Item = std::ops::Range<u64>> {
        self.ranges.iter().map(|range| range.start..range.end)
    }

    /// Number of hashes.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether there are no hashes: a proof in a tree of one leaf, or from a tree to itself.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

/// Whether a tree of `size` leaves has one of this number.
pub(super) fn check_index(index: u64, size: u64) -> Result<(), RecipeError> {
    check_size(size)?;
    if index < size { Ok(()) } else { Err(RecipeError::NoSuchLeaf { index, size }) }
}

/// Whether a tree can have grown so.
pub(super) fn check_growth(old: u64, new: u64) -> Result<(), RecipeError> {
    check_size(new)?;
    if old <= new { Ok(()) } else { Err(RecipeError::Shrinks { old, new }) }
}

fn check_size(size: u64) -> Result<(), RecipeError> {
    if size <= MAX_SIZE { Ok(()) } else { Err(RecipeError::TooLarge { size }) }
}

/// Goes down where leaves are wanted; at most 63 levels deep.
fn gaps(range: Range, wanted: &[u64], found: &mut Vec<Range>) {
    if wanted.is_empty() {
        found.push(range);
    } else if range.len() > 1 {
        let (left, right) = range.halves();
        let (in_left, in_right) = wanted.split_at(wanted.partition_point(|index| *index < right.start));
        gaps(left, in_left, found);
        gaps(right, in_right, found);
    }
}

/// Leaves that RFC 6962 hashes together: D[start:end]. Not empty where it is halved; `start` is a multiple of every
/// power of two up to its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    /// Number of the first leaf.
    pub(super) start: u64,
    /// Number after the last leaf.
    pub(super) end: u64,
}

impl Range {
    /// All leaves of a tree.
    pub(super) fn whole(size: u64) -> Self {
        Self { start: 0, end: size }
    }

    /// Number of leaves.
    pub(super) fn len(self) -> u64 {
        self.end - self.start
    }

    /// Left and right of the largest power of two below the length, which is 2 or more.
    pub(super) fn halves(self) -> (Self, Self) {
        let middle = self.start + (1 << self.len().saturating_sub(1).max(1).ilog2());
        (Self { start: self.start, end: middle }, Self { start: middle, end: self.end })
    }

    /// Its complete subtrees, from left to right.
    fn subtrees(self) -> impl Iterator<Item = Subtree> {
        let mut start = self.start;
        std::iter::from_fn(move || {
            let height = (self.end - start).checked_ilog2()?;
            let subtree = Subtree { height, index: start >> height };
            start += 1 << height;
            Some(subtree)
        })
    }

    fn hash(self, size: u64, tiles: &Tiles) -> Result<Hash, TileError> {
        let complete: Result<Vec<_>, _> =
            self.subtrees().map(|subtree| tiles.subtree(subtree, size)).collect();
        Ok(fold(&complete?).unwrap_or_else(Hash::empty_root))
    }
}

/// A complete subtree: the leaves from `index << height` to `(index + 1) << height`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subtree {
    /// Levels below its top; at most 62.
    pub(super) height: u32,
    /// Its number among those of this height, from 0.
    pub(super) index: u64,
}

impl Subtree {
    fn range(self) -> Range {
        let start = self.index << self.height;
        Range { start, end: start + (1 << self.height) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(recipe: &Recipe) -> Vec<String> {
        recipe.tiles().iter().map(TileId::path).collect()
    }

    #[test]
    fn a_proof_in_a_log_of_17_million_leaves_lies_in_six_tiles() {
        let recipe = Recipe::inclusion(8_500_000, 17_000_000).unwrap();
        assert_eq!(recipe.len(), 25);
        assert_eq!(
            paths(&recipe),
            [
                "tile/0/x033/203",
                "tile/0/x066/406.p/64",
                "tile/1/129",
                "tile/1/259.p/102",
                "tile/2/000",
                "tile/2/001.p/3",
            ]
        );
    }

    #[test]
    fn a_proof_that_a_log_grew_by_little_lies_at_its_edge() {
        let recipe = Recipe::consistency(16_999_990, 17_000_000).unwrap();
        let edge = ["tile/0/x066/406.p/64", "tile/1/259.p/102", "tile/2/001.p/3", "tile/3/000.p/1"];
        assert_eq!(paths(&recipe), edge);
    }

    #[test]
    fn proofs_in_the_largest_tree_have_a_hash_for_each_level_and_one_more() {
        for index in [0, MAX_SIZE / 2, MAX_SIZE - 1] {
            assert!(Recipe::inclusion(index, MAX_SIZE).unwrap().len() <= 63);
        }
        for old in [1, 3, MAX_SIZE / 2, MAX_SIZE - 1] {
            assert!(Recipe::consistency(old, MAX_SIZE).unwrap().len() <= 64);
        }
        assert_eq!(Recipe::subtrees(MAX_SIZE).unwrap().len(), 63);
    }

    #[test]
    fn leaves_side_by_side_share_their_tiles() {
        let recipe = Recipe::many(&[0, 1, 2, 255], 256).unwrap();
        assert_eq!(paths(&recipe), ["tile/0/000"]);
    }
}
