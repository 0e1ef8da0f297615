//! A witness over HTTP/1.1. Submission and monitoring have the same prefix.
//!
//! | address | answer |
//! |---|---|
//! | `POST /add-checkpoint` | what [`Witness::answer`] says |
//! | `GET /HASH/checkpoint` | the latest checkpoint that was cosigned of the log with that hash of its origin |
//! | `GET /healthz` | whether the folder can be read |
//! | `GET /metrics` | counts, for Prometheus |
//!
//! Anybody may ask: what counts is the signature of the log. So heads, bodies, connections, work at once and waiting are
//! all bounded by [`Limits`], and nothing is written down about who asks.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::StreamExt;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::judge::{Reply, Witness};
use crate::tlog::witness::MAX_REQUEST_LEN;
use crate::web::{self, Count, Families, Tls, Traffic};

/// Statuses that are counted one by one.
const COUNTED: [u16; 9] = [200, 400, 403, 404, 408, 409, 413, 422, 503];

/// What a witness bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; more wait to be accepted. Each may hold a request, of 134 kB at most.
    pub connections: usize,
    /// Time for a head to come, and for a kept connection to stay idle.
    pub head: Duration,
    /// Time for a body to come.
    pub body: Duration,
    /// Time in which a client must take some of what is sent.
    pub stall: Duration,
    /// Time for running answers to end when the server stops.
    pub farewell: Duration,
    /// Requests decided at once; more wait, as long as a body may take to come.
    pub at_once: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            head: Duration::from_secs(15),
            body: Duration::from_secs(30),
            stall: Duration::from_secs(30),
            farewell: Duration::from_secs(10),
            at_once: 32,
        }
    }
}

/// What all requests share.
struct Shared {
    witness: Witness,
    limits: Limits,
    turns: Arc<Semaphore>,
    answers: [Count; COUNTED.len()],
    traffic: Arc<Traffic>,
}

/// A witness over HTTP.
pub struct WitnessServer {
    shared: Arc<Shared>,
    tls: Option<Arc<Tls>>,
}

impl WitnessServer {
    /// Serves a witness.
    pub fn new(witness: Witness, limits: Limits) -> Self {
        let shared = Shared {
            witness,
            limits,
            turns: Arc::new(Semaphore::new(limits.at_once)),
            answers: Default::default(),
            traffic: Arc::default(),
        };
        Self { shared: Arc::new(shared), tls: None }
    }

    /// Speaks TLS.
    pub fn secured(self, tls: Arc<Tls>) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// All routes.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/add-checkpoint", post(add_checkpoint))
            .route("/{hash}/checkpoint", get(checkpoint))
            .route("/healthz", get(health))
            .route("/metrics", get(metrics))
            .fallback(async || answer(Reply::plain(404, "there is nothing here")))
            .with_state(Arc::clone(&self.shared))
    }

    /// Serves until `stop` comes; then takes no new requests and lets the running ones end.
    pub async fn run(&self, listener: TcpListener, stop: impl Future<Output = ()> + Send) {
        let traffic = Arc::clone(&self.shared.traffic);
        let bounds = self.shared.limits.bounds();
        web::serve(listener, self.router(), bounds, traffic, self.tls.clone(), stop).await;
    }
}

impl Limits {
    fn bounds(self) -> web::Bounds {
        let Self { connections, head, stall, farewell, .. } = self;
        // Clients send a few fields of a few bytes; browsers send the most.
        web::Bounds { connections, head_bytes: 16 * 1_024, head_fields: 64, head, stall, farewell }
    }
}

async fn add_checkpoint(State(shared): State<Arc<Shared>>, body: Body) -> Response {
    let reply = match timeout(shared.limits.body, whole(body)).await {
        Err(_) => Reply::plain(408, "the request did not come in time"),
        Ok(Err(reply)) => reply,
        Ok(Ok(body)) => decided(shared.clone(), body).await,
    };
    if let Some(at) = COUNTED.iter().position(|status| *status == reply.status)
        && let Some(count) = shared.answers.get(at)
    {
        count.add(1);
    }
    answer(reply)
}

/// Waits for its turn as long as the client does, and decides on its own task: a client that goes away does not stop what has begun,
/// and leaves nothing behind that has not.
async fn decided(shared: Arc<Shared>, body: Vec<u8>) -> Reply {
    let later = || Reply::plain(503, "try again later");
    let turn = timeout(shared.limits.body, Arc::clone(&shared.turns).acquire_owned()).await;
    let Ok(Ok(turn)) = turn else { return later() };
    let work = tokio::spawn(async move {
        let _turn = turn;
        shared.witness.answer(&body).await
    });
    work.await.unwrap_or_else(|_| later())
}

/// A body of at most [`MAX_REQUEST_LEN`].
async fn whole(body: Body) -> Result<Vec<u8>, Reply> {
    let (mut bytes, mut chunks) = (Vec::new(), body.into_data_stream());
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Reply::plain(400, "the request broke off"))?;
        if bytes.len().saturating_add(chunk.len()) > MAX_REQUEST_LEN {
            return Err(Reply::plain(413, format_args!("at most {MAX_REQUEST_LEN} bytes are taken")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

async fn checkpoint(State(shared): State<Arc<Shared>>, Path(hash): Path<String>) -> Response {
    let digits = hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let none = || answer(Reply::plain(404, "nothing was cosigned of such a log"));
    if hash.len() != 64 || !digits {
        return none();
    }
    match shared.witness.folder().latest_at(&hash).await {
        Ok(Some(latest)) => answer(Reply { body: latest.note().to_string(), ..Reply::plain(200, "") }),
        Ok(None) => none(),
        Err(error) => {
            shared.witness.report(&error.to_string());
            answer(Reply::plain(503, "try again later"))
        }
    }
}

async fn health(State(shared): State<Arc<Shared>>) -> Response {
    match shared.witness.folder().is_there().await {
        Ok(()) => answer(Reply::plain(200, "ok")),
        Err(_) => answer(Reply::plain(503, "the folder cannot be read")),
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let labels: Vec<_> = COUNTED.iter().map(|status| format!("{{status=\"{status}\"}}")).collect();
    let answers: Vec<_> =
        labels.iter().zip(&shared.answers).map(|(label, count)| (label.as_str(), count.now())).collect();
    let mut families = Families::default();
    let help = "Requests to cosign, by the status they were answered with.";
    families.family("witness_requests_total", "counter", help, &answers);
    families.traffic(&shared.traffic);
    let (content_type, body) = ("text/plain; version=0.0.4", families.into_text());
    answer(Reply { status: 200, content_type, body })
}

fn answer(reply: Reply) -> Response {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let fields = [
        (CONTENT_TYPE, reply.content_type),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, fields, reply.body).into_response()
}
