//! Who may sign for a project: changes are told, by the repository's verified metadata.

use serde_json::json as value;
use tempfile::TempDir;
use wheelseal::client::{Client, DirSource, MetadataDir};
use wheelseal::monitor::{Event, Monitor, Watched};
use wheelseal::repository::Kind;
use wheelseal::tuf::key::KeyId;
use wheelseal::tuf::trusted::Limits;

use super::{World, json, kinds, look_at, watching};
use crate::claims::{ANN, BOB, apply, claim, open_to_claims, owners, promote, request, with_six};
use crate::scene::{Scene, now, role};

/// A client of a repository.
fn client(scene: &Scene) -> (TempDir, Client) {
    let folder = tempfile::tempdir().unwrap();
    let root = std::fs::read(scene.root().join("metadata/1.root.json")).unwrap();
    let cache = MetadataDir::init(folder.path().join("trusted"), &root).unwrap();
    let source = |part: &str| Box::new(DirSource::new(scene.root().join(part)));
    let client = Client::new(source("metadata"), source("targets"), cache, Limits::default());
    (folder, client)
}

/// The id of an example key.
async fn id(name: &str) -> String {
    role(&[name], 1).await.keys.first().unwrap().id().to_string()
}

async fn told(monitor: &mut Monitor, client: &Client) -> Vec<Event> {
    let session = client.refresh(now()).await.unwrap();
    let (round, told) = look_at(monitor, now(), Some(&session)).await;
    round.unwrap();
    told
}

#[tokio::test]
async fn keys_that_are_added_and_removed_are_alarms_and_told_once() {
    let (world, scene) = (World::new().await, with_six().await);
    let (_folder, client) = client(&scene);
    let mut monitor = world.monitor(watching(&["six"])).await;
    assert_eq!(kinds(&told(&mut monitor, &client).await), ["began"], "who it belongs to is learnt");
    let team = owners(&[ANN, BOB], 2).await;
    let keys = request(&scene, "six", Kind::Keys, Some(team), &[], &[], &[ANN, BOB]).await;
    apply(&scene, &keys, Vec::new()).await.unwrap();
    let events = told(&mut monitor, &client).await;
    let expected = value!({
        "event": "keys-changed", "project": "six", "added": [id(BOB).await], "removed": [],
        "threshold_before": 1, "threshold": 2,
    });
    assert_eq!(json(&events), [expected]);
    assert!(events.iter().all(Event::alarms));
    assert_eq!(told(&mut monitor, &client).await, []);
    promote(&scene, &["six"]).await;
    assert_eq!(told(&mut monitor, &client).await, [], "the same keys in another bucket");
}

#[tokio::test]
async fn a_project_that_gets_an_owner_is_an_alarm() {
    let (world, scene) = (World::new().await, open_to_claims().await);
    scene.publish(&[scene.add("six", "1.0", "one")]).await.unwrap();
    let (_folder, client) = client(&scene);
    let mut monitor = world.monitor(watching(&["six"])).await;
    assert_eq!(kinds(&told(&mut monitor, &client).await), ["began"]);
    apply(&scene, &claim(&scene, "six", &[ANN], 1, &[]).await, Vec::new()).await.unwrap();
    let holders = value!({"keys": [id(ANN).await], "threshold": 1});
    let expected = value!({"event": "role-appeared", "project": "six", "holders": holders});
    assert_eq!(json(&told(&mut monitor, &client).await), [expected]);
}

#[tokio::test]
async fn a_key_is_followed_to_all_projects_that_it_can_sign_for() {
    let (world, scene) = (World::new().await, with_six().await);
    let (_folder, client) = client(&scene);
    let bob = id(BOB).await;
    let keys = [KeyId::new(bob.clone()).unwrap()].into();
    let mut monitor = world.monitor(Watched { keys, ..Watched::default() }).await;
    assert_eq!(kinds(&told(&mut monitor, &client).await), ["began"]);
    let team = owners(&[ANN, BOB], 1).await;
    let file = request(&scene, "six", Kind::Keys, Some(team), &[], &[], &[ANN, BOB]).await;
    apply(&scene, &file, Vec::new()).await.unwrap();
    let expected = value!({"event": "key-gained", "key": bob, "project": "six"});
    assert_eq!(json(&told(&mut monitor, &client).await), [expected]);
    world.append(vec![super::leaf("six", "3.0", 1), super::leaf("other", "1.0", 1)]).await;
    assert_eq!(kinds(&told(&mut monitor, &client).await), ["file"], "its files are watched from then on");
    let team = owners(&[ANN], 1).await;
    let file = request(&scene, "six", Kind::Keys, Some(team), &[], &[], &[ANN]).await;
    apply(&scene, &file, Vec::new()).await.unwrap();
    assert_eq!(kinds(&told(&mut monitor, &client).await), ["key-lost", "keys-changed"]);
    world.append(vec![super::leaf("six", "3.1", 1)]).await;
    assert_eq!(
        kinds(&told(&mut monitor, &client).await),
        ["file"],
        "a thief who takes a project is still watched"
    );
}
