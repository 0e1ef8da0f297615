//! `log init` as people type it.

use std::fs;

use crate::scene::{example, files_below};
use crate::shell::{Home, shown};

fn init(home: &Home, words: &[&str]) -> crate::shell::Ran {
    home.run(&[&["log", "init", "--repo", "repo"], words].concat())
}

#[test]
fn a_log_with_the_keys_of_targets_at_hand_is_done_at_once_and_add_goes_on() {
    let home = Home::with_repository();
    let (log, targets) = (shown(&example("log")), shown(&example("targets-1")));
    let ran = init(&home, &["--key", &log, "--key", &targets, "--origin", "index.example/log"]);
    assert!(
        ran.stderr.contains("7 leaves are logged in index.example/log, the last of them snapshot 4"),
        "{ran:?}"
    );
    ran.fine();
    let settings = fs::read_to_string(home.work().join("repo/wheelseal.toml")).unwrap();
    assert!(settings.contains("[log]\norigin = \"index.example/log\"\n"), "{settings}");
    let files = files_below(&home.work());
    assert!(files.keys().any(|path| path.ends_with(".tlog-policy")));
    home.publish("gamma", "1.0");
    // Without witnesses the client that is asked before a ceremony reads tiles.
    home.run(&["claims", "enable", "--repo", "repo", "--key", &targets]).fine();
    home.run(&["bump", "--all", "--repo", "repo"]).fine();
    home.run(&["check", "--repo", "repo"]).fine();
    home.run(&["fsck", "--repo", "repo"]).fine();
    let proof = files_below(&home.work())
        .into_keys()
        .find(|path| path.ends_with("gamma-1.0-py3-none-any.whl.tlog-proof"));
    fs::remove_file(home.work().join(proof.unwrap())).unwrap();
    assert!(init(&home, &["--proofs"]).fine().contains("each file of the log of"));
    init(&home, &["--key", &log, "--origin", "other.example"])
        .refused(9, &["logged in index.example/log already"]);
}

#[test]
fn without_the_keys_of_targets_a_ceremony_waits_for_them() {
    let home = Home::with_repository();
    let (log, targets) = (shown(&example("log")), shown(&example("targets-1")));
    init(&home, &["--key", &log]).refused(6, &["nothing was published yet"]);
    home.publish("gamma", "1.0");
    let told = home.run(&["ceremony", "show", "log-policy", "--repo", "repo"]).fine();
    assert!(told.contains("all files are logged in wheelseal.invalid/"), "{told}");
    assert!(told.contains("quorum none: no witness is asked"), "{told}");
    home.run(&["ceremony", "sign", "log-policy", "--repo", "repo", "--key", &targets, "--yes"]).fine();
    home.run(&["ceremony", "finish", "log-policy", "--repo", "repo"]).fine();
    home.run(&["check", "--repo", "repo"]).fine();
}

#[test]
fn the_logs_key_is_one_that_no_role_has() {
    let home = Home::with_repository();
    let (log, targets, other) =
        (shown(&example("log")), shown(&example("targets-1")), shown(&example("root-2")));
    let ecdsa = shown(&example("ecdsa"));
    for keys in [&[][..], &["--key", &targets]] {
        home.refuses(
            &[&["log", "init", "--repo", "repo"], keys].concat(),
            2,
            &["give the log's key with --key"],
        );
    }
    let two = ["log", "init", "--repo", "repo", "--key", &log, "--key", &other];
    home.refuses(&two, 2, &["a log has one key"]);
    home.refuses(&["log", "init", "--repo", "repo", "--key", &ecdsa], 2, &["must be Ed25519"]);
    let bad = ["log", "init", "--repo", "repo", "--key", &log, "--witness", "nobody"];
    home.refuses(&bad, 2, &["--witness: \"nobody\" is no verifier key"]);
}

#[test]
fn without_the_logs_key_on_this_machine_nothing_is_published_and_a_variable_names_another() {
    let mut home = Home::with_repository();
    let (log, targets) = (home.work().join("log.pem"), shown(&example("targets-1")));
    fs::copy(example("log"), home.work().join("worthless-log.pem")).unwrap();
    init(&home, &["--key", "worthless-log.pem", "--key", &targets]).fine();
    fs::rename(home.work().join("worthless-log.pem"), &log).unwrap();
    let wheel = home.wheel("gamma", "1.0");
    home.run(&["add", "--repo", "repo", &wheel]).refused(9, &["the log's key is not at hand"]);
    home.set("WHEELSEAL_LOG_KEY", &shown(&example("log")));
    home.run(&["add", "--repo", "repo", &wheel]).fine();
}
