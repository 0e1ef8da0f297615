//! `key gen | list | show | export`, and opening the keys that other commands name.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::exit::Usage;
use super::output::Out;
use super::{Context, RepoArg};
use crate::client::{Http, Timing};
use crate::crypto::NewKey;
use crate::keys::{self, Ask, KeyError, KeyUri, Signer};
use crate::log::{Cosigners, Unwitnessed};
use crate::repository::{Keyring, LogPolicy, Repository, RepositoryError};
use crate::tuf::metadata::{Targets, TopLevel};
use crate::tuf::path::RoleName;
use crate::witness::{Collector, Patience};

/// Names the keys of a command.
#[derive(Debug, Clone, Args)]
pub(super) struct KeyArgs {
    /// A signing key (`wheelseal help keys`); may be repeated
    #[arg(long = "key", value_name = "URI")]
    keys: Vec<String>,
    /// Online keys, instead of those in wheelseal.toml; separated by spaces
    #[arg(long, env = "WHEELSEAL_KEYS", value_delimiter = ' ', hide = true)]
    online_keys: Vec<String>,
    /// The transparency log's key, instead of that in wheelseal.toml
    #[arg(long, env = "WHEELSEAL_LOG_KEY", hide = true)]
    log_key: Option<String>,
}

impl KeyArgs {
    /// Those given one by one.
    pub(super) fn given(&self) -> &[String] {
        &self.keys
    }

    /// The online keys of the repository and those given. An online key from the settings that does not open is only
    /// noted: not every machine has it, and not every command needs it.
    pub(super) async fn open(&self, repository: &Repository, out: &Out) -> anyhow::Result<Keyring> {
        let mut keyring = self.open_online(repository, out).await?;
        for uri in &self.keys {
            keyring.add(keys::open(&KeyUri::from_str(uri)?, &Ask).await?);
        }
        if let Some(log) = &repository.settings().log
            && let Some(policy) = repository.log_policy().await?
        {
            match self.open_log(&log.key).await {
                Ok(signer) => keyring.set_log(signer, witnesses(&policy)?),
                Err(error) if self.log_key.is_none() => {
                    out.note(format_args!("not using the log's key {}: {error}", log.key));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(keyring)
    }

    async fn open_log(&self, uri: &str) -> Result<Box<dyn Signer>, KeyError> {
        let given = self.log_key.as_ref().filter(|given| !given.is_empty());
        let uri = given.map_or_else(|| KeyUri::untrusted(uri), |given| KeyUri::from_str(given))?;
        keys::open(&uri, &Ask).await
    }

    /// Those that sign online, and no others.
    pub(super) async fn open_online(&self, repository: &Repository, out: &Out) -> anyhow::Result<Keyring> {
        let mut keyring = Keyring::default();
        // A variable that is set to nothing is as good as unset.
        let given = self.online_keys.iter().filter(|uri| !uri.is_empty());
        if given.clone().next().is_none() {
            for uri in &repository.settings().keys.online {
                let opened = match KeyUri::untrusted(uri) {
                    Err(error @ KeyError::NamesCode { .. }) => Err(error),
                    parsed => keys::open(&parsed?, &Ask).await,
                };
                match opened {
                    Ok(signer) => keyring.add(signer),
                    Err(error) => out.note(format_args!("not using online key {uri}: {error}")),
                }
            }
        }
        for uri in given {
            keyring.add(keys::open(&KeyUri::from_str(uri)?, &Ask).await?);
        }
        Ok(keyring)
    }
}

/// Those who cosign the checkpoints of a log with this policy.
pub(super) fn witnesses(policy: &LogPolicy) -> anyhow::Result<Arc<dyn Cosigners>> {
    let policy = policy.policy();
    if policy.witnesses().is_empty() {
        return Ok(Arc::new(Unwitnessed));
    }
    let http = Http::new(Timing::default())?;
    Ok(Arc::new(Collector::new(policy.clone(), http, Patience::default())))
}

/// Opens a repository, and holds it against what this machine remembers of it.
pub(super) async fn open_repository(repo: &RepoArg) -> anyhow::Result<Repository> {
    let store = repo.repo.open().await?;
    let in_full = |error| match error {
        RepositoryError::NoRepository(file) => RepositoryError::NoRepository(repo.repo.file(&file)),
        error => error,
    };
    let repository = Repository::open(store).await.map_err(in_full)?;
    Ok(repository.anchored(repo.repo.anchor()?))
}

/// The form for the settings: file URIs absolute, so that they work from any folder; libraries are not named there.
pub(super) fn absolute(uri: &KeyUri) -> anyhow::Result<String> {
    Ok(match uri {
        KeyUri::File(path) => KeyUri::File(std::path::absolute(path)?).to_string(),
        KeyUri::Exec(path) => KeyUri::Exec(std::path::absolute(path)?).to_string(),
        other => other.without_code().to_string(),
    })
}

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a private key, encrypted with a passphrase, and PATH.pub beside it; or a key pair on a token
    Gen(Gen),
    /// The keys that a repository trusts, and for what
    List(RepoArg),
    /// Kind and id of a key
    Show(Show),
    /// The public half, as PEM or with --json as TUF writes it
    Export(Show),
}

#[derive(Debug, Args)]
pub(crate) struct Gen {
    /// Where to make it: a new file, or `pkcs11:token=TOKEN;object=NAME`
    #[arg(value_name = "PATH")]
    uri: String,
    /// Kind of key
    #[arg(long = "type", value_enum, default_value = "ed25519")]
    kind: Kind,
    /// Do not encrypt it: for keys of machines that nobody types a passphrase on
    #[arg(long)]
    no_passphrase: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// Ed25519 (PEP 458)
    Ed25519,
    /// ECDSA on P-256
    Ecdsa,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The key (`wheelseal help keys`)
    uri: String,
}

impl Key {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Gen(command) => generate(&command, context).await,
            Self::List(repo) => list(&repo, context).await,
            Self::Show(command) => show(&command, context).await,
            Self::Export(command) => export(&command, context).await,
        }
    }
}

#[derive(Serialize)]
struct Shown {
    id: String,
    kind: &'static str,
    scheme: String,
}

impl From<&crate::tuf::key::Key> for Shown {
    fn from(key: &crate::tuf::key::Key) -> Self {
        let kind = key.public().map_or("unknown", crate::crypto::PublicKey::kind);
        Self { id: key.id().to_string(), kind, scheme: key.scheme_name().to_owned() }
    }
}

async fn generate(command: &Gen, context: &Context) -> anyhow::Result<()> {
    let uri = KeyUri::from_str(&command.uri)?;
    let kind = match command.kind {
        Kind::Ed25519 => NewKey::Ed25519,
        Kind::Ecdsa => NewKey::P256,
    };
    let KeyUri::File(path) = &uri else {
        if command.no_passphrase {
            return Err(Usage("--no-passphrase is for key files".to_owned()).into());
        }
        let key = keys::generate(&uri, kind, false, &Ask).await?;
        return context.out.result(&Shown::from(&key), || {
            context.out.line(format_args!("key pair  {uri}"));
            context.out.line(format_args!("key id    {}", key.id()));
        });
    };
    let public = public_path(path);
    for path in [path, &public] {
        if path.exists() {
            return Err(Usage(format!("{} exists; a key is never overwritten", path.display())).into());
        }
    }
    let key = keys::generate(&uri, kind, command.no_passphrase, &Ask).await?;
    if let Some(key) = key.public() {
        std::fs::write(&public, key.to_pem()?)?;
    }
    context.out.result(&Shown::from(&key), || {
        let how = if command.no_passphrase { "NOT encrypted" } else { "encrypted" };
        context.out.line(format_args!("private key ({how})  {}", path.display()));
        context.out.line(format_args!("public key               {}", public.display()));
        context.out.line(format_args!("key id                   {}", key.id()));
    })
}

fn public_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

async fn show(command: &Show, context: &Context) -> anyhow::Result<()> {
    let key = keys::open_public(&KeyUri::from_str(&command.uri)?, &Ask).await?;
    let shown = Shown::from(&key);
    context.out.result(&shown, || {
        let rows = [("id", &shown.id), ("kind", &shown.kind.to_owned()), ("scheme", &shown.scheme)];
        for (name, value) in rows {
            context.out.line(format_args!("{name:8}{value}"));
        }
    })
}

async fn export(command: &Show, context: &Context) -> anyhow::Result<()> {
    let key = keys::open_public(&KeyUri::from_str(&command.uri)?, &Ask).await?;
    if context.out.json() {
        context.out.line(key.to_json().to_text());
    } else if let Some(public) = key.public() {
        context.out.line(public.to_pem()?.trim_end());
    }
    Ok(())
}

#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    key: Shown,
    roles: Vec<String>,
}

async fn list(repo: &RepoArg, context: &Context) -> anyhow::Result<()> {
    let state = open_repository(repo).await?.state().await?;
    let mut listed: Vec<Listed> = Vec::new();
    let mut note = |key: &crate::tuf::key::Key, role: String| {
        let shown = Shown::from(key);
        match listed.iter_mut().find(|known| known.key.id == shown.id) {
            Some(known) => known.roles.push(role),
            None => listed.push(Listed { key: shown, roles: vec![role] }),
        }
    };
    for role in [TopLevel::Root, TopLevel::Targets, TopLevel::Snapshot, TopLevel::Timestamp] {
        for (_, key) in state.root.authority(role).keys() {
            note(key, role.name().to_owned());
        }
    }
    for (_, key, role) in delegated_keys(&state.targets) {
        note(&key, role);
    }
    if let Some(delegations) = &state.bins.delegations {
        for key in delegations.keys.values() {
            note(key, "each bin".to_owned());
        }
    }
    context.out.result(&listed, || {
        let mut rows = vec![["KEY ID", "KIND", "SIGNS"].map(ToOwned::to_owned).to_vec()];
        for known in &listed {
            rows.push(vec![known.key.id.clone(), known.key.kind.to_owned(), known.roles.join(", ")]);
        }
        context.out.table(&rows);
    })
}

fn delegated_keys(targets: &Targets) -> Vec<(crate::tuf::key::KeyId, crate::tuf::key::Key, String)> {
    let Some(delegations) = &targets.delegations else { return Vec::new() };
    let names = delegations.names().filter_map(Result::ok);
    let keys = |role: RoleName| {
        let keyids = delegations.role(&role).map(|(keyids, _)| keyids.to_vec()).unwrap_or_default();
        let keys =
            keyids.into_iter().filter_map(|id| delegations.keys.get(&id).cloned().map(|key| (id, key)));
        keys.map(move |(id, key)| (id, key, role.to_string())).collect::<Vec<_>>()
    };
    names.flat_map(keys).collect()
}
