//! What every [`Store`] must do, as tests: each backend runs all of them. `tests/servers` runs them on real servers.
//!
//! `stores` are handles on one store, empty at first; a backend gives at least two, opened apart where it can.

#![expect(clippy::disallowed_methods, reason = "the tests compare with the times of real files")]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;

use super::{Content, Order, Store, StoreError, StorePath, Swap, Tag};

const NO_LIMIT: u64 = u64::MAX;

/// All tests one after another, each on a new store that `fresh` gives several handles on.
pub(super) async fn all(fresh: impl Fn() -> Vec<Arc<dyn Store>>) -> Result<(), Box<dyn Error>> {
    let one = || fresh().swap_remove(0);
    a_new_object_is_read_back_and_never_overwritten(&*one()).await?;
    many_objects_are_read_and_looked_for_in_the_order_asked(&*one()).await?;
    an_object_is_measured_and_read_from_any_byte_on(&*one()).await?;
    of_concurrent_creators_one_wins(&fresh()).await?;
    a_swap_needs_the_tag_of_what_is_there(&*one()).await?;
    a_created_object_can_be_swapped_and_a_swapped_one_not_created(&*one()).await?;
    concurrent_swappers_lose_no_update(&fresh()).await?;
    creators_and_swappers_of_an_absent_object_have_one_winner(&fresh()).await?;
    a_list_is_sorted_and_keeps_to_its_folder(&*one()).await?;
    a_folder_that_is_no_path_is_not_listed(&*one()).await?;
    deleting_twice_is_fine(&*one()).await?;
    an_object_longer_than_the_limit_is_refused(&*one()).await?;
    a_large_file_is_stored_and_streamed(&*one()).await?;
    a_copy_outlives_its_original(&*one()).await?;
    many_objects_are_created_each_with_its_outcome(&*one()).await?;
    of_concurrent_batches_each_object_has_one_winner(&fresh()).await?;
    many_swaps_happen_each_on_its_own(&*one()).await?;
    swaps_follow_what_is_created(&*one()).await?;
    swaps_behind_what_cannot_be_created_do_not_happen(&*one()).await?;
    of_concurrent_swaps_behind_what_is_created_one_wins(&fresh()).await?;
    a_walk_shows_what_a_list_does_and_ends_when_told(&*one()).await
}

pub(super) async fn a_new_object_is_read_back_and_never_overwritten(
    store: &dyn Store,
) -> Result<(), Box<dyn Error>> {
    let path = StorePath::new("metadata/1.root.json")?;
    assert_eq!(store.get(&path, NO_LIMIT).await?, None);
    store.create(&path, Content::Bytes(b"one")).await?;

    let again = store.create(&path, Content::Bytes(b"two")).await;
    assert_eq!(again, Err(StoreError::Exists { path: path.clone() }));
    assert_eq!(bytes_of(store, "metadata/1.root.json").await?, Some(b"one".to_vec()));
    assert_eq!(bytes_of(store, "metadata").await?, None, "a folder is not an object");
    assert_eq!(bytes_of(store, "metadata/1.root.json/x").await?, None, "an object is not a folder");
    Ok(())
}

pub(super) async fn many_objects_are_read_and_looked_for_in_the_order_asked(
    store: &dyn Store,
) -> Result<(), Box<dyn Error>> {
    let paths: Vec<_> =
        (0..100).map(|number| StorePath::new(format!("a/{number}"))).collect::<Result<_, _>>()?;
    for path in paths.iter().step_by(3) {
        store.create(path, Content::Bytes(path.as_str().as_bytes())).await?;
    }
    let backwards: Vec<_> = paths.iter().rev().cloned().collect();
    let found = store.get_all(&backwards, 5).await?;
    assert_eq!(found.len(), 100);
    for (path, object) in backwards.iter().zip(&found) {
        assert_eq!(object, &store.get(path, NO_LIMIT).await?);
    }
    let bytes: Vec<_> = found.iter().map(|found| found.as_ref().map(|object| object.bytes.clone())).collect();
    assert_eq!(store.read_all(&backwards, 5).await?, bytes);
    assert!(matches!(store.read_all(&backwards, 3).await, Err(StoreError::TooLarge { max: 3, .. })));
    let exist: Vec<bool> = found.iter().map(Option::is_some).collect();
    assert_eq!(exist.iter().filter(|exists| **exists).count(), 34);
    assert_eq!(store.exist(&backwards).await?, exist);
    assert!(matches!(store.get_all(&backwards, 3).await, Err(StoreError::TooLarge { max: 3, .. })));
    assert_eq!(store.exist(&[StorePath::new("a")?]).await?, [false], "a folder is not an object");
    Ok(())
}

pub(super) async fn an_object_is_measured_and_read_from_any_byte_on(
    store: &dyn Store,
) -> Result<(), Box<dyn Error>> {
    let path = StorePath::new("targets/a/b.whl")?;
    assert_eq!(store.stat(&path).await?, None);
    assert!(store.open_at(&path, 0).await?.is_none());
    store.create(&path, Content::Bytes(b"0123456789")).await?;
    let listed = store.list("targets/a").await?;
    let (Some(found), [listed]) = (store.stat(&path).await?, &listed[..]) else {
        return Err("not one".into());
    };
    assert_eq!((&found.path, found.len), (&listed.path, 10));
    // One of the two may be as coarse as a second.
    let (early, late) = (found.modified.min(listed.modified), found.modified.max(listed.modified));
    assert!(late.duration_since(early)? < Duration::from_secs(1), "{found:?} {listed:?}");
    assert_eq!(store.stat(&StorePath::new("targets/a")?).await?, None, "a folder is not an object");
    for (start, expected) in [(0, "0123456789"), (3, "3456789"), (10, ""), (11, "")] {
        let Some(mut stream) = store.open_at(&path, start).await? else { return Err("absent".into()) };
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        assert_eq!(text, expected);
    }
    Ok(())
}

pub(super) async fn of_concurrent_creators_one_wins(stores: &[Arc<dyn Store>]) -> Result<(), Box<dyn Error>> {
    let path = StorePath::new("a/b/c")?;
    let mut tasks = JoinSet::new();
    for (number, store) in (0..16_u8).zip(stores.iter().cycle().cloned()) {
        let path = path.clone();
        tasks.spawn(async move { (number, store.create(&path, Content::Bytes(&[number])).await) });
    }
    let mut winners = Vec::new();
    while let Some(done) = tasks.join_next().await {
        match done? {
            (number, Ok(())) => winners.push(number),
            (_, lost) => assert_eq!(lost, Err(StoreError::Exists { path: path.clone() })),
        }
    }
    assert_eq!(winners.len(), 1);
    for store in stores {
        assert_eq!(bytes_of(store.as_ref(), "a/b/c").await?, Some(winners.clone()));
    }
    Ok(())
}

pub(super) async fn a_swap_needs_the_tag_of_what_is_there(store: &dyn Store) -> Result<(), Box<dyn Error>> {
    let path = StorePath::new("metadata/timestamp.json")?;
    let conflict = Err(StoreError::Conflict { path: path.clone() });
    let first = store.swap(&path, b"1", None).await?;
    assert_eq!(store.swap(&path, b"x", None).await, conflict, "it is no longer absent");

    let read = store.get(&path, NO_LIMIT).await?;
    assert_eq!(read.map(|object| object.tag), Some(first.clone()), "the tag returned is the tag read");
    let second = store.swap(&path, b"2", Some(&first)).await?;
    assert_ne!(first, second);
    assert_eq!(store.swap(&path, b"x", Some(&first)).await, conflict, "the tag is stale");
    assert_eq!(bytes_of(store, "metadata/timestamp.json").await?, Some(b"2".to_vec()));

    store.delete(&path).await?;
    assert_eq!(store.swap(&path, b"x", Some(&second)).await, conflict, "it is absent");
    assert_eq!(store.list("").await?, [], "a refused swap leaves nothing");
    Ok(())
}

pub(super) async fn a_created_object_can_be_swapped_and_a_swapped_one_not_created(
    store: &dyn Store,
) -> Result<(), Box<dyn Error>> {
    let path = StorePath::new("a")?;
    store.create(&path, Content::Bytes(b"1")).await?;
    let Some(read) = store.get(&path, NO_LIMIT).await? else { return Err("created, yet absent".into()) };
    store.swap(&path, b"2", Some(&read.tag)).await?;
    let again = store.create(&path, Content::Bytes(b"3")).await;
    assert_eq!(again, Err(StoreError::Exists { path }));
    assert_eq!(bytes_of(store, "a").await?, Some(b"2".to_vec()));
    Ok(())
}

pub(super) async fn concurrent_swappers_lose_no_update(
    stores: &[Arc<dyn Store>],
) -> Result<(), Box<dyn Error>> {
    const WRITERS: u64 = 8;
    const INCREMENTS: u64 = 10;
    let mut tasks = JoinSet::new();
    for (_, store) in (0..WRITERS).zip(stores.iter().cycle().cloned()) {
        tasks.spawn(async move {
            for _ in 0..INCREMENTS {
                increment(store.as_ref()).await?;
            }
            Ok::<(), StoreError>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    for store in stores {
        let total = (WRITERS * INCREMENTS).to_be_bytes().to_vec();
        assert_eq!(bytes_of(store.as_ref(), "counter").await?, Some(total));
    }
    Ok(())
}

pub(super) async fn creators_and_swappers_of_an_absent_object_have_one_winner(
    stores: &[Arc<dyn Store>],
) -> Result<(), Box<dyn Error>> {
    for round in 0..8 {
        let path = StorePath::new(format!("round/{round}"))?;
        let mut tasks = JoinSet::new();
        for (number, store) in (0..8_u8).zip(stores.iter().cycle().cloned()) {
            let path = path.clone();
            tasks.spawn(async move {
                match number % 2 {
                    0 => (number, store.create(&path, Content::Bytes(&[number])).await.is_ok()),
                    _ => (number, store.swap(&path, &[number], None).await.is_ok()),
                }
            });
        }
        let done = tasks.join_all().await;
        let winners: Vec<u8> = done.into_iter().filter(|(_, won)| *won).map(|(number, _)| number).collect();
        for store in stores {
            assert_eq!(bytes_of(store.as_ref(), path.as_str()).await?, Some(winners.clone()));
        }
    }
    Ok(())
}

pub(super) async fn a_list_is_sorted_and_keeps_to_its_folder(
    store: &dyn Store,
) -> Result<(), Box<dyn Error>> {
    let before = SystemTime::now();
    for path in ["metadata/b/c", "metadata/a", "metadata2/x", "metadata/b.json", "top"] {
        store.create(&StorePath::new(path)?, Content::Bytes(path.as_bytes())).await?;
    }
    store.swap(&StorePath::new("metadata/Z")?, b"", None).await?;

    assert_eq!(
        names(store, "metadata").await?,
        ["metadata/Z", "metadata/a", "metadata/b.json", "metadata/b/c"]
    );
    assert_eq!(names(store, "metadata/b").await?, ["metadata/b/c"]);
    assert_eq!(names(store, "").await?.len(), 6);
    assert_eq!(names(store, "nowhere/at/all").await?, [""; 0]);
    assert_eq!(names(store, "top").await?, [""; 0], "an object is not a folder");
    for entry in store.list("metadata2").await? {
        assert_eq!(entry.len, 11);
        // The store's clock may be coarser than ours.
        assert!(entry.modified + Duration::from_secs(2) > before);
    }
    Ok(())
}

pub(super) async fn a_folder_that_is_no_path_is_not_listed(store: &dyn Store) -> Result<(), Box<dyn Error>> {
    for prefix in ["/", "..", "metadata/", "a/../b"] {
        let listed = store.list(prefix).await;
        assert!(matches!(listed, Err(StoreError::InvalidPath { path, .. }) if path == prefix));
    }
    Ok(())
}

pub(super) async fn deleting_twice_is_fine(store: &dyn Store) -> Result<(), Box<dyn Error>> {
    let path = StorePath::new("a/b")?;
    store.delete(&path).await?;
    store.create(&path, Content::Bytes(b"1")).await?;
    store.delete(&StorePath::new("a")?).await?;
    assert_eq!(names(store, "").await?, ["a/b"], "a folder is not an object");
    store.delete(&path).await?;
    store.delete(&path).await?;
    assert_eq!(store.get(&path, NO_LIMIT).await?, None);
    store.create(&path, Content::Bytes(b"2")).await?;
    assert_eq!(bytes_of(store, "a/b").await?, Some(b"2".to_vec()));
    Ok(())
}

pub(super) async fn an_object_longer_than_the_limit_is_refused(
    store: &dyn Store,
) -> Result<(), Box<dyn Error>> {
    let path = StorePath::new("a")?;
    store.create(&path, Content::Bytes(b"12345")).await?;
    let refused = Err(StoreError::TooLarge { path: path.clone(), found: 5, max: 4 });
    assert_eq!(store.get(&path, 4).await, refused);
    assert_eq!(store.get(&path, 5).await?.map(|object| object.bytes), Some(b"12345".to_vec()));

    let empty = StorePath::new("empty")?;
    store.create(&empty, Content::Bytes(b"")).await?;
    assert_eq!(store.get(&empty, 0).await?.map(|object| object.bytes), Some(Vec::new()));
    Ok(())
}

pub(super) async fn a_large_file_is_stored_and_streamed(store: &dyn Store) -> Result<(), Box<dyn Error>> {
    let bytes: Vec<u8> = (0..=250).cycle().take(3_000_001).collect();
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("large");
    std::fs::write(&file, &bytes)?;
    let path = StorePath::new("files/large.whl")?;
    assert!(store.open(&path).await?.is_none());

    store.create(&path, Content::File(&file)).await?;
    let Some(mut stream) = store.open(&path).await? else { return Err("created, yet absent".into()) };
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await?;
    assert!(read == bytes);
    Ok(())
}

pub(super) async fn a_copy_outlives_its_original(store: &dyn Store) -> Result<(), Box<dyn Error>> {
    let (from, to) = (StorePath::new("a/original")?, StorePath::new("b/copy")?);
    let first = store.swap(&from, b"1", None).await?;
    store.create(&to, Content::Copy(&from)).await?;
    let again = store.create(&to, Content::Copy(&from)).await;
    assert_eq!(again, Err(StoreError::Exists { path: to.clone() }));

    store.swap(&from, b"2", Some(&first)).await?;
    assert_eq!(bytes_of(store, "b/copy").await?, Some(b"1".to_vec()));
    store.delete(&from).await?;
    assert_eq!(bytes_of(store, "b/copy").await?, Some(b"1".to_vec()));

    let failed = store.create(&StorePath::new("b/other")?, Content::Copy(&from)).await;
    assert!(matches!(failed, Err(StoreError::Io { kind: std::io::ErrorKind::NotFound, .. })), "{failed:?}");
    assert_eq!(names(store, "").await?, ["b/copy"]);
    Ok(())
}

pub(super) async fn many_objects_are_created_each_with_its_outcome(
    store: &dyn Store,
) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let (file, no_file) = (folder.path().join("file"), folder.path().join("none"));
    std::fs::write(&file, b"from a file")?;
    let (taken, original, absent) =
        (StorePath::new("taken")?, StorePath::new("many/original")?, StorePath::new("absent")?);
    store.create(&taken, Content::Bytes(b"first")).await?;
    let bytes: Vec<Vec<u8>> = (0..100_u8).map(|number| vec![number; usize::from(number) * 100]).collect();

    let shared = Arc::new(b"original".to_vec());
    // The copy is of something that comes later.
    let mut objects = vec![
        (StorePath::new("plain/copy")?, Content::Copy(&original)),
        (taken.clone(), Content::Bytes(b"second")),
        (original.clone(), Content::Shared(&shared)),
        (StorePath::new("many/file")?, Content::File(&file)),
        (StorePath::new("many/no file")?, Content::File(&no_file)),
        (StorePath::new("many/no copy")?, Content::Copy(&absent)),
    ];
    for (number, bytes) in bytes.iter().enumerate() {
        objects.push((StorePath::new(format!("many/{number}/x"))?, Content::Bytes(bytes)));
    }
    let outcomes = store.create_all(&objects).await;

    assert_eq!(outcomes.len(), objects.len());
    assert_eq!(outcomes[1], Err(StoreError::Exists { path: taken }));
    for missing in &outcomes[4..6] {
        assert!(
            matches!(missing, Err(StoreError::Io { kind: std::io::ErrorKind::NotFound, .. })),
            "{missing:?}"
        );
    }
    for at in (0..outcomes.len()).filter(|at| ![1, 4, 5].contains(at)) {
        assert_eq!(outcomes[at], Ok(()), "{}", objects[at].0);
    }
    assert_eq!(bytes_of(store, "taken").await?, Some(b"first".to_vec()));
    assert_eq!(bytes_of(store, "plain/copy").await?, Some(b"original".to_vec()));
    assert_eq!(bytes_of(store, "many/file").await?, Some(b"from a file".to_vec()));
    for (number, bytes) in bytes.iter().enumerate() {
        assert_eq!(bytes_of(store, &format!("many/{number}/x")).await?.as_ref(), Some(bytes));
    }
    assert_eq!(names(store, "").await?.len(), bytes.len() + 4, "what failed left nothing");

    let again = store.create_all(&objects[6..]).await;
    for (outcome, (path, _)) in again.iter().zip(&objects[6..]) {
        assert_eq!(*outcome, Err(StoreError::Exists { path: path.clone() }));
    }
    assert_eq!(store.create_all(&[]).await, []);
    Ok(())
}

pub(super) async fn of_concurrent_batches_each_object_has_one_winner(
    stores: &[Arc<dyn Store>],
) -> Result<(), Box<dyn Error>> {
    const OBJECTS: usize = 40;
    let mut tasks = JoinSet::new();
    for (writer, store) in (0..4_u8).zip(stores.iter().cycle().cloned()) {
        tasks.spawn(async move {
            let content = [writer];
            let mut objects = Vec::new();
            for number in 0..OBJECTS {
                objects.push((StorePath::new(format!("a/{number}"))?, Content::Bytes(&content)));
            }
            Ok::<_, StoreError>((writer, store.create_all(&objects).await))
        });
    }
    let mut winners = vec![Vec::new(); OBJECTS];
    while let Some(done) = tasks.join_next().await {
        let (writer, outcomes) = done??;
        for (outcome, winners) in outcomes.into_iter().zip(&mut winners) {
            match outcome {
                Ok(()) => winners.push(writer),
                lost => assert!(matches!(lost, Err(StoreError::Exists { .. })), "{lost:?}"),
            }
        }
    }
    for (number, winners) in winners.into_iter().enumerate() {
        assert_eq!(winners.len(), 1, "of object {number}");
        for store in stores {
            assert_eq!(bytes_of(store.as_ref(), &format!("a/{number}")).await?.as_ref(), Some(&winners));
        }
    }
    Ok(())
}

pub(super) async fn many_swaps_happen_each_on_its_own(store: &dyn Store) -> Result<(), Box<dyn Error>> {
    let mut paths = Vec::new();
    for number in 0..50 {
        paths.push(StorePath::new(format!("pages/{number}/index.html"))?);
    }
    let absent = |path| Swap { path, bytes: b"1", expected: None };
    let first = store.swap_all(&paths.iter().map(absent).collect::<Vec<_>>()).await;
    let first: Vec<Tag> = first.into_iter().collect::<Result<_, _>>()?;
    // One in two is changed by somebody else.
    for (path, tag) in paths.iter().zip(&first).step_by(2) {
        store.swap(path, b"other", Some(tag)).await?;
    }
    let next = paths.iter().zip(&first).map(|(path, tag)| Swap { path, bytes: b"2", expected: Some(tag) });
    let second = store.swap_all(&next.collect::<Vec<_>>()).await;

    assert_eq!(second.len(), paths.len());
    for (number, (path, outcome)) in paths.iter().zip(second).enumerate() {
        let Some(read) = store.get(path, NO_LIMIT).await? else { return Err("swapped, yet absent".into()) };
        if number % 2 == 0 {
            assert_eq!(outcome, Err(StoreError::Conflict { path: path.clone() }));
            assert_eq!(read.bytes, b"other");
        } else {
            assert_eq!(outcome, Ok(read.tag), "the tag returned is the tag read");
            assert_eq!(read.bytes, b"2");
        }
    }
    assert_eq!(names(store, "").await?.len(), paths.len());
    assert_eq!(store.swap_all(&[]).await, []);
    Ok(())
}

pub(super) async fn swaps_follow_what_is_created(store: &dyn Store) -> Result<(), Box<dyn Error>> {
    let (old, new) = (StorePath::new("old")?, StorePath::new("a/new")?);
    let mut tag = store.swap(&old, b"0", None).await?;
    for (number, order) in ["1", "2"].into_iter().zip([Order::Kept, Order::Open]) {
        let (object, copy) = (StorePath::new(format!("b/{number}"))?, StorePath::new(format!("c/{number}"))?);
        let objects = [(copy.clone(), Content::Copy(&object)), (object.clone(), Content::Bytes(b"object"))];
        let swap = |path, expected| Swap { path, bytes: number.as_bytes(), expected };
        let swaps = [swap(&old, Some(&tag)), swap(&new, None)];
        let written = store.create_then_swap(&objects, &swaps, order).await;
        assert_eq!(written.created, [Ok(()), Ok(())]);
        let Some([Ok(first), Ok(second)]) = written.swapped.as_deref() else { panic!("{written:?}") };
        let (first, second) = (first.clone(), second.clone());
        for path in ["old", "a/new"] {
            assert_eq!(bytes_of(store, path).await?, Some(number.as_bytes().to_vec()), "{path}");
        }
        assert_eq!(bytes_of(store, copy.as_str()).await?, Some(b"object".to_vec()));
        // Nothing to create, and no swap behind one that fails.
        let swaps = [swap(&old, Some(&tag)), Swap { path: &new, bytes: b"3", expected: Some(&second) }];
        let written = store.create_then_swap(&[], &swaps, order).await;
        assert_eq!(written.swapped, Some(vec![Err(StoreError::Conflict { path: old.clone() })]));
        store.swap(&new, b"4", Some(&second)).await?;
        store.delete(&new).await?;
        tag = first;
    }
    Ok(())
}

pub(super) async fn swaps_behind_what_cannot_be_created_do_not_happen(
    store: &dyn Store,
) -> Result<(), Box<dyn Error>> {
    let (swapped, taken) = (StorePath::new("swapped")?, StorePath::new("a/taken")?);
    let tag = store.swap(&swapped, b"old", None).await?;
    store.create(&taken, Content::Bytes(b"taken")).await?;
    for (path, order) in ["a/0", "a/1"].into_iter().zip([Order::Kept, Order::Open]) {
        let fresh = StorePath::new(path)?;
        let objects = [(fresh, Content::Bytes(b"new")), (taken.clone(), Content::Bytes(b"other"))];
        let swap = Swap { path: &swapped, bytes: b"new", expected: Some(&tag) };
        let written = store.create_then_swap(&objects, &[swap], order).await;
        assert_eq!(written.created, [Ok(()), Err(StoreError::Exists { path: taken.clone() })]);
        assert_eq!(written.swapped, None);
        assert_eq!(bytes_of(store, "swapped").await?, Some(b"old".to_vec()));
        assert_eq!(bytes_of(store, path).await?, Some(b"new".to_vec()));
    }
    assert_eq!(names(store, "").await?, ["a/0", "a/1", "a/taken", "swapped"]);
    Ok(())
}

pub(super) async fn of_concurrent_swaps_behind_what_is_created_one_wins(
    stores: &[Arc<dyn Store>],
) -> Result<(), Box<dyn Error>> {
    let mut writers = JoinSet::new();
    for number in 0..8_usize {
        let Some(store) = stores.get(number % stores.len()).cloned() else { continue };
        writers.spawn(async move {
            let object = StorePath::new(format!("a/{number}"))?;
            let path = StorePath::new("swapped")?;
            let text = number.to_string();
            let objects = [(object, Content::Bytes(text.as_bytes()))];
            let order = if number % 2 == 0 { Order::Kept } else { Order::Open };
            let swap = Swap { path: &path, bytes: text.as_bytes(), expected: None };
            let written = store.create_then_swap(&objects, &[swap], order).await;
            assert_eq!(written.created, [Ok(())]);
            match written.swapped.as_deref() {
                Some([Ok(_)]) => Ok::<_, StoreError>(Some(text)),
                Some([Err(StoreError::Conflict { .. })]) => Ok(None),
                other => panic!("{other:?}"),
            }
        });
    }
    let mut winners = Vec::new();
    while let Some(done) = writers.join_next().await {
        winners.extend(done??);
    }
    let [winner] = winners.as_slice() else { panic!("{winners:?}") };
    let store = stores.first().ok_or("a store")?;
    assert_eq!(bytes_of(&**store, "swapped").await?, Some(winner.clone().into_bytes()));
    assert_eq!(names(&**store, "a").await?.len(), 8);
    Ok(())
}

pub(super) async fn a_walk_shows_what_a_list_does_and_ends_when_told(
    store: &dyn Store,
) -> Result<(), Box<dyn Error>> {
    let mut paths = vec![StorePath::new("top")?];
    for number in 0..60 {
        paths.push(StorePath::new(format!("a/{}/{number}", number % 7))?);
    }
    let objects: Vec<_> = paths.into_iter().map(|path| (path, Content::Bytes(b"12"))).collect();
    store.create_all(&objects).await.into_iter().collect::<Result<Vec<_>, _>>()?;

    for (prefix, count) in [("", 61), ("a", 60), ("a/3", 9), ("nowhere", 0), ("top", 0)] {
        let mut walked = Vec::new();
        let mut visit = |entry| {
            walked.push(entry);
            Ok(())
        };
        store.walk(prefix, &mut visit).await?;
        walked.sort_by(|a, b| a.path.cmp(&b.path));
        assert_eq!(walked, store.list(prefix).await?, "{prefix:?}");
        assert_eq!(walked.len(), count, "{prefix:?}");
    }
    let mut seen = 0;
    let stop = StoreError::Exists { path: StorePath::new("enough")? };
    let mut visit = |_| {
        seen += 1;
        if seen < 5 { Ok(()) } else { Err(stop.clone()) }
    };
    assert_eq!(store.walk("", &mut visit).await, Err(stop.clone()));
    assert_eq!(seen, 5);
    let nowhere = store.walk("a/", &mut |_| Ok(())).await;
    assert!(matches!(nowhere, Err(StoreError::InvalidPath { .. })), "{nowhere:?}");
    Ok(())
}

async fn bytes_of(store: &dyn Store, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let object = store.get(&StorePath::new(path)?, NO_LIMIT).await?;
    Ok(object.map(|object| object.bytes))
}

async fn names(store: &dyn Store, prefix: &str) -> Result<Vec<String>, StoreError> {
    let entries = store.list(prefix).await?;
    Ok(entries.into_iter().map(|entry| entry.path.to_string()).collect())
}

/// Adds one to the object `counter`, reading anew after each conflict.
async fn increment(store: &dyn Store) -> Result<(), StoreError> {
    let path = StorePath::new("counter")?;
    loop {
        let read = store.get(&path, NO_LIMIT).await?;
        let bytes = read.as_ref().map_or(&[][..], |object| &object.bytes);
        let next = bytes.iter().fold(0_u64, |sum, byte| (sum << 8) + u64::from(*byte)) + 1;
        match store.swap(&path, &next.to_be_bytes(), read.as_ref().map(|object| &object.tag)).await {
            Err(StoreError::Conflict { .. }) => {}
            done => return done.map(|_| ()),
        }
    }
}
