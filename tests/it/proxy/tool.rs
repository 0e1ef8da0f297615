//! A tool as pip or uv is one: it asks the proxy for a tunnel, and speaks TLS in it, trusting the run's CA alone.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The status phrase.
    pub(super) phrase: String,
    /// Names in lower case.
    pub(super) fields: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The reason in the problem document.
    pub(super) fn detail(&self) -> String {
        assert_eq!(self.field("content-type"), "application/problem+json");
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem["status"], self.status);
        problem["detail"].as_str().unwrap().to_owned()
    }

    pub(super) fn read(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.lines();
        let mut line = lines.next().unwrap().splitn(3, ' ').skip(1);
        let status = line.next().unwrap().parse().unwrap();
        let phrase = line.next().unwrap_or_default().to_owned();
        let fields = lines.map(|line| line.split_once(':').unwrap());
        let fields =
            fields.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        Self { status, phrase, fields, body: bytes[end + 4..].to_vec() }
    }
}

/// What a tool finds in its environment, and the time on its clock.
#[derive(Debug, Clone)]
pub(super) struct Tool {
    pub(super) port: u16,
    pub(super) word: String,
    pub(super) authority: String,
    pub(super) time: DateTime<Utc>,
}

#[derive(Debug)]
struct At(DateTime<Utc>);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.timestamp().try_into().ok()?)))
    }
}

impl Tool {
    pub(super) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends bytes as they are and reads until the proxy closes.
    pub(super) fn raw(&self, request: &[u8]) -> Vec<u8> {
        exchange(self.connect(), request)
    }

    /// The field that proves it is the command's.
    pub(super) fn login(&self) -> String {
        format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(format!("wheelseal:{}", self.word)))
    }

    /// A tunnel to a server, or why there is none.
    pub(super) fn tunnel(&self, host: &str) -> Result<TcpStream, Answer> {
        let mut stream = self.connect();
        let request = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n{}\r\n", self.login());
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let mut answer = Answer::read(&head);
        if answer.status == 200 {
            return Ok(stream);
        }
        answer.body = vec![0; answer.field("content-length").parse().unwrap()];
        stream.read_exact(&mut answer.body).unwrap();
        Err(answer)
    }

    /// TLS with a server in a tunnel; it must have a certificate for `name`.
    pub(super) fn tls(
        &self,
        host: &str,
        name: &str,
    ) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(der(&self.authority)).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_details(provider, Arc::new(At(self.time)));
        let config = config.with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = StreamOwned::new(connection, self.tunnel(host).unwrap());
        stream.flush()?;
        Ok(stream)
    }

    /// One request to the index, by TLS, with these header lines.
    pub(super) fn ask(&self, method: &str, path: &str, fields: &[&str]) -> Answer {
        let request = request(method, path, "index.test", fields);
        Answer::read(&exchange(self.tls(super::HOST, "index.test").unwrap(), request.as_bytes()))
    }

    pub(super) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[])
    }

    /// One request without TLS, to the port itself.
    pub(super) fn plain(&self, method: &str, path: &str, host: &str, fields: &[&str]) -> Answer {
        Answer::read(&self.raw(request(method, path, host, fields).as_bytes()))
    }
}

pub(super) fn request(method: &str, path: &str, host: &str, fields: &[&str]) -> String {
    let fields: String = fields.iter().flat_map(|field| [*field, "\r\n"]).collect();
    format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\r\n")
}

pub(super) fn exchange(mut stream: impl Read + Write, request: &[u8]) -> Vec<u8> {
    // Who refuses early may close before having read everything, and without a word of farewell.
    drop(stream.write_all(request));
    drop(stream.flush());
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    answer
}

fn der(pem: &str) -> CertificateDer<'static> {
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    CertificateDer::from(STANDARD.decode(base64).unwrap())
}
