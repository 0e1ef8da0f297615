//! What a log refuses: stores that lie, backups that are old, keys that are not its own, witnesses who know better.

use wheelseal::log::{ConsistencyProofs, CosignError, Cosigners};
use wheelseal::store::StorePath;
use wheelseal::tlog::key::KnownKeys;
use wheelseal::tlog::merkle::Hash;
use wheelseal::tlog::policy::Policy;
use wheelseal::tlog::proof::check_consistency;

use super::*;

#[tokio::test]
async fn a_flipped_bit_in_any_file_of_the_log_is_seen_before_anything_is_built_on_it() {
    let scene = Scene::of(300).await;
    let store = scene.store().await;
    let files_of_log = store.list("log/tile").await.unwrap();
    // Two tiles and two bundles of level 0, and one tile of level 1.
    assert_eq!(files_of_log.len(), 5);
    for entry in files_of_log {
        let path = scene.root().join(entry.path.as_str());
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        *bad.last_mut().unwrap() ^= 1;
        std::fs::write(&path, &bad).unwrap();
        let refused = scene.audit().await.unwrap_err();
        assert!(
            matches!(refused, LogError::Damaged { .. } | LogError::Leaf { .. } | LogError::Root { .. }),
            "{path:?}: {refused}"
        );
        // What is not read for an append cannot spoil it; what is, does.
        let log = scene.log().await;
        let head = log.head().await.unwrap().unwrap();
        let read = ["log/tile/0/001.p/44", "log/tile/entries/001.p/44", "log/tile/1/000.p/1"];
        if read.contains(&entry.path.as_str()) {
            let refused = log.append(&head, files(300..301)).await.unwrap_err();
            assert!(
                matches!(refused, LogError::Damaged { .. } | LogError::Root { .. }),
                "{path:?}: {refused}"
            );
            assert_eq!(log.head().await.unwrap().unwrap(), head);
        }
        std::fs::write(&path, &good).unwrap();
    }
    assert_eq!(scene.audit().await.unwrap().0, 300);
}

#[tokio::test]
async fn a_tile_of_a_longer_log_than_the_head_knows_is_not_overwritten() {
    let scene = Scene::of(3).await;
    let path = scene.root().join("log/tile/0/000.p/4");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, [7; 128]).unwrap();
    let log = scene.log().await;
    let head = log.head().await.unwrap().unwrap();
    let refused = log.append(&head, files(3..4)).await.unwrap_err();
    let problem = "it is there already, with other bytes than the log's head leads to".to_owned();
    assert_eq!(refused, LogError::Damaged { path: "log/tile/0/000.p/4".to_owned(), problem });
    assert!(scene.publish(&log).await.is_err(), "nothing is signed for it");
}

#[tokio::test]
async fn a_head_from_an_old_backup_is_neither_appended_to_nor_signed() {
    let scene = Scene::of(3).await;
    let old = std::fs::read(scene.root().join("log/head")).unwrap();
    let log = scene.log().await;
    log.append(&log.head().await.unwrap().unwrap(), files(3..5)).await.unwrap();
    scene.publish(&log).await.unwrap();
    std::fs::write(scene.root().join("log/head"), old).unwrap();

    let log = scene.log().await;
    let head = log.head().await.unwrap().unwrap();
    let behind = LogError::Behind { size: 3, known: 5 };
    assert_eq!(log.append(&head, files(9..10)).await, Err(behind.clone()));
    assert_eq!(scene.publish(&log).await, Err(behind));
    assert_eq!(scene.audit().await.unwrap().0, 5, "what was signed for is still there");
}

#[tokio::test]
async fn a_log_that_was_there_is_not_begun_anew_when_its_head_is_lost() {
    let scene = Scene::of(3).await;
    std::fs::remove_file(scene.root().join("log/head")).unwrap();
    let log = scene.log().await;
    assert_eq!(log.head().await, Ok(None));
    assert_eq!(log.create(ORIGIN, None).await, Err(LogError::Exists { path: "log/checkpoint" }));
    assert_eq!(scene.publish(&log).await, Err(LogError::None));
}

#[tokio::test]
async fn a_checkpoint_never_goes_back_and_never_to_another_tree() {
    let scene = Scene::of(3).await;
    let log = scene.log().await;
    let old = log.reader().checkpoint().await.unwrap().unwrap();
    log.append(&log.head().await.unwrap().unwrap(), files(3..5)).await.unwrap();
    let new = scene.publish(&log).await.unwrap();
    log.publish(&old).await.unwrap();
    assert_eq!(log.reader().checkpoint().await.unwrap().unwrap(), new);

    let other = Checkpoint::new(ORIGIN, 5, Hash::leaf(b"another tree")).unwrap();
    let signature = scene.signer.sign(other.to_string().as_bytes());
    let other = SignedCheckpoint::sign(other, &scene.signer.key, &signature).unwrap();
    assert!(matches!(log.publish(&other).await, Err(LogError::Forked { size: 5, .. })));
    // It lies there all the same: the key signs nothing beside it.
    std::fs::write(scene.root().join("log/checkpoint"), other.to_string()).unwrap();
    assert!(matches!(scene.publish(&scene.log().await).await, Err(LogError::Forked { size: 5, .. })));
}

#[tokio::test]
async fn a_key_of_another_name_or_kind_does_not_sign() {
    let scene = Scene::of(3).await;
    let log = scene.log().await;
    for signer in [Signer::new("other.example.org/log", KeyKind::Log), Signer::new(ORIGIN, KeyKind::Witness)]
    {
        let key = signer.key.name().to_string();
        let wrong = LogError::WrongKey { key, origin: ORIGIN.to_owned() };
        assert_eq!(log.sign(&signer, &Unwitnessed).await.unwrap_err(), wrong);
    }
}

/// A witness that knew the log at this size, or is down, or puts another checkpoint in place of the one it got.
struct Witness {
    signer: Signer,
    knows: Option<Checkpoint>,
    gives: Option<SignedCheckpoint>,
}

#[async_trait]
impl Cosigners for Witness {
    async fn cosign(
        &self,
        mut checkpoint: SignedCheckpoint,
        proofs: &dyn ConsistencyProofs,
    ) -> Result<SignedCheckpoint, CosignError> {
        if let Some(other) = &self.gives {
            return Ok(other.clone());
        }
        let Some(old) = &self.knows else {
            return Err(CosignError::NoQuorum { problems: vec!["w1 does not answer".to_owned()] });
        };
        let (known, size, witness) = (old.size(), checkpoint.claimed().size(), "w1".to_owned());
        if known > size {
            return Err(CosignError::Larger { witness, known, size });
        }
        let hashes = proofs.from(known).await.unwrap();
        let proved = check_consistency(known, size, &hashes, old.root(), checkpoint.claimed().root());
        proved.map_err(|error| CosignError::Conflict { witness, problem: error.to_string() })?;
        let signature = self.signer.sign(checkpoint.cosignature_message(7).as_bytes());
        let line = checkpoint.cosignature(&self.signer.key, 7, &signature).unwrap();
        checkpoint.merge(vec![line], &KnownKeys::new(vec![self.signer.key.clone()]).unwrap()).unwrap();
        Ok(checkpoint)
    }
}

#[tokio::test]
async fn a_checkpoint_waits_for_its_witnesses_and_never_replaces_what_they_saw() {
    let scene = Scene::of(3).await;
    let log = scene.log().await;
    let three = log.reader().checkpoint().await.unwrap().unwrap();
    let mut head = log.head().await.unwrap().unwrap();
    head = log.append(&head, files(3..300)).await.unwrap();
    let mut witness =
        Witness { signer: Signer::new("w1.example.org", KeyKind::Witness), knows: None, gives: None };

    let down = CosignError::NoQuorum { problems: vec!["w1 does not answer".to_owned()] };
    assert_eq!(log.sign(&scene.signer, &witness).await.unwrap_err(), LogError::Cosign(down));
    assert_eq!(log.reader().checkpoint().await.unwrap().unwrap(), three, "nothing was published");

    witness.knows = Some(three.claimed().clone());
    let policy = format!("log {}\nwitness w1 {}\nquorum w1\n", scene.signer.key, witness.signer.key);
    let policy = Policy::parse(policy.as_bytes()).unwrap();
    let (signed_head, cosigned) = log.sign(&scene.signer, &witness).await.unwrap();
    assert_eq!(signed_head, head);
    assert_eq!(policy.check(&cosigned).unwrap().cosigned(), [("w1".to_owned(), 7)]);

    witness.knows = Some(Checkpoint::new(ORIGIN, 301, Hash::leaf(b"more than we know")).unwrap());
    let larger = CosignError::Larger { witness: "w1".to_owned(), known: 301, size: 300 };
    assert_eq!(log.sign(&scene.signer, &witness).await.unwrap_err(), LogError::Cosign(larger));

    witness.knows = Some(Checkpoint::new(ORIGIN, 3, Hash::leaf(b"another history")).unwrap());
    let refused = log.sign(&scene.signer, &witness).await.unwrap_err();
    assert!(matches!(refused, LogError::Cosign(CosignError::Conflict { .. })), "{refused}");

    witness.gives = Some(three);
    let refused = log.sign(&scene.signer, &witness).await.unwrap_err();
    assert_eq!(refused.to_string(), "the log's key cannot sign: the witnesses cosigned another checkpoint");
}

#[tokio::test]
async fn a_head_that_is_none_is_named() {
    let scene = Scene::of(3).await;
    let good = std::fs::read_to_string(scene.root().join("log/head")).unwrap();
    let path = StorePath::new("log/head").unwrap();
    for (from, to, says) in [
        ("{\"format\":1", "{\"format\":2", "log/head is of format 2, expected 1: a newer wheelseal wrote it"),
        (
            "\"size\":3",
            "\"size\":4",
            "tail in log/head is not the entries of the last append, or their hashes",
        ),
        ("\"from\":0", "\"from\":9", "from in log/head is not a size before this one"),
        (
            "\"origin\":\"index",
            "\"origin\":\"\\nindex",
            "log/head: the origin of a checkpoint has 22 bytes, expected 1 to 255, and no control characters",
        ),
    ] {
        assert!(good.contains(from), "{good}");
        std::fs::write(scene.root().join(path.as_str()), good.replacen(from, to, 1)).unwrap();
        assert_eq!(scene.log().await.head().await.unwrap_err().to_string(), says);
    }
    // Entries other than those that were hashed.
    let changed = good.replacen("project_1-1.0", "project_1-6.6", 1);
    std::fs::write(scene.root().join(path.as_str()), changed).unwrap();
    std::fs::remove_file(scene.root().join("log/checkpoint")).unwrap();
    let log = scene.log().await;
    let refused = log.append(&log.head().await.unwrap().unwrap(), files(3..4)).await.unwrap_err();
    assert!(matches!(refused, LogError::Root { size: 3, .. }), "{refused}");
}
