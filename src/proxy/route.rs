//! The way to other hosts: straight, or by the proxy that the environment names.

use std::sync::{Arc, OnceLock};

use axum::http::header::{HeaderValue, PROXY_AUTHORIZATION};
use axum::http::{Request, Uri};
use hyper::body::Incoming;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Duration, timeout};

use super::ProxyError;
use super::origin::Origin;
use super::upstream::{self, Kind, Stream};

/// Bytes of a proxy's answer to `CONNECT`, at most.
const MAX_HEAD: usize = 8 * 1_024;

/// See the module.
pub(super) struct Route {
    matcher: Arc<Matcher>,
    /// Whom to believe that a proxy is the right one; made when first needed.
    trusted: OnceLock<Arc<ClientConfig>>,
    patience: Duration,
}

/// A connection, and what is at its end.
struct Way {
    stream: Box<dyn Stream>,
    by: By,
}

/// Who leads to a host.
enum By {
    /// It is the host itself, or a proxy that has connected to it already.
    Itself,
    /// A proxy that waits to be told where to, and what it wants to see.
    Proxy(Option<HeaderValue>),
}

impl Route {
    /// By the proxies that `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` name now.
    pub(super) fn of_environment(patience: Duration) -> Result<Self, ProxyError> {
        upstream::known(|name| std::env::var(name).ok())?;
        Ok(Self { matcher: Arc::new(Matcher::from_env()), trusted: OnceLock::new(), patience })
    }

    /// A tunnel to a host.
    pub(super) async fn tunnel(&self, to: &Origin) -> Result<Box<dyn Stream>, String> {
        let way = self.way(to, "https").await?;
        let mut stream = way.stream;
        if let By::Proxy(login) = way.by {
            let asked = timeout(self.patience, ask(&mut stream, to, login)).await;
            asked.map_err(|_| format!("the proxy on the way to {to} does not answer"))??;
        }
        Ok(stream)
    }

    /// A request for a host without TLS; its answer.
    pub(super) async fn forward(
        &self,
        to: &Origin,
        mut request: Request<Incoming>,
    ) -> Result<hyper::Response<Incoming>, String> {
        let way = self.way(to, "http").await?;
        match way.by {
            By::Itself => {
                let path = request.uri().path_and_query().cloned();
                *request.uri_mut() = path.map_or(Uri::from_static("/"), Uri::from);
            }
            By::Proxy(Some(login)) => drop(request.headers_mut().insert(PROXY_AUTHORIZATION, login)),
            By::Proxy(None) => {}
        }
        let failed = |error: hyper::Error| format!("{to}: {error}");
        let shaken = hyper::client::conn::http1::handshake(TokioIo::new(way.stream)).await;
        let (mut sender, connection) = shaken.map_err(failed)?;
        // It ends with the answer's body, and its errors are seen there.
        tokio::spawn(async move { drop(connection.await) });
        let answer = timeout(self.patience, sender.send_request(request)).await;
        answer.map_err(|_| format!("{to} does not answer"))?.map_err(failed)
    }

    async fn way(&self, to: &Origin, scheme: &str) -> Result<Way, String> {
        let uri: Uri = format!("{scheme}://{to}/").parse().map_err(|_| format!("{to} is no address"))?;
        let Some(proxy) = self.matcher.intercept(&uri) else {
            let connected = timeout(self.patience, upstream::connect(to.host(), to.port())).await;
            let stream = connected.map_err(|_| format!("{to} does not answer"))??;
            return Ok(Way { stream: Box::new(stream), by: By::Itself });
        };
        let kind = upstream::kind(&proxy).ok_or_else(|| format!("the way to {to} is not known here"))?;
        let begun = timeout(self.patience, async {
            let told = By::Proxy(proxy.basic_auth().cloned());
            Ok::<_, String>(match kind {
                Kind::Http => Way { stream: Box::new(upstream::plain(&proxy).await?), by: told },
                Kind::Https => {
                    Way { stream: Box::new(upstream::secure(&proxy, &self.trusted).await?), by: told }
                }
                Kind::Socks { here } => {
                    Way { stream: Box::new(upstream::socks(&proxy, here, to).await?), by: By::Itself }
                }
            })
        });
        let begun = begun.await.map_err(|_| format!("the proxy on the way to {to} does not answer"))?;
        begun.map_err(|error| format!("the proxy on the way to {to}: {error}"))
    }
}

/// Asks a proxy for a tunnel.
async fn ask(stream: &mut Box<dyn Stream>, to: &Origin, login: Option<HeaderValue>) -> Result<(), String> {
    let mut request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n").into_bytes();
    if let Some(login) = login {
        request.extend([b"Proxy-Authorization: ", login.as_bytes(), b"\r\n"].concat());
    }
    request.extend(b"\r\n");
    let failed = |error: std::io::Error| format!("the proxy on the way to {to}: {error}");
    stream.write_all(&request).await.map_err(failed)?;
    let mut head = Vec::new();
    // Byte by byte: what follows the head is the tunnel's.
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MAX_HEAD {
            return Err(format!("the proxy on the way to {to} answers at too great length"));
        }
        head.push(stream.read_u8().await.map_err(failed)?);
    }
    let status = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    if matches!(status, [b'2', _, _]) {
        return Ok(());
    }
    let status = String::from_utf8_lossy(status.get(..3).unwrap_or_default()).into_owned();
    Err(format!("the proxy on the way to {to} answers {status}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// A proxy that reads one head and answers so.
    async fn proxy(answer: &'static [u8]) -> (u16, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            // Who has read enough hangs up.
            drop(stream.write_all(answer).await);
            drop(stream.shutdown().await);
            String::from_utf8(head).unwrap()
        });
        (port, asked)
    }

    fn route(proxy: &str, no: &str) -> Route {
        let matcher = Matcher::builder().all(proxy).no(no).build();
        Route { matcher: Arc::new(matcher), trusted: OnceLock::new(), patience: Duration::from_secs(20) }
    }

    fn origin(text: &str) -> Origin {
        Origin::of_authority(&text.parse().unwrap(), None).unwrap()
    }

    #[tokio::test]
    async fn a_proxy_that_was_set_before_is_asked_for_the_tunnel() {
        let (port, asked) = proxy(b"HTTP/1.1 200 Fine\r\nX: y\r\n\r\nhello").await;
        let route = route(&format!("http://user:pw@127.0.0.1:{port}"), "");
        let mut tunnel = route.tunnel(&origin("other.test:443")).await.unwrap();
        let mut first = String::new();
        tunnel.read_to_string(&mut first).await.unwrap();
        assert_eq!(first, "hello", "what follows the head is the tunnel's");
        let head = asked.await.unwrap();
        assert_eq!(
            head,
            "CONNECT other.test:443 HTTP/1.1\r\nHost: other.test:443\r\nProxy-Authorization: Basic dXNlcjpwdw==\r\n\r\n"
        );
    }

    #[tokio::test]
    async fn a_proxy_that_says_no_or_nonsense_is_an_error() {
        for (answer, expected) in [
            (&b"HTTP/1.1 407 Who?\r\n\r\n"[..], "the proxy on the way to other.test:443 answers 407"),
            (b"SSH-2.0-x\r\n\r\n", "the proxy on the way to other.test:443 answers "),
            (&[b'x'; MAX_HEAD + 1], "the proxy on the way to other.test:443 answers at too great length"),
        ] {
            let (port, _) = proxy(answer).await;
            let route = route(&format!("http://127.0.0.1:{port}"), "");
            assert_eq!(route.tunnel(&origin("other.test:443")).await.err().unwrap(), expected);
        }
    }

    /// A SOCKS proxy that takes `ann` with `pw`, or anyone if it wants no login; what it was asked for, as type and address.
    async fn socks(wants: bool, status: u8) -> (u16, tokio::task::JoinHandle<(u8, Vec<u8>)>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert_eq!(stream.read_u8().await.unwrap(), 5);
            let mut methods = vec![0; usize::from(stream.read_u8().await.unwrap())];
            stream.read_exact(&mut methods).await.unwrap();
            let method = if wants { 2 } else { 0 };
            assert!(methods.contains(&method), "{methods:?}");
            stream.write_all(&[5, method]).await.unwrap();
            if wants {
                let mut login = [0; 8];
                stream.read_exact(&mut login).await.unwrap();
                assert_eq!(&login, b"\x01\x03ann\x02pw");
                stream.write_all(&[1, 0]).await.unwrap();
            }
            let mut head = [0; 4];
            stream.read_exact(&mut head).await.unwrap();
            let length = if head[3] == 3 { usize::from(stream.read_u8().await.unwrap()) } else { 4 };
            let mut address = vec![0; length + 2];
            stream.read_exact(&mut address).await.unwrap();
            stream.write_all(&[&[5, status, 0, 1, 0, 0, 0, 0, 0, 0][..], b"hello"].concat()).await.unwrap();
            (head[3], address)
        });
        (port, asked)
    }

    #[tokio::test]
    async fn a_socks_proxy_is_told_the_name_or_the_address_as_its_scheme_says() {
        for (scheme, login, expected) in [
            ("socks5h", "ann:pw@", (3, b"localhost\x01\xbb".to_vec())),
            ("socks5h", "", (3, b"localhost\x01\xbb".to_vec())),
            ("socks5h", "", (1, b"\x7f\0\0\x01\x01\xbb".to_vec())),
            ("socks5", "ann:pw@", (1, b"\x7f\0\0\x01\x01\xbb".to_vec())),
        ] {
            let (port, asked) = socks(!login.is_empty(), 0).await;
            let route = route(&format!("{scheme}://{login}127.0.0.1:{port}"), "");
            let host = if expected.0 == 3 { "localhost:443" } else { "127.0.0.1:443" };
            let mut tunnel = route.tunnel(&origin(host)).await.unwrap();
            let mut first = String::new();
            tunnel.read_to_string(&mut first).await.unwrap();
            assert_eq!((first.as_str(), asked.await.unwrap()), ("hello", expected), "{scheme} {login}");
        }
    }

    #[tokio::test]
    async fn a_socks_proxy_that_refuses_hangs_up_or_is_given_too_much_is_an_error() {
        let (port, asked) = socks(false, 2).await;
        let at = |login: &str, port: u16| route(&format!("socks5h://{login}127.0.0.1:{port}"), "");
        let to = origin("other.test:443");
        let before = "the proxy on the way to other.test:443: 127.0.0.1";
        let refused = at("", port).tunnel(&to).await.err().unwrap();
        assert_eq!(refused, format!("{before}:{port}: Connection not allowed by ruleset"));
        asked.await.unwrap();
        let endless = origin(&format!("{}:443", "x".repeat(600)));
        let refused = at("", port).tunnel(&endless).await.err().unwrap();
        assert!(refused.ends_with(": Target address is invalid: overlong domain"), "{refused}");
        let refused = at("", 1).tunnel(&to).await.err().unwrap();
        assert!(refused.starts_with(&format!("{before}:1: Connection refused")), "{refused}");
        let long = "x".repeat(256);
        let (port, _) = socks(true, 0).await;
        let refused = at(&format!("{long}:pw@"), port).tunnel(&to).await.err().unwrap();
        assert_eq!(
            refused,
            format!("{before}:{port}: Invalid auth values: username length should between 1 to 255")
        );
    }

    #[tokio::test]
    async fn a_proxy_that_says_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = "the proxy on the way to other.test:443 does not answer";
        for scheme in ["http", "https", "socks5h"] {
            let patience = Duration::from_millis(50);
            let route = Route { patience, ..route(&format!("{scheme}://127.0.0.1:{port}"), "") };
            assert_eq!(route.tunnel(&origin("other.test:443")).await.err().unwrap(), answer, "{scheme}");
        }
        drop(listener);
    }

    #[tokio::test]
    async fn hosts_that_need_no_proxy_are_reached_straight() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let route = route("http://127.0.0.1:1", "127.0.0.1");
        route.tunnel(&origin(&format!("127.0.0.1:{port}"))).await.unwrap();
        listener.accept().await.unwrap();
    }
}
