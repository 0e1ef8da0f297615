//! `log`: the transparency log of a repository, wherever it is read from. But for `init` it needs no key.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use clap::{Args, Subcommand};

use super::Context;
use super::admin::LogInit;
use super::exit::{SomeFailed, Usage};
use super::files::{read_file, write_file};
use super::log_announce::Announce;
use super::log_check::{Consistency, Verify};
use super::log_evidence::EvidenceCheck;
use super::output::{BAD, FAINT, GOOD, STRONG, styled};
use super::place::Place;
use crate::client::{Credentials, Fetched, Http, HttpSource, Source, Timing};
use crate::log::{Files, Head, Log, LogError, Reader, StoreFiles};
use crate::python::ProjectName;
use crate::store::Store;
use crate::tlog::checkpoint::SignedCheckpoint;
use crate::tlog::leaf::Leaf;
use crate::tlog::policy::{Accepted, MAX_POLICY_LEN, Policy, Witnessing};

/// Entries shown by `log find`, at most: more files than any project has.
const MAX_FOUND: usize = 100_000;

/// Begin a repository's transparency log, look at it, and check it
#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// How large it is, what was signed, what waits
    Status(Status),
    /// Begin a log, or one after a log that was lost
    Init(Box<LogInit>),
    /// The proof that a file is logged
    Prove(Prove),
    /// Check a proof, or the whole log
    Verify(Verify),
    /// Does it continue what was signed before?
    Consistency(Consistency),
    /// What it has of a project or a file
    Find(Find),
    /// Check evidence that a log was rewritten, or that logs contradict each other
    Evidence(EvidenceCheck),
    /// What clients of a recorder are given
    Announce(Announce),
}

impl LogCommand {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Status(command) => command.run(context).await,
            Self::Init(command) => command.run(context).await,
            Self::Prove(command) => command.run(context).await,
            Self::Verify(command) => command.run(context).await,
            Self::Consistency(command) => command.run(context).await,
            Self::Find(command) => command.run(context).await,
            Self::Evidence(command) => command.run(context),
            Self::Announce(command) => command.run(context).await,
        }
    }
}

/// Where a log is.
#[derive(Debug, Clone, Args)]
pub(super) struct LogArg {
    /// Folder of the repository, its bucket, or its address: `https://…`
    #[arg(long, value_name = "DIR|URL", default_value = ".", env = "WHEELSEAL_REPO")]
    repo: LogPlace,
}

#[derive(Debug, Clone)]
enum LogPlace {
    Files(Place),
    Web(String),
}

impl FromStr for LogPlace {
    type Err = Usage;

    fn from_str(text: &str) -> Result<Self, Usage> {
        if ["https://", "http://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Ok(Self::Web(text.to_owned()));
        }
        text.parse().map(Self::Files)
    }
}

/// A log, open for reading.
pub(super) struct Opened {
    pub(super) reader: Reader,
    /// The store, where there is one to look into.
    pub(super) store: Option<Arc<dyn Store>>,
}

impl LogArg {
    /// The place, however it was typed: for what is remembered of it.
    pub(super) fn name(&self) -> anyhow::Result<String> {
        Ok(match &self.repo {
            LogPlace::Files(Place::Folder(folder)) => std::fs::canonicalize(folder)
                .with_context(|| folder.display().to_string())?
                .display()
                .to_string(),
            LogPlace::Files(place) => place.to_string(),
            LogPlace::Web(url) => Credentials::of_url(url).0.trim_end_matches('/').to_owned(),
        })
    }

    pub(super) async fn open(&self) -> anyhow::Result<Opened> {
        match &self.repo {
            LogPlace::Files(place) => {
                let store = place.open().await?;
                let files = StoreFiles(Arc::clone(&store));
                Ok(Opened { reader: Reader::new(Arc::new(files)), store: Some(store) })
            }
            LogPlace::Web(url) => {
                let source = Http::new(Timing::default())?.targets(url)?;
                Ok(Opened { reader: Reader::new(Arc::new(WebFiles(source))), store: None })
            }
        }
    }
}

impl Opened {
    /// The newest checkpoint; a log without one has nothing to check.
    pub(super) async fn checkpoint(&self) -> anyhow::Result<SignedCheckpoint> {
        if let Some(checkpoint) = self.reader.checkpoint().await? {
            return Ok(checkpoint);
        }
        if self.head().await?.is_none() {
            return Err(LogError::None.into());
        }
        Err(Usage("nothing was signed for this log yet: publish something".to_owned()).into())
    }

    pub(super) async fn head(&self) -> Result<Option<Head>, LogError> {
        let Some(store) = &self.store else { return Ok(None) };
        Log::new(Arc::clone(store)).head().await
    }
}

/// Files over HTTP.
#[derive(Debug)]
pub(super) struct WebFiles(pub(super) HttpSource);

#[async_trait]
impl Files for WebFiles {
    async fn read(&self, path: &str, max: u64) -> Result<Option<Vec<u8>>, LogError> {
        let mut bytes = Vec::new();
        match self.0.fetch(path, max, &mut bytes).await {
            Ok(Fetched::Whole) => Ok(Some(bytes)),
            Ok(Fetched::Absent) => Ok(None),
            Err(error) => Err(LogError::Fetch { path: path.to_owned(), message: error.to_string() }),
        }
    }
}

/// A policy, as people carry it.
pub(super) fn read_policy(file: &Path) -> anyhow::Result<Policy> {
    let max = u64::try_from(MAX_POLICY_LEN).unwrap_or(u64::MAX);
    let bytes = read_file(file, max)?;
    Ok(Policy::parse(&bytes).map_err(|error| Usage(format!("{}: {error}", file.display())))?)
}

/// Checks a checkpoint against a policy; what that is worth, in words. Without a policy nothing is checked.
pub(super) fn judged(
    checkpoint: &SignedCheckpoint,
    policy: Option<&Policy>,
) -> anyhow::Result<(Option<Accepted>, String)> {
    let Some(policy) = policy else {
        return Ok((None, "signatures not checked: name a policy with --policy".to_owned()));
    };
    let accepted = policy.check(checkpoint).map_err(|error| refused(&error))?;
    let words = witnessed(&accepted);
    Ok((Some(accepted), words))
}

/// What an accepted checkpoint rests on.
pub(super) fn witnessed(accepted: &Accepted) -> String {
    match (accepted.witnessing(), accepted.cosigned()) {
        (Witnessing::NotAsked, []) => {
            "signed by the log; quorum none: no witness vouches that others see the same log".to_owned()
        }
        (witnessing, cosigned) => {
            let names: Vec<&str> = cosigned.iter().map(|(name, _)| name.as_str()).collect();
            let none = if witnessing == Witnessing::NotAsked { " (quorum none)" } else { "" };
            format!("signed by the log, cosigned by {}{none}", names.join(", "))
        }
    }
}

/// A refusal by policy, or by what a policy rests on.
pub(super) fn refused(error: &dyn std::fmt::Display) -> SomeFailed {
    SomeFailed { text: error.to_string(), code: super::exit::POLICY }
}

/// How large the log is, what was signed for and by whom, and what waits to be signed for.
#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    log: LogArg,
    /// The policy that its checkpoint must satisfy
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

impl Status {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let policy = self.policy.as_deref().map(read_policy).transpose()?;
        let opened = self.log.open().await?;
        let (checkpoint, head) = (opened.reader.checkpoint().await?, opened.head().await?);
        let Some(tree) = checkpoint.as_ref().map(SignedCheckpoint::claimed).or(head.as_ref().map(Head::tree))
        else {
            return Err(LogError::None.into());
        };
        let fitting = match &checkpoint {
            Some(checkpoint) => opened.held(checkpoint.claimed()).await?,
            None => Vec::new(),
        };
        let judged = checkpoint.as_ref().map(|checkpoint| judged(checkpoint, policy.as_ref())).transpose()?;
        let signers: Vec<String> = checkpoint.iter().flat_map(SignedCheckpoint::claimed_signers).collect();
        let waiting = head.as_ref().map(|head| {
            head.size()
                .saturating_sub(checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.claimed().size()))
        });
        let accepted = judged.as_ref().and_then(|(accepted, _)| accepted.as_ref());
        let value = serde_json::json!({
            "origin": tree.origin(),
            "checkpoint": checkpoint.as_ref().map(|checkpoint| serde_json::json!({
                "size": checkpoint.claimed().size(), "root_hash": hex::encode(checkpoint.claimed().root().as_bytes()),
                "signatures": signers, "accepted": accepted.is_some(),
                "cosigned": accepted.map(|accepted| accepted.cosigned().iter().map(|(name, time)|
                    serde_json::json!({ "witness": name, "time": time })).collect::<Vec<_>>()),
            })),
            "size": head.as_ref().map(Head::size),
            "waiting": waiting, "held": fitting,
        });
        context.out.result(&value, || {
            let mut rows = vec![vec!["log".to_owned(), styled(STRONG, tree.origin())]];
            if let Some(checkpoint) = &checkpoint {
                let tree = checkpoint.claimed();
                rows.push(vec![
                    "checkpoint".to_owned(),
                    format!("{} entries, root {}", tree.size(), tree.root()),
                ]);
                rows.push(vec!["signatures".to_owned(), signers.join(", ")]);
            } else {
                rows.push(vec!["checkpoint".to_owned(), "none yet".to_owned()]);
            }
            rows.extend(judged.iter().map(|(_, words)| vec![String::new(), words.clone()]));
            rows.extend(fitting.iter().map(|line| vec![String::new(), line.clone()]));
            match waiting {
                None => {}
                Some(0) => rows.push(vec!["waiting".to_owned(), "nothing".to_owned()]),
                Some(count) => rows.push(vec![
                    "waiting".to_owned(),
                    format!("{count} entries are not signed for yet; the next publication does it"),
                ]),
            }
            context.out.table(&rows);
        })
    }
}

/// The proof that a file is logged, under the newest checkpoint: all that an offline check needs, with a policy.
#[derive(Debug, Args)]
pub(crate) struct Prove {
    #[command(flatten)]
    log: LogArg,
    /// Target path of the file: `PROJECT/FILENAME`
    path: String,
    /// Where the proof goes, if not to stdout
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Prove {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let opened = self.log.open().await?;
        let checkpoint = opened.checkpoint().await?;
        let Some((index, _, proof)) = opened.reader.find(&checkpoint, &self.path).await? else {
            let size = checkpoint.claimed().size();
            return Err(LogError::NotLogged { path: self.path, size }.into());
        };
        let text = proof.to_string();
        if let Some(file) = &self.output {
            write_file(file, text.as_bytes())?;
            context.out.note(format_args!("{}: entry {index} of the log", styled(GOOD, file.display())));
            return Ok(());
        }
        let value = serde_json::json!({ "index": index, "proof": text });
        context.out.result(&value, || context.out.line(text.trim_end()))
    }
}

/// What the log has of a project or of one file. A project's entries are found by reading the whole log.
#[derive(Debug, Args)]
pub(crate) struct Find {
    #[command(flatten)]
    log: LogArg,
    /// A project, or the target path of a file: `PROJECT/FILENAME`
    #[arg(value_name = "PROJECT|PATH")]
    what: String,
}

impl Find {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let opened = self.log.open().await?;
        let checkpoint = opened.checkpoint().await?;
        let found = if self.what.contains('/') {
            let found = opened.reader.find(&checkpoint, &self.what).await?;
            found.map(|(index, leaf, _)| (index, leaf)).into_iter().collect()
        } else {
            of_project(&opened.reader, &checkpoint, &self.what).await?
        };
        if found.is_empty() {
            let size = checkpoint.claimed().size();
            return Err(LogError::NotLogged { path: self.what, size }.into());
        }
        let value: Vec<_> = found
            .iter()
            .map(|(index, leaf)| {
                let leaf = serde_json::from_str(&leaf.to_string()).unwrap_or(serde_json::Value::Null);
                serde_json::json!({ "index": index, "leaf": leaf })
            })
            .collect();
        context.out.result(&value, || context.out.table(&found.iter().map(row).collect::<Vec<_>>()))
    }
}

/// Files of a project, and what contradicted them.
async fn of_project(
    reader: &Reader,
    checkpoint: &SignedCheckpoint,
    name: &str,
) -> anyhow::Result<Vec<(u64, Leaf)>> {
    let project: ProjectName = name.parse().with_context(|| name.to_owned())?;
    let mut found = Vec::new();
    let mut visit = |index, leaf: Leaf| {
        let of = match &leaf {
            Leaf::File(file) => Some(file.project()),
            Leaf::Conflict(conflict) => Some(conflict.file.project()),
            Leaf::Commitment(_) | Leaf::Log(_) | Leaf::Tuf(_) => None,
        };
        if of == Some(project.as_str()) {
            found.push((index, leaf));
        }
        if found.len() > MAX_FOUND {
            return Err(LogError::Visitor(format!("the log has more than {MAX_FOUND} entries of {project}")));
        }
        Ok(())
    };
    reader.leaves(checkpoint.claimed(), 0, &mut visit).await?;
    Ok(found)
}

fn row((index, leaf): &(u64, Leaf)) -> Vec<String> {
    let (kind, file) = match leaf {
        Leaf::File(file) => (String::new(), file),
        Leaf::Conflict(conflict) => {
            (styled(BAD, format_args!("other content, by {}", conflict.source.name())), &conflict.file)
        }
        other => return vec![index.to_string(), styled(FAINT, other)],
    };
    vec![
        index.to_string(),
        file.path().to_owned(),
        file.length().to_string(),
        hex::encode(file.sha256()),
        kind,
    ]
}
