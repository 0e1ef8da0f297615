//! How much one address may read in a minute. Of an address only a hash is held, under a key that lives in memory alone and ends with
//! the process; with the first request after two minutes without one, nothing is left of it.
//!
//! Each address has a bucket that a minute fills: who has asked for little for a while may ask for a minute's worth at once, as
//! installers do. What comes from this machine is not counted: it is a program of the operator, or a proxy that was not
//! named by `--trusted-proxy`, behind which everybody would share one bucket.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use zeroize::Zeroizing;

use super::watch::Watch;
use crate::journal::Address;

/// Microseconds in which a bucket fills.
const FULL: i64 = 60 * 1_000_000;
/// Two minutes, in microseconds: what was counted before that is full again.
const MINUTES: i64 = 2 * FULL;
/// Addresses known of one minute, at most: 100,000 take some 10 MB. More are let through: to turn all others away would
/// be an attacker's aim.
const MAX_COUNTED: usize = 100_000;
/// What is not counted: probes of the operator.
const FREE: [&str; 2] = ["/healthz", "/metrics"];

/// See the module.
pub(super) struct Reads {
    /// Microseconds of its bucket that a request takes.
    cost: i64,
    key: Zeroizing<[u8; 32]>,
    table: Mutex<Table>,
}

/// When the bucket of each address will be full again, in microseconds of the clock. Who did not ask in the minute before this
/// one has a full one, and is forgotten.
#[derive(Default)]
struct Table {
    began: i64,
    now: HashMap<[u8; 32], i64>,
    before: HashMap<[u8; 32], i64>,
}

impl Reads {
    /// Bears so many requests of one address in a minute; `key` hashes addresses.
    pub(super) fn new(per_minute: u32, key: [u8; 32]) -> Self {
        let cost = FULL / i64::from(per_minute.max(1));
        Self { cost, key: Zeroizing::new(key), table: Mutex::default() }
    }

    /// Counts a request; if it is one too many, the seconds until there is room for it.
    pub(super) fn count(&self, address: &Address, now: DateTime<Utc>) -> Result<(), i64> {
        let (name, now) = (address.code(self.key.as_slice()), now.timestamp_micros());
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.turn(now);
        let full_at = table.now.get(&name).or_else(|| table.before.get(&name)).copied();
        // A clock that was set back fills a bucket too.
        let full_at = full_at.filter(|full_at| (now..=now + FULL).contains(full_at)).unwrap_or(now);
        let after = full_at.saturating_add(self.cost);
        if after > now + FULL {
            return Err((after - now - FULL).div_euclid(1_000_000) + 1);
        }
        if table.now.len() < MAX_COUNTED || table.now.contains_key(&name) {
            table.now.insert(name, after);
        }
        Ok(())
    }
}

impl Table {
    fn turn(&mut self, now: i64) {
        match now - self.began {
            0..FULL => {}
            FULL..=MINUTES => {
                *self = Self { began: now, before: std::mem::take(&mut self.now), now: HashMap::new() }
            }
            _ => *self = Self { began: now, ..Self::default() },
        }
    }
}

/// Answers who has asked for too much that it is too much.
pub(super) async fn bounded(State(watch): State<Arc<Watch>>, request: Request, next: Next) -> Response {
    let free = FREE.contains(&request.uri().path());
    match watch.bears_reading(request.extensions(), request.headers()) {
        Err(seconds) if !free => too_often(seconds),
        _ => next.run(request).await,
    }
}

fn too_often(seconds: i64) -> Response {
    let text = format!("too many requests from your network: try again in {seconds} s\n");
    let mut response = (StatusCode::TOO_MANY_REQUESTS, text).into_response();
    let fields = response.headers_mut();
    fields.insert(RETRY_AFTER, HeaderValue::from(seconds));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use chrono::TimeDelta;

    use super::*;

    fn address(text: &str) -> Address {
        Address::of(text.parse::<IpAddr>().unwrap())
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_000_000, 0).unwrap() + TimeDelta::seconds(seconds)
    }

    fn borne(reads: &Reads, who: &str, second: i64) -> usize {
        (0..1_000).take_while(|_| reads.count(&address(who), at(second)).is_ok()).count()
    }

    #[test]
    fn a_minutes_worth_at_once_and_then_as_it_fills() {
        let reads = Reads::new(60, [1; 32]);
        assert_eq!(borne(&reads, "203.0.113.5", 0), 60);
        assert_eq!(reads.count(&address("203.0.113.5"), at(0)), Err(2));
        assert_eq!(borne(&reads, "203.0.113.5", 10), 10);
        assert_eq!(borne(&reads, "203.0.113.5", 59), 49);
        assert_eq!(borne(&reads, "203.0.113.5", 61), 2);
        assert_eq!(borne(&reads, "203.0.113.5", 125), 60);
        assert_eq!(borne(&reads, "198.51.100.1", 125), 60, "another address has a bucket of its own");
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let reads = Reads::new(60, [1; 32]);
        assert_eq!(borne(&reads, "2001:db8::1", 0), 60);
        assert_eq!(borne(&reads, "2001:db8::ffff:2", 0), 0);
        assert_eq!(borne(&reads, "2001:db8:0:1::1", 0), 60);
    }

    #[test]
    fn a_clock_that_was_set_shuts_nobody_out() {
        let reads = Reads::new(60, [1; 32]);
        assert_eq!(borne(&reads, "203.0.113.5", 100_000), 60);
        assert_eq!(borne(&reads, "203.0.113.5", 0), 60);
        assert_eq!(borne(&reads, "203.0.113.5", 200_000), 60);
    }

    #[test]
    fn nobody_is_remembered_for_long_and_the_table_is_bounded() {
        let reads = Reads::new(60, [1; 32]);
        for number in 0..u32::try_from(MAX_COUNTED).unwrap() + 10 {
            let who = Address::of(IpAddr::from(number.to_be_bytes()));
            assert_eq!(reads.count(&who, at(0)), Ok(()));
        }
        assert_eq!(reads.table.lock().unwrap().now.len(), MAX_COUNTED);
        assert_eq!(borne(&reads, "203.0.113.5", 0), 1_000, "more addresses than are known are let through");
        assert_eq!(borne(&reads, "203.0.113.5", 61), 60);
        assert_eq!(borne(&reads, "203.0.113.5", 500), 60);
        let table = reads.table.lock().unwrap();
        assert_eq!((table.now.len(), table.before.len()), (1, 0));
    }
}
