//! Compressed siblings: `N.role.json.gz` and `.zst` beside `N.role.json`, for servers that do not compress themselves
//! (`gzip_static` of nginx, object stores behind a CDN).
//!
//! A sibling lives and dies with its plain file: `gc` keeps or removes both, `check` compares them. Clients never ask
//! for one, and check what comes out of it as if it had come plain. It is written after the plain file and before the
//! commit point; what a crash left beside a file that is gone is made right when that file's name is used again.
//!
//! Off unless `[metadata] compress` in `wheelseal.toml` says otherwise: it costs the publisher time.

use std::collections::{BTreeSet, HashSet};

use futures_util::{StreamExt, TryStreamExt, stream};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::check::Checked;
use super::check::names::plain_name;
use super::claims::names::is_claim_name;
use super::kept::is_retired;
use super::state::State;
use super::{MAX_METADATA, Progress, Repository, RepositoryError, layout};
use crate::coding::{self, Coding, Effort};
use crate::store::{Content, StoreError, StorePath};
use crate::tuf::metadata::MetaFile;

/// Files read, compressed and written together: 128 bins of 31 kB are 4 MB.
const GROUP: usize = 128;
/// Files read at once: the round trips of an object store are what takes time.
const READS: usize = 16;

/// `[metadata]`: how metadata is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetadataSettings {
    /// Which compressed siblings are written with each commit.
    #[serde(default)]
    pub compress: Vec<Coding>,
}

impl MetadataSettings {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What [`Repository::compress`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Compressed {
    /// Siblings written.
    pub written: u64,
    /// Siblings that were there already.
    pub found: u64,
    /// Bytes of the plain files of those written.
    pub plain_bytes: u64,
    /// Bytes written.
    pub bytes: u64,
}

/// The plain file, of a sibling or of itself.
pub(super) fn plain_path(path: &StorePath) -> Result<StorePath, RepositoryError> {
    super::path(plain_name(path.as_str()))
}

/// The sibling of a plain file.
fn sibling(plain: &StorePath, coding: Coding) -> Result<StorePath, RepositoryError> {
    super::path(format!("{plain}{}", coding.ending()))
}

impl Repository {
    /// Whether commits write siblings. If not, nothing of this file costs them anything.
    pub(super) fn writes_siblings(&self) -> bool {
        !self.settings.metadata.compress.is_empty()
    }

    /// Writes the siblings that the settings ask for, of plain files that are there already and stay as they are. To be
    /// called for the files of a commit, before its commit point.
    pub(super) async fn write_siblings(&self, files: &[(StorePath, &[u8])]) -> Result<(), RepositoryError> {
        let codings = &self.settings.metadata.compress;
        let wanted = files.iter().flat_map(|(plain, bytes)| codings.iter().map(move |c| (plain, *bytes, *c)));
        let mut coded = Vec::new();
        for (plain, bytes, coding) in wanted {
            coded.push((sibling(plain, coding)?, bytes, coding));
        }
        self.store_coded(&coded, Effort::Quick).await.map(drop)
    }

    /// The same for bins and other roles that are in the store already: names without `.json`, and what snapshot says of
    /// them. They are read back, some at a time.
    pub(super) async fn write_siblings_of(
        &self,
        written: &[(String, MetaFile)],
    ) -> Result<(), RepositoryError> {
        let paths = written.iter().map(|(role, file)| layout::versioned(role, file.version));
        let paths = paths.collect::<Result<Vec<_>, _>>()?;
        for group in paths.chunks(GROUP) {
            let reads: Vec<_> = group.iter().map(|plain| self.plain(plain)).collect();
            let bytes: Vec<_> = stream::iter(reads).buffered(READS).try_collect().await?;
            let files: Vec<_> = group.iter().cloned().zip(bytes.iter().map(Vec::as_slice)).collect();
            self.write_siblings(&files).await?;
        }
        Ok(())
    }

    async fn plain(&self, at: &StorePath) -> Result<Vec<u8>, RepositoryError> {
        let object = self.store.get(at, MAX_METADATA).await?;
        Ok(object.ok_or_else(|| RepositoryError::Missing(at.to_string()))?.bytes)
    }

    /// Writes the siblings that are missing, of all metadata that clients may ask for now. Returns what was done; doing
    /// it again does nothing.
    pub async fn compress(
        &self,
        codings: &[Coding],
        progress: &dyn Progress,
    ) -> Result<Compressed, RepositoryError> {
        let state = self.state().await?;
        let mut there = HashSet::new();
        self.store
            .walk(layout::METADATA, &mut |entry| {
                if plain_name(entry.path.as_str()) != entry.path.as_str() {
                    there.insert(entry.path);
                }
                Ok(())
            })
            .await?;
        let plain = current(&state, &self.live_claims(&state).await?)?;
        let mut done = Compressed::default();
        let total = u64::try_from(plain.len()).unwrap_or(u64::MAX);
        for (group, at) in plain.chunks(GROUP).zip((0_u64..).step_by(GROUP)) {
            progress.at("compressing", at, total);
            self.compress_group(group, codings, &there, &mut done).await?;
        }
        progress.at("compressing", total, total);
        Ok(done)
    }

    async fn compress_group(
        &self,
        group: &[StorePath],
        codings: &[Coding],
        there: &HashSet<StorePath>,
        done: &mut Compressed,
    ) -> Result<(), RepositoryError> {
        let mut wanted = Vec::new();
        for plain in group {
            let mut missing = Vec::new();
            for coding in codings {
                let path = sibling(plain, *coding)?;
                if there.contains(&path) { done.found += 1 } else { missing.push((path, *coding)) }
            }
            if !missing.is_empty() {
                wanted.push((plain, missing));
            }
        }
        let reads = stream::iter(wanted)
            .map(async |(plain, missing)| Ok::<_, RepositoryError>((self.plain(plain).await?, missing)));
        let files: Vec<_> = reads.buffered(READS).try_collect().await?;
        let mut coded = Vec::new();
        for (bytes, missing) in &files {
            let plain = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            coded.extend(missing.iter().map(|(path, coding)| (path.clone(), bytes.as_slice(), *coding)));
            done.plain_bytes += plain * u64::try_from(missing.len()).unwrap_or(u64::MAX);
        }
        done.written += u64::try_from(coded.len()).unwrap_or(u64::MAX);
        done.bytes += self.store_coded(&coded, Effort::Thorough).await?;
        Ok(())
    }

    /// Compresses on every core, and writes all together. Returns how many bytes.
    async fn store_coded(
        &self,
        files: &[(StorePath, &[u8], Coding)],
        effort: Effort,
    ) -> Result<u64, RepositoryError> {
        let coded: Result<Vec<Vec<u8>>, std::io::Error> =
            files.par_iter().map(|(_, bytes, coding)| coding::encode(*coding, bytes, effort)).collect();
        let coded = coded.map_err(|error| RepositoryError::File {
            what: "compressing",
            file: layout::METADATA.to_owned(),
            reason: error.to_string(),
        })?;
        let named = files.iter().zip(&coded).map(|((path, ..), coded)| (path.clone(), Content::Bytes(coded)));
        let objects: Vec<_> = named.collect();
        for (outcome, (path, coded)) in self.store.create_all(&objects).await.into_iter().zip(&objects) {
            match (outcome, coded) {
                (Err(StoreError::Exists { .. }), Content::Bytes(coded)) => self.replace(path, coded).await?,
                (outcome, _) => outcome?,
            }
        }
        Ok(coded.iter().map(|coded| u64::try_from(coded.len()).unwrap_or(u64::MAX)).sum())
    }

    /// A sibling that is there may be of another file: of one that a crash left unreferenced and `gc` removed.
    async fn replace(&self, path: &StorePath, coded: &[u8]) -> Result<(), RepositoryError> {
        let found = self.store.get(path, MAX_METADATA).await?;
        if found.as_ref().is_some_and(|found| found.bytes == coded) {
            return Ok(());
        }
        self.store.swap(path, coded, found.map(|found| found.tag).as_ref()).await?;
        Ok(())
    }

    /// From the next commit on, siblings of these codings are written.
    pub async fn compress_from_now_on(&mut self, codings: Vec<Coding>) -> Result<(), RepositoryError> {
        self.settings.metadata.compress = codings;
        self.settings.replace(&*self.store).await
    }

    /// Whether a sibling is its plain file compressed; anything else there is not looked at.
    pub(super) async fn check_sibling(
        &self,
        path: &StorePath,
        checked: &mut Checked,
    ) -> Result<(), RepositoryError> {
        let coding = Coding::ALL.into_iter().find(|coding| path.as_str().ends_with(coding.ending()));
        let (Some(coding), Some(coded)) = (coding, self.store.get(path, MAX_METADATA).await?) else {
            return Ok(());
        };
        let plain = self.store.get(&plain_path(path)?, MAX_METADATA).await?.map(|object| object.bytes);
        if coding::decode(coding, &coded.bytes, MAX_METADATA).ok() != plain {
            checked.problem(path.as_str(), &"is not its plain file compressed; delete it and run compress");
        }
        Ok(())
    }
}

/// All metadata that clients may ask for now, but for the timestamp, which changes under its name.
fn current(state: &State, claims: &BTreeSet<String>) -> Result<Vec<StorePath>, RepositoryError> {
    let mut files = vec![
        layout::versioned("root", state.root.common.version)?,
        layout::versioned("snapshot", state.snapshot.common.version)?,
    ];
    let retired = |role: &str| is_retired(state, role) || (is_claim_name(role) && !claims.contains(role));
    for (role, file) in state.snapshot.roles().filter(|(role, _)| !retired(role)) {
        files.push(layout::versioned(role, file.version)?);
    }
    Ok(files)
}
