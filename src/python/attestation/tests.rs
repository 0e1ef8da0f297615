//! Attestations of every shape: those of signers, and those of people who want something else.

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const NAME: &str = "Foo.Bar-1.0-py3-none-any.whl";
const SHA256: [u8; 32] = [7; 32];

fn statement() -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "foo_bar-1.0-py3-none-any.whl", "digest": {"sha256": hex::encode(SHA256)}}],
        "predicateType": Predicate::Publish.uri(), "predicate": null,
    })
}

fn enveloped(statement: &Value) -> Value {
    attestation(&STANDARD.encode(statement.to_string()))
}

fn attestation(statement: &str) -> Value {
    json!({
        "version": 1,
        "verification_material": {"certificate": "MIIC", "transparency_entries": [{"logIndex": "1"}]},
        "envelope": {"statement": statement, "signature": "MEUC"},
    })
}

fn of(text: &str) -> Result<Provenance, AttestationError> {
    Provenance::of(text, &NAME.parse().unwrap(), &SHA256)
}

/// The attestation with one value set, by a pointer.
fn with(pointer: &str, value: Value) -> Value {
    let mut good = enveloped(&statement());
    *good.pointer_mut(pointer).unwrap() = value;
    good
}

fn stated(pointer: &str, value: Value) -> Value {
    let mut statement = statement();
    *statement.pointer_mut(pointer).unwrap() = value;
    enveloped(&statement)
}

#[test]
fn attestations_of_both_kinds_are_kept_as_they_came() {
    let slsa = stated("/predicateType", json!(Predicate::Slsa.uri()));
    let field = format!(" [{} , {slsa:#}]\n", enveloped(&statement()));
    let provenance = of(&field).unwrap();
    assert_eq!(provenance.predicates(), Predicate::ALL);
    assert_eq!(provenance.attestations(), field.trim());
    let object: Value = serde_json::from_str(provenance.as_str()).unwrap();
    let bundle = json!({
        "publisher": {"kind": "wheelseal", "claims": {}},
        "attestations": [enveloped(&statement()), slsa],
    });
    assert_eq!(object, json!({"version": 1, "attestation_bundles": [bundle]}));
    let again = Provenance::read(provenance.as_str(), &NAME.parse().unwrap(), &SHA256);
    assert_eq!(again, Ok(provenance));
}

#[test]
fn attestations_from_files_make_the_same_object() {
    let one = enveloped(&statement()).to_string();
    let each = [format!("{one}\n")];
    assert_eq!(Provenance::of_each(&each, &NAME.parse().unwrap(), &SHA256), of(&format!("[{one}]")));
}

#[test]
fn base64_may_be_broken_into_lines() {
    let mut text = STANDARD.encode(statement().to_string());
    text.insert(76, '\n');
    assert_eq!(of(&format!("[{}]", attestation(&format!("{text}\n")))).unwrap().predicates().len(), 1);
}

#[test]
fn what_is_no_list_of_attestation_objects_is_refused() {
    let good = enveloped(&statement()).to_string();
    for text in [
        "",
        "null",
        "{}",
        "\"\"",
        "[1]",
        "[null]",
        "[[]]",
        "[{}]",
        &good,
        &format!("[{good}"),
        &format!("[{good}]]"),
        &format!("[{}]", good.replacen("\"version\":1", "\"version\":1,\"version\":1", 1)),
        &format!("[{}]", good.replacen("\"version\":1", "\"version\":\"1\"", 1)),
        &format!("[{}]", with("/envelope", json!([]))),
        &format!("[{}]", with("/envelope/signature", json!(null))),
        &format!("[{}]", with("/verification_material/transparency_entries", json!({}))),
        &format!("[{}]", with("/verification_material/transparency_entries", json!([1]))),
    ] {
        assert!(matches!(of(text), Err(AttestationError::Shape { .. })), "{text}");
    }
}

/// They would be read all the same, and readers of the object stumble on them.
#[test]
fn lists_of_the_values_of_an_object_are_no_objects() {
    let good = enveloped(&statement());
    let (material, envelope) = (&good["verification_material"], &good["envelope"]);
    let values = |of: &Value| Value::Array(of.as_object().unwrap().values().cloned().collect());
    for (index, text) in [
        json!([[1, material, envelope]]),
        json!([with("/verification_material", json!(["MIIC", [{}]]))]),
        json!([with("/envelope", json!([envelope["statement"], "MEUC"]))]),
    ]
    .into_iter()
    .enumerate()
    {
        assert!(matches!(of(&text.to_string()), Err(AttestationError::Shape { .. })), "{index}: {text}");
    }
    let plain = statement();
    let mut listed = plain.clone();
    listed["subject"][0] = values(&plain["subject"][0]);
    let all = json!([plain["_type"], plain["subject"], plain["predicateType"]]);
    for statement in [all, listed] {
        let error = of(&json!([enveloped(&statement)]).to_string()).unwrap_err().to_string();
        assert!(error.contains("expected an object"), "{error}");
    }
}

#[test]
fn bombs_are_refused_before_they_are_taken_apart() {
    let good = enveloped(&statement()).to_string();
    let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    let hidden = good.replacen("\"version\":1", &format!("\"version\":1,\"x\":{deep}"), 1);
    for text in [deep.clone(), format!("[{hidden}]")] {
        let Err(AttestationError::Shape { detail }) = of(&text) else { panic!("taken") };
        assert!(detail.starts_with("recursion limit exceeded"), "{detail}");
    }
    let statement = statement().to_string().replacen("null", &deep, 1);
    let error = of(&format!("[{}]", attestation(&STANDARD.encode(statement)))).unwrap_err().to_string();
    assert!(error.contains("the statement is \"recursion limit exceeded"), "{error}");
    let long = format!("[{}]", " ".repeat(MAX_ATTESTATIONS));
    let (found, limit) = (long.len(), MAX_ATTESTATIONS);
    assert_eq!(of(&long), Err(AttestationError::TooLong { found, limit }));
    let many = format!("[{}]", vec!["{}"; 10_000].join(","));
    assert!(matches!(of(&many), Err(AttestationError::Shape { .. })));
    let many = format!("[{}]", vec![good.as_str(); 300].join(","));
    assert_eq!(of(&many), Err(AttestationError::Count { found: 300, limit: 2 }));
    assert_eq!(of("[]"), Err(AttestationError::Count { found: 0, limit: 2 }));
}

#[test]
fn an_attestation_of_another_file_or_kind_is_refused() {
    let digest = hex::encode(SHA256);
    let publish = "/subject/0";
    for (odd, what, found) in [
        (with("/version", json!(2)), "the version", "2"),
        (with("/verification_material/certificate", json!("?")), "the certificate", "?"),
        (with("/verification_material/certificate", json!("")), "the certificate", ""),
        (with("/verification_material/transparency_entries", json!([])), "the list of log entries", "[]"),
        (with("/envelope/signature", json!("MEUC MEUC")), "the signature", "MEUC MEUC"),
        (with("/envelope/statement", json!("=")), "the statement", "="),
        (stated("/_type", json!("https://in-toto.io/Statement/v0.1")), "the type of the statement", ""),
        (stated("/subject", json!([])), "the number of subjects", "0"),
        (stated(publish, json!({"name": "six-1.0.tar.gz", "digest": {}})), "the subject", "six-1.0.tar.gz"),
        (stated("/subject/0/name", json!("../Foo.Bar-1.0-py3-none-any.whl")), "the subject", "../"),
        (stated("/subject/0/name", json!("foo_bar-1.1-py3-none-any.whl")), "the subject", "foo_bar-1.1"),
        (stated("/subject/0/digest", json!({"sha512": "00"})), "the SHA-256 of the subject", ""),
        (stated("/subject/0/digest/sha256", json!("00")), "the SHA-256 of the subject", "00"),
        (stated("/subject/0/digest", json!({"sha256": digest, "x": "?"})), "a digest of the subject", "?"),
        (stated("/predicateType", json!("https://evil.example")), "the predicate type", "https://evil"),
    ] {
        let Err(AttestationError::Unfit { number, what: said, found: seen, .. }) = of(&format!("[{odd}]"))
        else {
            panic!("taken: {odd}")
        };
        assert_eq!((number, said), (1, what));
        assert!(seen.starts_with(found), "{seen}");
    }
    let two = json!([statement()["subject"][0], statement()["subject"][0]]);
    let error = of(&format!("[{}]", stated("/subject", two))).unwrap_err().to_string();
    assert_eq!(error, "in attestation 1, the number of subjects is \"2\"; expected 1");
}

#[test]
fn two_of_one_kind_are_refused() {
    let good = enveloped(&statement());
    let error = of(&format!("[{good},{good}]")).unwrap_err();
    assert_eq!(error, AttestationError::Repeated { predicate: Predicate::Publish });
}

#[test]
fn a_provenance_object_of_others_is_not_read_back() {
    let good = of(&format!("[{}]", enveloped(&statement()))).unwrap();
    let name = NAME.parse().unwrap();
    for text in ["", "{}", &good.as_str().replace("wheelseal", "GitHub"), &format!("{} ", good.as_str())] {
        assert_eq!(Provenance::read(text, &name, &SHA256), Err(AttestationError::Foreign), "{text}");
    }
    let spaced = [HEAD, " ", good.attestations(), TAIL].concat();
    assert_eq!(Provenance::read(&spaced, &name, &SHA256), Err(AttestationError::Foreign));
    let of_another = Provenance::read(good.as_str(), &name, &[8; 32]);
    assert!(matches!(of_another, Err(AttestationError::Unfit { what: "the SHA-256 of the subject", .. })));
}
