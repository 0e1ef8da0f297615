//! A repository made again from a backup, and from files that lie somewhere.
//!
//! 1. The whole archive is read and verified; nothing is written before.
//! 2. The ground is looked at: there may be target files, and what an earlier restore of the same backup left, but no
//!    timestamp, and nothing newer than the backup.
//! 3. The archive is read and verified again, and written: metadata, signed pages, and the unsigned ones made from them.
//! 4. Target files are found by name and length, confirmed by their hashes, and stored under both names; what is missing
//!    is named.
//!    A transparency log must be the one that timestamp names, or go on from there; the proofs of files are made anew.
//! 5. `timestamp.json` last. Until then there is no repository, and all of this can be repeated.
//!
//! Clients that saw more than the backup knows refuse what it makes: they would be taken back. docs/operating.md says
//! what to do then.

mod files;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::mpsc;

use self::files::Stock;
use super::backup::read::{Contents, Entry, Kind};
use super::check::names::{file_name, plain_name};
use super::check::split_name;
use super::fsck::lists_of;
use super::plain::project_of;
use super::{MAX_METADATA, Progress, Repository, RepositoryError, Settings, layout, path};
use crate::python::ProjectPage;
use crate::store::{Content, Object, Store, StoreError, StorePath, Swap};
use crate::tuf::metadata::{TopLevel, Version};
use crate::tuf::path::{TargetPath, percent_quote};
use crate::tuf::trusted::TrustError;

/// Entries written together.
const BATCH: usize = 64;

/// Bytes written together, about.
const BATCH_BYTES: usize = 16 * 1024 * 1024;

/// Batches that wait to be written.
const WAITING: usize = 2;

/// What to restore from.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The file that [`Repository::backup`] wrote.
    pub archive: &'a Path,
    /// Folders in which target files may lie, in any layout; the store itself is always one.
    pub files: &'a [PathBuf],
    /// A root that must be one of the backup's, byte for byte: without it, whoever made the backup is believed.
    pub root: Option<&'a [u8]>,
}

/// A repository that was restored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// Version of its timestamp.
    pub timestamp: Version,
    /// Version of its snapshot.
    pub snapshot: Version,
    /// Metadata files.
    pub roles: u64,
    /// Project pages.
    pub pages: u64,
    /// Target files that are there.
    pub files: u64,
    /// Target files that were found nowhere.
    pub missing: u64,
}

/// What is called with the path in the store of each target file that was found nowhere.
pub type Missing<'a> = dyn FnMut(&str) + Send + 'a;

impl Repository {
    /// Makes a repository in `store` from a backup.
    pub async fn restore(
        store: Arc<dyn Store>,
        source: &Source<'_>,
        progress: &dyn Progress,
        missing: &mut Missing<'_>,
    ) -> Result<Restored, RepositoryError> {
        let contents = Contents::of(source.archive).await?;
        if let Some(root) = source.root
            && !contents.roots.iter().any(|known| known.bytes() == root)
        {
            return Err(RepositoryError::backup(
                source.archive,
                "none of its roots is the one that was given",
            ));
        }
        refuse_newer(&*store, &contents).await?;
        let repository = Self::of(store, Settings::unwritten());
        let stock = Arc::new(Stock::new());
        let projects = repository.unpack(source.archive, &contents, &stock, progress).await?;
        let (files, absent) = repository.fill(&stock, source.files, progress, missing).await?;
        for (file, text) in lists_of(&projects).into_iter().filter(|_| !projects.is_empty()) {
            repository.put(&path(format!("{}/{file}", layout::SIMPLE))?, text.as_bytes()).await?;
        }
        if let Some(log) = &contents.timestamp.log {
            repository.restore_log(log).await?;
        }
        if let Some(newest) = contents.roots.last() {
            repository.put(&layout::newest_root()?, newest.bytes()).await?;
        }
        let timestamp = contents.timestamp.bytes();
        repository.store.swap(&layout::timestamp()?, timestamp, None).await?;
        let state = Self::open(Arc::clone(&repository.store)).await?.state().await?;
        Ok(Restored {
            timestamp: state.timestamp.common.version,
            snapshot: state.snapshot.common.version,
            roles: contents.roles,
            pages: contents.pages,
            files,
            missing: absent,
        })
    }

    /// Writes all but the timestamp. Returns the projects.
    async fn unpack(
        &self,
        archive: &Path,
        contents: &Contents,
        stock: &Arc<Stock>,
        progress: &dyn Progress,
    ) -> Result<Vec<String>, RepositoryError> {
        let (sender, mut batches) = mpsc::channel(WAITING);
        let mut unpacker = Unpacker { stock: Arc::clone(stock), batch: Vec::new(), bytes: 0, sender };
        // The last batch goes when the reader, and the unpacker with it, is done.
        let reading = Contents::read(archive.to_owned(), move |entry| unpacker.take(entry));
        let writing = async move {
            let (mut projects, mut done) = (Vec::new(), 0);
            while let Some(batch) = batches.recv().await {
                done += u64::try_from(batch.len()).unwrap_or(0);
                projects.extend(self.write_entries(batch).await?);
                progress.at("restoring metadata", done, contents.roles + contents.pages);
            }
            Ok::<_, RepositoryError>(projects)
        };
        let (read, written) = tokio::join!(reading, writing);
        let projects = written?;
        if read?.timestamp.bytes() != contents.timestamp.bytes() {
            return Err(RepositoryError::backup(archive, "was changed while it was read"));
        }
        Ok(projects)
    }

    /// Writes verified entries, and the unsigned pages that belong to signed ones. Returns the projects of these.
    async fn write_entries(&self, batch: Vec<Entry>) -> Result<Vec<String>, RepositoryError> {
        let new: Vec<_> =
            batch.iter().map(|entry| (entry.at.clone(), Content::Bytes(&entry.bytes))).collect();
        for (outcome, entry) in self.store.create_all(&new).await.into_iter().zip(&batch) {
            match outcome {
                Err(StoreError::Exists { .. }) if self.holds(&entry.at, &entry.bytes).await? => {}
                // A hash is in its name, so a file that is there is a damaged one.
                Err(StoreError::Exists { .. }) if matches!(entry.kind, Kind::Page) => {
                    self.store.delete(&entry.at).await?;
                    self.store.create(&entry.at, Content::Bytes(&entry.bytes)).await?;
                }
                outcome => outcome?,
            }
        }
        let (mut projects, mut files) = (Vec::new(), Vec::new());
        for entry in batch.iter().filter(|entry| matches!(entry.kind, Kind::Page)) {
            let page = ProjectPage::from_json(&entry.bytes)
                .map_err(|error| RepositoryError::Page { project: entry.at.to_string(), error })?;
            for (file, text) in [("index.json", page.to_json()), ("index.html", page.to_html())] {
                let at = layout::simple(page.name(), file)?;
                let old = self.store.get(&at, MAX_METADATA).await?;
                files.push((at, text, old));
            }
            projects.push(page.name().to_string());
        }
        let other = |(_, text, old): &&(StorePath, String, Option<Object>)| {
            old.as_ref().is_none_or(|old| old.bytes != text.as_bytes())
        };
        let changed = files.iter().filter(other);
        let swaps: Vec<_> = changed
            .map(|(path, text, old)| Swap {
                path,
                bytes: text.as_bytes(),
                expected: old.as_ref().map(|old| &old.tag),
            })
            .collect();
        for outcome in self.store.swap_all(&swaps).await {
            outcome?;
        }
        Ok(projects)
    }

    /// Makes a file that is not for good what it should be.
    pub(super) async fn put(&self, at: &StorePath, bytes: &[u8]) -> Result<(), RepositoryError> {
        let found = self.store.get(at, MAX_METADATA).await?;
        if found.as_ref().is_some_and(|found| found.bytes == bytes) {
            return Ok(());
        }
        self.store.swap(at, bytes, found.map(|found| found.tag).as_ref()).await?;
        Ok(())
    }
}

/// Refuses a place where a repository is, or where a newer one was.
async fn refuse_newer(store: &dyn Store, contents: &Contents) -> Result<(), RepositoryError> {
    let timestamp = layout::timestamp()?;
    let root = contents.roots.last().map_or(0, |root| root.common.version);
    let roles = contents.snapshot.roles().map(|(role, file)| (percent_quote(role, b""), file.version));
    let top = [(TopLevel::Root, root), (TopLevel::Snapshot, contents.snapshot.common.version)];
    let top = top.map(|(role, version)| (role.name().to_owned(), version));
    let versions: BTreeMap<String, Version> = roles.chain(top).collect();
    let mut refused = None;
    store
        .walk(layout::METADATA, &mut |entry| {
            if entry.path == timestamp {
                refused = Some(RepositoryError::AlreadyRepository(entry.path.to_string()));
            }
            let Some((found, stem)) = split_name(plain_name(file_name(&entry.path))) else { return Ok(()) };
            let known = versions.get(stem).copied().unwrap_or(0);
            if found > known && refused.is_none() {
                let role = stem.to_owned();
                refused = Some(TrustError::Rollback { role, found: known, trusted: found }.into());
            }
            Ok(())
        })
        .await?;
    refused.map_or(Ok(()), Err)
}

/// Gathers verified entries into batches.
struct Unpacker {
    stock: Arc<Stock>,
    batch: Vec<Entry>,
    bytes: usize,
    sender: mpsc::Sender<Vec<Entry>>,
}

impl Unpacker {
    fn take(&mut self, entry: Entry) -> Result<(), RepositoryError> {
        match &entry.kind {
            Kind::Timestamp => return Ok(()),
            Kind::Targets(targets) => {
                for (name, file) in &targets.targets {
                    let target = TargetPath::new(name)?;
                    if project_of(&target).is_none() {
                        self.stock.want(&target, file)?;
                    }
                }
            }
            _ => {}
        }
        self.bytes += entry.bytes.len();
        self.batch.push(entry);
        if self.batch.len() >= BATCH || self.bytes >= BATCH_BYTES { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> Result<(), RepositoryError> {
        self.bytes = 0;
        // Nobody takes it any more when writing failed, which is the error that is told.
        let sent = self.sender.blocking_send(std::mem::take(&mut self.batch));
        sent.map_err(|_| RepositoryError::Plan("writing ended early".to_owned()))
    }
}

impl Drop for Unpacker {
    fn drop(&mut self) {
        drop(self.send());
    }
}
