//! Names and links of archive entries.

use std::collections::BTreeSet;

use super::ArchiveError;

/// The path of an entry: its components, cut at slashes. A backslash cuts too, as it does where an archive
/// made on Windows is unpacked on Windows.
///
/// Invariants: relative; no component is empty, `.` or `..`, holds a control character or a colon in its first
/// two bytes (a drive letter). The leading `./` of legacy sdists is gone. May have no component (`./` itself).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct EntryPath(Vec<String>);

impl EntryPath {
    pub(super) fn parse(name: &str) -> Result<Self, ArchiveError> {
        let unsafe_name = || ArchiveError::UnsafeName { entry: name.to_owned() };
        if name.is_empty() || !is_relative(name) || name.contains(char::is_control) {
            return Err(unsafe_name());
        }
        let components = components(name);
        if components.iter().any(|component| component == "..") {
            return Err(unsafe_name());
        }
        Ok(Self(components))
    }

    pub(super) fn components(&self) -> &[String] {
        &self.0
    }

    /// Whether a symbolic link of this path to `target` stays inside the archive. `..` may only lead the
    /// target: after the name of a directory it could follow another link and climb from there.
    pub(super) fn may_link_to(&self, target: &str) -> bool {
        let components = components(target);
        let climbs = components.iter().take_while(|component| *component == "..").count();
        is_relative(target)
            && !target.contains(char::is_control)
            && climbs < self.0.len()
            && components.iter().skip(climbs).all(|component| component != "..")
    }
}

/// The symbolic links of an archive.
///
/// Invariant: none is above another. So the greatest link not after a path, in the order of components, is
/// above the path if any is; an archive with many links and deep paths costs no more than a search.
#[derive(Default)]
pub(super) struct Links(BTreeSet<EntryPath>);

impl Links {
    /// Whether a path is that of a link, or leads through one.
    pub(super) fn cover(&self, path: &EntryPath) -> bool {
        self.0.range(..=path).next_back().is_some_and(|link| path.0.starts_with(&link.0))
    }

    /// Adds a link that is not covered; `false` if it is above another.
    pub(super) fn add(&mut self, link: EntryPath) -> bool {
        let above_another = self.0.range(&link..).next().is_some_and(|next| next.0.starts_with(&link.0));
        !above_another && self.0.insert(link)
    }
}

/// Not absolute on any system: no leading separator, no drive letter.
fn is_relative(name: &str) -> bool {
    !name.starts_with(['/', '\\']) && name.as_bytes().get(1) != Some(&b':')
}

fn components(name: &str) -> Vec<String> {
    name.split(['/', '\\']).filter(|component| !matches!(*component, "" | ".")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_archive_are_refused() {
        for entry in
            ["", "/etc/passwd", "\\x", "a/../../b", "..", "..\\x", "a\\..\\b", "C:/x", "c:x", "a\0b", "a\nb"]
        {
            assert_eq!(EntryPath::parse(entry), Err(ArchiveError::UnsafeName { entry: entry.to_owned() }));
        }
        for entry in ["./foo-1.0/PKG-INFO", "foo-1.0//PKG-INFO", "foo-1.0/./PKG-INFO"] {
            assert_eq!(EntryPath::parse(entry).unwrap().components(), ["foo-1.0", "PKG-INFO"]);
        }
        assert!(EntryPath::parse("./").unwrap().components().is_empty());
        assert!(EntryPath::parse("a/..b/c..").is_ok());
    }

    #[test]
    fn links_cover_what_is_at_and_below_them() {
        let path = |name: &str| EntryPath::parse(name).unwrap();
        let mut links = Links::default();
        for link in ["a/b", "a/bb", "c"] {
            assert!(!links.cover(&path(link)));
            assert!(links.add(path(link)));
        }
        for covered in ["a/b", "a/b/x", "a/b/x/y", "a/bb/z", "c/./d"] {
            assert!(links.cover(&path(covered)), "{covered}");
        }
        for free in ["a", "a/ba", "a/b!", "b", "cc/d"] {
            assert!(!links.cover(&path(free)), "{free}");
        }
        assert!(!links.add(path("a")));
    }

    #[test]
    fn links_that_leave_the_archive_are_refused() {
        let link = EntryPath::parse("foo-1.0/a/link").unwrap();
        for target in ["x", "../x", "../../x", "b/c", "."] {
            assert!(link.may_link_to(target), "{target}");
        }
        for target in ["../../../x", "/etc/passwd", "b/../c", "../b/..", "..\\..\\..\\x", "C:\\x"] {
            assert!(!link.may_link_to(target), "{target}");
        }
    }
}
