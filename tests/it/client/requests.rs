//! Exactly the requests that the specification needs, in its order.

use wheelseal::client::{Client, ClientError, DirSource, FetchError, MetadataDir};
use wheelseal::tuf::path::TargetPath;

use crate::simulator::{METADATA, Repo, TARGETS, User, absent, chain, now, run};

#[test]
fn first_refresh_asks_for_each_role_once() {
    let repo = Repo::new();
    let user = User::new(&repo);
    assert_eq!(user.refresh(), Ok(()));
    assert_eq!(
        repo.server.requests(),
        ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]
    );
    assert_eq!(user.cached(), "root 1, snapshot 1, targets 1, timestamp 1");
}

#[test]
fn what_is_stored_is_what_was_received() {
    let repo = Repo::new();
    repo.server.edit("timestamp.json", |text| {
        text.replace("{\"signatures\"", "{ \"unknown\" : 1 ,\n\"signatures\"")
    });
    let user = User::new(&repo);
    assert_eq!(user.refresh(), Ok(()));
    for (stem, file) in
        [("timestamp", "timestamp.json"), ("snapshot", "1.snapshot.json"), ("targets", "1.targets.json")]
    {
        assert_eq!(user.cached_bytes(stem), repo.server.bytes(file));
    }
}

#[test]
fn repeated_refresh_asks_for_the_next_root_and_timestamp_alone() {
    let repo = Repo::new();
    let user = User::new(&repo);
    user.refresh().unwrap();
    repo.server.requests();
    assert_eq!(user.refresh(), Ok(()));
    assert_eq!(repo.server.requests(), ["2.root.json", "timestamp.json"]);
    assert_eq!(user.cached(), "root 1, snapshot 1, targets 1, timestamp 1");
}

#[test]
fn unchanged_targets_are_not_fetched_again() {
    let mut repo = Repo::new();
    let user = User::new(&repo);
    user.refresh().unwrap();
    repo.server.requests();
    repo.release();
    assert_eq!(user.refresh(), Ok(()));
    assert_eq!(repo.server.requests(), ["2.root.json", "timestamp.json", "2.snapshot.json"]);
    assert_eq!(user.cached(), "root 1, snapshot 2, targets 1, timestamp 2");
}

#[test]
fn roots_are_asked_for_one_by_one_up_to_the_first_absent() {
    let mut repo = Repo::new();
    let user = User::new(&repo);
    for _ in 2..=4 {
        repo.rotate(|_| {});
    }
    assert_eq!(user.refresh(), Ok(()));
    let all = ["2.root.json", "3.root.json", "4.root.json", "5.root.json"];
    assert_eq!(repo.server.requests()[..4], all);
    repo.rotate(|_| {});
    assert_eq!(user.refresh(), Ok(()));
    assert_eq!(repo.server.requests(), ["5.root.json", "6.root.json", "timestamp.json"]);
}

#[test]
fn without_consistent_snapshots_names_carry_no_version() {
    let mut repo = Repo::new();
    repo.rotate(|repo| repo.root.consistent_snapshot = false);
    repo.delegate("targets", "A", &["*"]);
    repo.add_file("A", "file", b"content");
    repo.release_role("targets");
    let user = User::new(&repo);
    assert_eq!(user.download("file"), Ok(true));
    let all = [
        "2.root.json",
        "3.root.json",
        "timestamp.json",
        "snapshot.json",
        "targets.json",
        "A.json",
        "targets/file",
    ];
    assert_eq!(repo.server.requests(), all);
}

#[test]
fn download_updates_first() {
    let mut repo = Repo::new();
    repo.add_file("targets", "file", b"content");
    repo.release_role("targets");
    let user = User::new(&repo);
    assert_eq!(user.download("file"), Ok(true));
    let requests = repo.server.requests();
    assert_eq!(requests[..4], ["2.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json"]);
    assert_eq!(requests.len(), 5);
}

#[test]
fn a_failed_update_downloads_nothing() {
    let mut repo = Repo::new();
    repo.add_file("targets", "file", b"content");
    repo.release_role("targets");
    repo.server.remove("timestamp.json");
    let user = User::new(&repo);
    assert_eq!(user.download("file"), Err(absent("timestamp.json")));
    assert_eq!(repo.server.requests(), ["2.root.json", "timestamp.json"]);
    assert_eq!((user.cached().as_str(), user.downloaded()), ("root 1", vec![]));
}

#[test]
fn each_absent_file_is_named_and_ends_the_update() {
    let cases = [
        ("timestamp.json", "root 1", 2),
        ("1.snapshot.json", "root 1, timestamp 1", 3),
        ("1.targets.json", "root 1, snapshot 1, timestamp 1", 4),
    ];
    for (file, cached, requests) in cases {
        let repo = Repo::new();
        repo.server.remove(file);
        let user = User::new(&repo);
        assert_eq!(user.refresh(), Err(absent(file)));
        assert_eq!((user.cached().as_str(), repo.server.requests().len()), (cached, requests));
    }
}

#[test]
fn a_server_that_fails_for_the_next_root_is_not_taken_for_the_end_of_the_chain() {
    let repo = Repo::new();
    let error = FetchError::Status { url: "2.root.json".into(), status: 500 };
    repo.server.set("metadata/2.root.json", crate::simulator::Answer::Fails(error.clone()));
    let user = User::new(&repo);
    assert_eq!(user.refresh(), Err(ClientError::Fetch(error)));
    assert_eq!(repo.server.requests(), ["2.root.json"]);
}

#[test]
fn a_folder_serves_as_well_as_a_server() {
    let mut repo = Repo::new();
    repo.delegate("targets", "a/b", &["dir/*"]);
    repo.add_file("a/b", "dir/file", b"content");
    repo.release_role("targets");
    let dir = tempfile::tempdir().unwrap();
    let (metadata, targets) = (dir.path().join("metadata"), dir.path().join("targets"));
    std::fs::create_dir(&metadata).unwrap();
    for (file, bytes) in repo.server.metadata() {
        std::fs::write(metadata.join(file), bytes).unwrap();
    }
    let cache = MetadataDir::init(dir.path().join("cache"), &repo.server.bytes("1.root.json")).unwrap();
    let source = |path| Box::new(DirSource::new(path));
    let client = Client::new(source(metadata), source(targets.clone()), cache, repo_limits());
    run(async {
        let session = client.refresh(now()).await.unwrap();
        let found = session.find(&TargetPath::new("dir/file").unwrap()).await.unwrap();
        assert_eq!(chain(&found), "targets > a/b");
        let location = found.path.location(found.target.hashes.name().as_deref());
        let absent = session.read(&found, 100).await.unwrap_err();
        assert_eq!(absent.to_string(), format!("the repository has no {location}, though it signs dir/file"));
        std::fs::create_dir_all(targets.join("dir")).unwrap();
        std::fs::write(targets.join(&location), b"content and more").unwrap();
        let error = session.read(&found, 100).await.unwrap_err();
        let url = targets.join(&location).display().to_string();
        assert_eq!(error, ClientError::Fetch(FetchError::TooLarge { url, max: 7 }));
        std::fs::write(targets.join(&location), b"content").unwrap();
        assert_eq!(session.read(&found, 100).await.unwrap(), b"content");
    });
}

fn repo_limits() -> wheelseal::tuf::trusted::Limits {
    wheelseal::tuf::trusted::Limits::default()
}

#[test]
fn the_two_sources_are_separate() {
    assert_ne!(METADATA, TARGETS);
    let mut repo = Repo::new();
    repo.add_file("targets", "timestamp.json", b"content");
    repo.release_role("targets");
    let user = User::new(&repo);
    assert_eq!(user.download("timestamp.json"), Ok(true));
    assert_eq!(user.downloaded(), [("timestamp.json".to_owned(), "content".to_owned())]);
    assert_eq!(user.cached(), "root 1, snapshot 2, targets 2, timestamp 2");
}
