//! Target files: where they are asked for, what is checked, what is left when something is wrong.

use std::time::{Duration, SystemTime};

use wheelseal::client::{ClientError, FetchError, FileError, Session};
use wheelseal::crypto::{sha256, sha512};
use wheelseal::tuf::json::Json;
use wheelseal::tuf::metadata::{Extra, Hashes, Mismatch};
use wheelseal::tuf::path::TargetPath;

use crate::simulator::{Answer, Repo, User, not_signed};

const CONTENT: &[u8] = b"content";

/// A repository with one file at `path`, and a user who is up to date.
fn with_file(path: &str, hashes: Hashes) -> (Repo, User) {
    let mut repo = Repo::new();
    repo.add_file("targets", path, CONTENT);
    let name = hashes.name().unwrap_or_default();
    repo.serve_file(path, &name, CONTENT);
    repo.targets.targets.get_mut(path).unwrap().hashes = hashes;
    repo.release_role("targets");
    let user = User::new(&repo);
    user.refresh().unwrap();
    repo.server.requests();
    (repo, user)
}

fn both() -> Hashes {
    Hashes { sha256: Some(sha256(CONTENT)), sha512: Some(Box::new(sha512(CONTENT))), other: Extra::new() }
}

fn sha256_alone() -> Hashes {
    Hashes::sha256(sha256(CONTENT))
}

fn sha512_alone() -> Hashes {
    Hashes { sha256: None, ..both() }
}

fn unknown() -> Extra {
    vec![("blake2b-256".into(), Json::str("00"))]
}

/// Where a file is asked for.
fn served_at(dir: &str, hash: &[u8], file: &str) -> String {
    format!("targets/{dir}{}.{file}", hex::encode(hash))
}

#[test]
fn one_request_by_one_listed_hash_whichever_it_is() {
    let (short, long) = (sha256(CONTENT), sha512(CONTENT));
    let cases: [(Hashes, &[u8]); 4] = [
        (sha256_alone(), &short),
        (sha512_alone(), &long),
        (both(), &short),
        (Hashes { other: unknown(), ..sha512_alone() }, &long),
    ];
    for (hashes, hash) in cases {
        for (dir, path) in [("", "file"), ("dir/sub/", "dir/sub/file")] {
            let (repo, user) = with_file(path, hashes.clone());
            assert_eq!(user.download(path), Ok(true));
            let all = ["2.root.json".to_owned(), "timestamp.json".to_owned(), served_at(dir, hash, "file")];
            assert_eq!(repo.server.requests(), all);
            assert_eq!(user.downloaded(), [(path.to_owned(), "content".to_owned())]);
        }
    }
}

#[test]
fn without_consistent_snapshots_the_path_is_plain() {
    let (mut repo, user) = with_file("dir/file", both());
    repo.rotate(|repo| repo.root.consistent_snapshot = false);
    repo.release();
    assert_eq!(user.download("dir/file"), Ok(true));
    assert_eq!(repo.server.requests().last().map(String::as_str), Some("targets/dir/file"));
}

#[test]
fn a_file_that_is_there_already_costs_no_request_and_keeps_its_time() {
    let (repo, user) = with_file("file", both());
    user.download("file").unwrap();
    let path = user.targets_dir().join("file");
    let past = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(past).unwrap();
    repo.server.requests();
    assert_eq!(user.download("file"), Ok(false));
    assert_eq!(repo.server.requests(), ["2.root.json", "timestamp.json"]);
    assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), past);
}

#[test]
fn a_file_that_differs_is_replaced() {
    for other in ["contenT", "", "content and more"] {
        let (_repo, user) = with_file("file", both());
        std::fs::create_dir(user.targets_dir()).unwrap();
        std::fs::write(user.targets_dir().join("file"), other).unwrap();
        assert_eq!(user.download("file"), Ok(true));
        assert_eq!(user.downloaded(), [("file".to_owned(), "content".to_owned())]);
    }
}

#[test]
fn a_new_version_goes_to_the_same_name() {
    let (mut repo, user) = with_file("file", sha256_alone());
    user.download("file").unwrap();
    repo.add_file("targets", "file", b"newer content");
    repo.release_role("targets");
    assert_eq!(user.download("file"), Ok(true));
    assert_eq!(user.downloaded(), [("file".to_owned(), "newer content".to_owned())]);
}

#[test]
fn a_failed_download_leaves_the_previous_file_and_an_empty_spool() {
    let hash = |bytes: &[u8]| hex::encode(sha256(bytes));
    let (algorithm, found, expected) = ("SHA-256", hash(b"c0ntent"), hash(CONTENT));
    let mismatch = Mismatch::Other { algorithm, expected, found };
    let wrong_hash = FileError::WrongHash { path: "file".into(), mismatch };
    let location = format!("{}.file", hash(CONTENT));
    let short = FileError::WrongLength { path: "file".into(), found: 4, expected: 7 };
    let long = FetchError::TooLarge { url: location.clone(), max: 7 };
    let broken = FetchError::Network { url: location.clone(), reason: "gone".into() };
    let cases: [(Option<Answer>, ClientError); 6] = [
        (Some(Answer::Bytes(b"c0ntent".to_vec())), wrong_hash.into()),
        (Some(Answer::Bytes(b"cont".to_vec())), short.into()),
        (Some(Answer::Bytes(b"content!".to_vec())), long.clone().into()),
        (Some(Answer::Endless), long.into()),
        (Some(Answer::Fails(broken.clone())), broken.into()),
        (None, FileError::Absent { path: "file".into(), location: location.clone() }.into()),
    ];
    for (answer, error) in cases {
        for previous in [None, Some("previous")] {
            let (repo, user) = with_file("file", sha256_alone());
            if let Some(previous) = previous {
                std::fs::create_dir(user.targets_dir()).unwrap();
                std::fs::write(user.targets_dir().join("file"), previous).unwrap();
            }
            repo.server.forget(&format!("targets/{location}"));
            if let Some(answer) = answer.clone() {
                repo.server.set(&format!("targets/{location}"), answer);
            }
            assert_eq!(user.download("file"), Err(error.clone()));
            let left: Vec<_> =
                previous.map(|text| ("file".to_owned(), text.to_owned())).into_iter().collect();
            assert_eq!(user.downloaded(), left);
            assert_eq!(
                user.cached(),
                "root 1, snapshot 2, targets 2, timestamp 2",
                "and nothing in the spool"
            );
        }
    }
}

#[test]
fn every_listed_hash_of_a_known_algorithm_must_agree() {
    let wrong256 = Hashes { sha256: Some([0; 32]), ..both() };
    let wrong512 = Hashes { sha512: Some(Box::new([0; 64])), ..both() };
    for (hashes, algorithm) in [(wrong256, "SHA-256"), (wrong512, "SHA-512")] {
        let (_repo, user) = with_file("file", hashes);
        let error = user.download("file").unwrap_err();
        assert!(
            matches!(&error, ClientError::File(FileError::WrongHash {
                mismatch: Mismatch::Other { algorithm: wrong, .. }, ..
            }) if *wrong == algorithm),
            "{error}"
        );
        assert_eq!(user.downloaded(), []);
    }
}

#[test]
fn hashes_of_unknown_algorithms_alone_verify_nothing() {
    let (repo, user) = with_file("file", Hashes { sha256: None, sha512: None, other: unknown() });
    let error = Err(ClientError::File(FileError::NoKnownHash { path: "file".into() }));
    assert_eq!(user.download("file"), error);
    std::fs::create_dir_all(user.targets_dir()).unwrap();
    std::fs::write(user.targets_dir().join("file"), CONTENT).unwrap();
    assert_eq!(user.download("file"), error, "even if the file is there");
    assert_eq!(repo.server.requests(), ["2.root.json", "timestamp.json", "2.root.json", "timestamp.json"]);
}

#[test]
fn what_nobody_signed_is_not_asked_for() {
    let (repo, user) = with_file("file", sha256_alone());
    assert_eq!(user.download("fil"), Err(not_signed("fil")));
    assert_eq!(repo.server.requests(), ["2.root.json", "timestamp.json"]);
}

#[test]
fn a_small_target_is_read_into_memory_checked_and_capped() {
    let (repo, user) = with_file("file", both());
    let path = TargetPath::new("file").unwrap();
    let read = |max| {
        user.session(async |session| {
            let found = session.find(&path).await?;
            session.read(&found, max).await
        })
    };
    assert_eq!(read(7), Ok(CONTENT.to_vec()));
    repo.server.requests();
    let too_large = FileError::TooLarge { path: "file".into(), length: 7, max: 6 };
    assert_eq!(read(6), Err(ClientError::File(too_large)));
    assert_eq!(
        repo.server.requests(),
        ["2.root.json", "timestamp.json"],
        "an announced size needs no request"
    );
    repo.serve_file("file", &hex::encode(sha256(CONTENT)), b"c0ntent");
    assert!(matches!(read(7), Err(ClientError::File(FileError::WrongHash { .. }))));
}

#[test]
fn a_local_file_is_verified_against_what_was_signed() {
    let (_repo, user) = with_file("file", both());
    let local = user.targets_dir();
    let path = TargetPath::new("file").unwrap();
    let verify = || {
        user.session(async |session| {
            let found = session.prove(&session.find(&path).await?).await?;
            Session::verify(&found, &local).map(|file| file.fetched())
        })
    };
    assert!(matches!(verify(), Err(ClientError::File(FileError::Io { what: "looking at", .. }))));
    std::fs::write(&local, CONTENT).unwrap();
    assert_eq!(verify(), Ok(false));
    std::fs::write(&local, b"c0ntent").unwrap();
    assert!(matches!(verify(), Err(ClientError::File(FileError::WrongHash { .. }))));
    std::fs::write(&local, b"conten").unwrap();
    let short = FileError::WrongLength { path: "file".into(), found: 6, expected: 7 };
    assert_eq!(verify(), Err(ClientError::File(short)));
}

#[test]
fn many_local_files_are_verified_each_with_its_own_result_in_their_order() {
    let mut repo = Repo::new();
    let names: Vec<String> = (0..50).map(|number| format!("file-{number}")).collect();
    for name in &names {
        repo.add_file("targets", name, name.as_bytes());
    }
    repo.release_role("targets");
    let user = User::new(&repo);
    let folder = tempfile::tempdir().unwrap();
    for (number, name) in names.iter().enumerate().filter(|(number, _)| number % 5 != 3) {
        let content = if number % 7 == 0 { name.to_uppercase() } else { name.clone() };
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let verified = user.session(async |session| {
        let mut files = Vec::new();
        for name in &names {
            let found = session.find(&TargetPath::new(name.as_str()).unwrap()).await?;
            files.push((session.prove(&found).await?, folder.path().join(name)));
        }
        Ok(Session::verify_all(&files))
    });
    for (number, result) in verified.unwrap().into_iter().enumerate() {
        match result {
            Ok(file) => {
                assert_eq!(file.path(), folder.path().join(&names[number]));
                assert!(number % 5 != 3 && number % 7 != 0, "{number}");
            }
            Err(ClientError::File(FileError::Io { what: "looking at", .. })) => assert_eq!(number % 5, 3),
            Err(ClientError::File(FileError::WrongHash { path, .. })) => {
                assert_eq!((number % 7, path.as_str()), (0, names[number].as_str()));
            }
            Err(other) => unreachable!("{other}"),
        }
    }
}

#[test]
fn an_empty_file_is_a_file() {
    let mut repo = Repo::new();
    repo.add_file("targets", "empty", b"");
    repo.release_role("targets");
    let user = User::new(&repo);
    assert_eq!(user.download("empty"), Ok(true));
    assert_eq!(user.download("empty"), Ok(false));
    assert_eq!(user.downloaded(), [("empty".to_owned(), String::new())]);
}
