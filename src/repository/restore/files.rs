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
use crate::repository::{Progress, Repository, RepositoryError, layout, path};
use crate::spill::{BUDGET, PARTITIONS, Records, Spill};
use crate::store::{Content, StoreError, StorePath};
use crate::tuf::metadata::{Extra, Hashes, TargetFile};
use crate::tuf::path::TargetPath;

/// First bytes of the records.
const WANTED: u8 = 0;
const STORED: u8 = 1;
const LOCAL: u8 = 2;

/// Hexadecimal digits of a SHA-256.
const DIGITS: usize = 64;

/// Files put in their places together: what is made durable at once, or the way to a bucket at once.
const BATCH: usize = 64;

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
    digest: [u8; 32],
    places: Vec<Place>,
}

/// Where the file of a job is.
enum Found {
    /// Under its name by hash already.
    There,
    /// Here, with the right bytes; if there are others under its name, they have to go.
    Elsewhere { place: Place, damaged: bool },
    /// Nowhere.
    Nowhere,
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
            jobs.push(Job { target, file, digest: *digest, places: Vec::new() });
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
            let mut jobs = stock.jobs(index)?.into_iter();
            loop {
                let some: Vec<Job> = jobs.by_ref().take(BATCH).collect();
                if some.is_empty() {
                    break;
                }
                let wanted = u64::try_from(some.len()).unwrap_or(0);
                let lacking = self.place_files(some).await?;
                there += wanted.saturating_sub(u64::try_from(lacking.len()).unwrap_or(0));
                for path in lacking {
                    absent += 1;
                    missing(path.as_str());
                }
            }
            progress.at("restoring files", done, total);
        }
        Ok((there, absent))
    }

    /// Finds some files, on every core, and puts them in their places together. Returns where those belong that were found
    /// nowhere.
    async fn place_files(&self, jobs: Vec<Job>) -> Result<Vec<StorePath>, RepositoryError> {
        let repository = self.clone();
        let work = move |job: Job| {
            let repository = repository.clone();
            async move {
                let at = layout::hashed(&job.target, &job.digest)?;
                let found = repository.find(&job, &at).await?;
                Ok((job, at, found))
            }
        };
        let (mut placed, mut lacking) = (Vec::new(), Vec::new());
        in_order(jobs, work, |(job, at, found)| {
            match found {
                Found::Nowhere => lacking.push(at),
                found => placed.push((job, at, found)),
            }
            Ok(())
        })
        .await?;
        self.write_hashed(&placed).await?;
        self.write_plain(&placed).await?;
        Ok(lacking)
    }

    /// Looks for a file with the right bytes.
    async fn find(&self, job: &Job, at: &StorePath) -> Result<Found, RepositoryError> {
        let wanted = Some((job.digest, job.file.length));
        let stored = self.hash_if_stored(at).await?;
        if stored == wanted {
            return Ok(Found::There);
        }
        for place in &job.places {
            let found = match place {
                Place::Stored(from) if from == at => None,
                Place::Stored(from) => self.hash_if_stored(from).await?,
                Place::Local(file) => Some(hash_local(file)?),
            };
            if found == wanted {
                return Ok(Found::Elsewhere { place: place.clone(), damaged: stored.is_some() });
            }
        }
        Ok(Found::Nowhere)
    }

    async fn write_hashed(&self, placed: &[(Job, StorePath, Found)]) -> Result<(), RepositoryError> {
        let mut objects = Vec::new();
        for (_, at, found) in placed {
            let Found::Elsewhere { place, damaged } = found else { continue };
            if *damaged {
                self.store.delete(at).await?;
            }
            let content = match place {
                Place::Stored(from) => Content::Copy(from),
                Place::Local(file) => Content::File(file),
            };
            objects.push((at.clone(), content));
        }
        for outcome in self.store.create_all(&objects).await {
            outcome?;
        }
        Ok(())
    }

    /// The copies under plain names, and right ones where others lie.
    async fn write_plain(&self, placed: &[(Job, StorePath, Found)]) -> Result<(), RepositoryError> {
        let mut copies = Vec::with_capacity(placed.len());
        for (job, at, _) in placed {
            copies.push((layout::plain(&job.target)?, Content::Copy(at)));
        }
        let outcomes = self.store.create_all(&copies).await;
        for ((outcome, (plain, _)), (job, at, _)) in outcomes.into_iter().zip(&copies).zip(placed) {
            match outcome {
                Err(StoreError::Exists { .. }) => {
                    let right = self.store.same(at, plain).await?
                        || self.plain_matches(&job.target, &job.file).await?;
                    if !right {
                        self.repair_plain_file(&job.target, &job.file).await?;
                    }
                }
                outcome => outcome?,
            }
        }
        Ok(())
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
