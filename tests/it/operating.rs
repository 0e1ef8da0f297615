//! The ceremonies and recoveries of docs/operating.md, run as several people would run them: each block on the machine that is named
//! after its fence, which is a folder with a home of its own; `stick` in each of them is the same folder.
//!
//! What a person would be asked before signing is answered with `--yes`, for there is no terminal here. Nothing is
//! skipped.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::readme::fenced;

const OPERATING: &str = include_str!("../../docs/operating.md");
/// People, and the machine that publishes.
const MACHINES: [&str; 5] = ["anna", "ben", "chloe", "dora", "server"];
/// The machine of somebody who runs a witness.
const WITNESS: &str = "witness";

#[test]
fn several_people_with_several_machines_follow_the_ceremonies_and_recoveries_by_copy_and_paste() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("stick")).unwrap();
    for machine in MACHINES {
        fs::create_dir(place.path().join(machine)).unwrap();
        symlink("../stick", place.path().join(machine).join("stick")).unwrap();
    }
    let blocks = fenced(OPERATING, "<!-- ceremony -->", "<!-- /ceremony -->");
    let seen = run_all(place.path(), &blocks);
    for machine in MACHINES {
        assert!(blocks.iter().any(|(_, fence, _)| fence.ends_with(machine)), "{machine} does nothing");
    }
    let keys = seen.rsplit("published").next().unwrap();
    assert!(keys.contains("ok "), "no check after the last ceremony: {keys}");
    for text in
        ["published root: root version 2", "root version 5", "in 512 bins", "256 bins were signed anew"]
    {
        assert!(seen.contains(text), "no {text:?} in {seen}");
    }
    let transcript = fs::read_to_string(place.path().join("stick/first.txt")).unwrap();
    for name in ["Anna", "Ben", "Chloe"] {
        assert!(transcript.contains(name), "{transcript}");
    }
    let recovered = run_all(place.path(), &fenced(OPERATING, "<!-- recovery -->", "<!-- /recovery -->"));
    for text in
        ["ok what the old keys sign", "0 targets restored, 0 withdrawn", "published root: root version 10"]
    {
        assert!(recovered.contains(text), "no {text:?} in {recovered}");
    }
    assert_eq!(recovered.matches("all steps are done").count(), 3, "{recovered}");
    nobody_but_the_server_has_the_online_key(place.path());
}

#[test]
fn somebody_runs_a_witness_by_copy_and_paste() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join(WITNESS)).unwrap();
    let seen = run_all(place.path(), &fenced(OPERATING, "<!-- witness -->", "<!-- /witness -->"));
    for text in ["vkey    witness.example/w1+", "log  example.com/foo\n", "example.com/foo  0"] {
        assert!(seen.contains(text), "no {text:?} in {seen}");
    }
}

#[test]
fn an_index_turns_bad_as_the_section_about_all_of_it_says() {
    let place = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_wheelseal");
    let mut played = Command::new(program);
    played.args(["demo", "--log", "--keep", "town"]).current_dir(place.path());
    let output = played.output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    let typed: Vec<String> = told.lines().map(|line| without_ports(line.trim())).collect();
    let mut lines = typed.iter();
    for (line, _, text) in fenced(OPERATING, "<!-- history -->", "<!-- /history -->") {
        for expected in text.lines() {
            assert!(
                lines.any(|typed| typed == expected),
                "line {line}: nobody types {expected} by then:\n{told}"
            );
        }
    }
    for text in [
        "2 of 3 must have recorded each file",
        "verified good/seal-1.1-py3-none-any.whl, recorded by one.example, two.example, three.example (2 of 3 must)",
        "receipt of three.example: entry",
        "1 are as they were claimed",
        "error: recorders do not agree with the index about seal/seal-1.1-py3-none-any.whl, as 2 must",
        "conflict seal/seal-1.1-py3-none-any.whl",
        "\"event\":\"second-content\"",
        "proven index.example/log logged two contents for seal/seal-1.1-py3-none-any.whl",
        "done client, recorders and monitor",
    ] {
        assert!(told.contains(text), "no {text:?} in {told}");
    }
    assert!(!place.path().join("town/carl/bad/seal-1.1-py3-none-any.whl").exists());
}

/// A line with `PORT` in place of each number behind `127.0.0.1:`.
fn without_ports(line: &str) -> String {
    let mut parts = line.split("127.0.0.1:");
    let mut all = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        all.push_str("127.0.0.1:PORT");
        all.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_party_follows_the_section_on_recording_by_copy_and_paste() {
    let index = crate::serve::scene().await;
    let served = crate::serve::Served::new(index.store().await);
    let url = format!("http://127.0.0.1:{}/simple/ --allow-private", served.port);
    let blocks = fenced(OPERATING, "<!-- recording -->", "<!-- /recording -->");
    let seen = tokio::task::spawn_blocking(move || {
        let place = tempfile::tempdir().unwrap();
        let mut seen = String::new();
        for (line, fence, text) in blocks {
            let machine = fence.strip_prefix("sh ").unwrap_or_else(|| panic!("line {line}: whose machine?"));
            fs::create_dir_all(place.path().join(machine)).unwrap();
            let script = text.replace("https://packages.example/simple/", &url);
            seen.push_str(&run(&place.path().join(machine), &script, line));
        }
        seen
    });
    let seen = seen.await.unwrap();
    for text in ["recorded 1 file; 1 pages of 1 projects were read", "ok ", "alpha-1.0-py3-none-any.whl"] {
        assert!(seen.contains(text), "no {text:?} in {seen}");
    }
}

/// Runs blocks in order; what they printed.
fn run_all(place: &Path, blocks: &[(usize, String, String)]) -> String {
    let mut seen = String::new();
    for (line, fence, text) in blocks {
        let machine = fence.strip_prefix("sh ").unwrap_or_else(|| panic!("line {line}: whose machine?"));
        assert!(MACHINES.contains(&machine) || machine == WITNESS, "line {line}: nobody is called {machine}");
        seen.push_str(&run(&place.join(machine), &answered(text), *line));
    }
    seen
}

/// The private keys of people never went to the stick or the server.
fn nobody_but_the_server_has_the_online_key(place: &Path) {
    for folder in ["stick", "server"] {
        for entry in fs::read_dir(place.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let is_private = path.extension().is_some_and(|ending| ending == "pem");
            assert!(
                !is_private || path.file_stem().unwrap().to_str().unwrap().starts_with("online"),
                "{}",
                path.display()
            );
        }
    }
}

/// With the answer that a person would type.
fn answered(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let asks = line.starts_with("wheelseal ceremony sign");
        if asks { format!("{line} --yes\n") } else { format!("{line}\n") }
    });
    lines.collect()
}

fn run(machine: &Path, script: &str, line: usize) -> String {
    let binary = Path::new(env!("CARGO_BIN_EXE_wheelseal"));
    let system = std::env::var_os("PATH").unwrap_or_default();
    let before = std::iter::once(binary.parent().unwrap().to_owned());
    let path = std::env::join_paths(before.chain(std::env::split_paths(&system))).unwrap();
    let mut shell = Command::new("sh");
    shell.arg("-e").arg("-c").arg(script).current_dir(machine).env_clear();
    shell.env("PATH", path).env("HOME", machine).env("WHEELSEAL_PASSPHRASE", "worthless");
    shell.env("XDG_CONFIG_HOME", machine.join("config")).env("XDG_STATE_HOME", machine.join("state"));
    let output = shell.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success(),
        "docs/operating.md line {line}: {}\n{script}\n{out}\n{err}",
        output.status
    );
    out.into_owned()
}
