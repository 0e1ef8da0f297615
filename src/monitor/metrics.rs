//! `/metrics` of a monitor, as Prometheus reads it.

use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Utc};

use super::Round;
use crate::web::Families;

/// Counts since the monitor began, and how things stand.
#[derive(Debug, Default)]
pub struct Metrics {
    rounds: AtomicU64,
    failed_rounds: AtomicU64,
    last_round: AtomicU64,
    size: AtomicU64,
    leaves: AtomicU64,
    behind: AtomicU64,
    events: AtomicU64,
    alarms: AtomicU64,
    standing: AtomicU64,
    unsent: AtomicU64,
}

impl Metrics {
    /// A look that ended well.
    pub fn ended(&self, round: &Round, now: DateTime<Utc>) {
        self.rounds.fetch_add(1, Ordering::Relaxed);
        self.last_round.store(u64::try_from(now.timestamp()).unwrap_or(0), Ordering::Relaxed);
        self.size.store(round.size, Ordering::Relaxed);
        self.behind.store(round.behind, Ordering::Relaxed);
        self.saw(round);
        self.standing.store(u64::from(round.standing), Ordering::Relaxed);
    }

    /// One that did not. What it saw counts.
    pub fn failed(&self, round: &Round) {
        self.failed_rounds.fetch_add(1, Ordering::Relaxed);
        self.saw(round);
    }

    fn saw(&self, round: &Round) {
        self.leaves.fetch_add(round.leaves, Ordering::Relaxed);
        self.events.fetch_add(round.events, Ordering::Relaxed);
        self.alarms.fetch_add(round.alarms, Ordering::Relaxed);
    }

    /// Events that the webhook has not taken.
    pub fn unsent(&self, events: usize) {
        self.unsent.store(u64::try_from(events).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The text format of Prometheus, version 0.0.4.
    pub fn text(&self) -> String {
        let mut families = Families::default();
        for (name, kind, help, count) in [
            ("rounds_total", "counter", "Looks at the log that ended well.", &self.rounds),
            ("failed_rounds_total", "counter", "Looks at the log that did not.", &self.failed_rounds),
            ("last_round_timestamp_seconds", "gauge", "When the last good one began.", &self.last_round),
            ("log_size", "gauge", "Leaves of the newest checkpoint.", &self.size),
            ("leaves_total", "counter", "Leaves read and verified since the start.", &self.leaves),
            ("behind", "gauge", "Leaves that are left to the next looks.", &self.behind),
            ("events_total", "counter", "Events told since the start.", &self.events),
            ("alarms_total", "counter", "Those of them that alarm.", &self.alarms),
            ("standing", "gauge", "1 while the log is rewritten, refused or stands still.", &self.standing),
            ("unsent_events", "gauge", "Events that the webhook has not taken.", &self.unsent),
        ] {
            let value = count.load(Ordering::Relaxed);
            families.family(&format!("monitor_{name}"), kind, help, &[("", value)]);
        }
        families.into_text()
    }
}
