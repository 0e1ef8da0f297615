//! Claims and receipts in the store.
//!
//! | file | what |
//! |---|---|
//! | `claims/told/PROJECT/VERSION/COMMITMENT.json` | a claim that the project's keys signed, with its salt, as it was sent |
//! | `claims/unchecked/PROJECT/VERSION/COMMITMENT.json` | one that nobody could check |
//! | `claims/receipts/AB/COMMITMENT.tlog-proof` | the proof that a commitment is logged |
//! | `claims/embargoed/HASH` | day and number of the commitments of a project whose name has that SHA-256: `DAY COUNT` |
//! | `claims/embargoed/unchecked` | the same of all that nobody could check, which have no day |
//!
//! Where there is no room for a claim, those that the project's present keys do not verify make it.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::teams::Team;
use super::{DeskError, MAX_UNCHECKED};
use crate::crypto::sha256;
use crate::python::ProjectName;
use crate::release_claim::{Claim, ClaimRequest, Commitment, MAX_REQUEST, Told};
use crate::store::{Content, Entry, Store, StoreError, StorePath};
use crate::tlog::proof_file::{MAX_PROOF_LEN, ProofFile};

/// Folder of all of it.
const CLAIMS: &str = "claims";
/// Claims of one version that are kept, at most: maintainers who build again claim again, but not so often.
const MAX_OF_VERSION: usize = 64;
/// Bytes of these, at most: what is judged is read at once.
const MAX_BYTES_OF_VERSION: u64 = 8 * 1024 * 1024;
/// Claims of one project that are kept, at most.
const MAX_OF_PROJECT: usize = 10_000;
/// Bytes of these, at most.
const MAX_BYTES_OF_PROJECT: u64 = 256 * 1024 * 1024;
/// Claims that are looked at to make room for one, at most.
const MAX_LOOKED_AT: usize = 256;
/// Embargoed commitments of one project in a day.
const EMBARGOED_A_DAY: usize = 100;

/// What a claim is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trust {
    /// The project's keys signed it.
    Checked,
    /// Nobody knew whose keys should have, or they are the project's no longer.
    Unchecked,
}

impl Trust {
    fn folder(self) -> &'static str {
        match self {
            Self::Checked => "told",
            Self::Unchecked => "unchecked",
        }
    }
}

/// A claim that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What it says.
    pub claim: Claim,
    /// What it is worth.
    pub trust: Trust,
    /// When it came, by the store's clock.
    pub since: DateTime<Utc>,
}

/// The claims in a store.
pub(super) struct Book<'a>(pub(super) &'a dyn Store);

impl Book<'_> {
    /// The receipt for a commitment, if there is one.
    pub(super) async fn receipt(&self, commitment: &Commitment) -> Result<Option<ProofFile>, DeskError> {
        let max = u64::try_from(MAX_PROOF_LEN).unwrap_or(u64::MAX);
        let kept = self.0.get(&receipt_at(commitment)?, max).await?;
        Ok(kept.map(|kept| ProofFile::parse(&kept.bytes)).transpose()?)
    }

    /// Keeps a receipt; the one that was kept first, if there is one.
    pub(super) async fn keep_receipt(
        &self,
        commitment: &Commitment,
        receipt: ProofFile,
    ) -> Result<ProofFile, DeskError> {
        let text = receipt.to_string();
        match self.0.create(&receipt_at(commitment)?, Content::Bytes(text.as_bytes())).await {
            Ok(()) => Ok(receipt),
            Err(StoreError::Exists { .. }) => Ok(self.receipt(commitment).await?.unwrap_or(receipt)),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a claim is kept.
    pub(super) async fn has(&self, told: &Told, trust: Trust) -> Result<bool, DeskError> {
        Ok(self.0.exist(&[claim_at(told, trust)?]).await?.contains(&true))
    }

    /// Refuses one more claim where there are too many that the project's present keys signed.
    pub(super) async fn has_room(
        &self,
        told: &Told,
        trust: Trust,
        team: Option<&Team>,
    ) -> Result<(), DeskError> {
        let (project, version) = names(told);
        let mut all = self.0.list(&format!("{CLAIMS}/{}/{project}", trust.folder())).await?;
        let (Err(_), Some(team)) = (room(&all, version), team) else { return room(&all, version) };
        // Not all are looked at: begin elsewhere for each claim, after those of the version.
        let start = told.commitment().leaf().sha256.iter().fold(0_usize, |sum, byte| {
            sum.wrapping_mul(256).wrapping_add(usize::from(*byte)).checked_rem(all.len()).unwrap_or(0)
        });
        all.rotate_left(start);
        all.sort_by_key(|entry| parts(entry).is_none_or(|(_, other)| other != version));
        let (max, mut stale) = (u64::try_from(MAX_REQUEST).unwrap_or(u64::MAX), BTreeSet::new());
        for entry in all.iter().take(MAX_LOOKED_AT) {
            let Some(object) = self.0.get(&entry.path, max).await? else { continue };
            if !ClaimRequest::parse(&object.bytes).is_ok_and(|kept| team.verify(&kept).is_ok()) {
                self.0.delete(&entry.path).await?;
                stale.insert(entry.path.clone());
            }
        }
        all.retain(|entry| !stale.contains(&entry.path));
        room(&all, version)
    }

    /// Counts an embargoed commitment, of a project or of those that nobody could check. This is all that is kept of whose
    /// it is.
    pub(super) async fn count_embargoed(
        &self,
        project: Option<&ProjectName>,
        now: DateTime<Utc>,
    ) -> Result<(), DeskError> {
        let day = project.map_or(0, |_| now.timestamp().div_euclid(24 * 60 * 60));
        let at = embargoed_at(project)?;
        let kept = self.0.get(&at, MAX_COUNT).await?;
        let (count, tag) = kept.map_or((0, None), |kept| (counted(&kept.bytes, day), Some(kept.tag)));
        let most = if project.is_some() { EMBARGOED_A_DAY } else { MAX_UNCHECKED };
        if count >= most {
            return Err(DeskError::TooMany("embargoed ones, try again tomorrow"));
        }
        let text = format!("{day} {}\n", count.saturating_add(1));
        match self.0.swap(&at, text.as_bytes(), tag.as_ref()).await {
            Ok(_) => Ok(()),
            Err(StoreError::Conflict { .. }) => Err(DeskError::TooMany("at once, try again")),
            Err(error) => Err(error.into()),
        }
    }

    /// Embargoed commitments that nobody could check.
    pub(super) async fn embargoed(&self) -> Result<usize, StoreError> {
        let kept = self.0.get(&embargoed_at(None)?, MAX_COUNT).await?;
        Ok(kept.map_or(0, |kept| counted(&kept.bytes, 0)))
    }

    /// Keeps a claim.
    pub(super) async fn keep(&self, told: &Told, trust: Trust) -> Result<(), DeskError> {
        match self.0.create(&claim_at(told, trust)?, Content::Bytes(told.to_string().as_bytes())).await {
            Ok(()) | Err(StoreError::Exists { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// How many claims are kept.
    pub(super) async fn count(&self, trust: Trust) -> Result<usize, StoreError> {
        let mut count = 0_usize;
        self.each(trust, &mut |_| count = count.saturating_add(1)).await?;
        Ok(count)
    }

    /// The releases of all claims.
    pub(super) async fn releases(&self) -> Result<BTreeSet<(ProjectName, String)>, StoreError> {
        let mut releases = BTreeSet::new();
        for trust in [Trust::Checked, Trust::Unchecked] {
            let mut visit = |entry: &Entry| {
                releases.extend(parts(entry).and_then(|(project, version)| {
                    Some((ProjectName::from_normalised(project).ok()?, version.to_owned()))
                }));
            };
            self.each(trust, &mut visit).await?;
        }
        Ok(releases)
    }

    /// The versions of a project's claims.
    pub(super) async fn versions(&self, project: &ProjectName) -> Result<BTreeSet<String>, StoreError> {
        let mut versions = BTreeSet::new();
        for trust in [Trust::Checked, Trust::Unchecked] {
            let entries = self.0.list(&format!("{CLAIMS}/{}/{project}", trust.folder())).await?;
            versions.extend(entries.iter().filter_map(|entry| Some(parts(entry)?.1.to_owned())));
        }
        Ok(versions)
    }

    /// The claims of a version, those that were checked first. Those that the present team did not sign are so no longer.
    pub(super) async fn claims(
        &self,
        project: &ProjectName,
        version: &str,
        team: Option<Team>,
    ) -> Result<Vec<Kept>, DeskError> {
        let (mut found, max) = (Vec::new(), u64::try_from(MAX_REQUEST).unwrap_or(u64::MAX));
        for trust in [Trust::Checked, Trust::Unchecked] {
            // Checks that it is a name before anything is asked of the store.
            let folder = StorePath::new(format!("{CLAIMS}/{}/{project}/{version}", trust.folder()))?;
            let entries = self.0.list(folder.as_str()).await?;
            let mut left = MAX_BYTES_OF_VERSION;
            for entry in entries.iter().take(MAX_OF_VERSION) {
                let Some(enough) = left.checked_sub(entry.len) else { break };
                left = enough;
                let Some(object) = self.0.get(&entry.path, max).await? else { continue };
                found.push((trust, DateTime::<Utc>::from(entry.modified), object.bytes));
            }
        }
        let (project, version) = (project.clone(), version.to_owned());
        let read = move || {
            let read = found.into_iter().filter_map(|(trust, since, bytes)| {
                let request = ClaimRequest::parse(&bytes).ok()?;
                let of_team = team.as_ref().is_none_or(|team| team.verify(&request).is_ok());
                let trust = if of_team { trust } else { Trust::Unchecked };
                Some(Kept { claim: claim_of(request, &project, &version)?, trust, since })
            });
            let mut kept: Vec<Kept> = read.collect();
            kept.sort_by_key(|kept| kept.trust);
            kept
        };
        tokio::task::spawn_blocking(read).await.map_err(|_| DeskError::Stopped)
    }

    async fn each(&self, trust: Trust, visit: &mut (dyn FnMut(&Entry) + Send)) -> Result<(), StoreError> {
        let mut visit = |entry: Entry| {
            visit(&entry);
            Ok(())
        };
        self.0.walk(&format!("{CLAIMS}/{}", trust.folder()), &mut visit).await
    }
}

/// Bytes of a counter, at most.
const MAX_COUNT: u64 = 64;

/// Refuses one more claim of a version.
fn room(all: &[Entry], version: &str) -> Result<(), DeskError> {
    let of_it = |entry: &&Entry| parts(entry).is_some_and(|(_, other)| other == version);
    let bytes = |entry: &Entry| entry.len;
    if all.iter().filter(of_it).count() >= MAX_OF_VERSION
        || all.iter().filter(of_it).map(bytes).sum::<u64>()
            >= MAX_BYTES_OF_VERSION.saturating_sub(u64::try_from(MAX_REQUEST).unwrap_or(u64::MAX))
    {
        return Err(DeskError::Full("version"));
    }
    if all.len() >= MAX_OF_PROJECT || all.iter().map(bytes).sum::<u64>() >= MAX_BYTES_OF_PROJECT {
        return Err(DeskError::Full("project"));
    }
    Ok(())
}

/// What a counter says of a day.
fn counted(bytes: &[u8], day: i64) -> usize {
    let text = str::from_utf8(bytes).unwrap_or_default();
    let read = text.trim_end().split_once(' ');
    read.filter(|(of, _)| of.parse() == Ok(day)).and_then(|(_, count)| count.parse().ok()).unwrap_or(0)
}

fn embargoed_at(project: Option<&ProjectName>) -> Result<StorePath, StoreError> {
    let name = project.map(|project| hex::encode(sha256(project.as_str().as_bytes())));
    StorePath::new(format!("{CLAIMS}/embargoed/{}", name.as_deref().unwrap_or("unchecked")))
}

/// What lies in the place of a claim, if it is one of that version.
fn claim_of(request: ClaimRequest, project: &ProjectName, version: &str) -> Option<Claim> {
    let ClaimRequest::Told(told) = request else { return None };
    let claim = told.claim.unauthenticated();
    (claim.project() == project && claim.version() == version).then(|| claim.clone())
}

/// Project and version in the path of a claim.
fn parts(entry: &Entry) -> Option<(&str, &str)> {
    let mut segments = entry.path.segments().skip(2);
    Some((segments.next()?, segments.next()?))
}

fn names(told: &Told) -> (&ProjectName, &str) {
    let claim = told.claim.unauthenticated();
    (claim.project(), claim.version())
}

fn claim_at(told: &Told, trust: Trust) -> Result<StorePath, StoreError> {
    let ((project, version), commitment) = (names(told), told.commitment().to_hex());
    StorePath::new(format!("{CLAIMS}/{}/{project}/{version}/{commitment}.json", trust.folder()))
}

fn receipt_at(commitment: &Commitment) -> Result<StorePath, StoreError> {
    let name = commitment.to_hex();
    let shard = name.get(..2).unwrap_or_default();
    StorePath::new(format!("{CLAIMS}/receipts/{shard}/{name}.tlog-proof"))
}
