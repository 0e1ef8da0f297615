//! Distributions with their attestations (PEP 740), from files: those of signers beside a distribution, and the provenance
//! object beside one in the folder of a release.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;

use super::exit::Usage;
use super::files::read_file;
use crate::python::{MAX_ATTESTATIONS, MAX_PROVENANCE, Predicate, Provenance};
use crate::repository::{Distribution, RepositoryError, read_distribution};

/// What is appended to a distribution's name for its provenance object.
const PROVENANCE: &str = ".provenance";

/// Whether attestations belong to what is published.
#[derive(Debug, Args)]
pub(super) struct AttestationsArg {
    /// Publish the attestations of each file too (PEP 740): FILE.publish.attestation and FILE.slsa.attestation beside it
    #[arg(long)]
    attestations: bool,
}

impl AttestationsArg {
    /// Reads a distribution, and its attestations if they are asked for: then it must have some.
    pub(super) fn read(&self, file: &Path, spool: &Path) -> anyhow::Result<Distribution> {
        let distribution = read_distribution(file, spool)?;
        if !self.attestations {
            return Ok(distribution);
        }
        let mut found = Vec::new();
        for kind in Predicate::ALL {
            let at = beside(file, &format!(".{kind}.attestation"));
            if at.exists() {
                found.push(text(&at, MAX_ATTESTATIONS)?);
            }
        }
        if found.is_empty() {
            let file = file.display();
            return Err(Usage(format!("{file} has no attestations: no {file}.publish.attestation")).into());
        }
        Ok(distribution.attested(|name, sha256| Provenance::of_each(&found, name, sha256))?)
    }
}

/// The distributions in the folder of a release, with their provenance, by their names. `release` is not one of them.
pub(super) fn read_release(
    folder: &Path,
    release: &str,
    spool: &Path,
) -> anyhow::Result<Vec<(PathBuf, Distribution)>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Folders are receipts.
        if name != release && !name.ends_with(PROVENANCE) && !path.is_dir() {
            paths.push(path);
        }
    }
    paths.sort();
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let (mut distribution, at) = (read_distribution(&path, spool)?, beside(&path, PROVENANCE));
        if at.exists() {
            let provenance = text(&at, MAX_PROVENANCE)?;
            distribution =
                distribution.attested(|name, sha256| Provenance::read(&provenance, name, sha256))?;
        }
        files.push((path, distribution));
    }
    Ok(files)
}

/// Copies a distribution, and its provenance, to the folder of a release.
pub(super) fn write_release(distribution: &Distribution, folder: &Path) -> anyhow::Result<()> {
    let at = folder.join(distribution.filename().as_str());
    distribution.copy_to(&at)?;
    if let Some(provenance) = distribution.provenance() {
        std::fs::write(beside(&at, PROVENANCE), provenance.as_str())?;
    }
    Ok(())
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name: OsString = file.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn text(file: &Path, max: usize) -> anyhow::Result<String> {
    let bytes = read_file(file, u64::try_from(max).unwrap_or(u64::MAX))?;
    Ok(String::from_utf8(bytes).map_err(|error| RepositoryError::File {
        what: "reading",
        file: file.display().to_string(),
        reason: error.to_string(),
    })?)
}
