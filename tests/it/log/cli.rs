//! The commands `log …`, on a folder and over HTTP.

use std::fs;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde_json::Value;
use wheelseal::store::StorePath;
use wheelseal::tlog::merkle::Hash;

use super::*;
use crate::shell::{Home, shown};

/// A log with a real file in it, after 300 made-up ones, and a policy that accepts it.
struct Desk {
    home: Home,
    scene: Scene,
    repo: String,
    wheel: String,
    path: String,
    policy: String,
}

impl Desk {
    async fn new() -> Self {
        let (home, scene) = (Home::new(), Scene::of(300).await);
        let wheel = home.wheel("seal", "1.0");
        let bytes = fs::read(&wheel).unwrap();
        let path = "seal/seal-1.0-py3-none-any.whl".to_owned();
        let leaf =
            FileLeaf::of_target(&path, u64::try_from(bytes.len()).unwrap(), sha256(&bytes)).unwrap().unwrap();
        let mut entries = Entries::default();
        entries.push(&Leaf::File(leaf)).unwrap();
        let log = scene.log().await;
        log.append(&log.head().await.unwrap().unwrap(), entries).await.unwrap();
        scene.publish(&log).await.unwrap();
        let policy = home.work().join("policy");
        fs::write(&policy, format!("log {}\nquorum none\n", scene.signer.key)).unwrap();
        let (repo, policy) = (shown(scene.root()), shown(&policy));
        Self { home, scene, repo, wheel, path, policy }
    }

    /// A command on the log in its folder.
    fn run(&self, words: &[&str]) -> crate::shell::Ran {
        self.home.run(&[&["log", words[0], "--repo", &self.repo], &words[1..]].concat())
    }

    fn json(&self, words: &[&str]) -> Value {
        serde_json::from_str(&self.run(&[words, &["--json"]].concat()).fine()).unwrap()
    }

    /// A file with the log's newest checkpoint.
    fn checkpoint(&self, name: &str) -> String {
        let file = self.home.work().join(name);
        fs::copy(self.scene.root().join("log/checkpoint"), &file).unwrap();
        shown(&file)
    }

    async fn append(&self, numbers: Range<u64>) {
        let log = self.scene.log().await;
        log.append(&log.head().await.unwrap().unwrap(), files(numbers)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_made_here_is_checked_elsewhere_without_a_network() {
    let desk = Desk::new().await;
    let Desk { wheel, path, policy, .. } = &desk;
    let proof = shown(&desk.home.work().join("proof"));
    desk.run(&["prove", path, "-o", &proof]).fine();
    assert_eq!(desk.run(&["prove", path]).fine(), fs::read_to_string(&proof).unwrap());
    let nowhere = ["log", "verify", "--repo", "nowhere", "--policy", policy, &proof, wheel];
    let said = desk.home.run(&nowhere).fine();
    assert!(said.contains(&format!("logged {path}: entry 300 of 301 in {ORIGIN}")), "{said}");
    assert!(said.contains("quorum none: no witness vouches that others see the same log"), "{said}");

    desk.home.run(&["log", "verify", &proof, wheel]).refused_usage("--policy");
    fs::write(wheel, "another file").unwrap();
    desk.home.run(&nowhere).refused(9, &[path, "is not proved to be logged", "leads to the root"]);
    desk.run(&["prove", "seal/seal-9-py3-none-any.whl"])
        .refused(3, &["nothing of seal/seal-9", "301 entries"]);

    let stranger = Signer::new(ORIGIN, KeyKind::Log);
    fs::write(policy, format!("log {}\nquorum none\n", stranger.key)).unwrap();
    desk.home.run(&nowhere).refused(9, &["no key that is known signed the note"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_log_is_audited_and_its_faults_are_named() {
    let desk = Desk::new().await;
    let policy = desk.policy.as_str();
    let said = desk.run(&["verify", "--policy", policy]).fine();
    assert!(
        said.contains("all 301 entries and their tiles") && said.contains("301 files, each path once"),
        "{said}"
    );
    assert!(desk.run(&["verify"]).fine().contains("signatures not checked"), "said without a policy");
    let value = desk.json(&["verify", "--policy", policy]);
    assert_eq!((&value["size"], &value["accepted"]), (&301.into(), &true.into()));

    desk.append(5..6).await;
    desk.scene.publish(&desk.scene.log().await).await.unwrap();
    let twice = format!("{} is logged twice: as entry 5 and as entry 301", file(5).path());
    desk.run(&["verify", "--policy", policy]).refused(9, &[&twice]);
    let tile = desk.scene.root().join("log/tile/0/000");
    let mut bytes = fs::read(&tile).unwrap();
    bytes[7] ^= 1;
    fs::write(&tile, bytes).unwrap();
    desk.run(&["verify"]).refused(3, &["tile/0/000 is damaged", "put the file back"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_that_contradict_each_other_are_shown_both() {
    let desk = Desk::new().await;
    let (policy, old) = (desk.policy.as_str(), desk.checkpoint("old"));
    desk.append(301..400).await;
    desk.scene.publish(&desk.scene.log().await).await.unwrap();
    let said = desk.run(&["consistency", &old, "--policy", policy]).fine();
    assert!(said.contains("consistent: the log of 400 entries begins with that of 301"), "{said}");
    assert!(desk.run(&["consistency", "7", "300"]).fine().contains("signatures not checked"));
    let value = desk.json(&["consistency", "7", "8"]);
    assert_eq!(value["proof"].as_array().unwrap().len(), 4);
    desk.run(&["consistency", "9", "8"]).refused(2, &["name the smaller one first"]);
    // No append ended at these sizes, and the log is larger by now.
    let value = desk.json(&["consistency", "303", "399"]);
    assert_eq!(value["new"]["size"], 399);

    // The same key signed another tree of 301 entries, and showed it to somebody.
    for size in [301, 400] {
        let other = Checkpoint::new(ORIGIN, size, Hash::leaf(b"another tree")).unwrap();
        let signature = desk.scene.signer.sign(other.to_string().as_bytes());
        let other = SignedCheckpoint::sign(other, &desk.scene.signer.key, &signature).unwrap();
        fs::write(&old, other.to_string()).unwrap();
        let ran = desk.run(&["consistency", &old, "--policy", policy]);
        ran.refused(9, &[&format!("the log of 400 entries does not continue the one of {size}")]);
        let new = fs::read_to_string(desk.scene.root().join("log/checkpoint")).unwrap();
        assert!(ran.stdout.contains(&other.to_string()) && ran.stdout.contains(&new), "{}", ran.stdout);
    }
    // Somebody saw more of it than it has now.
    let new = desk.checkpoint("new");
    let newer = desk.run(&["consistency", &new, &old]);
    newer.refused(9, &["does not continue", "signatures not checked"]);
    fs::write(&old, fs::read_to_string(&new).unwrap().replace("\n400\n", "\n401\n")).unwrap();
    desk.run(&["consistency", &old, "--policy", policy])
        .refused(9, &["signature by index.example.org/log is bad"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_found_by_project_and_by_path() {
    let desk = Desk::new().await;
    for what in ["Seal", &desk.path] {
        let value = desk.json(&["find", what]);
        assert_eq!(
            (value[0]["index"].as_u64(), value[0]["leaf"]["path"].as_str()),
            (Some(300), Some(&*desk.path))
        );
        assert_eq!(value.as_array().unwrap().len(), 1);
    }
    desk.run(&["find", "nobody"]).refused(3, &["the log has nothing of nobody among the 301 entries"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_names_what_waits() {
    let desk = Desk::new().await;
    desk.append(400..402).await;
    let said = desk.run(&["status", "--policy", &desk.policy]).fine();
    for text in ["301 entries, root ", "2 entries are not signed for yet", "quorum none"] {
        assert!(said.contains(text), "no {text:?} in {said}");
    }
    let value = desk.json(&["status"]);
    assert_eq!(
        (&value["size"], &value["waiting"], &value["checkpoint"]["size"]),
        (&303.into(), &2.into(), &301.into())
    );
    assert_eq!(value["checkpoint"]["accepted"], false);
    assert_eq!(value["checkpoint"]["signatures"][0], ORIGIN);

    let empty = tempfile::tempdir().unwrap();
    let none = ["log", "status", "--repo", &shown(empty.path())];
    desk.home.run(&none).refused(2, &["there is no transparency log here"]);
    fs::remove_file(desk.scene.root().join("log/checkpoint")).unwrap();
    desk.run(&["find", "seal"]).refused(2, &["nothing was signed for this log yet"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_read_over_http_as_from_its_folder() {
    let desk = Desk::new().await;
    let answer = async |State(root): State<std::path::PathBuf>, request: Request| {
        let path = StorePath::new(request.uri().path().trim_start_matches('/')).unwrap();
        // The head is not for readers.
        let public = path.as_str() == "log/checkpoint" || path.as_str().starts_with("log/tile/");
        let found = fs::read(root.join(path.as_str())).ok().filter(|_| public);
        found.ok_or(StatusCode::NOT_FOUND)
    };
    let app = axum::Router::new().fallback(answer).with_state(desk.scene.root().to_owned());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    for words in [
        &["verify", "--policy", &desk.policy][..],
        &["find", "seal"],
        &["prove", &desk.path],
        &["consistency", "7"],
        &["status", "--json"],
    ] {
        let over = desk.home.run(&[&["log", words[0], "--repo", &url], &words[1..]].concat()).fine();
        let here = desk.run(words).fine();
        match words[0] {
            // The store itself says more.
            "status" => {
                let mut here: Value = serde_json::from_str(&here).unwrap();
                assert_eq!((&here["size"], here["held"].as_array().unwrap().len()), (&301.into(), 1));
                for (key, value) in [("size", Value::Null), ("waiting", Value::Null)] {
                    here[key] = value;
                }
                here["held"] = serde_json::json!([]);
                assert_eq!(serde_json::from_str::<Value>(&over).unwrap(), here);
            }
            "verify" => {
                let more = here.strip_prefix(&over).unwrap();
                assert_eq!(more, "the log's head has 301 entries, and continues the checkpoint\n");
            }
            _ => assert_eq!(over, here, "{words:?}"),
        }
    }
    let gone = ["log", "status", "--repo", "http://127.0.0.1:1/"];
    desk.home.run(&gone).refused(7, &["cannot read log/checkpoint"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_head_or_timestamp_contradict_is_told() {
    let desk = Desk::new().await;
    let timestamp = |size: u64, root: &str| {
        let folder = desk.scene.root().join("metadata");
        fs::create_dir_all(&folder).unwrap();
        let log = serde_json::json!({ "origin": ORIGIN, "root_hash": root, "size": size });
        let text = serde_json::json!({ "signed": { "x-tlog": log } }).to_string();
        fs::write(folder.join("timestamp.json"), text).unwrap();
    };
    let status = desk.json(&["status"]);
    let root = status["checkpoint"]["root_hash"].as_str().unwrap().to_owned();
    timestamp(301, &root);
    assert_eq!(desk.json(&["status"])["held"].as_array().unwrap().len(), 2);
    timestamp(302, &root);
    for words in [&["status"][..], &["verify"]] {
        desk.run(words).refused(9, &["the log has 301 entries, but its key signed for 302"]);
    }
    for size in [301, 300] {
        timestamp(size, &"07".repeat(32));
        desk.run(&["status"]).refused(9, &["the tree that timestamp names: trees of"]);
    }
    fs::remove_dir_all(desk.scene.root().join("metadata")).unwrap();
    let old = fs::read(desk.scene.root().join("log/head")).unwrap();
    desk.append(301..303).await;
    desk.scene.publish(&desk.scene.log().await).await.unwrap();
    fs::write(desk.scene.root().join("log/head"), old).unwrap();
    desk.run(&["verify"]).refused(9, &["the log has 301 entries, but its key signed for 303"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_lags_is_no_evidence() {
    let desk = Desk::new().await;
    let (first, at) = (desk.checkpoint("first"), desk.scene.root().join("log/checkpoint"));
    desk.append(301..400).await;
    desk.scene.publish(&desk.scene.log().await).await.unwrap();
    let new = desk.checkpoint("new");
    fs::copy(&first, &at).unwrap();
    let ran = desk.run(&["consistency", &new, "--policy", &desk.policy]);
    ran.refused(5, &["an old checkpoint of 301 entries, which the one of 400 continues"]);
    assert_eq!(ran.stdout, "");
}
