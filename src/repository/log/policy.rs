//! The target `tlog-policy`: which log this repository is in, and which witnesses must have cosigned it.
//!
//! The file is a tlog-policy (C2SP). Its text stands in the target's `custom` as well, so that it is signed where people
//! sign it, can be shown to them before, and can be written again at any time.

use std::sync::Arc;

use super::error::LoggingError;
use crate::crypto::sha256;
use crate::tlog::key::VerifierKey;
use crate::tlog::policy::{Policy, Witnessing};
use crate::tuf::json::Json;
use crate::tuf::metadata::{Extra, Hashes, TargetFile, Targets};

/// Path of the target, which top-level targets lists, and the name of its text in `custom`.
pub(in crate::repository) const POLICY: &str = "tlog-policy";
/// The field of a target for what applications need.
const CUSTOM: &str = "custom";

/// A policy that names exactly one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPolicy {
    text: String,
    policy: Arc<Policy>,
    log: VerifierKey,
}

impl LogPolicy {
    /// Reads a policy; its text must be UTF-8, and it must name one log.
    pub fn parse(bytes: &[u8]) -> Result<Self, LoggingError> {
        let refused = |reason: String| LoggingError::Policy { reason };
        let policy = Policy::parse(bytes).map_err(|error| refused(error.to_string()))?;
        let text = str::from_utf8(bytes).map_err(|_| refused("it is not UTF-8".to_owned()))?.to_owned();
        let [log] = policy.logs() else {
            return Err(refused(format!("it names {} logs, expected one", policy.logs().len())));
        };
        let log = log.key().clone();
        Ok(Self { text, log, policy: Arc::new(policy) })
    }

    /// Its text, to the byte.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it says.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The key of the log, whose name is the log's origin.
    pub fn log(&self) -> &VerifierKey {
        &self.log
    }

    /// The target's entry.
    pub(in crate::repository) fn entry(&self) -> TargetFile {
        let bytes = self.text.as_bytes();
        let custom = Json::object([(POLICY, Json::str(self.text.clone()))]);
        let extra: Extra = vec![(CUSTOM.into(), custom)];
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        TargetFile { length, hashes: Hashes::sha256(sha256(bytes)), extra }
    }

    /// The policy that top-level targets names, if it does.
    pub fn of(targets: &Targets) -> Result<Option<Self>, LoggingError> {
        let Some(file) = targets.targets.get(POLICY) else { return Ok(None) };
        let policy = Self::parse(text_of(file)?.as_bytes())?;
        let same = policy.entry();
        if (same.length, &same.hashes) != (file.length, &file.hashes) {
            let reason = "length and hash are not those of the text in custom".to_owned();
            return Err(LoggingError::Policy { reason });
        }
        Ok(Some(policy))
    }

    /// What it means, for those who sign it.
    pub(in crate::repository) fn in_words(&self) -> Vec<String> {
        let mut words =
            vec![format!("all files are logged in {}, whose key is {}", self.log.name(), self.log)];
        for witness in self.policy.witnesses() {
            let at = witness.url().map(|url| format!(" at {url}")).unwrap_or_default();
            words.push(format!("witness {}{at}, whose key is {}", witness.name(), witness.key()));
        }
        words.push(match self.policy.witnessing() {
            Witnessing::NotAsked => {
                "quorum none: no witness is asked, so the log could show each client another tree".to_owned()
            }
            Witnessing::Quorum => format!("a checkpoint counts if these have cosigned it: {}", self.quorum()),
        });
        words
    }

    /// The quorum by the lines of the text, which were read as a policy before.
    fn quorum(&self) -> String {
        let lines = || self.text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let name = lines().find_map(|line| if let ["quorum", name] = *line { Some(name) } else { None });
        let name = name.unwrap_or_default();
        let groups = lines().filter_map(|line| match line.as_slice() {
            ["group", group, count, members @ ..] => {
                Some((*group, format!("{count} of {}", members.join(", "))))
            }
            _ => None,
        });
        let groups: Vec<_> = groups.collect();
        let inner = groups.iter().filter(|(group, _)| *group != name);
        let inner: Vec<_> = inner.map(|(group, of)| format!("{group} is {of}")).collect();
        let outer = groups.iter().find(|(group, _)| *group == name).map_or(name, |(_, of)| of.as_str());
        if inner.is_empty() { outer.to_owned() } else { format!("{outer}, where {}", inner.join(" and ")) }
    }
}

/// The text that a target's `custom` has.
pub(in crate::repository) fn text_of(file: &TargetFile) -> Result<&str, LoggingError> {
    let custom = file.extra.iter().find(|(name, _)| name == CUSTOM).map(|(_, custom)| custom);
    let text = custom.and_then(|custom| custom.get(POLICY)).and_then(Json::as_str);
    let reason = "targets lists it without its text in custom";
    text.ok_or_else(|| LoggingError::Policy { reason: reason.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlog::key::{KeyKind, KeyName};
    use crate::tuf::metadata::{Common, Table};

    fn key(name: &str, kind: KeyKind, byte: u8) -> VerifierKey {
        VerifierKey::new(KeyName::new(name).unwrap(), kind, [byte; 32])
    }

    fn text(quorum: &str) -> String {
        let (log, one, two) = (
            key("index.example", KeyKind::Log, 1),
            key("w1.example", KeyKind::Witness, 2),
            key("w2.example", KeyKind::Witness, 3),
        );
        format!("log {log}\nwitness one {one}\nwitness two {two} https://w2.example/\n{quorum}")
    }

    fn listing(file: Option<TargetFile>) -> Targets {
        let common = Common::new(1, "2030-01-01T00:00:00Z".parse().unwrap());
        let mut targets = Table::new();
        if let Some(file) = file {
            targets.insert(POLICY, file);
        }
        Targets { common, targets, delegations: None }
    }

    #[test]
    fn a_policy_is_read_back_out_of_targets_as_it_was() {
        let policy = LogPolicy::parse(text("quorum none\n").as_bytes()).unwrap();
        assert_eq!(LogPolicy::of(&listing(Some(policy.entry()))), Ok(Some(policy)));
        assert_eq!(LogPolicy::of(&listing(None)), Ok(None));
    }

    #[test]
    fn a_text_that_is_not_the_file_is_refused() {
        let policy = LogPolicy::parse(text("quorum none\n").as_bytes()).unwrap();
        let mut other = policy.entry();
        other.extra = LogPolicy::parse(text("quorum one\n").as_bytes()).unwrap().entry().extra;
        let refused = LogPolicy::of(&listing(Some(other))).unwrap_err().to_string();
        assert!(refused.ends_with("length and hash are not those of the text in custom"), "{refused}");
        let mut none = policy.entry();
        none.extra.clear();
        let refused = LogPolicy::of(&listing(Some(none))).unwrap_err().to_string();
        assert!(refused.contains("without its text"), "{refused}");
    }

    #[test]
    fn quorums_are_told_in_words() {
        for (quorum, words) in [
            ("quorum one\n", "one"),
            ("group any 1 one two\nquorum any\n", "1 of one, two"),
            (
                "group first 1 one\ngroup all 2 first two\nquorum all\n",
                "2 of first, two, where first is 1 of one",
            ),
        ] {
            let policy = LogPolicy::parse(text(quorum).as_bytes()).unwrap();
            let last = policy.in_words().pop().unwrap();
            assert_eq!(last, format!("a checkpoint counts if these have cosigned it: {words}"));
        }
        let policy = LogPolicy::parse(text("quorum none\n").as_bytes()).unwrap();
        let words = policy.in_words();
        assert_eq!(words.len(), 4);
        assert!(words[2].starts_with("witness two at https://w2.example/, whose key is w2.example+"));
        assert!(words[3].starts_with("quorum none: no witness is asked"));
    }
}
