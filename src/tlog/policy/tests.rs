//! Policies: what is one, and what satisfies it.

use super::*;
use crate::tlog::merkle::Hash;
use crate::tlog::scene_tests::{NOW, ORIGIN, Pair, scene};
use proptest::prelude::*;

/// Keys of a log and of six witnesses, and the example of the text with them, less its comments.
fn example() -> (Pair, Vec<Pair>, String) {
    let log = Pair::log(ORIGIN);
    let names = ["X1", "X2", "X3", "Y1", "Y2", "Y3"];
    let pairs = names.map(|name| Pair::witness(&format!("{name}.example")));
    let witnesses: Vec<_> =
        names.iter().zip(&pairs).map(|(name, pair)| format!("witness {name} {}\n", pair.key)).collect();
    let text = format!(
        "log {}\n\n{}group X-witnesses 2 X1 X2 X3\ngroup Y-witnesses any Y1 Y2 Y3\n\
         group X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n",
        log.key,
        witnesses.concat()
    );
    (log, pairs.into(), text)
}

fn policy(text: &str) -> Policy {
    Policy::parse(text.as_bytes()).unwrap()
}

fn refused(text: &str) -> PolicyError {
    Policy::parse(text.as_bytes()).unwrap_err()
}

#[test]
fn the_policy_of_the_text_asks_for_two_of_one_side_and_one_of_the_other() {
    let (log, pairs, text) = example();
    let policy = policy(&text);
    for chosen in 0_u32..1 << 6 {
        let mut checkpoint = log.checkpoint(1, Hash::leaf(b""));
        let cosigners: Vec<_> = pairs.iter().enumerate().filter(|(n, _)| chosen >> n & 1 == 1).collect();
        for (_, pair) in &cosigners {
            checkpoint = pair.cosign(checkpoint, NOW);
        }
        let enough = (chosen & 0b111).count_ones() >= 2 && chosen >> 3 > 0;
        let names = cosigners.iter().map(|(n, _)| ["X1", "X2", "X3", "Y1", "Y2", "Y3"][*n].to_owned());
        match policy.check(&checkpoint) {
            Ok(accepted) => {
                assert!(enough, "{chosen:06b}");
                let expected: Vec<_> = names.map(|name| (name, NOW)).collect();
                assert_eq!((accepted.cosigned(), accepted.witnessing()), (&*expected, Witnessing::Quorum));
                assert_eq!(accepted.checkpoint().size(), 1);
            }
            Err(error) => {
                assert!(!enough, "{chosen:06b}");
                assert_eq!(error, Refusal::NoQuorum { cosigned: names.collect() });
            }
        }
    }
}

#[test]
fn quorum_none_is_accepted_and_told_as_such() {
    let (log, _, policy) = scene(0, "any");
    let accepted = policy.check(&log.checkpoint(1, Hash::leaf(b""))).unwrap();
    assert_eq!((policy.witnessing(), accepted.witnessing()), (Witnessing::NotAsked, Witnessing::NotAsked));
    assert_eq!(accepted.cosigned(), []);
}

#[test]
fn a_cosigned_checkpoint_that_its_log_did_not_sign_is_refused() {
    let (_, witnesses, policy) = scene(1, "any");
    let stolen = Pair::log(ORIGIN);
    let checkpoint = witnesses[0].cosign(stolen.checkpoint(1, Hash::leaf(b"")), NOW);
    let origin = ORIGIN.to_owned();
    assert_eq!(policy.check(&checkpoint), Err(Refusal::NotByItsLog { origin }));
}

#[test]
fn a_log_speaks_for_its_own_origin_alone() {
    let (one, two) = (Pair::log("one.example"), Pair::log("two.example"));
    let both = policy(&format!("log {}\nlog {}\nquorum none\n", one.key, two.key));
    let of = |origin: &str| Checkpoint::new(origin, 1, Hash::leaf(b"")).unwrap();
    assert!(both.check(&one.signed(of("one.example"))).is_ok());
    let origin = "two.example".to_owned();
    assert_eq!(both.check(&one.signed(of("two.example"))), Err(Refusal::NotByItsLog { origin }));
    let origin = "three.example".to_owned();
    assert_eq!(both.check(&one.signed(of("three.example"))), Err(Refusal::UnknownLog { origin }));
}

#[test]
fn a_bad_cosignature_of_a_witness_that_is_not_needed_refuses_the_checkpoint() {
    let (log, witnesses, policy) = scene(2, "any");
    let good = witnesses[0].cosign(log.checkpoint(1, Hash::leaf(b"")), NOW);
    assert!(policy.check(&good).is_ok());
    let other = witnesses[1].cosign(log.checkpoint(2, Hash::leaf(b"")), NOW).to_string();
    let bad = format!("{good}{}\n", other.lines().last().unwrap());
    let key = witnesses[1].key.name().clone();
    let checkpoint = SignedCheckpoint::parse(bad.as_bytes()).unwrap();
    assert_eq!(policy.check(&checkpoint), Err(Refusal::Note(NoteError::BadSignature { key })));
}

#[test]
fn one_witness_that_cosigns_twice_is_no_quorum_of_two() {
    let (log, witnesses, policy) = scene(2, "2");
    let once = witnesses[0].cosign(log.checkpoint(1, Hash::leaf(b"")), NOW);
    let again = witnesses[0].cosign(log.checkpoint(1, Hash::leaf(b"")), NOW + 1).to_string();
    let twice = format!("{once}{}\n", again.lines().last().unwrap());
    let cosigned = vec!["w1".to_owned()];
    let checkpoint = SignedCheckpoint::parse(twice.as_bytes()).unwrap();
    assert_eq!(policy.check(&checkpoint), Err(Refusal::NoQuorum { cosigned }));
}

#[test]
fn a_policy_without_logs_accepts_nothing() {
    let origin = ORIGIN.to_owned();
    let checkpoint = Pair::log(ORIGIN).checkpoint(1, Hash::leaf(b""));
    assert_eq!(policy("quorum none\n").check(&checkpoint), Err(Refusal::UnknownLog { origin }));
}

#[test]
fn comments_spaces_tabs_and_addresses_are_read() {
    let (log, witness) = (Pair::log(ORIGIN), Pair::witness("w.example"));
    let text = format!(
        "# log of tests \u{1f600}\n \t\n\tlog  {}\thttps://example.com/log \nwitness wü {} https://w.example/\n  # done\nquorum wü\n",
        log.key, witness.key
    );
    let policy = policy(&text);
    assert_eq!((policy.logs()[0].key(), policy.logs()[0].url()), (&log.key, Some("https://example.com/log")));
    let [one] = policy.witnesses() else { panic!("one witness") };
    assert_eq!((&*one.name(), one.key(), one.url()), ("wü", &witness.key, Some("https://w.example/")));
}

#[test]
fn names_are_bytes_and_need_not_be_text() {
    let witness = Pair::witness("w.example");
    let name = |name: &[u8]| {
        [b"witness ".as_slice(), b"\xff", format!(" {}\nquorum ", witness.key).as_bytes(), name, b"\n"]
            .concat()
    };
    assert!(Policy::parse(&name(b"\xff")).is_ok());
    assert!(matches!(Policy::parse(&name(b"\xfe")), Err(PolicyError::Line { line: 2, .. })));
}

#[test]
fn lines_that_say_nothing_are_refused() {
    for text in [
        "log",
        "log a b c",
        "witness a",
        "witness a b c d",
        "group g any",
        "group g",
        "quorum",
        "quorum a b",
        "logs a",
        "Quorum none",
    ] {
        let problem = LineError::Syntax;
        assert_eq!(refused(&format!("\n{text}\n")), PolicyError::Line { line: 2, problem }, "{text}");
    }
    assert_eq!(refused("quorum none\r\n"), PolicyError::Control { line: 1 });
    assert_eq!(refused("\nquorum\u{b}none\n"), PolicyError::Control { line: 2 });
    assert_eq!(refused("quorum none"), PolicyError::Unterminated);
    assert_eq!(refused(""), PolicyError::Unterminated);
    assert_eq!(refused("\n"), PolicyError::NoQuorum);
}

/// The problem of the line added behind witnesses `a`, `b` and `c`.
fn problem_of(line: &str) -> LineError {
    let pairs = ["a", "b", "c"].map(|name| (name, Pair::witness(name)));
    let witnesses = pairs.map(|(name, pair)| format!("witness {name} {}\n", pair.key));
    match refused(&format!("{}{line}\n", witnesses.concat())) {
        PolicyError::Line { problem, .. } => problem,
        other => panic!("{line}: {other}"),
    }
}

#[test]
fn names_are_defined_once_and_before_they_are_used() {
    let unknown = |name: &str| LineError::Unknown { name: name.to_owned() };
    let taken = |name: &str| LineError::Taken { name: name.to_owned() };
    assert_eq!(problem_of("quorum d"), unknown("d"));
    assert_eq!(problem_of("group g any g"), unknown("g"));
    assert_eq!(problem_of("group g any h\ngroup h any a"), unknown("h"));
    assert_eq!(problem_of("group g any none"), unknown("none"));
    assert_eq!(problem_of("group a any b"), taken("a"));
    assert_eq!(problem_of("group none any b"), taken("none"));
    let another = Pair::witness("d").key;
    assert_eq!(problem_of(&format!("witness a {another}")), taken("a"));
    assert_eq!(problem_of(&format!("witness none {another}")), taken("none"));
    assert_eq!(problem_of("quorum a\nquorum a"), LineError::SecondQuorum);
    assert_eq!(problem_of("quorum none\nquorum a"), LineError::SecondQuorum);
}

#[test]
fn a_name_is_a_member_once() {
    let twice = LineError::MemberTwice { name: "a".into() };
    assert_eq!(problem_of("group g 2 a b a"), twice);
    assert_eq!(problem_of("group g any a\ngroup h any a b"), twice);
}

#[test]
fn a_group_asks_for_one_to_all_of_its_members() {
    for found in ["0", "3", "02", "-1", "+1", "ALL", "some", "99999999999999999999"] {
        let expected = LineError::Threshold { members: 2, found: found.to_owned() };
        assert_eq!(problem_of(&format!("group g {found} a b")), expected);
    }
}

#[test]
fn keys_serve_what_their_kind_is_for() {
    let (log, witness) = (Pair::log("l").key, Pair::witness("w").key);
    assert_eq!(problem_of(&format!("witness l {log}")), LineError::Kind { key: "l".into() });
    assert_eq!(problem_of(&format!("log {witness}")), LineError::Kind { key: "w".into() });
    assert!(matches!(problem_of("log nonsense"), LineError::Key(KeyError::Syntax { .. })));
}

#[test]
fn a_key_is_in_a_policy_once_and_a_log_is_not_its_own_witness() {
    let (log, witness) = (Pair::log("l"), Pair::witness("w"));
    let again = witness.vkey_as("v", KeyKind::Witness);
    let text = format!("witness one {}\nwitness two {again}\nquorum one\n", witness.key);
    assert!(matches!(refused(&text), PolicyError::Key(KeyError::Duplicate { .. })));
    let own = log.vkey_as("l", KeyKind::Witness);
    let text = format!("log {}\nwitness own {own}\nquorum own\n", log.key);
    assert!(matches!(refused(&text), PolicyError::Key(KeyError::Duplicate { .. })));
    let text = format!("log {0}\nlog {0}\nquorum none\n", log.key);
    assert!(matches!(refused(&text), PolicyError::Key(KeyError::Duplicate { .. })));
}

#[test]
fn size_and_counts_are_bounded() {
    let found = MAX_POLICY_LEN + 1;
    assert_eq!(refused(&"\n".repeat(found)), PolicyError::TooLong { found });
    let too_many = |line| PolicyError::Line { line, problem: LineError::TooMany };
    let logs: Vec<_> = (0..65).map(|n| format!("log {}\n", Pair::log(&format!("l{n}")).key)).collect();
    assert_eq!(refused(&logs.concat()), too_many(65));
    let witness = |n| format!("witness w{n} {}\n", Pair::witness(&format!("w{n}")).key);
    let witnesses: Vec<_> = (0..65).map(witness).collect();
    assert_eq!(refused(&witnesses.concat()), too_many(65));
    let groups: Vec<_> = (0..65)
        .map(|n| format!("group g{n} any {}\n", if n == 0 { "w0".into() } else { format!("g{}", n - 1) }))
        .collect();
    assert_eq!(refused(&(witness(0) + &groups.concat())), too_many(66));
    let deep = witness(0) + &groups[..64].concat() + "quorum g63\n";
    assert!(Policy::parse(deep.as_bytes()).is_ok());
}

#[test]
fn a_policy_cut_short_anywhere_is_none() {
    let (_, _, text) = example();
    for end in 0..text.len() {
        assert!(Policy::parse(&text.as_bytes()[..end]).is_err(), "{end}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        bytes: Vec<u8>, text in "((log|witness|group|quorum|#)( (a|b|none|any|all|1))*\n){0,6}",
    ) {
        let _ = (Policy::parse(&bytes), Policy::parse(text.as_bytes()));
    }
}
