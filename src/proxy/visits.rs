//! Who asks, and what was begun for them.
//!
//! Anyone on a machine can ask `proxy`. What an index gave to one login is given to nobody else: each login that requests
//! show has a session of its own, with its pages, begun by the index's own answer to that very login and begun anew as often as
//! any session. The login itself goes with the request that showed it. What stays is a keyed digest, by which the next
//! request with the same login is known; so no comparison tells, by its time, anything about a login.
//!
//! All requests of an `exec` are one user's, and have one session.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::HeaderValue;
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Semaphore;

use super::page::{Budget, Pages};
use super::refusal::Fault;
use crate::client::{Client, ClientError, Credentials, Session};
use crate::crypto::{CryptoError, hmac_sha256, random};

/// After so long the network is tried again, if it failed.
const RETRY: TimeDelta = TimeDelta::seconds(10);
/// Logins of one index that have a session, at most: each holds metadata. With more, the one that was not used for longest
/// begins anew.
const MAX_LOGINS: usize = 16;
/// Bytes of delegated roles that a login's session holds, at most; what is forgotten is read again from disk.
pub(super) const MAX_ROLES: usize = 64 * 1_024 * 1_024;
/// Bytes of the digests' key.
const KEY: usize = 32;

/// By whom a request may have been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// The one user whose command `exec` runs.
    Command,
    /// Anyone on this machine.
    Anyone,
}

/// A login, as it is remembered; `None`: none was shown.
pub(super) type Mark = Option<[u8; 32]>;

/// See the module.
pub(super) struct Visits {
    /// Of this process alone: a digest tells nothing about a login.
    key: [u8; KEY],
    /// That of the command; or of all who show no login.
    common: Arc<Visit>,
    /// The last one was used last.
    logins: Mutex<Vec<([u8; 32], Arc<Visit>)>>,
    budget: Budget,
    /// Held while a login is tried that the index did not answer to before.
    newcomers: Semaphore,
}

/// What was begun.
pub(super) struct Visit {
    began: tokio::sync::Mutex<Option<Began>>,
    /// Whether the index answered to it.
    admitted: AtomicBool,
    /// Bytes of delegated roles that its session holds, at most.
    max_roles: usize,
}

/// A session, or why there is none.
struct Began {
    at: DateTime<Utc>,
    by: Mark,
    outcome: Result<Arc<Sitting>, ClientError>,
}

/// A session and its pages.
pub(super) struct Sitting {
    /// Shows nothing to anybody by itself.
    pub(super) shared: Session,
    pub(super) pages: Pages,
}

impl Visits {
    /// Nobody was here yet. The session of those who show no login holds so many bytes of roles, at most.
    pub(super) fn new(common: usize) -> Result<Self, CryptoError> {
        let (logins, budget, newcomers) = (Mutex::default(), Budget::default(), Semaphore::new(1));
        Ok(Self { key: random()?, common: Visit::holding(common), logins, budget, newcomers })
    }

    /// By what a login is known again.
    pub(super) fn mark(&self, login: Option<&HeaderValue>) -> Mark {
        login.map(|login| hmac_sha256(&self.key, login.as_bytes()))
    }

    /// Where the session is that a request may use.
    pub(super) fn of(&self, who: Who, mark: Mark) -> Arc<Visit> {
        let Some(digest) = mark.filter(|_| who == Who::Anyone) else { return Arc::clone(&self.common) };
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        let known = logins.iter().position(|(other, _)| *other == digest);
        let visit = known.map_or_else(|| Visit::holding(MAX_ROLES), |at| logins.remove(at).1);
        if logins.len() >= MAX_LOGINS {
            // A login that the index does not know displaces none that it knows.
            let unknown = logins.iter().position(|(_, visit)| !visit.admitted.load(Ordering::Relaxed));
            logins.remove(unknown.unwrap_or(0));
        }
        logins.push((digest, Arc::clone(&visit)));
        visit
    }

    /// The common session, if it has begun.
    pub(super) async fn session(&self) -> Option<Session> {
        let began = self.common.began.lock().await;
        let sitting = began.as_ref()?.outcome.as_ref().ok()?;
        Some(sitting.shared.clone())
    }

    /// The session of a visit: the one there is, unless it is to be renewed. It is begun with what the request showed.
    pub(super) async fn sitting(
        &self,
        visit: &Visit,
        by: Mark,
        client: impl FnOnce() -> Client + Send,
        now: DateTime<Utc>,
        renew: Option<TimeDelta>,
    ) -> Result<Arc<Sitting>, ClientError> {
        let mut began = visit.began.lock().await;
        if let Some(began) = began.as_ref().filter(|began| began.holds(by, now, renew)) {
            return began.outcome.clone();
        }
        // A login that the index did not answer to before waits for others like it: all of this user's programs share a lock.
        let known = by.is_none() || visit.admitted.load(Ordering::Relaxed);
        let _turn = if known { None } else { self.newcomers.acquire().await.ok() };
        let client = client();
        let outcome = client.refresh(now).await.map(|session| {
            let shared = session.showing(&Credentials::default()).holding(visit.max_roles);
            Arc::new(Sitting { shared, pages: Pages::within(&self.budget) })
        });
        visit.admitted.store(outcome.is_ok(), Ordering::Relaxed);
        *began = Some(Began { at: now, by, outcome: outcome.clone() });
        outcome
    }
}

impl Visit {
    fn holding(max_roles: usize) -> Arc<Self> {
        Arc::new(Self { began: tokio::sync::Mutex::default(), admitted: AtomicBool::default(), max_roles })
    }
}

impl Began {
    /// Whether it is used for one more request. That one login gets nothing says nothing about another one.
    fn holds(&self, by: Mark, now: DateTime<Utc>, renew: Option<TimeDelta>) -> bool {
        let age = now - self.at;
        let fresh =
            |life: Option<TimeDelta>| life.is_none_or(|life| (TimeDelta::zero()..life).contains(&age));
        match &self.outcome {
            Err(_) if self.by != by => false,
            Err(error) if Fault::from(error.clone()).wants_login() => false,
            Err(error) if Fault::from(error.clone()).may_pass() => fresh(Some(RETRY)),
            _ => fresh(renew),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(visits: &Visits, login: &'static str) -> Mark {
        visits.mark(Some(&HeaderValue::from_static(login)))
    }

    #[test]
    fn each_login_has_a_place_of_its_own_and_a_command_one_for_all() {
        let visits = Visits::new(usize::MAX).unwrap();
        let (ann, bob) = (mark(&visits, "Basic ann"), mark(&visits, "Basic bob"));
        let of = |mark| visits.of(Who::Anyone, mark);
        assert!(Arc::ptr_eq(&of(ann), &of(ann)) && Arc::ptr_eq(&of(None), &of(None)));
        assert!(!Arc::ptr_eq(&of(ann), &of(bob)) && !Arc::ptr_eq(&of(ann), &of(None)));
        assert!(Arc::ptr_eq(&visits.of(Who::Command, ann), &visits.of(Who::Command, None)));
    }

    #[test]
    fn another_process_knows_a_login_by_another_digest() {
        let (one, other) = (Visits::new(usize::MAX).unwrap(), Visits::new(usize::MAX).unwrap());
        assert_ne!(mark(&one, "Basic ann"), mark(&other, "Basic ann"));
        assert_eq!(mark(&one, "Basic ann"), mark(&one, "Basic ann"));
        assert_eq!(one.mark(None), None);
    }

    #[test]
    fn logins_that_nobody_knows_displace_none_that_the_index_answered_to() {
        let visits = Visits::new(usize::MAX).unwrap();
        let held = || visits.logins.lock().unwrap().len();
        let ann = mark(&visits, "Basic ann");
        let first = visits.of(Who::Anyone, ann);
        first.admitted.store(true, Ordering::Relaxed);
        let guess = |n: usize| visits.mark(Some(&HeaderValue::from_str(&format!("Basic {n}")).unwrap()));
        for n in 0..1_000 {
            drop(visits.of(Who::Anyone, guess(n)));
            assert!(held() <= MAX_LOGINS);
        }
        assert!(Arc::ptr_eq(&visits.of(Who::Anyone, ann), &first));
        for n in 0..MAX_LOGINS {
            visits.of(Who::Anyone, guess(n)).admitted.store(true, Ordering::Relaxed);
        }
        assert_eq!(held(), MAX_LOGINS);
        assert!(!Arc::ptr_eq(&visits.of(Who::Anyone, ann), &first), "the one not used for longest goes");
    }
}
