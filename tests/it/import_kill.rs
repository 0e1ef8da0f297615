//! The built program killed in the middle of an import: nothing of it is to be seen, or all, and a second run finishes it.

#![expect(clippy::unwrap_used, reason = "a program that does not start is a test that cannot run")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use crate::import_pages::place;
use crate::kill::{Dice, notes, now, spawn, verifies};
use crate::memory::Reader;
use crate::scene::{wheel, wheel_name};
use crate::shell::Home;

/// Projects in each list, and as many files.
const PROJECTS: u8 = 60;

/// A list of files that lie where clients look for them: one version of each project.
fn list(root: &Path, version: &str) -> String {
    let line = |number| place(root, &format!("project{number}"), version, "");
    (0..PROJECTS).map(line).collect::<Vec<_>>().join("\n")
}

fn timestamp(root: &Path) -> Vec<u8> {
    fs::read(root.join("metadata/timestamp.json")).unwrap()
}

#[tokio::test]
async fn an_import_killed_while_it_reads_its_list_has_done_nothing() {
    let home = Home::with_repository();
    let root = home.work().join("repo");
    let lines = list(&root, "1.0");
    let before = timestamp(&root);
    let mut child = spawn(&home, &["import", "--repo", "repo", "--from-tsv", "-"]);
    let mut input = child.stdin.take().unwrap();
    input.write_all(lines.as_bytes()).unwrap();
    input.flush().unwrap();
    // It holds all lines and waits for more.
    std::thread::sleep(Duration::from_millis(200));
    child.kill().unwrap();
    child.wait().unwrap();
    drop(input);
    assert_eq!((timestamp(&root), notes(&root)), (before, 0));
    assert!(!root.join("targets/simple/project1").exists());
    verifies(&root, "after the kill").await;
}

#[tokio::test]
async fn an_import_killed_at_any_time_is_seen_whole_or_not_at_all_and_a_second_run_finishes_it() {
    let home = Home::with_repository();
    let root = home.work().join("repo");
    let mut dice = Dice(5);
    // After the first page is written, after the first bin, after the note of its pages; and then some time more.
    for (round, sign) in (0..9).zip(["page", "bin", "note"].into_iter().cycle()) {
        let version = format!("1.{round}");
        fs::write(home.work().join("list.tsv"), list(&root, &version)).unwrap();
        let (before, there) = (timestamp(&root), come(&root, sign));
        let import = ["import", "--repo", "repo", "--from-tsv", "list.tsv"];
        let mut child = spawn(&home, &import);
        while come(&root, sign) == there && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(if round < 3 { 0 } else { dice.below(20) }));
        child.kill().unwrap();
        child.wait().unwrap();
        let when = format!("after kill {round} ({sign})");
        verifies(&root, &when).await;
        let committed = timestamp(&root) != before;
        let reader = Reader::of_folder(&root);
        for project in ["project0", "project59"] {
            let page = reader.page(now(), project).await.unwrap_or_default();
            let listed = page.contains(wheel_name(project, &version).as_str());
            assert_eq!(listed, committed, "{when}: {page}");
        }
        let said = home.run(&[&import[..], &["--json"]].concat()).fine();
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        let of = |name| said.get(name).unwrap().as_u64().unwrap();
        let all = u64::from(PROJECTS);
        let expected = if committed { (0, all) } else { (all, 0) };
        assert_eq!((of("added"), of("present")), expected, "{when}");
        let all: Vec<String> = (0..PROJECTS).map(|number| format!("project{number}")).collect();
        reader
            .downloads(now(), all.iter().map(|project| (project.as_str(), version.as_str())))
            .await
            .unwrap();
    }
    // A note of pages that never came is left to the next change, and unfinished files to gc.
    home.publish("alpha", "1.1");
    verifies(&root, "in the end").await;
    home.run(&["fsck", "--repo", "repo"]).fine();
    home.run(&["gc", "--repo", "repo", "--keep", "1", "--grace", "0"]).fine();
    assert_eq!(notes(&root), 0);
    assert_eq!(count(&root, "targets/simple"), usize::from(PROJECTS) + 2);
    home.run(&["check", "--repo", "repo"]).fine();
}

/// How many there are of what a killed import is to have written.
fn come(root: &Path, sign: &str) -> usize {
    match sign {
        "page" => count(root, "targets/simple"),
        "bin" => count(root, "metadata"),
        _ => notes(root),
    }
}

#[tokio::test]
async fn an_import_of_a_folder_killed_while_it_stores_goes_on_where_it_was() {
    let home = Home::with_repository();
    let root = home.work().join("repo");
    let mirror = home.work().join("mirror");
    fs::create_dir(&mirror).unwrap();
    for number in 0..200 {
        let file = wheel(&mirror, &format!("project{number}"), "1.0", "");
        // What is younger than the import may change again unseen, and is not remembered.
        let file = fs::File::options().write(true).open(file).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
    }
    let before = timestamp(&root);
    let import = ["import", "--repo", "repo", "--from-dir", "mirror", "--store-files"];
    let noted = || {
        let journals = walkdir::WalkDir::new(home.state().join("wheelseal/imports")).into_iter();
        let journals = journals.filter_map(Result::ok).filter(|entry| entry.file_type().is_file());
        journals.map(|entry| fs::read_to_string(entry.path()).unwrap().matches('\n').count()).sum::<usize>()
    };
    let mut child = spawn(&home, &import);
    while noted() == 0 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    verifies(&root, "after the kill").await;
    let (known, committed) = (noted(), timestamp(&root) != before);
    let said = home.run(&[&import[..], &["--json"]].concat()).fine();
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let of = |name| usize::try_from(said.pointer(name).unwrap().as_u64().unwrap()).unwrap();
    assert_eq!((of("/files/remembered"), of("/files/hashed")), (known, 200 - known));
    assert_eq!((of("/added"), of("/present")), if committed { (0, 200) } else { (200, 0) });
    verifies(&root, "in the end").await;
    let reader = Reader::of_folder(&root);
    reader.downloads(now(), [("project0", "1.0"), ("project199", "1.0")]).await.unwrap();
}

/// Files below a folder.
fn count(root: &Path, folder: &str) -> usize {
    let entries = walkdir::WalkDir::new(root.join(folder)).into_iter().filter_map(Result::ok);
    entries.filter(|entry| entry.file_type().is_file()).count()
}
