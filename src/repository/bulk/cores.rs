//! The same work on every core, beside the asynchronous part of the program, which goes on meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::JoinHandle;

use crate::repository::bins::cores;
use crate::repository::{Progress, RepositoryError};

/// Between two looks at how far the work has come.
const LOOK: Duration = Duration::from_millis(100);

/// How far the work has come, and how far it goes as far as is known.
#[derive(Debug, Default)]
pub(super) struct Meter {
    pub(super) done: AtomicU64,
    pub(super) total: AtomicU64,
}

impl Meter {
    /// Starts at nothing of `total`.
    pub(super) fn new(total: u64) -> Self {
        Self { done: AtomicU64::new(0), total: AtomicU64::new(total) }
    }

    pub(super) fn add(&self, count: usize) {
        self.done.fetch_add(u64::try_from(count).unwrap_or(0), Ordering::Relaxed);
    }

    fn show(&self, what: &'static str, progress: &dyn Progress) {
        let done = self.done.load(Ordering::Relaxed);
        progress.at(what, done, self.total.load(Ordering::Relaxed).max(done.saturating_add(1)));
    }
}

/// Runs `work` once on each core. All of them end before this does.
pub(super) async fn on_all_cores(
    what: &'static str,
    meter: &Arc<Meter>,
    progress: &dyn Progress,
    work: impl Fn() -> Result<(), RepositoryError> + Send + Sync + 'static,
) -> Result<(), RepositoryError> {
    let work = Arc::new(work);
    let workers = (0..cores()).map(|_| {
        let work = Arc::clone(&work);
        tokio::task::spawn_blocking(move || work())
    });
    let all = join(workers.collect());
    tokio::pin!(all);
    loop {
        tokio::select! {
            done = &mut all => return done,
            () = tokio::time::sleep(LOOK) => meter.show(what, progress),
        }
    }
}

/// Waits for all; the first error in their order. A panic goes on here.
pub(super) async fn join(
    workers: Vec<JoinHandle<Result<(), RepositoryError>>>,
) -> Result<(), RepositoryError> {
    let mut outcome = Ok(());
    for ended in join_all(workers).await {
        let ended = ended.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(RepositoryError::Plan(error.to_string())),
        });
        outcome = outcome.and(ended);
    }
    outcome
}
