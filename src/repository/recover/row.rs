//! What one role says of one path, as a record. Pure.
//!
//! A record starts with what is compared, then whose side it is: sorted, both sides of one path stand side by side.

use serde::{Deserialize, Serialize};

use crate::crypto::sha256;
use crate::python::ProjectPage;
use crate::repository::RepositoryError;
use crate::repository::ceremony::Subject;
use crate::repository::state::BINS;
use crate::spill::SpillError;
use crate::tuf::metadata::{DelegatedRole, DelegatedRoles, Delegations, Root, TargetFile, TopLevel};
use crate::tuf::path::RoleName;
use crate::tuf::signed::Authority;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Item {
    /// A file or page, and the role that lists it.
    Target,
    /// A role, and who may sign it.
    Delegation,
}

/// What one side says of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Said {
    /// The role that says it.
    pub role: String,
    /// In words: hash and length of a file; keys and threshold of a role.
    pub text: String,
}

/// Whose word it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Side {
    Good,
    Present,
}

/// A record. The order of its fields is the order of records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) item: Item,
    pub(super) path: String,
    pub(super) side: Side,
    pub(super) said: Said,
    /// A digest of all that counts.
    detail: String,
}

impl Row {
    pub(super) fn target(role: &str, side: Side, path: &str, file: &TargetFile) -> Self {
        let hash = file.hashes.name().unwrap_or_default();
        let text = format!("SHA-256 {hash}, {} bytes", file.length);
        Self::new(Item::Target, path, side, (role, text), &format!("{file:?}"))
    }

    /// A page counts by what it says: its serial changes with each change, and so after a restoration too.
    pub(super) fn page(role: &str, side: Side, path: &str, page: &ProjectPage) -> Self {
        let text = format!("a page of {} files", page.files().len());
        let mut page = page.clone();
        page.serial = 0;
        Self::new(Item::Target, path, side, (role, text), &page.to_json())
    }

    /// Who signs the roles that root names.
    pub(super) fn of_root(root: &Root, side: Side) -> Vec<Self> {
        let roles = [TopLevel::Root, TopLevel::Timestamp, TopLevel::Snapshot, TopLevel::Targets];
        let row = |role: TopLevel| {
            let (text, detail) = signers(&root.authority(role));
            Self::new(Item::Delegation, role.name(), side, ("root", text), &detail)
        };
        roles.into_iter().map(row).collect()
    }

    /// The roles that a targets role delegates to. All bins are one, so that new keys for them are one difference.
    pub(super) fn of_delegations(
        delegator: &str,
        delegations: &Delegations,
        side: Side,
    ) -> Result<Vec<Self>, RepositoryError> {
        let name = match delegator {
            "targets" => RoleName::targets(),
            other => RoleName::delegated(other)?,
        };
        let row = |role: &str, (text, detail): (String, String)| {
            Self::new(Item::Delegation, role, side, (delegator, text), &detail)
        };
        let all = match &delegations.roles {
            DelegatedRoles::Succinct(bins) => {
                let first = bins.role_at(0)?;
                let Some(authority) = delegations.authority(&name, &first) else { return Ok(Vec::new()) };
                let (text, detail) = signers(&authority);
                let (count, prefix) = (bins.count(), &bins.name_prefix);
                return Ok(vec![row(
                    Subject::BinN.name(),
                    (format!("{count} bins, {text}"), format!("{detail} {count} {prefix}")),
                )]);
            }
            DelegatedRoles::Listed(roles) => roles,
        };
        // Buckets list projects by name, and no two speak for one path; elsewhere the first role that matches is asked.
        let ordered = ["targets", BINS].contains(&delegator);
        let mut rows = Vec::new();
        for (place, role) in all.iter().enumerate() {
            let Some(authority) = delegations.authority(&name, &role.name) else { continue };
            let (text, detail) = signers(&authority);
            let DelegatedRole { terminating, paths, .. } = role;
            let place = if ordered { place } else { 0 };
            rows.push((role, (text, format!("{detail} {place} {terminating} {paths:?}"))));
        }
        if delegator == BINS {
            let text = rows.first().map(|(_, (text, _))| text.clone()).unwrap_or_default();
            let details: String = rows.iter().map(|(_, (_, detail))| detail.as_str()).collect();
            let said = (format!("{} bins, {text}", rows.len()), details);
            return Ok(vec![row(Subject::BinN.name(), said)]);
        }
        Ok(rows.into_iter().map(|(role, said)| row(role.name.as_str(), said)).collect())
    }

    fn new(item: Item, path: &str, side: Side, (role, text): (&str, String), detail: &str) -> Self {
        let said = Said { role: role.to_owned(), text };
        let detail = hex::encode(sha256(detail.as_bytes()));
        Self { item, path: path.to_owned(), side, said, detail }
    }

    /// Whether both are about the same.
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.item == other.item && self.path == other.path
    }

    /// Whether both say the same.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        self.detail == other.detail
    }

    /// Sorting key and record.
    pub(super) fn encode(&self) -> Result<(u64, Vec<u8>), RepositoryError> {
        let digest = sha256(self.path.as_bytes());
        let key = digest.first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
        let bytes = serde_json::to_vec(self).map_err(|_| SpillError::Damaged)?;
        Ok((key, bytes))
    }

    pub(super) fn decode(record: &[u8]) -> Result<Self, RepositoryError> {
        Ok(serde_json::from_slice(record).map_err(|_| SpillError::Damaged)?)
    }
}

/// Threshold and keys, for people; and the keys themselves, under whatever ids.
fn signers(authority: &Authority<'_>) -> (String, String) {
    let ids: Vec<_> = authority.keys().map(|(id, _)| id.short()).collect();
    let mut keys: Vec<_> = authority.keys().map(|(_, key)| format!("{:?}", key.public())).collect();
    keys.sort();
    let threshold = authority.threshold();
    (format!("{threshold} of the keys {}", ids.join(", ")), format!("{threshold} {keys:?}"))
}
