//! Proofs checked: a leaf is in a tree, many leaves are, a tree only grew.
//!
//! The checks take exactly the hashes of the [`Recipe`](super::recipe::Recipe) of the same name, in its order; one too
//! few or one too many is refused. What a proof leads to is compared with a root that the caller trusts.

use std::slice::Iter;

use thiserror::Error;

use super::merkle::Hash;
use super::recipe::{MAX_LEAVES, Range, Recipe, RecipeError, check_growth, check_index};

/// Why a proof does not prove.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProofError {
    /// There is no such leaf or growth, so no proof of it.
    #[error(transparent)]
    Impossible(#[from] RecipeError),
    /// Not as many hashes as a proof of this has.
    #[error("a proof of {found} hashes, which is too few or too many")]
    Length {
        /// Hashes found.
        found: usize,
    },
    /// The hashes lead to another root.
    #[error("the proof leads to the root {found}, expected {expected}")]
    Root {
        /// Where the proof leads.
        found: Hash,
        /// The root that is trusted.
        expected: Hash,
    },
    /// The hashes lead to another root of the tree before it grew.
    #[error("the proof leads back to the root {found}, expected {expected}")]
    OldRoot {
        /// Where the proof leads.
        found: Hash,
        /// The root of the smaller tree.
        expected: Hash,
    },
}

/// That the leaf of number `index` in the tree of `size` leaves with this root has the hash `leaf`
/// (RFC 9162, section 2.1.3.2, which checks the proofs of RFC 6962).
pub fn check_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    hashes: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    check_index(index, size)?;
    let length = ProofError::Length { found: hashes.len() };
    let (mut at, mut last, mut found) = (index, size - 1, *leaf);
    for hash in hashes {
        if last == 0 {
            return Err(length);
        }
        if at % 2 == 1 || at == last {
            found = Hash::node(hash, &found);
            (at, last) = past_left_edge(at, last);
        } else {
            found = Hash::node(&found, hash);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    if last > 0 { Err(length) } else { same_root(found, *root) }
}

/// One step of a proof on its way from a leaf to the root: for who wants to see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The hash that the proof gives.
    pub given: Hash,
    /// Whether it stands before the one that is known, and so is hashed first.
    pub before: bool,
    /// The leaves that it is the hash over, by number.
    pub covers: std::ops::Range<u64>,
    /// The hash over both.
    pub made: Hash,
}

/// The way of a proof from the leaf `index` up to the root of the tree of `size` leaves, which is what the last step made.
/// Whether that is the right root is for [`check_inclusion`] to say.
pub fn steps(leaf: &Hash, index: u64, size: u64, hashes: &[Hash]) -> Result<Vec<Step>, ProofError> {
    let recipe = Recipe::inclusion(index, size)?;
    if recipe.len() != hashes.len() {
        return Err(ProofError::Length { found: hashes.len() });
    }
    let mut known = *leaf;
    let step = |(covers, given): (std::ops::Range<u64>, &Hash)| {
        let before = covers.end <= index;
        known = if before { Hash::node(given, &known) } else { Hash::node(&known, given) };
        Step { given: *given, before, covers, made: known }
    };
    Ok(recipe.ranges().zip(hashes).map(step).collect())
}

/// That the tree of `new` leaves begins with the tree of `old` leaves (RFC 9162, section 2.1.4.2). The empty tree begins
/// every tree, by a proof of no hashes; its root is not looked at.
pub fn check_consistency(
    old: u64,
    new: u64,
    hashes: &[Hash],
    old_root: &Hash,
    new_root: &Hash,
) -> Result<(), ProofError> {
    check_growth(old, new)?;
    let length = ProofError::Length { found: hashes.len() };
    if old == 0 || old == new {
        return match hashes {
            [] if old == 0 => Ok(()),
            [] => same_root(*old_root, *new_root),
            _ => Err(length),
        };
    }
    let (start, path) = match hashes.split_first() {
        None => return Err(length),
        Some(_) if old.is_power_of_two() => (old_root, hashes),
        Some((first, rest)) => (first, rest),
    };
    let below = (old - 1).trailing_ones();
    let (mut at, mut last) = ((old - 1) >> below, (new - 1) >> below);
    let (mut found_old, mut found_new) = (*start, *start);
    for hash in path {
        if last == 0 {
            return Err(length);
        }
        if at % 2 == 1 || at == last {
            found_old = Hash::node(hash, &found_old);
            found_new = Hash::node(hash, &found_new);
            (at, last) = past_left_edge(at, last);
        } else {
            found_new = Hash::node(&found_new, hash);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    if last > 0 {
        return Err(length);
    }
    if found_old != *old_root {
        return Err(ProofError::OldRoot { found: found_old, expected: *old_root });
    }
    same_root(found_new, *new_root)
}

/// That the tree of `size` leaves with this root has all these leaves: number and hash of each, numbers rising. Hashes
/// are those of [`Recipe::many`](super::recipe::Recipe::many): each is used, and once.
pub fn check_many(leaves: &[(u64, Hash)], size: u64, hashes: &[Hash], root: &Hash) -> Result<(), ProofError> {
    let rises = leaves.array_windows().all(|[(one, _), (next, _)]| one < next);
    let count = RecipeError::Leaves { found: leaves.len() };
    if !rises || leaves.len() > MAX_LEAVES {
        return Err(count.into());
    }
    check_index(leaves.last().ok_or(count)?.0, size)?;
    let length = ProofError::Length { found: hashes.len() };
    let mut rest = hashes.iter();
    let found = root_with(Range::whole(size), leaves, &mut rest).ok_or_else(|| length.clone())?;
    if rest.next().is_some() { Err(length) } else { same_root(found, *root) }
}

/// The hash over a range, from the leaves that are known in it and the next hashes of the proof; at most 63 levels
/// deep. None if the proof ends early.
fn root_with(range: Range, leaves: &[(u64, Hash)], hashes: &mut Iter<'_, Hash>) -> Option<Hash> {
    match leaves {
        [] => hashes.next().copied(),
        [(_, leaf), ..] if range.len() == 1 => Some(*leaf),
        _ => {
            let (left, right) = range.halves();
            let in_left = leaves.partition_point(|(index, _)| *index < right.start);
            let (in_left, in_right) = leaves.split_at(in_left);
            let left = root_with(left, in_left, hashes)?;
            Some(Hash::node(&left, &root_with(right, in_right, hashes)?))
        }
    }
}

/// Where the right edge of the tree has no sibling, its node is the one above: up to where there is one again.
fn past_left_edge(at: u64, last: u64) -> (u64, u64) {
    let levels = if at == 0 { 0 } else { at.trailing_zeros() };
    (at >> levels, last >> levels)
}

fn same_root(found: Hash, expected: Hash) -> Result<(), ProofError> {
    if found == expected { Ok(()) } else { Err(ProofError::Root { found, expected }) }
}

#[cfg(test)]
mod tests {
    use super::super::naive_tests::{consistency, leaves, number, path, root, tiles_of};
    use super::super::recipe::Recipe;
    use super::super::tile::Tiles;
    use super::*;
    use proptest::prelude::*;

    /// Pairs of sizes and leaves around which trees change their shape.
    const EDGES: [usize; 10] = [1, 2, 3, 254, 255, 256, 257, 65_535, 65_536, 65_537];

    fn made(recipe: Result<Recipe, RecipeError>, tiles: &Tiles) -> Vec<Hash> {
        recipe.unwrap().hashes(tiles).unwrap()
    }

    fn inclusion(index: usize, size: usize, hashes: &[Hash], all: &[Hash]) -> Result<(), ProofError> {
        check_inclusion(&all[index], number(index), number(size), hashes, &root(&all[..size]))
    }

    fn growth(old: usize, new: usize, hashes: &[Hash], all: &[Hash]) -> Result<(), ProofError> {
        check_consistency(number(old), number(new), hashes, &root(&all[..old]), &root(&all[..new]))
    }

    fn many(indices: &[usize], size: usize, hashes: &[Hash], all: &[Hash]) -> Result<(), ProofError> {
        let leaves: Vec<_> = indices.iter().map(|index| (number(*index), all[*index])).collect();
        check_many(&leaves, number(size), hashes, &root(&all[..size]))
    }

    /// Every bit of every hash, once.
    fn flipped(hashes: &[Hash]) -> impl Iterator<Item = Vec<Hash>> {
        (0..hashes.len() * 256).map(|bit| {
            let mut changed = hashes.to_vec();
            let mut bytes = *changed[bit / 256].as_bytes();
            bytes[bit % 256 / 8] ^= 1 << (bit % 8);
            changed[bit / 256] = Hash::from_bytes(bytes);
            changed
        })
    }

    /// One hash less at either end, one more at either end.
    fn resized(hashes: &[Hash]) -> Vec<Vec<Hash>> {
        let more = [Hash::leaf(b"more")];
        let mut others = vec![[hashes, &more].concat(), [&more, hashes].concat()];
        if let ([_, tail @ ..], [head @ .., _]) = (hashes, hashes) {
            others.extend([tail.to_vec(), head.to_vec()]);
        }
        others
    }

    #[test]
    fn every_inclusion_proof_in_small_trees_is_that_of_the_definition_and_holds() {
        let all = leaves(40);
        for size in 1..=all.len() {
            let tiles = tiles_of(&all[..size]);
            for index in 0..size {
                let hashes = made(Recipe::inclusion(number(index), number(size)), &tiles);
                assert_eq!(hashes, path(index, &all[..size]), "{index} of {size}");
                inclusion(index, size, &hashes, &all).unwrap();
                let way = steps(&all[index], number(index), number(size), &hashes).unwrap();
                assert_eq!(way.last().map_or(all[index], |step| step.made), root(&all[..size]));
                for step in way {
                    let covered = usize::try_from(step.covers.start).unwrap()
                        ..usize::try_from(step.covers.end).unwrap();
                    assert_eq!(
                        (step.given, step.before),
                        (root(&all[covered.clone()]), covered.end <= index)
                    );
                }
            }
        }
    }

    #[test]
    fn every_consistency_proof_between_small_trees_is_that_of_the_definition_and_holds() {
        let all = leaves(40);
        for new in 1..=all.len() {
            let tiles = tiles_of(&all[..new]);
            for old in 1..=new {
                let hashes = made(Recipe::consistency(number(old), number(new)), &tiles);
                assert_eq!(hashes, consistency(old, &all[..new]), "{old} to {new}");
                growth(old, new, &hashes, &all).unwrap();
            }
        }
    }

    #[test]
    fn proofs_hold_where_tiles_fill() {
        let all = leaves(65_537);
        let roots = EDGES.map(|size| root(&all[..size]));
        for size in [255, 256, 257, 65_537] {
            let (new, tiles) = (&all[..size], tiles_of(&all[..size]));
            let (count, new_root) = (number(size), root(new));
            for (old, old_root) in EDGES.into_iter().zip(&roots).filter(|(old, _)| *old <= size) {
                let index = number(old - 1);
                let hashes = made(Recipe::inclusion(index, count), &tiles);
                assert_eq!(hashes, path(old - 1, new));
                check_inclusion(&all[old - 1], index, count, &hashes, &new_root).unwrap();
                let hashes = made(Recipe::consistency(number(old), count), &tiles);
                assert_eq!(hashes, consistency(old, new));
                check_consistency(number(old), count, &hashes, old_root, &new_root).unwrap();
            }
        }
    }

    #[test]
    fn an_inclusion_proof_with_any_bit_flipped_or_another_length_is_refused() {
        let all = leaves(300);
        let tiles = tiles_of(&all);
        for index in [0, 255, 256, 299] {
            let hashes = made(Recipe::inclusion(number(index), 300), &tiles);
            for changed in flipped(&hashes) {
                let refused = inclusion(index, 300, &changed, &all).unwrap_err();
                assert!(matches!(refused, ProofError::Root { .. }), "{refused}");
            }
            for changed in resized(&hashes) {
                let found = changed.len();
                assert_eq!(inclusion(index, 300, &changed, &all).unwrap_err(), ProofError::Length { found });
            }
        }
    }

    #[test]
    fn an_inclusion_proof_holds_for_no_other_leaf_number_or_size() {
        let all = leaves(257);
        let tiles = tiles_of(&all);
        let hashes = made(Recipe::inclusion(7, 257), &tiles);
        let root = root(&all);
        for index in (0..257).filter(|index| *index != 7) {
            assert!(check_inclusion(&all[7], index, 257, &hashes, &root).is_err(), "number {index}");
            let other = &all[usize::try_from(index).unwrap()];
            assert!(check_inclusion(other, 7, 257, &hashes, &root).is_err(), "leaf {index}");
        }
        for size in [8, 255, 256, 513, 1 << 62] {
            assert!(check_inclusion(&all[7], 7, size, &hashes, &root).is_err(), "size {size}");
        }
    }

    #[test]
    fn a_consistency_proof_with_any_bit_flipped_or_another_length_is_refused() {
        let all = leaves(300);
        let tiles = tiles_of(&all);
        for old in [1, 7, 128, 255, 256, 299] {
            let hashes = made(Recipe::consistency(number(old), 300), &tiles);
            for changed in flipped(&hashes) {
                let refused = growth(old, 300, &changed, &all).unwrap_err();
                assert!(matches!(refused, ProofError::Root { .. } | ProofError::OldRoot { .. }), "{refused}");
            }
            for changed in resized(&hashes) {
                assert!(growth(old, 300, &changed, &all).is_err(), "{old} with {} hashes", changed.len());
            }
        }
    }

    #[test]
    fn a_tree_that_was_rewritten_is_not_consistent() {
        let (all, mut forked) = (leaves(300), leaves(300));
        forked[3] = Hash::leaf(b"another");
        let hashes = made(Recipe::consistency(100, 300), &tiles_of(&forked));
        let (old, new) = (root(&all[..100]), root(&forked));
        let refused = check_consistency(100, 300, &hashes, &old, &new).unwrap_err();
        assert_eq!(refused, ProofError::OldRoot { found: root(&forked[..100]), expected: old });
    }

    #[test]
    fn a_tree_is_consistent_with_itself_and_with_nothing_by_no_hashes_alone() {
        let all = leaves(2);
        let (one, two) = (root(&all[..1]), root(&all));
        let more = [two];
        assert_eq!(check_consistency(2, 2, &[], &two, &two), Ok(()));
        assert_eq!(check_consistency(0, 2, &[], &one, &two), Ok(()));
        assert_eq!(check_consistency(2, 2, &more, &two, &two), Err(ProofError::Length { found: 1 }));
        assert_eq!(check_consistency(0, 2, &more, &one, &two), Err(ProofError::Length { found: 1 }));
        assert_eq!(check_consistency(1, 2, &[], &one, &two), Err(ProofError::Length { found: 0 }));
        let other = ProofError::Root { found: one, expected: two };
        assert_eq!(check_consistency(2, 2, &[], &one, &two), Err(other));
    }

    #[test]
    fn what_cannot_be_is_refused_before_anything_is_hashed() {
        let root = Hash::empty_root();
        let (index, size) = (5, 5);
        let beyond = ProofError::Impossible(RecipeError::NoSuchLeaf { index, size });
        assert_eq!(check_inclusion(&root, 5, 5, &[], &root), Err(beyond.clone()));
        assert_eq!(check_many(&[(5, root)], 5, &[], &root), Err(beyond));
        let shrinks = ProofError::Impossible(RecipeError::Shrinks { old: 2, new: 1 });
        assert_eq!(check_consistency(2, 1, &[], &root, &root), Err(shrinks));
        let size = u64::MAX;
        let large = ProofError::Impossible(RecipeError::TooLarge { size });
        assert_eq!(check_inclusion(&root, 5, size, &[], &root), Err(large.clone()));
        assert_eq!(check_consistency(2, size, &[], &root, &root), Err(large));
    }

    #[test]
    fn a_proof_for_many_needs_its_leaves_in_rising_order_and_bounded() {
        let leaf = Hash::leaf(b"");
        let refused = |found| Err(ProofError::Impossible(RecipeError::Leaves { found }));
        assert_eq!(check_many(&[], 2, &[leaf], &leaf), refused(0));
        assert_eq!(check_many(&[(1, leaf), (0, leaf)], 2, &[], &leaf), refused(2));
        assert_eq!(check_many(&[(1, leaf), (1, leaf)], 2, &[], &leaf), refused(2));
        let too_many: Vec<_> = (0..16_385).map(|index| (index, leaf)).collect();
        assert_eq!(check_many(&too_many, 1 << 20, &[], &leaf), refused(16_385));
        let indices: Vec<_> = (0..16_385).collect();
        assert_eq!(Recipe::many(&indices, 1 << 20), Err(RecipeError::Leaves { found: 16_385 }));
        assert_eq!(Recipe::many(&[], 1), Err(RecipeError::Leaves { found: 0 }));
        assert_eq!(Recipe::many(&[2, 1], 3), Err(RecipeError::Leaves { found: 2 }));
    }

    #[test]
    fn a_proof_for_many_has_each_hash_once_and_none_that_can_be_computed() {
        let all = leaves(8);
        let hashes = made(Recipe::many(&[2, 3, 5], 8), &tiles_of(&all));
        assert_eq!(hashes, [root(&all[..2]), all[4], root(&all[6..])]);
        many(&[2, 3, 5], 8, &hashes, &all).unwrap();
        assert_eq!(made(Recipe::many(&[0, 1, 2, 3, 4, 5, 6, 7], 8), &tiles_of(&all)), []);
    }

    #[test]
    fn a_proof_for_one_of_many_has_the_hashes_of_its_inclusion_proof() {
        let all = leaves(300);
        let tiles = tiles_of(&all);
        for index in [0, 17, 255, 256, 299] {
            let mut one = made(Recipe::inclusion(number(index), 300), &tiles);
            let mut many = made(Recipe::many(&[number(index)], 300), &tiles);
            one.sort();
            many.sort();
            assert_eq!(one, many);
        }
    }

    #[test]
    fn a_proof_for_many_with_any_bit_flipped_another_length_or_order_is_refused() {
        let all = leaves(300);
        let indices = [0, 1, 17, 200, 299];
        let recipe = Recipe::many(&indices.map(number), 300);
        let hashes = made(recipe, &tiles_of(&all));
        many(&indices, 300, &hashes, &all).unwrap();
        for changed in flipped(&hashes) {
            let refused = many(&indices, 300, &changed, &all).unwrap_err();
            assert!(matches!(refused, ProofError::Root { .. }), "{refused}");
        }
        for changed in resized(&hashes) {
            let found = changed.len();
            assert_eq!(many(&indices, 300, &changed, &all).unwrap_err(), ProofError::Length { found });
        }
        for swapped in 1..hashes.len() {
            let mut changed = hashes.clone();
            changed.swap(swapped - 1, swapped);
            assert!(many(&indices, 300, &changed, &all).is_err(), "{swapped}");
        }
        for other in [vec![0, 1, 17, 200], vec![0, 1, 17, 200, 298], vec![0, 1, 2, 17, 200, 299]] {
            assert!(many(&other, 300, &hashes, &all).is_err(), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn proofs_of_any_kind_made_from_tiles_hold(size in 1_usize..700, seeds: [usize; 6]) {
            let all = leaves(size);
            let tiles = tiles_of(&all);
            let mut indices: Vec<usize> = seeds.iter().map(|seed| seed % size).collect();
            indices.sort_unstable();
            indices.dedup();
            let numbers: Vec<u64> = indices.iter().map(|index| number(*index)).collect();
            let hashes = made(Recipe::many(&numbers, number(size)), &tiles);
            prop_assert_eq!(many(&indices, size, &hashes, &all), Ok(()));
            let hashes = made(Recipe::inclusion(numbers[0], number(size)), &tiles);
            prop_assert_eq!(inclusion(indices[0], size, &hashes, &all), Ok(()));
            let hashes = made(Recipe::consistency(numbers[0], number(size)), &tiles);
            prop_assert_eq!(growth(indices[0], size, &hashes, &all), Ok(()));
        }

        #[test]
        fn no_size_number_or_length_makes_a_check_panic(
            numbers: [u64; 3], count in 0_usize..70, seed: [u8; 32],
        ) {
            let hash = Hash::from_bytes(seed);
            let hashes = vec![hash; count];
            let [one, two, three] = numbers;
            let _ = check_inclusion(&hash, one, two, &hashes, &hash);
            let _ = check_consistency(one, two, &hashes, &hash, &hash);
            let _ = check_many(&[(one, hash), (two, hash)], three, &hashes, &hash);
            for recipe in [
                Recipe::inclusion(one, two),
                Recipe::consistency(one, two),
                Recipe::many(&[one, two], three),
                Recipe::subtrees(one),
            ].into_iter().flatten() {
                prop_assert!(recipe.tiles().len() <= 64 * 9);
                prop_assert!(recipe.is_empty() || recipe.hashes(&Tiles::default()).is_err());
            }
        }
    }
}
