//! Policies (c2sp.org/tlog-policy): which logs are accepted, which witnesses are known, and which of those are enough.
//!
//! ```text
//! log example.com/log+…
//! witness one w1.example+…
//! witness two w2.example+…   https://w2.example/submit
//! witness three w3.example+…
//! group any-two 2 one two three
//! quorum any-two
//! ```
//!
//! Names are defined before they are used, so there are no loops, and one walk from the top decides. Stricter than the
//! text: a log is not its own witness (one key in both places is refused), and the last line ends in a newline, so
//! that a policy cut short is none.

mod read;

use std::borrow::Cow;

use thiserror::Error;

pub use self::read::LineError;
use self::read::Reader;
use super::checkpoint::{Checkpoint, SignedCheckpoint};
use super::key::{KeyError, KeyKind, KnownKeys, Statement, VerifierKey};
use super::note::NoteError;
use super::text::quoted;

/// Bytes of a policy, at most.
pub const MAX_POLICY_LEN: usize = 64 * 1024;
/// Logs, witnesses and groups of a policy, of each at most. The text asks for 32 or more ("Implementation limits").
pub const MAX_DEFINED: usize = 64;

/// Why a text is no policy.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// More than [`MAX_POLICY_LEN`].
    #[error("the policy has {found} bytes, at most {MAX_POLICY_LEN} are allowed")]
    TooLong {
        /// Bytes of the policy.
        found: usize,
    },
    /// A control character other than tab and newline.
    #[error("line {line} of the policy has a control character")]
    Control {
        /// Number of the line, from 1.
        line: usize,
    },
    /// The last line has no newline.
    #[error("the policy does not end in a newline: it may have been cut short")]
    Unterminated,
    /// A line that says nothing a policy can say.
    #[error("line {line} of the policy: {problem}")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: LineError,
    },
    /// A policy says how many witnesses it wants, even if that is none.
    #[error("the policy has no quorum line")]
    NoQuorum,
    /// The same key twice: as two logs, as two witnesses, or as both.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Why a checkpoint does not satisfy a policy.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The policy has no log of this origin.
    #[error("no log of the policy has the origin {origin:?}")]
    UnknownLog {
        /// The origin that the checkpoint claims.
        origin: String,
    },
    /// A bad signature of a known key, or none of a known key at all.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Its log did not sign it.
    #[error("the checkpoint is not signed by its log {origin:?}")]
    NotByItsLog {
        /// The origin that the checkpoint claims.
        origin: String,
    },
    /// Too few witnesses, or not the right ones.
    #[error("the checkpoint is cosigned by {} of the policy's witnesses [{}], which is no quorum", .cosigned.len(), .cosigned.join(", "))]
    NoQuorum {
        /// Names of those that did cosign.
        cosigned: Vec<String>,
    },
}

/// A log that is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    key: VerifierKey,
    url: Option<Vec<u8>>,
}

impl Log {
    /// Its key, whose name is its origin.
    pub fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// Where it is, if the policy says so and it is text.
    pub fn url(&self) -> Option<&str> {
        self.url.as_deref().and_then(|url| str::from_utf8(url).ok())
    }
}

/// A witness that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    name: Vec<u8>,
    key: VerifierKey,
    url: Option<Vec<u8>>,
}

impl Witness {
    /// What the policy calls it.
    pub fn name(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.name)
    }

    /// Its key.
    pub fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// The prefix for submissions, if the policy says so and it is text.
    pub fn url(&self) -> Option<&str> {
        self.url.as_deref().and_then(|url| str::from_utf8(url).ok())
    }
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Definition {
    /// One witness, by its key.
    Witness(VerifierKey),
    /// So many of these definitions, which all stand before it.
    Group { threshold: usize, members: Vec<usize> },
}

/// What the quorum line asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quorum {
    /// `quorum none`
    None,
    /// That this definition is met.
    Of(usize),
}

/// A policy. Invariants: no public key twice, members of groups stand before them, each is a member once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<Log>,
    witnesses: Vec<Witness>,
    definitions: Vec<Definition>,
    quorum: Quorum,
    keys: KnownKeys,
}

/// A checkpoint that satisfied a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    checkpoint: Checkpoint,
    cosigned: Vec<(String, u64)>,
    witnessing: Witnessing,
}

/// What an accepted checkpoint rests on beside the signature of its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Witnessing {
    /// `quorum none`: on nothing. The log could show others another tree; whoever relies on it must be told.
    NotAsked,
    /// A quorum of witnesses cosigned it.
    Quorum,
}

impl Accepted {
    /// What the log is.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Names of the witnesses that cosigned it, each once, and when, in seconds since the epoch by their own clocks.
    pub fn cosigned(&self) -> &[(String, u64)] {
        &self.cosigned
    }

    /// Whether witnesses were asked for.
    pub fn witnessing(&self) -> Witnessing {
        self.witnessing
    }
}

impl Policy {
    /// Reads a policy.
    pub fn parse(bytes: &[u8]) -> Result<Self, PolicyError> {
        if bytes.len() > MAX_POLICY_LEN {
            return Err(PolicyError::TooLong { found: bytes.len() });
        }
        let Reader { logs, witnesses, definitions, quorum, .. } = Reader::read(bytes)?;
        let quorum = quorum.ok_or(PolicyError::NoQuorum)?;
        let keys = logs.iter().map(|log| &log.key).chain(witnesses.iter().map(|witness| &witness.key));
        let keys = KnownKeys::new(keys.cloned().collect())?;
        Ok(Self { logs, witnesses, definitions, quorum, keys })
    }

    /// The logs that are accepted.
    pub fn logs(&self) -> &[Log] {
        &self.logs
    }

    /// The witnesses that are known, whether the quorum needs them or not.
    pub fn witnesses(&self) -> &[Witness] {
        &self.witnesses
    }

    /// What checkpoints accepted by this policy rest on.
    pub fn witnessing(&self) -> Witnessing {
        match self.quorum {
            Quorum::None => Witnessing::NotAsked,
            Quorum::Of(_) => Witnessing::Quorum,
        }
    }

    /// Whether a checkpoint is signed by its log, one of the policy's, and cosigned by a quorum. A bad signature of any
    /// key of the policy refuses it. Times of cosignatures are not looked at.
    pub fn check(&self, checkpoint: &SignedCheckpoint) -> Result<Accepted, Refusal> {
        let origin = checkpoint.claimed_origin();
        let is_its_log = |key: &VerifierKey| key.kind() == KeyKind::Log && key.name().as_str() == origin;
        if !self.logs.iter().any(|log| is_its_log(&log.key)) {
            return Err(Refusal::UnknownLog { origin: quoted(origin) });
        }
        let (content, verified) = checkpoint.verify(&self.keys)?;
        if !verified.signers().iter().any(|(key, _)| is_its_log(key)) {
            return Err(Refusal::NotByItsLog { origin: quoted(origin) });
        }
        let cosigned: Vec<_> = self
            .witnesses
            .iter()
            .filter_map(|witness| Some((witness, time_of(verified.signers(), &witness.key)?)))
            .collect();
        let names: Vec<_> =
            cosigned.iter().map(|(witness, time)| (witness.name().into_owned(), *time)).collect();
        if !self.is_quorum(|key| cosigned.iter().any(|(witness, _)| witness.key == *key)) {
            let cosigned = names.iter().map(|(name, _)| quoted(name)).collect();
            return Err(Refusal::NoQuorum { cosigned });
        }
        Ok(Accepted { checkpoint: content.clone(), cosigned: names, witnessing: self.witnessing() })
    }

    /// The tree, if its log, one of the policy's, signed it. Witnesses are not looked at: nothing rests on this but what is held
    /// against the log.
    pub fn signed_by_log(&self, checkpoint: &SignedCheckpoint) -> Result<Checkpoint, Refusal> {
        let origin = checkpoint.claimed_origin();
        let mut refusal = Refusal::UnknownLog { origin: quoted(origin) };
        for log in self.logs.iter().filter(|log| log.key.name().as_str() == origin) {
            let Ok(key) = KnownKeys::new(vec![log.key.clone()]) else { continue };
            match checkpoint.verify(&key) {
                Ok((tree, _)) => return Ok(tree.clone()),
                Err(NoteError::Unsigned) => refusal = Refusal::NotByItsLog { origin: quoted(origin) },
                Err(error) => refusal = error.into(),
            }
        }
        Err(refusal)
    }

    /// Whether these witnesses are enough. Members stand before their groups, so one walk is.
    pub fn is_quorum(&self, cosigned: impl Fn(&VerifierKey) -> bool) -> bool {
        let Quorum::Of(quorum) = self.quorum else { return true };
        let mut met: Vec<bool> = Vec::with_capacity(self.definitions.len());
        for definition in &self.definitions {
            met.push(match definition {
                Definition::Witness(key) => cosigned(key),
                Definition::Group { threshold, members } => {
                    let count = members.iter().filter(|member| met.get(**member) == Some(&true)).count();
                    count >= *threshold
                }
            });
        }
        met.get(quorum) == Some(&true)
    }
}

fn time_of(signers: &[(&VerifierKey, Statement)], witness: &VerifierKey) -> Option<u64> {
    signers.iter().find_map(|(key, said)| match said {
        Statement::Cosigned { time } if *key == witness => Some(*time),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
