//! What the texts have in common: lines, decimal numbers, base64, hashes in lines.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::merkle::{Hash, MAX_SIZE};

/// Characters of foreign text repeated in an error, at most.
const MAX_QUOTED: usize = 60;

/// The next line, without its newline, which it must have; the rest is what follows.
pub(super) fn next_line<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let (line, after) = rest.split_once('\n')?;
    *rest = after;
    Some(line)
}

/// A number from 0 to 2^63 - 1 in its one form: digits, none of them a zero in front.
pub(super) fn decimal(text: &str) -> Option<u64> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|number| canonical && *number <= MAX_SIZE)
}

/// Bytes of standard base64 with padding, which has one form for any bytes.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// The one form.
pub(super) fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Lines that are a hash each, up to an empty one, which is taken too. None if a line is no hash, if there are more
/// than `limit`, or if no empty line comes.
pub(super) fn hash_lines(rest: &mut &str, limit: usize) -> Option<Vec<Hash>> {
    let mut hashes = Vec::new();
    loop {
        let line = next_line(rest)?;
        if line.is_empty() {
            return Some(hashes);
        }
        if hashes.len() == limit {
            return None;
        }
        hashes.push(Hash::from_base64(line)?);
    }
}

/// Hashes as lines, and an empty one.
pub(super) fn to_hash_lines(hashes: &[Hash]) -> String {
    let mut lines = String::new();
    for hash in hashes {
        lines.push_str(&format!("{hash}\n"));
    }
    lines + "\n"
}

/// Foreign text for an error message: shortened, and without characters that a terminal obeys.
pub(super) fn quoted(text: &str) -> String {
    let mut start: String = text.chars().take(MAX_QUOTED).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    start.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_form() {
        assert_eq!(decimal("0"), Some(0));
        assert_eq!(decimal("9223372036854775807"), Some(MAX_SIZE));
        for wrong in ["", "00", "01", "+1", "-1", " 1", "1 ", "1\n", "0x1", "9223372036854775808", "١"] {
            assert_eq!(decimal(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn base64_has_one_form() {
        assert_eq!(base64("AQ=="), Some(vec![1]));
        for wrong in ["AQ", "AQ=", "AR==", "AQ==\n", "A Q==", "AQ==AQ==", "-_=="] {
            assert_eq!(base64(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn lines_end_in_a_newline() {
        let mut rest = "one\n\ntwo";
        assert_eq!(
            [next_line(&mut rest), next_line(&mut rest), next_line(&mut rest)],
            [Some("one"), Some(""), None]
        );
    }
}
