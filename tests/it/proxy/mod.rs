//! `exec` and `proxy` from outside: a tool that speaks TLS through the proxy, and an index whose server lies as it is told.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

mod answers;
mod attacks;
mod command;
mod guarded;
mod hostile;
mod large;
mod logged;
mod login;
mod others;
mod reverse;
mod riders;
mod tool;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tempfile::TempDir;
use tokio::sync::oneshot;
use wheelseal::client::trust::Location;
use wheelseal::client::{MetadataDir, Timing};
use wheelseal::proxy::{Forward, Index, Journal, Limits, Mode, Reverse, Settings, Trusted};
use wheelseal::tuf::trusted;

use self::tool::Tool;
use crate::client::wire::{Asked, Part, Wire, not_found, ok};
use crate::scene::{Scene, now};

/// Where tools think the index is. No such host exists: its certificate is that of the proxy's CA.
const INDEX: &str = "https://index.test/root/simple/";
/// The same as a server.
const HOST: &str = "index.test:443";
/// A wheel that is published, and where.
const WHEEL: &str = "alpha-1.0-py3-none-any.whl";
const WHEEL_PATH: &str = "/root/targets/alpha/alpha-1.0-py3-none-any.whl";
const PAGE_PATH: &str = "/root/simple/alpha/";

type Lies = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;
type Turns = Arc<Mutex<BTreeMap<String, VecDeque<Vec<Part>>>>>;
type Held = Arc<Mutex<BTreeMap<String, Gate>>>;

/// Before a file that the server does not send yet.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<(bool, bool)>, Condvar)>);

impl Gate {
    fn change(&self, change: impl FnOnce(&mut (bool, bool))) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    fn wait(&self, until: impl Fn(&(bool, bool)) -> bool) {
        drop(self.0.1.wait_while(self.0.0.lock().unwrap(), |state| !until(state)).unwrap());
    }

    /// Waits until the server is asked for the file.
    fn wait_for_a_request(&self) {
        self.wait(|(asked, _)| *asked);
    }

    /// Lets the server answer.
    fn open(&self) {
        self.change(|(_, open)| *open = true);
    }

    fn pass(&self) {
        self.change(|(asked, _)| *asked = true);
        self.wait(|(_, open)| *open);
    }
}

/// What is unusual about a proxy.
struct Setup {
    mode: Mode,
    strict: bool,
    limits: Limits,
    cache_bytes: u64,
    renew: Option<TimeDelta>,
    index: String,
    /// User and password in the address of the trust.
    login: &'static str,
    /// What the user pinned for the log.
    log_policy: Option<String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            strict: false,
            limits: Limits::default(),
            cache_bytes: 1_000_000,
            renew: None,
            index: INDEX.to_owned(),
            login: "",
            log_policy: None,
        }
    }
}

/// An index, its server, and what a user keeps.
struct Stage {
    scene: Scene,
    wire: Arc<Wire>,
    lies: Lies,
    turns: Turns,
    held: Held,
    home: TempDir,
    time: Arc<Mutex<DateTime<Utc>>>,
}

impl Stage {
    /// The project `alpha`, version 1.0.
    async fn new() -> Self {
        let scene = Scene::new().await;
        scene.publish(&[scene.add("alpha", "1.0", "x = 1\n")]).await.unwrap();
        let (lies, held, root) = (Lies::default(), Held::default(), scene.root());
        let (told, closed) = (Arc::clone(&lies), Arc::clone(&held));
        let turns = Turns::default();
        let next = Arc::clone(&turns);
        let wire = Wire::start(move |asked: &Asked| {
            let path = asked.path().trim_start_matches('/').to_owned();
            let gate = closed.lock().unwrap().get(&path).cloned();
            if let Some(gate) = gate {
                gate.pass();
            }
            if let Some(turn) = next.lock().unwrap().get_mut(&path).and_then(VecDeque::pop_front) {
                return turn;
            }
            if let Some(lie) = told.lock().unwrap().get(&path) {
                return vec![Part::Bytes(lie.clone()), Part::Close];
            }
            std::fs::read(root.join(path)).map_or_else(|_| not_found(), |bytes| ok(&bytes))
        });
        let time = Arc::new(Mutex::new(now()));
        Self { scene, wire: Arc::new(wire), lies, turns, held, home: tempfile::tempdir().unwrap(), time }
    }

    /// From now on the server answers so, whatever is published.
    fn lie(&self, path: &str, body: &[u8]) {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        self.lie_raw(path, &[head.as_bytes(), body].concat());
    }

    /// The same, with a head of its own.
    fn lie_raw(&self, path: &str, answer: &[u8]) {
        self.lies.lock().unwrap().insert(path.to_owned(), answer.to_vec());
    }

    /// When it is asked for this path, the server does these things first, one each time.
    fn turns(&self, path: &str, turns: impl IntoIterator<Item = Vec<Part>>) {
        self.turns.lock().unwrap().insert(path.to_owned(), turns.into_iter().collect());
    }

    /// From now on the server sends this file when it is let.
    fn hold(&self, path: &str) -> Gate {
        let gate = Gate::default();
        self.held.lock().unwrap().insert(path.to_owned(), gate.clone());
        gate
    }

    /// Where a target lies on the server, by its plain path.
    fn hashed(&self, target: &str) -> String {
        let (folder, name) = target.rsplit_once('/').unwrap();
        let files = self.scene.files();
        let ending = format!(".{name}");
        let hashed =
            |path: &&String| path.starts_with(&format!("targets/{folder}/")) && path.ends_with(&ending);
        files.keys().find(hashed).unwrap().clone()
    }

    /// What the server was asked since this was last called.
    fn asked(&self) -> Vec<String> {
        let lines = self.wire.take_lines();
        lines.iter().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect()
    }

    fn settings(&self, setup: &Setup) -> Settings {
        let time = Arc::clone(&self.time);
        Settings {
            mode: setup.mode,
            cache: self.home.path().join("cache"),
            cache_bytes: setup.cache_bytes,
            renew: setup.renew,
            clock: Arc::new(move || *time.lock().unwrap()),
            tell: Arc::new(|_| ()),
        }
    }

    fn index(&self, setup: &Setup, journal: &Arc<Journal>) -> Index {
        let server = self.wire.url("/").replace("://", &format!("://{}", setup.login));
        let log_policy = setup.log_policy.clone();
        let location = Location { index: Some(setup.index.clone()), log_policy, ..Location::below(&server) };
        let cache = MetadataDir::new(self.home.path().join("state"));
        cache.start(&std::fs::read(self.scene.root().join("metadata/1.root.json")).unwrap()).unwrap();
        let short = Duration::from_millis(1);
        let timing = Timing { window: Duration::from_secs(5), pauses: [short; 3], ..Timing::default() };
        let credentials = location.credentials();
        let client = location.client(cache, timing, trusted::Limits::default()).unwrap();
        let (index, files) = (location.index(), location.targets);
        let trusted = Trusted { name: "mine".to_owned(), index, files, client, credentials };
        Index::new(trusted, &self.settings(setup), journal).unwrap()
    }

    /// A forward proxy, as `exec` runs it.
    fn forward(&self, setup: &Setup) -> Running {
        let journal = Arc::new(Journal::default());
        let settings = self.settings(setup);
        let index = self.index(setup, &journal);
        let forward = Forward::new(vec![index], setup.strict, &settings, &journal, setup.limits).unwrap();
        let forward = Arc::new(forward);
        let (authority, word) = (forward.authority().to_owned(), word(&forward.address(1)));
        let (own, time) = (Arc::clone(&forward), now());
        let (port, stop, thread) = listen(async move |listener| match own.run(listener).await {});
        Running { tool: Tool { port, word, authority, time }, journal, forward: Some(forward), stop, thread }
    }

    /// A reverse proxy, as `proxy` runs it.
    fn reverse(&self, setup: &Setup) -> Running {
        let journal = Arc::new(Journal::endless());
        let reverse = Arc::new(Reverse::new(vec![self.index(setup, &journal)], setup.limits));
        let (port, stop, thread) = listen(async move |listener| match reverse.run(listener).await {});
        let tool = Tool { port, word: String::new(), authority: String::new(), time: now() };
        Running { tool, journal, forward: None, stop, thread }
    }
}

/// The secret in a proxy's address.
fn word(address: &str) -> String {
    address.strip_prefix("http://wheelseal:").unwrap().split('@').next().unwrap().to_owned()
}

type Ends = (u16, Option<oneshot::Sender<()>>, Option<JoinHandle<()>>);

fn listen(run: impl AsyncFnOnce(tokio::net::TcpListener) + Send + 'static) -> Ends {
    let (stop, stopped) = oneshot::channel::<()>();
    let (ports, port) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.unwrap().block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            ports.send(listener.local_addr().unwrap().port()).unwrap();
            tokio::select! {
                () = run(listener) => {}
                _ = stopped => {}
            }
        });
    });
    (port.recv().unwrap(), Some(stop), Some(thread))
}

/// A proxy at work, until it is dropped.
struct Running {
    tool: Tool,
    journal: Arc<Journal>,
    forward: Option<Arc<Forward>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Waits until the cache has all that it is to have.
    async fn settle(&self) {
        for index in self.forward.as_ref().unwrap().indexes() {
            index.settle().await;
        }
    }

    /// What was refused, as `what: why`.
    fn refused(&self) -> Vec<String> {
        let (refused, _) = self.journal.refused();
        refused.iter().map(|one| format!("{}: {}", one.what, one.fault)).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        drop(self.thread.take().map(JoinHandle::join));
    }
}
