//! Claims: one form, signed by a project's keys and nobody else's.

use std::collections::BTreeMap;

use super::*;
use crate::crypto::{NewKey, Scheme, SigningKey};
use crate::release_claim::{Commitment, Salt, Standing, standing};
use crate::tuf::delegations::{DelegatedRole, DelegatedRoles, Delegations, PathSet};
use crate::tuf::key::Key;
use crate::tuf::metadata::Extra;
use crate::tuf::path::RoleName;

const INDEX: &str = "https://index.example/";
const WHEEL: &str = "seal/seal-1.0-py3-none-any.whl";

fn leaf(path: &str, byte: u8) -> FileLeaf {
    FileLeaf::of_target(path, 9, [byte; 32]).unwrap().unwrap()
}

fn claim() -> Claim {
    let files = vec![leaf("seal/seal-1.0.tar.gz", 1), leaf(WHEEL, 2)];
    Claim::new(INDEX, "seal".parse().unwrap(), files).unwrap()
}

/// Keys, and what a delegator says of a project's role with them.
struct Keys {
    signing: Vec<SigningKey>,
    said: Delegations,
    names: [RoleName; 2],
}

impl Keys {
    fn new(project: &str, count: usize, threshold: u64) -> Self {
        let new = || SigningKey::from_pkcs8(&NewKey::Ed25519.generate().unwrap()).unwrap();
        let signing: Vec<_> = std::iter::repeat_with(new).take(count).collect();
        let keys: BTreeMap<_, _> = signing.iter().map(public).map(|key| (key.id(), key)).collect();
        let name = RoleName::delegated(format!("project-{project}")).unwrap();
        let role = DelegatedRole {
            name: name.clone(),
            keyids: keys.keys().cloned().collect(),
            threshold,
            terminating: true,
            paths: PathSet::Patterns(vec![format!("{project}/*")]),
            extra: Extra::new(),
        };
        let said =
            Delegations { keys, roles: DelegatedRoles::Listed(vec![role].into()), extra: Extra::new() };
        Self { signing, said, names: [RoleName::delegated("claimed").unwrap(), name] }
    }

    fn authority(&self) -> Authority<'_> {
        self.said.authority(&self.names[0], &self.names[1]).unwrap()
    }

    fn signature(&self, key: usize, text: &str) -> (KeyId, Vec<u8>) {
        let key = &self.signing[key];
        (public(key).id(), key.sign(Scheme::Ed25519, text.as_bytes()).unwrap())
    }
}

fn public(key: &SigningKey) -> Key {
    Key::new(key.public().clone(), Scheme::Ed25519).unwrap()
}

#[test]
fn a_claim_reads_as_it_was_written_and_in_no_other_form() {
    let text = claim().to_string();
    assert_eq!(Claim::parse(&text), Ok(claim()));
    assert!(
        text.starts_with(r#"{"files":[{"length":9,"path":"seal/seal-1.0-py3-none-any.whl","sha256":"0202"#)
    );
    assert!(text.ends_with(
        r#"],"index":"https://index.example/","project":"seal","type":"claim/v1","version":"1.0"}"#
    ));
    let [one, two] = [1, 2].map(|byte: u8| hex::encode([byte; 32]));
    for (from, to) in [
        (",", ", "),
        ("\"type\"", "\"time\":1,\"type\""),
        ("\"length\":9,", "\"length\":9,\"note\":\"\","),
        ("1.0\"}", "2.0\"}"),
        (two.as_str(), &two.replace('0', "A")),
        ("\"length\":9", "\"length\":09"),
    ] {
        assert!(Claim::parse(&text.replacen(from, to, 1)).is_err(), "{from} as {to}");
    }
    let files = &text[r#"{"files":["#.len()..text.find(']').unwrap()];
    let (first, second) = files.split_once("},{").unwrap();
    assert!(second.contains(&one));
    let swapped = text.replace(files, &format!("{{{second},{first}}}"));
    assert_eq!(Claim::parse(&swapped), Err(ClaimError::Form));
}

#[test]
fn any_bit_flipped_is_refused_or_says_something_else() {
    let text = claim().to_string();
    for bit in 0..text.len() * 8 {
        let mut bytes = text.clone().into_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let Ok(flipped) = String::from_utf8(bytes) else { continue };
        if let Ok(other) = Claim::parse(&flipped) {
            assert_ne!(other, claim());
        }
    }
}

#[test]
fn values_that_no_claim_can_have_are_named() {
    let of = |index: &str, files: Vec<FileLeaf>| match Claim::new(index, "seal".parse().unwrap(), files)
        .unwrap_err()
    {
        ClaimError::Field { field, .. } => field,
        other => panic!("{other}"),
    };
    let wheel = || leaf(WHEEL, 2);
    for index in [
        "",
        "index.example/",
        "https://index.example",
        "https:///",
        "ftp://index.example/",
        "https://me@index.example/",
        "https://index.example/?a/",
    ] {
        assert_eq!(of(index, vec![wheel()]), "index", "{index}");
    }
    assert_eq!(of(&format!("https://{}/", "a".repeat(MAX_INDEX)), vec![wheel()]), "index");
    for files in [
        vec![],
        vec![wheel(), wheel()],
        vec![wheel(), leaf("seal/seal-1.1.tar.gz", 1)],
        vec![wheel(), leaf("other/other-1.0.tar.gz", 1)],
        (0..=MAX_FILES).map(|n| leaf(&format!("seal/seal-1.0-{n}-py3-none-any.whl"), 1)).collect(),
    ] {
        assert_eq!(of(INDEX, files), "files");
    }
    let page = claim().to_string().replace(WHEEL, "simple/seal/index.json");
    assert!(matches!(Claim::parse(&page), Err(ClaimError::File { .. })));
    assert_eq!(Claim::parse(&"[".repeat(MAX_CLAIM + 1)), Err(ClaimError::TooLong { found: MAX_CLAIM + 1 }));
    assert!(matches!(Claim::parse(&"[".repeat(9_999)), Err(ClaimError::Json(_))));
}

#[test]
fn enough_of_the_projects_keys_must_have_signed_it() {
    let keys = Keys::new("seal", 3, 2);
    let text = claim().to_string();
    let signed = |signatures| SignedClaim::new(claim(), signatures).verify(&keys.authority()).cloned();
    let short = |valid| ClaimError::BelowThreshold { role: "project-seal".to_owned(), valid, threshold: 2 };
    assert_eq!(signed(vec![keys.signature(0, &text), keys.signature(2, &text)]), Ok(claim()));
    assert_eq!(signed(vec![]), Err(short(0)));
    assert_eq!(signed(vec![keys.signature(0, &text), keys.signature(0, &text)]), Err(short(1)));
    assert_eq!(signed(vec![keys.signature(0, &text), keys.signature(1, "another claim")]), Err(short(1)));
    let stranger = Keys::new("seal", 1, 1).signature(0, &text);
    assert_eq!(signed(vec![keys.signature(0, &text), stranger]), Err(short(1)));
    let (other, id) = (keys.signature(1, &text).1, keys.signature(0, &text).0);
    assert_eq!(signed(vec![(id, other)]), Err(short(0)));
}

#[test]
fn the_keys_of_another_project_sign_nothing() {
    let keys = Keys::new("other", 1, 1);
    let signed = SignedClaim::new(claim(), vec![keys.signature(0, &claim().to_string())]);
    let expected = ClaimError::OtherProject { project: "seal".to_owned(), role: "project-other".to_owned() };
    assert_eq!(signed.verify(&keys.authority()), Err(expected));
}

#[test]
fn a_signed_claim_reads_as_it_was_written_and_in_no_other_form() {
    let keys = Keys::new("seal", 2, 2);
    let text = claim().to_string();
    let signed = SignedClaim::new(claim(), vec![keys.signature(1, &text), keys.signature(0, &text)]);
    let written = signed.to_string();
    let read = SignedClaim::parse(written.as_bytes()).unwrap();
    assert_eq!(read, signed);
    assert_eq!(read.verify(&keys.authority()), Ok(&claim()));
    for (from, to) in [
        ("{\"signatures\"", "{\"a\":1,\"signatures\""),
        ("\"keyid\"", "\"extra\":1,\"keyid\""),
        (":[{\"keyid\"", ": [{\"keyid\""),
    ] {
        assert!(written.contains(from));
        assert_eq!(SignedClaim::parse(written.replacen(from, to, 1).as_bytes()), Err(ClaimError::Form));
    }
    let listed = r#"{"keyid":"a","sig":"00"}"#;
    let many = format!(
        r#"{{"signatures":[{}{listed}],"signed":{text}}}"#,
        format!("{listed},").repeat(MAX_SIGNATURES)
    );
    let expected = "a list of at most 64";
    assert_eq!(SignedClaim::parse(many.as_bytes()), Err(ClaimError::Field { field: "signatures", expected }));
}

#[test]
fn a_commitment_is_to_one_claim_and_one_salt() {
    let (one, two) = (Salt::from_bytes([1; 32]), Salt::from_bytes([2; 32]));
    let other = Claim::new(INDEX, "seal".parse().unwrap(), vec![leaf(WHEEL, 2)]).unwrap();
    assert_ne!(Commitment::new(&one, &claim()), Commitment::new(&two, &claim()));
    assert_ne!(Commitment::new(&one, &claim()), Commitment::new(&one, &other));
    assert_eq!(Salt::from_hex(&one.to_hex()), Some(one.clone()));
    assert_eq!(Salt::from_hex(&"0A".repeat(32)), None);
    assert_eq!(format!("{one:?}"), "Salt(…)");
}

#[test]
fn a_path_stands_as_claim_and_index_have_it() {
    let (claimed, other) = (leaf(WHEEL, 2), leaf(WHEEL, 3));
    for (claim, index, expected) in [
        (None, None, None),
        (Some(&claimed), Some(&claimed), Some(Standing::Agree)),
        (None, Some(&other), Some(Standing::IndexOnly)),
        (Some(&claimed), None, Some(Standing::ClaimOnly)),
        (Some(&claimed), Some(&other), Some(Standing::Conflict)),
    ] {
        assert_eq!(standing(claim, index), expected);
    }
}
