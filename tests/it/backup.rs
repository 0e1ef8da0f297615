//! From a backup, and files that lie somewhere, comes the repository that was; from anything else, nothing.

#![expect(clippy::unwrap_used, reason = "a repository that cannot be read is a test that failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wheelseal::repository::{
    BackedUp, Edit, Repository, RepositoryError, Restored, Retention, Source, Unwatched,
};
use wheelseal::store::{Content, DirStore, ObjectStore, Store, StoreError, StorePath};
use wheelseal::tuf::metadata::TopLevel;
use wheelseal::tuf::trusted::TrustError;

use crate::scene::{ALL_KEYS, ONLINE, Scene, View, files_below, keyring, now, role, wheel_name};
use crate::shell::Home;

async fn published() -> Scene {
    let scene = Scene::new().await;
    scene
        .publish(&[
            scene.add("alpha", "1.0", "one"),
            scene.add("alpha", "1.1", "two"),
            scene.add("beta", "1.0", "one"),
        ])
        .await
        .unwrap();
    scene.publish(&[Edit::Yank(wheel_name("alpha", "1.0"), None)]).await.unwrap();
    scene
}

fn archive(scene: &Scene) -> PathBuf {
    scene.spool().join("backup.tar.zst")
}

async fn back_up(scene: &Scene) -> BackedUp {
    scene.open().await.backup(&archive(scene), &Unwatched).await.unwrap()
}

/// Restores into a scene; what came of it, and what is missing.
async fn restore(
    to: &Scene,
    archive: &Path,
    files: &[PathBuf],
    root: Option<&[u8]>,
) -> (Result<Restored, RepositoryError>, Vec<String>) {
    let mut absent = Vec::new();
    let mut missing = |path: &str| absent.push(path.to_owned());
    let source = Source { archive, files, root };
    let restored = Repository::restore(to.store().await, &source, &Unwatched, &mut missing).await;
    absent.sort();
    (restored, absent)
}

/// The files, without superseded metadata and the lock.
fn current(scene: &Scene) -> std::collections::BTreeMap<String, Vec<u8>> {
    scene.files().into_iter().filter(|(path, _)| !path.starts_with(".wheelseal.")).collect()
}

#[tokio::test]
async fn what_is_restored_is_what_was_file_for_file() {
    let scene = published().await;
    let retention = Retention { snapshots: 1, grace: std::time::Duration::ZERO };
    scene.open().await.gc(retention, false, now(), &Unwatched).await.unwrap();
    let backed_up = back_up(&scene).await;
    // Root, timestamp, snapshot, targets, claimed, recently-claimed, bins and four of these; alpha's page and beta's.
    assert_eq!((backed_up.snapshot, backed_up.timestamp, backed_up.roles, backed_up.pages), (3, 3, 11, 2));
    let to = Scene::empty();
    let (restored, absent) = restore(&to, &archive(&scene), &[scene.root().join("targets")], None).await;
    let expected = Restored { timestamp: 3, snapshot: 3, roles: 11, pages: 2, files: 6, missing: 0 };
    assert_eq!((restored, absent), (Ok(expected), vec![]));
    assert!(current(&to) == current(&scene), "not the same files");
    to.assert_sound("restored").await;
    to.publish(&[to.add("gamma", "1.0", "new")]).await.unwrap();
    to.assert_sound("published after").await;
}

#[tokio::test]
async fn an_archive_has_no_distributions_and_the_same_state_gives_the_same_bytes() {
    let scene = published().await;
    back_up(&scene).await;
    let first = fs::read(archive(&scene)).unwrap();
    let mut tar = tar::Archive::new(zstd::stream::read::Decoder::new(first.as_slice()).unwrap());
    let names: Vec<String> = tar
        .entries()
        .unwrap()
        .map(|entry| String::from_utf8(entry.unwrap().path_bytes().into_owned()).unwrap())
        .collect();
    assert_eq!(names.first().map(String::as_str), Some("wheelseal.toml"));
    assert!(names.iter().all(|name| !name.contains(".whl") && !name.contains(".pem")), "{names:?}");
    let refused = scene.open().await.backup(&archive(&scene), &Unwatched).await.unwrap_err();
    assert!(matches!(refused, RepositoryError::File { what: "writing", .. }), "{refused:?}");
    fs::remove_file(archive(&scene)).unwrap();
    back_up(&scene).await;
    assert!(fs::read(archive(&scene)).unwrap() == first);
}

#[tokio::test]
async fn a_backup_while_others_publish_is_of_one_state() {
    let scene = published().await;
    let before = View::of(&scene.open().await).await;
    let (backing, other) = (scene.open().await, scene.open().await);
    let (to, keys) = (archive(&scene), keyring(&ONLINE).await);
    let edits = [[scene.add("gamma", "1.0", "new")], [scene.add("alpha", "1.2", "new")]];
    let publish = async {
        for edit in &edits {
            other.publish(&keys, edit, now(), &Unwatched).await.unwrap();
        }
    };
    let (backed_up, ()) = tokio::join!(backing.backup(&to, &Unwatched), publish);
    let backed_up = backed_up.unwrap();
    assert!((3..=5).contains(&backed_up.snapshot));
    let restored = Scene::empty();
    let (outcome, _) = restore(&restored, &to, &[scene.root().join("targets")], None).await;
    assert_eq!(outcome.unwrap().missing, 0);
    restored.assert_sound("restored").await;
    if backed_up.snapshot == 3 {
        assert_eq!(View::of(&restored.open().await).await, before);
    }
}

#[tokio::test]
async fn each_file_that_is_found_nowhere_is_named_and_can_be_brought_later() {
    let scene = published().await;
    back_up(&scene).await;
    let to = Scene::empty();
    // A folder in another layout: names alone, and one file of the right name with other bytes.
    let mirror = scene.spool().join("mirror/deep");
    fs::create_dir_all(&mirror).unwrap();
    for version in ["1.0", "1.1"] {
        let name = wheel_name("alpha", version);
        fs::copy(scene.root().join(format!("targets/alpha/{name}")), mirror.join(name.as_str())).unwrap();
    }
    let name = wheel_name("beta", "1.0");
    let mut bytes = fs::read(scene.root().join(format!("targets/beta/{name}"))).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(mirror.join(name.as_str()), bytes).unwrap();
    let (restored, absent) = restore(&to, &archive(&scene), &[scene.spool().join("mirror")], None).await;
    assert_eq!((restored.as_ref().unwrap().files, restored.unwrap().missing), (2, 4));
    let hashed = |path: &&String| path.starts_with("targets/") && !path.starts_with("targets/simple/");
    let all = scene.files();
    let mut expected: Vec<_> = all
        .keys()
        .filter(hashed)
        .filter(|path| path.len() > 90 && (path.contains("beta") || path.ends_with(".metadata")))
        .cloned()
        .collect();
    expected.sort();
    assert_eq!(absent, expected);
    for path in absent {
        fs::create_dir_all(to.root().join(&path).parent().unwrap()).unwrap();
        fs::copy(scene.root().join(&path), to.root().join(&path)).unwrap();
    }
    let mut report = |_: &wheelseal::repository::Finding| {};
    let (look, repair) = (wheelseal::repository::Look::Hash, wheelseal::repository::Repair::Yes);
    let fscked = to.open().await.fsck(look, repair, &Unwatched, &mut report).await.unwrap();
    assert_eq!((fscked.bad, fscked.repaired), (0, 4), "the copies under plain names");
    to.assert_sound("with the files that were brought").await;
}

#[tokio::test]
async fn files_that_lie_in_the_store_are_used_and_mended() {
    let scene = published().await;
    back_up(&scene).await;
    for folder in ["metadata", "simple", "targets/simple"] {
        fs::remove_dir_all(scene.root().join(folder)).unwrap();
    }
    // One is there under its plain name alone, and one only under its hash.
    let gone: Vec<String> = scene
        .files()
        .into_keys()
        .filter(|path| {
            path.ends_with(".alpha-1.0-py3-none-any.whl") || path.ends_with("/beta-1.0-py3-none-any.whl")
        })
        .collect();
    assert_eq!(gone.len(), 2);
    for path in gone {
        fs::remove_file(scene.root().join(path)).unwrap();
    }
    let (restored, absent) = restore(&scene, &archive(&scene), &[], None).await;
    assert_eq!((restored.unwrap().files, absent), (6, vec![]));
    scene.assert_sound("restored in place").await;
}

#[tokio::test]
async fn nothing_is_restored_over_a_repository_or_where_a_newer_one_was() {
    let scene = published().await;
    back_up(&scene).await;
    let before = scene.files();
    let (refused, _) = restore(&scene, &archive(&scene), &[], None).await;
    assert_eq!(refused, Err(RepositoryError::AlreadyRepository("metadata/timestamp.json".into())));
    assert!(scene.files() == before);
    scene.publish(&[scene.add("gamma", "1.0", "new")]).await.unwrap();
    fs::remove_file(scene.root().join("metadata/timestamp.json")).unwrap();
    let before = scene.files();
    let (refused, _) = restore(&scene, &archive(&scene), &[], None).await;
    let Err(RepositoryError::Trust(TrustError::Rollback { .. })) = refused else { panic!("{refused:?}") };
    assert!(scene.files() == before, "something was written");
}

#[tokio::test]
async fn a_restore_that_was_cut_short_is_no_repository_and_can_be_repeated() {
    let scene = published().await;
    back_up(&scene).await;
    let to = Scene::empty();
    let files = [scene.root().join("targets")];
    restore(&to, &archive(&scene), &files, None).await.0.unwrap();
    fs::remove_file(to.root().join("metadata/timestamp.json")).unwrap();
    fs::remove_file(to.root().join("simple/index.json")).unwrap();
    assert!(to.open().await.state().await.is_err());
    restore(&to, &archive(&scene), &files, None).await.0.unwrap();
    to.assert_sound("restored again").await;
    // Other bytes under the name of metadata are somebody's, and stop it.
    fs::remove_file(to.root().join("metadata/timestamp.json")).unwrap();
    fs::write(to.root().join("metadata/1.claimed.json"), "{}").unwrap();
    let (refused, _) = restore(&to, &archive(&scene), &files, None).await;
    assert!(matches!(refused, Err(RepositoryError::Store(StoreError::Exists { .. }))), "{refused:?}");
}

#[tokio::test]
async fn only_a_backup_with_the_root_that_is_trusted_is_restored_if_one_is_given() {
    let scene = published().await;
    back_up(&scene).await;
    let root = fs::read(scene.root().join("metadata/1.root.json")).unwrap();
    let other = Scene::of(&crate::scene::plan().await, &ALL_KEYS).await;
    let changed = String::from_utf8(root.clone()).unwrap().replace("\"version\":1}", "\"version\":2}");
    assert_ne!(changed.as_bytes(), root);
    let to = Scene::empty();
    let (refused, _) = restore(&to, &archive(&scene), &[], Some(changed.as_bytes())).await;
    assert!(matches!(refused, Err(RepositoryError::Backup { .. })), "{refused:?}");
    assert!(to.files().is_empty());
    restore(&to, &archive(&scene), &[], Some(&root)).await.0.unwrap();
    drop(other);
}

/// The entries of an archive, by name.
fn unpacked(file: &Path) -> Vec<(String, Vec<u8>)> {
    let mut tar = tar::Archive::new(zstd::stream::read::Decoder::new(fs::File::open(file).unwrap()).unwrap());
    let mut entries = Vec::new();
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        entries.push((name, bytes));
    }
    entries
}

fn packed(file: &Path, entries: &[(String, Vec<u8>)]) {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(bytes.len()).unwrap());
        header.set_mode(0o644);
        // Written as it stands: what an attacker would write.
        let field = &mut header.as_gnu_mut().unwrap().name;
        field.iter_mut().zip(name.as_bytes()).for_each(|(to, from)| *to = *from);
        header.set_cksum();
        tar.append(&header, bytes.as_slice()).unwrap();
    }
    fs::write(file, zstd::encode_all(tar.into_inner().unwrap().as_slice(), 1).unwrap()).unwrap();
}

/// Each entry left out, changed by one bit, or moved behind what it vouches for; and entries that do not belong.
#[tokio::test]
async fn an_archive_that_is_not_whole_and_in_order_and_signed_writes_nothing() {
    let scene = published().await;
    back_up(&scene).await;
    let good: Vec<_> = unpacked(&archive(&scene));
    let bad = scene.spool().join("bad.tar.zst");
    // Names in this old form of the tests are at most 100 bytes long; pages have longer ones.
    let short: Vec<_> = good.iter().filter(|(name, _)| name.len() <= 100).cloned().collect();
    let mut tried = 0;
    let mut variants = Vec::new();
    for at in 0..short.len() {
        let name = short[at].0.clone();
        let mut without = short.clone();
        let entry = without.remove(at);
        variants.push((format!("{name} left out"), without.clone()));
        if at + 1 < short.len()
            && name != "wheelseal.toml"
            && !name.contains(".bins-")
            && !name.contains("claimed")
        {
            without.push(entry.clone());
            variants.push((format!("{name} last"), without));
        }
        if name != "wheelseal.toml" {
            let mut changed = short.clone();
            let middle = changed[at].1.len() / 2;
            changed[at].1[middle] ^= 1;
            variants.push((format!("{name} changed"), changed));
        }
    }
    for name in [
        "../outside",
        "/etc/passwd",
        "metadata/../x",
        "targets/alpha/x.whl",
        "metadata/9.claimed.json",
        "readme",
    ] {
        let mut more = short.clone();
        more.push((name.to_owned(), b"{}".to_vec()));
        variants.push((format!("{name} added"), more));
    }
    let twice: Vec<_> = short.iter().cloned().chain([short[0].clone()]).collect();
    variants.push(("the settings twice".to_owned(), twice));
    for (what, entries) in variants {
        packed(&bad, &entries);
        let to = Scene::empty();
        let (refused, _) = restore(&to, &bad, &[], None).await;
        assert!(refused.is_err(), "{what}");
        assert!(to.files().is_empty(), "{what}: something was written");
        tried += 1;
    }
    assert!(tried > 30, "{tried}");
    let whole = fs::read(archive(&scene)).unwrap();
    for len in [0, 10, whole.len() / 2, whole.len() - 1] {
        fs::write(&bad, &whole[..len]).unwrap();
        let to = Scene::empty();
        let (refused, _) = restore(&to, &bad, &[], None).await;
        assert!(refused.is_err(), "cut at {len}");
        assert!(to.files().is_empty());
    }
}

/// A bucket knows no hard links, no lock, and no folder to look into.
#[tokio::test]
async fn a_bucket_gets_the_same_files_and_a_second_try_finishes_what_the_first_left() {
    let scene = published().await;
    let retention = Retention { snapshots: 1, grace: std::time::Duration::ZERO };
    scene.open().await.gc(retention, false, now(), &Unwatched).await.unwrap();
    back_up(&scene).await;
    let store: Arc<dyn Store> = Arc::new(ObjectStore::in_memory());
    let (archive, files) = (archive(&scene), [scene.root().join("targets")]);
    let restored = async |files: &[PathBuf]| {
        let (source, mut absent) = (Source { archive: &archive, files, root: None }, 0);
        let mut missing = |_: &str| absent += 1;
        let restored = Repository::restore(Arc::clone(&store), &source, &Unwatched, &mut missing).await;
        restored.map(|restored| (restored.files, restored.missing, absent))
    };
    assert_eq!(restored(&[]).await, Ok((0, 6, 6)));
    let again = Err(RepositoryError::AlreadyRepository("metadata/timestamp.json".to_owned()));
    assert_eq!(restored(&files).await, again, "it is a repository now");

    // As a try leaves it that was cut short; one file has other bytes since, and one lies under its plain name alone.
    let delete = async |path: &str| store.delete(&StorePath::new(path).unwrap()).await.unwrap();
    let create = async |path: &str, bytes: &[u8]| {
        store.create(&StorePath::new(path).unwrap(), Content::Bytes(bytes)).await.unwrap();
    };
    delete("metadata/timestamp.json").await;
    let before = current(&scene);
    let [alpha, beta] = ["alpha-1.1", "beta-1.0"].map(|file| {
        let hashed =
            |path: &&String| path.contains(&format!(".{file}-")) && path.strip_suffix(".whl").is_some();
        before.keys().find(hashed).unwrap()
    });
    create(alpha, b"damaged").await;
    create("targets/beta/beta-1.0-py3-none-any.whl", &before[beta]).await;
    assert_eq!(restored(&files).await, Ok((6, 0, 0)));
    let mut after = std::collections::BTreeMap::new();
    for entry in store.list("").await.unwrap() {
        let object = store.get(&entry.path, u64::MAX).await.unwrap().unwrap();
        after.insert(entry.path.to_string(), object.bytes);
    }
    assert!(after == before, "not the same files");
}

/// The way out that docs/operating.md tells: new keys for timestamp and snapshot, and clients forget the versions.
#[test]
fn a_client_that_saw_newer_versions_refuses_the_restored_state_until_the_online_keys_are_new() {
    let home = Home::with_repository();
    home.run(&["trust", "add", "mine", "repo", "--root", "repo/metadata/1.root.json"]).fine();
    home.run(&["backup", "--repo", "repo", "--to", "backup.tar.zst"]).fine();
    home.publish("gamma", "1.0");
    home.run(&["download", "alpha", "--to", "first"]).fine();
    let (old, repo) = (home.work().join("old"), home.work().join("repo"));
    fs::rename(&repo, &old).unwrap();
    let told =
        home.run(&["restore", "--from", "backup.tar.zst", "--repo", "repo", "--files", "old/targets"]).fine();
    assert!(told.contains("restored snapshot 3: "), "{told}");
    // The machine that published remembers more, and says which file to delete.
    home.run(&["status", "--repo", "repo"]).refused(5, &["went back", "delete "]);
    fs::remove_dir_all(home.state().join("wheelseal/repositories")).unwrap();
    home.run(&["download", "alpha", "--to", "second"]).refused(5, &[]);
    let key = |name: &str| crate::shell::shown(&crate::scene::example(name));
    for top in ["timestamp", "snapshot"] {
        let (root, online, new) = (key("root-1"), key("online"), key("online-2"));
        let rotate = ["role", "rotate", top, "--repo", "repo", "--to", &new];
        home.run(&[&rotate[..], &["--key", &root, "--key", &online, "--key", &new]].concat()).fine();
    }
    home.run(&["download", "alpha", "--to", "third"]).fine();
    assert!(files_below(&home.work().join("third")).contains_key("alpha-1.0-py3-none-any.whl"));
}

#[tokio::test]
async fn a_restored_repository_can_be_given_new_keys() {
    let scene = published().await;
    back_up(&scene).await;
    let to = Scene::empty();
    restore(&to, &archive(&scene), &[scene.root()], None).await.0.unwrap();
    let keys = keyring(&["root-1", "online", "online-2"]).await;
    let store = Arc::new(DirStore::open(to.root()).await.unwrap());
    let repository = Repository::open(store).await.unwrap();
    repository.rotate(&keys, TopLevel::Timestamp, &role(&["online-2"], 1).await, now()).await.unwrap();
    to.assert_sound("rotated").await;
}
