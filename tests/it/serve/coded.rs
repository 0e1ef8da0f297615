//! Compressed bodies, siblings, and what changed since.

use std::fs;
use std::io::Cursor;

use wheelseal::client::{Client, Http, MetadataDir, Timing};
use wheelseal::coding::delta::{self, Held};
use wheelseal::coding::{self, Coding, Effort};
use wheelseal::crypto::sha256;
use wheelseal::repository::{Layout, List, Run, Unwatched};
use wheelseal::tuf::metadata::TopLevel;
use wheelseal::tuf::path::TargetPath;
use wheelseal::tuf::trusted::Limits as ClientLimits;

use super::{Answer, Served, scene};
use crate::scene::{Scene, keyring, now, role};

const SNAPSHOT: &str = "metadata/2.snapshot.json";

fn decoded(answer: &Answer) -> Vec<u8> {
    match answer.field("content-encoding") {
        "" => answer.body.clone(),
        name => coding::decode(Coding::named(name).unwrap(), &answer.body, 1_000_000).unwrap(),
    }
}

/// Publishes once more, so that there is another snapshot.
async fn publish(scene: &Scene, version: u64) {
    let edit = scene.add("beta", &format!("{version}.0"), "y = 1\n");
    scene.publish(&[edit]).await.unwrap();
}

/// What a client that holds this file sends.
fn holding(file: &[u8], id: Option<u64>) -> Vec<String> {
    let mut fields = vec![
        "Accept-Encoding: dcz, zstd, gzip".to_owned(),
        format!("Available-Dictionary: {}", delta::digest_field(&sha256(file))),
    ];
    fields.extend(id.map(|id| format!("Dictionary-ID: {}", delta::id_field(id))));
    fields
}

fn get(served: &Served, path: &str, fields: &[String]) -> Answer {
    served.get(&format!("/{path}"), &fields.iter().map(String::as_str).collect::<Vec<_>>())
}

#[tokio::test]
async fn metadata_and_pages_come_in_the_coding_that_is_most_welcome() {
    let scene = scene().await;
    let served = Served::new(scene.store().await);
    let files = scene.files();
    for (path, file) in [
        (SNAPSHOT, SNAPSHOT),
        ("metadata/timestamp.json", "metadata/timestamp.json"),
        ("simple/alpha/", "simple/alpha/index.html"),
    ] {
        for (accepted, coding) in [
            ("gzip", "gzip"),
            ("gzip, zstd", "zstd"),
            ("zstd;q=0.5, gzip;q=0.6", "gzip"),
            ("*", "zstd"),
            ("br, deflate", ""),
            ("gzip;q=0, zstd;q=0", ""),
            ("identity", ""),
            ("dcz", ""),
        ] {
            for _ in 0..2 {
                let answer = served.get(&format!("/{path}"), &[&format!("Accept-Encoding: {accepted}")]);
                assert_eq!(answer.field("content-encoding"), coding, "{path} {accepted}");
                assert_eq!(decoded(&answer), files[file]);
                assert_eq!(answer.field("content-length"), answer.body.len().to_string());
                assert!(answer.field("vary").contains("Accept-Encoding"));
            }
        }
    }
}

#[tokio::test]
async fn a_sibling_in_the_store_is_sent_and_one_that_saves_nothing_is_not() {
    let scene = scene().await;
    let at = |coding: Coding| scene.root().join(format!("{SNAPSHOT}{}", coding.ending()));
    let plain = fs::read(scene.root().join(SNAPSHOT)).unwrap();
    let marked =
        [zstd::encode_all(&plain[..], 19).unwrap(), b"\x50\x2a\x4d\x18\x01\0\0\0!".to_vec()].concat();
    fs::write(at(Coding::Zstd), &marked).unwrap();
    fs::write(at(Coding::Gzip), vec![0; plain.len() + 1]).unwrap();
    let served = Served::new(scene.store().await);
    assert_eq!(served.get(&format!("/{SNAPSHOT}"), &["Accept-Encoding: zstd"]).body, marked);
    let gzip = served.get(&format!("/{SNAPSHOT}"), &["Accept-Encoding: gzip"]);
    assert_eq!(decoded(&gzip), plain);
    assert!(gzip.body.len() < plain.len());
    assert_eq!(
        served.get(&format!("/{SNAPSHOT}.zst"), &[]).status,
        404,
        "siblings have no address of their own"
    );
}

#[tokio::test]
async fn whoever_holds_an_older_version_gets_what_changed() {
    let scene = scene().await;
    for version in 2..5 {
        publish(&scene, version).await;
    }
    let served = Served::new(scene.store().await);
    let files = scene.files();
    let newest = &files["metadata/5.snapshot.json"];
    for (held, id) in [(4, Some(4)), (4, None), (2, Some(2)), (1, None), (1, Some(1))] {
        let file = &files[&format!("metadata/{held}.snapshot.json")];
        let answer = get(&served, "metadata/5.snapshot.json", &holding(file, id));
        assert_eq!(answer.field("content-encoding"), "dcz", "{held} {id:?}");
        assert_eq!(&delta::decode(&answer.body, &Held::new(file), 1_000_000).unwrap(), newest);
        assert_eq!(answer.field("vary"), "Accept-Encoding, Available-Dictionary");
        assert_eq!(answer.field("use-as-dictionary"), "match=\"/metadata/*.snapshot.json\", id=\"5\"");
    }
    let bin = files.keys().find_map(|path| path.strip_prefix("metadata/3.bins-")).unwrap();
    let (old, new) = (format!("metadata/1.bins-{bin}"), format!("metadata/3.bins-{bin}"));
    let answer = get(&served, &new, &holding(&files[&old], Some(1)));
    assert_eq!(answer.field("content-encoding"), "dcz");
    assert_eq!(delta::decode(&answer.body, &Held::new(&files[&old]), 1_000_000).unwrap(), files[&new]);
}

#[tokio::test]
async fn without_the_dictionary_the_whole_file_is_sent() {
    let scene = scene().await;
    for version in 2..5 {
        publish(&scene, version).await;
    }
    let limits = wheelseal::server::Limits { look_back: 2, ..wheelseal::server::Limits::default() };
    let served = Served::with(scene.store().await, limits);
    let files = scene.files();
    let snapshot = |version: u64| &files[&format!("metadata/{version}.snapshot.json")][..];
    let digest = delta::digest_field(&sha256(snapshot(4)));
    let cases = [
        (holding(b"never seen", None), "unknown"),
        (holding(b"never seen", Some(4)), "unknown, with a number"),
        (holding(snapshot(4), Some(3)), "another number"),
        (holding(snapshot(4), Some(5)), "not older"),
        (holding(snapshot(4), Some(u64::MAX)), "the largest number"),
        (holding(snapshot(5), None), "the same file"),
        (holding(snapshot(2), None), "too far back"),
        (holding(&files["metadata/1.bins.json"], Some(1)), "another role's file"),
        (vec!["Accept-Encoding: dcz, zstd".to_owned()], "nothing offered"),
        (vec!["Accept-Encoding: dcz, zstd".to_owned(), "Available-Dictionary: ::".to_owned()], "no digest"),
        (vec!["Accept-Encoding: zstd".to_owned(), format!("Available-Dictionary: {digest}")], "not welcome"),
        (
            vec!["Accept-Encoding: dcz;q=0, *".to_owned(), format!("Available-Dictionary: {digest}")],
            "refused",
        ),
    ];
    for (fields, why) in cases {
        let answer = get(&served, "metadata/5.snapshot.json", &fields);
        assert_eq!(answer.field("content-encoding"), "zstd", "{why}");
        assert_eq!(decoded(&answer), snapshot(5), "{why}");
    }
    let near = get(&served, "metadata/5.snapshot.json", &holding(snapshot(3), None));
    assert_eq!(near.field("content-encoding"), "dcz", "two versions back are looked at");
    for path in ["metadata/timestamp.json", "metadata/1.root.json"] {
        let answer = get(&served, path, &holding(&files[path], Some(1)));
        assert_ne!(answer.field("content-encoding"), "dcz", "{path}");
        assert_eq!(answer.field("use-as-dictionary"), "", "{path}");
    }
}

#[tokio::test]
async fn the_real_client_updates_and_downloads_through_it() {
    let scene = scene().await;
    let served = Served::new(scene.store().await);
    let home = tempfile::tempdir().unwrap();
    let root = fs::read(scene.root().join("metadata/1.root.json")).unwrap();
    let cache = MetadataDir::init(home.path().join("cache"), &root).unwrap();
    let http = Http::new(Timing::default()).unwrap();
    let metadata = http.metadata(&format!("{}metadata/", served.url())).unwrap();
    let targets = http.targets(&format!("{}targets/", served.url())).unwrap();
    let client = Client::new(Box::new(metadata), Box::new(targets), cache, ClientLimits::default());
    for version in 2..5 {
        let session = client.refresh(now()).await.unwrap();
        let found =
            session.find(&TargetPath::new("alpha/alpha-1.0-py3-none-any.whl").unwrap()).await.unwrap();
        let to = home.path().join(format!("{version}.whl"));
        assert!(session.download(&found, &to).await.unwrap().fetched());
        let page = session.find(&TargetPath::new("simple/alpha/index.json").unwrap()).await.unwrap();
        session.read(&page, 1_000_000).await.unwrap();
        publish(&scene, version).await;
    }
    assert_eq!(
        client.refresh(now()).await.unwrap().with_trusted(|trusted| trusted.snapshot().common.version),
        5
    );
}

#[tokio::test]
async fn siblings_by_the_settings_are_written_served_checked_and_collected() {
    let scene = scene().await;
    let mut repository = scene.open().await;
    repository.compress_from_now_on(vec![Coding::Gzip, Coding::Zstd]).await.unwrap();
    publish(&scene, 2).await;
    let files = scene.files();
    let siblings = |files: &std::collections::BTreeMap<String, Vec<u8>>| -> Vec<String> {
        files
            .keys()
            .filter(|path| path.starts_with("metadata/") && path.strip_suffix(".json").is_none())
            .cloned()
            .collect()
    };
    let written = siblings(&files);
    assert!(written.contains(&"metadata/3.snapshot.json.gz".to_owned()), "{written:?}");
    assert!(
        !written.iter().any(|path| path.contains("2.snapshot") || path.contains("timestamp")),
        "{written:?}"
    );
    for path in &written {
        let (plain, coding) = match path.strip_suffix(".gz") {
            Some(plain) => (plain, Coding::Gzip),
            None => (path.strip_suffix(".zst").unwrap(), Coding::Zstd),
        };
        assert_eq!(coding::decode(coding, &files[path], 1_000_000).unwrap(), files[plain], "{path}");
    }
    let all = scene.open().await.compress(&Coding::ALL, &Unwatched).await.unwrap();
    let expected = 2 * (6 + 4);
    assert_eq!(all.found, u64::try_from(written.len()).unwrap());
    assert_eq!(all.written + all.found, expected, "root, snapshot, targets, bins, two claimed, four bins");
    let again = scene.open().await.compress(&Coding::ALL, &Unwatched).await.unwrap();
    assert_eq!((again.written, again.found, again.bytes), (0, expected, 0));
    scene.assert_sound("with siblings").await;
    fs::write(
        scene.root().join("metadata/3.snapshot.json.gz"),
        coding::encode(Coding::Gzip, b"x", Effort::Quick).unwrap(),
    )
    .unwrap();
    let problems = scene.check().await.problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].subject, "metadata/3.snapshot.json.gz");
    fs::remove_file(scene.root().join("metadata/3.snapshot.json.gz")).unwrap();
    publish(&scene, 3).await;
    let retention = wheelseal::repository::Retention { snapshots: 1, grace: std::time::Duration::ZERO };
    let later = now() + chrono::TimeDelta::days(1);
    let collected = scene.open().await.gc(retention, false, later, &Unwatched).await.unwrap();
    assert!(collected.removed.contains(&"metadata/3.snapshot.json.zst".to_owned()), "{collected:?}");
    let files = scene.files();
    for path in siblings(&files) {
        let plain = path.trim_end_matches(".gz").trim_end_matches(".zst");
        assert!(files.contains_key(plain), "{path} has outlived its plain file");
    }
    assert!(files.contains_key("metadata/4.snapshot.json.zst"));
    scene.assert_sound("after gc").await;
}

#[tokio::test]
async fn a_sibling_that_a_crash_left_of_another_file_is_made_right() {
    let scene = scene().await;
    let mut repository = scene.open().await;
    repository.compress_from_now_on(vec![Coding::Zstd]).await.unwrap();
    let orphan = scene.root().join("metadata/3.snapshot.json.zst");
    fs::write(&orphan, b"of a file that is gone").unwrap();
    publish(&scene, 2).await;
    let plain = fs::read(scene.root().join("metadata/3.snapshot.json")).unwrap();
    assert_eq!(coding::decode(Coding::Zstd, &fs::read(&orphan).unwrap(), 1_000_000).unwrap(), plain);
    scene.assert_sound("after it").await;
}

/// An admin who asked for siblings once has them after every command.
#[tokio::test]
async fn after_every_command_the_siblings_are_complete() {
    let scene = scene().await;
    let mut repository = scene.open().await;
    repository.compress_from_now_on(Coding::ALL.to_vec()).await.unwrap();
    repository.compress(&Coding::ALL, &Unwatched).await.unwrap();
    let complete = async |after: &str| {
        let compressed = scene.open().await.compress(&Coding::ALL, &Unwatched).await.unwrap();
        assert_eq!(compressed.written, 0, "after {after}: {compressed:?}");
    };
    publish(&scene, 2).await;
    complete("a publication").await;
    let list = format!("files/1\t1\t{}\n", "a".repeat(64)).into_bytes();
    let keys = keyring(&["root-1", "targets-1", "online", "online-2"]).await;
    let list =
        List { text: Box::new(Cursor::new(list)), bytes: None, layout: Layout::AsIs, hashes_from: None };
    repository.import(&keys, list, Run::Wet, now(), &Unwatched).await.unwrap();
    complete("an import").await;
    repository.resize_bins(&keys, 8, None, now(), &Unwatched).await.unwrap();
    complete("a resize").await;
    repository.bump(&keys, true, now(), &Unwatched).await.unwrap();
    complete("a bump").await;
    let all = [
        (TopLevel::Root, "root-1"),
        (TopLevel::Timestamp, "online-2"),
        (TopLevel::Snapshot, "online-2"),
        (TopLevel::Targets, "targets-1"),
    ];
    for (top, key) in all {
        repository.rotate(&keys, top, &role(&[key], 1).await, now()).await.unwrap();
        complete(top.name()).await;
    }
}
