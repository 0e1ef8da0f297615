//! `record`: an index whose every answer a test chooses, and a recorder that follows it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

mod claimed;
mod conflicts;
mod crashes;
mod hostile;
mod logged;
pub(crate) mod program;
mod rounds;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Value, json};
use tempfile::TempDir;
use wheelseal::client::{Http, Reach, Timing};
use wheelseal::crawl::Follow;
use wheelseal::crypto::sha256;
use wheelseal::recorder::{Bytes, Existing, RecordError, Recorder, Round, Settings};
use wheelseal::repository::Repository;
use wheelseal::store::Store;

use crate::scene::{ONLINE, Scene, View, keyring, now, wheel_bytes};

const JSON: &str = "application/vnd.pypi.simple.v1+json";

/// What the index answers with.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    Page(String),
    Bytes(Vec<u8>),
    /// Bytes without end.
    Endless,
    /// Some bytes, and then none.
    Stalled(Vec<u8>),
    Redirect(String),
    Status(u16),
    /// One after the other; the last one stays.
    InTurn(Vec<Reply>),
}

#[derive(Debug, Default)]
struct World {
    replies: BTreeMap<String, Reply>,
    asked: Vec<String>,
}

/// An index on a loopback port. Pages have the hash of their text as entity tag.
pub(super) struct Index {
    world: Arc<Mutex<World>>,
    pub(super) url: String,
}

async fn answer(State(world): State<Arc<Mutex<World>>>, request: Request) -> Response {
    let mut world = world.lock().unwrap();
    let path = request.uri().path().to_owned();
    world.asked.push(path.clone());
    let reply = match world.replies.get_mut(&path) {
        Some(Reply::InTurn(replies)) if replies.len() > 1 => replies.remove(0),
        Some(Reply::InTurn(replies)) => replies[0].clone(),
        Some(reply) => reply.clone(),
        None => Reply::Status(404),
    };
    let plain = |status: u16| Response::builder().status(status);
    match reply {
        Reply::Page(text) => {
            let tag = format!("\"{}\"", hex::encode(sha256(text.as_bytes())));
            if request.headers().get("if-none-match").is_some_and(|known| *known == *tag) {
                return plain(304).body(Body::empty()).unwrap();
            }
            plain(200).header("content-type", JSON).header("etag", tag).body(Body::from(text)).unwrap()
        }
        Reply::Bytes(bytes) => plain(200).body(Body::from(bytes)).unwrap(),
        Reply::Endless => {
            let endless = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![0; 65_536]));
            plain(200).body(Body::from_stream(endless)).unwrap()
        }
        Reply::Stalled(bytes) => {
            use futures_util::StreamExt;
            let some = futures_util::stream::iter([Ok::<_, std::io::Error>(bytes)]);
            plain(200).body(Body::from_stream(some.chain(futures_util::stream::pending()))).unwrap()
        }
        Reply::Redirect(to) => plain(302).header("location", to).body(Body::empty()).unwrap(),
        Reply::Status(status) => plain(status).body(Body::empty()).unwrap(),
        Reply::InTurn(_) => plain(500).body(Body::empty()).unwrap(),
    }
}

impl Index {
    pub(super) async fn new() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/simple/", listener.local_addr().unwrap());
        let world = Arc::<Mutex<World>>::default();
        let app = Router::new().fallback(answer).with_state(Arc::clone(&world));
        tokio::spawn(async move { axum::serve(listener, app).await });
        let index = Self { world, url };
        index.projects(&[]);
        index
    }

    pub(super) fn put(&self, path: &str, reply: Reply) {
        self.world.lock().unwrap().replies.insert(path.to_owned(), reply);
    }

    pub(super) fn remove(&self, path: &str) {
        self.world.lock().unwrap().replies.remove(path);
    }

    /// The list: names, with serials where they have one.
    pub(super) fn projects(&self, projects: &[(&str, Option<u64>)]) {
        let projects: Vec<Value> = projects
            .iter()
            .map(|(name, serial)| match serial {
                Some(serial) => json!({"name": name, "_last-serial": serial}),
                None => json!({"name": name}),
            })
            .collect();
        self.put(
            "/simple/",
            Reply::Page(json!({"meta": {"api-version": "1.1"}, "projects": projects}).to_string()),
        );
    }

    /// A project's page.
    pub(super) fn page(&self, project: &str, serial: Option<u64>, files: &[Value]) {
        let meta = match serial {
            Some(serial) => json!({"api-version": "1.1", "_last-serial": serial}),
            None => json!({"api-version": "1.1"}),
        };
        let page = json!({"meta": meta, "name": project, "files": files});
        self.put(&format!("/simple/{project}/"), Reply::Page(page.to_string()));
    }

    /// Lists one project without a serial, with these files.
    pub(super) fn lists(&self, project: &str, files: &[Value]) {
        self.projects(&[(project, None)]);
        self.page(project, None, files);
    }

    /// Paths asked for since the last call, sorted.
    pub(super) fn asked(&self) -> Vec<String> {
        let mut asked = std::mem::take(&mut self.world.lock().unwrap().asked);
        asked.sort();
        asked
    }

    /// A wheel that can be had; what a page says of it.
    pub(super) fn wheel(&self, project: &str, version: &str, body: &str) -> Value {
        let bytes = wheel_bytes(project, version, body);
        self.file(&format!("{project}-{version}-py3-none-any.whl"), &bytes)
    }

    /// A file that can be had; what a page says of it.
    pub(super) fn file(&self, name: &str, bytes: &[u8]) -> Value {
        self.put(&format!("/files/{name}"), Reply::Bytes(bytes.to_vec()));
        listed(name, bytes)
    }
}

/// What a page says of a file.
pub(super) fn listed(name: &str, bytes: &[u8]) -> Value {
    let sha256 = hex::encode(sha256(bytes));
    json!({"filename": name, "url": format!("../../files/{name}"), "size": bytes.len(), "hashes": {"sha256": sha256}})
}

/// The metadata of [`Index::wheel`], as it lies in it.
pub(super) fn metadata(project: &str, version: &str) -> String {
    format!("Metadata-Version: 2.1\nName: {project}\nVersion: {version}\nRequires-Python: >=3.8\n\n")
}

/// A recorder's repository, and what it remembers of the index.
pub(super) struct Desk {
    pub(super) scene: Scene,
    notes: TempDir,
    spool: TempDir,
}

/// Short times, so that what is slow is given up soon.
pub(super) fn timing() -> Timing {
    Timing {
        window: Duration::from_millis(300),
        window_bytes: 1_000,
        pauses: [Duration::from_millis(1); 3],
        ..Timing::default()
    }
}

impl Desk {
    pub(super) async fn new() -> Self {
        let folder = || tempfile::tempdir().unwrap();
        Self { scene: Scene::new().await, notes: folder(), spool: folder() }
    }

    pub(super) fn notes(&self) -> &Path {
        self.notes.path()
    }

    pub(super) fn settings(&self) -> Settings {
        Settings {
            bytes: Bytes::Hashed,
            existing: Existing::Recorded,
            max_file: 1 << 20,
            jobs: 4.try_into().unwrap(),
            spool: self.spool.path().to_owned(),
        }
    }

    /// A recorder as it starts.
    pub(super) async fn recorder(&self, index: &Index, settings: Settings) -> Recorder {
        self.recorder_on(self.scene.store().await, index, settings).await.unwrap()
    }

    pub(super) async fn recorder_on(
        &self,
        store: Arc<dyn Store>,
        index: &Index,
        settings: Settings,
    ) -> Result<Recorder, RecordError> {
        let http = Http::within(Reach::Anywhere, timing()).unwrap();
        let follow = Follow::open(&index.url, self.notes.path().to_owned(), http).unwrap();
        Recorder::new(Repository::open(store).await?, keyring(&ONLINE).await, follow, settings).await
    }

    /// Starts a recorder for one round.
    pub(super) async fn once(&self, index: &Index) -> Round {
        self.once_as(index, self.settings()).await
    }

    pub(super) async fn once_as(&self, index: &Index, settings: Settings) -> Round {
        round(&mut self.recorder(index, settings).await).await
    }

    /// What is signed verifies; of files whose bytes are not kept nothing else can be said.
    pub(super) async fn assert_signed(&self, when: &str) {
        let problems = self.scene.check().await.problems;
        let others: Vec<_> = problems
            .iter()
            .filter(|problem| problem.what != "is missing" || !problem.subject.starts_with("targets/"))
            .collect();
        assert!(others.is_empty(), "{when}: {others:#?}");
    }

    /// Hashes of all recorded targets, by path.
    pub(super) async fn targets(&self) -> BTreeMap<String, String> {
        let view = View::of(&self.scene.open().await).await;
        view.targets.into_iter().map(|(path, (_, sha256))| (path, sha256)).collect()
    }

    /// The conflicts that are kept, by path, as text.
    pub(super) fn conflicts(&self) -> BTreeMap<String, String> {
        let files = self.scene.files().into_iter();
        let kept =
            files.filter(|(path, _)| path.strip_suffix(".told").is_none()).filter_map(|(path, bytes)| {
                Some((path.strip_prefix("conflicts/")?.to_owned(), String::from_utf8(bytes).unwrap()))
            });
        kept.collect()
    }
}

/// One round.
pub(super) async fn round(recorder: &mut Recorder) -> Round {
    let round = recorder.round(now(), &|_, _| {}).await.unwrap();
    recorder.told(&round.new_conflicts).await.unwrap();
    round
}

/// Targets by what they should be.
pub(super) fn targets(all: &[(&str, &[u8])]) -> BTreeMap<String, String> {
    all.iter().map(|(path, bytes)| ((*path).to_owned(), hex::encode(sha256(bytes)))).collect()
}
