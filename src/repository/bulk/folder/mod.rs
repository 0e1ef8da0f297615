//! A folder of distributions becomes a list: every file is hashed, judged as `add` judges it, and, if asked for, copied
//! into the store.
//!
//! | file | what |
//! |---|---|
//! | `tree` | which files there are |
//! | `journal` | what earlier runs learnt, kept outside the store |
//! | `judge` | one file: its hash, its metadata |
//! | `work` | all files, on all cores |
//!
//! ```text
//! folder ──▶ files with size and date ─┐                     ┌─▶ known: as the journal says ─┐
//! journal ─▶ hashes of earlier runs ───┴─▶ Spill, by path ───┼─▶ hashed, judged, stored ─────┼─▶ list ─▶ import
//!                                                            └─▶ (journal) ◀─────────────────┘
//! ```
//!
//! What is in the folder is not trusted: names are checked, symbolic links refused, archives judged without being run,
//! and a file that changes while it is read is an error. Size and date stand for the content only as far as the
//! journal goes, which is this machine's own.

mod journal;
mod judge;
mod tree;
mod work;

use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use self::journal::Journal;
use self::work::Shop;
use super::import::{ImportError, Imported, Layout, List, Run};
use crate::repository::{Keyring, Progress, Repository, RepositoryError};
use crate::spill::{BUDGET, PARTITIONS, Spill, SpillError};

/// Files left out that are named, at most; all are counted.
pub const MAX_NAMED: usize = 1_000;
/// A file this young when the import began may change again without a later date; it is not remembered.
const YOUNG: TimeDelta = TimeDelta::seconds(2);

/// A folder to import: bandersnatch's, or wheels and sdists in folders of any depth.
#[derive(Debug, Clone)]
pub struct Folder {
    /// Its path.
    pub root: PathBuf,
    /// Where hashes are remembered for a later run; nowhere if `None`.
    pub journal: Option<PathBuf>,
    /// What becomes of the files.
    pub files: Files,
    /// What to do about a file that cannot be published.
    pub unfit: Unfit,
}

/// What becomes of the files of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// They stay where they are.
    Stay,
    /// They are copied into the store, under their hashes and their plain names.
    Store,
}

/// What to do about a file that cannot be published: its name, its archive, or a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// Import nothing.
    Refuse,
    /// Leave it out, and name it.
    LeaveOut,
}

/// What there was in a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Hashed {
    /// Files that were read.
    pub hashed: u64,
    /// Files that an earlier run had read.
    pub remembered: u64,
    /// Files that cannot be published.
    pub unfit: u64,
    /// Those files and why; the first [`MAX_NAMED`] of them.
    pub named: Vec<String>,
}

impl Repository {
    /// Imports all distributions of a folder: all of them, or none.
    pub async fn import_folder(
        &self,
        keys: &Keyring,
        folder: &Folder,
        run: Run,
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Result<(Hashed, Imported), RepositoryError> {
        // Hashing takes hours: what would be refused at its end is refused before.
        self.refuse_early(keys).await?;
        let (hashed, list) = self.hash_folder(folder, run, now, progress).await?;
        let failed = |error: std::io::Error| RepositoryError::from(SpillError::io("read", &error));
        let text = list.try_clone().map_err(failed)?;
        let bytes = text.metadata().map_err(failed)?.len();
        let listed =
            List { text: Box::new(text), bytes: Some(bytes), layout: Layout::Pages, hashes_from: None };
        match self.import(keys, listed, run, now, progress).await {
            Ok(imported) => Ok((hashed, imported)),
            Err(RepositoryError::Import(error)) => Err(by_file(error, list).map_err(failed)?.into()),
            Err(error) => Err(error),
        }
    }

    /// The list of a folder, in a temporary file that is to be read from its start.
    async fn hash_folder(
        &self,
        folder: &Folder,
        run: Run,
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Result<(Hashed, File), RepositoryError> {
        let root = tree::packages_of(&folder.root)?;
        let journal = folder.journal.as_deref().map(Journal::open).transpose()?;
        let spill = Arc::new(Spill::new(PARTITIONS, BUDGET));
        if let Some(journal) = &journal {
            journal.recall(&spill)?;
        }
        let mut outcome = Hashed::default();
        let bytes = tree::walk(&root, &spill, folder.unfit, &mut outcome, progress)?;
        let files = if run == Run::Dry { Files::Stay } else { folder.files };
        let young = now.checked_sub_signed(YOUNG).unwrap_or(now).timestamp_nanos_opt().unwrap_or(i64::MAX);
        let shop = Shop::new(self.clone(), root, files, folder.unfit, spill, journal, young, outcome)?;
        let (hashed, mut list) = shop.run(bytes, progress).await?;
        list.rewind().map_err(|error| SpillError::io("read", &error))?;
        Ok((hashed, list))
    }
}

/// The error of a line as one of the file that the line was made of.
fn by_file(error: ImportError, mut text: File) -> std::io::Result<ImportError> {
    text.rewind()?;
    let lines = BufReader::new(text);
    let (first, second) = match error {
        ImportError::Line { line, .. } | ImportError::Published { line, .. } => (line, line),
        ImportError::Contradiction { first, second, .. } => (first, second),
        other => return Ok(other),
    };
    let mut names = Vec::new();
    for (number, line) in (1..=first.max(second)).zip(lines.lines()) {
        let line = line?;
        if number == first || number == second {
            let path = line.split('\t').next().unwrap_or_default();
            names.push(path.strip_prefix(tree::PACKAGES).unwrap_or(path).to_owned());
        }
    }
    let [file, .., last] = names.as_slice() else {
        let file = names.pop().unwrap_or_default();
        let reason = match error {
            ImportError::Line { fault, .. } => fault.to_string(),
            ImportError::Published { published, found, .. } => {
                format!("it is published already with SHA-256 {published}, this one has {found}")
            }
            other => other.to_string(),
        };
        return Ok(ImportError::OfFile { file, reason });
    };
    let reason =
        format!("{last} has the same name, or one that installers take for the same, and other content");
    Ok(ImportError::OfFile { file: file.clone(), reason })
}
