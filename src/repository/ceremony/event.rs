//! An event as a value: what it is based on, what it proposes, and who has signed so far.
//!
//! - Each root of the chain was accepted by the one before; each base file is signed as its delegator, or the root,
//!   demands. Who knows one of the roots knows that all this is the repository's.
//! - What is proposed is exactly what will be signed: content that renders to other bytes is refused.
//! - Each signature verifies, by a key that the old or the new delegator lists.
//!
//! Not checked here: whether the change is wise ([`super::rules`]), or the base is still current ([`super::finish`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::buckets::{BucketBase, Moves};
use super::error::CeremonyError;
use super::file::Core;
use crate::crypto::{PublicKey, sha256};
use crate::repository::claims::bucket::BucketEdit;
use crate::repository::claims::names::{Family, PROJECT};
use crate::repository::{LogPolicy, RepositoryError};
use crate::tuf::json::Json;
use crate::tuf::key::{Key, KeyId};
use crate::tuf::metadata::{Common, DelegatedRoles, Root, Targets, TopLevel, Version};
use crate::tuf::path::RoleName;
use crate::tuf::signed::{Authority, Draft, Payload, Verified};

/// Characters of a holder's name, at most: it is a line on a screen.
pub(super) const MAX_HOLDER: usize = 100;

/// The name of a ceremony: 1 to 64 lower-case letters, digits and hyphens, no hyphen first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventName(String);

impl EventName {
    /// Characters of a name, at most: it is a file's.
    pub const MAX: usize = 64;

    /// Checks the invariants.
    pub fn new(name: impl Into<String>) -> Result<Self, CeremonyError> {
        let name = name.into();
        let good = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if (1..=Self::MAX).contains(&name.len()) && name.bytes().all(good) && !name.starts_with('-') {
            return Ok(Self(name));
        }
        Err(CeremonyError::BadName(crate::tuf::json::quoted(&name)))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for EventName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A role's new content, with its version and expiry date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::repository) enum ProposedRole {
    /// Root.
    Root(Root),
    /// Top-level targets.
    Targets(Targets),
    /// A role that a targets role delegates to.
    Delegated {
        /// Who delegates to it.
        delegator: RoleName,
        /// Its name.
        role: RoleName,
        /// Its content.
        content: Targets,
    },
    /// A bucket of `claimed`.
    Bucket {
        /// `claimed`.
        delegator: RoleName,
        /// Its version and date.
        common: Common,
        /// What changes in it.
        edit: BucketEdit,
    },
}

impl ProposedRole {
    /// The role's name.
    pub(in crate::repository) fn name(&self) -> &str {
        match self {
            Self::Root(_) => "root",
            Self::Targets(_) => "targets",
            Self::Delegated { role, .. } => role.as_str(),
            Self::Bucket { edit, .. } => edit.role.as_str(),
        }
    }

    pub(super) fn common(&self) -> &Common {
        match self {
            Self::Root(root) => &root.common,
            Self::Targets(content) | Self::Delegated { content, .. } => &content.common,
            Self::Bucket { common, .. } => common,
        }
    }

    pub(super) fn common_mut(&mut self) -> &mut Common {
        match self {
            Self::Root(root) => &mut root.common,
            Self::Targets(content) | Self::Delegated { content, .. } => &mut content.common,
            Self::Bucket { common, .. } => common,
        }
    }

    /// The content of a targets role that is proposed whole.
    pub(in crate::repository) fn targets(&self) -> Option<&Targets> {
        match self {
            Self::Root(_) | Self::Bucket { .. } => None,
            Self::Targets(content) | Self::Delegated { content, .. } => Some(content),
        }
    }

    /// What is signed of a role that is proposed whole.
    pub(super) fn payload(&self) -> Option<Payload> {
        match self {
            Self::Root(root) => Some(Draft::new(root.clone()).payload()),
            Self::Targets(content) | Self::Delegated { content, .. } => {
                Some(Draft::new(content.clone()).payload())
            }
            Self::Bucket { .. } => None,
        }
    }

    /// A bucket of `claimed`.
    pub(super) fn bucket(&self) -> Option<&BucketEdit> {
        match self {
            Self::Bucket { edit, .. } => Some(edit),
            _ => None,
        }
    }

    /// Keys that it lists for others, or root for itself too. Those of projects are their maintainers' business.
    pub(super) fn keys(&self) -> &BTreeMap<KeyId, Key> {
        /// No keys.
        static NONE: BTreeMap<KeyId, Key> = BTreeMap::new();
        match self {
            Self::Root(root) => &root.keys,
            Self::Targets(content) | Self::Delegated { content, .. } => {
                content.delegations.as_ref().map_or(&NONE, |delegations| &delegations.keys)
            }
            Self::Bucket { .. } => &NONE,
        }
    }
}

/// A signature, and what its maker's machine noted about it. Date and name are not signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) key: KeyId,
    pub(super) signature: Vec<u8>,
    pub(super) at: DateTime<Utc>,
    pub(super) holder: Option<String>,
}

/// A proposed role and its signatures so far.
#[derive(Debug, Clone)]
pub(super) struct Proposal {
    pub(super) role: ProposedRole,
    pub(super) payload: Arc<Payload>,
    /// Of the bytes that are signed.
    pub(super) sha256: [u8; 32],
    pub(super) marks: Vec<Mark>,
}

impl Proposal {
    pub(super) fn new(role: ProposedRole, payload: Payload) -> Self {
        Self { role, sha256: sha256(payload.to_sign()), payload: Arc::new(payload), marks: Vec::new() }
    }

    /// The keys that signed it and count for `authority`.
    pub(super) fn signed_by(&self, authority: &Authority<'_>) -> Vec<KeyId> {
        let marks = self.marks.iter().map(|mark| (&mark.key, mark.signature.as_slice()));
        authority.signed_by(self.payload.to_sign(), marks)
    }

    /// The file with all signatures.
    pub(super) fn file(&self) -> Vec<u8> {
        let marks = self.marks.iter().map(|mark| (mark.key.clone(), mark.signature.clone()));
        self.payload.assemble(&marks.collect::<Vec<_>>())
    }
}

/// A targets role as it is now.
#[derive(Debug, Clone)]
pub(super) struct Base {
    /// `None`: root.
    pub(super) delegator: Option<RoleName>,
    pub(super) metadata: Verified<Targets>,
}

/// What a change is based on: the newest roots, oldest first and never empty, and targets roles by name.
#[derive(Debug, Clone)]
pub(super) struct Basis {
    pub(super) roots: Vec<Verified<Root>>,
    pub(super) roles: BTreeMap<String, Base>,
    /// Buckets of `claimed`, of which only what is needed later is kept.
    pub(super) buckets: BTreeMap<String, BucketBase>,
}

impl Basis {
    /// The newest root.
    pub(super) fn root(&self) -> Result<&Verified<Root>, CeremonyError> {
        self.roots.last().ok_or_else(|| CeremonyError::Malformed("it has no root".to_owned()))
    }

    /// A targets role as it is now.
    pub(super) fn targets(&self, role: &str) -> Option<&Verified<Targets>> {
        self.roles.get(role).map(|base| &base.metadata)
    }

    /// Version and expiry date of a targets role as it is now.
    pub(super) fn dated(&self, role: &str) -> Option<(Version, DateTime<Utc>)> {
        let bucket = self.buckets.get(role).map(|bucket| (bucket.version, bucket.expires));
        bucket.or_else(|| self.targets(role).map(|role| (role.common.version, role.common.expires)))
    }

    /// SHA-256 of the file of a targets role as it is now.
    pub(super) fn digest(&self, role: &str) -> Option<[u8; 32]> {
        let bucket = self.buckets.get(role).map(|bucket| bucket.sha256);
        bucket.or_else(|| self.targets(role).map(|role| sha256(role.bytes())))
    }
}

/// A proposed change of roles, and the signatures so far.
#[derive(Debug, Clone)]
pub struct Event {
    pub(super) name: EventName,
    pub(super) started: DateTime<Utc>,
    pub(super) basis: Basis,
    pub(super) proposals: Vec<Proposal>,
    /// Proofs of possession of new keys.
    pub(super) proofs: Vec<Mark>,
    /// What changes for projects.
    pub(super) moves: Moves,
    /// All this but signatures, as it is written.
    pub(super) core: Core,
}

/// The two that may have a say about one role.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delegators<'a> {
    /// Who delegates to it now, if anybody does.
    pub(super) old: Option<Authority<'a>>,
    /// Who does after the change.
    pub(super) new: Authority<'a>,
}

impl<'a> Delegators<'a> {
    /// Both, or one where they say the same.
    pub(super) fn both(&self) -> Vec<Authority<'a>> {
        let old = self.old.filter(|old| !old.same_as(&self.new));
        old.into_iter().chain([self.new]).collect()
    }

    /// The ids under which either lists a public key.
    pub(super) fn ids(&self, public: &PublicKey) -> Vec<(KeyId, Key)> {
        let keys = self.both().into_iter().flat_map(|authority| authority.keys().collect::<Vec<_>>());
        let same = keys.filter(|(_, key)| key.public() == Some(public));
        let ids: BTreeMap<_, _> = same.map(|(id, key)| (id.clone(), key.clone())).collect();
        ids.into_iter().collect()
    }
}

impl Event {
    /// Its name.
    pub fn name(&self) -> &EventName {
        &self.name
    }

    /// When it was started, as its author's machine noted.
    pub fn started(&self) -> DateTime<Utc> {
        self.started
    }

    /// Names of the roles that it changes.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.proposals.iter().map(|proposal| proposal.role.name())
    }

    /// The same, with the buckets of `claimed` counted instead of named if there are several.
    pub fn roles_in_short(&self) -> Vec<String> {
        in_short(self.roles())
    }

    pub(super) fn proposal(&self, role: &str) -> Result<&Proposal, CeremonyError> {
        let found = self.proposals.iter().find(|proposal| proposal.role.name() == role);
        found.ok_or_else(|| self.not_proposed(role))
    }

    pub(super) fn not_proposed(&self, role: &str) -> CeremonyError {
        CeremonyError::NotProposed { name: self.name.to_string(), role: crate::tuf::json::quoted(role) }
    }

    /// Exactly the bytes that are to be signed for a role.
    pub fn payload(&self, role: &str) -> Result<&[u8], CeremonyError> {
        Ok(self.proposal(role)?.payload.to_sign())
    }

    /// The proposed root.
    pub(super) fn new_root(&self) -> Option<&Root> {
        self.proposals.iter().find_map(|proposal| match &proposal.role {
            ProposedRole::Root(root) => Some(root),
            _ => None,
        })
    }

    /// The proposed content of a targets role.
    pub(super) fn new_targets(&self, role: &str) -> Option<&Targets> {
        let found = self.proposals.iter().find(|proposal| proposal.role.name() == role);
        found.and_then(|proposal| proposal.role.targets())
    }

    /// The policy of the transparency log, if the ceremony proposes one.
    pub fn log_policy(&self) -> Result<Option<LogPolicy>, RepositoryError> {
        Ok(self.new_targets(TopLevel::Targets.name()).map(LogPolicy::of).transpose()?.flatten())
    }

    /// A targets role as it is after the change.
    pub(super) fn after(&self, role: &str) -> Option<&Targets> {
        self.new_targets(role).or_else(|| self.basis.targets(role).map(|metadata| &**metadata))
    }

    /// Root as it is after the change.
    pub(super) fn root_after(&self) -> Result<&Root, CeremonyError> {
        match self.new_root() {
            Some(root) => Ok(root),
            None => self.basis.root().map(|root| &**root),
        }
    }

    /// Who says which keys sign a proposed role.
    pub(super) fn delegators<'a>(&'a self, role: &'a ProposedRole) -> Result<Delegators<'a>, CeremonyError> {
        let root = self.basis.root()?;
        let top = match role {
            ProposedRole::Root(_) => TopLevel::Root,
            ProposedRole::Targets(_) => TopLevel::Targets,
            ProposedRole::Delegated { delegator, role, .. }
            | ProposedRole::Bucket { delegator, edit: BucketEdit { role, .. }, .. } => {
                let by = |content: &'a Targets| {
                    content
                        .delegations
                        .as_ref()
                        .and_then(|delegations| delegations.authority(delegator, role))
                };
                let old = self.basis.targets(delegator.as_str()).and_then(|metadata| by(metadata));
                let new = self.after(delegator.as_str()).and_then(by);
                let nobody = || CeremonyError::Malformed(format!("{delegator} does not delegate to {role}"));
                return Ok(Delegators { old, new: new.ok_or_else(nobody)? });
            }
        };
        Ok(Delegators { old: Some(root.authority(top)), new: self.root_after()?.authority(top) })
    }

    /// SHA-256 of everything but signatures, which are all that may differ between copies of one event.
    pub(super) fn digest(&self) -> String {
        hex::encode(self.core.digest())
    }

    /// What the holder of a new key signs to show that they hold it. `digest` is that of the event.
    pub(super) fn statement(&self, key: &KeyId, digest: &str) -> Vec<u8> {
        let statement = Json::object([
            ("_type", Json::str("wheelseal-join")),
            ("ceremony", Json::str(self.name.as_str())),
            ("keyid", Json::str(key.as_str())),
            ("proposal", Json::str(digest)),
        ]);
        statement.canonical()
    }

    /// The keys that no current role lists, by id, and whether somebody has shown to hold each. Keys of a project's
    /// maintainers are not among them: who claims a project shows it there.
    pub(super) fn new_keys(&self) -> Vec<(KeyId, Key, bool)> {
        let known = self.known_keys();
        let mut new = BTreeMap::new();
        for proposal in &self.proposals {
            let listed = listed(&proposal.role);
            for (id, key) in proposal.role.keys().iter().filter(|(id, _)| listed.contains(id)) {
                if !key.public().is_some_and(|public| known.contains(public)) {
                    new.entry(id.clone()).or_insert_with(|| key.clone());
                }
            }
        }
        let proven = |(id, key): (KeyId, Key)| {
            let proven = self.is_proven(&id, &key);
            (id, key, proven)
        };
        new.into_iter().map(proven).collect()
    }

    /// Public keys that the base lists anywhere.
    pub(super) fn known_keys(&self) -> BTreeSet<PublicKey> {
        let roots = self.basis.roots.last().into_iter().flat_map(|root| root.keys.values());
        let delegations = self.basis.roles.values().filter_map(|base| base.metadata.delegations.as_ref());
        let delegated = delegations.flat_map(|delegations| delegations.keys.values());
        roots.chain(delegated).filter_map(|key| key.public().cloned()).collect()
    }

    /// By a statement, or by a signature over what is proposed.
    fn is_proven(&self, id: &KeyId, key: &Key) -> bool {
        let stated = self.proofs.iter().any(|proof| proof.key == *id);
        stated
            || self.proposals.iter().any(|proposal| {
                let own = |mark: &&Mark| mark.key == *id;
                proposal
                    .marks
                    .iter()
                    .filter(own)
                    .any(|mark| key.verifies(proposal.payload.to_sign(), &mark.signature))
            })
    }

    /// What a key's holder is called, if they said so.
    pub(super) fn holder(&self, key: &KeyId) -> Option<&str> {
        let marks = self.proposals.iter().flat_map(|proposal| &proposal.marks).chain(&self.proofs);
        marks.filter(|mark| mark.key == *key).find_map(|mark| mark.holder.as_deref())
    }

    /// Start of the id, after the holder's name if it is known.
    pub(super) fn called(&self, key: &KeyId) -> String {
        match self.holder(key) {
            Some(holder) => format!("{holder} {}", key.short()),
            None => key.short(),
        }
    }
}

/// The ids of keys that a role lists for others than projects' maintainers.
fn listed(role: &ProposedRole) -> BTreeSet<&KeyId> {
    let delegations = match role {
        ProposedRole::Root(root) => {
            let roles = [&root.root, &root.timestamp, &root.snapshot, &root.targets];
            return roles.into_iter().flat_map(|role| &role.keyids).collect();
        }
        ProposedRole::Targets(content) | ProposedRole::Delegated { content, .. } => &content.delegations,
        ProposedRole::Bucket { .. } => return BTreeSet::new(),
    };
    match delegations.as_ref().map(|delegations| &delegations.roles) {
        None => BTreeSet::new(),
        Some(DelegatedRoles::Succinct(bins)) => bins.keyids.iter().collect(),
        Some(DelegatedRoles::Listed(roles)) => {
            let roles = roles.iter().filter(|role| !role.name.as_str().starts_with(PROJECT));
            roles.flat_map(|role| &role.keyids).collect()
        }
    }
}

/// Names of roles, with the buckets of `claimed` counted instead of named if there are several.
pub fn in_short<'a>(roles: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let (buckets, others): (Vec<_>, Vec<_>) =
        roles.into_iter().partition(|role| Family::Claimed.number(role).is_some());
    let mut short: Vec<String> = others.into_iter().map(ToOwned::to_owned).collect();
    match buckets.as_slice() {
        [] => {}
        [one] => short.push((*one).to_owned()),
        many => short.push(format!("{} buckets of claimed", many.len())),
    }
    short
}
