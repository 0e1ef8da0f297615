//! Files in `site-packages` that no distribution has.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::compare::source_of;
use super::{Environment, EnvironmentError, Finding, Problem, io, read, shown};
use crate::crypto::sha256;

/// Files in an environment that are looked at, at most: the largest have some 500,000.
const MAX_FILES: usize = 10_000_000;
/// Findings that are named, at most; all are counted.
const MAX_NAMED: usize = 1_000;
/// What tools that make environments leave in them, and list nowhere, by name and SHA-256: uv before 0.13.
const KNOWN: [(&str, &str); 2] = [
    ("_virtualenv.pth", "69ac3d8f27e679c81b94ab30b3b56e9cd138219b1ba94a1fa3606d5a76a1433d"),
    ("_virtualenv.py", "cfb3db86aaa53bb62b5ff764970bec2d71c9228590a0ebec57f6ec926cc0bf1a"),
];
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
    /// Files in the folders of modules that are not `owned`, nor bytecode of what is. `allowed` are names below such a folder.
    pub fn strangers(
        &self,
        owned: &BTreeSet<PathBuf>,
        allowed: &[PathBuf],
    ) -> Result<Strangers, EnvironmentError> {
        let (mut strangers, mut seen) = (Strangers::default(), 0_usize);
        for site in &self.sites {
            for entry in walkdir::WalkDir::new(site).min_depth(1).sort_by_file_name() {
                let entry = entry.map_err(|error| {
                    let path = error.path().unwrap_or(site).to_owned();
                    io("reading", &path, &error.into())
                })?;
                seen += 1;
                if seen > MAX_FILES {
                    return Err(EnvironmentError::TooMany { path: shown(site), limit: MAX_FILES });
                }
                if entry.file_type().is_dir() || owned.contains(entry.path()) {
                    continue;
                }
                let below = entry.path().strip_prefix(site).unwrap_or(entry.path());
                if allowed.iter().any(|name| name == below) || is_known(below, entry.path()) {
                    continue;
                }
                let path = self.shown(entry.path());
                if source_of(entry.path()).is_some_and(|source| owned.contains(&source)) {
                    strangers.bytecode.push(path);
                    continue;
                }
                strangers.count += 1;
                if strangers.findings.len() < MAX_NAMED {
                    strangers.findings.push(Finding { path, problem: Problem::Stranger });
                }
            }
        }
        Ok(strangers)
    }
}

fn is_known(below: &Path, path: &Path) -> bool {
    let known = KNOWN.iter().find(|(name, _)| below == Path::new(name));
    known.is_some_and(|(_, digest)| {
        let text = read(path, MAX_KNOWN).ok().flatten();
        text.is_some_and(|text| hex::encode(sha256(&text)) == *digest)
    })
}
