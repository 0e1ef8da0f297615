//! Keys behind a program of one's own: one that signs with openssl, as docs/operating.md shows it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::scene::example;
use crate::shell::{Home, shown};

/// The script of docs/operating.md, with a key beside it.
fn signer(home: &Home) -> String {
    let manual = include_str!("../../docs/operating.md");
    let script =
        manual.split("```sh\n#!/bin/sh\n# sign-with-openssl").nth(1).unwrap().split("```").next().unwrap();
    let (program, key) = (home.work().join("sign"), home.work().join("key.pem"));
    fs::write(&program, format!("#!/bin/sh\n# sign-with-openssl{script}")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let make = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out"];
    let made = Command::new("openssl").args(make).arg(&key).output();
    assert!(made.unwrap().status.success());
    format!("exec:{}", shown(&program))
}

#[test]
fn a_program_with_openssl_signs_a_repository_and_publishes() {
    let mut home = Home::new();
    let program = signer(&home);
    home.set("SIGN_KEY", &shown(&home.work().join("key.pem")));
    assert!(home.run(&["key", "show", &program]).fine().contains("ECDSA P-256"));
    let [root, targets] = ["root-1", "targets-1"].map(|name| shown(&example(name)));
    let keys = ["--root-key", &root, "--targets-key", &targets, "--online-key", &program];
    home.run(&[&["init", "--repo", "repo", "--bins", "4"], &keys[..]].concat()).fine();
    // The settings of a repository cannot make a machine run something.
    let wheel = home.wheel("alpha", "1.0");
    let texts =
        ["not using online key exec:", "names code to run, which the settings of a repository may not"];
    home.run(&["add", "--repo", "repo", &wheel]).refused(6, &texts);
    home.set("WHEELSEAL_KEYS", &program);
    home.run(&["add", "--repo", "repo", &wheel]).fine();
    home.run(&["bump", "--repo", "repo", "--all"]).fine();
    home.run(&["check", "--repo", "repo"]).fine();
}
