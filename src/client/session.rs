//! What can be asked once the top-level metadata is up to date. Many tasks may ask at once: the trusted metadata is held for no
//! longer than a step takes, and nobody holds it while something is fetched. Tasks that need the same role wait for one of
//! them to fetch it.
//!
//! What was refused stays refused: a role that failed its checks is not fetched again in this session.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

use super::file::{self, Arrival, Arriving, Flush, OpenFile};
use super::log::Standing;
use super::{
    Client, ClientError, Credentials, Given, Logging, Needed, Proven, Terms, VerifiedBytes, VerifiedFile,
};
use crate::tuf::lookup::{Edge, Found, Search, Step};
use crate::tuf::metadata::Targets;
use crate::tuf::path::{RoleName, TargetPath};
use crate::tuf::signed::Verified;
use crate::tuf::trusted::{TrustError, Trusted};

/// A client whose top-level metadata was up to date when the session began. See the module.
/// Clones are the same session.
#[derive(Debug, Clone)]
pub struct Session {
    client: Client,
    common: Arc<Common>,
    /// With more bytes of delegated roles, all are forgotten, and accepted again when they are needed.
    max_held: usize,
}

/// What is the same for all who use the session.
#[derive(Debug)]
struct Common {
    trusted: Mutex<Trusted>,
    terms: Terms,
    /// One for each delegator and role that was ever asked for; a snapshot lists all there can be.
    turns: Mutex<BTreeMap<Pair, Arc<Turn>>>,
    /// Bytes of delegated roles that were accepted since all were forgotten.
    held: AtomicUsize,
}

/// A role as one delegator has it: with another one, it is verified anew.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    delegator: Option<RoleName>,
    role: RoleName,
}

/// Held by the task that fetches a role.
#[derive(Debug, Default)]
struct Turn(tokio::sync::Mutex<Loading>);

/// What came of fetching a role.
#[derive(Debug, Default)]
struct Loading {
    refused: Option<ClientError>,
}

impl Session {
    pub(super) fn new(
        client: Client,
        trusted: Trusted,
        standing: Option<Standing>,
        now: DateTime<Utc>,
        offline: bool,
    ) -> Self {
        let consistent = trusted.root().consistent_snapshot;
        let terms = Terms { consistent, offline, now, standing: standing.map(Arc::new) };
        let (trusted, turns, held) = (Mutex::new(trusted), Mutex::default(), AtomicUsize::new(0));
        Self { client, common: Arc::new(Common { trusted, terms, turns, held }), max_held: usize::MAX }
    }

    /// The log that the snapshot is in; none, if no policy asks for one.
    pub fn log(&self) -> Option<Logging> {
        self.common.terms.standing.as_ref().map(|standing| standing.logging())
    }

    /// What recorders said since this was last asked that kept no file back: that their content is another, or what does not hold.
    pub fn recorder_warnings(&self) -> Vec<String> {
        self.client.log.recorders.iter().flat_map(|panel| panel.warnings()).collect()
    }

    /// Checks that a target was logged and recorded, if it is to be: fetches the proofs, unless they are kept on this machine.
    pub async fn prove(&self, found: &Found) -> Result<Proven, ClientError> {
        self.client.prove(found, &self.common.terms).await
    }

    /// The same session for somebody: what has to be fetched for them is asked for with these credentials, and with no
    /// others. Roles that are here already are theirs too.
    pub fn showing(&self, credentials: &Credentials) -> Self {
        let (client, common) = (self.client.showing(credentials), Arc::clone(&self.common));
        Self { client, common, max_held: self.max_held }
    }

    /// Holds not much more than so many bytes of delegated roles: for those who visit more than memory holds.
    pub fn holding(self, max_held: usize) -> Self {
        Self { max_held, ..self }
    }

    /// All that is trusted at this moment.
    pub fn with_trusted<T>(&self, work: impl FnOnce(&Trusted) -> T) -> T {
        work(&self.trusted())
    }

    /// The role that answers for `path`, and what it says (specification 5.6.7). Fetches the delegated roles it needs, unless
    /// the local copies are current.
    pub async fn find(&self, path: &TargetPath) -> Result<Found, ClientError> {
        let mut search = Search::new(path.clone());
        loop {
            let step = search.step(&self.trusted())?;
            match step {
                Step::Found(found) => return Ok(*found),
                Step::NotFound => return Err(ClientError::NotSigned { path: path.to_string() }),
                Step::Need(edge) => self.load(&edge).await?,
            }
        }
    }

    /// The roles down to `role`, if the search for `path` comes to it: it may speak for the path, whether it lists it or
    /// not. For a role that no search of this session came to before.
    pub async fn reach(
        &self,
        path: &TargetPath,
        role: &RoleName,
    ) -> Result<Option<Vec<(RoleName, Verified<Targets>)>>, ClientError> {
        let mut search = Search::new(path.clone());
        loop {
            let step = search.step(&self.trusted())?;
            let edge = match step {
                Step::Found(found) if found.chain.last().is_some_and(|(name, _)| name == role) => {
                    return Ok(Some(found.chain));
                }
                Step::Found(_) | Step::NotFound => return Ok(None),
                Step::Need(edge) => edge,
            };
            self.load(&edge).await?;
            let content = self.with_trusted(|trusted| trusted.delegated(&edge).cloned());
            if let (true, Some(content)) = (edge.role() == role, content) {
                let mut chain = edge.chain().to_vec();
                chain.push((role.clone(), content));
                return Ok(Some(chain));
            }
        }
    }

    /// Bytes of a target of at most `max_len` bytes, such as an index page, checked; never written to disk.
    pub async fn read(&self, found: &Found, max_len: u64) -> Result<Vec<u8>, ClientError> {
        Ok(self.read_whole(found, max_len).await?.into_bytes())
    }

    /// The same, with what was signed.
    pub async fn read_whole(&self, found: &Found, max_len: u64) -> Result<VerifiedBytes, ClientError> {
        file::within(found, max_len)?;
        self.online()?;
        self.client.read(found, &self.common.terms).await
    }

    /// Fetches a target to `to`, unless the file there already is that target. The file appears whole and checked, or whatever
    /// was there stays; it stays what it is even if the machine stops.
    pub async fn download(&self, found: &Found, to: &Path) -> Result<VerifiedFile, ClientError> {
        self.download_counted(found, to, &AtomicU64::new(0)).await
    }

    /// The same, adding to `count` each byte that is there. What is fetched again counts once.
    pub(super) async fn download_counted(
        &self,
        found: &Found,
        to: &Path,
        count: &AtomicU64,
    ) -> Result<VerifiedFile, ClientError> {
        if let Some(file) = self.at(found, to).await? {
            count.fetch_add(found.target.length, Ordering::Relaxed);
            return Ok(file);
        }
        self.online()?;
        Ok(self.client.download(found, &self.common.terms, to, Flush::Disk, count).await?.0)
    }

    /// The file, if it is there already. Where there is none, nothing is asked.
    async fn at(&self, found: &Found, path: &Path) -> Result<Option<VerifiedFile>, ClientError> {
        if !path.exists() {
            return Ok(None);
        }
        Ok(file::already(&self.prove(found).await?, path)?)
    }

    /// Whether the server gives a target to who asks so, for little more than a question.
    pub async fn gives(&self, found: &Found) -> Result<Given, ClientError> {
        self.online()?;
        self.client.gives(found, self.common.terms.consistent).await
    }

    /// Fetches a target to `to`, which appears whole and checked, and is open. If the machine stops, it may be torn afterwards:
    /// for a cache whose files are checked when they are used.
    pub async fn fill(&self, found: &Found, to: &Path) -> Result<OpenFile, ClientError> {
        self.online()?;
        Ok(self.client.download(found, &self.common.terms, to, Flush::Never, &AtomicU64::new(0)).await?.1)
    }

    /// Begins to fetch a large target, which can be read while it comes. Nothing is asked before the second of the two is run.
    pub fn arrive(&self, target: &Proven) -> Result<(Arriving, Arrival), ClientError> {
        self.online()?;
        Arrival::begin(&self.client, target, self.common.terms.consistent)
    }

    /// Checks a local file against what was signed. Blocks.
    pub fn verify(target: &Proven, file: &Path) -> Result<VerifiedFile, ClientError> {
        Ok(file::verify(target, file)?)
    }

    /// Checks local files on every core; what it found of each, in their order. Blocks.
    pub fn verify_all(files: &[(Proven, PathBuf)]) -> Vec<Result<VerifiedFile, ClientError>> {
        file::verify_all(files).into_iter().map(|file| Ok(file?)).collect()
    }

    /// Is the file there, and what was signed? Blocks.
    pub fn already(target: &Proven, path: &Path) -> Result<Option<VerifiedFile>, ClientError> {
        Ok(file::already(target, path)?)
    }

    /// A role as its delegator has it; none, if the snapshot does not list it.
    pub async fn role(&self, edge: &Edge) -> Result<Option<Verified<Targets>>, ClientError> {
        if self.trusted().snapshot().role(edge.role().as_str()).is_none() {
            return Ok(None);
        }
        loop {
            if let Some(role) = self.trusted().delegated(edge) {
                return Ok(Some(role.clone()));
            }
            self.load(edge).await?;
        }
    }

    /// Reads an open file to its end: is it what was signed? Blocks.
    pub fn check(target: &Proven, file: File) -> Result<OpenFile, ClientError> {
        Ok(file::check_open(target, file)?)
    }

    /// An offline session has no target files but those that are in place.
    fn online(&self) -> Result<(), TrustError> {
        if self.common.terms.offline {
            Err(TrustError::NoLocal { role: "target file".to_owned() })
        } else {
            Ok(())
        }
    }

    async fn load(&self, edge: &Edge) -> Result<(), ClientError> {
        let turn = self.turn(edge);
        let mut turn = turn.0.lock().await;
        if let Some(refused) = &turn.refused {
            return Err(refused.clone());
        }
        self.make_room();
        let needed = self.client.at_hand(&mut self.trusted(), edge)?;
        let Some(Needed { request, held }) = needed else {
            self.weigh(
                self.with_trusted(|trusted| trusted.delegated(edge).map_or(0, |role| role.bytes().len())),
            );
            return Ok(());
        };
        if self.common.terms.offline {
            return Err(TrustError::NoLocal { role: edge.role().to_string() }.into());
        }
        let bytes: Arc<[u8]> = self.client.must_fetch(&request, held.as_deref()).await?.into();
        let accepted = self.trusted().accept(edge, Arc::clone(&bytes));
        if let Err(error) = accepted {
            turn.refused = Some(error.clone().into());
            return Err(error.into());
        }
        self.weigh(bytes.len());
        Ok(self.client.cache.keep(&edge.role().file_stem(), &bytes)?)
    }

    /// Before a role is accepted, and never after: who waits for it finds it.
    fn make_room(&self) {
        if self.common.held.load(Ordering::Relaxed) > self.max_held {
            self.trusted().forget_delegated();
            self.common.held.store(0, Ordering::Relaxed);
        }
    }

    fn weigh(&self, bytes: usize) {
        self.common.held.fetch_add(bytes, Ordering::Relaxed);
    }

    fn turn(&self, edge: &Edge) -> Arc<Turn> {
        let delegator = edge.chain().last().map(|(name, _)| name.clone());
        let mut turns = self.common.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(Pair { delegator, role: edge.role().clone() }).or_default())
    }

    fn trusted(&self) -> MutexGuard<'_, Trusted> {
        self.common.trusted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
