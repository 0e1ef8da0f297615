//! `record`: an independent third party that hashes what an index gives out.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::exit::{NETWORK, POLICY, SomeFailed};
use super::keys::{KeyArgs, open_repository};
use super::log::{WebFiles, read_policy};
use super::output::{BAD, GOOD, Out, styled};
use super::record_claims::ClaimsArg;
use super::{Context, RepoArg, listen};
use crate::client::trust::Location;
use crate::client::{Credentials, Hook, Http, Reach, Timing};
use crate::crawl::{CrawlError, Follow};
use crate::log::Reader;
use crate::recorder::{Bytes, Conflict, Existing, IndexLog, Metrics, RecordError, Recorder, Round, Settings};
use crate::repository::{Keyring, Progress, Repository};

/// Pages and files asked for at once: more would be felt by a small index.
const JOBS: NonZeroUsize = NonZeroUsize::new(8).unwrap();
/// Bytes of one file, unless told otherwise: some public wheels have a few GB.
const MAX_FILE: u64 = 4 * 1024 * 1024 * 1024;
/// Conflicts in one message, at most.
const IN_A_MESSAGE: usize = 100;
/// Conflicts that wait for a webhook that does not take them, at most.
const UNSENT: usize = 10_000;
/// The least that must come in each half minute: a recorder has no use for a server that is slower.
const WINDOW_BYTES: u64 = 300_000;

/// Record what an index publishes: hash the bytes of every file, and sign what was seen in a repository of your own.
///
/// Follows any index that answers in JSON (PEP 691). Each file gets the target path that it has in the index, so clients can ask
/// this repository as well. What is recorded stays: another file under the same name is a conflict, which is kept in
/// `conflicts/`, told on stderr and to the webhook, and ends `--once` with 9. Ends on SIGINT or SIGTERM; whatever it was
/// about to do is done by the next run.
#[derive(Debug, Args)]
pub(crate) struct Record {
    #[command(flatten)]
    repo: RepoArg,
    #[command(flatten)]
    keys: KeyArgs,
    /// The list of projects of the index, such as `https://example.org/simple/`
    #[arg(long, value_name = "URL", env = "WHEELSEAL_INDEX", hide_env_values = true)]
    index: String,
    /// Keep the files too, so that what the index loses or removes can still be had from here
    #[arg(long)]
    mirror: bool,
    /// Do not record what the index lists already when it is first looked at, but only what comes later
    #[arg(long)]
    since_now: bool,
    /// Follow the index's own log as well, by this policy (tlog-policy): what is logged must be what was recorded
    #[arg(long, value_name = "FILE")]
    index_log: Option<PathBuf>,
    /// Where `log/` of the index is, if not beside its pages
    #[arg(long, value_name = "URL", requires = "index_log")]
    index_log_url: Option<String>,
    #[command(flatten)]
    watch: Watch,
    #[command(flatten)]
    claims: ClaimsArg,
    /// Bytes of one file, at most; larger ones are left out
    #[arg(long, value_name = "N", default_value_t = MAX_FILE)]
    max_file_bytes: u64,
    /// Pages and files asked for at once
    #[arg(long, value_name = "N", default_value_t = JOBS)]
    jobs: NonZeroUsize,
    /// Fetch from this machine and private networks too, and by the proxies of the environment
    #[arg(long)]
    allow_private: bool,
    /// Where files lie until they are recorded, if not in the system's folder for temporary files
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
}

/// How often to look, and who is told.
#[derive(Debug, Args)]
struct Watch {
    /// Seconds from the end of one look to the next
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "once")]
    every: u32,
    /// Look once, and end: with 9 if there is a conflict, with 7 if something could not be had
    #[arg(long)]
    once: bool,
    /// Where each new conflict is told of, by a POST of JSON
    #[arg(long, value_name = "URL", env = "WHEELSEAL_WEBHOOK", hide_env_values = true)]
    webhook: Option<String>,
    /// Address and port that answer with metrics at /metrics
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "once")]
    metrics: Option<SocketAddr>,
}

/// What tells of conflicts.
struct Alarm {
    hook: Option<Hook>,
    /// Those that the webhook has not taken yet.
    unsent: Vec<Conflict>,
    /// The same of what the index's log shows.
    unsent_words: Vec<String>,
    metrics: Arc<Metrics>,
}

impl Record {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let spool = match &self.spool {
            Some(folder) => tempfile::tempdir_in(folder),
            None => tempfile::tempdir(),
        }?;
        let repository = open_repository(&self.repo).await?;
        let keys = Arc::new(self.keys.open(&repository, &context.out).await?);
        let desk = self.claims.desk(&repository, &keys, &self.index).await?;
        let mut recorder = self.recorder(repository.clone(), keys, spool.path().to_owned()).await?;
        let out = context.out.clone();
        recorder = recorder.telling(move |conflict| note(&out, conflict));
        if let Some(desk) = &desk {
            recorder = recorder.judging(self.claims.claims(desk));
        }
        let hook = self.watch.webhook.as_ref().map(|url| Hook::new(url, Timing::default())).transpose();
        let hook = hook.map_err(CrawlError::from)?;
        let mut alarm = Alarm { hook, unsent: Vec::new(), unsent_words: Vec::new(), metrics: Arc::default() };
        alarm.metrics.starts_with(recorder.kept_conflicts().await.map_err(plain)?);
        if let Some(address) = self.watch.metrics {
            let metrics = Arc::clone(&alarm.metrics);
            listen::metrics(address, move || metrics.text(), context).await?;
        }
        let stop = listen::stop()?;
        let taking = self.claims.serve(desk.as_ref(), &repository, context).await?;
        tokio::select! {
            ended = self.rounds(&mut recorder, &mut alarm, context) => return ended,
            () = stop => {}
        }
        if let Some(taking) = taking {
            // It was told as well, and lets running answers end.
            drop(taking.await);
        }
        Ok(())
    }

    async fn recorder(
        &self,
        repository: Repository,
        keys: Arc<Keyring>,
        spool: PathBuf,
    ) -> anyhow::Result<Recorder> {
        let reach = if self.allow_private { Reach::Anywhere } else { Reach::Public };
        let timing = Timing { window_bytes: WINDOW_BYTES, ..Timing::default() };
        let http = Http::within(reach, timing).map_err(CrawlError::from)?;
        let log = self.index_log(&http)?;
        let (bare, _) = Credentials::of_url(&self.index);
        let notes = self.repo.repo.journal(format!("record {bare}").as_bytes())?;
        let follow = Follow::open(&self.index, notes, http)?;
        let settings = Settings {
            bytes: if self.mirror { Bytes::Kept } else { Bytes::Hashed },
            existing: if self.since_now { Existing::PassedOver } else { Existing::Recorded },
            max_file: self.max_file_bytes,
            jobs: self.jobs,
            spool,
        };
        let recorder = Recorder::new(repository, keys, follow, settings).await.map_err(plain)?;
        Ok(match log {
            Some(log) => recorder.following(log),
            None => recorder,
        })
    }

    /// The index's own log, if it is followed.
    fn index_log(&self, http: &Http) -> anyhow::Result<Option<IndexLog>> {
        let Some(policy) = &self.index_log else { return Ok(None) };
        let url = self.index_log_url.clone().unwrap_or_else(|| Location::of_index(&self.index).url);
        let (bare, credentials) = Credentials::of_url(&url);
        let source = http.clone().showing(credentials).targets(&bare).map_err(CrawlError::from)?;
        let reader = Reader::new(Arc::new(WebFiles(source)));
        Ok(Some(IndexLog::new(reader, read_policy(policy)?)))
    }

    /// One round, or one after the other.
    async fn rounds(
        &self,
        recorder: &mut Recorder,
        alarm: &mut Alarm,
        context: &Context,
    ) -> anyhow::Result<()> {
        let mut first = true;
        loop {
            let (now, progress) = ((context.clock)(), context.out.progress());
            match recorder.round(now, &|done, total| progress.at("pages and files", done, total)).await {
                Ok(round) => {
                    alarm.metrics.ended(&round, now);
                    alarm.sound(recorder, &round, context).await;
                    if first || self.watch.once || round.is_news() {
                        report(&round, context)?;
                    }
                    if self.watch.once {
                        return outcome(&round);
                    }
                }
                Err(error) => {
                    let untold = recorder.untold();
                    alarm.tell(recorder, untold, Vec::new(), context).await;
                    if self.watch.once {
                        return Err(plain(error));
                    }
                    alarm.metrics.failed();
                    context
                        .out
                        .note(format_args!("{}: {error}; it will be tried again", styled(BAD, "failed")));
                }
            }
            first = false;
            tokio::time::sleep(Duration::from_secs(self.watch.every.into())).await;
        }
    }
}

impl Alarm {
    /// Tells of what a round found.
    async fn sound(&mut self, recorder: &Recorder, round: &Round, context: &Context) {
        let log = round.log.clone().unwrap_or_default();
        let mut words: Vec<String> = log.problem.filter(|_| log.is_new).into_iter().collect();
        let alone = |path| format!("{path} is in the index's log, and no page has it");
        words.extend(log.log_only.iter().map(alone));
        self.tell(recorder, round.new_conflicts.clone(), words, context).await;
    }

    /// Tells of new conflicts, and of those that could not be told of before.
    async fn tell(
        &mut self,
        recorder: &Recorder,
        conflicts: Vec<Conflict>,
        words: Vec<String>,
        context: &Context,
    ) {
        for word in &words {
            context.out.note(format_args!("{} {word}", styled(BAD, "log")));
        }
        let Some(hook) = &self.hook else {
            // They were noted as they were kept.
            return noted(recorder, &conflicts, context).await;
        };
        self.unsent.extend(conflicts);
        self.unsent.truncate(UNSENT);
        self.unsent_words.extend(words);
        self.unsent_words.truncate(UNSENT);
        while !self.unsent.is_empty() || !self.unsent_words.is_empty() {
            let some: Vec<&Conflict> = self.unsent.iter().take(IN_A_MESSAGE).collect();
            let words: Vec<&str> = self.unsent_words.iter().take(IN_A_MESSAGE).map(String::as_str).collect();
            if let Err(error) = hook.tell(&message(&some, &words)).await {
                context.out.note(format_args!("the webhook failed: {error}; it will be tried again"));
                break;
            }
            let sent: Vec<Conflict> = self.unsent.drain(..self.unsent.len().min(IN_A_MESSAGE)).collect();
            noted(recorder, &sent, context).await;
            self.unsent_words.drain(..self.unsent_words.len().min(IN_A_MESSAGE));
        }
        self.metrics.unsent(self.unsent.len());
    }
}

/// Tells of a conflict on stderr.
fn note(out: &Out, conflict: &Conflict) {
    let (expected, found) = (&conflict.expected.sha256, &conflict.found.sha256);
    out.note(format_args!(
        "{} {}: SHA-256 {found}, expected {expected}; kept, with what proves it, as {}*",
        styled(BAD, "conflict"),
        conflict.path,
        conflict.place()
    ));
}

/// Notes that they were told. If it cannot be noted, the next run tells them again.
async fn noted(recorder: &Recorder, conflicts: &[Conflict], context: &Context) {
    if let Err(error) = recorder.told(conflicts).await {
        context.out.note(format_args!("it cannot be noted that conflicts were told: {error}"));
    }
}

/// What the webhook is sent: a line for people, as chat programs show it, the conflicts as they are kept, and what the index's log
/// shows.
fn message(conflicts: &[&Conflict], words: &[&str]) -> String {
    let mut text = String::from("wheelseal record:");
    if !conflicts.is_empty() {
        let paths: Vec<&str> = conflicts.iter().map(|conflict| conflict.path.as_str()).collect();
        text.push_str(&format!(" conflict: {}", paths.join(", ")));
    }
    for word in words {
        text.push_str(&format!(" {word}"));
    }
    serde_json::json!({ "text": text, "conflicts": conflicts, "log": words }).to_string()
}

fn report(round: &Round, context: &Context) -> anyhow::Result<()> {
    context.out.result(round, || {
        let Round { recorded, pages, projects, .. } = round;
        let claims = round.claims.clone().unwrap_or_default();
        let files = if *recorded == 1 { "file" } else { "files" };
        context.out.line(format_args!(
            "{} {recorded} {files}; {pages} pages of {projects} projects were read",
            styled(GOOD, "recorded")
        ));
        for (count, what) in [
            (round.unread, "are recorded by their hashes alone"),
            (round.passed_over, "were there before, and are not recorded"),
            (round.left_out, "cannot be recorded"),
            (round.waiting, "could not be had, and will be tried again"),
            (round.conflicts, "contradict what was recorded, promised or claimed"),
            (claims.agree, "are as they were claimed"),
            (claims.index_only, "were claimed by nobody"),
            (claims.claim_only, "were claimed, and the index does not have them"),
            (claims.doubtful, "are not as somebody claimed whose keys nobody knows"),
        ] {
            if count > 0 {
                context.out.line(format_args!("{count} {what}"));
            }
        }
        if let Some(log) = &round.log {
            context.out.line(format_args!(
                "{} entries of the index's log were compared; it has {} files that are not recorded",
                log.compared, log.unrecorded
            ));
        }
        let behind = round.log.as_ref().map_or(0, |log| log.behind);
        if behind > 0 {
            context.out.line(format_args!("{behind} of its entries are left to the next round"));
        }
        for named in &round.named {
            context.out.line(format_args!("  {named}"));
        }
        if let Some(snapshot) = round.snapshot {
            context.out.note(format_args!("snapshot {snapshot}"));
        }
    })
}

/// The outcome of `--once`.
fn outcome(round: &Round) -> anyhow::Result<()> {
    if let Some(problem) = round.log.as_ref().and_then(|log| log.problem.clone()) {
        return Err(SomeFailed { text: problem, code: POLICY }.into());
    }
    let (text, code) = match (round.conflicts, round.waiting) {
        (0, 0) => return Ok(()),
        (0, waiting) => (format!("{waiting} files or pages could not be had"), NETWORK),
        (conflicts, _) => {
            (format!("{conflicts} conflict(s): the index contradicts itself or the record"), POLICY)
        }
    };
    Err(SomeFailed { text, code }.into())
}

/// The error within, whose kind has an exit code and a hint.
fn plain(error: RecordError) -> anyhow::Error {
    match error {
        RecordError::Crawl(error) => error.into(),
        RecordError::Repository(error) => error.into(),
        RecordError::Store(error) => error.into(),
        RecordError::Log(error) => error.into(),
        error @ RecordError::Local { .. } => error.into(),
    }
}
