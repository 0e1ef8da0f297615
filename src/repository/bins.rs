//! Bins read back and verified on every core, with few of them in memory at once: what `status`, `check`, `gc`, `diff`
//! and `bump` are made of at a size where all bins together do not fit.
//!
//! [`in_order`] is the general form: some work for each item, several at once, and the results one after another, in
//! the order of the items. Work runs on threads that may block, each driving its own future, so that hashing and the
//! checking of signatures keep no other work waiting. At most [`in_flight`] items are held at any time, however slow
//! the receiver is.
//!
//! ```text
//! let mut targets = 0;
//! repository.for_each_bin(&state, &progress, |_, bin| Ok(bin.targets.len()), |count| { targets += count; Ok(()) }).await?;
//! ```

use std::num::NonZeroUsize;
use std::sync::Arc;

use futures_util::StreamExt;
use tokio::runtime::Handle;
use tokio::task::JoinError;

use super::init::bin_names;
use super::state::State;
use super::{Progress, Repository, RepositoryError};
use crate::tuf::metadata::Targets;
use crate::tuf::path::RoleName;
use crate::tuf::signed::Verified;

/// Items worked on at once for each core: one is being read while another is being verified. Each may be a bin of
/// 250 kB, which takes about ten times that when it is read.
const PER_CORE: usize = 2;

/// Items worked on at once, at most: 64 bins in memory are some hundred megabytes.
const MAX_IN_FLIGHT: usize = 64;

/// Items that are worked on where they are: a bin costs about as much as to wake a few threads and wait for them.
const FEW: usize = 4;

/// How many items are worked on at once.
pub(super) fn in_flight() -> usize {
    cores().saturating_mul(PER_CORE).min(MAX_IN_FLIGHT)
}

/// How many threads work at once.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Does `work` for each item, several at once, and shows the results to `visit` in the order of the items. Ends with
/// the first error of either.
pub(super) async fn in_order<T, R, F>(
    items: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> F + Clone + Send + 'static,
    mut visit: impl FnMut(R) -> Result<(), RepositoryError>,
) -> Result<(), RepositoryError>
where
    T: Send + 'static,
    R: Send + 'static,
    F: Future<Output = Result<R, RepositoryError>>,
{
    let driver = Handle::current();
    let spawn = |item: T| {
        let (work, driver) = (work.clone(), driver.clone());
        tokio::task::spawn_blocking(move || driver.block_on(work(item)))
    };
    let mut results = futures_util::stream::iter(items).map(spawn).buffered(in_flight());
    while let Some(result) = results.next().await {
        visit(result.map_err(|error| ended_early(&error))??)?;
    }
    Ok(())
}

/// Does `work` with parts of `items`, on every core, and puts the results together in the order of the parts. A few
/// items are not worth waking a thread for.
pub(super) async fn spread<T, R, F>(
    mut items: Vec<T>,
    work: impl Fn(Vec<T>) -> F + Clone + Send + 'static,
) -> Result<Vec<R>, RepositoryError>
where
    T: Send + 'static,
    R: Send + 'static,
    F: Future<Output = Result<Vec<R>, RepositoryError>>,
{
    if items.len() <= FEW {
        return work(items).await;
    }
    let driver = Handle::current();
    let part = items.len().div_ceil(cores());
    let mut running = Vec::new();
    while !items.is_empty() {
        let rest = items.split_off(part.min(items.len()));
        let (work, driver, part) = (work.clone(), driver.clone(), std::mem::replace(&mut items, rest));
        running.push(tokio::task::spawn_blocking(move || driver.block_on(work(part))));
    }
    let mut results = Vec::new();
    for part in running {
        results.extend(part.await.map_err(|error| ended_early(&error))??);
    }
    Ok(results)
}

fn ended_early(error: &JoinError) -> RepositoryError {
    RepositoryError::Plan(format!("a thread ended early: {error}"))
}

impl Repository {
    /// These bins of `state`, read and verified on every core.
    pub(super) async fn read_bins(
        &self,
        state: &State,
        names: Vec<RoleName>,
    ) -> Result<Vec<Verified<Targets>>, RepositoryError> {
        let (store, state) = (Arc::clone(&self.store), Arc::new(state.clone()));
        spread(names, move |names| {
            let (store, state) = (Arc::clone(&store), Arc::clone(&state));
            async move { state.some_bins(&*store, &names).await }
        })
        .await
    }

    /// Reads and verifies all bins of `state`. `look` is called for each on a thread of its own, `visit` with what it
    /// returned, in the order of the bins' names.
    pub(super) async fn for_each_bin<R: Send + 'static>(
        &self,
        state: &State,
        what: &'static str,
        progress: &dyn Progress,
        look: impl Fn(&RoleName, &Verified<Targets>) -> Result<R, RepositoryError> + Send + Sync + 'static,
        mut visit: impl FnMut(R) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        let names = bin_names(&state.bins)?;
        let total = u64::try_from(names.len()).unwrap_or(u64::MAX);
        let (store, state, look) = (Arc::clone(&self.store), Arc::new(state.clone()), Arc::new(look));
        let work = move |name: RoleName| {
            let (store, state, look) = (Arc::clone(&store), Arc::clone(&state), Arc::clone(&look));
            async move { look(&name, &state.bin(&*store, &name).await?) }
        };
        let mut done = 0;
        in_order(names, work, |found| {
            done += 1;
            progress.at(what, done, total);
            visit(found)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn results_come_in_the_order_of_the_items_and_few_are_held() {
        let held = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let (mut seen, counts) = (Vec::new(), (Arc::clone(&held), Arc::clone(&most)));
        let work = move |item: usize| {
            let (held, most) = counts.clone();
            async move {
                most.fetch_max(held.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // Later items are done sooner.
                for _ in item..40 {
                    tokio::task::yield_now().await;
                }
                Ok(item)
            }
        };
        in_order(0..40, work, |item| {
            held.fetch_sub(1, Ordering::SeqCst);
            seen.push(item);
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(seen, (0..40).collect::<Vec<_>>());
        assert!(most.load(Ordering::SeqCst) <= in_flight(), "{most:?}");
    }

    #[tokio::test]
    async fn the_first_error_ends_it() {
        let mut seen = 0;
        let work = |item: u64| async move {
            if item == 3 { Err(RepositoryError::NoSnapshot(item)) } else { Ok(()) }
        };
        let ended = in_order(0..100, work, |()| {
            seen += 1;
            Ok(())
        });
        assert_eq!(ended.await, Err(RepositoryError::NoSnapshot(3)));
        assert_eq!(seen, 3);
    }
}
