//! Local files that people carry: read up to a bound, written whole or not at all.

use std::io::{Read, Write};
use std::path::Path;

use crate::repository::{CeremonyError, RepositoryError};

/// A local file of at most so many bytes.
pub(super) fn read_file(file: &Path, max: u64) -> Result<Vec<u8>, RepositoryError> {
    let failed = |error: &std::io::Error| failed("reading", file, &error.to_string());
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).map_err(|error| failed(&error))?;
    opened.take(max.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    let found = bytes.len();
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    if found > max {
        return Err(CeremonyError::TooMany { what: "bytes", found, max }.into());
    }
    Ok(bytes)
}

/// Writes beside, then renames: a stick that is pulled out leaves the old file or the new one.
pub(super) fn write_file(file: &Path, bytes: &[u8]) -> Result<(), RepositoryError> {
    let folder = file.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let written = || {
        let mut beside = tempfile::NamedTempFile::new_in(folder)?;
        beside.write_all(bytes)?;
        beside.as_file().sync_all()?;
        beside.persist(file).map_err(|refused| refused.error)
    };
    written().map(drop).map_err(|error| failed("writing", file, &error.to_string()))
}

fn failed(what: &'static str, file: &Path, reason: &str) -> RepositoryError {
    RepositoryError::File { what, file: file.display().to_string(), reason: reason.to_owned() }
}
