//! Notes: what is one, and who signed it.

use super::*;
use crate::tlog::scene_tests::{Pair, flipped, known};
use proptest::prelude::*;
use std::str::FromStr as _;

const VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const EXAMPLE: &str = "This is an example message.\n\n\
    — example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

fn example_keys() -> KnownKeys {
    KnownKeys::new(vec![VerifierKey::from_str(VKEY).unwrap()]).unwrap()
}

fn signed(text: &str, pair: &Pair) -> Note {
    Note::sign(text.to_owned(), &pair.key, &pair.sign(text)).unwrap()
}

#[test]
fn the_note_of_the_text_verifies_by_its_key() {
    let (note, keys) = (Note::parse(EXAMPLE.as_bytes()).unwrap(), example_keys());
    let verified = note.verify(&keys).unwrap();
    assert_eq!(verified.text(), "This is an example message.\n");
    let [(key, said)] = verified.signers() else { panic!("{verified:?}") };
    assert_eq!((key.to_string().as_str(), said), (VKEY, &Statement::Signed));
    assert_eq!(note.to_string(), EXAMPLE);
}

#[test]
fn a_note_with_any_bit_flipped_is_refused() {
    let keys = example_keys();
    for bytes in flipped(EXAMPLE) {
        let verified = Note::parse(&bytes).and_then(|note| note.verify(&keys).map(|_| ()));
        assert!(verified.is_err(), "{}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn the_text_goes_up_to_the_last_empty_line() {
    let pair = Pair::log("log");
    for text in ["\n", "\n\n", "a\n\nb\n", "a\n\n\n\n", "a\n\n— log AAAAAAAA\n"] {
        let bytes = signed(text, &pair).to_string();
        let (note, keys) = (Note::parse(bytes.as_bytes()).unwrap(), known(&[&pair]));
        assert_eq!(note.verify(&keys).unwrap().text(), text, "{bytes:?}");
        assert_eq!(note.to_string(), bytes);
    }
}

#[test]
fn a_bad_signature_of_a_known_key_refuses_the_note_whoever_else_signed() {
    let (one, two) = (Pair::log("one"), Pair::log("two"));
    let other = signed("other\n", &one);
    let mut note = signed("text\n", &two);
    note.signatures.extend(other.signatures);
    let bad = NoteError::BadSignature { key: one.key.name().clone() };
    assert_eq!(note.verify(&known(&[&two, &one])).unwrap_err(), bad);
    assert_eq!(note.verify(&known(&[&two])).unwrap().signers().len(), 1);
    note.signatures.reverse();
    assert_eq!(note.verify(&known(&[&two, &one])).unwrap_err(), bad);
}

#[test]
fn a_note_that_only_unknown_keys_signed_is_refused() {
    let (one, two) = (Pair::log("one"), Pair::log("one"));
    let note = signed("text\n", &one);
    assert_eq!(note.verify(&known(&[&two])).unwrap_err(), NoteError::Unsigned);
    assert_eq!(note.verify(&KnownKeys::default()).unwrap_err(), NoteError::Unsigned);
}

#[test]
fn a_key_that_signed_twice_counts_once_and_both_must_be_good() {
    let pair = Pair::log("one");
    let mut note = signed("text\n", &pair);
    note.signatures.push(note.signatures[0].clone());
    let keys = known(&[&pair]);
    assert_eq!(note.verify(&keys).unwrap().signers().len(), 1);
    note.signatures[1].bytes[0] ^= 1;
    assert!(matches!(note.verify(&keys), Err(NoteError::BadSignature { .. })));
}

#[test]
fn what_is_no_note_is_refused() {
    let sig = |line| NoteError::Signature { line };
    for (bytes, expected) in [
        ("", NoteError::NoText),
        ("text\n", NoteError::NoText),
        ("text\n— a AAAAAAA=\n", NoteError::NoText),
        ("text\n\n", sig(1)),
        ("text\n\n— a AAAAAAA=", sig(1)),
        ("text\n\n- a AAAAAAA=\n", sig(1)),
        ("text\n\n— a\n", sig(1)),
        ("text\n\n— a AAAAAA==\n", sig(1)),
        ("text\n\n— a AAAAAAA\n", sig(1)),
        ("text\n\n— a AAAAAAB=\n", sig(1)),
        ("text\n\n— a AAAAAAA= \n", sig(1)),
        ("text\n\n— a AAAAAAA=\n— b\n", sig(2)),
        ("te\txt\n\n— a AAAAAAA=\n", NoteError::NotText { at: 2 }),
        ("text\r\n\n— a AAAAAAA=\n", NoteError::NotText { at: 4 }),
    ] {
        assert_eq!(Note::parse(bytes.as_bytes()), Err(expected), "{bytes:?}");
    }
    assert_eq!(Note::parse(b"te\xffxt\n\n"), Err(NoteError::NotText { at: 2 }));
    let refused = Note::parse("text\n\n— a+b AAAAAAA=\n".as_bytes());
    assert!(matches!(refused, Err(NoteError::Name { line: 1, .. })), "{refused:?}");
}

#[test]
fn size_and_signatures_are_bounded() {
    let found = MAX_NOTE_LEN + 1;
    assert_eq!(Note::parse(&vec![b'a'; found]), Err(NoteError::TooLong { found }));
    let lines = |count| format!("text\n\n{}", "— a AAAAAAA=\n".repeat(count));
    assert_eq!(Note::parse(lines(101).as_bytes()), Err(NoteError::TooManySignatures));
    assert_eq!(Note::parse(lines(100).as_bytes()).unwrap().to_string(), lines(100));
}

#[test]
fn what_a_note_may_not_say_is_not_signed() {
    let pair = Pair::log("log");
    for (text, expected) in
        [("text", NoteError::NoText), ("te\0xt\n", NoteError::NotText { at: 2 }), ("", NoteError::NoText)]
    {
        assert_eq!(Note::sign(text.to_owned(), &pair.key, &pair.sign(text)), Err(expected));
    }
    let witness = Pair::witness("witness");
    let wrong = Note::sign("text\n".to_owned(), &witness.key, &witness.sign("text\n"));
    assert_eq!(wrong, Err(NoteError::WrongKind { key: witness.key.name().clone() }));
}

#[test]
fn a_signature_of_something_else_is_not_put_under_a_note() {
    let pair = Pair::log("log");
    let refused = Note::sign("text\n".to_owned(), &pair.key, &pair.sign("other\n"));
    assert_eq!(refused, Err(NoteError::BadSignature { key: pair.key.name().clone() }));
}

#[test]
fn merging_takes_what_known_keys_signed_and_replaces_what_they_signed_before() {
    let (one, two, unknown) = (Pair::log("one"), Pair::log("two"), Pair::log("unknown"));
    let mut note = signed("text\n", &one);
    let lines =
        |pairs: &[&Pair]| pairs.iter().map(|pair| signed("text\n", pair).signatures[0].clone()).collect();
    assert_eq!(note.merge(lines(&[&one, &two, &unknown]), &known(&[&one, &two])), Ok(2));
    let names: Vec<_> = note.signatures.iter().map(|line| line.name.as_str()).collect();
    assert_eq!(names, ["one", "two"]);
}

#[test]
fn merging_a_bad_signature_of_a_known_key_changes_nothing() {
    let (one, two) = (Pair::log("one"), Pair::log("two"));
    let mut note = signed("text\n", &one);
    let before = note.clone();
    let bad = signed("other\n", &two).signatures;
    assert!(matches!(note.merge(bad, &known(&[&two])), Err(NoteError::BadSignature { .. })));
    assert_eq!(note, before);
}

#[test]
fn keeping_the_signatures_of_known_keys_drops_all_others_and_all_but_the_first_of_each() {
    let (one, two, unknown) = (Pair::log("one"), Pair::log("two"), Pair::log("unknown"));
    let mut note = signed("text\n", &one);
    // The name of one and the id of two are nobody's.
    let mut mixed = signed("text\n", &two).signatures[0].clone();
    mixed.name = one.key.name().clone();
    for line in [&mixed, &signed("text\n", &unknown).signatures[0], &signed("text\n", &one).signatures[0]] {
        note.signatures.push(line.clone());
    }
    note.signatures.extend(signed("text\n", &two).signatures);
    note.keep(&known(&[&one, &two]));
    let expected = [signed("text\n", &one), signed("text\n", &two)].map(|note| note.signatures[0].clone());
    assert_eq!(note.signatures(), expected);
    note.keep(&known(&[]));
    assert_eq!(note.signatures(), []);
}

proptest! {
    #[test]
    fn a_note_reads_as_it_was_written(text in "([a-zé— ]{0,5}\n){1,5}", count in 1_usize..4) {
        let pairs: Vec<_> = (0..count).map(|n| Pair::log(&format!("log-{n}"))).collect();
        let mut note = signed(&text, &pairs[0]);
        let keys = known(&pairs.iter().collect::<Vec<_>>());
        let lines = pairs.iter().map(|pair| signed(&text, pair).signatures[0].clone()).collect();
        prop_assert_eq!(note.merge(lines, &keys), Ok(count));
        let bytes = note.to_string();
        prop_assert_eq!(Note::parse(bytes.as_bytes()).unwrap(), note);
    }

    #[test]
    fn bytes_that_read_as_a_note_are_written_the_same(
        text in "[a\n]{0,6}\n\n(— [a+ ]{1,2} [A-D]{6}[AB=]{2}\n){1,3}",
    ) {
        if let Ok(note) = Note::parse(text.as_bytes()) {
            prop_assert_eq!(note.to_string(), text);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, text: String) {
        let _ = (Note::parse(&bytes), Note::parse(text.as_bytes()), Signature::parse_lines(&text));
    }
}
