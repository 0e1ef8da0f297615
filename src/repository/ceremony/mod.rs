//! Changes of roles that people sign, one after the other, wherever they are.
//!
//! | file | room |
//! |---|---|
//! | `event` | a proposed change, what it is based on, who has signed |
//! | `file` | its file: bounded, verified when read |
//! | `parts` | its parts as JSON |
//! | `buckets` | the buckets of `claimed` in it: present ones in, new ones and what changes for projects out |
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

mod buckets;
mod build;
mod change;
mod diff;
mod error;
mod event;
mod file;
mod finish;
mod follow_up;
mod overlay;
mod parts;
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

use self::buckets::BucketBase;
pub use self::event::in_short;
use self::event::{Base, Basis};
use self::file::{CoreText, MAX_ROOTS, desk};
pub(super) use self::file::{MAX_CORE, MAX_PUT, MAX_ROLES};
use super::claims::bucket::BucketEdit;
use super::state::{self, BINS, CLAIMED, State};
use super::{MAX_ATTEMPTS, MAX_METADATA, Repository, RepositoryError, layout};
use crate::store::StoreError;
use crate::tuf::metadata::{Common, Delegations, Root, Targets};
use crate::tuf::path::RoleName;
use crate::tuf::signed::{Signed, Verified, verify_to_renew};

impl Repository {
    /// A ceremony for `edits`, with nobody's signature yet. It is not kept: see [`Self::keep`].
    pub async fn draft(
        &self,
        name: EventName,
        edits: &Edits,
        now: DateTime<Utc>,
    ) -> Result<Event, RepositoryError> {
        let state = self.state().await?;
        let basis = self.basis(&state).await?;
        let (mut roles, expires) = build::build(&basis, edits, &self.settings.expiry, now)?;
        for bucket in self.buckets_to_sign(&state, &basis, &roles, edits).await? {
            let (delegator, common) = (RoleName::delegated(CLAIMED)?, Common::new(1, expires));
            roles.push(ProposedRole::Bucket { delegator, common, edit: BucketEdit::renewal(bucket) });
        }
        self.propose(&state, name, roles, now).await
    }

    /// Buckets of `claimed` that the keys it names from now on have not signed; all, if `claimed` is to be renewed.
    async fn buckets_to_sign(
        &self,
        state: &State,
        basis: &Basis,
        roles: &[ProposedRole],
        edits: &Edits,
    ) -> Result<Vec<RoleName>, RepositoryError> {
        let after = roles.iter().find(|role| role.name() == CLAIMED).and_then(ProposedRole::targets);
        let before = basis.targets(CLAIMED).map(|claimed| &**claimed);
        let claimed = RoleName::delegated(CLAIMED)?;
        let dated = |(subject, edit): &(Subject, RoleEdit)| {
            *subject == Subject::Claimed && matches!(edit, RoleEdit::Renew | RoleEdit::Expires(_))
        };
        let all = edits.roles.iter().any(dated);
        let (Some(after), Some(before)) = (after.and_then(delegations), before.and_then(delegations)) else {
            return Ok(Vec::new());
        };
        let names = after.names().collect::<Result<Vec<_>, _>>()?;
        let mut buckets = Vec::new();
        for bucket in names {
            let Some(new) = after.authority(&claimed, &bucket) else { continue };
            let same = before.authority(&claimed, &bucket).is_some_and(|old| old.same_as(&new));
            let file = if all || same { None } else { Some(self.bucket_file(state, &bucket).await?) };
            let good = file.is_none_or(|file| verify_to_renew::<Targets>(&file, &new).is_ok());
            buckets.extend((all || !good).then_some(bucket));
        }
        Ok(buckets)
    }

    /// The file of a role that snapshot names, as it came. It is not verified.
    async fn bucket_file(&self, state: &State, role: &RoleName) -> Result<Vec<u8>, RepositoryError> {
        let missing = || RepositoryError::Missing(role.to_string());
        let entry = state.snapshot.role(role.as_str()).ok_or_else(missing)?;
        let file = self.store.get(&layout::versioned(role.as_str(), entry.version)?, MAX_METADATA).await?;
        Ok(file.ok_or_else(missing)?.bytes)
    }

    /// A ceremony for these roles, which were made from `state`. They have their dates; versions are set here. Not kept.
    pub(super) async fn propose(
        &self,
        state: &State,
        name: EventName,
        mut roles: Vec<ProposedRole>,
        now: DateTime<Utc>,
    ) -> Result<Event, RepositoryError> {
        if roles.is_empty() {
            return Err(RepositoryError::Plan("nothing would change".to_owned()));
        }
        let mut basis = self.basis(state).await?;
        for proposed in &mut roles {
            if let ProposedRole::Delegated { delegator, role, .. } = &*proposed {
                self.add(state, &mut basis, &RoleName::targets(), delegator).await?;
                self.add(state, &mut basis, delegator, role).await?;
            }
            let before = match &*proposed {
                ProposedRole::Root(_) => state.root.common.version,
                role => state.snapshot.role(role.name()).map_or(0, |entry| entry.version),
            };
            proposed.common_mut().version = before.saturating_add(1);
            self.skip_taken(proposed).await?;
        }
        let started = DateTime::from_timestamp(now.timestamp(), 0).unwrap_or(now);
        let event = self.event(state, name, started, basis, roles).await?;
        event.allowed(Some(&self.settings.expiry))?;
        Ok(event)
    }

    /// Versions that some file has already are left out.
    async fn skip_taken(&self, role: &mut ProposedRole) -> Result<(), RepositoryError> {
        while !matches!(role, ProposedRole::Root(_)) {
            let at = layout::versioned(role.name(), role.common().version)?;
            if self.store.open(&at).await?.is_none() {
                break;
            }
            let common = role.common_mut();
            common.version = common.version.saturating_add(1);
        }
        Ok(())
    }

    /// The event. Of the buckets that it goes on from, one after the other is read, and forgotten.
    async fn event(
        &self,
        state: &State,
        name: EventName,
        started: DateTime<Utc>,
        mut basis: Basis,
        roles: Vec<ProposedRole>,
    ) -> Result<Event, RepositoryError> {
        let (claimed, mut text) = (RoleName::delegated(CLAIMED)?, CoreText::new(&basis));
        let mut desk = desk(&basis, roles.iter())?;
        let mut seen = BTreeMap::new();
        for bucket in desk.needs() {
            let file = self.bucket_file(state, &bucket).await?;
            let roster = basis.roster(Some(&claimed), bucket.as_str(), &file)?;
            desk.see(bucket.as_str(), &roster)?;
            text.push(Some(&claimed), bucket.as_str(), &file)?;
            seen.insert(bucket.to_string(), BucketBase::new(&roster, &file));
        }
        let (payloads, moves) = desk.done()?;
        basis.buckets = seen;
        let whole = roles.into_iter().map(|role| {
            let payload = role.payload();
            (role, payload)
        });
        let proposals = file::proposals(whole.collect(), payloads)?;
        let core = text.done(&name, started, &basis, &proposals)?;
        let event = Event { name, started, basis, proposals, proofs: Vec::new(), moves, core };
        Ok(event.well_formed()?)
    }

    /// The newest roots, and the roles that every ceremony may touch.
    async fn basis(&self, state: &State) -> Result<Basis, RepositoryError> {
        let mut roles = BTreeMap::new();
        roles.insert("targets".to_owned(), Base { delegator: None, metadata: state.targets.clone() });
        let mut basis = Basis { roots: self.roots(state).await?, roles, buckets: BTreeMap::new() };
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

    /// Writes a ceremony to `staging/`; if it is there already, the signatures of both are kept. Returns that union.
    pub async fn keep(&self, event: &Event) -> Result<Event, RepositoryError> {
        let at = layout::ceremony(event.name().as_str())?;
        for _ in 0..MAX_ATTEMPTS {
            let present = self.store.get(&at, MAX_EVENT).await?;
            let mut merged = event.clone();
            if let Some(present) = &present {
                merged.merge_file(&present.bytes)?;
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
        self.ceremony_within(name, MAX_EVENT).await
    }

    /// The same, if its file has at most `most` bytes; else the store's error says so.
    pub async fn ceremony_within(&self, name: &EventName, most: u64) -> Result<Event, RepositoryError> {
        let file = self.store.get(&layout::ceremony(name.as_str())?, most).await?;
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

fn delegations(content: &Targets) -> Option<&Delegations> {
    content.delegations.as_ref()
}
