//! A page of the index against what was recorded: what is new, and what contradicts. Pure.

use std::collections::{HashMap, HashSet};

use reqwest::Url;

use super::conflict::{Conflict, Fingerprint, MAX_KEPT, Source};
use crate::crawl::Change;
use crate::python::{DistributionFilename, ForeignFile, Offer, PageFile, ProjectPage, Sha256Hex, has_ending};

/// Bytes of a file name, at most: `.metadata.SHA256.SOURCE.json.evidence.txt` behind it makes 255, a name in every store.
pub(super) const MAX_NAME: usize = 157;
/// Files of one version that are recorded, at most: each is compared with all others. Public projects have some hundreds.
const MAX_OF_VERSION: usize = 2_000;
/// Characters of a name that are shown.
const SHOWN: usize = 120;

/// A file that is to be fetched.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) offer: Offer,
    pub(super) url: Url,
}

/// What a page says that is not recorded.
#[derive(Debug, Default)]
pub(super) struct Compared {
    pub(super) wanted: Vec<Wanted>,
    pub(super) conflicts: Vec<Conflict>,
    /// Files that are not recorded, and why.
    pub(super) left_out: Vec<String>,
    /// Files that were there before recording began: to be written down again.
    pub(super) passed_over: Vec<String>,
}

/// Holds a changed page against the recorder's own, if it has one. `pass_over`: whatever is new on it is not to be recorded.
pub(super) fn compare(change: &Change, own: Option<&ProjectPage>, pass_over: bool) -> Compared {
    let mut desk = Desk::of(change, own, pass_over);
    for file in change.files.iter().filter(|file| has_ending(file.filename())) {
        if desk.compared.conflicts.len() >= MAX_KEPT {
            let why =
                format!("{}: its page has {MAX_KEPT} contradictions, and is read no further", change.project);
            desk.compared.left_out.push(why);
            break;
        }
        if let Err(why) = desk.file(file) {
            let shown: String = file.filename().chars().take(SHOWN).collect();
            desk.compared.left_out.push(format!("{}: {shown:?}: {why}", change.project));
        }
    }
    desk.compared
}

/// A page that is being compared.
struct Desk<'a> {
    change: &'a Change,
    /// What is recorded, by file name.
    own: HashMap<&'a str, &'a PageFile>,
    /// What was passed over before.
    before: HashSet<&'a str>,
    pass_over: bool,
    /// What the page lists and is wanted, with its hash, by file name.
    taken: HashMap<String, Option<Sha256Hex>>,
    /// What is recorded or wanted, by version.
    versions: HashMap<String, Vec<DistributionFilename>>,
    compared: Compared,
}

impl<'a> Desk<'a> {
    fn of(change: &'a Change, own: Option<&'a ProjectPage>, pass_over: bool) -> Self {
        let files = || own.into_iter().flat_map(ProjectPage::files);
        let mut versions: HashMap<String, Vec<DistributionFilename>> = HashMap::new();
        for file in files() {
            versions.entry(file.filename.version().to_string()).or_default().push(file.filename.clone());
        }
        Self {
            change,
            own: files().map(|file| (file.filename.as_str(), file)).collect(),
            before: change.before.iter().flatten().map(String::as_str).collect(),
            pass_over,
            taken: HashMap::new(),
            versions,
            compared: Compared::default(),
        }
    }

    /// Sorts one file; the reason if it is left out.
    fn file(&mut self, file: &ForeignFile) -> Result<(), String> {
        let offer = file.offer(&self.change.project)?;
        if let Some(known) = self.own.get(offer.filename.as_str()) {
            self.compared.conflicts.extend(contradictions(known, &offer));
            return Ok(());
        }
        if let Some(first) = self.taken.get(offer.filename.as_str()) {
            self.compared.conflicts.extend(twice(&offer, first.as_ref()));
            return Ok(());
        }
        if offer.filename.as_str().len() > MAX_NAME {
            return Err(format!("its name has more than {MAX_NAME} bytes"));
        }
        let line = note_of(&offer);
        if self.pass_over || self.before.contains(line.as_str()) {
            self.compared.passed_over.push(line);
            return Ok(());
        }
        let alike = self.versions.entry(offer.filename.version().to_string()).or_default();
        if alike.len() >= MAX_OF_VERSION {
            return Err(format!("the version has more than {MAX_OF_VERSION} files"));
        }
        if alike.iter().any(|other| other.is_taken_for(&offer.filename)) {
            return Err("another file of the project is taken for it".to_owned());
        }
        let url = self.change.locate(&offer.url)?;
        alike.push(offer.filename.clone());
        self.taken.insert(offer.filename.to_string(), offer.sha256.clone());
        self.compared.wanted.push(Wanted { offer, url });
        Ok(())
    }
}

/// A file and the hash it had, as it is written down.
fn note_of(offer: &Offer) -> String {
    let sha256 = offer.sha256.as_ref().map_or("", |sha256| sha256.as_str());
    format!("{}\t{sha256}", offer.filename)
}

/// What the index says of a recorded file that is not so.
fn contradictions(known: &PageFile, offer: &Offer) -> Vec<Conflict> {
    let mut conflicts = Vec::new();
    let same_size = offer.size.is_none_or(|size| size == known.size);
    if let Some(sha256) = offer.sha256.as_ref().filter(|sha256| **sha256 != known.sha256 || !same_size) {
        let expected = Fingerprint { length: Some(known.size), sha256: known.sha256.clone() };
        let found = Fingerprint { length: offer.size, sha256: sha256.clone() };
        conflicts.push(Conflict::of_file(&known.filename, Source::Index, expected, found));
    }
    if let (Some(known_metadata), Some(sha256)) = (&known.core_metadata_sha256, &offer.metadata)
        && known_metadata != sha256
    {
        let found = Fingerprint { length: None, sha256: sha256.clone() };
        conflicts.push(Conflict::of_metadata(&known.filename, Source::Index, known_metadata, found));
    }
    conflicts
}

/// A page that lists a file twice, with two hashes.
fn twice(offer: &Offer, first: Option<&Sha256Hex>) -> Option<Conflict> {
    let (expected, found) = (first?.clone(), offer.sha256.clone()?);
    let content = |sha256, length| Fingerprint { length, sha256 };
    (expected != found).then(|| {
        let (expected, found) = (content(expected, None), content(found, offer.size));
        Conflict::of_file(&offer.filename, Source::Index, expected, found)
    })
}
