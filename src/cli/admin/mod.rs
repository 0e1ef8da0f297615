//! What repository admins type: making a repository and its keys, publishing, looking after it.

mod publish;
mod roles;
mod serve;
mod storage;
mod stream;
mod upkeep;

pub(super) use publish::{Add, Remove, Yank};
pub(super) use roles::{Init, Role};
pub(super) use serve::Serve;
pub(super) use storage::{Backup, Fsck, Restore};
pub(super) use upkeep::{Bump, Check, Compress, Diff, Gc, Status};
