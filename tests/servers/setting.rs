//! Which servers there are, and new stores on them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;
use wheelseal::store::{ObjectStore, Store};

/// The bucket on the S3 server.
pub(crate) fn s3() -> String {
    server("WHEELSEAL_TEST_S3")
}

/// The container on the Azure server.
pub(crate) fn azure() -> String {
    server("WHEELSEAL_TEST_AZ")
}

fn server(variable: &str) -> String {
    let text = format!("{variable} names no server: run this by tests/servers/with");
    std::env::var(variable).unwrap_or_else(|_| panic!("{text}"))
}

/// The environment of this process.
pub(crate) fn environment() -> BTreeMap<String, String> {
    std::env::vars().collect()
}

/// The same, but for an S3 server elsewhere.
pub(crate) fn through(endpoint: &str) -> BTreeMap<String, String> {
    let mut environment = environment();
    environment.insert("AWS_ENDPOINT_URL_S3".to_owned(), endpoint.to_owned());
    environment
}

/// A folder of the bucket that nobody has used.
pub(crate) fn new_folder(bucket: &str) -> String {
    static USED: AtomicU64 = AtomicU64::new(0);
    format!("{bucket}/{}-{}", std::process::id(), USED.fetch_add(1, Ordering::Relaxed))
}

/// New stores on a bucket, of which the probe is done once.
pub(crate) struct Stores {
    bucket: String,
    environment: BTreeMap<String, String>,
    memory: TempDir,
}

impl Stores {
    pub(crate) async fn on(bucket: String, environment: BTreeMap<String, String>) -> Self {
        let stores = Self { bucket, environment, memory: tempfile::tempdir().unwrap() };
        stores.open(&stores.bucket).probe().await.unwrap();
        stores
    }

    pub(crate) fn open(&self, url: &str) -> ObjectStore {
        ObjectStore::open(url, &self.environment, Some(self.memory.path())).unwrap()
    }

    /// Several handles on a new store.
    pub(crate) fn fresh(&self) -> Vec<Arc<dyn Store>> {
        let url = new_folder(&self.bucket);
        let mut handles: Vec<Arc<dyn Store>> = Vec::new();
        for _ in 0..4 {
            handles.push(Arc::new(self.open(&url)));
        }
        handles
    }
}
