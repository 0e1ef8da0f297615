//! One run: a store, and participants who wait for their turn. After each step it is seen to that nothing was broken.

#![expect(clippy::unwrap_used, reason = "a world that cannot be read is a test that failed")]
#![expect(clippy::indexing_slicing, reason = "participants are numbered, and metadata is of our own making")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::SystemTime;

use serde_json::Value;
use wheelseal::crypto::sha256;
use wheelseal::repository::RepositoryError;
use wheelseal::store::Store;

use super::desk::{Desk, Op, Seat, TIMESTAMP, Verdict};
use super::search::Step;
use crate::memory::{MemoryStore, Stored};

pub(crate) type Digest = [u8; 32];

/// What was acknowledged to a participant, or why it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) acknowledged: Vec<Shown>,
    pub(crate) errors: Vec<RepositoryError>,
}

/// What a client must see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// A wheel, of project and version.
    File(&'static str, &'static str),
    /// A target.
    Target(&'static str),
    /// The reason for which a project's file is yanked.
    Yanked(&'static str, &'static str),
}

/// What a participant does.
pub(crate) type Program = Pin<Box<dyn Future<Output = Outcome>>>;

/// What a timestamp stands for.
#[derive(Debug)]
struct Facts {
    versions: BTreeMap<String, u64>,
    files: BTreeSet<String>,
}

/// What is known of timestamps, by all metadata there is; shared by all runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known(Arc<Mutex<HashMap<Digest, Arc<Facts>>>>);

/// One run.
pub(crate) struct World {
    pub(crate) store: MemoryStore,
    desk: Arc<Mutex<Desk>>,
    programs: Vec<Option<Program>>,
    pub(crate) outcomes: Vec<Option<Outcome>>,
    fault: Option<usize>,
    known: Known,
    /// What the timestamp led to before the first step.
    settled: Arc<Facts>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.desk.lock().unwrap().close();
    }
}

impl World {
    /// Each participant gets its own view of the store, and stands before its first operation.
    pub(crate) fn new(
        store: MemoryStore,
        known: &Known,
        programs: &[&dyn Fn(Arc<dyn Store>) -> Program],
    ) -> Self {
        let desk = Desk::new(programs.len(), &store);
        let seat = |participant| {
            let (store, desk) = (store.clone(), Arc::clone(&desk));
            let (names, stale, one) = (Mutex::default(), Mutex::default(), tokio::sync::Mutex::new(()));
            Arc::new(Seat { participant, store, desk, names, stale, one })
        };
        let seats: Vec<_> = (0..programs.len()).map(seat).collect();
        let started =
            programs.iter().zip(&seats).map(|(program, seat)| Some(program(Arc::<Seat>::clone(seat))));
        let programs: Vec<_> = started.collect();
        let outcomes = vec![None; programs.len()];
        let known = known.clone();
        let first = store.world().objects[TIMESTAMP].clone();
        let settled = known.facts(&store, &first);
        let mut world = Self { store, desk, programs, outcomes, fault: None, known, settled };
        (0..world.programs.len()).for_each(|participant| world.advance(participant));
        world
    }

    /// What each participant waits for.
    pub(crate) fn ops(&self) -> Vec<Option<Op>> {
        let desk = self.desk.lock().unwrap();
        let alive = self.programs.iter().enumerate().map(|(at, program)| program.is_some().then_some(at));
        alive.map(|at| desk.waiting(at?)).collect()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.programs.iter().all(Option::is_none)
    }

    /// Whom something happened to.
    pub(crate) fn fault(&self) -> Option<usize> {
        self.fault
    }

    pub(crate) fn has_old_timestamp(&self) -> bool {
        self.desk.lock().unwrap().timestamps.len() > 1
    }

    pub(crate) fn take(&mut self, step: Step) {
        let participant = step.participant();
        let verdict = match step {
            Step::Go(_) => Verdict::Done,
            Step::Fault(_, verdict) => verdict,
            Step::Crash(_) => {
                self.fault = Some(participant);
                self.programs[participant] = None;
                self.desk.lock().unwrap().kill(participant);
                return;
            }
        };
        if verdict != Verdict::Done {
            self.fault = Some(participant);
        }
        let op = self.ops()[participant].clone().unwrap();
        let before = self.desk.lock().unwrap().timestamps.len();
        self.desk.lock().unwrap().grant(participant, verdict);
        self.advance(participant);
        self.look_at(&op, before);
    }

    /// Until it waits for its next turn, or is done. It may sleep in between.
    fn advance(&mut self, participant: usize) {
        let Some(program) = &mut self.programs[participant] else { return };
        loop {
            let polled = program.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            if let Poll::Ready(outcome) = polled {
                self.outcomes[participant] = Some(outcome);
                self.programs[participant] = None;
                // What it left on other threads would wait for turns that nobody grants it any more.
                self.desk.lock().unwrap().kill(participant);
                return;
            }
            if self.desk.lock().unwrap().waiting(participant).is_some() {
                return;
            }
            std::thread::yield_now();
        }
    }

    /// Versions only grow, and nothing is missing that the timestamp leads to. Only a target that nothing led to in the
    /// beginning may be, for as long as a copy of it lies aside or somebody is still at work who will write it.
    fn look_at(&self, op: &Op, timestamps_before: usize) {
        let timestamps = self.desk.lock().unwrap().timestamps.clone();
        let committed = timestamps.len() > timestamps_before;
        if let (true, [.., before, now]) = (committed, &timestamps[..]) {
            let (old, new) = (self.known.facts(&self.store, before), self.known.facts(&self.store, now));
            let fell = old.versions.iter().filter(|(role, version)| new.versions.get(*role) < Some(*version));
            assert_eq!(fell.collect::<Vec<_>>(), [], "versions fell: {}", self.told());
            assert!(old.versions["timestamp"] < new.versions["timestamp"], "{}", self.told());
        }
        let Some(now) = timestamps.last().filter(|_| committed || op.verb == "delete") else { return };
        let mut missing = self.known.facts(&self.store, now).files.clone();
        missing.retain(|name| self.is_missing(name));
        assert!(missing.is_empty(), "missing after {op:?}: {missing:#?}\n{}", self.told());
    }

    fn is_missing(&self, name: &str) -> bool {
        let world = self.store.world();
        let aside = || world.objects.keys().any(|key| key.starts_with("staging/gc/") && key.ends_with(name));
        let at_work = self.programs.iter().any(Option::is_some);
        let new_target = name.starts_with("targets/") && !self.settled.files.contains(name);
        !world.objects.contains_key(name) && !(new_target && (at_work || aside()))
    }

    /// All that happened.
    pub(crate) fn told(&self) -> String {
        let desk = self.desk.lock().unwrap();
        let lines = desk.log.iter().map(|(who, op)| format!("  {who} {} {}\n", op.verb, op.path));
        lines.collect()
    }

    /// Which end this is, as far as it can be seen.
    pub(crate) fn end(&self) -> Digest {
        let mut text = self.stored().to_vec();
        text.extend_from_slice(format!("{:?}{:?}", self.outcomes, self.fault).as_bytes());
        sha256(&text)
    }

    fn stored(&self) -> Digest {
        let mut text = Vec::new();
        for (name, object) in &self.store.world().objects {
            text.extend_from_slice(name.as_bytes());
            text.extend_from_slice(&object.digest);
            text.push(u8::from(object.modified > SystemTime::UNIX_EPOCH));
        }
        sha256(&text)
    }
}

impl Known {
    fn facts(&self, store: &MemoryStore, timestamp: &Stored) -> Arc<Facts> {
        // Snapshot names bins by their versions alone, so what is in them counts too.
        let mut text = timestamp.digest.to_vec();
        let world = store.world();
        for (name, object) in world.objects.range("metadata/".to_owned().."metadata0".to_owned()) {
            text.extend_from_slice(name.as_bytes());
            text.extend_from_slice(&object.digest);
        }
        drop(world);
        let mut known = self.0.lock().unwrap();
        Arc::clone(known.entry(sha256(&text)).or_insert_with(|| Arc::new(Facts::of(store, timestamp))))
    }
}

impl Facts {
    fn of(store: &MemoryStore, timestamp: &Stored) -> Self {
        let json = |bytes: &[u8]| -> Value { serde_json::from_slice(bytes).unwrap() };
        let timestamp = json(&timestamp.bytes);
        let version = |value: &Value| value["version"].as_u64().unwrap();
        let of_timestamp = &timestamp["signed"]["meta"]["snapshot.json"];
        let mut versions = BTreeMap::from([
            ("timestamp".to_owned(), version(&timestamp["signed"])),
            ("snapshot".to_owned(), version(of_timestamp)),
        ]);
        let name = format!("metadata/{}.snapshot.json", version(of_timestamp));
        let world = store.world();
        let object = |name: &str| world.objects.get(name).map(|object| json(&object.bytes));
        let snapshot = object(&name).unwrap_or_else(|| panic!("{name} is missing"));
        let mut files = BTreeSet::from([TIMESTAMP.to_owned(), name]);
        for (role, meta) in snapshot["signed"]["meta"].as_object().unwrap() {
            versions.insert(role.clone(), version(meta));
            let name = format!("metadata/{}.{role}", version(meta));
            let targets = object(&name).unwrap_or_else(|| panic!("{name} is missing"));
            files.insert(name);
            for (target, entry) in targets["signed"]["targets"].as_object().unwrap() {
                let (folder, file) = target.rsplit_once('/').unwrap();
                let hash = entry["hashes"]["sha256"].as_str().unwrap();
                files.insert(format!("targets/{folder}/{hash}.{file}"));
            }
        }
        Self { versions, files }
    }
}
