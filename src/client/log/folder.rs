//! What is kept of a log on this machine, beside the trusted metadata. Nothing here is trusted but the folders `heads/`.
//!
//! ```text
//! log/policy                  the repository's policy
//! log/snapshot                proof of the current snapshot
//! log/heads/SHA256            the largest checkpoint of a log that was accepted, by its origin
//! log/proofs/ab/SHA256        proofs of files, by target path
//! log/evidence/…              checkpoints that cannot both be, contents that cannot both have been published
//! log/evidence/recorders/NAME the same, where a recorder's log is one of those
//! log/recorders/NAME/…        of each recorder: heads/ and proofs/ as above
//! ```

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::client::CacheError;
use crate::crypto::sha256;

/// Bytes of a proof that is kept, at most: some 2,000 are usual, and each signature adds 150.
const MAX_KEPT: usize = 16 * 1_024;
/// Proofs in one of the 256 folders, at most; then half of them go. 64 MiB of usual ones in all.
const MAX_PROOFS: usize = 128;

/// The folder.
#[derive(Debug, Clone)]
pub(in crate::client) struct LogDir {
    dir: PathBuf,
}

impl LogDir {
    /// Made when first written to.
    pub(in crate::client) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// A folder below it, of the same kind.
    pub(super) fn below(&self, name: &str) -> Self {
        Self { dir: self.dir.join(name) }
    }

    /// A file, unless it is larger or not there.
    pub(super) fn read(&self, name: &str, max: usize) -> Result<Option<Vec<u8>>, CacheError> {
        Ok(self.read_cut(name, max)?.filter(|bytes| bytes.len() <= max))
    }

    /// A file, or as much of it as shows that it is larger. None only if it is not there.
    pub(super) fn read_cut(&self, name: &str, max: usize) -> Result<Option<Vec<u8>>, CacheError> {
        let path = self.path(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(CacheError::new("opening", &path, &error)),
        };
        let (mut bytes, most) = (Vec::new(), u64::try_from(max).unwrap_or(u64::MAX));
        let read = file.take(most.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| CacheError::new("reading", &path, &error))?;
        Ok(Some(bytes))
    }

    /// Replaces a file, whole or not at all, even if the machine stops.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, CacheError> {
        self.replace(name, bytes, File::sync_data)
    }

    /// The same without waiting for the disk: for what can be fetched again.
    pub(super) fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), CacheError> {
        self.replace(name, bytes, |_| Ok(())).map(drop)
    }

    fn replace(
        &self,
        name: &str,
        bytes: &[u8],
        flush: fn(&File) -> std::io::Result<()>,
    ) -> Result<PathBuf, CacheError> {
        let path = self.path(name);
        let folder = path.parent().unwrap_or(&self.dir);
        let written = std::fs::create_dir_all(folder).and_then(|()| {
            let mut file = NamedTempFile::new_in(folder)?;
            file.write_all(bytes)?;
            flush(file.as_file())?;
            file.persist(&path).map_err(|error| error.error)
        });
        written.map_err(|error| CacheError::new("writing", &path, &error))?;
        Ok(path)
    }

    /// The proof of a target that is kept.
    pub(super) fn proof(&self, target: &str) -> Result<Option<Vec<u8>>, CacheError> {
        self.read(&proof_name(target), MAX_KEPT)
    }

    /// Keeps the proof of a target, unless it is unusually large.
    pub(super) fn keep_proof(&self, target: &str, bytes: &[u8]) -> Result<(), CacheError> {
        if bytes.len() > MAX_KEPT {
            return Ok(());
        }
        let name = proof_name(target);
        if let Some(folder) = self.path(&name).parent() {
            sweep(folder, MAX_PROOFS);
        }
        self.keep(&name, bytes)
    }

    /// Where the largest checkpoint of a log is kept.
    pub(super) fn head_name(origin: &str) -> String {
        format!("heads/{}", hex::encode(sha256(origin.as_bytes())))
    }

    /// The folder with evidence.
    pub(in crate::client) fn evidence(&self) -> PathBuf {
        self.path("evidence")
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

fn proof_name(target: &str) -> String {
    let name = hex::encode(sha256(target.as_bytes()));
    format!("proofs/{}/{name}", name.get(..2).unwrap_or_default())
}

/// Removes the older half of the files, if there are so many. What cannot be removed now is so the next time.
fn sweep(folder: &Path, max: usize) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut files: Vec<_> = entries
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    if files.len() < max {
        return;
    }
    files.sort();
    for (_, path) in files.into_iter().take(max / 2) {
        drop(std::fs::remove_file(path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_larger_than_it_may_be_counts_as_absent() {
        let folder = tempfile::tempdir().unwrap();
        let log = LogDir::new(folder.path().join("log"));
        assert_eq!(log.read("policy", 3), Ok(None));
        log.keep("policy", b"four").unwrap();
        assert_eq!(log.read("policy", 4), Ok(Some(b"four".to_vec())));
        assert_eq!(log.read("policy", 3), Ok(None));
    }

    #[test]
    fn proofs_are_bounded_in_number_and_size() {
        let folder = tempfile::tempdir().unwrap();
        let log = LogDir::new(folder.path().to_owned());
        let place = folder.path().join("full");
        std::fs::create_dir(&place).unwrap();
        for number in 0..8 {
            std::fs::write(place.join(number.to_string()), "").unwrap();
        }
        sweep(&place, 9);
        assert_eq!(std::fs::read_dir(&place).unwrap().count(), 8);
        sweep(&place, 8);
        assert_eq!(std::fs::read_dir(&place).unwrap().count(), 4);
        log.keep_proof("p/f", &vec![0; MAX_KEPT + 1]).unwrap();
        assert_eq!(log.proof("p/f"), Ok(None));
        log.keep_proof("p/f", b"proof").unwrap();
        assert_eq!(log.proof("p/f"), Ok(Some(b"proof".to_vec())));
    }
}
