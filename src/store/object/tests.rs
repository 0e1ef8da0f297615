//! [`ObjectStore`] in memory under the contract, and the parts of it that need no server. Real servers: `tests/servers`.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use super::ObjectStore;
use crate::store::{EtagQuotes, Store, StoreError, contract};

#[tokio::test(flavor = "multi_thread")]
async fn the_contract() -> Result<(), Box<dyn Error>> {
    contract::all(|| {
        let store: Arc<dyn Store> = Arc::new(ObjectStore::in_memory());
        vec![store; 4]
    })
    .await
}

#[tokio::test]
async fn the_probe_finds_memory_sound_and_leaves_nothing() -> Result<(), Box<dyn Error>> {
    let store = ObjectStore::in_memory();
    assert_eq!(store.probe().await?.etag_quotes, EtagQuotes::Keep);
    let mut left = store.inner.reads.list(None);
    assert!(futures_util::StreamExt::next(&mut left).await.is_none());
    Ok(())
}

#[test]
fn urls_that_name_no_bucket_are_refused() {
    for url in
        ["s3://", "s3:///prefix", "s3://user@bucket", "gs://bucket:80/x", "s3://bucket/../x", "ftp://x/y"]
    {
        let opened = ObjectStore::open(url, &BTreeMap::new(), None).map(drop);
        assert!(matches!(opened, Err(StoreError::InvalidPath { .. })), "{url}: {opened:?}");
    }
}

#[test]
fn only_urls_of_known_services_are_taken_for_urls() {
    for (url, known) in
        [("s3://b/p", true), ("gs://b", true), ("az://c/p", true), ("./s3", false), ("http://x", false)]
    {
        assert_eq!(ObjectStore::is_url(url), known, "{url}");
    }
}
