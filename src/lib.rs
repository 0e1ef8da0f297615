//! wheelseal seals a Python package repository.
pub mod cli;
pub mod client;
pub mod crypto;
pub mod keys;
pub mod python;
pub mod repository;
pub mod store;
pub mod tuf;
