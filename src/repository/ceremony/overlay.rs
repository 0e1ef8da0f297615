//! A store on which a change is rehearsed: what would take effect is held back until it is released.
//!
//! New files that nothing refers to are written through, for they change nothing for anybody; a rehearsal that comes to
//! nothing leaves them to `gc`. Held back, in their order, are replaced files (the timestamp above all), deleted ones, and
//! new roots, which clients follow as soon as they are there.
//!
//! The transparency log is not rehearsed: witnesses remember what they are asked to cosign, so what is appended here is
//! appended. A rehearsal that comes to nothing leaves what a crash would leave, leaves of files that nothing refers to.

use std::collections::HashMap;
use std::io::Cursor;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::io::AsyncRead;

use crate::repository::check::names::plain_name;
use crate::repository::check::split_name;
use crate::repository::{MAX_METADATA, layout};
use crate::store::{Content, Entry, Object, Store, StoreError, StorePath, Tag};

/// What the tags of held objects start with: no backend writes such.
const HELD: &str = "held:";

/// A write that is held back.
#[derive(Debug, Clone)]
enum Write {
    Create(StorePath, Vec<u8>),
    Swap { path: StorePath, bytes: Vec<u8>, expected: Option<Tag> },
    Delete(StorePath),
}

impl Write {
    fn path(&self) -> &StorePath {
        match self {
            Self::Create(path, _) | Self::Swap { path, .. } | Self::Delete(path) => path,
        }
    }
}

/// An object as the writes that are held back leave it.
enum Found {
    /// None of them touches it.
    Nothing,
    Held(Object),
    Deleted,
}

/// A store, seen through the writes that are held back.
#[derive(Debug)]
pub(super) struct Overlay {
    inner: Arc<dyn Store>,
    held: Mutex<Vec<Write>>,
}

impl Overlay {
    pub(super) fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, held: Mutex::default() }
    }

    /// Does what was held back, in order. The first that fails ends it; those before it are done.
    pub(super) async fn release(&self) -> Result<(), StoreError> {
        let held = std::mem::take(&mut *self.held());
        let mut tags: HashMap<String, Tag> = HashMap::new();
        for (at, write) in held.into_iter().enumerate() {
            match write {
                Write::Create(path, bytes) => match self.inner.create(&path, Content::Bytes(&bytes)).await {
                    Err(StoreError::Exists { path }) => return Err(StoreError::Conflict { path }),
                    done => done?,
                },
                Write::Swap { path, bytes, expected } => {
                    let real = expected.map(|tag| tags.get(tag.as_str()).cloned().unwrap_or(tag));
                    let tag = self.inner.swap(&path, &bytes, real.as_ref()).await?;
                    tags.insert(name(at), tag);
                }
                Write::Delete(path) => self.inner.delete(&path).await?,
            }
        }
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, Vec<Write>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is held of an object.
    fn find(&self, path: &StorePath) -> Found {
        let held = self.held();
        match held.iter().enumerate().rev().find(|(_, write)| write.path() == path) {
            None => Found::Nothing,
            Some((at, Write::Create(_, bytes) | Write::Swap { bytes, .. })) => {
                Found::Held(Object { bytes: bytes.clone(), tag: Tag::new(name(at)) })
            }
            Some((_, Write::Delete(_))) => Found::Deleted,
        }
    }
}

fn name(at: usize) -> String {
    format!("{HELD}{at}")
}

/// Whether clients follow a new file as soon as it is there: `metadata/N.root.json` and its compressed copies.
fn takes_effect(path: &StorePath) -> bool {
    let file = path.as_str().strip_prefix(layout::METADATA).and_then(|rest| rest.strip_prefix('/'));
    file.map(plain_name).and_then(split_name).is_some_and(|(_, role)| role == "root")
}

/// Whether it is a file of the transparency log, which is written through.
fn is_logs(path: &StorePath) -> bool {
    path.segments().next() == Some(layout::LOG)
}

#[async_trait]
impl Store for Overlay {
    async fn get(&self, path: &StorePath, max_len: u64) -> Result<Option<Object>, StoreError> {
        match self.find(path) {
            Found::Held(object) => Ok(Some(object)),
            Found::Deleted => Ok(None),
            Found::Nothing => self.inner.get(path, max_len).await,
        }
    }

    async fn open(&self, path: &StorePath) -> Result<Option<Pin<Box<dyn AsyncRead + Send>>>, StoreError> {
        match self.find(path) {
            Found::Held(object) => Ok(Some(Box::pin(Cursor::new(object.bytes)))),
            Found::Deleted => Ok(None),
            Found::Nothing => self.inner.open(path).await,
        }
    }

    async fn create(&self, path: &StorePath, content: Content<'_>) -> Result<(), StoreError> {
        let bytes = match content {
            Content::Bytes(bytes) if takes_effect(path) => bytes,
            Content::Shared(bytes) if takes_effect(path) => bytes.as_slice(),
            _ => return self.inner.create(path, content).await,
        };
        if self.get(path, MAX_METADATA).await?.is_some() {
            return Err(StoreError::Exists { path: path.clone() });
        }
        self.held().push(Write::Create(path.clone(), bytes.to_vec()));
        Ok(())
    }

    async fn create_all(&self, objects: &[(StorePath, Content<'_>)]) -> Vec<Result<(), StoreError>> {
        if !objects.iter().any(|(path, _)| takes_effect(path)) {
            return self.inner.create_all(objects).await;
        }
        let mut outcomes = Vec::with_capacity(objects.len());
        for (path, content) in objects {
            outcomes.push(self.create(path, *content).await);
        }
        outcomes
    }

    async fn swap(&self, path: &StorePath, bytes: &[u8], expected: Option<&Tag>) -> Result<Tag, StoreError> {
        if is_logs(path) {
            return self.inner.swap(path, bytes, expected).await;
        }
        let present = self.get(path, MAX_METADATA).await?.map(|object| object.tag);
        if present.as_ref() != expected {
            return Err(StoreError::Conflict { path: path.clone() });
        }
        let mut held = self.held();
        let tag = Tag::new(name(held.len()));
        held.push(Write::Swap { path: path.clone(), bytes: bytes.to_vec(), expected: expected.cloned() });
        Ok(tag)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.inner.list(prefix).await
    }

    async fn delete(&self, path: &StorePath) -> Result<(), StoreError> {
        if is_logs(path) {
            return self.inner.delete(path).await;
        }
        self.held().push(Write::Delete(path.clone()));
        Ok(())
    }
}
