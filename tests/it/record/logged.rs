//! A recorder that follows the index's own log, and puts what it saw into a log of its own.

use std::sync::Arc;

use serde_json::{Value, json};
use wheelseal::client::{Http, Reach};
use wheelseal::crawl::Follow;
use wheelseal::crypto::sha256;
use wheelseal::recorder::{Existing, IndexLog, Recorder, Settings};
use wheelseal::repository::{Predecessor, Repository};
use wheelseal::tlog::evidence::{Evidence, Shows};
use wheelseal::tlog::leaf::{FileLeaf, Leaf};
use wheelseal::tlog::policy::Policy;
use wheelseal::tlog::proof_file::ProofFile;

use super::program::blocking;
use super::{Desk, Index, Reply, round, timing};
use crate::logged::{begin, leaves, log_keys, new_log};
use crate::monitor::World;
use crate::scene::{files_below, wheel_bytes, wheel_name};
use crate::shell::Home;

const OWN: &str = "recorder.example/log";

/// What a log has of a wheel.
fn wheel(project: &str, version: &str, body: &str) -> Leaf {
    let bytes = wheel_bytes(project, version, body);
    let path = format!("{project}/{}", wheel_name(project, version));
    let length = u64::try_from(bytes.len()).unwrap();
    Leaf::File(FileLeaf::of_target(&path, length, sha256(&bytes)).unwrap().unwrap())
}

/// A recorder with a log of its own.
async fn desk() -> Desk {
    let desk = Desk::new().await;
    begin(&desk.scene, Predecessor::Nothing, OWN).await.unwrap();
    desk
}

async fn own_policy() -> Policy {
    new_log("log", OWN, Predecessor::Nothing).await.policy.policy().clone()
}

async fn recorder(desk: &Desk, index: &Index, world: &World, settings: Settings) -> Recorder {
    let http = Http::within(Reach::Anywhere, timing()).unwrap();
    let follow = Follow::open(&index.url, desk.notes().to_owned(), http).unwrap();
    let repository = Repository::open(desk.scene.store().await).await.unwrap();
    let recorder = Recorder::new(repository, log_keys().await, follow, settings).await.unwrap();
    recorder.following(IndexLog::new(world.reader(), world.signer.policy()))
}

/// What lies in the recorder's store under this ending.
fn kept(desk: &Desk, ending: &str) -> Vec<Vec<u8>> {
    let files = desk.scene.files().into_iter();
    files
        .filter(|(path, _)| path.starts_with("conflicts/") && path.ends_with(ending))
        .map(|(_, bytes)| bytes)
        .collect()
}

async fn conflict_leaves(desk: &Desk) -> Vec<Leaf> {
    let leaves = leaves(&desk.scene).await.into_iter();
    leaves.filter(|leaf| matches!(leaf, Leaf::Conflict(_))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_that_is_logged_and_never_listed_is_a_conflict_in_the_recorders_log_with_evidence() {
    let (index, desk, world) = (Index::new().await, desk().await, World::new().await);
    index.lists("six", &[index.wheel("six", "1.0", "x = 1")]);
    world.append(vec![wheel("six", "1.0", "x = 1")]).await;
    let mut recorder = recorder(&desk, &index, &world, desk.settings()).await;
    let report = round(&mut recorder).await;
    let log = report.log.unwrap();
    assert_eq!((report.recorded, report.conflicts, log.compared, log.unrecorded), (1, 0, 1, 0));
    let evil = wheel("six", "1.0", "evil");
    world.append(vec![evil.clone()]).await;
    let report = round(&mut recorder).await;
    assert_eq!((report.conflicts, report.new_conflicts.len()), (1, 1));
    let conflict: Value = serde_json::from_slice(&kept(&desk, ".json")[0]).unwrap();
    assert_eq!((&conflict["source"], &conflict["path"]), (&json!("log"), &json!(evil_path())));
    let logged = conflict_leaves(&desk).await;
    assert_eq!(logged, [report.new_conflicts[0].leaf().unwrap()]);
    let proof = ProofFile::parse(&kept(&desk, ".json.tlog-proof")[0]).unwrap();
    proof.verify(logged[0].to_string().as_bytes(), &own_policy().await).unwrap();
    let evidence = Evidence::parse(&kept(&desk, ".evidence.txt")[0]).unwrap();
    let verdict = evidence.check(&[world.signer.policy(), own_policy().await]).unwrap();
    assert!(matches!(verdict.shows, Shows::Disagree { .. }), "{verdict:?}");
    let report = round(&mut recorder).await;
    assert_eq!((report.conflicts, report.new_conflicts.len()), (0, 0));
    assert_eq!(conflict_leaves(&desk).await.len(), 1, "once");
    assert_eq!(recorder.kept_conflicts().await, Ok(1), "what lies beside it is none");
    desk.assert_signed("after a conflict").await;
}

fn evil_path() -> String {
    format!("six/{}", wheel_name("six", "1.0"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logged_file_that_no_page_has_is_told_once_and_compared_when_it_is_recorded() {
    let (index, desk, world) = (Index::new().await, desk().await, World::new().await);
    index.lists("six", &[]);
    world.append(vec![wheel("six", "1.0", "x = 1"), wheel("six", "1.1", "x = 2")]).await;
    let mut first = recorder(&desk, &index, &world, desk.settings()).await;
    let mut told = Vec::new();
    for _ in 0..2 {
        told.push(round(&mut first).await.log.unwrap().log_only);
    }
    drop(first);
    let mut next = recorder(&desk, &index, &world, desk.settings()).await;
    for _ in 0..2 {
        told.push(round(&mut next).await.log.unwrap().log_only);
    }
    let both = vec![evil_path(), format!("six/{}", wheel_name("six", "1.1"))];
    assert_eq!(told, [vec![], vec![], both, vec![]]);
    index.lists("six", &[index.wheel("six", "1.0", "x = 1"), index.wheel("six", "1.1", "evil")]);
    let report = round(&mut next).await;
    assert_eq!((report.recorded, report.conflicts, report.log.unwrap().unrecorded), (2, 1, 0));
    assert_eq!(report.new_conflicts[0].path, format!("six/{}", wheel_name("six", "1.1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_of_before_the_log_and_of_a_crash_are_logged_later_and_once() {
    let (index, desk, world) = (Index::new().await, Desk::new().await, World::new().await);
    index.lists("six", &[index.wheel("six", "1.0", "x = 1")]);
    let mut first = recorder(&desk, &index, &world, desk.settings()).await;
    round(&mut first).await;
    index.lists("six", &[index.wheel("six", "1.0", "evil")]);
    assert_eq!(round(&mut first).await.new_conflicts.len(), 1);
    drop(first);
    begin(&desk.scene, Predecessor::Nothing, OWN).await.unwrap();
    round(&mut recorder(&desk, &index, &world, desk.settings()).await).await;
    assert_eq!(conflict_leaves(&desk).await.len(), 1);
    // As if it was killed between the leaf and the proof.
    let proofs = files_below(&desk.scene.root()).into_keys();
    let proof = proofs.into_iter().find(|path| path.ends_with(".json.tlog-proof")).unwrap();
    std::fs::remove_file(desk.scene.root().join(&proof)).unwrap();
    round(&mut recorder(&desk, &index, &world, desk.settings()).await).await;
    assert_eq!(conflict_leaves(&desk).await.len(), 1, "it was found in the log");
    let proof = ProofFile::parse(&desk.scene.files()[&proof]).unwrap();
    let leaf = conflict_leaves(&desk).await[0].to_string();
    proof.verify(leaf.as_bytes(), &own_policy().await).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_reads_as_no_leaf_is_a_problem_and_what_comes_after_it_is_compared() {
    let (index, desk, world) = (Index::new().await, desk().await, World::new().await);
    index.lists("six", &[index.wheel("six", "1.0", "x = 1")]);
    world.write(&[b"no leaf".to_vec(), wheel("six", "1.0", "evil").to_string().into_bytes()]).await;
    let mut recorder = recorder(&desk, &index, &world, desk.settings()).await;
    let report = round(&mut recorder).await;
    let log = report.log.unwrap();
    assert_eq!((report.conflicts, log.compared, log.behind, log.is_new), (1, 2, 0, true));
    assert_eq!(log.problem.as_deref(), Some("the index's log: entry 0 reads as no leaf"));
    let again = round(&mut recorder).await.log.unwrap();
    assert_eq!((again.problem, again.compared), (None, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_that_was_not_told_is_told_by_the_next_run() {
    let (index, desk, world) = (Index::new().await, desk().await, World::new().await);
    index.lists("six", &[index.wheel("six", "1.0", "x = 1")]);
    world.append(vec![wheel("six", "1.0", "x = 1")]).await;
    let mut first = recorder(&desk, &index, &world, desk.settings()).await;
    round(&mut first).await;
    world.append(vec![wheel("six", "1.0", "evil")]).await;
    let told = Arc::new(std::sync::Mutex::new(0));
    let counts = Arc::clone(&told);
    let mut first = first.telling(move |_| *counts.lock().unwrap() += 1);
    // It ends before it is noted that it was told.
    let report = first.round(crate::scene::now(), &|_, _| {}).await.unwrap();
    assert_eq!((report.new_conflicts.len(), *told.lock().unwrap()), (1, 1));
    drop(first);
    let mut next = recorder(&desk, &index, &world, desk.settings()).await;
    assert_eq!(round(&mut next).await.new_conflicts, report.new_conflicts);
    drop(next);
    let mut last = recorder(&desk, &index, &world, desk.settings()).await;
    assert_eq!(round(&mut last).await.new_conflicts, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_logged_before_a_recorder_began_is_older_than_it() {
    let (index, desk, world) = (Index::new().await, desk().await, World::new().await);
    index.lists("six", &[index.wheel("six", "1.0", "x = 1")]);
    world.append(vec![wheel("six", "1.0", "x = 1")]).await;
    let settings = || Settings { existing: Existing::PassedOver, ..desk.settings() };
    let mut recorder = recorder(&desk, &index, &world, settings()).await;
    let report = round(&mut recorder).await;
    assert_eq!((report.passed_over, report.log.unwrap().compared), (1, 0));
    let since: Value = serde_json::from_slice(&desk.scene.files()["recorder/since.json"]).unwrap();
    assert_eq!(since, json!({"origin": crate::monitor::ORIGIN, "size": 1}));
    world.append(vec![wheel("six", "1.1", "x = 2")]).await;
    index.lists("six", &[index.wheel("six", "1.0", "x = 1"), index.wheel("six", "1.1", "x = 2")]);
    let report = round(&mut recorder).await;
    assert_eq!((report.recorded, report.conflicts, report.log.unwrap().unrecorded), (1, 0, 0));
    let still: Value = serde_json::from_slice(&desk.scene.files()["recorder/since.json"]).unwrap();
    assert_eq!(still, since);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_whose_log_is_rewritten_is_told_with_evidence_and_recorded_all_the_same() {
    let (index, desk, world) = (Index::new().await, desk().await, World::new().await);
    index.lists("six", &[index.wheel("six", "1.0", "x = 1")]);
    world.append(vec![wheel("six", "1.0", "x = 1")]).await;
    let mut recorder = recorder(&desk, &index, &world, desk.settings()).await;
    round(&mut recorder).await;
    let other = World::of(Arc::clone(&world.signer), vec![wheel("six", "1.0", "evil")]).await;
    world.shows(&other.log_folder());
    index.lists("six", &[index.wheel("six", "1.0", "x = 1"), index.wheel("six", "1.1", "x = 2")]);
    let report = round(&mut recorder).await;
    let log = report.log.unwrap();
    assert!(log.is_new && log.problem.unwrap().contains("two different trees of 1 leaves"));
    assert_eq!(report.recorded, 1);
    let files = desk.scene.files();
    let evidence = files.iter().find(|(path, _)| path.starts_with("recorder/evidence/")).unwrap().1;
    assert!(Evidence::parse(evidence).unwrap().check(&[world.signer.policy()]).unwrap().shows.proven());
    let report = round(&mut recorder).await;
    assert!(report.log.is_some_and(|log| !log.is_new && log.problem.is_some()), "still so, and told once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_away_waits_and_names_that_cannot_be_recorded_are_told_once() {
    let (index, desk, world) = (Index::new().await, desk().await, World::new().await);
    index.projects(&[("six", None), ("-no-", None)]);
    index.page("six", None, &[index.wheel("six", "1.0", "x = 1")]);
    std::fs::rename(world.checkpoint(), world.folder.path().join("aside")).unwrap();
    let mut recorder = recorder(&desk, &index, &world, desk.settings()).await;
    let report = round(&mut recorder).await;
    assert_eq!((report.recorded, report.waiting, report.left_out, report.log), (1, 1, 1, None));
    std::fs::rename(world.folder.path().join("aside"), world.checkpoint()).unwrap();
    let report = round(&mut recorder).await;
    assert_eq!((report.waiting, report.left_out), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_follows_the_log_beside_the_pages_and_ends_with_9() {
    let (index, world) = (Index::new().await, World::new().await);
    index.lists("six", &[index.wheel("six", "1.0", "x = 1")]);
    let home = Arc::new(blocking(Home::new).await);
    std::fs::write(home.work().join("policy"), world.signer.policy_text()).unwrap();
    blocking({
        let home = Arc::clone(&home);
        move || home.init(&["--bins", "2"]).fine()
    })
    .await;
    let record = || {
        for (path, bytes) in files_below(&world.log_folder()) {
            index.put(&format!("/{path}"), Reply::Bytes(bytes));
        }
        let (home, url) = (Arc::clone(&home), index.url.clone());
        blocking(move || {
            let line = ["record", "--repo", "repo", "--once", "--allow-private", "--index", &url];
            home.run(&[&line[..], &["--index-log", "policy"]].concat())
        })
    };
    world.append(vec![wheel("six", "1.0", "x = 1")]).await;
    let said = record().await.fine();
    assert!(said.contains("1 entries of the index's log were compared; it has 0 files"), "{said}");
    world.append(vec![wheel("six", "1.0", "evil")]).await;
    record().await.refused(9, &["conflict six/six-1.0-py3-none-any.whl: SHA-256"]);
    record().await.fine();
}
