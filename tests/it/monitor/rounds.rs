//! What is told of a log that is in order, and of one that is not; once, whatever happens.

use std::sync::Arc;

use chrono::TimeDelta;
use serde_json::json as value;
use wheelseal::log::LogError;
use wheelseal::monitor::{MonitorError, Watched};
use wheelseal::tlog::evidence::{Evidence, Shows};
use wheelseal::tlog::leaf::{ConflictLeaf, Leaf, Role, Source, TufLeaf};

use super::{
    Signer, World, copy, evidence, expecting, file, json, kinds, leaf, look, look_at, path, watching,
};
use crate::scene::now;

fn version(role: Role, version: u64) -> Leaf {
    Leaf::Tuf(TufLeaf::new(role, version, 9, [3; 32]).unwrap())
}

#[tokio::test]
async fn what_is_new_is_told_once_and_what_was_there_is_learnt() {
    let world = World::new().await;
    world.append(vec![leaf("six", "1.0", 1), leaf("other", "1.0", 2)]).await;
    let mut monitor = world.monitor(watching(&["six"])).await;
    let (round, told) = look(&mut monitor).await;
    assert_eq!((round.size, round.leaves, round.alarms), (2, 2, 0));
    assert_eq!(json(&told), [value!({"event": "began", "origin": super::ORIGIN, "size": 2})]);
    world.append(vec![leaf("other", "1.1", 3), leaf("six", "1.1", 4), version(Role::Root, 2)]).await;
    let (round, told) = look(&mut monitor).await;
    assert_eq!((round.size, round.leaves, round.events), (5, 3, 2));
    let content = value!({"index": 3, "length": 7, "sha256": "04".repeat(32)});
    let path = path("six", "1.1");
    let expected = [
        value!({"event": "file", "path": path, "project": "six", "version": "1.1", "content": content}),
        value!({"event": "version", "index": 4, "role": "root", "version": 2, "sha256": "03".repeat(32)}),
    ];
    assert_eq!(json(&told), expected);
    let mut again = world.monitor(watching(&["six"])).await;
    let (round, told) = look(&mut again).await;
    assert_eq!((round.leaves, told.len()), (0, 0), "another process goes on where the first one ended");
}

#[tokio::test]
async fn history_and_everything_can_be_asked_for() {
    let world = World::new().await;
    world.append(vec![leaf("six", "1.0", 1), leaf("other", "1.0", 2)]).await;
    let watched = Watched { history: true, ..watching(&["six"]) };
    assert_eq!(kinds(&look(&mut world.monitor(watched).await).await.1), ["began", "file"]);
    let everything = Watched { history: true, ..Watched::default() };
    let state = world.folder.path().join("all");
    let mut monitor = world.monitor_in(&state, everything).await;
    assert_eq!(kinds(&look(&mut monitor).await.1), ["began", "file", "file"]);
    world.append(vec![leaf("new", "1.0", 3)]).await;
    assert_eq!(kinds(&look(&mut monitor).await.1), ["file"]);
}

#[tokio::test]
async fn a_project_that_is_watched_later_is_learnt_from_the_beginning() {
    let world = World::new().await;
    world.append(vec![leaf("six", "1.0", 1), leaf("other", "1.0", 2), version(Role::Targets, 1)]).await;
    look(&mut world.monitor(watching(&["six"])).await).await;
    let mut both = world.monitor(watching(&["six", "other"])).await;
    let (round, told) = look(&mut both).await;
    assert_eq!((round.leaves, told.len()), (3, 0));
    world.append(vec![leaf("other", "1.0", 9)]).await;
    assert_eq!(kinds(&look(&mut both).await.1), ["second-content"]);
}

#[tokio::test]
async fn what_a_kill_left_untold_is_told_by_the_next_run_and_then_no_more() {
    let world = World::new().await;
    let mut monitor = world.monitor(watching(&["six"])).await;
    look(&mut monitor).await;
    world.append(vec![leaf("six", "1.0", 1), leaf("six", "1.0", 2)]).await;
    let killed = world.folder.path().join("killed");
    let mut told = Vec::new();
    let mut tell = |events: &[wheelseal::monitor::Event]| {
        copy(&world.state(), &killed);
        told.extend_from_slice(events);
        Ok(())
    };
    monitor.round(now(), None, &mut tell).await.1.unwrap();
    assert_eq!(kinds(&told), ["file", "second-content"]);
    let mut next = world.monitor_in(&killed, watching(&["six"])).await;
    let (round, again) = look(&mut next).await;
    assert_eq!((again, round.leaves, round.alarms), (told, 0, 1));
    assert_eq!(look(&mut next).await.1, []);
}

#[tokio::test]
async fn two_monitors_on_one_folder_do_not_overwrite_each_other() {
    let world = World::new().await;
    world.append(vec![leaf("six", "1.0", 1)]).await;
    let (mut one, mut other) =
        (world.monitor(watching(&["six"])).await, world.monitor(watching(&["six"])).await);
    look(&mut one).await;
    let (refused, _) = look_at(&mut other, now(), None).await;
    assert!(matches!(refused, Err(MonitorError::Store(_))), "{refused:?}");
    assert_eq!(look(&mut other).await.1, [], "and then it knows what the other one did");
}

#[tokio::test]
async fn a_second_content_is_an_alarm_with_evidence_that_checks() {
    let world = World::new().await;
    world.append(vec![leaf("six", "1.0", 1)]).await;
    let mut monitor = world.monitor(watching(&["six"])).await;
    look(&mut monitor).await;
    world.append(vec![leaf("x", "1", 1), leaf("six", "1.0", 2)]).await;
    let (round, told) = look(&mut monitor).await;
    assert_eq!((round.alarms, round.events), (1, 1));
    let told = &json(&told)[0];
    assert_eq!(told["first"], value!({"index": 0, "length": 7, "sha256": "01".repeat(32)}));
    assert_eq!(told["second"], value!({"index": 2, "length": 7, "sha256": "02".repeat(32)}));
    let files = evidence(&world);
    assert_eq!(files.len(), 1);
    let (name, bytes) = files.iter().next().unwrap();
    let at = world.state().canonicalize().unwrap().join("evidence").join(name);
    assert_eq!(told["evidence"], value!(at.display().to_string()));
    let verdict = Evidence::parse(bytes).unwrap().check(&[world.signer.policy()]).unwrap();
    assert!(matches!(verdict.shows, Shows::LoggedTwice { .. }), "{verdict:?}");
}

#[tokio::test]
async fn a_file_that_is_not_expected_is_an_alarm_whenever_it_was_logged() {
    let world = World::new().await;
    world.append(vec![leaf("six", "1.0", 1), leaf("six", "1.1", 2)]).await;
    let listed = format!("{}  {}\n", "01".repeat(32), path("six", "1.0"));
    let mut monitor = world.monitor(expecting(&["six"], &listed)).await;
    let (round, told) = look(&mut monitor).await;
    assert_eq!((round.alarms, kinds(&told)), (1, vec!["began".to_owned(), "unexpected".to_owned()]));
    assert_eq!(json(&told)[1]["path"], value!(path("six", "1.1")));
    world.append(vec![leaf("other", "1.0", 5)]).await;
    assert_eq!(look(&mut monitor).await.1, [], "nothing is expected of what is not watched");
}

#[tokio::test]
async fn conflicts_in_a_recorders_log_and_versions_that_do_not_rise_are_alarms() {
    let world = World::new().await;
    let mut monitor = world.monitor(watching(&["six"])).await;
    look(&mut monitor).await;
    let conflict =
        |project| Leaf::Conflict(ConflictLeaf { file: file(project, "1.0", 8), source: Source::Index });
    world.append(vec![conflict("six"), conflict("other"), version(Role::Snapshot, 5)]).await;
    let (_, told) = look(&mut monitor).await;
    assert_eq!(kinds(&told), ["conflict"]);
    assert_eq!(json(&told)[0]["source"], value!("index"));
}

#[tokio::test]
async fn a_log_that_does_not_grow_is_told_of_once_until_it_does() {
    let world = World::new().await;
    world.append(vec![leaf("six", "1.0", 1)]).await;
    let mut monitor = world.monitor(Watched { stale: Some(24), ..watching(&["six"]) }).await;
    look(&mut monitor).await;
    let later = |hours| now() + TimeDelta::hours(hours);
    let (round, told) = look_at(&mut monitor, later(23), None).await;
    assert_eq!((round.unwrap().standing, told.len()), (false, 0));
    let (round, told) = look_at(&mut monitor, later(24), None).await;
    assert_eq!((round.unwrap().standing, kinds(&told)), (true, vec!["standstill".to_owned()]));
    let (round, told) = look_at(&mut monitor, later(30), None).await;
    assert_eq!((round.unwrap().standing, told.len()), (true, 0));
    world.append(vec![leaf("six", "1.1", 2)]).await;
    let (round, told) = look_at(&mut monitor, later(31), None).await;
    assert_eq!((round.unwrap().standing, kinds(&told)), (false, vec!["file".to_owned()]));
}

#[tokio::test]
async fn what_is_not_verified_is_not_told() {
    let world = World::new().await;
    world.append(vec![leaf("six", "1.0", 1)]).await;
    let mut monitor = world.monitor(watching(&["six"])).await;
    look(&mut monitor).await;
    world.append(vec![leaf("six", "1.1", 2)]).await;
    let bundle = world.log_folder().join("log/tile/entries/000.p/2");
    let bytes = std::fs::read(&bundle).unwrap();
    let mut evil = bytes.clone();
    *evil.last_mut().unwrap() = b'!';
    std::fs::write(&bundle, evil).unwrap();
    let (refused, told) = look_at(&mut monitor, now(), None).await;
    assert!(matches!(refused, Err(MonitorError::Log(LogError::Damaged { .. }))), "{refused:?}");
    assert_eq!(told, []);
    std::fs::write(&bundle, bytes).unwrap();
    assert_eq!(kinds(&look(&mut monitor).await.1), ["file"], "and nothing is missed");
}

#[tokio::test]
async fn an_entry_that_reads_as_no_leaf_is_an_alarm_and_keeps_nothing_from_being_told() {
    let world = World::new().await;
    let text = |version| leaf("six", version, 1).to_string().into_bytes();
    world.write(&[text("1.0"), b"no leaf".to_vec()]).await;
    let mut monitor = world.monitor(watching(&["six"])).await;
    let (round, told) = look(&mut monitor).await;
    assert_eq!((round.leaves, kinds(&told)), (2, vec!["began".to_owned(), "unknown".to_owned()]));
    world.write(&[text("1.0"), b"no leaf".to_vec(), text("1.1")]).await;
    let (round, told) = look(&mut monitor).await;
    assert_eq!((round.alarms, kinds(&told)), (0, vec!["file".to_owned()]));
}

#[tokio::test]
async fn a_round_ends_however_much_the_log_has_and_the_next_one_goes_on() {
    let leaves = (0..5_000).map(|number| leaf(&format!("p{number}"), "1.0", 1)).collect();
    let world = World::of(Arc::new(Signer::new()), leaves).await;
    let mut monitor = world.monitor(watching(&["six"])).await.at_most(1_000);
    let (round, _) = look(&mut monitor).await;
    assert_eq!((round.size, round.leaves, round.behind), (5_000, 4_096, 904));
    let (round, _) = look(&mut monitor).await;
    assert_eq!((round.leaves, round.behind), (904, 0));
}

#[tokio::test]
async fn a_log_whose_new_leaves_are_withheld_stands_still_beside_the_error() {
    let world = World::new().await;
    world.append(vec![leaf("six", "1.0", 1)]).await;
    let mut monitor = world.monitor(Watched { stale: Some(24), ..watching(&["six"]) }).await;
    look(&mut monitor).await;
    world.append(vec![leaf("six", "1.1", 2)]).await;
    let bundle = world.log_folder().join("log/tile/entries/000.p/2");
    let bytes = std::fs::read(&bundle).unwrap();
    std::fs::remove_file(&bundle).unwrap();
    let mut told = Vec::new();
    let mut tell = |events: &[wheelseal::monitor::Event]| {
        told.extend_from_slice(events);
        Ok(())
    };
    let (round, ended) = monitor.round(now() + TimeDelta::hours(24), None, &mut tell).await;
    assert!(matches!(ended, Err(MonitorError::Log(LogError::Missing { .. }))), "{ended:?}");
    assert_eq!((round.standing, round.alarms, kinds(&told)), (true, 1, vec!["standstill".to_owned()]));
    std::fs::write(&bundle, bytes).unwrap();
    let (round, told) = look_at(&mut monitor, now() + TimeDelta::hours(25), None).await;
    assert_eq!((round.unwrap().standing, kinds(&told)), (false, vec!["file".to_owned()]));
}

#[tokio::test]
async fn what_could_not_be_told_is_told_by_the_next_round() {
    let world = World::new().await;
    let mut monitor = world.monitor(watching(&["six"])).await;
    look(&mut monitor).await;
    world.append(vec![leaf("six", "1.0", 1)]).await;
    let mut full =
        |_: &[wheelseal::monitor::Event]| Err(std::io::Error::from(std::io::ErrorKind::StorageFull));
    let (round, ended) = monitor.round(now(), None, &mut full).await;
    assert!(matches!(ended, Err(MonitorError::Untold { .. })) && round.events == 0, "{ended:?}");
    assert_eq!(kinds(&look(&mut monitor).await.1), ["file"]);
}
