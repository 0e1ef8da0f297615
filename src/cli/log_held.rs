//! The newest checkpoint, held against what else the store says of the log: its head, and the tree that timestamp names.

use anyhow::Context as _;

use super::log::Opened;
use crate::log::LogError;
use crate::store::StorePath;
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::merkle::Hash;

/// The timestamp.
const TIMESTAMP: &str = "metadata/timestamp.json";
/// Bytes of it, at most: as many as clients take.
const MAX_TIMESTAMP: u64 = 64 * 1_024;

/// A tree that somebody names.
struct Named {
    origin: String,
    size: u64,
    root: Hash,
}

impl Opened {
    /// That head and timestamp, where a store is at hand, fit the newest checkpoint: what was found, in words. Signatures of the
    /// timestamp are for `check`.
    pub(super) async fn held(&self, tree: &Checkpoint) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        if let Some(head) = self.head().await? {
            let head = Named { origin: head.origin().to_owned(), size: head.size(), root: *head.root() };
            if head.size < tree.size() {
                return Err(LogError::Behind { size: head.size, known: tree.size() }.into());
            }
            match self.fits(tree, &head, "the log's head").await {
                // Tiles come after the head, and before the next checkpoint.
                Err(LogError::Missing { path }) if head.size > tree.size() => {
                    found
                        .push(format!("the log's head has {} entries; {path} is not written yet", head.size));
                }
                fits => {
                    fits?;
                    let size = head.size;
                    found.push(format!("the log's head has {size} entries, and continues the checkpoint"));
                }
            }
        }
        if let Some(named) = self.named().await? {
            // A publisher may have been at work since the checkpoint was read.
            let newer = if named.size > tree.size() { self.reader.checkpoint().await? } else { None };
            let tree = newer.as_ref().map_or(tree, |newer| newer.claimed());
            if named.size > tree.size() {
                return Err(LogError::Behind { size: tree.size(), known: named.size }.into());
            }
            self.fits(tree, &named, "the tree that timestamp names").await?;
            found.push(format!(
                "timestamp names a tree of {} entries, which the checkpoint continues",
                named.size
            ));
        }
        Ok(found)
    }

    /// What timestamp says of the log. Nothing verifies it here.
    async fn named(&self) -> anyhow::Result<Option<Named>> {
        let Some(store) = &self.store else { return Ok(None) };
        let Some(object) = store.get(&StorePath::new(TIMESTAMP)?, MAX_TIMESTAMP).await? else {
            return Ok(None);
        };
        let value: serde_json::Value = serde_json::from_slice(&object.bytes).context(TIMESTAMP)?;
        let Some(log) = value.pointer("/signed/x-tlog") else { return Ok(None) };
        let text = |key: &str| log.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
        let mut root = [0; 32];
        hex::decode_to_slice(text("root_hash"), &mut root)
            .with_context(|| format!("root_hash in {TIMESTAMP}"))?;
        let size = log.get("size").and_then(serde_json::Value::as_u64);
        let size = size.with_context(|| format!("size in {TIMESTAMP}"))?;
        Ok(Some(Named { origin: text("origin").to_owned(), size, root: Hash::from_bytes(root) }))
    }

    /// That one of both trees begins with the other one.
    async fn fits(&self, tree: &Checkpoint, named: &Named, what: &'static str) -> Result<(), LogError> {
        let forked =
            |problem: String| LogError::Forked { size: tree.size(), problem: format!("{what}: {problem}") };
        if named.origin != tree.origin() {
            return Err(forked(format!("it is of the log {}", named.origin)));
        }
        let mut ends = [(named.size, named.root), (tree.size(), *tree.root())];
        ends.sort_by_key(|(size, _)| *size);
        let [(old, before), (new, after)] = ends;
        if (old, before) == (new, after) || old == 0 {
            return Ok(());
        }
        let grown = self.reader.grown(new, old, new).await?;
        if (grown.before, grown.after) == (before, after) {
            return Ok(());
        }
        Err(forked(format!("trees of {old} and of {new} entries do not continue each other")))
    }
}
