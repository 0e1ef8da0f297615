//! A store in memory, with a clock of its own, for tests that run an operation very many times. And what must hold of
//! the repository in any store, whatever happened to it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a store that cannot be read is a test that failed"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tempfile::TempDir;
use tokio::io::AsyncRead;
use wheelseal::client::{
    Client, ClientError, DirSource, FetchError, Fetched, MetadataDir, Session, Sink, Source,
};
use wheelseal::crypto::sha256;
use wheelseal::python::{index_html, index_json};
use wheelseal::repository::{Plan, Repair, Repository, Unwatched};
use wheelseal::store::{Content, Entry, Object, Store, StoreError, StorePath, Tag};
use wheelseal::tuf::path::TargetPath;
use wheelseal::tuf::trusted::Limits;

use crate::scene::{ALL_KEYS, keyring, now, pages, plan, wheel_name};

/// Objects by name; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct MemoryStore(Arc<Mutex<World>>);

/// All objects, and the time.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) objects: BTreeMap<String, Stored>,
    pub(crate) clock: SystemTime,
}

/// One object.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) modified: SystemTime,
    pub(crate) digest: [u8; 32],
}

impl MemoryStore {
    pub(crate) fn new() -> Self {
        Self::of(World { objects: BTreeMap::new(), clock: now().into() })
    }

    pub(crate) fn of(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    /// A new repository of two bins.
    pub(crate) async fn with_repository() -> Self {
        let (store, plan) = (Self::new(), Plan { bin_count: 2, ..plan().await });
        let keys = keyring(&ALL_KEYS).await;
        Repository::init(Arc::new(store.clone()), &plan, &keys, now(), &Unwatched).await.unwrap();
        store
    }

    pub(crate) async fn repository(&self) -> Repository {
        Repository::open(Arc::new(self.clone())).await.unwrap()
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    /// Another store with the same objects.
    pub(crate) fn copy(&self) -> Self {
        Self::of(self.world().clone())
    }

    /// The names of all objects below a folder.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        self.world().objects.keys().filter(|name| name.starts_with(folder)).cloned().collect()
    }
}

impl Stored {
    pub(crate) fn tag(&self) -> Tag {
        Tag::new(hex::encode(self.digest))
    }
}

impl World {
    pub(crate) fn put(&mut self, name: &str, bytes: impl Into<Arc<[u8]>>) {
        let bytes = bytes.into();
        let digest = sha256(&bytes);
        self.objects.insert(name.to_owned(), Stored { bytes, modified: self.clock, digest });
    }

    fn content(&self, content: Content<'_>) -> Option<Arc<[u8]>> {
        match content {
            Content::Bytes(bytes) => Some(bytes.into()),
            Content::Shared(bytes) => Some(bytes.as_slice().into()),
            Content::File(file) => Some(fs::read(file).unwrap().into()),
            Content::Copy(from) => self.objects.get(from.as_str()).map(|from| Arc::clone(&from.bytes)),
        }
    }
}

fn missing(path: &StorePath) -> StoreError {
    let kind = std::io::ErrorKind::NotFound;
    StoreError::Io { what: "copy", path: path.to_string(), kind, message: kind.to_string() }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, path: &StorePath, max_len: u64) -> Result<Option<Object>, StoreError> {
        let world = self.world();
        let Some(found) = world.objects.get(path.as_str()) else { return Ok(None) };
        let len = found.bytes.len().try_into().unwrap();
        if len > max_len {
            return Err(StoreError::TooLarge { path: path.clone(), found: len, max: max_len });
        }
        Ok(Some(Object { bytes: found.bytes.to_vec(), tag: found.tag() }))
    }

    async fn open(&self, path: &StorePath) -> Result<Option<Pin<Box<dyn AsyncRead + Send>>>, StoreError> {
        let found = self.world().objects.get(path.as_str()).map(|found| found.bytes.to_vec());
        Ok(found.map(|bytes| -> Pin<Box<dyn AsyncRead + Send>> { Box::pin(Cursor::new(bytes)) }))
    }

    async fn create(&self, path: &StorePath, content: Content<'_>) -> Result<(), StoreError> {
        let mut world = self.world();
        let clock = world.clock;
        if let Some(found) = world.objects.get_mut(path.as_str()) {
            found.modified = clock;
            return Err(StoreError::Exists { path: path.clone() });
        }
        let bytes = world.content(content).ok_or_else(|| missing(path))?;
        world.put(path.as_str(), bytes);
        Ok(())
    }

    async fn swap(&self, path: &StorePath, bytes: &[u8], expected: Option<&Tag>) -> Result<Tag, StoreError> {
        let mut world = self.world();
        let found = world.objects.get(path.as_str()).map(Stored::tag);
        if found.as_ref() != expected {
            return Err(StoreError::Conflict { path: path.clone() });
        }
        world.put(path.as_str(), bytes);
        Ok(Tag::new(hex::encode(sha256(bytes))))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let (world, folder) = (self.world(), format!("{prefix}/"));
        let below = world.objects.iter().filter(|(name, _)| prefix.is_empty() || name.starts_with(&folder));
        below
            .map(|(name, found)| {
                let (len, modified) = (found.bytes.len().try_into().unwrap(), found.modified);
                Ok(Entry { path: StorePath::new(name.as_str())?, len, modified })
            })
            .collect()
    }

    async fn delete(&self, path: &StorePath) -> Result<(), StoreError> {
        self.world().objects.remove(path.as_str());
        Ok(())
    }
}

/// Serves a folder of the store to clients.
#[derive(Debug)]
struct Served(MemoryStore, &'static str);

#[async_trait]
impl Source for Served {
    async fn fetch(&self, path: &str, max_len: u64, sink: &mut dyn Sink) -> Result<Fetched, FetchError> {
        let found = self.0.world().objects.get(&format!("{}/{path}", self.1)).cloned();
        let Some(found) = found else { return Ok(Fetched::Absent) };
        let len: u64 = found.bytes.len().try_into().unwrap();
        if len > max_len {
            return Err(FetchError::TooLarge { url: path.to_owned(), max: max_len });
        }
        sink.write(&found.bytes).unwrap();
        Ok(Fetched::Whole)
    }
}

/// A client that stays: what it trusted once binds what it takes later.
pub(crate) struct Reader {
    folder: TempDir,
    client: Client,
}

impl Reader {
    /// Trusts the first root of what lies in memory.
    pub(crate) fn of(store: &MemoryStore) -> Self {
        let root = store.world().objects["metadata/1.root.json"].bytes.to_vec();
        let served = |folder| Box::new(Served(store.clone(), folder));
        Self::new(&root, served("metadata"), served("targets"))
    }

    /// The same of a folder.
    pub(crate) fn of_folder(root: &Path) -> Self {
        let first = fs::read(root.join("metadata/1.root.json")).unwrap();
        let served = |folder| Box::new(DirSource::new(root.join(folder)));
        Self::new(&first, served("metadata"), served("targets"))
    }

    fn new(root: &[u8], metadata: Box<dyn Source>, targets: Box<dyn Source>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cache = MetadataDir::init(folder.path().join("metadata"), root).unwrap();
        Self { folder, client: Client::new(metadata, targets, cache, Limits::default()) }
    }

    /// Updates, and downloads these wheels, of project and version, and the pages of their projects.
    pub(crate) async fn downloads(
        &self,
        now: DateTime<Utc>,
        wheels: impl IntoIterator<Item = (&str, &str)>,
    ) -> Result<(), ClientError> {
        let session = self.client.refresh(now).await?;
        for (project, version) in wheels {
            let file = wheel_name(project, version);
            let page = page(&session, project).await?;
            assert!(page.contains(file.as_str()), "{file} is not on its page");
            let target = TargetPath::new(format!("{project}/{file}")).unwrap();
            let found = session.find(&target).await?;
            let to = self.folder.path().join(file.as_str());
            session.download(&found, &to).await?;
            fs::remove_file(to).unwrap();
        }
        Ok(())
    }

    /// Updates, and downloads one target.
    pub(crate) async fn gets(&self, now: DateTime<Utc>, target: &str) -> Result<(), ClientError> {
        let session = self.client.refresh(now).await?;
        let found = session.find(&TargetPath::new(target).unwrap()).await?;
        let to = self.folder.path().join("target");
        session.download(&found, &to).await?;
        fs::remove_file(to).unwrap();
        Ok(())
    }

    /// Updates, and gives the page of a project as its JSON.
    pub(crate) async fn page(&self, now: DateTime<Utc>, project: &str) -> Result<String, ClientError> {
        page(&self.client.refresh(now).await?, project).await
    }
}

async fn page(session: &Session, project: &str) -> Result<String, ClientError> {
    let page = TargetPath::new(format!("simple/{project}/index.json")).unwrap();
    let found = session.find(&page).await?;
    Ok(String::from_utf8(session.read(&found, 1 << 20).await?).unwrap())
}

/// All verifies, and what plain pip reads is what was signed: files, pages and the list of projects.
pub(crate) async fn assert_sound(store: &MemoryStore, when: &str) {
    let repository = store.repository().await;
    let problems = repository.check(now(), &Unwatched).await.unwrap().problems;
    assert!(problems.is_empty(), "{when}: {problems:#?}");
    let plain = repository.check_plain(Repair::No, &Unwatched).await.unwrap();
    assert!(plain.is_empty(), "{when}: {plain:#?}");
    assert_eq!(store.names("staging/pages/"), [""; 0], "{when}: notes of unfinished pages");
    let state = repository.state().await.unwrap();
    let projects: Vec<_> = pages(&repository, &state).await.iter().map(|page| page.name().clone()).collect();
    let mut expected: Vec<String> = projects
        .iter()
        .flat_map(|name| ["html", "json"].map(|kind| format!("simple/{name}/index.{kind}")))
        .collect();
    if !store.names("simple/index.").is_empty() || !projects.is_empty() {
        expected.extend(["simple/index.html".to_owned(), "simple/index.json".to_owned()]);
        let text = |name: &str| String::from_utf8(store.world().objects[name].bytes.to_vec()).unwrap();
        assert_eq!(text("simple/index.json"), index_json(&projects), "{when}");
        assert_eq!(text("simple/index.html"), index_html(&projects), "{when}");
    }
    expected.sort();
    assert_eq!(store.names("simple/"), expected, "{when}: pages of projects that are not signed");
}
