//! Projects brought up to date, some at a time: files first, then the page that lists them, then what went is removed.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use futures_util::{StreamExt, stream};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};

use super::choose::Wish;
use super::folder::{Folder, plain};
use super::{Reason, Refused, SyncError};
use crate::client::{ClientError, FetchError, FileError, Proven, Session};
use crate::python::{DistributionFilename, Kind, Machine, PageFile, ProjectName, ProjectPage};
use crate::tuf::lookup::Found;
use crate::tuf::path::TargetPath;

/// Bytes of a page, at most: the largest real ones have some 20 MB.
const MAX_PAGE: u64 = 64 * 1_024 * 1_024;
/// Requests that may fail for the network's sake before the run ends: more than a server that stumbles once.
const MAX_FAILURES: u32 = 10;
/// What the metadata of a file is called beside it (PEP 658).
pub(super) const METADATA: &str = ".metadata";
/// What its provenance is called (PEP 740).
const PROVENANCE: &str = ".provenance";

/// Which kinds of files are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kinds {
    /// Wheels and sdists.
    #[default]
    All,
    /// Wheels alone.
    Wheels,
    /// Sdists alone.
    Sdists,
}

/// Which files of a page are wanted.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of these kinds.
    pub kinds: Kinds,
    /// For these machines.
    pub machine: Machine,
}

impl Filter {
    pub(super) fn takes(&self, file: &PageFile) -> bool {
        let wheel = matches!(file.filename.kind(), Kind::Wheel { .. });
        let kind = match self.kinds {
            Kinds::All => true,
            Kinds::Wheels => wheel,
            Kinds::Sdists => !wheel,
        };
        kind && self.machine.takes(file)
    }
}

/// A file that is in the folder, or would be.
#[derive(Debug)]
pub struct Placed<'a> {
    /// What was signed.
    pub found: &'a Proven,
    /// Whether it had to be fetched.
    pub fetched: bool,
}

/// What a run tells as it goes.
#[derive(Debug)]
pub enum Told<'a> {
    /// A file.
    Placed(&'a Placed<'a>),
    /// Something left out.
    Refused(&'a Refused),
    /// Something that is not there, and that perhaps nobody wants.
    Missing(&'a Refused),
    /// A file that would have to be fetched to know what it depends on.
    Unknown(&'a DistributionFilename),
    /// So many of so many projects.
    Projects(u64, u64),
}

/// Hears of it.
pub type Tell = Arc<dyn Fn(Told<'_>) + Send + Sync>;

/// What a run came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    /// Projects with a page.
    pub projects: u64,
    /// Files, with metadata.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that were fetched, or would be.
    pub fetched: u64,
    /// Their bytes.
    pub fetched_bytes: u64,
    /// Files that were removed.
    pub removed: u64,
    /// Files, projects and roles that were left out.
    pub refused: u64,
}

/// How a run goes about it.
pub struct Job {
    /// The session of the run.
    pub shared: Arc<Session>,
    /// Where to.
    pub folder: Folder,
    /// Which files.
    pub filter: Filter,
    /// What is there, and still signed, stays there.
    pub keep: bool,
    /// Nothing is written.
    pub dry: bool,
    /// Projects, and files, fetched at once.
    pub jobs: NonZeroUsize,
    /// Hears of each file.
    pub tell: Tell,
    /// How it goes.
    pub progress: Progress,
}

/// Counted by many tasks at once.
#[derive(Debug)]
pub struct Progress {
    turns: Semaphore,
    failures: AtomicU32,
    files: AtomicU64,
    bytes: AtomicU64,
    fetched: AtomicU64,
    fetched_bytes: AtomicU64,
    removed: AtomicU64,
    refused: AtomicU64,
    /// Something could not be judged: what is not wished for may be so for that reason.
    doubt: AtomicBool,
}

impl Progress {
    /// Nothing yet; at most `jobs` transfers at once.
    pub fn new(jobs: NonZeroUsize) -> Self {
        let zero = AtomicU64::default;
        Self {
            turns: Semaphore::new(jobs.get().min(Semaphore::MAX_PERMITS)),
            failures: AtomicU32::new(0),
            files: zero(),
            bytes: zero(),
            fetched: zero(),
            fetched_bytes: zero(),
            removed: zero(),
            refused: zero(),
            doubt: AtomicBool::new(false),
        }
    }
}

/// What became of one file of a page.
struct FileDone {
    name: String,
    good: bool,
    metadata: bool,
    provenance: bool,
}

/// A file that is in its place.
pub(super) struct Fetched {
    pub(super) place: PathBuf,
    found: Proven,
    /// It was not there.
    new: bool,
}

impl Job {
    /// Brings the folder to what is wished. What else is there goes, unless there is a doubt whether it was wished for. Only
    /// projects whose page was verified in this run have one in the end; the list of them comes last.
    pub async fn run(self: &Arc<Self>, wishes: Vec<Wish>) -> Result<Summary, SyncError> {
        let sure = !self.progress.doubt.load(Ordering::Relaxed);
        let mut wishes: BTreeMap<ProjectName, Wish> =
            wishes.into_iter().map(|wish| (wish.project.clone(), wish)).collect();
        let there = self.folder.projects()?;
        let gone: Vec<_> = there.into_iter().filter(|project| !wishes.contains_key(project)).collect();
        if self.keep || !sure {
            for project in &gone {
                let files = self.folder.present(project)?;
                wishes.insert(project.clone(), Wish::of(project.clone(), files));
            }
        }
        let mut ordered: Vec<Wish> = wishes.into_values().collect();
        // In the order of bins, each of which is then needed for one while and no more.
        ordered.sort_by_cached_key(|wish| {
            page_path(&wish.project).map(|path| path.digest()).unwrap_or_default()
        });
        let listed = self.projects(ordered).await?;
        if sure && !self.keep {
            for project in &gone {
                self.remove(project)?;
            }
        }
        if !self.dry {
            self.folder.put_list(&listed)?;
        }
        Ok(self.summary(u64::try_from(listed.len()).unwrap_or(u64::MAX)))
    }

    /// Those with a page.
    async fn projects(self: &Arc<Self>, wishes: Vec<Wish>) -> Result<BTreeSet<ProjectName>, SyncError> {
        let total = u64::try_from(wishes.len()).unwrap_or(u64::MAX);
        let (mut waiting, mut running) = (wishes.into_iter(), JoinSet::new());
        let (mut done, mut shown) = (0, BTreeSet::new());
        loop {
            while running.len() < self.jobs.get()
                && let Some(wish) = waiting.next()
            {
                let job = Arc::clone(self);
                running.spawn(async move { (wish.project.clone(), job.project(wish).await) });
            }
            let Some(ended) = running.join_next().await else { return Ok(shown) };
            let (project, with_page) = ended.map_err(|error| task_failed(&error))?;
            if with_page? {
                shown.insert(project);
            }
            done += 1;
            (self.tell)(Told::Projects(done, total));
        }
    }

    /// Whether the project has a page in the end.
    async fn project(&self, wish: Wish) -> Result<bool, SyncError> {
        let project = wish.project.clone();
        let mut page = match self.page(wish).await {
            Ok(page) => page,
            Err(reason) => {
                self.without_page(&project, reason)?;
                return Ok(false);
            }
        };
        if page.files().is_empty() && page.status.is_none() {
            self.remove(&project)?;
            return Ok(false);
        }
        if !self.dry {
            self.folder.prepare(&project)?;
        }
        let done = self.files(&page).await?;
        let good: BTreeSet<_> = done.iter().filter(|done| done.good).map(|done| done.name.as_str()).collect();
        page.retain(|file| good.contains(file.filename.as_str()));
        for file in done.iter().filter(|done| !done.metadata) {
            page.withhold_metadata(&file.name);
        }
        for file in done.iter().filter(|done| !done.provenance) {
            page.withhold_provenance(&file.name);
        }
        self.publish(page)?;
        Ok(true)
    }

    /// Nothing speaks for what is there: its page goes, and its files too if the repository has none of them.
    fn without_page(&self, project: &ProjectName, reason: Reason) -> Result<(), SyncError> {
        let is_gone = matches!(reason, Reason::Client(ClientError::NotSigned { .. }));
        self.refuse(&Refused::new(project, reason))?;
        match (is_gone, self.dry) {
            (true, _) => self.remove(project),
            (false, true) => Ok(()),
            (false, false) => self.folder.remove_page(project),
        }
    }

    /// The page in its place, and nothing beside its files.
    fn publish(&self, page: ProjectPage) -> Result<(), SyncError> {
        let mut keep = BTreeSet::new();
        for file in page.offered() {
            keep.insert(file.filename.to_string());
            if file.core_metadata_sha256.is_some() {
                keep.insert(format!("{}{METADATA}", file.filename));
            }
            if file.provenance_sha256.is_some() {
                keep.insert(format!("{}{PROVENANCE}", file.filename));
            }
        }
        let project = page.name().clone();
        if self.dry {
            let gone = self.folder.present(&project)?.difference(&keep).count();
            self.progress.removed.fetch_add(u64::try_from(gone).unwrap_or(u64::MAX), Ordering::Relaxed);
            return Ok(());
        }
        self.folder.put_page(&page.relocated())?;
        let removed = self.folder.sweep(&project, &keep)?;
        self.progress.removed.fetch_add(removed, Ordering::Relaxed);
        Ok(())
    }

    fn remove(&self, project: &ProjectName) -> Result<(), SyncError> {
        let removed = if self.dry {
            u64::try_from(self.folder.present(project)?.len()).unwrap_or(u64::MAX)
        } else {
            self.folder.remove(project)?
        };
        self.progress.removed.fetch_add(removed, Ordering::Relaxed);
        Ok(())
    }

    /// The signed page of a project, with what is wished of it.
    async fn page(&self, wish: Wish) -> Result<ProjectPage, Reason> {
        let mut page = match wish.page {
            Some(page) => page,
            None => self.signed_page(&wish.project).await?,
        };
        let present =
            if self.keep { self.folder.present(&wish.project).unwrap_or_default() } else { BTreeSet::new() };
        page.retain(|file| {
            let name = file.filename.as_str();
            let wished =
                wish.files.as_ref().map_or_else(|| self.filter.takes(file), |files| files.contains(name));
            wished || present.contains(name)
        });
        Ok(page)
    }

    /// The page of a project as it is signed.
    pub(super) async fn signed_page(&self, project: &ProjectName) -> Result<ProjectPage, Reason> {
        let path = page_path(project).ok_or_else(|| unnamed(project.as_str()))?;
        let found = self.shared.find(&path).await?;
        let bytes = self.shared.read(&found, MAX_PAGE).await?;
        let page = ProjectPage::from_json(&bytes)?;
        if page.name() != project {
            let (page, role) = (page.name().to_string(), project.to_string());
            return Err(Reason::Disagree { page, role });
        }
        Ok(page)
    }

    async fn files(&self, page: &ProjectPage) -> Result<Vec<FileDone>, SyncError> {
        let files: Vec<PageFile> = page.offered().to_vec();
        let mut all = Vec::with_capacity(files.len());
        let mut running = std::pin::pin!(
            stream::iter(files).map(async |file| self.file(&file).await).buffer_unordered(self.jobs.get())
        );
        while let Some(done) = running.next().await {
            all.push(done?);
        }
        Ok(all)
    }

    async fn file(&self, file: &PageFile) -> Result<FileDone, SyncError> {
        let name = file.filename.to_string();
        let good = self.part(&file.filename, "", file.sha256.as_str()).await?;
        let metadata = match &file.core_metadata_sha256 {
            Some(sha256) if good => self.part(&file.filename, METADATA, sha256.as_str()).await?,
            _ => false,
        };
        let provenance = match &file.provenance_sha256 {
            Some(sha256) if good => self.part(&file.filename, PROVENANCE, sha256.as_str()).await?,
            _ => false,
        };
        Ok(FileDone { name, good, metadata, provenance })
    }

    /// Whether a file, or what lies beside it, is in its place; what speaks against it was told.
    async fn part(&self, file: &DistributionFilename, ending: &str, sha256: &str) -> Result<bool, SyncError> {
        match self.fetch(file, ending, sha256).await {
            Ok(fetched) => {
                self.count(&fetched.found, fetched.new);
                Ok(true)
            }
            Err(reason) => {
                self.refuse(&Refused::new(&format!("{file}{ending}"), reason))?;
                Ok(false)
            }
        }
    }

    /// Puts a file, or its metadata, in its place, unless it is there.
    pub(super) async fn fetch(
        &self,
        file: &DistributionFilename,
        ending: &str,
        sha256: &str,
    ) -> Result<Fetched, Reason> {
        let path = TargetPath::new(format!("{}/{file}{ending}", file.project()));
        let found = self.shared.find(&path.map_err(|_| unnamed(file.as_str()))?).await?;
        agree(&found, sha256)?;
        let turn = self.progress.turns.acquire().await;
        let _turn = turn.map_err(|error| local("waiting", &error))?;
        // Also what lies there already: it may have been put there before there was a log.
        let found = self.shared.prove(&found).await?;
        let place = self.folder.place(file, ending);
        let there = self.already(&found, &place).await?;
        if !there && !self.dry {
            self.shared.download(&found, &place).await?;
        }
        Ok(Fetched { place, found, new: !there })
    }

    async fn already(&self, found: &Proven, place: &Path) -> Result<bool, ClientError> {
        let (found, path, dry) = (found.clone(), place.to_owned(), self.dry);
        let looked = spawn_blocking(move || {
            if dry && path.symlink_metadata().is_ok_and(|about| !about.is_file()) {
                return Ok(false);
            }
            if !dry {
                plain(&path).map_err(|error| local("removing", &error))?;
            }
            Ok(Session::already(&found, &path)?.is_some())
        });
        looked.await.map_err(|error| local("checking", &error))?
    }

    fn count(&self, found: &Proven, fetched: bool) {
        let length = found.target.length;
        self.progress.files.fetch_add(1, Ordering::Relaxed);
        self.progress.bytes.fetch_add(length, Ordering::Relaxed);
        if fetched {
            self.progress.fetched.fetch_add(1, Ordering::Relaxed);
            self.progress.fetched_bytes.fetch_add(length, Ordering::Relaxed);
        }
        (self.tell)(Told::Placed(&Placed { found, fetched }));
    }

    /// Notes what is left out. What no other file would fare better with ends the run.
    pub(super) fn refuse(&self, refused: &Refused) -> Result<(), SyncError> {
        if refused.reason.is_doubt() {
            self.progress.doubt.store(true, Ordering::Relaxed);
        }
        if let Reason::Client(error) = &refused.reason {
            let failures = || self.progress.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
            if is_local(error) || is_network(error) && failures() >= MAX_FAILURES {
                return Err(error.clone().into());
            }
        }
        self.progress.refused.fetch_add(1, Ordering::Relaxed);
        (self.tell)(Told::Refused(refused));
        Ok(())
    }

    fn summary(&self, projects: u64) -> Summary {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = &self.progress;
        Summary {
            projects,
            files: read(&counts.files),
            bytes: read(&counts.bytes),
            fetched: read(&counts.fetched),
            fetched_bytes: read(&counts.fetched_bytes),
            removed: read(&counts.removed),
            refused: read(&counts.refused),
        }
    }
}

/// What page and role say of a file is the same.
fn agree(found: &Found, page: &str) -> Result<(), Reason> {
    let role = found.target.hashes.sha256.map(hex::encode).unwrap_or_default();
    if role == page { Ok(()) } else { Err(Reason::Disagree { page: page.to_owned(), role }) }
}

pub(super) fn page_path(project: &ProjectName) -> Option<TargetPath> {
    TargetPath::new(format!("simple/{project}/index.json")).ok()
}

fn unnamed(what: &str) -> ClientError {
    ClientError::NotSigned { path: what.to_owned() }
}

fn local(what: &'static str, reason: &impl ToString) -> ClientError {
    FileError::Io { what, path: String::new(), reason: reason.to_string() }.into()
}

fn task_failed(error: &tokio::task::JoinError) -> SyncError {
    local("working", error).into()
}

/// Of this machine: a full disk, say.
fn is_local(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::File(FileError::Io { .. })
            | ClientError::Fetch(FetchError::Local { .. })
            | ClientError::Cache(_)
    )
}

fn is_network(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Fetch(
            FetchError::Network { .. } | FetchError::TooSlow { .. } | FetchError::Status { .. }
        )
    )
}
