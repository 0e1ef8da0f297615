//! Which log, which witnesses: a target that people sign, and see in words before.

#![expect(clippy::unwrap_used, reason = "a ceremony that cannot be held is a test that failed")]

use std::fs;
use std::time::Duration;

use wheelseal::crypto::sha256;
use wheelseal::log::Unwitnessed;
use wheelseal::repository::{
    CeremonyError, Changed, Detail, Edits, Event, EventName, LogPolicy, LoggingError, RepositoryError,
    Retention, Unwatched,
};
use wheelseal::tlog::key::{KeyKind, KeyName, VerifierKey};

use super::{ORIGIN, assert_logged, begun};
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

async fn changed(scene: &Scene, name: &str, edits: &Edits) -> Result<Changed, RepositoryError> {
    let (mut keys, name) = (keyring(&ALL_KEYS).await, EventName::new(name).unwrap());
    keys.set_log(super::signer("log").await, std::sync::Arc::new(Unwitnessed));
    scene.open().await.change(&name, edits, &keys, None, now(), &Unwatched).await
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
    let scene = begun().await;
    let log = super::verifier("log", ORIGIN).await;
    let text = |number: u8| format!("# policy number {number}\nlog {log}\nquorum none\n");
    for number in 0..3 {
        let text = text(number);
        let done = changed(&scene, &format!("log-{number}"), &proposing(&text)).await.unwrap();
        assert!(matches!(done, Changed::Done(_)), "{done:?}");
        let hash = hex::encode(sha256(text.as_bytes()));
        let files = scene.files();
        assert_eq!(files[&format!("targets/{hash}.tlog-policy")], text.as_bytes());
        assert_eq!(files["targets/tlog-policy"], text.as_bytes());
        let state = scene.open().await.state().await.unwrap();
        assert_eq!(state.log_policy().unwrap().unwrap().text(), text);
        scene.assert_sound("with a policy").await;
        assert_logged(&scene).await;
    }
    let retention = Retention { snapshots: 1, grace: Duration::ZERO };
    scene.open().await.gc(retention, false, now(), &Unwatched).await.unwrap();
    let left: Vec<_> = scene.files().into_keys().filter(|path| path.ends_with("tlog-policy")).collect();
    let hash = hex::encode(sha256(text(2).as_bytes()));
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

#[tokio::test]
async fn a_policy_needs_its_log_first() {
    let scene = Scene::new().await;
    let refused = changed(&scene, "log", &proposing(&text("none"))).await.map(drop);
    let origin = ORIGIN.to_owned();
    assert_eq!(refused, Err(LoggingError::NotBegun { origin }.into()));
    let scene = begun().await;
    let log = super::verifier("log", "index.example/other").await;
    let refused = changed(&scene, "log", &proposing(&format!("log {log}\nquorum none\n"))).await.map(drop);
    let origin = "index.example/other".to_owned();
    assert_eq!(refused, Err(LoggingError::NotBegun { origin }.into()));
}

#[tokio::test]
async fn a_policy_that_asks_for_more_makes_all_proofs_anew_or_is_not_published() {
    let scene = begun().await;
    let log = super::verifier("log", ORIGIN).await;
    let witness = |byte| VerifierKey::new(KeyName::new("w.example").unwrap(), KeyKind::Witness, [byte; 32]);
    let text = format!("log {log}\nwitness w {}\nquorum w\n", witness(2));
    let refused = changed(&scene, "log", &proposing(&text)).await.map(drop);
    assert!(
        matches!(refused, Err(RepositoryError::Logging(LoggingError::Unaccepted { .. }))),
        "nobody cosigned: {refused:?}"
    );
    assert!(scene.open().await.state().await.unwrap().log_policy().unwrap().is_none());
    super::logging(&scene, &[scene.add("gamma", "1.0", "x = 3")]).await.unwrap();
    assert_logged(&scene).await;
}

#[tokio::test]
async fn proofs_that_are_lost_or_damaged_are_made_anew() {
    let scene = begun().await;
    let proofs: Vec<_> = scene.files().into_keys().filter(|path| path.ends_with(".tlog-proof")).collect();
    let files: Vec<_> = proofs.iter().filter(|path| path.starts_with("targets/")).collect();
    fs::remove_file(scene.root().join(files[0])).unwrap();
    fs::remove_file(scene.root().join(files[1])).unwrap();
    fs::write(scene.root().join(files[1]), "damaged").unwrap();
    let before = fs::read(scene.root().join(files[2])).unwrap();
    let leaves = super::leaves(&scene).await.len();
    let done = scene.open().await.renew_proofs(&super::log_keys().await).await.unwrap();
    assert_eq!(done, u64::try_from(leaves).unwrap());
    assert_logged(&scene).await;
    assert_eq!(fs::read(scene.root().join(files[2])).unwrap(), before, "a good one stays");
}
