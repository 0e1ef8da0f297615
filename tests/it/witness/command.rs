//! `witness` at a shell: made, told of logs, served as a process, looked at.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use super::{Log, NAME, ORIGIN, post, text};
use crate::serve::Answer;
use crate::shell::Home;

/// A running `witness serve`, until it is dropped.
pub(super) struct Running {
    child: Child,
    pub(super) url: String,
}

impl Running {
    pub(super) fn new(home: &Home, folder: &str) -> Self {
        let mut command = home.command(&[], &["witness", "serve", folder, "--listen", "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Self { child, url: url.trim_end().to_owned() }
    }

    fn post(&self, body: &str) -> Answer {
        use std::io::{Read, Write};
        let address = self.url.trim_start_matches("http://").trim_end_matches('/');
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(&post(body.as_bytes())).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        Answer::read(&answer)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Makes a key and a witness of this name; its vkey.
pub(super) fn made(home: &Home, folder: &str, name: &str) -> String {
    let key = format!("{folder}.pem");
    home.run(&["key", "gen", "--no-passphrase", &key]).fine();
    home.run(&["witness", "init", folder, "--name", name, "--key", &key]).fine();
    let status: serde_json::Value =
        serde_json::from_str(&home.run(&["--json", "witness", "status", folder]).fine()).unwrap();
    status["vkey"].as_str().unwrap().to_owned()
}

#[test]
fn a_witness_is_made_told_of_logs_and_served() {
    let home = Home::new();
    let vkey = made(&home, "w1", NAME);
    assert!(vkey.starts_with(&format!("{NAME}+")));
    let log = Log::new(ORIGIN, 9);
    let running = Running::new(&home, "w1");
    assert_eq!(running.post(&log.request(0, 5)).status, 404);
    // While it runs.
    home.run(&["witness", "log", "add", "w1", &log.pair.key.to_string()]).fine();
    let answer = running.post(&log.request(0, 5));
    assert_eq!(answer.status, 200, "{}", text(&answer));
    assert!(
        super::time_of(&vkey.parse().unwrap(), &log.checkpoint(5), text(&answer)).unwrap() > 1_700_000_000
    );
    let status = home.run(&["--json", "witness", "status", "w1"]).fine();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["logs"][0]["origin"], ORIGIN);
    assert_eq!(status["logs"][0]["size"], 5);
    assert_eq!(status["logs"][0]["root_hash"], log.root(5).to_string());
    assert_eq!(status["logs"][0]["forks"], 0);
    home.run(&["witness", "log", "remove", "w1", ORIGIN]).fine();
    assert_eq!(running.post(&log.request(5, 9)).status, 404);
    assert_eq!(home.run(&["--json", "witness", "log", "list", "w1"]).fine().trim(), "[]");
}

#[test]
fn what_goes_wrong_at_the_shell_is_said() {
    let home = Home::new();
    made(&home, "w1", NAME);
    let log = Log::new(ORIGIN, 1).pair.key.to_string();
    home.run(&["witness", "status", "nowhere"]).refused(2, &["there is no witness here"]);
    home.run(&["witness", "init", "w1", "--name", NAME, "--key", "w1.pem"])
        .refused(2, &["there is a witness here already"]);
    home.run(&["witness", "init", "w2", "--name", "a name", "--key", "w1.pem"])
        .refused(2, &["the key name is \"a name\""]);
    home.run(&["key", "gen", "--no-passphrase", "--type", "ecdsa", "p256.pem"]).fine();
    home.run(&["witness", "init", "w2", "--name", NAME, "--key", "p256.pem"])
        .refused(2, &["witnesses cosign with Ed25519 alone"]);
    let own = std::fs::read_to_string(home.work().join("w1/witness.toml")).unwrap();
    let own = own.split('"').find(|text| text.starts_with(NAME)).unwrap().to_owned();
    home.run(&["witness", "log", "add", "w1", &own]).refused(2, &["expected a log's (kind 0x01)"]);
    home.run(&["witness", "log", "add", "w1", &log]).fine();
    home.run(&["witness", "log", "add", "w1", &log]).refused(2, &["are the same key"]);
    home.run(&["witness", "log", "add", "w1", "nonsense"]).refused_usage("is no verifier key");
    home.run(&["witness", "log", "remove", "w1", "other"])
        .refused(2, &["this witness knows no log \"other\""]);
    home.run(&["key", "gen", "--no-passphrase", "other.pem"]).fine();
    home.run(&["witness", "serve", "w1", "--key", "other.pem"])
        .refused(1, &["the witness's key cannot sign"]);
}
