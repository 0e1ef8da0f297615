//! Depth first through all schedules, each run from the start with the real code.
//!
//! A run follows the steps of a prefix and goes on as it likes. Afterwards it is looked at for *races*: two operations of
//! different participants that may not change places, and with nothing between them that orders them. For each race the
//! other order is noted to be tried, at the point where the first of the two happened. That is dynamic partial-order
//! reduction with source sets (Abdulla, Aronis, Jonsson, Sagonas: POPL 2014, algorithm 1): of all schedules that differ only
//! in the order of steps that may change places, at least one is run to its end, however many interruptions it has.
//!
//! * Two operations may change places unless one writes an object that the other one reads, writes or lists.
//! * Sleep sets (Godefroid 1996) keep a run from doing again what another one did: such a run is cut off.
//! * A crash or another fault is one more way for a participant to take its next step, tried at every point where it could
//!   happen. There is one at most, so faults of two participants may not change places.

#![expect(clippy::indexing_slicing, reason = "participants and events are numbered")]

use std::collections::{BTreeSet, HashSet};

use super::desk::{Op, Verdict};
use super::world::World;

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// The participant's operation takes place.
    Go(usize),
    /// The participant dies before it.
    Crash(usize),
    /// It takes place, and something is wrong with the answer.
    Fault(usize, Verdict),
}

impl Step {
    pub(crate) fn participant(self) -> usize {
        let (Self::Go(participant) | Self::Crash(participant) | Self::Fault(participant, _)) = self;
        participant
    }

    fn is_fault(self) -> bool {
        !matches!(self, Self::Go(_))
    }
}

/// What is tried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Whether all orders are; else participants come one after another.
    pub(crate) orders: bool,
    /// Whether one participant, once, dies before a write, is told that a write failed which was done, or sees an old
    /// timestamp for a while.
    pub(crate) faults: bool,
    /// A participant whose steps come in one: nobody comes in between.
    pub(crate) whole: Option<usize>,
    /// Runs, at most: more fail the test.
    pub(crate) runs: usize,
}

/// What was tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Explored {
    /// Runs, those included that were cut off.
    pub(crate) runs: usize,
    /// Those that came to an end of their own: no two of them are the same but for steps that may change places.
    pub(crate) schedules: usize,
    /// Different ends.
    pub(crate) ends: usize,
    /// Steps of the longest.
    pub(crate) longest: usize,
}

/// A step that was taken, and the point at which it was.
struct Point {
    taken: Step,
    /// What took place.
    done: Vec<Op>,
    /// What each participant waited for.
    ops: Vec<Option<Op>>,
    /// Steps that are covered elsewhere, or were tried here.
    sleep: BTreeSet<Step>,
    /// Steps still to be tried here.
    todo: BTreeSet<Step>,
    /// Whose steps are, or will be, tried here.
    tried: BTreeSet<usize>,
    /// Whether there was a fault before it.
    fault: bool,
    /// Whether there was an older timestamp then.
    has_old: bool,
    /// By participant: how many steps, counted from the beginning, happened before this one ends.
    clock: Vec<usize>,
}

/// Tries all schedules within the limits. `check` is called with each end that is not like one before.
pub(crate) fn explore(start: impl Fn() -> World, limits: Limits, check: impl Fn(&World, &str)) -> Explored {
    let mut search = Search { limits, path: Vec::new(), explored: Explored::default() };
    let mut ends = HashSet::new();
    loop {
        search.explored.runs += 1;
        assert!(search.explored.runs <= limits.runs, "more than {} runs: {:?}", limits.runs, search.explored);
        let mut world = start();
        for at in 0..search.path.len() {
            search.path[at].done = search.take(&mut world, search.path[at].taken);
        }
        let known = search.path.len().saturating_sub(1);
        if search.extend(&mut world) {
            search.explored.schedules += 1;
            if ends.insert(world.end()) {
                search.explored.ends += 1;
                let steps: Vec<_> = search.path.iter().map(|point| point.taken).collect();
                check(&world, &format!("{steps:?}"));
            }
        }
        search.explored.longest = search.explored.longest.max(search.path.len());
        drop(world);
        if limits.orders {
            (known..search.path.len()).for_each(|event| search.note_races(event));
        }
        if !search.go_back() {
            return search.explored;
        }
    }
}

struct Search {
    limits: Limits,
    path: Vec<Point>,
    explored: Explored,
}

impl Search {
    /// Goes on until the end. False: all that could come next is covered elsewhere.
    fn extend(&mut self, world: &mut World) -> bool {
        while !world.is_over() {
            let ops = world.ops();
            let sleep = self.sleep();
            let last = self.path.last().map(|point| point.taken.participant());
            let mut awake: Vec<usize> = (0..ops.len()).filter(|who| ops[*who].is_some()).collect();
            awake.retain(|who| !sleep.contains(&Step::Go(*who)));
            // Whoever went last goes on.
            let Some(next) = last.filter(|last| awake.contains(last)).or(awake.first().copied()) else {
                return false;
            };
            let (fault, has_old) = (world.fault().is_some(), world.has_old_timestamp());
            let mut point = Point {
                taken: Step::Go(next),
                done: Vec::new(),
                todo: self.faults(next, &ops, has_old, fault),
                ops,
                sleep,
                tried: BTreeSet::from([next]),
                fault,
                has_old,
                clock: Vec::new(),
            };
            point.done = self.take(world, point.taken);
            self.path.push(point);
        }
        true
    }

    /// Takes a step; returns what took place.
    fn take(&self, world: &mut World, step: Step) -> Vec<Op> {
        let who = step.participant();
        let mut done = Vec::new();
        let mut ahead = Some(step);
        while let Some(step) = ahead {
            // Whoever dies does nothing.
            done.extend(world.ops()[who].take().filter(|_| !matches!(step, Step::Crash(_))));
            world.take(step);
            let more = self.limits.whole == Some(who) && world.ops()[who].is_some();
            ahead = more.then_some(Step::Go(who));
        }
        done
    }

    /// What sleeps after the last step.
    fn sleep(&self) -> BTreeSet<Step> {
        let Some(point) = self.path.last() else { return BTreeSet::new() };
        // What a participant does in one step is not known before.
        let known = |step: &Step| self.limits.whole != Some(step.participant());
        let still =
            |step: &&Step| known(step) && known(&point.taken) && independent(**step, point.taken, &point.ops);
        point.sleep.iter().filter(still).copied().collect()
    }

    /// What may go wrong with a participant's next step.
    fn faults(&self, who: usize, ops: &[Option<Op>], has_old: bool, had_fault: bool) -> BTreeSet<Step> {
        let Some(op) = ops[who].as_ref().filter(|_| self.limits.faults && !had_fault) else {
            return BTreeSet::new();
        };
        let timestamp = op.path == super::desk::TIMESTAMP;
        let faults = [
            (op.writes(), Step::Crash(who)),
            (op.writes(), Step::Fault(who, Verdict::DoneButFailed)),
            (timestamp && op.verb == "get" && has_old, Step::Fault(who, Verdict::Stale)),
        ];
        faults.into_iter().filter(|(possible, _)| *possible).map(|(_, step)| step).collect()
    }

    /// Finds the steps that the one numbered `event` races with, and notes what is to be tried in their places.
    fn note_races(&mut self, event: usize) {
        let who = self.path[event].taken.participant();
        let earlier = self.path[..event].iter().rposition(|point| point.taken.participant() == who);
        let mut clock =
            earlier.map_or_else(|| vec![0; self.path[event].ops.len()], |at| self.path[at].clock.clone());
        for before in (0..event).rev() {
            let (one, other) = (&self.path[before], &self.path[event]);
            if before < clock[one.taken.participant()] || !dependent(one, other) {
                continue;
            }
            let ordered = one.clock.clone();
            self.reverse(before, event, &clock);
            clock.iter_mut().zip(ordered).for_each(|(clock, ordered)| *clock = (*clock).max(ordered));
        }
        clock[who] = event + 1;
        self.path[event].clock = clock;
    }

    /// Sees to it that at the place of `before` a step is tried that leads to `event` before it.
    fn reverse(&mut self, before: usize, event: usize, clock: &[usize]) {
        let first = self.path[before].taken.participant();
        // What happens in between without having to wait for `before`, and then the event itself.
        let free = |at: &usize| self.path[*at].clock[first] <= before;
        let between: Vec<usize> = (before + 1..event).filter(free).collect();
        let waits = |at: usize, clock: &[usize]| {
            between.iter().any(|other| *other < at && *other < clock[self.path[*other].taken.participant()])
        };
        let mut initials = BTreeSet::new();
        let mut seen = BTreeSet::new();
        for at in &between {
            let who = self.path[*at].taken.participant();
            if seen.insert(who) && !waits(*at, &self.path[*at].clock) {
                initials.insert(who);
            }
        }
        let last = self.path[event].taken.participant();
        if !seen.contains(&last) && !waits(event, clock) {
            initials.insert(last);
        }
        if initials.is_empty() || !self.path[before].tried.is_disjoint(&initials) {
            return;
        }
        let chosen = if initials.contains(&last) { Some(last) } else { initials.first().copied() };
        if let Some(who) = chosen {
            self.try_also(before, who);
        }
    }

    fn try_also(&mut self, at: usize, who: usize) {
        let ops = self.path[at].ops.clone();
        let mut steps = self.faults(who, &ops, self.path[at].has_old, self.path[at].fault);
        steps.insert(Step::Go(who));
        let point = &mut self.path[at];
        point.tried.insert(who);
        point.todo.extend(steps.into_iter().filter(|step| !point.sleep.contains(step)));
    }

    /// Takes the last point anew at which there is another step to be tried.
    fn go_back(&mut self) -> bool {
        while let Some(last) = self.path.last_mut() {
            last.sleep.insert(last.taken);
            if let Some(next) = last.todo.pop_first() {
                last.taken = next;
                return true;
            }
            self.path.pop();
        }
        false
    }
}

/// Whether two steps that were taken may not change places.
fn dependent(one: &Point, other: &Point) -> bool {
    one.taken.participant() != other.taken.participant()
        && one.done.iter().any(|first| other.done.iter().any(|second| first.conflicts(second)))
}

/// Whether two steps that could be taken at one point may change places.
fn independent(one: Step, other: Step, ops: &[Option<Op>]) -> bool {
    let (first, second) = (one.participant(), other.participant());
    if first == second || (one.is_fault() && other.is_fault()) {
        return false;
    }
    if matches!(one, Step::Crash(_)) || matches!(other, Step::Crash(_)) {
        return true;
    }
    match (&ops[first], &ops[second]) {
        (Some(first), Some(second)) => !first.conflicts(second),
        _ => false,
    }
}

#[test]
fn a_list_may_not_change_places_with_what_is_written_below_it() {
    let create = |path: &str| Op { verb: "create", path: path.to_owned(), from: None };
    let list = |path: &str| Op { verb: "list", path: path.to_owned(), from: None };
    assert!(create("metadata/2.snapshot.json").conflicts(&list("metadata")));
    assert!(!create("targets/a").conflicts(&list("metadata")));
    assert!(!list("metadata").conflicts(&list("metadata")));
    assert!(create("a").conflicts(&create("a")) && !create("a").conflicts(&create("b")));
}
