//! `journal`: what `serve` has written down, and how to be rid of it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use clap::{Args, Subcommand};

use super::Context;
use super::admin::agreed;
use super::disclose::Disclose;
use super::output::{FAINT, STRONG, styled};
use super::watch::{KEY_DAYS, day, key_file, retention};
use crate::journal::{
    Account, AddressHash, Block, Event, Expired, Filter, HashKeys, Journal, Kept, KeyFile, Kind, Minute, Word,
};
use crate::python::ProjectName;

#[derive(Debug, Subcommand)]
pub(crate) enum JournalCommand {
    /// What was written down
    Show(Show),
    /// The same, as lines of JSON
    Export(Export),
    /// Everything that is held about an account or a project, as a demand for data would ask
    Disclose(Disclose),
    /// Sums of downloads
    Downloads(Downloads),
    /// Remove what was kept for long enough
    Expire(Expire),
    /// Remove all events about an account
    Erase(Erase),
    /// Take no uploads from an address for a while, by its hash
    Block(BlockCommand),
    /// Take uploads from it again
    Unblock(Unblock),
    /// Which addresses are shut out
    Blocks(Blocks),
    /// Keys of address hashes
    #[command(subcommand)]
    Key(Key),
}

/// Where it is.
#[derive(Debug, Args)]
pub(super) struct JournalArg {
    /// The folder that `serve --journal` writes to
    #[arg(long, value_name = "DIR", env = "WHEELSEAL_JOURNAL")]
    journal: PathBuf,
}

impl JournalArg {
    pub(super) fn open(&self) -> anyhow::Result<Journal> {
        Ok(Journal::open(&self.journal, &[])?)
    }
}

/// Its keys.
#[derive(Debug, Args)]
struct KeyArg {
    /// The file that `serve --journal-key` reads
    #[arg(long, value_name = "FILE", env = "WHEELSEAL_JOURNAL_KEY")]
    journal_key: PathBuf,
    /// Days for which a key is used
    #[arg(long, value_name = "DAYS", default_value = KEY_DAYS)]
    journal_key_days: u32,
}

impl KeyArg {
    fn open(&self, journal: Option<&Journal>) -> anyhow::Result<KeyFile> {
        key_file(&self.journal_key, self.journal_key_days, &[], journal)
    }
}

/// Which events.
#[derive(Debug, Args)]
struct Which {
    /// Of this kind: upload, refusal, token, claim, block, omitted
    #[arg(long, value_name = "KIND", value_parser = kind)]
    kind: Option<Kind>,
    /// About this project
    #[arg(long, value_name = "NAME")]
    project: Option<ProjectName>,
    /// About this account: what `token list` calls it
    #[arg(long, value_name = "ID")]
    account: Option<Account>,
    /// Of this day or later, such as 2030-01-31
    #[arg(long, value_name = "DAY", value_parser = day)]
    since: Option<NaiveDate>,
}

fn kind(text: &str) -> Result<Kind, String> {
    Kind::of(text).ok_or_else(|| "expected upload, refusal, token, claim, block or omitted".to_owned())
}

impl Which {
    fn filter(self) -> Filter {
        Filter { kind: self.kind, account: self.account, project: self.project, since: self.since }
    }
}

/// What was written down.
#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    journal: JournalArg,
    #[command(flatten)]
    which: Which,
}

/// What was written down, as lines of JSON: docs/privacy.md has their fields.
#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    journal: JournalArg,
    #[command(flatten)]
    which: Which,
}

/// Remove what was kept for long enough. `serve` does it once a day.
#[derive(Debug, Args)]
pub(crate) struct Expire {
    #[command(flatten)]
    journal: JournalArg,
    /// The keys, so that those that nothing needs any more are destroyed
    #[arg(long, value_name = "FILE", env = "WHEELSEAL_JOURNAL_KEY")]
    journal_key: Option<PathBuf>,
    /// Days for which a kind of events is kept; may be repeated
    #[arg(long, value_name = "KIND=DAYS")]
    keep: Vec<Kept>,
    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
}

/// Remove all events about an account. What it has published stays published.
#[derive(Debug, Args)]
pub(crate) struct Erase {
    #[command(flatten)]
    journal: JournalArg,
    /// What `token list` calls it
    account: Account,
    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Take no uploads from an address for a while. Its hash is in `journal show`. Reading is not affected.
#[derive(Debug, Args)]
pub(crate) struct BlockCommand {
    #[command(flatten)]
    journal: JournalArg,
    /// The hash of the address, as KEY:HASH
    address: AddressHash,
    /// Days until it may upload again; the key of the hash is kept as long
    #[arg(long, value_name = "DAYS", default_value = "7", value_parser = clap::value_parser!(u32).range(1..=90))]
    days: u32,
}

/// Take uploads from an address again.
#[derive(Debug, Args)]
pub(crate) struct Unblock {
    #[command(flatten)]
    journal: JournalArg,
    /// The hash of the address, as KEY:HASH
    address: AddressHash,
}

/// Which addresses are shut out, and until when.
#[derive(Debug, Args)]
pub(crate) struct Blocks {
    #[command(flatten)]
    journal: JournalArg,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a file with a first key; `serve` does it too
    New(New),
    /// Which keys there are, and since when
    List(List),
    /// Use a new key from now on
    Rotate(Rotate),
}

/// Make a file with a first key.
#[derive(Debug, Args)]
pub(crate) struct New {
    #[command(flatten)]
    key: KeyArg,
}

/// Which keys there are, and since when. None is shown.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    key: KeyArg,
}

/// Use a new key from now on.
#[derive(Debug, Args)]
pub(crate) struct Rotate {
    #[command(flatten)]
    key: KeyArg,
    /// Destroy all older ones: nobody can tell any more whose address a hash was of, and blocks end
    #[arg(long)]
    destroy_old: bool,
}

impl JournalCommand {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Show(command) => command.run(context),
            Self::Export(command) => command.run(context),
            Self::Disclose(command) => command.run(context),
            Self::Downloads(command) => command.run(context),
            Self::Expire(command) => command.run(context),
            Self::Erase(command) => command.run(context),
            Self::Block(command) => command.run(context),
            Self::Unblock(command) => {
                command.journal.open()?.unblock(&command.address, context.now)?;
                context.out.note(format_args!("{} may upload again", command.address));
                Ok(())
            }
            Self::Blocks(command) => command.run(context),
            Self::Key(Key::New(command)) => {
                command.key.open(None)?.create(context.now)?;
                context.out.note(format_args!("made {}", command.key.journal_key.display()));
                Ok(())
            }
            Self::Key(Key::List(command)) => command.run(context),
            Self::Key(Key::Rotate(command)) => command.run(context),
        }
    }
}

/// The events, once it was said that some lines could not be read.
fn events(journal: &JournalArg, which: Which, context: &Context) -> anyhow::Result<Vec<Event>> {
    let found = journal.open()?.read(&which.filter())?;
    if found.unreadable > 0 {
        context.out.note(format_args!("{} line(s) are no events of this release", found.unreadable));
    }
    Ok(found.events)
}

impl Show {
    fn run(self, context: &Context) -> anyhow::Result<()> {
        let events = events(&self.journal, self.which, context)?;
        let lines = events.iter().map(Event::line).map(|line| serde_json::from_str(&line));
        let value: Vec<serde_json::Value> = lines.collect::<Result<_, _>>()?;
        context.out.result(&value, || {
            context.out.table(&events.iter().map(row).collect::<Vec<_>>());
        })
    }
}

fn row(event: &Event) -> Vec<String> {
    let times = if event.times == 1 { String::new() } else { format!(" × {}", event.times) };
    let origin = &event.origin;
    vec![
        styled(FAINT, event.time),
        event.kind().word().to_owned(),
        styled(STRONG, format_args!("{}{times}", event.what())),
        cell(event.account()),
        event.file().map_or_else(|| cell(event.project()), ToString::to_string),
        cell(origin.address.as_ref()),
        cell(origin.country.as_ref()),
        cell(origin.city.as_ref()),
    ]
}

fn cell<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(|| "-".to_owned(), ToString::to_string)
}

impl Export {
    fn run(self, context: &Context) -> anyhow::Result<()> {
        for event in events(&self.journal, self.which, context)? {
            context.out.line(event.line());
        }
        Ok(())
    }
}

/// Sums of downloads: by day, file, tool, version and country.
///
/// Each is of five requests at least, in whole fives; what is fewer is counted without the version, the country and so on.
#[derive(Debug, Args)]
pub(crate) struct Downloads {
    #[command(flatten)]
    journal: JournalArg,
    /// Of this project alone
    project: Option<ProjectName>,
    /// Of this day or later, such as 2030-01-31
    #[arg(long, value_name = "DAY", value_parser = day)]
    since: Option<NaiveDate>,
}

impl Downloads {
    fn run(self, context: &Context) -> anyhow::Result<()> {
        let journal = self.journal.open()?;
        let (mut rows, mut values) = (Vec::new(), Vec::new());
        for day in journal.days_of_downloads()? {
            if self.since.is_some_and(|since| day < since) {
                continue;
            }
            for (cell, count) in journal.downloads_of(day)? {
                if self.project.as_ref().is_some_and(|project| cell.project() != Some(project)) {
                    continue;
                }
                let tool = cell.tool.map(|tool| tool.word().to_owned());
                let (version, country) = (cell.version.as_ref(), cell.country.as_ref());
                let (version, country) = (version.map(ToString::to_string), country.map(ToString::to_string));
                let of = cell.of.to_string();
                values.push(serde_json::json!({
                    "day": day, "of": of, "tool": tool, "version": version, "country": country, "count": count,
                }));
                let (tool, version) = (self::cell(tool.as_ref()), self::cell(version.as_ref()));
                let country = self::cell(country.as_ref());
                rows.push(vec![day.to_string(), of, tool, version, country, count.to_string()]);
            }
        }
        context.out.result(&values, || context.out.table(&rows))
    }
}

impl Expire {
    fn run(self, context: &Context) -> anyhow::Result<()> {
        let (journal, retention) = (self.journal.open()?, retention(&self.keep));
        let gone = if self.dry_run {
            journal.expiring(&retention, context.now)?
        } else {
            let open = |file: &PathBuf| key_file(file, 1, &[], Some(&journal));
            let keys = self.journal_key.as_ref().map(open).transpose()?;
            journal.expire(&retention, keys.as_ref(), context.now)?
        };
        let Expired { files, origins, keys } = gone;
        let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
        let value = serde_json::json!({
            "files": files, "origins": origins, "keys": keys, "dry_run": self.dry_run,
        });
        context.out.result(&value, || {
            let would = if self.dry_run { "would go" } else { "gone" };
            context.out.line(format_args!(
                "{would}: {} file(s), the origins of {origins} event(s), {} key(s)",
                files.len(),
                keys.len()
            ));
        })
    }
}

impl Erase {
    fn run(self, context: &Context) -> anyhow::Result<()> {
        let journal = self.journal.open()?;
        let filter = Filter { account: Some(self.account.clone()), ..Filter::default() };
        let found = journal.read(&filter)?.events.len();
        let question = format!("Remove {found} event(s) about {}?", self.account);
        let erased = if self.dry_run {
            found
        } else {
            agreed(&question, self.yes)?;
            journal.erase(&self.account)?
        };
        let value = serde_json::json!({ "erased": erased, "dry_run": self.dry_run });
        context.out.result(&value, || {
            let would = if self.dry_run { "would be removed" } else { "removed" };
            context.out.line(format_args!("{would}: {erased} event(s)"));
        })
    }
}

impl BlockCommand {
    fn run(self, context: &Context) -> anyhow::Result<()> {
        let until = Minute::of(context.now + TimeDelta::days(self.days.into()));
        self.journal.open()?.block(Block { address: self.address.clone(), until }, context.now)?;
        context.out.note(format_args!("no uploads from {} until {until}", self.address));
        Ok(())
    }
}

impl Blocks {
    fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut blocks = self.journal.open()?.blocks()?;
        blocks.retain(|block| context.now < block.until.time());
        let value = blocks.iter().map(|block| {
            serde_json::json!({ "address": block.address.to_string(), "until": block.until.to_string() })
        });
        context.out.result(&value.collect::<Vec<_>>(), || {
            let row = |block: &Block| vec![styled(STRONG, &block.address), format!("until {}", block.until)];
            context.out.table(&blocks.iter().map(row).collect::<Vec<_>>());
        })
    }
}

impl List {
    fn run(self, context: &Context) -> anyhow::Result<()> {
        let keys = self.key.open(None)?.keys()?;
        let rows = keys.as_deref().map(|keys| ages(keys, context.now)).unwrap_or_default();
        let value = rows
            .iter()
            .map(|(name, made, days)| serde_json::json!({ "name": name, "made": made, "days": days }));
        context.out.result(&value.collect::<Vec<_>>(), || {
            let row = |(name, made, days): &(String, String, i64)| {
                vec![styled(STRONG, name), format!("since {made}"), format!("{days} day(s)")]
            };
            context.out.table(&rows.iter().map(row).collect::<Vec<_>>());
        })
    }
}

fn ages(keys: &HashKeys, now: DateTime<Utc>) -> Vec<(String, String, i64)> {
    let age = |made: NaiveDate| (now.date_naive() - made).num_days();
    keys.all().iter().map(|key| (key.name.to_string(), key.made.to_string(), age(key.made))).collect()
}

impl Rotate {
    fn run(self, context: &Context) -> anyhow::Result<()> {
        let file = self.key.open(None)?;
        let keys = file.rotate(context.now)?;
        if let Some(newest) = keys.all().last() {
            context.out.note(format_args!("from now on {} is used", newest.name));
        }
        if self.destroy_old {
            let gone = file.destroy(&BTreeSet::new())?;
            context.out.note(format_args!("{} older key(s) are destroyed", gone.len()));
        }
        Ok(())
    }
}
