//! A server on the loopback interface that writes what it is told, byte by byte, and notes what it reads.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// One part of an answer.
pub(crate) enum Part {
    Bytes(Vec<u8>),
    Wait(u64),
    /// Goes on when this returns.
    After(Box<dyn Fn() + Send>),
    /// The same bytes for as long as the client reads, with a pause in milliseconds.
    Forever(Vec<u8>, u64),
    Close,
}

/// A request: its head as it came, and how many came before it.
pub(crate) struct Asked {
    pub(crate) head: String,
    pub(crate) before: usize,
}

impl Asked {
    /// Path and query as they stand in the request line.
    pub(crate) fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }
}

pub(crate) struct Wire {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl Wire {
    /// Answers each request as `answer` says. Runs until the process ends.
    pub(crate) fn start(answer: impl Fn(&Asked) -> Vec<Part> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (heads, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let wire = Self { port, heads: Arc::clone(&heads), connections: Arc::clone(&connections) };
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                connections.fetch_add(1, Ordering::SeqCst);
                let (heads, answer) = (Arc::clone(&heads), Arc::clone(&answer));
                std::thread::spawn(move || converse(stream, &heads, &*answer));
            }
        });
        wire
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The heads of all requests, in order.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    /// The request lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.heads().iter().map(|head| head.lines().next().unwrap_or_default().to_owned()).collect()
    }

    /// The same, and forgets them.
    pub(crate) fn take_lines(&self) -> Vec<String> {
        let heads = std::mem::take(&mut *self.heads.lock().unwrap());
        heads.iter().map(|head| head.lines().next().unwrap_or_default().to_owned()).collect()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn converse(mut stream: TcpStream, heads: &Mutex<Vec<String>>, answer: &dyn Fn(&Asked) -> Vec<Part>) {
    while let Some(head) = read_head(&mut stream) {
        let before = {
            let mut heads = heads.lock().unwrap();
            heads.push(head.clone());
            heads.len() - 1
        };
        for part in answer(&Asked { head, before }) {
            let sent = match part {
                Part::Bytes(bytes) => stream.write_all(&bytes),
                Part::Wait(millis) => {
                    std::thread::sleep(Duration::from_millis(millis));
                    Ok(())
                }
                Part::After(wait) => {
                    wait();
                    Ok(())
                }
                Part::Forever(bytes, millis) => loop {
                    std::thread::sleep(Duration::from_millis(millis));
                    if let Err(gone) = stream.write_all(&bytes) {
                        break Err(gone);
                    }
                },
                Part::Close => return,
            };
            if sent.is_err() {
                return;
            }
        }
    }
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    String::from_utf8(head).ok()
}

/// A whole answer.
pub(crate) fn reply(status: &str, headers: &str, body: &[u8]) -> Vec<Part> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    vec![Part::Bytes([head.as_bytes(), body].concat())]
}

pub(crate) fn ok(body: &[u8]) -> Vec<Part> {
    reply("200 OK", "", body)
}

pub(crate) fn not_found() -> Vec<Part> {
    reply("404 Not Found", "", b"")
}
