//! What counts as a signature, and how often.

use std::sync::Arc;

use wheelseal::crypto::{NewKey, PublicKey, Scheme, SigningKey};
use wheelseal::tuf::json::Json;
use wheelseal::tuf::key::{Key, KeyId};
use wheelseal::tuf::metadata::TopLevel;
use wheelseal::tuf::signed::VerifyError;
use wheelseal::tuf::trusted::TrustError;

use crate::simulator::{Repo, Signer, User, below, key, malformed, pair, trust};

/// Refreshes with a changed timestamp file.
fn with_timestamp(edit: impl FnOnce(String) -> String) -> (Repo, User) {
    let repo = Repo::new();
    repo.server.edit("timestamp.json", edit);
    let user = User::new(&repo);
    (repo, user)
}

/// Puts another signature in front of the good one.
fn beside(signature: &str) -> impl FnOnce(String) -> String {
    move |text| text.replacen("\"signatures\":[", &format!("\"signatures\":[{signature},"), 1)
}

#[test]
fn a_signature_that_does_not_decode_is_not_valid_and_no_parse_error() {
    for sig in [
        "\"\"",
        "\"zz\"",
        "\"0\"",
        "\"é\"",
        "null",
        "5",
        "{}",
        "[\"00\"]",
        "true",
        "\"00\"",
        &format!("\"{}\"", "00".repeat(100_000)),
    ] {
        let id = key(2).id.clone();
        let mut repo = Repo::new();
        repo.trust(TopLevel::Timestamp, &[key(2), key(30)], 1);
        repo.publish_root();
        let mut user = User::new(&repo);
        let bad = format!("{{\"signatures\":[{{\"keyid\":\"{id}\",\"sig\":{sig}}}]");
        let bytes = String::from_utf8(repo.server.bytes("timestamp.json")).unwrap();
        let (_, rest) = bytes.split_once(",\"signed\"").unwrap();
        repo.server.put("timestamp.json", format!("{bad},\"signed\"{rest}"));
        user.limits.timestamp = 1_000_000;
        assert_eq!(user.refresh(), Err(below("timestamp", "root", 0, 1)), "{sig:.20}");
        repo.signers.insert("timestamp".into(), vec![key(30)]);
        repo.publish_timestamp();
        repo.server.edit("timestamp.json", beside(&format!("{{\"keyid\":\"{id}\",\"sig\":{sig}}}")));
        assert_eq!(user.refresh(), Ok(()), "{sig:.20}: nor does it spoil the good one beside it");
    }
}

#[test]
fn a_signature_without_its_fields_is_a_parse_error() {
    let cases = [
        ("{\"sig\":\"00\"}", "timestamp: a signature has no \"keyid\""),
        ("{\"keyid\":\"a\"}", "timestamp: a signature has no \"sig\""),
        ("{\"keyid\":5,\"sig\":\"00\"}", "timestamp: \"keyid\" in a signature is 5, expected a string"),
        ("\"00\"", "timestamp: \"a signature\" in a signature is \"00\", expected an object"),
    ];
    for (signature, message) in cases {
        let (_repo, user) = with_timestamp(beside(signature));
        assert_eq!(malformed(user.refresh()).as_deref(), Some(message));
    }
}

#[test]
fn signatures_by_unknown_keys_are_ignored() {
    let (_repo, user) = with_timestamp(beside("{\"keyid\":\"nobody\",\"sig\":\"00\",\"x\":[]}"));
    assert_eq!(user.refresh(), Ok(()));
}

#[test]
fn two_signatures_with_one_key_id_are_refused() {
    let id = key(2).id.clone();
    for repeated in [id.as_str(), "nobody"] {
        let one = format!("{{\"keyid\":\"{repeated}\",\"sig\":\"00\"}}");
        let both = format!("{one},{}", one.replace("00", "01"));
        let (repo, user) = with_timestamp(beside(if repeated == "nobody" { &both } else { &one }));
        let keyid = KeyId::new(repeated).unwrap();
        let error = VerifyError::RepeatedSignature { role: "timestamp".into(), keyid };
        assert_eq!(user.refresh(), Err(trust(TrustError::Verify(error))));
        assert_eq!((user.cached().as_str(), repo.server.requests().len()), ("root 1", 2));
    }
}

#[test]
fn more_signatures_than_anyone_needs_are_refused_unchecked() {
    let many: Vec<_> = (0..1_000).map(|n| format!("{{\"keyid\":\"{n}\",\"sig\":\"\"}}")).collect();
    let (_repo, user) = with_timestamp(beside(&many.join(",")));
    let error = VerifyError::TooManySignatures { role: "timestamp".into(), found: 1_001 };
    assert_eq!(user.refresh(), Err(trust(TrustError::Verify(error))));
}

#[test]
fn unsigned_metadata_is_refused() {
    let (_repo, user) = with_timestamp(|text| {
        let (_, rest) = text.split_once(",\"signed\"").unwrap();
        format!("{{\"signatures\":[],\"signed\"{rest}")
    });
    assert_eq!(user.refresh(), Err(below("timestamp", "root", 0, 1)));
}

#[test]
fn a_threshold_above_the_number_of_keys_is_no_fault_of_root_but_fails_the_role() {
    for threshold in [2, u64::MAX] {
        let mut repo = Repo::new();
        repo.trust(TopLevel::Snapshot, &[key(3)], threshold);
        repo.publish_root();
        let user = User::new(&repo);
        assert_eq!(user.refresh(), Err(below("snapshot", "root", 1, threshold)));
        assert_eq!(user.cached(), "root 1, timestamp 1");
    }
}

#[test]
fn a_threshold_of_zero_is_malformed() {
    let repo = Repo::new();
    repo.resign("1.root.json", "root", |text| text.replacen("\"threshold\":1", "\"threshold\":0", 1));
    let message = "root: \"threshold\" in a role is 0, expected an integer from 1 to 2^64 - 1";
    assert_eq!(malformed(User::new(&repo).refresh()).as_deref(), Some(message));
}

/// A repository whose timestamp needs two signatures and is signed by `signers`.
fn two_of(signers: &[Arc<Signer>]) -> User {
    let mut repo = Repo::new();
    repo.trust(TopLevel::Timestamp, signers, 2);
    repo.publish_root();
    repo.publish();
    User::new(&repo)
}

#[test]
fn key_ids_are_opaque() {
    let odd = |id: &str, seed: u8| Signer::named(id, key(seed).key.clone(), pair(&[seed; 32]));
    for (a, b) in [
        ("a", "b"),
        ("é", "e\u{301}"),
        ("../x", "0"),
        (&"x".repeat(1_024), " "),
        (key(31).id.as_str(), key(30).id.as_str()),
    ] {
        assert_eq!(two_of(&[odd(a, 30), odd(b, 31)]).refresh(), Ok(()));
    }
}

#[test]
fn one_public_key_counts_once_under_however_many_ids() {
    let named = |id: &str| Signer::named(id, key(30).key.clone(), pair(&[30; 32]));
    let user = two_of(&[named("a"), named("b"), named("c")]);
    assert_eq!(user.refresh(), Err(below("timestamp", "root", 1, 2)));
    assert_eq!(two_of(&[named("a"), named("b"), key(31)]).refresh(), Ok(()));
}

#[test]
fn one_public_key_counts_once_in_whatever_json() {
    let with_field = |name: &str| {
        let Json::Object(mut fields) = key(30).key.to_json() else { panic!("a key is an object") };
        fields.push((name.to_owned().into(), Json::int(1)));
        let key = Key::from_json(&Json::object(fields)).unwrap();
        Signer::named(key.id().as_str(), key, pair(&[30; 32]))
    };
    let user = two_of(&[with_field("x"), with_field("y")]);
    assert_eq!(user.refresh(), Err(below("timestamp", "root", 1, 2)));
}

#[test]
fn one_public_key_counts_once_as_pem_and_as_hexadecimal_point() {
    let der = NewKey::P256.generate().unwrap();
    let signing = || SigningKey::from_pkcs8(&der).unwrap();
    let PublicKey::P256(point) = signing().public().clone() else { panic!("a P-256 key") };
    let written = |keytype: &str, public: String| {
        let json = Json::object([
            ("keytype", Json::str(keytype.to_owned())),
            ("keyval", Json::object([("public", Json::str(public))])),
            ("scheme", Json::str(Scheme::EcdsaP256.name())),
        ]);
        let key = Key::from_json(&json).unwrap();
        Signer::named(key.id().as_str(), key, signing())
    };
    let pem = written("ecdsa", signing().public().to_pem().unwrap());
    let padded = written("ecdsa", format!("\n{}\n\n", signing().public().to_pem().unwrap()));
    let hex = written("ecdsa-sha2-nistp256", hex::encode(&point));
    let upper = written("ecdsa-sha2-nistp256", hex::encode_upper(&point));
    let user = two_of(&[pem.clone(), padded, hex.clone(), upper]);
    assert_eq!(user.refresh(), Err(below("timestamp", "root", 1, 2)));
    for signer in [pem, hex] {
        assert_eq!(two_of(&[signer, key(30)]).refresh(), Ok(()), "each of them alone is good");
    }
}

#[test]
fn a_key_id_listed_twice_counts_once() {
    assert_eq!(two_of(&[key(30)]).refresh(), Err(below("timestamp", "root", 1, 2)));
    let mut repo = Repo::new();
    repo.trust(TopLevel::Timestamp, &[key(30)], 2);
    repo.root.timestamp.keyids = vec![key(30).id.clone(); 3];
    repo.publish_root();
    repo.publish();
    assert_eq!(User::new(&repo).refresh(), Err(below("timestamp", "root", 1, 2)));
}

#[test]
fn a_key_id_listed_a_hundred_thousand_times_costs_one_verification() {
    let mut repo = Repo::new();
    repo.delegate("targets", "A", &["*"]).keyids = vec![KeyId::new("x").unwrap(); 100_000];
    let key_of_a = crate::simulator::key_of("A").key.clone();
    repo.delegations("targets").keys.insert(KeyId::new("x").unwrap(), key_of_a);
    repo.release_role("targets");
    let signature = format!("{{\"keyid\":\"x\",\"sig\":\"{}\"}}", "00".repeat(64));
    repo.server.edit("1.A.json", beside(&signature));
    let user = User::new(&repo);
    user.refresh().unwrap();
    let start = std::time::Instant::now();
    assert_eq!(user.find("file"), Err(below("A", "targets", 0, 1)));
    assert!(start.elapsed().as_secs() < 2, "{:?}", start.elapsed());
}

#[test]
fn a_listed_key_id_without_a_key_counts_nothing() {
    let mut repo = Repo::new();
    repo.root.timestamp.keyids.insert(0, KeyId::new("nobody").unwrap());
    repo.publish_root();
    repo.server.edit("timestamp.json", beside("{\"keyid\":\"nobody\",\"sig\":\"00\"}"));
    assert_eq!(User::new(&repo).refresh(), Ok(()));
}

#[test]
fn a_key_that_root_has_but_the_role_does_not_list_counts_nothing() {
    let mut repo = Repo::new();
    repo.signers.insert("timestamp".into(), vec![key(1), key(3), key(4)]);
    repo.publish();
    assert_eq!(User::new(&repo).refresh(), Err(below("timestamp", "root", 0, 1)));
}

#[test]
fn a_good_signature_under_the_id_of_another_key_counts_nothing() {
    let mut repo = Repo::new();
    repo.trust(TopLevel::Timestamp, &[key(2), key(30)], 1);
    repo.publish_root();
    let swapped = Signer::named(key(30).id.as_str(), key(2).key.clone(), pair(&[2; 32]));
    repo.signers.insert("timestamp".into(), vec![swapped]);
    repo.publish();
    assert_eq!(User::new(&repo).refresh(), Err(below("timestamp", "root", 0, 1)));
}

#[test]
fn minor_versions_of_the_specification_are_accepted_and_others_refused() {
    for (spec, fine) in [
        ("1.0", true),
        ("1.0.0", true),
        ("1.99.5", true),
        ("2.0.0", false),
        ("0.9", false),
        ("1", false),
        ("", false),
        ("1.x", false),
    ] {
        let repo = Repo::new();
        repo.resign("timestamp.json", "timestamp", |text| text.replace("1.0.34", spec));
        let message = format!("timestamp: \"spec_version\" in timestamp is {spec:?}, expected 1.x");
        assert_eq!(malformed(User::new(&repo).refresh()), (!fine).then_some(message));
    }
}
