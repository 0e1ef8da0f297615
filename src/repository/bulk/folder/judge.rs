//! One file of a folder: its hash, and what its metadata says.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;
use std::str::FromStr;

use rustix::fs::{Mode, OFlags};

use super::Files;
use super::journal::{Known, Stamp};
use super::tree::{beside, unread};
use crate::crypto::{Hasher, sha256};
use crate::python::{
    ArchiveError, ArchiveLimits, CoreMetadata, DistributionFilename, Kind, Sha256Hex, inspect,
};
use crate::repository::RepositoryError;

/// Bytes read at once.
const CHUNK: usize = 1024 * 1024;

/// A file that can be published.
pub(super) struct Judged {
    /// Its path below the folder.
    pub(super) path: String,
    pub(super) filename: DistributionFilename,
    pub(super) known: Known,
    /// The text of its metadata, if that is listed.
    pub(super) metadata: Option<Vec<u8>>,
}

/// What a walk saw of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) file: Stamp,
    pub(super) sibling: Option<Stamp>,
}

/// Reads a file, which must still be what the walk saw. Metadata beside it is taken if it speaks of this file; else the
/// archive is judged and searched as for `add`, and what is found in a wheel is listed if it is to be stored.
pub(super) fn judge(root: &Path, path: &str, found: Found, files: Files) -> Result<Judged, RepositoryError> {
    let at = root.join(path);
    let filename = filename(&at)?;
    let mut file = open(&at, found.file)?;
    let content = hash(&mut file).map_err(|error| unread(&at, &error.to_string()))?;
    let limits = ArchiveLimits::default();
    let (metadata, bytes) = if let Some(stamp) = found.sibling {
        read_beside(&at, stamp, &filename, &limits)?
    } else {
        let inspected = inspect(&filename, BufReader::new(&file), &limits);
        let inspected = inspected.map_err(|error| archive(&at, error))?;
        let wheel = matches!(filename.kind(), Kind::Wheel { .. }) && files == Files::Store;
        (inspected.metadata, wheel.then_some(inspected.metadata_bytes))
    };
    unchanged(&at, &file, found.file)?;
    let digest = |bytes: &[u8; 32]| {
        Sha256Hex::from_str(&hex::encode(bytes)).map_err(|error| unread(&at, &error.to_string()))
    };
    let described = |bytes: &Vec<u8>| {
        Ok::<_, RepositoryError>((digest(&sha256(bytes))?, u64::try_from(bytes.len()).unwrap_or(u64::MAX)))
    };
    let known = Known {
        file: found.file,
        sibling: found.sibling,
        files,
        requires_python: metadata.requires_python.map(|requires| requires.text().clone()),
        metadata: bytes.as_ref().map(described).transpose()?,
        sha256: digest(&content)?,
    };
    Ok(Judged { path: path.to_owned(), filename, known, metadata: bytes })
}

/// The name of a distribution.
pub(super) fn filename(at: &Path) -> Result<DistributionFilename, RepositoryError> {
    let name = at.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let file = || at.display().to_string();
    DistributionFilename::from_str(name).map_err(|error| RepositoryError::Filename { file: file(), error })
}

fn archive(at: &Path, error: ArchiveError) -> RepositoryError {
    RepositoryError::Archive { file: at.display().to_string(), error }
}

/// Opens a regular file that is as it was seen, and not through a link.
fn open(at: &Path, seen: Stamp) -> Result<File, RepositoryError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::open(at, flags, Mode::empty());
    let file = File::from(opened.map_err(|error| unread(at, &error.to_string()))?);
    unchanged(at, &file, seen)?;
    Ok(file)
}

fn unchanged(at: &Path, file: &File, seen: Stamp) -> Result<(), RepositoryError> {
    let about = file.metadata().map_err(|error| unread(at, &error.to_string()))?;
    if about.is_file() && Stamp::of(&about) == seen {
        return Ok(());
    }
    Err(unread(at, "it changed while it was imported"))
}

fn hash(file: &mut File) -> std::io::Result<[u8; 32]> {
    file.rewind()?;
    let (mut hasher, mut buffer) = (Hasher::new(false), vec![0; CHUNK]);
    loop {
        let count = file.read(&mut buffer)?;
        match buffer.get(..count).filter(|chunk| !chunk.is_empty()) {
            Some(chunk) => hasher.update(chunk),
            None => return Ok(hasher.finish().sha256),
        }
    }
}

/// The metadata beside a file, which must be of the same project and version.
fn read_beside(
    at: &Path,
    seen: Stamp,
    filename: &DistributionFilename,
    limits: &ArchiveLimits,
) -> Result<(CoreMetadata, Option<Vec<u8>>), RepositoryError> {
    let at = beside(at);
    let file = open(&at, seen)?;
    let most = u64::try_from(limits.metadata_bytes).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    (&file).take(most).read_to_end(&mut bytes).map_err(|error| unread(&at, &error.to_string()))?;
    unchanged(&at, &file, seen)?;
    let metadata =
        CoreMetadata::parse(&bytes, limits.metadata_bytes).map_err(|error| archive(&at, error.into()))?;
    let disagrees = |what, found: String, expected: String| {
        archive(&at, ArchiveError::Disagrees { what, found, expected })
    };
    if metadata.name != *filename.project() {
        let (found, expected) = (metadata.name.to_string(), filename.project().to_string());
        return Err(disagrees("the name in the metadata", found, expected));
    }
    if metadata.version != *filename.version() {
        let (found, expected) = (metadata.version.to_string(), filename.version().to_string());
        return Err(disagrees("the version in the metadata", found, expected));
    }
    Ok((metadata, Some(bytes)))
}
