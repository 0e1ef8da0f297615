//! Where the world finds this server, and what pages say of provenance objects for that reason (PEP 740): their addresses
//! must be absolute, and lead to a secure origin. Without a public address, pages do not name them.
//!
//! A page in the store has the digests of provenance objects alone. It is read, and written anew with the addresses, when it
//! is asked for; what comes out is kept with the other files in memory.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use axum::http::Uri;

use super::cache::{Kept, Key};
use super::shared::{Missing, Shared};
use crate::python::{FileUrl, PageFile, ProjectPage};
use crate::web::Form;

/// What a page has only if a file on it has provenance.
const SIGN: &[u8] = b"\"_provenance\"";

/// The address of the repository, as the world sees it. Invariant: a secure origin, and a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(String);

/// An address that cannot be that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found:?} is no public address; expected https://HOST/ (or http:// on this machine), without user, query and fragment"
)]
pub struct PublicUrlError {
    found: String,
}

impl FromStr for PublicUrl {
    type Err = PublicUrlError;

    fn from_str(text: &str) -> Result<Self, PublicUrlError> {
        let bad = || PublicUrlError { found: text.to_owned() };
        let uri = Uri::from_str(text).map_err(|_| bad())?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let secure = uri.scheme_str() == Some("https") || uri.scheme_str() == Some("http") && here;
        let user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        if !secure || host.is_empty() || user || text.contains(['?', '#']) {
            return Err(bad());
        }
        let url = Self(format!("{}/", text.trim_end_matches('/')));
        // So that every address that is made of it is one.
        FileUrl::from_str(&url.0).map(|_| url).map_err(|_| bad())
    }
}

impl PublicUrl {
    /// The address, with a '/' at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where the provenance object of a file is, below it.
    fn provenance(&self, file: &PageFile) -> Option<FileUrl> {
        let below = FileUrl::below(&file.filename);
        let below = below.as_str().trim_start_matches("../");
        format!("{}{below}.provenance", self.0).parse().ok()
    }
}

impl Shared {
    /// A project's page with the addresses of provenance objects, made of its JSON; `None` if there are none to be told.
    pub(super) async fn with_provenance(
        &self,
        json: &Arc<Kept>,
        form: Form,
    ) -> Result<Option<Arc<Kept>>, Missing> {
        let Some(public) = self.public.get().cloned() else { return Ok(None) };
        let (bytes, html) = (json.bytes.clone(), form != Form::Json);
        let page = self.made_by(move || {
            if !bytes.windows(SIGN.len()).any(|window| window == SIGN) {
                return Ok(Vec::new());
            }
            let page = ProjectPage::from_json(&bytes).map_err(std::io::Error::other)?;
            let at = |file: &PageFile| public.provenance(file);
            let text = if html { page.to_html_for_tools(at) } else { page.to_json_for_tools(at) };
            Ok(text.into_bytes())
        });
        let shown = self.kept(&Key::Shown(json.sha256, html), page).await?;
        // Nothing is kept for a page that has none, so that it is looked through once.
        Ok((!shown.bytes.is_empty()).then_some(shown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_address_is_a_secure_origin_and_ends_with_a_slash() {
        for (text, url) in [
            ("https://packages.example", "https://packages.example/"),
            ("https://packages.example/a/b//", "https://packages.example/a/b/"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/"),
            ("http://[::1]/", "http://[::1]/"),
        ] {
            assert_eq!(text.parse(), Ok(PublicUrl(url.to_owned())), "{text}");
        }
        for text in [
            "",
            "packages.example",
            "/simple/",
            "http://packages.example/",
            "ftp://packages.example/",
            "https:///x",
            "https://user:secret@packages.example/",
            "https://packages.example/?x",
            "https://packages.example/#x",
            "https://packages.example/\"onclick=",
        ] {
            assert!(text.parse::<PublicUrl>().is_err(), "{text}");
        }
    }
}
