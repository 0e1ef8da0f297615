//! Lists that become files on project pages: what is there afterwards, what is refused, and what another publisher in
//! the middle of it loses: nothing.

#![expect(clippy::unwrap_used, reason = "a repository that cannot be read is a test that failed")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use wheelseal::crypto::sha256;
use wheelseal::python::Yanked;
use wheelseal::repository::{
    Edit, ImportError, Imported, Layout, LineFault, List, Repository, RepositoryError, Run, Unwatched,
};

use crate::bulk::list_of;
use crate::concurrency::PausingStore;
use crate::memory::Reader;
use crate::scene::{ONLINE, Scene, View, keyring, now, pages, wheel_bytes, wheel_name};

/// Puts a wheel where clients look for it, and gives its line: the first three columns.
pub(crate) fn place(root: &Path, project: &str, version: &str, body: &str) -> String {
    let (name, bytes) = (wheel_name(project, version), wheel_bytes(project, version, body));
    let folder = root.join("targets").join(project);
    fs::create_dir_all(&folder).unwrap();
    let digest = hex::encode(sha256(&bytes));
    let hashed = folder.join(format!("{digest}.{name}"));
    fs::write(&hashed, &bytes).unwrap();
    drop(fs::hard_link(&hashed, folder.join(name.as_str())));
    format!("{project}/{name}\t{}\t{digest}", bytes.len())
}

async fn import_list(repository: &Repository, list: List, run: Run) -> Result<Imported, RepositoryError> {
    repository.import(&keyring(&ONLINE).await, list, run, now(), &Unwatched).await
}

async fn import(repository: &Repository, lines: &[String]) -> Result<Imported, RepositoryError> {
    let text = lines.join("\n");
    import_list(repository, list_of(text.as_bytes(), Layout::Pages), Run::Wet).await
}

#[tokio::test]
async fn new_and_known_projects_get_their_files_and_everything_verifies() {
    let scene = Scene::new().await;
    scene.publish(&[scene.add("alpha", "1.0", "x = 1")]).await.unwrap();
    let newer = place(&scene.root(), "alpha", "1.1", "x = 2");
    let beta = place(&scene.root(), "beta", "1.0", "x = 3");
    let lines = [
        format!("{newer}\t>=3.9\tbroken\t2026-01-02T03:04:05Z"),
        beta.replacen("beta/", "packages/aa/bb/", 1),
        beta.clone(),
    ];
    let repository = scene.open().await;
    let imported = import(&repository, &lines).await.unwrap();
    assert_eq!((imported.lines, imported.added, imported.repeated, imported.projects), (3, 2, 1, 2));
    assert_eq!((imported.snapshot, imported.timestamp), (3, 3));
    scene.assert_sound("after the import").await;
    let pages = pages(&repository, &repository.state().await.unwrap()).await;
    let serials: Vec<_> = pages.iter().map(|page| (page.name().as_str(), page.serial)).collect();
    assert_eq!(serials, [("alpha", 3), ("beta", 3)]);
    let file = pages[0].file("alpha-1.1-py3-none-any.whl").unwrap();
    assert_eq!(file.requires_python.as_ref().unwrap().as_str(), ">=3.9");
    assert_eq!(file.yanked, Yanked::Yes(Some("broken".parse().unwrap())));
    assert_eq!(file.upload_time.as_ref().unwrap().as_str(), "2026-01-02T03:04:05Z");
    let reader = Reader::of_folder(&scene.root());
    reader.downloads(now(), [("alpha", "1.0"), ("alpha", "1.1"), ("beta", "1.0")]).await.unwrap();
}

#[tokio::test]
async fn metadata_files_of_known_length_become_targets_and_words_of_others_are_marked() {
    let scene = Scene::new().await;
    let (one, two) = (place(&scene.root(), "alpha", "1.0", ""), place(&scene.root(), "beta", "1.0", ""));
    let (a, b) = ("a".repeat(64), "b".repeat(64));
    let text = format!("{one}\t\t\t\t{a}:17\n{two}\t\t\t\t{b}\n");
    let hashes_from = Some("https://example.org/simple/".to_owned());
    let repository = scene.open().await;
    let list = List { hashes_from, ..list_of(text.as_bytes(), Layout::Pages) };
    import_list(&repository, list, Run::Wet).await.unwrap();
    let state = repository.state().await.unwrap();
    let mut custom = Vec::new();
    for (_, bin) in crate::scene::bins(&repository, &state).await {
        for (path, file) in &bin.targets {
            let extra = file.extra.iter().map(|(name, value)| format!("{name}={}", value.to_text()));
            custom.push((path.to_owned(), extra.collect::<String>()));
        }
    }
    custom.sort();
    let word = "custom={\"hashes-from\":\"https://example.org/simple/\"}";
    let expected = [
        ("alpha/alpha-1.0-py3-none-any.whl", word),
        ("alpha/alpha-1.0-py3-none-any.whl.metadata", word),
        ("beta/beta-1.0-py3-none-any.whl", word),
        ("simple/alpha/index.json", ""),
        ("simple/beta/index.json", ""),
    ];
    assert_eq!(custom, expected.map(|(path, custom)| (path.to_owned(), custom.to_owned())));
    let metadata = |page: &wheelseal::python::ProjectPage| {
        page.files()[0].core_metadata_sha256.as_ref().map(ToString::to_string)
    };
    let pages = pages(&repository, &state).await;
    assert_eq!((metadata(&pages[0]), metadata(&pages[1])), (Some(a), Some(b)));
}

#[tokio::test]
async fn a_second_run_changes_nothing_and_what_is_new_alone_is_added() {
    let scene = Scene::new().await;
    let repository = scene.open().await;
    let one = place(&scene.root(), "alpha", "1.0", "x = 1");
    import(&repository, std::slice::from_ref(&one)).await.unwrap();
    let before = scene.files();
    let again = import(&repository, &[format!("{one}\t>=3.13")]).await.unwrap();
    assert_eq!((again.added, again.present, again.bins, again.snapshot), (0, 1, 0, 2));
    assert_eq!(scene.files(), before);
    let two = place(&scene.root(), "alpha", "1.1", "x = 2");
    let more = import(&repository, &[two, one]).await.unwrap();
    assert_eq!((more.added, more.present, more.projects, more.snapshot), (1, 1, 1, 3));
    scene.assert_sound("after three imports").await;
}

#[tokio::test]
async fn what_contradicts_or_does_not_belong_is_refused_with_its_line_and_nothing_is_seen() {
    let scene = Scene::new().await;
    scene.publish(&[scene.add("alpha", "1.0", "x = 1")]).await.unwrap();
    let repository = scene.open().await;
    let good = place(&scene.root(), "beta", "1.0", "");
    let alpha = place(&scene.root(), "alpha", "1.0", "x = 1");
    let before = scene.files();
    let (a, b) = ("a".repeat(64), "b".repeat(64));
    let known = hex::encode(sha256(&wheel_bytes("alpha", "1.0", "x = 1")));
    let size = wheel_bytes("alpha", "1.0", "x = 1").len();
    let published = |line, path: &str, published: String, found: String| ImportError::Published {
        line,
        path: path.to_owned(),
        published,
        found,
    };
    let path = "alpha/alpha-1.0-py3-none-any.whl";
    let contradiction =
        |path: &str| ImportError::Contradiction { path: path.to_owned(), first: 2, second: 3 };
    let line = |line, fault| ImportError::Line { line, fault };
    let folder = LineFault::Folder { project: "beta".to_owned(), found: "alpha".to_owned() };
    let cases = [
        (
            vec![format!("{path}\t7\t{a}")],
            published(2, path, format!("{known} ({size} bytes)"), format!("{a} (7 bytes)")),
        ),
        (
            vec![alpha.replacen(&size.to_string(), "8", 1)],
            published(2, path, format!("{known} ({size} bytes)"), format!("{known} (8 bytes)")),
        ),
        (
            vec![format!("Alpha-1.0-py3-none-any.whl\t7\t{a}")],
            published(
                2,
                "alpha/Alpha-1.0-py3-none-any.whl",
                format!("{known} ({size} bytes) as alpha-1.0-py3-none-any.whl"),
                format!("{a} (7 bytes)"),
            ),
        ),
        (
            vec![format!("new-1.0.tar.gz\t7\t{a}"), format!("new-1.0.tar.gz\t7\t{b}")],
            contradiction("new-1.0.tar.gz"),
        ),
        (
            vec![format!("new-1.0.tar.gz\t7\t{a}"), format!("new-1.0.tar.gz\t7\t{a}\t>=3")],
            contradiction("new-1.0.tar.gz"),
        ),
        (
            vec![format!("new-1.0.tar.gz\t7\t{a}"), format!("new-1.0.0.tar.gz\t7\t{a}")],
            contradiction("new/new-1.0.0.tar.gz"),
        ),
        (vec![format!("alpha/beta-1.1.tar.gz\t7\t{a}")], line(2, folder)),
        (vec!["x\t7".to_owned()], line(2, LineFault::Columns { found: 2 })),
    ];
    for (lines, expected) in cases {
        let all = [vec![good.clone()], lines.clone()].concat();
        assert_eq!(import(&repository, &all).await, Err(expected.into()), "{lines:?}");
        let after = scene.files();
        for file in ["metadata/timestamp.json", "simple/index.json", "simple/alpha/index.html"] {
            assert_eq!(after[file], before[file], "{lines:?}");
        }
    }
    for path in
        ["../beta-1.1.tar.gz", "packages/../../beta-1.1.tar.gz", "/etc/beta-1.1.tar.gz", "beta-1.1.egg"]
    {
        let refused = import(&repository, &[format!("{path}\t7\t{a}")]).await.unwrap_err();
        let RepositoryError::Import(ImportError::Line { line: 1, fault }) = refused else {
            panic!("{path}: {refused:?}");
        };
        assert!(matches!(fault, LineFault::Path(_) | LineFault::Page { what: "path", .. }), "{path}");
    }
    let long = format!("beta-1.1.tar.gz\t7\t{a}\t{}", "x".repeat(1 << 20));
    let refused = import(&repository, &[long]).await.unwrap_err();
    assert_eq!(refused, ImportError::Unread("line 1 is longer than 1048576 bytes".to_owned()).into());
    scene.assert_sound("after all refusals").await;
}

#[tokio::test]
async fn a_dry_run_refuses_the_same_and_writes_nothing() {
    let scene = Scene::new().await;
    let repository = scene.open().await;
    let lines =
        [place(&scene.root(), "alpha", "1.0", ""), place(&scene.root(), "beta", "1.0", "")].join("\n");
    let before = scene.files();
    let dry = |text: &str| list_of(text.as_bytes(), Layout::Pages);
    let imported = import_list(&repository, dry(&lines), Run::Dry).await.unwrap();
    assert_eq!((imported.added, imported.projects, imported.snapshot), (2, 2, 1));
    assert!(import_list(&repository, dry(&format!("{lines}\nx")), Run::Dry).await.is_err());
    assert_eq!(scene.files(), before);
}

/// An import that stands still just before its timestamp, while others publish.
async fn overtaken(scene: &Scene, lines: &[String], edits: Vec<Edit>) -> Result<Imported, RepositoryError> {
    let store = PausingStore::new(scene, "metadata/timestamp.json").await;
    let (opened, lines) = (Arc::<PausingStore>::clone(&store), lines.to_vec());
    let importing = tokio::spawn(async move {
        let repository = Repository::open(opened).await?;
        import(&repository, &lines).await
    });
    store.reached().await;
    for edit in edits {
        scene.publish(&[edit]).await.unwrap();
    }
    store.let_go();
    importing.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn publications_in_the_middle_of_an_import_lose_nothing_and_neither_does_it() {
    let scene = Scene::new().await;
    scene.publish(&[scene.add("alpha", "1.0", "x = 1"), scene.add("gone", "1.0", "")]).await.unwrap();
    let mut lines = vec![
        place(&scene.root(), "alpha", "1.1", "x = 2"),
        place(&scene.root(), "shared", "1.0", "the same"),
        place(&scene.root(), "gone", "1.0", ""),
        place(&scene.root(), "gone", "1.1", ""),
    ];
    lines.extend((0..20).map(|number| place(&scene.root(), &format!("many{number}"), "1.0", "")));
    let edits = vec![
        scene.add("alpha", "1.2", "x = 3"),
        Edit::Yank(wheel_name("alpha", "1.0"), None),
        scene.add("shared", "1.0", "the same"),
        scene.add("shared", "2.0", "another"),
        Edit::Remove(wheel_name("gone", "1.0")),
        scene.add("apart", "1.0", ""),
    ];
    let imported = overtaken(&scene, &lines, edits).await.unwrap();
    assert_eq!((imported.added, imported.present, imported.projects), (23, 1, 22));
    // A removal takes the copies with it only at the next gc; this one came back.
    scene.assert_sound("after both").await;
    let view = View::of(&scene.open().await).await;
    let names: Vec<_> = view.files.keys().filter(|name| !name.starts_with("many")).cloned().collect();
    let versions = ["alpha-1.0", "alpha-1.1", "alpha-1.2", "apart-1.0", "gone-1.0", "gone-1.1", "shared-1.0"];
    let mut expected: Vec<_> = versions.iter().map(|name| format!("{name}-py3-none-any.whl")).collect();
    expected.push("shared-2.0-py3-none-any.whl".to_owned());
    assert_eq!(names, expected);
    assert_eq!(view.files["alpha-1.0-py3-none-any.whl"].1, "Yes(None)");
    assert_eq!(view.files.len(), 28);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_whose_file_somebody_publishes_otherwise_meanwhile_is_refused_whole() {
    let scene = Scene::new().await;
    let lines = [place(&scene.root(), "apart", "1.0", ""), place(&scene.root(), "other", "1.0", "mine")];
    fs::remove_file(scene.root().join("targets/other/other-1.0-py3-none-any.whl")).unwrap();
    let refused = overtaken(&scene, &lines, vec![scene.add("other", "1.0", "theirs")]).await.unwrap_err();
    assert!(
        matches!(refused, RepositoryError::Import(ImportError::Published { line: 2, .. })),
        "{refused:?}"
    );
    scene.assert_sound("after the refusal").await;
    let view = View::of(&scene.open().await).await;
    assert_eq!(view.files.into_keys().collect::<Vec<_>>(), ["other-1.0-py3-none-any.whl"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever a list has, it is imported whole or refused whole, and what is there verifies.
    #[test]
    fn any_list_is_imported_or_refused_whole(
        picks in prop::collection::vec((0_usize..6, 0_usize..3, 0_usize..12), 0..12)
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let scene = Scene::new().await;
            let repository = scene.open().await;
            let lines: Vec<String> = picks.iter().map(|(project, version, odd)| {
                let line = place(&scene.root(), &format!("p{project}"), &format!("1.{version}"), "");
                match odd {
                    0 => line.replacen('\t', "\t1", 1),
                    1 => format!("{line}\t>=3"),
                    _ => line,
                }
            }).collect();
            let before = repository.state().await.unwrap().snapshot.common.version;
            match import(&repository, &lines).await {
                Ok(imported) => {
                    prop_assert_eq!(imported.added + imported.repeated, u64::try_from(lines.len()).unwrap());
                    // A length that is wrong contradicts no other line, and is found by who looks at files.
                    if picks.iter().all(|(.., odd)| *odd != 0) {
                        scene.assert_sound("imported").await;
                    }
                }
                Err(error) => {
                    prop_assert!(matches!(
                        error, RepositoryError::Import(ImportError::Contradiction { .. })
                    ), "{:?}", error);
                    prop_assert_eq!(repository.state().await.unwrap().snapshot.common.version, before);
                }
            }
            Ok(())
        })?;
    }
}
