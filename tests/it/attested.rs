//! Attestations (PEP 740) from the command line, and through `sync` and the proxies.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;

use serde_json::Value;
use wheelseal::python::Predicate;

use crate::scene::files_below;
use crate::serve::attested::attestation;
use crate::shell::Home;

/// A home with a wheel of `gamma` and an attestation beside it; and the wheel's path.
fn home() -> (Home, String) {
    let home = Home::with_repository();
    let wheel = home.wheel("gamma", "1.0");
    let name = wheel.rsplit('/').next().unwrap();
    let text = attestation(name, &fs::read(&wheel).unwrap(), Predicate::Publish).to_string();
    fs::write(format!("{wheel}.publish.attestation"), text + "\n").unwrap();
    (home, wheel)
}

#[test]
fn add_publishes_the_attestations_beside_a_file_and_sync_takes_them_along() {
    let (home, wheel) = home();
    let said = home.run(&["add", "--repo", "repo", "--attestations", &wheel]).fine();
    assert_eq!(said, "published gamma-1.0-py3-none-any.whl\n");
    let path = "targets/gamma/gamma-1.0-py3-none-any.whl.provenance";
    let object = fs::read_to_string(home.work().join("repo").join(path)).unwrap();
    let parsed: Value = serde_json::from_str(&object).unwrap();
    let bundle = &parsed["attestation_bundles"][0];
    assert_eq!(
        (&bundle["publisher"]["kind"], &bundle["attestations"][0]["version"]),
        (&"wheelseal".into(), &1.into())
    );
    home.run(&["check", "--repo", "repo"]).fine();
    home.run(&["fsck", "--repo", "repo"]).fine();

    home.run(&["trust", "add", "main", "repo", "--root", "repo/metadata/1.root.json"]).fine();
    home.run(&["sync", "--to", "out", "gamma", "--no-deps"]).fine();
    let out = files_below(&home.work().join("out"));
    assert_eq!(out.get(path).unwrap(), object.as_bytes());
    // The folder may be carried anywhere, so its pages have no absolute address to tell.
    let page = String::from_utf8(out.get("simple/gamma/index.json").unwrap().clone()).unwrap();
    assert!(page.contains("\"_provenance\"") && !page.contains("\"provenance\""), "{page}");
    home.run(&["sync", "--to", "out", "gamma", "--no-deps"]).fine();
    home.run(&["verify", "--below", "out/targets"]).fine();
}

#[test]
fn sync_leaves_out_attestations_that_are_not_what_was_signed() {
    let (home, wheel) = home();
    home.run(&["add", "--repo", "repo", "--attestations", &wheel]).fine();
    home.run(&["trust", "add", "main", "repo", "--root", "repo/metadata/1.root.json"]).fine();
    for path in files_below(&home.work().join("repo")).into_keys() {
        if path.ends_with(".provenance") {
            fs::write(home.work().join("repo").join(path), "{}").unwrap();
        }
    }
    let ran = home.run(&["sync", "--to", "out", "gamma", "--no-deps"]);
    assert!(ran.stderr.contains("gamma-1.0-py3-none-any.whl.provenance"), "{ran:?}");
    let out = files_below(&home.work().join("out"));
    assert!(out.contains_key("targets/gamma/gamma-1.0-py3-none-any.whl"));
    assert!(!out.keys().any(|path| path.ends_with(".provenance")));
    assert!(!out["simple/gamma/index.json"].windows(11).any(|window| window == b"_provenance"));
}

#[test]
fn add_refuses_what_has_no_attestations_or_those_of_another_file() {
    let (home, wheel) = home();
    let other = home.wheel("gamma", "1.1");
    home.refuses(&["add", "--repo", "repo", "--attestations", &wheel, &other], 2, &["has no attestations"]);
    fs::copy(format!("{wheel}.publish.attestation"), format!("{other}.publish.attestation")).unwrap();
    let why = "in attestation 1, the subject is \"gamma-1.0-py3-none-any.whl\"; expected gamma-1.1-py3-none-any.whl";
    home.refuses(&["add", "--repo", "repo", "--attestations", &wheel, &other], 3, &[why]);
}
