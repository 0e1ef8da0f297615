//! Addresses, and what they answer. GET and HEAD alone.
//!
//! | address | answer |
//! |---|---|
//! | `/metadata/N.role.json` | for good; compressed or as a change of an older version |
//! | `/metadata/timestamp.json`, `root.json` | as it is now |
//! | `/targets/…` | a file, or part of it, as it is; for good where the name begins with a hash |
//! | `….tlog-proof` beside snapshots and targets | proofs that these are in the transparency log |
//! | `/log/checkpoint` | how large the log is, as it is now |
//! | `/log/tile/…` | tiles and entries of the log, for good; nothing else of the log is given out |
//! | `/simple/`, `/simple/PROJECT/` | a page as HTML or JSON, as the client likes |
//! | `/healthz` | whether the store gives out the timestamp |
//! | `/metrics` | counts, for Prometheus |

use std::str::FromStr;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY, ETAG,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::Response;
use axum::routing::get;
use futures_util::stream::{self, TryStream};
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::cache::Kept;
use super::resource::{ASK_AGAIN, FOR_GOOD, Refusal, Resource, Role, finished, response};
use super::shared::Shared;
use crate::python::ProjectName;
use crate::repository::{LOG, METADATA, PROOF, SIMPLE, TARGETS};
use crate::store::{Entry, StorePath};
use crate::web::{Form, HTML, Part, SIMPLE_JSON, form, part, seen};

/// Bytes of a target file read at once.
const CHUNK: usize = 64 * 1_024;
/// How the paths of provenance objects end (PEP 740), and what these are.
const PROVENANCE: &str = ".provenance";
const JSON: &str = "application/json";
/// What checkpoints and proofs are (tlog-tiles, "Checkpoints").
const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";
/// For target files under plain names, which `remove` may withdraw.
const FOR_AN_HOUR: &str = "public, max-age=3600";
/// Hexadecimal digits of SHA-256 and SHA-512.
const HASH_DIGITS: [usize; 2] = [64, 128];

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .route("/metadata/{name}", get(metadata))
        .route("/targets/{*path}", get(target))
        .route("/log/checkpoint", get(checkpoint))
        .route("/log/tile/{*path}", get(tile))
        .route("/simple", get(page))
        .route("/simple/", get(page))
        .route("/simple/{*path}", get(page))
        .fallback(async || Refusal::NotFound)
        .with_state(shared)
}

async fn health(State(shared): State<Arc<Shared>>) -> Result<Response, Refusal> {
    shared.current(&at(METADATA, "timestamp.json")?).await.map_err(|_| Refusal::Unavailable)?;
    finished(response("text/plain").header(CACHE_CONTROL, "no-store"), "ok\n".into())
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Result<Response, Refusal> {
    let response = response("text/plain; version=0.0.4").header(CACHE_CONTROL, "no-store");
    finished(response, shared.metrics.text().into())
}

async fn metadata(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    // Role names are quoted in file names as they are in addresses, so nothing is unquoted here.
    let name = uri.path().strip_prefix("/metadata/").unwrap_or_default();
    let (path, role) = (at(METADATA, name)?, Role::of(name));
    if role.is_none() && name.strip_suffix(PROOF).and_then(Role::of).is_some() {
        let plain = shared.unchanging(&path).await?;
        return logged(plain, TEXT, FOR_GOOD).respond(&shared, &headers).await;
    }
    let (plain, caching) = match &role {
        Some(_) => (shared.unchanging(&path).await?, FOR_GOOD),
        None if ["timestamp.json", "root.json"].contains(&name) => (shared.current(&path).await?, ASK_AGAIN),
        None => return Err(Refusal::NotFound),
    };
    let resource = Resource {
        plain,
        at: role.is_some().then_some(path),
        role: role.filter(|role| role.stem != "root"),
        content_type: JSON,
        caching,
        vary: "Accept-Encoding, Available-Dictionary",
    };
    resource.respond(&shared, &headers).await
}

async fn checkpoint(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Result<Response, Refusal> {
    let plain = shared.current(&at(LOG, "checkpoint")?).await?;
    logged(plain, TEXT, ASK_AGAIN).respond(&shared, &headers).await
}

async fn tile(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap) -> Result<Response, Refusal> {
    let path = at(LOG, uri.path().strip_prefix("/log/").unwrap_or_default())?;
    let plain = shared.unchanging(&path).await?;
    logged(plain, BYTES, FOR_GOOD).respond(&shared, &headers).await
}

/// A file of the log.
fn logged(plain: Arc<Kept>, content_type: &'static str, caching: &'static str) -> Resource {
    Resource { plain, at: None, role: None, content_type, caching, vary: "Accept-Encoding" }
}

async fn page(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap) -> Result<Response, Refusal> {
    let path = unquoted(uri.path())?;
    let Some(rest) = path.strip_prefix("/simple/") else {
        return Err(Refusal::Moved("simple/".to_owned()));
    };
    let (folder, file) = match rest.rsplit_once('/') {
        Some(("", _)) => return Err(Refusal::NotFound),
        Some(apart) => apart,
        None => ("", rest),
    };
    let form = match file {
        "" => form(&headers).ok_or(Refusal::NotAcceptable)?,
        "index.html" => Form::Html(HTML),
        "index.json" => Form::Json,
        project if folder.is_empty() => return Err(elsewhere(project, "")),
        _ => return Err(Refusal::NotFound),
    };
    if !folder.is_empty() && ProjectName::from_str(folder).is_ok_and(|name| name.to_string() != folder) {
        return Err(elsewhere(folder, "../"));
    }
    let (file, content_type) = match form {
        Form::Json => ("index.json", SIMPLE_JSON),
        Form::Html(content_type) => ("index.html", content_type),
    };
    let slash = if folder.is_empty() { "" } else { "/" };
    let mut plain = shared.current(&at(SIMPLE, &format!("{folder}{slash}{file}"))?).await?;
    if let Some(told) = told(&shared, folder, form, &plain).await {
        plain = told;
    }
    let vary = "Accept, Accept-Encoding";
    let resource = Resource { plain, at: None, role: None, content_type, caching: ASK_AGAIN, vary };
    let mut response = resource.respond(&shared, &headers).await?;
    // Names and versions on a page are other people's words: nothing of it may run.
    let nothing = HeaderValue::from_static("default-src 'none'");
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, nothing);
    Ok(response)
}

/// A project's page with what only the server knows. What does not read, or is not there, goes out as it is.
async fn told(shared: &Shared, folder: &str, form: Form, plain: &Arc<Kept>) -> Option<Arc<Kept>> {
    if folder.is_empty() || shared.public.get().is_none() {
        return None;
    }
    let json = match form {
        Form::Json => Arc::clone(plain),
        Form::Html(_) => shared.current(&at(SIMPLE, &format!("{folder}/index.json")).ok()?).await.ok()?,
    };
    shared.with_provenance(&json, form).await.ok()?
}

/// To the page of a project, under its normalized name (PEP 503).
fn elsewhere(project: &str, up: &str) -> Refusal {
    match ProjectName::from_str(project) {
        Ok(name) => Refusal::Moved(format!("{up}{name}/")),
        Err(_) => Refusal::NotFound,
    }
}

async fn target(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let path = unquoted(uri.path())?;
    let path = at(TARGETS, path.strip_prefix("/targets/").unwrap_or_default())?;
    let entry = shared.store.stat(&path).await.map_err(|error| shared.missing(&error))?;
    let entry = entry.ok_or(Refusal::NotFound)?;
    let hash = hash(&path);
    let tag = hash.as_ref().map_or_else(|| age(&entry), |hash| format!("\"{hash}\""));
    let proof = path.as_str().ends_with(PROOF);
    let caching = match &hash {
        Some(_) => FOR_GOOD,
        None if proof => ASK_AGAIN,
        None => FOR_AN_HOUR,
    };
    let content_type = match path.as_str() {
        _ if proof => TEXT,
        text if text.ends_with(PROVENANCE) => JSON,
        _ => BYTES,
    };
    let response = response(content_type)
        .header(CACHE_CONTROL, caching)
        .header(ETAG, &tag)
        .header(ACCEPT_RANGES, "bytes");
    if seen(&headers, &tag) {
        return finished(response.status(StatusCode::NOT_MODIFIED), Body::empty());
    }
    let (start, count, response) = match part(&headers, entry.len, hash.is_some().then_some(&tag)) {
        Part::Whole => (0, entry.len, response),
        Part::Outside => return Err(Refusal::Unsatisfiable(entry.len)),
        Part::Span(first, last) => {
            let range = format!("bytes {first}-{last}/{}", entry.len);
            let response = response.status(StatusCode::PARTIAL_CONTENT).header(CONTENT_RANGE, range);
            (first, last - first + 1, response)
        }
    };
    let opened = shared.store.open_at(&path, start).await.map_err(|error| shared.missing(&error))?;
    let stream = opened.ok_or(Refusal::NotFound)?.take(count);
    finished(response.header(CONTENT_LENGTH, count), Body::from_stream(chunks(stream)))
}

/// A weak entity tag of a file that has no hash in its name.
fn age(entry: &Entry) -> String {
    let age = entry.modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("W/\"{:x}-{:x}\"", entry.len, age.as_nanos())
}

/// The hash that a file's name begins with.
fn hash(path: &StorePath) -> Option<String> {
    let (hash, _) = path.segments().last()?.split_once('.')?;
    let digits = hash.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    (HASH_DIGITS.contains(&hash.len()) && digits).then(|| hash.to_owned())
}

fn chunks(
    stream: impl AsyncRead + Send + Unpin + 'static,
) -> impl TryStream<Ok = Bytes, Error = std::io::Error> + Send {
    stream::try_unfold(stream, async |mut stream| {
        let mut chunk = vec![0; CHUNK];
        let count = stream.read(&mut chunk).await?;
        chunk.truncate(count);
        Ok((count > 0).then(|| (Bytes::from(chunk), stream)))
    })
}

fn unquoted(path: &str) -> Result<String, Refusal> {
    let text = percent_decode_str(path).decode_utf8().map_err(|_| Refusal::NotFound)?;
    Ok(text.into_owned())
}

fn at(folder: &str, name: &str) -> Result<StorePath, Refusal> {
    StorePath::new(format!("{folder}/{name}")).map_err(|_| Refusal::NotFound)
}
