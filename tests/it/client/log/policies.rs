//! Whose rules hold.

use wheelseal::client::{LogError, Whose};
use wheelseal::tlog::policy::{PolicyError, Refusal};
use wheelseal::tlog::proof_file::ProofFileError;

use super::*;

fn no_quorum(whose: Whose) -> LogError {
    let error = ProofFileError::Policy(Refusal::NoQuorum { cosigned: vec!["w0".to_owned()] });
    LogError::BadProof { what: "snapshot 2".to_owned(), whose, error }
}

#[test]
fn the_repositorys_policy_and_the_pinned_one_must_both_hold() {
    for (repositorys, pinned, outcome) in [
        (1, 1, None),
        (2, 1, Some(Whose::Repository)),
        (1, 2, Some(Whose::User)),
        (0, 2, Some(Whose::User)),
        (2, 0, Some(Whose::Repository)),
        (0, 0, None),
    ] {
        let mut scene = Scene::new(repositorys);
        scene.cosigned = 1;
        scene.sign();
        let mut user = scene.user();
        user.log.policy = Some(parsed(&scene.book.policy(pinned)));
        let found = user.download(FILE);
        match outcome {
            None => assert_eq!(found, Ok(true), "{repositorys} and {pinned}"),
            Some(whose) => assert_eq!(refused(found), no_quorum(whose)),
        }
    }
}

#[test]
fn a_pinned_policy_holds_where_the_repository_has_none_or_another() {
    let mut scene = Scene::new(2);
    let mut user = scene.user();
    user.log.policy = Some(parsed(&scene.book.policy(2)));
    assert_eq!(user.download(FILE), Ok(true));
    // Who took the offline keys as well names a log of their own.
    let mut other = Book::new("evil.example/log", 7);
    other.leaves.push(file_leaf(FILE, CONTENT));
    scene.set_policy(&other.policy(0));
    scene.book = other;
    scene.release();
    let error = refused(user.refresh());
    let LogError::BadProof { whose: Whose::User, error: ProofFileError::Policy(refusal), .. } = error else {
        panic!("{error}")
    };
    assert_eq!(refusal, Refusal::UnknownLog { origin: "evil.example/log".to_owned() });
    // Or no log at all.
    scene.repo.targets.targets.remove("tlog-policy");
    scene.repo.targets.common.version += 1;
    scene.release();
    scene.repo.timestamp.log = None;
    scene.repo.publish_timestamp();
    let mut newcomer = scene.user();
    newcomer.log.policy = user.log.policy.clone();
    assert_eq!(refused(newcomer.refresh()), LogError::NoLog { whose: Whose::User });
}

#[test]
fn a_policy_that_is_absent_changed_too_long_or_does_not_read_is_refused() {
    let no_policy = |problem: &str| LogError::NoPolicy { problem: problem.to_owned() };
    let scene = Scene::new(2);
    let policy = scene.book.policy(2);
    let place = format!("{TARGETS}{}.tlog-policy", hex::encode(sha256(policy.as_bytes())));
    scene.repo.server.set(&place, Answer::Bytes(policy.replace("2 w0", "1 w0").into_bytes()));
    assert_eq!(refused(scene.user().refresh()), no_policy("is not what was signed"));
    scene.repo.server.forget(&place);
    assert_eq!(refused(scene.user().refresh()), no_policy("is not there"));
    for (text, expected) in [
        ("x".repeat(65_537), no_policy("is longer than a policy can be")),
        ("\n".to_owned(), LogError::BadPolicy { whose: Whose::Repository, error: PolicyError::NoQuorum }),
    ] {
        let mut scene = Scene::new(2);
        scene.set_policy(&text);
        scene.release();
        assert_eq!(refused(scene.user().refresh()), expected);
    }
}

#[test]
fn only_top_level_targets_say_what_the_policy_is() {
    let mut scene = Scene::new(2);
    scene.repo.targets.targets.remove("tlog-policy");
    scene.repo.delegate("targets", "bins", &["*"]);
    scene.repo.add_file("bins", "tlog-policy", b"nonsense");
    scene.repo.targets.common.version += 1;
    scene.release();
    assert_eq!(scene.user().download(FILE), Ok(true));
}

#[test]
fn files_logged_in_a_former_log_stay_good_while_the_policy_names_it() {
    let mut scene = Scene::new(2);
    let old = scene.book.proof(&file_leaf(FILE, CONTENT), 2, 2);
    let user = scene.user();
    user.refresh().unwrap();
    let former = scene.book.log.key.to_string();
    let successor = Book::new("log.example/two", 110);
    scene.set_policy(&format!("log {former}\n{}", successor.policy(2)));
    scene.book = successor;
    scene.release();
    scene.serve_proof(FILE, old);
    let place = inclusion(&user, FILE).unwrap().unwrap();
    assert_eq!((place.origin.as_str(), place.size), (ORIGIN, 2));
}
