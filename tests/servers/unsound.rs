//! Servers that the probe must refuse: nothing is written to them but what the probe itself needed.

use std::error::Error;

use axum::http::Method;
use wheelseal::store::{Content, Fault, ObjectStore, Store, StoreError, StorePath};

use crate::proxy::{self, Asked, Turn};
use crate::setting::{environment, new_folder, s3, through};

/// Fails unless `probe`, `create` and `swap` are refused with a reason that begins so, and the store stays empty.
async fn refused(
    rule: impl Fn(&Asked<'_>) -> Turn + Send + Sync + 'static,
    reason: &str,
) -> Result<(), Box<dyn Error>> {
    let url = new_folder(&s3());
    let proxy = proxy::start(rule).await;
    proxy.arm();
    let store = ObjectStore::open(&url, &through(&proxy.endpoint), None)?;
    let path = StorePath::new("a")?;
    let probed = store.probe().await.map(drop);
    let created = store.create(&path, Content::Bytes(b"1")).await;
    let swapped = store.swap(&path, b"1", None).await.map(drop);
    for outcome in [probed, created, swapped] {
        let Err(StoreError::Server { fault: Fault::Unsafe, message, .. }) = &outcome else {
            return Err(format!("{outcome:?}").into());
        };
        assert!(message.starts_with(reason), "{message}");
        assert!(outcome.unwrap_err().hint().unwrap().contains("use another server"));
    }
    assert_eq!(ObjectStore::open(&url, &environment(), None)?.list("").await?, []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_drops_the_conditions() -> Result<(), Box<dyn Error>> {
    let drops =
        |asked: &Asked<'_>| if asked.creates || asked.replaces { Turn::Unconditional } else { Turn::Pass };
    refused(drops, "it replaced an object that was to be created").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_drops_one_of_the_conditions() -> Result<(), Box<dyn Error>> {
    let drops = |asked: &Asked<'_>| if asked.replaces { Turn::Unconditional } else { Turn::Pass };
    refused(drops, "it replaced an object that had changed since it was read").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_looks_first_and_writes_then() -> Result<(), Box<dyn Error>> {
    let checks = |asked: &Asked<'_>| {
        if asked.method == Method::PUT { Turn::CheckThenAct } else { Turn::Pass }
    };
    refused(checks, "it let several writers win").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_shows_what_was_before() -> Result<(), Box<dyn Error>> {
    let stale = |asked: &Asked<'_>| if asked.method == Method::GET { Turn::Old } else { Turn::Pass };
    refused(stale, "it does not show at once what was written last").await
}
