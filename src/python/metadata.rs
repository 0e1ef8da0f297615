//! Core metadata: the `METADATA` of a wheel, the `PKG-INFO` of an sdist.
//!
//! The format is that of mail headers, and what installers use to read it is Python's mail parser. So the
//! lines are cut as that parser cuts them, lest the two see different headers:
//!
//! 1. A line ends with LF, CRLF or a lone CR.
//! 2. A line that starts with a space or a tab continues the header before it.
//! 3. The headers end at the first empty line, and also at the first line that is no header at all.
//! 4. Header names are compared without regard to case.
//!
//! Tolerated: unknown headers, any bytes in the body and in headers not used here. Refused: a used header that
//! is repeated, missing or malformed, and a major version this module does not know. Kept without judging:
//! `Requires-Python`, see [`RequiresPython`].

use std::{fmt, str::FromStr};

use pep440_rs::{Version, VersionSpecifiers};

use super::{
    name::{NameError, ProjectName},
    values::{FreeText, ValueError},
};

/// The newest major version of the core metadata known here. The core metadata specification asks tools to
/// fail on a greater one.
const MAX_MAJOR: u32 = 2;

/// Why core metadata was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// More bytes than the caller allows.
    #[error("the core metadata has {found} bytes; expected at most {limit}")]
    TooLong {
        /// Bytes found.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A header that must be there is not.
    #[error("the core metadata has no {header}; expected exactly one")]
    Missing {
        /// The header.
        header: &'static str,
    },
    /// A header of which there may be one occurs again.
    #[error("the core metadata has more than one {header}; expected exactly one")]
    Repeated {
        /// The header.
        header: &'static str,
    },
    /// `Metadata-Version` is not two numbers, or of a major version that is not known.
    #[error("Metadata-Version is {found:?}; expected 1.x or 2.x")]
    MetadataVersion {
        /// The value.
        found: String,
    },
    /// `Version` is no PEP 440 version.
    #[error("Version is {found:?}; expected a PEP 440 version")]
    Version {
        /// The value.
        found: String,
    },
    /// `Name` is no project name.
    #[error("Name is refused: {0}")]
    Name(NameError),
    /// `Requires-Python` cannot be shown on a page.
    #[error("Requires-Python is refused: {0}")]
    RequiresPython(ValueError),
}

/// The version of the core metadata format, 1.x or 2.x.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetadataVersion {
    /// 1 or 2.
    pub major: u32,
    /// Any.
    pub minor: u32,
}

/// `Requires-Python` as written, and whether it is a PEP 440 specifier set.
///
/// Published distributions do have malformed ones (`>=3.6.*`, `>=2.7,<=3`, prose). Refusing them would make
/// existing projects impossible to seal, and dropping them would change what the author said; installers
/// ignore what they cannot parse. So the text is kept, and [`is_valid`](Self::is_valid) lets the caller warn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequiresPython(FreeText);

impl RequiresPython {
    /// The text as written.
    pub fn text(&self) -> &FreeText {
        &self.0
    }

    /// Whether the text is a PEP 440 specifier set.
    pub fn is_valid(&self) -> bool {
        self.0.as_str().parse::<VersionSpecifiers>().is_ok()
    }
}

/// What wheelseal uses of a distribution's core metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreMetadata {
    /// `Metadata-Version`. An sdist's dependencies are to be relied on from 2.2 on only.
    pub metadata_version: MetadataVersion,
    /// `Name`, normalised.
    pub name: ProjectName,
    /// `Version`.
    pub version: Version,
    /// `Requires-Python`; `None` if it is absent or empty.
    pub requires_python: Option<RequiresPython>,
}

impl CoreMetadata {
    /// Parses the bytes of a `METADATA` or `PKG-INFO` file of at most `limit` bytes.
    ///
    /// Not checked: that name and version are those of the file name, see [`inspect`](super::inspect).
    pub fn parse(bytes: &[u8], limit: usize) -> Result<Self, MetadataError> {
        if bytes.len() > limit {
            return Err(MetadataError::TooLong { found: bytes.len(), limit });
        }
        let headers = Headers::parse(bytes);
        let metadata_version = headers.required("Metadata-Version")?.parse()?;
        let name = headers.required("Name")?.parse().map_err(MetadataError::Name)?;
        let version = headers.required("Version")?;
        Ok(Self {
            metadata_version,
            name,
            version: version.parse().map_err(|_| MetadataError::Version { found: version.to_owned() })?,
            requires_python: headers.requires_python()?,
        })
    }
}

impl FromStr for MetadataVersion {
    type Err = MetadataError;

    fn from_str(text: &str) -> Result<Self, MetadataError> {
        let number =
            |text: &str| text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        text.split_once('.')
            .and_then(|(major, minor)| Some(Self { major: number(major)?, minor: number(minor)? }))
            .filter(|version| (1..=MAX_MAJOR).contains(&version.major))
            .ok_or_else(|| MetadataError::MetadataVersion { found: text.to_owned() })
    }
}

impl fmt::Display for MetadataVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The values of `Requires-Dist` in a metadata file of at most `limit` bytes, as they stand there.
pub(super) fn requires_dist(bytes: &[u8], limit: usize) -> Result<Vec<String>, MetadataError> {
    if bytes.len() > limit {
        return Err(MetadataError::TooLong { found: bytes.len(), limit });
    }
    let headers = Headers::parse(bytes).0.into_iter();
    Ok(headers
        .filter(|(name, _)| name.eq_ignore_ascii_case("Requires-Dist"))
        .map(|(_, value)| value)
        .collect())
}

/// The headers in order, continuation lines joined to their header by one space.
struct Headers(Vec<(String, String)>);

impl Headers {
    fn parse(bytes: &[u8]) -> Self {
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in lines(bytes) {
            let text = String::from_utf8_lossy(line);
            if text.starts_with([' ', '\t']) {
                if let Some((_, value)) = headers.last_mut() {
                    value.push(' ');
                    value.push_str(text.trim());
                }
                continue;
            }
            let Some((name, value)) = text.split_once(':').filter(|(name, _)| is_header_name(name)) else {
                break;
            };
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        Self(headers)
    }

    /// The value of a header that may occur once.
    fn single(&self, header: &'static str) -> Result<Option<&str>, MetadataError> {
        let mut values = self.0.iter().filter(|(name, _)| name.eq_ignore_ascii_case(header));
        let first = values.next().map(|(_, value)| value.trim());
        if values.next().is_some() {
            return Err(MetadataError::Repeated { header });
        }
        Ok(first)
    }

    fn required(&self, header: &'static str) -> Result<&str, MetadataError> {
        self.single(header)?.ok_or(MetadataError::Missing { header })
    }

    fn requires_python(&self) -> Result<Option<RequiresPython>, MetadataError> {
        match self.single("Requires-Python")? {
            None | Some("") => Ok(None),
            Some(text) => Ok(Some(RequiresPython(text.parse().map_err(MetadataError::RequiresPython)?))),
        }
    }
}

/// Printable ASCII without space; the colon is already cut off.
fn is_header_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Cuts at LF, CRLF and lone CR.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .flat_map(|line| line.split(|byte| *byte == b'\r'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = "Metadata-Version: 2.1\nName: zope.interface\nVersion: 5.0\n";

    fn parse(text: impl AsRef<[u8]>) -> Result<CoreMetadata, MetadataError> {
        CoreMetadata::parse(text.as_ref(), 10_000)
    }

    #[test]
    fn minimal_metadata_is_parsed() {
        let metadata = parse(MINIMAL).unwrap();
        assert_eq!(metadata.name.as_str(), "zope-interface");
        assert_eq!(metadata.version.to_string(), "5.0");
        assert_eq!(metadata.metadata_version.to_string(), "2.1");
        assert_eq!(metadata.requires_python, None);
    }

    #[test]
    fn line_ends_case_folding_and_continuations_are_tolerated() {
        let text = "metadata-version: 2.1\r\nNAME:foo\rVersion:\t1.0\r\nLicense: a\r\n  Name: not a header\r\n\tmore\r\n\
                    Requires-Python: >=3.8,\r\n  <4\r\nX-Unknown: é\r\n\r\nName: body\r\n";
        let metadata = parse(text).unwrap();
        assert_eq!(metadata.name.as_str(), "foo");
        assert_eq!(metadata.requires_python.unwrap().text().as_str(), ">=3.8, <4");
    }

    #[test]
    fn invalid_utf8_is_tolerated_where_it_is_not_used() {
        let mut bytes = b"Author: \xff\xfe\n".to_vec();
        bytes.extend(MINIMAL.bytes());
        bytes.extend(b"\nbody \xff\xc0\x80\0 end");
        assert!(parse(bytes).is_ok());
        assert!(matches!(
            parse(b"Metadata-Version: 2.1\nName: foo\xff\nVersion: 1\n"),
            Err(MetadataError::Name(NameError::Grammar { .. }))
        ));
    }

    #[test]
    fn the_body_and_what_follows_a_malformed_line_hold_no_headers() {
        let version = Err(MetadataError::Missing { header: "Version" });
        assert_eq!(parse("Metadata-Version: 2.1\nName: foo\n\nVersion: 1\n"), version);
        assert_eq!(parse("Metadata-Version: 2.1\nName: foo\nno colon\nVersion: 1\n"), version);
        assert_eq!(parse("Metadata-Version: 2.1\nName: foo\nVersion : 1\n"), version);
    }

    #[test]
    fn missing_headers_are_refused() {
        for header in ["Metadata-Version", "Name", "Version"] {
            let text: String = MINIMAL
                .split_inclusive('\n')
                .filter(|line| !line.starts_with(&format!("{header}:")))
                .collect();
            assert_eq!(parse(text), Err(MetadataError::Missing { header }));
        }
        assert_eq!(parse(""), Err(MetadataError::Missing { header: "Metadata-Version" }));
    }

    #[test]
    fn repeated_headers_are_refused() {
        for (header, line) in [
            ("Metadata-Version", "metadata-version: 2.1"),
            ("Name", "nAmE: zope.interface"),
            ("Version", "Version: 5.0"),
            ("Requires-Python", "Requires-Python: >3\nRequires-Python: >3"),
        ] {
            assert_eq!(parse(format!("{MINIMAL}{line}\n")), Err(MetadataError::Repeated { header }));
        }
    }

    #[test]
    fn unknown_major_versions_are_refused() {
        for found in ["3.0", "0.1", "2", "2.", "2.x", "+2.1", "", "2.1.1", "4294967296.0"] {
            assert_eq!(
                parse(MINIMAL.replace("2.1", found)),
                Err(MetadataError::MetadataVersion { found: found.to_owned() })
            );
        }
        assert!(parse(MINIMAL.replace("2.1", "1.0")).is_ok());
        assert!(parse(MINIMAL.replace("2.1", "2.99")).is_ok());
    }

    #[test]
    fn a_malformed_requires_python_is_kept_and_marked() {
        let metadata = parse(format!("{MINIMAL}Requires-Python: >=3.6.*, or so\n")).unwrap();
        let requires_python = metadata.requires_python.unwrap();
        assert_eq!(requires_python.text().as_str(), ">=3.6.*, or so");
        assert!(!requires_python.is_valid());
        let metadata = parse(format!("{MINIMAL}Requires-Python: >=3.6, !=3.7.*\n")).unwrap();
        assert!(metadata.requires_python.unwrap().is_valid());
        assert_eq!(parse(format!("{MINIMAL}Requires-Python:\n")).unwrap().requires_python, None);
        assert!(matches!(
            parse(format!("{MINIMAL}Requires-Python: {}\n", ">=3,".repeat(400))),
            Err(MetadataError::RequiresPython(ValueError::Text { found: 1600, .. }))
        ));
    }

    #[test]
    fn size_is_limited() {
        assert_eq!(
            CoreMetadata::parse(MINIMAL.as_bytes(), 10),
            Err(MetadataError::TooLong { found: MINIMAL.len(), limit: 10 })
        );
    }
}
