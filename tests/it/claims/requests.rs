//! What maintainers send, taken or refused: claims, releases, changes of keys.

use wheelseal::python::FreeText;
use wheelseal::repository::{
    Changed, Detail, Edit, EventName, Family, Kind, LookAlike, RepositoryError, Unwatched,
};

use super::{
    ANN, BOB, added, apply, claim, known, name, open_to_claims, owners, promote, published, refuses, release,
    request, with_six, with_six_promoted,
};
use crate::scene::{ONLINE, Scene, days_later, keyring, now, wheel_name};

const ONE: &str = "six-1.0-py3-none-any.whl";
const TWO: &str = "six-2.0-py3-none-any.whl";

// Claims.

#[tokio::test]
async fn a_claim_adopts_what_is_published_and_takes_it_out_of_the_bins() {
    let scene = with_six().await;
    let known = known(&scene, "six").await;
    assert_eq!((known.family, known.base.version), (Some(Family::Recent), 1));
    assert_eq!(published(&scene, "six").await, [ONE]);
    let repository = scene.open().await;
    let state = repository.state().await.unwrap();
    for (bin, content) in crate::scene::bins(&repository, &state).await {
        assert_eq!(content.targets.keys().count(), 0, "{bin}");
    }
    scene.assert_verifies("after a claim").await;
}

#[tokio::test]
async fn a_claim_says_of_every_published_file_whether_it_stays() {
    let scene = open_to_claims().await;
    scene.publish(&[scene.add("six", "1.0", "one"), scene.add("six", "2.0", "two")]).await.unwrap();
    let mut file = claim(&scene, "six", &[ANN], 1, &[ONE]).await;
    let without = std::mem::take(&mut file.without);
    refuses(&scene, &file, Vec::new(), "does not say what becomes of six-1.0").await;
    file.without = without;
    let applied = apply(&scene, &file, Vec::new()).await.unwrap();
    assert_eq!(
        (applied.removed, published(&scene, "six").await),
        (vec![ONE.to_owned()], vec![TWO.to_owned()])
    );
    scene.assert_verifies("after a claim that leaves a file out").await;
}

#[tokio::test]
async fn a_project_without_files_can_be_claimed_before_its_first_release() {
    let scene = open_to_claims().await;
    apply(&scene, &claim(&scene, "new", &[ANN], 1, &[]).await, Vec::new()).await.unwrap();
    let refused = scene.publish(&[scene.add("new", "1.0", "index")]).await;
    assert_eq!(refused, Err(RepositoryError::Claimed("new".to_owned())));
    let (file, files) = release(&scene, "new", "1.0", &[ANN]).await;
    apply(&scene, &file, files).await.unwrap();
    assert_eq!(published(&scene, "new").await, ["new-1.0-py3-none-any.whl"]);
    scene.assert_verifies("after its first release").await;
}

#[tokio::test]
async fn nobody_claims_before_an_admin_allows_it() {
    let scene = Scene::new().await;
    scene.publish(&[scene.add("six", "1.0", "one")]).await.unwrap();
    refuses(&scene, &claim(&scene, "six", &[ANN], 1, &[]).await, Vec::new(), "cannot be claimed").await;
}

#[tokio::test]
async fn what_is_claimed_cannot_be_claimed_by_others() {
    let scene = with_six().await;
    let team = owners(&[BOB], 1).await;
    let file = request(&scene, "six", Kind::Claim, Some(team), &[], &[], &[BOB]).await;
    refuses(&scene, &file, Vec::new(), "six is claimed").await;
    promote(&scene, &["six"]).await;
    refuses(&scene, &file, Vec::new(), "six is claimed").await;
}

#[tokio::test]
async fn two_claims_for_one_name_do_not_wait_together() {
    let scene = open_to_claims().await;
    let (first, second) =
        (claim(&scene, "six", &[ANN], 1, &[]).await, claim(&scene, "six", &[BOB], 1, &[]).await);
    let repository = scene.open().await;
    repository.queue_claim(&first).await.unwrap();
    repository.queue_claim(&first).await.unwrap();
    let refused = repository.queue_claim(&second).await.unwrap_err().to_string();
    assert_eq!(refused, "another claim for six is waiting already");
    assert_eq!(repository.waiting_claims().await.unwrap(), [first]);
    repository.forget_claim(&name("six")).await.unwrap();
    assert_eq!(repository.waiting_claims().await.unwrap(), []);
}

#[tokio::test]
async fn a_name_that_looks_like_a_claimed_one_is_for_an_admin_to_judge() {
    let scene = with_six().await;
    let file = claim(&scene, "s1x", &[BOB], 1, &[]).await;
    refuses(&scene, &file, Vec::new(), "s1x looks like six").await;
    let keys = keyring(&ONLINE).await;
    scene.open().await.apply(&keys, &file, &[], LookAlike::Accepted, now()).await.unwrap();
}

#[tokio::test]
async fn each_key_of_a_claim_proves_that_it_is_held() {
    let scene = open_to_claims().await;
    let team = owners(&[ANN, BOB], 1).await;
    let mut file = request(&scene, "six", Kind::Claim, Some(team), &[], &[], &[ANN]).await;
    refuses(&scene, &file, Vec::new(), "lacks the proof that somebody holds the key").await;
    file.sign(&keyring(&[BOB]).await).await.unwrap();
    apply(&scene, &file, Vec::new()).await.unwrap();
}

#[tokio::test]
async fn a_proof_for_other_keys_another_project_or_another_repository_is_none() {
    let scene = open_to_claims().await;
    let good = claim(&scene, "six", &[ANN], 1, &[]).await;
    let mut other = claim(&scene, "ten", &[ANN], 1, &[]).await;
    other.proofs = good.proofs.clone();
    refuses(&scene, &other, Vec::new(), "lacks the proof").await;
    let mut more = good.clone();
    more.owners = owners(&[ANN], 1).await;
    more.base = 7;
    refuses(&scene, &more, Vec::new(), "lacks the proof").await;
    let elsewhere = open_to_claims().await;
    assert!(
        apply(&elsewhere, &good, Vec::new()).await.is_ok(),
        "the same root keys and dates make the same root"
    );
    let mut foreign = claim(&scene, "ten", &[ANN], 1, &[]).await;
    foreign.root.1 = [7; 32];
    refuses(&scene, &foreign, Vec::new(), "its root is not one of this one's").await;
}

#[tokio::test]
async fn a_claim_made_before_a_file_came_or_changed_is_refused() {
    let scene = open_to_claims().await;
    scene.publish(&[scene.add("six", "1.0", "one")]).await.unwrap();
    let early = claim(&scene, "six", &[ANN], 1, &[]).await;
    scene.publish(&[scene.add("six", "2.0", "two")]).await.unwrap();
    refuses(&scene, &early, Vec::new(), "does not say what becomes of six-2.0").await;
    let early = claim(&scene, "six", &[ANN], 1, &[]).await;
    scene.publish(&[Edit::Yank(wheel_name("six", "1.0"), None)]).await.unwrap();
    refuses(&scene, &early, Vec::new(), "does not say what becomes of six-1.0").await;
    let early = claim(&scene, "six", &[ANN], 1, &[]).await;
    scene.publish(&[Edit::Remove(wheel_name("six", "1.0"))]).await.unwrap();
    refuses(&scene, &early, Vec::new(), "names six-1.0").await;
}

// Releases.

#[tokio::test]
async fn the_index_publishes_nothing_for_a_claimed_project_by_itself() {
    let scene = with_six_promoted().await;
    let file = wheel_name("six", "1.0");
    for edit in [
        scene.add("six", "2.0", "two"),
        Edit::Remove(file.clone()),
        Edit::Yank(file.clone(), None),
        Edit::Unyank(file),
    ] {
        assert_eq!(scene.publish(&[edit]).await, Err(RepositoryError::Claimed("six".to_owned())));
    }
    scene.publish(&[scene.add("ten", "1.0", "ten")]).await.unwrap();
}

#[tokio::test]
async fn a_release_adds_withdraws_and_yanks_in_one_commit() {
    for scene in [with_six().await, with_six_promoted().await] {
        let (file, files) = release(&scene, "six", "2.0", &[ANN]).await;
        let before = scene.open().await.state().await.unwrap().snapshot.common.version;
        let applied = apply(&scene, &file, files).await.unwrap();
        assert_eq!((applied.added, applied.snapshot), (vec![TWO.to_owned()], before + 1));
        let why = "broken".parse::<FreeText>().unwrap();
        let edits = [Edit::Remove(wheel_name("six", "1.0")), Edit::Yank(wheel_name("six", "2.0"), Some(why))];
        let file = request(&scene, "six", Kind::Release, None, &edits, &[], &[ANN]).await;
        assert_eq!(apply(&scene, &file, Vec::new()).await.unwrap().removed, [ONE]);
        assert_eq!(published(&scene, "six").await, [TWO]);
        let html = String::from_utf8(scene.files()["simple/six/index.html"].clone()).unwrap();
        assert!(html.contains("broken") && !html.contains(ONE), "{html}");
        scene.assert_verifies("after releases").await;
    }
}

#[tokio::test]
async fn a_release_by_others_or_by_too_few_is_refused() {
    let scene = with_six().await;
    let mut file =
        request(&scene, "six", Kind::Release, None, &[scene.add("six", "2.0", "x")], &[], &[ANN]).await;
    file.owners = owners(&[BOB], 1).await;
    file.role = {
        let mut forged = file.clone();
        forged.role = String::from_utf8(file.role.clone()).unwrap().replace("2.0", "2.1").into_bytes();
        forged.sign(&keyring(&[BOB]).await).await.unwrap();
        forged.role
    };
    refuses(&scene, &file, vec![added(scene.add("six", "2.0", "x"))], "0 valid signature(s)").await;
    let team = owners(&[ANN, BOB], 2).await;
    let keys = request(&scene, "six", Kind::Keys, Some(team), &[], &[], &[ANN, BOB]).await;
    apply(&scene, &keys, Vec::new()).await.unwrap();
    let (mut file, files) = release(&scene, "six", "2.0", &[ANN]).await;
    refuses(&scene, &file, files, "1 valid signature(s)").await;
    file.sign(&keyring(&[BOB]).await).await.unwrap();
    apply(&scene, &file, vec![added(scene.add("six", "2.0", "2.0"))]).await.unwrap();
}

#[tokio::test]
async fn a_release_comes_with_exactly_the_files_it_lists() {
    let scene = with_six().await;
    let (file, files) = release(&scene, "six", "2.0", &[ANN]).await;
    refuses(&scene, &file, Vec::new(), "came without six-2.0").await;
    refuses(&scene, &file, vec![added(scene.add("six", "2.0", "other"))], "that it does not list").await;
    let more = vec![added(scene.add("six", "2.0", "2.0")), added(scene.add("six", "3.0", "3"))];
    refuses(&scene, &file, more, "that it does not list").await;
    apply(&scene, &file, files).await.unwrap();
}

#[tokio::test]
async fn an_altered_role_or_page_is_refused() {
    let scene = with_six().await;
    let (file, _) = release(&scene, "six", "2.0", &[ANN]).await;
    let files = || vec![added(scene.add("six", "2.0", "2.0"))];
    let mut altered = file.clone();
    altered.role =
        String::from_utf8(file.role.clone()).unwrap().replacen("\"length\":", "\"length\":1", 1).into();
    refuses(&scene, &altered, files(), "0 valid signature(s)").await;
    let mut altered = file.clone();
    altered.page = file.page.clone().map(|page| page.replace("2.0", "2.1"));
    assert!(apply(&scene, &altered, files()).await.is_err());
    let mut altered = file.clone();
    altered.page = None;
    refuses(&scene, &altered, files(), "has files and no page").await;
}

#[tokio::test]
async fn what_was_made_before_another_release_is_refused() {
    let scene = with_six().await;
    let (early, files) = release(&scene, "six", "3.0", &[ANN]).await;
    let (file, first) = release(&scene, "six", "2.0", &[ANN]).await;
    apply(&scene, &file, first).await.unwrap();
    refuses(&scene, &early, files, "follows version 1 of its role, published is 2").await;
    let again = apply(&scene, &file, Vec::new()).await.unwrap_err().to_string();
    assert!(again.contains("follows version 1"), "{again}");
}

#[tokio::test]
async fn a_published_file_never_changes() {
    let scene = with_six().await;
    let mut known = known(&scene, "six").await;
    known.base.page.as_mut().unwrap().remove(ONE);
    known.base.targets.clear();
    let edits = [scene.add("six", "1.0", "other content")];
    let next = known.base.next(&name("six"), &edits, known.snapshot + 1, 365, now()).unwrap();
    let (mut file, _) = release(&scene, "six", "2.0", &[ANN]).await;
    file.page = next.page;
    let mut file = file.unsigned(&next.role);
    file.sign(&keyring(&[ANN]).await).await.unwrap();
    let refused = apply(&scene, &file, edits.into_iter().map(added).collect()).await.unwrap_err().to_string();
    assert!(refused.contains("that it does not list") || refused.contains("never does"), "{refused}");
    assert_eq!(published(&scene, "six").await, [ONE]);
}

#[tokio::test]
async fn an_expired_role_is_refused() {
    let scene = with_six().await;
    let (file, files) = release(&scene, "six", "2.0", &[ANN]).await;
    let keys = keyring(&ONLINE).await;
    let late = scene.open().await.apply(&keys, &file, &files, LookAlike::Refused, days_later(366)).await;
    assert!(late.unwrap_err().to_string().contains("expired at"));
}

// Keys.

#[tokio::test]
async fn keys_change_when_old_and_new_ones_sign() {
    let scene = with_six().await;
    let team = owners(&[BOB], 1).await;
    let file = request(&scene, "six", Kind::Keys, Some(team.clone()), &[], &[], &[BOB]).await;
    refuses(&scene, &file, Vec::new(), "0 signature(s) by keys of the project, 1 needed").await;
    let file = request(&scene, "six", Kind::Keys, Some(team.clone()), &[], &[], &[ANN]).await;
    refuses(&scene, &file, Vec::new(), "lacks the proof").await;
    let file = request(&scene, "six", Kind::Keys, Some(team.clone()), &[], &[], &[ANN, BOB]).await;
    apply(&scene, &file, Vec::new()).await.unwrap();
    assert_eq!(known(&scene, "six").await.owners, Some(team));
    scene.assert_verifies("after a transfer").await;
    let (file, files) = release(&scene, "six", "2.0", &[BOB]).await;
    apply(&scene, &file, files).await.unwrap();
}

#[tokio::test]
async fn keys_of_a_promoted_project_change_in_a_ceremony() {
    let scene = with_six_promoted().await;
    let team = owners(&[ANN, BOB], 2).await;
    let file = request(&scene, "six", Kind::Keys, Some(team.clone()), &[], &[], &[ANN, BOB]).await;
    refuses(&scene, &file, Vec::new(), "its keys change in a ceremony").await;
    let repository = scene.open().await;
    assert!(repository.needs_ceremony(&file, now()).await.unwrap());
    repository.queue_claim(&file).await.unwrap();
    promote(&scene, &[]).await;
    let known = known(&scene, "six").await;
    assert_eq!((known.owners, known.family), (Some(team), Some(Family::Claimed)));
    scene.assert_verifies("after a change of keys").await;
}

#[tokio::test]
async fn a_promotion_of_what_changed_its_keys_since_is_refused() {
    let scene = with_six().await;
    let repository = scene.open().await;
    let event = EventName::new("late").unwrap();
    let event = repository.promotion(event, &[name("six")].into(), &[], now()).await.unwrap().event;
    let team = owners(&[BOB], 1).await;
    let file = request(&scene, "six", Kind::Keys, Some(team), &[], &[], &[ANN, BOB]).await;
    apply(&scene, &file, Vec::new()).await.unwrap();
    let keys = keyring(&super::OFFLINE).await;
    let held = repository.hold(event, &keys, None, now(), &Unwatched);
    let refused = held.await.unwrap_err().to_string();
    assert!(refused.contains("other keys than when this was proposed"), "{refused}");
}

#[tokio::test]
async fn a_revoked_project_is_the_indexs_again_and_can_be_claimed_anew() {
    let scene = with_six_promoted().await;
    let repository = scene.open().await;
    let keys = keyring(&super::OFFLINE).await;
    let at_once = repository.revoke(&keys, &name("six"), now()).await;
    assert_eq!(at_once, Err(RepositoryError::NeedsCeremony("six".to_owned())));
    let called = EventName::new("revoke-six").unwrap();
    let event = repository.revocation(called, &name("six"), now()).await.unwrap().unwrap();
    let review = event.review(Detail::Brief, None).unwrap();
    assert_eq!(review.roles[0].changes[0], "1 project(s) removed: six");
    let held = repository.hold(event, &keyring(&ONLINE).await, None, now(), &Unwatched).await.unwrap();
    let Changed::Waiting { mut event, .. } = held else { panic!("{held:?}") };
    event.sign_with(&keyring(&["targets-1"]).await, now()).await.unwrap();
    repository.finish(&event, &keyring(&ONLINE).await, None, now(), &Unwatched).await.unwrap();
    scene.publish(&[scene.add("six", "2.0", "two")]).await.unwrap();
    assert_eq!(published(&scene, "six").await, [ONE, TWO]);
    scene.assert_sound("after a revocation").await;
    let file = claim(&scene, "six", &[BOB], 1, &[]).await;
    assert_eq!(apply(&scene, &file, Vec::new()).await.unwrap().role, 2, "versions only grow");
    scene.assert_verifies("after a second claim").await;
}

// Form.

#[tokio::test]
async fn a_file_that_is_no_project_file_is_refused() {
    let scene = open_to_claims().await;
    let good = claim(&scene, "six", &[ANN], 1, &[]).await.to_text().unwrap();
    let read = |text: &str| wheelseal::repository::ProjectFile::read(text.as_bytes());
    assert!(read(&good).is_ok());
    for (old, new) in [
        ("wheelseal-project-1", "wheelseal-project-2"),
        ("\"six\"", "\"Six\""),
        ("\"six\"", "\"../six\""),
        ("\"threshold\": 1", "\"threshold\": 0"),
        ("\"threshold\": 1", "\"threshold\": 2"),
        ("\"kind\": \"claim\"", "\"kind\": \"root\""),
        ("\"ed25519\"", "\"ed448\""),
        ("{", "{\"more\": 1,"),
    ] {
        assert!(good.contains(old), "{old}");
        assert!(read(&good.replacen(old, new, 1)).is_err(), "{new}");
    }
    assert!(read("").is_err() && read("[]").is_err() && read("{}").is_err());
}
