//! Every byte of a small repository changed, and every file cut off at every length: no panic, nothing but the truth.

use std::collections::BTreeMap;

use wheelseal::client::ClientError;
use wheelseal::tuf::lookup::{Search, Step};
use wheelseal::tuf::metadata::{MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp};
use wheelseal::tuf::path::TargetPath;
use wheelseal::tuf::trusted::{Limits, Request, RootChain, Trusted};

use crate::simulator::{Repo, User, key, key_of, length, now};

type Files = BTreeMap<String, Vec<u8>>;

/// Two roots, a delegation, a file; a signature that nobody needs on each; the first root.
fn golden() -> (Files, Vec<u8>) {
    let mut repo = Repo::new();
    repo.delegate("targets", "A", &["*"]);
    repo.add_file("A", "file", b"content");
    for (role, seed) in crate::simulator::TOP_LEVEL {
        repo.signers.insert(role.name().into(), vec![key(seed), key(99)]);
    }
    repo.signers.insert("A".into(), vec![key_of("A"), key(99)]);
    repo.rotate(|_| {});
    repo.release_role("targets");
    repo.snapshot.meta.insert("other.json", MetaFile::version(1));
    repo.publish_snapshot();
    let mut files = repo.server.metadata();
    files.retain(|name, _| !name.starts_with("1.") || name == "1.A.json");
    (files, repo.server.bytes("1.root.json"))
}

/// Everything that a client can learn.
#[derive(Debug, PartialEq)]
struct Learnt {
    root: Root,
    timestamp: Timestamp,
    snapshot: Snapshot,
    targets: Targets,
    target: TargetFile,
    chain: Vec<Targets>,
}

/// The client workflow without a network or a folder; why it stopped is of no interest here.
fn learn(files: &Files, root: &[u8]) -> Option<Learnt> {
    let get =
        |request: Request| files.get(&request.path).filter(|bytes| length(bytes) <= request.max_len).cloned();
    let mut chain = RootChain::start(root, now(), Limits::default()).ok()?;
    while let Some(bytes) = get(chain.request().ok()?) {
        chain.accept(bytes).ok()?;
    }
    let phase = chain.finish().ok()?;
    let bytes = get(phase.request())?;
    let phase = phase.accept(bytes).ok()?;
    let bytes = get(phase.request().ok()?)?;
    let phase = phase.accept(bytes).ok()?;
    let bytes = get(phase.request().ok()?)?;
    search(phase.accept(bytes).ok()?, files)
}

fn search(mut trusted: Trusted, files: &Files) -> Option<Learnt> {
    let mut search = Search::new(TargetPath::new("file").unwrap());
    loop {
        match search.step(&trusted).ok()? {
            Step::NotFound => return None,
            Step::Need(edge) => {
                let bytes = files.get(&trusted.request(&edge).ok()?.path)?.clone();
                trusted.accept(&edge, bytes).ok()?;
            }
            Step::Found(found) => {
                return Some(Learnt {
                    root: (**trusted.root()).clone(),
                    timestamp: (**trusted.timestamp()).clone(),
                    snapshot: (**trusted.snapshot()).clone(),
                    targets: (**trusted.targets()).clone(),
                    target: found.target,
                    chain: found.chain.iter().map(|(_, role)| (**role).clone()).collect(),
                });
            }
        }
    }
}

/// The root to start from: the first one only where the second is what is broken, to save time.
fn start<'a>(broken: &str, files: &'a Files, first: &'a [u8]) -> &'a [u8] {
    if broken == "2.root.json" { first } else { &files["2.root.json"] }
}

#[test]
fn no_changed_byte_yields_anything_but_the_truth() {
    let (files, root) = golden();
    let truth = learn(&files, &root).unwrap();
    assert_eq!(
        files.keys().collect::<Vec<_>>(),
        ["1.A.json", "2.root.json", "2.snapshot.json", "2.targets.json", "timestamp.json"]
    );
    let mut accepted = 0;
    for (name, bytes) in &files {
        let root = start(name, &files, &root);
        for at in 0..bytes.len() {
            let mut changed = files.clone();
            changed.get_mut(name).unwrap()[at] ^= 1 << (at % 8);
            if let Some(learnt) = learn(&changed, root) {
                assert_eq!(learnt, truth, "{name}, byte {at}");
                accepted += 1;
            }
        }
    }
    let unused = 128 * files.len();
    assert!(
        accepted > unused / 2 && accepted < unused * 2,
        "{accepted}: unused signatures and letter case alone"
    );
}

#[test]
fn no_cut_off_file_yields_anything() {
    let (files, root) = golden();
    for (name, bytes) in &files {
        let root = start(name, &files, &root);
        for length in 0..bytes.len() {
            let mut changed = files.clone();
            changed.get_mut(name).unwrap().truncate(length);
            assert_eq!(learn(&changed, root), None, "{name}, {length} bytes");
        }
    }
}

#[test]
fn no_changed_byte_of_the_first_root_yields_anything_but_the_truth() {
    let (files, root) = golden();
    let truth = learn(&files, &root).unwrap();
    for at in 0..root.len() {
        let mut changed = root.clone();
        changed[at] ^= 1 << (at % 8);
        if let Some(learnt) = learn(&files, &changed) {
            assert_eq!(learnt, truth, "byte {at}");
        }
        assert_eq!(learn(&files, &root[..at]), None, "{at} bytes");
    }
}

/// The same through the client with its folder, for some of the bytes.
#[test]
fn no_changed_byte_reaches_the_folder() {
    let mut repo = Repo::new();
    repo.delegate("targets", "A", &["*"]);
    repo.add_file("A", "file", b"content");
    repo.release_role("targets");
    let good = repo.server.metadata();
    let names = ["timestamp.json", "2.snapshot.json", "2.targets.json", "1.A.json"];
    for (name, stem) in names.into_iter().zip(["timestamp", "snapshot", "targets", "A"]) {
        for at in (0..good[name].len()).step_by(61) {
            let mut changed = good[name].clone();
            changed[at] ^= 1 << (at % 8);
            repo.server.put(name, changed.clone());
            let user = User::new(&repo);
            match user.download("file") {
                Ok(_) => {
                    assert_eq!(user.cached_bytes(stem).to_ascii_lowercase(), good[name].to_ascii_lowercase());
                }
                Err(ClientError::Trust(_)) => assert!(!user.cached().contains(stem), "{name}, byte {at}"),
                Err(other) => panic!("{name}, byte {at}: {other}"),
            }
        }
        repo.server.put(name, good[name].clone());
    }
}
