//! `dcz`: zstd with an older version of the file as dictionary (RFC 9842, "Compression Dictionary Transport").
//!
//! ```text
//! client → server   Accept-Encoding: dcz, zstd, gzip
//!                   Available-Dictionary: :BASE64 OF SHA-256:      the version that the client holds
//!                   Dictionary-ID: "41"                            its version number, a hint where to look
//! server → client   Content-Encoding: dcz
//!                   Use-As-Dictionary: match="/metadata/*.snapshot.json", id="42"
//! ```
//!
//! A body is a header of 40 bytes, which is a skippable frame of zstd, and one frame:
//!
//! ```text
//! 5E 2A 4D 18   20 00 00 00   32 bytes: SHA-256 of the dictionary   zstd frame
//! ```
//!
//! The digest says which dictionary was used, so that a body that strayed is noticed. It makes nothing trusted.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zstd::stream::{read, write};

use super::{DecodeError, WINDOW_LOG, finish, one_frame};
use crate::crypto::sha256;

/// Its name in `Accept-Encoding` and `Content-Encoding`.
pub const NAME: &str = "dcz";
/// Request field: the digest of the dictionary at hand.
pub const AVAILABLE: &str = "available-dictionary";
/// Request field: the name that the server gave the dictionary.
pub const ID: &str = "dictionary-id";
/// Response field: for which addresses the body serves as a dictionary.
pub const USE_AS: &str = "use-as-dictionary";
/// Bytes of a dictionary, at most: the largest snapshot that this client takes, and some.
pub const MAX_DICTIONARY: usize = 16_000_000;

/// Magic number and length of the skippable frame.
const MAGIC: [u8; 8] = [0x5e, 0x2a, 0x4d, 0x18, 0x20, 0, 0, 0];
/// 500 kB against 500 kB in 2 ms; slower levels find nothing more in metadata.
const LEVEL: i32 = 3;

/// `bytes` as a change of `held`. Errors are those of memory alone.
pub fn encode(bytes: &[u8], held: &[u8]) -> io::Result<Vec<u8>> {
    let header = [&MAGIC[..], &sha256(held)].concat();
    let encoder = write::Encoder::with_ref_prefix(header, LEVEL, held)?;
    let needed = (bytes.len().saturating_add(held.len())).max(1).ilog2() + 1;
    finish(encoder, bytes, needed.clamp(10, window_log(held)))
}

/// An older version of a file, with its SHA-256, which is asked for more than once.
#[derive(Debug, Clone, Copy)]
pub struct Held<'a> {
    bytes: &'a [u8],
    digest: [u8; 32],
}

impl<'a> Held<'a> {
    /// Hashes it.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, digest: sha256(bytes) }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Its SHA-256.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

/// What `body` makes of `held`, at most `max_len` bytes.
pub fn decode(body: &[u8], held: &Held<'_>, max_len: u64) -> Result<Vec<u8>, DecodeError> {
    let Held { bytes: held, digest } = held;
    let frame = body.strip_prefix(&MAGIC).and_then(|rest| rest.strip_prefix(digest));
    let Some(frame) = frame.filter(|_| held.len() <= MAX_DICTIONARY) else {
        return Err(DecodeError::Invalid);
    };
    let mut decoder = read::Decoder::with_ref_prefix(frame, held).map_err(|_| DecodeError::Invalid)?;
    decoder.window_log_max(window_log(held)).map_err(|_| DecodeError::Invalid)?;
    // Most often what changed is little.
    one_frame(decoder.single_frame(), max_len, held.len().saturating_add(held.len() / 64))
}

/// The window that the RFC allows: 8 MiB, or 1.25 times the dictionary if that is more.
fn window_log(held: &[u8]) -> u32 {
    let relative = held.len().saturating_add(held.len() / 4);
    relative.max(1).ilog2().max(WINDOW_LOG)
}

/// A digest as a byte sequence of structured fields (RFC 9651).
pub fn digest_field(digest: &[u8; 32]) -> String {
    format!(":{}:", STANDARD.encode(digest))
}

/// Such a digest read; `None` for anything else.
pub fn read_digest(field: &str) -> Option<[u8; 32]> {
    let text = field.trim().strip_prefix(':')?.strip_suffix(':')?;
    STANDARD.decode(text).ok()?.try_into().ok()
}

/// A version number as a string of structured fields.
pub fn id_field(version: u64) -> String {
    format!("\"{version}\"")
}

/// Such a version number read; `None` for anything else.
pub fn read_id(field: &str) -> Option<u64> {
    let digits = field.trim().strip_prefix('"')?.strip_suffix('"')?;
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// The version number that a metadata file gives itself, without looking at anything else: a hint, right for every
/// file that this project writes. In canonical JSON it is the last member.
pub fn version_hint(file: &[u8]) -> Option<u64> {
    const MEMBER: &[u8] = b"\"version\":";
    let at = file.windows(MEMBER.len()).rposition(|window| window == MEMBER)?;
    let rest = file.get(at + MEMBER.len()..)?.trim_ascii_start();
    let digits = rest.split(|byte| !byte.is_ascii_digit()).next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(body: &[u8], held: &[u8], max_len: u64) -> Result<Vec<u8>, DecodeError> {
        super::decode(body, &Held::new(held), max_len)
    }

    /// A file much like a snapshot: it does not compress well by itself.
    fn file(changed: u32) -> Vec<u8> {
        let line = |at: u32| {
            format!("\"bins-{at:04x}\":{},", (at + u32::from(at == changed)).wrapping_mul(40_503) % 977)
        };
        (0..8_000).map(line).collect::<String>().into_bytes()
    }

    #[test]
    fn a_small_change_of_a_large_file_is_a_small_body() {
        let (old, new) = (file(17), file(4_711));
        let body = encode(&new, &old).unwrap();
        assert!(body.len() < 200, "{}", body.len());
        assert_eq!(&body[..8], MAGIC);
        assert_eq!(body[8..40], sha256(&old));
        let length = u64::try_from(new.len()).unwrap();
        assert_eq!(decode(&body, &old, length), Ok(new));
        assert_eq!(decode(&body, &old, length - 1), Err(DecodeError::TooLarge));
    }

    #[test]
    fn another_dictionary_is_noticed() {
        let (old, new) = (file(17), file(4_711));
        let mut body = encode(&new, &old).unwrap();
        assert_eq!(decode(&body, &new, 1_000_000), Err(DecodeError::Invalid));
        assert_eq!(decode(&body, b"", 1_000_000), Err(DecodeError::Invalid));
        body[8..40].copy_from_slice(&sha256(&new));
        assert_eq!(
            decode(&body, &new, 1_000_000),
            Err(DecodeError::Invalid),
            "the checksum notices a false digest"
        );
    }

    #[test]
    fn what_is_cut_off_added_or_altered_is_refused() {
        let (old, new) = (file(17), file(4_711));
        let body = encode(&new, &old).unwrap();
        for end in 0..body.len() {
            assert_eq!(decode(&body[..end], &old, 1_000_000), Err(DecodeError::Invalid), "{end}");
        }
        for more in [&b"x"[..], &body, &body[40..]] {
            assert_eq!(decode(&[&body, more].concat(), &old, 1_000_000), Err(DecodeError::Invalid));
        }
        let mut altered = body.clone();
        altered[body.len() / 2 + 20] ^= 0x55;
        assert_eq!(decode(&altered, &old, 1_000_000), Err(DecodeError::Invalid));
    }

    #[test]
    fn a_bomb_stops_at_the_cap() {
        let bomb = encode(&vec![0; 50_000_000], b"dictionary").unwrap();
        assert!(bomb.len() < 10_000);
        assert_eq!(decode(&bomb, b"dictionary", 1_000), Err(DecodeError::TooLarge));
    }

    #[test]
    fn a_window_beyond_what_the_rfc_allows_is_refused() {
        let frame =
            |window: u8| [&[0x28, 0xb5, 0x2f, 0xfd, 0, window][..], &[5 << 3 | 1, 0, 0], b"hello"].concat();
        let body = |window| [&MAGIC[..], &sha256(b"held"), &frame(window)].concat();
        let eight_mib = 13 << 3;
        assert_eq!(decode(&body(eight_mib), b"held", 10), Ok(b"hello".to_vec()));
        for window in [eight_mib + 1, 14 << 3, 0xff] {
            assert_eq!(decode(&body(window), b"held", 10), Err(DecodeError::Invalid), "{window}");
        }
        assert_eq!(window_log(&vec![0; 14_000_000]), 24);
    }

    #[test]
    fn large_files_come_out_too_and_oversized_dictionaries_are_refused() {
        let noise: Vec<u8> = (0..9_900_000_u32)
            .map(|at| u8::try_from(at.wrapping_mul(2_654_435_761) >> 24).unwrap())
            .collect();
        let body = encode(&noise, &noise[1_000..]).unwrap();
        assert_eq!(decode(&body, &noise[1_000..], 10_000_000), Ok(noise));
        let oversized = vec![0; MAX_DICTIONARY + 1];
        assert_eq!(decode(&encode(b"x", &oversized).unwrap(), &oversized, 10), Err(DecodeError::Invalid));
    }

    #[test]
    fn fields_are_read_as_they_are_written_and_nothing_else_is() {
        let digest = sha256(b"file");
        assert_eq!(read_digest(&digest_field(&digest)), Some(digest));
        for field in [
            "",
            "::",
            ":AAAA:",
            "AAAA",
            ":!:",
            &digest_field(&digest)[1..],
            &format!("{};a=1", digest_field(&digest)),
        ] {
            assert_eq!(read_digest(field), None, "{field}");
        }
        assert_eq!(read_id(&id_field(41)), Some(41));
        for field in ["", "41", "\"\"", "\"+41\"", "\"99999999999999999999\"", "\"4 1\""] {
            assert_eq!(read_id(field), None, "{field}");
        }
        assert_eq!(version_hint(br#"{"signed":{"meta":{"a":{"version":7}},"version":41}}"#), Some(41));
        assert_eq!(version_hint(b"{\"version\": 3 }"), Some(3));
        for file in [&b""[..], b"{}", b"\"version\":", b"\"version\":-1", b"\"version\":\"1\""] {
            assert_eq!(version_hint(file), None);
        }
    }
}
