//! HTTP: GET alone, with caps on size and time, and retries where they can help.
//!
//! Retried, with growing pauses: connection faults, answers of 500 and more, and 429, which may say how long to wait. Not retried: everything else, above
//! all what looks like an attack (too much, too slow). Redirects are followed, but never from https to http.

mod credentials;
mod foreign;
mod given;
mod index;
mod post;
mod reach;
mod send;
mod unverified;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode, Url, redirect};
use tokio::time::{Instant, sleep, timeout, timeout_at};

pub use self::credentials::Credentials;
pub use self::foreign::Hook;
pub use self::index::Answer;
pub use self::post::Posted;
pub use self::reach::Reach;
pub use self::send::{SendError, Upload, Uploader};
use super::source::{FetchError, Fetched, Given, Sink, Source};
use crate::coding::delta::{self, Held};
use crate::coding::{self, Coding, DecodeError};
use crate::tuf::path::percent_quote;

/// Redirects in a row, at most.
const MAX_REDIRECTS: usize = 5;
/// Pauses before a file is given up.
const PAUSES: usize = 3;
/// How often a file is waited for because the server asks for it (429), and how long each time, at most.
const MAX_WAITS: usize = 5;
/// See [`MAX_WAITS`].
const MAX_WAIT: Duration = Duration::from_mins(1);
/// A compressed body may be this much longer than what comes out of it: headers of tiny files.
const ENCODING_OVERHEAD: u64 = 1_024;

/// What is asked for, for metadata alone: targets are compressed already and are checked as they are.
const ACCEPTED: &str = "gzip, zstd";
/// The same for one who holds an older version.
const ACCEPTED_NEWER: &str = "dcz, zstd, gzip";

/// How long to wait, and how slow is too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Until the connection stands.
    pub connect: Duration,
    /// From sending the request until the head of the answer.
    pub head: Duration,
    /// In each such span of a body...
    pub window: Duration,
    /// ...at least so many bytes must come.
    pub window_bytes: u64,
    /// Pauses before each retry; their number is the number of retries.
    pub pauses: [Duration; PAUSES],
}

impl Default for Timing {
    /// 10 s to connect, 30 s to answer, 30 kB in each 30 s: slower than any working connection, faster than a
    /// slow-retrieval attack can bear. Retries after 0.2, 1 and 3 s.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            head: Duration::from_secs(30),
            window: Duration::from_secs(30),
            window_bytes: 30_000,
            pauses: [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3)],
        }
    }
}

/// Connections to servers, kept alive and shared. Uses the proxy variables of the environment.
#[derive(Debug, Clone)]
pub struct Http {
    plain: reqwest::Client,
    /// Made at the first https URL: reading the system's roots costs milliseconds in each update.
    secure: Arc<OnceLock<reqwest::Client>>,
    /// Goes where it is told and nowhere else. Made when something is sent first.
    direct: Arc<OnceLock<reqwest::Client>>,
    timing: Timing,
    credentials: Credentials,
    reach: Reach,
}

/// What a base URL serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Metadata,
    Targets,
    /// As targets. That one is forbidden does not say that there is none.
    Recorded,
}

/// Files below a base URL.
#[derive(Debug, Clone)]
pub struct HttpSource {
    http: Http,
    base: String,
    kind: Kind,
}

impl Http {
    /// Connections with these time limits.
    pub fn new(timing: Timing) -> Result<Self, FetchError> {
        Self::within(Reach::Anywhere, timing)
    }

    /// The same, to where requests may go.
    pub fn within(reach: Reach, timing: Timing) -> Result<Self, FetchError> {
        // Another part of the program may have installed the same provider before; then that one stays.
        drop(rustls::crypto::ring::default_provider().install_default());
        let plain = if secure_proxy() { builder(timing) } else { builder(timing).tls_certs_only([]) };
        let plain = reach.keep(plain).build().map_err(|error| unbuilt(&error))?;
        let (secure, direct) = (Arc::default(), Arc::default());
        Ok(Self { plain, secure, direct, timing, credentials: Credentials::default(), reach })
    }

    /// A request for a URL.
    fn request(&self, url: &str) -> Result<RequestBuilder, FetchError> {
        let request = self.client(url)?.get(url);
        Ok(match self.credentials.for_url(url) {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        })
    }

    /// The connections for a URL.
    fn client(&self, url: &str) -> Result<&reqwest::Client, FetchError> {
        self.reach.check(url)?;
        if !url.starts_with("https:") {
            return Ok(&self.plain);
        }
        if self.secure.get().is_none() {
            let client = self.reach.keep(builder(self.timing)).build().map_err(|error| unbuilt(&error))?;
            // Another task may have been faster; then its client stays.
            drop(self.secure.set(client));
        }
        Ok(self.secure.get().unwrap_or(&self.plain))
    }

    /// The connections for what is sent to a URL: redirects are not followed.
    fn sender(&self, url: &str) -> Result<&reqwest::Client, FetchError> {
        self.reach.check(url)?;
        if let Some(client) = self.direct.get() {
            return Ok(client);
        }
        let builder = self.reach.keep(builder(self.timing)).redirect(redirect::Policy::none());
        let client = builder.build().map_err(|error| unbuilt(&error))?;
        Ok(self.direct.get_or_init(|| client))
    }

    /// Metadata below `base`, asked for with the user and password in it, if it has some: names are quoted already, compressed answers are welcome.
    pub fn metadata(&self, base: &str) -> Result<HttpSource, FetchError> {
        self.source(base, Kind::Metadata)
    }

    /// Target files below `base`: names are quoted here, answers taken as they are.
    pub fn targets(&self, base: &str) -> Result<HttpSource, FetchError> {
        self.source(base, Kind::Targets)
    }

    /// The same of a recorder: what it forbids (403) is no file that it says it has not.
    pub fn recorded(&self, base: &str) -> Result<HttpSource, FetchError> {
        self.source(base, Kind::Recorded)
    }

    fn source(&self, base: &str, kind: Kind) -> Result<HttpSource, FetchError> {
        let bad =
            |reason: &str| FetchError::BadUrl { url: Credentials::of_url(base).0, reason: reason.to_owned() };
        let url = Url::parse(base).map_err(|error| bad(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad("neither http nor https"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad("it has a query or fragment"));
        }
        let (base, credentials) = Credentials::of_url(base);
        let slash = if base.ends_with('/') { "" } else { "/" };
        Ok(HttpSource { http: Self { credentials, ..self.clone() }, base: format!("{base}{slash}"), kind })
    }
}

fn builder(timing: Timing) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("wheelseal/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(timing.connect)
        .redirect(redirect::Policy::custom(follow))
}

fn unbuilt(error: &reqwest::Error) -> FetchError {
    FetchError::Network { url: String::new(), reason: text(error) }
}

/// Whether plain http may go through a proxy that is spoken to by TLS.
fn secure_proxy() -> bool {
    ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]
        .iter()
        .any(|name| std::env::var(name).is_ok_and(|proxy| proxy.starts_with("https:")))
}

/// Redirects within one kind of connection; from http to https, [`HttpSource::head`] changes over.
fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let was_secure = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
    if attempt.previous().len() > MAX_REDIRECTS {
        attempt.error("too many redirects")
    } else if was_secure && attempt.url().scheme() != "https" {
        attempt.error("a redirect from https to http")
    } else if !was_secure && attempt.url().scheme() == "https" {
        attempt.stop()
    } else {
        attempt.follow()
    }
}

/// The whole chain of causes: reqwest's own text leaves out what happened.
fn text(error: &reqwest::Error) -> String {
    let mut out = String::new();
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        let part = error.to_string();
        if !out.contains(&part) {
            out = if out.is_empty() { part } else { format!("{out}: {part}") };
        }
        cause = error.source();
    }
    out
}

/// A failed try: for good, or worth another one, or one when the server has room again.
enum Failed {
    ForGood(FetchError),
    Maybe(FetchError),
    Later(FetchError, Duration),
}

/// What is left of it for one file.
struct Patience {
    pauses: std::array::IntoIter<Duration, PAUSES>,
    waits: usize,
}

impl Patience {
    fn new(timing: &Timing) -> Self {
        Self { pauses: timing.pauses.into_iter(), waits: MAX_WAITS }
    }

    /// How long to wait before the next try, if there is to be one.
    fn after(&mut self, failed: Failed) -> Result<Duration, FetchError> {
        match failed {
            Failed::ForGood(error) => Err(error),
            Failed::Later(_, wait) if self.waits > 0 => {
                self.waits = self.waits.saturating_sub(1);
                Ok(wait)
            }
            Failed::Maybe(error) | Failed::Later(error, _) => self.pauses.next().ok_or(error),
        }
    }
}

impl Failed {
    /// That a server answers with this status.
    fn status(url: &str, response: &Response) -> Self {
        let status = response.status();
        let error = FetchError::Status { url: url.to_owned(), status: status.as_u16() };
        match retry_after(response).filter(|_| status == StatusCode::TOO_MANY_REQUESTS) {
            Some(wait) => Self::Later(error, wait),
            // 429: a server that bears so many requests of one address in a minute has room again soon.
            None if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => Self::Maybe(error),
            None => Self::ForGood(error),
        }
    }
}

/// The seconds that a server asks for, if they are not too many (RFC 9110 10.2.3). A date is not looked at.
fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds)).filter(|wait| *wait <= MAX_WAIT)
}

/// One file to ask for.
struct Ask<'a> {
    url: String,
    max_len: u64,
    /// An older version of it, at hand.
    held: Option<Held<'a>>,
}

#[async_trait]
impl Source for HttpSource {
    async fn fetch(&self, path: &str, max_len: u64, sink: &mut dyn Sink) -> Result<Fetched, FetchError> {
        self.patiently(&Ask { url: self.url(path), max_len, held: None }, sink).await
    }

    async fn fetch_newer(
        &self,
        path: &str,
        max_len: u64,
        held: &[u8],
        sink: &mut dyn Sink,
    ) -> Result<Fetched, FetchError> {
        let fits = held.len() <= delta::MAX_DICTIONARY && self.kind == Kind::Metadata;
        let held = fits.then(|| Held::new(held));
        let ask = Ask { url: self.url(path), max_len, held };
        match self.patiently(&ask, sink).await {
            Err(FetchError::Encoding { .. }) if held.is_some() => {
                sink.restart().map_err(|error| spooling(&ask.url, &error))?;
                self.patiently(&Ask { held: None, ..ask }, sink).await
            }
            done => done,
        }
    }

    async fn gives(&self, path: &str, length: u64) -> Result<Given, FetchError> {
        self.first_byte(path, length).await
    }

    fn showing(&self, credentials: &Credentials) -> Option<Arc<dyn Source>> {
        let http = Http { credentials: credentials.clone(), ..self.http.clone() };
        Some(Arc::new(Self { http, base: self.base.clone(), kind: self.kind }))
    }
}

impl HttpSource {
    fn url(&self, path: &str) -> String {
        match self.kind {
            Kind::Metadata => format!("{}{path}", self.base),
            Kind::Targets | Kind::Recorded => format!("{}{}", self.base, percent_quote(path, b"/")),
        }
    }

    /// Tries again where that can help.
    async fn patiently(&self, ask: &Ask<'_>, sink: &mut dyn Sink) -> Result<Fetched, FetchError> {
        let mut patience = Patience::new(&self.http.timing);
        loop {
            match self.attempt(ask, sink).await {
                Ok(fetched) => return Ok(fetched),
                Err(failed) => sleep(patience.after(failed)?).await,
            }
            sink.restart().map_err(|error| spooling(&ask.url, &error))?;
        }
    }

    async fn attempt(&self, ask: &Ask<'_>, sink: &mut dyn Sink) -> Result<Fetched, Failed> {
        let Ask { url, max_len, .. } = ask;
        let response = self.head(ask).await?;
        let status = response.status();
        let forbidden = status == StatusCode::FORBIDDEN && self.kind != Kind::Recorded;
        if forbidden || matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) {
            return Ok(Fetched::Absent);
        }
        if status != StatusCode::OK {
            return Err(Failed::status(url, &response));
        }
        match content_encoding(&response).filter(|_| self.kind == Kind::Metadata) {
            None => self.body(url, response, *max_len, sink).await?,
            Some(encoding) => {
                let mut body = Vec::new();
                self.body(url, response, max_len.saturating_add(ENCODING_OVERHEAD), &mut body).await?;
                let bytes =
                    decode(&encoding, &body, ask).map_err(|error| undecodable(ask, encoding, error))?;
                sink.write_whole(bytes).map_err(|error| Failed::ForGood(spooling(url, &error)))?;
            }
        }
        Ok(Fetched::Whole)
    }

    async fn head(&self, ask: &Ask<'_>) -> Result<Response, Failed> {
        let response = self.send(&ask.url, ask.held.as_ref()).await?;
        match secure_location(&response) {
            Some(secure) => self.send(&secure, ask.held.as_ref()).await,
            None => Ok(response),
        }
    }

    async fn send(&self, url: &str, held: Option<&Held<'_>>) -> Result<Response, Failed> {
        let request = self.request(url, held)?;
        self.sent(url, request).await
    }

    fn request(&self, url: &str, held: Option<&Held<'_>>) -> Result<RequestBuilder, Failed> {
        let encodings = match (self.kind, held) {
            (Kind::Metadata, None) => ACCEPTED,
            (Kind::Metadata, Some(_)) => ACCEPTED_NEWER,
            (Kind::Targets | Kind::Recorded, _) => "identity",
        };
        let request = self.http.request(url).map_err(Failed::ForGood)?;
        let mut request = request.header(ACCEPT_ENCODING, HeaderValue::from_static(encodings));
        if let Some(held) = held {
            request = request.header(delta::AVAILABLE, delta::digest_field(held.digest()));
            if let Some(version) = delta::version_hint(held.bytes()) {
                request = request.header(delta::ID, delta::id_field(version));
            }
        }
        Ok(request)
    }

    async fn sent(&self, url: &str, request: RequestBuilder) -> Result<Response, Failed> {
        let network = |reason| FetchError::Network { url: url.to_owned(), reason };
        match timeout(self.http.timing.head, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) if error.is_builder() => {
                Err(Failed::ForGood(FetchError::BadUrl { url: url.to_owned(), reason: text(&error) }))
            }
            Ok(Err(error)) if error.is_redirect() => Err(Failed::ForGood(network(text(&error)))),
            Ok(Err(error)) => Err(Failed::Maybe(network(text(&error)))),
            Err(_) => Err(Failed::Maybe(network(format!("no answer in {:?}", self.http.timing.head)))),
        }
    }

    /// Streams the body, counting bytes and time.
    async fn body(
        &self,
        url: &str,
        mut response: Response,
        max: u64,
        sink: &mut dyn Sink,
    ) -> Result<(), Failed> {
        let too_large = || Failed::ForGood(FetchError::TooLarge { url: url.to_owned(), max });
        if response.content_length().is_some_and(|length| length > max) {
            return Err(too_large());
        }
        let mut pace = Pace::start(self.http.timing);
        let mut total = 0_u64;
        loop {
            let Ok(chunk) = timeout_at(pace.deadline, response.chunk()).await else {
                pace.next_window(url)?;
                continue;
            };
            let chunk = chunk.map_err(|error| {
                Failed::Maybe(FetchError::Network { url: url.to_owned(), reason: text(&error) })
            })?;
            let Some(chunk) = chunk else { return Ok(()) };
            let count = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            total = total.saturating_add(count);
            if total > max {
                return Err(too_large());
            }
            pace.received = pace.received.saturating_add(count);
            sink.write(&chunk).map_err(|error| Failed::ForGood(spooling(url, &error)))?;
        }
    }
}

/// The minimum transfer rate, window by window.
struct Pace {
    timing: Timing,
    deadline: Instant,
    received: u64,
}

impl Pace {
    fn start(timing: Timing) -> Self {
        Self { timing, deadline: Instant::now() + timing.window, received: 0 }
    }

    fn next_window(&mut self, url: &str) -> Result<(), Failed> {
        let (received, needed) = (self.received, self.timing.window_bytes);
        if received < needed {
            let seconds = self.timing.window.as_secs();
            return Err(Failed::ForGood(FetchError::TooSlow {
                url: url.to_owned(),
                received,
                seconds,
                needed,
            }));
        }
        *self = Self::start(self.timing);
        Ok(())
    }
}

/// Where a redirect to https leads.
fn secure_location(response: &Response) -> Option<String> {
    let location = response.headers().get(LOCATION).filter(|_| response.status().is_redirection())?;
    let url = response.url().join(location.to_str().ok()?).ok()?;
    (url.scheme() == "https").then(|| url.to_string())
}

fn content_encoding(response: &Response) -> Option<String> {
    let value = response.headers().get(CONTENT_ENCODING)?.to_str().unwrap_or("?").trim().to_ascii_lowercase();
    (value != "identity" && !value.is_empty()).then_some(value)
}

/// What a body of that coding is, if it is one that was asked for.
fn decode(encoding: &str, body: &[u8], ask: &Ask<'_>) -> Result<Vec<u8>, DecodeError> {
    if let (delta::NAME, Some(held)) = (encoding, &ask.held) {
        return delta::decode(body, held, ask.max_len);
    }
    coding::decode(Coding::named(encoding).ok_or(DecodeError::Invalid)?, body, ask.max_len)
}

fn undecodable(ask: &Ask<'_>, encoding: String, error: DecodeError) -> Failed {
    let url = ask.url.clone();
    Failed::ForGood(match error {
        DecodeError::Invalid => FetchError::Encoding { url, encoding },
        DecodeError::TooLarge => FetchError::TooLarge { url, max: ask.max_len },
    })
}

fn spooling(url: &str, error: &std::io::Error) -> FetchError {
    FetchError::Local { what: "spooling", path: url.to_owned(), reason: error.to_string() }
}
