//! Files whose bytes were seen become targets of the recorder's own repository: many at once, in one commit.
//!
//! With `mirror`, their bytes go into the store first, under the names that the commit then lists. Nothing names them before.

use std::collections::BTreeSet;
use std::io::Cursor;

use chrono::{DateTime, Utc};
use tokio::io::AsyncReadExt;

use super::fetch::Taken;
use super::{Bytes, RecordError};
use crate::crawl;
use crate::crypto::Hasher;
use crate::python::{FileUrl, PageFile, ProjectName};
use crate::repository::{
    Imported, Keyring, Layout, List, Repository, RepositoryError, Run, TARGETS, Unwatched,
};
use crate::store::{Content, Store, StoreError, StorePath};
use crate::tuf::path::TargetPath;

/// Files committed together, at most: those who wait for the log and its witnesses wait once for all of them.
const MAX_FILES: usize = 512;
/// Bytes of files that wait for their commit, from which on there is one.
const MAX_BYTES: u64 = 512 * 1024 * 1024;
/// Bytes read at once of a file that is there already.
const CHUNK: usize = 256 * 1024;

/// Files that wait for their commit.
#[derive(Debug, Default)]
pub(super) struct Batch {
    files: Vec<Taken>,
    bytes: u64,
}

impl Batch {
    pub(super) fn push(&mut self, taken: Taken) {
        let held = taken.metadata.as_ref().map_or(0, |(_, bytes)| bytes.len());
        self.bytes = self.bytes.saturating_add(taken.size).saturating_add(u64::try_from(held).unwrap_or(0));
        self.files.push(taken);
    }

    pub(super) fn is_full(&self) -> bool {
        self.files.len() >= MAX_FILES || self.bytes >= MAX_BYTES
    }

    pub(super) fn take(&mut self) -> Vec<Taken> {
        self.bytes = 0;
        std::mem::take(&mut self.files)
    }
}

/// Who commits, and what becomes of the bytes.
pub(super) struct Desk<'a> {
    pub(super) repository: &'a Repository,
    pub(super) keys: &'a Keyring,
    pub(super) bytes: Bytes,
    pub(super) now: DateTime<Utc>,
}

impl Desk<'_> {
    /// Commits files: all of them, or none.
    pub(super) async fn publish(&self, files: &[&Taken]) -> Result<Imported, RecordError> {
        if self.bytes == Bytes::Kept {
            for taken in files {
                self.store(taken).await?;
            }
        }
        let text: String = files.iter().flat_map(|taken| [line(taken), "\n".to_owned()]).collect();
        let bytes = u64::try_from(text.len()).ok();
        let text = Box::new(Cursor::new(text.into_bytes()));
        let list = List { text, bytes, layout: Layout::Pages, hashes_from: None };
        Ok(self.repository.import(self.keys, list, Run::Wet, self.now, &Unwatched).await?)
    }

    /// Stores a file and its metadata, under their hashes and their plain names.
    async fn store(&self, taken: &Taken) -> Result<(), RecordError> {
        let path = format!("{}/{}", taken.offer.filename.project(), taken.offer.filename);
        self.store_both(&path, taken.sha256.as_str(), Content::File(taken.copy.path())).await?;
        if let Some((sha256, bytes)) = &taken.metadata {
            self.store_both(&format!("{path}.metadata"), sha256.as_str(), Content::Bytes(bytes)).await?;
        }
        Ok(())
    }

    async fn store_both(&self, path: &str, sha256: &str, content: Content<'_>) -> Result<(), RecordError> {
        let target = TargetPath::new(path).map_err(RepositoryError::from)?;
        let at = |hash| StorePath::new(format!("{TARGETS}/{}", target.location(hash)));
        let (hashed, plain) = (at(Some(sha256))?, at(None)?);
        let store = self.repository.store();
        put(store, &hashed, content, sha256).await?;
        put(store, &plain, Content::Copy(&hashed), sha256).await
    }
}

/// Puts bytes under a name that nothing published stands for: what an earlier try left there goes if it is something else.
async fn put(
    store: &dyn Store,
    at: &StorePath,
    content: Content<'_>,
    sha256: &str,
) -> Result<(), RecordError> {
    match store.create(at, content).await {
        Err(StoreError::Exists { .. }) if hash_of(store, at).await?.as_deref() != Some(sha256) => {
            store.delete(at).await?;
            Ok(store.create(at, content).await?)
        }
        Err(StoreError::Exists { .. }) => Ok(()),
        done => Ok(done?),
    }
}

/// The SHA-256 of an object.
async fn hash_of(store: &dyn Store, at: &StorePath) -> Result<Option<String>, RecordError> {
    let Some(mut stream) = store.open(at).await? else { return Ok(None) };
    let (mut hasher, mut buffer) = (Hasher::new(false), vec![0; CHUNK]);
    loop {
        let failed = |error: std::io::Error| RecordError::local("reading", at, &error);
        let count = stream.read(&mut buffer).await.map_err(failed)?;
        if count == 0 {
            return Ok(Some(hex::encode(hasher.finish().sha256)));
        }
        hasher.update(buffer.get(..count).unwrap_or_default());
    }
}

/// A file as a line of a list, with the length of its metadata.
fn line(taken: &Taken) -> String {
    let offer = &taken.offer;
    let mut line = crawl::line(&PageFile {
        url: FileUrl::below(&offer.filename),
        filename: offer.filename.clone(),
        sha256: taken.sha256.clone(),
        size: taken.size,
        upload_time: offer.upload_time.clone(),
        requires_python: taken.requires_python.clone(),
        yanked: offer.yanked.clone(),
        core_metadata_sha256: taken.metadata.as_ref().map(|(sha256, _)| sha256.clone()),
        provenance_sha256: None,
    });
    if let Some((_, bytes)) = &taken.metadata {
        line.push_str(&format!(":{}", bytes.len()));
    }
    line
}

/// The projects of some files.
pub(super) fn projects(files: &[Taken]) -> BTreeSet<ProjectName> {
    files.iter().map(|taken| taken.offer.filename.project().clone()).collect()
}
