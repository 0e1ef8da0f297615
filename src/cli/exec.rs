//! `exec`: a command whose tools get verified files from trusted indexes.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::Serialize;
use tokio::net::TcpListener;

use super::Context;
use super::client::{Explained, explained};
use super::exit::{Ended, SomeFailed, Usage, fault_code};
use super::logged::warn_log;
use super::output::{BAD, STRONG, styled};
use crate::client::Timing;
use crate::client::trust::{TrustStore, cache_home};
use crate::crypto::sha256;
use crate::proxy::{
    Forward, Index, Journal, Limits, Mode, Refused, Settings, Surroundings, Tell, Told, Trusted,
};
use crate::tuf::trusted;

/// Bytes of a MiB.
const MIB: u64 = 1_024 * 1_024;
/// Codes that say that something does not verify: they come before others.
const JUDGEMENTS: [u8; 5] = [3, 4, 5, 6, 9];

/// Which indexes are verified, and where verified files are kept.
#[derive(Debug, Args)]
pub(super) struct Verified {
    /// Name of a trust whose index is verified. Without it: all of them
    #[arg(long = "trust", value_name = "NAME", env = "WHEELSEAL_TRUST", value_delimiter = ',')]
    trusts: Vec<String>,
    /// Where verified files are kept for the next time
    #[arg(long, value_name = "DIR", env = "WHEELSEAL_CACHE")]
    cache: Option<PathBuf>,
    /// MiB of them, at most
    #[arg(long, value_name = "MIB", default_value = "4096", env = "WHEELSEAL_CACHE_SIZE")]
    cache_size: u64,
}

impl Verified {
    /// The names of the trusts.
    pub(super) fn names(&self, store: &TrustStore) -> anyhow::Result<Vec<String>> {
        if !self.trusts.is_empty() {
            let once: BTreeSet<_> = self.trusts.iter().cloned().collect();
            return Ok(once.into_iter().collect());
        }
        if store.map()?.is_some() {
            let text = "the map file asks for several repositories to agree, which is not done here: say with --trust whose word is enough";
            return Err(Usage(text.to_owned()).into());
        }
        let names = store.names()?;
        if names.is_empty() {
            let text = "no repository is trusted yet; add one: wheelseal trust add NAME --index URL --root root.json";
            return Err(Usage(text.to_owned()).into());
        }
        Ok(names)
    }

    /// The folder of what can be fetched again.
    pub(super) fn cache(&self) -> anyhow::Result<PathBuf> {
        match &self.cache {
            Some(cache) => Ok(std::path::absolute(cache)?),
            None => Ok(cache_home()?),
        }
    }

    pub(super) fn cache_bytes(&self) -> u64 {
        self.cache_size.saturating_mul(MIB)
    }
}

/// Opens trusts as indexes.
pub(super) fn indexes(
    store: &TrustStore,
    names: &[String],
    settings: &Settings,
    journal: &Arc<Journal>,
) -> anyhow::Result<Vec<Index>> {
    let open = |name: &String| {
        let location = store.location(name)?;
        let client = store.client(name, Timing::default(), trusted::Limits::default())?;
        let credentials = location.credentials();
        let (index, files) = (location.index(), location.targets);
        let trusted = Trusted { name: name.clone(), index, files, client, credentials };
        Ok(Index::new(trusted, settings, journal)?)
    };
    names.iter().map(open).collect()
}

/// What becomes of what does not verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ModeArg {
    /// It is refused
    Enforce,
    /// It is let through, and said so
    Warn,
}

/// Run a command whose tools (pip, uv, poetry, …) get verified files from the indexes you trust.
#[derive(Debug, Args)]
#[command(after_help = "Example: wheelseal exec -- uv sync")]
pub(crate) struct Exec {
    #[command(flatten)]
    verified: Verified,
    /// What to do with what does not verify
    #[arg(long, value_name = "MODE", default_value = "enforce", env = "WHEELSEAL_MODE")]
    mode: ModeArg,
    /// Let nothing through but verified indexes
    #[arg(long)]
    strict: bool,
    /// Write which files were given out, and why they are trusted, as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Let tools use their own caches, where files may lie that were never verified
    #[arg(long)]
    keep_caches: bool,
    /// The command
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Serialize)]
struct Report {
    files: Vec<FileReport>,
    /// Files beyond those listed.
    files_left_out: u64,
    /// Transparency logs that no witness vouches for, by index.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    quorum_none: BTreeMap<String, String>,
    refused: Vec<RefusedReport>,
    unverified: Vec<RefusedReport>,
}

#[derive(Serialize)]
struct FileReport {
    index: String,
    fetched: bool,
    #[serde(flatten)]
    why: Explained,
}

#[derive(Serialize)]
struct RefusedReport {
    index: String,
    what: String,
    reason: String,
}

impl From<&Refused> for RefusedReport {
    fn from(refused: &Refused) -> Self {
        let (index, what) = (refused.index.clone(), refused.what.clone());
        Self { index, what, reason: refused.fault.to_string() }
    }
}

impl Exec {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let (store, journal) = (TrustStore::of_user()?, Arc::new(Journal::default()));
        let settings = self.settings(context)?;
        let names = self.verified.names(&store)?;
        let mut verified = indexes(&store, &names, &settings, &journal)?;
        for folder in verified.extract_if(.., |index| index.origins().next().is_none()) {
            let name = folder.name();
            context.out.note(format_args!(
                "{name} is a folder, which tools read without asking a proxy: not verified"
            ));
        }
        let forward = Forward::new(verified, self.strict, &settings, &journal, Limits::default())?;
        let forward = Arc::new(forward);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("a port on loopback")?;
        let address = forward.address(listener.local_addr()?.port());
        let caches = if self.keep_caches || self.mode == ModeArg::Warn {
            None
        } else {
            Some(tool_caches(&self.verified.cache()?, &store, &names)?)
        };
        let surroundings = Surroundings::new(&address, forward.authority(), caches.as_deref())?;
        let Some((program, arguments)) = self.command.split_first() else {
            return Err(Usage("there is no command".to_owned()).into());
        };
        let code = tokio::select! {
            code = surroundings.run(program, arguments) => code?,
            never = Arc::clone(&forward).run(listener) => match never {},
        };
        for index in forward.indexes() {
            index.settle().await;
            if let Some(session) = index.session().await {
                warn_log(index.name(), &session, context);
            }
        }
        let reported = match &self.report {
            Some(file) => self.write_report(file, &forward, &journal).await,
            None => Ok(()),
        };
        // What was refused is told, whatever became of the report.
        ended(context, &journal, code).and(reported)
    }

    fn settings(&self, context: &Context) -> anyhow::Result<Settings> {
        let mode = if self.mode == ModeArg::Warn { Mode::Warn } else { Mode::Enforce };
        let (now, out) = (context.now, context.out.clone());
        let tell: Tell = Arc::new(move |told| {
            if let Told::Passed(passed) = told {
                let loud = styled(BAD, "NOT VERIFIED");
                out.note(format_args!("{loud} {} of {}: {}", passed.what, passed.index, passed.fault));
            }
        });
        let (cache, cache_bytes) = (self.verified.cache()?, self.verified.cache_bytes());
        Ok(Settings { mode, cache, cache_bytes, renew: None, clock: Arc::new(move || now), tell })
    }

    async fn write_report(&self, file: &Path, forward: &Forward, journal: &Journal) -> anyhow::Result<()> {
        let (served, files_left_out) = journal.served();
        let mut files = Vec::new();
        for served in served {
            let index = forward.indexes().iter().find(|index| index.name() == served.index);
            let index = index.context("an index that is not there")?;
            let session = index.session().await.context("a session that is not there")?;
            let why = explained(&session, &session.prove(&served.found).await?)?;
            files.push(FileReport { index: served.index, fetched: served.fetched, why });
        }
        let list = |refused: Vec<Refused>| refused.iter().map(RefusedReport::from).collect();
        let (refused, unverified) = (list(journal.refused().0), list(journal.passed().0));
        let mut quorum_none = BTreeMap::new();
        for index in forward.indexes() {
            let log = index.session().await.and_then(|session| session.log());
            let log = log.filter(|log| log.unwitnessed);
            quorum_none.extend(log.map(|log| (index.name().to_owned(), log.origin)));
        }
        let report = Report { files, files_left_out, quorum_none, refused, unverified };
        let mut text = serde_json::to_string_pretty(&report)?;
        text.push('\n');
        std::fs::write(file, text).with_context(|| file.display().to_string())
    }
}

/// Caches of tools that hold nothing but what came through here, with these very trusts: what a tool fetched before may be
/// bad, and is never asked for again.
fn tool_caches(cache: &Path, store: &TrustStore, names: &[String]) -> anyhow::Result<PathBuf> {
    let mut all = Vec::new();
    for name in names {
        all.extend(store.fingerprint(name)?);
    }
    let digest = hex::encode(sha256(&all));
    Ok(cache.join("tools").join(digest.get(..16).unwrap_or(&digest)))
}

/// Says what was refused or let through; the exit code is that of the worst refusal, or else the command's.
fn ended(context: &Context, journal: &Journal, code: u8) -> anyhow::Result<()> {
    let (passed, _) = journal.passed();
    if !passed.is_empty() {
        let (loud, count) = (styled(BAD, "NOT VERIFIED"), passed.len());
        context
            .out
            .note(format_args!("{loud}: {count} file(s) or page(s) were let through that do not verify"));
    }
    let (refused, _) = journal.refused();
    let codes: Vec<u8> = refused.iter().map(|refused| fault_code(&refused.fault)).collect();
    let worst = codes.iter().find(|code| JUDGEMENTS.contains(code)).or(codes.first());
    let Some(worst) = worst else {
        return if code == 0 { Ok(()) } else { Err(Ended(code).into()) };
    };
    for Refused { index, what, fault } in &refused {
        context.out.note(format_args!(
            "{} {} of {index}: {fault}",
            styled(BAD, "refused"),
            styled(STRONG, what)
        ));
    }
    let text =
        format!("{} file(s), page(s) or host(s) were refused; the command ended with {code}", refused.len());
    Err(SomeFailed { text, code: *worst }.into())
}
