//! wheelseal seals a Python package repository.
pub mod client;
pub mod crypto;
pub mod tuf;
pub mod python;
pub mod store;
