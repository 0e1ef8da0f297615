//! Who may sign for the watched projects, by the newest snapshot of the repository: what changed since the last look.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use super::Watched;
use super::event::{Event, Holders};
use super::memory::Memory;
use crate::client::{ClientError, Session};
use crate::tuf::metadata::Targets;
use crate::tuf::path::{RoleName, TargetPath};
use crate::tuf::signed::Authority;

/// Roles that list the roles of projects begin so; docs/formats.md.
const BUCKETS: [&str; 2] = ["claimed", "recently-claimed"];
/// A project's role begins so.
const PROJECT: &str = "project-";
/// Roles that are fetched at once.
const JOBS: NonZeroUsize = NonZeroUsize::new(8).unwrap();

/// What changed about the roles of the watched projects, and of those that a watched key can sign for.
pub(super) async fn changes(
    session: &Session,
    watched: &Watched,
    memory: &mut Memory,
) -> Result<Vec<Event>, ClientError> {
    let mut events = Vec::new();
    if !watched.keys.is_empty() {
        let held = held(session, watched).await?;
        events.extend(memory.holds(held));
    }
    let projects: Vec<String> = memory.projects.keys().cloned().collect();
    for project in projects {
        let now = holders(session, &project).await?;
        if let Some(known) = memory.projects.get_mut(&project) {
            let (looked, before) = (std::mem::replace(&mut known.looked, true), known.role.take());
            known.role.clone_from(&now);
            if looked {
                events.extend(change(&project, before, now));
            }
        }
    }
    Ok(events)
}

/// Who may sign for a project, if it has a role.
async fn holders(session: &Session, project: &str) -> Result<Option<Holders>, ClientError> {
    let (Ok(page), Ok(role)) = (
        TargetPath::new(format!("simple/{project}/index.json")),
        RoleName::delegated(format!("{PROJECT}{project}")),
    ) else {
        return Ok(None);
    };
    let chain = session.reach(&page, &role).await?.unwrap_or_default();
    let Some([(delegator, content), _]) = chain.last_chunk() else { return Ok(None) };
    let delegations = content.delegations.as_ref();
    let authority = delegations.and_then(|delegations| delegations.authority(delegator, &role));
    Ok(authority.as_ref().map(Holders::of))
}

impl Holders {
    fn of(authority: &Authority<'_>) -> Self {
        let keys = authority.keys().map(|(id, _)| id.to_string()).collect();
        Self { keys, threshold: authority.threshold() }
    }
}

/// What is to be told of a project's role.
fn change(project: &str, before: Option<Holders>, now: Option<Holders>) -> Option<Event> {
    let project = project.to_owned();
    match (before, now) {
        (None, None) => None,
        (None, Some(holders)) => Some(Event::RoleAppeared { project, holders }),
        (Some(holders), None) => Some(Event::RoleGone { project, holders }),
        (Some(before), Some(now)) if before == now => None,
        (Some(before), Some(now)) => Some(Event::KeysChanged {
            project,
            added: now.keys.difference(&before.keys).cloned().collect(),
            removed: before.keys.difference(&now.keys).cloned().collect(),
            threshold_before: before.threshold,
            threshold: now.threshold,
        }),
    }
}

/// The projects that each watched key can sign for. Every role that lists projects is read.
async fn held(
    session: &Session,
    watched: &Watched,
) -> Result<BTreeMap<String, BTreeSet<String>>, ClientError> {
    let found: Mutex<BTreeMap<String, BTreeSet<String>>> = Mutex::default();
    let visit = |role: &Targets| {
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, project) in named(role, watched) {
            found.entry(key).or_default().insert(project);
        }
    };
    let is_bucket = |role: &RoleName| BUCKETS.iter().any(|bucket| role.as_str().starts_with(bucket));
    let unread = session.walk_some(JOBS, &is_bucket, &visit, &|_, _| {}).await;
    if let Some(unread) = unread.into_iter().next() {
        return Err(unread.error);
    }
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    for key in &watched.keys {
        found.entry(key.to_string()).or_default();
    }
    Ok(found)
}

/// The watched keys of the projects that a role lists, and the projects.
fn named(role: &Targets, watched: &Watched) -> Vec<(String, String)> {
    let Some(delegations) = &role.delegations else { return Vec::new() };
    let mut named = Vec::new();
    for name in delegations.names().filter_map(Result::ok) {
        let Some(project) = name.as_str().strip_prefix(PROJECT) else { continue };
        let keys = delegations.role(&name).map(|(keys, _)| keys).unwrap_or_default();
        let mine = keys.iter().filter(|key| watched.keys.contains(key));
        named.extend(mine.map(|key| (key.to_string(), project.to_owned())));
    }
    named
}

impl Memory {
    /// Takes the projects that the watched keys can sign for; what changed.
    fn holds(&mut self, held: BTreeMap<String, BTreeSet<String>>) -> Vec<Event> {
        let mut events = Vec::new();
        for (key, projects) in held {
            for project in &projects {
                self.projects.entry(project.clone()).or_default();
            }
            if let Some(before) = self.keys.insert(key.clone(), projects.clone()) {
                let gained = projects.difference(&before).cloned();
                events.extend(gained.map(|project| Event::KeyGained { key: key.clone(), project }));
                let lost = before.difference(&projects).cloned();
                events.extend(lost.map(|project| Event::KeyLost { key: key.clone(), project }));
            }
        }
        events
    }
}
