//! Project names.
//!
//! ```text
//! "Zope.Interface" ── PEP 508 grammar ── PEP 503 normalisation ──▶ ProjectName("zope-interface")
//! ```
//!
//! Only the normalised form is kept: it is what paths, pages and comparisons use, so two spellings of one
//! project can never become two projects.

use std::{fmt, str::FromStr};

/// Longest accepted project name, in bytes. No specification gives one; the longest names in public use stay
/// below 80, and a name is a path component, of which file systems allow 255 with the version beside it.
const MAX_NAME_BYTES: usize = 100;

/// Why a project name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name is longer than a project name may be.
    #[error("the project name has {found} bytes; expected at most {limit}")]
    TooLong {
        /// Bytes found.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The name does not match the grammar of PEP 508.
    #[error(
        "the project name is {name:?}; expected ASCII letters, digits, '.', '_' and '-', with a letter or digit first and last"
    )]
    Grammar {
        /// The name as given.
        name: String,
    },
    /// The name is valid, yet not in its normalised form where that form is required.
    #[error("the project name is {name:?}; expected its normalised form \"{normalised}\"")]
    NotNormalised {
        /// The name as given.
        name: String,
        /// The form PEP 503 makes of it.
        normalised: ProjectName,
    },
}

/// The name of a project, normalised.
///
/// Invariants: 1 to 100 bytes of `[a-z0-9-]`; the first and the last byte are alphanumeric; no two hyphens
/// follow each other. So it is a safe path component and needs no escaping in URL, JSON or HTML.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProjectName(String);

impl ProjectName {
    /// Accepts a name only if it is already normalised, as in the path of a project page (PEP 503).
    pub fn from_normalised(name: &str) -> Result<Self, NameError> {
        if name.len() <= MAX_NAME_BYTES && is_normalised(name.as_bytes()) {
            return Ok(Self(name.to_owned()));
        }
        let normalised: Self = name.parse()?;
        if normalised.0 == name {
            Ok(normalised)
        } else {
            Err(NameError::NotNormalised { name: name.to_owned(), normalised })
        }
    }

    /// The normalised name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Lower-case letters and digits, and single hyphens between them.
fn is_normalised(name: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.first().is_some_and(plain)
        && name.last().is_some_and(plain)
        && name.iter().all(|byte| plain(byte) || *byte == b'-')
        && !name.windows(2).any(|pair| pair == b"--")
}

/// Parses a name in any spelling (PEP 508 "Names") and normalises it (PEP 503 "Normalized Names").
impl FromStr for ProjectName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        if name.len() > MAX_NAME_BYTES {
            return Err(NameError::TooLong { found: name.len(), limit: MAX_NAME_BYTES });
        }
        let ends_well = name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.ends_with(|c: char| c.is_ascii_alphanumeric());
        if !ends_well || !name.chars().all(|c| c.is_ascii_alphanumeric() || is_separator(c)) {
            return Err(NameError::Grammar { name: name.to_owned() });
        }
        let words: Vec<&str> = name.split(is_separator).filter(|word| !word.is_empty()).collect();
        Ok(Self(words.join("-").to_ascii_lowercase()))
    }
}

impl fmt::Display for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The characters of which PEP 503 makes one hyphen.
fn is_separator(c: char) -> bool {
    matches!(c, '-' | '_' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_names_are_normalised() {
        for (written, normalised) in [
            ("zope.interface", "zope-interface"),
            ("Flask_SQLAlchemy", "flask-sqlalchemy"),
            ("ruamel.yaml", "ruamel-yaml"),
            ("ruamel.yaml.clib", "ruamel-yaml-clib"),
            ("Foo.-_bar", "foo-bar"),
            ("A", "a"),
            ("3to2", "3to2"),
            ("google-cloud__storage", "google-cloud-storage"),
        ] {
            let name: ProjectName = written.parse().unwrap();
            assert_eq!(name.as_str(), normalised);
            assert_eq!(name.to_string(), normalised);
            assert_eq!(ProjectName::from_normalised(normalised).unwrap(), name);
        }
    }

    #[test]
    fn hostile_names_are_refused() {
        for name in [
            "",
            "-",
            ".",
            "..",
            "_a",
            "a-",
            "a.",
            "a b",
            "a/b",
            "a\\b",
            "../a",
            "a\0",
            "a\n",
            "é",
            "ſ",
            "\u{212a}",
            "a%2f",
            "<script>",
            "a\u{202e}b",
        ] {
            assert_eq!(name.parse::<ProjectName>(), Err(NameError::Grammar { name: name.to_owned() }));
        }
    }

    #[test]
    fn length_is_limited_in_bytes() {
        assert!("a".repeat(100).parse::<ProjectName>().is_ok());
        assert_eq!(
            "a".repeat(101).parse::<ProjectName>(),
            Err(NameError::TooLong { found: 101, limit: 100 })
        );
    }

    #[test]
    fn a_spelling_is_no_normalised_name() {
        let error = ProjectName::from_normalised("Zope.Interface").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the project name is \"Zope.Interface\"; expected its normalised form \"zope-interface\""
        );
    }
}
