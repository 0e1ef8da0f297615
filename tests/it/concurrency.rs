//! Several publishers at once on one folder, each with a handle of its own, as several processes would have.

#![expect(clippy::unwrap_used, reason = "a publisher that cannot be set up is a test that cannot run")]

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::io::AsyncRead;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use wheelseal::repository::{Edit, Published, Repository, RepositoryError, Retention, Unwatched};
use wheelseal::store::{Content, DirStore, Entry, Object, Store, StoreError, StorePath, Tag};
use wheelseal::tuf::metadata::TopLevel;

use crate::scene::{ONLINE, Scene, View, keyring, now, role, wheel_name};

/// A store whose first swap of a path waits until it is let go.
#[derive(Debug)]
pub(crate) struct PausingStore {
    inner: DirStore,
    path: &'static str,
    paused: AtomicBool,
    reached: Semaphore,
    let_go: Semaphore,
}

impl PausingStore {
    pub(crate) async fn new(scene: &Scene, path: &'static str) -> Arc<Self> {
        Arc::new(Self {
            inner: DirStore::open(scene.root()).await.unwrap(),
            path,
            paused: AtomicBool::new(false),
            reached: Semaphore::new(0),
            let_go: Semaphore::new(0),
        })
    }

    /// Waits until somebody waits.
    pub(crate) async fn reached(&self) {
        self.reached.acquire().await.unwrap().forget();
    }

    pub(crate) fn let_go(&self) {
        self.let_go.add_permits(1);
    }

    async fn pause(&self, path: &StorePath) {
        if path.as_str() == self.path && !self.paused.swap(true, Ordering::SeqCst) {
            self.reached.add_permits(1);
            self.let_go.acquire().await.unwrap().forget();
        }
    }
}

#[async_trait]
impl Store for PausingStore {
    async fn get(&self, path: &StorePath, max_len: u64) -> Result<Option<Object>, StoreError> {
        self.inner.get(path, max_len).await
    }

    async fn open(&self, path: &StorePath) -> Result<Option<Pin<Box<dyn AsyncRead + Send>>>, StoreError> {
        self.inner.open(path).await
    }

    async fn create(&self, path: &StorePath, content: Content<'_>) -> Result<(), StoreError> {
        self.pause(path).await;
        self.inner.create(path, content).await
    }

    async fn swap(&self, path: &StorePath, bytes: &[u8], expected: Option<&Tag>) -> Result<Tag, StoreError> {
        self.pause(path).await;
        self.inner.swap(path, bytes, expected).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.inner.list(prefix).await
    }

    async fn delete(&self, path: &StorePath) -> Result<(), StoreError> {
        self.inner.delete(path).await
    }

    async fn sweep(&self, before: SystemTime) -> Result<usize, StoreError> {
        self.inner.sweep(before).await
    }
}

/// A publication that stands still just before it writes `path`; it goes on when the function returned is called.
async fn paused(
    scene: &Scene,
    path: &'static str,
    edits: Vec<Edit>,
) -> (JoinHandle<Result<Published, RepositoryError>>, impl Fn()) {
    let store = PausingStore::new(scene, path).await;
    let opened = Arc::<PausingStore>::clone(&store);
    let publication = tokio::spawn(async move {
        let repository = Repository::open(opened).await?;
        repository.publish(&keyring(&ONLINE).await, &edits, now(), &Unwatched).await
    });
    store.reached().await;
    (publication, move || store.let_go())
}

#[tokio::test(flavor = "multi_thread")]
async fn publishers_of_different_and_of_the_same_projects_lose_nothing() {
    let scene = Scene::new().await;
    let mut publishers = JoinSet::new();
    for publisher in 0..4 {
        let repository = scene.open().await;
        let own = format!("own{publisher}");
        let batches = [
            vec![scene.add(&own, "1.0", "own"), scene.add("shared", &format!("1.{publisher}"), "shared")],
            vec![scene.add("shared", &format!("2.{publisher}"), "shared")],
            vec![scene.add("shared", "3.0", "the same file from everyone"), scene.add(&own, "1.1", "own")],
        ];
        publishers.spawn(async move {
            let keys = keyring(&ONLINE).await;
            for edits in &batches {
                let published = repository.publish(&keys, edits, now(), &Unwatched).await.unwrap();
                let state = repository.state().await.unwrap();
                assert!(published.snapshot <= state.snapshot.common.version);
                for edit in edits {
                    let page = repository.page(&state, edit.filename().project()).await.unwrap().unwrap();
                    assert!(page.file(edit.filename().as_str()).is_some(), "acknowledged, not visible");
                }
            }
        });
    }
    publishers.join_all().await;
    scene.assert_sound("after four publishers").await;
    let files = View::of(&scene.open().await).await.files;
    let mut expected = vec![wheel_name("shared", "3.0").to_string()];
    for publisher in 0..4 {
        let own = format!("own{publisher}");
        expected.extend([wheel_name(&own, "1.0").to_string(), wheel_name(&own, "1.1").to_string()]);
        expected.extend(
            ["1", "2"].map(|major| wheel_name("shared", &format!("{major}.{publisher}")).to_string()),
        );
    }
    expected.sort();
    assert_eq!(files.into_keys().collect::<Vec<_>>(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_contents_under_one_name_one_is_published_and_one_refused() {
    let scene = Scene::new().await;
    let mut publishers = JoinSet::new();
    for body in ["one", "two"] {
        let (repository, edit) = (scene.open().await, scene.add("alpha", "1.0", body));
        publishers.spawn(async move {
            repository.publish(&keyring(&ONLINE).await, &[edit], now(), &Unwatched).await
        });
    }
    let outcomes = publishers.join_all().await;
    let refused = outcomes.iter().filter(|outcome| matches!(outcome, Err(RepositoryError::Conflict { .. })));
    assert_eq!(
        (outcomes.iter().filter(|outcome| outcome.is_ok()).count(), refused.count()),
        (1, 1),
        "{outcomes:?}"
    );
    scene.assert_sound("after the conflict").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_is_overtaken_before_the_swap_plans_anew() {
    let scene = Scene::new().await;
    let slow = vec![scene.add("alpha", "1.0", "slow")];
    let (publication, go_on) = paused(&scene, "metadata/timestamp.json", slow).await;
    scene.assert_verifies("with a publication under way").await;
    let fast = scene.publish(&[scene.add("alpha", "1.1", "fast")]).await.unwrap();
    go_on();
    let slow = publication.await.unwrap().unwrap();
    assert!(slow.snapshot > fast.snapshot && slow.timestamp == fast.timestamp + 1);
    scene.assert_sound("after both").await;
    assert_eq!(View::of(&scene.open().await).await.files.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bump_that_is_overtaken_signs_again_only_what_the_other_one_changed() {
    let scene = Scene::new().await;
    let bins = |version: u64| {
        let names = scene.files().into_keys();
        names.filter(|path| path.starts_with(&format!("metadata/{version}.bins-"))).collect::<Vec<_>>()
    };
    let all = bins(1).len();
    let store = PausingStore::new(&scene, "metadata/timestamp.json").await;
    let opened = Arc::<PausingStore>::clone(&store);
    let bumping = tokio::spawn(async move {
        let repository = Repository::open(opened).await?;
        repository.bump(&keyring(&ONLINE).await, true, now(), &Unwatched).await
    });
    store.reached().await;
    scene.publish(&[scene.add("alpha", "1.0", "one")]).await.unwrap();
    store.let_go();
    let bumped = bumping.await.unwrap().unwrap();
    assert_eq!(bumped.bins, u64::try_from(all).unwrap());
    let changed = bins(3).len();
    assert!((1..=3).contains(&changed), "a file, its metadata and its page: {changed} bins");
    assert_eq!([bins(2).len(), bins(4).len(), bins(5).len()], [all, changed, 0]);
    scene.assert_sound("after both").await;
    assert_eq!(View::of(&scene.open().await).await.files.len(), 1);
}

/// The slow one committed, and stands still before its unsigned page; meanwhile the page is removed.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_publisher_does_not_bring_back_a_page_that_was_removed_meanwhile() {
    let scene = Scene::new().await;
    let added = vec![scene.add("alpha", "1.0", "short-lived")];
    let (publication, go_on) = paused(&scene, "simple/alpha/index.json", added).await;
    scene.publish(&[Edit::Remove(wheel_name("alpha", "1.0"))]).await.unwrap();
    go_on();
    publication.await.unwrap().unwrap();
    scene.assert_sound("after both").await;
    assert!(!scene.files().contains_key("simple/alpha/index.json"));
}

/// It stood still for longer than the grace period; what it had written is written again.
#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_slept_through_a_gc_puts_back_what_it_removed() {
    let scene = Scene::new().await;
    let slow = vec![scene.add("alpha", "1.0", "slow")];
    let (publication, go_on) = paused(&scene, "metadata/timestamp.json", slow).await;
    let retention = Retention { snapshots: 1, grace: Duration::ZERO };
    let collected = scene.open().await.gc(retention, false, scene.time(), &Unwatched).await.unwrap();
    assert!(collected.removed.iter().any(|path| path.ends_with("2.snapshot.json")), "{collected:?}");
    go_on();
    publication.await.unwrap().unwrap();
    scene.assert_sound("after both").await;
    assert_eq!(View::of(&scene.open().await).await.files.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn gc_with_grace_removes_nothing_of_a_publication_under_way() {
    let scene = Scene::new().await;
    let slow = vec![scene.add("alpha", "1.0", "slow")];
    let (publication, go_on) = paused(&scene, "metadata/timestamp.json", slow).await;
    let century = Duration::from_hours(100 * 365 * 24);
    let retention = Retention { snapshots: 1, grace: century };
    let collected = scene.open().await.gc(retention, false, scene.time(), &Unwatched).await.unwrap();
    assert_eq!(collected.removed, [""; 0]);
    assert!(collected.young >= 5, "distribution and metadata twice, page, bin, snapshot: {collected:?}");
    go_on();
    publication.await.unwrap().unwrap();
    scene.assert_sound("after the publication").await;
}

/// What was removed long ago lies there still, unreferenced and old; then it is published again.
#[tokio::test(flavor = "multi_thread")]
async fn gc_with_grace_removes_nothing_that_is_about_to_be_published_again() {
    let scene = Scene::new().await;
    scene.publish(&[scene.add("alpha", "1.0", "the same")]).await.unwrap();
    scene.publish(&[Edit::Remove(wheel_name("alpha", "1.0"))]).await.unwrap();
    let files = scene.files().into_keys().map(|name| scene.root().join(name));
    for path in files {
        let file = std::fs::File::options().append(true).open(path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }
    let again = vec![scene.add("alpha", "1.0", "the same")];
    let (publication, go_on) = paused(&scene, "metadata/timestamp.json", again).await;
    let retention = Retention { snapshots: 1, grace: Duration::from_hours(1) };
    let collected = scene.open().await.gc(retention, false, scene.time(), &Unwatched).await.unwrap();
    assert!(!collected.removed.is_empty(), "what nobody asks for goes");
    go_on();
    publication.await.unwrap().unwrap();
    scene.assert_sound("after gc and the publication").await;
}

/// Publishers that read the old root must not commit with the old key once the new root is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_with_the_old_key_does_not_undo_a_rotation() {
    let scene = Scene::new().await;
    let (publication, go_on) =
        paused(&scene, "metadata/timestamp.json", vec![scene.add("alpha", "1.0", "slow")]).await;
    let (keys, plan) = (keyring(&["root-1", "online", "online-2"]).await, role(&["online-2"], 1).await);
    assert_eq!(scene.open().await.rotate(&keys, TopLevel::Timestamp, &plan, now()).await, Ok(2));
    go_on();
    let refused = publication.await.unwrap().unwrap_err();
    assert!(matches!(refused, RepositoryError::KeysMissing { .. }), "{refused:?}");
    scene.assert_verifies("after the rotation").await;
}

/// The worst moment: between the file signed by old and new keys, and the new root.
#[tokio::test(flavor = "multi_thread")]
async fn a_publication_in_the_middle_of_a_rotation_leaves_no_gap() {
    let scene = Scene::new().await;
    let store = PausingStore::new(&scene, "metadata/2.root.json").await;
    let opened = Arc::<PausingStore>::clone(&store);
    let rotation = tokio::spawn(async move {
        let (keys, plan) = (keyring(&["root-1", "online", "online-2"]).await, role(&["online-2"], 1).await);
        Repository::open(opened).await?.rotate(&keys, TopLevel::Timestamp, &plan, now()).await
    });
    store.reached.acquire().await.unwrap().forget();
    scene.publish(&[scene.add("alpha", "1.0", "with the old key alone")]).await.unwrap();
    store.let_go.add_permits(1);
    assert_eq!(rotation.await.unwrap(), Ok(2));
    scene.assert_sound("after both").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bumps_and_publications_at_once_lose_nothing() {
    let scene = Scene::new().await;
    let mut workers = JoinSet::new();
    for worker in 0..3 {
        let (repository, edit) = (scene.open().await, scene.add(&format!("p{worker}"), "1.0", "x"));
        workers.spawn(async move {
            repository.publish(&keyring(&ONLINE).await, &[edit], now(), &Unwatched).await.map(drop)
        });
        let repository = scene.open().await;
        workers.spawn(async move {
            let keys = keyring(&crate::scene::ALL_KEYS).await;
            repository.bump(&keys, true, now(), &Unwatched).await.map(drop)
        });
    }
    for outcome in workers.join_all().await {
        assert_eq!(outcome, Ok(()));
    }
    scene.assert_sound("after all").await;
    assert_eq!(View::of(&scene.open().await).await.files.len(), 3);
}
