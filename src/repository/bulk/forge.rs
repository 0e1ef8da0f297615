//! Bins made in parallel: rendered and signed on all cores, written in batches while the next ones are being made.
//!
//! ```text
//! worker ─ content.group(g): payloads ─ sign ─┐
//! worker ─ content.group(h): payloads ─ sign ─┼─ queue ─▶ batch ─▶ store.create_all
//! ```
//!
//! Bins are made group by group; a group is as many neighbours as share a partition of a [spill](super::super::spill).
//! A version number that is taken is the leftover of a crash or of a slower publisher: the folder is listed once, and
//! what is left to do is made again under numbers that are free.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use chrono::{DateTime, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::bins::BinMap;
use super::cores::join;
use crate::repository::bins::cores;
use crate::repository::check::split_name;
use crate::repository::commit::refuse_too_large;
use crate::repository::keyring::Crew;
use crate::repository::state::{BINS, RUNAWAY, authority};
use crate::repository::{Keyring, Progress, RepositoryError, layout};
use crate::spill::PARTITIONS;
use crate::store::{Content as Bytes, Store, StoreError, StorePath};
use crate::tuf::metadata::{Common, MetaFile, Targets, Version};
use crate::tuf::path::RoleName;
use crate::tuf::signed::Payload;

/// Groups that all bins are divided into, at most; each is a partition of a spill.
pub(super) const GROUPS: usize = PARTITIONS;
/// Bytes of payloads that a worker gathers before it signs them.
const SIGNED_TOGETHER: usize = 2 * 1024 * 1024;
/// Signatures asked for at once: hides the delay of a key service; a key in memory signs one after the other.
const SIGNATURES_AT_ONCE: usize = 32;
/// Pieces of about [`SIGNED_TOGETHER`] bytes that wait to be written.
const QUEUE: usize = 6;
/// Bytes of a batch that is written and made durable together.
const BATCH: usize = 16 * 1024 * 1024;
/// Objects in a batch: small bins, as after `init`, must not pile up.
const BATCH_OBJECTS: usize = 4_096;
/// Times that taken version numbers are looked for, at most.
const MAX_ROUNDS: u32 = 10;

/// What bins are to hold.
pub(super) trait Content: Send + Sync + 'static {
    /// Hands to `bench` the `wanted` bins of one of `groups` groups: those that change, in any order.
    fn group(&self, group: usize, wanted: &[usize], bench: &mut Bench) -> Result<(), RepositoryError>;
}

/// Everything that workers share.
pub(super) struct Forge {
    store: Arc<dyn Store>,
    bins: Arc<BinMap>,
    content: Arc<dyn Content>,
    /// By bin; `None` where the keys at hand do not reach the threshold.
    crews: Vec<Option<Arc<Crew>>>,
    expires: DateTime<Utc>,
    /// Whether nothing is to be signed and written.
    dry_run: bool,
    /// Whether clients have forgotten versions that a thief pushed up, so that these fall.
    forgotten: bool,
}

/// One round of work.
struct Round {
    forge: Arc<Forge>,
    groups: Vec<Vec<usize>>,
    next: AtomicUsize,
    /// No further group is to be begun.
    stop: AtomicBool,
    /// By bin: the lowest version number that it may get.
    floors: Arc<Vec<Version>>,
}

/// A bin that was signed.
struct Made {
    bin: usize,
    version: Version,
    at: StorePath,
    bytes: Arc<Vec<u8>>,
}

/// Where one worker puts what it renders.
pub(super) struct Bench {
    round: Arc<Round>,
    handle: Handle,
    queue: mpsc::Sender<Vec<Made>>,
    pending: Vec<(usize, Version, Payload)>,
    pending_bytes: usize,
}

impl Forge {
    /// For the bins that `delegations` delegates to.
    pub(super) fn new(
        store: Arc<dyn Store>,
        keys: &Keyring,
        bins: Arc<BinMap>,
        delegations: &Targets,
        content: Arc<dyn Content>,
        expires: DateTime<Utc>,
    ) -> Result<Self, RepositoryError> {
        let crews = crews(keys, &bins, delegations)?;
        Ok(Self { store, bins, content, crews, expires, dry_run: false, forgotten: false })
    }

    /// The same, but nothing is signed or written.
    pub(super) fn dry_run(self, dry_run: bool) -> Self {
        Self { dry_run, ..self }
    }

    /// The same; versions that a thief pushed up fall if clients have `forgotten` them.
    pub(super) fn forgotten(self, forgotten: bool) -> Self {
        Self { forgotten, ..self }
    }

    fn is_runaway(&self, version: Version) -> bool {
        self.forgotten && version >= RUNAWAY
    }

    /// Makes those of the bins in `todo` that change, and writes them. Returns their positions and versions.
    pub(super) async fn run(
        self,
        mut todo: Vec<usize>,
        progress: &dyn Progress,
    ) -> Result<HashMap<usize, Version>, RepositoryError> {
        let forge = Arc::new(self);
        let mut floors = Arc::new(vec![1; forge.bins.len()]);
        let mut written = HashMap::new();
        for attempt in 0..MAX_ROUNDS {
            let round = forge.round(&todo, floors);
            todo = round.run(attempt == 0, &mut written, progress).await?;
            if todo.is_empty() {
                return Ok(written);
            }
            floors = Arc::new(forge.free_versions().await?);
        }
        Err(RepositoryError::Busy(MAX_ROUNDS))
    }

    fn round(self: &Arc<Self>, todo: &[usize], floors: Arc<Vec<Version>>) -> Arc<Round> {
        let groups = self.bins.groups(GROUPS);
        let mut wanted = vec![Vec::new(); groups];
        for bin in todo {
            if let Some(list) = wanted.get_mut(self.bins.group_of(*bin, groups)) {
                list.push(*bin);
            }
        }
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        Arc::new(Round { forge: Arc::clone(self), groups: wanted, next, stop, floors })
    }

    /// For each bin, a version number above all that lie in the store.
    async fn free_versions(&self) -> Result<Vec<Version>, RepositoryError> {
        let mut positions = HashMap::new();
        for bin in 0..self.bins.len() {
            positions.insert(self.bins.name(bin)?.file_stem(), bin);
        }
        let mut floors = vec![1; self.bins.len()];
        let mut visit = |entry: crate::store::Entry| {
            let name = entry.path.segments().last().and_then(split_name);
            let found = name.and_then(|(version, stem)| Some((version, positions.get(stem)?)));
            if let Some((version, floor)) =
                found.and_then(|(version, bin)| Some((version, floors.get_mut(*bin)?)))
            {
                let version = if self.is_runaway(version) { 0 } else { version };
                *floor = (*floor).max(version.saturating_add(1));
            }
            Ok(())
        };
        self.store.walk(layout::METADATA, &mut visit).await?;
        Ok(floors)
    }
}

/// Who signs each bin; neighbours with the same keys share one list.
fn crews(
    keys: &Keyring,
    bins: &BinMap,
    delegations: &Targets,
) -> Result<Vec<Option<Arc<Crew>>>, RepositoryError> {
    let delegator = RoleName::delegated(BINS)?;
    let mut crews: Vec<Option<Arc<Crew>>> = Vec::with_capacity(bins.len());
    for bin in 0..bins.len() {
        let authority = authority(&delegator, delegations, bins.name(bin)?)?;
        if !keys.reaches(&authority) {
            crews.push(None);
            continue;
        }
        let own = keys.crew(&[authority]);
        let same = |crew: &&Arc<Crew>| crew.ids().eq(own.ids());
        let crew = crews.last().and_then(Option::as_ref).filter(same).map(Arc::clone);
        let crew = crew.unwrap_or_else(|| Arc::new(own));
        crews.push(Some(crew));
    }
    Ok(crews)
}

/// Refuses keys that do not reach the threshold of some bin.
pub(super) fn require_all(
    keys: &Keyring,
    bins: &BinMap,
    delegations: &Targets,
) -> Result<(), RepositoryError> {
    let delegator = RoleName::delegated(BINS)?;
    (0..bins.len()).try_for_each(|bin| keys.require(&authority(&delegator, delegations, bins.name(bin)?)?))
}

/// The same for a changed file of `bins` by itself.
pub(in crate::repository) fn require_bins(
    keys: &Keyring,
    delegations: &Targets,
) -> Result<(), RepositoryError> {
    require_all(keys, &BinMap::of(delegations)?, delegations)
}

impl Round {
    /// Makes and writes; returns the bins whose version number is taken, and those not begun because of that.
    async fn run(
        self: Arc<Self>,
        stop_if_taken: bool,
        written: &mut HashMap<usize, Version>,
        progress: &dyn Progress,
    ) -> Result<Vec<usize>, RepositoryError> {
        let (sender, mut queue) = mpsc::channel::<Vec<Made>>(QUEUE);
        let (handle, groups) = (Handle::current(), self.groups.len());
        let workers = (0..cores()).map(|_| {
            let (round, handle, queue) = (Arc::clone(&self), handle.clone(), sender.clone());
            let bench = Bench { round, handle, queue, pending: Vec::new(), pending_bytes: 0 };
            tokio::task::spawn_blocking(move || bench.work())
        });
        let workers: Vec<_> = workers.collect();
        drop(sender);
        let (mut batch, mut bytes, mut taken) = (Vec::new(), 0, Vec::new());
        let mut outcome = Ok(());
        while let Some(piece) = queue.recv().await {
            bytes += piece.iter().map(|made| made.bytes.len()).sum::<usize>();
            batch.extend(piece);
            if outcome.is_ok() && (bytes >= BATCH || batch.len() >= BATCH_OBJECTS) {
                outcome = self.write(&mut batch, written, &mut taken).await;
                bytes = 0;
                if outcome.is_err() || (stop_if_taken && !taken.is_empty()) {
                    self.stop.store(true, Ordering::Relaxed);
                }
            }
            let done = self.next.load(Ordering::Relaxed).min(groups).saturating_sub(1);
            let share =
                |count: usize| u64::try_from(count * self.forge.bins.len() / groups.max(1)).unwrap_or(0);
            progress.at("signing bins", share(done), share(groups));
        }
        // Their errors come first: they say what is wrong with the input.
        join(workers).await?;
        outcome?;
        self.write(&mut batch, written, &mut taken).await?;
        let begun = self.next.load(Ordering::Relaxed).min(groups);
        taken.extend(self.groups.iter().skip(begun).flatten());
        Ok(taken)
    }

    async fn write(
        &self,
        batch: &mut Vec<Made>,
        written: &mut HashMap<usize, Version>,
        taken: &mut Vec<usize>,
    ) -> Result<(), RepositoryError> {
        let batch = std::mem::take(batch);
        if self.forge.dry_run {
            written.extend(batch.iter().map(|made| (made.bin, made.version)));
            return Ok(());
        }
        let objects: Vec<_> =
            batch.iter().map(|made| (made.at.clone(), Bytes::Shared(&made.bytes))).collect();
        for (made, outcome) in batch.iter().zip(self.forge.store.create_all(&objects).await) {
            match outcome {
                Ok(()) => drop(written.insert(made.bin, made.version)),
                Err(StoreError::Exists { .. }) => taken.push(made.bin),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl Bench {
    fn work(mut self) -> Result<(), RepositoryError> {
        let round = Arc::clone(&self.round);
        while !round.stop.load(Ordering::Relaxed) {
            let group = round.next.fetch_add(1, Ordering::Relaxed);
            let Some(wanted) = round.groups.get(group) else { break };
            if wanted.is_empty() {
                continue;
            }
            let done = round.forge.content.group(group, wanted, &mut self).and_then(|()| self.sign());
            if done.is_err() {
                round.stop.store(true, Ordering::Relaxed);
                return done;
            }
        }
        Ok(())
    }

    /// For futures of the caller: stores, key services.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Whether the keys at hand may sign a bin.
    pub(super) fn can_sign(&self, bin: usize) -> bool {
        self.round.forge.crew(bin).is_some()
    }

    /// The common fields of a bin's next file, after `old`.
    pub(super) fn common(&self, bin: usize, old: Option<&Common>) -> Common {
        let old_version = old.map_or(0, |old| old.version);
        let old_version = if self.round.forge.is_runaway(old_version) { 0 } else { old_version };
        let next = old_version.saturating_add(1);
        let floor = self.round.floors.get(bin).copied().unwrap_or(1);
        let extra = old.map(|old| old.extra.clone()).unwrap_or_default();
        Common { version: next.max(floor), expires: self.round.forge.expires, extra }
    }

    /// Takes a bin that changes.
    pub(super) fn put(
        &mut self,
        bin: usize,
        version: Version,
        payload: Payload,
    ) -> Result<(), RepositoryError> {
        self.pending_bytes += payload.to_sign().len();
        self.pending.push((bin, version, payload));
        if self.pending_bytes >= SIGNED_TOGETHER { self.sign() } else { Ok(()) }
    }

    fn sign(&mut self) -> Result<(), RepositoryError> {
        self.pending_bytes = 0;
        let pending = std::mem::take(&mut self.pending);
        let forge = &self.round.forge;
        let made = stream::iter(pending).map(|(bin, version, payload)| forge.made(bin, version, payload));
        let made: Vec<Made> = self.handle.block_on(made.buffered(SIGNATURES_AT_ONCE).try_collect())?;
        // Nobody is there any more if writing failed; that is reported there.
        drop(self.queue.blocking_send(made));
        Ok(())
    }
}

impl Forge {
    fn crew(&self, bin: usize) -> Option<&Arc<Crew>> {
        self.crews.get(bin).and_then(Option::as_ref)
    }

    async fn made(&self, bin: usize, version: Version, payload: Payload) -> Result<Made, RepositoryError> {
        let name = self.bins.name(bin)?.as_str();
        let at = layout::versioned(name, version)?;
        let bytes = match self.crew(bin).filter(|_| !self.dry_run) {
            Some(crew) => crew.sign(&payload).await?,
            None => payload.assemble(&[]),
        };
        refuse_too_large(name, &bytes)?;
        Ok(Made { bin, version, at, bytes: Arc::new(bytes) })
    }

    /// What snapshot is to say of bins that were written.
    pub(super) fn entries(
        bins: &BinMap,
        written: &HashMap<usize, Version>,
    ) -> Result<Vec<(String, MetaFile)>, RepositoryError> {
        let entry = |(bin, version): (&usize, &Version)| {
            Ok((bins.name(*bin)?.as_str().to_owned(), MetaFile::version(*version)))
        };
        written.iter().map(entry).collect()
    }
}
