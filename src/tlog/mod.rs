//! Transparency logs, by the texts of C2SP. Pure: it is told bytes, times and limits; nothing is fetched or signed here.
//!
//! | file | text | room |
//! |---|---|---|
//! | `merkle` | RFC 6962, 2.1 | hashes of leaves and nodes; the root of a tree that grows |
//! | `recipe` | RFC 6962, 2.1.1 and 2.1.2 | which hashes a proof is made of, and in which tiles they lie |
//! | `proof` | the same | proofs checked, for one leaf, for many, between two sizes |
//! | `tile` | tlog-tiles | names and content of tiles; hashes out of tiles |
//! | `edge` | tlog-tiles | the right edge of a log's tree, which writes tiles as it grows |
//! | `bundle` | tlog-tiles | entries, 256 to a file |
//!
//! Trust runs one way. What comes out of tiles is not trusted: a proof made of it counts once it was checked against a
//! root, and a root counts once it was signed.
//!
//! # A proof, step by step
//!
//! ```
//! # use std::collections::HashMap;
//! # use wheelseal::tlog::{edge::Edge, merkle::Hash, proof, recipe::Recipe, tile::Tiles};
//! let entries = ["first", "second", "third"];
//! let mut edge = Edge::default();
//! entries.iter().for_each(|entry| assert!(edge.push(Hash::leaf(entry.as_bytes())).is_empty()));
//!
//! let recipe = Recipe::inclusion(1, edge.size()).unwrap();
//! let files: HashMap<_, _> = edge.partials().into_iter().map(|(id, bytes)| (id.path(), bytes)).collect();
//! let mut tiles = Tiles::default();
//! for id in recipe.tiles() {
//!     tiles.insert(id, &files[&id.path()]).unwrap(); // tile/0/000.p/3
//! }
//! let hashes = recipe.hashes(&tiles).unwrap();
//! proof::check_inclusion(&Hash::leaf(b"second"), 1, edge.size(), &hashes, &edge.root()).unwrap();
//! ```

pub mod bundle;
pub mod edge;
pub mod merkle;
pub mod proof;
pub mod recipe;
pub mod tile;

#[cfg(test)]
mod naive_tests;
