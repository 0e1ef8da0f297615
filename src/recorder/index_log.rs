//! The index's own log, followed beside its pages. An index that gives one person another file has to log it first: what its pages
//! never show is seen here.
//!
//! | object | what |
//! |---|---|
//! | `recorder/index-log.json` | the newest checkpoint, how far its leaves were compared, files that were logged and are not recorded |
//! | `recorder/since.json` | what the index had logged before is older than this recorder |
//! | `recorder/evidence/NAME.txt` | two histories of the index's log |
//! | `conflicts/….evidence.txt` | the index's leaf and the recorder's own, each with its proof |
//!
//! A conflict is kept before it is noted that its leaf was compared. After a crash the leaf is compared again.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use super::conflict::{Conflict, EVIDENCE, Fingerprint, Source};
use super::{Existing, RecordError, Work};
use crate::client::Since;
use crate::log::{LogError, Reader, Step, StoreFiles, Tail, TailError};
use crate::python::{ProjectName, ProjectPage, Sha256Hex};
use crate::store::{Content, Store, StoreError, StorePath, Tag};
use crate::tlog::checkpoint::SignedCheckpoint;
use crate::tlog::evidence::{Evidence, Exhibit};
use crate::tlog::leaf::{FileLeaf, Leaf};
use crate::tlog::policy::Policy;

/// How far the log was compared.
const STATE: &str = "recorder/index-log.json";
/// From where on this recorder can be asked: a [`Since`].
pub const SINCE: &str = "recorder/since.json";
/// Bytes of these, at most: 10,000 paths of 800 bytes, and what is noted of each; 1,000 conflicts.
const MAX_STATE: u64 = 16 * 1024 * 1024;
/// Files that are logged and not recorded, at most; then the log is read no further until they are told of.
const MAX_WAITING: usize = 10_000;
/// Rounds after which such a file is told of: pages of a busy index come later than its log.
const LOG_ONLY_AFTER: u32 = 3;
/// Pieces of 4,096 leaves after which it is noted how far they were compared.
const MANY_PIECES: u32 = 16;
/// Problems that are remembered as told, at most.
const MAX_TOLD: usize = 256;
/// Leaves that one round compares, at most: a log that grows faster than it is read does not keep a round from ending.
const MOST_LEAVES: u64 = 1_000_000;
/// Conflicts whose evidence is still to be had, at most.
const MAX_UNPROVEN: usize = 1_000;
/// Of these, those that fail in one round, at most; then it is left to the next one.
const MAX_FAILED: usize = 16;

/// What is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    checkpoint: Option<String>,
    /// Leaves that were compared.
    next: u64,
    /// Files that were logged and are not recorded, by target path.
    waiting: BTreeMap<String, Waiting>,
    /// Conflicts that are kept, and the leaves whose proofs could not be had yet.
    #[serde(default)]
    unproven: Vec<(u64, Conflict)>,
}

/// A file that was logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Waiting {
    index: u64,
    length: u64,
    sha256: Sha256Hex,
    /// Rounds in which no page had it.
    rounds: u32,
}

/// The log of the index that is recorded.
#[derive(Debug)]
pub struct IndexLog {
    tail: Tail,
    kept: Option<(Kept, Option<Tag>)>,
    told: HashSet<String>,
    /// Projects of which files were recorded, and not compared with what waits for them.
    touched: HashSet<ProjectName>,
    /// Whether all that waits is to be compared: what was recorded before this process began is not known to it.
    all: bool,
    /// Leaves that one round compares, at most.
    most: u64,
}

/// What a round found in the index's log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LogRound {
    /// Leaves of the newest checkpoint that was accepted.
    pub size: u64,
    /// Leaves that were compared with what is recorded.
    pub compared: u64,
    /// Leaves that are left to later rounds.
    pub behind: u64,
    /// Files that are logged and not recorded.
    pub unrecorded: u64,
    /// Those that no page has had for some rounds, told once.
    pub log_only: Vec<String>,
    /// What is wrong with the log itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Whether that was not told yet by this process.
    #[serde(skip)]
    pub is_new: bool,
}

impl IndexLog {
    /// The log that `reader` reads, held against a policy.
    pub fn new(reader: Reader, policy: Policy) -> Self {
        let (told, touched) = (HashSet::new(), HashSet::new());
        Self { tail: Tail::new(reader, policy), kept: None, told, touched, all: true, most: MOST_LEAVES }
    }

    /// Compares so many leaves in one round, and those that are read with the last of them: a piece of 4,096.
    #[must_use]
    pub fn at_most(self, leaves: u64) -> Self {
        Self { most: leaves, ..self }
    }

    /// A file of this project was recorded.
    pub(super) fn touches(&mut self, project: &ProjectName) {
        self.touched.insert(project.clone());
    }

    /// What is kept, read once in a process.
    async fn load(&mut self, store: &dyn Store) -> Result<Kept, RecordError> {
        if let Some((kept, _)) = &self.kept {
            return Ok(kept.clone());
        }
        let object = store.get(&StorePath::new(STATE)?, MAX_STATE).await?;
        let (kept, tag) = match object {
            Some(object) => (json(STATE, &object.bytes)?, Some(object.tag)),
            None => (Kept::default(), None),
        };
        self.kept = Some((kept.clone(), tag));
        Ok(kept)
    }

    async fn save(&mut self, store: &dyn Store, kept: &Kept) -> Result<(), RecordError> {
        let tag = match &self.kept {
            Some((known, Some(_))) if known == kept => return Ok(()),
            Some((_, tag)) => tag.clone(),
            None => None,
        };
        let tag = store.swap(&StorePath::new(STATE)?, &text(STATE, kept)?, tag.as_ref()).await?;
        self.kept = Some((kept.clone(), Some(tag)));
        Ok(())
    }
}

impl Kept {
    fn checkpoint(&self) -> Result<Option<SignedCheckpoint>, RecordError> {
        let read = self.checkpoint.as_ref().map(|text| SignedCheckpoint::parse(text.as_bytes())).transpose();
        read.map_err(|error| RecordError::local("reading", &STATE, &error))
    }

    /// Makes room for a file: those that were told of go first. False: there is none.
    fn has_room(&mut self) -> bool {
        if self.waiting.len() < MAX_WAITING {
            return true;
        }
        let mut told = self.waiting.iter().filter(|(_, waiting)| waiting.rounds >= LOG_ONLY_AFTER);
        let Some(path) = told.next().map(|(path, _)| path.clone()) else { return false };
        self.waiting.remove(&path);
        true
    }
}

impl Work<'_> {
    /// Compares what the index has logged with what is recorded.
    pub(super) async fn follow_log(&mut self) -> Result<(), RecordError> {
        let Some(mut log) = self.recorder.log.take() else { return Ok(()) };
        let outcome = self.follow(&mut log).await;
        if outcome.is_err() {
            log.kept = None;
        }
        self.recorder.log = Some(log);
        match outcome {
            Err(RecordError::Log(error)) => {
                self.round.wait(&format!("the index's log: {error}"));
                Ok(())
            }
            outcome => outcome,
        }
    }

    async fn follow(&mut self, log: &mut IndexLog) -> Result<(), RecordError> {
        let store = self.recorder.repository.shared_store();
        let mut kept = log.load(&*store).await?;
        let before = kept.checkpoint()?;
        let mut seen = LogRound::default();
        let step = match log.tail.look(before.as_ref()).await {
            Ok(Some(step)) => step,
            Ok(None) => return Err(LogError::None.into()),
            Err(TailError::Log(error)) => return Err(error.into()),
            Err(error @ TailError::Lags { .. }) => {
                self.round.wait(&error.to_string());
                return Ok(());
            }
            Err(error) => {
                let problem = problem(&*store, error).await?;
                seen.is_new = log.told.len() >= MAX_TOLD || log.told.insert(problem.clone());
                seen.problem = Some(problem);
                self.round.log = Some(seen);
                return Ok(());
            }
        };
        log.told.clear();
        if self.recorder.settings.existing == Existing::PassedOver && (before.is_none() || self.passed_over) {
            since(&*store, &step).await?;
            if before.is_none() {
                kept.next = step.size();
            }
        }
        kept.checkpoint = Some(step.checkpoint().to_string());
        log.save(&*store, &kept).await?;
        seen.size = step.size();
        let read = self.compare_leaves(log, &step, &mut kept, &mut seen).await;
        seen.behind = step.size().saturating_sub(kept.next);
        self.compare_waiting(log, &mut kept).await?;
        (log.all, log.touched) = (false, HashSet::new());
        self.prove_all(log, &step, &mut kept).await?;
        for (path, waiting) in &mut kept.waiting {
            waiting.rounds = waiting.rounds.saturating_add(1);
            if waiting.rounds == LOG_ONLY_AFTER {
                seen.log_only.push(path.clone());
            }
        }
        seen.unrecorded = u64::try_from(kept.waiting.len()).unwrap_or(u64::MAX);
        log.save(&*store, &kept).await?;
        self.round.log = Some(seen);
        // What was seen before it failed counts.
        read
    }

    /// The leaves that were not compared before.
    async fn compare_leaves(
        &mut self,
        log: &mut IndexLog,
        step: &Step,
        kept: &mut Kept,
        seen: &mut LogRound,
    ) -> Result<(), RecordError> {
        let store = self.recorder.repository.shared_store();
        let (mut leaves, mut pieces) = (log.tail.leaves(step, kept.next), 0_u32);
        while seen.compared < log.most {
            let piece = leaves.next().await?;
            let Some((last, _)) = piece.last() else { break };
            let next = last.saturating_add(1);
            let count = u64::try_from(piece.len()).unwrap_or(0);
            let unknown = piece.iter().find(|(_, leaf)| leaf.is_none());
            if let Some((index, _)) = unknown.filter(|_| seen.problem.is_none()) {
                let problem = format!("the index's log: entry {index} reads as no leaf");
                (seen.is_new, seen.problem) = (true, Some(problem));
            }
            for (project, files) in by_project(piece) {
                let files = files
                    .into_iter()
                    .map(|(index, file)| (file.path().to_owned(), Waiting::of(index, &file)));
                if !self.compare_files(kept, &project, files.collect()).await? {
                    let most = MAX_WAITING;
                    self.round.name(format!("the index's log has more than {most} files that no page has"));
                    return Ok(());
                }
            }
            seen.compared = seen.compared.saturating_add(count);
            kept.next = next;
            pieces = pieces.saturating_add(1);
            if pieces % MANY_PIECES == 0 {
                log.save(&*store, kept).await?;
            }
        }
        Ok(())
    }

    /// Those that were logged before they were recorded.
    async fn compare_waiting(&mut self, log: &IndexLog, kept: &mut Kept) -> Result<(), RecordError> {
        let mut due: BTreeMap<ProjectName, Vec<(String, Waiting)>> = BTreeMap::new();
        for (path, waiting) in &kept.waiting {
            let project = path.split_once('/').and_then(|(project, _)| project.parse::<ProjectName>().ok());
            let Some(project) = project.filter(|project| log.all || log.touched.contains(project)) else {
                continue;
            };
            due.entry(project).or_default().push((path.clone(), waiting.clone()));
        }
        for (project, files) in due {
            self.compare_files(kept, &project, files).await?;
        }
        Ok(())
    }

    /// Files of one project. False: there are too many that are not recorded.
    async fn compare_files(
        &mut self,
        kept: &mut Kept,
        project: &ProjectName,
        files: Vec<(String, Waiting)>,
    ) -> Result<bool, RecordError> {
        let page = self.recorder.repository.page(&self.state, project).await?;
        for (path, logged) in files {
            let Some(expected) = page.as_ref().and_then(|page| recorded(page, &path)) else {
                if !path.ends_with(".metadata") && !kept.waiting.contains_key(&path) {
                    if !kept.has_room() {
                        return Ok(false);
                    }
                    kept.waiting.insert(path, logged);
                }
                continue;
            };
            kept.waiting.remove(&path);
            let same_length = expected.length.is_none_or(|length| length == logged.length);
            if expected.sha256 == logged.sha256 && same_length {
                continue;
            }
            let found = Fingerprint { length: Some(logged.length), sha256: logged.sha256 };
            let project = project.to_string();
            let conflict = Conflict { expected, found, path, project, source: Source::Log };
            let is_kept =
                matches!(self.keep_one(conflict.clone()).await?, super::Kept::New | super::Kept::Known);
            if is_kept && kept.unproven.len() < MAX_UNPROVEN {
                kept.unproven.push((logged.index, conflict));
            }
        }
        Ok(true)
    }

    /// Writes the evidence that is still to be had. Whoever withholds a proof keeps nothing else from being done; the next round
    /// tries again.
    async fn prove_all(&mut self, log: &IndexLog, step: &Step, kept: &mut Kept) -> Result<(), RecordError> {
        let mut failed = Vec::new();
        for (index, conflict) in std::mem::take(&mut kept.unproven) {
            if failed.len() >= MAX_FAILED {
                kept.unproven.push((index, conflict));
                continue;
            }
            match self.prove(log, step, index, &conflict).await {
                Err(RecordError::Log(error)) => {
                    self.round.wait(&format!("evidence of a conflict about {}: {error}", conflict.path));
                    failed.push((index, conflict));
                }
                done => done?,
            }
        }
        // The others have their turn first.
        kept.unproven.extend(failed);
        Ok(())
    }

    /// Writes both leaves and their proofs beside the conflict, if this recorder has a log of its own.
    async fn prove(
        &mut self,
        log: &IndexLog,
        step: &Step,
        index: u64,
        conflict: &Conflict,
    ) -> Result<(), RecordError> {
        if self.state.timestamp.log.is_none() {
            return Ok(());
        }
        let store = self.recorder.repository.shared_store();
        let first = log.tail.exhibit(step, index).await?;
        let own = Reader::new(std::sync::Arc::new(StoreFiles(store.clone())));
        let Some(checkpoint) = own.checkpoint().await? else { return Ok(()) };
        let Some((_, leaf, proof)) = own.find(&checkpoint, &conflict.path).await? else { return Ok(()) };
        let Ok(evidence) = Evidence::two_contents(first, Exhibit { leaf, proof }) else { return Ok(()) };
        let at = conflict.beside(EVIDENCE)?;
        create(&*store, &at, evidence.to_string().as_bytes()).await
    }
}

/// Writes an object that is the same whoever writes it.
pub(super) async fn create(store: &dyn Store, at: &StorePath, bytes: &[u8]) -> Result<(), RecordError> {
    match store.create(at, Content::Bytes(bytes)).await {
        Ok(()) | Err(StoreError::Exists { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What is wrong with the log, and where the evidence is.
async fn problem(store: &dyn Store, error: TailError) -> Result<String, RecordError> {
    let text = format!("the index's log: {error}");
    let TailError::Rewritten(evidence) = error else { return Ok(text) };
    let at = StorePath::new(format!("recorder/evidence/{}.txt", evidence.name()))?;
    create(store, &at, evidence.to_string().as_bytes()).await?;
    Ok(format!("{text}; evidence: {at}"))
}

/// Notes that files among the leaves of this step may be older than the recorder. The number only grows.
async fn since(store: &dyn Store, step: &Step) -> Result<(), RecordError> {
    let at = StorePath::new(SINCE)?;
    let (origin, size) = (step.accepted().checkpoint().origin().to_owned(), step.size());
    let object = store.get(&at, MAX_STATE).await?;
    if let Some(object) = &object {
        let known: Since = json(SINCE, &object.bytes)?;
        if known.origin == origin && known.size >= size {
            return Ok(());
        }
    }
    let tag = object.map(|object| object.tag);
    store.swap(&at, &text(SINCE, &Since { origin, size })?, tag.as_ref()).await?;
    Ok(())
}

fn json<T: for<'a> Deserialize<'a>>(at: &str, bytes: &[u8]) -> Result<T, RecordError> {
    serde_json::from_slice(bytes).map_err(|error| RecordError::local("reading", &at, &error))
}

fn text<T: Serialize>(at: &str, value: &T) -> Result<Vec<u8>, RecordError> {
    serde_json::to_vec(value).map_err(|error| RecordError::local("writing", &at, &error))
}

/// The files among some leaves, by project. What somebody else had is not what the index published.
fn by_project(leaves: Vec<(u64, Option<Leaf>)>) -> BTreeMap<ProjectName, Vec<(u64, FileLeaf)>> {
    let mut files: BTreeMap<ProjectName, Vec<(u64, FileLeaf)>> = BTreeMap::new();
    for (index, leaf) in leaves {
        if let Some(Leaf::File(file)) = leaf
            && let Ok(project) = file.project().parse()
        {
            files.entry(project).or_default().push((index, file));
        }
    }
    files
}

/// What is recorded under a path.
fn recorded(page: &ProjectPage, path: &str) -> Option<Fingerprint> {
    let (_, name) = path.split_once('/')?;
    let file = |name: &str| page.files().iter().find(|file| file.filename.as_str() == name);
    if let Some(file) = file(name) {
        return Some(Fingerprint { length: Some(file.size), sha256: file.sha256.clone() });
    }
    let sha256 = file(name.strip_suffix(".metadata")?)?.core_metadata_sha256.clone()?;
    Some(Fingerprint { length: None, sha256 })
}

impl Waiting {
    fn of(index: u64, file: &FileLeaf) -> Self {
        Self { index, length: file.length(), sha256: Sha256Hex::of(file.sha256()), rounds: 0 }
    }
}
