//! Clocks that jump: between two publications of one process, and between processes.

#![expect(clippy::unwrap_used, reason = "a repository that cannot be read is a test that failed")]

use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use wheelseal::client::ClientError;
use wheelseal::repository::{Edit, Publisher, RepositoryError, Retention, State, Unwatched};
use wheelseal::tuf::trusted::TrustError;

use crate::memory::{MemoryStore, Reader, assert_sound};
use crate::scene::{ALL_KEYS, ONLINE, days_later, keyring, now, wheel, wheel_name};

const DAY: Duration = Duration::from_hours(24);

/// Days for which a timestamp is good in these repositories.
const LIFE: i64 = 7;

async fn with_alpha() -> MemoryStore {
    let store = MemoryStore::with_repository().await;
    let spool = tempfile::tempdir().unwrap();
    let file = wheel(spool.path(), "alpha", "1.0", "text");
    let edit = wheelseal::repository::read_distribution(&file, spool.path()).unwrap();
    let keys = keyring(&ONLINE).await;
    let edits = [Edit::Add(Box::new(edit))];
    store.repository().await.publish(&keys, &edits, now(), &Unwatched).await.unwrap();
    store
}

fn yank(reason: &str) -> Vec<Edit> {
    vec![Edit::Yank(wheel_name("alpha", "1.0"), Some(reason.parse().unwrap()))]
}

async fn state(store: &MemoryStore) -> State {
    store.repository().await.state().await.unwrap()
}

/// How long the timestamp is good from `now` on, in days.
async fn days_left(store: &MemoryStore, now: DateTime<Utc>) -> i64 {
    (state(store).await.timestamp.common.expires - now).num_days()
}

/// Days after the first publication at which the next ones are made.
const JUMPS: [i64; 6] = [0, 400, -30, 3650, 0, 1];

#[tokio::test]
async fn versions_grow_and_expiry_follows_the_clock_whichever_way_it_jumps() {
    for one_process in [true, false] {
        let store = with_alpha().await;
        let start = async || Publisher::start(store.repository().await, keyring(&ONLINE).await);
        let mut publisher = start().await;
        let mut last = state(&store).await;
        for (round, days) in JUMPS.into_iter().enumerate() {
            if !one_process {
                publisher = start().await;
            }
            let done = publisher.publish(yank(&format!("round {round}")), days_later(days)).await.unwrap();
            let next = state(&store).await;
            assert_eq!(done.snapshot, next.snapshot.common.version);
            assert!(next.snapshot.common.version > last.snapshot.common.version);
            assert_eq!(next.timestamp.common.version, last.timestamp.common.version + 1);
            assert_eq!(days_left(&store, days_later(days)).await, LIFE, "{days} days later");
            last = next;
        }
        assert_sound(&store, "after all jumps").await;
    }
}

/// In a group, the latest clock of those who asked counts.
#[tokio::test]
async fn a_caller_whose_clock_is_behind_does_not_make_a_groups_metadata_old() {
    let store = with_alpha().await;
    let publisher = Publisher::start(store.repository().await, keyring(&ONLINE).await);
    let (behind, right) = tokio::join!(
        publisher.publish(yank("behind"), days_later(-400)),
        publisher.publish(yank("right"), now())
    );
    assert_eq!(behind.unwrap().snapshot, right.unwrap().snapshot);
    assert_eq!(days_left(&store, now()).await, LIFE);
}

#[tokio::test]
async fn what_a_clock_behind_signed_as_expired_is_refused_by_clients_and_made_good_by_bump() {
    let store = with_alpha().await;
    let reader = Reader::of(&store);
    reader.downloads(now(), [("alpha", "1.0")]).await.unwrap();
    let publisher = Publisher::start(store.repository().await, keyring(&ONLINE).await);
    publisher.publish(yank("from the past"), days_later(-60)).await.unwrap();
    let refused = reader.downloads(now(), [("alpha", "1.0")]).await.unwrap_err();
    assert!(matches!(refused, ClientError::Trust(TrustError::Expired { .. })), "{refused:?}");
    let all = keyring(&ALL_KEYS).await;
    let bumped = store.repository().await.bump(&all, false, now(), &Unwatched).await.unwrap();
    assert_eq!(bumped.signed, ["snapshot", "timestamp"]);
    assert!(bumped.bins > 0, "{bumped:?}");
    reader.downloads(now(), [("alpha", "1.0")]).await.unwrap();
    // And the publisher, whose clock is right again, goes on from there.
    publisher.publish(yank("from now"), now()).await.unwrap();
    assert!(reader.page(now(), "alpha").await.unwrap().contains("from now"));
    assert_sound(&store, "after the bump").await;
}

/// Metadata that is good for too long lets whoever holds it back hold it back for as long.
#[tokio::test]
async fn what_a_clock_ahead_signed_for_years_is_signed_anew_by_bump() {
    let store = with_alpha().await;
    let publisher = Publisher::start(store.repository().await, keyring(&ONLINE).await);
    publisher.publish(yank("from the future"), days_later(3650)).await.unwrap();
    assert_eq!(days_left(&store, now()).await, 3650 + LIFE);
    let online = keyring(&ONLINE).await;
    store.repository().await.bump(&online, false, now(), &Unwatched).await.unwrap();
    assert_eq!(days_left(&store, now()).await, LIFE);
    let left = (state(&store).await.snapshot.common.expires - now()).num_days();
    assert_eq!(left, 14);
    assert_sound(&store, "after the bump").await;
}

/// gc's own clock is not the store's. One that is behind keeps too much, never too little.
#[tokio::test]
async fn gc_with_a_clock_that_is_behind_removes_nothing_that_is_referenced_or_young() {
    for days in [-3650, -2, 0] {
        let store = with_alpha().await;
        let old: SystemTime = (now() - chrono::TimeDelta::days(10)).into();
        store.world().objects.values_mut().for_each(|object| object.modified = old);
        store.world().put("targets/alpha/old-leftover", *b"old");
        store.world().objects.get_mut("targets/alpha/old-leftover").unwrap().modified = old;
        // A publication under way has written these just now.
        let young = ["metadata/9.bins-0.json", "metadata/9.snapshot.json", "targets/alpha/young"];
        for name in young {
            store.world().put(name, *b"young");
        }
        let retention = Retention { snapshots: 1, grace: DAY };
        let collected =
            store.repository().await.gc(retention, false, days_later(days), &Unwatched).await.unwrap();
        let names = store.names("");
        assert!(young.iter().all(|name| names.iter().any(|found| found == name)), "{days}: {collected:?}");
        assert_eq!(collected.removed.iter().any(|name| name.contains("old-leftover")), days > -10, "{days}");
        for name in young {
            store.world().objects.remove(name);
        }
        Reader::of(&store).downloads(now(), [("alpha", "1.0")]).await.unwrap();
    }
}

/// One that is ahead would take what was written just now for old.
#[tokio::test]
async fn gc_with_a_clock_that_is_ahead_of_the_stores_is_refused_with_both_times() {
    let store = with_alpha().await;
    store.world().put("targets/alpha/young", *b"of a publication under way");
    let before = store.names("");
    let retention = Retention { snapshots: 1, grace: DAY };
    for (minutes, refused) in [(14, false), (16, true), (2 * 24 * 60, true)] {
        let here = now() + chrono::TimeDelta::minutes(minutes);
        let collected = store.repository().await.gc(retention, false, here, &Unwatched).await;
        let expected = RepositoryError::ClockAhead { here, store: now() };
        assert_eq!(collected.map(drop), if refused { Err(expected) } else { Ok(()) }, "{minutes}");
        assert_eq!(store.names(""), before, "{minutes}");
    }
    // A dry run writes nothing, not even to ask; without grace the clock does not matter.
    let told = store.repository().await.gc(retention, true, days_later(2), &Unwatched).await.unwrap();
    assert!(told.removed.contains(&"targets/alpha/young".to_owned()), "{told:?}");
    let none = Retention { snapshots: 1, grace: Duration::ZERO };
    store.repository().await.gc(none, false, days_later(2), &Unwatched).await.unwrap();
    assert!(!store.names("").contains(&"targets/alpha/young".to_owned()));
}

/// However short the grace period is: age is what the store's clock says.
#[tokio::test]
async fn a_file_is_as_old_as_the_stores_clock_says() {
    let store = with_alpha().await;
    store.world().put("targets/alpha/young", *b"of a publication under way");
    let retention = Retention { snapshots: 1, grace: Duration::from_mins(5) };
    let here = now() + chrono::TimeDelta::minutes(10);
    let collected = store.repository().await.gc(retention, false, here, &Unwatched).await.unwrap();
    assert!(store.names("").contains(&"targets/alpha/young".to_owned()), "{collected:?}");
    store.world().clock += Duration::from_mins(6);
    store.repository().await.gc(retention, false, here, &Unwatched).await.unwrap();
    assert!(!store.names("").contains(&"targets/alpha/young".to_owned()));
}
