//! The contract on a stand-in for Google Cloud Storage: its XML interface, as far as the store uses it, with generations
//! instead of ETags. It shows that the right conditions are sent; that Google keeps them is Google's word.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fmt::Write;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Response, StatusCode};
use tokio::net::TcpListener;

use crate::contract;
use crate::setting::Stores;

const GENERATION: &str = "x-goog-generation";

/// When all objects were written: this server has no clock.
const DATE: &str = "Sun, 01 Jan 2090 00:00:00 GMT";

#[derive(Default)]
struct Bucket {
    objects: BTreeMap<String, Stored>,
    generation: u64,
}

#[derive(Clone)]
struct Stored {
    bytes: Bytes,
    generation: u64,
    metadata: HeaderMap,
}

async fn serve(State(bucket): State<Arc<Mutex<Bucket>>>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let mut bucket = bucket.lock().unwrap();
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
    let key = decoded(head.uri.path().trim_start_matches("/bucket").trim_start_matches('/'));
    match head.method {
        Method::GET if key.is_empty() => {
            let query =
                head.uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
            let query: HashMap<String, String> =
                query.map(|(name, value)| (name.to_owned(), decoded(value))).collect();
            bucket.list(query.get("prefix").map_or("", String::as_str), query.get("continuation-token"))
        }
        Method::PUT => bucket.put(key, &head.headers, body),
        Method::DELETE if bucket.objects.remove(&key).is_none() => status(StatusCode::NOT_FOUND),
        Method::DELETE => status(StatusCode::NO_CONTENT),
        _ => {
            let Some(stored) = bucket.objects.get(&key) else { return status(StatusCode::NOT_FOUND) };
            let whole = stored.bytes.len();
            let from = head.headers.get("range").map_or(0, |range| first_byte(range.to_str().unwrap()));
            if from > 0 && from >= whole {
                return status(StatusCode::RANGE_NOT_SATISFIABLE);
            }
            let mut response = Response::builder()
                .header(GENERATION, stored.generation)
                .header("etag", format!("\"{}\"", stored.generation))
                .header("last-modified", DATE)
                .header("content-length", whole - from);
            if from > 0 {
                let range = format!("bytes {from}-{}/{whole}", whole - 1);
                response = response.status(StatusCode::PARTIAL_CONTENT).header("content-range", range);
            }
            for (name, value) in &stored.metadata {
                response = response.header(name, value);
            }
            let body = if head.method == Method::HEAD { Bytes::new() } else { stored.bytes.slice(from..) };
            response.body(Body::from(body)).unwrap()
        }
    }
}

/// Of `bytes=N-`.
fn first_byte(range: &str) -> usize {
    range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap()
}

impl Bucket {
    fn put(&mut self, key: String, headers: &HeaderMap, bytes: Bytes) -> Response<Body> {
        let found = self.objects.get(&key).map_or(0, |stored| stored.generation);
        if let Some(wanted) = headers.get("x-goog-if-generation-match")
            && wanted.to_str().unwrap() != found.to_string()
        {
            return status(StatusCode::PRECONDITION_FAILED);
        }
        self.generation += 1;
        let kept = headers.iter().filter(|(name, _)| name.as_str().starts_with("x-goog-meta-"));
        let metadata = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
        self.objects.insert(key, Stored { bytes, generation: self.generation, metadata });
        Response::builder()
            .header(GENERATION, self.generation)
            .header("etag", format!("\"{}\"", self.generation))
            .body(Body::empty())
            .unwrap()
    }

    /// Ten at a time, so that lists have several pages.
    fn list(&self, prefix: &str, after: Option<&String>) -> Response<Body> {
        let mut found: Vec<_> = self
            .objects
            .iter()
            .filter(|(key, _)| key.starts_with(prefix) && after.is_none_or(|after| *key > after))
            .take(11)
            .collect();
        let more = found.len() > 10;
        found.truncate(10);
        let mut xml = format!("<ListBucketResult><IsTruncated>{more}</IsTruncated>");
        for (key, stored) in &found {
            let (len, generation) = (stored.bytes.len(), stored.generation);
            write!(
                xml,
                "<Contents><Key>{key}</Key><Size>{len}</Size><LastModified>{}</LastModified><ETag>{generation}</ETag></Contents>",
                "2090-01-01T00:00:00Z"
            )
            .unwrap();
        }
        if let Some((last, _)) = found.last().filter(|_| more) {
            write!(xml, "<NextContinuationToken>{last}</NextContinuationToken>").unwrap();
        }
        xml.push_str("</ListBucketResult>");
        Response::new(Body::from(xml))
    }
}

fn status(code: StatusCode) -> Response<Body> {
    Response::builder().status(code).body(Body::empty()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_on_a_stand_in_for_google() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let app = Router::new().fallback(serve).with_state(Arc::new(Mutex::new(Bucket::default())));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let account = format!(
        r#"{{"gcs_base_url":"{endpoint}","disable_oauth":true,"client_email":"","private_key":"","private_key_id":""}}"#
    );
    let environment = [("GOOGLE_BASE_URL", endpoint), ("GOOGLE_SERVICE_ACCOUNT_KEY", account)];
    let environment: BTreeMap<_, _> = environment.map(|(name, value)| (name.to_owned(), value)).into();
    let stores = Stores::on("gs://bucket".to_owned(), environment).await;
    contract::all(|| stores.fresh()).await
}
