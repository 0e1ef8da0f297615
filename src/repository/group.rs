//! Group commit: publications that wait at the same time become one snapshot.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::bins::cores;
use super::edit::Edit;
use super::keyring::Keyring;
use super::plan::{Ahead, Plan};
use super::publish::{Decided, Group, Published, Recent};
use super::state::State;
use super::{Accepted, Distribution, ProjectFile, Repository, RepositoryError, Staging, Unwatched};

/// Publications in one snapshot, at most: all of them wait for the slowest.
const MAX_GROUP: usize = 256;
/// Publications that are not divided into two groups.
const SMALL_GROUP: usize = 16;
/// Publications that wait for the next group, at most; further callers wait for their turn to wait.
const MAX_WAITING: usize = 1_024;
/// Edits of one publication up to which is read ahead for it: each reads up to three bins, of some 100 kB in memory.
const MAX_AHEAD: usize = 4;

/// Publishes for many callers at once, and remembers the state in between. Clones share the work.
#[derive(Debug, Clone)]
pub struct Publisher {
    queue: mpsc::Sender<Waiting>,
    keys: Arc<Keyring>,
    scout: Scout,
}

type Answer = oneshot::Sender<Result<Published, RepositoryError>>;

#[derive(Debug)]
struct Waiting {
    edits: Arc<[Edit]>,
    ahead: JoinHandle<Option<Ahead>>,
    now: DateTime<Utc>,
    answer: Answer,
}

impl Publisher {
    /// Starts a task that publishes with `keys`, until the last clone is gone. Needs a tokio runtime.
    pub fn start(repository: Repository, keys: Keyring) -> Self {
        let (queue, waiting) = mpsc::channel(MAX_WAITING);
        let places = Arc::new(Semaphore::new(cores()));
        let scout = Scout { repository: repository.clone(), latest: Latest::default(), places };
        let keys = Arc::new(keys);
        tokio::spawn(work(repository, Arc::clone(&keys), waiting, Arc::clone(&scout.latest)));
        Self { queue, keys, scout }
    }

    /// The keys it publishes with.
    pub fn keys(&self) -> Arc<Keyring> {
        Arc::clone(&self.keys)
    }

    /// Publishes all of `edits`, or none. Returns when the new snapshot is durable and visible. If the future is
    /// dropped, the publication may still happen.
    pub async fn publish(
        &self,
        edits: impl Into<Arc<[Edit]>>,
        now: DateTime<Utc>,
    ) -> Result<Published, RepositoryError> {
        let (answer, answered) = oneshot::channel();
        let stopped = || RepositoryError::Plan("the publisher has stopped".to_owned());
        let edits = edits.into();
        let ahead = tokio::spawn(self.scout.clone().look_ahead(Arc::clone(&edits)));
        self.queue.send(Waiting { edits, ahead, now, answer }).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }

    /// Keeps a file of a claimed project until its maintainers sign it: see [`Repository::stage_upload`].
    pub async fn stage_upload(&self, distribution: &Distribution) -> Result<Staging, RepositoryError> {
        self.scout.repository.stage_upload(distribution).await
    }

    /// Takes what maintainers sent: see [`Repository::accept`].
    pub async fn accept(
        &self,
        file: &ProjectFile,
        spool: &Path,
        now: DateTime<Utc>,
    ) -> Result<Accepted, RepositoryError> {
        self.scout.repository.accept(&self.keys, file, spool, now).await
    }
}

/// Reads what a publication needs while it waits, on the cores that the commit under way leaves idle.
#[derive(Debug, Clone)]
struct Scout {
    repository: Repository,
    latest: Latest,
    places: Arc<Semaphore>,
}

/// The state after the last commit.
type Latest = Arc<Mutex<Option<State>>>;

impl Scout {
    /// What cannot be read is for the commit to find.
    async fn look_ahead(self, edits: Arc<[Edit]>) -> Option<Ahead> {
        if edits.len() > MAX_AHEAD {
            return None;
        }
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        let state = self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let (repository, driver) = (self.repository.clone(), Handle::current());
        // Whoever waits for it may give it up; the thread goes on, and keeps its place until it is done.
        let read = move || {
            let _place = place;
            driver.block_on(Plan::look_ahead(&repository, &state, &edits))
        };
        tokio::task::spawn_blocking(read).await.ok()
    }
}

impl Waiting {
    /// What was read ahead so far.
    async fn ahead(&mut self) -> Option<Ahead> {
        if self.ahead.is_finished() {
            return (&mut self.ahead).await.ok()?;
        }
        self.ahead.abort();
        None
    }
}

/// A group whose commit is decided, and those who wait to hear of it.
struct Ending {
    decided: Decided<Arc<[Edit]>>,
    answers: Vec<Answer>,
}

/// While the pages of one group are written, the next one is committed.
async fn work(
    repository: Repository,
    keys: Arc<Keyring>,
    mut queue: mpsc::Receiver<Waiting>,
    latest: Latest,
) {
    let mut recent = Recent::default();
    let mut before: Option<Ending> = None;
    loop {
        let ending = before.as_ref().map_or(0, |ending| ending.answers.len());
        let end = tokio::spawn(end(repository.clone(), before.take()));
        if let Some(first) = queue.recv().await {
            let ending = if end.is_finished() { 0 } else { ending };
            let group = gather(&mut queue, first, ending);
            before = Some(commit(&repository, &keys, &mut recent, group).await);
            *latest.lock().unwrap_or_else(PoisonError::into_inner) = recent.state().cloned();
        }
        // A panic in there dropped the answers: whoever asked knows.
        drop(end.await);
        if before.is_none() {
            return;
        }
    }
}

/// Those who are committed together: `first`, and who waits behind it, in order.
fn gather(queue: &mut mpsc::Receiver<Waiting>, first: Waiting, ending: usize) -> Vec<Waiting> {
    let most = most(queue.len().saturating_add(1), ending);
    let others = std::iter::from_fn(|| queue.try_recv().ok());
    std::iter::once(first).chain(others).take(most).collect()
}

async fn commit(repository: &Repository, keys: &Keyring, recent: &mut Recent, group: Vec<Waiting>) -> Ending {
    let now = group.iter().map(|waiting| waiting.now).max().unwrap_or_default();
    let (mut publications, mut answers) = (Vec::new(), Vec::new());
    for mut waiting in group {
        let ahead = waiting.ahead().await;
        publications.push((waiting.edits, ahead));
        answers.push(waiting.answer);
    }
    let decided = repository.commit_group(keys, recent, Group::new(publications), now, &Unwatched).await;
    Ending { decided, answers }
}

/// Writes the pages, and answers.
async fn end(repository: Repository, ending: Option<Ending>) {
    let Some(Ending { decided, answers }) = ending else { return };
    for (answer, outcome) in answers.into_iter().zip(repository.finish_group(decided).await) {
        // Whoever asked may be gone.
        drop(answer.send(outcome));
    }
}

/// How many of those waiting are committed together. Half of all that is under way, so that while one half is committed
/// the other half's pages are written: whoever is answered asks again, and would otherwise always come all at once.
fn most(waiting: usize, ending: usize) -> usize {
    let half = waiting.saturating_add(ending).div_ceil(2).max(SMALL_GROUP);
    if ending == 0 { MAX_GROUP } else { half.min(MAX_GROUP) }
}
