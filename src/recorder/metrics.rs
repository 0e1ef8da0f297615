//! `/metrics` of a recorder: what it saw, as Prometheus reads it.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use chrono::{DateTime, Utc};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::Round;

/// Connections at once; more wait.
const CONNECTIONS: usize = 16;
/// Time for one connection, with all its requests.
const MAX_TIME: Duration = Duration::from_secs(30);
/// Pause after a connection could not be accepted: there may be no file descriptor left until another one ends.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
    unsent: AtomicU64,
}

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
        self.last_round.store(u64::try_from(now.timestamp()).unwrap_or(0), Ordering::Relaxed);
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
        let mut text = String::new();
        for (name, kind, help, count) in [
            ("rounds_total", "counter", "Looks at the index that ended well.", &self.rounds),
            ("failed_rounds_total", "counter", "Looks at the index that did not.", &self.failed_rounds),
            ("last_round_timestamp_seconds", "gauge", "When the last good one began.", &self.last_round),
            ("files_total", "counter", "Files recorded since the start.", &self.recorded),
            ("waiting", "gauge", "Files and pages that could not be had in the last round.", &self.waiting),
            ("left_out", "gauge", "Files that the last round refused.", &self.left_out),
            ("conflicts", "gauge", "Contradictions of the index that are kept.", &self.conflicts),
            ("unsent_conflicts", "gauge", "Those that the webhook has not taken.", &self.unsent),
        ] {
            let value = count.load(Ordering::Relaxed);
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "# HELP wheelseal_record_{name} {help}\n# TYPE wheelseal_record_{name} {kind}\nwheelseal_record_{name} {value}"
            );
        }
        text
    }

    /// Answers at `/metrics` until it is dropped.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        let router = Router::new().route("/metrics", get(move || std::future::ready(self.text())));
        let mut protocol = http1::Builder::new();
        protocol.timer(TokioTimer::new()).header_read_timeout(MAX_TIME);
        while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
            let Ok((stream, _)) = listener.accept().await else {
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let service = TowerToHyperService::new(router.clone());
            let connection = protocol.serve_connection(TokioIo::new(stream), service);
            tokio::spawn(async move {
                // Errors are those of the other side: nobody is left to be told.
                drop(timeout(MAX_TIME, connection).await);
                drop(slot);
            });
        }
    }
}
