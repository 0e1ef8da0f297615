//! The files that a maintainer knows of: whatever else is logged for the project is unexpected.
//!
//! ```text
//! 3a2f…  six/six-1.17.0-py2.py3-none-any.whl
//! # comments and empty lines are passed over
//! ```

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use crate::tlog::leaf::FileLeaf;

/// Bytes of such a list, at most: some 500,000 files.
pub const MAX_EXPECTED: u64 = 64 * 1024 * 1024;

/// A line that names no file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {problem}; expected SHA256, two spaces, and PROJECT/FILENAME")]
pub struct ExpectedError {
    /// Number of the line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: String,
}

/// Files that may be logged: their hashes, by target path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected(BTreeMap<String, BTreeSet<[u8; 32]>>);

impl Expected {
    /// Reads the lines of a list, as `sha256sum` writes them.
    pub fn parse(text: &str) -> Result<Self, ExpectedError> {
        let mut expected = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let bad = |problem: &str| ExpectedError { line: number, problem: problem.to_owned() };
            let line = line.trim_end();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (digits, path) = line.split_once(' ').ok_or_else(|| bad("it is one word"))?;
            let path = path.strip_prefix([' ', '*']).unwrap_or(path);
            let mut sha256 = [0; 32];
            hex::decode_to_slice(digits, &mut sha256).map_err(|_| bad("it begins with no SHA-256"))?;
            let leaf = FileLeaf::of_target(path, 0, sha256).map_err(|error| bad(&error.to_string()))?;
            expected.add(&leaf.ok_or_else(|| bad("such files are not logged"))?);
        }
        Ok(expected)
    }

    /// One file more.
    pub fn add(&mut self, file: &FileLeaf) {
        self.0.entry(file.path().to_owned()).or_default().insert(*file.sha256());
    }

    /// Whether this file may be logged. Metadata is expected with the wheel that it was taken from, unless it is listed itself.
    pub fn allows(&self, file: &FileLeaf) -> bool {
        match self.0.get(file.path()) {
            Some(hashes) => hashes.contains(file.sha256()),
            None => file.path().strip_suffix(".metadata").is_some_and(|wheel| self.0.contains_key(wheel)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHEEL: &str = "six/six-1.0-py3-none-any.whl";

    fn file(path: &str, byte: u8) -> FileLeaf {
        FileLeaf::new(path, "1.0", 1, [byte; 32]).unwrap()
    }

    #[test]
    fn what_is_listed_is_expected_and_nothing_else() {
        let (one, two) = ("01".repeat(32), "02".repeat(32));
        let text = format!("# mine\n\n{one}  {WHEEL}\n{two} *{WHEEL}\n");
        let expected = Expected::parse(&text).unwrap();
        assert!(expected.allows(&file(WHEEL, 1)) && expected.allows(&file(WHEEL, 2)));
        assert!(!expected.allows(&file(WHEEL, 3)));
        assert!(!expected.allows(&file("six/six-1.1-py3-none-any.whl", 1)));
        let metadata = format!("{WHEEL}.metadata");
        assert!(expected.allows(&file(&metadata, 9)));
        let strict = Expected::parse(&format!("{text}{one}  {metadata}\n")).unwrap();
        assert!(strict.allows(&file(&metadata, 1)) && !strict.allows(&file(&metadata, 9)));
    }

    #[test]
    fn what_is_no_list_is_refused_by_its_line() {
        let one = "01".repeat(32);
        for bad in [
            "word",
            "xyz  six/six-1.0.tar.gz",
            &format!("{one}  six"),
            &format!("{one}  six/other-1.0.tar.gz"),
        ] {
            let refused = Expected::parse(&format!("\n{bad}\n")).unwrap_err();
            assert_eq!(refused.line, 2, "{refused}");
        }
    }
}
