//! The contract on each real server, and what only a server has.

use std::collections::BTreeMap;
use std::error::Error;

use tokio::io::AsyncReadExt;
use wheelseal::store::{Content, Fault, ObjectStore, Store, StoreError, StorePath};

use crate::contract;
use crate::setting::{Stores, azure, environment, new_folder, s3};

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_on_s3() -> Result<(), Box<dyn Error>> {
    let stores = Stores::on(s3(), environment()).await;
    contract::all(|| stores.fresh()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_on_azure() -> Result<(), Box<dyn Error>> {
    let stores = Stores::on(azure(), environment()).await;
    contract::all(|| stores.fresh()).await
}

#[tokio::test]
async fn files_too_large_for_memory_go_up_in_parts_on_s3() -> Result<(), Box<dyn Error>> {
    large_files(&s3()).await
}

#[tokio::test]
async fn files_too_large_for_memory_go_up_in_parts_on_azure() -> Result<(), Box<dyn Error>> {
    large_files(&azure()).await
}

async fn large_files(bucket: &str) -> Result<(), Box<dyn Error>> {
    let stores = Stores::on(bucket.to_owned(), environment()).await;
    let store = stores.open(&new_folder(bucket));
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("large");
    let bytes: Vec<u8> = (0..=250).cycle().take(33 * 1024 * 1024 + 1).collect();
    std::fs::write(&file, &bytes)?;
    let (path, copy) = (StorePath::new("targets/large.whl")?, StorePath::new("targets/copy.whl")?);

    store.create(&path, Content::File(&file)).await?;
    store.create(&copy, Content::Copy(&path)).await?;
    for path in [&path, &copy] {
        let mut read = Vec::new();
        store.open(path).await?.unwrap().read_to_end(&mut read).await?;
        assert!(read == bytes, "{path}");
    }
    for (path, content) in [(&path, Content::File(&file)), (&copy, Content::Copy(&path))] {
        assert_eq!(store.create(path, content).await, Err(StoreError::Exists { path: path.clone() }));
    }
    Ok(())
}

#[tokio::test]
async fn what_exists_is_dated_anew_by_a_refused_create() -> Result<(), Box<dyn Error>> {
    let stores = Stores::on(s3(), environment()).await;
    let store = stores.open(&new_folder(&s3()));
    let path = StorePath::new("a")?;
    store.create(&path, Content::Bytes(b"same")).await?;
    let before = store.list("").await?;
    let mut tries = 0;
    // The server's dates may be as coarse as a second.
    while store.list("").await? == before {
        tries += 1;
        assert!(tries < 1000, "the date stays");
        assert!(store.create(&path, Content::Bytes(b"same")).await.is_err());
    }
    let dated = store.list("").await?;
    assert!(dated[0].modified > before[0].modified);
    assert_eq!(store.get(&path, 10).await?.unwrap().bytes, b"same");
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_with_the_service_is_named_with_what_to_do() -> Result<(), Box<dyn Error>> {
    let path = StorePath::new("a")?;
    let asked = async |url: &str, environment: &BTreeMap<String, String>| {
        let store = ObjectStore::open(url, environment, None).unwrap();
        let created = store.create(&path, Content::Bytes(b"1")).await.unwrap_err();
        assert!(created.hint().is_some(), "{created}");
        match created {
            StoreError::Server { fault, .. } => fault,
            other => panic!("{other}"),
        }
    };
    let with = |name: &str, value: &str| {
        let mut environment = environment();
        environment.insert(name.to_owned(), value.to_owned());
        environment
    };
    assert_eq!(asked("s3://no-such-bucket/x", &environment()).await, Fault::NoBucket);
    assert_eq!(asked(&s3(), &with("AWS_SECRET_ACCESS_KEY", "wrong")).await, Fault::Denied);
    assert_eq!(asked(&s3(), &with("AWS_ACCESS_KEY_ID", "nobody")).await, Fault::Denied);
    assert_eq!(asked(&s3(), &with("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")).await, Fault::Failed);
    Ok(())
}
