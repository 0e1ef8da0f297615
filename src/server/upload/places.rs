//! Places for what is read at the same time, all of them together and those of one token.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::refusal::Refused;

/// See the module.
pub(super) struct Places {
    all: usize,
    each: usize,
    taken: Mutex<Taken>,
    freed: Notify,
}

#[derive(Default)]
struct Taken {
    all: usize,
    /// By token; those with none are not in it.
    by: BTreeMap<String, usize>,
}

/// A place, until it is dropped.
pub(super) struct Place<'a> {
    places: &'a Places,
    token: String,
}

impl Places {
    /// So many in all, and at most so many for each token: one that leaks, or a job that runs wild, leaves room for others.
    pub(super) fn new(all: usize, each: usize) -> Self {
        Self { all, each: each.max(1), taken: Mutex::default(), freed: Notify::new() }
    }

    /// A place for a request with this token.
    pub(super) fn take(&self, token: &str) -> Result<Place<'_>, Refused> {
        let mut held = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = held.by.get(token).copied().unwrap_or(0);
        if held.all >= self.all || own >= self.each {
            return Err(Refused::Busy);
        }
        held.all += 1;
        held.by.insert(token.to_owned(), own + 1);
        Ok(Place { places: self, token: token.to_owned() })
    }

    /// The same, which waits for one.
    pub(super) async fn take_within(&self, token: &str, wait: Duration) -> Result<Place<'_>, Refused> {
        let patient = async {
            loop {
                let mut freed = pin!(self.freed.notified());
                freed.as_mut().enable();
                if let Ok(place) = self.take(token) {
                    return place;
                }
                freed.await;
            }
        };
        timeout(wait, patient).await.map_err(|_| Refused::Busy)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(1);
        match taken.by.get_mut(&self.token) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(taken.by.remove(&self.token)),
        }
        drop(taken);
        self.places.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_token_leaves_places_for_others() {
        let places = Places::new(16, 14);
        let mut held: Vec<_> = (0..14).map(|_| places.take("one").unwrap()).collect();
        assert_eq!(places.take("one").err(), Some(Refused::Busy));
        held.extend([places.take("two").unwrap(), places.take("three").unwrap()]);
        assert_eq!(places.take("four").err(), Some(Refused::Busy), "there are 16 in all");
        drop(held.remove(0));
        assert!(places.take("four").is_ok());
        drop(held);
        assert_eq!(places.taken.lock().unwrap().by.len(), 0);
        assert_eq!(places.taken.lock().unwrap().all, 0);
    }

    #[tokio::test]
    async fn who_waits_has_the_place_that_becomes_free() {
        let (places, long) = (Places::new(1, 1), Duration::from_mins(1));
        let held = places.take("one").unwrap();
        assert_eq!(places.take_within("two", Duration::ZERO).await.err(), Some(Refused::Busy));
        let (taken, ()) = tokio::join!(places.take_within("two", long), async { drop(held) });
        assert!(taken.is_ok());
    }

    #[test]
    fn a_single_place_is_for_anyone() {
        let places = Places::new(1, 0);
        let held = places.take("one").unwrap();
        assert_eq!(places.take("two").err(), Some(Refused::Busy));
        drop(held);
        assert!(places.take("one").is_ok());
    }
}
