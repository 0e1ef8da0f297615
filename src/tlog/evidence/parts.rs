//! The parts of evidence between their lines.

use std::fmt;

use super::{EvidenceError, MAX_WORDS_LEN, TITLE};
use crate::tlog::text::next_line;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";
/// What stands before a line that begins with `-`.
const QUOTE: &str = "- ";

/// Writes a part; `text` ends in a newline.
pub(super) fn part(f: &mut fmt::Formatter<'_>, title: &str, text: &str) -> fmt::Result {
    writeln!(f, "{BEGIN}{title}{DASHES}")?;
    let mut rest = text;
    while let Some(line) = next_line(&mut rest) {
        writeln!(f, "{}{line}", if line.starts_with('-') { QUOTE } else { "" })?;
    }
    writeln!(f, "{END}{title}{DASHES}")
}

/// What is left of a text, from the next part on.
pub(super) struct Parts<'a> {
    rest: &'a str,
}

impl<'a> Parts<'a> {
    /// The text behind its title and its words for people.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, EvidenceError> {
        let mut rest = str::from_utf8(bytes).map_err(|_| missing("text in UTF-8"))?;
        if next_line(&mut rest) != Some(TITLE) {
            return Err(missing(&format!("line `{TITLE}`")));
        }
        let after_words = rest.find(&format!("\n{BEGIN}")).filter(|at| *at < MAX_WORDS_LEN);
        let at = after_words.ok_or_else(|| missing("part after the words for people"))?;
        Ok(Self { rest: rest.get(at + 1..).unwrap_or_default() })
    }

    /// Title of the next part; none at the end.
    pub(super) fn next_title(&self) -> Option<&'a str> {
        next_line(&mut { self.rest })?.strip_prefix(BEGIN)?.strip_suffix(DASHES)
    }

    /// The next part, which has this title and at most `max` bytes.
    pub(super) fn take(&mut self, title: &str, max: usize) -> Result<String, EvidenceError> {
        let wrong = || missing(&format!("part {title} of at most {max} bytes"));
        if self.next_title() != Some(title) {
            return Err(wrong());
        }
        next_line(&mut self.rest);
        let (end, mut text) = (format!("{END}{title}{DASHES}"), String::new());
        loop {
            let line = next_line(&mut self.rest).ok_or_else(wrong)?;
            if line == end {
                return Ok(text);
            }
            let line = line.strip_prefix(QUOTE).map_or((line, false), |line| (line, true));
            if line.0.starts_with('-') != line.1 || text.len() + line.0.len() >= max {
                return Err(wrong());
            }
            text.push_str(line.0);
            text.push('\n');
        }
    }

    /// That nothing follows.
    pub(super) fn end(&self) -> Result<(), EvidenceError> {
        if self.rest.is_empty() { Ok(()) } else { Err(missing("end")) }
    }
}

fn missing(expected: &str) -> EvidenceError {
    EvidenceError::Syntax { expected: expected.to_owned() }
}
