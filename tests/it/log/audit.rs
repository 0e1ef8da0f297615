//! What an audit finds in logs that others wrote, read from anywhere.

use std::collections::BTreeMap;

use wheelseal::log::{Files, Reader};
use wheelseal::tlog::bundle;
use wheelseal::tlog::edge::Edge;
use wheelseal::tlog::leaf::{LogLeaf, Role, TufLeaf};
use wheelseal::tlog::merkle::Hash;

use super::*;

/// A log in memory, by a program that checks nothing.
#[derive(Debug, Default)]
struct Careless(BTreeMap<String, Vec<u8>>);

#[async_trait]
impl Files for Careless {
    async fn read(&self, path: &str, max: u64) -> Result<Option<Vec<u8>>, LogError> {
        let found = self.0.get(path).cloned();
        assert!(found.as_ref().is_none_or(|bytes| u64::try_from(bytes.len()).unwrap() <= max));
        Ok(found)
    }
}

/// The tree of these entries, fewer than 256, and its files.
fn careless(entries: &[String]) -> (Reader, Checkpoint) {
    let (mut edge, mut entries_file, mut files) = (Edge::default(), Vec::new(), BTreeMap::new());
    for entry in entries {
        assert!(edge.push(Hash::leaf(entry.as_bytes())).is_empty());
        bundle::push(&mut entries_file, entry.as_bytes()).unwrap();
    }
    for (id, bytes) in edge.partials() {
        files.insert(format!("log/{}", id.path()), bytes);
        files.insert(format!("log/{}", id.entries_path()), entries_file.clone());
    }
    let tree = Checkpoint::new(ORIGIN, edge.size(), edge.root()).unwrap();
    (Reader::new(Arc::new(Careless(files))), tree)
}

fn tuf(role: Role, version: u64) -> String {
    Leaf::Tuf(TufLeaf::new(role, version, 1, [1; 32]).unwrap()).to_string()
}

#[tokio::test]
async fn a_log_in_order_is_counted() {
    let last = Checkpoint::new("old.example.org/log", 9, Hash::leaf(b"x")).unwrap();
    let leaf = LogLeaf::new(&last).unwrap();
    let entries =
        [Leaf::Log(leaf.clone()).to_string(), text(1), tuf(Role::Snapshot, 3), tuf(Role::Root, 3), text(2)];
    let (reader, tree) = careless(&entries);
    let audit = reader.audit(&tree, &mut |_| {}).await.unwrap();
    assert_eq!((audit.files, audit.versions, audit.others), (2, 2, 1));
    assert_eq!(audit.continues, Some(leaf));
    let newest = [Role::Snapshot, Role::Root, Role::Targets].map(|role| audit.logged(role));
    assert_eq!(newest, [3, 3, 0]);
}

#[tokio::test]
async fn a_second_hash_for_a_path_is_found() {
    let other = FileLeaf::new(file(5).path(), "1.0", 9, [9; 32]).unwrap();
    let entries = [text(4), text(5), text(6), Leaf::File(other).to_string()];
    let (reader, tree) = careless(&entries);
    let path = file(5).path().to_owned();
    let twice = LogError::Twice { path, first: 1, second: 3 };
    assert_eq!(reader.audit(&tree, &mut |_| {}).await, Err(twice));
}

#[tokio::test]
async fn versions_that_do_not_rise_and_second_beginnings_are_found() {
    let (reader, tree) = careless(&[tuf(Role::Snapshot, 2), tuf(Role::Root, 1), tuf(Role::Snapshot, 2)]);
    let again = LogError::Again { role: Role::Snapshot, version: 2, newest: 2 };
    assert_eq!(reader.audit(&tree, &mut |_| {}).await, Err(again));

    let last = Checkpoint::new("old.example.org/log", 9, Hash::leaf(b"x")).unwrap();
    let (reader, tree) = careless(&[text(1), Leaf::Log(LogLeaf::new(&last).unwrap()).to_string()]);
    assert_eq!(reader.audit(&tree, &mut |_| {}).await, Err(LogError::NotFirst { index: 1 }));
}

#[tokio::test]
async fn an_entry_that_is_no_leaf_in_its_one_form_is_found() {
    let (reader, tree) = careless(&[text(1), text(2).replace(':', ": ")]);
    let refused = reader.audit(&tree, &mut |_| {}).await.unwrap_err();
    assert!(matches!(refused, LogError::Leaf { index: 1, .. }), "{refused}");
}

#[tokio::test]
async fn a_checkpoint_of_another_tree_is_refused() {
    let (reader, tree) = careless(&[text(1), text(2)]);
    let other = Checkpoint::new(ORIGIN, 2, Hash::leaf(b"x")).unwrap();
    let (found, expected) = (*tree.root(), *other.root());
    let refused = LogError::Root { size: 2, found, expected };
    assert_eq!(reader.audit(&other, &mut |_| {}).await, Err(refused.clone()));
    assert_eq!(reader.leaves(&other, 1, &mut |_, _| Ok(())).await, Err(refused));
    let more = Checkpoint::new(ORIGIN, 3, Hash::leaf(b"x")).unwrap();
    let path = "log/tile/entries/000.p/3".to_owned();
    assert_eq!(reader.audit(&more, &mut |_| {}).await, Err(LogError::Missing { path }));
}

#[tokio::test]
async fn a_log_that_continues_another_says_so_first() {
    let old = Scene::of(7).await;
    let last = old.log().await.reader().checkpoint().await.unwrap().unwrap();
    let leaf = LogLeaf::new(last.claimed()).unwrap();
    let scene = Scene::new();
    let log = scene.log().await;
    let head = log.create(ORIGIN, Some(&leaf)).await.unwrap();
    assert_eq!(head.size(), 1);
    log.append(&head, files(7..9)).await.unwrap();
    scene.publish(&log).await.unwrap();
    let (size, audit) = scene.audit().await.unwrap();
    assert_eq!((size, audit.files, audit.continues), (3, 2, Some(leaf)));
}

#[tokio::test]
async fn a_path_is_found_by_its_proof_or_by_reading_everything() {
    let scene = Scene::of(300).await;
    let log = scene.log().await;
    let checkpoint = log.reader().checkpoint().await.unwrap().unwrap();
    let leaf = file(270);
    for told in [None, Some(270), Some(3), Some(999)] {
        if let Some(index) = told {
            let (_, proof) = log.reader().prover(&checkpoint).leaf(270).await.unwrap();
            let proof = proof.to_string().replace("index 270", &format!("index {index}"));
            let path = scene.root().join(format!("targets/{}.tlog-proof", leaf.path()));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, proof).unwrap();
        }
        let (index, found, _) = log.reader().find(&checkpoint, leaf.path()).await.unwrap().unwrap();
        assert_eq!((index, found), (270, Leaf::File(leaf.clone())), "told {told:?}");
    }
    assert_eq!(log.reader().find(&checkpoint, "nobody/nobody-1.0.tar.gz").await, Ok(None));
}

#[tokio::test]
async fn leaves_come_with_proofs_some_at_a_time_and_a_changed_one_is_not_shown() {
    let scene = Scene::of(300).await;
    let log = scene.log().await;
    let checkpoint = log.reader().checkpoint().await.unwrap().unwrap();
    let policy = format!("log {}\nquorum none\n", scene.signer.key);
    let policy = wheelseal::tlog::policy::Policy::parse(policy.as_bytes()).unwrap();
    let (mut prover, mut next) = (log.reader().prover(&checkpoint), 250);
    for count in [40, 10, 0] {
        let found = prover.leaves(next, 40).await.unwrap();
        assert_eq!(found.len(), count);
        for (index, leaf, proof) in found {
            assert_eq!((index, &leaf), (next, &Leaf::File(file(next))));
            proof.verify(leaf.to_string().as_bytes(), &policy).unwrap();
            next += 1;
        }
    }
    let path = scene.root().join("log/tile/entries/001.p/44");
    let mut bytes = std::fs::read(&path).unwrap();
    let name = b"project_270-1.0";
    let at = bytes.windows(name.len()).position(|bytes| bytes == name).unwrap();
    bytes[at + name.len() - 1] = b'6';
    std::fs::write(&path, bytes).unwrap();
    let refused = log.reader().prover(&checkpoint).leaves(268, 4).await.unwrap_err();
    let problem = "entry 270 is not what the tile beside it says".to_owned();
    assert_eq!(refused, LogError::Damaged { path: "log/tile/entries/001.p/44".to_owned(), problem });
}
