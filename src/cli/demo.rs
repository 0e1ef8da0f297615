//! `demo`: the main job from end to end, with the worthless example keys, then three attacks that are refused. With `--log`: an
//! index that turns bad, and everybody who notices ([`history`], on the machines of a [`town`]).

mod history;
mod town;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, bail};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use clap::Args;

use super::Context;
use super::output::{BAD, FAINT, GOOD, STRONG, styled};
use super::samples::Sample;
use crate::client::{Client, ClientError, FileError, Http, MetadataDir, Timing};
use crate::crypto::sha256;
use crate::keys::{self, Ask, KeyUri};
use crate::repository::{
    BinStyle, Edit, Keyring, Plan, Profile, Repository, RolePlan, Unwatched, read_distribution,
};
use crate::store::{DirStore, Store, StorePath};
use crate::tuf::key::Key;
use crate::tuf::metadata::{DelegatedRoles, Extra, Hashes, TargetFile};
use crate::tuf::path::TargetPath;
use crate::tuf::signed::VerifyError;
use crate::tuf::trusted::{Limits, TrustError};

/// The example keys, built in so that the demo runs anywhere.
const ROOT: &str = include_str!("../../keys-example/worthless-root-1.pem");
const TARGETS: &str = include_str!("../../keys-example/worthless-targets-1.pem");
const ONLINE: &str = include_str!("../../keys-example/worthless-online.pem");
/// The attacker's own key: good, but nobody's.
const STRANGER: &str = include_str!("../../keys-example/worthless-online-2.pem");

/// Hexadecimal digits of a digest that are shown.
const DIGITS: usize = 8;
/// The target that is downloaded and attacked.
const TARGET: &str = "seal/seal-1.0-py3-none-any.whl";

/// See it work: a repository, a verified download, three attacks that are refused.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Keep the repository here, to look at afterwards
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Another play: an index with a transparency log, three witnesses, three recorders and a monitor; then the index swaps a file for
    /// one client
    #[arg(long)]
    log: bool,
}

impl Demo {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let temporary = tempfile::tempdir()?;
        let folder = match &self.keep {
            Some(folder) => folder.clone(),
            None => temporary.path().join("repository"),
        };
        if self.log {
            return history::play(context, &folder).await;
        }
        let stage = Stage::build(context, temporary.path(), &folder).await?;
        stage.download(context).await?;
        stage.swapped_file(context).await?;
        stage.old_timestamp(context).await?;
        stage.unsigned_role(context).await?;
        context.out.line("");
        context
            .out
            .line(format_args!("{} one verified download, three attacks refused", styled(GOOD, "done")));
        if self.keep.is_some() {
            context.out.line(format_args!("look around: wheelseal status --repo {}", folder.display()));
        }
        Ok(())
    }
}

/// What an attacker in the middle serves instead.
type Lies = Arc<Mutex<HashMap<String, Vec<u8>>>>;

/// A repository, a server in front of it that may lie, and a client.
struct Stage {
    repository: Repository,
    keyring: Keyring,
    stranger: Keyring,
    client: Client,
    lies: Lies,
    folder: PathBuf,
    scratch: PathBuf,
}

impl Stage {
    async fn build(context: &Context, scratch: &Path, folder: &Path) -> anyhow::Result<Self> {
        heading(context, "A repository");
        let mut keyring = Keyring::default();
        let root = key(scratch, "worthless-root.pem", ROOT, &mut keyring).await?;
        let targets = key(scratch, "worthless-targets.pem", TARGETS, &mut keyring).await?;
        let online = key(scratch, "worthless-online.pem", ONLINE, &mut keyring).await?;
        let mut stranger = Keyring::default();
        key(scratch, "worthless-stranger.pem", STRANGER, &mut stranger).await?;
        let one = |key: Key| RolePlan { keys: vec![key], threshold: 1 };
        let plan = Plan {
            root: one(root),
            targets: one(targets.clone()),
            bins: one(targets),
            online: one(online),
            bin_count: 16,
            bin_style: BinStyle::Succinct,
            expiry: Profile::Default.expiry(),
            online_uris: Vec::new(),
        };
        let store: Arc<dyn Store> = Arc::new(DirStore::create(folder).await?);
        let repository = Repository::init(store, &plan, &keyring, context.now, &Unwatched).await?;
        said(
            context,
            "made and signed: root, targets, bins (offline keys), timestamp, snapshot, 16 bins (online key)",
        );
        let lies = Lies::default();
        let address = serve(Arc::new(folder.to_owned()), Arc::clone(&lies)).await?;
        let http = Http::new(Timing::default())?;
        let cache = scratch.join("client");
        let root = std::fs::read(folder.join("metadata/1.root.json"))?;
        let client = Client::new(
            Box::new(http.metadata(&format!("http://{address}/metadata/"))?),
            Box::new(http.targets(&format!("http://{address}/targets/"))?),
            MetadataDir::init(&cache, &root)?,
            Limits::default(),
        );
        let (folder, scratch) = (folder.to_owned(), scratch.to_owned());
        let stage = Self { repository, keyring, stranger, client, lies, folder, scratch };
        let (seal, wax) = (Sample { name: "seal", version: "1.0" }, Sample { name: "wax", version: "2.1" });
        stage
            .publish(
                context,
                &[seal.wheel(&stage.scratch)?, wax.wheel(&stage.scratch)?, wax.sdist(&stage.scratch)?],
            )
            .await?;
        said(context, &format!("served at http://{address}/"));
        Ok(stage)
    }

    async fn publish(&self, context: &Context, files: &[PathBuf]) -> anyhow::Result<()> {
        let spool = tempfile::tempdir()?;
        let edits = files.iter().map(|file| Ok(Edit::Add(Box::new(read_distribution(file, spool.path())?))));
        let edits = edits.collect::<anyhow::Result<Vec<_>>>()?;
        let published = self.repository.publish(&self.keyring, &edits, context.now, &Unwatched).await?;
        said(
            context,
            &format!("published {} (snapshot {})", published.changed.join(", "), published.snapshot),
        );
        Ok(())
    }

    /// The honest case.
    async fn download(&self, context: &Context) -> anyhow::Result<()> {
        heading(context, "A verified download");
        let to = self.scratch.join("downloads/seal-1.0-py3-none-any.whl");
        let session = self.client.refresh(context.now).await?;
        let found = session.find(&TargetPath::new(TARGET)?).await?;
        let file = session.download(&found, &to).await?;
        let roles: Vec<_> = found.chain.iter().map(|(role, _)| role.to_string()).collect();
        said(context, &format!("asked root → timestamp → snapshot → {}", roles.join(" → ")));
        let hash = file.target().hashes.name().unwrap_or_default();
        said(
            context,
            &format!(
                "{} bytes with the signed SHA-256 {}…",
                file.target().length,
                hash.get(..16).unwrap_or(&hash)
            ),
        );
        verdict(context, GOOD, "verified", TARGET);
        Ok(())
    }

    /// Arbitrary software: the mirror swaps the file.
    async fn swapped_file(&self, context: &Context) -> anyhow::Result<()> {
        heading(context, "Attack 1: the mirror swaps a file");
        let session = self.client.refresh(context.now).await?;
        let found = session.find(&TargetPath::new(TARGET)?).await?;
        let length = usize::try_from(found.target.length)?;
        let hash = found.target.hashes.name().context("a hash")?;
        self.lie(&format!("targets/{}", found.path.location(Some(&hash))), vec![b'X'; length]);
        said(context, "it serves other bytes, of the same length, under the same name");
        let to = self.scratch.join("downloads/swapped.whl");
        match session.download(&found, &to).await {
            Err(error @ ClientError::File(FileError::WrongHash { .. })) => self.refused(context, &error),
            other => bail!("the swapped file was not refused: {other:?}"),
        }
        if to.exists() {
            bail!("the swapped file was stored");
        }
        said(context, "nothing was written to disk");
        Ok(())
    }

    /// Rollback: the mirror hides a release by replaying the old timestamp.
    async fn old_timestamp(&self, context: &Context) -> anyhow::Result<()> {
        heading(context, "Attack 2: the mirror replays an old timestamp");
        let old = std::fs::read(self.folder.join("metadata/timestamp.json"))?;
        let fixed = Sample { name: "seal", version: "1.0.1" }.wheel(&self.scratch)?;
        self.publish(context, &[fixed]).await?;
        self.client.refresh(context.now).await?;
        said(
            context,
            "the client has seen the new state; now the mirror serves the old one, correctly signed",
        );
        self.lie("metadata/timestamp.json", old);
        match self.client.refresh(context.now).await.map(drop) {
            Err(error @ ClientError::Trust(TrustError::Rollback { .. })) => self.refused(context, &error),
            other => bail!("the old timestamp was not refused: {other:?}"),
        }
        Ok(())
    }

    /// A role that nobody with the right key signed.
    async fn unsigned_role(&self, context: &Context) -> anyhow::Result<()> {
        heading(context, "Attack 3: the mirror makes up a role");
        let state = self.repository.state().await?;
        let evil = TargetPath::new("seal/seal-9.9-py3-none-any.whl")?;
        let delegations = state.bins.delegations.as_ref().context("bins")?;
        let DelegatedRoles::Succinct(bins) = &delegations.roles else { bail!("succinct bins expected") };
        let bin = bins.role_for(&evil)?;
        let genuine = state.bin(self.repository.store(), &bin).await?;
        let mut draft = genuine.draft();
        let hashes = Hashes::sha256(sha256(b"malware"));
        draft.content.targets.insert(evil.to_string(), TargetFile { length: 7, hashes, extra: Extra::new() });
        let payload = draft.payload();
        let mut signatures = Vec::new();
        for signer in self.stranger.signers() {
            // The attacker claims the id of the real key; only the signature is their own.
            let id = delegations.keys.keys().next().context("a key")?.clone();
            signatures.push((id, signer.sign(payload.to_sign()).await?));
        }
        let file = format!("metadata/{}.{}.json", genuine.common.version, bin.file_stem());
        self.lie(&file, payload.assemble(&signatures));
        said(context, &format!("it serves a {bin} that lists {evil}, signed with a key of its own"));
        let session = self.client.refresh(context.now).await?;
        match session.find(&evil).await.map(drop) {
            Err(error @ ClientError::Trust(TrustError::Verify(VerifyError::BelowThreshold { .. }))) => {
                self.refused(context, &error);
                Ok(())
            }
            other => bail!("the made-up role was not refused: {other:?}"),
        }
    }

    fn lie(&self, path: &str, bytes: Vec<u8>) {
        if let Ok(mut lies) = self.lies.lock() {
            lies.insert(path.to_owned(), bytes);
        }
    }

    /// Shows a refusal, and lets the mirror be honest again.
    fn refused(&self, context: &Context, error: &ClientError) {
        if let Ok(mut lies) = self.lies.lock() {
            lies.clear();
        }
        // Whole digests would not fit a line, and the first digits tell them apart.
        let text = error.to_string();
        let words = text.split(' ').map(|word| match word.get(..DIGITS) {
            Some(start) if word.trim_end_matches(',').len() == 64 => format!("{start}…"),
            _ => word.to_owned(),
        });
        verdict(context, BAD, "refused", &words.collect::<Vec<_>>().join(" "));
    }
}

/// An example key as a file, opened.
async fn key(scratch: &Path, name: &str, pem: &str, keyring: &mut Keyring) -> anyhow::Result<Key> {
    let path = scratch.join(name);
    std::fs::write(&path, pem)?;
    let signer = keys::open(&KeyUri::File(path), &Ask).await?;
    let key = signer.key().clone();
    keyring.add(signer);
    Ok(key)
}

/// Serves the folder on a free loopback port, with lies first.
async fn serve(folder: Arc<PathBuf>, lies: Lies) -> anyhow::Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let app = axum::Router::new().fallback(answer).with_state((folder, lies));
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(address)
}

async fn answer(
    State((folder, lies)): State<(Arc<PathBuf>, Lies)>,
    request: Request,
) -> Result<Vec<u8>, StatusCode> {
    let path = request.uri().path().trim_start_matches('/');
    if let Some(lie) = lies.lock().ok().and_then(|lies| lies.get(path).cloned()) {
        return Ok(lie);
    }
    let path = StorePath::new(path).map_err(|_| StatusCode::NOT_FOUND)?;
    tokio::fs::read(folder.join(path.as_str())).await.map_err(|_| StatusCode::NOT_FOUND)
}

fn heading(context: &Context, text: &str) {
    context.out.line("");
    context.out.line(styled(STRONG, text));
}

fn said(context: &Context, text: &str) {
    context.out.line(format_args!("  {text}"));
}

fn verdict(context: &Context, style: anstyle::Style, word: &str, text: &str) {
    context.out.line(format_args!("  {} {}", styled(style, word), styled(FAINT, text)));
}
