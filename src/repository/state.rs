//! The signed state, read back. Signatures, versions and hashes are checked as a client does; expiry is not, so that
//! what has expired can be repaired.

use std::sync::Arc;

use super::claims::owner::Remembered;
use super::layout;
use super::log::LogPolicy;
use super::{MAX_METADATA, RepositoryError};
use crate::store::{Object, Store, StorePath, Tag};
use crate::tuf::held::Held;
use crate::tuf::metadata::{MetaFile, Role, Root, Snapshot, Targets, Timestamp, TopLevel, Version};
use crate::tuf::path::RoleName;
use crate::tuf::signed::{Authority, Signed, Verified};
use crate::tuf::trusted::TrustError;

/// The role that delegates to the bins.
pub(super) const BINS: &str = "bins";
/// Offline role of claimed projects (PEP 480).
pub(super) const CLAIMED: &str = "claimed";
/// Online role of recently claimed projects (PEP 480).
pub(super) const RECENTLY_CLAIMED: &str = "recently-claimed";

/// Versions from here on are a thief's: no repository comes to them by itself, and what counts by floating point cannot
/// tell them from their neighbours.
pub(super) const RUNAWAY: Version = (1 << 53) - 1;

/// Roots that an older snapshot may be under, at most: more than an index has in a century of rotations.
const MAX_OLD_ROOTS: usize = 1_000;

/// Bins read before the first of them is verified: some megabytes.
const BINS_TOGETHER: usize = 64;

/// The state that the current `timestamp.json` names.
#[derive(Debug, Clone)]
pub struct State {
    /// The newest root.
    pub root: Verified<Root>,
    /// The timestamp.
    pub timestamp: Held<Timestamp>,
    /// The snapshot it names.
    pub snapshot: Held<Snapshot>,
    /// The top-level targets.
    pub targets: Verified<Targets>,
    /// The role that delegates to the hashed bins.
    pub bins: Verified<Targets>,
    pub(super) tag: Tag,
    /// Roles that only the root before the newest vouches for.
    unvouched: Vec<TopLevel>,
    /// Delegators and buckets of claimed projects, as far as they were read.
    pub(super) claims: Remembered,
}

impl State {
    /// Reads and verifies it; what `before` has of it already is not read again.
    ///
    /// The chain of roots starts at `known`, or at the one the store gives out.
    pub(super) async fn load(
        store: &dyn Store,
        known: Option<Verified<Root>>,
        before: Option<&Self>,
    ) -> Result<Self, RepositoryError> {
        let roots = newest_roots(store, known).await?;
        let claims = before.map(|before| before.claims.clone()).unwrap_or_default();
        let newest = roots.first().ok_or_else(|| RepositoryError::NoRepository("root".to_owned()))?;
        let before = before.filter(|before| before.root.bytes() == newest.bytes());
        let mut unvouched = Vec::new();
        let mut note = |role, by: usize| unvouched.extend((by > 0).then_some(role));
        let authorities = |role| roots.iter().map(|root| root.authority(role)).collect::<Vec<_>>();
        let at = layout::timestamp()?;
        let object = store.get(&at, MAX_METADATA).await?;
        let object = object.ok_or_else(|| RepositoryError::Missing(at.to_string()))?;
        let (timestamp, by) = by_any::<Timestamp>(object.bytes, &authorities(TopLevel::Timestamp))?;
        note(TopLevel::Timestamp, by);
        let same = before.filter(|before| before.timestamp.snapshot == timestamp.snapshot);
        let snapshot = match same {
            Some(same) if same.vouched(TopLevel::Snapshot) => same.snapshot.clone(),
            _ => {
                let (snapshot, by) =
                    read_by::<Snapshot>(store, &authorities(TopLevel::Snapshot), &timestamp.snapshot).await?;
                note(TopLevel::Snapshot, by);
                snapshot.into()
            }
        };
        let entry = hashed_entry(&snapshot, "targets")?;
        let same = before.filter(|before| before.snapshot.role("targets") == Some(entry));
        let targets = match same {
            Some(same) if same.vouched(TopLevel::Targets) => same.targets.clone(),
            _ => {
                let (targets, by) = read_by(store, &authorities(TopLevel::Targets), entry).await?;
                note(TopLevel::Targets, by);
                targets
            }
        };
        let entry = hashed_entry(&snapshot, BINS)?;
        let same = before.filter(|before| {
            before.targets.bytes() == targets.bytes() && before.snapshot.role(BINS) == Some(entry)
        });
        let bins = if let Some(same) = same {
            same.bins.clone()
        } else {
            let (top, role) = (RoleName::targets(), RoleName::delegated(BINS)?);
            delegated(store, &snapshot, &top, &targets, &role).await?
        };
        let root = newest.clone();
        Ok(Self {
            root,
            timestamp: timestamp.into(),
            snapshot,
            targets,
            bins,
            tag: object.tag,
            unvouched,
            claims,
        })
    }

    /// What an older snapshot names, which still lies in the store: signed as the newest root demands that vouches for it.
    /// Its timestamp is gone, so that of the present state stands in its place.
    pub(super) async fn of_snapshot(
        &self,
        store: &dyn Store,
        version: Version,
    ) -> Result<Self, RepositoryError> {
        let object = store.get(&layout::versioned("snapshot", version)?, MAX_METADATA).await?;
        let bytes: Arc<[u8]> = object.ok_or(RepositoryError::NoSnapshot(version))?.bytes.into();
        let roots = self.roots(store, MAX_OLD_ROOTS).await?;
        let authorities: Vec<_> = roots.iter().map(|root| root.authority(TopLevel::Snapshot)).collect();
        let (snapshot, by) = by_any::<Snapshot>(bytes, &authorities)?;
        exact("snapshot", snapshot.common.version, version)?;
        let authorities: Vec<_> = roots.iter().map(|root| root.authority(TopLevel::Targets)).collect();
        let targets = read(store, &authorities, hashed_entry(&snapshot, "targets")?).await?;
        let (top, role) = (RoleName::targets(), RoleName::delegated(BINS)?);
        hashed_entry(&snapshot, BINS)?;
        let bins = delegated(store, &snapshot, &top, &targets, &role).await?;
        let root = roots.into_iter().nth(by).unwrap_or_else(|| self.root.clone());
        let (snapshot, unvouched, claims) = (snapshot.into(), Vec::new(), Remembered::default());
        Ok(Self { root, snapshot, targets, bins, unvouched, claims, ..self.clone() })
    }

    /// The newest root and those before it, each accepted by the one before, newest first, at most `most`.
    pub(super) async fn roots(
        &self,
        store: &dyn Store,
        most: usize,
    ) -> Result<Vec<Verified<Root>>, RepositoryError> {
        let (mut roots, mut oldest) = (Vec::new(), Some(self.root.clone()));
        while let Some(root) = oldest.filter(|_| roots.len() < most) {
            let before = root_at(store, root.common.version.saturating_sub(1)).await?;
            let before = before.and_then(|before| before.verify_initial().ok());
            oldest = before.filter(|before| {
                before.common.version.saturating_add(1) == root.common.version
                    && Signed::<Root>::new(root.bytes()).verify_successor(before).is_ok()
            });
            roots.push(root);
        }
        Ok(roots)
    }

    /// The state after a commit that left `targets` and `bins` as they are and was signed as the newest root demands.
    pub(super) fn after(
        &self,
        timestamp: Held<Timestamp>,
        snapshot: Option<Held<Snapshot>>,
        tag: Tag,
    ) -> Self {
        let mut next = Self { timestamp, tag, ..self.clone() };
        next.unvouched.retain(|role| *role == TopLevel::Targets);
        next.snapshot = snapshot.unwrap_or(next.snapshot);
        next
    }

    /// Whether there is a root after the newest one known here.
    pub(super) async fn has_newer_root(&self, store: &dyn Store) -> Result<bool, RepositoryError> {
        Ok(root_at(store, self.root.common.version.saturating_add(1)).await?.is_some())
    }

    /// Whether the newest root vouches for the role's current file. It does not after a replacement of lost keys that
    /// did not come to its end; clients fail closed until the file is signed anew.
    pub(super) fn vouched(&self, role: TopLevel) -> bool {
        !self.unvouched.contains(&role)
    }

    /// Whether clients that follow the newest root have dropped the versions they knew: it has other keys for timestamp or
    /// snapshot than those that signed them (specification section 5.3.11). Then a version that was pushed up may fall.
    pub(super) fn forgotten(&self) -> bool {
        !self.vouched(TopLevel::Timestamp) || !self.vouched(TopLevel::Snapshot)
    }

    /// Whether some version was pushed up so far that it must fall.
    pub(super) fn ran_away(&self) -> bool {
        let listed = self.snapshot.roles().map(|(_, file)| file.version);
        let top = [self.timestamp.common.version, self.snapshot.common.version];
        listed.chain(top).any(|version| version >= RUNAWAY)
    }

    /// The version to count on from: 0 in place of a runaway's that clients have forgotten.
    pub(super) fn base_version(&self, version: Version) -> Version {
        if version >= RUNAWAY && self.forgotten() { 0 } else { version }
    }

    /// The roles whose current file the newest root does not vouch for.
    pub(super) fn unvouched(&self) -> impl Iterator<Item = TopLevel> {
        self.unvouched.iter().copied()
    }

    /// The policy of the transparency log, if top-level targets names one.
    pub fn log_policy(&self) -> Result<Option<LogPolicy>, RepositoryError> {
        Ok(LogPolicy::of(&self.targets)?)
    }

    /// A role that top-level targets delegates to.
    pub async fn delegated(
        &self,
        store: &dyn Store,
        role: &RoleName,
    ) -> Result<Verified<Targets>, RepositoryError> {
        hashed_entry(&self.snapshot, role.as_str())?;
        delegated(store, &self.snapshot, &RoleName::targets(), &self.targets, role).await
    }

    /// One hashed bin.
    pub async fn bin(&self, store: &dyn Store, bin: &RoleName) -> Result<Verified<Targets>, RepositoryError> {
        delegated(store, &self.snapshot, &RoleName::delegated(BINS)?, &self.bins, bin).await
    }

    /// Some hashed bins, in the order asked for.
    pub(super) async fn some_bins(
        &self,
        store: &dyn Store,
        names: &[RoleName],
    ) -> Result<Vec<Verified<Targets>>, RepositoryError> {
        let delegator = RoleName::delegated(BINS)?;
        let mut bins = Vec::with_capacity(names.len());
        for names in names.chunks(BINS_TOGETHER) {
            let entries = names.iter().map(|name| entry(&self.snapshot, name.as_str()));
            let entries: Vec<_> = entries.collect::<Result<_, _>>()?;
            let paths = names.iter().zip(&entries);
            let paths: Vec<_> = paths
                .map(|(name, entry)| layout::versioned(name.as_str(), entry.version))
                .collect::<Result<_, _>>()?;
            let found = store.get_all(&paths, MAX_METADATA).await?;
            for (((name, entry), at), object) in names.iter().zip(entries).zip(&paths).zip(found) {
                let authority = self.bin_authority(&delegator, name)?;
                bins.push(accepted(object, at, &[authority], entry)?.0);
            }
        }
        Ok(bins)
    }

    /// The authority of a bin.
    pub(super) fn bin_authority<'a>(
        &'a self,
        bins: &'a RoleName,
        bin: &'a RoleName,
    ) -> Result<Authority<'a>, RepositoryError> {
        authority(bins, &self.bins, bin)
    }
}

/// What `delegator` says of `role`.
pub(super) fn authority<'a>(
    delegator: &'a RoleName,
    metadata: &'a Targets,
    role: &'a RoleName,
) -> Result<Authority<'a>, RepositoryError> {
    let delegations = metadata.delegations.as_ref();
    let authority = delegations.and_then(|delegations| delegations.authority(delegator, role));
    authority.ok_or_else(|| RepositoryError::Missing(format!("the delegation from {delegator} to {role}")))
}

/// The entry of a role in the snapshot.
pub(super) fn entry<'a>(snapshot: &'a Snapshot, role: &str) -> Result<&'a MetaFile, RepositoryError> {
    snapshot.role(role).ok_or_else(|| TrustError::NotInSnapshot { role: role.to_owned() }.into())
}

/// The same for a role that this project always lists with its hash: without one, the store could hold another file
/// of the same version.
fn hashed_entry<'a>(snapshot: &'a Snapshot, role: &str) -> Result<&'a MetaFile, RepositoryError> {
    let entry = entry(snapshot, role)?;
    let hashed = entry.hashes().is_some_and(|hashes| hashes.sha256.is_some());
    if hashed { Ok(entry) } else { Err(RepositoryError::Missing(format!("the hash of {role} in snapshot"))) }
}

async fn delegated(
    store: &dyn Store,
    snapshot: &Snapshot,
    delegator: &RoleName,
    metadata: &Targets,
    role: &RoleName,
) -> Result<Verified<Targets>, RepositoryError> {
    let authority = authority(delegator, metadata, role)?;
    read(store, &[authority], entry(snapshot, role.as_str())?).await
}

/// Reads a versioned file and checks it against its entry and any of `authorities`, which speak of one role.
pub(super) async fn read<T: Role>(
    store: &dyn Store,
    authorities: &[Authority<'_>],
    entry: &MetaFile,
) -> Result<Verified<T>, RepositoryError> {
    Ok(read_by(store, authorities, entry).await?.0)
}

/// The same, with the number of the authority that vouches.
async fn read_by<T: Role>(
    store: &dyn Store,
    authorities: &[Authority<'_>],
    entry: &MetaFile,
) -> Result<(Verified<T>, usize), RepositoryError> {
    let role = authorities.first().map_or("", Authority::role);
    let at = layout::versioned(role, entry.version)?;
    let object = store.get(&at, MAX_METADATA).await?;
    accepted(object, &at, authorities, entry)
}

/// What was found at `at`, if it is what its entry and any of `authorities` say.
fn accepted<T: Role>(
    object: Option<Object>,
    at: &StorePath,
    authorities: &[Authority<'_>],
    entry: &MetaFile,
) -> Result<(Verified<T>, usize), RepositoryError> {
    let role = || authorities.first().map_or("", Authority::role).to_owned();
    let bytes = object.ok_or_else(|| RepositoryError::Missing(at.to_string()))?.bytes;
    if let Some(hashes) = entry.hashes() {
        let wrong = |mismatch| TrustError::WrongHash { role: role(), mismatch };
        hashes.check_bytes(&bytes).map_err(wrong)?;
    }
    let (metadata, by) = by_any::<T>(bytes, authorities)?;
    exact(&role(), metadata.common().version, entry.version)?;
    Ok((metadata, by))
}

fn exact(role: &str, found: Version, expected: Version) -> Result<(), RepositoryError> {
    if found == expected {
        return Ok(());
    }
    Err(TrustError::WrongVersion { role: role.to_owned(), found, expected }.into())
}

/// What any of `authorities` vouches for, and the number of the first that does; if none does, what the first says.
fn by_any<T: Role>(
    bytes: impl Into<Arc<[u8]>>,
    authorities: &[Authority<'_>],
) -> Result<(Verified<T>, usize), RepositoryError> {
    let (bytes, mut first) = (bytes.into(), None);
    for (number, authority) in authorities.iter().enumerate() {
        match Signed::new(Arc::clone(&bytes)).verify(authority) {
            Ok(verified) => return Ok((verified, number)),
            Err(error) => first = first.or(Some(error)),
        }
    }
    Err(first.map_or_else(|| RepositoryError::Plan("a role without a delegator".to_owned()), Into::into))
}

/// The newest root, found by following the chain from the one under the fixed name, and the one before it: while
/// keys rotate without the old ones, what is signed may still be signed as the old root says, until it is repaired.
async fn newest_roots(
    store: &dyn Store,
    known: Option<Verified<Root>>,
) -> Result<Vec<Verified<Root>>, RepositoryError> {
    let at = layout::newest_root()?;
    let Some(object) = store.get(&at, MAX_METADATA).await? else {
        return Err(RepositoryError::NoRepository(at.to_string()));
    };
    let mut root = match known {
        Some(known) => known,
        None => Signed::<Root>::new(object.bytes).verify_initial()?,
    };
    loop {
        let expected = root.common.version.saturating_add(1);
        let Some(newer) = root_at(store, expected).await? else { break };
        let newer = newer.verify_successor(&root)?;
        // Under a number not its own, an old root would pass for the newest, again and again.
        let found = newer.common.version;
        if found != expected {
            return Err(TrustError::WrongVersion { role: "root".to_owned(), found, expected }.into());
        }
        root = newer;
    }
    let before = root_at(store, root.common.version.saturating_sub(1)).await?;
    let before = before.and_then(|before| before.verify_initial().ok());
    Ok([root.clone()].into_iter().chain(before.filter(|before| precedes(before, &root))).collect())
}

/// Whether a root is the one before the newest. The store could hold any, and one that is made up can list the newest
/// one's keys and so have it for its successor; therefore the newest one's keys must have signed it too. They have,
/// unless they are new themselves: then no other role's keys are.
fn precedes(before: &Verified<Root>, newest: &Verified<Root>) -> bool {
    before.common.version.saturating_add(1) == newest.common.version
        && Signed::<Root>::new(before.bytes()).verify(&newest.authority(TopLevel::Root)).is_ok()
        && Signed::<Root>::new(newest.bytes()).verify_successor(before).is_ok()
}

async fn root_at(store: &dyn Store, version: Version) -> Result<Option<Signed<Root>>, RepositoryError> {
    let object = store.get(&layout::versioned("root", version)?, MAX_METADATA).await?;
    Ok(object.map(|object| Signed::new(object.bytes)))
}
