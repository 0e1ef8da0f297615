//! `sync`: a verified index in a folder.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::Serialize;
use tempfile::NamedTempFile;

use super::Context;
use super::client::explained;
use super::exit::{self, SomeFailed, Usage, reason_code};
use super::files::read_file;
use super::lock::read as read_lock;
use super::logged::warn_log;
use super::output::{BAD, FAINT, GOOD, styled};
use super::trust::one_name;
use crate::client::trust::TrustStore;
use crate::client::{Proven, Session, Timing};
use crate::python::lock::{MAX_LOCK, wishes};
use crate::python::{Dependency, Machine, Platform};
use crate::repository::{Link, Progress as Bar};
use crate::sync::{Filter, Folder, Job, Kinds, Progress, Refused, State, Summary, Told, Wanted, Wish};
use crate::tuf::trusted::Limits;

/// Bytes of roles that are held at once: what one lookup needs is far below.
const MAX_HELD: usize = 256 * 1_024 * 1_024;
/// Files left out that are named, at most; all are counted.
const MAX_NAMED: usize = 1_000;
/// Said of a file that is empty, or was cut off: by it, everything would go.
const NAMES_NOTHING: &str = "names no project";
/// Codes that say that something does not verify: they come before others.
const JUDGEMENTS: [u8; 5] = [exit::INTEGRITY, exit::EXPIRED, exit::ROLLBACK, exit::THRESHOLD, exit::POLICY];

/// A verified index in a folder, for machines without a network: `pip install --index-url file:///DIR/simple/`.
///
/// Without requirements or a lock: the whole repository. Run again, it fetches what changed, hashes what is there, and removes
/// what is gone.
#[derive(Debug, Args)]
#[command(after_help = "Example: wheelseal sync --to wheelhouse --lock uv.lock")]
pub(crate) struct Sync {
    /// Name of the trust; not needed while there is only one
    #[arg(long, value_name = "NAME", env = "WHEELSEAL_TRUST")]
    trust: Option<String>,
    /// The folder: an empty one, one of an earlier run, or one that is made
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    #[command(flatten)]
    choice: Choice,
    /// Only files of this kind
    #[arg(long, value_name = "KIND")]
    only: Option<Only>,
    /// Only for this version of Python, such as 3.11
    #[arg(long, value_name = "VERSION")]
    python: Option<String>,
    /// Only for this platform, such as linux-x86_64, musllinux-aarch64, macosx-arm64 or win-amd64
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Keep what is there and still signed, though it is not named now
    #[arg(long)]
    keep: bool,
    /// Say what would be done, and how much there is to fetch
    #[arg(long)]
    dry_run: bool,
    /// Files to fetch at once
    #[arg(long, value_name = "N", default_value = "8")]
    jobs: NonZeroUsize,
}

/// What is to be there; nothing said: all of the repository.
#[derive(Debug, Args)]
struct Choice {
    /// What this lock file pins; may be repeated
    #[arg(long = "lock", value_name = "FILE")]
    locks: Vec<PathBuf>,
    /// What the requirements in this file name, with dependencies; may be repeated
    #[arg(long, short, value_name = "FILE")]
    requirements: Vec<PathBuf>,
    /// Without dependencies
    #[arg(long)]
    no_deps: bool,
    /// All versions that fit, not the newest alone
    #[arg(long)]
    all_versions: bool,
    /// Requirements, such as 'six>=1.16' or 'httpx[http2]', with dependencies
    #[arg(value_name = "REQUIREMENT")]
    what: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Only {
    /// Wheels
    Wheels,
    /// Source distributions
    Sdists,
}

#[derive(Serialize)]
struct Report<'a> {
    folder: PathBuf,
    state: &'a State,
    #[serde(flatten)]
    summary: &'a Summary,
    left_out: Vec<Named>,
    missing: Vec<Named>,
}

/// Something left out.
#[derive(Debug, Clone, Serialize)]
struct Named {
    what: String,
    reason: String,
}

impl From<&Refused> for Named {
    fn from(refused: &Refused) -> Self {
        Self { what: refused.what.clone(), reason: refused.reason.to_string() }
    }
}

/// What is noted while a run goes on.
#[derive(Default)]
struct Notes {
    record: Option<Record>,
    left_out: Vec<Named>,
    missing: Vec<Named>,
    code: Option<u8>,
    failed: Option<String>,
}

/// The list of all files as it is written.
struct Record {
    file: BufWriter<NamedTempFile>,
    first: bool,
    roles: BTreeMap<String, Link>,
}

impl Sync {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let store = TrustStore::of_user()?;
        if self.trust.is_none() && store.map()?.is_some() {
            let text = "the map file asks for several repositories to agree, which is not done here: say with --trust whose word is enough";
            return Err(Usage(text.to_owned()).into());
        }
        let name = one_name(self.trust.as_ref(), &store)?;
        let filter = self.filter()?;
        let wanted = self.choice.wanted()?;
        let client = store.client(&name, Timing::default(), Limits::default())?;
        let shared = Arc::new(client.refresh(context.now).await?.holding(MAX_HELD));
        let state = shared.with_trusted(|trusted| {
            let version = |common: &crate::tuf::metadata::Common| common.version;
            let (root, timestamp) = (version(&trusted.root().common), version(&trusted.timestamp().common));
            Ok::<_, anyhow::Error>(State::new(
                &store.location(&name)?.place(),
                root,
                timestamp,
                version(&trusted.snapshot().common),
            ))
        })?;
        let folder =
            if self.dry_run { Folder::look(&self.to, &state) } else { Folder::open(&self.to, &state) }?;
        let notes = Arc::new(Mutex::new(Notes::default()));
        if !self.dry_run {
            lock(&notes).record = Some(Record::new(&folder, &name, &state)?);
        }
        let job = Arc::new(Job {
            tell: tell(context, &notes, &shared),
            shared,
            folder,
            filter,
            keep: self.keep,
            dry: self.dry_run,
            jobs: self.jobs,
            progress: Progress::new(self.jobs),
        });
        let chosen = self.choice.choose(wanted.as_ref(), &job, context).await?;
        let summary = job.run(chosen).await?;
        warn_log(&name, &job.shared, context);
        self.finish(&job, &state, &summary, &notes, context)
    }

    fn filter(&self) -> anyhow::Result<Filter> {
        let python = self.python.as_ref().map(|text| {
            let usage = || Usage(format!("{text:?} is no version of Python; expected one like 3.11"));
            let version: pep440_rs::Version = text.parse().map_err(|_| usage())?;
            if version.release().len() < 2 { Err(usage()) } else { Ok(version) }
        });
        let platform = self.platform.as_ref().map(|text| Platform::from_str(text));
        let platform = platform.transpose().map_err(|error| Usage(error.to_string()))?;
        let kinds = match self.only {
            None => Kinds::All,
            Some(Only::Wheels) => Kinds::Wheels,
            Some(Only::Sdists) => Kinds::Sdists,
        };
        Ok(Filter { kinds, machine: Machine { python: python.transpose()?, platform } })
    }

    fn finish(
        &self,
        job: &Job,
        state: &State,
        summary: &Summary,
        notes: &Mutex<Notes>,
        context: &Context,
    ) -> anyhow::Result<()> {
        let mut notes = lock(notes);
        if let Some(failed) = notes.failed.take() {
            return Err(anyhow::anyhow!(failed).context(job.folder.record().display().to_string()));
        }
        if let Some(record) = notes.record.take() {
            record.finish(&job.folder, &notes.left_out)?;
            job.folder.finish(state)?;
        }
        let (left_out, missing) = (notes.left_out.clone(), notes.missing.clone());
        let report = Report { folder: job.folder.path().to_owned(), state, summary, left_out, missing };
        context.out.result(&report, || context.out.line(self.line(&report)))?;
        match notes.code {
            None => Ok(()),
            Some(code) => Err(SomeFailed { text: format!("{} left out", summary.refused), code }.into()),
        }
    }

    fn line(&self, report: &Report<'_>) -> String {
        let Summary { projects, files, bytes, fetched, fetched_bytes, removed, .. } = report.summary;
        let (kept, came) = (human(*bytes), human(*fetched_bytes));
        let folder = report.folder.display();
        if self.dry_run {
            return format!(
                "would have {files} files of {projects} projects, {kept}; to fetch: {fetched}, {came}; to remove: {removed}"
            );
        }
        format!(
            "{} {folder}: {files} files of {projects} projects, {kept}; fetched: {fetched}, {came}; removed: {removed}",
            styled(GOOD, "verified")
        )
    }
}

impl Choice {
    /// What is typed and what is in files; none: neither.
    fn wanted(&self) -> anyhow::Result<Option<Wanted>> {
        if self.what.is_empty() && self.requirements.is_empty() {
            return Ok(None);
        }
        let read = |text: &String| Dependency::from_str(text).map_err(|error| Usage(error.to_string()));
        let mut requirements = self.what.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        for path in &self.requirements {
            let bytes = read_file(path, MAX_LOCK)?;
            let usage = |reason: String| Usage(format!("{}: {reason}", path.display()));
            let text = std::str::from_utf8(&bytes).map_err(|error| usage(error.to_string()))?;
            let wishes = wishes(text).map_err(|error| usage(error.to_string()))?;
            if wishes.is_empty() {
                return Err(usage(NAMES_NOTHING.to_owned()).into());
            }
            requirements.extend(wishes);
        }
        Ok(Some(Wanted { requirements, dependencies: !self.no_deps, all_versions: self.all_versions }))
    }

    /// What is to be there.
    async fn choose(
        &self,
        wanted: Option<&Wanted>,
        job: &Arc<Job>,
        context: &Context,
    ) -> anyhow::Result<Vec<Wish>> {
        if wanted.is_none() && self.locks.is_empty() {
            let bar = context.out.progress();
            return Ok(job.everything(&|done, total| bar.at("reading roles", done, total)).await?);
        }
        let mut all: BTreeMap<_, Wish> = BTreeMap::new();
        let mut sets = Vec::new();
        for path in &self.locks {
            let lock = read_lock(path)?;
            if lock.packages.is_empty() {
                return Err(Usage(format!("{}: {NAMES_NOTHING}", path.display())).into());
            }
            sets.push(job.of_lock(&lock).await?);
        }
        if let Some(wanted) = wanted {
            sets.push(job.of_requirements(wanted).await?);
        }
        for wish in sets.into_iter().flatten() {
            match all.get_mut(&wish.project) {
                Some(known) => {
                    known.files.get_or_insert_default().extend(wish.files.into_iter().flatten());
                }
                None => drop(all.insert(wish.project.clone(), wish)),
            }
        }
        Ok(all.into_values().collect())
    }
}

/// Hears of each file: into the record, or onto the screen.
fn tell(context: &Context, notes: &Arc<Mutex<Notes>>, shared: &Arc<Session>) -> crate::sync::Tell {
    let (out, notes, shared) = (context.out.clone(), Arc::clone(notes), Arc::clone(shared));
    let bar = out.progress();
    Arc::new(move |told| match told {
        Told::Projects(done, total) => bar.at("syncing projects", done, total),
        Told::Placed(placed) => {
            let mut notes = lock(&notes);
            if let Some(record) = &mut notes.record
                && let Err(error) = record.add(&shared, placed.found)
            {
                notes.failed = Some(error.to_string());
            }
        }
        Told::Refused(refused) => {
            out.note(format_args!("{} {}: {}", styled(BAD, "left out"), refused.what, refused.reason));
            lock(&notes).refuse(refused);
        }
        Told::Unknown(file) => out.note(format_args!(
            "{} what {file} depends on: its metadata is in the file alone, which is not fetched now",
            styled(FAINT, "unknown")
        )),
        Told::Missing(missing) => {
            let why = "not in the repository; perhaps it is not needed on your machines";
            out.note(format_args!("{} {}: {why}", styled(FAINT, "missing"), missing.what));
            let mut notes = lock(&notes);
            if notes.missing.len() < MAX_NAMED {
                notes.missing.push(missing.into());
            }
        }
    })
}

impl Notes {
    fn refuse(&mut self, refused: &Refused) {
        let code = reason_code(&refused.reason);
        let graver = |held: u8| JUDGEMENTS.contains(&code) && !JUDGEMENTS.contains(&held);
        if self.code.is_none_or(graver) {
            self.code = Some(code);
        }
        if self.left_out.len() < MAX_NAMED {
            self.left_out.push(refused.into());
        }
    }
}

impl Record {
    fn new(folder: &Folder, trust: &str, state: &State) -> anyhow::Result<Self> {
        let mut file = BufWriter::new(NamedTempFile::new_in(folder.scratch())?);
        let (trust, state) = (serde_json::to_string(trust)?, serde_json::to_string(state)?);
        write!(file, "{{\n\"trust\": {trust},\n\"state\": {state},\n\"files\": [")?;
        Ok(Self { file, first: true, roles: BTreeMap::new() })
    }

    fn add(&mut self, shared: &Session, found: &Proven) -> anyhow::Result<()> {
        let (brief, roles) = explained(shared, found)?.in_brief();
        self.roles.extend(roles);
        let comma = if std::mem::take(&mut self.first) { "" } else { "," };
        Ok(write!(self.file, "{comma}\n{}", serde_json::to_string(&brief)?)?)
    }

    fn finish(mut self, folder: &Folder, left_out: &[Named]) -> anyhow::Result<()> {
        let (roles, left_out) = (serde_json::to_string(&self.roles)?, serde_json::to_string(left_out)?);
        writeln!(self.file, "\n],\n\"roles\": {roles},\n\"left_out\": {left_out}\n}}")?;
        let file = self.file.into_inner().map_err(|error| anyhow::anyhow!(error.to_string()))?;
        file.as_file().sync_data()?;
        let to = folder.record();
        file.persist(&to).map_err(|refused| refused.error).with_context(|| to.display().to_string())?;
        Ok(())
    }
}

fn lock(notes: &Mutex<Notes>) -> MutexGuard<'_, Notes> {
    notes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes, as people read them.
fn human(bytes: u64) -> String {
    let (size, unit) = match bytes {
        10_000_000_000.. => (bytes / 1_000_000_000, "GB"),
        10_000_000.. => (bytes / 1_000_000, "MB"),
        10_000.. => (bytes / 1_000, "kB"),
        _ => (bytes, "bytes"),
    };
    format!("{size} {unit}")
}
