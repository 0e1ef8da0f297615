//! Repositories on disk that must stay readable: one that python-tuf 7.0.1 made (ed25519, ecdsa and rsa keys, a listed
//! delegation, succinct bins, sha256 and sha512), one that `wheelseal demo --keep` made. Each byte of each metadata
//! file flipped, and each truncation, must be refused or change nothing, and never panic.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic, that is how it fails")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use wheelseal::client::{Client, DirSource, MetadataDir};
use wheelseal::repository::{Repository, Unwatched};
use wheelseal::store::DirStore;
use wheelseal::tuf::lookup::{Edge, Search, Step};
use wheelseal::tuf::metadata::Targets;
use wheelseal::tuf::path::{RoleName, TargetPath};
use wheelseal::tuf::signed::Verified;
use wheelseal::tuf::trusted::{Limits, RootChain, TrustError, Trusted};

/// Inside the life of everything in both repositories.
fn now() -> DateTime<Utc> {
    "2026-11-22T12:00:00Z".parse().unwrap_or_default()
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name)
}

/// The files of a repository's `metadata/` by name.
fn metadata(name: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(golden(name).join("metadata")).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, std::fs::read(entry.path()).ok()?)))
        .collect()
}

/// The client workflow over files in memory, and a search for every target; what all of it found, as text.
fn everything(files: &BTreeMap<String, Vec<u8>>, targets: &[&str]) -> Result<String, TrustError> {
    let get = |path: &str| files.get(path).cloned().unwrap_or_default();
    let mut chain = RootChain::start(get("1.root.json"), now(), Limits::default())?;
    while let Some(bytes) = files.get(&chain.request()?.path) {
        chain.accept(bytes.clone())?;
    }
    let timestamp = chain.finish()?;
    let bytes = get(&timestamp.request().path);
    let snapshot = timestamp.accept(bytes)?;
    let bytes = get(&snapshot.request()?.path);
    let top = snapshot.accept(bytes)?;
    let bytes = get(&top.request()?.path);
    let mut trusted = top.accept(bytes)?;
    let mut found = format!("{:?} {:?}", **trusted.root(), **trusted.snapshot());
    for target in targets {
        let mut search = Search::new(TargetPath::new(*target)?);
        found += &loop {
            match search.step(&trusted)? {
                Step::Found(file) => break format!("{:?}", file.target),
                Step::NotFound => break "nothing".to_owned(),
                Step::Need(edge) => accept(&mut trusted, &edge, files)?,
            }
        };
    }
    Ok(found)
}

fn accept(trusted: &mut Trusted, edge: &Edge, files: &BTreeMap<String, Vec<u8>>) -> Result<(), TrustError> {
    let bytes = files.get(&trusted.request(edge)?.path).cloned().unwrap_or_default();
    trusted.accept(edge, bytes)
}

const PYTHON_TUF: [&str; 3] = ["top.txt", "a/one.whl", "b/two.whl"];
const WHEELSEAL: [&str; 2] = ["seal/seal-1.0.1-py3-none-any.whl", "simple/wax/index.json"];

fn flip_everything(name: &str, targets: &[&str], step: usize) {
    let genuine = metadata(name);
    let expected = everything(&genuine, targets).unwrap();
    assert!(!expected.contains("nothing"), "{expected}");
    let mut refused = 0_u32;
    for (file, bytes) in &genuine {
        let mut files = genuine.clone();
        for at in (0..bytes.len()).step_by(step) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            for damaged in [flipped, bytes[..at].to_vec()] {
                files.insert(file.clone(), damaged);
                match everything(&files, targets) {
                    Err(_) => refused += 1,
                    Ok(found) => assert_eq!(found, expected, "{file} at {at}"),
                }
            }
        }
    }
    assert!(refused > 1_000, "only {refused} damages were refused");
}

#[test]
fn a_python_tuf_repository_with_any_byte_damaged_is_refused_or_unchanged() {
    flip_everything("python-tuf", &PYTHON_TUF, 1);
}

#[test]
fn a_wheelseal_repository_with_any_byte_damaged_is_refused_or_unchanged() {
    flip_everything("wheelseal", &WHEELSEAL, 5);
}

#[tokio::test]
async fn each_target_of_the_python_tuf_repository_downloads_verified() {
    let (base, folder) = (golden("python-tuf"), tempfile::tempdir().unwrap());
    let root = std::fs::read(base.join("metadata/1.root.json")).unwrap();
    let cache = MetadataDir::init(folder.path().join("trusted"), &root).unwrap();
    let source = |part: &str| Box::new(DirSource::new(base.join(part)));
    let client = Client::new(source("metadata"), source("targets"), cache, Limits::default());
    let session = client.refresh(now()).await.unwrap();
    for target in PYTHON_TUF {
        let found = session.find(&TargetPath::new(target).unwrap()).await.unwrap();
        assert!(found.target.hashes.sha512.is_some());
        let file = session.download(&found, &folder.path().join("file")).await.unwrap();
        assert!(file.fetched());
    }
}

#[tokio::test]
async fn the_wheelseal_repository_still_passes_its_own_check() {
    let store = Arc::new(DirStore::open(golden("wheelseal")).await.unwrap());
    let repository = Repository::open(store).await.unwrap();
    let checked = repository.check(now(), &Unwatched).await.unwrap();
    assert_eq!(checked.problems, []);
    assert_eq!((checked.roles, checked.targets), (23, 9));
    let state = repository.state().await.unwrap();
    let bins: &Verified<Targets> = &state.bins;
    assert!(bins.delegations.as_ref().unwrap().role(&RoleName::delegated("bins-f").unwrap()).is_some());
}
