//! `witness init | log | serve | status`: a witness of other people's logs.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Context as _;
use chrono::DateTime;
use clap::{Args, Subcommand};
use serde::Serialize;
use tokio::net::TcpListener;

use super::Context;
use super::exit::Usage;
use super::keys::absolute;
use super::listen::{self, TlsArgs};
use super::place::Place;
use crate::crypto::PublicKey;
use crate::keys::{self, Ask, KeyUri};
use crate::repository::NamedKey;
use crate::tlog::key::{KeyKind, KeyName, VerifierKey};
use crate::tuf::key::Key;
use crate::witness::{Folder, FolderError, KnownLog, Limits, Witness, WitnessServer};

#[derive(Debug, Subcommand)]
pub(crate) enum WitnessCommand {
    /// Make a new witness
    Init(Init),
    /// The logs that it knows
    #[command(subcommand)]
    Log(LogCommand),
    /// Cosign what these logs send, over HTTP
    Serve(Box<Serve>),
    /// Its key, and how far each log is
    Status(FolderArg),
}

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Know a log, or another key of it
    Add(AddLog),
    /// The logs, and their keys
    List(FolderArg),
    /// Cosign nothing more of a log
    Remove(RemoveLog),
}

/// Where it keeps what it knows.
#[derive(Debug, Args)]
pub(crate) struct FolderArg {
    /// Folder of the witness, or its bucket: `s3://BUCKET/PREFIX`, `gs://…`, `az://…`
    folder: Place,
}

impl FolderArg {
    async fn open(&self) -> anyhow::Result<Folder> {
        if let Place::Folder(folder) = &self.folder
            && !folder.is_dir()
        {
            return Err(FolderError::None.into());
        }
        Ok(Folder::open(self.folder.open().await?).await?)
    }
}

/// Make a new witness: a folder, in which it will remember the logs that it knows.
///
/// What it remembers is all that a witness is: do not restore it from a backup, or it cosigns what it cosigned otherwise
/// before. After a loss, make a new witness with a new key.
#[derive(Debug, Args)]
pub(crate) struct Init {
    #[command(flatten)]
    folder: FolderArg,
    /// Its name: an address of yours without a scheme, such as `witness.example/w1`
    #[arg(long)]
    name: String,
    /// Its key (`wheelseal help keys`), for nothing else: Ed25519 alone
    #[arg(long, value_name = "URI")]
    key: String,
}

/// Know a log, or another key of it.
#[derive(Debug, Args)]
pub(crate) struct AddLog {
    #[command(flatten)]
    folder: FolderArg,
    /// The log's key: `NAME+ID+KEY`, of kind 0x01
    #[arg(value_name = "VKEY")]
    key: VerifierKey,
    /// The log's origin, if it is not the name of the key
    #[arg(long)]
    origin: Option<String>,
}

/// Cosign nothing more of a log. What was cosigned is not forgotten: if it is added again, it goes on from there.
#[derive(Debug, Args)]
pub(crate) struct RemoveLog {
    #[command(flatten)]
    folder: FolderArg,
    /// The log's origin
    origin: String,
}

/// Cosign what the logs send, over HTTP: `POST /add-checkpoint`, and `GET /HASH/checkpoint` for monitors.
///
/// Nobody needs a password: what counts is the signature of a log that `witness log add` named. Logs are added and removed while it
/// runs. Ends on SIGINT or SIGTERM, once the running answers are out. Nothing is written down about who asks.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    folder: FolderArg,
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    #[command(flatten)]
    tls: TlsArgs,
    /// Connections at once; more wait
    #[arg(long, value_name = "N", default_value = "256", value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Where its key is, if not where `init` said
    #[arg(long, value_name = "URI")]
    key: Option<String>,
}

impl WitnessCommand {
    /// Whether it runs until it is told to end.
    pub(super) fn stays(&self) -> bool {
        matches!(self, Self::Serve(_))
    }

    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Init(command) => command.run(context).await,
            Self::Log(LogCommand::Add(command)) => command.run(context).await,
            Self::Log(LogCommand::List(folder)) => list(&folder, context).await,
            Self::Log(LogCommand::Remove(command)) => command.run(context).await,
            Self::Serve(command) => command.run(context).await,
            Self::Status(folder) => status(&folder, context).await,
        }
    }
}

impl Init {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let uri = KeyUri::from_str(&self.key)?;
        let name = KeyName::new(&self.name).map_err(|error| Usage(error.to_string()))?;
        let public = ed25519(&uri, &keys::open_public(&uri, &Ask).await?)?;
        let key = VerifierKey::new(name, KeyKind::Witness, public);
        let store = self.folder.folder.create().await?;
        let folder = Folder::create(store, &absolute(&uri)?, key).await?;
        let vkey = folder.key().to_string();
        context.out.result(&serde_json::json!({"vkey": vkey}), || {
            context.out.line(format_args!("witness {}", self.folder.folder));
            context.out.line(format_args!("vkey    {vkey}"));
        })
    }
}

impl AddLog {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let origin = self.origin.unwrap_or_else(|| self.key.name().to_string());
        let log = self.folder.open().await?.add_log(&origin, self.key).await?;
        context.out.result(&Listed::from(&log), || print_log(&log, context))
    }
}

impl RemoveLog {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        self.folder.open().await?.remove_log(&self.origin).await?;
        context.out.result(&serde_json::json!({"removed": self.origin}), || {
            context.out.line(format_args!("removed {}", self.origin.escape_debug()));
        })
    }
}

impl Serve {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let folder = self.folder.open().await?;
        let signer = self.signer(&folder).await?;
        let out = context.out.clone();
        let report = move |text: &str| out.note(text);
        let witness = Witness::new(folder, Arc::new(signer), Arc::new(context.clock), report)?;
        let listening = || format!("listening on {}", self.listen);
        let listener = TcpListener::bind(self.listen).await.with_context(listening)?;
        let (tls, stop) = (self.tls.open(context)?, listen::stop()?);
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}/", listener.local_addr()?);
        let connections = usize::try_from(self.connections).unwrap_or(usize::MAX);
        let server = WitnessServer::new(witness, Limits { connections, ..Limits::default() });
        let server = match tls {
            Some(tls) => server.secured(tls),
            None => server,
        };
        context.out.result(&serde_json::json!({"url": url}), || context.out.line(&url))?;
        server.run(listener, stop).await;
        Ok(())
    }

    async fn signer(&self, folder: &Folder) -> anyhow::Result<NamedKey> {
        let uri = match &self.key {
            Some(uri) => KeyUri::from_str(uri)?,
            None => KeyUri::untrusted(folder.key_uri())?,
        };
        let signer = keys::open(&uri, &Ask).await?;
        let public = ed25519(&uri, signer.key())?;
        let key = VerifierKey::new(folder.key().name().clone(), KeyKind::Witness, public);
        Ok(NamedKey::new(key, signer.into()))
    }
}

fn ed25519(uri: &KeyUri, key: &Key) -> anyhow::Result<[u8; 32]> {
    match key.public() {
        Some(PublicKey::Ed25519(bytes)) => Ok(*bytes),
        other => {
            let kind = other.map_or("another kind", PublicKey::kind);
            Err(Usage(format!("{uri} is a key of {kind}; witnesses cosign with Ed25519 alone")).into())
        }
    }
}

#[derive(Serialize)]
struct Listed {
    origin: String,
    keys: Vec<String>,
}

impl From<&KnownLog> for Listed {
    fn from(log: &KnownLog) -> Self {
        let keys = log.keys().iter().map(ToString::to_string).collect();
        Self { origin: log.origin().to_owned(), keys }
    }
}

fn print_log(log: &KnownLog, context: &Context) {
    context.out.line(format_args!("log  {}", log.origin().escape_debug()));
    for key in log.keys() {
        context.out.line(format_args!("key  {key}"));
    }
}

async fn list(folder: &FolderArg, context: &Context) -> anyhow::Result<()> {
    let logs = folder.open().await?.logs().await?;
    let listed: Vec<_> = logs.iter().map(Listed::from).collect();
    context.out.result(&listed, || logs.iter().for_each(|log| print_log(log, context)))
}

#[derive(Serialize)]
struct Shown {
    vkey: String,
    logs: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    origin: String,
    size: u64,
    /// Null: nothing was cosigned.
    root_hash: Option<String>,
    cosigned: Option<String>,
    forks: usize,
}

async fn status(folder: &FolderArg, context: &Context) -> anyhow::Result<()> {
    let folder = folder.open().await?;
    let mut shown = Shown { vkey: folder.key().to_string(), logs: Vec::new() };
    for log in folder.logs().await? {
        shown.logs.push(row(&folder, log.origin()).await?);
    }
    context.out.result(&shown, || {
        context.out.line(format_args!("vkey  {}", shown.vkey));
        let mut rows = vec![["LOG", "SIZE", "ROOT", "COSIGNED", "FORKS"].map(ToOwned::to_owned).to_vec()];
        rows.extend(shown.logs.iter().map(Row::cells));
        context.out.table(&rows);
    })
}

async fn row(folder: &Folder, origin: &str) -> Result<Row, FolderError> {
    let (latest, forks) = (folder.latest(origin).await?, folder.forks(origin).await?);
    let time = latest.as_ref().and_then(|latest| i64::try_from(latest.time()).ok());
    let time = time.and_then(|time| DateTime::from_timestamp(time, 0));
    Ok(Row {
        origin: origin.to_owned(),
        size: latest.as_ref().map_or(0, |latest| latest.checkpoint().size()),
        root_hash: latest.as_ref().map(|latest| latest.checkpoint().root().to_string()),
        cosigned: time.map(|time| time.format("%Y-%m-%dT%H:%M:%SZ").to_string()),
        forks,
    })
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let origin = self.origin.escape_debug().to_string();
        let (size, forks) = (self.size.to_string(), self.forks.to_string());
        vec![origin, size, or_dash(&self.root_hash), or_dash(&self.cosigned), forks]
    }
}
