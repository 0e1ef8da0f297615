//! Answers that are lost, late, wrong or old, between the store and a server that is sound: the store must come to the
//! right end or say that it does not know, and never call a lost write done.

use std::error::Error;

use axum::http::Method;
use futures_util::future::BoxFuture;
use wheelseal::store::{Content, Fault, ObjectStore, Store, StoreError, StorePath, Tag};

use crate::proxy::{self, Asked, Turn};
use crate::setting::{Stores, environment, new_folder, s3, through};

/// A store behind a proxy, the same store without it, and the object `a` in it with the tag.
struct Case {
    behind: ObjectStore,
    direct: ObjectStore,
    path: StorePath,
    tag: Tag,
    _stores: [Stores; 2],
}

impl Case {
    /// The rule holds for what comes after this, and begins to count there.
    async fn new(rule: impl Fn(&Asked<'_>) -> Turn + Send + Sync + 'static) -> Result<Self, Box<dyn Error>> {
        Self::at(new_folder(&s3()), rule).await
    }

    async fn at(
        url: String,
        rule: impl Fn(&Asked<'_>) -> Turn + Send + Sync + 'static,
    ) -> Result<Self, Box<dyn Error>> {
        let direct_stores = Stores::on(s3(), environment()).await;
        let direct = direct_stores.open(&url);
        let path = StorePath::new("a")?;
        let tag = direct.swap(&path, b"old", None).await?;
        let proxy = proxy::start(rule).await;
        let behind_stores = Stores::on(s3(), through(&proxy.endpoint)).await;
        let behind = behind_stores.open(&url);
        proxy.arm();
        Ok(Self { behind, direct, path, tag, _stores: [direct_stores, behind_stores] })
    }

    /// The first write has no good answer, and somebody else writes so many times before the next attempt.
    async fn with_rival(
        times: u32,
        turn: impl Fn(BoxFuture<'static, ()>) -> Turn + Send + Sync + 'static,
    ) -> Result<Self, Box<dyn Error>> {
        let url = new_folder(&s3());
        let own = url.clone();
        let rule = move |asked: &Asked<'_>| {
            let url = own.clone();
            if asked.is_write(0) {
                turn(Box::pin(async move { rival(&url, times).await }))
            } else {
                Turn::Pass
            }
        };
        Self::at(url, rule).await
    }

    async fn swap(&self) -> Result<(), StoreError> {
        self.behind.swap(&self.path, b"new", Some(&self.tag)).await.map(drop)
    }

    async fn create(&self) -> Result<(), StoreError> {
        self.behind.create(&StorePath::new("b")?, Content::Bytes(b"new")).await
    }

    /// The object as it is, past the proxy.
    async fn bytes(&self, path: &str) -> Result<Option<Vec<u8>>, Box<dyn Error>> {
        let object = self.direct.get(&StorePath::new(path)?, 100).await?;
        Ok(object.map(|object| object.bytes))
    }
}

fn fault(outcome: Result<(), StoreError>) -> Fault {
    match outcome {
        Err(StoreError::Server { fault, .. }) => fault,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_fails_before_it_writes_is_asked_again() -> Result<(), Box<dyn Error>> {
    for status in [500, 503, 429, 409] {
        let case = Case::new(move |asked| match (asked.method, asked.before) {
            (&Method::PUT, 0 | 1 | 3 | 4) => Turn::Answer(status),
            _ => Turn::Pass,
        });
        let case = case.await?;
        assert_eq!(case.swap().await, Ok(()), "{status}");
        assert_eq!(case.create().await, Ok(()), "{status}");
        assert_eq!(case.bytes("a").await?, Some(b"new".to_vec()));
        assert_eq!(case.bytes("b").await?, Some(b"new".to_vec()));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_was_done_though_the_answer_is_an_error_is_done() -> Result<(), Box<dyn Error>> {
    for status in [500, 503] {
        let case = Case::new(move |asked| match (asked.method, asked.before) {
            (&Method::PUT, 0 | 2) => Turn::Lose(status),
            _ => Turn::Pass,
        });
        let case = case.await?;
        assert_eq!(case.swap().await, Ok(()), "{status}");
        assert_eq!(case.create().await, Ok(()), "{status}");
        assert_eq!(case.bytes("a").await?, Some(b"new".to_vec()));
        assert_eq!(case.bytes("b").await?, Some(b"new".to_vec()));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_was_done_when_the_connection_broke_is_done() -> Result<(), Box<dyn Error>> {
    let case = Case::new(|asked| match (asked.method, asked.before) {
        (&Method::PUT, 0 | 2) => Turn::Break,
        _ => Turn::Pass,
    });
    let case = case.await?;
    assert_eq!(case.swap().await, Ok(()));
    assert_eq!(case.create().await, Ok(()));
    assert_eq!(case.bytes("a").await?, Some(b"new".to_vec()));
    assert_eq!(case.bytes("b").await?, Some(b"new".to_vec()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_never_comes_is_settled() -> Result<(), Box<dyn Error>> {
    let case = Case::new(|asked| if asked.is_write(0) { Turn::Hang } else { Turn::Pass }).await?;
    assert_eq!(case.swap().await, Ok(()));
    assert_eq!(case.bytes("a").await?, Some(b"new".to_vec()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_on_failing_is_an_error_and_nothing_is_written() -> Result<(), Box<dyn Error>> {
    let case = Case::new(|asked| match *asked.method {
        Method::PUT => Turn::Answer(500),
        _ => Turn::Pass,
    });
    let case = case.await?;
    assert_eq!(fault(case.swap().await), Fault::Failed);
    assert_eq!(fault(case.create().await), Fault::Failed);
    assert_eq!(case.bytes("a").await?, Some(b"old".to_vec()));
    assert_eq!(case.bytes("b").await?, None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_without_a_doubt_is_a_conflict_at_once() -> Result<(), Box<dyn Error>> {
    let case = Case::new(|asked| match *asked.method {
        Method::PUT => Turn::Answer(412),
        _ => Turn::Pass,
    });
    let case = case.await?;
    assert_eq!(case.swap().await, Err(StoreError::Conflict { path: case.path.clone() }));
    assert_eq!(case.create().await, Err(StoreError::Exists { path: StorePath::new("b")? }));
    assert_eq!(case.bytes("a").await?, Some(b"old".to_vec()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_doubtful_write_that_others_have_followed_was_done() -> Result<(), Box<dyn Error>> {
    let case = Case::with_rival(3, Turn::LoseWhile).await?;
    assert_eq!(case.swap().await, Ok(()));
    assert_eq!(case.bytes("a").await?, Some(b"rival 2".to_vec()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_doubtful_write_that_others_came_before_was_not_done() -> Result<(), Box<dyn Error>> {
    let case = Case::with_rival(3, Turn::AnswerAfter).await?;
    assert_eq!(case.swap().await, Err(StoreError::Conflict { path: case.path.clone() }));
    assert_eq!(case.bytes("a").await?, Some(b"rival 2".to_vec()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_doubtful_write_among_very_many_others_has_an_unknown_end() -> Result<(), Box<dyn Error>> {
    let turns: [fn(BoxFuture<'static, ()>) -> Turn; 2] = [Turn::LoseWhile, Turn::AnswerAfter];
    for turn in turns {
        let case = Case::with_rival(40, turn).await?;
        assert_eq!(fault(case.swap().await), Fault::Unknown);
        assert_eq!(case.bytes("a").await?, Some(b"rival 39".to_vec()));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rival_that_wrote_the_same_bytes_is_not_taken_for_our_write() -> Result<(), Box<dyn Error>> {
    let url = new_folder(&s3());
    let direct = ObjectStore::open(&url, &environment(), None)?;
    let case = Case::at(url, move |asked| {
        if !asked.is_write(0) {
            return Turn::Pass;
        }
        let direct = direct.clone();
        // The rival is first, and our own attempt fails without a word on why.
        Turn::AnswerAfter(Box::pin(async move {
            direct.create(&StorePath::new("b").unwrap(), Content::Bytes(b"new")).await.unwrap();
        }))
    });
    let case = case.await?;
    assert_eq!(case.create().await, Err(StoreError::Exists { path: StorePath::new("b")? }));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_state_read_back_is_not_believed() -> Result<(), Box<dyn Error>> {
    // The write was done and its answer lost; every reading shows what was there before.
    let case = Case::new(|asked| match (asked.method, asked.before) {
        (&Method::PUT, 0) => Turn::Lose(500),
        (&Method::GET, 1..) => Turn::Old,
        _ => Turn::Pass,
    });
    let case = case.await?;
    assert_eq!(case.behind.get(&case.path, 100).await?.unwrap().bytes, b"old");
    assert_eq!(fault(case.swap().await), Fault::Unknown);

    // Who reads an old state swaps in vain.
    let case = Case::new(|asked| match (asked.method, asked.before) {
        (&Method::GET, 1..) => Turn::Old,
        _ => Turn::Pass,
    });
    let case = case.await?;
    case.behind.get(&case.path, 100).await?;
    case.direct.swap(&case.path, b"rival", Some(&case.tag)).await?;
    let stale = case.behind.get(&case.path, 100).await?.unwrap();
    assert_eq!(stale.bytes, b"old");
    let swapped = case.behind.swap(&case.path, b"new", Some(&stale.tag)).await;
    assert_eq!(swapped, Err(StoreError::Conflict { path: case.path.clone() }));
    assert_eq!(case.bytes("a").await?, Some(b"rival".to_vec()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_that_fail_are_repeated() -> Result<(), Box<dyn Error>> {
    let case = Case::new(|asked| match (asked.method, asked.before) {
        (&Method::GET, 0 | 1 | 3) => Turn::Answer(503),
        _ => Turn::Pass,
    });
    let case = case.await?;
    assert_eq!(case.behind.get(&case.path, 100).await?.unwrap().bytes, b"old");
    assert_eq!(case.behind.list("").await?.len(), 1);
    Ok(())
}

/// Somebody else replaces `a`, so many times.
async fn rival(url: &str, times: u32) {
    let store = ObjectStore::open(url, &environment(), None).unwrap();
    let path = StorePath::new("a").unwrap();
    for time in 0..times {
        let tag = store.get(&path, 100).await.unwrap().map(|object| object.tag);
        store.swap(&path, format!("rival {time}").as_bytes(), tag.as_ref()).await.unwrap();
    }
}
