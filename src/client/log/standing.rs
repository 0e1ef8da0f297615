//! What is known of the log when a session begins: which policies hold, and which tree its snapshot is in.

use super::evidence;
use super::growth::grew;
use super::proven::included;
use super::rules::{Rules, Whose};
use super::{LogDir, LogError, small};
use crate::client::source::Source;
use crate::client::{CacheError, Client, ClientError};
use crate::crypto::sha256;
use crate::tlog::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::tlog::evidence::{Contradiction, Evidence};
use crate::tlog::leaf::{Leaf, Role, TufLeaf};
use crate::tlog::merkle::Hash;
use crate::tlog::note::MAX_NOTE_LEN;
use crate::tlog::policy::{Accepted, MAX_POLICY_LEN, Policy};
use crate::tlog::proof_file::MAX_PROOF_LEN;
use crate::tuf::metadata::{LogHead, TargetFile, Timestamp};
use crate::tuf::path::TargetPath;
use crate::tuf::signed::Verified;
use crate::tuf::trusted::Trusted;

/// The target with the repository's policy. Only top-level targets may list it.
const POLICY: &str = "tlog-policy";
/// Where it is kept.
const KEPT_POLICY: &str = "policy";
/// Where the proof of the snapshot is kept.
const KEPT_SNAPSHOT: &str = "snapshot";

/// What all of a session is held against.
#[derive(Debug)]
pub(in crate::client) struct Standing {
    pub(super) rules: Rules,
    pub(super) head: LogHead,
    witnesses: Vec<String>,
    /// The signed checkpoint of the head.
    checkpoint: SignedCheckpoint,
    timestamp: Verified<Timestamp>,
    folder: LogDir,
}

/// What a session says of its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logging {
    /// The log.
    pub origin: String,
    /// Leaves of the tree that the snapshot is in.
    pub size: u64,
    /// The witnesses that cosigned it, by the names of the policy.
    pub witnesses: Vec<String>,
    /// Whether no policy asks for witnesses: then the log alone says so.
    pub unwitnessed: bool,
    /// Whose policies hold.
    pub policies: Vec<Whose>,
}

impl Standing {
    /// For those who are told.
    pub(in crate::client) fn logging(&self) -> Logging {
        Logging {
            origin: self.head.origin.clone(),
            size: self.head.size,
            witnesses: self.witnesses.clone(),
            unwitnessed: self.rules.unwitnessed(),
            policies: self.rules.whose(),
        }
    }
}

impl Client {
    /// Checks the log of an updated repository, and remembers its head. None, if no policy asks for a log.
    pub(in crate::client) async fn standing(
        &self,
        trusted: &Trusted,
        offline: bool,
    ) -> Result<Option<Standing>, ClientError> {
        let Some(rules) = self.rules(trusted, offline).await? else { return Ok(None) };
        let head = trusted.timestamp().log.clone();
        let head = head.ok_or_else(|| LogError::NoLog { whose: rules.first() })?;
        let (checkpoint, witnesses) = self.snapshot_logged(trusted, &head, &rules, offline).await?;
        let timestamp = trusted.timestamp().clone();
        let standing = Standing { rules, head, witnesses, checkpoint, timestamp, folder: self.cache.log() };
        self.remember(&standing, offline).await?;
        Ok(Some(standing))
    }

    async fn rules(&self, trusted: &Trusted, offline: bool) -> Result<Option<Rules>, ClientError> {
        let mut policies = Vec::new();
        if let Some(target) = trusted.targets().targets.get(POLICY) {
            let bytes = self.policy(target, trusted.root().consistent_snapshot, offline).await?;
            let bad = |error| LogError::BadPolicy { whose: Whose::Repository, error };
            policies.push((Whose::Repository, Policy::parse(&bytes).map_err(bad)?));
        }
        policies.extend(self.log.policy.clone().map(|policy| (Whose::User, policy)));
        Ok(Rules::new(policies))
    }

    /// The bytes of the repository's policy, as they were signed.
    async fn policy(
        &self,
        target: &TargetFile,
        consistent: bool,
        offline: bool,
    ) -> Result<Vec<u8>, ClientError> {
        let refused = |problem: &str| LogError::NoPolicy { problem: problem.to_owned() };
        let length = usize::try_from(target.length).ok().filter(|length| *length <= MAX_POLICY_LEN);
        let length = length.ok_or_else(|| refused("is longer than a policy can be"))?;
        let right = |bytes: &[u8]| bytes.len() == length && target.hashes.check_bytes(bytes).is_ok();
        let folder = self.cache.log();
        if let Some(kept) = folder.read(KEPT_POLICY, length)?.filter(|kept| right(kept)) {
            return Ok(kept);
        }
        if offline {
            return Err(refused("is not on this machine").into());
        }
        let name = target.hashes.name().ok_or_else(|| refused("is signed with unknown hashes only"))?;
        let path = TargetPath::new(POLICY).map_err(|_| refused("has no name"))?;
        let place = path.location(consistent.then_some(name.as_str()));
        let bytes = small(self.targets.as_ref(), &place, length).await?;
        let bytes = bytes.ok_or_else(|| refused("is not there"))?;
        if !right(&bytes) {
            return Err(refused("is not what was signed").into());
        }
        folder.keep(KEPT_POLICY, &bytes)?;
        Ok(bytes)
    }

    /// That the snapshot is in the tree that timestamp names: its checkpoint, and who witnessed that.
    async fn snapshot_logged(
        &self,
        trusted: &Trusted,
        head: &LogHead,
        rules: &Rules,
        offline: bool,
    ) -> Result<(SignedCheckpoint, Vec<String>), ClientError> {
        let (snapshot, folder) = (trusted.snapshot(), self.cache.log());
        let version = snapshot.common.version;
        let what = format!("snapshot {version}");
        let (bytes, length) = (snapshot.bytes(), u64::try_from(snapshot.bytes().len()).unwrap_or(u64::MAX));
        let leaf = TufLeaf::new(Role::Snapshot, version, length, sha256(bytes));
        let leaf = leaf.map_err(|error| LogError::NoLeaf { path: what.clone(), error })?;
        let leaf = Leaf::Tuf(leaf).to_string();
        let holds = |proof: &[u8]| proves(rules, &what, &leaf, head, proof);
        if let Some(kept) = folder.read(KEPT_SNAPSHOT, MAX_PROOF_LEN)?
            && let Ok(proven) = holds(&kept)
        {
            return Ok(proven);
        }
        let none = || LogError::NoProof { what: what.clone() };
        if offline {
            return Err(none().into());
        }
        let place = format!("{version}.snapshot.json.tlog-proof");
        let bytes = small(self.metadata.as_ref(), &place, MAX_PROOF_LEN).await?.ok_or_else(none)?;
        let proven = holds(&bytes)?;
        folder.keep(KEPT_SNAPSHOT, &bytes)?;
        Ok(proven)
    }

    /// Holds the head against the largest checkpoint that was accepted before, and keeps it if it is larger.
    async fn remember(&self, standing: &Standing, offline: bool) -> Result<(), ClientError> {
        let Standing { head, folder, checkpoint, .. } = standing;
        let name = LogDir::head_name(&head.origin);
        if let Some(before) = standing.remembered(&name)? {
            if let Some(what) = self.contradiction(before.claimed(), standing, offline).await? {
                return Err(standing.fork(what, &before)?.into());
            }
            if before.claimed().size() == head.size {
                return Ok(());
            }
        }
        folder.write(&name, standing.rules.memorable(checkpoint).to_string().as_bytes())?;
        Ok(())
    }

    /// How the tree that timestamp names contradicts the one that was seen before.
    async fn contradiction(
        &self,
        old: &Checkpoint,
        standing: &Standing,
        offline: bool,
    ) -> Result<Option<Contradiction>, ClientError> {
        let Standing { head, rules, .. } = standing;
        let (before, now, root) = (old.size(), head.size, Hash::from_bytes(head.root_hash));
        if now < before {
            return Ok(Some(Contradiction::Smaller { before, now }));
        }
        if now == before {
            return Ok((*old.root() != root).then_some(Contradiction::OtherRoot { size: now }));
        }
        if !rules.unwitnessed() || before == 0 {
            return Ok(None);
        }
        let tiles = self.log.tiles.as_deref().filter(|_| !offline);
        let grown = grew(tiles, (before, old.root()), (now, &root)).await?;
        Ok((!grown).then_some(Contradiction::NotGrown { before, now }))
    }
}

impl Standing {
    /// The largest checkpoint of this log that was accepted before.
    fn remembered(&self, name: &str) -> Result<Option<SignedCheckpoint>, ClientError> {
        let Some(bytes) = self.folder.read_cut(name, MAX_NOTE_LEN)? else { return Ok(None) };
        let damaged = |reason: String| {
            let path = self.folder.path(name).display().to_string();
            ClientError::from(LogError::Memory { path, reason })
        };
        let signed = SignedCheckpoint::parse(&bytes).map_err(|error| damaged(error.to_string()))?;
        if signed.claimed_origin() != self.head.origin {
            return Err(damaged("it is of another log".to_owned()));
        }
        match self.rules.spoilt(&signed) {
            Some(reason) => Err(damaged(reason)),
            None => Ok(Some(signed)),
        }
    }

    /// Without witnesses: that a smaller tree, which a proof is for, is one that this session's continues.
    pub(super) async fn continues(
        &self,
        tiles: Option<&dyn Source>,
        path: &str,
        accepted: &Accepted,
        signed: &SignedCheckpoint,
    ) -> Result<(), ClientError> {
        let (other, head) = (accepted.checkpoint(), &self.head);
        let smaller = other.origin() == head.origin && (1..head.size).contains(&other.size());
        let line = format!("the log begins with {}", tree(other.origin(), other.size(), other.root()));
        if !smaller || !self.rules.unwitnessed() || self.folder.proof(&line)?.is_some() {
            return Ok(());
        }
        let root = Hash::from_bytes(head.root_hash);
        if grew(tiles, (other.size(), other.root()), (head.size, &root)).await? {
            // Later heads continue this one.
            return Ok(self.folder.keep_proof(&line, path.as_bytes())?);
        }
        let what = Contradiction::NotGrown { before: other.size(), now: head.size };
        Err(self.fork(what, signed)?.into())
    }

    /// Writes down that the log shows two histories: another one than that of this session's head.
    pub(super) fn fork(
        &self,
        what: Contradiction,
        before: &SignedCheckpoint,
    ) -> Result<LogError, CacheError> {
        let timestamp = String::from_utf8_lossy(self.timestamp.bytes());
        let evidence = Evidence::two_trees(before.clone(), self.checkpoint.clone(), Some(&timestamp));
        let origin = self.head.origin.clone();
        let evidence = match evidence {
            Ok(evidence) => evidence::keep(&evidence, &self.folder, None)?,
            Err(error) => format!("no file: {error}"),
        };
        Ok(LogError::Fork { origin, what, evidence })
    }

    /// Refuses a checkpoint that was accepted, but cannot be of the history that this session is in.
    pub(super) fn fits(
        &self,
        path: &str,
        accepted: &Accepted,
        signed: &SignedCheckpoint,
    ) -> Result<(), ClientError> {
        let (other, head) = (accepted.checkpoint(), &self.head);
        if other.origin() != head.origin || other.size() < head.size {
            return Ok(());
        }
        if other.size() > head.size {
            // Witnesses have seen that it continues this one.
            if !self.rules.unwitnessed() {
                return Ok(());
            }
            let (size, head) = (other.size(), head.size);
            return Err(LogError::Ahead { path: path.to_owned(), size, head }.into());
        }
        if *other.root().as_bytes() == head.root_hash {
            return Ok(());
        }
        let what = Contradiction::OtherRoot { size: head.size };
        Err(self.fork(what, signed)?.into())
    }
}

/// That a proof shows the snapshot to be in the tree that timestamp names, and in no other.
fn proves(
    rules: &Rules,
    what: &str,
    leaf: &str,
    head: &LogHead,
    bytes: &[u8],
) -> Result<(SignedCheckpoint, Vec<String>), LogError> {
    let (proof, accepted) = included(rules, what, leaf, bytes)?;
    let checkpoint = accepted.checkpoint();
    let named = tree(&head.origin, head.size, &Hash::from_bytes(head.root_hash));
    let proven = tree(checkpoint.origin(), checkpoint.size(), checkpoint.root());
    if named != proven {
        return Err(LogError::OtherTree { named, proven });
    }
    let witnesses = accepted.cosigned().iter().map(|(name, _)| name.clone()).collect();
    Ok((proof.checkpoint().clone(), witnesses))
}

/// A tree in one line. Two of them have the same line.
fn tree(origin: &str, size: u64, root: &Hash) -> String {
    format!("{root} of {size} leaves of {origin:?}")
}
