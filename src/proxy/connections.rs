//! Connections of tools: a bounded number, none that waits for ever, heads of a bounded size.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Duration, sleep};

use super::Limits;
use crate::web::Patient;

/// Pause after a connection could not be accepted: there may be no file descriptor left until another one ends.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes of a head that hyper wants room for, at least.
const MIN_HEAD: usize = 8 * 1_024;

/// A place among the connections, kept until what began with the connection ends.
pub(super) type Slot = Arc<OwnedSemaphorePermit>;

/// What answers.
pub(super) trait Service: Send + Sync + 'static {
    /// The answer to a request of a connection that has this place.
    fn respond(
        self: Arc<Self>,
        request: Request<Incoming>,
        slot: Slot,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// Accepts and serves for as long as it is waited for.
pub(super) async fn serve(listener: TcpListener, service: Arc<impl Service>, limits: Limits) -> Infallible {
    let slots = Arc::new(Semaphore::new(limits.connections));
    loop {
        let (Ok(slot), accepted) = (Arc::clone(&slots).acquire_owned().await, listener.accept().await) else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok((stream, _)) = accepted else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Only a slower answer, if the system refuses.
        drop(stream.set_nodelay(true));
        let stream = Patient::new(stream, limits.stall);
        tokio::spawn(converse(stream, Arc::clone(&service), Arc::new(slot), limits));
    }
}

/// Answers the requests of one connection, until it ends.
pub(super) async fn converse(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    service: Arc<impl Service>,
    slot: Slot,
    limits: Limits,
) {
    let mut protocol = http1::Builder::new();
    protocol
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(limits.head_bytes.max(MIN_HEAD))
        .max_headers(limits.head_fields);
    let service = service_fn(move |request| {
        let answer = Arc::clone(&service).respond(request, Arc::clone(&slot));
        async move { Ok::<_, Infallible>(answer.await) }
    });
    // Errors are those of the tool's connection: nobody is left to be told.
    drop(protocol.serve_connection(TokioIo::new(stream), service).with_upgrades().await);
}
