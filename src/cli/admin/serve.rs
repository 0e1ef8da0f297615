//! `serve`: the repository over HTTP.

use std::net::SocketAddr;

use anyhow::Context as _;
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::keys::open_repository;
use crate::cli::{Context, RepoArg};
use crate::server::{Limits, Server};

/// Serve the repository over HTTP, for reading: metadata, files and pages. No key is needed.
///
/// Metadata goes out compressed, and to a client that holds an older version as what changed since. Ends on SIGINT or
/// SIGTERM, once the running answers are out. Nothing is written down about clients.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    repo: RepoArg,
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Connections at once; more wait
    #[arg(long, value_name = "N", default_value = "1024", value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Memory for compressed files, in MiB
    #[arg(long, value_name = "MIB", default_value = "64")]
    cache: u16,
}

impl Serve {
    pub(in crate::cli) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let repository = open_repository(&self.repo).await?;
        let listening = || format!("listening on {}", self.listen);
        let listener = TcpListener::bind(self.listen).await.with_context(listening)?;
        let url = format!("http://{}/", listener.local_addr()?);
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let stop = async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        let limits = Limits {
            connections: usize::try_from(self.connections).unwrap_or(usize::MAX),
            cache_bytes: usize::from(self.cache) * 1_024 * 1_024,
            ..Limits::default()
        };
        let out = context.out.clone();
        let report =
            move |error: &crate::store::StoreError| out.note(format_args!("the store failed: {error}"));
        let server = Server::new(repository.shared_store(), limits, report);
        context.out.result(&serde_json::json!({"url": url}), || context.out.line(&url))?;
        server.run(listener, stop).await;
        Ok(())
    }
}
