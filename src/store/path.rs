//! [`StorePath`]: the name of an object, valid by construction.

use std::fmt;

use super::StoreError;

/// Longest path, in bytes: the key limit of S3 and GCS.
const MAX_PATH_BYTES: usize = 1024;

/// Longest segment, in bytes: `NAME_MAX` of the common Unix file systems.
const MAX_SEGMENT_BYTES: usize = 255;

/// How the folder backend's unfinished files begin.
pub(super) const TEMP_PREFIX: &str = ".tmp-";

/// How the folder backend's lock files begin, which lie in its root.
const LOCK_PREFIX: &str = ".wheelseal.";

/// Locked by who replaces or deletes an object.
pub(super) const LOCK_NAME: &str = ".wheelseal.lock";

/// Locked by the writer whose turn it is.
pub(super) const TURN_NAME: &str = ".wheelseal.turn";

/// Locked by the writer whose turn is next.
pub(super) const NEXT_NAME: &str = ".wheelseal.next";

/// Names one object of a store, such as `metadata/timestamp.json`.
///
/// Invariants:
///
/// * 1 to 1,024 bytes, relative, segments separated by `/`;
/// * every segment has 1 to 255 bytes and is neither `.` nor `..`;
/// * no backslash and no control character (NUL is one);
/// * no segment begins with `.wheelseal.` or `.tmp-`: the folder backend keeps those names for itself.
///
/// Upper and lower case differ, and Unicode is not normalised: callers quote what may not be plain ASCII.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorePath(String);

impl StorePath {
    /// Checks the invariants; the error names the first one broken.
    pub fn new(path: impl Into<String>) -> Result<Self, StoreError> {
        let path = path.into();
        match fault(&path) {
            Some(reason) => Err(StoreError::InvalidPath { path, reason }),
            None => Ok(Self(path)),
        }
    }

    /// The whole path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segments in order; at least one.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// The segments before the last: the folders the object lies in.
    pub fn folders(&self) -> impl Iterator<Item = &str> {
        self.0.rsplit_once('/').into_iter().flat_map(|(folders, _)| folders.split('/'))
    }
}

impl fmt::Display for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn fault(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        return Some("it is empty");
    }
    if path.len() > MAX_PATH_BYTES {
        return Some("it is longer than 1,024 bytes");
    }
    if path.starts_with('/') {
        return Some("it is absolute");
    }
    if path.contains('\\') {
        return Some("it has a backslash");
    }
    if path.chars().any(char::is_control) {
        return Some("it has a control character");
    }
    path.split('/').find_map(segment_fault)
}

fn segment_fault(segment: &str) -> Option<&'static str> {
    match segment {
        "" => Some("it has an empty segment"),
        "." | ".." => Some("it has a segment `.` or `..`"),
        _ if segment.starts_with(LOCK_PREFIX) => Some("`.wheelseal.` is kept for lock files"),
        _ if segment.starts_with(TEMP_PREFIX) => Some("`.tmp-` is kept for unfinished files"),
        _ if segment.len() > MAX_SEGMENT_BYTES => Some("it has a segment longer than 255 bytes"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_accepted_up_to_the_limits() {
        let longest_segment = "a".repeat(MAX_SEGMENT_BYTES);
        let longest_path = [longest_segment.as_str(); 4].join("/") + "/";
        assert_eq!(longest_path.len(), MAX_PATH_BYTES);
        let longest_path = longest_path.trim_end_matches('/').to_owned();
        for path in ["timestamp.json", "metadata/1.root.json", "a/...", "a/.hidden", "a b/%2E%2E", "é/1~2"] {
            assert_eq!(StorePath::new(path).as_ref().map(StorePath::as_str), Ok(path));
        }
        assert!(StorePath::new(longest_segment).is_ok());
        assert!(StorePath::new(longest_path).is_ok());
    }

    #[test]
    fn every_broken_invariant_is_refused_by_name() {
        let long_segment = "a".repeat(MAX_SEGMENT_BYTES + 1);
        let long_path = "ab/".repeat(MAX_PATH_BYTES / 3) + "ab";
        let cases = [
            ("", "it is empty"),
            (long_path.as_str(), "it is longer than 1,024 bytes"),
            ("/etc/passwd", "it is absolute"),
            ("a\\b", "it has a backslash"),
            ("a\0b", "it has a control character"),
            ("a\nb", "it has a control character"),
            ("a\u{85}b", "it has a control character"),
            ("a//b", "it has an empty segment"),
            ("a/", "it has an empty segment"),
            ("../a", "it has a segment `.` or `..`"),
            ("a/./b", "it has a segment `.` or `..`"),
            ("a/..", "it has a segment `.` or `..`"),
            (".wheelseal.lock", "`.wheelseal.` is kept for lock files"),
            ("a/.tmp-1", "`.tmp-` is kept for unfinished files"),
            (long_segment.as_str(), "it has a segment longer than 255 bytes"),
        ];
        for (path, reason) in cases {
            let path = path.to_owned();
            assert_eq!(StorePath::new(path.clone()), Err(StoreError::InvalidPath { path, reason }));
        }
    }

    #[test]
    fn folders_are_the_segments_before_the_last() -> Result<(), StoreError> {
        let path = StorePath::new("a/b/c")?;
        assert_eq!(path.segments().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(path.folders().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(StorePath::new("c")?.folders().count(), 0);
        Ok(())
    }
}
