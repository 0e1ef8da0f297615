//! How long recorders are waited for, left alone, and believed without being asked again. No judgement of a file depends on it.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// A moment that comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Until(Instant);

impl Until {
    /// So long from now.
    pub(super) fn after(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    /// Whether it has come.
    pub(super) fn is_over(self) -> bool {
        self.0 <= Instant::now()
    }
}

/// Waits, but not beyond a moment, if there is one.
pub(super) async fn within<T>(until: Option<Until>, waited: impl Future<Output = T>) -> Option<T> {
    match until {
        Some(Until(moment)) => timeout_at(moment, waited).await.ok(),
        None => Some(waited.await),
    }
}
