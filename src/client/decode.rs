//! Compressed HTTP bodies, with the cap applied to what comes out.

use std::io::Read;

/// What this client asks for, for metadata alone: targets are compressed already and are checked as they are.
pub(super) const ACCEPTED: &str = "gzip, zstd";

/// Bytes of window that a zstd frame may ask for: what level 19 of the reference encoder uses for metadata, and what
/// RFC 9659 allows on the web.
const ZSTD_WINDOW: u64 = 8 * 1024 * 1024;

/// Why a body did not decompress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DecodeError {
    /// Not of that encoding, or not one that was asked for.
    Invalid,
    /// More than the cap comes out.
    TooLarge,
}

/// Decompresses a whole body to at most `max_len` bytes.
pub(super) fn decode(encoding: &str, body: &[u8], max_len: u64) -> Result<Vec<u8>, DecodeError> {
    match encoding {
        "gzip" | "x-gzip" => read(flate2::read::MultiGzDecoder::new(body), max_len),
        "zstd" => {
            let decoder = ruzstd::decoding::StreamingDecoder::new_with_max_window_size(body, ZSTD_WINDOW);
            let decoder = decoder.map_err(|_| DecodeError::Invalid)?;
            read(decoder, max_len)
        }
        _ => Err(DecodeError::Invalid),
    }
}

fn read(decoder: impl Read, max_len: u64) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::new();
    let mut capped = decoder.take(max_len.saturating_add(1));
    capped.read_to_end(&mut out).map_err(|_| DecodeError::Invalid)?;
    match capped.limit() {
        0 => Err(DecodeError::TooLarge),
        _ => Ok(out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    #[test]
    fn both_encodings_come_out_as_they_went_in() {
        let text = b"metadata ".repeat(1_000);
        assert_eq!(decode("gzip", &gzip(&text), 9_000), Ok(text.clone()));
        assert_eq!(decode("zstd", &zstd(&text), 9_000), Ok(text.clone()));
        assert_eq!(decode("zstd", &zstd(&text), 8_999), Err(DecodeError::TooLarge));
    }

    #[test]
    fn a_bomb_stops_at_the_cap() {
        let bomb = gzip(&vec![0; 50_000_000]);
        assert!(bomb.len() < 100_000);
        assert_eq!(decode("gzip", &bomb, 1_000), Err(DecodeError::TooLarge));
        assert_eq!(decode("zstd", &zstd(&vec![0; 5_000_000]), 1_000), Err(DecodeError::TooLarge));
    }

    #[test]
    fn truncated_or_unknown_bodies_are_refused() {
        let body = gzip(b"metadata");
        assert_eq!(decode("gzip", &body[..body.len() - 3], 100), Err(DecodeError::Invalid));
        assert_eq!(decode("br", &body, 100), Err(DecodeError::Invalid));
        assert_eq!(decode("zstd", b"not zstd", 100), Err(DecodeError::Invalid));
    }
}
