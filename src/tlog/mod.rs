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
//! | `leaf` | none | what wheelseal's logs have as entries |
//! | `key` | signed-note v1.0.0 | names, ids, verifier keys; the keys that are known somewhere |
//! | `note` | signed-note v1.0.0 | a text with signatures → a text that known keys signed |
//! | `checkpoint` | tlog-checkpoint v1.0.0 | how large a log is, and what its root is |
//! | `cosignature` | tlog-cosignature v1.0.1 | what witnesses sign |
//! | `policy` | tlog-policy | which log and which witnesses are enough |
//! | `proof_file` | tlog-proof@v1 | all that an offline check needs, in one file |
//! | `evidence` | none | contradictions of logs, for a third person to check |
//! | `witness` | tlog-witness v1.0.0 | requests, answers, and what a witness decides |
//!
//! Trust runs one way. What comes out of tiles is not trusted: a proof made of it counts once it was checked against a
//! root, and a root counts once a [`policy::Policy`] accepted the checkpoint it stands in. Signatures are made elsewhere, over
//! messages from here, and verified before they are put under anything.
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
pub mod checkpoint;
pub mod cosignature;
pub mod edge;
pub mod evidence;
pub mod key;
pub mod leaf;
pub mod merkle;
pub mod note;
pub mod policy;
pub mod proof;
pub mod proof_file;
pub mod recipe;
pub mod tile;
pub mod witness;

mod text;

#[cfg(test)]
mod naive_tests;
#[cfg(test)]
mod scene_tests;
