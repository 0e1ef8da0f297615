//! Group commit: publications that wait at the same time become one snapshot.

use chrono::{DateTime, Utc};
use tokio::sync::{mpsc, oneshot};

use super::edit::Edit;
use super::keyring::Keyring;
use super::publish::{Published, Recent};
use super::{Repository, RepositoryError, Unwatched};

/// Publications in one snapshot, at most: all of them wait for the slowest.
const MAX_GROUP: usize = 256;
/// Publications that wait for the next group, at most; further callers wait for their turn to wait.
const MAX_WAITING: usize = 1_024;

/// Publishes for many callers at once, and remembers the state in between. Clones share the work.
#[derive(Debug, Clone)]
pub struct Publisher {
    queue: mpsc::Sender<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    edits: Vec<Edit>,
    now: DateTime<Utc>,
    answer: oneshot::Sender<Result<Published, RepositoryError>>,
}

impl Publisher {
    /// Starts a task that publishes with `keys`, until the last clone is gone. Needs a tokio runtime.
    pub fn start(repository: Repository, keys: Keyring) -> Self {
        let (queue, waiting) = mpsc::channel(MAX_WAITING);
        tokio::spawn(work(repository, keys, waiting));
        Self { queue }
    }

    /// Publishes all of `edits`, or none. Returns when the new snapshot is durable and visible. If the future is
    /// dropped, the publication may still happen.
    pub async fn publish(&self, edits: Vec<Edit>, now: DateTime<Utc>) -> Result<Published, RepositoryError> {
        let (answer, answered) = oneshot::channel();
        let stopped = || RepositoryError::Plan("the publisher has stopped".to_owned());
        self.queue.send(Waiting { edits, now, answer }).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

async fn work(repository: Repository, keys: Keyring, mut queue: mpsc::Receiver<Waiting>) {
    let mut recent = Recent::default();
    let mut group = Vec::new();
    while queue.recv_many(&mut group, MAX_GROUP).await > 0 {
        let now = group.iter().map(|waiting| waiting.now).max().unwrap_or_default();
        let edits = group.iter().map(|waiting| waiting.edits.as_slice()).collect();
        let outcomes = repository.publish_group(&keys, &mut recent, edits, now, &Unwatched).await;
        for (waiting, outcome) in group.drain(..).zip(outcomes) {
            // Whoever asked may be gone.
            drop(waiting.answer.send(outcome));
        }
    }
}
