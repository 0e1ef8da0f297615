//! The rules that the compiler does not know: who may use whom, what pure code may name, how large a file gets.
//!
//! Comments and tests (the module `tests` at the foot of a file) are not looked at.

#![expect(clippy::unwrap_used, reason = "a source tree that does not read is no source tree")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Module, and the modules it may name. `cli` may name all.
const MAY_USE: [(&str, &[&str]); 23] = [
    ("release_claim", &["crypto", "python", "tlog", "tuf"]),
    ("claim_desk", &["client", "crypto", "python", "release_claim", "repository", "store", "tlog", "tuf"]),
    ("crypto", &[]),
    ("coding", &["crypto"]),
    ("python", &[]),
    ("tuf", &["crypto"]),
    ("tlog", &["crypto", "python"]),
    ("store", &["crypto"]),
    ("log", &["crypto", "spill", "store", "tlog"]),
    ("keys", &["crypto", "store", "tuf"]),
    ("client", &["coding", "crypto", "store", "tlog", "tuf"]),
    ("repository", &["coding", "crypto", "keys", "log", "python", "spill", "store", "tlog", "tuf"]),
    ("spill", &[]),
    ("crawl", &["client", "python"]),
    ("journal", &["crypto", "python"]),
    (
        "server",
        &[
            "claim_desk",
            "coding",
            "crypto",
            "journal",
            "python",
            "release_claim",
            "repository",
            "store",
            "web",
        ],
    ),
    ("proxy", &["client", "coding", "crypto", "python", "tuf", "web"]),
    ("environment", &["crypto", "python"]),
    (
        "recorder",
        &[
            "claim_desk",
            "client",
            "crawl",
            "crypto",
            "log",
            "python",
            "release_claim",
            "repository",
            "store",
            "tlog",
            "tuf",
            "web",
        ],
    ),
    ("monitor", &["client", "crypto", "log", "python", "store", "tlog", "tuf", "web"]),
    ("sync", &["client", "python", "tuf"]),
    ("witness", &["client", "crypto", "log", "store", "tlog", "web"]),
    ("web", &["coding"]),
];

/// Modules of pure code, and what it must not name.
const PURE: [&str; 6] = ["coding", "crypto", "python", "release_claim", "tlog", "tuf"];
const IMPURE: [&str; 12] = [
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "SystemTime",
    "Instant",
    "tokio",
    "async fn",
    "tracing",
    "println!",
    "eprintln!",
    "Utc::now",
];

/// Names that belong in one place, and the places.
const AT_HOME: [(&str, &[&str]); 10] = [
    ("ring::", &["crypto.rs"]),
    ("aws_lc_rs", &["keys/tough.rs", "repository/tough_check.rs"]),
    ("tough::", &["keys/tough.rs", "repository/tough_check.rs"]),
    ("tough_kms::", &["keys/tough_aws.rs"]),
    ("tough_ssm::", &["keys/tough_aws.rs"]),
    ("cryptoki::", &["keys/pkcs11.rs", "keys/pkcs11/token.rs"]),
    ("Utc::now", &["main.rs"]),
    ("SystemTime::now", &[]),
    ("Instant::now", &["client/http.rs", "client/log/patience.rs"]),
    ("unsafe ", &[]),
];

/// What the top level of the repository may hold, beside names that begin with a dot.
const TOP_LEVEL: [&str; 8] =
    ["Cargo.toml", "Cargo.lock", "README.md", "src", "keys-example", "tests", "docs", "benches"];

/// Lines of a source file, tests included, at most, and of the median file (STYLE).
const MAX_LINES: usize = 800;
const MAX_MEDIAN: usize = 300;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below `folder`, by its path in it, with all its text.
fn sources(folder: &str) -> Vec<(String, String)> {
    let folder = root().join(folder);
    let entries = walkdir::WalkDir::new(&folder).sort_by_file_name().into_iter().map(Result::unwrap);
    let files = entries.filter(|entry| entry.path().extension().is_some_and(|ending| ending == "rs"));
    files
        .map(|file| {
            let name = file.path().strip_prefix(&folder).unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(file.path()).unwrap())
        })
        .collect()
}

/// Source files without tests and comments.
fn code() -> Vec<(String, String)> {
    let files = sources("src").into_iter().filter(|(name, _)| !is_test(name));
    files.map(|(name, text)| (name, production(&text))).collect()
}

fn is_test(name: &str) -> bool {
    name.ends_with("tests.rs") || name.ends_with("contract.rs") || name.contains("/tests/")
}

fn production(text: &str) -> String {
    let mut kept = Vec::new();
    for line in text.split("\n#[cfg(test)]\nmod tests").next().unwrap().lines() {
        let code =
            line.split_once("//").map_or(line, |(code, _)| if code.contains('"') { line } else { code });
        kept.push(code);
    }
    kept.join("\n")
}

/// The module a file belongs to: its folder, or its own name at the top.
fn module(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap()
}

/// The modules of this crate that a text names, in `use crate::{a, b::c}` and elsewhere.
fn named(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let word =
            |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        match rest.strip_prefix('{') {
            None => drop(names.insert(word(rest))),
            Some(list) => {
                let (mut depth, mut start) = (0, true);
                for (at, c) in list.char_indices() {
                    match c {
                        '}' if depth == 0 => break,
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && !c.is_whitespace() => {
                            names.insert(word(&list[at..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    names
}

#[test]
fn names_are_found_in_every_form() {
    let text = "use crate::store::{Store, StorePath};\nuse crate::{tuf::key::{Key, KeyId}, keys,\n python};crate::cli::x()";
    let expected = ["cli", "keys", "python", "store", "tuf"].map(ToOwned::to_owned);
    assert_eq!(named(text), expected.into());
    let text = "a // crate::b\nlet url = \"http://x\"; // c";
    assert_eq!(production(text), "a \nlet url = \"http://x\"; // c");
}

#[test]
fn modules_use_only_what_the_dependency_table_allows() {
    let mut wrong = Vec::new();
    for (file, text) in code() {
        let own = module(&file);
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == own) else {
            assert!(["cli", "lib", "main"].contains(&own), "{file}: module {own} is not in the table");
            continue;
        };
        let others = named(&text).into_iter().filter(|name| name != own && !allowed.contains(&name.as_str()));
        wrong.extend(others.map(|name| format!("{file} uses {name}")));
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn pure_modules_have_no_effects() {
    let mut wrong = Vec::new();
    for (file, text) in code().into_iter().filter(|(file, _)| PURE.contains(&module(file))) {
        wrong.extend(
            IMPURE.iter().filter(|name| text.contains(*name)).map(|name| format!("{file} names {name}")),
        );
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn what_belongs_in_one_place_is_named_there_alone() {
    let mut wrong = Vec::new();
    for (file, text) in code() {
        for (name, homes) in AT_HOME {
            let named = text.match_indices(name).any(|(at, _)| {
                let before = text[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | ':'))
            });
            if named && !homes.contains(&file.as_str()) && !is_own_module(&file, &text, name) {
                wrong.push(format!("{file} names {name}"));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

/// `keys` has a module `tough` of its own and names it so.
fn is_own_module(file: &str, text: &str, name: &str) -> bool {
    name == "tough::" && file == "keys/mod.rs" && text.contains("\nmod tough;")
}

#[test]
fn the_optional_crates_are_behind_their_feature() {
    let files = sources("src");
    let text = |name: &str| files.iter().find(|(file, _)| file == name).unwrap().1.as_str();
    for (file, feature, module) in [
        ("keys/mod.rs", "tough-keys", "tough"),
        ("keys/mod.rs", "tough-aws", "tough_aws"),
        ("keys/mod.rs", "pkcs11", "pkcs11"),
        ("repository/mod.rs", "tough-keys", "tough_check"),
    ] {
        let guarded = format!("#[cfg(feature = \"{feature}\")]\nmod {module};");
        assert!(text(file).contains(&guarded), "{file}: {module}");
    }
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    for name in ["tough", "aws-lc-rs", "cryptoki", "tough-kms", "tough-ssm"] {
        let line = manifest.lines().find(|line| line.starts_with(&format!("{name} ="))).unwrap();
        assert!(line.contains("optional = true"), "{line}");
    }
}

#[test]
fn files_are_short() {
    for folder in ["src", "tests"] {
        let mut lengths: Vec<(usize, String)> =
            sources(folder).into_iter().map(|(file, text)| (text.lines().count(), file)).collect();
        lengths.sort();
        let (longest, file) = lengths.last().unwrap();
        assert!(
            *longest <= MAX_LINES,
            "{folder}/{file} has {longest} lines, at most {MAX_LINES} are allowed"
        );
        let (median, _) = &lengths[lengths.len() / 2];
        assert!(folder != "src" || *median < MAX_MEDIAN, "the median file has {median} lines");
    }
}

#[test]
fn every_source_file_begins_with_what_it_is_for() {
    for (file, text) in sources("src").into_iter().chain(sources("tests")) {
        let header = text.lines().find(|line| !line.starts_with("#!["));
        assert!(header.is_some_and(|line| line.starts_with("//!")), "{file} has no header");
    }
}

#[test]
fn every_dependency_says_what_it_is_for() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut section = "";
    for line in manifest.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if section.ends_with("dependencies") && line.contains('=') {
            let comment = line.rsplit_once("# ").map_or("", |(_, comment)| comment);
            assert!(comment.len() > 3, "{line}");
        }
    }
}

#[test]
fn every_constant_has_a_doc_comment() {
    let mut wrong = Vec::new();
    for (file, text) in sources("src") {
        let text = text.split("\n#[cfg(test)]\nmod ").next().unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let Some(name) =
                line.trim_start_matches("pub ").trim_start_matches("pub(super) ").strip_prefix("const ")
            else {
                continue;
            };
            let limit = name.starts_with("MAX") || name.starts_with("MIN") || name.contains("LIMIT");
            let attributes = lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
            let above = at.checked_sub(1 + attributes.count()).and_then(|above| lines.get(above));
            if limit && !is_test(&file) && !above.is_some_and(|above| above.starts_with("///")) {
                wrong.push(format!("{file}:{}: {line}", at + 1));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn the_top_level_holds_only_what_belongs_there() {
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let allowed =
            TOP_LEVEL.contains(&name.as_str()) || name.starts_with("LICENSE") || name.starts_with('.');
        // What cargo builds is not part of the tree.
        assert!(allowed || name == "target", "{name} does not belong at the top level");
    }
}
