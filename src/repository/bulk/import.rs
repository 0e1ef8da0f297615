//! A list of files becomes signed targets, without a look at the files themselves.
//!
//! All lines are read and judged before anything is signed, and one commit makes all of them visible. Another
//! publisher's commit in between costs only the bins that it changed: those, and the pages they list, are made again.

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde::Serialize;
use thiserror::Error;

use super::bins::BinMap;
use super::compose::Composer;
use super::filler::Filler;
use super::forge::{Forge, GROUPS, require_all};
use super::line::LineFault;
use super::merge::{Merge, Tally};
use super::reader::Reader;
use crate::python::ProjectName;
use crate::repository::commit::{Staged, Transaction};
use crate::repository::publish::refuse_unvouched;
use crate::repository::state::State;
use crate::repository::{Keyring, MAX_ATTEMPTS, PATIENCE, Progress, Repository, RepositoryError, days_after};
use crate::spill::{BUDGET, Spill};
use crate::store::StoreError;
use crate::tuf::json::Json;
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
    /// A page that would be too large to be read again.
    #[error("the page of {project} would have {found} bytes, at most {max} are read")]
    PageTooLarge {
        /// The project.
        project: String,
        /// Its length in bytes.
        found: u64,
        /// What is read.
        max: u64,
    },
    /// A file of a folder that cannot be imported.
    #[error("{file}: {reason}")]
    OfFile {
        /// Its path below the folder.
        file: String,
        /// Why.
        reason: String,
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

/// What the paths of a list are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Files of projects, whose pages are completed.
    Pages,
    /// Target paths as they stand, without pages.
    AsIs,
}

/// A list of files. What the format of a line is, `docs/formats.md` says.
pub struct List {
    /// Lines, plain or gzip.
    pub text: Box<dyn Read + Send>,
    /// The length of the text in bytes, if it is known: for the progress.
    pub bytes: Option<u64>,
    /// What its paths are.
    pub layout: Layout,
    /// Whose word the hashes are, if nobody hashed the files here: noted with each target, as `custom`.
    pub hashes_from: Option<String>,
}

/// One import under way.
struct Import<'a> {
    repository: &'a Repository,
    keys: &'a Keyring,
    bins: Arc<BinMap>,
    /// Targets by bin.
    targets: Arc<Spill>,
    /// Makes the pages, if there are any.
    composer: Option<Arc<Composer>>,
    run: Run,
    now: DateTime<Utc>,
    tallies: Arc<Mutex<HashMap<usize, Tally>>>,
}

impl Repository {
    /// Lists the files of `list` as targets: all of them, or none.
    pub async fn import(
        &self,
        keys: &Keyring,
        list: List,
        run: Run,
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Result<Imported, RepositoryError> {
        let state = self.ready_for_bulk(keys).await?;
        let bins = Arc::new(BinMap::of(&state.bins)?);
        require_all(keys, &bins, &state.bins)?;
        // Pages need a second spill beside the first.
        let budget = if list.layout == Layout::Pages { BUDGET / 2 } else { BUDGET };
        let spill = || Arc::new(Spill::new(bins.groups(GROUPS), budget));
        let (lines, custom) = (spill(), custom(list.hashes_from));
        let logged = state.timestamp.log.is_some();
        let filler = Filler::new(
            list.text,
            Arc::clone(&lines),
            Arc::clone(&bins),
            list.layout,
            custom.clone(),
            logged,
        )?;
        let count = filler.fill(list.bytes, progress).await?;
        let (targets, composer) = match list.layout {
            Layout::AsIs => (lines, None),
            Layout::Pages => {
                let (targets, repository) = (spill(), self.clone());
                let (bins, pages) = (Arc::clone(&bins), Mutex::default());
                let composer =
                    Composer { repository, bins, lines, targets: Arc::clone(&targets), custom, run, pages };
                (targets, Some(Arc::new(composer)))
            }
        };
        let tallies = Arc::default();
        let import = Import { repository: self, keys, bins, targets, composer, run, now, tallies };
        Ok(Imported { lines: count, ..import.seal(state, progress).await? })
    }

    /// Refuses what an import would refuse at its end, whatever it imports: for work that takes long before it.
    pub async fn refuse_early(&self, keys: &Keyring) -> Result<(), RepositoryError> {
        let state = self.ready_for_bulk(keys).await?;
        require_all(keys, &BinMap::of(&state.bins)?, &state.bins)
    }

    /// The state, if it may be built upon and the keys at hand can commit.
    pub(super) async fn ready_for_bulk(&self, keys: &Keyring) -> Result<State, RepositoryError> {
        self.finish_pending(&self.state().await?).await?;
        let state = self.state().await?;
        refuse_unvouched(&state)?;
        for role in [TopLevel::Timestamp, TopLevel::Snapshot] {
            keys.require(&state.root.authority(role))?;
        }
        // Its key, its witnesses: told before the work, not after it.
        self.book(keys, &state).await?;
        Ok(state)
    }
}

impl Import<'_> {
    /// Adds the targets to the bins, and commits.
    async fn seal(&self, mut state: State, progress: &dyn Progress) -> Result<Imported, RepositoryError> {
        let mut todo = (0..self.bins.len()).collect::<Vec<_>>();
        let mut written = HashMap::new();
        // Whoever was overtaken holds up the others for the little that is to be done again.
        let mut turn = None;
        for attempt in 0..MAX_ATTEMPTS {
            if let Some(composer) = &self.composer {
                composer.compose(&state, &todo, attempt, progress).await?;
            }
            written.extend(self.forge(&state)?.run(todo, progress).await?);
            let imported = self.imported(written.len());
            if self.run == Run::Dry || written.is_empty() {
                return Ok(imported.in_state(&state));
            }
            let written_now = Forge::entries(&self.bins, &written)?;
            let projects = self.composer.as_ref().map(|composer| composer.projects()).unwrap_or_default();
            let pages = projects.iter().map(ToString::to_string).collect();
            let transaction = Transaction { written: written_now, pages, ..Transaction::empty() };
            let staged = self.repository.stage(self.keys, &state, transaction, self.now).await?;
            if let Some(after) = self.swap(&state, staged, projects, progress).await? {
                return Ok(imported.in_state(&after));
            }
            drop(turn.take());
            turn = Some(self.repository.store.turn(PATIENCE).await);
            let newer = self.repository.state_after(Some(&state)).await?;
            refuse_unvouched(&newer)?;
            todo = changed(&self.bins, &state, &newer)?;
            written.retain(|bin, _| todo.binary_search(bin).is_err());
            state = newer;
        }
        Err(RepositoryError::Busy(MAX_ATTEMPTS))
    }

    fn forge(&self, state: &State) -> Result<Forge, RepositoryError> {
        let (store, bins) = (self.repository.shared_store(), Arc::clone(&self.bins));
        let reader = Reader::new(Arc::clone(&store), state.clone(), Arc::clone(&bins))?;
        let (spill, tallies) = (Arc::clone(&self.targets), Arc::clone(&self.tallies));
        let content = Arc::new(Merge { spill, bins: Arc::clone(&bins), reader, tallies });
        let expires = days_after(self.now, self.repository.settings().expiry.bin_n);
        let forge = Forge::new(store, self.keys, bins, &state.bins, content, expires)?;
        Ok(forge.dry_run(self.run == Run::Dry))
    }

    /// The commit point, and the unsigned pages after it. Returns nothing if another publisher was faster.
    async fn swap(
        &self,
        state: &State,
        staged: Staged,
        projects: Vec<ProjectName>,
        progress: &dyn Progress,
    ) -> Result<Option<State>, RepositoryError> {
        let (repository, notes) = (self.repository, staged.notes.clone());
        let after = match repository.swap_timestamp(self.keys, state, staged, None, self.now).await {
            Ok(after) => Some(after),
            Err(RepositoryError::Store(StoreError::Conflict { .. })) => None,
            Err(error) => return Err(error),
        };
        if let Some(after) = &after {
            repository.show_many(after, projects, progress).await?;
        }
        for note in notes {
            repository.store().delete(&note).await?;
        }
        Ok(after)
    }

    fn imported(&self, bins: usize) -> Imported {
        let (tally, projects) = match &self.composer {
            Some(composer) => (composer.tally(), composer.projects().len()),
            None => (summed(&locked(&self.tallies)), 0),
        };
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let Tally { added, present, repeated } = tally;
        Imported {
            added,
            present,
            repeated,
            bins: count(bins),
            projects: count(projects),
            ..Imported::default()
        }
    }
}

impl Imported {
    fn in_state(self, state: &State) -> Self {
        let (snapshot, timestamp) = (state.snapshot.common.version, state.timestamp.common.version);
        Self { snapshot, timestamp, ..self }
    }
}

/// `custom` of a target whose hash is somebody's word.
fn custom(hashes_from: Option<String>) -> String {
    let object = hashes_from.map(|from| Json::object([("hashes-from", Json::str(from))]).to_text());
    object.unwrap_or_default()
}

/// The bins that another publisher changed.
pub(super) fn changed(bins: &BinMap, before: &State, after: &State) -> Result<Vec<usize>, RepositoryError> {
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

fn summed(tallies: &HashMap<usize, Tally>) -> Tally {
    let sum = |part: fn(&Tally) -> u64| tallies.values().map(part).sum();
    Tally {
        added: sum(|tally| tally.added),
        present: sum(|tally| tally.present),
        repeated: sum(|tally| tally.repeated),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
