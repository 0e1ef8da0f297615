//! `ceremony`: changes of roles that people sign, one after the other, wherever they are.

mod changes;
mod place;
pub(super) mod show;
mod signing;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};

pub(super) use self::changes::{Changes, removal, subjects};
pub(in crate::cli) use self::place::agreed;
use self::place::{EventArg, Found, read_event};
use crate::cli::exit::Usage;
use crate::cli::files::write_file;
use crate::cli::gate::Clients;
use crate::cli::keys::{KeyArgs, open_repository, witnesses};
use crate::cli::output::{GOOD, styled};
use crate::cli::{Context, RepoArg};
use crate::repository::{Detail, Event, EventName, Repository, RepositoryError, Review};

#[derive(Debug, Subcommand)]
pub(crate) enum Ceremony {
    /// What `start` would propose
    Plan(Plan),
    /// Propose a change of roles, for others to sign
    Start(Start),
    /// What a ceremony changes, in words
    Show(Show),
    /// Who has signed what, and who is missing
    Status(Status),
    /// Show that you hold a new key
    Join(signing::Join),
    /// Sign what a ceremony proposes
    Sign(signing::Sign),
    /// Write exactly the bytes that are to be signed
    Payload(signing::Payload),
    /// Add a signature that was made elsewhere
    AddSignature(signing::AddSignature),
    /// Verify everything in a ceremony's file
    Verify(Verify),
    /// Publish what was signed
    Finish(Finish),
    /// Who signed what and when, as text for the minutes
    Transcript(Transcript),
    /// Write a ceremony to a file, to be carried
    Export(Carry),
    /// Take over signatures from a carried file
    Import(Import),
    /// Give a ceremony up
    Abandon(Abandon),
}

impl Ceremony {
    pub(in crate::cli) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Plan(command) => command.run(context).await,
            Self::Start(command) => command.run(context).await,
            Self::Show(command) => command.run(context).await,
            Self::Status(command) => command.run(context).await,
            Self::Join(command) => command.run(context).await,
            Self::Sign(command) => command.run(context).await,
            Self::Payload(command) => command.run(context).await,
            Self::AddSignature(command) => command.run(context).await,
            Self::Verify(command) => command.run(context).await,
            Self::Finish(command) => command.run(context).await,
            Self::Transcript(command) => command.run(context).await,
            Self::Export(command) => command.run(context).await,
            Self::Import(command) => command.run(context).await,
            Self::Abandon(command) => command.run(context).await,
        }
    }
}

/// What `start` would propose; nothing is written.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    repo: RepoArg,
    #[command(flatten)]
    changes: Changes,
    /// All names of long lists
    #[arg(long)]
    full: bool,
}

/// Propose a change of roles, for others to sign.
///
/// A ROLE is root, timestamp, snapshot, targets, bins, claimed, recently-claimed, bin-n (each of the bins), or online for
/// all that sign without a person. The proposal is written to `staging/ceremonies/` and changes nothing until it is finished.
#[derive(Debug, Args)]
pub(crate) struct Start {
    #[command(flatten)]
    repo: RepoArg,
    /// How the ceremony is called from now on: lower-case letters, digits, hyphens
    name: String,
    #[command(flatten)]
    changes: Changes,
    /// Only show what would be proposed
    #[arg(long)]
    dry_run: bool,
    /// All names of long lists
    #[arg(long)]
    full: bool,
}

fn detail(full: bool) -> Detail {
    if full { Detail::Full } else { Detail::Brief }
}

fn name(text: &str) -> anyhow::Result<EventName> {
    Ok(EventName::new(text).map_err(RepositoryError::from)?)
}

fn reviewed(event: &Event, full: bool, repository: Option<&Repository>) -> anyhow::Result<Review> {
    let expiry = repository.map(|repository| &repository.settings().expiry);
    Ok(event.review(detail(full), expiry).map_err(RepositoryError::from)?)
}

impl Found {
    fn repository(&self) -> Option<&Repository> {
        match self {
            Self::InRepository(repository) => Some(repository),
            Self::InFile(_) => None,
        }
    }
}

impl Plan {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let repository = open_repository(&self.repo).await?;
        let event = repository.draft(name("plan")?, &self.changes.edits().await?, context.now).await?;
        let review = reviewed(&event, self.full, Some(&repository))?;
        context.out.result(&review, || show::review(&review, context))
    }
}

impl Start {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let repository = open_repository(&self.repo).await?;
        let mut event =
            repository.draft(name(&self.name)?, &self.changes.edits().await?, context.now).await?;
        if !self.dry_run {
            if repository.ceremonies().await?.contains(event.name()) {
                return Err(RepositoryError::from(crate::repository::CeremonyError::Taken(self.name)).into());
            }
            event = repository.keep(&event).await?;
        }
        let review = reviewed(&event, self.full, Some(&repository))?;
        context.out.result(&review, || {
            show::review(&review, context);
            if !self.dry_run {
                show::signatures(&review, context);
                show::next(&review, &self.name, context);
            }
        })
    }
}

/// What a ceremony changes, in words.
#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    event: EventArg,
    /// All names of long lists
    #[arg(long)]
    full: bool,
}

impl Show {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let (event, found) = self.event.read().await?;
        let review = reviewed(&event, self.full, found.repository())?;
        context.out.result(&review, || {
            show::review(&review, context);
            show::signatures(&review, context);
        })
    }
}

/// Who has signed what, and who is missing; without a ceremony, which ones there are.
#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    repo: RepoArg,
    /// Its name in the repository, or a file that was exported
    event: Option<String>,
}

impl Status {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let Some(event) = self.event else {
            let repository = open_repository(&self.repo).await?;
            let names = repository.ceremonies().await?;
            let names: Vec<_> = names.iter().map(EventName::as_str).collect();
            return context.out.result(&names, || match names.as_slice() {
                [] => context.out.note("no ceremony is under way"),
                names => names.iter().for_each(|name| context.out.line(name)),
            });
        };
        let place = EventArg { repo: self.repo, event };
        let (event, found) = place.read().await?;
        let review = reviewed(&event, false, found.repository())?;
        context.out.result(&review, || {
            show::signatures(&review, context);
            show::next(&review, &place.event, context);
        })
    }
}

/// Verify everything in a ceremony's file: the chain of roots, the roles as they are now, what is proposed, and every
/// signature. In a repository, also whether it is still based on what there is.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    event: EventArg,
    /// A root of this repository that you know, such as the `1.root.json` that clients were given
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
}

impl Verify {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let (event, found) = self.event.read().await?;
        signing::known_root(&event, self.root.as_deref())?;
        if let Found::InRepository(repository) = &found {
            repository.still_current(&event, context.now).await?;
        }
        let review = reviewed(&event, false, found.repository())?;
        event
            .allowed(found.repository().map(|repository| &repository.settings().expiry))
            .map_err(RepositoryError::from)?;
        context.out.result(&review, || {
            let good = styled(GOOD, "good");
            context.out.line(format_args!("{good}: all that is in {} verifies", review.name));
            if self.root.is_none() {
                context.out.note("against no root that you know: compare its SHA-256, or give --root FILE");
                context.out.note(format_args!("root version {}: {}", review.root, review.root_sha256));
            }
            show::next(&review, &self.event.event, context);
        })
    }
}

/// Publish what was signed. Everything is verified against the repository as it is now, rehearsed, and shown to a real
/// client (and tough, where it can read the repository) before anything is published. New online keys must be at hand.
#[derive(Debug, Args)]
pub(crate) struct Finish {
    #[command(flatten)]
    event: EventArg,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    gate: GateArgs,
    /// Write who signed what to this file, for the minutes, before anything is published
    #[arg(long, value_name = "FILE")]
    transcript: Option<PathBuf>,
    /// Only show what would be published
    #[arg(long)]
    dry_run: bool,
}

/// Who else is asked before something is published.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct GateArgs {
    /// A program that is given the staged repository, a folder with `metadata/`, and refuses by its exit code; or
    /// python-tuf, which then must be there; may be repeated
    #[arg(long = "gate", value_name = "PROGRAM")]
    programs: Vec<PathBuf>,
    /// The Python that has python-tuf, which is asked too; nothing, to leave it out
    #[arg(long, env = "WHEELSEAL_PYTHON", value_name = "PROGRAM", default_value = "python3")]
    python: OsString,
}

impl GateArgs {
    pub(in crate::cli) fn clients(&self, repository: &Repository, context: &Context) -> Clients {
        Clients {
            present: repository.clone(),
            programs: self.programs.clone(),
            python: self.python.clone(),
            out: context.out.clone(),
            now: context.now,
        }
    }
}

impl Finish {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let (event, found) = self.event.read().await?;
        let mut repository = match found {
            Found::InRepository(repository) => *repository,
            Found::InFile(_) => open_repository(&self.event.repo).await?,
        };
        if self.dry_run {
            repository.still_current(&event, context.now).await?;
            let review = reviewed(&event, false, Some(&repository))?;
            return context.out.result(&review, || {
                show::review(&review, context);
                show::signatures(&review, context);
            });
        }
        if let Some(file) = &self.transcript {
            write_file(file, event.transcript().map_err(RepositoryError::from)?.as_bytes())?;
        }
        let mut keyring = self.keys.open(&repository, &context.out).await?;
        if let Some(policy) = event.log_policy()? {
            keyring.set_witnesses(witnesses(&policy)?);
        }
        let gate = self.gate.clients(&repository, context);
        let progress = context.out.progress();
        let finished = repository.finish(&event, &keyring, Some(&gate), context.now, &progress).await?;
        context.out.result(&finished, || show::finished(&finished, context))?;
        super::role::forget_unused_online(&mut repository, self.keys.given(), context).await
    }
}

/// Who signed what and when, with hashes, as plain text for the minutes.
#[derive(Debug, Args)]
pub(crate) struct Transcript {
    #[command(flatten)]
    event: EventArg,
}

impl Transcript {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let (event, _) = self.event.read().await?;
        let text = event.transcript().map_err(RepositoryError::from)?;
        let value = serde_json::json!({"transcript": text});
        context.out.result(&value, || context.out.line(text.trim_end()))
    }
}

/// Write a ceremony to a file. It holds all that a signer needs, so `sign` works on it anywhere.
#[derive(Debug, Args)]
pub(crate) struct Carry {
    #[command(flatten)]
    repo: RepoArg,
    /// The ceremony
    name: String,
    /// The file to write
    file: PathBuf,
}

impl Carry {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let repository = open_repository(&self.repo).await?;
        let event = repository.ceremony(&name(&self.name)?).await?;
        if self.file.exists() {
            return Err(Usage(format!("{} exists; a file is not overwritten", self.file.display())).into());
        }
        write_file(&self.file, &event.to_bytes().map_err(RepositoryError::from)?)?;
        let file = self.file.display().to_string();
        context.out.result(&serde_json::json!({"ceremony": self.name, "file": file}), || {
            context.out.line(format_args!("{} {file}", styled(GOOD, "wrote")));
        })
    }
}

/// Take over signatures from a carried file. A ceremony that is not here yet is taken over whole.
#[derive(Debug, Args)]
pub(crate) struct Import {
    #[command(flatten)]
    repo: RepoArg,
    /// The file
    file: PathBuf,
}

impl Import {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let repository = open_repository(&self.repo).await?;
        let event = read_event(&self.file)?;
        repository.still_current(&event, context.now).await?;
        let event = repository.keep(&event).await?;
        let review = reviewed(&event, false, Some(&repository))?;
        context.out.result(&review, || {
            show::signatures(&review, context);
            show::next(&review, &review.name, context);
        })
    }
}

/// Give a ceremony up. Nothing was changed by it.
#[derive(Debug, Args)]
pub(crate) struct Abandon {
    #[command(flatten)]
    repo: RepoArg,
    /// The ceremony
    name: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Abandon {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let repository = open_repository(&self.repo).await?;
        let name = name(&self.name)?;
        agreed(&format!("The signatures of {name} will be lost."), self.yes)?;
        repository.abandon(&name).await?;
        context.out.result(&serde_json::json!({"abandoned": name.as_str()}), || {
            context.out.line(format_args!("{} {name}", styled(GOOD, "gave up")));
        })
    }
}
