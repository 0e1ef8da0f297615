//! The transparency log of the world: its honest witnesses, all its leaves, and what can be made of it with stolen keys.
//!
//! Three witnesses, of which two must cosign. An honest one cosigns what [`decide`] says, whoever asks: also a thief, as long as
//! the log grows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::Mutex;

use async_trait::async_trait;
use wheelseal::client::{Announced, Recorders};
use wheelseal::crypto::{PublicKey, sha256};
use wheelseal::log::{ConsistencyProofs, CosignError, Cosigners};
use wheelseal::tlog::bundle;
use wheelseal::tlog::checkpoint::{Checkpoint, SignedCheckpoint};
use wheelseal::tlog::edge::Edge;
use wheelseal::tlog::key::{KeyKind, KeyName, KnownKeys, VerifierKey};
use wheelseal::tlog::leaf::{FileLeaf, Leaf, Role, TufLeaf};
use wheelseal::tlog::merkle::Hash;
use wheelseal::tlog::proof_file::ProofFile;
use wheelseal::tlog::recipe::Recipe;
use wheelseal::tlog::tile::{TileId, Tiles};
use wheelseal::tlog::witness::{AddCheckpoint, Verdict, decide};
use wheelseal::tuf::metadata::{LogHead, TargetFile, Version};

use super::world::{Stolen, public_of, signature_by};
use crate::simulator::length;

/// The log's name, and the name of its key.
pub(super) const ORIGIN: &str = "index.example/log";
pub(super) const LOG: &str = "log";
/// The names of the witnesses' keys.
pub(super) const WITNESSES: [&str; 3] = ["witness-1", "witness-2", "witness-3"];
/// The names of the recorders' keys.
pub(super) const RECORDERS: [&str; 3] = ["recorder-1", "recorder-2", "recorder-3"];
/// How many of them a careful client asks for.
const RECORDED: usize = 2;
/// How many witnesses must cosign.
const QUORUM: usize = 2;
/// When they cosign, in seconds since the epoch. Clients do not look at it.
const TIME: u64 = 1_767_225_600;

fn verifier(name: &str, kind: KeyKind, key: &PublicKey) -> VerifierKey {
    let PublicKey::Ed25519(bytes) = *key else { unreachable!("all keys here are Ed25519") };
    VerifierKey::new(KeyName::new(name).unwrap(), kind, bytes)
}

fn log_key() -> VerifierKey {
    verifier(ORIGIN, KeyKind::Log, &public_of(LOG))
}

fn witness_key(name: &str) -> VerifierKey {
    verifier(&format!("{name}.example"), KeyKind::Witness, &public_of(name))
}

/// The policy that people signed, and that careful users pin.
pub(super) fn policy() -> String {
    let mut text = format!("log {}\n", log_key());
    for name in WITNESSES {
        writeln!(text, "witness {name} {}", witness_key(name)).unwrap();
    }
    writeln!(text, "group some {QUORUM} {}\nquorum some", WITNESSES.join(" ")).unwrap();
    text
}

/// Honest witnesses. They are always asked together, so all of them know the same tree.
#[derive(Debug, Default)]
pub(super) struct Witnesses(Mutex<Option<Checkpoint>>);

/// Adds the cosignature of a witness.
fn cosign(checkpoint: &mut SignedCheckpoint, name: &str, signature: &[u8; 64]) {
    let key = witness_key(name);
    let line = checkpoint.cosignature(&key, TIME, signature).unwrap();
    let known = KnownKeys::new(vec![key]).unwrap();
    assert_eq!(checkpoint.merge(vec![line], &known), Ok(1));
}

/// What honest witnesses, who know `latest`, make of a request.
fn judged(request: &AddCheckpoint, latest: Option<&Checkpoint>) -> Verdict {
    decide(request, Some(&KnownKeys::new(vec![log_key()]).unwrap()), latest)
}

#[async_trait]
impl Cosigners for Witnesses {
    async fn cosign(
        &self,
        mut checkpoint: SignedCheckpoint,
        proofs: &dyn ConsistencyProofs,
    ) -> Result<SignedCheckpoint, CosignError> {
        let latest = self.0.lock().unwrap().clone();
        let (old, new) = (latest.as_ref().map_or(0, Checkpoint::size), checkpoint.claimed().size());
        let hashes = if (1..new).contains(&old) { proofs.from(old).await.unwrap() } else { Vec::new() };
        let request = AddCheckpoint::new(old, hashes, checkpoint.clone());
        let verdict = judged(&request, latest.as_ref());
        let Verdict::Cosign(tree) = verdict else { panic!("an honest log is not cosigned: {verdict:?}") };
        *self.0.lock().unwrap() = Some(tree);
        for name in WITNESSES {
            let signature = signature_by(name, checkpoint.cosignature_message(TIME).as_bytes());
            cosign(&mut checkpoint, name, &signature);
        }
        Ok(checkpoint)
    }
}

/// The log on the day of the attack.
pub(super) struct Ledger {
    leaves: Vec<String>,
    newest: SignedCheckpoint,
}

impl Ledger {
    /// All leaves, and the newest checkpoint, as everybody can read it.
    pub(super) fn new(leaves: Vec<String>, newest: &[u8]) -> Self {
        let ledger = Self { leaves, newest: SignedCheckpoint::parse(newest).unwrap() };
        let tree = ledger.tree(ledger.leaves.clone());
        assert_eq!(tree.edge.root(), *ledger.newest.claimed().root(), "these are the leaves");
        ledger
    }

    /// The tree that the newest checkpoint is of.
    pub(super) fn head(&self) -> LogHead {
        head(self.newest.claimed())
    }

    /// All that was logged, and more: seen by everybody.
    pub(super) fn appended(&self, more: &[String], stolen: &Stolen) -> Shown {
        let shown = self.shown(self.leaves.iter().chain(more).cloned().collect(), stolen);
        assert_eq!(
            shown.cosigned,
            stolen.roles().contains(&LOG),
            "honest witnesses ask for the log's key alone"
        );
        shown
    }

    /// The first `size` leaves, and others than everybody sees.
    pub(super) fn forked(&self, size: u64, more: &[String], stolen: &Stolen) -> Shown {
        let kept = usize::try_from(size).unwrap();
        // One more than the public log has, so that nobody who saw that sees it shrink.
        let filler = |number: usize| {
            Leaf::Tuf(TufLeaf::new(Role::Root, 1_000, length(&[]), sha256(&number.to_be_bytes())).unwrap())
                .to_string()
        };
        let mut leaves: Vec<_> = self.leaves.iter().take(kept).chain(more).cloned().collect();
        leaves.extend((leaves.len()..=self.leaves.len()).map(filler));
        let shown = self.shown(leaves, stolen);
        assert!(!shown.cosigned, "a fork is not cosigned by honest witnesses");
        shown
    }

    /// As it is appended to, but under the newest checkpoint of the honest log.
    pub(super) fn under_the_old_checkpoint(&self, more: &[String], stolen: &Stolen) -> Shown {
        Shown { checkpoint: self.newest.clone(), ..self.appended(more, stolen) }
    }

    fn tree(&self, leaves: Vec<String>) -> Shown {
        Shown::of(leaves, |_| self.newest.clone())
    }

    /// A tree, signed by whatever keys he has and cosigned by every honest witness that takes it for growth.
    fn shown(&self, leaves: Vec<String>, stolen: &Stolen) -> Shown {
        let tree = self.tree(leaves);
        let checkpoint = Checkpoint::new(ORIGIN, tree.size(), tree.edge.root()).unwrap();
        let text = checkpoint.to_string();
        let (key, signature) = if let Some(signature) = stolen.signature(LOG, text.as_bytes()) {
            (log_key(), signature)
        } else {
            let (key, signature) = stolen.own_signature(text.as_bytes());
            (verifier(ORIGIN, KeyKind::Log, &key), signature)
        };
        let mut signed = SignedCheckpoint::sign(checkpoint, &key, &signature).unwrap();
        let latest = self.newest.claimed();
        let proof = Recipe::consistency(latest.size(), tree.size()).unwrap();
        let request = AddCheckpoint::new(latest.size(), tree.hashes(&proof), signed.clone());
        let grown = matches!(judged(&request, Some(latest)), Verdict::Cosign(_));
        for name in WITNESSES {
            let message = signed.cosignature_message(TIME);
            let honest = grown.then(|| signature_by(name, message.as_bytes()));
            if let Some(signature) = stolen.signature(name, message.as_bytes()).or(honest) {
                cosign(&mut signed, name, &signature);
            }
        }
        Shown { checkpoint: signed, cosigned: grown, ..tree }
    }
}

/// A log that somebody shows.
pub(super) struct Shown {
    leaves: Vec<String>,
    edge: Edge,
    tiles: HashMap<String, Vec<u8>>,
    checkpoint: SignedCheckpoint,
    /// Whether the honest witnesses cosigned it.
    cosigned: bool,
}

impl Shown {
    /// A tree under the checkpoint that is made for its root.
    fn of(leaves: Vec<String>, checkpoint: impl FnOnce(Hash) -> SignedCheckpoint) -> Self {
        let (mut edge, mut tiles) = (Edge::default(), HashMap::new());
        for leaf in &leaves {
            let full = edge.push(Hash::leaf(leaf.as_bytes())).into_iter();
            tiles.extend(full.map(|(id, tile)| (id.path(), tile)));
        }
        tiles.extend(edge.partials().into_iter().map(|(id, tile)| (id.path(), tile)));
        let checkpoint = checkpoint(edge.root());
        Self { leaves, edge, tiles, checkpoint, cosigned: false }
    }

    fn size(&self) -> u64 {
        u64::try_from(self.leaves.len()).unwrap()
    }

    fn hashes(&self, recipe: &Recipe) -> Vec<Hash> {
        let mut tiles = Tiles::default();
        recipe.tiles().into_iter().for_each(|id| tiles.insert(id, &self.tiles[&id.path()]).unwrap());
        recipe.hashes(&tiles).unwrap()
    }

    /// What a timestamp would say of it.
    pub(super) fn head(&self) -> LogHead {
        head(self.checkpoint.claimed())
    }

    /// The proof of a leaf.
    pub(super) fn proof(&self, leaf: &str) -> String {
        let index = self.leaves.iter().rposition(|other| other == leaf).unwrap();
        let index = u64::try_from(index).unwrap();
        let hashes = self.hashes(&Recipe::inclusion(index, self.size()).unwrap());
        ProofFile::new(index, hashes, self.checkpoint.clone()).to_string()
    }
}

fn head(tree: &Checkpoint) -> LogHead {
    LogHead { origin: tree.origin().to_owned(), root_hash: *tree.root().as_bytes(), size: tree.size() }
}

/// The leaf of a file.
pub(super) fn of_file(path: &str, content: &[u8]) -> String {
    let leaf = FileLeaf::of_target(path, length(content), sha256(content)).unwrap().unwrap();
    Leaf::File(leaf).to_string()
}

/// The leaf of a snapshot.
pub(super) fn of_snapshot(version: Version, bytes: &[u8]) -> String {
    Leaf::Tuf(TufLeaf::new(Role::Snapshot, version, length(bytes), sha256(bytes)).unwrap()).to_string()
}

/// The leaves of all files that are signed in these.
pub(super) fn of_targets<'a>(all: impl Iterator<Item = (&'a String, &'a TargetFile)>) -> Vec<String> {
    let leaf = |(path, file): (&String, &TargetFile)| {
        let leaf = FileLeaf::of_target(path, file.length, file.hashes.sha256.unwrap()).ok()??;
        Some(Leaf::File(leaf).to_string())
    };
    all.filter_map(leaf).collect::<BTreeSet<_>>().into_iter().collect()
}

/// What a recorder publishes: the proof of the last leaf for each path, tiles and entries of its log.
pub(super) fn recorder(
    name: &str,
    leaves: Vec<String>,
    sign: impl Fn(&[u8]) -> [u8; 64],
) -> BTreeMap<String, Vec<u8>> {
    let (key, size) = (recorder_key(name), u64::try_from(leaves.len()).unwrap());
    let shown = Shown::of(leaves, |root| {
        let checkpoint = Checkpoint::new(key.name().as_str(), size, root).unwrap();
        let signature = sign(checkpoint.to_string().as_bytes());
        SignedCheckpoint::sign(checkpoint, &key, &signature).unwrap()
    });
    let mut files: BTreeMap<_, _> =
        shown.tiles.iter().map(|(path, tile)| (format!("{name}/log/{path}"), tile.clone())).collect();
    let mut entries = Vec::new();
    for leaf in &shown.leaves {
        bundle::push(&mut entries, leaf.as_bytes()).unwrap();
        let Leaf::File(file) = Leaf::parse(leaf.as_bytes()).unwrap() else { panic!("{leaf}") };
        files.insert(format!("{name}/targets/{}.tlog-proof", file.path()), shown.proof(leaf).into_bytes());
    }
    // All of them are in one bundle.
    let bundle = TileId::new(0, 0, size).unwrap().entries_path();
    files.insert(format!("{name}/log/{bundle}"), entries);
    files
}

fn recorder_key(name: &str) -> VerifierKey {
    verifier(&format!("{name}.example"), KeyKind::Log, &public_of(name))
}

/// The recorders as a careful client knows them.
pub(super) fn recorders() -> Recorders {
    let announced = |name: &str| Announced {
        name: name.to_owned(),
        url: name.to_owned(),
        policy: format!("log {}\nquorum none\n", recorder_key(name)),
        claims: None,
        since: None,
    };
    Recorders::new(RECORDERS.map(announced).into(), Some(RECORDED), 0).unwrap()
}
