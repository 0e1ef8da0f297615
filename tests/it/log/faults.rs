//! Every write of an append and of a checkpoint, lost, done but reported as failed, or the last before a crash; and
//! several who append at once.

use tokio::task::JoinSet;
use wheelseal::store::StorePath;

use super::*;
use crate::faults::{Fault, FaultStore};

/// Appends up to a size, whatever was appended of it before, and publishes.
async fn complete(scene: &Scene, log: &Log, size: u64) -> Result<(), LogError> {
    let head = log.head().await?.ok_or(LogError::None)?;
    log.append(&head, files(head.size()..size)).await?;
    scene.publish(log).await.map(drop)
}

/// A log of `from` entries grows to `to`, with a fault at each write in turn. What was signed for is whole after each; the
/// head is the old or the new one; and the next process goes on.
async fn survive(from: u64, to: u64) {
    for fault in [Fault::Lost, Fault::Done, Fault::Crash] {
        let mut at = 0;
        loop {
            let scene = Scene::of(from).await;
            let store = Arc::new(FaultStore::new(scene.store().await, fault, at));
            let log = Log::new(Arc::<FaultStore<DirStore>>::clone(&store));
            let done = complete(&scene, &log, to).await;
            if at >= store.writes() {
                done.unwrap();
                break;
            }
            let case = format!("{fault:?} at write {at}: {done:?}");
            let (signed, _) = scene.audit().await.unwrap_or_else(|error| panic!("{case}: {error}"));
            let head = scene.log().await.head().await.unwrap().unwrap();
            assert!([from, to].contains(&signed) && [from, to].contains(&head.size()), "{case}");
            assert!(signed <= head.size(), "{case}");

            let next = scene.log().await;
            complete(&scene, &next, to + 1).await.unwrap_or_else(|error| panic!("{case}: {error}"));
            let (size, audit) = scene.audit().await.unwrap_or_else(|error| panic!("{case}: {error}"));
            assert_eq!((size, audit.files), (to + 1, to + 1), "{case}");
            let head = next.head().await.unwrap().unwrap();
            assert_eq!(logged(&next, &head).await, (0..=to).collect::<Vec<_>>(), "{case}");
            at += 1;
        }
        // A head, a bundle and a tile at least, and a checkpoint.
        assert!(at >= 4, "{fault:?}: {at} writes");
    }
}

#[tokio::test]
async fn a_crash_at_any_write_of_a_small_append_loses_and_forks_nothing() {
    survive(250, 260).await;
}

#[tokio::test]
async fn a_crash_at_any_write_of_a_first_append_loses_and_forks_nothing() {
    survive(0, 3).await;
}

#[tokio::test]
async fn a_crash_at_any_write_of_a_large_append_loses_and_forks_nothing() {
    // 120 kB of entries: too many for the head.
    survive(300, 900).await;
    let scene = Scene::of(0).await;
    let log = scene.log().await;
    complete(&scene, &log, 900).await.unwrap();
    let staged = scene.store().await.list("log/staged").await.unwrap();
    assert_eq!(staged, [], "staged entries go when their tiles are there");
}

/// Removes what is left over; how many files.
async fn tidy(log: &Log, before: std::time::SystemTime) -> usize {
    let left = log.leftovers(before).await.unwrap();
    for entry in &left {
        assert!(log.remove(entry).await.unwrap());
    }
    left.len()
}

#[tokio::test]
async fn a_blob_that_an_append_names_meanwhile_is_put_back() {
    let scene = Scene::of(300).await;
    let store = FaultStore::new(scene.store().await, Fault::Crash, 1);
    complete(&scene, &log_in(store), 900).await.unwrap_err();
    let (store, log) = (scene.store().await, scene.log().await);
    let later = store.list("log/staged").await.unwrap()[0].modified + std::time::Duration::from_hours(1);
    let left = log.leftovers(later).await.unwrap();
    assert_eq!(left.len(), 1);
    // Another one appends the same, and stops after its swap: no tile is there yet.
    let crashing = FaultStore::new(scene.store().await, Fault::Crash, 2);
    complete(&scene, &log_in(crashing), 900).await.unwrap_err();
    assert_eq!(log.head().await.unwrap().unwrap().size(), 900);
    let found = store.list("log/staged").await.unwrap();
    // It was dated anew by that; here it looks as it did before.
    assert!(!log.remove(&found[0]).await.unwrap());
    assert_eq!(store.list("log/staged").await.unwrap().len(), 1);
    complete(&scene, &log, 901).await.unwrap();
    assert_eq!(scene.audit().await.unwrap().0, 901);
}

#[tokio::test]
async fn what_a_crashed_append_staged_goes_in_time() {
    let scene = Scene::of(300).await;
    // The first write stages the entries, the second swaps the head.
    let store = FaultStore::new(scene.store().await, Fault::Crash, 1);
    complete(&scene, &log_in(store), 900).await.unwrap_err();
    let staged = scene.store().await.list("log/staged").await.unwrap();
    assert_eq!(staged.len(), 1);
    let log = scene.log().await;
    assert_eq!(tidy(&log, staged[0].modified).await, 0, "somebody may be about to use it");
    let later = staged[0].modified + std::time::Duration::from_hours(1);
    // The bundle and the tile of level 0 that are partial at 300 stay: no full one is there yet.
    assert_eq!(tidy(&log, later).await, 1);
    complete(&scene, &log, 900).await.unwrap();
    let before = scene.store().await.list("log").await.unwrap().len();
    assert_eq!(tidy(&log, later).await, 2, "now they are covered");
    assert_eq!(scene.store().await.list("log").await.unwrap().len(), before - 2);
    assert_eq!(scene.audit().await.unwrap().0, 900);
    assert_eq!(
        log.consistency(300, 900).await.unwrap().len(),
        scene.log().await.consistency(300, 900).await.unwrap().len()
    );
}

#[tokio::test]
async fn an_append_that_ended_at_the_head_is_finished_by_whoever_reads_its_leaves() {
    let scene = Scene::of(255).await;
    let store = FaultStore::new(scene.store().await, Fault::Crash, 1);
    complete(&scene, &log_in(store), 257).await.unwrap_err();
    let tile = StorePath::new("log/tile/0/000").unwrap();
    assert_eq!(scene.store().await.exist(std::slice::from_ref(&tile)).await.unwrap(), [false]);
    let log = scene.log().await;
    let head = log.head().await.unwrap().unwrap();
    assert_eq!((head.size(), head.tail_from()), (257, 255));
    assert_eq!(logged(&log, &head).await.len(), 257);
    assert_eq!(scene.store().await.exist(&[tile]).await.unwrap(), [true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_append_at_once_make_one_log() {
    let scene = Arc::new(Scene::of(0).await);
    let mut appending = JoinSet::new();
    for writer in 0..4_u64 {
        let scene = Arc::clone(&scene);
        appending.spawn(async move {
            let log = scene.log().await;
            let mut overtaken = 0;
            for round in 0..8_u64 {
                let number = writer * 100 + round;
                loop {
                    let head = log.head().await.unwrap().unwrap();
                    match log.append(&head, files(number..number + 1)).await {
                        Ok(_) => break,
                        Err(LogError::Overtaken) => overtaken += 1,
                        Err(error) => panic!("writer {writer}: {error}"),
                    }
                }
                match scene.publish(&log).await {
                    Ok(_) | Err(LogError::Overtaken) => {}
                    Err(error) => panic!("writer {writer}: {error}"),
                }
            }
            overtaken
        });
    }
    appending.join_all().await;
    let log = scene.log().await;
    scene.publish(&log).await.unwrap();
    assert_eq!(scene.audit().await.unwrap().1.files, 32);
    let mut numbers = logged(&log, &log.head().await.unwrap().unwrap()).await;
    numbers.sort_unstable();
    assert_eq!(numbers, (0..4).flat_map(|writer| writer * 100..writer * 100 + 8).collect::<Vec<_>>());
}
