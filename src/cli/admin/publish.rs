//! `add`, `remove` and `yank`: what is published.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use super::stream;
use crate::cli::attested::AttestationsArg;
use crate::cli::exit::Usage;
use crate::cli::keys::{KeyArgs, open_repository};
use crate::cli::output::{GOOD, styled};
use crate::cli::{Context, RepoArg};
use crate::python::{DistributionFilename, FreeText, has_ending};
use crate::repository::{Edit, Published, Publisher};

/// Publish wheels and sdists: all of them, or none.
#[derive(Debug, Args)]
pub(crate) struct Add {
    #[command(flatten)]
    repo: RepoArg,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    attestations: AttestationsArg,
    /// Check everything, publish nothing
    #[arg(long)]
    dry_run: bool,
    /// Read file names from stdin, one a line, and publish each by itself as it comes; what waits goes together
    #[arg(long, conflicts_with_all = ["dists", "dry_run", "attestations"])]
    stdin: bool,
    /// Files, or folders that are searched for .whl, .tar.gz and .zip
    #[arg(required_unless_present = "stdin", value_name = "DIST")]
    dists: Vec<PathBuf>,
}

impl Add {
    /// Whether it publishes for as long as names come.
    pub(crate) fn stays(&self) -> bool {
        self.stdin
    }

    pub(in crate::cli) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let repository = open_repository(&self.repo).await?;
        if self.stdin {
            let keyring = self.keys.open(&repository, &context.out).await?;
            return stream::publish_lines(context, Publisher::start(repository, keyring)).await;
        }
        let files = find_distributions(&self.dists)?;
        let spool = tempfile::tempdir()?;
        let mut edits = Vec::new();
        for file in &files {
            edits.push(Edit::Add(Box::new(self.attestations.read(file, spool.path())?)));
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
            if entry.file_type().is_file() && has_ending(&name) {
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
    pub(in crate::cli) async fn run(self, context: &Context) -> anyhow::Result<()> {
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
    pub(in crate::cli) async fn run(self, context: &Context) -> anyhow::Result<()> {
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
