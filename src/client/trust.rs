//! Which repositories this user trusts: one folder each below the configuration directory, with the root that was
//! given out of band and where the repository is. The trusted metadata itself is state and lies elsewhere.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::cache::{CacheError, MetadataDir};
use super::http::{Credentials, Http, Timing};
use super::source::{DirSource, FetchError, Source};
use super::{Client, ClientError, LogTrust, Panel, RecorderError, Recorders};
use crate::crypto::sha256;
use crate::tlog::policy::{Policy, PolicyError};
use crate::tuf::map::{MAX_MAP, MapFile};
use crate::tuf::metadata::Root;
use crate::tuf::signed::{Signed, Verified, VerifyError};
use crate::tuf::trusted::Limits;

/// Characters of a trust's name, at most.
const MAX_NAME: usize = 64;

/// The map file, below the configuration directory.
const MAP: &str = "map.json";

/// Why a trust cannot be added or used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TrustStoreError {
    /// A name that is no file name.
    #[error("{name:?} is no name for a trust: letters, digits, '-', '_' and '.', at most {MAX_NAME}")]
    BadName {
        /// What was given.
        name: String,
    },
    /// There is no such trust.
    #[error("no repository is trusted under the name {name:?}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// Those that exist.
        known: Vec<String>,
    },
    /// The name is taken.
    #[error("{name:?} is trusted already, for {url}")]
    Taken {
        /// The name.
        name: String,
        /// Its repository.
        url: String,
    },
    /// The file given as root is none.
    #[error("the root file is not usable: {0}")]
    BadRoot(VerifyError),
    /// The file given as policy of the log is none.
    #[error("the policy of the log is not usable: {0}")]
    BadPolicy(PolicyError),
    /// The recorders given cannot be used.
    #[error("the recorders are not usable: {0}")]
    BadRecorders(RecorderError),
    /// The settings of a trust do not read.
    #[error("{path} does not read: {reason}")]
    BadSettings {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// A file operation failed.
    #[error("{what} {path}: {reason}")]
    Io {
        /// Verb.
        what: &'static str,
        /// Which file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// Neither the environment nor the user's home says where to keep things.
    #[error("no home directory: neither {0} nor HOME is set")]
    NoHome(&'static str),
}

impl TrustStoreError {
    fn io(what: &'static str, path: &Path, error: &std::io::Error) -> Self {
        Self::Io { what, path: path.display().to_string(), reason: error.to_string() }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { known, .. } if known.is_empty() => {
                Some("add one with: wheelseal trust add NAME URL --root root.json".to_owned())
            }
            Self::Unknown { known, .. } => Some(format!("trusted are: {}", known.join(", "))),
            Self::Taken { name, .. } => Some(format!("remove it first: wheelseal trust remove {name}")),
            _ => None,
        }
    }
}

/// Where a trusted repository is. URLs, or paths of folders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Location {
    /// What the user gave.
    pub url: String,
    /// Base of the metadata.
    pub metadata: String,
    /// Base of the target files.
    pub targets: String,
    /// Where tools find the pages, if not in `simple/` below `url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// A policy (c2sp.org/tlog-policy) by which everything must have been logged, whatever the repository's own says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_policy: Option<String>,
    /// Third parties that must have recorded each file too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorders: Option<Recorders>,
}

/// The folder of pages in a repository as wheelseal lays it out.
const SIMPLE: &str = "simple/";

impl Location {
    /// A repository laid out as wheelseal lays it out: `metadata/` and `targets/` below `url`.
    pub fn below(url: &str) -> Self {
        let base = url.trim_end_matches('/');
        Self {
            url: url.to_owned(),
            metadata: format!("{base}/metadata/"),
            targets: format!("{base}/targets/"),
            index: None,
            log_policy: None,
            recorders: None,
        }
    }

    /// The repository that an index belongs to, whose pages are at `index`.
    pub fn of_index(index: &str) -> Self {
        let slashed = format!("{}/", index.trim_end_matches('/'));
        match slashed.strip_suffix(SIMPLE).filter(|base| base.ends_with('/')) {
            Some(base) => Self::below(base),
            None => Self { index: Some(slashed.clone()), ..Self::below(&slashed) },
        }
    }

    /// What the user gave, without user and password: for people and for files.
    pub fn place(&self) -> String {
        Credentials::of_url(&self.url).0
    }

    /// Where tools find the pages; with a slash at the end.
    pub fn index(&self) -> String {
        let below = || format!("{}/{SIMPLE}", self.url.trim_end_matches('/'));
        self.index.clone().unwrap_or_else(below)
    }

    /// The users and passwords in its addresses, each for the server that it is for.
    pub fn credentials(&self) -> Credentials {
        let addresses = [&self.index(), &self.targets, &self.metadata].map(|url| Credentials::of_url(url).1);
        addresses.iter().fold(Credentials::default(), |all, one| one.over(&all))
    }

    /// A client of it. Fails if the location is no usable URL or folder; asks nobody yet.
    pub fn client(&self, cache: MetadataDir, timing: Timing, limits: Limits) -> Result<Client, FetchError> {
        let http = Http::new(timing)?;
        let metadata: Box<dyn Source> = match folder(&self.metadata) {
            Some(folder) => Box::new(DirSource::new(folder)),
            None => Box::new(http.metadata(&self.metadata)?),
        };
        let targets = files(&http, &self.targets)?;
        let bad = |error: PolicyError| FetchError::Local {
            what: "reading the policy of the log of",
            path: self.place(),
            reason: error.to_string(),
        };
        let policy = self.log_policy().map_err(bad)?;
        let tiles = Some(files(&http, &self.log())?.into());
        let log = LogTrust { policy, tiles, recorders: self.panel(&http)?.map(Into::into) };
        Ok(Client::new(metadata, targets, cache, limits).with_log(log))
    }

    /// Its recorders; nobody is asked yet.
    fn panel(&self, http: &Http) -> Result<Option<Panel>, FetchError> {
        let open = |base: &str| {
            let source: Arc<dyn Source> = match folder(base) {
                Some(folder) => Arc::new(DirSource::new(folder)),
                None => Arc::new(http.recorded(base)?),
            };
            Ok::<_, PanelError>(source)
        };
        let panel = self.recorders.as_ref().map(|recorders| Panel::new(recorders, open)).transpose();
        panel.map_err(|error| match error {
            PanelError::Fetch(error) => error,
            PanelError::Recorder(error) => FetchError::Local {
                what: "reading the recorders of",
                path: self.place(),
                reason: error.to_string(),
            },
        })
    }

    /// What the user pinned for its log.
    pub fn log_policy(&self) -> Result<Option<Policy>, PolicyError> {
        self.log_policy.as_ref().map(|text| Policy::parse(text.as_bytes())).transpose()
    }

    /// Base of the transparency log's tiles: beside the metadata.
    fn log(&self) -> String {
        let base = self.metadata.trim_end_matches('/');
        let base = base.strip_suffix("/metadata").unwrap_or(self.url.trim_end_matches('/'));
        format!("{base}/log/")
    }
}

/// Why there is no panel of recorders.
enum PanelError {
    Fetch(FetchError),
    Recorder(RecorderError),
}

impl From<FetchError> for PanelError {
    fn from(error: FetchError) -> Self {
        Self::Fetch(error)
    }
}

impl From<RecorderError> for PanelError {
    fn from(error: RecorderError) -> Self {
        Self::Recorder(error)
    }
}

/// Files below a URL or in a folder.
fn files(http: &Http, base: &str) -> Result<Box<dyn Source>, FetchError> {
    Ok(match folder(base) {
        Some(folder) => Box::new(DirSource::new(folder)),
        None => Box::new(http.targets(base)?),
    })
}

/// `file://` URLs and plain paths; `None` for anything with another scheme.
fn folder(url: &str) -> Option<PathBuf> {
    match url.split_once("://") {
        Some(("file", path)) => {
            let path = percent_encoding::percent_decode_str(path).decode_utf8().ok()?;
            Some(PathBuf::from(path.into_owned()))
        }
        Some(_) => None,
        None => Some(PathBuf::from(url)),
    }
}

/// All repositories that this user trusts.
#[derive(Debug, Clone)]
pub struct TrustStore {
    config: PathBuf,
    state: PathBuf,
}

impl TrustStore {
    /// Settings below `config`, trusted metadata below `state`.
    pub fn new(config: impl Into<PathBuf>, state: impl Into<PathBuf>) -> Self {
        Self { config: config.into(), state: state.into() }
    }

    /// The user's own: XDG base directories, `wheelseal` in each.
    pub fn of_user() -> Result<Self, TrustStoreError> {
        let config = xdg("XDG_CONFIG_HOME", ".config")?.join("wheelseal");
        Ok(Self::new(config, state_home()?))
    }

    /// Trusts a repository from now on, starting from `root`, which is handed back for the user to compare.
    pub fn add(
        &self,
        name: &str,
        location: &Location,
        root: &[u8],
    ) -> Result<Verified<Root>, TrustStoreError> {
        check_name(name)?;
        location.log_policy().map_err(TrustStoreError::BadPolicy)?;
        location.recorders.iter().try_for_each(Recorders::check).map_err(TrustStoreError::BadRecorders)?;
        let verified = Signed::<Root>::new(root).verify_initial().map_err(TrustStoreError::BadRoot)?;
        let dir = self.dir(name);
        if dir.exists() {
            let unknown = |_| "a place that its settings do not tell".to_owned();
            let url = self.location(name).map_or_else(unknown, |location| location.place());
            return Err(TrustStoreError::Taken { name: name.to_owned(), url });
        }
        self.keep_evidence(name)?;
        let state = self.state.join(name);
        match std::fs::remove_dir_all(&state) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(TrustStoreError::io("removing", &state, &error));
            }
            _ => {}
        }
        let settings = toml::to_string(location).map_err(|error| TrustStoreError::BadSettings {
            path: dir.display().to_string(),
            reason: error.to_string(),
        })?;
        let parent = self.config.join("trust");
        std::fs::create_dir_all(&parent).map_err(|error| TrustStoreError::io("making", &parent, &error))?;
        // For this user alone: an address may hold a password.
        let private = Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().permissions(private).tempdir_in(&parent);
        let written = folder.and_then(|temporary| {
            for (file, bytes) in [("root.json", root), ("trust.toml", settings.as_bytes())] {
                let mut file = File::create(temporary.path().join(file))?;
                file.write_all(bytes)?;
                file.sync_all()?;
            }
            sync_folder(temporary.path())?;
            std::fs::rename(temporary.path(), &dir)?;
            sync_folder(&parent)?;
            sync_folder(&self.config)
        });
        written.map_err(|error| TrustStoreError::io("writing", &dir, &error))?;
        Ok(verified)
    }

    /// Names, sorted.
    pub fn names(&self) -> Result<Vec<String>, TrustStoreError> {
        let dir = self.config.join("trust");
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(TrustStoreError::io("reading", &dir, &error)),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let known = |name: &String| check_name(name).is_ok() && self.dir(name).join("trust.toml").is_file();
        let mut names: Vec<_> = names.filter(known).collect();
        names.sort();
        Ok(names)
    }

    /// Where a trusted repository is.
    pub fn location(&self, name: &str) -> Result<Location, TrustStoreError> {
        check_name(name)?;
        let path = self.dir(name).join("trust.toml");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(TrustStoreError::Unknown { name: name.to_owned(), known: self.names()? });
            }
            Err(error) => return Err(TrustStoreError::io("reading", &path, &error)),
        };
        toml::from_str(&text).map_err(|error| TrustStoreError::BadSettings {
            path: path.display().to_string(),
            reason: error.to_string(),
        })
    }

    /// Forgets a repository, with the metadata that was trusted. Evidence that logs were rewritten is kept: where, if there is any.
    pub fn remove(&self, name: &str) -> Result<Option<PathBuf>, TrustStoreError> {
        check_name(name)?;
        // Whatever is in it: one that does not read can be removed too.
        if !self.dir(name).is_dir() {
            return Err(TrustStoreError::Unknown { name: name.to_owned(), known: self.names()? });
        }
        let kept = self.keep_evidence(name)?;
        // State first: a trust added later under this name must not start from what this one trusted.
        for dir in [self.state.join(name), self.dir(name)] {
            match std::fs::remove_dir_all(&dir) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(TrustStoreError::io("removing", &dir, &error));
                }
                _ => {}
            }
        }
        Ok(kept)
    }

    /// Moves the evidence out of what was trusted, beside it.
    fn keep_evidence(&self, name: &str) -> Result<Option<PathBuf>, TrustStoreError> {
        // No trust has such a name.
        let to = self.state.join(".evidence").join(name);
        Ok(move_all(&self.cache(name).evidence(), &to)?.then_some(to))
    }

    fn cache(&self, name: &str) -> MetadataDir {
        MetadataDir::new(self.state.join(name).join("metadata"))
    }

    /// A client for a trusted repository. Starts from the given root the first time, from the newest trusted one
    /// ever after.
    pub fn client(&self, name: &str, timing: Timing, limits: Limits) -> Result<Client, OpenError> {
        let location = self.location(name)?;
        let cache = self.cache(name);
        if !cache.has_root() {
            let path = self.dir(name).join("root.json");
            let root = std::fs::read(&path).map_err(|error| TrustStoreError::io("reading", &path, &error))?;
            cache.start(&root)?;
        }
        Ok(location.client(cache, timing, limits)?)
    }

    /// Clients for a trusted repository that lies at any of `places`, or where [`Self::add`] was told.
    pub fn clients(
        &self,
        name: &str,
        places: &[String],
        timing: Timing,
        limits: Limits,
    ) -> Result<Vec<Client>, OpenError> {
        let known = self.client(name, timing, limits)?;
        if places.is_empty() {
            return Ok(vec![known]);
        }
        let own = self.location(name)?;
        let at = |place: &String| {
            let location = if *place == own.url || *place == own.place() {
                own.clone()
            } else {
                let (log_policy, recorders) = (own.log_policy.clone(), own.recorders.clone());
                Location { log_policy, recorders, ..Location::below(place) }
            };
            Ok(location.client(self.cache(name), timing, limits)?)
        };
        places.iter().map(at).collect()
    }

    /// Changes when anything about a trust does: where it is, or the root it starts from.
    pub fn fingerprint(&self, name: &str) -> Result<[u8; 32], TrustStoreError> {
        check_name(name)?;
        let read = |file: &str| {
            let path = self.dir(name).join(file);
            std::fs::read(&path).map_err(|error| TrustStoreError::io("reading", &path, &error))
        };
        let parts = [sha256(name.as_bytes()), sha256(&read("trust.toml")?), sha256(&read("root.json")?)];
        Ok(sha256(&parts.concat()))
    }

    /// The map file that is used where no repository is named.
    pub fn map(&self) -> Result<Option<MapFile>, TrustStoreError> {
        let path = self.config.join(MAP);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(TrustStoreError::io("reading", &path, &error)),
        };
        read_map(&path, &bytes).map(Some)
    }

    /// Uses this map file from now on. Each of its repositories must be trusted already.
    pub fn set_map(&self, bytes: &[u8]) -> Result<MapFile, TrustStoreError> {
        let path = self.config.join(MAP);
        let map = read_map(&path, bytes)?;
        self.check_map(&map)?;
        let written = std::fs::create_dir_all(&self.config).and_then(|()| {
            let mut file = tempfile::NamedTempFile::new_in(&self.config)?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|refused| refused.error)?;
            sync_folder(&self.config)
        });
        written.map_err(|error| TrustStoreError::io("writing", &path, &error))?;
        Ok(map)
    }

    /// Refuses a map with a repository that is not trusted under its name.
    pub fn check_map(&self, map: &MapFile) -> Result<(), TrustStoreError> {
        map.repositories.iter().try_for_each(|(name, _)| self.location(name).map(drop))
    }

    /// Uses no map file any more.
    pub fn remove_map(&self) -> Result<(), TrustStoreError> {
        let path = self.config.join(MAP);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(TrustStoreError::io("removing", &path, &error))
            }
            _ => Ok(()),
        }
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.config.join("trust").join(name)
    }
}

/// Waits until the entries of a folder are on the disk.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Moves all files below a folder to the same places below another one, where nothing is replaced. Whether there were any.
fn move_all(from: &Path, to: &Path) -> Result<bool, TrustStoreError> {
    let failed = |error| TrustStoreError::io("reading", from, &error);
    let entries = match std::fs::read_dir(from) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    std::fs::create_dir_all(to).map_err(|error| TrustStoreError::io("making", to, &error))?;
    let mut any = false;
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let (file, name) = (entry.path(), entry.file_name());
        if entry.file_type().map_err(failed)?.is_dir() {
            any |= move_all(&file, &to.join(name))?;
            continue;
        }
        let numbered = |number: u32| to.join(format!("{number}-{}", name.to_string_lossy()));
        let mut names = std::iter::once(to.join(&name)).chain((2..u32::MAX).map(numbered));
        let kept = names.find(|kept| !kept.exists()).unwrap_or_else(|| to.join(&name));
        std::fs::rename(&file, &kept).map_err(|error| TrustStoreError::io("moving", &file, &error))?;
        any = true;
    }
    Ok(any)
}

fn read_map(path: &Path, bytes: &[u8]) -> Result<MapFile, TrustStoreError> {
    let bad = |reason: String| TrustStoreError::BadSettings { path: path.display().to_string(), reason };
    if u64::try_from(bytes.len()).is_ok_and(|len| len <= MAX_MAP) {
        return MapFile::read(bytes).map_err(|error| bad(error.to_string()));
    }
    Err(bad(format!("it has {} bytes, more than {MAX_MAP}", bytes.len())))
}

/// Why no client could be made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The user's settings.
    #[error(transparent)]
    Store(#[from] TrustStoreError),
    /// The client.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl From<CacheError> for OpenError {
    fn from(error: CacheError) -> Self {
        Self::Client(error.into())
    }
}

impl From<FetchError> for OpenError {
    fn from(error: FetchError) -> Self {
        Self::Client(error.into())
    }
}

fn check_name(name: &str) -> Result<(), TrustStoreError> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > MAX_NAME || name.starts_with('.') || !name.chars().all(fine) {
        return Err(TrustStoreError::BadName { name: crate::tuf::json::quoted(name) });
    }
    Ok(())
}

/// Where this user's state is kept: what was trusted and seen last.
pub fn state_home() -> Result<PathBuf, TrustStoreError> {
    Ok(xdg("XDG_STATE_HOME", ".local/state")?.join("wheelseal"))
}

/// Where this user's programs keep what they can fetch again.
pub fn cache_home() -> Result<PathBuf, TrustStoreError> {
    Ok(xdg("XDG_CACHE_HOME", ".cache")?.join("wheelseal"))
}

fn xdg(variable: &'static str, below_home: &str) -> Result<PathBuf, TrustStoreError> {
    let absolute = |path: &PathBuf| path.is_absolute();
    if let Some(path) = std::env::var_os(variable).map(PathBuf::from).filter(absolute) {
        return Ok(path);
    }
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(absolute);
    home.map(|home| home.join(below_home)).ok_or(TrustStoreError::NoHome(variable))
}
