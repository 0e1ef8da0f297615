//! `recover restore`: what the bins list goes back to what it was, alone or in the commit that brings new keys.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use clap::Args;

use super::good::GoodArgs;
use crate::cli::admin::ceremony::{agreed, show};
use crate::cli::admin::role::forget_unused_online;
use crate::cli::exit::{self, SomeFailed};
use crate::cli::gate::reading;
use crate::cli::keys::{KeyArgs, open_repository};
use crate::cli::output::{BAD, GOOD, STRONG, styled};
use crate::cli::{Context, RepoArg};
use crate::repository::{
    CeremonyError, EventName, Gate, Good, Item, Keep, PutBack, Repository, RepositoryError, Unwatched,
};
use crate::store::Store;

/// Lines of each kind that are shown, at most.
const MAX_LINES: usize = 200;

/// Put what the bins list back to what a good state says.
///
/// Targets that were changed or removed come back, if their bytes are there; added ones are withdrawn; pages agree with
/// them. Claimed projects are left to their maintainers, and what offline roles say to a ceremony: both are named. With
/// --ceremony it happens in the same commit as a ceremony that brings new keys, so that these never sign what a thief put
/// there. Exit code 3 if something is missing or left to others.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    #[command(flatten)]
    repo: RepoArg,
    #[command(flatten)]
    good: GoodArgs,
    #[command(flatten)]
    keys: KeyArgs,
    /// A ceremony that is finished in the same commit
    #[arg(long, value_name = "NAME")]
    ceremony: Option<String>,
    /// Only show what would be done
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Restore {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut repository = open_repository(&self.repo).await?;
        let (good, keep) = (self.good.open(&repository).await?, self.good.keep());
        let progress = context.out.progress();
        let restoration = repository.restoration(&good, &keep, &progress).await?;
        if self.dry_run || !context.out.json() {
            context.out.result(restoration.outcome(), || shown(restoration.outcome(), "to be", context))?;
        }
        if self.dry_run {
            return Ok(());
        }
        if restoration.is_empty() && self.ceremony.is_none() {
            return told(restoration.outcome(), context);
        }
        agreed("Do this?", self.yes)?;
        let keyring = self.keys.open(&repository, &context.out).await?;
        let done = match &self.ceremony {
            None => repository.put_back(&keyring, &good, &keep, context.now, &progress).await?,
            Some(name) => {
                let name = EventName::new(name.as_str()).map_err(RepositoryError::from)?;
                let event = repository.ceremony(&name).await?;
                let gate = GoodGate { repository: &repository, good: &good, keep: &keep, now: context.now };
                let finishing = repository.finish_restoring(
                    &event,
                    restoration,
                    &keyring,
                    Some(&gate),
                    context.now,
                    &progress,
                );
                let (finished, done) = finishing.await?;
                if !context.out.json() {
                    show::finished(&finished, context);
                }
                forget_unused_online(&mut repository, self.keys.given(), context).await?;
                done
            }
        };
        told(&done, context)
    }
}

/// What is left to others, or not there, is no success.
fn told(done: &PutBack, context: &Context) -> anyhow::Result<()> {
    if context.out.json() {
        context.out.result(done, || ())?;
    } else {
        let (restored, withdrawn) = (done.restored.len(), done.withdrawn.len());
        let verb = styled(GOOD, "put right");
        context.out.line(format_args!(
            "{verb} in snapshot {}: {restored} targets restored, {withdrawn} withdrawn",
            done.snapshot
        ));
    }
    if done.missing.is_empty() && done.claimed.is_empty() && targets_above(done) == 0 {
        return Ok(());
    }
    let text = "not everything is as the good state says: see above".to_owned();
    Err(SomeFailed { text, code: exit::INTEGRITY }.into())
}

fn targets_above(done: &PutBack) -> usize {
    done.above.iter().filter(|differing| differing.item == Item::Target).count()
}

fn shown(done: &PutBack, when: &str, context: &Context) {
    let out = &context.out;
    let list = |what: &str, paths: &[String]| {
        for path in paths.iter().take(MAX_LINES) {
            out.line(format_args!("{} {path}", styled(STRONG, what)));
        }
        if paths.len() > MAX_LINES {
            out.note(format_args!("and {} more: --json", paths.len() - MAX_LINES));
        }
    };
    list(&format!("{when} restored:"), &done.restored);
    list(&format!("{when} withdrawn:"), &done.withdrawn);
    for path in &done.missing {
        out.line(format_args!("{} {path}", styled(BAD, "missing:")));
    }
    if !done.missing.is_empty() {
        out.note("bring these files from a mirror or a backup, run `wheelseal fsck --hash --repair`, then this again");
    }
    for project in &done.claimed {
        out.line(format_args!("{} {project}", styled(BAD, "left to its maintainers:")));
        out.note(format_args!("  they look at it with `wheelseal project status {project}`, and sign anew"));
    }
    for differing in done.above.iter().take(MAX_LINES) {
        let what = if differing.item == Item::Delegation { "who may sign " } else { "" };
        let by = differing.after.as_ref().or(differing.before.as_ref()).map_or("", |said| &said.role);
        out.note(format_args!("above the bins: {by} says otherwise than before: {what}{}", differing.path));
        let project = differing.path.strip_prefix("project-");
        if let Some(project) = project.filter(|_| differing.after.is_some()) {
            out.note(format_args!(
                "  if {project}'s maintainers did not do that: wheelseal claims revoke {project}"
            ));
        }
    }
}

/// Nothing is published unless the bins are then as the good state says, and clients old and new read it.
struct GoodGate<'a> {
    repository: &'a Repository,
    good: &'a Good,
    keep: &'a Keep,
    now: DateTime<Utc>,
}

#[async_trait]
impl Gate for GoodGate<'_> {
    async fn admit(&self, staged: Arc<dyn Store>) -> Result<(), CeremonyError> {
        let after = Repository::open(Arc::clone(&staged)).await.map_err(|error| refused(&error))?;
        let left = after.restoration(self.good, self.keep, &Unwatched).await;
        let left = left.map_err(|error| refused(&error))?;
        if !left.is_empty() {
            return Err(refused(&"the bins would not be as the good state says"));
        }
        let root = self.repository.first_root().await.map_err(|error| refused(&error))?;
        let (fresh, old) = (tempfile::tempdir(), tempfile::tempdir());
        let (fresh, old) = (fresh.map_err(|error| refused(&error))?, old.map_err(|error| refused(&error))?);
        let client = |store: &Arc<dyn Store>, home: &std::path::Path| {
            reading(store, home, &root).map_err(|error| refused(&error))
        };
        // What a thief left need not read; then there is no client that went along.
        drop(client(&self.repository.shared_store(), old.path())?.refresh(self.now).await);
        for home in [&fresh, &old] {
            let client = client(&staged, home.path())?;
            client.refresh(self.now).await.map(drop).map_err(|error| refused(&error))?;
        }
        Ok(())
    }
}

fn refused(reason: &dyn std::fmt::Display) -> CeremonyError {
    CeremonyError::Gate { verifier: "the client".to_owned(), reason: reason.to_string() }
}
