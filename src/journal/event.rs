//! Events: a closed set. A line of the journal is one event as JSON, in canonical form: fields in order of their names,
//! no space. A line that is not exactly what would be written for it is no event.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::values::{Account, AddressHash, City, Country, Digest, FileName, Minute, ValueError};
use crate::python::ProjectName;

/// Bytes of a line, at most: what all fields of one kind can have together is under 1,000.
pub(super) const MAX_LINE: usize = 2_048;

/// Something that happened, once or several times in the same minute.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Event {
    /// When.
    pub time: Minute,
    /// From where.
    pub origin: Origin,
    /// What.
    pub deed: Deed,
    /// How often.
    pub times: u32,
}

/// From where something came: as much of it as is known and may be kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Keyed hash of the network address.
    pub address: Option<AddressHash>,
    /// Where a trusted proxy said it is.
    pub country: Option<Country>,
    /// Likewise.
    pub city: Option<City>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Deed {
    /// A file came and was taken.
    Upload {
        /// What became of it.
        what: Outcome,
        /// Whose token.
        account: Option<Account>,
        /// Its name.
        file: FileName,
        /// Its content.
        sha256: Digest,
    },
    /// An upload was refused.
    Refusal {
        /// The class of the reason.
        what: Reason,
        /// Whose token, if it had a good one.
        account: Option<Account>,
        /// The project, if the token is for it.
        project: Option<ProjectName>,
    },
    /// A token was used or changed.
    Token {
        /// What was done.
        what: TokenUse,
        /// Its name; nothing for a wrong one, for it is nobody's.
        account: Option<Account>,
    },
    /// What the maintainers of a claimed project signed.
    Claim {
        /// What became of it.
        what: ClaimChange,
        /// Whose token.
        account: Option<Account>,
        /// The project.
        project: ProjectName,
    },
    /// The address of the origin was shut out, or let in again.
    Block {
        /// What was done.
        what: BlockChange,
        /// Until when.
        until: Option<Minute>,
    },
    /// Events that were not written down one by one.
    Omitted {
        /// Their kind.
        what: Kind,
    },
}

impl Event {
    /// Whether it changed nothing: anybody can bring about as many of these as he likes.
    pub(super) fn is_idle(&self) -> bool {
        matches!(
            self.deed,
            Deed::Upload { what: Outcome::Unchanged, .. }
                | Deed::Token { what: TokenUse::Wrong | TokenUse::Expired, .. }
        )
    }
}

/// The kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Uploads that were taken.
    Upload,
    /// Uploads that were refused.
    Refusal,
    /// Uses and changes of tokens.
    Token,
    /// What maintainers of claimed projects signed.
    Claim,
    /// Addresses shut out.
    Block,
    /// Events left out.
    Omitted,
}

/// What became of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It is published.
    Published,
    /// It waits for its maintainers' signature.
    Staged,
    /// It was there already.
    Unchanged,
}

/// Why an upload was refused: the class, never the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Without a token.
    NoToken,
    /// The address is shut out.
    Blocked,
    /// Too many at once, or in a minute.
    Busy,
    /// What maintainers signed does not fit, or too much waits for them.
    Unfit,
    /// Form, name and content do not fit each other.
    Form,
    /// Too many bytes.
    TooLarge,
    /// The file name stands for other content.
    Conflict,
    /// Nothing came for a while, or the form ended too early.
    Broken,
    /// The server's own fault.
    Fault,
}

/// What was done with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenUse {
    /// It was good. Written once for each address and day.
    Accepted,
    /// There is no such token.
    Wrong,
    /// It was good until it expired.
    Expired,
    /// It is for other projects.
    NotForProject,
    /// It was made.
    Created,
    /// It was taken away.
    Revoked,
}

/// What became of what maintainers signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClaimChange {
    /// It waits for an admin.
    Received,
    /// It is published.
    Applied,
    /// An admin ended the claim.
    Revoked,
}

/// What was done about an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BlockChange {
    /// Shut out.
    Blocked,
    /// Let in again.
    Unblocked,
}

/// A closed list of words.
pub trait Word: Copy + PartialEq + 'static {
    /// Each with how it is written.
    const WORDS: &'static [(Self, &'static str)];

    /// How it is written.
    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(value, _)| *value == self).map_or("", |(_, word)| word)
    }

    /// What is written so.
    fn of(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(_, known)| *known == word).map(|(value, _)| *value)
    }
}

impl Word for Kind {
    const WORDS: &'static [(Self, &'static str)] = &[
        (Self::Upload, "upload"),
        (Self::Refusal, "refusal"),
        (Self::Token, "token"),
        (Self::Claim, "claim"),
        (Self::Block, "block"),
        (Self::Omitted, "omitted"),
    ];
}

impl Word for Outcome {
    const WORDS: &'static [(Self, &'static str)] =
        &[(Self::Published, "published"), (Self::Staged, "staged"), (Self::Unchanged, "unchanged")];
}

impl Word for Reason {
    const WORDS: &'static [(Self, &'static str)] = &[
        (Self::NoToken, "no-token"),
        (Self::Blocked, "blocked"),
        (Self::Busy, "busy"),
        (Self::Unfit, "unfit"),
        (Self::Form, "form"),
        (Self::TooLarge, "too-large"),
        (Self::Conflict, "conflict"),
        (Self::Broken, "broken"),
        (Self::Fault, "fault"),
    ];
}

impl Word for TokenUse {
    const WORDS: &'static [(Self, &'static str)] = &[
        (Self::Accepted, "accepted"),
        (Self::Wrong, "wrong"),
        (Self::Expired, "expired"),
        (Self::NotForProject, "not-for-project"),
        (Self::Created, "created"),
        (Self::Revoked, "revoked"),
    ];
}

impl Word for ClaimChange {
    const WORDS: &'static [(Self, &'static str)] =
        &[(Self::Received, "received"), (Self::Applied, "applied"), (Self::Revoked, "revoked")];
}

impl Word for BlockChange {
    const WORDS: &'static [(Self, &'static str)] =
        &[(Self::Blocked, "blocked"), (Self::Unblocked, "unblocked")];
}

/// A line as JSON has it. Fields are in order of their names.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    city: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    time: String,
    times: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    what: String,
}

impl Event {
    /// One that happened once.
    pub fn new(time: Minute, origin: Origin, deed: Deed) -> Self {
        Self { time, origin, deed, times: 1 }
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self.deed {
            Deed::Upload { .. } => Kind::Upload,
            Deed::Refusal { .. } => Kind::Refusal,
            Deed::Token { .. } => Kind::Token,
            Deed::Claim { .. } => Kind::Claim,
            Deed::Block { .. } => Kind::Block,
            Deed::Omitted { .. } => Kind::Omitted,
        }
    }

    /// The account that it is about.
    pub fn account(&self) -> Option<&Account> {
        match &self.deed {
            Deed::Upload { account, .. }
            | Deed::Refusal { account, .. }
            | Deed::Token { account, .. }
            | Deed::Claim { account, .. } => account.as_ref(),
            Deed::Block { .. } | Deed::Omitted { .. } => None,
        }
    }

    /// The project that it is about.
    pub fn project(&self) -> Option<&ProjectName> {
        match &self.deed {
            Deed::Upload { file, .. } => Some(file.project()),
            Deed::Refusal { project, .. } => project.as_ref(),
            Deed::Claim { project, .. } => Some(project),
            Deed::Token { .. } | Deed::Block { .. } | Deed::Omitted { .. } => None,
        }
    }

    /// The file that it is about.
    pub fn file(&self) -> Option<&FileName> {
        match &self.deed {
            Deed::Upload { file, .. } => Some(file),
            _ => None,
        }
    }

    /// What was done, in a word.
    pub fn what(&self) -> &'static str {
        match &self.deed {
            Deed::Upload { what, .. } => what.word(),
            Deed::Refusal { what, .. } => what.word(),
            Deed::Token { what, .. } => what.word(),
            Deed::Claim { what, .. } => what.word(),
            Deed::Block { what, .. } => what.word(),
            Deed::Omitted { what } => what.word(),
        }
    }

    /// Its line, without the end of it.
    pub fn line(&self) -> String {
        let mut wire = Wire {
            address: self.origin.address.as_ref().map(ToString::to_string),
            city: self.origin.city.as_ref().map(ToString::to_string),
            country: self.origin.country.as_ref().map(ToString::to_string),
            account: self.account().map(ToString::to_string),
            kind: self.kind().word().to_owned(),
            time: self.time.to_string(),
            times: self.times,
            what: self.what().to_owned(),
            ..Wire::default()
        };
        match &self.deed {
            Deed::Upload { file, sha256, .. } => {
                wire.file = Some(file.to_string());
                wire.sha256 = Some(sha256.to_string());
            }
            Deed::Refusal { project, .. } => wire.project = project.as_ref().map(ToString::to_string),
            Deed::Claim { project, .. } => wire.project = Some(project.to_string()),
            Deed::Block { until, .. } => wire.until = until.as_ref().map(ToString::to_string),
            Deed::Token { .. } | Deed::Omitted { .. } => {}
        }
        // Strings and numbers alone: there is nothing that JSON cannot write.
        serde_json::to_string(&wire).unwrap_or_default()
    }
}

impl FromStr for Event {
    type Err = ValueError;

    /// The event of a line without its end.
    fn from_str(line: &str) -> Result<Self, ValueError> {
        let shape = ValueError { what: "event", expected: "a line of the journal in canonical form" };
        if line.len() > MAX_LINE {
            return Err(shape);
        }
        let wire: Wire = serde_json::from_str(line).map_err(|_| shape)?;
        let event = Self {
            time: wire.time.parse()?,
            origin: Origin {
                address: parsed(wire.address.as_deref())?,
                country: parsed(wire.country.as_deref())?,
                city: parsed(wire.city.as_deref())?,
            },
            deed: deed(&wire)?,
            times: wire.times,
        };
        // So a field that does not belong to the kind is no way in either.
        if event.times > 0 && event.line() == line { Ok(event) } else { Err(shape) }
    }
}

fn deed(wire: &Wire) -> Result<Deed, ValueError> {
    let account = parsed::<Account>(wire.account.as_deref())?;
    let project = wire.project.as_deref().map(ProjectName::from_normalised).transpose();
    let project = project.map_err(|_| ValueError { what: "project", expected: "a normalised name" })?;
    Ok(match word::<Kind>("kind", &wire.kind)? {
        Kind::Upload => Deed::Upload {
            what: word("upload", &wire.what)?,
            account,
            file: there(parsed(wire.file.as_deref())?)?,
            sha256: there(parsed(wire.sha256.as_deref())?)?,
        },
        Kind::Refusal => Deed::Refusal { what: word("refusal", &wire.what)?, account, project },
        Kind::Token => Deed::Token { what: word("use of a token", &wire.what)?, account },
        Kind::Claim => Deed::Claim { what: word("claim", &wire.what)?, account, project: there(project)? },
        Kind::Block => {
            Deed::Block { what: word("block", &wire.what)?, until: parsed(wire.until.as_deref())? }
        }
        Kind::Omitted => Deed::Omitted { what: word("kind", &wire.what)? },
    })
}

fn parsed<T: FromStr<Err = ValueError>>(text: Option<&str>) -> Result<Option<T>, ValueError> {
    text.map(str::parse).transpose()
}

fn word<T: Word>(what: &'static str, text: &str) -> Result<T, ValueError> {
    T::of(text).ok_or(ValueError { what, expected: "one of the words in docs/privacy.md" })
}

fn there<T>(field: Option<T>) -> Result<T, ValueError> {
    field.ok_or(ValueError { what: "event", expected: "all fields of its kind" })
}
