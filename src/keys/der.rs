//! The little DER that keys and signatures from elsewhere need: sequences of whole numbers, and byte strings in a wrap.

use pkcs8::der::asn1::{AnyRef, OctetStringRef, UintRef};
use pkcs8::der::{Decode, Encode, Result, Tag};

/// A SEQUENCE of INTEGERs, each given big-endian without sign: an ECDSA signature (RFC 3279 section 2.2.3) or an
/// `RSAPublicKey` (RFC 8017).
pub(super) fn integers(numbers: [&[u8]; 2]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    for number in numbers {
        let number = if number.is_empty() { &[0] } else { number };
        UintRef::new(number)?.encode_to_vec(&mut body)?;
    }
    AnyRef::new(Tag::Sequence, &body)?.to_der()
}

/// What an OCTET STRING holds; the bytes themselves if they are none.
pub(super) fn unwrapped(bytes: &[u8]) -> &[u8] {
    <&OctetStringRef>::from_der(bytes).map_or(bytes, OctetStringRef::as_bytes)
}

/// An OCTET STRING that holds these bytes.
#[cfg(test)]
pub(super) fn wrapped(bytes: &[u8]) -> Vec<u8> {
    OctetStringRef::new(bytes).unwrap().to_der().unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_positive_and_as_short_as_can_be() {
        let made = integers([&[0, 0, 0x80], &[0x7f]]).unwrap();
        assert_eq!(made, [0x30, 7, 2, 2, 0, 0x80, 2, 1, 0x7f]);
        assert_eq!(integers([&[0, 0], &[]]).unwrap(), [0x30, 6, 2, 1, 0, 2, 1, 0]);
    }

    #[test]
    fn a_wrap_is_taken_off_once_and_only_if_it_is_whole() {
        assert_eq!(unwrapped(&wrapped(&[4, 1, 2])), [4, 1, 2]);
        assert_eq!(unwrapped(&[4, 65, 1, 2]), [4, 65, 1, 2]);
    }
}
