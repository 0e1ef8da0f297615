//! What repository admins type.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::exit::{SomeFailed, Usage};
use super::keys::{KeyArgs, absolute, anchor, open_repository};
use super::output::{BAD, GOOD, STRONG, styled, until};
use super::{Context, RepoArg};
use crate::keys::{self, Ask, KeyUri};
use crate::python::{DistributionFilename, FreeText};
use crate::repository::{
    BinStyle, Change, Edit, Expiry, Keyring, Plan, Profile, Published, Repair, Repository, Retention,
    RolePlan, RoleStatus, read_distribution,
};
use crate::store::DirStore;
use crate::tuf::metadata::TopLevel;

/// Make a new, signed repository.
///
/// Offline keys (root, targets, bins) and online keys must differ. Keys that only others hold are given as
/// pub:PATH; enough private keys must be at hand to reach each threshold.
#[derive(Debug, Args)]
pub(crate) struct Init {
    #[command(flatten)]
    repo: RepoArg,
    /// A root key, offline; may be repeated
    #[arg(long = "root-key", value_name = "URI", required = true)]
    root: Vec<String>,
    /// How many root keys must sign
    #[arg(long, value_name = "N", default_value_t = 1)]
    root_threshold: u64,
    /// A key of top-level targets, offline; may be repeated; without it the root keys serve
    #[arg(long = "targets-key", value_name = "URI")]
    targets: Vec<String>,
    /// How many targets keys must sign
    #[arg(long, value_name = "N", default_value_t = 1)]
    targets_threshold: u64,
    /// A key of bins and claimed, offline; may be repeated; without it the targets keys serve
    #[arg(long = "bins-key", value_name = "URI")]
    bins_keys: Vec<String>,
    /// How many bins keys must sign
    #[arg(long, value_name = "N", default_value_t = 1)]
    bins_threshold: u64,
    /// An online key, of timestamp, snapshot and each bin; may be repeated
    #[arg(long = "online-key", value_name = "URI", required = true)]
    online: Vec<String>,
    /// How many online keys must sign
    #[arg(long, value_name = "N", default_value_t = 1)]
    online_threshold: u64,
    /// Expiry dates: `pypi` as in PEP 458 (a day online, a year offline), `default` for admins without a daemon
    #[arg(long, value_enum, default_value = "default")]
    profile: ProfileArg,
    /// Hashed bins: a power of two
    #[arg(long, value_name = "N", default_value_t = 256)]
    bins: u32,
    /// How bins are delegated to: `succinct` (TAP 15) is small, `prefixes` is read by every TUF client
    #[arg(long, value_enum, default_value = "succinct")]
    bin_style: BinStyleArg,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ProfileArg {
    Default,
    Pypi,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum BinStyleArg {
    Succinct,
    Prefixes,
}

impl Init {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut keyring = Keyring::default();
        let root = role_plan(&self.root, self.root_threshold, &mut keyring).await?;
        let targets = if self.targets.is_empty() {
            RolePlan { keys: root.keys.clone(), threshold: self.root_threshold }
        } else {
            role_plan(&self.targets, self.targets_threshold, &mut keyring).await?
        };
        let bins = if self.bins_keys.is_empty() {
            targets.clone()
        } else {
            role_plan(&self.bins_keys, self.bins_threshold, &mut keyring).await?
        };
        let online = role_plan(&self.online, self.online_threshold, &mut keyring).await?;
        let uris = self.online.iter().map(|uri| KeyUri::from_str(uri));
        let uris = uris.collect::<Result<Vec<_>, _>>()?;
        // A public key signs nothing: only the others are opened by later commands.
        let uris = uris.iter().filter(|uri| !matches!(uri, KeyUri::Public(_))).map(absolute);
        let plan = Plan {
            root,
            targets,
            bins,
            online,
            bin_count: self.bins,
            bin_style: match self.bin_style {
                BinStyleArg::Succinct => BinStyle::Succinct,
                BinStyleArg::Prefixes => BinStyle::Prefixes,
            },
            expiry: self.expiry(),
            online_uris: uris.collect::<anyhow::Result<_>>()?,
        };
        let store = Arc::new(DirStore::create(&self.repo.repo).await?);
        self.refuse_served_keys()?;
        anchor(&self.repo)?.forget()?;
        Repository::init(store, &plan, &keyring, context.now, &context.out.progress()).await?;
        open_repository(&self.repo).await?.state().await?;
        let root = self.repo.repo.join("metadata/1.root.json");
        let value = serde_json::json!({"bins": self.bins, "root": root});
        context.out.result(&value, || {
            let (made, folder) = (styled(GOOD, "made"), self.repo.repo.display());
            context.out.line(format_args!("{made} a repository with {} bins in {folder}", self.bins));
            context.out.line(format_args!("give clients {} over a channel they trust", root.display()));
        })
    }

    /// The folder is served to everyone: no private key may lie in it.
    fn refuse_served_keys(&self) -> anyhow::Result<()> {
        let folder = std::fs::canonicalize(&self.repo.repo)?;
        for uri in [&self.root, &self.targets, &self.bins_keys, &self.online].into_iter().flatten() {
            if let KeyUri::File(path) = KeyUri::from_str(uri)?
                && std::fs::canonicalize(&path)?.starts_with(&folder)
            {
                return Err(Usage(format!(
                    "{uri} lies in the repository's folder, which is served to everyone"
                ))
                .into());
            }
        }
        Ok(())
    }

    fn expiry(&self) -> Expiry {
        match self.profile {
            ProfileArg::Default => Profile::Default.expiry(),
            ProfileArg::Pypi => Profile::Pypi.expiry(),
        }
    }
}

/// Opens the keys of a role; private ones join the keyring.
async fn role_plan(uris: &[String], threshold: u64, keyring: &mut Keyring) -> anyhow::Result<RolePlan> {
    let mut keys = Vec::new();
    for uri in uris {
        let uri = KeyUri::from_str(uri)?;
        if matches!(uri, KeyUri::Public(_)) {
            keys.push(keys::open_public(&uri, &Ask).await?);
        } else {
            let signer = keys::open(&uri, &Ask).await?;
            keys.push(signer.key().clone());
            keyring.add(signer);
        }
    }
    Ok(RolePlan { keys, threshold })
}

/// Publish wheels and sdists: all of them, or none.
#[derive(Debug, Args)]
pub(crate) struct Add {
    #[command(flatten)]
    repo: RepoArg,
    #[command(flatten)]
    keys: KeyArgs,
    /// Check everything, publish nothing
    #[arg(long)]
    dry_run: bool,
    /// Files, or folders that are searched for .whl, .tar.gz and .zip
    #[arg(required = true, value_name = "DIST")]
    dists: Vec<PathBuf>,
}

impl Add {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let repository = open_repository(&self.repo).await?;
        let files = find_distributions(&self.dists)?;
        let spool = tempfile::tempdir()?;
        let mut edits = Vec::new();
        for file in &files {
            edits.push(Edit::Add(Box::new(read_distribution(file, spool.path())?)));
        }
        let keyring = self.keys.open(&repository, &context.out).await?;
        if self.dry_run {
            let published = repository.preview(&keyring, &edits, context.now).await?;
            return report(context, &published, "would publish");
        }
        let published = repository.publish(&keyring, &edits, context.now, &context.out.progress()).await?;
        report(context, &published, "published")
    }
}

/// Files as given, folders walked. A symbolic link in a folder is refused: it could lead anywhere.
fn find_distributions(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        for entry in walkdir::WalkDir::new(path).sort_by_file_name() {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy();
            if entry.path_is_symlink() {
                return Err(Usage(format!("{} is a symbolic link", entry.path().display())).into());
            }
            let is_distribution = [".whl", ".tar.gz", ".zip"].iter().any(|ending| name.ends_with(ending));
            if entry.file_type().is_file() && is_distribution {
                files.push(entry.into_path());
            }
        }
    }
    if files.is_empty() {
        return Err(Usage("no wheel or sdist found".to_owned()).into());
    }
    Ok(files)
}

fn report(context: &Context, published: &Published, verb: &str) -> anyhow::Result<()> {
    let value = serde_json::json!({
        "changed": published.changed, "unchanged": published.unchanged,
        "snapshot": published.snapshot, "timestamp": published.timestamp,
    });
    context.out.result(&value, || {
        for name in &published.changed {
            context.out.line(format_args!("{} {name}", styled(GOOD, verb)));
        }
        for name in &published.unchanged {
            context.out.line(format_args!("unchanged {name}"));
        }
        context.out.note(format_args!("snapshot {}, timestamp {}", published.snapshot, published.timestamp));
    })
}

/// Withdraw published files.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    #[command(flatten)]
    repo: RepoArg,
    #[command(flatten)]
    keys: KeyArgs,
    /// File names as published
    #[arg(required = true, value_name = "FILENAME")]
    filenames: Vec<String>,
}

impl Remove {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let edits = self.filenames.iter().map(|name| Ok(Edit::Remove(filename(name)?)));
        let edits = edits.collect::<anyhow::Result<Vec<_>>>()?;
        edit(context, &self.repo, &self.keys, &edits, "removed").await
    }
}

/// Mark published files as not to be chosen (PEP 592), or take that back.
#[derive(Debug, Args)]
pub(crate) struct Yank {
    #[command(flatten)]
    repo: RepoArg,
    #[command(flatten)]
    keys: KeyArgs,
    /// Why, for those who look
    #[arg(long, conflicts_with = "undo")]
    reason: Option<String>,
    /// Take it back
    #[arg(long)]
    undo: bool,
    /// File names as published
    #[arg(required = true, value_name = "FILENAME")]
    filenames: Vec<String>,
}

impl Yank {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let reason = self.reason.as_deref().map(FreeText::from_str).transpose();
        let reason = reason.map_err(|error| Usage(format!("--reason: {error}")))?;
        let edits = self.filenames.iter().map(|name| {
            let name = filename(name)?;
            Ok(if self.undo { Edit::Unyank(name) } else { Edit::Yank(name, reason.clone()) })
        });
        let edits = edits.collect::<anyhow::Result<Vec<_>>>()?;
        edit(context, &self.repo, &self.keys, &edits, if self.undo { "unyanked" } else { "yanked" }).await
    }
}

fn filename(name: &str) -> anyhow::Result<DistributionFilename> {
    Ok(DistributionFilename::from_str(name).map_err(|error| Usage(error.to_string()))?)
}

async fn edit(
    context: &Context,
    repo: &RepoArg,
    keys: &KeyArgs,
    edits: &[Edit],
    verb: &str,
) -> anyhow::Result<()> {
    let repository = open_repository(repo).await?;
    let keyring = keys.open(&repository, &context.out).await?;
    let published = repository.publish(&keyring, edits, context.now, &context.out.progress()).await?;
    report(context, &published, verb)
}

/// Sign anew what has less than half of its life left.
#[derive(Debug, Args)]
pub(crate) struct Bump {
    #[command(flatten)]
    repo: RepoArg,
    #[command(flatten)]
    keys: KeyArgs,
    /// Sign everything anew that the keys at hand can sign
    #[arg(long)]
    all: bool,
    /// Keep running and look again every so often, in minutes
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u64).range(1..))]
    watch: Option<u64>,
}

impl Bump {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut now = context.now;
        loop {
            let done = self.once(context, now).await;
            let Some(minutes) = self.watch else { return done };
            if let Err(error) = done {
                // A watcher outlives a full disk or a busy store; it tells, and tries again.
                context.out.failure(&error);
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(minutes.saturating_mul(60))) => {}
                _ = tokio::signal::ctrl_c() => return Ok(()),
            }
            now = (context.clock)();
        }
    }

    async fn once(&self, context: &Context, now: chrono::DateTime<chrono::Utc>) -> anyhow::Result<()> {
        let repository = open_repository(&self.repo).await?;
        let keyring = self.keys.open(&repository, &context.out).await?;
        let bumped = repository.bump(&keyring, self.all, now, &context.out.progress()).await?;
        let due: Vec<_> = bumped
            .due
            .iter()
            .map(|due| serde_json::json!({"role": due.role, "expires": due.expires}))
            .collect();
        let value = serde_json::json!({"signed": bumped.signed, "bins": bumped.bins, "due": due, "next": bumped.next});
        context.out.result(&value, || {
            if bumped.signed.is_empty() {
                context.out.line("nothing is due");
            }
            if bumped.bins > 0 {
                context.out.line(format_args!("{} {} bins", styled(GOOD, "signed"), bumped.bins));
            }
            for role in &bumped.signed {
                context.out.line(format_args!("{} {role}", styled(GOOD, "signed")));
            }
            for due in &bumped.due {
                let left = until(due.expires, now);
                context.out.note(format_args!(
                    "{} {} expires in {left}; its keys are not here",
                    styled(BAD, "due"),
                    due.role
                ));
            }
        })?;
        match bumped.due.len() {
            0 => Ok(()),
            due => Err(SomeFailed { text: format!("due, but not signed: {due} role(s)"), code: 6 }.into()),
        }
    }
}

/// Versions, expiry, thresholds, who has signed.
#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    repo: RepoArg,
}

impl Status {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let repository = open_repository(&self.repo).await?;
        let status = repository.status(context.now, &context.out.progress()).await?;
        context.out.result(&status, || {
            let header = ["ROLE", "VERSION", "EXPIRES IN", "SIGNED", "BY"];
            let mut rows = vec![header.map(ToOwned::to_owned).to_vec()];
            rows.extend(status.roles.iter().map(|role| row(role, role.role.clone(), context)));
            let bins = status.first_bin.iter();
            rows.extend(bins.map(|bin| row(bin, format!("{} bins (first to expire)", status.bins), context)));
            context.out.table(&rows);
            context.out.line(format_args!("{} projects, {} target files", status.projects, status.targets));
        })?;
        match status.roles.iter().chain(&status.first_bin).filter(|role| role.expired).count() {
            0 => Ok(()),
            expired => Err(SomeFailed { text: format!("expired: {expired} role(s)"), code: 4 }.into()),
        }
    }
}

fn row(role: &RoleStatus, name: String, context: &Context) -> Vec<String> {
    let signers: Vec<String> = role.signed_by.iter().map(|id| id.chars().take(8).collect()).collect();
    vec![
        name,
        role.version.to_string(),
        until(role.expires, context.now),
        format!("{} (needs {} of {})", signers.len(), role.threshold, role.keys.len()),
        signers.join(" "),
    ]
}

/// Verify the whole repository as a client would: every role, every file.
#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    repo: RepoArg,
    /// First make what plain pip reads (copies under plain names, pages) what was signed
    #[arg(long)]
    repair_plain: bool,
    /// A second, independent verifier as well
    #[arg(long, value_enum)]
    with: Option<Verifier>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Verifier {
    /// The Rust client of the Bottlerocket project
    Tough,
}

impl Check {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let repository = open_repository(&self.repo).await?;
        if self.repair_plain {
            for repaired in repository.check_plain(Repair::Yes, &context.out.progress()).await? {
                context.out.note(format_args!("{} {}", styled(GOOD, "repaired"), repaired.subject));
            }
        }
        let checked = repository.check(context.now, &context.out.progress()).await?;
        context.out.result(&checked, || {
            for problem in &checked.problems {
                context.out.line(format_args!(
                    "{} {}: {}",
                    styled(BAD, "bad"),
                    problem.subject,
                    problem.what
                ));
            }
            let (roles, targets, bytes) = (checked.roles, checked.targets, checked.bytes);
            let verdict = if checked.problems.is_empty() { styled(GOOD, "ok") } else { styled(BAD, "bad") };
            context
                .out
                .line(format_args!("{verdict} {roles} roles, {targets} files, {bytes} bytes verified"));
            if checked.unreferenced > 0 {
                let count = checked.unreferenced;
                context
                    .out
                    .note(format_args!("{count} superseded metadata files; `wheelseal gc` removes old ones"));
            }
        })?;
        if !checked.problems.is_empty() {
            let failed = checked.problems.len();
            let code = if checked.problems.iter().all(|problem| problem.expired) { 4 } else { 3 };
            return Err(SomeFailed { text: format!("{failed} problem(s) found"), code }.into());
        }
        match self.with {
            None => Ok(()),
            Some(Verifier::Tough) => second(&repository, context).await,
        }
    }
}

#[cfg(feature = "tough-keys")]
async fn second(repository: &Repository, context: &Context) -> anyhow::Result<()> {
    let targets = repository.check_with_tough(&context.out.progress()).await?;
    context.out.note(format_args!("{} tough agrees on {targets} files", styled(GOOD, "ok")));
    Ok(())
}

#[cfg(not(feature = "tough-keys"))]
async fn second(_: &Repository, _: &Context) -> anyhow::Result<()> {
    std::future::ready(
        Err(Usage("this wheelseal was built without the feature tough-keys".to_owned()).into()),
    )
    .await
}

/// Remove files that no recent snapshot refers to.
#[derive(Debug, Args)]
pub(crate) struct Gc {
    #[command(flatten)]
    repo: RepoArg,
    /// Snapshots to keep, the current one included
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    keep: u32,
    /// Never remove what is younger than this many hours
    #[arg(long, value_name = "HOURS", default_value_t = 24)]
    grace: u64,
    /// Tell what would be removed, remove nothing
    #[arg(long)]
    dry_run: bool,
}

impl Gc {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let repository = open_repository(&self.repo).await?;
        let retention = Retention {
            snapshots: usize::try_from(self.keep).unwrap_or(usize::MAX),
            grace: Duration::from_secs(self.grace.saturating_mul(3600)),
        };
        let collected = repository.gc(retention, self.dry_run, context.now, &context.out.progress()).await?;
        context.out.result(&collected, || {
            let verb = if self.dry_run { "would remove" } else { "removed" };
            for path in &collected.removed {
                context.out.line(format_args!("{verb} {path}"));
            }
            let (count, bytes, young) = (collected.removed.len(), collected.bytes, collected.young);
            context.out.note(format_args!("{verb} {count} files, {bytes} bytes; {young} are too young"));
        })
    }
}

/// What changed between two snapshots that are still there.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    #[command(flatten)]
    repo: RepoArg,
    /// The older snapshot; without it the one before the newer
    from: Option<u64>,
    /// The newer snapshot; without it the current one
    to: Option<u64>,
}

impl Diff {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let repository = open_repository(&self.repo).await?;
        let to = match self.to {
            Some(to) => to,
            None => repository.state().await?.snapshot.common.version,
        };
        let from = self.from.unwrap_or(to.saturating_sub(1));
        let difference = repository.diff(from, to).await?;
        context.out.result(&difference, || {
            context.out.line(styled(STRONG, format_args!("snapshot {from} → {to}")));
            for (path, change) in &difference.targets {
                let mark = match change {
                    Change::Added => styled(GOOD, "+"),
                    Change::Removed => styled(BAD, "-"),
                    Change::Changed => styled(STRONG, "~"),
                };
                context.out.line(format_args!("{mark} {path}"));
            }
            for (role, before, after) in &difference.roles {
                context.out.note(format_args!("{role}: version {before} → {after}"));
            }
        })
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// Give a top-level role new keys
    Rotate(Rotate),
}

/// Give a top-level role new keys. Needs enough root keys; with the role's old keys at hand, no client notices.
#[derive(Debug, Args)]
pub(crate) struct Rotate {
    #[command(flatten)]
    repo: RepoArg,
    #[command(flatten)]
    keys: KeyArgs,
    /// The role
    #[arg(value_enum)]
    role: RoleArg,
    /// A key that it has from now on; may be repeated
    #[arg(long = "to", value_name = "URI", required = true)]
    to: Vec<String>,
    /// How many must sign from now on; as many as now, if not said
    #[arg(long, value_name = "N")]
    threshold: Option<u64>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RoleArg {
    Root,
    Timestamp,
    Snapshot,
    Targets,
}

impl Role {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let Self::Rotate(command) = self;
        let mut repository = open_repository(&command.repo).await?;
        let mut keyring = command.keys.open(&repository, &context.out).await?;
        let role = match command.role {
            RoleArg::Root => TopLevel::Root,
            RoleArg::Timestamp => TopLevel::Timestamp,
            RoleArg::Snapshot => TopLevel::Snapshot,
            RoleArg::Targets => TopLevel::Targets,
        };
        let threshold = match command.threshold {
            Some(threshold) => threshold,
            None => repository.state().await?.root.authority(role).threshold(),
        };
        let plan = role_plan(&command.to, threshold, &mut keyring).await?;
        let version = repository.rotate(&keyring, role, &plan, context.now).await?;
        let value = serde_json::json!({"role": role.name(), "root": version, "threshold": threshold});
        context.out.result(&value, || {
            context.out.line(format_args!(
                "{} {} in root {version}",
                styled(GOOD, "new keys for"),
                role.name()
            ));
        })?;
        if matches!(role, TopLevel::Timestamp | TopLevel::Snapshot) {
            remember_online(&mut repository, &command.to, context).await?;
        }
        Ok(())
    }
}

/// Adds the new online keys to the settings, and takes out those that sign nothing any more.
async fn remember_online(
    repository: &mut Repository,
    to: &[String],
    context: &Context,
) -> anyhow::Result<()> {
    let state = repository.state().await?;
    let mut uris = repository.settings().keys.online.clone();
    for uri in to {
        let uri = KeyUri::from_str(uri)?;
        let text = absolute(&uri)?;
        if !matches!(uri, KeyUri::Public(_)) && !uris.contains(&text) {
            uris.push(text);
        }
    }
    let mut kept = Vec::new();
    for uri in uris {
        let key = match keys::open_public(&KeyUri::from_str(&uri)?, &Ask).await {
            Ok(key) => key,
            Err(error) => {
                context
                    .out
                    .note(format_args!("{uri} stays in wheelseal.toml, though it does not open: {error}"));
                kept.push(uri);
                continue;
            }
        };
        let online = [TopLevel::Timestamp, TopLevel::Snapshot].map(|role| state.root.authority(role));
        let signs = online
            .iter()
            .flat_map(super::super::tuf::signed::Authority::keys)
            .any(|(_, known)| known.public() == key.public());
        let bins = state.bins.delegations.iter().flat_map(|delegations| delegations.keys.values());
        if signs || bins.into_iter().any(|known| known.public() == key.public()) {
            kept.push(uri);
        } else {
            context.out.note(format_args!("{uri} signs nothing any more; it is no longer in wheelseal.toml"));
        }
    }
    Ok(repository.set_online_keys(kept).await?)
}
