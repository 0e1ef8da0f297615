//! TCP connections: a bounded number, none that waits for ever, all ended in peace.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::Limits;
use super::metrics::Metrics;
use super::tls::Tls;
use super::watch::Peer;
use crate::web::Patient;

/// Pause after a connection could not be accepted: there may be no file descriptor left until another one ends.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts and serves until `stop`.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    metrics: Arc<Metrics>,
    tls: Option<Arc<Tls>>,
    stop: impl Future<Output = ()> + Send,
) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let (protocol, graceful) = (protocol(limits), GracefulShutdown::new());
    let service = TowerToHyperService::new(router);
    let mut stop = pin!(stop);
    loop {
        let slot = tokio::select! {
            slot = Arc::clone(&slots).acquire_owned() => slot,
            () = &mut stop => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let Ok((stream, from)) = accepted else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Only a slower answer, if the system refuses.
        drop(stream.set_nodelay(true));
        let stream = Patient::new(stream, limits.stall);
        let (service, peer) = (service.clone(), Peer(from.ip()));
        // Where it comes from is for `watch.rs` alone, which reads it for uploads.
        let told = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            service.call(request)
        });
        metrics.connections.add(1);
        metrics.open.add(1);
        let (metrics, protocol, watcher) = (Arc::clone(&metrics), protocol.clone(), graceful.watcher());
        let acceptor = tls.as_ref().map(|tls| tls.acceptor());
        tokio::spawn(async move {
            // Errors are those of the client's connection: nobody is left to be told.
            match acceptor {
                None => drop(watcher.watch(protocol.serve_connection(TokioIo::new(stream), told)).await),
                Some(acceptor) => {
                    if let Ok(Ok(stream)) = timeout(limits.head, acceptor.accept(stream)).await {
                        drop(watcher.watch(protocol.serve_connection(TokioIo::new(stream), told)).await);
                    }
                }
            }
            metrics.open.less();
            drop(slot);
        });
    }
    drop(listener);
    // Whoever is not done by then is cut off when the process ends.
    drop(timeout(limits.farewell, graceful.shutdown()).await);
}

fn protocol(limits: Limits) -> http1::Builder {
    let mut protocol = http1::Builder::new();
    protocol
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(limits.head_bytes.max(8 * 1_024))
        .max_headers(limits.head_fields);
    protocol
}
