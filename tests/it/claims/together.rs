//! PEP 480's rules on concurrent transactions, kept by the one swap: several processes apply what maintainers sent at once.
//!
//! | rule | what is never worked on at once | test |
//! |---|---|---|
//! | 1 | one project | `of_two_releases_of_one_project_at_once_one_wins_and_the_other_changes_nothing` |
//! | 2 | unclaimed projects of one bin | `unclaimed_projects_of_one_bin_are_published_at_once_and_all_are_there` |
//! | 3 | new recently claimed projects | `new_claims_and_promotions_at_once_lose_none` |
//! | 4 | new claimed projects | the same |
//! | 5 | a new claimed and a new recently claimed project | the same |

use std::fs;
use std::process::Stdio;

use crate::scene::{example, files_below};
use crate::shell::{Home, shown};

/// A home with two claimed projects, whose user trusts the repository.
fn home() -> Home {
    let home = Home::new();
    home.init(&["--bins", "2", "--claims"]).fine();
    home.publish("alpha", "1.0");
    home.publish("beta", "1.0");
    home.run(&["trust", "add", "mine", "repo", "--root", "repo/metadata/1.root.json"]).fine();
    for project in ["alpha", "beta"] {
        let key = shown(&example("root-2"));
        home.run(&["project", "claim", project, "--key", &key]).fine();
        home.run(&["claims", "apply", "--repo", "repo", &format!("{project}.claim.json")]).fine();
    }
    home
}

fn signed(home: &Home, project: &str, version: &str, out: &str) {
    let wheel = home.wheel(project, version);
    let key = shown(&example("root-2"));
    home.run(&["project", "release", project, &wheel, "--key", &key, "--out", out]).fine();
}

/// Runs these at the same time; the exit code of each.
fn at_once(home: &Home, lines: &[Vec<String>]) -> Vec<i32> {
    let started: Vec<_> = lines
        .iter()
        .map(|line| {
            let arguments: Vec<&str> = line.iter().map(String::as_str).collect();
            let mut command = home.command(&[], &arguments);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    started.into_iter().map(|mut child| child.wait().unwrap().code().unwrap()).collect()
}

fn receive(folder: &str) -> Vec<String> {
    ["claims", "receive", "--repo", "repo", folder].map(ToOwned::to_owned).to_vec()
}

#[test]
fn of_two_releases_of_one_project_at_once_one_wins_and_the_other_changes_nothing() {
    let home = home();
    signed(&home, "alpha", "2.0", "first");
    signed(&home, "alpha", "3.0", "second");
    let mut codes = at_once(&home, &[receive("first"), receive("second")]);
    codes.sort_unstable();
    assert_eq!(codes[0], 0, "{codes:?}");
    assert_ne!(codes[1], 0, "{codes:?}");
    home.run(&["check", "--repo", "repo"]).fine();
    let page = fs::read_to_string(home.work().join("repo/simple/alpha/index.json")).unwrap();
    assert_ne!(page.contains("alpha-2.0"), page.contains("alpha-3.0"), "{page}");
}

#[test]
fn releases_claims_and_publications_of_several_projects_at_once_all_arrive() {
    let home = home();
    signed(&home, "alpha", "2.0", "first");
    signed(&home, "beta", "2.0", "second");
    let key = shown(&example("root-3"));
    home.run(&["project", "claim", "gamma", "--key", &key]).fine();
    let line = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let delta = home.wheel("delta", "1.0");
    let codes = at_once(
        &home,
        &[
            receive("first"),
            receive("second"),
            line(&["claims", "apply", "--repo", "repo", "gamma.claim.json"]),
            line(&["add", "--repo", "repo", &delta]),
        ],
    );
    assert_eq!(codes, [0, 0, 0, 0]);
    home.run(&["check", "--repo", "repo"]).fine();
    let list = home.run(&["claims", "list", "--repo", "repo"]).fine();
    assert_eq!(list.matches("recently-claimed").count(), 3, "{list}");
    for file in ["alpha-2.0", "beta-2.0", "delta-1.0"] {
        home.run(&["download", &format!("{file}-py3-none-any.whl"), "--to", "got"]).fine();
    }
    assert_eq!(files_below(&home.work().join("got")).len(), 3);
}

#[test]
fn unclaimed_projects_of_one_bin_are_published_at_once_and_all_are_there() {
    let home = home();
    // Of four projects in two bins, two share one.
    let projects = ["gamma", "delta", "epsilon", "zeta"];
    let add = |project: &&str| {
        ["add", "--repo", "repo", &home.wheel(project, "1.0")].map(ToOwned::to_owned).to_vec()
    };
    let lines: Vec<_> = projects.iter().map(add).collect();
    assert_eq!(at_once(&home, &lines), [0, 0, 0, 0]);
    home.run(&["check", "--repo", "repo"]).fine();
    for project in projects {
        home.run(&["download", &format!("{project}-1.0-py3-none-any.whl"), "--to", "got"]).fine();
    }
}

#[test]
fn new_claims_and_promotions_at_once_lose_none() {
    let home = home();
    let (key, offline) = (shown(&example("root-3")), shown(&example("targets-1")));
    for project in ["gamma", "delta"] {
        home.run(&["project", "claim", project, "--key", &key]).fine();
    }
    let line = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let promote = |project: &str, name: &str| {
        line(&["claims", "promote", "--repo", "repo", "--key", &offline, "--name", name, project])
    };
    let apply =
        |project: &str| line(&["claims", "apply", "--repo", "repo", &format!("{project}.claim.json")]);
    let lines = [apply("gamma"), apply("delta"), promote("alpha", "one"), promote("beta", "two")];
    let codes = at_once(&home, &lines);
    assert_eq!(codes[..2], [0, 0], "{codes:?}");
    // Two promotions sign the same version of one bucket: whoever is late is told, and does it again.
    for (line, code) in lines.iter().zip(codes).skip(2) {
        if code != 0 {
            let words: Vec<&str> = line.iter().map(String::as_str).collect();
            home.run(&words).fine();
        }
    }
    home.run(&["check", "--repo", "repo"]).fine();
    let list = home.run(&["claims", "list", "--repo", "repo"]).fine();
    for (project, by) in
        [("alpha", "claimed"), ("beta", "claimed"), ("gamma", "recently"), ("delta", "recently")]
    {
        let told = list.lines().find(|line| line.starts_with(project)).unwrap();
        let family = told.split_whitespace().nth(1).unwrap();
        assert!(family.starts_with(by), "{list}");
    }
}
