//! `serve`: the repository over HTTP, asked byte by byte and by the real client.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

mod answers;
pub(crate) mod attested;
mod coded;
pub(crate) mod form;
mod hostile;
mod lifetime;
mod people;
mod people_log;
mod staged;
mod upload;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;
use wheelseal::server::{Limits, Server};
use wheelseal::store::Store;

use crate::scene::Scene;

/// A server on a free loopback port, until it is dropped.
pub(crate) struct Served {
    pub(crate) port: u16,
    /// What the operator was told.
    pub(crate) told: Arc<Mutex<Vec<String>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) fields: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(super) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    pub(crate) fn read(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let fields = lines.map(|line| line.split_once(": ").unwrap());
        let fields = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        Self { status, fields, body: bytes[end + 4..].to_vec() }
    }
}

impl Served {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self::with(store, Limits::default())
    }

    pub(super) fn with(store: Arc<dyn Store>, limits: Limits) -> Self {
        Self::made(store, limits, |server, _| server)
    }

    /// With a server that `make` completes, on the runtime that it will run on. It may tell the operator something.
    pub(crate) fn made(
        store: Arc<dyn Store>,
        limits: Limits,
        make: impl FnOnce(Server, Arc<Mutex<Vec<String>>>) -> Server + Send + 'static,
    ) -> Self {
        let told = Arc::new(Mutex::new(Vec::new()));
        let (sender, receiver) = oneshot::channel();
        let (ports, port) = std::sync::mpsc::channel();
        let report = Arc::clone(&told);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                ports.send(listener.local_addr().unwrap().port()).unwrap();
                let told = Arc::clone(&report);
                let server =
                    Server::new(store, limits, move |error| report.lock().unwrap().push(error.to_string()));
                make(server, told).run(listener, async { drop(receiver.await) }).await;
            });
        });
        Self { port: port.recv().unwrap(), told, stop: Some(sender), thread: Some(thread) }
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends bytes as they are and reads until the server closes.
    pub(crate) fn raw(&self, request: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        // A server that refuses early may close before it has read everything.
        drop(stream.write_all(request));
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        answer
    }

    /// One request with these header lines.
    pub(super) fn ask(&self, method: &str, path: &str, fields: &[&str]) -> Answer {
        let more = fields.join("\r\n");
        let end = if more.is_empty() { "\r\n" } else { "\r\n\r\n" };
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}{end}");
        Answer::read(&self.raw(request.as_bytes()))
    }

    pub(crate) fn get(&self, path: &str, fields: &[&str]) -> Answer {
        self.ask("GET", path, fields)
    }

    /// Tells it to stop.
    pub(super) fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits until it has stopped.
    pub(crate) fn join(mut self) {
        self.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A repository with the project `alpha`, version 1.0.
pub(crate) async fn scene() -> Scene {
    let scene = Scene::new().await;
    let edit = scene.add("alpha", "1.0", "x = 1\n");
    scene.publish(&[edit]).await.unwrap();
    scene
}
