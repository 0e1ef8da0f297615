//! Keys through the program: what needs an environment of its own.

#![expect(clippy::unwrap_used, reason = "a program that cannot be written is a test that cannot run")]

use std::process::Command;

use crate::shell::Home;

/// A key that exists in a variable alone signs a repository, and a client accepts what it signed.
#[test]
fn a_key_in_a_variable_signs() {
    let folder = tempfile::tempdir().unwrap();
    let repo = folder.path().join("repo");
    let example = |name: &str| format!("{}/keys-example/worthless-{name}.pem", env!("CARGO_MANIFEST_DIR"));
    let online = std::fs::read_to_string(example("online")).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wheelseal"));
        command.args(arguments).arg("--repo").arg(&repo).env("WORTHLESS_KEY", &online);
        command.env("XDG_STATE_HOME", folder.path().join("state"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let root = example("root-1");
    run(&["init", "--bins", "2", "--root-key", &root, "--online-key", "env:WORTHLESS_KEY"]);
    assert!(run(&["bump", "--all"]).contains("signed timestamp"));
    assert!(run(&["check"]).starts_with("ok "));
    let settings = std::fs::read_to_string(repo.join("wheelseal.toml")).unwrap();
    assert!(
        settings.contains("online = [\"env:WORTHLESS_KEY\"]") && !settings.contains("PRIVATE"),
        "{settings}"
    );
}

/// A program that signs, written in shell: what it answers to a question for its public key, and to one for a signature.
#[cfg(unix)]
fn program(home: &Home, public: &str, signature: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = home.work().join("sign");
    let text = format!(
        "#!/bin/sh\nread -r line\ncase $line in\n*'\"op\":\"public\"'*) {public} ;;\n*) {signature} ;;\nesac\n"
    );
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    format!("exec:{}", path.display())
}

#[cfg(unix)]
#[test]
fn a_program_that_answers_wrongly_gets_nothing_signed() {
    let pem =
        include_str!("../../src/keys/fixtures/worthless-ed25519.pub.pem").trim_end().replace('\n', "\\n");
    let good = format!("printf '%s\\n' '{{\"public\":\"{pem}\"}}'");
    let cases = [
        (
            good.as_str(),
            "echo '{\"signature\":\"AAAA\"}'",
            "what was returned as a signature does not verify",
        ),
        (&good, "echo '{\"signature\":\"!\"}'", "the signature is not base64"),
        (&good, "echo '{}'", "it has no \"signature\""),
        (&good, "echo hello", "it is not one line of JSON"),
        (&good, "head -c 70000 /dev/zero", "it is too long"),
        (&good, "echo '{\"error\":\"no touch\"}'", "the program failed: exit status: 0: no touch"),
        (&good, "exit 3", "the program failed: exit status: 3"),
        (&good, "kill -9 $$", "the program failed: signal: 9 (SIGKILL)"),
        ("echo '{}'", "true", "it has no \"public\""),
        ("echo '{\"public\":\"x\"}'", "true", "not a usable public key"),
    ];
    for (public, signature, text) in cases {
        let home = Home::new();
        let program = program(&home, public, &format!("echo note for people >&2; {signature}"));
        let online = format!("{}/keys-example/worthless-online.pem", env!("CARGO_MANIFEST_DIR"));
        let ran = home.run(&["init", "--repo", "repo", "--root-key", &program, "--online-key", &online]);
        ran.refused(1, &[text]);
        assert_eq!(ran.stderr.contains("note for people"), public == good);
        assert!(!home.work().join("repo/metadata").exists());
    }
}

#[cfg(unix)]
#[test]
fn a_program_is_a_path_that_is_started_without_shell_arguments_or_secrets() {
    let mut home = Home::new();
    home.set("WHEELSEAL_PASSPHRASE", "not for others");
    home.set("WHEELSEAL_PIN", "not for others");
    let ask = "echo \"$# [$WHEELSEAL_PASSPHRASE$WHEELSEAL_PIN] $line\" >&2";
    let uri = program(&home, ask, "true");
    let ran = home.run(&["key", "show", &uri]);
    ran.refused(1, &["0 [] {\"format\":\"wheelseal-signer-1\",\"op\":\"public\"}"]);
    let refused = |uri: &str| {
        home.run(&["key", "show", uri]).refused(1, &["the program does not start", "hint: exec: takes"]);
    };
    // Neither arguments nor a search along PATH.
    for uri in [format!("{uri} --key 1"), "exec:true".to_owned(), "exec:/".to_owned()] {
        refused(&uri);
    }
}
