//! What everything that listens has: TLS from files, and an end on SIGINT or SIGTERM.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::Context;
use crate::server::Tls;

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
