//! What a transparency log costs, as JSON: what `benches/run log` makes its tables of. No network.
//!
//! ```text
//! tlog [--leaves N] [--dir DIR]     checks, sizes, and N leaves appended durably beside what the disk does by itself
//! tlog --large N [--dir DIR]        N leaves appended, and the peak memory of that; nothing else
//! ```
//!
//! Checks and sizes are of a log as large as PyPI's would be: 17 million leaves. No tree is built for them: proofs are of made-up
//! hashes, and the root is where they lead. Figures that are compared are measured in turns, the best of several runs each.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has nothing to report")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::Write as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncRead;
use wheelseal::crypto::{NewKey, PublicKey, Scheme, SigningKey, sha256};
use wheelseal::log::{Entries, Head, Log};
use wheelseal::store::{Content, DirStore, Entry, Object, Store, StoreError, StorePath, Swap, Tag};
use wheelseal::tlog::checkpoint::{Checkpoint, SignedCheckpoint};
use wheelseal::tlog::key::{KeyKind, KeyName, KnownKeys, VerifierKey};
use wheelseal::tlog::leaf::{FileLeaf, Leaf};
use wheelseal::tlog::merkle::Hash;
use wheelseal::tlog::policy::Policy;
use wheelseal::tlog::proof::{ProofError, check_inclusion, check_many};
use wheelseal::tlog::proof_file::ProofFile;
use wheelseal::tlog::recipe::Recipe;
use wheelseal::tlog::tile::TileId;

const LEAVES: u64 = 17_000_000;
const INDEX: u64 = LEAVES / 2;
const TARGETS: u64 = 100;
const ORIGIN: &str = "index.example.org/log";
const NOW: u64 = 1_795_000_000;
/// Runs of each loop, in turns with what it is compared with; the best counts.
const RUNS: usize = 7;
/// Proofs checked in a run.
const CHECKS: u32 = 20_000;
/// Times that 100 targets are checked in a run.
const HUNDREDS: u32 = 50;
/// Appends, each to a new log.
const APPENDS: usize = 3;

fn main() {
    let options = Options::of_arguments();
    let figures = match options.large {
        Some(count) => large(&options, count),
        None => json!({
            "check": check(),
            "hundred": hundred(),
            "sizes": sizes(),
            "append": append(&options, options.leaves),
            "publication": append(&options, 3),
        }),
    };
    println!("{}", serde_json::to_string_pretty(&figures).unwrap());
}

/// What was asked for.
struct Options {
    leaves: u64,
    large: Option<u64>,
    dir: PathBuf,
}

impl Options {
    /// Bad numbers end the program; what cargo adds is not looked at.
    fn of_arguments() -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let value = |name: &str| {
            let at = arguments.iter().position(|argument| argument == name)?;
            arguments.get(at + 1).cloned()
        };
        let number = |name: &str| value(name).map(|text| text.parse::<u64>().unwrap());
        Self {
            leaves: number("--leaves").unwrap_or(100_000),
            large: number("--large"),
            // The system's folder for temporary files may be memory.
            dir: value("--dir").map_or_else(|| env!("CARGO_TARGET_TMPDIR").into(), Into::into),
        }
    }

    fn folder(&self) -> TempDir {
        tempfile::tempdir_in(&self.dir).unwrap()
    }
}

/// CPU seconds of one inclusion check with its 26 hashes, and of these alone: one of a leaf and 25 of two hashes.
fn check() -> Value {
    let (scene, text, node) = (Scene::of_one(), leaf(INDEX), [7_u8; 65]);
    assert_eq!(scene.hashes.len(), 25);
    let floor = || {
        let mut found = sha256(black_box(text.as_bytes()));
        for _ in 0..25 {
            found = sha256(black_box(&node));
        }
        black_box(found);
    };
    let checked = || {
        let hash = Hash::leaf(black_box(text.as_bytes()));
        check_inclusion(&hash, INDEX, LEAVES, black_box(&scene.hashes), &scene.root).unwrap();
    };
    let (floor, checked) = in_turns(CHECKS, floor, checked);
    json!({"floor": floor, "inclusion": checked})
}

/// CPU seconds of 100 targets: the checkpoint read, its four signatures checked, its quorum counted; then one proof for all, or a
/// proof of 25 hashes for each.
fn hundred() -> Value {
    let (many, one, targets, text) = (Scene::of_many(), Scene::of_one(), leaves(), leaf(INDEX));
    let (many_note, one_note) = (many.checkpoint.to_string(), one.checkpoint.to_string());
    let by_one_proof = || {
        let checkpoint = SignedCheckpoint::parse(black_box(many_note.as_bytes())).unwrap();
        let accepted = many.policy.check(&checkpoint).unwrap();
        let hashed: Vec<_> =
            targets.iter().map(|(index, leaf)| (*index, Hash::leaf(black_box(leaf).as_bytes()))).collect();
        let (size, root) = (accepted.checkpoint().size(), accepted.checkpoint().root());
        check_many(&hashed, size, &many.hashes, root).unwrap();
    };
    let by_proofs = || {
        let checkpoint = SignedCheckpoint::parse(black_box(one_note.as_bytes())).unwrap();
        let accepted = one.policy.check(&checkpoint).unwrap();
        let (size, root) = (accepted.checkpoint().size(), accepted.checkpoint().root());
        for _ in 0..TARGETS {
            let hash = Hash::leaf(black_box(text.as_bytes()));
            check_inclusion(&hash, INDEX, size, black_box(&one.hashes), root).unwrap();
        }
    };
    let (by_one_proof, by_proofs) = in_turns(HUNDREDS, by_one_proof, by_proofs);
    json!({"one_proof": by_one_proof, "a_proof_each": by_proofs})
}

/// Bytes that a client fetches for the log's sake. By tiles: the checkpoint, and each tile that a proof takes a hash of.
fn sizes() -> Value {
    let (one, many) = (Scene::of_one(), Scene::of_many());
    let note = one.checkpoint.to_string().len();
    let proof = ProofFile::new(INDEX, one.hashes.clone(), one.checkpoint.clone()).to_string().len();
    // Each hash on a line, and each number of a leaf.
    let numbers: usize = leaves().iter().map(|(index, _)| index.to_string().len() + 1).sum();
    let tiles = |tiles: BTreeSet<TileId>| tiles.iter().map(TileId::byte_len).sum::<usize>();
    let indices: Vec<_> = leaves().into_iter().map(|(index, _)| index).collect();
    let of_one = Recipe::inclusion(INDEX, LEAVES).unwrap().tiles();
    let of_many = Recipe::many(&indices, LEAVES).unwrap().tiles();
    let hundred = usize::try_from(TARGETS).unwrap();
    json!({
        "proof": proof,
        "one": {"proofs": proof, "tiles": note + tiles(of_one.clone()), "requests_by_tiles": of_one.len() + 1},
        "hundred": {
            "proofs": proof * hundred,
            "one_proof": note + numbers + many.hashes.len() * 45,
            "tiles": note + tiles(of_many.clone()),
            "requests_by_tiles": of_many.len() + 1,
        },
    })
}

/// Wall seconds of an append to an empty log, tiles and bundles included, durable; and of the same bytes written by a plain
/// program with as many rounds of flushing: a file and its folder each.
fn append(options: &Options, count: u64) -> Value {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut appended, mut plain, mut rounds) = (f64::INFINITY, f64::INFINITY, Vec::new());
    for _ in 0..APPENDS {
        let (folder, other) = (options.folder(), options.folder());
        let store = Arc::new(Counted::of(runtime.block_on(DirStore::create(folder.path())).unwrap()));
        let log = Log::new(Arc::<Counted>::clone(&store));
        let head = runtime.block_on(log.create(ORIGIN, None)).unwrap();
        store.rounds.lock().unwrap().clear();
        let entries = made_up_entries(count);
        let head: Head = timed(&mut appended, || runtime.block_on(log.append(&head, entries)).unwrap());
        assert_eq!(head.size(), count);
        rounds.clone_from(&store.rounds.lock().unwrap());
        timed(&mut plain, || write_plainly(&other, &rounds));
    }
    json!({
        "leaves": count, "seconds": appended, "disk_seconds": plain,
        "rounds": rounds.len(), "bytes": rounds.iter().sum::<u64>(),
    })
}

fn write_plainly(folder: &TempDir, rounds: &[u64]) {
    let block = vec![7; usize::try_from(rounds.iter().max().copied().unwrap_or(0)).unwrap()];
    for (number, bytes) in rounds.iter().enumerate() {
        let mut file = File::create(folder.path().join(number.to_string())).unwrap();
        file.write_all(block.get(..usize::try_from(*bytes).unwrap()).unwrap()).unwrap();
        file.sync_all().unwrap();
        File::open(folder.path()).unwrap().sync_all().unwrap();
    }
}

/// A log of that many leaves, in one append: wall seconds, and this process's peak memory in bytes.
fn large(options: &Options, count: u64) -> Value {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = options.folder();
    let store = runtime.block_on(DirStore::create(folder.path())).unwrap();
    let log = Log::new(Arc::new(store));
    let head = runtime.block_on(log.create(ORIGIN, None)).unwrap();
    let (entries, mut seconds) = (made_up_entries(count), f64::INFINITY);
    let head = timed(&mut seconds, || runtime.block_on(log.append(&head, entries)).unwrap());
    assert_eq!(head.size(), count);
    json!({"leaves": count, "seconds": seconds, "peak": peak()})
}

fn made_up_entries(count: u64) -> Entries {
    let mut entries = Entries::default();
    (0..count).for_each(|number| entries.push(&made(number)).unwrap());
    entries
}

/// Bytes that this process had in memory at most.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1_024
}

/// CPU seconds of one call each, measured in turns.
fn in_turns(count: u32, mut one: impl FnMut(), mut other: impl FnMut()) -> (f64, f64) {
    let mut best = (f64::INFINITY, f64::INFINITY);
    for _ in 0..RUNS {
        best.0 = best.0.min(cost(|| (0..count).for_each(|_| one())) / f64::from(count));
        best.1 = best.1.min(cost(|| (0..count).for_each(|_| other())) / f64::from(count));
    }
    best
}

/// CPU seconds of this thread in `call`.
fn cost(call: impl FnOnce()) -> f64 {
    let before = cpu();
    call();
    cpu().saturating_sub(before).as_secs_f64()
}

/// CPU time of this thread: what the scheduler counted (Linux, nanoseconds).
fn cpu() -> Duration {
    // Giving way makes the scheduler bring its count up to date.
    std::thread::yield_now();
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

/// Keeps the wall seconds of a call, if they are fewer.
fn timed<T>(best: &mut f64, call: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let done = call();
    *best = best.min(start.elapsed().as_secs_f64());
    done
}

/// A folder that counts: bytes of each call that writes, and waits until they are durable.
#[derive(Debug)]
struct Counted {
    inner: DirStore,
    rounds: Mutex<Vec<u64>>,
}

impl Counted {
    fn of(inner: DirStore) -> Self {
        Self { inner, rounds: Mutex::default() }
    }

    fn count(&self, bytes: usize) {
        self.rounds.lock().unwrap().push(u64::try_from(bytes).unwrap());
    }
}

#[async_trait]
impl Store for Counted {
    async fn get(&self, path: &StorePath, max_len: u64) -> Result<Option<Object>, StoreError> {
        self.inner.get(path, max_len).await
    }

    async fn open(&self, path: &StorePath) -> Result<Option<Pin<Box<dyn AsyncRead + Send>>>, StoreError> {
        self.inner.open(path).await
    }

    async fn create(&self, path: &StorePath, content: Content<'_>) -> Result<(), StoreError> {
        self.create_all(&[(path.clone(), content)]).await.pop().unwrap()
    }

    async fn create_all(&self, objects: &[(StorePath, Content<'_>)]) -> Vec<Result<(), StoreError>> {
        let bytes = objects.iter().map(|(_, content)| match content {
            Content::Bytes(bytes) => bytes.len(),
            Content::Shared(bytes) => bytes.len(),
            other => panic!("a log writes no {other:?}"),
        });
        let bytes = bytes.sum();
        if !objects.is_empty() {
            self.count(bytes);
        }
        self.inner.create_all(objects).await
    }

    async fn swap(&self, path: &StorePath, bytes: &[u8], expected: Option<&Tag>) -> Result<Tag, StoreError> {
        self.swap_all(&[Swap { path, bytes, expected }]).await.pop().unwrap()
    }

    async fn swap_all(&self, swaps: &[Swap<'_>]) -> Vec<Result<Tag, StoreError>> {
        self.count(swaps.iter().map(|swap| swap.bytes.len()).sum());
        self.inner.swap_all(swaps).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.inner.list(prefix).await
    }

    async fn delete(&self, path: &StorePath) -> Result<(), StoreError> {
        self.inner.delete(path).await
    }
}

/// A proof, and a checkpoint with three cosignatures whose root is where it leads.
struct Scene {
    hashes: Vec<Hash>,
    root: Hash,
    checkpoint: SignedCheckpoint,
    policy: Policy,
}

impl Scene {
    fn of_one() -> Self {
        let hashes = made_up(&Recipe::inclusion(INDEX, LEAVES).unwrap());
        let hash = Hash::leaf(leaf(INDEX).as_bytes());
        let led = check_inclusion(&hash, INDEX, LEAVES, &hashes, &Hash::empty_root());
        Self::of(hashes, &led)
    }

    fn of_many() -> Self {
        let targets: Vec<_> =
            leaves().into_iter().map(|(index, leaf)| (index, Hash::leaf(leaf.as_bytes()))).collect();
        let indices: Vec<_> = targets.iter().map(|(index, _)| *index).collect();
        let hashes = made_up(&Recipe::many(&indices, LEAVES).unwrap());
        let led = check_many(&targets, LEAVES, &hashes, &Hash::empty_root());
        Self::of(hashes, &led)
    }

    fn of(hashes: Vec<Hash>, led: &Result<(), ProofError>) -> Self {
        let Err(ProofError::Root { found: root, .. }) = *led else { unreachable!("the root is made up") };
        let (key, private) = pair(ORIGIN, KeyKind::Log);
        let content = Checkpoint::new(ORIGIN, LEAVES, root).unwrap();
        let signature = sign(&private, &content.to_string());
        let mut checkpoint = SignedCheckpoint::sign(content, &key, &signature).unwrap();
        let mut policy = format!("log {key}\n");
        for number in 1..=3 {
            let (key, private) = pair(&format!("witness-{number}.example.org"), KeyKind::Witness);
            let signature = sign(&private, &checkpoint.cosignature_message(NOW));
            let line = checkpoint.cosignature(&key, NOW, &signature).unwrap();
            policy.push_str(&format!("witness w{number} {key}\n"));
            assert_eq!(checkpoint.merge(vec![line], &KnownKeys::new(vec![key]).unwrap()), Ok(1));
        }
        policy.push_str("group three all w1 w2 w3\nquorum three\n");
        Self { hashes, root, checkpoint, policy: Policy::parse(policy.as_bytes()).unwrap() }
    }
}

fn pair(name: &str, kind: KeyKind) -> (VerifierKey, SigningKey) {
    let private = SigningKey::from_pkcs8(&NewKey::Ed25519.generate().unwrap()).unwrap();
    let PublicKey::Ed25519(public) = *private.public() else { unreachable!("an Ed25519 key was made") };
    (VerifierKey::new(KeyName::new(name).unwrap(), kind, public), private)
}

fn sign(private: &SigningKey, message: &str) -> [u8; 64] {
    private.sign(Scheme::Ed25519, message.as_bytes()).unwrap().try_into().unwrap()
}

/// As many hashes as the proof has.
fn made_up(recipe: &Recipe) -> Vec<Hash> {
    (0..recipe.len()).map(|number| Hash::leaf(number.to_string().as_bytes())).collect()
}

/// The leaf of a wheel with a long name.
fn leaf(number: u64) -> String {
    made(number).to_string()
}

fn made(number: u64) -> Leaf {
    let project = format!("project-{number}");
    let path = format!("{project}/project_{number}-1.0-cp312-cp312-manylinux_2_17_x86_64.whl");
    Leaf::File(FileLeaf::new(&path, "1.0", 1_234_567, sha256(path.as_bytes())).unwrap())
}

/// 100 leaves, spread over the log.
fn leaves() -> Vec<(u64, String)> {
    (0..TARGETS)
        .map(|number| number * (LEAVES / TARGETS) + number * number)
        .map(|at| (at, leaf(at)))
        .collect()
}
