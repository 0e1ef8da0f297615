//! Signed notes and checkpoints, against `signed_note` and `tlog_tiles`.

#![expect(clippy::unwrap_used, reason = "a note that cannot be made fails the test")]

use proptest::prelude::*;
use signed_note::{StandardSigner, StandardVerifier, VerifierList};
use wheelseal::crypto::{PublicKey, Scheme, SigningKey};
use wheelseal::tlog::checkpoint::{Checkpoint, SignedCheckpoint};
use wheelseal::tlog::key::{KeyKind, KeyName, KnownKeys, VerifierKey};
use wheelseal::tlog::merkle::Hash;
use wheelseal::tlog::note::Note;

/// A seed that is worth nothing.
const SEED: [u8; 32] = [7; 32];

/// What stands before the seed in PKCS#8 (RFC 8410).
const PKCS8: &str = "302e020100300506032b657004220420";

fn private() -> SigningKey {
    SigningKey::from_pkcs8(&[hex::decode(PKCS8).unwrap(), SEED.to_vec()].concat()).unwrap()
}

fn public(name: &str) -> VerifierKey {
    let PublicKey::Ed25519(key) = *private().public() else { unreachable!("it is an Ed25519 key") };
    VerifierKey::new(KeyName::new(name).unwrap(), KeyKind::Log, key)
}

fn foreign_signer(name: &str) -> StandardSigner {
    use base64::Engine as _;
    let material = base64::engine::general_purpose::STANDARD.encode([[1].as_slice(), &SEED].concat());
    StandardSigner::new(&format!("PRIVATE+KEY+{name}+{}+{material}", public(name).id())).unwrap()
}

fn foreign_verifier(name: &str) -> VerifierList {
    VerifierList::new(vec![Box::new(StandardVerifier::new(&public(name).to_string()).unwrap())])
}

fn ours(text: &str, name: &str) -> Note {
    let signature = private().sign(Scheme::Ed25519, text.as_bytes()).unwrap().try_into().unwrap();
    Note::sign(text.to_owned(), &public(name), &signature).unwrap()
}

fn theirs(text: &str, name: &str) -> signed_note::Note {
    let mut note = signed_note::Note::new(text.as_bytes(), &[]).unwrap();
    note.add_sigs(&[&foreign_signer(name)]).unwrap();
    note
}

#[test]
fn checkpoints_read_the_same() {
    let checkpoint = Checkpoint::new("example.com/log", 20_852_163, Hash::leaf(b"")).unwrap();
    let foreign = tlog_tiles::checkpoint::Checkpoint::from_bytes(checkpoint.to_string().as_bytes()).unwrap();
    assert_eq!((foreign.origin(), foreign.size()), (checkpoint.origin(), checkpoint.size()));
    assert_eq!(&foreign.hash().0, checkpoint.root().as_bytes());
    assert_eq!(foreign.to_bytes(), checkpoint.to_string().into_bytes());
    let bytes = theirs(&checkpoint.to_string(), "example.com/log").to_bytes();
    let read = SignedCheckpoint::parse(&bytes).unwrap();
    let keys = KnownKeys::new(vec![public("example.com/log")]).unwrap();
    assert_eq!(read.verify(&keys).unwrap().0, &checkpoint);
}

proptest! {
    #[test]
    fn notes_signed_here_are_taken_there_and_the_other_way_round(
        text in "([a-zé— ]{0,9}\n){1,5}", name in "[a-z./]{1,20}",
    ) {
        let bytes = ours(&text, &name).to_string();
        prop_assert_eq!(bytes.as_bytes(), theirs(&text, &name).to_bytes());
        let read = signed_note::Note::from_bytes(bytes.as_bytes()).unwrap();
        prop_assert_eq!(read.verify(&foreign_verifier(&name)).unwrap().0.len(), 1);
        let keys = KnownKeys::new(vec![public(&name)]).unwrap();
        let read = Note::parse(bytes.as_bytes()).unwrap();
        prop_assert_eq!(read.verify(&keys).unwrap().text(), text);
    }

    #[test]
    fn bytes_are_a_note_to_both_or_to_neither(
        text in "[a\n\t]{0,4}\n\n{0,1}(— [a+é]{0,2} [A-D]{6}[AB=]{2}\n{0,2}){0,3}",
    ) {
        let (ours, theirs) = (Note::parse(text.as_bytes()), signed_note::Note::from_bytes(text.as_bytes()));
        prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?} {:?} {:?}", text, ours, theirs);
    }
}
