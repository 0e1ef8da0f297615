//! The unsigned pages of many projects, made what the signed ones say: bin by bin, on all cores, with one change of the
//! list of projects.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::bins::BinMap;
use crate::crypto::sha256;
use crate::python::ProjectName;
use crate::repository::bins::in_order;
use crate::repository::pages::{newer, page_files, won};
use crate::repository::state::State;
use crate::repository::{MAX_ATTEMPTS, MAX_METADATA, Progress, Repository, RepositoryError, layout};
use crate::store::Swap;
use crate::tuf::path::RoleName;

/// Pages read and written together, at most: each may have some megabytes.
const SHOWN_TOGETHER: usize = 128;

/// Some projects whose pages one bin lists.
type Share = (RoleName, Vec<ProjectName>);

impl Repository {
    /// Makes the unsigned pages of `projects` what `state` says, and again those that another publisher may have changed
    /// meanwhile: its own refresh may have come before this one wrote what is old by now.
    pub(in crate::repository) async fn show_many(
        &self,
        state: &State,
        projects: Vec<ProjectName>,
        progress: &dyn Progress,
    ) -> Result<(), RepositoryError> {
        let (mut state, mut projects) = (Arc::new(state.clone()), projects);
        for _ in 0..MAX_ATTEMPTS {
            if projects.is_empty() {
                return Ok(());
            }
            let (claimed, others) = self.claimed_among(&state, &projects).await?;
            for project in &claimed {
                self.refresh_page(&state, project).await?;
            }
            let shares = shares(&state, &others)?;
            let (repository, current) = (self.clone(), Arc::clone(&state));
            let work = move |(bin, projects): Share| {
                let (repository, state) = (repository.clone(), Arc::clone(&current));
                async move { repository.show_share(&state, &bin, projects).await }
            };
            let (mut shown, total) = (Vec::new(), u64::try_from(projects.len()).unwrap_or(u64::MAX));
            in_order(shares, work, |some: Vec<(ProjectName, bool)>| {
                shown.extend(some);
                progress.at("showing pages", u64::try_from(shown.len()).unwrap_or(0), total);
                Ok(())
            })
            .await?;
            self.list_projects(&shown).await?;
            for (project, _) in shown.iter().filter(|(_, listed)| !listed) {
                self.remove_page(project).await?;
            }
            let newer = self.state_after(Some(&state)).await?;
            projects = self.changed_pages(&state, &newer, projects).await?;
            state = Arc::new(newer);
        }
        Err(RepositoryError::Busy(MAX_ATTEMPTS))
    }

    /// The claimed ones among some projects, and the others.
    async fn claimed_among(
        &self,
        state: &State,
        projects: &[ProjectName],
    ) -> Result<(Vec<ProjectName>, Vec<ProjectName>), RepositoryError> {
        let (mut claimed, mut others) = (Vec::new(), Vec::new());
        for project in projects {
            let owned = state.owned(self.store(), project).await?.is_some();
            if owned { &mut claimed } else { &mut others }.push(project.clone());
        }
        Ok((claimed, others))
    }

    /// Writes the pages of some projects of one bin. Says of each whether it has one.
    async fn show_share(
        &self,
        state: &State,
        bin: &RoleName,
        projects: Vec<ProjectName>,
    ) -> Result<Vec<(ProjectName, bool)>, RepositoryError> {
        let bin = state.bin(self.store(), bin).await?;
        let (mut pages, mut paths, mut texts, mut shown) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for project in projects {
            let target = layout::page(&project)?;
            let listed = bin.targets.get(target.as_str());
            if let Some(file) = listed {
                let page = self.read_page(&project, &target, file).await?;
                paths.extend(page_files(&project)?);
                texts.extend([page.to_json(), page.to_html()]);
                pages.push(page);
            }
            shown.push((project, listed.is_some()));
        }
        let old = self.store.get_all(&paths, MAX_METADATA).await?;
        let (mut swaps, mut careful) = (Vec::new(), BTreeSet::new());
        for (at, ((path, text), old)) in paths.iter().zip(&texts).zip(&old).enumerate() {
            let serial = pages.get(at / 2).map_or(0, |page| page.serial);
            if old.as_ref().is_some_and(|old| newer(&old.bytes, serial)) {
                careful.insert(at / 2);
            } else if old.as_ref().is_none_or(|old| old.bytes != text.as_bytes()) {
                let expected = old.as_ref().map(|old| &old.tag);
                swaps.push((at / 2, Swap { path, bytes: text.as_bytes(), expected }));
            }
        }
        let wanted: Vec<_> = swaps.iter().map(|(_, swap)| *swap).collect();
        for ((page, _), outcome) in swaps.iter().zip(self.store.swap_all(&wanted).await) {
            if !won(outcome)? {
                careful.insert(*page);
            }
        }
        // Somebody else was there, or is: one by one, with a look at what they wrote.
        for page in careful.iter().filter_map(|page| pages.get(*page)) {
            self.write_page(page).await?;
        }
        Ok(shown)
    }
}

/// Projects by the bins of their pages, not too many together.
fn shares(state: &State, projects: &[ProjectName]) -> Result<Vec<Share>, RepositoryError> {
    let bins = BinMap::of(&state.bins)?;
    let mut sorted = Vec::with_capacity(projects.len());
    for project in projects {
        let page = layout::page_path(project);
        let bin = bins.bin(&sha256(page.as_bytes()));
        sorted.push((bin.ok_or_else(|| RepositoryError::Missing(format!("a bin for {page}")))?, project));
    }
    sorted.sort_unstable();
    sorted.dedup();
    let mut shares = Vec::new();
    for same in sorted.chunk_by(|(one, _), (other, _)| one == other) {
        for some in same.chunks(SHOWN_TOGETHER) {
            let Some((bin, _)) = some.first() else { continue };
            let names = some.iter().map(|(_, project)| (*project).clone()).collect();
            shares.push((bins.name(*bin)?.clone(), names));
        }
    }
    Ok(shares)
}
