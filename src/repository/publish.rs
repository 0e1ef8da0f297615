//! Adding, removing and yanking distributions.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read, Seek, Write};
use std::path::Path;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use tempfile::NamedTempFile;

use super::commit::{Listing, NewRole, Transaction};
use super::keyring::Keyring;
use super::state::{BINS, State};
use super::{MAX_ATTEMPTS, Progress, Repository, RepositoryError, Unwatched, days_after, layout};
use crate::crypto::{Hasher, sha256};
use crate::python::{
    ArchiveLimits, DistributionFilename, FileUrl, FreeText, Insertion, Kind, PageFile, ProjectName,
    ProjectPage, Sha256Hex, UploadTime, Yanked, inspect,
};
use crate::store::{Content, StoreError};
use crate::tuf::metadata::{DelegatedRoles, Extra, Hashes, TargetFile, Targets, TopLevel};
use crate::tuf::path::{RoleName, TargetPath, percent_quote};
use crate::tuf::signed::Draft;

/// Bytes copied at once.
const CHUNK: usize = 256 * 1024;

/// A distribution that was read, checked and copied aside, so that it cannot change while it is published.
#[derive(Debug)]
pub struct Distribution {
    filename: DistributionFilename,
    sha256: [u8; 32],
    size: u64,
    requires_python: Option<FreeText>,
    /// PEP 658 metadata; wheels alone have it.
    metadata: Option<Vec<u8>>,
    copy: NamedTempFile,
}

impl Distribution {
    /// Its file name.
    pub fn filename(&self) -> &DistributionFilename {
        &self.filename
    }

    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }
}

/// A change to what is published.
#[derive(Debug)]
pub enum Edit {
    /// Publishes a file.
    Add(Box<Distribution>),
    /// Withdraws a file.
    Remove(DistributionFilename),
    /// Yanks a file (PEP 592), with a reason.
    Yank(DistributionFilename, Option<FreeText>),
    /// Takes a yank back.
    Unyank(DistributionFilename),
}

impl Edit {
    /// The file it is about.
    pub fn filename(&self) -> &DistributionFilename {
        match self {
            Self::Add(distribution) => &distribution.filename,
            Self::Remove(filename) | Self::Yank(filename, _) | Self::Unyank(filename) => filename,
        }
    }
}

/// Outcome of a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Files that changed something.
    pub changed: Vec<String>,
    /// Files that were as asked already.
    pub unchanged: Vec<String>,
    /// Version of the snapshot that has them.
    pub snapshot: u64,
    /// Version of the timestamp that has them.
    pub timestamp: u64,
}

/// Reads a wheel or sdist, checks that its content is what its name says, and copies it aside to `folder`.
pub fn read_distribution(file: &Path, folder: &Path) -> Result<Distribution, RepositoryError> {
    let shown = file.display().to_string();
    let failed = |what| {
        let file = shown.clone();
        move |error: std::io::Error| RepositoryError::File { what, file, reason: error.to_string() }
    };
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let filename = DistributionFilename::from_str(name)
        .map_err(|error| RepositoryError::Filename { file: shown.clone(), error })?;
    let about = std::fs::symlink_metadata(file).map_err(failed("looking at"))?;
    if !about.is_file() {
        let reason = if about.is_symlink() { "it is a symbolic link" } else { "it is no regular file" };
        return Err(RepositoryError::File { what: "publishing", file: shown, reason: reason.to_owned() });
    }
    let mut copy = NamedTempFile::new_in(folder).map_err(failed("copying aside"))?;
    let (sha256, size) = copy_hashed(File::open(file).map_err(failed("opening"))?, copy.as_file_mut())
        .map_err(failed("copying aside"))?;
    copy.as_file_mut().rewind().map_err(failed("reading"))?;
    let inspected = inspect(&filename, BufReader::new(copy.as_file()), &ArchiveLimits::default())
        .map_err(|error| RepositoryError::Archive { file: shown, error })?;
    let requires_python = inspected.metadata.requires_python.map(|requires| requires.text().clone());
    let metadata = matches!(filename.kind(), Kind::Wheel { .. }).then_some(inspected.metadata_bytes);
    Ok(Distribution { filename, sha256, size, requires_python, metadata, copy })
}

fn copy_hashed(mut from: File, to: &mut File) -> std::io::Result<([u8; 32], u64)> {
    let mut hasher = Hasher::new(false);
    let mut buffer = vec![0; CHUNK];
    let mut size = 0_u64;
    loop {
        let count = from.read(&mut buffer)?;
        let chunk = buffer.get(..count).unwrap_or_default();
        if chunk.is_empty() {
            return Ok((hasher.finish().sha256, size));
        }
        hasher.update(chunk);
        to.write_all(chunk)?;
        size = size.saturating_add(u64::try_from(count).unwrap_or(0));
    }
}

impl Repository {
    /// Publishes all of `edits`, or none. Returns when the new snapshot is durable and visible.
    pub async fn publish(
        &self,
        keys: &Keyring,
        edits: &[Edit],
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Result<Published, RepositoryError> {
        self.finish_pending(&self.state().await?).await?;
        let mut written = false;
        for _ in 0..MAX_ATTEMPTS {
            let state = self.state().await?;
            refuse_unvouched(&state)?;
            let pages = self.plan_pages(&state, edits, now).await?;
            if pages.changed.is_empty() {
                return Ok(pages.outcome(state.snapshot.common.version, state.timestamp.common.version));
            }
            Self::require_keys(keys, &state, edits, &pages)?;
            if !written {
                self.write_files(edits, progress).await?;
                written = true;
            }
            match self.commit_pages(keys, &state, edits, &pages, now).await {
                Err(RepositoryError::Store(StoreError::Conflict { .. })) => {}
                Err(error) => return Err(error),
                Ok(committed) => {
                    self.write_missing(edits).await?;
                    return Ok(pages.outcome(committed.snapshot, committed.timestamp));
                }
            }
        }
        Err(RepositoryError::Busy(MAX_ATTEMPTS))
    }

    /// What [`Self::publish`] would do, with all its refusals; nothing is written.
    pub async fn preview(
        &self,
        keys: &Keyring,
        edits: &[Edit],
        now: DateTime<Utc>,
    ) -> Result<Published, RepositoryError> {
        let state = self.state().await?;
        refuse_unvouched(&state)?;
        let pages = self.plan_pages(&state, edits, now).await?;
        if !pages.changed.is_empty() {
            Self::require_keys(keys, &state, edits, &pages)?;
        }
        Ok(pages.outcome(state.snapshot.common.version, state.timestamp.common.version))
    }

    /// What the current metadata says of a target.
    pub async fn target(
        &self,
        state: &State,
        target: &TargetPath,
    ) -> Result<Option<TargetFile>, RepositoryError> {
        let bin = bin_of(state, target)?;
        Ok(self.bin(state, &bin).await?.targets.get(target.as_str()).cloned())
    }

    async fn bin(
        &self,
        state: &State,
        bin: &RoleName,
    ) -> Result<crate::tuf::signed::Verified<Targets>, RepositoryError> {
        state.bin(self.store(), bin).await
    }

    /// The pages as they will be, project by project.
    async fn plan_pages(
        &self,
        state: &State,
        edits: &[Edit],
        now: DateTime<Utc>,
    ) -> Result<PagePlan, RepositoryError> {
        let projects: BTreeSet<&ProjectName> = edits.iter().map(|edit| edit.filename().project()).collect();
        let serial = state.snapshot.common.version.saturating_add(1);
        let mut plan = PagePlan::default();
        for project in projects {
            let old = self.page(state, project).await?;
            let mut page = old.unwrap_or_else(|| ProjectPage::new(project.clone(), serial));
            let before = plan.changed.len();
            for edit in edits.iter().filter(|edit| edit.filename().project() == project) {
                let changed = apply(&mut page, edit, now)?;
                let list = if changed { &mut plan.changed } else { &mut plan.unchanged };
                list.push(edit.filename().to_string());
            }
            if plan.changed.len() > before {
                page.serial = serial;
                plan.pages.push(page);
            }
        }
        Ok(plan)
    }

    /// Refuses before anything is written if some role that changes cannot be signed.
    fn require_keys(
        keys: &Keyring,
        state: &State,
        edits: &[Edit],
        plan: &PagePlan,
    ) -> Result<(), RepositoryError> {
        keys.require(&state.root.authority(TopLevel::Timestamp))?;
        keys.require(&state.root.authority(TopLevel::Snapshot))?;
        let mut targets = Vec::new();
        for page in &plan.pages {
            targets.push(layout::page(page.name())?);
        }
        for edit in edits.iter().filter(|edit| plan.changes(edit)) {
            targets.extend(entries(edit)?.into_iter().map(|(target, _)| target));
        }
        let delegator = RoleName::delegated(BINS)?;
        for target in targets {
            keys.require(&state.bin_authority(&delegator, &bin_of(state, &target)?)?)?;
        }
        Ok(())
    }

    /// The files of added distributions: by content, by plain name, and their metadata.
    async fn write_files(&self, edits: &[Edit], progress: &dyn Progress) -> Result<(), RepositoryError> {
        let total = u64::try_from(edits.len()).unwrap_or(u64::MAX);
        for (done, edit) in (1..).zip(edits) {
            if let Edit::Add(distribution) = edit {
                let target =
                    layout::distribution(distribution.filename.project(), distribution.filename.as_str())?;
                self.write_target(&target, &distribution.sha256, Content::File(distribution.copy.path()))
                    .await?;
                if let Some(bytes) = &distribution.metadata {
                    let target = metadata_of(&target)?;
                    self.write_target(&target, &sha256(bytes), Content::Bytes(bytes)).await?;
                }
            }
            progress.at("storing files", done, total);
        }
        Ok(())
    }

    /// After a commit: a gc that began before it may have removed a file that had been there for long.
    async fn write_missing(&self, edits: &[Edit]) -> Result<(), RepositoryError> {
        for edit in edits {
            let Edit::Add(distribution) = edit else { continue };
            let target =
                layout::distribution(distribution.filename.project(), distribution.filename.as_str())?;
            let mut places = vec![layout::hashed(&target, &distribution.sha256)?, layout::plain(&target)?];
            if let Some(bytes) = &distribution.metadata {
                let target = metadata_of(&target)?;
                places.extend([layout::hashed(&target, &sha256(bytes))?, layout::plain(&target)?]);
            }
            for place in places {
                if self.store().open(&place).await?.is_none() {
                    self.write_files(std::slice::from_ref(edit), &Unwatched).await?;
                }
            }
        }
        Ok(())
    }

    async fn write_target(
        &self,
        target: &TargetPath,
        digest: &[u8; 32],
        content: Content<'_>,
    ) -> Result<(), RepositoryError> {
        let hashed = layout::hashed(target, digest)?;
        self.create_once(&hashed, content).await?;
        let plain = layout::plain(target)?;
        match self.store().create(&plain, Content::Copy(&hashed)).await {
            Ok(()) => Ok(()),
            Err(StoreError::Exists { .. }) => {
                let (found, _) = self.hash_stored(&plain).await?;
                if found == *digest {
                    return Ok(());
                }
                let (published, found) = (hex::encode(found), hex::encode(digest));
                Err(RepositoryError::Conflict { filename: target.file_name().to_owned(), published, found })
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn commit_pages(
        &self,
        keys: &Keyring,
        state: &State,
        edits: &[Edit],
        plan: &PagePlan,
        now: DateTime<Utc>,
    ) -> Result<super::commit::Committed, RepositoryError> {
        let mut bins: BTreeMap<RoleName, Draft<Targets>> = BTreeMap::new();
        for page in &plan.pages {
            let json = page.to_json();
            let target = layout::page(page.name())?;
            let file = (!page.files().is_empty()).then(|| describe(json.as_bytes()));
            if file.is_some() {
                let at = layout::hashed(&target, &sha256(json.as_bytes()))?;
                self.create_once(&at, Content::Bytes(json.as_bytes())).await?;
            }
            self.put(state, &mut bins, target, file).await?;
        }
        for edit in edits.iter().filter(|edit| plan.changes(edit)) {
            for (target, file) in entries(edit)? {
                self.put(state, &mut bins, target, file).await?;
            }
        }
        let delegator = RoleName::delegated(BINS)?;
        let names: Vec<RoleName> = bins.keys().cloned().collect();
        let mut roles = Vec::new();
        for (name, mut draft) in names.iter().zip(bins.into_values()) {
            let common = &mut draft.content.common;
            common.version = common.version.saturating_add(1);
            common.expires = days_after(now, self.settings.expiry.bin_n);
            let authorities = vec![state.bin_authority(&delegator, name)?];
            roles.push(NewRole { draft, authorities, listing: Listing::Version });
        }
        let pages = plan.pages.iter().map(|page| page.name().to_string()).collect();
        let transaction = Transaction { roles, pages, ..Transaction::empty() };
        self.commit(keys, state, transaction, now).await
    }

    /// Notes a target's new entry, or its absence, in the draft of its bin.
    async fn put(
        &self,
        state: &State,
        bins: &mut BTreeMap<RoleName, Draft<Targets>>,
        target: TargetPath,
        file: Option<TargetFile>,
    ) -> Result<(), RepositoryError> {
        let bin = bin_of(state, &target)?;
        if !bins.contains_key(&bin) {
            bins.insert(bin.clone(), self.bin(state, &bin).await?.draft());
        }
        if let Some(draft) = bins.get_mut(&bin) {
            let targets = &mut draft.content.targets;
            match file {
                Some(file) => drop(targets.insert(target.to_string(), file)),
                None => drop(targets.remove(target.as_str())),
            }
        }
        Ok(())
    }
}

/// Until an interrupted rotation is finished, what the store holds is signed with keys that may be stolen.
fn refuse_unvouched(state: &State) -> Result<(), RepositoryError> {
    let roles = [TopLevel::Timestamp, TopLevel::Snapshot, TopLevel::Targets];
    match roles.into_iter().find(|role| !state.vouched(*role)) {
        None => Ok(()),
        Some(role) => Err(RepositoryError::Plan(format!(
            "{} is not signed as the newest root demands: finish its rotation with `wheelseal bump` first",
            role.name()
        ))),
    }
}

#[derive(Debug, Default)]
struct PagePlan {
    pages: Vec<ProjectPage>,
    changed: Vec<String>,
    unchanged: Vec<String>,
}

impl PagePlan {
    /// Whether the edit's file is one of those that change.
    fn changes(&self, edit: &Edit) -> bool {
        self.changed.iter().any(|name| name == edit.filename().as_str())
    }

    fn outcome(self, snapshot: u64, timestamp: u64) -> Published {
        Published { changed: self.changed, unchanged: self.unchanged, snapshot, timestamp }
    }
}

/// Applies one edit to its project's page; `false` if the page says so already.
fn apply(page: &mut ProjectPage, edit: &Edit, now: DateTime<Utc>) -> Result<bool, RepositoryError> {
    let filename = edit.filename().as_str();
    if !matches!(edit, Edit::Add(_)) && page.file(filename).is_none() {
        return Err(RepositoryError::NotPublished(filename.to_owned()));
    }
    let status = page.status.as_ref().map(|status| status.marker);
    match edit {
        Edit::Add(_) if status.is_some_and(|status| !status.allows_uploads()) => {
            let status = status.map_or("", |status| status.as_str());
            Err(RepositoryError::Plan(format!(
                "{} is {status}: it takes no new files (PEP 792)",
                page.name()
            )))
        }
        Edit::Add(distribution) => match page.insert(page_file(distribution, now)?) {
            Insertion::Inserted => Ok(true),
            Insertion::Same => Ok(false),
            Insertion::Conflict { filename, sha256 } => Err(RepositoryError::Conflict {
                filename: filename.to_string(),
                published: sha256.to_string(),
                found: hex::encode(distribution.sha256),
            }),
            Insertion::OtherProject { found } => {
                Err(RepositoryError::Plan(format!("{filename} belongs to {found}")))
            }
        },
        Edit::Remove(_) => Ok(page.remove(filename)),
        Edit::Yank(_, reason) => {
            let wanted = Yanked::Yes(reason.clone());
            let changed = page.file(filename).is_some_and(|file| file.yanked != wanted);
            page.yank(filename, reason.clone());
            Ok(changed)
        }
        Edit::Unyank(_) => {
            let changed = page.file(filename).is_some_and(|file| file.yanked != Yanked::No);
            page.unyank(filename);
            Ok(changed)
        }
    }
}

fn page_file(distribution: &Distribution, now: DateTime<Utc>) -> Result<PageFile, RepositoryError> {
    let value = |error: crate::python::ValueError| RepositoryError::Plan(error.to_string());
    let filename = &distribution.filename;
    let url =
        format!("../../{}/{}/{}", layout::TARGETS, filename.project(), percent_quote(filename.as_str(), b""));
    let digest = |bytes: &[u8; 32]| Sha256Hex::from_str(&hex::encode(bytes)).map_err(value);
    Ok(PageFile {
        filename: filename.clone(),
        url: FileUrl::from_str(&url).map_err(value)?,
        sha256: digest(&distribution.sha256)?,
        size: distribution.size,
        upload_time: Some(
            UploadTime::from_str(&now.to_rfc3339_opts(SecondsFormat::Micros, true)).map_err(value)?,
        ),
        requires_python: distribution.requires_python.clone(),
        yanked: Yanked::No,
        core_metadata_sha256: distribution
            .metadata
            .as_ref()
            .map(|bytes| digest(&sha256(bytes)))
            .transpose()?,
    })
}

/// The targets that an edit sets or, with `None`, takes away. Yanks change the page alone.
fn entries(edit: &Edit) -> Result<Vec<(TargetPath, Option<TargetFile>)>, RepositoryError> {
    let filename = edit.filename();
    let target = layout::distribution(filename.project(), filename.as_str())?;
    match edit {
        Edit::Add(distribution) => {
            let hashes = Hashes::sha256(distribution.sha256);
            let file = TargetFile { length: distribution.size, hashes, extra: Extra::new() };
            let metadata = distribution.metadata.as_ref().map(|bytes| describe(bytes));
            let mut entries = vec![(target.clone(), Some(file))];
            if metadata.is_some() {
                entries.push((metadata_of(&target)?, metadata));
            }
            Ok(entries)
        }
        Edit::Remove(_) => Ok(vec![(metadata_of(&target)?, None), (target, None)]),
        Edit::Yank(..) | Edit::Unyank(_) => Ok(Vec::new()),
    }
}

/// PEP 658: the metadata of a distribution lies beside it.
fn metadata_of(target: &TargetPath) -> Result<TargetPath, RepositoryError> {
    Ok(TargetPath::new(format!("{target}.metadata"))?)
}

fn describe(bytes: &[u8]) -> TargetFile {
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    TargetFile { length, hashes: Hashes::sha256(sha256(bytes)), extra: Extra::new() }
}

/// The bin that answers for a target.
fn bin_of(state: &State, target: &TargetPath) -> Result<RoleName, RepositoryError> {
    let Some(delegations) = &state.bins.delegations else {
        return Err(RepositoryError::Missing("the delegations of bins".to_owned()));
    };
    if let DelegatedRoles::Succinct(bins) = &delegations.roles {
        return Ok(bins.role_for(target)?);
    }
    let matched = delegations.matching(target)?.into_iter().next();
    matched.map(|matched| matched.role).ok_or_else(|| RepositoryError::Missing(format!("a bin for {target}")))
}
