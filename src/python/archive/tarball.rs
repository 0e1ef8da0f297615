//! The entries of a tar, block by block (POSIX.1-1988 "ustar Interchange Format", GNU and PAX beside it).
//!
//! The `tar` library decodes the fields; the walk is here, because readers differ on all of what follows and the
//! library takes one side silently:
//!
//! 1. A size is octal, and so are the other numbers: where one is not, Python's `tarfile` ends the archive without
//!    an error. Readers differ on signs, and on how much of a size in base 256 counts.
//! 2. Only a POSIX ustar header has a prefix; `tarfile` joins it to the name in headers of GNU as well.
//! 3. What fills the last block of an extended header is zero; `tarfile` reads names on into it.
//! 4. After the first block of zeros nothing but zeros follows.

use std::io::{self, Read};

use tar::Header;

use super::{ArchiveError, read_capped, unreadable};

/// Bytes of a header, and what every content is filled up to.
const BLOCK_BYTES: usize = 512;

/// Where the prefix of a ustar header begins.
const PREFIX_AT: usize = 345;

/// The fields that hold numbers other than the size: mode, uid, gid, mtime, checksum, device numbers.
const NUMBERS: [std::ops::Range<usize>; 7] =
    [100..108, 108..116, 116..124, 136..148, 148..156, 329..337, 337..345];

/// Where the size is.
const SIZE: std::ops::Range<usize> = 124..136;

/// A tar that is read entry by entry. Reading it gives the content of the entry last returned.
pub(super) struct Tarball<R> {
    inner: R,
    /// Bytes of the content of the entry not yet read.
    left: u64,
    /// Bytes after the content up to the next block.
    padding: u64,
}

impl<R: Read> Tarball<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, left: 0, padding: 0 }
    }

    /// The next header, with all before it read; `None` at the end, when all of the tar was read.
    pub(super) fn next_header(&mut self) -> Result<Option<Header>, ArchiveError> {
        self.skip()?;
        let block = read_up_to(&mut self.inner, BLOCK_BYTES)?;
        if block.is_empty() {
            return Ok(None);
        }
        if block.len() < BLOCK_BYTES {
            return Err(unreadable(&"the tar ends within a header"));
        }
        if block.iter().all(|byte| *byte == 0) {
            return self.expect_zeros().map(|()| None);
        }
        let header = Header::from_byte_slice(&block).clone();
        check_header(&header, &block)?;
        self.left = header.entry_size().map_err(|error| unreadable(&error))?;
        self.padding = self.left.wrapping_neg() % 512;
        Ok(Some(header))
    }

    /// The size of the entry last returned, less what was read of it.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// All content of an extended header.
    pub(super) fn read_extended(&mut self, what: &str, limit: usize) -> Result<Vec<u8>, ArchiveError> {
        let content = self.read_content(what, limit)?;
        let padding = usize::try_from(self.padding).unwrap_or(BLOCK_BYTES);
        self.padding = 0;
        let filler = read_up_to(&mut self.inner, padding)?;
        if filler.len() < padding || filler.iter().any(|byte| *byte != 0) {
            return Err(unreadable(&format!("after the {what} the block is not filled with zeros")));
        }
        Ok(content)
    }

    /// All content of an entry.
    pub(super) fn read_content(&mut self, what: &str, limit: usize) -> Result<Vec<u8>, ArchiveError> {
        let content = read_capped(&mut *self, what, limit)?;
        if self.left > 0 {
            return Err(unreadable(&format!("{what:?} ends {} bytes early", self.left)));
        }
        Ok(content)
    }

    fn skip(&mut self) -> Result<(), ArchiveError> {
        let count = self
            .left
            .checked_add(self.padding)
            .ok_or_else(|| unreadable(&"the size of an entry overflows"))?;
        let skipped = io::copy(&mut self.inner.by_ref().take(count), &mut io::sink())
            .map_err(|error| unreadable(&error))?;
        (self.left, self.padding) = (0, 0);
        if skipped == count { Ok(()) } else { Err(unreadable(&"the tar ends within an entry")) }
    }

    fn expect_zeros(&mut self) -> Result<(), ArchiveError> {
        loop {
            let block = read_up_to(&mut self.inner, BLOCK_BYTES)?;
            if block.iter().any(|byte| *byte != 0) {
                return Err(unreadable(&"the tar goes on after its end"));
            }
            if block.is_empty() {
                return Ok(());
            }
        }
    }
}

impl<R: Read> Read for Tarball<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.by_ref().take(self.left).read(buffer)?;
        self.left = self.left.saturating_sub(u64::try_from(read).unwrap_or(u64::MAX));
        Ok(read)
    }
}

/// A record of a PAX header.
pub(super) struct PaxRecord<'a> {
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
}

/// The records of a PAX header: each a line `length key=value`, so that readers that go by the length and readers
/// that go by the line see the same.
pub(super) fn pax_records(content: &[u8]) -> Result<Vec<PaxRecord<'_>>, ArchiveError> {
    content
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| pax_record(line).ok_or_else(|| unreadable(&"a pax header has a malformed record")))
        .collect()
}

fn pax_record(line: &[u8]) -> Option<PaxRecord<'_>> {
    let record = line.strip_suffix(b"\n")?;
    let (length, record) = record.split_at_checked(record.iter().position(|byte| *byte == b' ')?)?;
    let length =
        std::str::from_utf8(length).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    let (key, value) = record.split_at_checked(record.iter().position(|byte| *byte == b'=')?)?;
    let (key, value) = (key.strip_prefix(b" ")?, value.strip_prefix(b"=")?);
    (length.parse() == Ok(line.len()) && !key.is_empty()).then_some(PaxRecord { key, value })
}

fn check_header(header: &Header, block: &[u8]) -> Result<(), ArchiveError> {
    let field = |range: std::ops::Range<usize>| block.get(range).unwrap_or_default();
    let sum = block.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    let own = field(148..156).iter().map(|byte| u32::from(*byte)).sum::<u32>();
    let as_if_blank = (sum - own).checked_add(8 * u32::from(b' '));
    if header.cksum().ok() != as_if_blank {
        return Err(unreadable(&"the checksum of a header is wrong"));
    }
    let base_256 = |field: &[u8]| matches!(field.first(), Some(0x80 | 0xff));
    if !is_octal(field(SIZE))
        || !NUMBERS.into_iter().map(field).all(|field| is_octal(field) || base_256(field))
    {
        return Err(unreadable(&"a header has a number that is not octal"));
    }
    if header.as_ustar().is_none() && block.get(PREFIX_AT) != Some(&0) {
        return Err(unreadable(&"a header has a prefix, and is not of the format that has one"));
    }
    Ok(())
}

/// Octal digits between spaces, up to the first NUL; or none.
fn is_octal(field: &[u8]) -> bool {
    let text = field.split(|byte| *byte == 0).next().unwrap_or_default();
    text.trim_ascii().iter().all(|byte| matches!(byte, b'0'..=b'7'))
}

fn read_up_to(reader: &mut impl Read, count: usize) -> Result<Vec<u8>, ArchiveError> {
    let mut bytes = Vec::with_capacity(count);
    let limit = u64::try_from(count).unwrap_or(u64::MAX);
    reader.take(limit).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    Ok(bytes)
}
