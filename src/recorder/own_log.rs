//! Conflicts as leaves of the recorder's own log: so that nobody can take back that they were seen.
//!
//! A conflict is kept first, and logged at the end of the round; then its proof is written beside it. What has no proof is logged by
//! the next round. After a crash the log is searched first, so that a leaf stands in it once.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::conflict::{Conflict, without};
use super::index_log::create;
use super::{RecordError, Rest, Work};
use crate::log::{Reader, StoreFiles};
use crate::repository::{Remark, RepositoryError};
use crate::store::Store;
use crate::tlog::leaf::Leaf;

/// The ending of proofs.
pub(super) const PROOF: &str = ".tlog-proof";
/// Conflicts that are logged together, at most.
const AT_ONCE: usize = 256;
/// Conflicts that wait to be logged and are looked at in one round, at most.
const MAX_PENDING: usize = 100_000;

impl Work<'_> {
    /// Logs the conflicts that are kept and not logged. If that cannot be done now, the next round does it.
    pub(super) async fn log_conflicts(&mut self) -> Result<(), RecordError> {
        if self.state.timestamp.log.is_none() {
            return Ok(());
        }
        if self.recorder.log_rest.is_some_and(|rest| rest.until > self.recorder.rounds) {
            self.round.wait("conflicts are not logged yet");
            return Ok(());
        }
        let store = self.recorder.repository.shared_store();
        let pending = match self.recorder.unlogged.take() {
            Some(pending) => pending,
            None => not_in(&store, unproven(&*store).await?).await?,
        };
        let outcome = self.log_all(&*store, &pending).await;
        match outcome {
            Ok(()) => (self.recorder.unlogged, self.recorder.log_rest) = (Some(Vec::new()), None),
            Err(RecordError::Repository(error)) => self.wait_to_log(&error),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// They are looked up again then, for some may be logged: the whole log is read, and not in every round.
    fn wait_to_log(&mut self, error: &RepositoryError) {
        let rest = Rest::after(self.recorder.log_rest, self.recorder.rounds);
        self.recorder.log_rest = Some(rest);
        self.round.wait(&format!("conflicts are not logged: {error}"));
    }

    async fn log_all(&self, store: &dyn Store, pending: &[Conflict]) -> Result<(), RecordError> {
        for some in pending.chunks(AT_ONCE) {
            let leaves = some.iter().filter_map(|conflict| match conflict.leaf() {
                Some(Leaf::Conflict(leaf)) => Some((conflict, Remark::Conflict(leaf))),
                _ => None,
            });
            let (conflicts, remarks): (Vec<_>, Vec<_>) = leaves.unzip();
            if remarks.is_empty() {
                continue;
            }
            let (repository, keys) = (&self.recorder.repository, &self.recorder.keys);
            let proofs = repository.remark(keys, &remarks).await?.unwrap_or_default();
            for (conflict, proof) in conflicts.iter().zip(proofs) {
                create(store, &conflict.beside(PROOF)?, proof.to_string().as_bytes()).await?;
            }
        }
        Ok(())
    }
}

/// Kept conflicts without a proof.
async fn unproven(store: &dyn Store) -> Result<Vec<Conflict>, RecordError> {
    let mut conflicts = without(store, PROOF, MAX_PENDING).await?;
    conflicts.retain(|conflict| conflict.leaf().is_some());
    Ok(conflicts)
}

/// Those that are not in the log. The others get their proofs.
async fn not_in(store: &Arc<dyn Store>, conflicts: Vec<Conflict>) -> Result<Vec<Conflict>, RecordError> {
    let reader = Reader::new(Arc::new(StoreFiles(Arc::clone(store))));
    let Some(checkpoint) = reader.checkpoint().await?.filter(|_| !conflicts.is_empty()) else {
        return Ok(conflicts);
    };
    let mut wanted: BTreeMap<String, Conflict> = BTreeMap::new();
    for conflict in conflicts {
        wanted.extend(conflict.leaf().map(|leaf| (leaf.to_string(), conflict)));
    }
    let mut found = Vec::new();
    let mut visit = |index, leaf: Leaf| {
        if matches!(leaf, Leaf::Conflict(_)) {
            found.extend(wanted.remove(&leaf.to_string()).map(|conflict| (index, conflict)));
        }
        Ok(())
    };
    reader.leaves(checkpoint.claimed(), 0, &mut visit).await?;
    let mut prover = reader.prover(&checkpoint);
    for (index, conflict) in found {
        let (_, proof) = prover.leaf(index).await?;
        create(&**store, &conflict.beside(PROOF)?, proof.to_string().as_bytes()).await?;
    }
    Ok(wanted.into_values().collect())
}
