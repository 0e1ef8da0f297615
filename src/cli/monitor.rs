//! `monitor`: watches a transparency log for projects, for keys, and for what no log may do.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::Context;
use super::exit::{NETWORK, POLICY, SomeFailed, Usage};
use super::files::read_file;
use super::listen;
use super::log::{LogArg, read_policy};
use super::output::{BAD, STRONG, styled};
use crate::client::trust::{TrustStore, state_home};
use crate::client::{Client, FetchError, Hook, Timing};
use crate::crypto::sha256;
use crate::monitor::{Event, Expected, MAX_EXPECTED, Metrics, MonitorError, Round, Watched};
use crate::python::ProjectName;
use crate::release_claim::SignedClaim;
use crate::tuf::key::KeyId;
use crate::tuf::trusted::Limits;

/// Events in one message, at most.
const IN_A_MESSAGE: usize = 100;

/// Watch a transparency log: new files of projects, second contents, changes of keys, a log that was rewritten.
///
/// Every leaf is verified against a checkpoint that satisfies the policy, and each checkpoint against the one before. Events go to
/// stdout, as JSON where it is no terminal: one line each. An event may be told twice after a kill, and is never lost. What
/// contradicts itself is written to `evidence/` in the state folder, for others to check with `log evidence`. `--once` ends with 9 if
/// something alarms. Without --project and --key every file is told of; second contents are seen for watched projects alone.
#[derive(Debug, Args)]
pub(crate) struct Monitor {
    #[command(flatten)]
    log: LogArg,
    /// The logs and witnesses that are trusted (tlog-policy)
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    #[command(flatten)]
    about: About,
    /// Folder of what the monitor remembers, if not in the user's folder for state
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    #[command(flatten)]
    when: When,
}

/// What is watched.
#[derive(Debug, Args)]
struct About {
    /// Project to watch; may be repeated
    #[arg(long = "project", value_name = "NAME")]
    projects: Vec<ProjectName>,
    /// Key id of a maintainer: watch the projects that it can sign for; may be repeated
    #[arg(long = "key", value_name = "KEYID", requires = "trust", value_parser = key_id)]
    keys: Vec<KeyId>,
    /// Alarm if a file of a watched project is not in here: lines of SHA256 and PROJECT/FILENAME, or a signed claim; may be
    /// repeated. Read at each look
    #[arg(long, value_name = "FILE")]
    expect: Vec<PathBuf>,
    /// Name of a trust: tell of changes of the keys of watched projects, by its verified metadata
    #[arg(long, value_name = "NAME")]
    trust: Option<String>,
    /// Alarm if the log did not grow for so many hours
    #[arg(long, value_name = "HOURS", value_parser = clap::value_parser!(u32).range(1..))]
    stale: Option<u32>,
    /// Tell of the files, too, that are logged already at the first look
    #[arg(long)]
    history: bool,
}

/// How often to look, and who is told.
#[derive(Debug, Args)]
struct When {
    /// Seconds from the end of one look to the next
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "once")]
    every: u32,
    /// Look once, and end: with 9 if something alarms, with 7 if the log could not be had
    #[arg(long)]
    once: bool,
    /// Where each event is told of, by a POST of JSON
    #[arg(long, value_name = "URL", env = "WHEELSEAL_WEBHOOK", hide_env_values = true)]
    webhook: Option<String>,
    /// Address and port that answer with metrics at /metrics
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "once")]
    metrics: Option<SocketAddr>,
}

fn key_id(text: &str) -> Result<KeyId, String> {
    KeyId::new(text).map_err(|error| error.to_string())
}

/// A monitor at work, and who it tells.
struct Watch {
    monitor: crate::monitor::Monitor,
    client: Option<Client>,
    hook: Option<Hook>,
    metrics: Arc<Metrics>,
}

impl Monitor {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut watch = self.open().await?;
        if let Some(address) = self.when.metrics {
            let metrics = Arc::clone(&watch.metrics);
            listen::metrics(address, move || metrics.text(), context).await?;
        }
        let stop = listen::stop()?;
        tokio::select! {
            ended = self.rounds(&mut watch, context) => ended,
            () = stop => Ok(()),
        }
    }

    async fn open(&self) -> anyhow::Result<Watch> {
        if !self.about.expect.is_empty() && self.about.projects.is_empty() && self.about.keys.is_empty() {
            let text = "--expect says what to expect of watched projects: name them, with --project or --key";
            return Err(Usage(text.to_owned()).into());
        }
        let hook = self.when.webhook.as_ref().map(|url| Hook::new(url, Timing::default())).transpose();
        let hook = hook.map_err(crate::crawl::CrawlError::from)?;
        let client = match &self.about.trust {
            Some(name) => Some(TrustStore::of_user()?.client(name, Timing::default(), Limits::default())?),
            None => None,
        };
        let watched = Watched {
            projects: self.about.projects.iter().cloned().collect(),
            keys: self.about.keys.iter().cloned().collect(),
            expected: self.expected()?,
            stale: self.about.stale,
            history: self.about.history,
            sends: hook.is_some(),
        };
        let policy = read_policy(&self.policy)?;
        let reader = self.log.open().await?.reader;
        let folder = self.folder()?;
        let monitor = crate::monitor::Monitor::open(&folder, reader, policy, watched).await.map_err(plain)?;
        Ok(Watch { monitor, client, hook, metrics: Arc::default() })
    }

    /// Where the monitor remembers: in the user's own folder, one place for each log and what is watched of it.
    fn folder(&self) -> anyhow::Result<PathBuf> {
        if let Some(folder) = &self.state {
            return Ok(folder.clone());
        }
        let names = |names: BTreeSet<String>| names.into_iter().collect::<Vec<_>>().join(" ");
        let projects = names(self.about.projects.iter().map(ToString::to_string).collect());
        let keys = names(self.about.keys.iter().map(ToString::to_string).collect());
        let name = sha256(format!("{}\n{projects}\n{keys}", self.log.name()?).as_bytes());
        Ok(state_home()?.join("monitors").join(hex::encode(name)))
    }

    /// The files that may be logged, as they are listed now.
    fn expected(&self) -> anyhow::Result<Option<Expected>> {
        if self.about.expect.is_empty() {
            return Ok(None);
        }
        let mut lines = String::new();
        let mut claimed = Vec::new();
        for file in &self.about.expect {
            let bytes = read_file(file, MAX_EXPECTED)?;
            if bytes.starts_with(b"{") {
                let claim = SignedClaim::parse(&bytes);
                let claim = claim.map_err(|error| Usage(format!("{}: {error}", file.display())))?;
                claimed.extend(claim.unauthenticated().files().to_vec());
                continue;
            }
            let text = String::from_utf8(bytes);
            let text = text.map_err(|_| Usage(format!("{}: it is not UTF-8", file.display())))?;
            // For the number of the line.
            Expected::parse(&text).map_err(|error| Usage(format!("{}: {error}", file.display())))?;
            lines.push_str(&text);
            lines.push('\n');
        }
        let mut expected = Expected::parse(&lines).map_err(|error| Usage(error.to_string()))?;
        for file in &claimed {
            expected.add(file);
        }
        Ok(Some(expected))
    }

    /// One round, or one after the other.
    async fn rounds(&self, watch: &mut Watch, context: &Context) -> anyhow::Result<()> {
        loop {
            let (round, ended) = self.round(watch, context).await;
            if self.when.once {
                return outcome(&round, ended, context);
            }
            if let Err(error) = ended {
                let failed = styled(BAD, "failed");
                context.out.note(format_args!("{failed}: {error}; it will be tried again"));
            }
            tokio::time::sleep(Duration::from_secs(self.when.every.into())).await;
        }
    }

    /// One look: what was seen, and what failed. What the repository's metadata cannot tell does not keep the log from being read.
    async fn round(&self, watch: &mut Watch, context: &Context) -> (Round, anyhow::Result<()>) {
        let now = (context.clock)();
        match self.expected() {
            Ok(expected) => watch.monitor.expect(expected),
            Err(error) => return (Round::default(), Err(error)),
        }
        let session = match &watch.client {
            Some(client) => Some(client.refresh(now).await),
            None => None,
        };
        let (session, refused) = match session.transpose() {
            Ok(session) => (session, Ok(())),
            Err(error) => (None, Err(error.into())),
        };
        let json = context.out.json() || !std::io::stdout().is_terminal();
        let mut tell =
            |events: &[Event]| events.iter().try_for_each(|event| context.out.try_line(shown(event, json)));
        let (round, ended) = watch.monitor.round(now, session.as_ref(), &mut tell).await;
        let sent = watch.send(context).await;
        if ended.is_ok() {
            watch.metrics.ended(&round, now);
        } else {
            watch.metrics.failed(&round);
        }
        if self.when.once {
            let (size, leaves) = (round.size, round.leaves);
            context.out.note(format_args!("{leaves} new entries of {size} were read and verified"));
        }
        if round.behind > 0 {
            context.out.note(format_args!("{} entries are left to the next look", round.behind));
        }
        (round, ended.map_err(plain).and(sent).and(refused))
    }
}

impl Watch {
    /// Sends what the webhook has not taken yet.
    async fn send(&mut self, context: &Context) -> anyhow::Result<()> {
        let Some(hook) = &self.hook else { return Ok(()) };
        let mut at_once = IN_A_MESSAGE;
        loop {
            let (unsent, dropped) = self.monitor.unsent();
            self.metrics.unsent(unsent.len());
            let some: Vec<&Event> = unsent.iter().take(at_once).collect();
            if some.is_empty() {
                return Ok(());
            }
            let count = some.len();
            match hook.tell(&message(&some, dropped)).await {
                Ok(()) => {}
                // It may be one of them that is refused, or that they are so many.
                Err(error) if is_of_the_message(&error) && count > 1 => {
                    at_once = count / 2;
                    continue;
                }
                Err(error) if is_of_the_message(&error) => {
                    context.out.note(format_args!(
                        "the webhook refuses an event, which it is not sent again: {error}"
                    ));
                }
                Err(error) => {
                    context.out.note(format_args!("the webhook failed: {error}; it will be tried again"));
                    return Ok(());
                }
            }
            self.monitor.sent(count).await.map_err(plain)?;
        }
    }
}

/// Whether it refuses what it is sent, rather than who sends it, or everything.
fn is_of_the_message(error: &FetchError) -> bool {
    matches!(error, FetchError::Status { status: 400 | 413 | 422, .. })
}

/// What the webhook is sent: lines for people, as chat programs show them, and the events.
fn message(events: &[&Event], dropped: u64) -> String {
    let mut text = String::from("wheelseal monitor:");
    for event in events {
        text.push_str(&format!("\n{event}"));
    }
    if dropped > 0 {
        text.push_str(&format!("\n{dropped} more were told on stdout alone"));
    }
    serde_json::json!({ "text": text, "events": events, "dropped": dropped }).to_string()
}

fn shown(event: &Event, json: bool) -> String {
    if json {
        return event.to_json();
    }
    if event.alarms() {
        format!("{} {event}", styled(BAD, "alarm"))
    } else {
        format!("{} {event}", styled(STRONG, "event"))
    }
}

/// The outcome of `--once`. What alarms comes before what failed.
fn outcome(round: &Round, ended: anyhow::Result<()>, context: &Context) -> anyhow::Result<()> {
    let text = match (round.alarms, round.standing) {
        (0, false) => return ended,
        (0, true) => "what was told of the log before is still so".to_owned(),
        (alarms, _) => format!("{alarms} event(s) that alarm"),
    };
    if let Err(error) = ended {
        context.out.note(format_args!("{}: {error:#}", styled(BAD, "failed")));
    }
    Err(SomeFailed { text, code: POLICY }.into())
}

/// The error within, whose kind has an exit code and a hint.
fn plain(error: MonitorError) -> anyhow::Error {
    match error {
        MonitorError::Log(error) => error.into(),
        MonitorError::Client(error) => error.into(),
        MonitorError::Store(error) => error.into(),
        error @ MonitorError::Lags(_) => SomeFailed { text: error.to_string(), code: NETWORK }.into(),
        error @ (MonitorError::Damaged { .. } | MonitorError::Untold { .. }) => error.into(),
    }
}
