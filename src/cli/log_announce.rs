//! `log announce`: what a recorder hands out about itself, for `trust add --recorder`.

use std::path::PathBuf;

use clap::Args;

use super::exit::{INTEGRITY, SomeFailed, Usage};
use super::files::write_file;
use super::keys::open_repository;
use super::output::{GOOD, styled};
use super::{Context, RepoArg};
use crate::client::{Announced, Since};
use crate::recorder::SINCE;
use crate::store::{Store, StorePath};

/// Bytes of what a recorder notes when it begins, at most.
const MAX_SINCE: u64 = 4 * 1_024;

/// Write what clients of a recorder are given: its address, its log, its witnesses, and what is older than it.
///
/// Hand it out as you hand out root.json, over a channel that people trust: `trust add --recorder FILE` takes it.
#[derive(Debug, Args)]
pub(crate) struct Announce {
    #[command(flatten)]
    repo: RepoArg,
    /// Where its files are: targets/ and log/ are below it
    #[arg(long, value_name = "URL")]
    url: String,
    /// Where it takes claims of releases (`record --claims`), if not at claim/ below URL
    #[arg(long, value_name = "URL")]
    claims: Option<String>,
    /// A short name for it; if not said, the host of URL
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Where it goes, if not to stdout
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Announce {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let repository = open_repository(&self.repo).await?;
        let policy = repository.log_policy().await?;
        let none = || Usage("this repository has no transparency log: begin one with `log init`".to_owned());
        let policy = policy.ok_or_else(none)?.text().to_owned();
        let since = since(repository.store()).await?;
        let name = match &self.name {
            Some(name) => name.clone(),
            None => host(&self.url)?,
        };
        let announced = Announced { name, url: self.url, policy, claims: self.claims, since };
        let text = announced.to_toml().map_err(|error| Usage(error.to_string()))?;
        if let Some(file) = &self.output {
            write_file(file, text.as_bytes())?;
            let good = styled(GOOD, file.display());
            context.out.note(format_args!("{good}: recorder {} at {}", announced.name, announced.url));
            return Ok(());
        }
        context.out.result(&announced, || context.out.line(text.trim_end()))
    }
}

/// What the recorder noted; nothing, if it follows no log.
async fn since(store: &dyn Store) -> anyhow::Result<Option<Since>> {
    let Some(object) = store.get(&StorePath::new(SINCE)?, MAX_SINCE).await? else { return Ok(None) };
    let bad = |error| SomeFailed { text: format!("{SINCE} does not read: {error}"), code: INTEGRITY };
    Ok(Some(serde_json::from_slice(&object.bytes).map_err(bad)?))
}

/// The host of an address, as a name.
fn host(url: &str) -> Result<String, Usage> {
    let host = reqwest::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
    host.ok_or_else(|| Usage(format!("{url} has no host to be named after: say --name NAME")))
}
