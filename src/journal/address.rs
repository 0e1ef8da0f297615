//! Network addresses, for as long as a request is looked at.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use zeroize::Zeroize;

use crate::crypto::hmac_sha256;

/// Bytes of an IPv6 address that say which network it is in: a household or a machine has the other half to itself, and
/// changes it as it likes.
const NETWORK_BYTES: usize = 8;

/// What a keyed hash is made of. It can be hashed and compared; it cannot be printed or written, and is wiped when it goes.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(Vec<u8>);

impl Address {
    /// That of a connection. The same machine has the same one by IPv4 and by IPv4 mapped into IPv6; of IPv6 addresses the
    /// first 64 bits count.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::tagged(b'4', &ip.octets()),
            IpAddr::V6(ip) => Self::tagged(b'6', &network(ip)),
        }
    }

    /// What a trusted proxy hashed itself. It is hashed again: so it ends with our key too.
    pub fn hashed(digest: &[u8]) -> Self {
        Self::tagged(b'h', digest)
    }

    /// In one piece: a vector that grows leaves copies behind.
    fn tagged(tag: u8, bytes: &[u8]) -> Self {
        let mut all = Vec::with_capacity(bytes.len().saturating_add(1));
        all.push(tag);
        all.extend_from_slice(bytes);
        Self(all)
    }

    /// HMAC-SHA-256 of it.
    pub fn code(&self, key: &[u8]) -> [u8; 32] {
        hmac_sha256(key, &self.0)
    }
}

fn network(ip: Ipv6Addr) -> [u8; NETWORK_BYTES] {
    let mut network = [0; NETWORK_BYTES];
    network.iter_mut().zip(ip.octets()).for_each(|(kept, byte)| *kept = byte);
    network
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address(…)")
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Address {
        Address::of(text.parse().unwrap())
    }

    #[test]
    fn one_machine_has_one_address() {
        assert_eq!(of("203.0.113.7"), of("::ffff:203.0.113.7"));
        assert_eq!(of("2001:db8::1"), of("2001:db8:0:0:ffff::2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("203.0.113.7"), of("203.0.113.8"));
        assert_ne!(Address::hashed(&[203, 0, 113, 7]), of("203.0.113.7"));
    }

    #[test]
    fn it_is_not_printed() {
        assert_eq!(format!("{:?}", of("203.0.113.7")), "Address(…)");
    }
}
