//! Scheme, host and port: who is meant by a request.

use std::fmt;
use std::net::Ipv6Addr;

use axum::http::uri::Authority;
use reqwest::Url;

/// The ports of http and https. A host is one server on both: who trusts `https://host/` is not to get something else from
/// `http://host/`.
const WEB_PORTS: [u16; 2] = [80, 443];

/// A server. Invariant: the host is in lower case, without brackets and without a dot at its end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    host: String,
    port: u16,
}

impl Origin {
    /// The server of an http or https URL.
    pub fn of_url(url: &Url) -> Option<Self> {
        let web = matches!(url.scheme(), "http" | "https");
        let port = url.port_or_known_default().filter(|_| web)?;
        Self::new(url.host_str()?, port)
    }

    /// The server that a `CONNECT`, an absolute request or a `Host` field names. `user@host` names none.
    pub(super) fn of_authority(authority: &Authority, default_port: Option<u16>) -> Option<Self> {
        if authority.as_str().contains('@') {
            return None;
        }
        Self::new(authority.host(), authority.port_u16().or(default_port)?)
    }

    fn new(host: &str, port: u16) -> Option<Self> {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bare {
            Some(bare) => bare.parse::<Ipv6Addr>().ok()?.to_string(),
            None => host,
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        (!host.is_empty() && host.bytes().all(plain)).then_some(Self { host, port })
    }

    /// The name or address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether both are taken for one server.
    pub(super) fn is_at(&self, other: &Self) -> bool {
        let web = |port: &u16| WEB_PORTS.contains(port);
        self.host == other.host && (self.port == other.port || (web(&self.port) && web(&other.port)))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(formatter, "[{host}]:{port}")
        } else {
            write!(formatter, "{host}:{port}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(text: &str) -> Option<String> {
        Origin::of_authority(&text.parse().unwrap(), None).map(|origin| origin.to_string())
    }

    #[test]
    fn every_spelling_of_a_host_is_the_same_host() {
        let index = Origin::of_url(&Url::parse("https://Index.example/simple/").unwrap()).unwrap();
        for text in ["index.example:443", "INDEX.EXAMPLE:443", "index.example.:443", "index.example:80"] {
            let asked = Origin::of_authority(&text.parse().unwrap(), None).unwrap();
            assert!(index.is_at(&asked), "{text}");
        }
        for text in ["index.example:8443", "xindex.example:443", "index.example.evil:443", "index:443"] {
            let asked = Origin::of_authority(&text.parse().unwrap(), None).unwrap();
            assert!(!index.is_at(&asked), "{text}");
        }
        assert_eq!(authority("[::1]:443").unwrap(), "[::1]:443");
        assert_eq!(authority("[0:0::1]:443").unwrap(), "[::1]:443");
    }

    #[test]
    fn what_names_no_single_host_is_none() {
        for text in ["user@index.example:443", "index.example@evil.example:443", "index.example", ".:443"] {
            assert_eq!(authority(text), None, "{text}");
        }
        for url in ["file:///simple/", "ftp://host/", "data:x"] {
            assert_eq!(Origin::of_url(&Url::parse(url).unwrap()), None, "{url}");
        }
    }
}
