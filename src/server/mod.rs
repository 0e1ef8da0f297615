//! `serve`: the repository over HTTP/1.1. Any store will do. For reading nothing is written and no key is needed; with
//! [`Uploads`] it publishes as well.
//!
//! | file | what |
//! |---|---|
//! | `routes.rs` | addresses, and what they answer |
//! | `resource.rs` | one answer held in memory: which coding, which caching |
//! | `cache.rs` | what was read, compressed or made a delta of, within a number of bytes |
//! | `shared.rs` | what all requests share: store, cache, how much is done at once |
//! | `public.rs` | where the world finds it, and what pages say for that reason |
//! | `people/` | pages for people |
//! | `upload/` | what twine and uv send |
//! | `reads.rs` | how much one address may read in a minute |
//! | `watch.rs` | who asks, for as long as a request lasts; the journal |
//! | `downloads.rs` | counts of files that were sent |
//! | `metrics.rs` | counts for Prometheus |
//!
//! The server is **not trusted** by clients, and has nothing worth stealing. What it must not do is fail under hostile
//! requests: heads, connections, work at once and waiting are all bounded by [`Limits`], reading by address. It writes down nothing about
//! who reads, but sums of downloads. Of uploads it writes down what the [journal](crate::journal) may hold, if there is one: no address is in it.
//!
//! An answer from memory is metadata or a page. Its steps: read the plain file (cached, if its name is for good); not
//! changed since the client saw it: 304; the client holds an older version: a delta of it; else a compressed sibling
//! from the store, else compressed here, else plain. Target files are streamed as they are, also in parts.

mod cache;
mod downloads;
mod metrics;
mod people;
mod public;
mod reads;
mod resource;
mod routes;
mod shared;
mod upload;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::Response;
use tokio::net::TcpListener;

pub use self::people::{Ceremonies, Pages};
pub use self::public::{PublicUrl, PublicUrlError};
use self::shared::Shared;
pub use self::upload::{Grant, TokenError, Tokens, UploadLimits, Uploads};
pub use self::watch::{Visitors, Watch};
use crate::store::{Store, StoreError};
use crate::web;
pub use crate::web::{Tls, TlsError};

/// What a server bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; more wait to be accepted.
    pub connections: usize,
    /// Bytes of a request's head. pip, uv and browsers send under 2,000.
    pub head_bytes: usize,
    /// Fields in a request's head.
    pub head_fields: usize,
    /// Time for a head to come, and for a kept connection to stay idle.
    pub head: Duration,
    /// Time in which a client must take some of what is sent.
    pub stall: Duration,
    /// Time for running answers to end when the server stops.
    pub farewell: Duration,
    /// Bytes of files kept in memory: plain, compressed and deltas.
    pub cache_bytes: usize,
    /// Files read into memory at once.
    pub reads: usize,
    /// Files compressed at once: as many as there are cores.
    pub compressions: usize,
    /// Versions of a role, back from the one asked for, among which the client's dictionary is looked for when it does
    /// not say which it is.
    pub look_back: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1_024,
            head_bytes: 16 * 1_024,
            head_fields: 64,
            head: Duration::from_secs(15),
            stall: Duration::from_secs(30),
            farewell: Duration::from_secs(10),
            cache_bytes: 64 * 1_024 * 1_024,
            reads: 64,
            compressions: std::thread::available_parallelism().map_or(1, Into::into),
            look_back: 8,
        }
    }
}

impl Limits {
    fn bounds(self) -> web::Bounds {
        let Self { connections, head_bytes, head_fields, head, stall, farewell, .. } = self;
        web::Bounds { connections, head_bytes, head_fields, head, stall, farewell }
    }
}

/// A repository's files over HTTP. Clones share store, cache and limits.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
    uploads: Option<Arc<Uploads>>,
    watch: Option<Arc<Watch>>,
    pages: Option<Arc<Pages>>,
    tls: Option<Arc<Tls>>,
}

impl Server {
    /// Serves `store`. `report` is told when the store fails; it learns nothing about who asked.
    pub fn new(
        store: Arc<dyn Store>,
        limits: Limits,
        report: impl Fn(&StoreError) + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared::new(store, limits, Box::new(report)));
        Self { shared, uploads: None, watch: None, pages: None, tls: None }
    }

    /// Takes uploads as well.
    pub fn accepting(self, uploads: Uploads) -> Self {
        Self { uploads: Some(Arc::new(uploads)), ..self }
    }

    /// Looks at who asks, so far as [`Watch`] does.
    pub fn watched(self, watch: Watch) -> Self {
        if let Some(recorder) = watch.recorder() {
            // Only the first journal is counted, and there is one.
            drop(self.shared.metrics.journal.set(Arc::clone(recorder.counts())));
        }
        Self { watch: Some(Arc::new(watch)), ..self }
    }

    /// Is found by the world at this address.
    pub fn found_at(self, url: PublicUrl) -> Self {
        // Only the first counts, and there is one.
        drop(self.shared.public.set(url));
        self
    }

    /// Shows pages to people as well.
    pub fn showing(self, pages: Pages) -> Self {
        Self { pages: Some(Arc::new(pages)), ..self }
    }

    /// Speaks TLS.
    pub fn secured(self, tls: Arc<Tls>) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// All routes, for a caller who has others to add.
    pub fn router(&self) -> Router {
        let router = self.readable();
        let router = match &self.uploads {
            Some(uploads) => {
                let (metrics, watch) = (Arc::clone(&self.shared.metrics), self.watch.clone());
                router.merge(Arc::clone(uploads).router(metrics, watch))
            }
            None => router,
        };
        let router = match &self.watch {
            Some(watch) if watch.recorder().is_some() => {
                router.layer(from_fn_with_state(Arc::clone(watch), downloads::counted))
            }
            _ => router,
        };
        let metrics = Arc::clone(&self.shared.metrics);
        router.layer(map_response(move |response: Response| {
            metrics.answered(response.status());
            std::future::ready(response)
        }))
    }

    /// What is there to be read, as much of it as one address may.
    fn readable(&self) -> Router {
        let router = routes::router(Arc::clone(&self.shared));
        let router = match &self.pages {
            Some(pages) => router.merge(Arc::clone(pages).router(Arc::clone(&self.shared))),
            None => router,
        };
        match &self.watch {
            Some(watch) => router.layer(from_fn_with_state(Arc::clone(watch), reads::bounded)),
            None => router,
        }
    }

    /// Serves until `stop` comes; then takes no new requests and lets the running ones end.
    pub async fn run(&self, listener: TcpListener, stop: impl Future<Output = ()> + Send) {
        let (bounds, traffic) = (self.shared.limits.bounds(), Arc::clone(&self.shared.metrics.traffic));
        web::serve(listener, self.router(), bounds, traffic, self.tls.clone(), stop).await;
        if let Some(watch) = self.watch.clone() {
            // Whatever went wrong with writing was told when it did.
            drop(tokio::task::spawn_blocking(move || watch.close()).await);
        }
    }
}
