//! Timestamp and snapshot: which metadata is current (specification sections 4.4 and 4.6).

use super::canonical::{Raw, plain_string};
use super::fields::{Extra, Fields, ParseError};
use super::hashes::Hashes;
use super::log_head::{self, LogHead};
use super::metadata::{Common, Role, SPEC_VERSION, Version, sealed};
use super::render::{Object, push_number};
use super::table::Table;

/// Bytes that an entry takes in a snapshot, about: a name such as `bins-00ff.json` and a version.
const ENTRY: usize = 32;

/// What timestamp and snapshot say of a metadata file (METAFILES, sections 4.4 and 4.6). Small where the version is
/// all that is said, as there may be 65,536 of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaFile {
    /// Its version.
    pub version: Version,
    /// `None` rather than empty.
    about: Option<Box<About>>,
}

/// What may be said of a metadata file beside its version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct About {
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
        Self { version, about: None }
    }

    /// Version and more.
    pub fn new(version: Version, about: About) -> Self {
        Self { version, about: (about != About::default()).then(|| Box::new(about)) }
    }

    /// Its length in bytes, if told.
    pub fn length(&self) -> Option<u64> {
        self.about.as_ref()?.length
    }

    /// Its hashes, if told.
    pub fn hashes(&self) -> Option<&Hashes> {
        self.about.as_ref()?.hashes.as_ref()
    }

    /// Edits what is said beside the version.
    pub fn edit(&mut self, edit: impl FnOnce(&mut About)) {
        let mut about = self.about.take().map_or_else(About::default, |about| *about);
        edit(&mut about);
        *self = Self::new(self.version, about);
    }

    fn read(value: Raw<'_>) -> Result<Self, ParseError> {
        match bare_version(value.text()) {
            Some(version) => Ok(Self::version(version)),
            None => Self::read_fields(value),
        }
    }

    fn read_fields(value: Raw<'_>) -> Result<Self, ParseError> {
        let mut fields = Fields::new("a metadata file's entry", value)?;
        let version = fields.positive("version")?;
        let length = match fields.optional("length") {
            None => None,
            Some(value) => {
                Some(value.as_u64().ok_or_else(|| fields.wrong("length", value, "a number of bytes"))?)
            }
        };
        let hashes = fields.optional("hashes").map(Hashes::read).transpose()?;
        Ok(Self::new(version, About { length, hashes, extra: fields.extra() }))
    }

    fn write(&self, out: &mut String) {
        let Some(about) = &self.about else {
            out.push_str("{\"version\":");
            push_number(out, self.version);
            return out.push('}');
        };
        let mut object = Object::open(out, &about.extra);
        if let Some(hashes) = &about.hashes {
            hashes.write(object.key("hashes"));
        }
        if let Some(length) = about.length {
            object.number("length", length);
        }
        object.number("version", self.version);
        object.close();
    }
}

/// From the start of canonical text: a name, an entry that has nothing but a version, as nearly all do, and how long
/// both are.
fn bare_entry(text: &str) -> Option<((&str, MetaFile), usize)> {
    let (name, rest) = plain_string(text)?;
    let digits = rest.strip_prefix(":{\"version\":")?;
    let count = digits.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = digits.split_at_checked(count)?;
    let version = digits.parse().ok().filter(|version| *version > 0)?;
    let rest = rest.strip_prefix('}').filter(|rest| rest.is_empty() || rest.starts_with(','))?;
    Some(((name, MetaFile::version(version)), text.len() - rest.len()))
}

/// The version of an entry that has nothing else.
fn bare_version(text: &str) -> Option<Version> {
    let digits = text.strip_prefix("{\"version\":")?.strip_suffix('}')?;
    digits.parse().ok().filter(|version| *version > 0)
}

/// `timestamp`: which snapshot is current (section 4.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timestamp {
    /// Shared fields.
    pub common: Common,
    /// The current snapshot.
    pub snapshot: MetaFile,
    /// The transparency log's tree in which the snapshot is.
    pub log: Option<LogHead>,
    /// Other entries of `meta`; the specification allows none, so nothing relies on them.
    pub other_meta: Extra,
}

impl sealed::Sealed for Timestamp {
    fn read(value: Raw<'_>) -> Result<Self, ParseError> {
        let mut fields = Fields::new("timestamp", value)?;
        let mut common = Common::take(&mut fields, "timestamp")?;
        let mut meta = Fields::new("meta of timestamp", fields.required("meta")?)?;
        let snapshot = MetaFile::read(meta.required("snapshot.json")?)?;
        let log = fields.optional(log_head::FIELD).map(LogHead::read).transpose()?;
        common.extra = fields.extra();
        Ok(Self { common, snapshot, log, other_meta: meta.extra() })
    }

    fn write(&self, out: &mut String) {
        let mut object = Object::open(out, &self.common.extra);
        object.string("_type", "timestamp");
        object.time("expires", self.common.expires);
        let mut meta = Object::open(object.key("meta"), &self.other_meta);
        self.snapshot.write(meta.key("snapshot.json"));
        meta.close();
        object.string("spec_version", SPEC_VERSION);
        object.number("version", self.common.version);
        if let Some(log) = &self.log {
            log.write(object.key(log_head::FIELD));
        }
        object.close();
    }
}

/// `snapshot`: the versions of all targets metadata (section 4.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Shared fields.
    pub common: Common,
    /// By file name, not quoted: `targets.json`, `bins-00ff.json`.
    pub meta: Table<MetaFile>,
}

impl Snapshot {
    /// All entries by role name. An entry that does not end in `.json` is no role's (METAPATH, section 4.4).
    pub fn roles(&self) -> impl Iterator<Item = (&str, &MetaFile)> {
        self.meta.iter().filter_map(|(name, file)| Some((name.strip_suffix(".json")?, file)))
    }

    /// What is said of a role, if anything.
    pub fn role(&self, role: &str) -> Option<&MetaFile> {
        self.meta.get(&file_name(role))
    }

    /// Lists a role, in place of what was said of it. Many new ones are better added by [`Self::set_all`].
    pub fn set(&mut self, role: &str, file: MetaFile) {
        self.meta.insert(file_name(role), file);
    }

    /// Lists many roles, in place of what was said of them.
    pub fn set_all<N: AsRef<str>>(&mut self, roles: impl IntoIterator<Item = (N, MetaFile)>) {
        self.meta.extend(roles.into_iter().map(|(role, file)| (file_name(role.as_ref()), file)));
    }

    /// Lists a role no more.
    pub fn remove(&mut self, role: &str) -> Option<MetaFile> {
        self.meta.remove(&file_name(role))
    }

    /// How many entries there are, those that are no role's included.
    pub fn len(&self) -> usize {
        self.meta.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.meta.is_empty()
    }
}

fn file_name(role: &str) -> String {
    format!("{role}.json")
}

impl sealed::Sealed for Snapshot {
    fn read(value: Raw<'_>) -> Result<Self, ParseError> {
        let mut fields = Fields::new("snapshot", value)?;
        let mut common = Common::take(&mut fields, "snapshot")?;
        let meta = Table::read(fields.object("meta")?, ENTRY, bare_entry, MetaFile::read)?;
        common.extra = fields.extra();
        Ok(Self { common, meta })
    }

    fn write(&self, out: &mut String) {
        out.reserve(ENTRY * self.meta.len());
        let mut object = Object::open(out, &self.common.extra);
        object.string("_type", "snapshot");
        object.time("expires", self.common.expires);
        self.meta.write(object.key("meta"), MetaFile::write);
        object.string("spec_version", SPEC_VERSION);
        object.number("version", self.common.version);
        object.close();
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

#[cfg(test)]
mod tests {
    use super::super::canonical::Canonical;
    use super::super::json::Json;
    use super::*;
    use proptest::prelude::*;
    use sealed::Sealed;

    const SNAPSHOT: &str = r#"{"_type":"snapshot","expires":"2030-01-01T00:00:00Z","meta":{"a b.json":{"hashes":{"md9":"x","sha512":"HASH"},"length":5,"version":1,"x":{}}},"n":123456789012345678901234567890,"spec_version":"1.0.34","version":7}"#;

    fn snapshot(text: &str) -> Result<Snapshot, ParseError> {
        let text = text.replace("HASH", &"0f".repeat(64));
        Snapshot::read(Canonical::read(text.as_bytes()).unwrap().value())
    }

    #[test]
    fn what_is_read_is_written_again_with_all_unknown_fields() {
        let text = SNAPSHOT.replace("HASH", &"0f".repeat(64));
        let mut written = String::new();
        snapshot(SNAPSHOT).unwrap().write(&mut written);
        assert_eq!(written, text);
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

    proptest! {
        #[test]
        fn the_short_way_to_an_entry_agrees_with_the_long_one(
            text in r#"\{("length":(-1|5),)?"version":(-1|0|1|[1-9][0-9]{0,20}|"1"|null|\{\})(,"x":1)?\}|\{\}|1|"a""#,
        ) {
            let canonical = Canonical::read(text.as_bytes()).unwrap();
            prop_assert_eq!(MetaFile::read(canonical.value()), MetaFile::read_fields(canonical.value()));
        }
    }

    proptest! {
        #[test]
        fn entries_are_read_alike_whichever_way_and_whatever_stands_beside_them(
            meta in prop::collection::btree_map(
                "[a-c\"\\\\é.{}:,]{0,12}",
                r#"\{("length":5,)?"version":(-1|0|1|[1-9][0-9]{0,20}|"1"|\{\})(,"x":[0-9])?\}|\{\}|1|"\}""#,
                0..6,
            ),
        ) {
            let fields = meta.iter().map(|(name, entry)| {
                let mut name = Json::Str(name.into()).canonical_text();
                name.push(':');
                name + entry
            });
            let text = format!("{{{}}}", fields.collect::<Vec<_>>().join(","));
            let canonical = Canonical::read(text.as_bytes()).unwrap();
            let pairs = || canonical.value().pairs().unwrap();
            let quick = Table::read(pairs(), ENTRY, bare_entry, MetaFile::read);
            prop_assert_eq!(quick, Table::read(pairs(), ENTRY, |_| None, MetaFile::read_fields));
        }
    }

    #[test]
    fn an_entry_of_a_bin_is_read_the_short_way() {
        let entry = |version| Some((("bins-0a.json", MetaFile::version(version)), 28));
        assert_eq!(bare_entry(r#""bins-0a.json":{"version":7}"#), entry(7));
        assert_eq!(bare_entry(r#""bins-0a.json":{"version":8},"x":1"#), entry(8));
        for other in
            [r#""a\"b":{"version":7}"#, r#""a":{"version":7,"x":1}"#, r#""a":{"version":0}"#, r#""a""#, ""]
        {
            assert_eq!(bare_entry(other), None, "{other}");
        }
    }

    #[test]
    fn an_entry_without_anything_but_a_version_is_small() {
        assert_eq!(size_of::<MetaFile>(), 16);
        let mut entry = MetaFile::new(1, About { length: Some(1), ..About::default() });
        entry.edit(|about| about.length = None);
        assert_eq!(entry, MetaFile::version(1));
    }
}
