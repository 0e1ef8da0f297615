//! Applying what maintainers sent: each request wholly or not at all, many of them in one commit.
//!
//! Everything in a [`ProjectFile`] is checked against the state that the commit will follow, so two that are applied at once
//! cannot both win: who loses the swap is checked again, and is refused if it is based on what is no more (PEP 480's rules
//! on concurrent transactions). Distributions are read and judged as `add` does. One that is refused does not keep the
//! others from being applied.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::apply::{Applied, LookAlike, Names, Prepared};
use super::file::{Kind, ProjectFile};
use super::names::{Family, project_role};
use super::tree::Changes;
use crate::crypto::sha256;
use crate::python::ProjectName;
use crate::repository::commit::Transaction;
use crate::repository::log::{Book, of_distribution};
use crate::repository::plan::Plan;
use crate::repository::publish::{Files, objects, refuse_unvouched};
use crate::repository::state::State;
use crate::repository::{
    Distribution, Keyring, MAX_ATTEMPTS, PATIENCE, Repository, RepositoryError, layout, pause,
};
use crate::store::{Content, StoreError, StorePath};
use crate::tuf::metadata::{MetaFile, Version};

/// Requests in one commit, at most: all of them are judged again after a lost race.
const TOGETHER: usize = 500;
/// Their distributions, at most, unless one request has more.
const FILES_TOGETHER: usize = 1_000;

/// What maintainers sent.
#[derive(Debug, Clone, Copy)]
pub struct Sent<'a> {
    /// What they ask for.
    pub file: &'a ProjectFile,
    /// The distributions that came with it.
    pub files: &'a [Distribution],
}

/// What became of some requests, by their places.
type Outcomes = Vec<(usize, Result<Applied, RepositoryError>)>;

impl Repository {
    /// Applies what a project's maintainers sent: a release, a change of keys, or a claim that an admin agrees with.
    /// `files` are the distributions that came with it.
    pub async fn apply(
        &self,
        keys: &Keyring,
        file: &ProjectFile,
        files: &[Distribution],
        look_alike: LookAlike,
        now: DateTime<Utc>,
    ) -> Result<Applied, RepositoryError> {
        let outcomes = self.apply_all(keys, &[Sent { file, files }], look_alike, now).await;
        outcomes.into_iter().next().unwrap_or(Err(RepositoryError::Busy(MAX_ATTEMPTS)))
    }

    /// Applies many requests in few commits. Each is applied or refused by itself; outcomes are in the order of `sent`. Of
    /// several for one project, the later ones follow the earlier.
    pub async fn apply_all(
        &self,
        keys: &Keyring,
        sent: &[Sent<'_>],
        look_alike: LookAlike,
        now: DateTime<Utc>,
    ) -> Vec<Result<Applied, RepositoryError>> {
        let mut outcomes: Outcomes = Vec::with_capacity(sent.len());
        for group in groups(sent) {
            self.apply_group(keys, sent, group, look_alike, now, &mut outcomes).await;
        }
        outcomes.sort_by_key(|(at, _)| *at);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    async fn apply_group(
        &self,
        keys: &Keyring,
        sent: &[Sent<'_>],
        mut open: Vec<usize>,
        look_alike: LookAlike,
        now: DateTime<Utc>,
        outcomes: &mut Outcomes,
    ) {
        let mut attempt = 0;
        while !open.is_empty() {
            let error = match self.apply_once(keys, sent, &open, look_alike, now).await {
                Ok(done) => {
                    open.retain(|at| done.iter().all(|(other, _)| other != at));
                    outcomes.extend(done);
                    continue;
                }
                Err(RepositoryError::Store(StoreError::Conflict { .. })) if attempt < MAX_ATTEMPTS => {
                    pause(attempt).await;
                    attempt += 1;
                    continue;
                }
                Err(RepositoryError::Store(StoreError::Conflict { .. })) => {
                    RepositoryError::Busy(MAX_ATTEMPTS)
                }
                Err(error) => error,
            };
            outcomes.extend(open.drain(..).map(|at| (at, Err(error.clone()))));
        }
    }

    /// One attempt: those that are refused, and all others; or one that was found to be wrong when it was written.
    async fn apply_once(
        &self,
        keys: &Keyring,
        sent: &[Sent<'_>],
        open: &[usize],
        look_alike: LookAlike,
        now: DateTime<Utc>,
    ) -> Result<Outcomes, RepositoryError> {
        let _turn = self.store.turn(PATIENCE).await;
        let state = self.state().await?;
        self.finish_pending(&state).await?;
        refuse_unvouched(&state)?;
        let book = self.book(keys, &state).await?;
        let (mut refused, mut good): (Outcomes, Vec<(usize, Sent<'_>, Prepared<'_>)>) = Default::default();
        let mut claims: BTreeSet<&ProjectName> = BTreeSet::new();
        for at in open {
            let Some(one) = sent.get(*at) else { continue };
            let prepared = match self.refuse_logged(book.as_ref(), one.files).await {
                Ok(()) => self.prepared(&state, one.file, one.files, look_alike, &claims, now).await,
                Err(error) => Err(error),
            };
            match prepared {
                Ok(prepared) => {
                    claims.extend((one.file.kind == Kind::Claim).then_some(&one.file.project));
                    good.push((*at, *one, prepared));
                }
                Err(error @ RepositoryError::Store(_)) => return Err(error),
                Err(error) => refused.push((*at, Err(error))),
            }
        }
        if good.is_empty() {
            return Ok(refused);
        }
        let (placed, taken) = self.place_roles(good).await?;
        refused.extend(taken);
        if !placed.is_empty() {
            refused.extend(self.commit_projects(keys, &state, placed, now).await?);
        }
        Ok(refused)
    }

    /// An error, if the log has other content under the path of a file that came with a request.
    async fn refuse_logged(
        &self,
        book: Option<&Book>,
        files: &[Distribution],
    ) -> Result<(), RepositoryError> {
        let Some(book) = book else { return Ok(()) };
        let leaves = files.iter().map(of_distribution).collect::<Result<Vec<_>, _>>()?;
        self.unlogged(book, leaves.concat()).await.map(drop)
    }

    /// Writes the roles that maintainers signed. Those whose version another transaction has are refused.
    async fn place_roles<'a>(
        &self,
        good: Vec<(usize, Sent<'a>, Prepared<'a>)>,
    ) -> Result<(Vec<(usize, Sent<'a>, Prepared<'a>)>, Outcomes), RepositoryError> {
        let mut objects = Vec::with_capacity(good.len());
        for (_, _, prepared) in &good {
            objects.push((prepared.place()?, Content::Bytes(&prepared.file.role)));
        }
        let outcomes = self.store.create_all(&objects).await;
        let (mut placed, mut taken) = (Vec::with_capacity(good.len()), Outcomes::new());
        for (one, outcome) in good.into_iter().zip(outcomes) {
            match outcome {
                Ok(()) => placed.push(one),
                Err(StoreError::Exists { .. }) => {
                    let (at, _, prepared) = &one;
                    let (name, version) = (project_role(&prepared.file.project)?, prepared.version());
                    match self.place_role(&name, version, &prepared.file.role).await {
                        Ok(()) => placed.push(one),
                        Err(error @ RepositoryError::Store(_)) => return Err(error),
                        Err(error) => taken.push((*at, Err(error))),
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok((placed, taken))
    }

    async fn commit_projects(
        &self,
        keys: &Keyring,
        state: &State,
        good: Vec<(usize, Sent<'_>, Prepared<'_>)>,
        now: DateTime<Utc>,
    ) -> Result<Outcomes, RepositoryError> {
        let mut plan = Plan::new(self, state, now);
        for target in good.iter().flat_map(|(_, _, prepared)| &prepared.withdrawn) {
            plan.withdraw(target).await?;
        }
        plan.require_keys(keys)?;
        let (names, changes) = (Names::of(Family::Recent)?, self.recent_with(state, &good).await?);
        let mut roles = plan.roles(&names.bins)?;
        if let Some(changes) = &changes {
            roles.extend(self.claim_roles(state, &names, changes, now).await?);
        }
        let distributions = good.iter().flat_map(|(_, sent, _)| sent.files);
        let places = distributions.map(|distribution| Ok((Files::of(distribution)?, distribution)));
        let places = places.collect::<Result<Vec<_>, RepositoryError>>()?;
        let mut contents = objects(&places);
        let (mut written, mut pages) = (Vec::new(), Vec::new());
        for (_, _, prepared) in &good {
            let project = &prepared.file.project;
            written.push((project_role(project)?.to_string(), MetaFile::version(prepared.version())));
            pages.push(project.to_string());
            if let Some(text) = prepared.file.page.as_ref().filter(|_| prepared.page.is_some()) {
                let at = layout::hashed(&layout::page(project)?, &sha256(text.as_bytes()))?;
                contents.push((at, Content::Bytes(text.as_bytes())));
            }
        }
        let transaction =
            Transaction { roles, written, files: contents.clone(), pages, ..Transaction::empty() };
        let staged = self.stage(keys, state, transaction, now).await?;
        for (at, sent, _) in &good {
            for distribution in sent.files {
                if let Some(conflict) = self.other_content(distribution, &staged.found).await? {
                    return Ok(vec![(*at, Err(conflict))]);
                }
            }
        }
        let notes = staged.notes.clone();
        let committed = self.swap_timestamp(keys, state, staged, None, now).await?;
        for (_, _, prepared) in &good {
            contents.push((prepared.place()?, Content::Bytes(&prepared.file.role)));
        }
        self.drop_other_provenance(&places).await?;
        self.write_missing(contents).await?;
        for note in &notes {
            self.follow_note(&committed, note).await?;
        }
        let snapshot = committed.snapshot.common.version;
        Ok(good.into_iter().map(|(at, _, prepared)| (at, Ok(prepared.applied(snapshot)))).collect())
    }

    /// `recently-claimed` with the owners that these requests give to their projects.
    async fn recent_with(
        &self,
        state: &State,
        good: &[(usize, Sent<'_>, Prepared<'_>)],
    ) -> Result<Option<Changes>, RepositoryError> {
        let put: Vec<&ProjectFile> =
            good.iter().filter(|(_, _, prepared)| prepared.put).map(|(_, sent, _)| sent.file).collect();
        if put.is_empty() {
            return Ok(None);
        }
        let projects: Vec<&ProjectName> = put.iter().map(|file| &file.project).collect();
        let mut tree = state.tree(self.store(), Family::Recent, projects).await?;
        tree.put_all(put.into_iter().map(|file| (file.project.clone(), file.owners.clone())))?;
        tree.changes().map(Some)
    }
}

impl Prepared<'_> {
    fn version(&self) -> Version {
        self.role.common.version
    }

    /// Where its role belongs.
    fn place(&self) -> Result<StorePath, RepositoryError> {
        layout::versioned(project_role(&self.file.project)?.as_str(), self.version())
    }

    fn applied(self, snapshot: Version) -> Applied {
        let role = self.version();
        let Self { file, family, added, removed, .. } = self;
        Applied { project: file.project.clone(), kind: file.kind, role, added, removed, snapshot, family }
    }
}

/// Places of requests that are applied together: no project twice, and not too many.
fn groups(sent: &[Sent<'_>]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let (mut projects, mut files) = (BTreeSet::new(), 0);
    for (at, one) in sent.iter().enumerate() {
        files += one.files.len();
        let full = projects.len() >= TOGETHER || files > FILES_TOGETHER;
        let fits = !full && projects.insert(&one.file.project);
        if let Some(group) = groups.last_mut().filter(|_| fits) {
            group.push(at);
        } else {
            (projects, files) = (BTreeSet::from([&one.file.project]), one.files.len());
            groups.push(vec![at]);
        }
    }
    groups
}
