//! `project send`, and the last step of `project release --upload`: files and signatures go to the index.

use std::path::{Path, PathBuf};

use clap::Args;
use zeroize::Zeroizing;

use super::claimed::{ClaimsArg, When, announce};
use super::config::{Destination, Surroundings};
use super::{RELEASE, read_file};
use crate::cli::Context;
use crate::cli::attested::read_release;
use crate::cli::exit::Usage;
use crate::cli::output::{GOOD, styled};
use crate::client::{Timing, Upload, Uploader};
use crate::python::{self, Provenance};
use crate::repository::Distribution;

/// Bytes of a file with a token, at most.
const MAX_TOKEN: u64 = 4 * 1024;

/// Who sends.
#[derive(Debug, Args)]
pub(super) struct TokenArg {
    /// File with the upload token; without it, the variable `WHEELSEAL_TOKEN`
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Send what was signed to an index that runs `wheelseal serve`: a release with its files, a claim, a change of keys.
///
/// Files that are there already are not sent again. A claim waits for an admin; so do new keys of a promoted project. What
/// is claimed of a release goes to the index and to recorders first, and no file without their receipts.
#[derive(Debug, Args)]
pub(crate) struct Send {
    /// The index, as twine and uv are given it, or its name in their configuration; without it, the one configured there
    #[arg(long, value_name = "URL|NAME")]
    to: Option<String>,
    #[command(flatten)]
    token: TokenArg,
    #[command(flatten)]
    claims: ClaimsArg,
    /// Send commitments to what is claimed alone: no file, no name, no version
    #[arg(long)]
    embargo: bool,
    /// The file, or the folder of a release
    #[arg(value_name = "FILE|FOLDER")]
    path: PathBuf,
}

impl Send {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let index = self.token.destination(self.to.as_deref(), context)?;
        if !self.embargo {
            return send(context, &self.path, &index, &self.claims).await;
        }
        let file = read_file(&self.path.join(RELEASE))?;
        announce(context, &self.path, &file, Some(&index), &self.claims, When::Later).await
    }
}

impl TokenArg {
    fn read(&self) -> anyhow::Result<Option<Zeroizing<String>>> {
        let Some(file) = &self.token_file else { return Ok(None) };
        let shown = |error: std::io::Error| Usage(format!("{}: {error}", file.display()));
        if std::fs::metadata(file).map_err(shown)?.len() > MAX_TOKEN {
            return Err(Usage(format!("{} is too long for a token", file.display())).into());
        }
        let text = Zeroizing::new(std::fs::read_to_string(file).map_err(shown)?);
        Ok(Some(Zeroizing::new(text.trim().to_owned())))
    }

    /// The index that is meant, with a token, before work is done that would be in vain without them. Says which configuration they
    /// are from.
    pub(super) fn destination(&self, typed: Option<&str>, context: &Context) -> anyhow::Result<Destination> {
        let note = |text: String| context.out.note(text);
        let index = Surroundings::here()?.destination(typed, self.read()?, &note)?;
        if let Some(from) = &index.from {
            context.out.note(format_args!("sending to {}, by {from}", index.url));
        }
        Ok(index)
    }
}

/// Sends the file or folder at `path` to an index; what is claimed of it first, to recorders too.
pub(super) async fn send(
    context: &Context,
    path: &Path,
    index: &Destination,
    claims: &ClaimsArg,
) -> anyhow::Result<()> {
    let uploader = Uploader::new(&index.url, index.token.clone(), Timing::default())?;
    let file = if path.is_dir() { path.join(RELEASE) } else { path.to_owned() };
    let request = read_file(&file)?;
    let mut said = Vec::new();
    if path.is_dir() {
        announce(context, path, &request, Some(index), claims, When::Now).await?;
        let spool = tempfile::tempdir()?;
        for (file, distribution) in read_release(path, RELEASE, spool.path())? {
            context.out.note(format_args!("sending {}", distribution.filename()));
            said.push(upload(&uploader, &distribution, &file).await?);
        }
    }
    said.push(uploader.release(request.to_text()?.into_bytes()).await?);
    let value = serde_json::json!({ "project": request.project.to_string(), "said": said });
    context.out.result(&value, || {
        for text in &said {
            context.out.line(format_args!("{} {text}", styled(GOOD, "index:")));
        }
    })
}

async fn upload(uploader: &Uploader, distribution: &Distribution, file: &Path) -> anyhow::Result<String> {
    let filename = distribution.filename();
    let filetype =
        if matches!(filename.kind(), python::Kind::Wheel { .. }) { "bdist_wheel" } else { "sdist" };
    let (version, sha256) = (filename.version().to_string(), hex::encode(distribution.sha256()));
    let upload = Upload {
        file,
        filename: filename.as_str(),
        project: filename.project().as_str(),
        version: &version,
        filetype,
        sha256: &sha256,
        size: distribution.size(),
        attestations: distribution.provenance().map(Provenance::attestations),
    };
    Ok(uploader.upload(upload).await?)
}
