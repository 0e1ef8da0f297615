//! What is recorded, what is asked for, and what stays.

use serde_json::json;
use wheelseal::recorder::{Bytes, Existing, Round, Settings};
use wheelseal::tuf::path::TargetPath;

use super::{Desk, Index, Reply, listed, metadata, round, targets};
use crate::memory::Reader;
use crate::scene::{now, wheel_bytes};
use crate::serve::Served;

#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_gets_its_path_length_and_hash_and_nothing_is_asked_for_twice() {
    let (index, desk) = (Index::new().await, Desk::new().await);
    index.lists("six", &[index.wheel("six", "1.0", "x = 1")]);
    let mut recorder = desk.recorder(&index, desk.settings()).await;
    let first = round(&mut recorder).await;
    let snapshot = first.snapshot.unwrap();
    let expected = Round { projects: 1, pages: 1, recorded: 1, snapshot: Some(snapshot), ..Round::default() };
    assert_eq!(first, expected);
    assert_eq!(index.asked(), ["/files/six-1.0-py3-none-any.whl", "/simple/", "/simple/six/"]);
    let (wheel, metadata) = (wheel_bytes("six", "1.0", "x = 1"), metadata("six", "1.0"));
    let one = [
        ("six/six-1.0-py3-none-any.whl", wheel.as_slice()),
        ("six/six-1.0-py3-none-any.whl.metadata", metadata.as_bytes()),
    ];
    assert_eq!(desk.targets().await, targets(&one));
    let repository = desk.scene.open().await;
    let state = repository.state().await.unwrap();
    let target = TargetPath::new("six/six-1.0-py3-none-any.whl").unwrap();
    let file = repository.target(&state, &target).await.unwrap().unwrap();
    assert_eq!(file.length, u64::try_from(wheel.len()).unwrap());
    assert!(file.extra.is_empty(), "the hash is marked as somebody's word: {:?}", file.extra);
    assert_eq!(round(&mut recorder).await, Round { projects: 1, ..Round::default() });
    assert_eq!(index.asked(), ["/simple/", "/simple/six/"]);
    index.lists("six", &[index.wheel("six", "1.0", "x = 1"), index.wheel("six", "1.1", "x = 2")]);
    let second = round(&mut recorder).await;
    assert_eq!((second.pages, second.recorded, second.conflicts), (1, 1, 0));
    assert_eq!(index.asked(), ["/files/six-1.1-py3-none-any.whl", "/simple/", "/simple/six/"]);
    desk.assert_signed("after three rounds").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_index_loses_or_removes_stays() {
    let (index, desk) = (Index::new().await, Desk::new().await);
    index.lists("six", &[index.wheel("six", "1.0", "x = 1")]);
    desk.once(&index).await;
    let recorded = desk.targets().await;
    assert_eq!(recorded.len(), 2);
    index.lists("six", &[]);
    assert_eq!(desk.once(&index).await.conflicts, 0);
    index.remove("/simple/six/");
    assert_eq!(desk.once(&index).await.waiting, 0);
    index.projects(&[]);
    assert_eq!(desk.once(&index).await, Round::default());
    assert_eq!(desk.targets().await, recorded);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_read_and_what_has_no_hash_or_size_is_recorded_by_its_bytes() {
    let (index, desk) = (Index::new().await, Desk::new().await);
    let mut bare = index.file("six-1.1.zip", b"no zip either");
    bare.as_object_mut().unwrap().retain(|name, _| name == "filename" || name == "url");
    index.put("/files/six-1.0.tar.gz.metadata", Reply::Bytes(b"of an sdist".to_vec()));
    let mut sdist = index.file("six-1.0.tar.gz", b"no archive");
    sdist["core-metadata"] = json!({"sha256": listed("", b"of an sdist")["hashes"]["sha256"]});
    index.lists("six", &[sdist, bare, index.file("six-1.0.egg", b"egg")]);
    let report = desk.once(&index).await;
    assert_eq!((report.recorded, report.unread, report.left_out), (2, 2, 0));
    assert!(report.named.iter().all(|named| named.contains("by its hash alone")), "{:?}", report.named);
    let expected: [(&str, &[u8]); 3] = [
        ("six/six-1.0.tar.gz", b"no archive"),
        ("six/six-1.0.tar.gz.metadata", b"of an sdist"),
        ("six/six-1.1.zip", b"no zip either"),
    ];
    assert_eq!(desk.targets().await, targets(&expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_projects_with_nothing_new_cost_one_request() {
    let (index, desk) = (Index::new().await, Desk::new().await);
    let names: Vec<String> = (0..10_000).map(|number| format!("p{number}")).collect();
    let mut list: Vec<(&str, Option<u64>)> = names.iter().map(|name| (name.as_str(), Some(1))).collect();
    index.projects(&list);
    for name in &names {
        index.page(name, Some(1), &[]);
    }
    let settings = Settings { jobs: 16.try_into().unwrap(), ..desk.settings() };
    let mut recorder = desk.recorder(&index, settings.clone()).await;
    assert_eq!(round(&mut recorder).await.pages, 10_000);
    assert_eq!(index.asked().len(), 10_001);
    assert_eq!(round(&mut recorder).await, Round { projects: 10_000, ..Round::default() });
    assert_eq!(index.asked(), ["/simple/"]);
    drop(recorder);
    let mut recorder = desk.recorder(&index, settings).await;
    assert_eq!(round(&mut recorder).await.pages, 0);
    assert_eq!(index.asked(), ["/simple/"], "after a start");
    list[5_000].1 = Some(2);
    index.projects(&list);
    index.page("p5000", Some(2), &[index.wheel("p5000", "1.0", "")]);
    assert_eq!(round(&mut recorder).await.recorded, 1);
    assert_eq!(index.asked(), ["/files/p5000-1.0-py3-none-any.whl", "/simple/", "/simple/p5000/"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_a_cache_gives_late_is_asked_for_again() {
    let (index, desk) = (Index::new().await, Desk::new().await);
    index.projects(&[("six", Some(2))]);
    index.page("six", Some(1), &[]);
    let mut recorder = desk.recorder(&index, desk.settings()).await;
    assert_eq!(round(&mut recorder).await.pages, 1);
    index.page("six", Some(2), &[index.wheel("six", "1.0", "")]);
    assert_eq!(round(&mut recorder).await.recorded, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_there_before_is_passed_over_if_told_so_and_what_comes_later_is_not() {
    let (index, desk) = (Index::new().await, Desk::new().await);
    let old = index.wheel("six", "1.0", "x = 1");
    index.lists("six", std::slice::from_ref(&old));
    let settings = Settings { existing: Existing::PassedOver, ..desk.settings() };
    let report = desk.once_as(&index, settings.clone()).await;
    assert_eq!((report.passed_over, report.recorded), (1, 0));
    index.projects(&[("six", None), ("late", None)]);
    index.page("six", None, &[old.clone(), index.wheel("six", "1.1", "x = 2")]);
    index.page("late", None, &[index.wheel("late", "1.0", "x = 3")]);
    index.asked();
    let report = desk.once_as(&index, settings.clone()).await;
    assert_eq!((report.passed_over, report.recorded), (1, 2));
    assert!(!index.asked().contains(&"/files/six-1.0-py3-none-any.whl".to_owned()));
    let targets = desk.targets().await.into_keys();
    let paths: Vec<String> = targets.filter(|path| path.strip_suffix(".whl").is_some()).collect();
    assert_eq!(paths, ["late/late-1.0-py3-none-any.whl", "six/six-1.1-py3-none-any.whl"]);
    // The same name with another hash is something that came later, seen with its bytes.
    index.page("six", None, &[index.wheel("six", "1.0", "x = 9"), index.wheel("six", "1.1", "x = 2")]);
    let report = desk.once_as(&index, settings).await;
    assert_eq!((report.passed_over, report.recorded, report.conflicts), (0, 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_gives_what_the_index_lost_verified() {
    let (index, desk) = (Index::new().await, Desk::new().await);
    let files = [index.wheel("six", "1.0", "x = 1"), index.file("six-1.1.zip", b"no archive")];
    index.lists("six", &files);
    let settings = Settings { bytes: Bytes::Kept, ..desk.settings() };
    assert_eq!(desk.once_as(&index, settings).await.recorded, 2);
    index.lists("six", &[]);
    for name in ["six-1.0-py3-none-any.whl", "six-1.1.zip"] {
        index.remove(&format!("/files/{name}"));
    }
    desk.scene.assert_sound("after mirroring").await;
    let reader = Reader::of_folder(&desk.scene.root());
    reader.downloads(now(), [("six", "1.0")]).await.unwrap();
    reader.gets(now(), "six/six-1.1.zip").await.unwrap();
    reader.gets(now(), "six/six-1.0-py3-none-any.whl.metadata").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_try_left_under_a_plain_name_is_replaced() {
    let (index, desk) = (Index::new().await, Desk::new().await);
    let left = desk.scene.root().join("targets/six/six-1.0-py3-none-any.whl");
    std::fs::create_dir_all(left.parent().unwrap()).unwrap();
    std::fs::write(&left, b"another try's").unwrap();
    index.lists("six", &[index.wheel("six", "1.0", "x = 1")]);
    let settings = Settings { bytes: Bytes::Kept, ..desk.settings() };
    desk.once_as(&index, settings).await;
    desk.scene.assert_sound("after mirroring").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_served_repository_is_recorded_with_the_same_targets_and_hashes() {
    let (from, desk) = (crate::serve::scene().await, Desk::new().await);
    from.publish(&[from.add("beta", "2.0", "x = 2")]).await.unwrap();
    let served = Served::new(from.store().await);
    let index = Index { url: format!("http://127.0.0.1:{}/simple/", served.port), ..Index::new().await };
    let report = desk.once(&index).await;
    assert_eq!((report.projects, report.recorded, report.unread, report.waiting), (2, 2, 0, 0));
    let view = crate::scene::View::of(&from.open().await).await;
    let theirs: std::collections::BTreeMap<_, _> =
        view.targets.into_iter().map(|(path, (_, sha256))| (path, sha256)).collect();
    assert_eq!(desk.targets().await, theirs);
    assert_eq!(desk.once(&index).await, Round { projects: 2, ..Round::default() });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_repository_put_in_place_of_the_recorded_one_is_completed() {
    let (index, desk) = (Index::new().await, Desk::new().await);
    let older = desk.scene.copy();
    index.lists("six", &[index.wheel("six", "1.0", "x = 1")]);
    assert_eq!(desk.once(&index).await.recorded, 1);
    let restored = Desk { scene: older, ..desk };
    assert_eq!(restored.once(&index).await.recorded, 1);
    assert_eq!(restored.targets().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_that_fails_is_tried_again_and_holds_up_no_other() {
    let (index, desk) = (Index::new().await, Desk::new().await);
    index.projects(&[("bad", None), ("six", None), ("web", None)]);
    index.page("six", None, &[index.wheel("six", "1.0", "")]);
    index.page("bad", None, &[listed("bad-1.0.zip", b"later"), index.wheel("bad", "2.0", "")]);
    index.put("/simple/web/", Reply::Status(500));
    let mut recorder = desk.recorder(&index, desk.settings()).await;
    let report = round(&mut recorder).await;
    assert_eq!((report.recorded, report.waiting), (2, 2));
    assert!(
        report.named.iter().any(|named| named.contains("bad-1.0.zip does not exist; it will be tried again"))
    );
    assert!(report.named.iter().any(|named| named.contains("the server answered 500")), "{:?}", report.named);
    index.file("bad-1.0.zip", b"later");
    index.page("web", None, &[]);
    let report = round(&mut recorder).await;
    assert_eq!((report.recorded, report.waiting, report.pages), (1, 0, 2));
    assert_eq!(round(&mut recorder).await, Round { projects: 3, ..Round::default() });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_that_goes_on_failing_is_asked_for_less_and_less_often() {
    let (index, desk) = (Index::new().await, Desk::new().await);
    index.lists("six", &[listed("six-1.0.zip", b"never there")]);
    let mut recorder = desk.recorder(&index, desk.settings()).await;
    let mut tried = Vec::new();
    for number in 1..=16 {
        if round(&mut recorder).await.waiting > 0 {
            tried.push(number);
        }
    }
    assert_eq!(tried, [1, 2, 4, 8, 16]);
    assert_eq!(index.asked().iter().filter(|path| *path == "/files/six-1.0.zip").count(), 5);
}
