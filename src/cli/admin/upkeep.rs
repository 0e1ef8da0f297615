//! `bump`, `status`, `check`, `gc` and `diff`: looking after a repository.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::alarm::AlarmArgs;
use crate::cli::exit::{self, SomeFailed};
use crate::cli::keys::{KeyArgs, open_repository};
use crate::cli::output::{BAD, GOOD, STRONG, styled, until};
use crate::cli::{Context, RepoArg};
use crate::coding::Coding;
use crate::crypto::random;
use crate::repository::{
    Change, Checked, Collected, Repair, Repository, Retention, RoleStatus, Sample, Share, Unseen,
};

/// Sign anew what has less than half of its life left.
#[derive(Debug, Args)]
pub(crate) struct Bump {
    #[command(flatten)]
    repo: RepoArg,
    #[command(flatten)]
    keys: KeyArgs,
    /// Sign everything anew that the keys at hand can sign
    #[arg(long, conflicts_with = "watch")]
    all: bool,
    /// Keep running and look again every so often, in minutes
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u64).range(1..))]
    watch: Option<u64>,
}

impl Bump {
    pub(in crate::cli) async fn run(self, context: &Context) -> anyhow::Result<()> {
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
        let projects: Vec<_> = bumped
            .projects
            .iter()
            .map(|due| serde_json::json!({"role": due.role, "expires": due.expires}))
            .collect();
        let value = serde_json::json!({"signed": bumped.signed, "bins": bumped.bins, "due": due, "projects": projects, "next": bumped.next});
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
            for due in &bumped.projects {
                let left = until(due.expires, now);
                context.out.note(format_args!("{} expires in {left}: tell its maintainers", due.role));
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
            due => {
                Err(SomeFailed { text: format!("due, but not signed: {due} role(s)"), code: exit::THRESHOLD }
                    .into())
            }
        }
    }
}

/// Versions, expiry, thresholds, who has signed.
#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    repo: RepoArg,
    #[command(flatten)]
    alarm: AlarmArgs,
}

impl Status {
    pub(in crate::cli) async fn run(self, context: &Context) -> anyhow::Result<()> {
        self.look(context).await.map_err(|error| match error.downcast::<SomeFailed>() {
            Ok(found) => found.into(),
            Err(error) => self.alarm.failed(&context.out, error),
        })
    }

    async fn look(&self, context: &Context) -> anyhow::Result<()> {
        let repository = open_repository(&self.repo).await?;
        let status = repository.status(context.now, &context.out.progress()).await?;
        let alarm = self.alarm.judge(&repository, &status, None, context.now);
        alarm.tell(context);
        if !self.alarm.for_machines() {
            context.out.result(&status, || shown(&status, context))?;
        }
        alarm.outcome()
    }
}

/// The table of roles.
fn shown(status: &crate::repository::Status, context: &Context) {
    let header = ["ROLE", "VERSION", "EXPIRES IN", "SIGNED", "BY"];
    let mut rows = vec![header.map(ToOwned::to_owned).to_vec()];
    rows.extend(status.roles.iter().map(|role| row(role, role.role.clone(), context)));
    let bins = status.first_bin.iter();
    rows.extend(bins.map(|bin| row(bin, format!("{} bins (first to expire)", status.bins), context)));
    let buckets = status.first_bucket.iter();
    rows.extend(buckets.map(|role| row(role, "buckets (first to expire)".to_owned(), context)));
    let claimed = |role| row(role, format!("{} claimed (first to expire)", status.claimed), context);
    rows.extend(status.first_project.iter().map(claimed));
    context.out.table(&rows);
    context.out.line(format_args!("{} projects, {} target files", status.projects, status.targets));
    if status.expired_projects > 0 {
        context.out.note(format_args!(
            "{} claimed project(s) have expired: their maintainers renew them, with: wheelseal project release",
            status.expired_projects
        ));
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
    /// All metadata above the bins, but of the bins and files only so many files, or such a part of all bins
    #[arg(long, value_name = "N|P%", value_parser = share)]
    sample: Option<Share>,
    /// Which sample: the same number looks at the same part again [default: random]
    #[arg(long, value_name = "NUMBER", requires = "sample")]
    seed: Option<u64>,
    /// A second, independent verifier as well
    #[arg(long, value_enum)]
    with: Option<Verifier>,
    #[command(flatten)]
    alarm: AlarmArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Verifier {
    /// The Rust client of the Bottlerocket project
    Tough,
}

impl Check {
    pub(in crate::cli) async fn run(self, context: &Context) -> anyhow::Result<()> {
        self.look(context).await.map_err(|error| match error.downcast::<SomeFailed>() {
            Ok(found) => found.into(),
            Err(error) => self.alarm.failed(&context.out, error),
        })
    }

    async fn look(&self, context: &Context) -> anyhow::Result<()> {
        let repository = open_repository(&self.repo).await?;
        if self.repair_plain {
            for repaired in repository.check_plain(Repair::Yes, &context.out.progress()).await? {
                context.out.note(format_args!("{} {}", styled(GOOD, "repaired"), repaired.subject));
            }
        }
        let progress = context.out.progress();
        let checked = match self.sample {
            None => repository.check(context.now, &progress).await?,
            Some(share) => {
                let seed = self.seed.map_or_else(|| random().map(u64::from_be_bytes), Ok)?;
                repository.check_sample(Sample { share, seed }, context.now, &progress).await?
            }
        };
        if !self.alarm.for_machines() {
            context.out.result(&checked, || found(&checked, context))?;
        }
        let problems = checked.more_problems.saturating_add(count(checked.problems.len()));
        if self.alarm.any() {
            self.raise(&repository, problems, context).await?;
        }
        if problems > 0 {
            let expired = checked.problems.iter().all(|problem| problem.expired);
            let code = if expired { exit::EXPIRED } else { exit::INTEGRITY };
            return Err(SomeFailed { text: format!("{problems} problem(s) found"), code }.into());
        }
        match self.with {
            None => Ok(()),
            Some(Verifier::Tough) => second(&repository, context).await,
        }
    }

    /// Tells whoever watches; an error if there is a reason to. What a repository with problems cannot say of its roles is
    /// left out.
    async fn raise(&self, repository: &Repository, problems: u64, context: &Context) -> anyhow::Result<()> {
        let status = match repository.status(context.now, &context.out.progress()).await {
            Err(_) if problems > 0 => crate::repository::Status::default(),
            status => status?,
        };
        let alarm = self.alarm.judge(repository, &status, Some(problems), context.now);
        alarm.tell(context);
        // In a person's words, problems are told with their own code.
        if problems > 0 && !self.alarm.for_machines() { Ok(()) } else { alarm.outcome() }
    }
}

/// What a check found.
fn found(checked: &Checked, context: &Context) {
    for problem in &checked.problems {
        context.out.line(format_args!("{} {}: {}", styled(BAD, "bad"), problem.subject, problem.what));
    }
    more(checked.more_problems, context);
    let (roles, targets, bytes) = (checked.roles, checked.targets, checked.bytes);
    let verdict = if checked.problems.is_empty() { styled(GOOD, "ok") } else { styled(BAD, "bad") };
    context.out.line(format_args!("{verdict} {roles} roles, {targets} files, {bytes} bytes verified"));
    if let Some(Unseen { bins, files }) = checked.unseen {
        context.out.line(format_args!(
            "not looked at: {bins} bins and all they list, {files} files of other bins, left-over files"
        ));
    }
    if checked.unreferenced > 0 {
        let count = checked.unreferenced;
        context.out.note(format_args!("{count} superseded metadata files; `wheelseal gc` removes old ones"));
    }
}

/// `N` or `P%`.
fn share(text: &str) -> Result<Share, String> {
    let wrong = || format!("{text:?} is neither a number of files nor a part such as 0.5%");
    let Some(percent) = text.strip_suffix('%') else {
        let files: u64 = text.parse().map_err(|_| wrong())?;
        return if files == 0 { Err(wrong()) } else { Ok(Share::Files(files)) };
    };
    let (whole, part) = percent.split_once('.').unwrap_or((percent, ""));
    let digits = part.len() <= 4 && part.bytes().all(|digit| digit.is_ascii_digit());
    let part: u32 = format!("{part:0<4}").parse().ok().filter(|_| digits).ok_or_else(wrong)?;
    let millionths =
        whole.parse::<u32>().ok().filter(|whole| *whole <= 100).ok_or_else(wrong)? * 10_000 + part;
    if (1..=1_000_000).contains(&millionths) { Ok(Share::Millionths(millionths)) } else { Err(wrong()) }
}

/// That there were too many problems to list.
fn more(problems: u64, context: &Context) {
    if problems > 0 {
        context.out.line(format_args!("{problems} more problem(s); `wheelseal fsck` names all files"));
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(feature = "tough-keys")]
async fn second(repository: &Repository, context: &Context) -> anyhow::Result<()> {
    let targets = repository.check_with_tough(&context.out.progress()).await?;
    context.out.note(format_args!("{} tough agrees on {targets} files", styled(GOOD, "ok")));
    Ok(())
}

#[cfg(not(feature = "tough-keys"))]
async fn second(_: &Repository, _: &Context) -> anyhow::Result<()> {
    std::future::ready(Err(crate::cli::exit::Usage(
        "this wheelseal was built without the feature tough-keys".to_owned(),
    )
    .into()))
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
    pub(in crate::cli) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let repository = open_repository(&self.repo).await?;
        let retention = Retention {
            snapshots: usize::try_from(self.keep).unwrap_or(usize::MAX),
            grace: Duration::from_secs(self.grace.saturating_mul(3600)),
        };
        let verb = if self.dry_run { "would remove" } else { "removed" };
        let out = &context.out;
        let mut tell = |path: &str| {
            if !out.json() {
                out.line(format_args!("{verb} {path}"));
            }
        };
        let progress = out.progress();
        let collected =
            repository.gc_telling(retention, self.dry_run, context.now, &progress, &mut tell).await?;
        out.result(&collected, || {
            let Collected { count, bytes, young, .. } = collected;
            out.note(format_args!("{verb} {count} files, {bytes} bytes; {young} are too young"));
        })
    }
}

/// Write what is missing of the compressed forms of metadata, for servers that do not compress themselves.
#[derive(Debug, Args)]
pub(crate) struct Compress {
    #[command(flatten)]
    repo: RepoArg,
    /// Which: gzip, zstd; without it those in wheelseal.toml, or both
    #[arg(long = "with", value_name = "CODING", value_delimiter = ',')]
    codings: Vec<CodingArg>,
}

/// A coding of files and bodies.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(in crate::cli) enum CodingArg {
    Gzip,
    Zstd,
}

impl From<CodingArg> for Coding {
    fn from(coding: CodingArg) -> Self {
        match coding {
            CodingArg::Gzip => Self::Gzip,
            CodingArg::Zstd => Self::Zstd,
        }
    }
}

impl Compress {
    pub(in crate::cli) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let repository = open_repository(&self.repo).await?;
        let mut codings: Vec<Coding> = self.codings.into_iter().map(Coding::from).collect();
        if codings.is_empty() {
            codings.clone_from(&repository.settings().metadata.compress);
        }
        if codings.is_empty() {
            codings.extend(Coding::ALL);
        }
        codings.sort_unstable();
        codings.dedup();
        let done = repository.compress(&codings, &context.out.progress()).await?;
        context.out.result(&done, || {
            let (written, bytes, plain) = (done.written, done.bytes, done.plain_bytes);
            let word = styled(GOOD, "wrote");
            context.out.line(format_args!("{word} {written} files, {bytes} bytes for {plain}"));
            context.out.note(format_args!("{} were there already", done.found));
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
    pub(in crate::cli) async fn run(self, context: &Context) -> anyhow::Result<()> {
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
                context.out.line(format_args!("{role}: version {before} → {after}"));
            }
        })
    }
}
