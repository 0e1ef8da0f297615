//! `exec` and `proxy env` as programs: the environment of the command, its end, the summary.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::shell::Home;

/// A home that trusts an index which nobody asks.
fn home() -> Home {
    let mut home = Home::with_repository();
    let url = "https://index.test/simple/";
    home.run(&["trust", "add", "mine", "--index", url, "--root", "repo/metadata/1.root.json"]).fine();
    home.set("WHEELSEAL_CACHE", &home.work().join("cache").display().to_string());
    home
}

fn exec<'a>(flags: &[&'a str], script: &'a str) -> Vec<&'a str> {
    [&["exec"], flags, &["--", "sh", "-c", script]].concat()
}

#[test]
fn trust_add_takes_the_address_of_an_index() {
    let home = home();
    let kept = fs::read_to_string(home.work().join("../config/wheelseal/trust/mine/trust.toml")).unwrap();
    let expected = "url = \"https://index.test/\"\nmetadata = \"https://index.test/metadata/\"\n\
        targets = \"https://index.test/targets/\"\n";
    assert_eq!(kept, expected);
    let add = |more: &[&str]| {
        home.run(&[&["trust", "add", "other", "--root", "repo/metadata/1.root.json"], more].concat())
    };
    let ran = add(&[]);
    assert!(ran.code == 2 && ran.stderr.contains("<URL>"), "{ran:?}");
    add(&["--index", "index.test/simple/"]).refused(2, &["it begins with https:// or http://"]);
    add(&["--index", "https://index.test/pypi/+simple", "--metadata-url", "https://tuf.test/m"]).fine();
    let kept = fs::read_to_string(home.work().join("../config/wheelseal/trust/other/trust.toml")).unwrap();
    assert!(kept.contains("index = \"https://index.test/pypi/+simple/\"\n"), "{kept}");
    assert!(kept.contains("metadata = \"https://tuf.test/m\"\n"), "{kept}");
}

#[test]
fn a_password_in_the_address_of_an_index_is_kept_for_this_user_and_never_shown() {
    let home = Home::with_repository();
    let url = "http://ann:open%20sesame@127.0.0.1:1/simple/";
    let add = ["trust", "add", "mine", "--index", url, "--root", "repo/metadata/1.root.json"];
    for (line, code, text) in [
        (&add[..], 0, "trusting mine"),
        (&["trust", "list"], 0, "http://127.0.0.1:1/"),
        (&["trust", "list", "--json"], 0, "http://127.0.0.1:1/"),
        (&add, 2, "trusted already, for http://127.0.0.1:1/"),
        (&["download", "alpha"], 7, "fetching http://127.0.0.1:1/metadata/"),
    ] {
        let ran = home.run(line);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(ran.code == code && said.contains(text), "{line:?}: {} {said}", ran.code);
        assert!(!said.contains("ann") && !said.contains("sesame"), "{said}");
    }
    let folder = home.work().join("../config/wheelseal/trust/mine");
    assert_eq!(fs::metadata(folder).unwrap().permissions().mode() & 0o077, 0);
}

#[test]
fn the_command_ends_as_it_would_without_us() {
    let home = home();
    for (script, code) in
        [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -TERM $$", 143), ("kill -9 $$", 137)]
    {
        let ran = home.run(&exec(&[], script));
        assert_eq!((ran.code, ran.stderr.as_str()), (code, ""), "{script}");
    }
    home.run(&["exec", "--", "nonesuch-program"]).refused(127, &["nonesuch-program"]);
    home.run(&["exec", "--", "/dev/null"]).refused(126, &["/dev/null"]);
    let ran = home.run(&["exec"]);
    assert!(ran.code == 2 && ran.stderr.contains("COMMAND"), "{ran:?}");
}

#[test]
fn a_proxy_of_an_unknown_kind_that_was_set_is_not_gone_around() {
    let mut home = home();
    home.set("ALL_PROXY", "socks://ann:sesame@127.0.0.1:1");
    let ran = home.run(&exec(&[], "echo ran"));
    ran.refused(
        2,
        &["ALL_PROXY names no proxy of a kind that is known here: http, https, socks5 or socks5h"],
    );
    assert!(!ran.stderr.contains("sesame") && ran.stdout.is_empty(), "{ran:?}");
    home.set("HTTPS_PROXY", "socks5h://127.0.0.1:1");
    home.set("HTTP_PROXY", "http://127.0.0.1:1");
    assert_eq!(home.run(&exec(&[], "exit 7")).code, 7, "ALL_PROXY counts no more");
}

#[test]
fn a_signal_for_us_reaches_the_command() {
    let home = home();
    for (signal, code) in [("TERM", 42), ("INT", 42), ("HUP", 42)] {
        let script = format!("trap 'exit 42' {signal}; kill -{signal} $PPID; while :; do sleep 0.05; done");
        assert_eq!(home.run(&exec(&[], &script)).code, code, "{signal}");
    }
}

#[test]
fn everything_in_the_environment_points_to_the_proxy_and_its_ca() {
    let mut home = home();
    home.set("NO_PROXY", "index.test");
    home.set("no_proxy", "*");
    let roots = home.work().join("own.pem").display().to_string();
    fs::write(&roots, "own roots\n").unwrap();
    home.set("REQUESTS_CA_BUNDLE", &roots);
    let printed = home.run(&exec(&[], "env; for f in \"$SSL_CERT_FILE\" \"$REQUESTS_CA_BUNDLE\" \"$NODE_EXTRA_CA_CERTS\"; do echo \"FILE $f\"; cat \"$f\"; stat -c %a \"$(dirname \"$f\")\"; done")).fine();
    let value = |name: &str| {
        let line = printed.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        line.map(ToOwned::to_owned)
    };
    let address = value("HTTPS_PROXY").unwrap();
    assert!(address.starts_with("http://wheelseal:") && address.contains("@127.0.0.1:"), "{address}");
    for name in ["https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "PIP_PROXY"] {
        assert_eq!(value(name), Some(address.clone()), "{name}");
    }
    assert_eq!((value("NO_PROXY"), value("no_proxy")), (None, None));
    for name in ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"] {
        assert!(value(name).unwrap().ends_with(&format!("/{name}.pem")), "{name}");
    }
    for name in ["PIP_CACHE_DIR", "UV_CACHE_DIR", "POETRY_CACHE_DIR", "PDM_CACHE_DIR"] {
        let own = home.work().join("cache/tools").display().to_string();
        assert!(value(name).unwrap().starts_with(&own), "{name}");
    }
    let files: Vec<&str> = printed.split("FILE ").skip(1).collect();
    assert!(files.iter().all(|file| file.trim_end().ends_with("\n700")), "{files:?}");
    assert!(files.iter().all(|file| file.contains("-----BEGIN CERTIFICATE-----")));
    assert!(files[1].contains("own roots\n-----BEGIN"), "{}", files[1]);
    let gone = files[0].lines().next().unwrap();
    assert!(!std::path::Path::new(gone).exists(), "{gone} is left behind");
    let kept = home.run(&exec(&["--keep-caches"], "echo \"<$UV_CACHE_DIR>\"")).fine();
    assert_eq!(kept, "<>\n");
}

#[test]
fn caches_of_tools_change_with_what_is_trusted() {
    let home = home();
    let caches = || home.run(&exec(&[], "echo $UV_CACHE_DIR")).fine();
    let before = caches();
    assert_eq!(caches(), before);
    let other = [
        "trust",
        "add",
        "other",
        "--index",
        "https://other.test/simple/",
        "--root",
        "repo/metadata/1.root.json",
    ];
    home.run(&other).fine();
    assert_ne!(caches(), before);
    home.run(&["trust", "remove", "other"]).fine();
    assert_eq!(caches(), before);
}

#[test]
fn without_a_trust_or_with_two_for_one_place_nothing_is_run() {
    let home = Home::with_repository();
    home.run(&exec(&[], "echo ran")).refused(2, &["no repository is trusted yet"]);
    for name in ["one", "two"] {
        let url = "https://index.test/simple/";
        home.run(&["trust", "add", name, "--index", url, "--root", "repo/metadata/1.root.json"]).fine();
    }
    let ran = home.run(&exec(&[], "echo ran"));
    ran.refused(2, &["one and two are trusts for the same index"]);
    assert_eq!(ran.stdout, "");
    assert_eq!(home.run(&exec(&["--trust", "two"], "echo ran")).fine(), "ran\n");
    home.run(&exec(&["--trust", "three"], "echo ran")).refused(2, &["three"]);
}

#[test]
fn a_map_file_is_not_passed_over_in_silence() {
    let home = home();
    let map = r#"{"repositories": {"mine": ["https://index.test/"]}, "mapping": [{"paths": ["*/*"], "repositories": ["mine"], "threshold": 1, "terminating": true}]}"#;
    fs::write(home.work().join("map.json"), map).unwrap();
    home.run(&["trust", "map", "map.json"]).fine();
    home.run(&exec(&[], "true")).refused(2, &["say with --trust"]);
    home.run(&exec(&["--trust", "mine"], "true")).fine();
}

#[test]
fn a_folder_is_named_as_not_verified() {
    let home = home();
    home.run(&["trust", "add", "local", "repo", "--root", "repo/metadata/1.root.json"]).fine();
    let ran = home.run(&exec(&[], "true"));
    assert_eq!(ran.code, 0);
    assert_eq!(ran.stderr, "local is a folder, which tools read without asking a proxy: not verified\n");
}

#[test]
fn an_empty_run_has_an_empty_report() {
    let home = home();
    home.run(&exec(&["--report", "report.json"], "exit 5"));
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(home.work().join("report.json")).unwrap()).unwrap();
    let expected = serde_json::json!({"files": [], "files_left_out": 0, "refused": [], "unverified": []});
    assert_eq!(report, expected);
}

#[test]
fn proxy_env_prints_what_a_shell_reads() {
    let home = home();
    let url = "http://127.0.0.1:4580/mine/simple/";
    let expected = format!("export PIP_INDEX_URL={url}\nexport UV_DEFAULT_INDEX={url}\n");
    assert_eq!(home.run(&["proxy", "env"]).fine(), expected);
    let other = home.run(&["proxy", "env", "--port", "9", "--trust", "mine"]).fine();
    assert_eq!(other, expected.replace("4580", "9"));
    home.run(&["proxy", "env", "--trust", "nobody"]).refused(2, &["nobody"]);
}
