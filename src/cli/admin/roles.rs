//! `init`: a new repository, and who signs what.

use std::collections::BTreeSet;
use std::str::FromStr;

use clap::{Args, ValueEnum};

use super::upkeep::CodingArg;
use crate::cli::exit::Usage;
use crate::cli::keys::{absolute, open_repository};
use crate::cli::output::{GOOD, styled};
use crate::cli::place::Place;
use crate::cli::{Context, RepoArg};
use crate::coding::Coding;
use crate::keys::{self, Ask, KeyUri};
use crate::repository::{BinStyle, Changed, EventName, Expiry, Keyring, Plan, Profile, Repository, RolePlan};

/// Make a new, signed repository.
///
/// Offline keys (root, targets, bins) and online keys must differ. Keys that only others hold are given as
/// pub:PATH; enough private keys must be at hand to reach each threshold.
#[derive(Debug, Args)]
pub(crate) struct Init {
    #[command(flatten)]
    repo: RepoArg,
    /// A root key, offline; may be repeated
    #[arg(long = "root-key", value_name = "URI", required = true)]
    root: Vec<String>,
    /// How many root keys must sign
    #[arg(long, value_name = "N", default_value_t = 1)]
    root_threshold: u64,
    /// A key of top-level targets, offline; may be repeated; without it the root keys serve
    #[arg(long = "targets-key", value_name = "URI")]
    targets: Vec<String>,
    /// How many targets keys must sign
    #[arg(long, value_name = "N", default_value_t = 1)]
    targets_threshold: u64,
    /// A key of bins and claimed, offline; may be repeated; without it the targets keys serve
    #[arg(long = "bins-key", value_name = "URI")]
    bins_keys: Vec<String>,
    /// How many bins keys must sign
    #[arg(long, value_name = "N", default_value_t = 1)]
    bins_threshold: u64,
    /// An online key, of timestamp, snapshot and each bin; may be repeated
    #[arg(long = "online-key", value_name = "URI", required = true)]
    online: Vec<String>,
    /// How many online keys must sign
    #[arg(long, value_name = "N", default_value_t = 1)]
    online_threshold: u64,
    /// Expiry dates: `pypi` as in PEP 458 (a day online, a year offline), `default` for admins without a daemon
    #[arg(long, value_enum, default_value = "default")]
    profile: ProfileArg,
    /// Hashed bins: a power of two
    #[arg(long, value_name = "N", default_value_t = 256)]
    bins: u32,
    /// How bins are delegated to: `succinct` (TAP 15) is small, `prefixes` is read by every TUF client
    #[arg(long, value_enum, default_value = "succinct")]
    bin_style: BinStyleArg,
    /// Let projects be claimed by their maintainers (PEP 480), as `claims enable` does later
    #[arg(long)]
    claims: bool,
    /// Store metadata compressed as well, for servers that do not compress themselves
    #[arg(long, value_name = "CODING", value_delimiter = ',')]
    compress: Vec<CodingArg>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ProfileArg {
    Default,
    Pypi,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum BinStyleArg {
    Succinct,
    Prefixes,
}

impl Init {
    pub(in crate::cli) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut keyring = Keyring::default();
        let root = role_plan(&self.root, self.root_threshold, &mut keyring).await?;
        let targets = if self.targets.is_empty() {
            RolePlan { keys: root.keys.clone(), threshold: self.root_threshold }
        } else {
            role_plan(&self.targets, self.targets_threshold, &mut keyring).await?
        };
        let bins = if self.bins_keys.is_empty() {
            targets.clone()
        } else {
            role_plan(&self.bins_keys, self.bins_threshold, &mut keyring).await?
        };
        let online = role_plan(&self.online, self.online_threshold, &mut keyring).await?;
        let uris = self.online.iter().map(|uri| KeyUri::from_str(uri));
        let uris = uris.collect::<Result<Vec<_>, _>>()?;
        // A public key signs nothing: only the others are opened by later commands.
        let uris = uris.iter().filter(|uri| !matches!(uri, KeyUri::Public(_))).map(absolute);
        let plan = Plan {
            root,
            targets,
            bins,
            online,
            bin_count: self.bins,
            bin_style: match self.bin_style {
                BinStyleArg::Succinct => BinStyle::Succinct,
                BinStyleArg::Prefixes => BinStyle::Prefixes,
            },
            expiry: self.expiry(),
            online_uris: uris.collect::<anyhow::Result<_>>()?,
        };
        let store = self.repo.repo.create().await?;
        self.refuse_served_keys()?;
        Repository::init(store, &plan, &keyring, context.now, &context.out.progress()).await?;
        // Not before: an init over a repository is refused, and must not make this machine forget it.
        self.repo.repo.anchor()?.forget()?;
        let mut repository = open_repository(&self.repo).await?;
        repository.state().await?;
        if self.claims
            && let Some(event) =
                repository.claims_enabling(EventName::new("claims-enable")?, context.now).await?
            && let Changed::Waiting { why, .. } =
                repository.hold(event, &keyring, None, context.now, &context.out.progress()).await?
        {
            return Err(why.into());
        }
        if !self.compress.is_empty() {
            let codings: BTreeSet<Coding> = self.compress.iter().copied().map(Coding::from).collect();
            let codings: Vec<_> = codings.into_iter().collect();
            repository.compress_from_now_on(codings.clone()).await?;
            repository.compress(&codings, &context.out.progress()).await?;
        }
        let root = self.repo.repo.file("metadata/1.root.json");
        let value = serde_json::json!({"bins": self.bins, "root": root});
        context.out.result(&value, || {
            let (made, place) = (styled(GOOD, "made"), &self.repo.repo);
            context.out.line(format_args!("{made} a repository with {} bins in {place}", self.bins));
            context.out.line(format_args!("give clients {root} over a channel they trust"));
        })
    }

    /// The folder is served to everyone: no private key may lie in it.
    fn refuse_served_keys(&self) -> anyhow::Result<()> {
        let Place::Folder(folder) = &self.repo.repo else { return Ok(()) };
        let folder = std::fs::canonicalize(folder)?;
        for uri in [&self.root, &self.targets, &self.bins_keys, &self.online].into_iter().flatten() {
            if let KeyUri::File(path) = KeyUri::from_str(uri)?
                && std::fs::canonicalize(&path)?.starts_with(&folder)
            {
                return Err(Usage(format!(
                    "{uri} lies in the repository's folder, which is served to everyone"
                ))
                .into());
            }
        }
        Ok(())
    }

    fn expiry(&self) -> Expiry {
        match self.profile {
            ProfileArg::Default => Profile::Default.expiry(),
            ProfileArg::Pypi => Profile::Pypi.expiry(),
        }
    }
}

/// Opens the keys of a role; private ones join the keyring.
pub(super) async fn role_plan(
    uris: &[String],
    threshold: u64,
    keyring: &mut Keyring,
) -> anyhow::Result<RolePlan> {
    let mut keys = Vec::new();
    for uri in uris {
        let uri = KeyUri::from_str(uri)?;
        if matches!(uri, KeyUri::Public(_)) {
            keys.push(keys::open_public(&uri, &Ask).await?);
        } else {
            let signer = keys::open(&uri, &Ask).await?;
            keys.push(signer.key().clone());
            keyring.add(signer);
        }
    }
    Ok(RolePlan { keys, threshold })
}
