//! Group commit: who waits at the same time shares a snapshot and nothing else.
//!
//! On one thread all callers have spoken before the publisher begins, so the groups are the same in every run.

#![expect(clippy::unwrap_used, reason = "a publisher that cannot be set up is a test that cannot run")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tempfile::TempDir;
use wheelseal::repository::{
    Edit, Published, Publisher, Repository, RepositoryError, Retention, Unwatched, read_distribution,
};
use wheelseal::store::{Store, StoreError};
use wheelseal::tuf::metadata::TopLevel;

use crate::faults::{Fault, FaultStore};
use crate::memory::{MemoryStore, Reader, assert_sound};
use crate::scene::{ALL_KEYS, ONLINE, Scene, View, keyring, now, role, wheel, wheel_name};

/// Nothing is old.
const KEEP: Retention = Retention { snapshots: 1, grace: Duration::MAX };

/// A repository in memory, and a folder for the files that are added to it.
struct Stage {
    store: MemoryStore,
    spool: TempDir,
}

impl Stage {
    async fn new() -> Self {
        Self { store: MemoryStore::with_repository().await, spool: tempfile::tempdir().unwrap() }
    }

    fn add(&self, project: &str, version: &str, body: &str) -> Edit {
        let folder = tempfile::tempdir_in(self.spool.path()).unwrap();
        let file = wheel(folder.path(), project, version, body);
        Edit::Add(Box::new(read_distribution(&file, self.spool.path()).unwrap()))
    }

    /// One file each, as publications of their own.
    fn adds(&self, projects: &[&str]) -> Vec<Vec<Edit>> {
        projects.iter().map(|project| vec![self.add(project, "1.0", "one")]).collect()
    }

    async fn publisher(&self) -> Publisher {
        publisher(Arc::new(self.store.clone())).await
    }

    /// Everything is in order, and a client gets exactly these files.
    async fn shows(&self, wheels: &[(&str, &str)], when: &str) {
        assert_sound(&self.store, when).await;
        Reader::of(&self.store).downloads(now(), wheels.iter().copied()).await.unwrap();
        let found = View::of(&self.store.repository().await).await.files.into_keys();
        let expected = wheels.iter().map(|(project, version)| wheel_name(project, version).to_string());
        assert_eq!(found.collect::<BTreeSet<_>>(), expected.collect(), "{when}");
    }
}

async fn publisher(store: Arc<dyn Store>) -> Publisher {
    Publisher::start(Repository::open(store).await.unwrap(), keyring(&ONLINE).await)
}

/// All at once; one outcome each.
async fn publish(
    publisher: &Publisher,
    publications: Vec<Vec<Edit>>,
) -> Vec<Result<Published, RepositoryError>> {
    // Unconstrained: all speak before the runtime lets the publisher begin.
    let all = join_all(publications.into_iter().map(|edits| publisher.publish(edits, now())));
    tokio::task::unconstrained(all).await
}

/// The versions of the snapshots that these went into.
fn snapshots(outcomes: &[Result<Published, RepositoryError>]) -> BTreeSet<u64> {
    outcomes.iter().flatten().map(|published| published.snapshot).collect()
}

#[tokio::test]
async fn a_group_is_one_snapshot_and_what_exceeds_it_goes_into_the_next() {
    let stage = Stage::new().await;
    let publisher = stage.publisher().await;
    // 256 is the most that share a snapshot; the files are few and in many publications, to be quick.
    let files: Vec<String> = (0..6).map(|number| format!("project{number}")).collect();
    let whole: Vec<Vec<Edit>> = files.iter().map(|project| vec![stage.add(project, "1.0", "one")]).collect();
    let yank = |at: usize| {
        let reason = at.to_string().parse().unwrap();
        vec![Edit::Yank(wheel_name(&files[at % files.len()], "1.0"), Some(reason))]
    };
    let outcomes = publish(&publisher, whole).await;
    assert_eq!((outcomes.iter().flatten().count(), snapshots(&outcomes)), (6, [2].into()));
    let outcomes = publish(&publisher, (0..300).map(yank).collect()).await;
    let of = |version| outcomes.iter().flatten().filter(|published| published.snapshot == version).count();
    assert_eq!((of(3), of(4), outcomes.len()), (256, 44, 300));
    let wheels: Vec<_> = files.iter().map(|project| (project.as_str(), "1.0")).collect();
    stage.shows(&wheels, "after two groups").await;
    let page = stage.store.world().objects["simple/project5/index.json"].bytes.to_vec();
    assert!(
        String::from_utf8(page).unwrap().contains("\"yanked\":\"299\""),
        "the last in order has the last word"
    );
}

/// Each is refused for itself: its reason reaches its own caller, and nothing of it is published.
#[tokio::test]
async fn a_publication_that_is_refused_does_not_hurt_the_others() {
    let stage = Stage::new().await;
    let publisher = stage.publisher().await;
    let mut publications = stage.adds(&["alpha", "beta", "gamma"]);
    publications.insert(1, vec![stage.add("alpha", "1.0", "other")]);
    publications.insert(2, vec![stage.add("delta", "1.0", "one"), stage.add("alpha", "1.0", "other")]);
    publications.insert(3, vec![Edit::Remove(wheel_name("epsilon", "1.0"))]);
    let outcomes = publish(&publisher, publications).await;
    let refused: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().err()).collect();
    assert!(
        matches!(
            refused[..],
            [
                None,
                Some(RepositoryError::Conflict { .. }),
                Some(RepositoryError::Conflict { .. }),
                Some(RepositoryError::NotPublished(_)),
                None,
                None
            ]
        ),
        "{outcomes:?}"
    );
    assert_eq!(snapshots(&outcomes), [2].into());
    stage.shows(&[("alpha", "1.0"), ("beta", "1.0"), ("gamma", "1.0")], "after the refusals").await;
}

/// A name that a wheel may have, and a stored file with its hash before it may not.
#[tokio::test]
async fn a_file_that_has_no_place_in_the_store_is_refused_alone() {
    let stage = Stage::new().await;
    let publisher = stage.publisher().await;
    let mut publications = stage.adds(&["alpha", "beta"]);
    publications.insert(1, vec![stage.add("gamma", &format!("1.0+{}", "a".repeat(200)), "one")]);
    let outcomes = publish(&publisher, publications).await;
    assert!(
        matches!(&outcomes[..], [Ok(_), Err(RepositoryError::Store(StoreError::InvalidPath { .. })), Ok(_)]),
        "{outcomes:?}"
    );
    assert_eq!(snapshots(&outcomes), [2].into());
    stage.shows(&[("alpha", "1.0"), ("beta", "1.0")], "after the refusal").await;
}

/// The file is no project's: a crash, or somebody else, left it under the plain name.
#[tokio::test]
async fn other_content_under_a_plain_name_refuses_only_the_publication_that_wants_the_name() {
    for name in ["beta-1.0-py3-none-any.whl", "beta-1.0-py3-none-any.whl.metadata"] {
        let stage = Stage::new().await;
        stage.store.world().put(&format!("targets/beta/{name}"), *b"other");
        let publisher = stage.publisher().await;
        let outcomes = publish(&publisher, stage.adds(&["alpha", "beta", "gamma"])).await;
        assert!(outcomes[0].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
        assert!(
            matches!(&outcomes[1], Err(RepositoryError::Conflict { filename, .. }) if filename == name),
            "{outcomes:?}"
        );
        stage.shows(&[("alpha", "1.0"), ("gamma", "1.0")], name).await;
    }
}

#[tokio::test]
async fn the_same_file_from_two_callers_is_published_once_and_both_are_told() {
    let stage = Stage::new().await;
    let publisher = stage.publisher().await;
    let outcomes = publish(&publisher, stage.adds(&["alpha", "alpha"])).await;
    let told: Vec<_> =
        outcomes.iter().flatten().map(|one| (one.changed.len(), one.unchanged.len(), one.snapshot)).collect();
    assert_eq!(told, [(1, 0, 2), (0, 1, 2)]);
    let outcomes = publish(&publisher, stage.adds(&["alpha"])).await;
    assert_eq!(snapshots(&outcomes), [2].into(), "nothing changed, so there is no new snapshot");
    stage.shows(&[("alpha", "1.0")], "after three callers").await;
}

#[tokio::test]
async fn a_caller_who_is_gone_and_a_publisher_that_is_dropped_lose_nothing_for_the_others() {
    let stage = Stage::new().await;
    let publisher = stage.publisher().await;
    let mut publications = stage.adds(&["alpha", "beta"]).into_iter();
    let mut next = || publisher.publish(publications.next().unwrap(), now());
    assert_eq!(next().now_or_never(), None, "asked, and gone");
    let stays = next();
    let last = tokio::spawn({
        let (publisher, edits) = (publisher.clone(), vec![stage.add("gamma", "1.0", "one")]);
        async move { publisher.publish(edits, now()).await }
    });
    assert_eq!(stays.await.unwrap().snapshot, 2);
    // The last handle is that of the caller who waits.
    drop(publisher);
    last.await.unwrap().unwrap();
    // What was asked for happens, whoever listens.
    let all = ["alpha", "beta", "gamma"].map(|project| (project, "1.0"));
    stage.shows(&all, "after one caller has gone").await;
}

/// At each write of the group in turn. Whoever is told of success has it; the rest may ask again, of the same publisher.
#[tokio::test]
async fn a_store_that_fails_in_the_middle_of_a_group_answers_everyone_and_the_next_publication_succeeds() {
    let before = Stage::new().await;
    publish(&before.publisher().await, before.adds(&["alpha", "beta"])).await;
    let (mut tried, mut failed) = (0, 0);
    for fault in [Fault::Lost, Fault::Done] {
        for at in 0.. {
            let stage = Stage { store: before.store.copy(), spool: tempfile::tempdir().unwrap() };
            let store = Arc::new(FaultStore::new(stage.store.clone(), fault, at));
            let publisher = publisher(Arc::<FaultStore<MemoryStore>>::clone(&store)).await;
            let projects = ["alpha", "beta", "gamma"];
            let outcomes =
                publish(&publisher, projects.map(|project| vec![stage.add(project, "2.0", "two")]).into())
                    .await;
            let reached = store.writes() > at;
            let told = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
            let when = format!("{fault:?} at write {at}: {outcomes:?}");
            assert!(told == if reached { 0 } else { 3 }, "{when}");
            let problems = stage.store.repository().await.check(now(), &Unwatched).await.unwrap().problems;
            assert!(problems.is_empty(), "{when}: {problems:#?}");
            let again =
                publish(&publisher, projects.map(|project| vec![stage.add(project, "2.0", "two")]).into())
                    .await;
            assert_eq!(again.iter().flatten().count(), 3, "{when}, then {again:?}");
            // A note of a commit that never was is removed by whoever comes next.
            stage.store.repository().await.gc(KEEP, false, now(), &Unwatched).await.unwrap();
            let mut wheels = vec![("alpha", "1.0"), ("beta", "1.0")];
            wheels.extend(projects.map(|project| (project, "2.0")));
            stage.shows(&wheels, &when).await;
            tried += 1;
            failed += usize::from(reached);
            if !reached {
                break;
            }
        }
    }
    assert_eq!((tried - failed, failed > 40), (2, true), "{failed} writes failed");
}

/// The publisher remembers the state; somebody else changes it between two groups.
#[tokio::test]
async fn what_others_commit_between_two_groups_is_built_upon() {
    let stage = Stage::new().await;
    let publisher = stage.publisher().await;
    let mut publications = stage.adds(&["alpha", "beta", "gamma"]).into_iter();
    let mut next = || publisher.publish(publications.next().unwrap(), now());
    let first = next().await.unwrap();
    let (other, all) = (stage.store.repository().await, keyring(&ALL_KEYS).await);
    other.bump(&all, true, now(), &Unwatched).await.unwrap();
    let second = next().await.unwrap();
    assert_eq!((first.snapshot, second.snapshot), (2, 4));
    let removal = [Edit::Remove(wheel_name("alpha", "1.0"))];
    other.publish(&keyring(&ONLINE).await, &removal, now(), &Unwatched).await.unwrap();
    assert_eq!(next().await.unwrap().snapshot, 6);
    stage.shows(&[("beta", "1.0"), ("gamma", "1.0")], "after all").await;
    // The key that this publisher has is no longer accepted.
    let (keys, plan) = (keyring(&["root-1", "online", "online-2"]).await, role(&["online-2"], 1).await);
    other.rotate(&keys, TopLevel::Timestamp, &plan, now()).await.unwrap();
    let refused = publisher.publish(vec![stage.add("delta", "1.0", "one")], now()).await.unwrap_err();
    assert!(matches!(refused, RepositoryError::KeysMissing { .. }), "{refused:?}");
    stage.shows(&[("beta", "1.0"), ("gamma", "1.0")], "after the rotation").await;
}

/// A rotation commits a timestamp that old and new keys signed, then publishes the new root, and dies there. To a
/// publisher that remembers that timestamp nothing seems to have changed; yet what it signs now, nobody accepts.
#[tokio::test]
async fn a_publisher_notices_a_new_root_under_the_timestamp_that_it_remembers() {
    let stage = Stage::new().await;
    publish(&stage.publisher().await, stage.adds(&["alpha"])).await;
    let (keys, plan) = (keyring(&["root-1", "online", "online-2"]).await, role(&["online-2"], 1).await);
    let finished = stage.store.copy();
    finished.repository().await.rotate(&keys, TopLevel::Timestamp, &plan, now()).await.unwrap();
    let stopping = Arc::new(FaultStore::new(stage.store.clone(), Fault::Crash, 1));
    let stopping = Repository::open(stopping).await.unwrap();
    stopping.rotate(&keys, TopLevel::Timestamp, &plan, now()).await.unwrap_err();
    let publisher = stage.publisher().await;
    assert_eq!(publish(&publisher, stage.adds(&["alpha"])).await[0].as_ref().unwrap().timestamp, 3);
    let root = finished.world().objects["metadata/2.root.json"].clone();
    stage.store.world().put("metadata/2.root.json", root.bytes);
    Reader::of(&stage.store).downloads(now(), [("alpha", "1.0")]).await.unwrap();
    let outcomes = publish(&publisher, stage.adds(&["beta"])).await;
    Reader::of(&stage.store).downloads(now(), [("alpha", "1.0")]).await.unwrap();
    assert!(matches!(outcomes[..], [Err(RepositoryError::KeysMissing { .. })]), "{outcomes:?}");
}

/// Two processes, a folder: neither's groups hold anything of the other's, and all that was acknowledged is there.
#[tokio::test]
async fn two_publishers_on_one_folder_lose_nothing_and_make_fewer_snapshots_than_publications() {
    let scene = Scene::new().await;
    let publishers = [publisher(scene.store().await).await, publisher(scene.store().await).await];
    let (mut publications, mut wheels) = (Vec::new(), Vec::new());
    for (at, publisher) in publishers.iter().enumerate() {
        for round in 0..12 {
            let project = if round % 3 == 0 { "shared".to_owned() } else { format!("p{at}r{round}") };
            let version = format!("{round}.{at}");
            publications.push((publisher.clone(), vec![scene.add(&project, &version, "x")]));
            wheels.push((project, version));
        }
    }
    let reader = Reader::of_folder(&scene.root());
    let running = publications.into_iter().zip(&wheels).map(|((publisher, edits), (project, version))| {
        let reader = &reader;
        async move {
            let published = publisher.publish(edits, now()).await.unwrap();
            reader.downloads(now(), [(project.as_str(), version.as_str())]).await.unwrap();
            published
        }
    });
    let published: BTreeSet<u64> = join_all(running).await.iter().map(|one| one.snapshot).collect();
    assert!(published.len() < 12, "{} snapshots for 24 publications", published.len());
    scene.assert_sound("after two publishers").await;
    assert_eq!(View::of(&scene.open().await).await.files.len(), 24);
    assert_eq!(scene.files().keys().filter(|name| name.starts_with("staging/")).count(), 0);
}

/// The other one died after its commit: its pages are not written yet.
#[tokio::test]
async fn a_publisher_finishes_the_pages_of_another_one_that_died() {
    let stage = Stage::new().await;
    let publisher = stage.publisher().await;
    publish(&publisher, stage.adds(&["alpha"])).await;
    for at in 0.. {
        let store = stage.store.copy();
        let dying = Arc::new(FaultStore::new(store.clone(), Fault::Crash, at));
        let outcomes =
            publish(&self::publisher(dying).await, vec![vec![stage.add("beta", "1.0", "one")]]).await;
        if store.repository().await.state().await.unwrap().timestamp.common.version == 3 {
            assert!(outcomes[0].is_err());
            stage.store.world().objects = store.world().objects.clone();
            break;
        }
    }
    assert_eq!(stage.store.names("simple/beta/"), [""; 0]);
    for project in ["gamma", "delta"] {
        publish(&publisher, stage.adds(&[project])).await;
    }
    let all = ["alpha", "beta", "gamma", "delta"].map(|project| (project, "1.0"));
    stage.shows(&all, "after the next publications").await;
}
