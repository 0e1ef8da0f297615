//! The unsigned copies of project pages, for installers that know no TUF.
//!
//! They follow the signed pages: written after the commit, from what was committed. A note in `staging/pages/` is
//! written before the commit and removed when the pages are done, so that a crash in between is made good by the
//! next change. A page carries the snapshot version it belongs to as its serial, and never goes back to an older one.

use serde::{Deserialize, Serialize};

use super::state::State;
use super::{MAX_ATTEMPTS, MAX_METADATA, Repository, RepositoryError, layout, path};
use crate::crypto::random;
use crate::python::{ProjectName, ProjectPage, index_html, index_json};
use crate::store::{Content, Object, StoreError, StorePath};
use crate::tuf::metadata::Version;
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
    /// Writes down which pages are to be refreshed after the commit.
    pub(super) async fn note_pages(
        &self,
        projects: &[String],
        snapshot: Version,
    ) -> Result<Option<StorePath>, RepositoryError> {
        if projects.is_empty() {
            return Ok(None);
        }
        let at = path(format!("{}/{}.json", layout::PENDING_PAGES, hex::encode(random::<12>()?)))?;
        let note = Note { snapshot, projects: projects.to_vec() };
        let text = serde_json::to_vec(&note).map_err(|e| RepositoryError::Plan(e.to_string()))?;
        self.store.create(&at, Content::Bytes(&text)).await?;
        Ok(Some(at))
    }

    /// Refreshes the pages of a note, and removes it. Without a note, nothing.
    pub(super) async fn finish_pages(&self, note: Option<StorePath>) -> Result<(), RepositoryError> {
        let Some(at) = note else { return Ok(()) };
        let state = self.state().await?;
        self.follow_note(&state, &at).await
    }

    /// Finishes what earlier commits left undone. Notes of commits that are still under way are left alone.
    pub(super) async fn finish_pending(&self, state: &State) -> Result<(), RepositoryError> {
        for entry in self.store.list(layout::PENDING_PAGES).await? {
            self.follow_note(state, &entry.path).await?;
        }
        Ok(())
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

    async fn follow_note(&self, state: &State, at: &StorePath) -> Result<(), RepositoryError> {
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
            self.list_project(project, true).await
        } else {
            self.list_project(project, false).await?;
            self.store.delete(&layout::simple(project, "index.html")?).await?;
            Ok(self.store.delete(&layout::simple(project, "index.json")?).await?)
        }
    }

    /// The signed page of a project.
    pub async fn page(
        &self,
        state: &State,
        project: &ProjectName,
    ) -> Result<Option<ProjectPage>, RepositoryError> {
        let target = layout::page(project)?;
        let Some(file) = self.target(state, &target).await? else { return Ok(None) };
        let at = match file.hashes.sha256 {
            Some(digest) => layout::hashed(&target, &digest)?,
            None => return Err(RepositoryError::Missing(format!("the SHA-256 of {target}"))),
        };
        let object = self.store.get(&at, MAX_METADATA).await?;
        let bytes = object.ok_or_else(|| RepositoryError::Missing(at.to_string()))?.bytes;
        let wrong = |mismatch| TrustError::WrongHash { role: target.to_string(), mismatch };
        file.hashes.check_bytes(&bytes).map_err(wrong)?;
        let page = ProjectPage::from_json(&bytes);
        page.map(Some).map_err(|error| RepositoryError::Page { project: project.to_string(), error })
    }

    async fn write_page(&self, page: &ProjectPage) -> Result<(), RepositoryError> {
        let (json, html) =
            (layout::simple(page.name(), "index.json")?, layout::simple(page.name(), "index.html")?);
        for _ in 0..MAX_ATTEMPTS {
            let old_html = self.store.get(&html, MAX_METADATA).await?;
            let old_json = self.store.get(&json, MAX_METADATA).await?;
            let newer = old_json.as_ref().and_then(|old| ProjectPage::from_json(&old.bytes).ok());
            if newer.is_some_and(|newer| newer.serial > page.serial) {
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

    /// Adds a project to the list of all, or takes it out.
    async fn list_project(&self, project: &ProjectName, listed: bool) -> Result<(), RepositoryError> {
        let json = path(format!("{}/index.json", layout::SIMPLE))?;
        let html = path(format!("{}/index.html", layout::SIMPLE))?;
        for _ in 0..MAX_ATTEMPTS {
            let old_html = self.store.get(&html, MAX_METADATA).await?;
            let old_json = self.store.get(&json, MAX_METADATA).await?;
            let mut names = old_json.as_ref().map_or_else(Vec::new, |old| project_names(&old.bytes));
            match (names.binary_search(project), listed) {
                (Err(at), true) => names.insert(at, project.clone()),
                (Ok(at), false) => drop(names.remove(at)),
                (Ok(_), true) | (Err(_), false) => {}
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
