//! Sending to an index: distributions by the legacy upload API, and what maintainers signed.
//!
//! Redirects are not followed: a token goes to the address that its owner typed, and nowhere else.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::multipart::{Form, Part};
use reqwest::{RequestBuilder, StatusCode, Url, redirect};
use thiserror::Error;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use super::{Timing, builder, text, unbuilt};
use crate::client::FetchError;
use crate::tlog::proof_file::MAX_PROOF_LEN;

/// Bytes of an answer that are kept: it is one line.
const MAX_ANSWER: usize = 4 * 1_024;
/// Time for an index to publish what it was sent, after the last byte.
const PATIENCE: Duration = Duration::from_mins(5);
/// Bytes a second below which sending is given up.
const SLOWEST: u64 = 4 * 1_024;

/// Why something could not be sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SendError {
    /// The index, or the way to it, does not work.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A token that anybody could read on the way.
    #[error("{0} is neither https nor on this machine: a token or claim sent there is anybody's")]
    Open(String),
    /// The index does not take it, and why.
    #[error("{url} refused: {reason} ({status})")]
    Refused {
        /// Where it was sent.
        url: String,
        /// HTTP status code.
        status: u16,
        /// What the index says.
        reason: String,
    },
}

/// A distribution, as the legacy upload API describes it.
#[derive(Debug, Clone, Copy)]
pub struct Upload<'a> {
    /// The local file.
    pub file: &'a Path,
    /// Its name.
    pub filename: &'a str,
    /// Its project.
    pub project: &'a str,
    /// Its version.
    pub version: &'a str,
    /// `bdist_wheel` or `sdist`.
    pub filetype: &'a str,
    /// Its SHA-256, in hexadecimal.
    pub sha256: &'a str,
    /// Its bytes.
    pub size: u64,
    /// Its attestations, a JSON array (PEP 740).
    pub attestations: Option<&'a str>,
}

/// An index that one may send to, or a recorder.
#[derive(Debug)]
pub struct Uploader {
    client: reqwest::Client,
    base: Url,
    /// None: nothing is asked for there.
    token: Option<Zeroizing<String>>,
    pauses: [Duration; 3],
}

impl Uploader {
    /// The index at `base`, by its address or by that of its upload API. The token is sent by https only, or on this machine.
    pub fn new(base: &str, token: Zeroizing<String>, timing: Timing) -> Result<Self, SendError> {
        Self::open(base.trim_end_matches('/').trim_end_matches("/legacy"), Some(token), timing)
    }

    /// A recorder, by the address where it takes claims. Claims are sent by https only, or on this machine.
    pub fn recorder(claims: &str, timing: Timing) -> Result<Self, SendError> {
        Self::open(claims.trim_end_matches('/').trim_end_matches("/claim"), None, timing)
    }

    fn open(address: &str, token: Option<Zeroizing<String>>, timing: Timing) -> Result<Self, SendError> {
        let bad = |reason: String| FetchError::BadUrl { url: address.to_owned(), reason };
        let url = Url::parse(&format!("{address}/")).map_err(|error| bad(error.to_string()))?;
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if url.scheme() != "https" && !(here && url.scheme() == "http") {
            return Err(SendError::Open(host.to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            let url = format!("{}://{host}", url.scheme());
            return Err(
                FetchError::BadUrl { url, reason: "a token does not belong into a URL".to_owned() }.into()
            );
        }
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = builder(timing).redirect(redirect::Policy::none());
        // Without TLS no proxy may see the token.
        let client = if url.scheme() == "https" { client } else { client.no_proxy() };
        let client = client.build();
        Ok(Self { client: client.map_err(|error| unbuilt(&error))?, base: url, token, pauses: timing.pauses })
    }

    /// Uploads a distribution; what the index says to it. Tried again where the network fails: a file that is there already
    /// is no error.
    pub async fn upload(&self, upload: Upload<'_>) -> Result<String, SendError> {
        for pause in self.pauses {
            match self.upload_once(upload).await {
                Err(SendError::Fetch(FetchError::Network { .. })) => sleep(pause).await,
                done => return done,
            }
        }
        self.upload_once(upload).await
    }

    async fn upload_once(&self, upload: Upload<'_>) -> Result<String, SendError> {
        let url = self.url("legacy/")?;
        let spoilt = |error: std::io::Error| FetchError::BadUrl {
            url: upload.file.display().to_string(),
            reason: error.to_string(),
        };
        let part = Part::file(upload.file).await.map_err(spoilt)?.file_name(upload.filename.to_owned());
        let mut form = Form::new();
        let fields = [
            (":action", "file_upload"),
            ("protocol_version", "1"),
            ("name", upload.project),
            ("version", upload.version),
            ("filetype", upload.filetype),
            ("sha256_digest", upload.sha256),
        ];
        for (name, value) in fields {
            form = form.text(name, value.to_owned());
        }
        if let Some(attestations) = upload.attestations {
            form = form.text("attestations", attestations.to_owned());
        }
        let request = self.client.post(url.clone()).multipart(form.part("content", part));
        self.send(&url, request, upload.size).await
    }

    /// Sends what maintainers signed; what the index says to it. Tried once: whoever lost the answer looks what is published.
    pub async fn release(&self, file: Vec<u8>) -> Result<String, SendError> {
        let url = self.url("release/")?;
        let size = u64::try_from(file.len()).unwrap_or(u64::MAX);
        let request = self.client.post(url.clone()).header(CONTENT_TYPE, "application/json").body(file);
        self.send(&url, request, size).await
    }

    /// Sends a claim, or a commitment to one; the receipt, unchecked. Tried again where the network fails, or the other side has
    /// much to do: the same claim has the same receipt.
    pub async fn claim(&self, request: &str) -> Result<Vec<u8>, SendError> {
        let url = self.url("claim/")?;
        let once = async || {
            let post = self.client.post(url.clone()).header(CONTENT_TYPE, "application/json");
            let (status, answer) =
                self.exchange(&url, post.body(request.to_owned()), PATIENCE, MAX_PROOF_LEN).await?;
            if status == StatusCode::OK {
                return Ok(answer);
            }
            let reason = plain(answer.get(..MAX_ANSWER).unwrap_or(&answer));
            Err(SendError::Refused { url: url.to_string(), status: status.as_u16(), reason })
        };
        for pause in self.pauses {
            match once().await {
                Err(
                    SendError::Fetch(FetchError::Network { .. })
                    | SendError::Refused { status: 429 | 503, .. },
                ) => sleep(pause).await,
                done => return done,
            }
        }
        once().await
    }

    fn url(&self, path: &str) -> Result<Url, FetchError> {
        let bad = |error: url::ParseError| FetchError::BadUrl {
            url: self.base.to_string(),
            reason: error.to_string(),
        };
        self.base.join(path).map_err(bad)
    }

    async fn send(&self, url: &Url, request: RequestBuilder, size: u64) -> Result<String, SendError> {
        let most = PATIENCE.saturating_add(Duration::from_secs(size / SLOWEST));
        let (status, answer) = self.exchange(url, request, most, MAX_ANSWER).await?;
        let said = plain(&answer);
        if matches!(status, StatusCode::OK | StatusCode::ACCEPTED) {
            return Ok(said);
        }
        Err(SendError::Refused { url: url.to_string(), status: status.as_u16(), reason: said })
    }

    /// Status and the first `max` bytes of the answer.
    async fn exchange(
        &self,
        url: &Url,
        request: RequestBuilder,
        most: Duration,
        max: usize,
    ) -> Result<(StatusCode, Vec<u8>), SendError> {
        let network = |reason| FetchError::Network { url: url.to_string(), reason };
        let request = match &self.token {
            Some(token) => request.basic_auth("__token__", Some(token.as_str())),
            None => request,
        };
        let exchange = async {
            let mut response = request.send().await?;
            let mut answer = Vec::new();
            while answer.len() < max
                && let Some(chunk) = response.chunk().await?
            {
                answer.extend_from_slice(&chunk);
            }
            Ok::<_, reqwest::Error>((response.status(), answer))
        };
        let (status, mut answer) = match timeout(most, exchange).await {
            Ok(done) => done.map_err(|error| network(text(&error)))?,
            Err(_) => return Err(network(format!("no answer in {} s", most.as_secs())).into()),
        };
        answer.truncate(max);
        Ok((status, answer))
    }
}

/// One line for a terminal: what a server says is not to move its cursor.
fn plain(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
