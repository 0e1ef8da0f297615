//! c2sp.org/tlog-witness@v1.0.0, sentence by sentence, over real HTTP.

use std::io::{Read, Write};

use signed_note::{StandardVerifier, Verifier, VerifierList};
use wheelseal::tlog::checkpoint::Checkpoint;
use wheelseal::tlog::key::{KeyKind, VerifierKey};
use wheelseal::tlog::merkle::Hash;
use wheelseal::tlog::witness::{AddCheckpoint, MAX_REQUEST_LEN, checkpoint_path};
use wheelseal::witness::{Folder, Limits};

use super::{Log, NAME, NOW, ORIGIN, Pair, Scene, Served, post, text};
use crate::serve::Answer;

const PLAIN: &str = "text/plain; charset=utf-8";

fn field<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.fields.get(name).map_or("", String::as_str)
}

fn is_size(answer: &Answer, size: u64) {
    let seen = (answer.status, field(answer, "content-type"), text(answer));
    assert_eq!(seen, (409, "text/x.tlog.size", format!("{size}\n").as_str()));
}

/// A log of 300 leaves, and its witness.
async fn scene() -> (Log, Scene, Served) {
    let log = Log::new(ORIGIN, 300);
    let scene = Scene::new(&log).await;
    let served = scene.served().await;
    (log, scene, served)
}

#[tokio::test]
async fn a_log_that_grows_is_cosigned_step_by_step() {
    let (log, scene, served) = scene().await;
    for (step, (old, new)) in
        [(0, 0), (0, 1), (1, 1), (1, 7), (7, 8), (8, 256), (256, 300)].into_iter().enumerate()
    {
        let now = NOW + 5 * i64::try_from(step).unwrap();
        scene.set_clock(now);
        let answer = served.post(log.request(old, new));
        assert_eq!((answer.status, field(&answer, "content-type")), (200, PLAIN), "{}", text(&answer));
        let time = scene.cosigned(&log.checkpoint(new), text(&answer));
        assert_eq!(time, u64::try_from(now).ok(), "{old} to {new}");
        assert!(text(&answer).starts_with(&format!("— {NAME} ")) && text(&answer).ends_with('\n'));
    }
    assert_eq!(scene.told(), [""; 0]);
}

/// The message of a cosignature, made by hand, checked by the crate's own Ed25519.
struct Cosigner {
    vkey: VerifierKey,
    bare: StandardVerifier,
}

impl Cosigner {
    fn new(pair: &Pair) -> Self {
        let wheelseal::crypto::PublicKey::Ed25519(key) = pair.key.public_key() else { unreachable!() };
        let bare = VerifierKey::new(pair.key.name().clone(), KeyKind::Log, key);
        Self { vkey: pair.key.clone(), bare: StandardVerifier::new(&bare.to_string()).unwrap() }
    }
}

impl Verifier for Cosigner {
    fn name(&self) -> &str {
        self.vkey.name().as_str()
    }

    fn key_id(&self) -> u32 {
        u32::from_be_bytes(*self.vkey.id().as_bytes())
    }

    fn verify(&self, msg: &[u8], sig: &[u8]) -> bool {
        let (time, signature) = sig.split_first_chunk::<8>().unwrap();
        let head = format!("cosignature/v1\ntime {}\n", u64::from_be_bytes(*time));
        self.bare.verify(&[head.as_bytes(), msg].concat(), signature)
    }
}

#[tokio::test]
async fn another_implementation_of_signed_notes_takes_the_cosignature() {
    let (log, scene, served) = scene().await;
    let note = format!("{}{}", log.checkpoint(5), text(&served.post(log.request(0, 5))));
    let log_key = StandardVerifier::new(&log.pair.key.to_string()).unwrap();
    let note = signed_note::Note::from_bytes(note.as_bytes()).unwrap();
    let keys = VerifierList::new(vec![Box::new(log_key), Box::new(Cosigner::new(&scene.pair))]);
    let (known, unknown) = note.verify(&keys).unwrap();
    let names: Vec<&str> = known.iter().map(signed_note::Signature::name).collect();
    assert_eq!((names.as_slice(), unknown.len()), ([ORIGIN, NAME].as_slice(), 0));
}

#[tokio::test]
async fn an_origin_that_is_unknown_is_not_found() {
    let (_log, _scene, served) = scene().await;
    let answer = served.post(Log::new("example.com/other", 1).request(0, 1));
    assert_eq!((answer.status, text(&answer)), (404, "this witness does not know the log\n"));
}

#[tokio::test]
async fn a_checkpoint_without_a_signature_of_a_trusted_key_is_forbidden() {
    let (_, scene, served) = scene().await;
    // The same name, so the same line but for the id.
    let answer = served.post(Log::new(ORIGIN, 1).request(0, 1));
    assert_eq!((answer.status, text(&answer)), (403, "no key that is known signed the note\n"));
    assert!(scene.witness().await.folder().latest(ORIGIN).await.unwrap().is_none());
}

#[tokio::test]
async fn a_bad_signature_of_a_trusted_key_is_forbidden_also_beside_a_good_one() {
    let (log, _scene, served) = scene().await;
    let line = |size| log.checkpoint(size).signatures()[0].to_string();
    let request = log.request(0, 5);
    for bad in [request.replace(&line(5), &line(6)), format!("{request}{}\n", line(6))] {
        let answer = served.post(&bad);
        assert_eq!(answer.status, 403, "{bad}");
        assert_eq!(text(&answer), format!("the note's signature by {ORIGIN} is bad\n"));
    }
}

#[tokio::test]
async fn signatures_of_unknown_keys_are_ignored_and_not_kept() {
    let (log, scene, served) = scene().await;
    let mut others = String::new();
    for n in 0..90 {
        let line = Log::new(&format!("other{n}"), 0).checkpoint(0).signatures()[0].to_string();
        others.push_str(&format!("{line}\n"));
    }
    let twice = format!("{}\n", log.checkpoint(5).signatures()[0]);
    let answer = served.post(format!("{}{others}{twice}", log.request(0, 5)));
    assert_eq!(answer.status, 200);
    assert!(scene.cosigned(&log.checkpoint(5), text(&answer)).is_some());
    let kept = served.ask("GET", &format!("/{}", checkpoint_path(ORIGIN)));
    assert_eq!(text(&kept), format!("{}{}", log.checkpoint(5), text(&answer)));
}

#[tokio::test]
async fn each_key_of_a_log_signs_for_it_and_a_removed_log_is_unknown() {
    let (log, scene, served) = scene().await;
    let mut renewed = log.clone();
    renewed.pair = std::sync::Arc::new(Pair::new("example.com/new-key", KeyKind::Log));
    assert_eq!(served.post(log.request(0, 3)).status, 200);
    assert_eq!(served.post(renewed.request(3, 4)).status, 403);
    let folder = Folder::open(scene.store().await).await.unwrap();
    folder.add_log(ORIGIN, renewed.pair.key.clone()).await.unwrap();
    assert_eq!(served.post(renewed.request(3, 4)).status, 200);
    assert_eq!(served.post(log.request(4, 5)).status, 200);
    folder.remove_log(ORIGIN).await.unwrap();
    assert_eq!(served.post(log.request(5, 6)).status, 404);
    // Monitors still see it, and who is added again goes on from there.
    assert_eq!(served.ask("GET", &format!("/{}", checkpoint_path(ORIGIN))).status, 200);
    folder.add_log(ORIGIN, log.pair.key.clone()).await.unwrap();
    is_size(&served.post(log.request(0, 4)), 5);
}

#[tokio::test]
async fn an_old_size_above_that_of_the_checkpoint_is_a_bad_request() {
    let (log, _scene, served) = scene().await;
    let request = AddCheckpoint::new(5, Vec::new(), log.checkpoint(3)).to_string();
    for _ in 0..2 {
        let answer = served.post(&request);
        let expected = "the old size is larger than that of the checkpoint\n";
        assert_eq!((answer.status, text(&answer)), (400, expected));
        served.post(log.request(0, 5));
    }
}

#[tokio::test]
async fn an_old_size_that_is_not_the_latest_is_told_the_latest() {
    let (log, _scene, served) = scene().await;
    is_size(&served.post(log.request(3, 5)), 0);
    assert_eq!(served.post(log.request(0, 5)).status, 200);
    for (old, new) in [(4, 9), (6, 9), (0, 9), (3, 4), (0, 0), (0, 5), (9, 9)] {
        is_size(&served.post(log.request(old, new)), 5);
    }
}

#[tokio::test]
async fn an_empty_tree_has_one_root() {
    let (log, _scene, served) = scene().await;
    let wrong = log.signed(&Checkpoint::new(ORIGIN, 0, Hash::leaf(b"")).unwrap());
    assert_eq!(served.post(AddCheckpoint::new(0, Vec::new(), wrong).to_string()).status, 422);
    assert_eq!(served.post(log.request(0, 0)).status, 200);
    let root = log.checkpoint(0);
    assert!(root.to_string().contains("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="));
}

#[tokio::test]
async fn a_proof_where_none_belongs_is_unprocessable() {
    let (log, _scene, served) = scene().await;
    let one = vec![Hash::leaf(b"")];
    assert_eq!(served.post(AddCheckpoint::new(0, one.clone(), log.checkpoint(5)).to_string()).status, 422);
    assert_eq!(served.post(log.request(0, 5)).status, 200);
    assert_eq!(served.post(AddCheckpoint::new(5, one, log.checkpoint(5)).to_string()).status, 422);
}

#[tokio::test]
async fn a_proof_that_does_not_verify_is_unprocessable() {
    let (log, _scene, served) = scene().await;
    assert_eq!(served.post(log.request(0, 5)).status, 200);
    let right = log.proof(5, 9);
    let (mut more, mut turned) = (right.clone(), right.clone());
    more.push(Hash::leaf(b""));
    turned.reverse();
    for wrong in [Vec::new(), right[1..].to_vec(), more, turned, log.proof(4, 9), log.proof(5, 10)] {
        assert_eq!(served.post(AddCheckpoint::new(5, wrong, log.checkpoint(9)).to_string()).status, 422);
    }
    assert_eq!(served.post(AddCheckpoint::new(5, right, log.checkpoint(9)).to_string()).status, 200);
}

#[tokio::test]
async fn another_root_of_the_same_size_is_unprocessable() {
    let (log, _scene, served) = scene().await;
    assert_eq!(served.post(log.request(0, 5)).status, 200);
    assert_eq!(served.post(log.forked(2).request(5, 5)).status, 422);
}

#[tokio::test]
async fn a_body_in_any_other_form_is_a_bad_request() {
    let (log, _scene, served) = scene().await;
    let (request, hash) = (log.request(0, 5), Hash::leaf(b""));
    let rest = request.strip_prefix("old 0\n").unwrap();
    let lines = |count: usize| format!("old 0\n{}{rest}", format!("{hash}\n").repeat(count));
    for body in [
        String::new(),
        rest.to_owned(),
        rest[1..].to_owned(),
        format!("old 00\n{rest}"),
        format!("old -0\n{rest}"),
        format!("old  0\n{rest}"),
        format!("OLD 0\n{rest}"),
        format!("old 18446744073709551616\n{rest}"),
        format!("old 0\r\n{rest}"),
        format!("old 0\n{}", &rest[1..]),
        format!("old 0\nAAAA\n{rest}"),
        format!("old 0\n{}\n{rest}", hash.to_string().replace('=', "")),
        lines(64),
        request[..request.len() - 1].to_owned(),
        format!("{request}\n"),
        format!("old 0\n\n{ORIGIN}\n5\n{hash}\n"),
        request.replacen("\n5\n", "\n05\n", 1),
    ] {
        let answer = served.post(&body);
        assert_eq!((answer.status, field(&answer, "content-type")), (400, PLAIN), "{body}");
    }
    // The most that a client may send.
    assert_eq!(served.post(lines(63)).status, 422);
    assert_eq!(served.post(b"old 0\n\n\xff\n".as_slice()).status, 400);
}

#[tokio::test]
async fn a_checkpoint_with_extension_lines_is_cosigned_with_them() {
    let (log, scene, served) = scene().await;
    let content = Checkpoint::parse(&format!("{ORIGIN}\n5\n{}\nan extension\n", log.root(5))).unwrap();
    let signed = log.signed(&content);
    let answer = served.post(AddCheckpoint::new(0, Vec::new(), signed.clone()).to_string());
    assert_eq!(answer.status, 200);
    assert!(scene.cosigned(&signed, text(&answer)).is_some());
    assert!(scene.cosigned(&log.checkpoint(5), text(&answer)).is_none());
}

#[tokio::test]
async fn only_post_adds_checkpoints_and_only_get_reads_them() {
    let (log, _scene, served) = scene().await;
    assert_eq!(served.post(log.request(0, 5)).status, 200);
    let path = format!("/{}", checkpoint_path(ORIGIN));
    for (method, path, status) in [
        ("GET", "/add-checkpoint", 405),
        ("PUT", "/add-checkpoint", 405),
        ("GET", path.as_str(), 200),
        ("POST", path.as_str(), 405),
        ("DELETE", path.as_str(), 405),
        ("GET", "/", 404),
        ("POST", "/sign-subtree", 404),
        ("GET", "/witness.toml", 404),
        ("GET", &path.replace("checkpoint", "keys"), 404),
        ("GET", &path.to_uppercase(), 404),
        ("GET", "/../checkpoint", 404),
        ("GET", "/..%2f..%2fetc/checkpoint", 404),
    ] {
        assert_eq!(served.ask(method, path).status, status, "{method} {path}");
    }
    let head = served.raw(format!("HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes());
    assert!(head.starts_with(b"HTTP/1.1 200 OK\r\n") && head.ends_with(b"\r\n\r\n"));
}

#[tokio::test]
async fn the_latest_checkpoint_is_served_with_both_signatures_and_to_nobody_before_it_is() {
    let (log, scene, served) = scene().await;
    let path = format!("/{}", checkpoint_path(ORIGIN));
    assert_eq!(served.ask("GET", &path).status, 404);
    served.post(log.forked(1).request(3, 5));
    assert_eq!(served.ask("GET", &path).status, 404);
    for (old, new) in [(0, 5), (5, 9)] {
        let cosigned = served.post(log.request(old, new));
        let answer = served.ask("GET", &path);
        assert_eq!(text(&answer), format!("{}{}", log.checkpoint(new), text(&cosigned)));
        assert_eq!(scene.cosigned(&log.checkpoint(new), text(&cosigned)), u64::try_from(NOW).ok());
    }
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request() {
    let (log, _scene, served) = scene().await;
    let mut stream = served.connect();
    for (old, new) in [(0, 1), (1, 2)] {
        let request = String::from_utf8(post(log.request(old, new).as_bytes())).unwrap();
        stream.write_all(request.replace("Connection: close\r\n", "").as_bytes()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        let mut rest = vec![0; 4_096];
        while !rest.ends_with(b"\n") {
            let count = stream.read(&mut rest[..]).unwrap();
            rest.truncate(count);
        }
    }
}

#[tokio::test]
async fn what_is_too_long_or_too_slow_is_given_up() {
    let log = Log::new(ORIGIN, 9);
    let scene = Scene::new(&log).await;
    let limits = Limits { body: std::time::Duration::from_millis(300), ..Limits::default() };
    let served = Served::new(scene.witness().await, limits);
    let endless = served.post(vec![b'a'; MAX_REQUEST_LEN + 1]);
    let expected = format!("at most {MAX_REQUEST_LEN} bytes are taken\n");
    assert_eq!((endless.status, text(&endless)), (413, expected.as_str()));
    let request = log.request(0, 5);
    let slow = &post(request.as_bytes())[..100];
    assert_eq!(Answer::read(&served.raw(slow)).status, 408);
    assert_eq!(served.post(request).status, 200);
}

#[tokio::test]
async fn counts_tell_what_was_answered() {
    let (log, _scene, served) = scene().await;
    for (old, new) in [(0, 5), (0, 5), (5, 6)] {
        served.post(log.request(old, new));
    }
    served.post("nonsense");
    let metrics = served.ask("GET", "/metrics");
    for line in [
        "wheelseal_witness_requests_total{status=\"200\"} 2",
        "wheelseal_witness_requests_total{status=\"400\"} 1",
        "wheelseal_witness_requests_total{status=\"409\"} 1",
        "wheelseal_witness_requests_total{status=\"503\"} 0",
        "wheelseal_connections_total 5",
    ] {
        assert!(text(&metrics).lines().any(|one| one == line), "no {line} in {}", text(&metrics));
    }
    assert_eq!((served.ask("GET", "/healthz").status, text(&served.ask("GET", "/healthz"))), (200, "ok\n"));
}
