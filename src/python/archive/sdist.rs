//! Source distributions: `{dir}/PKG-INFO` at the top of a `.tar.gz` or a legacy `.zip`.
//!
//! The tar is read in raw mode, entry by entry, because the long names of GNU and PAX come as entries of their
//! own, which the library would read into memory at whatever size they declare.

use std::{
    io::{self, Read, Seek},
    mem,
};

use flate2::read::MultiGzDecoder;
use tar::{Archive, Entry, EntryType, PaxExtensions};

use super::{
    ArchiveError, ArchiveLimits,
    budget::{Budget, Metered},
    entry::{EntryPath, Links},
    read_capped, unreadable,
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
    let inflated = Metered::new(MultiGzDecoder::new(reader), &budget);
    search.run(inflated).map_err(|error| {
        if budget.is_exceeded() { ArchiveError::TooLarge { limit: limits.inflated_bytes } } else { error }
    })?;
    search.found.map(|(_, bytes)| bytes).ok_or_else(no_pkg_info)
}

/// The walk through a tar.
struct Search<'a> {
    limits: &'a ArchiveLimits,
    /// Symbolic links seen: no entry may lead through one.
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
    fn run(&mut self, mut tar: impl Read) -> Result<(), ArchiveError> {
        let mut archive = Archive::new(&mut tar);
        let mut entries = 0;
        for entry in archive.entries().map_err(|error| unreadable(&error))?.raw(true) {
            entries += 1;
            if entries > self.limits.entries {
                return Err(ArchiveError::TooManyEntries { limit: self.limits.entries });
            }
            self.visit(entry.map_err(|error| unreadable(&error))?)?;
        }
        // Past the end mark of the tar, so that the checksum of the gzip is verified.
        io::copy(&mut tar, &mut io::sink()).map_err(|error| unreadable(&error))?;
        Ok(())
    }

    fn visit(&mut self, mut entry: Entry<'_, impl Read>) -> Result<(), ArchiveError> {
        match entry.header().entry_type() {
            EntryType::GNULongName => set_once(&mut self.pending.name, read_long_name(&mut entry)?),
            EntryType::GNULongLink => set_once(&mut self.pending.link, read_long_name(&mut entry)?),
            EntryType::XHeader => self.read_pax(&mut entry),
            EntryType::XGlobalHeader => refuse_global_names(&mut entry),
            kind => self.visit_member(&mut entry, kind),
        }
    }

    /// Keeps the path and the link of a PAX header (POSIX.1-2001 "pax Extended Header").
    fn read_pax(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<(), ArchiveError> {
        let header = read_capped(entry, "pax header", EXTENDED_HEADER_BYTES)?;
        for extension in PaxExtensions::new(&header) {
            let extension = extension.map_err(|error| unreadable(&error))?;
            match extension.key_bytes() {
                b"path" => set_once(&mut self.pending.name, extension.value_bytes().to_vec())?,
                b"linkpath" => set_once(&mut self.pending.link, extension.value_bytes().to_vec())?,
                b"size" => return Err(unreadable(&"a pax header overrides the size of an entry")),
                _ => {}
            }
        }
        Ok(())
    }

    fn visit_member(
        &mut self,
        entry: &mut Entry<'_, impl Read>,
        kind: EntryType,
    ) -> Result<(), ArchiveError> {
        let extended = mem::take(&mut self.pending);
        let name = extended.name.unwrap_or_else(|| entry.path_bytes().into_owned());
        let name = String::from_utf8_lossy(&name).into_owned();
        let path = EntryPath::parse(&name)?;
        if self.links.cover(&path) {
            return Err(ArchiveError::UnsafeLink { entry: name.clone(), target: name });
        }
        let link = extended.link.or_else(|| entry.link_name_bytes().map(std::borrow::Cow::into_owned));
        self.check_kind(kind, &name, &path, &String::from_utf8_lossy(&link.unwrap_or_default()))?;
        if let Some(top) = top_of_pkg_info(&path) {
            self.keep(top, &name, entry, kind)?;
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
            EntryType::Link if EntryPath::parse(target).is_ok_and(|to| !self.links.cover(&to)) => {
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
        entry: &mut Entry<'_, impl Read>,
        kind: EntryType,
    ) -> Result<(), ArchiveError> {
        if !matches!(kind, EntryType::Regular | EntryType::Continuous) {
            return Err(ArchiveError::UnexpectedKind { entry: name.to_owned(), found: "no regular file" });
        }
        match &self.found {
            Some((first, _)) if first == top => Err(ArchiveError::DuplicateEntry { entry: name.to_owned() }),
            Some((first, _)) => Err(several(first, top)),
            None => {
                let declared = entry.size();
                let content = read_capped(entry, name, self.limits.metadata_bytes)?;
                if u64::try_from(content.len()) != Ok(declared) {
                    return Err(unreadable(&format!("{name:?} ends before its {declared} bytes")));
                }
                self.found = Some((top.to_owned(), content));
                Ok(())
            }
        }
    }
}

/// The top directory, if the entry is a `PKG-INFO` right below one. Case is ignored, as some file systems do.
fn top_of_pkg_info(path: &EntryPath) -> Option<&str> {
    match path.components() {
        [top, file] if file.eq_ignore_ascii_case(PKG_INFO) => Some(top),
        _ => None,
    }
}

/// The content of a GNU long name entry, which ends with a NUL.
fn read_long_name(entry: &mut Entry<'_, impl Read>) -> Result<Vec<u8>, ArchiveError> {
    let mut name = read_capped(entry, "long name", EXTENDED_HEADER_BYTES)?;
    if name.last() == Some(&0) {
        name.pop();
    }
    Ok(name)
}

/// A global PAX header may hold a comment, as `git archive` writes it, and no name for every entry.
fn refuse_global_names(entry: &mut Entry<'_, impl Read>) -> Result<(), ArchiveError> {
    let header = read_capped(entry, "pax header", EXTENDED_HEADER_BYTES)?;
    for extension in PaxExtensions::new(&header) {
        let extension = extension.map_err(|error| unreadable(&error))?;
        if matches!(extension.key_bytes(), b"path" | b"linkpath" | b"size") {
            return Err(unreadable(&"a global pax header names every entry"));
        }
    }
    Ok(())
}

/// Readers differ on which of two names for one entry counts, so there may be one.
fn set_once(slot: &mut Option<Vec<u8>>, value: Vec<u8>) -> Result<(), ArchiveError> {
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
