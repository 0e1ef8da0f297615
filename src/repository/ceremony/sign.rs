//! Signatures: made here, made elsewhere, brought together.

use chrono::{DateTime, Utc};

use super::error::CeremonyError;
use super::event::{Event, Mark, Proposal};
use super::parts::holder;
use crate::keys::Signer;
use crate::repository::RepositoryError;
use crate::tuf::json::{Json, parse};
use crate::tuf::key::{Key, KeyId};
use crate::tuf::metadata::Root;
use crate::tuf::signed::{Signed, Verified};

impl Event {
    /// Refuses a ceremony that is not about the repository whose `root` the signer knows.
    pub fn follows(&self, root: &[u8]) -> Result<(), CeremonyError> {
        let found = self.basis.root()?.common.version;
        let bad = |error: crate::tuf::signed::VerifyError| {
            CeremonyError::Malformed(format!("the root that you know: {error}"))
        };
        let known: Verified<Root> = Signed::<Root>::new(root).verify_initial().map_err(bad)?;
        let known = known.common.version;
        let carried = self.basis.roots.iter().any(|carried| carried.bytes() == root);
        if carried { Ok(()) } else { Err(CeremonyError::OtherRoot { known, found }) }
    }

    /// Signs every proposed role that the key counts for, under the old or the new delegator. Returns their names.
    pub async fn sign(
        &mut self,
        signer: &dyn Signer,
        named: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<Vec<String>, RepositoryError> {
        let named = named.map(holder).transpose()?;
        let (mut done, mut before) = (Vec::new(), None);
        for at in 0..self.proposals.len() {
            let Some((name, missing, any)) = self.to_sign(at, signer.key())? else { continue };
            if missing.is_empty() && any {
                before = Some(name.clone());
            }
            if missing.is_empty() {
                continue;
            }
            let Some(proposal) = self.proposals.get_mut(at) else { continue };
            for id in missing {
                let signature = signer.sign(proposal.payload.to_sign()).await?;
                proposal.marks.push(Mark { key: id, signature, at: now, holder: named.clone() });
            }
            done.push(name);
        }
        let key = signer.key().id().short();
        match before {
            _ if !done.is_empty() => Ok(done),
            Some(role) => Err(CeremonyError::SignedBefore { key, role }.into()),
            None => {
                let role = self.roles_in_short().join(", ");
                Err(CeremonyError::Stranger { key, role }.into())
            }
        }
    }

    /// The ids under which a key has not signed a proposal yet, and whether it is one of the role's at all.
    fn to_sign(&self, at: usize, key: &Key) -> Result<Option<(String, Vec<KeyId>, bool)>, CeremonyError> {
        let Some(proposal) = self.proposals.get(at) else { return Ok(None) };
        let Some(public) = key.public() else { return Ok(None) };
        let ids = self.delegators(&proposal.role)?.ids(public);
        let ids = ids.into_iter().filter(|(_, listed)| listed.scheme() == key.scheme()).map(|(id, _)| id);
        let ids: Vec<_> = ids.collect();
        let any = !ids.is_empty();
        let missing =
            ids.into_iter().filter(|id| proposal.marks.iter().all(|mark| mark.key != *id)).collect();
        Ok(Some((proposal.role.name().to_owned(), missing, any)))
    }

    /// Takes a signature over a role that was made elsewhere: bare bytes, or a metadata file that holds it.
    pub fn add_signature(
        &mut self,
        role: &str,
        key: &Key,
        signature: &[u8],
        named: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<(), CeremonyError> {
        let named = named.map(holder).transpose()?;
        let proposal = self.proposal(role)?;
        let stranger = || CeremonyError::Stranger { key: key.id().short(), role: role.to_owned() };
        let public = key.public().ok_or_else(stranger)?;
        let ids = self.delegators(&proposal.role)?.ids(public);
        if ids.is_empty() {
            return Err(stranger());
        }
        let missing: Vec<_> =
            ids.into_iter().filter(|(id, _)| proposal.marks.iter().all(|mark| mark.key != *id)).collect();
        if missing.is_empty() {
            return Err(CeremonyError::SignedBefore { key: key.id().short(), role: role.to_owned() });
        }
        let signature = bare(proposal, role, &missing, signature)?;
        let message = proposal.payload.to_sign();
        if !missing.iter().all(|(_, listed)| listed.verifies(message, &signature)) {
            return Err(CeremonyError::BadSignature { role: role.to_owned(), key: key.id().short() });
        }
        let mark = |(key, _)| Mark { key, signature: signature.clone(), at: now, holder: named.clone() };
        let marks: Vec<_> = missing.into_iter().map(mark).collect();
        let proposal = self.proposals.iter_mut().find(|proposal| proposal.role.name() == role);
        if let Some(proposal) = proposal {
            proposal.marks.extend(marks);
        }
        Ok(())
    }

    /// Shows that a new key is held: signs a statement that is good for this ceremony alone.
    pub async fn join(
        &mut self,
        signer: &dyn Signer,
        named: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<(), RepositoryError> {
        let id = self.joining_as(signer.key())?;
        let signature = signer.sign(&self.statement(&id, &self.digest())).await?;
        self.proofs.push(Mark { key: id, signature, at: now, holder: named.map(holder).transpose()? });
        Ok(())
    }

    /// The bytes that the holder of a new key signs to join.
    pub fn joining(&self, key: &Key) -> Result<Vec<u8>, CeremonyError> {
        Ok(self.statement(&self.joining_as(key)?, &self.digest()))
    }

    /// Takes a signature over [`Self::joining`] that was made elsewhere.
    pub fn add_proof(
        &mut self,
        key: &Key,
        signature: &[u8],
        named: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<(), CeremonyError> {
        let id = self.joining_as(key)?;
        if !key.verifies(&self.statement(&id, &self.digest()), signature) {
            return Err(CeremonyError::BadSignature { role: "joining".to_owned(), key: key.id().short() });
        }
        let holder = named.map(holder).transpose()?;
        self.proofs.push(Mark { key: id, signature: signature.to_vec(), at: now, holder });
        Ok(())
    }

    /// The id under which a key is new here, and has not joined yet.
    fn joining_as(&self, key: &Key) -> Result<KeyId, CeremonyError> {
        let same = |new: &Key| new.public().is_some() && new.public() == key.public();
        let new = self.new_keys().into_iter().find(|(_, new, _)| same(new));
        let key = key.id().short();
        let Some((id, _, _)) = new else {
            return Err(CeremonyError::Stranger { key, role: "the new keys".to_owned() });
        };
        if self.proofs.iter().any(|proof| proof.key == id) {
            return Err(CeremonyError::SignedBefore { key, role: "joining".to_owned() });
        }
        Ok(id)
    }

    /// Takes over the signatures of another copy. Returns how many were new.
    pub fn merge(&mut self, other: &Self) -> Result<usize, CeremonyError> {
        if self.digest() != other.digest() {
            return Err(CeremonyError::Taken(self.name.to_string()));
        }
        let mut added = union(&mut self.proofs, &other.proofs);
        for (own, theirs) in self.proposals.iter_mut().zip(&other.proposals) {
            added += union(&mut own.marks, &theirs.marks);
        }
        Ok(added)
    }
}

/// Adds signatures by keys that have none yet. Returns how many.
pub(super) fn union(own: &mut Vec<Mark>, theirs: &[Mark]) -> usize {
    let before = own.len();
    for mark in theirs {
        if own.iter().all(|known| known.key != mark.key) {
            own.push(mark.clone());
        }
    }
    own.len() - before
}

/// A signature by itself, or out of a metadata file, where it may be one over another version: that is told.
fn bare(
    proposal: &Proposal,
    role: &str,
    keys: &[(KeyId, Key)],
    given: &[u8],
) -> Result<Vec<u8>, CeremonyError> {
    let Some(file) = parse(given).ok().filter(|file| file.get("signatures").is_some()) else {
        return Ok(given.to_vec());
    };
    let version = file.get("signed").and_then(|signed| signed.get("version")).and_then(Json::as_u64);
    let expected = proposal.role.common().version;
    if let Some(found) = version.filter(|found| *found != expected) {
        return Err(CeremonyError::OtherVersion { role: role.to_owned(), found, expected });
    }
    let Some(Json::Array(signatures)) = file.get("signatures") else { return Ok(Vec::new()) };
    let of = |item: &&Json<'_>| {
        let id = item.get("keyid").and_then(Json::as_str);
        keys.iter().any(|(key, _)| Some(key.as_str()) == id)
    };
    let found = signatures.iter().find(of).and_then(|item| item.get("sig")).and_then(Json::as_str);
    Ok(found.and_then(|text| hex::decode(text).ok()).unwrap_or_default())
}
