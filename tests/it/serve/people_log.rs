//! The transparency log on pages for people: what is drawn was checked, and what does not hold is shown as that.

use std::fs;
use std::sync::Arc;

use wheelseal::log::Cosigners;
use wheelseal::repository::{
    Changed, Edits, EventName, Keyring, LogPolicy, NewLog, Predecessor, Unwatched, verifier_key,
};
use wheelseal::server::Ceremonies;
use wheelseal::tlog::checkpoint::SignedCheckpoint;
use wheelseal::tlog::key::VerifierKey;
use wheelseal::tlog::proof_file::ProofFile;

use super::people::{WHEEL, is_safe, says, showing, shown, text, words};
use super::{Served, scene};
use crate::logged::{ORIGIN, begin, begun, log_keys, logging, signer};
use crate::scene::{ALL_KEYS, ONLINE, Scene, example, keyring, now};
use crate::shell::Home;
use crate::witness::panel::Panel;

const FILE: &str = "/project/alpha/alpha-1.0-py3-none-any.whl";
const PROOF: &str = "targets/alpha/alpha-1.0-py3-none-any.whl.tlog-proof";

async fn log_key() -> VerifierKey {
    verifier_key(signer("log").await.key(), ORIGIN).unwrap()
}

async fn keys(names: &[&str], panel: &Arc<Panel>) -> Keyring {
    let mut keys = keyring(names).await;
    let witnesses: Arc<dyn Cosigners> = panel.clone();
    keys.set_log(signer("log").await, witnesses);
    keys
}

/// The scene of these tests with a log, and three witnesses of which two must cosign; people have signed that.
async fn witnessed() -> (Scene, Arc<Panel>) {
    let (scene, panel) = (scene().await, Panel::new(&log_key().await, 3).await);
    let policy = LogPolicy::parse(panel.policy(2).as_bytes()).unwrap();
    let new = NewLog {
        policy: policy.clone(),
        key: format!("file:{}", example("log").display()),
        after: Predecessor::Nothing,
    };
    scene.open().await.begin_log(&keys(&ONLINE, &panel).await, &new, now()).await.unwrap();
    let edits = Edits { log_policy: Some(policy), ..Edits::default() };
    let (all, name) = (keys(&ALL_KEYS, &panel).await, EventName::new("log").unwrap());
    let done = scene.open().await.change(&name, &edits, &all, None, now(), &Unwatched).await.unwrap();
    assert!(matches!(done, Changed::Done(_)), "{done:?}");
    (scene, panel)
}

fn checkpoint(scene: &Scene) -> SignedCheckpoint {
    SignedCheckpoint::parse(&fs::read(scene.root().join("log/checkpoint")).unwrap()).unwrap()
}

#[tokio::test]
async fn the_log_is_shown_with_who_signed_it_who_must_and_what_came_last() {
    let (scene, _panel) = witnessed().await;
    let served = shown(&scene).await;
    let answer = served.get("/log/", &[]);
    assert_eq!(answer.status, 200);
    let tree = checkpoint(&scene).claimed().clone();
    says(
        &answer,
        &[
            &format!("Name {ORIGIN} Entries {}", tree.size()),
            &format!("Root over them, which the timestamp names: {}", tree.root()),
            "✓ It holds.",
            "Cosigned by 3 witnesses.",
            "w0 2023-03-20 12:25 UTC , 67 years ago w1 2023",
            &format!("all files are logged in {ORIGIN}, whose key is {}", log_key().await),
            "a checkpoint counts if these have cosigned it: 2 of w0, w1, w2",
            "People signed it: tlog-policy",
            "snapshot version 4",
            "wheelseal log verify --repo URL --policy tlog-policy",
        ],
    );
    assert!(text(&answer).contains(&format!("href=\"../project/alpha/{WHEEL}\"")));
    assert!(!words(&answer).contains('✕'));
    is_safe(&answer, "/log/");
    assert_eq!(served.get("/log", &[]).field("location"), "./log/");
    assert_eq!(served.get("/targets/tlog-policy", &[]).status, 200);
    // The log's own files are where they were, and nothing else is below.
    let served_checkpoint = served.get("/log/checkpoint", &[]).body;
    assert_eq!(served_checkpoint, fs::read(scene.root().join("log/checkpoint")).unwrap());
    for path in ["/log/head", "/log/x", "/log/checkpoint/"] {
        assert_eq!(served.get(path, &[]).status, 404, "{path}");
    }
    let health = served.get("/", &[]);
    says(&health, &["enough keys, and the log continues.", &format!("Entries in the log {}", tree.size())]);
    assert!(text(&health).contains("<a href=\"./log/\">Log</a>"));
    is_safe(&health, "/");
}

#[tokio::test]
async fn the_proof_of_a_file_is_drawn_from_the_entry_to_the_root_that_was_signed() {
    let (scene, panel) = witnessed().await;
    let served = shown(&scene).await;
    let answer = served.get(FILE, &[]);
    let bytes = fs::read(scene.root().join(PROOF)).unwrap();
    let proof = ProofFile::parse(&bytes).unwrap();
    let tree = proof.checkpoint().claimed();
    says(
        &answer,
        &[
            &format!("✓ Logged: entry {} of the log {ORIGIN}", proof.index()),
            &format!("proven in the tree of {} entries", tree.size()),
            "Cosigned by 3 witnesses.",
            "The proof, drawn The log hashes its entries in pairs",
            "this file",
            "root, signed",
            &format!("The root that was signed for {} entries: {}", tree.size(), tree.root()),
            &format!("wheelseal log verify {WHEEL}.tlog-proof {WHEEL} --policy tlog-policy"),
        ],
    );
    let page = text(&answer);
    for hash in proof.hashes() {
        assert_eq!(page.matches(&format!("title=\"{hash}\"")).count(), 1, "{hash} is drawn");
    }
    let last = page.rsplit("class=\"made end\"").next().unwrap();
    assert!(last.contains(&format!("title=\"{}\"", tree.root())), "the last box is the signed root");
    is_safe(&answer, FILE);
    // What the links give is what the page says.
    assert!(page.contains(&format!("href=\"../../{PROOF}\"")));
    assert_eq!(served.get(&format!("/{PROOF}"), &[]).body, bytes);
    let policy = served.get("/targets/tlog-policy", &[]).body;
    assert_eq!(policy, panel.policy(2).as_bytes());
}

#[tokio::test]
async fn the_command_on_the_page_checks_what_its_links_give() {
    let (scene, _panel) = witnessed().await;
    let served = shown(&scene).await;
    let answer = served.get(FILE, &[]);
    let (_, section) = text(&answer).split_once("Check it yourself").unwrap();
    let (section, _) = section.split_once("</section>").unwrap();
    let home = Home::new();
    for link in section.split("href=\"").skip(1) {
        let (to, _) = link.split_once('"').unwrap();
        let got = served.get(to.strip_prefix("../..").unwrap(), &[]);
        assert_eq!(got.status, 200, "{to}");
        fs::write(home.work().join(to.rsplit('/').next().unwrap()), got.body).unwrap();
    }
    let (_, command) = section.split_once("<code>wheelseal ").unwrap();
    let words: Vec<_> = command.split_once("</code>").unwrap().0.split(' ').collect();
    let said = home.run(&words).fine();
    assert!(said.contains(&format!("logged alpha/{WHEEL}: entry ")), "{said}");
    assert!(said.contains("cosigned by w0, w1, w2"), "{said}");
    fs::write(home.work().join(WHEEL), "other bytes").unwrap();
    home.run(&words).refused(9, &["is not proved to be logged"]);
}

#[tokio::test]
async fn a_proof_that_does_not_hold_is_shown_as_such() {
    let (scene, panel) = witnessed().await;
    let served = shown(&scene).await;
    let at = scene.root().join(PROOF);
    let good = fs::read_to_string(&at).unwrap();
    let of_metadata =
        fs::read_to_string(scene.root().join(PROOF.replace(".whl.", ".whl.metadata."))).unwrap();
    let unwitnessed: String = good.split_inclusive('\n').filter(|line| !line.starts_with("— w")).collect();
    let broken = "✕ There is no proof that holds: clients that ask for the log refuse this file.";
    for (bytes, why) in [
        ("nonsense", "line `c2sp.org/tlog-proof@v1`"),
        (&of_metadata, "leads to the root"),
        (&unwitnessed, "quorum"),
        (&good.replace("index ", "index 9"), "tree of"),
    ] {
        fs::write(&at, bytes).unwrap();
        let answer = served.get(FILE, &[]);
        assert_eq!(answer.status, 200);
        says(&answer, &[broken, why]);
        assert!(!text(&answer).contains("class=\"path\""), "nothing is drawn");
        is_safe(&answer, FILE);
    }
    fs::remove_file(&at).unwrap();
    says(&served.get(FILE, &[]), &[broken, "The proof that it was logged: there is none."]);
    fs::write(&at, good).unwrap();
    says(&served.get(FILE, &[]), &["✓ Logged:"]);
    drop(panel);
}

#[tokio::test]
async fn a_checkpoint_that_does_not_hold_is_told_on_both_pages() {
    let (scene, panel) = witnessed().await;
    let at = scene.root().join("log/checkpoint");
    let old = fs::read(&at).unwrap();
    let edits = [scene.add("beta", "1.0", "x")];
    scene.open().await.publish(&keys(&ONLINE, &panel).await, &edits, now(), &Unwatched).await.unwrap();
    let good = fs::read_to_string(&at).unwrap();
    let served = shown(&scene).await;
    says(&served.get("/log/", &[]), &["✓ It holds."]);
    let unwitnessed: String = good.split_inclusive('\n').filter(|line| !line.starts_with("— w")).collect();
    for (bytes, why) in
        [(old.as_slice(), "the log went back"), (b"", "note"), (unwitnessed.as_bytes(), "quorum")]
    {
        fs::write(&at, bytes).unwrap();
        let answer = served.get("/log/", &[]);
        says(&answer, &["✕ The newest checkpoint does not hold.", why, "✕ They cannot be shown:"]);
        is_safe(&answer, "/log/");
        says(&served.get("/", &[]), &["✕ Not well. the log’s newest checkpoint does not hold:", why]);
    }
    fs::remove_file(&at).unwrap();
    says(&served.get("/log/", &[]), &["there is no checkpoint"]);
}

#[tokio::test]
async fn without_a_log_one_sentence_says_so() {
    let scene = scene().await;
    let served = shown(&scene).await;
    let answer = served.get("/log/", &[]);
    assert_eq!(answer.status, 200);
    says(&answer, &["Transparency log This repository keeps no transparency log."]);
    is_safe(&answer, "/log/");
    let file = served.get(&format!("/project/alpha/{WHEEL}"), &[]);
    says(&file, &["In the transparency log This repository keeps no transparency log."]);
    says(&served.get("/", &[]), &["Entries in the log no log"]);
    for path in ["/", "/log/"] {
        assert!(!text(&served.get(path, &[])).contains(">Log</a>"), "{path}");
    }
}

#[tokio::test]
async fn what_rests_on_nobody_outside_is_said_plainly() {
    let scene = begun().await;
    let served = shown(&scene).await;
    let none = "! Nobody outside: the policy says “quorum none”. No witness vouches that others are shown the same log.";
    says(
        &served.get("/log/", &[]),
        &[none, "No witness cosigned it.", "! No ceremony has put this policy in force yet"],
    );
    let answer = served.get(FILE, &[]);
    says(&answer, &[none, "✓ Logged:", "and the policy that says whose signatures count"]);
    is_safe(&answer, FILE);
}

#[tokio::test]
async fn newest_entries_are_bounded_and_a_log_before_this_one_is_named() {
    let scene = begun().await;
    let edits: Vec<_> = (0..15).map(|number| scene.add("gamma", &format!("1.{number}"), "x")).collect();
    logging(&scene, &edits).await.unwrap();
    let served = shown(&scene).await;
    let answer = served.get("/log/", &[]);
    assert_eq!(text(&answer).matches("<th scope=\"row\"").count(), 20);
    assert!(!words(&answer).contains("continues another one"));
    let size = checkpoint(&scene).claimed().size();
    begin(&scene, Predecessor::Log, "index.example/second").await.unwrap();
    let served = shown(&scene).await;
    let before = format!("This log continues another one: {ORIGIN}, from {size} entries on.");
    says(&served.get("/log/", &[]), &["Name index.example/second", &before, "✓ It holds."]);
    says(&served.get(FILE, &[]), &["of the log index.example/second"]);
}

#[tokio::test]
async fn a_forked_log_in_the_store_is_no_proof() {
    // The same keys, another history: what a thief of everything online could write, but not have cosigned.
    let (honest, other) = (begun().await, begun().await);
    logging(&other, &[other.add("delta", "1.0", "x")]).await.unwrap();
    logging(&honest, &[honest.add("gamma", "1.0", "x"), honest.add("gamma", "1.1", "x")]).await.unwrap();
    let gone = "targets/delta/delta-1.0-py3-none-any.whl.tlog-proof";
    let served: Served = showing(honest.store().await, Ceremonies::Hidden, now).await;
    says(&served.get(FILE, &[]), &["✓ Logged:"]);
    fs::copy(other.root().join("log/checkpoint"), honest.root().join("log/checkpoint")).unwrap();
    says(&served.get("/log/", &[]), &["✕ The newest checkpoint does not hold."]);
    assert!(other.root().join(gone).exists());
    drop(log_keys().await);
}
