//! TCP connections: a bounded number, none that waits for ever, all ended in peace.

use std::net::IpAddr;
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

use super::counts::Traffic;
use super::patient::Patient;
use super::tls::Tls;

/// Pause after a connection could not be accepted: there may be no file descriptor left until another one ends.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a server bears of its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Connections at once; more wait to be accepted.
    pub(crate) connections: usize,
    /// Bytes of a request's head.
    pub(crate) head_bytes: usize,
    /// Fields in a request's head.
    pub(crate) head_fields: usize,
    /// Time for a head to come, and for a kept connection to stay idle.
    pub(crate) head: Duration,
    /// Time in which a client must take some of what is sent.
    pub(crate) stall: Duration,
    /// Time for running answers to end when the server stops.
    pub(crate) farewell: Duration,
}

/// Where a connection comes from. It goes with each of its requests, and is printed nowhere.
#[derive(Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Accepts and serves until `stop`.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    traffic: Arc<Traffic>,
    tls: Option<Arc<Tls>>,
    stop: impl Future<Output = ()> + Send,
) {
    let slots = Arc::new(Semaphore::new(bounds.connections));
    let (protocol, graceful) = (protocol(bounds), GracefulShutdown::new());
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
        let stream = Patient::new(stream, bounds.stall);
        let (service, peer) = (service.clone(), Peer(from.ip()));
        let told = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            service.call(request)
        });
        traffic.accepted.add(1);
        traffic.open.add(1);
        let (traffic, protocol, watcher) = (Arc::clone(&traffic), protocol.clone(), graceful.watcher());
        let acceptor = tls.as_ref().map(|tls| tls.acceptor());
        tokio::spawn(async move {
            // Errors are those of the client's connection: nobody is left to be told.
            match acceptor {
                None => drop(watcher.watch(protocol.serve_connection(TokioIo::new(stream), told)).await),
                Some(acceptor) => {
                    if let Ok(Ok(stream)) = timeout(bounds.head, acceptor.accept(stream)).await {
                        drop(watcher.watch(protocol.serve_connection(TokioIo::new(stream), told)).await);
                    }
                }
            }
            traffic.open.less();
            drop(slot);
        });
    }
    drop(listener);
    // Whoever is not done by then is cut off when the process ends.
    drop(timeout(bounds.farewell, graceful.shutdown()).await);
}

fn protocol(bounds: Bounds) -> http1::Builder {
    let mut protocol = http1::Builder::new();
    protocol
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .max_buf_size(bounds.head_bytes.max(8 * 1_024))
        .max_headers(bounds.head_fields);
    protocol
}
