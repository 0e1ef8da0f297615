//! What is kept for how long, and how it goes.

use std::collections::BTreeSet;
use std::str::FromStr;

use chrono::{DateTime, Days, NaiveDate, Utc};

use super::event::{Event, Kind, Origin, Word};
use super::values::{Account, KeyName, ValueError};
use super::{Journal, JournalError, KeyFile, downloads};

/// Days of anything, at most: ten years.
const MAX_DAYS: u32 = 3_660;

/// For how many days what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Uploads: a year, in which most compromises come to light.
    pub uploads: u32,
    /// Refusals: a month; they help maintainers who ask why.
    pub refusals: u32,
    /// Uses of tokens: three months, to find what a stolen one did.
    pub tokens: u32,
    /// Claims: a year, as uploads.
    pub claims: u32,
    /// Blocks: three months, the longest that a block lasts.
    pub blocks: u32,
    /// Hashes of addresses, countries and cities, in whatever event: a month. Abuse is dealt with by then.
    pub addresses: u32,
    /// Sums of downloads: two years, to compare a year with the one before.
    pub downloads: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            uploads: 365,
            refusals: 30,
            tokens: 90,
            claims: 365,
            blocks: 90,
            addresses: 30,
            downloads: 730,
        }
    }
}

/// One number of days, as `KIND=DAYS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    what: What,
    days: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Uploads,
    Refusals,
    Tokens,
    Claims,
    Blocks,
    Addresses,
    Downloads,
}

impl Word for What {
    const WORDS: &'static [(Self, &'static str)] = &[
        (Self::Uploads, "uploads"),
        (Self::Refusals, "refusals"),
        (Self::Tokens, "tokens"),
        (Self::Claims, "claims"),
        (Self::Blocks, "blocks"),
        (Self::Addresses, "addresses"),
        (Self::Downloads, "downloads"),
    ];
}

impl FromStr for Kept {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let shape = ValueError {
            what: "time to keep",
            expected: "KIND=DAYS, of uploads, refusals, tokens, claims, blocks, addresses, downloads; up to 3660 days",
        };
        let (what, days) = text.split_once('=').ok_or(shape)?;
        let days: u32 = days.parse().map_err(|_| shape)?;
        if days > MAX_DAYS {
            return Err(shape);
        }
        Ok(Self { what: What::of(what).ok_or(shape)?, days })
    }
}

impl Retention {
    /// With another number of days.
    pub fn with(mut self, kept: Kept) -> Self {
        *match kept.what {
            What::Uploads => &mut self.uploads,
            What::Refusals => &mut self.refusals,
            What::Tokens => &mut self.tokens,
            What::Claims => &mut self.claims,
            What::Blocks => &mut self.blocks,
            What::Addresses => &mut self.addresses,
            What::Downloads => &mut self.downloads,
        } = kept.days;
        self
    }

    /// The days of a kind of events. That some were left out is kept as long as refusals: it is they that come in floods.
    pub fn days(&self, kind: Kind) -> u32 {
        match kind {
            Kind::Upload => self.uploads,
            Kind::Refusal | Kind::Omitted => self.refusals,
            Kind::Token => self.tokens,
            Kind::Claim => self.claims,
            Kind::Block => self.blocks,
        }
    }
}

/// What has gone, or would go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expired {
    /// Files of events and of sums.
    pub files: Vec<String>,
    /// Events that lost their origin.
    pub origins: usize,
    /// Keys.
    pub keys: Vec<KeyName>,
}

/// A file of events: its name, and of which kind and day they are.
type Day = (String, Kind, NaiveDate);

impl Journal {
    /// Removes what has been kept for long enough: days, origins of events, blocks that are over, then keys that nothing
    /// needs any more. A day is kept as long as any part of it is young enough.
    pub fn expire(
        &self,
        retention: &Retention,
        keys: Option<&KeyFile>,
        now: DateTime<Utc>,
    ) -> Result<Expired, JournalError> {
        // Before anybody must wait: reading old days takes longest, and nothing is added to them.
        let (mut expired, days) = self.overdue(retention, now)?;
        let locked = self.folder.lock()?;
        locked.tidy()?;
        for name in &expired.files {
            locked.remove(name)?;
        }
        for (name, kind, day) in days {
            let bare = |event: Event| Event { origin: stripped(kind, event.origin.clone()), ..event };
            self.rewrite(&locked, &name, (kind, day), |event| Some(bare(event)))?;
        }
        drop(locked);
        let blocks = self.drop_old_blocks(now)?;
        if let Some(keys) = keys {
            let mut in_use: BTreeSet<KeyName> =
                blocks.iter().map(|block| block.address.key().clone()).collect();
            // Day by day: all of them together may be more than there is memory.
            for (name, kind, day) in self.days()? {
                let events = self.day(&name, kind, day)?.events;
                let keys =
                    events.iter().filter_map(|event| Some(event.origin.address.as_ref()?.key().clone()));
                in_use.extend(keys);
            }
            expired.keys = keys.destroy(&in_use)?;
        }
        Ok(expired)
    }

    /// What [`expire`](Self::expire) would do to files and events.
    pub fn expiring(&self, retention: &Retention, now: DateTime<Utc>) -> Result<Expired, JournalError> {
        Ok(self.overdue(retention, now)?.0)
    }

    /// With it, the days that are to be written anew.
    fn overdue(
        &self,
        retention: &Retention,
        now: DateTime<Utc>,
    ) -> Result<(Expired, Vec<Day>), JournalError> {
        let (mut expired, mut days_to_strip) = (Expired::default(), Vec::new());
        for (name, kind, day) in self.days()? {
            if day < first(now, retention.days(kind)) {
                expired.files.push(name);
            } else if day < first(now, retention.addresses) {
                let found = self.day(&name, kind, day)?;
                let changes = |event: &&Event| stripped(kind, event.origin.clone()) != event.origin;
                let origins = found.events.iter().filter(changes).count();
                expired.origins += origins;
                if origins > 0 || found.unreadable > 0 {
                    days_to_strip.push((name, kind, day));
                }
            }
        }
        let days = self.days_of_downloads()?.into_iter();
        let old = days.filter(|day| *day < first(now, retention.downloads));
        expired.files.extend(old.map(downloads::name));
        Ok((expired, days_to_strip))
    }

    /// Removes every event about an account. How many there were.
    pub fn erase(&self, account: &Account) -> Result<usize, JournalError> {
        let (mut erased, locked) = (0, self.folder.lock()?);
        locked.tidy()?;
        for (name, kind, day) in self.days()? {
            let others = |event: Event| (event.account() != Some(account)).then_some(event);
            erased += self.rewrite(&locked, &name, (kind, day), others)?;
        }
        Ok(erased)
    }

    /// Writes a day anew with what `keep` makes of its events, if that is anything else. Lines that are no events go too:
    /// what they say is not known. How many events have gone.
    fn rewrite(
        &self,
        locked: &super::folder::Locked<'_>,
        name: &str,
        (kind, day): (Kind, NaiveDate),
        keep: impl Fn(Event) -> Option<Event>,
    ) -> Result<usize, JournalError> {
        let found = self.day(name, kind, day)?;
        let kept: Vec<Event> = found.events.iter().cloned().filter_map(keep).collect();
        let gone = found.events.len() - kept.len();
        if kept == found.events && found.unreadable == 0 {
            return Ok(0);
        }
        if kept.is_empty() {
            locked.remove(name)?;
        } else {
            let lines: Vec<String> = kept.iter().map(Event::line).collect();
            locked.replace(name, format!("{}\n", lines.join("\n")).as_bytes())?;
        }
        Ok(gone)
    }
}

/// The first day that is kept.
fn first(now: DateTime<Utc>, days: u32) -> NaiveDate {
    now.date_naive().checked_sub_days(Days::new(days.into())).unwrap_or(NaiveDate::MIN)
}

/// A block is of an address: without one it would say nothing, so it keeps it for its own days.
fn stripped(kind: Kind, origin: Origin) -> Origin {
    if kind == Kind::Block { origin } else { Origin::default() }
}
