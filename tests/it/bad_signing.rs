//! What people bring to the signing table that is wrong, on the command line: exit code, words, and a repository that is
//! as it was.
//!
//! | what | test |
//! |---|---|
//! | a signature file for another version, by a key not in the role | here |
//! | a signature over altered bytes | `ceremony_cli::openssl_signs_and_joins_with_the_bytes_of_payload` |
//! | twice by the same person | here, and one key under two ids: `ceremony::rules_hold_for_events_that_others_made_up` |
//! | a staged file edited by hand | here; a carried one: `ceremony_cli::a_carried_file_is_verified_whenever_it_is_read` |
//! | an event older than the repository | here |
//! | a claim of someone else's project, of a look-alike, of another spelling | here |
//! | a claim of a name with files of others | here |
//! | a wrong PIN, a token removed in the middle | `servers::token` |
//! | an offline role with an online key, one key twice, thresholds, expiry dates | here |
//! | a root that current clients could not follow | here, and `ceremony::rules_hold_for_events_that_others_made_up` |

#![expect(clippy::unwrap_used, reason = "input that cannot be set up is a test that cannot run")]

use std::fs;

use crate::scene::{example, files_below};
use crate::shell::{Home, Ran, shown};

fn key(name: &str) -> String {
    shown(&example(name))
}

/// A home with a repository in which projects can be claimed, and the public half of some keys as `NAME.pub`.
fn home() -> Home {
    let home = Home::new();
    home.init(&["--bins", "2", "--claims"]).fine();
    for project in ["alpha", "beta"] {
        home.publish(project, "1.0");
    }
    for name in ["root-1", "root-2", "ecdsa", "targets-2"] {
        let pem = home.run(&["key", "export", &key(name)]).fine();
        fs::write(home.work().join(format!("{name}.pub")), pem).unwrap();
    }
    home.run(&["trust", "add", "mine", "repo", "--root", "repo/metadata/1.root.json"]).fine();
    home
}

fn ceremony(home: &Home, words: &[&str]) -> Ran {
    home.run(&[&["ceremony"], words, &["--repo", "repo"]].concat())
}

fn refuses(home: &Home, words: &[&str], code: i32, texts: &[&str]) {
    home.refuses(&[&["ceremony"], words, &["--repo", "repo"]].concat(), code, texts);
}

/// A ceremony of this name that adds a key to root.
fn start(home: &Home, name: &str, key: &str) {
    ceremony(home, &["start", name, "--add-key", &format!("root=pub:{key}.pub")]).fine();
}

fn sign(home: &Home, name: &str, by: &str) {
    ceremony(home, &["sign", name, "--key", &key(by), "--yes"]).fine();
}

// Signatures.

#[test]
fn a_signature_for_another_version_or_by_a_key_that_is_not_in_the_role_is_refused() {
    let home = home();
    start(&home, "new", "ecdsa");
    let add = ["add-signature", "new", "--signature", "repo/metadata/1.root.json", "--role", "root", "--key"];
    let other = "this signature is over version 1 of root, the ceremony proposes version 2";
    refuses(&home, &[&add[..], &["pub:root-1.pub"]].concat(), 3, &[other]);
    let stranger = "is none of root, neither now nor after this ceremony";
    refuses(&home, &[&add[..], &["pub:targets-2.pub"]].concat(), 2, &[stranger]);
    refuses(&home, &["sign", "new", "--key", &key("targets-2"), "--yes"], 2, &[stranger]);
    fs::write(home.work().join("cut"), "00").unwrap();
    let cut = ["add-signature", "new", "--signature", "cut", "--role", "root", "--key", "pub:root-1.pub"];
    refuses(&home, &cut, 3, &["the signature over root by key", "is not good"]);
}

#[test]
fn who_signs_twice_counts_once() {
    let home = home();
    ceremony(&home, &["start", "more", "--add-key", "root=pub:ecdsa.pub", "--threshold", "root=2"]).fine();
    ceremony(&home, &["export", "more", "one.json"]).fine();
    ceremony(&home, &["export", "more", "two.json"]).fine();
    for file in ["one.json", "two.json"] {
        home.run(&["ceremony", "sign", file, "--key", &key("root-1"), "--yes"]).fine();
        ceremony(&home, &["import", file]).fine();
    }
    refuses(&home, &["sign", "more", "--key", &key("root-1"), "--yes"], 2, &["has signed root already"]);
    ceremony(&home, &["join", "more", "--key", &key("ecdsa")]).fine();
    let status = ceremony(&home, &["status", "more"]).fine();
    assert!(status.contains("root signed by 1 of 2 of its keys after"), "{status}");
    refuses(&home, &["finish", "more"], 6, &["root needs 2 signature(s)", "it has 1"]);
}

#[test]
fn a_staged_file_that_was_edited_after_somebody_signed_is_refused_by_every_command() {
    let home = home();
    start(&home, "new", "ecdsa");
    sign(&home, "new", "root-1");
    let staged = home.work().join("repo/staging/ceremonies/new.json");
    let good = fs::read_to_string(&staged).unwrap();
    let expires = good.find("\"expires\":\"20").unwrap() + "\"expires\":\"20".len();
    let mut edited = good.clone();
    edited.replace_range(expires..expires + 2, "99");
    fs::write(&staged, edited).unwrap();
    for words in [
        &["show", "new"][..],
        &["status", "new"],
        &["verify", "new"],
        &["payload", "new", "--role", "root"],
        &["join", "new", "--key", &key("ecdsa")],
        &["sign", "new", "--key", &key("root-1"), "--yes"],
        &["export", "new", "out.json"],
        &["transcript", "new"],
        &["finish", "new"],
    ] {
        refuses(&home, words, 3, &["the signature over root by key", "made over something else"]);
    }
    fs::write(&staged, good).unwrap();
    ceremony(&home, &["join", "new", "--key", &key("ecdsa")]).fine();
    ceremony(&home, &["finish", "new"]).fine();
}

#[test]
fn a_ceremony_that_is_older_than_the_repository_is_refused() {
    let home = home();
    start(&home, "new", "ecdsa");
    start(&home, "late", "targets-2");
    start(&home, "unsigned", "targets-2");
    for by in ["root-1", "targets-2"] {
        sign(&home, "late", by);
    }
    sign(&home, "new", "root-1");
    sign(&home, "new", "ecdsa");
    ceremony(&home, &["finish", "new"]).fine();
    let texts =
        ["root has changed since the ceremony late was started: version 2, not 1", "hint: abandon it"];
    refuses(&home, &["finish", "late"], 2, &texts);
    refuses(&home, &["finish", "late", "--dry-run"], 2, &texts);
    // Nor does anybody sign a second root of that version.
    let text = "root has changed since the ceremony unsigned was started";
    for words in [
        &["sign", "unsigned", "--key", &key("root-1"), "--yes"][..],
        &["sign", "unsigned", "--key", &key("root-1"), "--dry-run"],
        &["payload", "unsigned", "--role", "root"],
        &[
            "add-signature",
            "unsigned",
            "--role",
            "root",
            "--key",
            "pub:root-1.pub",
            "--signature",
            "root-1.pub",
        ],
    ] {
        refuses(&home, words, 2, &[text]);
    }
    ceremony(&home, &["abandon", "late", "--yes"]).fine();
}

// What is refused before anybody signs.

#[test]
fn changes_that_nobody_should_sign_are_refused_when_they_are_proposed() {
    let home = home();
    let (online, targets) = (key("online"), key("targets-1"));
    let keys = |role: &str, uri: &str| format!("{role}={uri}");
    let refused = |flags: &[&str], texts: &[&str]| {
        refuses(&home, &[&["start", "x"], flags].concat(), 9, texts);
        refuses(&home, &[&["plan"], flags].concat(), 9, texts);
    };
    refused(&["--add-key", &keys("root", &online)], &["root cannot have the key", "signs offline"]);
    refused(
        &["--add-key", &keys("timestamp", &targets)],
        &["targets cannot have the key", "timestamp, which has"],
    );
    let root = keys("root", "pub:root-1.pub");
    refused(&["--to", &root, "--to", &root], &["root is given the same key twice"]);
    refused(&["--threshold", "root=2"], &["root has 1 key(s), so its threshold cannot be 2"]);
    refused(&["--threshold", "targets=0"], &["targets has 1 key(s), so its threshold cannot be 0"]);
    refused(&["--expiry", "targets=30"], &["targets would expire on", "sooner than the 365 days"]);
}

#[test]
fn a_threshold_of_all_keys_is_warned_of() {
    let home = home();
    let flags = ["start", "all", "--add-key", "root=pub:ecdsa.pub", "--threshold", "root=2"];
    let ran = ceremony(&home, &flags);
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(
        said.contains("root needs all of its 2 key(s): one that is lost, and nobody can sign it"),
        "{said}"
    );
    ran.fine();
}

#[test]
fn a_root_that_current_clients_could_not_follow_is_neither_signed_nor_published() {
    let home = home();
    start(&home, "new", "ecdsa");
    let staged = home.work().join("repo/staging/ceremonies/new.json");
    let good = fs::read_to_string(&staged).unwrap();
    let version = "\"spec_version\":\"1.0.34\",\"version\":2}";
    assert!(good.contains(version), "{good}");
    fs::write(&staged, good.replacen(version, &version.replace(":2}", ":3}"), 1)).unwrap();
    let text = "version 3 of root does not follow version 1";
    refuses(&home, &["sign", "new", "--key", &key("root-1"), "--yes"], 9, &[text]);
    // Signed by the new keys alone, it is not for clients that trust the old ones.
    fs::write(&staged, &good).unwrap();
    ceremony(&home, &["abandon", "new", "--yes"]).fine();
    ceremony(&home, &["start", "new", "--to", "root=pub:ecdsa.pub"]).fine();
    sign(&home, "new", "ecdsa");
    refuses(
        &home,
        &["finish", "new"],
        6,
        &["root needs 1 signature(s) by keys that root now lists, it has 0"],
    );
}

// Claims.

/// Claims a project with this key, in a file of its own.
fn claim(home: &Home, project: &str, by: &str, more: &[&str]) -> String {
    let out = format!("{project}.{by}.json");
    let words = ["project", "claim", project, "--key", &key(by), "--out", &out];
    home.run(&[&words, more].concat()).fine();
    out
}

#[test]
fn a_claim_of_someone_elses_project_is_refused() {
    let home = home();
    let (hers, his) = (claim(&home, "alpha", "root-2", &[]), claim(&home, "alpha", "root-3", &[]));
    home.run(&["claims", "apply", "--repo", "repo", &hers]).fine();
    for command in ["apply", "receive"] {
        home.refuses(&["claims", command, "--repo", "repo", &his], 9, &["alpha is claimed"]);
    }
    let key = key("root-3");
    home.refuses(&["project", "claim", "alpha", "--key", &key], 2, &["alpha is claimed already"]);
}

#[test]
fn a_claim_of_another_spelling_or_of_a_look_alike_is_refused() {
    let home = home();
    let (hers, look_alike) = (claim(&home, "alpha", "root-2", &[]), claim(&home, "a1pha", "root-3", &[]));
    home.run(&["claims", "apply", "--repo", "repo", &hers]).fine();
    for spelling in ["Alpha", "ALPHA", "alpha.", "al_pha"] {
        let claim = ["project", "claim", spelling, "--key", &key("root-3")];
        home.refuses(&claim, 2, &["the project name is", spelling]);
        // Nor does a file that says so get through.
        let text = fs::read_to_string(home.work().join(&look_alike)).unwrap();
        let text = text.replacen("\"a1pha\"", &format!("\"{spelling}\""), 1);
        fs::write(home.work().join("other.json"), text).unwrap();
        home.run(&["claims", "apply", "--repo", "repo", "other.json"])
            .refused(2, &["this is no project file: the project name is", spelling]);
    }
    for command in ["apply", "receive"] {
        let words = ["claims", command, "--repo", "repo", &look_alike];
        home.refuses(&words, 9, &["a1pha looks like alpha, which others have claimed", "--look-alike"]);
    }
    home.run(&["claims", "apply", "--repo", "repo", &look_alike, "--look-alike"]).fine();
}

#[test]
fn a_claim_of_a_name_with_files_adopts_each_or_withdraws_it_and_says_so() {
    let home = home();
    let installs = |file: &str| home.run(&["download", &format!("{file}-py3-none-any.whl"), "--to", "got"]);
    let early = claim(&home, "alpha", "root-2", &[]);
    home.publish("alpha", "2.0");
    let texts = ["does not say what becomes of alpha-2.0-py3-none-any.whl"];
    home.run(&["claims", "apply", "--repo", "repo", &early]).refused(2, &texts);
    installs("alpha-1.0").fine();
    installs("alpha-2.0").fine();
    fs::remove_file(home.work().join(early)).unwrap();
    let late = claim(&home, "alpha", "root-2", &["--without", "alpha-2.0-py3-none-any.whl"]);
    home.run(&["claims", "apply", "--repo", "repo", &late]).fine();
    fs::remove_dir_all(home.work().join("got")).unwrap();
    installs("alpha-1.0").fine();
    installs("alpha-2.0").refused(3, &["alpha-2.0"]);
    assert_eq!(files_below(&home.work().join("got")).len(), 1);
}
