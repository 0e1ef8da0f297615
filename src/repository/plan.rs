//! What a group of publications changes: their projects' pages, and the bins that list files and pages.
//!
//! Each publication is taken whole or refused whole. A page or bin is read once for all of them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::commit::{Listing, NewRole};
use super::edit::{Edit, apply, describe, entries, targets};
use super::keyring::Keyring;
use super::state::{BINS, State};
use super::{Repository, RepositoryError, days_after, layout};
use crate::python::{ProjectName, ProjectPage};
use crate::tuf::metadata::{DelegatedRoles, TargetFile, Targets, TopLevel};
use crate::tuf::path::{RoleName, TargetPath};
use crate::tuf::signed::Draft;

/// A plan against one state.
pub(super) struct Plan<'a> {
    repository: &'a Repository,
    state: &'a State,
    now: DateTime<Utc>,
    bins: BTreeMap<RoleName, PlannedBin>,
    pages: BTreeMap<ProjectName, PlannedPage>,
}

#[derive(Debug)]
struct PlannedBin {
    draft: Draft<Targets>,
    changed: bool,
}

/// What the edits of one publication need to be planned, read while it waits. Of use as far as nobody changed the bins
/// meanwhile.
#[derive(Debug)]
pub(super) struct Ahead {
    state: State,
    bins: BTreeMap<RoleName, PlannedBin>,
    pages: BTreeMap<ProjectName, PlannedPage>,
}

/// A page as it is and will be.
#[derive(Debug, Clone)]
pub(super) struct PlannedPage {
    /// The page with all edits.
    pub(super) page: ProjectPage,
    /// Whether there was one before.
    pub(super) existed: bool,
    changed: bool,
}

/// File names of one publication.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Those that change something.
    pub(super) changed: Vec<String>,
    /// Those that are as asked already.
    pub(super) unchanged: Vec<String>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(repository: &'a Repository, state: &'a State, now: DateTime<Utc>) -> Self {
        Self { repository, state, now, bins: BTreeMap::new(), pages: BTreeMap::new() }
    }

    /// What a plan of `edits` would read of `state`. What cannot be read is left out, as in [`Self::read_ahead`].
    pub(super) async fn look_ahead(repository: &'a Repository, state: &'a State, edits: &[Edit]) -> Ahead {
        let mut plan = Plan::new(repository, state, DateTime::default());
        plan.read_ahead(edits.iter()).await;
        for project in edits.iter().map(|edit| edit.filename().project()) {
            if let Ok(page) = plan.page(project).await {
                plan.pages.insert(project.clone(), page);
            }
        }
        Ahead { bins: plan.bins, pages: plan.pages, state: state.clone() }
    }

    /// Takes what was read ahead and is still as it was. A bin was signed by the same keys and has the same version;
    /// a page is as its bin says.
    pub(super) fn use_ahead(&mut self, ahead: Ahead) {
        let (before, now) = (&ahead.state, self.state);
        if !before.bins.same_file(&now.bins) {
            return;
        }
        let same = |bin: &RoleName| before.snapshot.role(bin.as_str()) == now.snapshot.role(bin.as_str());
        for (project, page) in ahead.pages {
            let bin = layout::page(&project).and_then(|target| bin_of(now, &target));
            if bin.is_ok_and(|bin| same(&bin)) {
                self.pages.entry(project).or_insert(page);
            }
        }
        for (name, bin) in ahead.bins {
            if same(&name) {
                self.bins.entry(name).or_insert(bin);
            }
        }
    }

    /// Reads the bins that these edits change, many at once. What cannot be read is left out: whoever needs it is told
    /// when it is read by itself.
    pub(super) async fn read_ahead(&mut self, edits: impl Iterator<Item = &Edit>) {
        let targets = edits.filter_map(|edit| {
            let page = layout::page(edit.filename().project());
            Some(targets(edit).ok()?.into_iter().chain(page.ok()))
        });
        let names: BTreeSet<_> =
            targets.flatten().filter_map(|target| bin_of(self.state, &target).ok()).collect();
        let names: Vec<_> = names.into_iter().filter(|name| !self.bins.contains_key(name)).collect();
        let bins = self.repository.read_bins(self.state, names.clone()).await.unwrap_or_default();
        for (name, bin) in names.into_iter().zip(bins) {
            self.bins.insert(name, PlannedBin { draft: bin.draft(), changed: false });
        }
    }

    /// Takes all edits of a publication into the plan, or none.
    pub(super) async fn take(&mut self, edits: &[Edit]) -> Result<Taken, RepositoryError> {
        let mut pages: BTreeMap<&ProjectName, PlannedPage> = BTreeMap::new();
        let (mut taken, mut targets) = (Taken::default(), Vec::new());
        for edit in edits {
            let project = edit.filename().project();
            if !pages.contains_key(project) {
                self.repository.refuse_claimed(self.state, project).await?;
                pages.insert(project, self.page(project).await?);
            }
            let Some(planned) = pages.get_mut(project) else { continue };
            let before = planned.page.file(edit.filename().as_str()).cloned();
            if apply(&mut planned.page, edit, self.now)? {
                planned.changed = true;
                targets.extend(entries(edit, before.as_ref())?);
                taken.changed.push(edit.filename().to_string());
            } else {
                taken.unchanged.push(edit.filename().to_string());
            }
        }
        for (target, _) in &targets {
            self.load_bin(&bin_of(self.state, target)?).await?;
        }
        for (target, file) in targets {
            self.put(&target, file)?;
        }
        self.pages.extend(pages.into_iter().map(|(project, page)| (project.clone(), page)));
        Ok(taken)
    }

    /// Takes a target out of its bin.
    pub(super) async fn withdraw(&mut self, target: &TargetPath) -> Result<(), RepositoryError> {
        self.load_bin(&bin_of(self.state, target)?).await?;
        self.put(target, None)
    }

    /// Puts a target into its bin.
    pub(super) async fn adopt(
        &mut self,
        target: &TargetPath,
        file: TargetFile,
    ) -> Result<(), RepositoryError> {
        self.load_bin(&bin_of(self.state, target)?).await?;
        self.put(target, Some(file))
    }

    /// Whether anything changes.
    pub(super) fn changes(&self) -> bool {
        self.pages.values().any(|planned| planned.changed)
    }

    /// Completes the bins with the pages themselves. Returns the pages that change, with their text.
    pub(super) async fn finish(&mut self) -> Result<Vec<(PlannedPage, String)>, RepositoryError> {
        let serial = self.state.snapshot.common.version.saturating_add(1);
        let mut changed = Vec::new();
        let pages: Vec<_> = self.pages.values().filter(|planned| planned.changed).cloned().collect();
        for mut planned in pages {
            planned.page.serial = serial;
            planned.page.log = self.state.timestamp.log.as_ref().and_then(|log| log.origin.parse().ok());
            let json = planned.page.to_json();
            let target = layout::page(planned.page.name())?;
            self.load_bin(&bin_of(self.state, &target)?).await?;
            self.put(&target, (!planned.page.files().is_empty()).then(|| describe(json.as_bytes())))?;
            changed.push((planned, json));
        }
        Ok(changed)
    }

    /// Refuses if some role that changes cannot be signed.
    pub(super) fn require_keys(&self, keys: &Keyring) -> Result<(), RepositoryError> {
        keys.require(&self.state.root.authority(TopLevel::Timestamp))?;
        keys.require(&self.state.root.authority(TopLevel::Snapshot))?;
        let delegator = RoleName::delegated(BINS)?;
        let mut changed = self.bins.iter().filter(|(_, bin)| bin.changed);
        changed.try_for_each(|(name, _)| keys.require(&self.state.bin_authority(&delegator, name)?))
    }

    /// The bins that change, ready to be signed.
    pub(super) fn roles<'b>(&'b self, delegator: &'b RoleName) -> Result<Vec<NewRole<'b>>, RepositoryError> {
        let days = self.repository.settings().expiry.bin_n;
        let mut roles = Vec::new();
        for (name, bin) in self.bins.iter().filter(|(_, bin)| bin.changed) {
            let mut draft = bin.draft.clone();
            let common = &mut draft.content.common;
            common.version = common.version.saturating_add(1);
            common.expires = days_after(self.now, days);
            let authorities = vec![self.state.bin_authority(delegator, name)?];
            roles.push(NewRole { draft, authorities, listing: Listing::Version });
        }
        Ok(roles)
    }

    /// The page as the plan has it so far.
    async fn page(&mut self, project: &ProjectName) -> Result<PlannedPage, RepositoryError> {
        if let Some(planned) = self.pages.get(project) {
            return Ok(planned.clone());
        }
        let target = layout::page(project)?;
        let bin = bin_of(self.state, &target)?;
        self.load_bin(&bin).await?;
        let listed = self.bins.get(&bin).and_then(|bin| bin.draft.content.targets.get(target.as_str()));
        let page = match listed {
            Some(file) => Some(self.repository.read_page(project, &target, file).await?),
            None => None,
        };
        let existed = page.is_some();
        let serial = self.state.snapshot.common.version.saturating_add(1);
        let page = page.unwrap_or_else(|| ProjectPage::new(project.clone(), serial));
        Ok(PlannedPage { page, existed, changed: false })
    }

    async fn load_bin(&mut self, name: &RoleName) -> Result<(), RepositoryError> {
        if let Entry::Vacant(entry) = self.bins.entry(name.clone()) {
            let draft = self.state.bin(self.repository.store(), name).await?.draft();
            entry.insert(PlannedBin { draft, changed: false });
        }
        Ok(())
    }

    /// Notes a target's new entry, or its absence, in its bin, which is loaded.
    fn put(&mut self, target: &TargetPath, file: Option<TargetFile>) -> Result<(), RepositoryError> {
        let name = bin_of(self.state, target)?;
        let bin = self.bins.get_mut(&name).ok_or_else(|| RepositoryError::Missing(name.to_string()))?;
        bin.changed = true;
        match file {
            Some(file) => drop(bin.draft.content.targets.insert(target.to_string(), file)),
            None => drop(bin.draft.content.targets.remove(target.as_str())),
        }
        Ok(())
    }
}

/// The bin that answers for a target.
pub(super) fn bin_of(state: &State, target: &TargetPath) -> Result<RoleName, RepositoryError> {
    let Some(delegations) = &state.bins.delegations else {
        return Err(RepositoryError::Missing("the delegations of bins".to_owned()));
    };
    if let DelegatedRoles::Succinct(bins) = &delegations.roles {
        return Ok(bins.role_for(target)?);
    }
    let matched = delegations.matching(target)?.into_iter().next();
    matched.map(|matched| matched.role).ok_or_else(|| RepositoryError::Missing(format!("a bin for {target}")))
}
