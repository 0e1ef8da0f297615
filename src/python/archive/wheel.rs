//! Wheels (binary distribution format, "File Format" and "The .dist-info directory").

use std::io::{self, Read, Seek};

use pep440_rs::Version;

use super::{ArchiveError, ArchiveLimits, Member, budget::Budget, disagrees, entry::EntryPath, zipped::Zip};
use crate::python::{filename::DistributionFilename, name::ProjectName};

/// How the name of the directory of a wheel's own files ends.
const SUFFIX: &str = ".dist-info";

/// The bytes of `{name}-{version}.dist-info/METADATA`.
pub(super) fn read_metadata<R: Read + Seek>(
    filename: &DistributionFilename,
    reader: R,
    limits: &ArchiveLimits,
) -> Result<Vec<u8>, ArchiveError> {
    let budget = Budget::new(limits.directory_bytes);
    let mut zip = Zip::open(reader, &budget, limits)?;
    let directory = dist_info(zip.paths())?.to_owned();
    check_dist_info(filename, &directory)?;
    zip.expect(&directory, "WHEEL")?;
    zip.expect(&directory, "RECORD")?;
    zip.read(&directory, "METADATA", limits.metadata_bytes)
}

/// Every file, in the order of the archive; the name of the wheel's own directory.
pub(super) fn each_member<R: Read + Seek>(
    filename: &DistributionFilename,
    reader: R,
    limits: &ArchiveLimits,
    visit: &mut dyn FnMut(Member<'_>) -> io::Result<()>,
) -> Result<String, ArchiveError> {
    let budget = Budget::new(limits.directory_bytes);
    let mut zip = Zip::open(reader, &budget, limits)?;
    let directory = dist_info(zip.paths())?.to_owned();
    check_dist_info(filename, &directory)?;
    zip.each(visit)?;
    Ok(directory)
}

/// The one top directory that ends in `.dist-info`. Case is ignored, as some file systems do.
fn dist_info(paths: &[EntryPath]) -> Result<&str, ArchiveError> {
    let mut found: Option<&str> = None;
    for top in paths.iter().filter_map(|path| path.components().first()) {
        match found {
            _ if !top.to_ascii_lowercase().ends_with(SUFFIX) => {}
            Some(first) if first != top => {
                return Err(ArchiveError::Several { first: first.to_owned(), second: top.clone() });
            }
            _ => found = Some(top),
        }
    }
    found.ok_or_else(|| ArchiveError::MissingEntry { entry: format!("*{SUFFIX}/METADATA") })
}

/// The directory is named after the project and version of the file, each in any spelling.
fn check_dist_info(filename: &DistributionFilename, directory: &str) -> Result<(), ArchiveError> {
    let named = directory
        .strip_suffix(SUFFIX)
        .and_then(|stem| stem.rsplit_once('-'))
        .and_then(|(name, version)| Some((name.parse().ok()?, version.parse().ok()?)));
    let expected: (ProjectName, Version) = (filename.project().clone(), filename.version().clone());
    if named == Some(expected) {
        return Ok(());
    }
    let expected = format!("{}-{}{SUFFIX}", filename.project(), filename.version());
    Err(disagrees("the wheel's own directory", &directory, &expected))
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

    use super::*;
    use crate::python::archive::{Inspected, inspect};

    const METADATA: &str = "Metadata-Version: 2.1\nName: Foo.Bar\nVersion: 1.0\n\nbody\n";
    const DIR: &str = "foo_bar-1.0.dist-info";

    fn zip_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in entries {
            let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
            writer.start_file(*name, options).unwrap();
            writer.write_all(content).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    /// A good wheel, with entries more.
    fn wheel_with(more: &[(&str, &[u8])]) -> Vec<u8> {
        let names = ["METADATA", "WHEEL", "RECORD"].map(|file| format!("{DIR}/{file}"));
        let mut entries: Vec<(&str, &[u8])> = vec![("foo_bar/__init__.py", b"")];
        entries.extend(names.iter().map(|name| (name.as_str(), METADATA.as_bytes())));
        entries.extend(more);
        zip_of(&entries)
    }

    fn inspect_with(bytes: &[u8], limits: &ArchiveLimits) -> Result<Inspected, ArchiveError> {
        inspect(&"foo_bar-1.0-py3-none-any.whl".parse().unwrap(), Cursor::new(bytes), limits)
    }

    fn inspected(bytes: &[u8]) -> Result<Inspected, ArchiveError> {
        inspect_with(bytes, &ArchiveLimits::default())
    }

    /// Replaces equally long bytes everywhere, as an attacker with a hex editor would.
    fn patched(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
        assert_eq!(from.len(), to.len());
        let mut patched = bytes.to_vec();
        for at in 0..bytes.len() - from.len() {
            if bytes[at..].starts_with(from.as_bytes()) {
                patched[at..at + to.len()].copy_from_slice(to.as_bytes());
            }
        }
        patched
    }

    #[test]
    fn a_wheel_gives_the_bytes_of_its_metadata() {
        let inspected = inspected(&wheel_with(&[])).unwrap();
        assert_eq!(inspected.metadata_bytes, METADATA.as_bytes());
        assert_eq!(inspected.metadata.name.as_str(), "foo-bar");
    }

    #[test]
    fn a_wheel_cut_at_any_length_is_refused_without_panic() {
        let wheel = wheel_with(&[]);
        for length in 0..wheel.len() {
            assert!(inspected(&wheel[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_wheel_with_any_byte_changed_does_not_panic() {
        let wheel = wheel_with(&[]);
        for at in 0..wheel.len() {
            for bit in [0x01, 0x80, 0xff] {
                let mut changed = wheel.clone();
                changed[at] ^= bit;
                let _ = inspected(&changed);
            }
        }
    }

    #[test]
    fn the_own_directory_must_be_of_this_project_and_version() {
        for other in ["foo_baz-1.0.dist-info", "foo_bar-1.1.dist-info", "foo_bar_1.0.dist-info"] {
            assert_eq!(
                inspected(&patched(&wheel_with(&[]), DIR, other)),
                Err(ArchiveError::Disagrees {
                    what: "the wheel's own directory",
                    found: other.to_owned(),
                    expected: "foo-bar-1.0.dist-info".to_owned(),
                })
            );
        }
        assert!(inspected(&patched(&wheel_with(&[]), DIR, "Foo.Bar-1.0.dist-info")).is_ok());
    }

    #[test]
    fn two_own_directories_are_refused() {
        for second in ["other-1.0.dist-info", "Foo_Bar-1.0.dist-info", "foo_bar-1.0.DIST-INFO"] {
            let name = format!("{second}/METADATA");
            assert_eq!(
                inspected(&wheel_with(&[(&name, b"")])),
                Err(ArchiveError::Several { first: DIR.to_owned(), second: second.to_owned() })
            );
        }
    }

    #[test]
    fn a_missing_own_file_is_refused() {
        for (from, to) in [("/METADATA", "/METADATX"), ("/WHEEL", "/WHEEX"), ("/RECORD", "/record")] {
            assert_eq!(
                inspected(&patched(&wheel_with(&[]), from, to)),
                Err(ArchiveError::MissingEntry { entry: format!("{DIR}{from}") })
            );
        }
        let entry = "*.dist-info/METADATA".to_owned();
        assert_eq!(inspected(&zip_of(&[("a", b"")])), Err(ArchiveError::MissingEntry { entry }));
    }

    #[test]
    fn a_second_metadata_file_is_refused() {
        let name = format!("{DIR}/metadata");
        let entry = format!("{DIR}/METADATA");
        assert_eq!(inspected(&wheel_with(&[(&name, b"")])), Err(ArchiveError::DuplicateEntry { entry }));
        let name = format!("./{DIR}/METADATA");
        let entry = name.clone();
        assert_eq!(inspected(&wheel_with(&[(&name, b"")])), Err(ArchiveError::UnsafeName { entry }));
        let twice = patched(&wheel_with(&[(&format!("{DIR}/METADATX"), b"")]), "METADATX", "METADATA");
        assert!(matches!(inspected(&twice), Err(ArchiveError::Inconsistent { .. })));
    }

    #[test]
    fn a_local_header_with_another_name_is_refused() {
        let wheel = wheel_with(&[]);
        let mut changed = wheel.clone();
        let local = wheel.windows(9).position(|window| window == b"/METADATA").unwrap();
        changed[local + 1] = b'X';
        assert!(matches!(inspected(&changed), Err(ArchiveError::Inconsistent { .. })));
    }

    #[test]
    fn bytes_before_the_archive_are_refused() {
        let mut prefixed = b"#!/bin/sh\n".to_vec();
        prefixed.extend(wheel_with(&[]));
        assert!(inspected(&prefixed).is_err());
    }

    #[test]
    fn entries_that_escape_are_refused() {
        for (from, entry) in
            [("xx/evil", "../evil"), ("xevil", "/evil"), ("xx\\evil", "..\\evil"), ("xx/d", "C:/d")]
        {
            assert_eq!(
                inspected(&patched(&wheel_with(&[(from, b"")]), from, entry)),
                Err(ArchiveError::UnsafeName { entry: entry.to_owned() })
            );
        }
    }

    #[test]
    fn an_encrypted_entry_is_refused() {
        let wheel = wheel_with(&[]);
        let mut encrypted = wheel.clone();
        let central = wheel.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
        encrypted[central + 8] |= 1;
        let entry = "foo_bar/__init__.py".to_owned();
        assert_eq!(inspected(&encrypted), Err(ArchiveError::Encrypted { entry }));
    }

    #[test]
    fn a_bomb_of_a_metadata_file_is_refused() {
        let mut entries: Vec<(String, Vec<u8>)> =
            ["WHEEL", "RECORD"].map(|file| (format!("{DIR}/{file}"), Vec::new())).into();
        entries.push((format!("{DIR}/METADATA"), vec![b'a'; 10_000_001]));
        let entries: Vec<(&str, &[u8])> =
            entries.iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect();
        let bomb = zip_of(&entries);
        assert!(bomb.len() < 100_000);
        let entry = format!("{DIR}/METADATA");
        assert_eq!(inspected(&bomb), Err(ArchiveError::EntryTooLarge { entry, limit: 10_000_000 }));
    }

    #[test]
    fn entries_and_directory_are_limited() {
        let limits = ArchiveLimits { entries: 3, ..ArchiveLimits::default() };
        let error = ArchiveError::TooManyEntries { limit: 3 };
        assert_eq!(inspect_with(&wheel_with(&[]), &limits), Err(error));
        let limits = ArchiveLimits { directory_bytes: 100, ..ArchiveLimits::default() };
        assert_eq!(inspect_with(&wheel_with(&[]), &limits), Err(ArchiveError::TooLarge { limit: 100 }));
    }

    #[test]
    fn metadata_of_another_project_is_refused() {
        let wheel = |metadata: &str| {
            let names = ["METADATA", "WHEEL", "RECORD"].map(|file| format!("{DIR}/{file}"));
            let entries: Vec<(&str, &[u8])> =
                names.iter().map(|name| (name.as_str(), metadata.as_bytes())).collect();
            inspected(&zip_of(&entries))
        };
        assert_eq!(
            wheel(&METADATA.replace("Foo.Bar", "foo-baz")).unwrap_err().to_string(),
            "the name in the metadata is \"foo-baz\"; the file name says \"foo-bar\""
        );
        assert_eq!(
            wheel(&METADATA.replace("1.0", "1.0+cpu")).unwrap_err().to_string(),
            "the version in the metadata is \"1.0+cpu\"; the file name says \"1.0\""
        );
        assert!(wheel(&METADATA.replace("1.0", "1.0.0")).is_ok());
    }
}
