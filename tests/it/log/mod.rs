//! The transparency log in a store: what it becomes, what it survives, what it refuses.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a log that cannot be set up fails the test"
)]

mod audit;
mod cli;
mod faults;
mod refusals;
mod sizes;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use tempfile::TempDir;
use wheelseal::crypto::{NewKey, PublicKey, Scheme, SigningKey, sha256};
use wheelseal::log::{Audit, Entries, Head, Log, LogError, LogSigner, Unwitnessed};
use wheelseal::store::{DirStore, Store};
use wheelseal::tlog::checkpoint::{Checkpoint, SignedCheckpoint};
use wheelseal::tlog::key::{KeyKind, KeyName, VerifierKey};
use wheelseal::tlog::leaf::{FileLeaf, Leaf};

const ORIGIN: &str = "index.example.org/log";

/// A key of a log, or of nobody.
struct Signer {
    key: VerifierKey,
    private: SigningKey,
}

impl Signer {
    fn new(name: &str, kind: KeyKind) -> Self {
        let private = SigningKey::from_pkcs8(&NewKey::Ed25519.generate().unwrap()).unwrap();
        let PublicKey::Ed25519(public) = *private.public() else { unreachable!("an Ed25519 key was made") };
        Self { key: VerifierKey::new(KeyName::new(name).unwrap(), kind, public), private }
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.private.sign(Scheme::Ed25519, message).unwrap().try_into().unwrap()
    }
}

#[async_trait]
impl LogSigner for Signer {
    fn key(&self) -> &VerifierKey {
        &self.key
    }

    async fn sign(&self, message: &[u8]) -> Result<[u8; 64], String> {
        Ok(self.sign(message))
    }
}

/// A log in a folder, and its key.
struct Scene {
    folder: TempDir,
    signer: Signer,
}

impl Scene {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), signer: Signer::new(ORIGIN, KeyKind::Log) }
    }

    /// With files 0 to `size` in the log, signed for.
    async fn of(size: u64) -> Self {
        let scene = Self::new();
        let log = scene.log().await;
        let head = log.create(ORIGIN, None).await.unwrap();
        log.append(&head, files(0..size)).await.unwrap();
        scene.publish(&log).await.unwrap();
        scene
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    async fn store(&self) -> DirStore {
        DirStore::open(self.root()).await.unwrap()
    }

    /// The log as another process sees it.
    async fn log(&self) -> Log {
        log_in(self.store().await)
    }

    async fn publish(&self, log: &Log) -> Result<SignedCheckpoint, LogError> {
        let (_, checkpoint) = log.sign(&self.signer, &Unwitnessed).await?;
        log.publish(&checkpoint).await?;
        Ok(checkpoint)
    }

    /// Everything that was signed for is there and in order.
    async fn audit(&self) -> Result<(u64, Audit), LogError> {
        let log = self.log().await;
        let checkpoint = log.reader().checkpoint().await?.unwrap();
        let audit = log.reader().audit(checkpoint.claimed(), &mut |_| {}).await?;
        Ok((checkpoint.claimed().size(), audit))
    }
}

fn log_in(store: impl Store + 'static) -> Log {
    Log::new(Arc::new(store))
}

fn file(number: u64) -> FileLeaf {
    let path = format!("project-{number}/project_{number}-1.0.tar.gz");
    FileLeaf::new(&path, "1.0", number, sha256(path.as_bytes())).unwrap()
}

fn text(number: u64) -> String {
    Leaf::File(file(number)).to_string()
}

fn files(numbers: Range<u64>) -> Entries {
    let mut entries = Entries::default();
    numbers.for_each(|number| entries.push(&Leaf::File(file(number))).unwrap());
    entries
}

/// The numbers of the files in a log, in its order.
async fn logged(log: &Log, head: &Head) -> Vec<u64> {
    let mut seen = Vec::new();
    let mut visit = |_, leaf| {
        let Leaf::File(file) = leaf else { unreachable!("only files were appended") };
        seen.push(file.length());
        Ok(())
    };
    log.leaves(head, 0, &mut visit).await.unwrap();
    seen
}
