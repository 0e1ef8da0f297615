//! What is kept of a log that signed two trees of one size: both checkpoints, each with the log's signature, for anybody
//! to check. Nothing else proves a fork by itself. A checkpoint of another size that no proof leads to may be genuine, and
//! sent with a wrong proof by somebody who is not the log.

use super::folder::{Folder, FolderError, KnownLog, LOGS, Latest, hash};
use crate::crypto::sha256;
use crate::store::{Content, StoreError, StorePath};
use crate::tlog::checkpoint::SignedCheckpoint;
use crate::tlog::key::KnownKeys;

/// Forks that are kept of one log: one is enough to be done with it, and whoever stole its key makes as many as they like.
pub const MAX_FORKS: usize = 16;

/// Keeps both checkpoints if `offered` contradicts `latest`; where, if they were not there before. That the log signed
/// `offered` is verified here once more.
pub(super) async fn keep(
    folder: &Folder,
    log: &KnownLog,
    latest: &Latest,
    offered: &SignedCheckpoint,
) -> Result<Option<String>, FolderError> {
    let keys = KnownKeys::new(log.keys().to_vec())?;
    let known = latest.checkpoint();
    let contradicts = offered
        .verify(&keys)
        .is_ok_and(|(checkpoint, _)| checkpoint.size() == known.size() && checkpoint.root() != known.root());
    if !contradicts {
        return Ok(None);
    }
    let mut offered = offered.clone();
    offered.keep(&keys);
    let text = text(latest.note(), &offered);
    let prefix = format!("{LOGS}/{}", hash(log.origin()));
    let name = hex::encode(sha256(text.as_bytes()));
    let path = StorePath::new(format!("{prefix}/fork-{name}.txt"))?;
    if count(folder, log.origin()).await? >= MAX_FORKS {
        return Ok(None);
    }
    match folder.store().create(&path, Content::Bytes(text.as_bytes())).await {
        Ok(()) => Ok(Some(path.as_str().to_owned())),
        Err(StoreError::Exists { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// How many forks of a log are kept.
pub(super) async fn count(folder: &Folder, origin: &str) -> Result<usize, FolderError> {
    let entries = folder.store().list(&format!("{LOGS}/{}", hash(origin))).await?;
    let is_fork = |path: &str| path.rsplit('/').next().is_some_and(|name| name.starts_with("fork-"));
    Ok(entries.iter().filter(|entry| is_fork(entry.path.as_str())).count())
}

fn text(known: &SignedCheckpoint, offered: &SignedCheckpoint) -> String {
    format!(
        "This log signed two trees of one size. Below are both checkpoints, as signed notes.\n\n\
         ==== the one that was cosigned before ====\n{known}\
         ==== the one that was offered then ====\n{offered}"
    )
}
