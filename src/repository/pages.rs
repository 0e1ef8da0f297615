//! The unsigned copies of project pages, for installers that know no TUF.
//!
//! They follow the signed pages: written after the commit, from what was committed. A note in `staging/pages/` is
//! written before the commit and removed when the pages are done, so that a crash in between is made good by the
//! next change. A page carries the snapshot version it belongs to as its serial, and never goes back to an older one.

use serde::{Deserialize, Serialize};

use super::plan::PlannedPage;
use super::state::State;
use super::{MAX_ATTEMPTS, MAX_METADATA, Repository, RepositoryError, layout, path};
use crate::crypto::random;
use crate::python::{ProjectName, ProjectPage, index_html, index_json};
use crate::store::{Object, StoreError, StorePath, Swap};
use crate::tuf::metadata::{TargetFile, Version};
use crate::tuf::path::TargetPath;
use crate::tuf::trusted::TrustError;

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

impl Repository {
    /// After a commit: writes the pages it changed, and removes its notes. If others committed meanwhile, what they
    /// changed of the same pages is written instead.
    pub(super) async fn show_pages(
        &self,
        state: &State,
        pages: &[(PlannedPage, String)],
        notes: &[StorePath],
    ) -> Result<(), RepositoryError> {
        for (planned, _) in self.write_pages(pages).await? {
            self.write_page(&planned.page).await?;
        }
        let emptied = |planned: &PlannedPage| planned.page.files().is_empty();
        let moved = pages.iter().map(|(planned, _)| planned);
        let moved = moved.filter(|planned| emptied(planned) == planned.existed);
        let listed: Vec<_> = moved.map(|planned| (planned.page.name().clone(), !emptied(planned))).collect();
        self.list_projects(&listed).await?;
        for (planned, _) in pages.iter().filter(|(planned, _)| emptied(planned)) {
            self.remove_page(planned.page.name()).await?;
        }
        if self.tag().await?.as_ref() != Some(&state.tag) {
            let names = pages.iter().map(|(planned, _)| planned.page.name().clone()).collect();
            self.refresh_pages(&self.state_after(Some(state)).await?, names).await?;
        }
        for note in notes {
            self.store.delete(note).await?;
        }
        Ok(())
    }

    /// Writes pages together. Returns those that somebody else wrote at the same time, or wrote later ones of before.
    async fn write_pages<'a>(
        &self,
        pages: &'a [(PlannedPage, String)],
    ) -> Result<Vec<&'a (PlannedPage, String)>, RepositoryError> {
        let mut files = Vec::new();
        for page in pages.iter().filter(|(planned, _)| !planned.page.files().is_empty()) {
            let (planned, json) = page;
            for (file, text) in [("index.json", json.clone()), ("index.html", planned.page.to_html())] {
                let at = layout::simple(planned.page.name(), file)?;
                let old = if planned.existed { self.store.get(&at, MAX_METADATA).await? } else { None };
                files.push((page, at, text, old));
            }
        }
        let mut swaps = Vec::new();
        let mut others: Vec<&(PlannedPage, String)> = Vec::new();
        for (page, at, text, old) in &files {
            if old.as_ref().is_some_and(|old| newer(&old.bytes, page.0.page.serial)) {
                others.push(page);
            } else {
                let expected = old.as_ref().map(|old| &old.tag);
                swaps.push((*page, Swap { path: at, bytes: text.as_bytes(), expected }));
            }
        }
        let wanted: Vec<Swap<'_>> = swaps.iter().map(|(_, swap)| *swap).collect();
        for ((page, _), outcome) in swaps.iter().zip(self.store.swap_all(&wanted).await) {
            if !won(outcome)? {
                others.push(page);
            }
        }
        Ok(others)
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
        let (mut state, mut projects) = (state.clone(), projects);
        for _ in 0..MAX_ATTEMPTS {
            for project in &projects {
                self.refresh_page(&state, project).await?;
            }
            let newer = self.state().await?;
            let mut changed = Vec::new();
            for project in projects {
                let page = layout::page(&project)?;
                if self.target(&newer, &page).await? != self.target(&state, &page).await? {
                    changed.push(project);
                }
            }
            if changed.is_empty() {
                return Ok(());
            }
            (state, projects) = (newer, changed);
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

    async fn remove_page(&self, project: &ProjectName) -> Result<(), RepositoryError> {
        self.store.delete(&layout::simple(project, "index.html")?).await?;
        Ok(self.store.delete(&layout::simple(project, "index.json")?).await?)
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

    async fn write_page(&self, page: &ProjectPage) -> Result<(), RepositoryError> {
        let (json, html) =
            (layout::simple(page.name(), "index.json")?, layout::simple(page.name(), "index.html")?);
        for _ in 0..MAX_ATTEMPTS {
            let old_html = self.store.get(&html, MAX_METADATA).await?;
            let old_json = self.store.get(&json, MAX_METADATA).await?;
            if old_json.as_ref().is_some_and(|old| newer(&old.bytes, page.serial)) {
                return Ok(());
            }
            let (json_tag, html_tag) = (old_json.map(|old| old.tag), old_html.map(|old| old.tag));
            if won(self.store.swap(&json, page.to_json().as_bytes(), json_tag.as_ref()).await)?
                && won(self.store.swap(&html, page.to_html().as_bytes(), html_tag.as_ref()).await)?
            {
                return Ok(());
            }
        }
        Err(RepositoryError::Busy(MAX_ATTEMPTS))
    }

    /// Adds projects to the list of all, or takes them out.
    async fn list_projects(&self, changes: &[(ProjectName, bool)]) -> Result<(), RepositoryError> {
        if changes.is_empty() {
            return Ok(());
        }
        let json = path(format!("{}/index.json", layout::SIMPLE))?;
        let html = path(format!("{}/index.html", layout::SIMPLE))?;
        for _ in 0..MAX_ATTEMPTS {
            let old_html = self.store.get(&html, MAX_METADATA).await?;
            let old_json = self.store.get(&json, MAX_METADATA).await?;
            let mut names = old_json.as_ref().map_or_else(Vec::new, |old| project_names(&old.bytes));
            for (project, listed) in changes {
                match (names.binary_search(project), listed) {
                    (Err(at), true) => names.insert(at, project.clone()),
                    (Ok(at), false) => drop(names.remove(at)),
                    (Ok(_), true) | (Err(_), false) => {}
                }
            }
            // Both are compared: a crash may have come between the two.
            let (new_json, new_html) = (index_json(&names), index_html(&names));
            let is =
                |old: &Option<Object>, new: &str| old.as_ref().is_some_and(|old| old.bytes == new.as_bytes());
            if is(&old_json, &new_json) && is(&old_html, &new_html) {
                return Ok(());
            }
            let (json_tag, html_tag) = (old_json.map(|old| old.tag), old_html.map(|old| old.tag));
            if won(self.store.swap(&json, new_json.as_bytes(), json_tag.as_ref()).await)?
                && won(self.store.swap(&html, new_html.as_bytes(), html_tag.as_ref()).await)?
            {
                return Ok(());
            }
        }
        Err(RepositoryError::Busy(MAX_ATTEMPTS))
    }
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
fn newer(page: &[u8], serial: u64) -> bool {
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
fn won<T>(swapped: Result<T, StoreError>) -> Result<bool, RepositoryError> {
    match swapped {
        Ok(_) => Ok(true),
        Err(StoreError::Conflict { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
