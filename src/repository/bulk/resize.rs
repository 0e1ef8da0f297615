//! Another number of bins, without touching target files and without a moment in which a client finds nothing.
//!
//! All targets are read back, sorted into the bins that they belong to from now on, and these are written beside the
//! old ones; one commit then names the new `bins` role and the new bins. A client that holds the old snapshot goes on
//! with the old files until `gc` removes them.
//!
//! - A name may mean another bin than before (`bins-0000` of 2^14 and of 2^16 bins): versions grow on by name, so that
//!   no client sees a rollback and no file is replaced.
//! - A name that was in snapshot stays there (specification section 5.5.5). One that nobody delegates to any more is
//!   retired: no client asks for it, its file may be missing, and nothing is wrong with it.
//! - `bins` is an offline role: its new file comes from a ceremony, signed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};

use super::bins::BinMap;
use super::cores::{Meter, on_all_cores};
use super::forge::{Bench, Content as Bins, Forge, GROUPS, require_all};
use super::merge::{READ_TOGETHER, is_plain, render};
use super::reader::Reader;
use super::record::Record;
use crate::crypto::sha256;
use crate::repository::init::prefixed;
use crate::repository::state::{BINS, State};
use crate::repository::{Keyring, Progress, Repository, RepositoryError, days_after};
use crate::spill::{BUDGET, Spill};
use crate::tuf::metadata::{
    DelegatedRoles, Delegations, Extra, MetaFile, SuccinctRoles, TargetFile, Targets, Version,
};

/// Entries that this project does not write (other hashes, unknown fields), in memory while bins are resized, at most.
const MAX_ODD: usize = 100_000;

/// What the new bins hold.
struct Sorted {
    spill: Arc<Spill>,
    bins: Arc<BinMap>,
    odd: Arc<Mutex<Odd>>,
    /// By bin: the version before.
    before: Vec<Version>,
}

/// Entries of a kind that records do not hold, by new bin and path.
type Odd = HashMap<usize, BTreeMap<String, TargetFile>>;

impl Bins for Sorted {
    fn group(&self, group: usize, wanted: &[usize], bench: &mut Bench) -> Result<(), RepositoryError> {
        let records = self.spill.partition(group)?;
        let mut runs: HashMap<usize, Vec<Record<'_>>> =
            HashMap::with_capacity(records.len().min(wanted.len()));
        for (key, bytes) in records.iter() {
            runs.entry(self.bins.position(key)).or_default().push(Record::read(bytes)?);
        }
        for bin in wanted {
            let mut common = bench.common(*bin, None);
            let before = self.before.get(*bin).copied().unwrap_or(0);
            common.version = common.version.max(before.saturating_add(1));
            let odd = self.odd.lock().unwrap_or_else(PoisonError::into_inner).get(bin).cloned();
            let version = common.version;
            let present = Targets {
                common: common.clone(),
                targets: odd.into_iter().flatten().collect(),
                delegations: None,
            };
            let new = runs.remove(bin).unwrap_or_default();
            bench.put(*bin, version, render(common, &present, &new)?)?;
        }
        Ok(())
    }
}

impl Repository {
    /// Sorts all targets into the bins of `new`, a changed file of `bins`, and writes these; nothing refers to them yet.
    /// Returns what snapshot is to say of them, and how many targets there are.
    pub(in crate::repository) async fn divide_bins(
        &self,
        keys: &Keyring,
        state: &State,
        new: &Targets,
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Result<(Vec<(String, MetaFile)>, u64), RepositoryError> {
        let bins = Arc::new(BinMap::of(new)?);
        require_all(keys, &bins, new)?;
        let (spill, odd, targets) = self.sort_targets(state, &bins, progress).await?;
        let before = (0..bins.len())
            .map(|bin| Ok(state.snapshot.role(bins.name(bin)?.as_str()).map_or(0, |entry| entry.version)))
            .collect::<Result<_, RepositoryError>>()?;
        let content = Arc::new(Sorted { spill, bins: Arc::clone(&bins), odd, before });
        let (store, expires) = (Arc::clone(&self.store), days_after(now, self.settings().expiry.bin_n));
        let forge = Forge::new(store, keys, Arc::clone(&bins), new, content, expires)?;
        let made = forge.run((0..bins.len()).collect(), progress).await?;
        Ok((Forge::entries(&bins, &made)?, targets))
    }

    /// Reads all bins of `state` and sorts what they list by the bins of `map`.
    async fn sort_targets(
        &self,
        state: &State,
        map: &Arc<BinMap>,
        progress: &dyn Progress,
    ) -> Result<(Arc<Spill>, Arc<Mutex<Odd>>, u64), RepositoryError> {
        let old = Arc::new(BinMap::of(&state.bins)?);
        let spill = Arc::new(Spill::new(map.groups(GROUPS), BUDGET));
        let odd = Arc::new(Mutex::new(Odd::new()));
        let meter = Arc::new(Meter::new(u64::try_from(old.len()).unwrap_or(u64::MAX)));
        let sorter = Sorter {
            reader: Reader::new(Arc::clone(&self.store), state.clone(), Arc::clone(&old))?,
            handle: tokio::runtime::Handle::current(),
            old,
            next: Mutex::new(0),
            targets: Mutex::new(0),
            spill: Arc::clone(&spill),
            map: Arc::clone(map),
            odd: Arc::clone(&odd),
            meter: Arc::clone(&meter),
        };
        let sorter = Arc::new(sorter);
        let work = Arc::clone(&sorter);
        on_all_cores("reading bins", &meter, progress, move || work.work()).await?;
        let targets = *sorter.targets.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((spill, odd, targets))
    }
}

/// Reads old bins, some by some, and sorts their targets.
struct Sorter {
    reader: Reader,
    handle: tokio::runtime::Handle,
    old: Arc<BinMap>,
    next: Mutex<usize>,
    targets: Mutex<u64>,
    spill: Arc<Spill>,
    map: Arc<BinMap>,
    odd: Arc<Mutex<Odd>>,
    meter: Arc<Meter>,
}

impl Sorter {
    fn work(&self) -> Result<(), RepositoryError> {
        loop {
            let some: Vec<usize> = {
                let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
                let start = *next;
                *next = start.saturating_add(READ_TOGETHER).min(self.old.len());
                (start..*next).collect()
            };
            if some.is_empty() {
                return Ok(());
            }
            for (bin, present) in some.iter().zip(self.reader.read(&some, &self.handle)?) {
                self.sort(*bin, &present)?;
            }
            self.meter.add(some.len());
        }
    }

    fn sort(&self, bin: usize, present: &Targets) -> Result<(), RepositoryError> {
        if present.delegations.is_some() || !present.common.extra.is_empty() {
            let name = self.old.name(bin)?;
            return Err(RepositoryError::Plan(format!(
                "{name} holds more than targets, so it cannot be divided"
            )));
        }
        let mut buffer = Vec::new();
        for (path, file) in &present.targets {
            let digest = sha256(path.as_bytes());
            let nobody = || RepositoryError::Missing(format!("a bin for {path}"));
            match file.hashes.sha256 {
                Some(hash) if is_plain(file) => {
                    let custom = file.extra.first().map(|(_, custom)| custom.to_text()).unwrap_or_default();
                    let (sha256, length) = (hex::encode(hash), file.length);
                    Record { path, sha256: &sha256, length, line: 0, custom: &custom }.write(&mut buffer);
                    self.spill.push(self.map.key(&digest).ok_or_else(nobody)?, &buffer)?;
                }
                _ => self.keep(self.map.bin(&digest).ok_or_else(nobody)?, path, file)?,
            }
        }
        *self.targets.lock().unwrap_or_else(PoisonError::into_inner) +=
            u64::try_from(present.targets.len()).unwrap_or(0);
        Ok(())
    }

    fn keep(&self, bin: usize, path: &str, file: &TargetFile) -> Result<(), RepositoryError> {
        let mut odd = self.odd.lock().unwrap_or_else(PoisonError::into_inner);
        if odd.values().map(BTreeMap::len).sum::<usize>() >= MAX_ODD {
            let text = format!("more than {MAX_ODD} targets have fields that wheelseal does not write");
            return Err(RepositoryError::Plan(text));
        }
        odd.entry(bin).or_default().insert(path.to_owned(), file.clone());
        Ok(())
    }
}

/// How many bins a role delegates to.
pub(in crate::repository) fn bin_count(bins: &Targets) -> Result<u64, RepositoryError> {
    Ok(u64::try_from(BinMap::of(bins)?.len()).unwrap_or(u64::MAX))
}

/// Whether both delegate the same paths to bins of the same names.
pub(in crate::repository) fn same_bins(one: &Targets, other: &Targets) -> Result<bool, RepositoryError> {
    Ok(BinMap::of(one)? == BinMap::of(other)?)
}

/// Whether some path belongs to no bin.
pub(in crate::repository) fn leaves_out(bins: &Targets) -> bool {
    BinMap::of(bins).is_ok_and(|bins| bins.leaves_out())
}

/// The delegations of `bins` to `count` bins in the same style, with the same keys and threshold.
pub(in crate::repository) fn resized(bins: &Targets, count: u32) -> Result<Delegations, RepositoryError> {
    let missing = || RepositoryError::Missing("the delegations of bins".to_owned());
    let old = bins.delegations.as_ref().ok_or_else(missing)?;
    let bit_length = count.trailing_zeros();
    let roles = match &old.roles {
        DelegatedRoles::Succinct(succinct) => {
            DelegatedRoles::Succinct(SuccinctRoles { bit_length, ..succinct.clone() })
        }
        DelegatedRoles::Listed(roles) => {
            let first = roles.first().ok_or_else(missing)?;
            let like = |role: &crate::tuf::metadata::DelegatedRole| {
                role.keyids == first.keyids && role.threshold == first.threshold && role.extra.is_empty()
            };
            if !roles.iter().all(like) {
                let text =
                    "the bins do not all have the same keys, so new ones could not be told whose they are";
                return Err(RepositoryError::Plan(text.to_owned()));
            }
            let (keyids, threshold) = (first.keyids.clone(), first.threshold);
            let name_prefix = BINS.to_owned();
            let all = SuccinctRoles { keyids, threshold, bit_length, name_prefix, extra: Extra::new() };
            DelegatedRoles::Listed(prefixed(&all)?.into())
        }
    };
    Ok(Delegations { keys: old.keys.clone(), roles, extra: old.extra.clone() })
}
