//! The HTTP layer on a real connection: what it sends, what it bears, what it refuses.

use std::io::Write;
use std::time::{Duration, Instant};

use wheelseal::client::{Client, FetchError, Fetched, Http, HttpSource, MetadataDir, Source, Timing};
use wheelseal::tuf::path::TargetPath;
use wheelseal::tuf::trusted::Limits;

use super::wire::{Asked, Part, Wire, not_found, ok, reply};
use crate::simulator::{Repo, now, run};

/// Limits in milliseconds, so that tests of slowness are quick.
fn timing() -> Timing {
    Timing {
        connect: Duration::from_millis(500),
        head: Duration::from_secs(2),
        window: Duration::from_millis(200),
        window_bytes: 1_000,
        pauses: [Duration::from_millis(1); 3],
    }
}

fn http() -> Http {
    Http::new(timing()).unwrap()
}

/// For servers that are silent: gives up on them sooner.
fn fetch_impatiently(wire: &Wire) -> Result<Vec<u8>, FetchError> {
    let http = Http::new(Timing { head: Duration::from_millis(200), ..timing() }).unwrap();
    fetch_from(&http.metadata(&wire.url("/")).unwrap(), "x.json", 1_000).map(|(_, bytes)| bytes)
}

/// Fetches `x.json` of at most 1,000 bytes as metadata.
fn fetch(wire: &Wire) -> Result<Vec<u8>, FetchError> {
    fetch_from(&http().metadata(&wire.url("/")).unwrap(), "x.json", 1_000).map(|(_, bytes)| bytes)
}

fn fetch_from(source: &HttpSource, path: &str, max: u64) -> Result<(Fetched, Vec<u8>), FetchError> {
    run(async {
        let mut bytes = Vec::new();
        let fetched = source.fetch(path, max, &mut bytes).await?;
        Ok((fetched, bytes))
    })
}

fn too_large(wire: &Wire, max: u64) -> Result<Vec<u8>, FetchError> {
    Err(FetchError::TooLarge { url: wire.url("/x.json"), max })
}

fn status(wire: &Wire, status: u16) -> Result<Vec<u8>, FetchError> {
    Err(FetchError::Status { url: wire.url("/x.json"), status })
}

/// The text of a network error; nothing for other outcomes.
fn network(result: Result<Vec<u8>, FetchError>) -> Option<String> {
    match result {
        Err(FetchError::Network { reason, .. }) => Some(reason),
        _ => None,
    }
}

#[test]
fn a_whole_update_and_download_use_get_alone_on_one_connection() {
    let mut repo = Repo::new();
    repo.delegate("targets", "../a b", &["*/*"]);
    repo.add_file("../a b", "dir/fi le+é.whl", b"content");
    repo.release_role("targets");
    let server = repo.server.clone();
    let wire = Wire::start(move |asked| {
        let found = match asked.path().strip_prefix("/repo%20x%2Fy/targets/") {
            Some(file) => server.target(&percent_decode(file)),
            None => server.metadata().get(asked.path().rsplit('/').next().unwrap()).cloned(),
        };
        found.map_or_else(not_found, |body| ok(&body))
    });
    let dir = tempfile::tempdir().unwrap();
    let cache = MetadataDir::init(dir.path().join("metadata"), &repo.server.bytes("1.root.json")).unwrap();
    let http = http();
    let metadata = http.metadata(&wire.url("/repo%20x%2Fy/metadata")).unwrap();
    let targets = http.targets(&wire.url("/repo%20x%2Fy/targets/")).unwrap();
    let client = Client::new(Box::new(metadata), Box::new(targets), cache, Limits::default());
    let to = dir.path().join("file");
    run(async {
        let session = client.refresh(now()).await.unwrap();
        let found = session.find(&TargetPath::new("dir/fi le+é.whl").unwrap()).await.unwrap();
        session.download(&found, &to).await.unwrap();
    });
    assert_eq!(std::fs::read(&to).unwrap(), b"content");
    let hash = hex::encode(wheelseal::crypto::sha256(b"content"));
    let base = "GET /repo%20x%2Fy";
    let all = [
        format!("{base}/metadata/2.root.json HTTP/1.1"),
        format!("{base}/metadata/timestamp.json HTTP/1.1"),
        format!("{base}/metadata/2.snapshot.json HTTP/1.1"),
        format!("{base}/metadata/2.targets.json HTTP/1.1"),
        format!("{base}/metadata/1...%2Fa%20b.json HTTP/1.1"),
        format!("{base}/targets/dir/{hash}.fi%20le%2B%C3%A9.whl HTTP/1.1"),
    ];
    assert_eq!(wire.lines(), all);
    assert_eq!(wire.connections(), 1, "kept alive");
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'%', [a, b, tail @ ..]) => {
                bytes.extend(hex::decode([*a, *b]).unwrap());
                rest = tail;
            }
            _ => bytes.push(*first),
        }
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn requests_name_the_program_and_what_encodings_it_takes() {
    let wire = Wire::start(|_| ok(b"body"));
    assert_eq!(fetch(&wire), Ok(b"body".to_vec()));
    fetch_from(&http().targets(&wire.url("/")).unwrap(), "file", 100).unwrap();
    let heads: Vec<_> = wire.heads().iter().map(|head| head.to_ascii_lowercase()).collect();
    let agent = concat!("user-agent: wheelseal/", env!("CARGO_PKG_VERSION"), "\r\n");
    assert!(heads.iter().all(|head| head.contains(agent)), "{heads:?}");
    assert!(heads[0].contains("accept-encoding: gzip, zstd\r\n"));
    assert!(heads[1].contains("accept-encoding: identity\r\n"), "targets are compressed already");
}

#[test]
fn absent_is_what_the_server_says_with_403_404_or_410() {
    for line in ["404 Not Found", "403 Forbidden", "410 Gone"] {
        let wire = Wire::start(move |_| reply(line, "", b"explanation"));
        let source = http().metadata(&wire.url("/")).unwrap();
        assert_eq!(fetch_from(&source, "x.json", 1_000), Ok((Fetched::Absent, Vec::new())));
        assert_eq!(wire.lines().len(), 1);
    }
}

#[test]
fn other_answers_are_errors_at_once_and_those_of_a_busy_server_after_three_retries() {
    for (line, code, requests) in [
        ("400 Bad Request", 400, 1),
        ("401 Unauthorized", 401, 1),
        ("429 Too Many Requests", 429, 4),
        ("204 No Content", 204, 1),
        ("206 Partial Content", 206, 1),
        ("304 Not Modified", 304, 1),
        ("500 Internal Server Error", 500, 4),
        ("503 Service Unavailable", 503, 4),
    ] {
        let wire = Wire::start(move |_| {
            reply(line, "Connection: close\r\n", b"").into_iter().chain([Part::Close]).collect()
        });
        assert_eq!(fetch(&wire), status(&wire, code));
        assert_eq!(wire.lines().len(), requests, "{line}");
    }
}

#[test]
fn a_server_that_asks_to_come_later_is_waited_for_beside_the_retries() {
    let later = || reply("429 Too Many Requests", "Retry-After: 0\r\n", b"");
    for (times, requests, served) in [(5, 6, true), (8, 9, true), (9, 9, false)] {
        let wire = then_ok(times, later);
        let fetched = fetch_impatiently(&wire);
        assert_eq!(fetched.is_ok(), served, "{times}: {fetched:?}");
        assert_eq!(wire.lines().len(), requests, "{times}");
    }
    // Nobody waits for an hour, and not for a date either.
    let long = || reply("429 Too Many Requests", "Retry-After: 3600\r\n", b"");
    let wire = then_ok(usize::MAX, long);
    assert_eq!(fetch(&wire), status(&wire, 429));
    assert_eq!(wire.lines().len(), 4);
}

/// Fails in the given way, then serves the file.
fn then_ok(failures: usize, fail: fn() -> Vec<Part>) -> Wire {
    Wire::start(move |asked| if asked.before < failures { fail() } else { ok(b"body") })
}

fn cut_off() -> Vec<Part> {
    vec![Part::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of ".to_vec()), Part::Close]
}

#[test]
fn faults_that_pass_are_retried_and_what_came_before_is_forgotten() {
    let server_error = || reply("502 Bad Gateway", "", b"oops");
    let no_answer = || vec![Part::Close];
    let silence = || vec![Part::Wait(400), Part::Close];
    let chunk_cut = || {
        vec![
            Part::Bytes(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf \r\n".to_vec()),
            Part::Close,
        ]
    };
    let kinds: [fn() -> Vec<Part>; 5] = [server_error, no_answer, silence, cut_off, chunk_cut];
    for (kind, fail) in kinds.into_iter().enumerate() {
        let wire = then_ok(3, fail);
        assert_eq!(fetch_impatiently(&wire), Ok(b"body".to_vec()), "kind {kind}");
        assert_eq!(wire.lines().len(), 4, "kind {kind}");
    }
}

#[test]
fn a_connection_that_breaks_each_time_is_given_up() {
    let wire = then_ok(usize::MAX, cut_off);
    let reason = network(fetch(&wire)).unwrap();
    assert!(reason.contains("end of file before message length reached"), "{reason}");
    assert_eq!(wire.lines().len(), 4);
}

#[test]
fn a_server_that_is_not_there_is_a_network_error() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let source = http().metadata(&format!("http://127.0.0.1:{port}/")).unwrap();
    let reason = network(fetch_from(&source, "x.json", 10).map(|(_, bytes)| bytes)).unwrap();
    assert!(reason.contains("refused"), "{reason}");
}

#[test]
fn an_announced_length_above_the_limit_is_refused_before_the_body() {
    let wire = Wire::start(|_| {
        vec![Part::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n".to_vec()), Part::Wait(5_000)]
    });
    let start = Instant::now();
    assert_eq!(fetch(&wire), too_large(&wire, 1_000));
    assert!(start.elapsed() < Duration::from_secs(2));
    assert_eq!(wire.lines().len(), 1, "no retry of an attack");
}

#[test]
fn endless_data_without_a_length_is_refused_at_the_limit() {
    for head in ["Transfer-Encoding: chunked\r\n", "Connection: close\r\n"] {
        let chunk =
            if head.starts_with('T') { b"a\r\n0123456789\r\n".to_vec() } else { b"0123456789".to_vec() };
        let wire = Wire::start(move |_| {
            vec![
                Part::Bytes(format!("HTTP/1.1 200 OK\r\n{head}\r\n").into_bytes()),
                Part::Forever(chunk.clone(), 0),
            ]
        });
        assert_eq!(fetch(&wire), too_large(&wire, 1_000));
        assert_eq!(wire.lines().len(), 1);
    }
}

#[test]
fn a_body_longer_than_its_announced_length_ends_there() {
    let wire = Wire::start(|_| {
        vec![Part::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody and more".to_vec()), Part::Close]
    });
    assert_eq!(fetch(&wire), Ok(b"body".to_vec()));
}

#[test]
fn slow_retrieval_by_dripping_or_by_silence_is_refused_and_not_retried() {
    let head = || Part::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n".to_vec());
    let drip = Wire::start(move |_| vec![head(), Part::Forever(b".".to_vec(), 10)]);
    let stall = Wire::start(move |_| vec![head(), Part::Bytes(b"12345".to_vec()), Part::Wait(5_000)]);
    for wire in [drip, stall] {
        let start = Instant::now();
        let error = fetch(&wire).unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        let FetchError::TooSlow { url, received, seconds: 0, needed: 1_000 } = error else {
            panic!("{error}")
        };
        assert!(url == wire.url("/x.json") && (1..100).contains(&received), "{received}");
        assert_eq!(wire.lines().len(), 1);
    }
}

#[test]
fn slow_but_steady_is_fine() {
    let wire = Wire::start(|_| {
        let mut parts = vec![Part::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n".to_vec())];
        for _ in 0..10 {
            parts.extend([Part::Bytes(vec![b'.'; 2_000]), Part::Wait(50)]);
        }
        parts
    });
    let source = http().targets(&wire.url("/")).unwrap();
    let (_, bytes) = fetch_from(&source, "x.json", 20_000).unwrap();
    assert_eq!(bytes.len(), 20_000);
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let wire = Wire::start(|_| vec![Part::Wait(10_000)]);
    let start = Instant::now();
    assert_eq!(network(fetch_impatiently(&wire)).as_deref(), Some("no answer in 200ms"));
    assert!(start.elapsed() < Duration::from_secs(4));
    assert_eq!(wire.connections(), 4);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// Serves one body with a Content-Encoding.
fn encoded(encoding: &'static str, body: Vec<u8>) -> Wire {
    Wire::start(move |_| reply("200 OK", &format!("Content-Encoding: {encoding}\r\n"), &body))
}

#[test]
fn compressed_metadata_comes_out_as_it_went_in() {
    let text = b"metadata ".repeat(111);
    for (encoding, body) in [
        ("gzip", gzip(&text)),
        ("GZIP", gzip(&text)),
        ("x-gzip", gzip(&text)),
        ("zstd", zstd(&text)),
        ("identity", text.clone()),
        ("", text.clone()),
    ] {
        assert_eq!(fetch(&encoded(encoding, body)), Ok(text.clone()), "{encoding}");
    }
}

#[test]
fn a_bomb_stops_at_the_limit() {
    let bomb = vec![0; 20_000_000];
    for (encoding, body, max) in [
        ("gzip", gzip(&vec![0; 1_000_000]), 1_000),
        ("zstd", zstd(&vec![0; 1_000_000]), 1_000),
        ("gzip", gzip(&bomb), 2_024),
    ] {
        let wire = encoded(encoding, body);
        assert_eq!(fetch(&wire), too_large(&wire, max), "{encoding}");
        assert_eq!(wire.lines().len(), 1);
    }
    let wire = encoded("gzip", gzip(&[7; 1_001]));
    assert_eq!(fetch(&wire), too_large(&wire, 1_000), "one byte too many is too many");
    assert_eq!(fetch(&encoded("gzip", gzip(&[7; 1_000]))), Ok(vec![7; 1_000]));
}

#[test]
fn bodies_that_do_not_decompress_are_refused_and_not_retried() {
    let whole = gzip(b"metadata");
    for (encoding, body) in [
        ("gzip", b"plain".to_vec()),
        ("gzip", whole[..whole.len() - 1].to_vec()),
        ("gzip", Vec::new()),
        ("zstd", whole.clone()),
        ("br", whole.clone()),
        ("gzip, gzip", gzip(&whole)),
    ] {
        let wire = encoded(encoding, body);
        let error = FetchError::Encoding { url: wire.url("/x.json"), encoding: encoding.to_owned() };
        assert_eq!(fetch(&wire), Err(error));
        assert_eq!(wire.lines().len(), 1);
    }
}

#[test]
fn targets_are_taken_as_they_are_whatever_they_claim() {
    let body = gzip(b"wheel");
    let wire = encoded("gzip", body.clone());
    let source = http().targets(&wire.url("/")).unwrap();
    assert_eq!(fetch_from(&source, "file", 1_000), Ok((Fetched::Whole, body)));
}

#[test]
fn redirects_are_followed_five_times_and_no_more() {
    let hops = |last: usize| {
        Wire::start(move |asked: &Asked| {
            if asked.before == last {
                ok(b"body")
            } else {
                reply("302 Found", &format!("Location: /hop{}\r\n", asked.before), b"")
            }
        })
    };
    let wire = hops(5);
    assert_eq!(fetch(&wire), Ok(b"body".to_vec()));
    assert_eq!(wire.lines().len(), 6);
    let wire = hops(6);
    assert!(network(fetch(&wire)).unwrap().contains("too many redirects"));
    assert_eq!(wire.lines().len(), 6, "and it is not retried");
}

#[test]
fn a_redirect_loop_ends() {
    let wire = Wire::start(|_| reply("301 Moved Permanently", "Location: /x.json\r\n", b""));
    assert!(network(fetch(&wire)).unwrap().contains("too many redirects"));
    assert_eq!(wire.lines(), vec!["GET /x.json HTTP/1.1"; 6]);
}

#[test]
fn a_redirect_from_http_to_https_goes_on_by_tls() {
    // Nobody listens there: that it was tried, under its https URL, is what can be seen without a certificate.
    let wire = Wire::start(|_| reply("302 Found", "Location: https://127.0.0.1:1/x.json\r\n", b""));
    let Err(FetchError::Network { url, reason }) = fetch(&wire) else { panic!("it was not tried") };
    assert_eq!(url, "https://127.0.0.1:1/x.json", "{reason}");
    assert!(wire.lines().iter().all(|line| line == "GET /x.json HTTP/1.1"), "{:?}", wire.lines());
}

#[test]
fn a_redirect_to_something_that_is_not_http_is_refused() {
    for to in ["file:///etc/passwd", "ftp://127.0.0.1/", "data:,x"] {
        let wire = Wire::start(move |_| reply("302 Found", &format!("Location: {to}\r\n"), b""));
        assert!(fetch(&wire).is_err(), "{to}");
        assert!(wire.lines().iter().all(|line| line == "GET /x.json HTTP/1.1"), "{:?}", wire.lines());
    }
}

#[test]
fn what_is_safe_in_a_target_path_stays_and_the_rest_is_quoted_on_the_wire() {
    let wire = Wire::start(|_| not_found());
    let source = http().targets(&wire.url("/a%7Eb/~c'd/")).unwrap();
    for path in
        ["dir/f_.-~Z9", "a b", "?", "#", "%41", "é", "a'b(c)!*;:@&=+$,", "[x]", "..a/b..", "\"<>^`{|}"]
    {
        fetch_from(&source, path, 10).unwrap();
    }
    let quoted = [
        "dir/f_.-~Z9",
        "a%20b",
        "%3F",
        "%23",
        "%2541",
        "%C3%A9",
        "a%27b%28c%29%21%2A%3B%3A%40%26%3D%2B%24%2C",
        "%5Bx%5D",
        "..a/b..",
        "%22%3C%3E%5E%60%7B%7C%7D",
    ];
    let lines: Vec<_> = quoted.iter().map(|path| format!("GET /a%7Eb/~c'd/{path} HTTP/1.1")).collect();
    assert_eq!(wire.lines(), lines);
}

#[test]
fn base_urls_that_cannot_work_are_refused_at_once() {
    for (url, reason) in [
        ("ftp://example.com/", "neither http nor https"),
        ("file:///tmp/", "neither http nor https"),
        ("http://example.com/?x=1", "it has a query or fragment"),
        ("http://example.com/#x", "it has a query or fragment"),
        ("example.com/x", "relative URL without a base"),
        ("http://", "empty host"),
    ] {
        let error = http().metadata(url).unwrap_err();
        assert_eq!(error, FetchError::BadUrl { url: url.into(), reason: reason.into() });
    }
}

/// Set for the child process of the next test alone.
const CHILD: &str = "WHEELSEAL_TEST_PROXY_CHILD";

#[test]
fn the_proxy_variables_of_the_environment_are_used() {
    if std::env::var_os(CHILD).is_some() {
        let source = http().metadata("http://repository.example/metadata/").unwrap();
        assert_eq!(fetch_from(&source, "x.json", 10), Ok((Fetched::Whole, b"proxied".to_vec())));
        return;
    }
    let proxy = Wire::start(|_| ok(b"proxied"));
    let name = "client::http::the_proxy_variables_of_the_environment_are_used";
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .envs([(CHILD, "1"), ("http_proxy", &proxy.url("")), ("no_proxy", "")])
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    assert_eq!(proxy.lines(), ["GET http://repository.example/metadata/x.json HTTP/1.1"]);
}

#[test]
fn a_retry_over_http_ends_in_a_whole_verified_file() {
    let mut repo = Repo::new();
    repo.add_file("targets", "file", b"content");
    repo.release_role("targets");
    let server = repo.server.clone();
    let wire = Wire::start(move |asked| match asked.path().strip_prefix("/metadata/") {
        Some(name) => server.metadata().get(name).map_or_else(not_found, |body| ok(body)),
        None if asked.before < 6 => {
            vec![Part::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nEVIL".to_vec()), Part::Close]
        }
        None => ok(b"content"),
    });
    let dir = tempfile::tempdir().unwrap();
    let cache = MetadataDir::init(dir.path().join("metadata"), &repo.server.bytes("1.root.json")).unwrap();
    let http = http();
    let (metadata, targets) =
        (http.metadata(&wire.url("/metadata/")).unwrap(), http.targets(&wire.url("/targets")).unwrap());
    let client = Client::new(Box::new(metadata), Box::new(targets), cache, Limits::default());
    let to = dir.path().join("file");
    run(async {
        let session = client.refresh(now()).await.unwrap();
        let found = session.find(&TargetPath::new("file").unwrap()).await.unwrap();
        session.download(&found, &to).await.unwrap();
    });
    assert_eq!(std::fs::read(&to).unwrap(), b"content");
    assert_eq!(wire.lines().len(), 7, "4 for metadata, 3 for the file");
    assert_eq!(std::fs::read_dir(dir.path().join("metadata/.spool")).unwrap().count(), 0);
}

/// A frame of one block, "hello", that asks for this window (RFC 8878, 3.1.1.1.2).
fn zstd_frame(window: u8) -> Vec<u8> {
    let (header, block) = ([0x28, 0xb5, 0x2f, 0xfd, 0, window], [5 << 3 | 1, 0, 0]);
    [&header[..], &block, b"hello"].concat()
}

#[test]
fn a_zstd_frame_that_asks_for_more_than_8_mib_of_window_is_refused() {
    let eight_mib = 13 << 3;
    assert_eq!(fetch(&encoded("zstd", zstd_frame(eight_mib))), Ok(b"hello".to_vec()));
    for window in [eight_mib + 1, 14 << 3, 21 << 3, 0xff] {
        let wire = encoded("zstd", zstd_frame(window));
        let error = FetchError::Encoding { url: wire.url("/x.json"), encoding: "zstd".to_owned() };
        assert_eq!(fetch(&wire), Err(error), "{window}");
        assert_eq!(wire.lines().len(), 1);
    }
}
