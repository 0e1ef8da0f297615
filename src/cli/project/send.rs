//! `project send`, and the last step of `project release --upload`: files and signatures go to the index.

use std::path::{Path, PathBuf};

use clap::Args;
use zeroize::Zeroizing;

use super::{RELEASE, read_file};
use crate::cli::Context;
use crate::cli::attested::read_release;
use crate::cli::exit::Usage;
use crate::cli::output::{GOOD, styled};
use crate::client::{Timing, Upload, Uploader};
use crate::python::{self, Provenance};
use crate::repository::Distribution;

/// Where the token is looked for that no file was named for.
const TOKEN: &str = "WHEELSEAL_TOKEN";

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
/// Files that are there already are not sent again. A claim waits for an admin; so do new keys of a promoted project.
#[derive(Debug, Args)]
pub(crate) struct Send {
    /// The index, as twine and uv are given it
    #[arg(long, value_name = "URL")]
    to: String,
    #[command(flatten)]
    token: TokenArg,
    /// The file, or the folder of a release
    #[arg(value_name = "FILE|FOLDER")]
    path: PathBuf,
}

impl Send {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        send(context, &self.path, &self.to, &self.token).await
    }
}

impl TokenArg {
    fn read(&self) -> anyhow::Result<Zeroizing<String>> {
        let text = match &self.token_file {
            Some(file) => {
                let shown = |error: std::io::Error| Usage(format!("{}: {error}", file.display()));
                if std::fs::metadata(file).map_err(shown)?.len() > MAX_TOKEN {
                    return Err(Usage(format!("{} is too long for a token", file.display())).into());
                }
                Zeroizing::new(std::fs::read_to_string(file).map_err(shown)?)
            }
            None => Zeroizing::new(std::env::var(TOKEN).map_err(|_| {
                Usage(format!("a token is needed: --token-file FILE, or the variable {TOKEN}"))
            })?),
        };
        Ok(Zeroizing::new(text.trim().to_owned()))
    }

    /// Whether there is a token, before work is done that would be in vain without it.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        self.read().map(drop)
    }
}

/// Sends the file or folder at `path` to the index at `url`.
pub(super) async fn send(context: &Context, path: &Path, url: &str, token: &TokenArg) -> anyhow::Result<()> {
    let uploader = Uploader::new(url, token.read()?, Timing::default())?;
    let file = if path.is_dir() { path.join(RELEASE) } else { path.to_owned() };
    let request = read_file(&file)?;
    let mut said = Vec::new();
    if path.is_dir() {
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
