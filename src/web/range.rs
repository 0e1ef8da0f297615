//! Parts of a file (RFC 9110, section 14): one range of bytes, or the whole.

use axum::http::HeaderMap;
use axum::http::header::{IF_RANGE, RANGE};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it: also the answer to several ranges, and to what is no range.
    Whole,
    /// From the first byte to the last one, that one included.
    Span(u64, u64),
    /// Bytes that are not there.
    Outside,
}

/// The part of a file of `len` bytes that is asked for. `tag` is its strong entity tag, if it has one.
pub(crate) fn part(headers: &HeaderMap, len: u64, tag: Option<&str>) -> Part {
    if headers.get(IF_RANGE).is_some_and(|seen| seen.to_str().ok() != tag) {
        return Part::Whole;
    }
    let field = headers.get(RANGE).and_then(|value| value.to_str().ok());
    let span = field.and_then(|field| field.trim().strip_prefix("bytes="));
    let Some((first, last)) = span.and_then(|span| span.trim().split_once('-')) else { return Part::Whole };
    match (number(first), number(last), first.is_empty(), last.is_empty()) {
        (Some(first), Some(last), ..) if first > last => Part::Whole,
        (Some(first), ..) if first >= len && (last.is_empty() || number(last).is_some()) => Part::Outside,
        (Some(first), Some(last), ..) => Part::Span(first, last.min(len - 1)),
        (Some(first), None, _, true) => Part::Span(first, len - 1),
        (None, Some(count), true, _) if count == 0 || len == 0 => Part::Outside,
        (None, Some(count), true, _) => Part::Span(len.saturating_sub(count), len - 1),
        _ => Part::Whole,
    }
}

/// Digits alone; more than fit are as many as there can be.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_range_is_read_as_the_rfc_says() {
        let cases = [
            ("bytes=0-0", 10, Part::Span(0, 0)),
            ("bytes=2-5", 10, Part::Span(2, 5)),
            ("bytes=2-", 10, Part::Span(2, 9)),
            ("bytes=-3", 10, Part::Span(7, 9)),
            ("bytes=-30", 10, Part::Span(0, 9)),
            ("bytes=9-99999999999999999999999", 10, Part::Span(9, 9)),
            ("bytes=10-", 10, Part::Outside),
            ("bytes=10-12", 10, Part::Outside),
            ("bytes=99999999999999999999999-", 10, Part::Outside),
            ("bytes=-0", 10, Part::Outside),
            ("bytes=0-", 0, Part::Outside),
            ("bytes=-1", 0, Part::Outside),
            ("bytes=5-2", 10, Part::Whole),
            ("bytes=0-1,3-4", 10, Part::Whole),
            ("bytes=-", 10, Part::Whole),
            ("bytes=a-b", 10, Part::Whole),
            ("bytes=+1-2", 10, Part::Whole),
            ("bytes=1-2x", 10, Part::Whole),
            ("bytes=20-x", 10, Part::Whole),
            ("lines=1-2", 10, Part::Whole),
            ("", 10, Part::Whole),
        ];
        for (field, len, expected) in cases {
            let headers = HeaderMap::from_iter([(RANGE, field.parse().unwrap())]);
            assert_eq!(part(&headers, len, None), expected, "{field} of {len}");
        }
    }

    #[test]
    fn a_part_of_what_has_changed_is_the_whole() {
        let headers = |seen: &str| {
            HeaderMap::from_iter([(RANGE, "bytes=1-2".parse().unwrap()), (IF_RANGE, seen.parse().unwrap())])
        };
        assert_eq!(part(&headers("\"a\""), 10, Some("\"a\"")), Part::Span(1, 2));
        for (seen, tag) in [("\"b\"", Some("\"a\"")), ("W/\"a\"", Some("\"a\"")), ("\"a\"", None)] {
            assert_eq!(part(&headers(seen), 10, tag), Part::Whole);
        }
        assert_eq!(part(&headers("Sat, 01 Jan 2000 00:00:00 GMT"), 10, Some("\"a\"")), Part::Whole);
    }
}
