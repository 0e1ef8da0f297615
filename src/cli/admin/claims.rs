//! `claims enable | receive | list | approve | apply | promote | revoke`: projects that belong to their maintainers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::ceremony::show;
use crate::cli::exit::Usage;
use crate::cli::keys::{KeyArgs, open_repository};
use crate::cli::output::{GOOD, styled};
use crate::cli::project::{RELEASE, read_file};
use crate::cli::{Context, RepoArg};
use crate::python::ProjectName;
use crate::repository::{
    Applied, Changed, Distribution, EventName, Keyring, Kind, LookAlike, ProjectFile, Repository,
    read_distribution,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Claims {
    /// Let projects be claimed by their maintainers (PEP 480); needs the targets keys
    Enable(Common),
    /// Take what maintainers sent: a release is published, a claim waits for approve
    Receive(Receive),
    /// The same, and agree with the claim at once
    Apply(Receive),
    /// Claimed projects, and claims that wait
    List(List),
    /// Agree with claims that wait: their makers own these projects from then on
    Approve(Approve),
    /// Let the offline keys vouch for claimed projects, and for new keys of them; needs the keys of claimed
    Promote(Promote),
    /// Take a project back: the index signs its files from then on
    Revoke(Revoke),
}

/// Let projects be claimed by their maintainers (PEP 480).
#[derive(Debug, Args)]
pub(crate) struct Common {
    #[command(flatten)]
    repo: RepoArg,
    #[command(flatten)]
    keys: KeyArgs,
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
    /// Files, or folders of releases: each is applied by itself
    #[arg(required = true, value_name = "FILE|FOLDER")]
    paths: Vec<PathBuf>,
}

/// Claimed projects, and claims that wait.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    repo: RepoArg,
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

/// Let the offline keys vouch for claimed projects, and for new keys of them.
#[derive(Debug, Args)]
pub(crate) struct Promote {
    #[command(flatten)]
    common: Common,
    /// Name of the ceremony, if signatures of others are needed
    #[arg(long, value_name = "NAME", default_value = "claims-promote")]
    name: String,
    /// Projects; without any, all that wait
    #[arg(value_name = "PROJECT")]
    names: Vec<String>,
}

/// Take a project back: the index signs its files from then on.
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    #[command(flatten)]
    common: Common,
    /// The project
    #[arg(value_name = "NAME")]
    name: String,
}

impl Claims {
    pub(in crate::cli) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Enable(command) => command.enable(context).await,
            Self::Receive(command) => command.run(context, false).await,
            Self::Apply(command) => command.run(context, true).await,
            Self::List(command) => command.run(context).await,
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

    async fn enable(self, context: &Context) -> anyhow::Result<()> {
        let (repository, keyring) = self.open(context).await?;
        let event = repository.claims_enabling(EventName::new("claims-enable")?, context.now).await?;
        let Some(event) = event else {
            return context.out.result(&serde_json::json!({ "changed": false }), || {
                context.out.line("projects can be claimed already");
            });
        };
        let changed = repository.hold(event, &keyring, context.now, &context.out.progress()).await?;
        outcome(context, &changed, "from now on, projects can be claimed")
    }
}

/// What became of a change of offline roles.
fn outcome(context: &Context, changed: &Changed, done: &str) -> anyhow::Result<()> {
    let value = match changed {
        Changed::Done(finished) => serde_json::json!({ "changed": true, "snapshot": finished.snapshot }),
        Changed::Waiting { event, why } => {
            serde_json::json!({ "ceremony": event.name().as_str(), "why": why.to_string() })
        }
    };
    context.out.result(&value, || match changed {
        Changed::Done(finished) => {
            context.out.line(styled(GOOD, done));
            context.out.note(format_args!("snapshot {}", finished.snapshot));
        }
        Changed::Waiting { event, why } => show::waiting(event.name().as_str(), &why.to_string(), context),
    })
}

impl Receive {
    async fn run(self, context: &Context, agree: bool) -> anyhow::Result<()> {
        let (repository, keyring) = self.common.open(context).await?;
        let mut outcomes = Vec::new();
        for path in &self.paths {
            outcomes.push(self.one(&repository, &keyring, path, agree, context).await?);
        }
        report(context, &outcomes)
    }

    async fn one(
        &self,
        repository: &Repository,
        keyring: &Keyring,
        path: &Path,
        agree: bool,
        context: &Context,
    ) -> anyhow::Result<Outcome> {
        let spool = tempfile::tempdir()?;
        let (file, files) = read_all(path, spool.path())?;
        let look_alike = if self.look_alike { LookAlike::Accepted } else { LookAlike::Refused };
        let in_ceremony = file.kind == Kind::Keys && repository.needs_ceremony(&file, context.now).await?;
        let waits = in_ceremony || file.kind == Kind::Claim && !agree;
        if (self.dry_run || waits) && !in_ceremony {
            repository.judge_project(&file, &files, look_alike, context.now).await?;
        }
        if self.dry_run {
            return Ok(Outcome::Good(path.to_owned()));
        }
        if waits {
            repository.queue_claim(&file).await?;
            return Ok(Outcome::Waits(file.project.clone(), file.kind));
        }
        Ok(Outcome::Applied(repository.apply(keyring, &file, &files, look_alike, context.now).await?))
    }
}

/// What became of one thing that maintainers sent.
enum Outcome {
    /// It would be taken.
    Good(PathBuf),
    /// It waits for an admin.
    Waits(ProjectName, Kind),
    Applied(Applied),
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

impl Approve {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let (repository, keyring) = self.common.open(context).await?;
        let waiting = repository.waiting_claims().await?;
        let look_alike = if self.look_alike { LookAlike::Accepted } else { LookAlike::Refused };
        let mut applied = Vec::new();
        for name in &self.names {
            let Some(file) = waiting.iter().find(|file| file.project.as_str() == name) else {
                return Err(Usage(format!("no claim of {name} is waiting")).into());
            };
            if !self.reject {
                let one = repository.apply(&keyring, file, &[], look_alike, context.now).await?;
                applied.push(Outcome::Applied(one));
            }
            repository.forget_claim(&file.project).await?;
        }
        report(context, &applied)
    }
}

impl Promote {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let (repository, keyring) = self.common.open(context).await?;
        let names: BTreeSet<ProjectName> = if self.names.is_empty() {
            repository.recently_claimed().await?.into_iter().collect()
        } else {
            self.names.iter().map(|name| project(name)).collect::<Result<_, _>>()?
        };
        let mut rekeyed = repository.waiting_claims().await?;
        rekeyed.retain(|file| file.kind == Kind::Keys);
        if names.is_empty() && rekeyed.is_empty() {
            return Err(Usage("nothing waits to be promoted".to_owned()).into());
        }
        let event = EventName::new(self.name)?;
        let event = repository.promotion(event, &names, &rekeyed, context.now).await?;
        let changed = repository.hold(event, &keyring, context.now, &context.out.progress()).await?;
        if matches!(changed, Changed::Done(_)) {
            for file in &rekeyed {
                repository.forget_claim(&file.project).await?;
            }
        }
        let what = format!("promoted: {} project(s), new keys of {}", names.len(), rekeyed.len());
        outcome(context, &changed, &what)
    }
}

impl Revoke {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let (repository, keyring) = self.common.open(context).await?;
        let project = project(&self.name)?;
        let snapshot = repository.revoke(&keyring, &project, context.now).await?;
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

/// What maintainers sent, with the distributions of a release.
fn read_all(path: &Path, spool: &Path) -> anyhow::Result<(ProjectFile, Vec<Distribution>)> {
    if !path.is_dir() {
        return Ok((read_file(path)?, Vec::new()));
    }
    let mut files = Vec::new();
    let mut entries = std::fs::read_dir(path)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries.iter().filter(|entry| entry.file_name() != RELEASE) {
        files.push(read_distribution(&entry.path(), spool)?);
    }
    Ok((read_file(&path.join(RELEASE))?, files))
}

fn report(context: &Context, outcomes: &[Outcome]) -> anyhow::Result<()> {
    let value: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Good(path) => serde_json::json!({ "good": path }),
            Outcome::Waits(project, kind) => {
                serde_json::json!({ "waits": project.to_string(), "kind": kind })
            }
            Outcome::Applied(one) => serde_json::json!({
                "project": one.project.to_string(), "kind": one.kind, "role": one.role, "added": one.added,
                "removed": one.removed, "snapshot": one.snapshot, "by": one.family.name(),
            }),
        })
        .collect();
    context.out.result(&value, || {
        for outcome in outcomes {
            tell(context, outcome);
        }
    })
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
