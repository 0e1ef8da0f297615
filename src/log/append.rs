//! Appending: stage → swap the head → tiles. And the end of an append that somebody else began.
//!
//! ```text
//! entries ─▶ log/staged/… (when they are many) ─▶ log/head swapped: logged ─▶ log/tile/… ─▶ staged blobs go
//! ```
//!
//! The swap decides. Before it, nothing happened; after it, whoever comes next can write the tiles of the head's tail, and
//! must before the next append, which drops the tail. Tiles are of one content each, so any number may do it at once.
//!
//! [`Log::append`] does all of it. A publisher that has other files to write swaps the head and writes the tiles together with
//! them: [`Log::plan`] or [`Log::log`], then [`Appended`].

use super::entries::EntriesError;
use super::growth::{Blocks, Growth, STAGED, Write, staged};
use super::head::{Head, Logged, MAX_STAGED, Tail};
use super::reader::{entries, same_root};
use super::{Entries, HEAD, Log, LogError};
use crate::crypto::sha256;
use crate::store::{Content, StoreError, StorePath, Swap, Tag};
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::edge::Edge;
use crate::tlog::leaf::{Leaf, LogLeaf};
use crate::tlog::merkle::Hash;
use crate::tlog::tile::{TileId, Tiles};

/// Bytes of tiles and bundles that are written together.
const WRITTEN_AT_ONCE: usize = 8 * 1024 * 1024;

/// Staged blobs that are written together: 16 MiB.
const STAGED_AT_ONCE: usize = 4;

/// An append of few entries before its swap: nothing of it is written.
#[derive(Debug)]
pub struct Planned {
    head: Head,
    path: StorePath,
    bytes: Vec<u8>,
    expected: Option<Tag>,
    before: Growth,
    after: Growth,
    /// `None`: too much to hold.
    writes: Option<Vec<Write>>,
}

impl Planned {
    /// The swap of `log/head` that makes it one.
    pub fn swap(&self) -> Swap<'_> {
        Swap { path: &self.path, bytes: &self.bytes, expected: self.expected.as_ref() }
    }
}

/// An append whose head is swapped: its entries are logged. The tiles of few entries are still to be written.
#[derive(Debug)]
pub struct Appended {
    pub(super) head: Head,
    after: Growth,
    pub(super) writes: Vec<Write>,
    paths: Vec<StorePath>,
}

impl Appended {
    fn new(head: Head, after: Growth, writes: Vec<Write>) -> Result<Self, LogError> {
        let paths: Result<_, StoreError> = writes.iter().map(|write| StorePath::new(&write.path)).collect();
        Ok(Self { head, after, paths: paths?, writes })
    }

    /// What the log has since.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// What is to be written, to be told of by [`Log::wrote`]: before anybody is shown a checkpoint of this head.
    pub fn objects(&self) -> Vec<(StorePath, Content<'_>)> {
        let contents = self.writes.iter().map(|write| Content::Shared(&write.bytes));
        self.paths.iter().cloned().zip(contents).collect()
    }
}

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
        let planned = self.planned(origin, Growth::default(), &entries, Logged::default(), None).await?;
        match self.decided(planned, &entries).await {
            Ok(appended) => self.settle(appended).await,
            Err(LogError::Overtaken) => Err(LogError::Exists { path: HEAD }),
            Err(error) => Err(error),
        }
    }

    /// Appends entries to what `head` says, durably, tiles included. [`LogError::Overtaken`]: it says so no longer, and
    /// nothing was appended. After another error the entries may be logged or not: read the head anew.
    pub async fn append(&self, head: &Head, entries: Entries) -> Result<Head, LogError> {
        let appended = self.log(head, entries).await?;
        self.settle(appended).await
    }

    /// The same, but for the tiles of few entries.
    pub async fn log(&self, head: &Head, entries: Entries) -> Result<Appended, LogError> {
        let logged = entries.logged_after(head.logged)?;
        let before = self.settled(head).await?;
        if entries.is_empty() {
            return Appended::new(head.clone(), before, Vec::new());
        }
        let planned = self.planned(head.origin(), before, &entries, logged, head.tag.as_ref()).await?;
        self.decided(planned, &entries).await
    }

    /// An append whose swap the caller makes; tell of it by [`Self::done`]. `None`: the entries are too many, or none.
    pub async fn plan(&self, head: &Head, entries: &Entries) -> Result<Option<Planned>, LogError> {
        if entries.is_empty() || !entries.fit_in_head()? {
            return Ok(None);
        }
        let logged = entries.logged_after(head.logged)?;
        let before = self.settled(head).await?;
        self.planned(head.origin(), before, entries, logged, head.tag.as_ref()).await.map(Some)
    }

    /// What became of a planned append by the outcome of its swap. [`LogError::Overtaken`]: nothing was appended.
    pub async fn done(
        &self,
        planned: Planned,
        swapped: Result<Tag, StoreError>,
    ) -> Result<Appended, LogError> {
        let Planned { mut head, bytes, after, writes, .. } = planned;
        head.tag = Some(match swapped {
            Ok(tag) => tag,
            Err(StoreError::Conflict { .. }) => return Err(LogError::Overtaken),
            // It may have happened all the same.
            Err(error) => match self.head().await {
                Ok(Some(found)) if found.render()? == bytes => {
                    self.store().flush(&StorePath::new(HEAD)?).await?;
                    found.tag.ok_or(error)?
                }
                _ => return Err(error.into()),
            },
        });
        Appended::new(head, after, writes.unwrap_or_default())
    }

    /// Takes the outcomes of writing [`Appended::objects`]: files of one content each, so that one is there is fine, if it is
    /// the same.
    pub async fn wrote(
        &self,
        appended: &Appended,
        outcomes: Vec<Result<(), StoreError>>,
    ) -> Result<(), LogError> {
        self.created(&appended.paths, &appended.writes, outcomes).await?;
        self.remember(appended.after.clone());
        Ok(())
    }

    /// Writes the tiles.
    async fn settle(&self, appended: Appended) -> Result<Head, LogError> {
        let outcomes = self.store().create_all(&appended.objects()).await;
        self.wrote(&appended, outcomes).await?;
        Ok(appended.head)
    }

    async fn planned(
        &self,
        origin: &str,
        before: Growth,
        entries: &Entries,
        logged: Logged,
        expected: Option<&Tag>,
    ) -> Result<Planned, LogError> {
        let (after, writes) = self.grown(&before, &Blocks::New(entries)).await?;
        let tail = self.stage(entries).await?;
        let tree = Checkpoint::new(origin, after.size(), after.root())?;
        let head = Head { tree, logged, from: before.size(), tail, tag: None };
        let (path, bytes, expected) = (StorePath::new(HEAD)?, head.render()?, expected.cloned());
        Ok(Planned { head, path, bytes, expected, before, after, writes })
    }

    /// Swaps the head: this is the moment when the entries are logged. The tiles of those that are not in it are written.
    async fn decided(&self, mut planned: Planned, entries: &Entries) -> Result<Appended, LogError> {
        let Swap { path, bytes, expected } = planned.swap();
        let swapped = self.store().swap(path, bytes, expected).await;
        let staged = match planned.head.tail {
            Tail::Staged(_) => Some((planned.before.clone(), planned.writes.take())),
            Tail::Inline(_) => None,
        };
        let appended = self.done(planned, swapped).await?;
        if let Some((before, writes)) = staged {
            self.stage_missing(&appended.head, entries).await?;
            self.write_tiles(before, &Blocks::New(entries), appended.after.clone(), writes).await?;
            self.unstage(&appended.head).await?;
        }
        Ok(appended)
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
        let paths: Result<Vec<_>, StoreError> =
            writes.iter().map(|write| StorePath::new(&write.path)).collect();
        let paths = paths?;
        let contents = writes.iter().map(|write| Content::Shared(&write.bytes));
        let objects: Vec<_> = paths.iter().cloned().zip(contents).collect();
        let outcomes = self.store().create_all(&objects).await;
        self.created(&paths, &writes, outcomes).await
    }

    async fn created(
        &self,
        paths: &[StorePath],
        writes: &[Write],
        outcomes: Vec<Result<(), StoreError>>,
    ) -> Result<(), LogError> {
        for ((path, write), outcome) in paths.iter().zip(writes).zip(outcomes) {
            match outcome {
                Err(StoreError::Exists { .. }) => {
                    let max = u64::try_from(write.bytes.len()).unwrap_or(u64::MAX);
                    let found = self.store().get(path, max).await?;
                    if found.is_none_or(|found| found.bytes != *write.bytes) {
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
        if entries.fit_in_head()? {
            let first = entries.block(0)?;
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
            waiting.push(Write::new(staged(&hash)?.to_string(), bytes));
            hashes.push(hash);
            if waiting.len() >= STAGED_AT_ONCE {
                self.create_all(std::mem::take(&mut waiting)).await?;
            }
        }
        self.create_all(waiting).await?;
        Ok(Tail::Staged(hashes))
    }

    /// After the swap: blobs that were left over from before may have gone while it was made.
    async fn stage_missing(&self, head: &Head, entries: &Entries) -> Result<(), LogError> {
        let Tail::Staged(hashes) = &head.tail else { return Ok(()) };
        let paths = hashes.iter().map(staged).collect::<Result<Vec<_>, _>>()?;
        let there = self.store().exist(&paths).await?;
        for (number, (path, _)) in paths.iter().zip(there).enumerate().filter(|(_, (_, there))| !there) {
            self.create_all(vec![Write::new(path.to_string(), entries.block(number)?)]).await?;
        }
        Ok(())
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
