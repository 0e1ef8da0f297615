//! A line of a list as a file on its project's page, and on its way through the [spill](super::super::spill): `project
//! TAB number line`, the number in 8 bytes, most significant first, so that a project's lines stay in their order.

use std::str::FromStr;

use super::line::{CoreMetadata, Line, LineFault, Yank};
use crate::python::{DistributionFilename, FileUrl, FreeText, PageFile, Sha256Hex, UploadTime, Yanked};
use crate::repository::layout;
use crate::spill::SpillError;
use crate::tuf::path::percent_quote;

/// Folder below which a mirror has its files, in any depth.
const PACKAGES: &str = "packages/";

/// A file on a page, with what a page does not say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) file: PageFile,
    /// Length of its metadata file in bytes, if that is to be a target.
    pub(super) metadata_length: Option<u64>,
}

impl Listed {
    /// Judges all columns.
    pub(super) fn of(line: &Line<'_>) -> Result<Self, LineFault> {
        let filename = filename(line.path)?;
        let quoted = percent_quote(filename.as_str(), b"");
        let url = format!("../../{}/{}/{quoted}", layout::TARGETS, filename.project());
        let core = line.core_metadata.map(CoreMetadata::parse).transpose()?;
        let digest = |text| Sha256Hex::from_str(text).map_err(|error| LineFault::page("sha256", &error));
        let upload_time = line.upload_time.map(UploadTime::from_str).transpose();
        let file = PageFile {
            url: FileUrl::from_str(&url).map_err(|error| LineFault::page("path", &error))?,
            sha256: digest(line.sha256)?,
            size: line.length,
            upload_time: upload_time.map_err(|error| LineFault::page("upload-time", &error))?,
            requires_python: line.requires_python.map(|it| text("requires-python", it)).transpose()?,
            yanked: match line.yanked {
                Yank::No => Yanked::No,
                Yank::Yes => Yanked::Yes(None),
                Yank::Because(reason) => Yanked::Yes(Some(text("yanked", reason)?)),
            },
            core_metadata_sha256: core.map(|core| digest(core.sha256)).transpose()?,
            provenance_sha256: None,
            filename,
        };
        Ok(Self { file, metadata_length: core.and_then(|core| core.length) })
    }
}

fn text(column: &'static str, text: &str) -> Result<FreeText, LineFault> {
    FreeText::from_str(text).map_err(|error| LineFault::page(column, &error))
}

/// The file that a path names: `FILENAME`, `PROJECT/FILENAME`, or anywhere below `packages/`, as mirrors have it.
fn filename(path: &str) -> Result<DistributionFilename, LineFault> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let filename = DistributionFilename::from_str(name).map_err(|error| LineFault::page("path", &error))?;
    if folder.is_empty() || folder == filename.project().as_str() || path.starts_with(PACKAGES) {
        return Ok(filename);
    }
    Err(LineFault::Folder { project: filename.project().to_string(), found: folder.to_owned() })
}

/// Writes a record to `out`, which is emptied first.
pub(super) fn write(project: &str, number: u64, line: &str, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(project.as_bytes());
    out.push(b'\t');
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(line.as_bytes());
}

/// Reads one again: project, number and line.
pub(super) fn read(bytes: &[u8]) -> Result<(&str, u64, &str), SpillError> {
    let parts = || {
        let end = bytes.iter().position(|byte| *byte == b'\t')?;
        let (project, rest) = bytes.split_at_checked(end)?;
        let (number, line) = rest.get(1..)?.split_first_chunk()?;
        let text = |bytes| std::str::from_utf8(bytes).ok();
        Some((text(project)?, u64::from_be_bytes(*number), text(line)?))
    };
    parts().ok_or(SpillError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA256: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn listed(line: &str) -> Result<Listed, LineFault> {
        Listed::of(&Line::parse(line)?)
    }

    #[test]
    fn every_column_reaches_the_page() {
        let core = "0f".repeat(32);
        let columns = [">=3.9", "broken", "2026-01-02T03:04:05Z", &format!("{core}:12")].join("\t");
        let full = listed(&format!("Zope.Interface-1.0+a.tar.gz\t7\t{SHA256}\t{columns}")).unwrap();
        let file = &full.file;
        assert_eq!(file.url.as_str(), "../../targets/zope-interface/Zope.Interface-1.0%2Ba.tar.gz");
        assert_eq!((file.size, file.sha256.as_str()), (7, SHA256));
        assert_eq!(file.requires_python.as_ref().map(FreeText::as_str), Some(">=3.9"));
        assert_eq!(file.yanked, Yanked::Yes(Some("broken".parse().unwrap())));
        assert_eq!(file.upload_time.as_ref().map(UploadTime::as_str), Some("2026-01-02T03:04:05Z"));
        assert_eq!(file.core_metadata_sha256.as_ref().map(Sha256Hex::as_str), Some(core.as_str()));
        assert_eq!(full.metadata_length, Some(12));
        let least = listed(&format!("six-1.0.tar.gz\t7\t{SHA256}")).unwrap();
        assert_eq!((&least.file.yanked, least.metadata_length), (&Yanked::No, None));
    }

    #[test]
    fn the_folder_is_none_the_projects_or_a_mirrors() {
        for folder in ["", "zope-interface/", "packages/aa/bb/cc/", "packages/"] {
            let path = format!("{folder}zope.interface-1.0.tar.gz");
            assert_eq!(filename(&path).unwrap().project().as_str(), "zope-interface");
        }
        for folder in ["zope.interface", "six", "simple/zope-interface", "x/packages/aa"] {
            let refused = filename(&format!("{folder}/zope.interface-1.0.tar.gz"));
            let project = "zope-interface".to_owned();
            assert_eq!(refused, Err(LineFault::Folder { project, found: folder.to_owned() }));
        }
    }

    #[test]
    fn a_value_that_no_page_may_have_is_refused_with_its_column() {
        let line = format!("six-1.0.tar.gz\t7\t{SHA256}");
        let long = "x".repeat(1_025);
        for (line, column) in [
            (format!("six.egg\t7\t{SHA256}"), "path"),
            (format!("simple/six/index.json\t7\t{SHA256}"), "path"),
            (format!("{line}\t{long}"), "requires-python"),
            (format!("{line}\t\t{long}"), "yanked"),
            (format!("{line}\t\ta\u{1b}[2J"), "yanked"),
            (format!("{line}\t\t\tyesterday"), "upload-time"),
        ] {
            assert!(matches!(listed(&line), Err(LineFault::Page { what, .. }) if what == column), "{line}");
        }
        let refused = listed(&format!("{line}\t\t\t\t{SHA256}:x"));
        assert_eq!(refused, Err(LineFault::Length { found: "x".to_owned() }));
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_a_projects_lines_stay_together() {
        let mut records = Vec::new();
        for (project, number) in [("a", 300), ("a-b", 1), ("a", 2), ("a0", 9)] {
            let mut bytes = vec![7];
            write(project, number, "line\twith tabs", &mut bytes);
            assert_eq!(read(&bytes), Ok((project, number, "line\twith tabs")));
            records.push(bytes);
        }
        records.sort();
        let order: Vec<_> =
            records.iter().map(|bytes| read(bytes).unwrap()).map(|(p, n, _)| (p, n)).collect();
        assert_eq!(order, [("a", 2), ("a", 300), ("a-b", 1), ("a0", 9)]);
        for bytes in [b"".as_slice(), b"a", b"a\t1234567", b"\xff\t12345678"] {
            assert_eq!(read(bytes), Err(SpillError::Damaged));
        }
    }
}
