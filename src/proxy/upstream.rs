//! A proxy that was set before: spoken to as it is, by TLS, or by SOCKS 5.
//!
//! | scheme | what | who looks up the host |
//! |---|---|---|
//! | `http` | `CONNECT`, or whole addresses | the proxy |
//! | `https` | the same inside TLS, whose certificate the system's roots vouch for | the proxy |
//! | `socks5` | SOCKS 5 (RFC 1928), with user and password (RFC 1929) if the address has them | this machine |
//! | `socks5h` | the same | the proxy |

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::http::Uri;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use tokio_socks::tcp::Socks5Stream;
use tokio_socks::{IntoTargetAddr, TargetAddr};

use super::ProxyError;
use super::origin::Origin;

/// The port of SOCKS proxies whose address names none (RFC 1928).
const SOCKS_PORT: u16 = 1080;
/// What is spoken inside TLS.
const HTTP_1: &[u8] = b"http/1.1";
/// For each kind of address: the variables that name its proxy, as hyper-util reads them. Of each pair the first that is set
/// counts, and the second pair where the first names none.
const VARIABLES: [[&str; 4]; 2] = [
    ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"],
    ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"],
];

/// A connection to another host, or to a proxy.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What a proxy is spoken to by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Http,
    Https,
    /// With names looked up here, or there.
    Socks {
        here: bool,
    },
}

/// Of which kind a proxy is; none, if it is not known here.
pub(super) fn kind(proxy: &Intercept) -> Option<Kind> {
    match proxy.uri().scheme_str()? {
        "http" => Some(Kind::Http),
        "https" => Some(Kind::Https),
        "socks5" => Some(Kind::Socks { here: true }),
        "socks5h" => Some(Kind::Socks { here: false }),
        _ => None,
    }
}

/// Refuses a proxy of another kind: to go without it would be another way than the user wanted. `value`: of a variable.
pub(super) fn known(value: impl Fn(&str) -> Option<String>) -> Result<(), ProxyError> {
    for names in VARIABLES {
        // An empty one hides its other spelling; then that for all counts.
        let set = |names: &[&'static str]| {
            let mut values = names.iter().filter_map(|name| Some((*name, value(name)?)));
            values.next().filter(|(_, value)| !value.is_empty())
        };
        let (own, all) = names.split_at(2);
        let Some((variable, value)) = set(own).or_else(|| set(all)) else { continue };
        let proxy = Matcher::builder().all(value).build().intercept(&Uri::from_static("http://other.test/"));
        if proxy.as_ref().and_then(kind).is_none() {
            return Err(ProxyError::Upstream { variable });
        }
    }
    Ok(())
}

/// Host and port of a proxy.
fn place(proxy: &Intercept, port: u16) -> (String, u16) {
    let host = proxy.uri().host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    (host, proxy.uri().port_u16().unwrap_or(port))
}

/// A connection to an HTTP proxy.
pub(super) async fn plain(proxy: &Intercept) -> Result<TcpStream, String> {
    let (host, port) = place(proxy, 80);
    connect(&host, port).await
}

/// A connection to an HTTP proxy inside TLS.
pub(super) async fn secure(
    proxy: &Intercept,
    config: &OnceLock<Arc<ClientConfig>>,
) -> Result<impl Stream + use<>, String> {
    let (host, port) = place(proxy, 443);
    let failed = |error: &dyn std::fmt::Display| format!("{host}:{port}: {error}");
    let config = match config.get() {
        Some(config) => Arc::clone(config),
        None => Arc::clone(config.get_or_init(|| Arc::new(roots()))),
    };
    let name = ServerName::try_from(host.clone()).map_err(|error| failed(&error))?;
    let stream = connect(&host, port).await?;
    TlsConnector::from(config).connect(name, stream).await.map_err(|error| failed(&error))
}

/// Trusts the system's roots: those in `SSL_CERT_FILE` and `SSL_CERT_DIR`, if these are set.
fn roots() -> ClientConfig {
    let mut roots = RootCertStore::empty();
    // One that does not read vouches for nothing.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    // Another part of the program may have installed the same provider before; then that one stays.
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![HTTP_1.to_vec()];
    config
}

/// A tunnel to a host by a SOCKS proxy.
pub(super) async fn socks(proxy: &Intercept, here: bool, to: &Origin) -> Result<TcpStream, String> {
    let (host, port) = place(proxy, SOCKS_PORT);
    let failed = |error: tokio_socks::Error| format!("{host}:{port}: {error}");
    let target = if here {
        TargetAddr::Ip(looked_up(to).await?)
    } else {
        (to.host(), to.port()).into_target_addr().map_err(failed)?
    };
    let stream = connect(&host, port).await?;
    let begun = match proxy.raw_auth() {
        Some((user, word)) => {
            Socks5Stream::connect_with_password_and_socket(stream, target, user, word).await
        }
        None => Socks5Stream::connect_with_socket(stream, target).await,
    };
    begun.map(Socks5Stream::into_inner).map_err(failed)
}

async fn looked_up(to: &Origin) -> Result<SocketAddr, String> {
    let found = lookup_host((to.host(), to.port())).await.map_err(|error| format!("{to}: {error}"))?;
    { found }.next().ok_or_else(|| format!("{to}: it has no address"))
}

/// A connection to a host.
pub(super) async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let stream = TcpStream::connect((host, port)).await;
    let stream = stream.map_err(|error| format!("{host}:{port}: {error}"))?;
    // Only slower, if the system refuses.
    drop(stream.set_nodelay(true));
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_of_an_unknown_kind_that_would_be_used_is_refused() {
        let known = |set: &[(&str, &str)]| {
            known(|name| set.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned()))
        };
        for fine in [
            &[][..],
            &[("HTTPS_PROXY", "http://u:p@proxy.test:1")],
            &[("ALL_PROXY", "socks5h://proxy.test"), ("HTTP_PROXY", "https://proxy.test")],
            &[("https_proxy", "proxy.test:3128"), ("http_proxy", "")],
            &[("HTTPS_PROXY", "http://a"), ("HTTP_PROXY", "http://a"), ("all_proxy", "socks://never.used")],
            &[("HTTPS_PROXY", ""), ("https_proxy", "ftp://never.used"), ("HTTP_PROXY", "")],
        ] {
            assert_eq!(known(fine), Ok(()), "{fine:?}");
        }
        for (variable, value) in [
            ("ALL_PROXY", "socks://user:secret@proxy.test:1"),
            ("https_proxy", "socks4://proxy.test:1"),
            ("HTTP_PROXY", "ftp://proxy.test"),
            ("HTTPS_PROXY", "http://"),
            ("HTTPS_PROXY", "no address"),
        ] {
            let refused = known(&[(variable, value)]).unwrap_err();
            assert_eq!(refused, ProxyError::Upstream { variable });
            assert!(!refused.to_string().contains("secret"));
        }
    }
}
