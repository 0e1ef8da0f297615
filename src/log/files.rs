//! [`Files`]: a log's files, wherever they are.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::LogError;
use super::growth::Write;
use crate::store::{Store, StorePath};

/// Files asked for at once.
const READS_AT_ONCE: usize = 16;

/// Files by path, below the address that has `metadata/`, `targets/` and `log/`. What is read is not trusted.
#[async_trait]
pub trait Files: Send + Sync + fmt::Debug {
    /// The whole file, or `None` when there is none; refused when it is longer than `max` bytes.
    async fn read(&self, path: &str, max: u64) -> Result<Option<Vec<u8>>, LogError>;

    /// Many files as [`Self::read`] gives them, in the order asked for; the first failure ends it.
    async fn read_all(&self, paths: &[String], max: u64) -> Result<Vec<Option<Vec<u8>>>, LogError> {
        let mut reads = Vec::with_capacity(paths.len());
        reads.extend(paths.iter().map(|path| self.read(path, max)));
        stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await
    }
}

/// The files of a store.
#[derive(Debug, Clone)]
pub struct StoreFiles(pub Arc<dyn Store>);

#[async_trait]
impl Files for StoreFiles {
    async fn read(&self, path: &str, max: u64) -> Result<Option<Vec<u8>>, LogError> {
        let object = self.0.get(&StorePath::new(path)?, max).await?;
        Ok(object.map(|object| object.bytes))
    }

    async fn read_all(&self, paths: &[String], max: u64) -> Result<Vec<Option<Vec<u8>>>, LogError> {
        let paths: Result<Vec<_>, _> = paths.iter().map(StorePath::new).collect();
        Ok(self.0.read_all(&paths?, max).await?)
    }
}

/// Files that are not written yet, in front of those that are.
#[derive(Debug)]
pub(super) struct Unwritten {
    new: BTreeMap<String, Arc<Vec<u8>>>,
    behind: Arc<dyn Files>,
}

impl Unwritten {
    pub(super) fn new(writes: &[Write], behind: Arc<dyn Files>) -> Self {
        let new = writes.iter().map(|write| (write.path.clone(), Arc::clone(&write.bytes)));
        Self { new: new.collect(), behind }
    }
}

#[async_trait]
impl Files for Unwritten {
    async fn read(&self, path: &str, max: u64) -> Result<Option<Vec<u8>>, LogError> {
        match self.new.get(path) {
            Some(bytes) => Ok(Some(bytes.to_vec())),
            None => self.behind.read(path, max).await,
        }
    }

    async fn read_all(&self, paths: &[String], max: u64) -> Result<Vec<Option<Vec<u8>>>, LogError> {
        let others: Vec<String> =
            paths.iter().filter(|path| !self.new.contains_key(*path)).cloned().collect();
        let others = if others.is_empty() { Vec::new() } else { self.behind.read_all(&others, max).await? };
        let mut others = others.into_iter();
        let found = paths.iter().map(|path| match self.new.get(path) {
            Some(bytes) => Some(bytes.to_vec()),
            None => others.next().flatten(),
        });
        Ok(found.collect())
    }
}
