//! Bins that nobody delegates to any more, of which `gc` has removed the files: no command misses them.

#![expect(clippy::unwrap_used, reason = "a repository that cannot be read is a test that failed")]

use std::fs;
use std::io::{Cursor, Read};
use std::time::Duration;

use wheelseal::coding::Coding;
use wheelseal::crypto::sha256;
use wheelseal::repository::{
    BinStyle, Fscked, Layout, List, Look, Plan, Repair, Repository, Resized, Retention, Run, Source,
    Unwatched,
};
use wheelseal::tuf::metadata::TopLevel;

use crate::scene::{ALL_KEYS, ONLINE, Scene, days_later, keyring, now, plan, role};

/// A repository of 16 bins that has four now, and no file of the other twelve.
async fn shrunk(bin_style: BinStyle) -> Scene {
    let scene = Scene::of(&Plan { bin_count: 16, bin_style, ..plan().await }, &ALL_KEYS).await;
    scene.publish(&[scene.add("alpha", "1.0", "x = 1"), scene.add("beta", "1.0", "x = 2")]).await.unwrap();
    resize(&scene, 4).await;
    let retention = Retention { snapshots: 1, grace: Duration::ZERO };
    scene.open().await.gc(retention, false, days_later(1), &Unwatched).await.unwrap();
    let snapshot = scene.open().await.state().await.unwrap().snapshot;
    let gone = |role: &&str| {
        let version = snapshot.role(role).unwrap().version;
        !scene.root().join(format!("metadata/{version}.{role}.json")).exists()
    };
    assert_eq!(snapshot.roles().map(|(role, _)| role).filter(gone).count(), 12);
    scene
}

async fn resize(scene: &Scene, count: u32) {
    let keys = keyring(&["targets-1", "online"]).await;
    let resized = scene.open().await.resize_bins(&keys, count, None, now(), &Unwatched).await.unwrap();
    assert!(matches!(resized, Resized::Done { targets: 6, .. }), "{resized:?}");
}

async fn in_both_styles(work: impl AsyncFn(&Scene)) {
    for style in [BinStyle::Succinct, BinStyle::Prefixes] {
        let scene = shrunk(style).await;
        work(&scene).await;
        scene.assert_sound("afterwards").await;
    }
}

#[tokio::test]
async fn compress_compresses_the_rest() {
    in_both_styles(async |scene| {
        let compressed = scene.open().await.compress(&Coding::ALL, &Unwatched).await.unwrap();
        // Root, snapshot, targets, claimed, recently-claimed, bins and four of these, in two codings.
        assert_eq!((compressed.written, compressed.found), (20, 0));
        let again = scene.open().await.compress(&Coding::ALL, &Unwatched).await.unwrap();
        assert_eq!((again.written, again.found), (0, 20));
    })
    .await;
}

#[tokio::test]
async fn bump_and_status_and_another_gc_pass_them_by() {
    in_both_styles(async |scene| {
        let repository = scene.open().await;
        let bumped =
            repository.bump(&keyring(&ALL_KEYS).await, true, days_later(1), &Unwatched).await.unwrap();
        assert_eq!(bumped.bins, 4);
        assert_eq!(repository.status(now(), &Unwatched).await.unwrap().bins, 4);
        let retention = Retention { snapshots: 1, grace: Duration::ZERO };
        repository.gc(retention, false, days_later(1), &Unwatched).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn fsck_looks_for_none_of_them() {
    in_both_styles(async |scene| {
        let (mut findings, repository) = (Vec::new(), scene.open().await);
        let mut report = |finding: &_| findings.push(format!("{finding:?}"));
        let fscked = repository.fsck(Look::Hash, Repair::No, &Unwatched, &mut report).await.unwrap();
        let Fscked { bad, strays, superseded, .. } = fscked;
        assert_eq!(((bad, strays, superseded), findings), ((0, 0, 0), vec![]));
    })
    .await;
}

#[tokio::test]
async fn a_backup_without_them_restores() {
    in_both_styles(async |scene| {
        let archive = scene.spool().join("backup.tar.zst");
        scene.open().await.backup(&archive, &Unwatched).await.unwrap();
        let (to, files) = (Scene::empty(), [scene.root().join("targets")]);
        let source = Source { archive: &archive, files: &files, root: None };
        let mut missing = |path: &str| panic!("{path} is missing");
        Repository::restore(to.store().await, &source, &Unwatched, &mut missing).await.unwrap();
        to.assert_sound("restored").await;
    })
    .await;
}

#[tokio::test]
async fn publishing_importing_rotating_and_another_resize_go_on() {
    in_both_styles(async |scene| {
        scene.publish(&[scene.add("gamma", "1.0", "x = 3")]).await.unwrap();
        let before = scene.open().await.state().await.unwrap().snapshot.role("bins-f").unwrap().version;
        let repository = scene.open().await;
        let keys = keyring(&["root-1", "online", "online-2"]).await;
        for key in ["online-2", "online"] {
            repository.rotate(&keys, TopLevel::Snapshot, &role(&[key], 1).await, now()).await.unwrap();
        }
        let (text, folder) = ("x", scene.root().join("targets/files"));
        let hash = hex::encode(sha256(text.as_bytes()));
        fs::create_dir(&folder).unwrap();
        for name in ["1".to_owned(), format!("{hash}.1")] {
            fs::write(folder.join(name), text).unwrap();
        }
        let text: Box<dyn Read + Send> = Box::new(Cursor::new(format!("files/1\t1\t{hash}\n").into_bytes()));
        let list = List { text, bytes: None, layout: Layout::AsIs, hashes_from: None };
        let signers = keyring(&ONLINE).await;
        repository.import(&signers, list, Run::Wet, now(), &Unwatched).await.unwrap();
        let keys = keyring(&["targets-1", "online"]).await;
        repository.resize_bins(&keys, 16, None, now(), &Unwatched).await.unwrap();
        let after = repository.state().await.unwrap().snapshot.role("bins-f").unwrap().version;
        assert!(after > before, "{after}");
    })
    .await;
}
