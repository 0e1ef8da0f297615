//! The Update Framework: specification 1.0, TAP 15 (succinct hashed bins), TAP 4 (map files). Pure: it is told time, bytes and limits.
//!
//! | file | room |
//! |---|---|
//! | `json` | canonical JSON and RFC 3339 times |
//! | `canonical` | received text that is in canonical form already, walked without a tree |
//! | `key` | public keys, key ids |
//! | `metadata` | the roles as values; root |
//! | `snapshot`, `targets`, `delegations`, `listed`, `hashes` | the other roles and their parts |
//! | `table` | 65,536 named values, compactly |
//! | `render` | content straight to canonical bytes |
//! | `signed` | `Signed<T>` → `Verified<T>`, `Draft<T>` for authors, the one threshold count |
//! | `renew` | the same content under another version and expiry date |
//! | `held` | `Held<T>`: what an author works on |
//! | `trusted` | the client workflow, one type per phase |
//! | `lookup` | which delegated role answers for a target |
//! | `map` | TAP 4: which repositories must agree on a target |
//!
//! Trust runs one way: bytes become a [`signed::Signed`], and only a delegator's keys and threshold
//! ([`signed::Authority`]) turn that into a [`signed::Verified`], whose content can be read.

pub mod delegations;
pub mod held;
pub mod json;
pub mod key;
pub mod lookup;
pub mod map;
pub mod metadata;
pub mod path;
pub mod render;
pub mod renew;
pub mod roster;
pub mod signed;
pub mod trusted;

mod canonical;
mod fields;
mod hashes;
mod listed;
mod log_head;
mod snapshot;
mod table;
mod targets;

pub use fields::ParseError;
