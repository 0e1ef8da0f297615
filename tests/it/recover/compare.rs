//! The comparison alone.

use wheelseal::repository::{Counts, Edit};
use wheelseal::tuf::metadata::TopLevel;

use super::*;
use crate::scene::{ALL_KEYS, ONLINE, keyring, now, plan, role, wheel_name};

const ALPHA: &str = "alpha/alpha-1.0-py3-none-any.whl";
const EVIL: &str = "alpha/alpha-6.6-py3-none-any.whl";

#[tokio::test]
async fn what_was_only_signed_again_does_not_differ() {
    let scene = published().await;
    let (found, compared) = differences(&scene, &good(&scene).await, &[]).await;
    assert_eq!((found, compared.targets.total(), compared.delegations.total()), (vec![], 0, 0));
    let keys = keyring(&ALL_KEYS).await;
    scene.open().await.bump(&keys, true, now(), &Unwatched).await.unwrap();
    scene.publish(&[scene.add("alpha", "1.2", "new")]).await.unwrap();
    scene.publish(&[Edit::Remove(wheel_name("alpha", "1.2"))]).await.unwrap();
    let (found, _) = differences(&scene, &good(&scene).await, &[]).await;
    assert_eq!(words(&found), Vec::<String>::new(), "a page's serial is no difference");
}

#[tokio::test]
async fn each_added_changed_and_removed_target_is_found_by_backup_and_by_snapshot() {
    let scene = published().await;
    let snapshot = scene.open().await.state().await.unwrap().snapshot.common.version;
    let gone = "beta/beta-1.0-py3-none-any.whl";
    tamper(&scene, &[(ALPHA, Some(malware())), (EVIL, Some(malware())), (gone, None)], None, &ONLINE).await;
    let expected = [format!("~ {ALPHA}"), format!("+ {EVIL}"), format!("- {gone}")];
    let repository = scene.open().await;
    for good in [good(&scene).await, repository.good_snapshot(snapshot, None).await.unwrap()] {
        let (found, compared) = differences(&scene, &good, &[]).await;
        assert_eq!(words(&found), expected);
        assert_eq!(compared.targets, Counts { added: 1, removed: 1, changed: 1 });
        assert_eq!((compared.good, compared.present), (snapshot, snapshot + 1));
        let changed = found.first().unwrap();
        let texts = [&changed.before, &changed.after].map(|said| said.clone().unwrap());
        assert!(texts[0].role.starts_with("bins-"), "{texts:?}");
        assert_eq!(texts[1].text, format!("SHA-256 {}, 7 bytes", hex::encode(sha256(b"malware"))));
        let (found, compared) = differences(&scene, &good, &["beta", EVIL]).await;
        assert_eq!((words(&found), compared.kept), (vec![format!("~ {ALPHA}")], 2));
    }
}

#[tokio::test]
async fn a_yank_is_a_change_of_the_page_alone() {
    let scene = published().await;
    scene.publish(&[Edit::Yank(wheel_name("beta", "1.0"), None)]).await.unwrap();
    let (found, _) = differences(&scene, &good(&scene).await, &[]).await;
    assert_eq!(words(&found), ["~ simple/beta/index.json"]);
}

#[tokio::test]
async fn another_number_of_bins_moves_targets_but_changes_none() {
    let scene = published().await;
    let (repository, keys) = (scene.open().await, keyring(&ALL_KEYS).await);
    repository.resize_bins(&keys, 16, None, now(), &Unwatched).await.unwrap();
    tamper(&scene, &[(EVIL, Some(malware()))], None, &ONLINE).await;
    let (found, _) = differences(&scene, &good(&scene).await, &[]).await;
    assert_eq!(words(&found), [format!("+ {EVIL}"), "~ role bin-n".to_owned()]);
}

#[tokio::test]
async fn other_keys_of_a_role_are_found() {
    let scene = published().await;
    let keys = keyring(&["root-1", "online", "online-2"]).await;
    let plan = role(&["online-2"], 1).await;
    scene.open().await.rotate(&keys, TopLevel::Timestamp, &plan, now()).await.unwrap();
    let (found, compared) = differences(&scene, &good(&scene).await, &[]).await;
    assert_eq!(words(&found), ["~ role timestamp"]);
    assert_eq!((compared.targets.total(), compared.delegations.changed), (0, 1));
    let (found, _) = differences(&scene, &good(&scene).await, &["timestamp"]).await;
    assert_eq!(found, []);
}

#[tokio::test]
async fn a_backup_of_another_repository_or_an_altered_one_is_refused() {
    let (scene, mut other_plan) = (published().await, plan().await);
    other_plan.root = role(&["root-2"], 1).await;
    let other = Scene::of(&other_plan, &["root-2", "targets-1", "online"]).await;
    back_up(&other, "other").await;
    let repository = scene.open().await;
    let refused = repository.good_backup(&archive(&other, "other"), None).await.unwrap_err();
    assert!(refused.to_string().contains("is of another repository"), "{refused}");
    let root = fs::read(scene.root().join("metadata/1.root.json")).unwrap();
    let refused = repository.good_backup(&archive(&other, "other"), Some(&root)).await.unwrap_err();
    assert!(refused.to_string().contains("none of its roots"), "{refused}");
    let bytes = fs::read(archive(&scene, "good")).unwrap();
    for at in [bytes.len() / 3, bytes.len() / 2, bytes.len() - 20] {
        let mut altered = bytes.clone();
        *altered.get_mut(at).unwrap() ^= 1;
        fs::write(archive(&scene, "altered"), altered).unwrap();
        let refused = repository.good_backup(&archive(&scene, "altered"), None).await;
        assert!(refused.is_err(), "byte {at}");
    }
}

#[tokio::test]
async fn a_forged_snapshot_is_told_by_its_hash_and_one_by_other_keys_is_refused() {
    let scene = published().await;
    let repository = scene.open().await;
    let version = repository.state().await.unwrap().snapshot.common.version;
    let good = repository.good_snapshot(version, None).await.unwrap();
    let noted = sha256(&fs::read(scene.root().join(format!("metadata/{version}.snapshot.json"))).unwrap());
    assert_eq!(good.snapshot_sha256(), hex::encode(noted));
    // Who has the online key can write over an old snapshot: it verifies, and only the hash that was noted tells.
    let mut draft = repository.state().await.unwrap().snapshot.draft();
    tamper(&scene, &[(EVIL, Some(malware()))], None, &ONLINE).await;
    draft.content.common.expires = now();
    write(&scene.root(), &format!("{version}.snapshot.json"), &signed(&draft, &ONLINE).await);
    assert!(repository.good_snapshot(version, None).await.is_ok());
    let refused = repository.good_snapshot(version, Some(noted)).await.unwrap_err();
    assert!(refused.to_string().contains("has SHA-256"), "{refused}");
    write(&scene.root(), &format!("{version}.snapshot.json"), &signed(&draft, &["online-2"]).await);
    let refused = repository.good_snapshot(version, None).await.unwrap_err();
    assert!(matches!(refused, RepositoryError::Verify(_)), "{refused}");
    assert_eq!(repository.good_snapshot(99, None).await.unwrap_err(), RepositoryError::NoSnapshot(99));
}

#[tokio::test]
async fn an_older_snapshot_is_verified_under_the_root_of_then() {
    let scene = published().await;
    let version = scene.open().await.state().await.unwrap().snapshot.common.version;
    let keys = keyring(&["root-1", "online", "online-2"]).await;
    for top in [TopLevel::Timestamp, TopLevel::Snapshot] {
        scene.open().await.rotate(&keys, top, &role(&["online-2"], 1).await, now()).await.unwrap();
    }
    let repository: Repository = scene.open().await;
    let good = repository.good_snapshot(version, None).await.unwrap();
    let (found, _) = differences(&scene, &good, &[]).await;
    assert_eq!(words(&found), ["~ role snapshot"], "the newest root whose snapshot keys signed it");
}
