//! What repository admins type: making a repository and its keys, publishing, looking after it.

mod alarm;
mod bins;
mod ceremony;
mod claims;
mod import;
mod log;
mod publish;
mod recover;
mod role;
mod roles;
mod serve;
mod storage;
mod store;
mod stream;
mod token;
mod upkeep;

pub(super) use bins::Bins;
pub(super) use ceremony::{Ceremony, agreed};
pub(super) use claims::Claims;
pub(super) use import::Import;
pub(super) use log::LogInit;
pub(super) use publish::{Add, Remove, Yank};
pub(super) use recover::Recover;
pub(super) use role::Role;
pub(super) use roles::Init;
pub(super) use serve::Serve;
pub(super) use storage::{Backup, Fsck, Restore};
pub(super) use store::CheckStore;
pub(super) use token::Token;
pub(super) use upkeep::{Bump, Check, Compress, Diff, Gc, Status};
