//! What the path of a request asks for. Paths come from tools, whose URLs may come from anywhere.

use std::str::FromStr;

use percent_encoding::percent_decode_str;

use crate::python::{DistributionFilename, ProjectName};
use crate::tuf::path::TargetPath;

/// Bytes of a path, at most: file names have up to 255, quoted three times as many.
const MAX_PATH: usize = 4_096;
/// What is appended to a file's URL for its metadata (PEP 658).
const METADATA: &str = ".metadata";
/// The same for its provenance (PEP 740).
const PROVENANCE: &str = ".provenance";

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// The list of projects.
    Projects,
    /// A project's page; in the form that its name says, if it says one.
    Page(ProjectName, Option<Fixed>),
    /// Something that has its proper address there, relative to this one.
    Moved(String),
    /// A distribution, or what is served beside it.
    File(DistributionFilename, Part),
    /// Nothing that an index has.
    Nothing,
}

/// A page under the name of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fixed {
    Json,
    Html,
}

/// A distribution or what is served beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    Metadata,
    Provenance,
}

impl Part {
    /// What is appended to the distribution's path.
    fn ending(self) -> &'static str {
        match self {
            Self::Whole => "",
            Self::Metadata => METADATA,
            Self::Provenance => PROVENANCE,
        }
    }

    /// The distribution's name in that of a part, and which part.
    fn of(name: &str) -> (&str, Self) {
        let beside = [Self::Metadata, Self::Provenance].into_iter();
        let mut beside = beside.filter_map(|part| Some((name.strip_suffix(part.ending())?, part)));
        beside.next().unwrap_or((name, Self::Whole))
    }
}

/// A path that two readers could take for different things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trick;

/// Reads the path of a request; `pages` is the path below which the pages are, with slashes at both ends.
pub(super) fn asked(path: &str, pages: &str) -> Result<Asked, Trick> {
    plain(path)?;
    if format!("{path}/") == pages {
        let last = pages.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        return Ok(Asked::Moved(format!("{last}/")));
    }
    if let Some(page) = path.strip_prefix(pages).and_then(page) {
        return Ok(page);
    }
    let name = path.rsplit('/').next().unwrap_or_default();
    let name = percent_decode_str(name).decode_utf8().map_err(|_| Trick)?;
    let (whole, part) = Part::of(&name);
    Ok(file(whole, part))
}

/// The target that is meant by a distribution.
pub(super) fn target(file: &DistributionFilename, part: Part) -> Option<TargetPath> {
    TargetPath::new(format!("{}/{file}{}", file.project(), part.ending())).ok()
}

/// What is asked for below the pages; `None`: no page. Some indexes have files there too.
fn page(rest: &str) -> Option<Asked> {
    let (name, fixed) = match rest.split_once('/') {
        None if rest.is_empty() => return Some(Asked::Projects),
        None => return moved(rest, ""),
        Some((name, "")) => (name, None),
        Some((name, "index.json")) => (name, Some(Fixed::Json)),
        Some((name, "index.html")) => (name, Some(Fixed::Html)),
        Some(_) => return None,
    };
    match ProjectName::from_normalised(name) {
        Ok(name) => Some(Asked::Page(name, fixed)),
        Err(_) => moved(name, "../"),
    }
}

/// To the page of a project under its normalized name (PEP 503).
fn moved(name: &str, up: &str) -> Option<Asked> {
    let name = percent_decode_str(name).decode_utf8().unwrap_or_default();
    if DistributionFilename::from_str(Part::of(&name).0).is_ok() {
        return None;
    }
    ProjectName::from_str(&name).ok().map(|name| Asked::Moved(format!("{up}{name}/")))
}

fn file(name: &str, part: Part) -> Asked {
    DistributionFilename::from_str(name).map_or(Asked::Nothing, |file| Asked::File(file, part))
}

/// Refuses what some server or cache would read in another way: folders up, empty folders, backslashes, quoted ones of
/// these, quoted letters, and control characters.
fn plain(path: &str) -> Result<(), Trick> {
    let visible = path.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\#?".contains(&byte));
    if path.len() > MAX_PATH || !path.starts_with('/') || !visible || path.contains("//") {
        return Err(Trick);
    }
    if path.split('/').any(|folder| matches!(folder, "." | "..")) {
        return Err(Trick);
    }
    for quoted in path.split('%').skip(1) {
        let digits = quoted.get(..2).ok_or(Trick)?;
        let byte = u8::from_str_radix(digits, 16).map_err(|_| Trick)?;
        if byte.is_ascii_control() || byte.is_ascii_alphanumeric() || b"./\\%".contains(&byte) {
            return Err(Trick);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGES: &str = "/root/simple/";

    fn read(path: &str) -> Result<Asked, Trick> {
        asked(path, PAGES)
    }

    #[test]
    fn pages_are_found_under_their_normalized_names() {
        let six: ProjectName = "six".parse().unwrap();
        assert_eq!(read("/root/simple/"), Ok(Asked::Projects));
        assert_eq!(read("/root/simple/six/"), Ok(Asked::Page(six.clone(), None)));
        assert_eq!(read("/root/simple/six/index.json"), Ok(Asked::Page(six.clone(), Some(Fixed::Json))));
        assert_eq!(read("/root/simple/six/index.html"), Ok(Asked::Page(six, Some(Fixed::Html))));
        for (path, to) in [
            ("/root/simple", "simple/"),
            ("/root/simple/six", "six/"),
            ("/root/simple/Zope.Interface", "zope-interface/"),
            ("/root/simple/Zope.Interface/", "../zope-interface/"),
        ] {
            assert_eq!(read(path), Ok(Asked::Moved(to.to_owned())), "{path}");
        }
        for path in ["/root/simple/six/x/", "/root/simple/-/", "/root/other/", "/"] {
            assert_eq!(read(path), Ok(Asked::Nothing), "{path}");
        }
    }

    #[test]
    fn a_file_is_its_name_wherever_it_lies() {
        let wheel: DistributionFilename = "a-1.0+b-py3-none-any.whl".parse().unwrap();
        for path in [
            "/root/targets/a/a-1.0+b-py3-none-any.whl",
            "/root/targets/a/a-1.0%2Bb-py3-none-any.whl",
            "/a-1.0%2bb-py3-none-any.whl",
            "/packages/00/11/a-1.0+b-py3-none-any.whl",
            "/root/simple/a/a-1.0+b-py3-none-any.whl",
            "/root/simple/a-1.0+b-py3-none-any.whl",
        ] {
            assert_eq!(read(path), Ok(Asked::File(wheel.clone(), Part::Whole)), "{path}");
            assert_eq!(read(&format!("{path}.metadata")), Ok(Asked::File(wheel.clone(), Part::Metadata)));
            assert_eq!(read(&format!("{path}.provenance")), Ok(Asked::File(wheel.clone(), Part::Provenance)));
        }
        assert_eq!(target(&wheel, Part::Metadata).unwrap().as_str(), "a/a-1.0+b-py3-none-any.whl.metadata");
    }

    #[test]
    fn tricks_are_refused() {
        for path in [
            "",
            "*",
            "root/simple/",
            "/root/simple/../../metadata/",
            "/root/./simple/",
            "/root/simple/six/..",
            "/root/simple/%2e%2e/six/",
            "/root/simple/%2E%2E/six/",
            "/root/simple/six%2fsix/",
            "/root/simple/six%5csix/",
            "/root/simple/%73ix/",
            "/root/simple/%252e%252e/",
            "/root/simple/six%00/",
            "/root/simple/six%0d%0aX: y/",
            "/root/simple//six/",
            "//root/simple/six/",
            "/root\\simple\\six/",
            "/root/simple/six%/",
            "/root/simple/six%2/",
            "/root/simple/six%zz/",
            "/root/simple/six/ ",
            "/root/simple/s\u{ef}x/",
            "/root/simple/six/#x",
        ] {
            assert_eq!(read(path), Err(Trick), "{path}");
        }
        assert_eq!(read(&format!("/{}", "a".repeat(MAX_PATH))), Err(Trick));
    }
}
