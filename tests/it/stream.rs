//! `add --stdin`: file names as they come, each a publication of its own.

use std::collections::BTreeSet;

use crate::shell::{Home, Ran};

fn published(home: &Home, lines: &str, more: &[&str]) -> Ran {
    let script = format!("printf '{lines}' | \"$@\"");
    let arguments = [&["add", "--repo", "repo", "--stdin"], more].concat();
    home.run_by(&["sh", "-c", &script, "sh"], &arguments)
}

#[test]
fn each_line_is_answered_and_what_waits_shares_a_snapshot() {
    let home = Home::with_repository();
    let wheels: Vec<String> = (0..40).map(|number| home.wheel("gamma", &format!("1.{number}"))).collect();
    let ran = published(&home, &wheels.join("\\n"), &["--json"]).fine();
    let answers: Vec<serde_json::Value> =
        ran.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let files: BTreeSet<&str> = answers.iter().map(|answer| answer["file"].as_str().unwrap()).collect();
    assert_eq!(files, wheels.iter().map(String::as_str).collect());
    assert!(answers.iter().all(|answer| answer["changed"] == true));
    let snapshots: BTreeSet<u64> =
        answers.iter().map(|answer| answer["snapshot"].as_u64().unwrap()).collect();
    assert!(snapshots.len() < 40, "{snapshots:?}");
    home.run(&["check", "--repo", "repo"]).fine();
}

#[test]
fn a_refusal_is_told_on_its_line_and_hurts_no_other() {
    let home = Home::with_repository();
    let (good, same) = (home.wheel("gamma", "1.0"), home.wheel("alpha", "1.0"));
    let ran = published(&home, &format!("{good}\\n\\nnowhere.whl\\n{same}\\n"), &[]);
    ran.refused(2, &["1 of 3 files were not published"]);
    let lines: BTreeSet<&str> = ran.stdout.lines().collect();
    assert!(lines.iter().any(|line| line.starts_with(&format!("published {good} (snapshot "))), "{lines:?}");
    assert!(lines.contains(format!("unchanged {same}").as_str()), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("refused nowhere.whl: ")), "{lines:?}");
    home.run(&["check", "--repo", "repo"]).fine();
}

#[test]
fn names_on_the_command_line_do_not_go_with_it() {
    let home = Home::with_repository();
    for more in [&["--stdin", "x.whl"][..], &[]] {
        assert_eq!(home.run(&[&["add", "--repo", "repo"], more].concat()).code, 2, "{more:?}");
    }
}
