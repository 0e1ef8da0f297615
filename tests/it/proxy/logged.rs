//! What was signed but not logged, as tools meet it.

use super::large::{BIG, BIG_PATH, publish};
use super::{PAGE_PATH, Setup, Stage, WHEEL, WHEEL_PATH};
use crate::client::log::log_folder;
use crate::scene::wheel_bytes;

async fn logged(stage: &Stage, left_out: &[&str]) -> Setup {
    let log_policy = Some(log_folder(&stage.scene.root(), left_out, 1).await);
    Setup { log_policy, ..Setup::default() }
}

#[tokio::test]
async fn a_logged_wheel_arrives_and_the_next_run_asks_for_no_proof() {
    let stage = Stage::new().await;
    let setup = logged(&stage, &[]).await;
    let running = stage.forward(&setup);
    assert_eq!(running.tool.get(WHEEL_PATH).body, wheel_bytes("alpha", "1.0", "x = 1\n"));
    running.settle().await;
    let proofs = |asked: Vec<String>| asked.into_iter().filter(|path| path.ends_with(".tlog-proof")).count();
    assert_eq!(proofs(stage.asked()), 2, "of the snapshot and of the wheel");
    let again = stage.forward(&setup);
    assert_eq!(again.tool.get(WHEEL_PATH).status, 200);
    assert_eq!(proofs(stage.asked()), 0);
    assert_eq!(again.refused(), [""; 0]);
}

#[tokio::test]
async fn an_unlogged_wheel_is_refused_and_its_page_is_not() {
    let stage = Stage::new().await;
    let setup = logged(&stage, &[&format!("alpha/{WHEEL}")]).await;
    for running in [stage.forward(&setup), stage.forward(&setup)] {
        assert_eq!(running.tool.get(PAGE_PATH).status, 200);
        let answer = running.tool.get(WHEEL_PATH);
        assert_eq!(answer.status, 403);
        let why = format!("there is no proof that alpha/{WHEEL} was logged");
        assert!(answer.phrase.contains(&why) && answer.detail().contains(&why), "{}", answer.phrase);
        assert_eq!(running.refused(), [format!("{WHEEL}: {why}")]);
    }
}

/// It lies in the cache from before the user asked for a log.
#[tokio::test]
async fn what_is_kept_is_not_given_out_without_its_proof() {
    let stage = Stage::new().await;
    let before = stage.forward(&Setup::default());
    assert_eq!(before.tool.get(WHEEL_PATH).status, 200);
    before.settle().await;
    drop(before);
    let setup = logged(&stage, &[&format!("alpha/{WHEEL}")]).await;
    assert_eq!(stage.forward(&setup).tool.get(WHEEL_PATH).status, 403);
}

#[tokio::test]
async fn a_large_unlogged_wheel_is_refused_before_any_of_it_is_sent() {
    let stage = Stage::new().await;
    publish(&stage).await;
    let setup = logged(&stage, &[&format!("big/{BIG}")]).await;
    let running = stage.forward(&setup);
    let answer = running.tool.get(BIG_PATH);
    assert_eq!(answer.status, 403);
    assert!(answer.phrase.contains("was logged"), "{}", answer.phrase);
    let file = stage.hashed(&format!("big/{BIG}"));
    assert!(!stage.asked().contains(&format!("/{file}")), "the file was not even asked for");
}

#[tokio::test]
async fn an_index_without_the_log_that_was_pinned_gives_nothing() {
    let stage = Stage::new().await;
    let other = Stage::new().await;
    let setup = logged(&other, &[]).await;
    let running = stage.forward(&setup);
    for path in [PAGE_PATH, WHEEL_PATH] {
        let answer = running.tool.get(path);
        assert_eq!(answer.status, 403);
        assert!(
            answer.phrase.contains("no transparency log, which your policy asks for"),
            "{}",
            answer.phrase
        );
    }
}
