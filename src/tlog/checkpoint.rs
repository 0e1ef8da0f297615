//! Checkpoints (c2sp.org/tlog-checkpoint@v1.0.0): notes that say how large a log is and what its root is.
//!
//! ```text
//! example.com/log                                  origin: which log
//! 20852163                                         leaves
//! CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=     root
//! ```
//!
//! Lines behind these are extensions: kept as they came, and never given a meaning.

use std::fmt;

use thiserror::Error;

use super::cosignature;
use super::key::{KnownKeys, SIGNATURE_LEN, VerifierKey};
use super::merkle::{Hash, MAX_SIZE};
use super::note::{Note, NoteError, Signature, Verified};
use super::text::{decimal, next_line};

/// Bytes of an origin, at most: an address without a scheme, as key names are.
pub const MAX_ORIGIN: usize = 255;

/// Why a checkpoint is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CheckpointError {
    /// The note around it.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The first line.
    #[error(
        "the origin of a checkpoint has {found} bytes, expected 1 to {MAX_ORIGIN}, and no control characters"
    )]
    Origin {
        /// Bytes found.
        found: usize,
    },
    /// The second line.
    #[error("line 2 of the checkpoint is not a tree size: a decimal number below 2^63 without leading zeros")]
    Size,
    /// The third line.
    #[error("line 3 of the checkpoint is not a root: 32 bytes in base64")]
    Root,
    /// An extension line that is empty.
    #[error("line {line} of the checkpoint is empty")]
    Extension {
        /// Number of the line, from 1.
        line: usize,
    },
}

/// What a log is at one size. Invariants: the origin is one line of 1 to 255 bytes; the size is below 2^63; extension
/// lines are not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    origin: String,
    size: u64,
    root: Hash,
    extensions: Vec<String>,
}

impl Checkpoint {
    /// A checkpoint to be signed, without extensions.
    pub fn new(origin: &str, size: u64, root: Hash) -> Result<Self, CheckpointError> {
        check_origin(origin)?;
        if size > MAX_SIZE {
            return Err(CheckpointError::Size);
        }
        Ok(Self { origin: origin.to_owned(), size, root, extensions: Vec::new() })
    }

    /// Reads the text of a note, which has one form.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let mut rest = text;
        let origin = next_line(&mut rest).unwrap_or_default();
        check_origin(origin)?;
        let size = next_line(&mut rest).and_then(decimal).ok_or(CheckpointError::Size)?;
        let root = next_line(&mut rest).and_then(Hash::from_base64).ok_or(CheckpointError::Root)?;
        let mut extensions = Vec::new();
        while !rest.is_empty() {
            let line = next_line(&mut rest).filter(|line| !line.is_empty());
            let line = line.ok_or(CheckpointError::Extension { line: extensions.len() + 4 })?;
            extensions.push(line.to_owned());
        }
        Ok(Self { origin: origin.to_owned(), size, root, extensions })
    }

    /// Which log.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Leaves of its tree.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root of its tree.
    pub fn root(&self) -> &Hash {
        &self.root
    }

    /// What the log added, line by line. Nobody vouches for it: witnesses do not look at it.
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }
}

/// One line of bounded length, so that no origin can bring a size and a root of its own.
fn check_origin(origin: &str) -> Result<(), CheckpointError> {
    if origin.is_empty() || origin.len() > MAX_ORIGIN || origin.contains(char::is_control) {
        return Err(CheckpointError::Origin { found: origin.len() });
    }
    Ok(())
}

/// The text that is signed, with its last newline.
impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}\n", self.origin, self.size, self.root)?;
        self.extensions.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// A checkpoint with signatures, none of them verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    note: Note,
    checkpoint: Checkpoint,
}

impl SignedCheckpoint {
    /// Reads a note whose text is a checkpoint.
    pub fn parse(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let note = Note::parse(bytes)?;
        let checkpoint = Checkpoint::parse(note.unverified_text())?;
        Ok(Self { note, checkpoint })
    }

    /// A checkpoint with the signature of its log over its text. The signature was made elsewhere, and is verified here.
    pub fn sign(
        checkpoint: Checkpoint,
        key: &VerifierKey,
        signature: &[u8; SIGNATURE_LEN],
    ) -> Result<Self, CheckpointError> {
        let note = Note::sign(checkpoint.to_string(), key, signature)?;
        Ok(Self { note, checkpoint })
    }

    /// Which log it says it is of: only to choose the keys to verify it with.
    pub fn claimed_origin(&self) -> &str {
        &self.checkpoint.origin
    }

    /// Names of those who signed, as their lines say; not verified.
    pub fn claimed_signers(&self) -> Vec<String> {
        self.note.claimed_signers()
    }

    /// What it says of its log, not verified: only to compare with what is known from elsewhere.
    pub fn claimed(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// What a witness signs to cosign it at `time`, in seconds since the epoch.
    pub fn cosignature_message(&self, time: u64) -> String {
        cosignature::message(time, self.note.unverified_text())
    }

    /// The line for a witness's signature over that message, verified.
    pub fn cosignature(
        &self,
        key: &VerifierKey,
        time: u64,
        signature: &[u8; SIGNATURE_LEN],
    ) -> Result<Signature, NoteError> {
        cosignature::line(key, time, self.note.unverified_text(), signature)
    }

    /// Takes the signatures of known keys: [`Note::merge`].
    pub fn merge(&mut self, signatures: Vec<Signature>, keys: &KnownKeys) -> Result<usize, NoteError> {
        self.note.merge(signatures, keys)
    }

    /// The signature lines, none of them verified.
    pub fn signatures(&self) -> &[Signature] {
        self.note.signatures()
    }

    /// Drops the signatures of all other keys: [`Note::keep`].
    pub fn keep(&mut self, keys: &KnownKeys) {
        self.note.keep(keys);
    }

    /// The checkpoint, and which of the known keys signed it. At least one did, and none badly. Whether those are enough,
    /// and whether one is its log's, is for [`Policy`](super::policy::Policy) to say.
    pub fn verify<'a>(&'a self, keys: &'a KnownKeys) -> Result<(&'a Checkpoint, Verified<'a>), NoteError> {
        Ok((&self.checkpoint, self.note.verify(keys)?))
    }
}

/// The note, byte for byte as it was read.
impl fmt::Display for SignedCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.note.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene_tests::{Pair, known};
    use super::*;
    use proptest::prelude::*;

    /// The example of the text.
    const EXAMPLE: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
        — example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";

    #[test]
    fn the_checkpoint_of_the_text_reads_and_writes() {
        let checkpoint = SignedCheckpoint::parse(EXAMPLE.as_bytes()).unwrap();
        assert_eq!(checkpoint.claimed_origin(), "example.com/behind-the-sofa");
        assert_eq!(checkpoint.checkpoint.size(), 20_852_163);
        assert_eq!(checkpoint.checkpoint.root().to_string(), "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=");
        assert_eq!(checkpoint.to_string(), EXAMPLE);
    }

    #[test]
    fn what_is_no_checkpoint_is_refused() {
        let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
        let origin = |found| CheckpointError::Origin { found };
        let extension = |line| CheckpointError::Extension { line };
        let long = format!("{}\n1\n{root}\n", "a".repeat(256));
        for (text, expected) in [
            ("", origin(0)),
            ("\n1\n", origin(0)),
            ("a", origin(0)),
            (&*long, origin(256)),
            ("a\u{7f}\n1\n", origin(2)),
            ("a\n", CheckpointError::Size),
            (&format!("a\n01\n{root}\n"), CheckpointError::Size),
            (&format!("a\n-1\n{root}\n"), CheckpointError::Size),
            (&format!("a\n9223372036854775808\n{root}\n"), CheckpointError::Size),
            (&format!("a\n\n{root}\n"), CheckpointError::Size),
            ("a\n1\n", CheckpointError::Root),
            (&format!("a\n1\n{root}"), CheckpointError::Root),
            ("a\n1\nAAAA\n", CheckpointError::Root),
            (&format!("a\n1\n{root}\n\n"), extension(4)),
            (&format!("a\n1\n{root}\nx\n\ny\n"), extension(5)),
            (&format!("a\n1\n{root}\nx"), extension(4)),
        ] {
            assert_eq!(Checkpoint::parse(text), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn extensions_are_kept_and_signed() {
        let log = Pair::log("log");
        let plain = Checkpoint::new("log", 1, Hash::leaf(b"")).unwrap();
        let extended = Checkpoint::parse(&format!("{plain}one\ntwo\n")).unwrap();
        assert_eq!(extended.extensions(), ["one", "two"]);
        let bytes = log.signed(extended.clone()).to_string();
        let keys = known(&[&log]);
        assert_eq!(SignedCheckpoint::parse(bytes.as_bytes()).unwrap().verify(&keys).unwrap().0, &extended);
        let changed = SignedCheckpoint::parse(bytes.replace("two", "three").as_bytes()).unwrap();
        let bad = NoteError::BadSignature { key: log.key.name().clone() };
        assert_eq!(changed.verify(&keys).unwrap_err(), bad);
    }

    #[test]
    fn an_origin_cannot_bring_a_size_and_a_root_of_its_own() {
        let root = Hash::leaf(b"");
        let forged = format!("a\n5\n{root}");
        let expected = CheckpointError::Origin { found: forged.len() };
        assert_eq!(Checkpoint::new(&forged, 1, root), Err(expected));
        assert_eq!(Checkpoint::new("", 1, root), Err(CheckpointError::Origin { found: 0 }));
        assert_eq!(Checkpoint::new("a", 1 << 63, root), Err(CheckpointError::Size));
    }

    proptest! {
        #[test]
        fn a_checkpoint_reads_as_it_was_written(
            origin in "[a-zé /+]{1,40}", size in 0..=MAX_SIZE, root: [u8; 32],
            extensions in proptest::collection::vec("[a-z ]{1,9}", 0..4),
        ) {
            let checkpoint = Checkpoint { origin, size, root: Hash::from_bytes(root), extensions };
            prop_assert_eq!(Checkpoint::parse(&checkpoint.to_string()), Ok(checkpoint));
        }

        #[test]
        fn text_that_reads_as_a_checkpoint_is_written_the_same(
            text in "[a\n]{1,3}\n[0-2]{1,3}\n[A-Z+/]{42}[AEIM]=\n[a\n]{0,4}",
        ) {
            if let Ok(checkpoint) = Checkpoint::parse(&text) {
                prop_assert_eq!(checkpoint.to_string(), text);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, text: String) {
            let _ = (SignedCheckpoint::parse(&bytes), Checkpoint::parse(&text));
        }
    }
}
