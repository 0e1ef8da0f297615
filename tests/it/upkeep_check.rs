//! A check of a part of the repository, and what a check of all says at sizes and damages that do not fit a page.

#![expect(clippy::unwrap_used, reason = "a repository that cannot be read is a test that failed")]

use std::fs;

use wheelseal::repository::{Checked, Plan, Sample, Share, Unseen, Unwatched};

use crate::scene::{ALL_KEYS, Scene, now, plan};
use crate::shell::Home;

/// Six projects in sixteen bins: six wheels, their metadata, six pages.
async fn spread() -> Scene {
    let scene = Scene::of(&Plan { bin_count: 16, ..plan().await }, &ALL_KEYS).await;
    let names = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"];
    let edits: Vec<_> = names.iter().map(|name| scene.add(name, "1.0", "one")).collect();
    scene.publish(&edits).await.unwrap();
    scene
}

async fn sample(scene: &Scene, share: Share, seed: u64) -> Checked {
    scene.open().await.check_sample(Sample { share, seed }, now(), &Unwatched).await.unwrap()
}

/// Root, timestamp, snapshot, targets, claimed, recently-claimed, bins.
const ABOVE_BINS: u64 = 7;

#[tokio::test]
async fn a_sample_of_files_says_what_it_did_not_look_at() {
    let scene = spread().await;
    let all = scene.check().await;
    assert_eq!((all.roles, all.targets, all.unseen), (ABOVE_BINS + 16, 18, None));
    let few = sample(&scene, Share::Files(5), 1).await;
    assert_eq!(few.problems, []);
    assert_eq!(few.roles, ABOVE_BINS + 5);
    assert_eq!(few.unseen.unwrap().bins, 11);
    assert!((1..=5).contains(&few.targets), "{few:?}");
    let most = sample(&scene, Share::Files(1_000), 1).await;
    assert_eq!((most.targets, most.unseen), (18, Some(Unseen { bins: 0, files: 0 })));
}

#[tokio::test]
async fn a_sample_of_a_part_reads_whole_bins_and_at_least_one() {
    let scene = spread().await;
    for (millionths, bins) in [(1, 1), (62_500, 1), (62_501, 2), (500_000, 8), (1_000_000, 16)] {
        let checked = sample(&scene, Share::Millionths(millionths), 3).await;
        assert_eq!(checked.roles, ABOVE_BINS + bins, "{millionths}");
        assert_eq!(checked.unseen, Some(Unseen { bins: 16 - bins, files: 0 }), "{millionths}");
    }
}

#[tokio::test]
async fn a_seed_looks_at_the_same_part_again_and_some_seed_finds_the_damage() {
    let scene = spread().await;
    let damaged = "targets/delta/delta-1.0-py3-none-any.whl.metadata";
    fs::remove_file(scene.root().join(damaged)).unwrap();
    let (mut found, mut missed) = (0, 0);
    for seed in 0..64 {
        let checked = sample(&scene, Share::Files(4), seed).await;
        assert_eq!(checked, sample(&scene, Share::Files(4), seed).await);
        match checked.problems.as_slice() {
            [] => missed += 1,
            [problem] if problem.subject == damaged => found += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(found > 0 && missed > 0, "{found} {missed}");
}

#[tokio::test]
async fn a_sample_finds_every_damage_above_the_bins() {
    let scene = spread().await;
    let path = scene.root().join("metadata/1.claimed.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, text.replace("1.0", "1.1")).unwrap();
    let checked = sample(&scene, Share::Files(1), 0).await;
    assert_eq!(checked.problems.len(), 1, "{checked:?}");
    assert_eq!(checked.problems[0].subject, "claimed");
}

#[test]
fn the_program_takes_a_number_or_a_part_and_nothing_else() {
    let home = Home::with_repository();
    let check = |sample: &str| home.run(&["check", "--repo", "repo", &format!("--sample={sample}")]);
    let told = check("1").fine();
    assert!(told.contains("not looked at: 1 bins and all they list, "), "{told}");
    let told = check("0.5%").fine();
    assert!(told.contains("not looked at: 1 bins and all they list, 0 files of other bins"), "{told}");
    for wrong in ["0", "0%", "101%", "-1", "x", "1.5", "0.00001%", "5 %", "%"] {
        check(wrong).refused(2, &["neither a number of files nor a part"]);
    }
    home.run(&["check", "--repo", "repo", "--seed", "1"]).refused(2, &["--sample"]);
}
