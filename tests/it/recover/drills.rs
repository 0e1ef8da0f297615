//! Drills: the whole playbook on a copy, and nothing of the repository touched.

use super::*;
use crate::scene::{example, files_below};
use crate::shell::{Home, shown};

const PLAYBOOKS: [&[&str]; 5] =
    [&["lost-key"], &["online-keys"], &["snapshot-keys"], &["targets-keys"], &["root"]];

/// A repository with several root keys, of which two must sign, and two projects.
fn home() -> Home {
    let home = Home::new();
    let keys = ["root-2", "root-3"].map(|name| shown(&example(name)));
    let [second, third] = &keys;
    home.init(&[
        "--bins",
        "4",
        "--root-key",
        second,
        "--root-key",
        third,
        "--root-threshold",
        "2",
        "--claims",
    ])
    .fine();
    home.publish("alpha", "1.0");
    home.publish("beta", "1.0");
    home
}

#[test]
fn every_drill_comes_to_its_end_and_changes_no_byte() {
    let home = home();
    let before = files_below(&home.work());
    for playbook in PLAYBOOKS {
        let ran = home.run(&[&["--json", "recover"], playbook, &["--drill", "--repo", "repo"]].concat());
        assert_eq!(ran.code, 0, "{playbook:?}: {}{}", ran.stdout, ran.stderr);
        let said: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        let steps = said.get("steps").unwrap().as_array().unwrap();
        assert!(steps.iter().all(|step| step.get("ok").unwrap().as_bool().unwrap()), "{said}");
        let text = said.to_string();
        assert!(text.contains("a client without memory"), "{text}");
        if ["online-keys", "root"].contains(playbook.first().unwrap()) {
            assert!(text.contains("is refused by all of them"), "{text}");
            assert!(text.contains("what the old keys sign"), "{text}");
        }
        assert!(files_below(&home.work()) == before, "{playbook:?} changed something");
    }
}

#[test]
fn a_drill_says_who_must_sign_and_needs_no_project_to_run() {
    let home = Home::new();
    home.init(&["--bins", "2"]).fine();
    let ran = home.run(&["recover", "online-keys", "--drill", "--repo", "repo"]).fine();
    assert!(ran.contains("needs 1 of 1 root key(s), 1 of 1 targets key(s), 1 of 1 bins key(s)"), "{ran}");
    assert!(ran.contains("there is no file to ask for"), "{ran}");
}

#[test]
fn a_drill_that_fails_says_so_and_the_keys_of_projects_have_none() {
    let home = home();
    let refused = home.run(&["recover", "project-keys", "alpha", "--drill", "--repo", "repo"]);
    refused.refused(2, &["there is no drill of it"]);
    let bins = files_below(&home.work().join("repo/metadata")).into_keys();
    let bin = bins.filter(|name| name.contains("bins-3")).max().unwrap();
    fs::remove_file(home.work().join("repo/metadata").join(bin)).unwrap();
    let failed = home.run(&["recover", "online-keys", "--drill", "--repo", "repo"]);
    failed.refused(1, &["the drill failed"]);
    assert!(failed.stdout.contains("failed"), "{}", failed.stdout);
}
