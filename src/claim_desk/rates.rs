//! How many claims are taken in a while, and at once. Counted in memory alone: nothing says later who sent what.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};

use super::DeskError;
use crate::python::ProjectName;

/// Requests of one address in a minute.
const OF_ADDRESS: u32 = 60;
/// New claims and commitments of one project in an hour.
const OF_PROJECT: u32 = 240;
/// Requests that one address sends at once.
const OPEN_EACH: usize = 2;
/// Requests that are sent at once, of all addresses: each may be a megabyte.
const OPEN: usize = 64;
/// Addresses, or projects, counted at once, at most. More than that are refused until others are forgotten.
const MAX_COUNTED: usize = 100_000;

/// Since when, and how often.
type Counts<K> = Mutex<BTreeMap<K, (DateTime<Utc>, u32)>>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Rates {
    addresses: Counts<IpAddr>,
    projects: Counts<ProjectName>,
    open: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

/// A place for a request, until it is dropped.
#[derive(Debug)]
pub(crate) struct Open {
    open: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
    network: IpAddr,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match open.get_mut(&self.network) {
            Some(count) if *count > 1 => *count = count.saturating_sub(1),
            _ => drop(open.remove(&self.network)),
        }
    }
}

impl Rates {
    pub(super) fn open(&self, address: IpAddr) -> Result<Open, DeskError> {
        let network = network(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let own = open.get(&network).copied().unwrap_or(0);
        if own >= OPEN_EACH || open.values().sum::<usize>() >= OPEN {
            return Err(DeskError::TooMany("at once, try again"));
        }
        open.insert(network, own.saturating_add(1));
        Ok(Open { open: Arc::clone(&self.open), network })
    }

    pub(super) fn address(&self, address: IpAddr, now: DateTime<Utc>) -> Result<(), DeskError> {
        let counted = count(&self.addresses, network(address), OF_ADDRESS, TimeDelta::minutes(1), now);
        if counted { Ok(()) } else { Err(DeskError::TooMany("from one address, try again in a minute")) }
    }

    pub(super) fn project(&self, project: &ProjectName, now: DateTime<Utc>) -> Result<(), DeskError> {
        let counted = count(&self.projects, project.clone(), OF_PROJECT, TimeDelta::hours(1), now);
        if counted { Ok(()) } else { Err(DeskError::TooMany("of one project, try again in an hour")) }
    }
}

/// One host may have all addresses of a network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        address @ IpAddr::V4(_) => address,
    }
}

fn count<K: Ord>(counts: &Counts<K>, key: K, most: u32, span: TimeDelta, now: DateTime<Utc>) -> bool {
    // A clock that was set back ends a span too.
    let over = |began: DateTime<Utc>| !(TimeDelta::zero()..span).contains(&(now - began));
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    if counts.len() >= MAX_COUNTED {
        counts.retain(|_, (began, _)| !over(*began));
    }
    if counts.len() >= MAX_COUNTED && !counts.contains_key(&key) {
        return false;
    }
    let (began, count) = counts.entry(key).or_insert((now, 0));
    if over(*began) {
        (*began, *count) = (now, 0);
    }
    *count = count.saturating_add(1);
    *count <= most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_of_a_minute_and_its_network_is_one() {
        let (rates, now) = (Rates::default(), DateTime::<Utc>::UNIX_EPOCH);
        let host = |digits: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, digits]);
        for number in 0..OF_ADDRESS {
            rates.address(host(u16::try_from(number).unwrap()), now).unwrap();
        }
        assert!(rates.address(host(7), now).is_err());
        assert!(rates.address([192, 0, 2, 1].into(), now).is_ok());
        assert!(rates.address(host(7), now + TimeDelta::minutes(1)).is_ok());
    }

    #[test]
    fn who_sends_slowly_leaves_places_for_others() {
        let rates = Rates::default();
        let host = |digit: u8| IpAddr::from([192, 0, 2, digit]);
        let held: Vec<Open> = (0..OPEN_EACH).map(|_| rates.open(host(1)).unwrap()).collect();
        assert!(rates.open(host(1)).is_err());
        assert!(rates.open(host(2)).is_ok());
        drop(held);
        assert!(rates.open.lock().unwrap().is_empty());
        let all: Vec<Open> =
            (0..OPEN).map(|number| rates.open(host(u8::try_from(number).unwrap())).unwrap()).collect();
        assert!(rates.open(host(200)).is_err(), "there are {} in all", all.len());
    }
}
