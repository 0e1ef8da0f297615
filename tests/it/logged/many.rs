//! Many publications and many files at once, with a log.

use std::sync::Arc;

use wheelseal::repository::{Edit, Layout, LoggingError, Publisher, RepositoryError, Run, Unwatched};
use wheelseal::tlog::leaf::{FileLeaf, Leaf};
use wheelseal::tlog::proof_file::ProofFile;

use super::{ORIGIN, assert_logged, begun, leaves, log_keys, logging, new_log};
use crate::bulk::list_of;
use crate::scene::{Scene, now, wheel_name};

#[tokio::test]
async fn a_second_content_refuses_its_publication_and_not_the_group_that_it_is_in() {
    let scene = begun().await;
    logging(&scene, &[scene.add("gamma", "1.0", "x = 3")]).await.unwrap();
    logging(&scene, &[Edit::Remove(wheel_name("gamma", "1.0"))]).await.unwrap();
    let publisher = Publisher::start(scene.open().await, log_keys().await);
    let publish = |edits: Vec<Edit>| {
        let publisher = publisher.clone();
        tokio::spawn(async move { publisher.publish(Arc::<[Edit]>::from(edits), now()).await })
    };
    let mut good: Vec<_> =
        (0..10).map(|n| publish(vec![scene.add("delta", &format!("{n}.0"), "x")])).collect();
    let bad = publish(vec![scene.add("epsilon", "1.0", "x"), scene.add("gamma", "1.0", "x = 4")]);
    good.extend((10..20).map(|n| publish(vec![scene.add("delta", &format!("{n}.0"), "x")])));
    for good in good {
        good.await.unwrap().unwrap();
    }
    let refused = bad.await.unwrap();
    assert!(
        matches!(refused, Err(RepositoryError::Logging(LoggingError::OtherContent { .. }))),
        "{refused:?}"
    );
    let logged = assert_logged(&scene).await;
    let epsilon = |leaf: &&Leaf| matches!(leaf, Leaf::File(leaf) if leaf.project() == "epsilon");
    assert_eq!(logged.iter().find(epsilon), None, "all of a publication, or nothing");
    scene.assert_sound("after a group").await;
}

/// Lines of a list: files of projects, with a hash made of one digit.
fn lines(numbers: std::ops::Range<u64>, digit: &str) -> String {
    let hash = digit.repeat(64);
    let lines: Vec<_> = numbers.map(|n| format!("p{n}/p{n}-1.0.tar.gz\t{n}\t{hash}\n")).collect();
    lines.concat()
}

async fn import(scene: &Scene, list: &str) -> Result<u64, RepositoryError> {
    let list = list_of(list.as_bytes(), Layout::AsIs);
    let imported = scene.open().await.import(&log_keys().await, list, Run::Wet, now(), &Unwatched).await?;
    Ok(imported.added)
}

#[tokio::test]
async fn what_is_imported_is_logged_once_and_proven() {
    let scene = begun().await;
    let before = leaves(&scene).await.len();
    assert_eq!(import(&scene, &lines(0..600, "a")).await.unwrap(), 600);
    assert_eq!(import(&scene, &lines(500..700, "a")).await.unwrap(), 100);
    let logged = assert_logged(&scene).await;
    assert_eq!(logged.len(), before + 700 + 2, "each file once, and two snapshots");
    let policy = new_log("log", ORIGIN, wheelseal::repository::Predecessor::Nothing).await.policy;
    let files = scene.files();
    for n in 0..700 {
        let path = format!("p{n}/p{n}-1.0.tar.gz");
        let leaf = FileLeaf::of_target(&path, n, [0xaa; 32]).unwrap().unwrap();
        let proof = ProofFile::parse(&files[&format!("targets/{path}.tlog-proof")]).unwrap();
        proof.verify(Leaf::File(leaf).to_string().as_bytes(), policy.policy()).unwrap();
    }
}

#[tokio::test]
async fn an_import_of_what_cannot_be_logged_is_refused_whole() {
    let scene = begun().await;
    let before = leaves(&scene).await.len();
    let list = format!("{}files/readme.txt\t7\t{}\n", lines(0..10, "a"), "b".repeat(64));
    let refused = import(&scene, &list).await;
    let refused = refused.unwrap_err().to_string();
    assert_eq!(
        refused,
        "line 11: files/readme.txt cannot be logged: the leaf's path is not PROJECT/FILENAME of a distribution"
    );
    assert_eq!(leaves(&scene).await.len(), before);
    assert_eq!(import(&scene, &lines(0..10, "a")).await.unwrap(), 10);
    assert_logged(&scene).await;
}
