//! How far a recovery has come, as the repository itself tells: there is no other record of it.

use super::super::ceremony::{Edits, RoleEdit, Subject};
use crate::repository::init::bin_names;
use crate::repository::state::{self, BINS, State};
use crate::repository::{Repository, RepositoryError};
use crate::tuf::key::Key;
use crate::tuf::metadata::TopLevel;
use crate::tuf::path::RoleName;
use crate::tuf::signed::Authority;

impl Repository {
    /// Whether all that `edits` would change is so already: keys and thresholds; a date never is.
    pub async fn is_so(&self, edits: &Edits) -> Result<bool, RepositoryError> {
        let state = self.state().await?;
        for (subject, edit) in &edits.roles {
            let mut so = true;
            each(&state, *subject, |authority| so &= holds(authority, edit))?;
            if !so {
                return Ok(false);
            }
        }
        Ok(edits.bins.is_none())
    }

    /// The roles that list a key, by the start of its id (eight characters or more) or its public half, with the number
    /// of keys that are left without it and the threshold.
    pub async fn roles_of(
        &self,
        is_key: &(dyn Fn(&str, &Key) -> bool + Sync),
    ) -> Result<Vec<Listed>, RepositoryError> {
        let state = self.state().await?;
        let mut found = Vec::new();
        for subject in Subject::ALL {
            let (mut has, mut left, mut threshold) = (false, 0, 0);
            each(&state, subject, |authority| {
                let other = authority.keys().filter(|(id, key)| !is_key(id.as_str(), key)).count();
                has |= other < authority.keys().count();
                (left, threshold) = (other, authority.threshold());
            })?;
            if has {
                found.push(Listed { subject, left, threshold });
            }
        }
        Ok(found)
    }

    /// How many keys a role has, and how many must sign.
    pub async fn team(&self, subject: Subject) -> Result<(usize, u64), RepositoryError> {
        let (state, mut team) = (self.state().await?, (0, 0));
        each(&state, subject, |authority| team = (authority.keys().count(), authority.threshold()))?;
        Ok(team)
    }

    /// Whether two roles share a key.
    pub async fn shares_keys(&self, one: Subject, other: Subject) -> Result<bool, RepositoryError> {
        let (state, mut keys, mut shares) = (self.state().await?, Vec::new(), false);
        each(&state, one, |authority| {
            keys.extend(authority.keys().filter_map(|(_, key)| key.public().cloned()));
        })?;
        each(&state, other, |authority| {
            shares |= authority.keys().any(|(_, key)| key.public().is_some_and(|key| keys.contains(key)));
        })?;
        Ok(shares)
    }
}

/// A role that lists a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// The role.
    pub subject: Subject,
    /// Its other keys.
    pub left: usize,
    /// How many must sign.
    pub threshold: u64,
}

/// What is said of a role; of each bin, if it is the bins.
fn each(
    state: &State,
    subject: Subject,
    mut look: impl FnMut(&Authority<'_>),
) -> Result<(), RepositoryError> {
    let top = match subject {
        Subject::Root => TopLevel::Root,
        Subject::Timestamp => TopLevel::Timestamp,
        Subject::Snapshot => TopLevel::Snapshot,
        Subject::Targets => TopLevel::Targets,
        Subject::BinN => {
            let delegator = RoleName::delegated(BINS)?;
            for bin in bin_names(&state.bins)? {
                look(&state.bin_authority(&delegator, &bin)?);
            }
            return Ok(());
        }
        Subject::Bins | Subject::Claimed | Subject::RecentlyClaimed => {
            let (top, role) = (RoleName::targets(), RoleName::delegated(subject.name())?);
            look(&state::authority(&top, &state.targets, &role)?);
            return Ok(());
        }
    };
    look(&state.root.authority(top));
    Ok(())
}

fn holds(authority: &Authority<'_>, edit: &RoleEdit) -> bool {
    let has = |key: &Key| authority.keys().any(|(_, known)| known.public() == key.public());
    match edit {
        RoleEdit::AddKey(key) => has(key),
        RoleEdit::RemoveThis(key) => !has(key),
        RoleEdit::RemoveKey(start) => {
            !authority.keys().any(|(id, _)| id.as_str().starts_with(start.as_str()))
        }
        RoleEdit::Keys(keys) => authority.keys().count() == keys.len() && keys.iter().all(has),
        RoleEdit::Threshold(number) => authority.threshold() == *number,
        RoleEdit::Expires(_) | RoleEdit::Renew => false,
    }
}
