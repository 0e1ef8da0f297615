//! `/metrics` of a recorder: what it saw, as Prometheus reads it.

use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Utc};

use super::{Round, Standings};
use crate::web::Families;

/// Counts since the recorder began, and how things stand.
#[derive(Debug, Default)]
pub struct Metrics {
    rounds: AtomicU64,
    failed_rounds: AtomicU64,
    last_round: AtomicU64,
    recorded: AtomicU64,
    waiting: AtomicU64,
    left_out: AtomicU64,
    conflicts: AtomicU64,
    log_size: AtomicU64,
    unrecorded: AtomicU64,
    log_behind: AtomicU64,
    log_problem: AtomicU64,
    unsent: AtomicU64,
    /// As the last round found them, in the order of [`STANDINGS`].
    claims: [AtomicU64; STANDINGS.len()],
}

/// How claimed files stand, as labels.
const STANDINGS: [&str; 6] = [
    "{standing=\"agree\"}",
    "{standing=\"index-only\"}",
    "{standing=\"claim-only\"}",
    "{standing=\"overdue\"}",
    "{standing=\"conflict\"}",
    "{standing=\"doubtful\"}",
];

impl Metrics {
    /// Conflicts that were kept before.
    pub fn starts_with(&self, conflicts: u64) {
        self.conflicts.store(conflicts, Ordering::Relaxed);
    }

    /// A round that ended well.
    pub fn ended(&self, round: &Round, now: DateTime<Utc>) {
        let new_conflicts = u64::try_from(round.new_conflicts.len()).unwrap_or(0);
        self.rounds.fetch_add(1, Ordering::Relaxed);
        self.recorded.fetch_add(round.recorded, Ordering::Relaxed);
        self.conflicts.fetch_add(new_conflicts, Ordering::Relaxed);
        self.waiting.store(round.waiting, Ordering::Relaxed);
        self.left_out.store(round.left_out, Ordering::Relaxed);
        if let Some(claims) = &round.claims {
            let Standings { agree, index_only, claim_only, overdue, conflict, doubtful } = *claims;
            let counts = [agree, index_only, claim_only, overdue, conflict, doubtful];
            self.claims.iter().zip(counts).for_each(|(gauge, count)| gauge.store(count, Ordering::Relaxed));
        }
        self.last_round.store(u64::try_from(now.timestamp()).unwrap_or(0), Ordering::Relaxed);
        if let Some(log) = &round.log {
            self.log_size.store(log.size, Ordering::Relaxed);
            self.unrecorded.store(log.unrecorded, Ordering::Relaxed);
            self.log_behind.store(log.behind, Ordering::Relaxed);
            self.log_problem.store(u64::from(log.problem.is_some()), Ordering::Relaxed);
        }
    }

    /// A round that did not.
    pub fn failed(&self) {
        self.failed_rounds.fetch_add(1, Ordering::Relaxed);
    }

    /// Conflicts that the webhook has not taken yet.
    pub fn unsent(&self, conflicts: usize) {
        self.unsent.store(u64::try_from(conflicts).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The text format of Prometheus, version 0.0.4.
    pub fn text(&self) -> String {
        let mut families = Families::default();
        for (name, kind, help, count) in [
            ("rounds_total", "counter", "Looks at the index that ended well.", &self.rounds),
            ("failed_rounds_total", "counter", "Looks at the index that did not.", &self.failed_rounds),
            ("last_round_timestamp_seconds", "gauge", "When the last good one began.", &self.last_round),
            ("files_total", "counter", "Files recorded since the start.", &self.recorded),
            ("waiting", "gauge", "Files and pages that could not be had in the last round.", &self.waiting),
            ("left_out", "gauge", "Files that the last round refused.", &self.left_out),
            ("conflicts", "gauge", "Contradictions of the index that are kept.", &self.conflicts),
            ("index_log_size", "gauge", "Leaves of the index's own log.", &self.log_size),
            ("index_log_unrecorded", "gauge", "Files in it that are not recorded.", &self.unrecorded),
            ("index_log_behind", "gauge", "Leaves of it that are left to the next rounds.", &self.log_behind),
            (
                "index_log_problem",
                "gauge",
                "1 while it is rewritten, refused or does not read.",
                &self.log_problem,
            ),
            ("unsent_conflicts", "gauge", "Those that the webhook has not taken.", &self.unsent),
        ] {
            let value = count.load(Ordering::Relaxed);
            families.family(&format!("record_{name}"), kind, help, &[("", value)]);
        }
        let claims: Vec<_> = STANDINGS
            .iter()
            .zip(&self.claims)
            .map(|(label, count)| (*label, count.load(Ordering::Relaxed)))
            .collect();
        let help = "Files of the claimed releases that the last round looked at.";
        families.family("record_claimed_files", "gauge", help, &claims);
        families.into_text()
    }
}
