//! Every type of key that can sign here, end to end: each signs all roles of a repository.

use std::sync::Arc;

use wheelseal::crypto::{NewKey, PublicKey, Scheme, SigningKey};
use wheelseal::tuf::json::Json;
use wheelseal::tuf::key::Key;

use crate::simulator::{Repo, Signer, TOP_LEVEL, User, below, key};

const P384: &str = include_str!("../../../src/keys/fixtures/worthless-p384.pem");
const RSA: &str = include_str!("../../../src/keys/fixtures/worthless-rsa.pem");

fn from_pem(pem: &str) -> SigningKey {
    let (label, der) = pkcs8::SecretDocument::from_pem(pem).unwrap();
    assert_eq!(label, "PRIVATE KEY");
    SigningKey::from_pkcs8(der.as_bytes()).unwrap()
}

fn generated(kind: NewKey) -> SigningKey {
    SigningKey::from_pkcs8(&kind.generate().unwrap()).unwrap()
}

/// A repository whose every role is signed by `signer`, with a file in a delegated role.
fn signed_by(signer: &Arc<Signer>) -> Repo {
    let mut repo = Repo::new();
    for (role, _) in TOP_LEVEL {
        repo.trust(role, std::slice::from_ref(signer), 1);
    }
    repo.publish_root();
    repo.delegate_to("targets", "A", &["*"], std::slice::from_ref(signer));
    repo.signers.insert("A".into(), vec![Arc::clone(signer)]);
    repo.add_file("A", "file", b"content");
    repo.rotate(|_| {});
    repo.release_role("targets");
    repo
}

#[test]
fn each_type_of_key_signs_every_role() {
    let signers = [
        Signer::new(generated(NewKey::Ed25519), Scheme::Ed25519),
        Signer::new(generated(NewKey::P256), Scheme::EcdsaP256),
        Signer::new(from_pem(P384), Scheme::EcdsaP384),
        Signer::new(from_pem(RSA), Scheme::RsaPssSha256),
        Signer::new(from_pem(RSA), Scheme::RsaPssSha384),
        Signer::new(from_pem(RSA), Scheme::RsaPssSha512),
    ];
    for signer in signers {
        let scheme = signer.key.scheme_name().to_owned();
        let mut repo = signed_by(&signer);
        let user = User::new(&repo);
        assert_eq!(user.download("file"), Ok(true), "{scheme}");
        assert_eq!(user.cached(), "A 1, root 2, snapshot 2, targets 2, timestamp 2", "{scheme}");
        repo.release();
        repo.server.edit("timestamp.json", |text| text.replace("2027-", "2028-"));
        assert_eq!(user.refresh(), Err(below("timestamp", "root", 0, 1)), "{scheme}");
    }
}

/// A key as metadata writes it.
fn written(keytype: &str, public: String, scheme: Scheme) -> Key {
    let keyval = Json::object([("public", Json::str(public))]);
    let fields = [
        ("keytype", Json::str(keytype.to_owned())),
        ("keyval", keyval),
        ("scheme", Json::str(scheme.name())),
    ];
    Key::from_json(&Json::object(fields)).unwrap()
}

#[test]
fn older_ways_to_write_a_key_are_read() {
    let PublicKey::P384(p384) = from_pem(P384).public().clone() else { panic!("a P-384 key") };
    let pem = |pem: &str| from_pem(pem).public().to_pem().unwrap();
    let cases = [
        (written("ecdsa-sha2-nistp384", hex::encode(p384), Scheme::EcdsaP384), P384),
        (written("ecdsa-sha2-nistp384", pem(P384), Scheme::EcdsaP384), P384),
        (written("ecdsa", pem(P384).trim_end().to_owned(), Scheme::EcdsaP384), P384),
        (written("rsa", pem(RSA).trim_end().to_owned(), Scheme::RsaPssSha256), RSA),
        (written("rsa", pem(RSA).replace('\n', "\r\n"), Scheme::RsaPssSha512), RSA),
    ];
    for (key, private) in cases {
        let name = key.to_json().to_text();
        let repo = signed_by(&Signer::named("id", key, from_pem(private)));
        assert_eq!(User::new(&repo).download("file"), Ok(true), "{name}");
    }
}

#[test]
fn a_key_that_claims_another_type_or_scheme_signs_nothing() {
    let ed25519 = || {
        hex::encode(match key(2).key.public() {
            Some(PublicKey::Ed25519(bytes)) => *bytes,
            _ => [0; 32],
        })
    };
    let pem = from_pem(P384).public().to_pem().unwrap();
    let rsa = from_pem(RSA).public().to_pem().unwrap();
    for odd in [
        written("ed25519", pem.clone(), Scheme::Ed25519),
        written("ecdsa", ed25519(), Scheme::EcdsaP256),
        written("ecdsa", pem.clone(), Scheme::EcdsaP256),
        written("rsa", pem, Scheme::RsaPssSha256),
        written("ecdsa", rsa.clone(), Scheme::EcdsaP384),
        written("rsa", rsa, Scheme::Ed25519),
        written("ed25519", format!("{}00", ed25519()), Scheme::Ed25519),
        written("unknown", ed25519(), Scheme::Ed25519),
        written("ed25519", ed25519(), Scheme::EcdsaP384),
    ] {
        let name = odd.to_json().to_text();
        let mut repo = Repo::new();
        let good = repo.signers["timestamp"].clone();
        repo.root.keys.insert(good[0].id.clone(), odd);
        repo.publish_root();
        repo.publish();
        assert_eq!(User::new(&repo).refresh(), Err(below("timestamp", "root", 0, 1)), "{name}");
    }
}

#[test]
fn a_signature_of_one_scheme_is_none_of_another() {
    let signer = Signer::new(from_pem(RSA), Scheme::RsaPssSha256);
    let repo = signed_by(&signer);
    for other in [Scheme::RsaPssSha384, Scheme::RsaPssSha512, Scheme::RsaPkcs1Sha256] {
        let key = Key::new(signer.key.public().unwrap().clone(), other).unwrap();
        assert!(key.public().is_some());
        let message = b"message";
        assert!(signer.key.verifies(message, &signer.sign(message)));
        assert!(!key.verifies(message, &signer.sign(message)), "{}", other.name());
    }
    assert_eq!(User::new(&repo).refresh(), Ok(()));
}
