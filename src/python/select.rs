//! Which files of a project a requirement means. Not a resolver: one project, no dependencies, no platform tags.

use pep440_rs::{Version, VersionSpecifiers};
use thiserror::Error;

use super::filename::Kind;
use super::simple::{PageFile, ProjectPage, Yanked};

/// Why a requirement names no file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SelectError {
    /// All that would fit is yanked.
    #[error("all versions of {project} that fit are yanked: {}; pin one to get it all the same", .yanked.join(", "))]
    Yanked {
        /// The project.
        project: String,
        /// The versions.
        yanked: Vec<String>,
    },
    /// No published version fits.
    #[error("no version of {project} fits the requirement {wanted:?}; published are {}", .published.join(", "))]
    NoVersion {
        /// The project.
        project: String,
        /// The specifiers.
        wanted: String,
        /// All versions.
        published: Vec<String>,
    },
    /// The version has only wheels for some platforms, and none was chosen.
    #[error("{project} {version} has no wheel for every platform and no sdist; it has {}", .files.join(", "))]
    NoUniversal {
        /// The project.
        project: String,
        /// The version.
        version: String,
        /// Its files.
        files: Vec<String>,
    },
}

/// All files of the newest version that fits, of those offered: none in a quarantine (PEP 792). Yanked files count
/// only for a requirement that pins one version (PEP 592), pre-releases only where nothing else fits or the
/// requirement names one (PEP 440).
pub fn files_of<'a>(
    page: &'a ProjectPage,
    wanted: &VersionSpecifiers,
) -> Result<Vec<&'a PageFile>, SelectError> {
    let pinned = wanted.iter().any(|specifier| {
        use pep440_rs::Operator::{Equal, ExactEqual};
        matches!(specifier.operator(), Equal | ExactEqual)
    });
    let wanted_by = |file: &PageFile| wanted.contains(file.filename.version());
    let fits = |file: &&PageFile| wanted_by(file) && (pinned || matches!(file.yanked, Yanked::No));
    let fitting: Vec<_> = page.offered().iter().filter(fits).collect();
    let names_pre = wanted.iter().any(|specifier| specifier.version().any_prerelease());
    let versions = || fitting.iter().map(|file| file.filename.version());
    let stable = versions().filter(|version| names_pre || !version.any_prerelease()).max();
    let newest: Option<&Version> = stable.or_else(|| versions().max());
    let Some(newest) = newest else {
        let (project, wanted) = (page.name().to_string(), wanted.to_string());
        let yanked = page
            .offered()
            .iter()
            .filter(|file| wanted_by(file))
            .map(|file| file.filename.version().to_string());
        let mut yanked: Vec<_> = yanked.collect();
        yanked.dedup();
        if !yanked.is_empty() {
            return Err(SelectError::Yanked { project, yanked });
        }
        return Err(SelectError::NoVersion { project, wanted, published: page.versions() });
    };
    Ok(fitting.iter().copied().filter(|file| file.filename.version() == newest).collect())
}

/// The one file that serves everywhere: a wheel for any platform, else the sdist.
pub fn universal<'a>(page: &ProjectPage, files: &[&'a PageFile]) -> Result<&'a PageFile, SelectError> {
    let any = |file: &&&PageFile| matches!(file.filename.kind(), Kind::Wheel { python, platform, .. } if platform == "any" && python.contains("py3"));
    let sdist = |file: &&&PageFile| matches!(file.filename.kind(), Kind::Sdist(_));
    let found = files.iter().find(any).or_else(|| files.iter().find(sdist));
    found.copied().ok_or_else(|| SelectError::NoUniversal {
        project: page.name().to_string(),
        version: files.first().map_or_else(String::new, |file| file.filename.version().to_string()),
        files: files.iter().map(|file| file.filename.to_string()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::{FileUrl, ProjectName, Sha256Hex, Status, StatusMarker};
    use super::*;
    use std::str::FromStr;

    fn page(names: &[&str]) -> ProjectPage {
        let mut page = ProjectPage::new(ProjectName::from_str("demo").unwrap(), 1);
        for name in names {
            let (name, yanked) = match name.strip_prefix('!') {
                Some(name) => (name, Yanked::Yes(None)),
                None => (*name, Yanked::No),
            };
            page.insert(PageFile {
                filename: name.parse().unwrap(),
                url: FileUrl::from_str("x").unwrap(),
                sha256: Sha256Hex::from_str(&"0".repeat(64)).unwrap(),
                size: 1,
                upload_time: None,
                requires_python: None,
                yanked,
                core_metadata_sha256: None,
                provenance_sha256: None,
            });
        }
        page
    }

    fn chosen(page: &ProjectPage, wanted: &str) -> Result<String, SelectError> {
        let files = files_of(page, &VersionSpecifiers::from_str(wanted).unwrap())?;
        universal(page, &files).map(|file| file.filename.to_string())
    }

    #[test]
    fn the_newest_stable_version_unless_pinned() {
        let page = page(&[
            "demo-1.0.tar.gz",
            "demo-2.0.tar.gz",
            "demo-2.0-py3-none-any.whl",
            "!demo-3.0.tar.gz",
            "demo-4.0rc1.tar.gz",
        ]);
        assert_eq!(chosen(&page, "").as_deref(), Ok("demo-2.0-py3-none-any.whl"));
        assert_eq!(chosen(&page, "<2").as_deref(), Ok("demo-1.0.tar.gz"));
        assert_eq!(chosen(&page, "==3.0").as_deref(), Ok("demo-3.0.tar.gz"));
        assert_eq!(chosen(&page, ">=4.0rc1").as_deref(), Ok("demo-4.0rc1.tar.gz"));
        assert!(matches!(chosen(&page, ">9"), Err(SelectError::NoVersion { .. })));
    }

    #[test]
    fn a_quarantine_leaves_nothing_to_choose() {
        let mut page = page(&["demo-1.0.tar.gz"]);
        page.status = Some(Status { marker: StatusMarker::Quarantined, reason: None });
        assert!(matches!(chosen(&page, ""), Err(SelectError::NoVersion { .. })));
        assert!(matches!(chosen(&page, "==1.0"), Err(SelectError::NoVersion { .. })));
    }

    #[test]
    fn platform_wheels_alone_are_not_guessed_at() {
        let page = page(&["demo-1.0-cp311-cp311-manylinux_2_17_x86_64.whl"]);
        assert!(matches!(chosen(&page, ""), Err(SelectError::NoUniversal { .. })));
    }
}
