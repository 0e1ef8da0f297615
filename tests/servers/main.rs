//! The store on real servers, and keys in real devices and services. `tests/servers/with cargo test --test servers` starts
//! them; without, these tests fail.
//!
//! | file | what |
//! |---|---|
//! | `setting` | which servers, and new stores on them |
//! | `real` | the contract on each |
//! | `proxy` | a server in front of the server, that misbehaves as told |
//! | `unsound` | servers that the probe must refuse |
//! | `faults` | answers lost, late, wrong or old |
//! | `google` | a stand-in for Google Cloud Storage, of which there is no usable emulator |
//! | `end_to_end` | the program, from `init` to a verified download |
//! | `token` | keys on tokens (SoftHSM) |
//! | `tough_aws` | keys in AWS by the key sources of tough, if that feature is built |
//! | `agent` | keys in an ssh agent (OpenSSH) |
//! | `program` | keys behind a program of one's own |
//! | `kms` | keys in the AWS key service (LocalStack) |

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a server that does not answer is a test that cannot run"
)]

mod agent;
mod end_to_end;
mod faults;
mod google;
mod kms;
mod program;
mod proxy;
mod real;
mod setting;
mod token;
#[cfg(feature = "tough-aws")]
mod tough_aws;
mod unsound;

#[path = "../../src/store/contract.rs"]
mod contract;
#[path = "../it/scene.rs"]
#[expect(dead_code, reason = "made for the tests of the repository, of which some parts serve here")]
mod scene;
#[path = "../it/shell.rs"]
#[expect(dead_code, reason = "made for the tests of the program, of which some parts serve here")]
mod shell;

// What the contract names by `super`.
use wheelseal::store::{Content, Order, Store, StoreError, StorePath, Swap, Tag};
