//! Where the parts of a zip lie, before the zip library opens it (APPNOTE 4.3 "General Format of a .ZIP File").
//!
//! ```text
//! header, data │ header, data │ ... │ central directory │ [zip64 record, locator] │ end record
//! 0            each begins where the one before ends                              last 22 bytes
//! ```
//!
//! Readers search for the end record in ways of their own, skip what they do not like and shift all offsets by
//! what they take for a prefix. So two archives in one file are two different archives to two readers. Here the
//! parts must fill the file from the first byte to the last, so that there is nothing to search and to skip.
//!
//! Refused although the format has them: comments of the archive, bytes before, between or behind the parts,
//! data descriptors (a reader of the stream finds the end of the data by them, others by the directory), names
//! that are not ASCII without the UTF-8 flag, and names given a second time in an extra field.

use std::io::{Read, Seek, SeekFrom};

use super::{ArchiveError, ArchiveLimits, unreadable};

/// Bytes of the end of central directory record without a comment (APPNOTE 4.3.16).
const END_BYTES: u64 = 22;

/// Bytes of the zip64 end of central directory locator (APPNOTE 4.3.15).
const LOCATOR_BYTES: u64 = 20;

/// Bytes of the zip64 end of central directory record without extensible data (APPNOTE 4.3.14).
const RECORD_BYTES: u64 = 56;

/// What the zip64 record says of its own size: all of it but signature and this field.
const RECORD_SIZE_FIELD: u64 = RECORD_BYTES - 12;

/// Bytes of a central directory header before the name (APPNOTE 4.3.12).
const CENTRAL_BYTES: usize = 46;

/// Bytes of a local header before the name (APPNOTE 4.3.7).
const LOCAL_BYTES: u64 = 30;

/// A 32-bit field whose value is in the zip64 structures (APPNOTE 4.4.1.4).
const SATURATED: u64 = 0xffff_ffff;

/// The extra field with 64-bit sizes (APPNOTE 4.5.3).
const ZIP64_EXTRA: u16 = 0x0001;

/// The extra field with a name that some readers prefer (APPNOTE 4.6.9).
const UNICODE_PATH_EXTRA: u16 = 0x7075;

/// The flag for sizes that follow the data (APPNOTE 4.4.4, bit 3).
const DATA_DESCRIPTOR_FLAG: u64 = 1 << 3;

/// The flag for names in UTF-8 (APPNOTE 4.4.4, bit 11).
const UTF8_FLAG: u64 = 1 << 11;

/// What the central directory says of an entry, as `zipfile` of `CPython` reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) name: Vec<u8>,
    pub(super) header_start: u64,
    pub(super) compressed_size: u64,
    pub(super) size: u64,
    /// The file type and permissions of Unix, whatever system the archive says it was made on.
    pub(super) mode: u64,
}

/// What the end records say of the central directory.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Directory {
    entries: u64,
    size: u64,
    start: u64,
}

/// Checks that the parts of the zip fill the file, and lists the entries in the order of the directory.
///
/// Not checked: that local headers agree with the directory in more than where they begin and end.
pub(super) fn list(
    reader: &mut (impl Read + Seek),
    limits: &ArchiveLimits,
) -> Result<Vec<Listed>, ArchiveError> {
    let length = reader.seek(SeekFrom::End(0)).map_err(|error| unreadable(&error))?;
    let (directory, end) = directory(reader, length)?;
    if directory.start.checked_add(directory.size) != Some(end) {
        return Err(inconsistent("the central directory does not end where the end record begins"));
    }
    if directory.entries > limits.entries {
        return Err(ArchiveError::TooManyEntries { limit: limits.entries });
    }
    if directory.size > limits.directory_bytes {
        return Err(ArchiveError::TooLarge { limit: limits.directory_bytes });
    }
    let bytes = read_at(reader, directory.start, directory.size)?;
    let mut rest = Fields(&bytes);
    let mut listed = Vec::new();
    for _ in 0..directory.entries {
        listed.push(rest.entry().ok_or_else(|| inconsistent("the central directory is cut off"))??);
    }
    if !rest.0.is_empty() {
        return Err(inconsistent("the central directory has more entries than the end record says"));
    }
    check_adjacent(reader, &listed, directory.start)?;
    Ok(listed)
}

/// The central directory, and where the end records begin.
fn directory(reader: &mut (impl Read + Seek), length: u64) -> Result<(Directory, u64), ArchiveError> {
    let start = length.checked_sub(END_BYTES).ok_or_else(no_end)?;
    let bytes = read_at(reader, start, END_BYTES)?;
    let (disks, classic, comment) = Fields(&bytes).end().ok_or_else(no_end)?;
    if disks != [0, 0] || comment != 0 {
        return Err(inconsistent("the end record has a comment, or is of a part of several"));
    }
    let Some(locator_start) = start.checked_sub(LOCATOR_BYTES) else { return Ok((classic, start)) };
    let bytes = read_at(reader, locator_start, LOCATOR_BYTES)?;
    let Some(locator) = Fields(&bytes).locator() else { return Ok((classic, start)) };
    let misplaced = || inconsistent("the zip64 records do not fit the end record");
    let record_start = locator_start.checked_sub(RECORD_BYTES).ok_or_else(misplaced)?;
    let bytes = read_at(reader, record_start, RECORD_BYTES)?;
    let large = Fields(&bytes).record().ok_or_else(misplaced)?;
    let saturated = Directory {
        entries: if classic.entries == 0xffff { large.entries } else { classic.entries },
        size: if classic.size == SATURATED { large.size } else { classic.size },
        start: if classic.start == SATURATED { large.start } else { classic.start },
    };
    let needed = classic.entries == 0xffff || classic.size == SATURATED || classic.start == SATURATED;
    if !needed || saturated != large || locator != [0, record_start, 1] {
        return Err(misplaced());
    }
    Ok((large, record_start))
}

/// Each entry begins where the one before ends: the first at the first byte, the last ends at the directory.
fn check_adjacent(
    reader: &mut (impl Read + Seek),
    listed: &[Listed],
    directory_start: u64,
) -> Result<(), ArchiveError> {
    let mut by_start: Vec<&Listed> = listed.iter().collect();
    by_start.sort_by_key(|entry| entry.header_start);
    let mut cursor = 0;
    for entry in by_start {
        if entry.header_start != cursor {
            return Err(inconsistent("there are bytes between the entries, or entries overlap"));
        }
        let header = read_at(reader, cursor, LOCAL_BYTES)?;
        let bytes = Fields(&header).local().ok_or_else(|| inconsistent("an entry has no local header"))?;
        cursor = [LOCAL_BYTES, bytes, entry.compressed_size]
            .into_iter()
            .try_fold(cursor, u64::checked_add)
            .ok_or_else(|| inconsistent("an entry ends behind the archive"))?;
    }
    if cursor == directory_start {
        Ok(())
    } else {
        Err(inconsistent("the central directory does not begin where the last entry ends"))
    }
}

/// Bytes that are read from the front, field by field; `None` where they end or are not what was expected.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A little-endian number of so many bytes, at most eight.
    fn number(&mut self, bytes: usize) -> Option<u64> {
        Some(self.bytes(bytes)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(self.number(2)?).ok()
    }

    fn signature(&mut self, signature: [u8; 4]) -> Option<()> {
        (self.bytes(4)? == signature).then_some(())
    }

    /// An end record: the two disk numbers, the directory and the length of the comment.
    fn end(&mut self) -> Option<([u64; 2], Directory, u64)> {
        self.signature(*b"PK\x05\x06")?;
        let disks = [self.number(2)?, self.number(2)?];
        let entries_on_disk = self.number(2)?;
        let directory = Directory { entries: self.number(2)?, size: self.number(4)?, start: self.number(4)? };
        (entries_on_disk == directory.entries).then_some((disks, directory, self.number(2)?))
    }

    /// A zip64 locator: the disk of the record, its offset and the number of disks.
    fn locator(&mut self) -> Option<[u64; 3]> {
        self.signature(*b"PK\x06\x07")?;
        Some([self.number(4)?, self.number(8)?, self.number(4)?])
    }

    /// A zip64 record of one disk without extensible data.
    fn record(&mut self) -> Option<Directory> {
        self.signature(*b"PK\x06\x06")?;
        let own_size = self.number(8)?;
        let _versions = self.number(4)?;
        let disks = self.number(8)?;
        let entries_on_disk = self.number(8)?;
        let directory = Directory { entries: self.number(8)?, size: self.number(8)?, start: self.number(8)? };
        let plain = own_size == RECORD_SIZE_FIELD && disks == 0 && entries_on_disk == directory.entries;
        plain.then_some(directory)
    }

    /// How many bytes of name and extra fields follow the fixed part of a local header.
    fn local(&mut self) -> Option<u64> {
        self.signature(*b"PK\x03\x04")?;
        self.bytes(22)?;
        Some(self.number(2)? + self.number(2)?)
    }

    /// A header of the central directory; `None` if it is cut off or none.
    fn entry(&mut self) -> Option<Result<Listed, ArchiveError>> {
        let mut fixed = Fields(self.bytes(CENTRAL_BYTES)?);
        fixed.signature(*b"PK\x01\x02")?;
        let _versions = fixed.number(4)?;
        let flags = fixed.number(2)?;
        let _method_time_and_checksum = fixed.bytes(10)?;
        let sizes = [fixed.number(4)?, fixed.number(4)?];
        let [name, extra, comment] = [fixed.length()?, fixed.length()?, fixed.length()?];
        let disk = fixed.number(2)?;
        let _internal_attributes = fixed.number(2)?;
        let mode = fixed.number(4)? >> 16;
        let header_start = fixed.number(4)?;
        let [name, extra, _] = [self.bytes(name)?, self.bytes(extra)?, self.bytes(comment)?];
        let [compressed_size, size] = sizes;
        let entry = Listed { name: name.to_vec(), header_start, compressed_size, size, mode };
        Some(check_entry(&entry, flags, disk).and_then(|()| with_extra(entry, extra)))
    }

    /// An extra field: its number and its content.
    fn extra(&mut self) -> Option<(u16, &'a [u8])> {
        let id = u16::try_from(self.number(2)?).ok()?;
        let length = self.length()?;
        Some((id, self.bytes(length)?))
    }
}

fn check_entry(entry: &Listed, flags: u64, disk: u64) -> Result<(), ArchiveError> {
    if flags & DATA_DESCRIPTOR_FLAG != 0 {
        return Err(inconsistent("an entry has its sizes behind its data, in a data descriptor"));
    }
    if disk != 0 {
        return Err(inconsistent("an entry is on another disk"));
    }
    let named_in_utf8 = flags & UTF8_FLAG != 0 && std::str::from_utf8(&entry.name).is_ok();
    if entry.name.is_ascii() || named_in_utf8 {
        Ok(())
    } else {
        Err(inconsistent("a name has other than ASCII characters, and does not say that it is UTF-8"))
    }
}

/// The entry with the 64-bit values that its extra fields have for it.
fn with_extra(mut entry: Listed, extra: &[u8]) -> Result<Listed, ArchiveError> {
    let damaged = || inconsistent("an entry has damaged or repeated extra fields");
    let mut fields = Fields(extra);
    let mut seen_zip64 = false;
    while !fields.0.is_empty() {
        let (id, content) = fields.extra().ok_or_else(damaged)?;
        if id == UNICODE_PATH_EXTRA {
            return Err(inconsistent("an entry has a second name in an extra field"));
        }
        if id != ZIP64_EXTRA {
            continue;
        }
        if seen_zip64 {
            return Err(damaged());
        }
        seen_zip64 = true;
        let mut values = Fields(content);
        for value in [&mut entry.size, &mut entry.compressed_size, &mut entry.header_start] {
            if *value == SATURATED {
                *value = values.number(8).ok_or_else(damaged)?;
            }
        }
    }
    Ok(entry)
}

fn read_at(reader: &mut (impl Read + Seek), start: u64, count: u64) -> Result<Vec<u8>, ArchiveError> {
    reader.seek(SeekFrom::Start(start)).map_err(|error| unreadable(&error))?;
    let mut bytes = Vec::new();
    reader.take(count).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    Ok(bytes)
}

fn no_end() -> ArchiveError {
    inconsistent("the last 22 bytes are no end record of one whole archive")
}

fn inconsistent(detail: &str) -> ArchiveError {
    ArchiveError::Inconsistent { detail: detail.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::python::archive::inspect;

    const DIR: &str = "foo-1.0.dist-info";

    /// An entry, stored, that can be broken field by field.
    #[derive(Clone, Default)]
    struct Part {
        name: Vec<u8>,
        content: Vec<u8>,
        flags: u16,
        extra: Vec<u8>,
        mode: u16,
        /// Bytes after the data.
        after: Vec<u8>,
        /// Left out of the central directory.
        hidden: bool,
    }

    fn part(name: &str, content: &str) -> Part {
        Part { name: name.into(), content: content.into(), mode: 0o100_644, ..Part::default() }
    }

    fn wheel(summary: &str) -> Vec<Part> {
        let metadata = format!("Metadata-Version: 2.1\nName: foo\nVersion: 1.0\nSummary: {summary}\n");
        vec![
            part(&format!("{DIR}/METADATA"), &metadata),
            part(&format!("{DIR}/WHEEL"), ""),
            part(&format!("{DIR}/RECORD"), ""),
        ]
    }

    fn wheel_and(last: Part) -> Vec<u8> {
        let mut parts = wheel("good");
        parts.push(last);
        zip(&parts)
    }

    fn number(value: usize, bytes: usize) -> Vec<u8> {
        value.to_le_bytes()[..bytes].to_vec()
    }

    fn crc(content: &[u8]) -> Vec<u8> {
        let mut crc = flate2::Crc::new();
        crc.update(content);
        crc.sum().to_le_bytes().to_vec()
    }

    /// What local and central headers share: from the version needed to the length of the extra field.
    fn shared(part: &Part) -> Vec<u8> {
        [
            number(20, 2),
            part.flags.to_le_bytes().to_vec(),
            vec![0, 0, 0, 0, 0x21, 0],
            crc(&part.content),
            number(part.content.len(), 4),
            number(part.content.len(), 4),
            number(part.name.len(), 2),
            number(part.extra.len(), 2),
        ]
        .concat()
    }

    /// Local headers with their data, and the central directory.
    fn body(parts: &[Part]) -> (Vec<u8>, Vec<u8>) {
        let (mut bytes, mut directory) = (Vec::new(), Vec::new());
        for part in parts {
            let start = number(bytes.len(), 4);
            for piece in [
                b"PK\x03\x04".to_vec(),
                shared(part),
                part.name.clone(),
                part.extra.clone(),
                part.content.clone(),
            ] {
                bytes.extend(piece);
            }
            bytes.extend(&part.after);
            if part.hidden {
                continue;
            }
            let mode = part.mode.to_le_bytes().to_vec();
            for piece in [
                b"PK\x01\x02\x14\x03".to_vec(),
                shared(part),
                vec![0; 8],
                mode,
                start,
                part.name.clone(),
                part.extra.clone(),
            ] {
                directory.extend(piece);
            }
        }
        (bytes, directory)
    }

    fn end(entries: usize, size: usize, start: usize, comment: usize) -> Vec<u8> {
        [
            b"PK\x05\x06\0\0\0\0".to_vec(),
            number(entries, 2),
            number(entries, 2),
            number(size, 4),
            number(start, 4),
            number(comment, 2),
        ]
        .concat()
    }

    fn record(entries: usize, size: usize, start: usize) -> Vec<u8> {
        let mut bytes = b"PK\x06\x06".to_vec();
        bytes.extend([number(44, 8), number(45, 2), number(45, 2), vec![0; 8]].concat());
        bytes.extend([entries, entries, size, start].map(|value| number(value, 8)).concat());
        bytes
    }

    fn locator(record_start: usize) -> Vec<u8> {
        [b"PK\x06\x07\0\0\0\0".to_vec(), number(record_start, 8), number(1, 4)].concat()
    }

    fn zip(parts: &[Part]) -> Vec<u8> {
        let (body, directory) = body(parts);
        let listed = parts.iter().filter(|part| !part.hidden).count();
        let end = end(listed, directory.len(), body.len(), 0);
        [body, directory, end].concat()
    }

    fn inspected(zip: &[u8]) -> Result<String, ArchiveError> {
        let filename = "foo-1.0-py3-none-any.whl".parse().unwrap();
        let bytes = inspect(&filename, Cursor::new(zip), &ArchiveLimits::default())?.metadata_bytes;
        Ok(String::from_utf8(bytes).unwrap().rsplit_once(": ").unwrap().1.trim().to_owned())
    }

    fn refused(zip: &[u8]) -> String {
        match inspected(zip) {
            Err(ArchiveError::Inconsistent { detail }) => detail,
            other => format!("not refused as inconsistent: {other:?}"),
        }
    }

    #[test]
    fn parts_that_fill_the_file_are_accepted() {
        assert_eq!(inspected(&zip(&wheel("good"))).as_deref(), Ok("good"));
        let named = Part { flags: 1 << 11, ..part("foo/\u{e4}.py", "") };
        assert_eq!(inspected(&wheel_and(named)).as_deref(), Ok("good"));
        assert_eq!(inspected(&wheel_and(part("foo/", ""))).as_deref(), Ok("good"));
    }

    #[test]
    fn the_second_of_two_archives_is_not_hidden() {
        let good = zip(&wheel("good"));
        let evil = zip(&wheel("evil, and longer"));
        let detail = "the central directory does not end where the end record begins";
        assert_eq!(refused(&[good.clone(), evil.clone()].concat()), detail);

        let mut commented = good.clone();
        let at = commented.len() - 2;
        commented[at..].copy_from_slice(&u16::try_from(evil.len()).unwrap().to_le_bytes());
        assert_eq!(refused(&[commented, evil.clone()].concat()), detail);

        // The directory of the second where it is, with entries counted from the second's first byte.
        let (first, _) = body(&wheel("good"));
        let shifted = wheel("evil");
        let (second, directory) = body(&shifted);
        let end = end(shifted.len(), directory.len(), first.len() + second.len(), 0);
        assert_eq!(
            refused(&[first, second, directory, end].concat()),
            "the central directory does not begin where the last entry ends"
        );
    }

    #[test]
    fn an_archive_with_a_comment_or_a_tail_is_refused() {
        let (body, directory) = body(&wheel("good"));
        let detail = "the last 22 bytes are no end record of one whole archive";
        let commented =
            [body.clone(), directory.clone(), end(3, directory.len(), body.len(), 3), b"abc".to_vec()];
        assert_eq!(refused(&commented.concat()), detail);
        assert_eq!(refused(&[zip(&wheel("good")), vec![0]].concat()), detail);
        let comment = end(3, directory.len(), body.len(), 22);
        let fake = end(0, 0, 0, 0);
        let faked = [body, directory, comment, fake].concat();
        assert_eq!(refused(&faked), "the central directory does not end where the end record begins");
    }

    #[test]
    fn entries_beyond_the_number_in_the_end_record_are_not_hidden() {
        // `zipfile` reads as many bytes as the record says, the library as many entries.
        let mut parts = wheel("good");
        parts.push(part("evil.py", "evil"));
        let (body, directory) = body(&parts);
        let fewer = end(3, directory.len(), body.len(), 0);
        let more = end(5, directory.len(), body.len(), 0);
        let cut_off = [body.clone(), directory.clone(), more].concat();
        assert_eq!(refused(&cut_off), "the central directory is cut off");
        assert_eq!(
            refused(&[body, directory, fewer].concat()),
            "the central directory has more entries than the end record says"
        );
    }

    #[test]
    fn a_zip64_record_counts_only_where_the_end_record_points_to_it() {
        let (body, directory) = body(&wheel("good"));
        let (size, start) = (directory.len(), body.len());
        let with = |record: Vec<u8>, between: &[u8], record_start: usize, end: Vec<u8>| {
            let at = record_start;
            [body.clone(), directory.clone(), record, between.to_vec(), locator(at), end].concat()
        };
        let large = || record(3, size, start);
        let saturated = || end(0xffff, 0xffff_ffff, 0xffff_ffff, 0);
        assert_eq!(inspected(&with(large(), b"", start + size, saturated())).as_deref(), Ok("good"));
        let detail = "the zip64 records do not fit the end record";
        for zip in [
            with(large(), b"", start + size, end(3, size, start, 0)),
            with(large(), b"", start, saturated()),
            with(large(), b"x", start + size, saturated()),
            with(large(), b"", start + size, end(0xffff, size + 1, start, 0)),
            with(Vec::new(), b"", start + size, saturated()),
        ] {
            assert_eq!(refused(&zip), detail);
        }
        let elsewhere = with(record(3, size, 0), b"", start + size, saturated());
        assert_eq!(refused(&elsewhere), "the central directory does not end where the end record begins");
    }

    #[test]
    fn bytes_that_no_part_has_are_refused() {
        let between = "there are bytes between the entries, or entries overlap";
        assert_eq!(
            refused(&wheel_and(Part { hidden: true, ..part("evil.py", "evil") })),
            "the central directory does not begin where the last entry ends"
        );
        let mut parts = wheel("good");
        parts.insert(0, Part { hidden: true, ..part("evil.py", "evil") });
        assert_eq!(refused(&zip(&parts)), between);
        let mut parts = wheel("good");
        parts[0].after = b"gap".to_vec();
        assert_eq!(refused(&zip(&parts)), between);
    }

    #[test]
    fn a_data_descriptor_is_refused() {
        let mut described = Part { flags: 1 << 3, ..part("x", "") };
        described.after = [b"PK\x07\x08".to_vec(), vec![0; 12]].concat();
        assert_eq!(
            refused(&wheel_and(described)),
            "an entry has its sizes behind its data, in a data descriptor"
        );
    }

    #[test]
    fn a_name_that_readers_decode_in_different_ways_is_refused() {
        let detail = "a name has other than ASCII characters, and does not say that it is UTF-8";
        assert_eq!(refused(&wheel_and(part("foo/\u{e4}.py", ""))), detail);
        let broken = Part { name: b"foo/\xff.py".to_vec(), flags: 1 << 11, ..part("", "") };
        assert_eq!(refused(&wheel_and(broken)), detail);

        // A valid Unicode path: version 1, the checksum of the name it replaces, the other name.
        let other = [vec![1], crc(b"evil.py"), b"fine.py".to_vec()].concat();
        let extra = [number(0x7075, 2), number(other.len(), 2), other].concat();
        assert_eq!(
            refused(&wheel_and(Part { extra, ..part("evil.py", "") })),
            "an entry has a second name in an extra field"
        );
        let extra = vec![1, 2, 9, 0];
        assert_eq!(
            refused(&wheel_and(Part { extra, ..part("x", "") })),
            "an entry has damaged or repeated extra fields"
        );
    }

    #[test]
    fn a_name_that_some_readers_tidy_up_is_refused() {
        for name in ["foo\\x.py", "foo//x.py", "./x.py", "foo/./x.py", "x//", "."] {
            let entry = name.to_owned();
            assert_eq!(
                inspected(&wheel_and(part(name, ""))),
                Err(ArchiveError::UnsafeName { entry }),
                "{name}"
            );
        }
        let mut parts = wheel("good");
        parts[0].name.push(b'/');
        let entry = format!("{DIR}/METADATA");
        assert_eq!(inspected(&zip(&parts)), Err(ArchiveError::MissingEntry { entry }));
    }

    #[test]
    fn a_symbolic_link_in_a_zip_is_refused() {
        let entry = "x".to_owned();
        assert_eq!(
            inspected(&wheel_and(Part { mode: 0o120_777, ..part("x", "/etc") })),
            Err(ArchiveError::UnexpectedKind { entry, found: "a symbolic link in a zip" })
        );
    }
}
