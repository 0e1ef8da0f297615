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
    /// Sends a text once, to this address alone: a redirect is an answer, and not followed. The whole answer, of `max_len` bytes at most, must have come within `patience`.
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
        let request = self.sender(url)?.post(url).header(ACCEPT_ENCODING, "identity");
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;
    use crate::client::Timing;

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_is_not_followed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = format!("http://{}/add-checkpoint", listener.local_addr().unwrap());
        for status in [301, 302, 303, 307, 308] {
            let listener = listener.try_clone().unwrap();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = vec![0; 4_096];
                while !String::from_utf8_lossy(&request).contains("\r\n\r\nbody") {
                    let start = request.iter().position(|byte| *byte == 0).unwrap();
                    let count = stream.read(&mut request[start..]).unwrap();
                    assert!(count > 0, "the request broke off");
                }
                let answer = format!(
                    "HTTP/1.1 {status} Elsewhere\r\nLocation: /elsewhere\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"
                );
                stream.write_all(answer.as_bytes()).unwrap();
            });
            // Nobody else listens: a second request would wait for ever, and fail.
            let http = Http::new(Timing::default()).unwrap();
            let posted = http.post(&at, "body".to_owned(), 100, Duration::from_secs(20)).await.unwrap();
            assert_eq!((posted.status, posted.body.as_slice()), (status, &b"no"[..]));
            server.join().unwrap();
        }
    }
}
