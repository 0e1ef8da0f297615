//! Requests that nobody well-meaning sends.

use std::fs;
use std::io::{Read, Write};
use std::time::Duration;

use wheelseal::server::Limits;

use super::{Answer, Served, scene};

#[tokio::test]
async fn nothing_but_the_public_folders_can_be_reached() {
    let scene = scene().await;
    fs::write(scene.root().join("staging-secret"), b"secret").unwrap();
    fs::create_dir_all(scene.root().join("staging/pages")).unwrap();
    fs::write(scene.root().join("staging/pages/x.json"), b"secret").unwrap();
    fs::write(scene.root().join("metadata/notes.txt"), b"secret").unwrap();
    fs::write(scene.root().join("targets/.tmp-1"), b"secret").unwrap();
    std::os::unix::fs::symlink("/etc", scene.root().join("targets/etc")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", scene.root().join("targets/alpha/passwd")).unwrap();
    let served = Served::new(scene.store().await);
    for path in [
        "/",
        "/wheelseal.toml",
        "/.wheelseal.lock",
        "/staging-secret",
        "/staging/pages/x.json",
        "/metadata",
        "/metadata/",
        "/metadata/notes.txt",
        "/metadata/../wheelseal.toml",
        "/metadata/..%2Fwheelseal.toml",
        "/metadata/%2e%2e/wheelseal.toml",
        "/metadata/.tmp-1",
        "/metadata/2.snapshot.json/x",
        "/metadata//timestamp.json",
        "/metadata/timestamp%2ejson",
        "/targets/",
        "/targets/../wheelseal.toml",
        "/targets/%2e%2e/wheelseal.toml",
        "/targets/%2e%2e%2fwheelseal.toml",
        "/targets/..%5cwheelseal.toml",
        "/targets/alpha/..%2f..%2fwheelseal.toml",
        "/targets/%2fetc%2fpasswd",
        "/targets//etc/passwd",
        "/targets/etc/passwd",
        "/targets/alpha/passwd",
        "/targets/.tmp-1",
        "/targets/a%00b",
        "/targets/%ff",
        "/targets/alpha",
        "/simple/../wheelseal.toml",
        "/simple/%2e%2e/",
        "/simple/%2e%2e/index.html",
        "/simple/alpha%2f..%2f..%2fmetadata/",
        "//etc/passwd",
        "/metadata/18446744073709551616.snapshot.json",
        "/metadata/0.snapshot.json",
        "/metadata/-1.snapshot.json",
    ] {
        let answer = served.get(path, &[]);
        assert_eq!((answer.status, &answer.body[..]), (404, &b"there is no such file\n"[..]), "{path}");
    }
    assert_eq!(*served.told.lock().unwrap(), [""; 0]);
}

#[tokio::test]
async fn heads_that_are_too_large_or_no_http_are_refused() {
    let scene = scene().await;
    let served = Served::new(scene.store().await);
    let line = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    let many = "X-Y: y\r\n".repeat(100);
    let long = format!("X: {}\r\n", "y".repeat(40_000));
    let path = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "y".repeat(40_000));
    for request in [format!("{line}{many}\r\n"), format!("{line}{long}\r\n"), path] {
        let answer = Answer::read(&served.raw(request.as_bytes()));
        assert!(matches!(answer.status, 414 | 431), "{answer:?}");
    }
    for request in
        ["nonsense\r\n\r\n", "GET healthz\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET /\0 HTTP/1.1\r\n\r\n"]
    {
        let answer = served.raw(request.as_bytes());
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{request:?}: {answer:?}");
    }
    assert_eq!(served.get("/healthz", &[]).status, 200, "it is still there");
}

#[tokio::test]
async fn fields_full_of_nonsense_change_nothing() {
    let scene = scene().await;
    let served = Served::new(scene.store().await);
    let plain = served.get("/metadata/2.snapshot.json", &[]);
    let commas = ",;=".repeat(2_000);
    for field in [
        "Accept-Encoding",
        "Available-Dictionary",
        "Dictionary-ID",
        "If-None-Match",
        "Range",
        "If-Range",
        "Accept",
    ] {
        for value in ["", ",", ";;;", "q=1", "\"", "W/", ":::", "\u{7f}".trim_matches('\u{7f}'), &commas] {
            let answer = served.get("/metadata/2.snapshot.json", &[&format!("{field}: {value}")]);
            assert_eq!((answer.status, &answer.body), (200, &plain.body), "{field}: {value:.20}");
        }
    }
    let page = served.get("/simple/alpha/", &["Accept: ;;;,,"]);
    assert!(matches!(page.status, 200 | 406));
}

#[tokio::test]
async fn whoever_sends_no_head_or_takes_no_body_is_let_go() {
    let scene = scene().await;
    fs::write(scene.root().join("targets/alpha/big"), vec![7; 64 << 20]).unwrap();
    let limits = Limits {
        head: Duration::from_millis(300),
        stall: Duration::from_millis(300),
        connections: 1,
        ..Limits::default()
    };
    let served = Served::with(scene.store().await, limits);
    let mut silent = served.connect();
    silent.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    // The only slot is free again when the silent one has been let go.
    assert_eq!(served.get("/healthz", &[]).status, 200);
    let mut stuck = served.connect();
    stuck.write_all(b"GET /targets/alpha/big HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(served.get("/healthz", &[]).status, 200);
    let mut taken = Vec::new();
    drop(stuck.read_to_end(&mut taken));
    assert!(taken.len() < 64 << 20, "it was cut off at {}", taken.len());
}

#[tokio::test]
async fn a_body_with_a_request_is_not_waited_for() {
    let scene = scene().await;
    let served = Served::new(scene.store().await);
    let request =
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\nConnection: close\r\n\r\nx";
    assert_eq!(Answer::read(&served.raw(request)).status, 200);
}

#[tokio::test]
async fn many_at_once_all_get_their_answer() {
    let scene = scene().await;
    let limits =
        Limits { connections: 8, reads: 2, compressions: 1, cache_bytes: 2_000, ..Limits::default() };
    let served = Served::with(scene.store().await, limits);
    let plain = served.get("/metadata/2.snapshot.json", &[]).body;
    std::thread::scope(|scope| {
        for number in 0..40 {
            let (served, plain) = (&served, &plain);
            scope.spawn(move || {
                let coding = ["gzip", "zstd", "identity"][number % 3];
                let answer =
                    served.get("/metadata/2.snapshot.json", &[&format!("Accept-Encoding: {coding}")]);
                assert_eq!(answer.status, 200);
                let whole = match answer.field("content-encoding") {
                    "" => answer.body.clone(),
                    name => {
                        let coding = wheelseal::coding::Coding::named(name).unwrap();
                        wheelseal::coding::decode(coding, &answer.body, 1_000_000).unwrap()
                    }
                };
                assert_eq!(&whole, plain);
            });
        }
    });
}
