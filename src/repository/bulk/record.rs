//! A target on its way through the [spill](super::super::spill): `path TAB sha256 length line custom`, and the
//! length of the path.
//!
//! The path comes first and ends with a byte that no path has and that is below all of theirs, so records are sorted
//! as their paths are; the numbers are 8 bytes each, most significant first; the length of the path 2.

use super::line::Line;
use crate::spill::SpillError;
use crate::tuf::json::{Json, parse};

/// Set in the line number of a page, which stands in no line; below it the attempt that made the page.
const PAGE: u64 = 1 << 63;

/// A target to be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record<'a> {
    /// A target path.
    pub(super) path: &'a str,
    /// 64 lower-case hexadecimal digits.
    pub(super) sha256: &'a str,
    /// In bytes.
    pub(super) length: u64,
    /// The number of the line that it stood in, for errors; of a page what [`Self::attempt`] says.
    pub(super) line: u64,
    /// `custom` as JSON, or nothing.
    pub(super) custom: &'a str,
}

impl<'a> Record<'a> {
    /// Of a line; without `custom`.
    pub(super) fn of(line: &Line<'a>, number: u64) -> Self {
        Self { path: line.path, sha256: line.sha256, length: line.length, line: number, custom: "" }
    }

    /// Of a project's page, which takes the place of whatever is listed, and of those that earlier attempts made.
    pub(super) fn page(path: &'a str, sha256: &'a str, length: u64, attempt: u32) -> Self {
        Self { path, sha256, length, line: PAGE | u64::from(attempt), custom: "" }
    }

    /// The attempt that made a page; `None` for a file.
    pub(super) fn attempt(&self) -> Option<u64> {
        (self.line & PAGE != 0).then_some(self.line & !PAGE)
    }

    /// Writes it to `out`, which is emptied first.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(self.path.as_bytes());
        out.push(b'\t');
        out.extend_from_slice(self.sha256.as_bytes());
        out.extend_from_slice(&self.length.to_be_bytes());
        out.extend_from_slice(&self.line.to_be_bytes());
        out.extend_from_slice(self.custom.as_bytes());
        // No target path is longer than `MAX_TARGET_PATH`.
        out.extend_from_slice(&u16::try_from(self.path.len()).unwrap_or(u16::MAX).to_be_bytes());
    }

    /// Reads it again.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, SpillError> {
        let parts = || {
            let (bytes, end) = bytes.split_last_chunk()?;
            let (path, rest) = bytes.split_at_checked(usize::from(u16::from_be_bytes(*end)))?;
            let (sha256, rest) = rest.strip_prefix(b"\t")?.split_at_checked(64)?;
            let (length, rest) = rest.split_first_chunk()?;
            let (line, custom) = rest.split_first_chunk()?;
            let text = |bytes| std::str::from_utf8(bytes).ok();
            let (length, line) = (u64::from_be_bytes(*length), u64::from_be_bytes(*line));
            Some(Self { path: text(path)?, sha256: text(sha256)?, length, line, custom: text(custom)? })
        };
        parts().ok_or(SpillError::Damaged)
    }

    /// Whether both say the same of the same path.
    pub(super) fn same(&self, other: &Self) -> bool {
        (self.path, self.sha256, self.length, self.custom)
            == (other.path, other.sha256, other.length, other.custom)
    }

    /// `custom` as a value.
    pub(super) fn custom(&self) -> Result<Option<Json<'a>>, SpillError> {
        if self.custom.is_empty() {
            return Ok(None);
        }
        parse(self.custom.as_bytes()).map(Some).map_err(|_| SpillError::Damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_sorts_by_path() {
        let sha256 = "0f".repeat(32);
        let record = |path, custom| Record { path, sha256: &sha256, length: 7, line: u64::MAX, custom };
        let mut written = Vec::new();
        for path in ["a", "a b", "a/b", "a!", "é"] {
            for custom in ["", "{\"x\":1}"] {
                let mut bytes = vec![1, 2, 3];
                record(path, custom).write(&mut bytes);
                assert_eq!(Record::read(&bytes), Ok(record(path, custom)));
                assert_eq!(record(path, custom).custom().unwrap().is_some(), !custom.is_empty());
                written.push((bytes, path));
            }
        }
        written.sort();
        assert!(written.is_sorted_by_key(|(_, path)| *path));
    }

    #[test]
    fn bytes_that_are_no_record_are_refused() {
        for bytes in
            [b"".as_slice(), b"path", b"path\t00", &[b'a'; 200], &[&b"\t"[..], &[0xff; 100]].concat()]
        {
            assert_eq!(Record::read(bytes), Err(SpillError::Damaged));
        }
    }
}
