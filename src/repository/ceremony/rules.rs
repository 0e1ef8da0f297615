//! What no ceremony may do, and what its signers should know: one list, asked before each signature and at the end.
//!
//! | refused | why |
//! |---|---|
//! | a key that cannot be read, or one public key under two ids of one role | it would count for nothing, or seem to count twice |
//! | a threshold that the role's keys cannot reach | nothing could be signed any more |
//! | a key that signs offline and online | whoever breaks into the server would have it |
//! | a role with the key of the transparency log | whoever steals it could publish, and rewrite the log |
//! | an expiry date sooner than the repository's settings say | clients would stop before anybody expects it |
//! | a new key under an id that is not its own | it could take the place of another key unseen |
//! | a role that people do not sign, or with another delegator than it has | its file would take the place of what clients ask for |
//! | a version that does not follow | clients refuse a root that is not the next, and any role that goes back |
//! | a root without consistent snapshots, targets without the roles there are, bins that leave files out | clients lose what they had |
//! | a log policy that is none, or whose text its signers do not see | |
//! | a project in a bucket where clients do not look for it, a bucket that answers for other names than before | it would be lost |
//! | a file larger than clients take | |

use std::collections::BTreeSet;

use super::build::Subject;
use super::error::CeremonyError;
use super::event::{Event, Proposal, ProposedRole};
use crate::repository::bulk::leaves_out;
use crate::repository::claims::names::PROJECT;
use crate::repository::commit::refuse_too_large;
use crate::repository::days_after;
use crate::repository::log::{LogPolicy, POLICY};
use crate::repository::settings::Expiry;
use crate::repository::state::{BINS, CLAIMED, RECENTLY_CLAIMED};
use crate::tuf::key::{Key, KeyId};
use crate::tuf::metadata::{DelegatedRoles, Targets, TopLevel, Version};
use crate::tuf::path::RoleName;
use crate::tuf::signed::Authority;

/// Version numbers that a proposal may skip, at most: each is the leftover of an earlier try.
const MAX_SKIPPED: u64 = 1_000;

/// What the rules say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Why it must not be signed.
    pub(super) refusals: Vec<String>,
    /// What should be thought of first.
    pub(super) warnings: Vec<String>,
}

/// Who signs a role after the ceremony.
struct Signers<'a> {
    role: String,
    online: bool,
    changed: bool,
    threshold: u64,
    keys: Vec<(&'a KeyId, Option<&'a Key>)>,
}

/// Asks all rules. `expiry`: the repository's settings, if they are at hand.
pub(super) fn judge(event: &Event, expiry: Option<&Expiry>) -> Result<Verdict, CeremonyError> {
    let mut verdict = Verdict::default();
    for proposal in &event.proposals {
        is_peoples(&proposal.role, &mut verdict);
        own_ids(event, &proposal.role, &mut verdict);
        follows(event, proposal, &mut verdict);
        lasts(event, proposal, expiry, &mut verdict);
        keeps_what_clients_need(event, &proposal.role, &mut verdict);
        let payload = proposal.payload.to_sign();
        if let Err(error) = refuse_too_large(proposal.role.name(), payload) {
            verdict.refusals.push(error.to_string());
        }
    }
    verdict.refusals.extend(event.moves.refusals.iter().cloned());
    let signers = signers(event)?;
    for role in &signers {
        keys_and_threshold(role, &mut verdict);
    }
    mixed(&signers, &mut verdict);
    logs_own(event, &signers, &mut verdict);
    verdict.refusals.sort();
    verdict.refusals.dedup();
    Ok(verdict)
}

impl Verdict {
    /// An error, if anything is refused.
    pub(super) fn allows(&self) -> Result<(), CeremonyError> {
        if self.refusals.is_empty() { Ok(()) } else { Err(CeremonyError::Refused(self.refusals.clone())) }
    }
}

/// The version of a role as it is now; 0 if there is none.
pub(super) fn version_before(event: &Event, role: &ProposedRole) -> Version {
    match role {
        ProposedRole::Root(_) => event.basis.roots.last().map_or(0, |root| root.common.version),
        _ => event.basis.dated(role.name()).map_or(0, |(version, _)| version),
    }
}

fn is_peoples(role: &ProposedRole, verdict: &mut Verdict) {
    let ProposedRole::Delegated { delegator, role, .. } = role else { return };
    let (by, name) = (delegator.as_str(), role.as_str());
    if by != "targets" || ![BINS, CLAIMED].contains(&name) {
        verdict.refusals.push(format!("{name}, delegated by {by}, is not a role that people sign"));
    }
}

/// Keys that are not listed already must have the id that their content gives them.
fn own_ids(event: &Event, role: &ProposedRole, verdict: &mut Verdict) {
    let none = std::collections::BTreeMap::new();
    let before = match role {
        ProposedRole::Root(_) => event.basis.roots.last().map(|root| &root.keys),
        _ => event.basis.targets(role.name()).and_then(|old| old.delegations.as_ref()).map(|old| &old.keys),
    };
    let before = before.unwrap_or(&none);
    for (id, key) in role.keys().iter().filter(|(id, key)| before.get(*id) != Some(*key)) {
        if key.id() != *id {
            let (name, id) = (role.name(), id.short());
            verdict.refusals.push(format!("{name} lists a new key under the id {id}, which is not its own"));
        }
    }
}

fn follows(event: &Event, proposal: &Proposal, verdict: &mut Verdict) {
    let (before, found) = (version_before(event, &proposal.role), proposal.role.common().version);
    let most = match proposal.role {
        ProposedRole::Root(_) => before.saturating_add(1),
        _ => before.saturating_add(MAX_SKIPPED),
    };
    if found <= before || found > most {
        let name = proposal.role.name();
        verdict.refusals.push(format!("version {found} of {name} does not follow version {before}"));
    }
}

fn lasts(event: &Event, proposal: &Proposal, expiry: Option<&Expiry>, verdict: &mut Verdict) {
    let Some(expiry) = expiry else { return };
    let days = if matches!(proposal.role, ProposedRole::Root(_)) { expiry.root } else { expiry.targets };
    let (name, found) = (proposal.role.name(), proposal.role.common().expires);
    if found < days_after(event.started, days) {
        verdict.refusals.push(format!(
            "{name} would expire on {}, sooner than the {days} days of wheelseal.toml",
            found.format("%Y-%m-%d")
        ));
    }
}

fn keeps_what_clients_need(event: &Event, role: &ProposedRole, verdict: &mut Verdict) {
    match role {
        ProposedRole::Root(root) => {
            if !root.consistent_snapshot {
                verdict.refusals.push("root would give up consistent snapshots".to_owned());
            }
        }
        ProposedRole::Targets(content) => {
            let names = |content: &Targets| -> BTreeSet<String> {
                let names = content.delegations.iter().flat_map(crate::tuf::metadata::Delegations::names);
                names.flatten().map(|name| name.to_string()).collect()
            };
            let before = event.basis.targets("targets").map(|metadata| names(metadata)).unwrap_or_default();
            for lost in before.difference(&names(content)) {
                verdict.refusals.push(format!("targets would no longer delegate to {lost}"));
            }
            keeps_the_log(event, content, verdict);
        }
        ProposedRole::Delegated { role, content, .. } if role.as_str() == BINS => {
            if leaves_out(content) {
                verdict.refusals.push("the bins would leave some files out".to_owned());
            }
        }
        ProposedRole::Delegated { .. } | ProposedRole::Bucket { .. } => {}
    }
}

fn keeps_the_log(event: &Event, content: &Targets, verdict: &mut Verdict) {
    match LogPolicy::of(content) {
        Err(error) => verdict.refusals.push(error.to_string()),
        Ok(Some(_)) => {}
        Ok(None) => {
            let before = event.basis.targets("targets");
            if before.is_some_and(|before| before.targets.contains_key(POLICY)) {
                let text = "clients would no longer ask whether what they get is in the log";
                verdict.warnings.push(text.to_owned());
            }
        }
    }
}

fn is_online(role: &str) -> bool {
    role.starts_with(RECENTLY_CLAIMED) || role == Subject::BinN.name()
}

/// Every role that the event knows, as it is after it. Projects' roles are their maintainers' business.
fn signers(event: &Event) -> Result<Vec<Signers<'_>>, CeremonyError> {
    let (root, before) = (event.root_after()?, event.basis.root()?);
    let mut signers = Vec::new();
    for top in [TopLevel::Root, TopLevel::Timestamp, TopLevel::Snapshot, TopLevel::Targets] {
        let (authority, old) = (root.authority(top), before.authority(top));
        let online = matches!(top, TopLevel::Timestamp | TopLevel::Snapshot);
        let ids = root.role(top).keyids.iter().map(|id| (id, root.keys.get(id)));
        let (role, changed) = (top.name().to_owned(), !authority.same_as(&old));
        signers.push(Signers {
            role,
            online,
            changed,
            threshold: authority.threshold(),
            keys: ids.collect(),
        });
    }
    for (delegator, online) in [("targets", None), (BINS, Some(true)), (CLAIMED, Some(false))] {
        let Some(content) = event.after(delegator) else { continue };
        let before = event.basis.targets(delegator).map(|metadata| &**metadata);
        delegated(delegator, content, before, online, &mut signers)?;
    }
    Ok(signers)
}

/// The roles that one targets role delegates to; those with the same keys and threshold once, bins under one name.
fn delegated<'a>(
    delegator: &str,
    content: &'a Targets,
    before: Option<&Targets>,
    online: Option<bool>,
    signers: &mut Vec<Signers<'a>>,
) -> Result<(), CeremonyError> {
    let Some(delegations) = &content.delegations else { return Ok(()) };
    let name =
        if delegator == "targets" { RoleName::targets() } else { bad_name(RoleName::delegated(delegator))? };
    let mut add = |role: &RoleName, keyids: &'a [KeyId], threshold: u64| {
        let old = before.and_then(|before| before.delegations.as_ref()?.authority(&name, role));
        let new: Option<Authority<'_>> = delegations.authority(&name, role);
        let changed = !matches!((old, new), (Some(old), Some(new)) if new.same_as(&old));
        let role = if delegator == BINS { Subject::BinN.name().to_owned() } else { role.to_string() };
        let online = online.unwrap_or_else(|| is_online(&role));
        let keys: Vec<_> = keyids.iter().map(|id| (id, delegations.keys.get(id))).collect();
        let last = signers.last();
        if last.is_none_or(|last| last.role != role || last.keys != keys || last.threshold != threshold) {
            signers.push(Signers { role, online, changed, threshold, keys });
        }
    };
    match &delegations.roles {
        DelegatedRoles::Succinct(bins) => add(&bad_name(bins.role_at(0))?, &bins.keyids, bins.threshold),
        DelegatedRoles::Listed(roles) => {
            for role in roles.iter().filter(|role| !role.name.as_str().starts_with(PROJECT)) {
                add(&role.name, &role.keyids, role.threshold);
            }
        }
    }
    Ok(())
}

fn bad_name<T>(name: Result<T, crate::tuf::path::NameError>) -> Result<T, CeremonyError> {
    name.map_err(|error| CeremonyError::Malformed(error.to_string()))
}

fn keys_and_threshold(signers: &Signers<'_>, verdict: &mut Verdict) {
    let Signers { role, online, changed, threshold, keys } = signers;
    let mut publics = BTreeSet::new();
    for (id, key) in keys {
        match key.and_then(Key::public) {
            None => verdict.refusals.push(format!("key {} of {role} cannot be read", id.short())),
            Some(public) if !publics.insert(public) => {
                verdict
                    .refusals
                    .push(format!("{role} is given the same key twice, the second time as {}", id.short()));
            }
            Some(_) => {}
        }
    }
    let count = u64::try_from(keys.len()).unwrap_or(u64::MAX);
    if *threshold == 0 || *threshold > count {
        verdict.refusals.push(format!("{role} has {count} key(s), so its threshold cannot be {threshold}"));
        return;
    }
    if !changed {
        return;
    }
    if *threshold == count {
        verdict.warnings.push(format!(
            "{role} needs all of its {count} key(s): one that is lost, and nobody can sign it"
        ));
    }
    if *threshold == 1 && !online {
        verdict.warnings.push(format!("{role} is an offline role, and one key alone can sign it"));
    }
}

/// The key of the log must not be a role's too.
fn logs_own(event: &Event, signers: &[Signers<'_>], verdict: &mut Verdict) {
    let Some(Ok(Some(policy))) = event.after("targets").map(LogPolicy::of) else { return };
    let log = policy.log().public_key();
    for role in signers {
        let shared = role.keys.iter().find(|(_, key)| key.and_then(Key::public) == Some(&log));
        if let Some((id, _)) = shared {
            let (role, id) = (&role.role, id.short());
            verdict.refusals.push(format!("{role} cannot have the key {id}: it is the transparency log's"));
        }
    }
}

/// An offline role must not have a key that signs online.
fn mixed(signers: &[Signers<'_>], verdict: &mut Verdict) {
    let online = signers.iter().filter(|role| role.online);
    let online =
        online.flat_map(|role| role.keys.iter().map(move |(_, key)| (&role.role, key.and_then(Key::public))));
    let online: std::collections::BTreeMap<_, _> =
        online.filter_map(|(role, public)| Some((public?, role))).collect();
    for role in signers.iter().filter(|role| !role.online) {
        for (id, key) in &role.keys {
            let shared = key.and_then(Key::public).and_then(|public| online.get(public));
            if let Some(other) = shared {
                verdict.refusals.push(format!(
                    "{} cannot have the key {}: it signs offline, and {other}, which has it too, online",
                    role.role,
                    id.short()
                ));
            }
        }
    }
}
