//! What nobody needs any more: blobs of appends that never were, partial tiles whose full one is there.

use std::time::SystemTime;

use super::growth::staged;
use super::head::Tail;
use super::{Log, LogError};
use crate::store::{Entry, StoreError, StorePath};

/// Partial tiles looked at in one run, at most: the next one sees to the others. Some hundred bytes each.
const MAX_PARTIALS: usize = 100_000;
/// Paths looked at together: some hundred bytes each.
const AT_ONCE: usize = 1_024;

impl Log {
    /// Removes what nobody needs and nobody touched since `before`, by the store's clock; how many files. Readers that ask
    /// for a partial tile find the full one (c2sp.org/tlog-tiles, "Partial Tiles").
    pub async fn tidy(&self, before: SystemTime) -> Result<usize, LogError> {
        let Some(head) = self.head().await? else { return Ok(0) };
        self.settled(&head).await?;
        let kept: Vec<StorePath> = match &head.tail {
            Tail::Inline(_) => Vec::new(),
            Tail::Staged(hashes) => hashes.iter().map(staged).collect::<Result<_, _>>()?,
        };
        let old = |entry: &Entry| entry.modified < before;
        let left = self.store().list("log/staged").await?.into_iter().filter(old);
        let mut gone: Vec<StorePath> =
            left.map(|entry| entry.path).filter(|path| !kept.contains(path)).collect();

        let mut partials = Vec::new();
        let mut visit = |entry: Entry| {
            if partials.len() < MAX_PARTIALS
                && let Some((full, _)) = entry.path.as_str().split_once(".p/").filter(|_| old(&entry))
            {
                partials.push((StorePath::new(full)?, entry.path.clone()));
            }
            Ok::<(), StoreError>(())
        };
        self.store().walk("log/tile", &mut visit).await?;
        for part in partials.chunks(AT_ONCE) {
            let full: Vec<StorePath> = part.iter().map(|(full, _)| full.clone()).collect();
            let there = self.store().exist(&full).await?;
            let covered = part.iter().zip(there).filter(|(_, there)| *there);
            gone.extend(covered.map(|((_, partial), _)| partial.clone()));
        }
        for path in &gone {
            self.store().delete(path).await?;
        }
        Ok(gone.len())
    }
}
