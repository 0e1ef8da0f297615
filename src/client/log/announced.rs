//! Recorders as users know them: what a recorder hands out about itself, and how many of them must have seen a file.
//!
//! ```toml
//! name = "one.example"
//! url = "https://one.example/"            # targets/ and log/ are below it; a folder that is a copy of it does as well
//! claims = "https://one.example/claim/"   # where maintainers send claims, if not there
//! policy = """
//! log one.example+…
//! …
//! """
//!
//! [since]                                 # what was in the index's log by then is older than this recorder
//! origin = "index.example/log"
//! size = 1234
//! ```

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::tlog::checkpoint::MAX_ORIGIN;
use crate::tlog::policy::{MAX_POLICY_LEN, Policy, PolicyError};

/// Bytes of an announcement, at most: a policy, of which each byte may be escaped, and some lines.
pub const MAX_ANNOUNCED_LEN: usize = 2 * MAX_POLICY_LEN + 4 * 1_024;
/// Recorders of one trust, at most: each file is asked for at all of them.
pub(super) const MAX_RECORDERS: usize = 16;
/// Hours of grace, at most: a month.
pub(super) const MAX_GRACE_HOURS: u32 = 31 * 24;
/// Characters of a recorder's name, at most.
const MAX_NAME: usize = 64;
/// Bytes of its address, at most.
const MAX_URL: usize = 2_048;

/// Why recorders cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecorderError {
    /// More than [`MAX_ANNOUNCED_LEN`].
    #[error("it has {found} bytes, at most {MAX_ANNOUNCED_LEN} are allowed")]
    TooLong {
        /// Bytes found.
        found: usize,
    },
    /// Not the TOML that it should be.
    #[error("it does not read: {reason}")]
    Syntax {
        /// What is wrong with it.
        reason: String,
    },
    /// A name that is no file name.
    #[error("{name:?} is no name for a recorder: letters, digits, '-', '_' and '.', at most {MAX_NAME}")]
    Name {
        /// The name.
        name: String,
    },
    /// An address or an origin that nobody can have.
    #[error("the {field} of recorder {name} is empty, too long or has control characters")]
    Field {
        /// Name of the recorder.
        name: String,
        /// Which.
        field: &'static str,
    },
    /// A policy that does not read.
    #[error("the policy of recorder {name} does not read: {error}")]
    Policy {
        /// Name of the recorder.
        name: String,
        /// What is wrong with it.
        error: PolicyError,
    },
    /// Two recorders have one name, or one log: they would be counted as two.
    #[error("two of the recorders have the same {what}, so they are not independent: {value}")]
    Same {
        /// What they have in common.
        what: &'static str,
        /// That.
        value: String,
    },
    /// A number that makes no sense.
    #[error("{given} recorders are needed, of {all} (1 to {MAX_RECORDERS})")]
    Needed {
        /// How many must agree.
        given: usize,
        /// Of how many.
        all: usize,
    },
    /// So much grace that recorders have no say.
    #[error("{given} hours of grace, at most {MAX_GRACE_HOURS} are allowed")]
    Grace {
        /// Hours.
        given: u32,
    },
}

/// How far the index's log was when a recorder began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Since {
    /// The index's log.
    pub origin: String,
    /// Its leaves then: those before this number are older than the recorder.
    pub size: u64,
}

/// What a recorder hands out about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Announced {
    /// A short name, for people and for files.
    pub name: String,
    /// Base of its files: a URL, or a folder.
    pub url: String,
    /// Its log and the witnesses of that (tlog-policy).
    pub policy: String,
    /// Where it takes claims of releases, if that is not `claim/` below its files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<String>,
    /// What is older than it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Since>,
}

impl Announced {
    /// Reads an announcement.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecorderError> {
        if bytes.len() > MAX_ANNOUNCED_LEN {
            return Err(RecorderError::TooLong { found: bytes.len() });
        }
        let syntax = |reason: String| RecorderError::Syntax { reason: reason.trim_end().to_owned() };
        let text = str::from_utf8(bytes).map_err(|error| syntax(error.to_string()))?;
        let announced: Self = toml::from_str(text).map_err(|error| syntax(error.to_string()))?;
        announced.check()?;
        Ok(announced)
    }

    /// The text, which [`Self::parse`] reads.
    pub fn to_toml(&self) -> Result<String, RecorderError> {
        self.check()?;
        toml::to_string_pretty(self).map_err(|error| RecorderError::Syntax { reason: error.to_string() })
    }

    /// Where it takes claims of releases.
    pub fn claims(&self) -> String {
        self.claims.clone().unwrap_or_else(|| format!("{}/claim/", self.url.trim_end_matches('/')))
    }

    /// Its policy.
    pub fn policy(&self) -> Result<Policy, RecorderError> {
        let bad = |error| RecorderError::Policy { name: self.name.clone(), error };
        Policy::parse(self.policy.as_bytes()).map_err(bad)
    }

    fn check(&self) -> Result<(), RecorderError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let Self { name, .. } = self;
        if name.is_empty() || name.len() > MAX_NAME || name.starts_with('.') || !name.chars().all(plain) {
            return Err(RecorderError::Name { name: crate::tuf::json::quoted(name) });
        }
        let origin = self.since.as_ref().map(|since| since.origin.as_str());
        let fields = [
            ("url", Some(self.url.as_str()), MAX_URL),
            ("claims", self.claims.as_deref(), MAX_URL),
            ("origin in since", origin, MAX_ORIGIN),
        ];
        for (field, value, max) in fields {
            let fits = |value: &str| (1..=max).contains(&value.len()) && !value.contains(char::is_control);
            if !value.is_none_or(fits) {
                return Err(RecorderError::Field { name: name.clone(), field });
            }
        }
        self.policy().map(drop)
    }
}

/// The recorders of a trust. Invariants: names, public keys of logs and numbers are as [`Self::new`] wants them, which whoever reads them
/// from a file asks [`Self::check`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorders {
    /// How many of them must have seen a file.
    pub needed: usize,
    /// For so long after witnesses saw a file logged, recorders need not have it yet.
    #[serde(default)]
    pub grace_hours: u32,
    /// All of them.
    pub members: Vec<Announced>,
}

impl Recorders {
    /// So many of these; more than half of them, if no number is said.
    pub fn new(
        members: Vec<Announced>,
        needed: Option<usize>,
        grace_hours: u32,
    ) -> Result<Self, RecorderError> {
        let needed = needed.unwrap_or(members.len() / 2 + 1);
        let recorders = Self { needed, grace_hours, members };
        recorders.check()?;
        Ok(recorders)
    }

    /// Refuses what would count somebody twice, or nobody.
    pub fn check(&self) -> Result<(), RecorderError> {
        let (given, all) = (self.needed, self.members.len());
        if !(1..=MAX_RECORDERS).contains(&all) || !(1..=all).contains(&given) {
            return Err(RecorderError::Needed { given, all });
        }
        if self.grace_hours > MAX_GRACE_HOURS {
            return Err(RecorderError::Grace { given: self.grace_hours });
        }
        let (mut names, mut keys) = (HashSet::new(), HashSet::new());
        for member in &self.members {
            member.check()?;
            if !names.insert(member.name.to_ascii_lowercase()) {
                return Err(RecorderError::Same { what: "name", value: member.name.clone() });
            }
            let logs = member.policy()?;
            let own: HashSet<_> = logs.logs().iter().map(|log| log.key().public_key()).collect();
            for key in own {
                if !keys.insert(key) {
                    return Err(RecorderError::Same { what: "log", value: member.name.clone() });
                }
            }
        }
        Ok(())
    }

    /// In one line.
    pub fn words(&self) -> String {
        let names: Vec<_> = self.members.iter().map(|member| member.name.as_str()).collect();
        let grace = match self.grace_hours {
            0 => String::new(),
            hours => format!(", {hours} h after it was logged"),
        };
        format!(
            "{} of {} must have recorded each file{grace}: {}",
            self.needed,
            names.len(),
            names.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{NewKey, PublicKey, SigningKey};
    use crate::tlog::key::{KeyKind, KeyName, VerifierKey};

    fn announced(name: &str) -> Announced {
        let private = SigningKey::from_pkcs8(&NewKey::Ed25519.generate().unwrap()).unwrap();
        let PublicKey::Ed25519(public) = *private.public() else { unreachable!() };
        let key = VerifierKey::new(KeyName::new(name).unwrap(), KeyKind::Log, public);
        let policy = format!("log {key}\nquorum none\n");
        Announced {
            name: name.to_owned(),
            url: format!("https://{name}/"),
            policy,
            claims: None,
            since: None,
        }
    }

    #[test]
    fn an_announcement_reads_as_it_was_written() {
        let mut one = announced("one.example");
        assert_eq!(Announced::parse(one.to_toml().unwrap().as_bytes()), Ok(one.clone()));
        one.since = Some(Since { origin: "index.example/log".to_owned(), size: 1234 });
        let text = one.to_toml().unwrap();
        assert_eq!(Announced::parse(text.as_bytes()), Ok(one.clone()));
        let inline =
            text.replace("[since]\n", "").replace("origin = \"index.example/log\"\nsize = 1234\n", "");
        let inline = format!("since = {{ origin = \"index.example/log\", size = 1234 }}\n{inline}");
        assert_eq!(Announced::parse(inline.as_bytes()), Ok(one));
    }

    #[test]
    fn what_is_no_announcement_is_refused() {
        let good = announced("one.example");
        let text = good.to_toml().unwrap();
        let refused = |text: &str| Announced::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(refused(&format!("more = 1\n{text}")).contains("unknown field"));
        assert!(refused(&text.replace("one.example", "../x")).contains("no name"));
        assert!(refused(&text.replace("https://one.example/", "")).contains("url"));
        assert!(refused(&text.replace("quorum none", "")).contains("quorum"));
        assert!(refused("").contains("missing field"));
        let found = MAX_ANNOUNCED_LEN + 1;
        assert_eq!(Announced::parse(&vec![b'#'; found]), Err(RecorderError::TooLong { found }));
        let since = Since { origin: String::new(), size: 1 };
        let error = Announced { since: Some(since), ..good }.to_toml().unwrap_err();
        assert!(matches!(error, RecorderError::Field { field: "origin in since", .. }));
    }

    #[test]
    fn recorders_are_counted_once_each() {
        let all: Vec<_> = ["a", "b", "c"].map(announced).into();
        let of = |members: &[Announced], needed| Recorders::new(members.to_vec(), needed, 0);
        assert_eq!([1, 2, 3].map(|count| of(&all[..count], None).unwrap().needed), [1, 2, 2]);
        assert_eq!(of(&all, Some(3)).unwrap().needed, 3);
        for (members, needed) in [(&all[..0], None), (&all, Some(0)), (&all, Some(4))] {
            assert!(matches!(of(members, needed), Err(RecorderError::Needed { .. })));
        }
        let twin = Announced { name: "twin".to_owned(), ..all[0].clone() };
        let same = |what, value: &str| Err(RecorderError::Same { what, value: value.to_owned() });
        assert_eq!(of(&[all[0].clone(), twin], None), same("log", "twin"));
        let shouting = Announced { name: "A".to_owned(), ..announced("other") };
        assert_eq!(of(&[all[0].clone(), shouting], None), same("name", "A"));
        let given = MAX_GRACE_HOURS + 1;
        assert_eq!(Recorders::new(all, None, given), Err(RecorderError::Grace { given }));
    }
}
