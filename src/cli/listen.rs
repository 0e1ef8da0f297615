//! What everything that listens has: TLS from files, metrics, and an end on SIGINT or SIGTERM.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::Context;
use crate::server::Tls;
use crate::web::serve_metrics;

/// A certificate and its key.
#[derive(Debug, Args)]
pub(super) struct TlsArgs {
    /// Speak TLS: PEM file with the server's certificate, and those up to its CA's. Read again on SIGHUP
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file with the certificate's private key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

impl TlsArgs {
    /// Reads both, now and at each SIGHUP.
    pub(super) fn open(&self, context: &Context) -> anyhow::Result<Option<Arc<Tls>>> {
        let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) else { return Ok(None) };
        let tls = Arc::new(Tls::read(certificate, key)?);
        renew(&tls, context)?;
        Ok(Some(tls))
    }
}

fn renew(tls: &Arc<Tls>, context: &Context) -> anyhow::Result<()> {
    let (mut hangup, tls, out) = (signal(SignalKind::hangup())?, Arc::clone(tls), context.out.clone());
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            match tls.reload() {
                Ok(()) => out.note("the certificate was read again"),
                Err(error) => out.note(format_args!("the certificate of before stays: {error}")),
            }
        }
    });
    Ok(())
}

/// Answers with metrics at an address from now on, and says where.
pub(super) async fn metrics(
    address: SocketAddr,
    text: impl Fn() -> String + Clone + Send + Sync + 'static,
    context: &Context,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("listening on {address}"))?;
    context.out.note(format_args!("metrics at http://{}/metrics", listener.local_addr()?));
    tokio::spawn(serve_metrics(listener, text));
    Ok(())
}

/// Comes with SIGINT or SIGTERM.
pub(super) fn stop() -> anyhow::Result<impl Future<Output = ()> + Send> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
