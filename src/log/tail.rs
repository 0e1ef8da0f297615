//! [`Tail`]: a log followed from afar by somebody who believes nothing of it: a monitor, a recorder.
//!
//! ```text
//! look ─▶ newest checkpoint ─▶ accepted by the policy? ─▶ continues the one seen before? ─▶ Step ─▶ its leaves, verified
//! ```
//!
//! What was seen before, and how many leaves were dealt with, is the caller's to keep: it moves on when the work about them is
//! durable. So a crash means that some leaves are shown again, and none is missed.

use thiserror::Error;

use super::growth::in_folder;
use super::reader::{BUNDLES_AT_ONCE, damaged, entries, same_root};
use super::{LogError, Prover, Reader};
use crate::tlog::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::tlog::evidence::{Evidence, Exhibit};
use crate::tlog::leaf::Leaf;
use crate::tlog::merkle::{Hash, Tree};
use crate::tlog::policy::{Accepted, Policy, Refusal};
use crate::tlog::proof::check_consistency;
use crate::tlog::recipe::Recipe;
use crate::tlog::tile::{FULL_WIDTH, TileId, Tiles};

/// Why there is no step.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TailError {
    /// It cannot be read, or what is read is damaged. It says nothing of the log itself.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The newest checkpoint does not satisfy the policy.
    #[error("the newest checkpoint is refused: {0}")]
    Refused(#[from] Refusal),
    /// The checkpoint of another log than before, which the policy accepts too.
    #[error("here is the log {found} now, where {known} was")]
    OtherLog {
        /// The origin of the new checkpoint.
        found: String,
        /// The origin of the one before.
        known: String,
    },
    /// There was a checkpoint, and there is none.
    #[error("the log's checkpoint is gone; {known} leaves were signed for")]
    Gone {
        /// Leaves of the one before.
        known: u64,
    },
    /// An older checkpoint, whose tree the one before continues: a mirror that lags behind.
    #[error(
        "an old checkpoint of {found} leaves is shown here, where one of {known} was seen: this place lags behind"
    )]
    Lags {
        /// Leaves of the checkpoint that is shown.
        found: u64,
        /// Leaves of the one before.
        known: u64,
    },
    /// Two signed checkpoints that cannot both be: the log was rewritten, or put back.
    #[error("the log shows two histories: {}", two(.0))]
    Rewritten(Box<Evidence>),
}

/// How the trees of this evidence contradict each other.
fn two(evidence: &Evidence) -> String {
    match evidence {
        Evidence::TwoTrees { what, .. } => what.to_string(),
        Evidence::TwoContents { .. } => "two contents of one path".to_owned(),
    }
}

/// Two trees of one log, as its tiles give them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grown {
    /// Root of the smaller tree.
    pub before: Hash,
    /// Root of the larger one.
    pub after: Hash,
    /// That the larger one begins with the smaller one.
    pub proof: Vec<Hash>,
}

impl Reader {
    /// The trees of the first `old` and of the first `new` leaves, out of the tiles of a tree of `size` leaves: any two sizes up to
    /// that one, whether an append ended there or not. As little trusted as the tiles, but consistent.
    pub async fn grown(&self, size: u64, old: u64, new: u64) -> Result<Grown, LogError> {
        let recipes = [Recipe::consistency(old, new)?, Recipe::subtrees(old)?, Recipe::subtrees(new)?];
        let wanted = recipes.iter().flat_map(Recipe::tiles);
        let wanted = wanted.map(|id| TileId::new(id.level(), id.index(), size).unwrap_or(id)).collect();
        let mut tiles = Tiles::default();
        self.fetch(&wanted, &mut tiles).await?;
        let [proof, before, after] = recipes;
        let root = |size, recipe: &Recipe| -> Result<Hash, LogError> {
            let tree = Tree::resume(size, recipe.hashes(&tiles)?);
            Ok(tree.map_err(|error| damaged("log/tile", &error))?.root())
        };
        let (before, after, proof) = (root(old, &before)?, root(new, &after)?, proof.hashes(&tiles)?);
        check_consistency(old, new, &proof, &before, &after)?;
        Ok(Grown { before, after, proof })
    }
}

/// A log that is followed.
#[derive(Debug, Clone)]
pub struct Tail {
    reader: Reader,
    policy: Policy,
}

/// A checkpoint that satisfies the policy, and continues the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    checkpoint: SignedCheckpoint,
    accepted: Accepted,
}

impl Step {
    /// As it was signed.
    pub fn checkpoint(&self) -> &SignedCheckpoint {
        &self.checkpoint
    }

    /// What it says, and who cosigned it.
    pub fn accepted(&self) -> &Accepted {
        &self.accepted
    }

    /// Leaves of its tree.
    pub fn size(&self) -> u64 {
        self.accepted.checkpoint().size()
    }
}

impl Tail {
    /// The log that is read so, held against this policy.
    pub fn new(reader: Reader, policy: Policy) -> Self {
        Self { reader, policy }
    }

    /// The newest checkpoint, held against the policy and against the largest one that was seen before, by the log's tiles.
    /// None: nothing was ever signed here.
    pub async fn look(&self, before: Option<&SignedCheckpoint>) -> Result<Option<Step>, TailError> {
        let Some(checkpoint) = self.reader.checkpoint().await? else {
            return before.map_or(Ok(None), |before| Err(TailError::Gone { known: before.claimed().size() }));
        };
        let accepted = self.policy.check(&checkpoint)?;
        if let Some(before) = before {
            self.continues(before, &checkpoint).await?;
        }
        Ok(Some(Step { checkpoint, accepted }))
    }

    async fn continues(&self, before: &SignedCheckpoint, now: &SignedCheckpoint) -> Result<(), TailError> {
        let (old, new) = (before.claimed(), now.claimed());
        if old.origin() != new.origin() {
            let (found, known) = (new.origin().to_owned(), old.origin().to_owned());
            return Err(TailError::OtherLog { found, known });
        }
        if (old.size(), old.root()) == (new.size(), new.root()) {
            return Ok(());
        }
        if new.size() < old.size() {
            return Err(self.shrunk(before, now).await);
        }
        if new.size() > old.size() && self.grew(old, new).await? {
            return Ok(());
        }
        Err(rewritten(before, now))
    }

    /// What a smaller checkpoint is. Only the tiles of the larger tree can say that it is an honest old one.
    async fn shrunk(&self, before: &SignedCheckpoint, now: &SignedCheckpoint) -> TailError {
        let (found, known) = (now.claimed().size(), before.claimed().size());
        match self.grew(now.claimed(), before.claimed()).await {
            Ok(true) => TailError::Lags { found, known },
            Ok(false) => rewritten(now, before),
            Err(error @ (LogError::Store(_) | LogError::Fetch { .. })) => error.into(),
            Err(_) => rewritten(before, now),
        }
    }

    /// Whether the tree `old` begins the larger tree `new`. `false` is shown by tiles that lead to the root of `new`; others show
    /// nothing, and are an error.
    async fn grew(&self, old: &Checkpoint, new: &Checkpoint) -> Result<bool, LogError> {
        if old.size() == 0 {
            return Ok(*old.root() == Hash::empty_root());
        }
        let grown = self.reader.grown(new.size(), old.size(), new.size()).await?;
        same_root(new, grown.after)?;
        Ok(grown.before == *old.root())
    }

    /// The leaves of a step, from number `from` on.
    pub fn leaves(&self, step: &Step, from: u64) -> Leaves {
        Leaves { prover: self.reader.prover(&step.checkpoint), next: from, size: step.size() }
    }

    /// A leaf of a step, with its proof: for evidence.
    pub async fn exhibit(&self, step: &Step, index: u64) -> Result<Exhibit, LogError> {
        let (leaf, proof) = self.reader.prover(&step.checkpoint).leaf(index).await?;
        Ok(Exhibit { leaf, proof })
    }
}

fn rewritten(before: &SignedCheckpoint, now: &SignedCheckpoint) -> TailError {
    match Evidence::two_trees(before.clone(), now.clone(), None) {
        Ok(evidence) => TailError::Rewritten(Box::new(evidence)),
        Err(error) => TailError::Log(LogError::Visitor(error.to_string())),
    }
}

/// The leaves of a step, some at a time. Those that are shown are verified.
#[derive(Debug)]
pub struct Leaves {
    prover: Prover,
    next: u64,
    size: u64,
}

impl Leaves {
    /// The next leaves with their numbers: 4,096 at most, none at the end. Memory: 6 MiB. An entry that the log has and that reads
    /// as no leaf is shown as `None`: it is as verified as the others, and keeps nobody from them.
    ///
    /// Each entry is held against its tile, and each tile against the root: the proof of one leaf is made of the hashes of all
    /// leaves of its tile.
    pub async fn next(&mut self) -> Result<Vec<(u64, Option<Leaf>)>, LogError> {
        let width = u64::from(FULL_WIDTH);
        let ids = (self.next / width..).map_while(|index| TileId::new(0, index, self.size));
        let ids: Vec<TileId> = ids.take(BUNDLES_AT_ONCE).collect();
        if self.next >= self.size {
            return Ok(Vec::new());
        }
        let firsts: Vec<u64> = ids.iter().map(|id| id.index() * width).collect();
        self.prover.prove(&firsts).await?;
        let mut leaves = Vec::new();
        for (id, bundle) in ids.iter().zip(self.prover.reader().bundles(&ids).await?) {
            for (index, entry) in (id.index() * width..).zip(entries(*id, &bundle)?) {
                if Hash::leaf(entry) != self.prover.hash(index)? {
                    let problem = format!("entry {index} is not what the tile beside it says");
                    return Err(damaged(&in_folder(&id.entries_path()), &problem));
                }
                if index >= self.next {
                    leaves.push((index, Leaf::parse(entry).ok()));
                }
            }
        }
        self.next = leaves.last().map_or(self.size, |(index, _)| index.saturating_add(1));
        Ok(leaves)
    }
}
