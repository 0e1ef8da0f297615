//! What earlier runs learnt of a folder: one line for each file, `path TAB stamp TAB stamp of the metadata beside it TAB
//! what became of it TAB requires-python TAB core-metadata TAB sha256`.
//!
//! It lies with what this machine remembers, outside the store and the folder, for only its own user may write it. It
//! grows by whole lines; of several for one path the last counts, and one that a crash tore counts for nothing. One run
//! at a time may use it.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use super::Files;
use crate::crypto::sha256;
use crate::python::{FreeText, Sha256Hex};
use crate::repository::RepositoryError;
use crate::repository::bulk::input::{Input, Piece};
use crate::spill::{Spill, SpillError};

/// Comes before what a folder has, in a record.
pub(super) const FOUND: u8 = b'f';
/// Comes before what the journal has, in a record.
pub(super) const NOTED: u8 = b'j';

/// What tells one state of a file from another, as far as one trusts who wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// In bytes.
    pub(super) size: u64,
    /// When it was changed last, in nanoseconds since 1970.
    pub(super) changed: i64,
}

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) file: Stamp,
    /// Of the metadata beside it.
    pub(super) sibling: Option<Stamp>,
    /// What became of the file.
    pub(super) files: Files,
    pub(super) requires_python: Option<FreeText>,
    /// SHA-256 and length of its metadata, if that is to be listed.
    pub(super) metadata: Option<(Sha256Hex, u64)>,
    pub(super) sha256: Sha256Hex,
}

/// The journal's file, which is locked.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: Mutex<File>,
}

impl Stamp {
    pub(super) fn of(about: &std::fs::Metadata) -> Self {
        let changed = about.mtime().saturating_mul(1_000_000_000).saturating_add(about.mtime_nsec());
        Self { size: about.len(), changed }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.size, self.changed)
    }
}

impl FromStr for Stamp {
    type Err = SpillError;

    fn from_str(text: &str) -> Result<Self, SpillError> {
        let parts = || {
            let (size, changed) = text.split_once(':')?;
            Some(Self { size: size.parse().ok()?, changed: changed.parse().ok()? })
        };
        parts().ok_or(SpillError::Damaged)
    }
}

impl Known {
    /// All but the path, as a journal has it.
    pub(super) fn to_text(&self) -> String {
        let sibling = self.sibling.map(|stamp| stamp.to_string()).unwrap_or_default();
        let files = match self.files {
            Files::Stay => "stays",
            Files::Store => "stored",
        };
        let requires = self.requires_python.as_ref().map_or("", FreeText::as_str);
        format!("{}\t{sibling}\t{files}\t{requires}\t{}\t{}", self.file, self.metadata_column(), self.sha256)
    }

    /// `sha256:length`, or nothing.
    pub(super) fn metadata_column(&self) -> String {
        self.metadata.as_ref().map(|(sha256, length)| format!("{sha256}:{length}")).unwrap_or_default()
    }

    /// Reads it again; nothing if it is not whole.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let columns: Vec<&str> = text.split('\t').collect();
        let [file, sibling, files, requires, metadata, sha256] = *columns.as_slice() else { return None };
        let filled = |text: &'_ str| (!text.is_empty()).then(|| text.to_owned());
        let metadata = match filled(metadata) {
            None => None,
            Some(text) => {
                let (sha256, length) = text.split_once(':')?;
                Some((sha256.parse().ok()?, length.parse().ok()?))
            }
        };
        Some(Self {
            file: file.parse().ok()?,
            sibling: filled(sibling).map(|text| text.parse()).transpose().ok()?,
            files: match files {
                "stays" => Files::Stay,
                "stored" => Files::Store,
                _ => return None,
            },
            requires_python: filled(requires).map(|text| text.parse()).transpose().ok()?,
            metadata,
            sha256: sha256.parse().ok()?,
        })
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Closing is not enough while a program that was just started still has the file open.
        drop(self.file.get_mut().unwrap_or_else(PoisonError::into_inner).unlock());
    }
}

impl Journal {
    /// Opens it, or begins one.
    pub(super) fn open(path: &Path) -> Result<Self, RepositoryError> {
        let failed = |error: std::io::Error| failed("opening", path, &error);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(failed)?;
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let reason = "another import of this folder is under way".to_owned();
                let file = path.display().to_string();
                return Err(RepositoryError::File { what: "opening", file, reason });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        if file.metadata().map_err(failed)?.len() > 0 {
            file.seek(SeekFrom::End(-1)).map_err(failed)?;
            let mut last = [0];
            file.read_exact(&mut last).map_err(failed)?;
            if last != *b"\n" {
                file.write_all(b"\n").map_err(failed)?;
            }
        }
        Ok(Self { path: path.to_owned(), file: Mutex::new(file) })
    }

    /// Puts all it knows into a spill.
    pub(super) fn recall(&self, spill: &Spill) -> Result<(), RepositoryError> {
        let failed = |error: std::io::Error| failed("reading", &self.path, &error);
        let mut input = Input::new(File::open(&self.path).map_err(failed)?).map_err(failed)?;
        let (mut piece, mut writer) = (Piece::default(), spill.writer());
        while input.next(&mut piece).map_err(failed)? {
            for (number, line) in (piece.first..).zip(String::from_utf8_lossy(&piece.bytes).lines()) {
                let Some((path, rest)) = line.split_once('\t') else { continue };
                if Known::parse(rest).is_some() {
                    writer.push(key(path), &record(path, NOTED, &number.to_be_bytes(), rest))?;
                }
            }
        }
        Ok(writer.finish()?)
    }

    /// Adds what was learnt. It is on disk when the system finds the time: what a power cut takes is learnt again.
    pub(super) fn note(&self, path: &str, known: &Known) -> Result<(), RepositoryError> {
        let line = format!("{path}\t{}\n", known.to_text());
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(line.as_bytes()).map_err(|error| failed("writing", &self.path, &error))
    }
}

fn failed(what: &'static str, path: &Path, error: &std::io::Error) -> RepositoryError {
    RepositoryError::File { what, file: path.display().to_string(), reason: error.to_string() }
}

/// By what all records of a path come together.
pub(super) fn key(path: &str) -> u64 {
    sha256(path.as_bytes()).first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}

/// A record: the path, a byte that no path has, of which kind it is, and what it says.
pub(super) fn record(path: &str, kind: u8, order: &[u8], text: &str) -> Vec<u8> {
    [path.as_bytes(), &[0, kind], order, text.as_bytes()].concat()
}

/// Takes a record apart again.
pub(super) fn read(bytes: &[u8]) -> Result<(&str, u8, &[u8]), SpillError> {
    let parts = || {
        let end = bytes.iter().position(|byte| *byte == 0)?;
        let (path, rest) = bytes.split_at_checked(end)?;
        let (kind, rest) = rest.get(1..)?.split_first()?;
        Some((std::str::from_utf8(path).ok()?, *kind, rest))
    };
    parts().ok_or(SpillError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        let sha256: Sha256Hex = "0f".repeat(32).parse().unwrap();
        Known {
            file: Stamp { size: 7, changed: -3 },
            sibling: Some(Stamp { size: 9, changed: i64::MAX }),
            files: Files::Store,
            requires_python: Some(">=3.9".parse().unwrap()),
            metadata: Some((sha256.clone(), 12)),
            sha256,
        }
    }

    /// What a journal recalls: of each path the last.
    fn recalled(path: &Path) -> Vec<(String, Known)> {
        let spill = Spill::new(1, 1 << 20);
        Journal::open(path).unwrap().recall(&spill).unwrap();
        let records = spill.partition(0).unwrap();
        let all = records.iter().map(|(_, bytes)| {
            let (path, kind, rest) = read(bytes).unwrap();
            assert_eq!(kind, NOTED);
            (path.to_owned(), Known::parse(std::str::from_utf8(&rest[8..]).unwrap()).unwrap())
        });
        all.collect()
    }

    #[test]
    fn what_was_noted_is_recalled_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("imports/journal.tsv");
        let bare =
            Known { sibling: None, files: Files::Stay, requires_python: None, metadata: None, ..known() };
        let journal = Journal::open(&path).unwrap();
        journal.note("a/b.whl", &known()).unwrap();
        journal.note("a/b.whl", &bare).unwrap();
        drop(journal);
        assert_eq!(recalled(&path), [("a/b.whl".to_owned(), known()), ("a/b.whl".to_owned(), bare)]);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_torn_or_foreign_line_counts_for_nothing_and_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.tsv");
        let whole = format!("a.whl\t{}\n", known().to_text());
        for cut in 0..whole.len() - 1 {
            std::fs::write(&path, [b"\xff\xff\t\nodd\n", &whole.as_bytes()[..cut]].concat()).unwrap();
            Journal::open(&path).unwrap().note("b.whl", &known()).unwrap();
            assert_eq!(recalled(&path), [("b.whl".to_owned(), known())], "{cut}");
        }
    }

    #[test]
    fn a_journal_is_for_one_run_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.tsv");
        let first = Journal::open(&path).unwrap();
        let refused = Journal::open(&path).unwrap_err().to_string();
        assert!(refused.ends_with("another import of this folder is under way"), "{refused}");
        drop(first);
        Journal::open(&path).unwrap();
    }
}
