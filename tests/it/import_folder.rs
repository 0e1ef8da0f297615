//! Folders that become lists: bandersnatch's and others', odd and hostile ones, and what a second run remembers.

#![expect(clippy::unwrap_used, reason = "a folder that cannot be made is a test that cannot run")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use wheelseal::crypto::sha256;
use wheelseal::python::{FreeText, ProjectPage};
use wheelseal::repository::{Files, Folder, Hashed, Imported, RepositoryError, Run, Unfit, Unwatched};

use crate::memory::Reader;
use crate::scene::{ONLINE, Scene, View, keyring, now, pages, wheel_bytes, wheel_name};
use crate::shell::Home;

/// A folder beside the repository, and where its journal is.
fn folder(scene: &Scene, files: Files) -> Folder {
    let root = scene.spool().join("mirror");
    fs::create_dir_all(&root).unwrap();
    Folder { root, journal: Some(scene.spool().join("journal.tsv")), files, unfit: Unfit::Refuse }
}

/// Puts a wheel into it; gives its path.
fn put(folder: &Folder, below: &str, project: &str, version: &str) -> PathBuf {
    let at = folder.root.join(below);
    fs::create_dir_all(&at).unwrap();
    crate::scene::wheel(&at, project, version, "")
}

async fn run(scene: &Scene, folder: &Folder) -> Result<(Hashed, Imported), RepositoryError> {
    scene.open().await.import_folder(&keyring(&ONLINE).await, folder, Run::Wet, now(), &Unwatched).await
}

/// Puts the folder's files where clients look for them, as an admin would who serves the mirror itself.
fn link_all(scene: &Scene, folder: &Folder) {
    for entry in walkdir::WalkDir::new(&folder.root).into_iter().filter_map(Result::ok) {
        let name = entry.file_name().to_str().unwrap();
        if !entry.file_type().is_file() || !name.contains(".whl") {
            continue;
        }
        let bytes = fs::read(entry.path()).unwrap();
        let at = scene.root().join("targets").join(name.split('-').next().unwrap());
        fs::create_dir_all(&at).unwrap();
        for name in [format!("{}.{name}", hex::encode(sha256(&bytes))), name.to_owned()] {
            fs::write(at.join(name), &bytes).unwrap();
        }
    }
}

#[tokio::test]
async fn a_bandersnatch_mirror_is_imported_and_only_what_is_in_its_packages() {
    let scene = Scene::new().await;
    let mirror = folder(&scene, Files::Stay);
    put(&mirror, "web/packages/aa/bb/cccc", "alpha", "1.0");
    put(&mirror, "web/packages/dd/ee/ffff", "alpha", "1.1");
    let beside = put(&mirror, "web/packages/00/11/2222", "beta", "2.0");
    let metadata = "Metadata-Version: 2.1\nName: Beta\nVersion: 2.0\nRequires-Python: >=3.12\n";
    fs::write(format!("{}.metadata", beside.display()), metadata).unwrap();
    put(&mirror, "elsewhere", "gamma", "1.0");
    fs::create_dir_all(mirror.root.join("web/simple/alpha")).unwrap();
    symlink("/etc/passwd", mirror.root.join("web/simple/alpha/index.html")).unwrap();
    let (hashed, imported) = run(&scene, &mirror).await.unwrap();
    assert_eq!((hashed.hashed, hashed.remembered, hashed.unfit), (3, 0, 0));
    assert_eq!((imported.added, imported.projects), (3, 2));
    link_all(&scene, &mirror);
    scene.assert_sound("after the import").await;
    let repository = scene.open().await;
    let pages = pages(&repository, &repository.state().await.unwrap()).await;
    let said: Vec<_> = pages
        .iter()
        .flat_map(ProjectPage::files)
        .map(|file| {
            let metadata = file.core_metadata_sha256.as_ref().map(ToString::to_string);
            (file.filename.as_str(), file.requires_python.as_ref().map(FreeText::as_str), metadata)
        })
        .collect();
    let digest = hex::encode(sha256(metadata.as_bytes()));
    let expected = [
        ("alpha-1.0-py3-none-any.whl", Some(">=3.8"), None),
        ("alpha-1.1-py3-none-any.whl", Some(">=3.8"), None),
        ("beta-2.0-py3-none-any.whl", Some(">=3.12"), Some(digest)),
    ];
    assert_eq!(said, expected);
    let reader = Reader::of_folder(&scene.root());
    reader.downloads(now(), [("alpha", "1.0"), ("alpha", "1.1"), ("beta", "2.0")]).await.unwrap();
}

#[tokio::test]
async fn stored_files_are_what_add_would_have_made_of_them() {
    let (stored, added) = (Scene::new().await, Scene::new().await);
    let plain = folder(&stored, Files::Store);
    for (below, project, version) in [("", "alpha", "1.0"), ("x", "alpha", "1.1"), ("x/y", "beta", "1.0")] {
        put(&plain, below, project, version);
        added.publish(&[added.add(project, version, "")]).await.unwrap();
    }
    let (hashed, imported) = run(&stored, &plain).await.unwrap();
    assert_eq!((hashed.hashed, imported.added), (3, 3));
    stored.assert_sound("after the import").await;
    let targets = |view: &View| view.targets.keys().cloned().collect::<Vec<_>>();
    let views = (View::of(&stored.open().await).await, View::of(&added.open().await).await);
    assert_eq!(targets(&views.0), targets(&views.1));
    assert_eq!(views.0.files, views.1.files);
    let files = |scene: &Scene| {
        let files = scene.files();
        let names =
            files.into_iter().filter(|(name, _)| name.starts_with("targets/") && !name.contains("/simple/"));
        names.collect::<Vec<_>>()
    };
    assert_eq!(files(&stored), files(&added));
}

#[tokio::test]
async fn a_second_run_reads_only_what_is_new_or_changed_or_no_more_stored() {
    for files in [Files::Stay, Files::Store] {
        let scene = Scene::new().await;
        let mirror = folder(&scene, files);
        for number in 0..5 {
            put(&mirror, "a", &format!("p{number}"), "1.0");
        }
        // Interrupted: hashed, and nothing of it published.
        let online = keyring(&ONLINE).await;
        fs::write(mirror.root.join("a/p9-1.0-py3-none-any.whl"), "no archive").unwrap();
        assert!(run(&scene, &mirror).await.is_err());
        fs::remove_file(mirror.root.join("a/p9-1.0-py3-none-any.whl")).unwrap();
        let counts = |hashed: &Hashed| (hashed.hashed, hashed.remembered);
        let (hashed, imported) = run(&scene, &mirror).await.unwrap();
        assert_eq!(hashed.hashed + hashed.remembered, 5);
        assert_eq!(imported.added, 5);
        let (hashed, imported) = run(&scene, &mirror).await.unwrap();
        assert_eq!((counts(&hashed), imported.present), ((0, 5), 5), "{files:?}");
        put(&mirror, "b", "p0", "2.0");
        let dry =
            scene.open().await.import_folder(&online, &mirror, Run::Dry, now(), &Unwatched).await.unwrap();
        let expected = if files == Files::Stay { (1, 5) } else { (6, 0) };
        assert_eq!((counts(&dry.0), dry.1.added), (expected, 1), "a dry run stores nothing");
        let (hashed, imported) = run(&scene, &mirror).await.unwrap();
        let expected = if files == Files::Stay { (0, 6) } else { (6, 0) };
        // The dry run noted what it saw last.
        assert_eq!((counts(&hashed), imported.added, imported.present), (expected, 1, 5), "{files:?}");
        if files == Files::Store {
            fs::remove_file(scene.root().join("targets/p3/p3-1.0-py3-none-any.whl")).unwrap();
            let (hashed, _) = run(&scene, &mirror).await.unwrap();
            assert_eq!(counts(&hashed), (1, 5));
            scene.assert_sound("after the file was stored again").await;
        }
        // Other content under the same name, and a date of its own.
        let changed = mirror.root.join("a/p1-1.0-py3-none-any.whl");
        fs::write(&changed, wheel_bytes("p1", "1.0", "another")).unwrap();
        let refused = run(&scene, &mirror).await.unwrap_err().to_string();
        assert!(
            refused.contains("p1-1.0-py3-none-any.whl") && refused.contains("is published already"),
            "{refused}"
        );
    }
}

/// Puts something odd into a folder.
type Make<'a> = Box<dyn Fn(&Path) + 'a>;

/// Each is refused, named, and nothing is published; or left out, named, and the rest is.
#[tokio::test]
async fn what_cannot_be_published_is_named() {
    let wheel = wheel_bytes("beta", "1.0", "");
    let file = |name: &'static str, bytes: &'static [u8]| -> Make<'_> {
        Box::new(move |root| fs::write(root.join(name), bytes).unwrap())
    };
    let cases: [(Make<'_>, &str, &str); 8] = [
        (file("beta-1.0-py3-none-any.whl", b"no archive"), "beta-1.0-py3-none-any.whl", "end record"),
        (file("no_version.whl", b""), "no_version.whl", "project-version"),
        (file("beta 1.0.zip", b""), "beta 1.0.zip", "holds ' '"),
        (file("beta-1.0\n.tar.gz", b""), "beta-1.0\\n.tar.gz", "no text"),
        (
            Box::new(|root| fs::write(root.join("gamma-1.0-py3-none-any.whl"), &wheel).unwrap()),
            "gamma-1.0-py3-none-any.whl",
            "gamma-1.0.dist-info",
        ),
        (
            Box::new(|root| {
                fs::write(root.join("beta-1.0-py3-none-any.whl"), &wheel).unwrap();
                let other = "Metadata-Version: 2.1\nName: beta\nVersion: 1.1\n";
                fs::write(root.join("beta-1.0-py3-none-any.whl.metadata"), other).unwrap();
            }),
            "beta-1.0-py3-none-any.whl.metadata",
            "the file name says \"1.0\"",
        ),
        (
            Box::new(|root| symlink("/etc/passwd", root.join("beta-1.0-py3-none-any.whl")).unwrap()),
            "beta-1.0-py3-none-any.whl",
            "symbolic link to /etc/passwd",
        ),
        (Box::new(|root| symlink("..", root.join("up")).unwrap()), "up", "symbolic link to .."),
    ];
    for (make, name, why) in cases {
        let scene = Scene::new().await;
        let mirror = folder(&scene, Files::Stay);
        put(&mirror, "", "alpha", "1.0");
        make(&mirror.root);
        let before = scene.files();
        let refused = run(&scene, &mirror).await.unwrap_err().to_string();
        assert!(refused.contains(name) && refused.contains(why), "{name}: {refused}");
        assert!(!refused.contains('\n'), "{refused:?}");
        assert_eq!(scene.files(), before);
        let (hashed, imported) = run(&scene, &Folder { unfit: Unfit::LeaveOut, ..mirror }).await.unwrap();
        assert_eq!((imported.added, hashed.unfit, hashed.named), (1, 1, vec![refused]));
    }
}

#[tokio::test]
async fn two_files_of_one_name_must_be_the_same_and_both_are_named() {
    let scene = Scene::new().await;
    let mirror = folder(&scene, Files::Stay);
    put(&mirror, "a", "alpha", "1.0");
    put(&mirror, "b", "alpha", "1.0");
    let (_, imported) = run(&scene, &mirror).await.unwrap();
    assert_eq!((imported.added, imported.repeated), (1, 1));
    fs::write(mirror.root.join("b/alpha-1.0-py3-none-any.whl"), wheel_bytes("alpha", "1.0", "other"))
        .unwrap();
    let refused = run(&scene, &mirror).await.unwrap_err().to_string();
    assert!(
        refused.contains("a/alpha-1.0-py3-none-any.whl") && refused.contains("b/alpha-1.0-py3-none-any.whl"),
        "{refused}"
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_named_and_never_left_out() {
    let scene = Scene::new().await;
    let mirror = Folder { unfit: Unfit::LeaveOut, ..folder(&scene, Files::Stay) };
    let fifo = mirror.root.join("x-1.0.zip.metadata");
    fs::create_dir(&fifo).unwrap();
    fs::write(mirror.root.join("x-1.0.zip"), "").unwrap();
    let gone = Folder { root: mirror.root.join("gone"), ..mirror.clone() };
    let refused = run(&scene, &gone).await.unwrap_err().to_string();
    assert!(refused.contains("mirror/gone") && refused.contains("no folder"), "{refused}");
    let shut = put(&mirror, "shut", "alpha", "1.0");
    fs::set_permissions(&shut, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(&shut).is_err() {
        let refused = run(&scene, &mirror).await.unwrap_err().to_string();
        assert!(refused.contains("alpha-1.0-py3-none-any.whl") && refused.contains("ermission"), "{refused}");
    }
}

#[test]
fn the_program_imports_a_folder_and_tells_what_it_left_out() {
    let home = Home::with_repository();
    let mirror = home.work().join("mirror");
    fs::create_dir(&mirror).unwrap();
    crate::scene::wheel(&mirror, "delta", "1.0", "");
    fs::write(mirror.join("odd.whl"), "").unwrap();
    let import = ["import", "--repo", "repo", "--from-dir", "mirror", "--store-files"];
    home.run(&import).refused(2, &["odd.whl", "project-version"]);
    let said = home.run(&[&import[..], &["--skip-unfit"]].concat()).fine();
    let said = said.replace("in 1 bins", "in 2 bins");
    let expected = "signed 1 file in 2 bins\npages of 1 projects change\n1 files were read, 0 are as an earlier \
                    run saw them\nleft out 1 files:\n";
    assert!(said.starts_with(expected), "{said}");
    home.run(&["check", "--repo", "repo"]).fine();
    assert!(home.work().join("repo/targets/delta").join(wheel_name("delta", "1.0").as_str()).exists());
    assert_eq!(fs::read_dir(home.state().join("wheelseal/imports")).unwrap().count(), 1);
    home.run(&["import", "--repo", "repo"]).refused(2, &["--from-tsv", "--from-dir"]);
    home.run(&["import", "--repo", "repo", "--from-dir", "mirror", "--as-is"]).refused(2, &["--as-is"]);
}
