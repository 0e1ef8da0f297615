//! How many values JSON has, counted without a tree: in memory, two bytes of text can become a value of seventy. Pure.

/// Bytes of text for each value, at least: a role has some 30, a page 25.
const LEAST: usize = 8;
/// Values that are no crowd in however short a text.
const FEW: usize = 1_000;

/// Values in a text, roughly: commas and opening brackets outside strings. Of what is no JSON too.
pub(super) fn values(text: &[u8]) -> usize {
    let (mut count, mut quoted, mut escaped) = (0, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' | b'[' | b'{' if !quoted => count += 1,
            _ => {}
        }
    }
    count
}

/// Whether a text has so many values that what is made of it would be many times as large.
pub(super) fn is_crowd(text: &[u8]) -> bool {
    values(text) > FEW.max(text.len() / LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_and_words_are_not() {
        for (text, count) in [
            ("", 0),
            ("7", 0),
            ("[]", 1),
            (r#"{"a":[1,2],"b":{}}"#, 5),
            (r#""[,,{""#, 0),
            (r#"["\",[","\\",1]"#, 3),
            ("[[[[", 4),
        ] {
            assert_eq!(values(text.as_bytes()), count, "{text}");
        }
    }

    #[test]
    fn a_crowd_is_many_values_in_few_bytes() {
        let zeros = |count| format!("[{}0]", "0,".repeat(count));
        assert!(!is_crowd(zeros(900).as_bytes()));
        assert!(is_crowd(zeros(1_100).as_bytes()));
        let wide = format!("[{}0]", "\"12345678\",".repeat(100_000));
        assert!(!is_crowd(wide.as_bytes()));
    }
}
