//! `recover`: what to do when keys are lost or stolen.
//!
//! | file | what |
//! |---|---|
//! | `playbook` | the steps for each loss and theft, with their state |
//! | `walk` | going through them |
//! | `drill`, `throwaway` | a playbook rehearsed on a copy, with keys that nobody writes down |
//! | `good`, `restore`, `first_root` | what the steps need that no other command does |

mod drill;
mod first_root;
mod good;
mod playbook;
mod restore;
mod throwaway;
mod walk;

use std::collections::BTreeSet;

use clap::{Args, Subcommand};

use self::first_root::FirstRoot;
use self::good::GoodArgs;
use self::playbook::{LostKey, OnlineKeys, Playbook, ProjectKeys, Root, SnapshotKeys, TargetsKeys};
use self::restore::Restore;
use crate::cli::exit::{self, SomeFailed};
use crate::cli::keys::open_repository;
use crate::cli::output::{BAD, GOOD, STRONG, styled};
use crate::cli::{Context, RepoArg};
use crate::repository::{Change, Compared, Counts, Differing, Item};

/// Lines of a comparison that a terminal gets, at most: `--all` and `--json` have no limit.
const MAX_LINES: usize = 200;

#[derive(Debug, Subcommand)]
pub(crate) enum Recover {
    /// A key was lost, and nobody else has it
    LostKey(LostKey),
    /// Online keys were stolen: timestamp, snapshot, bins, recently-claimed
    OnlineKeys(OnlineKeys),
    /// Keys that sign timestamp and snapshot alone were stolen
    SnapshotKeys(SnapshotKeys),
    /// Keys of targets, bins or claimed were stolen
    TargetsKeys(TargetsKeys),
    /// Keys of a claimed project were stolen
    ProjectKeys(ProjectKeys),
    /// Root cannot be saved: too many of its keys were lost or stolen
    Root(Root),
    /// What differs from the last known good state
    Compare(Compare),
    /// What the bins list goes back to what it was
    Restore(Restore),
    /// A new first root over the same content
    FirstRoot(FirstRoot),
}

impl Recover {
    pub(in crate::cli) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let playbook = match self {
            Self::Compare(command) => return command.run(context).await,
            Self::Restore(command) => return command.run(context).await,
            Self::FirstRoot(command) => return command.run(context).await,
            Self::LostKey(playbook) => Playbook::LostKey(playbook),
            Self::OnlineKeys(playbook) => Playbook::OnlineKeys(playbook),
            Self::SnapshotKeys(playbook) => Playbook::SnapshotKeys(playbook),
            Self::TargetsKeys(playbook) => Playbook::TargetsKeys(playbook),
            Self::ProjectKeys(playbook) => Playbook::ProjectKeys(playbook),
            Self::Root(playbook) => Playbook::Root(playbook),
        };
        playbook.run(context).await
    }
}

/// What differs from the last known good state: every target and every delegation that was added, changed or removed.
///
/// Nothing is written. Exit code 0 if nothing differs, 3 if something does. With --json, each difference is a line, and the
/// last line has the counts.
#[derive(Debug, Args)]
pub(crate) struct Compare {
    #[command(flatten)]
    repo: RepoArg,
    #[command(flatten)]
    good: GoodArgs,
    /// All lines, however many
    #[arg(long)]
    all: bool,
}

impl Compare {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let repository = open_repository(&self.repo).await?;
        let good = self.good.open(&repository).await?;
        let out = &context.out;
        let mut lines = Lines::new(if self.all { usize::MAX } else { MAX_LINES });
        let mut tell = |differing: &Differing| {
            match serde_json::to_string(differing) {
                Ok(line) if out.json() => out.line(line),
                _ => lines.take(differing),
            }
            Ok(())
        };
        let compared = repository.compare(&good, &self.good.keep(), &out.progress(), &mut tell).await?;
        if out.json() {
            out.line(serde_json::to_string(&serde_json::json!({"compared": compared}))?);
        } else {
            out.line(format_args!(
                "{} snapshot {} against the good one, {} (SHA-256 {})",
                styled(STRONG, "compared"),
                compared.present,
                compared.good,
                good.snapshot_sha256()
            ));
            summary(&compared, context);
            lines.print(context);
        }
        if compared.targets.total() + compared.delegations.total() == 0 {
            return Ok(());
        }
        let text = "the repository is not as the good state says".to_owned();
        Err(SomeFailed { text, code: exit::INTEGRITY }.into())
    }
}

/// Counts first.
fn summary(compared: &Compared, context: &Context) {
    let out = &context.out;
    for (what, counts) in [("targets", compared.targets), ("delegations", compared.delegations)] {
        let Counts { added, changed, removed } = counts;
        let verdict =
            if counts.total() == 0 { styled(GOOD, "as before") } else { styled(BAD, "not as before") };
        out.line(format_args!("{what}: {verdict}: {added} added, {changed} changed, {removed} removed"));
    }
    if compared.kept > 0 {
        out.line(format_args!("{} differences are meant to be (--keep)", compared.kept));
    }
}

/// The first lines of a comparison, in order.
struct Lines {
    shown: BTreeSet<Differing>,
    most: usize,
    left_out: u64,
}

impl Lines {
    fn new(most: usize) -> Self {
        Self { shown: BTreeSet::new(), most, left_out: 0 }
    }

    fn take(&mut self, differing: &Differing) {
        self.shown.insert(differing.clone());
        if self.shown.len() > self.most {
            self.shown.pop_last();
            self.left_out += 1;
        }
    }

    fn print(&self, context: &Context) {
        let out = &context.out;
        for differing in &self.shown {
            let mark = match differing.change {
                Change::Added => styled(BAD, "+"),
                Change::Removed => styled(BAD, "-"),
                Change::Changed => styled(BAD, "~"),
            };
            let what = if differing.item == Item::Delegation { "delegation to " } else { "" };
            out.line(format_args!("{mark} {what}{}", differing.path));
            for (when, said) in [("before", &differing.before), ("now", &differing.after)] {
                if let Some(said) = said {
                    out.line(format_args!("    {when}: {}: {}", said.role, said.text));
                }
            }
        }
        if self.left_out > 0 {
            out.note(format_args!("and {} more: --all, or --json for programs", self.left_out));
        }
    }
}
