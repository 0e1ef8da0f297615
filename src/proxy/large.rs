//! Large files: sent while they come, but for their end ([`Arriving`]). Which are coming, and which did not come right.
//!
//! A tool whose file broke off may ask for the rest of it later, and put the two together. So a file that broke off once is
//! given out whole from then on, and one that was wrong not at all.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::Mode;
use super::refusal::Fault;
use crate::client::{Arriving, ClientError, FetchError, FileError};
use crate::tuf::lookup::Found;

/// Bytes from which on a file is large. What is smaller can be refused by an answer, which says why. pip waits 15 s for the first
/// byte of an answer: this much comes in that time at 4.5 Mbit/s.
const FROM: u64 = 8 * 1_024 * 1_024;
/// How long it is known that a file did not come right. In `exec`, whose clock stands still: for the whole run.
const MEMORY: Duration = Duration::from_mins(10);
/// Files of which that is known, at most.
const MAX_BROKEN: usize = 10_000;

/// See the module.
pub(super) struct Large {
    from: u64,
    coming: Mutex<HashMap<String, Arriving>>,
    broken: Mutex<HashMap<String, Broken>>,
}

/// A file that did not come right.
struct Broken {
    at: SystemTime,
    fault: Fault,
}

/// Whether parts of a file are given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parts {
    /// They are.
    Any,
    /// Only all of it at once: who asks may hold a part that is not of this file.
    Whole,
}

impl Large {
    /// What does not verify can only be let through if nothing of it was sent: with [`Mode::Warn`] no file is large.
    pub(super) fn new(mode: Mode) -> Self {
        let from = if mode == Mode::Warn { u64::MAX } else { FROM };
        Self { from, coming: Mutex::default(), broken: Mutex::default() }
    }

    pub(super) fn is(&self, found: &Found) -> bool {
        found.target.length >= self.from
    }

    /// A file that is coming, or just came, to be read from its first byte.
    pub(super) fn join(&self, name: &str, found: &Found) -> Option<Arriving> {
        let mut coming = lock(&self.coming);
        let joined = coming.get(name).filter(|file| *file.target() == found.target)?.again();
        if joined.is_none() {
            coming.remove(name);
        }
        joined
    }

    /// From now on it can be joined.
    pub(super) fn comes(&self, name: &str, file: &Arriving) {
        if let Some(file) = file.again() {
            lock(&self.coming).insert(name.to_owned(), file);
        }
    }

    /// It came, or not; who asks from now on looks elsewhere.
    pub(super) fn came(&self, name: &str) {
        lock(&self.coming).remove(name);
    }

    /// It did not come right.
    pub(super) fn broke(&self, name: &str, now: SystemTime, fault: Fault) {
        let mut broken = lock(&self.broken);
        broken.retain(|_, broken| broken.holds(now));
        if broken.len() >= MAX_BROKEN {
            broken.clear();
        }
        broken.insert(name.to_owned(), Broken { at: now, fault });
    }

    /// What of it may be given out, or why nothing.
    pub(super) fn allowed(&self, name: &str, now: SystemTime) -> Result<Parts, Fault> {
        match lock(&self.broken).get(name).filter(|broken| broken.holds(now)) {
            None => Ok(Parts::Any),
            Some(broken) if wrong(&broken.fault) => Err(broken.fault.clone()),
            Some(_) => Ok(Parts::Whole),
        }
    }
}

impl Broken {
    fn holds(&self, now: SystemTime) -> bool {
        // A clock that was set back forgets nothing.
        now.duration_since(self.at).map_or(true, |age| age < MEMORY)
    }
}

/// Whether the bytes that came were not those that were signed; else none came, or not all.
fn wrong(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Client(
            ClientError::File(
                FileError::WrongHash { .. } | FileError::WrongLength { .. } | FileError::Changed { .. }
            ) | ClientError::Fetch(FetchError::TooLarge { .. })
        )
    )
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
