//! `verify --lock`, `lock export`, `lock diff`: lock files against a repository of two projects.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;

use wheelseal::crypto::sha256;

use crate::shell::Home;

const ALPHA: &str = "alpha-1.0-py3-none-any.whl";

/// A home with a repository that is trusted, and the SHA-256 of the two wheels.
fn home() -> (Home, String, String) {
    let home = Home::with_repository();
    home.run(&["trust", "add", "main", "repo", "--root", "repo/metadata/1.root.json"]).fine();
    let digest = |project| hex::encode(sha256(&fs::read(home.wheel(project, "1.0")).unwrap()));
    let (alpha, beta) = (digest("alpha"), digest("beta"));
    (home, alpha, beta)
}

fn write(home: &Home, name: &str, text: &str) {
    fs::write(home.work().join(name), text).unwrap();
}

fn pylock(alpha: &str) -> String {
    format!(
        "lock-version = '1.0'\n[[packages]]\nname = 'alpha'\nversion = '1.0'\nmarker = \"os_name == 'nt'\"\n\
         wheels = [{{ url = 'https://index.example/{ALPHA}', hashes = {{ sha256 = '{alpha}' }} }}]\n"
    )
}

#[test]
fn a_lock_of_what_is_signed_is_well() {
    let (home, alpha, beta) = home();
    write(&home, "pylock.toml", &pylock(&alpha));
    write(&home, "all.txt", &format!("alpha==1.0 --hash=sha256:{alpha}\nbeta==1.0 --hash=sha256:{beta}\n"));
    let said = home.run(&["verify", "--lock", "pylock.toml", "--lock", "all.txt"]).fine();
    assert_eq!(
        said,
        "ok pylock.toml: 1 of 1 are as signed; packages: 1\n\
         ok all.txt: 2 of 2 are as signed; packages: 2\n"
    );
    let json = home.run(&["--json", "verify", "--lock", "pylock.toml"]).fine();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let file = &json[0]["files"][0];
    assert_eq!((file["file"].as_str(), file["verdict"].as_str()), (Some(ALPHA), Some("signed")));
}

#[test]
fn a_swapped_hash_is_named_with_both_hashes() {
    let (home, alpha, beta) = home();
    write(&home, "pylock.toml", &pylock(&beta));
    let ran = home.run(&["verify", "--lock", "pylock.toml"]);
    ran.refused(3, &["1 entry of the lock failed"]);
    let told = format!("BAD alpha 1.0 {ALPHA}: the lock has SHA-256 {beta}, signed is {alpha}");
    assert!(ran.stdout.contains(&told), "{}", ran.stdout);
    // The hash of another project's file is no hash of this one.
    write(&home, "all.txt", &format!("alpha==1.0 --hash=sha256:{beta}\n"));
    let ran = home.run(&["verify", "--lock", "all.txt"]);
    ran.refused(3, &["1 entry of the lock failed"]);
    assert!(ran.stdout.contains("no such file is signed"), "{}", ran.stdout);
}

#[test]
fn what_the_index_cannot_answer_for_fails_unless_it_is_left_out_by_name() {
    let (home, alpha, _) = home();
    let text = format!(
        "alpha==1.0 --hash=sha256:{alpha}\nbeta==1.0\ngamma==1 --hash=sha256:{alpha}\nd @ https://files.example/d-1.zip\n"
    );
    write(&home, "all.txt", &text);
    let ran = home.run(&["verify", "--lock", "all.txt", "--except", "gamma"]);
    ran.refused(9, &["2 entries of the lock failed"]);
    for told in [
        "unchecked beta 1.0: the lock has no SHA-256 of it",
        "unchecked d: comes from https://files.example/d-1.zip: no index answers for it",
        "left out gamma 1: the repository has no such project",
    ] {
        assert!(ran.stdout.contains(told), "{}", ran.stdout);
    }
    home.run(&["verify", "--lock", "all.txt"]).refused(3, &["3 entries of the lock failed"]);
    home.run(&["verify", "--lock", "all.txt", "--except", "Gamma", "--except", "beta", "--except", "d"])
        .fine();
}

#[test]
fn an_export_has_only_verified_hashes() {
    let (home, alpha, beta) = home();
    write(&home, "pylock.toml", &pylock(&alpha));
    let said = home.run(&["lock", "export", "pylock.toml"]).fine();
    assert_eq!(said, format!("alpha==1.0 ; os_name == 'nt' \\\n    --hash=sha256:{alpha}\n"));
    home.run(&["lock", "export", "pylock.toml", "--out", "out.txt"]).fine();
    home.run(&["verify", "--lock", "out.txt"]).fine();
    write(&home, "pylock.toml", &pylock(&beta));
    let ran = home.run(&["lock", "export", "pylock.toml", "--out", "bad.txt"]);
    ran.refused(3, &["signed is"]);
    assert!(!home.work().join("bad.txt").exists());
}

#[test]
fn a_diff_tells_what_came_since_and_fails_only_for_what_contradicts() {
    let (home, alpha, beta) = home();
    write(&home, "pylock.toml", &pylock(&alpha));
    let nothing = home.run(&["lock", "diff", "pylock.toml"]);
    assert!(nothing.stderr.contains("nothing has changed since the lock was made"), "{}", nothing.stderr);
    home.run(&["yank", "--repo", "repo", ALPHA]).fine();
    let said = home.run(&["lock", "diff", "pylock.toml"]).fine();
    assert_eq!(said, format!("since alpha 1.0 {ALPHA}: was yanked\n"));
    home.run(&["remove", "--repo", "repo", ALPHA]).fine();
    let ran = home.run(&["lock", "diff", "pylock.toml"]);
    ran.refused(3, &[]);
    write(&home, "pylock.new.toml", &pylock(&beta));
    let ran = home.run(&["lock", "diff", "pylock.toml", "pylock.new.toml"]);
    ran.refused(3, &["the hash of 1 file is another one, though its name is the same"]);
    assert_eq!(ran.stdout, format!("alpha: hash changed: {ALPHA} was {alpha}, is {beta}\n"));
}

#[test]
fn a_file_that_is_no_lock_is_refused() {
    let (home, ..) = home();
    write(&home, "Cargo.lock", "");
    write(&home, "uv.lock", "version = 9");
    home.refuses(&["verify", "--lock", "Cargo.lock"], 2, &["is not named like a lock file"]);
    home.refuses(&["verify", "--lock", "uv.lock"], 2, &["uv.lock of version 9; expected 1"]);
    home.refuses(&["verify", "--lock", "poetry.lock"], 1, &["reading"]);
    home.refuses(&["verify", "--lock", "uv.lock", "x.whl"], 2, &["cannot be used with"]);
}
