//! Uploads: the legacy API that twine and uv speak. A form with one file becomes one publication.
//!
//! | file | what |
//! |---|---|
//! | `token` | who may publish what |
//! | `form` | the form, read as a stream |
//! | `places` | how much is read at once, in all and with one token |
//! | `release` | what maintainers signed: releases, changes of keys, claims |
//! | `claim` | what they claim of a release before its files come |
//! | `refusal` | why it is refused |
//!
//! Order: token; how many are under way, and how many in this minute; then the form, whose file is hashed on its way to the
//! disk; then, on a thread of its own, whether the archive is what its name says; then the publisher, which groups those
//! who wait. The answer is sent when the new snapshot is durable and visible. Nothing is kept of what is refused.
//! A file of a claimed project is answered with 202: it waits for a release of its maintainers.

mod claim;
mod form;
mod places;
mod refusal;
mod release;
mod token;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::StreamExt;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use self::form::Form;
use self::places::Places;
use self::refusal::Refused;
pub use self::token::{Grant, TokenError, Tokens};
use super::metrics::Metrics;
use super::watch::{About, Ended, Note, Watch};
use crate::claim_desk::ClaimDesk;
use crate::journal::{Digest, Outcome, TokenUse};
use crate::python::{DistributionFilename, Kind, ProjectName, Provenance};
use crate::repository::{Distribution, Edit, Published, Publisher, RepositoryError, Staging};

/// Bytes around the file that a form may have.
const OVERHEAD: u64 = 8 * 1024 * 1024;

/// How long a refused form is read to its end, so that the uploader reads the answer instead of a broken pipe.
const DRAIN: Duration = Duration::from_mins(1);

/// Nothing for so long while it is read: the uploader waits for the answer, or is gone.
const DRAIN_PAUSE: Duration = Duration::from_secs(1);

/// Of so many places for forms, one is kept from each token.
const KEPT: usize = 8;

/// Tokens whose uploads are counted at once, at most.
const MAX_COUNTED: usize = 100_000;

/// What uploads may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadLimits {
    /// Bytes of a file.
    pub file: u64,
    /// Forms read at once; with `file` it bounds what lies in the spool folder.
    pub at_once: usize,
    /// Uploads with one token in a minute.
    pub per_minute: u32,
    /// Time in which some bytes of a form must come.
    pub stall: Duration,
}

impl Default for UploadLimits {
    fn default() -> Self {
        Self { file: 100 * 1024 * 1024, at_once: 128, per_minute: 600, stall: Duration::from_secs(30) }
    }
}

/// Takes uploads.
pub struct Uploads {
    publisher: Publisher,
    tokens: Tokens,
    spool: PathBuf,
    limits: UploadLimits,
    clock: fn() -> DateTime<Utc>,
    places: Places,
    /// Requests of maintainers that are read at once.
    requests: Places,
    /// The same for claims of releases, which are read before files come.
    claims: Places,
    /// What both hold in memory, in parts of [`release::PART`] bytes.
    memory: Semaphore,
    /// For each token: when its minute began, and the uploads in it.
    counts: Mutex<BTreeMap<String, (DateTime<Utc>, u32)>>,
    /// None: no claims of releases are taken.
    desk: Option<ClaimDesk>,
    report: Box<dyn Fn(&str) + Send + Sync>,
}

impl Uploads {
    /// Publishes with `publisher` what comes with one of `tokens`. Files lie in `spool` until they are published. `report`
    /// is told what is wrong with this server.
    pub fn new(
        publisher: Publisher,
        tokens: Tokens,
        spool: PathBuf,
        limits: UploadLimits,
        clock: fn() -> DateTime<Utc>,
        report: impl Fn(&str) + Send + Sync + 'static,
    ) -> Self {
        let each = limits.at_once.saturating_sub(limits.at_once.div_ceil(KEPT));
        let places = Places::new(limits.at_once, each);
        let [requests, claims] = [(); 2].map(|()| Places::new(release::AT_ONCE, release::EACH));
        let memory = Semaphore::new(release::PARTS);
        let (counts, report) = (Mutex::default(), Box::new(report));
        let desk = None;
        Self {
            publisher,
            tokens,
            spool,
            limits,
            clock,
            places,
            requests,
            claims,
            memory,
            counts,
            desk,
            report,
        }
    }

    /// Takes claims of releases as well.
    #[must_use]
    pub fn claiming(self, desk: ClaimDesk) -> Self {
        Self { desk: Some(desk), ..self }
    }

    /// Counts a refusal, and reads on for a while, so that the uploader reads the answer.
    async fn refuse(&self, refused: Refused, body: Option<Body>, metrics: &Metrics) -> Response {
        match refused.fault() {
            Some(fault) => {
                metrics.failed.add(1);
                (self.report)(fault);
            }
            None => metrics.refused.add(1),
        }
        if let Some(body) = body {
            drain(body, self.limits.file.saturating_add(OVERHEAD)).await;
        }
        refused.into_response()
    }

    /// Its routes.
    pub(super) fn router(self: Arc<Self>, metrics: Arc<Metrics>, watch: Option<Arc<Watch>>) -> Router {
        let routes = Router::new().route("/legacy/", post(upload)).route("/release/", post(release::take));
        let routes = routes.route("/claim/", post(claim::take));
        let routes = routes.layer(from_fn(to_the_end));
        routes.with_state(Desk { uploads: self, metrics, watch })
    }

    /// The token of a request, if it is worth anything (RFC 7617; the user name is `__token__`).
    fn grant(&self, headers: &HeaderMap, note: &mut Note) -> Result<Grant, Refused> {
        let field = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (scheme, rest) = field.and_then(|field| field.split_once(' ')).ok_or(Refused::NoToken)?;
        let decoded = STANDARD.decode(rest.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let token = match (scheme.to_ascii_lowercase().as_str(), &decoded) {
            ("basic", Some(pair)) => pair.split_once(':').map_or("", |(_, password)| password),
            ("bearer", _) => rest.trim(),
            _ => "",
        };
        let grant = self.tokens.known(token).map_err(|error| Refused::Repository(error.to_string()))?;
        note.account = grant.as_ref().and_then(|grant| grant.id.parse().ok());
        let lasts = grant.as_ref().map(|grant| grant.lasts((self.clock)()));
        note.token = Some(match lasts {
            Some(true) => TokenUse::Accepted,
            Some(false) => TokenUse::Expired,
            None => TokenUse::Wrong,
        });
        grant.filter(|_| lasts == Some(true)).ok_or(Refused::NoToken)
    }

    /// Counts an upload. The rate is that of each token, so that one cannot use up the patience for others.
    fn count(&self, grant: &Grant) -> Result<(), Refused> {
        let now = (self.clock)();
        // A clock that was set back ends a minute too.
        let over =
            |began: DateTime<Utc>| !(TimeDelta::zero()..TimeDelta::minutes(1)).contains(&(now - began));
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= MAX_COUNTED {
            counts.retain(|_, (began, _)| !over(*began));
        }
        let (began, count) = counts.entry(grant.id.clone()).or_insert((now, 0));
        if over(*began) {
            (*began, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        if *count > self.limits.per_minute { Err(Refused::Busy) } else { Ok(()) }
    }

    /// The token of a request, if it and where it comes from are to be borne.
    fn admit(&self, headers: &HeaderMap, watch: Option<&Watch>, note: &mut Note) -> Result<Grant, Refused> {
        let grant = self.grant(headers, note);
        if let Some(watch) = watch {
            watch.bears(note)?;
        }
        let grant = grant?;
        self.count(&grant)?;
        Ok(grant)
    }

    /// What became of a file.
    async fn take(
        &self,
        headers: &HeaderMap,
        body: &mut Option<Body>,
        watch: Option<&Watch>,
        note: &mut Note,
    ) -> Result<Taken, Refused> {
        let grant = self.admit(headers, watch, note)?;
        let _place = self.places.take(&grant.id)?;
        let max = self.limits.file.saturating_add(OVERHEAD);
        let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > max) {
            return Err(Refused::TooLarge(self.limits.file));
        }
        let boundary = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let boundary = boundary.and_then(|value| multer::parse_boundary(value).ok());
        let boundary = boundary.ok_or_else(|| Refused::Form("it is no multipart form".to_owned()))?;
        let admit = |name: &DistributionFilename| permitted(&grant, name.project());
        let body = body.take().unwrap_or_default();
        let form = Form::read(body, &boundary, &self.spool, self.limits, admit).await?;
        note.about = Some(About::File((&form.file.filename).into(), Digest(form.file.sha256)));
        let distribution = tokio::task::spawn_blocking(move || judged(form)).await;
        let distribution = distribution.map_err(|error| Refused::Repository(error.to_string()))??;
        let size = distribution.size();
        let edits: Arc<[Edit]> = Arc::new([Edit::Add(Box::new(distribution))]);
        match self.publisher.publish(Arc::clone(&edits), (self.clock)()).await {
            Ok(published) => Ok(Taken::Published(published, size)),
            Err(RepositoryError::Claimed(project)) => self.stage(&edits, &project).await,
            Err(error) => Err(Refused::of(&error)),
        }
    }

    async fn stage(&self, edits: &[Edit], project: &str) -> Result<Taken, Refused> {
        let [Edit::Add(distribution)] = edits else { return Err(Refused::Missing("content")) };
        let (staging, name) = (self.publisher.stage_upload(distribution).await, distribution.filename());
        Ok(match staging.map_err(|error| Refused::of(&error))? {
            Staging::Published => Taken::Known(format!("{name} was published already\n")),
            Staging::Waits => Taken::Waits(format!(
                "{name} waits: the maintainers of {project} sign it with `wheelseal project release`\n"
            )),
        })
    }
}

/// What became of an upload.
enum Taken {
    /// It is in a snapshot, or was; the bytes of the file.
    Published(Published, u64),
    /// It was there, signed by its maintainers.
    Known(String),
    /// It waits for their signatures.
    Waits(String),
}

fn permitted(grant: &Grant, project: &ProjectName) -> Result<(), Refused> {
    if grant.allows(project) { Ok(()) } else { Err(Refused::NotYours(project.to_string())) }
}

/// The file of a form, if form, name and content agree.
fn judged(form: Form) -> Result<Distribution, Refused> {
    let Form { fields, file } = form;
    let wrong = |what: &str, said: &str, is: &str| {
        Refused::Form(format!("the form says {what} {said:?}, the file {is:?}"))
    };
    if fields.action != "file_upload" {
        return Err(Refused::Form(format!("the action is {:?}, expected file_upload", fields.action)));
    }
    if fields.protocol_version != "1" {
        return Err(Refused::Form(format!("the protocol is {:?}, expected 1", fields.protocol_version)));
    }
    let (name, filename) = (ProjectName::from_str(&fields.name), &file.filename);
    if name.as_ref() != Ok(filename.project()) {
        return Err(wrong("name", &fields.name, filename.project().as_str()));
    }
    if pep440_rs::Version::from_str(&fields.version).ok().as_ref() != Some(filename.version()) {
        return Err(wrong("version", &fields.version, &filename.version().to_string()));
    }
    let kind = if matches!(filename.kind(), Kind::Wheel { .. }) { "bdist_wheel" } else { "sdist" };
    if fields.filetype != kind {
        return Err(wrong("filetype", &fields.filetype, kind));
    }
    let digest = hex::encode(file.sha256);
    if !fields.sha256_digest.is_empty() && fields.sha256_digest.to_ascii_lowercase() != digest {
        return Err(wrong("sha256_digest", &fields.sha256_digest, &digest));
    }
    let shown = file.filename.to_string();
    let judged = Distribution::spooled(file.filename, file.copy, (file.sha256, file.size), &shown);
    let judged = match fields.attestations.as_str() {
        "" => judged,
        attestations => judged.and_then(|distribution| {
            distribution.attested(|filename, sha256| Provenance::of(attestations, filename, sha256))
        }),
    };
    judged.map_err(|error| Refused::of(&error))
}

/// Who goes away before the answer stops nothing that has begun, and so cannot keep it out of the journal either.
async fn to_the_end(request: Request, next: Next) -> Response {
    let done = tokio::spawn(next.run(request)).await;
    done.unwrap_or_else(|error| Refused::Repository(error.to_string()).into_response())
}

/// What a request needs.
#[derive(Clone)]
struct Desk {
    uploads: Arc<Uploads>,
    metrics: Arc<Metrics>,
    watch: Option<Arc<Watch>>,
}

async fn upload(State(Desk { uploads, metrics, watch }): State<Desk>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let (mut body, watch) = (Some(body), watch.as_deref());
    let mut note = watch.map(|watch| watch.note(&head.extensions, &head.headers)).unwrap_or_default();
    let taken = uploads.take(&head.headers, &mut body, watch, &mut note).await;
    if let Some(watch) = watch {
        watch.tell(&note, ended(&taken));
    }
    match taken {
        Ok(Taken::Published(published, _)) if published.changed.is_empty() => {
            metrics.unchanged.add(1);
            (StatusCode::OK, said(&published)).into_response()
        }
        Ok(Taken::Published(published, size)) => {
            metrics.published.add(1);
            metrics.bytes.add(size);
            (StatusCode::OK, said(&published)).into_response()
        }
        Ok(Taken::Known(text)) => {
            metrics.unchanged.add(1);
            (StatusCode::OK, text).into_response()
        }
        Ok(Taken::Waits(text)) => {
            metrics.staged.add(1);
            (StatusCode::ACCEPTED, text).into_response()
        }
        Err(refused) => uploads.refuse(refused, body, &metrics).await,
    }
}

/// What the journal says of it.
fn ended(taken: &Result<Taken, Refused>) -> Ended {
    match taken {
        Ok(Taken::Published(published, _)) if published.changed.is_empty() => {
            Ended::Taken(Outcome::Unchanged)
        }
        Ok(Taken::Published(..)) => Ended::Taken(Outcome::Published),
        Ok(Taken::Known(_)) => Ended::Taken(Outcome::Unchanged),
        Ok(Taken::Waits(_)) => Ended::Taken(Outcome::Staged),
        Err(refused) => refused.ended(),
    }
}

fn said(published: &Published) -> String {
    let (snapshot, names) = (published.snapshot, published.changed.join(", "));
    if names.is_empty() {
        return format!("{} was published already\n", published.unchanged.join(", "));
    }
    format!("published {names} in snapshot {snapshot}\n")
}

/// Reads on, and keeps nothing.
async fn drain(body: Body, max: u64) {
    let mut stream = body.into_data_stream();
    let mut left = max;
    let read = async {
        while let Ok(Some(Ok(chunk))) = timeout(DRAIN_PAUSE, stream.next()).await {
            left = left.saturating_sub(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
            if left == 0 {
                break;
            }
        }
    };
    drop(timeout(DRAIN, read).await);
}
