//! What somebody proves themselves with to an index, passed on to that index alone.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use reqwest::Url;
use reqwest::header::HeaderValue;
use zeroize::Zeroizing;

/// Values of `Authorization`, each for the scheme, host and port that it is sent to. They do not change: whoever shows
/// something else is somebody else. Never printed.
#[derive(Clone, Default)]
pub struct Credentials(Arc<BTreeMap<String, HeaderValue>>);

impl Credentials {
    /// This value for the origin of `url`. A URL that does not read has no origin: nothing is kept then. Callers name no other
    /// servers than those of one index.
    pub fn for_origin(url: &str, value: &HeaderValue) -> Self {
        let mut value = value.clone();
        value.set_sensitive(true);
        Self(Arc::new(origin(url).map(|origin| (origin, value)).into_iter().collect()))
    }

    /// The user and password in a URL, and the URL without them.
    pub fn of_url(url: &str) -> (String, Self) {
        let Ok(mut bare) = Url::parse(url) else { return (without_user(url), Self::default()) };
        if bare.username().is_empty() && bare.password().is_none() {
            return (url.to_owned(), Self::default());
        }
        let plain = |part: &str| Zeroizing::new(percent_decode_str(part).collect::<Vec<u8>>());
        let (user, password) = (plain(bare.username()), plain(bare.password().unwrap_or_default()));
        let login = Zeroizing::new([user.as_slice(), b":", password.as_slice()].concat());
        // A URL that has a user has a host, from which it can be taken away.
        let taken = bare.set_username("").and_then(|()| bare.set_password(None));
        let value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(&*login)));
        match (taken, value) {
            (Ok(()), Ok(value)) => (bare.to_string(), Self::for_origin(bare.as_str(), &value)),
            _ => (String::new(), Self::default()),
        }
    }

    /// These, and for other origins those.
    #[must_use]
    pub fn over(&self, below: &Self) -> Self {
        let mut all = BTreeMap::clone(&below.0);
        all.extend(self.0.iter().map(|(origin, value)| (origin.clone(), value.clone())));
        Self(Arc::new(all))
    }

    /// These without that for the origin of `url`.
    #[must_use]
    pub fn without(&self, url: &str) -> Self {
        let mut others = BTreeMap::clone(&self.0);
        others.retain(|at, _| origin(url).as_ref() != Some(at));
        Self(Arc::new(others))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What to send with a request for `url`.
    pub(super) fn for_url(&self, url: &str) -> Option<HeaderValue> {
        if self.is_empty() {
            return None;
        }
        self.0.get(&origin(url)?).cloned()
    }
}

/// An address that does not read, such as one whose password has a `#`, without what may be a password.
fn without_user(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://{rest}"),
        _ => url.to_owned(),
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.is_empty() { "Credentials(none)" } else { "Credentials(some)" })
    }
}

fn origin(url: &str) -> Option<String> {
    let origin = Url::parse(url).ok()?.origin();
    origin.is_tuple().then(|| origin.ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: HeaderValue = HeaderValue::from_static("Basic abc");

    #[test]
    fn they_go_to_the_origin_they_were_sent_to_and_nowhere_else() {
        let credentials = Credentials::for_origin("https://index.example/simple/", &ABC);
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

    #[test]
    fn those_of_one_origin_do_not_replace_those_of_another() {
        let here = Credentials::for_origin("https://a.example/", &ABC);
        let there = Credentials::for_origin("https://b.example/", &HeaderValue::from_static("Basic b"));
        let again = Credentials::for_origin("https://a.example/x", &HeaderValue::from_static("Basic new"));
        let all = again.over(&here.over(&there));
        let sent =
            |of: &Credentials, url: &str| of.for_url(url).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(sent(&all, "https://a.example/").unwrap(), "Basic new");
        assert_eq!(sent(&all, "https://b.example/").unwrap(), "Basic b");
        let left = all.without("https://a.example:443/y");
        assert_eq!((sent(&left, "https://a.example/"), left.is_empty()), (None, false));
        assert_eq!(sent(&here, "https://a.example/").unwrap(), "Basic abc", "nothing of it has changed");
    }

    #[test]
    fn a_password_that_keeps_a_url_from_being_read_is_not_shown_either() {
        for url in [
            "https://ann:p#ss@index.example/",
            "https://ann:p/ss@index.example/",
            "http://ann:a?b@index.example/",
        ] {
            assert!(Url::parse(url).is_err(), "{url}");
            let (shown, credentials) = Credentials::of_url(url);
            assert_eq!(shown.split_once("://").unwrap().1, "index.example/", "{url}");
            assert!(credentials.is_empty());
        }
    }

    #[test]
    fn a_password_in_a_url_is_taken_out_of_it() {
        let (url, credentials) = Credentials::of_url("https://ann:open%20sesame@index.example/simple/");
        assert_eq!(url, "https://index.example/simple/");
        let value = credentials.for_url(&url).unwrap();
        assert_eq!(value, "Basic YW5uOm9wZW4gc2VzYW1l");
        assert!(value.is_sensitive());
        for plain in ["https://index.example/simple", "/a/folder", "file:///a"] {
            let (url, credentials) = Credentials::of_url(plain);
            assert_eq!((url.as_str(), credentials.is_empty()), (plain, true));
        }
    }
}
