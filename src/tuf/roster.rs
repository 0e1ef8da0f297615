//! A role that does nothing but delegate, edited as text: some delegations go, some come, all others are copied as they
//! stand.
//!
//! The offline keys vouch for hundreds of thousands of projects, in files of some hundred kilobytes each. Who signs a few
//! changes in each of them must verify all, and show what changes; to take every delegation apart and to write it again
//! would cost more than all signatures. So of a verified file only the names are noted, and where each delegation is.
//!
//! What comes out is what rendering the edited content would give, if keys that nobody needs are not listed; a property
//! holds the one against the other. Order is by name, as buckets have it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use chrono::{DateTime, Utc};

use super::canonical::{Canonical, Raw};
use super::delegations::DelegatedRole;
use super::fields::{Fields, ParseError};
use super::json::{escape_canonical, format_time};
use super::key::{Key, KeyId};
use super::metadata::{Common, SPEC_VERSION, Version};
use super::path::RoleName;
use super::render::push_number;
use super::signed::Payload;

/// Bytes of a role that delegates to nobody, at most.
const FRAME: usize = 256;
/// Bytes that a delegation with a key of its own takes, about.
const ENTRY: usize = 450;

/// The text of a role that enough keys signed; see [`super::signed::verify_to_edit`], which makes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster {
    common: Common,
    text: String,
    keys: Vec<Entry>,
    roles: Vec<Entry>,
    /// Where the list of key ids of each role is.
    keyids: Vec<Range<usize>>,
}

/// Where in the text something is, and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    name: Range<usize>,
    value: Range<usize>,
}

/// One delegation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The role.
    pub role: DelegatedRole,
    /// Those of its keys that are listed.
    pub keys: BTreeMap<KeyId, Key>,
}

/// Delegations that come, in place of those of the same names if there are any, with their keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// By name.
    pub roles: BTreeMap<RoleName, DelegatedRole>,
    /// Their keys.
    pub keys: BTreeMap<KeyId, Key>,
}

impl Roster {
    /// One of nobody, from which a new role begins.
    pub fn empty() -> Self {
        let common = Common::new(0, DateTime::UNIX_EPOCH);
        Self { common, text: String::new(), keys: Vec::new(), roles: Vec::new(), keyids: Vec::new() }
    }

    /// The version of this file.
    pub fn version(&self) -> Version {
        self.common.version
    }

    /// When it expires.
    pub fn expires(&self) -> DateTime<Utc> {
        self.common.expires
    }

    /// The roles that it delegates to, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.roles.iter().map(|role| self.at(&role.name))
    }

    /// A delegation and its keys.
    pub fn find(&self, role: &str) -> Result<Option<Listed>, ParseError> {
        let Ok(at) = self.roles.binary_search_by(|entry| self.at(&entry.name).cmp(role)) else {
            return Ok(None);
        };
        let Some(entry) = self.roles.get(at) else { return Ok(None) };
        let role = DelegatedRole::read(Canonical::written(self.at(&entry.value).into()).value())?;
        let mut keys = BTreeMap::new();
        for id in &role.keyids {
            let found = self.keys.binary_search_by(|entry| self.at(&entry.name).cmp(id.as_str()));
            let Some(entry) = found.ok().and_then(|at| self.keys.get(at)) else { continue };
            let key = Key::read(Canonical::written(self.at(&entry.value).into()).value())?;
            keys.insert(id.clone(), key);
        }
        Ok(Some(Listed { role, keys }))
    }

    /// The file that delegates to those of its roles that `keep` picks, and to `arrivals`.
    pub fn edited(
        &self,
        version: Version,
        expires: DateTime<Utc>,
        keep: impl Fn(&str) -> bool,
        arrivals: &Arrivals,
    ) -> Payload {
        let stays = |entry: &Entry| {
            let name = self.at(&entry.name);
            keep(name) && !arrivals.roles.keys().any(|new| new.as_str() == name)
        };
        let kept: Vec<bool> = self.roles.iter().map(stays).collect();
        let mut out = String::with_capacity(self.text.len() + FRAME + ENTRY * arrivals.roles.len());
        out.push_str("{\"_type\":\"targets\",\"delegations\":{\"keys\":{");
        self.write_keys(&kept, arrivals, &mut out);
        out.push_str("},\"roles\":[");
        self.write_roles(&kept, arrivals, &mut out);
        out.push_str("]},\"expires\":");
        escape_canonical(&format_time(expires), &mut out);
        out.push_str(",\"spec_version\":");
        escape_canonical(SPEC_VERSION, &mut out);
        out.push_str(",\"targets\":{},\"version\":");
        push_number(&mut out, version);
        out.push('}');
        Payload::new(out)
    }

    fn write_keys(&self, kept: &[bool], arrivals: &Arrivals, out: &mut String) {
        let all = kept.iter().all(|kept| *kept);
        let ids = self.keyids.iter().zip(kept).filter(|(_, kept)| **kept).flat_map(|(ids, _)| self.ids(ids));
        let needed: BTreeSet<&str> = if all { BTreeSet::new() } else { ids.collect() };
        let old = self.keys.iter().map(|entry| (self.at(&entry.name), self.at(&entry.value)));
        let old = old.filter(|(id, _)| all || needed.contains(id));
        let new = arrivals.keys.iter().map(|(id, key)| (id.as_str(), key));
        merged(old, new, out, |id, key, out| {
            escape_canonical(id, out);
            out.push(':');
            match key {
                Either::Old(text) => out.push_str(text),
                Either::New(key) => key.write(out),
            }
        });
    }

    fn write_roles(&self, kept: &[bool], arrivals: &Arrivals, out: &mut String) {
        let old = self.roles.iter().zip(kept).filter(|(_, kept)| **kept);
        let old = old.map(|(entry, _)| (self.at(&entry.name), self.at(&entry.value)));
        let new = arrivals.roles.iter().map(|(name, role)| (name.as_str(), role));
        merged(old, new, out, |_, role, out| match role {
            Either::Old(text) => out.push_str(text),
            Either::New(role) => role.write(out),
        });
    }

    /// The key ids in a list of them: [`Self::read`] saw that they have no escapes.
    fn ids(&self, list: &Range<usize>) -> impl Iterator<Item = &str> {
        self.at(list).split('"').skip(1).step_by(2)
    }

    fn at(&self, place: &Range<usize>) -> &str {
        self.text.get(place.clone()).unwrap_or_default()
    }

    /// From the text that signatures by enough keys cover.
    pub(super) fn read(signed: Raw<'_>) -> Result<Self, ParseError> {
        let mut fields = Fields::new("targets", signed)?;
        let common = Common::take(&mut fields, "targets")?;
        let targets = fields.required("targets")?;
        if targets.text() != "{}" {
            return Err(fields.wrong("targets", targets, "nothing, as it only delegates"));
        }
        let mut roster = Self {
            common,
            text: signed.text().to_owned(),
            keys: Vec::new(),
            roles: Vec::new(),
            keyids: Vec::new(),
        };
        if let Some(delegations) = fields.optional("delegations") {
            roster.read_delegations(signed, delegations)?;
        }
        nothing_more(fields)?;
        Ok(roster)
    }

    fn read_delegations(&mut self, signed: Raw<'_>, delegations: Raw<'_>) -> Result<(), ParseError> {
        let mut fields = Fields::new("delegations", delegations)?;
        for (id, key) in fields.object("keys")? {
            let value = key.place_in(signed);
            // `"ID":` stands before the key.
            let name = value.start.saturating_sub(id.len() + 2)..value.start.saturating_sub(2);
            self.keys.push(Entry { name, value });
        }
        for item in fields.array("roles")? {
            self.read_role(signed, item)?;
        }
        if !self.roles.is_sorted_by(|a, b| self.at(&a.name) < self.at(&b.name)) {
            return Err(fields.differs(
                "roles",
                "a list in another order".to_owned(),
                "each role once, by name",
            ));
        }
        nothing_more(fields)
    }

    fn read_role(&mut self, signed: Raw<'_>, item: Raw<'_>) -> Result<(), ParseError> {
        let mut fields = Fields::new("a delegated role", item)?;
        let (name, keyids) = (fields.required("name")?, fields.required("keyids")?);
        let list = keyids.text();
        if list.contains('\\') || keyids.items().is_none() {
            return Err(fields.wrong("keyids", keyids, "an array of plain strings"));
        }
        let inner = name.place_in(signed);
        let plain = name.text().starts_with('"') && !name.text().contains('\\');
        if !plain {
            return Err(fields.wrong("name", name, "a plain string"));
        }
        let name = inner.start + 1..inner.end.saturating_sub(1);
        self.roles.push(Entry { name, value: item.place_in(signed) });
        self.keyids.push(keyids.place_in(signed));
        Ok(())
    }
}

fn nothing_more(fields: Fields<'_>) -> Result<(), ParseError> {
    match fields.extra().first() {
        None => Ok(()),
        Some((name, value)) => Err(ParseError::Wrong {
            within: "a role that only delegates",
            field: super::json::quoted(name),
            found: value.kind(),
            expected: "no such field",
        }),
    }
}

enum Either<'a, T> {
    Old(&'a str),
    New(&'a T),
}

/// Writes both, which are in order, in order; of two with one name the new one.
fn merged<'a, T: 'a>(
    old: impl Iterator<Item = (&'a str, &'a str)>,
    new: impl Iterator<Item = (&'a str, &'a T)>,
    out: &mut String,
    mut write: impl FnMut(&str, Either<'_, T>, &mut String),
) {
    let (mut old, mut new) = (old.peekable(), new.peekable());
    let mut first = true;
    loop {
        let next = match (old.peek(), new.peek()) {
            (None, None) => return,
            (Some((a, _)), Some((b, _))) if a == b => {
                old.next();
                continue;
            }
            (Some((a, _)), Some((b, _))) if a < b => old.next().map(|(name, text)| (name, Either::Old(text))),
            (Some(_), None) => old.next().map(|(name, text)| (name, Either::Old(text))),
            _ => new.next().map(|(name, value)| (name, Either::New(value))),
        };
        let Some((name, value)) = next else { return };
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        write(name, value, out);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::delegations::{DelegatedRoles, Delegations, PathSet};
    use super::super::fields::Extra;
    use super::super::json::parse_time;
    use super::super::metadata::{Table, Targets};
    use super::super::signed::Draft;
    use super::*;
    use crate::crypto::{PublicKey, Scheme, sha256};

    fn key(number: u8) -> Key {
        Key::new(PublicKey::Ed25519(sha256(&[number])), Scheme::Ed25519).unwrap()
    }

    fn role(name: &str, keys: &BTreeSet<u8>) -> DelegatedRole {
        DelegatedRole {
            name: RoleName::delegated(name).unwrap(),
            keyids: keys.iter().map(|number| key(*number).id()).collect(),
            threshold: 1,
            terminating: true,
            paths: PathSet::Patterns(vec![format!("{name}/*")]),
            extra: Extra::new(),
        }
    }

    type Teams = BTreeMap<String, BTreeSet<u8>>;

    fn content(version: u64, teams: &Teams) -> Targets {
        let numbers: BTreeSet<u8> = teams.values().flatten().copied().collect();
        let keys = numbers.into_iter().map(|number| (key(number).id(), key(number))).collect();
        let roles: Vec<_> = teams.iter().map(|(name, keys)| role(name, keys)).collect();
        let delegations =
            Delegations { keys, roles: DelegatedRoles::Listed(roles.into()), extra: Extra::new() };
        Targets {
            common: Common::new(version, parse_time("2030-01-01T00:00:00Z").unwrap()),
            targets: Table::new(),
            delegations: Some(delegations),
        }
    }

    fn read(text: &[u8]) -> Result<Roster, ParseError> {
        Roster::read(Canonical::read(text).unwrap().value())
    }

    fn teams() -> impl Strategy<Value = Teams> {
        let keys = prop::collection::btree_set(0..9_u8, 1..3);
        prop::collection::btree_map("[a-e]{1,3}", keys, 0..8)
    }

    proptest! {
        #[test]
        fn what_is_edited_is_what_a_draft_of_the_content_would_be(
            before in teams(), new in teams(), gone in prop::collection::btree_set("[a-e]{1,3}", 0..6),
        ) {
            let roster = read(Draft::new(content(4, &before)).payload().to_sign()).unwrap();
            let mut after = before.clone();
            after.retain(|name, _| !gone.contains(name));
            after.extend(new.clone());
            let arrivals = Arrivals {
                roles: new.iter().map(|(name, keys)| (RoleName::delegated(name).unwrap(), role(name, keys))).collect(),
                keys: new.values().flatten().map(|number| (key(*number).id(), key(*number))).collect(),
            };
            let expected = Draft::new(content(5, &after)).payload();
            let edited = roster.edited(5, expected_date(), |name| !gone.contains(name), &arrivals);
            prop_assert_eq!(&edited, &expected);
            for (name, keys) in &before {
                let Listed { role: found, keys: listed } = roster.find(name).unwrap().unwrap();
                prop_assert_eq!(&found, &role(name, keys));
                prop_assert_eq!(listed.len(), keys.len());
            }
            prop_assert_eq!(roster.names().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
            prop_assert!(roster.find("zz").unwrap().is_none());
        }
    }

    fn expected_date() -> DateTime<Utc> {
        parse_time("2030-01-01T00:00:00Z").unwrap()
    }

    #[test]
    fn a_role_that_does_more_than_delegate_or_has_another_order_is_refused() {
        let teams: Teams = [("a".to_owned(), [1].into()), ("b".to_owned(), [2].into())].into();
        let text = String::from_utf8(Draft::new(content(1, &teams)).payload().to_sign().to_vec()).unwrap();
        assert!(read(text.as_bytes()).is_ok());
        let (a, b) = (role("a", &[1].into()), role("b", &[2].into()));
        let written = |role: &DelegatedRole| {
            let mut out = String::new();
            role.write(&mut out);
            out
        };
        let (a, b) = (written(&a), written(&b));
        for (from, to) in [
            ("\"targets\":{}", "\"targets\":{\"x\":{}}"),
            ("{\"_type\"", "{\"-x\":1,\"_type\""),
            ("\"delegations\":{", "\"delegations\":{\"-x\":1,"),
            (&format!("{a},{b}"), &format!("{b},{a}")),
            (&format!("{a},{b}"), &format!("{a},{a}")),
            ("\"name\":\"a\"", "\"name\":\"\\\\a\""),
        ] {
            let wrong = text.replacen(from, to, 1);
            assert_ne!(wrong, text, "{from}");
            assert!(matches!(read(wrong.as_bytes()), Err(ParseError::Wrong { .. })), "{from} → {to}");
        }
    }
}
