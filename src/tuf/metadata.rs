//! The roles as values: root, timestamp, snapshot, targets (specification sections 4.3 to 4.6) and delegations.
//!
//! A value says what stood in the metadata, not that it is true: only [`super::signed`] hands out values read from
//! bytes, after checking who signed them. Fields this project does not know are kept in `extra` at every level.

use std::borrow::Cow;
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use thiserror::Error;

pub use super::delegations::{DelegatedRole, DelegatedRoles, Delegations, PathSet, SuccinctRoles};
pub use super::fields::Extra;
use super::fields::{Fields, ParseError, object};
use super::json::{Json, format_time, parse_time};
use super::key::{Key, KeyId, RoleKeys, keys_from_json, keys_to_json};
use crate::crypto::{Digests, Hasher};

/// What this project writes as `spec_version`.
pub const SPEC_VERSION: &str = "1.0.34";

/// Version number of a metadata file: 1 or more.
pub type Version = u64;

/// `version`, `expires`, `spec_version` and unknown fields: what all roles share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Common {
    /// Version of this file.
    pub version: Version,
    /// The instant from which the file is no longer good.
    pub expires: DateTime<Utc>,
    /// Unknown fields.
    pub extra: Extra,
}

impl Common {
    /// Common fields with nothing unknown.
    pub fn new(version: Version, expires: DateTime<Utc>) -> Self {
        Self { version, expires, extra: Extra::new() }
    }

    /// Whether the file is past its expiry at `now`.
    pub fn expired(&self, now: DateTime<Utc>) -> bool {
        self.expires <= now
    }

    fn take(fields: &mut Fields<'_>, role: &'static str) -> Result<Self, ParseError> {
        let found = fields.string("_type")?;
        if found != role {
            return Err(fields.wrong("_type", &Json::Str(found), role));
        }
        let spec = fields.string("spec_version")?;
        if !supported_spec(&spec) {
            return Err(fields.wrong("spec_version", &Json::Str(spec), "1.x"));
        }
        let version = fields.positive("version")?;
        let text = fields.string("expires")?;
        let expires =
            parse_time(&text).ok_or_else(|| fields.wrong("expires", &Json::Str(text), "an RFC 3339 time"))?;
        Ok(Self { version, expires, extra: Extra::new() })
    }

    fn to_json(&self, role: &'static str, mut known: Vec<(&'static str, Json<'static>)>) -> Json<'static> {
        known.push(("_type", Json::str(role)));
        known.push(("spec_version", Json::str(SPEC_VERSION)));
        known.push(("version", Json::int(self.version)));
        known.push(("expires", Json::str(format_time(self.expires))));
        object(known, &self.extra)
    }
}

/// Section 4.2: a client accepts its own major version, with two or three numeric parts.
fn supported_spec(text: &str) -> bool {
    let parts: Vec<_> = text.split('.').collect();
    let numeric = parts.iter().all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    parts.first() == Some(&"1") && (2..=3).contains(&parts.len()) && numeric
}

/// A role of the specification: how it is read and written. Implemented by the four types here alone.
pub trait Role: sealed::Sealed + Sized + Clone {
    /// The value of `_type`.
    const TYPE: &'static str;
    /// The fields all roles share.
    fn common(&self) -> &Common;
    /// The fields all roles share, for authors.
    fn common_mut(&mut self) -> &mut Common;
}

pub(super) mod sealed {
    use super::{Json, ParseError};

    pub trait Sealed: Sized {
        fn from_json(json: Json<'_>) -> Result<Self, ParseError>;
        fn to_json(&self) -> Json<'static>;
    }
}

/// How a file's hashes differ from those listed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Mismatch {
    /// No algorithm that is listed can be checked.
    #[error("only hashes of unknown algorithms are listed")]
    Unknown,
    /// A hash is another.
    #[error("{algorithm} is {found}, listed is {expected}")]
    Other {
        /// Its algorithm.
        algorithm: &'static str,
        /// What is listed, in hexadecimal.
        expected: String,
        /// What the file has.
        found: String,
    },
}

/// The hashes of a file, by algorithm. At least one is listed; those of unknown algorithms are kept, not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashes {
    /// SHA-256.
    pub sha256: Option<[u8; 32]>,
    /// SHA-512.
    pub sha512: Option<Box<[u8; 64]>>,
    /// Other algorithms.
    pub other: Extra,
}

impl Hashes {
    /// A SHA-256 digest alone.
    pub fn sha256(digest: [u8; 32]) -> Self {
        Self { sha256: Some(digest), sha512: None, other: Extra::new() }
    }

    /// One listed hash in hexadecimal, for the name of the file: SHA-256 if there, else SHA-512.
    pub fn name(&self) -> Option<String> {
        self.sha256
            .map(hex::encode)
            .or_else(|| self.sha512.as_ref().map(|digest| hex::encode(digest.as_slice())))
    }

    /// A hasher for what these hashes need.
    pub fn hasher(&self) -> Hasher {
        Hasher::new(self.sha512.is_some())
    }

    /// Compares with bytes in memory, as [`Self::check`] does.
    pub fn check_bytes(&self, bytes: &[u8]) -> Result<(), Mismatch> {
        let mut hasher = self.hasher();
        hasher.update(bytes);
        self.check(&hasher.finish())
    }

    /// Compares with what a [`Self::hasher`] saw: every listed hash of a known algorithm must agree, and one must be
    /// known.
    pub fn check(&self, seen: &Digests) -> Result<(), Mismatch> {
        let sha256 = self.sha256.map(|expected| ("SHA-256", expected.to_vec(), seen.sha256.to_vec()));
        let sha512 = self.sha512.as_ref().zip(seen.sha512);
        let sha512 = sha512.map(|(expected, found)| ("SHA-512", expected.to_vec(), found.to_vec()));
        if sha256.is_none() && sha512.is_none() {
            return Err(Mismatch::Unknown);
        }
        match sha256.into_iter().chain(sha512).find(|(_, expected, found)| expected != found) {
            None => Ok(()),
            Some((algorithm, expected, found)) => {
                let (expected, found) = (hex::encode(expected), hex::encode(found));
                Err(Mismatch::Other { algorithm, expected, found })
            }
        }
    }

    fn from_json(json: Json<'_>) -> Result<Self, ParseError> {
        let mut fields = Fields::new("hashes", json)?;
        let sha256 = digest::<32>(&mut fields, "sha256")?;
        let sha512 = digest::<64>(&mut fields, "sha512")?.map(Box::new);
        let other = fields.extra();
        if sha256.is_none() && sha512.is_none() && other.is_empty() {
            return Err(ParseError::Missing { within: "hashes", field: "sha256" });
        }
        Ok(Self { sha256, sha512, other })
    }

    fn to_json(&self) -> Json<'static> {
        let mut known = Vec::new();
        if let Some(digest) = self.sha256 {
            known.push(("sha256", Json::str(hex::encode(digest))));
        }
        if let Some(digest) = &self.sha512 {
            known.push(("sha512", Json::str(hex::encode(digest.as_slice()))));
        }
        object(known, &self.other)
    }
}

fn digest<const N: usize>(
    fields: &mut Fields<'_>,
    name: &'static str,
) -> Result<Option<[u8; N]>, ParseError> {
    let Some(value) = fields.optional(name) else { return Ok(None) };
    let text = value.as_str().filter(|text| !text.bytes().any(|b| b.is_ascii_uppercase()));
    let mut out = [0; N];
    match text.map(|text| hex::decode_to_slice(text, &mut out)) {
        Some(Ok(())) => Ok(Some(out)),
        _ => Err(fields.wrong(name, &value, "a digest in lower-case hexadecimal")),
    }
}

/// What timestamp and snapshot say of a metadata file (METAFILES, sections 4.4 and 4.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaFile {
    /// Its version.
    pub version: Version,
    /// Its length in bytes, if told.
    pub length: Option<u64>,
    /// Its hashes, if told.
    pub hashes: Option<Hashes>,
    /// Unknown fields.
    pub extra: Extra,
}

impl MetaFile {
    /// The version alone, as PEP 458 lists bins.
    pub fn version(version: Version) -> Self {
        Self { version, length: None, hashes: None, extra: Extra::new() }
    }

    fn from_json(json: Json<'_>) -> Result<Self, ParseError> {
        let mut fields = Fields::new("a metadata file's entry", json)?;
        let version = fields.positive("version")?;
        let length = match fields.optional("length") {
            None => None,
            Some(value) => {
                Some(value.as_u64().ok_or_else(|| fields.wrong("length", &value, "a number of bytes"))?)
            }
        };
        let hashes = fields.optional("hashes").map(Hashes::from_json).transpose()?;
        Ok(Self { version, length, hashes, extra: fields.extra() })
    }

    fn to_json(&self) -> Json<'static> {
        let mut known = vec![("version", Json::int(self.version))];
        known.extend(self.length.map(|length| ("length", Json::int(length))));
        known.extend(self.hashes.as_ref().map(|hashes| ("hashes", hashes.to_json())));
        object(known, &self.extra)
    }
}

/// `root`: the keys and thresholds of the top-level roles (section 4.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Shared fields.
    pub common: Common,
    /// Whether versioned metadata and hash-named targets are served.
    pub consistent_snapshot: bool,
    /// All keys by id.
    pub keys: BTreeMap<KeyId, Key>,
    /// Who signs root itself.
    pub root: RoleKeys,
    /// Who signs timestamp.
    pub timestamp: RoleKeys,
    /// Who signs snapshot.
    pub snapshot: RoleKeys,
    /// Who signs top-level targets.
    pub targets: RoleKeys,
    /// Roles that the specification does not know, e.g. `mirrors`.
    pub other_roles: Extra,
}

/// One of the roles named in root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TopLevel {
    /// `root`
    Root,
    /// `timestamp`
    Timestamp,
    /// `snapshot`
    Snapshot,
    /// `targets`
    Targets,
}

impl TopLevel {
    /// The name in metadata and file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Timestamp => "timestamp",
            Self::Snapshot => "snapshot",
            Self::Targets => "targets",
        }
    }
}

impl Root {
    /// Keys and threshold of a top-level role.
    pub fn role(&self, role: TopLevel) -> &RoleKeys {
        match role {
            TopLevel::Root => &self.root,
            TopLevel::Timestamp => &self.timestamp,
            TopLevel::Snapshot => &self.snapshot,
            TopLevel::Targets => &self.targets,
        }
    }

    /// The same, for authors.
    pub fn role_mut(&mut self, role: TopLevel) -> &mut RoleKeys {
        match role {
            TopLevel::Root => &mut self.root,
            TopLevel::Timestamp => &mut self.timestamp,
            TopLevel::Snapshot => &mut self.snapshot,
            TopLevel::Targets => &mut self.targets,
        }
    }
}

impl sealed::Sealed for Root {
    fn from_json(json: Json<'_>) -> Result<Self, ParseError> {
        let mut fields = Fields::new("root", json)?;
        let mut common = Common::take(&mut fields, "root")?;
        let consistent_snapshot = match fields.optional("consistent_snapshot") {
            None => false,
            Some(Json::Bool(value)) => value,
            Some(other) => return Err(fields.wrong("consistent_snapshot", &other, "true or false")),
        };
        let keys = keys_from_json(&mut fields)?;
        let mut roles = Fields::new("roles of root", fields.required("roles")?)?;
        let root = RoleKeys::from_json(roles.required("root")?)?;
        let timestamp = RoleKeys::from_json(roles.required("timestamp")?)?;
        let snapshot = RoleKeys::from_json(roles.required("snapshot")?)?;
        let targets = RoleKeys::from_json(roles.required("targets")?)?;
        common.extra = fields.extra();
        let other_roles = roles.extra();
        Ok(Self { common, consistent_snapshot, keys, root, timestamp, snapshot, targets, other_roles })
    }

    fn to_json(&self) -> Json<'static> {
        let roles = [TopLevel::Root, TopLevel::Timestamp, TopLevel::Snapshot, TopLevel::Targets];
        let roles = roles.into_iter().map(|role| (role.name(), self.role(role).to_json())).collect();
        self.common.to_json(
            "root",
            vec![
                ("consistent_snapshot", Json::Bool(self.consistent_snapshot)),
                ("keys", keys_to_json(&self.keys)),
                ("roles", object(roles, &self.other_roles)),
            ],
        )
    }
}

/// `timestamp`: which snapshot is current (section 4.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timestamp {
    /// Shared fields.
    pub common: Common,
    /// The current snapshot.
    pub snapshot: MetaFile,
    /// Other entries of `meta`; the specification allows none, so nothing relies on them.
    pub other_meta: Extra,
}

impl sealed::Sealed for Timestamp {
    fn from_json(json: Json<'_>) -> Result<Self, ParseError> {
        let mut fields = Fields::new("timestamp", json)?;
        let mut common = Common::take(&mut fields, "timestamp")?;
        let mut meta = Fields::new("meta of timestamp", fields.required("meta")?)?;
        let snapshot = MetaFile::from_json(meta.required("snapshot.json")?)?;
        common.extra = fields.extra();
        Ok(Self { common, snapshot, other_meta: meta.extra() })
    }

    fn to_json(&self) -> Json<'static> {
        let meta = object(vec![("snapshot.json", self.snapshot.to_json())], &self.other_meta);
        self.common.to_json("timestamp", vec![("meta", meta)])
    }
}

/// `snapshot`: the versions of all targets metadata (section 4.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Shared fields.
    pub common: Common,
    /// By file name, not quoted: `targets.json`, `bins-00ff.json`.
    pub meta: BTreeMap<String, MetaFile>,
}

impl Snapshot {
    /// All entries by role name. An entry that does not end in `.json` is no role's (METAPATH, section 4.4).
    pub fn roles(&self) -> impl Iterator<Item = (&str, &MetaFile)> {
        self.meta.iter().filter_map(|(name, file)| Some((name.strip_suffix(".json")?, file)))
    }

    /// What is said of a role, if anything.
    pub fn role(&self, role: &str) -> Option<&MetaFile> {
        self.meta.get(&format!("{role}.json"))
    }
}

impl sealed::Sealed for Snapshot {
    fn from_json(json: Json<'_>) -> Result<Self, ParseError> {
        let mut fields = Fields::new("snapshot", json)?;
        let mut common = Common::take(&mut fields, "snapshot")?;
        let meta = fields.object("meta")?.into_iter();
        let meta = meta.map(|(name, file)| Ok((name.into_owned(), MetaFile::from_json(file)?)));
        let meta = meta.collect::<Result<_, ParseError>>()?;
        common.extra = fields.extra();
        Ok(Self { common, meta })
    }

    fn to_json(&self) -> Json<'static> {
        let meta = Json::object(self.meta.iter().map(|(name, file)| (name.clone(), file.to_json())));
        self.common.to_json("snapshot", vec![("meta", meta)])
    }
}

/// A target file as targets metadata describes it (section 4.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetFile {
    /// Length in bytes.
    pub length: u64,
    /// Its hashes.
    pub hashes: Hashes,
    /// `custom` and unknown fields.
    pub extra: Extra,
}

impl TargetFile {
    fn from_json(json: Json<'_>) -> Result<Self, ParseError> {
        let mut fields = Fields::new("a target", json)?;
        let length = fields.unsigned("length")?;
        let hashes = Hashes::from_json(fields.required("hashes")?)?;
        Ok(Self { length, hashes, extra: fields.extra() })
    }

    fn to_json(&self) -> Json<'static> {
        object(vec![("length", Json::int(self.length)), ("hashes", self.hashes.to_json())], &self.extra)
    }
}

/// `targets`, top-level or delegated: files, and who else may speak for some (section 4.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Targets {
    /// Shared fields.
    pub common: Common,
    /// By target path, as it stands in the metadata.
    pub targets: BTreeMap<String, TargetFile>,
    /// Delegations, if any.
    pub delegations: Option<Delegations>,
}

impl sealed::Sealed for Targets {
    fn from_json(json: Json<'_>) -> Result<Self, ParseError> {
        let mut fields = Fields::new("targets", json)?;
        let mut common = Common::take(&mut fields, "targets")?;
        let targets = fields.object("targets")?.into_iter();
        let targets = targets.map(|(path, file)| Ok((path.into_owned(), TargetFile::from_json(file)?)));
        let targets = targets.collect::<Result<_, ParseError>>()?;
        let delegations = fields.optional("delegations").map(Delegations::from_json).transpose()?;
        common.extra = fields.extra();
        Ok(Self { common, targets, delegations })
    }

    fn to_json(&self) -> Json<'static> {
        let targets = self.targets.iter().map(|(path, file)| (Cow::Owned(path.clone()), file.to_json()));
        let mut known = vec![("targets", Json::object::<Cow<'static, str>>(targets))];
        known.extend(self.delegations.as_ref().map(|delegations| ("delegations", delegations.to_json())));
        self.common.to_json("targets", known)
    }
}

impl Role for Root {
    const TYPE: &'static str = "root";
    fn common(&self) -> &Common {
        &self.common
    }
    fn common_mut(&mut self) -> &mut Common {
        &mut self.common
    }
}

impl Role for Timestamp {
    const TYPE: &'static str = "timestamp";
    fn common(&self) -> &Common {
        &self.common
    }
    fn common_mut(&mut self) -> &mut Common {
        &mut self.common
    }
}

impl Role for Snapshot {
    const TYPE: &'static str = "snapshot";
    fn common(&self) -> &Common {
        &self.common
    }
    fn common_mut(&mut self) -> &mut Common {
        &mut self.common
    }
}

impl Role for Targets {
    const TYPE: &'static str = "targets";
    fn common(&self) -> &Common {
        &self.common
    }
    fn common_mut(&mut self) -> &mut Common {
        &mut self.common
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::parse;
    use super::sealed::Sealed;
    use super::*;

    const SNAPSHOT: &str = r#"{"_type":"snapshot","expires":"2030-01-01T00:00:00Z","meta":{"a b.json":{"hashes":{"md9":"x","sha512":"HASH"},"length":5,"version":1,"x":{}}},"n":123456789012345678901234567890,"spec_version":"1.0.34","version":7}"#;

    fn snapshot(text: &str) -> Result<Snapshot, ParseError> {
        let text = text.replace("HASH", &"0f".repeat(64));
        Snapshot::from_json(parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn what_is_read_is_written_again_with_all_unknown_fields() {
        let text = SNAPSHOT.replace("HASH", &"0f".repeat(64));
        assert_eq!(snapshot(SNAPSHOT).unwrap().to_json().to_text(), text);
    }

    #[test]
    fn each_wrong_field_is_named() {
        let cases = [
            (
                "\"version\":7",
                "\"version\":0",
                "\"version\" in snapshot is 0, expected an integer from 1 to 2^64 - 1",
            ),
            (
                "\"version\":7",
                "\"version\":99999999999999999999",
                "\"version\" in snapshot is 99999999999999999999, expected an integer from 1 to 2^64 - 1",
            ),
            ("\"version\":7", "\"v\":7", "snapshot has no \"version\""),
            ("1.0.34", "2.0", "\"spec_version\" in snapshot is \"2.0\", expected 1.x"),
            ("1.0.34", "1", "\"spec_version\" in snapshot is \"1\", expected 1.x"),
            (
                "2030-01-01T00:00:00Z",
                "soon",
                "\"expires\" in snapshot is \"soon\", expected an RFC 3339 time",
            ),
            ("HASH", "0F", "\"sha512\" in hashes is \"0F\", expected a digest in lower-case hexadecimal"),
            (
                "\"length\":5",
                "\"length\":-5",
                "\"length\" in a metadata file's entry is -5, expected a number of bytes",
            ),
            ("_type\":\"snapshot", "_type\":\"root", "\"_type\" in snapshot is \"root\", expected snapshot"),
        ];
        for (from, to, message) in cases {
            assert_eq!(snapshot(&SNAPSHOT.replacen(from, to, 1)).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn minor_versions_of_the_specification_are_accepted() {
        for ok in ["1.0", "1.0.0", "1.9", "1.0.99"] {
            assert!(supported_spec(ok), "{ok}");
        }
        for bad in ["", "1", "2.0.0", "1.x", "1..0", "0.9", "1.0.0.0", "11.0"] {
            assert!(!supported_spec(bad), "{bad}");
        }
    }
}
