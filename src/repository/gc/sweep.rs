//! Removing files, batch by batch, so that none is lost that a publication uses again at that moment.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::time::SystemTime;

use super::mark::{Listed, Spot};
use super::{Collected, MAX_REMOVED, Tell};
use crate::crypto::random;
use crate::repository::check::names::{file_name, plain_name};
use crate::repository::check::split_name;
use crate::repository::claims::names::project_of_role;
use crate::repository::state::State;
use crate::repository::{Repository, RepositoryError, layout, path};
use crate::store::{Content, Entry, StoreError, StorePath};
use crate::tuf::metadata::Version;

/// Files put aside, deleted and looked after together: what a client might miss for a moment if a publication uses it
/// again just then.
const BATCH: usize = 128;

/// One sweep.
pub(super) struct Sweep<'a> {
    repository: &'a Repository,
    /// The state whose files are all marked, by the board or by `late`.
    seen: State,
    late: HashSet<Spot>,
    dry_run: bool,
    /// Where this run puts things aside.
    run: String,
    batch: Vec<Listed>,
    collected: Collected,
    tell: &'a mut Tell<'a>,
}

impl<'a> Sweep<'a> {
    pub(super) fn new(
        repository: &'a Repository,
        seen: State,
        dry_run: bool,
        tell: &'a mut Tell<'_>,
    ) -> Result<Self, RepositoryError> {
        let run = hex::encode(random::<12>()?);
        let (late, batch, collected) = (HashSet::new(), Vec::new(), Collected::default());
        Ok(Self { repository, seen, late, dry_run, run, batch, collected, tell })
    }

    /// The path that something put aside was taken from: what follows `staging/gc/RUN/`.
    pub(super) fn original(aside: &StorePath) -> Option<&str> {
        let rest = aside.as_str().strip_prefix(layout::ASIDE)?.strip_prefix('/')?;
        rest.split_once('/').map(|(_, original)| original)
    }

    /// A metadata file that is not kept.
    pub(super) async fn metadata(&mut self, entry: Entry, before: SystemTime) -> Result<(), RepositoryError> {
        let young = entry.modified >= before;
        self.unmarked(Listed { path: entry.path, len: entry.len, young }).await
    }

    /// An upload that nobody signed in time.
    pub(super) async fn forgotten(&mut self, entry: Entry) -> Result<(), RepositoryError> {
        if !self.dry_run {
            // It may have been uploaded again since it was listed.
            let now = self.repository.store.stat(&entry.path).await?;
            if now.is_none_or(|now| now.modified != entry.modified) {
                return Ok(());
            }
            self.repository.store.delete(&entry.path).await?;
        }
        self.removed(&Listed { path: entry.path, len: entry.len, young: false });
        Ok(())
    }

    /// A file of the transparency log that nobody needs any more.
    pub(super) async fn log_file(&mut self, entry: Entry) -> Result<(), RepositoryError> {
        if self.dry_run || self.repository.log.remove(&entry).await? {
            self.removed(&Listed { path: entry.path, len: entry.len, young: false });
        }
        Ok(())
    }

    /// Something that is not marked.
    pub(super) async fn unmarked(&mut self, listed: Listed) -> Result<(), RepositoryError> {
        if listed.young {
            self.collected.young += 1;
            return Ok(());
        }
        if self.dry_run {
            self.removed(&listed);
            return Ok(());
        }
        self.batch.push(listed);
        if self.batch.len() < BATCH { Ok(()) } else { self.empty_batch().await }
    }

    /// Something that an earlier gc put aside; `wanted` if it is marked, and missing.
    pub(super) async fn left_aside(&mut self, left: &Listed, wanted: bool) -> Result<(), RepositoryError> {
        if self.dry_run {
            return Ok(());
        }
        if let Some(original) = Self::original(&left.path).filter(|_| wanted) {
            self.put_back(&path(original)?, &left.path).await?;
        }
        // Another gc may be at work, and these may be its own.
        if wanted || !left.young {
            self.repository.store.delete(&left.path).await?;
        }
        Ok(())
    }

    /// Ends it.
    pub(super) async fn finish(mut self) -> Result<Collected, RepositoryError> {
        self.empty_batch().await?;
        Ok(self.collected)
    }

    async fn empty_batch(&mut self) -> Result<(), RepositoryError> {
        let mut batch = std::mem::take(&mut self.batch);
        self.catch_up(&[]).await?;
        batch.retain(|listed| !self.is_late(&listed.path));
        let Some(asides) = self.put_aside(&batch).await? else { return self.without_room(batch).await };
        self.delete_all(batch.iter().map(|listed| &listed.path)).await?;
        self.catch_up(&asides).await?;
        for (original, aside) in &asides {
            if self.is_late(original) {
                self.put_back(original, aside).await?;
            }
        }
        self.delete_all(asides.iter().map(|(_, aside)| aside)).await?;
        for listed in batch {
            if !self.is_late(&listed.path) {
                self.removed(&listed);
            }
        }
        Ok(())
    }

    /// Copies of what may be used again in a batch, each with its original; `None` if there is no room for them.
    async fn put_aside(
        &self,
        batch: &[Listed],
    ) -> Result<Option<Vec<(StorePath, StorePath)>>, RepositoryError> {
        let mut asides = Vec::new();
        for listed in batch.iter().filter(|listed| may_be_used_again(&listed.path)) {
            let aside = path(format!("{}/{}/{}", layout::ASIDE, self.run, listed.path));
            // One whose name is too long for it is removed all the same.
            if let Ok(aside) = aside {
                asides.push((listed.path.clone(), aside));
            }
        }
        let copies: Vec<_> =
            asides.iter().map(|(original, aside)| (aside.clone(), Content::Copy(original))).collect();
        let mut room = true;
        for outcome in self.repository.store.create_all(&copies).await {
            match outcome {
                // What is gone already needs no copy.
                Ok(())
                | Err(StoreError::Exists { .. } | StoreError::Io { kind: ErrorKind::NotFound, .. }) => {}
                Err(StoreError::Io { kind: ErrorKind::StorageFull | ErrorKind::QuotaExceeded, .. }) => {
                    room = false;
                }
                Err(error) => return Err(error.into()),
            }
        }
        if !room {
            self.delete_all(asides.iter().map(|(_, aside)| aside)).await?;
        }
        Ok(room.then_some(asides))
    }

    /// The old way, for a disk so full that it cannot take another name for a file.
    async fn without_room(&mut self, batch: Vec<Listed>) -> Result<(), RepositoryError> {
        for listed in batch {
            self.catch_up(&[]).await?;
            if !self.is_late(&listed.path) {
                self.repository.store.delete(&listed.path).await?;
                self.removed(&listed);
            }
        }
        Ok(())
    }

    /// If something was committed since the last look, marks that too. Roles that were taken away before that look are put back
    /// first: they are read.
    async fn catch_up(&mut self, asides: &[(StorePath, StorePath)]) -> Result<(), RepositoryError> {
        let newer = self.repository.state_after(Some(&self.seen)).await?;
        if newer.tag == self.seen.tag {
            return Ok(());
        }
        for (original, aside) in asides.iter().filter(|(original, _)| is_current_role(&newer, original)) {
            self.put_back(original, aside).await?;
        }
        self.repository.mark_newer(&self.seen, &newer, &mut self.late).await?;
        self.seen = newer;
        Ok(())
    }

    fn is_late(&self, path: &StorePath) -> bool {
        self.late.contains(&Spot::of(path.as_str()))
    }

    async fn put_back(&mut self, original: &StorePath, aside: &StorePath) -> Result<(), RepositoryError> {
        match self.repository.store.create(original, Content::Copy(aside)).await {
            Ok(()) => self.collected.put_back += 1,
            Err(StoreError::Exists { .. } | StoreError::Io { kind: ErrorKind::NotFound, .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// One after another: a publication that finds its file there and gone a moment later fails, and has to be repeated,
    /// so that moment is kept short.
    async fn delete_all(&self, paths: impl Iterator<Item = &StorePath>) -> Result<(), RepositoryError> {
        for path in paths {
            self.repository.store.delete(path).await?;
        }
        Ok(())
    }

    fn removed(&mut self, listed: &Listed) {
        (self.tell)(listed.path.as_str());
        self.collected.count += 1;
        self.collected.bytes = self.collected.bytes.saturating_add(listed.len);
        if self.collected.removed.len() < MAX_REMOVED {
            self.collected.removed.push(listed.path.to_string());
        }
    }
}

/// Targets, and roles of claimed projects: their maintainers may send again what they signed long ago, and what never came to
/// be published. Other metadata is never used again: its version number is taken.
fn may_be_used_again(path: &StorePath) -> bool {
    path.as_str().starts_with(layout::TARGETS) || project_role_of(path).is_some()
}

/// Version and name, if it is the metadata of a claimed project.
fn project_role_of(path: &StorePath) -> Option<(Version, &str)> {
    split_name(plain_name(file_name(path))).filter(|(_, role)| project_of_role(role).is_some())
}

/// Whether it is the role of a project that the snapshot names.
fn is_current_role(state: &State, path: &StorePath) -> bool {
    let named = |(version, role)| state.snapshot.role(role).is_some_and(|file| file.version == version);
    project_role_of(path).is_some_and(named)
}

/// Where something belongs that an earlier gc has put aside, if nothing can be marked without it: the role of a project.
pub(super) fn needed(state: &State, aside: &StorePath) -> Option<StorePath> {
    let original = Sweep::original(aside).and_then(|original| path(original.to_owned()).ok())?;
    is_current_role(state, &original).then_some(original)
}
