//! The file of an event: canonical JSON, bounded, and read by verifying it.
//!
//! ```json
//! {"base":[{"delegator":null,"file":"{\"signatures\":…}","role":"targets"}],"format":1,"name":"new-root","proofs":[…],
//!  "proposals":[{"delegator":null,"role":"root","signatures":[{"at":…,"holder":…,"keyid":…,"sig":…}],"signed":{…}}],
//!  "roots":["{\"signatures\":…}"],"started":"2026-01-02T03:04:05Z"}
//! ```
//!
//! Files of the repository are carried as they came, as text. A base file comes after the one of its delegator.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::error::CeremonyError;
use super::event::{Base, Basis, Event, EventName, MAX_HOLDER, Mark, Proposal, ProposedRole};
use crate::tuf::json::{Json, format_time, parse, parse_time};
use crate::tuf::key::KeyId;
use crate::tuf::metadata::{Root, Targets, TopLevel};
use crate::tuf::path::RoleName;
use crate::tuf::signed::{Authority, Draft, MAX_SIGNATURES, Signed, Verified};

/// Bytes of an event's file, at most: bins of every number, or some ninety full buckets of claimed projects, as they are and as
/// they are to be.
pub const MAX_EVENT: u64 = 64 * 1024 * 1024;
/// Roles in one event, at most: all buckets of the claimed projects.
const MAX_ROLES: usize = 4_096;
/// Roots carried along, at most: a signer knows one of them.
pub(super) const MAX_ROOTS: usize = 256;
/// The format that is written and read.
const FORMAT: u64 = 1;

fn malformed(reason: impl Into<String>) -> CeremonyError {
    CeremonyError::Malformed(reason.into())
}

impl Event {
    /// Everything that all copies have in common.
    pub(super) fn core(&self) -> Json<'_> {
        self.to_json(false)
    }

    /// The file.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CeremonyError> {
        let bytes = self.to_json(true).to_text().into_bytes();
        let max = usize::try_from(MAX_EVENT).unwrap_or(usize::MAX);
        if bytes.len() > max {
            return Err(CeremonyError::TooMany { what: "bytes", found: bytes.len(), max });
        }
        Ok(bytes)
    }

    fn to_json(&self, signatures: bool) -> Json<'_> {
        let text = |bytes: &[u8]| Json::str(String::from_utf8_lossy(bytes).into_owned());
        let base = self.ordered_base().into_iter().map(|(name, base)| {
            Json::object([
                ("delegator", named(base.delegator.as_ref())),
                ("file", text(base.metadata.bytes())),
                ("role", Json::str(name)),
            ])
        });
        let mut fields = vec![
            ("base", Json::Array(base.collect())),
            ("format", Json::int(FORMAT)),
            ("name", Json::str(self.name.as_str())),
            (
                "proposals",
                Json::Array(self.proposals.iter().map(|each| proposal(each, signatures)).collect()),
            ),
            ("roots", Json::Array(self.basis.roots.iter().map(|root| text(root.bytes())).collect())),
            ("started", Json::str(format_time(self.started))),
        ];
        if signatures {
            fields.push(("proofs", Json::Array(self.proofs.iter().map(mark).collect())));
        }
        Json::object(fields)
    }

    /// The base with delegators first.
    fn ordered_base(&self) -> Vec<(&str, &Base)> {
        let mut base: Vec<_> = self.basis.roles.iter().map(|(name, base)| (name.as_str(), base)).collect();
        let depth = |base: &Base| match &base.delegator {
            None => 0,
            Some(delegator) if delegator.as_str() == "targets" => 1,
            Some(_) => 2,
        };
        base.sort_by_key(|(name, base)| (depth(base), *name));
        base
    }

    /// Reads a file, and verifies all of it that can be verified.
    pub fn read(bytes: &[u8]) -> Result<Self, CeremonyError> {
        let max = usize::try_from(MAX_EVENT).unwrap_or(usize::MAX);
        if bytes.len() > max {
            return Err(CeremonyError::TooMany { what: "bytes", found: bytes.len(), max });
        }
        let json = parse(bytes).map_err(|error| malformed(error.to_string()))?;
        if json.get("format").and_then(Json::as_u64) != Some(FORMAT) {
            return Err(malformed(format!("its format is not {FORMAT}")));
        }
        let roots = chain(array(&json, "roots", MAX_ROOTS)?)?;
        let basis = Basis { roles: base(array(&json, "base", MAX_ROLES)?, &roots)?, roots };
        let mut proposals = Vec::new();
        for json in array(&json, "proposals", MAX_ROLES)? {
            proposals.push(read_proposal(json)?);
        }
        let event = Self {
            name: EventName::new(text(&json, "name")?)?,
            started: time(&json, "started")?,
            basis,
            proposals,
            proofs: marks(array(&json, "proofs", MAX_SIGNATURES)?)?,
        };
        event.check()?;
        Ok(event)
    }

    /// Roles proposed once, and signatures that verify.
    fn check(&self) -> Result<(), CeremonyError> {
        if self.proposals.is_empty() {
            return Err(malformed("it proposes nothing"));
        }
        let mut names: Vec<_> = self.roles().collect();
        names.sort_unstable();
        if names.array_windows().any(|[a, b]| a == b) {
            return Err(malformed("it proposes a role twice"));
        }
        for proposal in &self.proposals {
            let delegators = self.delegators(&proposal.role)?;
            let keys: BTreeMap<_, _> =
                delegators.both().iter().flat_map(|authority| authority.keys().collect::<Vec<_>>()).collect();
            check_marks(&proposal.marks, proposal.role.name(), |mark| {
                keys.get(&mark.key).map(|key| key.verifies(proposal.payload.to_sign(), &mark.signature))
            })?;
        }
        let new: BTreeMap<_, _> = self.new_keys().into_iter().map(|(id, key, _)| (id, key)).collect();
        let digest = self.digest();
        check_marks(&self.proofs, "joining", |mark| {
            let key = new.get(&mark.key)?;
            Some(key.verifies(&self.statement(&mark.key, &digest), &mark.signature))
        })
    }
}

/// Each key once, listed, and good. `good`: `None` for a key that is not listed.
fn check_marks(
    marks: &[Mark],
    role: &str,
    good: impl Fn(&Mark) -> Option<bool>,
) -> Result<(), CeremonyError> {
    for (at, mark) in marks.iter().enumerate() {
        let (role, key) = (role.to_owned(), mark.key.short());
        match good(mark) {
            None => return Err(CeremonyError::Stranger { key, role }),
            Some(false) => return Err(CeremonyError::BadSignature { role, key }),
            Some(true) if marks.iter().take(at).any(|other| other.key == mark.key) => {
                return Err(CeremonyError::SignedBefore { role, key });
            }
            Some(true) => {}
        }
    }
    Ok(())
}

fn named(role: Option<&RoleName>) -> Json<'_> {
    role.map_or(Json::Null, |role| Json::str(role.as_str()))
}

fn proposal(proposal: &Proposal, signatures: bool) -> Json<'_> {
    let by = match &proposal.role {
        ProposedRole::Delegated { delegator, .. } => Some(delegator),
        _ => None,
    };
    let mut fields = vec![
        ("delegator", named(by)),
        ("role", Json::str(proposal.role.name())),
        ("signed", proposed(proposal)),
    ];
    if signatures {
        fields.push(("signatures", Json::Array(proposal.marks.iter().map(mark).collect())));
    }
    Json::object(fields)
}

/// What is proposed, as a tree. It was rendered here, so it reads.
fn proposed(proposal: &Proposal) -> Json<'_> {
    let file = proposal.payload.assemble(&[]);
    let tree = parse(&file).ok().and_then(|file| file.get("signed").cloned());
    tree.map_or(Json::Null, Json::into_owned)
}

fn mark(mark: &Mark) -> Json<'_> {
    let mut fields = vec![
        ("at", Json::str(format_time(mark.at))),
        ("keyid", Json::str(mark.key.as_str())),
        ("sig", Json::str(hex::encode(&mark.signature))),
    ];
    fields.extend(mark.holder.as_deref().map(|holder| ("holder", Json::str(holder))));
    Json::object(fields)
}

fn array<'a, 'b>(
    json: &'a Json<'b>,
    field: &'static str,
    max: usize,
) -> Result<&'a [Json<'b>], CeremonyError> {
    let Some(Json::Array(items)) = json.get(field) else {
        return Err(malformed(format!("it has no list {field:?}")));
    };
    if items.len() > max {
        return Err(CeremonyError::TooMany { what: field, found: items.len(), max });
    }
    Ok(items)
}

fn text<'a>(json: &'a Json<'_>, field: &str) -> Result<&'a str, CeremonyError> {
    json.get(field).and_then(Json::as_str).ok_or_else(|| malformed(format!("it lacks the text {field:?}")))
}

fn time(json: &Json<'_>, field: &str) -> Result<DateTime<Utc>, CeremonyError> {
    parse_time(text(json, field)?).ok_or_else(|| malformed(format!("{field:?} is no date")))
}

/// The roots: each accepts the next.
fn chain(items: &[Json<'_>]) -> Result<Vec<Verified<Root>>, CeremonyError> {
    let mut roots: Vec<Verified<Root>> = Vec::new();
    for item in items {
        let file = item.as_str().ok_or_else(|| malformed("a root is no text"))?;
        let signed = Signed::<Root>::new(file.as_bytes());
        let root = match roots.last() {
            None => signed.verify_initial(),
            Some(before) => signed.verify_successor(before),
        };
        let root = root.map_err(|error| malformed(format!("its roots: {error}")))?;
        if roots.last().is_some_and(|before| before.common.version.saturating_add(1) != root.common.version) {
            return Err(malformed("its roots do not follow each other"));
        }
        roots.push(root);
    }
    if roots.is_empty() { Err(malformed("it has no root")) } else { Ok(roots) }
}

/// The targets roles as they are now.
fn base(items: &[Json<'_>], roots: &[Verified<Root>]) -> Result<BTreeMap<String, Base>, CeremonyError> {
    let mut base: BTreeMap<String, Base> = BTreeMap::new();
    for item in items {
        let (role, file) = (text(item, "role")?, text(item, "file")?);
        let delegator = delegator(item)?;
        let metadata = match &delegator {
            None if role == "targets" => {
                // While lost keys are replaced, what is signed may still be as the root before the newest says.
                let authorities = roots.iter().rev().take(2).map(|root| root.authority(TopLevel::Targets));
                first_that_vouches(file, authorities)
            }
            None => None,
            Some(by) => {
                let name = RoleName::delegated(role).map_err(|error| malformed(error.to_string()))?;
                let above = base.get(by.as_str()).map(|base| &base.metadata);
                let delegations = above.and_then(|above| above.delegations.as_ref());
                let authority = delegations.and_then(|delegations| delegations.authority(by, &name));
                first_that_vouches(file, authority.into_iter())
            }
        };
        let metadata =
            metadata.ok_or_else(|| malformed(format!("its copy of {role} is not signed as it must be")))?;
        if base.insert(role.to_owned(), Base { delegator, metadata }).is_some() {
            return Err(malformed(format!("it has {role} twice")));
        }
    }
    Ok(base)
}

fn first_that_vouches<'a>(
    file: &str,
    mut authorities: impl Iterator<Item = Authority<'a>>,
) -> Option<Verified<Targets>> {
    authorities.find_map(|authority| Signed::new(file.as_bytes()).verify(&authority).ok())
}

fn delegator(json: &Json<'_>) -> Result<Option<RoleName>, CeremonyError> {
    match json.get("delegator") {
        Some(Json::Null) => Ok(None),
        Some(Json::Str(name)) if &**name == "targets" => Ok(Some(RoleName::targets())),
        Some(Json::Str(name)) => {
            RoleName::delegated(&**name).map(Some).map_err(|error| malformed(error.to_string()))
        }
        _ => Err(malformed("a role's delegator is neither a name nor null")),
    }
}

fn read_proposal(json: &Json<'_>) -> Result<Proposal, CeremonyError> {
    let name = text(json, "role")?;
    let signed = json.get("signed").ok_or_else(|| malformed(format!("{name} has no content")))?;
    let (canonical, written) = (signed.canonical(), signed.to_text());
    let refused = |error: &dyn std::fmt::Display| malformed(format!("the content of {name}: {error}"));
    let targets = || {
        Draft::<Targets>::read(written.as_bytes()).map(|draft| draft.content).map_err(|error| refused(&error))
    };
    let role = match (name, delegator(json)?) {
        ("root", None) => ProposedRole::Root(
            Draft::<Root>::read(written.as_bytes()).map_err(|error| refused(&error))?.content,
        ),
        ("targets", None) => ProposedRole::Targets(targets()?),
        (_, None) => return Err(malformed(format!("nobody delegates to {name}"))),
        (_, Some(delegator)) => {
            let role = RoleName::delegated(name).map_err(|error| refused(&error))?;
            ProposedRole::Delegated { delegator, role, content: targets()? }
        }
    };
    let mut proposal = Proposal::new(role);
    // What is shown is what the content says; so it must be all that the bytes say.
    if proposal.payload.to_sign() != canonical {
        return Err(malformed(format!("the content of {name} is not as wheelseal writes it")));
    }
    proposal.marks = marks(array(json, "signatures", MAX_SIGNATURES)?)?;
    Ok(proposal)
}

fn marks(items: &[Json<'_>]) -> Result<Vec<Mark>, CeremonyError> {
    let read = |item: &Json<'_>| {
        let key = KeyId::new(text(item, "keyid")?).map_err(|error| malformed(error.to_string()))?;
        let signature =
            hex::decode(text(item, "sig")?).map_err(|_| malformed("a signature is not hexadecimal"))?;
        let holder = item.get("holder").and_then(Json::as_str).map(holder).transpose()?;
        Ok(Mark { key, signature, at: time(item, "at")?, holder })
    };
    items.iter().map(read).collect()
}

/// A holder's name: it is shown on screens.
pub(super) fn holder(name: &str) -> Result<String, CeremonyError> {
    let long = name.chars().count() > MAX_HOLDER;
    if name.is_empty() || long || name.chars().any(char::is_control) {
        return Err(malformed(format!(
            "a holder's name has 1 to {MAX_HOLDER} characters, none of them a control"
        )));
    }
    Ok(name.to_owned())
}
