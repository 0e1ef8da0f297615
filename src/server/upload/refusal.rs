//! Why an upload is refused, as the uploader reads it: in the status phrase, which twine prints, and in the body, which uv
//! prints.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::ext::ReasonPhrase;

use crate::journal::Reason;
use crate::repository::RepositoryError;
use crate::server::watch::{Ended, Turned};

/// Characters of a reason in the status phrase, at most.
const MAX_PHRASE: usize = 200;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// No token, or none that is known.
    NoToken,
    /// A token that is for other projects.
    NotYours(String),
    /// A request of maintainers that does not fit what is published, or is not signed as it must be.
    Unfit(String),
    /// Not a form of the legacy upload API, or not one of a file that fits it.
    Form(String),
    /// A field that must be there.
    Missing(&'static str),
    /// A file of more than so many bytes.
    TooLarge(u64),
    /// A file name that stands for other content.
    Conflict(String),
    /// Too many at once, or in a minute.
    Busy,
    /// The same, from one address; whether for the first time in this minute.
    TooOften(bool),
    /// An address that is shut out.
    Blocked,
    /// Nothing came for a while.
    Stalled,
    /// The connection ended within the form.
    CutShort,
    /// This machine's disk.
    Disk(String),
    /// The repository cannot be published to.
    Repository(String),
}

impl Refused {
    pub(super) fn of(error: &RepositoryError) -> Self {
        match error {
            RepositoryError::Archive { .. }
            | RepositoryError::Attestation { .. }
            | RepositoryError::Filename { .. } => Self::Form(error.to_string()),
            RepositoryError::TooMuchWaits(_) => Self::Unfit(error.to_string()),
            RepositoryError::Conflict { .. } | RepositoryError::LateAttestation(_) => {
                Self::Conflict(error.to_string())
            }
            RepositoryError::Busy(_) => Self::Busy,
            _ => Self::Repository(error.to_string()),
        }
    }

    /// For the operator alone: what is wrong with the server.
    pub(super) fn fault(&self) -> Option<&str> {
        match self {
            Self::Disk(reason) | Self::Repository(reason) => Some(reason),
            _ => None,
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::NoToken => StatusCode::UNAUTHORIZED,
            Self::NotYours(_) | Self::Blocked => StatusCode::FORBIDDEN,
            Self::Form(_) | Self::Missing(_) | Self::CutShort => StatusCode::BAD_REQUEST,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Conflict(_) | Self::Unfit(_) => StatusCode::CONFLICT,
            Self::Busy | Self::TooOften(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Stalled => StatusCode::REQUEST_TIMEOUT,
            Self::Disk(_) | Self::Repository(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// For the journal: the class alone.
    pub(super) fn ended(&self) -> Ended {
        Ended::Refused(match self {
            Self::NotYours(_) => return Ended::NotForProject,
            Self::TooOften(false) => return Ended::RefusedAgain,
            Self::NoToken => Reason::NoToken,
            Self::Unfit(_) => Reason::Unfit,
            Self::Form(_) | Self::Missing(_) => Reason::Form,
            Self::TooLarge(_) => Reason::TooLarge,
            Self::Conflict(_) => Reason::Conflict,
            Self::Busy | Self::TooOften(true) => Reason::Busy,
            Self::Blocked => Reason::Blocked,
            Self::Stalled | Self::CutShort => Reason::Broken,
            Self::Disk(_) | Self::Repository(_) => Reason::Fault,
        })
    }

    fn text(&self) -> String {
        match self {
            Self::NoToken => "an upload needs a token: user name __token__, the token as password".to_owned(),
            Self::NotYours(project) => format!("this token is not for {project}"),
            Self::Form(reason) | Self::Conflict(reason) | Self::Unfit(reason) => reason.clone(),
            Self::Missing(field) => format!("the form has no field {field}"),
            Self::TooLarge(max) => format!("a file may have {max} bytes"),
            Self::Busy | Self::TooOften(_) => "too many uploads: try again in a minute".to_owned(),
            Self::Blocked => {
                "uploads from your network are not taken at the moment: ask the index's admins".to_owned()
            }
            Self::Stalled => "nothing came for too long".to_owned(),
            Self::CutShort => "the form ends before its end".to_owned(),
            Self::Disk(_) | Self::Repository(_) => "the index cannot publish at the moment".to_owned(),
        }
    }
}

impl From<Turned> for Refused {
    fn from(turned: Turned) -> Self {
        match turned {
            Turned::Blocked => Self::Blocked,
            Turned::TooOften { first } => Self::TooOften(first),
        }
    }
}

impl From<multer::Error> for Refused {
    fn from(error: multer::Error) -> Self {
        match error {
            multer::Error::StreamReadFailed(_)
            | multer::Error::IncompleteStream
            | multer::Error::IncompleteFieldData { .. }
            | multer::Error::IncompleteHeaders => Self::CutShort,
            error => Self::Form(error.to_string()),
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let text = self.text();
        let mut response = Response::new(Body::from(format!("{text}\n")));
        *response.status_mut() = self.status();
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // The rest of the form may still be on its way.
        fields.insert(CONNECTION, HeaderValue::from_static("close"));
        match self {
            Self::NoToken => {
                fields.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"upload\""));
            }
            Self::Busy | Self::TooOften(_) | Self::Disk(_) | Self::Repository(_) => {
                fields.insert(RETRY_AFTER, HeaderValue::from_static("60"));
            }
            _ => {}
        }
        if let Ok(phrase) = ReasonPhrase::try_from(phrase(&text)) {
            response.extensions_mut().insert(phrase);
        }
        response
    }
}

/// Printable ASCII on one line.
fn phrase(text: &str) -> Vec<u8> {
    text.chars()
        .take(MAX_PHRASE)
        .map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' })
        .map(|c| u8::try_from(c).unwrap_or(b'?'))
        .collect()
}
