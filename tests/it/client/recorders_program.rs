//! Recorders of a trust, as someone at a shell meets them: real repositories with logs of their own.

use std::fs;

use serde_json::Value;

use crate::record::Index;
use crate::scene::{example, files_below, wheel};
use crate::shell::{Home, Ran, shown};

const ALPHA: &str = "alpha-1.0-py3-none-any.whl";
const LATER: &str = "alpha-2.0-py3-none-any.whl";
/// The index, and two who record it.
const ALL: [&str; 3] = ["repo", "second", "third"];

/// A home with an index and two recorders, each with alpha and beta 1.0 in its log, and what the recorders hand out.
fn home() -> Home {
    let home = Home::with_repository();
    for name in ALL {
        if name != "repo" {
            init(&home, name);
            for project in ["alpha", "beta"] {
                add(&home, name, project, "1.0");
            }
        }
        begin_log(&home, name);
        if name != "repo" {
            announce(&home, name);
        }
    }
    home
}

fn init(home: &Home, name: &str) {
    let [root, targets, online] = ["root-1", "targets-1", "online"].map(|name| shown(&example(name)));
    let keys = ["--root-key", &root, "--targets-key", &targets, "--online-key", &online];
    home.run(&[&["init", "--repo", name, "--bins", "2"][..], &keys].concat()).fine();
}

fn begin_log(home: &Home, name: &str) {
    let (key, origin) = (format!("{name}.pem"), format!("{name}.example/log"));
    home.run(&["key", "gen", &key, "--no-passphrase"]).fine();
    let targets = shown(&example("targets-1"));
    home.run(&["log", "init", "--repo", name, "--origin", &origin, "--key", &key, "--key", &targets]).fine();
}

/// What a recorder hands out, `NAME.toml`.
fn announce(home: &Home, name: &str) {
    let out = format!("{name}.toml");
    home.run(&["log", "announce", "--repo", name, "--url", name, "--name", name, "--output", &out]).fine();
}

fn add(home: &Home, repository: &str, project: &str, version: &str) {
    home.run(&["add", "--repo", repository, &home.wheel(project, version)]).fine();
}

/// Alpha 2.0 is published: the index has other bytes than the recorders saw.
fn swap(home: &Home) {
    let folder = home.work().join("other");
    fs::create_dir_all(&folder).unwrap();
    let file = wheel(&folder, "alpha", "2.0", "# not the same\n");
    home.run(&["add", "--repo", "repo", &shown(&file)]).fine();
    for name in ["second", "third"] {
        add(home, name, "alpha", "2.0");
    }
}

/// Trusts the index with both recorders.
fn trust(home: &Home, more: &[&str]) -> Ran {
    let add = ["trust", "add", "index", "repo", "--root", "repo/metadata/1.root.json"];
    home.run(&[&add[..], &["--recorder", "second.toml", "--recorder", "third.toml"], more].concat())
}

/// The same by a map (TAP 4): all three must agree.
fn map(home: &Home) {
    for name in ALL {
        let root = format!("{name}/metadata/1.root.json");
        home.run(&["trust", "add", &format!("as-{name}"), name, "--root", &root]).fine();
    }
    let names = ALL.map(|name| format!("as-{name}"));
    let repositories: Value = names.iter().map(|name| (name.clone(), serde_json::json!([]))).collect();
    let map = serde_json::json!({
        "repositories": repositories,
        "mapping": [{"paths": ["*/*", "simple/*/*"], "repositories": names, "threshold": 3, "terminating": true}],
    });
    fs::write(home.work().join("map.json"), map.to_string()).unwrap();
}

/// The policy of a repository, as a third person has it.
fn policy(home: &Home, repository: &str) -> String {
    let files = files_below(&home.work().join(repository));
    let (_, bytes) = files.iter().find(|(path, _)| path.ends_with("tlog-policy")).unwrap();
    let place = home.work().join(format!("{repository}-policy.txt"));
    fs::write(&place, bytes).unwrap();
    shown(&place)
}

#[test]
fn a_trust_with_recorders_says_so_and_asks_them_as_a_map_would() {
    let home = home();
    let words = "2 of 2 must have recorded each file: second, third";
    assert!(trust(&home, &[]).fine().contains(words));
    assert!(home.run(&["trust", "list"]).fine().contains(words));
    let listed: Value = serde_json::from_str(&home.run(&["trust", "list", "--json"]).fine()).unwrap();
    assert_eq!(listed["index"]["recorders"]["needed"], 2);
    assert_eq!(listed["index"]["recorders"]["members"][1]["name"], "third");
    let said = "recorded by second, third (2 of 2 must)";
    let got = home.run(&["download", ALPHA, "--to", "got"]);
    assert!(got.stderr.contains("quorum none: the log of index"), "{got:?}");
    assert_eq!(got.fine(), format!("verified got/{ALPHA}, {said}\n"));
    let file = format!("got/{ALPHA}");
    let verified = home.run(&["verify", "--offline", &file]).fine();
    assert_eq!(verified, format!("ok {file} is what was signed and logged, {said}\n"));
    assert!(home.run(&["explain", ALPHA]).fine().contains(said));
    let explained: Value = serde_json::from_str(&home.run(&["explain", "--json", ALPHA]).fine()).unwrap();
    assert_eq!(explained["recorders"]["agreed"]["third"]["origin"], "third.example/log");
    let synced = home.run(&["sync", "alpha==1.0", "--to", "folder"]);
    assert!(synced.code == 0 && synced.stderr.contains("quorum none: the log of index"), "{synced:?}");
    map(&home);
    home.run(&["download", ALPHA, "--to", "by-map", "--map", "map.json"]).fine();
    assert_eq!(
        fs::read(home.work().join(&file)).unwrap(),
        fs::read(home.work().join("by-map").join(ALPHA)).unwrap()
    );
}

#[test]
fn a_swapped_file_is_refused_with_evidence_that_a_third_person_checks_and_a_map_refuses_it_too() {
    let home = home();
    trust(&home, &[]).fine();
    swap(&home);
    let refused = home.run(&["download", LATER, "--to", "got"]);
    refused
        .refused(9, &["recorders do not agree with the index about alpha/alpha-2.0", "hint: do not install"]);
    assert!(!home.work().join("got").join(LATER).exists());
    let synced = home.run(&["sync", "alpha==2.0", "--to", "folder", "--trust", "index"]);
    assert!(synced.code == 9 && synced.stderr.contains("recorded other content"), "{synced:?}");
    map(&home);
    home.run(&["download", LATER, "--to", "got", "--map", "map.json"])
        .refused(9, &["3 repositories must agree"]);
    let (_, rest) = refused.stderr.split_once("evidence is in ").unwrap();
    let evidence = rest.split(';').next().unwrap();
    let [index, second, third] = ALL.map(|name| policy(&home, name));
    let check = |file: &str, policies: &[&str], more: &[&str]| {
        let policies = policies.iter().flat_map(|policy| ["--policy", policy]).collect::<Vec<_>>();
        home.run(&[&["log", "evidence", file][..], &policies, more].concat())
    };
    let told = check(evidence, &[&index, &second], &[]).fine();
    let says = "repo.example/log and second.example/log logged different contents of alpha/alpha-2.0";
    assert!(told.starts_with("holds ") && told.contains(says), "{told}");
    let told: Value = serde_json::from_str(&check(evidence, &[&second, &index], &["--json"]).fine()).unwrap();
    assert_eq!((&told["shows"], &told["proven"]), (&"disagree".into(), &false.into()));
    assert_eq!(told["checkpoints"][1]["leaf"]["path"], format!("alpha/{LATER}"));
    check(evidence, &[&index, &third], &[])
        .refused(9, &["no policy that was given has the log", "second.example"]);
    check(evidence, &[], &[]).refused_usage("--policy");
    check(&index, &[&index], &[]).refused(2, &["the evidence has no line"]);
    let forged = fs::read_to_string(evidence).unwrap().replacen("\"length\":", "\"length\":1", 1);
    fs::write(home.work().join("forged.txt"), forged).unwrap();
    check("forged.txt", &[&index, &second], &[]).refused(9, &["forged.txt proves nothing"]);
    let removed = home.run(&["trust", "remove", "index"]);
    let (_, kept) = removed.stderr.split_once("is kept in ").unwrap();
    let (_, name) = evidence.split_once("/evidence/").unwrap();
    let kept = shown(&std::path::Path::new(kept.trim_end()).join(name));
    assert!(!std::path::Path::new(evidence).exists());
    check(&kept, &[&index, &second], &[]).fine();
}

#[test]
fn a_recorder_that_is_away_is_no_verdict_on_a_file_and_the_others_may_be_enough() {
    let home = home();
    trust(&home, &["--recorders-needed", "2"]).fine();
    fs::rename(home.work().join("second"), home.work().join("away")).unwrap();
    let said = "2 of 2 recorders must have recorded alpha/alpha-1.0-py3-none-any.whl as it is signed, but: second: has no record of it; third: agrees";
    home.run(&["download", ALPHA, "--to", "got"]).refused(9, &[said]);
    let wheel = home.wheel("alpha", "1.0");
    let verified = home.run(&["verify", &wheel]);
    assert_eq!((verified.code, verified.stdout), (9, format!("unknown {wheel}: {said}\n")));
    home.run(&["trust", "remove", "index"]).fine();
    fs::rename(home.work().join("away"), home.work().join("second")).unwrap();
    trust(&home, &["--recorders-needed", "1"]).fine();
    fs::remove_dir_all(home.work().join("second/targets")).unwrap();
    let got = home.run(&["download", ALPHA, "--to", "got"]).fine();
    assert_eq!(got, format!("verified got/{ALPHA}, recorded by third (1 of 2 must)\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorder_that_follows_the_index_by_itself_has_the_leaves_that_clients_ask_for() {
    let index = Index::new().await;
    let (home, wheel) = tokio::task::spawn_blocking(|| {
        let home = Home::with_repository();
        begin_log(&home, "repo");
        init(&home, "second");
        begin_log(&home, "second");
        let wheel = fs::read(home.wheel("alpha", "1.0")).unwrap();
        (home, wheel)
    })
    .await
    .unwrap();
    index.lists("alpha", &[index.file(ALPHA, &wheel)]);
    let url = index.url.clone();
    tokio::task::spawn_blocking(move || {
        home.run(&["record", "--repo", "second", "--once", "--allow-private", "--index", &url]).fine();
        announce(&home, "second");
        let add = ["trust", "add", "index", "repo", "--root", "repo/metadata/1.root.json"];
        home.run(&[&add[..], &["--recorder", "second.toml"]].concat()).fine();
        let got = home.run(&["download", ALPHA, "--to", "got"]).fine();
        assert_eq!(got, format!("verified got/{ALPHA}, recorded by second (1 of 1 must)\n"));
        home.run(&["download", "beta==1.0", "--to", "got"]).refused(9, &["second: has no record of it"]);
    })
    .await
    .unwrap();
}

#[test]
fn what_a_recorder_hands_out_reads_back_and_what_it_began_with_is_in_it() {
    let home = home();
    let announce = ["log", "announce", "--repo", "second", "--url", "https://one.example/", "--json"];
    let told: Value = serde_json::from_str(&home.run(&announce).fine()).unwrap();
    assert_eq!((&told["name"], &told["since"]), (&"one.example".into(), &Value::Null));
    assert!(told["policy"].as_str().unwrap().contains("log second.example/log+"));
    let store = home.work().join("second/recorder");
    fs::create_dir_all(&store).unwrap();
    fs::write(store.join("since.json"), r#"{"origin":"repo.example/log","size":7}"#).unwrap();
    let text = home.run(&announce[..6]).fine();
    assert!(text.contains("[since]\norigin = \"repo.example/log\"\nsize = 7\n"), "{text}");
    home.run(&["log", "announce", "--repo", "second", "--url", "second"]).refused(2, &["say --name NAME"]);
    home.run(&["log", "announce", "--repo", "second", "--url", "second", "--name", "a/b"])
        .refused(2, &["is no name for a recorder"]);
    fs::write(store.join("since.json"), "{}").unwrap();
    home.run(&announce).refused(3, &["recorder/since.json does not read"]);
}

#[test]
fn recorders_that_count_for_one_are_refused() {
    let home = home();
    let third = fs::read_to_string(home.work().join("third.toml")).unwrap();
    let second = fs::read_to_string(home.work().join("second.toml")).unwrap();
    fs::write(home.work().join("third.toml"), second.replace("name = \"second\"", "name = \"twin\""))
        .unwrap();
    trust(&home, &[]).refused(2, &["have the same log, so they are not independent: twin"]);
    fs::write(home.work().join("third.toml"), &third).unwrap();
    trust(&home, &["--recorders-needed", "3"]).refused(2, &["3 recorders are needed, of 2"]);
    trust(&home, &["--recorder-grace", "10000"]).refused(2, &["10000 hours of grace"]);
    fs::write(home.work().join("third.toml"), format!("more = 1\n{third}")).unwrap();
    trust(&home, &[]).refused(2, &["third.toml: it does not read"]);
    home.run(&["trust", "add", "x", "repo", "--root", "repo/metadata/1.root.json", "--recorder-grace", "1"])
        .refused_usage("--recorder");
    assert_eq!(home.run(&["trust", "list"]).fine(), "");
}
