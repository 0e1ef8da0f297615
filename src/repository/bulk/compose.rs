//! Project pages made of lines: each project's page is read, completed and written, and its targets are handed on to
//! the bins.
//!
//! Lines are sorted by the bins that list the pages, so that each bin is read once for all its projects, and only the
//! bins that another publisher changed are looked at again.
//!
//! ```text
//! lines by project ─▶ page as it is signed + lines ─▶ page, written under its hash ─┐
//!                                                  └▶ its new files ────────────────┴▶ Spill ─▶ forge
//! ```

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;

use super::bins::BinMap;
use super::cores::{Meter, on_all_cores};
use super::forge::GROUPS;
use super::import::{ImportError, Run};
use super::line::{Line, LineFault};
use super::listed::{self, Listed};
use super::merge::{READ_TOGETHER, Tally};
use super::reader::Reader;
use super::record::Record;
use crate::crypto::sha256;
use crate::python::{Insertion, PageFile, ProjectName, ProjectPage};
use crate::repository::state::State;
use crate::repository::{MAX_METADATA, Progress, Repository, RepositoryError, layout};
use crate::spill::{Spill, SpillError, Writer};
use crate::store::{Content, StoreError, StorePath};
use crate::tuf::metadata::Targets;

/// Pages written and made durable together.
const PAGES_TOGETHER: usize = 1_024;
/// Bytes of pages that one worker gathers before it writes them.
const BYTES_TOGETHER: usize = 8 * 1024 * 1024;

/// Makes pages, and again those that others changed.
pub(super) struct Composer {
    pub(super) repository: Repository,
    pub(super) bins: Arc<BinMap>,
    /// Lines by the bins of their projects' pages.
    pub(super) lines: Arc<Spill>,
    /// Where targets go.
    pub(super) targets: Arc<Spill>,
    /// `custom` of each file, or nothing.
    pub(super) custom: String,
    pub(super) run: Run,
    /// What came of the lines, by the bin of the page.
    pub(super) pages: Mutex<HashMap<usize, Composed>>,
}

/// What came of the lines of some projects.
#[derive(Debug, Default)]
pub(super) struct Composed {
    /// Projects whose pages change.
    projects: Vec<ProjectName>,
    tally: Tally,
}

/// What workers share during one attempt.
struct Round {
    composer: Arc<Composer>,
    state: State,
    reader: Reader,
    handle: Handle,
    /// Wanted bins by group.
    wanted: Vec<Vec<usize>>,
    next: AtomicUsize,
    stop: AtomicBool,
    attempt: u32,
    /// Of pages that change.
    serial: u64,
}

/// One worker's place.
struct Desk<'a> {
    round: &'a Round,
    writer: Writer<'a>,
    pages: Vec<(StorePath, String)>,
    bytes: usize,
    record: Vec<u8>,
}

/// A line with its number.
type Numbered<'a> = (u64, &'a str);

impl Composer {
    /// Makes the pages that the bins `wanted` list in `state`, and hands their targets on.
    pub(super) async fn compose(
        self: &Arc<Self>,
        state: &State,
        wanted: &[usize],
        attempt: u32,
        progress: &dyn Progress,
    ) -> Result<(), RepositoryError> {
        let groups = self.bins.groups(GROUPS);
        let mut by_group = vec![Vec::new(); groups];
        for bin in wanted {
            if let Some(list) = by_group.get_mut(self.bins.group_of(*bin, groups)) {
                list.push(*bin);
            }
        }
        let reader = Reader::new(self.repository.shared_store(), state.clone(), Arc::clone(&self.bins))?;
        let meter = Arc::new(Meter::new(u64::try_from(groups).unwrap_or(u64::MAX)));
        let round = Round {
            composer: Arc::clone(self),
            state: state.clone(),
            reader,
            handle: Handle::current(),
            wanted: by_group,
            next: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            attempt,
            serial: state.snapshot.common.version.saturating_add(1),
        };
        let counted = Arc::clone(&meter);
        on_all_cores("making pages", &meter, progress, move || Desk::of(&round).work(&counted)).await?;
        self.refuse_long_note()
    }

    /// Projects whose pages change.
    pub(super) fn projects(&self) -> Vec<ProjectName> {
        locked(&self.pages).values().flat_map(|composed| composed.projects.iter().cloned()).collect()
    }

    /// What came of all lines.
    pub(super) fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        for composed in locked(&self.pages).values() {
            sum.added += composed.tally.added;
            sum.present += composed.tally.present;
            sum.repeated += composed.tally.repeated;
        }
        sum
    }

    /// The names of all projects go into one note, which must be readable when another process has to follow it.
    fn refuse_long_note(&self) -> Result<(), RepositoryError> {
        let projects = self.projects();
        // Quotes and a comma for each; none of their characters is escaped.
        let names = projects.iter().map(|name| name.as_str().len() + 3).sum::<usize>();
        if u64::try_from(names).is_ok_and(|names| names < MAX_METADATA / 2) {
            return Ok(());
        }
        let found = projects.len();
        Err(RepositoryError::Plan(format!("pages of {found} projects change at once: import them in parts")))
    }
}

impl<'a> Desk<'a> {
    fn of(round: &'a Round) -> Self {
        let writer = round.composer.targets.writer();
        Self { round, writer, pages: Vec::new(), bytes: 0, record: Vec::new() }
    }

    fn work(mut self, meter: &Meter) -> Result<(), RepositoryError> {
        let round = self.round;
        while !round.stop.load(Ordering::Relaxed) {
            let group = round.next.fetch_add(1, Ordering::Relaxed);
            let Some(wanted) = round.wanted.get(group) else { break };
            if !wanted.is_empty() {
                let done = self.group(group, wanted);
                if done.is_err() {
                    round.stop.store(true, Ordering::Relaxed);
                    return done;
                }
            }
            meter.add(1);
        }
        self.write_pages()?;
        Ok(self.writer.finish()?)
    }

    fn group(&mut self, group: usize, wanted: &[usize]) -> Result<(), RepositoryError> {
        let composer = &self.round.composer;
        let records = composer.lines.partition(group)?;
        let mut runs: Vec<(usize, Vec<&[u8]>)> = Vec::new();
        for (key, bytes) in records.iter() {
            let bin = composer.bins.position(key);
            match runs.last_mut() {
                Some((last, run)) if *last == bin => run.push(bytes),
                _ => runs.push((bin, vec![bytes])),
            }
        }
        runs.retain(|(bin, _)| wanted.binary_search(bin).is_ok());
        for some in runs.chunks(READ_TOGETHER) {
            let bins: Vec<usize> = some.iter().map(|(bin, _)| *bin).collect();
            let present = self.round.reader.read(&bins, &self.round.handle)?;
            for ((bin, records), present) in some.iter().zip(present) {
                let pages = self.bin(records, &present)?;
                locked(&composer.pages).insert(*bin, pages);
            }
        }
        Ok(())
    }

    /// All projects whose pages one bin lists.
    fn bin(&mut self, records: &[&[u8]], present: &Targets) -> Result<Composed, RepositoryError> {
        let mut composed = Composed::default();
        let mut projects: Vec<(&str, Vec<Numbered<'_>>)> = Vec::new();
        for bytes in records {
            let (project, number, line) = listed::read(bytes)?;
            match projects.last_mut() {
                Some((last, lines)) if *last == project => lines.push((number, line)),
                _ => projects.push((project, vec![(number, line)])),
            }
        }
        for (project, lines) in projects {
            let name = ProjectName::from_normalised(project).map_err(|_| SpillError::Damaged)?;
            self.project(name, &lines, present, &mut composed)?;
        }
        Ok(composed)
    }

    fn project(
        &mut self,
        name: ProjectName,
        lines: &[Numbered<'_>],
        present: &Targets,
        composed: &mut Composed,
    ) -> Result<(), RepositoryError> {
        let round = self.round;
        let refused = round.composer.repository.refuse_claimed(&round.state, &name);
        round.handle.block_on(refused)?;
        let target = layout::page(&name)?;
        let listed = present.targets.get(target.as_str());
        let mut page = match listed {
            Some(file) => round.handle.block_on(round.composer.repository.read_page(&name, &target, file))?,
            None => ProjectPage::new(name.clone(), round.serial),
        };
        let (mut seen, before) = (HashMap::new(), composed.tally.added);
        for (number, line) in lines {
            let at = |fault| ImportError::Line { line: *number, fault };
            let parsed = Line::parse(line).map_err(at)?;
            let file = Listed::of(&parsed).map_err(at)?;
            let filename = file.file.filename.as_str().to_owned();
            // What says the same in another folder of a mirror is the same.
            let columns = line.get(parsed.path.len()..).unwrap_or_default();
            if let Some((first, other)) = seen.get(&filename) {
                if *other != columns {
                    return Err(contradiction(&filename, *first, *number));
                }
                composed.tally.repeated += 1;
                continue;
            }
            if page.file(&filename).is_none() {
                refuse_closed(&page).map_err(at)?;
            }
            self.insert(&mut page, file, *number, &seen, &mut composed.tally)?;
            seen.insert(filename, (*number, columns));
        }
        if composed.tally.added > before {
            page.serial = round.serial;
            self.page(&page)?;
            composed.projects.push(name);
        } else if round.attempt > 0
            && let Some(file) = listed
            && let Some(digest) = file.hashes.sha256
        {
            // An earlier attempt may have made another one, which must not count any more.
            self.push_page(target.as_str(), &digest, file.length)?;
        }
        Ok(())
    }

    /// Puts a file on its page, and hands its targets on.
    fn insert(
        &mut self,
        page: &mut ProjectPage,
        listed: Listed,
        number: u64,
        seen: &HashMap<String, (u64, &str)>,
        tally: &mut Tally,
    ) -> Result<(), RepositoryError> {
        let Listed { file, metadata_length } = listed;
        let path = format!("{}/{}", page.name(), file.filename);
        if let Some(known) = page.file(file.filename.as_str()).filter(|known| known.size != file.size) {
            return Err(published(number, &path, known, &file));
        }
        let (sha256, size) = (file.sha256.as_str().to_owned(), file.size);
        let metadata = file.core_metadata_sha256.as_ref().map(|digest| digest.as_str().to_owned());
        match page.insert(file.clone()) {
            Insertion::Same => tally.present += 1,
            Insertion::Inserted => {
                tally.added += 1;
                self.push(&path, &sha256, size, number)?;
                if let (Some(sha256), Some(length)) = (metadata, metadata_length) {
                    self.push(&format!("{path}.metadata"), &sha256, length, number)?;
                }
            }
            Insertion::Conflict { filename: known, .. } => {
                if let Some((first, _)) = seen.get(known.as_str()) {
                    return Err(contradiction(&path, *first, number));
                }
                let known = page.file(known.as_str()).ok_or(SpillError::Damaged)?;
                return Err(published(number, &path, known, &file));
            }
            Insertion::OtherProject { .. } => return Err(SpillError::Damaged.into()),
        }
        Ok(())
    }

    fn push(&mut self, path: &str, hash: &str, length: u64, line: u64) -> Result<(), RepositoryError> {
        let custom = &self.round.composer.custom;
        Record { path, sha256: hash, length, line, custom }.write(&mut self.record);
        self.hand_on(path)
    }

    fn push_page(&mut self, path: &str, digest: &[u8; 32], length: u64) -> Result<(), RepositoryError> {
        Record::page(path, &hex::encode(digest), length, self.round.attempt).write(&mut self.record);
        self.hand_on(path)
    }

    fn hand_on(&mut self, path: &str) -> Result<(), RepositoryError> {
        let key = self.round.composer.bins.key(&sha256(path.as_bytes()));
        let key = key.ok_or_else(|| RepositoryError::Missing(format!("a bin for {path}")))?;
        Ok(self.writer.push(key, &self.record)?)
    }

    fn page(&mut self, page: &ProjectPage) -> Result<(), RepositoryError> {
        let (json, target) = (page.to_json(), layout::page(page.name())?);
        let (digest, length) = (sha256(json.as_bytes()), u64::try_from(json.len()).unwrap_or(u64::MAX));
        if length > MAX_METADATA {
            let (project, max) = (page.name().to_string(), MAX_METADATA);
            return Err(ImportError::PageTooLarge { project, found: length, max }.into());
        }
        self.push_page(target.as_str(), &digest, length)?;
        self.bytes += json.len();
        self.pages.push((layout::hashed(&target, &digest)?, json));
        if self.pages.len() >= PAGES_TOGETHER || self.bytes >= BYTES_TOGETHER {
            self.write_pages()?;
        }
        Ok(())
    }

    fn write_pages(&mut self) -> Result<(), RepositoryError> {
        let pages = std::mem::take(&mut self.pages);
        self.bytes = 0;
        if self.round.composer.run == Run::Dry {
            return Ok(());
        }
        let objects: Vec<_> =
            pages.iter().map(|(at, json)| (at.clone(), Content::Bytes(json.as_bytes()))).collect();
        let store = self.round.composer.repository.store();
        for outcome in self.round.handle.block_on(store.create_all(&objects)) {
            match outcome {
                // Named by its content, so it is what it should be.
                Ok(()) | Err(StoreError::Exists { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn contradiction(path: &str, first: u64, second: u64) -> RepositoryError {
    ImportError::Contradiction { path: path.to_owned(), first, second }.into()
}

fn published(line: u64, path: &str, known: &PageFile, found: &PageFile) -> RepositoryError {
    let said = |file: &PageFile| format!("{} ({} bytes)", file.sha256, file.size);
    let mut published = said(known);
    if known.filename != found.filename {
        published.push_str(&format!(" as {}", known.filename));
    }
    ImportError::Published { line, path: path.to_owned(), published, found: said(found) }.into()
}

/// A project may be closed for new files (PEP 792).
fn refuse_closed(page: &ProjectPage) -> Result<(), LineFault> {
    match page.status.as_ref().map(|status| status.marker).filter(|marker| !marker.allows_uploads()) {
        None => Ok(()),
        Some(marker) => {
            let reason = format!("{} is {} and takes no new files (PEP 792)", page.name(), marker.as_str());
            Err(LineFault::page("path", &reason))
        }
    }
}
