//! The journal of `serve`: what happened to uploads, tokens and claims, without who it was.
//!
//! | file | what |
//! |---|---|
//! | `event` | the closed set of events, and their lines |
//! | `values` | their fields, each of few shapes |
//! | `address` | addresses, for as long as a request is looked at |
//! | `keys` | keys of address hashes: rotated, destroyed |
//! | `folder` | a private folder, one lock, whole lines |
//! | `upkeep` | what is kept for how long; expiry, erasure |
//! | `blocks` | addresses that are shut out |
//! | `recorder` | a thread that writes down, so that no request waits for it |
//! | `downloads`, `tool` | sums of downloads, never one of them |
//!
//! # Rules
//!
//! 1. No field can hold an address, a user agent, a name of a person or words of anyone: see `values`.
//! 2. What a line says is what the types say: a line that is not exactly its event written anew is not read.
//! 3. Each kind has its number of days; then the day's file goes. Hashes of addresses go earlier, then their keys.
//! 4. The journal serves the operator. An upload is published whether or not it could be written down.
//!
//! docs/privacy.md is the same for people; a test holds it to the types.
//!
//! # Files
//!
//! `KIND-DAY.jsonl`: one event a line; `downloads-DAY.json`; `blocks.json`. Any number of processes use one folder.

mod address;
mod blocks;
mod downloads;
mod error;
mod event;
mod folder;
mod keys;
mod recorder;
mod tool;
mod upkeep;
mod values;

use std::collections::BTreeMap;
use std::path::Path;

use chrono::NaiveDate;

pub use self::address::Address;
pub use self::blocks::Block;
pub use self::downloads::{Cell, Downloads, Of};
pub use self::error::JournalError;
pub use self::event::{BlockChange, ClaimChange, Deed, Event, Kind, Origin, Outcome, Reason, TokenUse, Word};
use self::folder::{Folder, Room};
pub use self::keys::{HashKey, HashKeys, KeyFile};
pub use self::recorder::{Counts, Recorder, Upkeep};
pub use self::tool::{Tool, ToolVersion};
pub use self::upkeep::{Expired, Kept, Retention};
pub use self::values::{Account, AddressHash, City, Country, Digest, FileName, KeyName, Minute, ValueError};

/// Bytes of the file of one kind and day, at most: 100,000 events and more. What comes after that is counted.
const MAX_DAY: u64 = 32 * 1_024 * 1_024;
/// The part of it that is open to events which change nothing: else who repeats one all day long has none of his deeds
/// written down after that.
const MAX_IDLE: u64 = MAX_DAY / 2;

/// See the module. Clones are of the same folder.
#[derive(Debug, Clone)]
pub struct Journal {
    folder: Folder,
}

/// What was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Events {
    /// In order of their times.
    pub events: Vec<Event>,
    /// Lines that are no events: of another release, or changed by hand.
    pub unreadable: usize,
}

/// Which events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this kind.
    pub kind: Option<Kind>,
    /// About this account.
    pub account: Option<Account>,
    /// About this project.
    pub project: Option<crate::python::ProjectName>,
    /// Of this day or later.
    pub since: Option<NaiveDate>,
}

impl Filter {
    fn admits(&self, event: &Event) -> bool {
        self.kind.is_none_or(|kind| event.kind() == kind)
            && self.account.as_ref().is_none_or(|account| event.account() == Some(account))
            && self.project.as_ref().is_none_or(|project| event.project() == Some(project))
            && self.since.is_none_or(|since| event.time.day() >= since)
    }
}

impl Journal {
    /// Opens the journal in a folder, or makes it there. Neither may lie in one of `apart`, nor one of them in it.
    ///
    /// # Errors
    /// If others than its owner may look into it.
    pub fn open(folder: &Path, apart: &[&Path]) -> Result<Self, JournalError> {
        Ok(Self { folder: Folder::open(folder, apart)? })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes events down, durably. How many were left out because their day has no room, by kind.
    pub fn append(&self, events: &[Event]) -> Result<BTreeMap<Kind, u64>, JournalError> {
        let mut files: BTreeMap<(Kind, NaiveDate, bool), (String, u64)> = BTreeMap::new();
        for event in events {
            let (lines, count) = files.entry((event.kind(), event.time.day(), event.is_idle())).or_default();
            lines.push_str(&event.line());
            lines.push('\n');
            *count = count.saturating_add(event.times.into());
        }
        let (mut omitted, locked) = (BTreeMap::new(), self.folder.lock()?);
        for ((kind, day, idle), (lines, count)) in files {
            let most = if idle { MAX_IDLE } else { MAX_DAY };
            if locked.append(&day_file(kind, day), lines.as_bytes(), most)? == Room::Full {
                *omitted.entry(kind).or_default() += count;
            }
        }
        Ok(omitted)
    }

    /// The events that a filter admits.
    pub fn read(&self, filter: &Filter) -> Result<Events, JournalError> {
        let mut found = Events::default();
        for (name, kind, day) in self.days()? {
            if filter.kind.is_some_and(|wanted| wanted != kind)
                || filter.since.is_some_and(|since| day < since)
            {
                continue;
            }
            let read = self.day(&name, kind, day)?;
            found.unreadable += read.unreadable;
            found.events.extend(read.events.into_iter().filter(|event| filter.admits(event)));
        }
        found.events.sort_by_key(|event| event.time);
        Ok(found)
    }

    /// The files of events: name, kind, day.
    fn days(&self) -> Result<Vec<(String, Kind, NaiveDate)>, JournalError> {
        let names = self.folder.names()?.into_iter();
        Ok(names.filter_map(|name| day_of(&name).map(|(kind, day)| (name, kind, day))).collect())
    }

    /// The events of one file. One that belongs into another file is none.
    fn day(&self, name: &str, kind: Kind, day: NaiveDate) -> Result<Events, JournalError> {
        let bytes = self.folder.read(name, MAX_DAY)?.unwrap_or_default();
        // What has no end is being written, or was never written to the end.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let mut found = Events::default();
        for line in bytes.get(..whole).unwrap_or_default().split(|byte| *byte == b'\n') {
            let event = std::str::from_utf8(line).ok().and_then(|line| line.parse::<Event>().ok());
            match event.filter(|event| event.kind() == kind && event.time.day() == day) {
                Some(event) => found.events.push(event),
                None if line.is_empty() => {}
                None => found.unreadable += 1,
            }
        }
        Ok(found)
    }
}

/// The name of the file of a kind and day.
fn day_file(kind: Kind, day: NaiveDate) -> String {
    format!("{}-{day}.jsonl", kind.word())
}

fn day_of(name: &str) -> Option<(Kind, NaiveDate)> {
    let (kind, day) = name.strip_suffix(".jsonl")?.split_once('-')?;
    let found = (Kind::of(kind)?, day.parse().ok()?);
    (day_file(found.0, found.1) == name).then_some(found)
}
