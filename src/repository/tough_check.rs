//! `check --with tough`: a second verifier that shares no code with this one reads the whole repository.
//!
//! tough 0.24 cannot read everything that the specification allows (succinct roles above all); where it cannot, that
//! is reported as its own failure, and says nothing about the repository.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tough::{Limits, RepositoryLoader, Transport, TransportError, TransportErrorKind, TransportStream};
use url::Url;

use super::{MAX_METADATA, Progress, Repository, RepositoryError, layout, path};
use crate::store::Store;
use crate::tuf::metadata::DelegatedRoles;
use crate::tuf::path::TargetPath;

/// Its name in reports.
const TOUGH: &str = "tough";
/// Bytes handed over at once.
const CHUNK: usize = 64 * 1024;
/// Chunks that may wait to be taken.
const WAITING: usize = 4;
/// The made-up address under which tough asks for files; nothing leaves the process.
const BASE: &str = "file:///";

impl Repository {
    /// Lets tough verify all metadata and every target file. Returns how many targets it read.
    pub async fn check_with_tough(&self, progress: &dyn Progress) -> Result<u64, RepositoryError> {
        let repository = self.load_with_tough().await?;
        let names: Vec<_> = repository.all_targets().map(|(name, _)| name.clone()).collect();
        let total = u64::try_from(names.len()).unwrap_or(u64::MAX);
        for (done, name) in (1..).zip(&names) {
            let stream = repository.read_target(name).await.map_err(failed)?;
            let stream = stream.ok_or_else(|| failed(format!("it does not find {}", name.raw())))?;
            stream.try_for_each(|_| std::future::ready(Ok(()))).await.map_err(failed)?;
            progress.at("checking with tough", done, total);
        }
        Ok(total)
    }

    /// Lets tough verify all metadata, if it can read this kind of repository.
    pub async fn read_with_tough(&self) -> Result<(), RepositoryError> {
        if self.has_succinct_bins().await? { Ok(()) } else { self.load_with_tough().await.map(drop) }
    }

    async fn has_succinct_bins(&self) -> Result<bool, RepositoryError> {
        let bins = self.state().await?.bins;
        let roles = bins.delegations.as_ref().map(|delegations| &delegations.roles);
        Ok(matches!(roles, Some(DelegatedRoles::Succinct(_))))
    }

    async fn load_with_tough(&self) -> Result<tough::Repository, RepositoryError> {
        if self.has_succinct_bins().await? {
            let reason = "tough cannot read succinct_roles (TAP 15); it can read: init --bin-style prefixes";
            return Err(RepositoryError::Plan(reason.to_owned()));
        }
        let at = layout::versioned("root", super::root::first_root(&self.state().await?.root))?;
        let root = self.store.get(&at, MAX_METADATA).await?;
        let root = root.ok_or_else(|| RepositoryError::Missing(at.to_string()))?.bytes;
        let url = |folder| Url::parse(&format!("{BASE}{folder}/")).map_err(failed);
        let loader = RepositoryLoader::new(&root, url(layout::METADATA)?, url(layout::TARGETS)?)
            .transport(StoreTransport { store: Arc::clone(&self.store) })
            .limits(Limits {
                max_root_size: MAX_METADATA,
                max_targets_size: MAX_METADATA,
                max_timestamp_size: MAX_METADATA,
                max_snapshot_size: MAX_METADATA,
                ..Limits::default()
            });
        loader.load().await.map_err(failed)
    }
}

/// tough's errors say little by themselves; their causes tell the rest.
fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> RepositoryError {
    let error = error.into();
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        reason = format!("{reason}: {deeper}");
        cause = deeper.source();
    }
    RepositoryError::SecondVerifier { verifier: TOUGH, reason }
}

#[derive(Debug, Clone)]
struct StoreTransport {
    store: Arc<dyn Store>,
}

#[async_trait]
impl Transport for StoreTransport {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let other = |error: RepositoryError| {
            TransportError::new_with_cause(TransportErrorKind::Other, url.as_str(), error)
        };
        let at = percent_encoding::percent_decode_str(url.path().trim_start_matches('/')).decode_utf8();
        let at = at.map_err(|_| TransportError::new(TransportErrorKind::Other, url.as_str()))?;
        let at = path(specified(at.into_owned())).map_err(other)?;
        let opened = self.store.open(&at).await.map_err(|error| other(error.into()))?;
        let Some(mut reader) = opened else {
            return Err(TransportError::new(TransportErrorKind::FileNotFound, url.as_str()));
        };
        // tough wants a stream that is Sync, which a reader is not; the receiving end of a channel is.
        let (sender, mut receiver) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            loop {
                let mut buffer = vec![0; CHUNK];
                let chunk = match reader.read(&mut buffer).await {
                    Ok(0) => return,
                    Ok(count) => {
                        buffer.truncate(count);
                        Ok(Bytes::from(buffer))
                    }
                    Err(error) => {
                        Err(TransportError::new_with_cause(TransportErrorKind::Other, url.as_str(), error))
                    }
                };
                if sender.send(chunk).await.is_err() {
                    return;
                }
            }
        });
        Ok(Box::pin(stream::poll_fn(move |context| receiver.poll_recv(context))))
    }
}

/// Where the specification (6.2) puts what tough asks for: the hash stands before a target's file name. tough puts it
/// before the whole path, folders included.
fn specified(at: String) -> String {
    let target = at.strip_prefix(layout::TARGETS).and_then(|rest| rest.strip_prefix('/'));
    match target.and_then(|target| target.split_once('.')) {
        Some((hash, path)) => match TargetPath::new(path) {
            Ok(path) => format!("{}/{}", layout::TARGETS, path.location(Some(hash))),
            Err(_) => at,
        },
        None => at,
    }
}
