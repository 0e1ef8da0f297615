//! What no tool sends: wrong words, tricks in paths, heads without end, requests in two readings, silence.

use std::io::{Read, Write};
use std::time::Duration;

use wheelseal::proxy::Limits;

use super::tool::{Answer, exchange, request};
use super::{HOST, PAGE_PATH, Setup, Stage, WHEEL_PATH};

#[tokio::test]
async fn nobody_but_the_command_may_use_the_proxy() {
    let stage = Stage::new().await;
    let running = stage.forward(&Setup::default());
    let address = running.forward.as_ref().unwrap().address(1);
    assert_eq!(address, format!("http://wheelseal:{}@127.0.0.1:1", running.tool.word));
    let mut stranger = running.tool.clone();
    for word in ["", "0", &running.tool.word[1..]] {
        word.clone_into(&mut stranger.word);
        let refused = stranger.tunnel(HOST).unwrap_err();
        assert_eq!((refused.status, refused.field("proxy-authenticate")), (407, "Basic realm=\"wheelseal\""));
    }
    let plain =
        format!("GET http://index.test{PAGE_PATH} HTTP/1.1\r\nHost: index.test\r\nConnection: close\r\n\r\n");
    assert_eq!(Answer::read(&running.tool.raw(plain.as_bytes())).status, 407);
    assert_eq!(stage.asked(), [""; 0]);
}

#[tokio::test]
async fn tricks_in_paths_are_refused_before_anything_is_asked() {
    let stage = Stage::new().await;
    let running = stage.forward(&Setup::default());
    for path in [
        "/root/simple/../targets/alpha/alpha-1.0-py3-none-any.whl",
        "/root/simple/%2e%2e/alpha/",
        "/root/simple/alpha%2f",
        "/root//simple/alpha/",
        "//root/simple/alpha/",
        "/root/simple/alpha%00/",
        "/root/simple/%61lpha/",
        "/root/simple/alpha%5c..%5c/",
        "/%2e%2e/",
    ] {
        let answer = running.tool.get(path);
        assert_eq!((answer.status, answer.field("connection")), (400, "close"), "{path}");
    }
    assert_eq!(stage.asked(), [""; 0]);
    for path in ["/root\\simple/alpha/", "/root/simple/alpha /", "/root/simple/\u{0}/"] {
        let stream = running.tool.tls(HOST, "index.test").unwrap();
        let answer = exchange(stream, request("GET", path, "index.test", &[]).as_bytes());
        assert!(answer.starts_with(b"HTTP/1.1 400 "), "{path}");
    }
    assert_eq!(stage.asked(), [""; 0]);
}

#[tokio::test]
async fn a_request_is_for_the_host_of_its_connection() {
    let stage = Stage::new().await;
    let running = stage.forward(&Setup::default());
    let ask = |text: String| exchange(running.tool.tls(HOST, "index.test").unwrap(), text.as_bytes());
    for host in ["other.test", "index.test.evil.test", "index.test:8443", "index.test@other.test", ""] {
        assert_eq!(Answer::read(&ask(request("GET", PAGE_PATH, host, &[]))).status, 421, "{host}");
    }
    let two = request("GET", PAGE_PATH, "index.test", &["Host: other.test"]);
    assert_eq!(Answer::read(&ask(two)).status, 421);
    let none = format!("GET {PAGE_PATH} HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert_eq!(Answer::read(&ask(none)).status, 421);
    for host in ["index.test:443", "INDEX.TEST.", "index.test"] {
        assert_eq!(Answer::read(&ask(request("GET", PAGE_PATH, host, &[]))).status, 200, "{host}");
    }
}

#[tokio::test]
async fn requests_that_two_servers_would_read_differently_end_the_connection() {
    let stage = Stage::new().await;
    let running = stage.forward(&Setup::default());
    let second = format!("GET {WHEEL_PATH} HTTP/1.1\r\nHost: index.test\r\n\r\n");
    let length = second.len();
    for fields in [
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"),
        "Content-Length: 3\r\nContent-Length: 4\r\n".to_owned(),
        "Content-Length: +3\r\n".to_owned(),
        "Transfer-Encoding: chunked, identity\r\n".to_owned(),
        "Transfer-Encoding : chunked\r\n".to_owned(),
        format!("Content-Length: {length}\r\n"),
    ] {
        let text = format!("GET {PAGE_PATH} HTTP/1.1\r\nHost: index.test\r\n{fields}\r\n{second}");
        let answer = exchange(running.tool.tls(HOST, "index.test").unwrap(), text.as_bytes());
        let answers = answer.windows(9).filter(|window| window.starts_with(b"HTTP/1.1 ")).count();
        assert!(answer.starts_with(b"HTTP/1.1 400 "), "{fields}: {}", String::from_utf8_lossy(&answer));
        assert_eq!(answers, 1, "{fields}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"] {
        assert_eq!(running.tool.ask(method, PAGE_PATH, &[]).status, 405, "{method}");
    }
    assert_eq!(stage.asked(), [""; 0]);
}

#[tokio::test]
async fn giant_heads_and_nonsense_end_the_connection() {
    let stage = Stage::new().await;
    let running = stage.forward(&Setup::default());
    let long = format!("X-Long: {}", "x".repeat(20_000));
    let login = running.tool.login();
    let many: String = (0..100).flat_map(|at| [format!("X-{at}: 1"), "\r\n".to_owned()]).collect();
    for (fields, status) in [(format!("{long}\r\n"), b"431"), (many, b"431")] {
        let text = format!("CONNECT {HOST} HTTP/1.1\r\nHost: {HOST}\r\n{login}{fields}\r\n");
        let answer = running.tool.raw(text.as_bytes());
        assert_eq!(&answer[9..12], status);
    }
    for text in [
        "\r\n\r\nnonsense\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let answer = running.tool.raw(text.as_bytes());
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 4") || answer.starts_with(b"HTTP/1.1 5"),
            "{text:?}"
        );
    }
    for target in [HOST.replace(":443", ""), "user@index.test:443".to_owned(), "index.test:0x1bb".to_owned()]
    {
        let text = format!("CONNECT {target} HTTP/1.1\r\nHost: x\r\n{login}Connection: close\r\n\r\n");
        assert!(running.tool.raw(text.as_bytes()).starts_with(b"HTTP/1.1 400 "), "{target}");
    }
    let origin = format!("GET {PAGE_PATH} HTTP/1.1\r\nHost: index.test\r\n{login}\r\n");
    assert!(running.tool.raw(origin.as_bytes()).starts_with(b"HTTP/1.1 400 "));
    assert_eq!(running.tool.get(PAGE_PATH).status, 200);
}

#[tokio::test]
async fn who_says_nothing_is_sent_away() {
    let stage = Stage::new().await;
    let limits = Limits { head: Duration::from_millis(300), ..Limits::default() };
    let running = stage.forward(&Setup { limits, ..Setup::default() });
    let mut slow = running.tool.connect();
    slow.write_all(b"CONNECT index.test:443 HTTP/1.1\r\nX: ").unwrap();
    let mut tunnel = running.tool.tunnel(HOST).unwrap();
    let mut idle = running.tool.tls(HOST, "index.test").unwrap();
    let streams: [&mut dyn Read; 3] = [&mut slow, &mut tunnel, &mut idle];
    for stream in streams {
        let mut rest = Vec::new();
        // A timeout of the test's own would be an error of another kind.
        let ended = stream.read_to_end(&mut rest);
        let kind = ended.err().map(|error| error.kind());
        assert!(!matches!(kind, Some(std::io::ErrorKind::WouldBlock)), "it is still open");
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408 "));
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_until_another_one_ends() {
    let stage = Stage::new().await;
    let limits = Limits { connections: 2, ..Limits::default() };
    let running = stage.forward(&Setup { limits, ..Setup::default() });
    let (first, second) = (running.tool.tls(HOST, "index.test"), running.tool.tunnel(HOST));
    let mut third = running.tool.connect();
    let connect = format!("CONNECT {HOST} HTTP/1.1\r\nHost: {HOST}\r\n{}\r\n", running.tool.login());
    third.write_all(connect.as_bytes()).unwrap();
    third.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut answer = [0; 12];
    assert_eq!(third.read(&mut answer).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    drop((first, second));
    third.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    third.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}
