//! `check-store`: whether an object store can be published to.

use clap::Args;

use crate::cli::output::{GOOD, styled};
use crate::cli::{Context, RepoArg};
use crate::store::EtagQuotes;

/// Does the object store keep its promises? Tried out on objects of its own.
///
/// Publishing rests on conditions: create this object if there is none, replace that one if nobody changed it. Some
/// servers and proxies ignore them, or let several writers win who come at once. `init` and the first write of a machine
/// try it out by themselves and remember the answer; this does it anew. Needs the right to write.
#[derive(Debug, Args)]
pub(crate) struct CheckStore {
    #[command(flatten)]
    repo: RepoArg,
}

impl CheckStore {
    pub(in crate::cli) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let probed = self.repo.repo.bucket()?.probe().await?;
        let quotes = match probed.etag_quotes {
            EtagQuotes::Keep => "with",
            EtagQuotes::Strip => "without",
        };
        let value =
            serde_json::json!({"store": self.repo.repo.to_string(), "etag_quotes": probed.etag_quotes});
        context.out.result(&value, || {
            let (fine, place) = (styled(GOOD, "sound"), &self.repo.repo);
            context
                .out
                .line(format_args!("{fine}: {place} keeps its conditions, also when many write at once"));
            context.out.line(format_args!("it compares ETags {quotes} their quotes"));
        })
    }
}
