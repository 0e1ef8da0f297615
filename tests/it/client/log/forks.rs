//! A log that shows one client another history than before: refused, with evidence.

use std::path::Path;

use wheelseal::client::{ClientError, Contradiction, Growth, LogError};
use wheelseal::tlog::tile::TileError;

use super::*;
use crate::simulator::{now, run};

/// The checkpoints of an evidence file, by who reads it without knowing wheelseal.
fn checkpoints(path: &str) -> [SignedCheckpoint; 2] {
    let text = std::fs::read_to_string(path).unwrap();
    ["FIRST", "SECOND"].map(|which| {
        let begin = format!("-----BEGIN {which} CHECKPOINT-----\n");
        let (_, rest) = text.split_once(&begin).unwrap();
        let (note, _) = rest.split_once(&format!("-----END {which} CHECKPOINT-----\n")).unwrap();
        SignedCheckpoint::parse(note.as_bytes()).unwrap()
    })
}

/// The evidence of a fork, whose checkpoints the log has both signed.
fn evidence(scene: &Scene, error: LogError) -> (Contradiction, [Checkpoint; 2]) {
    let LogError::Fork { origin, what, evidence } = error else { panic!("{error}") };
    assert_eq!(origin, ORIGIN);
    let keys = KnownKeys::new(vec![scene.book.log.key.clone()]).unwrap();
    let both = checkpoints(&evidence).map(|signed| signed.verify(&keys).unwrap().0.clone());
    let text = std::fs::read_to_string(&evidence).unwrap();
    let timestamp = String::from_utf8(scene.repo.server.bytes("timestamp.json")).unwrap();
    assert!(text.contains(&timestamp), "the timestamp is in it as it was signed");
    (what, both)
}

/// The log of the scene, rewritten from its first leaf on.
fn rewrite(scene: &mut Scene, more: usize) {
    scene.book.leaves = vec![file_leaf(FILE, CONTENT); 1];
    for number in 0..more {
        scene.book.leaves.push(file_leaf("six/six-9.9.tar.gz", number.to_string().as_bytes()));
    }
    scene.release();
}

#[test]
fn another_tree_of_the_same_size_is_refused_with_evidence() {
    let mut scene = Scene::new(2);
    scene.add("six/six-2.0.tar.gz", b"two");
    scene.release();
    let user = scene.user();
    user.refresh().unwrap();
    rewrite(&mut scene, 2);
    let (what, [before, now]) = evidence(&scene, refused(user.refresh()));
    assert_eq!(what, Contradiction::OtherRoot { size: 4 });
    assert_eq!((before.size(), now.size()), (4, 4));
    assert_ne!(before.root(), now.root());
    assert_eq!(scene.user().refresh(), Ok(()), "who never saw the other one cannot know");
    refused(user.refresh());
}

#[test]
fn a_smaller_tree_is_refused_with_evidence() {
    let mut scene = Scene::new(2);
    scene.add("six/six-2.0.tar.gz", b"two");
    scene.release();
    let user = scene.user();
    user.refresh().unwrap();
    rewrite(&mut scene, 0);
    let (what, [before, now]) = evidence(&scene, refused(user.refresh()));
    assert_eq!(what, Contradiction::Smaller { before: 4, now: 2 });
    assert_eq!((before.size(), now.size()), (4, 2));
}

#[test]
fn a_larger_tree_that_does_not_continue_the_one_before_is_refused_where_no_witness_looks() {
    let mut scene = Scene::new(0);
    let user = scene.user();
    user.refresh().unwrap();
    rewrite(&mut scene, 5);
    let (what, [before, now]) = evidence(&scene, refused(user.refresh()));
    assert_eq!(what, Contradiction::NotGrown { before: 2, now: 7 });
    assert_eq!((before.size(), now.size()), (2, 7));
}

#[test]
fn without_witnesses_growth_is_checked_by_tiles_across_their_borders() {
    let mut scene = Scene::new(0);
    let user = scene.user();
    user.refresh().unwrap();
    for target in [255, 256, 257, 600] {
        while scene.book.size() < target - 1 {
            scene.book.leaves.push(file_leaf("six/six-9.9.tar.gz", &scene.book.size().to_be_bytes()));
        }
        scene.release();
        scene.repo.server.requests();
        assert_eq!(user.refresh(), Ok(()), "{target}");
        let tiles = scene.repo.server.requests().into_iter().filter(|path| path.starts_with("log/")).count();
        assert!((1..=6).contains(&tiles), "{tiles}");
    }
}

#[test]
fn a_partial_tile_that_has_gone_is_read_from_the_full_one() {
    let mut scene = Scene::new(0);
    let user = scene.user();
    user.refresh().unwrap();
    scene.add("six/six-2.0.tar.gz", b"two");
    scene.release();
    let tile = scene.repo.server.target("../log/tile/0/000.p/4");
    assert_eq!(tile, None);
    let full: Vec<u8> = scene.book.edge(4).1["tile/0/000.p/4"].iter().copied().chain([0; 252 * 32]).collect();
    scene.repo.server.forget("log/tile/0/000.p/4");
    scene.repo.server.set("log/tile/0/000", Answer::Bytes(full));
    assert_eq!(user.refresh(), Ok(()));
}

#[test]
fn without_witnesses_and_without_tiles_the_client_does_not_go_on() {
    let mut scene = Scene::new(0);
    let mut user = scene.user();
    user.refresh().unwrap();
    scene.add("six/six-2.0.tar.gz", b"two");
    scene.release();
    scene.repo.server.forget("log/tile/0/000.p/4");
    let missing = TileError::Missing { path: "tile/0/000".to_owned() };
    let problem = Growth::Tile(missing);
    assert_eq!(refused(user.refresh()), LogError::NoGrowth { old: 2, new: 4, problem });
    user.log.tiles = None;
    let nowhere = LogError::NoGrowth { old: 2, new: 4, problem: Growth::Nowhere };
    assert_eq!(refused(user.refresh()), nowhere.clone());
    let offline = run(async { user.client().offline(now()).await.map(drop) });
    assert_eq!(refused(offline), nowhere);
}

#[test]
fn without_witnesses_a_file_proven_in_a_smaller_tree_of_another_history_is_evidence() {
    let mut scene = Scene::new(0);
    scene.add("six/six-2.0.tar.gz", b"two");
    scene.release();
    let user = scene.user();
    user.refresh().unwrap();
    let mut other = Book::new(ORIGIN, 100);
    other.leaves = vec![file_leaf("six/six-9.9.tar.gz", b"hidden"), file_leaf(FILE, CONTENT)];
    let honest = scene.book.proof(&file_leaf(FILE, CONTENT), 2, 0);
    scene.serve_proof(FILE, other.proof(&file_leaf(FILE, CONTENT), 2, 0));
    let (what, [before, now]) = evidence(&scene, refused(user.download(FILE)));
    assert_eq!(what, Contradiction::NotGrown { before: 2, now: 4 });
    assert_eq!((before.size(), now.size()), (2, 4));
    scene.serve_proof(FILE, honest);
    assert_eq!(user.download(FILE), Ok(true));
}

#[test]
fn a_mirror_with_a_bad_tile_does_not_make_a_fork_of_it() {
    let mut scene = Scene::new(0);
    let user = scene.user();
    user.refresh().unwrap();
    scene.add("six/six-2.0.tar.gz", b"two");
    scene.release();
    let good = scene.book.edge(4).1["tile/0/000.p/4"].clone();
    let serve = |bytes: Vec<u8>| scene.repo.server.set(&format!("{LOG}tile/0/000.p/4"), Answer::Bytes(bytes));
    for at in [70, 100] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        serve(bad);
        let error = refused(user.refresh());
        assert!(matches!(error, LogError::NoGrowth { old: 2, new: 4, .. }), "{error}");
    }
    serve(good);
    assert_eq!(user.refresh(), Ok(()));
}

#[test]
fn a_file_proven_in_another_tree_of_the_same_size_is_evidence() {
    let mut scene = Scene::new(2);
    let user = scene.user();
    user.refresh().unwrap();
    let mine = scene.book.leaves.clone();
    scene.book.leaves = vec![file_leaf("six/six-9.9.tar.gz", b"evil"), file_leaf(FILE, CONTENT)];
    scene.serve_proof(FILE, scene.book.proof(&file_leaf(FILE, CONTENT), 2, 2));
    scene.book.leaves = mine;
    let (what, [one, other]) = evidence(&scene, refused(user.download(FILE)));
    assert_eq!(what, Contradiction::OtherRoot { size: 2 });
    assert_ne!(one.root(), other.root());
}

#[test]
fn the_head_is_remembered_after_all_checks_and_never_a_smaller_one() {
    let mut scene = Scene::new(2);
    let user = scene.user();
    user.refresh().unwrap();
    let head = user.metadata_dir().join("log").join("heads").join(hex::encode(sha256(ORIGIN.as_bytes())));
    let kept = || SignedCheckpoint::parse(&std::fs::read(&head).unwrap()).unwrap().claimed().size();
    assert_eq!(kept(), 2);
    scene.add("six/six-2.0.tar.gz", b"two");
    scene.cosigned = 1;
    scene.release();
    refused(user.refresh());
    assert_eq!(kept(), 2, "too few witnesses");
    scene.cosigned = 2;
    scene.sign();
    assert_eq!(user.refresh(), Ok(()));
    assert_eq!(kept(), 4);
}

#[test]
fn a_damaged_head_is_said_and_never_reset() {
    let scene = Scene::new(2);
    let user = scene.user();
    user.refresh().unwrap();
    let head = user.metadata_dir().join("log").join("heads").join(hex::encode(sha256(ORIGIN.as_bytes())));
    let whole = std::fs::read_to_string(&head).unwrap();
    let long = "x".repeat(140_000);
    for damaged in ["", "nonsense", &whole.replace("\n2\n", "\n1\n"), &whole.replace("/one", "/two"), &long] {
        std::fs::write(&head, damaged).unwrap();
        let error = refused(user.refresh());
        assert!(
            matches!(&error, LogError::Memory { path, .. } if *path == head.display().to_string()),
            "{error}"
        );
        assert_eq!(std::fs::read_to_string(&head).unwrap(), damaged);
    }
    std::fs::write(&head, whole).unwrap();
    assert_eq!(user.refresh(), Ok(()));
}

#[test]
fn a_head_that_other_keys_signed_before_the_policy_changed_still_counts() {
    let mut scene = Scene::new(2);
    scene.add("six/six-2.0.tar.gz", b"two");
    scene.release();
    let user = scene.user();
    user.refresh().unwrap();
    scene.book.witnesses =
        [103, 104].map(|seed| Voice::new(&format!("w{seed}.example"), KeyKind::Witness, seed)).into();
    scene.set_policy(&scene.book.policy(2));
    rewrite(&mut scene, 0);
    let error = user.refresh();
    assert!(
        matches!(error, Err(ClientError::Log(LogError::Fork { what: Contradiction::Smaller { .. }, .. }))),
        "{error:?}"
    );
    let LogError::Fork { evidence, .. } = refused(error) else { unreachable!("it is one") };
    assert!(Path::new(&evidence).starts_with(user.metadata_dir().join("log/evidence")));
}

#[test]
fn junk_in_the_name_of_a_witness_that_is_known_later_is_not_remembered_and_stops_nobody() {
    let mut scene = Scene::new(1);
    let user = scene.user();
    // A mirror adds a line of a witness that no policy has yet: its name and key are public, its signature is not this.
    let later = Voice::new("w103.example", KeyKind::Witness, 103);
    let (own, other) = (scene.book.checkpoint(2, 0), scene.book.checkpoint(1, 0));
    let signature = later.sign(&other.cosignature_message(TIME));
    let mut junk = other;
    let line = junk.cosignature(&later.key, TIME, &signature).unwrap().to_string();
    junk.keep(&KnownKeys::default());
    let proof = scene.book.proof(&scene.snapshot_leaf(), 2, 1);
    assert!(proof.contains(&own.to_string()));
    scene.serve_snapshot_proof(format!("{proof}{line}\n"));
    user.refresh().unwrap();
    let head = user.metadata_dir().join("log").join("heads").join(hex::encode(sha256(ORIGIN.as_bytes())));
    let kept = std::fs::read_to_string(&head).unwrap();
    assert!(kept.contains("w101.example") && !kept.contains("w103.example"), "{kept}");
    // As it was kept before: the line is there, and the witness joins.
    std::fs::write(&head, format!("{kept}{line}\n")).unwrap();
    scene.book.witnesses = vec![scene.book.witnesses.remove(0), later];
    scene.set_policy(&scene.book.policy(2));
    scene.cosigned = 2;
    scene.release();
    assert_eq!(user.refresh(), Ok(()));
}
