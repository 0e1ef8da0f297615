//! Sending a text to somebody who answers with one: witnesses of logs.

use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, CONTENT_TYPE};
use tokio::time::timeout;

use super::{Credentials, Http, text};
use crate::client::FetchError;

/// What was answered, whatever the status. Nothing of it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// The HTTP status.
    pub status: u16,
    /// `Content-Type`, without its parameters.
    pub content_type: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Http {
    /// Sends a text once. The whole answer, of `max_len` bytes at most, must have come within `patience`.
    pub async fn post(
        &self,
        url: &str,
        body: String,
        max_len: usize,
        patience: Duration,
    ) -> Result<Posted, FetchError> {
        // A password in the address is sent, and not printed.
        let shown = Credentials::of_url(url).0;
        let network = |reason| FetchError::Network { url: shown.clone(), reason };
        let request = self.client(url)?.post(url).header(ACCEPT_ENCODING, "identity");
        let request = request.header(CONTENT_TYPE, "text/plain; charset=utf-8").body(body);
        let exchange = async {
            let mut response = request.send().await?;
            let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
            let kind =
                kind.and_then(|kind| kind.split(';').next()).map(|kind| kind.trim().to_ascii_lowercase());
            let mut answer = Vec::new();
            while answer.len() <= max_len
                && let Some(chunk) = response.chunk().await?
            {
                answer.extend_from_slice(&chunk);
            }
            Ok::<_, reqwest::Error>(Posted {
                status: response.status().as_u16(),
                content_type: kind,
                body: answer,
            })
        };
        let done = timeout(patience, exchange).await;
        let done = done.map_err(|_| network(format!("no answer in {patience:?}")))?;
        let posted = done.map_err(|error| {
            let bad = |reason| FetchError::BadUrl { url: shown.clone(), reason };
            if error.is_builder() {
                bad(text(&error.without_url()))
            } else {
                network(text(&error.without_url()))
            }
        })?;
        if posted.body.len() > max_len {
            let max = u64::try_from(max_len).unwrap_or(u64::MAX);
            return Err(FetchError::TooLarge { url: shown, max });
        }
        Ok(posted)
    }
}
