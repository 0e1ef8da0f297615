//! The commands, with a log.

use std::fs;

use super::log_folder;
use crate::shell::Home;
use crate::simulator::run;

const ALPHA: &str = "alpha-1.0-py3-none-any.whl";

/// A home that trusts a logged repository by a pinned policy, which wants so many witnesses.
fn home(left_out: &[&str], of: usize) -> Home {
    let home = Home::with_repository();
    let policy = run(log_folder(&home.work().join("repo"), left_out, of));
    fs::write(home.work().join("policy.txt"), policy).unwrap();
    let add = ["trust", "add", "mine", "repo", "--root", "repo/metadata/1.root.json"];
    let said = home.run(&[&add[..], &["--log-policy", "policy.txt"]].concat()).fine();
    assert!(said.contains("everything must be logged: log log.example/one, "), "{said}");
    home
}

#[test]
fn a_pinned_policy_is_listed_and_one_that_does_not_read_is_refused() {
    let home = home(&[], 1);
    let listed = home.run(&["trust", "list"]).fine();
    assert!(listed.contains("log log.example/one, a quorum of 2 witnesses must have cosigned"), "{listed}");
    fs::write(home.work().join("bad.txt"), "log nonsense\nquorum none\n").unwrap();
    let add = ["trust", "add", "other", "repo", "--root", "repo/metadata/1.root.json"];
    home.run(&[&add[..], &["--log-policy", "bad.txt"]].concat())
        .refused(2, &["bad.txt: line 1 of the policy"]);
    let none = home.run(&["trust", "list"]).fine();
    assert!(!none.contains("other"), "{none}");
}

#[test]
fn files_are_downloaded_verified_and_explained_with_their_place_in_the_log() {
    let home = home(&[], 1);
    home.run(&["download", ALPHA, "--to", "got"]).fine();
    let file = format!("got/{ALPHA}");
    assert_eq!(home.run(&["verify", &file]).fine(), format!("ok {file} is what was signed and logged\n"));
    home.run(&["verify", "--offline", &file]).fine();
    let told: serde_json::Value =
        serde_json::from_str(&home.run(&["explain", "--json", ALPHA]).fine()).unwrap();
    let log = serde_json::json!({
        "origin": "log.example/one", "leaf": 0, "size": told["log"]["size"], "witnesses": ["w0"], "witnessed": true,
    });
    assert_eq!(told["log"], log);
    let explained = home.run(&["explain", &file]).fine();
    assert!(explained.contains("in log.example/one, witnessed by w0\n"), "{explained}");
}

#[test]
fn quorum_none_is_said_wherever_a_check_is() {
    let home = home(&[], 0);
    let said = "quorum none: the log of mine, log.example/one, has no witnesses";
    let got = home.run(&["download", ALPHA, "--to", "got"]);
    assert!(got.stderr.contains(said), "{got:?}");
    let verified = home.run(&["verify", &format!("got/{ALPHA}")]);
    assert!(verified.code == 0 && verified.stderr.contains(said), "{verified:?}");
    let explained = home.run(&["explain", ALPHA]).fine();
    assert!(explained.contains("quorum none: nobody else vouches for the log"), "{explained}");
}

#[test]
fn an_unlogged_file_is_refused_by_each_command_with_code_9() {
    let target = format!("alpha/{ALPHA}");
    let home = home(&[&target], 1);
    let wheel = home.wheel("alpha", "1.0");
    let hash = hex::encode(wheelseal::crypto::sha256(&fs::read(home.work().join(&wheel)).unwrap()));
    fs::write(home.work().join("locked.txt"), format!("alpha==1.0 --hash=sha256:{hash}\n")).unwrap();
    let why = format!("there is no proof that {target} was logged");
    home.run(&["download", ALPHA, "--to", "got"]).refused(9, &[&why]);
    assert!(!home.work().join("got").join(ALPHA).exists());
    home.run(&["explain", ALPHA]).refused(9, &[&why, "hint: do not install"]);
    for line in [&["verify", &wheel][..], &["verify", "--lock", "locked.txt"]] {
        let ran = home.run(line);
        assert_eq!(ran.code, 9, "{ran:?}");
        assert!(ran.stdout.contains(&why), "{ran:?}");
    }
    home.run(&["lock", "export", "locked.txt"]).refused(9, &[&why]);
    let synced = home.run(&["sync", "alpha==1.0", "--to", "folder"]);
    assert!(synced.code == 9 && synced.stderr.contains(&why), "{synced:?}");
}

#[test]
fn of_many_files_each_has_its_own_verdict_in_their_order() {
    let home = home(&[&format!("alpha/{ALPHA}")], 1);
    let (alpha, beta) = (home.wheel("alpha", "1.0"), home.wheel("beta", "1.0"));
    let ran = home.run(&["verify", &beta, &alpha, &beta]);
    let good = format!("ok {beta} is what was signed and logged\n");
    let bad = format!("BAD {alpha}: there is no proof that alpha/{ALPHA} was logged\n");
    assert_eq!((ran.code, ran.stdout), (9, format!("{good}{bad}{good}")));
}

#[test]
fn a_repository_without_a_log_is_as_ever_and_explain_says_so() {
    let home = Home::with_repository();
    home.run(&["trust", "add", "mine", "repo", "--root", "repo/metadata/1.root.json"]).fine();
    let explained = home.run(&["explain", ALPHA]).fine();
    assert!(explained.ends_with("in no transparency log that was asked for\n"), "{explained}");
}
