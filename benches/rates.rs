//! Raw rates of this machine, as JSON: what `benches/run` computes its limits from.
//!
//! Each rate is a plain loop over one operation, on one core, in CPU seconds of its thread, the best of several runs.
//! None of wheelseal's own code is used, so that a limit does not move when wheelseal does.
//!
//! ```text
//! rates [--bin BYTES] [--snapshot BYTES] [--files N --dir DIR] [--tsv FILE] [--hash LIST]
//! ```
//!
//! `--dir` is where N files of a bin's size are made and removed again; `--tsv` is scanned; the files that `--hash`
//! names, one on a line, are read and hashed. What is not given is not measured.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has nothing to report")]

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::time::Duration;

use ring::digest::{Context, SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    UnparsedPublicKey,
};
use serde_json::{Map, json};

/// Runs of each loop; the best counts.
const RUNS: usize = 5;
/// Bytes of a timestamp's `signed`, about.
const TIMESTAMP: usize = 300;
/// Bytes of a target path, PEP 458 shape.
const PATH: usize = 112;
/// Bytes of the blocks that are hashed and copied in bulk: more than fits into the caches of one core.
const BULK: usize = 64 * 1024 * 1024;
/// Bytes read from a file at once: they stay in the first-level cache.
const CHUNK: usize = 16 * 1024;

fn main() {
    let options = Options::of_arguments();
    let mut rates = Map::new();
    for (name, size) in [("timestamp", TIMESTAMP), ("bin", options.bin), ("snapshot", options.snapshot)] {
        rates.insert(format!("sign_ed25519_{name}"), json!(ed25519(size)));
        rates.insert(format!("sign_p256_{name}"), json!(p256(size)));
    }
    rates.insert("check_ed25519_bin".to_owned(), json!(check_ed25519(options.bin)));
    rates.insert("check_p256_bin".to_owned(), json!(check_p256(options.bin)));
    let path = [b'p'; PATH];
    rates.insert("sha256_path".to_owned(), json!(each(1_000_000, || digest(&SHA256, &path))));
    let block = vec![7; BULK];
    rates.insert("sha256_byte".to_owned(), json!(each(2, || digest(&SHA256, &block)) / bytes(BULK)));
    let mut copy = vec![0; BULK];
    rates.insert(
        "copy_byte".to_owned(),
        json!(each(4, || black_box(&mut copy).copy_from_slice(&block)) / bytes(BULK)),
    );
    if let Some(dir) = &options.dir {
        rates.insert(
            "write_files".to_owned(),
            json!(best(|| write_files(Path::new(dir), options.files, options.bin))),
        );
        rates.insert("read_files".to_owned(), json!(read_files(Path::new(dir), options.files, options.bin)));
    }
    if let Some(tsv) = &options.tsv {
        rates.insert("scan_tsv".to_owned(), json!(best(|| cost(|| scan(tsv)))));
    }
    if let Some(list) = &options.hash {
        let names = fs::read_to_string(list).unwrap();
        let names: Vec<&str> = names.lines().collect();
        rates.insert("hash_files".to_owned(), json!(hash_in_memory(&names)));
        let all = || cost(|| names.iter().for_each(|name| read_and_hash(name)));
        rates.insert("read_and_hash_files".to_owned(), json!(best(all)));
    }
    println!("{}", serde_json::to_string_pretty(&rates).unwrap());
}

/// What was asked for.
struct Options {
    bin: usize,
    snapshot: usize,
    files: u32,
    dir: Option<String>,
    tsv: Option<String>,
    hash: Option<String>,
}

impl Options {
    /// Bad numbers end the program; what cargo adds is not looked at.
    fn of_arguments() -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let value = |name: &str| {
            let at = arguments.iter().position(|argument| argument == name)?;
            arguments.get(at + 1).cloned()
        };
        let number = |name: &str| value(name).map(|text| text.parse::<u32>().unwrap());
        let size = |name: &str, default| number(name).map_or(default, |size| usize::try_from(size).unwrap());
        Self {
            bin: size("--bin", 31_000),
            snapshot: size("--snapshot", 500_000),
            files: number("--files").unwrap_or(1_000),
            dir: value("--dir"),
            tsv: value("--tsv"),
            hash: value("--hash"),
        }
    }
}

/// Seconds for one Ed25519 signature.
fn ed25519(size: usize) -> f64 {
    let (key, message) = (Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap(), vec![7; size]);
    each(repetitions(size), || key.sign(&message))
}

/// Seconds for one ECDSA P-256 signature.
fn p256(size: usize) -> f64 {
    let (random, message) = (SystemRandom::new(), vec![7; size]);
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random).unwrap();
    each(repetitions(size), || key.sign(&random, &message).unwrap())
}

/// Seconds for one check of an Ed25519 signature.
fn check_ed25519(size: usize) -> f64 {
    let (key, message) = (Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap(), vec![7; size]);
    let (public, signature) = (UnparsedPublicKey::new(&ED25519, key.public_key()), key.sign(&message));
    each(repetitions(size), || public.verify(&message, signature.as_ref()).unwrap())
}

/// Seconds for one check of an ECDSA P-256 signature.
fn check_p256(size: usize) -> f64 {
    let (random, message) = (SystemRandom::new(), vec![7; size]);
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random).unwrap();
    let signature = key.sign(&random, &message).unwrap();
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.public_key());
    each(repetitions(size), || public.verify(&message, signature.as_ref()).unwrap())
}

/// As many as take about a tenth of a second.
fn repetitions(size: usize) -> u32 {
    u32::try_from(30_000_000 / (size + 10_000)).unwrap()
}

/// Creates and writes files as a plain program would, and removes them.
fn write_files(dir: &Path, count: u32, size: usize) -> f64 {
    let dir = tempfile::tempdir_in(dir).unwrap();
    let content = vec![7; size];
    let names: Vec<_> =
        (0..count).map(|number| dir.path().join(format!("2.bins-{number:05x}.json"))).collect();
    cost(|| names.iter().for_each(|name| File::create(name).unwrap().write_all(&content).unwrap()))
}

/// Reads such files, each into one buffer.
fn read_files(dir: &Path, count: u32, size: usize) -> f64 {
    let dir = tempfile::tempdir_in(dir).unwrap();
    let names: Vec<_> =
        (0..count).map(|number| dir.path().join(format!("2.bins-{number:05x}.json"))).collect();
    for name in &names {
        fs::write(name, vec![7; size]).unwrap();
    }
    let mut buffer = vec![0; size];
    best(|| cost(|| names.iter().for_each(|name| File::open(name).unwrap().read_exact(&mut buffer).unwrap())))
}

/// Finds lines and fields.
fn scan(tsv: &str) {
    let (mut file, mut line, mut fields) =
        (BufReader::with_capacity(1024 * 1024, File::open(tsv).unwrap()), Vec::new(), 0);
    while file.read_until(b'\n', &mut line).unwrap() > 0 {
        fields += line.split(|byte| *byte == b'\t').count();
        line.clear();
    }
    black_box(fields);
}

/// Seconds in SHA-256 alone. All files lie in memory, and are together larger than any cache.
fn hash_in_memory(names: &[&str]) -> f64 {
    let files: Vec<Vec<u8>> = names.iter().map(|name| fs::read(name).unwrap()).collect();
    let all = || {
        for file in &files {
            black_box(digest(&SHA256, file));
        }
    };
    best(|| cost(all))
}

/// The same from the page cache, piece by piece.
fn read_and_hash(name: &str) {
    let (mut file, mut context, mut buffer) = (File::open(name).unwrap(), Context::new(&SHA256), [0; CHUNK]);
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => break,
            count => context.update(buffer.get(..count).unwrap()),
        }
    }
    black_box(context.finish());
}

/// Seconds for one of `count` calls.
fn each<T>(count: u32, mut call: impl FnMut() -> T) -> f64 {
    best(|| cost(|| (0..count).for_each(|_| drop(black_box(call()))))) / f64::from(count)
}

fn best(mut run: impl FnMut() -> f64) -> f64 {
    (0..RUNS).map(|_| run()).fold(f64::INFINITY, f64::min)
}

/// CPU seconds of this thread in `call`.
fn cost<T>(call: impl FnOnce() -> T) -> f64 {
    let before = cpu();
    black_box(call());
    cpu().saturating_sub(before).as_secs_f64()
}

/// CPU time of this thread: what the scheduler counted (Linux, nanoseconds).
fn cpu() -> Duration {
    // Giving way makes the scheduler bring its count up to date.
    std::thread::yield_now();
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

fn bytes(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}
