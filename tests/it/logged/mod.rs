//! Repositories with a transparency log: nothing is published that is not logged first.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a log that cannot be read is a test that failed"
)]

mod backup;
mod cli;
mod crash;
mod gc;
mod many;
mod policy;
mod publish;
mod remarks;
mod rounds;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wheelseal::crypto::sha256;
use wheelseal::keys::{self, Ask, KeyUri, Signer};
use wheelseal::log::{Log, Unwitnessed};
use wheelseal::repository::{
    Begun, Edit, Keyring, LogPolicy, NewLog, Predecessor, Published, RepositoryError, Unwatched,
};
use wheelseal::tlog::key::{KeyKind, KeyName, VerifierKey};
use wheelseal::tlog::leaf::{FileLeaf, Leaf, Role, TufLeaf};
use wheelseal::tlog::proof_file::ProofFile;

use crate::scene::{ONLINE, Scene, example, keyring, now};

pub(crate) const ORIGIN: &str = "index.example/log";

pub(crate) async fn signer(name: &str) -> Box<dyn Signer> {
    keys::open(&KeyUri::File(example(name)), &Ask).await.unwrap()
}

async fn verifier(name: &str, origin: &str) -> VerifierKey {
    let signer = signer(name).await;
    let wheelseal::crypto::PublicKey::Ed25519(bytes) = signer.key().public().unwrap() else { panic!() };
    VerifierKey::new(KeyName::new(origin).unwrap(), KeyKind::Log, *bytes)
}

pub(crate) async fn new_log(key: &str, origin: &str, after: Predecessor) -> NewLog {
    let text = format!("log {}\nquorum none\n", verifier(key, origin).await);
    let policy = LogPolicy::parse(text.as_bytes()).unwrap();
    NewLog { policy, key: format!("file:{}", example(key).display()), after }
}

/// The online keys, and the log's.
pub(crate) async fn log_keys() -> Keyring {
    let mut keys = keyring(&ONLINE).await;
    keys.set_log(signer("log").await, Arc::new(Unwitnessed));
    keys
}

pub(crate) async fn begin(scene: &Scene, after: Predecessor, origin: &str) -> Result<Begun, RepositoryError> {
    let new = new_log("log", origin, after).await;
    scene.open().await.begin_log(&log_keys().await, &new, now()).await
}

/// A repository with two projects and a log.
pub(crate) async fn begun() -> Scene {
    let scene = Scene::new().await;
    scene.publish(&[scene.add("alpha", "1.0", "x = 1"), scene.add("beta", "1.0", "x = 2")]).await.unwrap();
    begin(&scene, Predecessor::Nothing, ORIGIN).await.unwrap();
    scene
}

pub(crate) async fn logging(scene: &Scene, edits: &[Edit]) -> Result<Published, RepositoryError> {
    scene.open().await.publish(&log_keys().await, edits, now(), &Unwatched).await
}

/// All leaves of the log, by its head.
pub(crate) async fn leaves(scene: &Scene) -> Vec<Leaf> {
    let log = Log::new(scene.store().await);
    let head = log.head().await.unwrap().unwrap();
    let mut leaves = Vec::new();
    log.leaves(&head, 0, &mut |_, leaf| {
        leaves.push(leaf);
        Ok(())
    })
    .await
    .unwrap();
    leaves
}

/// Everything that clients will ask: each file and the snapshot in the tree that timestamp names, by static files; no path
/// and no version twice. Returns the leaves.
pub(crate) async fn assert_logged(scene: &Scene) -> Vec<Leaf> {
    let (repository, files) = (scene.open().await, scene.files());
    let state = repository.state().await.unwrap();
    let named = state.timestamp.log.clone().unwrap();
    let key = verifier("log", &named.origin).await;
    let policy = LogPolicy::parse(format!("log {key}\nquorum none\n").as_bytes()).unwrap();
    let version = state.snapshot.common.version;
    let bytes = &files[&format!("metadata/{version}.snapshot.json")];
    let length = u64::try_from(bytes.len()).unwrap();
    let leaf = Leaf::Tuf(TufLeaf::new(Role::Snapshot, version, length, sha256(bytes)).unwrap());
    let proof = &files[&format!("metadata/{version}.snapshot.json.tlog-proof")];
    let accepted =
        ProofFile::parse(proof).unwrap().verify(leaf.to_string().as_bytes(), policy.policy()).unwrap();
    let tree = accepted.checkpoint();
    assert_eq!((tree.origin(), tree.size()), (&*named.origin, named.size));
    assert_eq!(tree.root().as_bytes(), &named.root_hash);
    for (path, bytes) in &files {
        let Some(path) = path.strip_prefix("targets/").filter(|path| !path.ends_with(".tlog-proof")) else {
            continue;
        };
        let hashed = path.rsplit('/').next().unwrap().split('.').next().unwrap().len() == 64;
        let length = u64::try_from(bytes.len()).unwrap();
        if hashed || path.starts_with("simple/") || path == "tlog-policy" {
            continue;
        }
        let Some(leaf) = FileLeaf::of_target(path, length, sha256(bytes)).unwrap() else { continue };
        let proof = ProofFile::parse(&files[&format!("targets/{path}.tlog-proof")]).unwrap();
        let accepted = proof.verify(Leaf::File(leaf).to_string().as_bytes(), policy.policy()).unwrap();
        assert!(accepted.checkpoint().size() <= named.size, "{path}");
    }
    let leaves = leaves(scene).await;
    let (mut paths, mut versions) = (BTreeSet::new(), BTreeMap::<_, u64>::new());
    for leaf in &leaves {
        match leaf {
            Leaf::File(leaf) => assert!(paths.insert(leaf.path().to_owned()), "{} twice", leaf.path()),
            Leaf::Tuf(leaf) => {
                let before = versions.insert(leaf.role(), leaf.version());
                assert!(before.is_none_or(|before| before < leaf.version()), "{leaf:?}");
            }
            _ => {}
        }
    }
    leaves
}
