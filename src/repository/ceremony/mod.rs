//! Changes of roles that people sign, one after the other, wherever they are.
//!
//! | file | room |
//! |---|---|
//! | `event` | a proposed change, what it is based on, who has signed |
//! | `file` | its file: canonical JSON, bounded, verified when read |
//! | `build` | from what is to change to the roles that must be signed (pure) |
//! | `rules` | what no ceremony may do |
//! | `diff` | what it means, in words |
//! | `sign` | signatures made here, made elsewhere, brought together |
//! | `transcript` | who signed what, for the minutes |
//! | `finish` | thresholds, then the commit |
//! | `follow_up` | roles signed online that change with it |
//! | `change` | everything at once, if the keys at hand are enough |
//! | `overlay` | the staged repository, on which a client is asked first |
//!
//! ```text
//! edits ─build─▶ event ──▶ staging/ceremonies/NAME.json ─▶ join, sign, payload + add-signature, export + import
//!                                     └─▶ finish: base still current? thresholds? ─▶ overlay ─ gate ─▶ commit
//! ```
//!
//! An event's file is not trusted: it is verified whenever it is read, and whoever finishes verifies all of it against
//! the repository. Several signers lose nothing: the file is swapped, and two copies merge into the union of their
//! signatures. Only content of one proposal merges; anything else is another ceremony.

mod build;
mod change;
mod diff;
mod error;
mod event;
mod file;
mod finish;
mod follow_up;
mod overlay;
mod rules;
mod sign;
mod transcript;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

pub use build::{Edits, RoleEdit, Subject};
pub use change::{Changed, Resized};
pub use diff::{Count, Detail, NewKey, Review, RoleReview};
pub use error::CeremonyError;
pub(super) use event::ProposedRole;
pub use event::{Event, EventName};
pub use file::MAX_EVENT;
pub use finish::{Finished, Gate};

use self::event::{Base, Basis, Proposal};
use self::file::MAX_ROOTS;
use super::state::{self, BINS, CLAIMED, State};
use super::{MAX_ATTEMPTS, MAX_METADATA, Repository, RepositoryError, layout};
use crate::store::StoreError;
use crate::tuf::metadata::{Root, Targets};
use crate::tuf::path::RoleName;
use crate::tuf::signed::{Signed, Verified};

impl Repository {
    /// A ceremony for `edits`, with nobody's signature yet. It is not kept: see [`Self::keep`].
    pub async fn draft(
        &self,
        name: EventName,
        edits: &Edits,
        now: DateTime<Utc>,
    ) -> Result<Event, RepositoryError> {
        let state = self.state().await?;
        let mut basis = self.basis(&state).await?;
        if edits.roles.iter().any(|(subject, _)| matches!(subject, Subject::Targets | Subject::Claimed)) {
            self.add_buckets(&state, &mut basis).await?;
        }
        let roles = build::build(&basis, edits, &self.settings.expiry, now)?;
        self.propose(&state, name, roles, now).await
    }

    /// A ceremony for these roles, which were made from `state`. They have their dates; versions are set here. Not kept.
    pub(super) async fn propose(
        &self,
        state: &State,
        name: EventName,
        mut roles: Vec<ProposedRole>,
        now: DateTime<Utc>,
    ) -> Result<Event, RepositoryError> {
        let mut basis = self.basis(state).await?;
        for proposed in &mut roles {
            if let ProposedRole::Delegated { delegator, role, .. } = &*proposed {
                self.add(state, &mut basis, &RoleName::targets(), delegator).await?;
                self.add(state, &mut basis, delegator, role).await?;
            }
            let before = match &*proposed {
                ProposedRole::Root(_) => state.root.common.version,
                role => basis.targets(role.name()).map_or(0, |metadata| metadata.common.version),
            };
            proposed.common_mut().version = before.saturating_add(1);
        }
        self.event(name, basis, roles, now).await
    }

    /// The event, under versions that no file has.
    async fn event(
        &self,
        name: EventName,
        basis: Basis,
        roles: Vec<ProposedRole>,
        now: DateTime<Utc>,
    ) -> Result<Event, RepositoryError> {
        if roles.is_empty() {
            return Err(RepositoryError::Plan("nothing would change".to_owned()));
        }
        let mut proposals = Vec::with_capacity(roles.len());
        for mut role in roles {
            while !matches!(role, ProposedRole::Root(_)) {
                let at = layout::versioned(role.name(), role.common().version)?;
                if self.store.open(&at).await?.is_none() {
                    break;
                }
                let common = role.common_mut();
                common.version = common.version.saturating_add(1);
            }
            proposals.push(Proposal::new(role));
        }
        let started = DateTime::from_timestamp(now.timestamp(), 0).unwrap_or(now);
        let event = Event { name, started, basis, proposals, proofs: Vec::new() };
        event.allowed(Some(&self.settings.expiry))?;
        Ok(event)
    }

    /// The newest roots, and the roles that every ceremony may touch.
    async fn basis(&self, state: &State) -> Result<Basis, RepositoryError> {
        let mut roles = BTreeMap::new();
        roles.insert("targets".to_owned(), Base { delegator: None, metadata: state.targets.clone() });
        let mut basis = Basis { roots: self.roots(state).await?, roles };
        let top = Some(RoleName::targets());
        basis.roles.insert(BINS.to_owned(), Base { delegator: top, metadata: state.bins.clone() });
        self.add(state, &mut basis, &RoleName::targets(), &RoleName::delegated(CLAIMED)?).await?;
        Ok(basis)
    }

    /// The chain of roots up to the newest, as far back as there are and clients may go.
    async fn roots(&self, state: &State) -> Result<Vec<Verified<Root>>, RepositoryError> {
        let mut roots = vec![state.root.clone()];
        while let Some(oldest) = roots.last()
            && roots.len() < MAX_ROOTS
        {
            let before = oldest.common.version.saturating_sub(1);
            let file = self.store.get(&layout::versioned("root", before)?, MAX_METADATA).await?;
            let root = file.and_then(|file| Signed::<Root>::new(file.bytes).verify_initial().ok());
            let follows = |root: &Verified<Root>| {
                root.common.version == before
                    && Signed::<Root>::new(oldest.bytes()).verify_successor(root).is_ok()
            };
            let Some(root) = root.filter(follows) else { break };
            roots.push(root);
        }
        roots.reverse();
        Ok(roots)
    }

    /// Adds a role to the basis, if it is there already.
    async fn add(
        &self,
        state: &State,
        basis: &mut Basis,
        delegator: &RoleName,
        role: &RoleName,
    ) -> Result<(), RepositoryError> {
        if *role == RoleName::targets() || basis.roles.contains_key(role.as_str()) {
            return Ok(());
        }
        let Some(entry) = state.snapshot.role(role.as_str()) else { return Ok(()) };
        let Some(above) = basis.targets(delegator.as_str()) else { return Ok(()) };
        let Ok(authority) = state::authority(delegator, above, role) else { return Ok(()) };
        let metadata = state::read::<Targets>(self.store(), &[authority], entry).await?;
        basis.roles.insert(role.to_string(), Base { delegator: Some(delegator.clone()), metadata });
        Ok(())
    }

    /// Adds the buckets of `claimed`.
    async fn add_buckets(&self, state: &State, basis: &mut Basis) -> Result<(), RepositoryError> {
        let claimed = RoleName::delegated(CLAIMED)?;
        let delegations = basis.targets(CLAIMED).and_then(|metadata| metadata.delegations.clone());
        let names: Result<Vec<_>, _> =
            delegations.iter().flat_map(crate::tuf::metadata::Delegations::names).collect();
        for name in names? {
            self.add(state, basis, &claimed, &name).await?;
        }
        Ok(())
    }

    /// Writes a ceremony to `staging/`; if it is there already, the signatures of both are kept. Returns that union.
    pub async fn keep(&self, event: &Event) -> Result<Event, RepositoryError> {
        let at = layout::ceremony(event.name().as_str())?;
        for _ in 0..MAX_ATTEMPTS {
            let present = self.store.get(&at, MAX_EVENT).await?;
            let mut merged = event.clone();
            if let Some(present) = &present {
                merged.merge(&Event::read(&present.bytes)?)?;
            }
            let bytes = merged.to_bytes()?;
            if present.as_ref().is_some_and(|present| present.bytes == bytes) {
                return Ok(merged);
            }
            match self.store.swap(&at, &bytes, present.as_ref().map(|present| &present.tag)).await {
                Err(StoreError::Conflict { .. }) => {}
                done => return Ok(done.map(|_| merged)?),
            }
        }
        Err(RepositoryError::Busy(MAX_ATTEMPTS))
    }

    /// A ceremony under way.
    pub async fn ceremony(&self, name: &EventName) -> Result<Event, RepositoryError> {
        let file = self.store.get(&layout::ceremony(name.as_str())?, MAX_EVENT).await?;
        let file = file.ok_or_else(|| CeremonyError::Unknown(name.to_string()))?;
        let event = Event::read(&file.bytes)?;
        if event.name() == name { Ok(event) } else { Err(CeremonyError::Taken(name.to_string()).into()) }
    }

    /// The names of all ceremonies under way.
    pub async fn ceremonies(&self) -> Result<Vec<EventName>, RepositoryError> {
        let entries = self.store.list(layout::CEREMONIES).await?;
        let name = |entry: &crate::store::Entry| {
            let file = entry.path.segments().last()?;
            EventName::new(file.strip_suffix(".json")?).ok()
        };
        Ok(entries.iter().filter_map(name).collect())
    }

    /// Gives a ceremony up: its file is removed, and nothing else was ever changed.
    pub async fn abandon(&self, name: &EventName) -> Result<(), RepositoryError> {
        let at = layout::ceremony(name.as_str())?;
        if self.store.get(&at, MAX_EVENT).await?.is_none() {
            return Err(CeremonyError::Unknown(name.to_string()).into());
        }
        Ok(self.store.delete(&at).await?)
    }
}
