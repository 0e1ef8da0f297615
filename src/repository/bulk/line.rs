//! One line of a list of files:
//! `path TAB length TAB sha256 [TAB requires-python [TAB yanked [TAB upload-time [TAB core-metadata]]]]`.

use thiserror::Error;

use crate::tlog::leaf::LeafError;
use crate::tuf::json::quoted;
use crate::tuf::path::{MAX_TARGET_PATH, NameError, TargetPath};

/// What every reader of JSON can count to: lengths are below 2^53.
const MAX_LENGTH: u64 = (1 << 53) - 1;

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LineFault {
    /// Too few or too many columns.
    #[error("{found} columns, expected path, length, sha256 and up to four more, with tabs between")]
    Columns {
        /// How many there are.
        found: usize,
    },
    /// Columns that say something of a page, where no page is made.
    #[error("{found} columns, but without pages there is no use for more than 3")]
    NoPage {
        /// How many there are.
        found: usize,
    },
    /// A path that cannot be a target.
    #[error(transparent)]
    Path(#[from] NameError),
    /// A length that is no number, or not written as one.
    #[error("the length is {found:?}, expected digits of a number below 2^53")]
    Length {
        /// What stands there, shortened.
        found: String,
    },
    /// No SHA-256.
    #[error("the SHA-256 is {found:?}, expected 64 lower-case hexadecimal digits")]
    Sha256 {
        /// What stands there, shortened.
        found: String,
    },
    /// Bytes that are no text.
    #[error("it is not UTF-8")]
    NotUtf8,
    /// A folder that is another project's, or nothing that is known.
    #[error("{found:?} is no folder for a file of {project}: expected {project}/, packages/… or none")]
    Folder {
        /// The project that the file name says.
        project: String,
        /// The folder.
        found: String,
    },
    /// A path that the repository's transparency log has no leaf for.
    #[error("{found} cannot be logged: {error}")]
    Unlogged {
        /// The path.
        found: String,
        /// Why.
        error: LeafError,
    },
    /// A column of the page that does not read, or a name that is no distribution's.
    #[error("{what}: {reason}")]
    Page {
        /// The column.
        what: &'static str,
        /// Why.
        reason: String,
    },
}

impl LineFault {
    /// A column that does not read, and why.
    pub(super) fn page(what: &'static str, reason: &impl ToString) -> Self {
        Self::Page { what, reason: reason.to_string() }
    }
}

/// Whether a file is yanked (PEP 592).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Yank<'a> {
    /// No.
    No,
    /// Yes, without saying why.
    Yes,
    /// Yes, because of this.
    Because(&'a str),
}

/// The columns of a line; the first three are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// A target path.
    pub(super) path: &'a str,
    /// In bytes, below 2^53.
    pub(super) length: u64,
    /// 64 lower-case hexadecimal digits.
    pub(super) sha256: &'a str,
    /// `Requires-Python`, not empty, not checked.
    pub(super) requires_python: Option<&'a str>,
    /// Whether it is yanked; the reason is not checked.
    pub(super) yanked: Yank<'a>,
    /// When it was uploaded, not empty, not checked.
    pub(super) upload_time: Option<&'a str>,
    /// Its metadata file (PEP 658), not empty, not checked: see [`CoreMetadata`].
    pub(super) core_metadata: Option<&'a str>,
    /// Whether there are more than the first three columns, empty or not.
    pub(super) more: bool,
}

impl<'a> Line<'a> {
    /// Takes a line apart and checks path, length and hash.
    pub(super) fn parse(line: &'a str) -> Result<Self, LineFault> {
        let mut columns = line.split('\t');
        let (path, length, sha256) = (columns.next(), columns.next(), columns.next());
        let (Some(path), Some(length), Some(sha256)) = (path, length, sha256) else {
            return Err(LineFault::Columns { found: line.split('\t').count() });
        };
        let more = [columns.next(), columns.next(), columns.next(), columns.next()];
        let [requires_python, yanked, upload_time, core_metadata] =
            more.map(|text| text.filter(|text| !text.is_empty()));
        let more = more.iter().any(Option::is_some);
        if more && columns.next().is_some() {
            return Err(LineFault::Columns { found: line.split('\t').count() });
        }
        check_path(path)?;
        let length = parse_length(length).ok_or_else(|| LineFault::Length { found: quoted(length) })?;
        if !is_sha256(sha256) {
            return Err(LineFault::Sha256 { found: quoted(sha256) });
        }
        let yanked = match yanked {
            None | Some("false") => Yank::No,
            Some("true") => Yank::Yes,
            Some(reason) => Yank::Because(reason),
        };
        Ok(Self { path, length, sha256, requires_python, yanked, upload_time, core_metadata, more })
    }

    /// The same where no page is made: three columns.
    pub(super) fn parse_bare(line: &'a str) -> Result<Self, LineFault> {
        if let Some(parsed) = Self::plain(line) {
            return Ok(parsed);
        }
        let parsed = Self::parse(line)?;
        if parsed.more {
            return Err(LineFault::NoPage { found: line.split('\t').count() });
        }
        Ok(parsed)
    }
}

/// The file that PEP 658 puts beside a distribution: `sha256`, or `sha256:length`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CoreMetadata<'a> {
    /// 64 lower-case hexadecimal digits.
    pub(super) sha256: &'a str,
    /// In bytes, below 2^53, if it is known: only then it can be a target.
    pub(super) length: Option<u64>,
}

impl<'a> CoreMetadata<'a> {
    /// Reads the column.
    pub(super) fn parse(text: &'a str) -> Result<Self, LineFault> {
        let (sha256, length) = match text.split_once(':') {
            Some((sha256, length)) => (sha256, Some(length)),
            None => (text, None),
        };
        if !is_sha256(sha256) {
            return Err(LineFault::Sha256 { found: quoted(sha256) });
        }
        let parsed = |text| parse_length(text).ok_or_else(|| LineFault::Length { found: quoted(text) });
        Ok(Self { sha256, length: length.map(parsed).transpose()? })
    }
}

/// Digits of a SHA-256.
const SHA256_DIGITS: usize = 64;

impl<'a> Line<'a> {
    /// A line of three columns in which nothing is odd, as nearly all are, found from its end: there, all columns but
    /// the first are short or of known length. All others are for [`Self::parse`].
    fn plain(line: &'a str) -> Option<Self> {
        let (rest, sha256) = line.split_at_checked(line.len().checked_sub(SHA256_DIGITS)?)?;
        let rest = rest.strip_suffix('\t')?;
        let tab = rest.bytes().rposition(|byte| byte == b'\t')?;
        let (path, length) = (rest.get(..tab)?, rest.get(tab + 1..)?);
        let length = parse_length(length).filter(|_| is_plain_path(path) && is_sha256(sha256))?;
        Some(Self {
            path,
            length,
            sha256,
            requires_python: None,
            yanked: Yank::No,
            upload_time: None,
            core_metadata: None,
            more: false,
        })
    }
}

/// Whether a path certainly is a [`TargetPath`]: of printable ASCII, and without what could be an empty segment or one
/// of dots. Without a branch for each byte, so that the compiler can look at many at once.
fn is_plain_path(path: &str) -> bool {
    let bytes = path.as_bytes();
    let odd = |byte: u8| !(b' '..=b'~').contains(&byte) || byte == b'\\';
    let split = |(a, b): (&u8, &u8)| *a == b'/' && matches!(b, b'/' | b'.');
    let odd = bytes.iter().fold(0_u8, |found, byte| found | u8::from(odd(*byte))) != 0;
    let pairs = bytes.iter().zip(bytes.iter().skip(1));
    let split = pairs.fold(0_u8, |found, pair| found | u8::from(split(pair))) != 0;
    let ends = matches!(bytes, [b'/' | b'.', ..] | [.., b'/']);
    !odd && !split && !ends && (1..=MAX_TARGET_PATH).contains(&bytes.len())
}

/// What [`TargetPath`] demands, quickly for plain ASCII, which nearly all paths are.
pub(super) fn check_path(path: &str) -> Result<(), NameError> {
    if is_plain_path(path) { Ok(()) } else { TargetPath::new(path).map(drop) }
}

/// Digits as they are written again: no sign, no leading zeros.
fn parse_length(text: &str) -> Option<u64> {
    if text.len() > 16 || (text.len() > 1 && text.starts_with('0')) || text.starts_with('+') {
        return None;
    }
    text.parse().ok().filter(|length| *length <= MAX_LENGTH)
}

/// Without a branch for each byte, so that the compiler can look at many at once.
fn is_sha256(text: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() | (b'a'..=b'f').contains(&byte);
    text.len() == SHA256_DIGITS && text.bytes().fold(0_u8, |bad, byte| bad | u8::from(!digit(byte))) == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHA256: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    #[test]
    fn a_line_has_three_to_seven_columns() {
        let line = format!("a/b.whl\t7\t{SHA256}");
        let parsed = Line::parse(&line).unwrap();
        assert_eq!((parsed.path, parsed.length, parsed.sha256), ("a/b.whl", 7, SHA256));
        assert_eq!((parsed.requires_python, parsed.yanked, parsed.upload_time), (None, Yank::No, None));
        let all = format!("{line}\t>=3.9\tbroken\t2026-01-02T03:04:05Z\t{SHA256}:9");
        let parsed = Line::parse(&all).unwrap();
        assert_eq!(parsed.requires_python, Some(">=3.9"));
        assert_eq!(parsed.yanked, Yank::Because("broken"));
        assert_eq!(parsed.upload_time, Some("2026-01-02T03:04:05Z"));
        let of = |text| CoreMetadata::parse(text);
        let core = CoreMetadata { sha256: SHA256, length: Some(9) };
        assert_eq!(of(parsed.core_metadata.unwrap()), Ok(core));
        assert_eq!(of(SHA256), Ok(CoreMetadata { length: None, ..core }));
        for odd in ["x", &format!("{SHA256}:"), &format!("{SHA256}:-1"), &format!(":{SHA256}")] {
            assert!(of(odd).is_err(), "{odd}");
        }
        for (column, yanked) in [("", Yank::No), ("false", Yank::No), ("true", Yank::Yes)] {
            assert_eq!(Line::parse(&format!("{line}\t\t{column}")).unwrap().yanked, yanked);
        }
        assert_eq!(Line::parse_bare(&line).unwrap(), Line::parse(&line).unwrap());
        assert_eq!(Line::parse_bare(&all), Err(LineFault::NoPage { found: 7 }));
    }

    #[test]
    fn each_wrong_column_is_named() {
        let length = |found: &str| LineFault::Length { found: found.to_owned() };
        let sha256 = |found: &str| LineFault::Sha256 { found: quoted(found) };
        let upper = SHA256.to_uppercase();
        let long = format!("{SHA256}0");
        let cases = [
            (String::new(), LineFault::Columns { found: 1 }),
            ("a\t7".to_owned(), LineFault::Columns { found: 2 }),
            (format!("a\t7\t{SHA256}\t\t\t\t\t"), LineFault::Columns { found: 8 }),
            (format!("a\t\t{SHA256}"), length("")),
            (format!("a\t-7\t{SHA256}"), length("-7")),
            (format!("a\t+7\t{SHA256}"), length("+7")),
            (format!("a\t07\t{SHA256}"), length("07")),
            (format!("a\t7.0\t{SHA256}"), length("7.0")),
            (format!("a\t9007199254740992\t{SHA256}"), length("9007199254740992")),
            (format!("a\t99999999999999999999999\t{SHA256}"), length("99999999999999999999999")),
            ("a\t7\t".to_owned(), sha256("")),
            (format!("a\t7\t{upper}"), sha256(&upper)),
            (format!("a\t7\t{long}"), sha256(&long)),
            (format!("a\t7\t {}", &SHA256[1..]), sha256(&format!(" {}", &SHA256[1..]))),
        ];
        for (line, fault) in cases {
            assert_eq!(Line::parse(&line), Err(fault), "{line:?}");
        }
        assert_eq!(Line::parse(&format!("a\t9007199254740991\t{SHA256}")).unwrap().length, MAX_LENGTH);
        for path in ["", "/a", "../a", "a//b", "a/", "a\\b", "a\u{7f}", "a\u{85}"] {
            let refused = Line::parse(&format!("{path}\t7\t{SHA256}")).map(drop);
            assert_eq!(refused, Err(LineFault::Path(TargetPath::new(path).unwrap_err())), "{path:?}");
        }
    }

    proptest! {
        #[test]
        fn a_path_is_judged_as_a_target_path_is(path in "[a./~ é\\\\\u{1}\u{7f}\u{85}]{0,9}|[a-z/]{780,820}") {
            prop_assert_eq!(check_path(&path), TargetPath::new(path.as_str()).map(drop));
        }

        #[test]
        fn a_plain_line_is_what_taking_it_apart_gives(
            path in "[a./\t\\\\é]{0,5}",
            length in "-?[0-9]{0,3}|90071992547409(91|92)|\t",
            sha256 in "[0-9a-f]{64}|[0-9a-f]{63}[A-Fé\t\r]|[0-9a-f]{63,66}|",
            more in "|\t|\t[0-9a-f]{64}",
        ) {
            let line = format!("{path}\t{length}\t{sha256}{more}");
            if let Some(plain) = Line::plain(&line) {
                prop_assert_eq!(Line::parse(&line), Ok(plain));
            }
            let usual = format!("{path}/b\t7\t{SHA256}");
            prop_assert_eq!(Line::plain(&usual).is_some(), is_plain_path(&format!("{path}/b")));
        }
    }
}
