//! Lines read on all cores, judged one by one, and put into a spill.

use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bins::BinMap;
use super::cores::{Meter, on_all_cores};
use super::import::{ImportError, Layout};
use super::input::{Input, Piece};
use super::line::{Line, LineFault};
use super::listed::{Listed, write};
use super::record::Record;
use crate::crypto::sha256;
use crate::repository::{Progress, RepositoryError, layout};
use crate::spill::{Spill, Writer};
use crate::tlog::leaf::FileLeaf;
use crate::tuf::json::quoted;

/// Reads lines into a spill: by the bins of their targets, or by the bins of their projects' pages.
pub(super) struct Filler {
    input: Mutex<Input>,
    spill: Arc<Spill>,
    bins: Arc<BinMap>,
    layout: Layout,
    /// `custom` of each target, or nothing.
    custom: String,
    /// Whether each target must be one that can be logged.
    logged: bool,
    lines: AtomicU64,
    failed: AtomicBool,
    /// The first bad line found so far.
    fault: Mutex<Option<(u64, LineFault)>>,
}

impl Filler {
    pub(super) fn new(
        list: impl Read + Send + 'static,
        spill: Arc<Spill>,
        bins: Arc<BinMap>,
        layout: Layout,
        custom: String,
        logged: bool,
    ) -> Result<Self, RepositoryError> {
        let input = Mutex::new(Input::new(list).map_err(|error| unread(&error))?);
        let (lines, failed, fault) = (AtomicU64::new(0), AtomicBool::new(false), Mutex::new(None));
        Ok(Self { input, spill, bins, layout, custom, logged, lines, failed, fault })
    }

    /// Reads to the end; how many lines there are.
    pub(super) async fn fill(
        self,
        bytes: Option<u64>,
        progress: &dyn Progress,
    ) -> Result<u64, RepositoryError> {
        let (filler, meter) = (Arc::new(self), Arc::new(Meter::new(bytes.unwrap_or(0))));
        let work = {
            let (filler, meter) = (Arc::clone(&filler), Arc::clone(&meter));
            move || filler.work(&meter)
        };
        on_all_cores("reading the list (bytes)", &meter, progress, work).await?;
        // Pieces are handed out in order and each is read to its end or first fault, so this is the first of all.
        match locked(&filler.fault).take() {
            Some((line, fault)) => Err(ImportError::Line { line, fault }.into()),
            None => Ok(filler.lines.load(Ordering::Relaxed)),
        }
    }

    fn work(&self, meter: &Meter) -> Result<(), RepositoryError> {
        let (mut piece, mut record, mut writer) = (Piece::default(), Vec::new(), self.spill.writer());
        while !self.failed.load(Ordering::Relaxed) {
            if !locked(&self.input).next(&mut piece).map_err(|error| unread(&error))? {
                break;
            }
            self.lines_of(&piece, &mut record, &mut writer)?;
            meter.add(piece.bytes.len());
        }
        Ok(writer.finish()?)
    }

    fn lines_of(
        &self,
        piece: &Piece,
        record: &mut Vec<u8>,
        writer: &mut Writer<'_>,
    ) -> Result<(), RepositoryError> {
        let (text, bad) = match std::str::from_utf8(&piece.bytes) {
            Ok(text) => (text, false),
            Err(error) => {
                let good = piece.bytes.get(..error.valid_up_to()).unwrap_or_default();
                let whole = good.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
                (std::str::from_utf8(good.get(..whole).unwrap_or_default()).unwrap_or_default(), true)
            }
        };
        let mut number = piece.first;
        for line in text.lines() {
            let key = match self.layout {
                Layout::AsIs => self.target(line, number, record),
                Layout::Pages => self.file(line, number, record),
            };
            match key {
                Ok(key) => {
                    let unclaimed = || RepositoryError::Missing(format!("a bin for line {number}"));
                    writer.push(key.ok_or_else(unclaimed)?, record)?;
                }
                Err(fault) => {
                    self.refuse(number, fault);
                    return Ok(());
                }
            }
            number += 1;
        }
        if bad {
            self.refuse(number, LineFault::NotUtf8);
        }
        self.lines.fetch_add(number - piece.first, Ordering::Relaxed);
        Ok(())
    }

    /// The record of a target as it stands, and its key.
    fn target(&self, line: &str, number: u64, record: &mut Vec<u8>) -> Result<Option<u64>, LineFault> {
        let line = Line::parse_bare(line)?;
        if self.logged {
            // Whatever its hash is.
            let leaf = FileLeaf::of_target(line.path, line.length, [0; 32]);
            leaf.map_err(|error| LineFault::Unlogged { found: quoted(line.path), error })?;
        }
        Record { custom: &self.custom, ..Record::of(&line, number) }.write(record);
        Ok(self.bins.key(&sha256(line.path.as_bytes())))
    }

    /// The record of a file on a page, and the key of that page.
    fn file(&self, line: &str, number: u64, record: &mut Vec<u8>) -> Result<Option<u64>, LineFault> {
        let listed = Listed::of(&Line::parse(line)?)?;
        let project = listed.file.filename.project();
        write(project.as_str(), number, line, record);
        Ok(self.bins.key(&sha256(layout::page_path(project).as_bytes())))
    }

    fn refuse(&self, line: u64, fault: LineFault) {
        self.failed.store(true, Ordering::Relaxed);
        let mut first = locked(&self.fault);
        if first.as_ref().is_none_or(|(known, _)| line < *known) {
            *first = Some((line, fault));
        }
    }
}

fn unread(error: &std::io::Error) -> RepositoryError {
    ImportError::Unread(error.to_string()).into()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
