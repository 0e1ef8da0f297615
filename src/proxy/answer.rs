//! Answers, and all there is to make them from: a signed page, a file that was checked or gives out no more than may be sent, a
//! refusal.
//!
//! [`Answer`] has no other constructors, and the functions that serve requests return nothing else. [`Answer::unverified`] is
//! what `--mode warn` lets through.

use axum::body::{Body, Bytes};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, LOCATION, PROXY_AUTHENTICATE, VARY, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::response::Builder;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version};
use futures_util::stream::{self, Stream};
use hyper::ext::ReasonPhrase;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncSeekExt, SeekFrom};

use super::large::Parts;
use super::memory::Held;
use super::page::{Page, View};
use super::refusal::Refusal;
use crate::client::{Arriving, OpenFile};
use crate::tuf::metadata::TargetFile;
use crate::web::{Form, Part, SIMPLE_JSON, Wanted, part, seen};

/// Bytes of a file read at once.
const CHUNK: usize = 256 * 1_024;
/// For pages: they are asked for again each time, and mostly have not changed.
const ASK_AGAIN: &str = "no-cache";
/// For files, whose content never changes. Not for caches of others: who asks may have shown a password.
const FOR_GOOD: &str = "private, max-age=31536000, immutable";
/// Fields of an answer that speak of the connection to the index, and not of what it sent.
const OF_THE_CONNECTION: [&str; 5] =
    ["connection", "keep-alive", "transfer-encoding", "upgrade", "proxy-authenticate"];

/// Marks an answer whose end is told by its last chunk alone.
#[derive(Debug, Clone, Copy)]
struct InChunks;

/// What is sent to a tool.
pub(super) struct Answer(Response<Body>);

impl Answer {
    /// A signed page. 304 if the tool has seen it. Compressed in a `view` in which pages are made once for many who ask: for the
    /// one run of [`View::AsSigned`] it would only cost time, since the tool is on this machine.
    pub(super) fn page(page: &Page, form: Form, view: View, headers: &HeaderMap) -> Self {
        let (rendered, content_type) = match form {
            Form::Json => (page.json(), SIMPLE_JSON),
            Form::Html(content_type) => (page.html(), content_type),
        };
        let response = Response::builder()
            .header(CONTENT_TYPE, content_type)
            .header(X_CONTENT_TYPE_OPTIONS, "nosniff")
            // Names and reasons on a page are other people's words: nothing of it may run.
            .header(CONTENT_SECURITY_POLICY, "default-src 'none'")
            .header(CACHE_CONTROL, ASK_AGAIN)
            .header(VARY, if view == View::Below { "Accept, Accept-Encoding" } else { "Accept" })
            .header(ETAG, &rendered.tag);
        if seen(headers, &rendered.tag) {
            return Self::built(response.status(StatusCode::NOT_MODIFIED), Body::empty());
        }
        let codings = if view == View::Below { Wanted::codings(headers).best_codings() } else { Vec::new() };
        let coded = codings.into_iter().find_map(|coding| Some((coding, rendered.coded(coding)?)));
        let (response, bytes) = match coded {
            Some((coding, bytes)) => (response.header(CONTENT_ENCODING, coding.name()), bytes),
            None => (response, &rendered.bytes),
        };
        Self::built(response.header(CONTENT_LENGTH, bytes.len()), bytes.clone().into())
    }

    /// A file that was checked, or part of it.
    pub(super) fn file(file: OpenFile, parts: Parts, headers: &HeaderMap) -> Self {
        let target = file.target().clone();
        Self::content(&target, parts, headers, |start, count| {
            Body::from_stream(chunks(tokio::fs::File::from_std(file.into_file()), start, count))
        })
    }

    /// The same of one in memory.
    pub(super) fn held(held: &Held, headers: &HeaderMap) -> Self {
        let bytes = Bytes::from_owner(held.clone());
        Self::content(held.file().target(), Parts::Any, headers, |start, count| {
            let [start, count] = [start, count].map(|number| usize::try_from(number).unwrap_or(usize::MAX));
            let span = bytes.get(start..start.saturating_add(count));
            span.map_or_else(Body::empty, |span| bytes.slice_ref(span).into())
        })
    }

    fn content(
        target: &TargetFile,
        parts: Parts,
        headers: &HeaderMap,
        body: impl FnOnce(u64, u64) -> Body,
    ) -> Self {
        let length = target.length;
        let tag = target.hashes.name().map(|name| format!("\"{name}\""));
        let mut response = file_head();
        if parts == Parts::Any {
            response = response.header(ACCEPT_RANGES, "bytes");
        }
        if let Some(tag) = &tag {
            response = response.header(ETAG, tag);
            if seen(headers, tag) {
                return Self::built(response.status(StatusCode::NOT_MODIFIED), Body::empty());
            }
        }
        let wanted = if parts == Parts::Any { part(headers, length, tag.as_deref()) } else { Part::Whole };
        let (start, count) = match wanted {
            Part::Whole => (0, length),
            Part::Outside => return Self::refusal(&Refusal::Outside(length)),
            Part::Span(first, last) => {
                let range = format!("bytes {first}-{last}/{length}");
                response = response.status(StatusCode::PARTIAL_CONTENT).header(CONTENT_RANGE, range);
                (first, last.saturating_sub(first).saturating_add(1))
            }
        };
        Self::built(response.header(CONTENT_LENGTH, count), body(start, count))
    }

    /// A file that is coming: all of it, or less and the end of the connection. Its length is not told, so it comes in chunks, and only
    /// the last one says that it is whole: older pip takes the end of a connection for the end of a file, whatever length was
    /// told. No entity tag and no parts: nobody is to put parts of it together before it is checked.
    pub(super) fn arriving(file: Arriving) -> Self {
        let chunks = stream::try_unfold(file, async |mut file| {
            let chunk = file.next().await.map_err(std::io::Error::other)?;
            Ok::<_, std::io::Error>(chunk.map(|chunk| (Bytes::from(chunk), file)))
        });
        let mut answer = Self::built(file_head(), Body::from_stream(chunks));
        answer.0.extensions_mut().insert(InChunks);
        answer
    }

    /// Why there is none, where pip looks for it and where uv does.
    pub(super) fn refusal(refusal: &Refusal) -> Self {
        let (status, (title, detail)) = (refusal.status(), refusal.title_and_detail());
        let problem =
            json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
        let problem = problem.to_string();
        let mut response = Response::builder()
            .status(status)
            .header(CONTENT_TYPE, "application/problem+json")
            .header(X_CONTENT_TYPE_OPTIONS, "nosniff")
            .header(CACHE_CONTROL, "no-store")
            .header(CONTENT_LENGTH, problem.len());
        let more: Option<(HeaderName, String)> = match refusal {
            Refusal::Login => Some((WWW_AUTHENTICATE, "Basic realm=\"index\"".to_owned())),
            Refusal::ProxyLogin => Some((PROXY_AUTHENTICATE, "Basic realm=\"wheelseal\"".to_owned())),
            Refusal::Outside(length) => Some((CONTENT_RANGE, format!("bytes */{length}"))),
            Refusal::Bad(_) => Some((CONNECTION, "close".to_owned())),
            _ => None,
        };
        if let Some((name, value)) = more {
            response = response.header(name, value);
        }
        let mut answer = Self::built(response, problem.into());
        if let Ok(phrase) = ReasonPhrase::try_from(refusal.phrase()) {
            answer.0.extensions_mut().insert(phrase);
        }
        answer
    }

    /// The list of projects, or a page: elsewhere.
    pub(super) fn moved(to: &str) -> Self {
        let response = Response::builder().status(StatusCode::MOVED_PERMANENTLY).header(LOCATION, to);
        Self::built(response.header(CACHE_CONTROL, "no-store"), Body::empty())
    }

    /// What the index sent, as it came. For [`super::Mode::Warn`] alone.
    pub(super) fn unverified(answer: reqwest::Response) -> Self {
        let mut response = Response::builder().status(answer.status());
        for (name, value) in answer.headers() {
            if !OF_THE_CONNECTION.contains(&name.as_str()) {
                response = response.header(name, value);
            }
        }
        Self::built(response, Body::from_stream(answer.bytes_stream()))
    }

    /// The tunnel stands.
    pub(super) fn connected() -> Self {
        Self::built(Response::builder(), Body::empty())
    }

    /// What another host sent, which nobody verifies.
    pub(super) fn of_stranger(answer: Response<hyper::body::Incoming>) -> Self {
        let (mut parts, body) = answer.into_parts();
        for name in OF_THE_CONNECTION {
            parts.headers.remove(name);
        }
        Self(Response::from_parts(parts, Body::new(body)))
    }

    /// What one who speaks this version can be sent: without chunks, an end that came too early looks like any other.
    pub(super) fn speaking(self, version: Version) -> Self {
        if version < Version::HTTP_11 && self.0.extensions().get::<InChunks>().is_some() {
            return Self::refusal(&Refusal::Bad(
                "a file of this size is sent in chunks, which HTTP/1.0 has not",
            ));
        }
        self
    }

    pub(super) fn into_response(self) -> Response<Body> {
        self.0
    }

    fn built(response: Builder, body: Body) -> Self {
        let broken = || {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            response
        };
        Self(response.body(body).unwrap_or_else(|_| broken()))
    }
}

fn file_head() -> Builder {
    Response::builder()
        .header(CONTENT_TYPE, "application/octet-stream")
        .header(X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header(CACHE_CONTROL, FOR_GOOD)
}

/// So many bytes of a file from `start` on.
fn chunks(
    file: tokio::fs::File,
    start: u64,
    count: u64,
) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    stream::try_unfold((file, Some(start), count), async |(mut file, seek, left)| {
        if let Some(start) = seek.filter(|start| *start > 0) {
            file.seek(SeekFrom::Start(start)).await?;
        }
        let mut chunk = Vec::with_capacity(CHUNK.min(usize::try_from(left).unwrap_or(CHUNK)));
        let most = left.min(u64::try_from(CHUNK).unwrap_or(u64::MAX));
        let count = (&mut file).take(most).read_to_end(&mut chunk).await?;
        let left = left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
        Ok((count > 0).then(|| (Bytes::from(chunk), (file, None, left))))
    })
}
