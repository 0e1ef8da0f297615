//! Each attack of the specification, section 1.5.2, mounted through the proxy: nothing bad arrives, and the reason is where
//! pip and uv look for it.

use std::fs;

use chrono::TimeDelta;
use wheelseal::tuf::trusted::Limits;

use super::tool::Answer;
use super::{PAGE_PATH, Running, Setup, Stage, WHEEL, WHEEL_PATH};
use crate::scene::{now, wheel_bytes};

/// Refused, with this reason in the status phrase, in the problem document and in the summary.
fn refused(running: &Running, answer: &Answer, what: &str, why: &str) {
    assert_eq!(answer.status, 403, "{answer:?}");
    assert!(answer.phrase.starts_with(&format!("wheelseal refused {what}: ")), "{}", answer.phrase);
    for text in [&answer.phrase, &answer.detail()] {
        assert!(text.contains(why), "no {why:?} in {text}");
    }
    assert!(answer.phrase.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()));
    let summary = running.refused();
    assert!(
        summary.iter().any(|line| line.starts_with(&format!("{what}: ")) && line.contains(why)),
        "{summary:?}"
    );
    assert_eq!(answer.field("accept-ranges"), "");
}

#[tokio::test]
async fn arbitrary_software_a_file_that_was_swapped() {
    let stage = Stage::new().await;
    let (hashed, good) = (stage.hashed(&format!("alpha/{WHEEL}")), wheel_bytes("alpha", "1.0", "x = 1\n"));
    let mut evil = good.clone();
    evil[good.len() / 2] ^= 1;
    stage.lie(&hashed, &evil);
    let running = stage.forward(&Setup::default());
    refused(&running, &running.tool.get(WHEEL_PATH), WHEEL, "is not the file that was signed");
    let part = running.tool.ask("GET", WHEEL_PATH, &["Range: bytes=0-9"]);
    refused(&running, &part, WHEEL, "is not the file that was signed");
    assert_eq!(running.refused().len(), 1, "the same refusal is noted once");
}

#[tokio::test]
async fn arbitrary_software_a_page_or_metadata_that_was_swapped() {
    let stage = Stage::new().await;
    let page = fs::read(stage.scene.root().join("simple/alpha/index.json")).unwrap();
    let evil = String::from_utf8(page).unwrap().replace("\"yanked\":false", "\"yanked\":true ");
    stage.lie(&stage.hashed("simple/alpha/index.json"), evil.as_bytes());
    let metadata = format!("alpha/{WHEEL}.metadata");
    stage.lie(&stage.hashed(&metadata), &[b'x'; 4]);
    let running = stage.forward(&Setup::default());
    refused(&running, &running.tool.get(PAGE_PATH), "alpha", "signed");
    refused(&running, &running.tool.get(&format!("{WHEEL_PATH}.metadata")), WHEEL, "has 4 bytes, signed are");
}

#[tokio::test]
async fn wrong_lengths_and_endless_data() {
    let stage = Stage::new().await;
    let (hashed, good) = (stage.hashed(&format!("alpha/{WHEEL}")), wheel_bytes("alpha", "1.0", "x = 1\n"));
    let running = stage.forward(&Setup::default());
    stage.lie(&hashed, &good[..good.len() - 1]);
    refused(&running, &running.tool.get(WHEEL_PATH), WHEEL, "bytes, signed are");
    stage.lie(&hashed, &[&good[..], b"more"].concat());
    refused(&running, &running.tool.get(WHEEL_PATH), WHEEL, "more than the");
    let endless = [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &vec![b'x'; 3_000_000]].concat();
    stage.lie_raw(&hashed, &endless);
    refused(&running, &running.tool.get(WHEEL_PATH), WHEEL, "more than the");
    stage.lie_raw("metadata/timestamp.json", &endless);
    let anew = stage.forward(&Setup::default());
    refused(
        &anew,
        &anew.tool.get(PAGE_PATH),
        "alpha",
        &format!("more than the {} bytes", Limits::default().timestamp),
    );
}

#[tokio::test]
async fn rollback_to_an_older_timestamp() {
    let stage = Stage::new().await;
    let old = fs::read(stage.scene.root().join("metadata/timestamp.json")).unwrap();
    stage.scene.publish(&[stage.scene.add("alpha", "1.0.1", "fixed\n")]).await.unwrap();
    assert_eq!(stage.forward(&Setup::default()).tool.get(PAGE_PATH).status, 200);
    stage.lie("metadata/timestamp.json", &old);
    let running = stage.forward(&Setup::default());
    refused(&running, &running.tool.get(PAGE_PATH), "alpha", "timestamp");
    refused(&running, &running.tool.get(WHEEL_PATH), WHEEL, "timestamp");
    let asked = stage.asked();
    let timestamps = asked.iter().filter(|path| path.ends_with("timestamp.json")).count();
    assert_eq!(timestamps, 2, "one for each run, whatever is asked: {asked:?}");
}

#[tokio::test]
async fn freeze_in_the_past() {
    let stage = Stage::new().await;
    *stage.time.lock().unwrap() = now() + TimeDelta::days(400);
    let mut running = stage.forward(&Setup::default());
    running.tool.time = now() + TimeDelta::days(400);
    refused(&running, &running.tool.get(WHEEL_PATH), WHEEL, "expired");
}

#[tokio::test]
async fn mix_and_match_of_states() {
    let stage = Stage::new().await;
    let snapshot = |version: u64| format!("metadata/{version}.snapshot.json");
    let newest =
        |stage: &Stage| (1..100).rfind(|at| stage.scene.root().join(snapshot(*at)).exists()).unwrap();
    let old = fs::read(stage.scene.root().join(snapshot(newest(&stage)))).unwrap();
    stage.scene.publish(&[stage.scene.add("alpha", "1.1", "new\n")]).await.unwrap();
    stage.lie(&snapshot(newest(&stage)), &old);
    let running = stage.forward(&Setup::default());
    refused(&running, &running.tool.get(PAGE_PATH), "alpha", "snapshot");
}

#[tokio::test]
async fn a_role_that_a_stranger_signed_is_fetched_once_and_refused_ever_after() {
    let stage = Stage::new().await;
    let bins: Vec<String> = stage.scene.files().into_keys().filter(|path| path.contains(".bins-")).collect();
    for bin in &bins {
        let bytes = fs::read(stage.scene.root().join(bin)).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let at = text.find("\"sig\":\"").unwrap() + 7;
        let digit = if text.as_bytes()[at] == b'0' { "1" } else { "0" };
        stage.lie(bin, format!("{}{digit}{}", &text[..at], &text[at + 1..]).as_bytes());
    }
    let running = stage.forward(&Setup::default());
    for _ in 0..3 {
        refused(&running, &running.tool.get(WHEEL_PATH), WHEEL, "bins-");
    }
    let asked = stage.asked();
    assert_eq!(asked.iter().filter(|path| path.contains(".bins-")).count(), 1, "{asked:?}");
}

#[tokio::test]
async fn a_file_that_is_gone_and_a_server_that_fails_are_refusals_and_no_reason_to_try_again() {
    let stage = Stage::new().await;
    let hashed = stage.hashed(&format!("alpha/{WHEEL}"));
    stage.lie_raw(&hashed, b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    let running = stage.forward(&Setup::default());
    refused(&running, &running.tool.get(WHEEL_PATH), WHEEL, "though it signs alpha/alpha-1.0");
    stage.lie_raw(&hashed, b"HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    refused(&running, &running.tool.get(WHEEL_PATH), WHEEL, "the server answered 503");
    stage.lie_raw(
        &hashed,
        format!(
            "HTTP/1.1 302 Found\r\nLocation: /{hashed}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )
        .as_bytes(),
    );
    refused(&running, &running.tool.get(WHEEL_PATH), WHEEL, "too many redirects");
}
