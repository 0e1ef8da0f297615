//! A recorder: an independent third party that follows an index, hashes the bytes of every file by itself, and signs what
//! it saw in a repository of its own, under the same target paths. So its word can be held against the index's.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | rounds |
//! | `compare` | a page against what was recorded |
//! | `fetch` | one file: fetched, hashed, read |
//! | `publish` | many files, one commit |
//! | `conflict` | contradictions, kept for good |
//! | `index_log` | the index's own log against what was recorded |
//! | `own_log` | conflicts as leaves of the recorder's own log |
//! | `claims` | what maintainers claimed, held against what was recorded |
//! | `answers` | claims over HTTP |
//! | `metrics` | counts, for who watches |
//!
//! ```text
//! list ─▶ pages that may have changed ─▶ compared with the own page ─▶ files fetched, hashed ─▶ one commit ─▶ page is done with
//!                                               └─▶ conflicts ◀──────────────┘
//! ```
//!
//! Rules:
//! 1. Recorded is what was hashed here, and nothing else. The word of the index is only compared.
//! 2. A path is recorded once. What comes later under it is a conflict, and the first stays. What the index removes stays.
//! 3. A page is done with when each of its files is recorded, or refused for as long as the page stays as it is. A crash
//!    before that means the page is read again; what was recorded is then known from the signed state.
//! 4. A conflict is kept before anything else is made of it, then told, then logged; each is done again until it is done.
//! 5. One project that fails, or lies, holds up no other.

mod answers;
mod claims;
mod compare;
mod conflict;
mod fetch;
mod index_log;
mod metrics;
mod own_log;
mod publish;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;
use thiserror::Error;
use tokio::task::JoinSet;

pub use self::answers::ClaimServer;
pub use self::claims::{Claims, Standings};
use self::compare::{Compared, Wanted, compare};
use self::conflict::Kept;
pub use self::conflict::{Conflict, Fingerprint, Source};
use self::fetch::{Fate, Fetcher, Outcome, Taken};
pub use self::index_log::{IndexLog, LogRound, SINCE};
pub use self::metrics::Metrics;
use self::publish::{Batch, Desk, projects};
use crate::crawl::{Change, CrawlError, Due, Follow};
use crate::log::LogError;
use crate::python::{ProjectName, ProjectPage};
use crate::repository::{Keyring, Repository, RepositoryError, State};
use crate::store::StoreError;

/// Files and projects that are named in a report, at most; all are counted.
const MAX_NAMED: usize = 1_000;
/// Names of projects that cannot be recorded and are remembered as told, at most; more are told again.
const MAX_UNFIT: usize = 100_000;
/// Conflicts that wait to be told of after rounds that failed, at most; all are kept.
const MAX_UNTOLD: usize = 10_000;
/// Rounds for which a project rests that failed many times in a row, at most.
const MAX_REST: u64 = 64;

/// What becomes of the bytes of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bytes {
    /// They are hashed, and dropped.
    Hashed,
    /// They are kept in the repository too.
    Kept,
}

/// What becomes of files that the index lists already when it is first followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// They are fetched and recorded like those that come later.
    Recorded,
    /// They are not recorded.
    PassedOver,
}

/// How to record.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What becomes of the bytes.
    pub bytes: Bytes,
    /// What becomes of what is there already.
    pub existing: Existing,
    /// Bytes of one file, at most.
    pub max_file: u64,
    /// Pages and files asked for at once.
    pub jobs: NonZeroUsize,
    /// Where files lie until they are recorded.
    pub spool: PathBuf,
}

/// Who is told of a conflict.
struct Tell(Box<dyn Fn(&Conflict) + Send + Sync>);

impl fmt::Debug for Tell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tell")
    }
}

/// Records one index in one repository.
#[derive(Debug)]
pub struct Recorder {
    repository: Repository,
    keys: Arc<Keyring>,
    follow: Follow,
    settings: Settings,
    claims: Option<Claims>,
    log: Option<IndexLog>,
    /// Conflicts that are kept and not logged; nothing, if that has to be looked up.
    unlogged: Option<Vec<Conflict>>,
    /// When they are tried again, after they could not be logged.
    log_rest: Option<Rest>,
    /// Conflicts that are kept, and that no round has reported.
    untold: Vec<Conflict>,
    /// Whether those of earlier runs are among them.
    untold_read: bool,
    /// Who is told of a conflict as soon as it is kept.
    tell: Option<Tell>,
    /// Projects that cannot be recorded, and were told of.
    unfit: HashSet<String>,
    /// Rounds of this process.
    rounds: u64,
    rests: HashMap<ProjectName, Rest>,
}

/// What a round found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Round {
    /// Projects of the index.
    pub projects: u64,
    /// Pages that came.
    pub pages: u64,
    /// Files that were recorded.
    pub recorded: u64,
    /// Of these, files that do not read, and are recorded by name, length and hash alone.
    pub unread: u64,
    /// Files that were there before recording began, and are not recorded.
    pub passed_over: u64,
    /// Files and projects that cannot be recorded.
    pub left_out: u64,
    /// Files and pages that the next rounds try again.
    pub waiting: u64,
    /// Contradictions seen, whether they were kept before or not.
    pub conflicts: u64,
    /// Those that are new, and kept now.
    pub new_conflicts: Vec<Conflict>,
    /// What was left out, waits or does not read, and why; the first 1,000.
    pub named: Vec<String>,
    /// How what was claimed stands, if claims are judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claims: Option<Standings>,
    /// What the index's own log says, if it is followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<LogRound>,
    /// Version of the snapshot that has what was recorded, if anything was.
    pub snapshot: Option<u64>,
}

/// Why a round ended early. What it had recorded is recorded, and the next one goes on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecordError {
    /// The index.
    #[error(transparent)]
    Crawl(#[from] CrawlError),
    /// The recorder's own repository.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// Where it lies.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The index's log, or the recorder's own.
    #[error(transparent)]
    Log(#[from] LogError),
    /// This machine.
    #[error("{what} {path}: {reason}")]
    Local {
        /// Verb.
        what: &'static str,
        /// Which file.
        path: String,
        /// What the system said.
        reason: String,
    },
}

impl RecordError {
    fn local(what: &'static str, path: &impl ToString, reason: &impl ToString) -> Self {
        Self::Local { what, path: path.to_string(), reason: reason.to_string() }
    }
}

/// A project that failed rests for some rounds.
#[derive(Debug, Clone, Copy)]
struct Rest {
    failures: u32,
    until: u64,
}

impl Rest {
    /// One round, and twice as many with each failure in a row.
    fn after(before: Option<Self>, round: u64) -> Self {
        let failures = before.map_or(0, |rest| rest.failures).saturating_add(1);
        let rounds = 1_u64.checked_shl(failures.saturating_sub(1)).unwrap_or(MAX_REST).min(MAX_REST);
        Self { failures, until: round.saturating_add(rounds) }
    }
}

/// Something to ask the index for.
enum Step {
    Page(Due),
    File(Box<Wanted>),
}

/// What came of it.
enum Stepped {
    Page(ProjectName, Result<Option<Box<Paged>>, RecordError>),
    File(ProjectName, Outcome),
}

/// A page of the index, and the recorder's own of the project.
struct Paged {
    change: Change,
    own: Option<ProjectPage>,
}

/// A page that is not done with yet.
struct Open {
    change: Change,
    /// What is to be written down about it.
    lines: Vec<String>,
    /// Files that have no outcome yet.
    left: usize,
    /// Whether one of them has to be tried again.
    waits: bool,
}

/// One round under way.
struct Work<'a> {
    recorder: &'a mut Recorder,
    fetcher: Fetcher,
    state: State,
    /// Projects whose files are passed over if they were never looked at.
    first: HashSet<ProjectName>,
    steps: VecDeque<Step>,
    running: JoinSet<Stepped>,
    open: HashMap<ProjectName, Open>,
    batch: Batch,
    round: Round,
    /// Conflicts that are kept, by project, as far as they were counted.
    kept: BTreeMap<String, usize>,
    /// Whether files were passed over for the first time.
    passed_over: bool,
    now: DateTime<Utc>,
}

impl Recorder {
    /// Records what `follow` finds in a repository that `keys` can sign. Refuses what no round could do.
    pub async fn new(
        repository: Repository,
        keys: impl Into<Arc<Keyring>>,
        follow: Follow,
        settings: Settings,
    ) -> Result<Self, RecordError> {
        let keys = keys.into();
        repository.refuse_early(&keys).await?;
        let mut follow = follow;
        follow.expect_mark(repository.state().await?.snapshot.common.version)?;
        Ok(Self {
            repository,
            keys,
            follow,
            settings,
            claims: None,
            log: None,
            unlogged: None,
            log_rest: None,
            untold: Vec::new(),
            untold_read: false,
            tell: None,
            unfit: HashSet::new(),
            rounds: 0,
            rests: HashMap::new(),
        })
    }

    /// Follows the index's own log as well.
    #[must_use]
    pub fn following(self, log: IndexLog) -> Self {
        Self { log: Some(log), ..self }
    }

    /// Tells of each conflict as soon as it is kept, and not only when its round has ended.
    #[must_use]
    pub fn telling(self, tell: impl Fn(&Conflict) + Send + Sync + 'static) -> Self {
        Self { tell: Some(Tell(Box::new(tell))), ..self }
    }

    /// Notes that these conflicts were told to all who have to know. Until then each run that starts has them among its new ones.
    pub async fn told(&self, conflicts: &[Conflict]) -> Result<(), RecordError> {
        for conflict in conflicts {
            conflict.told(self.repository.store()).await?;
        }
        Ok(())
    }

    /// What earlier runs kept, and were ended before they told it.
    async fn read_untold(&mut self) -> Result<(), RecordError> {
        if self.untold_read {
            return Ok(());
        }
        for conflict in conflict::without(self.repository.store(), conflict::TOLD, MAX_UNTOLD).await? {
            self.is_new(conflict);
        }
        self.untold_read = true;
        Ok(())
    }

    fn is_new(&mut self, conflict: Conflict) {
        if let Some(Tell(tell)) = &self.tell {
            tell(&conflict);
        }
        if self.untold.len() < MAX_UNTOLD {
            self.untold.push(conflict);
        }
    }

    /// New conflicts that no round has reported, for it failed: they are told of here, once.
    pub fn untold(&mut self) -> Vec<Conflict> {
        std::mem::take(&mut self.untold)
    }

    /// Judges claims as well.
    #[must_use]
    pub fn judging(self, claims: Claims) -> Self {
        Self { claims: Some(claims), ..self }
    }

    /// Contradictions that are kept, of all time.
    pub async fn kept_conflicts(&self) -> Result<u64, RecordError> {
        Ok(conflict::count(self.repository.store()).await?)
    }

    /// Looks at the index once, and records what is new.
    pub async fn round(
        &mut self,
        now: DateTime<Utc>,
        told: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Round, RecordError> {
        self.rounds = self.rounds.saturating_add(1);
        self.read_untold().await?;
        let outlook = self.follow.look().await?;
        let round = Round { projects: outlook.projects, ..Round::default() };
        let first = match self.settings.existing {
            Existing::Recorded => HashSet::new(),
            Existing::PassedOver => self.follow.first_projects()?,
        };
        let fetcher = Fetcher {
            reader: self.follow.reader(),
            max_file: self.settings.max_file,
            spool: self.settings.spool.clone(),
        };
        let (rounds, rests) = (self.rounds, &self.rests);
        let rested = |due: &Due| rests.get(&due.project).is_none_or(|rest| rest.until <= rounds);
        let steps: VecDeque<Step> = outlook.due.into_iter().filter(rested).map(Step::Page).collect();
        let state = self.repository.state().await?;
        let (running, open, batch) = (JoinSet::new(), HashMap::new(), Batch::default());
        let mut work = Work {
            recorder: self,
            fetcher,
            state,
            first,
            steps,
            running,
            open,
            batch,
            round,
            kept: BTreeMap::new(),
            passed_over: false,
            now,
        };
        for why in outlook.unfit {
            let known = &mut work.recorder.unfit;
            if known.len() >= MAX_UNFIT || known.insert(why.clone()) {
                work.round.leave_out(why);
            }
        }
        work.run(told).await?;
        work.follow_log().await?;
        work.log_conflicts().await?;
        // What strangers sent comes last: it keeps nothing else waiting.
        if work.judge_claims().await? {
            work.log_conflicts().await?;
        }
        let round = work.round;
        Ok(Round { new_conflicts: self.untold(), ..round })
    }
}

impl Work<'_> {
    async fn run(&mut self, told: &(dyn Fn(u64, u64) + Sync)) -> Result<(), RecordError> {
        let mut done = 0_u64;
        loop {
            while self.running.len() < self.recorder.settings.jobs.get() {
                let Some(step) = self.steps.pop_front() else { break };
                self.start(step);
            }
            let Some(stepped) = self.running.join_next().await else { break };
            match stepped.map_err(|error| RecordError::local("reading", &"the index", &error))? {
                Stepped::Page(project, page) => self.page(project, page).await?,
                Stepped::File(project, outcome) => self.file(&project, outcome).await?,
            }
            done = done.saturating_add(1);
            let waiting = self.steps.len().saturating_add(self.running.len());
            told(done, done.saturating_add(u64::try_from(waiting).unwrap_or(0)));
            if self.batch.is_full() {
                self.publish().await?;
            }
        }
        self.publish().await
    }

    /// Tasks of their own: pages are read and files hashed on all cores. They end with the round.
    fn start(&mut self, step: Step) {
        match step {
            Step::Page(due) => {
                let (reader, repository) = (self.recorder.follow.reader(), self.recorder.repository.clone());
                let state = self.state.clone();
                self.running.spawn(async move {
                    let page = async {
                        let Some(change) = reader.page(&due).await? else { return Ok(None) };
                        let own = repository.page(&state, &due.project).await?;
                        Ok(Some(Box::new(Paged { change, own })))
                    };
                    let page = page.await;
                    Stepped::Page(due.project, page)
                });
            }
            Step::File(wanted) => {
                let fetcher = self.fetcher.clone();
                self.running.spawn(async move {
                    let project = wanted.offer.filename.project().clone();
                    Stepped::File(project, fetcher.fetch(*wanted).await)
                });
            }
        }
    }

    async fn page(
        &mut self,
        project: ProjectName,
        page: Result<Option<Box<Paged>>, RecordError>,
    ) -> Result<(), RecordError> {
        let Paged { change, own } = match page {
            Ok(Some(page)) => *page,
            Ok(None) => {
                self.recorder.rests.remove(&project);
                return Ok(());
            }
            Err(RecordError::Crawl(error @ (CrawlError::Fetch(_) | CrawlError::Page { .. }))) => {
                self.round.wait(&error.to_string());
                self.recorder.rest(&project);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.round.pages = self.round.pages.saturating_add(1);
        let pass_over = change.before.is_none() && self.first.contains(&project);
        let Compared { wanted, conflicts, left_out, passed_over } = compare(&change, own.as_ref(), pass_over);
        for why in left_out {
            self.round.leave_out(why);
        }
        self.round.passed_over =
            self.round.passed_over.saturating_add(u64::try_from(passed_over.len()).unwrap_or(0));
        self.passed_over |= pass_over && !passed_over.is_empty();
        self.keep(conflicts).await?;
        let open = Open { change, lines: passed_over, left: wanted.len(), waits: false };
        self.open.insert(project.clone(), open);
        // Before other pages are read: what is in memory of this one can then go.
        for wanted in wanted.into_iter().rev() {
            self.steps.push_front(Step::File(Box::new(wanted)));
        }
        self.close_if_done(&project)
    }

    async fn file(&mut self, project: &ProjectName, outcome: Outcome) -> Result<(), RecordError> {
        self.keep(outcome.conflicts).await?;
        match outcome.fate {
            Fate::Taken(taken) => {
                self.batch.push(*taken);
                return Ok(());
            }
            Fate::LeftOut(why) => self.round.leave_out(why),
            Fate::Waits(why) => {
                self.round.wait(&why);
                self.wait_for(project);
            }
        }
        self.one_less(project)
    }

    async fn keep(&mut self, conflicts: Vec<Conflict>) -> Result<(), RecordError> {
        for conflict in conflicts {
            self.keep_one(conflict).await?;
        }
        Ok(())
    }

    /// Keeps a conflict, and tells of it if it is new. What cannot be kept is named, and holds up no other.
    async fn keep_one(&mut self, conflict: Conflict) -> Result<Kept, RecordError> {
        self.round.conflicts = self.round.conflicts.saturating_add(1);
        let kept = conflict.keep(self.recorder.repository.store(), &mut self.kept).await?;
        let why = match kept {
            Kept::New => {
                if let Some(unlogged) = &mut self.recorder.unlogged {
                    unlogged.push(conflict.clone());
                }
                self.recorder.is_new(conflict);
                return Ok(kept);
            }
            Kept::Known => return Ok(kept),
            Kept::TooMany => "the project has too many",
            Kept::Another => "another one with this content is",
            Kept::Unfit => "its name is too long",
        };
        self.round.leave_out(format!("{}: a conflict is not kept, for {why}", conflict.path));
        Ok(kept)
    }

    /// Commits what waits for it. If that is refused, each project by itself.
    async fn publish(&mut self) -> Result<(), RecordError> {
        let files = self.batch.take();
        if files.is_empty() {
            return Ok(());
        }
        match self.commit(&files.iter().collect::<Vec<_>>()).await {
            Err(RecordError::Repository(error)) if is_of_a_project(&error) => {
                for project in projects(&files) {
                    let some: Vec<&Taken> =
                        files.iter().filter(|taken| *taken.offer.filename.project() == project).collect();
                    match self.commit(&some).await {
                        Err(RecordError::Repository(error)) if is_of_a_project(&error) => {
                            self.round.wait(&format!("{project}: {error}"));
                            self.wait_for(&project);
                        }
                        done => done?,
                    }
                }
            }
            done => done?,
        }
        for taken in &files {
            self.one_less(taken.offer.filename.project())?;
        }
        Ok(())
    }

    async fn commit(&mut self, files: &[&Taken]) -> Result<(), RecordError> {
        let Recorder { repository, keys, settings, .. } = &*self.recorder;
        let desk = Desk { repository, keys, bytes: settings.bytes, now: self.now };
        let imported = desk.publish(files).await?;
        self.recorder.follow.set_mark(imported.snapshot)?;
        // A round may last for days: what it started from may be collected by then.
        self.state = self.recorder.repository.state().await?;
        self.round.snapshot = Some(imported.snapshot);
        self.round.recorded = self.round.recorded.saturating_add(imported.added);
        if let Some(claims) = &mut self.recorder.claims {
            claims.recorded(files, &mut self.round).await?;
        }
        for taken in files {
            if let Some(log) = &mut self.recorder.log {
                log.touches(taken.offer.filename.project());
            }
            if let Some(why) = &taken.unread {
                self.round.unread = self.round.unread.saturating_add(1);
                self.round.name(format!("{}: recorded by its hash alone: {why}", taken.offer.filename));
            }
        }
        Ok(())
    }

    /// Whether there are conflicts. What is cut short is judged again in the next round.
    async fn judge_claims(&mut self) -> Result<bool, RecordError> {
        let Some(claims) = &mut self.recorder.claims else { return Ok(false) };
        self.round.claims.get_or_insert_default();
        let mut any = false;
        for release in claims.due() {
            let Recorder { repository, claims: Some(claims), .. } = &mut *self.recorder else { break };
            let (conflicts, waits) =
                claims.judge(repository, &self.state, &release, &mut self.round, self.now).await?;
            any |= !conflicts.is_empty();
            self.keep(conflicts).await?;
            if let Some(claims) = self.recorder.claims.as_mut().filter(|_| !waits) {
                claims.done(&release);
            }
        }
        if let Some(claims) = &mut self.recorder.claims {
            claims.rest();
        }
        Ok(any)
    }

    fn wait_for(&mut self, project: &ProjectName) {
        if let Some(open) = self.open.get_mut(project) {
            open.waits = true;
        }
    }

    fn one_less(&mut self, project: &ProjectName) -> Result<(), RecordError> {
        if let Some(open) = self.open.get_mut(project) {
            open.left = open.left.saturating_sub(1);
        }
        self.close_if_done(project)
    }

    fn close_if_done(&mut self, project: &ProjectName) -> Result<(), RecordError> {
        if self.open.get(project).is_none_or(|open| open.left > 0) {
            return Ok(());
        }
        let Some(open) = self.open.remove(project) else { return Ok(()) };
        if open.waits {
            self.recorder.rest(project);
        } else {
            self.recorder.rests.remove(project);
            self.recorder.follow.done(&open.change, open.lines)?;
        }
        Ok(())
    }
}

impl Recorder {
    /// Leaves a project alone for one round, for twice as many with each failure in a row.
    fn rest(&mut self, project: &ProjectName) {
        let rest = Rest::after(self.rests.get(project).copied(), self.rounds);
        self.rests.insert(project.clone(), rest);
    }
}

/// Whether a commit was refused for what is to be committed, rather than for the repository's own sake.
fn is_of_a_project(error: &RepositoryError) -> bool {
    matches!(
        error,
        RepositoryError::Import(_)
            | RepositoryError::Claimed(_)
            | RepositoryError::Page { .. }
            | RepositoryError::Conflict { .. }
            | RepositoryError::TooLarge { .. }
    )
}

impl Round {
    /// Whether something happened that somebody may want to know.
    pub fn is_news(&self) -> bool {
        let log = self.log.as_ref();
        self.recorded > 0
            || self.left_out > 0
            || self.waiting > 0
            || self.conflicts > 0
            || !self.named.is_empty()
            || log.is_some_and(|log| log.is_new || !log.log_only.is_empty())
    }

    fn leave_out(&mut self, why: String) {
        self.left_out = self.left_out.saturating_add(1);
        self.name(why);
    }

    fn wait(&mut self, why: &str) {
        self.waiting = self.waiting.saturating_add(1);
        self.name(format!("{why}; it will be tried again"));
    }

    fn name(&mut self, why: String) {
        if self.named.len() < MAX_NAMED {
            self.named.push(why);
        }
    }
}
