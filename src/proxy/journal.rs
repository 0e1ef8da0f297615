//! What was given out and what was refused in one run. Held in memory, bounded, and never about who asked.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::refusal::Fault;
use crate::tuf::lookup::Found;

/// Files that are listed, at most; the largest lock files name some thousands.
const MAX_SERVED: usize = 100_000;
/// Refusals that are listed, at most; all are counted.
const MAX_REFUSED: usize = 1_000;

/// A file that was given out.
#[derive(Debug, Clone)]
pub struct Served {
    /// The trust.
    pub index: String,
    /// What was signed, and by whom.
    pub found: Found,
    /// Whether it came from the network, and not from the cache.
    pub fetched: bool,
}

/// Something that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The trust, or the host.
    pub index: String,
    /// A project or file.
    pub what: String,
    /// Why.
    pub fault: Fault,
}

/// Something that was let through although it does not verify.
pub type Passed = Refused;

/// See the module.
#[derive(Debug)]
pub struct Journal {
    inner: Mutex<Inner>,
    /// How many files are listed.
    files: usize,
}

#[derive(Debug, Default)]
struct Inner {
    served: BTreeMap<(String, String), Served>,
    left_out: u64,
    refused: Vec<Refused>,
    refusals: u64,
    passed: Vec<Passed>,
    passes: u64,
}

impl Default for Journal {
    fn default() -> Self {
        Self { inner: Mutex::default(), files: MAX_SERVED }
    }
}

impl Journal {
    /// For a proxy that runs on: files are not listed.
    pub fn endless() -> Self {
        Self { files: 0, ..Self::default() }
    }

    /// The files given out, each once, by trust and path; and how many more there were.
    pub fn served(&self) -> (Vec<Served>, u64) {
        let inner = self.inner();
        (inner.served.values().cloned().collect(), inner.left_out)
    }

    /// What was refused, each once, in the order in which it was; and how often something was.
    pub fn refused(&self) -> (Vec<Refused>, u64) {
        let inner = self.inner();
        (inner.refused.clone(), inner.refusals)
    }

    /// What was let through unverified, likewise.
    pub fn passed(&self) -> (Vec<Passed>, u64) {
        let inner = self.inner();
        (inner.passed.clone(), inner.passes)
    }

    pub(super) fn serve(&self, index: &str, found: &Found, fetched: bool) {
        let mut inner = self.inner();
        let key = (index.to_owned(), found.path.to_string());
        if let Some(known) = inner.served.get_mut(&key) {
            known.found = found.clone();
        } else if inner.served.len() < self.files {
            let index = index.to_owned();
            inner.served.insert(key, Served { index, found: found.clone(), fetched });
        } else {
            inner.left_out = inner.left_out.saturating_add(1);
        }
    }

    /// `true`: it was not refused before.
    pub(super) fn refuse(&self, refused: Refused) -> bool {
        let mut inner = self.inner();
        inner.refusals = inner.refusals.saturating_add(1);
        note(&mut inner.refused, refused)
    }

    /// `true`: it was not let through before.
    pub(super) fn pass(&self, passed: Passed) -> bool {
        let mut inner = self.inner();
        inner.passes = inner.passes.saturating_add(1);
        note(&mut inner.passed, passed)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn note(list: &mut Vec<Refused>, new: Refused) -> bool {
    let first = list.len() < MAX_REFUSED && !list.contains(&new);
    if first {
        list.push(new);
    }
    first
}
