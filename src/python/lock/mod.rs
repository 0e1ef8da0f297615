//! Lock files, as far as an index can answer for them: which files of which versions they pin, by which hashes.
//!
//! | file | format | specification or source |
//! |---|---|---|
//! | `requirements` | requirements with `--hash` | pip's documentation of the requirements file format |
//! | `pylock` | `pylock.toml` | PEP 751 |
//! | `uv` | `uv.lock`, version 1 | what uv writes |
//! | `files` | `poetry.lock` 1 and 2, `pdm.lock` 4 | what Poetry and PDM write |
//! | `pipfile` | `Pipfile.lock`, specification 6 | what Pipenv writes |
//! | `judge` | a lock against signed project pages, and against another lock | |
//!
//! Rules:
//! 1. A lock is not trusted: names, versions and file names are parsed into their types, or the lock is refused.
//! 2. What does not come from an index is kept and named, never dropped: an unnoticed package is an unchecked one.
//! 3. Markers are carried along for `lock export`; they are never evaluated.

mod files;
mod judge;
mod pipfile;
mod pylock;
mod requirements;
mod uv;

use std::collections::BTreeMap;
use std::str::FromStr;

use pep440_rs::Version;

pub use self::judge::{
    Change, Difference, Judged, Verdict, differences, judge, signed_entries, signed_files, watch,
};
pub use self::requirements::wishes;
use super::{DistributionFilename, ProjectName};

/// Bytes of a lock file, at most. Real ones of large projects have a few megabytes.
pub const MAX_LOCK: u64 = 32 * 1024 * 1024;

/// Packages in a lock, at most.
const MAX_PACKAGES: usize = 50_000;

/// The only digest that project pages of a repository sign.
const SHA256: &str = "sha256";

/// Why a lock file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// The file name says nothing about the format.
    #[error("{0:?} is not named like a lock file: {KNOWN}")]
    Unknown(String),
    /// Not UTF-8, not TOML, not JSON, or without what the format demands.
    #[error("not {format}: {reason}")]
    Form {
        /// The format.
        format: Format,
        /// What the parser says.
        reason: String,
    },
    /// A version of the format that is not known.
    #[error("{format} of version {found}; expected {expected}")]
    Version {
        /// The format.
        format: Format,
        /// What it says.
        found: String,
        /// What is known.
        expected: &'static str,
    },
    /// A name, version or file name that cannot be one.
    #[error("{format}: {package}: {reason}")]
    Package {
        /// The format.
        format: Format,
        /// What the lock calls it.
        package: String,
        /// What is wrong.
        reason: String,
    },
    /// More packages than any project has.
    #[error("the lock has {found} packages, at most {MAX_PACKAGES} are read")]
    TooMany {
        /// Packages found.
        found: usize,
    },
}

/// File names that are known.
const KNOWN: &str = "expected uv.lock, pylock.toml, pylock.NAME.toml, poetry.lock, pdm.lock, Pipfile.lock or a .txt with requirements";

/// A format of lock files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Requirements with hashes.
    Requirements,
    /// PEP 751.
    Pylock,
    /// `uv.lock`.
    Uv,
    /// `poetry.lock`.
    Poetry,
    /// `pdm.lock`.
    Pdm,
    /// `Pipfile.lock`.
    Pipfile,
}

/// What a lock pins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// Its format.
    pub format: Format,
    /// Its packages, in its order.
    pub packages: Vec<Locked>,
}

/// One package of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// Its project.
    pub project: ProjectName,
    /// The version; none where the lock leaves it open.
    pub version: Option<Version>,
    /// Where it comes from.
    pub origin: Origin,
    /// When it is wanted (PEP 508); none: always.
    pub marker: Option<String>,
    /// The files that may be installed. Not empty for what comes from an index, or there is nothing to hold it to.
    pub artifacts: Vec<Artifact>,
}

/// Where a package comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// An index.
    Index,
    /// The project itself, or a folder beside it.
    Local,
    /// A URL or a version control system, as the lock names it.
    Elsewhere(String),
}

/// One file that may be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Its name; none where the lock gives bare hashes.
    pub filename: Option<DistributionFilename>,
    /// Bytes, if the lock says so.
    pub size: Option<u64>,
    /// Digests in lower-case hexadecimal, by the name of the algorithm.
    pub hashes: BTreeMap<String, String>,
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Requirements => "requirements",
            Self::Pylock => "pylock.toml",
            Self::Uv => "uv.lock",
            Self::Poetry => "poetry.lock",
            Self::Pdm => "pdm.lock",
            Self::Pipfile => "Pipfile.lock",
        })
    }
}

impl Format {
    /// By the name of the file (PEP 751 says which `pylock` names there are).
    pub fn of(file_name: &str) -> Result<Self, LockError> {
        let pylock =
            |name: &str| name.strip_prefix("pylock.").and_then(|rest| rest.strip_suffix(".toml")).is_some();
        Ok(match file_name {
            "uv.lock" => Self::Uv,
            "poetry.lock" => Self::Poetry,
            "pdm.lock" => Self::Pdm,
            "Pipfile.lock" => Self::Pipfile,
            name if name == "pylock.toml" || pylock(name) => Self::Pylock,
            name if name.strip_suffix(".txt").is_some() => Self::Requirements,
            name => return Err(LockError::Unknown(name.to_owned())),
        })
    }

    fn form(self, reason: &dyn std::fmt::Display) -> LockError {
        LockError::Form { format: self, reason: reason.to_string() }
    }

    fn package(self, package: &str, reason: &dyn std::fmt::Display) -> LockError {
        LockError::Package { format: self, package: package.to_owned(), reason: reason.to_string() }
    }

    fn project(self, name: &str) -> Result<ProjectName, LockError> {
        ProjectName::from_str(name).map_err(|error| self.package(name, &error))
    }

    fn version(self, package: &str, version: Option<&str>) -> Result<Option<Version>, LockError> {
        let read = |version| Version::from_str(version).map_err(|error| self.package(package, &error));
        version.map(read).transpose()
    }

    fn filename(self, package: &str, name: &str) -> Result<DistributionFilename, LockError> {
        DistributionFilename::from_str(name).map_err(|error| self.package(package, &error))
    }

    /// The name of a file: as the lock says it, or else what its URL or path ends with.
    fn file(
        self,
        package: &str,
        name: Option<&String>,
        place: Option<&String>,
    ) -> Result<DistributionFilename, LockError> {
        match (name, place) {
            (Some(name), _) => self.filename(package, name),
            (None, Some(place)) => self.at_end_of(package, place),
            (None, None) => Err(self.package(package, &"a file without name, url and path")),
        }
    }

    fn at_end_of(self, package: &str, place: &str) -> Result<DistributionFilename, LockError> {
        let path = place.split(['?', '#']).next().unwrap_or_default();
        let name = path.rsplit(['/', '\\']).next().unwrap_or_default();
        let name = percent_encoding::percent_decode_str(name).decode_utf8();
        self.filename(package, &name.map_err(|error| self.package(package, &error))?)
    }

    fn artifact(self, package: &str, file: DistributionFilename, hash: &str) -> Result<Artifact, LockError> {
        let artifact = Artifact::hashed(Some(file), hash);
        artifact.ok_or_else(|| self.no_hash(package, hash))
    }

    fn no_hash(self, package: &str, text: &str) -> LockError {
        self.package(package, &format_args!("{text:?} is no hash"))
    }
}

impl Lock {
    /// Reads a lock of this format.
    pub fn read(format: Format, bytes: &[u8]) -> Result<Self, LockError> {
        let text = std::str::from_utf8(bytes).map_err(|error| format.form(&error))?;
        let packages = match format {
            Format::Requirements => requirements::read(text)?,
            Format::Pylock => pylock::read(text)?,
            Format::Uv => uv::read(text)?,
            Format::Poetry | Format::Pdm => files::read(format, text)?,
            Format::Pipfile => pipfile::read(text)?,
        };
        match packages.len() {
            found if found > MAX_PACKAGES => Err(LockError::TooMany { found }),
            _ => Ok(Self { format, packages }),
        }
    }
}

impl Artifact {
    /// The SHA-256, if the lock has it.
    pub fn sha256(&self) -> Option<&str> {
        self.hashes.get(SHA256).map(String::as_str)
    }

    /// A file with the digest `ALGORITHM:HEX`.
    fn hashed(filename: Option<DistributionFilename>, hash: &str) -> Option<Self> {
        let (algorithm, digest) = hash.split_once(':')?;
        Some(Self { filename, size: None, hashes: [digest_of(algorithm, digest)?].into() })
    }
}

/// Algorithm and digest in lower case; none if it is no digest.
fn digest_of(algorithm: &str, digest: &str) -> Option<(String, String)> {
    let hex = !digest.is_empty() && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex.then(|| (algorithm.to_ascii_lowercase(), digest.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests;
