//! [`DirStore`]: a folder of the local file system as a store.
//!
//! Every write ends in one step that the file system does whole or not at all:
//!
//! | write | steps |
//! |---|---|
//! | `create` | unfinished file in the same folder → fsync → rename that refuses to replace → fsync of the folder |
//! | `create` of a copy | hard link → fsync of the folder; where there are no hard links, as above |
//! | `swap` | lock → compare SHA-256 → unfinished file → fsync → rename → fsync of the folder |
//! | `create_all`, `swap_all` | the same steps, each for all objects before the next; many are flushed by one `syncfs` |
//! | `create_then_swap` | all bytes flushed → names of what is created → \[flushed\] → lock → compare → rename → names flushed |
//! | `delete` | lock → unlink |
//!
//! [`Store::turn`] is a lock of the same kind on `.wheelseal.turn`. Who waits for it holds `.wheelseal.next`, so that who
//! just had it stands behind who waits.
//!
//! The lock is advisory (`flock`) on `.wheelseal.lock` in the root and ends with its process. `create` needs none,
//! and reads take none. The file system must keep `flock` between all writers: local ones do, NFS from version 4.
//!
//! [`DirStore`] is the asynchronous face, `disk.rs` has the operations, `batch.rs` those that write, `files.rs` and
//! `sync.rs` the steps they are made of.
//!
//! Names that begin with `.tmp-` are unfinished files. A write that fails removes its own; one that is killed
//! leaves it to `sweep`. Files get mode 0644 and folders 0755, whatever the umask, so that a web server can read them.
//!
//! **Symbolic links.** No step follows one below the root: a path that leads over a link is refused, and a listing
//! passes links by. The root itself may be reached over links, which are resolved once. The check and the step after
//! it are two system calls, so this defends against links that lie there (an unpacked archive, a copied tree, an
//! operator's shortcut), and **not** against someone who swaps folders for links at that very moment: whoever may
//! write in the root while wheelseal does is trusted not to.

mod batch;
mod disk;
mod files;
mod sync;

use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::io::AsyncRead;

use self::batch::Batch;
use self::disk::{Disk, Replacement, Source};
use super::{Content, Entry, Object, Order, Store, StoreError, StorePath, Swap, Tag, Turn, Visit, Written};

/// Bytes that are copied at once to the thread that writes them, at most, unless a single object is larger. Small
/// against what a caller holds, large against the cost of waking a thread.
const CHUNK_BYTES: usize = 8 << 20;

/// Objects handed to that thread at once, at most: some hundred bytes each.
const CHUNK: usize = 4096;

/// How often a writer looks whether it is its turn: often against the time a turn takes.
const TURN_POLL: Duration = Duration::from_millis(1);

/// Entries of a walk handed over at once: some hundred bytes each.
const WALK_PART: usize = 1024;

/// A folder of the local file system; clones share it.
#[derive(Clone, Debug)]
pub struct DirStore {
    disk: Arc<Disk>,
}

impl DirStore {
    /// The store in the folder `root`, which is made, with its parents, if it does not exist.
    pub async fn create(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        let disk = blocking(move || {
            files::make_root(&root).map_err(|error| StoreError::io("make folder", root.display(), &error))?;
            Disk::new(&root)
        });
        Ok(Self { disk: Arc::new(disk.await?) })
    }

    /// The store in the folder `root`, which must exist. Writes nothing.
    pub async fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        let disk = blocking(move || Disk::new(&root));
        Ok(Self { disk: Arc::new(disk.await?) })
    }

    /// The folder, absolute and free of symbolic links.
    pub fn root(&self) -> &Path {
        &self.disk.root
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Disk) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let disk = Arc::clone(&self.disk);
        blocking(move || work(&disk)).await
    }

    /// Stages new objects part by part, and ends the batch of `count` writes.
    async fn batch<T: Send + 'static>(
        &self,
        objects: &[(StorePath, Content<'_>)],
        count: usize,
        end: impl FnOnce(Batch, &Disk) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let mut batch = Batch::new(&self.disk, count, None);
        let mut parts = chunks(objects, |(_, content)| content.copied()).peekable();
        while let Some(part) = parts.next() {
            let owned: Vec<_> =
                part.iter().map(|(path, content)| (path.clone(), Source::of(*content))).collect();
            let stage = move |mut batch: Batch, disk: &Disk| {
                for (path, source) in owned {
                    batch.create(disk, path, source);
                }
                batch
            };
            if parts.peek().is_none() {
                return self.run(move |disk| Ok(end(stage(batch, disk), disk))).await;
            }
            batch = self.run(move |disk| Ok(stage(batch, disk))).await?;
        }
        self.run(move |disk| Ok(end(batch, disk))).await
    }
}

#[async_trait]
impl Store for DirStore {
    async fn get(&self, path: &StorePath, max_len: u64) -> Result<Option<Object>, StoreError> {
        let path = path.clone();
        self.run(move |disk| disk.get(&path, max_len)).await
    }

    async fn get_all(&self, paths: &[StorePath], max_len: u64) -> Result<Vec<Option<Object>>, StoreError> {
        let paths = paths.to_vec();
        self.run(move |disk| paths.iter().map(|path| disk.get(path, max_len)).collect()).await
    }

    async fn read_all(&self, paths: &[StorePath], max_len: u64) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let paths = paths.to_vec();
        self.run(move |disk| paths.iter().map(|path| disk.bytes(path, max_len)).collect()).await
    }

    async fn exist(&self, paths: &[StorePath]) -> Result<Vec<bool>, StoreError> {
        let paths = paths.to_vec();
        self.run(move |disk| paths.iter().map(|path| disk.exists(path)).collect()).await
    }

    async fn open(&self, path: &StorePath) -> Result<Option<Pin<Box<dyn AsyncRead + Send>>>, StoreError> {
        let path = path.clone();
        let Some(file) = self.run(move |disk| disk.open(&path)).await? else { return Ok(None) };
        Ok(Some(Box::pin(tokio::fs::File::from_std(file))))
    }

    async fn open_at(
        &self,
        path: &StorePath,
        start: u64,
    ) -> Result<Option<Pin<Box<dyn AsyncRead + Send>>>, StoreError> {
        let path = path.clone();
        let Some(file) = self.run(move |disk| disk.open_at(&path, start)).await? else { return Ok(None) };
        Ok(Some(Box::pin(tokio::fs::File::from_std(file))))
    }

    async fn stat(&self, path: &StorePath) -> Result<Option<Entry>, StoreError> {
        let path = path.clone();
        self.run(move |disk| disk.stat(&path)).await
    }

    async fn create(&self, path: &StorePath, content: Content<'_>) -> Result<(), StoreError> {
        one(self.create_all(&[(path.clone(), content)]).await)
    }

    async fn create_all(&self, objects: &[(StorePath, Content<'_>)]) -> Vec<Result<(), StoreError>> {
        if objects.is_empty() {
            return Vec::new();
        }
        let created = self.batch(objects, objects.len(), Batch::finish).await;
        created.unwrap_or_else(|error| vec![Err(error); objects.len()])
    }

    async fn create_then_swap(
        &self,
        objects: &[(StorePath, Content<'_>)],
        swaps: &[Swap<'_>],
        order: Order,
    ) -> Written {
        let (count, owned) = (objects.len().saturating_add(swaps.len()), owned(swaps));
        let written =
            self.batch(objects, count, move |batch, disk| batch.finish_and_swap(disk, owned, order));
        written
            .await
            .unwrap_or_else(|error| Written { created: vec![Err(error); objects.len()], swapped: None })
    }

    async fn swap(&self, path: &StorePath, bytes: &[u8], expected: Option<&Tag>) -> Result<Tag, StoreError> {
        one(self.swap_all(&[Swap { path, bytes, expected }]).await)
    }

    async fn swap_all(&self, swaps: &[Swap<'_>]) -> Vec<Result<Tag, StoreError>> {
        let owned = owned(swaps);
        // In one piece: between pieces the lock would be held while others wait for it, perhaps on every thread.
        let swapped = self.run(move |disk| disk.swap_all(owned)).await;
        swapped.unwrap_or_else(|error| vec![Err(error); swaps.len()])
    }

    async fn walk(&self, prefix: &str, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let prefix = folder(prefix)?;
        let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
        let walked = self.run(move |disk| {
            let mut part = Vec::with_capacity(WALK_PART);
            // Whoever stopped listening needs no more of it.
            let stopped = || StoreError::io("list", "the store", &ErrorKind::Interrupted.into());
            disk.walk(prefix.as_ref(), |entry| {
                part.push(entry);
                if part.len() < WALK_PART {
                    return Ok(());
                }
                let full = std::mem::replace(&mut part, Vec::with_capacity(WALK_PART));
                sender.blocking_send(full).map_err(|_| stopped())
            })?;
            sender.blocking_send(part).map_err(|_| stopped())
        });
        let visited = async move {
            while let Some(part) = receiver.recv().await {
                part.into_iter().try_for_each(&mut *visit)?;
            }
            Ok(())
        };
        let (walked, visited) = tokio::join!(walked, visited);
        visited.and(walked)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let prefix = folder(prefix)?;
        self.run(move |disk| {
            let mut entries = Vec::new();
            disk.walk(prefix.as_ref(), |entry| {
                entries.push(entry);
                Ok(())
            })?;
            entries.sort_by(|a, b| a.path.cmp(&b.path));
            Ok(entries)
        })
        .await
    }

    async fn same(&self, one: &StorePath, other: &StorePath) -> Result<bool, StoreError> {
        let (one, other) = (one.clone(), other.clone());
        self.run(move |disk| disk.same(&one, &other)).await
    }

    async fn flush(&self, path: &StorePath) -> Result<(), StoreError> {
        let path = path.clone();
        self.run(move |disk| disk.flush(&path)).await
    }

    async fn delete(&self, path: &StorePath) -> Result<(), StoreError> {
        let path = path.clone();
        self.run(move |disk| disk.delete(&path)).await
    }

    async fn turn(&self, patience: Duration) -> Turn {
        let taken = tokio::time::timeout(patience, async {
            let mut place = None;
            loop {
                match self.run(move |disk| disk.try_turn(place)).await {
                    Ok(ControlFlow::Break(lock)) => return Turn { lock: Some(lock) },
                    Ok(ControlFlow::Continue(held)) => place = held,
                    Err(_) => return Turn::default(),
                }
                tokio::time::sleep(TURN_POLL).await;
            }
        });
        taken.await.unwrap_or_default()
    }

    async fn sweep(&self, before: SystemTime) -> Result<usize, StoreError> {
        self.run(move |disk| disk.sweep(before)).await
    }
}

/// Swaps that a blocking thread can own.
fn owned(swaps: &[Swap<'_>]) -> Vec<Replacement> {
    let own = |swap: &Swap<'_>| (swap.path.clone(), swap.bytes.to_vec(), swap.expected.cloned());
    swaps.iter().map(own).collect()
}

/// The one outcome of a batch of one.
fn one<T>(outcomes: Vec<Result<T, StoreError>>) -> Result<T, StoreError> {
    let missing = || StoreError::io("write to", "the store", &io::Error::other("no outcome"));
    outcomes.into_iter().next().unwrap_or_else(|| Err(missing()))
}

/// A prefix as a folder; `None` is the root.
fn folder(prefix: &str) -> Result<Option<StorePath>, StoreError> {
    if prefix.is_empty() { Ok(None) } else { StorePath::new(prefix).map(Some) }
}

/// Splits a slice so that each part has at most [`CHUNK_BYTES`] and [`CHUNK`] items, or is a single larger one.
fn chunks<T>(items: &[T], bytes: impl Fn(&T) -> usize) -> impl Iterator<Item = &[T]> {
    let mut rest = items;
    std::iter::from_fn(move || {
        let mut sum = 0_usize;
        let fits = |item: &&T| {
            sum = sum.saturating_add(bytes(item));
            sum <= CHUNK_BYTES
        };
        let count = rest.iter().take(CHUNK).take_while(fits).count().max(1);
        let (chunk, after) = rest.split_at_checked(count)?;
        rest = after;
        Some(chunk)
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(StoreError::io("finish work in", "the store", &io::Error::other(error))))
}

#[cfg(test)]
mod tests;
