//! A verified index: where it is, one session, its pages and its files.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue, Method};
use reqwest::Url;

use super::address::{Asked, Fixed, Part, Trick, asked, target};
use super::answer::Answer;
use super::files::{Files, Opened, Take};
use super::journal::{Journal, Refused};
use super::origin::Origin;
use super::page::View;
use super::refusal::{Fault, Refusal};
use super::visits::{MAX_ROLES, Mark, Sitting, Visit, Visits, Who};
use super::{Mode, ProxyError, Settings, Told};
use crate::client::{Client, ClientError, Credentials, Given, Http, Session, Timing};
use crate::python::{DistributionFilename, ProjectName};
use crate::tuf::lookup::Found;
use crate::web::{Form, HTML, form};

/// Files that are known to be given to anybody, at most; with more, all are asked after again.
const MAX_OPEN: usize = 100_000;

/// A trust, ready to be used.
#[derive(Debug)]
pub struct Trusted {
    /// Its name.
    pub name: String,
    /// Where tools find its pages: a URL with a slash at its end, or a folder.
    pub index: String,
    /// Where its files are: a URL, or a folder.
    pub files: String,
    /// Asks it.
    pub client: Client,
    /// What the user of a command sends by the way, if the command shows nothing else. Nobody on a fixed port has it.
    pub credentials: Credentials,
}

/// See the module.
pub struct Index {
    name: String,
    client: Client,
    /// Those of the user, who runs a command.
    own: Credentials,
    /// What the command's tools showed, and the index answered to, for each of its servers.
    shown: Mutex<Credentials>,
    /// The URL of the pages, if it has one.
    pages: Option<Url>,
    /// All below these is verified.
    areas: Vec<Area>,
    files: Arc<Files>,
    journal: Arc<Journal>,
    settings: Settings,
    visits: Visits,
    /// Files that the index gave to somebody who showed nothing, by their hashes.
    open: Mutex<HashSet<String>>,
}

/// A part of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Area {
    origin: Origin,
    path: String,
}

/// A request that an index is asked.
pub(super) struct Request<'a> {
    pub(super) who: Who,
    pub(super) method: &'a Method,
    pub(super) headers: &'a HeaderMap,
    /// The path, as it came.
    pub(super) path: &'a str,
    /// Below which the pages are, with slashes at both ends.
    pub(super) pages: &'a str,
    pub(super) view: View,
    /// The address at the index itself.
    pub(super) url: Option<String>,
    /// The address of the pages at this program, if tools are to know it.
    pub(super) here: Option<Url>,
}

/// Who asks.
struct Visitor {
    /// What goes with all that is fetched for them.
    credentials: Credentials,
    mark: Mark,
    visit: Arc<Visit>,
}

/// A session for a visitor.
struct Open {
    sitting: Arc<Sitting>,
    shared: Arc<Session>,
}

impl Index {
    /// Nobody is asked yet.
    pub fn new(trusted: Trusted, settings: &Settings, journal: &Arc<Journal>) -> Result<Self, ProxyError> {
        let Trusted { name, index, files, client, credentials } = trusted;
        let bad = |url: &str| ProxyError::Address { name: name.clone(), url: Credentials::of_url(url).0 };
        let (mut pages, mut areas) = (None, Vec::new());
        if index.contains("://") && !index.starts_with("file:") {
            // Without a password: pages name it.
            let url = Url::parse(&Credentials::of_url(&index).0).map_err(|_| bad(&index))?;
            let origin = Origin::of_url(&url).ok_or_else(|| bad(&index))?;
            areas.push(Area { origin, path: parent(url.path()) });
            pages = Some(url);
        }
        if let Ok(url) = Url::parse(&files)
            && let Some(origin) = Origin::of_url(&url)
        {
            areas.push(Area { origin, path: slashed(url.path()) });
        }
        let (settings, journal) = (settings.clone(), Arc::clone(journal));
        let files = Arc::new(Files::new(&name, &settings, &journal));
        // A command's report names the roles of all that it took; a proxy runs on.
        let visits = Visits::new(settings.renew.map_or(usize::MAX, |_| MAX_ROLES));
        let visits = visits
            .map_err(|error| ProxyError::Local { what: "a random number", reason: error.to_string() })?;
        let (own, shown, open) = (credentials, Mutex::default(), Mutex::default());
        Ok(Self { name, client, own, shown, pages, areas, files, journal, settings, visits, open })
    }

    /// The name of the trust.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The servers on which it is. None: it is a folder.
    pub fn origins(&self) -> impl Iterator<Item = &Origin> {
        self.areas.iter().map(|area| &area.origin)
    }

    /// The common session, if it has begun.
    pub async fn session(&self) -> Option<Session> {
        self.visits.session().await
    }

    /// Waits until the files that were fetched are kept for the next time.
    pub async fn settle(&self) {
        self.files.settle().await;
    }

    /// The path of its pages, with slashes at both ends.
    pub(super) fn pages_path(&self) -> &str {
        self.pages.as_ref().map_or("/", Url::path)
    }

    /// Whether its pages are where those of the other are.
    pub(super) fn is_at(&self, other: &Self) -> bool {
        self.pages.is_some() && self.pages_path() == other.pages_path() && {
            let origins = self.areas.first().zip(other.areas.first());
            origins.is_some_and(|(mine, others)| mine.origin.is_at(&others.origin))
        }
    }

    /// How much of the path is that of an area; the more, the better it fits.
    pub(super) fn fits(&self, origin: &Origin, path: &str) -> Option<usize> {
        let areas = self.areas.iter().filter(|area| area.origin.is_at(origin));
        let fitting = areas.filter(|area| path.starts_with(&area.path) || slashed(path) == area.path);
        fitting.map(|area| area.path.len()).max()
    }

    /// The answer to a request. What does not verify is refused, and noted.
    pub(super) async fn answer(&self, request: &Request<'_>) -> Answer {
        match self.verified(request).await {
            Ok(answer) => {
                self.note(request);
                answer
            }
            Err(Refusal::Fault { what, fault }) => self.fault(request, what, *fault).await,
            Err(refusal) => Answer::refusal(&refusal),
        }
    }

    /// Who asks: nobody but who the request itself shows.
    fn visitor(&self, request: &Request<'_>) -> Result<Visitor, Refusal> {
        let login = login(request.headers)?;
        let shown = |url: &str| login.map(|login| Credentials::for_origin(url, login)).unwrap_or_default();
        let credentials = match (request.who, &request.url, &self.pages) {
            (Who::Command, Some(url), _) => {
                let elsewhere = self.shown().without(url).over(&self.own);
                shown(url).over(&elsewhere)
            }
            (Who::Command, None, _) => self.own.clone(),
            (Who::Anyone, _, Some(pages)) => shown(pages.as_str()),
            (Who::Anyone, _, None) => Credentials::default(),
        };
        let mark = self.visits.mark(login);
        Ok(Visitor { credentials, mark, visit: self.visits.of(request.who, mark) })
    }

    /// One server of an index may want to know what was shown to another one. For a command that is one user's.
    fn note(&self, request: &Request<'_>) {
        if let (Who::Command, Some(url), Ok(Some(login))) =
            (request.who, &request.url, login(request.headers))
        {
            let mut shown = self.shown();
            *shown = Credentials::for_origin(url, login).over(&shown);
        }
    }

    fn shown(&self) -> MutexGuard<'_, Credentials> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn verified(&self, request: &Request<'_>) -> Result<Answer, Refusal> {
        if ![Method::GET, Method::HEAD].contains(request.method) {
            return Err(Refusal::Method);
        }
        let asked = asked(request.path, request.pages);
        let not_found =
            |what: &str, why: &str| Refusal::NotFound { what: what.to_owned(), why: why.to_owned() };
        match asked.map_err(|Trick| Refusal::Bad("the path has a form that no index uses"))? {
            Asked::Projects => Err(not_found("the list of projects", "it is not signed; ask for a project")),
            Asked::Nothing => Err(not_found(request.path, "this is no page or file of a verified index")),
            Asked::Moved(to) => Ok(Answer::moved(&to)),
            Asked::Page(project, fixed) => self.page(&project, fixed, request).await,
            Asked::File(file, part) => self.file(&file, part, request).await,
        }
    }

    async fn page(
        &self,
        project: &ProjectName,
        fixed: Option<Fixed>,
        request: &Request<'_>,
    ) -> Result<Answer, Refusal> {
        let form = match fixed {
            Some(Fixed::Json) => Form::Json,
            Some(Fixed::Html) => Form::Html(HTML),
            None => form(request.headers).ok_or(Refusal::NotAcceptable)?,
        };
        let refused = |fault: Fault| self.refusal(project.as_str(), fault, Part::Whole, true);
        let visitor = self.visitor(request)?;
        let Open { sitting, shared } = self.begin(&visitor).await.map_err(|error| refused(error.into()))?;
        let at = self.pages.as_ref().and_then(|pages| pages.join(&format!("{project}/")).ok());
        let judge = |url: &str| at.as_ref().is_some_and(|at| self.verifies(at, url));
        let shown = match request.view {
            View::AsSigned => at.clone(),
            View::Below => request.here.as_ref().and_then(|here| here.join(&format!("{project}/")).ok()),
        };
        let page = sitting.pages.page(&shared, project, request.view, shown, judge).await;
        Ok(Answer::page(&*page.map_err(refused)?, form, request.view, request.headers))
    }

    /// Whether a file would be verified at the address that a page gives for it.
    fn verifies(&self, page: &Url, url: &str) -> bool {
        let Ok(url) = page.join(url) else { return false };
        let below = |area: &Area| {
            Origin::of_url(&url).is_some_and(|origin| area.origin.is_at(&origin))
                && url.path().starts_with(&area.path)
        };
        url.query().is_none() && self.areas.iter().any(below)
    }

    async fn file(
        &self,
        file: &DistributionFilename,
        part: Part,
        request: &Request<'_>,
    ) -> Result<Answer, Refusal> {
        let what = file.as_str();
        let Some(path) = target(file, part) else {
            return Err(Refusal::Bad("the file has no name that can be signed"));
        };
        let refused = |fault: Fault| self.refusal(what, fault, part, false);
        let visitor = self.visitor(request)?;
        let Open { shared, .. } = self.begin(&visitor).await.map_err(|error| refused(error.into()))?;
        let found = shared.find(&path).await.map_err(|error| refused(error.into()))?;
        let take = self.take(request.who, &shared, &found).await.map_err(|error| refused(error.into()))?;
        let now = (self.settings.clock)().into();
        let opened = self.files.open(&shared, &found, take, now).await.map_err(refused)?;
        if visitor.mark.is_none() && request.who == Who::Anyone {
            self.is_open(&found);
        }
        Ok(match opened {
            Opened::Arriving(file) => Answer::arriving(file),
            Opened::Held(held) => {
                self.journal.serve(&self.name, &found, true);
                Answer::held(&held, request.headers)
            }
            Opened::Whole { file, fetched, parts } => {
                self.journal.serve(&self.name, &found, fetched);
                Answer::file(file, parts, request.headers)
            }
        })
    }

    /// That a project, or what would lie beside a file, is not signed is an answer of the index: there is none.
    fn refusal(&self, what: &str, fault: Fault, part: Part, page: bool) -> Refusal {
        let what = what.to_owned();
        if fault.wants_login() {
            return Refusal::Login;
        }
        if fault.not_signed() && (page || part != Part::Whole) {
            return Refusal::NotFound { what, why: format!("{} does not sign it", self.name) };
        }
        Refusal::Fault { what, fault: Box::new(fault) }
    }

    async fn fault(&self, request: &Request<'_>, what: String, fault: Fault) -> Answer {
        let refused = Refused { index: self.name.clone(), what, fault };
        if self.settings.mode == Mode::Warn
            && let Some(url) = &request.url
            && let Ok(http) = Http::new(Timing::default())
            && let Ok(answer) = http.unverified(url, request.method, request.headers).await
        {
            if self.journal.pass(refused.clone()) {
                (self.settings.tell)(Told::Passed(&refused));
            }
            return Answer::unverified(answer);
        }
        if self.journal.refuse(refused.clone()) {
            (self.settings.tell)(Told::Refused(&refused));
        }
        Answer::refusal(&Refusal::Fault { what: refused.what, fault: Box::new(refused.fault) })
    }

    /// The visitor's session.
    async fn begin(&self, visitor: &Visitor) -> Result<Open, ClientError> {
        let Visitor { credentials, mark, visit } = visitor;
        let (client, now) = (|| self.client.showing(credentials), (self.settings.clock)());
        let sitting = self.visits.sitting(visit, *mark, client, now, self.settings.renew).await?;
        let shared = Arc::new(sitting.shared.showing(credentials));
        Ok(Open { sitting, shared })
    }

    /// What is kept is given only to whom the index gives it too, unless it gives it to anybody. `shared` is the visitor's.
    async fn take(&self, who: Who, shared: &Session, found: &Found) -> Result<Take, ClientError> {
        let known = found.target.hashes.name().is_some_and(|name| self.open().contains(&name));
        if who == Who::Command || known {
            return Ok(Take::Kept);
        }
        let given = shared.gives(found).await?;
        Ok(if given == Given::Yes { Take::Kept } else { Take::Fetched })
    }

    fn is_open(&self, found: &Found) {
        let Some(name) = found.target.hashes.name() else { return };
        let mut open = self.open();
        if open.len() >= MAX_OPEN {
            open.clear();
        }
        open.insert(name);
    }

    fn open(&self) -> MutexGuard<'_, HashSet<String>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a request proves itself with.
fn login(headers: &HeaderMap) -> Result<Option<&HeaderValue>, Refusal> {
    let mut logins = headers.get_all(AUTHORIZATION).iter();
    match (logins.next(), logins.next()) {
        (login, None) => Ok(login),
        _ => Err(Refusal::Bad("a request shows one login at most")),
    }
}

/// The folder above the pages: files lie beside them.
fn parent(path: &str) -> String {
    match path.trim_end_matches('/').rsplit_once('/') {
        Some((parent, _)) => format!("{parent}/"),
        None => "/".to_owned(),
    }
}

fn slashed(path: &str) -> String {
    format!("{}/", path.trim_end_matches('/'))
}
