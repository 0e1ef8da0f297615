//! What the program promises to scripts around it: exit codes whoever reads, and files that say no more than they must.

#![expect(clippy::unwrap_used, reason = "a program that does not start is a test that cannot run")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;

use wheelseal::crypto::sha256;
use wheelseal::repository::{Plan, Repository, Unwatched};
use wheelseal::store::DirStore;

use crate::scene::{ALL_KEYS, example, keyring, plan};
use crate::shell::{Home, shown};

/// `repo` as it was made so many days ago; the program finds its online key.
#[expect(clippy::disallowed_methods, reason = "the program under test reads the real clock")]
fn made_days_ago(days: i64) -> Home {
    let home = Home::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = Arc::new(DirStore::create(home.work().join("repo")).await.unwrap());
        let then = chrono::Utc::now() - chrono::TimeDelta::days(days);
        let online_uris = vec![format!("file:{}", shown(&example("online")))];
        let plan = Plan { online_uris, ..plan().await };
        Repository::init(store, &plan, &keyring(&ALL_KEYS).await, then, &Unwatched).await.unwrap();
    });
    home
}

/// A home whose user trusts its repository, with a file in it that nobody signed.
fn trusting() -> Home {
    let home = Home::with_repository();
    home.run(&["trust", "add", "mine", "repo", "--root", "repo/metadata/1.root.json"]).fine();
    fs::write(home.work().join("alpha-1.0-py3-none-any.whl"), "bad").unwrap();
    home
}

// Who reads.

#[test]
fn output_that_cannot_be_written_keeps_a_refusals_code_and_makes_a_success_1() {
    let home = trusting();
    let full = ["sh", "-c", "exec \"$@\" > /dev/full", "sh"];
    let run = |arguments: &[&str]| home.run_by(&full, arguments);
    run(&["verify", "alpha-1.0-py3-none-any.whl"]).refused(3, &["1 of 1 failed"]);
    run(&["status", "--repo", "nowhere"]).refused(2, &["nowhere"]);
    for line in
        [&["status", "--repo", "repo"][..], &["status", "--repo", "repo", "--json"], &["trust", "list"]]
    {
        run(line).refused(1, &["the output could not be written"]);
    }
    let wheel = home.wheel("gamma", "1.0");
    run(&["add", "--repo", "repo", &wheel]).refused(1, &["the output could not be written"]);
    let again = home.run(&["add", "--repo", "repo", &wheel]).fine();
    assert!(again.contains("unchanged"), "it was published all the same: {again}");
}

/// The reader is gone before the program starts.
#[test]
fn a_closed_pipe_keeps_the_code() {
    let home = trusting();
    let script = "mkfifo gate; exec 3>&1; \
        { read -r _ < gate; \"$@\"; echo $? >&3; } | { exec < /dev/null; echo go > gate; }; rm gate";
    let closed = ["sh", "-c", script, "sh"];
    let lines: [(&[&str], &str); 3] = [
        (&["verify", "alpha-1.0-py3-none-any.whl"], "3\n"),
        (&["status", "--repo", "repo"], "0\n"),
        (&["status", "--repo", "nowhere"], "2\n"),
    ];
    for (line, code) in lines {
        assert_eq!(home.run_by(&closed, line).stdout, code, "{line:?}");
    }
}

// Many files at once.

/// `mirror` with both projects in it, as a mirror keeps them.
fn mirrored() -> Home {
    let home = trusting();
    for project in ["alpha", "beta"] {
        home.run(&["download", project, "--to", &format!("mirror/{project}")]).fine();
    }
    home
}

#[test]
fn a_mirror_is_verified_by_its_paths_every_file_in_it() {
    let home = mirrored();
    let files = ["mirror/alpha/alpha-1.0-py3-none-any.whl", "mirror/beta/beta-1.0-py3-none-any.whl"];
    let all = files.map(|file| format!("ok {file} is what was signed\n")).concat();
    assert_eq!(home.run(&["verify", "--below", "mirror"]).fine(), all);
    let one = home.run(&["verify", "--below", "mirror", files[1]]).fine();
    assert_eq!(one, "ok mirror/beta/beta-1.0-py3-none-any.whl is what was signed\n");
}

#[test]
fn each_bad_file_of_a_mirror_is_named_in_its_place() {
    let home = mirrored();
    let mirror = home.work().join("mirror");
    let alpha = mirror.join("alpha/alpha-1.0-py3-none-any.whl");
    let mut bytes = fs::read(&alpha).unwrap();
    bytes[0] ^= 1;
    fs::write(&alpha, bytes).unwrap();
    fs::write(mirror.join("alpha/stranger"), "").unwrap();
    symlink("alpha", mirror.join("zeta")).unwrap();
    let usage = home.run(&["verify", "--below", "mirror"]);
    usage.refused(2, &["there is no file mirror/zeta"]);
    fs::remove_file(mirror.join("zeta")).unwrap();
    let ran = home.run(&["verify", "--below", "mirror"]);
    ran.refused(3, &["2 of 3 failed"]);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(lines[0].starts_with("BAD mirror/alpha/alpha-1.0-py3-none-any.whl: "), "{lines:?}");
    assert_eq!(lines[1], "BAD mirror/alpha/stranger: no role of the repository signs \"alpha/stranger\"");
    assert_eq!(lines[2], "ok mirror/beta/beta-1.0-py3-none-any.whl is what was signed");
}

#[test]
fn a_mirror_without_files_or_a_file_outside_it_is_a_mistake() {
    let home = mirrored();
    fs::create_dir(home.work().join("empty")).unwrap();
    home.run(&["verify", "--below", "empty"]).refused(2, &["there is no file in empty"]);
    home.run(&["verify", "--below", "empty", "alpha-1.0-py3-none-any.whl"])
        .refused(2, &["alpha-1.0-py3-none-any.whl is not below empty"]);
    assert_eq!(home.run(&["verify"]).code, 2);
    assert_eq!(home.run(&["verify", "--below", "mirror", "--as", "alpha/a", "b"]).code, 2);
}

// What time does.

#[test]
fn a_bump_that_leaves_an_offline_role_due_exits_with_6() {
    let home = made_days_ago(200);
    let bumped = home.run(&["bump", "--repo", "repo"]);
    bumped.refused(6, &["due, but not signed: 4 role(s)", "root expires in", "its keys are not here"]);
    assert!(bumped.stdout.contains("timestamp"), "what can be signed is: {}", bumped.stdout);
    home.run(&["check", "--repo", "repo"]).fine();
    let offline = ["root-1", "targets-1"].map(|name| shown(&example(name)));
    home.run(&["bump", "--repo", "repo", "--key", &offline[0], "--key", &offline[1]]).fine();
    home.run(&["bump", "--repo", "repo"]).fine();
}

#[test]
fn a_bump_of_everything_exits_with_0_when_no_offline_role_is_due() {
    let home = made_days_ago(1);
    let bumped = home.run(&["bump", "--all", "--repo", "repo"]).fine();
    assert!(bumped.contains("4 bins"), "{bumped}");
}

#[test]
fn what_has_expired_is_told_by_the_code_of_status_and_check() {
    let home = made_days_ago(8);
    home.run(&["status", "--repo", "repo"]).refused(4, &["expired: 1 role(s)"]);
    home.run(&["check", "--repo", "repo"]).refused(4, &["1 problem(s) found"]);
    home.run(&["bump", "--repo", "repo"]).fine();
    home.run(&["status", "--repo", "repo"]).fine();
    home.run(&["check", "--repo", "repo"]).fine();
    // Something else besides: the code of that.
    let other = made_days_ago(31);
    other.run(&["bump", "--repo", "repo"]).fine();
    other.run(&["check", "--repo", "repo"]).fine();
    fs::write(other.work().join("repo/metadata/9.intruder.json"), "{}").unwrap();
    other.run(&["check", "--repo", "repo"]).refused(3, &["1 problem(s) found"]);
}

// Keys.

#[test]
fn a_rotation_keeps_the_threshold_if_none_is_said() {
    let home = Home::new();
    let ecdsa = shown(&example("ecdsa"));
    home.init(&["--bins", "2", "--online-key", &ecdsa, "--online-threshold", "2"]).fine();
    let (root, other) = (shown(&example("root-1")), shown(&example("online-2")));
    let rotate = ["role", "rotate", "--repo", "repo", "--key", &root, "timestamp", "--to", &other];
    home.refuses(&rotate, 2, &["timestamp has 1 key(s), so its threshold cannot be 2"]);
    let threshold = || -> serde_json::Value {
        let root = fs::read(home.work().join("repo/metadata/root.json")).unwrap();
        let root: serde_json::Value = serde_json::from_slice(&root).unwrap();
        root["signed"]["roles"]["timestamp"]["threshold"].clone()
    };
    home.run(&[&rotate[..], &["--to", &ecdsa]].concat()).fine();
    assert_eq!(threshold(), 2);
    home.run(&[&rotate[..], &["--to", &ecdsa, "--threshold", "1"]].concat()).fine();
    assert_eq!(threshold(), 1);
}

#[test]
fn an_init_refuses_a_key_in_the_folder_that_is_served() {
    let home = Home::new();
    let folder = home.work().join("repo");
    fs::create_dir_all(folder.join("keys")).unwrap();
    let key = folder.join("keys/online.pem");
    fs::copy(example("ecdsa"), &key).unwrap();
    fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
    let texts = ["keys/online.pem lies in the repository's folder, which is served to everyone"];
    for key in ["repo/keys/online.pem", "file:repo/../repo/keys/online.pem"] {
        home.init(&["--online-key", key]).refused(2, &texts);
    }
    symlink("repo/keys", home.work().join("outside")).unwrap();
    home.init(&["--online-key", "outside/online.pem"]).refused(2, &["which is served to everyone"]);
    assert!(!folder.join("metadata").exists() && !folder.join("wheelseal.toml").exists());
    fs::remove_dir_all(folder).unwrap();
    home.init(&["--bins", "2"]).fine();
}

#[test]
fn public_keys_are_not_remembered_as_online_keys() {
    let home = Home::new();
    for name in ["ecdsa", "online-2"] {
        let pem = home.run(&["key", "export", &shown(&example(name))]).fine();
        fs::write(home.work().join(format!("{name}.pub")), pem).unwrap();
    }
    home.init(&["--bins", "2", "--online-key", "pub:ecdsa.pub"]).fine();
    let settings = || fs::read_to_string(home.work().join("repo/wheelseal.toml")).unwrap();
    assert!(settings().contains("worthless-online.pem") && !settings().contains("pub"), "{}", settings());
    home.publish("alpha", "1.0");
    let (root, online) = (shown(&example("root-1")), shown(&example("online")));
    let rotate = ["role", "rotate", "--repo", "repo", "--key", &root, "timestamp"];
    // Its holder must show to hold it; until then nothing is published.
    home.run(&[&rotate[..], &["--to", &online, "--to", "pub:online-2.pub"]].concat())
        .refused(6, &["nobody has shown yet to hold the new key(s)"]);
    let join = ["ceremony", "join", "--repo", "repo", "timestamp-rotate", "--key"];
    home.run(&[&join[..], &[&shown(&example("online-2"))]].concat()).fine();
    home.run(&["ceremony", "finish", "--repo", "repo", "timestamp-rotate"]).fine();
    assert!(settings().contains("worthless-online.pem") && !settings().contains("pub"), "{}", settings());
    home.publish("alpha", "1.1");
}

#[test]
fn a_variable_of_keys_that_is_empty_is_as_good_as_unset() {
    let mut home = Home::with_repository();
    for empty in ["", " ", "  "] {
        home.set("WHEELSEAL_KEYS", empty);
        home.run(&["bump", "--all", "--repo", "repo"]).fine();
    }
}

// Trust.

#[test]
fn trust_add_says_what_is_trusted_from_now_on() {
    let home = Home::with_repository();
    let add = ["trust", "add", "mine", "repo", "--root", "repo/metadata/1.root.json"];
    let said = home.run(&add).fine();
    let hash = hex::encode(sha256(&fs::read(home.work().join("repo/metadata/1.root.json")).unwrap()));
    assert!(said.contains(&format!("trusting mine from root 1 on, SHA-256 {hash}")), "{said}");
    let key = home.run(&["key", "show", &shown(&example("root-1")), "--json"]).fine();
    let key: serde_json::Value = serde_json::from_str(&key).unwrap();
    assert!(said.contains("1 of these keys") && said.contains(key["id"].as_str().unwrap()), "{said}");
    home.run(&["trust", "remove", "mine"]).fine();
    let said = home.run(&[&add[..], &["--json"]].concat()).fine();
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["root_version"], &said["root_sha256"]), (&1.into(), &hash.into()));
    assert_eq!(said["keys"], serde_json::json!([key["id"]]));
}

/// What the state folder holds under a name was left behind by a trust that is gone.
#[test]
fn a_trust_of_the_same_name_does_not_start_from_old_state() {
    let home = Home::with_repository();
    let trust = |repo: &str| {
        home.run(&["trust", "add", "mine", repo, "--root", &format!("{repo}/metadata/1.root.json")]).fine();
    };
    trust("repo");
    home.run(&["explain", "alpha-1.0-py3-none-any.whl"]).fine();
    let left = home.state().join("wheelseal/mine");
    assert!(left.join("metadata/root.json").is_file());
    let key = |name: &str| shown(&example(name));
    let (root, targets, online) = (key("root-2"), key("targets-2"), key("online-2"));
    let keys = ["--root-key", &root, "--targets-key", &targets, "--online-key", &online];
    home.run(&[&["init", "--repo", "other", "--bins", "2"][..], &keys].concat()).fine();
    home.run(&["add", "--repo", "other", &home.wheel("delta", "1.0")]).fine();
    fs::remove_dir_all(home.work().parent().unwrap().join("config/wheelseal/trust/mine")).unwrap();
    trust("other");
    assert!(!left.join("metadata").exists());
    home.run(&["explain", "delta-1.0-py3-none-any.whl"]).fine();
    home.run(&["trust", "remove", "mine"]).fine();
    trust("repo");
    home.run(&["explain", "alpha-1.0-py3-none-any.whl"]).fine();
}

#[test]
fn explain_takes_a_local_file_for_its_name() {
    let home = trusting();
    let told = home.run(&["explain", &home.wheel("alpha", "1.0")]).fine();
    assert!(told.starts_with("alpha/alpha-1.0-py3-none-any.whl is trusted because"), "{told}");
    fs::write(home.work().join("notes.txt"), "x").unwrap();
    home.run(&["explain", "notes.txt"]).refused(2, &["notes.txt"]);
}

// Who watches.

#[test]
fn what_expires_soon_is_told_in_time_and_an_online_role_only_when_nobody_signs_it() {
    let fresh = made_days_ago(0);
    for command in ["status", "check"] {
        fresh.run(&[command, "--repo", "repo", "--within", "7d"]).fine();
        fresh.run(&[command, "--repo", "repo", "--within", "52w"]).fine();
        fresh.run(&[command, "--repo", "repo", "--within", "53w"]).refused(4, &["expire soon: root in"]);
    }
    // The timestamp lives seven days. Two of them are left: a bump should have come long ago.
    let late = made_days_ago(5);
    for command in ["status", "check"] {
        late.run(&[command, "--repo", "repo"]).fine();
        late.run(&[command, "--repo", "repo", "--within", "1d"]).fine();
        late.run(&[command, "--repo", "repo", "--within", "7d"])
            .refused(4, &["1 role(s) expire soon: timestamp in"]);
    }
    made_days_ago(8).run(&["status", "--repo", "repo"]).refused(4, &["expired: 1 role(s)"]);
    assert_eq!(late.run(&["status", "--repo", "repo", "--within", "soon"]).code, 2);
}

#[test]
fn nagios_gets_one_line_and_its_own_exit_codes() {
    let run = |home: &Home, command: &str| {
        let ran = home.run(&[command, "--repo", "repo", "--within", "7d", "--nagios"]);
        assert_eq!(ran.stdout.lines().count(), 1, "{}", ran.stdout);
        (ran.code, ran.stdout)
    };
    for (days, code, says) in [
        (0, 0, "WHEELSEAL OK - first to expire: timestamp in "),
        (5, 1, "WHEELSEAL WARNING - expires: timestamp in "),
        (8, 2, "WHEELSEAL CRITICAL - expires: timestamp has expired | "),
    ] {
        let (found, line) = run(&made_days_ago(days), "status");
        assert_eq!(found, code, "{line}");
        assert!(line.starts_with(says) && line.contains(" | 'root'="), "{line}");
    }
    let broken = made_days_ago(0);
    let wheel = broken.wheel("alpha", "1.0");
    broken.run(&["add", "--repo", "repo", &wheel]).fine();
    assert_eq!(run(&broken, "check").0, 0);
    fs::remove_dir_all(broken.work().join("repo/targets")).unwrap();
    let (code, line) = run(&broken, "check");
    assert_eq!(code, 2, "{line}");
    assert!(line.starts_with("WHEELSEAL CRITICAL - 3 problem(s) | "), "{line}");
    let nowhere = broken.run(&["status", "--repo", "nowhere", "--nagios"]);
    assert_eq!(nowhere.code, 3);
    assert!(nowhere.stdout.starts_with("WHEELSEAL UNKNOWN - "), "{}", nowhere.stdout);
}

#[test]
fn prometheus_gets_a_gauge_for_each_role() {
    let home = made_days_ago(5);
    let ran = home.run(&["check", "--repo", "repo", "--within", "7d", "--prometheus"]);
    assert_eq!(ran.code, 4);
    for line in [
        "# TYPE wheelseal_role_expires_timestamp_seconds gauge",
        "wheelseal_role_version{role=\"root\"} 1",
        "wheelseal_role_threshold{role=\"bins\"} 1",
        "wheelseal_roles_expiring 1",
        "wheelseal_problems 0",
        "wheelseal_targets 0",
    ] {
        assert!(ran.stdout.lines().any(|found| found == line), "no {line:?} in:\n{}", ran.stdout);
    }
    let form = |line: &str| {
        line.starts_with("# ") || line.rsplit_once(' ').is_some_and(|(_, value)| value.parse::<i64>().is_ok())
    };
    assert!(ran.stdout.lines().all(form), "{}", ran.stdout);
}
