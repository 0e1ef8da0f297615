//! `/metrics` for who watches a program that serves nothing else.

use std::future::{pending, ready};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;

use super::{Bounds, Traffic, serve};

/// What it bears: a few who watch, and no one who is slow.
const BOUNDS: Bounds = Bounds {
    connections: 16,
    head_bytes: 16 * 1_024,
    head_fields: 64,
    head: Duration::from_secs(10),
    stall: Duration::from_secs(10),
    farewell: Duration::from_secs(1),
};

/// Answers with this text, as it is then, until it is dropped.
pub(crate) async fn serve_metrics(
    listener: TcpListener,
    text: impl Fn() -> String + Clone + Send + Sync + 'static,
) {
    let router = Router::new().route("/metrics", get(move || ready(text())));
    serve(listener, router, BOUNDS, Arc::new(Traffic::default()), None, pending()).await;
}
