//! [`Entries`]: leaves on their way into the log. In memory while they are few; in a temporary file without a name when
//! they are many.

use std::fs::File;
use std::os::unix::fs::FileExt;

use thiserror::Error;

use super::LogError;
use super::head::{Logged, MAX_INLINE};
use crate::tlog::bundle::{self, BundleError};
use crate::tlog::leaf::{Leaf, Role, TufLeaf};

/// Bytes of a block, at most, and so of a staged blob, and of what stays in memory: some 16,000 entries.
pub(super) const MAX_BLOCK: usize = 4 * 1024 * 1024;

/// Why entries are refused, or could not be kept.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EntriesError {
    /// The temporary file.
    #[error("cannot {what} a temporary file: {message}")]
    Io {
        /// Verb.
        what: &'static str,
        /// The system's wording.
        message: String,
    },
    /// Two versions of a role that do not rise.
    #[error("version {version} of {} after version {before} in one append", .role.name())]
    Order {
        /// The role.
        role: Role,
        /// The later one.
        version: u64,
        /// The one before it.
        before: u64,
    },
    /// `log/v1` is the first leaf of a log or none.
    #[error("a log can name the one before it in its first entry alone")]
    NotFirst,
    /// Longer than a leaf can be.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// More blocks than one append may have.
    #[error("entries of {found} blocks in one append, at most {} are allowed", super::head::MAX_STAGED)]
    TooMany {
        /// Blocks.
        found: usize,
    },
}

impl EntriesError {
    pub(super) fn io(what: &'static str, error: &std::io::Error) -> Self {
        Self::Io { what, message: error.to_string() }
    }
}

/// Leaves to be appended, in their order. Memory: 4 MiB, and 16 bytes for each 4 MiB more.
#[derive(Debug, Default)]
pub struct Entries {
    /// The last block, as in a bundle.
    block: Vec<u8>,
    /// Where the others are: offset and bytes.
    written: Vec<(u64, usize)>,
    file: Option<File>,
    end: u64,
    len: u64,
    /// First and last version of each role.
    first: Logged,
    last: Logged,
}

impl Entries {
    /// One leaf more. That its path is not in the log yet is for the caller to know.
    pub fn push(&mut self, leaf: &Leaf) -> Result<(), EntriesError> {
        match leaf {
            Leaf::Commitment(_) | Leaf::Conflict(_) | Leaf::File(_) => {}
            Leaf::Tuf(leaf) => self.check_order(leaf)?,
            Leaf::Log(_) => return Err(EntriesError::NotFirst),
        }
        self.push_text(&leaf.to_string())
    }

    /// The first entry of a log that continues another.
    pub(super) fn push_text(&mut self, text: &str) -> Result<(), EntriesError> {
        if self.block.len() + 2 + text.len() > MAX_BLOCK {
            self.spill()?;
        }
        bundle::push(&mut self.block, text.as_bytes())?;
        self.len += 1;
        Ok(())
    }

    fn check_order(&mut self, leaf: &TufLeaf) -> Result<(), EntriesError> {
        let (role, version, before) = (leaf.role(), leaf.version(), self.last.of(leaf.role()));
        if version <= before {
            return Err(EntriesError::Order { role, version, before });
        }
        if before == 0 {
            self.first.set(role, version);
        }
        self.last.set(role, version);
        Ok(())
    }

    fn spill(&mut self) -> Result<(), EntriesError> {
        let file = match self.file.take() {
            Some(file) => file,
            None => tempfile::tempfile().map_err(|error| EntriesError::io("make", &error))?,
        };
        let file = self.file.insert(file);
        file.write_all_at(&self.block, self.end).map_err(|error| EntriesError::io("write", &error))?;
        self.written.push((self.end, self.block.len()));
        self.end = self.end.saturating_add(u64::try_from(self.block.len()).unwrap_or(u64::MAX));
        self.block.clear();
        Ok(())
    }

    /// How many leaves.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn blocks(&self) -> usize {
        self.written.len() + usize::from(!self.block.is_empty())
    }

    /// Whether `log/head` takes them.
    pub(super) fn fit_in_head(&self) -> Result<bool, EntriesError> {
        Ok(self.blocks() <= 1 && self.block(0)?.len() <= MAX_INLINE)
    }

    /// The entries of a block, as in a bundle.
    pub(super) fn block(&self, number: usize) -> Result<Vec<u8>, EntriesError> {
        let (Some((at, len)), Some(file)) = (self.written.get(number), &self.file) else {
            return Ok(self.block.clone());
        };
        let mut block = vec![0; *len];
        file.read_exact_at(&mut block, *at).map_err(|error| EntriesError::io("read", &error))?;
        Ok(block)
    }

    /// What is logged when these follow what was.
    pub(super) fn logged_after(&self, before: Logged) -> Result<Logged, LogError> {
        let mut after = before;
        for role in [Role::Root, Role::Snapshot, Role::Targets] {
            let (version, newest) = (self.first.of(role), before.of(role));
            if version > 0 && version <= newest {
                return Err(LogError::Again { role, version, newest });
            }
            after.set(role, self.last.of(role).max(newest));
        }
        Ok(after)
    }
}
