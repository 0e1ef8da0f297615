//! A new repository: the roles of PEP 458 and the places for those of PEP 480, signed and published as version 1.
//!
//! ```text
//! root ─┬ timestamp, snapshot (online)
//!       └ targets ─┬ claimed, recently-claimed: no paths yet, so no client asks for them
//!                  └ bins ─ bins-0 … (online; succinct_roles or path_hash_prefixes)
//! ```

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::check::split_name;
use super::commit::{announce, refuse_too_large};
use super::keyring::Keyring;
use super::settings::{Expiry, Settings};
use super::state::{BINS, CLAIMED, RECENTLY_CLAIMED};
use super::{Progress, Repository, RepositoryError, days_after, layout};
use crate::store::{Content, Entry, Store};
use crate::tuf::delegations::hex_digits;
use crate::tuf::key::{Key, KeyId, RoleKeys};
use crate::tuf::metadata::{
    Common, DelegatedRole, DelegatedRoles, Delegations, Extra, MetaFile, PathSet, Role, Root, Snapshot,
    SuccinctRoles, Table, Targets, Timestamp, TopLevel,
};
use crate::tuf::path::RoleName;
use crate::tuf::signed::Draft;

/// Bins, at most: 2^16, as PEP 458's growth allows; more make snapshot too large.
pub(super) const MAX_BIN_BITS: u32 = 16;
/// Bins written and made durable together.
const WRITTEN_TOGETHER: usize = 4_096;

/// How bins are delegated to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinStyle {
    /// TAP 15: small, but not every client reads it (tough does not).
    Succinct,
    /// `path_hash_prefixes`, as in PEP 458: every client reads it.
    Prefixes,
}

/// Who signs a role.
#[derive(Debug, Clone)]
pub struct RolePlan {
    /// The keys.
    pub keys: Vec<Key>,
    /// How many must sign.
    pub threshold: u64,
}

/// A repository to be made.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Root, offline.
    pub root: RolePlan,
    /// Top-level targets, offline.
    pub targets: RolePlan,
    /// `bins` and `claimed`, offline.
    pub bins: RolePlan,
    /// Timestamp, snapshot, each bin and `recently-claimed`, online.
    pub online: RolePlan,
    /// How many bins: a power of two from 2 to 65,536.
    pub bin_count: u32,
    /// How they are delegated to.
    pub bin_style: BinStyle,
    /// Days until each kind of metadata expires.
    pub expiry: Expiry,
    /// URIs of the online keys, for later commands.
    pub online_uris: Vec<String>,
}

impl Repository {
    /// Makes and signs a repository in an empty place.
    pub async fn init(
        store: Arc<dyn Store>,
        plan: &Plan,
        keys: &Keyring,
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Result<Self, RepositoryError> {
        plan.check()?;
        let settings = Settings::new(plan.expiry, plan.online_uris.clone());
        let repository = Self::of(store, settings);
        repository.clear_the_ground().await?;
        let root = Draft::new(plan.root_content(now));
        let root_authority = root.content.authority(TopLevel::Root);
        let root_bytes = keys.sign(&root, &[root_authority]).await?;
        let targets = Draft::new(plan.targets_content(now)?);
        let mut meta = repository.write_delegated(plan, &targets.content, keys, now, progress).await?;
        let targets_bytes = keys.sign(&targets, &[root.content.authority(TopLevel::Targets)]).await?;
        repository.write(&targets, "targets", &targets_bytes).await?;
        meta.insert("targets.json", announce(1, &targets_bytes));
        let snapshot =
            Draft::new(Snapshot { common: Common::new(1, days_after(now, plan.expiry.snapshot)), meta });
        let snapshot_bytes = keys.sign(&snapshot, &[root.content.authority(TopLevel::Snapshot)]).await?;
        repository.write(&snapshot, "snapshot", &snapshot_bytes).await?;
        let timestamp = Draft::new(Timestamp {
            common: Common::new(1, days_after(now, plan.expiry.timestamp)),
            snapshot: announce(1, &snapshot_bytes),
            log: None,
            other_meta: Extra::new(),
        });
        let bytes = keys.sign(&timestamp, &[root.content.authority(TopLevel::Timestamp)]).await?;
        repository.write(&root, "root", &root_bytes).await?;
        repository.store.swap(&layout::newest_root()?, &root_bytes, None).await?;
        repository.settings.create(&*repository.store).await?;
        // An index without projects is one too, for whoever follows it.
        repository.list_projects(&[]).await?;
        repository.store.swap(&layout::timestamp()?, &bytes, None).await?;
        Ok(repository)
    }

    /// Removes what an earlier init left that did not come to its end: version 1 of some roles, and the settings.
    /// Anything else in `metadata/` is somebody's, or a damaged repository's, and stops it before anything is removed.
    async fn clear_the_ground(&self) -> Result<(), RepositoryError> {
        let (timestamp, newest_root) = (layout::timestamp()?, layout::newest_root()?);
        let entries = self.store.list(layout::METADATA).await?;
        let left = |entry: &&Entry| {
            let name = entry.path.segments().last().and_then(split_name);
            entry.path != newest_root && name.is_none_or(|(version, _)| version != 1)
        };
        let there = entries.iter().find(|entry| entry.path == timestamp);
        if let Some(entry) = there.or_else(|| entries.iter().find(left)) {
            return Err(RepositoryError::AlreadyRepository(entry.path.to_string()));
        }
        for entry in entries {
            self.store.delete(&entry.path).await?;
        }
        Ok(self.store.delete(&super::path(super::settings::SETTINGS)?).await?)
    }

    /// The delegated roles and all bins; their entries for snapshot.
    async fn write_delegated(
        &self,
        plan: &Plan,
        targets: &Targets,
        keys: &Keyring,
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Result<Table<MetaFile>, RepositoryError> {
        let top = RoleName::targets();
        let mut meta = Table::new();
        let bins = plan.bins_content(now)?;
        for (name, content) in [
            (BINS, bins.clone()),
            (CLAIMED, empty_targets(now, plan.expiry.targets)),
            (RECENTLY_CLAIMED, empty_targets(now, plan.expiry.bin_n)),
        ] {
            let (role, draft) = (RoleName::delegated(name)?, Draft::new(content));
            let authority = super::state::authority(&top, targets, &role)?;
            let bytes = keys.sign(&draft, &[authority]).await?;
            self.write(&draft, name, &bytes).await?;
            meta.insert(format!("{name}.json"), announce(1, &bytes));
        }
        let delegator = RoleName::delegated(BINS)?;
        let names = bin_names(&bins)?;
        let draft = Draft::new(empty_targets(now, plan.expiry.bin_n));
        let Some(first) = names.first() else { return Ok(meta) };
        let authority = super::state::authority(&delegator, &bins, first)?;
        let total = u64::try_from(names.len()).unwrap_or(u64::MAX);
        // All bins start with the same content and the same keys: one signature serves them all.
        let bytes = keys.sign(&draft, &[authority]).await?;
        refuse_too_large(first.as_str(), &bytes)?;
        let mut done = 0;
        for some in names.chunks(WRITTEN_TOGETHER) {
            let objects =
                some.iter().map(|name| Ok((layout::versioned(name.as_str(), 1)?, Content::Bytes(&bytes))));
            let objects = objects.collect::<Result<Vec<_>, RepositoryError>>()?;
            self.store.create_all(&objects).await.into_iter().collect::<Result<(), _>>()?;
            done += u64::try_from(some.len()).unwrap_or(0);
            progress.at("writing bins", done, total);
        }
        meta.extend(names.iter().map(|name| (format!("{name}.json"), MetaFile::version(1))));
        Ok(meta)
    }

    async fn write<T: Role>(
        &self,
        draft: &Draft<T>,
        role: &str,
        bytes: &[u8],
    ) -> Result<(), RepositoryError> {
        refuse_too_large(role, bytes)?;
        let at = layout::versioned(role, draft.content.common().version)?;
        Ok(self.store.create(&at, Content::Bytes(bytes)).await?)
    }
}

/// The names of all bins.
pub(super) fn bin_names(bins: &Targets) -> Result<Vec<RoleName>, RepositoryError> {
    let names = bins.delegations.iter().flat_map(Delegations::names);
    names.map(|name| Ok(name?)).collect()
}

fn empty_targets(now: DateTime<Utc>, days: u32) -> Targets {
    Targets { common: Common::new(1, days_after(now, days)), targets: Table::new(), delegations: None }
}

impl RolePlan {
    /// Key ids and threshold.
    pub(super) fn role_keys(&self) -> RoleKeys {
        let keyids = self.keys.iter().map(Key::id).collect();
        RoleKeys { keyids, threshold: self.threshold, extra: Extra::new() }
    }

    /// The keys by id.
    pub(super) fn by_id(&self) -> impl Iterator<Item = (KeyId, Key)> + '_ {
        self.keys.iter().map(|key| (key.id(), key.clone()))
    }

    /// Refuses thresholds that cannot be met and keys given twice.
    pub fn check(&self, role: &str) -> Result<(), RepositoryError> {
        let count = u64::try_from(self.keys.len()).unwrap_or(u64::MAX);
        if self.threshold == 0 || self.threshold > count {
            let message = format!("{role} has {count} key(s), so its threshold cannot be {}", self.threshold);
            return Err(RepositoryError::Plan(message));
        }
        let mut publics: Vec<_> = self.keys.iter().map(Key::public).collect();
        publics.sort();
        if publics.array_windows().any(|[a, b]| a == b) {
            return Err(RepositoryError::Plan(format!("{role} is given the same key twice")));
        }
        Ok(())
    }
}

impl Plan {
    fn check(&self) -> Result<(), RepositoryError> {
        let offline = [("root", &self.root), ("targets", &self.targets), ("bins", &self.bins)];
        for (name, role) in offline {
            role.check(name)?;
            let online =
                role.keys.iter().find(|key| self.online.keys.iter().any(|o| o.public() == key.public()));
            if let Some(key) = online {
                let id = key.id().short();
                return Err(RepositoryError::Plan(format!(
                    "{name} is an offline role, but its key {id} is online"
                )));
            }
        }
        self.online.check("timestamp")?;
        check_bin_count(self.bin_count)
    }

    fn root_content(&self, now: DateTime<Utc>) -> Root {
        let keys = self.root.by_id().chain(self.targets.by_id()).chain(self.online.by_id()).collect();
        Root {
            common: Common::new(1, days_after(now, self.expiry.root)),
            consistent_snapshot: true,
            keys,
            root: self.root.role_keys(),
            timestamp: self.online.role_keys(),
            snapshot: self.online.role_keys(),
            targets: self.targets.role_keys(),
            other_roles: Extra::new(),
        }
    }

    fn targets_content(&self, now: DateTime<Utc>) -> Result<Targets, RepositoryError> {
        let everything = PathSet::HashPrefixes((0..16).map(|digit| format!("{digit:x}")).collect());
        let nothing = PathSet::Patterns(Vec::new());
        let role = |name, plan: &RolePlan, paths| -> Result<DelegatedRole, RepositoryError> {
            let RoleKeys { keyids, threshold, extra } = plan.role_keys();
            let name = RoleName::delegated(name)?;
            Ok(DelegatedRole { name, keyids, threshold, terminating: false, paths, extra })
        };
        let roles = vec![
            role(CLAIMED, &self.bins, nothing.clone())?,
            role(RECENTLY_CLAIMED, &self.online, nothing)?,
            role(BINS, &self.bins, everything)?,
        ];
        let keys = self.bins.by_id().chain(self.online.by_id()).collect();
        let delegations =
            Delegations { keys, roles: DelegatedRoles::Listed(roles.into()), extra: Extra::new() };
        let mut targets = empty_targets(now, self.expiry.targets);
        targets.delegations = Some(delegations);
        Ok(targets)
    }

    fn bins_content(&self, now: DateTime<Utc>) -> Result<Targets, RepositoryError> {
        let bit_length = self.bin_count.trailing_zeros();
        let RoleKeys { keyids, threshold, extra } = self.online.role_keys();
        let succinct = SuccinctRoles { keyids, threshold, bit_length, name_prefix: BINS.to_owned(), extra };
        let roles = match self.bin_style {
            BinStyle::Succinct => DelegatedRoles::Succinct(succinct),
            BinStyle::Prefixes => DelegatedRoles::Listed(prefixed(&succinct)?.into()),
        };
        let delegations = Delegations { keys: self.online.by_id().collect(), roles, extra: Extra::new() };
        let mut bins = empty_targets(now, self.expiry.targets);
        bins.delegations = Some(delegations);
        Ok(bins)
    }
}

/// Refuses numbers of bins that cannot be.
pub(super) fn check_bin_count(count: u32) -> Result<(), RepositoryError> {
    if count.is_power_of_two() && (1..=MAX_BIN_BITS).contains(&count.trailing_zeros()) {
        return Ok(());
    }
    Err(RepositoryError::Plan(format!("{count} bins: it must be a power of two from 2 to 65,536")))
}

/// The same bins, each with the hash prefixes it answers for.
pub(super) fn prefixed(bins: &SuccinctRoles) -> Result<Vec<DelegatedRole>, RepositoryError> {
    let digits = hex_digits(bins.bit_length);
    let prefixes_per_bin = (1_u64 << (4 * u32::try_from(digits).unwrap_or(8))) / bins.count();
    let role = |index: u64| {
        let first = index * prefixes_per_bin;
        let prefixes =
            (first..first + prefixes_per_bin).map(|prefix| format!("{prefix:0digits$x}")).collect();
        Ok(DelegatedRole {
            name: bins.role_at(index)?,
            keyids: bins.keyids.clone(),
            threshold: bins.threshold,
            terminating: false,
            paths: PathSet::HashPrefixes(prefixes),
            extra: Extra::new(),
        })
    };
    (0..bins.count()).map(role).collect()
}
