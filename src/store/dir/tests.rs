//! [`DirStore`] under the contract, and under what only a folder can suffer.

#![expect(clippy::disallowed_methods, reason = "the tests compare with the times of real files")]

use std::error::Error;
use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::DirStore;
use crate::store::path::NEXT_NAME;
use crate::store::{Content, Store, StoreError, StorePath, contract};

/// Patience that no test outlives.
const LONG: Duration = Duration::from_mins(10);

/// Patience that ends.
const SHORT: Duration = Duration::from_millis(20);

#[tokio::test]
async fn many_objects_are_read_and_looked_for_in_the_order_asked() -> Result<(), Box<dyn Error>> {
    let folder = TempDir::new()?;
    let store = DirStore::open(folder.path()).await?;
    contract::many_objects_are_read_and_looked_for_in_the_order_asked(&store).await
}

#[tokio::test]
async fn an_object_is_measured_and_read_from_any_byte_on() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    contract::an_object_is_measured_and_read_from_any_byte_on(&DirStore::open(folder.path()).await?).await
}

#[tokio::test]
async fn a_new_object_is_read_back_and_never_overwritten() -> Result<(), Box<dyn Error>> {
    let folder = TempDir::new()?;
    contract::a_new_object_is_read_back_and_never_overwritten(&DirStore::open(folder.path()).await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_concurrent_creators_one_wins() -> Result<(), Box<dyn Error>> {
    let folder = TempDir::new()?;
    contract::of_concurrent_creators_one_wins(&four_handles(folder.path()).await?).await
}

#[tokio::test]
async fn a_swap_needs_the_tag_of_what_is_there() -> Result<(), Box<dyn Error>> {
    let folder = TempDir::new()?;
    contract::a_swap_needs_the_tag_of_what_is_there(&DirStore::open(folder.path()).await?).await
}

#[tokio::test]
async fn a_created_object_can_be_swapped_and_a_swapped_one_not_created() -> Result<(), Box<dyn Error>> {
    let folder = TempDir::new()?;
    contract::a_created_object_can_be_swapped_and_a_swapped_one_not_created(
        &DirStore::open(folder.path()).await?,
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_swappers_lose_no_update() -> Result<(), Box<dyn Error>> {
    let folder = TempDir::new()?;
    contract::concurrent_swappers_lose_no_update(&four_handles(folder.path()).await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn creators_and_swappers_of_an_absent_object_have_one_winner() -> Result<(), Box<dyn Error>> {
    let folder = TempDir::new()?;
    contract::creators_and_swappers_of_an_absent_object_have_one_winner(&four_handles(folder.path()).await?)
        .await
}

#[tokio::test]
async fn a_list_is_sorted_and_keeps_to_its_folder() -> Result<(), Box<dyn Error>> {
    let folder = TempDir::new()?;
    contract::a_list_is_sorted_and_keeps_to_its_folder(&DirStore::open(folder.path()).await?).await
}

#[tokio::test]
async fn a_folder_that_is_no_path_is_not_listed() -> Result<(), Box<dyn Error>> {
    let folder = TempDir::new()?;
    contract::a_folder_that_is_no_path_is_not_listed(&DirStore::open(folder.path()).await?).await
}

#[tokio::test]
async fn deleting_twice_is_fine() -> Result<(), Box<dyn Error>> {
    let folder = TempDir::new()?;
    contract::deleting_twice_is_fine(&DirStore::open(folder.path()).await?).await
}

#[tokio::test]
async fn an_object_longer_than_the_limit_is_refused() -> Result<(), Box<dyn Error>> {
    let folder = TempDir::new()?;
    contract::an_object_longer_than_the_limit_is_refused(&DirStore::open(folder.path()).await?).await
}

#[tokio::test]
async fn a_large_file_is_stored_and_streamed() -> Result<(), Box<dyn Error>> {
    let folder = TempDir::new()?;
    contract::a_large_file_is_stored_and_streamed(&DirStore::open(folder.path()).await?).await
}

#[tokio::test]
async fn a_copy_outlives_its_original() -> Result<(), Box<dyn Error>> {
    let folder = TempDir::new()?;
    contract::a_copy_outlives_its_original(&DirStore::open(folder.path()).await?).await
}

#[tokio::test]
async fn many_objects_are_created_each_with_its_outcome() -> Result<(), Box<dyn Error>> {
    let folder = TempDir::new()?;
    let store = DirStore::open(folder.path()).await?;
    contract::many_objects_are_created_each_with_its_outcome(&store).await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_concurrent_batches_each_object_has_one_winner() -> Result<(), Box<dyn Error>> {
    let folder = TempDir::new()?;
    contract::of_concurrent_batches_each_object_has_one_winner(&four_handles(folder.path()).await?).await
}

#[tokio::test]
async fn many_swaps_happen_each_on_its_own() -> Result<(), Box<dyn Error>> {
    let folder = TempDir::new()?;
    contract::many_swaps_happen_each_on_its_own(&DirStore::open(folder.path()).await?).await
}

#[tokio::test]
async fn a_walk_shows_what_a_list_does_and_ends_when_told() -> Result<(), Box<dyn Error>> {
    let folder = TempDir::new()?;
    let store = DirStore::open(folder.path()).await?;
    contract::a_walk_shows_what_a_list_does_and_ends_when_told(&store).await
}

#[tokio::test]
async fn a_batch_dates_anew_what_exists_and_leaves_nothing_unfinished() -> Result<(), Box<dyn Error>> {
    let folder = TempDir::new()?;
    let store = DirStore::open(folder.path()).await?;
    let mut objects = Vec::new();
    for number in 0..100 {
        objects.push((StorePath::new(format!("a/{number}"))?, Content::Bytes(b"1")));
    }
    store.create_all(&objects[..50]).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    let long_ago = SystemTime::now() - Duration::from_hours(24);
    for entry in fs::read_dir(folder.path().join("a"))? {
        File::open(entry?.path())?.set_modified(long_ago)?;
    }

    let outcomes = store.create_all(&objects).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 50);
    let listed = store.list("").await?;
    assert_eq!(listed.len(), 100);
    for entry in listed {
        assert!(entry.modified > long_ago + Duration::from_hours(23), "{entry:?}");
        assert_eq!(mode(&folder.path().join(entry.path.as_str()))?, 0o644);
    }
    assert_eq!(files(&folder.path().join("a"))?.len(), 100);
    Ok(())
}

#[tokio::test]
async fn a_batch_never_follows_a_link_out_of_the_store() -> Result<(), Box<dyn Error>> {
    let (folder, outside) = (TempDir::new()?, TempDir::new()?);
    symlink(outside.path(), folder.path().join("folder"))?;
    symlink(outside.path().join("dangling"), folder.path().join("file"))?;
    let store = DirStore::open(folder.path()).await?;
    let mut objects = vec![
        (StorePath::new("folder/x")?, Content::Bytes(b"1")),
        (StorePath::new("folder/deep/x")?, Content::Bytes(b"1")),
        (StorePath::new("file")?, Content::Bytes(b"1")),
    ];
    for number in 0..50 {
        objects.push((StorePath::new(format!("fine/{number}"))?, Content::Bytes(b"1")));
    }
    let outcomes = store.create_all(&objects).await;
    for ((path, _), outcome) in objects.iter().zip(&outcomes).take(3) {
        let reason = "it leads over a symbolic link";
        assert_eq!(*outcome, Err(StoreError::InvalidPath { path: path.to_string(), reason }));
    }
    assert!(outcomes[3..].iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(files(outside.path())?, [""; 0]);
    Ok(())
}

#[tokio::test]
async fn create_makes_the_folder_and_open_wants_it_there() -> Result<(), Box<dyn Error>> {
    let folder = TempDir::new()?;
    let root = folder.path().join("a/b");
    let missing = DirStore::open(&root).await.map(|_| ());
    assert!(matches!(missing, Err(StoreError::Io { kind: ErrorKind::NotFound, .. })), "{missing:?}");
    assert_eq!(fs::read_dir(folder.path())?.count(), 0);

    let made = DirStore::create(&root).await?;
    made.create(&StorePath::new("x")?, Content::Bytes(b"1")).await?;
    DirStore::create(&root).await?;
    assert_eq!(DirStore::open(&root).await?.list("").await?.len(), 1);

    let file = DirStore::open(root.join("x")).await.map(|_| ());
    assert!(matches!(file, Err(StoreError::Io { kind: ErrorKind::NotADirectory, .. })), "{file:?}");
    Ok(())
}

#[tokio::test]
async fn a_web_server_may_read_all_and_nothing_unfinished_stays() -> Result<(), Box<dyn Error>> {
    let folder = TempDir::new()?;
    let store = DirStore::open(folder.path()).await?;
    store.create(&StorePath::new("a/created")?, Content::Bytes(b"1")).await?;
    store.create(&StorePath::new("a/copied")?, Content::Copy(&StorePath::new("a/created")?)).await?;
    store.swap(&StorePath::new("a/swapped")?, b"2", None).await?;

    assert_eq!(mode(&folder.path().join("a"))?, 0o755);
    assert_eq!(files(&folder.path().join("a"))?, ["copied", "created", "swapped"]);
    for name in ["a/created", "a/copied", "a/swapped"] {
        assert_eq!(mode(&folder.path().join(name))?, 0o644);
    }
    assert_eq!(files(folder.path())?, [".wheelseal.lock", "a"]);
    Ok(())
}

#[tokio::test]
async fn a_copy_is_a_hard_link_and_dated_anew() -> Result<(), Box<dyn Error>> {
    let folder = TempDir::new()?;
    let store = DirStore::open(folder.path()).await?;
    let (from, to) = (StorePath::new("from")?, StorePath::new("to")?);
    store.create(&from, Content::Bytes(b"1")).await?;
    let long_ago = SystemTime::now() - Duration::from_hours(24);
    File::open(folder.path().join("from"))?.set_modified(long_ago)?;

    store.create(&to, Content::Copy(&from)).await?;
    assert_eq!(fs::metadata(folder.path().join("to"))?.nlink(), 2);
    for entry in store.list("").await? {
        assert!(entry.modified > long_ago + Duration::from_hours(23), "{entry:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_write_that_fails_leaves_nothing() -> Result<(), Box<dyn Error>> {
    let folder = TempDir::new()?;
    let store = DirStore::open(folder.path()).await?;
    // A folder can be opened for reading, and fails once the unfinished file is there.
    for source in [folder.path(), Path::new("/nonexistent")] {
        let failed = store.create(&StorePath::new("x")?, Content::File(source)).await;
        assert!(matches!(failed, Err(StoreError::Io { .. })), "{failed:?}");
    }
    assert_eq!(files(folder.path())?, [""; 0]);
    Ok(())
}

#[tokio::test]
async fn an_object_in_the_place_of_a_folder_is_an_error() -> Result<(), Box<dyn Error>> {
    let folder = TempDir::new()?;
    let store = DirStore::open(folder.path()).await?;
    store.create(&StorePath::new("a")?, Content::Bytes(b"1")).await?;
    let below = StorePath::new("a/b")?;
    let created = store.create(&below, Content::Bytes(b"2")).await;
    assert!(matches!(created, Err(StoreError::Io { kind: ErrorKind::NotADirectory, .. })), "{created:?}");
    let swapped = store.swap(&below, b"2", None).await;
    assert!(matches!(swapped, Err(StoreError::Io { kind: ErrorKind::NotADirectory, .. })), "{swapped:?}");
    store.delete(&below).await?;
    Ok(())
}

#[tokio::test]
async fn a_folder_without_write_access_is_readable_and_its_error_has_a_hint() -> Result<(), Box<dyn Error>> {
    let folder = TempDir::new()?;
    let store = DirStore::open(folder.path()).await?;
    let path = StorePath::new("x")?;
    store.create(&path, Content::Bytes(b"1")).await?;
    fs::set_permissions(folder.path(), Permissions::from_mode(0o555))?;
    // Root may write regardless of the mode; /sys takes new files from nobody.
    let refusing = match File::create(folder.path().join("probe")) {
        Ok(_) => DirStore::open("/sys").await?,
        Err(_) => store.clone(),
    };
    let created = refusing.create(&StorePath::new("new")?, Content::Bytes(b"2")).await;
    let swapped = refusing.swap(&StorePath::new("new")?, b"2", None).await.map(|_| ());
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;

    for refused in [created, swapped] {
        let hint = refused.as_ref().err().and_then(StoreError::hint);
        assert!(hint.is_some(), "{refused:?}");
    }
    assert_eq!(store.get(&path, 1).await?.map(|object| object.bytes), Some(b"1".to_vec()));
    Ok(())
}

#[tokio::test]
async fn what_a_killed_write_left_is_not_listed_but_swept_when_old() -> Result<(), Box<dyn Error>> {
    let folder = TempDir::new()?;
    let store = DirStore::open(folder.path()).await?;
    store.swap(&StorePath::new("a/object")?, b"1", None).await?;
    let grace = SystemTime::now() - Duration::from_hours(1);
    for (name, age) in [("a/.tmp-old", 7200), (".tmp-old", 7200), ("a/.tmp-new", 0)] {
        let leftover = File::create(folder.path().join(name))?;
        leftover.set_modified(SystemTime::now() - Duration::from_secs(age))?;
    }
    File::open(folder.path().join("a/object"))?.set_modified(SystemTime::UNIX_EPOCH)?;

    let listed = store.list("").await?;
    assert_eq!(listed.iter().map(|entry| entry.path.as_str()).collect::<Vec<_>>(), ["a/object"]);
    assert_eq!(store.sweep(grace).await?, 2);
    assert_eq!(files(&folder.path().join("a"))?, [".tmp-new", "object"]);
    assert_eq!(files(folder.path())?, [".wheelseal.lock", "a"]);
    Ok(())
}

#[tokio::test]
async fn a_link_out_of_the_store_is_never_followed() -> Result<(), Box<dyn Error>> {
    let (folder, outside) = (TempDir::new()?, TempDir::new()?);
    let victim = outside.path().join("victim");
    fs::write(&victim, "untouched")?;
    symlink(outside.path(), folder.path().join("folder"))?;
    symlink(&victim, folder.path().join("file"))?;
    symlink(outside.path().join("dangling"), folder.path().join("new"))?;
    let store = DirStore::open(folder.path()).await?;

    for name in ["folder/victim", "folder/new", "file", "new"] {
        let path = StorePath::new(name)?;
        let refused = StoreError::InvalidPath { path: name.into(), reason: "it leads over a symbolic link" };
        assert_eq!(store.create(&path, Content::Bytes(b"x")).await, Err(refused.clone()));
        assert_eq!(store.swap(&path, b"x", None).await, Err(refused.clone()));
        assert_eq!(store.delete(&path).await, Err(refused.clone()));
        assert_eq!(store.get(&path, 100).await, Err(refused.clone()));
        let copied = store.create(&StorePath::new("copy")?, Content::Copy(&path)).await;
        assert_eq!(copied, Err(refused));
    }
    assert_eq!(store.list("").await?, []);
    assert!(store.list("folder").await.is_err());
    assert_eq!(files(outside.path())?, ["victim"]);
    assert_eq!(fs::read_to_string(&victim)?, "untouched");
    Ok(())
}

#[tokio::test]
async fn a_link_in_the_place_of_the_lock_is_not_followed() -> Result<(), Box<dyn Error>> {
    let (folder, outside) = (TempDir::new()?, TempDir::new()?);
    symlink(outside.path().join("made"), folder.path().join(".wheelseal.lock"))?;
    let store = DirStore::open(folder.path()).await?;
    let swapped = store.swap(&StorePath::new("a")?, b"x", None).await;
    let refused =
        StoreError::InvalidPath { path: ".wheelseal.lock".into(), reason: "it leads over a symbolic link" };
    assert_eq!(swapped, Err(refused));
    assert_eq!(files(outside.path())?, [""; 0]);
    Ok(())
}

#[tokio::test]
async fn a_root_behind_a_link_is_a_store_as_any_other() -> Result<(), Box<dyn Error>> {
    let folder = TempDir::new()?;
    fs::create_dir(folder.path().join("real"))?;
    symlink("real", folder.path().join("alias"))?;
    let store = DirStore::create(folder.path().join("alias")).await?;
    store.create(&StorePath::new("x")?, Content::Bytes(b"1")).await?;
    assert_eq!(files(&folder.path().join("real"))?, ["x"]);
    assert_eq!(store.root(), folder.path().canonicalize()?.join("real"));
    Ok(())
}

async fn four_handles(root: &Path) -> Result<Vec<Arc<dyn Store>>, StoreError> {
    let mut stores: Vec<Arc<dyn Store>> = Vec::new();
    for _ in 0..4 {
        stores.push(Arc::new(DirStore::open(root).await?));
    }
    Ok(stores)
}

fn mode(place: &Path) -> std::io::Result<u32> {
    Ok(fs::metadata(place)?.permissions().mode() & 0o7777)
}

fn files(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

#[tokio::test]
async fn turns_are_taken_one_after_another_and_who_waits_comes_first() -> Result<(), Box<dyn Error>> {
    let folder = TempDir::new()?;
    let (one, other) = (DirStore::open(folder.path()).await?, DirStore::open(folder.path()).await?);
    let turn = one.turn(LONG).await;
    assert!(turn.is_kept());
    assert!(!other.turn(SHORT).await.is_kept(), "it is taken, and patience ends");

    // Whoever gave up lets go of the place in the queue as soon as its thread is done.
    while one.disk.try_lock(NEXT_NAME)?.is_none() {
        tokio::time::sleep(SHORT).await;
    }
    let waits = tokio::spawn(async move { other.turn(LONG).await });
    while one.disk.try_lock(NEXT_NAME)?.is_some() {
        tokio::time::sleep(SHORT).await;
    }
    drop(turn);
    assert!(!one.turn(SHORT).await.is_kept(), "the one who had it is behind the one who waits");
    assert!(waits.await?.is_kept());
    Ok(())
}

#[tokio::test]
async fn a_turn_that_cannot_be_locked_is_granted_at_once() -> Result<(), Box<dyn Error>> {
    let (folder, outside) = (TempDir::new()?, TempDir::new()?);
    let store = DirStore::open(folder.path()).await?;
    symlink(outside.path().join("made"), folder.path().join(".wheelseal.turn"))?;
    assert!(!store.turn(LONG).await.is_kept());
    assert_eq!(files(outside.path())?, Vec::<String>::new());
    Ok(())
}
