//! Why there is no page or file, in words that a tool prints.
//!
//! pip prints the status phrase, uv the problem document (RFC 9457). Both give up at once on 403, and try 5xx again and
//! again: so whatever trying again cannot mend is a 403, and all of it is decided before the first byte of a file.

use axum::http::StatusCode;
use thiserror::Error;

use crate::client::{CacheError, ClientError, FetchError};
use crate::python::PageError;

/// Characters of a status phrase, at most: tools print it on one line.
const MAX_PHRASE: usize = 600;

/// What went wrong with a page or file of a verified index.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// It does not verify, or cannot be fetched.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It is signed, but no page that can be shown.
    #[error(transparent)]
    Page(#[from] PageError),
    /// A signed page lists a file where it could not be verified.
    #[error("its page lists {filename} at {url}, which is not part of the verified index")]
    Elsewhere {
        /// The file.
        filename: String,
        /// Where the page says it is.
        url: String,
    },
    /// Another host, with `--strict`.
    #[error("it is not a verified index, and --strict lets nothing else through")]
    Stranger,
    /// What was verified cannot be kept or read back.
    #[error("{what}: {reason}")]
    Local {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        reason: String,
    },
}

impl Fault {
    /// Whether it is an answer of the index: nobody who may speak for the name lists it.
    pub(super) fn not_signed(&self) -> bool {
        matches!(self, Self::Client(ClientError::NotSigned { .. }))
    }

    /// Whether the index wants to know who asks.
    pub(super) fn wants_login(&self) -> bool {
        matches!(self, Self::Client(ClientError::Fetch(FetchError::Status { status: 401, .. })))
    }

    /// Whether it may be otherwise soon: the network, or another program that is at work.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Client(ClientError::Fetch(_) | ClientError::Cache(CacheError::Busy { .. })))
    }
}

/// Why something is not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It does not verify.
    Fault { what: String, fault: Box<Fault> },
    /// There is no such thing, as far as the index says.
    NotFound { what: String, why: String },
    /// The index asks for user and password.
    Login,
    /// The proxy does.
    ProxyLogin,
    /// A request that no tool sends.
    Bad(&'static str),
    /// Sent to the wrong server.
    Misdirected,
    /// Something other than reading.
    Method,
    /// The form of a page that is wanted is not there.
    NotAcceptable,
    /// A part of a file of that many bytes, beyond its end.
    Outside(u64),
    /// Another host does not answer.
    Gateway(String),
}

impl Refusal {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Fault { .. } => StatusCode::FORBIDDEN,
            Self::NotFound { .. } => StatusCode::NOT_FOUND,
            Self::Login => StatusCode::UNAUTHORIZED,
            Self::ProxyLogin => StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            Self::Bad(_) => StatusCode::BAD_REQUEST,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::Outside(_) => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::Gateway(_) => StatusCode::BAD_GATEWAY,
        }
    }

    /// One line for people.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Fault { what, fault } => format!("wheelseal refused {what}: {fault}"),
            Self::NotFound { what, why } => format!("{what}: {why}"),
            Self::Login => "the index asks for user and password".to_owned(),
            Self::ProxyLogin => "this proxy serves the command that it was started for".to_owned(),
            Self::Bad(why) => (*why).to_owned(),
            Self::Misdirected => "the request is for another host than the connection".to_owned(),
            Self::Method => "a verified index is read, with GET and HEAD".to_owned(),
            Self::NotAcceptable => "there are HTML and JSON (PEP 691) alone".to_owned(),
            Self::Outside(length) => format!("the file has {length} bytes"),
            Self::Gateway(why) => why.clone(),
        }
    }

    /// It in two parts that say it together: uv prints both.
    pub(super) fn title_and_detail(&self) -> (String, String) {
        match self {
            Self::Fault { what, fault } => (format!("wheelseal refused {what}"), fault.to_string()),
            _ => (self.status().canonical_reason().unwrap_or_default().to_owned(), self.text()),
        }
    }

    /// The same as a status phrase: printable ASCII, and not too much of it.
    pub(super) fn phrase(&self) -> String {
        let plain = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
        let text = self.text();
        let mut phrase: String = text.chars().take(MAX_PHRASE).map(plain).collect();
        if text.chars().nth(MAX_PHRASE).is_some() {
            phrase.push_str("...");
        }
        phrase
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phrase_is_one_short_line_whatever_the_reason_holds() {
        let why = format!("a\r\nX-Evil: 1\u{1b}[31m \u{fc}{}", "b".repeat(1_000));
        let phrase = Refusal::Gateway(why).phrase();
        assert!(phrase.starts_with("a??X-Evil: 1?[31m ?bbb"), "{phrase}");
        assert_eq!(phrase.len(), MAX_PHRASE + 3);
        assert!(phrase.ends_with("b..."));
    }

    #[test]
    fn what_trying_again_cannot_mend_is_a_403() {
        let error = ClientError::NotSigned { path: "six/six-1.0.tar.gz".to_owned() };
        let refusal = Refusal::Fault { what: "six-1.0.tar.gz".to_owned(), fault: Box::new(error.into()) };
        assert_eq!(refusal.status(), StatusCode::FORBIDDEN);
        assert_eq!(
            refusal.phrase(),
            "wheelseal refused six-1.0.tar.gz: no role of the repository signs \"six/six-1.0.tar.gz\""
        );
    }
}
