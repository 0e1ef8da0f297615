//! From a URL and the environment to a client of the service.
//!
//! The names of the environment are those of the vendors' own tools. AWS: what the SDKs read, profiles included. Google:
//! `GOOGLE_APPLICATION_CREDENTIALS` and its kin. Azure: `AZURE_STORAGE_ACCOUNT`, `AZURE_STORAGE_KEY`,
//! `AZURE_STORAGE_SAS_TOKEN`, `AZURE_STORAGE_CONNECTION_STRING`, and those for managed identities.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::memory::InMemory;
use object_store::{ClientOptions, RetryConfig};

use super::fault::Context;
use super::profile;
use crate::store::{StoreError, StorePath};

/// Attempts at a read, a listing or a deletion, at most.
const MAX_RETRIES: usize = 6;
/// The time they may take together.
const MAX_RETRY_TIME: Duration = Duration::from_mins(1);

/// Time for a connection, at most.
const MAX_CONNECT: Duration = Duration::from_secs(10);
/// Silence between two pieces of an answer, at most.
const MAX_SILENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Amazon,
    Google,
    Azure,
    Memory,
}

/// A client, twice.
pub(super) struct Service {
    pub(super) reads: Arc<dyn object_store::ObjectStore>,
    pub(super) writes: Arc<dyn object_store::ObjectStore>,
    pub(super) kind: Kind,
    pub(super) prefix: String,
    /// Which server and bucket this is, for what is remembered of it: one URL may lead to several endpoints.
    pub(super) identity: String,
}

/// The service that a URL names.
pub(super) fn scheme(url: &str) -> Option<Kind> {
    let (scheme, _) = url.split_once("://")?;
    match scheme {
        "s3" => Some(Kind::Amazon),
        "gs" => Some(Kind::Google),
        "az" => Some(Kind::Azure),
        "memory" => Some(Kind::Memory),
        _ => None,
    }
}

pub(super) fn in_memory() -> Service {
    let store: Arc<dyn object_store::ObjectStore> = Arc::new(InMemory::new());
    let identity = "memory://".to_owned();
    Service { reads: Arc::clone(&store), writes: store, kind: Kind::Memory, prefix: String::new(), identity }
}

pub(super) fn connect(url: &str, environment: &BTreeMap<String, String>) -> Result<Service, StoreError> {
    let wrong = |reason| StoreError::InvalidPath { path: url.to_owned(), reason };
    let kind = scheme(url).ok_or_else(|| wrong("expected s3://, gs:// or az://"))?;
    if kind == Kind::Memory {
        return Ok(in_memory());
    }
    let place = url.split_once("://").map_or("", |(_, place)| place);
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    let prefix = prefix.trim_end_matches('/');
    if bucket.is_empty() || bucket.contains(['?', '#', '@', ':']) {
        return Err(wrong("expected the name of a bucket after the scheme"));
    }
    if !prefix.is_empty() {
        StorePath::new(prefix)?;
    }
    // Another part of the program may have installed the same provider before; then that one stays.
    drop(rustls::crypto::ring::default_provider().install_default());
    let failed = |error| Context { what: "open", path: url }.error(&error);
    let client = |retries| match kind {
        Kind::Amazon => amazon(bucket, environment, retries),
        Kind::Google => google(bucket, environment, retries),
        Kind::Azure | Kind::Memory => azure(bucket, environment, retries),
    };
    let (reads, endpoint) = client(MAX_RETRIES).map_err(failed)?;
    let (writes, _) = client(0).map_err(failed)?;
    let identity = format!("{kind:?} {bucket} {endpoint}");
    Ok(Service { reads, writes, kind, prefix: prefix.to_owned(), identity })
}

/// What the profile of the AWS tools says, and over it the variables of the environment, under the names of these.
pub fn amazon_settings(environment: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut settings = profile::read(environment);
    let variables = environment.iter().filter(|(name, _)| name.starts_with("AWS_"));
    settings.extend(variables.map(|(name, value)| (name.clone(), value.clone())));
    settings
}

fn amazon(
    bucket: &str,
    environment: &BTreeMap<String, String>,
    retries: usize,
) -> object_store::Result<(Arc<dyn object_store::ObjectStore>, String)> {
    let mut builder = AmazonS3Builder::new();
    let settings = amazon_settings(environment);
    for (name, value) in &settings {
        if let Ok(key) = name.to_ascii_lowercase().parse() {
            builder = builder.with_config(key, value);
        }
    }
    let named = |name: &str| settings.get(name);
    let endpoint = named("AWS_ENDPOINT_URL_S3").or_else(|| named("AWS_ENDPOINT_URL"));
    let endpoint = endpoint.or_else(|| named("AWS_ENDPOINT")).cloned().unwrap_or_default();
    let built = builder
        .with_bucket_name(bucket)
        .with_retry(retry(retries))
        .with_client_options(options(&endpoint))
        .with_disable_bulk_delete(true)
        .build()?;
    Ok((Arc::new(built), endpoint))
}

fn google(
    bucket: &str,
    environment: &BTreeMap<String, String>,
    retries: usize,
) -> object_store::Result<(Arc<dyn object_store::ObjectStore>, String)> {
    let mut builder = GoogleCloudStorageBuilder::new();
    for (name, value) in environment {
        if name == "SERVICE_ACCOUNT" {
            builder = builder.with_service_account_path(value);
        } else if let (true, Ok(key)) = (name.starts_with("GOOGLE_"), name.to_ascii_lowercase().parse()) {
            builder = builder.with_config(key, value);
        }
    }
    let endpoint = environment.get("GOOGLE_BASE_URL").cloned().unwrap_or_default();
    let built = builder
        .with_bucket_name(bucket)
        .with_retry(retry(retries))
        .with_client_options(options(&endpoint))
        .build()?;
    Ok((Arc::new(built), endpoint))
}

fn azure(
    container: &str,
    environment: &BTreeMap<String, String>,
    retries: usize,
) -> object_store::Result<(Arc<dyn object_store::ObjectStore>, String)> {
    let mut builder = MicrosoftAzureBuilder::new();
    let mut endpoint = environment.get("AZURE_STORAGE_ENDPOINT").cloned().unwrap_or_default();
    let connection = environment.get("AZURE_STORAGE_CONNECTION_STRING").map_or("", String::as_str);
    for (name, value) in connection.split(';').filter_map(|part| part.split_once('=')) {
        let key = match name {
            "AccountName" => AzureConfigKey::AccountName,
            "AccountKey" => AzureConfigKey::AccessKey,
            "SharedAccessSignature" => AzureConfigKey::SasKey,
            "BlobEndpoint" => {
                value.clone_into(&mut endpoint);
                AzureConfigKey::Endpoint
            }
            _ => continue,
        };
        builder = builder.with_config(key, value);
    }
    for (name, value) in environment.iter().filter(|(name, _)| name.starts_with("AZURE_")) {
        match name.as_str() {
            "AZURE_STORAGE_ACCOUNT" => builder = builder.with_config(AzureConfigKey::AccountName, value),
            "AZURE_STORAGE_KEY" => builder = builder.with_config(AzureConfigKey::AccessKey, value),
            _ => {
                if let Ok(key) = name.to_ascii_lowercase().parse() {
                    builder = builder.with_config(key, value);
                }
            }
        }
    }
    let built = builder
        .with_container_name(container)
        .with_retry(retry(retries))
        .with_client_options(options(&endpoint))
        .build()?;
    Ok((Arc::new(built), endpoint))
}

fn retry(max_retries: usize) -> RetryConfig {
    RetryConfig { max_retries, retry_timeout: MAX_RETRY_TIME, ..RetryConfig::default() }
}

fn options(endpoint: &str) -> ClientOptions {
    ClientOptions::new()
        .with_connect_timeout(MAX_CONNECT)
        .with_timeout_disabled()
        .with_read_timeout(MAX_SILENCE)
        .with_allow_http(endpoint.starts_with("http://"))
}
