//! One witness, asked to cosign: what it says, and what of that is proven.
//!
//! Nobody who answers is believed. A cosignature counts once it verifies. That the witness knows a larger tree, or
//! another one, counts once it shows a checkpoint of it that the log's own key signed; until then it is no more than one
//! witness that does not cosign, or any of them could stop the log.

use std::borrow::Cow;
use std::time::Duration;

use thiserror::Error;

use crate::client::{FetchError, Fetched, Http, Source};
use crate::log::{ConsistencyProofs, CosignError};
use crate::tlog::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::tlog::key::{KnownKeys, Statement, VerifierKey};
use crate::tlog::merkle::Hash;
use crate::tlog::note::{MAX_NOTE_LEN, NoteError, Signature};
use crate::tlog::proof::check_consistency;
use crate::tlog::witness::{AddCheckpoint, Answer, MAX_ANSWER_LEN, WitnessError, checkpoint_path};

/// Characters of a refusal that are repeated.
const MAX_QUOTED: usize = 200;
/// Requests of one try, at most: one with the size that the witness is thought to know, one with the size it names.
const REQUESTS: usize = 2;

/// Why a witness did not cosign.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Said {
    /// The policy does not say where it is.
    #[error("the policy has no address for it")]
    NoAddress,
    /// It, or the way to it, does not work.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// It refuses.
    #[error("it answered {status}: {text}")]
    Refused { status: u16, text: String },
    /// It answers something that is no answer.
    #[error("its answer cannot be read: {0}")]
    Unread(WitnessError),
    /// It answers with a bad signature, or with one of somebody else.
    #[error("it answered with no good cosignature: {0}")]
    Unsigned(NoteError),
    /// The cosignature has no time.
    #[error("it cosigned without a time")]
    NoTime,
    /// It claims to know a larger tree, and shows none.
    #[error("it says that it knows {known} entries, and the log has {size}; it shows no checkpoint of them")]
    Larger { known: u64, size: u64 },
    /// It names one size after another.
    #[error("it names another size each time")]
    Wavers,
    /// The log has no proof for it.
    #[error("there is no proof for it: {0}")]
    NoProof(String),
    /// It was still being asked when time was up.
    #[error("it had not answered yet")]
    Pending,
}

impl Said {
    /// Whether it may say something else in a moment.
    pub(super) fn may_change(&self) -> bool {
        match self {
            Self::Fetch(error) => !matches!(error, FetchError::BadUrl { .. } | FetchError::TooLarge { .. }),
            Self::Refused { status, .. } => *status >= 500 || matches!(status, 408 | 429),
            Self::Wavers | Self::NoProof(_) => true,
            _ => false,
        }
    }
}

/// How asking a witness ended without a cosignature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failed {
    /// It did not cosign.
    Said(Said),
    /// The log itself signed what this checkpoint contradicts.
    Proven {
        error: CosignError,
        /// What it signed.
        shown: Checkpoint,
    },
}

impl<E: Into<Said>> From<E> for Failed {
    fn from(said: E) -> Self {
        Self::Said(said.into())
    }
}

/// An answer that is no refusal.
enum Answered {
    Cosigned(Vec<Signature>),
    /// Leaves that the witness says it knows.
    Knows(u64),
}

/// A witness to ask, and what about.
pub(super) struct Ask<'a> {
    pub(super) http: &'a Http,
    /// What the policy calls it.
    pub(super) name: Cow<'a, str>,
    pub(super) key: &'a VerifierKey,
    /// Its submission prefix.
    pub(super) url: &'a str,
    /// Keys that sign checkpoints of the log.
    pub(super) log: &'a KnownKeys,
    pub(super) signed: &'a SignedCheckpoint,
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) proofs: &'a dyn ConsistencyProofs,
    /// Time for one request.
    pub(super) patience: Duration,
}

impl Ask<'_> {
    /// Asks, beginning with the size that the witness is thought to know. Its cosignature, verified.
    pub(super) async fn cosignature(&self, thought: u64) -> Result<Vec<Signature>, Failed> {
        let size = self.checkpoint.size();
        let mut old = if thought > size { 0 } else { thought };
        for _ in 0..REQUESTS {
            match self.once(old).await? {
                Answered::Cosigned(lines) => return Ok(self.verified(lines)?),
                Answered::Knows(known) if known > size => {
                    return Err(self.proven().await.unwrap_or(Said::Larger { known, size }.into()));
                }
                Answered::Knows(known) => old = known,
            }
        }
        Err(Said::Wavers.into())
    }

    async fn once(&self, old: u64) -> Result<Answered, Failed> {
        let hashes = proof(old, self.checkpoint, self.proofs).await.map_err(Said::NoProof)?;
        let request = AddCheckpoint::new(old, hashes, self.signed.clone()).to_string();
        let url = format!("{}/add-checkpoint", self.url.trim_end_matches('/'));
        let posted =
            self.http.post(&url, request, MAX_ANSWER_LEN, self.patience).await.map_err(Said::Fetch)?;
        let answer = Answer::parse(posted.status, posted.content_type.as_deref(), &posted.body);
        match answer.map_err(Said::Unread)? {
            Answer::Refused { status } => {
                let said = Said::Refused { status, text: quoted(&posted.body) };
                let proven = if status == 422 { self.proven().await } else { None };
                Err(proven.unwrap_or(said.into()))
            }
            Answer::Cosigned(lines) => Ok(Answered::Cosigned(lines)),
            Answer::Knows { size } => Ok(Answered::Knows(size)),
        }
    }

    fn verified(&self, lines: Vec<Signature>) -> Result<Vec<Signature>, Said> {
        let own = KnownKeys::new(vec![self.key.clone()]).map_err(|_| Said::Unsigned(NoteError::Unsigned))?;
        let mut note = self.signed.clone();
        note.merge(lines, &own).map_err(Said::Unsigned)?;
        note.keep(&own);
        let (_, verified) = note.verify(&own).map_err(Said::Unsigned)?;
        match verified.signers() {
            [(_, Statement::Cosigned { time })] if *time > 0 => Ok(note.signatures().to_vec()),
            _ => Err(Said::NoTime),
        }
    }

    /// What the witness's own checkpoint of the log proves against this one, if it shows one, below the same prefix.
    async fn proven(&self) -> Option<Failed> {
        let theirs = self.theirs().await?;
        let (theirs, _) = theirs.verify(self.log).ok()?;
        let error = contradiction(&self.name, theirs, self.checkpoint, self.proofs).await.ok()??;
        Some(Failed::Proven { error, shown: theirs.clone() })
    }

    async fn theirs(&self) -> Option<SignedCheckpoint> {
        let source = self.http.metadata(self.url).ok()?;
        let (path, mut bytes) = (checkpoint_path(self.checkpoint.origin()), Vec::new());
        let max = u64::try_from(MAX_NOTE_LEN).unwrap_or(u64::MAX);
        let fetched = tokio::time::timeout(self.patience, source.fetch(&path, max, &mut bytes)).await;
        match fetched {
            Ok(Ok(Fetched::Whole)) => SignedCheckpoint::parse(&bytes).ok(),
            _ => None,
        }
    }
}

/// What a tree that the log signed and a witness showed says against another one, if anything; why it cannot be told.
pub(super) async fn contradiction(
    witness: &str,
    theirs: &Checkpoint,
    ours: &Checkpoint,
    proofs: &dyn ConsistencyProofs,
) -> Result<Option<CosignError>, String> {
    let witness = witness.escape_debug().to_string();
    if theirs.origin() != ours.origin() {
        return Ok(None);
    }
    if theirs.size() > ours.size() {
        let (known, size) = (theirs.size(), ours.size());
        return Ok(Some(CosignError::Larger { witness, known, size }));
    }
    let hashes = proof(theirs.size(), ours, proofs).await?;
    let grown = check_consistency(theirs.size(), ours.size(), &hashes, theirs.root(), ours.root());
    Ok(grown.err().map(|error| CosignError::Conflict { witness, problem: error.to_string() }))
}

/// The proof from a size to that of a checkpoint.
async fn proof(
    old: u64,
    checkpoint: &Checkpoint,
    proofs: &dyn ConsistencyProofs,
) -> Result<Vec<Hash>, String> {
    if old == 0 || old == checkpoint.size() { Ok(Vec::new()) } else { proofs.from(old).await }
}

/// The start of what a server says, without characters that a terminal obeys.
fn quoted(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.trim().chars().take(MAX_QUOTED).collect::<String>().escape_debug().to_string()
}
