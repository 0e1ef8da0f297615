//! Whether a file is what it should be; and making it so, from what else is there.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::want::{Kind, Wanted};
use super::{Finding, Look, Part};
use crate::python::{ProjectName, index_html, index_json};
use crate::repository::bins::in_order;
use crate::repository::plain::{Repair, project_of};
use crate::repository::state::State;
use crate::repository::{MAX_METADATA, Repository, RepositoryError, layout, path};
use crate::store::{Content, StoreError, StorePath};
use crate::tuf::metadata::TargetFile;
use crate::tuf::path::TargetPath;

fn finding(wanted: &Wanted, what: String, repaired: bool) -> Finding {
    let (path, part, superseded) = (wanted.at.to_string(), wanted.part(), !wanted.current);
    Finding::Bad { path, part, what, superseded, repaired }
}

impl Repository {
    /// Files that seem wrong, with what is wrong with them, of those of which the length that was found is given.
    pub(super) async fn suspects(
        &self,
        files: impl Iterator<Item = (Wanted, Option<u64>)> + Send,
        look: Look,
    ) -> Result<Vec<(Wanted, String)>, RepositoryError> {
        let (mut suspects, mut unread) = (Vec::new(), Vec::new());
        for (wanted, found) in files {
            match (found, wanted.len()) {
                (None, _) => suspects.push((wanted, "is missing".to_owned())),
                (Some(found), Some(len)) if found != len => {
                    suspects.push((wanted, format!("has {found} bytes, signed are {len}")));
                }
                _ if look == Look::Hash => unread.push(wanted),
                _ => {}
            }
        }
        let repository = self.clone();
        let work = move |wanted: Wanted| {
            let repository = repository.clone();
            async move { Ok(repository.altered(&wanted).await?.map(|what| (wanted, what))) }
        };
        in_order(unread, work, |suspect| {
            suspects.extend(suspect);
            Ok(())
        })
        .await?;
        Ok(suspects)
    }

    /// Those that are wrong by what is signed now as well, and not because somebody published since this began, or did
    /// not come to the end of it. `pending` are the projects whose pages a later change will finish.
    pub(super) async fn still_suspect(
        &self,
        state: &State,
        pending: &BTreeSet<String>,
        suspects: Vec<(Wanted, String)>,
    ) -> Result<Vec<(Wanted, String)>, RepositoryError> {
        if suspects.is_empty() {
            return Ok(suspects);
        }
        let newer = self.state_after(Some(state)).await?;
        let mut still = Vec::new();
        for (wanted, what) in suspects {
            if !self.is_settled(state, &newer, pending, &wanted).await? {
                still.push((wanted, what));
            }
        }
        Ok(still)
    }

    /// Makes them good if asked to, and says of each what was wrong.
    pub(super) async fn sentence(
        &self,
        state: &Arc<State>,
        suspects: Vec<(Wanted, String)>,
        repair: Repair,
        mut tell: impl FnMut(&Finding),
    ) -> Result<(), RepositoryError> {
        if repair == Repair::No {
            for (wanted, what) in suspects {
                tell(&finding(&wanted, what, false));
            }
            return Ok(());
        }
        let (repository, shared) = (self.clone(), Arc::clone(state));
        let work = move |(wanted, what): (Wanted, String)| {
            let (repository, state) = (repository.clone(), Arc::clone(&shared));
            async move {
                let repaired = repository.mend(&state, &wanted).await?;
                Ok(finding(&wanted, what, repaired))
            }
        };
        in_order(suspects, work, |finding| {
            tell(&finding);
            Ok(())
        })
        .await
    }

    /// What is wrong with the bytes of a file.
    async fn altered(&self, wanted: &Wanted) -> Result<Option<String>, RepositoryError> {
        match &wanted.kind {
            Kind::Metadata | Kind::List => Ok(None),
            Kind::Hashed(_, file) => Ok(self.measure(&wanted.at, file).await?.err()),
            Kind::Plain(target, file) => {
                let Some(digest) = &file.hashes.sha256 else { return Ok(None) };
                // The other name of the same file is looked at for itself.
                if self.store.same(&wanted.at, &layout::hashed(target, digest)?).await? {
                    return Ok(None);
                }
                Ok(self.measure(&wanted.at, file).await?.err())
            }
            Kind::PageJson(target, file) | Kind::PageHtml(target, file) => {
                let Some(text) = self.page_text(wanted, target, file).await? else { return Ok(None) };
                let same = self.holds(&wanted.at, text.as_bytes()).await?;
                Ok((!same).then(|| "does not say what the signed page says".to_owned()))
            }
        }
    }

    /// What an unsigned page should say; `None` if the signed one is bad, which is a finding of its own.
    async fn page_text(
        &self,
        wanted: &Wanted,
        target: &TargetPath,
        file: &TargetFile,
    ) -> Result<Option<String>, RepositoryError> {
        let Some(Ok(project)) = project_of(target).map(ProjectName::from_normalised) else { return Ok(None) };
        let page = match self.read_page(&project, target, file).await {
            Ok(page) => page,
            Err(RepositoryError::Missing(_) | RepositoryError::Trust(_) | RepositoryError::Page { .. }) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let html = matches!(wanted.kind, Kind::PageHtml(..));
        Ok(Some(if html { page.to_html() } else { page.to_json() }))
    }

    async fn is_settled(
        &self,
        state: &State,
        newer: &State,
        pending: &BTreeSet<String>,
        wanted: &Wanted,
    ) -> Result<bool, RepositoryError> {
        let (Kind::Hashed(target, file)
        | Kind::Plain(target, file)
        | Kind::PageJson(target, file)
        | Kind::PageHtml(target, file)) = &wanted.kind
        else {
            return Ok(false);
        };
        let unsigned = wanted.part() == Part::Page;
        if unsigned && project_of(target).is_some_and(|project| pending.contains(project)) {
            return Ok(true);
        }
        if !wanted.current || newer.tag == state.tag {
            return Ok(false);
        }
        // Whoever changed it since has also written it anew, or will.
        let now = self.target(newer, target).await?;
        Ok(now.is_none_or(|now| now.hashes.sha256 != file.hashes.sha256))
    }

    /// Makes a file good from what else is there; whether that went well.
    async fn mend(&self, state: &State, wanted: &Wanted) -> Result<bool, RepositoryError> {
        match &wanted.kind {
            Kind::Metadata | Kind::List => Ok(false),
            Kind::Hashed(target, file) => self.mend_hashed(&wanted.at, target, file).await,
            Kind::Plain(target, file) => {
                self.repair_plain_file(target, file).await?;
                self.plain_matches(target, file).await
            }
            Kind::PageJson(target, file) | Kind::PageHtml(target, file) => {
                if self.page_text(wanted, target, file).await?.is_none() {
                    return Ok(false);
                }
                self.plain_target(state, target, file, Repair::Yes).await?;
                self.plain_matches(target, file).await
            }
        }
    }

    /// A hashed file from its plain copy, or a signed page from the unsigned one, if that has the right hash.
    async fn mend_hashed(
        &self,
        at: &StorePath,
        target: &TargetPath,
        file: &TargetFile,
    ) -> Result<bool, RepositoryError> {
        let copy = match project_of(target).map(ProjectName::from_normalised) {
            Some(Ok(project)) => layout::simple(&project, "index.json")?,
            _ => layout::plain(target)?,
        };
        if self.measure(&copy, file).await?.is_err() {
            return Ok(false);
        }
        self.store.delete(at).await?;
        match self.store.create(at, Content::Copy(&copy)).await {
            Ok(()) | Err(StoreError::Exists { .. }) => Ok(self.measure(at, file).await?.is_ok()),
            Err(error) => Err(error.into()),
        }
    }

    /// The two lists of all projects, if nobody published meanwhile, or did not come to the end of it.
    pub(super) async fn judge_lists(
        &self,
        state: &State,
        projects: &[String],
        repair: Repair,
    ) -> Result<Vec<Finding>, RepositoryError> {
        let unfinished = !self.pending_projects().await?.is_empty();
        if unfinished || projects.is_empty() || self.tag().await?.as_ref() != Some(&state.tag) {
            return Ok(Vec::new());
        }
        let mut findings = Vec::new();
        for (file, text) in lists_of(projects) {
            let at = path(format!("{}/{file}", layout::SIMPLE))?;
            let found = self.store.get(&at, MAX_METADATA).await?;
            let what = match &found {
                None => "is missing",
                Some(found) if found.bytes != text.as_bytes() => {
                    "does not list the projects that have a signed page"
                }
                Some(_) => continue,
            };
            let tag = found.as_ref().map(|found| &found.tag);
            let repaired = repair == Repair::Yes && self.store.swap(&at, text.as_bytes(), tag).await.is_ok();
            findings.push(Finding::Bad {
                path: at.to_string(),
                part: Part::Page,
                what: what.to_owned(),
                superseded: false,
                repaired,
            });
        }
        Ok(findings)
    }
}

/// The lists of all projects, by file name.
pub(in crate::repository) fn lists_of(projects: &[String]) -> [(&'static str, String); 2] {
    let names = projects.iter().filter_map(|name| ProjectName::from_normalised(name).ok());
    let mut names: Vec<ProjectName> = names.collect();
    names.sort();
    names.dedup();
    [("index.json", index_json(&names)), ("index.html", index_html(&names))]
}
