//! `claims enable | receive | list | staged | approve | apply | promote | revoke`: projects that belong to their maintainers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::ceremony::{GateArgs, show};
use crate::cli::attested::read_release;
use crate::cli::exit::{self, SomeFailed, Usage};
use crate::cli::keys::{KeyArgs, open_repository};
use crate::cli::output::{BAD, GOOD, styled};
use crate::cli::project::{RELEASE, read_file};
use crate::cli::watch::NoteArg;
use crate::cli::{Context, RepoArg};
use crate::journal::{ClaimChange, Deed};
use crate::python::ProjectName;
use crate::repository::{
    Applied, Changed, Distribution, Event, EventName, Keyring, Kind, LookAlike, ProjectFile, Promotion,
    Repository, RepositoryError, Sent,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Claims {
    /// Let projects be claimed by their maintainers (PEP 480); needs the targets keys
    Enable(Enable),
    /// Take what maintainers sent: a release is published, a claim waits for approve
    Receive(Receive),
    /// The same, and agree with the claim at once
    Apply(Receive),
    /// Claimed projects, and claims that wait
    List(List),
    /// Uploads that wait for their maintainers' signatures
    Staged(StagedArgs),
    /// Agree with claims that wait: their makers own these projects from then on
    Approve(Approve),
    /// Let the offline keys vouch for claimed projects, and for new keys of them; needs the keys of claimed
    Promote(Promote),
    /// Take a project back: the index signs its files from then on
    Revoke(Revoke),
}

/// What all of them have in common.
#[derive(Debug, Args)]
pub(crate) struct Common {
    #[command(flatten)]
    repo: RepoArg,
    #[command(flatten)]
    keys: KeyArgs,
}

/// Let projects be claimed by their maintainers (PEP 480). Without the targets keys, a ceremony is left that waits for them.
#[derive(Debug, Args)]
pub(crate) struct Enable {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    gate: GateArgs,
}

/// Take what maintainers sent.
#[derive(Debug, Args)]
pub(crate) struct Receive {
    #[command(flatten)]
    common: Common,
    /// The name looks like that of a claimed project, and that is fine
    #[arg(long)]
    look_alike: bool,
    /// Check everything, change nothing
    #[arg(long)]
    dry_run: bool,
    /// Files, or folders of releases: each is taken or refused by itself
    #[arg(required = true, value_name = "FILE|FOLDER")]
    paths: Vec<PathBuf>,
}

/// Claimed projects, and claims that wait.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    repo: RepoArg,
}

/// Uploads to `serve` that wait for their maintainers' signatures. What nobody signs within 30 days, `gc` removes.
#[derive(Debug, Args)]
pub(crate) struct StagedArgs {
    #[command(flatten)]
    repo: RepoArg,
    /// Forget them
    #[arg(long, requires = "name")]
    forget: bool,
    /// Of this project alone
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// Agree with claims that wait.
#[derive(Debug, Args)]
pub(crate) struct Approve {
    #[command(flatten)]
    common: Common,
    /// Do not agree: forget the claims
    #[arg(long)]
    reject: bool,
    /// The names look like those of claimed projects, and that is fine
    #[arg(long)]
    look_alike: bool,
    /// Projects
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// Let the offline keys vouch for claimed projects, and for new keys of them. Without the keys of claimed, a ceremony is
/// left that waits for them. What does not fit in one ceremony is told, and waits for the next.
#[derive(Debug, Args)]
pub(crate) struct Promote {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    gate: GateArgs,
    /// Name of the ceremony, if signatures of others are needed
    #[arg(long, value_name = "NAME", default_value = "claims-promote")]
    name: String,
    /// Projects; without any, all that wait
    #[arg(value_name = "PROJECT")]
    names: Vec<String>,
}

/// Take a project back: the index signs its files from then on. If it was promoted, that takes the keys of claimed; without
/// them, a ceremony is left that waits for them.
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    gate: GateArgs,
    /// The project
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    note: NoteArg,
}

impl Claims {
    pub(in crate::cli) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Enable(command) => command.run(context).await,
            Self::Receive(command) => command.run(context, false).await,
            Self::Apply(command) => command.run(context, true).await,
            Self::List(command) => command.run(context).await,
            Self::Staged(command) => command.run(context).await,
            Self::Approve(command) => command.run(context).await,
            Self::Promote(command) => command.run(context).await,
            Self::Revoke(command) => command.run(context).await,
        }
    }
}

impl Common {
    async fn open(&self, context: &Context) -> anyhow::Result<(Repository, Keyring)> {
        let repository = open_repository(&self.repo).await?;
        let keyring = self.keys.open(&repository, &context.out).await?;
        Ok((repository, keyring))
    }
}

impl Enable {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let (repository, keyring) = self.common.open(context).await?;
        let event = repository.claims_enabling(EventName::new("claims-enable")?, context.now).await?;
        let Some(event) = event else {
            return context.out.result(&serde_json::json!({ "changed": false }), || {
                context.out.line("projects can be claimed already");
            });
        };
        let changed = held(&repository, &keyring, &self.gate, event, context).await?;
        outcome(context, &changed, "from now on, projects can be claimed", &[])
    }
}

/// Publishes a change of offline roles, or leaves the ceremony that waits for signatures.
async fn held(
    repository: &Repository,
    keyring: &Keyring,
    gate: &GateArgs,
    event: Event,
    context: &Context,
) -> anyhow::Result<Changed> {
    let (gate, progress) = (gate.clients(repository, context), context.out.progress());
    Ok(repository.hold(event, keyring, Some(&gate), context.now, &progress).await?)
}

/// What became of a change of offline roles, and which projects it leaves for another.
fn outcome(context: &Context, changed: &Changed, done: &str, left: &[ProjectName]) -> anyhow::Result<()> {
    let left: Vec<&str> = left.iter().map(ProjectName::as_str).collect();
    let value = match changed {
        Changed::Done(finished) => {
            serde_json::json!({ "changed": true, "snapshot": finished.snapshot, "left": left })
        }
        Changed::Waiting { event, why } => {
            serde_json::json!({ "ceremony": event.name().as_str(), "why": why.to_string(), "left": left })
        }
    };
    context.out.result(&value, || {
        match changed {
            Changed::Done(finished) => {
                context.out.line(styled(GOOD, done));
                context.out.note(format_args!("snapshot {}", finished.snapshot));
            }
            Changed::Waiting { event, why } => {
                show::waiting(event.name().as_str(), &why.to_string(), context);
            }
        }
        if !left.is_empty() {
            context.out.note(format_args!(
                "one ceremony has no room for {} more project(s): once it is finished, run the same command again",
                left.len()
            ));
        }
    })?;
    match changed {
        Changed::Done(_) => Ok(()),
        Changed::Waiting { why, .. } => {
            let text = format!("nothing was published yet: {why}");
            Err(SomeFailed { text, code: exit::THRESHOLD }.into())
        }
    }
}

impl Receive {
    async fn run(self, context: &Context, agree: bool) -> anyhow::Result<()> {
        let (repository, keyring) = self.common.open(context).await?;
        let mut outcomes: Vec<Outcome> = Vec::new();
        // Requests that are applied, with the places of their outcomes.
        let mut at_once: Vec<(usize, Received)> = Vec::new();
        for path in &self.paths {
            let outcome = match self.one(&repository, path, agree, context).await {
                Ok(Either::Done(outcome)) => outcome,
                Ok(Either::AtOnce(received)) => {
                    at_once.push((outcomes.len(), received));
                    Outcome::Good(path.clone())
                }
                Err(error) => Outcome::Refused(path.display().to_string(), error),
            };
            outcomes.push(outcome);
        }
        let sent: Vec<_> =
            at_once.iter().map(|(_, one)| Sent { file: &one.file, files: &one.files }).collect();
        let applied = repository.apply_all(&keyring, &sent, self.look_alike(), context.now).await;
        for ((at, one), applied) in at_once.iter().zip(applied) {
            if let Some(place) = outcomes.get_mut(*at) {
                *place = Outcome::of(applied, &one.file.project);
            }
        }
        report(context, outcomes)
    }

    fn look_alike(&self) -> LookAlike {
        if self.look_alike { LookAlike::Accepted } else { LookAlike::Refused }
    }

    /// What becomes of a request that is not applied at once.
    async fn one(
        &self,
        repository: &Repository,
        path: &Path,
        agree: bool,
        context: &Context,
    ) -> anyhow::Result<Either> {
        let received = read_all(path)?;
        let file = &received.file;
        let in_ceremony = file.kind == Kind::Keys && repository.needs_ceremony(file, context.now).await?;
        let waits = in_ceremony || file.kind == Kind::Claim && !agree;
        if (self.dry_run || waits) && !in_ceremony {
            repository.judge_project(file, &received.files, self.look_alike(), context.now).await?;
        }
        if self.dry_run {
            return Ok(Either::Done(Outcome::Good(path.to_owned())));
        }
        if waits {
            repository.queue_claim(file).await?;
            return Ok(Either::Done(Outcome::Waits(file.project.clone(), file.kind)));
        }
        Ok(Either::AtOnce(received))
    }
}

/// Whether something is left to do.
enum Either {
    Done(Outcome),
    AtOnce(Received),
}

/// What became of one thing that maintainers sent.
enum Outcome {
    /// It would be taken.
    Good(PathBuf),
    /// It waits for an admin.
    Waits(ProjectName, Kind),
    Applied(Applied),
    /// A file or a project, and why.
    Refused(String, anyhow::Error),
}

impl Outcome {
    fn of(applied: Result<Applied, RepositoryError>, project: &ProjectName) -> Self {
        match applied {
            Ok(applied) => Self::Applied(applied),
            Err(error) => Self::Refused(project.to_string(), error.into()),
        }
    }
}

impl List {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let repository = open_repository(&self.repo).await?;
        let claimed = repository.claimed().await?;
        let waiting = repository.waiting_claims().await?;
        let names: Vec<String> = waiting.iter().map(|file| file.project.to_string()).collect();
        let value = serde_json::json!({ "claimed": claimed, "waiting": names });
        context.out.result(&value, || {
            let mut rows = vec![["PROJECT", "BY", "SIGNED BY", "ROLE"].map(ToOwned::to_owned).to_vec()];
            for one in &claimed {
                let team = format!("{} of {}", one.threshold, one.keys.len());
                rows.push(vec![one.project.clone(), one.by.to_owned(), team, one.version.to_string()]);
            }
            for file in &waiting {
                let team = format!("{} of {}", file.owners.threshold, file.owners.keys.len());
                let next = if file.kind == Kind::Claim { "waits for approve" } else { "waits for promote" };
                rows.push(vec![file.project.to_string(), next.to_owned(), team, "-".to_owned()]);
            }
            context.out.table(&rows);
        })
    }
}

impl StagedArgs {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let repository = open_repository(&self.repo).await?;
        let staged = match &self.name {
            Some(name) => repository.staged_for(&project(name)?).await?,
            None => repository.staged().await?,
        };
        if self.forget {
            for one in &staged {
                repository.forget_staged(one).await?;
            }
        }
        let value = serde_json::json!({ "staged": staged, "forgotten": self.forget });
        context.out.result(&value, || {
            let mut rows = vec![["SINCE", "BYTES", "SHA-256", "FILE"].map(ToOwned::to_owned).to_vec()];
            for one in &staged {
                let since = one.since.format("%Y-%m-%d %H:%M").to_string();
                rows.push(vec![since, one.size.to_string(), one.sha256.clone(), one.filename.clone()]);
            }
            context.out.table(&rows);
            if self.forget {
                context.out.note(format_args!("{} upload(s) forgotten", staged.len()));
            }
        })
    }
}

impl Approve {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let (repository, keyring) = self.common.open(context).await?;
        let waiting = repository.waiting_claims().await?;
        let look_alike = if self.look_alike { LookAlike::Accepted } else { LookAlike::Refused };
        let mut files = Vec::new();
        for name in &self.names {
            let file = waiting.iter().find(|file| file.project.as_str() == name);
            files.push(file.ok_or_else(|| Usage(format!("no claim of {name} is waiting")))?);
        }
        if self.reject {
            for file in files {
                repository.forget_claim(&file.project).await?;
            }
            return report(context, Vec::new());
        }
        let sent: Vec<_> = files.iter().map(|file| Sent { file, files: &[] }).collect();
        let applied = repository.apply_all(&keyring, &sent, look_alike, context.now).await;
        let mut outcomes = Vec::new();
        for (file, applied) in files.iter().zip(applied) {
            if applied.is_ok() {
                repository.forget_claim(&file.project).await?;
            }
            outcomes.push(Outcome::of(applied, &file.project));
        }
        report(context, outcomes)
    }
}

impl Promote {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let (repository, keyring) = self.common.open(context).await?;
        let names: BTreeSet<ProjectName> = if self.names.is_empty() {
            repository.recently_claimed().await?
        } else {
            self.names.iter().map(|name| project(name)).collect::<Result<_, _>>()?
        };
        let mut rekeyed = repository.waiting_claims().await?;
        rekeyed.retain(|file| file.kind == Kind::Keys);
        if names.is_empty() && rekeyed.is_empty() {
            return Err(Usage("nothing waits to be promoted".to_owned()).into());
        }
        let event = EventName::new(self.name)?;
        let Promotion { event, left } = repository.promotion(event, &names, &rekeyed, context.now).await?;
        let changed = held(&repository, &keyring, &self.gate, event, context).await?;
        rekeyed.retain(|file| !left.contains(&file.project));
        if matches!(changed, Changed::Done(_)) {
            for file in &rekeyed {
                repository.forget_claim(&file.project).await?;
            }
        }
        let promoted = names.iter().filter(|name| left.binary_search(name).is_err()).count();
        let what = format!("promoted: {promoted} project(s), new keys of {}", rekeyed.len());
        outcome(context, &changed, &what, &left)
    }
}

impl Revoke {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let (repository, keyring) = self.common.open(context).await?;
        let project = project(&self.name)?;
        let name: String = format!("revoke-{project}").chars().take(EventName::MAX).collect();
        let name = EventName::new(name)?;
        if let Some(event) = repository.revocation(name, &project, context.now).await? {
            let changed = held(&repository, &keyring, &self.gate, event, context).await?;
            return outcome(
                context,
                &changed,
                &format!("revoked {project}: the index signs its files now"),
                &[],
            );
        }
        let snapshot = repository.revoke(&keyring, &project, context.now).await?;
        let deed = Deed::Claim { what: ClaimChange::Revoked, account: None, project: project.clone() };
        self.note.note(deed, context);
        let value = serde_json::json!({ "revoked": project.to_string(), "snapshot": snapshot });
        context.out.result(&value, || {
            context
                .out
                .line(format_args!("{} {project}: the index signs its files now", styled(GOOD, "revoked")));
        })
    }
}

fn project(name: &str) -> anyhow::Result<ProjectName> {
    Ok(ProjectName::from_normalised(name).map_err(|error| Usage(error.to_string()))?)
}

/// What maintainers sent, with the distributions of a release, which lie in a folder for as long.
struct Received {
    file: ProjectFile,
    files: Vec<Distribution>,
    _spool: Option<tempfile::TempDir>,
}

fn read_all(path: &Path) -> anyhow::Result<Received> {
    if !path.is_dir() {
        return Ok(Received { file: read_file(path)?, files: Vec::new(), _spool: None });
    }
    let spool = tempfile::tempdir()?;
    let files = read_release(path, RELEASE, spool.path())?;
    let files = files.into_iter().map(|(_, distribution)| distribution).collect();
    Ok(Received { file: read_file(&path.join(RELEASE))?, files, _spool: Some(spool) })
}

/// Tells what became of each. One alone that is refused ends the command with its own reason; of several, all are told.
fn report(context: &Context, mut outcomes: Vec<Outcome>) -> anyhow::Result<()> {
    if outcomes.len() == 1
        && let Some(Outcome::Refused(_, error)) = outcomes.pop_if(|one| matches!(one, Outcome::Refused(..)))
    {
        return Err(error);
    }
    let value: Vec<_> = outcomes.iter().map(as_json).collect();
    context.out.result(&value, || outcomes.iter().for_each(|outcome| tell(context, outcome)))?;
    let mut refused = outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Refused(_, error) => Some(error),
        _ => None,
    });
    let Some(first) = refused.next() else { return Ok(()) };
    let text = format!("{} of {} were refused", 1 + refused.count(), outcomes.len());
    Err(SomeFailed { text, code: exit::code(first) }.into())
}

fn as_json(outcome: &Outcome) -> serde_json::Value {
    match outcome {
        Outcome::Good(path) => serde_json::json!({ "good": path }),
        Outcome::Waits(project, kind) => {
            serde_json::json!({ "waits": project.to_string(), "kind": kind })
        }
        Outcome::Refused(what, error) => serde_json::json!({ "refused": what, "why": error.to_string() }),
        Outcome::Applied(one) => serde_json::json!({
            "project": one.project.to_string(), "kind": one.kind, "role": one.role, "added": one.added,
            "removed": one.removed, "snapshot": one.snapshot, "by": one.family.name(),
        }),
    }
}

fn tell(context: &Context, outcome: &Outcome) {
    let one = match outcome {
        Outcome::Good(path) => {
            return context.out.line(format_args!("{} {}", styled(GOOD, "would take"), path.display()));
        }
        Outcome::Waits(project, Kind::Claim) => {
            return context.out.line(format_args!("{project} waits: wheelseal claims approve {project}"));
        }
        Outcome::Waits(project, _) => {
            return context.out.line(format_args!("{project} waits: wheelseal claims promote"));
        }
        Outcome::Refused(what, error) => {
            return context.out.line(format_args!("{} {what}: {error}", styled(BAD, "refused")));
        }
        Outcome::Applied(one) => one,
    };
    let what = match one.kind {
        Kind::Claim => "claimed",
        Kind::Release => "released",
        Kind::Keys => "new keys for",
    };
    let (by, role, project) = (one.family.name(), one.role, &one.project);
    context.out.line(format_args!("{} {project} (role version {role}, below {by})", styled(GOOD, what)));
    for name in &one.added {
        context.out.line(format_args!("  added {name}"));
    }
    for name in &one.removed {
        context.out.line(format_args!("  withdrawn {name}"));
    }
    context.out.note(format_args!("snapshot {}", one.snapshot));
}
