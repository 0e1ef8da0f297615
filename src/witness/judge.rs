//! A request → what to answer. The one place that cosigns, and only what it has remembered by then.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use thiserror::Error;
use tokio::time::timeout;

use super::folder::{Folder, FolderError, KnownLog, Latest};
use super::fork;
use crate::log::LogSigner;
use crate::tlog::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::tlog::key::{KeyError, KnownKeys};
use crate::tlog::note::NoteError;
use crate::tlog::witness::{AddCheckpoint, SIZE_TYPE, Verdict, conflict_body, cosigned_body, decide};

/// How often a request is decided anew because another one was faster: each time the log is one checkpoint further.
const MAX_RACES: usize = 8;
/// Seconds for which a checkpoint that is offered again gets the cosignature that it got: tokens take a second or two for one.
const AGAIN: u64 = 5;
/// Time for the key to sign. Tokens and programs take a second or two.
const SIGNING: Duration = Duration::from_secs(20);
/// What bodies are, where the text of the protocol says nothing else.
const PLAIN: &str = "text/plain; charset=utf-8";

/// Reads the clock.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// Why a request that might be good is not answered now.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// What the witness keeps.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Keys that cannot stand beside each other.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The clock is before the last cosignature, or before 1970.
    #[error(
        "the clock is at {now}, and the last cosignature of {origin:?} at {last}, in seconds since 1970: nothing is \
         cosigned until the clock is right"
    )]
    Clock {
        /// The log.
        origin: String,
        /// What the clock says, in seconds since the epoch.
        now: i64,
        /// The time of the last cosignature.
        last: u64,
    },
    /// What was read back is older than what this process wrote.
    #[error(
        "the latest checkpoint of {origin:?} has {found} leaves, and had {known}: the folder was set back"
    )]
    WentBack {
        /// The log.
        origin: String,
        /// Leaves of what is there.
        found: u64,
        /// Leaves of what was there.
        known: u64,
    },
    /// The key did not sign.
    #[error("the witness's key cannot sign: {0}")]
    Signer(String),
    /// The signature is not by the witness's key.
    #[error("the witness's key signed badly: {0}")]
    Signature(NoteError),
    /// Others were faster, time and again.
    #[error("too many requests for {origin:?} at once")]
    Busy {
        /// The log.
        origin: String,
    },
}

/// An answer, to be sent as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl Reply {
    pub(super) fn plain(status: u16, body: impl fmt::Display) -> Self {
        Self { status, content_type: PLAIN, body: format!("{body}\n") }
    }
}

/// A witness. Any number of requests may be answered at once, also by several processes over one folder.
pub struct Witness {
    folder: Folder,
    signer: Arc<dyn LogSigner>,
    clock: Clock,
    report: Box<dyn Fn(&str) + Send + Sync>,
    /// Largest sizes that this process has cosigned, by origin: of known logs alone.
    seen: Mutex<HashMap<String, u64>>,
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Witness").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Witness {
    /// The witness of a folder. `report` is told of faults, and of logs that fork.
    ///
    /// # Errors
    /// [`Fault::Signer`] if the signer has another key than the folder names.
    pub fn new(
        folder: Folder,
        signer: Arc<dyn LogSigner>,
        clock: Clock,
        report: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<Self, Fault> {
        if signer.key() != folder.key() {
            let (found, expected) = (signer.key(), folder.key());
            return Err(Fault::Signer(format!("it is {found}, expected {expected}")));
        }
        Ok(Self { folder, signer, clock, report: Box::new(report), seen: Mutex::default() })
    }

    /// What it keeps.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    pub(super) fn report(&self, text: &str) {
        (self.report)(text);
    }

    /// Answers the body of `POST …/add-checkpoint`.
    pub async fn answer(&self, body: &[u8]) -> Reply {
        let request = match AddCheckpoint::parse(body) {
            Ok(request) => request,
            Err(error) => return Reply::plain(400, error),
        };
        match self.judge(&request).await {
            Ok(reply) => reply,
            Err(fault) => {
                self.report(&fault.to_string());
                Reply::plain(503, "try again later")
            }
        }
    }

    async fn judge(&self, request: &AddCheckpoint) -> Result<Reply, Fault> {
        let origin = request.checkpoint().claimed_origin();
        let Some(log) = self.folder.log(origin).await? else {
            return Ok(Reply::plain(404, "this witness does not know the log"));
        };
        let keys = KnownKeys::new(log.keys().to_vec())?;
        for _ in 0..MAX_RACES {
            let latest = self.latest(origin).await?;
            let verdict = decide(request, Some(&keys), latest.as_ref().map(Latest::checkpoint));
            let Verdict::Cosign(checkpoint) = verdict else {
                self.look_for_fork(&log, latest.as_ref(), request.checkpoint(), &verdict).await?;
                return Ok(refused(&verdict));
            };
            if let Some(reply) = self.cosign(request, &keys, &checkpoint, latest.as_ref()).await? {
                return Ok(reply);
            }
        }
        Err(Fault::Busy { origin: origin.to_owned() })
    }

    /// Cosigns, remembers, and only then answers; `None` if somebody else was faster.
    async fn cosign(
        &self,
        request: &AddCheckpoint,
        keys: &KnownKeys,
        checkpoint: &Checkpoint,
        latest: Option<&Latest>,
    ) -> Result<Option<Reply>, Fault> {
        let offered = request.checkpoint();
        let time = self.time(offered.claimed_origin(), latest)?;
        let message = offered.cosignature_message(time);
        if let Some(latest) = latest
            && latest.note().cosignature_message(latest.time()) == offered.cosignature_message(latest.time())
            && time.saturating_sub(latest.time()) < AGAIN
        {
            // Whoever repeats a request costs neither a signature nor a write.
            return Ok(Some(self.cosigned(latest.note())));
        }
        let signed = timeout(SIGNING, self.signer.sign(message.as_bytes())).await;
        let signature = signed.map_err(|_| Fault::Signer(format!("no answer in {SIGNING:?}")))?;
        let signature = signature.map_err(Fault::Signer)?;
        let line = offered.cosignature(self.folder.key(), time, &signature).map_err(Fault::Signature)?;
        let mut note = offered.clone();
        note.keep(keys);
        note.merge(vec![line], self.folder.own()).map_err(Fault::Signature)?;
        if !self.folder.record(&note, latest).await? {
            return Ok(None);
        }
        self.remember(checkpoint);
        Ok(Some(self.cosigned(&note)))
    }

    fn cosigned(&self, note: &SignedCheckpoint) -> Reply {
        let mut own = note.clone();
        own.keep(self.folder.own());
        Reply { status: 200, content_type: PLAIN, body: cosigned_body(own.signatures()) }
    }

    /// The time to sign with: after 1970, and not before the last cosignature of the log.
    fn time(&self, origin: &str, latest: Option<&Latest>) -> Result<u64, Fault> {
        let now = (self.clock)().timestamp();
        let last = latest.map_or(1, Latest::time);
        let time = u64::try_from(now).ok().filter(|time| *time >= last.max(1));
        time.ok_or_else(|| Fault::Clock { origin: origin.to_owned(), now, last })
    }

    /// The latest checkpoint, if the folder was not set back behind this process.
    async fn latest(&self, origin: &str) -> Result<Option<Latest>, Fault> {
        // Before the folder is read: what is remembered later may be newer than what was read.
        let known = self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(origin).copied();
        let latest = self.folder.latest(origin).await?;
        let found = latest.as_ref().map_or(0, |latest| latest.checkpoint().size());
        match known.filter(|known| found < *known) {
            Some(known) => Err(Fault::WentBack { origin: origin.to_owned(), found, known }),
            None => Ok(latest),
        }
    }

    fn remember(&self, checkpoint: &Checkpoint) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let size = seen.entry(checkpoint.origin().to_owned()).or_default();
        *size = checkpoint.size().max(*size);
    }

    /// Keeps what a log signed if it contradicts what it signed before; `verdict` says that it did sign.
    async fn look_for_fork(
        &self,
        log: &KnownLog,
        latest: Option<&Latest>,
        offered: &SignedCheckpoint,
        verdict: &Verdict,
    ) -> Result<(), Fault> {
        let (true, Some(latest)) =
            (matches!(verdict, Verdict::Conflict { .. } | Verdict::Inconsistent(_)), latest)
        else {
            return Ok(());
        };
        if let Some(path) = fork::keep(&self.folder, log, latest, offered).await? {
            let (origin, size) = (log.origin(), latest.checkpoint().size());
            self.report(&format!(
                "log {origin:?} signed two trees of {size} leaves: both are kept in {path}"
            ));
        }
        Ok(())
    }
}

fn refused(verdict: &Verdict) -> Reply {
    match verdict {
        Verdict::Conflict { size } => {
            Reply { status: verdict.status(), content_type: SIZE_TYPE, body: conflict_body(*size) }
        }
        Verdict::NotSigned(error) => Reply::plain(verdict.status(), error),
        Verdict::Inconsistent(error) => Reply::plain(verdict.status(), error),
        Verdict::Shrinks => {
            Reply::plain(verdict.status(), "the old size is larger than that of the checkpoint")
        }
        // Both are answered before it comes to this.
        Verdict::UnknownLog | Verdict::Cosign(_) => Reply::plain(503, "try again later"),
    }
}
