//! Writing down beside the requests: a thread takes events from a bounded queue and writes down what came together at once.
//! It also does what is to be done from time to time.
//!
//! What it cannot write down is counted: a queue that is full, a day that has no room, a disk that fails. A flood costs a
//! bounded number of bytes; once a minute an event says how many others were left out.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use super::event::{Deed, Event, Kind, Origin};
use super::values::Minute;
use super::{Downloads, Journal, JournalError, KeyFile, Retention};

/// Events that wait to be written down, at most.
const MAX_QUEUE: usize = 4_096;
/// How long the thread sleeps when nothing comes.
const TICK: Duration = Duration::from_secs(5);

/// After so long, counts of downloads are added to those on the disk.
const ADD_AFTER: TimeDelta = TimeDelta::minutes(5);

/// Counts of events since the start.
#[derive(Debug, Default)]
pub struct Counts {
    written: AtomicU64,
    omitted: AtomicU64,
    failed: AtomicU64,
    /// By kind: left out, and not yet told of by an event.
    untold: Mutex<BTreeMap<Kind, u64>>,
}

/// What the thread needs to know.
pub struct Upkeep {
    /// What is kept for how long.
    pub retention: Retention,
    /// The keys that go when nothing needs them.
    pub keys: Arc<KeyFile>,
    /// What time it is.
    pub clock: fn() -> DateTime<Utc>,
    /// Is told what is wrong, in words that have nothing of an event.
    pub report: Box<dyn Fn(&JournalError) + Send + Sync>,
}

/// See the module.
pub struct Recorder {
    queue: Mutex<Option<SyncSender<Event>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    counts: Arc<Counts>,
    downloads: Arc<Downloads>,
}

impl Counts {
    /// Written down.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Left out, for there was no room.
    pub fn omitted(&self) -> u64 {
        self.omitted.load(Ordering::Relaxed)
    }

    /// Lost, for the disk failed.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    fn omit(&self, kind: Kind, count: u64) {
        // That something was left out is not worth an event when that one finds no room either.
        if kind != Kind::Omitted {
            self.omitted.fetch_add(count, Ordering::Relaxed);
            *self.untold.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += count;
        }
    }
}

impl Recorder {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(journal: Journal, upkeep: Upkeep) -> Result<Self, JournalError> {
        let (sender, receiver) = sync_channel(MAX_QUEUE);
        let (counts, path) = (Arc::<Counts>::default(), journal.path().to_owned());
        let downloads = Arc::<Downloads>::default();
        let clerk = Clerk {
            journal,
            upkeep,
            counts: Arc::clone(&counts),
            downloads: Arc::clone(&downloads),
            day: None,
            told: None,
            failed: None,
            added: None,
        };
        let thread =
            std::thread::Builder::new().name("journal".to_owned()).spawn(move || clerk.work(&receiver));
        let thread = thread.map_err(|error| JournalError::file("starting to write", &path, &error))?;
        Ok(Self { queue: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)), counts, downloads })
    }

    /// Has an event written down soon. Does not wait.
    pub fn note(&self, event: Event) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = &*queue
            && let Err(TrySendError::Full(event) | TrySendError::Disconnected(event)) = queue.try_send(event)
        {
            self.counts.omit(event.kind(), event.times.into());
        }
    }

    /// Counts an event that is not worth a line of its own, as one of many alike.
    pub fn omit(&self, kind: Kind) {
        self.counts.omit(kind, 1);
    }

    /// Where downloads are counted.
    pub fn downloads(&self) -> &Downloads {
        &self.downloads
    }

    /// Its counts.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// Waits until everything is written down. Nothing is taken after that.
    pub fn close(&self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // It has told what was wrong.
        drop(thread.map(JoinHandle::join));
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.close();
    }
}

/// Who writes.
struct Clerk {
    journal: Journal,
    upkeep: Upkeep,
    counts: Arc<Counts>,
    /// The day for which old things were removed.
    day: Option<NaiveDate>,
    /// The minute in which was told what was left out.
    told: Option<Minute>,
    /// The minute in which a fault was reported.
    failed: Option<Minute>,
    /// When counts of downloads were added to those on the disk.
    added: Option<DateTime<Utc>>,
    downloads: Arc<Downloads>,
}

impl Clerk {
    fn work(mut self, queue: &Receiver<Event>) {
        loop {
            let first = match queue.recv_timeout(TICK) {
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            self.write(&folded(first.into_iter().chain(queue.try_iter().take(MAX_QUEUE))));
            self.keep_up();
        }
        self.tell_what_was_left_out();
        self.add_downloads((self.upkeep.clock)(), true);
    }

    fn write(&mut self, events: &[Event]) {
        if events.is_empty() {
            return;
        }
        let count = events.iter().map(|event| u64::from(event.times)).sum::<u64>();
        match self.journal.append(events) {
            Ok(omitted) => {
                let left_out: u64 = omitted.values().sum();
                self.counts.written.fetch_add(count.saturating_sub(left_out), Ordering::Relaxed);
                for (kind, count) in omitted {
                    self.counts.omit(kind, count);
                }
            }
            Err(error) => {
                self.counts.failed.fetch_add(count, Ordering::Relaxed);
                self.report(&error);
            }
        }
    }

    fn keep_up(&mut self) {
        let now = (self.upkeep.clock)();
        if self.told != Some(Minute::of(now)) {
            self.told = Some(Minute::of(now));
            self.tell_what_was_left_out();
            // Without a key, or with one that cannot be replaced, no event has an address: somebody must know.
            let key = self.upkeep.keys.current(now);
            key.err().iter().for_each(|error| self.report(error));
        }
        // A clock that was set back is no reason to wait.
        let waited = self.added.map(|then| now - then);
        if waited.is_none_or(|waited| !(TimeDelta::zero()..ADD_AFTER).contains(&waited)) {
            self.added = Some(now);
            self.add_downloads(now, false);
        }
        if self.day != Some(now.date_naive()) {
            self.day = Some(now.date_naive());
            let done = self.journal.expire(&self.upkeep.retention, Some(&self.upkeep.keys), now);
            done.err().iter().for_each(|error| self.report(error));
        }
    }

    fn add_downloads(&mut self, now: DateTime<Utc>, end: bool) {
        let added = self.journal.add_downloads(self.downloads.take(now.date_naive(), end));
        added.err().iter().for_each(|error| self.report(error));
    }

    fn tell_what_was_left_out(&mut self) {
        let untold = std::mem::take(&mut *self.counts.untold.lock().unwrap_or_else(PoisonError::into_inner));
        let time = Minute::of((self.upkeep.clock)());
        let event = |(kind, count): (Kind, u64)| Event {
            times: u32::try_from(count).unwrap_or(u32::MAX),
            ..Event::new(time, Origin::default(), Deed::Omitted { what: kind })
        };
        self.write(&untold.into_iter().map(event).collect::<Vec<_>>());
    }

    /// Once a minute: a disk that is full fails for every event.
    fn report(&mut self, error: &JournalError) {
        let minute = Some(Minute::of((self.upkeep.clock)()));
        if self.failed != minute {
            self.failed = minute;
            (self.upkeep.report)(error);
        }
    }
}

/// Events that differ in nothing, as one.
fn folded(events: impl Iterator<Item = Event>) -> Vec<Event> {
    let (mut places, mut folded) = (HashMap::new(), Vec::<Event>::new());
    for event in events {
        if let Some(first) = places.get(&event).and_then(|place: &usize| folded.get_mut(*place)) {
            first.times = first.times.saturating_add(event.times);
        } else {
            places.insert(event.clone(), folded.len());
            folded.push(event);
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::super::{Cell, Filter, Of, Reason, TokenUse};
    use super::*;

    fn now() -> DateTime<Utc> {
        "2030-01-01T12:00:30Z".parse().unwrap()
    }

    fn event(deed: Deed) -> Event {
        Event::new(Minute::of(now()), Origin::default(), deed)
    }

    fn wrong() -> Event {
        event(Deed::Token { what: TokenUse::Wrong, account: None })
    }

    fn recorder(folder: &std::path::Path) -> (Journal, Recorder) {
        let journal = Journal::open(&folder.join("journal"), &[]).unwrap();
        let keys = Arc::new(KeyFile::at(&folder.join("keys.json"), 30, &[]).unwrap());
        let report = Box::new(|error: &JournalError| panic!("{error}"));
        let upkeep = Upkeep { retention: Retention::default(), keys, clock: now, report };
        (journal.clone(), Recorder::start(journal, upkeep).unwrap())
    }

    #[test]
    fn what_is_alike_in_one_minute_is_one_line() {
        let busy = event(Deed::Refusal { what: Reason::Busy, account: None, project: None });
        let many = [wrong(), busy.clone(), wrong(), wrong()];
        assert_eq!(folded(many.into_iter()), [Event { times: 3, ..wrong() }, busy]);
    }

    /// What time it is for the one test whose time goes on.
    static TIME: std::sync::atomic::AtomicI64 = std::sync::atomic::AtomicI64::new(0);

    #[test]
    fn on_a_new_day_what_is_left_of_the_old_one_is_folded_and_what_is_old_goes() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(&folder.path().join("journal"), &[]).unwrap();
        let keys = Arc::new(KeyFile::at(&folder.path().join("keys.json"), 30, &[]).unwrap());
        let clock = || DateTime::from_timestamp(TIME.load(Ordering::SeqCst), 0).unwrap();
        TIME.store(now().timestamp(), Ordering::SeqCst);
        journal.append(&[wrong()]).unwrap();
        let report = Box::new(|error: &JournalError| panic!("{error}"));
        let retention = Retention { tokens: 0, ..Retention::default() };
        let recorder = Recorder::start(journal.clone(), Upkeep { retention, keys, clock, report }).unwrap();
        let file = |name: &str| Cell { of: Of::File(name.parse().unwrap()), ..Cell::default() };
        let names = ["a-1.tar.gz", "a-2.tar.gz", "a-3.tar.gz", "a-4.tar.gz", "a-5.tar.gz"];
        for name in names {
            recorder.downloads().count(now().date_naive(), file(name));
        }
        TIME.fetch_add(24 * 3600, Ordering::SeqCst);
        recorder.note(Event { time: Minute::of(clock()), ..wrong() });
        recorder.close();
        let project = Cell { of: Of::Project("a".parse().unwrap()), ..Cell::default() };
        assert_eq!(journal.downloads_of(now().date_naive()).unwrap(), [(project, 5)].into());
        let left = journal.read(&Filter::default()).unwrap().events;
        assert_eq!(left, [Event { time: Minute::of(clock()), ..wrong() }]);
    }

    #[test]
    fn somebody_is_told_that_there_is_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(&folder.path().join("journal"), &[]).unwrap();
        let path = folder.path().join("keys.json");
        let keys = Arc::new(KeyFile::at(&path, 30, &[]).unwrap());
        std::fs::create_dir(&path).unwrap();
        let told = Arc::<Mutex<Vec<String>>>::default();
        let hears = Arc::clone(&told);
        let report = Box::new(move |error: &JournalError| hears.lock().unwrap().push(error.to_string()));
        let upkeep = Upkeep { retention: Retention::default(), keys, clock: now, report };
        let recorder = Recorder::start(journal, upkeep).unwrap();
        recorder.note(wrong());
        recorder.close();
        let told = told.lock().unwrap();
        assert!(matches!(told.as_slice(), [one] if one.contains("keys.json: it is no file")), "{told:?}");
    }

    #[test]
    fn everything_is_written_when_it_is_closed_and_what_was_left_out_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, recorder) = recorder(folder.path());
        (0..100).for_each(|_| recorder.note(wrong()));
        (0..7).for_each(|_| recorder.omit(Kind::Refusal));
        recorder.close();
        recorder.note(wrong());
        let events = journal.read(&Filter::default()).unwrap().events;
        let of =
            |kind| events.iter().filter(|event| event.kind() == kind).map(|event| event.times).sum::<u32>();
        assert_eq!((of(Kind::Token), of(Kind::Omitted)), (100, 7));
        assert_eq!((recorder.counts().written(), recorder.counts().omitted()), (107, 7));
    }
}
