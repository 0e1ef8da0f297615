//! What evidence shows, to who has the keys of the logs in it.

use std::fmt;

use thiserror::Error;

use super::{Contradiction, Evidence, Exhibit};
use crate::tlog::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::tlog::key::KnownKeys;
use crate::tlog::leaf::{Leaf, Source};
use crate::tlog::policy::{Log, Policy, Refusal};
use crate::tlog::proof_file::ProofFileError;
use crate::tlog::text::quoted;

/// Why evidence does not show what it says.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unproven {
    /// No policy at hand has this log.
    #[error("no policy that was given has the log {origin:?}, so its signature cannot be checked")]
    UnknownLog {
        /// The origin that a checkpoint claims.
        origin: String,
    },
    /// The log did not sign it.
    #[error("a checkpoint is not one of its log: {0}")]
    Unsigned(Refusal),
    /// No one key of the log signed both, or not by all policies: two keys are two logs, whatever they are called.
    #[error(
        "no key that all policies given have for the log {origin:?} signed both checkpoints: give the policy of which you know that it has \
         the log's own key, and none that has another"
    )]
    TwoKeys {
        /// The origin that both claim.
        origin: String,
    },
    /// A leaf is not in the tree that it is shown with.
    #[error("a leaf is not in the tree that it is shown with: {0}")]
    NotLogged(ProofFileError),
}

/// What evidence shows, and on whose word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What it shows.
    pub shows: Shows,
    /// The checkpoints it rests on, as they stand in it.
    pub seen: [Seen; 2],
}

/// A checkpoint that its log signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What the log says.
    pub tree: Checkpoint,
    /// The witnesses that cosigned it, if a policy accepts it; else why none does.
    pub witnesses: Result<Vec<String>, Refusal>,
}

/// What evidence shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shows {
    /// Two trees of one size: proof that the log forked.
    Forked {
        /// The log.
        origin: String,
        /// Leaves of both trees.
        size: u64,
    },
    /// A smaller tree was presented after a larger one, as whoever kept them says.
    Shrank {
        /// The log.
        origin: String,
        /// Leaves of the first tree.
        before: u64,
        /// Leaves of the second one.
        now: u64,
    },
    /// Tiles did not lead from one tree to the other, as whoever kept them says.
    NotGrown {
        /// The log.
        origin: String,
        /// Leaves of the first tree.
        before: u64,
        /// Leaves of the second one.
        now: u64,
    },
    /// One log has two contents of a path: proof that it, or its index, broke the rule that a path is published once.
    LoggedTwice {
        /// The log.
        origin: String,
        /// The target path.
        path: String,
    },
    /// Two logs have different contents of a path. One of the two is wrong.
    Disagree {
        /// The logs.
        origins: [String; 2],
        /// The target path.
        path: String,
    },
    /// A log has one content of a path, and a log says that somebody had another one.
    Reported {
        /// The log that says so.
        origin: String,
        /// The target path.
        path: String,
        /// Who had other content.
        source: Source,
    },
}

impl Shows {
    /// Whether the evidence proves misconduct by itself: nobody's word is needed beside the signatures in it.
    pub fn proven(&self) -> bool {
        matches!(self, Self::Forked { .. } | Self::LoggedTwice { .. })
    }

    /// A name for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Forked { .. } => "forked",
            Self::Shrank { .. } => "shrank",
            Self::NotGrown { .. } => "not-grown",
            Self::LoggedTwice { .. } => "logged-twice",
            Self::Disagree { .. } => "disagree",
            Self::Reported { .. } => "reported",
        }
    }
}

impl fmt::Display for Shows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forked { origin, size } => write!(
                f,
                "{origin} signed two different trees of {size} leaves: it showed different histories to different people. \
                 Only who holds its key can have made this"
            ),
            Self::Shrank { origin, before, now } => write!(
                f,
                "{origin} signed a tree of {before} leaves and one of {now}. Both may be of one history: that the smaller one was \
                 presented after the larger one is the word of whoever kept them, and a restored backup or an old copy looks the same"
            ),
            Self::NotGrown { origin, before, now } => write!(
                f,
                "{origin} signed a tree of {before} leaves and one of {now}. That no tiles lead from one to the other is the word of \
                 whoever kept them: ask the log for them (`wheelseal log consistency`). If it has none, it was rewritten"
            ),
            Self::LoggedTwice { origin, path } => write!(
                f,
                "{origin} logged two contents for {path}. A path is logged once: the index published other content under a \
                 published name, or its log has two histories"
            ),
            Self::Disagree { origins: [one, other], path } => write!(
                f,
                "{one} and {other} logged different contents of {path}. One of the two is wrong, or the index gave them different \
                 bytes: which, this does not tell"
            ),
            Self::Reported { origin, path, source } => write!(
                f,
                "{origin} says that {} had other content of {path} than was logged. That is its word, for all to see",
                match source {
                    Source::Claim => "a claim by the maintainers",
                    Source::Index => "the index",
                }
            ),
        }
    }
}

impl Evidence {
    /// Checks the signatures of logs and the proofs in it by policies that the reader has, and says what it shows then.
    pub fn check(&self, policies: &[Policy]) -> Result<Verdict, Unproven> {
        match self {
            Self::TwoTrees { what, before, now, .. } => {
                let seen = [signed(before, policies)?, signed(now, policies)?];
                by_one_key(before, now, policies)?;
                Ok(Verdict { shows: of_trees(*what, before.claimed_origin().to_owned()), seen })
            }
            Self::TwoContents { first, second } => {
                let seen = [logged(first, policies)?, logged(second, policies)?];
                by_one_key(first.proof.checkpoint(), second.proof.checkpoint(), policies)?;
                Ok(Verdict { shows: of_contents(first, second), seen })
            }
        }
    }
}

fn of_trees(what: Contradiction, origin: String) -> Shows {
    match what {
        Contradiction::OtherRoot { size } => Shows::Forked { origin, size },
        Contradiction::Smaller { before, now } => Shows::Shrank { origin, before, now },
        Contradiction::NotGrown { before, now } => Shows::NotGrown { origin, before, now },
    }
}

fn of_contents(first: &Exhibit, second: &Exhibit) -> Shows {
    let (one, other) = (first.origin().to_owned(), second.origin().to_owned());
    let path = first.file().map(|file| file.path().to_owned()).unwrap_or_default();
    match &second.leaf {
        Leaf::Conflict(conflict) => Shows::Reported { origin: other, path, source: conflict.source },
        _ if one == other => Shows::LoggedTwice { origin: one, path },
        _ => Shows::Disagree { origins: [one, other], path },
    }
}

/// That a leaf is in a tree that its log signed.
fn logged(exhibit: &Exhibit, policies: &[Policy]) -> Result<Seen, Unproven> {
    let seen = signed(exhibit.proof.checkpoint(), policies)?;
    exhibit
        .proof
        .verify_under(exhibit.leaf.to_string().as_bytes(), &seen.tree)
        .map_err(Unproven::NotLogged)?;
    Ok(seen)
}

/// That two checkpoints of one origin are of one log: each policy that has this origin has a key that signed both. One of those who hand
/// out policies could put a key of its own under the name of somebody else's log.
fn by_one_key(one: &SignedCheckpoint, other: &SignedCheckpoint, policies: &[Policy]) -> Result<(), Unproven> {
    let origin = one.claimed_origin();
    if origin != other.claimed_origin() {
        return Ok(());
    }
    let own = |log: &&Log| log.key().name().as_str() == origin;
    let signed_both = |log: &Log| {
        let key = KnownKeys::new(vec![log.key().clone()]);
        key.is_ok_and(|key| one.verify(&key).is_ok() && other.verify(&key).is_ok())
    };
    let mut having = policies.iter().filter(|policy| policy.logs().iter().any(|log| own(&log)));
    if having.all(|policy| policy.logs().iter().filter(own).any(signed_both)) {
        return Ok(());
    }
    Err(Unproven::TwoKeys { origin: quoted(origin) })
}

/// That a log of a policy signed a checkpoint, and what witnesses it has by the policy that accepts it.
fn signed(checkpoint: &SignedCheckpoint, policies: &[Policy]) -> Result<Seen, Unproven> {
    let mut unsigned = None;
    let mut seen: Option<Seen> = None;
    for policy in policies {
        match policy.signed_by_log(checkpoint) {
            Ok(tree) => {
                let accepted = policy.check(checkpoint);
                let witnesses = accepted
                    .map(|accepted| accepted.cosigned().iter().map(|(name, _)| name.clone()).collect());
                let better = seen.as_ref().is_none_or(|seen| seen.witnesses.is_err() && witnesses.is_ok());
                if better {
                    seen = Some(Seen { tree, witnesses });
                }
            }
            Err(Refusal::UnknownLog { .. }) => {}
            Err(refusal) => unsigned = Some(Unproven::Unsigned(refusal)),
        }
    }
    let unknown = || Unproven::UnknownLog { origin: checkpoint.claimed_origin().to_owned() };
    seen.ok_or_else(|| unsigned.unwrap_or_else(unknown))
}
