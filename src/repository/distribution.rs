//! Reading a distribution that is to be published: is it what its name says?

use std::fs::File;
use std::io::{BufReader, Read, Seek, Write};
use std::path::Path;
use std::str::FromStr;

use tempfile::NamedTempFile;

use super::RepositoryError;
use crate::crypto::Hasher;
use crate::python::{
    ArchiveLimits, AttestationError, DistributionFilename, FreeText, Kind, Provenance, inspect,
};

/// Bytes copied at once.
const CHUNK: usize = 256 * 1024;

/// A distribution that was read, checked and copied aside, so that it cannot change while it is published.
#[derive(Debug)]
pub struct Distribution {
    pub(super) filename: DistributionFilename,
    pub(super) sha256: [u8; 32],
    pub(super) size: u64,
    pub(super) requires_python: Option<FreeText>,
    /// PEP 658 metadata; wheels alone have it.
    pub(super) metadata: Option<Vec<u8>>,
    /// PEP 740 provenance, if attestations came with it.
    pub(super) provenance: Option<Provenance>,
    pub(super) copy: NamedTempFile,
}

impl Distribution {
    /// Its file name.
    pub fn filename(&self) -> &DistributionFilename {
        &self.filename
    }

    /// Its SHA-256.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// The provenance object that is published with it.
    pub fn provenance(&self) -> Option<&Provenance> {
        self.provenance.as_ref()
    }

    /// The same distribution with `provenance` of its attestations, as [`Provenance::of`] and its like make it of file name
    /// and SHA-256.
    pub fn attested(
        mut self,
        provenance: impl FnOnce(&DistributionFilename, &[u8; 32]) -> Result<Provenance, AttestationError>,
    ) -> Result<Self, RepositoryError> {
        let made = provenance(&self.filename, &self.sha256);
        let made = made.map_err(|error| {
            let file = self.filename.to_string();
            RepositoryError::Attestation { file, error }
        })?;
        self.provenance = Some(made);
        Ok(self)
    }

    /// Writes a copy of it.
    pub fn copy_to(&self, to: &Path) -> Result<(), RepositoryError> {
        std::fs::copy(self.copy.path(), to).map(drop).map_err(|error| RepositoryError::File {
            what: "writing",
            file: to.display().to_string(),
            reason: error.to_string(),
        })
    }

    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }
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
    Distribution::spooled(filename, copy, (sha256, size), &shown)
}

impl Distribution {
    /// What was hashed on its way to `copy` (SHA-256 and bytes): checks that its content is what its name says.
    /// Errors call it `shown`.
    pub fn spooled(
        filename: DistributionFilename,
        mut copy: NamedTempFile,
        (sha256, size): ([u8; 32], u64),
        shown: &str,
    ) -> Result<Self, RepositoryError> {
        let file = shown.to_owned();
        copy.as_file_mut().rewind().map_err(|error| RepositoryError::File {
            what: "reading",
            file: file.clone(),
            reason: error.to_string(),
        })?;
        let inspected = inspect(&filename, BufReader::new(copy.as_file()), &ArchiveLimits::default())
            .map_err(|error| RepositoryError::Archive { file, error })?;
        let requires_python = inspected.metadata.requires_python.map(|requires| requires.text().clone());
        let metadata = matches!(filename.kind(), Kind::Wheel { .. }).then_some(inspected.metadata_bytes);
        Ok(Self { filename, sha256, size, requires_python, metadata, provenance: None, copy })
    }
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
