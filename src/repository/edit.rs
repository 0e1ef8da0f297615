//! One change to what is published, and what it means for its project's page and for the targets. Pure.

use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};

use super::distribution::Distribution;
use super::{RepositoryError, layout};
use crate::crypto::sha256;
use crate::python::{
    DistributionFilename, FileUrl, FreeText, Insertion, PageFile, ProjectPage, Sha256Hex, UploadTime, Yanked,
};
use crate::tuf::metadata::{Extra, Hashes, TargetFile};
use crate::tuf::path::{TargetPath, percent_quote};

/// What is appended to a distribution's path for its metadata.
const METADATA: &str = ".metadata";
/// The same for its provenance.
const PROVENANCE: &str = ".provenance";

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

/// Applies one edit to its project's page; `false` if the page says so already.
pub(super) fn apply(
    page: &mut ProjectPage,
    edit: &Edit,
    now: DateTime<Utc>,
) -> Result<bool, RepositoryError> {
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
            Insertion::Same => refuse_other_provenance(page, distribution).map(|()| false),
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

/// A published file never gets other attestations. Who sends none says nothing about those that are there.
pub(super) fn refuse_other_provenance(
    page: &ProjectPage,
    distribution: &Distribution,
) -> Result<(), RepositoryError> {
    let filename = distribution.filename.as_str();
    let Some(provenance) = &distribution.provenance else { return Ok(()) };
    let published = page.file(filename).and_then(|file| file.provenance_sha256.as_ref());
    let found = hex::encode(sha256(provenance.as_str().as_bytes()));
    match published.map(Sha256Hex::as_str) {
        Some(published) if published == found => Ok(()),
        Some(published) => Err(RepositoryError::Conflict {
            filename: format!("{filename}.provenance"),
            published: published.to_owned(),
            found,
        }),
        None => Err(RepositoryError::LateAttestation(filename.to_owned())),
    }
}

fn page_file(distribution: &Distribution, now: DateTime<Utc>) -> Result<PageFile, RepositoryError> {
    let value = |error: crate::python::ValueError| RepositoryError::Plan(error.to_string());
    let filename = &distribution.filename;
    let digest = |bytes: &[u8; 32]| Sha256Hex::from_str(&hex::encode(bytes)).map_err(value);
    Ok(PageFile {
        filename: filename.clone(),
        url: expected_url(filename)?,
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
        provenance_sha256: distribution
            .provenance
            .as_ref()
            .map(|provenance| digest(&sha256(provenance.as_str().as_bytes())))
            .transpose()?,
    })
}

/// Where a page of this project says that a file is.
pub(super) fn expected_url(filename: &DistributionFilename) -> Result<FileUrl, RepositoryError> {
    let name = percent_quote(filename.as_str(), b"");
    let url = format!("../../{}/{}/{name}", layout::TARGETS, filename.project());
    FileUrl::from_str(&url).map_err(|error| RepositoryError::Plan(error.to_string()))
}

/// The targets that an edit sets or, with `None`, takes away; `before` is what the page said of its file. Yanks change the
/// page alone.
pub(super) fn entries(
    edit: &Edit,
    before: Option<&PageFile>,
) -> Result<Vec<(TargetPath, Option<TargetFile>)>, RepositoryError> {
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
            if let Some(provenance) = &distribution.provenance {
                entries.push((provenance_of(&target)?, Some(describe(provenance.as_str().as_bytes()))));
            }
            Ok(entries)
        }
        Edit::Remove(_) => {
            let mut entries = vec![(metadata_of(&target)?, None)];
            // Few files have some, and each target has a bin of its own to be signed.
            if before.is_some_and(|file| file.provenance_sha256.is_some()) {
                entries.push((provenance_of(&target)?, None));
            }
            entries.push((target, None));
            Ok(entries)
        }
        Edit::Yank(..) | Edit::Unyank(_) => Ok(Vec::new()),
    }
}

/// The targets that an edit may set or take away, but for provenance, which most files have not.
pub(super) fn targets(edit: &Edit) -> Result<Vec<TargetPath>, RepositoryError> {
    let filename = edit.filename();
    let target = layout::distribution(filename.project(), filename.as_str())?;
    Ok(match edit {
        Edit::Add(distribution) if distribution.metadata.is_none() => vec![target],
        Edit::Add(_) | Edit::Remove(_) => vec![metadata_of(&target)?, target],
        Edit::Yank(..) | Edit::Unyank(_) => Vec::new(),
    })
}

/// PEP 658: the metadata of a distribution lies beside it.
pub(super) fn metadata_of(target: &TargetPath) -> Result<TargetPath, RepositoryError> {
    Ok(TargetPath::new(format!("{target}{METADATA}"))?)
}

/// PEP 740: the provenance object of a distribution lies beside it.
pub(super) fn provenance_of(target: &TargetPath) -> Result<TargetPath, RepositoryError> {
    Ok(TargetPath::new(format!("{target}{PROVENANCE}"))?)
}

/// The distribution that a path lies beside, if it is that of its metadata or provenance.
pub(super) fn companion_of(path: &str) -> Option<&str> {
    [METADATA, PROVENANCE].iter().find_map(|ending| path.strip_suffix(ending))
}

pub(super) fn describe(bytes: &[u8]) -> TargetFile {
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    TargetFile { length, hashes: Hashes::sha256(sha256(bytes)), extra: Extra::new() }
}
