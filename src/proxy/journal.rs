//! What was given out and what was refused in one run. Held in memory, bounded, and never about who asked.

use std::collections::{BTreeMap, VecDeque};
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
    /// Whether of what was refused the last is listed, and not the first.
    last: bool,
}

#[derive(Debug, Default)]
struct Inner {
    served: BTreeMap<(String, String), Served>,
    left_out: u64,
    refused: VecDeque<Refused>,
    refusals: u64,
    passed: VecDeque<Passed>,
    passes: u64,
}

impl Default for Journal {
    fn default() -> Self {
        Self { inner: Mutex::default(), files: MAX_SERVED, last: false }
    }
}

impl Journal {
    /// For a proxy that runs on: files are not listed, and what is refused is told however much was refused before.
    pub fn endless() -> Self {
        Self { files: 0, last: true, ..Self::default() }
    }

    /// The files given out, each once, by trust and path; and how many more there were.
    pub fn served(&self) -> (Vec<Served>, u64) {
        let inner = self.inner();
        (inner.served.values().cloned().collect(), inner.left_out)
    }

    /// What was refused, each once, in the order in which it was; and how often something was.
    pub fn refused(&self) -> (Vec<Refused>, u64) {
        let inner = self.inner();
        (inner.refused.iter().cloned().collect(), inner.refusals)
    }

    /// What was let through unverified, likewise.
    pub fn passed(&self) -> (Vec<Passed>, u64) {
        let inner = self.inner();
        (inner.passed.iter().cloned().collect(), inner.passes)
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
        note(&mut inner.refused, refused, self.last)
    }

    /// `true`: it was not let through before.
    pub(super) fn pass(&self, passed: Passed) -> bool {
        let mut inner = self.inner();
        inner.passes = inner.passes.saturating_add(1);
        note(&mut inner.passed, passed, self.last)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn note(known: &mut VecDeque<Refused>, new: Refused, last: bool) -> bool {
    if known.contains(&new) {
        return false;
    }
    if known.len() >= MAX_REFUSED {
        if !last {
            return false;
        }
        known.pop_front();
    }
    known.push_back(new);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::ClientError;

    fn refused(number: usize) -> Refused {
        let what = number.to_string();
        let fault = Fault::Client(ClientError::NotSigned { path: what.clone() });
        Refused { index: "mine".to_owned(), what, fault }
    }

    #[test]
    fn a_proxy_that_runs_on_tells_also_what_comes_after_many_refusals() {
        let journal = Journal::endless();
        for number in 0..=MAX_REFUSED {
            assert!(journal.refuse(refused(number)), "{number}");
        }
        assert!(!journal.refuse(refused(MAX_REFUSED)), "it was told");
        let (listed, count) = journal.refused();
        assert_eq!((listed.len(), count), (MAX_REFUSED, u64::try_from(MAX_REFUSED).unwrap() + 2));
        let first = Journal::default();
        assert_eq!((0..=MAX_REFUSED).filter(|number| first.refuse(refused(*number))).count(), MAX_REFUSED);
        assert_eq!(first.refused().0.first(), Some(&refused(0)));
    }
}
