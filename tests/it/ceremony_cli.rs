//! `ceremony` and `role` as people type them: what is asked first, who may refuse, what programs read.

#![expect(clippy::unwrap_used, reason = "a text that is not as expected is a failed test")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use crate::scene::{example, files_below};
use crate::shell::{Home, Ran, shown};

fn key(name: &str) -> String {
    shown(&example(name))
}

/// A home with a repository, and the public half of each of these keys as `NAME.pub`.
fn home(keys: &[&str]) -> Home {
    let home = Home::with_repository();
    for name in keys {
        let pem = home.run(&["key", "export", &key(name)]).fine();
        fs::write(home.work().join(format!("{name}.pub")), pem).unwrap();
    }
    home
}

fn ceremony(home: &Home, words: &[&str]) -> Ran {
    home.run(&[&["ceremony"], words, &["--repo", "repo"]].concat())
}

/// A ceremony `new` that adds the key `ecdsa` to root.
fn started() -> Home {
    let home = home(&["ecdsa", "root-1"]);
    ceremony(&home, &["start", "new", "--add-key", "root=pub:ecdsa.pub"]).fine();
    home
}

fn program(home: &Home, name: &str, text: &str) -> String {
    let path = home.work().join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    shown(&path)
}

#[test]
fn nothing_is_signed_unasked_where_there_is_no_terminal() {
    let home = started();
    home.refuses(&["ceremony", "sign", "new", "--repo", "repo", "--key", &key("root-1")], 2, &["give --yes"]);
    home.refuses(&["ceremony", "abandon", "new", "--repo", "repo"], 2, &["give --yes"]);
    ceremony(&home, &["sign", "new", "--key", &key("root-1"), "--yes"]).fine();
    let again = ceremony(&home, &["sign", "new", "--key", &key("root-1"), "--yes"]);
    again.refused(2, &["has signed root already"]);
    ceremony(&home, &["sign", "new", "--key", &key("targets-2"), "--yes"]).refused(2, &["is none of root"]);
    ceremony(&home, &["abandon", "new", "--yes"]).fine();
    ceremony(&home, &["show", "new"]).refused(2, &["there is no ceremony new"]);
}

#[test]
fn openssl_signs_and_joins_with_the_bytes_of_payload() {
    let home = started();
    let sign = |what: &[&str], private: &str| {
        let payload = ceremony(&home, &[&["payload", "new"], what].concat()).fine();
        fs::write(home.work().join("payload"), payload).unwrap();
        let mut openssl = Command::new("openssl");
        openssl.args([
            "pkeyutl",
            "-sign",
            "-rawin",
            "-inkey",
            &key(private),
            "-in",
            "payload",
            "-out",
            "sig",
        ]);
        assert!(openssl.current_dir(home.work()).status().unwrap().success());
    };
    sign(&["--role", "root"], "root-1");
    let add = ["add-signature", "new", "--signature", "sig", "--role", "root", "--key"];
    ceremony(&home, &[&add[..], &["pub:ecdsa.pub"]].concat())
        .refused(3, &["the signature over root by key", "is not good"]);
    ceremony(&home, &[&add[..], &["pub:root-1.pub"]].concat()).fine();
    sign(&["--join", "pub:ecdsa.pub"], "ecdsa");
    ceremony(&home, &["add-signature", "new", "--signature", "sig", "--join", "pub:ecdsa.pub"]).fine();
    ceremony(&home, &["payload", "new", "--role", "snapshot"]).refused(2, &["does not change"]);
    ceremony(&home, &["finish", "new"]).fine();
    home.run(&["check", "--repo", "repo"]).fine();
}

#[test]
fn a_program_at_the_gate_sees_the_staged_metadata_and_may_refuse() {
    let home = started();
    ceremony(&home, &["sign", "new", "--key", &key("root-1"), "--key", &key("ecdsa"), "--yes"]).fine();
    let before = files_below(&home.work().join("repo"));
    let stern = program(&home, "refuses", "echo 'not today' >&2; exit 1");
    let sees = "test -f \"$1/metadata/2.root.json\" && test -f \"$1/metadata/timestamp.json\" && ls \"$1/metadata\" > seen";
    let sees = program(&home, "sees", sees);
    let refused = ceremony(&home, &["finish", "new", "--gate", &sees, "--gate", &stern]);
    refused.refused(3, &["refuses refuses the staged repository", "not today"]);
    assert!(files_below(&home.work().join("repo")) == before, "nothing was published");
    assert!(fs::read_to_string(home.work().join("seen")).unwrap().contains(".bins-0.json"));
    let absent = ceremony(&home, &["finish", "new", "--gate", "./no-such-program"]);
    absent.refused(3, &["no-such-program"]);
    ceremony(&home, &["finish", "new", "--gate", &sees]).fine();
    assert!(home.work().join("repo/metadata/2.root.json").exists());
}

#[test]
fn the_real_client_refuses_at_the_gate() {
    let home = started();
    ceremony(&home, &["sign", "new", "--key", &key("root-1"), "--key", &key("ecdsa"), "--yes"]).fine();
    let bins = files_below(&home.work().join("repo/metadata")).into_keys();
    let bin = bins.filter(|name| name.contains("bins-0")).max().unwrap();
    let bin = home.work().join("repo/metadata").join(bin);
    let kept = fs::read(&bin).unwrap();
    fs::remove_file(&bin).unwrap();
    home.refuses(
        &["ceremony", "finish", "new", "--repo", "repo"],
        3,
        &["the client refuses the staged repository"],
    );
    fs::write(&bin, kept).unwrap();
    ceremony(&home, &["finish", "new"]).fine();
}

#[test]
fn a_carried_file_is_verified_whenever_it_is_read() {
    let home = started();
    ceremony(&home, &["export", "new", "new.json"]).fine();
    ceremony(&home, &["export", "new", "new.json"]).refused(2, &["exists"]);
    let on_file = |words: &[&str]| home.run(&[&["ceremony"], words].concat());
    on_file(&["join", "new.json", "--key", &key("ecdsa"), "--holder", "Dora"]).fine();
    let verified = on_file(&["verify", "new.json", "--root", "repo/metadata/1.root.json"]).fine();
    assert!(verified.contains("all that is in new verifies"), "{verified}");
    on_file(&["sign", "new.json", "--key", &key("root-1"), "--root", "new.json", "--yes"])
        .refused(3, &["the root that you know"]);
    let text = fs::read_to_string(home.work().join("new.json")).unwrap();
    let edited = text.replacen("\"threshold\":1", "\"threshold\":2", 1);
    fs::write(home.work().join("edited.json"), &edited).unwrap();
    for words in [&["show", "edited.json"][..], &["status", "edited.json"], &["transcript", "edited.json"]] {
        on_file(words).refused(3, &["error: "]);
    }
    ceremony(&home, &["import", "edited.json"]).refused(3, &["error: "]);
    fs::write(home.work().join("other.json"), "{}").unwrap();
    on_file(&["show", "other.json"]).refused(3, &["no ceremony that can be used"]);
    let imported = ceremony(&home, &["import", "new.json"]).fine();
    assert!(imported.contains("Dora") && imported.contains("joined"), "{imported}");
}

#[test]
fn every_result_is_json_if_asked_for() {
    let home = started();
    ceremony(&home, &["export", "new", "new.json"]).fine();
    let json = |words: &[&str]| -> Value {
        let stdout = ceremony(&home, &[words, &["--json"]].concat()).fine();
        serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{words:?}: {stdout}"))
    };
    assert_eq!(json(&["status"]), serde_json::json!(["new"]));
    assert_eq!(json(&["plan", "--renew", "targets"])["roles"][0]["role"], "targets");
    assert_eq!(json(&["start", "other", "--bins", "8", "--dry-run"])["roles"][0]["role"], "bins");
    assert_eq!(json(&["status"]), serde_json::json!(["new"]), "a dry run leaves nothing");
    assert_eq!(json(&["join", "new", "--key", &key("ecdsa")])["new_keys"][0]["proven"], true);
    let signed = json(&["sign", "new", "--key", &key("root-1"), "--yes"]);
    assert_eq!(signed["roles"][0]["signatures"][0]["signed"].as_array().unwrap().len(), 1);
    for words in
        [&["show", "new"][..], &["verify", "new"], &["import", "new.json"], &["finish", "new", "--dry-run"]]
    {
        assert_eq!(json(words)["name"], "new", "{words:?}");
    }
    assert!(json(&["transcript", "new"])["transcript"].as_str().unwrap().starts_with("Ceremony new\n"));
    assert_eq!(json(&["finish", "new"])["root"], 2);
}

#[test]
fn role_does_at_once_what_the_keys_at_hand_allow_for_every_role() {
    let home = home(&["targets-2", "online-2", "targets-1", "online"]);
    let offline = ["--key", &key("root-1"), "--key", &key("targets-1")].map(ToOwned::to_owned);
    let role = |words: &[&str]| {
        let keys: Vec<&str> = offline.iter().map(String::as_str).collect();
        home.run(&[&["role"], words, &["--repo", "repo"], &keys[..]].concat())
    };
    for name in ["root", "targets", "bins", "claimed"] {
        role(&["add-key", name, &key("targets-2")]).fine();
        role(&["set-threshold", name, "2", "--key", &key("targets-2")]).fine();
        role(&["set-threshold", name, "1", "--key", &key("targets-2")]).fine();
        role(&["remove-key", name, "pub:targets-2.pub"]).fine();
        role(&["set-expiry", name, "400"]).fine();
        role(&["set-expiry", name, "10"]).refused(9, &["sooner than the 365 days"]);
    }
    for name in ["timestamp", "snapshot", "recently-claimed", "bin-n"] {
        role(&["add-key", name, &key("online-2")]).fine();
        role(&["remove-key", name, "pub:online.pub", "--key", &key("online-2")]).fine();
        role(&["rotate", name, "--to", &key("online")]).fine();
        role(&["set-expiry", name, "20"]).fine();
    }
    role(&["rotate", "online", "--to", &key("online-2")]).fine();
    role(&["add-key", "nobody", &key("online-2")])
        .refused(2, &["is no role", "recently-claimed, bin-n, online"]);
    role(&["remove-key", "root", "abc"]).refused(2, &["8 or more characters"]);
    home.run(&["check", "--repo", "repo"]).fine();
    let settings = fs::read_to_string(home.work().join("repo/wheelseal.toml")).unwrap();
    assert!(
        settings.contains("worthless-online-2.pem") && !settings.contains("worthless-online.pem"),
        "{settings}"
    );
    for line in ["bin_n = 20", "snapshot = 20", "timestamp = 20"] {
        assert!(settings.contains(line), "{settings}");
    }
    let wheel = home.wheel("gamma", "1.0");
    home.run(&["add", "--repo", "repo", &wheel]).fine();
}

#[test]
fn role_leaves_a_ceremony_where_keys_are_missing_and_the_same_command_goes_on_with_it() {
    let home = home(&["targets-2"]);
    let rotate = ["role", "rotate", "targets", "--repo", "repo", "--to", &key("targets-2")];
    let waits = home.run(&rotate);
    waits.refused(6, &["nothing was published yet", "wheelseal ceremony sign targets-rotate"]);
    assert!(waits.stdout.contains("targets: key added"), "{}", waits.stdout);
    let other = ["role", "rotate", "targets", "--repo", "repo", "--to", &key("ecdsa")];
    home.run(&other).refused(2, &["there is another ceremony of the name targets-rotate"]);
    ceremony(&home, &["sign", "targets-rotate", "--key", &key("root-1"), "--yes"]).fine();
    home.run(&rotate).fine();
    ceremony(&home, &["status"]).fine();
    assert_eq!(ceremony(&home, &["status"]).fine(), "");
    home.run(&["check", "--repo", "repo"]).fine();
}

#[test]
fn projects_are_claimed_promoted_and_taken_back_by_ceremonies_where_the_offline_keys_are_missing() {
    let home = Home::with_repository();
    let offline = key("targets-1");
    let waits = |words: &[&str], name: &str| {
        let waits = home.run(&[words, &["--repo", "repo"]].concat());
        waits.refused(6, &["nothing was published yet", &format!("wheelseal ceremony sign {name}")]);
        ceremony(&home, &["sign", name, "--key", &offline, "--yes"]).fine();
        ceremony(&home, &["finish", name]).fine();
    };
    waits(&["claims", "enable"], "claims-enable");
    home.run(&["trust", "add", "mine", "repo", "--root", "repo/metadata/1.root.json"]).fine();
    let owner = key("root-2");
    let claim = ["project", "claim", "alpha", "six", "--trust", "mine", "--key", &owner, "--out", "."];
    home.run(&claim).fine();
    fs::write(home.work().join("bad.json"), "{}").unwrap();
    let files = ["claims", "apply", "alpha.claim.json", "bad.json", "six.claim.json", "--repo", "repo"];
    let applied = home.run(&files);
    applied.refused(2, &["1 of 3 were refused"]);
    for text in ["claimed alpha", "refused bad.json: this is no project file", "claimed six"] {
        assert!(applied.stdout.contains(text), "no {text:?} in {}", applied.stdout);
    }
    let gate = program(&home, "no", "exit 1");
    let refused = home.run(&["claims", "promote", "--repo", "repo", "--key", &offline, "--gate", &gate]);
    refused.refused(3, &["refuses the staged repository"]);
    waits(&["claims", "promote"], "claims-promote");
    let list = home.run(&["claims", "list", "--repo", "repo"]).fine();
    assert_eq!(list.lines().filter(|line| line.contains(" claimed ")).count(), 2, "{list}");
    waits(&["claims", "revoke", "six"], "revoke-six");
    let list = home.run(&["claims", "list", "--repo", "repo"]).fine();
    assert!(list.contains("alpha") && !list.contains("six"), "{list}");
    home.run(&["check", "--repo", "repo"]).fine();
}
