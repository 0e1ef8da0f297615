//! Group commit: publications that wait at the same time become one snapshot.

use chrono::{DateTime, Utc};
use tokio::sync::{mpsc, oneshot};

use super::edit::Edit;
use super::keyring::Keyring;
use super::publish::{Decided, Group, Published, Recent};
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

type Answer = oneshot::Sender<Result<Published, RepositoryError>>;

#[derive(Debug)]
struct Waiting {
    edits: Vec<Edit>,
    now: DateTime<Utc>,
    answer: Answer,
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

/// While the pages of one group are written, the next one is committed.
async fn work(repository: Repository, keys: Keyring, mut queue: mpsc::Receiver<Waiting>) {
    let mut recent = Recent::default();
    let mut before: Option<(Decided<Vec<Edit>>, Vec<Answer>)> = None;
    loop {
        let next = async {
            let mut waiting = Vec::new();
            if queue.recv_many(&mut waiting, MAX_GROUP).await == 0 {
                return None;
            }
            let now = waiting.iter().map(|waiting| waiting.now).max().unwrap_or_default();
            let (edits, answers): (Vec<_>, Vec<_>) =
                waiting.into_iter().map(|waiting| (waiting.edits, waiting.answer)).unzip();
            let group = Group::new(edits);
            Some((repository.commit_group(&keys, &mut recent, group, now, &Unwatched).await, answers))
        };
        let finish = async {
            let Some((decided, answers)) = before.take() else { return };
            for (answer, outcome) in answers.into_iter().zip(repository.finish_group(decided).await) {
                // Whoever asked may be gone.
                drop(answer.send(outcome));
            }
        };
        (before, ()) = tokio::join!(next, finish);
        if before.is_none() {
            return;
        }
    }
}
