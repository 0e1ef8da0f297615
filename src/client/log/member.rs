//! One recorder, asked what it recorded under a path. Its answer counts by the proof alone, and its log is held against what was seen of
//! it before, as the index's is.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::announced::{Announced, RecorderError, Since};
use super::growth::grew;
use super::patience::{Until, within};
use super::proven::{ENDING, Inclusion, included};
use super::rules::{Rules, Whose};
use super::{LogDir, evidence, small};
use crate::client::source::{FetchError, Source};
use crate::client::{CacheError, ClientError};
use crate::crypto::sha256;
use crate::tlog::bundle;
use crate::tlog::checkpoint::SignedCheckpoint;
use crate::tlog::evidence::{Contradiction, Evidence, Exhibit};
use crate::tlog::leaf::{FileLeaf, Leaf, MAX_LEAF_LEN};
use crate::tlog::note::MAX_NOTE_LEN;
use crate::tlog::policy::Accepted;
use crate::tlog::proof_file::{MAX_PROOF_LEN, ProofFile};
use crate::tlog::tile::{FULL_WIDTH, TileId};
use crate::tuf::path::TargetPath;

/// How long a recorder may take for one answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a recorder that did not answer is not asked again: else each of many files waited for it.
const REST: Duration = Duration::from_secs(30);
/// Checkpoints that are remembered as fitting, at most; then all are forgotten.
const MAX_FITTING: usize = 1_024;
/// Bytes of a bundle of entries, at most.
const MAX_BUNDLE: usize = 256 * (MAX_LEAF_LEN + 2);

/// What is asked.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) path: &'a TargetPath,
    /// What the index signs for it, as a leaf.
    pub(super) leaf: &'a Leaf,
    /// Where the index logged it, and the proof of that.
    pub(super) logged: Option<(&'a Inclusion, &'a ProofFile)>,
    /// What is kept of logs for this repository.
    pub(super) folder: LogDir,
    /// Nobody may be asked.
    pub(super) offline: bool,
}

/// What a recorder says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// It has the same.
    Agrees(Inclusion),
    /// It has nothing there.
    Absent,
    /// It did not answer.
    Silent(String),
    /// It was not waited for, because it was slower than those who were enough, or was so a short time ago.
    Late,
    /// It answered what does not hold.
    Broken(String),
    /// It recorded other content.
    Other(String),
}

impl Answer {
    /// For people.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Agrees(_) => "agrees".to_owned(),
            Self::Absent => "has no record of it".to_owned(),
            Self::Silent(why) => format!("did not answer: {why}"),
            Self::Late => "did not answer: it was slower than those who were enough".to_owned(),
            Self::Broken(why) => format!("its answer does not hold: {why}"),
            Self::Other(what) => what.clone(),
        }
    }
}

/// A recorder.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    since: Option<Since>,
    rules: Rules,
    proofs: Arc<dyn Source>,
    log: Arc<dyn Source>,
    /// Until when it is not asked, and why.
    resting: Mutex<Option<(Until, Answer)>>,
    /// Trees that fit to what was seen of its log, by their hash. Held while that is compared and replaced.
    fitting: tokio::sync::Mutex<HashSet<[u8; 32]>>,
}

impl Member {
    pub(super) fn new(
        announced: &Announced,
        proofs: Arc<dyn Source>,
        log: Arc<dyn Source>,
    ) -> Result<Self, RecorderError> {
        let rules = Rules::of(Whose::Recorder, announced.policy()?);
        let (name, since) = (announced.name.clone(), announced.since.clone());
        Ok(Self {
            name,
            since,
            rules,
            proofs,
            log,
            resting: Mutex::default(),
            fitting: tokio::sync::Mutex::default(),
        })
    }

    /// Whether a file was published before this recorder began, by the number of its leaf in the index's log. Only witnesses keep a log
    /// from putting a new leaf under an old number.
    pub(super) fn younger_than(&self, logged: Option<&Inclusion>) -> bool {
        let (Some(since), Some(logged)) = (&self.since, logged) else { return false };
        !logged.unwitnessed && logged.origin == since.origin && logged.index < since.size
    }

    /// What is kept on this machine of its agreement.
    pub(super) async fn kept(&self, question: &Question<'_>) -> Result<Option<Answer>, CacheError> {
        let Some(bytes) = self.folder(question).proof(question.path.as_str())? else { return Ok(None) };
        let held = self.held(question, &bytes).await?;
        Ok(held.filter(|answer| matches!(answer, Answer::Agrees(_))))
    }

    /// Asks it; `late`, even if it was slower than others a short time ago.
    pub(super) async fn ask(&self, question: &Question<'_>, late: bool) -> Result<Answer, CacheError> {
        if question.offline {
            return Ok(Answer::Silent("nobody is asked, and its proof is not on this machine".to_owned()));
        }
        if let Some(answer) = self.rests().filter(|answer| !late || *answer != Answer::Late) {
            return Ok(answer);
        }
        let place = format!("{}{ENDING}", question.path.location(None));
        let bytes = match self.patiently(small(self.proofs.as_ref(), &place, MAX_PROOF_LEN)).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(Answer::Absent),
            Err(answer) => return Ok(answer),
        };
        if let Some(answer) = self.held(question, &bytes).await? {
            if matches!(answer, Answer::Agrees(_)) {
                self.folder(question).keep_proof(question.path.as_str(), &bytes)?;
            }
            return Ok(answer);
        }
        self.other(question, &bytes).await
    }

    /// What comes of a request, or why nothing does. After no answer, it is left alone for a while.
    async fn patiently<T>(&self, request: impl Future<Output = Result<T, FetchError>>) -> Result<T, Answer> {
        let why = match within(Some(Until::after(PATIENCE)), request).await {
            Some(Ok(got)) => return Ok(got),
            Some(Err(error @ FetchError::TooLarge { .. })) => return Err(Answer::Broken(error.to_string())),
            // It is there, and refuses this file alone.
            Some(Err(error @ FetchError::Status { status: 403, .. })) => {
                return Err(Answer::Silent(error.to_string()));
            }
            Some(Err(error)) => error.to_string(),
            None => format!("nothing came for {} s", PATIENCE.as_secs()),
        };
        let answer = Answer::Silent(why);
        *self.resting() = Some((Until::after(REST), answer.clone()));
        Err(answer)
    }

    /// It was not waited for any longer, because enough others had answered.
    pub(super) fn is_late(&self) -> Answer {
        *self.resting() = Some((Until::after(REST), Answer::Late));
        Answer::Late
    }

    fn rests(&self) -> Option<Answer> {
        let mut resting = self.resting();
        if resting.as_ref().is_some_and(|(until, _)| until.is_over()) {
            *resting = None;
        }
        resting.as_ref().map(|(_, answer)| answer.clone())
    }

    fn resting(&self) -> MutexGuard<'_, Option<(Until, Answer)>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folder(&self, question: &Question<'_>) -> LogDir {
        question.folder.below(&format!("recorders/{}", self.name))
    }

    /// What a proof says: that it agrees, or why it is not believed. None, if it is no proof for this leaf.
    async fn held(&self, question: &Question<'_>, bytes: &[u8]) -> Result<Option<Answer>, CacheError> {
        let leaf = question.leaf.to_string();
        let Ok((proof, accepted)) = included(&self.rules, question.path.as_str(), &leaf, bytes) else {
            return Ok(None);
        };
        let broken = self.unbelieved(question, proof.checkpoint(), &accepted).await?;
        let agrees = || Answer::Agrees(Inclusion::new(proof.index(), &accepted, self.rules.unwitnessed()));
        Ok(Some(broken.map_or_else(agrees, Answer::Broken)))
    }

    /// Learns what it recorded instead, by the entry that its proof is for.
    async fn other(&self, question: &Question<'_>, bytes: &[u8]) -> Result<Answer, CacheError> {
        let path = question.path.as_str();
        let refused = match included(&self.rules, path, &question.leaf.to_string(), bytes) {
            Ok(_) => return Ok(Answer::Broken("it changed while it was read".to_owned())),
            Err(error) => Answer::Broken(error.to_string()),
        };
        let Ok(proof) = ProofFile::parse(bytes) else { return Ok(refused) };
        let Ok(accepted) = self.rules.accepts(path, proof.checkpoint()) else { return Ok(refused) };
        if let Some(why) = self.unbelieved(question, proof.checkpoint(), &accepted).await? {
            return Ok(Answer::Broken(why));
        }
        let entry = match self.entry(proof.index(), accepted.checkpoint().size()).await {
            Ok(Some(entry)) => entry,
            Ok(None) => return Ok(refused),
            Err(answer) => return Ok(answer),
        };
        if proof.verify_in(&entry, &accepted).is_err() {
            return Ok(refused);
        }
        match Leaf::parse(&entry) {
            Ok(Leaf::File(file)) if file.path() == path => contradicts(&self.name, question, file, proof),
            _ => Ok(refused),
        }
    }

    /// The bytes of an entry of its log, not verified.
    async fn entry(&self, index: u64, size: u64) -> Result<Option<Vec<u8>>, Answer> {
        let width = u64::from(FULL_WIDTH);
        let Some(id) = TileId::new(0, index / width, size) else { return Ok(None) };
        for id in [id, id.full()] {
            let path = id.entries_path();
            let read = small(self.log.as_ref(), &path, MAX_BUNDLE);
            let Some(bytes) = self.patiently(read).await? else { continue };
            let Ok(entries) = bundle::entries(&bytes, id.width()) else { return Ok(None) };
            let at = usize::try_from(index % width).unwrap_or(usize::MAX);
            return Ok(entries.get(at).map(|entry| entry.to_vec()));
        }
        Ok(None)
    }

    /// Why a checkpoint is not believed, though its policy accepts it: it is the index's own, or does not fit to what was seen of this log
    /// before. The largest one is kept.
    async fn unbelieved(
        &self,
        question: &Question<'_>,
        signed: &SignedCheckpoint,
        accepted: &Accepted,
    ) -> Result<Option<String>, CacheError> {
        let tree = accepted.checkpoint();
        if question.logged.is_some_and(|(logged, _)| logged.origin == tree.origin()) {
            return Ok(Some("it answers from the log of the index itself".to_owned()));
        }
        let mut fitting = self.fitting.lock().await;
        let key = sha256(format!("{}\n{}\n{}", tree.origin(), tree.size(), tree.root()).as_bytes());
        if fitting.contains(&key) {
            return Ok(None);
        }
        let (folder, name) = (self.folder(question), LogDir::head_name(tree.origin()));
        let largest = match self.seen_before(&folder, &name)? {
            Ok(before) => before,
            Err(why) => return Ok(Some(why)),
        };
        if let Some(before) = &largest
            && let Some(why) = self.misfit(question, before, signed).await?
        {
            return Ok(Some(why));
        }
        if largest.is_none_or(|before| before.claimed().size() < tree.size()) {
            folder.write(&name, self.rules.memorable(signed).to_string().as_bytes())?;
        }
        if fitting.len() >= MAX_FITTING {
            fitting.clear();
        }
        fitting.insert(key);
        Ok(None)
    }

    /// The largest checkpoint of its log that was accepted, or why that cannot be known.
    fn seen_before(
        &self,
        folder: &LogDir,
        name: &str,
    ) -> Result<Result<Option<SignedCheckpoint>, String>, CacheError> {
        let Some(bytes) = folder.read_cut(name, MAX_NOTE_LEN)? else { return Ok(Ok(None)) };
        let damaged = |why: String| {
            let path = folder.path(name).display().to_string();
            Err(format!("{path}, where the newest checkpoint of its log is kept, is damaged: {why}"))
        };
        Ok(match SignedCheckpoint::parse(&bytes) {
            Ok(signed) => match self.rules.spoilt(&signed) {
                Some(why) => damaged(why),
                None => Ok(Some(signed)),
            },
            Err(error) => damaged(error.to_string()),
        })
    }

    /// How a checkpoint contradicts the largest one before. Where witnesses vouch for growth, only trees of one size can.
    async fn misfit(
        &self,
        question: &Question<'_>,
        before: &SignedCheckpoint,
        signed: &SignedCheckpoint,
    ) -> Result<Option<String>, CacheError> {
        let (old, new) = (before.claimed(), signed.claimed());
        let (small, large) = if old.size() <= new.size() { (before, signed) } else { (signed, before) };
        let Some(what) = Contradiction::between(small.claimed(), large.claimed()) else { return Ok(None) };
        let same_size = matches!(what, Contradiction::OtherRoot { .. });
        if !same_size && (!self.rules.unwitnessed() || small.claimed().size() == 0) {
            return Ok(None);
        }
        let line = format!("the log begins with\n{}", small.claimed());
        if !same_size {
            // The largest tree goes on to begin with what it began with.
            if small == signed && self.folder(question).proof(&line)?.is_some() {
                return Ok(None);
            }
            let tiles = Some(self.log.as_ref()).filter(|_| !question.offline);
            let ends = [small, large].map(|end| (end.claimed().size(), end.claimed().root()));
            let grown = grew(tiles, ends[0], ends[1]);
            match within(Some(Until::after(PATIENCE)), grown).await {
                Some(Ok(true)) => {
                    self.folder(question).keep_proof(&line, question.path.as_str().as_bytes())?;
                    return Ok(None);
                }
                Some(Ok(false)) => {}
                Some(Err(ClientError::Cache(error))) => return Err(error),
                Some(Err(error)) => return Ok(Some(error.to_string())),
                None => return Ok(Some(format!("no tiles came for {} s", PATIENCE.as_secs()))),
            }
        }
        let place = match Evidence::two_trees(small.clone(), large.clone(), None) {
            Ok(evidence) => evidence::keep(&evidence, &question.folder, Some(&self.name))?,
            Err(error) => format!("no file: {error}"),
        };
        Ok(Some(format!("its log {} shows two histories: {what}; evidence is in {place}", new.origin())))
    }
}

/// It recorded something else, and proves it. The evidence has what the index proves, if it does.
fn contradicts(
    name: &str,
    question: &Question<'_>,
    file: FileLeaf,
    proof: ProofFile,
) -> Result<Answer, CacheError> {
    let what = format!(
        "recorded other content, {} bytes with SHA-256 {}",
        file.length(),
        hex::encode(file.sha256())
    );
    let Some((_, own)) = question.logged else {
        return Ok(Answer::Other(format!("{what} (no evidence: the index logs nothing)")));
    };
    let first = Exhibit { leaf: question.leaf.clone(), proof: own.clone() };
    match Evidence::two_contents(first, Exhibit { leaf: Leaf::File(file), proof }) {
        Ok(evidence) => {
            let place = evidence::keep(&evidence, &question.folder, Some(name))?;
            Ok(Answer::Other(format!("{what}; evidence is in {place}")))
        }
        Err(error) => Ok(Answer::Broken(error.to_string())),
    }
}
