//! The lines of a policy, each with the names that stand above it.

use std::collections::{HashMap, HashSet};
use std::str::FromStr as _;

use thiserror::Error;

use super::{Definition, Log, MAX_DEFINED, PolicyError, Quorum, Witness};
use crate::tlog::key::{KeyError, KeyKind, VerifierKey};
use crate::tlog::text::{decimal, quoted};

/// The quorum that asks for nothing.
const NONE: &[u8] = b"none";

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LineError {
    /// Another word in front, or too few or too many words behind it.
    #[error(
        "expected `log KEY [URL]`, `witness NAME KEY [URL]`, `group NAME all|any|NUMBER NAME...` or `quorum NAME`"
    )]
    Syntax,
    /// The key cannot be read.
    #[error(transparent)]
    Key(KeyError),
    /// A key of a log where one of a witness belongs, or the other way round.
    #[error("key {key} is not for this: a log has one of kind 0x01, a witness one of kind 0x04")]
    Kind {
        /// Name of the key.
        key: String,
    },
    /// The name is defined above, or is `none`.
    #[error("the name \"{name}\" is taken")]
    Taken {
        /// The name.
        name: String,
    },
    /// The name is not defined above.
    #[error("the name \"{name}\" is not defined above")]
    Unknown {
        /// The name.
        name: String,
    },
    /// Each name is a member once, so that no witness counts twice.
    #[error("\"{name}\" is a member of a group already")]
    MemberTwice {
        /// The name.
        name: String,
    },
    /// A group asks for at least one of its members, and for no more than it has.
    #[error("a group of {members} cannot ask for \"{found}\"")]
    Threshold {
        /// Members of the group.
        members: usize,
        /// What stands in place of the number.
        found: String,
    },
    /// A second quorum line.
    #[error("there is a quorum line already")]
    SecondQuorum,
    /// More than [`MAX_DEFINED`].
    #[error("more than {MAX_DEFINED} of one kind")]
    TooMany,
}

/// A policy while it is read.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) logs: Vec<Log>,
    pub(super) witnesses: Vec<Witness>,
    pub(super) definitions: Vec<Definition>,
    names: HashMap<Vec<u8>, usize>,
    members: HashSet<usize>,
    pub(super) quorum: Option<Quorum>,
}

impl Reader {
    /// Reads all lines.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, PolicyError> {
        let text = bytes.strip_suffix(b"\n").ok_or(PolicyError::Unterminated)?;
        let mut reader = Self::default();
        for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let number = at + 1;
            if line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
                return Err(PolicyError::Control { line: number });
            }
            reader.line(line).map_err(|problem| PolicyError::Line { line: number, problem })?;
        }
        Ok(reader)
    }

    fn line(&mut self, line: &[u8]) -> Result<(), LineError> {
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
        let words: Vec<&[u8]> = line.split(is_space).filter(|word| !word.is_empty()).collect();
        match words.as_slice() {
            [] => Ok(()),
            [first, ..] if first.starts_with(b"#") => Ok(()),
            [b"log", key] => self.log(key, None),
            [b"log", key, url] => self.log(key, Some(url)),
            [b"witness", name, key] => self.witness(name, key, None),
            [b"witness", name, key, url] => self.witness(name, key, Some(url)),
            [b"group", name, threshold, members @ ..] if !members.is_empty() => {
                self.group(name, threshold, members)
            }
            [b"quorum", name] => self.quorum(name),
            _ => Err(LineError::Syntax),
        }
    }

    fn log(&mut self, key: &[u8], url: Option<&[u8]>) -> Result<(), LineError> {
        let key = read_key(key, KeyKind::Log)?;
        self.logs.push(Log { key, url: url.map(<[u8]>::to_vec) });
        if self.logs.len() > MAX_DEFINED { Err(LineError::TooMany) } else { Ok(()) }
    }

    fn witness(&mut self, name: &[u8], key: &[u8], url: Option<&[u8]>) -> Result<(), LineError> {
        let key = read_key(key, KeyKind::Witness)?;
        self.define(name, Definition::Witness(key.clone()))?;
        self.witnesses.push(Witness { name: name.to_vec(), key, url: url.map(<[u8]>::to_vec) });
        if self.witnesses.len() > MAX_DEFINED { Err(LineError::TooMany) } else { Ok(()) }
    }

    fn group(&mut self, name: &[u8], threshold: &[u8], names: &[&[u8]]) -> Result<(), LineError> {
        let threshold = read_threshold(threshold, names.len())?;
        let mut members = Vec::with_capacity(names.len());
        for name in names {
            let member = self.known(name)?;
            if !self.members.insert(member) {
                return Err(LineError::MemberTwice { name: shown(name) });
            }
            members.push(member);
        }
        self.define(name, Definition::Group { threshold, members })?;
        let groups = self.definitions.len() - self.witnesses.len();
        if groups > MAX_DEFINED { Err(LineError::TooMany) } else { Ok(()) }
    }

    fn quorum(&mut self, name: &[u8]) -> Result<(), LineError> {
        let quorum = if name == NONE { Quorum::None } else { Quorum::Of(self.known(name)?) };
        match self.quorum.replace(quorum) {
            None => Ok(()),
            Some(_) => Err(LineError::SecondQuorum),
        }
    }

    fn define(&mut self, name: &[u8], definition: Definition) -> Result<(), LineError> {
        if name == NONE || self.names.contains_key(name) {
            return Err(LineError::Taken { name: shown(name) });
        }
        self.names.insert(name.to_vec(), self.definitions.len());
        self.definitions.push(definition);
        Ok(())
    }

    fn known(&self, name: &[u8]) -> Result<usize, LineError> {
        self.names.get(name).copied().ok_or_else(|| LineError::Unknown { name: shown(name) })
    }
}

fn read_key(text: &[u8], kind: KeyKind) -> Result<VerifierKey, LineError> {
    let text = String::from_utf8_lossy(text);
    let key = VerifierKey::from_str(&text).map_err(LineError::Key)?;
    if key.kind() == kind { Ok(key) } else { Err(LineError::Kind { key: key.name().to_string() }) }
}

fn read_threshold(text: &[u8], members: usize) -> Result<usize, LineError> {
    let number = match text {
        b"all" => Some(members),
        b"any" => Some(1),
        digits => str::from_utf8(digits).ok().and_then(decimal).and_then(|k| usize::try_from(k).ok()),
    };
    number
        .filter(|threshold| (1..=members).contains(threshold))
        .ok_or_else(|| LineError::Threshold { members, found: shown(text) })
}

fn shown(name: &[u8]) -> String {
    quoted(&String::from_utf8_lossy(name))
}
