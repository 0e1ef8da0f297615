//! How it starts, fails and ends.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Answer, Served, scene};

/// More than the buffers of a connection hold.
const BIG: usize = 32 << 20;

#[tokio::test]
async fn running_answers_end_before_the_server_does() {
    let scene = scene().await;
    fs::write(scene.root().join("targets/alpha/big"), vec![7; BIG]).unwrap();
    let mut served = Served::new(scene.store().await);
    let (port, mut idle) = (served.port, served.connect());
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut first = [0; 15];
    idle.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    let mut running = served.connect();
    running.write_all(b"GET /targets/alpha/big HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut start = vec![0; 1_000];
    running.read_exact(&mut start).unwrap();
    served.stop();
    while TcpStream::connect(("127.0.0.1", port)).is_ok() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut rest = Vec::new();
    running.read_to_end(&mut rest).unwrap();
    assert_eq!(Answer::read(&[start, rest].concat()).body.len(), BIG);
    served.join();
}

#[tokio::test]
async fn a_store_that_fails_is_reported_without_a_word_about_who_asked() {
    let scene = scene().await;
    let served = Served::new(scene.store().await);
    let at = scene.root().join("metadata/timestamp.json");
    fs::remove_file(&at).unwrap();
    fs::write(&at, vec![b' '; (64 << 20) + 1]).unwrap();
    assert_eq!(served.get("/metadata/timestamp.json", &["X-Forwarded-For: 192.0.2.7"]).status, 503);
    let told = served.told.lock().unwrap().clone();
    assert_eq!(told, ["metadata/timestamp.json has 67108865 bytes, expected at most 67108864"]);
}

#[tokio::test]
async fn the_program_says_where_it_listens_ends_when_told_and_says_nothing_else() {
    let scene = scene().await;
    for signal in ["-TERM", "-INT"] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_wheelseal"))
            .args(["serve", "--listen", "127.0.0.1:0", "--repo"])
            .arg(scene.root())
            .env("XDG_STATE_HOME", scene.spool())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(program.stdout.take().unwrap());
        let mut url = String::new();
        stdout.read_line(&mut url).unwrap();
        let address = url.trim().strip_prefix("http://").unwrap().trim_end_matches('/');
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(Answer::read(&answer).status, 200);
        let killed = Command::new("kill").args([signal, &program.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let ended = program.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(0));
        let mut more = String::new();
        stdout.read_to_string(&mut more).unwrap();
        assert_eq!((more.as_str(), &*String::from_utf8_lossy(&ended.stderr)), ("", ""));
    }
}
