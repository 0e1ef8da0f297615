//! Repositories with transparency logs, made by hand, and clients that hold them to it.

mod forks;
mod gossip;
mod policies;
mod program;
mod proofs;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use wheelseal::client::{ClientError, Inclusion, LogError, LogTrust};
use wheelseal::crypto::{PublicKey, Scheme, SigningKey, sha256};
use wheelseal::tlog::checkpoint::{Checkpoint, SignedCheckpoint};
use wheelseal::tlog::edge::Edge;
use wheelseal::tlog::key::{KeyKind, KeyName, KnownKeys, VerifierKey};
use wheelseal::tlog::leaf::{FileLeaf, Leaf, Role, TufLeaf};
use wheelseal::tlog::merkle::Hash;
use wheelseal::tlog::policy::Policy;
use wheelseal::tlog::proof_file::ProofFile;
use wheelseal::tlog::recipe::Recipe;
use wheelseal::tlog::tile::Tiles;
use wheelseal::tuf::json::parse;
use wheelseal::tuf::metadata::{LogHead, Timestamp};
use wheelseal::tuf::path::TargetPath;
use wheelseal::tuf::signed::Draft;

use crate::scene::{ONLINE, files_below, signed};
use crate::simulator::{Answer, Repo, TARGETS, User, length, pair};

/// The log of these tests, and a file in it.
pub(super) const ORIGIN: &str = "log.example/one";
pub(super) const FILE: &str = "six/six-1.0-py3-none-any.whl";
pub(super) const CONTENT: &[u8] = b"a wheel";
/// When witnesses cosign, in seconds since the epoch.
const TIME: u64 = 1_767_225_600;
/// Where the tiles lie on the server.
const LOG: &str = "log/";

/// A private key with what verifies it.
pub(super) struct Voice {
    pub(super) key: VerifierKey,
    private: SigningKey,
}

impl Voice {
    pub(super) fn new(name: &str, kind: KeyKind, seed: u8) -> Self {
        let private = pair(&[seed; 32]);
        let PublicKey::Ed25519(public) = *private.public() else { unreachable!("an Ed25519 key was made") };
        Self { key: VerifierKey::new(KeyName::new(name).unwrap(), kind, public), private }
    }

    fn sign(&self, message: &str) -> [u8; 64] {
        self.private.sign(Scheme::Ed25519, message.as_bytes()).unwrap().try_into().unwrap()
    }
}

/// A log with all its leaves, its key and its witnesses.
pub(super) struct Book {
    pub(super) log: Voice,
    pub(super) witnesses: Vec<Voice>,
    pub(super) leaves: Vec<String>,
}

impl Book {
    pub(super) fn new(origin: &str, seed: u8) -> Self {
        let witness = |seed: u8| Voice::new(&format!("w{seed}.example"), KeyKind::Witness, seed);
        let log = Voice::new(origin, KeyKind::Log, seed);
        Self { log, witnesses: [101, 102].map(witness).into(), leaves: Vec::new() }
    }

    pub(super) fn size(&self) -> u64 {
        u64::try_from(self.leaves.len()).unwrap()
    }

    /// The policy that accepts this log; with its witnesses, of which a quorum of `of` must have cosigned.
    pub(super) fn policy(&self, of: usize) -> String {
        let mut text = format!("log {}\n", self.log.key);
        for (number, witness) in self.witnesses.iter().enumerate() {
            writeln!(text, "witness w{number} {}", witness.key).unwrap();
        }
        text + &match of {
            0 => "quorum none\n".to_owned(),
            of => format!("group some {of} w0 w1\nquorum some\n"),
        }
    }

    pub(super) fn edge(&self, size: u64) -> (Edge, HashMap<String, Vec<u8>>) {
        let (mut edge, mut tiles) = (Edge::default(), HashMap::new());
        for leaf in &self.leaves[..usize::try_from(size).unwrap()] {
            tiles.extend(
                edge.push(Hash::leaf(leaf.as_bytes())).into_iter().map(|(id, tile)| (id.path(), tile)),
            );
        }
        tiles.extend(edge.partials().into_iter().map(|(id, tile)| (id.path(), tile)));
        (edge, tiles)
    }

    pub(super) fn head(&self, size: u64) -> LogHead {
        let origin = self.log.key.name().to_string();
        LogHead { origin, root_hash: *self.edge(size).0.root().as_bytes(), size }
    }

    /// The checkpoint of a size, signed by the log and the first `cosigned` witnesses.
    pub(super) fn checkpoint(&self, size: u64, cosigned: usize) -> SignedCheckpoint {
        let root = self.edge(size).0.root();
        let checkpoint = Checkpoint::new(self.log.key.name().as_str(), size, root).unwrap();
        let signature = self.log.sign(&checkpoint.to_string());
        let mut signed = SignedCheckpoint::sign(checkpoint, &self.log.key, &signature).unwrap();
        for witness in &self.witnesses[..cosigned] {
            let signature = witness.sign(&signed.cosignature_message(TIME));
            let line = signed.cosignature(&witness.key, TIME, &signature).unwrap();
            let known = KnownKeys::new(vec![witness.key.clone()]).unwrap();
            assert_eq!(signed.merge(vec![line], &known), Ok(1));
        }
        signed
    }

    /// The proof for a leaf under the checkpoint of a size.
    pub(super) fn proof(&self, leaf: &str, size: u64, cosigned: usize) -> String {
        let index = self.leaves.iter().position(|other| other == leaf).unwrap();
        let index = u64::try_from(index).unwrap();
        let recipe = Recipe::inclusion(index, size).unwrap();
        let (_, files) = self.edge(size);
        let mut tiles = Tiles::default();
        recipe.tiles().into_iter().for_each(|id| tiles.insert(id, &files[&id.path()]).unwrap());
        let hashes = recipe.hashes(&tiles).unwrap();
        ProofFile::new(index, hashes, self.checkpoint(size, cosigned)).to_string()
    }
}

/// A repository that logs what it publishes.
pub(super) struct Scene {
    pub(super) repo: Repo,
    pub(super) book: Book,
    /// Witnesses that cosign.
    pub(super) cosigned: usize,
}

pub(super) fn file_leaf(path: &str, content: &[u8]) -> String {
    let leaf = FileLeaf::of_target(path, length(content), sha256(content)).unwrap().unwrap();
    Leaf::File(leaf).to_string()
}

impl Scene {
    /// With one file, logged; the policy wants so many of two witnesses, and gets both.
    pub(super) fn new(of: usize) -> Self {
        let book = Book::new(ORIGIN, 100);
        let mut scene = Self { repo: Repo::new(), book, cosigned: 2 };
        scene.set_policy(&scene.book.policy(of));
        scene.add(FILE, CONTENT);
        scene.release();
        scene
    }

    /// The target `tlog-policy`, in the next release of targets.
    pub(super) fn set_policy(&mut self, policy: &str) {
        self.repo.add_file("targets", "tlog-policy", policy.as_bytes());
        self.repo.targets.common.version += 1;
    }

    /// Adds a file, and its leaf. What is released next proves it.
    pub(super) fn add(&mut self, path: &str, content: &[u8]) {
        self.repo.add_file("targets", path, content);
        self.repo.targets.common.version += 1;
        self.book.leaves.push(file_leaf(path, content));
    }

    /// The leaf of the snapshot as it is on the server.
    pub(super) fn snapshot_leaf(&self) -> String {
        let version = self.repo.snapshot.common.version;
        let bytes = self.repo.server.bytes(&format!("{version}.snapshot.json"));
        let leaf = TufLeaf::new(Role::Snapshot, version, length(&bytes), sha256(&bytes)).unwrap();
        Leaf::Tuf(leaf).to_string()
    }

    /// Publishes all that was added, logged, under the newest head.
    pub(super) fn release(&mut self) {
        self.repo.snapshot.common.version += 1;
        self.repo.publish();
        self.book.leaves.push(self.snapshot_leaf());
        self.sign();
    }

    /// The timestamp, the snapshot's proof and those of all files, under the newest head.
    pub(super) fn sign(&mut self) {
        let size = self.book.size();
        self.repo.timestamp.log = Some(self.book.head(size));
        self.repo.timestamp.common.version += 1;
        self.repo.publish_timestamp();
        let proof = self.book.proof(&self.snapshot_leaf(), size, self.cosigned);
        self.serve_snapshot_proof(proof);
        for leaf in &self.book.leaves {
            if let Leaf::File(file) = Leaf::parse(leaf.as_bytes()).unwrap() {
                self.serve_proof(file.path(), self.book.proof(leaf, size, self.cosigned));
            }
        }
        for (path, bytes) in self.book.edge(size).1 {
            self.repo.server.set(&format!("{LOG}{path}"), Answer::Bytes(bytes));
        }
    }

    pub(super) fn serve_proof(&self, path: &str, proof: impl Into<Vec<u8>>) {
        self.repo.server.set(&format!("{TARGETS}{path}.tlog-proof"), Answer::Bytes(proof.into()));
    }

    pub(super) fn serve_snapshot_proof(&self, proof: impl Into<Vec<u8>>) {
        let version = self.repo.snapshot.common.version;
        self.repo.server.put(&format!("{version}.snapshot.json.tlog-proof"), proof.into());
    }

    /// A user without a policy of their own, who can read the log's tiles.
    pub(super) fn user(&self) -> User {
        let mut user = User::new(&self.repo);
        user.log = LogTrust { tiles: Some(self.repo.server.source(LOG).into()), ..LogTrust::default() };
        user
    }
}

pub(super) fn parsed(policy: &str) -> Policy {
    Policy::parse(policy.as_bytes()).unwrap()
}

/// Where a target is in the log.
pub(super) fn inclusion(user: &User, path: &str) -> Result<Option<Inclusion>, ClientError> {
    let path = TargetPath::new(path).unwrap();
    user.session(async |session| {
        let found = session.find(&path).await?;
        Ok(session.prove(&found).await?.inclusion().cloned())
    })
}

/// Logs all files of a repository in a folder but those named, under their plain paths, and says so in its timestamp, which the
/// example key signs. The policy that wants one of two witnesses, or none at all.
pub(crate) async fn log_folder(root: &Path, left_out: &[&str], of: usize) -> String {
    let mut book = Book::new(ORIGIN, 100);
    let mut paths = Vec::new();
    for (path, content) in files_below(&root.join("targets")) {
        let hashed = path.rsplit('/').next().unwrap().split('.').next().unwrap().len() == 64;
        let leaf = FileLeaf::of_target(&path, length(&content), sha256(&content));
        if let (false, Ok(Some(leaf))) = (hashed || left_out.contains(&path.as_str()), leaf) {
            book.leaves.push(Leaf::File(leaf).to_string());
            paths.push(path);
        }
    }
    let metadata = root.join("metadata");
    let timestamp = std::fs::read(metadata.join("timestamp.json")).unwrap();
    let content = parse(&timestamp).unwrap().get("signed").unwrap().canonical();
    let mut draft = Draft::<Timestamp>::read(&content).unwrap();
    let version = draft.content.snapshot.version;
    let snapshot = std::fs::read(metadata.join(format!("{version}.snapshot.json"))).unwrap();
    let leaf = TufLeaf::new(Role::Snapshot, version, length(&snapshot), sha256(&snapshot)).unwrap();
    book.leaves.push(Leaf::Tuf(leaf).to_string());
    let (size, leaves) = (book.size(), book.leaves.clone());
    for (path, leaf) in paths.iter().zip(&leaves) {
        let place = root.join("targets").join(format!("{path}.tlog-proof"));
        std::fs::write(place, book.proof(leaf, size, of)).unwrap();
    }
    let place = metadata.join(format!("{version}.snapshot.json.tlog-proof"));
    std::fs::write(place, book.proof(leaves.last().unwrap(), size, of)).unwrap();
    draft.content.log = Some(book.head(size));
    draft.content.common.version += 1;
    std::fs::write(metadata.join("timestamp.json"), signed(&draft, &ONLINE).await).unwrap();
    book.policy(of)
}

/// The refusal of what must not pass, as a log's.
pub(super) fn refused<T: std::fmt::Debug>(outcome: Result<T, ClientError>) -> LogError {
    match outcome {
        Err(ClientError::Log(error)) => error,
        other => panic!("expected the log to refuse it, not {other:?}"),
    }
}
