//! Garbage that is not what it seems: used again while it is removed, put aside by a gc that was killed, a compressed
//! copy, a bin that nobody delegates to any more.

#![expect(clippy::unwrap_used, reason = "a repository that cannot be read is a test that failed")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use wheelseal::crypto::sha256;
use wheelseal::repository::{Collected, Edit, RepositoryError, Retention, Unwatched};
use wheelseal::tuf::metadata::{About, Hashes, MetaFile};

use crate::scene::{ONLINE, Scene, now, signed, wheel_name};

const WHEEL: &str = "targets/alpha/alpha-1.0-py3-none-any.whl";
const ASIDE: &str = "staging/gc/00ff";

async fn gc(scene: &Scene) -> Result<Collected, RepositoryError> {
    let retention = Retention { snapshots: 1, grace: Duration::ZERO };
    scene.open().await.gc(retention, false, now(), &Unwatched).await
}

async fn published() -> Scene {
    let scene = Scene::new().await;
    scene.publish(&[scene.add("alpha", "1.0", "one"), scene.add("beta", "1.0", "one")]).await.unwrap();
    scene
}

/// Puts a file where a gc that was killed would have left it.
fn put_aside(scene: &Scene, path: &str) {
    let to = scene.root().join(ASIDE).join(path);
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::rename(scene.root().join(path), to).unwrap();
}

fn below(folder: &Path) -> usize {
    walkdir::WalkDir::new(folder)
        .into_iter()
        .filter(|entry| entry.as_ref().unwrap().file_type().is_file())
        .count()
}

#[tokio::test]
async fn what_a_killed_gc_had_put_aside_is_put_back_if_it_is_named_and_removed_if_not() {
    let scene = published().await;
    scene.publish(&[Edit::Remove(wheel_name("beta", "1.0"))]).await.unwrap();
    let hashed =
        scene.files().into_keys().find(|path| path.ends_with(".alpha-1.0-py3-none-any.whl")).unwrap();
    for path in [WHEEL, &hashed, "targets/beta/beta-1.0-py3-none-any.whl"] {
        put_aside(&scene, path);
    }
    let collected = gc(&scene).await.unwrap();
    assert_eq!(collected.put_back, 2, "{collected:?}");
    scene.assert_sound("after the second gc").await;
    assert!(scene.files().contains_key(&hashed));
    assert!(!scene.files().keys().any(|path| path.contains("beta-1.0") || path.starts_with("staging/gc")));
}

#[tokio::test]
async fn what_another_gc_has_just_put_aside_is_left_to_it() {
    let scene = published().await;
    let aside = scene.root().join(ASIDE).join("targets/gamma/gamma-1.0-py3-none-any.whl");
    fs::create_dir_all(aside.parent().unwrap()).unwrap();
    fs::write(aside, "of nobody").unwrap();
    let century = Retention { snapshots: 1, grace: Duration::from_hours(100 * 365 * 24) };
    scene.open().await.gc(century, false, scene.time(), &Unwatched).await.unwrap();
    assert_eq!(below(&scene.root().join(ASIDE)), 1);
}

#[tokio::test]
async fn nothing_is_left_aside() {
    let scene = published().await;
    scene.publish(&[Edit::Remove(wheel_name("beta", "1.0"))]).await.unwrap();
    let collected = gc(&scene).await.unwrap();
    assert_eq!(collected.count, u64::try_from(collected.removed.len()).unwrap());
    assert!(collected.removed.iter().any(|path| path.contains("beta-1.0")));
    assert_eq!(below(&scene.root().join("staging")), 0);
}

#[tokio::test]
async fn a_compressed_copy_lives_and_dies_with_its_plain_file() {
    let scene = published().await;
    let metadata: Vec<_> = scene.files().into_keys().filter(|path| path.starts_with("metadata/")).collect();
    for path in &metadata {
        for ending in ["gz", "zst"] {
            fs::write(scene.root().join(format!("{path}.{ending}")), "compressed").unwrap();
        }
    }
    gc(&scene).await.unwrap();
    let files = scene.files();
    let (mut kept, mut gone) = (0, 0);
    for path in metadata {
        let copies = ["gz", "zst"].map(|ending| files.contains_key(&format!("{path}.{ending}")));
        assert_eq!(copies, [files.contains_key(&path); 2], "{path}");
        if files.contains_key(&path) { kept += 1 } else { gone += 1 }
    }
    assert!(kept > 8 && gone > 2, "{kept} {gone}");
}

/// A snapshot entry never disappears, or clients would see a rollback.
#[tokio::test]
async fn the_file_of_a_bin_that_nobody_delegates_to_any_more_goes() {
    let scene = published().await;
    let state = scene.open().await.state().await.unwrap();
    let old = scene.root().join("metadata/7.bins-00.json");
    fs::write(&old, "{}").unwrap();
    let mut snapshot = state.snapshot.draft();
    snapshot.content.common.version += 1;
    snapshot.content.meta.insert("bins-00.json", MetaFile::version(7));
    let bytes = signed(&snapshot, &ONLINE).await;
    fs::write(scene.root().join("metadata/3.snapshot.json"), &bytes).unwrap();
    let mut timestamp = state.timestamp.draft();
    timestamp.content.common.version += 1;
    timestamp.content.snapshot =
        MetaFile::new(3, About { hashes: Some(Hashes::sha256(sha256(&bytes))), ..About::default() });
    let bytes = signed(&timestamp, &ONLINE).await;
    fs::write(scene.root().join("metadata/timestamp.json"), bytes).unwrap();
    let unreferenced = scene.check().await.unreferenced;
    scene.assert_verifies("with the file of a retired bin").await;
    gc(&scene).await.unwrap();
    assert!(!old.exists());
    assert!(unreferenced > 0);
    scene.assert_sound("without it").await;
}

/// Else its targets would pass for garbage.
#[tokio::test]
async fn nothing_is_removed_while_a_current_bin_is_missing() {
    let scene = published().await;
    let state = scene.open().await.state().await.unwrap();
    let bin = format!("metadata/{}.bins-2.json", state.snapshot.role("bins-2").unwrap().version);
    fs::remove_file(scene.root().join(&bin)).unwrap();
    let before = scene.files();
    assert_eq!(gc(&scene).await, Err(RepositoryError::Missing(bin)));
    assert!(scene.files() == before);
}
