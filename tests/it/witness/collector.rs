//! A log collects cosignatures: from real witness processes, and from others that are down, slow or lie.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use wheelseal::client::{Http, Timing};
use wheelseal::log::{ConsistencyProofs, CosignError, Cosigners};
use wheelseal::tlog::checkpoint::SignedCheckpoint;
use wheelseal::tlog::key::KeyKind;
use wheelseal::tlog::merkle::Hash;
use wheelseal::tlog::policy::Policy;
use wheelseal::tlog::witness::{MAX_ANSWER_LEN, cosigned_body};
use wheelseal::witness::{Collector, Patience};

use super::command::{Running, made};
use super::{Log, NOW, ORIGIN, Pair, Scene, Served, text};
use crate::shell::Home;

/// Longer than any test lasts.
const NEVER: Duration = Duration::from_hours(1);
/// What is waited for in vain is not waited for long.
const SHORT: Patience = Patience {
    each: Duration::from_secs(5),
    whole: Duration::from_secs(2),
    grace: Duration::from_millis(100),
    pause: Duration::from_millis(20),
};
/// Nothing that ends must end by itself.
const LONG: Patience = Patience { each: NEVER, whole: NEVER, grace: NEVER, pause: Duration::from_millis(20) };

/// Proofs up to the present size of a log.
struct UpTo<'a>(&'a Log, u64);

#[async_trait]
impl ConsistencyProofs for UpTo<'_> {
    async fn from(&self, old: u64) -> Result<Vec<Hash>, String> {
        Ok(self.0.proof(old, self.1))
    }
}

/// A policy of these witnesses, each with its vkey and address, called `w1` and so on.
fn policy(log: &Log, witnesses: &[(String, String)], quorum: usize) -> Policy {
    let mut text = format!("log {}\n", log.pair.key);
    let names: Vec<_> = (1..=witnesses.len()).map(|n| format!("w{n}")).collect();
    for (name, (vkey, url)) in names.iter().zip(witnesses) {
        text.push_str(&format!("witness {name} {vkey} {url}\n"));
    }
    let end = match quorum {
        0 => "quorum none\n".to_owned(),
        quorum => format!("group all-of-them {quorum} {}\nquorum all-of-them\n", names.join(" ")),
    };
    Policy::parse((text + &end).as_bytes()).unwrap()
}

fn collector(log: &Log, witnesses: &[(String, String)], quorum: usize, patience: Patience) -> Collector {
    Collector::new(policy(log, witnesses, quorum), Http::new(Timing::default()).unwrap(), patience)
}

async fn collect(collector: &Collector, log: &Log, size: u64) -> Result<SignedCheckpoint, CosignError> {
    collector.cosign(log.checkpoint(size), &UpTo(log, size)).await
}

/// Names of those who cosigned, if the policy takes the checkpoint.
fn cosigned(collector: &Collector, checkpoint: &SignedCheckpoint) -> Vec<String> {
    let accepted = collector.policy().check(checkpoint).unwrap();
    accepted.cosigned().iter().map(|(name, _)| name.clone()).collect()
}

fn problems(refused: Result<SignedCheckpoint, CosignError>) -> Vec<String> {
    match refused {
        Err(CosignError::NoQuorum { problems }) => problems,
        other => panic!("{other:?}"),
    }
}

/// Answers each request as it is told, on a thread that ends with the tests; one that is to get nothing waits.
fn fake(answer: impl Fn(&str) -> String + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for mut stream in listener.incoming().flatten() {
            let mut request = Vec::new();
            let mut part = [0; 4_096];
            while !whole(&request) {
                match stream.read(&mut part) {
                    Ok(count) if count > 0 => request.extend_from_slice(&part[..count]),
                    _ => break,
                }
            }
            let answer = answer(&String::from_utf8_lossy(&request));
            drop(stream.write_all(answer.as_bytes()));
            if answer.is_empty() {
                kept.push(stream);
            }
        }
    });
    url
}

fn whole(request: &[u8]) -> bool {
    let request = String::from_utf8_lossy(request);
    let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
    let length = head.to_ascii_lowercase();
    let length =
        length.split_once("content-length: ").and_then(|(_, rest)| rest.lines().next()?.parse().ok());
    length.is_none_or(|length: usize| body.len() >= length)
}

fn http(status: u16, content_type: &str, body: &str) -> String {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {length}");
    format!("{head}\r\nConnection: close\r\n\r\n{body}")
}

/// The answer of a witness that cosigns this checkpoint, whatever it is asked.
fn line(pair: &Pair, checkpoint: &SignedCheckpoint, time: u64) -> String {
    let signature = pair.signature(checkpoint.cosignature_message(time).as_bytes());
    cosigned_body(&[checkpoint.cosignature(&pair.key, time, &signature).unwrap()])
}

fn witness(n: usize) -> Pair {
    Pair::new(&format!("w{n}.example"), KeyKind::Witness)
}

/// A port at which nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// One real witness in this process.
async fn real(log: &Log) -> (Scene, Served, (String, String)) {
    let scene = Scene::new(log).await;
    let served = scene.served().await;
    let entry = (scene.pair.key.to_string(), served.url());
    (scene, served, entry)
}

#[tokio::test]
async fn three_witness_processes_are_enough_while_one_is_down_one_lies_and_one_is_slow() {
    let (home, log) = (Home::new(), Log::new(ORIGIN, 40));
    let mut running = Vec::new();
    let mut witnesses = Vec::new();
    for n in 1..=3 {
        let folder = format!("w{n}");
        let vkey = made(&home, &folder, &format!("{folder}.example"));
        home.run(&["witness", "log", "add", &folder, &log.pair.key.to_string()]).fine();
        let process = Running::new(&home, &folder);
        witnesses.push((vkey, process.url.clone()));
        running.push(process);
    }
    let (liar, other) = (witness(5), log.checkpoint(3));
    let lie = line(&liar, &other, 5);
    let lying = fake(move |_| http(200, "text/plain", &lie));
    witnesses.push((witness(4).key.to_string(), nobody()));
    witnesses.push((liar.key.to_string(), lying));
    witnesses.push((witness(6).key.to_string(), fake(|_| String::new())));
    let collector = collector(&log, &witnesses, 3, SHORT);
    for size in [7, 40] {
        let checkpoint = collect(&collector, &log, size).await.unwrap();
        assert_eq!(cosigned(&collector, &checkpoint), ["w1", "w2", "w3"]);
    }
    // One of the three gone: not enough, and all say why.
    running.pop();
    let said = problems(collect(&collector, &log, 40).await);
    assert_eq!(said.len(), 5, "{said:?}");
    assert_eq!(said[0], "2 of 6 witnesses cosigned");
    assert_eq!(
        said[1],
        "w5: it answered with no good cosignature: the note's signature by w5.example is bad"
    );
    for (name, (_, url), found) in [("w3", &witnesses[2], &said[2]), ("w4", &witnesses[3], &said[3])] {
        let (url, refused) = (url.trim_end_matches('/'), "Connection refused");
        let expected = format!("{name}: fetching {url}/add-checkpoint: ");
        assert!(found.starts_with(&expected) && found.contains(refused), "{found}");
    }
    assert_eq!(said[4], "w6: it had not answered yet");
}

#[tokio::test]
async fn a_witness_is_asked_from_the_size_that_it_was_found_to_know() {
    let log = Log::new(ORIGIN, 40);
    let (_scene, served, entry) = real(&log).await;
    served.post(log.request(0, 5));
    let collector = collector(&log, &[entry], 1, LONG);
    let answers = || text(&served.ask("GET", "/metrics")).to_owned();
    for (size, asked) in [(9, 2), (20, 3), (20, 4), (40, 5)] {
        collect(&collector, &log, size).await.unwrap();
        assert!(answers().contains("witness_requests_total{status=\"409\"} 1\n"), "{}", answers());
        assert!(answers().contains(&format!("witness_requests_total{{status=\"200\"}} {asked}\n")));
    }
}

#[tokio::test]
async fn a_head_smaller_than_what_a_witness_shows_ends_it_whoever_else_cosigns() {
    let log = Log::new(ORIGIN, 40);
    let (_one, served, entry) = real(&log).await;
    let (_two, _other, second) = real(&log).await;
    served.post(log.request(0, 20));
    let larger = CosignError::Larger { witness: "w1".to_owned(), known: 20, size: 9 };
    // 2 of 2, so that both are waited for.
    let refused = collect(&collector(&log, &[entry, second], 2, LONG), &log, 9).await;
    assert_eq!(refused, Err(larger));
}

#[tokio::test]
async fn a_head_that_does_not_continue_what_a_witness_shows_ends_it() {
    let log = Log::new(ORIGIN, 40);
    let (_one, served, entry) = real(&log).await;
    served.post(log.request(0, 20));
    for size in [20, 40] {
        let fork = log.forked(3);
        let refused = collect(&collector(&log, std::slice::from_ref(&entry), 1, LONG), &fork, size).await;
        let Err(CosignError::Conflict { witness, problem }) = refused else { panic!("{refused:?}") };
        assert_eq!(witness, "w1");
        assert!(problem.contains("root"), "{problem}");
    }
}

#[tokio::test]
async fn one_that_only_says_it_knows_more_stops_nobody() {
    let log = Log::new(ORIGIN, 40);
    let (_one, _served, entry) = real(&log).await;
    // A checkpoint that the log's key did not sign.
    let shown = Log::new(ORIGIN, 1_000).checkpoint(1_000).to_string();
    let says_more = fake(move |request| {
        if request.starts_with("POST") {
            http(409, "text/x.tlog.size; charset=utf-8", "1000\n")
        } else {
            http(200, "text/plain", &shown)
        }
    });
    let witnesses = [entry, (witness(2).key.to_string(), says_more)];
    let checkpoint = collect(&collector(&log, &witnesses, 1, SHORT), &log, 9).await.unwrap();
    assert_eq!(checkpoint.signatures().len(), 2);
    let said = problems(collect(&collector(&log, &witnesses, 2, LONG), &log, 9).await);
    let expected =
        "w2: it says that it knows 1000 entries, and the log has 9; it shows no checkpoint of them";
    // It may end before the other one has answered, as no quorum can come any more.
    assert!(said.contains(&expected.to_owned()), "{said:?}");
}

#[tokio::test]
async fn it_ends_at_once_when_the_quorum_cannot_hold_any_more() {
    let log = Log::new(ORIGIN, 9);
    let refuses = fake(|_| http(404, "text/plain", "I do not know\u{1b}[31m it\r\n"));
    let silent = fake(|_| String::new());
    let witnesses = [(witness(1).key.to_string(), refuses), (witness(2).key.to_string(), silent)];
    let said = problems(collect(&collector(&log, &witnesses, 2, LONG), &log, 9).await);
    let expected = [
        "0 of 2 witnesses cosigned",
        "w1: it answered 404: I do not know\\u{1b}[31m it",
        "w2: it had not answered yet",
    ];
    assert_eq!(said, expected);
}

#[tokio::test]
async fn a_witness_that_fails_for_a_moment_is_asked_again() {
    let log = Log::new(ORIGIN, 9);
    let pair = witness(1);
    let (count, good) = (Arc::new(AtomicUsize::new(0)), line(&pair, &log.checkpoint(9), 5));
    let counted = Arc::clone(&count);
    let url = fake(move |_| match counted.fetch_add(1, Ordering::SeqCst) {
        0 => http(503, "text/plain", "try again later"),
        1 => http(429, "text/plain", "too many"),
        2 => "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncut off".to_owned(),
        _ => http(200, "text/plain", &good),
    });
    let collector = collector(&log, &[(pair.key.to_string(), url)], 1, LONG);
    let checkpoint = collect(&collector, &log, 9).await.unwrap();
    assert_eq!((cosigned(&collector, &checkpoint).len(), count.load(Ordering::SeqCst)), (1, 4));
}

#[tokio::test]
async fn what_is_no_good_cosignature_does_not_count() {
    let log = Log::new(ORIGIN, 9);
    let (pair, stranger, checkpoint) = (witness(1), witness(2), log.checkpoint(9));
    let now = u64::try_from(NOW).unwrap();
    let good = line(&pair, &checkpoint, now);
    for (answer, expected) in [
        (line(&pair, &checkpoint, 0), "w1: it cosigned without a time"),
        (
            line(&stranger, &checkpoint, now),
            "w1: it answered with no good cosignature: no key that is known signed the note",
        ),
        (
            line(&pair, &log.checkpoint(3), now),
            "w1: it answered with no good cosignature: the note's signature by w1.example is bad",
        ),
        (
            good.trim_end().to_owned(),
            "w1: its answer cannot be read: signature line 1 of the note is not \"— NAME BASE64\" with a newline",
        ),
    ] {
        let url = fake(move |_| http(200, "text/plain", &answer));
        let collector = collector(&log, &[(pair.key.to_string(), url)], 1, LONG);
        let said = problems(collect(&collector, &log, 9).await);
        assert_eq!(said[1], expected);
    }
    let both = line(&stranger, &checkpoint, now) + &good;
    let url = fake(move |_| http(200, "text/plain", &both));
    let collector = collector(&log, &[(pair.key.to_string(), url)], 1, LONG);
    // Of two lines, the one of the witness itself is taken.
    assert_eq!(collect(&collector, &log, 9).await.unwrap().signatures().len(), 2);
}

#[tokio::test]
async fn an_answer_without_end_is_given_up() {
    let log = Log::new(ORIGIN, 9);
    let url = fake(|_| http(200, "text/plain", &"a".repeat(MAX_ANSWER_LEN + 1)));
    let address = format!("{url}/add-checkpoint");
    let collector = collector(&log, &[(witness(1).key.to_string(), url)], 1, LONG);
    let said = problems(collect(&collector, &log, 9).await);
    assert_eq!(said[1], format!("w1: fetching {address}: more than the {MAX_ANSWER_LEN} bytes expected"));
}

#[tokio::test]
async fn who_is_down_is_not_waited_for_once_there_are_enough() {
    let log = Log::new(ORIGIN, 9);
    let (_one, _served, entry) = real(&log).await;
    let collector = collector(&log, &[entry, (witness(2).key.to_string(), nobody())], 1, LONG);
    for size in [5, 9] {
        let checkpoint = collect(&collector, &log, size).await.unwrap();
        assert_eq!(cosigned(&collector, &checkpoint), ["w1"]);
    }
}

/// The size of the checkpoint in a request.
fn asked(request: &str) -> u64 {
    let note = request.split_once(ORIGIN).map(|(_, rest)| rest);
    note.and_then(|rest| rest.lines().nth(1)?.parse().ok()).unwrap_or_default()
}

#[tokio::test]
async fn who_failed_is_waited_for_again_after_a_round_without() {
    let log = Log::new(ORIGIN, 9);
    let (_one, _served, entry) = real(&log).await;
    let pair = witness(2);
    let good = line(&pair, &log.checkpoint(9), 5);
    let url = fake(move |request| match asked(request) {
        5 => http(404, "text/plain", "not now"),
        9 => http(200, "text/plain", &good),
        _ => String::new(),
    });
    let collector = collector(&log, &[entry, (pair.key.to_string(), url)], 1, LONG);
    // It refuses, says nothing while nobody waits, and is waited for.
    for (size, expected) in [(5, vec!["w1"]), (7, vec!["w1"]), (9, vec!["w1", "w2"])] {
        let checkpoint = collect(&collector, &log, size).await.unwrap();
        assert_eq!(cosigned(&collector, &checkpoint), expected, "{size}");
    }
}

#[tokio::test]
async fn what_was_proven_against_a_log_is_not_forgotten_when_its_witness_is_gone() {
    let log = Log::new(ORIGIN, 40);
    let (fork, pair, gone) = (log.forked(3), witness(1), Arc::new(AtomicBool::new(false)));
    let lines = [fork.checkpoint(20), fork.checkpoint(40), log.checkpoint(40)];
    let lines = lines.map(|checkpoint| (checkpoint.to_string(), line(&pair, &checkpoint, 5)));
    // This one cosigns whatever it is asked to.
    let easy = fake(move |request| {
        let of = lines.iter().find(|(checkpoint, _)| request.contains(checkpoint));
        of.map_or_else(|| http(404, "text/plain", "what?"), |(_, line)| http(200, "text/plain", line))
    });
    let (shown, is_gone) = (log.checkpoint(30).to_string(), Arc::clone(&gone));
    let honest = fake(move |request| match (is_gone.load(Ordering::SeqCst), request.starts_with("POST")) {
        (true, _) => http(404, "text/plain", "gone"),
        (false, true) => http(409, "text/x.tlog.size", "30\n"),
        (false, false) => http(200, "text/plain", &shown),
    });
    let witnesses = [(pair.key.to_string(), easy), (witness(2).key.to_string(), honest)];
    let collector = collector(&log, &witnesses, 1, LONG);
    let larger = CosignError::Larger { witness: "w2".to_owned(), known: 30, size: 20 };
    assert_eq!(collect(&collector, &fork, 20).await, Err(larger.clone()));
    gone.store(true, Ordering::SeqCst);
    assert_eq!(collect(&collector, &fork, 20).await, Err(larger));
    let refused = collect(&collector, &fork, 40).await;
    let Err(CosignError::Conflict { witness, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(witness, "w2");
    let checkpoint = collect(&collector, &log, 40).await.unwrap();
    assert_eq!(cosigned(&collector, &checkpoint), ["w1"]);
}

#[tokio::test]
async fn a_policy_that_wants_nobody_takes_those_who_answer() {
    let log = Log::new(ORIGIN, 9);
    let none = collector(&log, &[], 0, LONG);
    assert_eq!(collect(&none, &log, 9).await.unwrap(), log.checkpoint(9));
    let (_one, _served, entry) = real(&log).await;
    let some = collector(&log, &[entry], 0, LONG);
    let checkpoint = collect(&some, &log, 9).await.unwrap();
    assert_eq!(cosigned(&some, &checkpoint), ["w1"]);
}

#[tokio::test]
async fn a_witness_without_an_address_is_named() {
    let log = Log::new(ORIGIN, 9);
    let text = format!("log {}\nwitness w1 {}\nquorum w1\n", log.pair.key, witness(1).key);
    let policy = Policy::parse(text.as_bytes()).unwrap();
    let collector = Collector::new(policy, Http::new(Timing::default()).unwrap(), LONG);
    let said = problems(collect(&collector, &log, 9).await);
    assert_eq!(said, ["0 of 1 witnesses cosigned", "w1: the policy has no address for it"]);
}

#[tokio::test]
async fn nobody_is_asked_about_a_checkpoint_of_another_log() {
    let (log, other) = (Log::new(ORIGIN, 9), Log::new("example.com/other", 9));
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let url = fake(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        String::new()
    });
    let collector = collector(&log, &[(witness(1).key.to_string(), url)], 1, LONG);
    let said = problems(collect(&collector, &other, 9).await);
    assert_eq!(said, ["no log of the policy has the origin \"example.com/other\""]);
    // The same origin, by a key that is not the policy's.
    let said = problems(collect(&collector, &Log::new(ORIGIN, 9), 9).await);
    assert_eq!(said, ["no key that is known signed the note"]);
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}
