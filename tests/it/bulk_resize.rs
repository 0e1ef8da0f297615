//! More and fewer bins: what is listed stays, clients notice nothing, and the offline role signs once, from anywhere.

#![expect(clippy::unwrap_used, reason = "a repository that cannot be read is a test that failed")]

use std::collections::BTreeMap;
use std::fs;

use tempfile::TempDir;
use wheelseal::client::trust::{Location, TrustStore};
use wheelseal::client::{Client, Timing};
use wheelseal::repository::{
    BinStyle, EventName, Layout, Plan, Repository, RepositoryError, Resized, Retention, Run, Unwatched,
};
use wheelseal::tuf::path::TargetPath;
use wheelseal::tuf::trusted::Limits;

use crate::bulk::list_of;
use crate::scene::{ALL_KEYS, ONLINE, Scene, View, days_later, keyring, now, plan};

/// Keys that can do everything but root.
const BOTH: [&str; 2] = ["targets-1", "online"];

async fn style(bin_count: u32, bin_style: BinStyle) -> Scene {
    let scene = Scene::of(&Plan { bin_count, bin_style, ..plan().await }, &ALL_KEYS).await;
    scene.publish(&[scene.add("alpha", "1.0", "x = 1"), scene.add("beta", "1.0", "x = 2")]).await.unwrap();
    scene
}

/// Adds targets without files.
async fn import(repository: &Repository, count: u64) {
    let line = |n| format!("files/{n}\t{n}\t{}\n", "a".repeat(64));
    let list = list_of((0..count).map(line).collect::<Vec<_>>().concat().as_bytes(), Layout::AsIs);
    repository.import(&keyring(&ONLINE).await, list, Run::Wet, now(), &Unwatched).await.unwrap();
}

async fn resize(repository: &Repository, keys: &[&str], count: u32) -> Result<Resized, RepositoryError> {
    repository.resize_bins(&keyring(keys).await, count, None, now(), &Unwatched).await
}

/// Targets with hashes and lengths, whichever bin they are in.
async fn content(repository: &Repository) -> BTreeMap<String, (String, u64)> {
    let state = repository.state().await.unwrap();
    let mut content = BTreeMap::new();
    for (_, bin) in crate::scene::bins(repository, &state).await {
        for (path, file) in &bin.targets {
            let found = (file.hashes.name().unwrap(), file.length);
            assert_eq!(content.insert(path.to_owned(), found), None, "{path} is in two bins");
        }
    }
    content
}

/// A client with folders of its own, that trusts the first root.
fn client(scene: &Scene) -> (TempDir, Client) {
    let home = tempfile::tempdir().unwrap();
    let trust = TrustStore::new(home.path().join("config"), home.path().join("state"));
    let root = fs::read(scene.root().join("metadata/1.root.json")).unwrap();
    trust.add("mine", &Location::below(scene.root().to_str().unwrap()), &root).unwrap();
    let client = trust.client("mine", Timing::default(), Limits::default()).unwrap();
    (home, client)
}

#[tokio::test]
async fn targets_stay_as_they_are_with_more_and_with_fewer_bins() {
    for bin_style in [BinStyle::Succinct, BinStyle::Prefixes] {
        let scene = style(16, bin_style).await;
        let repository = scene.open().await;
        let before = content(&repository).await;
        let mut versions = View::of(&repository).await.versions;
        for count in [64, 16, 2, 32] {
            let done = resize(&repository, &BOTH, count).await.unwrap();
            assert!(matches!(done, Resized::Done { targets: 6, .. }), "{done:?}");
            assert_eq!(content(&repository).await, before, "{count} {bin_style:?}");
            let state = repository.state().await.unwrap();
            let delegated = state.bins.delegations.as_ref().unwrap().names().count();
            assert_eq!(delegated, usize::try_from(count).unwrap());
            let after = View::of(&repository).await.versions;
            for (name, version) in versions {
                assert!(after[&name] >= version, "{name} went back from {version} to {}", after[&name]);
            }
            versions = after;
            scene.assert_sound("after a resize").await;
        }
        assert_eq!(resize(&repository, &BOTH, 32).await, Ok(Resized::Unchanged));
        scene.publish(&[scene.add("gamma", "1.0", "x = 3")]).await.unwrap();
        scene.assert_sound("after a publication").await;
    }
}

#[tokio::test]
async fn names_that_mean_another_bin_than_before_go_on_with_their_versions() {
    let scene = style(32, BinStyle::Succinct).await;
    let repository = scene.open().await;
    import(&repository, 200).await;
    let before = repository.state().await.unwrap().snapshot.role("bins-0a").unwrap().version;
    resize(&repository, &BOTH, 128).await.unwrap();
    let state = repository.state().await.unwrap();
    assert_eq!(state.snapshot.role("bins-0a").unwrap().version, before + 1);
    assert_eq!(state.snapshot.role("bins-7f").unwrap().version, 1);
    resize(&repository, &BOTH, 32).await.unwrap();
    let state = repository.state().await.unwrap();
    assert_eq!(state.snapshot.role("bins-0a").unwrap().version, before + 2);
    assert_eq!(state.snapshot.role("bins-7f").unwrap().version, 1, "retired, and still listed");
}

#[tokio::test]
async fn a_client_in_flight_goes_on_with_the_old_bins_and_the_next_update_has_the_new_ones() {
    for (bin_style, counts) in [(BinStyle::Succinct, [64, 8]), (BinStyle::Prefixes, [4, 16])] {
        let scene = style(16, bin_style).await;
        let repository = scene.open().await;
        let (_home, client) = client(&scene);
        let target = |name: &str| TargetPath::new(format!("{name}/{name}-1.0-py3-none-any.whl")).unwrap();
        let mut session = client.refresh(now()).await.unwrap();
        session.find(&target("alpha")).await.unwrap();
        for count in counts {
            resize(&repository, &BOTH, count).await.unwrap();
            let found = session.find(&target("beta")).await.unwrap();
            session.download(&found, &scene.spool().join("beta.whl")).await.unwrap();
            session = client.refresh(now()).await.unwrap();
            for name in ["alpha", "beta"] {
                let found = session.find(&target(name)).await.unwrap();
                session.download(&found, &scene.spool().join(format!("{name}-{count}.whl"))).await.unwrap();
            }
        }
        let retention = Retention { snapshots: 1, grace: std::time::Duration::ZERO };
        repository.gc(retention, false, days_later(1), &Unwatched).await.unwrap();
        scene.assert_sound("after a gc").await;
        let session = client.refresh(now()).await.unwrap();
        session.find(&target("alpha")).await.unwrap();
    }
}

#[tokio::test]
async fn retired_bins_are_not_signed_again() {
    let scene = style(16, BinStyle::Succinct).await;
    let repository = scene.open().await;
    resize(&repository, &BOTH, 4).await.unwrap();
    let bumped = repository.bump(&keyring(&ONLINE).await, true, days_later(1), &Unwatched).await.unwrap();
    assert_eq!(bumped.bins, 4);
    assert_eq!(repository.status(now(), &Unwatched).await.unwrap().bins, 4);
    scene.assert_sound("after a bump").await;
}

#[tokio::test]
async fn without_the_offline_key_a_ceremony_waits_for_its_signature() {
    let scene = style(16, BinStyle::Succinct).await;
    let repository = scene.open().await;
    let before = content(&repository).await;
    let waiting = scene.root().join("staging/ceremonies/bins-64.json");
    let proposed = resize(&repository, &ONLINE, 64).await.unwrap();
    assert!(matches!(&proposed, Resized::Proposed { ceremony, .. } if ceremony == "bins-64"), "{proposed:?}");
    let file = fs::read(&waiting).unwrap();
    // Asking again changes nothing, and what is signed for one number is not taken for another.
    assert_eq!(resize(&repository, &ONLINE, 64).await.unwrap(), proposed);
    assert_eq!(fs::read(&waiting).unwrap(), file);
    assert!(matches!(resize(&repository, &ONLINE, 32).await, Ok(Resized::Proposed { .. })));
    let mut event = repository.ceremony(&EventName::new("bins-64").unwrap()).await.unwrap();
    let keys = keyring(&["targets-1"]).await;
    event.sign(keys.signers().next().unwrap(), None, now()).await.unwrap();
    repository.keep(&event).await.unwrap();
    assert!(matches!(resize(&repository, &ONLINE, 64).await, Ok(Resized::Done { .. })));
    assert!(!waiting.exists());
    assert_eq!(content(&repository).await, before);
    scene.assert_sound("after the resize").await;
}

#[tokio::test]
async fn a_publication_in_between_is_not_lost() {
    let scene = style(4, BinStyle::Succinct).await;
    let repository = scene.open().await;
    let others = async {
        for version in ["1.1", "1.2", "1.3"] {
            scene.publish(&[scene.add("alpha", version, version)]).await.unwrap();
        }
    };
    let (resized, ()) = tokio::join!(resize(&repository, &BOTH, 16), others);
    assert!(matches!(resized, Ok(Resized::Done { .. })), "{resized:?}");
    let files = View::of(&repository).await.files;
    assert_eq!(files.len(), 5);
    scene.assert_sound("after both").await;
}

#[tokio::test]
async fn numbers_that_are_no_power_of_two_are_refused() {
    let scene = style(4, BinStyle::Succinct).await;
    let repository = scene.open().await;
    for count in [0, 1, 3, 100, 1 << 17] {
        let refused = resize(&repository, &BOTH, count).await;
        assert!(matches!(refused, Err(RepositoryError::Plan(_))), "{count}: {refused:?}");
    }
}
