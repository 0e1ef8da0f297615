//! What people are shown of the log: in words and numbers, and only as good as what was checked for it.
//!
//! What does not hold is no error here: people are to see that it does not, and why.

use super::policy::LogPolicy;
use crate::repository::state::State;
use crate::repository::{Repository, RepositoryError, layout};
use crate::tlog::checkpoint::SignedCheckpoint;
use crate::tlog::leaf::{FileLeaf, Leaf};
use crate::tlog::merkle::Hash;
use crate::tlog::policy::{Accepted, Witnessing};
use crate::tlog::proof::{Step, check_consistency, steps};
use crate::tlog::proof_file::{MAX_PROOF_LEN, ProofFile};
use crate::tuf::metadata::LogHead;

/// A tree of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogTree {
    /// Entries.
    pub size: u64,
    /// The root, in base64 as checkpoints have it.
    pub root: String,
}

/// A tree that the log signed, and that satisfies the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The tree.
    pub tree: LogTree,
    /// Witnesses that cosigned it, by the names of the policy, each with its time in seconds since 1970 by its own clock.
    pub cosigned: Vec<(String, u64)>,
}

/// The log as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPicture {
    /// Its name.
    pub origin: String,
    /// What the timestamp names.
    pub named: LogTree,
    /// The newest checkpoint: it satisfies the policy and continues what the timestamp names. Or why not.
    pub newest: Result<Signed, String>,
    /// What the policy means.
    pub policy: Vec<String>,
    /// Whether people signed the policy: then it is the target `tlog-policy`. Else it waits for that.
    pub in_force: bool,
    /// Whether no witness is asked.
    pub unwitnessed: bool,
    /// Names of all witnesses of the policy.
    pub witnesses: Vec<String>,
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its number, from 0.
    pub number: u64,
    /// What kind of entry it is.
    pub kind: &'static str,
    /// What it is about.
    pub about: String,
    /// Project and file name, if it says that a file was published.
    pub file: Option<(String, String)>,
    /// SHA-256 of what it is about, in hexadecimal; none for a log.
    pub sha256: Option<String>,
}

/// One step of a proof: the hash that is known and the one that is given make the next one. Hashes are in base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofStep {
    /// The hash that the proof gives.
    pub given: String,
    /// Whether it stands before the other.
    pub before: bool,
    /// The first and the last entry that it is over.
    pub covers: (u64, u64),
    /// What comes out.
    pub made: String,
}

/// A proof that a file is logged. It holds: the last step comes to the root that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileProof {
    /// The log.
    pub origin: String,
    /// Number of the entry, from 0.
    pub number: u64,
    /// The entry, as it stands in the log.
    pub entry: String,
    /// Its hash, in base64.
    pub hash: String,
    /// From the entry to the root.
    pub steps: Vec<ProofStep>,
    /// The tree that it is proven for.
    pub signed: Signed,
    /// Whether no witness is asked.
    pub unwitnessed: bool,
    /// Whether the policy it was held against is the target `tlog-policy`.
    pub in_force: bool,
}

impl Repository {
    /// The log as it is now; `None`: the repository has none.
    pub async fn log_picture(&self, state: &State) -> Option<LogPicture> {
        let named = state.timestamp.log.as_ref()?;
        let mut picture = LogPicture {
            origin: named.origin.clone(),
            named: LogTree { size: named.size, root: Hash::from_bytes(named.root_hash).to_string() },
            newest: Err(String::new()),
            policy: Vec::new(),
            in_force: false,
            unwitnessed: false,
            witnesses: Vec::new(),
        };
        match self.policy_shown(state, named) {
            Ok((policy, in_force)) => {
                picture.newest = self.newest(named, &policy).await.map(|(_, accepted)| Signed::of(&accepted));
                picture.policy = policy.in_words();
                picture.in_force = in_force;
                picture.unwitnessed = unwitnessed(&policy);
                let witnesses = policy.policy().witnesses().iter();
                picture.witnesses = witnesses.map(|witness| witness.name().into_owned()).collect();
            }
            Err(why) => picture.newest = Err(why),
        }
        Some(picture)
    }

    /// The policy of this log, and whether people signed it.
    fn policy_shown(&self, state: &State, named: &LogHead) -> Result<(LogPolicy, bool), String> {
        let words = |error: RepositoryError| error.to_string();
        let signed = state.log_policy().map_err(words)?;
        let in_force = signed.as_ref().is_some_and(|policy| policy.log().name().as_str() == named.origin);
        Ok((self.policy_for(signed, &named.origin).map_err(words)?, in_force))
    }

    /// The newest entries, `most` at most, the newest first; and, if the log continues another one, the entry that says so. They are
    /// in the tree of the newest checkpoint. An error tells why they cannot be shown.
    pub async fn log_entries(
        &self,
        state: &State,
        most: u64,
    ) -> Result<(Vec<LogEntry>, Option<LogEntry>), String> {
        let Some(named) = &state.timestamp.log else { return Ok((Vec::new(), None)) };
        let (policy, _) = self.policy_shown(state, named)?;
        let (checkpoint, _) = self.newest(named, &policy).await?;
        let mut prover = self.log.reader().prover(&checkpoint);
        let first = prover.leaves(0, 1).await.map_err(|error| error.to_string())?.pop();
        let first = first.filter(|(_, leaf, _)| matches!(leaf, Leaf::Log(_)));
        let from = checkpoint.claimed().size().saturating_sub(most);
        let newest = prover.leaves(from, most).await.map_err(|error| error.to_string())?;
        let newest = newest.iter().rev().map(|(number, leaf, _)| entry(*number, leaf)).collect();
        Ok((newest, first.map(|(number, leaf, _)| entry(number, &leaf))))
    }

    /// The proof beside a file of this length and hash, checked; or why it does not hold. `None`: the repository has no log, or such
    /// files are not logged.
    pub async fn file_proof(
        &self,
        state: &State,
        path: &str,
        length: u64,
        sha256: [u8; 32],
    ) -> Result<Option<Result<FileProof, String>>, RepositoryError> {
        let Some(named) = &state.timestamp.log else { return Ok(None) };
        let leaf = match FileLeaf::of_target(path, length, sha256) {
            Ok(Some(leaf)) => Leaf::File(leaf).to_string(),
            Ok(None) => return Ok(None),
            Err(error) => return Ok(Some(Err(error.to_string()))),
        };
        let (policy, in_force) = match self.policy_shown(state, named) {
            Ok(shown) => shown,
            Err(why) => return Ok(Some(Err(why))),
        };
        let max = u64::try_from(MAX_PROOF_LEN).unwrap_or(u64::MAX);
        let Some(object) = self.store.get(&layout::file_proof(path)?, max).await? else {
            return Ok(Some(Err("there is none".to_owned())));
        };
        let proof = match checked(&object.bytes, leaf, &policy) {
            Ok((proof, accepted)) => {
                self.fits(named, &accepted).await.map(|()| FileProof { in_force, ..proof })
            }
            Err(why) => Err(why),
        };
        Ok(Some(proof))
    }

    /// That the tree of a proof is of the history that the timestamp is in, as far as clients look at that: where witnesses are
    /// asked, these do.
    async fn fits(&self, named: &LogHead, accepted: &Accepted) -> Result<(), String> {
        let (tree, root) = (accepted.checkpoint(), Hash::from_bytes(named.root_hash));
        let (old, new) = (tree.size(), named.size);
        if old != new && accepted.witnessing() == Witnessing::Quorum {
            return Ok(());
        }
        if old > new {
            return Err(format!("it is for {old} entries, and the timestamp names {new}"));
        }
        let hashes = if old == new { Ok(Vec::new()) } else { self.log.consistency(old, new).await };
        let hashes = hashes.map_err(|error| error.to_string())?;
        check_consistency(old, new, &hashes, tree.root(), &root)
            .map_err(|error| format!("it is for another tree than the timestamp names: {error}"))
    }

    /// The newest checkpoint, accepted, and shown to continue what the timestamp names.
    async fn newest(
        &self,
        named: &LogHead,
        policy: &LogPolicy,
    ) -> Result<(SignedCheckpoint, Accepted), String> {
        let reader = self.log.reader();
        let checkpoint = reader.checkpoint().await.map_err(|error| error.to_string())?;
        let checkpoint = checkpoint.ok_or("there is no checkpoint")?;
        let accepted = policy.policy().check(&checkpoint).map_err(|refusal| refusal.to_string())?;
        let (tree, root) = (accepted.checkpoint(), Hash::from_bytes(named.root_hash));
        if tree.origin() != named.origin {
            return Err(format!("it is of {}, and the timestamp names {}", tree.origin(), named.origin));
        }
        let (old, new) = (named.size, tree.size());
        if new < old {
            return Err(format!("it has {new} entries, and the timestamp names {old}: the log went back"));
        }
        let hashes = if old == new { Ok(Vec::new()) } else { self.log.consistency(old, new).await };
        let hashes = hashes.map_err(|error| error.to_string())?;
        check_consistency(old, new, &hashes, &root, tree.root())
            .map_err(|error| format!("it does not continue what the timestamp names: {error}"))?;
        Ok((checkpoint, accepted))
    }
}

impl Signed {
    fn of(accepted: &Accepted) -> Self {
        let tree = accepted.checkpoint();
        let tree = LogTree { size: tree.size(), root: tree.root().to_string() };
        Self { tree, cosigned: accepted.cosigned().to_vec() }
    }
}

fn unwitnessed(policy: &LogPolicy) -> bool {
    policy.policy().witnessing() == Witnessing::NotAsked
}

/// A proof file, held against the policy.
fn checked(bytes: &[u8], entry: String, policy: &LogPolicy) -> Result<(FileProof, Accepted), String> {
    let proof = ProofFile::parse(bytes).map_err(|error| error.to_string())?;
    let accepted = proof.verify(entry.as_bytes(), policy.policy()).map_err(|error| error.to_string())?;
    let (leaf, tree) = (Hash::leaf(entry.as_bytes()), accepted.checkpoint());
    let way = steps(&leaf, proof.index(), tree.size(), proof.hashes()).map_err(|error| error.to_string())?;
    let proof = FileProof {
        origin: tree.origin().to_owned(),
        number: proof.index(),
        entry,
        hash: leaf.to_string(),
        steps: way.into_iter().map(step).collect(),
        signed: Signed::of(&accepted),
        unwitnessed: unwitnessed(policy),
        in_force: false,
    };
    Ok((proof, accepted))
}

fn step(step: Step) -> ProofStep {
    let Step { given, before, covers, made } = step;
    let covers = (covers.start, covers.end.saturating_sub(1));
    ProofStep { given: given.to_string(), before, covers, made: made.to_string() }
}

fn entry(number: u64, leaf: &Leaf) -> LogEntry {
    let of = |kind, about: String, sha256: Option<&[u8; 32]>| LogEntry {
        number,
        kind,
        about,
        file: None,
        sha256: sha256.map(hex::encode),
    };
    match leaf {
        Leaf::File(file) => {
            let name =
                file.path().split_once('/').map(|(project, name)| (project.to_owned(), name.to_owned()));
            let name = name.filter(|(_, name)| !name.ends_with(".metadata"));
            let kind = if name.is_some() { "file" } else { "metadata of a file" };
            LogEntry { file: name, ..of(kind, file.path().to_owned(), Some(file.sha256())) }
        }
        Leaf::Tuf(role) => {
            let about = format!("{} version {}", role.role().name(), role.version());
            of("signed metadata", about, Some(role.sha256()))
        }
        Leaf::Log(log) => {
            let about = format!("{}, from {} entries on", log.origin(), log.size());
            of("continues another log", about, None)
        }
        Leaf::Conflict(conflict) => {
            let (file, source) = (&conflict.file, conflict.source.name());
            let about = format!("{}, other content by the {source}", file.path());
            of("conflict", about, Some(file.sha256()))
        }
        Leaf::Commitment(commitment) => {
            of("commitment", "a claim whose content is not told yet".to_owned(), Some(&commitment.sha256))
        }
    }
}
