//! Who asks, for as long as a request lasts: the address is read here and nowhere else, for a keyed hash of it in the
//! [journal](crate::journal), and to bear no more from one address than can be borne.
//!
//! An address that a header names counts only if the connection comes from a trusted proxy. Headers of others are not
//! looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::header::FORWARDED;
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use ipnet::IpNet;
use zeroize::Zeroizing;

use super::reads::Reads;
use crate::crypto::{CryptoError, random};
use crate::journal::{
    Account, Address, AddressHash, Cell, City, ClaimChange, Country, Deed, Digest, Event, FileName, Journal,
    KeyFile, Kind, Minute, Origin, Outcome, Reason, Recorder, TokenUse,
};
use crate::python::ProjectName;
use crate::web::Peer;

/// Addresses in a header that are looked at, from the right: no chain of trusted proxies is that long.
const MAX_CHAIN: usize = 32;
/// Bytes of a hash that a proxy made: at least 64 bits, at most SHA-512.
const HASH_BYTES: std::ops::RangeInclusive<usize> = 8..=64;
/// Addresses counted at once, at most.
const MAX_COUNTED: usize = 100_000;
/// Accounts and addresses known to have used a token today, at most. After that a use may be written down again.
const MAX_SEEN: usize = 100_000;

/// Who may say where a request comes from, and how.
#[derive(Debug, Clone, Default)]
pub struct Visitors {
    /// Networks of proxies that are believed.
    pub trusted: Vec<IpNet>,
    /// The header with the chain of addresses.
    pub address: Option<HeaderName>,
    /// The header with a hash of the address, which then counts instead.
    pub hash: Option<HeaderName>,
    /// The header with the country.
    pub country: Option<HeaderName>,
    /// The header with the city.
    pub city: Option<HeaderName>,
}

/// Who asks.
#[derive(Default)]
pub(super) struct Visitor {
    pub(super) address: Option<Address>,
    pub(super) country: Option<Country>,
    city: Option<City>,
}

impl Visitors {
    pub(super) fn visitor(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Visitor {
        let Some(peer) = peer.map(|ip| ip.to_canonical()) else {
            return Visitor::default();
        };
        if !self.trusts(peer) {
            return Visitor { address: Some(Address::of(peer)), ..Visitor::default() };
        }
        let address = match (&self.hash, &self.address) {
            (Some(name), _) => one(headers, name).and_then(hashed),
            (None, Some(name)) => self.chained(headers, name).map(Address::of),
            (None, None) => None,
        };
        let city = self.city.as_ref().and_then(|name| one(headers, name)?.parse().ok());
        Visitor { address, country: self.country(headers), city }
    }

    fn country(&self, headers: &HeaderMap) -> Option<Country> {
        one(headers, self.country.as_ref()?)?.parse().ok()
    }

    fn trusts(&self, ip: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&ip))
    }

    /// The right-most address that is not a trusted proxy's own. What stands left of it was said by a stranger, and whatever
    /// it is, it does not keep the rest from being read.
    fn chained(&self, headers: &HeaderMap, name: &HeaderName) -> Option<IpAddr> {
        let values: Vec<&HeaderValue> = headers.get_all(name).iter().collect();
        let parts = values.iter().rev().flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','));
        let mut last = None;
        for part in parts.take(MAX_CHAIN) {
            let text = std::str::from_utf8(part).ok();
            let text =
                text.and_then(|text| if *name == FORWARDED { forwarded_for(text) } else { Some(text) });
            // Who wrote that stands to its right.
            let Some(ip) = text.and_then(|text| ip(text.trim())) else { return last };
            let ip = ip.to_canonical();
            if !self.trusts(ip) {
                return Some(ip);
            }
            last = Some(ip);
        }
        last
    }
}

/// The value of a header that is there once.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    // Names of cities may have letters that are not ASCII.
    std::str::from_utf8(value.as_bytes()).ok().map(str::trim)
}

fn hashed(digits: &str) -> Option<Address> {
    let digest = Zeroizing::new(hex::decode(digits).ok()?);
    HASH_BYTES.contains(&digest.len()).then(|| Address::hashed(&digest))
}

/// The node in `for=NODE` of an element (RFC 7239).
fn forwarded_for(element: &str) -> Option<&str> {
    let pair = |part: &'_ str| part.trim().split_once('=').map(|(name, _)| name.eq_ignore_ascii_case("for"));
    let part = element.split(';').find(|part| pair(part) == Some(true))?;
    part.split_once('=').map(|(_, node)| node.trim().trim_matches('"'))
}

/// An address as proxies write it: with a port or without.
fn ip(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare.parse().ok().or_else(with_port)
}

/// What is known of an upload so far, for the journal.
#[derive(Default)]
pub(super) struct Note {
    visitor: Visitor,
    pub(super) account: Option<Account>,
    pub(super) token: Option<TokenUse>,
    /// Once the token is known to be for it.
    pub(super) about: Option<About>,
}

/// What an upload is about.
pub(super) enum About {
    /// A file.
    File(FileName, Digest),
    /// What maintainers signed for their project.
    Project(ProjectName),
}

impl About {
    fn project(&self) -> &ProjectName {
        match self {
            Self::File(file, _) => file.project(),
            Self::Project(project) => project,
        }
    }
}

/// Uploads and wrong tokens of one address.
struct Rates {
    /// In a minute.
    max: u32,
    /// For each address, hashed with a key that nobody keeps: when its minute began, and how often it came.
    /// Those with a good token apart.
    counts: Mutex<BTreeMap<(bool, [u8; 32]), Count>>,
    key: Zeroizing<[u8; 32]>,
}

/// How often one address came.
struct Count {
    began: DateTime<Utc>,
    times: u32,
}

/// Where is written down what happens.
struct Book {
    journal: Journal,
    keys: Arc<KeyFile>,
    recorder: Recorder,
    seen: Mutex<Seen>,
}

/// Which account was used from where on one day.
#[derive(Default)]
struct Seen {
    day: NaiveDate,
    uses: BTreeSet<(Account, Option<AddressHash>)>,
}

/// See the module.
pub struct Watch {
    visitors: Visitors,
    rates: Rates,
    /// None: reading is not bounded.
    reads: Option<Reads>,
    book: Option<Book>,
    clock: fn() -> DateTime<Utc>,
}

/// How an upload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The file was taken.
    Taken(Outcome),
    /// What maintainers signed was taken.
    Signed(ClaimChange),
    /// It was not.
    Refused(Reason),
    /// As the ones before it in the same minute: counted, and not written down one by one.
    RefusedAgain,
    /// The token is good, and for other projects. Which one was asked for is not kept: it may be any words.
    NotForProject,
}

/// Why a visitor is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turned {
    /// Shut out by an admin.
    Blocked,
    /// Came too often. Only the first such time in a minute is written down.
    TooOften { first: bool },
}

impl Watch {
    /// Bears so many uploads and wrong tokens of one address in a minute, and writes nothing down.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn new(
        visitors: Visitors,
        per_minute: u32,
        clock: fn() -> DateTime<Utc>,
    ) -> Result<Self, CryptoError> {
        let rates = Rates { max: per_minute, counts: Mutex::default(), key: Zeroizing::new(random()?) };
        Ok(Self { visitors, rates, reads: None, book: None, clock })
    }

    /// Bears so many requests to read of one address in a minute.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn reading(self, per_minute: u32) -> Result<Self, CryptoError> {
        Ok(Self { reads: Some(Reads::new(per_minute, random()?)), ..self })
    }

    /// Writes down what happens.
    pub fn journalling(self, journal: Journal, keys: Arc<KeyFile>, recorder: Recorder) -> Self {
        Self { book: Some(Book { journal, keys, recorder, seen: Mutex::default() }), ..self }
    }

    /// The thread that writes.
    pub fn recorder(&self) -> Option<&Recorder> {
        self.book.as_ref().map(|book| &book.recorder)
    }

    /// Who sends a request.
    pub(super) fn visitor(&self, extensions: &Extensions, headers: &HeaderMap) -> Visitor {
        self.visitors.visitor(extensions.get::<Peer>().map(|peer| peer.0), headers)
    }

    /// The country of a request, if a trusted proxy tells it. Of the address it is asked only whether it is such a proxy's.
    pub(super) fn country(&self, extensions: &Extensions, headers: &HeaderMap) -> Option<Country> {
        let peer = extensions.get::<Peer>()?.0.to_canonical();
        if self.visitors.trusts(peer) { self.visitors.country(headers) } else { None }
    }

    /// A file was sent.
    pub(super) fn downloaded(&self, cell: Cell) {
        if let Some(book) = &self.book {
            book.recorder.downloads().count((self.clock)().date_naive(), cell);
        }
    }

    /// An upload begins.
    pub(super) fn note(&self, extensions: &Extensions, headers: &HeaderMap) -> Note {
        Note { visitor: self.visitor(extensions, headers), ..Note::default() }
    }

    /// Whether an upload is borne from there. Those with a good token are counted apart, so who guesses shuts nobody else
    /// out who has the same address.
    pub(super) fn bears(&self, note: &Note) -> Result<(), Turned> {
        let Some(address) = &note.visitor.address else { return Ok(()) };
        if self.blocked(address) {
            return Err(Turned::Blocked);
        }
        self.rates.count(note.token == Some(TokenUse::Accepted), address, (self.clock)())
    }

    /// Whether a request to read is borne; if not, the seconds until it is. This machine itself is not counted.
    pub(super) fn bears_reading(&self, extensions: &Extensions, headers: &HeaderMap) -> Result<(), i64> {
        let (Some(reads), Some(Peer(peer))) = (&self.reads, extensions.get::<Peer>()) else { return Ok(()) };
        let peer = peer.to_canonical();
        if peer.is_loopback() && !self.visitors.trusts(peer) {
            return Ok(());
        }
        let address = self.visitors.visitor(Some(peer), headers).address;
        address.map_or(Ok(()), |address| reads.count(&address, (self.clock)()))
    }

    /// A list of blocks that cannot be read blocks nobody: the journal is no gate.
    fn blocked(&self, address: &Address) -> bool {
        let Some(book) = &self.book else { return false };
        let blocks = book.journal.blocks().unwrap_or_default();
        let now = (self.clock)();
        let mut lasting = blocks.iter().filter(|block| now < block.until.time()).peekable();
        if lasting.peek().is_none() {
            return false;
        }
        let Ok(Some(keys)) = book.keys.keys() else { return false };
        lasting.any(|block| keys.hash_under(block.address.key(), address).as_ref() == Some(&block.address))
    }

    /// An upload has ended.
    pub(super) fn tell(&self, note: &Note, ended: Ended) {
        let Some(book) = &self.book else { return };
        let token = if ended == Ended::NotForProject { Some(TokenUse::NotForProject) } else { note.token };
        if ended == Ended::RefusedAgain {
            return book.recorder.omit(Kind::Refusal);
        }
        let (now, account) = ((self.clock)(), note.account.clone());
        let origin = book.origin(&note.visitor, now);
        let write = |deed| book.recorder.note(Event::new(Minute::of(now), origin.clone(), deed));
        if let Some(what) = token
            && (what != TokenUse::Accepted || book.first_today(now.date_naive(), account.as_ref(), &origin))
        {
            write(Deed::Token { what, account: account.clone() });
        }
        match (ended, &note.about) {
            (Ended::Taken(what), Some(About::File(file, sha256))) => {
                write(Deed::Upload { what, account, file: file.clone(), sha256: *sha256 });
            }
            (Ended::Signed(what), Some(about)) => {
                write(Deed::Claim { what, account, project: about.project().clone() });
            }
            // What a bad token has to do with a refusal was said as a use of that token.
            (Ended::Refused(what), about) if matches!(token, None | Some(TokenUse::Accepted)) => {
                let project = about.as_ref().map(|about| about.project().clone());
                write(Deed::Refusal { what, account, project });
            }
            _ => {}
        }
    }

    /// Waits until everything is written down.
    pub(super) fn close(&self) {
        if let Some(book) = &self.book {
            book.recorder.close();
        }
    }
}

impl Rates {
    fn count(&self, good: bool, address: &Address, now: DateTime<Utc>) -> Result<(), Turned> {
        let name = (good, address.code(self.key.as_slice()));
        // A clock that was set back ends a minute too.
        let over =
            |began: DateTime<Utc>| !(TimeDelta::zero()..TimeDelta::minutes(1)).contains(&(now - began));
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= MAX_COUNTED {
            counts.retain(|_, count| !over(count.began));
            // So many addresses at once: to turn all others away would be the attacker's aim.
            if counts.len() >= MAX_COUNTED && !counts.contains_key(&name) {
                return Ok(());
            }
        }
        let count = counts.entry(name).or_insert(Count { began: now, times: 0 });
        if over(count.began) {
            *count = Count { began: now, times: 0 };
        }
        count.times = count.times.saturating_add(1);
        let first = count.times == self.max.saturating_add(1);
        if count.times > self.max { Err(Turned::TooOften { first }) } else { Ok(()) }
    }
}

impl Book {
    /// Keys that cannot be used are no reason to write an address down in another way: there is none then.
    fn origin(&self, visitor: &Visitor, now: DateTime<Utc>) -> Origin {
        let address = visitor.address.as_ref().and_then(|address| self.keys.current(now).ok()?.hash(address));
        Origin { address, country: visitor.country.clone(), city: visitor.city.clone() }
    }

    fn first_today(&self, today: NaiveDate, account: Option<&Account>, origin: &Origin) -> bool {
        let Some(account) = account else { return true };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.day != today || seen.uses.len() >= MAX_SEEN {
            *seen = Seen { day: today, uses: BTreeSet::new() };
        }
        seen.uses.insert((account.clone(), origin.address.clone()))
    }
}
