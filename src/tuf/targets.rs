//! Targets: files, and who else may speak for some (specification section 4.5).

use super::canonical::Raw;
use super::delegations::Delegations;
use super::fields::{Extra, Fields, ParseError};
use super::hashes::{Hashes, digest_of};
use super::metadata::{Common, Role, SPEC_VERSION, sealed};
use super::render::Object;
use super::table::Table;

/// Bytes that a target takes in a bin, about.
const ENTRY: usize = 220;

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
    fn read(value: Raw<'_>) -> Result<Self, ParseError> {
        match plain(value.text()) {
            Some(file) => Ok(file),
            None => Self::read_fields(value),
        }
    }

    fn read_fields(value: Raw<'_>) -> Result<Self, ParseError> {
        let mut fields = Fields::new("a target", value)?;
        let length = fields.unsigned("length")?;
        let hashes = Hashes::read(fields.required("hashes")?)?;
        Ok(Self { length, hashes, extra: fields.extra() })
    }

    fn write(&self, out: &mut String) {
        let mut object = Object::open(out, &self.extra);
        self.hashes.write(object.key("hashes"));
        object.number("length", self.length);
        object.close();
    }
}

/// A target with SHA-256 and length and nothing else, as most are.
fn plain(text: &str) -> Option<TargetFile> {
    let (sha256, rest) = text.strip_prefix("{\"hashes\":{\"sha256\":\"")?.split_at_checked(64)?;
    let length = rest.strip_prefix("\"},\"length\":")?.strip_suffix('}')?.parse().ok()?;
    Some(TargetFile { length, hashes: Hashes::sha256(digest_of(sha256)?), extra: Extra::new() })
}

/// `targets`, top-level or delegated: files, and who else may speak for some (section 4.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Targets {
    /// Shared fields.
    pub common: Common,
    /// By target path, as it stands in the metadata.
    pub targets: Table<TargetFile>,
    /// Delegations, if any.
    pub delegations: Option<Delegations>,
}

impl sealed::Sealed for Targets {
    fn read(value: Raw<'_>) -> Result<Self, ParseError> {
        let mut fields = Fields::new("targets", value)?;
        let mut common = Common::take(&mut fields, "targets")?;
        let targets = Table::read(fields.object("targets")?, ENTRY, |_| None, TargetFile::read)?;
        let delegations = fields.optional("delegations").map(Delegations::read).transpose()?;
        common.extra = fields.extra();
        Ok(Self { common, targets, delegations })
    }

    fn write(&self, out: &mut String) {
        out.reserve(ENTRY * self.targets.len());
        let mut object = Object::open(out, &self.common.extra);
        object.string("_type", "targets");
        if let Some(delegations) = &self.delegations {
            delegations.write(object.key("delegations"));
        }
        object.time("expires", self.common.expires);
        object.string("spec_version", SPEC_VERSION);
        self.targets.write(object.key("targets"), TargetFile::write);
        object.number("version", self.common.version);
        object.close();
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
    use super::super::canonical::Canonical;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_short_way_to_a_target_agrees_with_the_long_one(
            custom in r#"|"custom":\{\},"#,
            hash in "[0-9a-f]{64}|[0-9a-f]{62}|[0-9a-f]{65}|[0-9a-fA-F]{64}|[é]{32}|x{64}",
            sha512 in r#"|,"sha512":"00""#,
            length in "-1|0|[1-9][0-9]{0,20}|\"1\"|null",
            more in r#"|,"x":1"#,
        ) {
            let text = format!(r#"{{{custom}"hashes":{{"sha256":"{hash}"{sha512}}},"length":{length}{more}}}"#);
            let canonical = Canonical::read(text.as_bytes()).unwrap();
            prop_assert_eq!(TargetFile::read(canonical.value()), TargetFile::read_fields(canonical.value()));
        }
    }

    #[test]
    fn a_plain_target_is_read_the_short_way() {
        let text = format!(r#"{{"hashes":{{"sha256":"{}"}},"length":7}}"#, "0f".repeat(32));
        assert_eq!(plain(&text).map(|file| file.length), Some(7));
        assert_eq!(plain(&text.replacen("0f", "0F", 1)), None);
    }
}
