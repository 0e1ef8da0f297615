//! RFC 6962, section 2.1: hashes of leaves and nodes, and the root of a tree that only grows.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use crate::crypto::{Hasher, sha256};

/// Leaves of a tree, at most: what logs that count in signed 64-bit numbers can say.
pub const MAX_SIZE: u64 = (1 << 63) - 1;
/// Stands before the bytes of an entry when it is hashed.
const LEAF_PREFIX: u8 = 0;
/// Stands before two hashes when they become one.
const NODE_PREFIX: u8 = 1;
/// Characters of a hash in base64.
const BASE64_LEN: usize = 44;

/// A hash of a tree: 32 bytes of SHA-256. Text is standard base64 with padding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; 32]);

impl Hash {
    /// The hash of a leaf with these bytes.
    pub fn leaf(entry: &[u8]) -> Self {
        let mut hasher = Hasher::new(false);
        hasher.update(&[LEAF_PREFIX]);
        hasher.update(entry);
        Self(hasher.finish().sha256)
    }

    /// The hash of a node with these two below it.
    pub fn node(left: &Self, right: &Self) -> Self {
        let mut input = [NODE_PREFIX; 65];
        let (_, hashes) = input.split_at_mut(1);
        let (first, second) = hashes.split_at_mut(32);
        first.copy_from_slice(&left.0);
        second.copy_from_slice(&right.0);
        Self(sha256(&input))
    }

    /// The root of a tree without leaves: the hash of nothing.
    pub fn empty_root() -> Self {
        Self(sha256(b""))
    }

    /// A hash that was computed elsewhere.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads 44 characters of canonical base64; anything else is none.
    pub fn from_base64(text: &str) -> Option<Self> {
        if text.len() != BASE64_LEN {
            return None;
        }
        STANDARD.decode(text).ok()?.try_into().ok().map(Self)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Hashes that are not the left side of a tree of this size.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{found} hashes for a tree of {size} leaves, expected {expected}, and at most {MAX_SIZE} leaves")]
pub struct TreeError {
    /// Leaves of the tree.
    pub size: u64,
    /// Hashes given.
    pub found: usize,
    /// Hashes that such a tree has: one for each bit of its size.
    pub expected: u32,
}

/// A tree of which only the complete subtrees are kept, from left to right: at most 63 hashes, whatever its size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    complete: Vec<Hash>,
}

impl Tree {
    /// A tree that has grown before, of the hashes of its complete subtrees
    /// ([`Recipe::subtrees`](super::recipe::Recipe::subtrees)). They are not checked: compare [`Tree::root`] with a
    /// root that is trusted.
    pub fn resume(size: u64, complete: Vec<Hash>) -> Result<Self, TreeError> {
        let expected = size.count_ones();
        if size > MAX_SIZE || usize::try_from(expected) != Ok(complete.len()) {
            return Err(TreeError { size, found: complete.len(), expected });
        }
        Ok(Self { size, complete })
    }

    /// Leaves so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// One leaf more, by its hash. Nobody lives to see the counter overflow.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.complete.pop() {
                hash = Hash::node(&left, &hash);
            }
        }
        self.complete.push(hash);
        self.size += 1;
    }

    /// The root, MTH(D[n]).
    pub fn root(&self) -> Hash {
        fold(&self.complete).unwrap_or_else(Hash::empty_root)
    }

    /// The hashes of the complete subtrees, from left to right.
    pub(super) fn into_complete(self) -> Vec<Hash> {
        self.complete
    }
}

/// The hash of a subtree made of complete subtrees, from left to right. None for none.
pub(super) fn fold(complete: &[Hash]) -> Option<Hash> {
    complete.iter().rev().copied().reduce(|right, left| Hash::node(&left, &right))
}

/// The root over hashes of one level.
pub(super) fn root_of(hashes: &[Hash]) -> Hash {
    let mut tree = Tree::default();
    for hash in hashes {
        tree.push(*hash);
    }
    tree.root()
}

#[cfg(test)]
mod tests {
    use super::super::naive_tests::{SIZES, leaves, root};
    use super::*;

    #[test]
    fn the_empty_tree_hashes_to_sha_256_of_nothing() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hex::encode(Tree::default().root().as_bytes()), empty);
    }

    #[test]
    fn a_leaf_and_a_node_of_the_same_bytes_differ() {
        let (left, right) = (Hash::leaf(b"left"), Hash::leaf(b"right"));
        let both = [left.as_bytes().as_slice(), right.as_bytes()].concat();
        assert_ne!(Hash::leaf(&both), Hash::node(&left, &right));
        assert_eq!(Hash::leaf(&both).0, sha256(&[&[0], both.as_slice()].concat()));
        assert_eq!(Hash::node(&left, &right).0, sha256(&[&[1], both.as_slice()].concat()));
    }

    #[test]
    fn roots_are_those_of_the_recursive_definition() {
        let leaves = leaves(SIZES.into_iter().max().unwrap());
        for size in SIZES.into_iter().chain(0..70) {
            assert_eq!(root_of(&leaves[..size]), root(&leaves[..size]), "{size}");
        }
    }

    #[test]
    fn a_tree_resumed_grows_as_one_that_never_stopped() {
        let leaves = leaves(300);
        let mut tree = Tree::default();
        for leaf in &leaves {
            tree = Tree::resume(tree.size, tree.complete).unwrap();
            tree.push(*leaf);
        }
        assert_eq!((tree.size(), tree.root()), (300, root(&leaves)));
        assert!(tree.complete.len() == 4);
    }

    #[test]
    fn hashes_that_do_not_fit_the_size_are_refused() {
        let expected = TreeError { size: 3, found: 1, expected: 2 };
        assert_eq!(Tree::resume(3, leaves(1)).unwrap_err(), expected);
        assert_eq!(Tree::resume(1 << 63, leaves(1)).unwrap_err().size, 1 << 63);
    }

    #[test]
    fn base64_has_one_form() {
        let hash = Hash::leaf(b"");
        let text = hash.to_string();
        assert_eq!(text, "bjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0=");
        assert_eq!(Hash::from_base64(&text), Some(hash));
        let unpadded = text.trim_end_matches('=');
        for wrong in [unpadded, "", &text.replace("0=", "1="), &text.replace('+', "-"), &format!("{text}\n")]
        {
            assert_eq!(Hash::from_base64(wrong), None, "{wrong}");
        }
    }
}
