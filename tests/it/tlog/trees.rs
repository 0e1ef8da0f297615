//! Roots, tiles and proofs, against `ct-merkle` and `tlog_tiles`. Each makes proofs that the other checks.

#![expect(clippy::unwrap_used, reason = "a proof that cannot be made fails the test")]

use std::cell::RefCell;

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
use proptest::prelude::*;
use sha2::Sha256;
use tlog_tiles::tlog::{self as tiled, HashReader};
use wheelseal::tlog::edge::Edge;
use wheelseal::tlog::merkle::{Hash, Tree};
use wheelseal::tlog::proof::{check_consistency, check_inclusion};
use wheelseal::tlog::recipe::Recipe;
use wheelseal::tlog::tile::{Tiles, grown};

/// Sizes around which tiles fill and levels begin.
const EDGES: [u64; 11] = [1, 2, 3, 254, 255, 256, 257, 511, 65_535, 65_536, 65_537];

/// One tree that grows, as three programs see it.
struct Trees {
    edge: Edge,
    tree: Tree,
    tiles: Tiles,
    merkle: MemoryBackedTree<Sha256, Vec<u8>>,
    stored: Stored,
}

/// What a tree was once.
#[derive(Clone)]
struct Older {
    size: u64,
    root: Hash,
    merkle: RootHash<Sha256>,
}

/// The hashes of `tlog_tiles`, by its own numbers.
#[derive(Default)]
struct Stored(RefCell<Vec<tiled::Hash>>);

impl HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tiled::Hash>, tiled::Error> {
        let stored = self.0.borrow();
        Ok(indexes.iter().map(|index| *stored.get(usize::try_from(*index).unwrap()).unwrap()).collect())
    }
}

impl Trees {
    fn empty() -> Self {
        Self {
            edge: Edge::default(),
            tree: Tree::default(),
            tiles: Tiles::default(),
            merkle: MemoryBackedTree::new(),
            stored: Stored::default(),
        }
    }

    /// Appends up to this size. What it is then.
    fn grow(&mut self, size: u64) -> Older {
        for number in self.tree.size()..size {
            let entry = entry(number);
            self.tree.push(Hash::leaf(&entry));
            for (id, bytes) in self.edge.push(Hash::leaf(&entry)) {
                self.tiles.insert(id, &bytes).unwrap();
            }
            let hashes = tiled::stored_hashes(number, &entry, &self.stored).unwrap();
            self.stored.0.borrow_mut().extend(hashes);
            self.merkle.push(entry);
        }
        for (id, bytes) in self.edge.partials() {
            self.tiles.insert(id, &bytes).unwrap();
        }
        Older { size, root: self.tree.root(), merkle: self.merkle.root() }
    }

    fn hashes(&self, recipe: &Recipe) -> Vec<Hash> {
        recipe.hashes(&self.tiles).unwrap()
    }

    /// Everybody has the same root, and the tree can be taken up again from its tiles.
    fn agree_on_root(&self, now: &Older) {
        assert_eq!(self.edge.root(), now.root);
        assert_eq!(tiled::tree_hash(now.size, &self.stored).unwrap(), foreign(&now.root));
        assert_eq!(now.merkle.as_bytes().as_slice(), now.root.as_bytes());
        let complete = self.hashes(&Recipe::subtrees(now.size).unwrap());
        assert_eq!(Tree::resume(now.size, complete).unwrap(), self.tree);
        assert_eq!(Edge::resume(now.size, &self.tiles).unwrap(), self.edge);
    }

    /// Everybody's proof that a leaf is in the tree is the same, and everybody takes it.
    fn agree_on_inclusion(&self, now: &Older, index: u64) {
        let ours = self.hashes(&Recipe::inclusion(index, now.size).unwrap());
        check_inclusion(&Hash::leaf(&entry(index)), index, now.size, &ours, &now.root).unwrap();
        let theirs = tiled::prove_record(now.size, index, &self.stored).unwrap();
        assert_eq!(theirs, ours.iter().map(foreign).collect::<Vec<_>>());
        let leaf = tiled::record_hash(&entry(index));
        tiled::check_record(&theirs, now.size, foreign(&now.root), index, leaf).unwrap();
        let theirs = self.merkle.prove_inclusion(usize::try_from(index).unwrap());
        assert_eq!(theirs.as_bytes(), bytes(&ours));
        let proof = InclusionProof::try_from_bytes(bytes(&ours)).unwrap();
        now.merkle.verify_inclusion(&entry(index), index, &proof).unwrap();
    }

    /// The same for the proof that the tree only grew.
    fn agree_on_consistency(&self, now: &Older, older: &Older) {
        let ours = self.hashes(&Recipe::consistency(older.size, now.size).unwrap());
        check_consistency(older.size, now.size, &ours, &older.root, &now.root).unwrap();
        let theirs = tiled::prove_tree(now.size, older.size, &self.stored).unwrap();
        assert_eq!(theirs, ours.iter().map(foreign).collect::<Vec<_>>());
        tiled::check_tree(&theirs, now.size, foreign(&now.root), older.size, foreign(&older.root)).unwrap();
        if older.size < now.size {
            let added = usize::try_from(now.size - older.size).unwrap();
            assert_eq!(self.merkle.prove_consistency(added).as_bytes(), bytes(&ours));
            let proof = ConsistencyProof::try_from_bytes(bytes(&ours)).unwrap();
            now.merkle.verify_consistency(&older.merkle, &proof).unwrap();
        }
    }
}

/// A tree that grows through these sizes: root, and proofs from and for each size before, are everybody's.
fn agree_at(sizes: impl IntoIterator<Item = u64>) {
    let (mut trees, mut passed) = (Trees::empty(), Vec::new());
    for size in sizes {
        let now = trees.grow(size);
        trees.agree_on_root(&now);
        passed.push(now.clone());
        for older in &passed {
            trees.agree_on_inclusion(&now, older.size - 1);
            trees.agree_on_consistency(&now, older);
        }
    }
}

fn entry(number: u64) -> Vec<u8> {
    format!("entry {number}").into_bytes()
}

fn foreign(hash: &Hash) -> tiled::Hash {
    tiled::Hash(*hash.as_bytes())
}

fn bytes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

#[test]
fn the_empty_tree_is_that_of_the_others() {
    let mut trees = Trees::empty();
    let now = trees.grow(0);
    trees.agree_on_root(&now);
}

#[test]
fn roots_and_proofs_where_tiles_fill_are_those_of_the_others() {
    agree_at(EDGES);
}

#[test]
fn every_root_and_proof_in_small_trees_is_that_of_the_others() {
    agree_at(1..=40);
}

#[test]
fn growth_writes_the_tiles_that_tlog_tiles_names() {
    let mut sizes = EDGES.to_vec();
    sizes.extend([0, 70_000, 16_777_215, 16_777_216, 16_777_217]);
    for old in &sizes {
        for new in sizes.iter().filter(|new| old <= new && **new - old < 100_000) {
            let ours: Vec<_> =
                grown(*old, *new).map(|id| (id.level(), id.index(), u32::from(id.width()))).collect();
            let theirs = tlog_tiles::tile::Tile::new_tiles(8, *old, *new);
            let theirs: Vec<_> = theirs
                .iter()
                .map(|tile| (u32::from(tile.level()), tile.level_index(), tile.width()))
                .collect();
            assert_eq!(ours, theirs, "{old} to {new}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn roots_and_proofs_of_any_tree_are_those_of_the_others(sizes: [u16; 4]) {
        let mut sizes = sizes.map(|size| u64::from(size % 1_500) + 1);
        sizes.sort_unstable();
        agree_at(sizes);
    }
}
