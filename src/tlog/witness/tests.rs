//! Requests, verdicts and answers, attack by attack.

use super::*;
use crate::tlog::key::VerifierKey;
use crate::tlog::naive_tests::{consistency, leaves, number, root};
use crate::tlog::scene_tests::{NOW, ORIGIN, Pair, flipped, known};
use proptest::prelude::*;

/// The log's head at this size.
fn head(size: usize) -> Checkpoint {
    Checkpoint::new(ORIGIN, number(size), root(&leaves(size))).unwrap()
}

/// What an honest log sends to a witness that knows `old` leaves.
fn request(log: &Pair, old: usize, new: usize) -> AddCheckpoint {
    let hashes = if old == 0 { Vec::new() } else { consistency(old, &leaves(new)) };
    AddCheckpoint::new(number(old), hashes, log.signed(head(new)))
}

#[test]
fn a_request_reads_and_writes_as_in_the_text() {
    let request = request(&Pair::log(ORIGIN), 3, 9);
    let text = request.to_string();
    let mut expected = vec!["old 3".to_owned()];
    expected.extend(consistency(3, &leaves(9)).iter().map(Hash::to_string));
    expected.extend([String::new(), ORIGIN.to_owned(), "9".to_owned()]);
    assert_eq!(text.lines().take(expected.len()).collect::<Vec<_>>(), expected);
    assert_eq!(AddCheckpoint::parse(text.as_bytes()), Ok(request));
}

#[test]
fn a_request_that_is_none_is_refused() {
    let checkpoint = Pair::log(ORIGIN).signed(head(1)).to_string();
    let (hash, old) = (Hash::leaf(b""), "line `old SIZE`");
    let hashes = "list of at most 63 hashes with an empty line behind it";
    let lines = |count| format!("{hash}\n").repeat(count);
    for (text, expected) in [
        (String::new(), old),
        (checkpoint.clone(), old),
        (format!("old 01\n\n{checkpoint}"), old),
        (format!("old  1\n\n{checkpoint}"), old),
        (format!("old -1\n\n{checkpoint}"), old),
        (format!("Old 1\n\n{checkpoint}"), old),
        (format!("old 1\n{checkpoint}"), hashes),
        (format!("old 1\n{}\n{checkpoint}", lines(64)), hashes),
        (format!("old 1\n{hash}"), hashes),
    ] {
        assert_eq!(AddCheckpoint::parse(text.as_bytes()), Err(WitnessError::Syntax { expected }), "{text}");
    }
    assert!(AddCheckpoint::parse(format!("old 1\n{}\n{checkpoint}", lines(63)).as_bytes()).is_ok());
    assert!(matches!(AddCheckpoint::parse(b"old 1\n\n"), Err(WitnessError::Checkpoint(_))));
    let (found, limit) = (MAX_REQUEST_LEN + 1, MAX_REQUEST_LEN);
    assert_eq!(AddCheckpoint::parse(&vec![b'a'; found]), Err(WitnessError::TooLong { found, limit }));
}

#[test]
fn a_log_that_grows_is_cosigned_step_by_step() {
    let log = Pair::log(ORIGIN);
    let keys = known(&[&log]);
    let mut latest = None;
    for (old, new) in [(0, 0), (0, 1), (1, 1), (1, 7), (7, 8), (8, 300)] {
        let verdict = decide(&request(&log, old, new), Some(&keys), latest.as_ref());
        assert_eq!((verdict.status(), &verdict), (200, &Verdict::Cosign(head(new))), "{old} to {new}");
        latest = Some(head(new));
    }
}

/// The verdict of a witness that knows the log at 5 leaves.
fn verdict(request: &AddCheckpoint, keys: &KnownKeys) -> Verdict {
    decide(request, Some(keys), Some(&head(5)))
}

#[test]
fn an_origin_that_is_unknown_is_not_found() {
    let verdict = decide(&request(&Pair::log(ORIGIN), 5, 9), None, None);
    assert_eq!((verdict.status(), verdict), (404, Verdict::UnknownLog));
}

#[test]
fn a_checkpoint_that_its_log_did_not_sign_is_forbidden() {
    let (log, other) = (Pair::log(ORIGIN), Pair::log(ORIGIN));
    let refused = verdict(&request(&other, 5, 9), &known(&[&log]));
    assert_eq!((refused.status(), refused), (403, Verdict::NotSigned(NoteError::Unsigned)));
}

#[test]
fn a_bad_signature_of_a_trusted_key_is_forbidden_beside_a_good_one() {
    let (log, second) = (Pair::log(ORIGIN), Pair::log("second"));
    let keys = known(&[&log, &second]);
    let bad = second.signed(head(8)).to_string();
    let body = format!("{}{}\n", request(&log, 5, 9), bad.lines().last().unwrap());
    let request = AddCheckpoint::parse(body.as_bytes()).unwrap();
    let refused = NoteError::BadSignature { key: second.key.name().clone() };
    assert_eq!(verdict(&request, &keys), Verdict::NotSigned(refused));
    assert_eq!(verdict(&request, &known(&[&log])), Verdict::Cosign(head(9)));
}

#[test]
fn an_old_size_beyond_the_new_one_is_a_bad_request() {
    let log = Pair::log(ORIGIN);
    let request = AddCheckpoint::new(10, Vec::new(), log.signed(head(9)));
    let refused = verdict(&request, &known(&[&log]));
    assert_eq!((refused.status(), refused), (400, Verdict::Shrinks));
}

#[test]
fn an_old_size_that_is_not_the_latest_is_told_the_latest() {
    let log = Pair::log(ORIGIN);
    let keys = known(&[&log]);
    for (old, new) in [(4, 9), (6, 9), (0, 9), (3, 4), (0, 0)] {
        let refused = verdict(&request(&log, old, new), &keys);
        assert_eq!((refused.status(), refused), (409, Verdict::Conflict { size: 5 }), "{old} to {new}");
    }
    let never = decide(&request(&log, 4, 9), Some(&keys), None);
    assert_eq!(never, Verdict::Conflict { size: 0 });
}

#[test]
fn a_log_that_rolls_back_is_not_cosigned_whatever_it_claims_to_know() {
    let log = Pair::log(ORIGIN);
    let keys = known(&[&log]);
    for old in 0..9 {
        let back = AddCheckpoint::new(old, Vec::new(), log.signed(head(4)));
        assert_ne!(verdict(&back, &keys).status(), 200, "{old}");
    }
}

#[test]
fn a_log_that_forks_is_not_cosigned() {
    let log = Pair::log(ORIGIN);
    let keys = known(&[&log]);
    let mut forked = leaves(9);
    forked[0] = Hash::leaf(b"another");
    let fork = |size: usize, hashes| {
        let checkpoint = Checkpoint::new(ORIGIN, number(size), root(&forked[..size])).unwrap();
        AddCheckpoint::new(5, hashes, log.signed(checkpoint))
    };
    let refused = verdict(&fork(9, consistency(5, &forked)), &keys);
    assert_eq!(refused.status(), 422);
    assert!(matches!(refused, Verdict::Inconsistent(ProofError::OldRoot { .. })), "{refused:?}");
    let refused = verdict(&fork(5, Vec::new()), &keys);
    let (found, expected) = (*head(5).root(), root(&forked[..5]));
    assert_eq!(refused, Verdict::Inconsistent(ProofError::Root { found, expected }));
}

#[test]
fn a_proof_where_none_belongs_is_refused() {
    let log = Pair::log(ORIGIN);
    let keys = known(&[&log]);
    let one = vec![Hash::leaf(b"")];
    let length = Verdict::Inconsistent(ProofError::Length { found: 1 });
    let first = AddCheckpoint::new(0, one.clone(), log.signed(head(9)));
    assert_eq!(decide(&first, Some(&keys), None), length);
    let same = AddCheckpoint::new(5, one, log.signed(head(5)));
    assert_eq!(verdict(&same, &keys), length);
}

#[test]
fn an_empty_tree_has_one_root() {
    let log = Pair::log(ORIGIN);
    let checkpoint = Checkpoint::new(ORIGIN, 0, Hash::leaf(b"")).unwrap();
    let request = AddCheckpoint::new(0, Vec::new(), log.signed(checkpoint));
    let refused = decide(&request, Some(&known(&[&log])), None);
    let (found, expected) = (Hash::leaf(b""), Hash::empty_root());
    assert_eq!(refused, Verdict::Inconsistent(ProofError::Root { found, expected }));
}

#[test]
fn a_request_with_any_bit_flipped_is_not_cosigned() {
    let log = Pair::log(ORIGIN);
    let keys = known(&[&log]);
    for bytes in flipped(&request(&log, 5, 9).to_string()) {
        let Ok(read) = AddCheckpoint::parse(&bytes) else { continue };
        assert_ne!(verdict(&read, &keys).status(), 200, "{}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn a_log_takes_the_cosignatures_of_the_witnesses_it_knows() {
    let (log, witness, stranger) =
        (Pair::log(ORIGIN), Pair::witness("w.example"), Pair::witness("x.example"));
    let mut checkpoint = log.signed(head(5));
    let line = |pair: &Pair| {
        let signature = pair.sign(&checkpoint.cosignature_message(NOW));
        checkpoint.cosignature(&pair.key, NOW, &signature).unwrap()
    };
    let body = cosigned_body(&[line(&witness), line(&stranger)]);
    let Ok(Answer::Cosigned(lines)) = Answer::parse(200, None, body.as_bytes()) else { panic!("{body}") };
    assert_eq!(checkpoint.merge(lines, &known(&[&witness])), Ok(1));
    let keys = known(&[&witness, &stranger]);
    let (_, verified) = checkpoint.verify(&keys).unwrap();
    let signers: Vec<&VerifierKey> = verified.signers().iter().map(|(key, _)| *key).collect();
    assert_eq!(signers, [&witness.key]);
}

#[test]
fn answers_are_read_by_status_and_type() {
    let knows = |size| Ok(Answer::Knows { size });
    assert_eq!(Answer::parse(409, Some(SIZE_TYPE), conflict_body(20_852_014).as_bytes()), knows(20_852_014));
    assert_eq!(Answer::parse(409, Some(SIZE_TYPE), b"0\n"), knows(0));
    let syntax = Err(WitnessError::Syntax { expected: "size with a newline" });
    for body in ["", "1", "01\n", "1\n\n", "-1\n", "x\n"] {
        assert_eq!(Answer::parse(409, Some(SIZE_TYPE), body.as_bytes()), syntax, "{body:?}");
    }
    for (status, content_type) in
        [(409, None), (409, Some("text/plain")), (404, Some(SIZE_TYPE)), (500, None), (201, None)]
    {
        assert_eq!(Answer::parse(status, content_type, b"1\n"), Ok(Answer::Refused { status }));
    }
    assert!(matches!(Answer::parse(200, None, b""), Err(WitnessError::Signatures(_))));
    assert!(matches!(Answer::parse(200, None, b"\n"), Err(WitnessError::Signatures(_))));
    assert!(matches!(Answer::parse(200, None, b"\xff"), Err(WitnessError::Syntax { .. })));
    let (found, limit) = (MAX_ANSWER_LEN + 1, MAX_ANSWER_LEN);
    assert_eq!(Answer::parse(200, None, &vec![b'a'; found]), Err(WitnessError::TooLong { found, limit }));
}

#[test]
fn the_latest_checkpoint_of_a_log_is_found_by_the_hash_of_its_origin() {
    let expected = "a379a6f6eeafb9a55e378c118034e2751e682fab9f2d30ab13d2125586ce1947/checkpoint";
    assert_eq!(checkpoint_path("example.com"), expected);
}

proptest! {
    #[test]
    fn a_request_reads_as_it_was_written(
        old in 0..=crate::tlog::merkle::MAX_SIZE,
        seeds in proptest::collection::vec(any::<[u8; 32]>(), 0..=63),
    ) {
        let hashes = seeds.into_iter().map(Hash::from_bytes).collect();
        let request = AddCheckpoint::new(old, hashes, Pair::log(ORIGIN).signed(head(1)));
        prop_assert_eq!(AddCheckpoint::parse(request.to_string().as_bytes()), Ok(request));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, status: u16, text: String) {
        let _ = (AddCheckpoint::parse(&bytes), AddCheckpoint::parse(format!("old 1\n{text}").as_bytes()));
        let _ = (Answer::parse(status, None, &bytes), Answer::parse(200, None, text.as_bytes()));
        let _ = Answer::parse(409, Some(SIZE_TYPE), &bytes);
    }
}
