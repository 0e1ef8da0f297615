//! The built program, serving with a journal; and what happens to that when it is killed or not alone.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use wheelseal::journal::{Event, Filter, Kind};

use super::journal;
use crate::scene::{example, wheel_bytes, wheel_name};
use crate::serve::Answer;
use crate::shell::{Home, shown};

/// The running program.
pub(super) struct Program {
    child: Child,
    out: BufReader<ChildStdout>,
    address: String,
    pub(super) url: String,
}

impl Program {
    pub(super) fn start(home: &Home, more: &[&str]) -> Self {
        let key = shown(&example("online"));
        let line = [
            "serve",
            "--repo",
            "repo",
            "--listen",
            "127.0.0.1:0",
            "--tokens",
            "tokens.json",
            "--key",
            &key,
            "--journal",
            "journal",
            "--journal-key",
            "keys.json",
            "--trusted-proxy",
            "127.0.0.1",
            "--country-header",
            "X-Country",
            "--city-header",
            "X-City",
            "--spool",
            "spool",
        ];
        let mut command = home.command(&[], &[&line, more].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut url = String::new();
        out.read_line(&mut url).unwrap();
        let address = url.trim().trim_start_matches("http://").trim_end_matches('/').to_owned();
        Self { child, out, address, url }
    }

    pub(super) fn ask(&self, request: &[u8]) -> Answer {
        Answer::read(&self.sent(request))
    }

    fn sent(&self, request: &[u8]) -> Vec<u8> {
        let mut answer = Vec::new();
        if let Ok(mut stream) = TcpStream::connect(&self.address) {
            drop(stream.write_all(request));
            drop(stream.read_to_end(&mut answer));
        }
        answer
    }

    /// Uploads a version of `alpha`. Whether the program said that it is published.
    fn publishes(&self, token: &str, version: &str) -> bool {
        let bytes = wheel_bytes("alpha", version, "x = 1\n");
        let part = |name: &str, value: &str| {
            format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let fields = [
            part(":action", "file_upload"),
            part("protocol_version", "1"),
            part("name", "alpha"),
            part("version", version),
            part("filetype", "bdist_wheel"),
        ];
        let name = wheel_name("alpha", version);
        let head = format!(
            "--edge\r\nContent-Disposition: form-data; name=\"content\"; filename=\"{name}\"\r\n\r\n"
        );
        let body = [fields.concat().as_bytes(), head.as_bytes(), &bytes, b"\r\n--edge--\r\n"].concat();
        let pair = STANDARD.encode(format!("__token__:{token}"));
        let head = format!(
            "POST /legacy/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Basic {pair}\r\n\
             Content-Type: multipart/form-data; boundary=edge\r\nContent-Length: {}\r\nX-Forwarded-For: 203.0.113.5\r\n\r\n",
            body.len()
        );
        self.sent(&[head.as_bytes(), &body].concat()).starts_with(b"HTTP/1.1 200 ")
    }

    /// Ends it. Everything that it printed.
    pub(super) fn end(mut self) -> Vec<u8> {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let mut printed = Vec::new();
        self.out.read_to_end(&mut printed).unwrap();
        self.child.stderr.take().unwrap().read_to_end(&mut printed).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        printed
    }
}

fn token(home: &Home) -> String {
    std::fs::create_dir(home.work().join("spool")).unwrap();
    let line = ["token", "create", "--tokens", "tokens.json", "--project", "alpha", "--journal", "journal"];
    home.run(&line).fine().trim().to_owned()
}

fn events(home: &Home, kind: Kind) -> Vec<Event> {
    let found = journal(&home.work()).read(&Filter { kind: Some(kind), ..Filter::default() }).unwrap();
    assert_eq!(found.unreadable, 0);
    found.events
}

#[test]
fn two_servers_share_a_journal_and_one_that_is_killed_leaves_it_whole() {
    let home = Home::with_repository();
    let token = token(&home);
    let (mut doomed, other) = (Program::start(&home, &[]), Program::start(&home, &[]));
    let versions = |major: u32| (0..6).map(move |minor| format!("{major}.{minor}"));
    let published = std::thread::scope(|scope| {
        let upload = scope.spawn(|| versions(3).filter(|version| other.publishes(&token, version)).count());
        for version in versions(2).take(2) {
            assert!(doomed.publishes(&token, &version));
        }
        // Killed with one upload on its way.
        let last = scope.spawn(|| doomed.publishes(&token, "2.9"));
        let killed = Command::new("kill").args(["-KILL", &doomed.child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        last.join().unwrap();
        upload.join().unwrap()
    });
    doomed.child.wait().unwrap();
    assert_eq!(published, 6);
    other.end();
    let uploads = events(&home, Kind::Upload);
    let of = |prefix: &str| {
        let names = uploads.iter().map(|event| event.file().unwrap().to_string());
        names.filter(|name| name.starts_with(prefix)).count()
    };
    assert_eq!(of("alpha-3."), 6, "the other server wrote all of its own down");
    assert!(of("alpha-2.") <= 3);
    // Both used the one key, so the two are seen to come from one place.
    let places: std::collections::BTreeSet<_> =
        uploads.iter().map(|event| event.origin.address.clone()).collect();
    assert!(places.len() == 1 && !places.contains(&None), "{places:?}");
}

#[test]
fn tokens_that_are_made_and_taken_away_are_written_down() {
    let home = Home::with_repository();
    let token = token(&home);
    let id = super::account(&token);
    home.run(&["token", "revoke", "--tokens", "tokens.json", "--journal", "journal", &id]).fine();
    let told: Vec<_> = events(&home, Kind::Token)
        .iter()
        .map(|event| (event.what(), event.account().unwrap().to_string()))
        .collect();
    assert_eq!(told, [("created", id.clone()), ("revoked", id)]);
    assert!(
        !std::fs::read_to_string(journal_file(&home)).unwrap().contains(token.rsplit('-').next().unwrap())
    );
}

fn journal_file(home: &Home) -> std::path::PathBuf {
    let mut files =
        std::fs::read_dir(home.work().join("journal")).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.display().to_string().contains("token-")).unwrap()
}

#[test]
fn a_journal_in_the_repository_or_without_a_key_is_refused() {
    let home = Home::with_repository();
    let serve =
        |more: &[&str]| home.run(&[&["serve", "--repo", "repo", "--listen", "127.0.0.1:0"], more].concat());
    serve(&["--journal", "journal"]).refused_usage("--journal-key");
    serve(&["--journal", "repo/journal", "--journal-key", "keys.json"])
        .refused(1, &["keep repository, journal and journal key apart"]);
    serve(&["--journal", "journal", "--journal-key", "repo/keys.json"])
        .refused(1, &["keep repository, journal and journal key apart"]);
    serve(&["--journal", "journal", "--journal-key", "journal/keys.json"])
        .refused(1, &["keep repository, journal and journal key apart"]);
    serve(&["--country-header", "X-Country"]).refused_usage("--trusted-proxy");
    serve(&["--trusted-proxy", "proxy.example"]).refused_usage("an address or a network such as 10.0.0.0/8");
    assert!(!home.work().join("repo/journal").exists() && !home.work().join("repo/keys.json").exists());
}
