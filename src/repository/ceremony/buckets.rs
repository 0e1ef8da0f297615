//! The buckets of `claimed` in an event: each present file is looked at once, gives what is to be signed in its place, and
//! is forgotten. What changes for projects is found on the way, whichever bucket they end up in.
//!
//! A project that is neither kept nor put anywhere is removed, and told as such: also if its bucket gives way to others.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::error::CeremonyError;
use crate::python::ProjectName;
use crate::repository::claims::bucket::{BucketEdit, Take};
use crate::repository::claims::names::{Family, PROJECT, project_role};
use crate::repository::claims::tree::{Owners, Tree};
use crate::repository::state::CLAIMED;
use crate::tuf::metadata::{Common, Targets, Version};
use crate::tuf::path::RoleName;
use crate::tuf::roster::Roster;
use crate::tuf::signed::Payload;

/// What is kept of a bucket as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BucketBase {
    pub(super) version: Version,
    pub(super) expires: DateTime<Utc>,
    /// Of its file.
    pub(super) sha256: [u8; 32],
}

/// What an event changes for projects that the offline keys vouch for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Moves {
    /// Projects that nobody vouched for, and their owners.
    pub(super) added: BTreeMap<ProjectName, Owners>,
    /// Projects with others keys than before.
    pub(super) changed: BTreeMap<ProjectName, Owners>,
    /// Projects, or roles that are none's, that nobody vouches for any more.
    pub(super) removed: BTreeSet<String>,
    /// Why it must not be signed.
    pub(super) refusals: Vec<String>,
}

/// What `claimed` says of its buckets: by prefix, before and after.
struct Plan {
    before: BTreeMap<String, RoleName>,
    after: BTreeMap<String, RoleName>,
}

/// The proposed buckets, while the present ones come by.
pub(super) struct Desk<'a> {
    edits: Vec<(&'a Common, &'a BucketEdit)>,
    payloads: Vec<Option<Payload>>,
    plan: Plan,
    /// Proposals that go on from a bucket.
    takers: BTreeMap<&'a str, Vec<usize>>,
    /// Projects that are put somewhere, by the bucket that had them if anyone had.
    sought: BTreeMap<RoleName, Vec<&'a ProjectName>>,
    put: BTreeMap<&'a str, &'a Owners>,
    found: BTreeMap<&'a ProjectName, Owners>,
    seen: BTreeSet<String>,
    removed: BTreeSet<String>,
}

fn malformed(reason: impl Into<String>) -> CeremonyError {
    CeremonyError::Malformed(reason.into())
}

impl<'a> Desk<'a> {
    /// `before`, `after`: `claimed` as it is now, if it is known, and as it is to be.
    pub(super) fn new(
        edits: Vec<(&'a Common, &'a BucketEdit)>,
        before: Option<&Targets>,
        after: Option<&Targets>,
    ) -> Result<Self, CeremonyError> {
        let plan = Plan { before: prefixes(before)?, after: prefixes(after)? };
        let mut desk = Self {
            payloads: edits.iter().map(|_| None).collect(),
            plan,
            takers: BTreeMap::new(),
            sought: BTreeMap::new(),
            put: BTreeMap::new(),
            found: BTreeMap::new(),
            seen: BTreeSet::new(),
            removed: BTreeSet::new(),
            edits,
        };
        for (at, (_, edit)) in desk.edits.iter().enumerate() {
            if let Some(from) = &edit.from {
                desk.takers.entry(from.as_str()).or_default().push(at);
            }
            for (project, owners) in &edit.put {
                if desk.put.insert(project.as_str(), owners).is_some() {
                    return Err(malformed(format!("it puts {project} into two buckets")));
                }
                if let Some(bucket) = bucket_of(&desk.plan.before, project.as_str()) {
                    desk.sought.entry(bucket.clone()).or_default().push(project);
                }
            }
        }
        Ok(desk)
    }

    /// The present buckets that it needs: those that are changed, give way, or had a project that is put elsewhere.
    pub(super) fn needs(&self) -> BTreeSet<RoleName> {
        let (before, after) = (names(&self.plan.before), names(&self.plan.after));
        let own = self.edits.iter().map(|(_, edit)| &edit.role).filter(|role| before.contains(role));
        let gone = before.difference(&after).copied();
        let from = self.edits.iter().filter_map(|(_, edit)| edit.from.as_ref());
        own.chain(gone).chain(from).chain(self.sought.keys()).cloned().collect()
    }

    /// Looks at a bucket as it is now. Each comes by once.
    pub(super) fn see(&mut self, bucket: &str, roster: &Roster) -> Result<(), CeremonyError> {
        let takers = self.takers.get(bucket).cloned().unwrap_or_default();
        for at in &takers {
            let Some((common, edit)) = self.edits.get(*at) else { continue };
            let payload = edit.payload(roster, common.version, common.expires);
            let payload = payload.map_err(|error| malformed(error.to_string()))?;
            if let Some(place) = self.payloads.get_mut(*at) {
                *place = Some(payload);
            }
        }
        for project in self.sought.iter().filter(|(name, _)| name.as_str() == bucket).flat_map(|(_, all)| all)
        {
            if let Some(owners) = owners(roster, project)? {
                self.found.insert(project, owners);
            }
        }
        self.note_removed(bucket, &takers, roster);
        self.seen.insert(bucket.to_owned());
        Ok(())
    }

    /// Projects of a bucket that go on nowhere.
    fn note_removed(&mut self, bucket: &str, followers: &[usize], roster: &Roster) {
        let proposed = self.edits.iter().any(|(_, edit)| edit.role.as_str() == bucket);
        let stays = self.plan.after.values().any(|role| role.as_str() == bucket);
        let takes: Vec<&Take> =
            followers.iter().filter_map(|at| self.edits.get(*at)).map(|(_, edit)| &edit.take).collect();
        let all = takes.iter().any(|take| **take == Take::AllBut(BTreeSet::new()));
        if all || stays && !proposed {
            return;
        }
        for role in roster.names().filter(|role| !takes.iter().any(|take| take.takes(role))) {
            let project = role.strip_prefix(PROJECT).unwrap_or(role);
            if !self.put.contains_key(project) {
                self.removed.insert(project.to_owned());
            }
        }
    }

    /// What is signed of each bucket, in the order in which they were proposed, and what changes for projects.
    pub(super) fn done(mut self) -> Result<(Vec<Payload>, Moves), CeremonyError> {
        if let Some(missing) = self.needs().into_iter().find(|name| !self.seen.contains(name.as_str())) {
            return Err(malformed(format!("it does not have {missing} as it is now")));
        }
        let mut payloads = Vec::with_capacity(self.edits.len());
        for ((common, edit), payload) in self.edits.iter().zip(std::mem::take(&mut self.payloads)) {
            payloads.push(match payload {
                Some(payload) => payload,
                None => edit
                    .payload(&Roster::empty(), common.version, common.expires)
                    .map_err(|error| malformed(error.to_string()))?,
            });
        }
        let refusals = self.refusals();
        let mut moves = Moves { removed: self.removed, refusals, ..Moves::default() };
        for (project, owners) in self.edits.iter().flat_map(|(_, edit)| &edit.put) {
            match self.found.get(project) {
                None => drop(moves.added.insert(project.clone(), owners.clone())),
                Some(known) if known == owners => {}
                Some(_) => drop(moves.changed.insert(project.clone(), owners.clone())),
            }
        }
        Ok((payloads, moves))
    }

    /// Clients look for a project where `claimed` says, and a bucket's prefixes never change.
    fn refusals(&self) -> Vec<String> {
        let mut refusals = Vec::new();
        for (_, edit) in &self.edits {
            let only = match &edit.take {
                Take::Only(only) => only.iter().map(String::as_str).collect(),
                Take::AllBut(_) => Vec::new(),
            };
            for project in edit.put.keys().map(ProjectName::as_str).chain(only) {
                if bucket_of(&self.plan.after, project) != Some(&edit.role) {
                    refusals
                        .push(format!("{} would have {project}, which nobody looks for there", edit.role));
                }
            }
        }
        let (before, after) = (&self.plan.before, &self.plan.after);
        let (old, new) = (names(before), names(after));
        let others = before.iter().chain(after).filter(|(prefix, bucket)| {
            let both = old.contains(bucket) && new.contains(bucket);
            both && before.get(*prefix) != after.get(*prefix)
        });
        refusals
            .extend(others.map(|(_, bucket)| format!("{bucket} would answer for other names than before")));
        refusals
    }
}

fn names(prefixes: &BTreeMap<String, RoleName>) -> BTreeSet<&RoleName> {
    prefixes.values().collect()
}

/// The bucket that answers for a name.
fn bucket_of<'a>(prefixes: &'a BTreeMap<String, RoleName>, name: &str) -> Option<&'a RoleName> {
    (0..=name.len()).rev().find_map(|length| prefixes.get(name.get(..length)?))
}

fn prefixes(claimed: Option<&Targets>) -> Result<BTreeMap<String, RoleName>, CeremonyError> {
    let Some(claimed) = claimed else { return Ok(BTreeMap::new()) };
    let nobody = Owners { keys: BTreeMap::new(), threshold: 1 };
    let tree = Tree::read(Family::Claimed, claimed, nobody, 0);
    let tree = tree.map_err(|error| malformed(format!("{CLAIMED}: {error}")))?;
    Ok(tree.prefixes().clone())
}

fn owners(roster: &Roster, project: &ProjectName) -> Result<Option<Owners>, CeremonyError> {
    let role = project_role(project).map_err(|error| malformed(error.to_string()))?;
    let found = roster.find(role.as_str()).map_err(|error| malformed(error.to_string()))?;
    Ok(found.map(|found| Owners { keys: found.keys, threshold: found.role.threshold }))
}
