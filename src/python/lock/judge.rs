//! A lock against what is signed now, and against another lock.

use std::collections::{BTreeMap, BTreeSet};

use super::{Artifact, Lock, Locked, Origin};
use crate::python::{PageFile, ProjectName, ProjectPage, StatusMarker, Yanked};

/// What is to be said of one file of a lock.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Judged {
    /// The project.
    pub project: String,
    /// The version, if the lock pins one.
    pub version: Option<String>,
    /// A file name, or the hash of a file without one; empty for the package as a whole.
    pub file: String,
    /// What it is.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// How a file of a lock stands to the signed page of its project.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// The page lists it with this hash.
    Signed,
    /// The page lists it with another hash.
    Changed {
        /// SHA-256 in the lock.
        locked: String,
        /// SHA-256 that is signed.
        signed: String,
    },
    /// The page lists it with another length.
    Length {
        /// Bytes in the lock.
        locked: u64,
        /// Bytes that are signed.
        signed: u64,
    },
    /// The page lists no such file.
    NotListed,
    /// It belongs to another version or project than the lock says.
    Misplaced {
        /// What it is.
        of: String,
    },
    /// The lock has no SHA-256 of it.
    NoHash,
    /// The lock leaves the version open.
    Unpinned,
    /// The repository has no such project.
    Unknown,
    /// The index holds the project back (PEP 792).
    Quarantined,
    /// It does not come from an index, so no index can answer for it.
    Elsewhere {
        /// Where it comes from.
        place: String,
    },
    /// Signed, but a transparency log that is asked for does not show it.
    Unlogged {
        /// Why.
        reason: String,
    },
    /// It is the project itself, or a folder beside it.
    Local,
    /// Signed, and yanked (PEP 592).
    Yanked,
    /// A file of the same version that the lock does not have.
    New,
}

impl Verdict {
    /// Nothing speaks against it.
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Signed | Self::Local | Self::Yanked | Self::New)
    }

    /// The lock says something else than what is signed; otherwise it says too little.
    pub fn contradicts(&self) -> bool {
        matches!(
            self,
            Self::Changed { .. }
                | Self::Length { .. }
                | Self::NotListed
                | Self::Misplaced { .. }
                | Self::Unknown
                | Self::Quarantined
        )
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Signed => f.write_str("is what was signed"),
            Self::Changed { locked, signed } => {
                write!(f, "the lock has SHA-256 {locked}, signed is {signed}")
            }
            Self::Length { locked, signed } => write!(f, "the lock has {locked} bytes, signed are {signed}"),
            Self::NotListed => f.write_str("no such file is signed"),
            Self::Misplaced { of } => write!(f, "it is a file of {of}"),
            Self::NoHash => f.write_str("the lock has no SHA-256 of it"),
            Self::Unpinned => f.write_str("the lock does not pin one version"),
            Self::Unknown => f.write_str("the repository has no such project"),
            Self::Quarantined => f.write_str("the index has it in quarantine"),
            Self::Elsewhere { place } => write!(f, "comes from {place}: no index answers for it"),
            Self::Unlogged { reason } => f.write_str(reason),
            Self::Local => f.write_str("is local"),
            Self::Yanked => f.write_str("was yanked"),
            Self::New => f.write_str("is signed, and not in the lock"),
        }
    }
}

/// Each file of a locked package against the signed page of its project; `None`: there is no such page.
pub fn judge(package: &Locked, page: Option<&ProjectPage>) -> Vec<Judged> {
    let whole = |verdict| vec![package.judged("", verdict)];
    match (&package.origin, page) {
        (Origin::Local, _) => whole(Verdict::Local),
        (Origin::Elsewhere(place), _) => whole(Verdict::Elsewhere { place: place.clone() }),
        (Origin::Index, None) => whole(Verdict::Unknown),
        (Origin::Index, Some(page)) if quarantined(page) => whole(Verdict::Quarantined),
        (Origin::Index, Some(_)) if package.artifacts.is_empty() => whole(Verdict::NoHash),
        (Origin::Index, Some(_)) if package.version.is_none() => whole(Verdict::Unpinned),
        (Origin::Index, Some(page)) => package
            .artifacts
            .iter()
            .map(|artifact| package.judged(&artifact.name(), package.compare(artifact, page)))
            .collect(),
    }
}

/// The files of a locked package that a signed page lists as the lock has them.
pub fn signed_files<'a>(package: &Locked, page: &'a ProjectPage) -> Vec<&'a PageFile> {
    signed_entries(package, page).into_iter().map(|(_, file)| file).collect()
}

/// The same, each with what [`Judged::file`] calls it.
pub fn signed_entries<'a>(package: &Locked, page: &'a ProjectPage) -> Vec<(String, &'a PageFile)> {
    if package.version.is_none() || quarantined(page) {
        return Vec::new();
    }
    let signed =
        package.artifacts.iter().filter(|artifact| package.compare(artifact, page) == Verdict::Signed);
    let file = |artifact: &Artifact| match &artifact.filename {
        Some(name) => page.file(name.as_str()),
        None => artifact.sha256().and_then(|sha256| package.with_hash(sha256, page)),
    };
    signed.filter_map(|artifact| Some((artifact.name(), file(artifact)?))).collect()
}

/// What else a signed page says of a locked version: files yanked, files that the lock does not have.
pub fn watch(package: &Locked, page: &ProjectPage) -> Vec<Judged> {
    let of_version =
        page.files().iter().filter(|file| Some(file.filename.version()) == package.version.as_ref());
    let news = of_version.filter_map(|file| {
        let known = package.artifacts.iter().any(|artifact| match &artifact.filename {
            Some(name) => *name == file.filename,
            None => artifact.sha256() == Some(file.sha256.as_str()),
        });
        let verdict = match (known, &file.yanked) {
            (true, Yanked::Yes(_)) => Verdict::Yanked,
            (true, Yanked::No) => return None,
            (false, _) => Verdict::New,
        };
        Some(package.judged(file.filename.as_str(), verdict))
    });
    news.collect()
}

fn quarantined(page: &ProjectPage) -> bool {
    page.status.as_ref().is_some_and(|status| status.marker == StatusMarker::Quarantined)
}

impl Locked {
    fn judged(&self, file: &str, verdict: Verdict) -> Judged {
        let version = self.version.as_ref().map(ToString::to_string);
        Judged { project: self.project.to_string(), version, file: file.to_owned(), verdict }
    }

    fn compare(&self, artifact: &Artifact, page: &ProjectPage) -> Verdict {
        let Some(sha256) = artifact.sha256() else { return Verdict::NoHash };
        let signed = match &artifact.filename {
            Some(name) => page.file(name.as_str()),
            None => self.with_hash(sha256, page),
        };
        let Some(signed) = signed else { return Verdict::NotListed };
        let name = &signed.filename;
        if *name.project() != self.project || Some(name.version()) != self.version.as_ref() {
            return Verdict::Misplaced { of: format!("{} {}", name.project(), name.version()) };
        }
        match artifact.size {
            _ if signed.sha256.as_str() != sha256 => {
                Verdict::Changed { locked: sha256.to_owned(), signed: signed.sha256.as_str().to_owned() }
            }
            Some(locked) if locked != signed.size => Verdict::Length { locked, signed: signed.size },
            _ => Verdict::Signed,
        }
    }

    /// The file with this hash: one of the locked version, if there is one.
    fn with_hash<'a>(&self, sha256: &str, page: &'a ProjectPage) -> Option<&'a PageFile> {
        let all = || page.files().iter().filter(|file| file.sha256.as_str() == sha256);
        all().find(|file| Some(file.filename.version()) == self.version.as_ref()).or_else(|| all().next())
    }
}

impl Artifact {
    /// What to call it.
    fn name(&self) -> String {
        match (&self.filename, self.hashes.iter().next()) {
            (Some(name), _) => name.to_string(),
            (None, Some((algorithm, digest))) => format!("{algorithm}:{digest}"),
            (None, None) => String::new(),
        }
    }
}

/// How two locks differ.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// The project.
    pub project: String,
    /// What differs.
    #[serde(flatten)]
    pub change: Change,
}

/// What differs between two locks in one project.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum Change {
    /// Other versions; none: the project was not there, or is no longer.
    Versions {
        /// In the old lock.
        from: Vec<String>,
        /// In the new one.
        to: Vec<String>,
    },
    /// The same file with another hash.
    Hash {
        /// File name.
        file: String,
        /// In the old lock.
        from: String,
        /// In the new one.
        to: String,
    },
    /// Of the same version, files or hashes that only one of them has.
    Files {
        /// Only in the old lock.
        gone: Vec<String>,
        /// Only in the new one.
        added: Vec<String>,
    },
}

/// All differences, by project.
pub fn differences(old: &Lock, new: &Lock) -> Vec<Difference> {
    let (old, new) = (by_project(old), by_project(new));
    let projects: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let mut all = Vec::new();
    for project in projects {
        let none = Vec::new();
        let (from, to) = (old.get(project).unwrap_or(&none), new.get(project).unwrap_or(&none));
        let changes = if versions(from) == versions(to) {
            changes(from, to)
        } else {
            vec![Change::Versions { from: versions(from), to: versions(to) }]
        };
        all.extend(changes.into_iter().map(|change| Difference { project: project.to_string(), change }));
    }
    all
}

fn by_project(lock: &Lock) -> BTreeMap<&ProjectName, Vec<&Locked>> {
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for package in &lock.packages {
        all.entry(&package.project).or_default().push(package);
    }
    all
}

fn versions(packages: &[&Locked]) -> Vec<String> {
    let open =
        |package: &&Locked| package.version.as_ref().map_or("not pinned".to_owned(), ToString::to_string);
    let all: BTreeSet<String> = packages.iter().map(open).collect();
    all.into_iter().collect()
}

/// Differences between the files of the same versions. Where one lock has bare hashes, hashes are compared.
fn changes(from: &[&Locked], to: &[&Locked]) -> Vec<Change> {
    let artifacts = |packages: &[&Locked]| -> Vec<Artifact> {
        packages.iter().flat_map(|package| package.artifacts.clone()).collect()
    };
    let (from, to) = (artifacts(from), artifacts(to));
    let named = from.iter().chain(&to).all(|artifact| artifact.filename.is_some());
    let keyed = |artifacts: &[Artifact]| -> BTreeMap<String, Option<String>> {
        let sha256 = |artifact: &Artifact| artifact.sha256().map(ToOwned::to_owned);
        let key = |artifact: &Artifact| {
            if named { artifact.name() } else { sha256(artifact).unwrap_or_else(|| artifact.name()) }
        };
        artifacts.iter().map(|artifact| (key(artifact), sha256(artifact))).collect()
    };
    let (from, to) = (keyed(&from), keyed(&to));
    let mut all = Vec::new();
    for (file, old) in &from {
        if let (Some(from), Some(Some(to))) = (old, to.get(file))
            && from != to
        {
            all.push(Change::Hash { file: file.clone(), from: from.clone(), to: to.clone() });
        }
    }
    let only = |one: &BTreeMap<String, _>, other: &BTreeMap<String, _>| -> Vec<String> {
        one.keys().filter(|key| !other.contains_key(*key)).cloned().collect()
    };
    let (gone, added) = (only(&from, &to), only(&to, &from));
    if !gone.is_empty() || !added.is_empty() {
        all.push(Change::Files { gone, added });
    }
    all
}
