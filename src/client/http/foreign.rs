//! What who follows another index needs: its files by their whole address, and a word to who watches.

use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Url, redirect};
use tokio::time::{sleep, timeout};

use super::{Ask, Credentials, Http, HttpSource, Kind, Timing, builder, text, unbuilt};
use crate::client::{FetchError, Fetched, Sink};

/// Time for a message until it is answered.
const PATIENCE: Duration = Duration::from_secs(30);

impl Http {
    /// The same connections, with what the server of an index wants to see.
    #[must_use]
    pub fn showing(self, credentials: Credentials) -> Self {
        Self { credentials, ..self }
    }

    /// Writes the file at `url` to `sink`, at most `max_len` bytes, as it is sent. **Nothing of it is checked.** Tried again
    /// where that can help.
    pub async fn file(&self, url: &str, max_len: u64, sink: &mut dyn Sink) -> Result<Fetched, FetchError> {
        let source = HttpSource { http: self.clone(), base: String::new(), kind: Kind::Targets };
        source.patiently(&Ask { url: url.to_owned(), max_len, held: None }, sink).await
    }
}

/// Somebody who is told of things, by a POST of JSON.
#[derive(Debug, Clone)]
pub struct Hook {
    client: reqwest::Client,
    url: Url,
    timing: Timing,
}

impl Hook {
    /// The address, which may itself be a secret: errors have its host alone.
    pub fn new(url: &str, timing: Timing) -> Result<Self, FetchError> {
        let bad = |reason: &str| FetchError::BadUrl { url: String::new(), reason: reason.to_owned() };
        let url = Url::parse(url).map_err(|error| bad(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad("neither http nor https"));
        }
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = builder(timing).redirect(redirect::Policy::none()).build();
        Ok(Self { client: client.map_err(|error| unbuilt(&error))?, url, timing })
    }

    /// Says it, and again where the network fails. Redirects are not followed.
    pub async fn tell(&self, json: &str) -> Result<(), FetchError> {
        for pause in self.timing.pauses {
            match self.tell_once(json).await {
                Err(FetchError::Network { .. }) => sleep(pause).await,
                done => return done,
            }
        }
        self.tell_once(json).await
    }

    async fn tell_once(&self, json: &str) -> Result<(), FetchError> {
        let url = || self.url.host_str().unwrap_or_default().to_owned();
        let request = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json");
        let network = |reason| FetchError::Network { url: url(), reason };
        let answered = timeout(PATIENCE, request.body(json.to_owned()).send()).await;
        let late = |_| network(format!("no answer in {} s", PATIENCE.as_secs()));
        let response = answered.map_err(late)?.map_err(|error| network(text(&error.without_url())))?;
        if response.status().is_success() {
            return Ok(());
        }
        Err(FetchError::Status { url: url(), status: response.status().as_u16() })
    }
}
