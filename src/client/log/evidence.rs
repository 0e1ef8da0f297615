//! Evidence that a log showed two histories: a file that a third person can check with the log's key alone.
//!
//! It holds both checkpoints byte for byte as they were signed. docs/formats.md says how to check it.

use std::fmt;

use super::LogDir;
use crate::client::CacheError;
use crate::crypto::sha256;

/// Evidence files of one repository, at most: who holds a log's key could make any number.
const MAX_FILES: usize = 256;

/// How two checkpoints of one log contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contradiction {
    /// The same number of leaves, and other ones.
    OtherRoot {
        /// Leaves of both.
        size: u64,
    },
    /// It has fewer leaves than it had.
    Smaller {
        /// Leaves of the checkpoint that was seen before.
        before: u64,
        /// Leaves of the one that timestamp names now.
        now: u64,
    },
    /// The smaller tree does not begin the larger one, by the log's own tiles.
    NotGrown {
        /// Leaves of the checkpoint that was seen before.
        before: u64,
        /// Leaves of the one that timestamp names now.
        now: u64,
    },
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherRoot { size } => write!(f, "two different trees of {size} leaves"),
            Self::Smaller { before, now } => {
                write!(f, "it had {before} leaves, and timestamp names a tree of {now}")
            }
            Self::NotGrown { before, now } => {
                write!(f, "its tree of {now} leaves does not begin with its tree of {before}")
            }
        }
    }
}

impl Contradiction {
    /// What the two checkpoints prove, for who was not there.
    fn meaning(self) -> &'static str {
        match self {
            Self::OtherRoot { .. } => {
                "A log has one tree of each size. Both checkpoints are signed by the log, so it showed different\n\
                 histories to different people. This needs no further proof.\n"
            }
            Self::Smaller { .. } => {
                "A log never shrinks. The smaller checkpoint was presented as the current one, in the timestamp below,\n\
                 to a client that had seen the larger one. A restored backup looks like this, and so does a rewritten log.\n"
            }
            Self::NotGrown { .. } => {
                "The log's tiles do not lead from the first tree to the second. If no tiles of the log do, it was\n\
                 rewritten; if others do, the tiles that this client got were wrong.\n"
            }
        }
    }
}

/// What goes to an evidence file.
pub(super) struct Evidence<'a> {
    pub(super) origin: &'a str,
    pub(super) what: Contradiction,
    /// The signed checkpoint that was seen before.
    pub(super) before: &'a str,
    /// The signed checkpoint that contradicts it.
    pub(super) now: &'a str,
    /// The signed timestamp that names it.
    pub(super) timestamp: &'a str,
}

impl Evidence<'_> {
    /// Writes it, and says where. The same evidence has the same name.
    pub(super) fn write(&self, folder: &LogDir) -> Result<String, CacheError> {
        let name = hex::encode(sha256([self.before, self.now].concat().as_bytes()));
        let place = folder.path("evidence");
        let count = std::fs::read_dir(&place).map_or(0, Iterator::count);
        let name = match name.get(..16) {
            Some(short) if count < MAX_FILES => short,
            _ => "latest",
        };
        let path = folder.write(&format!("evidence/{name}.txt"), self.to_string().as_bytes())?;
        Ok(path.display().to_string())
    }
}

impl fmt::Display for Evidence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "wheelseal log evidence v1\n")?;
        writeln!(f, "The transparency log {} shows two histories:\n{}.\n", self.origin, self.what)?;
        writeln!(f, "{}", self.what.meaning())?;
        for (title, text) in [
            ("FIRST CHECKPOINT", self.before),
            ("SECOND CHECKPOINT", self.now),
            ("TIMESTAMP", self.timestamp),
        ] {
            let end = if text.ends_with('\n') { "" } else { "\n" };
            writeln!(f, "-----BEGIN {title}-----\n{text}{end}-----END {title}-----")?;
        }
        Ok(())
    }
}
