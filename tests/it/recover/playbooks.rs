//! The playbooks, as people type them.

use super::*;
use crate::scene::{example, files_below};
use crate::shell::{Home, Ran, shown};

const EVIL: &str = "alpha/alpha-6.6-py3-none-any.whl";
const ALPHA: &str = "alpha/alpha-1.0-py3-none-any.whl";

fn key(name: &str) -> String {
    shown(&example(name))
}

/// A repository with a backup, and a client that has downloaded a file.
fn home() -> Home {
    let home = Home::with_repository();
    home.run(&["backup", "--repo", "repo", "--to", "good.tar.zst"]).fine();
    home.run(&["trust", "add", "here", "repo", "--root", "repo/metadata/1.root.json"]).fine();
    home.run(&["download", ALPHA, "--to", "before"]).fine();
    home
}

async fn stolen(home: &Home, push: Option<u64>) {
    let repo = home.work().join("repo");
    tamper_at(&repo, &[(EVIL, Some(malware())), (ALPHA, None)], push, &["online"]).await;
}

fn recover(home: &Home, words: &[&str]) -> Ran {
    home.run(&[&["recover"], words, &["--repo", "repo"]].concat())
}

#[test]
fn without_a_terminal_or_yes_a_playbook_only_shows_its_plan() {
    let home = home();
    let before = files_below(&home.work());
    let new = key("online-2");
    for words in [
        &["online-keys", "--good", "good.tar.zst", "--new", &new][..],
        &["online-keys", "--good", "good.tar.zst"],
        &["targets-keys", "--good", "good.tar.zst", "--new", &key("targets-2")],
        &["snapshot-keys", "--good", "good.tar.zst", "--new", &new],
        &["root", "--root-key", &key("root-2"), "--stolen"],
    ] {
        let plan = recover(&home, words);
        assert_eq!(plan.code, 0, "{words:?}: {}", plan.stderr);
        assert!(plan.stdout.starts_with("1. ["), "{}", plan.stdout);
        assert!(plan.stderr.contains("nothing was done"), "{}", plan.stderr);
    }
    assert!(files_below(&home.work()) == before, "a plan changed something");
}

#[tokio::test]
async fn stolen_online_keys_are_replaced_and_the_bins_put_back_step_by_step() {
    let home = home();
    stolen(&home, Some(1 << 40)).await;
    home.run(&["download", ALPHA, "--to", "x"]).refused(3, &["no role of the repository signs"]);
    let new = key("online-2");
    let words = ["online-keys", "--good", "good.tar.zst", "--new", &new, "--yes"];
    // Nobody with an offline key is here: it goes as far as it can, and can be gone on with.
    for _ in 0..2 {
        let waits = recover(&home, &words);
        waits.refused(6, &["waits for signatures", "root by", "bins by"]);
    }
    let sign = ["ceremony", "sign", "recover-online-keys", "--repo", "repo", "--yes", "--key"];
    home.run(&[&sign[..], &[&key("root-1")]].concat()).fine();
    let waits = recover(&home, &words);
    waits.refused(6, &["waits for signatures", "bins by"]);
    home.run(&[&sign[..], &[&key("targets-1")]].concat()).fine();
    let ran = recover(&home, &words);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("1 targets restored, 1 withdrawn"), "{}", ran.stdout);
    let plan = recover(&home, &words[..5]).fine();
    assert_eq!(plan.matches("[done]").count(), 4, "{plan}");
    recover(&home, &words).fine();
    home.run(&["check", "--repo", "repo"]).fine();
    // The client that saw the thief's state, and one that never saw any.
    home.run(&["download", ALPHA, "--to", "after"]).fine();
    home.run(&["download", EVIL, "--to", "evil"]).refused(3, &["no role of the repository signs"]);
    let bytes = |name: &str| fs::read(home.work().join(name).join("alpha-1.0-py3-none-any.whl")).unwrap();
    assert_eq!(bytes("after"), bytes("before"));
    home.run(&["add", "--repo", "repo", &home.wheel("alpha", "1.3")]).fine();
}

#[tokio::test]
async fn keys_of_snapshot_alone_are_told_from_keys_that_sign_bins_too() {
    let home = home();
    let new = key("ecdsa");
    let words = ["snapshot-keys", "--good", "good.tar.zst", "--new", &new];
    let plan = recover(&home, &words).fine();
    assert!(plan.contains("recover online-keys"), "{plan}");
    let split = key("online-2");
    for role in ["timestamp", "snapshot"] {
        home.run(&[
            "role",
            "rotate",
            role,
            "--repo",
            "repo",
            "--to",
            &split,
            "--key",
            &key("root-1"),
            "--key",
            &split,
            "--key",
            &key("online"),
            "--yes",
        ])
        .fine();
    }
    home.run(&["backup", "--repo", "repo", "--to", "split.tar.zst"]).fine();
    home.run(&["download", ALPHA, "--to", "x"]).fine();
    tamper_at(&home.work().join("repo"), &[], Some(1 << 50), &["online-2"]).await;
    home.run(&["download", ALPHA, "--to", "y"]).fine();
    let words = ["snapshot-keys", "--good", "split.tar.zst", "--new", &new, "--key", &key("root-1"), "--yes"];
    let ran = recover(&home, &words);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    home.run(&["download", ALPHA, "--to", "z"]).fine();
    home.run(&["check", "--repo", "repo"]).fine();
}

#[test]
fn stolen_targets_keys_are_replaced_where_they_sign() {
    let home = home();
    let new = key("targets-2");
    let (root, old) = (key("root-1"), key("targets-1"));
    let words = [
        "targets-keys",
        "--good",
        "good.tar.zst",
        "--new",
        &new,
        "--key",
        &root,
        "--key",
        &old,
        "--key",
        &new,
        "--yes",
    ];
    let ran = recover(&home, &words);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    home.run(&["check", "--repo", "repo"]).fine();
    home.run(&["download", ALPHA, "--to", "z"]).fine();
    let id = home.run(&["--json", "key", "show", &old]).fine();
    let id: serde_json::Value = serde_json::from_str(&id).unwrap();
    let id = id.get("id").unwrap().as_str().unwrap().to_owned();
    let keys = home.run(&["--json", "key", "list", "--repo", "repo"]).fine();
    assert!(!keys.contains(&id), "{keys}");
}

#[test]
fn a_project_whose_keys_were_stolen_is_taken_back_with_the_files_that_were_good() {
    let home = Home::new();
    home.init(&["--bins", "2", "--claims"]).fine();
    home.publish("alpha", "1.0");
    home.run(&["trust", "add", "here", "repo", "--root", "repo/metadata/1.root.json"]).fine();
    let maintainer = key("ecdsa");
    home.run(&["project", "claim", "alpha", "--key", &maintainer, "--out", "alpha.claim.json"]).fine();
    home.run(&["claims", "receive", "--repo", "repo", "alpha.claim.json"]).fine();
    home.run(&["claims", "approve", "--repo", "repo", "alpha"]).fine();
    home.run(&["backup", "--repo", "repo", "--to", "good.tar.zst"]).fine();
    // The thief of that key releases.
    let wheel = home.wheel("alpha", "6.6");
    home.run(&["project", "release", "alpha", &wheel, "--key", &maintainer, "--out", "release"]).fine();
    home.run(&["claims", "receive", "--repo", "repo", "release"]).fine();
    home.run(&["download", EVIL, "--to", "evil"]).fine();
    let good = ["--good", "good.tar.zst"];
    recover(&home, &[&["compare"], &good[..]].concat()).refused(3, &["not as the good state says"]);
    let left = recover(&home, &[&["restore", "--yes"], &good[..]].concat());
    left.refused(3, &["not everything is"]);
    assert!(left.stdout.contains("left to its maintainers: alpha"), "{}", left.stdout);
    let ran = recover(&home, &[&["project-keys", "alpha", "--yes"], &good[..]].concat());
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    home.run(&["download", EVIL, "--to", "late"]).refused(3, &["no role of the repository signs"]);
    home.run(&["download", ALPHA, "--to", "good"]).fine();
    home.run(&["check", "--repo", "repo"]).fine();
    let listed = home.run(&["claims", "list", "--repo", "repo"]).fine();
    assert!(!listed.contains("alpha"), "{listed}");
}

#[test]
fn a_lost_key_leaves_its_roles_and_a_lost_root_is_told_as_such() {
    let home = home();
    let short = |name: &str| {
        let shown = home.run(&["--json", "key", "show", &key(name)]).fine();
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        shown.get("id").unwrap().as_str().unwrap().chars().take(12).collect::<String>()
    };
    let plan = recover(&home, &["lost-key", &short("root-1")]).fine();
    assert!(plan.contains("a new first root") && plan.contains("recover root"), "{plan}");
    let plan = recover(&home, &["lost-key", &short("targets-1")]).fine();
    assert!(plan.contains("name it with --new"), "{plan}");
    let (new, root, id) = (key("targets-2"), key("root-1"), short("targets-1"));
    let words = ["lost-key", &id, "--new", &new, "--key", &root, "--key", &new, "--yes"];
    let ran = recover(&home, &words);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    home.run(&["check", "--repo", "repo"]).fine();
    home.run(&["download", ALPHA, "--to", "z"]).fine();
    recover(&home, &words).fine();
}

#[test]
fn a_new_first_root_serves_those_who_trust_it_and_old_clients_refuse_when_other_keys_change() {
    let home = home();
    let (new, words) = (key("root-2"), ["root", "--root-key"]);
    let ran = recover(&home, &[&words[..], &[&new, "--yes"]].concat());
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("made root version 3"), "{}", ran.stdout);
    let plan = recover(&home, &[&words[..], &[&new]].concat()).fine();
    assert!(plan.starts_with("1. [done]"), "{plan}");
    home.run(&["check", "--repo", "repo"]).fine();
    home.run(&["fsck", "--repo", "repo", "--hash"]).fine();
    home.run(&["backup", "--repo", "repo", "--to", "after.tar.zst"]).fine();
    // The old client goes on, for nothing that it trusts has changed; then the online keys do.
    home.run(&["download", ALPHA, "--to", "a"]).fine();
    home.run(&[
        "role",
        "rotate",
        "online",
        "--repo",
        "repo",
        "--to",
        &key("online-2"),
        "--key",
        &new,
        "--key",
        &key("targets-1"),
        "--key",
        &key("online-2"),
        "--yes",
    ])
    .fine();
    home.run(&["download", ALPHA, "--to", "b"]).refused(6, &["timestamp metadata has 0 valid signature"]);
    home.run(&["trust", "remove", "here"]).fine();
    home.run(&["trust", "add", "here", "repo", "--root", "repo/metadata/3.root.json"]).fine();
    home.run(&["download", ALPHA, "--to", "c"]).fine();
    home.run(&["check", "--repo", "repo"]).fine();
    // The backup from before is of another chain, unless one of its roots is known.
    let words = ["compare", "--good", "good.tar.zst"];
    recover(&home, &words).refused(3, &["--good-root"]);
    let known =
        ["--good-root", "repo/metadata/1.root.json", "--keep", "root", "--keep", "timestamp", "--keep"];
    let known = [&known[..], &["snapshot", "--keep", "bin-n", "--keep", "recently-claimed"]].concat();
    recover(&home, &[&words[..], &known].concat()).fine();
}
