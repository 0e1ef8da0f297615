//! Proof files (`c2sp.org/tlog-proof@v1`): number of the leaf, inclusion proof, checkpoint. All that is needed to see,
//! without a network, that something was logged.
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! index 73894
//! gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=
//! …
//!
//! example.com/log ⏎ … the signed checkpoint
//! ```

use std::fmt;

use thiserror::Error;

use super::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
use super::merkle::Hash;
use super::note::MAX_NOTE_LEN;
use super::policy::{Accepted, Policy, Refusal};
use super::proof::{ProofError, check_inclusion};
use super::text::{base64, decimal, hash_lines, next_line, to_base64, to_hash_lines};

/// Bytes of extra data, at most: applications here put nothing there, and ignore what others did.
pub const MAX_EXTRA: usize = 4 * 1024;
/// Hashes of an inclusion proof, at most: levels of the largest tree.
const MAX_HASHES: usize = 63;
/// Bytes of a proof file, at most: checkpoint, hashes, extra data in base64, and two short lines.
pub const MAX_PROOF_LEN: usize = MAX_NOTE_LEN + MAX_HASHES * 45 + MAX_EXTRA * 2;
/// The first line.
const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// Why a proof file is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProofFileError {
    /// More than [`MAX_PROOF_LEN`].
    #[error("the proof file has {found} bytes, at most {MAX_PROOF_LEN} are allowed")]
    TooLong {
        /// Bytes of the file.
        found: usize,
    },
    /// A part that is not there, or is not what it should be.
    #[error("the proof file has no {expected} where one belongs")]
    Syntax {
        /// What should be there.
        expected: &'static str,
    },
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoint does not satisfy the policy.
    #[error(transparent)]
    Policy(#[from] Refusal),
    /// The leaf is not in the tree of the checkpoint.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

/// A proof file. Nothing of it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofFile {
    extra: Option<Vec<u8>>,
    index: u64,
    hashes: Vec<Hash>,
    checkpoint: SignedCheckpoint,
}

impl ProofFile {
    /// A proof for the leaf of this number: the hashes of [`Recipe::inclusion`](super::recipe::Recipe::inclusion) for
    /// the size of the checkpoint.
    pub fn new(index: u64, hashes: Vec<Hash>, checkpoint: SignedCheckpoint) -> Self {
        Self { extra: None, index, hashes, checkpoint }
    }

    /// Reads a proof file, which has one form.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofFileError> {
        if bytes.len() > MAX_PROOF_LEN {
            return Err(ProofFileError::TooLong { found: bytes.len() });
        }
        let missing = |expected| ProofFileError::Syntax { expected };
        let mut rest = str::from_utf8(bytes).map_err(|_| missing("text"))?;
        if next_line(&mut rest) != Some(HEADER) {
            return Err(missing("line `c2sp.org/tlog-proof@v1`"));
        }
        let mut line = next_line(&mut rest).unwrap_or_default();
        let mut extra = None;
        if let Some(encoded) = line.strip_prefix("extra ") {
            let fits = |bytes: &Vec<u8>| (1..=MAX_EXTRA).contains(&bytes.len());
            extra = Some(base64(encoded).filter(fits).ok_or(missing("extra data"))?);
            line = next_line(&mut rest).unwrap_or_default();
        }
        let index = line.strip_prefix("index ").and_then(decimal).ok_or(missing("line `index NUMBER`"))?;
        let hashes = hash_lines(&mut rest, MAX_HASHES)
            .ok_or(missing("list of hashes with an empty line behind it"))?;
        Ok(Self { extra, index, hashes, checkpoint: SignedCheckpoint::parse(rest.as_bytes())? })
    }

    /// The checkpoint, with its signatures; not verified.
    pub fn checkpoint(&self) -> &SignedCheckpoint {
        &self.checkpoint
    }

    /// Number of the leaf, from 0; not verified.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The hashes beside the way from the leaf to the root; not verified.
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// What the application that made it added; nobody signed it.
    pub fn extra(&self) -> Option<&[u8]> {
        self.extra.as_deref()
    }

    /// That `entry` is a leaf of a log of the policy, under a checkpoint that satisfies it.
    pub fn verify(&self, entry: &[u8], policy: &Policy) -> Result<Accepted, ProofFileError> {
        let accepted = policy.check(&self.checkpoint)?;
        self.verify_in(entry, &accepted)?;
        Ok(accepted)
    }

    /// That `entry` is a leaf of the tree of a checkpoint that a policy accepted: of this file's one, which many files share.
    pub fn verify_in(&self, entry: &[u8], accepted: &Accepted) -> Result<(), ProofFileError> {
        self.verify_under(entry, accepted.checkpoint())
    }

    /// That `entry` is a leaf of a tree, whoever vouches for it.
    pub(super) fn verify_under(&self, entry: &[u8], tree: &Checkpoint) -> Result<(), ProofFileError> {
        Ok(check_inclusion(&Hash::leaf(entry), self.index, tree.size(), &self.hashes, tree.root())?)
    }
}

/// The file, byte for byte as it was read.
impl fmt::Display for ProofFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", to_base64(extra))?;
        }
        write!(f, "index {}\n{}{}", self.index, to_hash_lines(&self.hashes), self.checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::super::naive_tests::{leaves, number, root, tiles_of};
    use super::super::recipe::Recipe;
    use super::super::scene_tests::{NOW, Pair, flipped, scene};
    use super::*;
    use proptest::prelude::*;

    const ENTRY: &[u8] = b"leaf 5";

    /// A proof for leaf 5 of 9, cosigned by three witnesses of which the policy wants two.
    fn proof() -> (ProofFile, Policy) {
        let (log, witnesses, policy) = scene(3, "2");
        let leaves = leaves(9);
        let mut checkpoint = log.checkpoint(9, root(&leaves));
        for witness in &witnesses {
            checkpoint = witness.cosign(checkpoint, NOW);
        }
        let hashes = Recipe::inclusion(5, 9).unwrap().hashes(&tiles_of(&leaves)).unwrap();
        (ProofFile::new(5, hashes, checkpoint), policy)
    }

    #[test]
    fn a_proof_says_what_its_log_said() {
        let (proof, policy) = proof();
        let accepted = proof.verify(ENTRY, &policy).unwrap();
        assert_eq!((accepted.checkpoint().size(), accepted.cosigned().len()), (9, 3));
    }

    #[test]
    fn a_proof_for_another_entry_is_refused() {
        let (proof, policy) = proof();
        let refused = proof.verify(b"leaf 4", &policy).unwrap_err();
        assert!(matches!(refused, ProofFileError::Proof(ProofError::Root { .. })), "{refused}");
    }

    #[test]
    fn a_proof_is_in_lines_as_the_text_wants_it() {
        let (mut proof, _) = proof();
        proof.extra = Some(b"more".to_vec());
        let text = proof.to_string();
        let mut expected =
            vec!["c2sp.org/tlog-proof@v1".to_owned(), "extra bW9yZQ==".into(), "index 5".into()];
        expected.extend(proof.hashes.iter().map(Hash::to_string));
        expected.extend([String::new(), "example.com/log".into(), "9".into()]);
        assert_eq!(text.lines().take(expected.len()).collect::<Vec<_>>(), expected);
        let read = ProofFile::parse(text.as_bytes()).unwrap();
        assert_eq!((read.extra(), read.index(), &read), (Some(b"more".as_slice()), 5, &proof));
    }

    #[test]
    fn a_proof_with_any_bit_flipped_is_refused_or_loses_a_witness() {
        let (proof, policy) = proof();
        for bytes in flipped(&proof.to_string()) {
            let Ok(read) = ProofFile::parse(&bytes) else { continue };
            if let Ok(accepted) = read.verify(ENTRY, &policy) {
                // The name or the id of a witness changed: somebody unknown, and two are left.
                assert_eq!(accepted.cosigned().len(), 2, "{}", String::from_utf8_lossy(&bytes));
                assert_eq!((read.index, &read.hashes), (5, &proof.hashes));
            }
        }
    }

    #[test]
    fn with_every_witness_needed_any_bit_flipped_refuses_a_proof() {
        let (log, witnesses, policy) = scene(1, "all");
        let checkpoint = witnesses[0].cosign(log.checkpoint(1, Hash::leaf(ENTRY)), NOW);
        let proof = ProofFile::new(0, Vec::new(), checkpoint);
        assert!(proof.verify(ENTRY, &policy).is_ok());
        for bytes in flipped(&proof.to_string()) {
            let verified = ProofFile::parse(&bytes).and_then(|read| read.verify(ENTRY, &policy));
            assert!(verified.is_err(), "{}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn a_proof_under_a_checkpoint_without_a_quorum_is_refused() {
        let (log, _, policy) = scene(1, "all");
        let proof = ProofFile::new(0, Vec::new(), log.checkpoint(1, Hash::leaf(ENTRY)));
        let refused = ProofFileError::Policy(Refusal::NoQuorum { cosigned: Vec::new() });
        assert_eq!(proof.verify(ENTRY, &policy), Err(refused));
    }

    #[test]
    fn what_is_no_proof_file_is_refused() {
        let checkpoint = Pair::log("log").checkpoint(1, Hash::leaf(b"")).to_string();
        let head = HEADER;
        let hash = Hash::leaf(b"");
        let many = format!("{hash}\n").repeat(64);
        let extra = "extra data";
        let header = "line `c2sp.org/tlog-proof@v1`";
        let hashes = "list of hashes with an empty line behind it";
        let index = "line `index NUMBER`";
        for (text, expected) in [
            (String::new(), header),
            (head.to_owned(), header),
            (format!("{head} \nindex 0\n\n{checkpoint}"), header),
            (format!("c2sp.org/tlog-proof@v2\nindex 0\n\n{checkpoint}"), header),
            (format!("{head}\nextra \nindex 0\n\n{checkpoint}"), extra),
            (format!("{head}\nextra AQ\nindex 0\n\n{checkpoint}"), extra),
            (format!("{head}\nextra AQ==\nextra AQ==\nindex 0\n\n{checkpoint}"), index),
            (format!("{head}\nindex 00\n\n{checkpoint}"), index),
            (format!("{head}\nindex\n\n{checkpoint}"), index),
            (format!("{head}\nindex 0 \n\n{checkpoint}"), index),
            (format!("{head}\nindex 0\n{checkpoint}"), hashes),
            (format!("{head}\nindex 0\n{hash} \n\n{checkpoint}"), hashes),
            (format!("{head}\nindex 0\n{many}\n{checkpoint}"), hashes),
        ] {
            assert_eq!(ProofFile::parse(text.as_bytes()), Err(ProofFileError::Syntax { expected }), "{text}");
        }
        let twice = format!("{head}\nindex 0\n\n\n{checkpoint}");
        assert!(matches!(ProofFile::parse(twice.as_bytes()), Err(ProofFileError::Checkpoint(_))));
        let found = MAX_PROOF_LEN + 1;
        assert_eq!(ProofFile::parse(&vec![b'a'; found]), Err(ProofFileError::TooLong { found }));
    }

    #[test]
    fn extra_data_is_bounded() {
        let (mut proof, _) = proof();
        proof.extra = Some(vec![0; MAX_EXTRA]);
        assert_eq!(ProofFile::parse(proof.to_string().as_bytes()), Ok(proof.clone()));
        proof.extra = Some(vec![0; MAX_EXTRA + 1]);
        let expected = "extra data";
        assert_eq!(ProofFile::parse(proof.to_string().as_bytes()), Err(ProofFileError::Syntax { expected }));
    }

    #[test]
    fn a_proof_in_a_log_of_17_million_leaves_is_at_most_2100_bytes() {
        let size = 17_000_000;
        let index = size / 2;
        let mut hash = Hash::leaf(ENTRY);
        let count = Recipe::inclusion(index, size).unwrap().len();
        let hashes = std::iter::repeat_with(|| {
            hash = Hash::node(&hash, &hash);
            hash
        });
        let log = Pair::log("pypi.example.org/transparency");
        let mut checkpoint =
            log.signed(Checkpoint::new("pypi.example.org/transparency", size, hash_of(0)).unwrap());
        for n in 0..3 {
            checkpoint = Pair::witness(&format!("witness-{n}.example.org/w1")).cosign(checkpoint, NOW);
        }
        let proof = ProofFile::new(index, hashes.take(count).collect(), checkpoint);
        let length = proof.to_string().len();
        assert!(count == 25 && length <= 2_100, "{count} hashes, {length} bytes");
    }

    fn hash_of(count: usize) -> Hash {
        Hash::leaf(&number(count).to_be_bytes())
    }

    proptest! {
        #[test]
        fn a_proof_file_reads_as_it_was_written(
            index in 0..=crate::tlog::merkle::MAX_SIZE,
            seeds in proptest::collection::vec(any::<[u8; 32]>(), 0..63),
            extra in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..99)),
        ) {
            let hashes = seeds.into_iter().map(Hash::from_bytes).collect();
            let checkpoint = Pair::log("log").checkpoint(9, hash_of(0));
            let mut proof = ProofFile::new(index, hashes, checkpoint);
            proof.extra = extra;
            prop_assert_eq!(ProofFile::parse(proof.to_string().as_bytes()), Ok(proof));
        }

        #[test]
        fn bytes_that_read_as_a_proof_file_are_written_the_same(lines in "(extra [A-D]{3}[A=]\n)?index [01]{1,3}\n\n") {
            let checkpoint = Pair::log("log").checkpoint(9, hash_of(0));
            let text = format!("{HEADER}\n{lines}{checkpoint}");
            if let Ok(proof) = ProofFile::parse(text.as_bytes()) {
                prop_assert_eq!(proof.to_string(), text);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, rest: String) {
            let _ = ProofFile::parse(&bytes);
            let _ = ProofFile::parse(format!("{HEADER}\nindex 0\n{rest}").as_bytes());
        }
    }
}
