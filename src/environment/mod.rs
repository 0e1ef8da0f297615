//! What is installed, held against wheels: every file of an environment, byte by byte. Nothing of it is run or imported.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | where an environment has its files, and which distributions say to be there |
//! | `claim.rs` | what one may call its own that was not compared |
//! | `compare.rs` | one distribution against its wheel |
//! | `stranger.rs` | files that no distribution has |
//!
//! # Rules
//!
//! 1. The wheel says what is right. `RECORD` is only where to look for files too many: who changes a file changes it along.
//! 2. Beside a wheel's files an installer may leave its own notes, scripts that call an entry point and do nothing else, and
//!    bytecode of a source file that is there.
//! 3. Any other file in `site-packages` is a finding: Python runs `.pth` files and `sitecustomize.py` when it starts, and a
//!    module may hide another one.
//! 4. So is a module or folder in the folder of scripts that no distribution has: a script looks there first for what it imports.
//! 5. What `RECORD` names outside of the environment is never opened, and links are not followed.
//!
//! Not looked at: the interpreter and its standard library, and what bytecode does (see [`Strangers::bytecode`]).

mod claim;
mod compare;
mod stranger;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use pep440_rs::Version;
use thiserror::Error;

pub use self::compare::{Compared, Finding, Problem};
pub use self::stranger::Strangers;
use crate::python::ProjectName;
use crate::python::installed::{RecordError, recorded, tags_of};

/// Bytes of a `RECORD` that are read, at most: the largest have some 10 MB.
const MAX_RECORD: u64 = 64 * 1_024 * 1_024;
/// Bytes of all `RECORD`s of an environment, at most: one with a thousand packages has some 50 MB.
const MAX_RECORDS: u64 = 256 * 1_024 * 1_024;
/// Bytes of other notes that are read, at most.
const MAX_NOTE: u64 = 1_024 * 1_024;
/// Entries of one folder that are looked at, at most.
const MAX_ENTRIES: usize = 200_000;
/// How the folder of a distribution's notes ends.
const DIST_INFO: &str = ".dist-info";
/// Where installed modules lie; Debian has its own name for it.
const SITES: [&str; 2] = ["site-packages", "dist-packages"];

/// Why an environment cannot be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EnvironmentError {
    /// Nothing that Python installs into is there.
    #[error(
        "{path} is no environment: expected a virtual environment, its python, or a folder site-packages"
    )]
    None {
        /// What was given.
        path: String,
    },
    /// A file operation failed.
    #[error("{what} {path}: {reason}")]
    Io {
        /// Verb.
        what: &'static str,
        /// Which file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// More files than an environment has.
    #[error("{path} has more than {limit} entries")]
    TooMany {
        /// The folder.
        path: String,
        /// Entries allowed.
        limit: usize,
    },
    /// What Python takes for a folder of modules may lead elsewhere.
    #[error("{path} is a link, or behind one: what lies there is not of this environment alone")]
    Link {
        /// The folder.
        path: String,
    },
    /// More bytes than such a file has.
    #[error("{path} has more than {limit} bytes")]
    TooLarge {
        /// The file.
        path: String,
        /// Bytes allowed.
        limit: u64,
    },
}

/// Where an environment has its files. Paths are absolute, without links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// All of it is below.
    prefix: PathBuf,
    /// The same as the user wrote it: scripts may name it so.
    written: PathBuf,
    /// Folders of modules.
    sites: Vec<PathBuf>,
    /// Folder of programs.
    scripts: PathBuf,
}

/// A distribution that says to be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The project.
    pub project: ProjectName,
    /// The version.
    pub version: Version,
    /// Where it says to come from, if not from an index (PEP 610).
    pub elsewhere: Option<String>,
    /// The tags in its `WHEEL`, in lower case.
    pub tags: BTreeSet<String>,
    /// The folder of modules it is in.
    site: PathBuf,
    /// The folder of its notes.
    info: PathBuf,
    /// What its `RECORD` lists.
    record: Result<Vec<String>, RecordError>,
}

impl Environment {
    /// A virtual environment, the path of its Python, or a folder of modules.
    pub fn find(path: &Path) -> Result<Self, EnvironmentError> {
        let none = || EnvironmentError::None { path: shown(path) };
        let written = std::path::absolute(path).map_err(|error| io("looking for", path, &error))?;
        let named =
            |names: &[&str]| written.file_name().is_some_and(|name| names.iter().any(|one| name == *one));
        let is_site = named(&SITES) || written.is_dir() && has_distributions(&written);
        let written = match (is_site, written.is_dir()) {
            (true, true) => prefix_of(&written),
            (_, true) => written,
            (_, false) => written.parent().and_then(Path::parent).ok_or_else(none)?.to_owned(),
        };
        let prefix = written.canonicalize().map_err(|error| io("looking for", &written, &error))?;
        let sites =
            if is_site { [path.canonicalize()].into_iter().flatten().collect() } else { sites(&prefix)? };
        let scripts =
            ["bin", "Scripts"].map(|name| prefix.join(name)).into_iter().find(|folder| folder.is_dir());
        let scripts = scripts.unwrap_or_else(|| prefix.join("bin"));
        if sites.is_empty() { Err(none()) } else { Ok(Self { prefix, written, sites, scripts }) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.prefix
    }

    /// Whether it shows modules of the system too, which are not looked at.
    pub fn shows_system(&self) -> bool {
        let text = read(&self.prefix.join("pyvenv.cfg"), MAX_NOTE).unwrap_or_default().unwrap_or_default();
        let text = String::from_utf8_lossy(&text).to_ascii_lowercase();
        let settings = text.lines().filter_map(|line| line.split_once('='));
        let mut shows = settings.filter(|(name, _)| name.trim() == "include-system-site-packages");
        shows.any(|(_, value)| value.trim() == "true")
    }

    /// What says to be installed, by name. Folders of notes that name no project and version are [`Self::strangers`].
    pub fn distributions(&self) -> Result<Vec<Installed>, EnvironmentError> {
        let (mut all, mut left) = (Vec::new(), MAX_RECORDS);
        for site in &self.sites {
            for info in entries(site)? {
                let name = info.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                if let Some((project, version)) = named(name)
                    && fs::symlink_metadata(&info).is_ok_and(|about| about.is_dir())
                {
                    all.push(Installed::read(project, version, site, &info, &mut left)?);
                }
            }
        }
        all.sort_by(|one, other| (&one.project, &one.version).cmp(&(&other.project, &other.version)));
        Ok(all)
    }

    /// The path of a file for people: below the environment.
    fn shown(&self, path: &Path) -> String {
        shown(path.strip_prefix(&self.prefix).unwrap_or(path))
    }

    /// Whether a path in a script is a Python of the environment.
    fn is_python(&self, path: &str) -> bool {
        let path = Path::new(path);
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let scripts = self.scripts.file_name().unwrap_or_default();
        let home =
            [&self.scripts, &self.written.join(scripts)].iter().any(|home| path.parent() == Some(home));
        home && is_interpreter(name)
    }

    /// Where a path in a `RECORD` leads; none: out of the environment.
    fn place(&self, site: &Path, recorded: &str) -> Option<PathBuf> {
        let mut place = PathBuf::new();
        for part in site.join(recorded).components() {
            match part {
                Component::ParentDir => drop(place.pop()),
                Component::CurDir => {}
                part => place.push(part),
            }
        }
        place.starts_with(&self.prefix).then_some(place)
    }
}

impl Installed {
    /// `left` is how many bytes of `RECORD`s may still be read.
    fn read(
        project: ProjectName,
        version: Version,
        site: &Path,
        info: &Path,
        left: &mut u64,
    ) -> Result<Self, EnvironmentError> {
        let note = |name: &str, max| read(&info.join(name), max);
        let elsewhere = note("direct_url.json", MAX_NOTE)?.map(|text| origin(&text));
        let tags = note("WHEEL", MAX_NOTE)?.map(|text| tags_of(&text)).unwrap_or_default();
        let record = note("RECORD", MAX_RECORD.min(*left))?.unwrap_or_default();
        *left = left.saturating_sub(u64::try_from(record.len()).unwrap_or(u64::MAX));
        let record = recorded(&record);
        let (site, info) = (site.to_owned(), info.to_owned());
        Ok(Self { project, version, elsewhere, tags, site, info, record })
    }

    /// All files that it says to have, in the environment.
    fn claimed(&self, environment: &Environment) -> BTreeSet<PathBuf> {
        let record = self.record.iter().flatten();
        record.filter_map(|path| environment.place(&self.site, path)).chain(self.notes()).collect()
    }

    /// What installers write beside a wheel's own notes. None of it is ever run.
    fn notes(&self) -> impl Iterator<Item = PathBuf> + '_ {
        ["RECORD", "INSTALLER", "REQUESTED", "uv_cache.json", "uv_build.json"]
            .iter()
            .map(|name| self.info.join(name))
    }
}

/// What a `direct_url.json` says, in few words; a bad one says that too.
fn origin(text: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Direct {
        url: String,
        #[serde(default)]
        dir_info: Folder,
    }
    #[derive(Default, serde::Deserialize)]
    struct Folder {
        #[serde(default)]
        editable: bool,
    }
    match serde_json::from_slice::<Direct>(text) {
        Ok(direct) => {
            let url: String = direct.url.chars().filter(|c| !c.is_control()).collect();
            if direct.dir_info.editable { format!("{url}, editable") } else { url }
        }
        Err(_) => "a direct_url.json that does not read".to_owned(),
    }
}

/// Whether a file is named as interpreters are, with nothing behind: `python3.13t`, and not `python -c...`.
fn is_interpreter(name: &str) -> bool {
    let version = ["python", "pypy"].iter().find_map(|kind| name.strip_prefix(kind));
    version.is_some_and(|version| {
        let version = version.strip_suffix('t').unwrap_or(version);
        version.chars().all(|c| c.is_ascii_digit() || c == '.')
    })
}

/// Project and version in the name of a folder of notes.
fn named(folder: &str) -> Option<(ProjectName, Version)> {
    let (name, version) = folder.strip_suffix(DIST_INFO)?.rsplit_once('-')?;
    Some((name.parse().ok()?, version.parse().ok()?))
}

fn has_distributions(folder: &Path) -> bool {
    let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.into_iter().any(|name| name.to_str().is_some_and(|name| named(name).is_some()))
}

/// The prefix of `PREFIX/lib/pythonX.Y/site-packages`; of another folder of modules, itself.
fn prefix_of(site: &Path) -> PathBuf {
    let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let python =
        site.parent().filter(|python| ["python", "pypy"].iter().any(|kind| name(python).starts_with(kind)));
    let lib = python.and_then(Path::parent).filter(|lib| name(lib).starts_with("lib"));
    lib.and_then(Path::parent).unwrap_or(site).to_owned()
}

/// The folders of modules of an environment, each once, though `lib64` may be a link to a folder beside it. Another link is
/// refused: Python follows it, and what lies behind must not go unseen.
fn sites(prefix: &Path) -> Result<Vec<PathBuf>, EnvironmentError> {
    let mut all = BTreeSet::new();
    for lib in ["lib", "lib64", "Lib"].map(|name| prefix.join(name)) {
        let pythons = fs::read_dir(&lib).into_iter().flatten().flatten().map(|entry| entry.file_name());
        let pythons = pythons.map(PathBuf::from).chain([PathBuf::new()]);
        for below in pythons.flat_map(|python| SITES.map(|name| python.join(name))) {
            let site = lib.join(&below);
            if fs::symlink_metadata(&site).is_ok() {
                all.extend(site_at(prefix, &lib, &below)?);
            }
        }
    }
    Ok(all.into_iter().collect())
}

/// A folder of modules without links, if it is a folder.
fn site_at(prefix: &Path, lib: &Path, below: &Path) -> Result<Option<PathBuf>, EnvironmentError> {
    let site = lib.join(below);
    let link = || EnvironmentError::Link { path: shown(&site) };
    let real = site.canonicalize().map_err(|_| link())?;
    let real_lib = lib.canonicalize().map_err(|_| link())?;
    let folded = lib.ends_with("lib64") && real_lib.parent() == Some(prefix);
    let expected = if folded { real_lib } else { lib.to_owned() };
    if real != expected.join(below) {
        return Err(link());
    }
    Ok(real.is_dir().then_some(real))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, EnvironmentError> {
    let failed = |error: std::io::Error| io("reading", folder, &error);
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        if all.len() == MAX_ENTRIES {
            return Err(EnvironmentError::TooMany { path: shown(folder), limit: MAX_ENTRIES });
        }
        all.push(entry.map_err(failed)?.path());
    }
    Ok(all)
}

/// A plain file of at most `max` bytes; a larger one is an error.
fn read(path: &Path, max: u64) -> Result<Option<Vec<u8>>, EnvironmentError> {
    if !fs::symlink_metadata(path).is_ok_and(|about| about.is_file()) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let opened = File::open(path).map_err(|error| io("opening", path, &error))?;
    let more = max.saturating_add(1);
    opened.take(more).read_to_end(&mut bytes).map_err(|error| io("reading", path, &error))?;
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= max => Ok(Some(bytes)),
        _ => Err(EnvironmentError::TooLarge { path: shown(path), limit: max }),
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn io(what: &'static str, path: &Path, error: &std::io::Error) -> EnvironmentError {
    EnvironmentError::Io { what, path: shown(path), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        let prefix = PathBuf::from("/home/me/env");
        let (sites, scripts) = (vec![prefix.join("lib/python3.11/site-packages")], prefix.join("bin"));
        Environment { written: PathBuf::from("/link/env"), prefix, sites, scripts }
    }

    #[test]
    fn a_record_leads_into_the_environment_or_nowhere() {
        let environment = environment();
        let place = |path: &str| environment.place(&environment.sites[0], path).map(|path| shown(&path));
        assert_eq!(place("a/b.py").unwrap(), "/home/me/env/lib/python3.11/site-packages/a/b.py");
        assert_eq!(place("../../../bin/x").unwrap(), "/home/me/env/bin/x");
        for path in
            ["../../../../other", "/etc/passwd", "../../../../env-2/x", "../../../../../../../../etc/passwd"]
        {
            assert_eq!(place(path), None, "{path}");
        }
    }

    #[test]
    fn only_a_python_of_the_environment_is_one() {
        let environment = environment();
        for path in ["/home/me/env/bin/python", "/link/env/bin/python3.13t", "/home/me/env/bin/pypy3"] {
            assert!(environment.is_python(path), "{path}");
        }
        for path in [
            "/usr/bin/python",
            "/home/me/env/bin/sh",
            "/home/me/env/bin/../python",
            "/home/me/env/bin/x/python",
            "/home/me/env/bin/python -mevil",
            "/home/me/env/bin/python -cprint(1)",
            "/home/me/env/bin/python-evil",
            "/home/me/env/bin/pythontt",
            "python",
        ] {
            assert!(!environment.is_python(path), "{path}");
        }
    }

    #[test]
    fn a_folder_of_modules_behind_a_link_is_refused() {
        use std::os::unix::fs::symlink;
        let below = Path::new("python3.11/site-packages");
        for linked in ["lib", "lib/python3.11", "lib/python3.11/site-packages"] {
            let folder = tempfile::tempdir().unwrap();
            let home = folder.path().canonicalize().unwrap();
            let (prefix, outside) = (home.join("env"), home.join("outside"));
            fs::create_dir_all(prefix.join("lib64/python3.99/site-packages")).unwrap();
            fs::create_dir_all(outside.join(below)).unwrap();
            let link = prefix.join(linked);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            let rest = Path::new(linked).strip_prefix("lib").unwrap();
            symlink(outside.join(rest), &link).unwrap();
            let path = shown(&prefix.join("lib").join(below));
            assert_eq!(Environment::find(&prefix), Err(EnvironmentError::Link { path }), "{linked}");
        }
    }

    #[test]
    fn the_second_name_of_a_library_is_folded_away() {
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path().canonicalize().unwrap();
        let site = prefix.join("lib/python3.11/site-packages");
        fs::create_dir_all(&site).unwrap();
        std::os::unix::fs::symlink("lib", prefix.join("lib64")).unwrap();
        assert_eq!(Environment::find(&prefix).unwrap().sites, [site]);
    }

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("script");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap().unwrap(), b"12345");
        assert_eq!(read(&path, 4), Err(EnvironmentError::TooLarge { path: shown(&path), limit: 4 }));
    }

    #[test]
    fn the_name_of_a_folder_says_project_and_version() {
        let (project, version) = named("Zope.Interface-5.0.dist-info").unwrap();
        assert_eq!((project.as_str(), version.to_string().as_str()), ("zope-interface", "5.0"));
        for name in ["x.dist-info", "x-y.dist-info", "x-1.0.egg-info", "-1.dist-info"] {
            assert_eq!(named(name), None, "{name}");
        }
    }

    #[test]
    fn an_origin_is_told_in_few_words() {
        let text = br#"{"url": "file:///home/me/x", "dir_info": {"editable": true}}"#;
        assert_eq!(origin(text), "file:///home/me/x, editable");
        assert_eq!(origin(br#"{"url": "git+x\u001b[1m", "vcs_info": {}}"#), "git+x[1m");
        assert_eq!(origin(b"x"), "a direct_url.json that does not read");
    }
}
