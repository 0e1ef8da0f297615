//! What a client pays for a transparency log: one inclusion proof beside the hashes it is made of, and many targets under
//! one cosigned checkpoint. Prints how long a proof file is. No network.
//!
//! The log is as large as PyPI's would be: 17 million leaves. No tree is built: proofs are of made-up hashes, and the root
//! is where they lead.
//!
//! And what a publisher pays: leaves appended to a log in a folder of the build's disk, durably, beside the same bytes written
//! to one file there.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has nothing to report")]

use std::hint::black_box;
use std::io::Write as _;
use std::sync::{Arc, LazyLock};

use divan::Bencher;
use divan::counter::ItemsCount;
use tempfile::TempDir;
use wheelseal::crypto::{NewKey, PublicKey, Scheme, SigningKey, sha256};
use wheelseal::log::{Entries, Head, Log};
use wheelseal::store::DirStore;
use wheelseal::tlog::checkpoint::{Checkpoint, SignedCheckpoint};
use wheelseal::tlog::key::{KeyKind, KeyName, KnownKeys, VerifierKey};
use wheelseal::tlog::leaf::{FileLeaf, Leaf};
use wheelseal::tlog::merkle::{Hash, Tree};
use wheelseal::tlog::policy::Policy;
use wheelseal::tlog::proof::{ProofError, check_inclusion, check_many};
use wheelseal::tlog::proof_file::ProofFile;
use wheelseal::tlog::recipe::Recipe;

const LEAVES: u64 = 17_000_000;
const INDEX: u64 = LEAVES / 2;
const TARGETS: u64 = 100;
const ORIGIN: &str = "index.example.org/log";
const NOW: u64 = 1_795_000_000;

#[expect(clippy::print_stdout, reason = "sizes are figures too")]
fn main() {
    let proof = ProofFile::new(INDEX, ONE.hashes.clone(), ONE.checkpoint.clone());
    println!(
        "a proof file in a log of {LEAVES} leaves, with 3 cosignatures: {} bytes",
        proof.to_string().len()
    );
    let hashes = MANY.hashes.len();
    println!("one proof for {TARGETS} targets: {hashes} hashes, {} bytes of text\n", hashes * 45);
    divan::main();
}

/// The least that a check of one inclusion proof can cost: one hash of a leaf and 25 of two hashes.
#[divan::bench]
fn floor_of_26_hashes(bencher: Bencher) {
    let (leaf, node) = (leaf(INDEX), [7_u8; 65]);
    bencher.bench(|| {
        let mut found = sha256(black_box(leaf.as_bytes()));
        for _ in 0..25 {
            found = sha256(black_box(&node));
        }
        found
    });
}

/// The check, with its 26 hashes. Goal: 1.2 of the floor.
#[divan::bench]
fn inclusion(bencher: Bencher) {
    let leaf = leaf(INDEX);
    assert_eq!(ONE.hashes.len(), 25);
    bencher.bench(|| {
        let hash = Hash::leaf(black_box(leaf.as_bytes()));
        check_inclusion(&hash, INDEX, LEAVES, black_box(&ONE.hashes), &ONE.root).unwrap();
    });
}

/// 100 targets: the checkpoint read, its four signatures checked, its quorum counted, one proof for all. Goal: 2 ms.
#[divan::bench]
fn hundred_targets_by_one_proof(bencher: Bencher) {
    let (note, leaves) = (MANY.checkpoint.to_string(), leaves());
    bencher.bench(|| {
        let checkpoint = SignedCheckpoint::parse(black_box(note.as_bytes())).unwrap();
        let accepted = MANY.policy.check(&checkpoint).unwrap();
        let hashed: Vec<_> =
            leaves.iter().map(|(index, leaf)| (*index, Hash::leaf(black_box(leaf).as_bytes()))).collect();
        let (size, root) = (accepted.checkpoint().size(), accepted.checkpoint().root());
        check_many(&hashed, size, &MANY.hashes, root).unwrap();
    });
}

/// The same with 100 separate proofs of 25 hashes under the one checkpoint.
#[divan::bench]
fn hundred_targets_by_a_proof_each(bencher: Bencher) {
    let (note, leaf) = (ONE.checkpoint.to_string(), leaf(INDEX));
    bencher.bench(|| {
        let checkpoint = SignedCheckpoint::parse(black_box(note.as_bytes())).unwrap();
        let accepted = ONE.policy.check(&checkpoint).unwrap();
        let (size, root) = (accepted.checkpoint().size(), accepted.checkpoint().root());
        for _ in 0..TARGETS {
            let hash = Hash::leaf(black_box(leaf.as_bytes()));
            check_inclusion(&hash, INDEX, size, black_box(&ONE.hashes), root).unwrap();
        }
    });
}

/// A file's leaf, read from its bytes.
#[divan::bench]
fn read_leaf(bencher: Bencher) {
    let leaf = leaf(INDEX);
    bencher.bench(|| Leaf::parse(black_box(leaf.as_bytes())).unwrap());
}

/// One leaf more at the right edge of a log.
#[divan::bench]
fn append(bencher: Bencher) {
    let leaf = Hash::leaf(leaf(INDEX).as_bytes());
    let mut tree = Tree::default();
    bencher.bench_local(|| tree.push(black_box(leaf)));
}

/// Leaves of a large append.
const APPENDED: u64 = 100_000;

/// A large append: durable when it returns, tiles and bundles included. Goal: 100,000 leaves a second, or half of the next one.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn durable_append(bencher: Bencher) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    bencher
        .counter(ItemsCount::new(APPENDED))
        .with_inputs(|| runtime.block_on(fresh(APPENDED)))
        .bench_local_values(|(folder, log, head, entries)| {
            let head = runtime.block_on(log.append(&head, entries)).unwrap();
            assert_eq!(head.size(), APPENDED);
            folder
        });
}

/// The disk's own rate: what such a log has of bytes, in one file, durable.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn disk_for_durable_append(bencher: Bencher) {
    let bytes: Vec<u8> =
        (0..APPENDED).flat_map(|number| (leaf(number) + &"x".repeat(34)).into_bytes()).collect();
    bencher.counter(ItemsCount::new(APPENDED)).with_inputs(folder).bench_local_values(|folder| {
        let mut file = std::fs::File::create(folder.path().join("file")).unwrap();
        file.write_all(black_box(&bytes)).unwrap();
        file.sync_all().unwrap();
        folder
    });
}

/// What one publication adds: a file, its metadata, a snapshot.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn durable_append_of_three(bencher: Bencher) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    bencher.with_inputs(|| runtime.block_on(fresh(3))).bench_local_values(|(folder, log, head, entries)| {
        runtime.block_on(log.append(&head, entries)).unwrap();
        folder
    });
}

/// On the disk that is built on: the system's folder for temporary files may be memory.
fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// An empty log, and entries for it.
async fn fresh(count: u64) -> (TempDir, Log, Head, Entries) {
    let folder = folder();
    let log = Log::new(Arc::new(DirStore::create(folder.path()).await.unwrap()));
    let head = log.create(ORIGIN, None).await.unwrap();
    let mut entries = Entries::default();
    (0..count).for_each(|number| entries.push(&made(number)).unwrap());
    (folder, log, head, entries)
}

static ONE: LazyLock<Scene> = LazyLock::new(|| {
    let hashes = made_up(&Recipe::inclusion(INDEX, LEAVES).unwrap());
    let hash = Hash::leaf(leaf(INDEX).as_bytes());
    let led = check_inclusion(&hash, INDEX, LEAVES, &hashes, &Hash::empty_root());
    Scene::of(hashes, &led)
});

static MANY: LazyLock<Scene> = LazyLock::new(|| {
    let hashed: Vec<_> =
        leaves().into_iter().map(|(index, leaf)| (index, Hash::leaf(leaf.as_bytes()))).collect();
    let indices: Vec<_> = hashed.iter().map(|(index, _)| *index).collect();
    let hashes = made_up(&Recipe::many(&indices, LEAVES).unwrap());
    let led = check_many(&hashed, LEAVES, &hashes, &Hash::empty_root());
    Scene::of(hashes, &led)
});

/// A proof, and a checkpoint with three cosignatures whose root is where it leads.
struct Scene {
    hashes: Vec<Hash>,
    root: Hash,
    checkpoint: SignedCheckpoint,
    policy: Policy,
}

impl Scene {
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
