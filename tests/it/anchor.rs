//! Someone who can write to the store, and has no key or only old ones: what the next command of an admin refuses to
//! sign, with and without what this machine remembers.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "an attack that cannot be set up is a test that cannot run"
)]

use std::fs;
use std::path::{Path, PathBuf};

use tokio::task::JoinSet;
use wheelseal::repository::{Anchor, Plan, Repository, RepositoryError, Unwatched};
use wheelseal::tuf::metadata::{About, Hashes, MetaFile, Role, Root, Snapshot, TopLevel};
use wheelseal::tuf::signed::{Draft, Signed, Verified, VerifyError};
use wheelseal::tuf::trusted::TrustError;

use crate::scene::{ALL_KEYS, ONLINE, Scene, View, days_later, keyring, now, plan, role, signed};
use crate::shell::Home;

/// The file in which the tests of this module remember a repository.
fn memory(scene: &Scene) -> PathBuf {
    scene.spool().join("state/anchor.json")
}

async fn anchored(scene: &Scene) -> Repository {
    scene.open().await.anchored(Anchor::new(memory(scene)))
}

/// A repository that this machine has seen.
async fn seen() -> Scene {
    let scene = Scene::new().await;
    scene.publish(&[scene.add("alpha", "1.0", "one")]).await.unwrap();
    anchored(&scene).await.state().await.unwrap();
    scene
}

/// Replaces all metadata by that of a repository of the attacker's own, in which the real online key signs as well.
async fn take_over(scene: &Scene) {
    let own = Plan {
        root: role(&["root-2"], 1).await,
        targets: role(&["targets-2"], 1).await,
        bins: role(&["targets-2"], 1).await,
        online: role(&["online", "online-2"], 1).await,
        ..plan().await
    };
    let theirs = Scene::of(&own, &["root-2", "targets-2", "online-2"]).await;
    let keys = keyring(&["online-2"]).await;
    for _ in 0..3 {
        // Newer than anything seen, so that its age is not what gives it away.
        theirs.open().await.bump(&keys, true, now(), &Unwatched).await.unwrap();
    }
    fs::remove_dir_all(scene.root().join("metadata")).unwrap();
    fs::create_dir(scene.root().join("metadata")).unwrap();
    for (path, bytes) in theirs.files().into_iter().filter(|(path, _)| path.starts_with("metadata/")) {
        fs::write(scene.root().join(path), bytes).unwrap();
    }
}

/// The role that too few of its keys have signed.
fn below(error: &RepositoryError) -> Option<(&str, &str)> {
    match error {
        RepositoryError::Verify(VerifyError::BelowThreshold { role, delegator, .. }) => {
            Some((role, delegator))
        }
        _ => None,
    }
}

fn metadata(scene: &Scene, name: &str) -> PathBuf {
    scene.root().join("metadata").join(name)
}

// What is remembered.

#[tokio::test]
async fn a_root_made_up_around_the_real_online_key_gets_no_signature_of_it() {
    let scene = seen().await;
    take_over(&scene).await;
    let edits = [scene.add("gamma", "1.0", "innocent")];
    let before = scene.files();
    let (online, all) = (keyring(&ONLINE).await, keyring(&ALL_KEYS).await);
    let repository = anchored(&scene).await;
    let refused = repository.publish(&online, &edits, now(), &Unwatched).await.unwrap_err();
    assert_eq!(below(&refused), Some(("timestamp", "root")), "{refused:?}");
    let refused = repository.preview(&online, &edits, now()).await.unwrap_err();
    assert_eq!(below(&refused), Some(("timestamp", "root")), "{refused:?}");
    let refused = repository.bump(&all, true, now(), &Unwatched).await.unwrap_err();
    assert_eq!(below(&refused), Some(("timestamp", "root")), "{refused:?}");
    assert!(scene.files() == before, "something was written");
    // What it is good for: without the memory, the online key signs for the attacker.
    scene.publish(&edits).await.unwrap();
}

#[tokio::test]
async fn an_older_timestamp_is_refused_until_the_memory_is_deleted() {
    let scene = seen().await;
    let old = fs::read(metadata(&scene, "timestamp.json")).unwrap();
    let repository = anchored(&scene).await;
    let online = keyring(&ONLINE).await;
    repository.publish(&online, &[scene.add("alpha", "1.1", "two")], now(), &Unwatched).await.unwrap();
    fs::write(metadata(&scene, "timestamp.json"), old).unwrap();
    let before = scene.files();
    let file = memory(&scene).display().to_string();
    let went_back = RepositoryError::WentBack { found: 2, seen: 3, file: file.clone() };
    assert!(went_back.hint().unwrap().contains(&file));
    let edits = [scene.add("alpha", "1.2", "three")];
    let refused = repository.publish(&online, &edits, now(), &Unwatched).await.unwrap_err();
    assert_eq!(refused, went_back);
    assert_eq!(repository.state().await.unwrap_err(), went_back, "again and again");
    assert!(scene.files() == before, "something was written");
    fs::remove_file(memory(&scene)).unwrap();
    repository.publish(&online, &edits, now(), &Unwatched).await.unwrap();
}

#[tokio::test]
async fn a_chain_of_roots_is_followed_and_its_newest_root_remembered() {
    let scene = seen().await;
    let keys = keyring(&["root-1", "root-2", "online", "online-2"]).await;
    // Elsewhere, twice; this machine sees the outcome alone.
    let elsewhere = scene.open().await;
    elsewhere.rotate(&keys, TopLevel::Timestamp, &role(&["online-2"], 1).await, now()).await.unwrap();
    elsewhere.rotate(&keys, TopLevel::Root, &role(&["root-2"], 1).await, now()).await.unwrap();
    let repository = anchored(&scene).await;
    assert_eq!(repository.state().await.unwrap().root.common.version, 3);
    let text: serde_json::Value = serde_json::from_slice(&fs::read(memory(&scene)).unwrap()).unwrap();
    let root = fs::read_to_string(metadata(&scene, "3.root.json")).unwrap();
    assert_eq!(text["root"], serde_json::Value::from(root));
    // The roots before it are not needed again, and a store that hides the newest cannot go back.
    for name in ["1.root.json", "2.root.json", "3.root.json"] {
        fs::remove_file(metadata(&scene, name)).unwrap();
    }
    assert_eq!(repository.state().await.unwrap().root.common.version, 3);
    repository.rotate(&keys, TopLevel::Snapshot, &role(&["online-2"], 1).await, now()).await.unwrap();
    assert_eq!(anchored(&scene).await.state().await.unwrap().root.common.version, 4);
}

#[tokio::test]
async fn a_damaged_memory_is_an_error_and_no_first_sight() {
    let scene = seen().await;
    let good = fs::read(memory(&scene)).unwrap();
    let before = scene.files();
    let edits = [scene.add("gamma", "1.0", "x")];
    for damaged in [b"".as_slice(), b"{}", &good[..good.len() / 2], br#"{"root":"{}","timestamp":1}"#] {
        fs::write(memory(&scene), damaged).unwrap();
        let repository = anchored(&scene).await;
        let refused = repository.publish(&keyring(&ONLINE).await, &edits, now(), &Unwatched).await;
        let refused = refused.unwrap_err();
        assert!(
            matches!(
                refused,
                RepositoryError::File { what: "reading", .. }
                    | RepositoryError::Verify(VerifyError::Malformed { .. })
            ),
            "{refused:?}"
        );
        assert_eq!(fs::read(memory(&scene)).unwrap(), damaged, "it stays for the admin to look at");
    }
    assert!(scene.files() == before, "something was written");
    fs::write(memory(&scene), good).unwrap();
    anchored(&scene).await.publish(&keyring(&ONLINE).await, &edits, now(), &Unwatched).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn publishers_that_share_a_memory_neither_damage_it_nor_take_each_other_for_an_attack() {
    let scene = seen().await;
    let mut publishers = JoinSet::new();
    for publisher in 0..4 {
        let repository = anchored(&scene).await;
        let edits: Vec<_> =
            (0..4).map(|n| scene.add(&format!("p{publisher}"), &format!("1.{n}"), "x")).collect();
        publishers.spawn(async move {
            for edit in edits {
                repository.publish(&keyring(&ONLINE).await, &[edit], now(), &Unwatched).await?;
            }
            Ok::<_, RepositoryError>(())
        });
    }
    for outcome in publishers.join_all().await {
        assert_eq!(outcome, Ok(()));
    }
    scene.assert_sound("after all").await;
    assert_eq!(View::of(&anchored(&scene).await).await.files.len(), 17);
    let left = fs::read_dir(memory(&scene).parent().unwrap()).unwrap().count();
    assert_eq!(left, 1, "nothing but the memory itself");
}

// What is read from the store, without any memory.

/// A root before the newest one, signed by nobody but the attacker, whose key signs everything in it.
async fn predecessor(newest: &Root) -> Vec<u8> {
    let key = role(&["root-2"], 1).await.keys.remove(0);
    let mut content = newest.clone();
    content.common.version -= 1;
    content.keys.insert(key.id(), key.clone());
    for top in [TopLevel::Root, TopLevel::Timestamp, TopLevel::Snapshot, TopLevel::Targets] {
        // The real key stays beside it, so that the newest root is signed as this one demands.
        content.role_mut(top).keyids.push(key.id());
    }
    signed(&Draft::new(content), &["root-2"]).await
}

#[tokio::test]
async fn a_made_up_root_before_the_newest_lends_no_trust() {
    let scene = Scene::new().await;
    let all = keyring(&ALL_KEYS).await;
    scene.open().await.bump(&all, true, now(), &Unwatched).await.unwrap();
    let state = scene.open().await.state().await.unwrap();
    assert_eq!(state.root.common.version, 2);
    let fake = predecessor(&state.root).await;
    let fake_root: Verified<Root> = Signed::new(fake.clone()).verify_initial().unwrap();
    Signed::<Root>::new(state.root.bytes()).verify_successor(&fake_root).unwrap();
    let mut timestamp = state.timestamp.draft();
    timestamp.content.common.version += 1;
    fs::write(metadata(&scene, "1.root.json"), fake).unwrap();
    fs::write(metadata(&scene, "timestamp.json"), signed(&timestamp, &["root-2"]).await).unwrap();
    let before = scene.files();
    for repository in [scene.open().await, anchored(&scene).await] {
        let refused = repository.state().await.unwrap_err();
        assert_eq!(below(&refused), Some(("timestamp", "root")), "{refused:?}");
        let refused = repository.bump(&all, true, now(), &Unwatched).await.unwrap_err();
        assert_eq!(below(&refused), Some(("timestamp", "root")), "{refused:?}");
    }
    assert!(scene.files() == before, "something was written");
}

/// The key that was taken away is stolen, and a root that still lists it lies under another number.
#[tokio::test]
async fn a_real_root_under_the_number_of_another_lends_no_trust() {
    let scene = Scene::new().await;
    let keys = keyring(&["root-1", "targets-1", "online", "online-2"]).await;
    let repository = scene.open().await;
    for top in [TopLevel::Timestamp, TopLevel::Snapshot] {
        repository.rotate(&keys, top, &role(&["online-2"], 1).await, now()).await.unwrap();
    }
    let state = repository.state().await.unwrap();
    let mut timestamp = state.timestamp.draft();
    timestamp.content.common.version += 1;
    let first = fs::read(metadata(&scene, "1.root.json")).unwrap();
    fs::write(metadata(&scene, "2.root.json"), first).unwrap();
    fs::write(metadata(&scene, "timestamp.json"), signed(&timestamp, &["online"]).await).unwrap();
    let refused = repository.state().await.unwrap_err();
    assert_eq!(below(&refused), Some(("timestamp", "root")), "{refused:?}");
}

#[tokio::test]
async fn a_root_under_a_higher_number_than_its_own_is_refused() {
    let scene = Scene::new().await;
    let all = keyring(&ALL_KEYS).await;
    scene.open().await.bump(&all, true, now(), &Unwatched).await.unwrap();
    for (copied, found) in [("1.root.json", 1), ("2.root.json", 2)] {
        let bytes = fs::read(metadata(&scene, copied)).unwrap();
        fs::write(metadata(&scene, "3.root.json"), bytes).unwrap();
        let refused = scene.open().await.state().await.unwrap_err();
        let wrong = TrustError::WrongVersion { role: "root".to_owned(), found, expected: 3 };
        assert_eq!(refused, RepositoryError::Trust(wrong));
    }
}

/// Publishes a snapshot that was edited, with the genuine online key.
async fn publish_snapshot(scene: &Scene, edit: impl FnOnce(&mut Snapshot)) {
    let state = scene.open().await.state().await.unwrap();
    let (mut snapshot, mut timestamp) = (state.snapshot.draft(), state.timestamp.draft());
    snapshot.content.common.version += 1;
    edit(&mut snapshot.content);
    let bytes = signed(&snapshot, &ONLINE).await;
    timestamp.content.common.version += 1;
    let about = About {
        length: Some(u64::try_from(bytes.len()).unwrap()),
        hashes: Some(Hashes::sha256(wheelseal::crypto::sha256(&bytes))),
        ..About::default()
    };
    timestamp.content.snapshot = MetaFile::new(snapshot.content.common().version, about);
    let name = format!("{}.snapshot.json", snapshot.content.common.version);
    fs::write(metadata(scene, &name), bytes).unwrap();
    fs::write(metadata(scene, "timestamp.json"), signed(&timestamp, &ONLINE).await).unwrap();
}

#[tokio::test]
async fn a_snapshot_must_list_the_offline_roles_with_their_hash() {
    for role in ["targets", "bins"] {
        let scene = Scene::new().await;
        publish_snapshot(&scene, |_| {}).await;
        scene.open().await.state().await.unwrap();
        publish_snapshot(&scene, |snapshot| {
            let mut entry = snapshot.remove(role).unwrap();
            entry.edit(|about| about.hashes = None);
            snapshot.set(role, entry);
        })
        .await;
        let refused = scene.open().await.state().await.unwrap_err();
        assert_eq!(refused, RepositoryError::Missing(format!("the hash of {role} in snapshot")));
        let later = days_later(1);
        let online = keyring(&ONLINE).await;
        assert_eq!(scene.open().await.bump(&online, true, later, &Unwatched).await.unwrap_err(), refused);
    }
}

// Through the program.

/// The one file in which the program remembers a repository.
fn remembered(state: &Path) -> PathBuf {
    let folder = state.join("wheelseal/repositories");
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

#[test]
fn an_older_state_put_back_is_refused_with_code_5_and_a_way_out() {
    let home = Home::with_repository();
    let timestamp = home.work().join("repo/metadata/timestamp.json");
    let old = fs::read(&timestamp).unwrap();
    home.publish("alpha", "1.1");
    fs::write(&timestamp, old).unwrap();
    let (file, wheel) = (remembered(&home.state()), home.wheel("alpha", "1.2"));
    let texts = [
        "the repository went back to timestamp version 3; this machine has seen version 4",
        &format!("delete {}", file.display()),
    ];
    home.refuses(&["add", "--repo", "repo", &wheel], 5, &texts);
    home.refuses(&["bump", "--all", "--repo", "repo"], 5, &texts);
    home.refuses(&["status", "--repo", "repo"], 5, &texts);
    fs::remove_file(file).unwrap();
    home.run(&["add", "--repo", "repo", &wheel]).fine();
}

#[test]
fn a_memory_that_does_not_read_stops_the_program() {
    let home = Home::with_repository();
    let file = remembered(&home.state());
    fs::write(&file, "{").unwrap();
    home.refuses(&["bump", "--all", "--repo", "repo"], 1, &["reading", &file.display().to_string()]);
}

#[test]
fn a_new_repository_in_the_folder_of_an_old_one_is_a_first_sight() {
    let home = Home::with_repository();
    let file = remembered(&home.state());
    let old = fs::read(&file).unwrap();
    fs::remove_dir_all(home.work().join("repo")).unwrap();
    home.init(&["--bins", "2"]).fine();
    home.publish("alpha", "1.0");
    assert_ne!(fs::read(remembered(&home.state())).unwrap(), old);
}

#[test]
fn an_init_that_is_refused_forgets_nothing() {
    let home = Home::with_repository();
    let before = fs::read(remembered(&home.state())).unwrap();
    home.init(&["--bins", "2"]).refused(2, &["this is a repository already"]);
    assert_eq!(fs::read(remembered(&home.state())).unwrap(), before);
}

#[test]
fn the_memory_is_in_the_state_folder_of_the_user() {
    let mut home = Home::with_repository();
    remembered(&home.state());
    fs::remove_dir_all(home.state().join("wheelseal")).unwrap();
    home.set("XDG_STATE_HOME", "");
    home.run(&["status", "--repo", "repo"]).fine();
    remembered(&home.work().parent().unwrap().join(".local/state"));
    assert!(!home.state().join("wheelseal").exists());
}

#[test]
fn commands_at_once_leave_a_memory_that_reads() {
    let home = Home::with_repository();
    let wheels: Vec<String> = (0..4).map(|n| home.wheel("gamma", &format!("1.{n}"))).collect();
    std::thread::scope(|scope| {
        for wheel in &wheels {
            scope.spawn(|| home.run(&["add", "--repo", "repo", wheel]).fine());
            scope.spawn(|| home.run(&["bump", "--all", "--repo", "repo"]).fine());
        }
    });
    let text = fs::read(remembered(&home.state())).unwrap();
    assert!(serde_json::from_slice::<serde_json::Value>(&text).is_ok());
    home.run(&["check", "--repo", "repo"]).fine();
}
