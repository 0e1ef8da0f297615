//! Looking after a repository with claimed projects: nothing of theirs is lost, and what is wrong with it is named.

use std::fs;
use std::time::Duration;

use wheelseal::repository::{
    Changed, Edits, EventName, Family, LookAlike, Missing, Repository, RepositoryError, Retention, RoleEdit,
    Source, Subject, Unwatched,
};

use super::{ANN, OFFLINE, apply, claim, promote, published, release, request, with_six, with_six_promoted};
use crate::scene::{ONLINE, Scene, days_later, keyring, now, role};

const ONE: &str = "six-1.0-py3-none-any.whl";
const TWO: &str = "six-2.0-py3-none-any.whl";

async fn with_two_releases() -> Scene {
    let scene = with_six().await;
    scene.publish(&[scene.add("ten", "1.0", "ten")]).await.unwrap();
    let (file, files) = release(&scene, "six", "2.0", &[ANN]).await;
    apply(&scene, &file, files).await.unwrap();
    promote(&scene, &["six"]).await;
    scene
}

#[tokio::test]
async fn gc_keeps_all_that_claimed_projects_need_and_removes_what_they_withdrew() {
    let scene = with_two_releases().await;
    let edits = [wheelseal::repository::Edit::Remove(crate::scene::wheel_name("six", "1.0"))];
    let file = request(&scene, "six", wheelseal::repository::Kind::Release, None, &edits, &[], &[ANN]).await;
    apply(&scene, &file, Vec::new()).await.unwrap();
    let retention = Retention { snapshots: 1, grace: Duration::ZERO };
    let collected = scene.open().await.gc(retention, false, now(), &Unwatched).await.unwrap();
    assert!(collected.removed.iter().any(|path| path.ends_with(ONE)), "{:?}", collected.removed);
    assert!(collected.removed.iter().any(|path| path == "metadata/1.project-six.json"));
    scene.assert_verifies("after gc").await;
    assert_eq!(published(&scene, "six").await, [TWO]);
    let files = scene.files();
    assert!(
        files.contains_key(&format!("targets/six/{TWO}"))
            && !files.contains_key(&format!("targets/six/{ONE}"))
    );
}

#[tokio::test]
async fn a_check_finds_a_damaged_file_of_a_claimed_project() {
    let scene = with_two_releases().await;
    scene.assert_verifies("before").await;
    let hashed = scene
        .files()
        .into_keys()
        .find(|path| path.contains("targets/six/") && path.ends_with(&format!(".{TWO}")));
    let at = scene.root().join(hashed.unwrap());
    fs::remove_file(&at).unwrap();
    fs::write(&at, "bad").unwrap();
    assert_eq!(scene.check().await.problems.len(), 1);
}

#[tokio::test]
async fn a_backup_has_claimed_projects_and_a_restore_brings_them_back() {
    let scene = with_two_releases().await;
    let archive = scene.spool().join("backup.tar.zst");
    let backed_up = scene.open().await.backup(&archive, &Unwatched).await.unwrap();
    assert_eq!(backed_up.pages, 2);
    let copy = Scene::empty();
    let from = [scene.root().join("targets")];
    let source = Source { archive: &archive, files: &from, root: None };
    let nothing: &mut Missing<'_> = &mut |path| panic!("{path} is missing");
    Repository::restore(copy.store().await, &source, &Unwatched, nothing).await.unwrap();
    copy.assert_verifies("after a restore").await;
    assert_eq!(published(&copy, "six").await, [ONE, TWO]);
}

#[tokio::test]
async fn bump_signs_buckets_and_tells_whose_maintainers_must_sign() {
    let scene = with_six_promoted().await;
    let repository = scene.open().await;
    let later = days_later(340);
    let bumped = repository.bump(&keyring(&OFFLINE).await, false, later, &Unwatched).await.unwrap();
    for role in ["claimed", "claimed-0000", "recently-claimed", "recently-claimed-0000"] {
        assert!(bumped.signed.iter().any(|signed| signed == role), "{role}: {:?}", bumped.signed);
    }
    assert_eq!(bumped.projects.iter().map(|due| due.role.as_str()).collect::<Vec<_>>(), ["project-six"]);
    let status = repository.status(later, &Unwatched).await.unwrap();
    assert_eq!((status.claimed, status.projects, status.targets), (1, 1, 3));
    let project = status.first_project.unwrap();
    assert_eq!((project.role.as_str(), project.expired), ("project-six", false));
    let early = repository.bump(&keyring(&ONLINE).await, false, now(), &Unwatched).await.unwrap();
    assert!(early.projects.is_empty());
}

#[tokio::test]
async fn diff_names_what_a_release_changed() {
    let scene = with_six().await;
    let repository = scene.open().await;
    let before = repository.state().await.unwrap().snapshot.common.version;
    let (file, files) = release(&scene, "six", "2.0", &[ANN]).await;
    let after = apply(&scene, &file, files).await.unwrap().snapshot;
    let difference = repository.diff(before, after).await.unwrap();
    assert_eq!(difference.roles, [("project-six".to_owned(), 1, 2)]);
    let targets: Vec<_> = difference.targets.iter().map(|(target, _)| target.as_str()).collect();
    let metadata = format!("six/{TWO}.metadata");
    assert_eq!(targets, ["simple/six/index.json", &format!("six/{TWO}"), &metadata]);
}

/// Gives a role other keys; those at hand are enough.
async fn rekeyed(scene: &Scene, subject: Subject, new: &str, at_hand: &[&str]) {
    let edits = Edits {
        roles: vec![(subject, RoleEdit::Keys(role(&[new], 1).await.keys))],
        bins: None,
        log_policy: None,
    };
    let (repository, keys) = (scene.open().await, keyring(at_hand).await);
    let event = EventName::new("rekey").unwrap();
    let changed = repository.change(&event, &edits, &keys, None, now(), &Unwatched).await.unwrap();
    assert!(matches!(changed, Changed::Done(_)), "{changed:?}");
}

#[tokio::test]
async fn other_keys_of_recently_claimed_sign_its_buckets_too() {
    let scene = with_six().await;
    rekeyed(&scene, Subject::RecentlyClaimed, "online-2", &["targets-1", "online", "online-2"]).await;
    scene.assert_verifies("after new keys of recently-claimed").await;
    let files = scene.files();
    let bucket = String::from_utf8(files["metadata/2.recently-claimed-0000.json"].clone()).unwrap();
    let new = role(&["online-2"], 1).await.keys.remove(0).id();
    assert!(bucket.contains(&format!("{{\"keyid\":\"{new}\",\"sig\":")), "{bucket}");
    let keys = keyring(&["online", "online-2"]).await;
    let file = claim(&scene, "ten", &[ANN], 1, &[]).await;
    let repository = scene.open().await;
    let old = repository.apply(&keyring(&ONLINE).await, &file, &[], LookAlike::Refused, now()).await;
    assert!(matches!(old, Err(RepositoryError::KeysMissing { .. })), "{old:?}");
    repository.apply(&keys, &file, &[], LookAlike::Refused, now()).await.unwrap();
    scene.assert_verifies("after a claim by the new keys").await;
}

#[tokio::test]
async fn other_keys_of_claimed_sign_its_buckets_too() {
    let scene = with_six_promoted().await;
    rekeyed(&scene, Subject::Claimed, "targets-2", &["targets-1", "targets-2", "online"]).await;
    scene.assert_verifies("after new keys of claimed").await;
    apply(&scene, &claim(&scene, "ten", &[ANN], 1, &[]).await, Vec::new()).await.unwrap();
    let repository = scene.open().await;
    let event = EventName::new("promote").unwrap();
    let event = repository.promotion(event, &[super::name("ten")].into(), &[], now()).await.unwrap().event;
    let keys = keyring(&["targets-2", "online"]).await;
    let changed = repository.hold(event, &keys, None, now(), &Unwatched).await.unwrap();
    assert!(matches!(changed, Changed::Done(_)), "{changed:?}");
    scene.assert_verifies("after a promotion by the new keys").await;
}

#[tokio::test]
async fn a_promotion_without_the_offline_keys_waits_for_them() {
    let scene = with_six().await;
    let repository = scene.open().await;
    let event = EventName::new("promote").unwrap();
    let event = repository.promotion(event, &[super::name("six")].into(), &[], now()).await.unwrap().event;
    let changed = repository.hold(event, &keyring(&ONLINE).await, None, now(), &Unwatched).await.unwrap();
    let Changed::Waiting { mut event, .. } = changed else { panic!("{changed:?}") };
    let (file, files) = release(&scene, "six", "2.0", &[ANN]).await;
    apply(&scene, &file, files).await.unwrap();
    event.sign_with(&keyring(&["targets-1"]).await, now()).await.unwrap();
    repository.finish(&event, &keyring(&ONLINE).await, None, now(), &Unwatched).await.unwrap();
    let known = super::known(&scene, "six").await;
    assert_eq!((known.family, known.base.version), (Some(Family::Claimed), 2), "a release in between stays");
    scene.assert_verifies("after the ceremony").await;
}
