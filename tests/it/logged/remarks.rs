//! What is logged between commits has its proof at once, and commits go on from there.

use wheelseal::repository::{Predecessor, Remark};
use wheelseal::tlog::leaf::{CommitmentLeaf, ConflictLeaf, FileLeaf, Leaf, Source};

use super::{ORIGIN, assert_logged, begun, leaves, log_keys, logging, new_log};
use crate::scene::{Scene, wheel_name};

#[tokio::test]
async fn remarks_are_logged_proven_and_followed_by_commits() {
    let scene = begun().await;
    let before = leaves(&scene).await.len();
    let path = format!("alpha/{}", wheel_name("alpha", "1.0"));
    let file = FileLeaf::new(&path, "1.0", 7, [7; 32]).unwrap();
    let conflict = ConflictLeaf { file, source: Source::Index };
    let commitment = CommitmentLeaf { sha256: [9; 32] };
    let remarks = [Remark::Commitment(commitment), Remark::Conflict(conflict.clone())];
    let proofs = scene.open().await.remark(&log_keys().await, &remarks).await.unwrap().unwrap();
    let expected = [Leaf::Commitment(commitment), Leaf::Conflict(conflict)];
    assert_eq!(leaves(&scene).await[before..], expected);
    let policy = new_log("log", ORIGIN, Predecessor::Nothing).await.policy;
    assert_eq!(proofs.len(), 2);
    for ((number, proof), leaf) in (before..).zip(&proofs).zip(&expected) {
        assert_eq!(usize::try_from(proof.index()).unwrap(), number);
        proof.verify(leaf.to_string().as_bytes(), policy.policy()).unwrap();
    }
    logging(&scene, &[scene.add("gamma", "1.0", "x = 3")]).await.unwrap();
    assert_eq!(assert_logged(&scene).await.len(), before + 5, "and a wheel, its metadata, a snapshot");
    scene.assert_sound("after remarks").await;
}

#[tokio::test]
async fn without_a_log_nothing_is_remarked() {
    let scene = Scene::new().await;
    let remarks = [Remark::Commitment(CommitmentLeaf { sha256: [9; 32] })];
    assert_eq!(scene.open().await.remark(&log_keys().await, &remarks).await, Ok(None));
}
