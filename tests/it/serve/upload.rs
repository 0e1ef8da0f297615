//! Uploads by the legacy API, byte by byte.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;
use wheelseal::python::ProjectName;
use wheelseal::repository::Publisher;
use wheelseal::server::{Limits, Tokens, UploadLimits, Uploads};

use super::form::{BOUNDARY, Form};
use super::{Answer, Served, scene};
use crate::scene::{ONLINE, Scene, keyring, now, wheel_bytes};

/// A repository that takes uploads of `alpha`, `beta` and `six`.
pub(super) struct Index {
    pub(super) scene: Scene,
    pub(super) served: Served,
    pub(super) token: String,
    /// Where uploads are written first, and the file of tokens.
    home: TempDir,
}

impl Index {
    async fn new() -> Self {
        Self::with(UploadLimits::default()).await
    }

    async fn with(limits: UploadLimits) -> Self {
        Self::over(scene().await, limits).await
    }

    pub(super) async fn over(scene: Scene, limits: UploadLimits) -> Self {
        let home = tempfile::tempdir().unwrap();
        let (folder, file) = (home.path().join("spool"), home.path().join("tokens.json"));
        fs::create_dir(&folder).unwrap();
        let projects: BTreeSet<ProjectName> =
            ["alpha", "beta", "six"].map(|name| name.parse().unwrap()).into();
        let (_, token) = Tokens::at(&file).create(Some(projects), None).unwrap();
        let (repository, keys) = (scene.open().await, keyring(&ONLINE).await);
        let served = Served::made(scene.store().await, Limits::default(), move |server, told| {
            let publisher = Publisher::start(repository, keys);
            let report = move |fault: &str| told.lock().unwrap().push(fault.to_owned());
            let server = server.found_at("https://packages.example".parse().unwrap());
            server.accepting(Uploads::new(publisher, Tokens::at(&file), folder, limits, now, report))
        });
        Self { scene, served, token: token.to_string(), home }
    }

    pub(super) fn head(&self, length: usize) -> String {
        let pair = STANDARD.encode(format!("__token__:{}", self.token));
        format!(
            "POST /legacy/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Basic {pair}\r\n\
             Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {length}\r\n\r\n"
        )
    }

    pub(super) fn send(&self, form: &Form) -> Answer {
        let body = form.bytes();
        Answer::read(&self.served.raw(&[self.head(body.len()).as_bytes(), &body].concat()))
    }

    /// The upload is refused so, the reason is in the status line too, and nothing was published or left behind.
    pub(super) fn refuses(&self, form: &Form, status: u16, text: &str) {
        let before = self.scene.files();
        let body = form.bytes();
        let raw = self.served.raw(&[self.head(body.len()).as_bytes(), &body].concat());
        let answer = Answer::read(&raw);
        assert_eq!((answer.status, answer.text()), (status, format!("{text}\n")));
        let line = String::from_utf8_lossy(&raw).lines().next().unwrap().to_owned();
        let start: String = text.chars().take(200).collect();
        assert!(line.contains(&start), "{line}");
        assert!(self.scene.files() == before, "something was published");
        self.spool_is_empty();
    }

    /// Soon: whoever read a file ahead may let go of it after the answer.
    pub(super) fn spool_is_empty(&self) {
        let spool = self.home.path().join("spool");
        let left = || fs::read_dir(&spool).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
        for _ in 0..500 {
            if left().is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{:?}", left());
    }
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

#[tokio::test]
async fn an_upload_is_published_before_it_is_answered() {
    let index = Index::new().await;
    let answer = index.send(&Form::of("beta", "1.0"));
    assert_eq!(
        (answer.status, answer.text()),
        (200, "published beta-1.0-py3-none-any.whl in snapshot 3\n".to_owned())
    );
    index.scene.assert_verifies("after an upload").await;
    assert!(index.served.get("/simple/beta/", &[]).text().contains("beta-1.0-py3-none-any.whl"));
    // The same again is no error: twine may have lost the answer.
    let again = index.send(&Form::of("beta", "1.0"));
    assert_eq!(
        (again.status, again.text()),
        (200, "beta-1.0-py3-none-any.whl was published already\n".to_owned())
    );
    index.spool_is_empty();
}

#[tokio::test]
async fn what_was_done_is_counted_and_nothing_of_who_asked() {
    let index = Index::new().await;
    index.send(&Form::of("beta", "1.0"));
    index.send(&Form::of("beta", "1.0"));
    index.send(&Form::of("gamma", "1.0"));
    let metrics = index.served.get("/metrics", &["User-Agent: somebody"]);
    assert_eq!(metrics.field("content-type"), "text/plain; version=0.0.4");
    let text = metrics.text();
    for line in [
        "wheelseal_uploads_total{outcome=\"published\"} 1",
        "wheelseal_uploads_total{outcome=\"unchanged\"} 1",
        "wheelseal_uploads_total{outcome=\"refused\"} 1",
        "wheelseal_uploads_total{outcome=\"failed\"} 0",
        "wheelseal_answers_total{status=\"2xx\"} 2",
        "wheelseal_answers_total{status=\"4xx\"} 1",
        "wheelseal_connections_total 4",
    ] {
        assert!(text.lines().any(|said| said == line), "no {line} in\n{text}");
    }
    assert!(!text.contains("somebody") && !text.contains("beta"), "{text}");
}

#[tokio::test]
async fn who_has_no_token_for_a_project_publishes_nothing() {
    let mut index = Index::new().await;
    index.refuses(&Form::of("gamma", "1.0"), 403, "this token is not for gamma");
    let need = "an upload needs a token: user name __token__, the token as password";
    index.token = format!("{}0", index.token);
    index.refuses(&Form::of("beta", "1.0"), 401, need);
    index.token = String::new();
    index.refuses(&Form::of("beta", "1.0"), 401, need);
    let without = "POST /legacy/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let answer = Answer::read(&index.served.raw(without.as_bytes()));
    assert_eq!((answer.status, answer.field("www-authenticate")), (401, "Basic realm=\"upload\""));
}

#[tokio::test]
async fn form_name_and_content_must_agree() {
    let index = Index::new().await;
    let form = || Form::of("beta", "1.0");
    let file = |name: &str| {
        let mut form = form();
        name.clone_into(&mut form.files[0].0);
        form
    };
    index.refuses(&form().set("name", "alpha"), 400, "the form says name \"alpha\", the file \"beta\"");
    index.refuses(&form().set("version", "1.1"), 400, "the form says version \"1.1\", the file \"1.0\"");
    index.refuses(
        &form().set("filetype", "sdist"),
        400,
        "the form says filetype \"sdist\", the file \"bdist_wheel\"",
    );
    let digest = form().fields.iter().find(|(name, _)| name == "sha256_digest").unwrap().1.clone();
    let zeros = "0".repeat(64);
    let wrong = format!("the form says sha256_digest {zeros:?}, the file {digest:?}");
    index.refuses(&form().set("sha256_digest", &zeros), 400, &wrong);
    index.refuses(&form().set(":action", "submit"), 400, "the action is \"submit\", expected file_upload");
    index.refuses(&form().set("protocol_version", "2"), 400, "the protocol is \"2\", expected 1");
    // The wheel says in its metadata what it is.
    let renamed = index.send(&file("beta-2.0-py3-none-any.whl").set("version", "2.0"));
    assert_eq!(renamed.status, 400, "{}", renamed.text());
    index.spool_is_empty();
}

#[tokio::test]
async fn published_content_never_changes() {
    let index = Index::new().await;
    let mut form = Form::of("alpha", "1.0").set("sha256_digest", "");
    form.files[0].1 = wheel_bytes("alpha", "1.0", "evil = 1\n");
    let answer = index.send(&form);
    assert_eq!(answer.status, 409, "{}", answer.text());
    assert!(answer.text().contains("is published already with SHA-256"), "{}", answer.text());
}

#[tokio::test]
async fn shapes_that_are_no_form_of_one_file_are_refused() {
    let index = Index::new().await;
    let mut none = Form::of("beta", "1.0");
    none.files.clear();
    index.refuses(&none, 400, "the form has no field content");
    let mut two = Form::of("beta", "1.0");
    two.files.push(two.files[0].clone());
    index.refuses(&two, 400, "there are two files in the form");
    let mut twice = Form::of("beta", "1.0");
    twice.fields.push(("name".to_owned(), "beta".to_owned()));
    index.refuses(&twice, 400, "the field name is there twice");
    for name in ["../beta-1.0-py3-none-any.whl", "/etc/passwd", "beta", ""] {
        let mut form = Form::of("beta", "1.0");
        name.clone_into(&mut form.files[0].0);
        let answer = index.send(&form);
        assert_eq!(answer.status, 400, "{name}: {}", answer.text());
    }
    let long = Form::of("beta", "1.0").set("description", &"x".repeat(5 * 1024 * 1024));
    index.refuses(&long, 400, "a field has more than 4194304 bytes");
    let head = index.head(2).replace("multipart/form-data", "text/plain");
    let answer = Answer::read(&index.served.raw(format!("{head}xx").as_bytes()));
    assert_eq!((answer.status, answer.text()), (400, "it is no multipart form\n".to_owned()));
    index.spool_is_empty();
}

#[tokio::test]
async fn a_form_in_which_no_field_begins_is_given_up_long_before_its_end() {
    // Looking through megabytes again and again takes its time on a busy machine.
    let limits = UploadLimits { stall: Duration::from_mins(5), ..UploadLimits::default() };
    let index = Index::with(limits).await;
    let head = index.head(50_000_000);
    let noise = vec![b'x'; 24_000_000];
    let raw = index.served.raw(&[head.as_bytes(), &noise].concat());
    assert_eq!(Answer::read(&raw).status, 400, "{}", String::from_utf8_lossy(&raw));
    let endless = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; x=\"");
    let raw = index.served.raw(&[head.as_bytes(), endless.as_bytes(), &noise].concat());
    assert_eq!(Answer::read(&raw).status, 400, "{}", String::from_utf8_lossy(&raw));
    index.spool_is_empty();
}

#[tokio::test]
async fn a_file_that_is_too_large_is_not_kept() {
    let limits = UploadLimits { file: 1_000, ..UploadLimits::default() };
    let index = Index::with(limits).await;
    let mut form = Form::of("beta", "1.0");
    form.files[0].1 = vec![0; 1_001];
    index.refuses(&form, 413, "a file may have 1000 bytes");
    // One that says so in its head is not even read.
    let answer = Answer::read(&index.served.raw(index.head(100_000_000).as_bytes()));
    assert_eq!(answer.status, 413);
}

#[tokio::test]
async fn an_upload_cut_at_any_byte_leaves_nothing() {
    let index = Index::new().await;
    let before = index.scene.files();
    let body = Form::of("beta", "1.0").bytes();
    let whole = [index.head(body.len()).into_bytes(), body].concat();
    for at in (0..whole.len()).step_by(whole.len() / 40) {
        let mut stream = index.served.connect();
        stream.write_all(&whole[..at]).unwrap();
        stream.shutdown(std::net::Shutdown::Both).unwrap();
    }
    let answer = index.send(&Form::of("beta", "1.0"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(
        answer.text().ends_with("in snapshot 3\n"),
        "a part of an upload was published: {}",
        answer.text()
    );
    assert_ne!(index.scene.files(), before);
    index.spool_is_empty();
}

#[tokio::test]
async fn an_upload_that_stands_still_is_given_up() {
    let limits = UploadLimits { stall: Duration::from_millis(200), ..UploadLimits::default() };
    let index = Index::with(limits).await;
    let body = Form::of("beta", "1.0").bytes();
    let mut stream = index.served.connect();
    stream.write_all(index.head(body.len()).as_bytes()).unwrap();
    stream.write_all(&body[..body.len() / 2]).unwrap();
    let mut answer = Vec::new();
    drop(std::io::Read::read_to_end(&mut stream, &mut answer));
    assert_eq!(Answer::read(&answer).text(), "nothing came for too long\n");
    index.spool_is_empty();
}

#[tokio::test]
async fn one_token_cannot_upload_without_end() {
    let limits = UploadLimits { per_minute: 2, ..UploadLimits::default() };
    let index = Index::with(limits).await;
    for version in ["1.0", "1.1"] {
        assert_eq!(index.send(&Form::of("beta", version)).status, 200);
    }
    index.refuses(&Form::of("beta", "1.2"), 429, "too many uploads: try again in a minute");
}

#[tokio::test]
async fn a_hundred_uploads_at_once_lose_none() {
    let index = Arc::new(Index::new().await);
    let threads: Vec<_> = (0..100)
        .map(|number| {
            let index = Arc::clone(&index);
            std::thread::spawn(move || index.send(&Form::of("beta", &format!("1.{number}"))).status)
        })
        .collect();
    let statuses: Vec<u16> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(statuses, [200; 100]);
    let page = index.served.get("/simple/beta/", &["Accept: application/vnd.pypi.simple.v1+json"]);
    let page: serde_json::Value = serde_json::from_slice(&page.body).unwrap();
    assert_eq!(page["files"].as_array().unwrap().len(), 100);
    index.scene.assert_verifies("after a hundred uploads").await;
    index.spool_is_empty();
}

#[tokio::test]
async fn the_operator_learns_of_a_fault_and_the_uploader_does_not() {
    let index = Index::new().await;
    let file = index.home.path().join("tokens.json");
    fs::write(&file, "{ \"format\": \"something else\"").unwrap();
    index.refuses(&Form::of("beta", "1.0"), 503, "the index cannot publish at the moment");
    let told = index.served.told.lock().unwrap().join("\n");
    assert!(told.contains(&file.display().to_string()), "{told}");
}
