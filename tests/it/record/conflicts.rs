//! An index that changes what it said, or gives out something else.

use serde_json::{Value, json};
use wheelseal::crypto::sha256;

use super::{Desk, Index, Reply, listed, metadata, round, targets};
use crate::scene::wheel_bytes;

const NAME: &str = "six-1.0-py3-none-any.whl";

fn hash(bytes: &[u8]) -> String {
    hex::encode(sha256(bytes))
}

/// A conflict as it is kept.
fn kept(desk: &Desk, name: &str, found: &[u8]) -> Value {
    let conflicts = desk.conflicts();
    let at = format!("six/{name}.{}.", hash(found));
    let mut kept = conflicts.iter().filter(|(path, _)| path.starts_with(&at));
    serde_json::from_str(kept.next().unwrap_or_else(|| panic!("no {at} in {conflicts:?}")).1).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_is_a_conflict_that_is_kept_once_and_the_first_one_stays() {
    let (index, desk) = (Index::new().await, Desk::new().await);
    index.lists("six", &[index.wheel("six", "1.0", "x = 1")]);
    let mut recorder = desk.recorder(&index, desk.settings()).await;
    round(&mut recorder).await;
    let (first, second) = (wheel_bytes("six", "1.0", "x = 1"), wheel_bytes("six", "1.0", "evil"));
    index.projects(&[("six", None), ("web", None)]);
    index.page("six", None, &[index.wheel("six", "1.0", "evil")]);
    index.page("web", None, &[index.wheel("web", "1.0", "")]);
    let report = round(&mut recorder).await;
    assert_eq!((report.conflicts, report.new_conflicts.len(), report.recorded), (1, 1, 1));
    let expected = json!({
        "expected": {"length": first.len(), "sha256": hash(&first)},
        "found": {"length": second.len(), "sha256": hash(&second)},
        "path": format!("six/{NAME}"), "project": "six", "source": "index",
    });
    assert_eq!(kept(&desk, NAME, &second), expected);
    assert_eq!(desk.targets().await[&format!("six/{NAME}")], hash(&first));
    let report = round(&mut recorder).await;
    assert_eq!((report.conflicts, report.new_conflicts.len()), (0, 0), "the page was done with");
    assert_eq!(recorder.kept_conflicts().await, Ok(1));
    // Back and forth: the same conflict is no new one.
    index.page("six", None, &[index.wheel("six", "1.0", "x = 1")]);
    assert_eq!(round(&mut recorder).await.conflicts, 0);
    index.page("six", None, &[index.wheel("six", "1.0", "evil")]);
    let report = round(&mut recorder).await;
    assert_eq!((report.conflicts, report.new_conflicts.len()), (1, 0));
    assert_eq!(desk.conflicts().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_length_for_the_recorded_hash_is_a_conflict_too() {
    let (index, desk) = (Index::new().await, Desk::new().await);
    let mut file = index.wheel("six", "1.0", "x = 1");
    index.lists("six", std::slice::from_ref(&file));
    desk.once(&index).await;
    file["size"] = json!(7);
    index.lists("six", &[file]);
    assert_eq!(desk.once(&index).await.new_conflicts.len(), 1);
    let wheel = wheel_bytes("six", "1.0", "x = 1");
    assert_eq!(kept(&desk, NAME, &wheel)["found"], json!({"length": 7, "sha256": hash(&wheel)}));
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_not_what_the_page_lists_are_a_conflict_and_recorded_when_they_are_right() {
    let (index, desk) = (Index::new().await, Desk::new().await);
    let (right, wrong) = (wheel_bytes("six", "1.0", "x = 1"), wheel_bytes("six", "1.0", "evil"));
    index.lists("six", &[index.wheel("six", "1.0", "x = 1"), index.wheel("six", "1.1", "x = 2")]);
    index.put(&format!("/files/{NAME}"), Reply::Bytes(wrong.clone()));
    let mut recorder = desk.recorder(&index, desk.settings()).await;
    let report = round(&mut recorder).await;
    assert_eq!((report.conflicts, report.recorded, report.waiting), (1, 1, 1));
    assert_eq!(index.asked().iter().filter(|path| path.ends_with(NAME)).count(), 2, "confirmed once");
    let expected = json!({
        "expected": {"length": right.len(), "sha256": hash(&right)},
        "found": {"length": wrong.len(), "sha256": hash(&wrong)},
        "path": format!("six/{NAME}"), "project": "six", "source": "bytes",
    });
    assert_eq!(kept(&desk, NAME, &wrong), expected);
    assert!(!desk.targets().await.contains_key(&format!("six/{NAME}")));
    let report = round(&mut recorder).await;
    assert_eq!((report.conflicts, report.new_conflicts.len(), report.recorded), (1, 0, 0));
    index.put(&format!("/files/{NAME}"), Reply::Bytes(right.clone()));
    round(&mut recorder).await;
    let report = round(&mut recorder).await;
    assert_eq!((report.conflicts, report.recorded, report.waiting), (0, 1, 0));
    assert_eq!(desk.targets().await[&format!("six/{NAME}")], hash(&right));
    assert_eq!(desk.conflicts().len(), 1, "what was seen is not taken back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_cut_off_once_is_no_conflict() {
    let (index, desk) = (Index::new().await, Desk::new().await);
    let wheel = wheel_bytes("six", "1.0", "x = 1");
    index.lists("six", &[index.wheel("six", "1.0", "x = 1")]);
    let short = Reply::Bytes(wheel[..wheel.len() / 2].to_vec());
    index.put(&format!("/files/{NAME}"), Reply::InTurn(vec![short, Reply::Bytes(wheel)]));
    let report = desk.once(&index).await;
    assert_eq!((report.conflicts, report.recorded), (0, 1));
    assert_eq!(desk.conflicts().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_is_not_the_wheels_own_or_not_what_is_listed_is_a_conflict() {
    let (index, desk) = (Index::new().await, Desk::new().await);
    let (own, other) = (metadata("six", "1.0"), "Name: six\nRequires-Dist: evil\n");
    let mut file = index.wheel("six", "1.0", "x = 1");
    file["core-metadata"] = json!({"sha256": hash(other.as_bytes())});
    index.put(&format!("/files/{NAME}.metadata"), Reply::Bytes(other.as_bytes().to_vec()));
    index.lists("six", &[file]);
    let report = desk.once(&index).await;
    assert_eq!((report.conflicts, report.recorded), (1, 1));
    let conflict = kept(&desk, &format!("{NAME}.metadata"), own.as_bytes());
    assert_eq!(conflict["path"], json!(format!("six/{NAME}.metadata")));
    assert_eq!(conflict["expected"], json!({"sha256": hash(other.as_bytes())}));
    let wheel = wheel_bytes("six", "1.0", "x = 1");
    let (path, beside) = (format!("six/{NAME}"), format!("six/{NAME}.metadata"));
    let expected = targets(&[(path.as_str(), &wheel), (beside.as_str(), own.as_bytes())]);
    assert_eq!(desk.targets().await, expected);
    // Listed as it is, and given out as something else.
    let name = "six-1.1-py3-none-any.whl";
    let mut file = index.wheel("six", "1.1", "x = 1");
    file["core-metadata"] = json!({"sha256": hash(metadata("six", "1.1").as_bytes())});
    index.put(&format!("/files/{name}.metadata"), Reply::Bytes(b"evil".to_vec()));
    index.lists("six", &[file]);
    let report = desk.once(&index).await;
    assert_eq!((report.conflicts, report.recorded), (1, 1));
    assert_eq!(kept(&desk, &format!("{name}.metadata"), b"evil")["source"], json!("bytes"));
    // What was recorded is listed as something else.
    let mut file = index.wheel("six", "1.1", "x = 1");
    file["core-metadata"] = json!({"sha256": hash(b"changed")});
    index.lists("six", &[file]);
    assert_eq!(desk.once(&index).await.new_conflicts.len(), 1);
    assert_eq!(kept(&desk, &format!("{name}.metadata"), b"changed")["source"], json!("index"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_lists_a_file_twice_contradicts_itself() {
    let (index, desk) = (Index::new().await, Desk::new().await);
    let file = index.wheel("six", "1.0", "x = 1");
    index.lists("six", &[file.clone(), file, listed(NAME, b"evil")]);
    let report = desk.once(&index).await;
    assert_eq!((report.conflicts, report.recorded, report.left_out), (1, 1, 0));
    assert_eq!(kept(&desk, NAME, b"evil")["found"], json!({"length": 4, "sha256": hash(b"evil")}));
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_of_one_project_are_bounded_and_told_beyond_that() {
    let (index, desk) = (Index::new().await, Desk::new().await);
    index.lists("six", &[index.wheel("six", "1.0", "x = 1")]);
    desk.once(&index).await;
    let many: Vec<Value> = (0..1_003).map(|number: u32| listed(NAME, &number.to_be_bytes())).collect();
    index.lists("six", &many);
    let report = desk.once(&index).await;
    assert_eq!((report.conflicts, report.new_conflicts.len(), report.left_out), (1_000, 1_000, 1));
    assert_eq!(desk.conflicts().len(), 1_000);
}
