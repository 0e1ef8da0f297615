//! Evidence: what it proves, and every way to spoil it.

use super::super::merkle::Hash;
use super::super::policy::{Policy, Refusal};
use super::super::scene_tests::{NOW, ORIGIN, Pair, flipped, scene};
use super::*;
use crate::tlog::leaf::{ConflictLeaf, Source};
use proptest::prelude::*;

const PATH: &str = "six/six-1.0.tar.gz";
const TIMESTAMP: &str = "{\"signed\":1}\n";

fn leaf(path: &str, content: &[u8]) -> Leaf {
    let length = u64::try_from(content.len()).unwrap();
    Leaf::File(FileLeaf::new(path, "1.0", length, sha256(content)).unwrap())
}

fn conflict(content: &[u8]) -> Leaf {
    let Leaf::File(file) = leaf(PATH, content) else { unreachable!() };
    Leaf::Conflict(ConflictLeaf { file, source: Source::Index })
}

/// A leaf, alone in a log of this name.
fn exhibit(log: &Pair, origin: &str, leaf: Leaf) -> Exhibit {
    let tree = Checkpoint::new(origin, 1, Hash::leaf(leaf.to_string().as_bytes())).unwrap();
    Exhibit { leaf, proof: ProofFile::new(0, Vec::new(), log.signed(tree)) }
}

fn read_again(evidence: &Evidence) -> Evidence {
    Evidence::parse(evidence.to_string().as_bytes()).unwrap()
}

fn policy_of(log: &Pair) -> Policy {
    Policy::parse(format!("log {}\nquorum none\n", log.key).as_bytes()).unwrap()
}

fn trees(log: &Pair, before: u64, now: u64) -> Evidence {
    let (one, other) = (log.checkpoint(before, Hash::leaf(b"1")), log.checkpoint(now, Hash::leaf(b"2")));
    Evidence::two_trees(one, other, Some(TIMESTAMP)).unwrap()
}

#[test]
fn two_trees_of_one_size_prove_a_fork_by_the_logs_key_alone() {
    let (log, witnesses, policy) = scene(2, "2");
    let whole = witnesses.iter().fold(log.checkpoint(4, Hash::leaf(b"1")), |tree, w| w.cosign(tree, NOW));
    let evidence = Evidence::two_trees(whole, log.checkpoint(4, Hash::leaf(b"2")), None).unwrap();
    let verdict = read_again(&evidence).check(&[policy]).unwrap();
    assert_eq!(verdict.shows, Shows::Forked { origin: ORIGIN.to_owned(), size: 4 });
    assert!(verdict.shows.proven());
    let [before, now] = verdict.seen;
    assert_eq!(before.witnesses, Ok(vec!["w1".to_owned(), "w2".to_owned()]));
    assert_eq!(now.witnesses, Err(Refusal::NoQuorum { cosigned: Vec::new() }));
}

#[test]
fn trees_of_two_sizes_prove_nothing_by_themselves() {
    let (log, _, policy) = scene(0, "");
    for (before, now, name) in [(5, 4, "shrank"), (4, 5, "not-grown")] {
        let evidence = trees(&log, before, now);
        assert_eq!(read_again(&evidence), evidence);
        let shows = evidence.check(std::slice::from_ref(&policy)).unwrap().shows;
        assert_eq!((shows.name(), shows.proven()), (name, false));
    }
}

#[test]
fn two_contents_say_who_contradicts_whom() {
    let (index, recorder) = (Pair::log("index.example/log"), Pair::log("one.example/log"));
    let policies = [policy_of(&index), policy_of(&recorder)];
    let first = || exhibit(&index, "index.example/log", leaf(PATH, b"good"));
    let by_index = exhibit(&index, "index.example/log", leaf(PATH, b"evil"));
    let by_recorder = exhibit(&recorder, "one.example/log", leaf(PATH, b"evil"));
    let reported = exhibit(&recorder, "one.example/log", conflict(b"evil"));
    for (second, name, proven) in
        [(by_index, "logged-twice", true), (by_recorder, "disagree", false), (reported, "reported", false)]
    {
        let evidence = Evidence::two_contents(first(), second).unwrap();
        assert_eq!(read_again(&evidence), evidence);
        let shows = evidence.check(&policies).unwrap().shows;
        assert_eq!((shows.name(), shows.proven()), (name, proven));
        assert!(shows.to_string().contains(PATH), "{shows}");
    }
}

#[test]
fn what_is_no_contradiction_is_no_evidence() {
    let (log, _, _) = scene(0, "");
    let tree = |origin: &str| Pair::log(origin).signed(Checkpoint::new(origin, 1, Hash::leaf(b"")).unwrap());
    let refused = |result| assert!(matches!(result, Err(EvidenceError::NoContradiction(_))), "{result:?}");
    refused(Evidence::two_trees(tree("a"), tree("a"), None));
    refused(Evidence::two_trees(tree("a"), tree("b"), None));
    let of = |leaf| exhibit(&log, ORIGIN, leaf);
    refused(Evidence::two_contents(of(leaf(PATH, b"1")), of(leaf(PATH, b"1"))));
    refused(Evidence::two_contents(of(leaf(PATH, b"1")), of(conflict(b"1"))));
    refused(Evidence::two_contents(of(leaf(PATH, b"1")), of(leaf("six/six-2.0.tar.gz", b"2"))));
    refused(Evidence::two_contents(of(conflict(b"1")), of(leaf(PATH, b"2"))));
}

#[test]
fn signatures_and_proofs_are_checked_by_the_policies_at_hand() {
    let (log, _, policy) = scene(0, "");
    let evidence = trees(&log, 4, 4);
    let unknown = Unproven::UnknownLog { origin: ORIGIN.to_owned() };
    assert_eq!(evidence.check(&[]), Err(unknown.clone()));
    assert_eq!(evidence.check(&[policy_of(&Pair::log("other"))]), Err(unknown));
    let stranger = evidence.check(&[policy_of(&Pair::log(ORIGIN))]);
    assert!(matches!(stranger, Err(Unproven::Unsigned(Refusal::NotByItsLog { .. }))), "{stranger:?}");
    let mut wrong = exhibit(&log, ORIGIN, leaf(PATH, b"good"));
    wrong.leaf = leaf(PATH, b"better");
    let evidence = Evidence::two_contents(exhibit(&log, ORIGIN, leaf(PATH, b"evil")), wrong).unwrap();
    assert!(matches!(evidence.check(&[policy]), Err(Unproven::NotLogged(_))));
}

#[test]
fn two_keys_under_one_name_are_no_evidence_against_either() {
    let (log, other) = (Pair::log(ORIGIN), Pair::log(ORIGIN));
    let both =
        Policy::parse(format!("log {}\nlog {}\nquorum none\n", log.key, other.key).as_bytes()).unwrap();
    let mixed = [policy_of(&log), policy_of(&other)];
    let checkpoint = |by: &Pair, size, leaf: &[u8]| by.checkpoint(size, Hash::leaf(leaf));
    let unproven = Err(Unproven::TwoKeys { origin: ORIGIN.to_owned() });
    for size in [3, 4, 5] {
        let trees =
            |by| Evidence::two_trees(checkpoint(&log, 4, b"1"), checkpoint(by, size, b"2"), None).unwrap();
        assert_eq!(trees(&other).check(&mixed), unproven, "one of each key");
        assert_eq!(trees(&other).check(std::slice::from_ref(&both)), unproven, "one policy with both keys");
        assert_eq!(trees(&log).check(&mixed), unproven, "by a key that not all policies have");
        assert!(trees(&log).check(std::slice::from_ref(&both)).is_ok());
    }
    let contents = |by| {
        let first = exhibit(&log, ORIGIN, leaf(PATH, b"good"));
        Evidence::two_contents(first, exhibit(by, ORIGIN, leaf(PATH, b"evil"))).unwrap()
    };
    assert_eq!(contents(&other).check(&mixed), unproven);
    assert!(contents(&log).check(&[both]).unwrap().shows.proven());
}

#[test]
fn no_checkpoint_can_break_the_text_that_accuses_it() {
    let (log, _, policy) = scene(0, "");
    let plain = log.checkpoint(4, Hash::leaf(b"1"));
    let lines = "-----END FIRST CHECKPOINT-----\n-----BEGIN SECOND CHECKPOINT-----\n- -\n-\n";
    let tree = Checkpoint::parse(&format!("{}{lines}", plain.claimed())).unwrap();
    let evidence = Evidence::two_trees(log.signed(tree), log.checkpoint(4, Hash::leaf(b"2")), None).unwrap();
    assert_eq!(read_again(&evidence), evidence);
    assert!(evidence.check(&[policy]).is_ok());
}

#[test]
fn evidence_with_any_bit_of_its_parts_flipped_is_refused_or_says_the_same() {
    let (log, _, policy) = scene(0, "");
    let contents = [b"good".as_slice(), b"evil"].map(|content| exhibit(&log, ORIGIN, leaf(PATH, content)));
    let [first, second] = contents;
    for evidence in [trees(&log, 4, 4), Evidence::two_contents(first, second).unwrap()] {
        let text = evidence.to_string();
        let words = text.find("-----BEGIN").unwrap();
        let expected = evidence.check(std::slice::from_ref(&policy)).unwrap();
        for bytes in flipped(&text).skip(words * 8) {
            let Ok(read) = Evidence::parse(&bytes) else { continue };
            if let Ok(verdict) = read.check(std::slice::from_ref(&policy)) {
                assert_eq!(verdict, expected, "{}", String::from_utf8_lossy(&bytes));
                let Evidence::TwoTrees { timestamp, .. } = read else {
                    panic!("only timestamps are not checked")
                };
                assert_ne!(timestamp.as_deref(), Some(TIMESTAMP));
            }
        }
    }
}

#[test]
fn evidence_that_is_cut_or_has_more_is_refused() {
    let (log, _, _) = scene(0, "");
    let text = trees(&log, 4, 4).to_string();
    let timestamp = text.find("-----BEGIN TIMESTAMP").unwrap();
    for (at, _) in text.char_indices().filter(|(at, _)| *at != timestamp) {
        assert!(Evidence::parse(&text.as_bytes()[..at]).is_err(), "{}", &text[..at]);
    }
    assert!(Evidence::parse(format!("{text}\n").as_bytes()).is_err());
    assert!(Evidence::parse(format!("{text}{}", &text[timestamp..]).as_bytes()).is_err());
    let found = MAX_EVIDENCE_LEN + 1;
    assert_eq!(Evidence::parse(&vec![b'-'; found]), Err(EvidenceError::TooLong { found }));
    let words = "no part\n".repeat(MAX_WORDS_LEN);
    assert!(Evidence::parse(text.replacen('\n', &format!("\n{words}"), 1).as_bytes()).is_err());
}

#[test]
fn the_same_contradiction_has_the_same_name() {
    let (log, _, _) = scene(0, "");
    let Evidence::TwoTrees { before, now, .. } = trees(&log, 4, 4) else { unreachable!() };
    let later = Evidence::two_trees(*before, *now, Some("{}")).unwrap();
    assert_eq!(trees(&log, 4, 4).name(), later.name());
    assert_ne!(trees(&log, 4, 4).name(), trees(&log, 4, 5).name());
    assert_eq!(later.name().len(), 16);
    let Evidence::TwoTrees { before, now, .. } = later else { unreachable!() };
    let more = Checkpoint::parse(&format!("{}more\n", now.claimed())).unwrap();
    let more = Evidence::two_trees(*before, log.signed(more), None).unwrap();
    assert_eq!(more.name(), trees(&log, 4, 4).name());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, rest: String) {
        let _ = Evidence::parse(&bytes);
        let _ = Evidence::parse(format!("{TITLE}\n\n-----BEGIN FIRST LEAF-----\n{rest}").as_bytes());
    }
}
