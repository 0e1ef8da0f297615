//! A store that can be written to without the one below it being touched: what is new lies elsewhere, what is gone is
//! remembered. For rehearsals, on a repository of any size: nothing is copied.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::store::{Content, Entry, Object, Store, StoreError, StorePath, Tag};

/// Bytes of an object that is copied when it gets another name, at most.
const MAX_COPIED: u64 = 1 << 32;

/// A store seen through what was written above it.
#[derive(Debug)]
pub struct Sandbox {
    below: Arc<dyn Store>,
    above: Arc<dyn Store>,
    gone: Mutex<BTreeSet<StorePath>>,
}

impl Sandbox {
    /// `below` is only read; `above` takes what is written.
    pub fn new(below: Arc<dyn Store>, above: Arc<dyn Store>) -> Self {
        Self { below, above, gone: Mutex::default() }
    }

    fn gone(&self) -> MutexGuard<'_, BTreeSet<StorePath>> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shows_below(&self, path: &StorePath) -> bool {
        !self.gone().contains(path)
    }

    async fn is_there(&self, path: &StorePath) -> Result<bool, StoreError> {
        Ok(self.open(path).await?.is_some())
    }

    /// The bytes of an object, wherever it lies.
    async fn bytes(&self, path: &StorePath) -> Result<Vec<u8>, StoreError> {
        let failed = |kind: ErrorKind, message: String| {
            let path = path.to_string();
            StoreError::Io { what: "copy", path, kind, message }
        };
        let stream = self.open(path).await?;
        let stream = stream.ok_or_else(|| failed(ErrorKind::NotFound, "it does not exist".to_owned()))?;
        let mut bytes = Vec::new();
        let read = stream.take(MAX_COPIED).read_to_end(&mut bytes).await;
        read.map_err(|error| failed(error.kind(), error.to_string()))?;
        Ok(bytes)
    }
}

#[async_trait]
impl Store for Sandbox {
    async fn get(&self, path: &StorePath, max_len: u64) -> Result<Option<Object>, StoreError> {
        match self.above.get(path, max_len).await? {
            None if self.shows_below(path) => self.below.get(path, max_len).await,
            found => Ok(found),
        }
    }

    async fn open(&self, path: &StorePath) -> Result<Option<Pin<Box<dyn AsyncRead + Send>>>, StoreError> {
        match self.above.open(path).await? {
            None if self.shows_below(path) => self.below.open(path).await,
            found => Ok(found),
        }
    }

    async fn create(&self, path: &StorePath, content: Content<'_>) -> Result<(), StoreError> {
        if self.is_there(path).await? {
            return Err(StoreError::Exists { path: path.clone() });
        }
        match content {
            Content::Copy(original) => {
                let bytes = self.bytes(original).await?;
                self.above.create(path, Content::Bytes(&bytes)).await
            }
            other => self.above.create(path, other).await,
        }
    }

    async fn swap(&self, path: &StorePath, bytes: &[u8], expected: Option<&Tag>) -> Result<Tag, StoreError> {
        if let Some(found) = self.above.get(path, u64::MAX).await? {
            if expected != Some(&found.tag) {
                return Err(StoreError::Conflict { path: path.clone() });
            }
            return self.above.swap(path, bytes, expected).await;
        }
        let found = if self.shows_below(path) { self.below.get(path, u64::MAX).await? } else { None };
        if found.map(|found| found.tag).as_ref() != expected {
            return Err(StoreError::Conflict { path: path.clone() });
        }
        self.above.swap(path, bytes, None).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let below = self.below.list(prefix).await?;
        let below = below.into_iter().filter(|entry| self.shows_below(&entry.path));
        let mut all: BTreeMap<StorePath, Entry> = below.map(|entry| (entry.path.clone(), entry)).collect();
        all.extend(self.above.list(prefix).await?.into_iter().map(|entry| (entry.path.clone(), entry)));
        Ok(all.into_values().collect())
    }

    async fn delete(&self, path: &StorePath) -> Result<(), StoreError> {
        self.above.delete(path).await?;
        self.gone().insert(path.clone());
        Ok(())
    }
}
