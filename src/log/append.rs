//! Appending: stage → swap the head → tiles. And the end of an append that somebody else began.
//!
//! ```text
//! entries ─▶ log/staged/… (when they are many) ─▶ log/head swapped: logged ─▶ log/tile/… ─▶ staged blobs go
//! ```
//!
//! The swap decides. Before it, nothing happened; after it, whoever comes next can write the tiles of the head's tail, and
//! must before the next append, which drops the tail. Tiles are of one content each, so any number may do it at once.

use std::sync::Arc;

use super::entries::EntriesError;
use super::growth::{Blocks, Growth, STAGED, Write, staged};
use super::head::{Head, Logged, MAX_INLINE, MAX_STAGED, Tail};
use super::reader::{entries, same_root};
use super::{Entries, HEAD, Log, LogError};
use crate::crypto::sha256;
use crate::store::{Content, StoreError, StorePath, Tag};
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::edge::Edge;
use crate::tlog::leaf::{Leaf, LogLeaf};
use crate::tlog::merkle::Hash;
use crate::tlog::tile::{TileId, Tiles};

/// Bytes of tiles and bundles that are written together.
const WRITTEN_AT_ONCE: usize = 8 * 1024 * 1024;

/// Staged blobs that are written together: 16 MiB.
const STAGED_AT_ONCE: usize = 4;

impl Log {
    /// A new, empty log; or one that continues another, whose last checkpoint is its first leaf.
    pub async fn create(&self, origin: &str, first: Option<&LogLeaf>) -> Result<Head, LogError> {
        if self.reader().checkpoint().await?.is_some() {
            return Err(LogError::Exists { path: super::reader::CHECKPOINT });
        }
        let mut entries = Entries::default();
        if let Some(leaf) = first {
            entries.push_text(&Leaf::Log(leaf.clone()).to_string())?;
        }
        match self.extend(origin, Growth::default(), &entries, Logged::default(), None).await {
            Err(LogError::Overtaken) => Err(LogError::Exists { path: HEAD }),
            done => done,
        }
    }

    /// Appends entries to what `head` says, durably, tiles included. [`LogError::Overtaken`]: it says so no longer, and
    /// nothing was appended. After another error the entries may be logged or not: read the head anew.
    pub async fn append(&self, head: &Head, entries: Entries) -> Result<Head, LogError> {
        let logged = entries.logged_after(head.logged)?;
        let before = self.settled(head).await?;
        if entries.is_empty() {
            return Ok(head.clone());
        }
        self.extend(head.origin(), before, &entries, logged, head.tag.as_ref()).await
    }

    async fn extend(
        &self,
        origin: &str,
        before: Growth,
        entries: &Entries,
        logged: Logged,
        expected: Option<&Tag>,
    ) -> Result<Head, LogError> {
        let blocks = Blocks::New(entries);
        let (after, writes) = self.grown(&before, &blocks).await?;
        let tail = self.stage(entries).await?;
        let tree = Checkpoint::new(origin, after.size(), after.root())?;
        let mut head = Head { tree, logged, from: before.size(), tail, tag: None };
        head.tag = Some(self.decide(&head, expected).await?);
        self.write_tiles(before, &blocks, after, writes).await?;
        self.unstage(&head).await?;
        Ok(head)
    }

    /// Swaps the head: this is the moment when the entries are logged.
    async fn decide(&self, head: &Head, expected: Option<&Tag>) -> Result<Tag, LogError> {
        let bytes = head.render()?;
        match self.store().swap(&StorePath::new(HEAD)?, &bytes, expected).await {
            Ok(tag) => Ok(tag),
            Err(StoreError::Conflict { .. }) => Err(LogError::Overtaken),
            // It may have happened all the same.
            Err(error) => match self.head().await {
                Ok(Some(found)) if found.render()? == bytes => found.tag.ok_or_else(|| error.into()),
                _ => Err(error.into()),
            },
        }
    }

    /// The log grown by all blocks. What has to be written for it, if it is one block; otherwise that would be too much to
    /// hold, and is made again when it is written.
    async fn grown(
        &self,
        before: &Growth,
        blocks: &Blocks<'_>,
    ) -> Result<(Growth, Option<Vec<Write>>), LogError> {
        let mut after = before.clone();
        let mut writes = Vec::new();
        for number in 0..blocks.len() {
            writes = after.grow(&blocks.read(number, self.store()).await?)?;
        }
        writes.extend(after.partials(before.size()));
        Ok((after, (blocks.len() <= 1).then_some(writes)))
    }

    /// Writes the tiles and bundles by which `after` is more than `before`, and remembers where the log is then.
    async fn write_tiles(
        &self,
        before: Growth,
        blocks: &Blocks<'_>,
        after: Growth,
        writes: Option<Vec<Write>>,
    ) -> Result<(), LogError> {
        if let Some(writes) = writes {
            self.create_all(writes).await?;
        } else {
            let (from, mut growing, mut waiting) = (before.size(), before, Vec::new());
            for number in 0..blocks.len() {
                waiting.extend(growing.grow(&blocks.read(number, self.store()).await?)?);
                if waiting.iter().map(|write| write.bytes.len()).sum::<usize>() >= WRITTEN_AT_ONCE {
                    self.create_all(std::mem::take(&mut waiting)).await?;
                }
            }
            waiting.extend(growing.partials(from));
            self.create_all(waiting).await?;
        }
        self.remember(after);
        Ok(())
    }

    /// Creates files that have one content each: that one is there is fine, if it is the same.
    async fn create_all(&self, writes: Vec<Write>) -> Result<(), LogError> {
        let files: Result<Vec<_>, StoreError> = writes
            .into_iter()
            .map(|write| Ok((StorePath::new(write.path)?, Arc::new(write.bytes))))
            .collect();
        let files = files?;
        let objects: Vec<_> =
            files.iter().map(|(path, bytes)| (path.clone(), Content::Shared(bytes))).collect();
        let outcomes = self.store().create_all(&objects).await;
        for ((path, bytes), outcome) in files.iter().zip(outcomes) {
            match outcome {
                Err(StoreError::Exists { .. }) => {
                    let max = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                    let found = self.store().get(path, max).await?;
                    if found.is_none_or(|found| found.bytes != **bytes) {
                        let problem = "it is there already, with other bytes than the log's head leads to";
                        let problem = problem.to_owned();
                        return Err(LogError::Damaged { path: path.to_string(), problem });
                    }
                }
                outcome => outcome?,
            }
        }
        Ok(())
    }

    /// The tail for these entries; those that do not fit in the head are written beside it first.
    async fn stage(&self, entries: &Entries) -> Result<Tail, LogError> {
        if entries.blocks() > MAX_STAGED {
            return Err(EntriesError::TooMany { found: entries.blocks() }.into());
        }
        let first = entries.block(0)?;
        if entries.blocks() <= 1 && first.len() <= MAX_INLINE {
            let texts = super::growth::split(&first)?
                .into_iter()
                .map(|entry| String::from_utf8_lossy(entry).into_owned());
            return Ok(Tail::Inline(texts.collect()));
        }
        let mut hashes = Vec::with_capacity(entries.blocks());
        let mut waiting = Vec::new();
        for number in 0..entries.blocks() {
            let bytes = entries.block(number)?;
            let hash = sha256(&bytes);
            waiting.push(Write { path: staged(&hash)?.to_string(), bytes });
            hashes.push(hash);
            if waiting.len() >= STAGED_AT_ONCE {
                self.create_all(std::mem::take(&mut waiting)).await?;
            }
        }
        self.create_all(waiting).await?;
        Ok(Tail::Staged(hashes))
    }

    async fn unstage(&self, head: &Head) -> Result<(), LogError> {
        let Tail::Staged(hashes) = &head.tail else { return Ok(()) };
        for hash in hashes {
            self.store().delete(&staged(hash)?).await?;
        }
        Ok(())
    }

    /// What is needed to append to this head. All its tiles are durable then: if that is not known, the append that made
    /// it is ended first.
    pub(super) async fn settled(&self, head: &Head) -> Result<Growth, LogError> {
        if let Some(known) =
            self.known().filter(|known| known.size() == head.size() && known.root() == *head.root())
        {
            return Ok(known);
        }
        // A checkpoint is signed when its tiles are durable.
        let signed = self.reader().checkpoint().await?.map_or(0, |checkpoint| checkpoint.claimed().size());
        if signed > head.size() {
            return Err(self.behind(head, signed).await?);
        }
        if signed == head.size() {
            return self.taken_up(head).await;
        }
        match self.finished(head).await {
            // Staged entries go when their tiles are durable: somebody else was faster.
            Err(LogError::Missing { path }) if path.starts_with(STAGED) => self.taken_up(head).await,
            finished => finished,
        }
    }

    /// The edge of a head whose tiles are all there.
    async fn taken_up(&self, head: &Head) -> Result<Growth, LogError> {
        let growth = self.growth(head.size()).await?;
        same_root(&head.tree, growth.root())?;
        self.remember(growth.clone());
        Ok(growth)
    }

    /// Writes the tiles of a head's tail.
    async fn finished(&self, head: &Head) -> Result<Growth, LogError> {
        let before = self.growth(head.from).await?;
        let blocks = Blocks::Tail(&head.tail);
        let (after, writes) = self.grown(&before, &blocks).await?;
        if after.size() != head.size() {
            let problem = "its tail does not have as many entries as it says".to_owned();
            return Err(LogError::Damaged { path: HEAD.to_owned(), problem });
        }
        same_root(&head.tree, after.root())?;
        self.write_tiles(before, &blocks, after.clone(), writes).await?;
        self.unstage(head).await?;
        Ok(after)
    }

    /// A checkpoint larger than the head: either somebody appended and signed since the head was read, or the head is old.
    pub(super) async fn behind(&self, head: &Head, known: u64) -> Result<LogError, LogError> {
        let now = self.head().await?;
        if now.as_ref().map(|now| &now.tag) != Some(&head.tag) {
            return Ok(LogError::Overtaken);
        }
        Ok(LogError::Behind { size: head.size(), known })
    }

    /// The edge of the tree of this size, out of its tiles and its last bundle, which fit together.
    async fn growth(&self, size: u64) -> Result<Growth, LogError> {
        let ids = Edge::tiles(size);
        let mut tiles = Tiles::default();
        self.reader().fetch(&ids.iter().copied().collect(), &mut tiles).await?;
        let edge = Edge::resume(size, &tiles)?;
        let mut bundle = Vec::new();
        let Some(last) = ids.iter().find(|id| id.level() == 0) else { return Ok(Growth { edge, bundle }) };
        for found in self.reader().bundles(&[*last]).await? {
            for (index, entry) in first_of(*last).zip(entries(*last, &found)?) {
                if Hash::leaf(entry) != tiles.leaf(index, size)? {
                    let problem = format!("entry {index} is not what the tile beside it says");
                    return Err(super::reader::damaged(
                        &super::growth::in_folder(&last.entries_path()),
                        &problem,
                    ));
                }
                crate::tlog::bundle::push(&mut bundle, entry)?;
            }
        }
        Ok(Growth { edge, bundle })
    }
}

/// Numbers of the leaves of a tile of level 0, and on.
fn first_of(id: TileId) -> impl Iterator<Item = u64> {
    id.index() * u64::from(crate::tlog::tile::FULL_WIDTH)..
}
