//! Uploads of a claimed project: they wait until its maintainers sign them.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use wheelseal::crypto::sha256;
use wheelseal::repository::{Kind, ProjectFile, Retention, Unwatched};
use wheelseal::server::UploadLimits;

use super::Answer;
use super::form::Form;
use super::upload::Index;
use crate::claims::{ANN, BOB, claim, published, request, with_six};

const WHEEL: &str = "six-2.0-py3-none-any.whl";

async fn index() -> Index {
    Index::over(with_six().await, UploadLimits::default()).await
}

/// What Ann signs about the wheel that [`Form::of`] uploads.
async fn release(index: &Index, keys: &[&str]) -> ProjectFile {
    let edits = [index.scene.add("six", "2.0", "x = 1\n")];
    request(&index.scene, "six", Kind::Release, None, &edits, &[], keys).await
}

impl Index {
    fn post(&self, bytes: &[u8]) -> Answer {
        let head = self.head(bytes.len()).replace("POST /legacy/", "POST /release/");
        Answer::read(&self.served.raw(&[head.as_bytes(), bytes].concat()))
    }

    pub(super) fn release(&self, file: &ProjectFile) -> Answer {
        self.post(file.to_text().unwrap().as_bytes())
    }

    /// Files that wait, by their paths in the store.
    fn waiting(&self) -> Vec<String> {
        self.scene.files().into_keys().filter(|path| path.starts_with("staging/uploads/")).collect()
    }

    fn place(&self, waiting: &str) -> PathBuf {
        self.scene.root().join(waiting)
    }
}

#[tokio::test]
async fn a_file_of_a_claimed_project_waits_until_its_maintainers_sign_it() {
    let index = index().await;
    for _ in 0..2 {
        let answer = index.send(&Form::of("six", "2.0"));
        let text =
            format!("{WHEEL} waits: the maintainers of six sign it with `wheelseal project release`\n");
        assert_eq!((answer.status, answer.text()), (202, text));
    }
    let digest = hex::encode(sha256(&Form::of("six", "2.0").files[0].1));
    assert_eq!(index.waiting(), [format!("staging/uploads/six/{digest}.{WHEEL}")]);
    assert_eq!(published(&index.scene, "six").await, ["six-1.0-py3-none-any.whl"]);
    assert!(!index.served.get("/simple/six/", &[]).text().contains("2.0"));
    let staged = index.served.get(&format!("/staging/uploads/six/{digest}.{WHEEL}"), &[]);
    assert_eq!(staged.status, 404, "what waits is not given out");

    let answer = index.release(&release(&index, &[ANN]).await);
    assert_eq!(
        (answer.status, answer.text()),
        (200, format!("six is published in snapshot 5; added {WHEEL}\n"))
    );
    assert_eq!(published(&index.scene, "six").await, ["six-1.0-py3-none-any.whl", WHEEL]);
    assert!(index.waiting().is_empty());
    index.scene.assert_verifies("after a release over the network").await;
    let again = index.send(&Form::of("six", "2.0"));
    assert_eq!((again.status, again.text()), (200, format!("{WHEEL} was published already\n")));
    index.spool_is_empty();
}

#[tokio::test]
async fn a_release_without_its_files_or_by_others_changes_nothing() {
    let index = index().await;
    let file = release(&index, &[ANN]).await;
    let answer = index.release(&file);
    assert_eq!(answer.status, 409);
    assert!(answer.text().contains(&format!("came without {WHEEL}, which it lists")), "{}", answer.text());

    index.send(&Form::of("six", "2.0"));
    let before = index.scene.files();
    let mut forged = file.clone();
    forged.role = String::from_utf8(file.role.clone()).unwrap().replace("2.0-py3", "2.1-py3").into_bytes();
    let answer = index.release(&forged);
    assert_eq!(answer.status, 409, "{}", answer.text());
    assert!(answer.text().contains("0 valid signature(s)"), "{}", answer.text());
    assert!(index.scene.files() == before, "what is not signed by the maintainers changed something");
    assert_eq!(index.release(&file).status, 200);
}

#[tokio::test]
async fn what_was_changed_while_it_waited_is_not_published() {
    let index = index().await;
    index.send(&Form::of("six", "2.0"));
    let [waiting] = index.waiting().try_into().unwrap();
    fs::write(index.place(&waiting), b"evil").unwrap();
    let answer = index.release(&release(&index, &[ANN]).await);
    assert_eq!(answer.status, 409);
    assert!(answer.text().contains("as it was uploaded"), "{}", answer.text());
    assert_eq!(published(&index.scene, "six").await, ["six-1.0-py3-none-any.whl"]);
    index.spool_is_empty();
}

#[tokio::test]
async fn a_published_name_stands_for_its_content_in_a_claimed_project_too() {
    let index = index().await;
    let answer = index.send(&Form::of("six", "1.0"));
    assert_eq!(answer.status, 409, "{}", answer.text());
    assert!(answer.text().contains("is published already with SHA-256"), "{}", answer.text());
    assert!(index.waiting().is_empty());
}

#[tokio::test]
async fn a_claim_over_the_network_waits_for_an_admin() {
    let index = index().await;
    let claim = claim(&index.scene, "beta", &[BOB], 1, &[]).await;
    let answer = index.release(&claim);
    assert_eq!(
        (answer.status, answer.text()),
        (202, "the claim of beta waits for an admin of the index\n".to_owned())
    );
    let waiting = index.scene.open().await.waiting_claims().await.unwrap();
    assert_eq!(waiting, [claim]);
}

#[tokio::test]
async fn a_token_for_other_projects_sends_no_release() {
    let index = index().await;
    let file = claim(&index.scene, "gamma", &[BOB], 1, &[]).await;
    let answer = index.release(&file);
    assert_eq!((answer.status, answer.text()), (403, "this token is not for gamma\n".to_owned()));
    let mut index = index;
    index.token.push('0');
    assert_eq!(index.release(&file).status, 401);
    assert_eq!(index.post(b"{").status, 401);
}

#[tokio::test]
async fn a_release_cut_at_any_byte_changes_nothing() {
    let index = index().await;
    index.send(&Form::of("six", "2.0"));
    let before = index.scene.files();
    let body = release(&index, &[ANN]).await.to_text().unwrap().into_bytes();
    let head = index.head(body.len()).replace("POST /legacy/", "POST /release/");
    let whole = [head.into_bytes(), body.clone()].concat();
    for at in (0..whole.len()).step_by(whole.len() / 20) {
        let mut stream = index.served.connect();
        stream.write_all(&whole[..at]).unwrap();
        stream.shutdown(std::net::Shutdown::Both).unwrap();
        // The two that were cut before may hold the places of this token for another moment.
        let posted = || index.post(&body[..at.min(body.len() - 2)]);
        let short = std::iter::repeat_with(posted).take(500).find(|answer| {
            let busy = answer.status == 429;
            std::thread::sleep(Duration::from_millis(if busy { 10 } else { 0 }));
            !busy
        });
        let short = short.unwrap();
        assert_eq!(short.status, 400, "{}", short.text());
    }
    assert!(index.scene.files() == before, "a part of a release changed something");
}

#[tokio::test]
async fn what_waits_for_one_project_is_bounded() {
    let index = index().await;
    let folder = index.place("staging/uploads/six");
    fs::create_dir_all(&folder).unwrap();
    for number in 0..500 {
        fs::write(folder.join(format!("{number:064x}.six-2.{number}-py3-none-any.whl")), b"x").unwrap();
    }
    let answer = index.send(&Form::of("six", "2.0"));
    let text = "too many uploads of six wait for its maintainers' signatures\n".to_owned();
    assert_eq!((answer.status, answer.text()), (409, text));
    assert_eq!(index.waiting().len(), 500);
}

#[tokio::test]
async fn what_nobody_signs_is_removed_after_a_month() {
    let index = index().await;
    index.send(&Form::of("six", "2.0"));
    index.send(&Form::of("six", "3.0"));
    let repository = index.scene.open().await;
    let [old, young] = index.waiting().try_into().unwrap();
    let now = fs::metadata(index.place(&young)).unwrap().modified().unwrap();
    let day = Duration::from_hours(24);
    for (path, days) in [(&old, 31), (&young, 29)] {
        let file = fs::File::options().write(true).open(index.place(path)).unwrap();
        file.set_modified(now - day * days).unwrap();
    }
    let retention = Retention { snapshots: 10, grace: day };
    let collect = async |dry_run| {
        let collected = repository.gc(retention, dry_run, now.into(), &Unwatched).await;
        collected.unwrap().removed
    };
    assert!(collect(true).await.contains(&old));
    assert_eq!(index.waiting().len(), 2, "a dry run removed something");
    assert!(collect(false).await.contains(&old));
    assert_eq!(index.waiting(), [young]);
}

#[tokio::test]
async fn who_trickles_a_release_is_sent_away() {
    let limits = UploadLimits { stall: Duration::from_millis(300), ..UploadLimits::default() };
    let index = Index::over(with_six().await, limits).await;
    let head = index.head(100_000).replace("POST /legacy/", "POST /release/");
    let mut stream = index.served.connect();
    stream.write_all(head.as_bytes()).unwrap();
    for _ in 0..40 {
        // Never silent for as long as that, and yet too slow.
        if stream.write_all(b"{").is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    let mut answer = Vec::new();
    drop(std::io::Read::read_to_end(&mut stream, &mut answer));
    assert_eq!(Answer::read(&answer).status, 408, "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn an_upload_that_waits_is_dated_anew_by_the_next_one() {
    let index = index().await;
    index.send(&Form::of("six", "2.0"));
    let [waiting] = index.waiting().try_into().unwrap();
    let file = fs::File::options().write(true).open(index.place(&waiting)).unwrap();
    let modified = || fs::metadata(index.place(&waiting)).unwrap().modified().unwrap();
    let old = modified() - Duration::from_hours(24 * 40);
    file.set_modified(old).unwrap();
    assert_eq!(index.send(&Form::of("six", "2.0")).status, 202);
    assert!(modified() > old + Duration::from_hours(24), "gc would remove it");
}

#[tokio::test]
async fn a_request_that_would_be_much_larger_in_memory_is_not_read() {
    let index = index().await;
    let before = index.scene.files();
    let zeros = format!("[{}0]", "0,".repeat(200_000));
    let request = |keys: &str, role: &str, page: &str| {
        let (root, role, page) = ("0".repeat(64), serde_json::json!(role), serde_json::json!(page));
        format!(
            "{{\"format\":\"wheelseal-project-1\",\"kind\":\"release\",\"project\":\"six\",\"root\":\"{root}\",\
             \"root_version\":1,\"base\":1,\"keys\":{keys},\"threshold\":1,\"role\":{role},\"page\":{page}}}"
        )
    };
    for (file, why) in [
        (request(&zeros, "", ""), "it has more than 100000 values"),
        (request("[]", &zeros, ""), "its role has more values than one of its length can have"),
        (request("[]", "", &zeros), "its page has more values than one of its length can have"),
    ] {
        let answer = index.post(file.as_bytes());
        assert_eq!((answer.status, answer.text()), (400, format!("this is no project file: {why}\n")));
    }
    let answer = index.post(request("[]", &"a".repeat(10_000_001), "").as_bytes());
    let text = "project six would have 10000001 bytes, clients take 10000000\n".to_owned();
    assert_eq!((answer.status, answer.text()), (400, text));
    assert!(index.scene.files() == before);
}
