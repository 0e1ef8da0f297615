//! A role signed anew with another version and expiry date and nothing else changed, without taking it apart.
//!
//! What a signature covers is text in canonical form. With other values in three of its fields it still is, so what is
//! signed next is the verified text with these values put in, and all between them copied as it stands: the same bytes
//! that rendering the content would give.
//!
//! Of the content, only the fields that all roles share are read. That the rest has the form of its role is not
//! checked: its authors signed it, and [`super::signed::Signed::verify`] is what readers use.

use std::ops::Range;

use chrono::{DateTime, Utc};

use super::canonical::Raw;
use super::fields::{Fields, ParseError};
use super::json::{escape_canonical, format_time};
use super::metadata::{Common, Role, SPEC_VERSION, Version};
use super::render::push_number;
use super::signed::Payload;

/// Fields whose values change, as they are ordered in canonical form.
const FIELDS: [&str; 3] = ["expires", "spec_version", "version"];
/// Bytes by which new values may be longer than the old ones.
const ROOM: usize = 64;

/// The text of a role that enough keys signed; see [`super::signed::verify_to_renew`], which makes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewable {
    common: Common,
    text: String,
    /// Where in `text` the values of [`FIELDS`] are.
    places: [Range<usize>; FIELDS.len()],
}

impl Renewable {
    /// The version of this file.
    pub fn version(&self) -> Version {
        self.common.version
    }

    /// The fields that all roles share. Unknown ones are not among them: they stay in the text.
    pub fn common(&self) -> &Common {
        &self.common
    }

    /// The same content with another version and expiry date.
    pub fn renewed(&self, version: Version, expires: DateTime<Utc>) -> Payload {
        let mut out = String::with_capacity(self.text.len() + ROOM);
        let mut copied = 0;
        for (field, place) in FIELDS.into_iter().zip(&self.places) {
            out.push_str(self.text.get(copied..place.start).unwrap_or_default());
            match field {
                "expires" => escape_canonical(&format_time(expires), &mut out),
                "spec_version" => escape_canonical(SPEC_VERSION, &mut out),
                _ => push_number(&mut out, version),
            }
            copied = place.end;
        }
        out.push_str(self.text.get(copied..).unwrap_or_default());
        Payload::new(out)
    }

    /// From the text that signatures by enough keys cover.
    pub(super) fn read<T: Role>(signed: Raw<'_>) -> Result<Self, ParseError> {
        let common = Common::take(&mut Fields::new(T::TYPE, signed)?, T::TYPE)?;
        let mut fields = Fields::new(T::TYPE, signed)?;
        let mut places = [const { 0..0 }; FIELDS.len()];
        for (field, place) in FIELDS.into_iter().zip(&mut places) {
            *place = fields.required(field)?.place_in(signed);
        }
        Ok(Self { common, text: signed.text().to_owned(), places })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::canonical::Canonical;
    use super::super::json::{Json, parse, parse_time};
    use super::super::metadata::{Hashes, TargetFile, Targets};
    use super::super::signed::Draft;
    use super::*;

    fn read(text: &str) -> Result<Renewable, ParseError> {
        Renewable::read::<Targets>(Canonical::read(text.as_bytes()).unwrap().value())
    }

    proptest! {
        #[test]
        fn what_is_renewed_is_what_a_draft_of_the_content_would_be(
            targets in prop::collection::btree_map("[a-c\"\\\\\n\u{1}é😀/]{1,5}", (any::<u64>(), any::<[u8; 32]>(), 0..3_usize), 0..9),
            extra in prop::collection::btree_set("[a-z]{1,9}", 0..4),
            custom in r#"null|\{"expires":"2030-01-01T00:00:00Z","version":3\}|\["\\n\\"\\\\"\]"#,
            (old, new) in (1..=u64::MAX, 1..=u64::MAX),
            (before, after) in (0..4_000_000_000_i64, 0..4_000_000_000_i64),
        ) {
            let time = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
            let custom = parse(custom.as_bytes()).unwrap().into_owned();
            let file = |(length, sha256, customs): (u64, [u8; 32], usize)| TargetFile {
                length,
                hashes: Hashes::sha256(sha256),
                extra: ["custom", "more"].into_iter().take(customs).map(|name| (name.into(), custom.clone())).collect(),
            };
            let known = ["delegations", "expires", "targets", "version"];
            let extra = extra.into_iter().filter(|name| !known.contains(&name.as_str()));
            let common = Common {
                extra: extra.map(|name| (name.into(), custom.clone())).collect(),
                ..Common::new(old, time(before))
            };
            let targets = targets.into_iter().map(|(path, about)| (path, file(about))).collect();
            let mut draft = Draft::new(Targets { common, targets, delegations: None });
            let text = String::from_utf8(draft.payload().to_sign().to_vec()).unwrap();
            let renewable = Renewable::read::<Targets>(Canonical::written(text.into()).value()).unwrap();
            prop_assert_eq!(renewable.common(), &Common::new(old, time(before)));
            draft.content.common = Common { version: new, expires: time(after), ..draft.content.common };
            prop_assert_eq!(renewable.renewed(new, time(after)), draft.payload());
        }
    }

    #[test]
    fn another_spec_version_is_written_as_ours_and_the_rest_as_it_stands() {
        let text = r#"{"_type":"targets","delegations":{"version":7},"expires":"2030-01-01T00:00:00+00:00","spec_version":"1.0","targets":[],"version":9,"x":{"expires":1}}"#;
        let renewed = read(text).unwrap().renewed(10, parse_time("2031-02-03T04:05:06Z").unwrap());
        let expected = r#"{"_type":"targets","delegations":{"version":7},"expires":"2031-02-03T04:05:06Z","spec_version":"1.0.34","targets":[],"version":10,"x":{"expires":1}}"#;
        assert_eq!(renewed.to_sign(), expected.as_bytes());
    }

    #[test]
    fn what_is_not_of_the_role_or_lacks_a_field_is_refused() {
        let whole = r#"{"_type":"targets","expires":"2030-01-01T00:00:00Z","spec_version":"1.0.34","targets":{},"version":9}"#;
        assert_eq!(read(whole).map(|read| read.version()), Ok(9));
        let wrong = |field: &str, found: &str, expected| ParseError::Wrong {
            within: "targets",
            field: field.to_owned(),
            found: found.to_owned(),
            expected,
        };
        let cases = [
            (":\"targets\"", ":\"snapshot\"", wrong("_type", "\"snapshot\"", "targets")),
            ("\"1.0.34\"", "\"2.0\"", wrong("spec_version", "\"2.0\"", "1.x")),
            ("2030-01-01T00:00:00Z", "soon", wrong("expires", "\"soon\"", "an RFC 3339 time")),
            (":9}", ":0}", wrong("version", "0", "an integer from 1 to 2^64 - 1")),
            (",\"version\":9", "", ParseError::Missing { within: "targets", field: "version" }),
        ];
        for (from, to, refused) in cases {
            assert_eq!(read(&whole.replacen(from, to, 1)), Err(refused), "{to}");
        }
        assert_eq!(Json::Array(Vec::new()).canonical_text(), "[]");
        assert_eq!(read("[]"), Err(wrong("targets", "an array", "an object")));
    }
}
