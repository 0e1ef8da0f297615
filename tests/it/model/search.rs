//! Depth first through all schedules, each run from the start with the real code.
//!
//! A run follows the steps of a prefix and goes on with the first step that is open at each point. Afterwards the last
//! point that has another step open is taken anew. What makes it finite, and short:
//!
//! * An operation on names that no other participant ever writes, or only reads while this one reads, is no point of
//!   choice: it changes places with everything. Which names are shared is learnt: if a run shows that one is that was
//!   taken for private, the search starts again with that known.
//! * Of two neighbouring steps that may change places one order is tried (sleep sets, Godefroid 1996).
//! * A state that was seen before is not entered again, but for steps that slept then (ibid.). A state is what the store
//!   holds and what each participant was told so far.
//!
//! With a bound on preemptions, only schedules are tried in which a participant that could go on is interrupted so many
//! times at most; sleep sets are off then, because they could drop schedules within the bound.

#![expect(clippy::indexing_slicing, reason = "participants are numbered")]

use std::collections::{BTreeSet, HashMap};

use super::desk::{Op, Verdict};
use super::world::{Digest, World};

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

/// What is tried besides the order of operations.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    /// Preemptions, at most.
    pub(crate) preemptions: Option<usize>,
    /// Whether one participant, once, dies before a write.
    pub(crate) crash: bool,
    /// Whether one swap of the timestamp, once, is done but reported as failed.
    pub(crate) lost_answer: bool,
    /// Whether one participant, once, sees an old timestamp for a while.
    pub(crate) stale: bool,
    /// Runs, at most: more fail the test.
    pub(crate) runs: usize,
}

/// What was tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Explored {
    /// Runs, those included that ended where another one had been.
    pub(crate) runs: usize,
    /// Those that came to an end of their own.
    pub(crate) schedules: usize,
    /// Points of choice.
    pub(crate) states: usize,
    /// Different ends.
    pub(crate) ends: usize,
}

/// A point of choice on the way.
struct Point {
    taken: Step,
    open: Vec<Step>,
    /// Steps that are covered elsewhere.
    sleep: BTreeSet<Step>,
    /// What each participant waits for.
    ops: Vec<Option<Op>>,
    /// Before this point.
    preemptions: usize,
}

/// Names that were touched, and how: by whom.
#[derive(Default)]
struct Touched(HashMap<(String, &'static str), BTreeSet<usize>>);

impl Touched {
    /// Whether that was news.
    fn note(&mut self, participant: usize, op: &Op) -> bool {
        let how = if op.writes() { "write" } else { op.verb };
        let mut news = self.0.entry((op.path.clone(), how)).or_default().insert(participant);
        if let Some(from) = &op.from {
            news |= self.0.entry((from.clone(), "get")).or_default().insert(participant);
        }
        news
    }

    /// Whether another participant does something, at some time, that may not change places with this.
    fn is_shared(&self, participant: usize, op: &Op) -> bool {
        self.0.iter().any(|((name, how), who)| {
            let verb = if *how == "write" { "create" } else { how };
            who.iter().any(|other| *other != participant)
                && op.conflicts(&Op { verb, path: name.clone(), from: None })
        })
    }
}

/// Tries all schedules within the limits. `check` is called with each end that is not like one before.
pub(crate) fn explore(start: impl Fn() -> World, limits: Limits, check: impl Fn(&World, &str)) -> Explored {
    let mut search = Search {
        limits,
        touched: Touched::default(),
        private: HashMap::new(),
        explored: Explored::default(),
    };
    let mut total = 0;
    loop {
        search.explored = Explored { runs: total, ..Explored::default() };
        search.private.clear();
        if search.pass(&start, &check) {
            return search.explored;
        }
        total = search.explored.runs;
    }
}

struct Search {
    limits: Limits,
    touched: Touched,
    /// Operations that were no point of choice.
    private: HashMap<(usize, String, &'static str), Op>,
    explored: Explored,
}

impl Search {
    /// Whether it came to its end, with no news of which names are shared.
    fn pass(&mut self, start: &impl Fn() -> World, check: &impl Fn(&World, &str)) -> bool {
        let (mut path, mut seen, mut ends) = (Vec::<Point>::new(), HashMap::new(), BTreeSet::new());
        loop {
            self.explored.runs += 1;
            assert!(self.explored.runs <= self.limits.runs, "more than {} runs", self.limits.runs);
            let mut world = start();
            for point in &path {
                world.take(point.taken);
            }
            if !self.extend(&mut world, &mut path, &mut seen) {
                return false;
            }
            if world.is_over() {
                self.explored.schedules += 1;
                if ends.insert(world.end()) {
                    self.explored.ends += 1;
                    check(&world, &format!("{:?}", path.iter().map(|point| point.taken).collect::<Vec<_>>()));
                }
            }
            drop(world);
            loop {
                let Some(last) = path.last_mut() else { return true };
                last.sleep.insert(last.taken);
                let sleeping = self.limits.preemptions.is_none();
                let next = last.open.iter().position(|step| !sleeping || !last.sleep.contains(step));
                if let Some(next) = next {
                    last.taken = last.open.remove(next);
                    break;
                }
                path.pop();
            }
        }
    }

    /// Goes on until the end, or to where another run was before. False: a name is shared that was not known to be.
    fn extend(
        &mut self,
        world: &mut World,
        path: &mut Vec<Point>,
        seen: &mut HashMap<(Digest, usize, usize), BTreeSet<Step>>,
    ) -> bool {
        while !world.is_over() {
            let ops = world.ops();
            let mut news = false;
            for (participant, op) in ops.iter().enumerate() {
                news |= op.as_ref().is_some_and(|op| self.touched.note(participant, op));
            }
            if news && self.private.iter().any(|((who, ..), op)| self.touched.is_shared(*who, op)) {
                return false;
            }
            let (sleep, last, preemptions) = after(path);
            let bounded = self.limits.preemptions.is_some();
            let mut open = self.open(world, &ops, Some(last), preemptions);
            let key = if bounded { (world.state(), last, preemptions) } else { (world.state(), 0, 0) };
            match seen.get_mut(&key) {
                None => {
                    self.explored.states += 1;
                    seen.insert(key, sleep.clone());
                }
                Some(_) if bounded => return true,
                Some(slept) => {
                    open.retain(|step| slept.contains(step));
                    *slept = slept.intersection(&sleep).copied().collect();
                }
            }
            if !bounded {
                open.retain(|step| !sleep.contains(step));
            }
            if open.is_empty() {
                return true;
            }
            let taken = open.remove(0);
            path.push(Point { taken, open, sleep, ops, preemptions });
            world.take(taken);
        }
        true
    }

    /// The steps that may be taken.
    fn open(
        &mut self,
        world: &World,
        ops: &[Option<Op>],
        last: Option<usize>,
        preemptions: usize,
    ) -> Vec<Step> {
        let waiting = |participant: &usize| ops[*participant].is_some();
        let private = |participant: &usize| {
            ops[*participant].as_ref().is_some_and(|op| !self.touched.is_shared(*participant, op))
        };
        let all = 0..ops.len();
        let mut who: Vec<usize> = match self.limits.preemptions {
            None => all.clone().find(private).map_or_else(|| all.filter(waiting).collect(), |one| vec![one]),
            Some(most) => match last.filter(waiting) {
                Some(last) if private(&last) || preemptions >= most => vec![last],
                _ => all.filter(waiting).collect(),
            },
        };
        if let [one] = who[..]
            && let Some(op) = ops[one].as_ref().filter(|op| !self.touched.is_shared(one, op))
        {
            self.private.insert((one, op.path.clone(), op.verb), op.clone());
        }
        // Whoever went last goes on: few preemptions first.
        who.sort_by_key(|participant| Some(*participant) != last);
        let mut steps: Vec<Step> = who.iter().map(|participant| Step::Go(*participant)).collect();
        for participant in who.into_iter().filter(|_| !world.had_fault()) {
            let Some(op) = &ops[participant] else { continue };
            let timestamp = op.path == super::desk::TIMESTAMP;
            let faults = [
                (self.limits.crash && op.writes(), Step::Crash(participant)),
                (
                    self.limits.lost_answer && timestamp && op.verb == "swap",
                    Step::Fault(participant, Verdict::DoneButFailed),
                ),
                (
                    self.limits.stale && timestamp && op.verb == "get" && world.has_old_timestamp(),
                    Step::Fault(participant, Verdict::Stale),
                ),
            ];
            steps.extend(faults.into_iter().filter(|(possible, _)| *possible).map(|(_, step)| step));
        }
        steps
    }
}

/// What sleeps after the last step, who took it, and how many preemptions there were.
fn after(path: &[Point]) -> (BTreeSet<Step>, usize, usize) {
    let Some(point) = path.last() else { return (BTreeSet::new(), 0, 0) };
    let sleep =
        point.sleep.iter().filter(|step| independent(**step, point.taken, &point.ops)).copied().collect();
    let before = path.iter().rev().nth(1).map_or(0, |point| point.taken.participant());
    let (now, could_go_on) = (point.taken.participant(), point.ops[before].is_some());
    let preempted = path.len() > 1 && now != before && could_go_on;
    (sleep, now, point.preemptions + usize::from(preempted))
}

/// Whether two steps may change places.
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
