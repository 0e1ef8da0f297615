//! Files of claimed projects that came before their maintainers' signatures: `staging/uploads/PROJECT/SHA256.FILENAME`.
//!
//! They are no part of the repository: nothing signs them and no page lists them. A release that lists one takes it from
//! here. Whoever may upload for a project may fill its place, which is bounded; `gc` removes what nobody signed.

use std::io::Write;
use std::path::Path;
use std::str::FromStr;
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tempfile::NamedTempFile;
use tokio::io::AsyncReadExt;

use super::apply::{Applied, LookAlike};
use super::file::{Kind, ProjectFile};
use crate::crypto::{Hasher, sha256};
use crate::python::{DistributionFilename, MAX_PROVENANCE, ProjectName, ProjectPage, Provenance, Sha256Hex};
use crate::repository::check::names::file_name;
use crate::repository::edit::refuse_other_provenance;
use crate::repository::{Distribution, Keyring, Repository, RepositoryError, layout};
use crate::store::{Content, Entry, StoreError};

/// Days after which `gc` removes a file that nobody signed: enough for people who sign on another machine.
pub const STAGED_DAYS: i64 = 30;
/// Files that wait for one project, at most, with their provenance. Releases with wheels for every platform have some 100.
const MAX_STAGED: usize = 500;
/// Bytes that wait for one project, at most: room for a release of the largest ones.
const MAX_STAGED_BYTES: u64 = 8 * 1024 * 1024 * 1024;
/// Bytes read at once.
const CHUNK: usize = 256 * 1024;

/// A file that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Staged {
    /// Its project.
    pub project: String,
    /// Its name.
    pub filename: String,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
    /// Its length in bytes.
    pub size: u64,
    /// When it came.
    pub since: DateTime<Utc>,
}

/// What became of a file for a claimed project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Staging {
    /// It waits for its maintainers.
    Waits,
    /// It is published already.
    Published,
}

/// What became of what maintainers sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// It is published.
    Applied(Applied),
    /// It waits for an admin.
    Waits,
}

impl Repository {
    /// Keeps a file of a claimed project until its maintainers sign it.
    pub async fn stage_upload(&self, distribution: &Distribution) -> Result<Staging, RepositoryError> {
        let (name, found) = (distribution.filename.to_string(), hex::encode(distribution.sha256));
        let project = distribution.filename.project();
        let page = self.page(&self.state().await?, project).await?;
        if let Some((page, listed)) = page.as_ref().and_then(|page| Some((page, page.file(&name)?))) {
            if listed.sha256.as_str() == found {
                return refuse_other_provenance(page, distribution).map(|()| Staging::Published);
            }
            let published = listed.sha256.to_string();
            return Err(RepositoryError::Conflict { filename: name, published, found });
        }
        let entries = self.store.list(&layout::staged_for(project)).await?;
        let waiting: Vec<_> = entries.iter().filter_map(Staged::of).collect();
        let known = waiting.iter().any(|one| one.filename == name && one.sha256 == found);
        let bytes: u64 = entries.iter().map(|one| one.len).sum();
        let full = entries.len() >= MAX_STAGED || bytes.saturating_add(distribution.size) > MAX_STAGED_BYTES;
        let with_provenance = distribution.provenance.is_some();
        if full && (!known || with_provenance) {
            return Err(RepositoryError::TooMuchWaits(project.to_string()));
        }
        // Before the file, so that it is there when the file is asked for.
        if let Some(provenance) = &distribution.provenance {
            let bytes = provenance.as_str().as_bytes();
            let at = layout::staged_provenance(project, &hex::encode(sha256(bytes)), &name)?;
            match self.store.create(&at, Content::Bytes(bytes)).await {
                Ok(()) | Err(StoreError::Exists { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // One that is there already is dated anew, so that `gc` leaves it.
        let at = layout::staged(project, &found, &name)?;
        match self.store.create(&at, Content::File(distribution.copy.path())).await {
            Ok(()) | Err(StoreError::Exists { .. }) => Ok(Staging::Waits),
            Err(error) => Err(error.into()),
        }
    }

    /// What waits for a project.
    pub async fn staged_for(&self, project: &ProjectName) -> Result<Vec<Staged>, RepositoryError> {
        let entries = self.store.list(&layout::staged_for(project)).await?;
        Ok(entries.iter().filter_map(Staged::of).collect())
    }

    /// What waits for any project.
    pub async fn staged(&self) -> Result<Vec<Staged>, RepositoryError> {
        let entries = self.store.list(layout::UPLOADS).await?;
        Ok(entries.iter().filter_map(Staged::of).collect())
    }

    /// Forgets a file that waits, and the attestations of it unless another one of its name waits.
    pub async fn forget_staged(&self, staged: &Staged) -> Result<(), RepositoryError> {
        let project = ProjectName::from_str(&staged.project);
        let project = project.map_err(|_| RepositoryError::Missing(staged.project.clone()))?;
        self.store.delete(&layout::staged(&project, &staged.sha256, &staged.filename)?).await?;
        let left = self.store.list(&layout::staged_for(&project)).await?;
        if left.iter().filter_map(Staged::of).any(|one| one.filename == staged.filename) {
            return Ok(());
        }
        let provenance = format!(".{}.provenance", staged.filename);
        let hashed = |entry: &&Entry| {
            let name = file_name(&entry.path).strip_suffix(&provenance);
            name.is_some_and(|hash| Sha256Hex::from_str(hash).is_ok())
        };
        for entry in left.iter().filter(hashed) {
            self.store.delete(&entry.path).await?;
        }
        Ok(())
    }

    /// Takes what a project's maintainers sent over the network: a release with the files that wait here for it, or a
    /// change of keys. A claim, and keys that take a ceremony, wait for an admin. Files lie in `spool` meanwhile.
    pub async fn accept(
        &self,
        keys: &Keyring,
        file: &ProjectFile,
        spool: &Path,
        now: DateTime<Utc>,
    ) -> Result<Accepted, RepositoryError> {
        let in_ceremony = file.kind == Kind::Keys && self.needs_ceremony(file, now).await?;
        if file.kind == Kind::Claim {
            self.judge_project(file, &[], LookAlike::Refused, now).await?;
        }
        if in_ceremony || file.kind == Kind::Claim {
            self.queue_claim(file).await?;
            return Ok(Accepted::Waits);
        }
        let waiting = match file.kind {
            Kind::Release => {
                // Before anything is copied for it.
                self.refuse_unsigned(file).await?;
                self.wanted(file).await?
            }
            Kind::Claim | Kind::Keys => Vec::new(),
        };
        let mut files = Vec::with_capacity(waiting.len());
        for (staged, provenance) in &waiting {
            let distribution = self.unstaged(staged, spool).await?;
            files.push(self.with_staged_provenance(distribution, provenance.as_ref()).await?);
        }
        let applied = self.apply(keys, file, &files, LookAlike::Refused, now).await?;
        for (staged, _) in &waiting {
            // It is published by now, whatever becomes of this copy; `gc` removes it as well.
            drop(self.forget_staged(staged).await);
        }
        Ok(Accepted::Applied(applied))
    }

    /// What waits, is listed by a release, and is not published yet, each with the digest of the provenance that is listed
    /// with it. The release is not verified here.
    async fn wanted(&self, file: &ProjectFile) -> Result<Vec<(Staged, Option<Sha256Hex>)>, RepositoryError> {
        let Some(text) = &file.page else { return Ok(Vec::new()) };
        let page = ProjectPage::from_json(text.as_bytes());
        let page =
            page.map_err(|error| RepositoryError::Page { project: file.project.to_string(), error })?;
        let published = self.page(&self.state().await?, &file.project).await?;
        let new = |name: &str| published.as_ref().is_none_or(|page| page.file(name).is_none());
        let listed = |one: Staged| {
            let file = page.file(&one.filename);
            let file = file.filter(|file| file.sha256.as_str() == one.sha256 && new(&one.filename))?;
            Some((one, file.provenance_sha256.clone()))
        };
        Ok(self.staged_for(&file.project).await?.into_iter().filter_map(listed).collect())
    }

    /// A file with the provenance that waits for it, judged as if it came now.
    async fn with_staged_provenance(
        &self,
        distribution: Distribution,
        digest: Option<&Sha256Hex>,
    ) -> Result<Distribution, RepositoryError> {
        let Some(digest) = digest else { return Ok(distribution) };
        let name = distribution.filename.to_string();
        let at = layout::staged_provenance(distribution.filename.project(), digest.as_str(), &name)?;
        let object = self.store.get(&at, u64::try_from(MAX_PROVENANCE).unwrap_or(u64::MAX)).await?;
        let Some(object) = object else {
            return Err(RepositoryError::Plan(format!(
                "the release lists {name}.provenance, which does not wait here"
            )));
        };
        let text = String::from_utf8(object.bytes).unwrap_or_default();
        if hex::encode(sha256(text.as_bytes())) != digest.as_str() {
            return Err(RepositoryError::Altered(format!("{name}.provenance")));
        }
        distribution.attested(|filename, sha256| Provenance::read(&text, filename, sha256))
    }

    /// Copies a file that waits aside, and judges it as if it came now: nothing that lies in a store is trusted.
    async fn unstaged(&self, staged: &Staged, spool: &Path) -> Result<Distribution, RepositoryError> {
        let shown = staged.filename.clone();
        let filename = DistributionFilename::from_str(&staged.filename)
            .map_err(|error| RepositoryError::Filename { file: shown.clone(), error })?;
        let at = layout::staged(filename.project(), &staged.sha256, &staged.filename)?;
        let stream = self.store.open(&at).await?.ok_or_else(|| RepositoryError::Missing(at.to_string()))?;
        let failed = |error: std::io::Error| RepositoryError::File {
            what: "copying aside",
            file: shown.clone(),
            reason: error.to_string(),
        };
        let mut copy = NamedTempFile::new_in(spool).map_err(failed)?;
        let (mut stream, mut hasher, mut size) = (stream.take(staged.size), Hasher::new(false), 0);
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = stream.read(&mut chunk).await.map_err(failed)?;
            let read = chunk.get(..count).unwrap_or_default();
            if read.is_empty() {
                break;
            }
            copy.write_all(read).map_err(failed)?;
            hasher.update(read);
            size += u64::try_from(count).unwrap_or(u64::MAX);
        }
        let sha256 = hasher.finish().sha256;
        if hex::encode(sha256) != staged.sha256 {
            return Err(RepositoryError::Altered(staged.filename.clone()));
        }
        let judge = move || Distribution::spooled(filename, copy, (sha256, size), &shown);
        let judged = tokio::task::spawn_blocking(judge).await;
        judged.map_err(|error| RepositoryError::Plan(error.to_string()))?
    }
}

impl Staged {
    /// By where it lies; none for what this program would not have written.
    fn of(entry: &Entry) -> Option<Self> {
        let (project, file) =
            entry.path.as_str().strip_prefix(layout::UPLOADS)?.strip_prefix('/')?.split_once('/')?;
        let (sha256, filename) = file.split_once('.')?;
        let parsed = DistributionFilename::from_str(filename).ok()?;
        let fits = parsed.project().as_str() == project && parsed.as_str() == filename && sha256.len() == 64;
        fits.then(|| Self {
            project: project.to_owned(),
            filename: filename.to_owned(),
            sha256: sha256.to_owned(),
            size: entry.len,
            since: DateTime::from(entry.modified),
        })
    }
}

/// What came before this was not signed for so long that it may go.
pub(in crate::repository) fn forgotten_before(now: DateTime<Utc>) -> SystemTime {
    SystemTime::from(now - chrono::TimeDelta::days(STAGED_DAYS))
}
