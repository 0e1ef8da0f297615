//! `conformance`: the client protocol of the TUF conformance suite. Flags come before the subcommand; the exit code
//! is 0 or 1 and nothing else.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::Context;
use super::exit::Usage;
use crate::client::{Client, Http, MetadataDir, Session, Timing};
use crate::tuf::path::{TargetPath, percent_quote};
use crate::tuf::trusted::Limits;

#[derive(Debug, Args)]
pub(crate) struct Conformance {
    /// Where trusted metadata is kept
    #[arg(long, value_name = "DIR")]
    metadata_dir: PathBuf,
    /// Base URL of the repository's metadata
    #[arg(long, value_name = "URL")]
    metadata_url: Option<String>,
    /// A target to download; may be repeated
    #[arg(long, value_name = "PATH")]
    target_name: Vec<String>,
    /// Base URL of the repository's target files
    #[arg(long, value_name = "URL")]
    target_base_url: Option<String>,
    /// Where downloaded targets are kept
    #[arg(long, value_name = "DIR")]
    target_dir: Option<PathBuf>,
    #[command(subcommand)]
    step: Step,
}

#[derive(Debug, Subcommand)]
enum Step {
    /// Start from a trusted root
    Init {
        /// The root
        trusted_root: PathBuf,
    },
    /// Update top-level metadata
    Refresh,
    /// Update, and download the targets named
    Download,
}

impl Conformance {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match &self.step {
            Step::Init { trusted_root } => {
                let root = std::fs::read(trusted_root).with_context(|| trusted_root.display().to_string())?;
                MetadataDir::init(&self.metadata_dir, &root)?;
                Ok(())
            }
            Step::Refresh => {
                self.client()?.refresh(context.now).await?;
                Ok(())
            }
            Step::Download => {
                let folder = self.target_dir.as_deref().ok_or_else(|| missing("--target-dir"))?;
                let client = self.client()?;
                let session = client.refresh(context.now).await?;
                for name in &self.target_name {
                    download(&session, name, folder).await?;
                }
                Ok(())
            }
        }
    }

    fn client(&self) -> anyhow::Result<Client> {
        let metadata = self.metadata_url.as_deref().ok_or_else(|| missing("--metadata-url"))?;
        let targets = self.target_base_url.as_deref().unwrap_or(metadata);
        let http = Http::new(Timing::default())?;
        let (metadata, targets) = (http.metadata(metadata)?, http.targets(targets)?);
        let cache = MetadataDir::new(&self.metadata_dir);
        Ok(Client::new(Box::new(metadata), Box::new(targets), cache, Limits::default()))
    }
}

async fn download(session: &Session, name: &str, folder: &Path) -> anyhow::Result<()> {
    let found = session.find(&TargetPath::new(name)?).await?;
    session.download(&found, &folder.join(percent_quote(name, b""))).await?;
    Ok(())
}

fn missing(flag: &str) -> anyhow::Error {
    Usage(format!("{flag} is missing")).into()
}
