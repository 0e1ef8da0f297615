//! What a user's tool proves itself with to an index, passed on to that index alone.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reqwest::Url;
use reqwest::header::HeaderValue;

/// Values of `Authorization`, each for the scheme, host and port that it was sent to. Clones share them. Never printed.
#[derive(Clone, Default)]
pub struct Credentials(Arc<Mutex<BTreeMap<String, HeaderValue>>>);

impl Credentials {
    /// Sends `value` with each request to the origin of `url` from now on; `false` if that was so already. A URL that does
    /// not read has no origin: nothing is kept then. Callers name no other servers than those of one index.
    pub fn remember(&self, url: &str, mut value: HeaderValue) -> bool {
        let Some(origin) = origin(url) else { return false };
        value.set_sensitive(true);
        let before = self.held().insert(origin, value.clone());
        before.as_ref() != Some(&value)
    }

    /// Whether there are any.
    pub fn any(&self) -> bool {
        !self.held().is_empty()
    }

    /// What to send with a request for `url`.
    pub(super) fn for_url(&self, url: &str) -> Option<HeaderValue> {
        self.held().get(&origin(url)?).cloned()
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<String, HeaderValue>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.any() { "Credentials(some)" } else { "Credentials(none)" })
    }
}

fn origin(url: &str) -> Option<String> {
    let origin = Url::parse(url).ok()?.origin();
    origin.is_tuple().then(|| origin.ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_go_to_the_origin_they_were_sent_to_and_nowhere_else() {
        let credentials = Credentials::default();
        assert!(credentials.remember("https://index.example/simple/", HeaderValue::from_static("Basic abc")));
        assert!(!credentials.remember("https://index.example:443/x", HeaderValue::from_static("Basic abc")));
        for (url, sent) in [
            ("https://index.example/metadata/timestamp.json", true),
            ("https://INDEX.example:443/targets/x", true),
            ("https://index.example:8443/", false),
            ("http://index.example/", false),
            ("https://files.index.example/", false),
            ("https://index.example.evil.example/", false),
            ("https://index.example@evil.example/", false),
            ("nonsense", false),
        ] {
            assert_eq!(credentials.for_url(url).is_some(), sent, "{url}");
        }
        assert_eq!(format!("{credentials:?}"), "Credentials(some)");
    }
}
