//! What a ceremony means, in words: shown before each signature.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::buckets::Moves;
use super::build::Subject;
use super::error::CeremonyError;
use super::event::{Delegators, Event, Proposal, ProposedRole, in_short};
use super::rules::{judge, version_before};
use crate::crypto::sha256;
use crate::python::ProjectName;
use crate::repository::claims::tree::Owners;
use crate::repository::log::{LogPolicy, POLICY};
use crate::repository::settings::Expiry;
use crate::repository::state::BINS;
use crate::tuf::key::{Key, KeyId};
use crate::tuf::metadata::{
    DelegatedRole, DelegatedRoles, Delegations, Extra, PathSet, Root, Targets, TopLevel, Version,
};
use crate::tuf::signed::Authority;

/// Names that are shown of a long list, unless all are asked for.
const SHOWN: usize = 10;

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Counts, and the first names of long lists.
    Brief,
    /// Everything.
    Full,
}

/// A ceremony as its signers see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Review {
    /// The ceremony.
    pub name: String,
    /// When it was started, as its author's machine noted.
    pub started: DateTime<Utc>,
    /// What tells this proposal from any other; say it to each other.
    pub digest: String,
    /// Version of the root it is based on.
    pub root: Version,
    /// SHA-256 of that root's file.
    pub root_sha256: String,
    /// What changes, role by role.
    pub roles: Vec<RoleReview>,
    /// What should be thought of first.
    pub warnings: Vec<String>,
    /// Why it must not be signed; empty, or else nothing signs it.
    pub refusals: Vec<String>,
    /// New keys, and whether somebody has shown to hold each.
    pub new_keys: Vec<NewKey>,
}

/// A key that no role had before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewKey {
    /// Its id.
    pub key: String,
    /// Its holder, if they said so.
    pub holder: Option<String>,
    /// Whether somebody has shown to hold it.
    pub proven: bool,
}

/// One role's change and its signatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoleReview {
    /// The role, or how many buckets of `claimed` these are.
    pub role: String,
    /// How many buckets of `claimed` are told of together; 0: it is one role.
    #[serde(skip_serializing_if = "is_none")]
    pub buckets: usize,
    /// Its version now; 0 if there is none. Of several, the lowest.
    pub from: Version,
    /// Its version after. Of several, the highest.
    pub to: Version,
    /// Until when its new file is good. Of several, the first to expire.
    pub expires: DateTime<Utc>,
    /// SHA-256 of the bytes that are signed. Of several, of these digests, one after the other.
    pub payload_sha256: String,
    /// What changes, in words.
    pub changes: Vec<String>,
    /// What follows from it, in words.
    pub consequences: Vec<String>,
    /// Who must sign, and who has.
    pub signatures: Vec<Count>,
}

/// Signatures that one delegator asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Count {
    /// `now`, `after`, or `now and after`: whose keys are asked for.
    pub by: &'static str,
    /// How many are needed.
    pub needed: u64,
    /// Keys that have signed: holder and start of the id.
    pub signed: Vec<String>,
    /// Keys that have not.
    pub missing: Vec<String>,
}

impl Count {
    /// Whether it is enough.
    pub fn complete(&self) -> bool {
        u64::try_from(self.signed.len()).unwrap_or(u64::MAX) >= self.needed
    }

    /// Takes in the count of one more role: who signed is who signed all.
    fn and(&mut self, other: Self) {
        let (both, some): (Vec<_>, Vec<_>) =
            self.signed.drain(..).partition(|key| other.signed.contains(key));
        self.needed = self.needed.max(other.needed);
        self.signed = both;
        for key in some.into_iter().chain(other.signed).chain(other.missing) {
            if !self.signed.contains(&key) && !self.missing.contains(&key) {
                self.missing.push(key);
            }
        }
    }
}

impl Review {
    /// Whether nothing is missing but the end.
    pub fn complete(&self) -> bool {
        self.refusals.is_empty()
            && self.new_keys.iter().all(|key| key.proven)
            && self.roles.iter().flat_map(|role| &role.signatures).all(Count::complete)
    }
}

impl Event {
    /// What it means, who has signed, and what the rules say. `expiry`: the repository's settings, if at hand.
    pub fn review(&self, detail: Detail, expiry: Option<&Expiry>) -> Result<Review, CeremonyError> {
        let root = self.basis.root()?;
        let verdict = judge(self, expiry)?;
        let (buckets, whole): (Vec<_>, Vec<_>) =
            self.proposals.iter().partition(|proposal| proposal.role.bucket().is_some());
        let roles = whole.into_iter().map(|proposal| self.role_review(proposal, detail));
        let mut roles = roles.collect::<Result<Vec<_>, _>>()?;
        roles.extend(self.buckets_review(&buckets, detail)?);
        let new_keys = self.new_keys().into_iter().map(|(id, _, proven)| NewKey {
            holder: self.holder(&id).map(ToOwned::to_owned),
            key: id.to_string(),
            proven,
        });
        Ok(Review {
            name: self.name.to_string(),
            started: self.started,
            digest: self.digest(),
            root: root.common.version,
            root_sha256: hex::encode(sha256(root.bytes())),
            roles,
            warnings: verdict.warnings,
            refusals: verdict.refusals,
            new_keys: new_keys.collect(),
        })
    }

    /// An error, if the rules refuse it.
    pub fn allowed(&self, expiry: Option<&Expiry>) -> Result<(), CeremonyError> {
        judge(self, expiry)?.allows()
    }

    fn role_review(&self, proposal: &Proposal, detail: Detail) -> Result<RoleReview, CeremonyError> {
        let role = &proposal.role;
        let mut told = Told { event: self, detail, changes: Vec::new(), consequences: Vec::new() };
        match role {
            ProposedRole::Root(root) => told.root(self.basis.root()?, root),
            _ => told.targets(role.name(), self.basis.targets(role.name()).map(|old| &**old), role.targets()),
        }
        let Told { mut changes, consequences, .. } = told;
        let old = match role {
            ProposedRole::Root(_) => Some(self.basis.root()?.common.expires),
            _ => self.basis.dated(role.name()).map(|(_, expires)| expires),
        };
        let new = role.common().expires;
        changes.push(dated(old, new));
        Ok(RoleReview {
            role: role.name().to_owned(),
            buckets: 0,
            from: version_before(self, role),
            to: role.common().version,
            expires: new,
            payload_sha256: hex::encode(proposal.sha256),
            changes,
            consequences,
            signatures: self.counts(proposal, &self.delegators(role)?),
        })
    }

    /// All buckets of `claimed`, and what changes for projects in any of them.
    fn buckets_review(
        &self,
        proposals: &[&Proposal],
        detail: Detail,
    ) -> Result<Option<RoleReview>, CeremonyError> {
        let dates = |proposal: &&Proposal| {
            let old = self.basis.dated(proposal.role.name()).map(|(_, expires)| expires);
            (old, proposal.role.common().expires)
        };
        let Some(first) = proposals.iter().min_by_key(|proposal| dates(proposal)) else { return Ok(None) };
        let mut told = Told { event: self, detail, changes: Vec::new(), consequences: Vec::new() };
        told.projects(&self.moves);
        let Told { mut changes, consequences, .. } = told;
        let (old, new) = dates(first);
        changes.push(dated(old, new));
        let mut signatures: Vec<Count> = Vec::new();
        for proposal in proposals {
            let delegators = self.delegators(&proposal.role)?;
            for count in self.counts(proposal, &delegators) {
                match signatures.iter_mut().find(|known| known.by == count.by) {
                    Some(known) => known.and(count),
                    None => signatures.push(count),
                }
            }
        }
        let payloads = proposals.iter().map(|proposal| proposal.sha256);
        let digests: Vec<_> = payloads.collect();
        let payload = match digests.as_slice() {
            [one] => *one,
            many => sha256(&many.concat()),
        };
        let versions = proposals.iter().map(|proposal| version_before(self, &proposal.role));
        let several = proposals.len() > 1;
        Ok(Some(RoleReview {
            role: in_short(proposals.iter().map(|proposal| proposal.role.name())).concat(),
            buckets: if several { proposals.len() } else { 0 },
            from: versions.min().unwrap_or(0),
            to: proposals.iter().map(|proposal| proposal.role.common().version).max().unwrap_or(0),
            expires: new,
            payload_sha256: hex::encode(payload),
            changes,
            consequences,
            signatures,
        }))
    }

    fn counts(&self, proposal: &Proposal, delegators: &Delegators<'_>) -> Vec<Count> {
        let both = delegators.both();
        let words: &[&'static str] = match both.len() {
            1 => &["now and after"],
            _ => &["now", "after"],
        };
        both.iter().zip(words).map(|(authority, by)| self.count(proposal, authority, by)).collect()
    }

    fn count(&self, proposal: &Proposal, authority: &Authority<'_>, by: &'static str) -> Count {
        let signers = proposal.signed_by(authority);
        let (signed, missing): (Vec<_>, Vec<_>) =
            authority.keys().map(|(id, _)| id).partition(|id| signers.contains(id));
        let called = |ids: Vec<&KeyId>| ids.into_iter().map(|id| self.called(id)).collect();
        Count { by, needed: authority.threshold(), signed: called(signed), missing: called(missing) }
    }
}

/// Sentences about one role.
struct Told<'a> {
    event: &'a Event,
    detail: Detail,
    changes: Vec<String>,
    consequences: Vec<String>,
}

/// Keys and threshold of one role.
#[derive(Default)]
struct Keys<'a> {
    keys: BTreeMap<&'a KeyId, Option<&'a Key>>,
    threshold: u64,
}

impl<'a> Keys<'a> {
    fn new(ids: &'a [KeyId], keys: &'a BTreeMap<KeyId, Key>, threshold: u64) -> Self {
        Self { keys: ids.iter().map(|id| (id, keys.get(id))).collect(), threshold }
    }
}

impl Told<'_> {
    fn root(&mut self, old: &Root, new: &Root) {
        let of = |root: &'_ Root, role: TopLevel| -> (Vec<KeyId>, u64) {
            (root.role(role).keyids.clone(), root.role(role).threshold)
        };
        self.unknown(&old.common.extra, &new.common.extra);
        self.unknown(&old.other_roles, &new.other_roles);
        for role in [TopLevel::Root, TopLevel::Timestamp, TopLevel::Snapshot, TopLevel::Targets] {
            self.unknown(&old.role(role).extra, &new.role(role).extra);
            let ((before, old_threshold), (after, new_threshold)) = (of(old, role), of(new, role));
            let before = Keys::new(&before, &old.keys, old_threshold);
            self.keys(role.name(), &before, &Keys::new(&after, &new.keys, new_threshold));
        }
    }

    fn targets(&mut self, name: &str, old: Option<&Targets>, new: Option<&Targets>) {
        let Some(new) = new else { return };
        let before = old.and_then(|old| old.delegations.as_ref());
        self.own_targets(old, new);
        let none = Extra::new();
        self.unknown(old.map_or(&none, |old| &old.common.extra), &new.common.extra);
        let after = new.delegations.as_ref().map_or(&none, |after| &after.extra);
        self.unknown(before.map_or(&none, |before| &before.extra), after);
        match new.delegations.as_ref() {
            Some(after) if name == BINS => self.bins(before, after),
            Some(after) => self.delegations(before, after),
            None if before.is_some() => self.changes.push("it delegates to nobody any more".to_owned()),
            None => {}
        }
    }

    /// Fields that mean nothing here, but are signed.
    fn unknown(&mut self, old: &Extra, new: &Extra) {
        let changed = new.iter().filter(|field| !old.contains(field)).map(|(name, _)| &**name);
        let gone = old.iter().filter(|(name, _)| new.iter().all(|(other, _)| other != name));
        let names: Vec<&str> = changed.chain(gone.map(|(name, _)| &**name)).collect();
        if !names.is_empty() {
            let text = self.list(&names);
            self.changes.push(format!("fields change that wheelseal does not know: {text}"));
        }
    }

    /// Files that an offline role lists by itself: there should be none.
    fn own_targets(&mut self, old: Option<&Targets>, new: &Targets) {
        let before = |path: &str| old.and_then(|old| old.targets.get(path));
        let changed: Vec<_> = new
            .targets
            .iter()
            .filter(|(path, file)| before(path) != Some(*file))
            .map(|(path, _)| path)
            .filter(|path| *path != POLICY)
            .collect();
        let gone =
            old.iter().flat_map(|old| old.targets.keys()).filter(|path| !new.targets.contains_key(path));
        let gone: Vec<_> = gone.collect();
        if before(POLICY) != new.targets.get(POLICY)
            && let Ok(Some(policy)) = LogPolicy::of(new)
        {
            self.changes.extend(policy.in_words().into_iter().map(|words| format!("log: {words}")));
        }
        for (what, paths) in [("it lists these files itself", changed), ("it no longer lists", gone)] {
            if !paths.is_empty() {
                let text = self.list(&paths);
                self.changes.push(format!("{what}: {text}"));
            }
        }
    }

    fn bins(&mut self, old: Option<&Delegations>, new: &Delegations) {
        let count = |delegations: &Delegations| match &delegations.roles {
            DelegatedRoles::Succinct(bins) => (bins.count(), "succinct"),
            DelegatedRoles::Listed(roles) => (u64::try_from(roles.len()).unwrap_or(u64::MAX), "prefixes"),
        };
        let (before, after) = (old.map(count), count(new));
        if before != Some(after) {
            let before = before.map_or(0, |(count, _)| count);
            self.changes.push(format!("{} bins ({}) instead of {before}", after.0, after.1));
            self.consequences.push("every file is sorted anew; no file changes".to_owned());
        }
        let none = Keys::default();
        let old = old.map(of_bins);
        self.keys(Subject::BinN.name(), old.as_ref().unwrap_or(&none), &of_bins(new));
    }

    fn delegations(&mut self, old: Option<&Delegations>, new: &Delegations) {
        let listed =
            |delegations: Option<&'_ Delegations>| match delegations.map(|delegations| &delegations.roles) {
                Some(DelegatedRoles::Listed(roles)) => roles.to_vec(),
                _ => Vec::new(),
            };
        let (before, after) = (listed(old), listed(Some(new)));
        let by_name: BTreeMap<_, _> = before.iter().map(|role| (&role.name, role)).collect();
        let (mut added, mut changed) = (Vec::new(), Vec::new());
        let key = |delegations: Option<&Delegations>, id: &KeyId| {
            delegations.and_then(|delegations| delegations.keys.get(id)).cloned()
        };
        let other_keys = |known: &DelegatedRole, role: &DelegatedRole| {
            let same = |id: &KeyId| key(old, id) == key(Some(new), id);
            known.keyids != role.keyids || !role.keyids.iter().all(same)
        };
        for role in &after {
            match by_name.get(&role.name) {
                None => added.push(role.name.as_str()),
                Some(known) if known.threshold != role.threshold || other_keys(known, role) => {
                    changed.push((*known, role));
                }
                Some(known) if known.extra != role.extra => self.unknown(&known.extra, &role.extra),
                Some(known) if known.paths != role.paths || known.terminating != role.terminating => {
                    let (paths, ends) =
                        (self.paths(&role.paths), if role.terminating { "ends" } else { "goes on" });
                    self.changes
                        .push(format!("{} may speak for {paths}, and the search {ends} there", role.name));
                }
                Some(_) => {}
            }
        }
        let names: std::collections::BTreeSet<_> = after.iter().map(|role| &role.name).collect();
        let removed = before.iter().filter(|role| !names.contains(&role.name)).map(|role| role.name.as_str());
        self.roles("added", &added);
        self.roles("removed", &removed.collect::<Vec<_>>());
        for (known, role) in changed {
            let none = BTreeMap::new();
            let before = Keys::new(&known.keyids, old.map_or(&none, |old| &old.keys), known.threshold);
            self.keys(role.name.as_str(), &before, &Keys::new(&role.keyids, &new.keys, role.threshold));
        }
    }

    /// What changes for projects that the offline keys vouch for.
    fn projects(&mut self, moves: &Moves) {
        let names = |owners: &'_ BTreeMap<ProjectName, Owners>| -> Vec<String> {
            owners.keys().map(ToString::to_string).collect()
        };
        let removed: Vec<String> = moves.removed.iter().cloned().collect();
        for (what, projects) in [
            ("added", names(&moves.added)),
            ("removed", removed),
            ("with other maintainers", names(&moves.changed)),
        ] {
            if !projects.is_empty() {
                let list = self.list(&projects.iter().map(String::as_str).collect::<Vec<_>>());
                self.changes.push(format!("{} project(s) {what}: {list}", projects.len()));
            }
        }
        if moves.added.is_empty() && moves.removed.is_empty() && moves.changed.is_empty() {
            self.changes.push("no project is added, removed or given other maintainers".to_owned());
        }
    }

    /// Roles that come or go.
    fn roles(&mut self, what: &str, names: &[&str]) {
        if !names.is_empty() {
            let list = self.list(names);
            self.changes.push(format!("{} role(s) {what}: {list}", names.len()));
        }
    }

    fn list(&self, names: &[&str]) -> String {
        let shown = if self.detail == Detail::Full { names.len() } else { SHOWN };
        let mut text = names.iter().take(shown).copied().collect::<Vec<_>>().join(", ");
        if names.len() > shown {
            text.push_str(&format!(" and {} more (--full)", names.len() - shown));
        }
        text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
    }

    fn paths(&self, paths: &PathSet) -> String {
        match paths {
            PathSet::Patterns(list) if list.is_empty() => "nothing".to_owned(),
            PathSet::Patterns(list) => self.list(&list.iter().map(String::as_str).collect::<Vec<_>>()),
            PathSet::HashPrefixes(list) => format!("{} hash prefixes", list.len()),
        }
    }

    fn keys(&mut self, role: &str, old: &Keys<'_>, new: &Keys<'_>) {
        if old.threshold == new.threshold && old.keys == new.keys {
            return;
        }
        for (id, key) in new.keys.iter().filter(|(id, key)| old.keys.get(*id) != Some(*key)) {
            let text = format!("{role}: key added, {}", self.fingerprint(id, *key));
            self.changes.push(format!("{text}, {}", self.origin(id, *key)));
        }
        for (id, key) in old.keys.iter().filter(|(id, key)| new.keys.get(*id) != Some(*key)) {
            self.changes.push(format!("{role}: key removed, {}", self.fingerprint(id, *key)));
        }
        let (count, needed) = (new.keys.len(), new.threshold);
        if old.threshold != needed {
            self.changes.push(format!("{role}: {needed} signature(s) needed instead of {}", old.threshold));
        }
        let spare = u64::try_from(count).unwrap_or(u64::MAX).saturating_sub(needed);
        let what = if role == "root" { "replace the root" } else { "sign for it" };
        let lost = match spare {
            0 => "if one is lost, nobody can".to_owned(),
            spare => format!("up to {spare} may be lost; with one more lost nobody can"),
        };
        let any = if spare == 0 { "it takes all".to_owned() } else { format!("it takes any {needed}") };
        self.consequences
            .push(format!("{role}: after this, {any} of these {count} key(s) to {what}; {lost}"));
    }

    fn fingerprint(&self, id: &KeyId, key: Option<&Key>) -> String {
        let kind = key.and_then(Key::public).map_or("unreadable", crate::crypto::PublicKey::kind);
        match self.event.holder(id) {
            Some(holder) => format!("{holder}, {id} ({kind})"),
            None => format!("{id} ({kind})"),
        }
    }

    /// Where a key came from.
    fn origin(&self, id: &KeyId, key: Option<&Key>) -> String {
        let known = key.and_then(Key::public).is_some_and(|public| self.event.known_keys().contains(public));
        let joined = self.event.proofs.iter().find(|proof| proof.key == *id);
        match joined {
            Some(proof) => format!("whose holder joined on {}", proof.at.format("%Y-%m-%d")),
            None if known => "which the repository knows already".to_owned(),
            None if self.event.new_keys().iter().any(|(new, _, proven)| new == id && *proven) => {
                "whose holder has signed this".to_owned()
            }
            None => "whose holder has NOT shown yet to hold it".to_owned(),
        }
    }
}

/// The sentence about a role's expiry date.
fn dated(old: Option<DateTime<Utc>>, new: DateTime<Utc>) -> String {
    let date = |date: DateTime<Utc>| date.format("%Y-%m-%d").to_string();
    match old {
        Some(old) if date(old) == date(new) => format!("it expires on {}, as before", date(new)),
        Some(old) => format!("it expires on {} instead of {}", date(new), date(old)),
        None => format!("it is new, and expires on {}", date(new)),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_none(buckets: &usize) -> bool {
    *buckets == 0
}

/// Keys of the bins; where they differ, of the first.
fn of_bins(delegations: &Delegations) -> Keys<'_> {
    match &delegations.roles {
        DelegatedRoles::Succinct(bins) => Keys::new(&bins.keyids, &delegations.keys, bins.threshold),
        DelegatedRoles::Listed(roles) => match roles.first() {
            Some(first) => Keys::new(&first.keyids, &delegations.keys, first.threshold),
            None => Keys::default(),
        },
    }
}
