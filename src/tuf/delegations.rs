//! Delegations: `paths`, `path_hash_prefixes` (specification section 4.5) and `succinct_roles` (TAP 15).

use std::collections::{BTreeMap, BTreeSet};

use super::fields::{Extra, Fields, ParseError, object};
use super::json::Json;
use super::key::{Key, KeyId, RoleKeys, keys_from_json, keys_to_json, role_fields};
use super::path::{NameError, RoleName, TargetPath, matches_pattern};

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
    Listed(Vec<DelegatedRole>),
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
            DelegatedRoles::Listed(roles) => {
                let digest = hex::encode(path.digest());
                let matched = roles.iter().filter(|role| role.paths.contains(path, &digest));
                Ok(matched
                    .map(|role| Matched { role: role.name.clone(), terminating: role.terminating })
                    .collect())
            }
            DelegatedRoles::Succinct(bins) => {
                Ok(vec![Matched { role: bins.role_for(path)?, terminating: false }])
            }
        }
    }

    /// Key ids and threshold of a role, if it is delegated to.
    pub fn role(&self, name: &RoleName) -> Option<(&[KeyId], u64)> {
        match &self.roles {
            DelegatedRoles::Listed(roles) => roles
                .iter()
                .find(|role| role.name == *name)
                .map(|role| (role.keyids.as_slice(), role.threshold)),
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

    pub(super) fn from_json(json: Json<'_>) -> Result<Self, ParseError> {
        let mut fields = Fields::new("delegations", json)?;
        let keys = keys_from_json(&mut fields)?;
        let roles = match (fields.optional("roles"), fields.optional("succinct_roles")) {
            (Some(Json::Array(roles)), None) => listed(roles)?,
            (None, Some(bins)) => DelegatedRoles::Succinct(SuccinctRoles::from_json(bins)?),
            (Some(other), None) => return Err(fields.wrong("roles", &other, "an array")),
            (Some(other), Some(_)) => {
                return Err(fields.wrong("roles", &other, "no roles beside succinct_roles"));
            }
            (None, None) => return Err(ParseError::Missing { within: "delegations", field: "roles" }),
        };
        Ok(Self { keys, roles, extra: fields.extra() })
    }

    pub(super) fn to_json(&self) -> Json<'static> {
        let roles = match &self.roles {
            DelegatedRoles::Listed(roles) => {
                ("roles", Json::Array(roles.iter().map(DelegatedRole::to_json).collect()))
            }
            DelegatedRoles::Succinct(bins) => ("succinct_roles", bins.to_json()),
        };
        object(vec![("keys", keys_to_json(&self.keys)), roles], &self.extra)
    }
}

fn listed(roles: Vec<Json<'_>>) -> Result<DelegatedRoles, ParseError> {
    let roles = roles.into_iter().map(DelegatedRole::from_json).collect::<Result<Vec<_>, _>>()?;
    let mut names = BTreeSet::new();
    for role in &roles {
        if !names.insert(&role.name) {
            return Err(ParseError::Wrong {
                within: "delegations",
                field: "roles".into(),
                found: format!("a list with {:?} twice", role.name.as_str()),
                expected: "each role once",
            });
        }
    }
    Ok(DelegatedRoles::Listed(roles))
}

impl DelegatedRole {
    fn from_json(json: Json<'_>) -> Result<Self, ParseError> {
        let mut fields = Fields::new("a delegated role", json)?;
        let name = RoleName::delegated(fields.string("name")?)?;
        let (keyids, threshold) = RoleKeys::from_fields(&mut fields)?;
        let terminating = fields.boolean("terminating")?;
        let paths = match (fields.optional("paths"), fields.optional("path_hash_prefixes")) {
            (Some(paths), None) => PathSet::Patterns(strings("paths", paths)?),
            (None, Some(prefixes)) => PathSet::HashPrefixes(strings("path_hash_prefixes", prefixes)?),
            (None, None) => return Err(ParseError::Missing { within: "a delegated role", field: "paths" }),
            (Some(both), Some(_)) => {
                return Err(fields.wrong("paths", &both, "no paths beside path_hash_prefixes"));
            }
        };
        Ok(Self { name, keyids, threshold, terminating, paths, extra: fields.extra() })
    }

    fn to_json(&self) -> Json<'static> {
        let mut known = role_fields(&self.keyids, self.threshold);
        known.push(("name", Json::str(self.name.as_str().to_owned())));
        known.push(("terminating", Json::Bool(self.terminating)));
        let (field, list) = match &self.paths {
            PathSet::Patterns(list) => ("paths", list),
            PathSet::HashPrefixes(list) => ("path_hash_prefixes", list),
        };
        known.push((field, Json::Array(list.iter().map(|item| Json::str(item.clone())).collect())));
        object(known, &self.extra)
    }
}

fn strings(field: &'static str, value: Json<'_>) -> Result<Vec<String>, ParseError> {
    Fields::new("a delegated role", Json::object([(field, value)]))?.strings(field)
}

impl PathSet {
    fn contains(&self, path: &TargetPath, digest: &str) -> bool {
        match self {
            Self::Patterns(patterns) => {
                patterns.iter().any(|pattern| matches_pattern(pattern, path.as_str()))
            }
            Self::HashPrefixes(prefixes) => prefixes.iter().any(|prefix| digest.starts_with(prefix.as_str())),
        }
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

    fn from_json(json: Json<'_>) -> Result<Self, ParseError> {
        let mut fields = Fields::new("succinct_roles", json)?;
        let (keyids, threshold) = RoleKeys::from_fields(&mut fields)?;
        let found = fields.unsigned("bit_length")?;
        let bit_length = u32::try_from(found).ok().filter(|bits| (1..=32).contains(bits));
        let bit_length =
            bit_length.ok_or_else(|| fields.wrong("bit_length", &Json::int(found), "1 to 32"))?;
        let name_prefix = fields.string("name_prefix")?.into_owned();
        let bins = Self { keyids, threshold, bit_length, name_prefix, extra: fields.extra() };
        bins.role_at(0)?;
        Ok(bins)
    }

    fn to_json(&self) -> Json<'static> {
        let mut known = role_fields(&self.keyids, self.threshold);
        known.push(("bit_length", Json::int(self.bit_length.into())));
        known.push(("name_prefix", Json::str(self.name_prefix.clone())));
        object(known, &self.extra)
    }
}

/// Hexadecimal digits that number `2^bits` bins.
pub fn hex_digits(bits: u32) -> usize {
    usize::try_from(bits.div_ceil(4)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::super::json::parse;
    use super::*;

    fn read(text: &str) -> Result<Delegations, ParseError> {
        Delegations::from_json(parse(text.as_bytes()).unwrap())
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
