//! Source distributions: `{dir}/PKG-INFO` at the top of a `.tar.gz` or a legacy `.zip`.
//!
//! The tar is walked header by header, because the long names of GNU and PAX come as entries of their own, and
//! readers differ on what else such an entry may say: what only some of them understand is refused.

use std::{
    borrow::Cow,
    io::{BufRead, BufReader, Read, Seek},
    mem,
};

use flate2::bufread::GzDecoder;
use tar::{EntryType, Header};

use super::{
    ArchiveError, ArchiveLimits,
    budget::{Budget, Metered},
    entry::{EntryPath, Links},
    tarball::{PaxRecord, Tarball, pax_records},
    unreadable,
    zipped::Zip,
};

/// The name of an sdist's metadata file.
const PKG_INFO: &str = "PKG-INFO";

/// Most bytes of one extended header of a tar: a path of 4,096 bytes and a link as long fit many times.
const EXTENDED_HEADER_BYTES: usize = 64 * 1024;

/// The bytes of `PKG-INFO` of a legacy `.zip`.
pub(super) fn read_zip<R: Read + Seek>(reader: R, limits: &ArchiveLimits) -> Result<Vec<u8>, ArchiveError> {
    let budget = Budget::new(limits.directory_bytes);
    let mut zip = Zip::open(reader, &budget, limits)?;
    let mut tops = zip.paths().iter().filter_map(top_of_pkg_info);
    let top = tops.next().ok_or_else(no_pkg_info)?.to_owned();
    if let Some(second) = tops.next() {
        return Err(several(&top, second));
    }
    drop(tops);
    zip.read(&top, PKG_INFO, limits.metadata_bytes)
}

/// The bytes of `PKG-INFO` of a `.tar.gz`, which is read to its end.
pub(super) fn read_tar_gz<R: Read>(reader: R, limits: &ArchiveLimits) -> Result<Vec<u8>, ArchiveError> {
    let budget = Budget::new(limits.inflated_bytes);
    let mut search = Search { limits, links: Links::default(), pending: Extended::default(), found: None };
    let mut gzip = GzDecoder::new(BufReader::new(reader));
    search.run(Metered::new(&mut gzip, &budget)).map_err(|error| {
        if budget.is_exceeded() { ArchiveError::TooLarge { limit: limits.inflated_bytes } } else { error }
    })?;
    // Of several gzip streams some readers take the first alone.
    if !gzip.into_inner().fill_buf().map_err(|error| unreadable(&error))?.is_empty() {
        return Err(unreadable(&"bytes follow the gzip stream"));
    }
    search.found.map(|(_, bytes)| bytes).ok_or_else(no_pkg_info)
}

/// The walk through a tar.
struct Search<'a> {
    limits: &'a ArchiveLimits,
    /// Links seen: no entry may lead through one, or be written through one.
    links: Links,
    /// What extended headers said about the entry to come.
    pending: Extended,
    /// The top directory and the content of `PKG-INFO`.
    found: Option<(String, Vec<u8>)>,
}

/// Name and link of an entry, where its own header has no room for them.
#[derive(Default)]
struct Extended {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Search<'_> {
    fn run(&mut self, tar: impl Read) -> Result<(), ArchiveError> {
        let mut tar = Tarball::new(tar);
        let mut entries = 0;
        while let Some(header) = tar.next_header()? {
            entries += 1;
            if entries > self.limits.entries {
                return Err(ArchiveError::TooManyEntries { limit: self.limits.entries });
            }
            self.visit(&header, &mut tar)?;
        }
        if self.pending.name.is_some() || self.pending.link.is_some() {
            return Err(unreadable(&"an extended header has no entry"));
        }
        Ok(())
    }

    fn visit(&mut self, header: &Header, tar: &mut Tarball<impl Read>) -> Result<(), ArchiveError> {
        match header.entry_type() {
            EntryType::GNULongName => set_once(&mut self.pending.name, read_long_name(tar)?),
            EntryType::GNULongLink => set_once(&mut self.pending.link, read_long_name(tar)?),
            EntryType::XHeader => self.read_pax(tar),
            EntryType::XGlobalHeader => refuse_global_names(tar),
            kind => self.visit_member(header, tar, kind),
        }
    }

    /// Keeps the path and the link of a PAX header (POSIX.1-2001 "pax Extended Header").
    fn read_pax(&mut self, tar: &mut Tarball<impl Read>) -> Result<(), ArchiveError> {
        let content = tar.read_extended("pax header", EXTENDED_HEADER_BYTES)?;
        for PaxRecord { key, value } in pax_records(&content)? {
            match key {
                b"path" => set_once(&mut self.pending.name, value.to_vec())?,
                b"linkpath" => set_once(&mut self.pending.link, value.to_vec())?,
                key if is_taken_differently(key) => {
                    return Err(unreadable(
                        &"a pax header overrides the size, the name or the charset of an entry",
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn visit_member(
        &mut self,
        header: &Header,
        tar: &mut Tarball<impl Read>,
        kind: EntryType,
    ) -> Result<(), ArchiveError> {
        let extended = mem::take(&mut self.pending);
        let name = extended.name.unwrap_or_else(|| header.path_bytes().into_owned());
        let name = String::from_utf8_lossy(&name).into_owned();
        let path = EntryPath::parse(&name)?;
        if self.links.cover(&path) {
            return Err(ArchiveError::UnsafeLink { entry: name.clone(), target: name });
        }
        if name.contains('\\') && path.components().last().is_some_and(|file| is_pkg_info(file)) {
            return Err(ArchiveError::UnsafeName { entry: name });
        }
        let link = extended.link.or_else(|| header.link_name_bytes().map(Cow::into_owned));
        self.check_kind(kind, &name, &path, &String::from_utf8_lossy(&link.unwrap_or_default()))?;
        check_size(header, tar, kind, &name)?;
        if let Some(top) = top_of_pkg_info(&path) {
            self.keep(top, &name, tar, kind)?;
        }
        Ok(())
    }

    fn check_kind(
        &mut self,
        kind: EntryType,
        name: &str,
        path: &EntryPath,
        target: &str,
    ) -> Result<(), ArchiveError> {
        let found = match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::Directory => return Ok(()),
            EntryType::Symlink if path.may_link_to(target) && self.links.add(path.clone()) => return Ok(()),
            EntryType::Link
                if EntryPath::parse(target).is_ok_and(|to| !self.links.cover(&to))
                    && self.links.add(path.clone()) =>
            {
                return Ok(());
            }
            EntryType::Symlink | EntryType::Link => {
                return Err(ArchiveError::UnsafeLink { entry: name.to_owned(), target: target.to_owned() });
            }
            EntryType::Char | EntryType::Block => "a device",
            EntryType::Fifo => "a pipe",
            EntryType::GNUSparse => "a sparse file",
            _ => "of an unknown kind",
        };
        Err(ArchiveError::UnexpectedKind { entry: name.to_owned(), found })
    }

    /// Keeps the content of `PKG-INFO`, of which there may be one, and that a file.
    fn keep(
        &mut self,
        top: &str,
        name: &str,
        tar: &mut Tarball<impl Read>,
        kind: EntryType,
    ) -> Result<(), ArchiveError> {
        if !matches!(kind, EntryType::Regular | EntryType::Continuous) {
            return Err(ArchiveError::UnexpectedKind { entry: name.to_owned(), found: "no regular file" });
        }
        match &self.found {
            Some((first, _)) if first == top => Err(ArchiveError::DuplicateEntry { entry: name.to_owned() }),
            Some((first, _)) => Err(several(first, top)),
            None if !name.ends_with(PKG_INFO) => Err(no_pkg_info()),
            None => {
                let content = tar.read_content(name, self.limits.metadata_bytes)?;
                self.found = Some((top.to_owned(), content));
                Ok(())
            }
        }
    }
}

/// The top directory, if the entry is a `PKG-INFO` right below one. Case is ignored, as some file systems do.
fn top_of_pkg_info(path: &EntryPath) -> Option<&str> {
    match path.components() {
        [top, file] if is_pkg_info(file) => Some(top),
        _ => None,
    }
}

fn is_pkg_info(file: &str) -> bool {
    file.eq_ignore_ascii_case(PKG_INFO)
}

/// Only a file has content: readers differ on whether to skip that of a directory or a link. A file whose name
/// ends like that of a directory is one to some readers.
fn check_size(
    header: &Header,
    tar: &Tarball<impl Read>,
    kind: EntryType,
    name: &str,
) -> Result<(), ArchiveError> {
    let file = matches!(kind, EntryType::Regular | EntryType::Continuous);
    let slash = name.ends_with('/') || header.path_bytes().ends_with(b"/");
    if tar.left() > 0 && (!file || slash) {
        return Err(unreadable(&format!("{name:?} is no file, and has content")));
    }
    Ok(())
}

/// Keys of a PAX header beside `path` and `linkpath` by which some readers take another name or another end of
/// the content than others: `tarfile` knows those of GNU, libarchive those of SCHILY.
fn is_taken_differently(key: &[u8]) -> bool {
    matches!(key, b"size" | b"hdrcharset" | b"SCHILY.realsize" | b"SCHILY.filetype")
        || key.starts_with(b"GNU.sparse.")
}

/// The content of a GNU long name entry, which ends with a NUL.
fn read_long_name(tar: &mut Tarball<impl Read>) -> Result<Vec<u8>, ArchiveError> {
    let mut name = tar.read_extended("long name", EXTENDED_HEADER_BYTES)?;
    if name.last() == Some(&0) {
        name.pop();
    }
    Ok(name)
}

/// A global PAX header may hold a comment, as `git archive` writes it, and no name for every entry.
fn refuse_global_names(tar: &mut Tarball<impl Read>) -> Result<(), ArchiveError> {
    let content = tar.read_extended("pax header", EXTENDED_HEADER_BYTES)?;
    let names_all = |PaxRecord { key, .. }: &PaxRecord<'_>| {
        matches!(*key, b"path" | b"linkpath") || is_taken_differently(key)
    };
    if pax_records(&content)?.iter().any(names_all) {
        return Err(unreadable(&"a global pax header names every entry"));
    }
    Ok(())
}

/// Readers differ on which of two names for one entry counts, so there may be one; and on whether an empty one
/// takes that of the entry's own header away, so it may not be empty.
fn set_once(slot: &mut Option<Vec<u8>>, value: Vec<u8>) -> Result<(), ArchiveError> {
    if value.is_empty() {
        return Err(unreadable(&"an extended header has an empty name"));
    }
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(unreadable(&"two extended headers name one entry")),
    }
}

fn no_pkg_info() -> ArchiveError {
    ArchiveError::MissingEntry { entry: format!("*/{PKG_INFO}") }
}

fn several(first: &str, second: &str) -> ArchiveError {
    ArchiveError::Several { first: format!("{first}/{PKG_INFO}"), second: format!("{second}/{PKG_INFO}") }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use flate2::{Compression, write::GzEncoder};
    use tar::{Builder, Header};

    use super::*;
    use crate::python::archive::{Inspected, inspect};

    const PKG_INFO_TEXT: &str = "Metadata-Version: 1.1\nName: zope.interface\nVersion: 5.0\n";

    /// An entry whose name is written as it is, which the library's own builder would refuse.
    fn raw(kind: EntryType, name: &str, link: &str, content: &str) -> Vec<u8> {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_size(content.len().try_into().unwrap());
        header.set_mode(0o644);
        header.set_cksum();
        let mut builder = Builder::new(Vec::new());
        builder.append(&header, content.as_bytes()).unwrap();
        let mut bytes = builder.into_inner().unwrap();
        bytes.truncate(bytes.len() - 1024);
        bytes
    }

    fn file(name: &str, content: &str) -> Vec<u8> {
        raw(EntryType::Regular, name, "", content)
    }

    fn pkg_info() -> Vec<u8> {
        file("zope.interface-5.0/PKG-INFO", PKG_INFO_TEXT)
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn tar_gz(entries: &[Vec<u8>]) -> Vec<u8> {
        let mut tar = entries.concat();
        tar.extend([0; 1024]);
        gzip(&tar)
    }

    fn inspect_with(bytes: &[u8], limits: &ArchiveLimits) -> Result<Inspected, ArchiveError> {
        inspect(&"zope.interface-5.0.tar.gz".parse().unwrap(), Cursor::new(bytes), limits)
    }

    fn inspected(entries: &[Vec<u8>]) -> Result<Inspected, ArchiveError> {
        inspect_with(&tar_gz(entries), &ArchiveLimits::default())
    }

    #[test]
    fn an_sdist_gives_the_bytes_of_its_pkg_info() {
        let long = format!("zope.interface-5.0/{}", "x/".repeat(200));
        let entries = [
            raw(EntryType::XGlobalHeader, "pax_global_header", "", "19 comment=abcdefg\n"),
            raw(EntryType::Directory, "zope.interface-5.0/", "", ""),
            raw(EntryType::GNULongName, "././@LongLink", "", &format!("{long}\0")),
            file("cut off", ""),
            file("zope.interface-5.0/src/zope.interface.egg-info/PKG-INFO", "other"),
            pkg_info(),
            raw(EntryType::Symlink, "zope.interface-5.0/docs/README", "../README", ""),
            raw(EntryType::Link, "zope.interface-5.0/COPY", "zope.interface-5.0/PKG-INFO", ""),
        ];
        let inspected = inspected(&entries).unwrap();
        assert_eq!(inspected.metadata_bytes, PKG_INFO_TEXT.as_bytes());
        assert_eq!(inspected.metadata.name.as_str(), "zope-interface");
    }

    #[test]
    fn entries_with_a_leading_dot_are_tolerated() {
        let entries =
            [raw(EntryType::Directory, "./", "", ""), file("./zope.interface-5.0/PKG-INFO", PKG_INFO_TEXT)];
        assert!(inspected(&entries).is_ok());
    }

    #[test]
    fn a_missing_or_misplaced_pkg_info_is_refused() {
        let missing = Err(ArchiveError::MissingEntry { entry: "*/PKG-INFO".to_owned() });
        assert_eq!(inspected(&[]), missing);
        assert_eq!(inspected(&[file("PKG-INFO", PKG_INFO_TEXT)]), missing);
        assert_eq!(inspected(&[file("a/b/PKG-INFO", PKG_INFO_TEXT)]), missing);
    }

    #[test]
    fn a_second_pkg_info_is_refused() {
        for second in
            ["zope.interface-5.0/PKG-INFO", "./zope.interface-5.0/PKG-INFO", "zope.interface-5.0/pkg-info"]
        {
            let entry = second.to_owned();
            assert_eq!(
                inspected(&[pkg_info(), file(second, "")]),
                Err(ArchiveError::DuplicateEntry { entry })
            );
        }
        assert_eq!(
            inspected(&[pkg_info(), file("other/PKG-INFO", "")]),
            Err(several("zope.interface-5.0", "other"))
        );
    }

    #[test]
    fn entries_that_escape_are_refused() {
        for entry in ["../evil", "/evil", "a/../../evil", "C:/evil", "..\\evil"] {
            let error = ArchiveError::UnsafeName { entry: entry.to_owned() };
            assert_eq!(inspected(&[pkg_info(), file(entry, "")]), Err(error.clone()));
            let long_name = raw(EntryType::GNULongName, "././@LongLink", "", &format!("{entry}\0"));
            assert_eq!(inspected(&[pkg_info(), long_name, file("fine", "")]), Err(error));
        }
        let pax = raw(EntryType::XHeader, "pax", "", "16 path=../evil\n");
        let error = ArchiveError::UnsafeName { entry: "../evil".to_owned() };
        assert_eq!(inspected(&[pkg_info(), pax, file("fine", "")]), Err(error));
    }

    #[test]
    fn links_that_escape_are_refused() {
        for (kind, target) in [
            (EntryType::Symlink, "../../evil"),
            (EntryType::Symlink, "/etc/passwd"),
            (EntryType::Symlink, "a/../b"),
            (EntryType::Link, "../evil"),
            (EntryType::Link, "/etc/passwd"),
            (EntryType::Link, ""),
        ] {
            assert_eq!(
                inspected(&[pkg_info(), raw(kind, "dir/link", target, "")]),
                Err(ArchiveError::UnsafeLink { entry: "dir/link".to_owned(), target: target.to_owned() })
            );
        }
        let pax = raw(EntryType::XHeader, "pax", "", "20 linkpath=../evil\n");
        assert!(matches!(
            inspected(&[pkg_info(), pax, raw(EntryType::Link, "dir/link", "fine", "")]),
            Err(ArchiveError::UnsafeLink { .. })
        ));
    }

    #[test]
    fn an_entry_that_leads_through_a_link_is_refused() {
        let link = |name: &str| raw(EntryType::Symlink, name, "../..", "");
        for second in [file("a/b/up/evil", ""), file("a/b/up", ""), link("a/b/up"), link("a/b/up/up")] {
            let error = inspected(&[pkg_info(), link("a/b/up"), second]).unwrap_err();
            assert!(matches!(error, ArchiveError::UnsafeLink { .. }));
        }
        let above = raw(EntryType::Symlink, "a/b", "c", "");
        assert_eq!(
            inspected(&[pkg_info(), link("a/b/up"), above]),
            Err(ArchiveError::UnsafeLink { entry: "a/b".to_owned(), target: "c".to_owned() })
        );
    }

    #[test]
    fn devices_pipes_and_sparse_files_are_refused() {
        for (kind, found) in [
            (EntryType::Char, "a device"),
            (EntryType::Block, "a device"),
            (EntryType::Fifo, "a pipe"),
            (EntryType::GNUSparse, "a sparse file"),
            (EntryType::new(b'Z'), "of an unknown kind"),
        ] {
            let entry = "x".to_owned();
            assert_eq!(
                inspected(&[pkg_info(), raw(kind, "x", "", "")]),
                Err(ArchiveError::UnexpectedKind { entry, found })
            );
        }
        assert!(matches!(
            inspected(&[raw(EntryType::Symlink, "zope.interface-5.0/PKG-INFO", "README", "")]),
            Err(ArchiveError::UnexpectedKind { found: "no regular file", .. })
        ));
    }

    #[test]
    fn contradicting_extended_headers_are_refused() {
        let long_name = raw(EntryType::GNULongName, "././@LongLink", "", "a\0");
        let pax = raw(EntryType::XHeader, "pax", "", "10 path=b\n");
        let size = raw(EntryType::XHeader, "pax", "", "10 size=9\n");
        let global = raw(EntryType::XGlobalHeader, "pax", "", "10 path=b\n");
        for entries in
            [vec![long_name.clone(), long_name.clone()], vec![long_name, pax], vec![size], vec![global]]
        {
            let entries: Vec<Vec<u8>> = entries.into_iter().chain([pkg_info()]).collect();
            assert!(matches!(inspected(&entries), Err(ArchiveError::Unreadable { .. })));
        }
    }

    /// A header whose bytes are changed from `at` on, with a checksum that fits again.
    fn changed(mut entry: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
        entry[at..at + bytes.len()].copy_from_slice(bytes);
        entry[148..156].fill(b' ');
        let sum: u32 = entry[..512].iter().map(|byte| u32::from(*byte)).sum();
        entry[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        entry
    }

    fn refused(entries: &[Vec<u8>]) -> String {
        match inspected(entries) {
            Err(ArchiveError::Unreadable { detail }) => detail,
            other => format!("not refused as unreadable: {other:?}"),
        }
    }

    fn pax(kind: EntryType, key: &str, value: &str) -> Vec<u8> {
        let rest = format!(" {key}={value}\n");
        let length =
            (rest.len()..200).find(|length| length.to_string().len() + rest.len() == *length).unwrap();
        raw(kind, "pax", "", &format!("{length}{rest}"))
    }

    #[test]
    fn a_prefix_in_a_header_that_has_none_is_refused() {
        let prefixed = changed(file("PKG-INFO", PKG_INFO_TEXT), 345, b"evil");
        let detail = "a header has a prefix, and is not of the format that has one";
        assert_eq!(refused(&[pkg_info(), prefixed.clone()]), detail);
        assert_eq!(refused(&[pkg_info(), changed(prefixed.clone(), 257, &[0; 8])]), detail);
        let ustar = changed(prefixed, 257, b"ustar\x0000");
        assert_eq!(inspected(&[pkg_info(), ustar.clone()]), Err(several("zope.interface-5.0", "evil")));
        assert!(inspected(&[ustar]).is_ok());
    }

    #[test]
    fn pax_keys_that_only_some_readers_know_are_refused() {
        for key in [
            "GNU.sparse.name",
            "GNU.sparse.size",
            "GNU.sparse.realsize",
            "GNU.sparse.major",
            "GNU.sparse.map",
            "SCHILY.realsize",
            "hdrcharset",
            "size",
        ] {
            assert_eq!(
                refused(&[pax(EntryType::XHeader, key, "1"), pkg_info()]),
                "a pax header overrides the size, the name or the charset of an entry"
            );
            assert_eq!(
                refused(&[pax(EntryType::XGlobalHeader, key, "1"), pkg_info()]),
                "a global pax header names every entry"
            );
        }
        assert!(inspected(&[pax(EntryType::XHeader, "mtime", "1.5"), pkg_info()]).is_ok());
    }

    #[test]
    fn a_pax_record_that_readers_cut_in_different_ways_is_refused() {
        for content in
            ["+9 a=b\n", "8 a=b\nc\n", "5 =b\n", "\n10 path=b\n", "6 a=b", "5 a=b\n", "6  a=b\n", "6 aab\n"]
        {
            for kind in [EntryType::XHeader, EntryType::XGlobalHeader] {
                let detail = refused(&[raw(kind, "pax", "", content), pkg_info()]);
                assert_eq!(detail, "a pax header has a malformed record", "{content:?}");
            }
        }
    }

    #[test]
    fn what_fills_the_block_of_an_extended_header_is_zero() {
        for (kind, content, more, what) in [
            (EntryType::XHeader, "6 a=b\n", "15 path=../evil\n", "pax header"),
            (EntryType::XGlobalHeader, "6 a=b\n", "15 path=../evil\n", "pax header"),
            (EntryType::GNULongName, "fine", "/evil", "long name"),
        ] {
            let mut entry = raw(kind, "x", "", content);
            let at = 512 + content.len();
            entry[at..at + more.len()].copy_from_slice(more.as_bytes());
            assert_eq!(
                refused(&[entry, pkg_info()]),
                format!("after the {what} the block is not filled with zeros")
            );
        }
    }

    #[test]
    fn an_empty_name_in_an_extended_header_is_refused() {
        for entry in [
            pax(EntryType::XHeader, "path", ""),
            pax(EntryType::XHeader, "linkpath", ""),
            raw(EntryType::GNULongLink, "x", "", "\0"),
        ] {
            assert_eq!(refused(&[entry, pkg_info()]), "an extended header has an empty name");
        }
        let dangling = pax(EntryType::XHeader, "path", "x");
        assert_eq!(refused(&[pkg_info(), dangling]), "an extended header has no entry");
    }

    #[test]
    fn numbers_that_end_the_archive_for_some_readers_are_refused() {
        let detail = "a header has a number that is not octal";
        let size_at = 124;
        for size in [&b"\x80\0\0\0\0\0\0\0\0\0\0\0"[..], b"+0000000000\0", b"-0000000000\0", b"0000000000x\0"]
        {
            assert_eq!(refused(&[pkg_info(), changed(file("a", ""), size_at, size)]), detail);
        }
        for at in [100, 108, 116, 136, 329, 337] {
            assert_eq!(refused(&[pkg_info(), changed(file("a", ""), at, b"zzzz")]), detail);
        }
        assert!(inspected(&[pkg_info(), changed(file("a", ""), 136, b"\xff\xff\xff\xff")]).is_ok());
        let mut wrong = file("a", "");
        wrong[0] = b'b';
        assert_eq!(refused(&[pkg_info(), wrong]), "the checksum of a header is wrong");
    }

    #[test]
    fn content_of_what_is_no_file_is_refused() {
        let hidden: String = String::from_utf8(file("top/PKG-INFO", "")).unwrap();
        for (kind, name) in [
            (EntryType::Directory, "top/"),
            (EntryType::Symlink, "top"),
            (EntryType::Link, "top"),
            (EntryType::new(0), "top/"),
            (EntryType::Regular, "top/"),
        ] {
            let entry = raw(kind, name, "target", &hidden);
            assert_eq!(refused(&[pkg_info(), entry]), format!("{name:?} is no file, and has content"));
        }
        let pax = pax(EntryType::XHeader, "path", "top");
        let entry = raw(EntryType::new(0), "top/", "", &hidden);
        assert_eq!(refused(&[pkg_info(), pax, entry]), "\"top\" is no file, and has content");
    }

    #[test]
    fn a_file_written_through_a_hard_link_is_refused() {
        let link = raw(EntryType::Link, "zope.interface-5.0/x", "zope.interface-5.0/PKG-INFO", "");
        let entry = "zope.interface-5.0/x".to_owned();
        assert_eq!(
            inspected(&[pkg_info(), link, file(&entry, "evil")]),
            Err(ArchiveError::UnsafeLink { entry: entry.clone(), target: entry })
        );
    }

    #[test]
    fn a_pkg_info_that_only_some_systems_find_is_refused() {
        for entry in ["top\\PKG-INFO", "a\\top/PKG-INFO"] {
            let error = ArchiveError::UnsafeName { entry: entry.to_owned() };
            assert_eq!(inspected(&[file(entry, PKG_INFO_TEXT)]), Err(error));
        }
        assert_eq!(inspected(&[file("top/pkg-info", PKG_INFO_TEXT)]), Err(no_pkg_info()));
        assert!(inspected(&[pkg_info(), file("zope.interface-5.0/dev\\x2d.service", "")]).is_ok());
    }

    #[test]
    fn nothing_follows_the_end_of_the_tar_or_of_the_gzip() {
        let limits = ArchiveLimits::default();
        let (end, evil) = (vec![0; 512], file("top/PKG-INFO", "evil"));
        assert_eq!(refused(&[pkg_info(), end.clone(), evil.clone()]), "the tar goes on after its end");
        assert_eq!(refused(&[pkg_info(), end.clone(), end, evil]), "the tar goes on after its end");

        let whole = tar_gz(&[pkg_info()]);
        let unreadable = || Err(unreadable(&"bytes follow the gzip stream"));
        for more in [gzip(&[0; 512]), gzip(b""), vec![0], b"x".to_vec()] {
            assert_eq!(inspect_with(&[whole.clone(), more].concat(), &limits), unreadable());
        }
        let members = [gzip(&pkg_info()), gzip(&file("evil", ""))].concat();
        assert_eq!(inspect_with(&members, &limits), unreadable());
    }

    #[test]
    fn an_extended_header_without_end_is_refused_before_it_is_read() {
        let bomb = raw(EntryType::GNULongName, "././@LongLink", "", &"a".repeat(1_000_000));
        let error =
            ArchiveError::EntryTooLarge { entry: "long name".to_owned(), limit: EXTENDED_HEADER_BYTES };
        assert_eq!(inspected(&[bomb, pkg_info()]), Err(error));
    }

    #[test]
    fn bombs_are_refused() {
        let limits = ArchiveLimits { inflated_bytes: 1_000_000, ..ArchiveLimits::default() };
        let bomb = tar_gz(&[file("zeros", &"\0".repeat(2_000_000)), pkg_info()]);
        assert!(bomb.len() < 10_000);
        assert_eq!(inspect_with(&bomb, &limits), Err(ArchiveError::TooLarge { limit: 1_000_000 }));

        let mut after_the_end = pkg_info();
        after_the_end.resize(2_000_000, 0);
        assert_eq!(
            inspect_with(&gzip(&after_the_end), &limits),
            Err(ArchiveError::TooLarge { limit: 1_000_000 })
        );

        let limits = ArchiveLimits { entries: 2, ..ArchiveLimits::default() };
        let many = tar_gz(&[pkg_info(), file("a", ""), file("b", "")]);
        assert_eq!(inspect_with(&many, &limits), Err(ArchiveError::TooManyEntries { limit: 2 }));

        let limits = ArchiveLimits { metadata_bytes: 20, ..ArchiveLimits::default() };
        let entry = "zope.interface-5.0/PKG-INFO".to_owned();
        assert_eq!(
            inspect_with(&tar_gz(&[pkg_info()]), &limits),
            Err(ArchiveError::EntryTooLarge { entry, limit: 20 })
        );
    }

    #[test]
    fn an_sdist_cut_at_any_length_is_refused_without_panic() {
        let sdist = tar_gz(&[pkg_info(), file("a", "b")]);
        for length in 0..sdist.len() {
            assert!(inspect_with(&sdist[..length], &ArchiveLimits::default()).is_err(), "{length}");
        }
    }

    #[test]
    fn a_tar_cut_at_any_length_does_not_panic() {
        let tar = [pkg_info(), file("a", "b")].concat();
        for length in 0..tar.len() {
            let result = inspect_with(&gzip(&tar[..length]), &ArchiveLimits::default());
            assert!(result.is_err() || length >= 1024, "{length}");
        }
    }

    #[test]
    fn a_legacy_zip_is_read() {
        let zip = |names: &[&str]| {
            let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
            for name in names {
                writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
                writer.write_all(PKG_INFO_TEXT.as_bytes()).unwrap();
            }
            let bytes = writer.finish().unwrap();
            inspect(&"zope.interface-5.0.zip".parse().unwrap(), bytes, &ArchiveLimits::default())
        };
        assert_eq!(zip(&["zope.interface-5.0/PKG-INFO"]).unwrap().metadata_bytes, PKG_INFO_TEXT.as_bytes());
        assert_eq!(zip(&["a/setup.py"]), Err(no_pkg_info()));
        assert_eq!(zip(&["a/PKG-INFO", "b/PKG-INFO"]), Err(several("a", "b")));
    }
}
