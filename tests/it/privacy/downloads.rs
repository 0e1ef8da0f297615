//! What counts as a download, and that sums are all that is kept of it.

use std::path::Path;

use chrono::NaiveDate;
use serde_json::Value;
use wheelseal::journal::{Cell, Country, FileName, Of, Recorder, Retention, Tool, Upkeep};

use super::{Index, behind_proxy, journal, journal_folder, key_file};
use crate::scene::now;
use crate::serve::Answer;

const FILE: &str = "/targets/alpha/alpha-1.0-py3-none-any.whl";

fn cell(country: &str, tool: Tool, version: &str) -> Cell {
    let of = Of::File("alpha-1.0-py3-none-any.whl".parse::<FileName>().unwrap());
    Cell { of, tool: Some(tool), country: country.parse::<Country>().ok(), version: version.parse().ok() }
}

fn today() -> NaiveDate {
    now().date_naive()
}

/// The sums once the server has stopped.
fn sums(index: Index) -> Vec<(Cell, u64)> {
    let (_, folder, _) = index.written();
    journal(folder.path()).downloads_of(today()).unwrap().into_iter().collect()
}

/// The cells of a file that has one with every field, and one of a whole project.
pub(super) fn one_of_each(place: &Path) -> Vec<Value> {
    let keys = std::sync::Arc::new(key_file(place));
    let report = Box::new(|error: &wheelseal::journal::JournalError| panic!("{error}"));
    let upkeep = Upkeep { retention: Retention::default(), keys, clock: now, report };
    let recorder = Recorder::start(journal(place), upkeep).unwrap();
    let rare = |name: &str| Cell { of: Of::File(name.parse().unwrap()), ..Cell::default() };
    for _ in 0..5 {
        recorder.downloads().count(today(), cell("PT", Tool::Pip, "24.0"));
    }
    for name in ["beta-1.tar.gz", "beta-2.tar.gz", "beta-3.tar.gz", "beta-4.tar.gz", "beta-5.tar.gz"] {
        recorder.downloads().count(today(), rare(name));
    }
    recorder.close();
    let file = journal_folder(place).join(format!("downloads-{}.json", today()));
    let value: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    value.get("cells").unwrap().as_array().unwrap().clone()
}

#[tokio::test]
async fn files_that_were_sent_to_their_end_are_counted_by_country_tool_and_version() {
    let index = Index::new(behind_proxy()).await;
    for _ in 0..5 {
        index.served.get(FILE, &["User-Agent: pip/24.0 {\"user\":\"jane\"}", "X-Country: PT"]);
        index.served.get(FILE, &["User-Agent: Mozilla/5.0 (Jane)", "X-Country: PT", "X-City: Porto"]);
    }
    let expected = [(cell("PT", Tool::Pip, "24.0"), 5), (cell("PT", Tool::Browser, ""), 5)];
    assert_eq!(sums(index), expected);
}

#[tokio::test]
async fn four_downloads_leave_nothing_at_all() {
    let index = Index::new(behind_proxy()).await;
    for _ in 0..4 {
        assert_eq!(index.served.get(FILE, &["User-Agent: pip/24.0"]).status, 200);
    }
    let (_, folder, _) = index.written();
    assert_eq!(std::fs::read_dir(journal_folder(folder.path())).unwrap().count(), 0);
}

#[tokio::test]
async fn what_is_no_download_is_not_counted() {
    let index = Index::new(behind_proxy()).await;
    let agent = "User-Agent: uv/0.5.1";
    let tag = index.served.ask("HEAD", FILE, &[agent]).field("etag").to_owned();
    for _ in 0..5 {
        let seen = format!("If-None-Match: {tag}");
        assert_eq!(index.served.ask("HEAD", FILE, &[agent]).status, 200);
        assert_eq!(index.served.get(FILE, &[agent, &seen]).status, 304);
        assert_eq!(index.served.get(FILE, &[agent, "Range: bytes=5-9"]).status, 206);
        assert_eq!(index.served.get("/targets/alpha/alpha-9.9.tar.gz", &[agent]).status, 404);
        assert_eq!(index.served.get("/simple/alpha/", &[agent]).status, 200);
        assert_eq!(index.served.get("/metadata/timestamp.json", &[agent]).status, 200);
    }
    assert_eq!(sums(index), []);
}

#[tokio::test]
async fn of_a_file_in_parts_the_first_part_counts_and_hashed_names_are_the_same_file() {
    let index = Index::new(behind_proxy()).await;
    let hashed = index
        .scene
        .files()
        .into_keys()
        .find(|name| name.starts_with("targets/alpha/") && name.ends_with(".alpha-1.0-py3-none-any.whl"));
    let hashed = format!("/{}", hashed.unwrap());
    for at in 0..5 {
        let path = if at < 2 { FILE } else { &hashed };
        let first: Answer = index.served.get(path, &["User-Agent: uv/0.5.1", "Range: bytes=0-9"]);
        let rest = index.served.get(path, &["User-Agent: uv/0.5.1", "Range: bytes=10-"]);
        assert_eq!((first.status, rest.status), (206, 206));
    }
    assert_eq!(sums(index), [(cell("", Tool::Uv, "0.5.1"), 5)]);
}

#[tokio::test]
async fn a_country_that_no_trusted_proxy_tells_is_not_counted() {
    let mut rules = behind_proxy();
    rules.visitors.trusted.clear();
    let index = Index::new(rules).await;
    for _ in 0..5 {
        index.served.get(FILE, &["User-Agent: pip/24.0", "X-Country: PT"]);
    }
    assert_eq!(sums(index), [(cell("", Tool::Pip, "24.0"), 5)]);
}
