//! One test per attack of the specification, section 1.5.2, and one per role for a stolen key.

use chrono::{DateTime, Days, Utc};
use wheelseal::client::{ClientError, FetchError, FileError};
use wheelseal::crypto::sha256;
use wheelseal::tuf::metadata::{About, MetaFile, TopLevel};

use crate::simulator::{
    Answer, Repo, User, below, expired, expires, key, key_of, not_signed, now, rollback, wrong_version,
};

/// A repository with a file in a delegated role; all at version 2.
fn repo() -> Repo {
    let mut repo = Repo::new();
    repo.delegate("targets", "A", &["*"]);
    repo.add_file("A", "file", b"content");
    repo.role("A").common.version = 2;
    repo.release_role("targets");
    repo
}

const ALL: &str = "A 2, root 1, snapshot 2, targets 2, timestamp 2";

/// A user who has it all.
fn user_of(repo: &Repo) -> User {
    let user = User::new(repo);
    assert_eq!(user.download("file"), Ok(true));
    assert_eq!(user.cached(), ALL);
    repo.server.requests();
    user
}

#[test]
fn arbitrary_software_a_file_that_nobody_signed() {
    let repo = repo();
    let location = format!("targets/{}.file", hex::encode(sha256(b"content")));
    repo.server.set(&location, Answer::Bytes(b"c0ntent".to_vec()));
    let user = User::new(&repo);
    assert!(matches!(user.download("file"), Err(ClientError::File(FileError::WrongHash { .. }))));
    assert_eq!((user.cached().as_str(), user.downloaded()), (ALL, vec![]));
}

#[test]
fn arbitrary_software_metadata_that_a_stranger_signed() {
    for (role, cached) in [
        ("timestamp", "root 1"),
        ("snapshot", "root 1, timestamp 2"),
        ("targets", "root 1, snapshot 2, timestamp 2"),
        ("A", "root 1, snapshot 2, targets 2, timestamp 2"),
    ] {
        let mut repo = repo();
        repo.signers.insert(role.into(), vec![key(66)]);
        repo.publish();
        let user = User::new(&repo);
        let delegator = if role == "A" { "targets" } else { "root" };
        assert_eq!(user.download("file"), Err(below(role, delegator, 0, 1)));
        assert_eq!((user.cached().as_str(), user.downloaded()), (cached, vec![]));
    }
}

#[test]
fn arbitrary_software_metadata_changed_after_signing() {
    for (file, role) in [
        ("timestamp.json", "timestamp"),
        ("2.snapshot.json", "snapshot"),
        ("2.targets.json", "targets"),
        ("2.A.json", "A"),
    ] {
        let repo = repo();
        repo.server.edit(file, |text| text.replace("2027-", "2028-"));
        let delegator = if role == "A" { "targets" } else { "root" };
        assert_eq!(User::new(&repo).download("file"), Err(below(role, delegator, 0, 1)));
    }
}

#[test]
fn rollback_of_timestamp() {
    let mut repo = repo();
    let old = repo.server.bytes("timestamp.json");
    repo.release();
    let user = User::new(&repo);
    user.refresh().unwrap();
    repo.server.put("timestamp.json", old);
    assert_eq!(user.refresh(), Err(rollback("timestamp", 2, 3)));
    assert_eq!(user.cached(), "root 1, snapshot 3, targets 2, timestamp 3");
}

#[test]
fn rollback_of_snapshot_by_the_timestamp_key() {
    let mut repo = repo();
    let user = user_of(&repo);
    repo.timestamp.common.version = 3;
    repo.timestamp.snapshot.version = 1;
    repo.publish_timestamp();
    assert_eq!(user.refresh(), Err(rollback("snapshot", 1, 2)));
    assert_eq!(user.cached(), ALL);
}

#[test]
fn rollback_of_targets_and_delegated_roles_by_the_snapshot_key() {
    for role in ["targets", "A"] {
        let mut repo = repo();
        let user = user_of(&repo);
        repo.role(role).common.version = 1;
        repo.release();
        assert_eq!(user.refresh(), Err(rollback(role, 1, 2)));
        assert_eq!(user.cached(), ALL.replace("timestamp 2", "timestamp 3"));
    }
}

#[test]
fn rollback_of_root_is_never_even_looked_at() {
    let mut repo = repo();
    repo.rotate(|_| {});
    let user = User::new(&repo);
    user.refresh().unwrap();
    repo.server.put("3.root.json", repo.server.bytes("1.root.json"));
    assert_eq!(user.refresh(), Err(wrong_version("root", 1, 3)));
    assert_eq!(user.cached(), "root 2, snapshot 2, targets 2, timestamp 2");
}

#[test]
fn rollback_by_hiding_the_new_root_keeps_the_new_root() {
    let mut repo = repo();
    let user = User::new(&repo);
    repo.replace_key(TopLevel::Targets, 30);
    user.refresh().unwrap_err();
    repo.server.remove("2.root.json");
    assert_eq!(user.refresh(), Err(below("targets", "root", 0, 1)), "the old key is trusted no more");
    assert_eq!(user.cached(), "root 2, snapshot 2, timestamp 2");
}

#[test]
fn fast_forward_of_timestamp_and_recovery() {
    let mut repo = repo();
    let user = user_of(&repo);
    repo.timestamp.common.version = 1_000_000;
    repo.publish();
    user.refresh().unwrap();
    repo.timestamp.common.version = 3;
    repo.publish();
    assert_eq!(user.refresh(), Err(rollback("timestamp", 3, 1_000_000)));
    repo.replace_key(TopLevel::Timestamp, 30);
    repo.publish();
    assert_eq!(user.refresh(), Ok(()));
    assert_eq!(user.cached(), "A 2, root 2, snapshot 2, targets 2, timestamp 3");
}

#[test]
fn fast_forward_of_snapshot_and_recovery() {
    let mut repo = repo();
    let user = user_of(&repo);
    (repo.timestamp.common.version, repo.snapshot.common.version) = (3, 1_000_000);
    repo.publish();
    user.refresh().unwrap();
    (repo.timestamp.common.version, repo.snapshot.common.version) = (4, 3);
    repo.publish();
    assert_eq!(user.refresh(), Err(rollback("snapshot", 3, 1_000_000)));
    repo.replace_key(TopLevel::Snapshot, 30);
    repo.publish();
    assert_eq!(user.refresh(), Ok(()));
    assert_eq!(user.cached(), "A 2, root 2, snapshot 3, targets 2, timestamp 4");
}

#[test]
fn fast_forward_of_targets_and_delegated_roles_and_recovery() {
    for role in ["targets", "A"] {
        let mut repo = repo();
        let user = user_of(&repo);
        repo.role(role).common.version = 1_000_000;
        repo.release();
        assert_eq!(user.download("file"), Ok(false));
        repo.role(role).common.version = 3;
        repo.release();
        assert_eq!(user.refresh(), Err(rollback(role, 3, 1_000_000)));
        repo.replace_key(TopLevel::Snapshot, 30);
        repo.publish();
        assert_eq!(user.download("file"), Ok(false));
        let cached = ALL.replace(&format!("{role} 2"), &format!("{role} 3")).replace("root 1", "root 2");
        assert_eq!(
            user.cached(),
            cached.replace("snapshot 2", "snapshot 4").replace("timestamp 2", "timestamp 4")
        );
    }
}

fn yesterday() -> DateTime<Utc> {
    now() - Days::new(1)
}

#[test]
fn indefinite_freeze_by_an_expired_role_first_seen() {
    for (role, version, cached) in [
        ("timestamp", 2, "root 1"),
        ("snapshot", 2, "root 1, timestamp 2"),
        ("targets", 2, "root 1, snapshot 2, timestamp 2"),
        ("A", 2, "root 1, snapshot 2, targets 2, timestamp 2"),
    ] {
        let mut repo = repo();
        match role {
            "timestamp" => repo.timestamp.common.expires = yesterday(),
            "snapshot" => repo.snapshot.common.expires = yesterday(),
            role => repo.role(role).common.expires = yesterday(),
        }
        repo.publish();
        let user = User::new(&repo);
        assert_eq!(user.download("file"), Err(expired(role, version, yesterday(), now())));
        assert_eq!((user.cached().as_str(), user.downloaded()), (cached, vec![]));
    }
}

#[test]
fn indefinite_freeze_by_a_role_that_is_kept_until_it_expires() {
    let soon = now() + Days::new(1);
    for role in ["root", "timestamp", "snapshot", "targets", "A"] {
        let mut repo = repo();
        match role {
            "root" => repo.root.common.expires = soon,
            "timestamp" => repo.timestamp.common.expires = soon,
            "snapshot" => repo.snapshot.common.expires = soon,
            role => repo.role(role).common.expires = soon,
        }
        repo.publish_root();
        repo.publish();
        let mut user = user_of(&repo);
        user.now = soon;
        let version = if role == "root" { 1 } else { 2 };
        assert_eq!(user.download("file"), Err(expired(role, version, soon, soon)));
        assert_eq!(user.cached(), ALL, "{role}");
        let fresh = expired(role, version, soon, soon);
        assert_eq!(user.download("file"), Err(fresh), "nor is it better the second time");
    }
}

#[test]
fn a_role_that_expired_is_replaced_by_its_successor() {
    let soon = now() + Days::new(1);
    let mut repo = repo();
    for role in ["targets", "A"] {
        repo.role(role).common.expires = soon;
    }
    (repo.timestamp.common.expires, repo.snapshot.common.expires) = (soon, soon);
    repo.publish();
    let mut user = user_of(&repo);
    user.now = soon;
    for role in ["targets", "A"] {
        repo.role(role).common.expires = expires();
        repo.role(role).common.version = 3;
    }
    (repo.timestamp.common.expires, repo.snapshot.common.expires) = (expires(), expires());
    repo.release();
    assert_eq!(user.download("file"), Ok(false));
    assert_eq!(user.cached(), "A 3, root 1, snapshot 3, targets 3, timestamp 3");
}

#[test]
fn endless_data_stops_at_the_limit_of_each_file() {
    for (file, max, cached) in [
        ("2.root.json", 512_000, "root 1"),
        ("timestamp.json", 65_536, "root 1"),
        ("2.snapshot.json", 64_000_000, "root 1, timestamp 2"),
        ("2.targets.json", 10_000_000, "root 1, snapshot 2, timestamp 2"),
        ("2.A.json", 10_000_000, "root 1, snapshot 2, targets 2, timestamp 2"),
    ] {
        let repo = repo();
        repo.server.set(&format!("metadata/{file}"), Answer::Endless);
        let user = User::new(&repo);
        let error = ClientError::Fetch(FetchError::TooLarge { url: file.into(), max });
        assert_eq!(user.download("file"), Err(error));
        assert_eq!(user.cached(), cached);
        assert!(repo.server.sent() <= max + 1_000, "{file}: {}", repo.server.sent());
    }
}

#[test]
fn endless_data_stops_at_the_announced_length() {
    let mut repo = repo();
    repo.timestamp.snapshot = MetaFile::new(2, About { length: Some(500), ..About::default() });
    repo.publish_timestamp();
    repo.server.set("metadata/2.snapshot.json", Answer::Endless);
    let error = FetchError::TooLarge { url: "2.snapshot.json".into(), max: 500 };
    assert_eq!(User::new(&repo).refresh(), Err(error.into()));
}

#[test]
fn endless_data_for_a_target_stops_at_its_signed_length() {
    let repo = repo();
    let location = format!("{}.file", hex::encode(sha256(b"content")));
    repo.server.set(&format!("targets/{location}"), Answer::Endless);
    let user = User::new(&repo);
    let error = FetchError::TooLarge { url: location, max: 7 };
    assert_eq!(user.download("file"), Err(error.into()));
    assert_eq!((user.cached().as_str(), user.downloaded()), (ALL, vec![]));
}

#[test]
fn mix_and_match_of_files_from_different_snapshots() {
    for (role, file) in [("snapshot", "snapshot.json"), ("targets", "targets.json"), ("A", "A.json")] {
        let mut repo = repo();
        let old = repo.server.bytes(&format!("2.{file}"));
        repo.role("targets").common.version = 3;
        repo.role("A").common.version = 3;
        repo.release();
        repo.server.put(&format!("3.{file}"), old);
        let user = User::new(&repo);
        assert_eq!(user.download("file"), Err(wrong_version(role, 2, 3)));
        assert_eq!(user.downloaded(), []);
    }
}

#[test]
fn mix_and_match_of_one_role_for_another() {
    let repo = repo();
    repo.server.put("2.targets.json", repo.server.bytes("2.A.json"));
    assert_eq!(User::new(&repo).refresh(), Err(below("targets", "root", 0, 1)));
    repo.server.put("timestamp.json", repo.server.bytes("2.snapshot.json"));
    assert_eq!(User::new(&repo).refresh(), Err(below("timestamp", "root", 0, 1)));
}

#[test]
fn mix_and_match_of_two_roles_with_one_key() {
    let mut repo = repo();
    repo.trust(TopLevel::Snapshot, &[key(2)], 1);
    repo.publish_root();
    repo.publish();
    repo.server.put("timestamp.json", repo.server.bytes("2.snapshot.json"));
    let message =
        "timestamp metadata is malformed: \"_type\" in timestamp is \"snapshot\", expected timestamp";
    assert_eq!(User::new(&repo).refresh().unwrap_err().to_string(), message);
}

#[test]
fn extraneous_dependencies_a_role_cannot_add_what_was_not_delegated_to_it() {
    let mut repo = Repo::new();
    repo.delegate("targets", "A", &["a/*"]);
    repo.delegate("targets", "B", &["b/*"]);
    for path in ["a/file", "b/file", "c/file", "file"] {
        repo.add_file("A", path, b"by A");
    }
    repo.release_role("targets");
    let user = User::new(&repo);
    assert_eq!(user.find("a/file"), Ok("targets > A".to_owned()));
    for path in ["b/file", "c/file", "file"] {
        assert_eq!(user.download(path), Err(not_signed(path)));
    }
    assert_eq!(user.downloaded(), []);
}

#[test]
fn wrong_software_another_signed_file_in_place_of_the_one_asked_for() {
    let mut repo = repo();
    repo.add_file("A", "other", b"c0ntent");
    repo.release_role("A");
    let location = |content: &[u8], name: &str| format!("targets/{}.{name}", hex::encode(sha256(content)));
    repo.server.set(&location(b"content", "file"), Answer::Bytes(b"c0ntent".to_vec()));
    let user = User::new(&repo);
    assert!(matches!(user.download("file"), Err(ClientError::File(FileError::WrongHash { .. }))));
    assert_eq!(user.download("other"), Ok(true));
    assert_eq!(user.downloaded(), [("other".to_owned(), "c0ntent".to_owned())]);
}

/// Keys `seed`, `seed + 1`, `seed + 2`.
fn three(seed: u8) -> [std::sync::Arc<crate::simulator::Signer>; 3] {
    [key(seed), key(seed + 1), key(seed + 2)]
}

#[test]
fn key_compromise_one_of_two_out_of_three_is_not_enough_for_any_top_level_role() {
    for role in [TopLevel::Timestamp, TopLevel::Snapshot, TopLevel::Targets] {
        let mut repo = repo();
        repo.trust(role, &three(40), 2);
        repo.publish_root();
        repo.publish();
        let user = user_of(&repo);
        repo.signers.insert(role.name().into(), vec![key(41)]);
        repo.release_role("targets");
        assert_eq!(user.refresh(), Err(below(role.name(), "root", 1, 2)));
        repo.signers.insert(role.name().into(), vec![key(41), key(66)]);
        repo.release_role("targets");
        assert_eq!(user.refresh(), Err(below(role.name(), "root", 1, 2)), "with a key of the thief's own");
        repo.signers.insert(role.name().into(), vec![key(42), key(40)]);
        repo.release_role("targets");
        assert_eq!(user.refresh(), Ok(()));
    }
}

#[test]
fn key_compromise_one_of_two_out_of_three_is_not_enough_for_root() {
    let mut repo = repo();
    repo.trust(TopLevel::Root, &three(40), 2);
    repo.publish_root();
    let user = user_of(&repo);
    repo.rotate(|repo| {
        repo.trust(TopLevel::Root, &[key(66)], 1);
        repo.signers.insert("root".into(), vec![key(41), key(66)]);
    });
    assert_eq!(user.refresh(), Err(below("root", "root", 1, 2)));
    assert_eq!(user.cached(), ALL);
}

#[test]
fn key_compromise_one_of_two_out_of_three_is_not_enough_for_a_delegated_role() {
    let mut repo = Repo::new();
    repo.delegate_to("targets", "A", &["*"], &three(40)).threshold = 2;
    repo.signers.insert("A".into(), vec![key(41), key_of("A")]);
    repo.add_file("A", "file", b"content");
    repo.release_role("targets");
    let user = User::new(&repo);
    assert_eq!(user.download("file"), Err(below("A", "targets", 1, 2)));
    repo.signers.insert("A".into(), vec![key(41), key(42)]);
    repo.publish();
    assert_eq!(user.download("file"), Ok(true));
}

#[test]
fn key_compromise_ends_with_the_root_that_takes_the_key_away() {
    let mut repo = repo();
    let user = user_of(&repo);
    repo.replace_key(TopLevel::Targets, 30);
    assert_eq!(
        user.refresh(),
        Err(below("targets", "root", 0, 1)),
        "kept bytes are verified against the new root"
    );
    repo.release_role("targets");
    assert_eq!(user.refresh(), Ok(()));
}

#[test]
fn key_compromise_ends_with_the_delegation_that_takes_the_key_away() {
    let mut repo = repo();
    let user = user_of(&repo);
    repo.role("targets").delegations = None;
    repo.delegate_to("targets", "A", &["*"], &[key(30)]);
    repo.release_role("targets");
    assert_eq!(
        user.find("file"),
        Err(below("A", "targets", 0, 1)),
        "though it lies on disk and snapshot names it"
    );
    assert_eq!(repo.server.requests().last().map(String::as_str), Some("2.A.json"));
    repo.signers.insert("A".into(), vec![key(30)]);
    repo.release_role("A");
    assert_eq!(user.find("file"), Ok("targets > A".to_owned()));
}

#[test]
fn a_role_cannot_sign_for_itself() {
    let mut repo = repo();
    repo.signers.insert("A".into(), vec![key(66)]);
    repo.delegate_to("A", "A", &["*"], &[key(66)]);
    repo.release_role("A");
    assert_eq!(User::new(&repo).find("file"), Err(below("A", "targets", 0, 1)));
}

#[test]
fn a_snapshot_key_alone_cannot_make_up_a_role() {
    let mut repo = repo();
    repo.snapshot.meta.insert("evil.json", MetaFile::version(1));
    repo.add_file("evil", "other", b"evil");
    repo.release();
    assert_eq!(User::new(&repo).find("other"), Err(not_signed("other")));
    assert!(!repo.server.requests().contains(&"1.evil.json".to_owned()));
}

#[test]
fn no_local_timestamp_serves_in_place_of_a_server_that_is_silent() {
    let repo = repo();
    let user = user_of(&repo);
    let error = FetchError::Network { url: "timestamp.json".into(), reason: "silence".into() };
    repo.server.set("metadata/timestamp.json", Answer::Fails(error.clone()));
    assert_eq!(user.download("file"), Err(error.into()));
    assert_eq!(user.cached(), ALL);
}
