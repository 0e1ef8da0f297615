//! What a server says, passed on as it is.

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, IF_NONE_MATCH, IF_RANGE, RANGE};
use reqwest::{Method, Response};
use tokio::time::timeout;

use super::{Http, text};
use crate::client::FetchError;

/// Fields of a tool's request that are passed on.
const PASSED_ON: [reqwest::header::HeaderName; 6] =
    [ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, IF_NONE_MATCH, IF_RANGE, RANGE];

impl Http {
    /// Asks what a tool asked, once. **Nothing is verified, and nothing but the time until the answer begins is bounded.**
    pub async fn unverified(
        &self,
        url: &str,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Response, FetchError> {
        let mut request = self.client(url)?.request(method.clone(), url);
        for name in PASSED_ON {
            for value in headers.get_all(&name) {
                request = request.header(&name, value);
            }
        }
        let network = |reason| FetchError::Network { url: url.to_owned(), reason };
        match timeout(self.timing.head, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(network(text(&error))),
            Err(_) => Err(network(format!("no answer in {:?}", self.timing.head))),
        }
    }
}
