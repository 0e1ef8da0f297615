//! A monitor: watches a transparency log for projects, for keys, and for what no log may do.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | rounds |
//! | `event` | what is told |
//! | `memory` | what is remembered, and what leaves mean for it |
//! | `roles` | who may sign for a project, by the repository's newest snapshot |
//! | `expected` | the files that a maintainer knows of |
//! | `metrics` | counts, for who watches the monitor |
//!
//! ```text
//! roles of the snapshot ─▶ newest checkpoint, accepted, continues the one before ─▶ leaves, verified ─▶ events
//!   ─▶ evidence written ─▶ state swapped, events in it ─▶ told ─▶ next round: the state without them
//! ```
//!
//! Rules:
//! 1. Nothing is told of a leaf that was not verified against a signed root.
//! 2. An event is durable before it is told. After a kill it may be told twice; it is never lost.
//! 3. Memory: the files of watched projects, and 4,096 leaves. A second content is seen for watched projects; whether any path of
//!    the log stands in it twice is what an audit tells (`log verify`).
//! 4. A checkpoint that contradicts the one before is never taken in its place.

mod event;
mod expected;
mod memory;
mod metrics;
mod roles;

use std::collections::BTreeSet;
use std::path::Path;

use chrono::{DateTime, Utc};
use serde::Serialize;
use thiserror::Error;

pub use self::event::{Content, Event, Holders};
pub use self::expected::{Expected, ExpectedError, MAX_EXPECTED};
use self::memory::{Memory, REWRITTEN};
pub use self::metrics::Metrics;
use crate::client::{ClientError, Session};
use crate::crypto::sha256;
use crate::log::{LogError, Reader, Step, Tail, TailError};
use crate::python::ProjectName;
use crate::store::{Content as Bytes, DirStore, Store, StoreError, StorePath, Tag};
use crate::tlog::evidence::Evidence;
use crate::tlog::policy::Policy;
use crate::tuf::key::KeyId;

/// Events from which on the state is written, and they are told.
const MANY_EVENTS: usize = 1_000;
/// Pieces of 4,096 leaves after which the state is written, whatever was in them.
const MANY_PIECES: u32 = 64;
/// Leaves that one round reads, at most: a log that grows faster than it is read does not keep a round from ending.
const MOST_LEAVES: u64 = 1_000_000;

/// What to watch. Without projects and keys: everything.
#[derive(Debug, Clone, Default)]
pub struct Watched {
    /// Projects.
    pub projects: BTreeSet<ProjectName>,
    /// Keys of maintainers: all projects that one of them can sign for.
    pub keys: BTreeSet<KeyId>,
    /// Files that may be logged for these projects.
    pub expected: Option<Expected>,
    /// Hours after which a log that did not grow stands still.
    pub stale: Option<u32>,
    /// Tell of the files, too, that are logged already at the first look.
    pub history: bool,
    /// Somebody else than who is told at once wants the events: [`Monitor::unsent`].
    pub sends: bool,
}

impl Watched {
    fn all(&self) -> bool {
        self.projects.is_empty() && self.keys.is_empty()
    }
}

/// Why a round did not see all. What it told is told, and the next one goes on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MonitorError {
    /// The log cannot be read, or what is read is damaged.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The place shows an old checkpoint.
    #[error(transparent)]
    Lags(TailError),
    /// Roles and keys.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The monitor's own folder.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is remembered does not read.
    #[error("state.json, which the monitor remembers by, is damaged: {problem}")]
    Damaged {
        /// What is wrong with it.
        problem: String,
    },
    /// Who is told did not take the events: they are told again.
    #[error("events could not be told: {reason}")]
    Untold {
        /// What the system said.
        reason: String,
    },
}

/// What a look at the log came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Round {
    /// Leaves of the newest checkpoint that was accepted.
    pub size: u64,
    /// Leaves that were read.
    pub leaves: u64,
    /// Leaves that are left to later rounds.
    pub behind: u64,
    /// Events that were told.
    pub events: u64,
    /// Those of them that alarm.
    pub alarms: u64,
    /// Whether something that was told of the log itself is still so: rewritten, refused, at a standstill.
    pub standing: bool,
}

/// Watches one log.
#[derive(Debug)]
pub struct Monitor {
    tail: Tail,
    store: DirStore,
    tag: Option<Tag>,
    /// SHA-256 of the state as it was last written.
    written: Option<[u8; 32]>,
    memory: Memory,
    watched: Watched,
    /// Leaves that one round reads, at most.
    most: u64,
}

/// Who is told of events at once. After an error they are told again.
pub type Tell<'a> = dyn FnMut(&[Event]) -> std::io::Result<()> + Send + 'a;

impl Monitor {
    /// A monitor whose memory is in this folder, which is made if it is not there.
    pub async fn open(
        folder: &Path,
        reader: Reader,
        policy: Policy,
        watched: Watched,
    ) -> Result<Self, MonitorError> {
        let store = DirStore::create(folder).await?;
        let (memory, tag) = Memory::read(&store).await?;
        let tail = Tail::new(reader, policy);
        Ok(Self { tail, store, tag, written: None, memory, watched, most: MOST_LEAVES })
    }

    /// Reads so many leaves in one round, and those that are read with the last of them: a piece of 4,096.
    #[must_use]
    pub fn at_most(self, leaves: u64) -> Self {
        Self { most: leaves, ..self }
    }

    /// Events that may be logged from now on.
    pub fn expect(&mut self, expected: Option<Expected>) {
        self.watched.expected = expected;
    }

    /// Looks at the log once. `session`: the repository, for what depends on its roles. What was seen counts beside an error too.
    pub async fn round(
        &mut self,
        now: DateTime<Utc>,
        session: Option<&Session>,
        tell: &mut Tell<'_>,
    ) -> (Round, Result<(), MonitorError>) {
        let mut round = Round::default();
        let mut outcome = self.look(now, session, tell, &mut round).await;
        if outcome.is_err() {
            outcome = self.read().await.and(outcome);
        }
        (round, outcome)
    }

    /// Begins again with what is durable: what is remembered may be ahead of it.
    async fn read(&mut self) -> Result<(), MonitorError> {
        (self.memory, self.tag) = Memory::read(&self.store).await?;
        self.written = None;
        Ok(())
    }

    /// Events that the webhook is still to be sent, and how many more there were.
    pub fn unsent(&self) -> (&[Event], u64) {
        (&self.memory.unsent, self.memory.dropped)
    }

    /// The first of them were sent.
    pub async fn sent(&mut self, count: usize) -> Result<(), MonitorError> {
        self.memory.unsent.drain(..count.min(self.memory.unsent.len()));
        self.memory.dropped = 0;
        self.write().await
    }

    async fn look(
        &mut self,
        now: DateTime<Utc>,
        session: Option<&Session>,
        tell: &mut Tell<'_>,
        round: &mut Round,
    ) -> Result<(), MonitorError> {
        // Those of a round that was killed before it told them, or before it was known that it did.
        if !self.memory.untold.is_empty() {
            round.tell(&self.memory.untold, tell)?;
            self.memory.untold.clear();
            self.write().await?;
        }
        self.memory.watch(&self.watched);
        let roles = match session {
            Some(session) => self.roles(session, tell, round).await,
            None => Ok(()),
        };
        let roles = self.bear(roles).await?;
        let log = self.log(now, tell, round).await;
        let log = self.bear(log).await?;
        self.stands(now, tell, round).await?;
        log.or(roles).map_or(Ok(()), Err)
    }

    /// What failed, if the rest of the round can do without it.
    async fn bear(
        &mut self,
        outcome: Result<(), MonitorError>,
    ) -> Result<Option<MonitorError>, MonitorError> {
        match outcome {
            Ok(()) => Ok(None),
            Err(error @ (MonitorError::Log(_) | MonitorError::Lags(_) | MonitorError::Client(_))) => {
                self.read().await?;
                self.memory.watch(&self.watched);
                Ok(Some(error))
            }
            Err(error) => Err(error),
        }
    }

    async fn roles(
        &mut self,
        session: &Session,
        tell: &mut Tell<'_>,
        round: &mut Round,
    ) -> Result<(), MonitorError> {
        let events = roles::changes(session, &self.watched, &mut self.memory).await?;
        if events.is_empty() {
            return Ok(());
        }
        self.flush(events, tell, round).await
    }

    async fn log(
        &mut self,
        now: DateTime<Utc>,
        tell: &mut Tell<'_>,
        round: &mut Round,
    ) -> Result<(), MonitorError> {
        let before = self.memory.checkpoint()?;
        round.size = before.as_ref().map_or(0, |before| before.claimed().size());
        match self.tail.look(before.as_ref()).await {
            Ok(Some(step)) => {
                round.size = step.size();
                self.step(&step, now, tell, round).await
            }
            Ok(None) => Err(LogError::None.into()),
            Err(TailError::Log(error)) => Err(error.into()),
            Err(error @ TailError::Lags { .. }) => Err(MonitorError::Lags(error)),
            Err(TailError::Rewritten(evidence)) => self.rewritten(&evidence, tell, round).await,
            Err(error) => {
                let problem = error.to_string();
                self.trouble(problem.clone(), Event::Refused { problem }, tell, round).await
            }
        }
    }

    async fn step(
        &mut self,
        step: &Step,
        now: DateTime<Utc>,
        tell: &mut Tell<'_>,
        round: &mut Round,
    ) -> Result<(), MonitorError> {
        let mut events = Vec::new();
        let first = self.memory.take(step.checkpoint());
        if first {
            let tree = step.accepted().checkpoint();
            events.push(Event::Began { origin: tree.origin().to_owned(), size: tree.size() });
        }
        self.memory.begin(step.size(), self.watched.history);
        // The checkpoint is remembered before anything is made of it.
        self.flush(events, tell, round).await?;
        let before = self.memory.read_so_far();
        self.leaves(step, tell, round).await?;
        // A log whose new leaves cannot be read did not grow for anybody.
        if first || self.memory.read_so_far() > before {
            self.memory.grew(now);
        }
        self.write().await
    }

    async fn leaves(
        &mut self,
        step: &Step,
        tell: &mut Tell<'_>,
        round: &mut Round,
    ) -> Result<(), MonitorError> {
        let (mut events, mut pieces, mut failed) = (Vec::new(), 0_u32, None);
        let mut leaves = self.tail.leaves(step, self.memory.next());
        while round.leaves < self.most {
            let piece = match leaves.next().await {
                Ok(piece) => piece,
                Err(error) => {
                    // What was read before is told all the same.
                    failed = Some(error.into());
                    break;
                }
            };
            let Some((last, _)) = piece.last() else { break };
            let next = last.saturating_add(1);
            for (index, leaf) in &piece {
                for event in self.memory.leaf(*index, leaf.as_ref(), &self.watched) {
                    events.push(self.evident(step, event).await?);
                }
            }
            round.leaves = round.leaves.saturating_add(u64::try_from(piece.len()).unwrap_or(0));
            self.memory.done(next);
            pieces = pieces.saturating_add(1);
            if events.len() >= MANY_EVENTS || pieces >= MANY_PIECES {
                self.flush(std::mem::take(&mut events), tell, round).await?;
                pieces = 0;
            }
        }
        round.behind = step.size().saturating_sub(self.memory.next());
        self.flush(events, tell, round).await?;
        failed.map_or(Ok(()), Err)
    }

    /// The event, with the evidence for it written. Who withholds the first content does not keep the second from being told.
    async fn evident(&self, step: &Step, event: Event) -> Result<Event, MonitorError> {
        let Event::SecondContent { path, project, first, second, .. } = event else { return Ok(event) };
        let mut evidence = None;
        if self.memory.is_worth_evidence(&project, &path)
            && let Some(found) = self.two_contents(step, &first, &second).await
        {
            evidence = Some(self.keep(&found).await?);
        }
        Ok(Event::SecondContent { path, project, first, second, evidence })
    }

    /// Both leaves and their proofs, if they can be had.
    async fn two_contents(&self, step: &Step, first: &Content, second: &Content) -> Option<Evidence> {
        let first = self.tail.exhibit(step, first.index).await.ok()?;
        let second = self.tail.exhibit(step, second.index).await.ok()?;
        Evidence::two_contents(first, second).ok()
    }

    /// Writes evidence, and says where.
    async fn keep(&self, evidence: &Evidence) -> Result<String, MonitorError> {
        let path = format!("evidence/{}.txt", evidence.name());
        let text = evidence.to_string();
        match self.store.create(&StorePath::new(&path)?, Bytes::Bytes(text.as_bytes())).await {
            Ok(()) | Err(StoreError::Exists { .. }) => Ok(self.store.root().join(path).display().to_string()),
            Err(error) => Err(error.into()),
        }
    }

    async fn rewritten(
        &mut self,
        evidence: &Evidence,
        tell: &mut Tell<'_>,
        round: &mut Round,
    ) -> Result<(), MonitorError> {
        let problem = TailError::Rewritten(Box::new(evidence.clone())).to_string();
        let trouble = format!("{REWRITTEN}{}", evidence.name());
        let evidence = self.keep(evidence).await?;
        self.trouble(trouble, Event::Rewritten { problem, evidence }, tell, round).await
    }

    /// Tells of the log itself, each thing once.
    async fn trouble(
        &mut self,
        trouble: String,
        event: Event,
        tell: &mut Tell<'_>,
        round: &mut Round,
    ) -> Result<(), MonitorError> {
        round.standing = true;
        if self.memory.is_new_trouble(trouble) {
            self.flush(vec![event], tell, round).await?;
        }
        Ok(())
    }

    async fn stands(
        &mut self,
        now: DateTime<Utc>,
        tell: &mut Tell<'_>,
        round: &mut Round,
    ) -> Result<(), MonitorError> {
        let Some(hours) = self.watched.stale else { return Ok(()) };
        let (stands, event) = self.memory.stands(now, hours, round.size);
        round.standing |= stands;
        self.flush(event.into_iter().collect(), tell, round).await
    }

    /// Makes what is remembered durable, with the events in it; then tells them.
    async fn flush(
        &mut self,
        events: Vec<Event>,
        tell: &mut Tell<'_>,
        round: &mut Round,
    ) -> Result<(), MonitorError> {
        if self.watched.sends {
            self.memory.send(&events);
        }
        self.memory.untold = events;
        self.write().await?;
        if self.memory.untold.is_empty() {
            return Ok(());
        }
        round.tell(&self.memory.untold, tell)?;
        self.memory.untold.clear();
        // So that no kill after this tells them twice without need.
        self.write().await
    }

    /// Makes what is remembered durable, unless it is so.
    async fn write(&mut self) -> Result<(), MonitorError> {
        let text = self.memory.to_text()?;
        let digest = sha256(&text);
        if self.written != Some(digest) {
            self.tag = Some(Memory::write(&self.store, &text, self.tag.as_ref()).await?);
            self.written = Some(digest);
        }
        Ok(())
    }
}

impl Round {
    fn tell(&mut self, events: &[Event], tell: &mut Tell<'_>) -> Result<(), MonitorError> {
        tell(events).map_err(|error| MonitorError::Untold { reason: error.to_string() })?;
        let count = |count: usize| u64::try_from(count).unwrap_or(0);
        self.events = self.events.saturating_add(count(events.len()));
        self.alarms = self.alarms.saturating_add(count(events.iter().filter(|event| event.alarms()).count()));
        Ok(())
    }
}
