//! What everyone may type: looking at things, and help.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::exit::{TABLE, Usage};
use super::keys::open_repository;
use super::output::{FAINT, STRONG, styled};
use super::{Context, RepoArg};
use crate::repository::{MAX_METADATA, Node};
use crate::store::StorePath;
use crate::tuf::json::{Json, parse};
use crate::tuf::metadata::Version;

/// Show a metadata file. Nothing is verified.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    #[command(flatten)]
    repo: RepoArg,
    /// A file, or the name of a role of the repository
    what: String,
}

impl Inspect {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let (name, bytes) = self.file().await?;
        let tree = parse(&bytes).with_context(|| name.clone())?;
        if context.out.json() {
            context.out.line(tree.to_text());
            return Ok(());
        }
        context.out.line(styled(FAINT, format_args!("{name} (not verified)")));
        let mut rows = Vec::new();
        let signed = tree.get("signed").unwrap_or(&Json::Null);
        for field in ["_type", "spec_version", "version", "expires", "consistent_snapshot"] {
            rows.extend(signed.get(field).map(|value| vec![field.to_owned(), plain(value)]));
        }
        for field in ["keys", "roles", "meta", "targets", "delegations"] {
            rows.extend(signed.get(field).map(|value| vec![field.to_owned(), summary(value)]));
        }
        if let Some(Json::Array(signatures)) = tree.get("signatures") {
            for signature in signatures {
                rows.push(vec![
                    "signature by".to_owned(),
                    signature.get("keyid").map(plain).unwrap_or_default(),
                ]);
            }
        }
        context.out.table(&rows);
        Ok(())
    }

    /// A path as it stands; a role's current file otherwise. Its name, and its bytes.
    async fn file(&self) -> anyhow::Result<(String, Vec<u8>)> {
        if Path::new(&self.what).exists() {
            let bytes = std::fs::read(&self.what).with_context(|| self.what.clone())?;
            return Ok((self.what.clone(), bytes));
        }
        let repository = open_repository(&self.repo).await?;
        let state = repository.state().await?;
        let versioned = |version: Version| format!("metadata/{version}.{}.json", self.what);
        let at = match self.what.as_str() {
            "timestamp" => "metadata/timestamp.json".to_owned(),
            "root" => versioned(state.root.common.version),
            "snapshot" => versioned(state.snapshot.common.version),
            role => {
                let usage = || Usage(format!("{role:?} is neither a file nor a role of the repository"));
                versioned(state.snapshot.role(role).ok_or_else(usage)?.version)
            }
        };
        let name = self.repo.repo.file(&at);
        let object = repository.store().get(&StorePath::new(at)?, MAX_METADATA).await?;
        let object = object.with_context(|| format!("{name} does not exist"))?;
        Ok((name, object.bytes))
    }
}

fn plain(value: &Json<'_>) -> String {
    value.as_str().map_or_else(|| printable(&value.to_text()), printable)
}

/// Nobody has vouched for what is shown: a terminal must not take any of it for a command.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}

fn summary(value: &Json<'_>) -> String {
    match value {
        Json::Object(pairs) => {
            let names: Vec<_> = pairs
                .iter()
                .take(6)
                .map(|(name, _)| printable(name).chars().take(40).collect::<String>())
                .collect();
            let more = if pairs.len() > names.len() { ", …" } else { "" };
            format!("{} entries: {}{more}", pairs.len(), names.join(", "))
        }
        other => plain(other),
    }
}

/// The delegation tree of a repository.
#[derive(Debug, Args)]
pub(crate) struct Tree {
    #[command(flatten)]
    repo: RepoArg,
}

impl Tree {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let repository = open_repository(&self.repo).await?;
        let root = repository.tree(&repository.state().await?).await?;
        context.out.result(&root, || draw(&root, "", "", context))
    }
}

fn draw(node: &Node, first: &str, rest: &str, context: &Context) {
    let version = node.version.map(|version| format!(" v{version}")).unwrap_or_default();
    let keys = format!("{} of {} keys: {}", node.threshold, node.keys.len(), node.keys.join(" "));
    let paths = node.paths.as_ref().map(|paths| format!("  [{paths}]")).unwrap_or_default();
    context.out.line(format_args!(
        "{first}{}{version}{paths}  {}",
        styled(STRONG, &node.role),
        styled(FAINT, keys)
    ));
    for (at, child) in node.children.iter().enumerate() {
        let (branch, below) =
            if at + 1 == node.children.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        draw(child, &format!("{rest}{branch}"), &format!("{rest}{below}"), context);
    }
}

/// Completion script for a shell.
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// The shell
    shell: clap_complete::Shell,
}

impl Completion {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::tree(), "wheelseal", &mut script);
        context.out.line(String::from_utf8(script)?.trim_end());
        Ok(())
    }
}

/// Manual pages: the main one on stdout, or all of them in a folder.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Write one page for each command here
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        if let Some(folder) = self.to {
            std::fs::create_dir_all(&folder)?;
            clap_mangen::generate_to(super::tree(), &folder)?;
            context.out.note(format_args!("manual pages are in {}", folder.display()));
        } else {
            let mut page = Vec::new();
            clap_mangen::Man::new(super::tree()).render(&mut page)?;
            context.out.line(String::from_utf8(page)?.trim_end());
        }
        Ok(())
    }
}

/// Help on a command or topic.
#[derive(Debug, Args)]
pub(crate) struct Help {
    /// Commands, or exit-codes, keys, environment
    topic: Vec<String>,
}

const KEYS: &str = "\
A signing key is named by a URI:
  file:PATH   a private key in a file: PKCS#8 PEM, encrypted or not, mode 0600; `file:` may be left out
  env:NAME    a private key in an environment variable, as PEM
  pub:PATH    a public key in a PEM file, where nothing is to be signed
  tough:PATH  a key file of tuftool, read by the tough library
  pkcs11:token=TOKEN;object=NAME
              a key on a token or in a hardware security module (RFC 7512; also serial, id, slot-id, manufacturer,
              model, type), by the library in WHEELSEAL_PKCS11_MODULE or ?module-path=FILE
  awskms:KEY  a key in the AWS key service: alias/NAME, key id or ARN; credentials and region as for s3://
  ssh-agent:NAME
              a key of the ssh agent (SSH_AUTH_SOCK), by its comment or as SHA256:FINGERPRINT; Ed25519 or ECDSA P-256
  exec:PATH   a program of your own that signs; docs/formats.md says what it reads and writes
Passphrases are asked for on the terminal, or taken from WHEELSEAL_PASSPHRASE; PINs likewise, or from WHEELSEAL_PIN,
?pin-source=file:PATH or ?pin-source=env:NAME. A wrong PIN is tried once.
Supported are Ed25519, ECDSA P-256 and P-384, and RSA from 2,048 bits (RSASSA-PSS).";

pub(super) const ENVIRONMENT: &str = "\
WHEELSEAL_REPO         folder or bucket of the repository (--repo)
WHEELSEAL_MAP          map file of repositories that must agree (--map)
WHEELSEAL_TRUST        name of the trust (--trust); for exec and proxy, several with commas between them
WHEELSEAL_CACHE        folder of verified files (exec, proxy, verify --env: --cache)
WHEELSEAL_CACHE_SIZE   MiB of them, at most (--cache-size)
WHEELSEAL_MODE         enforce or warn (exec --mode)
WHEELSEAL_PORT         port of `proxy` (--port)
WHEELSEAL_KEYS         URIs of the online keys, instead of those in wheelseal.toml; separated by spaces
WHEELSEAL_LOG_KEY      URI of the transparency log's key, instead of that in wheelseal.toml
WHEELSEAL_PASSPHRASE   passphrase of encrypted keys
WHEELSEAL_PIN          PIN of tokens (pkcs11: keys)
WHEELSEAL_PKCS11_MODULE   library of the tokens' vendor, for pkcs11: keys that name none
WHEELSEAL_TOKENS       file of upload tokens (--tokens)
WHEELSEAL_TOKEN        an upload token, for `project send` and `release --upload` (--token-file); those of twine and uv are read too
WHEELSEAL_RECORDERS    files of recorders that are sent claims (--recorder), separated by commas
WHEELSEAL_INDEX        index that is recorded, with its password if it has one (--index)
WHEELSEAL_WEBHOOK      where conflicts are told of (--webhook)
WHEELSEAL_JOURNAL      folder of the journal (--journal)
WHEELSEAL_JOURNAL_KEY  keys of its address hashes (--journal-key)
WHEELSEAL_PYTHON       the Python that has python-tuf, which reads what ceremonies publish (--python); nothing, to leave it out
WHEELSEAL_COLOR        auto, always or never (--color); NO_COLOR is respected
WHEELSEAL_NO_PROGRESS  no progress bars (--no-progress)
VIRTUAL_ENV            the environment of `verify --env`, if none is named
SSH_AUTH_SOCK          socket of the ssh agent (ssh-agent: keys)
XDG_CONFIG_HOME        trusts are kept in wheelseal/ below it
XDG_STATE_HOME         trusted metadata is kept in wheelseal/ below it
XDG_CACHE_HOME         verified files are kept in wheelseal/ below it
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL   s3:// and awskms:, with AWS_ENDPOINT_URL_S3 and AWS_ENDPOINT_URL_KMS for one of them
GOOGLE_APPLICATION_CREDENTIALS   gs://
AZURE_STORAGE_ACCOUNT, AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN, AZURE_STORAGE_CONNECTION_STRING   az://
HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY   as other tools use them: http, https, socks5 (names looked up here), socks5h (by
                       the proxy), with user:password@; exec sets them anew for its command, and these for certificates:
                       SSL_CERT_FILE, REQUESTS_CA_BUNDLE, PIP_CERT, CURL_CA_BUNDLE, NODE_EXTRA_CA_CERTS";

impl Help {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let text = match self.topic.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["exit-codes"] => TABLE.map(|(code, meaning)| format!("{code}  {meaning}")).join("\n"),
            ["keys"] => KEYS.to_owned(),
            ["environment"] => ENVIRONMENT.to_owned(),
            names => {
                let mut command = super::tree();
                command.build();
                let mut found = &mut command;
                for name in names {
                    let usage = || {
                        Usage(format!("no command or topic {name:?}; topics: exit-codes, keys, environment"))
                    };
                    found = found.find_subcommand_mut(name).ok_or_else(usage)?;
                }
                found.render_long_help().ansi().to_string()
            }
        };
        context.out.line(text.trim_end());
        Ok(())
    }
}
