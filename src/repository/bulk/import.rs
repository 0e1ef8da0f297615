//! A list of files becomes signed targets, without a look at the files themselves.
//!
//! All lines are read and judged before anything is signed, and one commit makes all of them visible. Another
//! publisher's commit in between costs only the bins that it changed: those are made again.

use std::collections::HashMap;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde::Serialize;
use thiserror::Error;

use super::bins::BinMap;
use super::cores::{Meter, on_all_cores};
use super::forge::{Forge, GROUPS, require_all};
use super::input::{Input, Piece};
use super::line::{Line, LineFault};
use super::merge::{Merge, Tally};
use super::reader::Reader;
use super::record::Record;
use crate::crypto::sha256;
use crate::repository::commit::Transaction;
use crate::repository::publish::refuse_unvouched;
use crate::repository::spill::{BUDGET, Spill, Writer};
use crate::repository::state::State;
use crate::repository::{Keyring, MAX_ATTEMPTS, Progress, Repository, RepositoryError, days_after};
use crate::store::StoreError;
use crate::tuf::metadata::{TopLevel, Version};

/// Why a list of files is not imported. Nothing of it is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ImportError {
    /// A line that says nothing usable.
    #[error("line {line}: {fault}")]
    Line {
        /// Its number, from 1.
        line: u64,
        /// What is wrong.
        fault: LineFault,
    },
    /// Two lines that say different things of one path.
    #[error("lines {first} and {second} contradict each other about {path}")]
    Contradiction {
        /// The target path.
        path: String,
        /// The number of one line.
        first: u64,
        /// The number of the other.
        second: u64,
    },
    /// A target that is listed already, as something else.
    #[error("line {line}: {path} is published already with SHA-256 {published}, the list has {found}")]
    Published {
        /// The number of the line.
        line: u64,
        /// The target path.
        path: String,
        /// Hash and length that are signed.
        published: String,
        /// Hash and length of the line.
        found: String,
    },
    /// The list does not read.
    #[error("reading the list: {0}")]
    Unread(String),
    /// Bins were made more or fewer meanwhile.
    #[error("the number of bins was changed meanwhile")]
    BinsChanged,
}

/// Outcome of an import.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Lines read.
    pub lines: u64,
    /// Targets that are new, pages not counted.
    pub added: u64,
    /// Lines whose target was listed already, with the same hash and length.
    pub present: u64,
    /// Lines that repeat another.
    pub repeated: u64,
    /// Bins signed anew.
    pub bins: u64,
    /// Projects whose pages change.
    pub projects: u64,
    /// Version of the snapshot that has them.
    pub snapshot: Version,
    /// Version of the timestamp that has them.
    pub timestamp: Version,
}

/// What is to be done about what was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// All but signing and writing, with all refusals.
    Dry,
    /// Everything.
    Wet,
}

impl Repository {
    /// Lists the files of `list` as targets: all of them, or none. `bytes` is the length of the list, if known, for
    /// the progress. What the format of a line is, `docs/formats.md` says.
    pub async fn import(
        &self,
        keys: &Keyring,
        list: impl Read + Send + 'static,
        bytes: Option<u64>,
        run: Run,
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Result<Imported, RepositoryError> {
        let state = self.ready_for_bulk(keys).await?;
        let bins = Arc::new(BinMap::of(&state.bins)?);
        require_all(keys, &bins, &state.bins)?;
        let spill = Arc::new(Spill::new(bins.groups(GROUPS), BUDGET));
        let filler = Filler::new(list, Arc::clone(&spill), Arc::clone(&bins))?;
        let lines = filler.fill(bytes, progress).await?;
        let sealed = self.seal(keys, &state, &bins, &spill, run, now, progress).await?;
        Ok(Imported { lines, ..sealed })
    }

    /// The state, if it may be built upon and the keys at hand can commit.
    pub(super) async fn ready_for_bulk(&self, keys: &Keyring) -> Result<State, RepositoryError> {
        self.finish_pending(&self.state().await?).await?;
        let state = self.state().await?;
        refuse_unvouched(&state)?;
        for role in [TopLevel::Timestamp, TopLevel::Snapshot] {
            keys.require(&state.root.authority(role))?;
        }
        Ok(state)
    }

    /// Adds the records of a spill to the bins, and commits.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a different thing, and there is one caller for each layout"
    )]
    pub(super) async fn seal(
        &self,
        keys: &Keyring,
        state: &State,
        bins: &Arc<BinMap>,
        spill: &Arc<Spill>,
        run: Run,
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Result<Imported, RepositoryError> {
        let tallies = Arc::new(Mutex::new(HashMap::new()));
        let (mut state, mut todo) = (state.clone(), (0..bins.len()).collect::<Vec<_>>());
        let mut written = HashMap::new();
        for _ in 0..MAX_ATTEMPTS {
            let (store, expires) = (Arc::clone(&self.store), days_after(now, self.settings.expiry.bin_n));
            let reader = Reader::new(Arc::clone(&store), state.clone(), Arc::clone(bins))?;
            let (spill, bins, tallies) = (Arc::clone(spill), Arc::clone(bins), Arc::clone(&tallies));
            let content =
                Arc::new(Merge { spill, bins: Arc::clone(&bins), reader, tallies: Arc::clone(&tallies) });
            let forge = Forge::new(store, keys, Arc::clone(&bins), &state.bins, content, expires)?;
            written.extend(forge.dry_run(run == Run::Dry).run(todo, progress).await?);
            let mut imported = summed(&locked(&tallies));
            imported.bins = u64::try_from(written.len()).unwrap_or(u64::MAX);
            if run == Run::Dry || written.is_empty() {
                return Ok(imported.in_state(&state));
            }
            let transaction =
                Transaction { written: Forge::entries(&bins, &written)?, ..Transaction::empty() };
            let staged = self.stage(keys, &state, transaction, now).await?;
            match self.swap_timestamp(keys, &state, staged, None, now).await {
                Err(RepositoryError::Store(StoreError::Conflict { .. })) => {}
                Err(error) => return Err(error),
                Ok(after) => return Ok(imported.in_state(&after)),
            }
            let newer = self.state().await?;
            refuse_unvouched(&newer)?;
            todo = changed(&bins, &state, &newer)?;
            written.retain(|bin, _| todo.binary_search(bin).is_err());
            state = newer;
        }
        Err(RepositoryError::Busy(MAX_ATTEMPTS))
    }
}

impl Imported {
    fn in_state(self, state: &State) -> Self {
        let (snapshot, timestamp) = (state.snapshot.common.version, state.timestamp.common.version);
        Self { snapshot, timestamp, ..self }
    }
}

/// The bins that another publisher changed.
fn changed(bins: &BinMap, before: &State, after: &State) -> Result<Vec<usize>, RepositoryError> {
    if BinMap::of(&after.bins)? != *bins {
        return Err(ImportError::BinsChanged.into());
    }
    let mut changed = Vec::new();
    for bin in 0..bins.len() {
        let name = bins.name(bin)?.as_str();
        if before.snapshot.role(name) != after.snapshot.role(name) {
            changed.push(bin);
        }
    }
    Ok(changed)
}

fn summed(tallies: &HashMap<usize, Tally>) -> Imported {
    let sum = |part: fn(&Tally) -> u64| tallies.values().map(part).sum();
    Imported {
        added: sum(|tally| tally.added),
        present: sum(|tally| tally.present),
        repeated: sum(|tally| tally.repeated),
        ..Imported::default()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads lines on all cores, and puts them into a spill.
struct Filler {
    input: Mutex<Input>,
    spill: Arc<Spill>,
    bins: Arc<BinMap>,
    lines: AtomicU64,
    failed: AtomicBool,
    /// The first bad line found so far.
    fault: Mutex<Option<(u64, LineFault)>>,
}

impl Filler {
    fn new(
        list: impl Read + Send + 'static,
        spill: Arc<Spill>,
        bins: Arc<BinMap>,
    ) -> Result<Self, RepositoryError> {
        let input = Mutex::new(Input::new(list).map_err(|error| unread(&error))?);
        let (lines, failed, fault) = (AtomicU64::new(0), AtomicBool::new(false), Mutex::new(None));
        Ok(Self { input, spill, bins, lines, failed, fault })
    }

    /// Reads to the end; how many lines there are.
    async fn fill(self, bytes: Option<u64>, progress: &dyn Progress) -> Result<u64, RepositoryError> {
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
            match Line::parse_bare(line) {
                Ok(line) => self.push(&Record::of(&line, number), record, writer)?,
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

    fn push(
        &self,
        record: &Record<'_>,
        buffer: &mut Vec<u8>,
        writer: &mut Writer<'_>,
    ) -> Result<(), RepositoryError> {
        let key = self.bins.key(&sha256(record.path.as_bytes()));
        let key = key.ok_or_else(|| RepositoryError::Missing(format!("a bin for {}", record.path)))?;
        record.write(buffer);
        Ok(writer.push(key, buffer)?)
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
