//! `proxy`: verified indexes on a fixed port, for programs that `exec` cannot start.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use chrono::TimeDelta;
use clap::{Args, Subcommand};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::Context;
use super::exec::{Verified, indexes};
use super::logged::{warn_recorder, warn_unwitnessed};
use super::output::{BAD, STRONG, styled};
use crate::client::trust::TrustStore;
use crate::proxy::{Journal, Limits, Mode, Reverse, Settings, Tell, Told};

/// The number of the PEP.
const PORT: u16 = 4580;
/// After so long newer metadata is asked for.
const RENEW: TimeDelta = TimeDelta::minutes(1);
/// How often it is looked whether there is something to say of logs and recorders.
const LOOK: Duration = Duration::from_secs(1);

/// Verified indexes on a port of this machine.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Proxy {
    #[command(subcommand)]
    command: Option<ProxyCommand>,
    #[command(flatten)]
    verified: Verified,
    /// Port on 127.0.0.1
    #[arg(long, value_name = "N", default_value_t = PORT, env = "WHEELSEAL_PORT")]
    port: u16,
}

#[derive(Debug, Subcommand)]
enum ProxyCommand {
    /// Print what to set so that pip and uv ask the proxy
    Env {
        /// Name of the trust; not needed while there is only one
        #[arg(long, value_name = "NAME", env = "WHEELSEAL_TRUST")]
        trust: Option<String>,
        /// Port on 127.0.0.1
        #[arg(long, value_name = "N", default_value_t = PORT, env = "WHEELSEAL_PORT")]
        port: u16,
    },
}

impl Proxy {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let store = TrustStore::of_user()?;
        if let Some(ProxyCommand::Env { trust, port }) = self.command {
            return env(context, &store, trust.as_ref(), port);
        }
        let out = context.out.clone();
        let tell: Tell = Arc::new(move |told| {
            if let Told::Refused(refused) = told {
                out.note(format_args!(
                    "{} {} of {}: {}",
                    styled(BAD, "refused"),
                    refused.what,
                    refused.index,
                    refused.fault
                ));
            }
        });
        let settings = Settings {
            mode: Mode::Enforce,
            cache: self.verified.cache()?,
            cache_bytes: self.verified.cache_bytes(),
            renew: Some(RENEW),
            clock: Arc::new(context.clock),
            tell,
        };
        let names = self.verified.names(&store)?;
        let indexes = indexes(&store, &names, &settings, &Arc::new(Journal::endless()))?;
        for name in &names {
            if !store.location(name)?.credentials().is_empty() {
                context.out.note(format_args!(
                    "{name}: the password in its address is not used here, where anyone on this machine can ask; give it to the tools"
                ));
            }
        }
        let reverse = Arc::new(Reverse::new(indexes, Limits::default()));
        let address = Reverse::address(self.port);
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("port {} on 127.0.0.1", self.port))?;
        let port = listener.local_addr()?.port();
        let pages: BTreeMap<_, _> = names.iter().map(|name| (name, Reverse::pages(name, port))).collect();
        context.out.result(&pages, || {
            for (name, url) in &pages {
                context.out.line(format_args!("{} {url}", styled(STRONG, name)));
            }
        })?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            never = Arc::clone(&reverse).run(listener) => match never {},
            never = warn(&reverse, context) => match never {},
            _ = terminate.recv() => Ok(()),
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    }
}

/// Says what is to be known of logs and recorders, once each session has begun.
async fn warn(reverse: &Reverse, context: &Context) -> Infallible {
    let mut told = BTreeSet::new();
    loop {
        tokio::time::sleep(LOOK).await;
        for index in reverse.indexes() {
            let Some(session) = index.session().await else { continue };
            if let Some(log) = session.log()
                && told.insert((index.name(), log.origin.clone(), log.unwitnessed))
            {
                warn_unwitnessed(index.name(), &log, context);
            }
            for warning in session.recorder_warnings() {
                warn_recorder(index.name(), &warning, context);
            }
        }
    }
}

/// As a shell reads it.
fn env(context: &Context, store: &TrustStore, trust: Option<&String>, port: u16) -> anyhow::Result<()> {
    let name = super::trust::one_name(trust, store)?;
    store.location(&name)?;
    let url = Reverse::pages(&name, port);
    let variables = ["PIP_INDEX_URL", "UV_DEFAULT_INDEX"];
    let value: serde_json::Map<_, _> =
        variables.iter().map(|name| ((*name).to_owned(), url.clone().into())).collect();
    context.out.result(&value, || {
        for name in variables {
            context.out.line(format_args!("export {name}={url}"));
        }
    })
}
