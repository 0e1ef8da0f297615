//! What the bins list goes back to what the good state says; the rest is named, for others to sign.
//!
//! - A target that was changed or removed comes back if its bytes are there, with the good hash. If they are not, it is
//!   named, and what stands in its place is withdrawn all the same.
//! - A target that was added is withdrawn.
//! - A project's page says what the good one said, and what is kept of its files since.
//! - Claimed projects are their maintainers' business, and what offline roles list or delegate is a ceremony's.
//!
//! All of it is one commit: alone, or together with the ceremony that brings new keys ([`Repository::finish_restoring`]), so
//! that no new key ever signs what the thief put there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::compare::{Differing, Keep};
use super::good::{Good, Origin};
use super::row::Item;
use crate::crypto::sha256;
use crate::python::{Insertion, ProjectName, ProjectPage};
use crate::repository::backup::read::{Contents, Entry, Kind};
use crate::repository::bulk::{Again, Correction, Under};
use crate::repository::ceremony::{Event, Finished, Gate};
use crate::repository::claims::names::project_of_role;
use crate::repository::claims::owner::project_of_target;
use crate::repository::commit::Transaction;
use crate::repository::edit::{companion_of, describe};
use crate::repository::keyring::Keyring;
use crate::repository::plain::{Repair, project_of};
use crate::repository::plan::bin_of;
use crate::repository::publish::refuse_unvouched;
use crate::repository::state::{RUNAWAY, State};
use crate::repository::{
    MAX_ATTEMPTS, PATIENCE, Progress, Repository, RepositoryError, days_after, layout, pause,
};
use crate::store::{Content, StoreError, StorePath};
use crate::tuf::metadata::{TargetFile, Version};
use crate::tuf::path::{RoleName, TargetPath};

/// Differences that are put right together, at most: they are held in memory, some hundred bytes each. Where more differ,
/// `restore` makes the repository again from the backup.
const MAX_DIFFERENCES: usize = 1_000_000;

/// What was put right, and what could not be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PutBack {
    /// Version of the snapshot that has it.
    pub snapshot: Version,
    /// Targets that are as the good state says again.
    pub restored: Vec<String>,
    /// Targets that the good state does not know.
    pub withdrawn: Vec<String>,
    /// Targets of the good state whose bytes are not there, as the paths in the store at which they are looked for.
    pub missing: Vec<String>,
    /// Claimed projects that differ: their maintainers must sign.
    pub claimed: Vec<String>,
    /// What roles above the bins list or delegate, and differs: a ceremony must change it.
    pub above: Vec<Differing>,
}

/// What is to be put right in one commit. It is made for one state, and of no use for any other.
#[derive(Debug)]
pub struct Restoration {
    /// The snapshot that it was made from.
    from: Version,
    pub(in crate::repository) corrections: Vec<Correction>,
    pages: Vec<(StorePath, Vec<u8>)>,
    pub(in crate::repository) projects: Vec<ProjectName>,
    done: PutBack,
}

/// What the good state says of what differs.
#[derive(Debug, Default)]
struct Before {
    files: HashMap<String, TargetFile>,
    pages: BTreeMap<ProjectName, ProjectPage>,
}

impl Restoration {
    /// What it will have done.
    pub fn outcome(&self) -> &PutBack {
        &self.done
    }

    /// Whether the bins are as the good state says, as far as can be.
    pub fn is_empty(&self) -> bool {
        self.corrections.is_empty()
    }

    /// An error, if it was made for another state.
    pub(in crate::repository) fn fits(&self, state: &State) -> Result<(), RepositoryError> {
        if state.snapshot.common.version == self.from {
            return Ok(());
        }
        let reason = "something was published while the differences were looked at: stop that, and try again";
        Err(RepositoryError::Plan(reason.to_owned()))
    }
}

impl Repository {
    /// What must change for the bins to be as a good state says, but for what is kept. Nothing is written.
    pub async fn restoration(
        &self,
        good: &Good,
        keep: &Keep,
        progress: &dyn Progress,
    ) -> Result<Restoration, RepositoryError> {
        let mut found = Vec::new();
        let mut tell = |differing: &Differing| {
            found.push(differing.clone());
            if found.len() <= MAX_DIFFERENCES {
                return Ok(());
            }
            let reason =
                format!("more than {MAX_DIFFERENCES} differences: make it again with `wheelseal restore`");
            Err(RepositoryError::Plan(reason))
        };
        self.compare(good, keep, progress, &mut tell).await?;
        found.sort();
        let state = self.state().await?;
        let mut work = Work::new(self, &state, keep);
        for differing in found {
            work.sort(differing).await?;
        }
        work.before = self.before(good, &work.wanted, work.projects.keys()).await?;
        work.plan().await
    }

    /// Puts right what differs from a good state, in one commit, signed with the keys of today.
    pub async fn put_back(
        &self,
        keys: &Keyring,
        good: &Good,
        keep: &Keep,
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Result<PutBack, RepositoryError> {
        for attempt in 0..MAX_ATTEMPTS {
            let _turn = self.store.turn(PATIENCE).await;
            let restoration = self.restoration(good, keep, progress).await?;
            if restoration.is_empty() {
                return Ok(restoration.done);
            }
            match self.put_back_once(keys, &restoration, now, progress).await {
                Err(RepositoryError::Store(StoreError::Conflict { .. })) => pause(attempt).await,
                Err(error) => return Err(error),
                Ok(()) => return self.shown(restoration).await,
            }
        }
        Err(RepositoryError::Busy(MAX_ATTEMPTS))
    }

    async fn put_back_once(
        &self,
        keys: &Keyring,
        restoration: &Restoration,
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Result<(), RepositoryError> {
        let state = self.state().await?;
        refuse_unvouched(&state)?;
        restoration.fits(&state)?;
        self.write_restored_pages(restoration).await?;
        let again = Again {
            all: false,
            due: DateTime::<Utc>::MIN_UTC,
            expires: days_after(now, self.settings.expiry.bin_n),
        };
        let under = Under { corrections: &restoration.corrections, ..Under::default() };
        let signed = self.sign_bins_again(keys, &state, again, under, progress).await?;
        let pages = restoration.projects.iter().map(ToString::to_string).collect();
        let transaction = Transaction { written: signed.written, pages, ..Transaction::empty() };
        self.commit(keys, &state, transaction, now).await
    }

    /// Publishes a ceremony and, in the same commit, puts right what a restoration says.
    pub async fn finish_restoring(
        &self,
        event: &Event,
        restoration: Restoration,
        keys: &Keyring,
        gate: Option<&dyn Gate>,
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Result<(Finished, PutBack), RepositoryError> {
        self.write_restored_pages(&restoration).await?;
        let finished = self.finish_with(event, Some(&restoration), keys, gate, now, progress).await?;
        Ok((finished, self.shown(restoration).await?))
    }

    /// The new pages, under their hashes; nothing refers to them yet.
    async fn write_restored_pages(&self, restoration: &Restoration) -> Result<(), RepositoryError> {
        let objects = restoration.pages.iter().map(|(at, bytes)| (at.clone(), Content::Bytes(bytes)));
        for outcome in self.store.create_all(&objects.collect::<Vec<_>>()).await {
            match outcome {
                Ok(()) | Err(StoreError::Exists { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// After the commit: what plain pip reads follows, whatever a thief left there.
    async fn shown(&self, restoration: Restoration) -> Result<PutBack, RepositoryError> {
        let state = self.state().await?;
        self.finish_pending(&state).await?;
        let Restoration { mut done, projects, .. } = restoration;
        for project in &projects {
            let page = layout::page(project)?;
            match self.target(&state, &page).await? {
                Some(file) => drop(self.plain_target(&state, &page, &file, Repair::Yes).await?),
                None => self.refresh_page(&state, project).await?,
            }
        }
        for path in done.restored.iter().filter(|path| !is_page(path)) {
            let target = TargetPath::new(path.as_str())?;
            if let Some(file) = self.target(&state, &target).await? {
                self.plain_target(&state, &target, &file, Repair::Yes).await?;
            }
        }
        for path in done.withdrawn.iter().filter(|path| !is_page(path)) {
            self.store.delete(&layout::plain(&TargetPath::new(path.as_str())?)?).await?;
        }
        done.snapshot = state.snapshot.common.version;
        Ok(done)
    }

    /// Entries and pages of the good state.
    async fn before(
        &self,
        good: &Good,
        wanted: &BTreeSet<String>,
        projects: impl Iterator<Item = &ProjectName>,
    ) -> Result<Before, RepositoryError> {
        let projects: BTreeSet<ProjectName> = projects.cloned().collect();
        let state = match &good.origin {
            Origin::Backup { file, .. } => return before_in_backup(file, wanted.clone(), projects).await,
            Origin::Snapshot(state) => state,
        };
        let mut before = Before::default();
        for path in wanted {
            let file = self.target(state, &TargetPath::new(path.as_str())?).await?;
            before.files.extend(file.map(|file| (path.clone(), file)));
        }
        for project in projects {
            if let Some(page) = self.page(state, &project).await? {
                before.pages.insert(project, page);
            }
        }
        Ok(before)
    }
}

/// The same out of a backup, which is verified again on the way.
async fn before_in_backup(
    file: &Path,
    wanted: BTreeSet<String>,
    projects: BTreeSet<ProjectName>,
) -> Result<Before, RepositoryError> {
    let found = Arc::new(Mutex::new(Before::default()));
    let noted = Arc::clone(&found);
    let take = move |entry: Entry| {
        let mut before = noted.lock().unwrap_or_else(PoisonError::into_inner);
        match &entry.kind {
            Kind::Targets(content) => {
                let some = content.targets.iter().filter(|(path, _)| wanted.contains(*path));
                before.files.extend(some.map(|(path, file)| (path.to_owned(), file.clone())));
            }
            Kind::Page => {
                let page = ProjectPage::from_json(&entry.bytes)
                    .map_err(|error| RepositoryError::Page { project: entry.at.to_string(), error })?;
                if projects.contains(page.name()) {
                    before.pages.insert(page.name().clone(), page);
                }
            }
            _ => {}
        }
        Ok(())
    };
    Contents::read(file.to_owned(), take).await?;
    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(std::mem::take(&mut *found))
}

fn is_page(path: &str) -> bool {
    TargetPath::new(path).is_ok_and(|path| project_of(&path).is_some())
}

/// A restoration being planned.
struct Work<'a> {
    repository: &'a Repository,
    state: &'a State,
    keep: &'a Keep,
    /// What differs of each project that the bins list, pages aside.
    projects: BTreeMap<ProjectName, Vec<Differing>>,
    /// Differing targets that the good state has.
    wanted: BTreeSet<String>,
    /// Targets of no project.
    odd: Vec<Differing>,
    before: Before,
    corrections: Vec<Correction>,
    pages: Vec<(StorePath, Vec<u8>)>,
    done: PutBack,
}

impl<'a> Work<'a> {
    fn new(repository: &'a Repository, state: &'a State, keep: &'a Keep) -> Self {
        Self {
            repository,
            state,
            keep,
            projects: BTreeMap::new(),
            wanted: BTreeSet::new(),
            odd: Vec::new(),
            before: Before::default(),
            corrections: Vec::new(),
            pages: Vec::new(),
            done: PutBack::default(),
        }
    }

    /// Whose business a difference is.
    async fn sort(&mut self, differing: Differing) -> Result<(), RepositoryError> {
        let of_bins = |role: &str| self.is_bin(role) || project_of_role(role).is_some();
        let is_bin = differing.after.as_ref().is_none_or(|said| of_bins(&said.role));
        if differing.item == Item::Delegation || !is_bin {
            self.done.above.push(differing);
            return Ok(());
        }
        let path = TargetPath::new(differing.path.as_str())?;
        let Some(project) = project_of_target(&path) else {
            self.wanted.extend(differing.before.is_some().then(|| differing.path.clone()));
            self.odd.push(differing);
            return Ok(());
        };
        if self.state.owned(self.repository.store(), &project).await?.is_some() {
            self.claimed(&project);
            return Ok(());
        }
        let of_project = self.projects.entry(project).or_default();
        if project_of(&path).is_none() {
            self.wanted.extend(differing.before.is_some().then(|| differing.path.clone()));
            of_project.push(differing);
        }
        Ok(())
    }

    fn claimed(&mut self, project: &ProjectName) {
        let name = project.to_string();
        if !self.done.claimed.contains(&name) {
            self.done.claimed.push(name);
        }
    }

    fn is_bin(&self, role: &str) -> bool {
        let delegations = self.state.bins.delegations.as_ref();
        RoleName::delegated(role).is_ok_and(|role| delegations.is_some_and(|all| all.role(&role).is_some()))
    }

    async fn plan(mut self) -> Result<Restoration, RepositoryError> {
        for differing in std::mem::take(&mut self.odd) {
            self.target(&differing).await?;
        }
        let projects = std::mem::take(&mut self.projects);
        for (project, differences) in &projects {
            let mut lost = BTreeSet::new();
            for differing in differences {
                // Metadata and provenance of a file that is not there are of no use.
                let of = companion_of(&differing.path);
                if differing.after.is_none() && of.is_some_and(|file| lost.contains(file)) {
                    continue;
                }
                if !self.target(differing).await? {
                    lost.insert(differing.path.clone());
                }
            }
            self.page(project, &lost).await?;
        }
        let from = self.state.snapshot.common.version;
        let done = PutBack { snapshot: from, ..self.done };
        let projects = projects.into_keys().collect();
        Ok(Restoration { from, corrections: self.corrections, pages: self.pages, projects, done })
    }

    /// A file goes back to what it was; false if its bytes are not there.
    async fn target(&mut self, differing: &Differing) -> Result<bool, RepositoryError> {
        let path = TargetPath::new(differing.path.as_str())?;
        let good = self.before.files.get(path.as_str()).cloned();
        if let Some(said) = &differing.after {
            let role = RoleName::delegated(said.role.as_str())?;
            self.corrections.push(Correction { role, path: path.to_string(), file: None });
        }
        let Some(file) = good else {
            self.done.withdrawn.push(path.to_string());
            return Ok(true);
        };
        let at = match file.hashes.sha256 {
            Some(digest) => layout::hashed(&path, &digest)?,
            None => return Err(RepositoryError::Missing(format!("the SHA-256 of {path}"))),
        };
        let stored = self.repository.hash_if_stored(&at).await?;
        if stored != file.hashes.sha256.map(|digest| (digest, file.length)) {
            self.done.missing.push(at.to_string());
            return Ok(false);
        }
        self.done.restored.push(path.to_string());
        let role = bin_of(self.state, &path)?;
        self.corrections.push(Correction { role, path: path.to_string(), file: Some(file) });
        Ok(true)
    }

    /// The page as it was, with what is kept since and without what is lost.
    async fn page(&mut self, project: &ProjectName, lost: &BTreeSet<String>) -> Result<(), RepositoryError> {
        let target = layout::page(project)?;
        // What a thief put there need not read.
        let present = self.repository.page(self.state, project).await.ok().flatten();
        let good = self.before.pages.get(project).map_or(0, |good| good.serial);
        // A serial that follows a thief's version would be above all to come.
        let serial = match self.state.snapshot.common.version {
            RUNAWAY.. => good,
            version => version,
        };
        let serial = serial.saturating_add(1);
        let page =
            rebuilt(project, serial, self.before.pages.get(project), present.as_ref(), self.keep, lost);
        let role = bin_of(self.state, &target)?;
        let path = target.to_string();
        if page.files().is_empty() {
            let listed = self.repository.target(self.state, &target).await?.is_some();
            self.corrections.extend(listed.then_some(Correction { role, path, file: None }));
            return Ok(());
        }
        if present.is_some_and(|present| says_the_same(&present, &page)) {
            return Ok(());
        }
        let json = page.to_json().into_bytes();
        let file = Some(describe(&json));
        self.pages.push((layout::hashed(&target, &sha256(&json))?, json));
        self.corrections.push(Correction { role, path, file });
        Ok(())
    }
}

/// Whether two pages differ in their serial at most.
fn says_the_same(one: &ProjectPage, other: &ProjectPage) -> bool {
    let mut one = one.clone();
    one.serial = other.serial;
    one == *other
}

/// A project's page from the good one and, for what is kept, the present one.
fn rebuilt(
    project: &ProjectName,
    serial: u64,
    good: Option<&ProjectPage>,
    present: Option<&ProjectPage>,
    keep: &Keep,
    lost: &BTreeSet<String>,
) -> ProjectPage {
    let mut page = ProjectPage::new(project.clone(), serial);
    page.status = good.and_then(|good| good.status.clone());
    let kept = |filename: &str| keep.keeps_target(&format!("{project}/{filename}"));
    let is_lost = |filename: &str| lost.contains(&format!("{project}/{filename}"));
    let old = good.map(ProjectPage::files).unwrap_or_default();
    let old = old.iter().filter(|file| !kept(file.filename.as_str()) && !is_lost(file.filename.as_str()));
    let new = present.map(ProjectPage::files).unwrap_or_default();
    let new = new.iter().filter(|file| kept(file.filename.as_str()));
    for file in old.chain(new) {
        match page.insert(file.clone()) {
            // One of both was there first, and installers would take the other for it.
            Insertion::Inserted
            | Insertion::Same
            | Insertion::Conflict { .. }
            | Insertion::OtherProject { .. } => {}
        }
    }
    page
}
