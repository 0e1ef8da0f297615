//! Back to the good state.

use wheelseal::repository::{Anchor, Edit, Edits, EventName, PutBack, RoleEdit, Subject};
use wheelseal::tuf::metadata::Targets;
use wheelseal::tuf::signed::Signed;

use super::*;
use crate::scene::{ALL_KEYS, ONLINE, View, keyring, now, plan, role, wheel_name};

const ALPHA: &str = "alpha/alpha-1.0-py3-none-any.whl";
const BETA: &str = "beta/beta-1.0-py3-none-any.whl";
const EVIL: &str = "alpha/alpha-6.6-py3-none-any.whl";

fn all_three() -> [(&'static str, Option<TargetFile>); 3] {
    [(ALPHA, Some(malware())), (EVIL, Some(malware())), (BETA, None)]
}

async fn put_back(scene: &Scene, keep: &[&str]) -> PutBack {
    let keep = Keep::new(keep.iter().map(|name| (*name).to_owned()));
    let (repository, keys, good) = (scene.open().await, keyring(&ONLINE).await, good(scene).await);
    repository.put_back(&keys, &good, &keep, now(), &Unwatched).await.unwrap()
}

#[tokio::test]
async fn what_a_thief_changed_goes_back_in_one_commit_and_what_pip_reads_with_it() {
    let scene = published().await;
    let before = View::of(&scene.open().await).await;
    tamper(&scene, &all_three(), None, &ONLINE).await;
    let snapshot = scene.open().await.state().await.unwrap().snapshot.common.version;
    // Whoever can write to the store can do so to what plain pip reads too, with a serial from the future.
    let plain = scene.root().join("targets").join(ALPHA);
    fs::remove_file(&plain).unwrap();
    fs::write(&plain, "malware").unwrap();
    fs::write(scene.root().join("targets").join(EVIL), "malware").unwrap();
    let page = scene.root().join("simple/alpha/index.json");
    let text = fs::read_to_string(&page).unwrap().replace("\"_last-serial\":", "\"_last-serial\":99999");
    fs::remove_file(&page).unwrap();
    fs::write(&page, text).unwrap();
    let done = put_back(&scene, &[]).await;
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(done.restored, names(&[ALPHA, BETA]));
    assert_eq!(done.withdrawn, names(&[EVIL]));
    assert_eq!((done.snapshot, done.missing, done.claimed), (snapshot + 1, vec![], vec![]));
    assert_eq!(View::of(&scene.open().await).await.content(), before.content());
    assert!(!scene.root().join("targets").join(EVIL).exists());
    scene.assert_sound("restored").await;
    assert_eq!(differences(&scene, &good(&scene).await, &[]).await.0, []);
    assert_eq!(put_back(&scene, &[]).await, PutBack { snapshot: snapshot + 1, ..PutBack::default() });
}

#[tokio::test]
async fn an_older_snapshot_serves_as_well_as_a_backup() {
    let scene = published().await;
    let (repository, keys) = (scene.open().await, keyring(&ONLINE).await);
    let snapshot = repository.state().await.unwrap().snapshot.common.version;
    tamper(&scene, &all_three(), None, &ONLINE).await;
    let good = repository.good_snapshot(snapshot, None).await.unwrap();
    let done = repository.put_back(&keys, &good, &Keep::default(), now(), &Unwatched).await.unwrap();
    assert_eq!((done.restored.len(), done.withdrawn.len()), (2, 1));
    assert_eq!(differences(&scene, &good, &[]).await.0, []);
    scene.assert_sound("restored").await;
}

#[tokio::test]
async fn legitimate_releases_since_are_kept_file_by_file_or_project_by_project() {
    for keep in ["alpha/alpha-1.2-py3-none-any.whl", "alpha"] {
        let scene = published().await;
        scene.publish(&[scene.add("alpha", "1.2", "new")]).await.unwrap();
        scene.publish(&[scene.add("delta", "1.0", "new")]).await.unwrap();
        tamper(&scene, &[(BETA, None)], None, &ONLINE).await;
        let done = put_back(&scene, &[keep, "delta"]).await;
        assert_eq!(
            (done.restored.as_slice(), done.withdrawn.len()),
            ([BETA.to_owned()].as_slice(), 0),
            "{keep}"
        );
        let view = View::of(&scene.open().await).await;
        assert!(view.files.contains_key("alpha-1.2-py3-none-any.whl"), "{view:?}");
        assert!(view.files.contains_key("delta-1.0-py3-none-any.whl"), "{view:?}");
        scene.assert_sound("restored").await;
    }
}

#[tokio::test]
async fn what_is_not_there_is_named_and_what_stood_in_its_place_withdrawn() {
    let scene = published().await;
    let state = scene.open().await.state().await.unwrap();
    let target = TargetPath::new(ALPHA).unwrap();
    let file = scene.open().await.target(&state, &target).await.unwrap().unwrap();
    let at = format!("targets/{}", target.location(file.hashes.name().as_deref()));
    let kept = fs::read(scene.root().join(&at)).unwrap();
    tamper(&scene, &[(ALPHA, Some(malware()))], None, &ONLINE).await;
    // Not gone, but with other bytes: its name does not tell.
    fs::remove_file(scene.root().join(&at)).unwrap();
    fs::write(scene.root().join(&at), vec![b'x'; kept.len()]).unwrap();
    let done = put_back(&scene, &[]).await;
    assert_eq!((done.missing, done.restored), (vec![at.clone()], vec![]));
    let view = View::of(&scene.open().await).await;
    assert!(!view.targets.contains_key(ALPHA) && !view.files.contains_key("alpha-1.0-py3-none-any.whl"));
    fs::remove_file(scene.root().join(&at)).unwrap();
    fs::write(scene.root().join(&at), kept).unwrap();
    let done = put_back(&scene, &[]).await;
    assert_eq!((done.missing, done.restored), (vec![], vec![ALPHA.to_owned()]));
    scene.assert_sound("with the file").await;
}

#[tokio::test]
async fn a_yank_is_taken_back_with_the_page_and_what_is_right_is_not_signed_again() {
    let scene = published().await;
    let before = View::of(&scene.open().await).await;
    scene.publish(&[Edit::Yank(wheel_name("beta", "1.0"), None)]).await.unwrap();
    let done = put_back(&scene, &[]).await;
    assert_eq!((done.restored.len(), done.withdrawn.len()), (0, 0));
    assert_eq!(View::of(&scene.open().await).await.content(), before.content());
    scene.assert_sound("taken back").await;
    // What is missing stays so, and is no reason to sign anything again.
    let state = scene.open().await.state().await.unwrap();
    let target = TargetPath::new(BETA).unwrap();
    let file = scene.open().await.target(&state, &target).await.unwrap().unwrap();
    fs::remove_file(scene.root().join(format!("targets/{}", target.location(file.hashes.name().as_deref()))))
        .unwrap();
    scene.publish(&[Edit::Remove(wheel_name("beta", "1.0"))]).await.unwrap();
    for _ in 0..2 {
        let done = put_back(&scene, &[]).await;
        assert_eq!((done.snapshot, done.missing.len()), (state.snapshot.common.version + 1, 1));
    }
}

#[tokio::test]
async fn new_keys_never_sign_what_the_thief_put_there() {
    let mut plan = plan().await;
    plan.bin_count = 256;
    let scene = Scene::of(&plan, &ALL_KEYS).await;
    for project in ["alpha", "beta", "gamma"] {
        scene.publish(&[scene.add(project, "1.0", "one")]).await.unwrap();
    }
    back_up(&scene, "good").await;
    tamper(&scene, &all_three(), Some(1 << 40), &ONLINE).await;
    let (repository, good) = (scene.open().await, good(&scene).await);
    let restoration = repository.restoration(&good, &Keep::default(), &Unwatched).await.unwrap();
    let online = role(&["online-2"], 1).await.keys;
    let roles = Subject::ALL.into_iter().filter(|subject| subject.is_online());
    let roles = roles.map(|subject| (subject, RoleEdit::Keys(online.clone()))).collect();
    let edits = Edits { roles, bins: None, log_policy: None };
    let mut event = repository.draft(EventName::new("new").unwrap(), &edits, now()).await.unwrap();
    let keys = keyring(&["root-1", "targets-1", "online-2"]).await;
    event.sign_with(&keys, now()).await.unwrap();
    let finishing = repository.finish_restoring(&event, restoration, &keys, None, now(), &Unwatched);
    let (finished, done) = finishing.await.unwrap();
    assert_eq!((finished.bins, done.restored.len(), done.withdrawn.len()), (256, 2, 1));
    assert_eq!(done.snapshot, (1 << 40) + 1);
    scene.assert_sound("restored").await;
    let (found, _) =
        differences(&scene, &good, &["timestamp", "snapshot", "recently-claimed", "bin-n"]).await;
    assert_eq!(found, []);
    let state = scene.open().await.state().await.unwrap();
    let (bins, mut stolen) = (&state.bins, 0);
    let delegator = wheelseal::tuf::path::RoleName::delegated("bins").unwrap();
    for (path, bytes) in scene.files().into_iter().filter(|(path, _)| path.contains(".bins-")) {
        if String::from_utf8_lossy(&bytes).contains("alpha-6.6") {
            let bin = path.trim_end_matches(".json").rsplit('.').next().unwrap();
            let bin = wheelseal::tuf::path::RoleName::delegated(bin).unwrap();
            let authority = bins.delegations.as_ref().unwrap().authority(&delegator, &bin).unwrap();
            assert!(Signed::<Targets>::new(bytes).verify(&authority).is_err(), "{path}");
            stolen += 1;
        }
    }
    assert_eq!(stolen, 1);
}

#[tokio::test]
async fn a_recovery_that_stopped_after_the_new_root_is_gone_on_with() {
    let scene = published().await;
    tamper(&scene, &all_three(), None, &ONLINE).await;
    let online = role(&["online-2"], 1).await.keys;
    let roles = Subject::ALL.into_iter().filter(|subject| subject.is_online());
    let roles = roles.map(|subject| (subject, RoleEdit::Keys(online.clone()))).collect();
    let (edits, name) = (Edits { roles, bins: None, log_policy: None }, EventName::new("new").unwrap());
    let mut event = scene.open().await.draft(name, &edits, now()).await.unwrap();
    let keys = keyring(&["root-1", "targets-1", "online-2"]).await;
    event.sign_with(&keys, now()).await.unwrap();
    let finish = async |scene: &Scene| {
        let (repository, good) = (scene.open().await, good(scene).await);
        let restoration = repository.restoration(&good, &Keep::default(), &Unwatched).await.unwrap();
        repository.finish_restoring(&event, restoration, &keys, None, now(), &Unwatched).await.unwrap().1
    };
    // Without the old keys the new root comes first: all else of a whole run is taken away again.
    let whole = scene.copy();
    fs::copy(archive(&scene, "good"), archive(&whole, "good")).unwrap();
    finish(&whole).await;
    for name in ["2.root.json", "root.json"] {
        let bytes = fs::read(whole.root().join("metadata").join(name)).unwrap();
        fs::remove_file(scene.root().join("metadata").join(name)).ok();
        write(&scene.root(), name, &bytes);
    }
    let done = finish(&scene).await;
    assert_eq!((done.restored.len(), done.withdrawn.len()), (2, 1));
    scene.assert_sound("gone on with").await;
    let keep = ["timestamp", "snapshot", "recently-claimed", "bin-n"];
    assert_eq!(differences(&scene, &good(&scene).await, &keep).await.0, []);
}

#[tokio::test]
async fn versions_that_were_pushed_to_the_end_of_all_numbers_start_anew_with_the_new_keys() {
    for at_hand in [&["root-1", "targets-1", "online-2"][..], &["root-1", "targets-1", "online", "online-2"]]
    {
        let scene = published().await;
        let anchor = || Anchor::new(scene.spool().join("seen.json"));
        let repository = scene.open().await.anchored(anchor());
        let before = repository.state().await.unwrap().snapshot.common.version;
        tamper(&scene, &all_three(), Some(u64::MAX), &ONLINE).await;
        assert_eq!(repository.state().await.unwrap().timestamp.common.version, u64::MAX);
        let good = good(&scene).await;
        let restoration = repository.restoration(&good, &Keep::default(), &Unwatched).await.unwrap();
        let online = role(&["online-2"], 1).await.keys;
        let roles = Subject::ALL.into_iter().filter(|subject| subject.is_online());
        let roles = roles.map(|subject| (subject, RoleEdit::Keys(online.clone()))).collect();
        let edits = Edits { roles, bins: None, log_policy: None };
        let mut event = repository.draft(EventName::new("new").unwrap(), &edits, now()).await.unwrap();
        let keys = keyring(at_hand).await;
        event.sign_with(&keys, now()).await.unwrap();
        let finishing = repository.finish_restoring(&event, restoration, &keys, None, now(), &Unwatched);
        let (_, done) = finishing.await.unwrap();
        assert_eq!(done.snapshot, before + 1, "{at_hand:?}");
        let state = scene.open().await.anchored(anchor()).state().await.unwrap();
        assert!(state.timestamp.common.version < 100, "{at_hand:?}");
        assert!(state.snapshot.roles().all(|(_, file)| file.version < 100), "{at_hand:?}");
        let edits = [scene.add("alpha", "1.2", "new")];
        let keys = keyring(&["online-2"]).await;
        let repository = scene.open().await.anchored(anchor());
        let published = repository.publish(&keys, &edits, now(), &Unwatched).await.unwrap();
        assert_eq!(published.snapshot, before + 2);
        scene.assert_sound("published after").await;
    }
}

#[tokio::test]
async fn what_was_published_meanwhile_is_not_run_over() {
    let scene = published().await;
    tamper(&scene, &all_three(), None, &ONLINE).await;
    let (repository, good) = (scene.open().await, good(&scene).await);
    let restoration = repository.restoration(&good, &Keep::default(), &Unwatched).await.unwrap();
    scene.publish(&[scene.add("gamma", "1.2", "new")]).await.unwrap();
    let roles = vec![(Subject::Snapshot, RoleEdit::Keys(role(&["online-2"], 1).await.keys))];
    let edits = Edits { roles, bins: None, log_policy: None };
    let mut event = repository.draft(EventName::new("new").unwrap(), &edits, now()).await.unwrap();
    let keys = keyring(&["root-1", "online", "online-2"]).await;
    event.sign_with(&keys, now()).await.unwrap();
    let before = scene.files();
    let refused = repository.finish_restoring(&event, restoration, &keys, None, now(), &Unwatched).await;
    assert!(refused.unwrap_err().to_string().contains("something was published while"));
    let named = |path: &str| path.ends_with("timestamp.json") || path.ends_with("root.json");
    for (path, bytes) in scene.files().into_iter().filter(|(path, _)| named(path)) {
        assert!(before.get(&path) == Some(&bytes), "{path}");
    }
}
