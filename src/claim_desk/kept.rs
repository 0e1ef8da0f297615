//! Claims and receipts in the store.
//!
//! | file | what |
//! |---|---|
//! | `claims/told/PROJECT/VERSION/COMMITMENT.json` | a claim that the project's keys signed, with its salt, as it was sent |
//! | `claims/unchecked/PROJECT/VERSION/COMMITMENT.json` | one that nobody could check |
//! | `claims/receipts/AB/COMMITMENT.tlog-proof` | the proof that a commitment is logged |

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::DeskError;
use crate::python::ProjectName;
use crate::release_claim::{Claim, ClaimRequest, Commitment, MAX_REQUEST, Told};
use crate::store::{Content, Entry, Store, StoreError, StorePath};
use crate::tlog::proof_file::{MAX_PROOF_LEN, ProofFile};

/// Folder of all of it.
const CLAIMS: &str = "claims";
/// Claims of one version that are kept, at most: maintainers who build again claim again, but not so often.
const MAX_OF_VERSION: usize = 64;
/// Claims of one project that are kept, at most.
const MAX_OF_PROJECT: usize = 10_000;

/// What a claim is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trust {
    /// The project's keys signed it.
    Checked,
    /// Nobody knew whose keys should have.
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

    /// Refuses one more claim where there are too many.
    pub(super) async fn has_room(&self, told: &Told, trust: Trust) -> Result<(), DeskError> {
        let (project, version) = names(told);
        let all = self.0.list(&format!("{CLAIMS}/{}/{project}", trust.folder())).await?;
        let alike =
            all.iter().filter(|entry| parts(entry).is_some_and(|(_, other)| other == version)).count();
        if all.len() >= MAX_OF_PROJECT || alike >= MAX_OF_VERSION {
            return Err(DeskError::TooMany("the project has as many as are kept"));
        }
        Ok(())
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

    /// The claims of a version, those that were checked first.
    pub(super) async fn claims(&self, project: &ProjectName, version: &str) -> Result<Vec<Kept>, StoreError> {
        let (mut kept, max) = (Vec::new(), u64::try_from(MAX_REQUEST).unwrap_or(u64::MAX));
        for trust in [Trust::Checked, Trust::Unchecked] {
            // Checks that it is a name before anything is asked of the store.
            let folder = StorePath::new(format!("{CLAIMS}/{}/{project}/{version}", trust.folder()))?;
            let entries = self.0.list(folder.as_str()).await?;
            for entry in entries.iter().take(MAX_OF_VERSION) {
                let Some(object) = self.0.get(&entry.path, max).await? else { continue };
                let Some(claim) = claim_of(&object.bytes, project, version) else { continue };
                kept.push(Kept { claim, trust, since: entry.modified.into() });
            }
        }
        Ok(kept)
    }

    async fn each(&self, trust: Trust, visit: &mut (dyn FnMut(&Entry) + Send)) -> Result<(), StoreError> {
        let mut visit = |entry: Entry| {
            visit(&entry);
            Ok(())
        };
        self.0.walk(&format!("{CLAIMS}/{}", trust.folder()), &mut visit).await
    }
}

/// What lies in the place of a claim, if it is one of that version.
fn claim_of(bytes: &[u8], project: &ProjectName, version: &str) -> Option<Claim> {
    let Ok(ClaimRequest::Told(told)) = ClaimRequest::parse(bytes) else { return None };
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
