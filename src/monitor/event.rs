//! What a monitor tells: one line of JSON each, or words.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A content of a path, where it was logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Number of the leaf, from 0.
    pub index: u64,
    /// Bytes.
    pub length: u64,
    /// SHA-256 in hexadecimal digits.
    pub sha256: String,
}

/// Who may sign for a project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holders {
    /// Key ids.
    pub keys: BTreeSet<String>,
    /// How many of them must sign.
    pub threshold: u64,
}

/// Something that somebody who watches wants to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The first look at the log. What it had by then is learnt, and told of where it alarms.
    Began {
        /// The log.
        origin: String,
        /// Leaves.
        size: u64,
    },
    /// A file was logged.
    File {
        /// The target path.
        path: String,
        /// The project.
        project: String,
        /// Its version.
        version: String,
        /// What was logged.
        content: Content,
    },
    /// A file was logged that is not among those that are expected.
    Unexpected {
        /// The target path.
        path: String,
        /// The project.
        project: String,
        /// What was logged.
        content: Content,
    },
    /// A path was logged again, with another content.
    SecondContent {
        /// The target path.
        path: String,
        /// The project.
        project: String,
        /// What was logged first.
        first: Content,
        /// What was logged now.
        second: Content,
        /// The file with both leaves and their proofs; none, if the log does not give out the first one any more, or if there is
        /// evidence of many contents of this path already.
        evidence: Option<String>,
    },
    /// An entry of the log that reads as no leaf.
    Unknown {
        /// Its number, from 0.
        index: u64,
    },
    /// No more files of this project are remembered: a second content of those is not seen.
    TooMany {
        /// The project.
        project: String,
        /// Files of all watched projects that are remembered.
        files: u64,
    },
    /// The log says itself that somebody had another content: a recorder's log does.
    Conflict {
        /// The target path.
        path: String,
        /// The project.
        project: String,
        /// The other content.
        content: Content,
        /// Who had it: `index` or `claim`.
        source: String,
    },
    /// A new version of root or of the top-level targets.
    Version {
        /// Number of the leaf.
        index: u64,
        /// The role.
        role: String,
        /// Its version.
        version: u64,
        /// SHA-256 of its file.
        sha256: String,
    },
    /// A version of a role that is no newer than one that was logged before.
    VersionAgain {
        /// Number of the leaf.
        index: u64,
        /// The role.
        role: String,
        /// The version that was logged now.
        version: u64,
        /// The newest one before.
        newest: u64,
    },
    /// A project has got a role: it belongs to these keys now.
    RoleAppeared {
        /// The project.
        project: String,
        /// Its keys.
        holders: Holders,
    },
    /// A project's role is gone: whoever holds the online keys can publish for it.
    RoleGone {
        /// The project.
        project: String,
        /// The keys that it had.
        holders: Holders,
    },
    /// Other keys may sign for a project, or another number of them must.
    KeysChanged {
        /// The project.
        project: String,
        /// Keys that can sign now, and could not.
        added: BTreeSet<String>,
        /// Keys that cannot any more.
        removed: BTreeSet<String>,
        /// How many had to sign.
        threshold_before: u64,
        /// How many must now.
        threshold: u64,
    },
    /// A watched key can sign for a project.
    KeyGained {
        /// The key.
        key: String,
        /// The project.
        project: String,
    },
    /// A watched key cannot sign for a project any more.
    KeyLost {
        /// The key.
        key: String,
        /// The project.
        project: String,
    },
    /// The log begins by naming the one that it continues.
    Continues {
        /// Origin of the log before.
        origin: String,
        /// Its leaves.
        size: u64,
    },
    /// Two signed checkpoints that cannot both be.
    Rewritten {
        /// How they contradict each other.
        problem: String,
        /// The file with both.
        evidence: String,
    },
    /// There is no checkpoint here that can be accepted.
    Refused {
        /// Why.
        problem: String,
    },
    /// The log does not grow.
    Standstill {
        /// Leaves.
        size: u64,
        /// For how long at least.
        hours: u32,
    },
}

impl Event {
    /// Whether somebody should look at it now.
    pub fn alarms(&self) -> bool {
        match self {
            Self::Began { .. }
            | Self::File { .. }
            | Self::Version { .. }
            | Self::KeyGained { .. }
            | Self::Continues { .. } => false,
            Self::Unexpected { .. }
            | Self::SecondContent { .. }
            | Self::Unknown { .. }
            | Self::TooMany { .. }
            | Self::Conflict { .. }
            | Self::VersionAgain { .. }
            | Self::RoleAppeared { .. }
            | Self::RoleGone { .. }
            | Self::KeysChanged { .. }
            | Self::KeyLost { .. }
            | Self::Rewritten { .. }
            | Self::Refused { .. }
            | Self::Standstill { .. } => true,
        }
    }

    /// One line of JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, SHA-256 {}, entry {}", self.length, self.sha256, self.index)
    }
}

impl fmt::Display for Holders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.threshold, list(&self.keys))
    }
}

/// The words.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Began { origin, size } => write!(f, "watching {origin}, which has {size} entries"),
            Self::File { path, content, .. } => write!(f, "new file {path}: {content}"),
            Self::Unexpected { path, content, .. } => write!(f, "unexpected file {path}: {content}"),
            Self::SecondContent { path, first, second, evidence, .. } => {
                write!(f, "second content of {path}: {second}; first: {first}; evidence: ")?;
                f.write_str(
                    evidence
                        .as_deref()
                        .unwrap_or("none, the log does not prove the first one any more, or there is enough"),
                )
            }
            Self::Unknown { index } => write!(f, "entry {index} of the log reads as no leaf"),
            Self::TooMany { project, files } => {
                write!(
                    f,
                    "no more files of {project} are remembered, after {files}: a second content of those is not seen"
                )
            }
            Self::Conflict { path, content, source, .. } => {
                write!(f, "conflict about {path}: the {source} had {content}")
            }
            Self::Version { role, version, index, .. } => {
                write!(f, "{role} {version} was published: entry {index}")
            }
            Self::VersionAgain { role, version, newest, index } => {
                write!(f, "{role} {version} was logged after {newest}: entry {index}")
            }
            Self::RoleAppeared { project, holders } => write!(f, "{project} belongs to keys now: {holders}"),
            Self::RoleGone { project, holders } => {
                write!(f, "{project} belongs to no keys any more; they were {holders}")
            }
            Self::KeysChanged { project, added, removed, threshold_before, threshold } => {
                write!(f, "the keys of {project} changed: added {}, removed {}", list(added), list(removed))?;
                write!(f, "; {threshold} must sign, {threshold_before} had to")
            }
            Self::KeyGained { key, project } => write!(f, "key {key} can sign for {project} now"),
            Self::KeyLost { key, project } => write!(f, "key {key} cannot sign for {project} any more"),
            Self::Continues { origin, size } => write!(f, "the log continues {origin} of {size} entries"),
            Self::Rewritten { problem, evidence } => write!(f, "{problem}; evidence: {evidence}"),
            Self::Refused { problem } => f.write_str(problem),
            Self::Standstill { size, hours } => {
                write!(f, "the log stands still at {size} entries for {hours} hours")
            }
        }
    }
}

fn list(keys: &BTreeSet<String>) -> String {
    if keys.is_empty() {
        return "none".to_owned();
    }
    keys.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_of_json_that_reads_back() {
        let content = Content { index: 3, length: 7, sha256: "ab".repeat(32) };
        let (path, project) = ("six/six-1.0.tar.gz".to_owned(), "six".to_owned());
        let event = Event::File { path, project, version: "1.0".to_owned(), content };
        let json = event.to_json();
        assert!(json.starts_with(r#"{"event":"file","path":"six/six-1.0.tar.gz","project":"six""#), "{json}");
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
        assert!(!event.alarms());
        assert!(Event::Refused { problem: "no".to_owned() }.alarms());
    }
}
