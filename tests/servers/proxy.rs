//! A server in front of the S3 server, that misbehaves as it is told.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Response, StatusCode};
use futures_util::future::BoxFuture;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{Attribute, Attributes, ObjectStore, ObjectStoreExt, PutOptions, PutPayload};
use tokio::net::TcpListener;

use crate::setting::s3;

/// What is done with one request.
pub(crate) enum Turn {
    /// What a proxy should do.
    Pass,
    /// This status, and the server is not asked.
    Answer(u16),
    /// The server is asked, its answer is lost, and this status comes instead.
    Lose(u16),
    /// The server is asked, somebody else does this, and 500 comes as the answer.
    LoseWhile(BoxFuture<'static, ()>),
    /// The same, but the server is not asked.
    AnswerAfter(BoxFuture<'static, ()>),
    /// The server is asked, and the connection breaks.
    Break,
    /// The server is asked, and no answer comes, ever.
    Hang,
    /// The answer that the same request got before.
    Old,
    /// A PUT without its conditions.
    Unconditional,
    /// The condition is looked at first, and the PUT done afterwards.
    CheckThenAct,
}

/// A request, as a rule sees it.
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a Method,
    /// Whether it is to create, and whether it is to replace.
    pub(crate) creates: bool,
    pub(crate) replaces: bool,
    /// Requests of this method before this one.
    pub(crate) before: usize,
}

impl Asked<'_> {
    /// Whether it is the conditional PUT number `before`.
    pub(crate) fn is_write(&self, before: usize) -> bool {
        (self.creates || self.replaces) && self.before == before
    }
}

type Rule = dyn Fn(&Asked<'_>) -> Turn + Send + Sync;

struct Proxy {
    armed: Arc<AtomicBool>,
    upstream: String,
    direct: AmazonS3,
    http: reqwest::Client,
    rule: Box<Rule>,
    puts: AtomicUsize,
    others: AtomicUsize,
    old: Mutex<HashMap<String, (StatusCode, HeaderMap, Bytes)>>,
}

/// A proxy that runs as long as the test.
pub(crate) struct Running {
    pub(crate) endpoint: String,
    armed: Arc<AtomicBool>,
}

impl Running {
    /// From now on the rule holds.
    pub(crate) fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }
}

/// Starts a proxy that passes all on until it is armed.
pub(crate) async fn start(rule: impl Fn(&Asked<'_>) -> Turn + Send + Sync + 'static) -> Running {
    drop(rustls::crypto::ring::default_provider().install_default());
    let upstream = std::env::var("AWS_ENDPOINT_URL_S3").unwrap();
    let bucket = s3().trim_start_matches("s3://").split('/').next().unwrap().to_owned();
    let direct = AmazonS3Builder::from_env().with_bucket_name(bucket).with_allow_http(true).build().unwrap();
    let armed = Arc::new(AtomicBool::new(false));
    let proxy = Arc::new(Proxy {
        armed: Arc::clone(&armed),
        upstream,
        direct,
        http: reqwest::Client::new(),
        rule: Box::new(rule),
        puts: AtomicUsize::new(0),
        others: AtomicUsize::new(0),
        old: Mutex::default(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(serve).with_state(proxy);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Running { endpoint, armed }
}

async fn serve(State(proxy): State<Arc<Proxy>>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let counter = if head.method == Method::PUT { &proxy.puts } else { &proxy.others };
    let has = |name| head.headers.contains_key(name);
    let (creates, replaces) = (has("if-none-match"), has("if-match"));
    let turn = if proxy.armed.load(Ordering::SeqCst) {
        let before = counter.fetch_add(1, Ordering::SeqCst);
        (proxy.rule)(&Asked { method: &head.method, creates, replaces, before })
    } else {
        Turn::Pass
    };
    let uri = head.uri.to_string();
    match turn {
        Turn::Pass => {}
        Turn::Answer(status) => return status_only(status),
        Turn::AnswerAfter(rival) => {
            rival.await;
            return status_only(500);
        }
        Turn::Old => {
            let old = proxy.old.lock().unwrap().get(&uri).cloned();
            return old.map_or_else(|| status_only(404), answer);
        }
        Turn::Unconditional => return proxy.put(&uri, &head.headers, body).await,
        Turn::CheckThenAct => {
            let found = proxy.direct.head(&key(&uri)).await.ok().and_then(|found| found.e_tag);
            let wanted =
                head.headers.get("if-match").map(|tag| tag.to_str().unwrap().trim_matches('"').to_owned());
            if found.map(|tag| tag.trim_matches('"').to_owned()) != wanted {
                return status_only(412);
            }
            return proxy.put(&uri, &head.headers, body).await;
        }
        lost => {
            proxy.forward(&head.method, &head.headers, &uri, body).await;
            return match lost {
                Turn::Lose(status) => status_only(status),
                Turn::LoseWhile(rival) => {
                    rival.await;
                    status_only(500)
                }
                Turn::Hang => std::future::pending().await,
                // The task of the connection ends, and the connection with it.
                _ => std::panic::resume_unwind(Box::new("the connection breaks")),
            };
        }
    }
    let whole = proxy.forward(&head.method, &head.headers, &uri, body).await;
    if head.method == Method::GET {
        proxy.old.lock().unwrap().entry(uri).or_insert_with(|| whole.clone());
    }
    answer(whole)
}

impl Proxy {
    async fn forward(
        &self,
        method: &Method,
        headers: &HeaderMap,
        uri: &str,
        body: Bytes,
    ) -> (StatusCode, HeaderMap, Bytes) {
        let request = self.http.request(method.clone(), format!("{}{uri}", self.upstream));
        let response = request.headers(headers.clone()).body(body).send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        (status, headers, response.bytes().await.unwrap())
    }

    /// Without condition, but with the metadata.
    async fn put(&self, uri: &str, headers: &HeaderMap, body: Bytes) -> Response<Body> {
        let mut attributes = Attributes::new();
        for (name, value) in headers {
            if let Some(name) = name.as_str().strip_prefix("x-amz-meta-") {
                let value = value.to_str().unwrap().to_owned();
                attributes.insert(Attribute::Metadata(name.to_owned().into()), value.into());
            }
        }
        let options = PutOptions { attributes, ..PutOptions::default() };
        let put = self.direct.put_opts(&key(uri), PutPayload::from_bytes(body), options).await.unwrap();
        Response::builder().header("etag", put.e_tag.unwrap()).body(Body::empty()).unwrap()
    }
}

/// The key in `/bucket/key`; the tests use no letters that need quoting.
fn key(uri: &str) -> Path {
    Path::parse(uri.trim_start_matches('/').split_once('/').unwrap().1).unwrap()
}

fn status_only(status: u16) -> Response<Body> {
    Response::builder().status(status).body(Body::empty()).unwrap()
}

fn answer((status, headers, body): (StatusCode, HeaderMap, Bytes)) -> Response<Body> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers.iter().filter(|(name, _)| *name != "transfer-encoding") {
        response = response.header(name, value);
    }
    response.body(Body::from(body)).unwrap()
}
