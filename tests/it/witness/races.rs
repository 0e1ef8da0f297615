//! Many requests at once, over several processes' worth of servers on one folder: nobody is rolled back, and of two
//! branches of a log one is cosigned.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::io::AsyncRead;
use wheelseal::store::{Content, DirStore, Entry, Object, Store, StoreError, StorePath, Tag};
use wheelseal::tlog::witness::checkpoint_path;
use wheelseal::witness::Limits;

use super::{Log, ORIGIN, Scene, Served, text};

/// Leaves of the trees that race.
const LEAVES: u64 = 40;

/// Asks for sizes in the order of a little generator, up and down, each first from what it believes and then from what
/// it is told. What was cosigned: size and root.
fn storm(served: &Served, scene: &Scene, log: &Log, seed: u64) -> BTreeSet<(u64, String)> {
    let (mut cosigned, mut state) = (BTreeSet::new(), seed);
    for _ in 0..25 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let size = (state >> 33) % (LEAVES + 1);
        let mut old = (state >> 20) % (size + 1);
        for _ in 0..3 {
            let answer = served.post(log.request(old, size));
            match answer.status {
                200 => {
                    assert!(scene.cosigned(&log.checkpoint(size), text(&answer)).is_some());
                    cosigned.insert((size, log.root(size).to_string()));
                }
                409 => {
                    old = text(&answer).trim_end().parse().unwrap();
                    if old <= size {
                        continue;
                    }
                }
                422 => {}
                other => panic!("{other}: {}", text(&answer)),
            }
            break;
        }
    }
    cosigned
}

#[tokio::test]
async fn requests_at_once_never_roll_back_and_never_cosign_two_branches() {
    let honest = Log::new(ORIGIN, usize::try_from(LEAVES).unwrap());
    let fork = honest.forked(10);
    let scene = Scene::new(&honest).await;
    let servers = [scene.served().await, Served::new(scene.witness().await, Limits::default())];
    let cosigned = Arc::new(Mutex::new(BTreeSet::new()));
    std::thread::scope(|threads| {
        for at in 0..8 {
            let (log, served) = (if at % 4 < 2 { &honest } else { &fork }, &servers[at % 2]);
            let (cosigned, scene) = (Arc::clone(&cosigned), &scene);
            threads.spawn(move || {
                let seen = storm(served, scene, log, u64::try_from(at).unwrap());
                cosigned.lock().unwrap().extend(seen);
            });
        }
    });
    let cosigned = cosigned.lock().unwrap().clone();
    let of = |log: &Log| cosigned.iter().all(|(size, root)| log.root(*size).to_string() == *root);
    assert!(of(&honest) || of(&fork), "both branches: {cosigned:?}");
    let latest = scene.witness().await.folder().latest(ORIGIN).await.unwrap().unwrap();
    let (largest, root) = cosigned.last().unwrap();
    assert_eq!((latest.checkpoint().size(), &latest.checkpoint().root().to_string()), (*largest, root));
}

#[tokio::test]
async fn of_two_checkpoints_offered_at_the_same_moment_the_smaller_is_told_the_larger_or_came_first() {
    let log = Log::new(ORIGIN, 64);
    for round in 0..20 {
        let scene = Scene::new(&log).await;
        let witness = Arc::new(scene.witness().await);
        let (n, k) = (5 + round, 9 + 2 * round);
        let [smaller, larger] = [log.request(0, n), log.request(0, k)];
        let ask = |body: String| {
            let witness = Arc::clone(&witness);
            tokio::spawn(async move { witness.answer(body.as_bytes()).await })
        };
        let (one, two) = (ask(smaller), ask(larger));
        let (one, two) = (one.await.unwrap(), two.await.unwrap());
        let latest = witness.folder().latest(ORIGIN).await.unwrap().unwrap().checkpoint().size();
        // Both began at 0, so only the first can hold.
        match (one.status, two.status) {
            (200, 409) => assert_eq!((latest, two.body), (n, format!("{n}\n"))),
            (409, 200) => assert_eq!((latest, one.body), (k, format!("{k}\n"))),
            other => panic!("{other:?}"),
        }
    }
}

/// A folder in which a backup is restored at the worst moment: when what was read is about to be replaced.
#[derive(Debug)]
struct SetBack {
    folder: DirStore,
    /// The file, and what it is set back to, once.
    backup: Mutex<Option<(PathBuf, Vec<u8>)>>,
}

#[async_trait]
impl Store for SetBack {
    async fn get(&self, path: &StorePath, max_len: u64) -> Result<Option<Object>, StoreError> {
        self.folder.get(path, max_len).await
    }
    async fn open(&self, path: &StorePath) -> Result<Option<Pin<Box<dyn AsyncRead + Send>>>, StoreError> {
        self.folder.open(path).await
    }
    async fn create(&self, path: &StorePath, content: Content<'_>) -> Result<(), StoreError> {
        self.folder.create(path, content).await
    }
    async fn swap(&self, path: &StorePath, bytes: &[u8], expected: Option<&Tag>) -> Result<Tag, StoreError> {
        if let Some((file, old)) = self.backup.lock().unwrap().take() {
            fs::write(file, old).unwrap();
        }
        self.folder.swap(path, bytes, expected).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.folder.list(prefix).await
    }
    async fn delete(&self, path: &StorePath) -> Result<(), StoreError> {
        self.folder.delete(path).await
    }
}

#[tokio::test]
async fn a_folder_that_is_set_back_between_reading_and_replacing_gets_nothing_cosigned() {
    let log = Log::new(ORIGIN, 20);
    let scene = Scene::new(&log).await;
    let file = scene.folder.path().join("logs").join(checkpoint_path(ORIGIN));
    let folder = DirStore::open(scene.folder.path()).await.unwrap();
    let store = Arc::new(SetBack { folder, backup: Mutex::default() });
    let witness = scene.over(store.clone()).await;
    assert_eq!(witness.answer(log.request(0, 5).as_bytes()).await.status, 200);
    let old = fs::read(&file).unwrap();
    assert_eq!(witness.answer(log.request(5, 9).as_bytes()).await.status, 200);
    // Growth from 9 is right by what was read, and is not swapped over what is there by then.
    *store.backup.lock().unwrap() = Some((file.clone(), old.clone()));
    assert_eq!(witness.answer(log.request(9, 20).as_bytes()).await.status, 503);
    assert_eq!(fs::read(&file).unwrap(), old, "nothing was written over the backup");
    // Nor is another branch, which the restored state would allow.
    let fork = log.forked(5);
    assert_eq!(witness.answer(fork.request(5, 9).as_bytes()).await.status, 503);
    let told = scene.told();
    assert!(told.iter().all(|told| told.contains("has 5 leaves, and had 9")), "{told:?}");
    assert_eq!(told.len(), 2);
}
