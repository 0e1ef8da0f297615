//! What a tool gets: pages and files in every form, verified.

use std::fs;

use wheelseal::crypto::sha256;
use wheelseal::python::{Predicate, Provenance};
use wheelseal::repository::Edit;

use super::{HOST, PAGE_PATH, Setup, Stage, WHEEL, WHEEL_PATH};
use crate::claims::added;
use crate::scene::{files_below, wheel_bytes};
use crate::serve::attested::attestation;

const JSON: &str = "application/vnd.pypi.simple.v1+json";

#[tokio::test]
async fn a_page_is_the_signed_one_as_json_and_as_html() {
    let stage = Stage::new().await;
    let running = stage.forward(&Setup::default());
    let signed = |name: &str| fs::read(stage.scene.root().join("simple/alpha").join(name)).unwrap();
    let json = running.tool.ask("GET", PAGE_PATH, &[&format!("Accept: {JSON}")]);
    assert_eq!((json.status, json.field("content-type")), (200, JSON));
    let page = String::from_utf8(signed("index.json")).unwrap();
    assert_eq!(json.text(), page);
    assert!(!page.contains("dist-info-metadata"), "the old name breaks pip 22.3 and 23.0");
    let html = running.tool.get(PAGE_PATH);
    assert_eq!((html.status, html.field("content-type")), (200, "text/html; charset=utf-8"));
    assert_eq!(html.body, signed("index.html"));
    for page in [&json, &html] {
        assert_eq!((page.field("cache-control"), page.field("vary")), ("no-cache", "Accept"));
    }
    assert_ne!(json.field("etag"), html.field("etag"));
    assert_eq!(running.tool.get("/root/simple/alpha/index.json").body, json.body);
    let seen = format!("If-None-Match: {}", html.field("etag"));
    let again = running.tool.ask("GET", PAGE_PATH, &[&seen]);
    assert_eq!((again.status, again.body.len()), (304, 0));
    assert_eq!(running.tool.ask("GET", PAGE_PATH, &["Accept: image/png"]).status, 406);
}

#[tokio::test]
async fn a_file_and_its_metadata_come_whole_or_in_parts() {
    let stage = Stage::new().await;
    let running = stage.forward(&Setup::default());
    let expected = fs::read(stage.scene.root().join("targets/alpha").join(WHEEL)).unwrap();
    let file = running.tool.get(WHEEL_PATH);
    assert_eq!((file.status, &file.body), (200, &expected));
    assert_eq!(file.field("cache-control"), "private, max-age=31536000, immutable");
    assert_eq!(
        (file.field("accept-ranges"), file.field("content-type")),
        ("bytes", "application/octet-stream")
    );
    assert_eq!(file.field("etag"), format!("\"{}\"", hex::encode(sha256(&expected))));
    let tag = file.field("etag");
    let part = running.tool.ask("GET", WHEEL_PATH, &["Range: bytes=10-19", &format!("If-Range: {tag}")]);
    assert_eq!((part.status, part.body.as_slice()), (206, &expected[10..20]));
    assert_eq!(part.field("content-range"), format!("bytes 10-19/{}", expected.len()));
    let end = running.tool.ask("GET", WHEEL_PATH, &["Range: bytes=-22"]);
    assert_eq!(end.body, expected[expected.len() - 22..]);
    assert_eq!(running.tool.ask("GET", WHEEL_PATH, &["Range: bytes=1-2", "If-Range: \"x\""]).body, expected);
    let beyond = running.tool.ask("GET", WHEEL_PATH, &["Range: bytes=99999-"]);
    assert_eq!(
        (beyond.status, beyond.field("content-range")),
        (416, &*format!("bytes */{}", expected.len()))
    );
    assert_eq!(running.tool.ask("GET", WHEEL_PATH, &[&format!("If-None-Match: {tag}")]).status, 304);
    let head = running.tool.ask("HEAD", WHEEL_PATH, &[]);
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.field("content-length"), expected.len().to_string());
    let metadata = running.tool.get(&format!("{WHEEL_PATH}.metadata"));
    assert!(metadata.text().starts_with("Metadata-Version: "), "{}", metadata.text());
    assert_eq!(running.refused(), [""; 0]);
}

#[tokio::test]
async fn attestations_come_verified_and_pages_name_where() {
    let stage = Stage::new().await;
    let added = added(stage.scene.add("beta", "1.0", "x = 1\n"));
    let name = "beta-1.0-py3-none-any.whl";
    let text = attestation(name, &wheel_bytes("beta", "1.0", "x = 1\n"), Predicate::Publish);
    let added = added.attested(|name, sha256| Provenance::of(&format!("[{text}]"), name, sha256)).unwrap();
    stage.scene.publish(&[Edit::Add(Box::new(added))]).await.unwrap();
    let object = fs::read(stage.scene.root().join(format!("targets/beta/{name}.provenance"))).unwrap();
    let path = format!("/root/targets/beta/{name}.provenance");

    let running = stage.forward(&Setup::default());
    let page = running.tool.ask("GET", "/root/simple/beta/", &[&format!("Accept: {JSON}")]).text();
    let page: serde_json::Value = serde_json::from_str(&page).unwrap();
    assert_eq!(page["files"][0]["provenance"], format!("https://index.test{path}"));
    assert_eq!(running.tool.get(&path).body, object);
    let none = running.tool.get(&format!("{WHEEL_PATH}.provenance"));
    assert_eq!(none.status, 404, "that there are no attestations is no refusal");

    // The password in the address of a trust is not part of any address that a page names.
    let index = "https://ann:secret@index.test/root/simple/".to_owned();
    let known = stage.forward(&Setup { index, ..Setup::default() });
    let page = known.tool.ask("GET", "/root/simple/beta/", &[&format!("Accept: {JSON}")]).text();
    assert!(page.contains(&format!("\"https://index.test{path}\"")) && !page.contains("secret"), "{page}");

    let reverse = stage.reverse(&Setup::default());
    let html = reverse.tool.plain("GET", "/mine/simple/beta/", "localhost:1", &[]).text();
    let at = format!("http://127.0.0.1:{}/mine/targets/beta/{name}.provenance", reverse.tool.port);
    assert!(html.contains(&format!("data-provenance=\"{at}\"")), "{html}");

    stage.lie(&stage.hashed(&format!("beta/{name}.provenance")), &b"x".repeat(object.len()));
    fs::remove_dir_all(stage.home.path().join("cache")).unwrap();
    let anew = stage.forward(&Setup::default());
    assert_eq!(anew.tool.get(&path).status, 403);
}

#[tokio::test]
async fn a_lock_files_address_is_verified_without_its_page_and_whatever_its_folder() {
    let stage = Stage::new().await;
    let running = stage.forward(&Setup::default());
    let expected = fs::read(stage.scene.root().join("targets/alpha").join(WHEEL)).unwrap();
    assert_eq!(running.tool.get(&format!("/root/packages/00/ff/{WHEEL}")).body, expected);
    assert!(!stage.asked().iter().any(|path| path.contains("simple")));
}

#[tokio::test]
async fn names_that_are_not_normalized_lead_to_the_page() {
    let stage = Stage::new().await;
    let running = stage.forward(&Setup::default());
    for (path, to) in [("/root/simple/Alpha/", "../alpha/"), ("/root/simple/alpha", "alpha/")] {
        let moved = running.tool.get(path);
        assert_eq!((moved.status, moved.field("location")), (301, to), "{path}");
    }
}

#[tokio::test]
async fn what_nobody_signs_is_an_answer_for_pages_and_a_refusal_for_files() {
    let stage = Stage::new().await;
    let running = stage.forward(&Setup::default());
    let page = running.tool.get("/root/simple/beta/");
    assert_eq!((page.status, page.detail().as_str()), (404, "beta: mine does not sign it"));
    assert_eq!(running.tool.get("/root/simple/").status, 404);
    assert_eq!(running.tool.get("/elsewhere/simple/alpha/").status, 404);
    assert_eq!(running.refused(), [""; 0]);
    let file = running.tool.get("/root/targets/alpha/alpha-9.9-py3-none-any.whl");
    let why = "no role of the repository signs \"alpha/alpha-9.9-py3-none-any.whl\"";
    assert_eq!(file.status, 403);
    assert_eq!(file.phrase, format!("wheelseal refused alpha-9.9-py3-none-any.whl: {why}"));
    assert_eq!(running.refused(), [format!("alpha-9.9-py3-none-any.whl: {why}")]);
}

#[tokio::test]
async fn one_snapshot_for_the_whole_run() {
    let stage = Stage::new().await;
    let running = stage.forward(&Setup::default());
    let before = running.tool.get(PAGE_PATH);
    stage.scene.publish(&[stage.scene.add("alpha", "1.1", "x = 2\n")]).await.unwrap();
    assert_eq!(running.tool.get(PAGE_PATH).body, before.body);
    assert_eq!(running.tool.get("/root/x/alpha-1.1-py3-none-any.whl").status, 403);
    let timestamps = stage.asked().iter().filter(|path| path.ends_with("/timestamp.json")).count();
    assert_eq!(timestamps, 1);
    let anew = stage.forward(&Setup::default());
    assert!(anew.tool.get(PAGE_PATH).text().contains("alpha-1.1-py3-none-any.whl"));
}

#[tokio::test]
async fn a_verified_file_is_fetched_once_for_all_runs() {
    let stage = Stage::new().await;
    let first = stage.forward(&Setup::default());
    let body = first.tool.get(WHEEL_PATH).body;
    let hashed = format!("/{}", stage.hashed(&format!("alpha/{WHEEL}")));
    assert!(stage.asked().contains(&hashed));
    assert_eq!(first.tool.get(WHEEL_PATH).body, body);
    first.settle().await;
    let second = stage.forward(&Setup::default());
    assert_eq!(second.tool.get(WHEEL_PATH).body, body);
    assert!(!stage.asked().contains(&hashed));
    let fetched = |journal: &wheelseal::proxy::Journal| journal.served().0[0].fetched;
    assert!(fetched(&first.journal) && !fetched(&second.journal));
}

#[tokio::test]
async fn a_file_altered_in_the_cache_is_never_sent() {
    let stage = Stage::new().await;
    let running = stage.forward(&Setup::default());
    let body = running.tool.get(WHEEL_PATH).body;
    running.settle().await;
    for broken in [b"evil".to_vec(), vec![0; body.len()], Vec::new()] {
        let cached: Vec<_> = files_below(&stage.home.path().join("cache")).into_keys().collect();
        assert_eq!(cached.len(), 1);
        fs::write(stage.home.path().join("cache").join(&cached[0]), broken).unwrap();
        assert_eq!(running.tool.get(WHEEL_PATH).body, body);
        running.settle().await;
    }
    assert_eq!(running.refused(), [""; 0]);
}

#[tokio::test]
async fn a_cache_that_cannot_be_written_is_not_the_tools_matter() {
    let stage = Stage::new().await;
    fs::write(stage.home.path().join("cache"), "no folder").unwrap();
    let running = stage.forward(&Setup::default());
    let expected = fs::read(stage.scene.root().join("targets/alpha").join(WHEEL)).unwrap();
    let hashed = format!("/{}", stage.hashed(&format!("alpha/{WHEEL}")));
    for _ in 0..2 {
        assert_eq!(running.tool.get(WHEEL_PATH).body, expected);
        running.settle().await;
        assert!(stage.asked().contains(&hashed), "it is fetched each time");
    }
    assert_eq!(running.refused(), [""; 0]);
}

#[tokio::test]
async fn the_cache_stays_within_its_bytes() {
    let stage = Stage::new().await;
    let running = stage.forward(&Setup { cache_bytes: 100, ..Setup::default() });
    let body = running.tool.get(WHEEL_PATH).body;
    assert!(body.len() > 100);
    assert_eq!(running.tool.get(WHEEL_PATH).body, body);
    running.settle().await;
    let kept: usize = files_below(&stage.home.path().join("cache")).values().map(Vec::len).sum();
    assert!(kept <= 100, "{kept} bytes are kept");
}

#[tokio::test]
async fn the_ca_is_good_for_the_index_alone_and_for_a_day() {
    let stage = Stage::new().await;
    let mut running = stage.forward(&Setup::default());
    running.tool.tls(HOST, "index.test").unwrap();
    for name in ["other.test", "evil.index.test", "127.0.0.1"] {
        running.tool.tls(HOST, name).unwrap_err();
    }
    let made = running.tool.time;
    for (hours, good) in [(23, true), (25, false), (-1, false)] {
        running.tool.time = made + chrono::TimeDelta::hours(hours);
        assert_eq!(running.tool.tls(HOST, "index.test").is_ok(), good, "after {hours} hours");
    }
}

#[tokio::test]
async fn many_at_once_are_one_request_to_the_index() {
    let stage = Stage::new().await;
    let running = stage.forward(&Setup::default());
    let answers: Vec<_> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..20)
            .map(|at| {
                let tool = running.tool.clone();
                scope.spawn(move || tool.get(if at % 2 == 0 { PAGE_PATH } else { WHEEL_PATH }))
            })
            .collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| answer.status == 200));
    let asked = stage.asked();
    let once: std::collections::BTreeSet<_> = asked.iter().collect();
    assert_eq!(asked.len(), once.len(), "{asked:?}");
}

#[tokio::test]
async fn who_lost_patience_finds_the_file_when_asking_again() {
    let stage = Stage::new().await;
    let running = stage.forward(&Setup::default());
    running.tool.get(PAGE_PATH);
    stage.asked();
    let gate = stage.hold(&stage.hashed(&format!("alpha/{WHEEL}")));
    let mut impatient = running.tool.tls(HOST, "index.test").unwrap();
    let request = super::tool::request("GET", WHEEL_PATH, "index.test", &[]);
    std::io::Write::write_all(&mut impatient, request.as_bytes()).unwrap();
    std::io::Write::flush(&mut impatient).unwrap();
    gate.wait_for_a_request();
    drop(impatient);
    let tool = running.tool.clone();
    let second = std::thread::spawn(move || tool.get(WHEEL_PATH));
    gate.open();
    assert_eq!(second.join().unwrap().status, 200);
    let hashed = format!("/{}", stage.hashed(&format!("alpha/{WHEEL}")));
    assert_eq!(stage.asked().iter().filter(|path| **path == hashed).count(), 1);
}
