//! What a log leaves over goes with `gc`, and nothing else of it.

use std::sync::Arc;
use std::time::Duration;

use wheelseal::log::{Entries, Log};
use wheelseal::repository::{Collected, Retention, Unwatched};
use wheelseal::store::DirStore;
use wheelseal::tlog::leaf::{FileLeaf, Leaf};

use super::{assert_logged, begun, logging};
use crate::faults::{Fault, FaultStore};
use crate::scene::{Scene, now};

async fn gc(scene: &Scene, grace: Duration, dry_run: bool) -> Collected {
    let retention = Retention { snapshots: 1, grace };
    scene.open().await.gc(retention, dry_run, now(), &Unwatched).await.unwrap()
}

fn of_the_log(paths: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut paths: Vec<_> = paths.into_iter().filter(|path| path.starts_with("log/")).collect();
    paths.sort();
    paths
}

fn files(count: u64) -> Entries {
    let mut entries = Entries::default();
    for number in 0..count {
        let path = format!("p{number}/p{number}-1.0.tar.gz");
        entries.push(&Leaf::File(FileLeaf::new(&path, "1.0", number, [7; 32]).unwrap())).unwrap();
    }
    entries
}

#[tokio::test]
async fn leftovers_of_lost_races_and_covered_tiles_go_with_gc() {
    let scene = begun().await;
    let log = Log::new(scene.store().await);
    let head = log.head().await.unwrap().unwrap();
    let partial = head.size();
    // One stages more entries than the head takes, and another one appends first: here, the swap never comes.
    let store = DirStore::open(scene.root()).await.unwrap();
    let cut = Log::new(Arc::new(FaultStore::new(store, Fault::Crash, 1)));
    cut.append(&head, files(700)).await.unwrap_err();
    assert_eq!(
        of_the_log(gc(&scene, Duration::ZERO, true).await.removed).len(),
        1,
        "no full tile is there yet"
    );
    log.append(&head, files(600)).await.unwrap();
    logging(&scene, &[scene.add("gamma", "1.0", "x = 3")]).await.unwrap();

    let before = of_the_log(scene.files().into_keys());
    let staged = before.iter().find(|path| path.starts_with("log/staged/")).unwrap().clone();
    let left = [staged, format!("log/tile/0/000.p/{partial}"), format!("log/tile/entries/000.p/{partial}")];
    let young = gc(&scene, Duration::from_hours(100 * 365 * 24), true).await;
    assert_eq!(of_the_log(young.removed), [""; 0]);
    let dry = of_the_log(gc(&scene, Duration::ZERO, true).await.removed);
    assert!(left.iter().all(|path| dry.contains(path)), "{dry:?}");
    assert_eq!(of_the_log(scene.files().into_keys()), before, "nothing is touched by a dry run");
    let wet = of_the_log(gc(&scene, Duration::ZERO, false).await.removed);
    assert_eq!(wet, dry);
    let after = of_the_log(scene.files().into_keys());
    assert_eq!(after, before.into_iter().filter(|path| !wet.contains(path)).collect::<Vec<_>>());
    assert!(
        !after.iter().any(|path| path.contains("000.p/") && path.starts_with("log/tile/0/")),
        "{after:?}"
    );

    logging(&scene, &[scene.add("delta", "1.0", "x = 4")]).await.unwrap();
    assert_logged(&scene).await;
    scene.assert_sound("after a gc").await;
}
