//! What nobody needs any more: blobs of appends that never were, partial tiles whose full one is there.

use std::time::SystemTime;

use super::entries::MAX_BLOCK;
use super::growth::{STAGED, staged};
use super::head::Tail;
use super::{Head, Log, LogError};
use crate::store::{Content, Entry, StoreError, StorePath};

/// Partial tiles looked at in one run, at most: the next one sees to the others. Some hundred bytes each.
const MAX_PARTIALS: usize = 100_000;
/// Paths looked at together: some hundred bytes each.
const AT_ONCE: usize = 1_024;

impl Log {
    /// What nobody needs and nobody touched since `before`, by the store's clock. Readers that ask for a partial tile find the
    /// full one (c2sp.org/tlog-tiles, "Partial Tiles"). Nothing is written.
    pub async fn leftovers(&self, before: SystemTime) -> Result<Vec<Entry>, LogError> {
        let Some(head) = self.head().await? else { return Ok(Vec::new()) };
        let kept = head.staged()?;
        let old = |entry: &Entry| entry.modified < before;
        let mut left = self.store().list("log/staged").await?;
        left.retain(|entry| old(entry) && !kept.contains(&entry.path));

        let mut partials = Vec::new();
        let mut visit = |entry: Entry| {
            if partials.len() < MAX_PARTIALS
                && let Some((full, _)) = entry.path.as_str().split_once(".p/").filter(|_| old(&entry))
            {
                partials.push((StorePath::new(full)?, entry));
            }
            Ok::<(), StoreError>(())
        };
        self.store().walk("log/tile", &mut visit).await?;
        for part in partials.chunks(AT_ONCE) {
            let full: Vec<StorePath> = part.iter().map(|(full, _)| full.clone()).collect();
            let there = self.store().exist(&full).await?;
            let covered = part.iter().zip(there).filter(|(_, there)| *there);
            left.extend(covered.map(|((_, partial), _)| partial.clone()));
        }
        Ok(left)
    }

    /// Removes one of the leftovers, unless somebody uses it again; whether it is gone. A blob that an append names meanwhile is
    /// put back; one that names it later looks for it itself, after its swap.
    pub async fn remove(&self, left: &Entry) -> Result<bool, LogError> {
        let path = &left.path;
        if self.store().stat(path).await?.is_none_or(|now| now.modified != left.modified) {
            return Ok(false);
        }
        if !path.as_str().starts_with(STAGED) {
            self.store().delete(path).await?;
            return Ok(true);
        }
        let blob = self.store().get(path, u64::try_from(MAX_BLOCK).unwrap_or(u64::MAX)).await?;
        self.store().delete(path).await?;
        let named = match self.head().await? {
            Some(head) => head.staged()?.contains(path),
            None => false,
        };
        if let Some(blob) = blob.filter(|_| named) {
            match self.store().create(path, Content::Bytes(&blob.bytes)).await {
                Ok(()) | Err(StoreError::Exists { .. }) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}

impl Head {
    /// The blobs that it names, which go when all its tiles are durable.
    pub fn staged(&self) -> Result<Vec<StorePath>, LogError> {
        match &self.tail {
            Tail::Inline(_) => Ok(Vec::new()),
            Tail::Staged(hashes) => hashes.iter().map(staged).collect(),
        }
    }
}
