//! After a theft or a loss: what differs from the last known good state, and back to it.
//!
//! | file | room |
//! |---|---|
//! | `good` | the last known good state: a backup, or an older snapshot |
//! | `row` | what one role says of one path, as a record (pure) |
//! | `compare` | both states held against each other, target by target |
//! | `restore` | what the bins list goes back to what it was |
//! | `reroot` | a new first root over the same content |
//! | `sandbox`, `attack` | a copy to rehearse on, and what is rehearsed against |
//! | `steps` | how far a recovery has come |
//!
//! ```text
//! good state ──┐ rows, sorted on disk
//! present  ────┴─▶ meet by path ─▶ differences
//! ```
//!
//! A backup is verified whole, from its first root on, and must be of this repository: its newest root is one of the
//! chain that leads to the present one. An older snapshot is read from the store, which the thief may have written to: of
//! its bins, which it lists by version alone, whoever has the online keys can have made others. So a backup from a place
//! that the thief could not reach comes first.

mod attack;
mod compare;
mod good;
mod reroot;
mod restore;
mod row;
mod sandbox;
mod steps;

pub use compare::{Compared, Counts, Differing, Keep, Tell};
pub use good::Good;
pub use reroot::FirstRoot;
pub use restore::{PutBack, Restoration};
pub use row::{Item, Said};
pub use sandbox::Sandbox;
pub use steps::Listed;
