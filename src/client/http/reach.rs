//! Where requests may go when somebody else chose the address: to the public Internet, and not to this machine or the network
//! it stands in.
//!
//! Looked at is each address that a name resolves to, when it does, so that a name cannot mean one thing to who looks and
//! another to who connects; and each address that stands in a URL itself, that of a redirect too. What is not looked at:
//! a public address that this very machine has.

use std::io::{Error, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{ClientBuilder, Url, redirect};

use super::follow;
use crate::client::FetchError;

/// How far requests may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Anywhere, by the proxies of the environment.
    Anywhere,
    /// To public addresses alone, and past the proxies of the environment: a proxy would go where it likes.
    Public,
}

impl Reach {
    /// Connections that keep to it.
    pub(super) fn keep(self, builder: ClientBuilder) -> ClientBuilder {
        match self {
            Self::Anywhere => builder,
            Self::Public => builder
                .no_proxy()
                .dns_resolver(Arc::new(PublicNames))
                .redirect(redirect::Policy::custom(follow_public)),
        }
    }

    /// Refuses a URL whose host is an address out of reach. Names are looked at when they are resolved.
    pub(super) fn check(self, url: &str) -> Result<(), FetchError> {
        let Some(address) = Url::parse(url).ok().as_ref().and_then(literal) else { return Ok(()) };
        if self == Self::Anywhere || is_public(address) {
            return Ok(());
        }
        Err(FetchError::OutOfReach { url: url.to_owned(), address })
    }
}

fn follow_public(attempt: redirect::Attempt<'_>) -> redirect::Action {
    match literal(attempt.url()).filter(|address| !is_public(*address)) {
        Some(address) => attempt.error(private(address)),
        None => follow(attempt),
    }
}

/// Resolves names as the system does, and keeps the public addresses of each.
struct PublicNames;

impl Resolve for PublicNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let all: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let some = all.first().map(SocketAddr::ip);
            let public: Vec<SocketAddr> = all.into_iter().filter(|at| is_public(at.ip())).collect();
            match some.filter(|_| public.is_empty()) {
                Some(address) => Err(Error::new(ErrorKind::PermissionDenied, private(address)).into()),
                None => Ok::<Addrs, _>(Box::new(public.into_iter())),
            }
        })
    }
}

fn private(address: IpAddr) -> String {
    format!("{address} is this machine or in a private network")
}

/// The address that a URL has in place of a name.
fn literal(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_matches(['[', ']']).parse().ok()
}

/// Whether an address is one of the public Internet (the registries of special-purpose addresses, RFC 6890).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let special = match address.octets() {
        // This network, and what is reserved for later, with broadcast.
        [0 | 240..=255, ..]
        // Shared with a carrier.
        | [100, 64..=127, ..]
        // Protocol assignments, the old 6to4 relays.
        | [192, 0, 0, _] | [192, 88, 99, _]
        // Benchmarks.
        | [198, 18..=19, ..] => true,
        _ => false,
    };
    !(special
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let v4 = |high: u16, low: u16| is_public_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match address.segments() {
        // An IPv4 address in the clothes of this one, and those that NAT64 and 6to4 make of one.
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => v4(high, low),
        // Teredo, benchmarks, ORCHID and the rest of the protocol assignments; documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn this_machine_and_private_networks_are_out_of_reach_in_every_spelling() {
        for private in [
            "127.0.0.1",
            "127.9.9.9",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "192.0.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "192.0.2.1",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "::7f00:1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in [
            "1.1.1.1",
            "172.32.0.1",
            "100.128.0.1",
            "192.0.1.1",
            "2606:4700::1",
            "2002:101:101::",
            "2001:200::1",
            "::ffff:1.1.1.1",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for url in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://0x7f000001/",
            "http://2130706433/",
            "http://[::1]:80/x",
            "http://[::ffff:7f00:1]/",
            "https://user@10.0.0.1:8443/x",
            "http://0/",
        ] {
            let refused = Reach::Public.check(url);
            assert!(matches!(refused, Err(FetchError::OutOfReach { .. })), "{url}: {refused:?}");
            assert_eq!(Reach::Anywhere.check(url), Ok(()));
        }
        for url in ["http://1.1.1.1/", "https://example.org/", "https://[2606:4700::1]/"] {
            assert_eq!(Reach::Public.check(url), Ok(()), "{url}");
        }
    }

    #[tokio::test]
    async fn a_redirect_from_a_public_name_to_this_machine_is_not_followed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut asked, secret) = (Vec::new(), format!("http://127.0.0.1:{}/secret", at.port()));
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 4_096];
            let count = stream.read(&mut buffer).await.unwrap();
            asked.push(String::from_utf8_lossy(&buffer[..count]).into_owned());
            let answer = format!("HTTP/1.1 302 Found\r\nLocation: {secret}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            // Nobody connects again, or asks on the same connection.
            tokio::select! {
                again = listener.accept() => asked.push(format!("{again:?}")),
                count = stream.read(&mut buffer) => assert_eq!(count.unwrap(), 0),
            }
            asked
        });
        drop(rustls::crypto::ring::default_provider().install_default());
        // The name stands for a public server; only its first address is given here.
        let client =
            Reach::Public.keep(reqwest::Client::builder()).resolve("index.test", at).build().unwrap();
        let refused = client.get(format!("http://index.test:{}/file", at.port())).send().await.unwrap_err();
        assert!(
            refused.is_redirect() && super::super::text(&refused).contains("private network"),
            "{refused:?}"
        );
        drop(client);
        let asked = server.await.unwrap();
        assert!(matches!(asked.as_slice(), [one] if one.starts_with("GET /file ")), "{asked:?}");
    }

    #[tokio::test]
    async fn a_name_that_means_this_machine_is_not_resolved() {
        let refused =
            PublicNames.resolve("localhost".parse().unwrap()).await.map(drop).unwrap_err().to_string();
        assert!(refused.ends_with("is this machine or in a private network"), "{refused}");
    }
}
