//! Witnesses: the protocol line by line over real HTTP, races, crashes, forks, and logs that collect cosignatures.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

mod collector;
mod command;
mod crash;
mod forks;
pub(crate) mod panel;
mod protocol;
mod races;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use chrono::DateTime;
use tokio::sync::oneshot;
use wheelseal::crypto::{NewKey, PublicKey, Scheme, SigningKey};
use wheelseal::log::LogSigner;
use wheelseal::store::{DirStore, Store};
use wheelseal::tlog::checkpoint::{Checkpoint, SignedCheckpoint};
use wheelseal::tlog::edge::Edge;
use wheelseal::tlog::key::{KeyKind, KeyName, KnownKeys, SIGNATURE_LEN, Statement, VerifierKey};
use wheelseal::tlog::merkle::Hash;
use wheelseal::tlog::recipe::Recipe;
use wheelseal::tlog::tile::Tiles;
use wheelseal::tlog::witness::AddCheckpoint;
use wheelseal::witness::{Folder, Limits, Witness, WitnessServer};

use crate::serve::Answer;

/// The log of these tests, and its witness.
pub(super) const ORIGIN: &str = "example.com/behind-the-sofa";
pub(super) const NAME: &str = "witness.example/w1";
/// Where the clock of witnesses stands, in seconds since 1970.
pub(super) const NOW: i64 = 1_679_315_147;

/// A key with its private half.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) key: VerifierKey,
    private: SigningKey,
}

impl Pair {
    pub(super) fn new(name: &str, kind: KeyKind) -> Self {
        let private = SigningKey::from_pkcs8(&NewKey::Ed25519.generate().unwrap()).unwrap();
        let PublicKey::Ed25519(public) = *private.public() else { unreachable!("an Ed25519 key was made") };
        Self { key: VerifierKey::new(KeyName::new(name).unwrap(), kind, public), private }
    }

    pub(super) fn signature(&self, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        self.private.sign(Scheme::Ed25519, message).unwrap().try_into().unwrap()
    }

    pub(super) fn known(&self) -> KnownKeys {
        KnownKeys::new(vec![self.key.clone()]).unwrap()
    }
}

#[async_trait]
impl LogSigner for Pair {
    fn key(&self) -> &VerifierKey {
        &self.key
    }

    async fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], String> {
        Ok(self.signature(message))
    }
}

/// A log: its key, and the leaves of one of its trees.
#[derive(Debug, Clone)]
pub(super) struct Log {
    pub(super) pair: Arc<Pair>,
    origin: String,
    leaves: Vec<Hash>,
}

impl Log {
    pub(super) fn new(origin: &str, size: usize) -> Self {
        let leaves = (0..size).map(|n| Hash::leaf(n.to_string().as_bytes())).collect();
        Self { pair: Arc::new(Pair::new(origin, KeyKind::Log)), origin: origin.to_owned(), leaves }
    }

    /// The same log with other leaves from `at` on.
    pub(super) fn forked(&self, at: usize) -> Self {
        let mut fork = self.clone();
        for leaf in &mut fork.leaves[at..] {
            *leaf = Hash::leaf(leaf.as_bytes());
        }
        fork
    }

    fn grown(&self, size: u64) -> (Edge, Tiles) {
        let (mut edge, mut tiles) = (Edge::default(), Tiles::default());
        for leaf in &self.leaves[..usize::try_from(size).unwrap()] {
            edge.push(*leaf).into_iter().for_each(|(id, bytes)| tiles.insert(id, &bytes).unwrap());
        }
        edge.partials().into_iter().for_each(|(id, bytes)| tiles.insert(id, &bytes).unwrap());
        (edge, tiles)
    }

    pub(super) fn root(&self, size: u64) -> Hash {
        self.grown(size).0.root()
    }

    pub(super) fn proof(&self, old: u64, new: u64) -> Vec<Hash> {
        if old == 0 || old >= new {
            return Vec::new();
        }
        Recipe::consistency(old, new).unwrap().hashes(&self.grown(new).1).unwrap()
    }

    pub(super) fn checkpoint(&self, size: u64) -> SignedCheckpoint {
        self.signed(&Checkpoint::new(&self.origin, size, self.root(size)).unwrap())
    }

    /// Signs whatever it is given.
    pub(super) fn signed(&self, checkpoint: &Checkpoint) -> SignedCheckpoint {
        let signature = self.pair.signature(checkpoint.to_string().as_bytes());
        SignedCheckpoint::sign(checkpoint.clone(), &self.pair.key, &signature).unwrap()
    }

    /// What an honest log sends to a witness that knows `old` leaves.
    pub(super) fn request(&self, old: u64, new: u64) -> String {
        AddCheckpoint::new(old, self.proof(old, new), self.checkpoint(new)).to_string()
    }
}

/// A witness's folder, key and clock.
pub(super) struct Scene {
    pub(super) folder: tempfile::TempDir,
    pub(super) pair: Arc<Pair>,
    pub(super) clock: Arc<AtomicI64>,
    pub(super) told: Arc<Mutex<Vec<String>>>,
}

impl Scene {
    /// A witness that knows this log.
    pub(super) async fn new(log: &Log) -> Self {
        let scene = Self {
            folder: tempfile::tempdir().unwrap(),
            pair: Arc::new(Pair::new(NAME, KeyKind::Witness)),
            clock: Arc::new(AtomicI64::new(NOW)),
            told: Arc::default(),
        };
        let folder =
            Folder::create(scene.store().await, "file:nowhere", scene.pair.key.clone()).await.unwrap();
        folder.add_log(&log.origin, log.pair.key.clone()).await.unwrap();
        scene
    }

    pub(super) async fn store(&self) -> Arc<dyn Store> {
        Arc::new(DirStore::open(self.folder.path()).await.unwrap())
    }

    /// The witness, begun anew.
    pub(super) async fn witness(&self) -> Witness {
        self.over(self.store().await).await
    }

    /// The same over a store that may fail.
    pub(super) async fn over(&self, store: Arc<dyn Store>) -> Witness {
        let (clock, told) = (Arc::clone(&self.clock), Arc::clone(&self.told));
        let read = move || DateTime::from_timestamp(clock.load(Ordering::SeqCst), 0).unwrap();
        let report = move |text: &str| told.lock().unwrap().push(text.to_owned());
        let folder = Folder::open(store).await.unwrap();
        let signer: Arc<dyn LogSigner> = self.pair.clone();
        Witness::new(folder, signer, Arc::new(read), report).unwrap()
    }

    pub(super) async fn served(&self) -> Served {
        Served::new(self.witness().await, Limits::default())
    }

    pub(super) fn set_clock(&self, seconds: i64) {
        self.clock.store(seconds, Ordering::SeqCst);
    }

    pub(super) fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }

    /// Size, root and time of a cosignature, if the body of an answer is one of this witness over this checkpoint.
    pub(super) fn cosigned(&self, checkpoint: &SignedCheckpoint, body: &str) -> Option<u64> {
        time_of(&self.pair.key, checkpoint, body)
    }
}

/// When a witness cosigned a checkpoint, if the body of an answer has its cosignature and nothing else.
pub(super) fn time_of(witness: &VerifierKey, checkpoint: &SignedCheckpoint, body: &str) -> Option<u64> {
    let text = checkpoint.to_string();
    let note = format!("{}\n\n{body}", text.rsplit_once("\n\n")?.0);
    let keys = KnownKeys::new(vec![witness.clone()]).unwrap();
    let note = SignedCheckpoint::parse(note.as_bytes()).ok()?;
    let (_, verified) = note.verify(&keys).ok()?;
    match verified.signers() {
        [(_, Statement::Cosigned { time })] if note.signatures().len() == 1 => Some(*time),
        _ => None,
    }
}

/// A server on a free loopback port, until it is dropped.
pub(super) struct Served {
    port: u16,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    pub(super) fn new(witness: Witness, limits: Limits) -> Self {
        let (sender, receiver) = oneshot::channel();
        let (ports, port) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                ports.send(listener.local_addr().unwrap().port()).unwrap();
                WitnessServer::new(witness, limits).run(listener, async { drop(receiver.await) }).await;
            });
        });
        Self { port: port.recv().unwrap(), stop: Some(sender), thread: Some(thread) }
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(super) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends bytes as they are and reads until the server closes.
    pub(super) fn raw(&self, request: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        // A server that refuses early may close before it has read everything.
        drop(stream.write_all(request));
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        answer
    }

    pub(super) fn post(&self, body: impl AsRef<[u8]>) -> Answer {
        Answer::read(&self.raw(&post(body.as_ref())))
    }

    pub(super) fn ask(&self, method: &str, path: &str) -> Answer {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        Answer::read(&self.raw(request.as_bytes()))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.stop.take());
        drop(self.thread.take().unwrap().join());
    }
}

/// A request on a connection of its own.
pub(super) fn post(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /add-checkpoint HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

pub(super) fn text(answer: &Answer) -> &str {
    std::str::from_utf8(&answer.body).unwrap()
}
