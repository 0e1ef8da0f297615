//! RFC 6962, section 2.1, as it is written there: recursive, over all leaves, slow. What the rest is held against.

use super::edge::Edge;
use super::merkle::Hash;
use super::tile::Tiles;

/// Sizes around which tiles fill and levels begin.
pub(super) const SIZES: [usize; 8] = [0, 1, 255, 256, 257, 65_535, 65_536, 65_537];

/// Hashes of leaves that all differ.
pub(super) fn leaves(count: usize) -> Vec<Hash> {
    (0..count).map(|number| Hash::leaf(format!("leaf {number}").as_bytes())).collect()
}

/// A count as the logs write it.
pub(super) fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap()
}

/// Every tile of a tree.
pub(super) fn tiles_of(leaves: &[Hash]) -> Tiles {
    let (mut edge, mut tiles) = (Edge::default(), Tiles::default());
    let full: Vec<_> = leaves.iter().flat_map(|leaf| edge.push(*leaf)).collect();
    for (id, bytes) in full.into_iter().chain(edge.partials()) {
        tiles.insert(id, &bytes).unwrap();
    }
    tiles
}

/// MTH(D[n]), over hashes of leaves.
pub(super) fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            Hash::node(&root(left), &root(right))
        }
    }
}

/// PATH(m, D[n]), section 2.1.1.
pub(super) fn path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let at = split(leaves.len());
    let (left, right) = leaves.split_at(at);
    let (mut hashes, last) =
        if index < at { (path(index, left), root(right)) } else { (path(index - at, right), root(left)) };
    hashes.push(last);
    hashes
}

/// PROOF(m, D[n]), section 2.1.2.
pub(super) fn consistency(old: usize, leaves: &[Hash]) -> Vec<Hash> {
    subproof(old, leaves, true)
}

fn subproof(old: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
    if old == leaves.len() {
        return if whole { Vec::new() } else { vec![root(leaves)] };
    }
    let at = split(leaves.len());
    let (left, right) = leaves.split_at(at);
    let (mut hashes, last) = if old <= at {
        (subproof(old, left, whole), root(right))
    } else {
        (subproof(old - at, right, false), root(left))
    };
    hashes.push(last);
    hashes
}

/// The largest power of two below `size`.
fn split(size: usize) -> usize {
    size.next_power_of_two() / 2
}
