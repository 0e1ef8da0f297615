//! Flat objects in canonical ASCII JSON, read forward. What is in another form is refused where it differs.

use super::{LeafError, MAX_INTEGER};
use crate::tlog::text::decimal;

/// Keys of an object, at most; no leaf has more than seven.
const MAX_KEYS: usize = 7;

/// A value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// Below 2^53.
    Integer(u64),
    /// Printable ASCII without `"` and `\`.
    Text(&'a str),
}

/// The fields of a flat object in canonical form, keys rising.
pub(super) fn fields(bytes: &[u8]) -> Result<Vec<(&str, Value<'_>)>, LeafError> {
    let mut scanner = Scanner { bytes, at: 0 };
    let mut fields: Vec<(&str, Value<'_>)> = Vec::with_capacity(MAX_KEYS);
    scanner.byte(b'{', "'{'")?;
    loop {
        let (start, key) = (scanner.at, scanner.text()?);
        if fields.len() == MAX_KEYS || fields.last().is_some_and(|(last, _)| *last >= key) {
            return Err(LeafError::Syntax { at: start, expected: "key that belongs behind the last" });
        }
        scanner.byte(b':', "':'")?;
        fields.push((key, scanner.value()?));
        if scanner.byte(b',', "','").is_err() {
            scanner.byte(b'}', "',' or '}'")?;
            break;
        }
    }
    if scanner.at == bytes.len() { Ok(fields) } else { Err(scanner.expected("end")) }
}

/// Reads forward, without going back.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn expected(&self, expected: &'static str) -> LeafError {
        LeafError::Syntax { at: self.at, expected }
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn byte(&mut self, wanted: u8, expected: &'static str) -> Result<(), LeafError> {
        if self.rest().first() != Some(&wanted) {
            return Err(self.expected(expected));
        }
        self.at += 1;
        Ok(())
    }

    /// The bytes from here on that are all like this.
    fn run(&mut self, like: fn(u8) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.iter().position(|byte| !like(*byte)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).and_then(|run| str::from_utf8(run).ok()).unwrap_or_default()
    }

    fn text(&mut self) -> Result<&'a str, LeafError> {
        self.byte(b'"', "'\"'")?;
        let text = self.run(is_plain_byte);
        self.byte(b'"', "printable ASCII without '\\', and a '\"'")?;
        Ok(text)
    }

    fn value(&mut self) -> Result<Value<'a>, LeafError> {
        if self.rest().first() == Some(&b'"') {
            return self.text().map(Value::Text);
        }
        let start = self.at;
        let digits = self.run(|byte| byte.is_ascii_digit());
        decimal(digits)
            .filter(|number| *number <= MAX_INTEGER)
            .map(Value::Integer)
            .ok_or(LeafError::Syntax { at: start, expected: "text, or integer below 2^53 in its one form" })
    }
}

/// Printable ASCII without `"` and `\`: what JSON writes as it is.
pub(super) fn is_plain_byte(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')
}
