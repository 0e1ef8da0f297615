//! What must have been logged, and what shows that it was.

use wheelseal::client::{ClientError, FileError, LogError, Session, Whose};
use wheelseal::tlog::policy::Refusal;
use wheelseal::tlog::proof::ProofError;
use wheelseal::tlog::proof_file::ProofFileError;
use wheelseal::tuf::path::TargetPath;

use super::*;
use crate::simulator::{now, run};

fn no_proof(what: &str) -> LogError {
    LogError::NoProof { what: what.to_owned() }
}

#[test]
fn a_logged_file_is_handed_out_with_its_place_in_the_log_and_asked_for_once() {
    let scene = Scene::new(2);
    let user = scene.user();
    assert_eq!(user.download(FILE), Ok(true));
    let hash = hex::encode(sha256(CONTENT));
    let mut requests = scene.repo.server.requests();
    requests[6..].sort();
    let policy = hex::encode(sha256(scene.book.policy(2).as_bytes()));
    let update = ["2.root.json", "timestamp.json", "2.snapshot.json", "3.targets.json"].map(String::from);
    let log = [format!("targets/{policy}.tlog-policy"), "2.snapshot.json.tlog-proof".to_owned()];
    let file = [format!("targets/six/{hash}.six-1.0-py3-none-any.whl"), format!("targets/{FILE}.tlog-proof")];
    assert_eq!(requests, [update.to_vec(), log.to_vec(), file.to_vec()].concat());
    let place = Inclusion {
        origin: ORIGIN.to_owned(),
        index: 0,
        size: 2,
        witnesses: vec!["w0".to_owned(), "w1".to_owned()],
        unwitnessed: false,
    };
    assert_eq!(inclusion(&user, FILE), Ok(Some(place)));
    assert_eq!(scene.repo.server.requests(), ["2.root.json", "timestamp.json"], "the rest is kept");
}

#[test]
fn without_a_policy_nothing_is_asked_and_nothing_checked() {
    let mut scene = Scene::new(2);
    scene.repo.targets.targets.remove("tlog-policy");
    scene.repo.targets.common.version += 1;
    scene.release();
    scene.serve_proof(FILE, "nonsense");
    let user = scene.user();
    assert_eq!(inclusion(&user, FILE), Ok(None));
    let asked = scene.repo.server.requests();
    assert_eq!(asked, ["2.root.json", "timestamp.json", "3.snapshot.json", "4.targets.json"]);
}

#[test]
fn a_file_without_a_proof_is_not_handed_out_in_any_way() {
    let scene = Scene::new(2);
    scene.repo.server.forget(&format!("{TARGETS}{FILE}.tlog-proof"));
    let (user, path) = (scene.user(), TargetPath::new(FILE).unwrap());
    assert_eq!(refused(user.download(FILE)), no_proof(FILE));
    assert_eq!(user.downloaded(), []);
    let to = user.targets_dir();
    let each = user.session(async |session| {
        let found = session.find(&path).await?;
        let read = session.read(&found, 100).await.map(drop);
        let fill = session.fill(&found, &to).await.map(drop);
        let prove = session.prove(&found).await.map(drop);
        std::fs::write(&to, CONTENT).unwrap();
        let there = session.download(&found, &to).await.map(drop);
        Ok([read, fill, prove, there])
    });
    for outcome in each.unwrap() {
        assert_eq!(refused(outcome), no_proof(FILE));
    }
}

#[test]
fn the_proof_of_a_file_with_any_bit_flipped_is_refused() {
    let scene = Scene::new(2);
    let (user, path) = (scene.user(), TargetPath::new(FILE).unwrap());
    let proof = scene.book.proof(&file_leaf(FILE, CONTENT), 2, 2);
    let handed_out = user.session(async |session| {
        let found = session.find(&path).await?;
        let mut handed_out = Vec::new();
        for bit in 0..proof.len() * 8 {
            let mut changed = proof.clone().into_bytes();
            changed[bit / 8] ^= 1 << (bit % 8);
            scene.serve_proof(FILE, changed);
            match session.prove(&found).await {
                Err(ClientError::Log(_)) => {}
                other => handed_out.push((bit, other.map(drop))),
            }
        }
        Ok(handed_out)
    });
    assert_eq!(handed_out.unwrap(), []);
}

#[test]
fn the_proof_of_the_snapshot_with_any_bit_of_a_byte_flipped_is_refused() {
    let scene = Scene::new(2);
    let proof = scene.book.proof(&scene.snapshot_leaf(), 2, 2);
    let user = scene.user();
    for at in 0..proof.len() {
        let mut changed = proof.clone().into_bytes();
        changed[at] ^= 1 << (at % 8);
        scene.serve_snapshot_proof(changed);
        refused(user.refresh());
    }
    scene.serve_snapshot_proof(proof);
    assert_eq!(user.refresh(), Ok(()));
}

#[test]
fn the_proof_of_another_file_or_of_other_bytes_proves_nothing() {
    let mut scene = Scene::new(2);
    scene.add("six/six-2.0-py3-none-any.whl", CONTENT);
    scene.release();
    let other = file_leaf("six/six-2.0-py3-none-any.whl", CONTENT);
    scene.serve_proof(FILE, scene.book.proof(&other, 4, 2));
    let found = refused(scene.user().download(FILE));
    assert!(matches!(
        found,
        LogError::BadProof { error: ProofFileError::Proof(ProofError::Root { .. }), .. }
    ));
    // A thief of the online keys signs other bytes under a name that was logged.
    let mut scene = Scene::new(2);
    scene.repo.add_file("targets", FILE, b"another wheel");
    scene.repo.targets.common.version += 1;
    scene.release();
    let found = refused(scene.user().download(FILE));
    assert!(matches!(
        found,
        LogError::BadProof { error: ProofFileError::Proof(ProofError::Root { .. }), .. }
    ));
}

#[test]
fn pages_and_attestations_need_no_proof_and_files_that_nobody_logs_are_refused() {
    let mut scene = Scene::new(2);
    let free = ["simple/six/index.json", "six/six-1.0-py3-none-any.whl.provenance"];
    let bound = ["six/six-1.0-py3-none-any.whl.metadata", "six/six-1.0.tar.gz"];
    let odd = ["six/README.txt", "file", "other/six-1.0.tar.gz"];
    for path in [&free[..], &bound, &odd].concat() {
        scene.repo.add_file("targets", path, CONTENT);
    }
    scene.repo.targets.common.version += 1;
    scene.release();
    let user = scene.user();
    for path in free.into_iter().chain(["file"]) {
        assert_eq!(user.download(path), Ok(true), "{path}");
    }
    for path in bound {
        assert_eq!(refused(user.download(path)), no_proof(path));
    }
    for path in odd.into_iter().filter(|path| path.contains('/')) {
        let error = refused(user.download(path));
        assert!(matches!(&error, LogError::NoLeaf { path: of, .. } if of == path), "{error}");
    }
}

#[test]
fn a_file_signed_without_a_sha256_is_refused() {
    let mut scene = Scene::new(2);
    let hashes = &mut scene.repo.targets.targets.get_mut(FILE).unwrap().hashes;
    hashes.sha256 = None;
    hashes.sha512 = Some(Box::new(wheelseal::crypto::sha512(CONTENT)));
    scene.repo.targets.common.version += 1;
    scene.release();
    assert_eq!(refused(scene.user().download(FILE)), LogError::NoSha256 { path: FILE.to_owned() });
}

#[test]
fn a_snapshot_that_was_not_logged_is_refused_though_the_online_keys_signed_it() {
    let mut scene = Scene::new(2);
    let victim = scene.user();
    scene.repo.add_file("targets", "six/six-9.9.tar.gz", b"evil");
    scene.repo.release_role("targets");
    assert_eq!(refused(victim.refresh()), no_proof("snapshot 3"));
    // With a proof of the snapshot before it.
    scene.serve_snapshot_proof(scene.book.proof(&scene.book.leaves[1].clone(), 2, 2));
    let error = refused(victim.refresh());
    assert!(matches!(
        error,
        LogError::BadProof { error: ProofFileError::Proof(ProofError::Root { .. }), .. }
    ));
    // Or without any log at all.
    scene.repo.timestamp.log = None;
    scene.repo.timestamp.common.version += 1;
    scene.repo.publish_timestamp();
    assert_eq!(refused(victim.refresh()), LogError::NoLog { whose: Whose::Repository });
}

#[test]
fn a_thief_of_online_keys_and_log_key_still_needs_the_witnesses() {
    let mut scene = Scene::new(2);
    let victim = scene.user();
    scene.cosigned = 1;
    scene.add("six/six-9.9.tar.gz", b"evil");
    scene.release();
    let cosigned = vec!["w0".to_owned()];
    let error = ProofFileError::Policy(Refusal::NoQuorum { cosigned });
    let what = "snapshot 3".to_owned();
    assert_eq!(refused(victim.refresh()), LogError::BadProof { what, whose: Whose::Repository, error });
}

#[test]
fn the_snapshot_must_be_in_the_very_tree_that_timestamp_names() {
    let mut scene = Scene::new(2);
    scene.add("six/six-2.0.tar.gz", b"two");
    let proof = scene.book.proof(&scene.book.leaves[1].clone(), 3, 2);
    scene.serve_snapshot_proof(proof);
    let error = refused(scene.user().refresh());
    assert!(matches!(error, LogError::OtherTree { .. }), "{error}");
}

#[test]
fn a_proof_for_a_tree_beyond_the_snapshots_is_good_only_if_witnesses_saw_it() {
    for (of, expected) in [(2, None), (0, Some(LogError::Ahead { path: FILE.to_owned(), size: 3, head: 2 }))]
    {
        let mut scene = Scene::new(of);
        scene.book.leaves.push(file_leaf("six/six-3.0.tar.gz", b"three"));
        scene.serve_proof(FILE, scene.book.proof(&file_leaf(FILE, CONTENT), 3, 2));
        let outcome = scene.user().download(FILE);
        match expected {
            None => assert_eq!(outcome, Ok(true)),
            Some(ahead) => assert_eq!(refused(outcome), ahead),
        }
    }
}

#[test]
fn proofs_stay_good_while_the_log_grows() {
    let mut scene = Scene::new(2);
    let user = scene.user();
    let old = scene.book.proof(&file_leaf(FILE, CONTENT), 2, 2);
    scene.add("six/six-2.0.tar.gz", b"two");
    scene.release();
    scene.serve_proof(FILE, old);
    assert_eq!(inclusion(&user, FILE).unwrap().map(|place| place.size), Some(2));
}

#[test]
fn offline_what_is_kept_will_do_and_nothing_else() {
    let scene = Scene::new(2);
    let (user, path) = (scene.user(), TargetPath::new(FILE).unwrap());
    user.refresh().unwrap();
    let offline = async || {
        let session = user.client().offline(now()).await?;
        let proven = session.prove(&session.find(&path).await?).await?;
        Session::verify(&proven, &user.targets_dir().join(FILE)).map(|file| file.inclusion().is_some())
    };
    assert_eq!(refused(run(offline())), no_proof(FILE));
    assert_eq!(user.download(FILE), Ok(true));
    scene.repo.server.requests();
    assert_eq!(run(offline()), Ok(true));
    assert_eq!(scene.repo.server.requests(), [""; 0]);
    std::fs::remove_file(user.metadata_dir().join("log/snapshot")).unwrap();
    assert_eq!(refused(run(offline())), no_proof("snapshot 2"));
}

#[test]
fn what_is_kept_is_not_trusted_and_fetched_anew_if_it_does_not_hold() {
    let scene = Scene::new(2);
    let user = scene.user();
    user.download(FILE).unwrap();
    let log = user.metadata_dir().join("log");
    let kept: Vec<_> =
        walkdir::WalkDir::new(&log).into_iter().flatten().map(walkdir::DirEntry::into_path).collect();
    let kept: Vec<_> =
        kept.into_iter().filter(|path| path.is_file() && !path.starts_with(log.join("heads"))).collect();
    assert_eq!(kept.len(), 3, "policy, snapshot and one proof");
    for path in kept {
        std::fs::write(path, "damaged").unwrap();
    }
    assert!(inclusion(&user, FILE).unwrap().is_some());
}

#[test]
fn wrong_bytes_are_refused_as_ever_where_the_proof_is_right() {
    let scene = Scene::new(2);
    scene.repo.serve_file(FILE, &hex::encode(sha256(CONTENT)), b"a whale");
    let outcome = scene.user().download(FILE);
    assert!(matches!(outcome, Err(ClientError::File(FileError::WrongHash { .. }))), "{outcome:?}");
}
