//! Keys through the program: what needs an environment of its own.

use std::process::Command;

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
