//! Pages for people: how the repository is, projects and why their files are trusted, who delegates to whom, the transparency log,
//! and, if the operator wants it, ceremonies under way.
//!
//! | file | what |
//! |---|---|
//! | `ask` | an address taken apart |
//! | `html` | the one way to write markup |
//! | `frame`, `style.css` | what is around every page |
//! | `parts`, `trail`, `words` | what pages are made of |
//! | `health` | `/` |
//! | `project` | `/project/?name=…`, `/project/NAME/`, `/project/NAME/FILE` |
//! | `tree` | `/tree/`, `/tree/claimed/`, `/tree/claimed-0000/` |
//! | `log` | `/log/` |
//! | `proof` | a proof of the log, drawn |
//! | `ceremony` | `/ceremony/`, `/ceremony/NAME/` |
//!
//! Rules:
//! 1. What is shown comes from the signed state, verified when it was read. Expiry is told. The page itself proves nothing, and
//!    says so.
//! 2. A page reads a fixed number of roles: never all bins, buckets or projects. Long lists come in parts. Of the log it reads a
//!    checkpoint, and one proof or the last few entries.
//! 3. No script, no picture, no font, nothing from elsewhere: the policy sent along allows the one style sheet, by its hash,
//!    and the form of the search.
//! 4. Nothing is sent that changes with who asks, and nothing is noted about them.
//!
//! Pages are made on threads that may block, few at a time: a page with thousands of files takes longer than metadata.

mod ask;
mod ceremony;
mod frame;
mod health;
mod html;
mod log;
mod parts;
mod project;
mod proof;
mod trail;
mod tree;
mod words;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, LOCATION, REFERRER_POLICY,
};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Semaphore};

use self::ask::Ask;
use self::frame::{Frame, STYLE, Section};
use self::html::{Address, Html};
use super::cache::Kept;
use super::resource::{ASK_AGAIN, Refusal, Resource, finished, response};
use super::shared::Shared;
use crate::crypto::sha256;
use crate::repository::{Repository, RepositoryError, State};
use crate::web::HTML;

/// Pages made at once, at most. Each may hold a bin, a bucket and a project's page in memory; the largest real page has some
/// 20 MB, and takes several times that when it is read.
const MAX_AT_ONCE: usize = 8;

/// What people may see of ceremonies under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ceremonies {
    /// Nothing.
    Hidden,
    /// What they change, who has signed, and who is missing.
    Shown,
}

/// Shows the repository to people.
pub struct Pages {
    repository: Repository,
    ceremonies: Ceremonies,
    clock: fn() -> DateTime<Utc>,
    report: Box<dyn Fn(&RepositoryError) + Send + Sync>,
    /// As it was read last: of the next one, what is the same is not read again. One request reads, the others wait for it.
    state: Mutex<Option<State>>,
    places: Arc<Semaphore>,
    policy: HeaderValue,
}

/// What a page is made of.
struct View<'a> {
    repository: &'a Repository,
    state: State,
    ceremonies: Ceremonies,
    now: DateTime<Utc>,
}

/// What comes of an address.
enum Shown {
    Page(StatusCode, Vec<u8>),
    Elsewhere(StatusCode, Address),
}

impl Pages {
    /// Shows `repository`. `report` is told why a page could not be made; it learns nothing about who asked.
    pub fn new(
        repository: Repository,
        ceremonies: Ceremonies,
        clock: fn() -> DateTime<Utc>,
        report: impl Fn(&RepositoryError) + Send + Sync + 'static,
    ) -> Self {
        let (state, places) = (Mutex::default(), Arc::new(Semaphore::new(MAX_AT_ONCE)));
        Self { repository, ceremonies, clock, report: Box::new(report), state, places, policy: policy() }
    }

    pub(super) fn router(self: Arc<Self>, shared: Arc<Shared>) -> Router {
        let router = Router::new().route("/", get(page));
        let folders = ["/project", "/tree", "/ceremony"];
        let router = folders.into_iter().fold(router, |router, folder| {
            let (slash, below) = (format!("{folder}/"), format!("{folder}/{{*path}}"));
            router.route(folder, get(page)).route(&slash, get(page)).route(&below, get(page))
        });
        // Below it are the log's own files.
        let router = router.route("/log", get(page)).route("/log/", get(page));
        router.with_state((self, shared))
    }

    /// Makes a page, on a thread of its own.
    async fn make(self: Arc<Self>, ask: Ask) -> Result<Shown, Refusal> {
        // Never closed, so there is always a permit to wait for.
        let permit = Arc::clone(&self.places).acquire_owned().await.map_err(|_| Refusal::Unavailable)?;
        let driver = Handle::current();
        let made = tokio::task::spawn_blocking(move || {
            // A client that goes away ends the waiting, not the work: its place is free when that is done.
            let _permit = permit;
            driver.block_on(self.shown(&ask))
        });
        made.await.map_err(|_| Refusal::Unavailable)
    }

    async fn shown(&self, ask: &Ask) -> Shown {
        match self.view(ask).await {
            Ok(shown) => shown,
            Err(error) => {
                (self.report)(&error);
                failed(ask, self.ceremonies)
            }
        }
    }

    async fn state(&self) -> Result<State, RepositoryError> {
        let mut last = self.state.lock().await;
        let state = self.repository.state_since(last.as_ref()).await?;
        Ok(last.insert(state).clone())
    }

    async fn view(&self, ask: &Ask) -> Result<Shown, RepositoryError> {
        if let Ask::Elsewhere(to) = ask {
            return Ok(Shown::Elsewhere(StatusCode::MOVED_PERMANENTLY, to.clone()));
        }
        let state = self.state().await?;
        let (repository, ceremonies, now) = (&self.repository, self.ceremonies, (self.clock)());
        let view = View { repository, state, ceremonies, now };
        match ask {
            Ask::Health => view.health().await,
            Ask::Search(name) => Ok(view.search(name.as_deref())),
            Ask::Project(project, part) => view.project(project, *part).await,
            Ask::File(project, file) => view.file(project, file).await,
            Ask::Tree => view.tree().await,
            Ask::Family(family, part) => view.family(*family, *part).await,
            Ask::Bucket(bucket, part) => view.bucket(bucket, *part).await,
            Ask::Log => Ok(view.log().await),
            Ask::Ceremonies if ceremonies == Ceremonies::Shown => view.ceremonies().await,
            Ask::Ceremony(name) if ceremonies == Ceremonies::Shown => view.ceremony(name).await,
            _ => Ok(view.nothing(Section::Health, ask.depth(), "There is no such page.")),
        }
    }
}

impl View<'_> {
    /// The frame of a page.
    fn frame<'a>(&self, title: &'a str, section: Section, depth: usize, check: &'a [&'a str]) -> Frame<'a> {
        let (log, ceremonies) = (self.state.timestamp.log.is_some(), self.ceremonies == Ceremonies::Shown);
        Frame { title, section, depth, log, ceremonies, check }
    }

    /// A page that says that there is none.
    fn nothing(&self, section: Section, depth: usize, why: &str) -> Shown {
        let frame = self.frame("Not found", section, depth, &["wheelseal explain NAME"]);
        Shown::Page(StatusCode::NOT_FOUND, message(&frame, why))
    }
}

fn message(frame: &Frame<'_>, why: &str) -> Vec<u8> {
    frame.around(|html: &mut Html| {
        html.says("h1", &[], frame.title);
        html.says("p", &[], why);
    })
}

/// What people see when the store fails, or what is in it does not verify. The reason is the operator's.
fn failed(ask: &Ask, ceremonies: Ceremonies) -> Shown {
    let frame = Frame {
        title: "Not available",
        section: Section::Health,
        depth: ask.depth(),
        log: false,
        ceremonies: ceremonies == Ceremonies::Shown,
        check: &["wheelseal explain NAME"],
    };
    let why = "The repository could not be read, or what was read does not verify. Its operator has been told. Clients \
               take nothing that does not verify.";
    Shown::Page(StatusCode::SERVICE_UNAVAILABLE, message(&frame, why))
}

/// What a browser may do with a page: show it in its own style, and send the search.
fn policy() -> HeaderValue {
    let style = STANDARD.encode(sha256(STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

async fn page(
    extract::State((pages, shared)): extract::State<(Arc<Pages>, Arc<Shared>)>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let policy = pages.policy.clone();
    let shown = match Ask::of(&uri) {
        Some(ask) => Arc::clone(&pages).make(ask).await,
        None => Err(Refusal::NotFound),
    };
    let answer = match shown {
        Ok(shown) => answer(shown, &shared, &headers).await,
        Err(refusal) => Err(refusal),
    };
    let mut answer = answer.into_response();
    let guards: [(HeaderName, HeaderValue); 2] =
        [(CONTENT_SECURITY_POLICY, policy), (REFERRER_POLICY, HeaderValue::from_static("no-referrer"))];
    answer.headers_mut().extend(guards);
    answer
}

async fn answer(shown: Shown, shared: &Shared, headers: &HeaderMap) -> Result<Response, Refusal> {
    match shown {
        Shown::Page(StatusCode::OK, bytes) => {
            let plain = shared.made(Kept::new(bytes)).await?;
            let (content_type, caching, vary) = (HTML, ASK_AGAIN, "Accept-Encoding");
            Resource { plain, at: None, role: None, content_type, caching, vary }
                .respond(shared, headers)
                .await
        }
        Shown::Page(status, bytes) => {
            finished(response(HTML).status(status).header(CACHE_CONTROL, "no-store"), bytes.into())
        }
        Shown::Elsewhere(status, to) => {
            let response = response("text/plain").status(status).header(CACHE_CONTROL, "no-store");
            finished(response.header(LOCATION, to.as_str()), Body::empty())
        }
    }
}
