//! The client: drives [`crate::tuf::trusted`] over a [`Source`] and a folder of trusted metadata.
//!
//! ```text
//! Client::refresh ──▶ Session ──find──▶ Found ──download / verify──▶ VerifiedFile
//! ```
//!
//! Where a map file names several repositories, each has its own client, and [`Quorum`] asks them (TAP 4).
//!
//! A [`Session`] exists only after a full update of the top-level metadata, so nothing can be looked up before it. Many tasks
//! may use it at once.
//! A [`VerifiedFile`] exists only after length and hashes were checked. Bytes are stored as received, and only after
//! they were accepted. The files are plain: `root.json`, `timestamp.json`, and quoted names for delegated roles.
//!
//! Requests are exactly those the specification needs, by GET. Where an older version of a file is
//! at hand, the request says so, and the answer may be what changed; what comes out is checked like any other answer.
//! Of the top-level metadata one file is fetched after the other; roles and targets are as many at once as are asked for.

mod cache;
mod file;
mod http;
mod log;
mod parallel;
mod quorum;
mod session;
mod source;
pub mod trust;
mod walk;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use chrono::{DateTime, Utc};
use thiserror::Error;

pub use cache::{CacheError, MetadataDir};
use file::Flush;
pub use file::{Arrival, Arriving, FileError, OpenFile, VerifiedBytes, VerifiedFile};
pub use http::{
    Answer, Credentials, Hook, Http, HttpSource, Posted, Reach, SendError, Timing, Upload, Uploader,
};
use log::Standing;
pub use log::{
    Announced, Contradiction, Growth, Inclusion, LogError, LogTrust, Logging, MAX_ANNOUNCED_LEN, Panel,
    Proven, Recorded, RecorderError, Recorders, Since, Whose,
};
pub use parallel::Wanted;
pub use quorum::{Agreed, Quorum, Sitting, Vote};
pub use session::Session;
pub use source::{DirSource, FetchError, Fetched, Given, Sink, Source};
pub use walk::Unread;

use crate::tuf::lookup::{Edge, Found};
use crate::tuf::trusted::{
    AwaitSnapshot, AwaitTargets, AwaitTimestamp, Limits, Local, Request, RootChain, Rotated, TrustError,
    Trusted,
};

/// Bytes of memory that are taken for a target before any of it came, at most; more is taken as it comes.
const AT_ONCE: usize = 4 * 1_024 * 1_024;

/// Why the client refuses or fails.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClientError {
    /// Metadata is not trusted.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Something could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The folder of trusted metadata does not work.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A target file is not what was signed, or cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The transparency log, or a proof from it, is refused.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A metadata file that must be there is not.
    #[error("the repository has no {path}, which its own metadata names")]
    Absent {
        /// File name below the metadata URL.
        path: String,
    },
    /// No role that may speak for the path lists it.
    #[error("no role of the repository signs {path:?}")]
    NotSigned {
        /// The target path.
        path: String,
    },
    /// Too few repositories sign the same for a path (TAP 4).
    #[error("{threshold} repositories must agree on {path:?}, but they say: {}", said.join("; "))]
    NoAgreement {
        /// The target path.
        path: String,
        /// How many must.
        threshold: usize,
        /// What each says.
        said: Vec<String>,
    },
    /// The map file does not say who answers for a path.
    #[error("the map file names no repository for {path:?}")]
    NotMapped {
        /// The target path.
        path: String,
    },
}

/// A repository as one client sees it.
#[derive(Debug, Clone)]
pub struct Client {
    metadata: Arc<dyn Source>,
    targets: Arc<dyn Source>,
    cache: MetadataDir,
    limits: Limits,
    log: LogTrust,
}

impl Client {
    /// `cache` must hold a trusted `root.json` already, see [`MetadataDir::init`].
    pub fn new(
        metadata: Box<dyn Source>,
        targets: Box<dyn Source>,
        cache: MetadataDir,
        limits: Limits,
    ) -> Self {
        let log = LogTrust::default();
        Self { metadata: metadata.into(), targets: targets.into(), cache, limits, log }
    }

    /// The same, with what its user knows of the repository's log.
    #[must_use]
    pub fn with_log(self, log: LogTrust) -> Self {
        Self { log, ..self }
    }

    /// The same repository, asked with these credentials, and with no others.
    #[must_use]
    pub fn showing(&self, credentials: &Credentials) -> Self {
        let showing = |source: &Arc<dyn Source>| source.showing(credentials).unwrap_or(Arc::clone(source));
        let (metadata, targets) = (showing(&self.metadata), showing(&self.targets));
        let log = LogTrust { tiles: self.log.tiles.as_ref().map(showing), ..self.log.clone() };
        Self { metadata, targets, cache: self.cache.clone(), limits: self.limits, log }
    }

    /// Updates the top-level metadata (specification 5.1 to 5.6), and checks that it was logged. One process at a time per folder: others wait.
    pub async fn refresh(&self, now: DateTime<Utc>) -> Result<Session, ClientError> {
        let _lock = self.cache.lock().await?;
        let timestamp = self.update_root(now).await?;
        let snapshot = self.update_timestamp(timestamp).await?;
        let targets = self.update_snapshot(snapshot).await?;
        let trusted = self.update_targets(targets).await?;
        let standing = self.standing(&trusted, false).await?;
        self.cache.sweep_spool(now.into());
        Ok(Session::new(self.clone(), trusted, standing, now, false))
    }

    /// The same from local files alone, which must be in date. The session fetches nothing, target files included.
    pub async fn offline(&self, now: DateTime<Utc>) -> Result<Session, ClientError> {
        let _lock = self.cache.lock().await?;
        let timestamp = RootChain::start(self.cache.root()?, now, self.limits)?.finish()?;
        let timestamp = self.offer_timestamp(timestamp)?.offline()?;
        let Local::Current(targets) = offer_snapshot(timestamp, self.cache.read("snapshot")?.as_ref()) else {
            return Err(TrustError::NoLocal { role: "snapshot".to_owned() }.into());
        };
        let Local::Current(trusted) = offer_targets(targets, self.cache.read("targets")?.as_ref()) else {
            return Err(TrustError::NoLocal { role: "targets".to_owned() }.into());
        };
        let standing = self.standing(&trusted, true).await?;
        Ok(Session::new(self.clone(), trusted, standing, now, true))
    }

    async fn update_root(&self, now: DateTime<Utc>) -> Result<AwaitTimestamp, ClientError> {
        let mut chain = RootChain::start(self.cache.root()?, now, self.limits)?;
        while !chain.full() {
            let Some(bytes) = self.fetch(&chain.request()?, None).await? else { break };
            if chain.accept(bytes)? == Rotated::DropLocal {
                self.cache.remove("timestamp")?;
                self.cache.remove("snapshot")?;
            }
            self.cache.write("root", chain.root().bytes())?;
        }
        Ok(chain.finish()?)
    }

    async fn update_timestamp(&self, phase: AwaitTimestamp) -> Result<AwaitSnapshot, ClientError> {
        let phase = self.offer_timestamp(phase)?;
        let bytes = self.must_fetch(&phase.request(), None).await?;
        let next = phase.accept(bytes)?;
        if let Some(bytes) = next.new_timestamp() {
            self.cache.write("timestamp", bytes)?;
        }
        Ok(next)
    }

    async fn update_snapshot(&self, phase: AwaitSnapshot) -> Result<AwaitTargets, ClientError> {
        let held = self.cache.read("snapshot")?;
        let phase = match offer_snapshot(phase, held.as_ref()) {
            Local::Current(next) => return Ok(next),
            Local::Fetch(phase) => phase,
        };
        let bytes = self.must_fetch(&phase.request()?, held.as_deref()).await?;
        let next = phase.accept(bytes)?;
        if let Some(bytes) = next.new_snapshot() {
            self.cache.write("snapshot", bytes)?;
        }
        Ok(next)
    }

    async fn update_targets(&self, phase: AwaitTargets) -> Result<Trusted, ClientError> {
        let held = self.cache.read("targets")?;
        let phase = match offer_targets(phase, held.as_ref()) {
            Local::Current(trusted) => return Ok(trusted),
            Local::Fetch(phase) => phase,
        };
        let bytes = self.must_fetch(&phase.request()?, held.as_deref()).await?;
        let trusted = phase.accept(bytes)?;
        if let Some(bytes) = trusted.new_targets() {
            self.cache.keep("targets", bytes)?;
        }
        Ok(trusted)
    }

    fn offer_timestamp(&self, phase: AwaitTimestamp) -> Result<AwaitTimestamp, ClientError> {
        Ok(match self.cache.read("timestamp")? {
            Some(bytes) => phase.local(bytes),
            None => phase,
        })
    }

    /// `held` is an older version of the file, whether it is trusted or not.
    async fn fetch(&self, request: &Request, held: Option<&[u8]>) -> Result<Option<Vec<u8>>, ClientError> {
        let (path, max, mut bytes) = (&request.path, request.max_len, Vec::new());
        let fetched = match held {
            None => self.metadata.fetch(path, max, &mut bytes).await?,
            Some(held) => self.metadata.fetch_newer(path, max, held, &mut bytes).await?,
        };
        Ok(match fetched {
            Fetched::Whole => Some(bytes),
            Fetched::Absent => None,
        })
    }

    async fn must_fetch(&self, request: &Request, held: Option<&[u8]>) -> Result<Vec<u8>, ClientError> {
        let fetched = self.fetch(request, held).await?;
        fetched.ok_or_else(|| ClientError::Absent { path: request.path.clone() })
    }

    /// Takes a delegated role from what is on this machine. If that is not the current one: what to fetch.
    fn at_hand(&self, trusted: &mut Trusted, edge: &Edge) -> Result<Option<Needed>, ClientError> {
        if let Some(kept) = trusted.kept(edge.role()).map(<[u8]>::to_vec)
            && trusted.accept(edge, kept).is_ok()
        {
            return Ok(None);
        }
        let request = trusted.request(edge)?;
        let held = self.cache.read(&edge.role().file_stem())?;
        if let Some(local) = &held
            && trusted.accept(edge, Arc::clone(local)).is_ok()
        {
            return Ok(None);
        }
        Ok(Some(Needed { request, held }))
    }

    /// Fetches a target to `to`, unless it is there, adding to `count` each byte that came.
    async fn download(
        &self,
        found: &Found,
        terms: &Terms,
        to: &Path,
        flush: Flush,
        count: &AtomicU64,
    ) -> Result<(VerifiedFile, OpenFile), ClientError> {
        let mut spool = file::Spool::new(found, &self.cache.spool()?, count)?;
        let proven = self.fetch_proven(found, terms, &mut spool).await?;
        Ok(spool.finish(&proven, to, flush)?)
    }

    async fn gives(&self, found: &Found, consistent: bool) -> Result<Given, ClientError> {
        let location = file::location(found, consistent)?;
        match self.targets.gives(&location, found.target.length).await? {
            Given::No => Err(FileError::Absent { path: found.path.to_string(), location }.into()),
            given => Ok(given),
        }
    }

    async fn read(&self, found: &Found, terms: &Terms) -> Result<VerifiedBytes, ClientError> {
        // What a server sends is not believed to be as long as signed before it came.
        let length = usize::try_from(found.target.length).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(length.min(AT_ONCE));
        let proven = self.fetch_proven(found, terms, &mut bytes).await?;
        Ok(file::check(&proven, bytes)?)
    }

    /// Fetches all of a target to `sink`, and what proves that it was logged. Of the bytes nothing is checked.
    async fn fetch_proven(
        &self,
        found: &Found,
        terms: &Terms,
        sink: &mut dyn Sink,
    ) -> Result<Proven, ClientError> {
        let fetch = self.fetch_target(found, terms.consistent, sink);
        let ((), proven) = tokio::try_join!(fetch, self.prove(found, terms))?;
        Ok(proven)
    }

    /// Fetches all of a target to `sink`. Nothing of it is checked.
    async fn fetch_target(
        &self,
        found: &Found,
        consistent: bool,
        sink: &mut dyn Sink,
    ) -> Result<(), ClientError> {
        let location = file::location(found, consistent)?;
        match self.targets.fetch(&location, found.target.length, sink).await? {
            Fetched::Absent => Err(FileError::Absent { path: found.path.to_string(), location }.into()),
            Fetched::Whole => Ok(()),
        }
    }
}

/// What holds for every target of a session.
#[derive(Debug, Clone)]
struct Terms {
    /// Files are named by their hashes.
    consistent: bool,
    /// Nothing is fetched.
    offline: bool,
    /// When the session began.
    now: DateTime<Utc>,
    /// The log, if a policy asks for one.
    standing: Option<Arc<Standing>>,
}

/// A role that is not on this machine, or not the current one.
struct Needed {
    request: Request,
    held: Option<Arc<[u8]>>,
}

fn offer_snapshot(phase: AwaitSnapshot, held: Option<&Arc<[u8]>>) -> Local<AwaitTargets, AwaitSnapshot> {
    match held {
        Some(bytes) => phase.local(Arc::clone(bytes)),
        None => Local::Fetch(phase),
    }
}

fn offer_targets(phase: AwaitTargets, held: Option<&Arc<[u8]>>) -> Local<Trusted, AwaitTargets> {
    match held {
        Some(bytes) => phase.local(Arc::clone(bytes)),
        None => Local::Fetch(phase),
    }
}
