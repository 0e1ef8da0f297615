//! A log that was rewritten, put back, or shown by a place that lags: told apart, and proven where it can be.

use std::sync::Arc;

use serde_json::json as value;
use wheelseal::log::{LogError, TailError};
use wheelseal::monitor::{Event, MonitorError};
use wheelseal::tlog::evidence::{Contradiction, Evidence};

use super::{Signer, World, evidence, json, kinds, leaf, look, look_at, watching};
use crate::scene::now;

fn leaves(version: u8, count: u8) -> Vec<wheelseal::tlog::leaf::Leaf> {
    (0..count).map(|number| leaf("six", &format!("{version}.{number}"), number)).collect()
}

/// A world of five leaves that a monitor has seen, and another history of the same log with so many other leaves.
async fn forked(begins_alike: u8, others: u8) -> (World, World) {
    let world = World::new().await;
    world.append(leaves(1, 5)).await;
    let mut history = leaves(1, begins_alike);
    history.extend(leaves(2, others));
    let other = World::of(Arc::clone(&world.signer), history).await;
    (world, other)
}

/// What the monitor makes of the other history, after the first one.
async fn seen(begins_alike: u8, others: u8) -> (World, Vec<Event>) {
    let (world, other) = forked(begins_alike, others).await;
    let mut monitor = world.monitor(watching(&["six"])).await;
    look(&mut monitor).await;
    world.shows(&other.log_folder());
    let (round, told) = look(&mut monitor).await;
    assert!(round.standing);
    let (round, again) = look(&mut monitor).await;
    assert!(round.standing && again.is_empty(), "told once, and still so");
    world.shows(&world.log_folder());
    let (round, _) = look(&mut monitor).await;
    assert!(!round.standing && round.size == 5, "the first history was never given up");
    (world, told)
}

fn written(world: &World, told: &[Event]) -> Evidence {
    assert_eq!(kinds(told), ["rewritten"]);
    let files = evidence(world);
    assert_eq!(files.len(), 1);
    let (name, bytes) = files.into_iter().next().unwrap();
    assert!(json(told)[0]["evidence"].as_str().unwrap().ends_with(&name));
    Evidence::parse(&bytes).unwrap()
}

fn contradiction(evidence: &Evidence) -> Contradiction {
    let Evidence::TwoTrees { what, .. } = evidence else { panic!("{evidence:?}") };
    *what
}

#[tokio::test]
async fn another_tree_of_the_same_size_is_a_proven_fork() {
    let (world, told) = seen(4, 1).await;
    let evidence = written(&world, &told);
    assert_eq!(contradiction(&evidence), Contradiction::OtherRoot { size: 5 });
    assert!(evidence.check(&[world.signer.policy()]).unwrap().shows.proven());
}

#[tokio::test]
async fn a_larger_tree_that_does_not_begin_with_the_one_before_is_a_fork() {
    let (world, told) = seen(4, 3).await;
    let evidence = written(&world, &told);
    assert_eq!(contradiction(&evidence), Contradiction::NotGrown { before: 5, now: 7 });
}

#[tokio::test]
async fn a_log_that_shrank_is_told_with_both_checkpoints() {
    let (world, told) = seen(3, 0).await;
    let evidence = written(&world, &told);
    assert_eq!(contradiction(&evidence), Contradiction::Smaller { before: 5, now: 3 });
    assert_eq!(json(&told)[0]["event"], value!("rewritten"));
}

#[tokio::test]
async fn an_old_checkpoint_that_the_tiles_continue_is_a_mirror_that_lags_and_no_fork() {
    let world = World::new().await;
    world.append(leaves(1, 3)).await;
    let old = std::fs::read(world.checkpoint()).unwrap();
    world.append(leaves(2, 2)).await;
    let new = std::fs::read(world.checkpoint()).unwrap();
    let mut monitor = world.monitor(watching(&["six"])).await;
    look(&mut monitor).await;
    std::fs::write(world.checkpoint(), old).unwrap();
    let (lags, told) = look_at(&mut monitor, now(), None).await;
    assert_eq!(lags, Err(MonitorError::Lags(TailError::Lags { found: 3, known: 5 })));
    assert!(told.is_empty() && evidence(&world).is_empty());
    std::fs::write(world.checkpoint(), new).unwrap();
    assert_eq!(look(&mut monitor).await.0.size, 5);
}

#[tokio::test]
async fn a_checkpoint_by_another_key_is_refused_and_told_once() {
    let world = World::new().await;
    world.append(leaves(1, 2)).await;
    let mut monitor = world.monitor(watching(&["six"])).await;
    look(&mut monitor).await;
    let stranger = World::of(Arc::new(Signer::new()), leaves(1, 3)).await;
    world.shows(&stranger.log_folder());
    let (round, told) = look(&mut monitor).await;
    assert_eq!((round.alarms, round.size, kinds(&told)), (1, 2, vec!["refused".to_owned()]));
    assert_eq!(look(&mut monitor).await.1, []);
    std::fs::remove_file(stranger.checkpoint()).unwrap();
    let (round, told) = look(&mut monitor).await;
    assert!(round.standing);
    assert_eq!(
        json(&told),
        [value!({"event": "refused", "problem": "the log's checkpoint is gone; 2 leaves were signed for"})]
    );
}

#[tokio::test]
async fn damaged_tiles_are_no_fork() {
    let world = World::new().await;
    world.append(leaves(1, 3)).await;
    let mut monitor = world.monitor(watching(&["six"])).await;
    look(&mut monitor).await;
    world.append(leaves(2, 2)).await;
    let tile = world.log_folder().join("log/tile/0/000.p/5");
    let mut bytes = std::fs::read(&tile).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&tile, &bytes).unwrap();
    let (refused, told) = look_at(&mut monitor, now(), None).await;
    assert!(matches!(refused, Err(MonitorError::Log(LogError::Root { .. }))), "{refused:?}");
    assert!(told.is_empty() && evidence(&world).is_empty());
}

#[tokio::test]
async fn a_place_without_a_log_is_an_error() {
    let world = World::new().await;
    std::fs::remove_file(world.checkpoint()).unwrap();
    let (refused, _) = look_at(&mut world.monitor(watching(&["six"])).await, now(), None).await;
    assert_eq!(refused, Err(MonitorError::Log(LogError::None)));
}
