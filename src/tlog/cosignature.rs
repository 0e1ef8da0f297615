//! Ed25519 cosignatures (c2sp.org/tlog-cosignature@v1.0.1): a witness says that at a time, a checkpoint was the largest
//! it knew of the log, and continued all before.
//!
//! ```text
//! signed:     cosignature/v1 ⏎ time 1679315147 ⏎ and the text of the checkpoint
//! in a note:  id of the key (4 bytes) ‖ time (8 bytes, the larger first) ‖ Ed25519 signature (64 bytes)
//! ```
//!
//! The message has no name of the witness in it, so no key may serve two witnesses.

use super::key::{KeyKind, SIGNATURE_LEN, VerifierKey};
use super::merkle::MAX_SIZE;
use super::note::{NoteError, Signature};

/// Latest time of a cosignature, in seconds since the epoch: 2^63 - 1.
const MAX_TIME: u64 = MAX_SIZE;
/// What every message begins with, so that it is no other kind of text.
const HEADER: &str = "cosignature/v1";

/// What a witness signs: header, time in seconds since the epoch, and the text of the checkpoint with its last newline.
pub fn message(time: u64, text: &str) -> String {
    format!("{HEADER}\ntime {time}\n{text}")
}

/// The line for a signature over [`message`], which was made elsewhere and is verified here. The key is that of a
/// witness.
pub fn line(
    key: &VerifierKey,
    time: u64,
    text: &str,
    signature: &[u8; SIGNATURE_LEN],
) -> Result<Signature, NoteError> {
    if key.kind() != KeyKind::Witness {
        return Err(NoteError::WrongKind { key: key.name().clone() });
    }
    Signature::new(key, text, [time.to_be_bytes().as_slice(), signature].concat())
}

/// Time and signature, if these bytes are a cosignature.
pub(super) fn split(bytes: &[u8]) -> Option<(u64, &[u8; SIGNATURE_LEN])> {
    let (time, signature) = bytes.split_first_chunk()?;
    let time = u64::from_be_bytes(*time);
    let signature = signature.try_into().ok()?;
    (time <= MAX_TIME).then_some((time, signature))
}

#[cfg(test)]
mod tests {
    use super::super::key::KnownKeys;
    use super::super::merkle::Hash;
    use super::super::scene_tests::{NOW, Pair, flipped, known};
    use super::super::{checkpoint::SignedCheckpoint, key::Statement};
    use super::*;

    #[test]
    fn the_message_is_that_of_the_text() {
        let checkpoint =
            "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        let expected = "cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\n\
            CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        assert_eq!(message(1_679_315_147, checkpoint), expected);
    }

    #[test]
    fn a_cosignature_says_its_time() {
        let (log, witness) = (Pair::log("log"), Pair::witness("w.example"));
        let checkpoint = witness.cosign(log.checkpoint(1, Hash::leaf(b"")), NOW);
        let keys = known(&[&witness]);
        let (_, verified) = checkpoint.verify(&keys).unwrap();
        assert_eq!(verified.signers(), [(&witness.key, Statement::Cosigned { time: NOW })]);
    }

    #[test]
    fn a_cosigned_checkpoint_with_any_bit_flipped_is_refused() {
        let (log, witness) = (Pair::log("log"), Pair::witness("w.example"));
        let bytes = witness.cosign(log.checkpoint(1, Hash::leaf(b"")), NOW).to_string();
        let keys = known(&[&witness, &log]);
        let both = |bytes: &[u8], keys: &KnownKeys| {
            let read = SignedCheckpoint::parse(bytes).ok()?;
            let (_, verified) = read.verify(keys).ok()?;
            (verified.signers().len() == 2).then_some(())
        };
        assert_eq!(both(bytes.as_bytes(), &keys), Some(()));
        for changed in flipped(&bytes) {
            assert_eq!(both(&changed, &keys), None, "{}", String::from_utf8_lossy(&changed));
        }
    }

    #[test]
    fn a_cosignature_is_no_signature_and_a_signature_no_cosignature() {
        let (log, witness) = (Pair::log("log"), Pair::witness("w.example"));
        let text = "text\n";
        let wrong = |key: &VerifierKey| NoteError::WrongKind { key: key.name().clone() };
        let signature = log.sign(&message(NOW, text));
        assert_eq!(line(&log.key, NOW, text, &signature), Err(wrong(&log.key)));
        let bad = NoteError::BadSignature { key: witness.key.name().clone() };
        assert_eq!(line(&witness.key, NOW, text, &witness.sign(text)), Err(bad.clone()));
        let at_another_time = witness.sign(&message(NOW + 1, text));
        assert_eq!(line(&witness.key, NOW, text, &at_another_time), Err(bad));
    }

    #[test]
    fn a_time_beyond_the_last_is_refused() {
        let witness = Pair::witness("w.example");
        let made = |time| line(&witness.key, time, "text\n", &witness.sign(&message(time, "text\n")));
        assert!(made(MAX_TIME).is_ok());
        assert!(matches!(made(MAX_TIME + 1), Err(NoteError::BadSignature { .. })));
    }

    #[test]
    fn bytes_of_another_length_are_no_cosignature() {
        assert_eq!(split(&[0; 72]), Some((0, &[0; 64])));
        for length in [0, 7, 8, 64, 71, 73] {
            assert_eq!(split(&vec![0; length]), None, "{length}");
        }
    }
}
