//! The roles as values: root, timestamp, snapshot, targets (specification sections 4.3 to 4.6) and delegations.
//!
//! A value says what stood in the metadata, not that it is true: only [`super::signed`] hands out values read from
//! bytes, after checking who signed them. Fields this project does not know are kept in `extra` at every level.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::canonical::Raw;
pub use super::delegations::{DelegatedRole, DelegatedRoles, Delegations, PathSet, SuccinctRoles};
pub use super::fields::Extra;
use super::fields::{Fields, ParseError};
pub use super::hashes::{Hashes, Mismatch};
use super::json::{Json, parse_time};
use super::key::{Key, KeyId, RoleKeys, read_keys, write_keys};
pub use super::listed::ListedRoles;
pub use super::log_head::LogHead;
use super::render::Object;
pub use super::snapshot::{About, MetaFile, Snapshot, Timestamp};
pub use super::table::{Iter, Table};
pub use super::targets::{TargetFile, Targets};

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

    pub(super) fn take(fields: &mut Fields<'_>, role: &'static str) -> Result<Self, ParseError> {
        let found = fields.string("_type")?;
        if found != role {
            return Err(fields.differs("_type", Json::Str(found).kind(), role));
        }
        let spec = fields.string("spec_version")?;
        if !supported_spec(&spec) {
            return Err(fields.differs("spec_version", Json::Str(spec).kind(), "1.x"));
        }
        let version = fields.positive("version")?;
        let text = fields.string("expires")?;
        let expires = parse_time(&text)
            .ok_or_else(|| fields.differs("expires", Json::Str(text).kind(), "an RFC 3339 time"))?;
        Ok(Self { version, expires, extra: Extra::new() })
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
    use super::super::canonical::Raw;
    use super::ParseError;

    pub trait Sealed: Sized {
        /// Takes a value apart.
        fn read(value: Raw<'_>) -> Result<Self, ParseError>;
        /// Appends the canonical form.
        fn write(&self, out: &mut String);
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
    fn read(value: Raw<'_>) -> Result<Self, ParseError> {
        let mut fields = Fields::new("root", value)?;
        let mut common = Common::take(&mut fields, "root")?;
        let consistent_snapshot = match fields.optional("consistent_snapshot") {
            None => false,
            Some(value) => {
                value.as_bool().ok_or_else(|| fields.wrong("consistent_snapshot", value, "true or false"))?
            }
        };
        let keys = read_keys(&mut fields)?;
        let mut roles = Fields::new("roles of root", fields.required("roles")?)?;
        let root = RoleKeys::read(roles.required("root")?)?;
        let timestamp = RoleKeys::read(roles.required("timestamp")?)?;
        let snapshot = RoleKeys::read(roles.required("snapshot")?)?;
        let targets = RoleKeys::read(roles.required("targets")?)?;
        common.extra = fields.extra();
        let other_roles = roles.extra();
        Ok(Self { common, consistent_snapshot, keys, root, timestamp, snapshot, targets, other_roles })
    }

    fn write(&self, out: &mut String) {
        let mut object = Object::open(out, &self.common.extra);
        object.string("_type", "root");
        object.boolean("consistent_snapshot", self.consistent_snapshot);
        object.time("expires", self.common.expires);
        write_keys(&self.keys, object.key("keys"));
        let mut roles = Object::open(object.key("roles"), &self.other_roles);
        for role in [TopLevel::Root, TopLevel::Snapshot, TopLevel::Targets, TopLevel::Timestamp] {
            self.role(role).write(roles.key(role.name()));
        }
        roles.close();
        object.string("spec_version", SPEC_VERSION);
        object.number("version", self.common.version);
        object.close();
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

#[cfg(test)]
mod tests {
    use super::*;

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
