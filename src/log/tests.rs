//! A log that grows, in a folder.

use std::sync::Arc;

use async_trait::async_trait;

use super::*;
use crate::crypto::{NewKey, PublicKey, Scheme, SigningKey, sha256};
use crate::store::{DirStore, Store};
use crate::tlog::key::{KeyKind, KeyName, VerifierKey};
use crate::tlog::leaf::{FileLeaf, Leaf, Role, TufLeaf};
use crate::tlog::merkle::Tree;
use crate::tlog::policy::Policy;

const ORIGIN: &str = "index.example.org/log";

struct Signer {
    key: VerifierKey,
    private: SigningKey,
}

impl Signer {
    fn new(name: &str) -> Self {
        let private = SigningKey::from_pkcs8(&NewKey::Ed25519.generate().unwrap()).unwrap();
        let PublicKey::Ed25519(public) = *private.public() else { unreachable!("an Ed25519 key was made") };
        Self { key: VerifierKey::new(KeyName::new(name).unwrap(), KeyKind::Log, public), private }
    }
}

#[async_trait]
impl LogSigner for Signer {
    fn key(&self) -> &VerifierKey {
        &self.key
    }

    async fn sign(&self, message: &[u8]) -> Result<[u8; 64], String> {
        let signature = self.private.sign(Scheme::Ed25519, message).map_err(|error| error.to_string())?;
        signature.try_into().map_err(|_| "no Ed25519 signature".to_owned())
    }
}

fn file(number: u64) -> Leaf {
    let path = format!("project-{number}/project_{number}-1.0.tar.gz");
    Leaf::File(FileLeaf::new(&path, "1.0", number, sha256(path.as_bytes())).unwrap())
}

fn files(numbers: std::ops::Range<u64>) -> Entries {
    let mut entries = Entries::default();
    numbers.for_each(|number| entries.push(&file(number)).unwrap());
    entries
}

fn naive(size: u64) -> Hash {
    let mut tree = Tree::default();
    (0..size).for_each(|number| tree.push(Hash::leaf(file(number).to_string().as_bytes())));
    tree.root()
}

async fn fresh() -> (tempfile::TempDir, Arc<dyn Store>) {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(DirStore::create(folder.path()).await.unwrap());
    (folder, store)
}

#[tokio::test]
async fn a_log_grows_is_signed_and_proves_what_it_has() {
    let (_folder, store) = fresh().await;
    let signer = Signer::new(ORIGIN);
    let policy = Policy::parse(format!("log {}\nquorum none\n", signer.key).as_bytes()).unwrap();
    let log = Log::new(Arc::clone(&store));
    assert_eq!(log.head().await.unwrap(), None);
    let mut head = log.create(ORIGIN, None).await.unwrap();
    assert_eq!((head.size(), *head.root()), (0, Hash::empty_root()));

    for to in [1, 2, 255, 256, 257, 300, 700] {
        // Each from what lies in the store alone, and from what the last append left in memory.
        let log = if to % 2 == 0 { &log } else { &Log::new(Arc::clone(&store)) };
        head = log.append(&head, files(head.size()..to)).await.unwrap();
        assert_eq!((head.size(), *head.root()), (to, naive(to)));
        assert_eq!(log.head().await.unwrap().unwrap(), head);
        let (of, checkpoint) = log.sign(&signer, &Unwitnessed).await.unwrap();
        assert_eq!(of, head);
        log.publish(&checkpoint).await.unwrap();

        let mut seen = Vec::new();
        let mut visit = |index, leaf: Leaf| {
            seen.push((index, leaf));
            Ok(())
        };
        log.leaves(&head, to / 2, &mut visit).await.unwrap();
        assert_eq!(seen, (to / 2..to).map(|number| (number, file(number))).collect::<Vec<_>>());

        let indices: Vec<u64> = (0..to).collect();
        let mut proved = 0;
        let mut check = |index, proof: ProofFile| {
            proof.verify(file(index).to_string().as_bytes(), &policy).unwrap();
            proved += 1;
            Ok(())
        };
        log.proofs(&checkpoint, &indices, &mut check).await.unwrap();
        assert_eq!(proved, to);
    }
}

#[tokio::test]
async fn versions_of_a_role_rise() {
    let (_folder, store) = fresh().await;
    let log = Log::new(store);
    let head = log.create(ORIGIN, None).await.unwrap();
    let snapshot = |version| Leaf::Tuf(TufLeaf::new(Role::Snapshot, version, 9, [1; 32]).unwrap());
    let of = |versions: &[u64]| {
        let mut entries = Entries::default();
        versions.iter().try_for_each(|version| entries.push(&snapshot(*version))).map(|()| entries)
    };
    let head = log.append(&head, of(&[1, 3]).unwrap()).await.unwrap();
    assert_eq!((head.logged(Role::Snapshot), head.logged(Role::Root)), (3, 0));
    let again = LogError::Again { role: Role::Snapshot, version: 3, newest: 3 };
    assert_eq!(log.append(&head, of(&[3, 4]).unwrap()).await, Err(again));
    let order = EntriesError::Order { role: Role::Snapshot, version: 4, before: 4 };
    assert_eq!(of(&[4, 4]).map(|_| ()), Err(order));
}

#[tokio::test]
async fn of_two_appends_to_one_head_the_second_is_told() {
    let (_folder, store) = fresh().await;
    let (one, other) = (Log::new(Arc::clone(&store)), Log::new(store));
    let head = one.create(ORIGIN, None).await.unwrap();
    let first = one.append(&head, files(0..3)).await.unwrap();
    assert_eq!(other.append(&head, files(5..6)).await, Err(LogError::Overtaken));
    let second = other.append(&first, files(3..4)).await.unwrap();
    assert_eq!(*second.root(), naive(4));
    assert_eq!(one.create(ORIGIN, None).await, Err(LogError::Exists { path: HEAD }));
}
