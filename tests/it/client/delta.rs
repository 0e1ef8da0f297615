//! Newer versions of what is at hand, sent as what changed (RFC 9842): what is asked, what is believed.

use std::time::Duration;

use wheelseal::client::{Client, FetchError, Fetched, Http, HttpSource, MetadataDir, Source, Timing};
use wheelseal::coding::DecodeError;
use wheelseal::coding::delta::{self, Held};
use wheelseal::crypto::sha256;
use wheelseal::tuf::trusted::{Limits, TrustError};

use super::wire::{Asked, Part, Wire, not_found, ok, reply};
use crate::simulator::{Repo, now, run};

const OLD: &[u8] =
    b"{\"meta\":\"a file that has some length, so that a change of it is shorter\",\"version\":41}";
const NEW: &[u8] =
    b"{\"meta\":\"a file that has some length, so that a change of it is smaller\",\"version\":42}";

fn http() -> Http {
    let timing = Timing {
        connect: Duration::from_secs(2),
        head: Duration::from_secs(5),
        pauses: [Duration::from_millis(1); 3],
        ..Timing::default()
    };
    Http::new(timing).unwrap()
}

fn source(wire: &Wire) -> HttpSource {
    http().metadata(&wire.url("/")).unwrap()
}

/// Fetches `x.json` of at most 1,000 bytes, holding `held`.
fn fetch_newer(wire: &Wire, held: &[u8]) -> Result<Vec<u8>, FetchError> {
    run(async {
        let mut bytes = Vec::new();
        let fetched = source(wire).fetch_newer("x.json", 1_000, held, &mut bytes).await?;
        assert_eq!(fetched, Fetched::Whole);
        Ok(bytes)
    })
}

fn changed(body: &[u8]) -> Vec<Part> {
    reply("200 OK", "Content-Encoding: dcz\r\n", body)
}

/// Whether a request offers a dictionary.
fn offers(head: &str) -> bool {
    head.to_ascii_lowercase().contains("available-dictionary:")
}

/// Serves `body` as a change to those who offer a dictionary, and the whole new file to all others.
fn serving(body: Vec<u8>) -> Wire {
    Wire::start(move |asked| if offers(&asked.head) { changed(&body) } else { ok(NEW) })
}

#[test]
fn the_version_at_hand_is_offered_by_its_digest_and_number() {
    let wire = serving(delta::encode(NEW, OLD).unwrap());
    assert_eq!(fetch_newer(&wire, OLD), Ok(NEW.to_vec()));
    let heads = wire.heads();
    assert_eq!(heads.len(), 1);
    let head = heads[0].to_ascii_lowercase();
    assert!(head.contains("accept-encoding: dcz, zstd, gzip\r\n"), "{head}");
    assert!(head.contains("dictionary-id: \"41\"\r\n"), "{head}");
    let digest = format!("available-dictionary: {}\r\n", delta::digest_field(&sha256(OLD)));
    assert!(heads[0].contains(&digest), "{heads:?}");
}

#[test]
fn without_a_version_at_hand_nothing_is_offered_and_a_change_is_refused() {
    let wire = Wire::start(|_| changed(&delta::encode(NEW, OLD).unwrap()));
    let mut bytes = Vec::new();
    let fetched = run(source(&wire).fetch("x.json", 1_000, &mut bytes));
    assert_eq!(fetched, Err(FetchError::Encoding { url: wire.url("/x.json"), encoding: "dcz".to_owned() }));
    assert_eq!((bytes.len(), wire.heads().len()), (0, 1));
    assert!(!offers(&wire.heads()[0]));
}

#[test]
fn a_server_that_knows_nothing_of_it_sends_the_whole_file() {
    for (encoding, body) in [("", NEW.to_vec()), ("zstd", zstd::encode_all(NEW, 3).unwrap())] {
        let wire = Wire::start(move |_| reply("200 OK", &format!("Content-Encoding: {encoding}\r\n"), &body));
        assert_eq!(fetch_newer(&wire, OLD), Ok(NEW.to_vec()));
        assert_eq!(wire.lines().len(), 1);
    }
}

#[test]
fn whatever_is_odd_about_a_change_the_whole_file_is_fetched_once() {
    let good = delta::encode(NEW, OLD).unwrap();
    let mut other_digest = good.clone();
    other_digest[8] ^= 1;
    let mut other_magic = good.clone();
    other_magic[0] ^= 1;
    let mut broken = good.clone();
    let last = broken.len() - 1;
    broken[last] ^= 1;
    let odd = [
        other_digest,
        other_magic,
        broken,
        good[..good.len() - 1].to_vec(),
        good[..40].to_vec(),
        [&good[..], b"more"].concat(),
        delta::encode(NEW, b"another dictionary").unwrap(),
        NEW.to_vec(),
        Vec::new(),
    ];
    for body in odd {
        assert_eq!(delta::decode(&body, &Held::new(OLD), 1_000), Err(DecodeError::Invalid));
        let wire = serving(body);
        assert_eq!(fetch_newer(&wire, OLD), Ok(NEW.to_vec()));
        let offered: Vec<bool> = wire.heads().iter().map(|head| offers(head)).collect();
        assert_eq!(offered, [true, false]);
    }
    let wire = Wire::start(|_| changed(b"never anything else"));
    let error = FetchError::Encoding { url: wire.url("/x.json"), encoding: "dcz".to_owned() };
    assert_eq!(fetch_newer(&wire, OLD), Err(error));
    assert_eq!(wire.lines().len(), 2, "once, not for ever");
}

#[test]
fn a_change_that_becomes_too_much_ends_it() {
    let bomb = delta::encode(&vec![b' '; 3_000_000], OLD).unwrap();
    assert!(bomb.len() < 1_000);
    for body in [bomb, delta::encode(&[b' '; 1_001], OLD).unwrap()] {
        let wire = serving(body);
        assert_eq!(
            fetch_newer(&wire, OLD),
            Err(FetchError::TooLarge { url: wire.url("/x.json"), max: 1_000 })
        );
        assert_eq!(wire.lines().len(), 1);
    }
}

#[test]
fn what_is_too_long_for_a_dictionary_is_not_offered() {
    let wire = serving(Vec::new());
    assert_eq!(fetch_newer(&wire, &vec![0; delta::MAX_DICTIONARY + 1]), Ok(NEW.to_vec()));
    assert!(!offers(&wire.heads()[0]));
    assert_eq!(wire.lines().len(), 1);
}

#[test]
fn a_version_without_a_number_is_offered_by_its_digest_alone() {
    let wire = serving(delta::encode(NEW, b"no number").unwrap());
    assert_eq!(fetch_newer(&wire, b"no number"), Ok(NEW.to_vec()));
    assert!(!wire.heads()[0].to_ascii_lowercase().contains("dictionary-id"));
}

#[test]
fn targets_are_never_fetched_as_changes() {
    let wire = serving(Vec::new());
    let mut bytes = Vec::new();
    let source = http().targets(&wire.url("/")).unwrap();
    run(source.fetch_newer("x", 1_000, OLD, &mut bytes)).unwrap();
    assert_eq!(bytes, NEW);
    assert!(
        !offers(&wire.heads()[0])
            && wire.heads()[0].to_ascii_lowercase().contains("accept-encoding: identity")
    );
}

/// A repository over the wire, whose files go out as changes of what the client offers, if the repository ever had it.
struct Stage {
    repo: Repo,
    wire: Wire,
    client: Client,
    _home: tempfile::TempDir,
}

impl Stage {
    /// `lie` may replace what a change comes to.
    fn new(lie: impl Fn(&str, Vec<u8>) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let mut repo = Repo::new();
        repo.delegate("targets", "A", &["*"]);
        repo.add_file("A", "file", b"content");
        repo.release_role("A");
        repo.release_role("targets");
        let server = repo.server.clone();
        let wire = Wire::start(move |asked: &Asked| {
            let name = asked.path().trim_start_matches('/');
            let Some(file) = server.metadata().get(name).cloned() else { return not_found() };
            let known = server.metadata().into_values();
            let held =
                known.into_iter().find(|file| asked.head.contains(&delta::digest_field(&sha256(file))));
            match held {
                Some(held) => changed(&delta::encode(&lie(name, file), &held).unwrap()),
                None => ok(&file),
            }
        });
        let home = tempfile::tempdir().unwrap();
        let cache = MetadataDir::init(home.path(), &repo.server.bytes("1.root.json")).unwrap();
        let metadata = Box::new(source(&wire));
        let client = Client::new(metadata, repo.server.source("targets"), cache, Limits::default());
        Self { repo, wire, client, _home: home }
    }

    /// Updates, and looks a file up.
    fn find(&self) -> Result<(), wheelseal::client::ClientError> {
        run(async {
            let session = self.client.refresh(now()).await?;
            session.find(&wheelseal::tuf::path::TargetPath::new("file").unwrap()).await.map(drop)
        })
    }

    /// File names asked for since the first `seen` requests, with a star where something was offered.
    fn asked(&self, seen: usize) -> Vec<String> {
        let heads = self.wire.heads();
        let name = |head: &String| {
            let path = head.split(' ').nth(1).unwrap().trim_start_matches('/').to_owned();
            path + if offers(head) { "*" } else { "" }
        };
        heads[seen..].iter().map(name).collect()
    }
}

#[test]
fn a_returning_client_offers_what_it_holds_of_snapshot_targets_and_delegated_roles() {
    let mut stage = Stage::new(|_, file| file);
    stage.find().unwrap();
    let first = stage.asked(0);
    assert!(first.iter().all(|name| !name.contains('*')), "{first:?}");
    stage.repo.add_file("A", "other", b"more");
    stage.repo.release_role("A");
    stage.repo.release_role("targets");
    stage.find().unwrap();
    let later = stage.asked(first.len());
    assert_eq!(later, ["2.root.json", "timestamp.json", "5.snapshot.json*", "3.targets.json*", "3.A.json*"]);
}

#[test]
fn what_a_change_comes_to_is_checked_like_anything_else() {
    let mut stage = Stage::new(|name, file| match name {
        "5.snapshot.json" => {
            String::from_utf8(file).unwrap().replace("\"version\":5", "\"version\":9").into_bytes()
        }
        _ => file,
    });
    stage.find().unwrap();
    stage.repo.add_file("A", "other", b"more");
    stage.repo.release_role("A");
    stage.repo.release_role("targets");
    let refused = stage.find().unwrap_err();
    assert!(
        matches!(
            &refused,
            wheelseal::client::ClientError::Trust(TrustError::WrongHash { .. } | TrustError::Verify(_))
        ),
        "{refused:?}"
    );
}
