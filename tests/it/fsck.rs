//! Every file that is missing or altered is named, by every kind of file and of damage, and nothing else is.

#![expect(clippy::unwrap_used, reason = "a repository that cannot be read is a test that failed")]
#![expect(clippy::type_complexity, reason = "a table of cases reads best with its type beside it")]

use std::fs;
use std::path::Path;

use wheelseal::repository::{Edit, Finding, Fscked, Look, Part, Repair, Unwatched};

use crate::scene::{ONLINE, Scene, keyring, now, wheel_name};
use crate::shell::Home;

const WHEEL: &str = "targets/alpha/alpha-1.0-py3-none-any.whl";

async fn published() -> Scene {
    let scene = Scene::new().await;
    scene.publish(&[scene.add("alpha", "1.0", "one"), scene.add("beta", "1.0", "one")]).await.unwrap();
    scene
}

async fn fsck(scene: &Scene, look: Look, repair: Repair) -> (Fscked, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut report = |finding: &Finding| findings.push(finding.clone());
    let fscked = scene.open().await.fsck(look, repair, &Unwatched, &mut report).await.unwrap();
    findings.sort_by_key(|finding| format!("{finding:?}"));
    (fscked, findings)
}

fn bad(path: &str, part: Part, what: &str) -> Finding {
    Finding::Bad { path: path.to_owned(), part, what: what.to_owned(), superseded: false, repaired: false }
}

/// Files may be hard links of one another: changes one name alone.
fn change(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

/// The file with one byte changed, of the same length.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    *bytes.get_mut(middle).unwrap() ^= 1;
    change(path, bytes);
}

fn named(scene: &Scene, ending: &str) -> String {
    scene.files().into_keys().find(|path| path.ends_with(ending)).unwrap()
}

#[tokio::test]
async fn a_sound_repository_has_nothing_bad_and_no_strays() {
    let scene = published().await;
    scene
        .publish(&[scene.add("alpha", "1.1", "two"), Edit::Remove(wheel_name("beta", "1.0"))])
        .await
        .unwrap();
    for look in [Look::Length, Look::Hash] {
        let (fscked, findings) = fsck(&scene, look, Repair::No).await;
        assert_eq!(findings, [], "{look:?}");
        assert_eq!((fscked.bad, fscked.strays, fscked.superseded), (0, 0, 0));
        let settings_and_lock = scene.files().into_keys().filter(|path| !path.contains('/')).count();
        let files = u64::try_from(scene.files().len() - settings_and_lock).unwrap();
        assert_eq!(fscked.wanted, files);
    }
}

#[tokio::test]
async fn each_missing_file_is_named_by_a_look_at_lengths() {
    let scene = published().await;
    let good = scene.files();
    let hashed = named(&scene, ".alpha-1.0-py3-none-any.whl");
    let page = named(&scene, ".index.json");
    let bin = scene.open().await.state().await.unwrap().snapshot.role("bins-2").unwrap().version;
    let cases = [
        (hashed.as_str(), Part::File),
        (page.as_str(), Part::File),
        (WHEEL, Part::Copy),
        ("targets/alpha/alpha-1.0-py3-none-any.whl.metadata", Part::Copy),
        ("simple/alpha/index.json", Part::Page),
        ("simple/beta/index.html", Part::Page),
        ("simple/index.html", Part::Page),
        ("metadata/1.claimed.json", Part::Metadata),
        (&format!("metadata/{bin}.bins-2.json"), Part::Metadata),
        ("metadata/1.root.json", Part::Metadata),
    ];
    for (path, part) in cases {
        fs::remove_file(scene.root().join(path)).unwrap();
        let (fscked, findings) = fsck(&scene, Look::Length, Repair::No).await;
        assert!(findings.contains(&bad(path, part, "is missing")), "{path}: {findings:?}");
        // What only a role names is not known without it; and then nothing is called a stray.
        assert_eq!(fscked.strays, 0, "{path}: {findings:?}");
        let others = findings.iter().filter(|finding| matches!(finding, Finding::Bad { .. })).count();
        assert_eq!((others, fscked.bad), (1, 1), "{path}: {findings:?}");
        fs::write(scene.root().join(path), &good[path]).unwrap();
    }
    assert_eq!(fsck(&scene, Look::Hash, Repair::No).await.1, []);
}

#[tokio::test]
async fn each_truncated_file_is_named_by_its_length() {
    let scene = published().await;
    let hashed = named(&scene, ".alpha-1.0-py3-none-any.whl");
    for (path, part) in [(hashed.as_str(), Part::File), (WHEEL, Part::Copy)] {
        let good = fs::read(scene.root().join(path)).unwrap();
        change(&scene.root().join(path), &good[..10]);
        let what = format!("has 10 bytes, signed are {}", good.len());
        assert_eq!(fsck(&scene, Look::Length, Repair::No).await.1, [bad(path, part, &what)]);
        change(&scene.root().join(path), good);
    }
}

#[tokio::test]
async fn each_altered_file_of_the_same_length_is_named_by_its_hash_alone() {
    let scene = published().await;
    let hashed = named(&scene, ".alpha-1.0-py3-none-any.whl");
    let cases = [
        (hashed.as_str(), Part::File, "is not the file that was signed: SHA-256 is "),
        (WHEEL, Part::Copy, "is not the file that was signed: SHA-256 is "),
        ("simple/alpha/index.json", Part::Page, "does not say what the signed page says"),
        ("simple/beta/index.html", Part::Page, "does not say what the signed page says"),
    ];
    for (path, part, begin) in cases {
        let good = fs::read(scene.root().join(path)).unwrap();
        flip(&scene.root().join(path));
        assert_eq!(fsck(&scene, Look::Length, Repair::No).await.1, [], "{path}");
        let (fscked, findings) = fsck(&scene, Look::Hash, Repair::No).await;
        let [Finding::Bad { path: found, part: of, what, superseded: false, repaired: false }] =
            findings.as_slice()
        else {
            panic!("{path}: {findings:?}")
        };
        assert_eq!((found.as_str(), *of, fscked.bad), (path, part, 1));
        assert!(what.starts_with(begin), "{what}");
        change(&scene.root().join(path), good);
    }
}

#[tokio::test]
async fn two_files_that_were_swapped_are_both_named() {
    let scene = Scene::new().await;
    scene.publish(&[scene.add("alpha", "1.0", "one"), scene.add("alpha", "1.1", "two")]).await.unwrap();
    let paths = ["1.0", "1.1"].map(|version| named(&scene, &format!(".alpha-{version}-py3-none-any.whl")));
    let [one, other] = paths.each_ref().map(|path| scene.root().join(path));
    let third = scene.spool().join("third");
    fs::rename(&one, &third).unwrap();
    fs::rename(&other, &one).unwrap();
    fs::rename(&third, &other).unwrap();
    let (_, findings) = fsck(&scene, Look::Hash, Repair::No).await;
    let mut found: Vec<_> = findings
        .iter()
        .map(|finding| match finding {
            Finding::Bad { path, part: Part::File, .. } => path.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    found.sort();
    let mut paths = paths;
    paths.sort();
    assert_eq!(found, paths);
}

#[tokio::test]
async fn altered_metadata_is_named_whether_it_has_a_hash_or_a_signature_alone() {
    let scene = published().await;
    let bin = scene.open().await.state().await.unwrap().snapshot.role("bins-2").unwrap().version;
    for path in ["metadata/1.claimed.json".to_owned(), format!("metadata/{bin}.bins-2.json")] {
        let good = fs::read(scene.root().join(&path)).unwrap();
        let text =
            String::from_utf8(good.clone()).unwrap().replace("\"2090", "\"2190").replace("\"2091", "\"2191");
        change(&scene.root().join(&path), text);
        let (fscked, findings) = fsck(&scene, Look::Length, Repair::No).await;
        assert_eq!(fscked.bad, 1, "{findings:?}");
        let named = |finding: &Finding| matches!(finding, Finding::Bad { path: found, part: Part::Metadata, .. } if *found == path);
        assert!(findings.iter().any(named), "{path}: {findings:?}");
        change(&scene.root().join(&path), good);
    }
}

#[tokio::test]
async fn strays_are_named_and_are_no_fault() {
    let scene = published().await;
    let strays = ["metadata/9.bins-0.json", "simple/gamma/index.html", "targets/alpha/other.whl"];
    for path in strays {
        fs::create_dir_all(scene.root().join(path).parent().unwrap()).unwrap();
        fs::write(scene.root().join(path), "12345").unwrap();
    }
    // Compressed copies of what is wanted are none.
    fs::write(scene.root().join("metadata/1.claimed.json.gz"), "x").unwrap();
    let (fscked, findings) = fsck(&scene, Look::Hash, Repair::No).await;
    assert_eq!(findings, strays.map(|path| Finding::Stray { path: path.to_owned(), bytes: 5 }));
    assert_eq!((fscked.bad, fscked.strays, fscked.stray_bytes), (0, 3, 15));
}

#[tokio::test]
async fn what_only_an_older_snapshot_names_is_told_apart() {
    let scene = published().await;
    scene.publish(&[Edit::Remove(wheel_name("beta", "1.0"))]).await.unwrap();
    let hashed = named(&scene, ".beta-1.0-py3-none-any.whl");
    fs::remove_file(scene.root().join(&hashed)).unwrap();
    let (fscked, findings) = fsck(&scene, Look::Length, Repair::No).await;
    let Finding::Bad { path, superseded: true, .. } = &findings[0] else { panic!("{findings:?}") };
    assert_eq!((path, findings.len(), fscked.bad, fscked.superseded), (&hashed, 1, 0, 1));
}

/// Files from their copies, copies from their files, pages from signed pages, signed pages from pages, lists from both.
#[tokio::test]
async fn what_can_be_made_good_from_what_is_there_is() {
    let scene = published().await;
    let good = scene.files();
    let hashed = named(&scene, ".alpha-1.0-py3-none-any.whl");
    let page = named(&scene, ".index.json");
    let damages: [(&str, fn(&Path)); 8] = [
        (&hashed, flip),
        (&hashed, |path| fs::remove_file(path).unwrap()),
        (WHEEL, flip),
        (WHEEL, |path| fs::remove_file(path).unwrap()),
        (&page, |path| fs::remove_file(path).unwrap()),
        ("simple/alpha/index.json", flip),
        ("simple/alpha/index.html", |path| fs::remove_file(path).unwrap()),
        ("simple/index.json", |path| change(path, "{}")),
    ];
    for (path, damage) in damages {
        damage(&scene.root().join(path));
        let (fscked, findings) = fsck(&scene, Look::Hash, Repair::Yes).await;
        assert_eq!((fscked.bad, fscked.repaired), (0, 1), "{path}: {findings:?}");
        assert!(scene.files() == good, "{path}: not as before");
        assert_eq!(fsck(&scene, Look::Hash, Repair::No).await.1, [], "{path}");
    }
    scene.assert_sound("after all repairs").await;
}

#[tokio::test]
async fn what_is_bad_in_every_place_stays_bad() {
    let scene = published().await;
    for path in [WHEEL.to_owned(), named(&scene, ".alpha-1.0-py3-none-any.whl")] {
        change(&scene.root().join(path), "trojan");
    }
    let before = scene.files();
    let (fscked, _) = fsck(&scene, Look::Hash, Repair::Yes).await;
    assert_eq!((fscked.bad, fscked.repaired), (2, 0));
    assert!(scene.files() == before);
}

#[tokio::test]
async fn a_publication_meanwhile_is_no_fault() {
    let scene = published().await;
    let (keys, edits) = (keyring(&ONLINE).await, [scene.add("alpha", "1.1", "two")]);
    let (repository, other) = (scene.open().await, scene.open().await);
    let (mut report, mut findings) = (|_: &Finding| {}, 0);
    for edit in edits {
        let edit = [edit];
        let (published, fscked) = tokio::join!(
            other.publish(&keys, &edit, now(), &Unwatched),
            repository.fsck(Look::Hash, Repair::No, &Unwatched, &mut report)
        );
        published.unwrap();
        findings += fscked.unwrap().bad;
    }
    assert_eq!(findings, 0);
}

#[test]
fn the_program_tells_line_by_line_and_by_its_exit_code() {
    let home = Home::with_repository();
    let run = |more: &[&str]| home.run(&[&["fsck", "--repo", "repo"], more].concat());
    let told = run(&["--hash"]).fine();
    assert!(told.starts_with("ok "), "{told}");
    let repo = home.work().join("repo");
    fs::remove_file(repo.join(WHEEL)).unwrap();
    fs::write(repo.join("targets/stray"), "x").unwrap();
    let found = run(&[]);
    found.refused(3, &["1 file(s) missing or altered"]);
    assert!(found.stdout.contains(&format!("bad {WHEEL}: is missing\n")), "{}", found.stdout);
    assert!(found.stdout.contains("stray targets/stray: 1 bytes\n"), "{}", found.stdout);
    let found = run(&["--json"]);
    let lines: Vec<serde_json::Value> =
        found.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<_> = lines.iter().map(|line| line["found"].as_str().unwrap()).collect();
    assert_eq!((kinds.len(), kinds.last()), (3, Some(&"end")), "{}", found.stdout);
    assert_eq!(lines[2]["counts"]["bad"], 1);
    let mended = run(&["--repair"]).fine();
    assert!(mended.contains(&format!("repaired {WHEEL}: is missing\n")), "{mended}");
    run(&["--hash"]).fine();
}
