//! What maintainers sent, checked against the state that a commit would follow. Nothing changes here: see `together`.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::content::judged;
use super::file::{Kind, ProjectFile};
use super::look_alike::look_alikes;
use super::names::{Family, project_role};
use super::owner::Owned;
use super::tree::{Changes, Owners};
use crate::crypto::sha256;
use crate::python::{PageFile, ProjectName, ProjectPage, Sha256Hex};
use crate::repository::commit::{Listing, NewRole};
use crate::repository::edit::{metadata_of, provenance_of};
use crate::repository::state::{self, BINS, State};
use crate::repository::{Distribution, MAX_METADATA, Repository, RepositoryError, days_after, layout};
use crate::store::{Content, StoreError};
use crate::tuf::metadata::{Common, Delegations, Table, TargetFile, Targets, Version};
use crate::tuf::path::{RoleName, TargetPath};
use crate::tuf::signed::{Draft, Verified};

/// Whether a name that looks like that of a claimed project may be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookAlike {
    /// No.
    Refused,
    /// The admin looked at it.
    Accepted,
}

/// Versions of a project's role that may be left out at once: those of transactions that came to nothing.
const MAX_SKIPPED: u64 = 1_000;

/// What was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The project.
    pub project: ProjectName,
    /// What was asked for.
    pub kind: Kind,
    /// Version of its role.
    pub role: Version,
    /// Files that it has now and had not.
    pub added: Vec<String>,
    /// Files that it had and has no more.
    pub removed: Vec<String>,
    /// Version of the snapshot that has it.
    pub snapshot: Version,
    /// Below which role it is delegated.
    pub family: Family,
}

/// A request that is good, and what it means for the commit.
pub(super) struct Prepared<'a> {
    pub(super) file: &'a ProjectFile,
    pub(super) role: Verified<Targets>,
    pub(super) page: Option<ProjectPage>,
    pub(super) family: Family,
    /// Whether `recently-claimed` names other owners from then on.
    pub(super) put: bool,
    /// Targets that leave the bins.
    pub(super) withdrawn: Vec<TargetPath>,
    pub(super) added: Vec<String>,
    pub(super) removed: Vec<String>,
}

impl Repository {
    /// Checks a file as [`Self::apply`] does, and writes nothing.
    pub async fn judge_project(
        &self,
        file: &ProjectFile,
        files: &[Distribution],
        look_alike: LookAlike,
        now: DateTime<Utc>,
    ) -> Result<(), RepositoryError> {
        let state = self.state().await?;
        self.prepared(&state, file, files, look_alike, &BTreeSet::new(), now).await.map(drop)
    }

    /// Checks a file against the state that it will follow. `others` are claimed in the same commit.
    pub(super) async fn prepared<'a>(
        &self,
        state: &State,
        file: &'a ProjectFile,
        files: &[Distribution],
        look_alike: LookAlike,
        others: &BTreeSet<&ProjectName>,
        now: DateTime<Utc>,
    ) -> Result<Prepared<'a>, RepositoryError> {
        if !state.claims_enabled() {
            return Err(RepositoryError::ClaimsDisabled);
        }
        self.refuse_other_root(state, file).await?;
        let owned = self.owned_by_snapshot(state, &file.project).await?;
        let prepared = match (file.kind, owned) {
            (Kind::Claim, None) => self.prepared_claim(state, file, look_alike, others).await?,
            (Kind::Claim, Some(_)) => return Err(RepositoryError::Claimed(file.project.to_string())),
            (Kind::Release | Kind::Keys, None) => {
                return refused(file, "is not claimed: `wheelseal project claim` comes first");
            }
            (Kind::Release, Some(owned)) => self.prepared_release(state, file, files, &owned).await?,
            (Kind::Keys, Some(owned)) => self.prepared_keys(state, file, &owned).await?,
        };
        refuse_unfit(file, &prepared.role, state, now)?;
        Ok(prepared)
    }

    /// Who owns a project. Whoever does has a role that snapshot names, so for most other names nothing is read.
    async fn owned_by_snapshot(
        &self,
        state: &State,
        project: &ProjectName,
    ) -> Result<Option<Owned>, RepositoryError> {
        match state.snapshot.role(project_role(project)?.as_str()) {
            None => Ok(None),
            Some(_) => state.owned(self.store(), project).await,
        }
    }

    /// The root that a file speaks of must be one of this repository's.
    async fn refuse_other_root(&self, state: &State, file: &ProjectFile) -> Result<(), RepositoryError> {
        let (version, digest) = file.root;
        let newest = &state.root;
        let bytes = match version.cmp(&newest.common.version) {
            Ordering::Equal => Some(newest.bytes().to_vec()),
            Ordering::Less => {
                let at = layout::versioned("root", version)?;
                self.store.get(&at, MAX_METADATA).await?.map(|object| object.bytes)
            }
            Ordering::Greater => None,
        };
        if bytes.is_some_and(|bytes| sha256(&bytes) == digest) {
            return Ok(());
        }
        refused(file, "was signed for another repository: its root is not one of this one's")
    }

    async fn prepared_claim<'a>(
        &self,
        state: &State,
        file: &'a ProjectFile,
        look_alike: LookAlike,
        others: &BTreeSet<&ProjectName>,
    ) -> Result<Prepared<'a>, RepositoryError> {
        if look_alike == LookAlike::Refused {
            for other in look_alikes(&file.project) {
                if others.contains(&other) || self.owned_by_snapshot(state, &other).await?.is_some() {
                    let (name, other) = (file.project.to_string(), other.to_string());
                    return Err(RepositoryError::LookAlike { name, other });
                }
            }
        }
        refuse_unproven(file, &file.owners, None)?;
        let role = file.verified(&file.owners)?;
        let page = judged(&file.project, &role, file.page.as_deref())?;
        let before = self.page(state, &file.project).await?;
        let listed = self.listed_in_bins(state, &file.project, before.as_ref()).await?;
        refuse_lost(file, before.as_ref(), page.as_ref())?;
        let adopted = |(name, entry): (&str, &TargetFile)| {
            name == layout::page_path(&file.project) || listed.get(name) == Some(entry)
        };
        if let Some((name, _)) = role.targets.iter().find(|target| !adopted(*target)) {
            return refused(file, &format!("does not have {name} as it is published: claim it again"));
        }
        let mut withdrawn = listed.keys().map(TargetPath::new).collect::<Result<Vec<_>, _>>()?;
        withdrawn.extend(before.is_some().then(|| layout::page(&file.project)).transpose()?);
        let (family, put) = (Family::Recent, true);
        let (added, removed) = (Vec::new(), file.without.iter().cloned().collect());
        Ok(Prepared { file, role, page, family, put, withdrawn, added, removed })
    }

    /// What the bins list of a project, without its page.
    async fn listed_in_bins(
        &self,
        state: &State,
        project: &ProjectName,
        page: Option<&ProjectPage>,
    ) -> Result<BTreeMap<String, TargetFile>, RepositoryError> {
        let mut listed = BTreeMap::new();
        for file in page.into_iter().flat_map(ProjectPage::files) {
            let target = layout::distribution(project, file.filename.as_str())?;
            let metadata = file.core_metadata_sha256.is_some().then(|| metadata_of(&target)).transpose()?;
            let provenance = file.provenance_sha256.is_some().then(|| provenance_of(&target)).transpose()?;
            for target in [Some(target), metadata, provenance].into_iter().flatten() {
                let entry = self.target(state, &target).await?;
                let entry = entry.ok_or_else(|| RepositoryError::Missing(target.to_string()))?;
                listed.insert(target.to_string(), entry);
            }
        }
        Ok(listed)
    }

    /// Refuses a release that is not its maintainers', or does not follow what is published. What comes with it is not looked at.
    pub(super) async fn refuse_unsigned(&self, file: &ProjectFile) -> Result<(), RepositoryError> {
        let state = self.state().await?;
        let Some(owned) = self.owned_by_snapshot(&state, &file.project).await? else {
            return refused(file, "is not claimed: `wheelseal project claim` comes first");
        };
        refuse_stale(file, &*state.project(self.store(), &owned).await?)?;
        let role = match file.verified(&owned.owners) {
            Err(RepositoryError::Verify(error)) => return refused(file, &error.to_string()),
            verified => verified?,
        };
        judged(&file.project, &role, file.page.as_deref()).map(drop)
    }

    async fn prepared_release<'a>(
        &self,
        state: &State,
        file: &'a ProjectFile,
        files: &[Distribution],
        owned: &Owned,
    ) -> Result<Prepared<'a>, RepositoryError> {
        let before = state.project(self.store(), owned).await?;
        refuse_stale(file, &before)?;
        let role = file.verified(&owned.owners)?;
        let page = judged(&file.project, &role, file.page.as_deref())?;
        let old = self.page(state, &file.project).await?;
        refuse_changed(file, old.as_ref(), page.as_ref())?;
        let (added, removed) = compared(old.as_ref(), page.as_ref());
        let mut missing: BTreeSet<&String> = added.iter().collect();
        for distribution in files {
            let name = distribution.filename.to_string();
            let listed = page.as_ref().and_then(|page| page.file(&name));
            if !missing.remove(&name) || !listed.is_some_and(|listed| is_listed(listed, distribution)) {
                return refused(file, &format!("came with a {name} that it does not list"));
            }
        }
        if let Some(name) = missing.first() {
            return refused(file, &format!("came without {name}, which it lists"));
        }
        let kept = |name: &str, entry: &TargetFile| {
            before.targets.get(name).is_none_or(|old| old == entry)
                || name == layout::page_path(&file.project)
        };
        if let Some((name, _)) = role.targets.iter().find(|(name, entry)| !kept(name, entry)) {
            return refused(file, &format!("changes {name}: a published file never does"));
        }
        let (family, put, withdrawn) = (owned.family, false, Vec::new());
        Ok(Prepared { file, role, page, family, put, withdrawn, added, removed })
    }

    async fn prepared_keys<'a>(
        &self,
        state: &State,
        file: &'a ProjectFile,
        owned: &Owned,
    ) -> Result<Prepared<'a>, RepositoryError> {
        if owned.family == Family::Claimed {
            return Err(RepositoryError::NeedsCeremony(file.project.to_string()));
        }
        let (role, page) = self.judged_keys(state, file, owned).await?;
        let (family, put, withdrawn) = (owned.family, true, Vec::new());
        let (added, removed) = (Vec::new(), Vec::new());
        Ok(Prepared { file, role, page, family, put, withdrawn, added, removed })
    }

    /// A change of keys, checked but for its age.
    async fn judged_keys(
        &self,
        state: &State,
        file: &ProjectFile,
        owned: &Owned,
    ) -> Result<(Verified<Targets>, Option<ProjectPage>), RepositoryError> {
        let before = state.project(self.store(), owned).await?;
        refuse_stale(file, &before)?;
        refuse_unproven(file, &file.owners, Some(&owned.owners))?;
        file.verified(&owned.owners)?;
        let role = file.verified(&file.owners)?;
        let page = judged(&file.project, &role, file.page.as_deref())?;
        let old = self.page(state, &file.project).await?;
        if old.as_ref().map(ProjectPage::files) != page.as_ref().map(ProjectPage::files) {
            return refused(file, "changes keys and files at once: send a release for the files");
        }
        Ok((role, page))
    }

    /// A change of the keys of a project that `claimed` delegates to. Returns the version of its role.
    pub(crate) async fn judged_rekey(
        &self,
        state: &State,
        file: &ProjectFile,
        now: DateTime<Utc>,
    ) -> Result<Version, RepositoryError> {
        self.refuse_other_root(state, file).await?;
        let owned = state.owned(self.store(), &file.project).await?;
        let Some(owned) = owned.filter(|owned| owned.family == Family::Claimed && file.kind == Kind::Keys)
        else {
            return refused(file, "is no change of keys of a project that claimed delegates to");
        };
        let (role, _) = self.judged_keys(state, file, &owned).await?;
        refuse_unfit(file, &role, state, now)?;
        Ok(role.common.version)
    }

    /// The delegator and its buckets, ready to be signed.
    pub(super) async fn claim_roles<'a>(
        &self,
        state: &'a State,
        names: &'a Names,
        changes: &'a Changes,
        now: DateTime<Utc>,
    ) -> Result<Vec<NewRole<'a>>, RepositoryError> {
        let (family, days) = (names.family, self.expiry_of(names.family));
        let (store, mut roles) = (self.store(), Vec::new());
        let mut next = |before: Option<&Targets>, delegations: &Delegations, authority| {
            let version = before.map_or(0, |before| before.common.version).saturating_add(1);
            let common = Common::new(version, days_after(now, days));
            let content = Targets { common, targets: Table::new(), delegations: Some(delegations.clone()) };
            roles.push(NewRole {
                draft: Draft::new(content),
                authorities: vec![authority],
                listing: Listing::Hashed,
            });
        };
        if changes.delegator {
            let authority = state::authority(&names.top, &state.targets, &names.delegator)?;
            next(Some(&*state.family(store, family).await?), &changes.delegations, authority);
        }
        for (bucket, delegations) in &changes.buckets {
            let authority = changes.delegations.authority(&names.delegator, bucket);
            let authority = authority.ok_or_else(|| RepositoryError::Missing(bucket.to_string()))?;
            let before = match state.snapshot.role(bucket.as_str()) {
                Some(_) => Some(state.bucket(store, family, bucket).await?),
                None => None,
            };
            next(before.as_deref(), delegations, authority);
        }
        Ok(roles)
    }

    /// Days that a delegator and its buckets live.
    pub(crate) fn expiry_of(&self, family: Family) -> u32 {
        match family {
            Family::Claimed => self.settings.expiry.targets,
            Family::Recent => self.settings.expiry.bin_n,
        }
    }

    /// Whether what somebody sent changes what an offline role says. Refused if it is not good.
    pub async fn needs_ceremony(
        &self,
        file: &ProjectFile,
        now: DateTime<Utc>,
    ) -> Result<bool, RepositoryError> {
        let state = self.state().await?;
        let owned = state.owned(self.store(), &file.project).await?;
        if file.kind != Kind::Keys || owned.is_none_or(|owned| owned.family == Family::Recent) {
            return Ok(false);
        }
        self.judged_rekey(&state, file, now).await.map(|_| true)
    }

    /// Writes the page that belongs to a project's role.
    pub(crate) async fn place_page(&self, file: &ProjectFile) -> Result<(), RepositoryError> {
        let Some(page) = &file.page else { return Ok(()) };
        let at = layout::hashed(&layout::page(&file.project)?, &sha256(page.as_bytes()))?;
        match self.store.create(&at, Content::Bytes(page.as_bytes())).await {
            Ok(()) | Err(StoreError::Exists { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a role that its maintainers signed. What lies there under its version already is the same file, or that of
    /// another transaction.
    pub(crate) async fn place_role(
        &self,
        role: &RoleName,
        version: Version,
        bytes: &[u8],
    ) -> Result<(), RepositoryError> {
        let at = layout::versioned(role.as_str(), version)?;
        match self.store.create(&at, Content::Bytes(bytes)).await {
            Err(StoreError::Exists { .. }) if self.holds(&at, bytes).await? => Ok(()),
            Err(StoreError::Exists { .. }) => Err(RepositoryError::Plan(format!(
                "version {version} of {role} is taken by another transaction: if that one does not come to its end, \
                 sign this one as a later version (--role-version)"
            ))),
            done => Ok(done?),
        }
    }
}

/// Names of roles, for as long as authorities speak of them.
pub(super) struct Names {
    pub(super) family: Family,
    pub(super) top: RoleName,
    pub(super) delegator: RoleName,
    pub(super) bins: RoleName,
}

impl Names {
    pub(super) fn of(family: Family) -> Result<Self, RepositoryError> {
        let delegator = RoleName::delegated(family.name())?;
        Ok(Self { family, top: RoleName::targets(), delegator, bins: RoleName::delegated(BINS)? })
    }
}

fn refused<T>(file: &ProjectFile, what: &str) -> Result<T, RepositoryError> {
    Err(RepositoryError::Plan(format!("the file for {} {what}", file.project)))
}

/// A role that clients would not take, or that would bar the way for the next one.
fn refuse_unfit(
    file: &ProjectFile,
    role: &Targets,
    state: &State,
    now: DateTime<Utc>,
) -> Result<(), RepositoryError> {
    let name = project_role(&file.project)?;
    let (last, found) =
        (state.snapshot.role(name.as_str()).map_or(0, |entry| entry.version), role.common.version);
    if role.common.expired(now) {
        return refused(file, &format!("expired at {}", role.common.expires));
    }
    if found <= last || found > last.saturating_add(MAX_SKIPPED) {
        return refused(file, &format!("has version {found} of its role, published is {last}"));
    }
    crate::repository::commit::refuse_too_large(name.as_str(), &file.role)
}

/// What somebody else changed since must not be undone by whoever did not see it.
fn refuse_stale(file: &ProjectFile, before: &Targets) -> Result<(), RepositoryError> {
    let (base, found) = (file.base, before.common.version);
    if base == found {
        return Ok(());
    }
    refused(file, &format!("follows version {base} of its role, published is {found}: make it again"))
}

/// Every new key proves that it is held, and a change is what enough of the old ones want.
fn refuse_unproven(
    file: &ProjectFile,
    owners: &Owners,
    before: Option<&Owners>,
) -> Result<(), RepositoryError> {
    if let Some(id) = file.unproven(owners).first() {
        return refused(file, &format!("lacks the proof that somebody holds the key {}", id.short()));
    }
    let Some(before) = before else { return Ok(()) };
    let proven = before.keys.len() - file.unproven(before).len();
    if u64::try_from(proven).unwrap_or(0) >= before.threshold {
        return Ok(());
    }
    refused(file, &format!("has {proven} signature(s) by keys of the project, {} needed", before.threshold))
}

/// A claim says of each published file whether it stays.
fn refuse_lost(
    file: &ProjectFile,
    before: Option<&ProjectPage>,
    after: Option<&ProjectPage>,
) -> Result<(), RepositoryError> {
    let files = |page: Option<&ProjectPage>| -> BTreeMap<String, PageFile> {
        let files = page.into_iter().flat_map(ProjectPage::files);
        files.map(|file| (file.filename.to_string(), file.clone())).collect()
    };
    let (before, after) = (files(before), files(after));
    for (name, old) in &before {
        match (after.get(name), file.without.contains(name)) {
            (Some(new), false) if new == old => {}
            (None, true) => {}
            _ => return refused(file, &format!("does not say what becomes of {name}: claim it again")),
        }
    }
    let unknown = after.keys().chain(&file.without).find(|name| !before.contains_key(*name));
    match unknown {
        Some(name) => refused(file, &format!("names {name}, which is not published: claim it again")),
        None => Ok(()),
    }
}

/// Files that came, and files that went.
fn compared(old: Option<&ProjectPage>, new: Option<&ProjectPage>) -> (Vec<String>, Vec<String>) {
    let names = |page: Option<&ProjectPage>| -> BTreeSet<String> {
        page.into_iter().flat_map(ProjectPage::files).map(|file| file.filename.to_string()).collect()
    };
    let (old, new) = (names(old), names(new));
    (new.difference(&old).cloned().collect(), old.difference(&new).cloned().collect())
}

/// What lies beside a published file is published with it, or never: nobody sent it since.
fn refuse_changed(
    file: &ProjectFile,
    old: Option<&ProjectPage>,
    new: Option<&ProjectPage>,
) -> Result<(), RepositoryError> {
    let beside = |file: &PageFile| (file.core_metadata_sha256.clone(), file.provenance_sha256.clone());
    for after in new.into_iter().flat_map(ProjectPage::files) {
        let name = after.filename.as_str();
        let before = old.and_then(|page| page.file(name));
        if before.is_some_and(|before| beside(before) != beside(after)) {
            return refused(file, &format!("changes what lies beside {name}: a published file never does"));
        }
    }
    Ok(())
}

/// Whether a page says of a file what is in it.
fn is_listed(listed: &PageFile, file: &Distribution) -> bool {
    let metadata = file.metadata.as_ref().map(|bytes| hex::encode(sha256(bytes)));
    let provenance = file.provenance.as_ref().map(|object| hex::encode(sha256(object.as_str().as_bytes())));
    let said = |digest: &Option<Sha256Hex>| digest.as_ref().map(ToString::to_string);
    listed.sha256.as_str() == hex::encode(file.sha256)
        && listed.size == file.size
        && listed.requires_python == file.requires_python
        && said(&listed.core_metadata_sha256) == metadata
        && said(&listed.provenance_sha256) == provenance
}
