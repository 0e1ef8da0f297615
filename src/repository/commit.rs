//! New files, then the one commit point.
//!
//! Target files, changed targets roles, snapshot and a note of the pages to refresh are written and made durable
//! together ([`Repository::stage`]); nothing refers to them yet. In a repository with a log, what is staged is logged with the
//! same flushing or after it, and its tiles and proofs are written ([`super::log`]). Last is the swap of `timestamp.json`. A
//! version number that a crash or a slower publisher left taken is skipped: versions must grow, not be consecutive.

use chrono::{DateTime, Utc};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::bins::spread;
use super::check::names::file_name;
use super::check::split_name;
use super::keyring::{Crew, Keyring};
use super::log::{Leaves, Logged};
use super::pages::note;
use super::state::{RUNAWAY, State};
use super::{MAX_ATTEMPTS, Repository, RepositoryError, days_after, layout};
use crate::crypto::sha256;
use crate::log::Appended;
use crate::store::{Content, Order, StoreError, StorePath, Swap};
use crate::tlog::leaf;
use crate::tuf::held::Held;
use crate::tuf::metadata::{About, Hashes, MetaFile, Role, Root, Snapshot, Targets, TopLevel, Version};
use crate::tuf::signed::{Authority, Draft};
use crate::tuf::trusted::Limits;

/// Taken version numbers that are skipped, at most: each is the leftover of a crash or a lost race.
const MAX_SKIPPED: u32 = 1_000;

/// Target files from which on they are stored while the roles are signed, in a round of flushing of their own.
const MANY_FILES: usize = 64;

/// Signatures of one thread's roles asked for at once: hides the delay of a key service.
const SIGNATURES_AT_ONCE: usize = 32;

/// A targets role with new content.
#[derive(Debug)]
pub(super) struct NewRole<'a> {
    pub(super) draft: Draft<Targets>,
    /// Whoever must accept it: one delegator, or the old and the new one while keys rotate.
    pub(super) authorities: Vec<Authority<'a>>,
    pub(super) listing: Listing,
}

/// How snapshot lists a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listing {
    /// With length and hash: the few roles above the bins.
    Hashed,
    /// By version alone, as PEP 458 lists bins: there are many.
    Version,
}

/// What one commit changes.
#[derive(Debug)]
pub(super) struct Transaction<'a> {
    pub(super) roles: Vec<NewRole<'a>>,
    /// Roles whose new files are durable in the store already: names without `.json`, and what snapshot says of them.
    pub(super) written: Vec<(String, MetaFile)>,
    /// Whether snapshot is made anew even if no role changed.
    pub(super) snapshot: bool,
    /// The root under which timestamp and snapshot must verify, after the one they verify under now.
    pub(super) successor: Option<&'a Root>,
    /// Projects whose unsigned pages change with this commit.
    pub(super) pages: Vec<String>,
    /// Target files.
    pub(super) files: Vec<(StorePath, Content<'a>)>,
    /// Files that no commit before may have named.
    pub(super) leaves: Leaves,
}

impl Transaction<'_> {
    /// Nothing but a new timestamp.
    pub(super) fn empty() -> Self {
        Self {
            roles: Vec::new(),
            written: Vec::new(),
            snapshot: false,
            successor: None,
            pages: Vec::new(),
            files: Vec::new(),
            leaves: Leaves::Compared,
        }
    }
}

/// What is durable, and waits for the timestamp to name it.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) leaves: Leaves,
    pub(super) snapshot: Option<(Draft<Snapshot>, Vec<u8>)>,
    roles: Vec<(StorePath, Vec<u8>)>,
    /// Target files that were there already.
    pub(super) found: Vec<StorePath>,
    /// Notes of the pages to refresh.
    pub(super) notes: Vec<StorePath>,
    /// What became of the append that was to be made with it; `None`: none was.
    pub(super) appended: Option<Result<Appended, RepositoryError>>,
}

/// What a commit writes before its commit point.
struct Stage<'a> {
    keys: &'a Keyring,
    /// Who must accept snapshot.
    authorities: Vec<Authority<'a>>,
    snapshot: Draft<Snapshot>,
    roles: Vec<Pending<'a>>,
    files: Vec<(StorePath, Content<'a>)>,
    pages: Vec<String>,
}

/// A role with its signed file.
struct Pending<'a> {
    role: NewRole<'a>,
    name: String,
    at: StorePath,
    bytes: Vec<u8>,
    written: bool,
}

/// What an object is that was written among others.
#[derive(Clone, Copy)]
enum Kind<'a> {
    File(Content<'a>),
    Role(usize),
    Note,
    Snapshot,
}

impl Repository {
    /// Signs and writes everything, and swaps the timestamp. [`StoreError::Conflict`] means that another publisher
    /// was faster: nothing happened, load the state anew and plan again.
    pub(super) async fn commit(
        &self,
        keys: &Keyring,
        state: &State,
        transaction: Transaction<'_>,
        now: DateTime<Utc>,
    ) -> Result<(), RepositoryError> {
        let successor = transaction.successor;
        let staged = self.stage(keys, state, transaction, now).await?;
        self.swap_timestamp(keys, state, staged, successor, now).await.map(drop)
    }

    /// Signs and writes everything but the timestamp.
    pub(super) async fn stage(
        &self,
        keys: &Keyring,
        state: &State,
        transaction: Transaction<'_>,
        now: DateTime<Utc>,
    ) -> Result<Staged, RepositoryError> {
        let authorities = authorities(state, transaction.successor, TopLevel::Snapshot);
        if let Some(newest) = self::authorities(state, transaction.successor, TopLevel::Timestamp).last() {
            keys.require(newest)?;
        }
        let Transaction { roles, written, snapshot, pages, files, leaves, .. } = transaction;
        let (found, notes) = (Vec::new(), Vec::new());
        let mut staged = Staged { leaves, snapshot: None, roles: Vec::new(), found, notes, appended: None };
        if !snapshot && roles.is_empty() && written.is_empty() {
            return Ok(staged);
        }
        let mut draft = self.next_snapshot(state, now).await?;
        self.skip_logged(state, &staged.leaves, &mut draft).await?;
        if self.writes_siblings() {
            self.write_siblings_of(&written).await?;
        }
        draft.content.set_all(written);
        let mut files = files;
        let early = if files.len() < MANY_FILES { Vec::new() } else { std::mem::take(&mut files) };
        let (pending, stored) = tokio::join!(sign_all(keys, roles), self.store.create_all(&early));
        let pending = pending?;
        for (outcome, (_, content)) in stored.into_iter().zip(&early) {
            staged.file_is(content, outcome)?;
        }
        for role in &pending {
            draft.content.set(&role.name, role.entry());
        }
        let mut work = Stage { keys, authorities, snapshot: draft, roles: pending, files, pages };
        for _ in 0..MAX_SKIPPED {
            if let Some(bytes) = self.write_stage(state, &mut work, &mut staged).await? {
                if self.writes_siblings() {
                    self.write_siblings(&work.metadata(&bytes)?).await?;
                }
                staged.snapshot = Some((work.snapshot, bytes));
                staged.roles = work.roles.into_iter().map(|role| (role.at, role.bytes)).collect();
                return Ok(staged);
            }
            work.next_versions().await?;
        }
        Err(RepositoryError::Busy(MAX_SKIPPED))
    }

    /// Writes what is not written yet, and appends to the log if nothing of it was there. Returns the snapshot's file, or
    /// nothing if some version was taken.
    async fn write_stage(
        &self,
        state: &State,
        work: &mut Stage<'_>,
        staged: &mut Staged,
    ) -> Result<Option<Vec<u8>>, RepositoryError> {
        let version = work.snapshot.content.common.version;
        let bytes = sign_for(work.keys, &work.snapshot, &work.authorities).await?;
        let note = note(&work.pages, version)?;
        let (mut kinds, mut objects) = (Vec::new(), Vec::new());
        for file in std::mem::take(&mut work.files) {
            kinds.push(Kind::File(file.1));
            objects.push(file);
        }
        for (at, role) in work.roles.iter().enumerate().filter(|(_, role)| !role.written) {
            kinds.push(Kind::Role(at));
            objects.push((role.at.clone(), Content::Bytes(&role.bytes)));
        }
        if let Some((at, text)) = &note {
            kinds.push(Kind::Note);
            objects.push((at.clone(), Content::Bytes(text)));
        }
        kinds.push(Kind::Snapshot);
        objects.push((layout::versioned("snapshot", version)?, Content::Bytes(&bytes)));
        // A file that was there may have other content, which refuses its publication: then nothing is to be logged yet.
        let planned = if staged.found.is_empty() {
            Box::pin(self.plan_append(state, &staged.leaves, &work.snapshot, &bytes)).await?
        } else {
            None
        };
        let outcomes = match planned {
            None => self.store.create_all(&objects).await,
            Some(planned) => {
                let written = self.store.create_then_swap(&objects, &[planned.swap()], Order::Open).await;
                if let Some(swapped) = written.swapped.and_then(|swapped| swapped.into_iter().next()) {
                    staged.appended = Some(self.appended(planned, swapped).await);
                }
                written.created
            }
        };
        drop(objects);
        let mut taken = false;
        for (kind, outcome) in kinds.into_iter().zip(outcomes) {
            match (kind, outcome) {
                (Kind::File(content), outcome) => staged.file_is(&content, outcome)?,
                (Kind::Role(_) | Kind::Snapshot, Err(StoreError::Exists { .. })) => taken = true,
                (_, Err(error)) => return Err(error.into()),
                (Kind::Role(at), Ok(())) => work.roles.iter_mut().skip(at).take(1).for_each(Pending::done),
                (_, Ok(())) => {}
            }
        }
        staged.notes.extend(note.map(|(at, _)| at));
        Ok((!taken).then_some(bytes))
    }

    /// Logs what is staged, then the commit point. Returns the new state, as long as the roles above the bins have not changed.
    pub(super) async fn swap_timestamp(
        &self,
        keys: &Keyring,
        state: &State,
        mut staged: Staged,
        successor: Option<&Root>,
        now: DateTime<Utc>,
    ) -> Result<State, RepositoryError> {
        let logged = Box::pin(self.log_staged(keys, state, &mut staged)).await?;
        let mut timestamp = state.timestamp.draft();
        if staged.snapshot.is_some() {
            timestamp.content.log = logged.as_ref().map(Logged::named);
        }
        if let Some((snapshot, bytes)) = &staged.snapshot {
            timestamp.content.snapshot = announce(snapshot.content.common.version, bytes);
        }
        let common = timestamp.content.common_mut();
        common.version = state.base_version(common.version).saturating_add(1);
        common.expires = days_after(now, self.settings.expiry.timestamp);
        let authorities = |role| authorities(state, successor, role);
        let bytes = sign_for(keys, &timestamp, &authorities(TopLevel::Timestamp)).await?;
        let path = layout::timestamp()?;
        let swap = Swap { path: &path, bytes: &bytes, expected: Some(&state.tag) };
        let tag = match &logged {
            Some(logged) => Box::pin(self.commit_logged(logged, swap)).await?,
            None => self.store.swap(swap.path, swap.bytes, swap.expected).await?,
        };
        self.write_missing(staged.metadata()?).await?;
        let signers = |role| keys.signers_for(&authorities(role));
        let timestamp = Held::signed(timestamp, bytes, signers(TopLevel::Timestamp));
        let snapshot = staged.snapshot;
        let snapshot = snapshot.map(|(draft, bytes)| Held::signed(draft, bytes, signers(TopLevel::Snapshot)));
        let committed = state.after(timestamp, snapshot, tag);
        self.anchor.as_ref().map_or(Ok(()), |anchor| anchor.check(None, &committed))?;
        Ok(committed)
    }

    /// After a commit: a gc may have removed what a publisher that slept for longer than the grace period had staged, or
    /// a file that had been there for long.
    pub(super) async fn write_missing(
        &self,
        objects: Vec<(StorePath, Content<'_>)>,
    ) -> Result<(), RepositoryError> {
        for _ in 0..MAX_ATTEMPTS {
            if self.write_what_is_missing(&objects).await? {
                return Ok(());
            }
        }
        Err(RepositoryError::Busy(MAX_ATTEMPTS))
    }

    /// One round of it; false if the original of a copy went away between the look and the copying.
    async fn write_what_is_missing(
        &self,
        objects: &[(StorePath, Content<'_>)],
    ) -> Result<bool, RepositoryError> {
        let (mut missing, mut complete) = (Vec::new(), true);
        let paths: Vec<_> = objects.iter().map(|(path, _)| path.clone()).collect();
        for ((path, content), exists) in objects.iter().zip(self.store.exist(&paths).await?) {
            if !exists {
                missing.push((path.clone(), *content));
            }
        }
        if missing.is_empty() {
            return Ok(true);
        }
        for (outcome, (_, content)) in self.store.create_all(&missing).await.into_iter().zip(&missing) {
            match outcome {
                Ok(()) | Err(StoreError::Exists { .. }) => {}
                Err(error) if matches!(content, Content::Copy(_)) && original_is_gone(&error) => {
                    complete = false;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(complete)
    }

    async fn next_snapshot(
        &self,
        state: &State,
        now: DateTime<Utc>,
    ) -> Result<Draft<Snapshot>, RepositoryError> {
        let mut draft = state.snapshot.draft();
        let common = draft.content.common_mut();
        let before = state.base_version(common.version);
        let before = if before == common.version { before } else { self.last_snapshot().await? };
        common.version = before.saturating_add(1);
        common.expires = days_after(now, self.settings.expiry.snapshot);
        Ok(draft)
    }

    /// No two snapshots of one version are ever logged, also if the first was of a commit that came to nothing, and its file
    /// is gone.
    async fn skip_logged(
        &self,
        state: &State,
        leaves: &Leaves,
        draft: &mut Draft<Snapshot>,
    ) -> Result<(), RepositoryError> {
        let logged = match leaves {
            Leaves::New(book, _) | Leaves::All(book) => book.logged(leaf::Role::Snapshot),
            Leaves::Compared | Leaves::Nothing => {
                let may_be = state.timestamp.log.is_some() || self.settings.log.is_some();
                let head = if may_be { self.log.head().await? } else { None };
                head.map_or(0, |head| head.logged(leaf::Role::Snapshot))
            }
        };
        let version = &mut draft.content.common.version;
        *version = (*version).max(logged.saturating_add(1));
        Ok(())
    }

    /// The highest version of a snapshot in the store that no thief pushed up.
    async fn last_snapshot(&self) -> Result<Version, RepositoryError> {
        let mut last = 0;
        self.store
            .walk(layout::METADATA, &mut |entry| {
                let name = split_name(file_name(&entry.path));
                if let Some((version, "snapshot")) = name.filter(|(version, _)| *version < RUNAWAY) {
                    last = last.max(version);
                }
                Ok(())
            })
            .await?;
        Ok(last)
    }
}

impl Staged {
    /// Notes a file that was there already. An original that a gc had just removed is written again after the commit,
    /// and so is its copy.
    fn file_is(&mut self, content: &Content<'_>, outcome: Result<(), StoreError>) -> Result<(), StoreError> {
        match outcome {
            Err(StoreError::Exists { path }) => self.found.push(path),
            Err(error) if matches!(content, Content::Copy(_)) && original_is_gone(&error) => {}
            outcome => outcome?,
        }
        Ok(())
    }

    fn metadata(&self) -> Result<Vec<(StorePath, Content<'_>)>, RepositoryError> {
        let roles = self.roles.iter().map(|(at, bytes)| (at.clone(), Content::Bytes(bytes)));
        let mut metadata: Vec<_> = roles.collect();
        if let Some((draft, bytes)) = &self.snapshot {
            let at = layout::versioned("snapshot", draft.content.common.version)?;
            metadata.push((at, Content::Bytes(bytes)));
        }
        Ok(metadata)
    }
}

impl Stage<'_> {
    /// All metadata of it, with the snapshot's file.
    fn metadata<'a>(&'a self, snapshot: &'a [u8]) -> Result<Vec<(StorePath, &'a [u8])>, RepositoryError> {
        let roles = self.roles.iter().map(|role| (role.at.clone(), role.bytes.as_slice()));
        let at = layout::versioned("snapshot", self.snapshot.content.common.version)?;
        Ok(roles.chain([(at, snapshot)]).collect())
    }

    /// Signs snapshot and what was not written anew, under the next version.
    async fn next_versions(&mut self) -> Result<(), RepositoryError> {
        for role in self.roles.iter_mut().filter(|role| !role.written) {
            role.next_version(self.keys).await?;
            self.snapshot.content.set(&role.name, role.entry());
        }
        let common = &mut self.snapshot.content.common;
        common.version = common.version.saturating_add(1);
        Ok(())
    }
}

impl Pending<'_> {
    async fn next_version(&mut self, keys: &Keyring) -> Result<(), RepositoryError> {
        let common = &mut self.role.draft.content.common;
        common.version = common.version.saturating_add(1);
        self.at = layout::versioned(&self.name, common.version)?;
        self.bytes = sign_for(keys, &self.role.draft, &self.role.authorities).await?;
        Ok(())
    }

    fn done(&mut self) {
        self.written = true;
    }

    fn entry(&self) -> MetaFile {
        let version = self.role.draft.content.common.version;
        match self.role.listing {
            Listing::Hashed => announce(version, &self.bytes),
            Listing::Version => MetaFile::version(version),
        }
    }
}

/// Whether a copy failed because a gc had just removed its original: both are written again after the commit.
pub(super) fn original_is_gone(error: &StoreError) -> bool {
    matches!(error, StoreError::Io { kind: std::io::ErrorKind::NotFound, .. })
}

/// What root says of a top-level role, and its successor if there is one.
fn authorities<'a>(state: &'a State, successor: Option<&'a Root>, role: TopLevel) -> Vec<Authority<'a>> {
    [&*state.root].into_iter().chain(successor).map(|root| root.authority(role)).collect()
}

/// Renders and signs roles on every core.
async fn sign_all<'a>(keys: &Keyring, roles: Vec<NewRole<'a>>) -> Result<Vec<Pending<'a>>, RepositoryError> {
    let (mut rest, mut work) = (Vec::with_capacity(roles.len()), Vec::with_capacity(roles.len()));
    for NewRole { draft, authorities, listing } in roles {
        let name = required(keys, &authorities)?.to_owned();
        work.push((name, draft, keys.crew(&authorities)));
        rest.push((authorities, listing));
    }
    let signed = spread(work, |work| {
        let signed = stream::iter(work).map(async |(name, draft, crew): (String, Draft<Targets>, Crew)| {
            let bytes = crew.sign(&draft.payload()).await?;
            refuse_too_large(&name, &bytes)?;
            Ok((name, draft, bytes))
        });
        signed.buffered(SIGNATURES_AT_ONCE).try_collect()
    });
    let mut pending = Vec::with_capacity(rest.len());
    for ((name, draft, bytes), (authorities, listing)) in signed.await?.into_iter().zip(rest) {
        let at = layout::versioned(&name, draft.content.common.version)?;
        let role = NewRole { draft, authorities, listing };
        pending.push(Pending { role, name, at, bytes, written: false });
    }
    Ok(pending)
}

/// The role's name, if the keys at hand reach what the last authority demands.
fn required<'a>(keys: &Keyring, authorities: &[Authority<'a>]) -> Result<&'a str, RepositoryError> {
    let newest = authorities.last();
    let newest = newest.ok_or_else(|| RepositoryError::Plan("a role that nobody delegates to".to_owned()))?;
    keys.require(newest)?;
    Ok(newest.role())
}

/// A file signed by every key at hand that counts for any of `authorities`; the last must reach its threshold.
async fn sign_for<T: Role>(
    keys: &Keyring,
    draft: &Draft<T>,
    authorities: &[Authority<'_>],
) -> Result<Vec<u8>, RepositoryError> {
    let role = required(keys, authorities)?;
    let bytes = keys.sign_as_able(&draft.payload(), authorities).await?;
    refuse_too_large(role, &bytes)?;
    Ok(bytes)
}

/// Refuses metadata that this project's own client would not take.
pub(super) fn refuse_too_large(role: &str, bytes: &[u8]) -> Result<(), RepositoryError> {
    let limits = Limits::default();
    let max = match role {
        "root" => limits.root,
        "timestamp" => limits.timestamp,
        "snapshot" => limits.snapshot,
        _ => limits.targets,
    };
    let found = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if found <= max {
        return Ok(());
    }
    Err(RepositoryError::TooLarge { role: role.to_owned(), found, max })
}

/// What snapshot or timestamp say of a file: version, length, hash.
pub(super) fn announce(version: Version, bytes: &[u8]) -> MetaFile {
    let hashes = Some(Hashes::sha256(sha256(bytes)));
    MetaFile::new(version, About { length: u64::try_from(bytes.len()).ok(), hashes, ..About::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_that_clients_refuse_is_not_signed() {
        let max = Limits::default().snapshot;
        let bytes = vec![b' '; usize::try_from(max).unwrap() + 1];
        assert_eq!(refuse_too_large("snapshot", &bytes[1..]), Ok(()));
        let found = max + 1;
        let expected = RepositoryError::TooLarge { role: "snapshot".to_owned(), found, max };
        assert_eq!(refuse_too_large("snapshot", &bytes), Err(expected));
    }
}
