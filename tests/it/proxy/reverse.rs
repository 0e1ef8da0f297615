//! `proxy`: verified indexes on a fixed port.

use chrono::TimeDelta;

use wheelseal::coding::{self, Coding};

use super::{Setup, Stage, WHEEL};
use crate::scene::now;

const PAGE: &str = "/mine/simple/alpha/";

#[tokio::test]
async fn pages_link_to_files_below_the_same_port() {
    let stage = Stage::new().await;
    let running = stage.reverse(&Setup::default());
    let get = |path: &str| running.tool.plain("GET", path, "127.0.0.1:4580", &[]);
    let page = get(PAGE);
    assert_eq!(page.status, 200);
    assert!(page.text().contains(&format!("href=\"../../targets/alpha/{WHEEL}#sha256=")), "{}", page.text());
    let file = get(&format!("/mine/targets/alpha/{WHEEL}"));
    let expected = std::fs::read(stage.scene.root().join("targets/alpha").join(WHEEL)).unwrap();
    assert_eq!((file.status, file.body), (200, expected));
    assert_eq!(get("/other/simple/alpha/").status, 404);
    assert_eq!(get("/mine/simple/beta/").status, 404);
}

#[tokio::test]
async fn pages_are_compressed_for_who_takes_them_so() {
    let stage = Stage::new().await;
    let running = stage.reverse(&Setup::default());
    let get = |accepts: &str| {
        running.tool.plain("GET", PAGE, "127.0.0.1:4580", &[&format!("Accept-Encoding: {accepts}")])
    };
    let plain = get("identity");
    assert_eq!((plain.status, plain.field("content-encoding")), (200, ""));
    for (accepts, coding) in [("gzip", Coding::Gzip), ("gzip, deflate, zstd", Coding::Zstd)] {
        let page = get(accepts);
        assert_eq!(page.field("content-encoding"), coding.name());
        assert_eq!(page.field("etag"), plain.field("etag"));
        let body = coding::decode(coding, &page.body, 100_000).unwrap();
        assert_eq!(body, plain.body);
    }
}

#[tokio::test]
async fn a_web_page_that_sends_a_browser_here_gets_nothing() {
    let stage = Stage::new().await;
    let running = stage.reverse(&Setup::default());
    for host in [
        "evil.example",
        "evil.example:4580",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "192.168.0.1",
    ] {
        assert_eq!(running.tool.plain("GET", PAGE, host, &[]).status, 421, "{host}");
    }
    for host in ["localhost", "127.0.0.1:4580", "[::1]:4580", "LOCALHOST:1"] {
        assert_eq!(running.tool.plain("GET", PAGE, host, &[]).status, 200, "{host}");
    }
    let absolute = running.tool.plain("GET", &format!("http://127.0.0.1{PAGE}"), "127.0.0.1", &[]);
    assert_eq!(absolute.status, 421);
}

#[tokio::test]
async fn newer_metadata_is_asked_for_after_a_while_and_older_is_refused() {
    let stage = Stage::new().await;
    let setup = Setup { renew: Some(TimeDelta::minutes(1)), ..Setup::default() };
    let running = stage.reverse(&setup);
    let page = || running.tool.plain("GET", PAGE, "localhost", &[]);
    let before = page();
    let old = std::fs::read(stage.scene.root().join("metadata/timestamp.json")).unwrap();
    stage.scene.publish(&[stage.scene.add("alpha", "1.1", "x = 2\n")]).await.unwrap();
    assert_eq!(page().body, before.body);
    *stage.time.lock().unwrap() = now() + TimeDelta::minutes(2);
    assert!(page().text().contains("alpha-1.1-py3-none-any.whl"));
    stage.lie("metadata/timestamp.json", &old);
    *stage.time.lock().unwrap() = now() + TimeDelta::minutes(4);
    let refused = page();
    assert_eq!(refused.status, 403);
    assert!(refused.phrase.contains("timestamp"), "{}", refused.phrase);
    *stage.time.lock().unwrap() = now() + TimeDelta::days(400);
    assert!(page().phrase.contains("expired"), "{}", page().phrase);
}
