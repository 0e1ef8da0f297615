//! `sync`: a folder that pip and uv read instead of an index. What lands there, what does not, and what becomes of it later.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;

use wheelseal::client::{Client, DirSource, MetadataDir};
use wheelseal::crypto::sha256;
use wheelseal::sync::{Filter, Folder, Job, Progress, State};
use wheelseal::tuf::trusted::Limits;

use crate::scene::{Scene, archive, files_below, now, wheel_bytes};
use crate::shell::{Home, Ran};

const ALPHA: &str = "alpha-1.0-py3-none-any.whl";

/// A home that trusts its repository of two projects.
fn home() -> Home {
    let home = Home::with_repository();
    trust(&home);
    home
}

fn trust(home: &Home) {
    home.run(&["trust", "add", "main", "repo", "--root", "repo/metadata/1.root.json"]).fine();
}

/// Publishes a wheel that depends on others.
fn publish(home: &Home, project: &str, version: &str, tag: &str, requires: &[&str]) {
    let info = format!("{project}-{version}.dist-info");
    let requires: Vec<String> = requires.iter().map(|one| format!("Requires-Dist: {one}\n")).collect();
    let requires = requires.concat();
    let extras = "Provides-Extra: x\nProvides-Extra: y\n";
    let metadata =
        format!("Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n{extras}{requires}\n");
    let wheel = format!("Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n");
    let files = [
        (format!("{project}.py"), format!("VERSION = '{version}'\n")),
        (format!("{info}/METADATA"), metadata),
        (format!("{info}/WHEEL"), wheel),
        (format!("{info}/RECORD"), String::new()),
    ];
    let bytes = archive(files.iter().map(|(name, text)| (name.as_str(), text.as_bytes())));
    let path = home.work().join(format!("{project}-{version}-{tag}.whl"));
    fs::write(&path, bytes).unwrap();
    home.run(&["add", "--repo", "repo", path.to_str().unwrap()]).fine();
    fs::remove_file(path).unwrap();
}

fn sync(home: &Home, more: &[&str]) -> Ran {
    home.run(&[&["sync", "--to", "out"], more].concat())
}

fn out(home: &Home) -> PathBuf {
    home.work().join("out")
}

/// The wheels and sdists that are there, without their folders.
fn files(home: &Home) -> Vec<String> {
    let all = files_below(&out(home).join("targets")).into_keys();
    let names = all.map(|name| name.rsplit('/').next().unwrap().to_owned());
    names.filter(|name| !name.ends_with(".metadata")).collect()
}

/// Everything but what notes the state.
fn content(home: &Home) -> BTreeMap<String, Vec<u8>> {
    let all = files_below(&out(home)).into_iter();
    all.filter(|(name, _)| name.starts_with("simple/") || name.starts_with("targets/")).collect()
}

#[test]
fn a_named_project_is_there_with_a_page_that_leads_to_it() {
    let home = home();
    let said = sync(&home, &["alpha", "--no-deps"]).fine();
    assert!(said.starts_with("verified ") && said.contains(": 2 files of 1 projects"), "{said}");
    let names: Vec<_> = content(&home).into_keys().collect();
    assert_eq!(
        names,
        [
            "simple/alpha/index.html",
            "simple/alpha/index.json",
            "simple/index.html",
            "simple/index.json",
            "targets/alpha/alpha-1.0-py3-none-any.whl",
            "targets/alpha/alpha-1.0-py3-none-any.whl.metadata",
        ]
    );
    let page = fs::read_to_string(out(&home).join("simple/alpha/index.html")).unwrap();
    let digest = hex::encode(sha256(&fs::read(home.wheel("alpha", "1.0")).unwrap()));
    assert!(page.contains(&format!("href=\"../../targets/alpha/{ALPHA}#sha256={digest}\"")), "{page}");
    // Its layout is that of a repository's files, so the command that verifies those verifies it.
    home.run(&["verify", "--below", "out/targets"]).fine();
}

#[test]
fn the_record_says_of_each_file_why_it_is_trusted() {
    let home = home();
    sync(&home, &[]).fine();
    let record = fs::read(out(&home).join("wheelseal-sync.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    assert_eq!(record["trust"], "main");
    let mut targets: Vec<_> =
        record["files"].as_array().unwrap().iter().map(|file| file["target"].as_str().unwrap()).collect();
    targets.sort_unstable();
    let wheel = "alpha/alpha-1.0-py3-none-any.whl";
    let expected = ["alpha", "beta"].map(|name| format!("{name}/{name}-1.0-py3-none-any.whl"));
    let with_metadata = expected.iter().flat_map(|name| [name.clone(), format!("{name}.metadata")]);
    assert_eq!(targets, with_metadata.collect::<Vec<_>>());
    let file = record["files"].as_array().unwrap().iter().find(|file| file["target"] == wheel).unwrap();
    let digest = hex::encode(sha256(&fs::read(home.wheel("alpha", "1.0")).unwrap()));
    assert_eq!(file["sha256"], digest);
    let roles: Vec<_> = file["roles"].as_array().unwrap().iter().map(|role| role.as_str().unwrap()).collect();
    let bin = format!("bins/{}", file["role"].as_str().unwrap());
    assert_eq!(roles, ["root", "timestamp", "snapshot", "targets", "targets/bins", &bin]);
    assert_eq!(record["roles"][&bin]["version"], file["version"]);
    assert_eq!(record["roles"]["root"]["threshold"], 1);
}

#[test]
fn a_second_run_fetches_nothing_and_the_next_ones_what_changed() {
    let home = home();
    sync(&home, &[]).fine();
    let before = content(&home);
    let said = sync(&home, &[]).fine();
    assert!(said.contains("4 files of 2 projects") && said.contains("fetched: 0,"), "{said}");
    assert!(content(&home) == before);
    home.publish("alpha", "1.1");
    home.run(&["remove", "--repo", "repo", "beta-1.0-py3-none-any.whl"]).fine();
    let said = sync(&home, &[]).fine();
    assert!(said.contains("fetched: 2,") && said.contains("removed: 2"), "{said}");
    assert_eq!(files(&home), [ALPHA, "alpha-1.1-py3-none-any.whl"]);
    assert!(!out(&home).join("simple/beta").exists());
    let list = fs::read_to_string(out(&home).join("simple/index.html")).unwrap();
    assert!(list.contains("alpha/") && !list.contains("beta"), "{list}");
}

#[test]
fn what_was_tampered_with_is_mended_and_strangers_go() {
    let home = home();
    sync(&home, &[]).fine();
    let before = content(&home);
    let wheel = out(&home).join("targets/alpha").join(ALPHA);
    let mut bytes = fs::read(&wheel).unwrap();
    bytes[40] ^= 1;
    fs::write(&wheel, bytes).unwrap();
    fs::write(out(&home).join("targets/alpha/alpha-9.0-py3-none-any.whl"), "evil").unwrap();
    fs::write(out(&home).join("simple/alpha/index.html"), "evil").unwrap();
    fs::write(out(&home).join("simple/beta/index.json"), "{}").unwrap();
    fs::create_dir(out(&home).join("simple/evil")).unwrap();
    fs::write(out(&home).join("simple/evil/index.html"), "evil").unwrap();
    fs::write(out(&home).join("simple/.htaccess"), "evil").unwrap();
    let said = sync(&home, &[]).fine();
    assert!(said.contains("fetched: 1,"), "{said}");
    assert!(content(&home) == before);
}

#[test]
fn links_in_the_folder_are_removed_and_not_followed() {
    let home = home();
    sync(&home, &[]).fine();
    let before = content(&home);
    let elsewhere = home.work().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("precious"), "precious").unwrap();
    for (at, to) in [("targets/alpha", "../../elsewhere"), ("simple/beta", "../../elsewhere")] {
        fs::remove_dir_all(out(&home).join(at)).unwrap();
        symlink(to, out(&home).join(at)).unwrap();
    }
    let beta = "targets/beta/beta-1.0-py3-none-any.whl";
    fs::rename(out(&home).join(beta), elsewhere.join("beta.whl")).unwrap();
    symlink("../../../elsewhere/beta.whl", out(&home).join(beta)).unwrap();
    symlink("../../elsewhere/precious", out(&home).join("simple/alpha/link")).unwrap();
    sync(&home, &[]).fine();
    assert!(content(&home) == before);
    assert!(fs::symlink_metadata(out(&home).join(beta)).unwrap().is_file());
    let left: Vec<_> = files_below(&elsewhere).into_keys().collect();
    assert_eq!(left, ["beta.whl", "precious"]);
    fs::rename(out(&home).join("targets"), home.work().join("moved")).unwrap();
    symlink("../moved", out(&home).join("targets")).unwrap();
    sync(&home, &[]).fine();
    assert!(fs::symlink_metadata(out(&home).join("targets")).unwrap().is_dir() && content(&home) == before);
}

#[test]
fn a_file_that_does_not_verify_stays_out_and_all_others_are_there() {
    let home = home();
    home.publish("alpha", "1.1");
    for file in
        files_below(&home.work().join("repo/targets/alpha")).keys().filter(|name| name.ends_with(ALPHA))
    {
        fs::write(home.work().join("repo/targets/alpha").join(file), "evil").unwrap();
    }
    let ran = sync(&home, &[]);
    ran.refused(3, &["1 left out", &format!("left out {ALPHA}: alpha/{ALPHA} has 4 bytes, signed are ")]);
    assert_eq!(files(&home), ["alpha-1.1-py3-none-any.whl", "beta-1.0-py3-none-any.whl"]);
    let page = fs::read_to_string(out(&home).join("simple/alpha/index.html")).unwrap();
    assert!(!page.contains(ALPHA) && page.contains("alpha-1.1"), "{page}");
    let record = fs::read_to_string(out(&home).join("wheelseal-sync.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["left_out"][0]["what"], ALPHA);
}

#[test]
fn a_folder_of_others_or_of_a_repository_is_left_alone() {
    let home = home();
    fs::create_dir_all(home.work().join("mine/simple")).unwrap();
    fs::write(home.work().join("mine/simple/thesis.txt"), "precious").unwrap();
    home.refuses(&["sync", "--to", "mine"], 2, &["is not empty, and not made by sync"]);
    home.refuses(&["sync", "--to", "repo"], 2, &["lies in a repository"]);
    home.refuses(&["sync", "--to", "repo/targets/deep/er"], 2, &["lies in a repository"]);
    symlink("repo/targets", home.work().join("way")).unwrap();
    home.run(&["sync", "--to", "way/new"]).refused(2, &["lies in a repository"]);
    assert!(!home.work().join("repo/targets/new/simple").exists());
    sync(&home, &[]).fine();
    home.run(&["trust", "remove", "main"]).fine();
    fs::rename(home.work().join("repo"), home.work().join("other")).unwrap();
    home.run(&["trust", "add", "main", "other", "--root", "other/metadata/1.root.json"]).fine();
    sync(&home, &[]).refused(2, &["holds files of "]);
}

#[test]
fn a_folder_does_not_go_back_even_for_who_has_seen_nothing_yet() {
    let home = home();
    let old = files_below(&home.work().join("repo"));
    home.publish("alpha", "1.1");
    sync(&home, &[]).fine();
    let before = content(&home);
    fs::write(home.work().join("repo/metadata/timestamp.json"), &old["metadata/timestamp.json"]).unwrap();
    sync(&home, &[]).refused(5, &["timestamp"]);
    home.run(&["trust", "remove", "main"]).fine();
    trust(&home);
    sync(&home, &[]).refused(5, &["timestamp of the repository is version ", "use another one"]);
    assert!(content(&home) == before);
}

#[test]
fn a_lock_brings_its_files_alone_and_what_contradicts_it_is_named() {
    let home = home();
    home.publish("alpha", "1.1");
    let digest = |project, version| hex::encode(sha256(&fs::read(home.wheel(project, version)).unwrap()));
    let lock = format!("alpha==1.0 --hash=sha256:{}\n", digest("alpha", "1.0"));
    fs::write(home.work().join("lock.txt"), &lock).unwrap();
    sync(&home, &["--lock", "lock.txt"]).fine();
    assert_eq!(files(&home), [ALPHA]);
    let bad = format!("{lock}beta==1.0 --hash=sha256:{}\n", digest("alpha", "1.1"));
    fs::write(home.work().join("lock.txt"), bad).unwrap();
    let ran = sync(&home, &["--lock", "lock.txt"]);
    ran.refused(3, &["left out beta 1.0", "no such file is signed"]);
    assert_eq!(files(&home), [ALPHA]);
    fs::write(home.work().join("lock.txt"), "alpha==1.0\n").unwrap();
    sync(&home, &["--lock", "lock.txt"]).refused(9, &["the lock has no SHA-256 of it"]);
    sync(&home, &["--lock", "nowhere.txt"]).refused(1, &["nowhere.txt"]);
}

#[test]
fn dependencies_are_followed_by_signed_metadata_through_extras_and_markers() {
    let home = home();
    publish(
        &home,
        "app",
        "2.0",
        "py3-none-any",
        &[
            "lib[x]>=1",
            "win; sys_platform == 'win32'",
            "old; python_version < '3.8'",
            "never; extra == 'y'",
            "ghost; sys_platform == 'win32'",
        ],
    );
    publish(&home, "lib", "1.0", "py3-none-any", &["alpha; extra == 'x'"]);
    publish(&home, "lib", "1.1", "py3-none-any", &["alpha<1.1; extra == 'x'", "app"]);
    for name in ["win", "old", "never"] {
        publish(&home, name, "1.0", "py3-none-any", &[]);
    }
    home.publish("alpha", "1.1");
    let wheels = |names: &[&str]| -> Vec<String> {
        names.iter().map(|name| format!("{name}-py3-none-any.whl")).collect()
    };
    let ran = sync(&home, &["app"]);
    assert_eq!(files(&home), wheels(&["alpha-1.0", "app-2.0", "lib-1.1", "old-1.0", "win-1.0"]));
    assert!(ran.stderr.contains("missing ghost (for app 2.0): not in the repository"), "{}", ran.stderr);
    ran.fine();
    sync(&home, &["app", "--python", "3.11", "--platform", "linux_x86_64"]).fine();
    assert_eq!(files(&home), wheels(&["alpha-1.0", "app-2.0", "lib-1.1"]));
    sync(&home, &["app", "--no-deps"]).fine();
    assert_eq!(files(&home), wheels(&["app-2.0"]));
    fs::write(home.work().join("wanted.txt"), "# all\n--index-url https://x.example\nlib>=1 # lib\n")
        .unwrap();
    sync(&home, &["-r", "wanted.txt", "--all-versions", "--no-deps"]).fine();
    assert_eq!(files(&home), wheels(&["lib-1.0", "lib-1.1"]));
    sync(&home, &["app", "--no-deps", "--keep"]).fine();
    assert_eq!(files(&home), wheels(&["app-2.0", "lib-1.0", "lib-1.1"]));
}

#[test]
fn requirements_that_cannot_all_be_met_are_named_with_who_has_them() {
    let home = home();
    home.publish("beta", "2.0");
    publish(&home, "one", "1.0", "py3-none-any", &["beta<2"]);
    publish(&home, "two", "1.0", "py3-none-any", &["beta>=2", "gone"]);
    let ran = sync(&home, &["one", "two"]);
    ran.refused(3, &["left out gone (for two 1.0): no role of the repository signs"]);
    assert!(ran.stderr.contains("left out beta: no one version is good for all: "), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("beta<2 (one 1.0)") && ran.stderr.contains("beta>=2 (two 1.0)"),
        "{}",
        ran.stderr
    );
    assert_eq!(files(&home).iter().filter(|name| name.starts_with("beta")).count(), 2);
    sync(&home, &["one", "two"]).refused(3, &[]);
    publish(&home, "far", "1.0", "py3-none-any", &["x @ https://files.example/x.zip"]);
    sync(&home, &["far"]).refused(9, &["wanted from https://files.example/x.zip: no index answers for it"]);
    sync(&home, &["alpha>=3"]).refused(9, &["no version of alpha fits"]);
    sync(&home, &["not a requirement"]).refused(2, &["is no requirement"]);
}

/// Once for some machines and seen first, once for all.
#[test]
fn a_project_that_is_missing_for_all_is_left_out_though_some_asked_first() {
    let home = home();
    publish(&home, "one", "1.0", "py3-none-any", &["ghost; sys_platform == 'win32'", "two"]);
    publish(&home, "two", "1.0", "py3-none-any", &["ghost"]);
    let ran = sync(&home, &["one"]);
    ran.refused(
        3,
        &["missing ghost (for one 1.0)", "left out ghost (for two 1.0): no role of the repository"],
    );
}

#[test]
fn a_project_that_is_wanted_in_too_many_ways_is_refused() {
    let home = home();
    let wanted = |count: u32| (0..count).map(|at| format!("alpha!=9.{at}\n")).collect::<Vec<_>>().concat();
    fs::write(home.work().join("many.txt"), wanted(1_000)).unwrap();
    sync(&home, &["-r", "many.txt", "--no-deps"]).fine();
    fs::write(home.work().join("many.txt"), wanted(1_001)).unwrap();
    let told = "alpha is wanted in more than 1000 ways, or by more than 10000 version specifiers";
    sync(&home, &["-r", "many.txt", "--no-deps"]).refused(9, &[told]);
    let eleven = |at: u32| (0..11).map(|part| format!("!=9.{at}.{part}")).collect::<Vec<_>>().join(",");
    let lines: Vec<_> = (0..910).map(|at| format!("alpha{}\n", eleven(at))).collect();
    fs::write(home.work().join("many.txt"), lines.concat()).unwrap();
    sync(&home, &["-r", "many.txt", "--no-deps"]).refused(9, &[told]);
    assert_eq!(files(&home), [ALPHA]);
}

/// Empty, or cut off.
#[test]
fn a_file_that_names_nothing_takes_nothing_away() {
    let home = home();
    sync(&home, &[]).fine();
    let before = content(&home);
    for text in ["", "# all\n--index-url https://index.example\n"] {
        fs::write(home.work().join("wanted.txt"), text).unwrap();
        sync(&home, &["-r", "wanted.txt"]).refused(2, &["wanted.txt: names no project"]);
        sync(&home, &["alpha", "-r", "wanted.txt"]).refused(2, &["wanted.txt: names no project"]);
        sync(&home, &["--lock", "wanted.txt"]).refused(2, &["wanted.txt: names no project"]);
    }
    fs::write(home.work().join("uv.lock"), "version = 1\n").unwrap();
    sync(&home, &["--lock", "uv.lock"]).refused(2, &["uv.lock: names no project"]);
    assert!(content(&home) == before);
}

#[test]
fn a_marker_that_nobody_could_read_in_time_is_refused() {
    let home = home();
    let pairs: Vec<_> =
        (0..40).map(|at| format!("('{at}a' in platform_release or '{at}b' in platform_version)")).collect();
    publish(&home, "evil", "1.0", "py3-none-any", &[&format!("alpha; {}", pairs.join(" and "))]);
    sync(&home, &["evil"]).refused(3, &["left out evil 1.0: its dependencies do not read"]);
    assert_eq!(files(&home), ["evil-1.0-py3-none-any.whl"]);
}

#[test]
fn files_are_chosen_by_kind_python_and_platform() {
    let home = home();
    for tag in ["cp311-cp311-manylinux_2_17_x86_64", "cp311-cp311-win_amd64", "cp312-cp312-win_amd64"] {
        publish(&home, "lib", "1.0", tag, &[]);
    }
    sync(&home, &["lib", "--python", "3.11", "--platform", "win_amd64"]).fine();
    assert_eq!(files(&home), ["lib-1.0-cp311-cp311-win_amd64.whl"]);
    sync(&home, &["lib", "--python", "3.11", "--only", "wheels"]).fine();
    assert_eq!(files(&home).len(), 2);
    sync(&home, &["lib", "--only", "sdists"])
        .refused(9, &["no file of lib is what was asked for by --python, --platform and --only"]);
    sync(&home, &["lib", "--platform", "atari"]).refused(2, &["is no platform"]);
    sync(&home, &["lib", "--python", "three"]).refused(2, &["is no version of Python"]);
}

#[test]
fn a_rehearsal_says_what_there_is_to_fetch_and_writes_nothing() {
    let home = home();
    let before = files_below(&home.work());
    let said = sync(&home, &["--dry-run"]).fine();
    assert!(said.starts_with("would have 4 files of 2 projects, "), "{said}");
    assert!(said.contains("to fetch: 4, "), "{said}");
    assert!(files_below(&home.work()) == before && !out(&home).exists());
    sync(&home, &["alpha"]).fine();
    let before = files_below(&home.work());
    let json = home.run(&["--json", "sync", "--to", "out", "--dry-run", "beta"]).fine();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["files"], &json["fetched"], &json["removed"]), (&2.into(), &2.into(), &2.into()));
    assert!(files_below(&home.work()) == before);
}

/// What a run leaves that was killed: its mark, files without a page, half of one under another name.
#[test]
fn a_run_that_was_killed_is_gone_on_with() {
    let home = home();
    sync(&home, &[]).fine();
    let whole = content(&home);
    fs::remove_dir_all(out(&home).join("simple")).unwrap();
    fs::remove_dir_all(out(&home).join("targets/beta")).unwrap();
    fs::remove_file(out(&home).join(".wheelseal-sync/state.json")).unwrap();
    fs::remove_file(out(&home).join("wheelseal-sync.json")).unwrap();
    fs::write(out(&home).join("targets/alpha/.wheelseal-a1b2c3"), "half").unwrap();
    fs::write(out(&home).join(".wheelseal-sync/.tmpXYZ"), "half").unwrap();
    let said = sync(&home, &[]).fine();
    assert!(said.contains("fetched: 2,"), "{said}");
    assert!(content(&home) == whole && !out(&home).join(".wheelseal-sync/.tmpXYZ").exists());
}

#[test]
fn a_file_that_cannot_be_written_ends_the_run_and_pages_stay() {
    let home = home();
    sync(&home, &[]).fine();
    let before = files_below(&out(&home));
    // Digests do not compress, so the wheel is large.
    let body: Vec<String> = (0..2_000_u32).map(|at| hex::encode(sha256(&at.to_be_bytes()))).collect();
    let path = home.work().join("alpha-1.1-py3-none-any.whl");
    fs::write(&path, wheel_bytes("alpha", "1.1", &body.join("\n"))).unwrap();
    home.run(&["add", "--repo", "repo", path.to_str().unwrap()]).fine();
    let limited = ["sh", "-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "sh"];
    let ran = home.run_by(&limited, &["sync", "--to", "out"]);
    ran.refused(1, &["File too large", "hint: what was there before is still there; run it again"]);
    assert!(files_below(&out(&home)) == before);
    assert!(sync(&home, &[]).fine().contains("fetched: 2,"));
}

#[test]
fn two_runs_do_not_work_on_one_folder() {
    let home = home();
    sync(&home, &[]).fine();
    let lock = fs::File::open(out(&home).join(".wheelseal-sync/lock")).unwrap();
    lock.try_lock().unwrap();
    sync(&home, &[]).refused(8, &["another sync is at work in "]);
    drop(lock);
    sync(&home, &[]).fine();
}

/// Who carries the folder swaps a file together with its page, and hands over junk where the signed page should be.
#[test]
fn a_project_whose_page_does_not_verify_is_not_on_the_list() {
    let home = home();
    sync(&home, &[]).fine();
    let whole = content(&home);
    fs::write(out(&home).join("targets/alpha").join(ALPHA), "evil").unwrap();
    fs::write(out(&home).join("simple/alpha/index.html"), "evil").unwrap();
    let pages = home.work().join("repo/targets/simple/alpha");
    let signed = files_below(&pages);
    for name in signed.keys() {
        fs::write(pages.join(name), "junk").unwrap();
    }
    for more in [&[][..], &["--keep"], &["alpha"], &["beta", "--keep"]] {
        sync(&home, more).refused(3, &["left out alpha: "]);
        assert!(!out(&home).join("simple/alpha").exists(), "{more:?}");
        for list in ["simple/index.html", "simple/index.json"] {
            assert!(!fs::read_to_string(out(&home).join(list)).unwrap().contains("alpha"), "{more:?}");
        }
        assert!(out(&home).join("targets/alpha").join(ALPHA).exists(), "{more:?}");
    }
    for (name, bytes) in signed {
        fs::write(pages.join(name), bytes).unwrap();
    }
    sync(&home, &[]).fine();
    assert!(content(&home) == whole);
}

#[test]
fn what_no_role_signs_is_not_kept() {
    let home = home();
    sync(&home, &[]).fine();
    let whole = content(&home);
    for folder in ["simple/evil", "targets/evil"] {
        fs::create_dir(out(&home).join(folder)).unwrap();
        fs::write(out(&home).join(folder).join("index.html"), "evil").unwrap();
    }
    sync(&home, &["--keep"]).refused(3, &["left out evil: no role of the repository signs"]);
    assert!(content(&home) == whole);
    sync(&home, &["--keep"]).fine();
}

/// Which projects it lists is not known, so none is taken for gone; those it answers for have no page until it reads again.
#[test]
fn a_role_that_cannot_be_read_takes_no_project_away_for_good() {
    let home = home();
    for name in ["c", "d", "e", "f"] {
        home.publish(name, "1.0");
    }
    sync(&home, &[]).fine();
    let before = content(&home);
    home.run(&["bump", "--all", "--repo", "repo"]).fine();
    let metadata = home.work().join("repo/metadata");
    let bin = files_below(&metadata).into_keys().filter(|name| name.ends_with(".bins-1.json")).max().unwrap();
    let signed = fs::read(metadata.join(&bin)).unwrap();
    fs::write(metadata.join(&bin), "{}").unwrap();
    let ran = sync(&home, &[]);
    ran.refused(3, &["left out the role bins-1: "]);
    let after = content(&home);
    assert!(after.len() < before.len() && after.keys().all(|name| before.contains_key(name)));
    let projects = |of: &BTreeMap<String, Vec<u8>>| -> BTreeSet<String> {
        let names = of.keys().filter_map(|name| name.strip_prefix("targets/"));
        names.map(|name| name.split('/').next().unwrap().to_owned()).collect()
    };
    for project in projects(&before) {
        let page = after.contains_key(&format!("simple/{project}/index.html"));
        assert!(page || projects(&after).contains(&project), "{project}");
    }
    fs::write(metadata.join(bin), signed).unwrap();
    sync(&home, &[]).fine();
    assert!(content(&home) == before);
}

/// Roles are forgotten and read again all the time.
#[tokio::test]
async fn a_run_that_may_hold_next_to_nothing_finds_everything() {
    let scene = Scene::new().await;
    let edits: Vec<_> = (0..12).map(|at| scene.add(&format!("p{at}"), "1.0", "x = 1\n")).collect();
    scene.publish(&edits).await.unwrap();
    let root = scene.root();
    let cache =
        MetadataDir::init(scene.spool().join("trust"), &fs::read(root.join("metadata/1.root.json")).unwrap())
            .unwrap();
    let source = |name: &str| Box::new(DirSource::new(root.join(name)));
    let client = Client::new(source("metadata"), source("targets"), cache, Limits::default());
    let shared = client.refresh(now()).await.unwrap().holding(1);
    let to = tempfile::tempdir().unwrap();
    let folder = Folder::open(&to.path().join("out"), &State::new("x", 1, 1, 1)).unwrap();
    let jobs = NonZeroUsize::new(2).unwrap();
    let job = Arc::new(Job {
        shared: Arc::new(shared),
        folder,
        filter: Filter::default(),
        keep: false,
        dry: false,
        jobs,
        tell: Arc::new(|_| {}),
        progress: Progress::new(jobs),
    });
    let wishes = job.everything(&|_, _| {}).await.unwrap();
    let summary = job.run(wishes).await.unwrap();
    assert_eq!((summary.projects, summary.files, summary.refused), (12, 24, 0));
}

#[test]
fn yanks_are_kept() {
    let home = home();
    home.run(&["yank", "--repo", "repo", "--reason", "broken", ALPHA]).fine();
    sync(&home, &[]).fine();
    let page = fs::read_to_string(out(&home).join("simple/alpha/index.html")).unwrap();
    assert!(page.contains("data-yanked=\"broken\""), "{page}");
}
