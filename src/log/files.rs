//! [`Files`]: a log's files, wherever they are.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::LogError;
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
