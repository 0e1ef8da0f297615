//! One distribution against its wheel.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use super::{Environment, Installed, read};
use crate::python::installed::{Script, is_script, scripts};
use crate::python::{ArchiveError, ArchiveLimits, DistributionFilename, Member, wheel_members};

/// Bytes of a script that is read to be compared, at most; larger ones must be the wheel's as they are.
const MAX_SCRIPT: u64 = 16 * 1_024 * 1_024;
/// Bytes of the list of entry points, at most.
const MAX_ENTRY_POINTS: u64 = 1_024 * 1_024;
/// Bytes that are compared at once.
const CHUNK: usize = 64 * 1_024;
/// Findings of one distribution that are named, at most; all are counted.
const MAX_NAMED: usize = 1_000;

/// What is wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Problem {
    /// It is not what the wheel has.
    Changed,
    /// The wheel has it, and it is not there.
    Missing,
    /// It is a link, and what it leads to may change.
    Link,
    /// A script does something else than call its entry point.
    Script,
    /// `RECORD` has it and the wheel does not.
    Extra,
    /// `RECORD` has it, and it is not in the environment.
    Outside,
    /// `RECORD` is not there, or does not read.
    Record,
    /// It cannot be read.
    Unreadable,
    /// Bytecode, where none is wanted.
    Bytecode,
    /// No distribution has it.
    Stranger,
}

impl Problem {
    /// In few words.
    pub fn text(self) -> &'static str {
        match self {
            Self::Changed => "is not what the wheel has",
            Self::Missing => "is missing",
            Self::Link => "is a link, whose goal may change",
            Self::Script => "does more than call its entry point",
            Self::Extra => "is in RECORD, and not in the wheel",
            Self::Outside => "is in RECORD, and outside of the environment",
            Self::Record => "does not read",
            Self::Unreadable => "cannot be read",
            Self::Bytecode => "is bytecode, which cannot be compared",
            Self::Stranger => "belongs to nothing that is installed",
        }
    }
}

/// A file, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Finding {
    /// Below the environment.
    pub path: String,
    /// What.
    pub problem: Problem,
}

/// What came of a comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compared {
    /// Files that are the wheel's, or may be beside it.
    pub owned: BTreeSet<PathBuf>,
    /// What is wrong, in order; the first [`MAX_NAMED`].
    pub findings: Vec<Finding>,
    /// How many there are.
    pub count: usize,
}

/// A comparison under way.
struct Work<'a> {
    environment: &'a Environment,
    installed: &'a Installed,
    /// Where `RECORD` leads, in the environment.
    recorded: BTreeSet<PathBuf>,
    /// Folder of the wheel's own notes, and that of what goes elsewhere.
    data: String,
    scripts: Vec<Script>,
    wrong: BTreeMap<PathBuf, Problem>,
    owned: BTreeSet<PathBuf>,
}

impl Environment {
    /// Holds a distribution against the wheel that it says to come from, which must be verified.
    pub fn compare<R: Read + Seek>(
        &self,
        installed: &Installed,
        filename: &DistributionFilename,
        wheel: R,
        limits: &ArchiveLimits,
    ) -> Result<Compared, ArchiveError> {
        let info = installed.info.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let mut work = Work {
            environment: self,
            installed,
            recorded: installed.claimed(self),
            data: format!("{}.data/", info.strip_suffix(super::DIST_INFO).unwrap_or(info)),
            scripts: Vec::new(),
            wrong: BTreeMap::new(),
            owned: installed.notes().collect(),
        };
        wheel_members(filename, wheel, limits, &mut |member| {
            work.member(member);
            Ok(())
        })?;
        work.made_scripts();
        work.record();
        Ok(work.done())
    }
}

impl Work<'_> {
    fn member(&mut self, mut member: Member<'_>) {
        let Some((place, script)) = self.place_of(member.path) else { return };
        if place == self.installed.info.join("RECORD") {
            return;
        }
        if place == self.installed.info.join("entry_points.txt") {
            let mut text = Vec::new();
            if (&mut member.content).take(MAX_ENTRY_POINTS).read_to_end(&mut text).is_ok() {
                self.scripts = scripts(&text);
                let mut again = text.as_slice();
                self.held_against(&place, same(&place, member.size, &mut again));
            }
        } else if script && member.size <= MAX_SCRIPT {
            self.held_against(&place, self.same_script(&place, &mut member));
        } else {
            self.held_against(&place, same(&place, member.size, member.content));
        }
        self.owned.insert(place);
    }

    fn held_against(&mut self, place: &Path, is: Result<bool, Problem>) {
        match is {
            Ok(true) => {}
            Ok(false) => drop(self.wrong.insert(place.to_owned(), Problem::Changed)),
            Err(problem) => drop(self.wrong.insert(place.to_owned(), problem)),
        }
    }

    /// Where a file of the wheel is installed, and whether its first line may change (binary distribution format, "The .data
    /// directory").
    fn place_of(&self, member: &str) -> Option<(PathBuf, bool)> {
        let Some((kind, rest)) =
            member.strip_prefix(self.data.as_str()).and_then(|rest| rest.split_once('/'))
        else {
            return Some((self.installed.site.join(member), false));
        };
        Some(match kind {
            "purelib" | "platlib" => (self.installed.site.join(rest), false),
            "scripts" => (self.environment.scripts.join(rest), true),
            "data" => (self.environment.prefix.join(rest), false),
            "headers" => {
                let include = self.environment.prefix.join("include");
                let mut headers = self.recorded.iter().filter(|path| path.starts_with(&include));
                let found = headers.find(|path| path.ends_with(rest));
                (found.cloned().unwrap_or_else(|| include.join(rest)), false)
            }
            _ => return None,
        })
    }

    fn same_script(&self, place: &Path, member: &mut Member<'_>) -> Result<bool, Problem> {
        plain(place)?;
        let mut wheel = Vec::new();
        member.content.read_to_end(&mut wheel).map_err(|_| Problem::Unreadable)?;
        let installed = read(place, MAX_SCRIPT).ok().flatten().ok_or(Problem::Unreadable)?;
        Ok(is_script(&wheel, &installed, |path| self.environment.is_python(path)))
    }

    /// The scripts that an installer made of entry points, whether `RECORD` has them or not. Those that are not there are no
    /// finding: nothing runs.
    fn made_scripts(&mut self) {
        for script in std::mem::take(&mut self.scripts) {
            if script.name.contains(['/', '\\']) || matches!(script.name.as_str(), "" | "." | "..") {
                continue;
            }
            let place = self.environment.scripts.join(&script.name);
            if self.owned.contains(&place) || fs::symlink_metadata(&place).is_err() {
                continue;
            }
            let is = plain(&place).and_then(|_| {
                let text = read(&place, MAX_SCRIPT).ok().flatten().ok_or(Problem::Unreadable)?;
                let made = script.made(&text, |path| self.environment.is_python(path));
                if made { Ok(true) } else { Err(Problem::Script) }
            });
            self.held_against(&place, is);
            self.owned.insert(place);
        }
    }

    /// What `RECORD` has beside all that.
    fn record(&mut self) {
        let place = self.installed.info.join("RECORD");
        let Ok(record) = self.installed.record.as_ref() else {
            self.wrong.insert(place, Problem::Record);
            return;
        };
        if record.is_empty() {
            self.wrong.insert(place, Problem::Record);
        }
        for path in record {
            match self.environment.place(&self.installed.site, path) {
                None => drop(self.wrong.insert(PathBuf::from(path), Problem::Outside)),
                Some(place) if self.owned.contains(&place) || self.is_bytecode(&place) => {}
                Some(place) => {
                    if fs::symlink_metadata(&place).is_ok() {
                        self.wrong.insert(place.clone(), Problem::Extra);
                    }
                    self.owned.insert(place);
                }
            }
        }
    }

    fn is_bytecode(&self, place: &Path) -> bool {
        source_of(place).is_some_and(|source| self.owned.contains(&source))
    }

    fn done(self) -> Compared {
        let count = self.wrong.len();
        let findings = self.wrong.iter().take(MAX_NAMED);
        let findings =
            findings.map(|(path, problem)| Finding { path: self.environment.shown(path), problem: *problem });
        Compared { findings: findings.collect(), count, owned: self.owned }
    }
}

/// The module of which a file is the bytecode: `a/b.py` of `a/__pycache__/b.cpython-311.pyc`.
pub(super) fn source_of(file: &Path) -> Option<PathBuf> {
    let name = file.file_name()?.to_str()?.strip_suffix(".pyc")?;
    let folder =
        file.parent().filter(|folder| folder.file_name().is_some_and(|name| name == "__pycache__"))?;
    let (module, _) = name.split_once('.')?;
    Some(folder.parent()?.join(format!("{module}.py")))
}

/// Refuses what is no plain file; how long it is.
fn plain(place: &Path) -> Result<u64, Problem> {
    match fs::symlink_metadata(place) {
        Err(_) => Err(Problem::Missing),
        Ok(about) if about.is_file() => Ok(about.len()),
        Ok(about) if about.is_symlink() => Err(Problem::Link),
        Ok(_) => Err(Problem::Changed),
    }
}

/// Whether a file has this content. What has another length is not inflated: a bomb costs nothing.
fn same(place: &Path, size: u64, content: &mut dyn Read) -> Result<bool, Problem> {
    if plain(place)? != size {
        return Ok(false);
    }
    let opened = File::open(place).map_err(|_| Problem::Unreadable)?;
    let (mut one, mut other) =
        (BufReader::with_capacity(CHUNK, opened), BufReader::with_capacity(CHUNK, content));
    equal(&mut one, &mut other).map_err(|_| Problem::Unreadable)
}

fn equal(one: &mut impl BufRead, other: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let (left, right) = (one.fill_buf()?, other.fill_buf()?);
        let length = left.len().min(right.len());
        if length == 0 {
            return Ok(left.len() == right.len());
        }
        if left.get(..length) != right.get(..length) {
            return Ok(false);
        }
        one.consume(length);
        other.consume(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytecode_has_its_source_one_folder_up() {
        let source = |path: &str| source_of(Path::new(path)).map(|path| path.display().to_string());
        assert_eq!(source("/a/__pycache__/b.cpython-311.opt-1.pyc").as_deref(), Some("/a/b.py"));
        for path in ["/a/b.pyc", "/a/__pycache__/b.py", "/a/__pycache__/b.pyc"] {
            assert_eq!(source(path), None, "{path}");
        }
    }

    #[test]
    fn two_streams_are_equal_whatever_their_pieces() {
        let text: Vec<u8> = (0..=255).cycle().take(1_000).collect();
        let equal = |a: &[u8], b: &[u8]| {
            equal(&mut BufReader::with_capacity(7, a), &mut BufReader::with_capacity(64, b)).unwrap()
        };
        assert!(equal(&text, &text) && equal(b"", b""));
        assert!(!equal(&text, &text[..999]) && !equal(&text[..999], &text));
        let mut other = text.clone();
        other[777] ^= 1;
        assert!(!equal(&text, &other));
    }
}
