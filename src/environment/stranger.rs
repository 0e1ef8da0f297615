//! Files in `site-packages`, and modules in the folder of scripts, that no distribution has.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::compare::source_of;
use super::{Environment, EnvironmentError, Finding, Problem, entries, io, read, shown};
use crate::crypto::sha256;

/// Files in an environment that are looked at, at most: the largest have some 500,000.
const MAX_FILES: usize = 10_000_000;
/// Findings that are named, at most; all are counted.
const MAX_NAMED: usize = 1_000;
/// What tools that make environments leave in them, and list nowhere, by name and SHA-256: uv before 0.13.
/// And what setuptools has run when Python starts (two versions of it), for environments whose setuptools is left out: it does
/// no more than import `_distutils_hack`, which must belong to something.
const KNOWN: [(&str, &str); 4] = [
    ("_virtualenv.pth", "69ac3d8f27e679c81b94ab30b3b56e9cd138219b1ba94a1fa3606d5a76a1433d"),
    ("_virtualenv.py", "cfb3db86aaa53bb62b5ff764970bec2d71c9228590a0ebec57f6ec926cc0bf1a"),
    ("distutils-precedence.pth", "2638ce9e2500e572a5e0de7faed6661eb569d1b696fcba07b0dd223da5f5d224"),
    ("distutils-precedence.pth", "7ea7ffef3fe2a117ee12c68ed6553617f0d7fd2f0590257c25c484959a3b7373"),
];
/// How a file in the folder of scripts ends if Python may import it: that folder is the first it looks in for a script.
const MODULES: [&str; 5] = ["py", "pyc", "pyd", "pyw", "so"];
/// A module that tools put there for programs that ask for it.
const ACTIVATE: &str = "activate_this.py";
/// Bytes of such a file, at most.
const MAX_KNOWN: u64 = 64 * 1_024;

/// What is there beside distributions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Strangers {
    /// In order; the first thousand.
    pub findings: Vec<Finding>,
    /// How many there are.
    pub count: usize,
    /// Files of bytecode, of modules that are owned. Python takes one for the module if time and length of the source agree:
    /// it cannot be compared, but it can be removed.
    pub bytecode: Vec<String>,
}

impl Environment {
    /// Files in the folders of modules, and modules in that of scripts, that are not `owned`, nor bytecode of what is.
    /// `allowed` are names below such a folder.
    pub fn strangers(
        &self,
        owned: &BTreeSet<PathBuf>,
        allowed: &[PathBuf],
    ) -> Result<Strangers, EnvironmentError> {
        let (mut strangers, mut seen) = (Strangers::default(), 0_usize);
        for site in &self.sites {
            for path in walked(site, &mut seen)? {
                let below = path.strip_prefix(site).unwrap_or(&path);
                if !is_known(below, &path) {
                    self.unless_owned(&path, below, (owned, allowed), &mut strangers);
                }
            }
        }
        if std::fs::symlink_metadata(&self.scripts).is_ok_and(|about| about.is_symlink()) {
            strangers.add(Finding { path: self.shown(&self.scripts), problem: Problem::Link });
        }
        for path in self.importable(owned, &mut seen)? {
            let below = path.strip_prefix(&self.scripts).unwrap_or(&path);
            self.unless_owned(&path, below, (owned, allowed), &mut strangers);
        }
        Ok(strangers)
    }

    fn unless_owned(
        &self,
        path: &Path,
        below: &Path,
        (owned, allowed): (&BTreeSet<PathBuf>, &[PathBuf]),
        strangers: &mut Strangers,
    ) {
        if owned.contains(path) || allowed.iter().any(|name| name == below) {
            return;
        }
        let shown = self.shown(path);
        if source_of(path).is_some_and(|source| owned.contains(&source)) {
            strangers.bytecode.push(shown);
        } else {
            strangers.add(Finding { path: shown, problem: Problem::Stranger });
        }
    }

    /// What a script may import from its own folder: modules, and folders; of those that somebody has, each file.
    fn importable(
        &self,
        owned: &BTreeSet<PathBuf>,
        seen: &mut usize,
    ) -> Result<Vec<PathBuf>, EnvironmentError> {
        let mut all = Vec::new();
        if !self.scripts.is_dir() {
            return Ok(all);
        }
        for path in entries(&self.scripts)? {
            if path.is_dir() {
                let cache = path.ends_with("__pycache__");
                if cache || owned.range(path.clone()..).next().is_some_and(|file| file.starts_with(&path)) {
                    all.extend(walked(&path, seen)?);
                } else {
                    all.push(path);
                }
            } else if is_module(&path) {
                all.push(path);
            }
        }
        all.sort();
        Ok(all)
    }
}

impl Strangers {
    fn add(&mut self, finding: Finding) {
        self.count += 1;
        if self.findings.len() < MAX_NAMED {
            self.findings.push(finding);
        }
    }
}

/// All below a folder but folders, in order. Links are not followed.
fn walked(folder: &Path, seen: &mut usize) -> Result<Vec<PathBuf>, EnvironmentError> {
    let mut all = Vec::new();
    for entry in walkdir::WalkDir::new(folder).min_depth(1).sort_by_file_name() {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(folder).to_owned();
            io("reading", &path, &error.into())
        })?;
        *seen = seen.saturating_add(1);
        if *seen > MAX_FILES {
            return Err(EnvironmentError::TooMany { path: shown(folder), limit: MAX_FILES });
        }
        if !entry.file_type().is_dir() {
            all.push(entry.into_path());
        }
    }
    Ok(all)
}

fn is_module(path: &Path) -> bool {
    let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
    let module = MODULES.iter().any(|one| end.eq_ignore_ascii_case(one));
    module && path.file_name().is_none_or(|name| name != ACTIVATE)
}

fn is_known(below: &Path, path: &Path) -> bool {
    let mut known = KNOWN.iter().filter(|(name, _)| below == Path::new(name)).peekable();
    if known.peek().is_none() {
        return false;
    }
    let text = read(path, MAX_KNOWN).ok().flatten();
    text.is_some_and(|text| known.any(|(_, digest)| hex::encode(sha256(&text)) == *digest))
}
