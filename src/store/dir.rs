//! [`DirStore`]: a folder of the local file system as a store.
//!
//! Every write ends in one step that the file system does whole or not at all:
//!
//! | write | steps |
//! |---|---|
//! | `create` | unfinished file in the same folder → fsync → rename that refuses to replace → fsync of the folder |
//! | `create` of a copy | hard link → fsync of the folder; where there are no hard links, as above |
//! | `swap` | lock → compare SHA-256 → unfinished file → fsync → rename → fsync of the folder |
//! | `delete` | lock → unlink |
//!
//! The lock is advisory (`flock`) on `.wheelseal.lock` in the root and ends with its process. `create` needs none,
//! and reads take none. The file system must keep `flock` between all writers: local ones do, NFS from version 4.
//!
//! [`DirStore`] is the asynchronous face, `disk.rs` has the operations, `files.rs` the steps they are made of.
//!
//! Names that begin with `.tmp-` are unfinished files. A write that fails removes its own; one that is killed
//! leaves it to `sweep`. Files get mode 0644 and folders 0755, whatever the umask, so that a web server can read them.
//!
//! **Symbolic links.** No step follows one below the root: a path that leads over a link is refused, and a listing
//! passes links by. The root itself may be reached over links, which are resolved once. The check and the step after
//! it are two system calls, so this defends against links that lie there (an unpacked archive, a copied tree, an
//! operator's shortcut), and **not** against someone who swaps folders for links at that very moment: whoever may
//! write in the root while wheelseal does is trusted not to.

mod disk;
mod files;

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use tokio::io::AsyncRead;

use self::disk::{Disk, Source};
use super::{Content, Entry, Object, Store, StoreError, StorePath, Tag};

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
}

#[async_trait]
impl Store for DirStore {
    async fn get(&self, path: &StorePath, max_len: u64) -> Result<Option<Object>, StoreError> {
        let path = path.clone();
        self.run(move |disk| disk.get(&path, max_len)).await
    }

    async fn open(&self, path: &StorePath) -> Result<Option<Pin<Box<dyn AsyncRead + Send>>>, StoreError> {
        let path = path.clone();
        let Some(file) = self.run(move |disk| disk.open(&path)).await? else { return Ok(None) };
        Ok(Some(Box::pin(tokio::fs::File::from_std(file))))
    }

    async fn create(&self, path: &StorePath, content: Content<'_>) -> Result<(), StoreError> {
        let path = path.clone();
        let source = match content {
            Content::Bytes(bytes) => Source::Bytes(bytes.to_vec()),
            Content::File(file) => Source::File(file.to_owned()),
            Content::Copy(object) => Source::Copy(object.clone()),
        };
        self.run(move |disk| disk.create(&path, source)).await
    }

    async fn swap(&self, path: &StorePath, bytes: &[u8], expected: Option<&Tag>) -> Result<Tag, StoreError> {
        let (path, bytes, expected) = (path.clone(), bytes.to_vec(), expected.cloned());
        self.run(move |disk| disk.swap(&path, &bytes, expected.as_ref())).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let prefix = if prefix.is_empty() { None } else { Some(StorePath::new(prefix)?) };
        self.run(move |disk| disk.list(prefix.as_ref())).await
    }

    async fn delete(&self, path: &StorePath) -> Result<(), StoreError> {
        let path = path.clone();
        self.run(move |disk| disk.delete(&path)).await
    }

    async fn sweep(&self, before: SystemTime) -> Result<usize, StoreError> {
        self.run(move |disk| disk.sweep(before)).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(StoreError::io("finish work in", "the store", &io::Error::other(error))))
}

#[cfg(test)]
mod tests;
