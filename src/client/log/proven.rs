//! Targets whose proofs hold: what verified files are made of.

use std::ops::Deref;
use std::sync::Arc;

use super::member::Question;
use super::recorders::{Asked, Recorded};
use super::rules::Rules;
use super::standing::Standing;
use super::{LogError, small};
use crate::client::source::Source;
use crate::client::{Client, ClientError, Terms};
use crate::tlog::leaf::{FileLeaf, Leaf};
use crate::tlog::policy::Accepted;
use crate::tlog::proof_file::{MAX_PROOF_LEN, ProofFile};
use crate::tuf::lookup::Found;

/// What stands behind the path of a target in the name of its proof.
pub(super) const ENDING: &str = ".tlog-proof";

/// A target that was signed and, if that is asked for, logged and recorded. There is no other way to make one than to check it.
#[derive(Debug, Clone)]
pub struct Proven {
    found: Found,
    inclusion: Option<Inclusion>,
    recorded: Option<Recorded>,
}

impl Proven {
    /// Where it is in the log; none for what is not logged, or where no policy asks for a log.
    pub fn inclusion(&self) -> Option<&Inclusion> {
        self.inclusion.as_ref()
    }

    /// What recorders say of it; none for what is not logged, or where no recorders are asked.
    pub fn recorded(&self) -> Option<&Recorded> {
        self.recorded.as_ref()
    }

    /// What was signed.
    pub fn found(&self) -> &Found {
        &self.found
    }
}

impl Deref for Proven {
    type Target = Found;

    fn deref(&self) -> &Found {
        &self.found
    }
}

/// A place in a log, and who saw the tree it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inclusion {
    /// The log.
    pub origin: String,
    /// Number of the leaf, from 0.
    pub index: u64,
    /// Leaves of the tree it is proven for.
    pub size: u64,
    /// The witnesses that cosigned that tree, by the names of the policy.
    pub witnesses: Vec<String>,
    /// Whether no policy asks for witnesses: then the log alone says so.
    pub unwitnessed: bool,
}

impl Inclusion {
    pub(super) fn new(index: u64, accepted: &Accepted, unwitnessed: bool) -> Self {
        let checkpoint = accepted.checkpoint();
        Self {
            origin: checkpoint.origin().to_owned(),
            index,
            size: checkpoint.size(),
            witnesses: accepted.cosigned().iter().map(|(name, _)| name.clone()).collect(),
            unwitnessed,
        }
    }
}

/// A target that is in the log of its repository.
struct Logged {
    inclusion: Inclusion,
    proof: ProofFile,
    /// When witnesses cosigned its tree, at the latest, in seconds since the epoch.
    cosigned: Option<u64>,
}

impl Client {
    /// Checks that a target was logged, and that recorders have seen it, if these are asked for. Proofs that are kept on this machine are used
    /// if they still hold.
    pub(in crate::client) async fn prove(&self, found: &Found, terms: &Terms) -> Result<Proven, ClientError> {
        let (standing, panel) = (terms.standing.as_deref(), self.log.recorders.as_deref());
        let unlogged = || Proven { found: found.clone(), inclusion: None, recorded: None };
        if standing.is_none() && panel.is_none() {
            return Ok(unlogged());
        }
        let Some(leaf) = leaf(found)? else { return Ok(unlogged()) };
        let logged = match standing {
            Some(standing) => Some(self.logged(found, &leaf.to_string(), standing, terms.offline).await?),
            None => None,
        };
        let recorded = match panel {
            Some(panel) => Some(panel.hear(&self.asked(found, &leaf, logged.as_ref(), terms)).await?),
            None => None,
        };
        Ok(Proven { found: found.clone(), inclusion: logged.map(|logged| logged.inclusion), recorded })
    }

    fn asked<'a>(
        &self,
        found: &'a Found,
        leaf: &'a Leaf,
        logged: Option<&'a Logged>,
        terms: &Terms,
    ) -> Asked<'a> {
        let (folder, offline) = (self.cache.log(), terms.offline);
        let cosigned = logged.and_then(|logged| logged.cosigned);
        let logged = logged.map(|logged| (&logged.inclusion, &logged.proof));
        Asked {
            question: Question { path: &found.path, leaf, logged, folder, offline },
            cosigned,
            now: terms.now,
        }
    }

    async fn logged(
        &self,
        found: &Found,
        leaf: &str,
        standing: &Standing,
        offline: bool,
    ) -> Result<Logged, ClientError> {
        let (path, folder) = (found.path.as_str(), self.cache.log());
        let tiles = self.log.tiles.as_deref().filter(|_| !offline);
        if let Some(kept) = folder.proof(path)? {
            match standing.holds(path, leaf, &kept, tiles).await {
                Ok(logged) => return Ok(logged),
                Err(fork @ ClientError::Log(LogError::Fork { .. })) => return Err(fork),
                Err(_) => {}
            }
        }
        let none = || LogError::NoProof { what: path.to_owned() };
        if offline {
            return Err(none().into());
        }
        let place = format!("{}{ENDING}", found.path.location(None));
        let bytes = small(self.targets.as_ref(), &place, MAX_PROOF_LEN).await?.ok_or_else(none)?;
        let logged = standing.holds(path, leaf, &bytes, tiles).await?;
        folder.keep_proof(path, &bytes)?;
        Ok(logged)
    }
}

impl Standing {
    /// That a proof shows a leaf to be in the log, as it is now or was before.
    async fn holds(
        &self,
        path: &str,
        leaf: &str,
        bytes: &[u8],
        tiles: Option<&dyn Source>,
    ) -> Result<Logged, ClientError> {
        let (proof, accepted) = included(&self.rules, path, leaf, bytes)?;
        let signed = proof.checkpoint();
        self.fits(path, &accepted, signed)?;
        self.continues(tiles, path, &accepted, signed).await?;
        let inclusion = Inclusion::new(proof.index(), &accepted, self.rules.unwitnessed());
        let cosigned = accepted.cosigned().iter().map(|(_, time)| *time).max();
        let cosigned = cosigned.filter(|_| !inclusion.unwitnessed);
        Ok(Logged { inclusion, proof, cosigned })
    }
}

/// That a proof file shows a leaf to be in a log of all policies.
pub(super) fn included(
    rules: &Rules,
    what: &str,
    leaf: &str,
    bytes: &[u8],
) -> Result<(ProofFile, Arc<Accepted>), LogError> {
    let unreadable = |error| LogError::Unreadable { what: what.to_owned(), error };
    let proof = ProofFile::parse(bytes).map_err(unreadable)?;
    let accepted = rules.included(what, &proof, leaf.as_bytes())?;
    Ok((proof, accepted))
}

/// The leaf of a target that is to be logged.
fn leaf(found: &Found) -> Result<Option<Leaf>, LogError> {
    let path = found.path.as_str();
    let of_target = |sha256| {
        let no_leaf = |error| LogError::NoLeaf { path: path.to_owned(), error };
        FileLeaf::of_target(path, found.target.length, sha256).map_err(no_leaf)
    };
    match found.target.hashes.sha256 {
        Some(sha256) => Ok(of_target(sha256)?.map(Leaf::File)),
        // Whether it is to be logged does not depend on the hash.
        None if of_target([0; 32])?.is_some() => Err(LogError::NoSha256 { path: path.to_owned() }),
        None => Ok(None),
    }
}
