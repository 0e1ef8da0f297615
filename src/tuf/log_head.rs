//! `x-tlog` of timestamp: the transparency log's tree in which the snapshot is.

use faster_hex::{CheckCase, hex_decode_with_case};

use super::canonical::Raw;
use super::fields::{Extra, Fields, ParseError};
use super::json::Json;
use super::render::Object;

/// The field of timestamp.
pub(super) const FIELD: &str = "x-tlog";

/// Size and root of a transparency log's tree: what its checkpoint says. In no text of TUF; clients that do not know it pass over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogHead {
    /// The log's name.
    pub origin: String,
    /// Root of the tree (RFC 6962), SHA-256.
    pub root_hash: [u8; 32],
    /// Leaves.
    pub size: u64,
}

impl LogHead {
    pub(super) fn read(value: Raw<'_>) -> Result<Self, ParseError> {
        let mut fields = Fields::new(FIELD, value)?;
        let origin = fields.string("origin")?.into_owned();
        let text = fields.string("root_hash")?;
        let mut root_hash = [0; 32];
        if hex_decode_with_case(text.as_bytes(), &mut root_hash, CheckCase::Lower).is_err() {
            let expected = "64 lower-case hexadecimal digits";
            return Err(fields.differs("root_hash", Json::Str(text).kind(), expected));
        }
        let size = fields.unsigned("size")?;
        match fields.extra().first() {
            None => Ok(Self { origin, root_hash, size }),
            Some((field, value)) => Err(ParseError::Wrong {
                within: FIELD,
                field: field.to_string(),
                found: value.kind(),
                expected: "origin, root_hash and size alone",
            }),
        }
    }

    pub(super) fn write(&self, out: &mut String) {
        let nothing = Extra::new();
        let mut object = Object::open(out, &nothing);
        object.string("origin", &self.origin);
        object.hex("root_hash", &self.root_hash);
        object.number("size", self.size);
        object.close();
    }
}

#[cfg(test)]
mod tests {
    use super::super::canonical::Canonical;
    use super::*;

    fn read(text: &str) -> Result<LogHead, ParseError> {
        let text = text.replace("HASH", &"0f".repeat(32));
        LogHead::read(Canonical::read(text.as_bytes()).unwrap().value())
    }

    #[test]
    fn what_is_read_is_written_again() {
        let head = read(r#"{"origin":"index.example","root_hash":"HASH","size":7}"#).unwrap();
        assert_eq!((head.size, head.root_hash), (7, [15; 32]));
        let mut written = String::new();
        head.write(&mut written);
        assert_eq!(read(&written), Ok(head));
    }

    #[test]
    fn each_wrong_field_is_named() {
        for (text, message) in [
            ("7", "\"x-tlog\" in x-tlog is 7, expected an object"),
            (r#"{"origin":"a","root_hash":"HASH"}"#, "x-tlog has no \"size\""),
            (
                r#"{"origin":"a","root_hash":"0F","size":1}"#,
                "\"root_hash\" in x-tlog is \"0F\", expected 64 lower-case hexadecimal digits",
            ),
            (
                r#"{"a":1,"origin":"a","root_hash":"HASH","size":1}"#,
                "\"a\" in x-tlog is 1, expected origin, root_hash and size alone",
            ),
        ] {
            assert_eq!(read(text).unwrap_err().to_string(), message);
        }
    }
}
