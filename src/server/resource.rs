//! One answer held in memory: metadata or a page, in the coding that serves the client best.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LOCATION, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::response::Builder;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::cache::Kept;
use super::shared::{Missing, Shared};
use crate::coding::delta;
use crate::repository::METADATA;
use crate::store::StorePath;
use crate::web::{Wanted, seen};

/// For names whose content never changes.
pub(super) const FOR_GOOD: &str = "public, max-age=31536000, immutable";
/// For names whose content may change at any time.
pub(super) const ASK_AGAIN: &str = "no-cache";
/// Files shorter than this are sent as they are: a head is longer than what could be saved.
const MIN_COMPRESSED: usize = 200;

/// A version of a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Role {
    /// Its name as file names have it.
    pub(super) stem: String,
    pub(super) version: u64,
}

impl Role {
    /// `N.stem.json` taken apart.
    pub(super) fn of(name: &str) -> Option<Self> {
        let (version, rest) = name.split_once('.')?;
        let stem = rest.strip_suffix(".json")?;
        let plain = version.bytes().all(|byte| byte.is_ascii_digit()) && !version.starts_with('0');
        plain.then(|| Some(Self { stem: stem.to_owned(), version: version.parse().ok()? }))?
    }

    /// Where another version of it lies.
    pub(super) fn at(&self, version: u64) -> Option<StorePath> {
        StorePath::new(format!("{METADATA}/{version}.{}.json", self.stem)).ok()
    }

    /// What tells a client that this file will serve as a dictionary for later versions. Not for names with characters
    /// that mean something in URL patterns.
    fn use_as_dictionary(&self) -> Option<String> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte);
        let id = delta::id_field(self.version);
        let stem = &self.stem;
        stem.bytes().all(plain).then(|| format!("match=\"/{METADATA}/*.{stem}.json\", id={id}"))
    }
}

/// A file and how to send it.
pub(super) struct Resource {
    pub(super) plain: Arc<Kept>,
    /// Where it lies, if compressed siblings may lie beside it.
    pub(super) at: Option<StorePath>,
    /// What it is a version of, if it can be sent as a change of an older one.
    pub(super) role: Option<Role>,
    pub(super) content_type: &'static str,
    pub(super) caching: &'static str,
    pub(super) vary: &'static str,
}

impl Resource {
    /// The answer to a request.
    pub(super) async fn respond(&self, shared: &Shared, headers: &HeaderMap) -> Result<Response, Refusal> {
        let tag = self.tag();
        let response = response(self.content_type)
            .header(CACHE_CONTROL, self.caching)
            .header(ETAG, &tag)
            .header(VARY, self.vary);
        if seen(headers, &tag) {
            return finished(response.status(StatusCode::NOT_MODIFIED), Body::empty());
        }
        let (bytes, coding) = self.coded(shared, headers).await;
        let mut response = response.header(CONTENT_LENGTH, bytes.len());
        if let Some(coding) = coding {
            response = response.header(CONTENT_ENCODING, coding);
        }
        if let Some(usage) = self.role.as_ref().and_then(Role::use_as_dictionary) {
            response = response.header(delta::USE_AS, usage);
        }
        finished(response, bytes.into())
    }

    /// Of the content, whatever its coding: hence a weak one.
    fn tag(&self) -> String {
        let (half, _) = self.plain.sha256.split_at(16);
        format!("W/\"{}\"", hex::encode(half))
    }

    /// The body, and its coding if it has one.
    async fn coded(&self, shared: &Shared, headers: &HeaderMap) -> (Bytes, Option<&'static str>) {
        let plain = (self.plain.bytes.clone(), None);
        if plain.0.len() < MIN_COMPRESSED {
            return plain;
        }
        let wanted = Wanted::codings(headers);
        if let Some(role) = self.role.as_ref().filter(|_| wanted.names(delta::NAME))
            && let Some(digest) = field(headers, delta::AVAILABLE).and_then(delta::read_digest)
            && let id = field(headers, delta::ID).and_then(delta::read_id)
            && let Some(delta) = shared.delta(&self.plain, role, digest, id).await
        {
            return (delta.bytes.clone(), Some(delta::NAME));
        }
        for coding in wanted.best_codings() {
            let sibling = self.at.as_ref().map(|at| StorePath::new(format!("{at}{}", coding.ending())));
            let sibling = sibling.and_then(Result::ok);
            if let Some(coded) = shared.coded(&self.plain, sibling, coding).await {
                return (coded.bytes.clone(), Some(coding.name()));
            }
        }
        plain
    }
}

fn field<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// An answer begun: 200, and a content type that no browser may doubt.
pub(super) fn response(content_type: &'static str) -> Builder {
    Response::builder().header(CONTENT_TYPE, content_type).header(X_CONTENT_TYPE_OPTIONS, "nosniff")
}

pub(super) fn finished(response: Builder, body: Body) -> Result<Response, Refusal> {
    response.body(body).map_err(|_| Refusal::Unavailable)
}

/// Why there is no such answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// 404. Not to be cached: the next root is asked for until it is there.
    NotFound,
    /// 406.
    NotAcceptable,
    /// 416, of a file of that many bytes.
    Unsatisfiable(u64),
    /// 503.
    Unavailable,
    /// 301, to an address relative to the one asked for.
    Moved(String),
}

impl From<Missing> for Refusal {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::Absent => Self::NotFound,
            Missing::Broken => Self::Unavailable,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, text) = match &self {
            Self::NotFound => (StatusCode::NOT_FOUND, "there is no such file\n"),
            Self::NotAcceptable => (StatusCode::NOT_ACCEPTABLE, "there are HTML and JSON (PEP 691) alone\n"),
            Self::Unsatisfiable(_) => (StatusCode::RANGE_NOT_SATISFIABLE, "the file ends before that\n"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "try again later\n"),
            Self::Moved(_) => (StatusCode::MOVED_PERMANENTLY, ""),
        };
        let more = match self {
            Self::Unsatisfiable(len) => Some((CONTENT_RANGE, format!("bytes */{len}"))),
            Self::Moved(to) => Some((LOCATION, to)),
            _ => None,
        };
        let fields = [
            (CONTENT_TYPE, "text/plain; charset=utf-8"),
            (CACHE_CONTROL, "no-store"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        let mut response = (status, fields, text).into_response();
        if let Some((name, value)) = more.and_then(|(name, value)| Some((name, value.parse().ok()?))) {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
