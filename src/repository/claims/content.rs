//! A project's role and its page: made by its maintainers, and judged before it is published. Pure.
//!
//! The page is a target like the files it lists, so that who holds the index's keys can neither add a file to it nor
//! hide one. Role and page must say the same, and nothing else.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::python::{PageFile, ProjectName, ProjectPage};
use crate::repository::edit::{
    apply, companion_of, describe, entries, expected_url, metadata_of, provenance_of,
};
use crate::repository::{Edit, RepositoryError, days_after, layout};
use crate::tuf::metadata::{Common, Extra, Hashes, Table, TargetFile, Targets, Version};
use crate::tuf::path::TargetPath;
use crate::tuf::signed::Draft;

/// What is published of a project: its page, and what is signed of each of its targets.
#[derive(Debug, Clone, Default)]
pub struct Base {
    /// The version of its role; that of the last one, if it has none any more.
    pub version: Version,
    /// Its page, if it has files.
    pub page: Option<ProjectPage>,
    /// Its targets, without the page.
    pub targets: BTreeMap<String, TargetFile>,
}

/// The next role of a project, and its page.
#[derive(Debug)]
pub struct Next {
    /// To be signed.
    pub role: Draft<Targets>,
    /// Its page, if it has files.
    pub page: Option<String>,
    /// File names that change something.
    pub changed: Vec<String>,
}

impl Base {
    /// What follows when `edits` are applied. `serial` is that of the page: the next snapshot's version.
    pub fn next(
        &self,
        project: &ProjectName,
        edits: &[Edit],
        serial: u64,
        days: u32,
        now: DateTime<Utc>,
    ) -> Result<Next, RepositoryError> {
        let mut page = self.page.clone().unwrap_or_else(|| ProjectPage::new(project.clone(), serial));
        let (mut targets, mut changed) = (self.targets.clone(), Vec::new());
        for edit in edits {
            if edit.filename().project() != project {
                let (file, owner) = (edit.filename(), edit.filename().project());
                return Err(RepositoryError::Plan(format!("{file} belongs to {owner}, not to {project}")));
            }
            let before = page.file(edit.filename().as_str()).cloned();
            if !apply(&mut page, edit, now)? {
                continue;
            }
            changed.push(edit.filename().to_string());
            for (target, file) in entries(edit, before.as_ref())? {
                match file {
                    Some(file) => drop(targets.insert(target.to_string(), file)),
                    None => drop(targets.remove(target.as_str())),
                }
            }
        }
        page.serial = serial.max(page.serial.saturating_add(1));
        let page = (!page.files().is_empty()).then(|| page.to_json());
        let mut content = Targets {
            common: Common::new(self.version.saturating_add(1), days_after(now, days)),
            targets: Table::new(),
            delegations: None,
        };
        content.targets.extend(targets);
        if let Some(page) = &page {
            content.targets.insert(layout::page_path(project), describe(page.as_bytes()));
        }
        Ok(Next { role: Draft::new(content), page, changed })
    }

    /// The base without some files, which must be on the page.
    pub fn without<'a>(
        mut self,
        files: impl IntoIterator<Item = &'a String>,
    ) -> Result<Self, RepositoryError> {
        for file in files {
            let removed = self.page.as_mut().is_some_and(|page| page.remove(file));
            if !removed {
                return Err(RepositoryError::NotPublished(file.clone()));
            }
            self.targets.retain(|target, _| {
                let name = target.rsplit('/').next().unwrap_or(target);
                name != file && companion_of(name) != Some(file)
            });
        }
        Ok(self)
    }
}

/// Whether a role and its page are what this program makes of one another: the page, each file it lists, metadata and
/// provenance of these, and nothing else. Returns the page.
pub(crate) fn judged(
    project: &ProjectName,
    role: &Targets,
    page: Option<&str>,
) -> Result<Option<ProjectPage>, RepositoryError> {
    let wrong = |what: String| Err(RepositoryError::Plan(format!("the role of {project} {what}")));
    if role.delegations.is_some() {
        return wrong("delegates to others".to_owned());
    }
    let Some(text) = page else {
        return if role.targets.is_empty() { Ok(None) } else { wrong("has files and no page".to_owned()) };
    };
    let page = ProjectPage::from_json(text.as_bytes())
        .map_err(|error| RepositoryError::Page { project: project.to_string(), error })?;
    if page.name() != project || page.to_json() != text || page.files().is_empty() {
        return wrong("has a page that wheelseal would not write".to_owned());
    }
    let mut expected = BTreeMap::from([(layout::page_path(project), describe(text.as_bytes()))]);
    for file in page.files() {
        expected.extend(targets_of(project, file, role)?);
    }
    let same = |name: &str, file: &TargetFile| {
        let said = expected.get(name);
        said.is_some_and(|said| said.length == file.length && said.hashes.sha256 == file.hashes.sha256)
    };
    if let Some((name, _)) = role.targets.iter().find(|(name, file)| !same(name, file)) {
        return wrong(format!("lists {name}, and its page does not say the same"));
    }
    match expected.keys().find(|name| !role.targets.contains_key(name)) {
        Some(name) => wrong(format!("does not list {name}, which its page needs")),
        None => Ok(Some(page)),
    }
}

/// The targets that a file on a page needs. How long its metadata and provenance are, only the role says.
fn targets_of(
    project: &ProjectName,
    file: &PageFile,
    role: &Targets,
) -> Result<Vec<(String, TargetFile)>, RepositoryError> {
    let target = layout::distribution(project, file.filename.as_str())?;
    let odd = |what| RepositoryError::Plan(format!("the page of {project} has {} {what}", file.filename));
    if file.filename.project() != project {
        return Err(odd("of another project"));
    }
    if file.url != expected_url(&file.filename)? {
        return Err(odd("at a place of its own"));
    }
    let entry = |target: &TargetPath, sha256: &str, length| {
        let digest = hex::decode(sha256).ok().and_then(|digest| digest.try_into().ok()).unwrap_or_default();
        (target.to_string(), TargetFile { length, hashes: Hashes::sha256(digest), extra: Extra::new() })
    };
    let mut targets = vec![entry(&target, file.sha256.as_str(), file.size)];
    let beside = [
        (metadata_of(&target)?, &file.core_metadata_sha256),
        (provenance_of(&target)?, &file.provenance_sha256),
    ];
    for (target, sha256) in beside {
        let Some(sha256) = sha256 else { continue };
        let length = role.targets.get(target.as_str()).map_or(0, |file| file.length);
        targets.push(entry(&target, sha256.as_str(), length));
    }
    Ok(targets)
}
