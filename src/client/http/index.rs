//! Pages of a package index: asked for as JSON (PEP 691), and only if they changed.

use reqwest::StatusCode;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap, IF_NONE_MATCH};
use tokio::time::{sleep, timeout};

use super::{
    ACCEPTED, Ask, ENCODING_OVERHEAD, Failed, Http, Kind, Patience, content_encoding, decode,
    secure_location, text, undecodable,
};
use crate::client::FetchError;

/// What is asked for, and the only thing that is taken.
const JSON: &str = "application/vnd.pypi.simple.v1+json";
/// Bytes of an entity tag that is kept, at most: it goes back with the next request.
const MAX_ETAG: usize = 256;

/// What an index answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A page, and the tag by which to ask for a newer one.
    Page(Vec<u8>, Option<String>),
    /// The page that has the tag.
    Unchanged,
    /// There is no such page.
    Absent,
}

impl Http {
    /// The page at `url`, of at most `max_len` bytes, unless it is still the one with this tag. Tried again like other
    /// files, and also where the server asks for patience (429).
    pub async fn page(&self, url: &str, tag: Option<&str>, max_len: u64) -> Result<Answer, FetchError> {
        let mut patience = Patience::new(&self.timing);
        loop {
            match self.page_once(url, tag, max_len).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => sleep(patience.after(failed)?).await,
            }
        }
    }

    async fn page_once(&self, url: &str, tag: Option<&str>, max_len: u64) -> Result<Answer, Failed> {
        let mut response = self.ask_page(url, tag).await?;
        if let Some(secure) = secure_location(&response) {
            response = self.ask_page(&secure, tag).await?;
        }
        let status = response.status();
        match status {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if tag.is_some() => return Ok(Answer::Unchanged),
            StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(Answer::Absent),
            _ => return Err(Failed::status(url, &response)),
        }
        let tag = field(response.headers(), ETAG.as_str()).filter(|tag| tag.len() <= MAX_ETAG);
        let kind = field(response.headers(), CONTENT_TYPE.as_str()).unwrap_or_default();
        if kind.split(';').next().is_none_or(|kind| !kind.trim().eq_ignore_ascii_case(JSON)) {
            let reason = format!("it answers with {kind:?}, and not with {JSON} (PEP 691)");
            return Err(Failed::ForGood(FetchError::BadUrl { url: url.to_owned(), reason }));
        }
        let ask = Ask { url: url.to_owned(), max_len, held: None };
        let source = super::HttpSource { http: self.clone(), base: String::new(), kind: Kind::Metadata };
        let (encoding, mut body) = (content_encoding(&response), Vec::new());
        let overhead = if encoding.is_some() { ENCODING_OVERHEAD } else { 0 };
        source.body(url, response, max_len.saturating_add(overhead), &mut body).await?;
        let bytes = match encoding {
            None => body,
            Some(encoding) => {
                decode(&encoding, &body, &ask).map_err(|error| undecodable(&ask, encoding, error))?
            }
        };
        Ok(Answer::Page(bytes, tag))
    }

    async fn ask_page(&self, url: &str, tag: Option<&str>) -> Result<reqwest::Response, Failed> {
        let request = self.request(url).map_err(Failed::ForGood)?;
        let mut request = request.header(ACCEPT, JSON).header(ACCEPT_ENCODING, ACCEPTED);
        if let Some(tag) = tag {
            request = request.header(IF_NONE_MATCH, tag);
        }
        let network = |reason| FetchError::Network { url: url.to_owned(), reason };
        match timeout(self.timing.head, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) if error.is_builder() => {
                Err(Failed::ForGood(FetchError::BadUrl { url: url.to_owned(), reason: text(&error) }))
            }
            Ok(Err(error)) if error.is_redirect() => Err(Failed::ForGood(network(text(&error)))),
            Ok(Err(error)) => Err(Failed::Maybe(network(text(&error)))),
            Err(_) => Err(Failed::Maybe(network(format!("no answer in {:?}", self.timing.head)))),
        }
    }
}

fn field(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned)
}
