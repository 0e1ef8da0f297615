//! Another index, read page by page into a list of files that can be imported.
//!
//! | file | what |
//! |---|---|
//! | `crawl.rs` | all projects, some at a time |
//! | `crawl/follow.rs` | an index that is followed, round by round |
//! | `crawl/note.rs` | what one page said, kept on this machine |
//! | `crawl/lines.rs` | all notes as one list |
//!
//! ```text
//! index ─▶ names ─▶ a note that is current? ──yes──────────────────┐
//!                   └─no─▶ page, unless unchanged ─▶ judged ─▶ note ┴─▶ lines
//! ```
//!
//! Nothing of the other index is trusted but what the import then says it was told: hashes and sizes are its word. Each
//! answer is bounded in bytes and time. A page lists files of its own project alone, whatever it says; where files are
//! to be fetched from is not looked at. An interrupted crawl goes on where it was: a page is asked for again only if the
//! index gives it another serial or, where it gives none, another entity tag.
//!
//! Memory: the names of all projects, and one page for each that is being read.

mod follow;
mod lines;
mod note;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use futures_util::StreamExt;
use reqwest::Url;
use serde::Serialize;
use thiserror::Error;

pub use self::follow::{Change, Due, Follow, Outlook, Reader};
pub use self::lines::Lines;
use self::note::Note;
pub use self::note::line;
use crate::client::{Answer, FetchError, Http, Timing};
use crate::python::{ForeignIndex, ForeignPage, Insertion, PageError, ProjectName, ProjectPage, has_ending};

/// Bytes of the list of projects, at most: that of 650,000 projects with serials has 40 MB.
const MAX_INDEX: u64 = 256 * 1024 * 1024;
/// Bytes of a project's page, at most. The largest public ones have some 10 MB.
const MAX_PAGE: u64 = 32 * 1024 * 1024;
/// Files left out that are named, at most; all are counted.
pub const MAX_NAMED: usize = 1_000;

/// An index to read.
#[derive(Debug, Clone)]
pub struct Crawl {
    /// Address of the list of projects, such as `https://example.org/simple/`.
    pub url: String,
    /// Folder of what was read, outside of any repository.
    pub notes: PathBuf,
    /// Pages asked for at once.
    pub jobs: NonZeroUsize,
    /// Time limits of each request.
    pub timing: Timing,
}

/// What there was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Crawled {
    /// Projects of the index.
    pub projects: u64,
    /// Pages that came.
    pub fetched: u64,
    /// Pages that are as an earlier run read them.
    pub unchanged: u64,
    /// Projects without a page.
    pub absent: u64,
    /// Files that can be imported.
    pub files: u64,
    /// Files and projects that cannot.
    pub unfit: u64,
    /// Those and why; the first [`MAX_NAMED`] of them.
    pub named: Vec<String>,
}

/// Why an index could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CrawlError {
    /// A request, after all retries.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// There is no list of projects.
    #[error("{url} does not exist: expected the list of projects of an index (PEP 691)")]
    Absent {
        /// What was asked for.
        url: String,
    },
    /// A page that is none.
    #[error("{url}: {error}")]
    Page {
        /// What was asked for.
        url: String,
        /// What is wrong.
        error: PageError,
    },
    /// What was read cannot be kept.
    #[error("{what} {path}: {reason}")]
    Local {
        /// Verb.
        what: &'static str,
        /// Which file.
        path: String,
        /// What the system said.
        reason: String,
    },
}

/// What came of one project.
enum Seen {
    Fetched(Note),
    Unchanged(Note),
    Absent,
}

/// What all projects share.
struct Work {
    http: Http,
    url: Url,
    notes: PathBuf,
}

impl Crawl {
    /// Reads all pages that are not known yet. `told` is called with how many of how many projects are done.
    pub async fn run(&self, told: &(dyn Fn(u64, u64) + Sync)) -> Result<(Crawled, Lines), CrawlError> {
        let lock = note::lock(&self.notes)?;
        let work = Work { http: Http::new(self.timing)?, url: self.address()?, notes: self.notes.clone() };
        let (mut crawled, projects) = (Crawled::default(), work.projects().await?);
        let mut names = Vec::with_capacity(projects.len());
        for (name, serial) in projects {
            match ProjectName::from_str(&name) {
                Ok(name) => names.push((name, serial)),
                Err(error) => crawled.leave_out(&error.to_string()),
            }
        }
        names.sort();
        names.dedup_by(|one, other| one.0 == other.0);
        let (work, total) = (Arc::new(work), u64::try_from(names.len()).unwrap_or(u64::MAX));
        crawled.projects = total;
        let ask = |(name, serial): (ProjectName, Option<u64>)| {
            let work = Arc::clone(&work);
            // Tasks of their own: pages are read on all cores. They end with the future that waits for them.
            let task =
                tokio::spawn(async move { work.project(&name, serial).await.map(|seen| (name, seen)) });
            Aborting(task)
        };
        let mut answers = futures_util::stream::iter(names).map(ask).buffer_unordered(self.jobs.get());
        let mut listed = Vec::new();
        for done in 1.. {
            let Some(answer) = answers.next().await else { break };
            let (name, seen) = answer?;
            crawled.take(&seen);
            if !matches!(seen, Seen::Absent) {
                listed.push(name);
            }
            told(done, total);
        }
        listed.sort();
        Ok((crawled, Lines::new(self.notes.clone(), listed, lock)))
    }

    /// The address without a password, as it may be published.
    pub fn public_url(&self) -> Result<String, CrawlError> {
        let mut url = self.address()?;
        let bad = || FetchError::BadUrl { url: String::new(), reason: "it has no host".to_owned() };
        url.set_username("").and(url.set_password(None)).map_err(|()| bad())?;
        Ok(url.into())
    }

    fn address(&self) -> Result<Url, CrawlError> {
        address(&self.url)
    }
}

impl Work {
    /// All names, with their serials.
    async fn projects(&self) -> Result<Vec<(String, Option<u64>)>, CrawlError> {
        let url = self.url.as_str();
        match self.http.page(url, None, MAX_INDEX).await? {
            Answer::Page(bytes, _) => {
                let index = ForeignIndex::parse(&bytes);
                Ok(index.map_err(|error| CrawlError::Page { url: url.to_owned(), error })?.projects)
            }
            Answer::Absent | Answer::Unchanged => Err(CrawlError::Absent { url: url.to_owned() }),
        }
    }

    async fn project(&self, name: &ProjectName, serial: Option<u64>) -> Result<Seen, CrawlError> {
        let at = note::path(&self.notes, name);
        let known = Note::read(&at)?;
        let url = format!("{}{name}/", self.url);
        let tag = match &known {
            Some(note) if serial.is_some() && note.serial == serial => {
                return Ok(known.map_or(Seen::Absent, Seen::Unchanged));
            }
            Some(note) => note.tag.as_deref(),
            None => None,
        };
        match self.http.page(&url, tag, MAX_PAGE).await? {
            Answer::Unchanged => Ok(known.map_or(Seen::Absent, Seen::Unchanged)),
            Answer::Absent => {
                note::remove(&at)?;
                Ok(Seen::Absent)
            }
            Answer::Page(bytes, tag) => {
                let page = ForeignPage::parse(&bytes);
                let page = page.map_err(|error| CrawlError::Page { url: url.clone(), error })?;
                let note = judge(name, &page, tag);
                note.write(&at)?;
                Ok(Seen::Fetched(note))
            }
        }
    }
}

/// The address of a list of projects, with the slash at its end.
fn address(text: &str) -> Result<Url, CrawlError> {
    let bad = |reason: &str| FetchError::BadUrl { url: text.to_owned(), reason: reason.to_owned() };
    let slash = if text.ends_with('/') { "" } else { "/" };
    let url = Url::parse(&format!("{text}{slash}")).map_err(|error| bad(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("neither http nor https").into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("it has a query or fragment").into());
    }
    Ok(url)
}

/// The files of a page that can be imported, and the others.
fn judge(name: &ProjectName, page: &ForeignPage, tag: Option<String>) -> Note {
    let mut note = Note { serial: page.serial, tag, ..Note::default() };
    let mut listed = ProjectPage::new(name.clone(), 0);
    for foreign in page.files.iter().filter(|file| has_ending(file.filename())) {
        let shown: String = foreign.filename().chars().take(note::SHOWN).collect();
        match foreign.judge(name) {
            Err(why) => note.unfit.push(format!("{name}: {shown:?}: {why}")),
            Ok(file) => match listed.insert(file.clone()) {
                Insertion::Inserted => note.lines.push(line(&file)),
                Insertion::Same => {}
                _ => note.unfit.push(format!("{name}: {shown:?}: another file of the page is taken for it")),
            },
        }
    }
    note
}

impl Crawled {
    fn take(&mut self, seen: &Seen) {
        let note = match seen {
            Seen::Fetched(note) => {
                self.fetched += 1;
                note
            }
            Seen::Unchanged(note) => {
                self.unchanged += 1;
                note
            }
            Seen::Absent => {
                self.absent += 1;
                return;
            }
        };
        self.files += u64::try_from(note.lines.len()).unwrap_or(0);
        note.unfit.iter().for_each(|why| self.leave_out(why));
    }

    fn leave_out(&mut self, why: &str) {
        self.unfit += 1;
        if self.named.len() < MAX_NAMED {
            self.named.push(why.to_owned());
        }
    }
}

/// A task that ends when nobody waits for it any more.
struct Aborting<T>(tokio::task::JoinHandle<Result<T, CrawlError>>);

impl<T> Future for Aborting<T> {
    type Output = Result<T, CrawlError>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0).poll(context).map(|ended| match ended {
            Ok(outcome) => outcome,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => Err(local("reading", Path::new("a page"), &error)),
            },
        })
    }
}

impl<T> Drop for Aborting<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn local(what: &'static str, path: &Path, reason: &impl ToString) -> CrawlError {
    CrawlError::Local { what, path: path.display().to_string(), reason: reason.to_string() }
}
