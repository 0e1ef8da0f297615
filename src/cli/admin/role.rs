//! `role`: one change of one role; at once if the keys at hand suffice, else as a ceremony.

use std::io::IsTerminal;
use std::str::FromStr;

use clap::{Args, Subcommand};

use super::ceremony::{GateArgs, agreed, removal, show, subjects};
use crate::cli::exit::{self, SomeFailed, Usage};
use crate::cli::keys::{KeyArgs, absolute, open_repository};
use crate::cli::output::{GOOD, STRONG, styled};
use crate::cli::{Context, RepoArg};
use crate::keys::{self, Ask, KeyUri};
use crate::repository::{
    Changed, Detail, Edits, EventName, Keyring, Repository, RepositoryError, RoleEdit, RolePlan, Subject,
};
use crate::tuf::metadata::TopLevel;
use crate::tuf::path::RoleName;
use crate::tuf::signed::Authority;

#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// Give a role one key more
    AddKey(AddKey),
    /// Take a key from a role
    RemoveKey(RemoveKey),
    /// Give a role new keys in place of those it has
    Rotate(Rotate),
    /// Change how many keys of a role must sign
    SetThreshold(SetThreshold),
    /// Change in how many days a role expires
    SetExpiry(SetExpiry),
}

/// What all changes of a role have in common.
#[derive(Debug, Args)]
pub(crate) struct Common {
    #[command(flatten)]
    repo: RepoArg,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    gate: GateArgs,
    /// How the ceremony is called, if one is needed; `ROLE-COMMAND`, if not said
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
    /// Do not ask, on a terminal either
    #[arg(long)]
    yes: bool,
}

/// Give a role one key more. Done at once if enough keys are at hand; else a ceremony is left, for others to sign.
#[derive(Debug, Args)]
pub(crate) struct AddKey {
    #[command(flatten)]
    common: Common,
    /// root, timestamp, snapshot, targets, bins, claimed, recently-claimed, bin-n (each of the bins), or online (all that
    /// sign without a person)
    role: String,
    /// The key; `pub:FILE`, if its holder is elsewhere and will join
    uri: String,
}

/// Take a key from a role. Done at once if enough keys are at hand; else a ceremony is left, for others to sign.
#[derive(Debug, Args)]
pub(crate) struct RemoveKey {
    #[command(flatten)]
    common: Common,
    /// root, timestamp, snapshot, targets, bins, claimed, recently-claimed, bin-n (each of the bins), or online (all that
    /// sign without a person)
    role: String,
    /// The start of the key's id, eight characters or more; or its URI, most often `pub:FILE`
    key: String,
}

/// Give a role new keys in place of those it has. With the role's old keys at hand, no client notices. Done at once if
/// enough keys are at hand; else a ceremony is left, for others to sign.
#[derive(Debug, Args)]
pub(crate) struct Rotate {
    #[command(flatten)]
    common: Common,
    /// root, timestamp, snapshot, targets, bins, claimed, recently-claimed, bin-n (each of the bins), or online (all that
    /// sign without a person)
    role: String,
    /// A key that it has from now on; may be repeated
    #[arg(long = "to", value_name = "URI", required = true)]
    to: Vec<String>,
    /// How many must sign from now on; as many as now, if not said
    #[arg(long, value_name = "N")]
    threshold: Option<u64>,
}

/// Change how many keys of a role must sign. Done at once if enough keys are at hand; else a ceremony is left, for
/// others to sign.
#[derive(Debug, Args)]
pub(crate) struct SetThreshold {
    #[command(flatten)]
    common: Common,
    /// root, timestamp, snapshot, targets, bins, claimed, recently-claimed, bin-n (each of the bins), or online (all that
    /// sign without a person)
    role: String,
    /// How many
    threshold: u64,
}

/// Change in how many days a role expires. An offline role is signed anew with that date, not sooner than wheelseal.toml
/// says; for an online role the number in wheelseal.toml changes, and `bump` heeds it.
#[derive(Debug, Args)]
pub(crate) struct SetExpiry {
    #[command(flatten)]
    common: Common,
    /// root, timestamp, snapshot, targets, bins, claimed, recently-claimed, bin-n (each of the bins), or online (all that
    /// sign without a person)
    role: String,
    /// Days from now
    days: u32,
}

impl Role {
    pub(in crate::cli) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::AddKey(command) => {
                let mut job = command.common.open(context).await?;
                let key = job.key(&command.uri).await?;
                job.run(&command.role, "add-key", &[RoleEdit::AddKey(Box::new(key))], context).await
            }
            Self::RemoveKey(command) => {
                let edits = [removal(&command.key).await?];
                command.common.open(context).await?.run(&command.role, "remove-key", &edits, context).await
            }
            Self::Rotate(command) => command.run(context).await,
            Self::SetThreshold(command) => {
                let edits = [RoleEdit::Threshold(command.threshold)];
                command.common.open(context).await?.run(&command.role, "set-threshold", &edits, context).await
            }
            Self::SetExpiry(command) => command.run(context).await,
        }
    }
}

impl Rotate {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut job = self.common.open(context).await?;
        let mut new = Vec::new();
        for uri in &self.to {
            new.push(job.key(uri).await?);
        }
        let threshold = if let Some(threshold) = self.threshold {
            threshold
        } else {
            let first = subjects(&self.role)?.into_iter().next().unwrap_or(Subject::Timestamp);
            job.repository.threshold(first).await?
        };
        let plan = RolePlan { keys: new, threshold };
        plan.check(&self.role)?;
        let edits = [RoleEdit::Keys(plan.keys), RoleEdit::Threshold(plan.threshold)];
        job.run(&self.role, "rotate", &edits, context).await
    }
}

impl SetExpiry {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut job = self.common.open(context).await?;
        let roles = subjects(&self.role)?;
        if !roles.iter().all(|role| role.is_online()) {
            return job.run(&self.role, "set-expiry", &[RoleEdit::Expires(self.days)], context).await;
        }
        if self.days == 0 {
            return Err(Usage("a role that has expired when it is signed is of no use".to_owned()).into());
        }
        if !job.common.dry_run {
            for role in roles {
                job.repository.set_online_expiry(role, self.days).await?;
            }
        }
        let (role, days) = (&self.role, self.days);
        context.out.result(&serde_json::json!({"role": role, "days": days}), || {
            context
                .out
                .line(format_args!("{} {role}: {days} days", styled(GOOD, "in wheelseal.toml from now on:")));
            context.out.note("to sign with it now: wheelseal bump --all");
        })
    }
}

/// One change under way.
struct Job {
    common: Common,
    repository: Repository,
    keyring: Keyring,
    /// Keys named on the command line as new.
    new: Vec<String>,
}

impl Common {
    async fn open(self, context: &Context) -> anyhow::Result<Job> {
        let repository = open_repository(&self.repo).await?;
        let keyring = self.keys.open(&repository, &context.out).await?;
        Ok(Job { common: self, repository, keyring, new: Vec::new() })
    }
}

impl Job {
    /// A new key; a private one joins the keyring.
    async fn key(&mut self, uri: &str) -> anyhow::Result<crate::tuf::key::Key> {
        self.new.push(uri.to_owned());
        let uri = KeyUri::from_str(uri)?;
        if matches!(uri, KeyUri::Public(_)) {
            return Ok(keys::open_public(&uri, &Ask).await?);
        }
        let signer = keys::open(&uri, &Ask).await?;
        let key = signer.key().clone();
        self.keyring.add(signer);
        Ok(key)
    }

    async fn run(
        mut self,
        role: &str,
        verb: &str,
        each: &[RoleEdit],
        context: &Context,
    ) -> anyhow::Result<()> {
        let mut roles = Vec::new();
        for subject in subjects(role)? {
            roles.extend(each.iter().map(|edit| (subject, edit.clone())));
        }
        let name = self.common.name.take().unwrap_or_else(|| format!("{role}-{verb}"));
        let name = EventName::new(name).map_err(RepositoryError::from)?;
        let (edits, repository) = (Edits { roles, bins: None, log_policy: None }, &self.repository);
        let event = repository.draft(name.clone(), &edits, context.now).await?;
        let expiry = Some(&repository.settings().expiry);
        let review = event.review(Detail::Brief, expiry).map_err(RepositoryError::from)?;
        if self.common.dry_run {
            return context.out.result(&review, || show::review(&review, context));
        }
        if !context.out.json() {
            show::review(&review, context);
        }
        if std::io::stdin().is_terminal() {
            agreed("Do this?", self.common.yes)?;
        }
        let gate = self.common.gate.clients(repository, context);
        let progress = context.out.progress();
        let changed =
            repository.change(&name, &edits, &self.keyring, Some(&gate), context.now, &progress).await?;
        report(&changed, repository, context)?;
        forget_unused_online(&mut self.repository, &self.new, context).await
    }
}

/// Says what was done; an error if it waits for others.
pub(super) fn report(changed: &Changed, repository: &Repository, context: &Context) -> anyhow::Result<()> {
    let (event, why) = match changed {
        Changed::Done(finished) => {
            return context.out.result(finished, || show::finished(finished, context));
        }
        Changed::Waiting { event, why } => (event, why),
    };
    let expiry = Some(&repository.settings().expiry);
    let review = event.review(Detail::Brief, expiry).map_err(RepositoryError::from)?;
    context.out.result(&review, || {
        show::signatures(&review, context);
        context.out.note(format_args!("{} {}", styled(STRONG, "left as the ceremony"), review.name));
        show::next(&review, &review.name, context);
    })?;
    let text = format!("nothing was published yet: {why}");
    Err(SomeFailed { text, code: exit::THRESHOLD }.into())
}

/// Adds new online keys to the settings, and takes out those that sign nothing any more.
pub(super) async fn forget_unused_online(
    repository: &mut Repository,
    new: &[String],
    context: &Context,
) -> anyhow::Result<()> {
    let signing = online_keys(repository).await?;
    let before = repository.settings().keys.online.clone();
    let mut kept = Vec::new();
    let new = new.iter().map(|uri| (uri, true));
    for (uri, is_new) in before.iter().map(|uri| (uri, false)).chain(new) {
        let parsed = if is_new { KeyUri::from_str(uri) } else { KeyUri::untrusted(uri) };
        let text = parsed.as_ref().map_or_else(|_| Ok(uri.clone()), absolute)?;
        if matches!(parsed, Ok(KeyUri::Public(_))) || kept.contains(&text) || kept.contains(uri) {
            continue;
        }
        let opened = match parsed {
            Ok(parsed) => keys::open_public(&parsed, &Ask).await,
            Err(error) => Err(error),
        };
        match opened {
            Ok(key) if signing.iter().any(|known| known.public() == key.public()) => {
                kept.push(if is_new { text } else { uri.clone() });
            }
            Ok(_) | Err(_) if is_new => {}
            Ok(_) => context
                .out
                .note(format_args!("{uri} signs nothing any more; it is no longer in wheelseal.toml")),
            Err(error) => {
                context
                    .out
                    .note(format_args!("{uri} stays in wheelseal.toml, though it does not open: {error}"));
                kept.push(uri.clone());
            }
        }
    }
    if kept == before {
        return Ok(());
    }
    Ok(repository.set_online_keys(kept).await?)
}

/// Every key that signs online now.
async fn online_keys(repository: &Repository) -> anyhow::Result<Vec<crate::tuf::key::Key>> {
    let state = repository.state().await?;
    let online = [TopLevel::Timestamp, TopLevel::Snapshot].map(|role| state.root.authority(role));
    let keys = online.iter().flat_map(Authority::keys).map(|(_, key)| key.clone());
    let bins = state.bins.delegations.iter().flat_map(|delegations| delegations.keys.values().cloned());
    let (top, recent) = (RoleName::targets(), RoleName::delegated(Subject::RecentlyClaimed.name())?);
    let delegations = state.targets.delegations.as_ref();
    let recent = delegations.and_then(|delegations| delegations.authority(&top, &recent));
    let recent = recent.iter().flat_map(Authority::keys).map(|(_, key)| key.clone());
    Ok(keys.chain(bins).chain(recent).collect())
}
