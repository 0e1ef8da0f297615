//! What a log and a witness say to each other (c2sp.org/tlog-witness@v1.0.0, "add-checkpoint"), and what a witness
//! decides. No server, no storage: whoever runs a witness stores what [`decide`] says, before it answers, and in one
//! step with the comparison.
//!
//! ```text
//! old 20852014                                     size that the log believes the witness to know
//! PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=     proof that the new tree begins with it
//!
//! example.com/log ⏎ … the checkpoint
//! ```

use std::fmt;

use thiserror::Error;

use super::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
use super::key::KnownKeys;
use super::merkle::Hash;
use super::note::{MAX_NOTE_LEN, NoteError, Signature};
use super::proof::{ProofError, check_consistency};
use super::text::{decimal, hash_lines, next_line, to_hash_lines};
use crate::crypto::sha256;

/// Lines of a consistency proof, at most (tlog-witness, "add-checkpoint").
pub const MAX_PROOF_LINES: usize = 63;
/// Bytes of a request, at most: the checkpoint, 45 bytes for each line of the proof, and the line of the old size.
pub const MAX_REQUEST_LEN: usize = MAX_NOTE_LEN + MAX_PROOF_LINES * 45 + 32;
/// Bytes of an answer, at most: as many signature lines as a note may have are no longer than a note.
pub const MAX_ANSWER_LEN: usize = MAX_NOTE_LEN;
/// `Content-Type` of the answer that names the size which the witness knows.
pub const SIZE_TYPE: &str = "text/x.tlog.size";

/// Why a request or an answer cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WitnessError {
    /// More than [`MAX_REQUEST_LEN`] or [`MAX_ANSWER_LEN`].
    #[error("{found} bytes, at most {limit} are allowed")]
    TooLong {
        /// Bytes found.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A part that is not there, or is not what it should be.
    #[error("no {expected} where one belongs")]
    Syntax {
        /// What should be there.
        expected: &'static str,
    },
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The signature lines cannot be read.
    #[error(transparent)]
    Signatures(#[from] NoteError),
}

/// The body of `POST <submission prefix>/add-checkpoint`. Nothing of it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    old: u64,
    hashes: Vec<Hash>,
    checkpoint: SignedCheckpoint,
}

impl AddCheckpoint {
    /// A request from `old` leaves on, with the hashes of
    /// [`Recipe::consistency`](super::recipe::Recipe::consistency); none from 0 on.
    pub fn new(old: u64, hashes: Vec<Hash>, checkpoint: SignedCheckpoint) -> Self {
        Self { old, hashes, checkpoint }
    }

    /// Reads a body, which has one form. A witness answers one that it cannot read with 400.
    pub fn parse(body: &[u8]) -> Result<Self, WitnessError> {
        check_len(body, MAX_REQUEST_LEN)?;
        let missing = |expected| WitnessError::Syntax { expected };
        let mut rest = str::from_utf8(body).map_err(|_| missing("text"))?;
        let old = next_line(&mut rest).and_then(|line| line.strip_prefix("old ")).and_then(decimal);
        let old = old.ok_or(missing("line `old SIZE`"))?;
        let hashes = hash_lines(&mut rest, MAX_PROOF_LINES);
        let hashes = hashes.ok_or(missing("list of at most 63 hashes with an empty line behind it"))?;
        Ok(Self { old, hashes, checkpoint: SignedCheckpoint::parse(rest.as_bytes())? })
    }

    /// The checkpoint; not verified.
    pub fn checkpoint(&self) -> &SignedCheckpoint {
        &self.checkpoint
    }
}

/// The body, byte for byte as it was read.
impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "old {}\n{}{}", self.old, to_hash_lines(&self.hashes), self.checkpoint)
    }
}

/// What a witness answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// 200: store this as the latest of its log, then cosign it.
    Cosign(Checkpoint),
    /// 400: the old size is larger than the new one.
    Shrinks,
    /// 404: no key is trusted for this origin.
    UnknownLog,
    /// 403: not signed by a trusted key, or badly.
    NotSigned(NoteError),
    /// 409: the old size is not that of the latest checkpoint, which is this.
    Conflict {
        /// Leaves of the latest checkpoint that was cosigned; 0 if none was.
        size: u64,
    },
    /// 422: signed, and yet not what the log said before. It may be proof of a fork: worth keeping.
    Inconsistent(ProofError),
}

impl Verdict {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::Cosign(_) => 200,
            Self::Shrinks => 400,
            Self::NotSigned(_) => 403,
            Self::UnknownLog => 404,
            Self::Conflict { .. } => 409,
            Self::Inconsistent(_) => 422,
        }
    }
}

/// What a witness answers to a request that it could read. `keys` are those it trusts for
/// [`SignedCheckpoint::claimed_origin`], if it knows the log; `latest` is the last checkpoint it cosigned for it.
pub fn decide(request: &AddCheckpoint, keys: Option<&KnownKeys>, latest: Option<&Checkpoint>) -> Verdict {
    let Some(keys) = keys else { return Verdict::UnknownLog };
    let checkpoint = match request.checkpoint.verify(keys) {
        Ok((checkpoint, _)) => checkpoint,
        Err(error) => return Verdict::NotSigned(error),
    };
    if request.old > checkpoint.size() {
        return Verdict::Shrinks;
    }
    let known = latest.map_or(0, Checkpoint::size);
    if request.old != known {
        return Verdict::Conflict { size: known };
    }
    match check_growth(request, checkpoint, latest) {
        Ok(()) => Verdict::Cosign(checkpoint.clone()),
        Err(error) => Verdict::Inconsistent(error),
    }
}

fn check_growth(
    request: &AddCheckpoint,
    checkpoint: &Checkpoint,
    latest: Option<&Checkpoint>,
) -> Result<(), ProofError> {
    let empty = Hash::empty_root();
    if checkpoint.size() == 0 && *checkpoint.root() != empty {
        return Err(ProofError::Root { found: *checkpoint.root(), expected: empty });
    }
    let old_root = latest.map_or(&empty, Checkpoint::root);
    check_consistency(request.old, checkpoint.size(), &request.hashes, old_root, checkpoint.root())
}

/// The body of the answer 200: signature lines, at least one.
pub fn cosigned_body(signatures: &[Signature]) -> String {
    let mut body = String::new();
    for signature in signatures {
        body.push_str(&format!("{signature}\n"));
    }
    body
}

/// The body of the answer 409, whose type is [`SIZE_TYPE`].
pub fn conflict_body(size: u64) -> String {
    format!("{size}\n")
}

/// What a log makes of a witness's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// 200: lines for [`SignedCheckpoint::merge`], which verifies them and passes over those of unknown keys.
    Cosigned(Vec<Signature>),
    /// 409: the witness knows this size; ask again from there. It may be larger than the log's own: then the log has
    /// lost leaves, and must not go on.
    Knows {
        /// Leaves of the latest checkpoint that the witness cosigned.
        size: u64,
    },
    /// Any other status.
    Refused {
        /// The HTTP status.
        status: u16,
    },
}

impl Answer {
    /// Reads an answer by its status, `Content-Type` and body.
    pub fn parse(status: u16, content_type: Option<&str>, body: &[u8]) -> Result<Self, WitnessError> {
        check_len(body, MAX_ANSWER_LEN)?;
        let text = || str::from_utf8(body).map_err(|_| WitnessError::Syntax { expected: "text" });
        match status {
            200 => Ok(Self::Cosigned(Signature::parse_lines(text()?)?)),
            409 if content_type == Some(SIZE_TYPE) => {
                let size = text()?.strip_suffix('\n').and_then(decimal);
                size.map(|size| Self::Knows { size })
                    .ok_or(WitnessError::Syntax { expected: "size with a newline" })
            }
            status => Ok(Self::Refused { status }),
        }
    }
}

/// Where a witness serves the latest checkpoint of a log, below its monitoring prefix ("Monitor Retrieval").
pub fn checkpoint_path(origin: &str) -> String {
    format!("{}/checkpoint", hex::encode(sha256(origin.as_bytes())))
}

fn check_len(bytes: &[u8], limit: usize) -> Result<(), WitnessError> {
    if bytes.len() > limit {
        return Err(WitnessError::TooLong { found: bytes.len(), limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
