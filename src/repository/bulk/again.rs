//! Bins signed anew with another expiry date, and some with corrections, in parallel.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};

use super::bins::BinMap;
use super::forge::{Bench, Content, Forge, require_bins};
use super::import::changed;
use super::merge::READ_TOGETHER;
use super::reader::Reader;
use crate::repository::bump::Due;
use crate::repository::state::State;
use crate::repository::{Keyring, Progress, Repository, RepositoryError};
use crate::tuf::metadata::{Common, MetaFile, TargetFile, Targets};
use crate::tuf::path::RoleName;
use crate::tuf::signed::Draft;

/// Which bins are signed anew, and until when they are good then.
#[derive(Debug, Clone, Copy)]
pub(in crate::repository) struct Again {
    /// All of them.
    pub(in crate::repository) all: bool,
    /// Those that expire at this time or before.
    pub(in crate::repository) due: DateTime<Utc>,
    /// The new date.
    pub(in crate::repository) expires: DateTime<Utc>,
}

/// Who signs them from now on, and the attempt before.
#[derive(Debug, Default)]
pub(in crate::repository) struct Under<'a> {
    /// A changed file of `bins` that delegates to the same bins; without it, the one there is.
    pub(in crate::repository) bins: Option<&'a Targets>,
    /// An attempt that was overtaken.
    pub(in crate::repository) overtaken: Option<Overtaken>,
    /// What some bins list otherwise from now on; these are signed anew whether they are due or not.
    pub(in crate::repository) corrections: &'a [Correction],
}

/// What a bin says of a target from now on; `None`: nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::repository) struct Correction {
    pub(in crate::repository) role: RoleName,
    pub(in crate::repository) path: String,
    pub(in crate::repository) file: Option<TargetFile>,
}

/// What was done about them.
#[derive(Debug, Default, Clone)]
pub(in crate::repository) struct Signed {
    /// Bins whose new files are durable, and what snapshot is to say of them.
    pub(in crate::repository) written: Vec<(String, MetaFile)>,
    /// Bins that are due, but whose keys are not at hand, by name.
    pub(in crate::repository) due: Vec<Due>,
    /// When the first of the others expires.
    pub(in crate::repository) earliest: Option<DateTime<Utc>>,
}

/// An attempt that another publisher overtook: what it was built on, and what it signed.
#[derive(Debug)]
pub(in crate::repository) struct Overtaken {
    pub(in crate::repository) state: State,
    pub(in crate::repository) signed: Signed,
}

/// The content of bins does not change, but for corrections.
struct Unchanged {
    bins: Arc<BinMap>,
    reader: Reader,
    again: Again,
    signed: Arc<Mutex<Signed>>,
    /// By bin.
    corrections: HashMap<usize, Vec<Correction>>,
}

impl Content for Unchanged {
    fn group(&self, _: usize, wanted: &[usize], bench: &mut Bench) -> Result<(), RepositoryError> {
        let (corrected, wanted): (Vec<usize>, Vec<usize>) =
            wanted.iter().partition(|bin| self.corrections.contains_key(*bin));
        for bin in corrected {
            self.correct(bin, bench)?;
        }
        for some in wanted.chunks(READ_TOGETHER) {
            for (bin, present) in some.iter().zip(self.reader.read_to_renew(some, bench.handle())?) {
                let expires = present.common().expires;
                let due = expires <= self.again.due;
                if (due || self.again.all) && bench.can_sign(*bin) {
                    let Common { version, expires, .. } = bench.common(*bin, Some(present.common()));
                    self.note(expires);
                    bench.put(*bin, version, present.renewed(version, expires))?;
                } else if due {
                    let role = self.bins.name(*bin)?.to_string();
                    self.signed
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .due
                        .push(Due { role, expires });
                } else {
                    self.note(expires);
                }
            }
        }
        Ok(())
    }
}

impl Signed {
    /// Drops what it says of these bins.
    fn forget(&mut self, bins: &BinMap, which: &[usize]) -> Result<(), RepositoryError> {
        let names = which.iter().map(|bin| bins.name(*bin).map(RoleName::as_str));
        let names: BTreeSet<&str> = names.collect::<Result<_, _>>()?;
        self.written.retain(|(name, _)| !names.contains(name.as_str()));
        self.due.retain(|due| !names.contains(due.role.as_str()));
        Ok(())
    }
}

impl Unchanged {
    fn correct(&self, bin: usize, bench: &mut Bench) -> Result<(), RepositoryError> {
        for present in self.reader.read(&[bin], bench.handle())? {
            let mut content = (*present).clone();
            for Correction { path, file, .. } in self.corrections.get(&bin).into_iter().flatten() {
                match file {
                    Some(file) => drop(content.targets.insert(path, file.clone())),
                    None => drop(content.targets.remove(path)),
                }
            }
            content.common = bench.common(bin, Some(&present.common));
            let (version, expires) = (content.common.version, content.common.expires);
            self.note(expires);
            bench.put(bin, version, Draft::new(content).payload())?;
        }
        Ok(())
    }

    fn note(&self, expires: DateTime<Utc>) {
        let mut signed = self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        signed.earliest = Some(signed.earliest.map_or(expires, |earliest| earliest.min(expires)));
    }
}

impl Repository {
    /// Signs bins anew and writes them; nothing refers to them yet. Of an attempt that was overtaken stays what nobody
    /// changed meanwhile.
    pub(in crate::repository) async fn sign_bins_again(
        &self,
        keys: &Keyring,
        state: &State,
        again: Again,
        under: Under<'_>,
        progress: &dyn Progress,
    ) -> Result<Signed, RepositoryError> {
        let bins = Arc::new(BinMap::of(&state.bins)?);
        let (todo, mut earlier) =
            match under.overtaken.filter(|before| before.state.bins.same_file(&state.bins)) {
                Some(before) => (changed(&bins, &before.state, state)?, before.signed),
                None => ((0..bins.len()).collect(), Signed::default()),
            };
        earlier.forget(&bins, &todo)?;
        let signed = Arc::new(Mutex::new(Signed { written: Vec::new(), ..earlier.clone() }));
        let reader = Reader::new(Arc::clone(&self.store), state.clone(), Arc::clone(&bins))?;
        let corrections = by_bin(&bins, under.corrections)?;
        let delegations = under.bins.unwrap_or(&state.bins);
        if !corrections.is_empty() {
            require_bins(keys, delegations)?;
        }
        let content =
            Unchanged { bins: Arc::clone(&bins), reader, again, signed: Arc::clone(&signed), corrections };
        let store = Arc::clone(&self.store);
        let forge =
            Forge::new(store, keys, Arc::clone(&bins), delegations, Arc::new(content), again.expires)?;
        let written = forge.forgotten(state.forgotten()).run(todo, progress).await?;
        let mut signed = std::mem::take(&mut *signed.lock().unwrap_or_else(PoisonError::into_inner));
        signed.due.sort_by(|a, b| a.role.cmp(&b.role));
        signed.due.dedup();
        signed.written = Forge::entries(&bins, &written)?;
        signed.written.append(&mut earlier.written);
        Ok(signed)
    }
}

/// Corrections by the bins that they are for.
fn by_bin(
    bins: &BinMap,
    corrections: &[Correction],
) -> Result<HashMap<usize, Vec<Correction>>, RepositoryError> {
    let mut by_bin: HashMap<usize, Vec<Correction>> = HashMap::new();
    if corrections.is_empty() {
        return Ok(by_bin);
    }
    let mut positions = HashMap::new();
    for bin in 0..bins.len() {
        positions.insert(bins.name(bin)?, bin);
    }
    for correction in corrections {
        let bin = positions.get(&correction.role);
        let bin = bin.ok_or_else(|| RepositoryError::Missing(correction.role.to_string()))?;
        by_bin.entry(*bin).or_default().push(correction.clone());
    }
    Ok(by_bin)
}
