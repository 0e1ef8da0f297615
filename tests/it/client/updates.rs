//! Timestamp, snapshot, targets: what is compared with what, and what is kept when a step fails.

use chrono::Days;
use wheelseal::client::ClientError;
use wheelseal::crypto::{sha256, sha512};
use wheelseal::tuf::json::Json;
use wheelseal::tuf::metadata::{About, Extra, Hashes, MetaFile, Mismatch, TopLevel};
use wheelseal::tuf::trusted::TrustError;

use crate::simulator::{Repo, User, absent, expired, expires, length, now, rollback, trust, wrong_version};

/// Version 2 of snapshot and timestamp, and a user who has them.
fn up_to_date() -> (Repo, User) {
    let mut repo = Repo::new();
    repo.release();
    let user = User::new(&repo);
    user.refresh().unwrap();
    repo.server.requests();
    (repo, user)
}

const CACHED: &str = "root 1, snapshot 2, targets 1, timestamp 2";

#[test]
fn a_timestamp_is_kept_before_its_snapshot_is_asked_for() {
    let (mut repo, user) = up_to_date();
    repo.release();
    repo.server.remove("3.snapshot.json");
    assert_eq!(user.refresh(), Err(absent("3.snapshot.json")));
    assert_eq!(repo.server.requests(), ["2.root.json", "timestamp.json", "3.snapshot.json"]);
    assert_eq!(user.cached(), "root 1, snapshot 2, targets 1, timestamp 3");
}

#[test]
fn a_timestamp_that_fails_is_not_kept() {
    let (mut repo, user) = up_to_date();
    let past = now() - Days::new(1);
    repo.timestamp.common.expires = past;
    repo.release();
    assert_eq!(user.refresh(), Err(expired("timestamp", 3, past, now())));
    assert_eq!((user.cached().as_str(), repo.server.requests().len()), (CACHED, 2));
}

#[test]
fn an_equal_timestamp_is_no_error_and_the_old_one_stays() {
    let (mut repo, user) = up_to_date();
    let before = user.cached_bytes("timestamp");
    repo.snapshot.common.version = 9;
    repo.publish();
    assert_ne!(repo.server.bytes("timestamp.json"), before);
    assert_eq!(user.refresh(), Ok(()));
    assert_eq!(repo.server.requests(), ["2.root.json", "timestamp.json"]);
    assert_eq!(user.cached_bytes("timestamp"), before);
}

#[test]
fn a_timestamp_names_no_older_snapshot() {
    let (mut repo, user) = up_to_date();
    repo.timestamp.common.version = 3;
    repo.snapshot.common.version = 1;
    repo.publish();
    assert_eq!(user.refresh(), Err(rollback("snapshot", 1, 2)));
    assert_eq!((user.cached().as_str(), repo.server.requests().len()), (CACHED, 2));
}

#[test]
fn a_snapshot_has_exactly_the_version_that_timestamp_names() {
    for found in [1, 2, 4] {
        let (mut repo, user) = up_to_date();
        repo.release();
        repo.snapshot.common.version = found;
        let other = repo.sign("snapshot", &repo.snapshot);
        repo.server.put("3.snapshot.json", other);
        assert_eq!(user.refresh(), Err(wrong_version("snapshot", found, 3)));
        assert_eq!(user.cached(), "root 1, snapshot 2, targets 1, timestamp 3");
    }
}

#[test]
fn an_entry_never_disappears_from_snapshot_nor_falls() {
    let mut repo = Repo::new();
    repo.snapshot.meta.insert("A.json", MetaFile::version(5));
    repo.release();
    for expired_locally in [false, true] {
        for (entry, error) in
            [(None, trust(TrustError::Removed { role: "A".into() })), (Some(4), rollback("A", 4, 5))]
        {
            repo.snapshot.meta.insert("A.json", MetaFile::version(5));
            repo.snapshot.common.expires = now() + Days::new(1);
            repo.release();
            let mut user = User::new(&repo);
            user.refresh().unwrap();
            let before = user.cached();
            match entry {
                None => drop(repo.snapshot.meta.remove("A.json")),
                Some(version) => drop(repo.snapshot.meta.insert("A.json", MetaFile::version(version))),
            }
            repo.snapshot.common.expires = expires();
            repo.release();
            if expired_locally {
                user.now = now() + Days::new(2);
            }
            assert_eq!(user.refresh(), Err(error));
            assert_eq!(
                user.cached().replace(&format!("timestamp {}", repo.timestamp.common.version), ""),
                before.replace(&format!("timestamp {}", repo.timestamp.common.version - 1), "")
            );
        }
    }
}

#[test]
fn a_snapshot_without_targets_leads_nowhere() {
    let (mut repo, _) = up_to_date();
    repo.snapshot.meta.remove("targets.json");
    repo.publish_snapshot();
    let user = User::new(&repo);
    assert_eq!(user.refresh(), Err(trust(TrustError::NotInSnapshot { role: "targets".into() })));
    assert_eq!(user.cached(), "root 1, snapshot 2, timestamp 2");
}

#[test]
fn a_failure_in_targets_leaves_the_new_snapshot_and_the_old_targets() {
    let (mut repo, user) = up_to_date();
    repo.release_role("targets");
    for found in [1, 3] {
        repo.targets.common.version = found;
        let other = repo.sign("targets", &repo.targets);
        repo.server.put("2.targets.json", other);
        assert_eq!(user.refresh(), Err(wrong_version("targets", found, 2)));
        assert_eq!(user.cached(), "root 1, snapshot 3, targets 1, timestamp 3");
    }
}

#[test]
fn a_snapshot_that_fails_is_not_kept() {
    let (mut repo, user) = up_to_date();
    let past = now() - Days::new(1);
    repo.snapshot.common.expires = past;
    repo.release();
    assert_eq!(user.refresh(), Err(expired("snapshot", 3, past, now())));
    assert_eq!(user.cached(), "root 1, snapshot 2, targets 1, timestamp 3");
    assert_eq!(repo.server.requests(), ["2.root.json", "timestamp.json", "3.snapshot.json"]);
}

#[test]
fn new_timestamp_or_snapshot_keys_drop_the_local_files() {
    for role in [TopLevel::Timestamp, TopLevel::Snapshot] {
        let (mut repo, user) = up_to_date();
        repo.replace_key(role, 30);
        repo.server.remove("timestamp.json");
        assert_eq!(user.refresh(), Err(absent("timestamp.json")));
        assert_eq!(user.cached(), "root 2, targets 1", "{role:?}");
    }
}

#[test]
fn other_new_keys_drop_nothing() {
    for role in [TopLevel::Root, TopLevel::Targets] {
        let (mut repo, user) = up_to_date();
        let signers = [crate::simulator::key(1), crate::simulator::key(30)];
        repo.rotate(|repo| {
            repo.trust(role, &signers[1..], 1);
            repo.signers.insert("root".into(), signers.to_vec());
        });
        repo.server.remove("timestamp.json");
        assert_eq!(user.refresh(), Err(absent("timestamp.json")));
        assert_eq!(user.cached(), "root 2, snapshot 2, targets 1, timestamp 2", "{role:?}");
    }
}

#[test]
fn the_same_key_under_another_id_is_no_new_key() {
    let (mut repo, user) = up_to_date();
    let old = crate::simulator::key(2);
    let renamed =
        crate::simulator::Signer::named("another id", old.key.clone(), crate::simulator::pair(&[2; 32]));
    repo.rotate(|repo| repo.trust(TopLevel::Timestamp, &[renamed], 1));
    repo.server.remove("timestamp.json");
    assert_eq!(user.refresh(), Err(absent("timestamp.json")));
    assert_eq!(user.cached(), "root 2, snapshot 2, targets 1, timestamp 2");
}

/// Announces length and hashes of snapshot and targets; the user has nothing yet.
fn announced(edit: impl Fn(&mut About)) -> (Repo, User) {
    let mut repo = Repo::new();
    let entry = |version, bytes: &[u8]| {
        let (sha256, sha512) = (Some(sha256(bytes)), Some(Box::new(sha512(bytes))));
        let hashes = Some(Hashes { sha256, sha512, other: Extra::new() });
        MetaFile::new(version, About { length: Some(length(bytes)), hashes, extra: Extra::new() })
    };
    let mut targets = entry(1, &repo.server.bytes("1.targets.json"));
    targets.edit(edit);
    repo.snapshot.meta.insert("targets.json", targets);
    repo.publish_snapshot();
    repo.timestamp.snapshot = entry(1, &repo.server.bytes("1.snapshot.json"));
    repo.publish_timestamp();
    let user = User::new(&repo);
    (repo, user)
}

#[test]
fn announced_lengths_and_hashes_must_agree() {
    let role = || "targets".to_owned();
    let bytes = announced(|_| {}).0.server.bytes("1.targets.json");
    let other = |algorithm, expected: &[u8], found: &[u8]| {
        let (expected, found) = (hex::encode(expected), hex::encode(found));
        trust(TrustError::WrongHash {
            role: role(),
            mismatch: Mismatch::Other { algorithm, expected, found },
        })
    };
    let unknown = trust(TrustError::WrongHash { role: role(), mismatch: Mismatch::Unknown });
    let length = length(&announced(|_| {}).0.server.bytes("1.targets.json"));
    let too_long = wheelseal::client::FetchError::TooLarge { url: "1.targets.json".into(), max: length - 1 };
    let cases: [(fn(&mut About), Option<ClientError>); 6] = [
        (|_| {}, None),
        (|about| about.length = about.length.map(|length| length - 1), Some(too_long.into())),
        (
            |about| about.length = about.length.map(|length| length + 1),
            Some(trust(TrustError::WrongLength { role: role(), found: length, expected: length + 1 })),
        ),
        (
            |about| about.hashes.as_mut().unwrap().sha256 = Some([0; 32]),
            Some(other("SHA-256", &[0; 32], &sha256(&bytes))),
        ),
        (
            |about| about.hashes.as_mut().unwrap().sha512 = Some(Box::new([0; 64])),
            Some(other("SHA-512", &[0; 64], &sha512(&bytes))),
        ),
        (
            |about| {
                let other = vec![("md9".into(), Json::str("00"))];
                about.hashes = Some(Hashes { sha256: None, sha512: None, other });
            },
            Some(unknown),
        ),
    ];
    for (edit, error) in cases {
        let (_repo, user) = announced(edit);
        let cached = if error.is_some() {
            "root 1, snapshot 1, timestamp 1"
        } else {
            "root 1, snapshot 1, targets 1, timestamp 1"
        };
        assert_eq!(user.refresh().err(), error);
        assert_eq!(user.cached(), cached);
    }
}

#[test]
fn a_snapshot_that_is_not_the_announced_one_is_refused_before_it_is_read() {
    let (repo, user) = announced(|_| {});
    repo.server.edit("1.snapshot.json", |text| text.replace("\"version\":1", "\"version\":9"));
    let (expected, found) =
        (repo.timestamp.snapshot.hashes().cloned().unwrap(), repo.server.bytes("1.snapshot.json"));
    let (expected, found) = (hex::encode(expected.sha256.unwrap()), hex::encode(sha256(&found)));
    let mismatch = Mismatch::Other { algorithm: "SHA-256", expected, found };
    assert_eq!(user.refresh(), Err(trust(TrustError::WrongHash { role: "snapshot".into(), mismatch })));
    assert_eq!(user.cached(), "root 1, timestamp 1");
}

#[test]
fn what_is_announced_above_the_limit_is_not_asked_for() {
    let mut repo = Repo::new();
    repo.timestamp.snapshot.edit(|about| about.length = Some(64_000_001));
    repo.publish_timestamp();
    let user = User::new(&repo);
    let error = TrustError::TooLarge { role: "snapshot".into(), announced: 64_000_001, limit: 64_000_000 };
    assert_eq!(user.refresh(), Err(trust(error)));
    assert_eq!(repo.server.requests(), ["2.root.json", "timestamp.json"]);
}

#[test]
fn all_expiries_are_measured_at_the_start_of_the_update() {
    let (repo, mut user) = up_to_date();
    user.now = expires() - chrono::TimeDelta::nanoseconds(1);
    assert_eq!(user.refresh(), Ok(()));
    assert_eq!(repo.server.requests(), ["2.root.json", "timestamp.json"]);
}
