//! What request fields ask for. Whatever cannot be read is taken as not sent.

use axum::http::header::{ACCEPT, ACCEPT_ENCODING, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName};

use crate::coding::Coding;

/// Members of a list that are looked at, at most: browsers send fewer than ten.
const MAX_MEMBERS: usize = 32;
/// The weight 1.
const FULL: u16 = 1_000;

/// The media type of JSON pages (PEP 691).
pub(crate) const SIMPLE_JSON: &str = "application/vnd.pypi.simple.v1+json";
/// The media type of HTML pages that say they are Simple API pages.
pub(crate) const SIMPLE_HTML: &str = "application/vnd.pypi.simple.v1+html";
/// The media type of HTML pages for everyone else.
pub(crate) const HTML: &str = "text/html; charset=utf-8";

/// A page's form, by its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    /// With the media type to send.
    Html(&'static str),
}

/// Names with weights from 0 to 1,000, in lower case.
#[derive(Debug)]
pub(crate) struct Wanted(Vec<(String, u16)>);

impl Wanted {
    pub(crate) fn codings(headers: &HeaderMap) -> Self {
        Self::of(headers, &ACCEPT_ENCODING)
    }

    fn of(headers: &HeaderMap, field: &HeaderName) -> Self {
        let values = headers.get_all(field).iter().filter_map(|value| value.to_str().ok());
        let members = values.flat_map(|value| value.split(',')).take(MAX_MEMBERS);
        Self(members.filter_map(member).collect())
    }

    /// The weight of this very name.
    fn weight(&self, name: &str) -> Option<u16> {
        self.0.iter().find(|(listed, _)| listed == name).map(|(_, weight)| *weight)
    }

    /// Whether a coding is named and welcome.
    pub(crate) fn names(&self, coding: &str) -> bool {
        self.weight(coding).is_some_and(|weight| weight > 0)
    }

    /// The codings that are at least as welcome as the plain file, the most welcome first.
    pub(crate) fn best_codings(&self) -> Vec<Coding> {
        let any = self.weight("*").unwrap_or(0);
        let plain = self.weight("identity").unwrap_or(0).max(1);
        let weight = |coding: &Coding| {
            let other = if *coding == Coding::Gzip { self.weight("x-gzip") } else { None };
            self.weight(coding.name()).or(other).unwrap_or(any)
        };
        let mut codings: Vec<_> = Coding::ALL.into_iter().filter(|coding| weight(coding) >= plain).collect();
        codings.sort_by_key(|coding| (FULL.saturating_sub(weight(coding)), *coding));
        codings
    }
}

/// The form of a page that is most welcome; JSON only for those who name it. `None`: neither is.
pub(crate) fn form(headers: &HeaderMap) -> Option<Form> {
    if !headers.contains_key(ACCEPT) {
        return Some(Form::Html(HTML));
    }
    let wanted = Wanted::of(headers, &ACCEPT);
    let named = |name: &str, latest: &str| wanted.weight(name).max(wanted.weight(latest)).unwrap_or(0);
    let json =
        named(SIMPLE_JSON, "application/vnd.pypi.simple.latest+json").max(named("application/json", ""));
    let simple = named(SIMPLE_HTML, "application/vnd.pypi.simple.latest+html");
    let any = wanted.weight("*/*").unwrap_or(0);
    let html = wanted.weight("text/html").or(wanted.weight("text/*")).unwrap_or(any);
    match json {
        1.. if json >= html.max(simple) => Some(Form::Json),
        _ if html >= simple.max(1) => Some(Form::Html(HTML)),
        _ if simple > 0 => Some(Form::Html(SIMPLE_HTML)),
        _ => None,
    }
}

/// Whether the client has seen what has this entity tag (RFC 9110, section 13.1.2, weak comparison).
pub(crate) fn seen(headers: &HeaderMap, tag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let mine = opaque(tag);
    let values = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(',')).take(MAX_MEMBERS);
    tags.any(|tag| tag.trim() == "*" || opaque(tag) == mine)
}

/// `name;q=0.5` taken apart. Other parameters count for nothing.
fn member(text: &str) -> Option<(String, u16)> {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty())?.to_ascii_lowercase();
    let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    Some((name, quality.map_or(Some(FULL), thousandths)?))
}

/// `1`, `0.5`, `0.123` and the like.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    match (whole, digits) {
        ("1", true) => Some(FULL),
        ("0", true) => format!("{fraction:0<3}").parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn the_most_welcome_coding_comes_first() {
        use Coding::{Gzip, Zstd};
        let cases: [(&[&str], &[Coding]); 16] = [
            (&[], &[]),
            (&[""], &[]),
            (&["gzip"], &[Gzip]),
            (&["x-gzip"], &[Gzip]),
            (&["gzip, zstd"], &[Zstd, Gzip]),
            (&["GZIP", "zstd;q=0.5"], &[Gzip, Zstd]),
            (&["gzip;q=0.001 , zstd; q=0"], &[Gzip]),
            (&["*"], &[Zstd, Gzip]),
            (&["*;q=0, gzip"], &[Gzip]),
            (&["*;q=0.5, zstd;q=0.2"], &[Gzip, Zstd]),
            (&["identity"], &[]),
            (&["identity, gzip"], &[Gzip]),
            (&["identity, gzip;q=0.9"], &[]),
            (&["identity;q=0, gzip"], &[Gzip]),
            (&["gzip;q=2, zstd;q=-1"], &[]),
            (&["gzip;q=, zstd;q=0.1234, br"], &[]),
        ];
        for (values, expected) in cases {
            let wanted = Wanted::codings(&headers(&ACCEPT_ENCODING, values));
            assert_eq!(wanted.best_codings(), expected, "{values:?}");
        }
        let wanted = Wanted::codings(&headers(&ACCEPT_ENCODING, &["dcz;q=0, dcb, *"]));
        assert!(wanted.names("dcb") && !wanted.names("dcz") && !wanted.names("zstd"));
    }

    #[test]
    fn pages_are_json_for_those_who_name_it_and_html_for_all_others() {
        let pip = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01";
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        let cases = [
            (pip, Some(Form::Json)),
            (browser, Some(Form::Html(HTML))),
            ("*/*", Some(Form::Html(HTML))),
            ("text/*", Some(Form::Html(HTML))),
            ("application/vnd.pypi.simple.latest+json", Some(Form::Json)),
            ("application/json", Some(Form::Json)),
            (SIMPLE_HTML, Some(Form::Html(SIMPLE_HTML))),
            ("application/vnd.pypi.simple.v1+json;q=0.5, text/html", Some(Form::Html(HTML))),
            ("application/vnd.pypi.simple.v2+json", None),
            ("application/vnd.pypi.simple.v1+json;q=0", None),
            ("image/png", None),
        ];
        for (accept, expected) in cases {
            assert_eq!(form(&headers(&ACCEPT, &[accept])), expected, "{accept}");
        }
        assert_eq!(form(&HeaderMap::new()), Some(Form::Html(HTML)));
    }

    #[test]
    fn entity_tags_are_compared_weakly() {
        let mine = "W/\"abc\"";
        for (value, expected) in [
            ("W/\"abc\"", true),
            ("\"abc\"", true),
            ("\"x\", W/\"abc\"", true),
            ("*", true),
            ("\"abcd\"", false),
            ("abc", false),
            ("", false),
        ] {
            assert_eq!(seen(&headers(&IF_NONE_MATCH, &[value]), mine), expected, "{value}");
        }
        assert!(!seen(&HeaderMap::new(), mine));
    }
}
