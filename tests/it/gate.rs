//! python-tuf at the gate of ceremonies, played by shell scripts: what becomes of each answer. What the real one answers is
//! tested in `tests/interop/test_gate.py`.

#![expect(clippy::unwrap_used, reason = "a gate that cannot be set up is a failed test")]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::scene::{example, files_below};
use crate::shell::{Home, shown};

/// A ceremony `new` that renews targets, signed; and the Python that is asked is this script.
fn signed(script: &str) -> Home {
    let mut home = Home::with_repository();
    let start = ["ceremony", "start", "new", "--renew", "targets", "--repo", "repo"];
    home.run(&start).fine();
    let key = shown(&example("targets-1"));
    home.run(&["ceremony", "sign", "new", "--repo", "repo", "--key", &key, "--yes"]).fine();
    let path = home.work().join("python");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    home.set("WHEELSEAL_PYTHON", &shown(&path));
    home
}

/// The command is refused, and clients see what they saw before.
fn stops(home: &Home, command: &[&str], texts: &[&str]) {
    let seen = || fs::read(home.work().join("repo/metadata/timestamp.json")).unwrap();
    let before = seen();
    home.run(command).refused(3, texts);
    assert!(seen() == before, "{command:?} published something");
}

const FINISH: [&str; 5] = ["ceremony", "finish", "new", "--repo", "repo"];
const DEMANDED: [&str; 7] = ["ceremony", "finish", "new", "--repo", "repo", "--gate", "python-tuf"];

/// True of the folder with the staged repository alone.
const STAGED: &str = "test -f \"$4/metadata/2.targets.json\"";

#[test]
fn python_tuf_that_finds_the_same_lets_a_ceremony_pass() {
    let home = signed("exit 0");
    let ran = home.run(&DEMANDED);
    assert!(!ran.stderr.contains("python-tuf"), "{}", ran.stderr);
    ran.fine();
}

#[test]
fn python_tuf_that_refuses_what_it_read_before_stops_a_ceremony() {
    let home = signed(&format!("if {STAGED}; then echo 'no such role' >&2; exit 1; fi"));
    let why = ["python-tuf refuses the staged repository", "no such role"];
    stops(&home, &FINISH, &why);
    stops(&home, &DEMANDED, &why);
}

#[test]
fn python_tuf_that_does_not_read_the_present_repository_either_is_no_obstacle_unless_it_is_asked_for() {
    let home = signed("echo 'too new for me' >&2; exit 1");
    stops(&home, &DEMANDED, &["python-tuf refuses the staged repository", "too new for me"]);
    let ran = home.run(&FINISH);
    let told = "python-tuf was not asked: it does not read the present repository either: too new for me";
    assert!(ran.stderr.contains(told), "{}", ran.stderr);
    ran.fine();
}

#[test]
fn python_tuf_that_is_not_there_is_told_of_and_stops_who_asks_for_it() {
    let mut home = signed("echo \"No module named 'tuf'\" >&2; exit 3");
    stops(&home, &DEMANDED, &["does not have it: No module named 'tuf'"]);
    home.set("WHEELSEAL_PYTHON", "./no-such-python");
    stops(&home, &DEMANDED, &["./no-such-python: No such file"]);
    let ran = home.run(&FINISH);
    assert!(ran.stderr.contains("python-tuf was not asked: ./no-such-python: "), "{}", ran.stderr);
    ran.fine();
}

#[test]
fn python_tuf_is_left_out_where_no_python_is_named() {
    let mut home = signed("exit 1");
    home.set("WHEELSEAL_PYTHON", "");
    stops(&home, &DEMANDED, &["no Python is named"]);
    let ran = home.run(&FINISH);
    assert!(!ran.stderr.contains("python-tuf"), "{}", ran.stderr);
    ran.fine();
}

#[test]
fn python_tuf_is_given_neither_secrets_nor_more_metadata_than_the_client_asked_for() {
    let mut home = signed(
        "env > seen; echo \"$1 $2\" >> seen; ls \"$4\" \"$4/metadata\" >> seen; cat \"$4/wanted.json\" >> seen",
    );
    home.set("WHEELSEAL_PASSPHRASE", "tell nobody");
    home.set("AWS_SECRET_ACCESS_KEY", "tell nobody");
    home.set("PYTHONPATH", "/tmp");
    home.run(&DEMANDED).fine();
    let seen = fs::read_to_string(home.work().join("seen")).unwrap();
    for absent in ["tell nobody", "PYTHONPATH", "HOME="] {
        assert!(!seen.contains(absent), "{absent} in {seen}");
    }
    for there in ["-I -c", "\nroot.json\n", "\n2.targets.json\n", "\"no-such-project/no-such-file\":null"] {
        assert!(seen.contains(there), "no {there} in {seen}");
    }
    let published = files_below(&home.work().join("repo/metadata"));
    assert!(published.contains_key("1.claimed.json") && !seen.contains("claimed.json"), "{seen}");
}
