//! What a monitor remembers, in a folder of its own, and what it makes of leaves. The file is swapped whole: after a kill at
//! any moment the one before or the new one is there.
//!
//! | object | what |
//! |---|---|
//! | `state.json` | the newest checkpoint, how far its leaves were read, files and keys of watched projects, events that are not told yet |
//! | `evidence/NAME.txt` | contradictions, for others to check |

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::event::{Content, Event, Holders};
use super::{MonitorError, Watched};
use crate::store::{Store, StorePath, Tag};
use crate::tlog::checkpoint::SignedCheckpoint;
use crate::tlog::leaf::{ConflictLeaf, FileLeaf, Leaf, Role, TufLeaf};

/// The state.
const STATE: &str = "state.json";
/// The format that this version writes and reads.
const FORMAT: u32 = 1;
/// Bytes of the state, at most.
const MAX_STATE: u64 = 512 * 1024 * 1024;
/// Files of watched projects that are remembered, at most: some 300 bytes each. No project has so many.
const MAX_FILES: usize = 500_000;
/// Events that wait for a webhook, at most.
const MAX_UNSENT: usize = 10_000;
/// Second contents of one path of which evidence is written, at most.
const MAX_EVIDENCE: u64 = 16;
/// Troubles that are remembered, at most.
const MAX_TROUBLES: usize = 256;

/// What is known of a watched project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Project {
    /// What was logged first for each path.
    files: BTreeMap<String, Content>,
    /// How many second contents were logged for a path.
    #[serde(default)]
    seconds: BTreeMap<String, u64>,
    /// Whether there was no room for one of its files.
    #[serde(default)]
    full: bool,
    /// Leaves that were read for it.
    done: u64,
    /// Files among so many leaves are learnt, and not told of.
    learnt: Option<u64>,
    /// Whether its role was looked for.
    pub(super) looked: bool,
    /// Its role, if it has one.
    pub(super) role: Option<Holders>,
}

/// All that is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory {
    format: u32,
    /// The largest checkpoint that was accepted.
    checkpoint: Option<String>,
    /// Leaves that were read for what is of no project.
    done: u64,
    /// Files among so many leaves are not told of.
    learnt: Option<u64>,
    pub(super) projects: BTreeMap<String, Project>,
    /// Newest version of each role.
    versions: BTreeMap<String, u64>,
    /// The projects that each watched key can sign for.
    pub(super) keys: BTreeMap<String, BTreeSet<String>>,
    /// When the log was last seen to have grown.
    grown: Option<DateTime<Utc>>,
    /// Whether it was told that it stands still.
    stood: bool,
    /// What was told of the log itself.
    troubles: BTreeSet<String>,
    /// Events that were not told yet, as far as is known.
    pub(super) untold: Vec<Event>,
    /// Events that the webhook has not taken.
    pub(super) unsent: Vec<Event>,
    /// How many more it was not sent.
    pub(super) dropped: u64,
    /// Files that can still be remembered; of each round anew.
    #[serde(skip)]
    room: usize,
}

impl Memory {
    /// What is kept in this folder; of nothing, the beginning.
    pub(super) async fn read(store: &dyn Store) -> Result<(Self, Option<Tag>), MonitorError> {
        let Some(object) = store.get(&StorePath::new(STATE)?, MAX_STATE).await? else {
            return Ok((Self { format: FORMAT, ..Self::default() }, None));
        };
        let damaged = |problem: String| MonitorError::Damaged { problem };
        let memory: Self =
            serde_json::from_slice(&object.bytes).map_err(|error| damaged(error.to_string()))?;
        if memory.format != FORMAT {
            return Err(damaged(format!("it has format {}, expected {FORMAT}", memory.format)));
        }
        memory.checkpoint()?;
        Ok((memory, Some(object.tag)))
    }

    /// As it is kept.
    pub(super) fn to_text(&self) -> Result<Vec<u8>, MonitorError> {
        serde_json::to_vec(self).map_err(|error| MonitorError::Damaged { problem: error.to_string() })
    }

    /// Keeps it, if nobody else did meanwhile.
    pub(super) async fn write(
        store: &dyn Store,
        text: &[u8],
        tag: Option<&Tag>,
    ) -> Result<Tag, MonitorError> {
        Ok(store.swap(&StorePath::new(STATE)?, text, tag).await?)
    }

    /// The largest checkpoint that was accepted.
    pub(super) fn checkpoint(&self) -> Result<Option<SignedCheckpoint>, MonitorError> {
        let read = self.checkpoint.as_ref().map(|text| SignedCheckpoint::parse(text.as_bytes())).transpose();
        read.map_err(|error| MonitorError::Damaged { problem: error.to_string() })
    }

    /// Takes an accepted checkpoint. Whether the log was never looked at before.
    pub(super) fn take(&mut self, checkpoint: &SignedCheckpoint) -> bool {
        let first = self.checkpoint.is_none();
        self.checkpoint = Some(checkpoint.to_string());
        self.troubles.retain(|trouble| trouble.starts_with(REWRITTEN));
        first
    }

    /// The log grew, and what is new was read.
    pub(super) fn grew(&mut self, now: DateTime<Utc>) {
        (self.grown, self.stood) = (Some(now), false);
    }

    /// Files that the log has when a project is first watched are learnt; with `history` all are told.
    pub(super) fn begin(&mut self, size: u64, history: bool) {
        let learnt = if history { 0 } else { size };
        self.learnt.get_or_insert(learnt);
        for project in self.projects.values_mut() {
            project.learnt.get_or_insert(learnt);
        }
        self.room = MAX_FILES.saturating_sub(self.files());
    }

    /// Leaves that were dealt with.
    pub(super) fn read_so_far(&self) -> u64 {
        self.done
    }

    /// The first leaf that is still to be read for something.
    pub(super) fn next(&self) -> u64 {
        let projects = self.projects.values().map(|project| project.done).min();
        projects.map_or(self.done, |done| done.min(self.done))
    }

    /// All leaves before this one were dealt with.
    pub(super) fn done(&mut self, next: u64) {
        self.done = self.done.max(next);
        for project in self.projects.values_mut() {
            project.done = project.done.max(next);
        }
    }

    /// Files that are remembered.
    fn files(&self) -> usize {
        self.projects.values().map(|project| project.files.len()).sum()
    }

    /// Watches these projects, and no others; those that a watched key could sign for once are watched for good.
    pub(super) fn watch(&mut self, watched: &Watched) {
        if watched.keys.is_empty() {
            self.projects.retain(|name, _| watched.projects.iter().any(|project| project.as_str() == name));
        }
        self.keys.retain(|key, _| watched.keys.iter().any(|watched| watched.as_str() == key));
        for project in &watched.projects {
            self.projects.entry(project.to_string()).or_default();
        }
    }

    /// What a leaf says to somebody who watches. Leaves that were dealt with say nothing again.
    pub(super) fn leaf(&mut self, index: u64, leaf: Option<&Leaf>, watched: &Watched) -> Vec<Event> {
        let event = match leaf {
            Some(Leaf::File(file)) => return self.file(index, file, watched),
            Some(Leaf::Conflict(conflict)) => self.conflict(index, conflict, watched),
            _ if index < self.done => None,
            Some(Leaf::Tuf(leaf)) => self.version(index, leaf),
            Some(Leaf::Log(leaf)) => {
                Some(Event::Continues { origin: leaf.origin().to_owned(), size: leaf.size() })
            }
            Some(Leaf::Commitment(_)) => None,
            None => Some(Event::Unknown { index }),
        };
        event.into_iter().collect()
    }

    fn conflict(&self, index: u64, conflict: &ConflictLeaf, watched: &Watched) -> Option<Event> {
        let file = &conflict.file;
        let known = self.projects.get(file.project()).map(|project| project.done);
        let done = known.or(watched.all().then_some(self.done))?;
        (index >= done).then(|| Event::Conflict {
            path: file.path().to_owned(),
            project: file.project().to_owned(),
            content: content(index, file),
            source: conflict.source.name().to_owned(),
        })
    }

    /// Whether evidence is written of a second content of this path.
    pub(super) fn is_worth_evidence(&self, project: &str, path: &str) -> bool {
        let seconds = self.projects.get(project).and_then(|project| project.seconds.get(path));
        seconds.is_none_or(|seconds| *seconds <= MAX_EVIDENCE)
    }

    fn file(&mut self, index: u64, file: &FileLeaf, watched: &Watched) -> Vec<Event> {
        let (path, project) = (file.path().to_owned(), file.project().to_owned());
        let (content, version) = (content(index, file), file.version().to_owned());
        let Some(known) = self.projects.get_mut(file.project()) else {
            let told =
                watched.all() && index >= self.done && self.learnt.is_none_or(|learnt| index >= learnt);
            return told.then_some(Event::File { path, project, version, content }).into_iter().collect();
        };
        if index < known.done {
            return Vec::new();
        }
        if let Some(first) = known.files.get(&path) {
            if (first.length, &first.sha256) == (content.length, &content.sha256) {
                return Vec::new();
            }
            let seconds = known.seconds.entry(path.clone()).or_default();
            *seconds = seconds.saturating_add(1);
            let (first, evidence) = (first.clone(), None);
            return vec![Event::SecondContent { path, project, first, second: content, evidence }];
        }
        let mut events = Vec::new();
        if self.room > 0 {
            known.files.insert(path.clone(), content.clone());
            self.room = self.room.saturating_sub(1);
        } else if !std::mem::replace(&mut known.full, true) {
            let files = u64::try_from(MAX_FILES).unwrap_or(u64::MAX);
            events.push(Event::TooMany { project: project.clone(), files });
        }
        if watched.expected.as_ref().is_some_and(|expected| !expected.allows(file)) {
            events.push(Event::Unexpected { path, project, content });
        } else if known.learnt.is_none_or(|learnt| index >= learnt) {
            events.push(Event::File { path, project, version, content });
        }
        events
    }

    fn version(&mut self, index: u64, leaf: &TufLeaf) -> Option<Event> {
        let (role, version) = (leaf.role().name().to_owned(), leaf.version());
        let newest = self.versions.get(&role).copied().unwrap_or(0);
        if version <= newest {
            return Some(Event::VersionAgain { index, role, version, newest });
        }
        self.versions.insert(role.clone(), version);
        let told = leaf.role() != Role::Snapshot && self.learnt.is_none_or(|learnt| index >= learnt);
        let sha256 = hex::encode(leaf.sha256());
        told.then_some(Event::Version { index, role, version, sha256 })
    }

    /// Whether this was not told of the log yet.
    pub(super) fn is_new_trouble(&mut self, trouble: String) -> bool {
        self.troubles.len() < MAX_TROUBLES && self.troubles.insert(trouble)
    }

    /// Tells once that the log does not grow; whether it stands still at all.
    pub(super) fn stands(&mut self, now: DateTime<Utc>, hours: u32, size: u64) -> (bool, Option<Event>) {
        let since = *self.grown.get_or_insert(now);
        if now.signed_duration_since(since).num_hours() < i64::from(hours) {
            return (false, None);
        }
        let told = std::mem::replace(&mut self.stood, true);
        (true, (!told).then_some(Event::Standstill { size, hours }))
    }

    /// Events that are to be sent, in their order. If there are too many, the last ones go that do not alarm, then the last ones;
    /// they are counted.
    pub(super) fn send(&mut self, events: &[Event]) {
        self.unsent.extend_from_slice(events);
        let mut excess = self.unsent.len().saturating_sub(MAX_UNSENT);
        self.dropped = self.dropped.saturating_add(u64::try_from(excess).unwrap_or(0));
        if excess == 0 {
            return;
        }
        self.unsent.reverse();
        self.unsent.retain(|event| {
            let goes = excess > 0 && !event.alarms();
            excess = excess.saturating_sub(usize::from(goes));
            !goes
        });
        self.unsent.reverse();
        self.unsent.truncate(MAX_UNSENT);
    }
}

/// Begins what is remembered of two histories.
pub(super) const REWRITTEN: &str = "tree ";

fn content(index: u64, file: &FileLeaf) -> Content {
    Content { index, length: file.length(), sha256: hex::encode(file.sha256()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(number: u64) -> Event {
        let (path, project) = (format!("six/{number}"), "six".to_owned());
        let content = Content { index: number, length: 7, sha256: "ab".repeat(32) };
        Event::File { path, project, version: "1.0".to_owned(), content }
    }

    #[test]
    fn harmless_events_make_room_for_alarms_in_what_the_webhook_is_sent() {
        let mut memory = Memory::default();
        let many: Vec<Event> = (0..10_000).map(file).collect();
        memory.send(&many);
        memory.send(&[file(10_000), Event::Unknown { index: 1 }, Event::Unknown { index: 2 }]);
        assert_eq!((memory.unsent.len(), memory.dropped), (MAX_UNSENT, 3));
        assert_eq!(
            memory.unsent[9_997..],
            [file(9_997), Event::Unknown { index: 1 }, Event::Unknown { index: 2 }]
        );
        let alarms: Vec<Event> = (0..20_000).map(|index| Event::Unknown { index }).collect();
        memory.send(&alarms);
        assert_eq!(memory.unsent.len(), MAX_UNSENT);
        assert!(memory.unsent.iter().all(Event::alarms));
    }

    #[test]
    fn files_without_room_are_told_and_that_they_are_not_remembered_once() {
        let project = Project { learnt: Some(0), ..Project::default() };
        let mut memory =
            Memory { projects: [("six".to_owned(), project)].into(), room: 1, ..Memory::default() };
        let watched = Watched::default();
        let mut kinds = Vec::new();
        for (index, version) in ["1.0", "1.1", "1.2"].into_iter().enumerate() {
            let path = format!("six/six-{version}.tar.gz");
            let leaf = Leaf::File(FileLeaf::new(&path, version, 7, [1; 32]).unwrap());
            let events = memory.leaf(u64::try_from(index).unwrap(), Some(&leaf), &watched);
            kinds.push(events.iter().map(Event::alarms).collect::<Vec<_>>());
        }
        assert_eq!(kinds, [vec![false], vec![true, false], vec![false]]);
        assert_eq!(memory.files(), 1);
    }
}
