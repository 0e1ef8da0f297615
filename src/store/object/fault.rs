//! What an error of the service means for whoever runs wheelseal.

use std::error::Error;

use crate::store::{Fault, StoreError};

/// Bytes of a server's own words that are repeated, at most: its error pages can be long.
const MAX_WORDS: usize = 400;

/// What was tried, for an error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    /// A verb.
    pub(super) what: &'static str,
    pub(super) path: &'a str,
}

impl Context<'_> {
    pub(super) fn error(self, error: &object_store::Error) -> StoreError {
        self.because(fault_of(error), &words(error))
    }

    pub(super) fn because(self, fault: Fault, message: &str) -> StoreError {
        StoreError::Server { what: self.what, path: self.path.to_owned(), fault, message: message.to_owned() }
    }
}

/// The services have no common codes but HTTP's, and those are in the text alone.
pub(super) fn fault_of(error: &object_store::Error) -> Fault {
    use object_store::Error as E;
    let text = words(error);
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    match error {
        E::NotFound { .. } if says(&["NoSuchBucket", "ContainerNotFound", "bucket does not exist"]) => {
            Fault::NoBucket
        }
        E::NotFound { .. } => Fault::NoObject,
        _ if says(&["PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraint"])
            || says(&["bare redirect", "incorrect region"]) =>
        {
            Fault::WrongRegion
        }
        E::Unauthenticated { .. } => Fault::NoCredentials,
        E::PermissionDenied { .. } => Fault::Denied,
        _ if says(&["169.254.169.254", "metadata.google.internal", "credential"]) => Fault::NoCredentials,
        _ => Fault::Failed,
    }
}

/// The error and its causes, each once, on one line.
pub(super) fn words(error: &object_store::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let more = next.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = next.source();
    }
    let flat: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    flat.chars().take(MAX_WORDS).collect()
}
