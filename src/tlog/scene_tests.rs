//! Logs and witnesses for tests: keys made on the spot, and what they sign.

use super::checkpoint::{Checkpoint, SignedCheckpoint};
use super::key::{KeyKind, KeyName, KnownKeys, SIGNATURE_LEN, VerifierKey};
use super::merkle::Hash;
use super::policy::Policy;
use crate::crypto::{NewKey, PublicKey, Scheme, SigningKey};

/// Where the time of tests stands, in seconds since the epoch.
pub(super) const NOW: u64 = 1_679_315_147;
/// The log of tests.
pub(super) const ORIGIN: &str = "example.com/log";

/// A key with its private half.
pub(super) struct Pair {
    pub(super) key: VerifierKey,
    private: SigningKey,
}

impl Pair {
    /// A fresh key of a log.
    pub(super) fn log(name: &str) -> Self {
        Self::new(name, KeyKind::Log)
    }

    /// A fresh key of a witness.
    pub(super) fn witness(name: &str) -> Self {
        Self::new(name, KeyKind::Witness)
    }

    fn new(name: &str, kind: KeyKind) -> Self {
        let private = SigningKey::from_pkcs8(&NewKey::Ed25519.generate().unwrap()).unwrap();
        let PublicKey::Ed25519(public) = *private.public() else { unreachable!("an Ed25519 key was made") };
        Self { key: VerifierKey::new(KeyName::new(name).unwrap(), kind, public), private }
    }

    /// The same key as another kind.
    pub(super) fn vkey_as(&self, name: &str, kind: KeyKind) -> VerifierKey {
        let PublicKey::Ed25519(public) = self.key.public_key() else { unreachable!("it is an Ed25519 key") };
        VerifierKey::new(KeyName::new(name).unwrap(), kind, public)
    }

    pub(super) fn sign(&self, message: &str) -> [u8; SIGNATURE_LEN] {
        self.private.sign(Scheme::Ed25519, message.as_bytes()).unwrap().try_into().unwrap()
    }

    /// A checkpoint of the log of tests, signed.
    pub(super) fn checkpoint(&self, size: u64, root: Hash) -> SignedCheckpoint {
        self.signed(Checkpoint::new(ORIGIN, size, root).unwrap())
    }

    /// A checkpoint, signed.
    pub(super) fn signed(&self, checkpoint: Checkpoint) -> SignedCheckpoint {
        let signature = self.sign(&checkpoint.to_string());
        SignedCheckpoint::sign(checkpoint, &self.key, &signature).unwrap()
    }

    /// The checkpoint with the cosignature of this witness too.
    pub(super) fn cosign(&self, mut checkpoint: SignedCheckpoint, time: u64) -> SignedCheckpoint {
        let signature = self.sign(&checkpoint.cosignature_message(time));
        let line = checkpoint.cosignature(&self.key, time, &signature).unwrap();
        assert_eq!(checkpoint.merge(vec![line], &known(&[self])), Ok(1));
        checkpoint
    }
}

pub(super) fn known(pairs: &[&Pair]) -> KnownKeys {
    KnownKeys::new(pairs.iter().map(|pair| pair.key.clone()).collect()).unwrap()
}

/// A log, witnesses, and a policy that wants `quorum` of them.
pub(super) fn scene(witnesses: usize, quorum: &str) -> (Pair, Vec<Pair>, Policy) {
    let log = Pair::log(ORIGIN);
    let witnesses: Vec<_> = (1..=witnesses).map(|n| Pair::witness(&format!("w{n}.example"))).collect();
    let names: Vec<_> = (1..=witnesses.len()).map(|n| format!("w{n}")).collect();
    let lines: Vec<_> =
        names.iter().zip(&witnesses).map(|(name, pair)| format!("witness {name} {}\n", pair.key)).collect();
    let group = if names.is_empty() {
        "quorum none\n".to_owned()
    } else {
        format!("group all-of-them {quorum} {}\nquorum all-of-them\n", names.join(" "))
    };
    let text = format!("log {}\n{}{group}", log.key, lines.concat());
    (log, witnesses, Policy::parse(text.as_bytes()).unwrap())
}

/// Every single bit of a text changed, one at a time.
pub(super) fn flipped(text: &str) -> impl Iterator<Item = Vec<u8>> {
    (0..text.len() * 8).map(|bit| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    })
}
