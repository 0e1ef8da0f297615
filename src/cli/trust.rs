//! `trust`: which repositories this user trusts, and which of them must agree (TAP 4).

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::Context;
use super::exit::Usage;
use super::files::read_file;
use super::output::{GOOD, STRONG, styled};
use crate::client::trust::{Location, TrustStore};
use crate::client::{
    Announced, Client, ClientError, Credentials, MAX_ANNOUNCED_LEN, MetadataDir, Quorum, Recorders, Session,
    Sitting, Timing,
};
use crate::crypto::sha256;
use crate::tlog::policy::{Policy, Witnessing};
use crate::tuf::map::MapFile;
use crate::tuf::metadata::{Root, TopLevel};
use crate::tuf::signed::Verified;
use crate::tuf::trusted::Limits;

/// Bytes of a policy for a log, at most.
const MAX_POLICY: u64 = 64 * 1_024;

/// Which trusted repository a command asks.
#[derive(Debug, Clone, Args)]
pub(super) struct TrustArg {
    /// Name of the trust; not needed while there is only one
    #[arg(long, value_name = "NAME", env = "WHEELSEAL_TRUST")]
    trust: Option<String>,
    /// Use what is on this machine, ask nobody
    #[arg(long)]
    offline: bool,
}

/// Which trusted repositories a command asks, and how many of them must agree.
#[derive(Debug, Clone, Args)]
pub(super) struct QuorumArg {
    #[command(flatten)]
    one: TrustArg,
    /// Map file (TAP 4): which of the trusted repositories must agree. Without it and --trust: the one of `trust map`
    #[arg(long, value_name = "FILE", env = "WHEELSEAL_MAP", conflicts_with = "trust")]
    map: Option<PathBuf>,
}

impl QuorumArg {
    /// Those who answer: the repositories of a map, or one.
    pub(super) fn quorum(&self) -> anyhow::Result<Quorum> {
        let store = TrustStore::of_user()?;
        let map = match (&self.map, &self.one.trust) {
            (Some(file), _) => Some(read_map(file)?),
            (None, Some(_)) => None,
            (None, None) => store.map()?,
        };
        match map {
            Some(map) => {
                store.check_map(&map)?;
                let open = |name: &str, places: &[String]| {
                    store.clients(name, places, Timing::default(), Limits::default())
                };
                Ok(Quorum::new(map, open)?)
            }
            None => Ok(Quorum::of_one(&self.one.name(&store)?, self.one.client()?)),
        }
    }

    pub(super) async fn sit<'a>(&self, quorum: &'a Quorum, context: &Context) -> anyhow::Result<Sitting<'a>> {
        let sitting = quorum.sit(context.now, self.one.offline);
        if let Some(only) = quorum.only() {
            sitting.session(only).await?;
        }
        Ok(sitting)
    }
}

impl TrustArg {
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        let store = TrustStore::of_user()?;
        Ok(store.client(&self.name(&store)?, Timing::default(), Limits::default())?)
    }

    fn name(&self, store: &TrustStore) -> anyhow::Result<String> {
        one_name(self.trust.as_ref(), store)
    }

    pub(super) async fn session(&self, client: &Client, context: &Context) -> anyhow::Result<Session> {
        Ok(if self.offline {
            client.offline(context.now).await?
        } else {
            client.refresh(context.now).await?
        })
    }
}

/// The trust that is named, or the only one.
pub(super) fn one_name(trust: Option<&String>, store: &TrustStore) -> anyhow::Result<String> {
    let names = store.names()?;
    match (trust, names.as_slice()) {
        (Some(name), _) => Ok(name.clone()),
        (None, [only]) => Ok(only.clone()),
        (None, []) => {
            let text = "no repository is trusted yet; add one: wheelseal trust add NAME URL --root root.json";
            Err(Usage(text.to_owned()).into())
        }
        (None, several) => Err(Usage(format!("say which with --trust: {}", several.join(", "))).into()),
    }
}

/// Third parties that must have seen each file.
#[derive(Debug, Args)]
pub(crate) struct RecorderArgs {
    /// A recorder, by what it hands out (`log announce`); may be repeated
    #[arg(long = "recorder", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How many of them must have recorded each file; more than half of them, if not said
    #[arg(long = "recorders-needed", value_name = "K", requires = "files")]
    needed: Option<usize>,
    /// How long after a file was logged they need not have it yet
    #[arg(long = "recorder-grace", value_name = "HOURS", default_value_t = 0, requires = "files")]
    grace: u32,
}

impl RecorderArgs {
    fn read(&self) -> anyhow::Result<Option<Recorders>> {
        if self.files.is_empty() {
            return Ok(None);
        }
        let members = self.files.iter().map(|file| announced(file)).collect::<Result<Vec<_>, _>>()?;
        let recorders = Recorders::new(members, self.needed, self.grace);
        Ok(Some(recorders.map_err(|error| Usage(error.to_string()))?))
    }
}

/// What a recorder hands out; a folder in it is made absolute.
fn announced(file: &Path) -> anyhow::Result<Announced> {
    let max = u64::try_from(MAX_ANNOUNCED_LEN).unwrap_or(u64::MAX);
    let announced = Announced::parse(&read_file(file, max)?);
    let announced = announced.map_err(|error| Usage(format!("{}: {error}", file.display())))?;
    Ok(Announced { url: full(&announced.url)?, ..announced })
}

#[derive(Debug, Subcommand)]
pub(crate) enum Trust {
    /// Trust a repository, starting from a root that you got over a channel you trust
    Add {
        /// A name for it
        name: String,
        /// Where it is: a URL, or a folder
        #[arg(required_unless_present = "index")]
        url: Option<String>,
        /// The address of its index, as pip and uv are given it; URL is then not needed
        #[arg(long, value_name = "URL")]
        index: Option<String>,
        /// Its root.json
        #[arg(long, value_name = "FILE")]
        root: PathBuf,
        /// Where its metadata is, if not in URL/metadata/
        #[arg(long, value_name = "URL")]
        metadata_url: Option<String>,
        /// Where its files are, if not in URL/targets/
        #[arg(long, value_name = "URL")]
        targets_url: Option<String>,
        /// A policy for its transparency log (c2sp.org/tlog-policy), which must hold beside the repository's own
        #[arg(long, value_name = "FILE")]
        log_policy: Option<PathBuf>,
        #[command(flatten)]
        recorders: RecorderArgs,
    },
    /// List them
    List,
    /// Forget one
    Remove {
        /// Its name
        name: String,
    },
    /// Which of them must agree (TAP 4). Without FILE: show it
    Map {
        /// A map file, to be kept and used from now on
        #[arg(value_name = "FILE", conflicts_with = "remove")]
        file: Option<PathBuf>,
        /// Use none from now on
        #[arg(long)]
        remove: bool,
    },
}

impl Trust {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let store = TrustStore::of_user()?;
        match self {
            Self::Add { name, url, index, root, metadata_url, targets_url, log_policy, recorders } => {
                let bytes = std::fs::read(&root).with_context(|| root.display().to_string())?;
                let mut location = located(url.as_deref(), index.as_deref())?;
                location.metadata =
                    metadata_url.map(|url| full(&url)).transpose()?.unwrap_or(location.metadata);
                location.targets = targets_url.map(|url| full(&url)).transpose()?.unwrap_or(location.targets);
                location.log_policy = log_policy.map(|file| policy(&file)).transpose()?;
                location.recorders = recorders.read()?;
                let nowhere = MetadataDir::new(PathBuf::new());
                location.client(nowhere, Timing::default(), Limits::default()).map_err(ClientError::from)?;
                let root = store.add(&name, &location, &bytes)?;
                added(context, &name, &location, &root)
            }
            Self::List => list(&store, context),
            Self::Map { file: Some(file), .. } => {
                let bytes = read(&file)?;
                let map = store.set_map(&bytes)?;
                show_map(context, &map)
            }
            Self::Map { remove: true, .. } => {
                store.remove_map()?;
                context.out.note(format_args!("no map file is used any more"));
                Ok(())
            }
            Self::Map { .. } => {
                if let Some(map) = store.map()? {
                    return show_map(context, &map);
                }
                context.out.note(format_args!("there is no map file: commands ask one repository"));
                Ok(())
            }
            Self::Remove { name } => {
                let kept = store.remove(&name)?;
                context.out.note(format_args!("{name} is trusted no longer"));
                if let Some(folder) = kept {
                    let folder = folder.display();
                    context
                        .out
                        .note(format_args!("its evidence that a log was rewritten is kept in {folder}"));
                }
                Ok(())
            }
        }
    }
}

/// The trusts, where they are, and what was pinned for their logs.
fn list(store: &TrustStore, context: &Context) -> anyhow::Result<()> {
    let (mut value, mut rows) = (serde_json::Map::new(), Vec::new());
    for name in store.names()? {
        let read = store.location(&name).map_err(anyhow::Error::from);
        let read = read.and_then(|location| Ok((location.place(), pinned(&location)?, location)));
        let (place, pinned, location) = match read {
            Ok(read) => read,
            Err(error) => {
                let error = error.to_string();
                let line = error.lines().next().unwrap_or_default();
                rows.push(vec![name.clone(), format!("cannot be used: {line}")]);
                value.insert(name, serde_json::json!({ "error": error }));
                continue;
            }
        };
        let recorders = location.recorders.as_ref().map(Recorders::words);
        let more = pinned.iter().chain(&recorders).cloned().collect::<Vec<_>>();
        rows.push([vec![name.clone(), place.clone()], more].concat());
        let mut fields = serde_json::Map::from_iter([("url".to_owned(), place.as_str().into())]);
        fields.extend(pinned.map(|pinned| ("log_policy".to_owned(), pinned.into())));
        fields.extend(location.recorders.as_ref().map(|all| ("recorders".to_owned(), described(all))));
        let alone = fields.len() == 1;
        value.insert(name, if alone { place.into() } else { fields.into() });
    }
    context.out.result(&value, || context.out.table(&rows))
}

/// Recorders, for programs.
fn described(recorders: &Recorders) -> serde_json::Value {
    let members = recorders.members.iter().map(|member| {
        serde_json::json!({ "name": member.name, "url": Credentials::of_url(&member.url).0, "since": member.since })
    });
    serde_json::json!({
        "needed": recorders.needed, "grace_hours": recorders.grace_hours, "members": members.collect::<Vec<_>>(),
    })
}

/// What was pinned for the log of a repository, in one line.
fn pinned(location: &Location) -> anyhow::Result<Option<String>> {
    let Some(policy) = location.log_policy()? else { return Ok(None) };
    let logs: Vec<_> = policy.logs().iter().map(|log| log.key().name().to_string()).collect();
    let witnesses = match (policy.witnessing(), policy.witnesses().len()) {
        (Witnessing::NotAsked, _) => "quorum none: no witness is asked for".to_owned(),
        (Witnessing::Quorum, 1) => "its witness must have cosigned".to_owned(),
        (Witnessing::Quorum, all) => format!("a quorum of {all} witnesses must have cosigned"),
    };
    Ok(Some(format!("log {}, {witnesses}", logs.join(" or "))))
}

/// The text of a policy, which reads.
fn policy(file: &Path) -> anyhow::Result<String> {
    let usage = |reason: String| Usage(format!("{}: {reason}", file.display()));
    let bytes = read_file(file, MAX_POLICY)?;
    Policy::parse(&bytes).map_err(|error| usage(error.to_string()))?;
    Ok(String::from_utf8(bytes).map_err(|_| usage("it is not UTF-8".to_owned()))?)
}

/// Says what is trusted now, so that it can be compared with what the admin says.
fn added(context: &Context, name: &str, location: &Location, root: &Verified<Root>) -> anyhow::Result<()> {
    let policy = pinned(location)?;
    let authority = root.authority(TopLevel::Root);
    let keys: Vec<String> = authority.keys().map(|(id, _)| id.to_string()).collect();
    let (version, threshold) = (root.common.version, authority.threshold());
    let hash = hex::encode(sha256(root.bytes()));
    let mut value = serde_json::json!({
        "name": name, "url": location.place(), "root_version": version, "root_sha256": hash,
        "threshold": threshold, "keys": keys,
    });
    if let (Some(policy), Some(fields)) = (&policy, value.as_object_mut()) {
        fields.insert("log_policy".to_owned(), policy.as_str().into());
    }
    if let (Some(recorders), Some(fields)) = (&location.recorders, value.as_object_mut()) {
        fields.insert("recorders".to_owned(), described(recorders));
    }
    context.out.result(&value, || {
        context
            .out
            .line(format_args!("{} {name} from root {version} on, SHA-256 {hash}", styled(GOOD, "trusting")));
        context
            .out
            .line(format_args!("{threshold} of these keys decide about it; compare them with its admin:"));
        for key in &keys {
            context.out.line(format_args!("  {key}"));
        }
        if let Some(policy) = &policy {
            context.out.line(format_args!("everything must be logged: {policy}"));
        }
        if let Some(recorders) = &location.recorders {
            context.out.line(recorders.words());
        }
    })
}

/// Where a repository is, by its own address, by that of its index, or by both.
fn located(url: Option<&str>, index: Option<&str>) -> anyhow::Result<Location> {
    let of_index = index.map(|index| {
        let usage =
            || Usage(format!("{index} is no address of an index: it begins with https:// or http://"));
        let web = ["https://", "http://"].iter().any(|scheme| index.starts_with(scheme));
        web.then(|| Location::of_index(index)).ok_or_else(usage)
    });
    match (url, of_index.transpose()?) {
        (Some(url), None) => Ok(Location::below(&full(url)?)),
        (Some(url), Some(of_index)) => {
            Ok(Location { index: Some(of_index.index()), ..Location::below(&full(url)?) })
        }
        (None, Some(of_index)) => Ok(of_index),
        (None, None) => Err(Usage("say where it is: URL or --index URL".to_owned()).into()),
    }
}

/// Folders are made absolute, so that they work from anywhere.
fn full(url: &str) -> anyhow::Result<String> {
    if url.contains("://") {
        return Ok(url.to_owned());
    }
    if !Path::new(url).is_dir() {
        return Err(Usage(format!("there is no folder {url}; a URL begins with https://")).into());
    }
    Ok(std::path::absolute(url)?.display().to_string())
}

fn read_map(file: &Path) -> anyhow::Result<MapFile> {
    Ok(MapFile::read(&read(file)?).map_err(|error| Usage(format!("{}: {error}", file.display())))?)
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| file.display().to_string())
}

/// A map in words, in the order in which it is followed.
fn show_map(context: &Context, map: &MapFile) -> anyhow::Result<()> {
    let mappings = map.mappings.iter().map(|mapping| {
        serde_json::json!({
            "paths": mapping.paths, "repositories": mapping.repositories,
            "threshold": mapping.threshold, "terminating": mapping.terminating,
        })
    });
    context.out.result(&mappings.collect::<Vec<_>>(), || {
        for mapping in &map.mappings {
            let (paths, names) = (mapping.paths.join(" "), mapping.repositories.join(", "));
            let (threshold, all) = (mapping.threshold, mapping.repositories.len());
            let else_ = if mapping.terminating { "else refused" } else { "else the next that matches" };
            context.out.line(format_args!(
                "{}  {threshold} of {all} must agree ({names}), {else_}",
                styled(STRONG, &paths)
            ));
        }
    })
}
