//! What the program prints, word by word. Dates, paths and hashes that differ from run to run are taken out.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a text that is not as expected is a failed test"
)]

use std::fs;

use crate::scene::example;
use crate::shell::{Home, Ran, shown};

/// Every command, with the words of those that have commands of their own.
const COMMANDS: &[&[&str]] = &[
    &["init"],
    &["key"],
    &["key", "gen"],
    &["key", "list"],
    &["key", "show"],
    &["key", "export"],
    &["add"],
    &["import"],
    &["remove"],
    &["yank"],
    &["bump"],
    &["status"],
    &["check"],
    &["check-store"],
    &["fsck"],
    &["gc"],
    &["backup"],
    &["restore"],
    &["recover"],
    &["recover", "lost-key"],
    &["recover", "online-keys"],
    &["recover", "snapshot-keys"],
    &["recover", "targets-keys"],
    &["recover", "project-keys"],
    &["recover", "root"],
    &["recover", "compare"],
    &["recover", "restore"],
    &["recover", "first-root"],
    &["diff"],
    &["compress"],
    &["log"],
    &["log", "status"],
    &["log", "init"],
    &["log", "prove"],
    &["log", "verify"],
    &["log", "consistency"],
    &["log", "find"],
    &["serve"],
    &["token"],
    &["token", "create"],
    &["token", "list"],
    &["token", "revoke"],
    &["journal"],
    &["journal", "show"],
    &["journal", "export"],
    &["journal", "disclose"],
    &["journal", "downloads"],
    &["journal", "expire"],
    &["journal", "erase"],
    &["journal", "block"],
    &["journal", "unblock"],
    &["journal", "blocks"],
    &["journal", "key"],
    &["journal", "key", "new"],
    &["journal", "key", "list"],
    &["journal", "key", "rotate"],
    &["bins"],
    &["bins", "resize"],
    &["role"],
    &["role", "add-key"],
    &["role", "remove-key"],
    &["role", "rotate"],
    &["role", "set-threshold"],
    &["role", "set-expiry"],
    &["ceremony"],
    &["ceremony", "plan"],
    &["ceremony", "start"],
    &["ceremony", "show"],
    &["ceremony", "status"],
    &["ceremony", "join"],
    &["ceremony", "sign"],
    &["ceremony", "payload"],
    &["ceremony", "add-signature"],
    &["ceremony", "verify"],
    &["ceremony", "finish"],
    &["ceremony", "transcript"],
    &["ceremony", "export"],
    &["ceremony", "import"],
    &["ceremony", "abandon"],
    &["claims"],
    &["claims", "enable"],
    &["claims", "receive"],
    &["claims", "apply"],
    &["claims", "list"],
    &["claims", "staged"],
    &["claims", "approve"],
    &["claims", "promote"],
    &["claims", "revoke"],
    &["project"],
    &["project", "claim"],
    &["project", "release"],
    &["project", "cosign"],
    &["project", "send"],
    &["project", "add-maintainer"],
    &["project", "remove-maintainer"],
    &["project", "rotate"],
    &["project", "transfer"],
    &["project", "standing"],
    &["project", "status"],
    &["project", "verify-published"],
    &["record"],
    &["monitor"],
    &["trust"],
    &["trust", "add"],
    &["trust", "list"],
    &["trust", "map"],
    &["trust", "remove"],
    &["download"],
    &["verify"],
    &["lock"],
    &["lock", "export"],
    &["lock", "diff"],
    &["explain"],
    &["exec"],
    &["proxy"],
    &["proxy", "env"],
    &["sync"],
    &["witness"],
    &["witness", "init"],
    &["witness", "log"],
    &["witness", "log", "add"],
    &["witness", "log", "list"],
    &["witness", "log", "remove"],
    &["witness", "serve"],
    &["witness", "status"],
    &["inspect"],
    &["tree"],
    &["demo"],
    &["completion"],
    &["man"],
];

/// Takes out what differs from run to run.
fn steady(home: &Home, text: &str) -> String {
    let text = text.replace(&shown(&home.work()), "WORK");
    let keys = example("online").parent().map(shown).unwrap_or_default();
    let text = text.replace(&keys, "KEYS").replace(&shown(home.work().parent().unwrap()), "HOME");
    let lines = text.lines().map(|line| {
        let words = line.split(' ').map(|word| {
            let bare = word.trim_end_matches([',', '…', '"']);
            let date = bare.len() == 20 && bare.ends_with('Z') && bare.as_bytes()[10] == b'T';
            let dashes = bare.bytes().enumerate().filter(|(_, byte)| *byte == b'-').map(|(at, _)| at);
            let day = bare.len() == 10 && dashes.eq([4, 7]);
            let rest = &word[bare.len()..];
            if date || day { format!("DATE{rest}") } else { word.to_owned() }
        });
        words.collect::<Vec<_>>().join(" ").trim_end().to_owned()
    });
    let mut text = lines.collect::<Vec<_>>().join("\n");
    // A digest comes after one of these words; key ids do not, and are always the same.
    for before in ["SHA-256 ", "this one has "] {
        let parts: Vec<String> = text.split(before).map(ToOwned::to_owned).collect();
        let cut = |part: &String| {
            let digest = part.chars().take_while(char::is_ascii_hexdigit).count();
            if digest == 64 { format!("HASH{}", &part[64..]) } else { part.clone() }
        };
        let rest = parts.iter().skip(1).map(cut);
        text = [parts[0].clone()].into_iter().chain(rest).collect::<Vec<_>>().join(before);
    }
    text
}

fn both(home: &Home, line: &[&str], ran: &Ran) -> String {
    let (line, code) = (line.join(" "), ran.code);
    steady(home, &format!("$ wheelseal {line}\n{}{}[exit {code}]\n", ran.stdout, ran.stderr))
}

/// Runs each, and gives what there was to see.
fn seen(home: &Home, lines: &[&[&str]]) -> String {
    lines.iter().map(|line| both(home, line, &home.run(line))).collect::<Vec<_>>().join("\n\n")
}

#[test]
fn help_of_the_program() {
    let home = Home::new();
    let text =
        seen(&home, &[&["--help"], &["help", "exit-codes"], &["help", "keys"], &["help", "environment"]]);
    insta::assert_snapshot!(text);
}

#[test]
fn short_help_of_every_command() {
    let home = Home::new();
    let lines: Vec<Vec<&str>> = COMMANDS.iter().map(|words| [words, &["-h"][..]].concat()).collect();
    let lines: Vec<&[&str]> = lines.iter().map(Vec::as_slice).collect();
    let text = seen(&home, &lines);
    insta::assert_snapshot!(text);
}

#[test]
fn no_command_is_left_out_here() {
    let home = Home::new();
    let help = home.run(&["-h"]).fine();
    let listed =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    for name in listed.map(|line| line.split_whitespace().next().unwrap()) {
        let covered =
            COMMANDS.iter().any(|words| words[0] == name) || ["help", "conformance"].contains(&name);
        assert!(covered, "{name}");
    }
}

#[test]
fn what_an_admin_sees() {
    let home = Home::with_repository();
    let wheel = home.wheel("alpha", "1.1");
    let repo = |words: &[&str]| -> String {
        let line = [&words[..1], &["--repo", "repo"], &words[1..]].concat();
        both(&home, &line, &home.run(&line))
    };
    let lines: [&[&str]; 11] = [
        &["status"],
        &["tree"],
        &["check"],
        &["inspect", "root"],
        &["inspect", "targets"],
        &["add", "--dry-run", &wheel],
        &["add", &wheel],
        &["yank", "--reason", "broken", "alpha-1.0-py3-none-any.whl"],
        &["remove", "beta-1.0-py3-none-any.whl"],
        &["diff", "3", "6"],
        &["bump"],
    ];
    let mut text: Vec<String> = lines.iter().map(|words| repo(words)).collect();
    text.push(seen(
        &home,
        &[&["key", "list", "--repo", "repo"], &["gc", "--repo", "repo", "--keep", "1", "--dry-run"]],
    ));
    let text = text.join("\n\n");
    insta::assert_snapshot!(text);
}

#[test]
fn what_a_client_sees() {
    let home = Home::with_repository();
    home.run(&["trust", "add", "mine", "repo", "--root", "repo/metadata/1.root.json"]).fine();
    let text = seen(
        &home,
        &[
            &["trust", "list"],
            &["trust", "map"],
            &["download", "alpha", "--to", "got"],
            &["download", "alpha", "--to", "got"],
            &["verify", "got/alpha-1.0-py3-none-any.whl"],
            &["explain", "alpha-1.0-py3-none-any.whl"],
            &["trust", "remove", "mine"],
        ],
    );
    insta::assert_snapshot!(text);
}

#[test]
fn what_errors_say() {
    let mut home = Home::with_repository();
    let (wheel, stranger) = (home.wheel("gamma", "1.0"), format!("file:{}", shown(&example("online-2"))));
    fs::write(home.work().join("gamma-1.0-py3-none-any.whl"), "x").unwrap();
    fs::write(home.work().join("alpha-1.0-py3-none-any.whl"), fs::read(&wheel).unwrap()).unwrap();
    let mut text = seen(
        &home,
        &[
            &["status", "--repo", "nowhere"],
            &["status"],
            &["add", "--repo", "repo", "gamma-1.0-py3-none-any.whl"],
            &["add", "--repo", "repo", "alpha-1.0-py3-none-any.whl"],
            &["add", "--repo", "repo", "notes.txt"],
            &["add", "--repo", "repo", "--key", "file:nowhere.pem", &wheel],
            &["add", "--repo", "repo", "--key", "hsm:1", &wheel],
            &["remove", "--repo", "repo", "beta-9.9.tar.gz"],
            &["diff", "--repo", "repo", "1", "99"],
            &["role", "rotate", "--repo", "repo", "timestamp", "--to", &stranger],
            &["download", "alpha"],
            &["trust", "remove", "mine"],
            &["trust", "add", "mine", "ftp://nowhere", "--root", "repo/metadata/1.root.json"],
            &["verify", "a", "b", "--as", "c"],
            &["help", "nosuch"],
            &["inspect", "--repo", "repo", "nosuch"],
        ],
    );
    home.set("WHEELSEAL_KEYS", &stranger);
    text.push_str("\n\nWHEELSEAL_KEYS=another key\n");
    text.push_str(&seen(&home, &[&["add", "--repo", "repo", &wheel]]));
    insta::assert_snapshot!(text);
}

#[test]
fn json_output_is_json_and_nothing_else_on_stdout() {
    let home = Home::with_repository();
    home.run(&["trust", "add", "mine", "repo", "--root", "repo/metadata/1.root.json"]).fine();
    let wheel = home.wheel("gamma", "1.0");
    let lines: [&[&str]; 14] = [
        &["status", "--repo", "repo"],
        &["tree", "--repo", "repo"],
        &["check", "--repo", "repo"],
        &["inspect", "--repo", "repo", "root"],
        &["key", "list", "--repo", "repo"],
        &["add", "--repo", "repo", &wheel],
        &["bump", "--repo", "repo"],
        &["gc", "--repo", "repo", "--dry-run"],
        &["diff", "--repo", "repo"],
        &["trust", "list"],
        &["download", "alpha", "--to", "got"],
        &["verify", "got/alpha-1.0-py3-none-any.whl"],
        &["explain", "alpha-1.0-py3-none-any.whl"],
        &["yank", "--repo", "repo", "alpha-1.0-py3-none-any.whl"],
    ];
    for line in lines {
        let stdout = home.run(&[line, &["--json"]].concat()).fine();
        assert!(serde_json::from_str::<serde_json::Value>(&stdout).is_ok(), "{line:?}: {stdout}");
    }
    let status = home.run(&["--json", "status", "--repo", "repo"]).fine();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!((&status["bins"], &status["projects"]), (&2.into(), &3.into()));
}

#[test]
fn every_shell_gets_a_completion_script() {
    let home = Home::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = home.run(&["completion", shell]).fine();
        assert!(script.contains("wheelseal") && script.contains("rotate"), "{shell}");
    }
    assert_eq!(home.run(&["completion", "nosuch"]).code, 2);
}

#[test]
fn every_command_gets_a_manual_page() {
    let home = Home::new();
    assert!(home.run(&["man"]).fine().contains(".TH wheelseal 1"));
    home.run(&["man", "--to", "pages"]).fine();
    for words in COMMANDS {
        let page = home.work().join(format!("pages/wheelseal-{}.1", words.join("-")));
        assert!(fs::read_to_string(&page).is_ok_and(|text| text.contains(".TH")), "{}", page.display());
    }
    fs::write(home.work().join("file"), "x").unwrap();
    home.run(&["man", "--to", "file"]).refused(1, &["exists"]);
}

#[test]
fn help_knows_commands_of_commands() {
    let home = Home::new();
    let (long, short) =
        (home.run(&["help", "role", "rotate"]).fine(), home.run(&["role", "rotate", "-h"]).fine());
    assert!(long.contains("--threshold <N>") && short.contains("--threshold <N>"));
}

/// A metadata file from anywhere must not speak to the terminal.
#[test]
fn inspect_shows_control_characters_and_does_not_print_them() {
    let home = Home::new();
    let text = r#"{"signed":{"_type":"\u001b[2Jroot","keys":{"\u001b]0;title\u0007":1}},"signatures":[{"keyid":"\u009b31m"}]}"#;
    fs::write(home.work().join("file.json"), text).unwrap();
    let shown = home.run(&["inspect", "file.json", "--color", "always"]).fine();
    let data = shown.split_once('\n').unwrap().1;
    assert!(!data.contains(|c: char| c.is_control() && c != '\n'), "{data:?}");
    assert!(data.contains("\\u{1b}[2Jroot") && data.contains("\\u{9b}31m"), "{data:?}");
}

// Variables.

#[test]
fn each_flag_with_a_variable_takes_it() {
    let mut home = Home::with_repository();
    home.set("WHEELSEAL_REPO", "repo");
    let status = home.run(&["status"]).fine();
    assert!(status.contains("2 projects"), "{status}");
    home.set("WHEELSEAL_COLOR", "always");
    assert!(home.run(&["check"]).fine().contains('\u{1b}'));
    assert!(
        !home.run(&["check", "--color", "never"]).fine().contains('\u{1b}'),
        "a flag goes before its variable"
    );
    home.set("WHEELSEAL_COLOR", "auto");
    assert!(!home.run(&["check"]).fine().contains('\u{1b}'), "this is no terminal");
    home.set("WHEELSEAL_NO_PROGRESS", "true");
    home.run(&["check"]).fine();
    for name in ["one", "two"] {
        home.run(&["trust", "add", name, "repo", "--root", "repo/metadata/1.root.json"]).fine();
    }
    home.run(&["explain", "alpha-1.0-py3-none-any.whl"]).refused(2, &["say which with --trust: one, two"]);
    home.set("WHEELSEAL_TRUST", "two");
    home.run(&["explain", "alpha-1.0-py3-none-any.whl"]).fine();
}

#[test]
fn online_keys_come_from_the_variable_instead_of_the_settings() {
    let mut home = Home::with_repository();
    let settings = home.work().join("repo/wheelseal.toml");
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, text.replace("worthless-online.pem", "gone.pem")).unwrap();
    let wheel = home.wheel("gamma", "1.0");
    home.run(&["add", "--repo", "repo", &wheel]).refused(6, &["gone.pem", "timestamp needs 1 signature(s)"]);
    let pem = fs::read_to_string(example("online")).unwrap();
    home.set("ONLINE_PEM", &pem);
    home.set("WHEELSEAL_KEYS", &format!("file:{} env:ONLINE_PEM", shown(&example("online-2"))));
    home.run(&["add", "--repo", "repo", &wheel]).fine();
}

#[test]
fn a_key_is_made_encrypted_with_the_passphrase_of_the_variable() {
    let mut home = Home::new();
    home.run(&["key", "gen", "a.pem"])
        .refused(1, &["WHEELSEAL_PASSPHRASE is not set and there is no terminal"]);
    home.set("WHEELSEAL_PASSPHRASE", "short");
    home.run(&["key", "gen", "a.pem"]).refused(1, &["the passphrase has 5 characters, expected 8 or more"]);
    home.set("WHEELSEAL_PASSPHRASE", "long enough");
    let made = home.run(&["key", "gen", "a.pem", "--type", "ecdsa", "--json"]).fine();
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    assert!(fs::read_to_string(home.work().join("a.pem")).unwrap().contains("ENCRYPTED PRIVATE KEY"));
    let shown = home.run(&["key", "show", "pub:a.pem.pub"]).fine();
    assert!(shown.contains(made["id"].as_str().unwrap()), "{shown}");
    let exported = home.run(&["key", "export", "a.pem"]).fine();
    assert_eq!(exported, fs::read_to_string(home.work().join("a.pem.pub")).unwrap());
}

#[test]
fn the_demo_runs_and_can_be_looked_at_afterwards() {
    let home = Home::new();
    let told = home.run(&["demo", "--keep", "kept"]).fine();
    assert_eq!(told.matches("refused ").count(), 3, "{told}");
    home.run(&["check", "--repo", "kept"]).fine();
}
