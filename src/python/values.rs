//! Small values of a project page, valid by construction, so that pages can be written without an error case.

use std::{fmt, str::FromStr};

use super::filename::DistributionFilename;

/// Hex digits of a SHA-256 digest: two for each of its 32 bytes.
const SHA256_HEX_DIGITS: usize = 64;

/// Longest accepted file URL, in bytes: what common HTTP servers take in a request line is 8,000; a file name
/// is at most 255, and the rest is the operator's prefix.
const MAX_URL_BYTES: usize = 2048;

/// Longest accepted free text, in bytes: a yank reason is a sentence, a specifier set a line. A page repeats it
/// for every file.
const MAX_TEXT_BYTES: usize = 1024;

/// Digits of a fraction of a second (PEP 700: at most microseconds).
const MAX_FRACTION_DIGITS: usize = 6;

/// Why a value of a page was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not a SHA-256 digest in lower-case hexadecimal.
    #[error("the SHA-256 digest is {found:?}; expected 64 lower-case hexadecimal digits")]
    Sha256 {
        /// The text found.
        found: String,
    },
    /// Not a URL a page may link to.
    #[error(
        "the file URL is {found:?}; expected a relative reference or http(s), 1 to {MAX_URL_BYTES} bytes of URL characters without a fragment"
    )]
    Url {
        /// The text found.
        found: String,
    },
    /// Not a time in the form of PEP 700.
    #[error("the upload time is {found:?}; expected yyyy-mm-ddThh:mm:ss[.ffffff]Z")]
    UploadTime {
        /// The text found.
        found: String,
    },
    /// Empty, too long or with control characters.
    #[error("the text has {found} bytes; expected 1 to {limit} without control characters")]
    Text {
        /// Bytes found.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
}

/// A SHA-256 digest in lower-case hexadecimal (PEP 691 `hashes`). Invariant: 64 bytes of `[0-9a-f]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct Sha256Hex(String);

/// Where a file is fetched from (PEP 503, PEP 691): absolute http(s) or relative to the page.
///
/// Invariants: 1 to 2048 bytes of the URL characters of RFC 3986, no `#` (a page appends the digest as the
/// fragment), no scheme other than http and https. Not checked: that the last component is the file name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct FileUrl(String);

/// When a file was uploaded (PEP 700): `yyyy-mm-ddThh:mm:ss[.ffffff]Z`.
///
/// Checked are the shape and the range of each field; not, whether the month has that day.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct UploadTime(String);

/// One line of text for people: the reason of a yank or of a status; also `Requires-Python` as written.
/// Invariant: 1 to 1024 bytes, no control characters. It may hold markup: escape it where that matters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct FreeText(String);

impl FromStr for Sha256Hex {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() == SHA256_HEX_DIGITS && text.bytes().all(hex) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ValueError::Sha256 { found: text.to_owned() })
        }
    }
}

impl FromStr for FileUrl {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let url_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?[]@!$&'()*+,;=%".contains(&byte);
        let first_segment = text.split('/').next().unwrap_or_default();
        let web = ["https://", "http://"].into_iter().any(|scheme| text.starts_with(scheme));
        let fits = (1..=MAX_URL_BYTES).contains(&text.len());
        if fits && text.bytes().all(url_byte) && (web || !first_segment.contains(':')) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ValueError::Url { found: text.to_owned() })
        }
    }
}

impl FromStr for UploadTime {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if is_upload_time(text).unwrap_or(false) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ValueError::UploadTime { found: text.to_owned() })
        }
    }
}

impl FromStr for FreeText {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if (1..=MAX_TEXT_BYTES).contains(&text.len()) && !text.contains(char::is_control) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ValueError::Text { found: text.len(), limit: MAX_TEXT_BYTES })
        }
    }
}

impl Sha256Hex {
    /// The digits of a digest.
    pub fn of(digest: &[u8; 32]) -> Self {
        Self(hex::encode(digest))
    }

    /// The 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FileUrl {
    /// Where a file is from its project's page, in an index that keeps files in `targets/` beside `simple/`. Of what a file
    /// name may hold, two characters are quoted in a URL.
    pub fn below(file: &DistributionFilename) -> Self {
        let name = file.as_str().replace('+', "%2B").replace('!', "%21");
        Self(format!("../../targets/{}/{name}", file.project()))
    }

    /// The URL, without a fragment.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl UploadTime {
    /// The time as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FreeText {
    /// The text, unescaped.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Sha256Hex {
    type Error = ValueError;

    fn try_from(text: String) -> Result<Self, ValueError> {
        text.parse()
    }
}

impl TryFrom<String> for FileUrl {
    type Error = ValueError;

    fn try_from(text: String) -> Result<Self, ValueError> {
        text.parse()
    }
}

impl TryFrom<String> for UploadTime {
    type Error = ValueError;

    fn try_from(text: String) -> Result<Self, ValueError> {
        text.parse()
    }
}

impl TryFrom<String> for FreeText {
    type Error = ValueError;

    fn try_from(text: String) -> Result<Self, ValueError> {
        text.parse()
    }
}

impl fmt::Display for Sha256Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `text` has the form of PEP 700; `None` if it is too short or a separator is amiss.
fn is_upload_time(text: &str) -> Option<bool> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let between = |text: &str, width: usize, least: u16, most: u16| {
        text.len() == width
            && digits(text)
            && text.parse().is_ok_and(|number: u16| (least..=most).contains(&number))
    };
    let (year, month_day) = date.split_once('-')?;
    let (month, day) = month_day.split_once('-')?;
    let (hour, minute_second) = time.split_once(':')?;
    let (minute, second) = minute_second.split_once(':')?;
    Some(
        between(year, 4, 1, 9999)
            && between(month, 2, 1, 12)
            && between(day, 2, 1, 31)
            && between(hour, 2, 0, 23)
            && between(minute, 2, 0, 59)
            && between(second, 2, 0, 60)
            && (1..=MAX_FRACTION_DIGITS).contains(&fraction.len())
            && digits(fraction),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_64_lower_case_digits() {
        assert!("0f".repeat(32).parse::<Sha256Hex>().is_ok());
        for bad in ["0F".repeat(32), "0f".repeat(31), "0f".repeat(33), "0g".repeat(32), String::new()] {
            assert_eq!(bad.parse::<Sha256Hex>(), Err(ValueError::Sha256 { found: bad }));
        }
    }

    #[test]
    fn a_url_is_relative_or_http() {
        for good in [
            "../../files/foo-1.0.tar.gz",
            "https://index.example/f/foo-1.0%2Bcpu.whl?x=1",
            "http://[::1]:8000/a",
            "/a:b",
        ] {
            assert!(good.parse::<FileUrl>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "javascript:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "a b",
            "a#b",
            "a\"b",
            "a\nb",
            "é",
            "<",
            "HTTPS:x",
        ] {
            assert_eq!(bad.parse::<FileUrl>(), Err(ValueError::Url { found: bad.to_owned() }));
        }
        assert!("a".repeat(2049).parse::<FileUrl>().is_err());
    }

    #[test]
    fn an_upload_time_is_utc_in_the_form_of_pep_700() {
        for good in ["2024-02-29T12:34:56Z", "2024-02-29T12:34:56.1Z", "2024-12-31T23:59:60.123456Z"] {
            assert!(good.parse::<UploadTime>().is_ok(), "{good}");
        }
        for bad in [
            "2024-02-29T12:34:56",
            "2024-02-29T12:34:56+00:00",
            "2024-02-29 12:34:56Z",
            "2024-13-01T00:00:00Z",
            "2024-01-32T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-1-01T00:00:00Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00.1234567Z",
            "+024-01-01T00:00:00Z",
            "2024-01-01T00:00:+1Z",
            "",
            "Z",
            "T",
        ] {
            assert_eq!(bad.parse::<UploadTime>(), Err(ValueError::UploadTime { found: bad.to_owned() }));
        }
    }

    #[test]
    fn free_text_is_one_bounded_line() {
        assert!("broken: \"><script>".parse::<FreeText>().is_ok());
        assert_eq!("".parse::<FreeText>(), Err(ValueError::Text { found: 0, limit: 1024 }));
        assert_eq!("a\nb".parse::<FreeText>(), Err(ValueError::Text { found: 3, limit: 1024 }));
        assert!("é".repeat(512).parse::<FreeText>().is_ok());
        assert!("é".repeat(513).parse::<FreeText>().is_err());
    }
}
