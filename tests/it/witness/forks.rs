//! Logs that show two trees, and thieves of log keys: refused, and where it proves something by itself, kept.

use std::fs;
use std::path::PathBuf;

use wheelseal::tlog::checkpoint::SignedCheckpoint;
use wheelseal::tlog::witness::AddCheckpoint;
use wheelseal::witness::MAX_FORKS;

use super::{Log, ORIGIN, Scene};

fn kept(scene: &Scene) -> Vec<PathBuf> {
    let files =
        walkdir::WalkDir::new(scene.folder.path()).into_iter().map(|entry| entry.unwrap().into_path());
    files.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("fork-")).collect()
}

#[tokio::test]
async fn a_fork_is_refused_and_both_trees_of_one_size_are_kept_for_anybody_to_check() {
    let log = Log::new(ORIGIN, 20);
    let fork = log.forked(3);
    let scene = Scene::new(&log).await;
    let witness = scene.witness().await;
    assert_eq!(witness.answer(log.request(0, 9).as_bytes()).await.status, 200);
    // Whatever the thief of the key tries from here on.
    for (old, new, status) in [(9, 9, 422), (0, 9, 409), (9, 20, 422), (0, 20, 409), (3, 9, 409), (9, 4, 400)]
    {
        let request = AddCheckpoint::new(old, fork.proof(old, new), fork.checkpoint(new)).to_string();
        let answer = witness.answer(request.as_bytes()).await;
        assert_eq!(answer.status, status, "{old} to {new}: {}", answer.body);
    }
    let files = kept(&scene);
    assert_eq!(files.len(), 1);
    let evidence = fs::read_to_string(&files[0]).unwrap();
    let (_, rest) = evidence.split_once("==== the one that was cosigned before ====\n").unwrap();
    let (ours, theirs) = rest.split_once("==== the one that was offered then ====\n").unwrap();
    let keys = log.pair.known();
    let [ours, theirs] = [ours, theirs].map(|text| SignedCheckpoint::parse(text.as_bytes()).unwrap());
    let (ours, theirs) = (ours.verify(&keys).unwrap().0, theirs.verify(&keys).unwrap().0);
    assert_eq!((ours.origin(), ours.size()), (theirs.origin(), theirs.size()));
    assert_ne!(ours.root(), theirs.root());
    let told = scene.told();
    assert_eq!(told.len(), 1);
    assert!(told[0].contains(&format!("log {ORIGIN:?} signed two trees of 9 leaves")), "{told:?}");
    let latest = witness.folder().latest(ORIGIN).await.unwrap().unwrap();
    assert_eq!(*latest.checkpoint().root(), log.root(9));
}

#[tokio::test]
async fn what_somebody_else_sends_with_a_wrong_proof_is_not_held_against_the_log() {
    let log = Log::new(ORIGIN, 20);
    let scene = Scene::new(&log).await;
    let witness = scene.witness().await;
    witness.answer(log.request(0, 9).as_bytes()).await;
    let request = AddCheckpoint::new(9, Vec::new(), log.checkpoint(20)).to_string();
    assert_eq!(witness.answer(request.as_bytes()).await.status, 422);
    // Nor what was signed by nobody.
    let request = Log::new(ORIGIN, 9).forked(0).request(9, 9);
    assert_eq!(witness.answer(request.as_bytes()).await.status, 403);
    assert_eq!(kept(&scene), [""; 0].map(PathBuf::from));
}

#[tokio::test]
async fn a_thief_of_a_log_key_cannot_fill_the_disk() {
    let log = Log::new(ORIGIN, 9);
    let scene = Scene::new(&log).await;
    let witness = scene.witness().await;
    witness.answer(log.request(0, 9).as_bytes()).await;
    for at in 0..MAX_FORKS + 5 {
        let mut fork = log.forked(0);
        for _ in 0..at {
            fork = fork.forked(0);
        }
        assert_eq!(witness.answer(fork.request(9, 9).as_bytes()).await.status, 422);
        assert_eq!(witness.answer(fork.request(9, 9).as_bytes()).await.status, 422);
    }
    assert_eq!((kept(&scene).len(), scene.told().len()), (MAX_FORKS, MAX_FORKS));
}
