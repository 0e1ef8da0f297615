//! `/metrics`: counts of what the server did, as Prometheus reads them. Nothing in them tells who asked for what.

use std::sync::{Arc, OnceLock};

use axum::http::StatusCode;

use crate::journal::Counts;
use crate::web::{Count, Families, Traffic};

/// Counts since the server began.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// Answers by the first digit of their status, from 1 to 5.
    answers: [Count; 5],
    /// Connections.
    pub(super) traffic: Arc<Traffic>,
    /// Uploads that were published.
    pub(super) published: Count,
    /// Uploads that wait for their maintainers' signatures.
    pub(super) staged: Count,
    /// Uploads of what was there already.
    pub(super) unchanged: Count,
    /// Uploads refused for what was sent.
    pub(super) refused: Count,
    /// Uploads that failed for a reason of the server's own.
    pub(super) failed: Count,
    /// Bytes of files published.
    pub(super) bytes: Count,
    /// Events of the journal, if there is one.
    pub(super) journal: OnceLock<Arc<Counts>>,
}

impl Metrics {
    pub(super) fn answered(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(count) = self.answers.get(class) {
            count.add(1);
        }
    }

    /// The text format of Prometheus, version 0.0.4.
    pub(super) fn text(&self) -> String {
        let mut families = Families::default();
        let answers: Vec<u64> = self.answers.iter().map(Count::now).collect();
        let labels = ["1xx", "2xx", "3xx", "4xx", "5xx"].map(|class| format!("{{status=\"{class}\"}}"));
        let answers: Vec<(&str, u64)> = labels.iter().map(String::as_str).zip(answers).collect();
        families.family("answers_total", "counter", "Answers, by the class of their status.", &answers);
        families.traffic(&self.traffic);
        let uploads = [
            ("{outcome=\"published\"}", self.published.now()),
            ("{outcome=\"staged\"}", self.staged.now()),
            ("{outcome=\"unchanged\"}", self.unchanged.now()),
            ("{outcome=\"refused\"}", self.refused.now()),
            ("{outcome=\"failed\"}", self.failed.now()),
        ];
        families.family("uploads_total", "counter", "Uploads, by what became of them.", &uploads);
        families.family(
            "upload_bytes_total",
            "counter",
            "Bytes of files published.",
            &[("", self.bytes.now())],
        );
        if let Some(journal) = self.journal.get() {
            let events = [
                ("{outcome=\"written\"}", journal.written()),
                ("{outcome=\"omitted\"}", journal.omitted()),
                ("{outcome=\"failed\"}", journal.failed()),
            ];
            families.family("journal_events_total", "counter", "Events, by what became of them.", &events);
        }
        families.into_text()
    }
}
