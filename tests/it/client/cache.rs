//! The folder of trusted metadata: shared by processes, used offline, healed when damaged.

use std::sync::Arc;

use wheelseal::client::{CacheError, Client, ClientError, FetchError, MetadataDir};
use wheelseal::tuf::path::TargetPath;
use wheelseal::tuf::trusted::TrustError;

use crate::simulator::{
    Answer, METADATA, Repo, TARGETS, User, chain, expired, expires, malformed, now, run, trust,
};

/// A repository with a file in a delegated role.
fn repo() -> Repo {
    let mut repo = Repo::new();
    repo.delegate("targets", "A", &["*"]);
    repo.add_file("A", "file", b"content");
    repo.release_role("targets");
    repo
}

const ALL: &str = "A 1, root 1, snapshot 2, targets 2, timestamp 2";

#[test]
fn many_clients_on_one_folder_all_succeed() {
    let mut repo = repo();
    let user = User::new(&repo);
    for round in 0..5 {
        std::thread::scope(|scope| {
            let work: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..3).try_for_each(|_| user.download("file").map(drop))))
                .collect();
            for work in work {
                assert_eq!(work.join().unwrap(), Ok(()));
            }
        });
        let cached = format!("A 1, root 1, snapshot {0}, targets 2, timestamp {0}", round + 2);
        assert_eq!(user.cached(), cached, "and nothing temporary is left");
        repo.release();
    }
}

#[test]
fn two_clients_in_one_thread_take_turns() {
    let repo = repo();
    let user = User::new(&repo);
    let (one, two) = (user.client(), user.client());
    run(async {
        let (one, two) = tokio::join!(one.refresh(now()), two.refresh(now()));
        assert!(one.is_ok() && two.is_ok());
    });
    let each = [
        "2.root.json",
        "timestamp.json",
        "2.snapshot.json",
        "2.targets.json",
        "2.root.json",
        "timestamp.json",
    ];
    assert_eq!(repo.server.requests(), each, "the second found the files of the first");
}

#[test]
fn the_lock_is_released_by_a_refresh_that_fails() {
    let mut repo = repo();
    let user = User::new(&repo);
    let error = FetchError::Network { url: "x".into(), reason: "gone".into() };
    repo.server.set("metadata/2.snapshot.json", Answer::Fails(error.clone()));
    assert_eq!(user.refresh(), Err(error.into()));
    repo.publish();
    assert_eq!(user.refresh(), Ok(()));
}

/// A lookup from local files alone.
fn offline(user: &User, path: &str) -> Result<String, ClientError> {
    let path = TargetPath::new(path).unwrap();
    run(async { Ok(chain(&user.client().offline(user.now).await?.find(&path).await?)) })
}

#[test]
fn offline_serves_what_is_kept_and_asks_for_nothing() {
    let mut repo = repo();
    repo.delegate("targets", "B", &["b"]);
    repo.release_role("targets");
    let user = User::new(&repo);
    user.find("file").unwrap();
    repo.server.requests();
    assert_eq!(offline(&user, "file"), Ok("targets > A".to_owned()));
    assert_eq!(offline(&user, "b"), Err(trust(TrustError::NoLocal { role: "B".into() })));
    assert_eq!(repo.server.requests(), Vec::<String>::new());
}

#[test]
fn offline_accepts_a_file_that_is_there_and_fetches_none() {
    let repo = repo();
    let user = User::new(&repo);
    user.find("file").unwrap();
    repo.server.requests();
    let to = user.targets_dir();
    let path = TargetPath::new("file").unwrap();
    run(async {
        let client = user.client();
        let session = client.offline(now()).await.unwrap();
        let found = session.find(&path).await.unwrap();
        let error = trust(TrustError::NoLocal { role: "target file".into() });
        assert_eq!(session.download(&found, &to).await, Err(error.clone()));
        assert_eq!(session.read(&found, 100).await, Err(error));
        std::fs::write(&to, b"content").unwrap();
        assert!(!session.download(&found, &to).await.unwrap().fetched());
    });
    assert_eq!(repo.server.requests(), Vec::<String>::new());
}

#[test]
fn offline_needs_each_role() {
    let repo = repo();
    for role in ["timestamp", "snapshot", "targets"] {
        let user = User::new(&repo);
        user.find("file").unwrap();
        std::fs::remove_file(user.metadata_dir().join(format!("{role}.json"))).unwrap();
        assert_eq!(offline(&user, "file"), Err(trust(TrustError::NoLocal { role: role.into() })));
    }
    let user = User::new(&repo);
    std::fs::remove_dir_all(user.metadata_dir()).unwrap();
    assert!(matches!(offline(&user, "file"), Err(ClientError::Cache(CacheError::NoRoot { .. }))));
}

#[test]
fn offline_trusts_nothing_that_has_expired() {
    for role in ["root", "timestamp", "snapshot", "targets", "A"] {
        let mut repo = repo();
        let soon = now() + chrono::Days::new(1);
        match role {
            "root" => repo.root.common.expires = soon,
            "timestamp" => repo.timestamp.common.expires = soon,
            "snapshot" => repo.snapshot.common.expires = soon,
            role => repo.role(role).common.expires = soon,
        }
        repo.publish_root();
        repo.publish();
        let mut user = User::new(&repo);
        user.find("file").unwrap();
        assert_eq!(offline(&user, "file"), Ok("targets > A".to_owned()));
        user.now = soon;
        let error = match role {
            "root" => expired("root", 1, soon, soon),
            "timestamp" => expired("timestamp", 2, soon, soon),
            "snapshot" => trust(TrustError::NoLocal { role: "snapshot".into() }),
            "targets" => trust(TrustError::NoLocal { role: "targets".into() }),
            _ => trust(TrustError::NoLocal { role: "A".into() }),
        };
        assert_eq!(offline(&user, "file"), Err(error), "{role}");
        assert!(soon < expires());
    }
}

/// What damage does to a file.
const DAMAGE: [(&str, fn(Vec<u8>) -> Vec<u8>); 5] = [
    ("empty", |_| Vec::new()),
    ("cut off", |bytes| bytes[..bytes.len() / 2].to_vec()),
    ("not JSON", |_| b"\0\xff garbage".to_vec()),
    ("other JSON", |_| b"{\"signed\":{},\"signatures\":[]}".to_vec()),
    ("zeros", |bytes| vec![0; bytes.len()]),
];

#[test]
fn damaged_files_heal_by_fetching_them_again() {
    let repo = repo();
    for (role, fetched) in [
        ("timestamp", None),
        ("snapshot", Some("2.snapshot.json")),
        ("targets", Some("2.targets.json")),
        ("A", Some("1.A.json")),
    ] {
        for (name, damage) in DAMAGE {
            let user = User::new(&repo);
            user.download("file").unwrap();
            let good = user.cached_bytes(role);
            user.overwrite(role, &damage(good.clone()));
            repo.server.requests();
            assert_eq!(user.download("file"), Ok(false), "{role} {name}");
            let all = ["2.root.json", "timestamp.json"].into_iter().chain(fetched);
            assert_eq!(repo.server.requests(), all.collect::<Vec<_>>(), "{role} {name}");
            assert_eq!((user.cached().as_str(), user.cached_bytes(role)), (ALL, good), "{role} {name}");
        }
    }
}

#[test]
fn a_kept_file_that_another_key_signed_is_not_used() {
    let repo = repo();
    for (role, file) in [("targets", "2.targets.json"), ("A", "1.A.json")] {
        let user = User::new(&repo);
        user.download("file").unwrap();
        let edited = String::from_utf8(user.cached_bytes(role)).unwrap().replace("2027-", "2028-");
        user.overwrite(role, edited.as_bytes());
        repo.server.requests();
        assert_eq!(user.download("file"), Ok(false));
        assert_eq!(repo.server.requests(), ["2.root.json", "timestamp.json", file]);
    }
}

#[test]
fn a_damaged_root_fails_closed_without_a_request() {
    for (name, damage) in DAMAGE {
        let repo = repo();
        let user = User::new(&repo);
        user.download("file").unwrap();
        let bad = damage(user.cached_bytes("root"));
        user.overwrite("root", &bad);
        repo.server.requests();
        let reason = malformed(user.refresh());
        assert!(reason.is_some_and(|text| text.starts_with("root: ")), "{name}");
        assert_eq!(repo.server.requests(), Vec::<String>::new(), "{name}");
        assert_eq!(user.cached_bytes("root"), bad, "{name}: it is left as it is");
    }
}

#[test]
fn a_folder_in_place_of_a_file_is_an_error_that_names_it() {
    let repo = repo();
    let user = User::new(&repo);
    std::fs::create_dir(user.metadata_dir().join("timestamp.json")).unwrap();
    let path = user.metadata_dir().join("timestamp.json").display().to_string();
    let error = user.refresh().unwrap_err();
    assert!(
        matches!(&error, ClientError::Cache(CacheError::Io { path: named, .. }) if *named == path),
        "{error}"
    );
}

#[test]
fn the_first_root_is_stored_as_given_and_unchecked() {
    let dir = tempfile::tempdir().unwrap();
    let cache = MetadataDir::new(dir.path().join("deep/er"));
    assert!(!cache.has_root());
    let cache = MetadataDir::init(dir.path().join("deep/er"), b"anything").unwrap();
    assert!(cache.has_root());
    assert_eq!(cache.root(), Ok(Arc::from(&b"anything"[..])));
}

#[test]
fn a_session_goes_on_with_what_it_trusts_while_the_repository_moves() {
    let mut repo = repo();
    let user = User::new(&repo);
    let cache = MetadataDir::new(user.metadata_dir());
    let client = Client::new(repo.server.source(METADATA), repo.server.source(TARGETS), cache, user.limits);
    run(async {
        let session = client.refresh(now()).await.unwrap();
        repo.add_file("A", "file", b"newer content");
        repo.release_role("A");
        let found = session.find(&TargetPath::new("file").unwrap()).await.unwrap();
        assert_eq!(session.read(&found, 100).await.unwrap(), b"content");
    });
    assert_eq!(user.cached(), ALL);
}

#[test]
fn a_refresh_removes_what_lay_in_the_spool_for_a_day_and_nothing_younger() {
    let repo = repo();
    let user = User::new(&repo);
    let spool = user.metadata_dir().join(".spool");
    std::fs::create_dir(&spool).unwrap();
    for (name, hours) in [("old", 25), ("a minute too old", 24), ("young", 23)] {
        let path = spool.join(name);
        std::fs::write(&path, "unchecked").unwrap();
        let then = user.now - chrono::TimeDelta::hours(hours) - chrono::TimeDelta::minutes(1);
        std::fs::File::options().append(true).open(path).unwrap().set_modified(then.into()).unwrap();
    }
    user.refresh().unwrap();
    let left: Vec<_> = std::fs::read_dir(&spool).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["young"]);
}
