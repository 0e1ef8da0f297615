//! Root: version by version, under the thresholds of both old and new, kept before anything else is decided.

use chrono::Days;
use wheelseal::client::ClientError;
use wheelseal::tuf::metadata::TopLevel;
use wheelseal::tuf::trusted::TrustError;

use crate::simulator::{Repo, User, below, expired, expires, key, now, trust, wrong_version};

fn keys(seeds: &[u8]) -> Vec<std::sync::Arc<crate::simulator::Signer>> {
    seeds.iter().map(|seed| key(*seed)).collect()
}

/// A root version: the keys of root, the threshold, who signs it.
type Version = (&'static [u8], u64, &'static [u8]);

/// The newest root, or valid signatures and threshold that the failure tells.
type Outcome = Result<u64, (usize, u64)>;

#[test]
fn key_rotation_needs_the_thresholds_of_both_old_and_new() {
    let cases: [(&str, &[Version], Outcome); 18] = [
        ("nothing changes", &[(&[1], 1, &[1]), (&[1], 1, &[1])], Ok(2)),
        ("one to another, both sign", &[(&[1], 1, &[1]), (&[2], 1, &[1, 2])], Ok(2)),
        ("only the new one signs", &[(&[1], 1, &[1]), (&[2], 1, &[2])], Err((0, 1))),
        ("only the old one signs", &[(&[1], 1, &[1]), (&[2], 1, &[1])], Err((0, 1))),
        ("a key is added, the old one signs", &[(&[1], 1, &[1]), (&[1, 2], 1, &[1])], Ok(2)),
        ("a key is added, only the new one signs", &[(&[1], 1, &[1]), (&[1, 2], 1, &[2])], Err((0, 1))),
        ("threshold raised", &[(&[1], 1, &[1]), (&[1, 2, 3], 2, &[1, 2])], Ok(2)),
        ("threshold raised, not reached", &[(&[1], 1, &[1]), (&[1, 2, 3], 2, &[1])], Err((1, 2))),
        (
            "threshold raised, old key not among the signers",
            &[(&[1], 1, &[1]), (&[1, 2, 3], 2, &[2, 3])],
            Err((0, 1)),
        ),
        ("threshold lowered", &[(&[1, 2], 2, &[1, 2]), (&[1, 2], 1, &[1, 2])], Ok(2)),
        ("threshold lowered, the old one counts", &[(&[1, 2], 2, &[1, 2]), (&[1, 2], 1, &[1])], Err((1, 2))),
        (
            "and the new one from then on",
            &[(&[1, 2], 2, &[1, 2]), (&[1, 2], 1, &[1, 2]), (&[1, 2], 1, &[2])],
            Ok(3),
        ),
        ("unused signatures do no harm", &[(&[1], 1, &[1]), (&[1], 1, &[9, 1, 8])], Ok(2)),
        (
            "all of five replaced",
            &[(&[1, 2, 3, 4, 5], 3, &[1, 2, 3]), (&[6, 7, 8, 9, 10], 3, &[3, 4, 5, 6, 8, 10])],
            Ok(2),
        ),
        (
            "with one of the old missing",
            &[(&[1, 2, 3, 4, 5], 3, &[1, 2, 3]), (&[6, 7, 8, 9, 10], 3, &[1, 2, 6, 7, 8])],
            Err((2, 3)),
        ),
        (
            "with one of the new missing",
            &[(&[1, 2, 3, 4, 5], 3, &[1, 2, 3]), (&[6, 7, 8, 9, 10], 3, &[1, 2, 3, 7, 8])],
            Err((2, 3)),
        ),
        ("a chain of keys", &[(&[1], 1, &[1]), (&[2], 1, &[1, 2]), (&[3], 1, &[2, 3])], Ok(3)),
        (
            "a key that was replaced signs no more",
            &[(&[1], 1, &[1]), (&[2], 1, &[1, 2]), (&[3], 1, &[1, 3])],
            Err((0, 1)),
        ),
    ];
    for (name, versions, outcome) in cases {
        let mut repo = Repo::new();
        for (number, (roots, threshold, signers)) in (1..).zip(versions) {
            repo.root.common.version = number;
            repo.trust(TopLevel::Root, &keys(roots), *threshold);
            repo.signers.insert("root".into(), keys(signers));
            repo.publish_root();
        }
        let user = User::new(&repo);
        let kept = match outcome {
            Ok(newest) => {
                assert_eq!(user.refresh(), Ok(()), "{name}");
                format!("root {newest}, snapshot 1, targets 1, timestamp 1")
            }
            Err((valid, threshold)) => {
                assert_eq!(user.refresh(), Err(below("root", "root", valid, threshold)), "{name}");
                assert_eq!(
                    repo.server.requests().len(),
                    versions.len() - 1,
                    "{name}: nothing else is asked for"
                );
                format!("root {}", versions.len() - 1)
            }
        };
        assert_eq!(user.cached(), kept, "{name}");
    }
}

#[test]
fn the_next_root_has_exactly_the_next_version() {
    for found in [1, 2, 4, 5, u64::MAX] {
        let mut repo = Repo::new();
        repo.rotate(|_| {});
        repo.root.common.version = found;
        let other = repo.sign("root", &repo.root);
        repo.server.put("3.root.json", other);
        let user = User::new(&repo);
        assert_eq!(user.refresh(), Err(wrong_version("root", found, 3)));
        assert_eq!(user.cached(), "root 2");
        assert_eq!(repo.server.requests(), ["2.root.json", "3.root.json"]);
    }
}

#[test]
fn a_new_root_is_kept_before_its_expiry_is_looked_at() {
    let mut repo = Repo::new();
    let past = now() - Days::new(1);
    repo.rotate(|repo| repo.root.common.expires = past);
    let user = User::new(&repo);
    assert_eq!(user.refresh(), Err(expired("root", 2, past, now())));
    assert_eq!(user.cached(), "root 2");
    assert_eq!(repo.server.requests(), ["2.root.json", "3.root.json"]);
}

#[test]
fn only_the_last_root_must_be_in_date() {
    let mut repo = Repo::new();
    let past = now() - Days::new(1);
    repo.root.common.expires = past;
    repo.publish_root();
    repo.rotate(|_| {});
    repo.rotate(|repo| repo.root.common.expires = expires());
    let user = User::new(&repo);
    assert_eq!(user.refresh(), Ok(()));
    assert_eq!(user.cached(), "root 3, snapshot 1, targets 1, timestamp 1");
}

#[test]
fn a_root_expires_at_the_very_second() {
    let repo = Repo::new();
    let mut user = User::new(&repo);
    user.now = expires();
    assert_eq!(user.refresh(), Err(expired("root", 1, expires(), expires())));
    user.now = expires() - chrono::TimeDelta::nanoseconds(1);
    assert_eq!(user.refresh(), Ok(()));
}

#[test]
fn so_many_roots_at_once_and_the_rest_next_time() {
    let mut repo = Repo::new();
    for _ in 0..6 {
        repo.rotate(|_| {});
    }
    let mut user = User::new(&repo);
    user.limits.root_rotations = 5;
    assert_eq!(
        user.refresh(),
        Ok(()),
        "the specification goes on with the last root that it may fetch (5.3.3)"
    );
    assert_eq!(user.cached(), "root 6, snapshot 1, targets 1, timestamp 1");
    assert_eq!(user.refresh(), Ok(()));
    assert_eq!(user.cached(), "root 7, snapshot 1, targets 1, timestamp 1");
}

#[test]
fn the_last_possible_version_has_no_successor() {
    let mut repo = Repo::new();
    repo.root.common.version = u64::MAX;
    let user = User::trusting(&repo, &repo.sign("root", &repo.root));
    assert_eq!(user.refresh(), Err(trust(TrustError::LastVersion(u64::MAX))));
    assert_eq!(repo.server.requests(), Vec::<String>::new());
}

#[test]
fn a_wrong_initial_root_fails_without_a_request() {
    let repo = Repo::new();
    let good = String::from_utf8(repo.server.bytes("1.root.json")).unwrap();
    let other = repo.sign("timestamp", &repo.root);
    let cases = [
        (good.replace(",\"version\":1", ""), "root metadata is malformed: root has no \"version\""),
        (
            good.replace("\"version\":1", "\"version\":2"),
            "root metadata has 0 valid signature(s) by keys that root trusts for it, 1 needed",
        ),
        (
            String::from_utf8(other).unwrap(),
            "root metadata has 0 valid signature(s) by keys that root trusts for it, 1 needed",
        ),
        (
            good.replace("\"_type\":\"root\"", "\"_type\":\"targets\""),
            "root metadata is malformed: \"_type\" in root is \"targets\", expected root",
        ),
        (String::new(), "root metadata is malformed: not valid JSON: expected a value at byte 0"),
        ("{}".into(), "root metadata is malformed: metadata has no \"signed\""),
        ("[]".into(), "root metadata is malformed: \"metadata\" in metadata is an array, expected an object"),
    ];
    for (root, message) in cases {
        let user = User::trusting(&repo, root.as_bytes());
        assert_eq!(user.refresh().unwrap_err().to_string(), message);
        assert_eq!(repo.server.requests(), Vec::<String>::new(), "{message}");
        assert_eq!(user.cached_bytes("root"), root.as_bytes(), "it is left for its owner to look at");
    }
}

#[test]
fn without_a_root_nothing_begins() {
    let repo = Repo::new();
    let user = User::new(&repo);
    std::fs::remove_file(user.metadata_dir().join("root.json")).unwrap();
    let error = user.refresh().unwrap_err();
    assert!(matches!(error, ClientError::Cache(wheelseal::client::CacheError::NoRoot { .. })), "{error}");
    assert_eq!(repo.server.requests(), Vec::<String>::new());
}

#[test]
fn a_broken_new_root_leaves_the_trusted_one() {
    let cases: [(&str, fn(String) -> String); 4] = [
        ("not JSON", |_| "<html>".to_owned()),
        ("changed after signing", |text| text.replace("\"threshold\":1", "\"threshold\":2")),
        ("cut off", |text| text[..text.len() - 1].to_owned()),
        ("another role", |text| text.replace("\"_type\":\"root\"", "\"_type\":\"snapshot\"")),
    ];
    for (name, edit) in cases {
        let mut repo = Repo::new();
        repo.rotate(|_| {});
        repo.server.edit("2.root.json", edit);
        let user = User::new(&repo);
        assert!(matches!(user.refresh(), Err(ClientError::Trust(TrustError::Verify(_)))), "{name}");
        assert_eq!((user.cached().as_str(), repo.server.requests().len()), ("root 1", 1), "{name}");
        assert_eq!(user.cached_bytes("root"), repo.server.bytes("1.root.json"), "{name}");
    }
}
