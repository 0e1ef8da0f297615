//! The fields of events. Each has a type that holds its few shapes and nothing else: there is no field for free text.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, DurationRound, NaiveDate, NaiveDateTime, TimeDelta, Utc};

use crate::python::{DistributionFilename, ProjectName};

/// Characters of a city's name, at most: the longest in use have under 60.
const MAX_CITY: usize = 64;
/// Hexadecimal digits of an account's name: what `token create` makes.
const ACCOUNT_DIGITS: usize = 16;
/// Hexadecimal digits of a key's name.
const KEY_DIGITS: usize = 8;
/// Bytes of a keyed hash that are kept: two addresses never share 128 bits.
const HASH_BYTES: usize = 16;
/// How a minute is written.
const MINUTE: &str = "%Y-%m-%dT%H:%MZ";

/// A value that has not the shape of its field. What was found is not repeated: it may be anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no {what}: expected {expected}")]
pub struct ValueError {
    /// The field.
    pub what: &'static str,
    /// Its shape.
    pub expected: &'static str,
}

/// A time, to the minute. That is enough to see a burst and to find an upload again; seconds would only help to match
/// an event with what others have written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Minute(DateTime<Utc>);

impl Minute {
    /// The minute that a time is in.
    pub fn of(time: DateTime<Utc>) -> Self {
        Self(time.duration_trunc(TimeDelta::minutes(1)).unwrap_or(time))
    }

    /// Its beginning.
    pub fn time(self) -> DateTime<Utc> {
        self.0
    }

    /// Its day, in UTC.
    pub fn day(self) -> NaiveDate {
        self.0.date_naive()
    }
}

impl fmt::Display for Minute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.format(MINUTE).fmt(f)
    }
}

impl FromStr for Minute {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let time = NaiveDateTime::parse_from_str(text, MINUTE).ok().map(|time| Self(time.and_utc()));
        time.filter(|time| time.to_string() == text)
            .ok_or(ValueError { what: "time", expected: "a minute such as 2030-01-31T23:59Z" })
    }
}

/// An account: the name that the file of tokens has for a token. Never a person's name or address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account(String);

impl FromStr for Account {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let shape =
            ValueError { what: "account", expected: "16 hexadecimal digits, as `token list` has them" };
        if is_hex(text, ACCOUNT_DIGITS) { Ok(Self(text.to_owned())) } else { Err(shape) }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a key: random digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

impl KeyName {
    pub(super) fn new(random: [u8; KEY_DIGITS / 2]) -> Self {
        Self(hex::encode(random))
    }
}

impl FromStr for KeyName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let shape = ValueError { what: "name of a key", expected: "8 hexadecimal digits" };
        if is_hex(text, KEY_DIGITS) { Ok(Self(text.to_owned())) } else { Err(shape) }
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A keyed hash of an address, as `KEY:HASH`. Without the key it says nothing, for there is nothing to try it with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressHash {
    key: KeyName,
    hash: [u8; HASH_BYTES],
}

impl AddressHash {
    pub(super) fn new(key: KeyName, code: [u8; 32]) -> Self {
        let mut hash = [0; HASH_BYTES];
        hash.iter_mut().zip(code).for_each(|(kept, byte)| *kept = byte);
        Self { key, hash }
    }

    /// The key that made it.
    pub fn key(&self) -> &KeyName {
        &self.key
    }
}

impl FromStr for AddressHash {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let shape =
            ValueError { what: "hash of an address", expected: "8 digits, a colon, 32 digits (hexadecimal)" };
        let (key, digits) = text.split_once(':').ok_or(shape)?;
        let mut hash = [0; HASH_BYTES];
        if !is_hex(digits, 2 * HASH_BYTES) || hex::decode_to_slice(digits, &mut hash).is_err() {
            return Err(shape);
        }
        Ok(Self { key: key.parse().map_err(|_| shape)?, hash })
    }
}

impl fmt::Display for AddressHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.key, hex::encode(self.hash))
    }
}

/// A country: two capital letters (ISO 3166-1). Whether there is such a country is not checked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country(String);

impl Country {
    /// The two letters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Country {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let fits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase());
        let shape = ValueError { what: "country", expected: "two letters A-Z" };
        if fits { Ok(Self(text.to_owned())) } else { Err(shape) }
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A city: letters, and single spaces and `-'.` between them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct City(String);

impl FromStr for City {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let letters = |c: char| c.is_alphabetic() || " -'’.".contains(c);
        let fits = text.starts_with(char::is_alphabetic)
            && text.chars().count() <= MAX_CITY
            && text.chars().all(letters)
            && !text.ends_with(' ')
            && !text.contains("  ");
        let shape = ValueError { what: "city", expected: "letters, 64 at most" };
        if fits { Ok(Self(text.to_owned())) } else { Err(shape) }
    }
}

impl fmt::Display for City {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a published file, and its project.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName {
    name: String,
    project: ProjectName,
}

impl FileName {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The project.
    pub fn project(&self) -> &ProjectName {
        &self.project
    }
}

impl From<&DistributionFilename> for FileName {
    fn from(name: &DistributionFilename) -> Self {
        Self { name: name.as_str().to_owned(), project: name.project().clone() }
    }
}

impl FromStr for FileName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let shape = ValueError { what: "file name", expected: "that of a wheel or sdist" };
        DistributionFilename::from_str(text).map(|name| Self::from(&name)).map_err(|_| shape)
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// SHA-256 of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl FromStr for Digest {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let mut digest = [0; 32];
        let fits = is_hex(text, 64) && hex::decode_to_slice(text, &mut digest).is_ok();
        let shape = ValueError { what: "SHA-256", expected: "64 hexadecimal digits" };
        if fits { Ok(Self(digest)) } else { Err(shape) }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<T: FromStr>(texts: &[&str]) {
        for text in texts {
            assert!(text.parse::<T>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_addresses_and_words_of_people_have_no_shape_here() {
        let people =
            ["", "jane@example.org", "Jane Doe <jane@example.org>", "203.0.113.7", "2001:db8::1", "a\nb"];
        refused::<Account>(&people);
        refused::<AddressHash>(&people);
        refused::<Country>(&people);
        refused::<City>(&people);
        refused::<FileName>(&people);
        refused::<Digest>(&people);
        refused::<Minute>(&people);
        refused::<KeyName>(&people);
        refused::<Country>(&["de", "DEU", "D1", "T1", "ÄÖ"]);
        refused::<City>(&["12", "Ber lin ", "A  B", "x@y", "a/b", "<b>", &"a".repeat(65)]);
        refused::<Minute>(&[
            "2030-01-01T00:00:00Z",
            "2030-1-1T0:0Z",
            "2030-01-01T00:00",
            "2030-02-30T00:00Z",
        ]);
    }

    #[test]
    fn what_fits_is_written_as_it_was_read() {
        for city in ["Berlin", "São Paulo", "L'Aquila", "St. John’s", "東京"] {
            assert_eq!(city.parse::<City>().unwrap().to_string(), city);
        }
        for minute in ["2030-01-31T23:59Z", "1999-12-31T00:00Z"] {
            assert_eq!(minute.parse::<Minute>().unwrap().to_string(), minute);
        }
        let hash = format!("0123abcd:{}", "0f".repeat(16));
        assert_eq!(hash.parse::<AddressHash>().unwrap().to_string(), hash);
        let late = Minute::of("2030-01-01T10:20:59.9Z".parse().unwrap());
        assert_eq!(late.to_string(), "2030-01-01T10:20Z");
    }
}
