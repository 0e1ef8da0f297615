//! `bins`: another number of hashed bins, and the signature of the offline role that this needs.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Subcommand};

use crate::cli::exit::Usage;
use crate::cli::keys::{KeyArgs, open_repository};
use crate::cli::output::{GOOD, STRONG, styled};
use crate::cli::{Context, RepoArg};
use crate::keys::{self, Ask, KeyUri};
use crate::repository::{RepositoryError, Resized, add_signature};

#[derive(Debug, Subcommand)]
pub(crate) enum Bins {
    /// Change how many bins there are, while clients go on
    Resize(Resize),
    /// Sign the proposed file of `bins`, on whatever machine the key is
    Sign(Sign),
}

/// Change how many bins there are. Needs one signature of the offline `bins` role; without its keys, the file to be
/// signed is written to `staging/bins.json`, and the same command finishes the job once it is signed.
#[derive(Debug, Args)]
pub(crate) struct Resize {
    #[command(flatten)]
    repo: RepoArg,
    #[command(flatten)]
    keys: KeyArgs,
    /// A power of two from 2 to 65,536
    count: u32,
}

/// Sign the proposed file of `bins`. It need not be in a repository, and needs no network.
#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// The key of `bins`
    #[arg(long, value_name = "URI")]
    key: String,
    /// The proposed file; the signature is added to it
    file: PathBuf,
}

impl Bins {
    pub(in crate::cli) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Resize(command) => command.run(context).await,
            Self::Sign(command) => command.run(context).await,
        }
    }
}

impl Resize {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let repository = open_repository(&self.repo).await?;
        let keyring = self.keys.open(&repository, &context.out).await?;
        let progress = context.out.progress();
        let resized = repository.resize_bins(&keyring, self.count, context.now, &progress).await?;
        context.out.result(&resized, || match &resized {
            Resized::Unchanged => context.out.line(format_args!("there are {} bins already", self.count)),
            Resized::Done { targets, snapshot } => {
                let done = styled(GOOD, format_args!("{} bins", self.count));
                context.out.line(format_args!("{done} with {targets} targets, in snapshot {snapshot}"));
                context
                    .out
                    .note("old bins stay for clients that are still reading; `wheelseal gc` removes them");
            }
            Resized::Proposed { file, needed, accepted } => {
                context.out.line(format_args!("{} {file}", styled(STRONG, "to be signed:")));
                let keys = accepted.join(", ");
                context.out.note(format_args!("it needs {needed} signature(s) of the keys {keys}"));
                context.out.note("take it to each key: wheelseal bins sign --key URI FILE");
                let again = format_args!("bring it back and finish: wheelseal bins resize {}", self.count);
                context.out.note(again);
            }
        })
    }
}

impl Sign {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let signer = keys::open(&KeyUri::from_str(&self.key)?, &Ask).await?;
        let (bytes, proposal) = add_signature(&read(&self.file)?, &*signer).await?;
        if proposal.targets > 0 {
            let text = format!("it lists {} targets of its own: not signed", proposal.targets);
            return Err(Usage(text).into());
        }
        replace(&self.file, &bytes)?;
        context.out.result(&proposal, || {
            let (version, bins, style) = (proposal.version, proposal.bins, proposal.style);
            context.out.line(format_args!(
                "{} bins version {version}: {bins} bins ({style}), good until {}",
                styled(GOOD, "signed"),
                proposal.expires
            ));
            for key in &proposal.keys {
                context.out.line(format_args!("each bin is signed by key {key}"));
            }
            context.out.note(format_args!("{} signature(s) by now", proposal.signed_by.len()));
        })
    }
}

/// Bytes of a proposed file, at most: 65,536 bins listed one by one take 15 MB.
const MAX_PROPOSAL: u64 = 64 * 1024 * 1024;

fn read(file: &Path) -> Result<Vec<u8>, RepositoryError> {
    let about = std::fs::metadata(file).map_err(|error| failed("reading", file, &error.to_string()))?;
    if about.len() > MAX_PROPOSAL {
        return Err(failed(
            "reading",
            file,
            &format!("it has {} bytes, at most {MAX_PROPOSAL}", about.len()),
        ));
    }
    std::fs::read(file).map_err(|error| failed("reading", file, &error.to_string()))
}

/// Writes beside, then renames: a stick that is pulled out leaves the old file or the new one.
fn replace(file: &Path, bytes: &[u8]) -> Result<(), RepositoryError> {
    let folder = file.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let written = || {
        let mut beside = tempfile::NamedTempFile::new_in(folder)?;
        beside.write_all(bytes)?;
        beside.as_file().sync_all()?;
        beside.persist(file).map_err(|refused| refused.error)
    };
    written().map(drop).map_err(|error| failed("writing", file, &error.to_string()))
}

fn failed(what: &'static str, file: &Path, reason: &str) -> RepositoryError {
    RepositoryError::File { what, file: file.display().to_string(), reason: reason.to_owned() }
}
