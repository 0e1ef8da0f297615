//! The tutorial of README.md, run as a reader would run it: all blocks in order, in one shell, from an empty folder.
//!
//! The convention: between `<!-- tutorial -->` and `<!-- /tutorial -->` each fenced block is one of
//!
//! | fence | here |
//! |---|---|
//! | `sh` | run |
//! | `sh network` | skipped, and listed in the output: it needs pip, a server or the network |
//!
//! What skipped blocks would have left behind is put in their place: two wheels in `wheels/`, and the folder `repo`
//! for the URL of the server. With `WHEELSEAL_README_NETWORK=1` nothing is skipped and nothing is replaced.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

const README: &str = include_str!("../../README.md");
/// The guide for maintainers, by the same convention.
const GUIDE: &str = include_str!("../../docs/maintaining.md");
/// The address of the server that a skipped block starts.
const SERVER: &str = "http://127.0.0.1:8000/";
/// Set it to run the skipped blocks too.
const NETWORK: &str = "WHEELSEAL_README_NETWORK";

#[derive(Debug, PartialEq, Eq)]
struct Block {
    network: bool,
    line: usize,
    text: String,
}

#[test]
fn the_tutorial_runs_from_an_empty_folder() {
    let network = std::env::var_os(NETWORK).is_some();
    let (skipped, run): (Vec<_>, Vec<_>) =
        blocks(README).into_iter().partition(|block| block.network && !network);
    for block in &skipped {
        println!("skipped, README.md line {}:\n{}", block.line, block.text);
    }
    let script: String = run.into_iter().map(|block| block.text).collect();
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("empty");
    fs::create_dir(&folder).unwrap();
    let script = if network {
        script
    } else {
        fs::create_dir(folder.join("wheels")).unwrap();
        wheel(&folder, "six", "1.17.0");
        wheel(&folder, "idna", "3.10");
        assert!(script.contains(SERVER), "the address of the server is no longer {SERVER}");
        script.replace(SERVER, "repo")
    };
    let output = shell(&script, place.path(), &folder).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    assert!(out.contains("ok wheels/six-1.17.0"), "no verdict on six:\n{out}");
    assert!(out.contains("root v2"), "the rotated key was not followed:\n{out}");
}

#[test]
fn the_maintainers_guide_runs_from_an_empty_folder() {
    let script: String = blocks(GUIDE).into_iter().map(|block| block.text).collect();
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("empty");
    fs::create_dir_all(folder.join("wheels")).unwrap();
    wheel(&folder, "six", "1.17.0");
    wheel(&folder, "six", "1.18.0");
    let output = shell(&script, place.path(), &folder).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    for said in [
        "waits for approve",
        "six below claimed, 1 file(s)",
        "published wheels/six-1.18.0",
        "released six (role version 4, below claimed)",
    ] {
        assert!(out.contains(said), "no {said:?} in:\n{out}");
    }
}

#[test]
fn each_person_has_a_part_in_the_tutorial() {
    let tutorial = tutorial(README);
    for person in ["repository admin", "client", "package maintainer"] {
        assert!(
            tutorial.iter().any(|(_, line)| line.starts_with("## ") && line.ends_with(person)),
            "{person}"
        );
    }
    assert!(blocks(README).iter().any(|block| block.network), "nothing is installed with pip any more");
}

/// The script in one shell that stops at the first failure, with the binary first on PATH and its own home.
fn shell(script: &str, place: &Path, folder: &Path) -> Command {
    let binary = Path::new(env!("CARGO_BIN_EXE_wheelseal"));
    let system = std::env::var_os("PATH").unwrap_or_default();
    let before = std::iter::once(binary.parent().unwrap().to_owned());
    let path = std::env::join_paths(before.chain(std::env::split_paths(&system))).unwrap();
    let mut shell = Command::new("sh");
    shell.arg("-e").arg("-c").arg(script).current_dir(folder);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WHEELSEAL_") {
            shell.env_remove(name);
        }
    }
    shell.env("PATH", path).env("HOME", place);
    shell.env("XDG_CONFIG_HOME", place.join("config")).env("XDG_STATE_HOME", place.join("state"));
    shell
}

/// The lines between two markers, numbered as an editor does.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Vec<(usize, &'a str)> {
    let lines = (1..).zip(text.lines());
    let lines = lines.skip_while(|(_, line)| *line != start).skip(1);
    let lines: Vec<_> = lines.take_while(|(_, line)| *line != end).collect();
    assert!(!lines.is_empty(), "nothing between {start} and {end}");
    lines
}

fn tutorial(readme: &str) -> Vec<(usize, &str)> {
    between(readme, "<!-- tutorial -->", "<!-- /tutorial -->")
}

/// The fenced blocks between two markers: line, what stands after the fence, text.
pub(crate) fn fenced(text: &str, start: &str, end: &str) -> Vec<(usize, String, String)> {
    let (mut blocks, mut open) = (Vec::new(), None);
    for (line, text) in between(text, start, end) {
        match (&mut open, text.strip_prefix("```")) {
            (Some(_), Some("")) => blocks.extend(open.take()),
            (Some((_, _, block)), None) => *block = format!("{block}{text}\n"),
            (None, Some(fence)) => open = Some((line, fence.to_owned(), String::new())),
            (None, None) => {}
            (Some(_), Some(fence)) => panic!("line {line}: {fence:?} inside a block"),
        }
    }
    assert_eq!(open, None, "a block does not end");
    blocks
}

fn blocks(readme: &str) -> Vec<Block> {
    let block = |(line, fence, text): (usize, String, String)| match fence.as_str() {
        "sh" => Block { network: false, line, text },
        "sh network" => Block { network: true, line, text },
        other => panic!("README.md line {line}: a block is `sh` or `sh network`, not {other:?}"),
    };
    let fenced = fenced(readme, "<!-- tutorial -->", "<!-- /tutorial -->");
    fenced.into_iter().map(block).collect()
}

/// A wheel that pip would install, in `folder/wheels`.
fn wheel(folder: &Path, name: &str, version: &str) -> PathBuf {
    let info = format!("{name}-{version}.dist-info");
    let metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n");
    let tag = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
    let record = format!("{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n");
    let files = [
        (format!("{name}.py"), String::new()),
        (format!("{info}/METADATA"), metadata),
        (format!("{info}/WHEEL"), tag.to_owned()),
        (format!("{info}/RECORD"), record),
    ];
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (path, text) in files {
        archive.start_file(path, SimpleFileOptions::default()).unwrap();
        archive.write_all(text.as_bytes()).unwrap();
    }
    let path = folder.join(format!("wheels/{name}-{version}-py3-none-any.whl"));
    fs::write(&path, archive.finish().unwrap().into_inner()).unwrap();
    path
}
