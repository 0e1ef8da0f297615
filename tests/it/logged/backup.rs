//! Backups of a repository with a log: all of it comes back, or nothing does.

use std::fs;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::io::AsyncRead;
use wheelseal::log::{Entries, Log};
use wheelseal::repository::{LoggingError, Repository, RepositoryError, Source, Unwatched};
use wheelseal::store::{Content, DirStore, Entry, Object, Store, StoreError, StorePath, Tag};
use wheelseal::tlog::leaf::{FileLeaf, Leaf};

use super::{assert_logged, begun, leaves, logging};
use crate::faults::{Fault, FaultStore};
use crate::scene::Scene;

#[tokio::test]
async fn a_log_is_restored_with_all_its_proofs_and_goes_on() {
    let scene = begun().await;
    logging(&scene, &[scene.add("gamma", "1.0", "x = 3")]).await.unwrap();
    let archive = scene.spool().join("backup");
    scene.open().await.backup(&archive, &Unwatched).await.unwrap();
    let restored = Scene::empty();
    let files = [scene.root().join("targets")];
    let source = Source { archive: &archive, files: &files, root: None };
    Repository::restore(restored.store().await, &source, &Unwatched, &mut |_| {}).await.unwrap();
    let before = leaves(&scene).await;
    assert_eq!(assert_logged(&restored).await, before);
    restored.assert_sound("restored").await;
    let other = [restored.add("gamma", "1.0", "x = 4")];
    assert!(logging(&restored, &other).await.is_err());
    logging(&restored, &[restored.add("delta", "1.0", "x = 5")]).await.unwrap();
    let logged = assert_logged(&restored).await;
    assert_eq!(logged[..before.len()], before[..]);
    assert_eq!(logged.iter().filter(|leaf| matches!(leaf, Leaf::File(_))).count(), 8);
}

#[tokio::test]
async fn a_backup_whose_log_is_not_the_timestamps_is_not_restored() {
    let scene = begun().await;
    let older = scene.copy();
    logging(&scene, &[scene.add("gamma", "1.0", "x = 3")]).await.unwrap();
    for name in ["head", "checkpoint"] {
        let at = format!("log/{name}");
        fs::remove_file(scene.root().join(&at)).unwrap();
        fs::copy(older.root().join(&at), scene.root().join(&at)).unwrap();
    }
    let archive = scene.spool().join("backup");
    scene.open().await.backup(&archive, &Unwatched).await.unwrap();
    let restored = Scene::empty();
    let files = [scene.root().join("targets")];
    let source = Source { archive: &archive, files: &files, root: None };
    let refused = Repository::restore(restored.store().await, &source, &Unwatched, &mut |_| {}).await;
    assert!(matches!(refused, Err(RepositoryError::Logging(LoggingError::WentBack { .. }))), "{refused:?}");
    assert!(!restored.files().contains_key("metadata/timestamp.json"));
}

/// A store in which somebody else ends the log's last append between a look at its files and their reading.
#[derive(Debug)]
struct Ended(Arc<dyn Store>);

#[async_trait]
impl Store for Ended {
    async fn get(&self, path: &StorePath, max_len: u64) -> Result<Option<Object>, StoreError> {
        self.0.get(path, max_len).await
    }

    async fn open(&self, path: &StorePath) -> Result<Option<Pin<Box<dyn AsyncRead + Send>>>, StoreError> {
        self.0.open(path).await
    }

    async fn create(&self, path: &StorePath, content: Content<'_>) -> Result<(), StoreError> {
        self.0.create(path, content).await
    }

    async fn swap(&self, path: &StorePath, bytes: &[u8], expected: Option<&Tag>) -> Result<Tag, StoreError> {
        self.0.swap(path, bytes, expected).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let listed = self.0.list(prefix).await?;
        if prefix == "log" {
            let log = Log::new(Arc::clone(&self.0));
            let head = log.head().await.unwrap().unwrap();
            log.finish(&head).await.unwrap();
            assert_eq!(self.0.list("log/staged").await?, []);
        }
        Ok(listed)
    }

    async fn delete(&self, path: &StorePath) -> Result<(), StoreError> {
        self.0.delete(path).await
    }
}

/// A copy in which an append of many entries stopped right after it was decided.
async fn cut_short(scene: &Scene) -> Scene {
    for at in 0..100 {
        let copy = scene.copy();
        let store = FaultStore::new(DirStore::open(copy.root()).await.unwrap(), Fault::Crash, at);
        let log = Log::new(Arc::new(store));
        let head = log.head().await.unwrap().unwrap();
        let mut entries = Entries::default();
        for number in 0..2_000 {
            let path = format!("many/many-{number}.tar.gz");
            let leaf = FileLeaf::new(&path, &number.to_string(), 7, [7; 32]).unwrap();
            entries.push(&Leaf::File(leaf)).unwrap();
        }
        log.append(&head, entries).await.unwrap_err();
        let now = Log::new(copy.store().await).head().await.unwrap().unwrap();
        if now.size() > head.size() {
            assert!(copy.files().keys().any(|path| path.starts_with("log/staged/")));
            return copy;
        }
    }
    panic!("an append has not so many writes before it is decided");
}

#[tokio::test]
async fn a_backup_during_a_large_append_has_all_of_the_log() {
    let scene = cut_short(&begun().await).await;
    let archive = scene.spool().join("backup");
    let busy = Repository::open(Arc::new(Ended(scene.store().await))).await.unwrap();
    busy.backup(&archive, &Unwatched).await.unwrap();
    let restored = Scene::empty();
    let files = [scene.root().join("targets")];
    let source = Source { archive: &archive, files: &files, root: None };
    Repository::restore(restored.store().await, &source, &Unwatched, &mut |_| {}).await.unwrap();
    assert_eq!(leaves(&restored).await, leaves(&scene).await);
    logging(&restored, &[restored.add("gamma", "1.0", "x = 3")]).await.unwrap();
}
