//! Many target files at once, over connections that are kept alive.
//!
//! All are looked up before the first is fetched: metadata is asked for one file after the other. The first error ends
//! the others: what is whole and verified by then stays, and of the rest nothing is left.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{ClientError, FileError, Session, VerifiedFile};
use crate::tuf::lookup::Found;

/// How often progress is told.
const TICK: Duration = Duration::from_millis(100);

/// A file to fetch, and where to.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What was signed.
    pub found: Found,
    /// Its place.
    pub to: PathBuf,
}

impl Session {
    /// Downloads all, at most `jobs` at once; one outcome each, in the order given. `progress` is told how many bytes
    /// of how many are here. Two different files for one place are refused before anything is fetched.
    pub async fn download_all(
        &self,
        wanted: &[Wanted],
        jobs: NonZeroUsize,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Vec<VerifiedFile>, ClientError> {
        let once = distinct(wanted)?;
        let total = once.values().fold(0_u64, |sum, wanted| sum.saturating_add(wanted.found.target.length));
        let count = AtomicU64::new(0);
        let downloads = stream::iter(once.values().copied())
            .map(|wanted| self.download_counted(&wanted.found, &wanted.to, &count))
            .buffer_unordered(jobs.get())
            .try_collect::<Vec<VerifiedFile>>();
        let told = || progress(count.load(Ordering::Relaxed).min(total.saturating_sub(1)), total);
        let files = tokio::select! {
            files = downloads => files?,
            never = every(TICK, told) => match never {},
        };
        progress(total, total);
        let by_place: BTreeMap<_, _> = files.iter().map(|file| (file.path(), file)).collect();
        Ok(wanted.iter().filter_map(|wanted| by_place.get(wanted.to.as_path()).copied().cloned()).collect())
    }
}

async fn every(tick: Duration, tell: impl Fn()) -> Infallible {
    let mut ticks = tokio::time::interval(tick);
    loop {
        ticks.tick().await;
        tell();
    }
}

/// Each place once.
fn distinct(wanted: &[Wanted]) -> Result<BTreeMap<&PathBuf, &Wanted>, FileError> {
    let mut once: BTreeMap<&PathBuf, &Wanted> = BTreeMap::new();
    for one in wanted {
        let (first, second) = (once.insert(&one.to, one), &one.found.path);
        if let Some(first) = first.filter(|first| first.found.path != *second) {
            return Err(FileError::OnePlace {
                first: first.found.path.to_string(),
                second: second.to_string(),
                place: one.to.display().to_string(),
            });
        }
    }
    Ok(once)
}
