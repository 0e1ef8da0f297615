//! Counting downloads: files under `/targets/` that were sent to their end, by a GET. Of a file that is fetched in parts
//! the first part counts.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_RANGE, USER_AGENT};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::StreamExt;
use percent_encoding::percent_decode_str;

use super::watch::Watch;
use crate::journal::{Cell, FileName, Of, Tool};

/// Hexadecimal digits of SHA-256 and SHA-512, one of which stands before the name.
const HASH_DIGITS: [usize; 2] = [64, 128];

pub(super) async fn counted(State(watch): State<Arc<Watch>>, request: Request, next: Next) -> Response {
    let cell = (*request.method() == Method::GET).then(|| cell(&watch, &request)).flatten();
    let response = next.run(request).await;
    match (cell, first_bytes(&response)) {
        (Some(cell), Some(length)) => told_when_sent(response, length, move || watch.downloaded(cell)),
        _ => response,
    }
}

/// What is counted if all goes well. The address is not looked at, but for whether it is a trusted proxy's.
fn cell(watch: &Watch, request: &Request) -> Option<Cell> {
    let file = file(request.uri().path().strip_prefix("/targets/")?)?;
    let headers: &HeaderMap = request.headers();
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (tool, version) = Tool::of_agent(agent);
    let country = watch.country(request.extensions(), headers);
    Some(Cell { of: Of::File(file), tool: Some(tool), country, version })
}

/// The distribution at a path, if it is one.
fn file(path: &str) -> Option<FileName> {
    let path = percent_decode_str(path).decode_utf8().ok()?;
    let name = path.rsplit('/').next()?;
    let hashed = name.split_once('.').filter(|(hash, _)| {
        HASH_DIGITS.contains(&hash.len()) && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    hashed.map_or(name, |(_, name)| name).parse().ok()
}

/// How many bytes will be sent, if they are the file's first.
fn first_bytes(response: &Response) -> Option<u64> {
    let field = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let first = match response.status() {
        StatusCode::OK => true,
        StatusCode::PARTIAL_CONTENT => {
            field(CONTENT_RANGE).is_some_and(|range| range.starts_with("bytes 0-"))
        }
        _ => false,
    };
    field(CONTENT_LENGTH).filter(|_| first)?.parse().ok()
}

fn told_when_sent(response: Response, length: u64, tell: impl FnOnce() + Send + 'static) -> Response {
    let (head, body) = response.into_parts();
    let (mut left, mut tell) = (length, Some(tell));
    let stream = body.into_data_stream().map(move |chunk: Result<Bytes, axum::Error>| {
        let sent = chunk.as_ref().map_or(0, |bytes| u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        left = left.saturating_sub(sent);
        if left == 0
            && let Some(tell) = tell.take()
        {
            tell();
        }
        chunk
    });
    Response::from_parts(head, Body::from_stream(stream))
}
