//! Hostile but signed metadata, and hostile requests: refused with a reason, quickly, without a panic.

use std::time::{Duration, Instant};

use wheelseal::client::ClientError;
use wheelseal::tuf::path::TargetPath;
use wheelseal::tuf::trusted::Limits;

use crate::simulator::{Repo, User, below, key, malformed, not_signed};

/// Why the client refuses a published file that was changed and signed again.
fn refused(file: &str, edit: impl FnOnce(String) -> String) -> Option<String> {
    let mut repo = Repo::new();
    repo.delegate("targets", "A", &["*"]);
    repo.add_file("A", "file", b"content");
    repo.release_role("targets");
    let role = file.trim_end_matches(".json").trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    repo.resign(file, role, edit);
    let mut user = User::new(&repo);
    user.limits = Limits {
        root: 100_000_000,
        timestamp: 100_000_000,
        snapshot: 100_000_000,
        targets: 100_000_000,
        ..user.limits
    };
    let start = Instant::now();
    let refused = malformed(user.find("file"));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    refused
}

const FILES: [(&str, &str); 5] = [
    ("1.root.json", "root"),
    ("timestamp.json", "timestamp"),
    ("2.snapshot.json", "snapshot"),
    ("2.targets.json", "targets"),
    ("1.A.json", "A"),
];

/// The role as errors of its form name it.
fn type_of(role: &str) -> &str {
    if role == "A" { "targets" } else { role }
}

#[test]
fn absurd_versions_are_refused() {
    let integer = |shown: &str| format!("is {shown}, expected an integer from 1 to 2^64 - 1");
    for (file, role) in FILES {
        for (version, shown) in [
            ("0", "0"),
            ("-1", "-1"),
            ("-0", "0"),
            ("18446744073709551616", "18446744073709551616"),
            ("\"1\"", "\"1\""),
            ("null", "null"),
            ("[1]", "an array"),
            ("true", "true"),
        ] {
            // The last one: in snapshot and timestamp, `meta` comes before the file's own version.
            let edit = |text: String| {
                let at = text.rfind("\"version\":").unwrap() + "\"version\":".len();
                format!("{}{version}}}", &text[..at])
            };
            let expected = format!("{role}: \"version\" in {} {}", type_of(role), integer(shown));
            assert_eq!(refused(file, edit), Some(expected), "{version}");
        }
    }
}

#[test]
fn numbers_that_are_no_integers_are_no_canonical_json() {
    for (file, role) in FILES {
        for number in ["1e3", "1.0", "1E+2", "0.5"] {
            let reason = refused(file, |text| {
                text.replace("\"spec_version\"", &format!("\"x\":{number},\"spec_version\""))
            })
            .unwrap();
            assert!(
                reason.starts_with(&format!("{role}: not valid JSON: a number with a fraction or exponent")),
                "{reason}"
            );
        }
        let reason =
            refused(file, |text| text.replace("\"spec_version\"", "\"x\":01,\"spec_version\"")).unwrap();
        assert!(reason.contains("expected a digit, without leading zeros"), "{reason}");
    }
}

#[test]
fn absurd_versions_of_others_in_timestamp_and_snapshot_are_refused() {
    for (file, role) in [("timestamp.json", "timestamp"), ("2.snapshot.json", "snapshot")] {
        for version in ["0", "-1", "18446744073709551616", "\"2\""] {
            let reason = refused(file, |text| {
                text.replacen("{\"version\":", &format!("{{\"version\":{version},\"x\":"), 1)
            });
            let expected = format!(
                "{role}: \"version\" in a metadata file's entry is {version}, expected an integer from 1 to 2^64 - 1"
            );
            assert_eq!(reason, Some(expected));
        }
    }
}

#[test]
fn absurd_thresholds_are_refused() {
    for (file, within) in [("1.root.json", "a role"), ("2.targets.json", "a delegated role")] {
        for threshold in ["0", "-1", "18446744073709551616", "\"1\""] {
            let reason = refused(file, |text| {
                text.replacen("\"threshold\":1", &format!("\"threshold\":{threshold}"), 1)
            })
            .unwrap();
            let expected =
                format!("\"threshold\" in {within} is {threshold}, expected an integer from 1 to 2^64 - 1");
            assert!(reason.ends_with(&expected), "{reason}");
        }
    }
}

#[test]
fn absurd_lengths_and_hashes_of_a_target_are_refused() {
    for (from, to, reason) in [
        (
            "\"length\":7",
            "\"length\":-7",
            "\"length\" in a target is -7, expected an integer from 0 to 2^64 - 1",
        ),
        (
            "\"length\":7",
            "\"length\":\"7\"",
            "\"length\" in a target is \"7\", expected an integer from 0 to 2^64 - 1",
        ),
        ("\"sha256\":\"", "\"sha256\":\"00", "expected a digest in lower-case hexadecimal"),
        ("\"sha256\":\"", "\"sha256\":\"\",\"x\":\"", "expected a digest in lower-case hexadecimal"),
    ] {
        let found = refused("1.A.json", |text| text.replacen(from, to, 1)).unwrap();
        assert!(found.ends_with(reason), "{found}");
    }
}

#[test]
fn duplicate_keys_are_refused_wherever_they_are() {
    for (file, role) in FILES {
        for (edit, twice) in
            [("\"_type\"", "\"_type\":\"x\",\"_type\""), ("\"_type\"", "\"\\u005ftype\":\"x\",\"_type\"")]
        {
            let reason = refused(file, |text| text.replacen(edit, twice, 1)).unwrap();
            assert!(
                reason.starts_with(&format!("{role}: not valid JSON: duplicate key \"_type\"")),
                "{reason}"
            );
        }
    }
    let repo = Repo::new();
    repo.server
        .edit("timestamp.json", |text| text.replacen("{\"signatures\"", "{\"signed\":{},\"signatures\"", 1));
    let reason = malformed(User::new(&repo).refresh()).unwrap();
    assert!(reason.contains("duplicate key \"signed\""), "{reason}");
}

#[test]
fn deep_nesting_is_refused() {
    for (file, role) in FILES {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let deep = format!("{}1{}", open.repeat(10_000), close.repeat(10_000));
            let reason =
                refused(file, |text| text.replacen("\"_type\"", &format!("\"a\":{deep},\"_type\""), 1))
                    .unwrap();
            assert!(
                reason.starts_with(&format!("{role}: not valid JSON: nested deeper than 64 levels")),
                "{reason}"
            );
        }
    }
}

#[test]
fn a_key_id_of_ten_megabytes_is_refused_and_not_repeated() {
    let long = "k".repeat(10_000_000);
    let short = |reason: Option<String>| {
        let reason = reason.unwrap();
        assert!(
            reason.ends_with("is 10000000 bytes long, expected 1 to 1,024 bytes without control characters"),
            "{reason:.200}"
        );
        assert!(reason.len() < 300);
    };
    let listed = format!("\"keyids\":[\"{long}\",");
    short(refused("2.targets.json", |text| text.replacen("\"keyids\":[", &listed, 1)));
    let repo = Repo::new();
    let signature = format!("\"signatures\":[{{\"keyid\":\"{long}\",\"sig\":\"\"}},");
    repo.server.edit("timestamp.json", |text| text.replacen("\"signatures\":[", &signature, 1));
    let mut user = User::new(&repo);
    user.limits.timestamp = 100_000_000;
    short(malformed(user.refresh()));
}

#[test]
fn a_role_name_of_a_megabyte_is_refused_and_not_repeated() {
    let long = "n".repeat(1_000_000);
    let reason =
        refused("2.targets.json", |text| text.replacen("\"name\":\"A\"", &format!("\"name\":\"{long}\""), 1))
            .unwrap();
    assert!(
        reason.ends_with("is refused: it is too long for a file name") && reason.len() < 300,
        "{reason:.200}"
    );
}

/// On some file systems its file would be the top-level role's.
#[test]
fn a_role_name_that_differs_from_a_top_level_one_in_case_alone_is_refused() {
    for name in ["Root", "TIMESTAMP", "sNapshot", "Targets", "targets"] {
        let reason = refused("2.targets.json", |text| {
            text.replacen("\"name\":\"A\"", &format!("\"name\":\"{name}\""), 1)
        })
        .unwrap();
        assert!(reason.ends_with("is refused: it belongs to a top-level role"), "{reason}");
    }
}

/// They would speak to the terminal wherever the name is shown.
#[test]
fn names_of_roles_and_keys_with_control_characters_are_refused_and_not_repeated() {
    for escape in ["\\u0000", "\\n", "\\u001b[2J", "\\u007f", "\\u009b31m"] {
        let reasons = [
            refused("2.targets.json", |text| {
                text.replacen("\"name\":\"A\"", &format!("\"name\":\"A{escape}\""), 1)
            }),
            refused("2.targets.json", |text| {
                text.replacen("\"keyids\":[", &format!("\"keyids\":[\"{escape}\","), 1)
            }),
            refused("2.targets.json", |text| {
                text.replacen("\"keys\":{", &format!("\"keys\":{{\"{escape}\":{{}},"), 1)
            }),
        ];
        for reason in reasons {
            let reason = reason.unwrap();
            assert!(reason.contains("control character"), "{escape}: {reason}");
            assert!(!reason.contains(char::is_control), "{escape}: {reason:?}");
        }
    }
}

#[test]
fn a_role_that_is_delegated_to_twice_by_one_delegator_is_refused() {
    let mut repo = Repo::new();
    repo.delegate("targets", "A", &["a"]);
    repo.delegate_to("targets", "A", &["b"], &[key(66)]);
    repo.release_role("targets");
    let reason = malformed(User::new(&repo).refresh()).unwrap();
    assert_eq!(
        reason,
        "targets: \"roles\" in delegations is a list with \"A\" twice, expected each role once"
    );
}

#[test]
fn both_forms_of_delegation_at_once_are_refused() {
    let bins = "\"succinct_roles\":{\"bit_length\":1,\"keyids\":[],\"name_prefix\":\"b\",\"threshold\":1}";
    let reason = refused("2.targets.json", |text| {
        text.replacen("\"delegations\":{", &format!("\"delegations\":{{{bins},"), 1)
    });
    let expected = "targets: \"roles\" in delegations is an array, expected no roles beside succinct_roles";
    assert_eq!(reason.as_deref(), Some(expected));
    let reason = refused("2.targets.json", |text| {
        text.replacen("\"paths\"", "\"path_hash_prefixes\":[],\"paths\"", 1)
    });
    let expected =
        "targets: \"paths\" in a delegated role is an array, expected no paths beside path_hash_prefixes";
    assert_eq!(reason.as_deref(), Some(expected));
}

#[test]
fn control_characters_must_be_escaped() {
    for c in ['\0', '\n', '\t', '\x1f'] {
        let reason = refused("timestamp.json", |text| {
            text.replacen("\"_type\"", &format!("\"a\":\"{c}\",\"_type\""), 1)
        })
        .unwrap();
        assert!(reason.contains("control characters must be escaped"), "{reason}");
    }
    let escaped = |text: String| text.replacen("\"_type\"", "\"a\":\"\\u0000\\n\\u001f\u{7f}\",\"_type\"", 1);
    assert_eq!(refused("timestamp.json", escaped), None);
}

#[test]
fn bytes_that_are_not_utf8_are_refused() {
    let repo = Repo::new();
    let mut bytes = repo.server.bytes("timestamp.json");
    bytes[20] = 0xff;
    repo.server.put("timestamp.json", bytes);
    assert_eq!(
        malformed(User::new(&repo).refresh()).as_deref(),
        Some("timestamp: not valid JSON: not UTF-8 at byte 20")
    );
}

#[test]
fn what_is_no_metadata_at_all_is_refused() {
    for (body, reason) in [
        ("", "not valid JSON: expected a value at byte 0"),
        ("<!DOCTYPE html>", "not valid JSON: expected a value at byte 0"),
        ("null", "\"metadata\" in metadata is null, expected an object"),
        ("{}", "metadata has no \"signed\""),
        ("{\"signed\":{}}", "metadata has no \"signatures\""),
        ("{\"signed\":{},\"signatures\":{}}", "\"signatures\" in metadata is an object, expected an array"),
        ("{\"signed\":{},\"signatures\":[]} x", "not valid JSON: expected end of input at byte 30"),
    ] {
        let repo = Repo::new();
        repo.server.put("timestamp.json", body);
        let user = User::new(&repo);
        assert_eq!(malformed(user.refresh()), Some(format!("timestamp: {reason}")));
        assert_eq!(user.cached(), "root 1");
    }
    let repo = Repo::new();
    repo.server.put("timestamp.json", "{\"signed\":5,\"signatures\":[]}");
    assert_eq!(
        User::new(&repo).refresh(),
        Err(below("timestamp", "root", 0, 1)),
        "signatures come before content"
    );
}

#[test]
fn target_paths_that_lead_elsewhere_cannot_be_asked_for() {
    for (path, reason) in [
        ("../file", "it has an empty, '.' or '..' segment"),
        ("a/../../file", "it has an empty, '.' or '..' segment"),
        ("/etc/passwd", "it is absolute"),
        ("", "it is empty"),
        ("a//b", "it has an empty, '.' or '..' segment"),
        ("dir/", "it has an empty, '.' or '..' segment"),
        ("a\\..\\b", "it has a control character or backslash"),
        ("a\nb", "it has a control character or backslash"),
        (&"x".repeat(801), "it is too long"),
    ] {
        assert_eq!(TargetPath::new(path).unwrap_err().reason, reason, "{path:?}");
    }
}

#[test]
fn target_paths_that_lead_elsewhere_may_be_listed_without_harm() {
    let mut repo = Repo::new();
    repo.add_file("targets", "file", b"content");
    let target = repo.targets.targets.get("file").unwrap().clone();
    for path in ["../file", "/etc/passwd", "", "a//b", "a\\b", "a\u{0}b"] {
        repo.targets.targets.insert(path, target.clone());
    }
    repo.release_role("targets");
    let user = User::new(&repo);
    assert_eq!(user.download("file"), Ok(true));
    assert_eq!(user.downloaded(), [("file".to_owned(), "content".to_owned())]);
    assert_eq!(user.download("etc/passwd"), Err(not_signed("etc/passwd")));
}

#[test]
fn a_target_that_claims_the_largest_length_is_no_trouble() {
    let mut repo = Repo::new();
    repo.add_file("targets", "file", b"content");
    repo.targets.targets.get_mut("file").unwrap().length = u64::MAX;
    repo.release_role("targets");
    let user = User::new(&repo);
    let error = user.download("file").unwrap_err();
    assert!(matches!(&error, ClientError::File(_)), "{error}");
    assert_eq!(error.to_string(), "file has 7 bytes, signed are 18446744073709551615");
}

#[test]
fn a_hostile_pattern_costs_no_exponential_time() {
    let mut repo = Repo::new();
    repo.delegate("targets", "A", &[&"*a".repeat(5_000), &"*".repeat(100_000), "*b"]);
    repo.release_role("targets");
    let start = Instant::now();
    let path = "a".repeat(799);
    assert_eq!(User::new(&repo).find(&path), Err(not_signed(&path)));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}
