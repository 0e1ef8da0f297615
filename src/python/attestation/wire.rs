//! The JSON of attestations and statements, as far as it is looked at. Known keys come once; others may be anything.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The type of an in-toto Statement v1.
pub(super) const STATEMENT: &str = "https://in-toto.io/Statement/v1";

/// An attestation object (PEP 740 "Attestation objects").
#[derive(Deserialize)]
pub(super) struct Wire {
    pub(super) version: u64,
    pub(super) verification_material: Material,
    pub(super) envelope: Envelope,
}

#[derive(Deserialize)]
pub(super) struct Material {
    pub(super) certificate: String,
    pub(super) transparency_entries: Vec<Map<String, Value>>,
}

#[derive(Deserialize)]
pub(super) struct Envelope {
    pub(super) statement: String,
    pub(super) signature: String,
}

/// An in-toto Statement v1, without its predicate.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Statement {
    #[serde(rename = "_type")]
    pub(super) kind: String,
    pub(super) subject: Vec<Subject>,
    pub(super) predicate_type: String,
}

#[derive(Deserialize)]
pub(super) struct Subject {
    pub(super) name: String,
    pub(super) digest: BTreeMap<String, String>,
}

impl Statement {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        // As for the attestations: readers of the predicate must not meet what is deeper than they can go.
        serde_json::from_slice::<Value>(bytes)?;
        serde_json::from_slice(bytes)
    }
}

/// What Base64 stands for, if it is that and not of nothing. Some signers break it into lines.
pub(super) fn decoded(text: &str) -> Option<Vec<u8>> {
    let decoded = STANDARD.decode(text.replace('\n', "")).ok()?;
    (!decoded.is_empty()).then_some(decoded)
}
