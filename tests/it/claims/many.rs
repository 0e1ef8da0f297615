//! Many claims at once: those that are good land in one commit, those that are not are named; and what ceremonies say of
//! the buckets of many projects.

use std::collections::BTreeSet;

use wheelseal::repository::{
    Applied, CeremonyError, Changed, Detail, Edits, Event, EventName, Family, Kind, LookAlike, ProjectFile,
    RepositoryError, RoleEdit, Sent, Subject, Unwatched,
};

use super::{
    ANN, BOB, OFFLINE, claim, known, name, open_to_claims, owners, promote, release, request, with_six,
};
use crate::scene::{ONLINE, Scene, days_later, keyring, now};

async fn apply_all(scene: &Scene, files: &[&ProjectFile]) -> Vec<Result<Applied, RepositoryError>> {
    let sent: Vec<_> = files.iter().map(|file| Sent { file, files: &[] }).collect();
    scene.open().await.apply_all(&keyring(&ONLINE).await, &sent, LookAlike::Refused, now()).await
}

async fn snapshot(scene: &Scene) -> u64 {
    scene.open().await.state().await.unwrap().snapshot.common.version
}

async fn promotion(scene: &Scene, projects: &[&str]) -> Event {
    let projects: BTreeSet<_> = projects.iter().map(|project| name(project)).collect();
    let called = EventName::new("many").unwrap();
    let promotion = scene.open().await.promotion(called, &projects, &[], now()).await.unwrap();
    assert_eq!(promotion.left, []);
    promotion.event
}

/// The event's file with this text in place of another.
fn altered(event: &Event, from: &str, to: &str) -> Result<Event, CeremonyError> {
    let text = String::from_utf8(event.to_bytes().unwrap()).unwrap();
    assert!(text.contains(from), "no {from:?} in {text}");
    Event::read(text.replacen(from, to, 1).as_bytes())
}

fn changes(event: &Event) -> Vec<String> {
    let review = event.review(Detail::Brief, None).unwrap();
    review.roles.iter().find(|role| role.role.starts_with("claimed-")).unwrap().changes.clone()
}

// In one commit.

#[tokio::test]
async fn good_requests_land_in_one_commit_and_a_bad_one_among_them_is_named() {
    let scene = with_six().await;
    let before = snapshot(&scene).await;
    let (ten, idna) =
        (claim(&scene, "ten", &[ANN], 1, &[]).await, claim(&scene, "idna", &[BOB], 1, &[]).await);
    let mut unproven = claim(&scene, "flask", &[ANN, BOB], 1, &[]).await;
    unproven.proofs.clear();
    let again = claim(&scene, "black", &[BOB], 1, &[]).await;
    let again = ProjectFile { project: name("six"), ..again };
    let outcomes = apply_all(&scene, &[&ten, &unproven, &idna, &again]).await;
    let [Ok(first), Err(no_proof), Ok(second), Err(taken)] = outcomes.as_slice() else {
        panic!("{outcomes:?}")
    };
    assert_eq!((first.project.as_str(), second.project.as_str()), ("ten", "idna"));
    assert_eq!((first.snapshot, second.snapshot), (before + 1, before + 1));
    assert!(no_proof.to_string().contains("lacks the proof"), "{no_proof}");
    assert_eq!(*taken, RepositoryError::Claimed("six".to_owned()));
    assert_eq!(snapshot(&scene).await, before + 1);
    scene.assert_verifies("after many claims").await;
}

#[tokio::test]
async fn requests_for_one_project_follow_each_other() {
    let scene = open_to_claims().await;
    let first = claim(&scene, "six", &[ANN], 1, &[]).await;
    let second = claim(&scene, "six", &[BOB], 1, &[]).await;
    let outcomes = apply_all(&scene, &[&first, &second]).await;
    let [Ok(applied), Err(taken)] = outcomes.as_slice() else { panic!("{outcomes:?}") };
    assert_eq!(applied.kind, Kind::Claim);
    assert_eq!(*taken, RepositoryError::Claimed("six".to_owned()));
    assert_eq!(known(&scene, "six").await.owners, Some(owners(&[ANN], 1).await));
}

#[tokio::test]
async fn names_that_look_alike_are_not_claimed_together() {
    let scene = open_to_claims().await;
    let (one, other) =
        (claim(&scene, "pillow", &[ANN], 1, &[]).await, claim(&scene, "pi11ow", &[BOB], 1, &[]).await);
    let outcomes = apply_all(&scene, &[&one, &other]).await;
    let alike = RepositoryError::LookAlike { name: "pi11ow".to_owned(), other: "pillow".to_owned() };
    assert!(outcomes[0].is_ok(), "{outcomes:?}");
    assert_eq!(outcomes[1], Err(alike));
}

#[tokio::test]
async fn a_file_that_is_there_with_other_content_keeps_only_its_own_release_back() {
    let scene = with_six().await;
    apply_all(&scene, &[&claim(&scene, "ten", &[BOB], 1, &[]).await]).await[0].as_ref().unwrap();
    let (six, six_files) = release(&scene, "six", "2.0", &[ANN]).await;
    let (ten, ten_files) = release(&scene, "ten", "1.0", &[BOB]).await;
    let there = scene.root().join("targets/six/six-2.0-py3-none-any.whl");
    std::fs::write(&there, "something else").unwrap();
    let sent = [Sent { file: &six, files: &six_files }, Sent { file: &ten, files: &ten_files }];
    let keys = keyring(&ONLINE).await;
    let outcomes = scene.open().await.apply_all(&keys, &sent, LookAlike::Refused, now()).await;
    assert!(matches!(outcomes[0], Err(RepositoryError::Conflict { .. })), "{outcomes:?}");
    assert_eq!(outcomes[1].as_ref().unwrap().added, ["ten-1.0-py3-none-any.whl"]);
}

// In one ceremony.

#[tokio::test]
async fn a_promotion_carries_what_changes_and_says_it() {
    let scene = with_six().await;
    let claims = [claim(&scene, "ten", &[ANN], 1, &[]).await, claim(&scene, "idna", &[BOB], 1, &[]).await];
    apply_all(&scene, &claims.iter().collect::<Vec<_>>()).await;
    promote(&scene, &["six"]).await;
    let event = promotion(&scene, &["ten", "idna"]).await;
    let expected = ["2 project(s) added: idna, ten", "it expires on 2091-06-01, as before"];
    assert_eq!(changes(&event), expected);
    let text = String::from_utf8(event.to_bytes().unwrap()).unwrap();
    let proposal = text.lines().next().unwrap();
    assert!(proposal.contains("\"put\":{\"idna\":") && !proposal.contains("six"), "{proposal}");
    assert_eq!(Event::read(text.as_bytes()).unwrap().payload("claimed-0000"), event.payload("claimed-0000"));
    promote(&scene, &["ten", "idna"]).await;
    assert_eq!(known(&scene, "idna").await.family, Some(Family::Claimed));
    scene.assert_verifies("after both promotions").await;
}

/// Whoever makes an event can leave out, take over or hide; signers are told.
#[tokio::test]
async fn what_an_event_does_to_projects_is_told_whatever_it_says() {
    let scene = with_six().await;
    apply_all(&scene, &[&claim(&scene, "ten", &[BOB], 1, &[]).await]).await[0].as_ref().unwrap();
    promote(&scene, &["six"]).await;
    let event = promotion(&scene, &["ten"]).await;
    let removed = altered(&event, "\"without\":[]", "\"without\":[\"six\"]").unwrap();
    assert_eq!(changes(&removed)[..2], ["1 project(s) added: ten", "1 project(s) removed: six"]);
    let removed = altered(&event, "\"without\":[]", "\"only\":[]").unwrap();
    assert_eq!(changes(&removed)[1], "1 project(s) removed: six");
    let afresh = altered(&event, "\"from\":\"claimed-0000\"", "\"from\":null").unwrap();
    assert_eq!(changes(&afresh)[1], "1 project(s) removed: six");
    let taken = altered(&event, "\"put\":{\"ten\":", "\"put\":{\"six\":").unwrap();
    assert_eq!(changes(&taken)[0], "1 project(s) with other maintainers: six", "{:?}", changes(&taken));
    let malformed = |outcome: Result<Event, CeremonyError>| {
        assert!(matches!(outcome, Err(CeremonyError::Malformed(_))), "{outcome:?}");
    };
    malformed(altered(&event, "\"without\":[]", "\"without\":[\"Six\"]"));
    malformed(altered(&event, "\"without\":[]", "\"without\":[],\"only\":[]"));
    malformed(altered(&event, "\"from\":\"claimed-0000\"", "\"from\":\"claimed-0001\""));
    malformed(altered(&event, "\"from\":\"claimed-0000\"", "\"from\":\"targets\""));
    malformed(altered(
        &event,
        "\"delegator\":\"claimed\",\"role\":\"claimed-0000\"",
        "\"delegator\":\"targets\",\"role\":\"claimed-0000\"",
    ));
    malformed(altered(&event, "\"threshold\":1", "\"threshold\":2"));
}

#[tokio::test]
async fn a_project_put_where_nobody_looks_for_it_is_refused() {
    let scene = with_six().await;
    promote(&scene, &["six"]).await;
    let called = EventName::new("renew").unwrap();
    let edits = Edits { roles: vec![(Subject::Claimed, RoleEdit::Renew)], bins: None, log_policy: None };
    let event = scene.open().await.draft(called, &edits, now()).await.unwrap();
    assert_eq!(event.roles().collect::<Vec<_>>(), ["claimed", "claimed-0000"]);
    assert_eq!(changes(&event)[0], "no project is added, removed or given other maintainers");
    // The bucket stays, but answers for other names: `six` is looked for nowhere.
    let moved = altered(&event, "[\"*/*\",\"simple/*/*\"]", "[\"t*/*\",\"simple/t*/*\"]").unwrap();
    let review = moved.review(Detail::Brief, None).unwrap();
    let expected = "claimed-0000 would answer for other names than before";
    assert!(review.refusals.contains(&expected.to_owned()), "{:?}", review.refusals);
}

#[tokio::test]
async fn claimed_and_its_buckets_are_renewed_together() {
    let scene = with_six().await;
    promote(&scene, &["six"]).await;
    let called = EventName::new("renew").unwrap();
    let edits = Edits { roles: vec![(Subject::Claimed, RoleEdit::Renew)], bins: None, log_policy: None };
    let repository = scene.open().await;
    let later = days_later(100);
    let keys = keyring(&OFFLINE).await;
    let changed = repository.change(&called, &edits, &keys, None, later, &Unwatched).await.unwrap();
    let Changed::Done(finished) = changed else { panic!("{changed:?}") };
    assert_eq!(finished.roles, ["claimed", "claimed-0000"]);
    scene.assert_verifies("after the renewal").await;
}

#[tokio::test]
async fn a_project_that_waits_with_other_keys_than_proposed_is_not_promoted() {
    let scene = with_six().await;
    let event = promotion(&scene, &["six"]).await;
    let team = owners(&[BOB], 1).await;
    let file = request(&scene, "six", Kind::Keys, Some(team), &[], &[], &[ANN, BOB]).await;
    apply_all(&scene, &[&file]).await[0].as_ref().unwrap();
    let held = scene.open().await.hold(event, &keyring(&OFFLINE).await, None, now(), &Unwatched).await;
    let refused = held.unwrap_err().to_string();
    assert!(refused.contains("other keys than when this was proposed"), "{refused}");
}
