//! Every write lost, done but reported as failed, or the last before a crash; a folder that was set back or damaged; a
//! clock that goes backwards. Never is something cosigned that is not remembered.

use std::fs;
use std::sync::Arc;

use wheelseal::store::DirStore;
use wheelseal::tlog::witness::checkpoint_path;

use super::{Log, NOW, ORIGIN, Scene};
use crate::faults::{Fault, FaultStore};
use crate::scene::files_below;

#[tokio::test]
async fn what_was_cosigned_is_remembered_whatever_happens_to_a_write() {
    let log = Log::new(ORIGIN, 20);
    for fault in [Fault::Lost, Fault::Done, Fault::Crash, Fault::Full, Fault::ReadOnly] {
        for at in 0..3 {
            let scene = Scene::new(&log).await;
            let plain = DirStore::open(scene.folder.path()).await.unwrap();
            let store = Arc::new(FaultStore::new(plain, fault, at));
            let witness = scene.over(store.clone()).await;
            let (mut latest, mut told) = (0, 0);
            for size in [3, 7, 20] {
                let answer = witness.answer(log.request(latest, size).as_bytes()).await;
                match answer.status {
                    200 => {
                        assert!(scene.cosigned(&log.checkpoint(size), &answer.body).is_some());
                        latest = size;
                    }
                    503 => told += 1,
                    409 => latest = answer.body.trim_end().parse().unwrap(),
                    other => panic!("{fault:?} at {at}: {other}"),
                }
            }
            assert!(told > 0 && scene.told().len() == told, "{fault:?} at {at}: {:?}", scene.told());
            // Begun anew on a healthy disk.
            let witness = scene.witness().await;
            let found =
                witness.folder().latest(ORIGIN).await.unwrap().map_or(0, |one| one.checkpoint().size());
            assert!(found >= latest, "{fault:?} at {at}: cosigned {latest}, remembered {found}");
            if fault != Fault::Done {
                assert_eq!(found, latest);
            }
            assert_eq!(witness.answer(log.request(found, 20).as_bytes()).await.status, 200);
        }
    }
}

#[tokio::test]
async fn a_repeated_request_is_answered_alike_and_signs_and_writes_every_five_seconds() {
    let log = Log::new(ORIGIN, 5);
    let scene = Scene::new(&log).await;
    let plain = DirStore::open(scene.folder.path()).await.unwrap();
    let store = Arc::new(FaultStore::new(plain, Fault::None, 0));
    let witness = scene.over(store.clone()).await;
    let first = witness.answer(log.request(0, 5).as_bytes()).await;
    for _ in 0..5 {
        assert_eq!(witness.answer(log.request(5, 5).as_bytes()).await, first);
    }
    scene.set_clock(NOW + 4);
    assert_eq!(witness.answer(log.request(5, 5).as_bytes()).await, first);
    assert_eq!(store.writes(), 1);
    scene.set_clock(NOW + 5);
    let later = witness.answer(log.request(5, 5).as_bytes()).await;
    assert_eq!(scene.cosigned(&log.checkpoint(5), &later.body), u64::try_from(NOW + 5).ok());
    assert_eq!(store.writes(), 2);
}

#[tokio::test]
async fn nothing_is_cosigned_while_the_clock_is_before_the_last_cosignature() {
    let log = Log::new(ORIGIN, 9);
    let scene = Scene::new(&log).await;
    let witness = scene.witness().await;
    assert_eq!(witness.answer(log.request(0, 5).as_bytes()).await.status, 200);
    let before = files_below(scene.folder.path());
    for back in [NOW - 1, 0, -1, i64::from(i32::MIN)] {
        scene.set_clock(back);
        assert_eq!(witness.answer(log.request(5, 9).as_bytes()).await.status, 503);
        assert_eq!(witness.answer(log.request(5, 5).as_bytes()).await.status, 503);
        assert!(scene.told().last().unwrap().contains(&format!("the clock is at {back}")));
    }
    assert_eq!(files_below(scene.folder.path()), before);
    scene.set_clock(NOW);
    assert_eq!(witness.answer(log.request(5, 9).as_bytes()).await.status, 200);
}

#[tokio::test]
async fn nothing_is_ever_cosigned_at_time_zero() {
    let log = Log::new(ORIGIN, 9);
    let scene = Scene::new(&log).await;
    for never in [0, -1] {
        scene.set_clock(never);
        assert_eq!(scene.witness().await.answer(log.request(0, 5).as_bytes()).await.status, 503);
    }
    scene.set_clock(1);
    let answer = scene.witness().await.answer(log.request(0, 5).as_bytes()).await;
    assert_eq!(scene.cosigned(&log.checkpoint(5), &answer.body), Some(1));
}

#[tokio::test]
async fn a_folder_that_is_set_back_while_it_runs_is_noticed() {
    let log = Log::new(ORIGIN, 20);
    let scene = Scene::new(&log).await;
    let (witness, file) =
        (scene.witness().await, scene.folder.path().join("logs").join(checkpoint_path(ORIGIN)));
    witness.answer(log.request(0, 5).as_bytes()).await;
    let old = fs::read(&file).unwrap();
    witness.answer(log.request(5, 9).as_bytes()).await;
    fs::write(&file, old).unwrap();
    assert_eq!(witness.answer(log.forked(5).request(5, 9).as_bytes()).await.status, 503);
    fs::remove_file(&file).unwrap();
    assert_eq!(witness.answer(log.request(0, 9).as_bytes()).await.status, 503);
    let gone = scene.told();
    assert!(gone[0].contains("has 5 leaves, and had 9"), "{gone:?}");
    assert!(gone[1].contains("has 0 leaves, and had 9"), "{gone:?}");
}

#[tokio::test]
async fn a_file_that_is_not_what_the_witness_wrote_is_not_gone_on_from() {
    let log = Log::new(ORIGIN, 20);
    let scene = Scene::new(&log).await;
    let file = scene.folder.path().join("logs").join(checkpoint_path(ORIGIN));
    scene.witness().await.answer(log.request(0, 5).as_bytes()).await;
    let good = fs::read_to_string(&file).unwrap();
    // Of another log, not cosigned, cut short, changed.
    let other = Log::new("example.com/other", 5);
    let theirs = Scene::new(&other).await;
    theirs.witness().await.answer(other.request(0, 5).as_bytes()).await;
    let elsewhere = theirs.folder.path().join("logs").join(checkpoint_path("example.com/other"));
    let swapped = good.replace("\n5\n", "\n4\n");
    for bad in [
        String::new(),
        log.checkpoint(5).to_string(),
        good[..good.len() - 1].to_owned(),
        swapped,
        fs::read_to_string(elsewhere).unwrap(),
    ] {
        fs::write(&file, &bad).unwrap();
        assert_eq!(scene.witness().await.answer(log.request(5, 9).as_bytes()).await.status, 503, "{bad}");
        assert!(
            scene.told().last().unwrap().contains("is not what this witness wrote"),
            "{:?}",
            scene.told()
        );
        assert_eq!(fs::read_to_string(&file).unwrap(), bad);
    }
    fs::write(&file, good).unwrap();
    assert_eq!(scene.witness().await.answer(log.request(5, 9).as_bytes()).await.status, 200);
}
