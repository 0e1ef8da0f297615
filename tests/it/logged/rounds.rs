//! How often a publication waits for the disk, and in which order its files are seen.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::io::AsyncRead;
use wheelseal::repository::{Keyring, Repository, Unwatched};
use wheelseal::store::{
    Content, DirStore, Entry, Object, Order, Store, StoreError, StorePath, Swap, Tag, Written,
};

use super::{begun, log_keys};
use crate::scene::{ONLINE, Scene, keyring, now};

/// One call that writes: what it creates, and what it swaps.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Call {
    created: Vec<String>,
    swapped: Vec<String>,
    order: Option<Order>,
}

/// Writes down what is written together.
#[derive(Debug)]
struct Rounds {
    inner: DirStore,
    calls: Mutex<Vec<Call>>,
}

impl Rounds {
    fn note(&self, objects: &[(StorePath, Content<'_>)], swaps: &[Swap<'_>], order: Option<Order>) {
        let created = objects.iter().map(|(path, _)| path.to_string()).collect();
        let swapped = swaps.iter().map(|swap| swap.path.to_string()).collect();
        self.calls.lock().unwrap().push(Call { created, swapped, order });
    }
}

#[async_trait]
impl Store for Rounds {
    async fn get(&self, path: &StorePath, max_len: u64) -> Result<Option<Object>, StoreError> {
        self.inner.get(path, max_len).await
    }

    async fn open(&self, path: &StorePath) -> Result<Option<Pin<Box<dyn AsyncRead + Send>>>, StoreError> {
        self.inner.open(path).await
    }

    async fn create(&self, path: &StorePath, content: Content<'_>) -> Result<(), StoreError> {
        self.note(&[(path.clone(), content)], &[], None);
        self.inner.create(path, content).await
    }

    async fn create_all(&self, objects: &[(StorePath, Content<'_>)]) -> Vec<Result<(), StoreError>> {
        self.note(objects, &[], None);
        self.inner.create_all(objects).await
    }

    async fn swap(&self, path: &StorePath, bytes: &[u8], expected: Option<&Tag>) -> Result<Tag, StoreError> {
        self.note(&[], &[Swap { path, bytes, expected }], None);
        self.inner.swap(path, bytes, expected).await
    }

    async fn swap_all(&self, swaps: &[Swap<'_>]) -> Vec<Result<Tag, StoreError>> {
        self.note(&[], swaps, None);
        self.inner.swap_all(swaps).await
    }

    async fn create_then_swap(
        &self,
        objects: &[(StorePath, Content<'_>)],
        swaps: &[Swap<'_>],
        order: Order,
    ) -> Written {
        self.note(objects, swaps, Some(order));
        self.inner.create_then_swap(objects, swaps, order).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.inner.list(prefix).await
    }

    async fn delete(&self, path: &StorePath) -> Result<(), StoreError> {
        self.inner.delete(path).await
    }
}

/// The calls of a second publication in one process.
async fn calls(scene: &Scene, keys: &Keyring) -> Vec<Call> {
    let inner = DirStore::open(scene.root()).await.unwrap();
    let store = Arc::new(Rounds { inner, calls: Mutex::default() });
    let repository = Repository::open(Arc::<Rounds>::clone(&store)).await.unwrap();
    for version in ["2.0", "3.0"] {
        store.calls.lock().unwrap().clear();
        repository.publish(keys, &[scene.add("alpha", version, "x")], now(), &Unwatched).await.unwrap();
    }
    let calls = store.calls.lock().unwrap().clone();
    // What creates and swaps nothing waits for nothing.
    calls.into_iter().filter(|call| call.created.len() + call.swapped.len() > 0).collect()
}

fn has(paths: &[String], part: &str) -> bool {
    paths.iter().any(|path| path.contains(part))
}

#[tokio::test]
async fn a_logged_publication_writes_in_as_many_calls_as_one_without_a_log() {
    let plain = Scene::new().await;
    plain.publish(&[plain.add("alpha", "1.0", "x = 1")]).await.unwrap();
    let plain = calls(&plain, &keyring(&ONLINE).await).await;
    assert_eq!(plain.len(), 3, "files, timestamp, pages: {plain:?}");
    let logged = calls(&begun().await, &log_keys().await).await;
    let [staged, committed, pages] = logged.as_slice() else { panic!("{logged:?}") };

    assert_eq!(staged.swapped, ["log/head"]);
    assert_eq!(staged.order, Some(Order::Open));
    assert!(has(&staged.created, ".snapshot.json") && !has(&staged.created, "tlog-proof"));

    assert_eq!(committed.swapped, ["log/checkpoint", "metadata/timestamp.json"]);
    assert_eq!(committed.order, Some(Order::Kept), "all that timestamp names is durable before it");
    for part in ["log/tile/0/", "log/tile/entries/", ".whl.tlog-proof", ".whl.metadata.tlog-proof"] {
        assert!(has(&committed.created, part), "{part}: {:?}", committed.created);
    }
    assert!(has(&committed.created, ".snapshot.json.tlog-proof"));
    assert_eq!(committed.created.len(), 5, "{:?}", committed.created);
    assert_eq!((pages.created.len(), pages.order), (0, None));
}
