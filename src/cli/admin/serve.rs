//! `serve`: the repository over HTTP.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use tokio::net::TcpListener;

use crate::claim_desk::{ClaimDesk, Teams};
use crate::cli::keys::{KeyArgs, open_repository};
use crate::cli::listen::{self, TlsArgs};
use crate::cli::watch::WatchArgs;
use crate::cli::{Context, RepoArg};
use crate::repository::{Keyring, Publisher, Repository, RepositoryError};
use crate::server::{Ceremonies, Limits, Pages, PublicUrl, Server, Tokens, UploadLimits, Uploads};

/// Serve the repository over HTTP: metadata, files and pages for installers and people, and with `--tokens` uploads.
///
/// For reading no key is needed. With `--tokens`, twine and uv publish to URL/legacy/, signed with the online keys. Metadata goes out compressed, and to a client that holds an older version as what changed since. Ends on SIGINT or
/// SIGTERM, once the running answers are out. Nothing is written down about who reads; of uploads only what `--journal` keeps.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    repo: RepoArg,
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Address at which the world finds this server, with https: pages then name the attestations of files (PEP 740)
    #[arg(long, value_name = "URL")]
    public_url: Option<PublicUrl>,
    /// Address of the index in the claims of releases that are taken, if it is not that of --public-url
    #[arg(long, value_name = "URL", requires = "tokens")]
    claims_for: Option<String>,
    #[command(flatten)]
    tls: TlsArgs,
    /// Connections at once; more wait
    #[arg(long, value_name = "N", default_value = "1024", value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Memory for compressed files, in MiB
    #[arg(long, value_name = "MIB", default_value = "64")]
    cache: u16,
    /// Take uploads from who has one of these tokens: see `wheelseal token`
    #[arg(long, value_name = "FILE", env = "WHEELSEAL_TOKENS")]
    tokens: Option<PathBuf>,
    /// No pages for people at /, /project/ and /tree/
    #[arg(long)]
    no_pages: bool,
    /// Show people the ceremonies under way as well: what they change, who has signed, who is missing
    #[arg(long, conflicts_with = "no_pages")]
    ceremonies: bool,
    #[command(flatten)]
    keys: KeyArgs,
    /// Largest file that may be uploaded, in MiB
    #[arg(long, value_name = "MIB", default_value = "100", requires = "tokens", value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    max_file: u64,
    /// Uploads with one token in a minute
    #[arg(long, value_name = "N", default_value = "600", requires = "tokens")]
    upload_rate: u32,
    /// Where uploads lie until they are published, if not in the system's folder for temporary files
    #[arg(long, value_name = "DIR", requires = "tokens")]
    spool: Option<PathBuf>,
    #[command(flatten)]
    watch: WatchArgs,
}

impl Serve {
    pub(in crate::cli) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let repository = open_repository(&self.repo).await?;
        let listening = || format!("listening on {}", self.listen);
        let listener = TcpListener::bind(self.listen).await.with_context(listening)?;
        let tls = self.tls.open(context)?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}/", listener.local_addr()?);
        let stop = listen::stop()?;
        let limits = Limits {
            connections: usize::try_from(self.connections).unwrap_or(usize::MAX),
            cache_bytes: usize::from(self.cache) * 1_024 * 1_024,
            ..Limits::default()
        };
        let out = context.out.clone();
        let report =
            move |error: &crate::store::StoreError| out.note(format_args!("the store failed: {error}"));
        let mut server = Server::new(repository.shared_store(), limits, report);
        server = server.watched(self.watch.watch(&self.repo, context)?);
        if let Some(url) = &self.public_url {
            server = server.found_at(url.clone());
        }
        if !self.no_pages {
            server = server.showing(self.pages(&repository, context));
        }
        if let Some(tls) = tls {
            server = server.secured(tls);
        }
        // Goes with all that lies in it when the server ends.
        let spool;
        if let Some(tokens) = &self.tokens {
            let keyring = self.keys.open(&repository, &context.out).await?;
            spool = match &self.spool {
                Some(folder) => tempfile::tempdir_in(folder),
                None => tempfile::tempdir(),
            }?;
            let uploads = self.uploads(tokens, repository, keyring, spool.path(), context).await?;
            server = server.accepting(uploads);
        }
        context.out.result(&serde_json::json!({"url": url}), || context.out.line(&url))?;
        server.run(listener, stop).await;
        Ok(())
    }

    fn pages(&self, repository: &Repository, context: &Context) -> Pages {
        let ceremonies = if self.ceremonies { Ceremonies::Shown } else { Ceremonies::Hidden };
        let out = context.out.clone();
        let report = move |error: &RepositoryError| out.note(format_args!("a page was not shown: {error}"));
        Pages::new(repository.clone().only_read(), ceremonies, context.clock, report)
    }

    async fn uploads(
        &self,
        tokens: &Path,
        repository: Repository,
        keyring: Keyring,
        spool: &Path,
        context: &Context,
    ) -> anyhow::Result<Uploads> {
        let limits = UploadLimits {
            file: self.max_file.saturating_mul(1_024 * 1_024),
            per_minute: self.upload_rate,
            ..UploadLimits::default()
        };
        let out = context.out.clone();
        let report = move |fault: &str| out.note(format_args!("an upload was not published: {fault}"));
        let publisher = Publisher::start(repository.clone(), keyring);
        let keys = publisher.keys();
        let uploads =
            Uploads::new(publisher, Tokens::at(tokens), spool.to_owned(), limits, context.clock, report);
        let index = match (&self.claims_for, &self.public_url) {
            (Some(url), _) => format!("{}/", url.trim_end_matches('/')),
            (None, Some(url)) => url.as_str().to_owned(),
            (None, None) => {
                if repository.state().await?.timestamp.log.is_some() {
                    context.out.note(
                        "without --public-url or --claims-for no claims of releases are taken: `project release --upload` asks for a receipt",
                    );
                }
                return Ok(uploads);
            }
        };
        Ok(uploads.claiming(ClaimDesk::open(repository, keys, &index, Teams::Own).await?))
    }
}
