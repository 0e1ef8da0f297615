//! What should be in the store, and what is: both on one board, a [`Spill`] by the hash of the path, where they meet.
//!
//! | record | bytes |
//! |---|---|
//! | wanted | `0`, what it is, whether it is current, SHA-256, length, the path or the target it is of |
//! | found | `1`, its length, its path |

use crate::crypto::sha256;
use crate::python::ProjectName;
use crate::repository::check::names::plain_name;
use crate::repository::kept::KeptRole;
use crate::repository::plain::project_of;
use crate::repository::{RepositoryError, layout, path};
use crate::spill::{BUDGET, PARTITIONS, Records, Spill};
use crate::store::{Entry, StorePath};
use crate::tuf::metadata::{Extra, Hashes, TargetFile, Targets};
use crate::tuf::path::TargetPath;

use super::{Finding, Part};

/// First bytes of the records.
const WANTED: u8 = 0;
const FOUND: u8 = 1;

/// The kinds of wanted files, as they are written down.
const METADATA: u8 = 0;
const HASHED: u8 = 1;
const PLAIN: u8 = 2;
const PAGE_JSON: u8 = 3;
const PAGE_HTML: u8 = 4;
const LIST: u8 = 5;

/// A file that should be there.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) at: StorePath,
    pub(super) current: bool,
    pub(super) kind: Kind,
}

/// What it is, and of which target.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Metadata,
    Hashed(TargetPath, TargetFile),
    Plain(TargetPath, TargetFile),
    PageJson(TargetPath, TargetFile),
    PageHtml(TargetPath, TargetFile),
    List,
}

impl Wanted {
    pub(super) fn part(&self) -> Part {
        match self.kind {
            Kind::Metadata => Part::Metadata,
            Kind::Hashed(..) => Part::File,
            Kind::Plain(..) => Part::Copy,
            Kind::PageJson(..) | Kind::PageHtml(..) | Kind::List => Part::Page,
        }
    }

    /// How long it should be, where that is known.
    pub(super) fn len(&self) -> Option<u64> {
        match &self.kind {
            Kind::Hashed(_, file) | Kind::Plain(_, file) => Some(file.length),
            _ => None,
        }
    }

    /// Whether it is missing or of the wrong length. The lists of projects are looked at for themselves.
    pub(super) fn doubtful(&self, found: Option<u64>) -> bool {
        !matches!(self.kind, Kind::List)
            && found.is_none_or(|found| self.len().is_some_and(|len| len != found))
    }

    fn read(kind: u8, rest: &[u8]) -> Result<Option<Self>, RepositoryError> {
        let Some(([current], rest)) = rest.split_first_chunk() else { return Ok(None) };
        let Some((digest, rest)) = rest.split_first_chunk::<32>() else { return Ok(None) };
        let Some((length, name)) = rest.split_first_chunk() else { return Ok(None) };
        let Ok(name) = std::str::from_utf8(name) else { return Ok(None) };
        let current = *current == 1;
        if matches!(kind, METADATA | LIST) {
            let kind = if kind == LIST { Kind::List } else { Kind::Metadata };
            return Ok(Some(Self { at: path(name)?, current, kind }));
        }
        let length = u64::from_be_bytes(*length);
        let file = TargetFile { length, hashes: Hashes::sha256(*digest), extra: Extra::new() };
        let target = TargetPath::new(name)?;
        let Some(at) = place(kind, &target, digest)? else { return Ok(None) };
        let kind = match kind {
            HASHED => Kind::Hashed(target, file),
            PLAIN => Kind::Plain(target, file),
            PAGE_JSON => Kind::PageJson(target, file),
            _ => Kind::PageHtml(target, file),
        };
        Ok(Some(Self { at, current, kind }))
    }
}

/// Where a file of a target lies.
fn place(kind: u8, target: &TargetPath, digest: &[u8; 32]) -> Result<Option<StorePath>, RepositoryError> {
    let project = || project_of(target).and_then(|name| ProjectName::from_normalised(name).ok());
    Ok(match kind {
        HASHED => Some(layout::hashed(target, digest)?),
        PLAIN => Some(layout::plain(target)?),
        PAGE_JSON => project().map(|project| layout::simple(&project, "index.json")).transpose()?,
        _ => project().map(|project| layout::simple(&project, "index.html")).transpose()?,
    })
}

/// What is learnt from a role.
#[derive(Default)]
pub(super) struct Told {
    /// What is wrong with its file, unless it is missing: the walk finds that.
    pub(super) bad: Option<Finding>,
    /// Whether it does not read, so that nobody knows what it names.
    pub(super) unread: bool,
    /// The projects whose pages it lists.
    pub(super) projects: Vec<String>,
}

/// Wanted and found.
pub(super) struct Board {
    spill: Spill,
}

/// One partition, sorted out.
#[derive(Default)]
pub(super) struct Sorted {
    /// How many files are wanted.
    pub(super) wanted: u64,
    /// Each with the length of what was found.
    pub(super) there: Vec<(Wanted, Option<u64>)>,
    /// Paths and lengths of what nothing names.
    pub(super) strays: Vec<(String, u64)>,
}

impl Board {
    pub(super) fn new() -> Self {
        Self { spill: Spill::new(PARTITIONS, BUDGET) }
    }

    pub(super) fn partitions(&self) -> usize {
        self.spill.partitions()
    }

    /// A metadata file that should be there.
    pub(super) fn metadata(&self, at: &StorePath) -> Result<(), RepositoryError> {
        self.want(METADATA, at, true, at.as_str(), &[0; 32], 0)
    }

    /// A list of all projects that should be there.
    fn list(&self, file: &str) -> Result<(), RepositoryError> {
        let at = path(format!("{}/{file}", layout::SIMPLE))?;
        self.want(LIST, &at, true, at.as_str(), &[0; 32], 0)
    }

    /// A role, and all it lists that is not in `newer` as well.
    pub(super) fn role(&self, role: &KeptRole, newer: Option<&Targets>) -> Result<Told, RepositoryError> {
        // That of a retired bin may be there still: then it is no stray.
        let current = role.current && !role.retired();
        self.want(METADATA, &role.at, current, role.at.as_str(), &[0; 32], 0)?;
        let mut told = Told::default();
        let targets = match &role.found {
            None => return Ok(told),
            Some(Ok(targets)) => targets,
            Some(Err(error)) => {
                told.unread = true;
                told.bad = (!matches!(error, RepositoryError::Missing(_))).then(|| Finding::Bad {
                    path: role.at.to_string(),
                    part: Part::Metadata,
                    what: error.to_string(),
                    superseded: !role.current,
                    repaired: false,
                });
                return Ok(told);
            }
        };
        for (name, file) in &targets.targets {
            if newer.is_some_and(|newer| newer.targets.get(name) == Some(file)) {
                continue;
            }
            told.projects.extend(self.target(&TargetPath::new(name)?, file, role.current)?);
        }
        Ok(told)
    }

    /// The files of a target; its project if it is a page.
    fn target(
        &self,
        target: &TargetPath,
        file: &TargetFile,
        current: bool,
    ) -> Result<Option<String>, RepositoryError> {
        let Some(digest) = &file.hashes.sha256 else { return Ok(None) };
        let project = project_of(target);
        // What plain pip reads is of the current state alone; what an older one named is left to gc.
        let kinds: &[u8] = match project {
            Some(_) if current => &[HASHED, PAGE_JSON, PAGE_HTML],
            None => &[HASHED, PLAIN],
            Some(_) => &[HASHED],
        };
        for kind in kinds {
            if let Some(at) = place(*kind, target, digest)? {
                self.want(*kind, &at, current, target.as_str(), digest, file.length)?;
            }
        }
        if project.is_some() && current {
            self.list("index.json")?;
            self.list("index.html")?;
            return Ok(project.map(ToOwned::to_owned));
        }
        Ok(None)
    }

    fn want(
        &self,
        kind: u8,
        at: &StorePath,
        current: bool,
        name: &str,
        digest: &[u8; 32],
        length: u64,
    ) -> Result<(), RepositoryError> {
        let mut record = vec![WANTED, kind, u8::from(current)];
        record.extend(digest);
        record.extend(length.to_be_bytes());
        record.extend(name.as_bytes());
        Ok(self.spill.push(key_of(at.as_str()), &record)?)
    }

    /// A file that is there.
    pub(super) fn found(&self, entry: &Entry) -> Result<(), RepositoryError> {
        let mut record = vec![FOUND];
        record.extend(entry.len.to_be_bytes());
        record.extend(entry.path.as_str().as_bytes());
        Ok(self.spill.push(key_of(entry.path.as_str()), &record)?)
    }

    pub(super) fn partition(&self, index: usize) -> Result<Sorted, RepositoryError> {
        sorted(&self.spill.partition(index)?)
    }
}

/// Compressed copies meet their plain files.
fn key_of(path: &str) -> u64 {
    let digest = sha256(plain_name(path).as_bytes());
    u64::from_be_bytes(*digest.split_first_chunk().map_or(&[0; 8], |(key, _)| key))
}

fn sorted(records: &Records) -> Result<Sorted, RepositoryError> {
    let mut sorted = Sorted::default();
    let mut group: (u64, Vec<Wanted>, Vec<(String, u64)>) = (0, Vec::new(), Vec::new());
    for (key, record) in records.iter() {
        if key != group.0 {
            let (_, wanted, found) = std::mem::replace(&mut group, (key, Vec::new(), Vec::new()));
            sorted.meet(wanted, &found);
        }
        match record {
            [WANTED, kind, rest @ ..] => group.1.extend(Wanted::read(*kind, rest)?),
            [FOUND, rest @ ..] => {
                let Some((len, name)) = rest.split_first_chunk() else { continue };
                group.2.push((String::from_utf8_lossy(name).into_owned(), u64::from_be_bytes(*len)));
            }
            _ => {}
        }
    }
    sorted.meet(group.1, &group.2);
    Ok(sorted)
}

impl Sorted {
    /// Files with one hash of their paths: mostly one that is wanted, and found.
    fn meet(&mut self, mut wanted: Vec<Wanted>, found: &[(String, u64)]) {
        // One that is current too is first, and stands for the others. A copy of older content is not wanted any more.
        wanted.sort_by(|one, other| one.at.cmp(&other.at).then(other.current.cmp(&one.current)));
        wanted.dedup_by(|later, first| later.at == first.at);
        for (path, len) in found {
            if !wanted.iter().any(|wanted| wanted.at.as_str() == plain_name(path)) {
                self.strays.push((path.clone(), *len));
            }
        }
        for wanted in wanted {
            let there = found.iter().find(|(path, _)| path == wanted.at.as_str()).map(|(_, len)| *len);
            // The file of a bin that is retired may be gone.
            if there.is_some() || wanted.current || !matches!(wanted.kind, Kind::Metadata) {
                self.wanted += 1;
                self.there.push((wanted, there));
            }
        }
    }
}
