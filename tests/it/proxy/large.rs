//! Large files, which are sent while they come: whole if they are what was signed, and never whole if they are not.

use std::fs;
use std::io::{Read, Write};

use wheelseal::proxy::Mode;
use wheelseal::repository::{Edit, read_distribution};
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

use super::tool::{Answer, exchange, request};
use super::{Gate, HOST, Part, Running, Setup, Stage};
use crate::scene::files_below;

pub(super) const BIG: &str = "big-1.0-py3-none-any.whl";
pub(super) const BIG_PATH: &str = "/root/targets/big/big-1.0-py3-none-any.whl";
/// Bytes at the end that are held back.
const HELD_BACK: usize = 64 * 1_024;
/// Bytes of data in the wheel: with them it is large.
const DATA: usize = 9 * 1_024 * 1_024;

/// An index with a large wheel, where it lies on the server, and its bytes.
async fn stage() -> (Stage, String, Vec<u8>) {
    let stage = Stage::new().await;
    let wheel = publish(&stage).await;
    let hashed = stage.hashed(&format!("big/{BIG}"));
    (stage, hashed, wheel)
}

/// Publishes it; its bytes.
pub(super) async fn publish(stage: &Stage) -> Vec<u8> {
    let wheel = big_wheel();
    let file = stage.scene.spool().join(BIG);
    fs::write(&file, &wheel).unwrap();
    let read = read_distribution(&file, &stage.scene.spool()).unwrap();
    stage.scene.publish(&[Edit::Add(Box::new(read))]).await.unwrap();
    wheel
}

fn big_wheel() -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    let data: Vec<u8> = (0..DATA).map(|_| next()).collect();
    let info = "big-1.0.dist-info";
    let record = format!("big.bin,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n");
    let tags = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
    let files = [
        ("big.bin".to_owned(), data),
        (format!("{info}/METADATA"), b"Metadata-Version: 2.1\nName: big\nVersion: 1.0\n\n".to_vec()),
        (format!("{info}/WHEEL"), tags.as_bytes().to_vec()),
        (format!("{info}/RECORD"), record.into_bytes()),
    ];
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in files {
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        archive.start_file(name, stored).unwrap();
        archive.write_all(&bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// What came of a file.
struct Got {
    /// None, if the connection broke off before a head came.
    answer: Option<Answer>,
    /// The bytes say of themselves that they are all: by their length, or by a last chunk.
    whole: bool,
}

impl Got {
    fn answer(self) -> Answer {
        assert!(self.whole);
        self.answer.unwrap()
    }
}

/// Asks for the large wheel, and reads to the end, whatever that is.
fn get(running: &Running, fields: &[&str]) -> Got {
    rest(Vec::new(), &mut ask(running, fields))
}

/// Reads some of an answer.
fn beginning(stream: &mut impl Read) -> Vec<u8> {
    let mut some = vec![0; 4_000_000];
    stream.read_exact(&mut some).unwrap();
    some
}

/// Reads on to the end.
fn rest(mut bytes: Vec<u8>, stream: &mut impl Read) -> Got {
    // How a connection ends says nothing: to pip, TLS that breaks off is an end like another.
    drop(stream.read_to_end(&mut bytes));
    if bytes.is_empty() {
        return Got { answer: None, whole: false };
    }
    let mut answer = Answer::read(&bytes);
    let whole = if answer.field("transfer-encoding") == "chunked" {
        let (body, whole) = unchunked(&answer.body);
        answer.body = body;
        whole
    } else {
        answer.field("content-length") == answer.body.len().to_string()
    };
    Got { answer: Some(answer), whole }
}

/// What is in the chunks, as far as they came; `true`: up to the last one.
fn unchunked(mut chunks: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(end) = chunks.windows(2).position(|two| two == b"\r\n") {
        let length = usize::from_str_radix(std::str::from_utf8(&chunks[..end]).unwrap(), 16).unwrap();
        if length == 0 {
            return (body, &chunks[end..] == b"\r\n\r\n");
        }
        let rest = &chunks[end + 2..];
        body.extend_from_slice(&rest[..length.min(rest.len())]);
        chunks = rest.get(length + 2..).unwrap_or_default();
    }
    (body, false)
}

/// Asks for the large wheel.
fn ask(running: &Running, fields: &[&str]) -> impl Read + use<> {
    let mut stream = running.tool.tls(HOST, "index.test").unwrap();
    stream.write_all(request("GET", BIG_PATH, "index.test", fields).as_bytes()).unwrap();
    stream.flush().unwrap();
    stream
}

/// The head of an answer with so many bytes, and some of them.
fn part(length: usize, bytes: &[u8]) -> Part {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    Part::Bytes([head.as_bytes(), bytes].concat())
}

/// The file in two halves; between them the server waits at the gate.
fn in_halves(wheel: &[u8]) -> (Gate, Vec<Part>) {
    let (gate, half) = (Gate::default(), wheel.len() / 2);
    let at = gate.clone();
    let parts = vec![
        part(wheel.len(), &wheel[..half]),
        Part::After(Box::new(move || at.pass())),
        Part::Bytes(wheel[half..].to_vec()),
    ];
    (gate, parts)
}

/// It began, broke off before its end, and nothing of it is kept.
fn broke_off(stage: &Stage, got: &Got, wheel: &[u8]) {
    if let Some(answer) = &got.answer {
        assert_eq!((answer.status, answer.field("content-length")), (200, ""));
        assert!(answer.body.len() <= wheel.len() - HELD_BACK, "{} bytes came", answer.body.len());
    }
    assert!(!got.whole);
    assert!(kept(stage).is_empty());
}

/// The cache has a file a moment after its last byte was sent.
fn until_kept(stage: &Stage) {
    while kept(stage).iter().any(|name| name.contains("spool")) || kept(stage).is_empty() {
        std::thread::yield_now();
    }
}

fn kept(stage: &Stage) -> Vec<String> {
    let mut files = files_below(&stage.home.path().join("cache"));
    files.extend(files_below(&stage.home.path().join("state")).into_iter().filter(|(name, _)| {
        name.contains("spool") // Files of metadata lie beside it.
    }));
    files.into_keys().collect()
}

#[tokio::test]
async fn a_good_large_file_arrives_byte_for_byte_and_in_parts_only_afterwards() {
    let (stage, hashed, wheel) = stage().await;
    let running = stage.forward(&Setup { cache_bytes: 1_000_000_000, ..Setup::default() });
    let first = get(&running, &["Range: bytes=5-9"]).answer();
    assert!(first.status == 200 && first.body == wheel);
    assert_eq!((first.field("accept-ranges"), first.field("etag")), ("", ""));
    let (served, _) = running.journal.served();
    assert!(served.len() == 1 && served[0].fetched);
    until_kept(&stage);
    stage.asked();
    let part = get(&running, &["Range: bytes=5-9"]).answer();
    assert_eq!((part.status, part.body.as_slice()), (206, &wheel[5..10]));
    assert!(get(&running, &[]).answer().body == wheel);
    assert!(!stage.asked().contains(&format!("/{hashed}")));
    assert_eq!(running.refused(), [""; 0]);
}

#[tokio::test]
async fn a_large_file_with_one_wrong_byte_never_arrives_whole_and_is_refused_from_then_on() {
    for wrong in [0, DATA / 2, usize::MAX] {
        let (stage, hashed, wheel) = stage().await;
        let mut evil = wheel.clone();
        evil[wrong.min(wheel.len() - 1)] ^= 1;
        let (gate, parts) = in_halves(&evil);
        stage.turns(&hashed, [parts]);
        let running = stage.forward(&Setup::default());
        let mut stream = ask(&running, &[]);
        let some = beginning(&mut stream);
        gate.open();
        broke_off(&stage, &rest(some, &mut stream), &wheel);
        let why = format!("{BIG}: big/{BIG} is not the file that was signed: SHA-256 is ");
        assert_eq!(running.refused().len(), 1);
        assert!(running.refused()[0].starts_with(&why), "{:?}", running.refused());
        assert_eq!(running.journal.served().0.len(), 0);
        stage.asked();
        // Who asks again, for all or for the rest, learns why; nobody is asked for that.
        for fields in [&[][..], &["Range: bytes=8000000-"][..]] {
            let again = get(&running, fields).answer();
            assert_eq!(again.status, 403);
            assert!(again.phrase.contains("is not the file that was signed"), "{}", again.phrase);
        }
        assert_eq!(stage.asked(), [""; 0]);
        assert_eq!(running.refused().len(), 1);
    }
}

#[tokio::test]
async fn a_large_file_of_another_length_never_arrives_whole() {
    let (stage, hashed, wheel) = stage().await;
    stage.lie(&hashed, &wheel[..wheel.len() - 1]);
    let short = stage.forward(&Setup::default());
    broke_off(&stage, &get(&short, &[]), &wheel);
    assert!(short.refused()[0].contains(&format!("has {} bytes, signed are", wheel.len() - 1)));
    let longer = [&wheel[..], b"x"].concat();
    stage.lie(&hashed, &longer);
    let long = stage.forward(&Setup::default());
    let got = get(&long, &[]).answer();
    assert_eq!(got.status, 403, "its length was told before its first byte");
    assert!(got.phrase.contains("more than the"), "{}", got.phrase);
    stage.lie_raw(&hashed, &[b"HTTP/1.1 200 OK\r\n\r\n", &longer[..]].concat());
    let untold = stage.forward(&Setup::default());
    broke_off(&stage, &get(&untold, &[]), &wheel);
    assert!(untold.refused()[0].contains("more than the"));
}

#[tokio::test]
async fn who_knows_no_chunks_gets_a_large_file_only_after_it_was_checked() {
    let (stage, _, wheel) = stage().await;
    let running = stage.forward(&Setup { cache_bytes: 1_000_000_000, ..Setup::default() });
    let old = request("GET", BIG_PATH, "index.test", &[]).replace("HTTP/1.1", "HTTP/1.0");
    let ask = || Answer::read(&exchange(running.tool.tls(HOST, "index.test").unwrap(), old.as_bytes()));
    assert_eq!(ask().status, 400);
    assert!(get(&running, &[]).answer().body == wheel);
    until_kept(&stage);
    let later = ask();
    assert_eq!((later.status, later.body == wheel), (200, true));
}

#[tokio::test]
async fn bytes_come_while_the_server_still_sends_and_all_who_ask_share_one_fetch() {
    let (stage, hashed, wheel) = stage().await;
    let (gate, parts) = in_halves(&wheel);
    stage.turns(&hashed, [parts]);
    let running = stage.forward(&Setup::default());
    let (mut first, mut second) = (ask(&running, &[]), ask(&running, &["Range: bytes=1-"]));
    let begun = [beginning(&mut first), beginning(&mut second)];
    gate.wait_for_a_request();
    gate.open();
    for (begun, mut stream) in begun.into_iter().zip([first, second]) {
        assert!(rest(begun, &mut stream).answer().body == wheel);
    }
    assert_eq!(stage.asked().iter().filter(|path| **path == format!("/{hashed}")).count(), 1);
}

#[tokio::test]
async fn who_goes_away_in_the_middle_leaves_the_file_to_others() {
    let (stage, hashed, wheel) = stage().await;
    let (gate, parts) = in_halves(&wheel);
    stage.turns(&hashed, [parts]);
    let running = stage.forward(&Setup::default());
    let mut impatient = ask(&running, &[]);
    beginning(&mut impatient);
    drop(impatient);
    let mut patient = ask(&running, &[]);
    // The cache is too small to keep the file: who asks after its end would fetch it once more.
    let begun = beginning(&mut patient);
    gate.open();
    assert!(rest(begun, &mut patient).answer().body == wheel);
    assert_eq!(stage.asked().iter().filter(|path| **path == format!("/{hashed}")).count(), 1);
}

#[tokio::test]
async fn an_interrupted_file_goes_on_if_it_is_the_same_and_is_refused_if_it_is_another() {
    let (stage, hashed, wheel) = stage().await;
    let half = wheel.len() / 2;
    let interrupted = |bytes: &[u8]| vec![part(wheel.len(), &bytes[..half]), Part::Close];
    stage.turns(&hashed, [interrupted(&wheel), interrupted(&wheel)]);
    let got = get(&stage.forward(&Setup::default()), &[]);
    assert!(got.answer().body == wheel);

    let (stage, hashed, _) = self::stage().await;
    let mut evil = wheel.clone();
    evil[1_000] ^= 1;
    // What came second is what was signed; who read the first would have a mixture.
    stage.turns(&hashed, [interrupted(&evil)]);
    let running = stage.forward(&Setup::default());
    broke_off(&stage, &get(&running, &[]), &wheel);
    let why = format!("{BIG}: big/{BIG} came with other bytes when the server was asked for it again");
    assert_eq!(running.refused(), [why]);
}

#[tokio::test]
async fn after_an_interruption_for_good_the_file_is_given_out_whole_or_not_at_all() {
    let (stage, hashed, wheel) = stage().await;
    let mut evil = wheel.clone();
    evil[0] ^= 1;
    let interrupted = || vec![part(wheel.len(), &evil[..wheel.len() / 2]), Part::Close];
    stage.turns(&hashed, [interrupted(), interrupted(), interrupted(), interrupted()]);
    let running = stage.forward(&Setup { cache_bytes: 1_000_000_000, ..Setup::default() });
    broke_off(&stage, &get(&running, &[]), &wheel);
    assert!(running.refused()[0].contains("fetching"), "{:?}", running.refused());
    assert!(get(&running, &[]).answer().body == wheel);
    until_kept(&stage);
    // Half of another file and half of this one would be a third one.
    let resumed = get(&running, &["Range: bytes=4000000-"]).answer();
    assert_eq!((resumed.status, resumed.field("accept-ranges")), (200, ""));
    assert!(resumed.body == wheel);
}

#[tokio::test]
async fn with_warn_nothing_of_a_large_file_is_sent_before_it_was_checked() {
    let (stage, hashed, wheel) = stage().await;
    let mut evil = wheel.clone();
    evil[0] ^= 1;
    stage.lie(&hashed, &evil);
    let running = stage.forward(&Setup { mode: Mode::Warn, ..Setup::default() });
    let answer = get(&running, &[]).answer();
    assert!(answer.status != 200 && answer.body.len() < HELD_BACK);
    assert!(running.refused()[0].contains("is not the file that was signed"));
}
