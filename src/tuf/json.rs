//! Canonical JSON (OLPC form) and the reader for everything signed.
//!
//! Text becomes a tree that borrows from it, and a tree has one canonical form, which is what signatures cover. Most
//! metadata needs no tree: [`super::canonical`] finds it in canonical form already.
//!
//! The canonical form: keys sorted by code point, no white space, strings with only `"` and `\` escaped and no
//! Unicode normalisation, integers as they stand. Refused: floats, duplicate keys, lone surrogates, deep nesting.
//!
//! ```
//! # use wheelseal::tuf::json::parse;
//! let tree = parse(br#"{"b": [1, "\u00e9\n"], "a": null}"#).unwrap();
//! assert_eq!(tree.canonical(), "{\"a\":null,\"b\":[1,\"é\n\"]}".as_bytes());
//! assert_eq!(tree.to_text(), r#"{"a":null,"b":[1,"é\n"]}"#);
//! ```

use std::borrow::Cow;

use chrono::{DateTime, SecondsFormat, Utc};
use thiserror::Error;

/// Arrays and objects inside one another, at most. TUF metadata needs about 8; `custom` may be deeper.
pub const MAX_DEPTH: usize = 64;
/// Bytes of a text looked at before it is asked whether to go on.
const BYTES_AT_ONCE: usize = 1024;
/// Characters of foreign text repeated in an error, at most.
const MAX_QUOTED: usize = 60;

/// Why text is not JSON that can be signed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JsonError {
    /// The bytes are not UTF-8.
    #[error("not UTF-8 at byte {at}")]
    NotUtf8 {
        /// Offset in bytes.
        at: usize,
    },
    /// Something else was expected here.
    #[error("expected {expected} at byte {at}")]
    Syntax {
        /// Offset in bytes.
        at: usize,
        /// What the grammar wants.
        expected: &'static str,
    },
    /// More nesting than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels at byte {at}")]
    TooDeep {
        /// Offset in bytes.
        at: usize,
    },
    /// Canonical JSON has integers only.
    #[error("a number with a fraction or exponent at byte {at}: canonical JSON has integers only")]
    Float {
        /// Offset in bytes.
        at: usize,
    },
    /// The same key twice in one object.
    #[error("duplicate key {key:?} in an object that ends at byte {at}")]
    DuplicateKey {
        /// Start of the key.
        key: String,
        /// Offset in bytes.
        at: usize,
    },
}

/// A JSON value. Objects are sorted by key and their keys are unique.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json<'a> {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// An integer of any size, as text.
    Int(Cow<'a, str>),
    /// A string, unescaped.
    Str(Cow<'a, str>),
    /// An array.
    Array(Vec<Json<'a>>),
    /// An object, sorted by key.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

/// Shortens foreign text for an error message.
pub fn quoted(text: &str) -> String {
    let mut start: String = text.chars().take(MAX_QUOTED).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    start
}

/// An RFC 3339 time with any offset, as UTC.
pub fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc())
}

/// `YYYY-MM-DDTHH:MM:SSZ`, the form of the TUF specification section 4.2.1.
pub fn format_time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Reads one JSON value; nothing but white space may surround it.
pub fn parse(bytes: &[u8]) -> Result<Json<'_>, JsonError> {
    let text = std::str::from_utf8(bytes).map_err(|e| JsonError::NotUtf8 { at: e.valid_up_to() })?;
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0)?;
    reader.white_space();
    match reader.peek() {
        None => Ok(value),
        Some(_) => Err(reader.expected("end of input")),
    }
}

impl<'a> Json<'a> {
    /// A string value.
    pub fn str(text: impl Into<Cow<'a, str>>) -> Self {
        Json::Str(text.into())
    }

    /// An integer value.
    pub fn int(number: u64) -> Self {
        Json::Int(number.to_string().into())
    }

    /// An object from pairs in any order. Keys must differ.
    pub fn object<K: Into<Cow<'a, str>>>(pairs: impl IntoIterator<Item = (K, Json<'a>)>) -> Self {
        let mut pairs: Vec<_> = pairs.into_iter().map(|(key, value)| (key.into(), value)).collect();
        pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        Json::Object(pairs)
    }

    /// The value of `key`, if this is an object that has it.
    pub fn get(&self, key: &str) -> Option<&Json<'a>> {
        let Json::Object(pairs) = self else { return None };
        let at = pairs.binary_search_by(|(known, _)| str::cmp(known, key)).ok()?;
        pairs.get(at).map(|(_, value)| value)
    }

    /// The text, if this is a string.
    pub fn as_str(&self) -> Option<&str> {
        if let Json::Str(text) = self { Some(text) } else { None }
    }

    /// The number, if this is an integer from 0 to 2^64 - 1.
    pub fn as_u64(&self) -> Option<u64> {
        if let Json::Int(text) = self { text.parse().ok() } else { None }
    }

    /// What this is, for an error message.
    pub fn kind(&self) -> String {
        match self {
            Json::Null => "null".into(),
            Json::Bool(value) => value.to_string(),
            Json::Int(text) => quoted(text),
            Json::Str(text) => format!("{:?}", quoted(text)),
            Json::Array(_) => "an array".into(),
            Json::Object(_) => "an object".into(),
        }
    }

    /// The bytes that are signed.
    pub fn canonical(&self) -> Vec<u8> {
        self.canonical_text().into_bytes()
    }

    /// The same as text, which is no JSON if a string has a control character.
    pub(super) fn canonical_text(&self) -> String {
        let mut out = String::new();
        self.write_canonical(&mut out);
        out
    }

    /// The canonical form, written to the end of `out`.
    pub(super) fn write_canonical(&self, out: &mut String) {
        write(self, out, escape_canonical);
    }

    /// Compact JSON text: as the canonical form, but with control characters escaped, so that it is JSON.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        write(self, &mut out, escape_text);
        out
    }

    /// The same value without a borrow.
    pub fn into_owned(self) -> Json<'static> {
        match self {
            Json::Null => Json::Null,
            Json::Bool(value) => Json::Bool(value),
            Json::Int(text) => Json::Int(text.into_owned().into()),
            Json::Str(text) => Json::Str(text.into_owned().into()),
            Json::Array(items) => Json::Array(items.into_iter().map(Json::into_owned).collect()),
            Json::Object(pairs) => Json::Object(
                pairs.into_iter().map(|(key, value)| (key.into_owned().into(), value.into_owned())).collect(),
            ),
        }
    }
}

fn write(value: &Json<'_>, out: &mut String, escape: fn(&str, &mut String)) {
    match value {
        Json::Null => out.push_str("null"),
        Json::Bool(true) => out.push_str("true"),
        Json::Bool(false) => out.push_str("false"),
        Json::Int(text) => out.push_str(text),
        Json::Str(text) => escape(text, out),
        Json::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(item, out, escape);
            }
            out.push(']');
        }
        Json::Object(pairs) => {
            out.push('{');
            for (at, (key, item)) in pairs.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                escape(key, out);
                out.push(':');
                write(item, out, escape);
            }
            out.push('}');
        }
    }
}

/// A string in canonical form, with its quotes, written to the end of `out`.
pub(super) fn escape_canonical(text: &str, out: &mut String) {
    out.push('"');
    if !any_byte(text, |b| matches!(b, b'"' | b'\\')) {
        out.push_str(text);
        out.push('"');
        return;
    }
    for part in text.split_inclusive(['"', '\\']) {
        match part.strip_suffix(['"', '\\']) {
            Some(plain) => {
                out.push_str(plain);
                out.push('\\');
                out.push_str(part.get(plain.len()..).unwrap_or_default());
            }
            None => out.push_str(part),
        }
    }
    out.push('"');
}

/// A string as JSON, with its quotes, written to the end of `out`.
pub(super) fn escape_text(text: &str, out: &mut String) {
    out.push('"');
    if !text.bytes().any(|b| matches!(b, b'"' | b'\\' | 0..b' ')) {
        out.push_str(text);
        out.push('"');
        return;
    }
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c => push_printable(c, out),
        }
    }
    out.push('"');
}

/// Canonical form as JSON: control characters, which the canonical form leaves as they are, are escaped. `None` if
/// there are none: then it is JSON as it stands.
pub(super) fn canonical_to_text(canonical: &str) -> Option<String> {
    if !any_byte(canonical, |b| b < b' ') {
        return None;
    }
    let mut out = String::with_capacity(canonical.len());
    canonical.chars().for_each(|c| push_printable(c, &mut out));
    Some(out)
}

/// Whether any byte is `wanted`; without a branch for each, so that the compiler can look at many at once.
fn any_byte(text: &str, wanted: impl Fn(u8) -> bool) -> bool {
    let any = |bytes: &[u8]| bytes.iter().fold(0_u8, |found, byte| found | u8::from(wanted(*byte))) != 0;
    text.as_bytes().chunks(BYTES_AT_ONCE).any(any)
}

/// A character inside a string, escaped if it is a control character.
fn push_printable(c: char, out: &mut String) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
        c => out.push(c),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn expected(&self, expected: &'static str) -> JsonError {
        JsonError::Syntax { at: self.at, expected }
    }

    fn white_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn literal(&mut self, word: &'static str, value: Json<'a>) -> Result<Json<'a>, JsonError> {
        if !self.rest().starts_with(word) {
            return Err(self.expected(word));
        }
        self.at += word.len();
        Ok(value)
    }

    fn value(&mut self, depth: usize) -> Result<Json<'a>, JsonError> {
        self.white_space();
        match self.peek() {
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'"') => self.string().map(Json::Str),
            Some(b't') => self.literal("true", Json::Bool(true)),
            Some(b'f') => self.literal("false", Json::Bool(false)),
            Some(b'n') => self.literal("null", Json::Null),
            Some(b'-' | b'0'..=b'9') => self.integer(),
            _ => Err(self.expected("a value")),
        }
    }

    fn open(&mut self, depth: usize) -> Result<(), JsonError> {
        if depth > MAX_DEPTH {
            return Err(JsonError::TooDeep { at: self.at });
        }
        self.at += 1;
        self.white_space();
        Ok(())
    }

    /// After an item: `true` if another follows.
    fn another(&mut self, close: u8, expected: &'static str) -> Result<bool, JsonError> {
        self.white_space();
        let next = self.peek();
        if next != Some(b',') && next != Some(close) {
            return Err(self.expected(expected));
        }
        self.at += 1;
        Ok(next == Some(b','))
    }

    fn array(&mut self, depth: usize) -> Result<Json<'a>, JsonError> {
        self.open(depth)?;
        let mut items = Vec::new();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value(depth)?);
            if !self.another(b']', "',' or ']'")? {
                return Ok(Json::Array(items));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json<'a>, JsonError> {
        self.open(depth)?;
        let mut pairs: Vec<(Cow<'a, str>, Json<'a>)> = Vec::new();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Json::Object(pairs));
        }
        let mut sorted = true;
        loop {
            self.white_space();
            let key = self.string()?;
            self.white_space();
            if self.peek() != Some(b':') {
                return Err(self.expected("':'"));
            }
            self.at += 1;
            sorted &= pairs.last().is_none_or(|(last, _)| *last < key);
            pairs.push((key, self.value(depth)?));
            if !self.another(b'}', "',' or '}'")? {
                break;
            }
        }
        if !sorted {
            pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
            if let Some([(key, _), _]) = pairs.array_windows().find(|[(a, _), (b, _)]| a == b) {
                return Err(JsonError::DuplicateKey { key: quoted(key), at: self.at });
            }
        }
        Ok(Json::Object(pairs))
    }

    fn integer(&mut self) -> Result<Json<'a>, JsonError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let digits = self.rest();
        let count = digits.bytes().take_while(u8::is_ascii_digit).count();
        if count == 0 || (count > 1 && digits.starts_with('0')) {
            return Err(self.expected("a digit, without leading zeros"));
        }
        self.at += count;
        if matches!(self.peek(), Some(b'.' | b'e' | b'E')) {
            return Err(JsonError::Float { at: start });
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        Ok(Json::Int(if text == "-0" { "0" } else { text }.into()))
    }

    fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        if self.peek() != Some(b'"') {
            return Err(self.expected("a string"));
        }
        self.at += 1;
        let plain = self.plain()?;
        if self.peek() == Some(b'"') {
            self.at += 1;
            return Ok(plain.into());
        }
        let mut out = plain.to_owned();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out.into());
                }
                Some(b'\\') => out.push(self.escape()?),
                _ => out.push_str(self.plain()?),
            }
        }
    }

    /// Text up to the next quote or backslash.
    fn plain(&mut self) -> Result<&'a str, JsonError> {
        let rest = self.rest();
        let end = rest.bytes().position(|b| b == b'"' || b == b'\\' || b < b' ').unwrap_or(rest.len());
        self.at += end;
        match self.peek() {
            Some(b'"' | b'\\') => Ok(rest.get(..end).unwrap_or_default()),
            _ => Err(self.expected("the end of a string (control characters must be escaped)")),
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        self.at += 1;
        let c = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err(self.expected("an escape")),
        };
        self.at += 1;
        Ok(c)
    }

    fn unicode(&mut self) -> Result<char, JsonError> {
        let first = self.four_digits()?;
        let code = if (0xd800..0xdc00).contains(&first) {
            if !self.rest().starts_with("\\u") {
                return Err(self.expected("the second half of a surrogate pair"));
            }
            self.at += 1;
            let second = self.four_digits()?;
            if !(0xdc00..0xe000).contains(&second) {
                return Err(self.expected("the second half of a surrogate pair"));
            }
            0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
        } else {
            first
        };
        char::from_u32(code).ok_or(self.expected("no lone surrogate"))
    }

    /// Reads `uXXXX`.
    fn four_digits(&mut self) -> Result<u32, JsonError> {
        let digits =
            self.text.get(self.at + 1..self.at + 5).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let code = code.ok_or(self.expected("four hexadecimal digits"))?;
        self.at += 5;
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn canonical(text: &str) -> String {
        String::from_utf8(parse(text.as_bytes()).unwrap().canonical()).unwrap()
    }

    #[test]
    fn keys_sort_by_code_point_not_by_their_escaped_text() {
        assert_eq!(canonical(r#"{"foo bar":1,"foo":2,"foo!":3}"#), r#"{"foo":2,"foo bar":1,"foo!":3}"#);
        assert_eq!(
            canonical("{\"\\uffee\":1,\"\\ud83d\\ude00\":2,\"z\":3}"),
            "{\"z\":3,\"\u{ffee}\":1,\"😀\":2}"
        );
    }

    #[test]
    fn strings_are_not_normalised_and_only_quote_and_backslash_are_escaped() {
        assert_eq!(canonical(r#""e\u0301\u0000\t\/\"\\""#), "\"e\u{301}\0\t/\\\"\\\\\"");
    }

    #[test]
    fn integers_of_any_size_stay_as_text() {
        assert_eq!(
            canonical("[123456789012345678901234567890, -5, -0]"),
            "[123456789012345678901234567890,-5,0]"
        );
    }

    #[test]
    fn what_cannot_be_signed_is_refused() {
        let cases: [(&str, JsonError); 9] = [
            ("1.5", JsonError::Float { at: 0 }),
            ("[1e5]", JsonError::Float { at: 1 }),
            (r#"{"a":1,"\u0061":2}"#, JsonError::DuplicateKey { key: "a".into(), at: 18 }),
            (r#""\ud800""#, JsonError::Syntax { at: 7, expected: "the second half of a surrogate pair" }),
            (r#""\udc00""#, JsonError::Syntax { at: 7, expected: "no lone surrogate" }),
            ("01", JsonError::Syntax { at: 0, expected: "a digit, without leading zeros" }),
            ("1 2", JsonError::Syntax { at: 2, expected: "end of input" }),
            ("[1,]", JsonError::Syntax { at: 3, expected: "a value" }),
            ("", JsonError::Syntax { at: 0, expected: "a value" }),
        ];
        for (text, error) in cases {
            assert_eq!(parse(text.as_bytes()), Err(error), "{text}");
        }
        assert_eq!(parse(b"\"\xff\""), Err(JsonError::NotUtf8 { at: 1 }));
        let deep = "[".repeat(100_000);
        assert_eq!(parse(deep.as_bytes()), Err(JsonError::TooDeep { at: MAX_DEPTH }));
        assert!(parse("[".repeat(MAX_DEPTH).as_bytes()) != Err(JsonError::TooDeep { at: MAX_DEPTH }));
    }

    #[test]
    fn times_with_an_offset_are_the_same_instant() {
        assert_eq!(parse_time("2030-01-01T02:00:00+02:00"), parse_time("2030-01-01T00:00:00Z"));
        assert_eq!(format_time(parse_time("2030-01-01T00:00:00.5Z").unwrap()), "2030-01-01T00:00:00Z");
        assert_eq!(parse_time("2030-01-01"), None);
    }

    fn any_json() -> impl Strategy<Value = Json<'static>> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::Bool),
            any::<i128>().prop_map(|n| Json::Int(n.to_string().into())),
            any::<String>().prop_map(|s| Json::Str(s.into())),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Json::Array),
                prop::collection::btree_map(any::<String>(), inner, 0..6).prop_map(Json::object),
            ]
        })
    }

    proptest! {
        #[test]
        fn text_reads_back_as_the_same_value(value in any_json()) {
            let text = value.to_text();
            let canonical = String::from_utf8(value.canonical()).unwrap();
            prop_assert_eq!(&canonical_to_text(&canonical).unwrap_or(canonical), &text);
            prop_assert_eq!(parse(text.as_bytes()).unwrap(), value);
        }

        #[test]
        fn canonical_form_is_a_function_of_the_value_alone(value in any_json()) {
            let spaced = value.to_text().replace(":{", " : {");
            if let Ok(again) = parse(spaced.as_bytes()) && again == value {
                prop_assert_eq!(again.canonical(), value.canonical());
            }
        }

        #[test]
        fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn text_agrees_with_serde_json(value in any_json()) {
            prop_assert!(serde_json::from_str::<serde_json::Value>(&value.to_text()).is_ok());
        }
    }
}
