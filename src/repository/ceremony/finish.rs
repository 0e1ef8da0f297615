//! The end of a ceremony: everything is checked against the repository as it is now, then committed.
//!
//! - Each role's base must be current still, or the role be what is proposed already: then an earlier try got that far.
//! - Old and new root keys sign the new root; each other role is signed as its delegator demands after the change.
//! - New keys without proof of possession end it, unless they are at hand and so about to sign.
//!
//! While the old online keys are at hand nothing breaks for anyone: what changes is first committed so that it is good
//! under both roots, and then the new root appears. Without them (lost, stolen) the new root comes first and the rest right
//! after; clients in between fail closed and try again. Either way the timestamp is swapped once more after the new
//! root: a publisher that read the old root loses its own swap from then on.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::error::CeremonyError;
use super::event::{Event, Proposal, ProposedRole};
use super::overlay::Overlay;
use crate::crypto::sha256;
use crate::repository::bulk::{Again, Overtaken, Under, require_bins, same_bins};
use crate::repository::commit::{Transaction, announce};
use crate::repository::keyring::Keyring;
use crate::repository::log::{Leaves, LoggingError, POLICY, text_of};
use crate::repository::plain::Repair;
use crate::repository::recover::Restoration;
use crate::repository::state::{self, BINS, CLAIMED, RECENTLY_CLAIMED, State};
use crate::repository::{
    MAX_ATTEMPTS, MAX_METADATA, PATIENCE, Progress, Repository, RepositoryError, days_after, layout,
};
use crate::store::{Content, Store, StoreError, StorePath};
use crate::tuf::json::parse;
use crate::tuf::metadata::{MetaFile, Root, Targets, TopLevel, Version};
use crate::tuf::path::{RoleName, TargetPath};
use crate::tuf::signed::{Authority, Signed, Verified, verify_to_edit};

/// Files written at once: each has up to 300 kB, and is flushed.
const AT_ONCE: usize = 64;

/// Somebody who is asked before a change is published.
#[async_trait]
pub trait Gate: Send + Sync {
    /// Looks at the repository as it would be. An error, and nothing is published.
    async fn admit(&self, staged: Arc<dyn Store>) -> Result<(), CeremonyError>;
}

/// What a ceremony came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finished {
    /// Roles whose new files are there.
    pub roles: Vec<String>,
    /// Version of root.
    pub root: Version,
    /// Version of snapshot.
    pub snapshot: Version,
    /// Bins that were signed anew.
    pub bins: u64,
    /// Targets that were sorted into other bins.
    pub sorted: Option<u64>,
}

/// Whether the timestamp was swapped once more after a new root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settled {
    Yes,
    No,
}

/// One attempt.
struct Work<'a> {
    event: &'a Event,
    keys: &'a Keyring,
    now: DateTime<Utc>,
    progress: &'a dyn Progress,
    /// Bins signed for an attempt that another publisher overtook.
    overtaken: Option<Overtaken>,
    /// What the bins list otherwise from now on.
    restoration: Option<&'a Restoration>,
    bins: u64,
    sorted: Option<u64>,
}

impl Repository {
    /// Publishes what a ceremony proposes, if it is signed. Done already, it does nothing but remove its file.
    pub async fn finish(
        &self,
        event: &Event,
        keys: &Keyring,
        gate: Option<&dyn Gate>,
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Result<Finished, RepositoryError> {
        self.finish_with(event, None, keys, gate, now, progress).await
    }

    /// The same, while the bins go back to what a good state says.
    pub(in crate::repository) async fn finish_with(
        &self,
        event: &Event,
        restoration: Option<&Restoration>,
        keys: &Keyring,
        gate: Option<&dyn Gate>,
        now: DateTime<Utc>,
        progress: &dyn Progress,
    ) -> Result<Finished, RepositoryError> {
        let (overtaken, mut turn) = (None, None);
        let mut work = Work { event, keys, now, progress, overtaken, restoration, bins: 0, sorted: None };
        for attempt in 0..MAX_ATTEMPTS {
            drop(turn.take());
            if attempt > 0 {
                turn = Some(self.store.turn(PATIENCE).await);
            }
            match self.finish_once(&mut work, gate).await {
                Err(RepositoryError::Store(StoreError::Conflict { .. })) => {}
                Err(error) => return Err(error),
                Ok(Settled::Yes) => return self.finished(&work).await,
                Ok(Settled::No) => {
                    self.settle(event, keys, now).await?;
                    return self.finished(&work).await;
                }
            }
        }
        Err(RepositoryError::Busy(MAX_ATTEMPTS))
    }

    async fn finished(&self, work: &Work<'_>) -> Result<Finished, RepositoryError> {
        let at = layout::ceremony(work.event.name().as_str())?;
        if let Some(file) = self.store.get(&at, super::MAX_EVENT).await?
            && work.event.core.marks_in(&file.bytes).is_some()
        {
            self.store.delete(&at).await?;
        }
        let state = self.state().await?;
        self.finish_pending(&state).await?;
        if let Some(file) = state.targets.targets.get(POLICY) {
            self.plain_target(&state, &TargetPath::new(POLICY)?, file, Repair::Yes).await?;
        }
        Ok(Finished {
            roles: work.event.roles().map(ToOwned::to_owned).collect(),
            root: state.root.common.version,
            snapshot: state.snapshot.common.version,
            bins: work.bins,
            sorted: work.sorted,
        })
    }

    async fn finish_once(
        &self,
        work: &mut Work<'_>,
        gate: Option<&dyn Gate>,
    ) -> Result<Settled, RepositoryError> {
        let state = self.state().await?;
        self.finish_pending(&state).await?;
        let pending = self.pending(&state, work.event, work.now).await?;
        let Some(gate) = gate.filter(|_| !pending.is_empty()) else {
            return self.publish_event(work, &state, &pending).await.map(|()| Settled::No);
        };
        let overlay = Arc::new(Overlay::new(Arc::clone(&self.store)));
        let rehearsal = Self {
            store: Arc::<Overlay>::clone(&overlay),
            settings: self.settings.clone(),
            anchor: self.anchor.as_ref().map(super::super::Anchor::frozen),
            log: Arc::clone(&self.log),
        };
        rehearsal.publish_event(work, &state, &pending).await?;
        rehearsal.settle(work.event, work.keys, work.now).await?;
        gate.admit(Arc::<Overlay>::clone(&overlay)).await?;
        Ok(overlay.release().await.map(|()| Settled::Yes)?)
    }

    /// An error, if a ceremony is not based on what the repository is now, or breaks its rules.
    pub async fn still_current(&self, event: &Event, now: DateTime<Utc>) -> Result<(), RepositoryError> {
        self.pending(&self.state().await?, event, now).await.map(drop)
    }

    /// The proposals that are not published yet. All of them are checked.
    async fn pending<'a>(
        &self,
        state: &State,
        event: &'a Event,
        now: DateTime<Utc>,
    ) -> Result<Vec<&'a Proposal>, RepositoryError> {
        let mut pending = Vec::new();
        let claimed = RoleName::delegated(CLAIMED)?;
        if event.proposals.iter().any(|proposal| proposal.role.bucket().is_some()) {
            self.is_fresh(state, event, &claimed).await?;
        }
        for proposal in &event.proposals {
            if self.is_current(state, event, proposal).await? {
                pending.push(proposal);
            }
        }
        if pending.is_empty() {
            return Ok(pending);
        }
        event.allowed(Some(&self.settings.expiry))?;
        for proposal in &pending {
            let (role, found) = (proposal.role.name(), proposal.role.common());
            if found.expired(now) {
                return Err(CeremonyError::Refused(vec![format!("{role} has expired meanwhile")]).into());
            }
        }
        Ok(pending)
    }

    /// Whether a proposal's base is the role's current file. False if the proposal itself is.
    async fn is_current(
        &self,
        state: &State,
        event: &Event,
        proposal: &Proposal,
    ) -> Result<bool, RepositoryError> {
        let name = proposal.role.name();
        let changed = |found: Version| CeremonyError::Stale {
            name: event.name().to_string(),
            role: name.to_owned(),
            found,
            expected: super::rules::version_before(event, &proposal.role),
        };
        if let ProposedRole::Root(root) = &proposal.role {
            if *state.root == *root {
                return Ok(false);
            }
            let same = event.basis.root()?.bytes() == state.root.bytes();
            return if same { Ok(true) } else { Err(changed(state.root.common.version).into()) };
        }
        if let ProposedRole::Delegated { delegator, .. } = &proposal.role {
            self.is_fresh(state, event, delegator).await?;
        }
        let (before, found) = (super::rules::version_before(event, &proposal.role), version_of(state, name));
        if found == proposal.role.common().version && found != before {
            let present = self.store.get(&layout::versioned(name, found)?, MAX_METADATA).await?;
            if present.is_some_and(|present| says(&present.bytes, proposal.payload.to_sign())) {
                return Ok(false);
            }
        }
        if found == before && self.is_named(state, name, event.basis.digest(name)).await? {
            Ok(true)
        } else {
            Err(changed(found).into())
        }
    }

    /// An error, if a delegator that the ceremony does not change is no longer what it was.
    async fn is_fresh(
        &self,
        state: &State,
        event: &Event,
        delegator: &RoleName,
    ) -> Result<(), RepositoryError> {
        let name = delegator.as_str();
        let top = *delegator == RoleName::targets();
        if top || event.new_targets(name).is_some() {
            return Ok(());
        }
        if self.is_named(state, name, event.basis.digest(name)).await? {
            return Ok(());
        }
        let expected = event.basis.dated(name).map_or(0, |(version, _)| version);
        let found = version_of(state, name);
        Err(CeremonyError::Stale { name: event.name().to_string(), role: name.to_owned(), found, expected }
            .into())
    }

    /// Whether a file of this SHA-256 is the role's current one, or there is none of either.
    async fn is_named(
        &self,
        state: &State,
        role: &str,
        digest: Option<[u8; 32]>,
    ) -> Result<bool, RepositoryError> {
        let (Some(entry), Some(digest)) = (state.snapshot.role(role), digest) else {
            return Ok(state.snapshot.role(role).is_none() && digest.is_none());
        };
        if let Some(announced) = entry.hashes().and_then(|hashes| hashes.sha256) {
            return Ok(announced == digest);
        }
        let present = self.store.get(&layout::versioned(role, entry.version)?, MAX_METADATA).await?;
        Ok(present.is_some_and(|present| sha256(&present.bytes) == digest))
    }

    /// Everything up to the new root.
    async fn publish_event<'a>(
        &self,
        work: &mut Work<'a>,
        state: &State,
        pending: &[&'a Proposal],
    ) -> Result<(), RepositoryError> {
        let (event, keys) = (work.event, work.keys);
        let root = pending.iter().find_map(|proposal| match &proposal.role {
            ProposedRole::Root(root) => Some((*proposal, root)),
            _ => None,
        });
        let others: Vec<_> =
            pending.iter().filter(|p| !matches!(p.role, ProposedRole::Root(_))).copied().collect();
        if pending.is_empty() {
            return Ok(());
        }
        unproven(event, keys)?;
        thresholds(event, state, pending)?;
        let Some((proposal, new)) = root else {
            let transaction = self.transaction(work, state, &others, None).await?;
            return self.commit(keys, state, transaction, work.now).await;
        };
        refuse_unvouched(event, keys, state, new)?;
        let online = [TopLevel::Timestamp, TopLevel::Snapshot];
        let changes = |role: &TopLevel| !new.authority(*role).same_as(&state.root.authority(*role));
        if others.is_empty() && !online.iter().any(changes) {
            return self.publish_root(new, &proposal.file()).await;
        }
        let signs_snapshot = !others.is_empty() || changes(&TopLevel::Snapshot);
        let signed = if signs_snapshot { &online[..] } else { &online[..1] };
        for role in signed {
            keys.require(&new.authority(*role))?;
        }
        // A version that was pushed up to the end can only fall once clients have seen the new root.
        let falls = online.iter().any(changes) && state.ran_away();
        let unnoticed = !falls
            && signed.iter().all(|role| keys.reaches(&state.root.authority(*role)))
            && others.iter().all(|proposal| good_under(proposal, &state.root));
        if unnoticed {
            let transaction = self.transaction(work, state, &others, Some(new)).await?;
            self.commit(keys, state, transaction, work.now).await?;
            return self.publish_root(new, &proposal.file()).await;
        }
        ready(work.keys, state, &others)?;
        still_readable(&state.root, new)?;
        self.publish_root(new, &proposal.file()).await?;
        let state = self.state().await?;
        let transaction = self.transaction(work, &state, &others, None).await?;
        self.commit(keys, &state, transaction, work.now).await
    }

    /// Snapshot and timestamp with everything that they must name from now on. Files are written; nothing refers to them.
    async fn transaction<'a>(
        &self,
        work: &mut Work<'a>,
        state: &State,
        others: &[&'a Proposal],
        successor: Option<&'a Root>,
    ) -> Result<Transaction<'a>, RepositoryError> {
        ready(work.keys, state, others)?;
        let mut written = self.write_roles(work.event, others).await?;
        if let Some(new) = changed_bins(others, state) {
            written.extend(self.bins_under(work, state, new).await?);
        } else if let Some(restoration) = work.restoration {
            restoration.fits(state)?;
            let under = Under { corrections: &restoration.corrections, ..Under::default() };
            written.extend(self.corrected(work, state, under).await?);
        }
        let proposed: Vec<&'a ProposedRole> = others.iter().map(|proposal| &proposal.role).collect();
        let follow_up =
            self.claims_follow_up(state, &proposed, &work.event.moves, work.keys, work.now).await?;
        written.extend(follow_up.written);
        let same =
            |new: &Root| new.authority(TopLevel::Snapshot).same_as(&state.root.authority(TopLevel::Snapshot));
        let snapshot = !state.vouched(TopLevel::Snapshot) || successor.is_some_and(|new| !same(new));
        let mut pages = follow_up.pages;
        let restored = work.restoration.iter().flat_map(|restoration| &restoration.projects);
        pages.extend(restored.map(ToString::to_string));
        let files = policy_file(others)?;
        if let Some(policy) = work.event.log_policy()?.filter(|_| !files.is_empty()) {
            let origin = policy.log().name().to_string();
            let same = state.log_policy()?.is_some_and(|present| present == policy);
            if !same && state.timestamp.log.as_ref().is_none_or(|log| log.origin != origin) {
                return Err(LoggingError::NotBegun { origin }.into());
            }
        }
        let leaves = if work.restoration.is_some() { Leaves::Compared } else { Leaves::Nothing };
        Ok(Transaction { written, snapshot, successor, pages, files, leaves, ..Transaction::empty() })
    }

    /// The bins as a changed file of `bins` wants them.
    async fn bins_under(
        &self,
        work: &mut Work<'_>,
        state: &State,
        new: &Targets,
    ) -> Result<Vec<(String, MetaFile)>, RepositoryError> {
        if let Some(restoration) = work.restoration {
            restoration.fits(state)?;
        }
        if !same_bins(new, &state.bins)? {
            if work.restoration.is_some() {
                let reason = "bins are not divided and restored in one step: finish this ceremony by itself";
                return Err(RepositoryError::Plan(reason.to_owned()));
            }
            let (written, targets) = self.divide_bins(work.keys, state, new, work.now, work.progress).await?;
            work.bins = u64::try_from(written.len()).unwrap_or(u64::MAX);
            work.sorted = Some(targets);
            return Ok(written);
        }
        let again =
            Again { all: true, due: work.now, expires: days_after(work.now, self.settings.expiry.bin_n) };
        let corrections = work.restoration.map_or(&[][..], |restoration| &restoration.corrections);
        let under = Under { bins: Some(new), overtaken: work.overtaken.take(), corrections };
        let signed = self.sign_bins_again(work.keys, state, again, under, work.progress).await?;
        work.bins = u64::try_from(signed.written.len()).unwrap_or(u64::MAX);
        work.overtaken = Some(Overtaken { state: state.clone(), signed: signed.clone() });
        Ok(signed.written)
    }

    /// The bins that a restoration corrects, under the keys they have.
    async fn corrected(
        &self,
        work: &Work<'_>,
        state: &State,
        under: Under<'_>,
    ) -> Result<Vec<(String, MetaFile)>, RepositoryError> {
        let expires = days_after(work.now, self.settings.expiry.bin_n);
        let again = Again { all: false, due: DateTime::<Utc>::MIN_UTC, expires };
        Ok(self.sign_bins_again(work.keys, state, again, under, work.progress).await?.written)
    }

    /// Writes the files of roles, many at once; an earlier try may have written some.
    async fn write_roles(
        &self,
        event: &Event,
        proposals: &[&Proposal],
    ) -> Result<Vec<(String, MetaFile)>, RepositoryError> {
        let mut written = Vec::with_capacity(proposals.len());
        for some in proposals.chunks(AT_ONCE) {
            let mut files = Vec::with_capacity(some.len());
            for proposal in some {
                let at = layout::versioned(proposal.role.name(), proposal.role.common().version)?;
                files.push((at, proposal.file()));
            }
            let objects: Vec<_> = files.iter().map(|(at, file)| (at.clone(), Content::Bytes(file))).collect();
            let mut there: Vec<&Proposal> = Vec::new();
            for (at, outcome) in self.store.create_all(&objects).await.into_iter().enumerate() {
                let (Some(proposal), Some((_, file))) = (some.get(at), files.get(at)) else { continue };
                let (name, version) = (proposal.role.name(), proposal.role.common().version);
                match outcome {
                    Ok(()) => written.push((name.to_owned(), announce(version, file))),
                    Err(StoreError::Exists { .. }) => there.push(proposal),
                    Err(error) => return Err(error.into()),
                }
            }
            for proposal in there {
                written.push(self.written_before(event, proposal).await?);
            }
        }
        Ok(written)
    }

    /// The file of a role that an earlier try wrote, if it is one.
    async fn written_before(
        &self,
        event: &Event,
        proposal: &Proposal,
    ) -> Result<(String, MetaFile), RepositoryError> {
        let (name, version) = (proposal.role.name(), proposal.role.common().version);
        let at = layout::versioned(name, version)?;
        let authority = event.delegators(&proposal.role)?.new;
        let there = self.store.get(&at, MAX_METADATA).await?.map(|object| object.bytes).unwrap_or_default();
        let same = says(&there, proposal.payload.to_sign());
        if same && Signed::<Targets>::new(there.as_slice()).verify(&authority).is_ok() {
            return Ok((name.to_owned(), announce(version, &there)));
        }
        let expected = super::rules::version_before(event, &proposal.role);
        let (name, role) = (event.name().to_string(), name.to_owned());
        Err(CeremonyError::Stale { name, role, found: version, expected }.into())
    }

    /// After a root with other online keys: signs what it does not vouch for yet, and swaps the timestamp in any case.
    async fn settle(&self, event: &Event, keys: &Keyring, now: DateTime<Utc>) -> Result<(), RepositoryError> {
        let Some(new) = event.new_root() else { return Ok(()) };
        let before = event.basis.root()?;
        let online = [TopLevel::Timestamp, TopLevel::Snapshot];
        for _ in 0..MAX_ATTEMPTS {
            let state = self.state().await?;
            let same = |role: &TopLevel| new.authority(*role).same_as(&before.authority(*role));
            if state.unvouched().next().is_none() && online.iter().all(same) {
                return Ok(());
            }
            let snapshot = !state.vouched(TopLevel::Snapshot);
            match self
                .commit(
                    keys,
                    &state,
                    Transaction { snapshot, leaves: Leaves::Nothing, ..Transaction::empty() },
                    now,
                )
                .await
            {
                Err(RepositoryError::Store(StoreError::Conflict { .. })) => {}
                done => return done,
            }
        }
        Err(RepositoryError::Busy(MAX_ATTEMPTS))
    }
}

/// The file of the log's policy, if it is proposed.
fn policy_file<'a>(others: &[&'a Proposal]) -> Result<Vec<(StorePath, Content<'a>)>, RepositoryError> {
    let targets = others.iter().find(|proposal| proposal.role.name() == TopLevel::Targets.name());
    let file = targets.and_then(|proposal| proposal.role.targets()?.targets.get(POLICY));
    let Some(file) = file else { return Ok(Vec::new()) };
    let text = text_of(file)?.as_bytes();
    let at = layout::hashed(&TargetPath::new(POLICY)?, &sha256(text))?;
    Ok(vec![(at, Content::Bytes(text))])
}

/// An error, if keys are missing for what is signed online, before anything is published.
fn ready(keys: &Keyring, state: &State, others: &[&Proposal]) -> Result<(), RepositoryError> {
    if let Some(new) = changed_bins(others, state) {
        require_bins(keys, new)?;
    }
    require_recent(keys, state, others)
}

/// An error, if `recently-claimed` has other keys from now on and these are not at hand.
fn require_recent(keys: &Keyring, state: &State, others: &[&Proposal]) -> Result<(), RepositoryError> {
    let new = others.iter().find_map(|proposal| match &proposal.role {
        ProposedRole::Targets(content) => content.delegations.as_ref(),
        _ => None,
    });
    let (top, role) = (RoleName::targets(), RoleName::delegated(RECENTLY_CLAIMED)?);
    let Some(new) = new.and_then(|new| new.authority(&top, &role)) else { return Ok(()) };
    let old = state::authority(&top, &state.targets, &role)?;
    if new.same_as(&old) { Ok(()) } else { keys.require(&new) }
}

/// A role's version in snapshot; 0 if it is not there.
fn version_of(state: &State, role: &str) -> Version {
    state.snapshot.role(role).map_or(0, |entry| entry.version)
}

/// Whether a file's signatures are over exactly these bytes.
fn says(file: &[u8], payload: &[u8]) -> bool {
    parse(file).is_ok_and(|file| file.get("signed").is_some_and(|signed| signed.canonical() == payload))
}

/// Without the old online keys, what is signed now must be readable under the root before until it is signed anew. The
/// state is read so only if the new root's keys signed that root too.
fn still_readable(old: &Verified<Root>, new: &Root) -> Result<(), CeremonyError> {
    let authority = new.authority(TopLevel::Root);
    if Signed::<Root>::new(old.bytes()).verify(&authority).is_ok() {
        return Ok(());
    }
    let text = "the old online keys are not at hand, and root would get other keys in the same step: \
                replace the online keys in a ceremony of its own, then those of root";
    Err(CeremonyError::Refused(vec![text.to_owned()]))
}

/// The new file of `bins`, if its bins are not signed as it wants, or not the same.
fn changed_bins<'a>(others: &[&'a Proposal], state: &State) -> Option<&'a Targets> {
    let bins = others.iter().find(|proposal| proposal.role.name() == BINS);
    let new = bins.and_then(|proposal| proposal.role.targets());
    new.filter(|new| new.delegations != state.bins.delegations)
}

/// Whether a proposal of top-level targets is signed as `root` demands; any other role is not root's business.
fn good_under(proposal: &Proposal, root: &Root) -> bool {
    match proposal.role {
        ProposedRole::Targets(_) => {
            let authority = root.authority(TopLevel::Targets);
            Signed::<Targets>::new(proposal.file()).verify(&authority).is_ok()
        }
        _ => true,
    }
}

/// New keys that nobody has shown to hold, and that are not at hand.
fn unproven(event: &Event, keys: &Keyring) -> Result<(), CeremonyError> {
    let new = event.new_keys().into_iter().filter(|(_, _, proven)| !proven);
    let missing =
        new.filter(|(_, key, _)| keys.signers().all(|signer| signer.key().public() != key.public()));
    let missing: Vec<_> = missing.map(|(id, _, _)| event.called(&id)).collect();
    if missing.is_empty() { Ok(()) } else { Err(CeremonyError::Unproven(missing)) }
}

/// Everything is signed as it must be, by the root of the repository and by what the ceremony makes of it.
fn thresholds(event: &Event, state: &State, pending: &[&Proposal]) -> Result<(), RepositoryError> {
    for proposal in pending {
        let delegators = event.delegators(&proposal.role)?;
        if let ProposedRole::Root(_) = proposal.role {
            reached(proposal, &state.root.authority(TopLevel::Root), "root now")?;
            reached(proposal, &delegators.new, "root after it")?;
            Signed::<Root>::new(proposal.file()).verify_successor(&state.root)?;
        } else {
            let authority = current_authority(event, state, proposal).unwrap_or(delegators.new);
            reached(proposal, &authority, authority.delegator())?;
            match proposal.role {
                // Its content was read from the same bytes; what is asked is whether they are signed.
                ProposedRole::Bucket { .. } => drop(verify_to_edit(&proposal.file(), &authority)?),
                _ => drop(Signed::<Targets>::new(proposal.file()).verify(&authority)?),
            }
        }
    }
    Ok(())
}

/// What the repository's own root or targets say of a role, where the ceremony does not change them.
fn current_authority<'a>(
    event: &'a Event,
    state: &'a State,
    proposal: &'a Proposal,
) -> Option<Authority<'a>> {
    match &proposal.role {
        ProposedRole::Root(_) | ProposedRole::Bucket { .. } => None,
        ProposedRole::Targets(_) => {
            event.new_root().is_none().then(|| state.root.authority(TopLevel::Targets))
        }
        ProposedRole::Delegated { delegator, role, .. } => {
            let changed = event.new_targets(delegator.as_str()).is_some();
            let from_top = *delegator == RoleName::targets() && !changed;
            from_top.then(|| state::authority(delegator, &state.targets, role).ok())?
        }
    }
}

fn reached(proposal: &Proposal, authority: &Authority<'_>, delegator: &str) -> Result<(), CeremonyError> {
    let found = proposal.signed_by(authority).len();
    if u64::try_from(found).unwrap_or(u64::MAX) >= authority.threshold() {
        return Ok(());
    }
    Err(CeremonyError::Unsigned {
        role: proposal.role.name().to_owned(),
        delegator: delegator.to_owned(),
        needed: authority.threshold(),
        found,
    })
}

/// A state that only the root before the newest vouches for could not be read under yet another root. With the role's
/// own keys at hand, or with its new file in the ceremony, it is signed anew on the way; anything else is for `bump`.
fn refuse_unvouched(event: &Event, keys: &Keyring, state: &State, new: &Root) -> Result<(), RepositoryError> {
    let helped = |role: TopLevel| {
        let other_keys = !new.authority(role).same_as(&state.root.authority(role));
        (other_keys && keys.reaches(&state.root.authority(role))) || event.new_targets(role.name()).is_some()
    };
    match state.unvouched().find(|role| !helped(*role)) {
        None => Ok(()),
        Some(role) => Err(RepositoryError::Plan(format!(
            "{} is not signed as the newest root demands: finish its last rotation with `wheelseal bump` first",
            role.name()
        ))),
    }
}
