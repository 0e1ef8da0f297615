//! `exec`: a forward proxy on loopback, for one command.
//!
//! ```text
//! CONNECT host:443 ─▶ a verified index? ──yes──▶ TLS with a certificate of the run's CA ─▶ Index::answer
//!                          └──no──▶ tunnel, untouched (or refused with --strict)
//! ```
//!
//! It answers to those alone who know the word that the command's environment holds: other users of the machine could
//! else read what its password opens.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::http::header::{HOST, HeaderName, PROXY_AUTHORIZATION};
use axum::http::{HeaderMap, Method, Request, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::address::{Asked, asked};
use super::answer::Answer;
use super::ca::{Ca, pem};
use super::connections::{Service, Slot, converse, serve};
use super::index::{self, Index};
use super::journal::{Journal, Refused};
use super::origin::Origin;
use super::page::View;
use super::refusal::{Fault, Refusal};
use super::route::Route;
use super::visits::Who;
use super::{Limits, ProxyError, Settings};
use crate::crypto::{random, sha256};

/// The user name in the proxy's address.
const USER: &str = "wheelseal";
/// Random bytes of the word in the proxy's address.
const WORD: usize = 16;
/// Fields of a request that speak of the connection to this proxy.
const OF_THE_CONNECTION: [&str; 6] =
    ["connection", "proxy-connection", "keep-alive", "proxy-authorization", "te", "upgrade"];

/// See the module.
pub struct Forward {
    indexes: Vec<Arc<Index>>,
    hosts: BTreeMap<String, Arc<ServerConfig>>,
    authority: String,
    word: String,
    strict: bool,
    route: Route,
    limits: Limits,
    journal: Arc<Journal>,
}

impl Forward {
    /// A proxy that verifies what comes from these indexes. With `strict` nothing else comes through.
    pub fn new(
        indexes: Vec<Index>,
        strict: bool,
        settings: &Settings,
        journal: &Arc<Journal>,
        limits: Limits,
    ) -> Result<Self, ProxyError> {
        for (at, first) in indexes.iter().enumerate() {
            if let Some(second) = indexes.iter().skip(at + 1).find(|second| first.is_at(second)) {
                let (first, second) = (first.name().to_owned(), second.name().to_owned());
                return Err(ProxyError::Twice { first, second });
            }
        }
        let names: BTreeSet<String> =
            indexes.iter().flat_map(Index::origins).map(|origin| origin.host().to_owned()).collect();
        let Ca { pem, hosts } = Ca::new(&names, (settings.clock)())?;
        let word = random::<WORD>()
            .map_err(|error| ProxyError::Local { what: "a random number", reason: error.to_string() })?;
        Ok(Self {
            indexes: indexes.into_iter().map(Arc::new).collect(),
            hosts,
            authority: pem,
            word: hex::encode(word),
            strict,
            route: Route::of_environment(limits.head)?,
            limits,
            journal: Arc::clone(journal),
        })
    }

    /// The address for `HTTPS_PROXY`. Whoever knows it may use the proxy.
    pub fn address(&self, port: u16) -> String {
        format!("http://{USER}:{}@127.0.0.1:{port}", self.word)
    }

    /// The CA's certificate, as PEM.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The indexes.
    pub fn indexes(&self) -> &[Arc<Index>] {
        &self.indexes
    }

    /// Serves for as long as it is waited for.
    pub async fn run(self: Arc<Self>, listener: TcpListener) -> Infallible {
        let limits = self.limits;
        serve(listener, self, limits).await
    }

    /// Whether any index is on this server.
    fn knows(&self, origin: &Origin) -> bool {
        self.indexes.iter().flat_map(|index| index.origins()).any(|known| known.is_at(origin))
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let expected = format!("Basic {}", STANDARD.encode(format!("{USER}:{}", self.word)));
        let given = headers.get(PROXY_AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
        // Digests, so that time tells nothing about where the two differ.
        sha256(given) == sha256(expected.as_bytes())
    }

    async fn outer(self: &Arc<Self>, mut request: Request<Incoming>, slot: Slot) -> Result<Answer, Refusal> {
        if !self.admits(request.headers()) {
            return Err(Refusal::ProxyLogin);
        }
        let connect = request.method() == Method::CONNECT;
        let default_port = (request.uri().scheme_str() == Some("http")).then_some(80);
        let authority = request.uri().authority();
        let origin = authority.and_then(|authority| Origin::of_authority(authority, default_port));
        let Some(origin) = origin.filter(|_| connect || default_port.is_some()) else {
            return Err(Refusal::Bad("a proxy is asked for host:port or for a whole http:// address"));
        };
        let known = self.knows(&origin);
        if !known && self.strict {
            let what = origin.to_string();
            let fault = Fault::Stranger;
            self.journal.refuse(Refused { index: what.clone(), what: what.clone(), fault: fault.clone() });
            return Err(Refusal::Fault { what, fault: Box::new(fault) });
        }
        match (connect, known) {
            (true, true) => self.intercept(origin, hyper::upgrade::on(&mut request), slot),
            (true, false) => self.tunnel(&origin, hyper::upgrade::on(&mut request), slot).await,
            (false, true) => self.inner(&origin, "http", &request).await,
            (false, false) => self.forward(&origin, request).await,
        }
    }

    /// Speaks TLS in the name of the host, and answers what is asked.
    fn intercept(
        self: &Arc<Self>,
        origin: Origin,
        upgrade: OnUpgrade,
        slot: Slot,
    ) -> Result<Answer, Refusal> {
        let config = self.hosts.get(origin.host()).cloned();
        let config =
            config.ok_or_else(|| Refusal::Gateway(format!("there is no certificate for {origin}")))?;
        let (own, limits) = (Arc::clone(self), self.limits);
        tokio::spawn(async move {
            let Ok(upgraded) = upgrade.await else { return };
            let accepted = TlsAcceptor::from(config).accept(TokioIo::new(upgraded));
            if let Ok(Ok(stream)) = timeout(limits.head, accepted).await {
                converse(stream, Arc::new(Inner { outer: own, origin }), slot, limits).await;
            }
        });
        Ok(Answer::connected())
    }

    async fn tunnel(&self, origin: &Origin, upgrade: OnUpgrade, slot: Slot) -> Result<Answer, Refusal> {
        let mut stream = self.route.tunnel(origin).await.map_err(Refusal::Gateway)?;
        tokio::spawn(async move {
            if let Ok(upgraded) = upgrade.await {
                // How it ends is between the two sides.
                drop(tokio::io::copy_bidirectional(&mut TokioIo::new(upgraded), &mut stream).await);
            }
            drop(slot);
        });
        Ok(Answer::connected())
    }

    async fn forward(&self, origin: &Origin, mut request: Request<Incoming>) -> Result<Answer, Refusal> {
        let named = request.headers().get_all("connection").iter().filter_map(|value| value.to_str().ok());
        let named = named.flat_map(|value| value.split(','));
        let mut fields: Vec<HeaderName> = named.filter_map(|name| name.trim().parse().ok()).collect();
        fields.extend(OF_THE_CONNECTION.map(HeaderName::from_static));
        for field in fields {
            request.headers_mut().remove(field);
        }
        let answer = self.route.forward(origin, request).await.map_err(Refusal::Gateway)?;
        Ok(Answer::of_stranger(answer))
    }

    /// A request for a verified index.
    async fn inner(
        &self,
        origin: &Origin,
        scheme: &str,
        request: &Request<Incoming>,
    ) -> Result<Answer, Refusal> {
        let headers = request.headers();
        let authority = headers.get(HOST).and_then(|host| host.to_str().ok()?.parse().ok());
        let meant = authority.and_then(|host| Origin::of_authority(&host, Some(origin.port())));
        if headers.get_all(HOST).iter().count() != 1 || meant.is_none_or(|meant| !meant.is_at(origin)) {
            return Err(Refusal::Misdirected);
        }
        if !request.body().is_end_stream() {
            return Err(Refusal::Bad("a request to read a file has no body"));
        }
        let path = request.uri().path();
        let fitting = self.indexes.iter().filter_map(|index| Some((index.fits(origin, path)?, index)));
        let Some((_, index)) = fitting.max_by_key(|(length, _)| *length) else {
            // For its tricks alone: no index has it.
            let read: Result<Asked, _> = asked(path, "/");
            let why = "it is not part of a verified index";
            return Err(match read {
                Ok(_) => Refusal::NotFound { what: path.to_owned(), why: why.to_owned() },
                Err(_) => Refusal::Bad("the path has a form that no index uses"),
            });
        };
        let url = request.uri().path_and_query().map(|path| format!("{scheme}://{origin}{path}"));
        let method = request.method();
        let pages = index.pages_path();
        let (who, view, here) = (Who::Command, View::AsSigned, None);
        let request = index::Request { who, method, headers, path, pages, view, url, here };
        Ok(index.answer(&request).await)
    }
}

impl Service for Forward {
    async fn respond(self: Arc<Self>, request: Request<Incoming>, slot: Slot) -> Response<Body> {
        let version = request.version();
        let answer = self.outer(request, slot).await;
        answer.unwrap_or_else(|refusal| Answer::refusal(&refusal)).speaking(version).into_response()
    }
}

/// What is inside a connection to a verified index.
struct Inner {
    outer: Arc<Forward>,
    origin: Origin,
}

impl Service for Inner {
    async fn respond(self: Arc<Self>, request: Request<Incoming>, _: Slot) -> Response<Body> {
        let answer = self.outer.inner(&self.origin, "https", &request).await;
        let answer = answer.unwrap_or_else(|refusal| Answer::refusal(&refusal));
        answer.speaking(request.version()).into_response()
    }
}

/// The system's roots, as PEM: those in `SSL_CERT_FILE` and `SSL_CERT_DIR`, if these are set.
pub fn system_roots() -> String {
    rustls_native_certs::load_native_certs().certs.iter().map(|certificate| pem(certificate)).collect()
}
