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
        let tree: Value = serde_json::from_slice(bytes)?;
        let subjects = tree.get("subject").and_then(Value::as_array).into_iter().flatten();
        objects([&tree].into_iter().chain(subjects))?;
        serde_json::from_slice(bytes)
    }
}

impl Wire {
    /// Whether what are objects in PEP 740 are objects: a list of their values would be read all the same.
    pub(super) fn are_objects(tree: &Value) -> Result<(), serde_json::Error> {
        for one in tree.as_array().into_iter().flatten() {
            let parts = ["verification_material", "envelope"].map(|name| one.get(name));
            objects([one].into_iter().chain(parts.into_iter().flatten()))?;
        }
        Ok(())
    }
}

fn objects<'a>(all: impl IntoIterator<Item = &'a Value>) -> Result<(), serde_json::Error> {
    let good = all.into_iter().all(Value::is_object);
    if good { Ok(()) } else { Err(serde::de::Error::custom("expected an object, found something else")) }
}

/// What Base64 stands for, if it is that and not of nothing. Some signers break it into lines.
pub(super) fn decoded(text: &str) -> Option<Vec<u8>> {
    let decoded = STANDARD.decode(text.replace('\n', "")).ok()?;
    (!decoded.is_empty()).then_some(decoded)
}
