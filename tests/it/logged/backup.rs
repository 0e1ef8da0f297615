//! Backups of a repository with a log: all of it comes back, or nothing does.

use std::fs;

use wheelseal::repository::{LoggingError, Repository, RepositoryError, Source, Unwatched};
use wheelseal::tlog::leaf::Leaf;

use super::{assert_logged, begun, leaves, logging};
use crate::scene::Scene;

#[tokio::test]
async fn a_log_is_restored_with_all_its_proofs_and_goes_on() {
    let scene = begun().await;
    logging(&scene, &[scene.add("gamma", "1.0", "x = 3")]).await.unwrap();
    let archive = scene.spool().join("backup");
    scene.open().await.backup(&archive, &Unwatched).await.unwrap();
    let restored = Scene::empty();
    let files = [scene.root().join("targets")];
    let source = Source { archive: &archive, files: &files, root: None };
    Repository::restore(restored.store().await, &source, &Unwatched, &mut |_| {}).await.unwrap();
    let before = leaves(&scene).await;
    assert_eq!(assert_logged(&restored).await, before);
    restored.assert_sound("restored").await;
    let other = [restored.add("gamma", "1.0", "x = 4")];
    assert!(logging(&restored, &other).await.is_err());
    logging(&restored, &[restored.add("delta", "1.0", "x = 5")]).await.unwrap();
    let logged = assert_logged(&restored).await;
    assert_eq!(logged[..before.len()], before[..]);
    assert_eq!(logged.iter().filter(|leaf| matches!(leaf, Leaf::File(_))).count(), 8);
}

#[tokio::test]
async fn a_backup_whose_log_is_not_the_timestamps_is_not_restored() {
    let scene = begun().await;
    let older = scene.copy();
    logging(&scene, &[scene.add("gamma", "1.0", "x = 3")]).await.unwrap();
    for name in ["head", "checkpoint"] {
        let at = format!("log/{name}");
        fs::remove_file(scene.root().join(&at)).unwrap();
        fs::copy(older.root().join(&at), scene.root().join(&at)).unwrap();
    }
    let archive = scene.spool().join("backup");
    scene.open().await.backup(&archive, &Unwatched).await.unwrap();
    let restored = Scene::empty();
    let files = [scene.root().join("targets")];
    let source = Source { archive: &archive, files: &files, root: None };
    let refused = Repository::restore(restored.store().await, &source, &Unwatched, &mut |_| {}).await;
    assert!(matches!(refused, Err(RepositoryError::Logging(LoggingError::WentBack { .. }))), "{refused:?}");
    assert!(!restored.files().contains_key("metadata/timestamp.json"));
}
