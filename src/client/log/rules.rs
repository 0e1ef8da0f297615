//! The policies that hold for one session. A checkpoint that all of them accepted is not looked at again: many files are proven
//! under the same few.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::LogError;
use crate::crypto::sha256;
use crate::tlog::checkpoint::SignedCheckpoint;
use crate::tlog::key::{KnownKeys, VerifierKey};
use crate::tlog::note::NoteError;
use crate::tlog::policy::{Accepted, Log, Policy, Witness, Witnessing};
use crate::tlog::proof_file::ProofFile;

/// Checkpoints that are remembered as accepted, at most; then all are forgotten. Some hundred bytes each.
const MAX_ACCEPTED: usize = 1_024;
/// Bytes of one that is remembered, at most: whose log signs long ones is asked for its signatures anew each time.
const MAX_REMEMBERED: usize = 8 * 1_024;

/// Whose policy it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The repository's target, signed offline.
    Repository,
    /// The user's own.
    User,
    /// A recorder's, for its own log.
    Recorder,
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Repository => "the repository's policy",
            Self::User => "your policy",
            Self::Recorder => "the recorder's policy",
        })
    }
}

/// Policies, all of which must hold. At least one.
#[derive(Debug)]
pub(super) struct Rules {
    policies: Vec<(Whose, Policy)>,
    /// By SHA-256 of the signed checkpoint: who serves proofs can make it long.
    accepted: Mutex<HashMap<[u8; 32], Arc<Accepted>>>,
}

impl Rules {
    /// None without a policy.
    pub(super) fn new(policies: Vec<(Whose, Policy)>) -> Option<Self> {
        (!policies.is_empty()).then(|| Self { policies, accepted: Mutex::default() })
    }

    /// One policy alone.
    pub(super) fn of(whose: Whose, policy: Policy) -> Self {
        Self { policies: vec![(whose, policy)], accepted: Mutex::default() }
    }

    /// Whose is the first.
    pub(super) fn first(&self) -> Whose {
        self.policies.first().map_or(Whose::Repository, |(whose, _)| *whose)
    }

    /// Whether no policy asks for witnesses.
    pub(super) fn unwitnessed(&self) -> bool {
        self.policies.iter().all(|(_, policy)| policy.witnessing() == Witnessing::NotAsked)
    }

    /// Which policies there are.
    pub(super) fn whose(&self) -> Vec<Whose> {
        self.policies.iter().map(|(whose, _)| *whose).collect()
    }

    /// That the leaf is in a log, under a checkpoint that all policies accept.
    pub(super) fn included(
        &self,
        what: &str,
        proof: &ProofFile,
        leaf: &[u8],
    ) -> Result<Arc<Accepted>, LogError> {
        let accepted = self.accepts(what, proof.checkpoint())?;
        let bad = |error| LogError::BadProof { what: what.to_owned(), whose: self.first(), error };
        proof.verify_in(leaf, &accepted).map_err(bad)?;
        Ok(accepted)
    }

    /// That all policies accept a checkpoint. The answer is that of the first, with the witnesses of all.
    pub(super) fn accepts(
        &self,
        what: &str,
        checkpoint: &SignedCheckpoint,
    ) -> Result<Arc<Accepted>, LogError> {
        let text = checkpoint.to_string();
        let (length, text) = (text.len(), sha256(text.as_bytes()));
        if let Some(known) = self.known().get(&text) {
            return Ok(Arc::clone(known));
        }
        let mut strictest: Option<Accepted> = None;
        for (whose, policy) in &self.policies {
            let bad = |error| LogError::BadProof { what: what.to_owned(), whose: *whose, error };
            let accepted = policy.check(checkpoint).map_err(|refusal| bad(refusal.into()))?;
            if strictest.as_ref().is_none_or(|other| other.cosigned().len() < accepted.cosigned().len()) {
                strictest = Some(accepted);
            }
        }
        let none = || LogError::NoLog { whose: self.first() };
        let accepted = Arc::new(strictest.ok_or_else(none)?);
        if length > MAX_REMEMBERED {
            return Ok(accepted);
        }
        let mut known = self.known();
        if known.len() >= MAX_ACCEPTED {
            known.clear();
        }
        known.insert(text, Arc::clone(&accepted));
        Ok(accepted)
    }

    /// Whether a checkpoint that was accepted before has a bad signature of its log: it is not as it was. Lines of witnesses do not count:
    /// whoever handed it out could add some of those who were not known then.
    pub(super) fn spoilt(&self, checkpoint: &SignedCheckpoint) -> Option<String> {
        let logs = self.policies.iter().flat_map(|(_, policy)| policy.logs());
        let own = logs.filter(|log| log.key().name().as_str() == checkpoint.claimed_origin());
        own.filter_map(|log| KnownKeys::new(vec![log.key().clone()]).ok()).find_map(|key| {
            match checkpoint.verify(&key) {
                Err(error @ NoteError::BadSignature { .. }) => Some(error.to_string()),
                _ => None,
            }
        })
    }

    /// A checkpoint that was accepted, as it is remembered: with the signatures of keys that are known alone, for nobody checked the others.
    pub(super) fn memorable(&self, checkpoint: &SignedCheckpoint) -> SignedCheckpoint {
        let mut keys = Vec::new();
        for (_, policy) in &self.policies {
            let logs = policy.logs().iter().map(Log::key);
            for key in logs.chain(policy.witnesses().iter().map(Witness::key)) {
                if !keys.contains(key) {
                    keys.push(key.clone());
                }
            }
        }
        let own = |key: &VerifierKey| key.name().as_str() == checkpoint.claimed_origin();
        // Two policies may call one key differently: then the log's own signature is what is kept.
        let known = KnownKeys::new(keys.clone());
        let known = known.or_else(|_| KnownKeys::new(keys.into_iter().filter(own).collect()));
        let mut kept = checkpoint.clone();
        if let Ok(known) = known {
            kept.keep(&known);
        }
        kept
    }

    fn known(&self) -> MutexGuard<'_, HashMap<[u8; 32], Arc<Accepted>>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
