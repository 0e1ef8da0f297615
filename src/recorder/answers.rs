//! Claims over HTTP, at a recorder.
//!
//! | address | answer |
//! |---|---|
//! | `POST /claim/` | a claim or commitment is taken: its receipt, a tlog-proof |
//! | `GET /claim/PROJECT/VERSION` | how each file of a release stands: `{"files": {PATH: STANDING}, "doubtful": [PATH]}` |
//! | `GET /healthz` | `ok` |
//!
//! Anybody may ask: what counts are the signatures of a project's keys. So connections, bodies, work at once and requests of one
//! address are all bounded, and nothing is written down about who asks.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{Extensions, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::claims::look;
use crate::claim_desk::{ClaimDesk, DeskError};
use crate::python::ProjectName;
use crate::release_claim::{ClaimError, ClaimRequest, MAX_REQUEST};
use crate::repository::Repository;
use crate::web::{Bounds, Peer, Tls, Traffic, serve};

/// What the server bears.
const BOUNDS: Bounds = Bounds {
    connections: 256,
    head_bytes: 16 * 1_024,
    head_fields: 64,
    head: Duration::from_secs(15),
    stall: Duration::from_secs(30),
    farewell: Duration::from_secs(10),
};
/// Time for a body to come, and then to wait for a turn.
const PATIENCE: Duration = Duration::from_secs(30);
/// Requests worked on at once: each may hold a claim of a megabyte, and some times that while it is read.
const AT_ONCE: usize = 8;
/// Plain text.
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// Answers for one desk.
#[derive(Clone)]
pub struct ClaimServer(Arc<Shared>);

struct Shared {
    desk: Arc<ClaimDesk>,
    repository: Repository,
    clock: fn() -> DateTime<Utc>,
    turns: Semaphore,
    report: Box<dyn Fn(&str) + Send + Sync>,
}

/// Status and reason.
struct Refused(StatusCode, String);

impl ClaimServer {
    /// Takes claims for `desk`, and says how they stand against what `repository` has recorded. `report` is told what is wrong
    /// with this server.
    pub fn new(
        desk: Arc<ClaimDesk>,
        repository: Repository,
        clock: fn() -> DateTime<Utc>,
        report: impl Fn(&str) + Send + Sync + 'static,
    ) -> Self {
        let (turns, report) = (Semaphore::new(AT_ONCE), Box::new(report));
        Self(Arc::new(Shared { desk, repository, clock, turns, report }))
    }

    /// Serves until `stop` comes.
    pub async fn run(
        self,
        listener: TcpListener,
        tls: Option<Arc<Tls>>,
        stop: impl Future<Output = ()> + Send,
    ) {
        let router = Router::new()
            .route("/claim/", post(take))
            .route("/claim/{project}/{version}", get(show))
            .route("/healthz", get(async || answer(StatusCode::OK, TEXT, "ok\n".to_owned())))
            .fallback(async || Refused(StatusCode::NOT_FOUND, "there is nothing here".to_owned()))
            .with_state(self.0);
        serve(listener, router, BOUNDS, Arc::new(Traffic::default()), tls, stop).await;
    }
}

async fn take(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    if let Err(refused) = shared.bears(&head.extensions) {
        return refused.into_response();
    }
    if head.headers.get(CONTENT_TYPE).is_none_or(|kind| kind != JSON) {
        let text = "a claim is sent as application/json";
        return Refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, text.to_owned()).into_response();
    }
    let bytes = match shared.whole(&head.extensions, body).await {
        Ok(bytes) => bytes,
        Err(refused) => return refused.into_response(),
    };
    // On its own task: who goes away does not stop what has begun.
    let work = tokio::spawn(async move { shared.receipt(bytes).await });
    match work.await.unwrap_or_else(|_| Err(Refused::later())) {
        Ok(receipt) => answer(StatusCode::OK, TEXT, receipt),
        Err(refused) => refused.into_response(),
    }
}

async fn show(
    State(shared): State<Arc<Shared>>,
    Path((project, version)): Path<(String, String)>,
    extensions: Extensions,
) -> Result<Response, Refused> {
    shared.bears(&extensions)?;
    let none = || Refused(StatusCode::NOT_FOUND, "nothing is known of such a release".to_owned());
    let project = ProjectName::from_normalised(&project).map_err(|_| none())?;
    let version: pep440_rs::Version = version.parse().map_err(|_| none())?;
    let (desk, repository) = (&shared.desk, &shared.repository);
    let _turn = shared.turn().await?;
    let release = async {
        let state = repository.state().await?;
        look(repository, &state, desk, (&project, &version.to_string()), (shared.clock)()).await
    };
    let release = release.await.map_err(|error| shared.refused(&error))?;
    if release.files.is_empty() && release.doubtful.is_empty() {
        return Err(none());
    }
    let files: BTreeMap<_, _> =
        release.files.iter().map(|(path, standing)| (path, standing.name())).collect();
    let value = serde_json::json!({ "files": files, "doubtful": release.doubtful });
    Ok(answer(StatusCode::OK, JSON, value.to_string()))
}

impl Shared {
    fn bears(&self, extensions: &Extensions) -> Result<(), Refused> {
        let Some(Peer(peer)) = extensions.get::<Peer>() else { return Ok(()) };
        self.desk.bears(*peer, (self.clock)()).map_err(|error| self.refused(&error))
    }

    async fn turn(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Refused> {
        match timeout(PATIENCE, self.turns.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(Refused::later()),
        }
    }

    /// A body. Who sends slowly has no turn yet, and few places.
    async fn whole(&self, extensions: &Extensions, body: Body) -> Result<Vec<u8>, Refused> {
        let peer = extensions.get::<Peer>().map_or(Ipv6Addr::UNSPECIFIED.into(), |Peer(peer)| *peer);
        let _open = self.desk.opens(peer).map_err(|error| self.refused(&error))?;
        let slow = |_| Refused(StatusCode::REQUEST_TIMEOUT, "the claim did not come in time".to_owned());
        timeout(PATIENCE, whole(body)).await.map_err(slow)?
    }

    async fn receipt(&self, bytes: Vec<u8>) -> Result<String, Refused> {
        let _turn = self.turn().await?;
        let read = tokio::task::spawn_blocking(move || ClaimRequest::parse(&bytes)).await;
        let request = read.map_err(|_| Refused::later())?;
        let request = request.map_err(|error| Refused(StatusCode::BAD_REQUEST, error.to_string()))?;
        let receipt = self.desk.take(&request, (self.clock)()).await;
        Ok(receipt.map_err(|error| self.refused(&error))?.to_string())
    }

    /// What is wrong with a claim is for its maker to know; what is wrong with the recorder is not.
    fn refused(&self, error: &DeskError) -> Refused {
        let status = match error {
            DeskError::Claim(ClaimError::BelowThreshold { .. } | ClaimError::OtherProject { .. })
            | DeskError::OtherIndex { .. }
            | DeskError::NotClaimed(_)
            | DeskError::Full(_)
            | DeskError::NoLog => StatusCode::CONFLICT,
            DeskError::Claim(_) => StatusCode::BAD_REQUEST,
            DeskError::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            error => {
                (self.report)(&error.to_string());
                return Refused::later();
            }
        };
        Refused(status, error.to_string())
    }
}

/// A body of at most [`MAX_REQUEST`].
async fn whole(body: Body) -> Result<Vec<u8>, Refused> {
    let (mut bytes, mut chunks) = (Vec::new(), body.into_data_stream());
    while let Some(chunk) = chunks.next().await {
        let broken = |_| Refused(StatusCode::BAD_REQUEST, "the claim broke off".to_owned());
        let chunk = chunk.map_err(broken)?;
        if bytes.len().saturating_add(chunk.len()) > MAX_REQUEST {
            let text = format!("a claim may have {MAX_REQUEST} bytes");
            return Err(Refused(StatusCode::PAYLOAD_TOO_LARGE, text));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

impl Refused {
    fn later() -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, "the recorder cannot do it at the moment".to_owned())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        answer(self.0, TEXT, format!("{}\n", self.1))
    }
}

fn answer(status: StatusCode, kind: &'static str, body: String) -> Response {
    let fields = [(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-store"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (status, fields, body).into_response()
}
