//! Which log, which witnesses: a target that people sign, and see in words before.

#![expect(clippy::unwrap_used, reason = "a ceremony that cannot be held is a test that failed")]

use std::fs;
use std::time::Duration;

use wheelseal::crypto::sha256;
use wheelseal::repository::{
    CeremonyError, Changed, Detail, Edits, Event, EventName, LogPolicy, Retention, Unwatched,
};
use wheelseal::tlog::key::{KeyKind, KeyName, VerifierKey};

use crate::scene::{ALL_KEYS, Scene, keyring, now};

fn text(quorum: &str) -> String {
    let key = |name: &str, kind, byte| VerifierKey::new(KeyName::new(name).unwrap(), kind, [byte; 32]);
    let log = key("index.example/log", KeyKind::Log, 1);
    let (one, two) = (key("w1.example", KeyKind::Witness, 2), key("w2.example", KeyKind::Witness, 3));
    format!(
        "log {log}\nwitness one {one} https://w1.example\nwitness two {two}\ngroup both 2 one two\nquorum {quorum}\n"
    )
}

fn proposing(text: &str) -> Edits {
    Edits { log_policy: Some(LogPolicy::parse(text.as_bytes()).unwrap()), ..Edits::default() }
}

async fn changed(scene: &Scene, name: &str, edits: &Edits) -> Changed {
    let (keys, name) = (keyring(&ALL_KEYS).await, EventName::new(name).unwrap());
    scene.open().await.change(&name, edits, &keys, None, now(), &Unwatched).await.unwrap()
}

#[tokio::test]
async fn a_policy_is_signed_by_people_who_were_told_what_it_means() {
    let scene = Scene::new().await;
    let name = EventName::new("log").unwrap();
    let event = scene.open().await.draft(name, &proposing(&text("both")), now()).await.unwrap();
    let review = event.review(Detail::Brief, None).unwrap();
    let told: Vec<_> = review.roles[0].changes.iter().filter(|change| change.starts_with("log: ")).collect();
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(
        told[0]
            .starts_with("log: all files are logged in index.example/log, whose key is index.example/log+")
    );
    assert!(told[1].starts_with("log: witness one at https://w1.example, whose key is w1.example+"));
    assert!(told[2].starts_with("log: witness two, whose key is w2.example+"));
    assert_eq!(told[3], "log: a checkpoint counts if these have cosigned it: 2 of one, two");
    assert!(!review.roles[0].changes.iter().any(|change| change.contains("lists these files itself")));
}

#[tokio::test]
async fn the_policy_lies_where_clients_look_and_another_takes_its_place() {
    let scene = Scene::new().await;
    for (at, quorum) in ["one", "both", "none"].into_iter().enumerate() {
        let text = text(quorum);
        assert!(matches!(changed(&scene, &format!("log-{at}"), &proposing(&text)).await, Changed::Done(_)));
        let hash = hex::encode(sha256(text.as_bytes()));
        let files = scene.files();
        assert_eq!(files[&format!("targets/{hash}.tlog-policy")], text.as_bytes());
        assert_eq!(files["targets/tlog-policy"], text.as_bytes());
        let state = scene.open().await.state().await.unwrap();
        assert_eq!(state.log_policy().unwrap().unwrap().text(), text);
        scene.assert_sound("with a policy").await;
    }
    let retention = Retention { snapshots: 1, grace: Duration::ZERO };
    scene.open().await.gc(retention, false, now(), &Unwatched).await.unwrap();
    let left: Vec<_> = scene.files().into_keys().filter(|path| path.ends_with("tlog-policy")).collect();
    let hash = hex::encode(sha256(text("none").as_bytes()));
    assert_eq!(left, [format!("targets/{hash}.tlog-policy"), "targets/tlog-policy".to_owned()]);
    scene.assert_sound("after gc").await;
}

#[tokio::test]
async fn a_policy_that_its_signers_would_not_see_is_refused() {
    let scene = Scene::new().await;
    let name = EventName::new("log").unwrap();
    let event = scene.open().await.draft(name, &proposing(&text("both")), now()).await.unwrap();
    let file = String::from_utf8(event.to_bytes().unwrap()).unwrap();
    let other = file.replace("quorum both", "quorum none");
    assert_ne!(file, other);
    let mut event = Event::read(other.as_bytes()).unwrap();
    let keys = keyring(&["targets-1"]).await;
    assert!(event.sign(keys.signers().next().unwrap(), None, now()).await.is_ok());
    let refused = event.allowed(None);
    let Err(CeremonyError::Refused(why)) = refused else { panic!("{refused:?}") };
    let expected = "the policy of the log: length and hash are not those of the text in custom";
    assert_eq!(why, [expected]);
}

#[test]
fn what_is_no_policy_is_not_proposed() {
    let refused = LogPolicy::parse(b"quorum none\n").unwrap_err().to_string();
    assert_eq!(refused, "the policy of the log: it names 0 logs, expected one");
    let cut = text("none");
    let refused = LogPolicy::parse(cut.trim_end().as_bytes()).unwrap_err().to_string();
    assert!(refused.ends_with("it may have been cut short"), "{refused}");
}

#[tokio::test]
async fn proofs_are_no_garbage_and_no_strays() {
    let scene = Scene::new().await;
    scene.publish(&[scene.add("alpha", "1.0", "x = 1")]).await.unwrap();
    let kept = [
        "targets/alpha/alpha-1.0-py3-none-any.whl.tlog-proof",
        "targets/gone/gone-1.0.tar.gz.tlog-proof",
        "log/head",
        "log/checkpoint",
        "log/tile/0/000.p/1",
        "metadata/2.snapshot.json.tlog-proof",
    ];
    for path in kept.iter().chain(&["metadata/1.snapshot.json.tlog-proof"]) {
        let at = scene.root().join(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, "proof").unwrap();
    }
    let mut found = Vec::new();
    let repository = scene.open().await;
    let mut tell = |finding: &wheelseal::repository::Finding| found.push(finding.clone());
    let look = wheelseal::repository::Look::Hash;
    repository.fsck(look, wheelseal::repository::Repair::No, &Unwatched, &mut tell).await.unwrap();
    assert_eq!(found, []);
    let retention = Retention { snapshots: 1, grace: Duration::ZERO };
    repository.gc(retention, false, now(), &Unwatched).await.unwrap();
    let files = scene.files();
    for path in kept {
        assert!(files.contains_key(path), "{path}");
    }
    assert!(!files.contains_key("metadata/1.snapshot.json.tlog-proof"), "it goes with its snapshot");
}
