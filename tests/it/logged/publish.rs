//! Publishing with a log: everything has its proof before anybody is told of it.

use std::collections::BTreeSet;

use wheelseal::repository::{LoggingError, Predecessor, RepositoryError};
use wheelseal::tlog::leaf::{Leaf, Role};

use super::{ORIGIN, assert_logged, begin, begun, leaves, logging, new_log};
use crate::scene::{ONLINE, Scene, keyring, now, wheel_name};

#[tokio::test]
async fn a_log_begins_with_all_that_is_published() {
    let scene = Scene::new().await;
    scene.publish(&[scene.add("alpha", "1.0", "x = 1"), scene.add("beta", "1.0", "x = 2")]).await.unwrap();
    let done = begin(&scene, Predecessor::Nothing, ORIGIN).await.unwrap();
    assert_eq!(done.origin, ORIGIN);
    let logged = assert_logged(&scene).await;
    let files: Vec<_> = logged.iter().filter(|leaf| matches!(leaf, Leaf::File(_))).collect();
    assert_eq!(files.len(), 4, "two wheels, and the metadata of each: {files:?}");
    let roles: Vec<_> = logged
        .iter()
        .filter_map(
            |leaf| if let Leaf::Tuf(leaf) = leaf { Some((leaf.role(), leaf.version())) } else { None },
        )
        .collect();
    assert_eq!(roles, [(Role::Root, 1), (Role::Targets, 1), (Role::Snapshot, 3)]);
    assert_eq!(done.size, 7);
    scene.assert_sound("with a log").await;
}

#[tokio::test]
async fn what_is_published_is_logged_with_its_snapshot() {
    let scene = begun().await;
    let before = leaves(&scene).await.len();
    logging(&scene, &[scene.add("gamma", "1.0", "x = 3")]).await.unwrap();
    let logged = assert_logged(&scene).await;
    assert_eq!(logged.len(), before + 3, "a wheel, its metadata, a snapshot");
    let page = String::from_utf8(scene.files()["simple/gamma/index.json"].clone()).unwrap();
    assert!(page.contains(&format!("\"_tlog\":{{\"origin\":\"{ORIGIN}\"}}")), "{page}");
    logging(&scene, &[scene.add("gamma", "1.0", "x = 3")]).await.unwrap();
    assert_eq!(leaves(&scene).await.len(), before + 3, "nothing changed, nothing is logged");
    scene.assert_sound("after a publication").await;
}

#[tokio::test]
async fn a_path_is_logged_once_for_ever() {
    let scene = begun().await;
    let (file, other) = (scene.add("gamma", "1.0", "x = 3"), scene.add("gamma", "1.0", "x = 4"));
    logging(&scene, &[file]).await.unwrap();
    let remove = wheelseal::repository::Edit::Remove(wheel_name("gamma", "1.0"));
    logging(&scene, &[remove]).await.unwrap();
    let before = leaves(&scene).await.len();
    let path = format!("gamma/{}", wheel_name("gamma", "1.0"));
    let refused = logging(&scene, &[other]).await.unwrap_err();
    assert!(
        matches!(&refused, RepositoryError::Logging(LoggingError::OtherContent { path: found }) if found.starts_with(&path)),
        "{refused}"
    );
    assert_eq!(leaves(&scene).await.len(), before);
    logging(&scene, &[scene.add("gamma", "1.0", "x = 3")]).await.unwrap();
    assert_eq!(leaves(&scene).await.len(), before + 1, "the same file again: a snapshot and nothing else");
    assert_logged(&scene).await;
}

#[tokio::test]
async fn a_preview_refuses_what_the_log_would_and_writes_nothing() {
    let scene = begun().await;
    logging(&scene, &[scene.add("gamma", "1.0", "x = 3")]).await.unwrap();
    logging(&scene, &[wheelseal::repository::Edit::Remove(wheel_name("gamma", "1.0"))]).await.unwrap();
    let (repository, keys, before) = (scene.open().await, super::log_keys().await, scene.files());
    let preview =
        async |content| repository.preview(&keys, &[scene.add("gamma", "1.0", content)], now()).await;
    assert_eq!(preview("x = 3").await.unwrap().changed.len(), 1);
    let refused = preview("x = 4").await.unwrap_err();
    assert!(matches!(&refused, RepositoryError::Logging(LoggingError::OtherContent { .. })), "{refused}");
    let refused = repository.preview(&keyring(&ONLINE).await, &[scene.add("delta", "1.0", "x")], now()).await;
    assert!(matches!(&refused, Err(RepositoryError::Logging(LoggingError::NoKey { .. }))), "{refused:?}");
    assert_eq!(scene.files(), before);
}

#[tokio::test]
async fn what_is_too_long_for_a_proof_stops_its_own_path_alone_and_is_made_anew() {
    let scene = begun().await;
    let proof =
        |name: &str| scene.root().join(format!("targets/{name}/{}.tlog-proof", wheel_name(name, "1.0")));
    for name in ["alpha", "gamma"] {
        std::fs::create_dir_all(proof(name).parent().unwrap()).unwrap();
        std::fs::write(proof(name), vec![b'a'; 1 << 20]).unwrap();
    }
    logging(&scene, &[scene.add("delta", "1.0", "x")]).await.unwrap();
    let publisher = wheelseal::repository::Publisher::start(scene.open().await, super::log_keys().await);
    let publish = |name: &str| {
        let edits: std::sync::Arc<[_]> = std::sync::Arc::new([scene.add(name, "1.0", "x")]);
        publisher.publish(edits, now())
    };
    let (good, bad) = tokio::join!(publish("epsilon"), publish("gamma"));
    good.unwrap();
    assert!(matches!(bad, Err(RepositoryError::Logging(LoggingError::OtherContent { .. }))), "{bad:?}");
    let repository = scene.open().await;
    repository.renew_proofs(&super::log_keys().await).await.unwrap();
    std::fs::remove_file(proof("gamma")).unwrap();
    logging(&scene, &[scene.add("gamma", "1.0", "x")]).await.unwrap();
    assert_logged(&scene).await;
}

#[tokio::test]
async fn without_the_logs_key_nothing_is_published() {
    let scene = begun().await;
    let edits = [scene.add("gamma", "1.0", "x = 3")];
    let before = scene.files();
    let keys = keyring(&ONLINE).await;
    let refused = scene.open().await.publish(&keys, &edits, now(), &wheelseal::repository::Unwatched).await;
    let origin = ORIGIN.to_owned();
    assert_eq!(refused, Err(LoggingError::NoKey { origin }.into()));
    let after: BTreeSet<_> =
        scene.files().into_iter().filter(|(path, _)| !path.starts_with("targets/")).collect();
    assert!(after.iter().all(|(path, bytes)| before.get(path) == Some(bytes)));
}

#[tokio::test]
async fn the_logs_key_is_no_key_of_a_role() {
    let scene = Scene::new().await;
    for (name, role) in [("root-1", "root"), ("targets-1", "targets"), ("online", "snapshot")] {
        let mut keys = keyring(&ONLINE).await;
        keys.set_log(super::signer(name).await, std::sync::Arc::new(wheelseal::log::Unwitnessed));
        let new = new_log(name, ORIGIN, Predecessor::Nothing).await;
        let refused = scene.open().await.begin_log(&keys, &new, now()).await;
        assert_eq!(refused, Err(LoggingError::TufKey { role: role.to_owned() }.into()));
        assert!(!scene.files().keys().any(|path| path.starts_with("log/")));
    }
}

#[tokio::test]
async fn a_log_begins_once() {
    let scene = begun().await;
    let again = begin(&scene, Predecessor::Nothing, ORIGIN).await;
    assert_eq!(again, Err(LoggingError::Already { origin: ORIGIN.to_owned() }.into()));
    let same = begin(&scene, Predecessor::Log, ORIGIN).await;
    assert!(matches!(same, Err(RepositoryError::Logging(LoggingError::Successor { .. }))));
}

#[tokio::test]
async fn a_successor_names_the_log_before_it_and_has_all_that_is_published() {
    let scene = begun().await;
    let before = scene.open().await.state().await.unwrap().timestamp.log.clone().unwrap();
    begin(&scene, Predecessor::Log, "index.example/second").await.unwrap();
    let logged = assert_logged(&scene).await;
    let Leaf::Log(first) = &logged[0] else { panic!("{:?}", logged[0]) };
    assert_eq!((first.origin(), first.size()), (ORIGIN, before.size));
    assert_eq!(first.root().as_bytes(), &before.root_hash);
    assert!(scene.files().keys().any(|path| path.starts_with("log/before/") && path.ends_with("/head")));
    logging(&scene, &[scene.add("gamma", "1.0", "x = 3")]).await.unwrap();
    assert_logged(&scene).await;
    scene.assert_sound("with a second log").await;
}
