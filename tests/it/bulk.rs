//! Many targets at once: what an import lists, what it refuses, and what another run or another publisher does to it.

#![expect(clippy::unwrap_used, reason = "a repository that cannot be read is a test that failed")]

use std::io::Cursor;

use wheelseal::repository::{
    BinStyle, ImportError, Imported, Layout, LineFault, List, Plan, Repository, RepositoryError, Run,
    Unwatched,
};
use wheelseal::tuf::path::TargetPath;
use wheelseal::tuf::signed::VerifyError;
use wheelseal::tuf::trusted::TrustError;

use crate::scene::{ALL_KEYS, ONLINE, Scene, bins, days_later, keyring, now, plan, signed};

/// A line of a list: a path, and a hash made of one digit.
fn line(path: &str, length: u64, digit: char) -> String {
    format!("{path}\t{length}\t{}\n", digit.to_string().repeat(64))
}

/// A list to import.
pub(crate) fn list_of(text: &[u8], layout: Layout) -> List {
    List { text: Box::new(Cursor::new(text.to_vec())), bytes: None, layout, hashes_from: None }
}

/// Many lines.
fn lines(count: u64) -> String {
    (0..count).map(|n| line(&format!("files/{n}/file-{n}.bin"), n, 'a')).collect::<Vec<_>>().concat()
}

async fn import(repository: &Repository, list: &str, run: Run) -> Result<Imported, RepositoryError> {
    let list = list_of(list.as_bytes(), Layout::AsIs);
    repository.import(&keyring(&ONLINE).await, list, run, now(), &Unwatched).await
}

/// All targets with their lengths, and that each is in its bin alone.
async fn listed(repository: &Repository) -> Vec<(String, u64)> {
    let state = repository.state().await.unwrap();
    let mut listed = Vec::new();
    for (_, bin) in bins(repository, &state).await {
        for (path, file) in &bin.targets {
            let path = TargetPath::new(path).unwrap();
            assert_eq!(repository.target(&state, &path).await.unwrap().as_ref(), Some(file), "{path}");
            listed.push((path.to_string(), file.length));
        }
    }
    listed.sort();
    listed
}

async fn prefixed(bin_count: u32) -> Plan {
    Plan { bin_count, bin_style: BinStyle::Prefixes, ..plan().await }
}

#[tokio::test]
async fn every_line_becomes_a_target_in_its_bin_in_one_snapshot() {
    for plan in [plan().await, prefixed(2).await, prefixed(32).await] {
        let scene = Scene::of(&plan, &ALL_KEYS).await;
        let repository = scene.open().await;
        let imported = import(&repository, &lines(200), Run::Wet).await.unwrap();
        let expected = Imported {
            lines: 200,
            added: 200,
            bins: plan.bin_count.into(),
            snapshot: 2,
            timestamp: 2,
            ..Imported::default()
        };
        assert_eq!(imported, expected);
        let mut all: Vec<_> = (0..200_u64).map(|n| (format!("files/{n}/file-{n}.bin"), n)).collect();
        all.sort();
        assert_eq!(listed(&repository).await, all);
    }
}

#[tokio::test]
async fn a_second_run_adds_what_is_new_and_keeps_what_is_there() {
    let scene = Scene::new().await;
    scene.publish(&[scene.add("alpha", "1.0", "x = 1")]).await.unwrap();
    let repository = scene.open().await;
    let before = listed(&repository).await;
    assert_eq!(before.len(), 3);
    import(&repository, &lines(10), Run::Wet).await.unwrap();
    let again = import(&repository, &lines(10), Run::Wet).await.unwrap();
    assert_eq!((again.added, again.present, again.bins, again.snapshot), (0, 10, 0, 3));
    let more = format!("{}{}{}", lines(11), line("one/more", 7, 'b'), line("one/more", 7, 'b'));
    let more = import(&repository, &more, Run::Wet).await.unwrap();
    assert_eq!((more.lines, more.added, more.present, more.repeated), (13, 2, 10, 1));
    assert_eq!(listed(&repository).await.len(), 3 + 12);
    let kept = listed(&repository).await.into_iter().filter(|target| before.contains(target)).count();
    assert_eq!(kept, 3);
}

#[tokio::test]
async fn a_bad_line_is_named_and_nothing_is_signed() {
    let scene = Scene::new().await;
    let repository = scene.open().await;
    import(&repository, &line("published", 7, 'a'), Run::Wet).await.unwrap();
    let before = scene.files();
    let good = lines(5_000);
    let a = "a".repeat(64);
    let fault = |line, fault| ImportError::Line { line, fault };
    let cases = [
        (format!("{good}x\t7\n{good}y\n"), fault(5_001, LineFault::Columns { found: 2 })),
        (
            format!("{good}{}", line("../x", 7, 'a')),
            fault(5_001, LineFault::Path(TargetPath::new("../x").unwrap_err())),
        ),
        (format!("x\t-1\t{a}\n{good}"), fault(1, LineFault::Length { found: "-1".to_owned() })),
        (format!("{good}\n"), fault(5_001, LineFault::Columns { found: 1 })),
        (format!("x\t1\t{a}\t>=3\n"), fault(1, LineFault::NoPage { found: 4 })),
        (
            format!("{good}{}{}{}", line("x", 7, 'a'), line("y", 7, 'a'), line("x", 7, 'b')),
            ImportError::Contradiction { path: "x".to_owned(), first: 5_001, second: 5_003 },
        ),
        (
            format!("{good}{}", line("published", 8, 'a')),
            ImportError::Published {
                line: 5_001,
                path: "published".to_owned(),
                published: format!("{a} (7 bytes)"),
                found: format!("{a} (8 bytes)"),
            },
        ),
    ];
    for (list, expected) in cases {
        assert_eq!(import(&repository, &list, Run::Wet).await, Err(expected.into()));
        assert_eq!(scene.files()["metadata/timestamp.json"], before["metadata/timestamp.json"]);
    }
    let not_text = list_of(&[good.as_bytes(), b"x\xff\t1\t"].concat(), Layout::AsIs);
    let refused = repository.import(&keyring(&ONLINE).await, not_text, Run::Wet, now(), &Unwatched).await;
    assert_eq!(refused, Err(fault(5_001, LineFault::NotUtf8).into()));
}

#[tokio::test]
async fn a_dry_run_refuses_the_same_and_writes_nothing() {
    let scene = Scene::new().await;
    let repository = scene.open().await;
    let before = scene.files();
    let imported = import(&repository, &lines(100), Run::Dry).await.unwrap();
    assert_eq!((imported.added, imported.bins, imported.snapshot), (100, 4, 1));
    assert!(import(&repository, "bad", Run::Dry).await.is_err());
    assert_eq!(scene.files(), before);
}

#[tokio::test]
async fn without_the_online_key_nothing_is_read_or_written() {
    let scene = Scene::new().await;
    let list = list_of(b"not even a line", Layout::AsIs);
    let keys = keyring(&["root-1"]).await;
    let refused = scene.open().await.import(&keys, list, Run::Wet, now(), &Unwatched).await;
    assert!(matches!(refused, Err(RepositoryError::KeysMissing { role, .. }) if role == "timestamp"));
}

#[tokio::test]
async fn leftovers_of_a_killed_import_are_stepped_over() {
    let scene = Scene::new().await;
    for bin in ["bins-0", "bins-2"] {
        for version in [2, 7] {
            std::fs::write(scene.root().join(format!("metadata/{version}.{bin}.json")), "{}").unwrap();
        }
    }
    let repository = scene.open().await;
    let imported = import(&repository, &lines(100), Run::Wet).await.unwrap();
    assert_eq!((imported.added, imported.bins), (100, 4));
    let state = repository.state().await.unwrap();
    for (bin, version) in [("bins-0", 8), ("bins-1", 2), ("bins-2", 8), ("bins-3", 2)] {
        assert_eq!(state.snapshot.role(bin).unwrap().version, version, "{bin}");
    }
    assert_eq!(listed(&repository).await.len(), 100);
}

#[tokio::test]
async fn all_bins_are_signed_anew_and_keep_what_they_list() {
    for plan in [plan().await, prefixed(8).await] {
        let scene = Scene::of(&plan, &ALL_KEYS).await;
        let repository = scene.open().await;
        import(&repository, &lines(100), Run::Wet).await.unwrap();
        scene.publish(&[scene.add("alpha", "1.0", "x = 1")]).await.unwrap();
        let before = bins(&repository, &repository.state().await.unwrap()).await;
        let keys = keyring(&ONLINE).await;
        let later = days_later(16);
        let bumped = repository.bump(&keys, false, later, &Unwatched).await.unwrap();
        assert_eq!(bumped.bins, u64::from(plan.bin_count));
        let after = bins(&repository, &repository.state().await.unwrap()).await;
        assert_eq!(after.len(), before.len());
        for ((name, old), (_, new)) in before.iter().zip(&after) {
            let mut draft = old.draft();
            draft.content.common.version += 1;
            draft.content.common.expires = days_later(46);
            let expected = String::from_utf8(signed(&draft, &ONLINE).await).unwrap();
            assert_eq!(String::from_utf8_lossy(new.bytes()), expected, "{name}");
        }
        assert_eq!(repository.bump(&keys, false, later, &Unwatched).await.unwrap().bins, 0);
    }
}

#[tokio::test]
async fn what_the_store_put_in_place_of_a_bin_is_not_signed_anew() {
    let scene = Scene::new().await;
    import(&scene.open().await, &lines(100), Run::Wet).await.unwrap();
    let file = |name: &str| scene.root().join("metadata").join(name);
    let good = std::fs::read_to_string(file("2.bins-1.json")).unwrap();
    let older = std::fs::read_to_string(file("1.bins-1.json")).unwrap();
    let below = VerifyError::BelowThreshold {
        role: "bins-1".to_owned(),
        delegator: "bins".to_owned(),
        valid: 0,
        threshold: 1,
    };
    let wrong = TrustError::WrongVersion { role: "bins-1".to_owned(), found: 1, expected: 2 };
    let cases = [
        (good.replacen("aaa", "bbb", 1), RepositoryError::from(below.clone())),
        (good.replacen("\"length\":", "\"length\":1", 1), below.into()),
        (older, wrong.into()),
    ];
    let keys = keyring(&ONLINE).await;
    for (bytes, refused) in cases {
        std::fs::write(file("2.bins-1.json"), bytes).unwrap();
        let bumped = scene.open().await.bump(&keys, true, now(), &Unwatched).await;
        assert_eq!(bumped, Err(refused));
        assert_eq!(scene.open().await.state().await.unwrap().timestamp.common.version, 2);
    }
    std::fs::write(file("2.bins-1.json"), good).unwrap();
    assert_eq!(scene.open().await.bump(&keys, true, now(), &Unwatched).await.unwrap().bins, 4);
}
