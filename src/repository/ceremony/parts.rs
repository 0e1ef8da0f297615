//! The parts of an event's file as JSON: what is proposed, who has signed. See [`super::file`].

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::error::CeremonyError;
use super::event::{MAX_HOLDER, Mark, Proposal, ProposedRole};
use crate::python::ProjectName;
use crate::repository::claims::bucket::{BucketEdit, Take};
use crate::repository::claims::names::Family;
use crate::repository::claims::tree::Owners;
use crate::repository::state::CLAIMED;
use crate::tuf::json::{Json, format_time, parse, parse_time};
use crate::tuf::key::{Key, KeyId};
use crate::tuf::metadata::{Common, Root, Targets};
use crate::tuf::path::RoleName;
use crate::tuf::signed::{Draft, MAX_SIGNATURES, Payload};

pub(super) fn named(role: Option<&RoleName>) -> Json<'_> {
    role.map_or(Json::Null, |role| Json::str(role.as_str()))
}

pub(super) fn proposal(proposal: &Proposal) -> Json<'_> {
    let (by, content) = match &proposal.role {
        ProposedRole::Delegated { delegator, .. } => (Some(delegator), ("signed", proposed(proposal))),
        ProposedRole::Bucket { delegator, common, edit } => {
            (Some(delegator), ("bucket", bucket(common, edit)))
        }
        _ => (None, ("signed", proposed(proposal))),
    };
    Json::object([("delegator", named(by)), ("role", Json::str(proposal.role.name())), content])
}

fn bucket<'a>(common: &Common, edit: &'a BucketEdit) -> Json<'a> {
    let put = edit.put.iter().map(|(project, owners)| {
        let keys = Json::Array(owners.keys.values().map(Key::to_json).collect());
        let owners = Json::object([("keys", keys), ("threshold", Json::int(owners.threshold))]);
        (project.to_string(), owners)
    });
    let list =
        |names: &'a BTreeSet<String>| Json::Array(names.iter().map(|name| Json::str(&**name)).collect());
    let take = match &edit.take {
        Take::AllBut(names) => ("without", list(names)),
        Take::Only(names) => ("only", list(names)),
    };
    Json::object([
        ("expires", Json::str(format_time(common.expires))),
        ("from", named(edit.from.as_ref())),
        ("put", Json::object(put)),
        take,
        ("version", Json::int(common.version)),
    ])
}

/// What is proposed, as a tree. It was rendered here, so it reads.
fn proposed(proposal: &Proposal) -> Json<'_> {
    let file = proposal.payload.assemble(&[]);
    let tree = parse(&file).ok().and_then(|file| file.get("signed").cloned());
    tree.map_or(Json::Null, Json::into_owned)
}

pub(super) fn mark(mark: &Mark) -> Json<'_> {
    let mut fields = vec![
        ("at", Json::str(format_time(mark.at))),
        ("keyid", Json::str(mark.key.as_str())),
        ("sig", Json::str(hex::encode(&mark.signature))),
    ];
    fields.extend(mark.holder.as_deref().map(|holder| ("holder", Json::str(holder))));
    Json::object(fields)
}

pub(super) fn array<'a, 'b>(
    json: &'a Json<'b>,
    field: &str,
    max: usize,
) -> Result<&'a [Json<'b>], CeremonyError> {
    let Some(Json::Array(items)) = json.get(field) else {
        return Err(malformed(format!("it has no list {field:?}")));
    };
    if items.len() > max {
        return Err(CeremonyError::TooMany { what: "entries in a list", found: items.len(), max });
    }
    Ok(items)
}

pub(super) fn text_of<'a>(json: &'a Json<'_>, field: &str) -> Result<&'a str, CeremonyError> {
    json.get(field).and_then(Json::as_str).ok_or_else(|| malformed(format!("it lacks the text {field:?}")))
}

pub(super) fn time(json: &Json<'_>, field: &str) -> Result<DateTime<Utc>, CeremonyError> {
    parse_time(text_of(json, field)?).ok_or_else(|| malformed(format!("{field:?} is no date")))
}

pub(super) fn delegator(json: &Json<'_>) -> Result<Option<RoleName>, CeremonyError> {
    match json.get("delegator") {
        Some(Json::Null) => Ok(None),
        Some(Json::Str(name)) if &**name == "targets" => Ok(Some(RoleName::targets())),
        Some(Json::Str(name)) => {
            RoleName::delegated(&**name).map(Some).map_err(|error| malformed(error.to_string()))
        }
        _ => Err(malformed("a role's delegator is neither a name nor null")),
    }
}

pub(super) fn read_proposal(json: &Json<'_>) -> Result<(ProposedRole, Option<Payload>), CeremonyError> {
    let name = text_of(json, "role")?;
    let delegator = delegator(json)?;
    if let Some(edit) = json.get("bucket") {
        return Ok((read_bucket(name, delegator, edit)?, None));
    }
    let signed = json.get("signed").ok_or_else(|| malformed(format!("{name} has no content")))?;
    let (canonical, written) = (signed.canonical(), signed.to_text());
    let refused = |error: &dyn std::fmt::Display| malformed(format!("the content of {name}: {error}"));
    let targets = || {
        Draft::<Targets>::read(written.as_bytes()).map(|draft| draft.content).map_err(|error| refused(&error))
    };
    let role = match (name, delegator) {
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
    // What is shown is what the content says; so it must be all that the bytes say.
    let payload = role.payload().filter(|payload| payload.to_sign() == canonical);
    let payload =
        payload.ok_or_else(|| malformed(format!("the content of {name} is not as wheelseal writes it")))?;
    Ok((role, Some(payload)))
}

fn read_bucket(
    name: &str,
    delegator: Option<RoleName>,
    json: &Json<'_>,
) -> Result<ProposedRole, CeremonyError> {
    let Some(delegator) = delegator.filter(|by| by.as_str() == CLAIMED && is_bucket(name)) else {
        return Err(malformed(format!("{name} is no bucket of {CLAIMED}")));
    };
    let role = RoleName::delegated(name).map_err(|error| malformed(error.to_string()))?;
    let from = match json.get("from") {
        Some(Json::Null) => None,
        Some(Json::Str(from)) if is_bucket(from) => Some(RoleName::delegated(&**from)),
        _ => return Err(malformed(format!("{name} goes on from no bucket"))),
    };
    let from = from.transpose().map_err(|error| malformed(error.to_string()))?;
    let take = match (json.get("without"), json.get("only")) {
        (Some(names), None) => Take::AllBut(list_of_names(names)?),
        (None, Some(names)) => Take::Only(list_of_names(names)?),
        _ => return Err(malformed(format!("{name} takes over nothing that is said"))),
    };
    let Some(Json::Object(items)) = json.get("put") else {
        return Err(malformed(format!("{name} lacks the object \"put\"")));
    };
    let put = items.iter().map(|(project, owners)| Ok((project_name(project)?, read_owners(owners)?)));
    let put = put.collect::<Result<BTreeMap<_, _>, CeremonyError>>()?;
    let version = json.get("version").and_then(Json::as_u64);
    let version = version.ok_or_else(|| malformed(format!("{name} has no version")))?;
    let common = Common::new(version, time(json, "expires")?);
    Ok(ProposedRole::Bucket { delegator, common, edit: BucketEdit { role, from, take, put } })
}

fn list_of_names(json: &Json<'_>) -> Result<BTreeSet<String>, CeremonyError> {
    let Json::Array(items) = json else { return Err(malformed("names are no list")) };
    let name = |item: &Json<'_>| {
        let text = item.as_str().ok_or_else(|| malformed("a name is no text"))?;
        project_name(text).map(|name| name.to_string())
    };
    items.iter().map(name).collect()
}

fn project_name(text: &str) -> Result<ProjectName, CeremonyError> {
    ProjectName::from_normalised(text).map_err(|error| malformed(error.to_string()))
}

fn read_owners(json: &Json<'_>) -> Result<Owners, CeremonyError> {
    let mut keys = Vec::new();
    for key in array(json, "keys", MAX_SIGNATURES)? {
        keys.push(Key::from_json(key).map_err(|error| malformed(error.to_string()))?);
    }
    let threshold = json.get("threshold").and_then(Json::as_u64);
    Ok(Owners::new(keys, threshold.ok_or_else(|| malformed("owners have no threshold"))?))
}

pub(super) fn marks(items: &[Json<'_>]) -> Result<Vec<Mark>, CeremonyError> {
    let read = |item: &Json<'_>| {
        let key = KeyId::new(text_of(item, "keyid")?).map_err(|error| malformed(error.to_string()))?;
        let signature =
            hex::decode(text_of(item, "sig")?).map_err(|_| malformed("a signature is not hexadecimal"))?;
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

pub(super) fn is_bucket(role: &str) -> bool {
    Family::Claimed.number(role).is_some()
}

pub(super) fn malformed(reason: impl Into<String>) -> CeremonyError {
    CeremonyError::Malformed(reason.into())
}

pub(super) fn number(json: &Json<'_>, field: &str) -> Result<usize, CeremonyError> {
    let number = json.get(field).and_then(Json::as_u64).and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| malformed(format!("it lacks the number {field:?}")))
}

pub(super) fn length(file: &[u8]) -> Json<'static> {
    Json::int(u64::try_from(file.len()).unwrap_or(u64::MAX))
}
