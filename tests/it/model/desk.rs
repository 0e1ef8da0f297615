//! Where participants wait for their turn: every operation on the store is a point at which somebody else may go first.

#![expect(clippy::unwrap_used, reason = "a world that cannot be read is a test that failed")]
#![expect(clippy::indexing_slicing, reason = "participants are numbered")]

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use async_trait::async_trait;
use tokio::io::AsyncRead;
use wheelseal::store::{Content, Entry, Object, Store, StoreError, StorePath, Tag};

use crate::memory::{MemoryStore, Stored};

pub(crate) const TIMESTAMP: &str = "metadata/timestamp.json";
const STAGING: &str = "staging/";

/// An operation on the store, as far as it matters to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Op {
    pub(crate) verb: &'static str,
    pub(crate) path: String,
    /// What is copied.
    pub(crate) from: Option<String>,
}

impl Op {
    fn new(verb: &'static str, path: impl Into<String>) -> Self {
        Self { verb, path: path.into(), from: None }
    }

    pub(crate) fn writes(&self) -> bool {
        matches!(self.verb, "create" | "swap" | "delete")
    }

    pub(crate) fn lists(&self) -> bool {
        self.verb == "list"
    }

    /// Whether the two may not change places.
    pub(crate) fn conflicts(&self, other: &Self) -> bool {
        (self.writes() && other.touches(&self.path)) || (other.writes() && self.touches(&other.path))
    }

    fn touches(&self, path: &str) -> bool {
        if self.lists() {
            return path.strip_prefix(self.path.as_str()).is_some_and(|rest| rest.starts_with('/'));
        }
        self.path == path || self.from.as_deref() == Some(path)
    }
}

/// What becomes of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    Done,
    /// It is done, and reported as failed.
    DoneButFailed,
    /// From now on this participant sees the timestamp before the current one, until it tries to swap it.
    Stale,
}

/// What the participant is told.
fn answer<T>(verdict: Verdict, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
    if verdict == Verdict::DoneButFailed { outcome.and(Err(broken())) } else { outcome }
}

fn broken() -> StoreError {
    let kind = std::io::ErrorKind::ConnectionReset;
    StoreError::Io { what: "reach", path: "the store".to_owned(), kind, message: kind.to_string() }
}

/// What a participant waits for.
#[derive(Debug, Default)]
struct Slot {
    waiting: Option<Op>,
    granted: Option<Verdict>,
    /// Whether it died: what it had begun on other threads ends too.
    dead: bool,
    waker: Option<Waker>,
}

/// All participants, and what happened so far.
#[derive(Debug)]
pub(crate) struct Desk {
    slots: Vec<Slot>,
    /// All timestamps so far, the current one last.
    pub(crate) timestamps: Vec<Stored>,
    /// Operations that took place.
    pub(crate) log: Vec<(usize, Op)>,
    /// Whether nobody gets a turn any more.
    closed: bool,
}

impl Desk {
    pub(crate) fn new(participants: usize, store: &MemoryStore) -> Arc<Mutex<Self>> {
        let slots = (0..participants).map(|_| Slot::default()).collect();
        let timestamps = vec![store.world().objects[TIMESTAMP].clone()];
        Arc::new(Mutex::new(Self { slots, timestamps, log: Vec::new(), closed: false }))
    }

    pub(crate) fn waiting(&self, participant: usize) -> Option<Op> {
        self.slots[participant].waiting.clone()
    }

    /// Whoever waits, or comes later, is told that the store is gone.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.slots.iter_mut().filter_map(|slot| slot.waker.take()).for_each(Waker::wake);
    }

    /// It does nothing any more.
    pub(crate) fn kill(&mut self, participant: usize) {
        let slot = &mut self.slots[participant];
        (slot.dead, slot.waiting) = (true, None);
        slot.waker.take().into_iter().for_each(Waker::wake);
    }

    /// Lets a participant do what it waits for.
    pub(crate) fn grant(&mut self, participant: usize, verdict: Verdict) {
        let slot = &mut self.slots[participant];
        let op = slot.waiting.take().unwrap();
        slot.granted = Some(verdict);
        if let Some(waker) = slot.waker.take() {
            waker.wake();
        }
        self.log.push((participant, op));
    }
}

/// The store as one participant sees it.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) participant: usize,
    pub(crate) store: MemoryStore,
    pub(crate) desk: Arc<Mutex<Desk>>,
    /// Random names that it gave so far.
    pub(crate) names: Mutex<Vec<String>>,
    pub(crate) stale: Mutex<bool>,
    /// One operation at a time, also of those that do several at once.
    pub(crate) one: tokio::sync::Mutex<()>,
}

impl Seat {
    /// Waits until it is this participant's turn.
    async fn turn(&self, op: Op) -> Result<Verdict, StoreError> {
        let mut op = Some(op);
        poll_fn(|context| {
            let desk = &mut *self.desk.lock().unwrap();
            let slot = &mut desk.slots[self.participant];
            if desk.closed || slot.dead {
                return Poll::Ready(Err(broken()));
            }
            if let Some(op) = op.take() {
                slot.waiting = Some(op);
            }
            slot.waker = Some(context.waker().clone());
            slot.granted.take().map_or(Poll::Pending, |verdict| Poll::Ready(Ok(verdict)))
        })
        .await
    }

    /// What lies in `staging` has random names; in the store they are numbered, so that equal states are equal.
    fn name(&self, path: &StorePath) -> StorePath {
        if !path.as_str().starts_with(STAGING) {
            return path.clone();
        }
        let mut segments: Vec<&str> = path.segments().collect();
        let mut names = self.names.lock().unwrap();
        let random = segments[2].trim_end_matches(".json");
        // What somebody else named has a number already.
        let number =
            names.iter().position(|known| known == random).map(|at| format!("{}-{at}", self.participant));
        let number = number.unwrap_or_else(|| {
            if random.contains('-') {
                return random.to_owned();
            }
            names.push(random.to_owned());
            format!("{}-{}", self.participant, names.len() - 1)
        });
        let name = segments[2].replace(random, &number);
        segments[2] = &name;
        StorePath::new(segments.join("/")).unwrap()
    }

    fn old_timestamp(&self) -> Option<Object> {
        let desk = self.desk.lock().unwrap();
        let old = desk.timestamps.iter().rev().nth(1)?;
        Some(Object { bytes: old.bytes.to_vec(), tag: old.tag() })
    }
}

#[async_trait]
impl Store for Seat {
    async fn get(&self, path: &StorePath, max_len: u64) -> Result<Option<Object>, StoreError> {
        let path = self.name(path);
        let _one = self.one.lock().await;
        let verdict = self.turn(Op::new("get", path.as_str())).await?;
        *self.stale.lock().unwrap() |= verdict == Verdict::Stale;
        let mut outcome = self.store.get(&path, max_len).await;
        if *self.stale.lock().unwrap() && path.as_str() == TIMESTAMP {
            outcome = Ok(self.old_timestamp());
        }
        answer(verdict, outcome)
    }

    async fn open(&self, path: &StorePath) -> Result<Option<Pin<Box<dyn AsyncRead + Send>>>, StoreError> {
        let path = self.name(path);
        let _one = self.one.lock().await;
        let verdict = self.turn(Op::new("open", path.as_str())).await?;
        let outcome = Store::open(&self.store, &path).await;
        answer(verdict, outcome)
    }

    async fn create(&self, path: &StorePath, content: Content<'_>) -> Result<(), StoreError> {
        let path = self.name(path);
        let mut op = Op::new("create", path.as_str());
        let original = if let Content::Copy(from) = content { Some(self.name(from)) } else { None };
        op.from = original.as_ref().map(ToString::to_string);
        let content = original.as_ref().map_or(content, Content::Copy);
        let _one = self.one.lock().await;
        let verdict = self.turn(op).await?;
        let outcome = self.store.create(&path, content).await;
        answer(verdict, outcome)
    }

    async fn swap(&self, path: &StorePath, bytes: &[u8], expected: Option<&Tag>) -> Result<Tag, StoreError> {
        let _one = self.one.lock().await;
        let verdict = self.turn(Op::new("swap", path.as_str())).await?;
        let outcome = self.store.swap(path, bytes, expected).await;
        if path.as_str() == TIMESTAMP {
            *self.stale.lock().unwrap() = false;
            if outcome.is_ok() {
                let new = self.store.world().objects[TIMESTAMP].clone();
                self.desk.lock().unwrap().timestamps.push(new);
            }
        }
        answer(verdict, outcome)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let _one = self.one.lock().await;
        let verdict = self.turn(Op::new("list", prefix)).await?;
        let outcome = self.store.list(prefix).await;
        answer(verdict, outcome)
    }

    async fn stat(&self, path: &StorePath) -> Result<Option<Entry>, StoreError> {
        let path = self.name(path);
        let _one = self.one.lock().await;
        let verdict = self.turn(Op::new("stat", path.as_str())).await?;
        answer(verdict, self.store.stat(&path).await)
    }

    async fn delete(&self, path: &StorePath) -> Result<(), StoreError> {
        let path = self.name(path);
        let _one = self.one.lock().await;
        let verdict = self.turn(Op::new("delete", path.as_str())).await?;
        let outcome = self.store.delete(&path).await;
        answer(verdict, outcome)
    }
}
