//! `join`, `sign`, `payload`, `add-signature`: each shows what it is about before anything is signed.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;

use super::place::{EventArg, agreed};
use super::{reviewed, show};
use crate::cli::Context;
use crate::cli::files::read_file;
use crate::cli::output::{GOOD, styled};
use crate::keys::{self, Ask, KeyUri};
use crate::repository::{Event, MAX_METADATA, RepositoryError, in_short};

/// Bytes of a signature's file, at most: it may be a whole metadata file.
const MAX_SIGNATURE: u64 = MAX_METADATA;

/// Refuses a ceremony that a root the signer knows does not lead to.
pub(super) fn known_root(event: &Event, root: Option<&Path>) -> anyhow::Result<()> {
    let Some(file) = root else { return Ok(()) };
    Ok(event.follows(&read_file(file, MAX_METADATA)?).map_err(RepositoryError::from)?)
}

/// Show that you hold a new key: signs a statement that is good for this ceremony alone.
#[derive(Debug, Args)]
pub(crate) struct Join {
    #[command(flatten)]
    event: EventArg,
    /// The new key
    #[arg(long, value_name = "URI")]
    key: String,
    /// What you are called in the ceremony's file; it is in no public metadata
    #[arg(long, value_name = "NAME")]
    holder: Option<String>,
}

impl Join {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let (mut event, found) = self.event.read().await?;
        let signer = keys::open(&KeyUri::from_str(&self.key)?, &Ask).await?;
        event.join(&*signer, self.holder.as_deref(), context.now).await?;
        let event = found.keep(&event).await?;
        let review = reviewed(&event, false, found.repository())?;
        context.out.result(&review, || {
            let id = signer.key().id();
            context.out.line(format_args!("{} with key {id}", styled(GOOD, "joined")));
            show::next(&review, &self.event.event, context);
        })
    }
}

/// Sign what a ceremony proposes, with every key given, for every role that lists it. Shows what changes and asks first;
/// works on a carried file without a repository or a network.
#[derive(Debug, Args)]
pub(crate) struct Sign {
    #[command(flatten)]
    event: EventArg,
    /// A key; may be repeated
    #[arg(long = "key", value_name = "URI", required = true)]
    keys: Vec<String>,
    /// What you are called in the ceremony's file; it is in no public metadata
    #[arg(long, value_name = "NAME")]
    holder: Option<String>,
    /// A root of this repository that you know, such as the `1.root.json` that clients were given
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    /// Sign without asking
    #[arg(long)]
    yes: bool,
    /// Only show what would be signed
    #[arg(long)]
    dry_run: bool,
    /// All names of long lists
    #[arg(long)]
    full: bool,
}

impl Sign {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let (mut event, found) = self.event.read().await?;
        known_root(&event, self.root.as_deref())?;
        found.still_current(&event, context.now).await?;
        let before = reviewed(&event, self.full, found.repository())?;
        if self.dry_run {
            return context.out.result(&before, || show::review(&before, context));
        }
        if !context.out.json() {
            show::review(&before, context);
        }
        event
            .allowed(found.repository().map(|repository| &repository.settings().expiry))
            .map_err(RepositoryError::from)?;
        if self.root.is_none() && found.repository().is_none() {
            context.out.note(
                "no root that you know vouches for this file: compare the SHA-256, or give --root FILE",
            );
        }
        agreed("Sign this?", self.yes)?;
        let mut done = Vec::new();
        for uri in &self.keys {
            let signer = keys::open(&KeyUri::from_str(uri)?, &Ask).await?;
            let roles = event.sign(&*signer, self.holder.as_deref(), context.now).await?;
            for role in in_short(roles.iter().map(String::as_str)) {
                done.push(format!("{role} by key {}", signer.key().id().short()));
            }
        }
        let event = found.keep(&event).await?;
        let review = reviewed(&event, self.full, found.repository())?;
        context.out.result(&review, || {
            for text in &done {
                context.out.line(format_args!("{} {text}", styled(GOOD, "signed")));
            }
            show::next(&review, &self.event.event, context);
        })
    }
}

/// What is to be signed elsewhere.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct What {
    /// The new file of this role
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// The statement by which the holder of this new key joins
    #[arg(long, value_name = "URI")]
    join: Option<String>,
}

/// Write exactly the bytes that are to be signed to stdout, for openssl, a hardware module, another machine.
#[derive(Debug, Args)]
pub(crate) struct Payload {
    #[command(flatten)]
    event: EventArg,
    #[command(flatten)]
    what: What,
}

impl Payload {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let (event, found) = self.event.read().await?;
        found.still_current(&event, context.now).await?;
        event
            .allowed(found.repository().map(|repository| &repository.settings().expiry))
            .map_err(RepositoryError::from)?;
        let bytes = match (&self.what.role, &self.what.join) {
            (Some(role), _) => event.payload(role).map_err(RepositoryError::from)?.to_vec(),
            (None, join) => {
                let key =
                    keys::open_public(&KeyUri::from_str(join.as_deref().unwrap_or_default())?, &Ask).await?;
                event.joining(&key).map_err(RepositoryError::from)?
            }
        };
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(&bytes)?;
        Ok(stdout.flush()?)
    }
}

/// Add a signature that was made elsewhere over exactly the bytes of `payload`. It is verified first.
///
/// The file holds the bare signature as openssl writes it (Ed25519: 64 bytes, ECDSA: DER), or is a metadata file that has it.
#[derive(Debug, Args)]
pub(crate) struct AddSignature {
    #[command(flatten)]
    event: EventArg,
    #[command(flatten)]
    what: What,
    /// The key it was made with, by its public half; not needed with --join
    #[arg(long, value_name = "URI", required_unless_present = "join")]
    key: Option<String>,
    /// The signature
    #[arg(long, value_name = "FILE")]
    signature: PathBuf,
    /// What its maker is called in the ceremony's file; it is in no public metadata
    #[arg(long, value_name = "NAME")]
    holder: Option<String>,
}

impl AddSignature {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let (mut event, found) = self.event.read().await?;
        found.still_current(&event, context.now).await?;
        let uri = self.key.as_deref().or(self.what.join.as_deref()).unwrap_or_default();
        let key = keys::open_public(&KeyUri::from_str(uri)?, &Ask).await?;
        let signature = read_file(&self.signature, MAX_SIGNATURE)?;
        let (holder, now) = (self.holder.as_deref(), context.now);
        let added = match &self.what.role {
            Some(role) => event.add_signature(role, &key, &signature, holder, now),
            None => event.add_proof(&key, &signature, holder, now),
        };
        added.map_err(RepositoryError::from)?;
        let event = found.keep(&event).await?;
        let review = reviewed(&event, false, found.repository())?;
        context.out.result(&review, || {
            context.out.line(format_args!(
                "{} of key {}",
                styled(GOOD, "added the signature"),
                key.id().short()
            ));
            show::next(&review, &self.event.event, context);
        })
    }
}
