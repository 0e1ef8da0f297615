//! Delegations: `paths`, `path_hash_prefixes` (specification section 4.5) and `succinct_roles` (TAP 15).

use std::collections::BTreeMap;

use super::canonical::Raw;
use super::fields::{Extra, Fields, ParseError};
use super::json::Json;
use super::key::{Key, KeyId, RoleKeys, read_keys, write_keys};
use super::listed::ListedRoles;
use super::path::{NameError, RoleName, TargetPath};
use super::render::Object;
use super::snapshot::Snapshot;

/// Which role a target is delegated to, and whether the search ends there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matched {
    /// The role to ask.
    pub role: RoleName,
    /// Whether later delegations of the same delegator, and those above it, are not asked.
    pub terminating: bool,
}

/// Keys and roles that a targets role delegates to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegations {
    /// Keys by id.
    pub keys: BTreeMap<KeyId, Key>,
    /// The roles.
    pub roles: DelegatedRoles,
    /// Unknown fields.
    pub extra: Extra,
}

/// Either form of delegation; the specification allows one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DelegatedRoles {
    /// In order of priority.
    Listed(ListedRoles),
    /// Hashed bins, TAP 15.
    Succinct(SuccinctRoles),
}

/// One delegated role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelegatedRole {
    /// Its name.
    pub name: RoleName,
    /// Who signs it.
    pub keyids: Vec<KeyId>,
    /// How many of them.
    pub threshold: u64,
    /// Whether the search for a matching target ends with it.
    pub terminating: bool,
    /// Which targets it may speak for.
    pub paths: PathSet,
    /// Unknown fields.
    pub extra: Extra,
}

/// Which targets a delegated role may speak for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathSet {
    /// `paths`: shell-style patterns.
    Patterns(Vec<String>),
    /// `path_hash_prefixes`: how the SHA-256 of the path, in hexadecimal, may start.
    HashPrefixes(Vec<String>),
}

/// `2^bit_length` bins with the same keys, named `PREFIX-HEX`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuccinctRoles {
    /// Who signs each bin.
    pub keyids: Vec<KeyId>,
    /// How many of them.
    pub threshold: u64,
    /// 1 to 32.
    pub bit_length: u32,
    /// What all bin names start with, before the hyphen.
    pub name_prefix: String,
    /// Unknown fields.
    pub extra: Extra,
}

impl Delegations {
    /// The roles that `path` is delegated to, in order of priority.
    pub fn matching(&self, path: &TargetPath) -> Result<Vec<Matched>, NameError> {
        match &self.roles {
            DelegatedRoles::Listed(roles) => Ok(roles
                .matching(path)
                .map(|role| Matched { role: role.name.clone(), terminating: role.terminating })
                .collect()),
            DelegatedRoles::Succinct(bins) => {
                Ok(vec![Matched { role: bins.role_for(path)?, terminating: false }])
            }
        }
    }

    /// Key ids and threshold of a role, if it is delegated to.
    pub fn role(&self, name: &RoleName) -> Option<(&[KeyId], u64)> {
        match &self.roles {
            DelegatedRoles::Listed(roles) => {
                roles.named(name).map(|role| (role.keyids.as_slice(), role.threshold))
            }
            DelegatedRoles::Succinct(bins) => {
                bins.is_bin(name).then_some((bins.keyids.as_slice(), bins.threshold))
            }
        }
    }

    /// The names of all roles delegated to, in order: 2^32 of them, at worst.
    pub fn names(&self) -> Box<dyn Iterator<Item = Result<RoleName, NameError>> + '_> {
        match &self.roles {
            DelegatedRoles::Listed(roles) => Box::new(roles.iter().map(|role| Ok(role.name.clone()))),
            DelegatedRoles::Succinct(bins) => Box::new((0..bins.count()).map(|index| bins.role_at(index))),
        }
    }

    /// The names of the roles delegated to that a snapshot has. Where more bins are delegated to than it has roles, its roles
    /// are looked through, never all 2^32 bins there may be.
    pub fn names_in(&self, snapshot: &Snapshot) -> Vec<RoleName> {
        match &self.roles {
            DelegatedRoles::Succinct(bins)
                if usize::try_from(bins.count()).is_ok_and(|count| count <= snapshot.meta.len()) =>
            {
                let names = (0..bins.count()).filter_map(|index| bins.role_at(index).ok());
                names.filter(|name| snapshot.role(name.as_str()).is_some()).collect()
            }
            DelegatedRoles::Succinct(bins) => {
                let names =
                    snapshot.roles().filter_map(|(name, _)| RoleName::delegated(name.to_owned()).ok());
                names.filter(|name| bins.is_bin(name)).collect()
            }
            DelegatedRoles::Listed(roles) => {
                let names = roles.iter().map(|role| role.name.clone());
                names.filter(|name| snapshot.role(name.as_str()).is_some()).collect()
            }
        }
    }

    pub(super) fn read(value: Raw<'_>) -> Result<Self, ParseError> {
        let mut fields = Fields::new("delegations", value)?;
        let keys = read_keys(&mut fields)?;
        let roles = match (fields.optional("roles"), fields.optional("succinct_roles")) {
            (Some(roles), None) => {
                let items = roles.items().ok_or_else(|| fields.wrong("roles", roles, "an array"))?;
                DelegatedRoles::Listed(ListedRoles::read(items)?)
            }
            (None, Some(bins)) => DelegatedRoles::Succinct(SuccinctRoles::read(bins)?),
            (Some(other), Some(_)) => {
                let expected = "no roles beside succinct_roles";
                return Err(fields.wrong("roles", other, expected));
            }
            (None, None) => return Err(ParseError::Missing { within: "delegations", field: "roles" }),
        };
        Ok(Self { keys, roles, extra: fields.extra() })
    }

    pub(super) fn write(&self, out: &mut String) {
        let mut object = Object::open(out, &self.extra);
        write_keys(&self.keys, object.key("keys"));
        match &self.roles {
            DelegatedRoles::Listed(roles) => roles.write(object.key("roles")),
            DelegatedRoles::Succinct(bins) => bins.write(object.key("succinct_roles")),
        }
        object.close();
    }
}

impl DelegatedRole {
    pub(super) fn read(value: Raw<'_>) -> Result<Self, ParseError> {
        let mut fields = Fields::new("a delegated role", value)?;
        let name = RoleName::delegated(fields.string("name")?)?;
        let (keyids, threshold) = RoleKeys::from_fields(&mut fields)?;
        let terminating = fields.boolean("terminating")?;
        let paths = match (fields.optional("paths"), fields.optional("path_hash_prefixes")) {
            (Some(paths), None) => PathSet::Patterns(fields.strings_of("paths", paths)?),
            (None, Some(prefixes)) => {
                PathSet::HashPrefixes(fields.strings_of("path_hash_prefixes", prefixes)?)
            }
            (None, None) => return Err(ParseError::Missing { within: "a delegated role", field: "paths" }),
            (Some(both), Some(_)) => {
                return Err(fields.wrong("paths", both, "no paths beside path_hash_prefixes"));
            }
        };
        Ok(Self { name, keyids, threshold, terminating, paths, extra: fields.extra() })
    }

    pub(super) fn write(&self, out: &mut String) {
        let mut object = Object::open(out, &self.extra);
        object.strings("keyids", self.keyids.iter().map(KeyId::as_str));
        object.string("name", self.name.as_str());
        let (field, list) = match &self.paths {
            PathSet::Patterns(list) => ("paths", list),
            PathSet::HashPrefixes(list) => ("path_hash_prefixes", list),
        };
        object.strings(field, list.iter().map(String::as_str));
        object.boolean("terminating", self.terminating);
        object.number("threshold", self.threshold);
        object.close();
    }
}

impl SuccinctRoles {
    /// How many bins.
    pub fn count(&self) -> u64 {
        1 << self.bit_length
    }

    /// The bin that answers for `path`: the first `bit_length` bits of its SHA-256.
    pub fn role_for(&self, path: &TargetPath) -> Result<RoleName, NameError> {
        let [a, b, c, d, ..] = path.digest();
        self.role_at(u64::from(u32::from_be_bytes([a, b, c, d])) >> (32 - self.bit_length))
    }

    /// The name of a bin by number.
    pub fn role_at(&self, index: u64) -> Result<RoleName, NameError> {
        let digits = hex_digits(self.bit_length);
        RoleName::delegated(format!("{}-{index:0digits$x}", self.name_prefix))
    }

    fn is_bin(&self, name: &RoleName) -> bool {
        let digits = name.as_str().strip_prefix(&self.name_prefix).and_then(|rest| rest.strip_prefix('-'));
        let index = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        index.is_some_and(|index| index < self.count() && self.role_at(index).as_ref() == Ok(name))
    }

    fn read(value: Raw<'_>) -> Result<Self, ParseError> {
        let mut fields = Fields::new("succinct_roles", value)?;
        let (keyids, threshold) = RoleKeys::from_fields(&mut fields)?;
        let found = fields.unsigned("bit_length")?;
        let bit_length = u32::try_from(found).ok().filter(|bits| (1..=32).contains(bits));
        let bit_length =
            bit_length.ok_or_else(|| fields.differs("bit_length", Json::int(found).kind(), "1 to 32"))?;
        let name_prefix = fields.string("name_prefix")?.into_owned();
        let bins = Self { keyids, threshold, bit_length, name_prefix, extra: fields.extra() };
        bins.role_at(0)?;
        Ok(bins)
    }

    fn write(&self, out: &mut String) {
        let mut object = Object::open(out, &self.extra);
        object.number("bit_length", self.bit_length.into());
        object.strings("keyids", self.keyids.iter().map(KeyId::as_str));
        object.string("name_prefix", &self.name_prefix);
        object.number("threshold", self.threshold);
        object.close();
    }
}

/// Hexadecimal digits that number `2^bits` bins.
pub fn hex_digits(bits: u32) -> usize {
    usize::try_from(bits.div_ceil(4)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::super::canonical::Canonical;
    use super::super::metadata::Common;
    use super::super::snapshot::MetaFile;
    use super::*;

    fn read(text: &str) -> Result<Delegations, ParseError> {
        Delegations::read(Canonical::read(text.as_bytes()).unwrap().value())
    }

    fn bins(bits: u32) -> SuccinctRoles {
        let (keyids, extra) = (Vec::new(), Extra::new());
        SuccinctRoles { keyids, threshold: 1, bit_length: bits, name_prefix: "bins".into(), extra }
    }

    #[test]
    fn bins_are_numbered_by_the_first_bits_of_the_path_digest() {
        let path = TargetPath::new("six/six-1.16.0.tar.gz").unwrap();
        let digest = hex::encode(path.digest());
        assert_eq!(bins(16).role_for(&path).unwrap().as_str(), format!("bins-{}", &digest[..4]));
        assert_eq!(bins(32).role_for(&path).unwrap().as_str(), format!("bins-{}", &digest[..8]));
        let top = u8::from_str_radix(&digest[..2], 16).unwrap() >> 7;
        assert_eq!(bins(1).role_for(&path).unwrap().as_str(), format!("bins-{top}"));
    }

    #[test]
    fn only_exact_bin_names_are_bins() {
        let is = |name: &str| bins(5).is_bin(&RoleName::delegated(name).unwrap());
        assert!(is("bins-00") && is("bins-1f"));
        for other in ["bins-20", "bins-0", "bins-000", "bins-1F", "bins-+1", "bin-00", "bins00"] {
            assert!(!is(other), "{other}");
        }
    }

    /// A listing of all 2^32 bins would not end in time.
    #[test]
    fn of_many_bins_only_those_that_a_snapshot_has_are_named() {
        let entries = ["bins-0", "bins-1", "bins-2", "bins-0000000f", "bins-00ff", "targets", "a"];
        let meta = entries.map(|name| (format!("{name}.json"), MetaFile::version(1)));
        let common = Common::new(1, DateTime::UNIX_EPOCH);
        let snapshot = Snapshot { common, meta: meta.into_iter().collect() };
        let names = |bits| -> Vec<String> {
            let roles = DelegatedRoles::Succinct(bins(bits));
            let delegations = Delegations { keys: BTreeMap::new(), roles, extra: Extra::default() };
            delegations.names_in(&snapshot).iter().map(ToString::to_string).collect()
        };
        assert_eq!(names(32), ["bins-0000000f"]);
        assert_eq!(names(16), ["bins-00ff"]);
        assert_eq!(names(1), ["bins-0", "bins-1"]);
    }

    #[test]
    fn wrong_delegations_are_refused() {
        let role = r#"{"keyids":[],"name":"a","paths":["*"],"terminating":false,"threshold":1}"#;
        assert!(read(&format!(r#"{{"keys":{{}},"roles":[{role}]}}"#)).is_ok());
        let cases = [
            format!(r#"{{"keys":{{}},"roles":[{role},{role}]}}"#),
            format!(r#"{{"keys":{{}},"roles":[{}]}}"#, role.replace("\"a\"", "\"root\"")),
            format!(r#"{{"keys":{{}},"roles":[{}]}}"#, role.replace(":1}", ":0}")),
            format!(r#"{{"keys":{{}},"roles":[{}]}}"#, role.replace("paths", "path")),
            format!(
                r#"{{"keys":{{}},"roles":[{}]}}"#,
                role.replace("[\"*\"]", "[\"*\"],\"path_hash_prefixes\":[]")
            ),
            r#"{"keys":{}}"#.to_owned(),
            r#"{"keys":{},"succinct_roles":{"bit_length":33,"keyids":[],"name_prefix":"b","threshold":1}}"#
                .into(),
            r#"{"keys":{},"succinct_roles":{"bit_length":0,"keyids":[],"name_prefix":"b","threshold":1}}"#
                .into(),
            format!(
                r#"{{"keys":{{}},"roles":[],"succinct_roles":{}}}"#,
                r#"{"bit_length":3,"keyids":[],"name_prefix":"b","threshold":1}"#
            ),
        ];
        for text in cases {
            assert!(read(&text).is_err(), "{text}");
        }
    }
}
