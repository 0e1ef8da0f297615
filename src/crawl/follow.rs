//! An index that is followed, round by round: which pages may have changed, and what is done with.
//!
//! A page is done with when the caller says so, after whatever it did about its files is durable: a crash before that only
//! means that the page is read again. So nothing is missed, and what was done already is for the caller to recognise.
//!
//! A round costs one request where the index gives the serials of its projects and nothing is new, and one for each project
//! where it gives none. Both are conditional.

use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use reqwest::Url;

use super::note::{self, Lock, Note};
use super::{CrawlError, MAX_INDEX, MAX_PAGE, local};
use crate::client::{Answer, Credentials, Http};
use crate::python::{ForeignFile, ForeignIndex, ForeignPage, ProjectName};

/// File of the names that the list had at the first look, beside the notes.
const FIRST: &str = ".first";
/// File of the number that says how far the caller has come.
const MARK: &str = ".mark";

/// An index, and how far it has been followed.
#[derive(Debug)]
pub struct Follow {
    reader: Arc<Reader>,
    /// What the list said when it was last read in this process, and by which tag to ask for a newer one.
    list: List,
    /// Serials of pages that are done with.
    done: HashMap<ProjectName, u64>,
    _lock: Lock,
}

#[derive(Debug, Default)]
struct List {
    projects: Vec<(ProjectName, Option<u64>)>,
    unfit: Vec<String>,
    tag: Option<String>,
}

/// Reads pages; any number at once.
#[derive(Debug)]
pub struct Reader {
    http: Http,
    url: Url,
    notes: PathBuf,
}

/// What a look at the list of projects gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    /// Projects of the index.
    pub projects: u64,
    /// Those whose pages may have changed.
    pub due: Vec<Due>,
    /// Projects that cannot be followed, and why.
    pub unfit: Vec<String>,
}

/// A project whose page may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Its name.
    pub project: ProjectName,
    serial: Option<u64>,
}

/// A page that is not done with.
#[derive(Debug, Clone)]
pub struct Change {
    /// Its project.
    pub project: ProjectName,
    /// Its files, as the index has them. Not judged.
    pub files: Vec<ForeignFile>,
    /// What the caller wrote down about it when it was last done with; nothing if it never was.
    pub before: Option<Vec<String>>,
    url: Url,
    serial: Option<u64>,
    tag: Option<String>,
}

impl Change {
    /// Where something on the page is: an address by http or https. Credentials of the index are not in it.
    pub fn locate(&self, url: &str) -> Result<Url, String> {
        let at = self.url.join(url).map_err(|error| format!("{url:?} is no address: {error}"))?;
        if !matches!(at.scheme(), "http" | "https") || !at.has_host() {
            return Err(format!("{url:?} is neither http nor https"));
        }
        if !at.username().is_empty() || at.password().is_some() {
            return Err("its address has a user or a password".to_owned());
        }
        Ok(at)
    }
}

impl Follow {
    /// An index by the address of its list of projects, and the folder of notes, which is this follower's alone. A user and
    /// password in the address go to the server of the index and to nobody else.
    pub fn open(url: &str, notes: PathBuf, http: Http) -> Result<Self, CrawlError> {
        let (bare, credentials) = Credentials::of_url(url);
        let url = super::address(&bare)?;
        let lock = note::lock(&notes)?;
        let reader = Arc::new(Reader { http: http.showing(credentials), url, notes });
        Ok(Self { reader, list: List::default(), done: HashMap::new(), _lock: lock })
    }

    /// What reads its pages.
    pub fn reader(&self) -> Arc<Reader> {
        Arc::clone(&self.reader)
    }

    /// Asks for the list of projects.
    pub async fn look(&mut self) -> Result<Outlook, CrawlError> {
        let (url, tag) = (self.reader.url.as_str(), self.list.tag.as_deref());
        match self.reader.http.page(url, tag, MAX_INDEX).await? {
            Answer::Unchanged => {}
            Answer::Absent => return Err(CrawlError::Absent { url: url.to_owned() }),
            Answer::Page(bytes, tag) => {
                let index = ForeignIndex::parse(&bytes);
                let index = index.map_err(|error| CrawlError::Page { url: url.to_owned(), error })?;
                self.list = List { tag, ..List::of(index) };
            }
        }
        let mut due = Vec::new();
        for (project, serial) in &self.list.projects {
            if !is_done(&mut self.done, &self.reader.notes, project, *serial)? {
                due.push(Due { project: project.clone(), serial: *serial });
            }
        }
        let projects = u64::try_from(self.list.projects.len()).unwrap_or(u64::MAX);
        Ok(Outlook { projects, due, unfit: self.list.unfit.clone() })
    }

    /// The projects that the list had at the first look ever at it.
    pub fn first_projects(&self) -> Result<HashSet<ProjectName>, CrawlError> {
        let at = self.reader.notes.join(FIRST);
        match std::fs::read_to_string(&at) {
            Ok(names) => return Ok(names.lines().filter_map(|name| name.parse().ok()).collect()),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(local("reading", &at, &error)),
            Err(_) => {}
        }
        let names: String = self.list.projects.iter().flat_map(|(name, _)| [name.as_str(), "\n"]).collect();
        note::replace(&at, &names)?;
        Ok(self.list.projects.iter().map(|(name, _)| name.clone()).collect())
    }

    /// Says how far the caller's own work has come, in a number that grows.
    pub fn set_mark(&self, mark: u64) -> Result<(), CrawlError> {
        note::replace(&self.reader.notes.join(MARK), &mark.to_string())
    }

    /// If the caller's work is not as far as was once said, because something older was put in its place: all that was done
    /// with is to be done again.
    pub fn expect_mark(&mut self, mark: u64) -> Result<(), CrawlError> {
        let at = self.reader.notes.join(MARK);
        let said = std::fs::read_to_string(&at).ok().and_then(|text| text.parse::<u64>().ok());
        if said.is_some_and(|said| said > mark) {
            self.done.clear();
            note::remove_all(&self.reader.notes)?;
            self.set_mark(mark)?;
        }
        Ok(())
    }

    /// Notes that all was done about a page. What the caller writes down comes back with the next change.
    pub fn done(&mut self, change: &Change, lines: Vec<String>) -> Result<(), CrawlError> {
        let note = Note { serial: change.serial, tag: change.tag.clone(), lines, unfit: Vec::new() };
        note.write(&note::path(&self.reader.notes, &change.project))?;
        if let Some(serial) = change.serial {
            self.done.insert(change.project.clone(), serial);
        }
        Ok(())
    }
}

impl List {
    fn of(index: ForeignIndex) -> Self {
        let mut list = Self::default();
        for (name, serial) in index.projects {
            match ProjectName::from_str(&name) {
                Ok(name) => list.projects.push((name, serial)),
                Err(error) => list.unfit.push(error.to_string()),
            }
        }
        list.projects.sort();
        list.projects.dedup_by(|one, other| one.0 == other.0);
        list
    }
}

/// Whether the page with this serial is done with, as this process or a note knows.
fn is_done(
    done: &mut HashMap<ProjectName, u64>,
    notes: &Path,
    project: &ProjectName,
    serial: Option<u64>,
) -> Result<bool, CrawlError> {
    let Some(serial) = serial else { return Ok(false) };
    if let Some(known) = done.get(project) {
        return Ok(*known == serial);
    }
    let said = Note::read(&note::path(notes, project))?.and_then(|note| note.serial);
    if let Some(said) = said {
        done.insert(project.clone(), said);
    }
    Ok(said == Some(serial))
}

impl Reader {
    /// The page, unless it is as it was when it was done with, or gone.
    pub async fn page(&self, due: &Due) -> Result<Option<Change>, CrawlError> {
        let project = &due.project;
        let known = Note::read(&note::path(&self.notes, project))?;
        let url = format!("{}{project}/", self.url);
        let tag = known.as_ref().and_then(|note| note.tag.as_deref());
        let Answer::Page(bytes, tag) = self.http.page(&url, tag, MAX_PAGE).await? else { return Ok(None) };
        let wrong = |error| CrawlError::Page { url: url.clone(), error };
        let page = ForeignPage::parse(&bytes).map_err(wrong)?;
        let at = super::address(&url)?;
        let before = known.map(|note| note.lines);
        // Without a serial on the page itself there is none: the list may be newer than the page that a cache gave.
        let change =
            Change { project: project.clone(), files: page.files, before, url: at, serial: page.serial, tag };
        Ok(Some(change))
    }

    /// Connections to the index and to where it has its files.
    pub fn http(&self) -> &Http {
        &self.http
    }
}
