//! The client workflow of the specification, section 5, one type per phase; no I/O.
//!
//! ```text
//! RootChain ──finish──▶ AwaitTimestamp ──accept──▶ AwaitSnapshot ──accept──▶ AwaitTargets ──accept──▶ Trusted
//!  accept ↺              local                      local                     local                  delegated ↺
//! ```
//!
//! Each phase says what to fetch (`request`) and takes the bytes (`accept`). The caller fetches, and persists what
//! was accepted before it goes on. Local copies are offered with `local`; they are checked like everything else,
//! except that an expired one still serves as the reference for rollback checks.
//!
//! The rules, with their sections: a new root has exactly the next version and the thresholds of both old and new
//! (5.3.4, 5.3.5); only the last root may not be expired (5.3.10); rotated timestamp or snapshot keys drop the
//! local files (5.3.11); versions never fall (5.4.3, 5.5.5); a snapshot entry never disappears (5.5.5); a
//! file that says it expired at the fixed start time of the update is refused (5.1, 5.4.4, 5.5.6, 5.6.5).
//!
//! Absent on purpose: intermediate roots may be expired (5.3.10); an equal timestamp version is no error, the old
//! file is kept (5.4.3.1); a local file need not be current to be a reference.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use thiserror::Error;

use super::json::format_time;
use super::lookup::Edge;
use super::metadata::{MetaFile, Mismatch, Role, Root, Snapshot, Targets, Timestamp, TopLevel, Version};
use super::path::{NameError, RoleName};
use super::signed::{Signed, Verified, VerifyError};

/// What a client accepts at most. Lengths in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A root file. Real ones have 2 to 10 kB; python-tuf allows 512,000.
    pub root: u64,
    /// Timestamp. A real one has under 1 kB; python-tuf allows 16,384.
    pub timestamp: u64,
    /// Snapshot: 65,536 bins with hashes take 8.8 MB, 750,000 claimed projects 34 MB. python-tuf allows 2,000,000.
    pub snapshot: u64,
    /// A targets file without a length in snapshot: 18 million files in 16,384 bins make bins of 250 kB.
    pub targets: u64,
    /// Roots in one update; python-tuf allows 256.
    pub root_rotations: u32,
    /// Delegated roles visited for one target; python-tuf allows 32.
    pub visited_roles: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            root: 512_000,
            timestamp: 65_536,
            snapshot: 64_000_000,
            targets: 10_000_000,
            root_rotations: 256,
            visited_roles: 32,
        }
    }
}

/// Why metadata is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TrustError {
    /// Signatures or form.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// Past its expiry.
    #[error("{role} version {version} expired at {}, and it is {}", format_time(*.expires), format_time(*.now))]
    Expired {
        /// The role.
        role: String,
        /// Its version.
        version: Version,
        /// When it expired.
        expires: DateTime<Utc>,
        /// The start of this update.
        now: DateTime<Utc>,
    },
    /// Older than what was trusted before.
    #[error("{role} went back to version {found}; version {trusted} was trusted before")]
    Rollback {
        /// The role.
        role: String,
        /// What was offered.
        found: Version,
        /// What was trusted.
        trusted: Version,
    },
    /// A role that the trusted snapshot lists is gone from the new one.
    #[error("role {role} is gone from the new snapshot; the trusted one lists it")]
    Removed {
        /// The role.
        role: String,
    },
    /// Not the version that was asked for.
    #[error("{role} has version {found}, expected {expected}")]
    WrongVersion {
        /// The role.
        role: String,
        /// What came.
        found: Version,
        /// What must come.
        expected: Version,
    },
    /// Not the length that was announced.
    #[error("{role} has {found} bytes, expected {expected}")]
    WrongLength {
        /// The role.
        role: String,
        /// What came.
        found: u64,
        /// What was announced.
        expected: u64,
    },
    /// Not the hash that was announced, or only hashes of unknown algorithms were.
    #[error("{role} is not the file that was announced: {mismatch}")]
    WrongHash {
        /// The role.
        role: String,
        /// How it differs.
        mismatch: Mismatch,
    },
    /// The snapshot does not list the role, so it is not fetched.
    #[error("role {role} is not in the snapshot")]
    NotInSnapshot {
        /// The role.
        role: String,
    },
    /// Announced as larger than the limit.
    #[error("{role} is announced with {announced} bytes, the limit is {limit}")]
    TooLarge {
        /// The role.
        role: String,
        /// Announced length.
        announced: u64,
        /// See [`Limits`].
        limit: u64,
    },
    /// More roots than [`Limits::root_rotations`] in one update.
    #[error("more than {limit} new root versions in one update")]
    TooManyRoots {
        /// See [`Limits`].
        limit: u32,
    },
    /// More roles than [`Limits::visited_roles`] in one search.
    #[error("more than {limit} delegated roles to ask for one target")]
    TooManyRoles {
        /// See [`Limits`].
        limit: usize,
    },
    /// The root has the highest possible version.
    #[error("root version {0} has no successor")]
    LastVersion(Version),
    /// There is no local copy to work with.
    #[error("no trusted {role} on this machine")]
    NoLocal {
        /// The role.
        role: String,
    },
    /// A delegation names a role that cannot be used.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// What to fetch next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// File name below the metadata URL, quoted.
    pub path: String,
    /// Bytes to accept, at most.
    pub max_len: u64,
}

/// Outcome of offering a local copy: the next phase, or the same one, to fetch for.
#[derive(Debug)]
pub enum Local<Next, Same> {
    /// The local copy is current; nothing to fetch.
    Current(Next),
    /// Fetch.
    Fetch(Same),
}

#[derive(Debug, Clone)]
struct Context {
    root: Verified<Root>,
    now: DateTime<Utc>,
    limits: Limits,
}

/// Phase 1: root, from the trusted one to the newest, version by version.
#[derive(Debug)]
pub struct RootChain {
    context: Context,
    rotations: u32,
}

impl RootChain {
    /// Starts an update from a root that is trusted out of band or from earlier. `now` is the start time of the
    /// update, fixed for all its phases (section 5.1).
    pub fn start(root: impl Into<Arc<[u8]>>, now: DateTime<Utc>, limits: Limits) -> Result<Self, TrustError> {
        let root = Signed::new(root).verify_initial()?;
        Ok(Self { context: Context { root, now, limits }, rotations: 0 })
    }

    /// The root trusted so far.
    pub fn root(&self) -> &Verified<Root> {
        &self.context.root
    }

    /// The next root; its absence ends the chain.
    pub fn request(&self) -> Result<Request, TrustError> {
        let next = self.next_version()?;
        Ok(Request { path: format!("{next}.root.json"), max_len: self.context.limits.root })
    }

    /// Whether as many roots were accepted as one update may bring: then the chain is finished as it is, and the next
    /// update goes on from there (section 5.3.3).
    pub fn full(&self) -> bool {
        self.rotations >= self.context.limits.root_rotations
    }

    /// Takes the next root. To be persisted at once, after dropping the local timestamp and snapshot if the answer
    /// says so.
    pub fn accept(&mut self, bytes: impl Into<Arc<[u8]>>) -> Result<Rotated, TrustError> {
        if self.rotations == self.context.limits.root_rotations {
            return Err(TrustError::TooManyRoots { limit: self.rotations });
        }
        let old = &self.context.root;
        let new = Signed::<Root>::new(bytes).verify_successor(old)?;
        exact_version("root", new.common.version, self.next_version()?)?;
        let rotated =
            keys_differ(old, &new, TopLevel::Timestamp) || keys_differ(old, &new, TopLevel::Snapshot);
        self.rotations += 1;
        self.context.root = new;
        Ok(if rotated { Rotated::DropLocal } else { Rotated::KeepLocal })
    }

    /// Ends the chain: the last root must be in date.
    pub fn finish(self) -> Result<AwaitTimestamp, TrustError> {
        self.context.in_date("root", &*self.context.root)?;
        Ok(AwaitTimestamp { context: self.context, local: None })
    }

    fn next_version(&self) -> Result<Version, TrustError> {
        let version = self.context.root.common.version;
        version.checked_add(1).ok_or(TrustError::LastVersion(version))
    }
}

/// Whether a new root changed who signs timestamp or snapshot (section 5.3.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotated {
    /// They did: local timestamp and snapshot are to be deleted, so that a fast-forwarded version is forgotten.
    DropLocal,
    /// They did not.
    KeepLocal,
}

fn keys_differ(old: &Root, new: &Root, role: TopLevel) -> bool {
    let publics = |root: &Root| {
        let mut keys: Vec<_> = root.authority(role).keys().map(|(_, key)| key.public().cloned()).collect();
        keys.sort();
        keys.dedup();
        keys
    };
    publics(old) != publics(new)
}

/// Phase 2: timestamp.
#[derive(Debug)]
pub struct AwaitTimestamp {
    context: Context,
    local: Option<Verified<Timestamp>>,
}

impl AwaitTimestamp {
    /// Offers the local timestamp as reference. One that the current root does not vouch for is ignored.
    pub fn local(mut self, bytes: impl Into<Arc<[u8]>>) -> Self {
        self.local = Signed::new(bytes).verify(&self.context.root.authority(TopLevel::Timestamp)).ok();
        self
    }

    /// `timestamp.json`, always.
    pub fn request(&self) -> Request {
        Request { path: "timestamp.json".to_owned(), max_len: self.context.limits.timestamp }
    }

    /// Takes the timestamp. If [`AwaitSnapshot::new_timestamp`] then tells bytes, they are to be persisted.
    pub fn accept(self, bytes: impl Into<Arc<[u8]>>) -> Result<AwaitSnapshot, TrustError> {
        let new = Signed::new(bytes).verify(&self.context.root.authority(TopLevel::Timestamp))?;
        let Some(local) = self.local else { return next_timestamp(self.context, new, true) };
        no_rollback("timestamp", new.common.version, local.common.version)?;
        if new.common.version == local.common.version {
            return next_timestamp(self.context, local, false);
        }
        no_rollback("snapshot", new.snapshot.version, local.snapshot.version)?;
        next_timestamp(self.context, new, true)
    }

    /// Goes on with the local timestamp, without a network.
    pub fn offline(self) -> Result<AwaitSnapshot, TrustError> {
        let local = self.local.ok_or(TrustError::NoLocal { role: "timestamp".to_owned() })?;
        next_timestamp(self.context, local, false)
    }
}

fn next_timestamp(
    context: Context,
    timestamp: Verified<Timestamp>,
    new: bool,
) -> Result<AwaitSnapshot, TrustError> {
    context.in_date("timestamp", &*timestamp)?;
    Ok(AwaitSnapshot { context, timestamp, new, local: None })
}

/// Phase 3: snapshot.
#[derive(Debug)]
pub struct AwaitSnapshot {
    context: Context,
    timestamp: Verified<Timestamp>,
    new: bool,
    local: Option<Verified<Snapshot>>,
}

impl AwaitSnapshot {
    /// The timestamp's bytes if it is not the local one: to be persisted before the snapshot is fetched (5.4.5).
    pub fn new_timestamp(&self) -> Option<&[u8]> {
        self.new.then(|| self.timestamp.bytes())
    }

    /// Offers the local snapshot: current if it is the one the timestamp names and in date, else the reference
    /// for rollback checks. One that the current root does not vouch for is ignored.
    pub fn local(mut self, bytes: impl Into<Arc<[u8]>>) -> Local<AwaitTargets, Self> {
        let bytes = bytes.into();
        let authority = self.context.root.authority(TopLevel::Snapshot);
        let local = Signed::<Snapshot>::new(Arc::clone(&bytes)).verify(&authority);
        let Ok(local) = local else { return Local::Fetch(self) };
        let entry = &self.timestamp.snapshot;
        // The hash last: most often an older version lies here.
        let current = local.common.version == entry.version
            && !local.common.expired(self.context.now)
            && as_announced("snapshot", entry, &bytes).is_ok();
        if current {
            return Local::Current(self.next(local, false));
        }
        self.local = Some(local);
        Local::Fetch(self)
    }

    /// The snapshot that the timestamp names.
    pub fn request(&self) -> Result<Request, TrustError> {
        self.context.request("snapshot", &self.timestamp.snapshot, self.context.limits.snapshot)
    }

    /// Takes the snapshot. If [`AwaitTargets::new_snapshot`] then tells bytes, they are to be persisted.
    pub fn accept(self, bytes: impl Into<Arc<[u8]>>) -> Result<AwaitTargets, TrustError> {
        let bytes = bytes.into();
        let entry = &self.timestamp.snapshot;
        as_announced("snapshot", entry, &bytes)?;
        let new: Verified<Snapshot> =
            Signed::new(bytes).verify(&self.context.root.authority(TopLevel::Snapshot))?;
        exact_version("snapshot", new.common.version, entry.version)?;
        if let Some(local) = &self.local {
            nothing_lost(local, &new)?;
        }
        self.context.in_date("snapshot", &*new)?;
        Ok(self.next(new, true))
    }

    fn next(self, snapshot: Verified<Snapshot>, new: bool) -> AwaitTargets {
        AwaitTargets { context: self.context, timestamp: self.timestamp, snapshot, new }
    }
}

/// Phase 4: top-level targets.
#[derive(Debug)]
pub struct AwaitTargets {
    context: Context,
    timestamp: Verified<Timestamp>,
    snapshot: Verified<Snapshot>,
    new: bool,
}

impl AwaitTargets {
    /// The snapshot's bytes if it is not the local one: to be persisted before targets are fetched (5.5.7).
    pub fn new_snapshot(&self) -> Option<&[u8]> {
        self.new.then(|| self.snapshot.bytes())
    }

    /// Offers the local targets: used if it is exactly what would be fetched, and in date.
    pub fn local(self, bytes: impl Into<Arc<[u8]>>) -> Local<Trusted, Self> {
        match self.check(bytes.into()) {
            Ok(targets) => Local::Current(self.next(targets, false)),
            Err(_) => Local::Fetch(self),
        }
    }

    /// The targets that the snapshot names.
    pub fn request(&self) -> Result<Request, TrustError> {
        self.context.request("targets", self.entry()?, self.context.limits.targets)
    }

    /// Takes the targets. If [`Trusted::new_targets`] then tells bytes, they are to be persisted.
    pub fn accept(self, bytes: impl Into<Arc<[u8]>>) -> Result<Trusted, TrustError> {
        let targets = self.check(bytes.into())?;
        Ok(self.next(targets, true))
    }

    fn entry(&self) -> Result<&MetaFile, TrustError> {
        self.snapshot.role("targets").ok_or_else(|| TrustError::NotInSnapshot { role: "targets".into() })
    }

    fn check(&self, bytes: Arc<[u8]>) -> Result<Verified<Targets>, TrustError> {
        let entry = self.entry()?;
        as_announced("targets", entry, &bytes)?;
        let targets: Verified<Targets> =
            Signed::new(bytes).verify(&self.context.root.authority(TopLevel::Targets))?;
        exact_version("targets", targets.common.version, entry.version)?;
        self.context.in_date("targets", &*targets)?;
        Ok(targets)
    }

    fn next(self, targets: Verified<Targets>, new: bool) -> Trusted {
        Trusted {
            context: self.context,
            timestamp: self.timestamp,
            snapshot: self.snapshot,
            targets,
            new,
            delegated: HashMap::new(),
        }
    }
}

/// Phase 5: all top-level roles are trusted; delegated roles are added as searches need them.
#[derive(Debug)]
pub struct Trusted {
    context: Context,
    timestamp: Verified<Timestamp>,
    snapshot: Verified<Snapshot>,
    targets: Verified<Targets>,
    new: bool,
    /// By delegator and role: never by the role's name alone.
    delegated: HashMap<(RoleName, RoleName), Vouched>,
}

/// A delegated role, with the very metadata of the delegator that it was checked against: two delegators may lead
/// to different files of one name and version.
#[derive(Debug)]
struct Vouched {
    delegator: Verified<Targets>,
    role: Verified<Targets>,
}

impl Trusted {
    /// Root.
    pub fn root(&self) -> &Verified<Root> {
        &self.context.root
    }

    /// Timestamp.
    pub fn timestamp(&self) -> &Verified<Timestamp> {
        &self.timestamp
    }

    /// Snapshot.
    pub fn snapshot(&self) -> &Verified<Snapshot> {
        &self.snapshot
    }

    /// Top-level targets.
    pub fn targets(&self) -> &Verified<Targets> {
        &self.targets
    }

    /// The targets' bytes if they are not the local ones: to be persisted.
    pub fn new_targets(&self) -> Option<&[u8]> {
        self.new.then(|| self.targets.bytes())
    }

    /// The limits of this update.
    pub fn limits(&self) -> &Limits {
        &self.context.limits
    }

    /// The start time of this update.
    pub fn now(&self) -> DateTime<Utc> {
        self.context.now
    }

    /// A delegated role, if it was accepted for this very delegator.
    pub fn delegated(&self, edge: &Edge) -> Option<&Verified<Targets>> {
        let vouched = self.delegated.get(&edge.pair())?;
        let (_, delegator) = edge.chain().last()?;
        vouched.delegator.same_file(delegator).then_some(&vouched.role)
    }

    /// Bytes of a delegated role that another delegator led to: worth offering to [`Self::accept`] before fetching.
    pub fn kept(&self, role: &RoleName) -> Option<&[u8]> {
        self.delegated.iter().find(|((_, name), _)| name == role).map(|(_, vouched)| vouched.role.bytes())
    }

    /// The file of a delegated role. One that the snapshot does not list is not to be requested.
    pub fn request(&self, edge: &Edge) -> Result<Request, TrustError> {
        self.context.request(edge.role().as_str(), self.entry(edge)?, self.context.limits.targets)
    }

    /// Takes a delegated role, checked against the delegator it was reached through now. To be persisted.
    pub fn accept(&mut self, edge: &Edge, bytes: impl Into<Arc<[u8]>>) -> Result<(), TrustError> {
        let role = self.check(edge, bytes)?;
        if let Some((_, delegator)) = edge.chain().last() {
            self.delegated.insert(edge.pair(), Vouched { delegator: delegator.clone(), role });
        }
        Ok(())
    }

    /// Forgets every delegated role: what is needed again is accepted again. For those who visit more roles than memory
    /// holds, and some of them twice.
    pub fn forget_delegated(&mut self) {
        self.delegated.clear();
    }

    /// The checks of [`Self::accept`], and nothing is kept: for those who visit more roles than memory holds.
    pub fn check(&self, edge: &Edge, bytes: impl Into<Arc<[u8]>>) -> Result<Verified<Targets>, TrustError> {
        let (bytes, role) = (bytes.into(), edge.role().as_str());
        let entry = self.entry(edge)?;
        as_announced(role, entry, &bytes)?;
        let metadata: Verified<Targets> = Signed::new(bytes).verify(&edge.authority()?)?;
        exact_version(role, metadata.common.version, entry.version)?;
        self.context.in_date(role, &*metadata)?;
        Ok(metadata)
    }

    fn entry(&self, edge: &Edge) -> Result<&MetaFile, TrustError> {
        let role = edge.role().as_str();
        self.snapshot.role(role).ok_or_else(|| TrustError::NotInSnapshot { role: role.to_owned() })
    }
}

impl Context {
    fn in_date<T: Role>(&self, role: &str, metadata: &T) -> Result<(), TrustError> {
        let common = metadata.common();
        if !common.expired(self.now) {
            return Ok(());
        }
        let (version, expires, now) = (common.version, common.expires, self.now);
        Err(TrustError::Expired { role: role.to_owned(), version, expires, now })
    }

    fn request(&self, role: &str, entry: &MetaFile, limit: u64) -> Result<Request, TrustError> {
        let max_len = entry.length().unwrap_or(limit);
        if max_len > limit {
            return Err(TrustError::TooLarge { role: role.to_owned(), announced: max_len, limit });
        }
        let stem = super::path::percent_quote(role, b"");
        let path = if self.root.consistent_snapshot {
            format!("{}.{stem}.json", entry.version)
        } else {
            format!("{stem}.json")
        };
        Ok(Request { path, max_len })
    }
}

fn no_rollback(role: &str, found: Version, trusted: Version) -> Result<(), TrustError> {
    if found < trusted {
        return Err(TrustError::Rollback { role: role.to_owned(), found, trusted });
    }
    Ok(())
}

/// Every role of the trusted snapshot is in the new one, and none went back (5.5.5). Both are sorted by file name, so
/// one pass over both is enough.
fn nothing_lost(trusted: &Snapshot, new: &Snapshot) -> Result<(), TrustError> {
    let mut new = new.meta.iter();
    for (name, old) in &trusted.meta {
        let Some(role) = name.strip_suffix(".json") else { continue };
        match new.find(|(found, _)| *found >= name) {
            Some((found, now)) if found == name => no_rollback(role, now.version, old.version)?,
            _ => return Err(TrustError::Removed { role: role.to_owned() }),
        }
    }
    Ok(())
}

fn exact_version(role: &str, found: Version, expected: Version) -> Result<(), TrustError> {
    if found != expected {
        return Err(TrustError::WrongVersion { role: role.to_owned(), found, expected });
    }
    Ok(())
}

/// Length and hashes as the delegating file announced them, where it did.
fn as_announced(role: &str, entry: &MetaFile, bytes: &[u8]) -> Result<(), TrustError> {
    let found = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if let Some(expected) = entry.length().filter(|expected| *expected != found) {
        return Err(TrustError::WrongLength { role: role.to_owned(), found, expected });
    }
    let Some(hashes) = entry.hashes() else { return Ok(()) };
    hashes.check_bytes(bytes).map_err(|mismatch| TrustError::WrongHash { role: role.to_owned(), mismatch })
}

#[cfg(test)]
mod tests {
    use super::super::metadata::Common;
    use super::*;
    use proptest::prelude::*;

    /// The rule as the specification puts it: role by role.
    fn role_by_role(trusted: &Snapshot, new: &Snapshot) -> Result<(), TrustError> {
        for (role, old) in trusted.roles() {
            let Some(now) = new.role(role) else { return Err(TrustError::Removed { role: role.to_owned() }) };
            no_rollback(role, now.version, old.version)?;
        }
        Ok(())
    }

    fn snapshot() -> impl Strategy<Value = Snapshot> {
        let name = prop_oneof![9 => r"[ab]?[-.0a]?[ab]?\.json", 1 => "[ab.]{0,3}"];
        let expires = DateTime::UNIX_EPOCH;
        prop::collection::vec((name, 1..4_u64), 0..12).prop_map(move |entries| Snapshot {
            common: Common::new(1, expires),
            meta: entries.into_iter().map(|(name, version)| (name, MetaFile::version(version))).collect(),
        })
    }

    proptest! {
        #[test]
        fn one_pass_over_two_snapshots_says_what_asking_role_by_role_says(
            trusted in snapshot(),
            changes in snapshot(),
            keep in any::<bool>(),
        ) {
            let mut new = changes;
            if keep {
                new.set_all(trusted.roles().map(|(role, file)| (role, MetaFile::version(file.version + 1))));
            }
            prop_assert_eq!(nothing_lost(&trusted, &new), role_by_role(&trusted, &new));
            prop_assert!(!keep || nothing_lost(&trusted, &new).is_ok());
        }
    }
}
