//! The unsigned copies of project pages, for installers that know no TUF.
//!
//! They follow the signed pages: written after the commit, from what was committed. A note in `staging/pages/` is
//! written before the commit and removed when the pages are done, so that a crash in between is made good by the
//! next change. A page carries the snapshot version it belongs to as its serial, and never goes back to an older one.

use serde::{Deserialize, Serialize};

use super::plan::{PlannedPage, bin_of};
use super::publish::Own;
use super::state::State;
use super::{MAX_ATTEMPTS, MAX_METADATA, Repository, RepositoryError, Unwatched, layout, path};
use crate::crypto::random;
use crate::python::{ProjectName, ProjectPage, index_html, index_json};
use crate::store::{Object, StoreError, StorePath, Swap};
use crate::tuf::metadata::{TargetFile, Version};
use crate::tuf::path::TargetPath;
use crate::tuf::trusted::TrustError;

/// Projects that are refreshed one by one; more of them, as after an import, bin by bin.
const FEW_PROJECTS: usize = 16;

/// Pages that a commit changes.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// The snapshot that the commit makes.
    snapshot: Version,
    projects: Vec<String>,
}

/// The list of projects, as far as it is read back.
#[derive(Deserialize)]
struct ProjectList {
    projects: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    name: String,
}

/// What somebody else wrote at the same time, or later ones of before.
#[derive(Debug, Default)]
struct Lost<'a> {
    pages: Vec<&'a ProjectPage>,
    list: bool,
}

impl Repository {
    /// After a commit: writes the pages it changed, and removes its notes. If others committed meanwhile, what they
    /// changed of the same pages is written instead; `own` tells whose commit the current one is.
    pub(super) async fn show_pages(
        &self,
        state: &State,
        pages: &[(PlannedPage, String)],
        notes: &[StorePath],
        own: &Own,
    ) -> Result<(), RepositoryError> {
        let emptied = |planned: &PlannedPage| planned.page.files().is_empty();
        let moved = pages.iter().map(|(planned, _)| planned);
        let moved = moved.filter(|planned| emptied(planned) == planned.existed);
        let moved: Vec<_> = moved.map(|planned| (planned.page.name().clone(), !emptied(planned))).collect();
        let shown: Vec<_> = pages.iter().filter(|(planned, _)| !emptied(planned)).collect();
        let lost = self.write_pages(&shown, &moved).await?;
        for page in lost.pages {
            self.write_page(page).await?;
        }
        if lost.list {
            self.list_projects(&moved).await?;
        }
        for (planned, _) in pages.iter().filter(|(planned, _)| emptied(planned)) {
            self.remove_page(planned.page.name()).await?;
        }
        if !own.follows(&state.tag, self.tag().await?.as_ref()) {
            let newer = self.state_after(Some(state)).await?;
            let names = pages.iter().map(|(planned, _)| planned.page.name().clone()).collect();
            let names = self.changed_pages(state, &newer, names).await?;
            self.refresh_pages(&newer, names).await?;
        }
        for note in notes {
            self.store.delete(note).await?;
        }
        Ok(())
    }

    /// Writes pages, and the projects that come and go, together.
    async fn write_pages<'a>(
        &self,
        shown: &[&'a (PlannedPage, String)],
        moved: &[(ProjectName, bool)],
    ) -> Result<Lost<'a>, RepositoryError> {
        let mut paths = Vec::new();
        for (planned, _) in shown {
            paths.extend(page_files(planned.page.name())?);
        }
        if !moved.is_empty() {
            paths.extend(list_files()?);
        }
        let mut found = self.store.get_all(&paths, MAX_METADATA).await?.into_iter();
        let mut old = || (found.next().flatten(), found.next().flatten());
        let (mut lost, mut texts) = (Lost::default(), Vec::new());
        for (planned, json) in shown {
            let old = old();
            if old.0.as_ref().is_some_and(|old| newer(&old.bytes, planned.page.serial)) {
                lost.pages.push(&planned.page);
            } else {
                let what = Some(&planned.page);
                texts.push((
                    what,
                    page_files(planned.page.name())?,
                    [json.clone(), planned.page.to_html()],
                    old,
                ));
            }
        }
        if !moved.is_empty() {
            let old = old();
            texts.push((None, list_files()?, list_with(old.0.as_ref(), moved), old));
        }
        let mut swaps = Vec::new();
        for (_, paths, texts, old) in &texts {
            for ((path, text), old) in paths.iter().zip(texts).zip([&old.0, &old.1]) {
                swaps.push(Swap { path, bytes: text.as_bytes(), expected: old.as_ref().map(|old| &old.tag) });
            }
        }
        let mut outcomes = self.store.swap_all(&swaps).await.into_iter();
        for (page, ..) in &texts {
            let mut both = true;
            for outcome in outcomes.by_ref().take(2) {
                both &= won(outcome)?;
            }
            match page {
                _ if both => {}
                Some(page) => lost.pages.push(page),
                None => lost.list = true,
            }
        }
        Ok(lost)
    }

    /// The projects whose signed pages are not the same in two states. What was committed here can only have been
    /// followed: anything older is a stale answer.
    pub(super) async fn changed_pages(
        &self,
        state: &State,
        newer: &State,
        projects: Vec<ProjectName>,
    ) -> Result<Vec<ProjectName>, RepositoryError> {
        if newer.timestamp.common.version < state.timestamp.common.version {
            return Ok(Vec::new());
        }
        let mut changed = Vec::new();
        for project in projects {
            let page = layout::page(&project)?;
            let bin = bin_of(newer, &page)?;
            let same_bin = !newer.claims_enabled()
                && bin_of(state, &page)? == bin
                && state.snapshot.role(bin.as_str()) == newer.snapshot.role(bin.as_str());
            if !same_bin && self.target(newer, &page).await? != self.target(state, &page).await? {
                changed.push(project);
            }
        }
        Ok(changed)
    }

    /// Finishes what earlier commits left undone. Notes of commits that are still under way are left alone.
    pub(super) async fn finish_pending(&self, state: &State) -> Result<(), RepositoryError> {
        for entry in self.store.list(layout::PENDING_PAGES).await? {
            self.follow_note(state, &entry.path).await?;
        }
        Ok(())
    }

    /// The same for those notes that were `seen` at an earlier look. Returns the others.
    pub(super) async fn finish_abandoned(
        &self,
        state: &State,
        seen: &[StorePath],
    ) -> Result<Vec<StorePath>, RepositoryError> {
        let mut others = Vec::new();
        for entry in self.store.list(layout::PENDING_PAGES).await? {
            if seen.contains(&entry.path) {
                self.follow_note(state, &entry.path).await?;
            } else {
                others.push(entry.path);
            }
        }
        Ok(others)
    }

    /// Projects whose pages a later change will finish, because an earlier one did not come to its end.
    pub(super) async fn pending_projects(&self) -> Result<Vec<String>, RepositoryError> {
        let mut projects = Vec::new();
        for entry in self.store.list(layout::PENDING_PAGES).await? {
            let note = self.store.get(&entry.path, MAX_METADATA).await?;
            let note = note.and_then(|object| serde_json::from_slice::<Note>(&object.bytes).ok());
            projects.extend(note.into_iter().flat_map(|note| note.projects));
        }
        Ok(projects)
    }

    /// Finishes the pages of a commit, unless it is still to come, and removes its note.
    pub(super) async fn follow_note(&self, state: &State, at: &StorePath) -> Result<(), RepositoryError> {
        let Some(object) = self.store.get(at, MAX_METADATA).await? else { return Ok(()) };
        let Ok(note) = serde_json::from_slice::<Note>(&object.bytes) else {
            return Ok(self.store.delete(at).await?);
        };
        if note.snapshot > state.snapshot.common.version {
            return Ok(());
        }
        let names = note.projects.iter().filter_map(|name| ProjectName::from_normalised(name).ok());
        self.refresh_pages(state, names.collect()).await?;
        Ok(self.store.delete(at).await?)
    }

    /// Refreshes the pages of `projects`, and again those that another publisher changed meanwhile: its own refresh
    /// may have come before this one wrote what is old by now.
    async fn refresh_pages(&self, state: &State, projects: Vec<ProjectName>) -> Result<(), RepositoryError> {
        if projects.len() > FEW_PROJECTS {
            return self.show_many(state, projects, &Unwatched).await;
        }
        let (mut state, mut projects) = (state.clone(), projects);
        for _ in 0..MAX_ATTEMPTS {
            if projects.is_empty() {
                return Ok(());
            }
            for project in &projects {
                self.refresh_page(&state, project).await?;
            }
            let newer = self.state_after(Some(&state)).await?;
            projects = self.changed_pages(&state, &newer, projects).await?;
            state = newer;
        }
        Err(RepositoryError::Busy(MAX_ATTEMPTS))
    }

    /// Makes the unsigned page of a project what the signed one says.
    pub(super) async fn refresh_page(
        &self,
        state: &State,
        project: &ProjectName,
    ) -> Result<(), RepositoryError> {
        if let Some(page) = self.page(state, project).await? {
            self.write_page(&page).await?;
            self.list_projects(&[(project.clone(), true)]).await
        } else {
            self.list_projects(&[(project.clone(), false)]).await?;
            self.remove_page(project).await
        }
    }

    pub(super) async fn remove_page(&self, project: &ProjectName) -> Result<(), RepositoryError> {
        let [json, html] = page_files(project)?;
        self.store.delete(&html).await?;
        Ok(self.store.delete(&json).await?)
    }

    /// The signed page of a project.
    pub async fn page(
        &self,
        state: &State,
        project: &ProjectName,
    ) -> Result<Option<ProjectPage>, RepositoryError> {
        let target = layout::page(project)?;
        let Some(file) = self.target(state, &target).await? else { return Ok(None) };
        self.read_page(project, &target, &file).await.map(Some)
    }

    /// The page of a project, whose target is listed as `file`.
    pub(super) async fn read_page(
        &self,
        project: &ProjectName,
        target: &TargetPath,
        file: &TargetFile,
    ) -> Result<ProjectPage, RepositoryError> {
        let at = match file.hashes.sha256 {
            Some(digest) => layout::hashed(target, &digest)?,
            None => return Err(RepositoryError::Missing(format!("the SHA-256 of {target}"))),
        };
        let object = self.store.get(&at, MAX_METADATA).await?;
        let bytes = object.ok_or_else(|| RepositoryError::Missing(at.to_string()))?.bytes;
        let wrong = |mismatch| TrustError::WrongHash { role: target.to_string(), mismatch };
        file.hashes.check_bytes(&bytes).map_err(wrong)?;
        let page = ProjectPage::from_json(&bytes);
        page.map_err(|error| RepositoryError::Page { project: project.to_string(), error })
    }

    pub(super) async fn write_page(&self, page: &ProjectPage) -> Result<(), RepositoryError> {
        let paths = page_files(page.name())?;
        for _ in 0..MAX_ATTEMPTS {
            let old = self.store.get_all(&paths, MAX_METADATA).await?;
            if old.iter().flatten().any(|old| newer(&old.bytes, page.serial)) {
                return Ok(());
            }
            if self.swap_both(&paths, &[page.to_json(), page.to_html()], &old).await? {
                return Ok(());
            }
        }
        Err(RepositoryError::Busy(MAX_ATTEMPTS))
    }

    /// Adds projects to the list of all, or takes them out.
    pub(super) async fn list_projects(&self, changes: &[(ProjectName, bool)]) -> Result<(), RepositoryError> {
        let paths = list_files()?;
        for _ in 0..MAX_ATTEMPTS {
            let old = self.store.get_all(&paths, MAX_METADATA).await?;
            let new = list_with(old.first().and_then(Option::as_ref), changes);
            // Both are compared: a crash may have come between the two.
            let is = |(old, new): (&Option<Object>, &String)| {
                old.as_ref().is_some_and(|old| old.bytes == new.as_bytes())
            };
            if old.iter().zip(&new).all(is) || self.swap_both(&paths, &new, &old).await? {
                return Ok(());
            }
        }
        Err(RepositoryError::Busy(MAX_ATTEMPTS))
    }

    /// Swaps a JSON file and the HTML file that says the same; whether both were won.
    async fn swap_both(
        &self,
        paths: &[StorePath; 2],
        texts: &[String; 2],
        old: &[Option<Object>],
    ) -> Result<bool, RepositoryError> {
        let mut swaps = Vec::new();
        for ((path, text), old) in paths.iter().zip(texts).zip(old) {
            swaps.push(Swap { path, bytes: text.as_bytes(), expected: old.as_ref().map(|old| &old.tag) });
        }
        let mut all = true;
        for outcome in self.store.swap_all(&swaps).await {
            all &= won(outcome)?;
        }
        Ok(all)
    }
}

/// JSON and HTML of a project's page.
pub(super) fn page_files(project: &ProjectName) -> Result<[StorePath; 2], RepositoryError> {
    Ok([layout::simple(project, "index.json")?, layout::simple(project, "index.html")?])
}

/// JSON and HTML of the list of projects.
fn list_files() -> Result<[StorePath; 2], RepositoryError> {
    Ok([path(format!("{}/index.json", layout::SIMPLE))?, path(format!("{}/index.html", layout::SIMPLE))?])
}

/// The list of projects after some came and went, as JSON and as HTML. `old` is its JSON.
fn list_with(old: Option<&Object>, changes: &[(ProjectName, bool)]) -> [String; 2] {
    let mut names = old.map_or_else(Vec::new, |old| project_names(&old.bytes));
    for (project, listed) in changes {
        match (names.binary_search(project), listed) {
            (Err(at), true) => names.insert(at, project.clone()),
            (Ok(at), false) => drop(names.remove(at)),
            (Ok(_), true) | (Err(_), false) => {}
        }
    }
    [index_json(&names), index_html(&names)]
}

/// Where to write down which pages are to be refreshed once snapshot `version` is committed, and the text.
pub(super) fn note(
    projects: &[String],
    version: Version,
) -> Result<Option<(StorePath, Vec<u8>)>, RepositoryError> {
    if projects.is_empty() {
        return Ok(None);
    }
    let at = path(format!("{}/{}.json", layout::PENDING_PAGES, hex::encode(random::<12>()?)))?;
    let note = Note { snapshot: version, projects: projects.to_vec() };
    let text = serde_json::to_vec(&note).map_err(|e| RepositoryError::Plan(e.to_string()))?;
    Ok(Some((at, text)))
}

/// Whether a page is of a later commit. One that does not read is of none.
pub(super) fn newer(page: &[u8], serial: u64) -> bool {
    ProjectPage::from_json(page).is_ok_and(|page| page.serial > serial)
}

/// The names on the list of projects, sorted. A list that does not read counts as empty: it is made anew.
fn project_names(bytes: &[u8]) -> Vec<ProjectName> {
    let list = serde_json::from_slice::<ProjectList>(bytes).map_or_else(|_| Vec::new(), |list| list.projects);
    let mut names: Vec<_> =
        list.into_iter().filter_map(|listed| ProjectName::from_normalised(&listed.name).ok()).collect();
    names.sort();
    names.dedup();
    names
}

/// Whether a swap was won; losing is no error.
pub(super) fn won<T>(swapped: Result<T, StoreError>) -> Result<bool, RepositoryError> {
    match swapped {
        Ok(_) => Ok(true),
        Err(StoreError::Conflict { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
