//! Content codings of HTTP: bytes in, bytes out, with a cap on what comes out.
//!
//! | coding | what | specification |
//! |---|---|---|
//! | `gzip` | read by everyone | RFC 1952 |
//! | `zstd` | smaller and quicker | RFC 8878, window as RFC 9659 has it |
//! | `dcz` | zstd with an older version of the same file as dictionary ([`delta`]) | RFC 9842 |
//!
//! What comes out of a decoder is as untrusted as what went in: signatures and hashes are checked on it afterwards.

pub mod delta;

use std::io::{self, BufRead, Read, Write};

use serde::{Deserialize, Serialize};
use zstd::stream::{read, write};

/// Base-2 logarithm of the window that a zstd frame may ask for: 8 MiB, as RFC 9659 says for the web.
const WINDOW_LOG: u32 = 23;
/// Files of at least so many bytes are worth the slowest level: a snapshot of 16,384 bins gets a third smaller by it,
/// in 0.3 s; a bin of 22 kB a thirtieth.
const LARGE: usize = 100_000;

/// By how much metadata gets shorter, about: a bin by 2, a snapshot of bins by 10.
const USUAL_RATIO: usize = 8;

/// A coding that stands on its own. The order is that of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Coding {
    /// zstd.
    Zstd,
    /// gzip.
    Gzip,
}

/// How much work to put into a smaller result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// While a reader or a publisher waits: 500 kB in 2 ms by zstd, 12 ms by gzip.
    Quick,
    /// Once, for many readers.
    Thorough,
}

/// Why a body did not decompress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not of that coding, cut off, or made with another dictionary.
    #[error("it does not decompress")]
    Invalid,
    /// More than the cap comes out.
    #[error("more comes out than may")]
    TooLarge,
}

impl Coding {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Zstd, Self::Gzip];

    /// Its name in `Accept-Encoding` and `Content-Encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// What the name of a file ends in that holds another file so coded.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
        }
    }

    /// The coding of that name, in lower case.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "zstd" => Some(Self::Zstd),
            "gzip" | "x-gzip" => Some(Self::Gzip),
            _ => None,
        }
    }
}

/// Compresses. Errors are those of memory alone.
pub fn encode(coding: Coding, bytes: &[u8], effort: Effort) -> io::Result<Vec<u8>> {
    match coding {
        Coding::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
            encoder.write_all(bytes)?;
            encoder.finish()
        }
        Coding::Zstd => {
            let level = if effort == Effort::Thorough && bytes.len() >= LARGE { 19 } else { 3 };
            finish(write::Encoder::new(Vec::new(), level)?, bytes, WINDOW_LOG)
        }
    }
}

/// Decompresses a whole body to at most `max_len` bytes.
pub fn decode(coding: Coding, body: &[u8], max_len: u64) -> Result<Vec<u8>, DecodeError> {
    let expected = body.len().saturating_mul(USUAL_RATIO);
    match coding {
        Coding::Gzip => capped(&mut flate2::read::MultiGzDecoder::new(body), max_len, expected),
        Coding::Zstd => {
            let mut decoder = read::Decoder::with_buffer(body).map_err(|_| DecodeError::Invalid)?;
            decoder.window_log_max(WINDOW_LOG).map_err(|_| DecodeError::Invalid)?;
            capped(&mut decoder, max_len, expected)
        }
    }
}

/// Decompresses the zstd frame that `body` begins with, to at most `max_len` bytes. Also returns what follows it.
pub fn first_frame(body: &[u8], max_len: u64) -> Result<(Vec<u8>, &[u8]), DecodeError> {
    let mut decoder = read::Decoder::with_buffer(body).map_err(|_| DecodeError::Invalid)?.single_frame();
    decoder.window_log_max(WINDOW_LOG).map_err(|_| DecodeError::Invalid)?;
    let out = capped(&mut decoder, max_len, body.len().saturating_mul(USUAL_RATIO))?;
    Ok((out, decoder.finish()))
}

/// One frame with its length and a checksum, so that damage is seen when it is decoded.
fn finish(mut encoder: write::Encoder<'_, Vec<u8>>, bytes: &[u8], window_log: u32) -> io::Result<Vec<u8>> {
    encoder.include_checksum(true)?;
    encoder.include_contentsize(true)?;
    encoder.set_pledged_src_size(u64::try_from(bytes.len()).ok())?;
    encoder.window_log(window_log)?;
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// All that comes out, at most `max_len` bytes, about `expected` of them.
fn capped(decoder: &mut dyn Read, max_len: u64, expected: usize) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::with_capacity(expected.min(usize::try_from(max_len).unwrap_or(expected)));
    let mut capped = decoder.take(max_len.saturating_add(1));
    capped.read_to_end(&mut out).map_err(|_| DecodeError::Invalid)?;
    match capped.limit() {
        0 => Err(DecodeError::TooLarge),
        _ => Ok(out),
    }
}

/// One frame and nothing after it.
fn one_frame<R: BufRead>(
    mut decoder: read::Decoder<'_, R>,
    max_len: u64,
    expected: usize,
) -> Result<Vec<u8>, DecodeError> {
    let out = capped(&mut decoder, max_len, expected)?;
    match decoder.finish().fill_buf() {
        Ok([]) => Ok(out),
        _ => Err(DecodeError::Invalid),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn frames_that_follow_each_other_are_taken_one_by_one() {
        let frame = |text: &[u8]| encode(Coding::Zstd, text, Effort::Quick).unwrap();
        let both = [frame(b"one"), frame(b"two")].concat();
        let (one, rest) = first_frame(&both, 10).unwrap();
        assert_eq!((one.as_slice(), rest), (&b"one"[..], frame(b"two").as_slice()));
        assert_eq!(first_frame(rest, 10).unwrap(), (b"two".to_vec(), &b""[..]));
        assert_eq!(first_frame(&both, 2), Err(DecodeError::TooLarge));
        assert_eq!(first_frame(&both[..8], 10), Err(DecodeError::Invalid));
        assert_eq!(first_frame(b"{}", 10), Err(DecodeError::Invalid));
    }
    use super::*;

    #[test]
    fn both_codings_come_out_as_they_went_in() {
        let text = b"metadata ".repeat(20_000);
        for (coding, effort) in Coding::ALL.into_iter().zip([Effort::Quick, Effort::Thorough]) {
            let coded = encode(coding, &text, effort).unwrap();
            assert!(coded.len() < 1_000);
            assert_eq!(decode(coding, &coded, 180_000), Ok(text.clone()));
            assert_eq!(decode(coding, &coded, 179_999), Err(DecodeError::TooLarge));
            assert_eq!(Coding::named(coding.name()), Some(coding));
        }
        let empty = encode(Coding::Zstd, b"", Effort::Quick).unwrap();
        assert_eq!(decode(Coding::Zstd, &empty, 0), Ok(Vec::new()));
    }

    #[test]
    fn a_bomb_stops_at_the_cap() {
        for coding in Coding::ALL {
            let bomb = encode(coding, &vec![0; 50_000_000], Effort::Quick).unwrap();
            assert!(bomb.len() < 100_000);
            assert_eq!(decode(coding, &bomb, 1_000), Err(DecodeError::TooLarge));
        }
    }

    #[test]
    fn truncated_altered_or_foreign_bodies_are_refused() {
        for coding in Coding::ALL {
            let coded = encode(coding, b"metadata, metadata, metadata", Effort::Quick).unwrap();
            for end in 0..coded.len() {
                assert_eq!(decode(coding, &coded[..end], 100), Err(DecodeError::Invalid), "{coding:?} {end}");
            }
            assert_eq!(decode(coding, b"not compressed", 100), Err(DecodeError::Invalid));
            let mut altered = coded.clone();
            let last = altered.len() - 1;
            altered[last] ^= 1;
            assert_eq!(decode(coding, &altered, 100), Err(DecodeError::Invalid), "the checksum");
        }
    }

    #[test]
    fn what_is_longer_than_the_window_still_fits_it() {
        let noise: Vec<u8> = (0..9_500_000_u32)
            .map(|at| u8::try_from(at.wrapping_mul(2_654_435_761) >> 24).unwrap())
            .collect();
        let coded = encode(Coding::Zstd, &noise, Effort::Quick).unwrap();
        assert_eq!(decode(Coding::Zstd, &coded, 10_000_000), Ok(noise));
    }
}
