//! From what is to change to the roles that must be signed for it. Pure: a basis and edits in, drafts out.
//!
//! A role whose delegator lists other keys from now on is proposed too, unless its present signatures still reach the
//! threshold. The buckets of `claimed` are not looked at here: there may be thousands.

use std::str::FromStr;

use chrono::{DateTime, Utc};

use super::event::{Basis, ProposedRole};
use crate::repository::bulk::resized;
use crate::repository::log::{LogPolicy, POLICY};
use crate::repository::settings::Expiry;
use crate::repository::state::{BINS, CLAIMED, RECENTLY_CLAIMED};
use crate::repository::{RepositoryError, days_after};
use crate::tuf::key::{Key, KeyId};
use crate::tuf::metadata::{DelegatedRoles, Delegations, Root, Targets, TopLevel};
use crate::tuf::path::RoleName;
use crate::tuf::signed::{Authority, Signed};

/// A role whose keys can be changed, as admins name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// `root`
    Root,
    /// `timestamp`
    Timestamp,
    /// `snapshot`
    Snapshot,
    /// `targets`
    Targets,
    /// `bins`: which bins there are.
    Bins,
    /// `claimed`, with its buckets.
    Claimed,
    /// `recently-claimed`
    RecentlyClaimed,
    /// `bin-n`: each of the hashed bins.
    BinN,
}

impl Subject {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Root,
        Self::Timestamp,
        Self::Snapshot,
        Self::Targets,
        Self::Bins,
        Self::Claimed,
        Self::RecentlyClaimed,
        Self::BinN,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Timestamp => "timestamp",
            Self::Snapshot => "snapshot",
            Self::Targets => "targets",
            Self::Bins => BINS,
            Self::Claimed => CLAIMED,
            Self::RecentlyClaimed => RECENTLY_CLAIMED,
            Self::BinN => "bin-n",
        }
    }

    /// Whether its keys sign without a person.
    pub fn is_online(self) -> bool {
        matches!(self, Self::Timestamp | Self::Snapshot | Self::RecentlyClaimed | Self::BinN)
    }

    fn top_level(self) -> Option<TopLevel> {
        match self {
            Self::Root => Some(TopLevel::Root),
            Self::Timestamp => Some(TopLevel::Timestamp),
            Self::Snapshot => Some(TopLevel::Snapshot),
            Self::Targets => Some(TopLevel::Targets),
            _ => None,
        }
    }
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|subject| subject.name() == text);
        found.ok_or_else(|| format!("{text:?} is no role; these are: {names}"))
    }
}

/// One change of one role.
#[derive(Debug, Clone)]
pub enum RoleEdit {
    /// One key more.
    AddKey(Box<Key>),
    /// One key less: its id, or the start of it, at least eight characters.
    RemoveKey(String),
    /// The same by the key itself, under whatever id it is listed.
    RemoveThis(Box<Key>),
    /// These keys and no others.
    Keys(Vec<Key>),
    /// How many must sign.
    Threshold(u64),
    /// Days until its file expires. Offline roles alone.
    Expires(u32),
    /// The same content with a new date. Offline roles alone.
    Renew,
}

/// What is to change.
#[derive(Debug, Clone, Default)]
pub struct Edits {
    /// Changes of roles, in order.
    pub roles: Vec<(Subject, RoleEdit)>,
    /// How many bins there are from now on.
    pub bins: Option<u32>,
    /// The policy that clients hold the transparency log against from now on.
    pub log_policy: Option<LogPolicy>,
}

/// Characters of a key id that are enough to name it, at least.
const MIN_KEY_ID: usize = 8;

fn plan(text: impl Into<String>) -> RepositoryError {
    RepositoryError::Plan(text.into())
}

/// Roles being changed.
struct Desk<'a> {
    basis: &'a Basis,
    root: Option<Root>,
    targets: Option<Targets>,
    bins: Option<Targets>,
    claimed: Option<Targets>,
    /// Days for roles that get others than usual.
    days: Vec<(Subject, u32)>,
}

/// What must be signed for `edits`, with the versions of `basis` and dates counted from `now`; and when buckets of `claimed`
/// expire, if they are signed too.
pub(super) fn build(
    basis: &Basis,
    edits: &Edits,
    expiry: &Expiry,
    now: DateTime<Utc>,
) -> Result<(Vec<ProposedRole>, DateTime<Utc>), RepositoryError> {
    let mut desk = Desk { basis, root: None, targets: None, bins: None, claimed: None, days: Vec::new() };
    for (subject, edit) in &edits.roles {
        desk.edit(*subject, edit)?;
    }
    if let Some(count) = edits.bins {
        let bins = desk.bins()?;
        bins.delegations = Some(resized(bins, count)?);
    }
    if let Some(policy) = &edits.log_policy {
        desk.targets()?.targets.insert(POLICY, policy.entry());
    }
    desk.proposals(expiry, now)
}

impl Desk<'_> {
    fn present(&self, role: &str) -> Result<Targets, RepositoryError> {
        let present = self.basis.targets(role).map(|metadata| (**metadata).clone());
        present.ok_or_else(|| RepositoryError::Missing(role.to_owned()))
    }

    fn root(&mut self) -> Result<&mut Root, RepositoryError> {
        let present = (**self.basis.root()?).clone();
        Ok(self.root.get_or_insert(present))
    }

    fn targets(&mut self) -> Result<&mut Targets, RepositoryError> {
        let present = self.present("targets")?;
        Ok(self.targets.get_or_insert(present))
    }

    fn bins(&mut self) -> Result<&mut Targets, RepositoryError> {
        let present = self.present(BINS)?;
        Ok(self.bins.get_or_insert(present))
    }

    fn claimed(&mut self) -> Result<&mut Targets, RepositoryError> {
        let present = self.present(CLAIMED)?;
        Ok(self.claimed.get_or_insert(present))
    }

    fn edit(&mut self, subject: Subject, edit: &RoleEdit) -> Result<(), RepositoryError> {
        let renewed = match edit {
            RoleEdit::Expires(days) => Some(Some(*days)),
            RoleEdit::Renew => Some(None),
            _ => None,
        };
        if let Some(days) = renewed {
            self.days.extend(days.map(|days| (subject, days)));
            return self.touch(subject);
        }
        if let Some(top) = subject.top_level() {
            return edit_root(self.root()?, top, edit);
        }
        if subject == Subject::BinN {
            return edit_all(self.bins()?, edit, "bin-n", |_| true);
        }
        edit_all(self.targets()?, edit, subject.name(), |role| role == subject.name())?;
        let has_buckets = |claimed: &Targets| claimed.delegations.is_some();
        if subject == Subject::Claimed
            && self.basis.targets(CLAIMED).is_some_and(|claimed| has_buckets(claimed))
        {
            return edit_all(self.claimed()?, edit, "claimed", |_| true);
        }
        Ok(())
    }

    /// The role's own file is signed anew.
    fn touch(&mut self, subject: Subject) -> Result<(), RepositoryError> {
        match subject {
            Subject::Root => self.root().map(drop),
            Subject::Targets => self.targets().map(drop),
            Subject::Bins => self.bins().map(drop),
            Subject::Claimed => self.claimed().map(drop),
            _ => Err(plan(format!(
                "{} is signed online: set [expiry] in wheelseal.toml, then run: wheelseal bump --all",
                subject.name()
            ))),
        }
    }

    /// Everything that changes, and everything that must be signed again because of that.
    fn proposals(
        mut self,
        expiry: &Expiry,
        now: DateTime<Utc>,
    ) -> Result<(Vec<ProposedRole>, DateTime<Utc>), RepositoryError> {
        if let Some(root) = &mut self.root {
            forget_unused(root);
        }
        let root = self.root.as_ref().map_or_else(|| self.basis.root().map(|root| &**root), Ok)?;
        let unchanged = self.basis.targets("targets");
        if unchanged.is_some_and(|targets| !vouches(&root.authority(TopLevel::Targets), targets.bytes())) {
            self.targets()?;
        }
        let (top, mut again) = (RoleName::targets(), Vec::new());
        for (subject, name) in [(Subject::Bins, BINS), (Subject::Claimed, CLAIMED)] {
            let present = self.basis.targets(name);
            let kept = present
                .is_none_or(|present| self.accepts(&top, self.targets.as_ref(), name, present.bytes()));
            again.extend((!kept).then_some(subject));
        }
        again.into_iter().try_for_each(|subject| self.touch(subject))?;
        let days = |subject: Subject, usual: u32| {
            self.days.iter().rev().find(|(of, _)| *of == subject).map_or(usual, |(_, days)| *days)
        };
        let (root_days, targets_days) =
            (days(Subject::Root, expiry.root), days(Subject::Targets, expiry.targets));
        let (bins_days, claimed_days) =
            (days(Subject::Bins, expiry.targets), days(Subject::Claimed, expiry.targets));
        let mut proposals = Vec::new();
        proposals.extend(self.root.map(|root| (ProposedRole::Root(root), root_days)));
        proposals.extend(self.targets.map(|content| (ProposedRole::Targets(content), targets_days)));
        for (name, content, days) in [(BINS, self.bins, bins_days), (CLAIMED, self.claimed, claimed_days)] {
            let role = RoleName::delegated(name)?;
            let delegator = RoleName::targets();
            let proposed = content.map(|content| ProposedRole::Delegated { delegator, role, content });
            proposals.extend(proposed.map(|proposed| (proposed, days)));
        }
        let dated = proposals.into_iter().map(|(mut proposed, days)| {
            proposed.common_mut().expires = days_after(now, days);
            proposed
        });
        Ok((dated.collect(), days_after(now, claimed_days)))
    }

    /// Whether the changed `content` of `delegator`, or its present one, accepts the file of `role` as it is.
    fn accepts(&self, delegator: &RoleName, content: Option<&Targets>, role: &str, file: &[u8]) -> bool {
        let present = self.basis.targets(delegator.as_str()).map(|metadata| &**metadata);
        let delegations = content.or(present).and_then(|content| content.delegations.as_ref());
        let Ok(role) = RoleName::delegated(role) else { return false };
        let authority = delegations.and_then(|delegations| delegations.authority(delegator, &role));
        authority.is_none_or(|authority| vouches(&authority, file))
    }
}

fn vouches(authority: &Authority<'_>, file: &[u8]) -> bool {
    Signed::<Targets>::new(file).verify(authority).is_ok()
}

fn edit_root(root: &mut Root, role: TopLevel, edit: &RoleEdit) -> Result<(), RepositoryError> {
    let mut keys = std::mem::take(&mut root.keys);
    let own = root.role_mut(role);
    let done = edit_keys(&mut keys, &mut own.keyids, &mut own.threshold, edit, role.name());
    root.keys = keys;
    done
}

/// Changes the keys of every role that `which` picks, and forgets keys that no role has any more.
fn edit_all(
    content: &mut Targets,
    edit: &RoleEdit,
    name: &str,
    which: impl Fn(&str) -> bool,
) -> Result<(), RepositoryError> {
    let missing = || RepositoryError::Missing(format!("the delegation to {name}"));
    let delegations = content.delegations.as_mut().ok_or_else(missing)?;
    let mut keys = std::mem::take(&mut delegations.keys);
    match &mut delegations.roles {
        DelegatedRoles::Succinct(bins) => {
            edit_keys(&mut keys, &mut bins.keyids, &mut bins.threshold, edit, name)?;
        }
        DelegatedRoles::Listed(roles) => {
            let mut found = false;
            for role in roles.iter_mut().filter(|role| which(role.name.as_str())) {
                edit_keys(&mut keys, &mut role.keyids, &mut role.threshold, edit, name)?;
                found = true;
            }
            if !found {
                return Err(missing());
            }
        }
    }
    delegations.keys = keys;
    forget_unused_delegated(delegations);
    Ok(())
}

fn edit_keys(
    keys: &mut std::collections::BTreeMap<KeyId, Key>,
    keyids: &mut Vec<KeyId>,
    threshold: &mut u64,
    edit: &RoleEdit,
    role: &str,
) -> Result<(), RepositoryError> {
    match edit {
        RoleEdit::AddKey(key) => {
            let known =
                keyids.iter().filter_map(|id| keys.get(id)).any(|known| known.public() == key.public());
            if known {
                return Err(plan(format!("{role} has the key {} already", key.id().short())));
            }
            keyids.push(key.id());
            keys.insert(key.id(), (**key).clone());
        }
        RoleEdit::RemoveKey(start) => {
            let found: Vec<_> =
                keyids.iter().filter(|id| id.as_str().starts_with(start.as_str())).cloned().collect();
            match found.as_slice() {
                [one] if start.len() >= MIN_KEY_ID => keyids.retain(|id| id != one),
                _ => {
                    return Err(plan(format!(
                        "{start:?} is not one key of {role}: name it by {MIN_KEY_ID} or more characters of its id"
                    )));
                }
            }
        }
        RoleEdit::RemoveThis(key) => {
            let same = |id: &KeyId| keys.get(id).is_some_and(|known| known.public() == key.public());
            if !keyids.iter().any(same) {
                return Err(plan(format!("{role} does not have the key {}", key.id().short())));
            }
            keyids.retain(|id| !same(id));
        }
        RoleEdit::Keys(new) => {
            *keyids = new.iter().map(Key::id).collect();
            keys.extend(new.iter().map(|key| (key.id(), key.clone())));
        }
        RoleEdit::Threshold(number) => *threshold = *number,
        RoleEdit::Expires(_) | RoleEdit::Renew => {}
    }
    Ok(())
}

/// Takes keys out of root that no role names any more.
fn forget_unused(root: &mut Root) {
    let roles = [&root.root, &root.timestamp, &root.snapshot, &root.targets];
    let used: Vec<_> = roles.iter().flat_map(|role| role.keyids.iter().cloned()).collect();
    root.keys.retain(|id, _| used.contains(id));
}

fn forget_unused_delegated(delegations: &mut Delegations) {
    let used: std::collections::BTreeSet<KeyId> = match &delegations.roles {
        DelegatedRoles::Succinct(bins) => bins.keyids.iter().cloned().collect(),
        DelegatedRoles::Listed(roles) => roles.iter().flat_map(|role| role.keyids.iter().cloned()).collect(),
    };
    delegations.keys.retain(|id, _| used.contains(id));
}
