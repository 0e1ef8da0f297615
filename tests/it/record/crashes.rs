//! A crash, a lost write or one that was done and reported as failed, at each write of a round: every file is recorded
//! once, and none is missed.

use std::sync::Arc;

use wheelseal::recorder::{Bytes, Round, Settings};
use wheelseal::store::DirStore;

use super::{Desk, Index, listed};
use crate::faults::{Fault, FaultStore};
use crate::scene::{View, now};

/// One recorded file, one that appears with a lie beside it, and one whose hash changed.
async fn scene() -> (Index, Desk) {
    let (index, desk) = (Index::new().await, Desk::new().await);
    index.projects(&[("six", None)]);
    index.page("six", None, &[index.wheel("six", "1.0", "x = 1")]);
    assert_eq!(desk.once(&index).await.recorded, 1);
    index.projects(&[("six", None), ("web", None)]);
    index.page("six", None, &[index.wheel("six", "1.0", "evil"), index.wheel("six", "1.1", "x = 2")]);
    index.page("web", None, &[index.wheel("web", "1.0", "x = 3"), listed("web-2.0.zip", b"later")]);
    (index, desk)
}

/// Runs a round with a fault at each of its writes, from the same start.
async fn strike(fault: Fault, bytes: Bytes) {
    let (index, desk) = scene().await;
    let complete = {
        let whole = Desk { scene: desk.scene.copy(), ..Desk::new().await };
        whole.once(&index).await;
        (whole.targets().await, whole.conflicts())
    };
    for at in 0.. {
        let hurt = Desk { scene: desk.scene.copy(), ..Desk::new().await };
        let store = Arc::new(FaultStore::new(DirStore::open(hurt.scene.root()).await.unwrap(), fault, at));
        let settings = || Settings { bytes, ..hurt.settings() };
        if let Ok(mut recorder) = hurt.recorder_on(store.clone(), &index, settings()).await {
            // Whether the round says so is not what is asked here.
            drop(recorder.round(now(), &|_, _| {}).await);
        }
        let when = format!("{fault:?} at write {at}");
        hurt.assert_signed(&when).await;
        assert_eq!(hurt.once_as(&index, settings()).await.waiting, 1, "{when}");
        assert_eq!((hurt.targets().await, hurt.conflicts()), complete, "{when}");
        if bytes == Bytes::Kept {
            let files = View::of(&hurt.scene.open().await).await.files;
            let stored = |name: &str| hurt.scene.root().join("targets/web").join(name).exists();
            assert!(files.contains_key("web-1.0-py3-none-any.whl"), "{when}");
            assert!(stored("web-1.0-py3-none-any.whl"), "{when}");
        }
        if store.writes() <= at {
            assert!(at > 5, "{at} writes are no round");
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_write_costs_nothing() {
    strike(Fault::Lost, Bytes::Hashed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_was_done_and_reported_as_failed_is_not_done_twice() {
    strike(Fault::Done, Bytes::Hashed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_write_misses_nothing() {
    strike(Fault::Crash, Bytes::Kept).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_the_commit_and_before_the_note_records_nothing_twice() {
    let (index, desk) = (Index::new().await, Desk::new().await);
    index.lists("six", &[index.wheel("six", "1.0", "x = 1")]);
    let first = desk.once(&index).await;
    assert_eq!(first.recorded, 1);
    std::fs::remove_dir_all(desk.notes().join("s")).unwrap();
    index.asked();
    assert_eq!(desk.once(&index).await, Round { projects: 1, pages: 1, ..Round::default() });
    assert_eq!(index.asked(), ["/simple/", "/simple/six/"], "the file was fetched again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_that_is_dropped_in_the_middle_is_completed_by_the_next_one() {
    let (index, desk) = (Index::new().await, Desk::new().await);
    index.lists("six", &[index.wheel("six", "1.0", "x = 1"), listed("six-2.0.zip", b"slow")]);
    index.put("/files/six-2.0.zip", super::Reply::Stalled(b"sl".to_vec()));
    {
        let mut recorder = desk.recorder(&index, desk.settings()).await;
        let told = tokio::sync::Notify::new();
        let watch = |done: u64, _: u64| {
            // The page and the wheel are there; the other file is on its way.
            if done == 2 {
                told.notify_one();
            }
        };
        tokio::select! {
            _ = recorder.round(now(), &watch) => panic!("the round ended"),
            () = told.notified() => {}
        }
    }
    assert_eq!(desk.targets().await.len(), 0);
    index.file("six-2.0.zip", b"slow");
    let report = desk.once(&index).await;
    assert_eq!((report.recorded, report.waiting), (2, 0));
}
