//! Names: roles, targets, and the patterns that say which target a role may speak for.
//!
//! Role names are free text chosen by whoever delegates, so they are quoted wherever they become part of a URL or
//! a file name ([`RoleName::file_stem`]). Target paths are checked before they are used ([`TargetPath`]).

use std::fmt;

use thiserror::Error;

use super::json::quoted;
use crate::crypto::sha256;

/// The names the specification keeps for the four top-level roles (section 2.1).
pub const TOP_LEVEL_ROLES: [&str; 4] = ["root", "timestamp", "snapshot", "targets"];
/// Bytes of a quoted role name, at most: a file name has 255, of which the version and `.json` take 26.
pub const MAX_ROLE_NAME: usize = 229;
/// Bytes of a target path, at most: what common object stores allow for a key, less room for a hash prefix.
pub const MAX_TARGET_PATH: usize = 800;

/// Why a name is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what} {name:?} is refused: {reason}")]
pub struct NameError {
    /// `role name` or `target path`.
    pub what: &'static str,
    /// Start of the name.
    pub name: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Percent-quotes all but ASCII letters, digits and `_.-~`, with upper-case hexadecimal digits (RFC 3986).
pub fn percent_quote(text: &str, also_safe: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"_.-~".contains(&byte) || also_safe.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The name of a targets role that is delegated to. Not empty, without control characters, not one of
/// [`TOP_LEVEL_ROLES`] in whatever case unless it is `targets` as a delegator, and short enough to be a file name
/// once quoted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleName(String);

impl RoleName {
    /// The top-level targets role, which starts every search.
    pub fn targets() -> Self {
        Self("targets".to_owned())
    }

    /// A name for a delegated role.
    pub fn delegated(name: impl Into<String>) -> Result<Self, NameError> {
        let name = name.into();
        let refuse = |reason| Err(NameError { what: "role name", name: quoted(&name), reason });
        if name.is_empty() {
            return refuse("it is empty");
        }
        // Ignoring case: on some file systems its file would be the top-level role's.
        if TOP_LEVEL_ROLES.iter().any(|role| role.eq_ignore_ascii_case(&name)) {
            return refuse("it belongs to a top-level role");
        }
        if name.chars().any(char::is_control) {
            return refuse("it has a control character");
        }
        if name.len() > MAX_ROLE_NAME || percent_quote(&name, b"").len() > MAX_ROLE_NAME {
            return refuse("it is too long for a file name");
        }
        Ok(Self(name))
    }

    /// The name as it stands in metadata.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name in URLs and file names, quoted; without version and `.json`.
    pub fn file_stem(&self) -> String {
        percent_quote(&self.0, b"")
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A target path that is safe to use: relative, `/`-separated, without empty, `.` or `..` segments, backslashes
/// or control characters, at most [`MAX_TARGET_PATH`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetPath(String);

impl TargetPath {
    /// Checks the invariants.
    pub fn new(path: impl Into<String>) -> Result<Self, NameError> {
        let path = path.into();
        let reason = if path.is_empty() {
            "it is empty"
        } else if path.len() > MAX_TARGET_PATH {
            "it is too long"
        } else if path.starts_with('/') {
            "it is absolute"
        } else if path.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
            "it has an empty, '.' or '..' segment"
        } else if path.chars().any(|c| c.is_control() || c == '\\') {
            "it has a control character or backslash"
        } else {
            return Ok(Self(path));
        };
        Err(NameError { what: "target path", name: quoted(&path), reason })
    }

    /// The path as it stands in metadata.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last segment.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// Where the file is served: `dir/HASH.file` with a hash (section 6.2, consistent snapshots), else the path.
    pub fn location(&self, hash: Option<&str>) -> String {
        match (hash, self.0.rsplit_once('/')) {
            (None, _) => self.0.clone(),
            (Some(hash), Some((dir, file))) => format!("{dir}/{hash}.{file}"),
            (Some(hash), None) => format!("{hash}.{}", self.0),
        }
    }

    /// SHA-256 of the path, which decides its hashed bin (TAP 15).
    pub fn digest(&self) -> [u8; 32] {
        sha256(self.0.as_bytes())
    }
}

impl fmt::Display for TargetPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `path` matches the PATHPATTERN `pattern` (section 4.5): segment by segment, case-sensitive, `*` any run
/// and `?` any one character, neither crossing `/`. Nothing else is special.
pub fn matches_pattern(pattern: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    let fits =
        pattern.split('/').all(|part| segments.next().is_some_and(|segment| matches_segment(part, segment)));
    fits && segments.next().is_none()
}

/// Linear-time glob: on a mismatch, only the last `*` is asked to take one character more.
fn matches_segment(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    let mut retry = None;
    loop {
        let text_here = text.clone();
        match (pattern.next(), text.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                text = text_here;
                retry = Some((pattern.clone(), text.clone()));
            }
            (Some('?'), Some(_)) => {}
            (Some(p), Some(t)) if p == t => {}
            _ => {
                let Some((after_star, mut taken)) = retry else { return false };
                if taken.next().is_none() {
                    return false;
                }
                (pattern, text) = (after_star.clone(), taken.clone());
                retry = Some((after_star, taken));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_of_the_specification() {
        let yes = [
            ("targets/*.tgz", "targets/foo.tgz"),
            ("foo-version-?.tgz", "foo-version-a.tgz"),
            ("*.tgz", "bar.tgz"),
            ("foo.tgz", "foo.tgz"),
            ("*", "x"),
            ("a*b*c", "a-b-b-c"),
            ("**", "x"),
            ("[a]", "[a]"),
            ("?", "é"),
        ];
        let no = [
            ("targets/*.tgz", "targets/foo.txt"),
            ("foo-version-?.tgz", "foo-version-alpha.tgz"),
            ("*.tgz", "targets/foo.tgz"),
            ("*", "a/b"),
            ("?", "/"),
            ("a?b", "a/b"),
            ("*/*", "a"),
            ("A", "a"),
            ("[a]", "a"),
            ("", "a"),
            ("a*b", "ab/b"),
        ];
        for (pattern, path) in yes {
            assert!(matches_pattern(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in no {
            assert!(!matches_pattern(pattern, path), "{pattern} {path}");
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_exponential_time() {
        assert!(!matches_pattern(&"*a".repeat(2_000), &"a".repeat(1_999)));
    }

    #[test]
    fn role_names_are_quoted_with_upper_case_digits() {
        let stem = |name: &str| RoleName::delegated(name).map(|role| role.file_stem());
        assert_eq!(stem("../a/b").as_deref(), Ok("..%2Fa%2Fb"));
        assert_eq!(stem("é?#~_.-Z9").as_deref(), Ok("%C3%A9%3F%23~_.-Z9"));
        for refused in ["", "root", "timestamp", "Snapshot", "TARGETS", "a\u{1b}[2J", "a\nb", "\u{85}"] {
            assert!(stem(refused).is_err(), "{refused:?}");
        }
        assert!(stem(&"x".repeat(229)).is_ok() && stem(&"x".repeat(230)).is_err());
        assert!(stem(&"/".repeat(77)).is_err());
    }

    #[test]
    fn unsafe_target_paths_are_refused() {
        for path in ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", "./a", "a\\b", "a\0b", "a\nb"] {
            assert!(TargetPath::new(path).is_err(), "{path:?}");
        }
        assert!(TargetPath::new("x".repeat(MAX_TARGET_PATH + 1)).is_err());
        let path = TargetPath::new("a/..b/c d").unwrap();
        assert_eq!((path.file_name(), path.location(Some("ff"))), ("c d", "a/..b/ff.c d".to_owned()));
        assert_eq!(TargetPath::new("file").unwrap().location(Some("ff")), "ff.file");
    }

    /// The obvious exponential definition, for comparison.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            (['*', rest @ ..], _) => {
                naive(rest, text) || text.first().is_some_and(|c| *c != '/' && naive(pattern, &text[1..]))
            }
            (['?', rest @ ..], [c, more @ ..]) => *c != '/' && naive(rest, more),
            ([p, rest @ ..], [c, more @ ..]) => p == c && naive(rest, more),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_naive_definition(pattern in "[ab/*?]{0,8}", path in "[ab/]{0,8}") {
            let expected = naive(&pattern.chars().collect::<Vec<_>>(), &path.chars().collect::<Vec<_>>());
            prop_assert_eq!(matches_pattern(&pattern, &path), expected);
        }
    }
}
