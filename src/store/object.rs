//! [`ObjectStore`]: a bucket of an object store (S3, Google Cloud Storage, Azure) as a store, or the program's memory.
//!
//! | promise | how it is kept |
//! |---|---|
//! | `create` | PUT with `If-None-Match: *` (Google: generation 0) |
//! | `swap` | PUT with `If-Match` and the `ETag` that was read (Google: the generation), or as `create` |
//! | one winner | the server's; [`ObjectStore::probe`] tries it out before the first write, and refuses a server that has it not |
//! | durable | the server's: an answer 200 is taken as such |
//!
//! **Lost answers.** A server may write and its answer be lost, by a time-out or a proxy; tried again, the condition then
//! fails against our own write. So every write leaves a random number with the object, and a refusal after an attempt
//! whose end is unknown is settled by reading back. A rival's write of the same bytes is told apart. Where the end stays
//! unknown, the outcome is [`StoreError::Server`], never `Ok` and never a conflict. `object/write.rs` has the whole of it.
//!
//! **Dates.** A refused `create` dates the object anew by writing the same bytes again on condition that they are
//! unchanged. Objects with other bytes keep their date: nobody refers to bytes he did not mean. So do those above
//! [`MAX_WHOLE`].
//!
//! **Large files.** Up to [`MAX_WHOLE`], files and copies go through memory and are as conditional as bytes. Above, no
//! server in use has a condition that all of them keep: it is asked whether the object exists, and if not the file is
//! uploaded in parts, or copied by the server. Two such writers at once could both succeed. What is that large is named
//! by its hash, or is the unsigned second name of such a file.
//!
//! What an interrupted upload in parts leaves is not listed and not swept: give the bucket a rule that removes it.
//!
//! | file | what |
//! |---|---|
//! | `object/open.rs`, `object/profile.rs` | URL and environment → a client of the service |
//! | `object/write.rs` | one conditional write, with its attempts |
//! | `object/probe.rs` | does the server keep its conditions? |
//! | `object/parts.rs` | large files |
//! | `object/fault.rs` | what the service's errors mean |

mod fault;
mod open;
mod parts;
mod probe;
mod profile;
mod write;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectMeta, ObjectStoreExt, path::Path as Key};
use tokio::io::AsyncRead;
use tokio::sync::{OnceCell, Semaphore};

use self::fault::{Context, fault_of};
use self::open::{Kind, Service};
use self::parts::Reader;
use self::write::Condition;
use super::{Content, Entry, Fault, Object, READS_AT_ONCE, Store, StoreError, StorePath, Swap, Tag, Visit};

pub use self::open::amazon_settings;
pub use self::probe::{EtagQuotes, Probed};

/// Bytes of a file or copy that are held in memory at once, at most; [`BULKY`] of them at the same time.
const MAX_WHOLE: u64 = 32 << 20;

/// Files and copies under way at once: bounds memory to 128 MiB.
const BULKY: usize = 4;

/// Requests under way at once for one call: enough to hide the way to a distant server, few enough for its rate limits.
const PARALLEL: usize = 32;

/// Requests prepared at once: some kilobytes each.
const PART: usize = 1024;

/// A bucket, or a folder of one; clones share it.
#[derive(Clone, Debug)]
pub struct ObjectStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Repeats what fails by itself.
    reads: Arc<dyn object_store::ObjectStore>,
    /// Never repeats a request: `write.rs` must know of each.
    writes: Arc<dyn object_store::ObjectStore>,
    kind: Kind,
    /// Without slashes at its ends; empty: the bucket itself.
    prefix: String,
    url: String,
    /// What the probe found, once it was needed.
    probed: OnceCell<Probed>,
    /// Where that is remembered between processes.
    memory: Option<PathBuf>,
    bulky: Semaphore,
}

impl ObjectStore {
    /// Whether `url` is one for this store: `s3://`, `gs://`, `az://`, `memory://`.
    pub fn is_url(url: &str) -> bool {
        open::scheme(url).is_some()
    }

    /// The store at `url`: scheme, bucket or container, and perhaps a folder in it. Nothing is asked of the server yet.
    ///
    /// Credentials, region and endpoint come from `environment`, under the names that the vendors' tools use. What the
    /// probe finds is remembered in the folder `memory`.
    pub fn open(
        url: &str,
        environment: &BTreeMap<String, String>,
        memory: Option<&Path>,
    ) -> Result<Self, StoreError> {
        let Service { reads, writes, kind, prefix, identity } = open::connect(url, environment)?;
        let memory = memory.map(|folder| folder.join(probe::file_name(&identity)));
        let bulky = Semaphore::new(BULKY);
        let (url, probed) = (url.to_owned(), OnceCell::new());
        Ok(Self { inner: Arc::new(Inner { reads, writes, kind, prefix, url, probed, memory, bulky }) })
    }

    /// A new, empty store in memory, which ends with the last clone.
    pub fn in_memory() -> Self {
        let service = open::in_memory();
        let (url, probed, bulky) = ("memory://".to_owned(), OnceCell::new(), Semaphore::new(BULKY));
        let Service { reads, writes, kind, prefix, .. } = service;
        Self { inner: Arc::new(Inner { reads, writes, kind, prefix, url, probed, memory: None, bulky }) }
    }

    /// The URL it was opened with.
    pub fn url(&self) -> &str {
        &self.inner.url
    }

    /// What is remembered of an earlier probe, or else what a probe finds now: before the first write.
    async fn probed(&self) -> Result<Probed, StoreError> {
        let find = || async {
            match self.inner.memory.as_deref().and_then(Probed::recall) {
                Some(remembered) => Ok(remembered),
                None => self.probe().await,
            }
        };
        self.inner.probed.get_or_try_init(find).await.copied()
    }

    fn key(&self, path: &str) -> Result<Key, StoreError> {
        let whole = match (self.inner.prefix.as_str(), path) {
            ("", path) => path.to_owned(),
            (prefix, "") => prefix.to_owned(),
            (prefix, path) => format!("{prefix}/{path}"),
        };
        let reason = "an object store does not take it";
        Key::parse(whole).map_err(|_| StoreError::InvalidPath { path: path.to_owned(), reason })
    }

    /// The object of that key, unless its name is none of a store's.
    fn path_of(&self, key: &Key) -> Option<StorePath> {
        let key = key.as_ref();
        let below = match self.inner.prefix.as_str() {
            "" => key,
            prefix => key.strip_prefix(prefix)?.strip_prefix('/')?,
        };
        StorePath::new(below).ok().filter(|path| !path.as_str().starts_with(probe::FOLDER))
    }

    /// What the server says of the object, or `None` when there is none.
    async fn head(&self, path: &StorePath) -> Result<Option<ObjectMeta>, StoreError> {
        match self.inner.reads.head(&self.key(path.as_str())?).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if fault_of(&error) == Fault::NoObject => Ok(None),
            Err(error) => Err(Context { what: "read", path: path.as_str() }.error(&error)),
        }
    }

    /// Its length, or `None` when there is none.
    async fn length(&self, path: &StorePath) -> Result<Option<u64>, StoreError> {
        Ok(self.head(path).await?.map(|found| found.size))
    }

    async fn create_bytes(&self, path: &StorePath, bytes: Vec<u8>) -> Result<(), StoreError> {
        let probed = self.probed().await?;
        let payload = object_store::PutPayload::from(bytes);
        match self.put(path, &payload, Condition::Absent, probed).await {
            Ok(_) => Ok(()),
            Err(StoreError::Exists { path }) => {
                self.date_anew(&path, &payload, probed).await?;
                Err(StoreError::Exists { path })
            }
            Err(error) => Err(error),
        }
    }

    /// Writes the bytes again where they are already.
    async fn date_anew(
        &self,
        path: &StorePath,
        payload: &object_store::PutPayload,
        probed: Probed,
    ) -> Result<(), StoreError> {
        let max = u64::try_from(payload.content_length()).unwrap_or(u64::MAX);
        let found = match self.get(path, max).await {
            Err(StoreError::TooLarge { .. }) | Ok(None) => return Ok(()),
            found => found?,
        };
        let same = |object: &Object| payload.iter().flatten().eq(&object.bytes);
        let Some(object) = found.filter(same) else { return Ok(()) };
        match self.put(path, payload, Condition::Is(&object.tag), probed).await {
            // Somebody else wrote it meanwhile, which dated it.
            Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn create_file(&self, path: &StorePath, file: &Path) -> Result<(), StoreError> {
        let _turn = self.inner.bulky.acquire().await;
        let failed = |error| StoreError::io("read", file.display(), &error);
        let len = tokio::fs::metadata(file).await.map_err(failed)?.len();
        if len <= MAX_WHOLE {
            return self.create_bytes(path, tokio::fs::read(file).await.map_err(failed)?).await;
        }
        self.probed().await?;
        match self.length(path).await? {
            Some(_) => Err(StoreError::Exists { path: path.clone() }),
            None => self.upload_parts(path, file).await,
        }
    }

    async fn create_copy(&self, path: &StorePath, original: &StorePath) -> Result<(), StoreError> {
        let _turn = self.inner.bulky.acquire().await;
        let absent = || StoreError::io("copy", original, &ErrorKind::NotFound.into());
        if self.length(original).await?.ok_or_else(absent)? <= MAX_WHOLE {
            let object = self.get(original, MAX_WHOLE).await?.ok_or_else(absent)?;
            return self.create_bytes(path, object.bytes).await;
        }
        self.probed().await?;
        if self.length(path).await?.is_some() {
            return Err(StoreError::Exists { path: path.clone() });
        }
        let (from, to) = (self.key(original.as_str())?, self.key(path.as_str())?);
        let copied = self.inner.reads.copy(&from, &to).await;
        copied.map_err(|error| Context { what: "copy", path: original.as_str() }.error(&error))
    }
}

#[async_trait]
impl Store for ObjectStore {
    async fn get(&self, path: &StorePath, max_len: u64) -> Result<Option<Object>, StoreError> {
        let context = Context { what: "read", path: path.as_str() };
        let found = match self.inner.reads.get(&self.key(path.as_str())?).await {
            Ok(found) => found,
            Err(error) if fault_of(&error) == Fault::NoObject => return Ok(None),
            Err(error) => return Err(context.error(&error)),
        };
        let len = found.meta.size;
        if len > max_len {
            return Err(StoreError::TooLarge { path: path.clone(), found: len, max: max_len });
        }
        let tag =
            self.tag_of(&found).ok_or_else(|| context.because(Fault::Unsafe, "the server gave no ETag"))?;
        let bytes = found.bytes().await.map_err(|error| context.error(&error))?;
        Ok(Some(Object { bytes: bytes.into(), tag }))
    }

    async fn open(&self, path: &StorePath) -> Result<Option<Pin<Box<dyn AsyncRead + Send>>>, StoreError> {
        match self.inner.reads.get(&self.key(path.as_str())?).await {
            Ok(found) => Ok(Some(Box::pin(Reader::new(found.into_stream())))),
            Err(error) if fault_of(&error) == Fault::NoObject => Ok(None),
            Err(error) => Err(Context { what: "read", path: path.as_str() }.error(&error)),
        }
    }

    async fn open_at(
        &self,
        path: &StorePath,
        start: u64,
    ) -> Result<Option<Pin<Box<dyn AsyncRead + Send>>>, StoreError> {
        if start == 0 { self.open(path).await } else { self.open_rest(path, start).await }
    }

    async fn stat(&self, path: &StorePath) -> Result<Option<Entry>, StoreError> {
        let found = self.head(path).await?;
        let modified = |found: &ObjectMeta| SystemTime::from(found.last_modified);
        Ok(found.map(|found| Entry { path: path.clone(), len: found.size, modified: modified(&found) }))
    }

    async fn exist(&self, paths: &[StorePath]) -> Result<Vec<bool>, StoreError> {
        let mut looks = Vec::with_capacity(paths.len());
        looks.extend(paths.iter().map(|path| self.head(path)));
        stream::iter(looks).buffered(READS_AT_ONCE).map_ok(|found| found.is_some()).try_collect().await
    }

    async fn create(&self, path: &StorePath, content: Content<'_>) -> Result<(), StoreError> {
        match content {
            Content::Bytes(bytes) => self.create_bytes(path, bytes.to_vec()).await,
            Content::Shared(bytes) => self.create_bytes(path, bytes.to_vec()).await,
            Content::File(file) => self.create_file(path, file).await,
            Content::Copy(original) => self.create_copy(path, original).await,
        }
    }

    async fn create_all(&self, objects: &[(StorePath, Content<'_>)]) -> Vec<Result<(), StoreError>> {
        let mut outcomes = vec![Ok(()); objects.len()];
        for copies in [false, true] {
            let mut due = Vec::new();
            for (at, (path, content)) in objects.iter().enumerate() {
                if matches!(content, Content::Copy(_)) == copies {
                    due.push((at, path, *content));
                }
            }
            for part in due.chunks(PART) {
                let mut writes = Vec::with_capacity(part.len());
                for (at, path, content) in part {
                    let write = self.create(path, *content);
                    writes.push(async move { (*at, write.await) });
                }
                let mut writes = stream::iter(writes).buffer_unordered(PARALLEL);
                while let Some((at, done)) = writes.next().await {
                    if let Some(outcome) = outcomes.get_mut(at) {
                        *outcome = done;
                    }
                }
            }
        }
        outcomes
    }

    async fn swap(&self, path: &StorePath, bytes: &[u8], expected: Option<&Tag>) -> Result<Tag, StoreError> {
        let probed = self.probed().await?;
        let payload = object_store::PutPayload::from(bytes.to_vec());
        let condition = expected.map_or(Condition::Absent, Condition::Is);
        match self.put(path, &payload, condition, probed).await {
            Err(StoreError::Exists { path }) => Err(StoreError::Conflict { path }),
            done => done,
        }
    }

    async fn swap_all(&self, swaps: &[Swap<'_>]) -> Vec<Result<Tag, StoreError>> {
        let mut outcomes = Vec::with_capacity(swaps.len());
        for part in swaps.chunks(PART) {
            let mut writes = Vec::with_capacity(part.len());
            for swap in part {
                writes.push(self.swap(swap.path, swap.bytes, swap.expected));
            }
            outcomes.extend(stream::iter(writes).buffered(PARALLEL).collect::<Vec<_>>().await);
        }
        outcomes
    }

    async fn walk(&self, prefix: &str, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let prefix = if prefix.is_empty() { String::new() } else { StorePath::new(prefix)?.to_string() };
        let context = Context { what: "list", path: &self.inner.url };
        let mut listed = self.inner.reads.list(Some(&self.key(&prefix)?));
        while let Some(found) = listed.try_next().await.map_err(|error| context.error(&error))? {
            if let Some(path) = self.path_of(&found.location) {
                visit(Entry { path, len: found.size, modified: SystemTime::from(found.last_modified) })?;
            }
        }
        Ok(())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let mut entries = Vec::new();
        let mut keep = |entry| {
            entries.push(entry);
            Ok(())
        };
        self.walk(prefix, &mut keep).await?;
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    async fn delete(&self, path: &StorePath) -> Result<(), StoreError> {
        match self.inner.reads.delete(&self.key(path.as_str())?).await {
            Err(error) if fault_of(&error) != Fault::NoObject => {
                Err(Context { what: "delete", path: path.as_str() }.error(&error))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
