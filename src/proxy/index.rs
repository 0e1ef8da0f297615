//! A verified index: where it is, one session, its pages and its files.

use std::sync::Arc;

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue, Method};
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Url;
use tokio::sync::Mutex;

use super::address::{Asked, Fixed, Part, Trick, asked, target};
use super::answer::Answer;
use super::files::{Files, Opened, Take};
use super::journal::{Journal, Refused};
use super::origin::Origin;
use super::page::{Pages, View};
use super::refusal::{Fault, Refusal};
use super::{Mode, ProxyError, Settings, Told};
use crate::client::{Client, ClientError, Credentials, Http, Session, Timing};
use crate::python::{DistributionFilename, ProjectName};
use crate::web::{Form, HTML, form};

/// After so long the network is tried again, if it failed.
const RETRY: TimeDelta = TimeDelta::seconds(10);

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
    /// What the client sends with each request.
    pub credentials: Credentials,
}

/// See the module.
pub struct Index {
    name: String,
    client: Client,
    credentials: Credentials,
    /// The URL of the pages, if it has one.
    pages: Option<Url>,
    /// All below these is verified.
    areas: Vec<Area>,
    files: Arc<Files>,
    journal: Arc<Journal>,
    settings: Settings,
    began: Mutex<Option<Began>>,
}

/// A part of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Area {
    origin: Origin,
    path: String,
}

/// A session, or why there is none.
struct Began {
    at: DateTime<Utc>,
    outcome: Result<Arc<Sitting>, ClientError>,
}

struct Sitting {
    shared: Arc<Session>,
    pages: Pages,
}

/// A request that an index is asked.
pub(super) struct Request<'a> {
    pub(super) method: &'a Method,
    pub(super) headers: &'a HeaderMap,
    /// The path, as it came.
    pub(super) path: &'a str,
    /// Below which the pages are, with slashes at both ends.
    pub(super) pages: &'a str,
    pub(super) view: View,
    /// The address at the index itself.
    pub(super) url: Option<String>,
}

impl Index {
    /// Nobody is asked yet.
    pub fn new(trusted: Trusted, settings: &Settings, journal: &Arc<Journal>) -> Result<Self, ProxyError> {
        let Trusted { name, index, files, client, credentials } = trusted;
        let bad = |url: &str| ProxyError::Address { name: name.clone(), url: url.to_owned() };
        let (mut pages, mut areas) = (None, Vec::new());
        if index.contains("://") && !index.starts_with("file:") {
            let url = Url::parse(&index).map_err(|_| bad(&index))?;
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
        let began = Mutex::new(None);
        Ok(Self { name, client, credentials, pages, areas, files, journal, settings, began })
    }

    /// The name of the trust.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The servers on which it is. None: it is a folder.
    pub fn origins(&self) -> impl Iterator<Item = &Origin> {
        self.areas.iter().map(|area| &area.origin)
    }

    /// All that is trusted at this moment, if a session has begun.
    pub async fn with_trusted<T>(&self, work: impl FnOnce(&crate::tuf::trusted::Trusted) -> T) -> Option<T> {
        let began = self.began.lock().await;
        let sitting = began.as_ref()?.outcome.as_ref().ok()?;
        Some(sitting.shared.with_trusted(work))
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
            Ok(answer) => answer,
            Err(Refusal::Fault { what, fault }) => self.fault(request, what, *fault).await,
            Err(refusal) => Answer::refusal(&refusal),
        }
    }

    /// Begins anew for somebody who proves to be somebody else: for a proxy that anyone on this machine can talk to.
    pub(super) async fn admit(&self, headers: &HeaderMap) -> bool {
        match headers.get(AUTHORIZATION) {
            Some(value) => {
                let url = self.pages.as_ref().map(Url::as_str).unwrap_or_default();
                if self.remember(url, value) {
                    *self.began.lock().await = None;
                }
                true
            }
            None => !self.credentials.any(),
        }
    }

    /// What a tool sent with a request for this URL of the index; `true`: it is not what it sent before.
    pub(super) fn remember(&self, url: &str, value: &HeaderValue) -> bool {
        self.credentials.remember(url, value.clone())
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
        let sitting = self.sitting().await.map_err(|error| refused(error.into()))?;
        let at = self.pages.as_ref().and_then(|pages| pages.join(&format!("{project}/")).ok());
        let judge = |url: &str| at.as_ref().is_some_and(|at| self.verifies(at, url));
        let page = sitting.pages.page(&sitting.shared, project, request.view, judge).await;
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
        let sitting = self.sitting().await.map_err(|error| refused(error.into()))?;
        let found = sitting.shared.find(&path).await.map_err(|error| refused(error.into()))?;
        let now = (self.settings.clock)().into();
        // A proxy that anyone on this machine can ask gives out what needs a password to nobody but who shows it.
        let public = request.view == View::AsSigned || !self.credentials.any();
        let take = if public { Take::Kept } else { Take::Fetched };
        let opened = self.files.open(&sitting.shared, &found, take, now).await;
        Ok(match opened.map_err(refused)? {
            Opened::Arriving(file) => Answer::arriving(file),
            Opened::Whole { file, fetched, parts } => {
                self.journal.serve(&self.name, &found, fetched);
                Answer::file(file, parts, request.headers)
            }
        })
    }

    /// That a project or the metadata of a file is not signed is an answer of the index: there is none.
    fn refusal(&self, what: &str, fault: Fault, part: Part, page: bool) -> Refusal {
        let what = what.to_owned();
        if fault.wants_login() {
            return Refusal::Login;
        }
        if fault.not_signed() && (page || part == Part::Metadata) {
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

    /// The session: one for the whole run, unless it is to be renewed.
    async fn sitting(&self) -> Result<Arc<Sitting>, ClientError> {
        let now = (self.settings.clock)();
        let mut began = self.began.lock().await;
        if let Some(began) = began.as_ref().filter(|began| began.holds(now, self.settings.renew)) {
            return began.outcome.clone();
        }
        let sitting = |session| Arc::new(Sitting { shared: Arc::new(session), pages: Pages::default() });
        let outcome = self.client.refresh(now).await.map(sitting);
        *began = Some(Began { at: now, outcome: outcome.clone() });
        outcome
    }
}

impl Began {
    /// Whether it is used for one more request.
    fn holds(&self, now: DateTime<Utc>, renew: Option<TimeDelta>) -> bool {
        let age = now - self.at;
        let fresh =
            |life: Option<TimeDelta>| life.is_none_or(|life| (TimeDelta::zero()..life).contains(&age));
        match &self.outcome {
            Err(error) if Fault::from(error.clone()).wants_login() => false,
            Err(error) if Fault::from(error.clone()).may_pass() => fresh(Some(RETRY)),
            _ => fresh(renew),
        }
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
