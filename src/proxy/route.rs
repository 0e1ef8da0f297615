//! The way to other hosts: straight, or by the proxy that the environment names.

use std::sync::Arc;

use axum::http::header::{HeaderValue, PROXY_AUTHORIZATION};
use axum::http::{Request, Uri};
use hyper::body::Incoming;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Duration, timeout};

use super::origin::Origin;

/// Bytes of a proxy's answer to `CONNECT`, at most.
const MAX_HEAD: usize = 8 * 1_024;

/// See the module.
pub(super) struct Route {
    matcher: Arc<Matcher>,
    patience: Duration,
}

/// A connection, and what is at its end.
struct Way {
    stream: TcpStream,
    by: By,
}

/// Who leads to a host.
enum By {
    /// It is the host itself.
    Itself,
    /// A proxy, and what it wants to see.
    Proxy(Option<HeaderValue>),
}

impl Route {
    /// By the proxies that `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` name now.
    pub(super) fn of_environment(patience: Duration) -> Self {
        Self { matcher: Arc::new(Matcher::from_env()), patience }
    }

    /// A tunnel to a host.
    pub(super) async fn tunnel(&self, to: &Origin) -> Result<TcpStream, String> {
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
            return Ok(Way { stream: self.connect(to.host(), to.port()).await?, by: By::Itself });
        };
        if proxy.uri().scheme_str() != Some("http") {
            let scheme = proxy.uri().scheme_str().unwrap_or("no scheme");
            return Err(format!(
                "the proxy on the way to {to} is spoken to by {scheme}; only http is known here"
            ));
        }
        let host = proxy.uri().host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let stream = self.connect(&host, proxy.uri().port_u16().unwrap_or(80)).await?;
        Ok(Way { stream, by: By::Proxy(proxy.basic_auth().cloned()) })
    }

    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, String> {
        let connected = timeout(self.patience, TcpStream::connect((host, port))).await;
        let stream = connected.map_err(|_| format!("{host}:{port} does not answer"))?;
        let stream = stream.map_err(|error| format!("{host}:{port}: {error}"))?;
        // Only slower, if the system refuses.
        drop(stream.set_nodelay(true));
        Ok(stream)
    }
}

/// Asks a proxy for a tunnel.
async fn ask(stream: &mut TcpStream, to: &Origin, login: Option<HeaderValue>) -> Result<(), String> {
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
        Route { matcher: Arc::new(matcher), patience: Duration::from_secs(20) }
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
            assert_eq!(route.tunnel(&origin("other.test:443")).await.unwrap_err(), expected);
        }
        let refused = route("socks5://127.0.0.1:1", "").tunnel(&origin("other.test:443")).await.unwrap_err();
        assert!(refused.ends_with("is spoken to by socks5; only http is known here"), "{refused}");
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
