//! Target files, found wherever they lie: by name and length, confirmed by SHA-256.
//!
//! Wanted and found meet in a [`Spill`], by the hash of the file name, so that neither list need fit in memory. A name
//! may have a hash before it, as in `targets/`. A file that is under its right name already is read, not copied.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Missing;
use crate::crypto::{Hasher, sha256};
use crate::repository::bins::in_order;
use crate::repository::spill::{BUDGET, PARTITIONS, Records, Spill};
use crate::repository::{Progress, Repository, RepositoryError, layout, path};
use crate::store::{Content, StoreError, StorePath};
use crate::tuf::metadata::{Extra, Hashes, TargetFile};
use crate::tuf::path::TargetPath;

/// First bytes of the records.
const WANTED: u8 = 0;
const STORED: u8 = 1;
const LOCAL: u8 = 2;

/// Hexadecimal digits of a SHA-256.
const DIGITS: usize = 64;

/// Bytes of a local file read at once.
const CHUNK: usize = 256 * 1024;

/// Wanted and found.
pub(super) struct Stock {
    spill: Spill,
}

/// A wanted target, and where a file of its name and length lies.
struct Job {
    target: TargetPath,
    file: TargetFile,
    places: Vec<Place>,
}

#[derive(Debug, Clone)]
enum Place {
    Stored(StorePath),
    Local(PathBuf),
}

impl Stock {
    pub(super) fn new() -> Self {
        Self { spill: Spill::new(PARTITIONS, BUDGET) }
    }

    /// Notes that a target's file is wanted.
    pub(super) fn want(&self, target: &TargetPath, file: &TargetFile) -> Result<(), RepositoryError> {
        let Some(digest) = &file.hashes.sha256 else { return Ok(()) };
        let mut record = vec![WANTED];
        record.extend(digest);
        record.extend(file.length.to_be_bytes());
        record.extend(target.as_str().as_bytes());
        Ok(self.spill.push(key_of(target.file_name()), &record)?)
    }

    fn found(&self, kind: u8, name: &str, len: u64, place: &str) -> Result<(), RepositoryError> {
        let mut record = vec![kind];
        record.extend(len.to_be_bytes());
        record.extend(place.as_bytes());
        Ok(self.spill.push(key_of(bare(name)), &record)?)
    }

    /// Notes all files below a local folder. Links are not followed, and names that are no text are no target's.
    fn look_below(&self, folder: &Path) -> Result<(), RepositoryError> {
        let failed = |error: &walkdir::Error| RepositoryError::File {
            what: "looking for files in",
            file: folder.display().to_string(),
            reason: error.to_string(),
        };
        for entry in walkdir::WalkDir::new(folder) {
            let entry = entry.map_err(|error| failed(&error))?;
            let (Some(name), Some(place)) = (entry.file_name().to_str(), entry.path().to_str()) else {
                continue;
            };
            if entry.file_type().is_file() {
                let len = entry.metadata().map_err(|error| failed(&error))?.len();
                self.found(LOCAL, name, len, place)?;
            }
        }
        Ok(())
    }

    fn jobs(&self, index: usize) -> Result<Vec<Job>, RepositoryError> {
        jobs_of(&self.spill.partition(index)?)
    }
}

fn key_of(name: &str) -> u64 {
    u64::from_be_bytes(*sha256(name.as_bytes()).split_first_chunk().map_or(&[0; 8], |(key, _)| key))
}

/// A file name without the hash that may stand before it.
fn bare(name: &str) -> &str {
    let rest = name.split_at_checked(DIGITS).and_then(|(digits, rest)| {
        let hash = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        rest.strip_prefix('.').filter(|rest| hash && !rest.is_empty())
    });
    rest.unwrap_or(name)
}

fn jobs_of(records: &Records) -> Result<Vec<Job>, RepositoryError> {
    let (mut jobs, mut last, mut first): (Vec<Job>, _, _) = (Vec::with_capacity(records.len()), None, 0);
    for (key, record) in records.iter() {
        if last != Some(key) {
            (last, first) = (Some(key), jobs.len());
        }
        let Some((kind, rest)) = record.split_first() else { continue };
        if *kind == WANTED {
            let Some((digest, rest)) = rest.split_first_chunk() else { continue };
            let Some((length, name)) = rest.split_first_chunk() else { continue };
            let target = TargetPath::new(String::from_utf8_lossy(name))?;
            let length = u64::from_be_bytes(*length);
            let file = TargetFile { length, hashes: Hashes::sha256(*digest), extra: Extra::new() };
            jobs.push(Job { target, file, places: Vec::new() });
            continue;
        }
        let Some((len, name)) = rest.split_first_chunk() else { continue };
        let (len, name) = (u64::from_be_bytes(*len), String::from_utf8_lossy(name).into_owned());
        let called = bare(name.rsplit('/').next().unwrap_or_default()).to_owned();
        let place = if *kind == STORED { Place::Stored(path(name)?) } else { Place::Local(name.into()) };
        // Sorted by their first byte, so that all that are wanted have come.
        for job in jobs.iter_mut().skip(first) {
            if job.file.length == len && job.target.file_name() == called {
                job.places.push(place.clone());
            }
        }
    }
    Ok(jobs)
}

impl Repository {
    /// Puts all wanted files where they belong, from the store itself and from `folders`. Returns how many are there, and
    /// how many are missing.
    pub(super) async fn fill(
        &self,
        stock: &Arc<Stock>,
        folders: &[PathBuf],
        progress: &dyn Progress,
        missing: &mut Missing<'_>,
    ) -> Result<(u64, u64), RepositoryError> {
        let mut outcome = Ok(());
        self.store
            .walk(layout::TARGETS, &mut |entry| {
                if outcome.is_ok() {
                    let name = entry.path.segments().last().unwrap_or_default();
                    outcome = stock.found(STORED, name, entry.len, entry.path.as_str());
                }
                Ok(())
            })
            .await?;
        outcome?;
        for folder in folders {
            let (stock, folder) = (Arc::clone(stock), folder.clone());
            let looked = tokio::task::spawn_blocking(move || stock.look_below(&folder)).await;
            looked.map_err(|error| RepositoryError::Plan(format!("a thread ended early: {error}")))??;
        }
        let (mut there, mut absent) = (0, 0);
        let total = u64::try_from(stock.spill.partitions()).unwrap_or(u64::MAX);
        for (done, index) in (1..).zip(0..stock.spill.partitions()) {
            let repository = self.clone();
            let work = move |job: Job| {
                let repository = repository.clone();
                async move { repository.do_job(&job).await }
            };
            in_order(stock.jobs(index)?, work, |lacking| {
                match lacking {
                    None => there += 1,
                    Some(path) => {
                        absent += 1;
                        missing(path.as_str());
                    }
                }
                Ok(())
            })
            .await?;
            progress.at("restoring files", done, total);
        }
        Ok((there, absent))
    }

    /// Puts one file where it belongs; where that is, if it was found nowhere.
    async fn do_job(&self, job: &Job) -> Result<Option<StorePath>, RepositoryError> {
        let Some(digest) = &job.file.hashes.sha256 else { return Ok(None) };
        let at = layout::hashed(&job.target, digest)?;
        if !self.place_file(job, &at, digest).await? {
            return Ok(Some(at));
        }
        let plain = layout::plain(&job.target)?;
        match self.store.create(&plain, Content::Copy(&at)).await {
            Ok(()) => {}
            Err(StoreError::Exists { .. }) => {
                if !self.store.same(&at, &plain).await? && !self.plain_matches(&job.target, &job.file).await?
                {
                    self.repair_plain_file(&job.target, &job.file).await?;
                }
            }
            Err(error) => return Err(error.into()),
        }
        Ok(None)
    }

    /// Finds a file with the right bytes, and gives it its name; whether there was one.
    async fn place_file(
        &self,
        job: &Job,
        at: &StorePath,
        digest: &[u8; 32],
    ) -> Result<bool, RepositoryError> {
        if self.measure(at, &job.file).await?.is_ok() {
            return Ok(true);
        }
        let wanted = (*digest, job.file.length);
        for place in &job.places {
            let content = match place {
                Place::Stored(from) if from != at && self.hash_if_stored(from).await? == Some(wanted) => {
                    Content::Copy(from)
                }
                Place::Local(file) if hash_local(file)? == wanted => Content::File(file),
                _ => continue,
            };
            // What is there has other bytes.
            self.store.delete(at).await?;
            self.store.create(at, content).await?;
            return Ok(true);
        }
        Ok(false)
    }
}

/// SHA-256 and length of a local file. Called on a thread that may block.
fn hash_local(file: &Path) -> Result<([u8; 32], u64), RepositoryError> {
    let failed = |error: std::io::Error| RepositoryError::File {
        what: "reading",
        file: file.display().to_string(),
        reason: error.to_string(),
    };
    let mut opened = File::open(file).map_err(failed)?;
    let (mut hasher, mut buffer, mut length) = (Hasher::new(false), vec![0; CHUNK], 0_u64);
    loop {
        let count = opened.read(&mut buffer).map_err(failed)?;
        if count == 0 {
            return Ok((hasher.finish().sha256, length));
        }
        hasher.update(buffer.get(..count).unwrap_or_default());
        length = length.saturating_add(u64::try_from(count).unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_before_a_name_is_taken_off_and_nothing_else() {
        let hash = "0f".repeat(32);
        assert_eq!(bare(&format!("{hash}.six-1.0.whl")), "six-1.0.whl");
        for name in ["six-1.0.whl", &hash, &format!("{hash}."), &format!("x{hash}.a"), &format!("{hash}a")] {
            assert_eq!(bare(name), name);
        }
    }
}
