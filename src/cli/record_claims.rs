//! Claims of releases at a recorder: where they are taken, and whose keys count.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use chrono::TimeDelta;
use clap::Args;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::Context;
use super::listen::{self, TlsArgs};
use crate::claim_desk::{ClaimDesk, Teams};
use crate::client::trust::TrustStore;
use crate::client::{Credentials, Timing};
use crate::recorder::{ClaimServer, Claims};
use crate::repository::{Keyring, Repository};
use crate::tuf::trusted::Limits;

/// Which claims are taken.
#[derive(Debug, Args)]
pub(super) struct ClaimsArg {
    /// Take maintainers' claims of releases at this address and port: POST /claim/; and say how they stand: /claim/NAME/VERSION
    #[arg(long = "claims", value_name = "ADDRESS:PORT", conflicts_with = "once")]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    tls: TlsArgs,
    /// The trusted repository of the index, whose maintainers' keys must have signed a claim. Without it claims only warn
    #[arg(long, value_name = "NAME")]
    trust: Option<String>,
    /// Address of the index as claims have it, if it is not --index without `simple/`
    #[arg(long, value_name = "URL")]
    claims_for: Option<String>,
    /// Hours after which a claimed file that the index does not have is told of
    #[arg(long, value_name = "HOURS", default_value = "24")]
    claim_overdue: u32,
}

impl ClaimsArg {
    /// The desk where claims are taken, if they are.
    pub(super) async fn desk(
        &self,
        repository: &Repository,
        keys: &Arc<Keyring>,
        index: &str,
    ) -> anyhow::Result<Option<Arc<ClaimDesk>>> {
        if self.listen.is_none() && self.trust.is_none() {
            return Ok(None);
        }
        let teams = match &self.trust {
            Some(name) => {
                let client = TrustStore::of_user()?.client(name, Timing::default(), Limits::default())?;
                Teams::Of(Box::new(client))
            }
            None => Teams::Unknown,
        };
        let (bare, _) = Credentials::of_url(index);
        let index = match &self.claims_for {
            Some(url) => url.as_str(),
            None => bare.trim_end_matches('/').trim_end_matches("/simple"),
        };
        let index = format!("{}/", index.trim_end_matches('/'));
        let desk = ClaimDesk::open(repository.clone(), Arc::clone(keys), &index, teams).await?;
        Ok(Some(Arc::new(desk.judged().await?)))
    }

    /// What the recorder judges.
    pub(super) fn claims(&self, desk: &Arc<ClaimDesk>) -> Claims {
        Claims::new(Arc::clone(desk), TimeDelta::hours(self.claim_overdue.into()))
    }

    /// Takes claims until the program is told to end, if it is told where.
    pub(super) async fn serve(
        &self,
        desk: Option<&Arc<ClaimDesk>>,
        repository: &Repository,
        context: &Context,
    ) -> anyhow::Result<Option<JoinHandle<()>>> {
        let (Some(address), Some(desk)) = (self.listen, desk) else { return Ok(None) };
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("listening on {address}"))?;
        let (tls, stop, out) = (self.tls.open(context)?, listen::stop()?, context.out.clone());
        let scheme = if tls.is_some() { "https" } else { "http" };
        let at = listener.local_addr()?;
        context.out.note(format_args!("claims for {} at {scheme}://{at}/claim/", desk.index()));
        if self.trust.is_none() {
            context.out.note("without --trust nobody's keys are known: claims only warn");
        }
        let report = move |fault: &str| out.note(format_args!("a claim was not taken: {fault}"));
        let server = ClaimServer::new(Arc::clone(desk), repository.clone(), context.clock, report);
        Ok(Some(tokio::spawn(server.run(listener, tls, stop))))
    }
}
