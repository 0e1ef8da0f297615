//! wheelseal seals a Python package repository: it signs TUF metadata for it (PEP 458), and checks what is
//! downloaded from it, end to end.
//!
//! # The map
//!
//! Folders are specifications, pure code that is told time, bytes and limits; what stands beside them are jobs, with
//! effects. `tests/it/architecture.rs` holds the code to this table.
//!
//! | room | what | may use |
//! |---|---|---|
//! | [`crypto`] | digests, signatures, keys; the only file that signs or verifies | nothing |
//! | [`tuf`] | The Update Framework (pure) | `crypto` |
//! | [`tlog`] | transparency logs by the texts of C2SP (pure) | `crypto python` |
//! | [`release_claim`] | what maintainers say of a release before the index has it (pure) | `crypto python tlog tuf` |
//! | [`coding`] | gzip, zstd, deltas (pure) | `crypto` |
//! | [`python`] | names, archives, pages (pure) | nothing |
//! | [`store`] | where files lie; one conditional write | `crypto` |
//! | `spill` | sorting more records than fit in memory | nothing |
//! | [`log`] | the transparency log in a store | `crypto spill store tlog` |
//! | [`keys`] | signing keys by URI | `crypto tuf` |
//! | [`client`] | drives `tuf` over a server and a folder | `coding crypto store tlog tuf` |
//! | [`repository`] | plan → sign → commit | `coding crypto keys log python spill store tlog tuf` |
//! | [`claim_desk`] | takes claims of releases, has them logged, gives receipts | `client crypto python release_claim repository store tlog tuf` |
//! | [`crawl`] | another index, read into a list or followed | `client python` |
//! | [`journal`] | what `serve` writes down, and how it goes again | `crypto python` |
//! | [`server`] | the repository over HTTP | `claim_desk coding crypto journal python release_claim repository store web` |
//! | [`proxy`] | verification between a tool and its index | `client crypto python tuf web` |
//! | [`environment`] | what is installed, held against wheels | `crypto python` |
//! | [`recorder`] | another index, recorded by its bytes | `claim_desk client crawl crypto log python release_claim repository store tlog tuf web` |
//! | [`monitor`] | watches a log for projects and keys | `client crypto log python store tlog tuf web` |
//! | [`sync`] | a verified index in a folder | `client python tuf` |
//! | [`witness`] | cosigns what logs sign, and collects cosignatures | `client crypto log store tlog web` |
//! | `web` | what everything that answers HTTP needs | `coding` |
//! | [`cli`] | what was typed → a call | all |
//!
//! # How data flows
//!
//! Publishing: a wheel → [`repository::read_distribution`] (is it what its name says?) → a project's page and targets
//! → bins, snapshot, timestamp as [`tuf::signed::Draft`]s → signed by [`repository::Keyring`] → new files in a
//! [`store::Store`] → `timestamp.json` swapped: committed.
//!
//! Installing: [`client::Client::refresh`] → phases of [`tuf::trusted`] → [`client::Session::find`] walks
//! [`tuf::lookup`] → [`client::Session::download`], with the proof that it was logged → [`client::VerifiedFile`].
//!
//! # Who trusts whom
//!
//! A client trusts one `root.json` and nothing else: not the server, not its own cache, not the clock of anyone else.
//! A repository trusts its keys, and not the store it lies in: what is read back is verified first.
//! docs/trust.md says of each part what its capture would allow.

pub mod claim_desk;
pub mod cli;
pub mod client;
pub mod coding;
pub mod crawl;
pub mod crypto;
pub mod environment;
pub mod journal;
pub mod keys;
pub mod log;
pub mod monitor;
pub mod proxy;
pub mod python;
pub mod recorder;
pub mod release_claim;
pub mod repository;
pub mod server;
mod spill;
pub mod store;
pub mod sync;
pub mod tlog;
pub mod tuf;
mod web;
pub mod witness;
