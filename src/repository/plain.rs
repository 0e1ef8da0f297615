//! What plain pip reads, held against what is signed, and made good: copies of files under their plain names, and the
//! pages in `simple/`. Nothing of it is signed, so only the admin can tell that it was changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::bins::in_order;
use super::check::Problem;
use super::init::bin_names;
use super::state::State;
use super::{MAX_METADATA, Progress, Repository, RepositoryError, layout};
use crate::python::ProjectName;
use crate::store::{Content, StorePath};
use crate::tuf::metadata::TargetFile;
use crate::tuf::path::{RoleName, TargetPath};

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
        let pending: BTreeSet<String> = match repair {
            Repair::No => self.pending_projects().await?.into_iter().collect(),
            Repair::Yes => BTreeSet::new(),
        };
        let mut names = bin_names(&state.bins)?;
        names.extend(self.all_owned(&state).await?.into_iter().map(|owned| owned.role));
        let total = u64::try_from(names.len()).unwrap_or(u64::MAX);
        let shared = (self.clone(), Arc::new((state, pending)));
        let look = move |name: RoleName| {
            let (repository, shared) = shared.clone();
            async move { repository.plain_bin(&shared.0, &shared.1, &name, repair).await }
        };
        let (mut problems, mut done) = (Vec::new(), 0);
        in_order(names, look, |found| {
            done += 1;
            progress.at("comparing plain copies", done, total);
            problems.extend(found);
            Ok(())
        })
        .await?;
        Ok(problems)
    }

    async fn plain_bin(
        &self,
        state: &State,
        pending: &BTreeSet<String>,
        name: &RoleName,
        repair: Repair,
    ) -> Result<Vec<Problem>, RepositoryError> {
        let mut problems = Vec::new();
        let role = match self.owned_role(state, name).await? {
            Some(owned) => state.project(self.store(), &owned).await?,
            None => state.bin(self.store(), name).await?,
        };
        for (target, file) in &role.targets {
            let target = TargetPath::new(target)?;
            if project_of(&target).is_some_and(|project| pending.contains(project)) {
                continue;
            }
            problems.extend(self.plain_target(state, &target, file, repair).await?);
        }
        Ok(problems)
    }

    /// Compares what plain pip reads of one target, and makes it good if asked to.
    pub(super) async fn plain_target(
        &self,
        state: &State,
        target: &TargetPath,
        file: &TargetFile,
        repair: Repair,
    ) -> Result<Option<Problem>, RepositoryError> {
        if self.plain_matches(target, file).await? {
            return Ok(None);
        }
        let Some(Ok(project)) = project_of(target).map(ProjectName::from_normalised) else {
            if repair == Repair::Yes {
                self.repair_plain_file(target, file).await?;
            }
            return Ok(Some(differs(layout::plain(target)?.to_string())));
        };
        if repair == Repair::Yes {
            // Removed first: a page with a made-up serial would pass for a newer one.
            self.store.delete(&layout::simple(&project, "index.json")?).await?;
            self.store.delete(&layout::simple(&project, "index.html")?).await?;
            self.refresh_page(state, &project).await?;
        }
        Ok(Some(differs(format!("{}/{project}/", layout::SIMPLE))))
    }

    /// Whether what plain pip reads of a target is what was signed: a copy under the plain name, or the pages that say
    /// what the signed page says.
    pub(super) async fn plain_matches(
        &self,
        target: &TargetPath,
        file: &TargetFile,
    ) -> Result<bool, RepositoryError> {
        let Some(digest) = file.hashes.sha256 else { return Ok(true) };
        let Some(Ok(project)) = project_of(target).map(ProjectName::from_normalised) else {
            return Ok(self.hash_if_stored(&layout::plain(target)?).await? == Some((digest, file.length)));
        };
        let page = self.read_page(&project, target, file).await?;
        let (json, html) = (layout::simple(&project, "index.json")?, layout::simple(&project, "index.html")?);
        // Word for word what was signed, also by an earlier version of this program, or as this one writes it.
        let same = self.hash_if_stored(&json).await? == Some((digest, file.length))
            || self.holds(&json, page.to_json().as_bytes()).await?;
        Ok(same && self.holds(&html, page.to_html().as_bytes()).await?)
    }

    /// A plain copy made anew from the hashed file, if that is as signed.
    pub(super) async fn repair_plain_file(
        &self,
        target: &TargetPath,
        file: &TargetFile,
    ) -> Result<(), RepositoryError> {
        let (plain, Some(digest)) = (layout::plain(target)?, file.hashes.sha256) else { return Ok(()) };
        let hashed = layout::hashed(target, &digest)?;
        if self.hash_if_stored(&hashed).await? == Some((digest, file.length)) {
            self.store.delete(&plain).await?;
            self.store.create(&plain, Content::Copy(&hashed)).await?;
        }
        Ok(())
    }

    pub(super) async fn holds(&self, at: &StorePath, bytes: &[u8]) -> Result<bool, RepositoryError> {
        Ok(self.store.get(at, MAX_METADATA).await?.is_some_and(|object| object.bytes == bytes))
    }
}

/// The project whose page a target is.
pub(super) fn project_of(target: &TargetPath) -> Option<&str> {
    target.as_str().strip_prefix("simple/").and_then(|rest| rest.strip_suffix("/index.json"))
}

fn differs(subject: String) -> Problem {
    Problem { subject, what: "what plain pip reads is not what was signed".to_owned(), expired: false }
}
