//! Publishing: all of a publication's edits, or none.
//!
//! Publications that wait at the same time go into one snapshot ([`super::Publisher`]); one alone is a group of one.
//! A publication that cannot be is refused by itself, and the rest is planned again without it. Whatever another
//! process commits in between, the group is planned again on top of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};

use super::commit::{Transaction, original_is_gone};
use super::distribution::Distribution;
use super::edit::{Edit, metadata_of, provenance_of};
use super::keyring::Keyring;
use super::log::{Leaves, of_distribution};
use super::plan::{Ahead, Plan, PlannedPage, Taken};
use super::state::{BINS, State};
use super::{MAX_ATTEMPTS, PATIENCE, Progress, Repository, RepositoryError, layout, pause};
use crate::crypto::sha256;
use crate::store::{Content, StoreError, StorePath, Tag};
use crate::tlog::leaf::FileLeaf;
use crate::tuf::metadata::TargetFile;
use crate::tuf::path::{RoleName, TargetPath};

/// Files stored in one go before progress is told.
const FILES_AT_ONCE: usize = 64;

/// Distributions that are stored together with the metadata that lists them, at most; more are stored before it, so that
/// whoever waits sees how far it has come.
const FEW_FILES: usize = 256;

/// The same, in bytes of all of them.
const FEW_BYTES: u64 = 64 << 20;

/// Own commits that are remembered: one whose pages are being written, one under way, and one to spare.
const MAX_OWN: usize = 3;

/// Outcome of a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Files that changed something.
    pub changed: Vec<String>,
    /// Files that were as asked already.
    pub unchanged: Vec<String>,
    /// Version of the snapshot that has them.
    pub snapshot: u64,
    /// Version of the timestamp that has them.
    pub timestamp: u64,
}

impl Published {
    fn new(taken: Taken, state: &State) -> Self {
        let (snapshot, timestamp) = (state.snapshot.common.version, state.timestamp.common.version);
        Self { changed: taken.changed, unchanged: taken.unchanged, snapshot, timestamp }
    }
}

/// The state as a publisher last saw it, so that it reads anew only what others changed.
#[derive(Debug, Default)]
pub(super) struct Recent {
    state: Option<State>,
    /// Notes of others that are still to be followed, as last seen.
    notes: Vec<StorePath>,
    own: Arc<Own>,
}

/// What one publisher did last.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// The timestamps that it swapped in, with none of others between them.
    tags: Mutex<VecDeque<Tag>>,
    /// Whether some of its pages were not finished, and are to be.
    undone: AtomicBool,
}

/// Publications that share a snapshot, and what became of each.
pub(super) struct Group<E> {
    publications: Vec<Publication<E>>,
    /// Whether the files are in the store already.
    stored: bool,
    /// Notes of this attempt's pages and of those before it, which came to nothing.
    notes: Vec<StorePath>,
}

/// One of them.
struct Publication<E> {
    edits: E,
    ahead: Option<Ahead>,
    outcome: Option<Result<Published, RepositoryError>>,
}

/// A group whose commit is done or came to nothing. The pages that plain installers read, and answers, are left to do.
pub(super) struct Decided<E> {
    group: Group<E>,
    committed: Option<Committed>,
    own: Arc<Own>,
}

struct Committed {
    state: State,
    taken: Vec<(usize, Taken)>,
    pages: Vec<(PlannedPage, String)>,
}

/// Where the files of a publication go.
pub(super) struct Files {
    hashed: StorePath,
    plain: StorePath,
    metadata: Option<(StorePath, StorePath)>,
    provenance: Option<(StorePath, StorePath)>,
}

impl Repository {
    /// Publishes all of `edits`, or none. Returns when the new snapshot is durable and visible.
    pub async fn publish(
        &self,
        keys: &Keyring,
        edits: &[Edit],
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Result<Published, RepositoryError> {
        let group = Group::new([(edits, None)]);
        let decided = self.commit_group(keys, &mut Recent::default(), group, now, progress).await;
        self.finish_group(decided).await.pop().unwrap_or(Err(RepositoryError::Busy(0)))
    }

    /// Commits each publication of a group whole or not at all, in one snapshot.
    pub(super) async fn commit_group<E: AsRef<[Edit]>>(
        &self,
        keys: &Keyring,
        recent: &mut Recent,
        mut group: Group<E>,
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Decided<E> {
        let mut committed = None;
        for attempt in 0..MAX_ATTEMPTS {
            match Box::pin(self.attempt(keys, recent, &mut group, now, progress)).await {
                Ok(Some(done)) => {
                    committed = Some(done);
                    break;
                }
                Ok(None) if group.answered() => break,
                Ok(None) => {}
                Err(RepositoryError::Store(StoreError::Conflict { .. })) => pause(attempt).await,
                Err(error) => {
                    // What is in the store is not certain now, and whether the notes are still needed.
                    recent.state = None;
                    group.notes.clear();
                    group.answer_rest(&error);
                    break;
                }
            }
        }
        if committed.is_none() {
            group.answer_rest(&RepositoryError::Busy(MAX_ATTEMPTS));
        }
        Decided { group, committed, own: Arc::clone(&recent.own) }
    }

    /// Plans and commits what has no outcome yet. Not everything has one afterwards if some publication was refused.
    async fn attempt<E: AsRef<[Edit]>>(
        &self,
        keys: &Keyring,
        recent: &mut Recent,
        group: &mut Group<E>,
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Result<Option<Committed>, RepositoryError> {
        // Held until the timestamp is swapped, or not.
        let _turn = self.store.turn(PATIENCE).await;
        let state = recent.current(self).await?;
        refuse_unvouched(&state)?;
        let mut plan = Plan::new(self, &state, now);
        let taken = group.plan(&mut plan).await;
        if !plan.changes() {
            for note in std::mem::take(&mut group.notes) {
                self.follow_note(&state, &note).await?;
            }
            group.answer(taken, &state);
            return Ok(None);
        }
        let pages = plan.finish().await?;
        plan.require_keys(keys)?;
        let Some(leaves) = self.leaves_of_group(keys, &state, group).await? else { return Ok(None) };
        let delegator = RoleName::delegated(BINS)?;
        if !group.stored && group.is_large() {
            let found = self.store_files(&objects(&group.places()?), progress).await?;
            group.stored = true;
            if self.refuse_other_content(group, &found).await? {
                return Ok(None);
            }
        }
        let places = group.places()?;
        let mut files = if group.stored { Vec::new() } else { objects(&places) };
        files.extend(page_objects(&pages)?);
        let names = pages.iter().map(|(planned, _)| planned.page.name().to_string()).collect();
        let roles = plan.roles(&delegator)?;
        let transaction = Transaction { roles, files, pages: names, leaves, ..Transaction::empty() };
        let staged = self.stage(keys, &state, transaction, now).await?;
        group.stored = true;
        group.notes.extend(staged.notes.iter().cloned());
        if self.refuse_other_content(group, &staged.found).await? {
            return Ok(None);
        }
        let committed = self.swap_timestamp(keys, &state, staged, None, now).await?;
        recent.own.push(&state.tag, &committed.tag);
        recent.state = Some(committed.clone());
        Ok(Some(Committed { state: committed, taken, pages }))
    }

    /// The files of a group that are not in the log yet. Nothing, if a publication is refused because the log has other
    /// content under a path of it: the rest is planned again.
    async fn leaves_of_group<E: AsRef<[Edit]>>(
        &self,
        keys: &Keyring,
        state: &State,
        group: &mut Group<E>,
    ) -> Result<Option<Leaves>, RepositoryError> {
        let Some(book) = self.book(keys, state).await? else { return Ok(Some(Leaves::Nothing)) };
        let (mut new, mut refused) = (BTreeMap::new(), false);
        for publication in group.publications.iter_mut().filter(|publication| publication.open()) {
            let leaves = match leaves_of(publication.edits.as_ref()) {
                Ok(leaves) => self.unlogged(&book, leaves).await,
                Err(error) => Err(error),
            };
            match leaves {
                Ok(leaves) => new.extend(leaves.into_iter().map(|leaf| (leaf.path().to_owned(), leaf))),
                Err(error @ RepositoryError::Logging(_)) => {
                    publication.outcome = Some(Err(error));
                    refused = true;
                }
                Err(error) => return Err(error),
            }
        }
        Ok((!refused).then(|| Leaves::New(Box::new(book), new.into_values().collect())))
    }

    /// What follows the commit: pages, and what a gc took meanwhile. One outcome for each publication, in the order
    /// given.
    pub(super) async fn finish_group<E: AsRef<[Edit]>>(
        &self,
        decided: Decided<E>,
    ) -> Vec<Result<Published, RepositoryError>> {
        let Decided { mut group, committed, own } = decided;
        match committed {
            Some(committed) => match self.show_group(&group, &committed, &own).await {
                Ok(()) => group.answer(committed.taken, &committed.state),
                Err(error) => {
                    own.undone.store(true, Ordering::Relaxed);
                    group.answer_rest(&error);
                }
            },
            None => {
                for note in &group.notes {
                    // All is decided. What is left is followed by a later change, and there is nothing to do.
                    drop(self.store().delete(note).await);
                }
            }
        }
        group.publications.into_iter().filter_map(|publication| publication.outcome).collect()
    }

    async fn show_group<E: AsRef<[Edit]>>(
        &self,
        group: &Group<E>,
        committed: &Committed,
        own: &Own,
    ) -> Result<(), RepositoryError> {
        self.show_pages(&committed.state, &committed.pages, &group.notes, own).await?;
        let places = group.places()?;
        self.drop_other_provenance(&places).await?;
        self.write_missing(objects(&places).into_iter().chain(page_objects(&committed.pages)?).collect())
            .await
    }

    /// After a commit: what another publication has left under the plain name of a provenance object. Attestations are made anew for
    /// each try, so that it may be anything; before the commit it may be what is published. What is signed is written next.
    pub(super) async fn drop_other_provenance(
        &self,
        places: &[(Files, &Distribution)],
    ) -> Result<(), RepositoryError> {
        for (files, distribution) in places {
            let (Some((_, plain)), Some(object)) = (&files.provenance, &distribution.provenance) else {
                continue;
            };
            let digest = sha256(object.as_str().as_bytes());
            if self.hash_if_stored(plain).await?.is_some_and(|(there, _)| there != digest) {
                self.store.delete(plain).await?;
            }
        }
        Ok(())
    }

    /// What [`Self::publish`] would do, with all its refusals; nothing is written.
    pub async fn preview(
        &self,
        keys: &Keyring,
        edits: &[Edit],
        now: DateTime<Utc>,
    ) -> Result<Published, RepositoryError> {
        let state = self.state().await?;
        refuse_unvouched(&state)?;
        let mut plan = Plan::new(self, &state, now);
        let taken = plan.take(edits).await?;
        if plan.changes() {
            plan.finish().await?;
            plan.require_keys(keys)?;
            self.refuse_unloggable(keys, &state, leaves_of(edits)?).await?;
        }
        Ok(Published::new(taken, &state))
    }

    /// What the current metadata says of a target.
    pub async fn target(
        &self,
        state: &State,
        target: &TargetPath,
    ) -> Result<Option<TargetFile>, RepositoryError> {
        let (_, content) = self.answering(state, target).await?;
        Ok(content.targets.get(target.as_str()).cloned())
    }

    /// Stores files ahead of the commit. Returns those that were there already.
    async fn store_files(
        &self,
        files: &[(StorePath, Content<'_>)],
        progress: &dyn Progress,
    ) -> Result<Vec<StorePath>, RepositoryError> {
        let (mut found, mut done) = (Vec::new(), 0);
        let total = u64::try_from(files.len()).unwrap_or(u64::MAX);
        for some in files.chunks(FILES_AT_ONCE) {
            for (outcome, (_, content)) in self.store().create_all(some).await.into_iter().zip(some) {
                match outcome {
                    Ok(()) => {}
                    Err(StoreError::Exists { path }) => found.push(path),
                    Err(error) if matches!(content, Content::Copy(_)) && original_is_gone(&error) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            done += u64::try_from(some.len()).unwrap_or(0);
            progress.at("storing files", done, total);
        }
        Ok(found)
    }

    /// Refuses the publications whose plain names hold other content already; says whether there were any.
    async fn refuse_other_content<E: AsRef<[Edit]>>(
        &self,
        group: &mut Group<E>,
        found: &[StorePath],
    ) -> Result<bool, RepositoryError> {
        let mut refused = false;
        for publication in group.publications.iter_mut().filter(|publication| publication.open()) {
            for distribution in additions(publication.edits.as_ref()) {
                if let Some(conflict) = self.other_content(distribution, found).await? {
                    publication.outcome = Some(Err(conflict));
                    refused = true;
                }
            }
        }
        Ok(refused)
    }

    pub(super) async fn other_content(
        &self,
        distribution: &Distribution,
        found: &[StorePath],
    ) -> Result<Option<RepositoryError>, RepositoryError> {
        let target = layout::distribution(distribution.filename.project(), distribution.filename.as_str())?;
        let mut copies = vec![(target.clone(), distribution.sha256)];
        if let Some(bytes) = &distribution.metadata {
            copies.push((metadata_of(&target)?, sha256(bytes)));
        }
        for (target, digest) in copies {
            let plain = layout::plain(&target)?;
            if !found.contains(&plain) {
                continue;
            }
            // What a gc removed since is written again after the commit.
            let Some((published, _)) = self.hash_if_stored(&plain).await? else { continue };
            if published != digest {
                let (published, found) = (hex::encode(published), hex::encode(digest));
                let filename = target.file_name().to_owned();
                return Ok(Some(RepositoryError::Conflict { filename, published, found }));
            }
        }
        Ok(None)
    }
}

impl Recent {
    /// The state as last seen.
    pub(super) fn state(&self) -> Option<&State> {
        self.state.as_ref()
    }

    /// The state as it is now, and what others left undone on the way to it made good. Who lives finishes its own pages
    /// soon: of those who commit beside this publisher, only notes that lay there before are followed.
    async fn current(&mut self, repository: &Repository) -> Result<State, RepositoryError> {
        if self.own.undone.swap(false, Ordering::Relaxed) {
            self.state = None;
        }
        let state = repository.state_after(self.state.as_ref()).await?;
        match &self.state {
            None => repository.finish_pending(&state).await?,
            Some(known) if known.tag == state.tag && self.notes.is_empty() => {}
            Some(_) => self.notes = repository.finish_abandoned(&state, &self.notes).await?,
        }
        self.state = Some(state.clone());
        Ok(state)
    }
}

impl Own {
    fn push(&self, base: &Tag, tag: &Tag) {
        let mut tags = self.tags.lock().unwrap_or_else(PoisonError::into_inner);
        if tags.back() != Some(base) {
            tags.clear();
        }
        tags.push_back(tag.clone());
        if tags.len() > MAX_OWN {
            tags.pop_front();
        }
    }

    /// Whether nobody else committed between `earlier` and `now`.
    pub(super) fn follows(&self, earlier: &Tag, now: Option<&Tag>) -> bool {
        let tags = self.tags.lock().unwrap_or_else(PoisonError::into_inner);
        let after = tags.iter().skip_while(|tag| *tag != earlier);
        now == Some(earlier) || after.skip(1).any(|tag| now == Some(tag))
    }
}

impl<E: AsRef<[Edit]>> Group<E> {
    /// Publications that nothing was done about yet, but to read ahead for some.
    pub(super) fn new(publications: impl IntoIterator<Item = (E, Option<Ahead>)>) -> Self {
        let publications = publications.into_iter();
        let publications = publications.map(|(edits, ahead)| Publication { edits, ahead, outcome: None });
        Self { publications: publications.collect(), stored: false, notes: Vec::new() }
    }

    /// Takes into the plan what has no outcome yet. A publication that cannot be taken has its outcome.
    async fn plan(&mut self, plan: &mut Plan<'_>) -> Vec<(usize, Taken)> {
        self.publications
            .iter_mut()
            .filter_map(|one| one.ahead.take())
            .for_each(|ahead| plan.use_ahead(ahead));
        let open = self.publications.iter().filter(|publication| publication.open());
        plan.read_ahead(open.flat_map(|publication| publication.edits.as_ref())).await;
        let mut taken = Vec::new();
        for (at, publication) in self.publications.iter_mut().enumerate().filter(|(_, one)| one.open()) {
            let edits = publication.edits.as_ref();
            let placed = additions(edits).try_for_each(|distribution| Files::of(distribution).map(drop));
            let planned = match placed {
                Ok(()) => plan.take(edits).await,
                Err(error) => Err(error),
            };
            match planned {
                Ok(names) => taken.push((at, names)),
                Err(error) => publication.outcome = Some(Err(error)),
            }
        }
        taken
    }

    fn answered(&self) -> bool {
        !self.publications.iter().any(Publication::open)
    }

    fn answer(&mut self, taken: Vec<(usize, Taken)>, state: &State) {
        for (at, taken) in taken {
            if let Some(publication) = self.publications.get_mut(at) {
                publication.outcome = Some(Ok(Published::new(taken, state)));
            }
        }
    }

    fn answer_rest(&mut self, error: &RepositoryError) {
        for publication in self.publications.iter_mut().filter(|publication| publication.open()) {
            publication.outcome = Some(Err(error.clone()));
        }
    }

    /// Whether its files take so long that they are stored by themselves.
    fn is_large(&self) -> bool {
        let open = self.publications.iter().filter(|publication| publication.open());
        let sizes =
            open.flat_map(|publication| additions(publication.edits.as_ref())).map(Distribution::size);
        let (count, bytes) =
            sizes.fold((0, 0_u64), |(count, bytes), size| (count + 1, bytes.saturating_add(size)));
        count > FEW_FILES || bytes > FEW_BYTES
    }

    /// Where the files of publications without an outcome go.
    fn places(&self) -> Result<Vec<(Files, &Distribution)>, RepositoryError> {
        let open = self.publications.iter().filter(|publication| publication.open());
        let added = open.flat_map(|publication| additions(publication.edits.as_ref()));
        added.map(|distribution| Ok((Files::of(distribution)?, distribution))).collect()
    }
}

impl<E> Publication<E> {
    fn open(&self) -> bool {
        self.outcome.is_none()
    }
}

impl Files {
    pub(super) fn of(distribution: &Distribution) -> Result<Self, RepositoryError> {
        let target = layout::distribution(distribution.filename.project(), distribution.filename.as_str())?;
        let both = |target: &TargetPath, bytes: &[u8]| {
            Ok::<_, RepositoryError>((layout::hashed(target, &sha256(bytes))?, layout::plain(target)?))
        };
        let metadata = match &distribution.metadata {
            Some(bytes) => Some(both(&metadata_of(&target)?, bytes)?),
            None => None,
        };
        let provenance = match &distribution.provenance {
            Some(object) => Some(both(&provenance_of(&target)?, object.as_str().as_bytes())?),
            None => None,
        };
        let hashed = layout::hashed(&target, &distribution.sha256)?;
        Ok(Self { hashed, plain: layout::plain(&target)?, metadata, provenance })
    }
}

fn additions(edits: &[Edit]) -> impl Iterator<Item = &Distribution> {
    edits.iter().filter_map(|edit| if let Edit::Add(added) = edit { Some(&**added) } else { None })
}

fn leaves_of(edits: &[Edit]) -> Result<Vec<FileLeaf>, RepositoryError> {
    let leaves = additions(edits).map(of_distribution).collect::<Result<Vec<_>, _>>()?;
    Ok(leaves.concat())
}

/// The files of added distributions: by content, by plain name, and their metadata and provenance.
pub(super) fn objects<'a>(places: &'a [(Files, &'a Distribution)]) -> Vec<(StorePath, Content<'a>)> {
    let mut objects = Vec::new();
    for (files, distribution) in places {
        objects.push((files.hashed.clone(), Content::File(distribution.copy.path())));
        objects.push((files.plain.clone(), Content::Copy(&files.hashed)));
        if let (Some((hashed, plain)), Some(bytes)) = (&files.metadata, &distribution.metadata) {
            objects.push((hashed.clone(), Content::Bytes(bytes)));
            objects.push((plain.clone(), Content::Copy(hashed)));
        }
        if let (Some((hashed, plain)), Some(object)) = (&files.provenance, &distribution.provenance) {
            objects.push((hashed.clone(), Content::Bytes(object.as_str().as_bytes())));
            objects.push((plain.clone(), Content::Copy(hashed)));
        }
    }
    objects
}

/// The signed pages.
fn page_objects(pages: &[(PlannedPage, String)]) -> Result<Vec<(StorePath, Content<'_>)>, RepositoryError> {
    let listed = pages.iter().filter(|(planned, _)| !planned.page.files().is_empty());
    let objects = listed.map(|(planned, json)| {
        let target = layout::page(planned.page.name())?;
        Ok((layout::hashed(&target, &sha256(json.as_bytes()))?, Content::Bytes(json.as_bytes())))
    });
    objects.collect()
}

/// Until an interrupted rotation is finished, what the store holds is signed with keys that may be stolen.
pub(super) fn refuse_unvouched(state: &State) -> Result<(), RepositoryError> {
    match state.unvouched().next() {
        None => Ok(()),
        Some(role) => Err(RepositoryError::Plan(format!(
            "{} is not signed as the newest root demands: finish its rotation with `wheelseal bump` first",
            role.name()
        ))),
    }
}
