//! A backup of everything that is signed: one compressed archive of a consistent state, taken while others publish.
//!
//! In it are all roots, the timestamp and what it leads to, the signed pages, and `wheelseal.toml`. Not in it are the
//! distributions and their metadata, which any mirror has and their hashes identify, superseded versions, and private
//! keys, which never lie in a repository. From it, [`Repository::restore`] makes the repository again.
//!
//! The form is tar in zstd, in this order, so that each entry can be verified when it comes, with one bin in memory:
//!
//! ```text
//! wheelseal.toml · metadata/the chain of roots, most often 1.root.json … N.root.json · timestamp.json · V.snapshot.json · V.targets.json
//!   · what targets delegates to · each bin, followed by the signed pages it lists (targets/simple/…)
//!   · buckets of claimed projects · each claimed project, followed by its page
//!   · metadata/V.snapshot.json.tlog-proof · log/… (if there is a transparency log; not the proofs of files)
//! ```
//!
//! The state is the one that the timestamp named when the backup began: everything it names stays for the grace period
//! of `gc`, whatever is published meanwhile. The archive is read back and verified before it gets its name.

pub(super) mod read;

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use tempfile::NamedTempFile;

use self::read::Contents;
use super::bins::in_order;
use super::claims::names::is_bucket_name;
use super::claims::{Bucket, Owned};
use super::init::bin_names;
use super::plain::project_of;
use super::root::first_root;
use super::settings::SETTINGS;
use super::state::{BINS, State};
use super::{MAX_ATTEMPTS, MAX_METADATA, Progress, Repository, RepositoryError, layout, path};
use crate::log::{HEAD, LogError};
use crate::store::StorePath;
use crate::tuf::metadata::{Delegations, Targets, Version};
use crate::tuf::path::{RoleName, TargetPath};
use crate::tuf::signed::Verified;
use crate::tuf::trusted::TrustError;

/// How hard zstd tries: metadata is mostly hashes, on which more effort is lost.
const EFFORT: i32 = 3;

/// A backup that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BackedUp {
    /// Version of its timestamp.
    pub timestamp: Version,
    /// Version of its snapshot.
    pub snapshot: Version,
    /// Metadata files in it, roots included.
    pub roles: u64,
    /// Signed pages in it.
    pub pages: u64,
    /// Length of the archive in bytes.
    pub bytes: u64,
}

/// Files to be packed together: a bin and its pages.
type Packed = Vec<(StorePath, Vec<u8>)>;

impl Repository {
    /// Writes the current state to the file `to`, which must not exist yet.
    pub async fn backup(&self, to: &Path, progress: &dyn Progress) -> Result<BackedUp, RepositoryError> {
        let state = self.state().await?;
        if state.unvouched().next().is_some() {
            let reason = "a rotation is not finished: run `wheelseal bump` first";
            return Err(RepositoryError::Plan(reason.to_owned()));
        }
        let failed = |error: &std::io::Error| failed(to, error);
        if to.exists() {
            return Err(failed(&std::io::ErrorKind::AlreadyExists.into()));
        }
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let staged = NamedTempFile::new_in(folder).map_err(|error| failed(&error))?;
        let mut packer = Packer::new(staged.as_file(), to)?;
        for (at, bytes) in self.top_files(&state).await? {
            packer.add(&at, &bytes)?;
        }
        self.pack_bins(&state, &mut packer, progress).await?;
        self.pack_projects(&state, &mut packer, progress).await?;
        if state.timestamp.log.is_some() {
            self.pack_log(&state, &mut packer).await?;
        }
        packer.finish()?;
        let contents = Contents::of(staged.path()).await?;
        if contents.timestamp.bytes() != state.timestamp.bytes() {
            return Err(RepositoryError::backup(to, "what was read back is not what was written"));
        }
        let bytes = staged.as_file().metadata().map_err(|error| failed(&error))?.len();
        staged.persist_noclobber(to).map_err(|refused| failed(&refused.error))?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| failed(&error))?;
        Ok(BackedUp {
            timestamp: contents.timestamp.common.version,
            snapshot: contents.snapshot.common.version,
            roles: contents.roles,
            pages: contents.pages,
            bytes,
        })
    }

    /// Everything above the bins, in the order of the archive.
    async fn top_files(&self, state: &State) -> Result<Packed, RepositoryError> {
        let mut files = vec![self.stored(&path(SETTINGS)?).await?];
        for version in first_root(&state.root)..=state.root.common.version {
            files.push(self.stored(&layout::versioned("root", version)?).await?);
        }
        files.push((layout::timestamp()?, state.timestamp.bytes().to_vec()));
        let at = layout::versioned("snapshot", state.snapshot.common.version)?;
        files.push((at, state.snapshot.bytes().to_vec()));
        let at = layout::versioned("targets", state.targets.common.version)?;
        files.push((at, state.targets.bytes().to_vec()));
        for role in state.targets.delegations.iter().flat_map(Delegations::names) {
            let role = role?;
            let metadata = state.delegated(self.store(), &role).await?;
            let at = layout::versioned(role.as_str(), metadata.common.version)?;
            files.push((at, metadata.bytes().to_vec()));
        }
        Ok(files)
    }

    async fn stored(&self, at: &StorePath) -> Result<(StorePath, Vec<u8>), RepositoryError> {
        let object = self.store.get(at, MAX_METADATA).await?;
        let bytes = object.ok_or_else(|| RepositoryError::Missing(at.to_string()))?.bytes;
        Ok((at.clone(), bytes))
    }

    async fn pack_bins(
        &self,
        state: &State,
        packer: &mut Packer<'_>,
        progress: &dyn Progress,
    ) -> Result<(), RepositoryError> {
        let names = bin_names(&state.bins)?;
        let total = u64::try_from(names.len()).unwrap_or(u64::MAX);
        let shared = (self.clone(), Arc::new(state.clone()));
        let work = move |name: RoleName| {
            let (repository, state) = shared.clone();
            async move { repository.packed_bin(&state, &name).await }
        };
        let mut done = 0;
        in_order(names, work, |files| {
            done += 1;
            progress.at("writing the backup", done, total);
            files.iter().try_for_each(|(at, bytes)| packer.add(at, bytes))
        })
        .await
    }

    /// Buckets of claimed projects, then each project with its page.
    async fn pack_projects(
        &self,
        state: &State,
        packer: &mut Packer<'_>,
        progress: &dyn Progress,
    ) -> Result<(), RepositoryError> {
        for Bucket { name, content, .. } in self.all_buckets(state).await? {
            packer.add(&layout::versioned(name.as_str(), content.common.version)?, content.bytes())?;
        }
        let all = self.all_owned(state).await?;
        let total = u64::try_from(all.len()).unwrap_or(u64::MAX);
        let shared = (self.clone(), Arc::new(state.clone()));
        let work = move |owned: Owned| {
            let (repository, state) = shared.clone();
            async move {
                let role = state.project(repository.store(), &owned).await?;
                repository.packed(&owned.role, &role).await
            }
        };
        let mut done = 0;
        in_order(all, work, |files| {
            done += 1;
            progress.at("writing the backup", done, total);
            files.iter().try_for_each(|(at, bytes)| packer.add(at, bytes))
        })
        .await
    }

    /// The transparency log: its checkpoint before its head, and its head before what it is made of, for others may append
    /// meanwhile. The head's staged entries go when all its tiles are there, so they are read first. Proofs of files are made
    /// anew out of it.
    async fn pack_log(&self, state: &State, packer: &mut Packer<'_>) -> Result<(), RepositoryError> {
        let proof = layout::snapshot_proof(state.snapshot.common.version)?;
        let checkpoint = path(format!("{}/checkpoint", layout::LOG))?;
        for at in [&proof, &checkpoint] {
            packer.add(at, &self.stored(at).await?.1)?;
        }
        let head = self.log.head().await?.ok_or_else(|| RepositoryError::Missing(HEAD.to_owned()))?;
        let head_at = path(HEAD)?;
        packer.add(&head_at, &head.render().map_err(LogError::from)?)?;
        for at in head.staged()? {
            let Some(object) = self.store.get(&at, MAX_METADATA).await? else { break };
            packer.add(&at, &object.bytes)?;
        }
        let mut done = HashSet::from([checkpoint, head_at]);
        for _ in 0..MAX_ATTEMPTS {
            if self.pack_tiles(&mut done, packer).await? {
                return Ok(());
            }
        }
        Err(RepositoryError::Busy(MAX_ATTEMPTS))
    }

    /// What is not packed yet of the log; false if some of it went away, as partial tiles do when there is a full one.
    async fn pack_tiles(
        &self,
        done: &mut HashSet<StorePath>,
        packer: &mut Packer<'_>,
    ) -> Result<bool, RepositoryError> {
        let mut complete = true;
        for entry in self.store.list(layout::LOG).await? {
            let other = matches!(entry.path.segments().nth(1), Some("before" | "staged"));
            if other || done.contains(&entry.path) {
                continue;
            }
            match self.store.get(&entry.path, MAX_METADATA).await? {
                Some(object) => packer.add(&entry.path, &object.bytes)?,
                None => complete = false,
            }
            done.insert(entry.path);
        }
        Ok(complete)
    }

    async fn packed_bin(&self, state: &State, name: &RoleName) -> Result<Packed, RepositoryError> {
        self.packed(name, &state.bin(self.store(), name).await?).await
    }

    /// A role with the signed pages that it lists.
    async fn packed(&self, name: &RoleName, bin: &Verified<Targets>) -> Result<Packed, RepositoryError> {
        let mut files = vec![(layout::versioned(name.as_str(), bin.common.version)?, bin.bytes().to_vec())];
        for (target, file) in &bin.targets {
            let target = TargetPath::new(target)?;
            let (Some(_), Some(digest)) = (project_of(&target), &file.hashes.sha256) else { continue };
            let (at, bytes) = self.stored(&layout::hashed(&target, digest)?).await?;
            let wrong = |mismatch| TrustError::WrongHash { role: at.to_string(), mismatch };
            file.hashes.check_bytes(&bytes).map_err(wrong)?;
            files.push((at, bytes));
        }
        Ok(files)
    }
}

/// Writes the archive.
struct Packer<'a> {
    tar: tar::Builder<zstd::stream::write::Encoder<'static, BufWriter<&'a File>>>,
    to: &'a Path,
}

impl<'a> Packer<'a> {
    fn new(file: &'a File, to: &'a Path) -> Result<Self, RepositoryError> {
        let encoder = zstd::stream::write::Encoder::new(BufWriter::new(file), EFFORT);
        let mut encoder = encoder.map_err(|error| failed(to, &error))?;
        encoder.include_checksum(true).map_err(|error| failed(to, &error))?;
        Ok(Self { tar: tar::Builder::new(encoder), to })
    }

    /// Adds a file. Nothing of who wrote it, or when, goes with it.
    fn add(&mut self, at: &StorePath, bytes: &[u8]) -> Result<(), RepositoryError> {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        header.set_mode(0o644);
        header.set_mtime(0);
        let added = self.tar.append_data(&mut header, at.as_str(), bytes);
        added.map_err(|error| failed(self.to, &error))
    }

    fn finish(self) -> Result<(), RepositoryError> {
        let encoder = self.tar.into_inner().map_err(|error| failed(self.to, &error))?;
        let mut file = encoder.finish().map_err(|error| failed(self.to, &error))?;
        let synced = file.flush().and_then(|()| file.get_ref().sync_all());
        synced.map_err(|error| failed(self.to, &error))
    }
}

fn failed(file: &Path, error: &std::io::Error) -> RepositoryError {
    RepositoryError::File { what: "writing", file: file.display().to_string(), reason: error.to_string() }
}

/// Whether it is `bins` or a bucket that delegates to a role: then the role's pages follow it.
fn lists_pages(delegator: &RoleName) -> bool {
    delegator.as_str() == BINS || is_bucket_name(delegator.as_str())
}
