//! Whether a server gives a file to who asks, for the price of one byte.
//!
//! A server that asks people to log in may answer 200 with a page that says so. So only that counts which such a page is not: one
//! byte of a file of the very length.

use reqwest::StatusCode;
use reqwest::header::{CONTENT_RANGE, RANGE};
use tokio::time::timeout;

use super::{Failed, HttpSource};
use crate::client::{FetchError, Given};

impl HttpSource {
    /// Asks once; whatever is odd about the answer, the file is to be fetched instead.
    pub(super) async fn first_byte(&self, path: &str, length: u64) -> Result<Given, FetchError> {
        let url = self.url(path);
        let request = match self.request(&url, None) {
            Ok(request) => request.header(RANGE, "bytes=0-0"),
            Err(Failed::ForGood(error) | Failed::Maybe(error) | Failed::Later(error, _)) => {
                return Err(error);
            }
        };
        let response = match self.sent(&url, request).await {
            Ok(response) => response,
            Err(Failed::ForGood(error)) => return Err(error),
            Err(Failed::Maybe(_) | Failed::Later(..)) => return Ok(Given::Unsure),
        };
        match response.status() {
            StatusCode::NOT_FOUND | StatusCode::FORBIDDEN | StatusCode::GONE => return Ok(Given::No),
            StatusCode::UNAUTHORIZED => {
                return Err(FetchError::Status { url, status: StatusCode::UNAUTHORIZED.as_u16() });
            }
            _ => {}
        }
        let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
        let fits = range == Some(format!("bytes 0-0/{length}").as_str());
        if response.status() != StatusCode::PARTIAL_CONTENT || !fits || response.content_length() != Some(1) {
            return Ok(Given::Unsure);
        }
        // Read, so that the connection can be used again.
        let byte = timeout(self.http.timing.head, response.bytes()).await;
        Ok(if byte.is_ok_and(|byte| byte.is_ok()) { Given::Yes } else { Given::Unsure })
    }
}
