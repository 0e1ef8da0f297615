//! `proxy`: verified indexes on a fixed port of loopback, for programs that cannot be started by `exec`.
//!
//! Each is at `http://127.0.0.1:PORT/NAME/simple/`. Web pages can make a browser ask for loopback under a name of their own:
//! a `Host` field that does not name loopback is refused. Anyone on this machine can ask: see `visits.rs`.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::{Arc, OnceLock};

use axum::body::{Body, HttpBody};
use axum::http::header::HOST;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use tokio::net::TcpListener;

use super::Limits;
use super::answer::Answer;
use super::connections::{Service, Slot, serve};
use super::index::{self, Index};
use super::origin::Origin;
use super::page::View;
use super::refusal::Refusal;
use super::visits::Who;

/// The names of this machine on itself.
const LOOPBACK: [&str; 3] = ["127.0.0.1", "localhost", "::1"];

/// See the module.
pub struct Reverse {
    indexes: Vec<Index>,
    limits: Limits,
    /// Where it listens, once it does.
    port: OnceLock<u16>,
}

impl Reverse {
    /// These indexes, each under its name.
    pub fn new(indexes: Vec<Index>, limits: Limits) -> Self {
        Self { indexes, limits, port: OnceLock::new() }
    }

    /// The indexes that it serves.
    pub fn indexes(&self) -> &[Index] {
        &self.indexes
    }

    /// Where it may listen: nowhere but on loopback.
    pub fn address(port: u16) -> (Ipv4Addr, u16) {
        (Ipv4Addr::LOCALHOST, port)
    }

    /// The address of an index's pages.
    pub fn pages(name: &str, port: u16) -> String {
        format!("http://127.0.0.1:{port}/{name}/simple/")
    }

    /// Serves for as long as it is waited for.
    pub async fn run(self: Arc<Self>, listener: TcpListener) -> Infallible {
        if let Ok(address) = listener.local_addr() {
            self.port.get_or_init(|| address.port());
        }
        let limits = self.limits;
        serve(listener, self, limits).await
    }

    async fn answer(&self, request: &Request<Incoming>) -> Result<Answer, Refusal> {
        let headers = request.headers();
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()?.parse().ok());
        let host = host.and_then(|host| Origin::of_authority(&host, Some(80)));
        let ours = host.is_some_and(|host| LOOPBACK.contains(&host.host()));
        if headers.get_all(HOST).iter().count() != 1 || !ours || request.uri().authority().is_some() {
            return Err(Refusal::Misdirected);
        }
        if !request.body().is_end_stream() {
            return Err(Refusal::Bad("a request to read a file has no body"));
        }
        let path = request.uri().path();
        let name = path.split('/').nth(1).unwrap_or_default();
        let Some(index) = self.indexes.iter().find(|index| index.name() == name) else {
            let why = "there is no verified index of this name".to_owned();
            return Err(Refusal::NotFound { what: path.to_owned(), why });
        };
        let (method, pages) = (request.method(), format!("/{name}/simple/"));
        // Not what the request says: others are told it too.
        let here = self.port.get().and_then(|port| Self::pages(name, *port).parse().ok());
        let (who, pages, view) = (Who::Anyone, pages.as_str(), View::Below);
        let request = index::Request { who, method, headers, path, pages, view, url: None, here };
        Ok(index.answer(&request).await)
    }
}

impl Service for Reverse {
    async fn respond(self: Arc<Self>, request: Request<Incoming>, _: Slot) -> Response<Body> {
        let answer = self.answer(&request).await;
        let answer = answer.unwrap_or_else(|refusal| Answer::refusal(&refusal));
        answer.speaking(request.version()).into_response()
    }
}
