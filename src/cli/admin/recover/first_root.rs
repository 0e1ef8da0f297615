//! `recover first-root`: a new first root, when the old one's keys cannot sign its successor.

use clap::Args;

use crate::cli::admin::ceremony::agreed;
use crate::cli::admin::roles::role_plan;
use crate::cli::keys::open_repository;
use crate::cli::output::{GOOD, styled};
use crate::cli::{Context, RepoArg};
use crate::repository::{FirstRoot as Made, Keyring};

/// Make a new first root over the same content. Every user must be told, and trust it anew.
///
/// For when so many root keys are lost that the others cannot sign, or so many stolen that a thief can. Nothing else is
/// signed anew, and no file moves. Private keys that reach the threshold must be here; holders elsewhere are added by a
/// ceremony afterwards, before users are told.
#[derive(Debug, Args)]
pub(crate) struct FirstRoot {
    #[command(flatten)]
    repo: RepoArg,
    /// A key of the new root; may be repeated
    #[arg(long = "root-key", value_name = "URI", required = true)]
    root: Vec<String>,
    /// How many of them must sign
    #[arg(long, value_name = "N", default_value_t = 1)]
    root_threshold: u64,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl FirstRoot {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let repository = open_repository(&self.repo).await?;
        let mut keyring = Keyring::default();
        let plan = role_plan(&self.root, self.root_threshold, &mut keyring).await?;
        agreed(
            "Clients will not follow the new root by themselves: every user must trust it anew.",
            self.yes,
        )?;
        let made = repository.new_first_root(&keyring, &plan, context.now).await?;
        context.out.result(&made, || tell(&made, context))
    }
}

fn tell(made: &Made, context: &Context) {
    let Made { version, path, sha256 } = made;
    let out = &context.out;
    out.line(format_args!("{} root version {version}: {path}", styled(GOOD, "made")));
    out.line(format_args!("  SHA-256 {sha256}"));
    out.line("tell every user, by a channel that a thief of the repository does not have:");
    out.line("  wheelseal trust remove NAME");
    out.line(format_args!("  sha256sum root.json        # must be {sha256}"));
    out.line("  wheelseal trust add NAME URL --root root.json");
    out.note(
        "if other people are to hold root too: a ceremony first, and users are given the root that it makes",
    );
    out.note("other machines that publish here: delete what they remember of the old root, which their next error names");
}
