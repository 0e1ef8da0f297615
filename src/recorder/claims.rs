//! What maintainers claimed, held against what the index gave out.
//!
//! Judged is a version for which a claim came, or of which a file was recorded, since the round before; and each version of
//! which a claimed file is still missing, until that was told. A conflict is kept and told as others are. What nobody could check is counted, and
//! named, and nothing more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::conflict::Conflict;
use super::fetch::Taken;
use super::{RecordError, Round};
use crate::claim_desk::{ClaimDesk, DeskError, Kept, Trust};
use crate::python::{ProjectName, ProjectPage};
use crate::release_claim::{Claim, Standing, standings};
use crate::repository::{Repository, State};
use crate::tlog::leaf::FileLeaf;
use crate::tuf::path::TargetPath;

/// What is remembered as told, at most; more is told again.
const MAX_TOLD: usize = 100_000;
/// Files of one project that a round names, at most: the rest is counted, and one project does not hide others.
const MAX_NAMED: usize = 10;

/// How many files stand how, of the releases that a round looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Standings {
    /// Claimed, and recorded with the same bytes.
    pub agree: u64,
    /// Recorded, and not claimed.
    pub index_only: u64,
    /// Claimed, and not at the index.
    pub claim_only: u64,
    /// Of these, those whose claim is older than they may be late.
    pub overdue: u64,
    /// Claimed with other bytes than the index gave out.
    pub conflict: u64,
    /// The same, by claims that nobody could check.
    pub doubtful: u64,
}

/// The desk whose claims a recorder judges.
#[derive(Debug)]
pub struct Claims {
    desk: Arc<ClaimDesk>,
    late: TimeDelta,
    /// To be judged at the end of the round.
    due: BTreeSet<(ProjectName, String)>,
    /// What was told of files.
    told: BTreeSet<String>,
    /// How much was named of each project since it was last asked what is to be judged.
    named: BTreeMap<ProjectName, usize>,
}

/// A version, as claims and index have it.
#[derive(Debug, Default)]
pub(super) struct Release {
    /// By target path.
    pub(super) files: BTreeMap<String, Standing>,
    /// Files that the index has other bytes of than claimed, as claimed and as recorded.
    conflicts: Vec<(FileLeaf, FileLeaf)>,
    /// Those of which only claims say so that nobody could check.
    pub(super) doubtful: BTreeSet<String>,
    /// When each file was first claimed.
    since: BTreeMap<String, DateTime<Utc>>,
}

impl Claims {
    /// Judges the claims of a desk. A claimed file is overdue after `late`.
    pub fn new(desk: Arc<ClaimDesk>, late: TimeDelta) -> Self {
        Self { desk, late, due: BTreeSet::new(), told: BTreeSet::new(), named: BTreeMap::new() }
    }

    /// Files were recorded.
    pub(super) async fn recorded(&mut self, files: &[&Taken], round: &mut Round) -> Result<(), RecordError> {
        let mut known: BTreeMap<&ProjectName, BTreeSet<String>> = BTreeMap::new();
        for taken in files {
            let (project, version) =
                (taken.offer.filename.project(), taken.offer.filename.version().to_string());
            let claimed = match known.get(project) {
                Some(claimed) => claimed,
                None => known.entry(project).or_insert(self.desk.versions(project).await.map_err(failed)?),
            };
            if claimed.contains(&version) {
                self.due.insert((project.clone(), version));
                continue;
            }
            let counts = round.claims.get_or_insert_default();
            counts.index_only = counts.index_only.saturating_add(1);
            if !claimed.is_empty() {
                let why =
                    format!("{}: nobody claimed it, as they did others of {project}", taken.offer.filename);
                name(&mut self.named, project, why, round);
            }
        }
        Ok(())
    }

    /// What is to be judged: it stays so until it is [`Self::done`].
    pub(super) fn due(&mut self) -> Vec<(ProjectName, String)> {
        self.due.extend(self.desk.news());
        self.due.iter().cloned().collect()
    }

    /// A round is over: the next may name as much.
    pub(super) fn rest(&mut self) {
        self.named.clear();
    }

    /// Judges a version; the conflicts, and whether files are missing that nobody was told of.
    pub(super) async fn judge(
        &mut self,
        repository: &Repository,
        state: &State,
        (project, version): &(ProjectName, String),
        round: &mut Round,
        now: DateTime<Utc>,
    ) -> Result<(Vec<Conflict>, bool), RecordError> {
        let release = look(repository, state, &self.desk, (project, version), now).await.map_err(failed)?;
        let waits = self.count(project, &release, round, now);
        let conflicts = release.conflicts.iter().map(|(claimed, seen)| Conflict::of_claim(claimed, seen));
        Ok((conflicts.collect(), waits))
    }

    /// A version was judged, and its conflicts are kept.
    pub(super) fn done(&mut self, release: &(ProjectName, String)) {
        self.due.remove(release);
    }

    /// Counts the files, and tells once what somebody may want to know; whether one is missing that may still come.
    fn count(
        &mut self,
        project: &ProjectName,
        release: &Release,
        round: &mut Round,
        now: DateTime<Utc>,
    ) -> bool {
        let (mut waits, mut said) = (false, Vec::new());
        let counts = round.claims.get_or_insert_default();
        for (path, standing) in &release.files {
            let count = match standing {
                Standing::Agree => &mut counts.agree,
                Standing::IndexOnly => &mut counts.index_only,
                Standing::ClaimOnly => &mut counts.claim_only,
                Standing::Conflict => &mut counts.conflict,
            };
            *count = count.saturating_add(1);
            let late =
                release.since.get(path).is_some_and(|since| now.signed_duration_since(since) > self.late);
            match standing {
                Standing::ClaimOnly if late => {
                    counts.overdue = counts.overdue.saturating_add(1);
                    let hours = self.late.num_hours();
                    said.push(format!(
                        "{path}: claimed more than {hours} h ago, and the index does not have it"
                    ));
                }
                Standing::ClaimOnly => waits = true,
                Standing::IndexOnly if !release.since.is_empty() => {
                    said.push(format!("{path}: nobody claimed it, as they did others of its release"));
                }
                _ => {}
            }
        }
        for path in &release.doubtful {
            counts.doubtful = counts.doubtful.saturating_add(1);
            said.push(format!("{path}: a claim that nobody could check has other bytes"));
        }
        for why in said {
            if self.told.len() >= MAX_TOLD || self.told.insert(why.clone()) {
                name(&mut self.named, project, why, round);
            }
        }
        waits
    }
}

/// Names some files of each project.
fn name(named: &mut BTreeMap<ProjectName, usize>, project: &ProjectName, why: String, round: &mut Round) {
    let count = named.entry(project.clone()).or_default();
    *count = count.saturating_add(1);
    if *count <= MAX_NAMED {
        round.name(why);
    } else if *count == MAX_NAMED.saturating_add(1) {
        round.name(format!("{project}: there is more like it, which is counted and not named"));
    }
}

/// How the files of a version stand.
pub(super) async fn look(
    repository: &Repository,
    state: &State,
    desk: &ClaimDesk,
    (project, version): (&ProjectName, &str),
    now: DateTime<Utc>,
) -> Result<Release, DeskError> {
    let kept = desk.claims(project, version, now).await?;
    let seen = seen(repository, state, project, version, &kept).await?;
    let compared = tokio::task::spawn_blocking(move || Release::of(kept, &seen)).await;
    compared.map_err(|_| DeskError::Stopped)
}

impl Release {
    fn of(kept: Vec<Kept>, seen: &BTreeMap<String, FileLeaf>) -> Self {
        let mut release = Self::default();
        let (mut checked, mut unchecked) = (Vec::new(), Vec::new());
        for Kept { claim, trust, since: claimed } in kept {
            if trust == Trust::Unchecked {
                unchecked.push(claim);
                continue;
            }
            for file in claim.files() {
                let since = release.since.entry(file.path().to_owned()).or_insert(claimed);
                *since = claimed.min(*since);
            }
            checked.push(claim);
        }
        let mut claimed: BTreeMap<&str, &FileLeaf> = BTreeMap::new();
        for file in checked.iter().flat_map(Claim::files) {
            claimed.entry(file.path()).or_insert(file);
        }
        for (path, standing) in standings(&checked, seen) {
            release.files.insert(path.to_owned(), standing);
            if let (Standing::Conflict, Some(claimed), Some(seen)) =
                (standing, claimed.get(path), seen.get(path))
            {
                release.conflicts.push(((*claimed).clone(), seen.clone()));
            }
        }
        let doubtful = standings(&unchecked, seen).into_iter();
        let doubtful = doubtful.filter(|(_, standing)| *standing == Standing::Conflict);
        release.doubtful.extend(doubtful.map(|(path, _)| path.to_owned()));
        release
    }
}

/// What is recorded of a version: its distributions, and those of their metadata files that were claimed.
async fn seen(
    repository: &Repository,
    state: &State,
    project: &ProjectName,
    version: &str,
    kept: &[Kept],
) -> Result<BTreeMap<String, FileLeaf>, DeskError> {
    let mut seen = BTreeMap::new();
    let add = |seen: &mut BTreeMap<_, _>, path: &str, length, sha256: [u8; 32]| {
        // What is no leaf was never claimed either.
        if let Ok(Some(leaf)) = FileLeaf::of_target(path, length, sha256) {
            seen.insert(path.to_owned(), leaf);
        }
    };
    let page = repository.page(state, project).await?;
    for file in page.iter().flat_map(ProjectPage::files) {
        let mut sha256 = [0; 32];
        let of_it = file.filename.version().to_string() == version;
        if of_it && hex::decode_to_slice(file.sha256.as_str(), &mut sha256).is_ok() {
            add(&mut seen, &format!("{project}/{}", file.filename), file.size, sha256);
        }
    }
    let files: BTreeSet<String> = seen.keys().cloned().collect();
    let claimed: BTreeSet<&str> =
        kept.iter().flat_map(|kept| kept.claim.files()).map(FileLeaf::path).collect();
    for path in claimed {
        // Without its file there is none.
        if !path.strip_suffix(".metadata").is_some_and(|file| files.contains(file)) {
            continue;
        }
        let Ok(target) = TargetPath::new(path) else { continue };
        let file = repository.target(state, &target).await?;
        if let Some((length, sha256)) = file.and_then(|file| Some((file.length, file.hashes.sha256?))) {
            add(&mut seen, path, length, sha256);
        }
    }
    Ok(seen)
}

fn failed(error: DeskError) -> RecordError {
    match error {
        DeskError::Repository(error) => error.into(),
        DeskError::Store(error) => error.into(),
        error => RecordError::local("reading", &"claims", &error),
    }
}
