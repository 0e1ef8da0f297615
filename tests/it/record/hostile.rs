//! An index that wants to fill the disk, hold up the recorder, or make it ask where it should not.

use serde_json::json;
use wheelseal::recorder::Settings;

use super::{Desk, Index, Reply, listed, round};
use crate::shell::Home;

#[tokio::test(flavor = "multi_thread")]
async fn files_without_end_or_of_too_many_bytes_are_given_up() {
    let (index, desk) = (Index::new().await, Desk::new().await);
    let mut unsized_file = listed("six-1.0.zip", b"");
    unsized_file.as_object_mut().unwrap().remove("size");
    let mut huge = listed("six-1.1.zip", b"");
    huge["size"] = json!(1_u64 << 40);
    for name in ["six-1.0.zip", "six-1.1.zip", "six-1.2.zip"] {
        index.put(&format!("/files/{name}"), Reply::Endless);
    }
    index.lists("six", &[unsized_file, huge, listed("six-1.2.zip", b"short"), index.wheel("six", "1.3", "")]);
    let settings = Settings { max_file: 100_000, ..desk.settings() };
    let report = desk.once_as(&index, settings).await;
    assert_eq!((report.left_out, report.waiting, report.recorded, report.conflicts), (2, 1, 1, 0));
    for text in [
        "six-1.0.zip: it has more than 100000",
        "six-1.1.zip: it has more than 100000",
        "sends more than 100000",
    ] {
        assert!(report.named.iter().any(|named| named.contains(text)), "no {text:?} in {:?}", report.named);
    }
    assert!(!index.asked().contains(&"/files/six-1.1.zip".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_stalls_holds_up_no_other() {
    let (index, desk) = (Index::new().await, Desk::new().await);
    index.lists("six", &[listed("six-1.0.zip", b"slow"), index.wheel("six", "1.1", "")]);
    index.put("/files/six-1.0.zip", Reply::Stalled(b"sl".to_vec()));
    let report = desk.once(&index).await;
    assert_eq!((report.waiting, report.recorded, report.conflicts), (1, 1, 0));
    assert!(report.named[0].contains("2 bytes in 0 s, at least 1000 expected"), "{:?}", report.named);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_projects_file_and_names_that_are_none_are_left_out_unasked() {
    let (index, desk) = (Index::new().await, Desk::new().await);
    let mut other = listed("../six-1.0.zip", b"x");
    other["url"] = json!("../../files/web-1.0.zip");
    let with = |url: &str, version: &str| {
        let mut file = listed(&format!("six-{version}.zip"), b"x");
        file["url"] = json!(url);
        file
    };
    let files = [
        index.file("web-1.0.zip", b"x"),
        other,
        with("file:///etc/passwd", "2.0"),
        with("data:,x", "2.1"),
        with("http://user:secret@127.0.0.1/x", "2.2"),
        with("http://", "2.3"),
        listed(&format!("six-3.{}.zip", "0".repeat(180)), b"x"),
        index.file("six-4.0.zip", b"x"),
        index.file("Six-4.0.zip", b"y"),
    ];
    index.projects(&[("six", None), ("../evil", None)]);
    index.page("six", None, &files);
    let report = desk.once(&index).await;
    assert_eq!((report.left_out, report.recorded, report.conflicts, report.waiting), (9, 1, 0, 0));
    assert_eq!(index.asked(), ["/files/six-4.0.zip", "/simple/", "/simple/six/"]);
    let reasons = [
        "../evil",
        "belongs to web",
        "holds '/'",
        "neither http nor https",
        "neither http nor https",
        "a user or a password",
        "is no address",
        "more than 157 bytes",
        "another file of the project is taken for it",
    ];
    for (named, why) in report.named.iter().zip(reasons) {
        assert!(named.contains(why) && !named.contains("secret"), "{named:?}: {why}");
    }
    assert!(!desk.targets().await.contains_key("web/web-1.0.zip"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_followed_as_far_as_a_client_would_and_no_further() {
    let (index, desk) = (Index::new().await, Desk::new().await);
    index.lists("six", &[index.file("six-1.0.zip", b"x"), index.file("six-1.1.zip", b"x")]);
    index.put("/files/six-1.0.zip", Reply::Redirect("/elsewhere".to_owned()));
    index.put("/elsewhere", Reply::Bytes(b"x".to_vec()));
    index.put("/files/six-1.1.zip", Reply::Redirect("/files/six-1.1.zip".to_owned()));
    let report = desk.once(&index).await;
    assert_eq!((report.recorded, report.waiting), (1, 1));
    assert!(report.named.iter().any(|named| named.contains("too many redirects")), "{:?}", report.named);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_or_page_that_does_not_read_stops_the_round_or_that_project() {
    let (index, desk) = (Index::new().await, Desk::new().await);
    index.projects(&[("bad", None), ("six", None)]);
    index.page("six", None, &[index.wheel("six", "1.0", "")]);
    index.put("/simple/bad/", Reply::Page("{}".to_owned()));
    let mut recorder = desk.recorder(&index, desk.settings()).await;
    let report = round(&mut recorder).await;
    assert_eq!((report.recorded, report.waiting), (1, 1));
    index.put("/simple/", Reply::Page("[]".to_owned()));
    assert!(recorder.round(crate::scene::now(), &|_, _| {}).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn this_machine_is_not_asked_unless_told_to() {
    let index = Index::new().await;
    index.lists("six", &[index.wheel("six", "1.0", "")]);
    let (url, asked) = (index.url.clone(), &index);
    let ran = tokio::task::spawn_blocking(move || {
        let home = Home::with_repository();
        let record = ["record", "--repo", "repo", "--once", "--index", &url];
        home.refuses(&record, 7, &["127.0.0.1 is this machine or in a private network", "--allow-private"]);
        home
    });
    let home = ran.await.unwrap();
    assert_eq!(asked.asked(), [""; 0]);
    let url = index.url.clone();
    let ran = tokio::task::spawn_blocking(move || {
        home.run(&["record", "--repo", "repo", "--once", "--allow-private", "--index", &url]).fine()
    });
    assert!(ran.await.unwrap().starts_with("recorded 1 file; 1 pages of 1 projects were read\n"));
}
