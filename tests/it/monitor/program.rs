//! The program: lines of JSON, exit codes, the webhook, and evidence that another program checks.

use std::sync::Arc;

use serde_json::Value;

use super::{World, leaf, path};
use crate::record::program::{blocking, webhook};
use crate::shell::{Home, Ran, shown};

/// A home from which a log is watched.
struct Watcher {
    home: Arc<Home>,
    line: Vec<String>,
}

impl Watcher {
    fn of(world: &World) -> Self {
        let home = Home::new();
        std::fs::write(home.work().join("policy"), world.signer.policy_text()).unwrap();
        let repo = shown(&world.log_folder());
        let line = ["monitor", "--repo", &repo, "--policy", "policy", "--once", "--state", "state"];
        Self { home: Arc::new(home), line: line.iter().map(|word| (*word).to_owned()).collect() }
    }

    async fn runs(&self, more: &[&str]) -> Ran {
        let line = self.line.iter().cloned().chain(more.iter().map(|word| (*word).to_owned()));
        let (home, line) = (Arc::clone(&self.home), line.collect::<Vec<_>>());
        blocking(move || home.run(&line.iter().map(String::as_str).collect::<Vec<_>>())).await
    }
}

fn events(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_lines_of_json_and_an_alarm_ends_once_with_9_and_evidence() {
    let world = World::new().await;
    world.append(vec![leaf("six", "1.0", 1)]).await;
    let watcher = Watcher::of(&world);
    let ran = watcher.runs(&["--project", "six"]).await;
    assert!(ran.stderr.contains("1 new entries of 1 were read and verified"), "{ran:?}");
    assert_eq!(events(&ran.fine())[0]["event"], "began");
    world.append(vec![leaf("six", "1.1", 2)]).await;
    let told = events(&watcher.runs(&["--project", "Six"]).await.fine());
    assert_eq!((told.len(), &told[0]["path"]), (1, &path("six", "1.1").into()));
    world.append(vec![leaf("six", "1.0", 9)]).await;
    let ran = watcher.runs(&["--project", "six"]).await;
    ran.refused(9, &["1 event(s) that alarm"]);
    let told = events(&ran.stdout);
    assert_eq!((told.len(), &told[0]["event"]), (1, &"second-content".into()));
    let evidence = told[0]["evidence"].as_str().unwrap().to_owned();
    let home = Arc::clone(&watcher.home);
    let checked =
        blocking(move || home.run(&["log", "evidence", &evidence, "--policy", "policy", "--json"])).await;
    let checked: Value = serde_json::from_str(&checked.fine()).unwrap();
    assert_eq!(checked["proven"], true, "{checked}");
    assert_eq!(watcher.runs(&["--project", "six"]).await.fine(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_fails_is_told_again_by_the_next_run() {
    let world = World::new().await;
    let watcher = Watcher::of(&world);
    let (hook, told) = webhook(1).await;
    let line = ["--project", "six", "--webhook", &hook];
    let ran = watcher.runs(&line).await;
    assert!(ran.stderr.contains("the webhook failed: "), "{ran:?}");
    assert!(!ran.stderr.contains("secret"), "{ran:?}");
    ran.fine();
    world.append(vec![leaf("six", "1.0", 1)]).await;
    watcher.runs(&line).await.fine();
    let messages = told.lock().unwrap().messages.clone();
    assert_eq!(messages.len(), 1);
    let message: Value = serde_json::from_str(&messages[0]).unwrap();
    let kinds: Vec<_> = message["events"].as_array().unwrap().iter().map(|event| &event["event"]).collect();
    assert_eq!(kinds, ["began", "file"]);
    assert!(message["text"].as_str().unwrap().contains("new file six/six-1.0.tar.gz: 7 bytes"), "{message}");
    watcher.runs(&line).await.fine();
    assert_eq!(told.lock().unwrap().messages.len(), 1, "each event once");
}

#[tokio::test(flavor = "multi_thread")]
async fn unexpected_files_a_lagging_mirror_and_a_place_that_is_away_end_as_the_help_says() {
    let world = World::new().await;
    let watcher = Watcher::of(&world);
    let list = watcher.home.work().join("known");
    std::fs::write(&list, format!("{}  {}\n", "01".repeat(32), path("six", "1.0"))).unwrap();
    let line = ["--project", "six", "--expect", "known"];
    world.append(vec![leaf("six", "1.0", 1)]).await;
    watcher.runs(&line).await.fine();
    let old = std::fs::read(world.checkpoint()).unwrap();
    world.append(vec![leaf("six", "1.1", 1)]).await;
    let ran = watcher.runs(&line).await;
    ran.refused(9, &["alarm"]);
    assert_eq!(events(&ran.stdout)[0]["event"], "unexpected");
    std::fs::write(world.checkpoint(), old).unwrap();
    watcher.runs(&line).await.refused(7, &["an old checkpoint of 1 leaves", "lags behind"]);
    std::fs::write(&list, "six\n").unwrap();
    watcher.runs(&line).await.refused(2, &["known: line 1"]);
    let away = ["monitor", "--repo", "http://127.0.0.1:1/", "--policy", "policy", "--once"];
    let home = Arc::clone(&watcher.home);
    blocking(move || home.run(&away)).await.refused(7, &["log/checkpoint"]);
    watcher.runs(&["--expect", "known"]).await.refused(2, &["--project or --key"]);
    let ran = watcher.runs(&["--key", "abc"]).await;
    ran.refused_usage("--trust");
}
