//! The program: what it prints, whom it tells, how it ends.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use serde_json::Value;

use super::Index;
use crate::scene::wheel_bytes;
use crate::shell::Home;

/// What a webhook was sent, and how often it refuses before it takes something.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) messages: Vec<String>,
    refusals: usize,
}

pub(crate) async fn webhook(refusals: usize) -> (String, Arc<Mutex<Told>>) {
    let told = Arc::new(Mutex::new(Told { refusals, ..Told::default() }));
    let take = |State(told): State<Arc<Mutex<Told>>>, body: String| async move {
        let mut told = told.lock().unwrap();
        if told.refusals > 0 {
            told.refusals -= 1;
            return StatusCode::BAD_GATEWAY;
        }
        told.messages.push(body);
        StatusCode::NO_CONTENT
    };
    let app = Router::new().route("/secret", post(take)).with_state(Arc::clone(&told));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/secret", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, told)
}

pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_ends_once_with_9_and_is_told_on_stderr_as_json_and_to_the_webhook() {
    let index = Index::new().await;
    index.lists("six", &[index.wheel("six", "1.0", "x = 1")]);
    let ((hook, told), url) = (webhook(0).await, index.url.clone());
    let home = blocking(|| {
        let home = Home::new();
        home.init(&["--bins", "2"]).fine();
        home
    })
    .await;
    let home = Arc::new(home);
    let record = move |more: &'static [&'static str]| {
        let (home, url, hook) = (Arc::clone(&home), url.clone(), hook.clone());
        blocking(move || {
            let line = ["record", "--repo", "repo", "--once", "--allow-private", "--index", &url];
            home.run(&[&line[..], &["--webhook", &hook], more].concat())
        })
    };
    let said: Value = serde_json::from_str(&record(&["--json"]).await.fine()).unwrap();
    assert_eq!((&said["recorded"], &said["conflicts"]), (&1.into(), &0.into()));
    assert_eq!(told.lock().unwrap().messages.len(), 0);
    index.lists("six", &[index.wheel("six", "1.0", "evil")]);
    let ran = record(&["--json"]).await;
    ran.refused(9, &["conflict six/six-1.0-py3-none-any.whl: SHA-256", "1 conflict(s)"]);
    let said: Value = serde_json::from_str(&ran.stdout).unwrap();
    let found = hex::encode(wheelseal::crypto::sha256(&wheel_bytes("six", "1.0", "evil")));
    assert_eq!(said["new_conflicts"][0]["found"]["sha256"], found.as_str());
    let messages = told.lock().unwrap().messages.clone();
    assert_eq!(messages.len(), 1);
    let message: Value = serde_json::from_str(&messages[0]).unwrap();
    assert_eq!(message["conflicts"], said["new_conflicts"]);
    assert_eq!(message["text"], "wheelseal record: conflict: six/six-1.0-py3-none-any.whl");
    assert!(record(&[]).await.fine().starts_with("recorded 0 files; 0 pages of 1 projects were read\n"));
    index.lists("six", &[super::listed("six-3.0.zip", b"not there")]);
    record(&[]).await.refused(7, &["1 files or pages could not be had"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_fails_is_told_again_and_its_address_is_not_shown() {
    let index = Index::new().await;
    index.lists("six", &[index.wheel("six", "1.0", "x = 1")]);
    let ((hook, told), url) = (webhook(1).await, index.url.clone());
    let home = blocking(|| {
        let home = Home::new();
        home.init(&["--bins", "2"]).fine();
        home
    })
    .await;
    let line = [
        "record",
        "--repo",
        "repo",
        "--allow-private",
        "--every",
        "1",
        "--metrics",
        "127.0.0.1:0",
        "--index",
        &url,
    ];
    let mut command = home.command(&[], &line);
    command.env("WHEELSEAL_WEBHOOK", &hook).stderr(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let stderr = child.stderr.take().unwrap();
    let (lines, noted) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        use std::io::BufRead;
        for line in std::io::BufReader::new(stderr).lines().map_while(Result::ok) {
            drop(lines.send(line));
        }
    });
    let wait_for = |text: &'static str| loop {
        let line = noted.recv_timeout(Duration::from_mins(1)).unwrap();
        assert!(!line.contains("secret"), "{line}");
        if line.contains(text) {
            return line;
        }
    };
    let metrics = wait_for("metrics at ").split_once("metrics at ").unwrap().1.to_owned();
    wait_for("snapshot");
    index.lists("six", &[index.wheel("six", "1.0", "evil")]);
    assert!(wait_for("the webhook failed").contains("the server answered 502; it will be tried again"));
    while told.lock().unwrap().messages.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let read = || async { reqwest_get(&metrics).await };
    let mut text = read().await;
    while !text.contains("wheelseal_record_unsent_conflicts 0\n") {
        text = read().await;
    }
    assert!(text.contains("wheelseal_record_conflicts 1\n"), "{text}");
    assert!(text.contains("wheelseal_record_files_total 1\n"), "{text}");
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(child.id().try_into().unwrap()).unwrap(),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    assert!(child.wait().unwrap().success());
}

/// The body of a plain HTTP answer.
async fn reqwest_get(url: &str) -> String {
    let http = wheelseal::client::Http::new(super::timing()).unwrap();
    let mut body = Vec::new();
    http.file(url, 1 << 20, &mut body).await.unwrap();
    String::from_utf8(body).unwrap()
}

#[test]
fn what_no_round_could_do_is_refused_before_the_index_is_asked() {
    let home = Home::with_repository();
    let record = |index: &str| home.run(&["record", "--repo", "repo", "--once", "--index", index]);
    record("ftp://127.0.0.1/simple/").refused(2, &["neither http nor https"]);
    record("http://192.0.2.1/simple/?x").refused(2, &["a query or fragment"]);
    home.run(&["record", "--repo", "nowhere", "--once", "--index", "http://192.0.2.1/"])
        .refused(2, &["nowhere"]);
    std::fs::remove_file(home.work().join("repo/wheelseal.toml")).unwrap();
    record("http://192.0.2.1/simple/").refused(2, &["wheelseal.toml"]);
}
