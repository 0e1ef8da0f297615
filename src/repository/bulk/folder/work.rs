//! All files of a folder, on all cores: what the journal knows is taken from it, the rest is read.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;

use super::journal::{self, FOUND, Journal, Known, NOTED};
use super::judge::{Found, Judged, filename, judge};
use super::tree::{PACKAGES, unread};
use super::{Files, Hashed, Unfit};
use crate::python::DistributionFilename;
use crate::repository::bulk::cores::{Meter, on_all_cores};
use crate::repository::edit::metadata_of;
use crate::repository::{Progress, Repository, RepositoryError, layout};
use crate::spill::{Records, Spill, SpillError};
use crate::store::{Content, StoreError, StorePath};

/// Files stored and made durable together.
const FILES_TOGETHER: usize = 64;
/// Bytes of files stored together, from which on a batch is full.
const BYTES_TOGETHER: u64 = 256 * 1024 * 1024;

/// What workers share.
pub(super) struct Shop {
    repository: Repository,
    root: PathBuf,
    files: Files,
    unfit: Unfit,
    /// What the folder has and what the journal knows, by path.
    spill: Arc<Spill>,
    journal: Option<Journal>,
    /// Files changed later are not remembered.
    young: i64,
    handle: Handle,
    next: AtomicUsize,
    stop: AtomicBool,
    outcome: Mutex<Hashed>,
    list: Mutex<BufWriter<File>>,
}

/// One worker's place.
struct Desk<'a> {
    shop: &'a Shop,
    meter: &'a Meter,
    batch: Vec<Judged>,
    bytes: u64,
}

/// Where a file and its metadata go in the store.
struct Places {
    hashed: StorePath,
    plain: StorePath,
    digest: [u8; 32],
    metadata: Option<(StorePath, StorePath, [u8; 32])>,
}

impl Shop {
    #[expect(clippy::too_many_arguments, reason = "each is a different thing, and there is one caller")]
    pub(super) fn new(
        repository: Repository,
        root: PathBuf,
        files: Files,
        unfit: Unfit,
        spill: Arc<Spill>,
        journal: Option<Journal>,
        young: i64,
        outcome: Hashed,
    ) -> Result<Self, RepositoryError> {
        let list = tempfile::tempfile().map_err(|error| SpillError::io("make", &error))?;
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (handle, outcome) = (Handle::current(), Mutex::new(outcome));
        let list = Mutex::new(BufWriter::new(list));
        Ok(Self { repository, root, files, unfit, spill, journal, young, handle, next, stop, outcome, list })
    }

    /// Returns what there was, and the list.
    pub(super) async fn run(
        self,
        bytes: u64,
        progress: &dyn Progress,
    ) -> Result<(Hashed, File), RepositoryError> {
        let (shop, meter) = (Arc::new(self), Arc::new(Meter::new(bytes)));
        let work = {
            let (shop, meter) = (Arc::clone(&shop), Arc::clone(&meter));
            move || {
                let desk = Desk { shop: &shop, meter: &meter, batch: Vec::new(), bytes: 0 };
                desk.work().inspect_err(|_| shop.stop.store(true, Ordering::Relaxed))
            }
        };
        on_all_cores("hashing files (bytes)", &meter, progress, work).await?;
        let failed = |error: std::io::Error| SpillError::io("write", &error);
        let mut list = locked(&shop.list);
        list.flush().map_err(failed)?;
        Ok((std::mem::take(&mut *locked(&shop.outcome)), list.get_ref().try_clone().map_err(failed)?))
    }

    fn list(&self, path: &str, known: &Known) -> Result<(), RepositoryError> {
        let requires = known.requires_python.as_ref().map_or("", |requires| requires.as_str());
        let (size, sha256, metadata) = (known.file.size, &known.sha256, known.metadata_column());
        let line = format!("{PACKAGES}{path}\t{size}\t{sha256}\t{requires}\t\t\t{metadata}\n");
        let written = locked(&self.list).write_all(line.as_bytes());
        Ok(written.map_err(|error| SpillError::io("write", &error))?)
    }
}

impl Desk<'_> {
    fn work(mut self) -> Result<(), RepositoryError> {
        loop {
            if self.shop.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let index = self.shop.next.fetch_add(1, Ordering::Relaxed);
            if index >= self.shop.spill.partitions() {
                return self.settle();
            }
            self.partition(&self.shop.spill.partition(index)?)?;
        }
    }

    fn partition(&mut self, records: &Records) -> Result<(), RepositoryError> {
        let mut file: Option<(&str, Found, Option<Known>)> = None;
        for (_, bytes) in records.iter() {
            let (path, kind, rest) = journal::read(bytes)?;
            match kind {
                FOUND => {
                    if let Some(file) = file.replace((path, found(rest)?, None)) {
                        self.file(file)?;
                    }
                }
                NOTED => {
                    // Sorted by their place in the journal: the last one stays.
                    if let Some((_, _, known)) = file.as_mut().filter(|(of, ..)| *of == path) {
                        let text = rest.get(8..).and_then(|text| std::str::from_utf8(text).ok());
                        *known = text.and_then(Known::parse);
                    }
                }
                _ => return Err(SpillError::Damaged.into()),
            }
        }
        file.map_or(Ok(()), |file| self.file(file))
    }

    fn file(&mut self, (path, found, known): (&str, Found, Option<Known>)) -> Result<(), RepositoryError> {
        let shop = self.shop;
        if shop.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let size = usize::try_from(found.file.size).unwrap_or(usize::MAX);
        let same = |known: &Known| {
            (known.file, known.sibling, known.files) == (found.file, found.sibling, shop.files)
        };
        if let Some(known) = known.filter(same)
            && self.is_stored(path, &known)?
        {
            shop.list(path, &known)?;
            locked(&shop.outcome).remembered += 1;
            self.meter.add(size);
            return Ok(());
        }
        match judge(&shop.root, path, found, shop.files) {
            Ok(judged) => {
                self.bytes = self.bytes.saturating_add(found.file.size);
                self.batch.push(judged);
            }
            Err(error @ (RepositoryError::Filename { .. } | RepositoryError::Archive { .. })) => {
                locked(&shop.outcome).leave_out(shop.unfit, error)?;
            }
            Err(error) => return Err(error),
        }
        self.meter.add(size);
        if self.batch.len() >= FILES_TOGETHER || self.bytes >= BYTES_TOGETHER {
            self.settle()
        } else {
            Ok(())
        }
    }

    /// Whether a file that was stored by an earlier run is there still.
    fn is_stored(&self, path: &str, known: &Known) -> Result<bool, RepositoryError> {
        if known.files == Files::Stay {
            return Ok(true);
        }
        let places = Places::of(&filename(&self.shop.root.join(path))?, known)?;
        let beside = places.metadata.iter().flat_map(|(hashed, plain, _)| [hashed, plain]);
        for at in [&places.hashed, &places.plain].into_iter().chain(beside) {
            if self.shop.handle.block_on(self.shop.repository.store().open(at))?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Stores a batch if it is to be, then lists and remembers it.
    fn settle(&mut self) -> Result<(), RepositoryError> {
        let batch = std::mem::take(&mut self.batch);
        self.bytes = 0;
        if self.shop.files == Files::Store {
            self.shop.handle.block_on(self.store(&batch))?;
        }
        for judged in &batch {
            self.shop.list(&judged.path, &judged.known)?;
            let newest = judged.known.sibling.map_or(i64::MIN, |stamp| stamp.changed);
            if let Some(journal) =
                self.shop.journal.as_ref().filter(|_| judged.known.file.changed.max(newest) < self.shop.young)
            {
                journal.note(&judged.path, &judged.known)?;
            }
        }
        locked(&self.shop.outcome).hashed += u64::try_from(batch.len()).unwrap_or(0);
        Ok(())
    }

    /// Copies files under their hashes, looks whether that is what arrived, and gives them their plain names.
    async fn store(&self, batch: &[Judged]) -> Result<(), RepositoryError> {
        let repository = &self.shop.repository;
        let mut of = Vec::with_capacity(batch.len());
        for judged in batch {
            let places = Places::of(&judged.filename, &judged.known)?;
            of.push((judged, places, self.shop.root.join(&judged.path)));
        }
        let mut objects = Vec::new();
        for (judged, places, at) in &of {
            objects.push((places.hashed.clone(), Content::File(at)));
            if let (Some((hashed, ..)), Some(bytes)) = (&places.metadata, &judged.metadata) {
                objects.push((hashed.clone(), Content::Bytes(bytes)));
            }
        }
        let outcomes = repository.store().create_all(&objects).await;
        let mut created = Vec::new();
        for ((at, _), outcome) in objects.iter().zip(outcomes) {
            match outcome {
                Ok(()) => created.push(at.clone()),
                Err(StoreError::Exists { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut copies = Vec::new();
        for (judged, places, at) in &of {
            let expected = Some((places.digest, judged.known.file.size));
            if repository.hash_if_stored(&places.hashed).await? != expected {
                if created.contains(&places.hashed) {
                    repository.store().delete(&places.hashed).await?;
                    return Err(unread(at, "it changed while it was stored"));
                }
                return Err(unread(at, &format!("the store has {}, which is not this file", places.hashed)));
            }
            copies.push((places.plain.clone(), Content::Copy(&places.hashed), places.digest));
            if let Some((hashed, plain, digest)) = &places.metadata {
                copies.push((plain.clone(), Content::Copy(hashed), *digest));
            }
        }
        let objects: Vec<_> = copies.iter().map(|(at, content, _)| (at.clone(), *content)).collect();
        let outcomes = repository.store().create_all(&objects).await;
        for ((at, _, digest), outcome) in copies.iter().zip(outcomes) {
            match outcome {
                Ok(()) => {}
                Err(StoreError::Exists { .. }) => self.refuse_other(at, digest).await?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Refuses if a plain name stands for other content already.
    async fn refuse_other(&self, at: &StorePath, digest: &[u8; 32]) -> Result<(), RepositoryError> {
        match self.shop.repository.hash_if_stored(at).await? {
            Some((published, _)) if published != *digest => Err(RepositoryError::Conflict {
                filename: at.segments().last().unwrap_or_default().to_owned(),
                published: hex::encode(published),
                found: hex::encode(digest),
            }),
            _ => Ok(()),
        }
    }
}

impl Places {
    fn of(filename: &DistributionFilename, known: &Known) -> Result<Self, RepositoryError> {
        let target = layout::distribution(filename.project(), filename.as_str())?;
        let digest = |text: &str| {
            let mut digest = [0; 32];
            hex::decode_to_slice(text, &mut digest).map_err(|_| SpillError::Damaged)?;
            Ok::<_, SpillError>(digest)
        };
        let metadata = match &known.metadata {
            None => None,
            Some((sha256, _)) => {
                let (target, digest) = (metadata_of(&target)?, digest(sha256.as_str())?);
                Some((layout::hashed(&target, &digest)?, layout::plain(&target)?, digest))
            }
        };
        let digest = digest(known.sha256.as_str())?;
        let hashed = layout::hashed(&target, &digest)?;
        Ok(Self { hashed, plain: layout::plain(&target)?, digest, metadata })
    }
}

/// What a record says that the walk saw.
fn found(rest: &[u8]) -> Result<Found, SpillError> {
    let text = std::str::from_utf8(rest).map_err(|_| SpillError::Damaged)?;
    let (file, sibling) = text.split_once('\t').ok_or(SpillError::Damaged)?;
    let sibling = if sibling.is_empty() { None } else { Some(sibling.parse()?) };
    Ok(Found { file: file.parse()?, sibling })
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
