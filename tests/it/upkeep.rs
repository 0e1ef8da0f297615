//! What an admin's commands do about plain copies, leftovers and others at work at the same time.

#![expect(clippy::unwrap_used, reason = "a repository that cannot be read is a test that failed")]
#![expect(clippy::type_complexity, reason = "a table of cases reads best with its type beside it")]

use std::fmt;
use std::fs;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::io::AsyncRead;
use wheelseal::repository::{
    Anchor, BinStyle, Edit, LookAlike, Plan, Problem, Repair, Repository, RepositoryError, Retention,
    Unwatched,
};
use wheelseal::store::{Content, DirStore, Entry, Object, Store, StoreError, StorePath, Tag};
use wheelseal::tuf::metadata::TopLevel;

use crate::claims::{ANN, published as published_of, release, with_six};
use crate::scene::{ALL_KEYS, ONLINE, Scene, keyring, now, plan, role, wheel_name};
use crate::serve::attested::signed_so;
use crate::shell::Home;

const WHEEL: &str = "targets/alpha/alpha-1.0-py3-none-any.whl";
const TIMESTAMP: &str = "metadata/timestamp.json";
const NOT_SIGNED: &str = "what plain pip reads is not what was signed";

/// When somebody else comes in between, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// After `timestamp.json` was read.
    Read,
    /// Before something new is written.
    Stage,
    /// Before something is deleted.
    Delete,
    /// After `timestamp.json` was swapped.
    Committed,
}

/// What somebody else does then.
type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A folder in which somebody else is at work too.
struct Shared {
    inner: DirStore,
    moment: Moment,
    job: Mutex<Option<Job>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("moment", &self.moment).finish_non_exhaustive()
    }
}

impl Shared {
    async fn open(
        scene: &Scene,
        moment: Moment,
        job: impl Future<Output = ()> + Send + 'static,
    ) -> Repository {
        let inner = DirStore::open(scene.root()).await.unwrap();
        Repository::open(Arc::new(Self { inner, moment, job: Mutex::new(Some(Box::pin(job))) }))
            .await
            .unwrap()
    }

    async fn reached(&self, moment: Moment) {
        let job = if moment == self.moment { self.job.lock().unwrap().take() } else { None };
        if let Some(job) = job {
            job.await;
        }
    }
}

#[async_trait]
impl Store for Shared {
    async fn get(&self, path: &StorePath, max_len: u64) -> Result<Option<Object>, StoreError> {
        let object = self.inner.get(path, max_len).await;
        if path.as_str() == TIMESTAMP {
            self.reached(Moment::Read).await;
        }
        object
    }

    async fn open(&self, path: &StorePath) -> Result<Option<Pin<Box<dyn AsyncRead + Send>>>, StoreError> {
        self.inner.open(path).await
    }

    async fn create(&self, path: &StorePath, content: Content<'_>) -> Result<(), StoreError> {
        self.reached(Moment::Stage).await;
        self.inner.create(path, content).await
    }

    async fn swap(&self, path: &StorePath, bytes: &[u8], expected: Option<&Tag>) -> Result<Tag, StoreError> {
        let tag = self.inner.swap(path, bytes, expected).await?;
        if path.as_str() == TIMESTAMP {
            self.reached(Moment::Committed).await;
        }
        Ok(tag)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.inner.list(prefix).await
    }

    async fn delete(&self, path: &StorePath) -> Result<(), StoreError> {
        self.reached(Moment::Delete).await;
        self.inner.delete(path).await
    }

    async fn sweep(&self, before: SystemTime) -> Result<usize, StoreError> {
        self.inner.sweep(before).await
    }
}

/// Two projects.
async fn published() -> Scene {
    let scene = Scene::new().await;
    scene.publish(&[scene.add("alpha", "1.0", "one"), scene.add("beta", "1.0", "one")]).await.unwrap();
    scene
}

fn differs(subject: &str) -> Problem {
    Problem { subject: subject.to_owned(), what: NOT_SIGNED.to_owned(), expired: false }
}

/// Files may be hard links of one another: changes one name alone.
fn change(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

// What plain pip reads.

/// Each damage with what it does to the folder and what is found.
#[tokio::test]
async fn check_finds_and_mends_whatever_plain_pip_would_read_wrongly() {
    let higher = |page: String| page.replace("\"_last-serial\":", "\"_last-serial\":9");
    let edits: [(&str, &str, &dyn Fn(&Path)); 7] = [
        ("a changed copy", WHEEL, &|path| change(path, "trojan")),
        ("a missing copy", WHEEL, &|path| fs::remove_file(path).unwrap()),
        ("missing metadata", "targets/alpha/alpha-1.0-py3-none-any.whl.metadata", &|path| {
            fs::remove_file(path).unwrap();
        }),
        ("an edited page", "simple/alpha/index.json", &|path| {
            change(path, fs::read_to_string(path).unwrap().replace("sha256", "sha512"));
        }),
        ("an edited HTML page", "simple/alpha/index.html", &|path| {
            change(path, fs::read_to_string(path).unwrap().replace("../", "//elsewhere/"));
        }),
        ("a page that claims to be newer", "simple/alpha/index.json", &|path| {
            let old = fs::read_to_string(path).unwrap();
            let new = higher(old.clone());
            assert_ne!(new, old);
            change(path, new);
        }),
        ("no page", "simple/alpha/index.json", &|path| fs::remove_file(path).unwrap()),
    ];
    let scene = published().await;
    let good = scene.files();
    for (what, path, damage) in edits {
        damage(&scene.root().join(path));
        let damaged = scene.files();
        assert!(damaged != good, "{what}");
        let subject = if path.starts_with("simple/") { "simple/alpha/" } else { path };
        assert_eq!(scene.check().await.problems, [differs(subject)], "{what}");
        assert!(scene.files() == damaged, "{what}: a check changes nothing");
        let repository = scene.open().await;
        let found = repository.check_plain(Repair::Yes, &Unwatched).await.unwrap();
        assert_eq!(found, [differs(subject)], "{what}");
        assert!(scene.files() == good, "{what}: not as before");
        assert_eq!(repository.check_plain(Repair::Yes, &Unwatched).await.unwrap(), [], "{what}");
        scene.assert_sound(what).await;
    }
}

#[test]
fn check_repairs_plain_copies_through_the_program() {
    let home = Home::with_repository();
    let repo = home.work().join("repo");
    change(&repo.join(WHEEL), "trojan");
    let page = repo.join("simple/beta/index.json");
    change(&page, fs::read_to_string(&page).unwrap().replace("\"_last-serial\":", "\"_last-serial\":9"));
    let found = home.run(&["check", "--repo", "repo"]);
    found.refused(3, &["2 problem(s) found"]);
    assert!(found.stdout.contains(WHEEL) && found.stdout.contains("simple/beta/"), "{}", found.stdout);
    let mended = home.run(&["check", "--repair-plain", "--repo", "repo"]);
    assert_eq!((mended.code, mended.stderr.matches("repaired ").count()), (0, 2), "{mended:?}");
    home.run(&["check", "--repo", "repo"]).fine();
}

/// A hashed file that is damaged itself is no source of a copy.
#[tokio::test]
async fn a_copy_is_not_mended_from_a_file_that_is_wrong_itself() {
    let scene = published().await;
    let hashed =
        scene.files().into_keys().find(|path| path.ends_with(".alpha-1.0-py3-none-any.whl")).unwrap();
    change(&scene.root().join(hashed), "trojan");
    change(&scene.root().join(WHEEL), "another");
    scene.open().await.check_plain(Repair::Yes, &Unwatched).await.unwrap();
    assert_eq!(fs::read(scene.root().join(WHEEL)).unwrap(), b"another");
}

/// The publisher dies between its commit and its pages.
#[tokio::test]
async fn pages_that_a_crash_left_behind_are_no_fault_and_mended_on_demand() {
    let scene = published().await;
    let edits = vec![scene.add("alpha", "1.1", "two")];
    let crash = async move {
        let crashing = Shared::open(&scene, Moment::Committed, std::future::pending()).await;
        let publication = tokio::spawn(async move {
            crashing.publish(&keyring(&ONLINE).await, &edits, now(), &Unwatched).await
        });
        while scene.open().await.state().await.unwrap().timestamp.common.version < 3 {
            tokio::task::yield_now().await;
        }
        publication.abort();
        scene
    };
    let scene = crash.await;
    let page = || fs::read_to_string(scene.root().join("simple/alpha/index.json")).unwrap();
    assert!(!page().contains("alpha-1.1"));
    assert_eq!(scene.check().await.problems, []);
    let found = scene.open().await.check_plain(Repair::Yes, &Unwatched).await.unwrap();
    assert_eq!(found, [differs("simple/alpha/")]);
    assert!(page().contains("alpha-1.1"));
    scene.assert_sound("after the repair").await;
}

// Publishing.

#[tokio::test]
async fn a_preview_refuses_what_a_publication_would_and_writes_nothing() {
    let scene = published().await;
    let before = scene.files();
    let repository = scene.open().await;
    let (online, stranger) = (keyring(&ONLINE).await, keyring(&["online-2"]).await);
    let new = [scene.add("gamma", "1.0", "new"), scene.add("alpha", "1.0", "one")];
    let seen = repository.preview(&online, &new, now()).await.unwrap();
    let names = |name: &str| vec![wheel_name(name, "1.0").to_string()];
    assert_eq!((seen.changed, seen.unchanged), (names("gamma"), names("alpha")));
    let refused = repository.preview(&stranger, &new, now()).await.unwrap_err();
    assert!(matches!(refused, RepositoryError::KeysMissing { needed: 1, able: 0, .. }), "{refused:?}");
    let other = [scene.add("alpha", "1.0", "other")];
    let refused = repository.preview(&online, &other, now()).await.unwrap_err();
    assert!(matches!(refused, RepositoryError::Conflict { .. }), "{refused:?}");
    assert!(scene.files() == before, "something was written");
}

#[test]
fn a_dry_run_refuses_what_add_would_and_writes_nothing() {
    let mut home = Home::with_repository();
    let dry = ["add", "--dry-run", "--repo", "repo"];
    let wheel = home.wheel("gamma", "1.0");
    let other = home.work().join("alpha-1.0-py3-none-any.whl");
    fs::write(&other, crate::scene::wheel_bytes("alpha", "1.0", "other")).unwrap();
    home.refuses(&[&dry[..], &["alpha-1.0-py3-none-any.whl"]].concat(), 9, &["is published already"]);
    let before = crate::scene::files_below(&home.work());
    let told = home.run(&[&dry[..], &[&wheel]].concat()).fine();
    assert!(told.contains("would publish gamma-1.0"), "{told}");
    assert!(crate::scene::files_below(&home.work()) == before, "something was written");
    home.set("WHEELSEAL_KEYS", &format!("file:{}", crate::shell::shown(&crate::scene::example("online-2"))));
    home.refuses(&[&dry[..], &[&wheel]].concat(), 6, &["timestamp needs 1 signature(s)"]);
}

#[tokio::test]
async fn nothing_is_published_until_a_rotation_that_stopped_midway_is_finished() {
    let scene = published().await;
    let old = fs::read(scene.root().join("metadata/timestamp.json")).unwrap();
    let keys = keyring(&["root-1", "online", "online-2"]).await;
    let lost = keyring(&["root-1", "online-2"]).await;
    let repository = scene.open().await;
    repository.rotate(&lost, TopLevel::Timestamp, &role(&["online-2"], 1).await, now()).await.unwrap();
    fs::write(scene.root().join("metadata/timestamp.json"), old).unwrap();
    let before = scene.files();
    let edits = [scene.add("gamma", "1.0", "new")];
    for refused in [
        repository.publish(&keys, &edits, now(), &Unwatched).await.unwrap_err(),
        repository.preview(&keys, &edits, now()).await.unwrap_err(),
    ] {
        assert!(matches!(refused, RepositoryError::Plan(_)), "{refused:?}");
        assert!(refused.to_string().contains("wheelseal bump"), "{refused}");
    }
    assert!(scene.files() == before, "something was written");
    repository.bump(&keys, false, now(), &Unwatched).await.unwrap();
    repository.publish(&keys, &edits, now(), &Unwatched).await.unwrap();
    scene.assert_sound("after the bump").await;
}

/// It is newer than what this command read, and already remembered.
#[tokio::test]
async fn a_publication_while_the_state_is_read_is_no_step_back() {
    let scene = published().await;
    let old = fs::read(scene.root().join(TIMESTAMP)).unwrap();
    let anchor = Anchor::new(scene.spool().join("anchor.json"));
    let other = scene.open().await.anchored(anchor.clone());
    other.state().await.unwrap();
    let edit = scene.add("gamma", "1.0", "one");
    let publish = async move {
        other.publish(&keyring(&ONLINE).await, &[edit], now(), &Unwatched).await.unwrap();
    };
    let repository = Shared::open(&scene, Moment::Read, publish).await.anchored(anchor.clone());
    assert_eq!(repository.state().await.unwrap().timestamp.common.version, 2);
    // And what was read late is not remembered in place of the newer.
    change(&scene.root().join(TIMESTAMP), old);
    let refused = repository.state().await.unwrap_err();
    assert!(matches!(refused, RepositoryError::WentBack { found: 2, seen: 3, .. }), "{refused:?}");
}

#[tokio::test]
async fn a_file_that_a_gc_removes_right_after_the_commit_is_put_back() {
    let first = Scene::new().await;
    first.publish(&[first.add("alpha", "1.0", "one")]).await.unwrap();
    let files = first.files().into_keys().filter(|path| path.contains("alpha-1.0"));
    let files: Vec<String> = files.collect();
    assert_eq!(files.len(), 4, "file and metadata, under both names: {files:?}");
    for file in files {
        let scene = Scene::new().await;
        let gone = scene.root().join(&file);
        let gc = async move { fs::remove_file(gone).unwrap() };
        let repository = Shared::open(&scene, Moment::Committed, gc).await;
        let edits = [scene.add("alpha", "1.0", "one")];
        repository.publish(&keyring(&ONLINE).await, &edits, now(), &Unwatched).await.unwrap();
        scene.assert_sound(&file).await;
        assert!(scene.files().contains_key(&file), "{file}");
    }
}

// Collecting.

#[tokio::test]
async fn a_snapshot_superseded_within_the_grace_period_is_kept_however_few_are_asked_for() {
    let scene = published().await;
    scene.publish(&[scene.add("gamma", "1.0", "one")]).await.unwrap();
    scene.publish(&[Edit::Remove(wheel_name("beta", "1.0"))]).await.unwrap();
    // All is old but the newest snapshot: the one before was superseded just now.
    let young = scene.root().join("metadata/4.snapshot.json");
    let date =
        |path: &Path, to| fs::File::options().append(true).open(path).unwrap().set_modified(to).unwrap();
    let (epoch, noon) = (SystemTime::UNIX_EPOCH, scene.time());
    for path in scene.files().into_keys() {
        date(&scene.root().join(path), epoch);
    }
    date(&young, SystemTime::from(noon) - Duration::from_mins(1));
    let gc = async |grace| {
        let retention = Retention { snapshots: 1, grace };
        scene.open().await.gc(retention, false, noon, &Unwatched).await.unwrap()
    };
    let collected = gc(Duration::from_mins(2)).await;
    assert!(collected.removed.contains(&"metadata/2.snapshot.json".to_owned()), "{collected:?}");
    let files = scene.files();
    assert!(files.contains_key("metadata/3.snapshot.json"), "a client may be reading it");
    assert!(files.contains_key("targets/beta/beta-1.0-py3-none-any.whl"), "and what it names");
    scene.assert_sound("after the first gc").await;
    gc(Duration::from_secs(30)).await;
    let files = scene.files();
    assert!(!files.contains_key("metadata/3.snapshot.json"));
    assert!(!files.keys().any(|path| path.starts_with("targets/beta/")));
    scene.assert_sound("after the second gc").await;
}

/// Unreferenced and old when the gc looked; published again while it removes.
#[tokio::test]
async fn what_is_committed_while_a_gc_removes_is_kept() {
    let scene = published().await;
    scene.publish(&[Edit::Remove(wheel_name("alpha", "1.0"))]).await.unwrap();
    let (edit, other) = (scene.add("alpha", "1.0", "one"), scene.open().await);
    let publish = async move {
        other.publish(&keyring(&ONLINE).await, &[edit], now(), &Unwatched).await.unwrap();
    };
    let repository = Shared::open(&scene, Moment::Delete, publish).await;
    let retention = Retention { snapshots: 1, grace: Duration::ZERO };
    let collected = repository.gc(retention, false, now(), &Unwatched).await.unwrap();
    assert!(!collected.removed.is_empty());
    assert!(!collected.removed.iter().any(|path| path.contains("alpha-1.0")), "{collected:?}");
    scene.assert_sound("after gc and publication").await;
}

/// The first time it did not come to its end, and that was long ago.
#[tokio::test]
async fn a_release_that_is_sent_again_while_a_gc_removes_is_kept() {
    let scene = with_six().await;
    let (file, files) = release(&scene, "six", "2.0", &[ANN]).await;
    let nobody = keyring(&[]).await;
    let failed = scene.open().await.apply(&nobody, &file, &files, LookAlike::Refused, now()).await;
    assert!(failed.is_err(), "{failed:?}");
    let left = scene.files().into_keys().filter(|path| path.ends_with("2.project-six.json")).count();
    assert_eq!(left, 1, "nothing is left of it");
    let other = scene.open().await;
    let send = async move {
        let keys = keyring(&ONLINE).await;
        other.apply(&keys, &file, &files, LookAlike::Refused, now()).await.unwrap();
    };
    let repository = Box::pin(Shared::open(&scene, Moment::Delete, send)).await;
    let retention = Retention { snapshots: 1, grace: Duration::ZERO };
    let collected = repository.gc(retention, false, now(), &Unwatched).await.unwrap();
    assert!(!collected.removed.iter().any(|path| path.contains("2.project-six")), "{collected:?}");
    assert_eq!(published_of(&scene, "six").await, ["six-1.0-py3-none-any.whl", "six-2.0-py3-none-any.whl"]);
    scene.assert_verifies("after gc and release").await;
}

/// Without it nothing of the current state can be marked.
#[tokio::test]
async fn a_role_that_a_gc_took_before_it_was_killed_is_put_back_by_the_next_one() {
    let scene = with_six().await;
    let role = "metadata/1.project-six.json";
    let aside = scene.root().join("staging/gc/0123456789abcdef01234567").join(role);
    fs::create_dir_all(aside.parent().unwrap()).unwrap();
    fs::rename(scene.root().join(role), &aside).unwrap();
    let retention = Retention { snapshots: 1, grace: Duration::ZERO };
    scene.open().await.gc(retention, false, now(), &Unwatched).await.unwrap();
    assert!(scene.files().contains_key(role));
    assert!(!scene.files().keys().any(|path| path.starts_with("staging/gc/")), "something is left aside");
    scene.assert_verifies("after the second gc").await;
}

/// The one who comes second finds the first one's under the plain name, and must leave them there.
#[tokio::test]
async fn of_two_who_publish_a_file_with_attestations_at_once_the_first_ones_stay() {
    let scene = published().await;
    let (other, first) = (scene.open().await, signed_so(&scene, "gamma", "1.0", "MEUC"));
    let second = [signed_so(&scene, "gamma", "1.0", "MEUD")];
    let publish = async move {
        other.publish(&keyring(&ONLINE).await, &[first], now(), &Unwatched).await.unwrap();
    };
    let late = Shared::open(&scene, Moment::Stage, publish).await;
    let refused = late.publish(&keyring(&ONLINE).await, &second, now(), &Unwatched).await.unwrap_err();
    assert!(
        matches!(&refused, RepositoryError::Conflict { filename, .. } if filename.ends_with(".provenance"))
    );
    let plain = scene.root().join("targets/gamma/gamma-1.0-py3-none-any.whl.provenance");
    assert!(fs::read_to_string(plain).unwrap().contains("MEUC"));
    scene.assert_sound("after both").await;
}

// Size.

#[tokio::test]
async fn metadata_that_no_client_would_take_is_refused_before_anything_is_written() {
    let scene = Scene::empty();
    let plan = Plan { bin_count: 65_536, bin_style: BinStyle::Prefixes, ..plan().await };
    let keys = keyring(&ALL_KEYS).await;
    let refused = Repository::init(scene.store().await, &plan, &keys, now(), &Unwatched).await.unwrap_err();
    assert_eq!(refused.hint().as_deref(), Some("use more bins, or --bin-style succinct"));
    assert_eq!(
        refused,
        RepositoryError::TooLarge { role: "bins".into(), found: 10_682_939, max: 10_000_000 }
    );
    assert!(scene.files().is_empty(), "something was written");
}
