//! What `serve` looks at, and writes down, of those who upload.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::http::HeaderName;
use clap::Args;
use ipnet::IpNet;

use super::exit::Usage;
use super::place::Place;
use super::{Context, RepoArg};
use crate::journal::{
    Deed, Event, Journal, JournalError, Kept, KeyFile, Minute, Origin, Recorder, Retention, Upkeep,
};
use crate::server::{Visitors, Watch};

/// Days for which a key is used, unless told otherwise.
pub(super) const KEY_DAYS: &str = "30";

/// Whether and how uploads are written down, and who may say where they come from.
#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    /// Keep a journal of uploads in this folder, which is its owner's alone: see docs/privacy.md
    #[arg(long, value_name = "DIR", env = "WHEELSEAL_JOURNAL", requires = "journal_key")]
    journal: Option<PathBuf>,
    /// Keys of address hashes; made if it is not there. Neither in the journal nor in the repository
    #[arg(long, value_name = "FILE", env = "WHEELSEAL_JOURNAL_KEY")]
    journal_key: Option<PathBuf>,
    /// Days for which such a key is used
    #[arg(long, value_name = "DAYS", default_value = KEY_DAYS, value_parser = clap::value_parser!(u32).range(1..=366))]
    journal_key_days: u32,
    /// Days for which a kind of events is kept; may be repeated
    #[arg(long, value_name = "KIND=DAYS", requires = "journal")]
    keep: Vec<Kept>,
    /// Address or network of a proxy that is believed about where a request comes from; may be repeated
    #[arg(long, value_name = "NETWORK", value_parser = network)]
    trusted_proxy: Vec<IpNet>,
    /// Header in which it puts the address; `Forwarded` (RFC 7239) is understood too
    #[arg(long, value_name = "NAME", default_value = "X-Forwarded-For")]
    address_header: HeaderName,
    /// Header in which it puts a keyed hash of the address, in hexadecimal, which then counts instead
    #[arg(long, value_name = "NAME", requires = "trusted_proxy")]
    address_hash_header: Option<HeaderName>,
    /// Header in which it puts the country: two letters
    #[arg(long, value_name = "NAME", requires = "trusted_proxy")]
    country_header: Option<HeaderName>,
    /// Header in which it puts the city
    #[arg(long, value_name = "NAME", requires = "trusted_proxy")]
    city_header: Option<HeaderName>,
    /// Uploads from one address in a minute; and as many without a good token
    #[arg(long, value_name = "N", default_value = "1200")]
    address_rate: u32,
    /// Requests to read from one address in a minute; 0 for any number. This machine itself is not counted
    #[arg(long, value_name = "N", default_value = "6000")]
    read_rate: u32,
}

/// For commands that are events themselves.
#[derive(Debug, Args)]
pub(super) struct NoteArg {
    /// Write it down in this journal too
    #[arg(long, value_name = "DIR", env = "WHEELSEAL_JOURNAL")]
    journal: Option<PathBuf>,
}

impl NoteArg {
    /// Writes down what was done. It is done, so a journal that fails is told of, and no more.
    pub(super) fn note(&self, deed: Deed, context: &Context) {
        let Some(folder) = &self.journal else { return };
        let event = Event::new(Minute::of(context.now), Origin::default(), deed);
        let written = Journal::open(folder, &[]).and_then(|journal| journal.append(&[event]));
        if let Err(error) = written {
            context.out.note(format_args!("the journal failed: {error}"));
        }
    }
}

/// A network such as `10.0.0.0/8`, or one address.
fn network(text: &str) -> Result<IpNet, String> {
    let one = || text.parse().ok().map(|ip: std::net::IpAddr| IpNet::from(ip.to_canonical()));
    text.parse()
        .ok()
        .or_else(one)
        .ok_or_else(|| "expected an address or a network such as 10.0.0.0/8".to_owned())
}

impl WatchArgs {
    pub(super) fn watch(&self, repo: &RepoArg, context: &Context) -> anyhow::Result<Watch> {
        let visitors = Visitors {
            trusted: self.trusted_proxy.clone(),
            address: Some(self.address_header.clone()),
            hash: self.address_hash_header.clone(),
            country: self.country_header.clone(),
            city: self.city_header.clone(),
        };
        let watch = Watch::new(visitors, self.address_rate, context.clock)?;
        let watch = if self.read_rate == 0 { watch } else { watch.reading(self.read_rate)? };
        let (Some(folder), Some(key)) = (&self.journal, &self.journal_key) else { return Ok(watch) };
        let repository = match &repo.repo {
            Place::Folder(folder) => vec![folder.as_path()],
            Place::Bucket(_) => Vec::new(),
        };
        let journal = Journal::open(folder, &repository)?;
        let keys = Arc::new(key_file(key, self.journal_key_days, &repository, Some(&journal))?);
        // What is wrong with it is better found out now than at the first upload.
        keys.current(context.now)?;
        let out = context.out.clone();
        let report = move |error: &JournalError| out.note(format_args!("the journal failed: {error}"));
        let retention = retention(&self.keep);
        let upkeep =
            Upkeep { retention, keys: Arc::clone(&keys), clock: context.clock, report: Box::new(report) };
        let recorder = Recorder::start(journal.clone(), upkeep)?;
        Ok(watch.journalling(journal, keys, recorder))
    }
}

/// The file of keys, apart from journal and repository.
pub(super) fn key_file(
    file: &Path,
    days: u32,
    apart: &[&Path],
    journal: Option<&Journal>,
) -> anyhow::Result<KeyFile> {
    let apart: Vec<&Path> = apart.iter().copied().chain(journal.map(Journal::path)).collect();
    Ok(KeyFile::at(file, days, &apart)?)
}

/// What is kept for how long.
pub(super) fn retention(kept: &[Kept]) -> Retention {
    kept.iter().fold(Retention::default(), |retention, kept| retention.with(*kept))
}

/// A day, as `2030-01-31`.
pub(super) fn day(text: &str) -> Result<chrono::NaiveDate, Usage> {
    text.parse().map_err(|_| Usage(format!("{text:?} is no day: expected one such as 2030-01-31")))
}
