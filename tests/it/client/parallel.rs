//! Many files at once: how many, in which order, and what is left when one of them is wrong.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use wheelseal::client::{Client, ClientError, FileError, Http, MetadataDir, Timing, VerifiedFile, Wanted};
use wheelseal::tuf::path::TargetPath;
use wheelseal::tuf::trusted::Limits;

use super::wire::{Asked, Part, Wire, not_found, ok};
use crate::simulator::{Repo, now, run};

/// A repository of these files over the wire.
struct Stage {
    wire: Wire,
    home: tempfile::TempDir,
    root: Vec<u8>,
}

impl Stage {
    fn new(files: &[&str], target: impl Fn(&str, Vec<u8>) -> Vec<Part> + Send + Sync + 'static) -> Self {
        let mut repo = Repo::new();
        for file in files {
            repo.add_file("targets", file, format!("content of {file}").as_bytes());
        }
        repo.release_role("targets");
        let server = repo.server.clone();
        let wire = Wire::start(move |asked: &Asked| {
            if let Some(name) = asked.path().strip_prefix("/metadata/") {
                return server.metadata().get(name).map_or_else(not_found, |body| ok(body));
            }
            let path = asked.path().trim_start_matches("/targets/");
            server.target(path).map_or_else(not_found, |body| target(path, body))
        });
        Self { wire, home: tempfile::tempdir().unwrap(), root: repo.server.bytes("1.root.json") }
    }

    fn client(&self, name: &str) -> Client {
        let cache = MetadataDir::new(self.home.path().join(name));
        cache.start(&self.root).unwrap();
        let http = Http::new(Timing { pauses: [Duration::from_millis(1); 3], ..Timing::default() }).unwrap();
        let metadata = http.metadata(&self.wire.url("/metadata/")).unwrap();
        let targets = http.targets(&self.wire.url("/targets/")).unwrap();
        Client::new(Box::new(metadata), Box::new(targets), cache, Limits::default())
    }

    /// Downloads into the folder `to`.
    async fn download(
        &self,
        client: &Client,
        files: &[&str],
        jobs: usize,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Vec<VerifiedFile>, ClientError> {
        let session = client.refresh(now()).await?;
        let mut wanted = Vec::new();
        for file in files {
            let path = TargetPath::new(*file).unwrap();
            let to = self.to().join(path.file_name());
            wanted.push(Wanted { found: session.find(&path).await?, to });
        }
        session.download_all(&wanted, NonZeroUsize::new(jobs).unwrap(), progress).await
    }

    fn to(&self) -> std::path::PathBuf {
        self.home.path().join("to")
    }
}

fn left(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const TEN: [&str; 10] = ["a/0", "a/1", "a/2", "a/3", "a/4", "b/5", "b/6", "b/7", "b/8", "b/9"];

#[test]
fn as_many_files_as_jobs_are_under_way_at_once_over_as_many_connections() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now_running, seen) = (Arc::clone(&running), Arc::clone(&most));
    let stage = Stage::new(&TEN, move |_, body| {
        let running = now_running.fetch_add(1, Ordering::SeqCst) + 1;
        seen.fetch_max(running, Ordering::SeqCst);
        // Until all four are there, for the first four; a while for the others.
        for _ in 0..100 {
            if seen.load(Ordering::SeqCst) >= 4 {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        now_running.fetch_sub(1, Ordering::SeqCst);
        ok(&body)
    });
    let told = Mutex::new(Vec::new());
    let client = stage.client("cache");
    let progress = |done, total| told.lock().unwrap().push((done, total));
    let files = run(stage.download(&client, &TEN, 4, &progress)).unwrap();
    let names: Vec<_> = files.iter().map(|file| file.path().file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"], "in the order asked for");
    assert!(files.iter().all(VerifiedFile::fetched));
    assert_eq!(most.load(Ordering::SeqCst), 4);
    assert_eq!(stage.wire.connections(), 4, "kept alive, and the first shared with metadata");
    let lines = stage.wire.lines();
    let first_target = lines.iter().position(|line| line.contains("/targets/")).unwrap();
    assert!(lines[first_target..].iter().all(|line| line.contains("/targets/")), "metadata first: {lines:?}");
    assert_eq!(lines.len(), 4 + 10);
    let told = told.into_inner().unwrap();
    assert!(told.is_sorted(), "{told:?}");
    assert_eq!(told.last(), Some(&(140, 140)));
}

#[test]
fn one_wrong_file_stops_the_rest_and_leaves_only_whole_ones() {
    let stage = Stage::new(&TEN, |path, body| match path.rsplit('.').next() {
        Some("1") => ok(b"content of x/1"),
        Some("0") => ok(&body),
        _ => vec![
            Part::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\ncont".to_vec()),
            Part::Wait(20_000),
        ],
    });
    let client = stage.client("cache");
    let refused = run(stage.download(&client, &TEN, 4, &|_, _| {})).unwrap_err();
    let ClientError::File(FileError::WrongHash { path, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(path, "a/1");
    let there = left(&stage.to());
    assert!(there.is_empty() || there == ["0"], "{there:?}");
    assert_eq!(left(&stage.home.path().join("cache/.spool")), [""; 0]);
    let asked = stage.wire.lines().iter().filter(|line| line.contains("/targets/")).count();
    assert!(asked <= 6, "{asked}");
}

#[test]
fn two_files_for_one_place_are_refused_before_anything_is_fetched() {
    let stage = Stage::new(&["a/x", "b/x"], |_, body| ok(&body));
    let client = stage.client("cache");
    let refused = run(stage.download(&client, &["a/x", "b/x"], 2, &|_, _| {})).unwrap_err();
    let place = stage.to().join("x").display().to_string();
    let (first, second) = ("a/x".to_owned(), "b/x".to_owned());
    assert_eq!(refused, ClientError::File(FileError::OnePlace { first, second, place }));
    assert!(!stage.wire.lines().iter().any(|line| line.contains("/targets/")));
    let twice = run(stage.download(&client, &["a/x", "a/x"], 2, &|_, _| {})).unwrap();
    assert_eq!(twice.len(), 2);
    assert_eq!(stage.wire.lines().iter().filter(|line| line.contains("/targets/")).count(), 1);
}

#[test]
fn what_is_there_already_is_not_fetched_and_counts_as_done() {
    let stage = Stage::new(&TEN, |_, body| ok(&body));
    let client = stage.client("cache");
    run(stage.download(&client, &TEN[..5], 3, &|_, _| {})).unwrap();
    let told = Mutex::new((0, 0));
    let progress = |done, total| *told.lock().unwrap() = (done, total);
    let files = run(stage.download(&client, &TEN, 3, &progress)).unwrap();
    let fetched: Vec<_> = files.iter().map(VerifiedFile::fetched).collect();
    assert_eq!(fetched, [[false; 5], [true; 5]].concat());
    assert_eq!(*told.lock().unwrap(), (140, 140));
}

#[test]
fn two_clients_may_share_one_cache_and_one_destination() {
    let stage = Stage::new(&TEN, |_, body| ok(&body));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let client = stage.client("cache");
                let files = run(stage.download(&client, &TEN, 4, &|_, _| {})).unwrap();
                assert_eq!(files.len(), 10);
            });
        }
    });
    assert_eq!(left(&stage.to()), ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    for file in TEN {
        let bytes = std::fs::read(stage.to().join(file.rsplit('/').next().unwrap())).unwrap();
        assert_eq!(bytes, format!("content of {file}").as_bytes());
    }
    assert_eq!(left(&stage.home.path().join("cache/.spool")), [""; 0]);
}
