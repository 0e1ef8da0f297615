//! Witnesses of transparency logs (c2sp.org/tlog-witness@v1.0.0): somebody other than the log, who remembers its latest
//! checkpoint and cosigns only what continues it. So a log that shows two trees must keep them from every witness.
//!
//! | file | what |
//! |---|---|
//! | `folder.rs` | what a witness keeps: its name, the logs it knows, the latest checkpoint of each |
//! | `judge.rs` | a request → what to answer; the one place that cosigns |
//! | `fork.rs` | what is kept of a log that signed two trees |
//! | `server.rs` | both over HTTP |
//! | `collector.rs`, `ask.rs` | the other side: cosignatures collected for a log |
//!
//! # One commit point
//!
//! ```text
//! read the latest checkpoint and its tag ─▶ tlog::witness::decide ─▶ cosign ─▶ swap ─▶ answer
//!            ▲                                                                  │
//!            └────────────── somebody else was faster: decide anew ◀────────────┘
//! ```
//!
//! The object that is swapped is the checkpoint with the cosignature under it. So a cosignature leaves this machine only
//! once it is what the witness remembers: a crash before the swap leaves a signature that nobody has seen, one after it
//! leaves a checkpoint that the log asks for again. Of two requests at once, one is swapped in, and the other is decided
//! anew against it. That is all the state there is.

mod ask;
mod collector;
mod folder;
mod fork;
mod judge;
mod server;

pub use collector::{Collector, Patience};
pub use folder::{Folder, FolderError, KnownLog, Latest, MAX_KEYS};
pub use fork::MAX_FORKS;
pub use judge::{Clock, Fault, Reply, Witness};
pub use server::{Limits, WitnessServer};
