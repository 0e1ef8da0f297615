//! A log followed from afar: sizes at which trees and bundles change, in bounded pieces.

use std::sync::Arc;

use wheelseal::log::Tail;
use wheelseal::tlog::leaf::Leaf;

use super::{Signer, World, kinds, leaf, look, watching};

/// Leaves in one piece, at most.
const PIECE: usize = 4_096;

fn many(from: u64, to: u64) -> Vec<Leaf> {
    (from..to).map(|number| leaf(&format!("p{number}"), "1.0", 1)).collect()
}

async fn numbers(tail: &Tail, from: u64) -> Vec<u64> {
    let step = tail.look(None).await.unwrap().unwrap();
    let (mut leaves, mut numbers) = (tail.leaves(&step, from), Vec::new());
    loop {
        let piece = leaves.next().await.unwrap();
        assert!(piece.len() <= PIECE, "{} leaves at once", piece.len());
        if piece.is_empty() {
            return numbers;
        }
        for (index, leaf) in piece {
            let Some(Leaf::File(file)) = leaf else { panic!("{leaf:?}") };
            assert_eq!(file.project(), format!("p{index}"));
            numbers.push(index);
        }
    }
}

#[tokio::test]
async fn all_leaves_are_shown_in_order_whatever_the_size() {
    let world = World::of(Arc::new(Signer::new()), Vec::new()).await;
    let tail = Tail::new(world.reader(), world.signer.policy());
    let mut before = 0;
    for size in [0, 1, 255, 256, 257, 4_095, 4_097, 65_535, 65_536, 65_537] {
        world.append(many(before, size)).await;
        before = size;
        for from in [0, 1, 256, 4_000, 65_536] {
            let expected: Vec<u64> = (from..size).collect();
            assert_eq!(numbers(&tail, from).await, expected, "{size} leaves, from {from}");
        }
    }
}

#[tokio::test]
async fn a_large_log_is_watched_from_the_beginning_and_goes_on_from_there() {
    let mut leaves = many(0, 65_536);
    leaves[60_000] = leaf("p7", "1.0", 2);
    let world = World::of(Arc::new(Signer::new()), leaves).await;
    let mut monitor = world.monitor(watching(&["p7"])).await;
    let (round, told) = look(&mut monitor).await;
    assert_eq!((round.leaves, kinds(&told)), (65_536, vec!["began".to_owned(), "second-content".to_owned()]));
    let state = std::fs::metadata(world.state().join("state.json")).unwrap().len();
    assert!(state < 4_096, "{state} bytes are remembered of one project with one file");
    world.append(vec![leaf("p7", "1.1", 1)]).await;
    let (round, told) = look(&mut monitor).await;
    assert_eq!((round.leaves, kinds(&told)), (1, vec!["file".to_owned()]));
}

#[tokio::test]
async fn a_changed_leaf_anywhere_in_a_full_bundle_is_noticed() {
    let world = World::of(Arc::new(Signer::new()), many(0, 600)).await;
    let tail = Tail::new(world.reader(), world.signer.policy());
    let step = tail.look(None).await.unwrap().unwrap();
    for (tile, at) in [
        ("tile/0/000", 0_usize),
        ("tile/0/001", 255 * 32),
        ("tile/0/002.p/88", 87 * 32),
        ("tile/1/000.p/2", 0),
    ] {
        let file = world.log_folder().join("log").join(tile);
        let good = std::fs::read(&file).unwrap();
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&file, bad).unwrap();
        tail.leaves(&step, 0).next().await.unwrap_err();
        std::fs::write(&file, good).unwrap();
    }
    assert_eq!(tail.leaves(&step, 0).next().await.unwrap().len(), 600);
}

#[tokio::test]
async fn a_second_content_is_told_even_if_the_first_one_is_withheld() {
    let mut leaves = many(0, 300);
    leaves[3] = leaf("six", "1.0", 1);
    let world = World::of(Arc::new(Signer::new()), leaves).await;
    let mut monitor = world.monitor(watching(&["six"])).await;
    look(&mut monitor).await;
    std::fs::remove_file(world.log_folder().join("log/tile/entries/000")).unwrap();
    world.append(vec![leaf("six", "1.0", 2)]).await;
    let (round, told) = look(&mut monitor).await;
    assert_eq!((round.alarms, kinds(&told)), (1, vec!["second-content".to_owned()]));
    assert_eq!(super::json(&told)[0]["evidence"], serde_json::Value::Null);
}
