//! File names of distributions.
//!
//! ```text
//! Flask_SQLAlchemy-3.1.1-1-py3-none-any.whl      project-version[-build]-python-abi-platform.whl
//! zope.interface-5.0.tar.gz                      project-version.tar.gz, or .zip
//! ```
//!
//! The name is the first thing an attacker chooses, so the alphabet is an allow-list: what is no letter,
//! digit or one of `.`, `_`, `-`, `+`, `!` is refused before anything is split.

use std::{collections::BTreeSet, fmt, str::FromStr};

use pep440_rs::Version;

use super::name::{NameError, ProjectName};

/// Longest accepted file name, in bytes: what common file systems allow for one path component.
const MAX_FILENAME_BYTES: usize = 255;

/// Why a file name is no distribution file name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilenameError {
    /// The name is longer than a path component may be.
    #[error("the file name has {found} bytes; expected at most {limit}")]
    TooLong {
        /// Bytes found.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The name holds a character outside the alphabet, such as a path separator or a control character.
    #[error(
        "the file name {filename:?} holds {character:?}; expected ASCII letters, digits, '.', '_', '-', '+' and '!'"
    )]
    Character {
        /// The file name.
        filename: String,
        /// The first character refused.
        character: char,
    },
    /// The extension is not one of a distribution that can be published.
    #[error("the file name is {filename:?}; expected it to end in .whl, .tar.gz or .zip")]
    Extension {
        /// The file name.
        filename: String,
    },
    /// The parts of a wheel's name are too few, too many or empty.
    #[error("the wheel is named {filename:?}; expected project-version[-build]-python-abi-platform.whl")]
    WheelParts {
        /// The file name.
        filename: String,
    },
    /// The build tag of a wheel does not start with a digit.
    #[error("the wheel {filename:?} has the build tag {build:?}; expected it to start with a digit")]
    BuildTag {
        /// The file name.
        filename: String,
        /// The build tag found.
        build: String,
    },
    /// The version is missing or not one of PEP 440.
    #[error("the file name is {filename:?}; expected a PEP 440 version after the project name")]
    Version {
        /// The file name.
        filename: String,
    },
    /// The project name is refused.
    #[error("in the file name {filename:?}: {error}")]
    Name {
        /// The file name.
        filename: String,
        /// Why.
        error: NameError,
    },
}

/// What a distribution is, with the parts of the file name that only its kind has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A wheel (binary distribution format). Tags may be compressed sets such as `py2.py3`.
    Wheel {
        /// The build tag, which starts with a digit.
        build: Option<String>,
        /// The Python tag.
        python: String,
        /// The ABI tag.
        abi: String,
        /// The platform tag.
        platform: String,
    },
    /// A source distribution.
    Sdist(SdistFormat),
}

/// The container of a source distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SdistFormat {
    /// `.tar.gz`, the format of PEP 625.
    TarGz,
    /// `.zip`, which older tools wrote.
    Zip,
}

/// The file name of a distribution, parsed, with the name as it was written.
///
/// Invariants: 1 to 255 bytes of `[A-Za-z0-9._+!-]`, starting with a letter or digit; so it is one safe path
/// component. That the *content* is of this project and version is for [`inspect`](super::inspect) to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DistributionFilename {
    written: String,
    project: ProjectName,
    version: Version,
    kind: Kind,
}

impl DistributionFilename {
    /// The project, normalised.
    pub fn project(&self) -> &ProjectName {
        &self.project
    }

    /// The version.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Wheel or source distribution.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The file name as it was written.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// Whether installers, or file systems that ignore case, take one for the other: the same project, version,
    /// build and tags, or format, in whatever spelling.
    pub fn is_taken_for(&self, other: &Self) -> bool {
        let same_release = self.project == other.project && self.version == other.version;
        self.written.eq_ignore_ascii_case(&other.written)
            || same_release && self.kind.normalised() == other.kind.normalised()
    }
}

impl Kind {
    /// The kind with tags in lower case and in order, and without leading zeros in the build number, which is how
    /// installers compare them.
    fn normalised(&self) -> Self {
        match self {
            Self::Wheel { build, python, abi, platform } => Self::Wheel {
                build: build.as_ref().map(|build| normalised_build(build)),
                python: normalised_tags(python),
                abi: normalised_tags(abi),
                platform: normalised_tags(platform),
            },
            Self::Sdist(format) => Self::Sdist(*format),
        }
    }
}

/// Parses the file name of a wheel or of a source distribution.
///
/// A source distribution of before PEP 625 may have hyphens in its project name; the version is then what
/// follows the last hyphen after which a PEP 440 version stands, so that `my-proj-1.0-beta1.tar.gz` is
/// `my-proj` in version `1.0b1`.
impl FromStr for DistributionFilename {
    type Err = FilenameError;

    fn from_str(filename: &str) -> Result<Self, FilenameError> {
        check_alphabet(filename)?;
        let (project, version, kind) = if let Some(stem) = filename.strip_suffix(".whl") {
            parse_wheel(filename, stem)?
        } else if let Some(stem) = filename.strip_suffix(".tar.gz") {
            parse_sdist(filename, stem, SdistFormat::TarGz)?
        } else if let Some(stem) = filename.strip_suffix(".zip") {
            parse_sdist(filename, stem, SdistFormat::Zip)?
        } else {
            return Err(FilenameError::Extension { filename: filename.to_owned() });
        };
        Ok(Self { written: filename.to_owned(), project, version, kind })
    }
}

impl TryFrom<String> for DistributionFilename {
    type Error = FilenameError;

    fn try_from(filename: String) -> Result<Self, FilenameError> {
        filename.parse()
    }
}

impl fmt::Display for DistributionFilename {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

fn normalised_tags(tags: &str) -> String {
    let tags = tags.to_ascii_lowercase();
    let tags: BTreeSet<&str> = tags.split('.').collect();
    tags.into_iter().collect::<Vec<_>>().join(".")
}

/// A number without leading zeros, and what follows it; a build tag starts with a digit.
fn normalised_build(build: &str) -> String {
    let trimmed = build.trim_start_matches('0');
    let zero = if trimmed.starts_with(|c: char| c.is_ascii_digit()) { "" } else { "0" };
    format!("{zero}{}", trimmed.to_ascii_lowercase())
}

fn check_alphabet(filename: &str) -> Result<(), FilenameError> {
    if filename.len() > MAX_FILENAME_BYTES {
        return Err(FilenameError::TooLong { found: filename.len(), limit: MAX_FILENAME_BYTES });
    }
    let foreign = |c: &char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '_' | '-' | '+' | '!');
    match filename.chars().find(foreign) {
        Some(character) => Err(FilenameError::Character { filename: filename.to_owned(), character }),
        None => Ok(()),
    }
}

/// Whether a name ends as those of wheels and sdists do. Folders and pages have eggs, installers and signatures too.
pub fn has_ending(name: &str) -> bool {
    [".whl", ".tar.gz", ".zip"].iter().any(|ending| name.ends_with(ending))
}

fn parse_wheel(filename: &str, stem: &str) -> Result<(ProjectName, Version, Kind), FilenameError> {
    let parts: Vec<&str> = stem.split('-').collect();
    let (project, version, build, python, abi, platform) = match *parts.as_slice() {
        [project, version, python, abi, platform] => (project, version, None, python, abi, platform),
        [project, version, build, python, abi, platform] => {
            (project, version, Some(build), python, abi, platform)
        }
        _ => return Err(FilenameError::WheelParts { filename: filename.to_owned() }),
    };
    if ![python, abi, platform].into_iter().all(is_tag_set) {
        return Err(FilenameError::WheelParts { filename: filename.to_owned() });
    }
    if let Some(build) = build.filter(|build| !build.starts_with(|c: char| c.is_ascii_digit())) {
        return Err(FilenameError::BuildTag { filename: filename.to_owned(), build: build.to_owned() });
    }
    let kind = Kind::Wheel {
        build: build.map(str::to_owned),
        python: python.to_owned(),
        abi: abi.to_owned(),
        platform: platform.to_owned(),
    };
    Ok((parse_project(filename, project)?, parse_version(filename, version)?, kind))
}

/// A tag, or several joined by dots (PEP 425 "Compressed Tag Sets"), none of them empty.
fn is_tag_set(tags: &str) -> bool {
    tags.split('.')
        .all(|tag| !tag.is_empty() && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
}

fn parse_sdist(
    filename: &str,
    stem: &str,
    format: SdistFormat,
) -> Result<(ProjectName, Version, Kind), FilenameError> {
    let split = stem.rmatch_indices('-').find_map(|(at, _)| {
        let (project, rest) = stem.split_at_checked(at)?;
        let version = rest.strip_prefix('-')?.parse().ok()?;
        Some((project, version))
    });
    let Some((project, version)) = split else {
        return Err(FilenameError::Version { filename: filename.to_owned() });
    };
    Ok((parse_project(filename, project)?, version, Kind::Sdist(format)))
}

fn parse_project(filename: &str, project: &str) -> Result<ProjectName, FilenameError> {
    project.parse().map_err(|error| FilenameError::Name { filename: filename.to_owned(), error })
}

fn parse_version(filename: &str, version: &str) -> Result<Version, FilenameError> {
    version.parse().map_err(|_| FilenameError::Version { filename: filename.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(filename: &str) -> Result<DistributionFilename, FilenameError> {
        filename.parse()
    }

    fn project_and_version(filename: &str) -> (String, String) {
        let parsed = parse(filename).unwrap();
        assert_eq!(parsed.as_str(), filename);
        (parsed.project().to_string(), parsed.version().to_string())
    }

    #[test]
    fn real_wheels_are_parsed() {
        for (filename, project, version) in [
            ("zope.interface-6.0-cp311-cp311-win_amd64.whl", "zope-interface", "6.0"),
            ("Flask_SQLAlchemy-3.1.1-py3-none-any.whl", "flask-sqlalchemy", "3.1.1"),
            ("ruamel.yaml-0.18.6-py3-none-any.whl", "ruamel-yaml", "0.18.6"),
            (
                "torch-2.1.0+cpu.cxx11.abi-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
                "torch",
                "2.1.0+cpu.cxx11.abi",
            ),
            ("epoch-1!2.0rc1.post2.dev3-py2.py3-none-any.whl", "epoch", "1!2.0rc1.post2.dev3"),
        ] {
            assert_eq!(project_and_version(filename), (project.to_owned(), version.to_owned()));
        }
    }

    #[test]
    fn a_build_tag_is_kept() {
        let parsed = parse("foo-1.0-2build-py3-none-any.whl").unwrap();
        assert_eq!(
            *parsed.kind(),
            Kind::Wheel {
                build: Some("2build".to_owned()),
                python: "py3".to_owned(),
                abi: "none".to_owned(),
                platform: "any".to_owned(),
            }
        );
        assert!(matches!(parse("foo-1.0-b2-py3-none-any.whl"), Err(FilenameError::BuildTag { .. })));
        assert!(matches!(parse("foo-1.0--py3-none-any.whl"), Err(FilenameError::BuildTag { .. })));
    }

    #[test]
    fn real_sdists_are_parsed() {
        for (filename, project, version) in [
            ("zope.interface-5.0.tar.gz", "zope-interface", "5.0"),
            ("my-proj-1.0.tar.gz", "my-proj", "1.0"),
            ("my-proj-1.0-beta1.tar.gz", "my-proj", "1.0b1"),
            ("python-dateutil-2.8.2.tar.gz", "python-dateutil", "2.8.2"),
            ("py2-ipaddress-3.4.1.zip", "py2-ipaddress", "3.4.1"),
            ("foo-1.0+local.1.tar.gz", "foo", "1.0+local.1"),
        ] {
            assert_eq!(project_and_version(filename), (project.to_owned(), version.to_owned()));
        }
        assert_eq!(*parse("foo-1.0.zip").unwrap().kind(), Kind::Sdist(SdistFormat::Zip));
    }

    #[test]
    fn hostile_characters_are_refused() {
        for (filename, character) in [
            ("../foo-1.0.tar.gz", '/'),
            ("foo-1.0\\..\\x.tar.gz", '\\'),
            ("foo-1.0\n.tar.gz", '\n'),
            ("foo-1.0.tar.gz\0", '\0'),
            ("foo-1.0 .tar.gz", ' '),
            ("föö-1.0.tar.gz", 'ö'),
            ("foo-1.0\">.tar.gz", '"'),
            ("foo-1.0%2e.tar.gz", '%'),
            ("C:foo-1.0.tar.gz", ':'),
        ] {
            let expected = FilenameError::Character { filename: filename.to_owned(), character };
            assert_eq!(parse(filename), Err(expected));
        }
    }

    #[test]
    fn malformed_names_are_refused() {
        for filename in
            ["foo-1.0-py3-none.whl", "foo-1.0-1-2-py3-none-any.whl", "foo-1.0-py3..py2-none-any.whl"]
        {
            assert_eq!(parse(filename), Err(FilenameError::WheelParts { filename: filename.to_owned() }));
        }
        for filename in ["foo.tar.gz", "foo-bar.tar.gz", "foo-1.0_1-py3-none-any.whl", ".tar.gz", "foo-.zip"]
        {
            assert_eq!(parse(filename), Err(FilenameError::Version { filename: filename.to_owned() }));
        }
        for filename in ["foo-1.0.egg", "foo-1.0.tar.bz2", "foo-1.0.WHL", "", "foo-1.0.whl.asc"] {
            assert_eq!(parse(filename), Err(FilenameError::Extension { filename: filename.to_owned() }));
        }
        for filename in ["-1.0.tar.gz", "..-1.0.tar.gz", "_foo-1.0-py3-none-any.whl"] {
            assert!(matches!(parse(filename), Err(FilenameError::Name { .. })), "{filename}");
        }
        assert!(matches!(
            parse(&format!("f-{}.zip", "1".repeat(250))),
            Err(FilenameError::TooLong { found: 256, .. })
        ));
    }

    #[test]
    fn a_wildcard_or_an_overflowing_version_is_refused() {
        assert!(parse("foo-1.x.tar.gz").is_err());
        assert!(parse("foo-99999999999999999999999.tar.gz").is_err());
    }
}
