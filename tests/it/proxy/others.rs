//! Hosts that are no verified index: untouched, refused with `--strict`, reached by the proxy that was there before. And what
//! `--mode warn` lets through.

use wheelseal::proxy::Mode;

use super::tool::{Answer, exchange};
use super::{HOST, PAGE_PATH, Setup, Stage, WHEEL};
use crate::client::wire::{Asked, Wire, ok};

fn stranger() -> Wire {
    Wire::start(|asked: &Asked| ok(format!("{} {}", asked.path(), asked.head.len()).as_bytes()))
}

fn host(wire: &Wire) -> String {
    wire.url("").strip_prefix("http://").unwrap().to_owned()
}

#[tokio::test]
async fn other_hosts_are_tunnelled_byte_by_byte() {
    let (stage, stranger) = (Stage::new().await, stranger());
    let running = stage.forward(&Setup::default());
    let tunnel = running.tool.tunnel(&host(&stranger)).unwrap();
    let request = "GET /a//b/../c%2e HTTP/1.1\r\nhost: whoever\r\nX-Odd:  spaced \r\n\r\n";
    tunnel.set_read_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
    let answer = Answer::read(&exchange(tunnel, request.as_bytes()));
    assert_eq!((answer.status, answer.text()), (200, format!("/a//b/../c%2e {}", request.len())));
    assert_eq!(stranger.heads(), [request]);
}

#[tokio::test]
async fn requests_without_tls_for_other_hosts_are_passed_on_without_the_proxys_word() {
    let (stage, stranger) = (Stage::new().await, stranger());
    let running = stage.forward(&Setup::default());
    let login = running.tool.login();
    let fields = format!("{login}Connection: close, x-named\r\nX-Named: 1\r\nX-Kept: 2\r\nTE: trailers\r\n");
    let text =
        format!("GET {} HTTP/1.1\r\nHost: {}\r\n{fields}\r\n", stranger.url("/x?y=z"), host(&stranger));
    let answer = Answer::read(&running.tool.raw(text.as_bytes()));
    assert!(answer.text().starts_with("/x?y=z "), "{answer:?}");
    let head = stranger.heads()[0].to_lowercase();
    assert!(head.contains("x-kept: 2"));
    for gone in ["x-named", "proxy-authorization", "trailers"] {
        assert!(!head.contains(gone), "{gone} in {head}");
    }
}

#[tokio::test]
async fn a_host_that_is_not_there_is_a_502() {
    let stage = Stage::new().await;
    let running = stage.forward(&Setup::default());
    let refused = running.tool.tunnel("127.0.0.1:1").unwrap_err();
    assert_eq!(refused.status, 502);
    assert!(refused.detail().starts_with("127.0.0.1:1: "), "{}", refused.detail());
    assert_eq!(running.refused(), [""; 0]);
}

#[tokio::test]
async fn strict_lets_nothing_through_but_verified_indexes() {
    let (stage, stranger) = (Stage::new().await, stranger());
    let running = stage.forward(&Setup { strict: true, ..Setup::default() });
    let why = "it is not a verified index, and --strict lets nothing else through";
    let refused = running.tool.tunnel(&host(&stranger)).unwrap_err();
    assert_eq!((refused.status, refused.detail()), (403, why.to_owned()));
    let login = running.tool.login();
    let text = format!("GET {} HTTP/1.1\r\nHost: x\r\n{login}Connection: close\r\n\r\n", stranger.url("/"));
    assert_eq!(Answer::read(&running.tool.raw(text.as_bytes())).status, 403);
    assert_eq!(running.refused(), [format!("{}: {why}", host(&stranger))]);
    assert_eq!(stranger.connections(), 0);
    assert_eq!(running.tool.get(PAGE_PATH).status, 200);
}

#[tokio::test]
async fn a_spelling_of_the_index_is_the_index() {
    let stage = Stage::new().await;
    let running = stage.forward(&Setup { strict: true, ..Setup::default() });
    for spelling in [HOST, "INDEX.test:443", "index.test.:443", "index.test:80"] {
        assert!(running.tool.tls(spelling, "index.test").is_ok(), "{spelling}");
    }
}

#[tokio::test]
async fn warn_lets_through_what_does_not_verify_and_notes_it() {
    let stage = Stage::new().await;
    let setup = Setup { mode: Mode::Warn, index: stage.wire.url("/simple/"), ..Setup::default() };
    let running = stage.forward(&setup);
    let evil = b"evil";
    stage.lie(&stage.hashed(&format!("alpha/{WHEEL}")), evil);
    stage.lie(&format!("targets/alpha/{WHEEL}"), evil);
    let (url, login) = (stage.wire.url(&format!("/targets/alpha/{WHEEL}")), running.tool.login());
    let host = host(&stage.wire);
    let text = format!("GET {url} HTTP/1.1\r\nHost: {host}\r\n{login}Connection: close\r\n\r\n");
    for _ in 0..2 {
        let answer = Answer::read(&running.tool.raw(text.as_bytes()));
        assert_eq!((answer.status, answer.body.as_slice()), (200, evil.as_slice()));
    }
    let (passed, count) = running.journal.passed();
    assert_eq!((passed.len(), count, passed[0].what.as_str()), (1, 2, WHEEL));
    assert_eq!(running.refused(), [""; 0]);
    assert_eq!(running.journal.served().0.len(), 0);
}

#[tokio::test]
async fn an_index_may_be_anywhere_on_its_host() {
    let stage = Stage::new().await;
    for (index, page, file) in [
        ("https://index.test/a/b/simple/", "/a/b/simple/alpha/", "/a/b/targets/alpha/"),
        ("https://index.test/simple/", "/simple/alpha/", "/targets/alpha/"),
        ("https://index.test/", "/alpha/", "/targets/alpha/"),
    ] {
        let running = stage.forward(&Setup { index: index.to_owned(), ..Setup::default() });
        assert_eq!(running.tool.get(page).status, 200, "{index}");
        assert_eq!(running.tool.get(&format!("{file}{WHEEL}")).status, 200, "{index}");
    }
}
