//! What each client and each publication pays: canonical JSON, one signature check, one lookup. No disk, no network.
//!
//! The data is a repository as large as PEP 458 expects: 16,384 succinct bins, one of them with 140 files (31 KB).

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has nothing to report")]

use std::collections::HashMap;
use std::hint::black_box;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use chrono::{DateTime, Utc};
use divan::Bencher;
use divan::counter::BytesCount;
use wheelseal::crypto::{NewKey, SigningKey, sha256};
use wheelseal::keys::{self, Ask, KeyUri, Signer};
use wheelseal::repository::{BinStyle, Keyring, Plan, Profile, Repository, RolePlan, Unwatched};
use wheelseal::store::DirStore;
use wheelseal::tuf::json::{parse, parse_time};
use wheelseal::tuf::lookup::{Found, Search, Step};
use wheelseal::tuf::metadata::{Common, Extra, Hashes, MetaFile, Snapshot, TargetFile, Targets, TopLevel};
use wheelseal::tuf::path::{RoleName, TargetPath};
use wheelseal::tuf::render::{self, Line};
use wheelseal::tuf::signed::{Draft, Signed};
use wheelseal::tuf::trusted::{Limits, RootChain, Trusted};

const BINS: u32 = 16_384;
const FILES_IN_BIN: usize = 140;

fn main() {
    divan::main();
}

/// Canonical form of the bin by way of a tree, which only text in another form takes.
#[divan::bench]
fn canonical_bin(bencher: Bencher) {
    let bytes = &REPOSITORY.bin;
    bencher.counter(BytesCount::of_slice(bytes)).bench(|| parse(black_box(bytes)).unwrap().canonical());
}

/// The same for a snapshot that lists all bins.
#[divan::bench]
fn canonical_snapshot(bencher: Bencher) {
    let bytes = REPOSITORY.file("1.snapshot.json");
    bencher.counter(BytesCount::of_slice(&bytes)).bench(|| parse(black_box(&bytes)).unwrap().canonical());
}

/// One bin: canonical form, signature, content.
#[divan::bench]
fn verify_bin(bencher: Bencher) {
    let delegator = RoleName::delegated("bins").unwrap();
    let bins = REPOSITORY
        .find(REPOSITORY.refresh())
        .chain
        .into_iter()
        .find(|(name, _)| *name == delegator)
        .unwrap()
        .1;
    let delegations = bins.delegations.as_ref().unwrap();
    let authority = delegations.authority(&delegator, &REPOSITORY.bin_name).unwrap();
    bencher
        .counter(BytesCount::of_slice(&REPOSITORY.bin))
        .bench(|| Signed::<Targets>::new(Arc::clone(&REPOSITORY.bin)).verify(black_box(&authority)).unwrap());
}

/// The snapshot of all bins: scan, signature, content.
#[divan::bench]
fn verify_snapshot(bencher: Bencher) {
    let bytes = REPOSITORY.file("1.snapshot.json");
    let trusted = REPOSITORY.refresh();
    let authority = trusted.root().authority(TopLevel::Snapshot);
    bencher
        .counter(BytesCount::of_slice(&bytes))
        .bench(|| Signed::<Snapshot>::new(Arc::clone(&bytes)).verify(black_box(&authority)).unwrap());
}

/// The same snapshot in another form: spaces between the fields of the envelope.
#[divan::bench]
fn verify_snapshot_by_tree(bencher: Bencher) {
    let text = String::from_utf8(REPOSITORY.file("1.snapshot.json").to_vec()).unwrap();
    let bytes: Arc<[u8]> = text.replacen(",\"signed\"", ", \"signed\"", 1).into_bytes().into();
    let trusted = REPOSITORY.refresh();
    let authority = trusted.root().authority(TopLevel::Snapshot);
    bencher
        .counter(BytesCount::of_slice(&bytes))
        .bench(|| Signed::<Snapshot>::new(Arc::clone(&bytes)).verify(black_box(&authority)).unwrap());
}

/// What a publication does to the snapshot before it signs: copy it, set one role, write it.
#[divan::bench]
fn next_snapshot(bencher: Bencher) {
    let trusted = REPOSITORY.refresh();
    bencher.bench(|| {
        let mut draft = trusted.snapshot().draft();
        draft.content.set(black_box("bins-1234"), MetaFile::version(2));
        draft.payload()
    });
}

/// One bin of a bulk import, from a sorted list to the bytes that are signed.
#[divan::bench]
fn render_bin(bencher: Bencher) {
    let paths: Vec<_> = (0..FILES_IN_BIN).map(|number| format!("project/project-{number:04}.whl")).collect();
    let sha256 = hex::encode(sha256(b""));
    let line = |path| Line { path, length: 1_234_567, sha256: &sha256, custom: None };
    let common = Common::new(1, REPOSITORY.now);
    bencher.bench(|| render::bin(black_box(&common), paths.iter().map(|path| line(path))).unwrap());
}

/// 16,384 delegations by hash prefix, 3 MB: scan, signature, content, index.
#[divan::bench]
fn verify_listed_bins(bencher: Bencher) {
    let (delegator, bytes) = &*LISTED;
    let trusted = REPOSITORY.refresh();
    let authority = trusted.targets().delegations.as_ref().unwrap();
    let top = RoleName::targets();
    let authority = authority.authority(&top, delegator).unwrap();
    bencher
        .counter(BytesCount::of_slice(bytes))
        .bench(|| Signed::<Targets>::new(Arc::clone(bytes)).verify(black_box(&authority)).unwrap());
}

/// Which of those bins answers for a path, and who signs it.
#[divan::bench]
fn find_among_listed_bins(bencher: Bencher) {
    let (delegator, bytes) = &*LISTED;
    let trusted = REPOSITORY.refresh();
    let top = RoleName::targets();
    let authority = trusted.targets().delegations.as_ref().unwrap().authority(&top, delegator).unwrap();
    let bins = Signed::<Targets>::new(Arc::clone(bytes)).verify(&authority).unwrap();
    let delegations = bins.delegations.as_ref().unwrap();
    bencher.bench(|| {
        let matched = delegations.matching(black_box(&REPOSITORY.target)).unwrap().remove(0);
        delegations.role(&matched.role).unwrap().1
    });
}

/// A signature by an online key; bytes of what is signed.
#[divan::bench(args = [31_000, 500_000])]
fn sign_ed25519(bencher: Bencher, size: usize) {
    sign(bencher, NewKey::Ed25519, size);
}

/// The same with ECDSA on P-256.
#[divan::bench(args = [31_000, 500_000])]
fn sign_p256(bencher: Bencher, size: usize) {
    sign(bencher, NewKey::P256, size);
}

/// A check of such a signature.
#[divan::bench(args = [31_000, 500_000])]
fn check_ed25519(bencher: Bencher, size: usize) {
    check(bencher, NewKey::Ed25519, size);
}

/// The same with ECDSA on P-256.
#[divan::bench(args = [31_000, 500_000])]
fn check_p256(bencher: Bencher, size: usize) {
    check(bencher, NewKey::P256, size);
}

fn sign(bencher: Bencher, kind: NewKey, size: usize) {
    let (key, message) = (SigningKey::from_pkcs8(&kind.generate().unwrap()).unwrap(), vec![b'x'; size]);
    let scheme = key.public().default_scheme();
    bencher.counter(BytesCount::new(size)).bench(|| key.sign(scheme, black_box(&message)).unwrap());
}

fn check(bencher: Bencher, kind: NewKey, size: usize) {
    let (key, message) = (SigningKey::from_pkcs8(&kind.generate().unwrap()).unwrap(), vec![b'x'; size]);
    let scheme = key.public().default_scheme();
    let signature = key.sign(scheme, &message).unwrap();
    bencher
        .counter(BytesCount::new(size))
        .bench(|| assert!(key.public().verifies(scheme, black_box(&message), &signature)));
}

/// A whole client: four top-level files, `bins`, one bin, one target found.
#[divan::bench]
fn refresh_and_find(bencher: Bencher) {
    let repository = &*REPOSITORY;
    bencher.bench(|| repository.find(repository.refresh()));
}

static REPOSITORY: LazyLock<Files> =
    LazyLock::new(|| tokio::runtime::Runtime::new().unwrap().block_on(Files::make()));

/// The name and file of `bins` where each bin is delegated to by hash prefix.
static LISTED: LazyLock<(RoleName, Arc<[u8]>)> = LazyLock::new(|| {
    let now = REPOSITORY.now;
    tokio::runtime::Runtime::new().unwrap().block_on(listed(now))
});

async fn listed(now: DateTime<Utc>) -> (RoleName, Arc<[u8]>) {
    let (folder, mut keyring) = (tempfile::tempdir().unwrap(), Keyring::default());
    let layout = layout(&mut keyring, BinStyle::Prefixes).await;
    let store = Arc::new(DirStore::create(folder.path()).await.unwrap());
    Repository::init(store, &layout, &keyring, now, &Unwatched).await.unwrap();
    let bytes = std::fs::read(folder.path().join("metadata/1.bins.json")).unwrap();
    (RoleName::delegated("bins").unwrap(), bytes.into())
}

async fn layout(keyring: &mut Keyring, bin_style: BinStyle) -> Plan {
    let root = plan(keyring, "root-1").await;
    let targets = plan(keyring, "targets-1").await;
    let online = plan(keyring, "online").await;
    Plan {
        root,
        bins: targets.clone(),
        targets,
        online,
        bin_count: BINS,
        bin_style,
        expiry: Profile::Default.expiry(),
        online_uris: Vec::new(),
    }
}

/// A repository as a client sees it.
struct Files {
    now: DateTime<Utc>,
    metadata: HashMap<String, Arc<[u8]>>,
    target: TargetPath,
    bin_name: RoleName,
    bin: Arc<[u8]>,
}

impl Files {
    async fn make() -> Self {
        let now = parse_time("2026-01-01T00:00:00Z").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut keyring = Keyring::default();
        let layout = layout(&mut keyring, BinStyle::Succinct).await;
        let store = Arc::new(DirStore::create(folder.path()).await.unwrap());
        Repository::init(store, &layout, &keyring, now, &Unwatched).await.unwrap();
        let target = TargetPath::new("seal/seal-1.0-py3-none-any.whl").unwrap();
        let mut made = Self {
            now,
            metadata: read(folder.path()),
            target,
            bin_name: RoleName::targets(),
            bin: Arc::new([]),
        };
        let bin_name = made.search();
        let bin = bin(&made.target, now, &*key("online").await).await;
        made.metadata.insert(format!("1.{}.json", bin_name.file_stem()), Arc::clone(&bin));
        Self { bin_name, bin, ..made }
    }

    fn file(&self, name: &str) -> Arc<[u8]> {
        Arc::clone(self.metadata.get(name).unwrap())
    }

    /// The name of the bin that answers for the target.
    fn search(&self) -> RoleName {
        let (mut trusted, mut search) = (self.refresh(), Search::new(self.target.clone()));
        let mut last = RoleName::targets();
        while let Step::Need(edge) = search.step(&trusted).unwrap() {
            trusted.accept(&edge, self.file(&trusted.request(&edge).unwrap().path)).unwrap();
            last = edge.role().clone();
        }
        last
    }

    fn refresh(&self) -> Trusted {
        let root = RootChain::start(self.file("1.root.json"), self.now, Limits::default()).unwrap();
        let timestamp = root.finish().unwrap();
        let snapshot = timestamp.accept(self.file("timestamp.json")).unwrap();
        let targets = snapshot.accept(self.file("1.snapshot.json")).unwrap();
        targets.accept(self.file("1.targets.json")).unwrap()
    }

    fn find(&self, mut trusted: Trusted) -> Found {
        let mut search = Search::new(self.target.clone());
        loop {
            match search.step(&trusted).unwrap() {
                Step::Found(found) => return *found,
                Step::Need(edge) => {
                    let path = trusted.request(&edge).unwrap().path;
                    trusted.accept(&edge, self.file(&path)).unwrap();
                }
                Step::NotFound => unreachable!("the bin lists the target"),
            }
        }
    }
}

async fn key(name: &str) -> Box<dyn Signer> {
    let uri = format!("file:{}/keys-example/worthless-{name}.pem", env!("CARGO_MANIFEST_DIR"));
    keys::open(&KeyUri::from_str(&uri).unwrap(), &Ask).await.unwrap()
}

async fn plan(keyring: &mut Keyring, name: &str) -> RolePlan {
    let signer = key(name).await;
    let plan = RolePlan { keys: vec![signer.key().clone()], threshold: 1 };
    keyring.add(signer);
    plan
}

fn read(folder: &Path) -> HashMap<String, Arc<[u8]>> {
    let entries = std::fs::read_dir(folder.join("metadata")).unwrap().map(Result::unwrap);
    let file = |entry: std::fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap().into())
    };
    entries.map(file).collect()
}

/// A bin with the target and others beside it, signed.
async fn bin(target: &TargetPath, now: DateTime<Utc>, signer: &dyn Signer) -> Arc<[u8]> {
    let other = |number: usize| {
        format!("project-{number}/project_{number}-1.0-cp312-cp312-manylinux_2_17_x86_64.whl")
    };
    let paths = (1..FILES_IN_BIN).map(other).chain([target.to_string()]);
    let file = |path: &str| TargetFile {
        length: 1_234_567,
        hashes: Hashes::sha256(sha256(path.as_bytes())),
        extra: Extra::new(),
    };
    let targets = paths.map(|path| (path.clone(), file(&path))).collect();
    let draft = Draft::new(Targets {
        common: Common::new(1, now + chrono::Days::new(30)),
        targets,
        delegations: None,
    });
    let payload = draft.payload();
    let signature = signer.sign(payload.to_sign()).await.unwrap();
    payload.assemble(&[(signer.key().id(), signature)]).into()
}
