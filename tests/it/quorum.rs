//! Several repositories that must agree (TAP 4), as someone at a shell meets them.

#![expect(clippy::unwrap_used, reason = "a home that cannot be set up is a test that cannot run")]

use std::fs;

use crate::scene::{example, wheel};
use crate::shell::Home;

const ALPHA: &str = "alpha-1.0-py3-none-any.whl";

/// A home whose user trusts `repo` as `index`, and `second` and `third`, each with alpha and beta 1.0 in it.
fn three() -> Home {
    let home = Home::with_repository();
    home.run(&["trust", "add", "index", "repo", "--root", "repo/metadata/1.root.json"]).fine();
    let keys = ["root-1", "targets-1", "online"].map(|name| example(name).display().to_string());
    let [root, targets, online] = &keys;
    for name in ["second", "third"] {
        let keys = ["--root-key", root, "--targets-key", targets, "--online-key", online];
        home.run(&[&["init", "--repo", name, "--bins", "2"][..], &keys].concat()).fine();
        for project in ["alpha", "beta"] {
            add(&home, name, project, "1.0");
        }
        home.run(&["trust", "add", name, name, "--root", &format!("{name}/metadata/1.root.json")]).fine();
    }
    home
}

fn add(home: &Home, repository: &str, project: &str, version: &str) {
    home.run(&["add", "--repo", repository, &home.wheel(project, version)]).fine();
}

/// Publishes other bytes under the name of alpha 2.0.
fn add_other(home: &Home, repository: &str) {
    let folder = home.work().join("other");
    fs::create_dir_all(&folder).unwrap();
    let file = wheel(&folder, "alpha", "2.0", "# not the same\n").display().to_string();
    home.run(&["add", "--repo", repository, &file]).fine();
    fs::remove_dir_all(folder).unwrap();
}

/// A map file with these mappings.
fn write_map(home: &Home, mappings: &[(&str, &[&str], u32, bool)]) {
    let mappings = mappings.iter().map(|(paths, repositories, threshold, terminating)| {
        let paths: Vec<&str> = paths.split(' ').collect();
        serde_json::json!({
            "paths": paths, "repositories": repositories, "threshold": threshold, "terminating": terminating,
        })
    });
    let map = serde_json::json!({
        "repositories": {"index": [], "second": [], "third": []}, "mapping": mappings.collect::<Vec<_>>(),
    });
    fs::write(home.work().join("map.json"), map.to_string()).unwrap();
}

const ALL: &str = "*/* simple/*/*";

#[test]
fn a_file_that_enough_repositories_sign_alike_is_downloaded_and_explained_by_each() {
    let home = three();
    write_map(&home, &[(ALL, &["index", "second", "third"], 2, true)]);
    let shown = home.run(&["trust", "map", "map.json"]).fine();
    assert_eq!(shown, "*/* simple/*/*  2 of 3 must agree (index, second, third), else refused\n");
    assert_eq!(home.run(&["trust", "map"]).fine(), shown);
    let got = home.run(&["download", "alpha", "--to", "got", "--json"]).fine();
    let got: serde_json::Value = serde_json::from_str(&got).unwrap();
    assert_eq!(got[0]["agreed"], serde_json::json!(["index", "second"]));
    let explained = home.run(&["explain", ALPHA]).fine();
    assert!(explained.contains("index:\n") && explained.contains("second:\n"), "{explained}");
    assert!(explained.ends_with("2 repositories agree, 2 must\n"), "{explained}");
    let verified = home.run(&["verify", &format!("got/{ALPHA}")]).fine();
    assert_eq!(verified, format!("ok got/{ALPHA} is what was signed\n"));
}

#[test]
fn one_repository_that_signs_other_bytes_is_outvoted_and_two_that_do_stop_everything() {
    let home = three();
    write_map(&home, &[(ALL, &["index", "second", "third"], 2, true)]);
    home.run(&["trust", "map", "map.json"]).fine();
    add_other(&home, "repo");
    add(&home, "second", "alpha", "2.0");
    // The honest third does not have it yet: no two agree.
    let target = "alpha-2.0-py3-none-any.whl";
    let ran = home.run(&["download", target, "--to", "got"]);
    ran.refused(
        9,
        &["2 repositories must agree on \"alpha/alpha-2.0", "index: ", "second: ", "third: not signed"],
    );
    assert!(!home.work().join("got").join(target).exists());
    let older = home.run(&["download", "alpha", "--to", "got"]);
    assert!(older.stderr.contains("alpha-2.0-py3-none-any.whl is left out: 1 of 3"), "{older:?}");
    assert!(older.fine().contains(ALPHA));
    // Now it has, and the two outvote the index.
    add(&home, "third", "alpha", "2.0");
    home.run(&["download", "alpha", "--to", "got"]).fine();
    home.run(&["verify", &format!("got/{target}")]).fine();
    home.run(&["verify", "--trust", "index", &format!("got/{target}")]).refused(3, &["1 of 1 failed"]);
}

/// A fix that the index hides from its page is seen where others list it.
#[test]
fn what_one_repository_hides_is_found_if_enough_others_list_it() {
    let home = three();
    write_map(&home, &[(ALL, &["index", "second", "third"], 2, true)]);
    add(&home, "second", "alpha", "1.1");
    add(&home, "third", "alpha", "1.1");
    let got = home.run(&["download", "alpha", "--map", "map.json", "--to", "got"]).fine();
    assert!(got.contains("alpha-1.1-py3-none-any.whl"), "{got}");
}

/// TAP 4 would go on; but then who keeps a repository from answering could choose the mapping.
#[test]
fn a_repository_that_does_not_answer_is_no_reason_to_ask_for_less() {
    let home = three();
    let mappings: [(&str, &[&str], u32, bool); 2] =
        [("alpha/*", &["index", "second"], 2, false), (ALL, &["index"], 1, true)];
    write_map(&home, &mappings);
    let download = ["download", ALPHA, "--map", "map.json", "--to", "got"];
    home.run(&download).fine();
    fs::rename(home.work().join("second"), home.work().join("gone")).unwrap();
    fs::remove_dir_all(home.work().join("got")).unwrap();
    assert_eq!(home.run(&download).code, 7);
    assert!(!home.work().join("got").exists());
    // Of three, two are enough.
    write_map(&home, &[(ALL, &["second", "index", "third"], 2, true)]);
    home.run(&download).fine();
}

#[test]
fn the_next_mapping_is_asked_only_if_the_one_before_does_not_end_the_search() {
    let home = three();
    add(&home, "repo", "gamma", "1.0");
    let target = "gamma-1.0-py3-none-any.whl";
    let with = |terminating| {
        let mappings: [(&str, &[&str], u32, bool); 2] =
            [("gamma/*", &["second", "third"], 2, terminating), (ALL, &["index"], 1, true)];
        write_map(&home, &mappings);
        home.run(&["download", target, "--map", "map.json", "--to", "got"])
    };
    with(true).refused(3, &["no role of the repository signs \"gamma/gamma-1.0"]);
    with(false).fine();
}

#[test]
fn a_file_that_the_first_repository_lost_comes_from_the_next() {
    let home = three();
    write_map(&home, &[(ALL, &["index", "second"], 2, true)]);
    fs::remove_dir_all(home.work().join("repo/targets")).unwrap();
    home.run(&["download", ALPHA, "--map", "map.json", "--to", "got"]).fine();
    fs::remove_dir_all(home.work().join("second/targets")).unwrap();
    home.run(&["download", "beta/beta-1.0-py3-none-any.whl", "--map", "map.json", "--to", "got"])
        .refused(7, &["the repository has no"]);
}

#[test]
fn a_map_that_cannot_be_followed_is_refused_and_the_one_before_stays() {
    let home = three();
    write_map(&home, &[(ALL, &["index"], 1, true)]);
    home.run(&["trust", "map", "map.json"]).fine();
    for (text, code, says) in [
        ("{", 1, "not valid JSON"),
        (r#"{"repositories": {"fourth": []}, "mapping": []}"#, 2, "\"fourth\""),
        (
            r#"{"repositories": {"index": []}, "mapping": [{"paths": ["*/*"], "repositories": ["index"], "threshold": 2, "terminating": true}]}"#,
            1,
            "no more than there are repositories",
        ),
    ] {
        fs::write(home.work().join("bad.json"), text).unwrap();
        home.run(&["trust", "map", "bad.json"]).refused(code, &[says]);
    }
    assert!(home.run(&["trust", "map"]).fine().contains("1 of 1 must agree (index)"));
    // What no mapping names is refused, with what to do.
    write_map(&home, &[("*/*", &["index"], 1, true)]);
    home.run(&["download", "alpha", "--map", "map.json"]).refused(9, &["names no repository", "simple/*/*"]);
    home.run(&["trust", "map", "--remove"]).fine();
    home.run(&["download", "alpha"]).refused(2, &["say which with --trust: index, second, third"]);
}
