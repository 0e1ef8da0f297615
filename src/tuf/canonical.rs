//! Text in canonical form (see [`super::json`]): deciding whether received text has it, and walking it without a tree.
//!
//! Most tools write their files in canonical form, so one scan shows that the bytes received are the bytes signed.
//! Only what has another form becomes a tree, and that tree's canonical form takes its place. Either way content is
//! read from the very text that the signatures cover, by one reader.
//!
//! The scan is the whole check of the grammar: what it does not know to be canonical goes the way of the tree, which
//! says what is wrong, if anything is. Where canonical form is no JSON (it leaves control characters as they are),
//! received text is never taken for it.

use std::borrow::Cow;
use std::ops::Range;

use super::json::{Json, JsonError, MAX_DEPTH, parse};

/// Containers this deep at most have their ends noted: envelope, role, a role's table, what is in it.
const NOTED_DEPTH: usize = 4;
/// Bytes of a container whose end is noted, at least: a shorter one is quickly walked again.
const NOTED_LEN: usize = 512;

/// One value in canonical form.
#[derive(Debug)]
pub(super) struct Canonical<'a> {
    text: Cow<'a, str>,
    /// Start and end of long containers near the top, by start, so that they need not be walked to be skipped.
    noted: Vec<(usize, usize)>,
}

impl<'a> Canonical<'a> {
    /// The canonical form of what `bytes` say, which is most often those bytes.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, JsonError> {
        match std::str::from_utf8(bytes).ok().and_then(Self::as_it_stands) {
            Some(canonical) => Ok(canonical),
            None => Ok(Self::written(parse(bytes)?.canonical_text().into())),
        }
    }

    /// `text`, if it is JSON and its canonical form is the same text.
    fn as_it_stands(text: &'a str) -> Option<Self> {
        let mut scan = Scan { bytes: text.as_bytes(), noted: Vec::new() };
        if scan.value(0, 0) != Some(text.len()) {
            return None;
        }
        scan.noted.sort_unstable();
        Some(Self { text: text.into(), noted: scan.noted })
    }

    /// Text that [`Json::canonical_text`] wrote.
    pub(super) fn written(text: Cow<'a, str>) -> Self {
        Self { text, noted: Vec::new() }
    }

    /// The value.
    pub(super) fn value(&self) -> Raw<'_> {
        Raw { within: self, text: &self.text, at: 0 }
    }

    /// The byte after the value at `at`.
    fn end(&self, at: usize) -> usize {
        let bytes = self.text.as_bytes();
        match bytes.get(at) {
            Some(b'"') => string_end(bytes, at),
            Some(b'{' | b'[') => match self.noted.binary_search_by_key(&at, |(start, _)| *start) {
                Ok(found) => self.noted.get(found).map_or(at, |(_, end)| *end),
                Err(_) => container_end(bytes, at),
            },
            _ => {
                let plain = bytes.iter().skip(at).take_while(|b| !matches!(b, b',' | b']' | b'}'));
                at + plain.count()
            }
        }
    }
}

/// A value inside canonical text, not read yet.
#[derive(Debug, Clone, Copy)]
pub struct Raw<'a> {
    within: &'a Canonical<'a>,
    text: &'a str,
    /// Where `text` starts.
    at: usize,
}

impl<'a> Raw<'a> {
    /// The value as it stands: what a signature over it covers.
    pub(super) fn text(self) -> &'a str {
        self.text
    }

    /// Where in the text of `outer`, which it is part of, this value is.
    pub(super) fn place_in(self, outer: Raw<'_>) -> Range<usize> {
        let start = self.at.saturating_sub(outer.at);
        start..start + self.text.len()
    }

    /// The string, unescaped, if this is one.
    pub(super) fn as_str(self) -> Option<Cow<'a, str>> {
        let inner = self.text.strip_prefix('"')?.strip_suffix('"')?;
        Some(if inner.contains('\\') { unescaped(inner).into() } else { inner.into() })
    }

    /// The number, if this is an integer from 0 to 2^64 - 1.
    pub(super) fn as_u64(self) -> Option<u64> {
        self.text.parse().ok()
    }

    /// Whether this is `true` or `false`, and which.
    pub(super) fn as_bool(self) -> Option<bool> {
        self.text.parse().ok()
    }

    /// The fields, if this is an object: sorted by key.
    pub(super) fn pairs(self) -> Option<Pairs<'a>> {
        self.text.starts_with('{').then(|| Pairs(self.inside()))
    }

    /// The items, if this is an array.
    pub(super) fn items(self) -> Option<Items<'a>> {
        self.text.starts_with('[').then(|| Items(self.inside()))
    }

    /// What this is, for an error message.
    pub(super) fn kind(self) -> String {
        match self.text.bytes().next() {
            Some(b'{') => Json::Object(Vec::new()).kind(),
            Some(b'[') => Json::Array(Vec::new()).kind(),
            _ => self.tree().kind(),
        }
    }

    /// The value as a tree.
    pub(super) fn tree(self) -> Json<'static> {
        if let Some(text) = self.as_str() {
            return Json::Str(text.into_owned().into());
        }
        if let Some(items) = self.items() {
            return Json::Array(items.map(Raw::tree).collect());
        }
        if let Some(pairs) = self.pairs() {
            return Json::Object(pairs.map(|(key, value)| (key.into_owned().into(), value.tree())).collect());
        }
        match (self.text, self.as_bool()) {
            ("null", _) => Json::Null,
            (_, Some(value)) => Json::Bool(value),
            (digits, None) => Json::Int(digits.to_owned().into()),
        }
    }

    fn inside(self) -> Inside<'a> {
        Inside { within: self.within, at: self.at + 1, end: self.at + self.text.len().saturating_sub(1) }
    }
}

/// What is between the brackets of a container.
#[derive(Debug)]
struct Inside<'a> {
    within: &'a Canonical<'a>,
    at: usize,
    end: usize,
}

impl<'a> Inside<'a> {
    /// The next value, and the byte after it.
    fn next(&mut self) -> Option<Raw<'a>> {
        if self.at >= self.end {
            return None;
        }
        let (start, end) = (self.at, self.within.end(self.at));
        self.at = end + 1;
        Some(Raw { within: self.within, text: self.within.text.get(start..end)?, at: start })
    }
}

/// Fields of an object.
#[derive(Debug)]
pub(super) struct Pairs<'a>(Inside<'a>);

impl Pairs<'_> {
    /// Bytes of text that are left.
    pub(super) fn text_len(&self) -> usize {
        self.0.end.saturating_sub(self.0.at)
    }
}

impl<'a> Pairs<'a> {
    /// The next field, if `read` knows its form; else nothing is taken. `read` is handed the text from the field's key
    /// to the end of the object, and says how long the field is.
    pub(super) fn next_known<T>(&mut self, read: impl Fn(&'a str) -> Option<(T, usize)>) -> Option<T> {
        let Inside { within, at, end } = &mut self.0;
        let (known, len) = read(within.text.get(*at..*end)?)?;
        *at += len + 1;
        Some(known)
    }
}

/// Takes a string without escapes from the start of canonical text; and what follows it.
pub(super) fn plain_string(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('"')?;
    let stop = plain_end(inner.as_bytes(), 0, |word| equal(word, b'"') | equal(word, b'\\'));
    let rest = inner.as_bytes().get(stop..)?;
    let end = stop + rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    Some((inner.get(..end)?, inner.get(end..)?.strip_prefix('"')?))
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (Cow<'a, str>, Raw<'a>);
    fn next(&mut self) -> Option<Self::Item> {
        let key = self.0.next()?.as_str()?;
        Some((key, self.0.next()?))
    }
}

/// Items of an array.
#[derive(Debug)]
pub(super) struct Items<'a>(Inside<'a>);

impl<'a> Iterator for Items<'a> {
    type Item = Raw<'a>;
    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    out
}

/// The byte after the string that begins at `at`, in canonical text.
fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    loop {
        at = plain_end(bytes, at, |word| equal(word, b'"') | equal(word, b'\\'));
        match bytes.get(at) {
            Some(b'"') => return at + 1,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
            None => return at,
        }
    }
}

/// The byte after the array or object that begins at `at`, in canonical text.
fn container_end(bytes: &[u8], mut at: usize) -> usize {
    let mut open = 0_usize;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = string_end(bytes, at);
                continue;
            }
            b'{' | b'[' => open += 1,
            b'}' | b']' => open = open.saturating_sub(1),
            _ => {}
        }
        at += 1;
        if open == 0 {
            break;
        }
    }
    at
}

/// Goes on from `at` by eight bytes, as long as `stops` finds none in them; then to the first that it finds, or to
/// the last seven bytes, which are for the caller to look at.
fn plain_end(bytes: &[u8], mut at: usize, stops: impl Fn(u64) -> u64) -> usize {
    while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let found = stops(u64::from_le_bytes(*word));
        if found != 0 {
            return at + usize::try_from(found.trailing_zeros() / 8).unwrap_or_default();
        }
        at += 8;
    }
    at
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The high bit of bytes below `limit`, which is 128 at most. Only the lowest bit that is set is reliable: a borrow
/// may set others above it.
fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(ONES * u64::from(limit)) & !word & HIGH
}

/// The high bit of bytes that are `byte`, reliable as [`below`] is.
fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (ONES * u64::from(byte)), 1)
}

/// Decides whether text is both JSON and its own canonical form. `None` from any of its functions: it is not.
struct Scan<'a> {
    bytes: &'a [u8],
    noted: Vec<(usize, usize)>,
}

impl Scan<'_> {
    /// The byte after the value at `at`, which `depth` containers surround.
    fn value(&mut self, at: usize, depth: usize) -> Option<usize> {
        match self.bytes.get(at)? {
            b'{' => self.container(at, depth + 1, Self::fields),
            b'[' => self.container(at, depth + 1, Self::items),
            b'"' => self.string(at).map(|(end, _)| end),
            b't' => self.literal(at, b"true"),
            b'f' => self.literal(at, b"false"),
            b'n' => self.literal(at, b"null"),
            _ => self.integer(at),
        }
    }

    fn container(
        &mut self,
        at: usize,
        depth: usize,
        content: fn(&mut Self, usize, usize) -> Option<usize>,
    ) -> Option<usize> {
        if depth > MAX_DEPTH {
            return None;
        }
        let end = match self.bytes.get(at..at + 2)? {
            b"{}" | b"[]" => at + 2,
            _ => content(self, at + 1, depth)?,
        };
        if depth <= NOTED_DEPTH && end - at >= NOTED_LEN {
            self.noted.push((at, end));
        }
        Some(end)
    }

    fn items(&mut self, mut at: usize, depth: usize) -> Option<usize> {
        loop {
            at = self.value(at, depth)? + 1;
            match self.bytes.get(at - 1)? {
                b',' => {}
                b']' => return Some(at),
                _ => return None,
            }
        }
    }

    fn fields(&mut self, mut at: usize, depth: usize) -> Option<usize> {
        let mut last: Option<Key<'_>> = None;
        let bytes = self.bytes;
        loop {
            let (end, escapes) = self.string(at)?;
            let key = Key { text: bytes.get(at + 1..end - 1)?, escapes };
            if last.is_some_and(|last| !last.before(&key)) || *bytes.get(end)? != b':' {
                return None;
            }
            last = Some(key);
            at = self.value(end + 1, depth)? + 1;
            match bytes.get(at - 1)? {
                b',' => {}
                b'}' => return Some(at),
                _ => return None,
            }
        }
    }

    /// The byte after the string at `at`, and whether it has escapes.
    fn string(&self, at: usize) -> Option<(usize, bool)> {
        if *self.bytes.get(at)? != b'"' {
            return None;
        }
        let (mut at, mut escapes) = (at + 1, false);
        let stops = |word| equal(word, b'"') | equal(word, b'\\') | below(word, b' ');
        loop {
            at = plain_end(self.bytes, at, stops);
            match self.bytes.get(at)? {
                b'"' => return Some((at + 1, escapes)),
                b'\\' if matches!(self.bytes.get(at + 1)?, b'"' | b'\\') => {
                    escapes = true;
                    at += 2;
                }
                b'\\' | 0..b' ' => return None,
                _ => at += 1,
            }
        }
    }

    fn literal(&self, at: usize, word: &[u8]) -> Option<usize> {
        self.bytes.get(at..)?.starts_with(word).then_some(at + word.len())
    }

    fn integer(&self, at: usize) -> Option<usize> {
        let start = if *self.bytes.get(at)? == b'-' { at + 1 } else { at };
        let digits = self.bytes.get(start..)?.iter().take_while(|b| b.is_ascii_digit()).count();
        let zero = *self.bytes.get(start)? == b'0';
        // No leading zeros, and zero has no sign.
        let fits = digits > 0 && !(zero && (digits > 1 || start > at));
        let end = start + digits;
        (fits && !matches!(self.bytes.get(end), Some(b'.' | b'e' | b'E'))).then_some(end)
    }
}

/// A key as it stands, without its quotes.
#[derive(Clone, Copy)]
struct Key<'a> {
    text: &'a [u8],
    escapes: bool,
}

impl Key<'_> {
    /// Whether this key comes before `other`, by code points.
    fn before(&self, other: &Self) -> bool {
        if !self.escapes && !other.escapes {
            return self.text < other.text;
        }
        self.unescaped().lt(other.unescaped())
    }

    fn unescaped(&self) -> impl Iterator<Item = u8> {
        let mut bytes = self.text.iter().copied();
        std::iter::from_fn(move || match bytes.next()? {
            b'\\' => bytes.next(),
            byte => Some(byte),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition that [`Canonical::read`] must agree with: the tree, and its canonical form.
    fn by_tree(bytes: &[u8]) -> Result<String, JsonError> {
        parse(bytes).map(|tree| tree.canonical_text())
    }

    fn stands(text: &str) -> bool {
        Canonical::as_it_stands(text).is_some()
    }

    /// Reading agrees with the tree in what is accepted, in the error, in the signed bytes and in the content; and no
    /// text is taken as it stands unless it is its own canonical form.
    fn agrees(bytes: &[u8]) {
        let read = Canonical::read(bytes);
        assert_eq!(read.as_ref().map(|read| read.text.to_string()).map_err(Clone::clone), by_tree(bytes));
        if let Ok(text) = std::str::from_utf8(bytes) {
            assert_eq!(stands(text), by_tree(bytes).as_deref() == Ok(text), "{text:?}");
        }
        let Ok(read) = read else { return };
        let tree = parse(bytes).unwrap().into_owned();
        assert_eq!(read.value().tree(), tree);
        assert_eq!(read.value().kind(), tree.kind());
        if let Some(pairs) = read.value().pairs() {
            for (key, value) in pairs {
                let same = tree.get(&key).unwrap();
                assert_eq!(value.text(), same.canonical_text());
                assert_eq!((value.as_str().as_deref(), value.as_u64()), (same.as_str(), same.as_u64()));
            }
        }
    }

    #[test]
    fn hostile_text_reads_as_the_tree_says() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let deep_objects = |levels: usize| format!("{}0{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        let long =
            format!("{{\"a\":[{}],\"b\":{{\"x\":\"{}\"}}}}", vec!["7"; 400].join(","), "é".repeat(400));
        let cases = [
            "",
            " ",
            "{",
            "}",
            "[",
            "]",
            "\"",
            "{}",
            "[]",
            "{]",
            "[}",
            "{},",
            "[1,]",
            "{\"a\":1,}",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{a:1}",
            "[1 ]",
            "[ 1]",
            " 1",
            "1 ",
            "1\n",
            "\u{feff}1",
            "nul",
            "nulll",
            "true",
            "True",
            "-",
            "-0",
            "-1",
            "0",
            "00",
            "01",
            "-01",
            "1.0",
            "1e1",
            "1E1",
            "+1",
            "--1",
            "0x1",
            "1.",
            ".1",
            "123456789012345678901234567890",
            "18446744073709551615",
            "18446744073709551616",
            "NaN",
            r#""\u0061""#,
            r#""\/""#,
            r#""\n""#,
            r#""\"""#,
            r#""\\""#,
            r#""\\"#,
            r#""\"#,
            r#""\x""#,
            r#""\ud800""#,
            "\"\u{1}\"",
            "\"\n\"",
            "\"\u{7f}\"",
            "\"\u{80}é😀\u{ffff}\"",
            "\"a\0b\"",
            "\"unended",
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"b":1,"a":2}"#,
            r#"{"":1,"a":2}"#,
            r#"{"a":1,"":2}"#,
            r#"{"a\\":1,"a\"":2}"#,
            r#"{"a\"":1,"a\\":2}"#,
            r#"{"a!":1,"a\"":2,"a#":3}"#,
            r#"{"a\"":1,"a!":2}"#,
            r#"{"a\\":1,"aA":2}"#,
            r#"{"aA":1,"a\\":2,"a]":3}"#,
            r#"{"a\"b":1,"a\"b":2}"#,
            "{\"é\":1,\"z\":2}",
            "{\"z\":1,\"é\":2,\"\u{ffee}\":3,\"😀\":4}",
            r#"{"a":{"b":[1,{"c":"}"}],"d":"]"}}"#,
            r#"{"a":1 ,"b":2}"#,
            r#"{"a": 1}"#,
            r#"{"signed":{},"signatures":[]}"#,
            "{\"a\":1}{\"b\":2}",
        ];
        for text in cases {
            agrees(text.as_bytes());
        }
        for text in
            [&long, &deep(MAX_DEPTH), &deep(MAX_DEPTH + 1), &deep_objects(MAX_DEPTH), &deep_objects(65)]
        {
            agrees(text.as_bytes());
        }
        agrees("[".repeat(100_000).as_bytes());
        for bytes in [&b"\"\xff\""[..], b"\"\xc3", b"{\"a\":\"\xed\xa0\x80\"}", b"\xc0\x80"] {
            agrees(bytes);
        }
    }

    #[test]
    fn most_files_are_read_as_they_stand() {
        assert!(stands(
            r#"{"signatures":[{"keyid":"a","sig":"b"}],"signed":{"_type":"root","x":[1,-2,null]}}"#
        ));
        assert!(!stands(r#"{"signatures":[{"keyid":"a","sig":"b"}], "signed":{}}"#));
    }

    /// Text that is nearly canonical: tokens in any order, and keys that differ in hard places.
    fn nearly() -> impl Strategy<Value = String> {
        let token = prop_oneof![
            6 => "[{}\\[\\],:]",
            2 => prop_oneof![Just("\"a\":"), Just("\"b\":"), Just("\"a\\\\\":"), Just("\"a\\\"\":"), Just("\"\":")]
                .prop_map(ToOwned::to_owned),
            2 => prop_oneof![Just("1"), Just("-0"), Just("0"), Just("1.5"), Just("null"), Just("true"), Just(" ")]
                .prop_map(ToOwned::to_owned),
            1 => "\"[a\u{0}-\u{20}\\\\\"é]{0,10}\"",
        ];
        prop::collection::vec(token, 0..12).prop_map(|tokens| tokens.concat())
    }

    /// A value whose canonical form is edited in one place.
    fn edited() -> impl Strategy<Value = Vec<u8>> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<i64>().prop_map(|n| Json::Int(n.to_string().into())),
            "[ -~é\u{1}\u{ffee}😀]{0,30}".prop_map(|s| Json::Str(s.into())),
        ];
        let value = leaf.prop_recursive(4, 60, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Json::Array),
                prop::collection::btree_map("[ab\\\\\"!é\u{1}]{0,3}", inner, 0..8).prop_map(Json::object),
            ]
        });
        (value, any::<bool>(), any::<prop::sample::Index>(), prop::option::of(any::<u8>())).prop_map(
            |(value, text, place, byte)| {
                let text = if text { value.to_text() } else { value.canonical_text() };
                let mut bytes = text.into_bytes();
                if let Some(byte) = byte {
                    let place = place.index(bytes.len());
                    bytes[place] = byte;
                }
                bytes
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_read_as_the_tree_says(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            agrees(&bytes);
        }

        #[test]
        fn nearly_canonical_text_reads_as_the_tree_says(text in nearly()) {
            agrees(text.as_bytes());
        }

        #[test]
        fn edited_canonical_text_reads_as_the_tree_says(bytes in edited()) {
            agrees(&bytes);
        }
    }
}
