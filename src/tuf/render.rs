//! From content to the bytes that are signed, in one pass and one buffer, without a tree in between.
//!
//! The canonical form (see [`super::json`]) wants the keys of each object in order. Writers here name their keys in
//! that order, and fields that this project does not know are woven in where they belong.
//!
//! ```
//! # use wheelseal::tuf::json::parse_time;
//! # use wheelseal::tuf::metadata::Common;
//! # use wheelseal::tuf::render::{Line, bin};
//! let sha256 = "0f".repeat(32);
//! let line = Line { path: "six/six-1.0.tar.gz", length: 5, sha256: &sha256, custom: None };
//! let common = Common::new(1, parse_time("2030-01-01T00:00:00Z").unwrap());
//! let payload = bin(&common, [line]).unwrap();
//! assert!(payload.to_sign().starts_with(br#"{"_type":"targets","expires":"2030-01-01T00:00:00Z","#));
//! ```

use std::borrow::Cow;
use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use faster_hex::hex_encode;
use thiserror::Error;

use super::fields::Extra;
use super::json::{Json, escape_canonical, format_time, quoted};
use super::metadata::{Common, SPEC_VERSION};
use super::signed::Payload;

/// Bytes of a SHA-512, the longest digest that is common.
const LONGEST_DIGEST: usize = 64;
/// Bytes that one target takes beside its path, at least: braces, names, a length, SHA-256 in hexadecimal.
const LINE: usize = 110;
/// Bytes of a bin around its targets: braces, names, times.
const FRAME: usize = 160;

/// Why targets do not make a bin.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RenderError {
    /// Paths must rise: each once, ordered by code point.
    #[error("target {path:?} follows {before:?}, which does not come before it")]
    Unsorted {
        /// Start of the path.
        path: String,
        /// Start of the one before it.
        before: String,
    },
    /// A hash has another form than the specification gives it.
    #[error("SHA-256 of target {path:?} is {found:?}, expected 64 lower-case hexadecimal digits")]
    BadHash {
        /// Start of the path.
        path: String,
        /// What was given, shortened.
        found: String,
    },
}

/// One target of a bin (specification section 4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// The target path. It is not checked: see [`super::path::TargetPath`].
    pub path: &'a str,
    /// Length in bytes.
    pub length: u64,
    /// SHA-256, 64 lower-case hexadecimal digits.
    pub sha256: &'a str,
    /// `custom`: an object.
    pub custom: Option<&'a Json<'a>>,
}

/// A bin of `targets`, which come in order of their paths; it delegates to nobody. Unknown fields of `common` are
/// written too.
pub fn bin<'a>(common: &Common, targets: impl IntoIterator<Item = Line<'a>>) -> Result<Payload, RenderError> {
    let targets = targets.into_iter();
    let mut out = String::with_capacity(FRAME + targets.size_hint().0.saturating_mul(2 * LINE));
    let mut object = Object::open(&mut out, &common.extra);
    object.string("_type", "targets");
    object.time("expires", common.expires);
    object.string("spec_version", SPEC_VERSION);
    lines(object.key("targets"), targets)?;
    object.number("version", common.version);
    object.close();
    Ok(Payload::new(out))
}

fn lines<'a>(out: &mut String, targets: impl Iterator<Item = Line<'a>>) -> Result<(), RenderError> {
    let mut last: Option<&str> = None;
    out.push('{');
    for line in targets {
        if let Some(before) = last.filter(|before| *before >= line.path) {
            return Err(RenderError::Unsorted { path: quoted(line.path), before: quoted(before) });
        }
        if last.replace(line.path).is_some() {
            out.push(',');
        }
        push_line(out, &line)?;
    }
    out.push('}');
    Ok(())
}

fn push_line(out: &mut String, line: &Line<'_>) -> Result<(), RenderError> {
    if !is_sha256(line.sha256) {
        return Err(RenderError::BadHash { path: quoted(line.path), found: quoted(line.sha256) });
    }
    out.reserve(LINE + line.path.len());
    escape_canonical(line.path, out);
    out.push_str(":{");
    if let Some(custom) = line.custom {
        out.push_str("\"custom\":");
        custom.write_canonical(out);
        out.push(',');
    }
    out.push_str("\"hashes\":{\"sha256\":\"");
    out.push_str(line.sha256);
    out.push_str("\"},\"length\":");
    push_number(out, line.length);
    out.push('}');
    Ok(())
}

fn is_sha256(text: &str) -> bool {
    let digit = |b: u8| b.is_ascii_digit() | (b'a'..=b'f').contains(&b);
    text.len() == 64 && text.bytes().fold(0_u8, |bad, b| bad | u8::from(!digit(b))) == 0
}

/// Writes one object; keys must be named in order.
pub(super) struct Object<'a> {
    out: &'a mut String,
    /// Fields that this project does not know, still to be written.
    extra: VecDeque<&'a (Cow<'static, str>, Json<'static>)>,
    empty: bool,
}

impl<'a> Object<'a> {
    /// Begins an object into which `extra` is woven.
    pub(super) fn open(out: &'a mut String, extra: &'a Extra) -> Self {
        out.push('{');
        let mut extra: VecDeque<_> = extra.iter().collect();
        extra.make_contiguous().sort_by(|(a, _), (b, _)| a.cmp(b));
        Self { out, extra, empty: true }
    }

    /// Begins a field, whose value the caller writes next.
    pub(super) fn key(&mut self, key: &str) -> &mut String {
        while let Some((name, value)) = self.extra.pop_front_if(|(name, _)| **name < *key) {
            value.write_canonical(self.raw_key(name));
        }
        self.raw_key(key)
    }

    pub(super) fn string(&mut self, key: &str, value: &str) {
        escape_canonical(value, self.key(key));
    }

    pub(super) fn strings<'s>(&mut self, key: &str, values: impl Iterator<Item = &'s str>) {
        let out = self.key(key);
        out.push('[');
        for (at, value) in values.enumerate() {
            if at > 0 {
                out.push(',');
            }
            escape_canonical(value, out);
        }
        out.push(']');
    }

    pub(super) fn time(&mut self, key: &str, value: DateTime<Utc>) {
        self.string(key, &format_time(value));
    }

    pub(super) fn hex(&mut self, key: &str, value: &[u8]) {
        let mut digits = [0; 2 * LONGEST_DIGEST];
        match hex_encode(value, &mut digits) {
            Ok(digits) => self.string(key, digits),
            Err(_) => self.string(key, &hex::encode(value)),
        }
    }

    pub(super) fn boolean(&mut self, key: &str, value: bool) {
        self.key(key).push_str(if value { "true" } else { "false" });
    }

    pub(super) fn number(&mut self, key: &str, value: u64) {
        push_number(self.key(key), value);
    }

    /// Ends the object.
    pub(super) fn close(mut self) {
        while let Some((name, value)) = self.extra.pop_front() {
            value.write_canonical(self.raw_key(name));
        }
        self.out.push('}');
    }

    fn raw_key(&mut self, key: &str) -> &mut String {
        if !std::mem::take(&mut self.empty) {
            self.out.push(',');
        }
        escape_canonical(key, self.out);
        self.out.push(':');
        self.out
    }
}

/// Decimal digits.
pub(super) fn push_number(out: &mut String, mut number: u64) {
    let mut digits = [0_u8; 20];
    let mut start = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        start -= 1;
        if number == 0 {
            break;
        }
    }
    out.extend(digits.iter().skip(start).copied().map(char::from));
}

#[cfg(test)]
mod tests {
    use super::super::json::{parse, parse_time};
    use super::super::metadata::{Hashes, TargetFile, Targets};
    use super::super::signed::Draft;
    use super::*;

    const SHA256: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn line(path: &str) -> Line<'_> {
        Line { path, length: 7, sha256: SHA256, custom: None }
    }

    fn common() -> Common {
        Common::new(3, parse_time("2030-01-01T00:00:00Z").unwrap())
    }

    #[test]
    fn a_bin_is_what_a_draft_of_the_same_targets_is() {
        let custom = parse(br#"{"requires-python":">=3.9"}"#).unwrap().into_owned();
        let mut common = common();
        common.extra = vec![("x".into(), Json::Null), ("a".into(), Json::Array(vec![Json::int(0)]))];
        let paths = ["A", "a \"quoted\" path", "a\\b", "b\nb", "é", "\u{ffee}", "😀"];
        let mut lines: Vec<_> = paths.into_iter().map(line).collect();
        lines[1].custom = Some(&custom);
        let mut digest = [0; 32];
        hex::decode_to_slice(SHA256, &mut digest).unwrap();
        let file = |line: &Line<'_>| {
            let extra = line.custom.map(|custom| ("custom".into(), custom.clone().into_owned()));
            TargetFile { length: 7, hashes: Hashes::sha256(digest), extra: extra.into_iter().collect() }
        };
        let targets = lines.iter().map(|line| (line.path.to_owned(), file(line))).collect();
        let draft = Draft::new(Targets { common: common.clone(), targets, delegations: None });
        assert_eq!(bin(&common, lines).unwrap(), draft.payload());
        assert_eq!(
            bin(&common, []).unwrap().to_sign(),
            br#"{"_type":"targets","a":[0],"expires":"2030-01-01T00:00:00Z","spec_version":"1.0.34","targets":{},"version":3,"x":null}"#
        );
    }

    #[test]
    fn paths_that_do_not_rise_and_hashes_that_are_none_are_refused() {
        let unsorted = |path: &str, before: &str| {
            Err(RenderError::Unsorted { path: path.to_owned(), before: before.to_owned() })
        };
        assert_eq!(bin(&common(), [line("a"), line("a")]), unsorted("a", "a"));
        assert_eq!(bin(&common(), [line("b"), line("a")]), unsorted("a", "b"));
        for found in ["", "00", &SHA256.to_uppercase(), &SHA256.replace("ff", "\"}")] {
            let wrong = Line { sha256: found, ..line("a") };
            let refused = RenderError::BadHash { path: "a".to_owned(), found: quoted(found) };
            assert_eq!(bin(&common(), [wrong]), Err(refused));
        }
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 9, 10, 1_234_567, u64::MAX] {
            let mut out = String::new();
            push_number(&mut out, number);
            assert_eq!(out, number.to_string());
        }
    }
}
