//! Which bucket delegates to a project: a trie of name prefixes, cut into files of bounded size. Pure.
//!
//! `claimed` (or `recently-claimed`) delegates to buckets, buckets delegate to projects. A bucket answers for some
//! prefixes of names, by the patterns `PREFIX*/*` and `simple/PREFIX*/*`. The first one has the empty prefix. Longer prefixes
//! are listed first, so a project is in the first bucket that matches its name.
//!
//! ```text
//! one bucket                  "" ─ everything
//! it grew too large           py, re ─ those children     "" ─ the rest
//! "re, py" grew too large     re    py    ""
//! ```
//!
//! - A bucket that grew too large gives way to two new ones: with several prefixes, these are divided; with one, the
//!   children that hold about half of it go one character deeper.
//! - The name of a bucket never gets other prefixes, and the bucket never loses a project but by an admin's decision. So
//!   an older file of a bucket below a newer `claimed`, or the reverse, hides no project that both vouch for: whoever
//!   holds snapshot's key can mix what was signed, but not unclaim a project with it.
//! - A key that several projects of a bucket share is listed once, and dropped with the last of them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::bucket::{BucketEdit, Take};
use super::file::alone;
use super::names::{Family, project_of_role, project_role};
use crate::python::ProjectName;
use crate::repository::{RepositoryError, layout};
use crate::tuf::key::{Key, KeyId};
use crate::tuf::metadata::{DelegatedRole, DelegatedRoles, Delegations, Extra, PathSet, Targets};
use crate::tuf::path::RoleName;
use crate::tuf::signed::Authority;

/// Bytes of a bucket's signed part, at most: clients fetch one for each claimed project, and its file is to stay below
/// 300,000 bytes, of which this leaves room for 20 signatures by Ed25519 or 5 by RSA-4096.
pub(crate) const MAX_BUCKET: usize = 295_000;

/// Bytes of a bucket's signed part beside keys and roles: its fields, and three digits more of version than any has.
const FRAME: usize = 200;

/// Keys of one project, at most. Real teams have a handful; a bucket must hold several projects.
pub(crate) const MAX_KEYS: usize = 16;

/// The projects that a bucket delegates to.
fn owners_listed(
    bucket: &RoleName,
    content: &Targets,
) -> Result<Vec<(ProjectName, Owners)>, RepositoryError> {
    let delegations = content.delegations.as_ref();
    let roles = listed(bucket.as_str(), delegations)?.iter();
    roles.map(|role| owners_in(role, delegations).ok_or_else(|| foreign(bucket.as_str(), role))).collect()
}

/// Who signs for a project, and how many of them must. The ids are those of the keys, each key once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owners {
    /// The keys by id.
    pub keys: BTreeMap<KeyId, Key>,
    /// How many must sign: at least one, at most all.
    pub threshold: u64,
}

/// A bucket that is at hand.
#[derive(Debug, Clone, Default)]
struct Bucket {
    prefixes: Vec<String>,
    projects: BTreeMap<ProjectName, Owners>,
    keys: BTreeMap<KeyId, SharedKey>,
    bytes: usize,
    changed: bool,
    origin: Origin,
}

/// What a bucket at hand was made of.
#[derive(Debug, Clone, Default)]
struct Origin {
    /// The bucket that was read, if there was one.
    from: Option<RoleName>,
    /// Whether that one gives way to several.
    divided: bool,
    /// Projects that came since, or got other owners.
    put: BTreeSet<ProjectName>,
    /// Projects that went.
    gone: BTreeSet<String>,
}

/// A key of one project or of several.
#[derive(Debug, Clone)]
struct SharedKey {
    key: Key,
    projects: usize,
    bytes: usize,
}

/// One delegator and those of its buckets that are at hand.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    family: Family,
    /// Who signs the buckets.
    signers: Owners,
    /// Buckets by each of their prefixes.
    prefixes: BTreeMap<String, RoleName>,
    buckets: BTreeMap<RoleName, Bucket>,
    next: u32,
    changed: bool,
}

/// What is to be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Changes {
    /// What the delegator delegates from now on.
    pub(crate) delegations: Delegations,
    /// Whether that is new.
    pub(crate) delegator: bool,
    /// New and changed buckets, with what they delegate.
    pub(crate) buckets: Vec<(RoleName, Delegations)>,
}

impl Tree {
    /// From what the delegator says. `signers` are the delegator's own keys, `next` is a number that no bucket ever had.
    pub(crate) fn read(
        family: Family,
        delegator: &Targets,
        signers: Owners,
        next: u32,
    ) -> Result<Self, RepositoryError> {
        let (mut prefixes, mut signers) = (BTreeMap::new(), signers);
        for role in listed(family.name(), delegator.delegations.as_ref())? {
            if family.number(role.name.as_str()).is_none() {
                return Err(foreign(family.name(), role));
            }
            // Buckets have one team of signers: the delegator's own, when they were last changed together.
            let known = delegator.delegations.as_ref().map(|delegations| &delegations.keys);
            let keys = role.keyids.iter().filter_map(|id| Some((id.clone(), known?.get(id)?.clone())));
            signers = Owners { keys: keys.collect(), threshold: role.threshold };
            for prefix in prefixes_of(role).ok_or_else(|| foreign(family.name(), role))? {
                if prefixes.insert(prefix, role.name.clone()).is_some() {
                    return Err(foreign(family.name(), role));
                }
            }
        }
        Ok(Self { family, signers, prefixes, buckets: BTreeMap::new(), next, changed: false })
    }

    /// The bucket that answers for a project, if there is any bucket yet.
    pub(crate) fn bucket_of(&self, project: &ProjectName) -> Option<&RoleName> {
        let name = project.as_str();
        (0..=name.len()).rev().find_map(|length| self.prefixes.get(name.get(..length)?))
    }

    /// Whether a bucket is at hand.
    pub(crate) fn has(&self, bucket: &RoleName) -> bool {
        self.buckets.contains_key(bucket)
    }

    /// Who owns a project of a bucket at hand.
    pub(crate) fn owners(&self, project: &ProjectName) -> Option<&Owners> {
        self.buckets.get(self.bucket_of(project)?)?.projects.get(project)
    }

    /// Takes a bucket in hand.
    pub(crate) fn load(&mut self, name: &RoleName, content: &Targets) -> Result<(), RepositoryError> {
        let of_it = self.prefixes.iter().filter(|(_, bucket)| *bucket == name);
        let mut bucket = Bucket::new(of_it.map(|(prefix, _)| prefix.clone()).collect());
        for (project, owners) in owners_listed(name, content)? {
            bucket.put(project, owners)?;
        }
        bucket.changed = false;
        bucket.origin = Origin { from: Some(name.clone()), ..Origin::default() };
        self.buckets.insert(name.clone(), bucket);
        Ok(())
    }

    /// The projects of all buckets at hand.
    #[cfg(test)]
    pub(crate) fn projects(&self) -> impl Iterator<Item = (&ProjectName, &Owners)> {
        self.buckets.values().flat_map(|bucket| &bucket.projects)
    }

    /// Delegates to these projects, replacing what is said of them. Their buckets must be at hand.
    pub(crate) fn put_all(
        &mut self,
        projects: impl IntoIterator<Item = (ProjectName, Owners)>,
    ) -> Result<(), RepositoryError> {
        let mut touched = BTreeSet::new();
        for (project, owners) in projects {
            let name = match self.bucket_of(&project) {
                Some(name) => name.clone(),
                None => self.add(Bucket::new(vec![String::new()]))?,
            };
            let bucket = self.buckets.get_mut(&name).ok_or_else(|| not_at_hand(&name))?;
            bucket.put(project, owners)?;
            touched.insert(name);
        }
        touched.iter().try_for_each(|name| self.split(name))
    }

    /// Delegates to a project no more; whether it did. Its bucket must be at hand.
    pub(crate) fn remove(&mut self, project: &ProjectName) -> bool {
        let Some(name) = self.bucket_of(project).cloned() else { return false };
        self.buckets.get_mut(&name).is_some_and(|bucket| bucket.remove(project))
    }

    /// From now on, these sign all buckets. All must be at hand.
    pub(crate) fn signed_by(&mut self, signers: Owners) {
        self.signers = signers;
        self.changed = true;
        self.buckets.values_mut().for_each(|bucket| bucket.changed = true);
    }

    /// What is to be signed because of it.
    pub(crate) fn changes(&self) -> Result<Changes, RepositoryError> {
        let changed = self.buckets.iter().filter(|(_, bucket)| bucket.changed);
        let buckets = changed.map(|(name, bucket)| Ok((name.clone(), bucket.delegations()?)));
        let buckets = buckets.collect::<Result<_, RepositoryError>>()?;
        Ok(Changes { delegations: self.delegations(), delegator: self.changed, buckets })
    }

    /// Lays the buckets at hand aside, and says how those that changed are to be.
    pub(crate) fn lay_aside(&mut self) -> Vec<BucketEdit> {
        let buckets = std::mem::take(&mut self.buckets);
        let changed = buckets.into_iter().filter(|(_, bucket)| bucket.changed);
        changed.map(|(role, bucket)| bucket.edit(role)).collect()
    }

    /// Whether the delegator says something new.
    pub(crate) fn delegator_changed(&self) -> bool {
        self.changed
    }

    /// Its buckets by each of their prefixes.
    pub(crate) fn prefixes(&self) -> &BTreeMap<String, RoleName> {
        &self.prefixes
    }

    /// What the delegator says: longer prefixes first.
    pub(crate) fn delegations(&self) -> Delegations {
        let mut by_bucket: BTreeMap<&RoleName, Vec<&String>> = BTreeMap::new();
        for (prefix, bucket) in &self.prefixes {
            by_bucket.entry(bucket).or_default().push(prefix);
        }
        let mut listed: Vec<_> = by_bucket.into_iter().collect();
        let length = |prefixes: &Vec<&String>| prefixes.first().map_or(0, |prefix| prefix.len());
        listed.sort_by(|(a, of_a), (b, of_b)| length(of_b).cmp(&length(of_a)).then(a.cmp(b)));
        let roles = listed.into_iter().map(|(name, prefixes)| DelegatedRole {
            name: name.clone(),
            keyids: self.signers.keys.keys().cloned().collect(),
            threshold: self.signers.threshold,
            terminating: false,
            paths: PathSet::Patterns(prefixes.into_iter().flat_map(|prefix| patterns(prefix)).collect()),
            extra: Extra::new(),
        });
        let roles = DelegatedRoles::Listed(roles.collect::<Vec<_>>().into());
        Delegations { keys: self.signers.keys.clone(), roles, extra: Extra::new() }
    }

    /// A new bucket, under a name that was never used.
    fn add(&mut self, bucket: Bucket) -> Result<RoleName, RepositoryError> {
        let name = self.family.bucket(self.next)?;
        self.next = self.next.saturating_add(1);
        for prefix in &bucket.prefixes {
            self.prefixes.insert(prefix.clone(), name.clone());
        }
        self.buckets.insert(name.clone(), bucket);
        self.changed = true;
        Ok(name)
    }

    /// Makes two or more of a bucket that has grown too large.
    fn split(&mut self, name: &RoleName) -> Result<(), RepositoryError> {
        let Entry::Occupied(entry) = self.buckets.entry(name.clone()) else { return Ok(()) };
        if !entry.get().too_large() {
            return Ok(());
        }
        let large = entry.remove();
        for prefix in &large.prefixes {
            self.prefixes.remove(prefix);
        }
        let mut pending = vec![large];
        while let Some(bucket) = pending.pop() {
            if bucket.too_large() {
                pending.extend(bucket.halves());
            } else {
                self.add(bucket)?;
            }
        }
        Ok(())
    }
}

impl Bucket {
    fn new(prefixes: Vec<String>) -> Self {
        Self { prefixes, bytes: FRAME, changed: true, ..Self::default() }
    }

    fn too_large(&self) -> bool {
        self.bytes > MAX_BUCKET && self.projects.len() > 1
    }

    fn put(&mut self, project: ProjectName, owners: Owners) -> Result<(), RepositoryError> {
        owners.check(&project)?;
        self.remove(&project);
        self.origin.gone.remove(project.as_str());
        self.origin.put.insert(project.clone());
        self.insert(project, owners, key_bytes);
        Ok(())
    }

    /// Adds a project that is not in it, with the bytes of each key.
    fn insert(&mut self, project: ProjectName, owners: Owners, bytes_of: impl Fn(&KeyId, &Key) -> usize) {
        self.bytes += role_bytes(&project, &owners);
        for (id, key) in &owners.keys {
            let shared = self.keys.entry(id.clone()).or_insert_with(|| {
                let bytes = bytes_of(id, key);
                self.bytes += bytes;
                SharedKey { key: key.clone(), projects: 0, bytes }
            });
            shared.projects += 1;
        }
        self.projects.insert(project, owners);
        self.changed = true;
    }

    fn remove(&mut self, project: &ProjectName) -> bool {
        let Some(owners) = self.projects.remove(project) else { return false };
        self.bytes = self.bytes.saturating_sub(role_bytes(project, &owners));
        for id in owners.keys.keys() {
            let Entry::Occupied(mut entry) = self.keys.entry(id.clone()) else { continue };
            entry.get_mut().projects -= 1;
            if entry.get().projects == 0 {
                self.bytes = self.bytes.saturating_sub(entry.remove().bytes);
            }
        }
        self.origin.put.remove(project);
        self.origin.gone.insert(project.to_string());
        self.changed = true;
        true
    }

    /// What it is to be, by what changes in what it was made of.
    fn edit(mut self, role: RoleName) -> BucketEdit {
        let Origin { from, divided, put, gone } = self.origin;
        let put: BTreeMap<_, _> =
            put.into_iter().filter_map(|project| self.projects.remove_entry(&project)).collect();
        let take = if divided {
            Take::Only(self.projects.keys().map(ToString::to_string).collect())
        } else {
            Take::AllBut(gone)
        };
        BucketEdit { role, from, take, put }
    }

    fn delegations(&self) -> Result<Delegations, RepositoryError> {
        let roles = self.projects.iter().map(|(project, owners)| project_delegation(project, owners));
        let roles = roles.collect::<Result<Vec<_>, RepositoryError>>()?;
        let keys = self.keys.iter().map(|(id, shared)| (id.clone(), shared.key.clone())).collect();
        Ok(Delegations { keys, roles: DelegatedRoles::Listed(roles.into()), extra: Extra::new() })
    }

    /// Two buckets that share what is in this one: by prefix if it has several, else by the next character.
    fn halves(self) -> Vec<Self> {
        let Self { prefixes, projects, keys, bytes, origin, .. } = self;
        let bytes_of =
            |id: &KeyId, key: &Key| keys.get(id).map_or_else(|| key_bytes(id, key), |key| key.bytes);
        let length = prefixes.first().map_or(0, String::len);
        let one = prefixes.len() < 2;
        let deeper = length + usize::from(one);
        let mut groups: BTreeMap<String, Vec<(ProjectName, Owners)>> = BTreeMap::new();
        for (project, owners) in projects {
            // A name that ends here stays with the shorter prefix.
            let prefix = project.as_str().get(..deeper).unwrap_or(project.as_str()).to_owned();
            groups.entry(prefix).or_default().push((project, owners));
        }
        let stay = if one { groups.remove(prefixes.first().map_or("", String::as_str)) } else { None };
        let weight = |(project, owners): &(ProjectName, Owners)| {
            let keys = owners.keys.iter().map(|(id, key)| bytes_of(id, key));
            role_bytes(project, owners) + keys.sum::<usize>()
        };
        let weighed = groups
            .into_iter()
            .map(|(prefix, projects)| (projects.iter().map(weight).sum::<usize>(), prefix, projects));
        let mut groups: Vec<_> = weighed.collect();
        groups.sort_by(|(a, ..), (b, ..)| b.cmp(a));
        let moved = about_half(&groups.iter().map(|(weight, ..)| *weight).collect::<Vec<usize>>(), bytes);
        let rest = groups.split_off(moved);
        let first = Self::new(groups.iter().map(|(_, prefix, _)| prefix.clone()).collect());
        let second = if one { prefixes } else { rest.iter().map(|(_, prefix, _)| prefix.clone()).collect() };
        let mut halves = [first, Self::new(second)];
        let of =
            |groups: Vec<(usize, String, Vec<_>)>| groups.into_iter().flat_map(|(.., projects)| projects);
        let shares: [Vec<_>; 2] =
            [of(groups).collect(), of(rest).chain(stay.into_iter().flatten()).collect()];
        for (half, share) in halves.iter_mut().zip(shares) {
            half.origin = Origin { from: origin.from.clone(), divided: true, ..Origin::default() };
            for (project, owners) in share {
                if origin.put.contains(&project) {
                    half.origin.put.insert(project.clone());
                }
                half.insert(project, owners, bytes_of);
            }
        }
        // Where nothing stays, a name that comes later goes to the next shorter prefix, and the empty one always stays.
        let needed = |bucket: &Self| !bucket.projects.is_empty() || bucket.prefixes.contains(&String::new());
        halves.into_iter().filter(needed).collect()
    }
}

impl Owners {
    /// Of these keys, by their own ids.
    pub fn new(keys: impl IntoIterator<Item = Key>, threshold: u64) -> Self {
        Self { keys: keys.into_iter().map(|key| (key.id(), key)).collect(), threshold }
    }

    /// Those that a bucket lists for the role of a project.
    pub fn listed(bucket: &Targets, role: &RoleName) -> Option<Self> {
        let delegations = bucket.delegations.as_ref()?;
        let (ids, threshold) = delegations.role(role)?;
        let keys = ids.iter().filter_map(|id| Some((id.clone(), delegations.keys.get(id)?.clone())));
        Some(Self { keys: keys.collect(), threshold })
    }

    /// Delegations to their project alone.
    pub fn delegations(&self, project: &ProjectName) -> Result<Delegations, RepositoryError> {
        alone(project, self)
    }

    /// Those that a delegator names.
    pub(crate) fn of(authority: &Authority<'_>) -> Self {
        let keys = authority.keys().map(|(id, key)| (id.clone(), key.clone())).collect();
        Self { keys, threshold: authority.threshold() }
    }

    /// Refuses what nobody can sign, or what is no team any more.
    pub fn check(&self, project: &ProjectName) -> Result<(), RepositoryError> {
        let count = u64::try_from(self.keys.len()).unwrap_or(u64::MAX);
        let wrong = if self.keys.len() > MAX_KEYS {
            format!("{project} would have {count} keys, at most {MAX_KEYS} are possible")
        } else if self.threshold == 0 || self.threshold > count {
            format!("{project} has {count} key(s), so its threshold cannot be {}", self.threshold)
        } else {
            return Ok(());
        };
        Err(RepositoryError::Plan(wrong))
    }
}

/// The delegation to a project.
pub(crate) fn project_delegation(
    project: &ProjectName,
    owners: &Owners,
) -> Result<DelegatedRole, RepositoryError> {
    Ok(DelegatedRole {
        name: project_role(project)?,
        keyids: owners.keys.keys().cloned().collect(),
        threshold: owners.threshold,
        terminating: true,
        paths: PathSet::Patterns(project_patterns(project)),
        extra: Extra::new(),
    })
}

/// What the role of a project speaks for.
fn project_patterns(project: &ProjectName) -> Vec<String> {
    vec![format!("{project}/*"), format!("{}/{project}/*", layout::SIMPLE)]
}

/// What a bucket with this prefix speaks for.
pub(super) fn patterns(prefix: &str) -> [String; 2] {
    [format!("{prefix}*/*"), format!("{}/{prefix}*/*", layout::SIMPLE)]
}

/// The prefixes of a bucket, if its delegation is one that [`patterns`] writes.
pub(crate) fn prefixes_of(role: &DelegatedRole) -> Option<Vec<String>> {
    let PathSet::Patterns(listed) = &role.paths else { return None };
    let (pairs, []) = listed.as_chunks::<2>() else { return None };
    let prefix = |pair: &[String; 2]| {
        let prefix = pair.first()?.strip_suffix("*/*")?;
        (patterns(prefix) == *pair && !role.terminating).then(|| prefix.to_owned())
    };
    pairs.iter().map(prefix).collect()
}

/// The project of a delegation and its owners, if it is one that [`project_delegation`] writes.
fn owners_in(role: &DelegatedRole, delegations: Option<&Delegations>) -> Option<(ProjectName, Owners)> {
    let project = project_of_role(role.name.as_str())?;
    let keys = &delegations?.keys;
    let keys = role.keyids.iter().map(|id| Some((id.clone(), keys.get(id)?.clone())));
    let owners = Owners { keys: keys.collect::<Option<_>>()?, threshold: role.threshold };
    (project_delegation(&project, &owners).as_ref() == Ok(role)).then_some((project, owners))
}

fn listed<'a>(
    delegator: &str,
    delegations: Option<&'a Delegations>,
) -> Result<&'a [DelegatedRole], RepositoryError> {
    match delegations.map(|delegations| &delegations.roles) {
        None => Ok(&[]),
        Some(DelegatedRoles::Listed(roles)) => Ok(roles),
        Some(DelegatedRoles::Succinct(_)) => Err(RepositoryError::Plan(format!(
            "{delegator} delegates to hashed bins, which wheelseal never does"
        ))),
    }
}

fn foreign(delegator: &str, role: &DelegatedRole) -> RepositoryError {
    RepositoryError::Plan(format!(
        "{delegator} delegates to {} in a way that wheelseal never does",
        role.name
    ))
}

fn not_at_hand(bucket: &RoleName) -> RepositoryError {
    RepositoryError::Missing(bucket.to_string())
}

/// How many of these weights, largest first, come closest to half of all; at least one.
fn about_half(weights: &[usize], all: usize) -> usize {
    let mut sum = 0;
    let sums = weights.iter().map(|weight| {
        sum += weight;
        sum
    });
    let nearest = sums.enumerate().min_by_key(|(_, sum)| sum.abs_diff(all / 2));
    nearest.map_or(0, |(at, _)| at + 1)
}

/// Bytes of a project's delegation in its bucket, with a comma.
fn role_bytes(project: &ProjectName, owners: &Owners) -> usize {
    let fixed =
        r#"{"keyids":[],"name":"project-","paths":["/*","simple//*"],"terminating":true,"threshold":},"#;
    let ids: usize = owners.keys.keys().map(|id| id.as_str().len() + 3).sum();
    fixed.len() + 3 * project.as_str().len() + ids - 1 + owners.threshold.to_string().len()
}

/// Bytes of a key in its bucket, with a comma.
fn key_bytes(id: &KeyId, key: &Key) -> usize {
    id.as_str().len() + key.to_json().canonical().len() + r#""":,"#.len()
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod size_tests;
