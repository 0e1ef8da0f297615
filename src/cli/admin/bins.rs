//! `bins`: another number of hashed bins.

use clap::{Args, Subcommand};

use super::ceremony::{GateArgs, show};
use crate::cli::exit::{self, SomeFailed};
use crate::cli::keys::{KeyArgs, open_repository};
use crate::cli::output::{GOOD, styled};
use crate::cli::{Context, RepoArg};
use crate::repository::Resized;

#[derive(Debug, Subcommand)]
pub(crate) enum Bins {
    /// Change how many bins there are, while clients go on
    Resize(Resize),
}

/// Change how many bins there are. Needs the signature of the offline `bins` role; without its keys, a ceremony is
/// left that waits for it.
#[derive(Debug, Args)]
pub(crate) struct Resize {
    #[command(flatten)]
    repo: RepoArg,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    gate: GateArgs,
    /// A power of two from 2 to 65,536
    count: u32,
}

impl Bins {
    pub(in crate::cli) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let Self::Resize(command) = self;
        command.run(context).await
    }
}

impl Resize {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let repository = open_repository(&self.repo).await?;
        let keyring = self.keys.open(&repository, &context.out).await?;
        let (progress, gate) = (context.out.progress(), self.gate.clients(&repository, context));
        let resized =
            repository.resize_bins(&keyring, self.count, Some(&gate), context.now, &progress).await?;
        context.out.result(&resized, || match &resized {
            Resized::Unchanged => context.out.line(format_args!("there are {} bins already", self.count)),
            Resized::Done { targets, snapshot } => {
                let done = styled(GOOD, format_args!("{} bins", self.count));
                context.out.line(format_args!("{done} with {targets} targets, in snapshot {snapshot}"));
                context
                    .out
                    .note("old bins stay for clients that are still reading; `wheelseal gc` removes them");
            }
            Resized::Proposed { ceremony, why } => show::waiting(ceremony, why, context),
        })?;
        match resized {
            Resized::Proposed { why, .. } => {
                let text = format!("nothing was published yet: {why}");
                Err(SomeFailed { text, code: exit::THRESHOLD }.into())
            }
            _ => Ok(()),
        }
    }
}
