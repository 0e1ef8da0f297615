//! What plain pip reads, held against what is signed, and made good: copies of files under their plain names, and the
//! pages in `simple/`. Nothing of it is signed, so only the admin can tell that it was changed.

use super::check::Problem;
use super::init::bin_names;
use super::state::State;
use super::{MAX_METADATA, Progress, Repository, RepositoryError, layout};
use crate::python::ProjectName;
use crate::store::{Content, StorePath};
use crate::tuf::metadata::TargetFile;
use crate::tuf::path::TargetPath;

/// What to do about something that is not as signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Tell.
    No,
    /// Make it what was signed, and tell.
    Yes,
}

impl Repository {
    /// Compares all unsigned copies with what was signed. Returns those that differ, or differed. Pages that a crash
    /// left behind their commit count as differing only if they are to be repaired: the next change finishes them.
    pub async fn check_plain(
        &self,
        repair: Repair,
        progress: &dyn Progress,
    ) -> Result<Vec<Problem>, RepositoryError> {
        let state = self.state().await?;
        let names = bin_names(&state.bins)?;
        let total = u64::try_from(names.len()).unwrap_or(u64::MAX);
        let pending = match repair {
            Repair::No => self.pending_projects().await?,
            Repair::Yes => Vec::new(),
        };
        let mut problems = Vec::new();
        for (done, name) in (1..).zip(&names) {
            let bin = state.bin(self.store(), name).await?;
            for (target, file) in &bin.targets {
                let target = TargetPath::new(target)?;
                if project_of(&target).is_some_and(|project| pending.iter().any(|name| name == project)) {
                    continue;
                }
                problems.extend(self.plain_target(&state, &target, file, repair).await?);
            }
            progress.at("comparing plain copies", done, total);
        }
        Ok(problems)
    }

    async fn plain_target(
        &self,
        state: &State,
        target: &TargetPath,
        file: &TargetFile,
        repair: Repair,
    ) -> Result<Option<Problem>, RepositoryError> {
        match project_of(target).map(ProjectName::from_normalised) {
            Some(Ok(project)) => self.plain_page(state, &project, repair).await,
            _ => self.plain_file(target, file, repair).await,
        }
    }

    async fn plain_page(
        &self,
        state: &State,
        project: &ProjectName,
        repair: Repair,
    ) -> Result<Option<Problem>, RepositoryError> {
        let Some(page) = self.page(state, project).await? else { return Ok(None) };
        let (json, html) = (layout::simple(project, "index.json")?, layout::simple(project, "index.html")?);
        let same = self.holds(&json, page.to_json().as_bytes()).await?
            && self.holds(&html, page.to_html().as_bytes()).await?;
        if same {
            return Ok(None);
        }
        if repair == Repair::Yes {
            // Removed first: a page with a made-up serial would pass for a newer one.
            self.store.delete(&json).await?;
            self.store.delete(&html).await?;
            self.refresh_page(state, project).await?;
        }
        Ok(Some(differs(format!("{}/{project}/", layout::SIMPLE))))
    }

    async fn plain_file(
        &self,
        target: &TargetPath,
        file: &TargetFile,
        repair: Repair,
    ) -> Result<Option<Problem>, RepositoryError> {
        let (plain, Some(digest)) = (layout::plain(target)?, file.hashes.sha256) else { return Ok(None) };
        let there = self.store.open(&plain).await?.is_some();
        if there && self.hash_stored(&plain).await? == (digest, file.length) {
            return Ok(None);
        }
        let hashed = layout::hashed(target, &digest)?;
        if repair == Repair::Yes && self.hash_stored(&hashed).await? == (digest, file.length) {
            self.store.delete(&plain).await?;
            self.store.create(&plain, Content::Copy(&hashed)).await?;
        }
        Ok(Some(differs(plain.to_string())))
    }

    async fn holds(&self, at: &StorePath, bytes: &[u8]) -> Result<bool, RepositoryError> {
        Ok(self.store.get(at, MAX_METADATA).await?.is_some_and(|object| object.bytes == bytes))
    }
}

/// The project whose page a target is.
fn project_of(target: &TargetPath) -> Option<&str> {
    target.as_str().strip_prefix("simple/").and_then(|rest| rest.strip_suffix("/index.json"))
}

fn differs(subject: String) -> Problem {
    Problem { subject, what: "what plain pip reads is not what was signed".to_owned(), expired: false }
}
