//! What each address answers, and what may be kept of it.

use wheelseal::crypto::sha256;

use super::{Served, scene};

const WHEEL: &str = "alpha-1.0-py3-none-any.whl";

#[tokio::test]
async fn versioned_metadata_is_for_good_and_the_timestamp_is_asked_for_again() {
    let scene = scene().await;
    let served = Served::new(scene.store().await);
    let files = scene.files();
    let metadata = files.iter().filter(|(path, _)| path.starts_with("metadata/"));
    for (path, bytes) in metadata {
        let answer = served.get(&format!("/{path}"), &[]);
        assert_eq!((answer.status, &answer.body), (200, bytes), "{path}");
        let fixed = ["metadata/timestamp.json", "metadata/root.json"].contains(&path.as_str());
        let caching = if fixed { "no-cache" } else { "public, max-age=31536000, immutable" };
        assert_eq!(answer.field("cache-control"), caching, "{path}");
        assert_eq!(answer.field("content-type"), "application/json");
        assert_eq!(answer.field("vary"), "Accept-Encoding, Available-Dictionary");
        assert_eq!(answer.field("content-length"), bytes.len().to_string());
        assert_eq!(answer.field("content-encoding"), "");
        assert_eq!(answer.field("x-content-type-options"), "nosniff");
    }
    let absent = served.get("/metadata/9.root.json", &[]);
    assert_eq!((absent.status, absent.field("cache-control")), (404, "no-store"));
}

#[tokio::test]
async fn what_the_client_has_seen_is_not_sent_again() {
    let scene = scene().await;
    let served = Served::new(scene.store().await);
    let hash = hex::encode(sha256(&scene.files()[&format!("targets/alpha/{WHEEL}")]));
    for path in [
        "/metadata/timestamp.json",
        "/metadata/2.snapshot.json",
        "/simple/",
        "/simple/alpha/",
        &format!("/targets/alpha/{WHEEL}"),
        &format!("/targets/alpha/{hash}.{WHEEL}"),
    ] {
        let first = served.get(path, &[]);
        let tag = first.field("etag").to_owned();
        assert!(first.status == 200 && tag.ends_with('"'), "{path}: {first:?}");
        for fields in [
            &[&*format!("If-None-Match: {tag}")][..],
            &["If-None-Match: \"other\", *", "Accept-Encoding: gzip"],
        ] {
            let again = served.get(path, fields);
            assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
            assert_eq!(again.field("etag"), tag);
            assert_eq!(again.field("cache-control"), first.field("cache-control"));
            assert_eq!(again.field("vary"), first.field("vary"));
        }
        assert_eq!(served.get(path, &["If-None-Match: \"other\""]).status, 200);
    }
    let edit = scene.add("beta", "1.0", "y = 1\n");
    let before = served.get("/metadata/timestamp.json", &[]);
    scene.publish(&[edit]).await.unwrap();
    let tag = format!("If-None-Match: {}", before.field("etag"));
    let after = served.get("/metadata/timestamp.json", &[&tag]);
    assert_eq!(after.status, 200);
    assert_ne!(after.body, before.body);
    assert_eq!(served.get("/simple/beta/", &[]).status, 200, "a 404 before would not have been kept either");
}

#[tokio::test]
async fn head_says_what_get_would_and_sends_nothing() {
    let scene = scene().await;
    let served = Served::new(scene.store().await);
    for path in
        ["/metadata/2.snapshot.json", "/simple/alpha/", &format!("/targets/alpha/{WHEEL}"), "/nothing"]
    {
        let (get, head) = (served.get(path, &[]), served.ask("HEAD", path, &[]));
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}");
        for name in ["content-length", "content-type", "etag", "cache-control", "vary", "accept-ranges"] {
            assert_eq!(head.field(name), get.field(name), "{path} {name}");
        }
    }
}

#[tokio::test]
async fn only_get_and_head_are_there() {
    let scene = scene().await;
    let served = Served::new(scene.store().await);
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        for path in ["/metadata/timestamp.json", "/simple/", "/targets/alpha/x", "/healthz"] {
            let answer = served.ask(method, path, &[]);
            assert_eq!((answer.status, answer.field("allow")), (405, "GET,HEAD"), "{method} {path}");
        }
    }
    assert_eq!(scene.files()["metadata/timestamp.json"], served.get("/metadata/timestamp.json", &[]).body);
}

#[tokio::test]
async fn pages_come_in_the_form_that_is_asked_for() {
    let scene = scene().await;
    let served = Served::new(scene.store().await);
    let files = scene.files();
    let (json, html) = (&files["simple/alpha/index.json"], &files["simple/alpha/index.html"]);
    let (json_type, html_type) = ("application/vnd.pypi.simple.v1+json", "text/html; charset=utf-8");
    let cases = [
        ("", html, html_type),
        ("Accept: */*", html, html_type),
        ("Accept: application/vnd.pypi.simple.v1+json", json, json_type),
        ("Accept: application/vnd.pypi.simple.v1+html", html, "application/vnd.pypi.simple.v1+html"),
        ("Accept: text/html;q=0.1, application/vnd.pypi.simple.latest+json;q=0.2", json, json_type),
    ];
    for (accept, body, content_type) in cases {
        let fields: &[&str] = if accept.is_empty() { &[] } else { &[accept] };
        let answer = served.get("/simple/alpha/", fields);
        assert_eq!((answer.status, &answer.body), (200, body), "{accept}");
        assert_eq!(answer.field("content-type"), content_type);
        assert_eq!(answer.field("vary"), "Accept, Accept-Encoding");
        assert_eq!(answer.field("cache-control"), "no-cache");
        assert_eq!(answer.field("content-security-policy"), "default-src 'none'");
    }
    assert_eq!(served.get("/simple/alpha/", &["Accept: image/png"]).status, 406);
    assert_eq!(served.get("/simple/", &["Accept: application/json"]).body, files["simple/index.json"]);
    assert_eq!(served.get("/simple/", &[]).body, files["simple/index.html"]);
    assert_eq!(&served.get("/simple/alpha/index.json", &[]).body, json);
    assert_eq!(&served.get("/simple/alpha/index.html", &["Accept: application/json"]).body, html);
}

#[tokio::test]
async fn other_spellings_of_a_page_lead_to_it() {
    let scene = scene().await;
    let served = Served::new(scene.store().await);
    for (path, to) in [
        ("/simple", "simple/"),
        ("/simple/alpha", "alpha/"),
        ("/simple/Al.Pha", "al-pha/"),
        ("/simple/ALPHA/", "../alpha/"),
        ("/simple/ALPHA/index.json", "../alpha/"),
    ] {
        let answer = served.get(path, &[]);
        assert_eq!((answer.status, answer.field("location")), (301, to), "{path}");
    }
    for path in [
        "/simple/beta/",
        "/simple/alpha/other",
        "/simple/alpha/alpha/",
        "/simple/-/",
        "/simple/-",
        "/simple//",
    ] {
        assert_eq!(served.get(path, &[]).status, 404, "{path}");
    }
}

#[tokio::test]
async fn targets_are_sent_as_they_are_whole_or_in_parts() {
    let scene = scene().await;
    let served = Served::new(scene.store().await);
    let bytes = scene.files()[&format!("targets/alpha/{WHEEL}")].clone();
    let (hash, len) = (hex::encode(sha256(&bytes)), bytes.len());
    let hashed = format!("/targets/alpha/{hash}.{WHEEL}");
    let whole = served.get(&hashed, &["Accept-Encoding: gzip, zstd"]);
    assert_eq!((whole.status, &whole.body), (200, &bytes));
    for (name, value) in [
        ("cache-control", "public, max-age=31536000, immutable"),
        ("etag", &format!("\"{hash}\"")),
        ("accept-ranges", "bytes"),
        ("content-type", "application/octet-stream"),
        ("content-encoding", ""),
    ] {
        assert_eq!(whole.field(name), value);
    }
    let plain = served.get(&format!("/targets/alpha/{WHEEL}"), &[]);
    assert_eq!((plain.body, plain.fields["cache-control"].as_str()), (bytes.clone(), "public, max-age=3600"));
    for (range, from, to) in [("0-0", 0, 1), ("10-19", 10, 20), ("100-", 100, len), ("-7", len - 7, len)] {
        let answer = served.get(&hashed, &[&format!("Range: bytes={range}")]);
        assert_eq!((answer.status, &answer.body[..]), (206, &bytes[from..to]), "{range}");
        assert_eq!(answer.field("content-range"), format!("bytes {from}-{}/{len}", to - 1));
        assert_eq!(answer.field("content-length"), (to - from).to_string());
    }
    let outside = served.get(&hashed, &[&format!("Range: bytes={len}-")]);
    assert_eq!((outside.status, outside.field("content-range")), (416, &*format!("bytes */{len}")));
    let range = "Range: bytes=0-3";
    assert_eq!(served.get(&hashed, &[range, &format!("If-Range: \"{hash}\"")]).status, 206);
    assert_eq!(served.get(&hashed, &[range, "If-Range: \"other\""]).status, 200);
    assert_eq!(served.get("/targets/alpha/nothing", &[range]).status, 404);
}

#[tokio::test]
async fn health_is_that_of_the_store() {
    let scene = scene().await;
    let served = Served::new(scene.store().await);
    let well = served.get("/healthz", &[]);
    assert_eq!((well.status, &well.body[..], well.field("cache-control")), (200, &b"ok\n"[..], "no-store"));
    std::fs::remove_file(scene.root().join("metadata/timestamp.json")).unwrap();
    assert_eq!(served.get("/healthz", &[]).status, 503);
}

#[tokio::test]
async fn of_the_log_tiles_and_the_checkpoint_are_given_out_and_nothing_else() {
    use wheelseal::store::{Content, StorePath};
    let scene = scene().await;
    let store = scene.store().await;
    let proof = format!("targets/alpha/{WHEEL}.tlog-proof");
    let paths = [
        "log/checkpoint",
        "log/tile/0/x001/234.p/5",
        "log/tile/entries/000.p/3",
        &proof,
        "metadata/2.snapshot.json.tlog-proof",
        "log/head",
        "log/staged/00ff",
    ];
    for path in paths {
        store.create(&StorePath::new(path).unwrap(), Content::Bytes(path.as_bytes())).await.unwrap();
    }
    let served = Served::new(store);
    let (good, text, bytes) =
        ("public, max-age=31536000, immutable", "text/plain; charset=utf-8", "application/octet-stream");
    let caching = ["no-cache", good, good, "no-cache", good];
    let types = [text, bytes, bytes, text, text];
    for ((path, caching), content_type) in paths.iter().zip(caching).zip(types) {
        let answer = served.get(&format!("/{path}"), &[]);
        assert_eq!((answer.status, answer.body.as_slice()), (200, path.as_bytes()), "{path}");
        assert_eq!((answer.field("cache-control"), answer.field("content-type")), (caching, content_type));
        let seen = served.get(&format!("/{path}"), &[&format!("If-None-Match: {}", answer.field("etag"))]);
        assert_eq!(seen.status, 304, "{path}");
    }
    for path in ["log/head", "log/staged/00ff", "log/tile/../head", "log/tile/%2e%2e/head", "log/", "log"] {
        assert_eq!(served.get(&format!("/{path}"), &[]).status, 404, "{path}");
    }
    assert_eq!(served.get("/metadata/9.snapshot.json.tlog-proof", &[]).status, 404);
    assert_eq!(served.get("/metadata/snapshot.json.tlog-proof", &[]).status, 404);
}
